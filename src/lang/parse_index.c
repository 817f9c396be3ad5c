/* Integers: indices and their ranges, index binders, delta. */
#include "lang/parse.h"

#include <string.h>

cr_dim parse_integer(parser *ps, const char *what)
{
    size_t start = ps->tok.start;
    ps->in_integer++;
    cr_ref r = parse_expression(ps);
    ps->in_integer--;
    cr_dim d;
    if (!r) return 0;
    if (as_dim(ps->g, r, &d)) return d;
    text_place w = place(ps, start);
    if (ps->g->err.status != CR_OK) built(ps, CR_NONE, start);
    else if (op_of(ps->g, r) == CR_OP_DIV)
        fail_at(ps, w, CR_EARG, "%s must be an integer expression, \"%s\" may be a fraction; write floor(%s)", what,
                excerpt(w, 0), excerpt(w, 1));
    else fail_at(ps, w, CR_EARG, "%s must be an integer expression, \"%s\" is not", what, excerpt(w, 0));
    return 0;
}

/* ---- ranges ------------------------------------------------------------------------------------ */

/* Records x[f + c] on an axis of size `size`. */
static bool note_free(parser *ps, free_name *f, int64_t c, cr_dim size, unsigned axis, text_place index,
                      text_place indexed)
{
    if (ps->in_branch) c = 0; /* the condition may keep the index inside */
    if (!f->size) {
        f->size = size;
        f->least = f->most = c;
        f->axis = axis;
        f->indexed = indexed;
        return true;
    }
    if (f->size != size) {
        fail_at(ps, index, CR_ESHAPE,
                "index `%s` runs over axis %u of \"%s\", of size %s, and over axis %u of \"%s\", of size %s",
                name_text(ps->g->dims, f->name), f->axis + 1, excerpt(f->indexed, 0), size_text(ps->g, f->size, 1),
                axis + 1, excerpt(indexed, 2), size_text(ps->g, size, 3));
        return false;
    }
    if (c < f->least) f->least = c;
    if (c > f->most) f->most = c;
    return true;
}

/* Greatest (least) value of *d over the ranges of the bound indices in it, as a polynomial in sizes: an index is at one
 * end of its range, inner indices first because their ends may use outer ones. False: not linear, or free indices
 * are left. */
static bool extreme(parser *ps, bool greatest, cr_dim *d)
{
    dim_table *t = ps->g->dims;
    for (size_t i = ps->n_local; i-- > 0;) {
        const local_name *l = &ps->local[i];
        int64_t a;
        cr_dim rest;
        if (!l->symbol || !dim_uses(t, *d, l->symbol)) continue;
        if (!dim_linear_in(t, *d, l->symbol, &a, &rest)) return false;
        *d = dim_substitute(t, *d, l->symbol, (a > 0) == greatest ? l->hi : l->lo);
        if (!*d) return false;
    }
    for (size_t i = 0; i < ps->n_free; i++)
        if (dim_uses(t, *d, ps->free_index[i].name)) return false;
    return true;
}

bool note_index(parser *ps, cr_dim d, cr_dim size, unsigned axis, text_place index, text_place indexed)
{
    dim_table *t = ps->g->dims;
    int64_t v, a;
    cr_dim rest;
    for (size_t i = 0; i < ps->n_free; i++) {
        free_name *f = &ps->free_index[i];
        if (!dim_uses(t, d, f->name)) continue;
        if (dim_linear_in(t, d, f->name, &a, &rest) && a == 1 && dim_value(t, rest, &v))
            return note_free(ps, f, v, size, axis, index, indexed);
        return true;
    }
    if (ps->in_branch && !dim_value(t, d, &v)) return true;
    cr_dim low = d, high = d;
    bool below = extreme(ps, false, &low) && dim_value(t, low, &v) && v < 1;
    bool above = !below && extreme(ps, true, &high) && (rest = dim_sub(t, high, size)) != 0 &&
        dim_value(t, rest, &v) && v > 0;
    if (ps->g->err.status != CR_OK) {
        built(ps, CR_NONE, index.start);
        return false;
    }
    if (!below && !above) return true;
    cr_dim reached = below ? low : high;
    const char *x = excerpt(indexed, 0), *n = size_text(ps->g, size, 1);
    if (reached == d)
        fail_at(ps, index, CR_EARG, "index %s is out of range 1..%s of axis %u of \"%s\"", size_text(ps->g, d, 2), n,
                axis + 1, x);
    else
        fail_at(ps, index, CR_EARG, "index %s reaches %s, out of range 1..%s of axis %u of \"%s\"", excerpt(index, 3),
                size_text(ps->g, reached, 2), n, axis + 1, x);
    return false;
}

bool parse_indices(parser *ps, cr_ref of, size_t start, cr_dim *index)
{
    unsigned rank = cr_rank(ps->g, of), n = 0;
    text_place indexed = {ps->lx.src, start, ps->prev_end - 1}; /* without the `[` just taken */
    ps->in_index++;
    do {
        size_t at_byte = ps->tok.start;
        cr_dim d = parse_integer(ps, "an index");
        if (!d) return false;
        if (at(ps, TOK_COLON) || at(ps, TOK_DOTDOT)) {
            fail_token(ps, &ps->tok, CR_EUNSUPPORTED, "ranges as indices are not supported; write [i=1..n : x[i]]");
            return false;
        }
        if (n < rank) {
            index[n] = d;
            if (!note_index(ps, d, cr_size(ps->g, of, n), n, place(ps, at_byte), indexed)) return false;
        }
        n++;
    } while (accept(ps, TOK_COMMA));
    ps->in_index--;
    if (n == rank) return true;
    fail_at(ps, place(ps, start), CR_ESHAPE, "\"%s\" is %s; it takes %u ind%s, not %u", excerpt(indexed, 0),
            shape_text(ps->g, of, 0),
            rank, rank == 1 ? "ex" : "ices", n);
    return false;
}

bool index_ranges(parser *ps, lang_free_index *out, bool all)
{
    dim_table *t = ps->g->dims;
    for (size_t i = 0; i < ps->n_free; i++) {
        const free_name *f = &ps->free_index[i];
        out[i] = (lang_free_index){.name = f->name, .from = f->family_lo, .to = f->family_hi};
        if (!f->size && !f->family_lo && all) {
            fail_at(ps, f->first, CR_ENAME,
                    "the range of index `%s` is not known; it must be an index by itself once, as in x[%s]",
                    name_text(t, f->name), name_text(t, f->name));
            return false;
        }
        if (!f->size) continue;
        out[i].from = dim_sub(t, dim_const(t, 1), dim_const(t, f->least));
        out[i].to = dim_sub(t, f->size, dim_const(t, f->most));
        if (!out[i].from || !out[i].to) return false;
    }
    return true;
}

/* ---- binders ----------------------------------------------------------------------------------- */

static bool push_index(parser *ps, const token *name, cr_dim lo, cr_dim hi, bool downwards)
{
    const char *s = name_text(ps->g->dims, name->name);
    const global_name *e = global_of(ps->p, name->name);
    if (!e) return false;
    /* An index of its own inside of another of the same name is what printed results may hold. */
    bool shadows = e->kind == NAME_INTEGER || e->kind == NAME_DEFINITION || find_local(ps, name->name);
    if (e->kind == NAME_VARIABLE) {
        fail_token(ps, name, CR_ENAME, "`%s` is in use; choose another name for the index", s);
        return false;
    }
    /* Arguments that are put into a body may contain an index of the same name, and a definition the integer that the
     * index hides: there the index gets a symbol of its own. */
    dim_sym symbol = ps->frame || shadows ? fresh_symbol(ps->g, s) : name->name;
    cr_ref value = symbol ? cr_int(ps->g, dim_symbol(ps->g->dims, symbol)) : CR_NONE;
    if (!value) {
        built(ps, CR_NONE, name->start);
        return false;
    }
    if (!VEC_RESERVE(ps->local, ps->local_cap, ps->n_local + 1)) {
        graph_fail(ps->g, CR_ENOMEM, "out of memory");
        return false;
    }
    ps->local[ps->n_local++] = (local_name){name->name, value, symbol, lo, hi, downwards};
    return true;
}

bool parse_binders(parser *ps, token_kind end, size_t *first)
{
    *first = ps->n_local;
    for (;;) {
        token name;
        if (!expect_name(ps, "an index", &name) || !expect(ps, TOK_ASSIGN, "`=`")) return false;
        cr_dim lo = parse_integer(ps, "the start of a range");
        if (!lo || !expect(ps, TOK_DOTDOT, "`..`, as in i=1..n")) return false;
        token step = ps->tok;
        cr_dim hi = parse_integer(ps, "the end of a range");
        bool down = hi && end == TOK_COMMA && accept(ps, TOK_DOTDOT); /* i=N..-1..1 */
        if (down && hi != dim_const(ps->g->dims, -1)) {
            fail_token(ps, &step, CR_EUNSUPPORTED, "an index goes by steps of 1, or of -1: i=N..-1..1");
            return false;
        }
        if (down && !(hi = parse_integer(ps, "the end of a range"))) return false;
        if (!hi || !push_index(ps, &name, down ? hi : lo, down ? lo : hi, down)) return false;
        if (ps->n_local - *first > CR_MAX_RANK) {
            fail_token(ps, &name, CR_ELIMIT, "more than %d indices at once", CR_MAX_RANK);
            return false;
        }
        if (end == TOK_COLON && accept(ps, TOK_COLON)) return true;
        if (!expect(ps, TOK_COMMA, end == TOK_COLON ? "`,` or `:`" : "`,`")) return false;
        if (end == TOK_COMMA && !(at(ps, TOK_NAME) && peek(ps).kind == TOK_ASSIGN)) return true;
    }
}

cr_ref bind_indices(parser *ps, cr_bind_kind kind, size_t first, cr_ref body, size_t start)
{
    while (body && ps->n_local > first) {
        const local_name *l = &ps->local[--ps->n_local];
        body = built(ps, cr_bind(ps->g, kind, name_text(ps->g->dims, l->symbol), l->lo, l->hi, body), start);
    }
    return body;
}

/* ---- delta ------------------------------------------------------------------------------------- */

/* d is an index that runs over 1..n? Then n, else 0. A free index whose range is not known yet is in *open. */
static cr_dim full_range(parser *ps, cr_dim d, free_name **open)
{
    dim_sym s;
    if (!dim_is_symbol(ps->g->dims, d, &s)) return 0;
    for (size_t i = ps->n_local; i-- > 0;)
        if (ps->local[i].symbol == s) {
            int64_t lo;
            return dim_value(ps->g->dims, ps->local[i].lo, &lo) && lo == 1 ? ps->local[i].hi : 0;
        }
    for (size_t i = 0; i < ps->n_free; i++) {
        free_name *f = &ps->free_index[i];
        if (f->name != s) continue;
        if (!f->size) *open = f;
        return f->least == 0 && f->most == 0 ? f->size : 0;
    }
    return 0;
}

static cr_ref contract_onehots(parser *ps, cr_dim i, cr_dim j, cr_dim n)
{
    cr_ref e[2] = {cr_onehot(ps->g, i, n), cr_onehot(ps->g, j, n)};
    return cr_einsum(ps->g, 2, e, (uint8_t[]){0, 0}, 0, NULL);
}

/* delta(i,j): a contraction of two unit vectors where an index tells their size, so that it meets others like it; a
 * comparison otherwise. */
cr_ref build_delta(parser *ps, cr_dim i, cr_dim j)
{
    cr_graph *g = ps->g;
    int64_t v, size;
    cr_dim gap = dim_sub(g->dims, i, j);
    if (!gap) return CR_NONE;
    if (dim_value(g->dims, gap, &v)) return cr_const(g, v == 0);
    free_name *open_i = NULL, *open_j = NULL;
    cr_dim ni = full_range(ps, i, &open_i), nj = full_range(ps, j, &open_j), n = ni ? ni : nj;
    if (open_i || open_j) ps->delta_open = true;
    if (ps->settled && n && (open_i || open_j)) { /* equal indices: what one runs over, the other does */
        free_name *open = open_i ? open_i : open_j;
        open->size = n;
        open->axis = 0;
        open->indexed = open->first;
    }
    bool onehots = n && !(ni && nj && ni != nj);
    for (size_t k = 0; k < ps->n_local && onehots && !(ni && nj); k++) /* 1..j need not have what is in 1..n */
        onehots = !ps->local[k].symbol || !dim_uses(g->dims, n, ps->local[k].symbol);
    cr_dim other = ni ? j : i;
    if (onehots && dim_value(g->dims, other, &v)) onehots = v >= 1 && !(dim_value(g->dims, n, &size) && v > size);
    if (onehots) return contract_onehots(ps, i, j, n);
    return cr_select(g, cr_map2(g, CR_OP_EQ, cr_int(g, i), cr_int(g, j)), cr_const(g, 1), cr_const(g, 0));
}
