/* Expressions, by precedence:
 *
 *     or  <  and  <  not  <  == != < <= > >=  <  + -  <  * / .* ./  <  unary -  <  ^ .^  <  ' and [index]
 *
 * A chain of one operator is a loop, so only brackets and calls nest. */
#include "lang/parse.h"

#include <string.h>

static cr_ref parse_power(parser *ps);

/* ---- operands ---------------------------------------------------------------------------------- */

/* Scalars and matrices that `op` cannot take, for messages of our own. */
static bool is_one_by_one(parser *ps, cr_ref a)
{
    int64_t v;
    for (unsigned i = 0; i < cr_rank(ps->g, a); i++)
        if (!cr_dim_value(ps->g, cr_size(ps->g, a, i), &v) || v != 1) return false;
    return true;
}

static bool names_family(parser *ps, const token *name)
{
    const global_name *e = find_local(ps, name->name) ? NULL : global_of(ps->p, name->name);
    return e && e->kind == NAME_FAMILY;
}

static cr_ref parse_primary(parser *ps)
{
    token t = ps->tok;
    cr_ref r;
    switch (t.kind) {
    case TOK_NUMBER:
        advance(ps);
        return built(ps, cr_const(ps->g, t.number), t.start);
    case TOK_TRUE: case TOK_FALSE:
        advance(ps);
        return built(ps, cr_bool(ps->g, t.kind == TOK_TRUE), t.start);
    case TOK_IF: return parse_if(ps);
    case TOK_LBRACKET: return parse_bracket(ps);
    case TOK_LPAREN:
        advance(ps);
        r = parse_expression(ps);
        return r && expect_close(ps, TOK_RPAREN, &t) ? r : CR_NONE;
    case TOK_NAME:
        advance(ps);
        if (at(ps, TOK_LPAREN) || at(ps, TOK_QUOTE)) return parse_call(ps, &t);
        if (at(ps, TOK_LBRACKET) && names_family(ps, &t)) return parse_member(ps, &t);
        return parse_name(ps, &t);
    default: return unexpected(ps, "an expression");
    }
}

static cr_ref parse_index(parser *ps, cr_ref a, size_t start)
{
    cr_dim index[CR_MAX_RANK];
    token open = ps->tok;
    if (family_first(ps->g, a)) return parse_pick(ps, a, start, NULL);
    unsigned rank = cr_rank(ps->g, a);
    if (rank == 0)
        return fail_at(ps, place(ps, start), CR_ESHAPE, "\"%s\" is a scalar; it has no index",
                       excerpt(place(ps, start), 0));
    advance(ps);
    if (!parse_indices(ps, a, start, index) || !expect_close(ps, TOK_RBRACKET, &open)) return CR_NONE;
    return built(ps, cr_index(ps->g, a, rank, index), start);
}

static cr_ref parse_postfix(parser *ps)
{
    size_t start = ps->tok.start;
    cr_ref a = parse_primary(ps);
    while (a) {
        if (at(ps, TOK_LBRACKET)) {
            a = parse_index(ps, a, start);
        } else if (at(ps, TOK_QUOTE)) {
            advance(ps);
            a = built(ps, cr_transpose(ps->g, a), start);
        } else {
            break;
        }
    }
    return a;
}

/* ---- powers ------------------------------------------------------------------------------------ */

static cr_ref power(parser *ps, cr_ref a, cr_ref b, size_t start)
{
    if (cr_rank(ps->g, b) != 0)
        return fail_at(ps, place(ps, start), CR_ESHAPE,
                       "the exponent of `^` is %s, not a scalar; element by element is `.^`",
                       shape_text(ps->g, b, 0));
    if (cr_rank(ps->g, a) == 0) return built(ps, cr_pow(ps->g, a, b), start);
    if (cr_rank(ps->g, a) != 2 || cr_size(ps->g, a, 0) != cr_size(ps->g, a, 1))
        return fail_at(ps, place(ps, start), CR_ESHAPE,
                       "`^` takes a scalar or a square matrix, not %s; element by element is `.^`; in \"%s\"",
                       shape_text(ps->g, a, 0), excerpt(place(ps, start), 0));
    cr_dim k;
    if (!as_dim(ps->g, b, &k))
        return ps->g->err.status ? built(ps, CR_NONE, start)
                                 : fail_at(ps, place(ps, start), CR_EARG,
                                           "a matrix power needs an integer exponent; element by element is `.^`; "
                                           "in \"%s\"", excerpt(place(ps, start), 0));
    return built(ps, cr_matpow(ps->g, a, k), start);
}

/* Signs and a postfix expression. Octave reads A^2' as (A^2)', a tighter ' would transpose the 2: neither is
 * guessed. */
static cr_ref parse_exponent(parser *ps)
{
    bool minus = false;
    size_t start = ps->tok.start;
    for (; at(ps, TOK_MINUS) || at(ps, TOK_PLUS); advance(ps)) minus ^= at(ps, TOK_MINUS);
    token first = ps->tok;
    cr_ref b = parse_postfix(ps);
    if (!b) return CR_NONE;
    if (cr_rank(ps->g, b) == 0 && ps->prev_end > first.start && ps->lx.src->text[ps->prev_end - 1] == '\'')
        return fail_at(ps, place(ps, start), CR_ESYNTAX, "a transposed exponent; write (A^k)' to transpose the power");
    return minus ? built(ps, cr_neg(ps->g, b), start) : b;
}

static cr_ref parse_power(parser *ps)
{
    size_t start = ps->tok.start;
    cr_ref a = parse_postfix(ps);
    while (a && (at(ps, TOK_CARET) || at(ps, TOK_DOT_CARET))) {
        bool dot = at(ps, TOK_DOT_CARET) || ps->elementwise;
        advance(ps);
        cr_ref b = parse_exponent(ps);
        if (!b) return CR_NONE;
        a = dot ? built(ps, cr_pow(ps->g, a, b), start) : power(ps, a, b, start);
    }
    return a;
}

/* -x^2 is -(x^2); -x*y is (-x)*y, which is the same. */
static cr_ref parse_unary(parser *ps)
{
    size_t start = ps->tok.start;
    bool minus = false;
    for (; at(ps, TOK_MINUS) || at(ps, TOK_PLUS); advance(ps)) minus ^= at(ps, TOK_MINUS);
    cr_ref a = parse_power(ps);
    if (!a || !minus) return a;
    if (cr_dtype_of(ps->g, a) != CR_REAL)
        return fail_at(ps, place(ps, start), CR_ESHAPE, "`-` takes numbers, not conditions; in \"%s\"",
                       excerpt(place(ps, start), 0));
    return built(ps, cr_neg(ps->g, a), start);
}

/* ---- products and sums ------------------------------------------------------------------------- */

/* Operands whose sizes disagree, called by what the user wrote. */
static cr_ref sizes_disagree(parser *ps, text_place left, cr_ref a, size_t right, cr_ref b, bool product)
{
    cr_graph *g = ps->g;
    text_place w = place(ps, left.start);
    const char *x = excerpt(left, 0), *y = excerpt(place(ps, right), 1);
    cr_graph_clear_error(g);
    if (!product)
        return fail_at(ps, w, CR_ESHAPE, "%s is %s but %s is %s; in \"%s\"", x, shape_text(g, a, 0), y,
                       shape_text(g, b, 1), excerpt(w, 2));
    strbuf rows, columns;
    sb_init(&rows);
    sb_init(&columns);
    dim_print(g->dims, cr_size(g, a, 0), &rows, NULL, NULL);
    dim_print(g->dims, cr_size(g, a, 1), &columns, NULL, NULL);
    fail_at(ps, w, CR_ESHAPE, "%s is %s x %s but %s has %s rows; in \"%s\"", x, sb_str(&rows), sb_str(&columns), y,
            size_text(g, cr_size(g, b, 0), 2), excerpt(w, 3));
    sb_free(&rows);
    sb_free(&columns);
    return CR_NONE;
}

static bool are_numbers(parser *ps, cr_ref a, cr_ref b)
{
    return cr_dtype_of(ps->g, a) == CR_REAL && cr_dtype_of(ps->g, b) == CR_REAL;
}

static cr_ref parse_product(parser *ps)
{
    size_t start = ps->tok.start;
    cr_ref a = parse_unary(ps);
    while (a) {
        token_kind op = ps->tok.kind;
        if (op != TOK_STAR && op != TOK_SLASH && op != TOK_DOT_STAR && op != TOK_DOT_SLASH) break;
        text_place left = place(ps, start);
        advance(ps);
        size_t right = ps->tok.start;
        cr_ref b = parse_unary(ps), first = a;
        if (!b) return CR_NONE;
        switch (op) {
        case TOK_STAR: a = ps->elementwise ? cr_mul(ps->g, a, b) : cr_matmul(ps->g, a, b); break;
        case TOK_DOT_STAR: a = cr_mul(ps->g, a, b); break;
        case TOK_SLASH:
            if (cr_rank(ps->g, b) != 0 && !ps->elementwise) {
                if (!is_one_by_one(ps, b))
                    return fail_at(ps, place(ps, start), CR_ESHAPE,
                                   "`/` divides by a scalar, not by %s; element by element is `./`, for a matrix use "
                                   "inv; in \"%s\"",
                                   shape_text(ps->g, b, 0), excerpt(place(ps, start), 0));
                b = cr_sum(ps->g, b); /* its only entry */
            }
            a = cr_div(ps->g, a, b);
            break;
        default: a = cr_div(ps->g, a, b); break;
        }
        if (!a && ps->g->err.status == CR_ESHAPE && are_numbers(ps, first, b)) {
            unsigned rank = cr_rank(ps->g, first), rank_b = cr_rank(ps->g, b);
            if (op != TOK_STAR || ps->elementwise) return sizes_disagree(ps, left, first, right, b, false);
            if (rank == 2 && (rank_b == 1 || rank_b == 2)) return sizes_disagree(ps, left, first, right, b, true);
        }
        a = built(ps, a, start);
    }
    return a;
}

/* All terms of a sum go to the builder at once: a sum of n terms is one node, and costs O(n). */
static cr_ref parse_sum(parser *ps)
{
    size_t start = ps->tok.start, base = ps->n_stack;
    cr_ref a = parse_product(ps), widest = a;
    text_place wide = place(ps, start);
    if (!a || (!at(ps, TOK_PLUS) && !at(ps, TOK_MINUS))) return a;
    if (!push(ps, a)) return CR_NONE;
    while (at(ps, TOK_PLUS) || at(ps, TOK_MINUS)) {
        bool minus = at(ps, TOK_MINUS);
        advance(ps);
        size_t right = ps->tok.start;
        cr_ref b = parse_product(ps);
        if (!b) return CR_NONE;
        bool fits = cr_rank(ps->g, b) == 0 || cr_rank(ps->g, widest) == 0 || same_shape(ps->g, widest, b);
        if (!are_numbers(ps, a, b)) return built(ps, cr_add(ps->g, a, b), start); /* fails, and says why */
        if (!fits) return sizes_disagree(ps, wide, widest, right, b, false);
        if (cr_rank(ps->g, b) != 0) {
            widest = b;
            wide = place(ps, right);
        }
        if (minus && !(b = built(ps, cr_neg(ps->g, b), start))) return CR_NONE;
        if (!push(ps, b)) return CR_NONE;
    }
    a = built(ps, cr_add_n(ps->g, (unsigned)(ps->n_stack - base), ps->stack + base), start);
    ps->n_stack = base;
    return a;
}

/* ---- conditions -------------------------------------------------------------------------------- */

static bool is_comparison(token_kind k) { return k >= TOK_EQ && k <= TOK_GE; }

static cr_ref parse_comparison(parser *ps)
{
    size_t start = ps->tok.start;
    cr_ref a = parse_sum(ps);
    token_kind op = ps->tok.kind;
    if (!a || !is_comparison(op)) return a;
    advance(ps);
    cr_ref b = parse_sum(ps);
    if (!b) return CR_NONE;
    if (is_comparison(ps->tok.kind))
        return fail_token(ps, &ps->tok, CR_ESYNTAX, "comparisons do not chain; write a < b and b < c");
    bool swap = op == TOK_GT || op == TOK_GE;
    cr_op compare = op == TOK_EQ                   ? CR_OP_EQ
                    : op == TOK_NE                 ? CR_OP_NE
                    : op == TOK_LT || op == TOK_GT ? CR_OP_LT
                                                   : CR_OP_LE;
    return built(ps, cr_map2(ps->g, compare, swap ? b : a, swap ? a : b), start);
}

static cr_ref parse_not(parser *ps)
{
    size_t start = ps->tok.start;
    bool negate = false, any = false;
    for (; at(ps, TOK_NOT); advance(ps), any = true) negate = !negate;
    cr_ref a = parse_comparison(ps);
    if (!a || !any) return a;
    cr_ref b = built(ps, cr_map(ps->g, CR_OP_NOT, a), start); /* checks the type for `not not a` too */
    return negate || !b ? b : a;
}

static cr_ref parse_and(parser *ps)
{
    size_t start = ps->tok.start;
    cr_ref a = parse_not(ps);
    while (a && accept(ps, TOK_AND)) {
        cr_ref b = parse_not(ps);
        a = b ? built(ps, cr_map2(ps->g, CR_OP_AND, a, b), start) : CR_NONE;
    }
    return a;
}

cr_ref parse_expression(parser *ps)
{
    size_t start = ps->tok.start;
    if (ps->depth >= MAX_NESTING)
        return fail_token(ps, &ps->tok, CR_ELIMIT, "more than %d levels of nesting", MAX_NESTING);
    ps->depth++;
    cr_ref a = parse_and(ps);
    while (a && accept(ps, TOK_OR)) {
        cr_ref b = parse_and(ps);
        a = b ? built(ps, cr_map2(ps->g, CR_OP_OR, a, b), start) : CR_NONE;
    }
    ps->depth--;
    return a;
}

/* ---- brackets ---------------------------------------------------------------------------------- */

/* The entries of entry e of a literal, pushed in row-major order. */
static bool push_entries(parser *ps, cr_ref e, text_place w)
{
    const cr_shape *s = shape_of(ps->g, e);
    if (s->dtype != CR_REAL) {
        fail_at(ps, w, CR_ESHAPE, "the entries of [...] are numbers; \"%s\" is a condition", excerpt(w, 0));
        return false;
    }
    if (s->rank == 0) return push(ps, e);
    if (op_of(ps->g, e) == CR_OP_STACK) {
        for (uint32_t i = 0; i < node(ps->g, e)->n_in; i++)
            if (!push(ps, in_of(ps->g, e, i))) return false;
        return true;
    }
    int64_t size[CR_MAX_RANK], total = 1;
    cr_dim index[CR_MAX_RANK];
    for (unsigned i = 0; i < s->rank; i++) {
        if (!cr_dim_value(ps->g, s->dim[i], &size[i])) {
            fail_at(ps, w, CR_EUNSUPPORTED, "an entry of [...] is a scalar, or of numeric size; \"%s\" is %s",
                    excerpt(w, 0),
                    shape_text(ps->g, e, 0));
            return false;
        }
        if (size[i] > 1000000 || (total *= size[i]) > 1000000) {
            fail_at(ps, w, CR_ELIMIT, "more than a million entries in [...]");
            return false;
        }
    }
    for (int64_t k = 0; k < total; k++) {
        int64_t rest = k;
        for (unsigned i = s->rank; i-- > 0; rest /= size[i])
            if (!(index[i] = cr_dim_const(ps->g, rest % size[i] + 1))) return false;
        cr_ref r = built(ps, cr_index(ps->g, e, s->rank, index), w.start);
        if (!r || !push(ps, r)) return false;
    }
    return true;
}

/* [a,b] is a vector, [a,b;c,d] a matrix of two rows; entries may be of equal shape instead of scalars: further axes. */
static cr_ref parse_literal(parser *ps, const token *open)
{
    size_t base = ps->n_stack, row_start = 0;
    int64_t rows = 1, columns = 0, column = 0, scalars = 0;
    cr_ref first = CR_NONE;
    for (bool more = true; more;) {
        size_t start = ps->tok.start;
        if (column == 0) row_start = start;
        cr_ref e = parse_expression(ps);
        if (!e) return CR_NONE;
        text_place w = place(ps, start);
        if (!first) first = e;
        if (!same_shape(ps->g, first, e))
            return fail_at(ps, w, CR_ESHAPE, "the entries of [...] differ: %s and %s; in \"%s\"",
                           shape_text(ps->g, first, 0),
                           shape_text(ps->g, e, 1), excerpt(w, 0));
        if (!push_entries(ps, e, w)) return CR_NONE;
        column++;
        scalars = (int64_t)(ps->n_stack - base);
        bool row_ends = at(ps, TOK_SEMICOLON) || at(ps, TOK_RBRACKET);
        if (row_ends && columns && column != columns)
            return fail_at(ps, place(ps, row_start), CR_ESHAPE,
                           "row %lld of the matrix has %lld entr%s, the rows before it %lld",
                           (long long)rows, (long long)column, column == 1 ? "y" : "ies", (long long)columns);
        if (at(ps, TOK_SEMICOLON)) {
            columns = column;
            column = 0;
            rows++;
        }
        more = accept(ps, TOK_COMMA) || accept(ps, TOK_SEMICOLON);
    }
    if (!expect_close(ps, TOK_RBRACKET, open)) return CR_NONE;
    cr_dim shape[CR_MAX_RANK + 2];
    unsigned rank = 0, inner = cr_rank(ps->g, first);
    if (columns) shape[rank++] = cr_dim_const(ps->g, rows);
    shape[rank++] = cr_dim_const(ps->g, column);
    if (rank + inner > CR_MAX_RANK) return fail_token(ps, open, CR_ELIMIT, "more than %d axes", CR_MAX_RANK);
    for (unsigned i = 0; i < inner; i++) shape[rank++] = cr_size(ps->g, first, i);
    cr_ref r = built(ps, cr_stack(ps->g, (unsigned)scalars, ps->stack + base, rank, shape), open->start);
    ps->n_stack = base;
    return r;
}

cr_ref parse_bracket(parser *ps)
{
    token open = ps->tok;
    advance(ps);
    if (at(ps, TOK_RBRACKET)) return fail_token(ps, &open, CR_ESYNTAX, "[] has no entries");
    if (!at(ps, TOK_NAME) || peek(ps).kind != TOK_ASSIGN) return parse_literal(ps, &open);

    size_t first; /* [i=1..m, j=1..n : expr] */
    if (!parse_binders(ps, TOK_COLON, &first)) return CR_NONE;
    cr_ref body = parse_expression(ps);
    if (!body || !expect_close(ps, TOK_RBRACKET, &open)) return CR_NONE;
    return bind_indices(ps, CR_BIND_STACK, first, body, open.start);
}
