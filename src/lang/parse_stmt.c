/* Statements: let, def, fun, derive, eval, check. */
#include "lang/parse.h"

#include <string.h>

static bool no_memory(parser *ps)
{
    graph_fail(ps->g, CR_ENOMEM, "out of memory");
    return false;
}

static const char *text_of(const parser *ps, const token *t) { return name_text(ps->g->dims, t->name); }

static bool is_word(const parser *ps, const char *word)
{
    return at(ps, TOK_NAME) && !strcmp(text_of(ps, &ps->tok), word);
}

/* ---- types ------------------------------------------------------------------------------------- */

typedef struct declared_type {
    bool integer;
    unsigned rank, attributes;
    cr_dim size[CR_MAX_RANK];
} declared_type;

static bool add_size(parser *ps, declared_type *t, cr_dim d, size_t start)
{
    int64_t v;
    if (!d) return false;
    if (cr_dim_value(ps->g, d, &v) && v < 1) {
        fail_at(ps, place(ps, start), CR_EARG, "a size must be at least 1, not %lld", (long long)v);
        return false;
    }
    if (t->rank == CR_MAX_RANK) {
        fail_at(ps, place(ps, start), CR_ELIMIT, "more than %d axes", CR_MAX_RANK);
        return false;
    }
    t->size[t->rank++] = d;
    return true;
}

/* After R^ : n, 3, (n+1) or {m x n}. */
static bool parse_sizes(parser *ps, declared_type *t)
{
    token open = ps->tok;
    size_t start = open.start;
    if (accept(ps, TOK_LBRACE)) {
        do {
            start = ps->tok.start;
            if (!add_size(ps, t, parse_integer(ps, "a size"), start)) return false;
            if (!is_word(ps, "x")) break;
            advance(ps);
        } while (true);
        if (at(ps, TOK_RBRACE)) return accept(ps, TOK_RBRACE);
        if (at(ps, TOK_END) || token_starts_statement(ps->tok.kind)) return expect_close(ps, TOK_RBRACE, &open);
        return unexpected(ps, "`x` or `}`, as in R^{m x n}");
    }
    if (accept(ps, TOK_LPAREN))
        return add_size(ps, t, parse_integer(ps, "a size"), start) && expect_close(ps, TOK_RPAREN, &open);
    cr_ref r;
    cr_dim d = 0;
    if (at(ps, TOK_NAME)) {
        advance(ps);
        r = parse_name(ps, &open);
    } else if (at(ps, TOK_NUMBER)) {
        advance(ps);
        r = cr_const(ps->g, open.number);
    } else {
        return unexpected(ps, "a size, as in R^n or R^{m x n}");
    }
    if (r && !as_dim(ps->g, r, &d)) fail_token(ps, &open, CR_EARG, "a size must be an integer");
    return add_size(ps, t, d, start);
}

static bool parse_attributes(parser *ps, declared_type *t)
{
    static const struct { const char *name; unsigned bit; } attribute[] = {
        {"symmetric", CR_SYMMETRIC}, {"diagonal", CR_DIAGONAL}, {"positive", CR_POSITIVE},
        {"definite", CR_DEFINITE}, {"invertible", CR_INVERTIBLE}, {"probability", CR_PROBABILITY},
    };
    enum { N = sizeof attribute / sizeof attribute[0] };
    while (at(ps, TOK_NAME)) {
        size_t i = 0;
        while (i < N && !is_word(ps, attribute[i].name)) i++;
        if (i == N) {
            const char *s = text_of(ps, &ps->tok);
            if (!strcmp(s, "x"))
                fail_token(ps, &ps->tok, CR_ESYNTAX, "the sizes of a matrix stand in braces: R^{m x n}");
            else
                fail_token(ps, &ps->tok, CR_ENAME, "unknown attribute `%s`; there are symmetric, diagonal, positive, "
                           "definite, invertible, probability", s);
            return false;
        }
        unsigned bit = attribute[i].bit;
        advance(ps);
        if (bit == CR_POSITIVE && is_word(ps, "definite")) continue; /* "positive definite" is one term of the field */
        t->attributes |= bit;
    }
    return true;
}

static bool parse_type(parser *ps, declared_type *t)
{
    token name;
    *t = (declared_type){0};
    if (!expect_name(ps, "a type: R, R^n, R^{m x n} or Z", &name)) return false;
    const char *s = text_of(ps, &name);
    t->integer = !strcmp(s, "Z");
    if (!t->integer && strcmp(s, "R")) {
        fail_token(ps, &name, CR_ESYNTAX, "unknown type `%s`; types are R, R^n, R^{m x n} and Z", s);
        return false;
    }
    if (t->integer) return true;
    ps->size_mode = true;
    bool ok = !accept(ps, TOK_CARET) || parse_sizes(ps, t);
    ps->size_mode = false;
    return ok && parse_attributes(ps, t);
}

/* ---- let --------------------------------------------------------------------------------------- */

static bool add_variable(parser *ps, const token *name, cr_ref param, name_kind kind)
{
    lang_program *p = ps->p;
    if (!declare(ps, name, kind, (uint32_t)p->n_variables)) return false;
    if (!VEC_RESERVE(p->variable, p->variable_cap, p->n_variables + 1)) return no_memory(ps);
    p->variable[p->n_variables++] = (lang_variable){.name = name->name, .param = param};
    return true;
}

/* w[lo..hi] : R^n */
static bool declare_family(parser *ps, const token *name, const declared_type *t, cr_dim lo, cr_dim hi)
{
    global_name *e = global_of(ps->p, name->name);
    if (!e) return false;
    if (t->integer) {
        fail_token(ps, name, CR_EUNSUPPORTED, "a family of integers; the members of `%s` must be real",
                   text_of(ps, name));
        return false;
    }
    if (e->kind != NAME_NONE || is_constant_name(text_of(ps, name))) return declare(ps, name, NAME_VARIABLE, 0);
    cr_ref w = built(ps, cr_param_family(ps->g, text_of(ps, name), lo, hi, t->rank, t->size, t->attributes),
                     name->start);
    return w && add_variable(ps, name, w, NAME_VARIABLE);
}

static bool declare_variable(parser *ps, const token *name, const declared_type *t)
{
    global_name *e = global_of(ps->p, name->name);
    if (!e) return false;
    if (t->integer && e->kind == NAME_INTEGER && e->implicit) { /* a size so far, now declared */
        e->implicit = 0;
        return true;
    }
    if (t->integer) return add_variable(ps, name, CR_NONE, NAME_INTEGER);
    /* says why not */
    if (e->kind != NAME_NONE || is_constant_name(text_of(ps, name))) return declare(ps, name, NAME_VARIABLE, 0);
    cr_ref param = built(ps, cr_param(ps->g, text_of(ps, name), t->rank, t->size, t->attributes), name->start);
    return param && add_variable(ps, name, param, NAME_VARIABLE);
}

/* Value that does not depend on variables. */
static cr_ref parse_closed(parser *ps, const token *name, text_place *w)
{
    size_t start = ps->tok.start, n;
    cr_ref r = parse_expression(ps);
    if (!r) return CR_NONE;
    *w = place(ps, start);
    if (cr_dtype_of(ps->g, r) != CR_REAL)
        return fail_at(ps, *w, CR_EVALUE, "the value of `%s` is a condition, not a number", text_of(ps, name));
    if (depends_on_symbol(ps->g, r, name->name))
        return fail_at(ps, *w, CR_EVALUE, "the value of `%s` depends on `%s` itself", text_of(ps, name),
                       text_of(ps, name));
    cr_ref *cone = graph_cone(ps->g, 1, &r, &n);
    if (!cone) return CR_NONE;
    for (size_t i = 0; i < n && r; i++) {
        cr_op op = op_of(ps->g, cone[i]);
        if (op != CR_OP_PARAM && op != CR_OP_MEMBER) continue;
        dim_sym v = op == CR_OP_PARAM ? attr_of(ps->g, cone[i], 0) : ps->g->family[attr_of(ps->g, cone[i], 0)].name;
        r = fail_at(ps, *w, CR_EVALUE, "the value of `%s` depends on the variable `%s`; for that there is def",
                    text_of(ps, name),
                    name_text(ps->g->dims, v));
    }
    mem_free(cone);
    return r;
}

static bool value_fits(parser *ps, const token *name, const lang_variable *v, cr_ref value, text_place w)
{
    cr_graph *g = ps->g;
    cr_dim d;
    if (v->param == CR_NONE) {
        if (as_dim(g, value, &d)) return true;
        fail_at(ps, w, CR_EVALUE, "`%s` is an integer; \"%s\" is not", text_of(ps, name), excerpt(w, 0));
        return false;
    }
    bool fits = cr_rank(g, v->param) == cr_rank(g, value);
    for (unsigned i = 0; fits && i < cr_rank(g, value); i++) {
        int64_t a, b;
        fits = !cr_dim_value(g, cr_size(g, v->param, i), &a) || !cr_dim_value(g, cr_size(g, value, i), &b) || a == b;
    }
    if (!fits)
        fail_at(ps, w, CR_EVALUE, "`%s` is %s, its value is %s", text_of(ps, name), shape_text(g, v->param, 0),
                shape_text(g, value, 1));
    return fits;
}

/* `n = 3` makes an integer, which may be a size; with a point, 3.0, or any other value it makes a real variable. */
static bool declare_by_value(parser *ps, const token *name, cr_ref value, text_place w)
{
    cr_dim d;
    if (as_dim(ps->g, value, &d) && !memchr(w.src->text + w.start, '.', w.end - w.start))
        return add_variable(ps, name, CR_NONE, NAME_INTEGER);
    declared_type t = {.rank = cr_rank(ps->g, value)};
    for (unsigned i = 0; i < t.rank; i++) t.size[i] = cr_size(ps->g, value, i);
    return declare_variable(ps, name, &t);
}

static lang_variable *find_variable(lang_program *p, dim_sym s)
{
    for (size_t i = 0; i < p->n_variables; i++)
        if (p->variable[i].name == s) return &p->variable[i];
    return NULL;
}

static bool is_statement_index(const lang_program *p, dim_sym s)
{
    for (size_t i = 0; i < p->n_statements; i++)
        for (size_t k = 0; k < p->statement[i].n_free; k++)
            if (p->statement[i].free_index[k].name == s) return true;
    return false;
}

/* After `name =`. assign: a value may replace another, and the name must be known unless `declares`. */
static bool parse_value(parser *ps, const token *name, bool assign, bool declares)
{
    lang_program *p = ps->p;
    const global_name *e = global_of(p, name->name);
    text_place w;
    if (!e) return false;
    name_kind kind = (name_kind)e->kind;
    /* says what it is */
    if (kind == NAME_DEFINITION || kind == NAME_FUNCTION || kind == NAME_FAMILY)
        return declare(ps, name, NAME_VARIABLE, 0);
    bool index = kind == NAME_NONE && assign && is_statement_index(p, name->name);
    if (kind == NAME_NONE && assign && !index && !declares) return unknown_name(ps, name, "name", false);
    lang_variable *v = find_variable(p, name->name);
    if (!assign && v && v->has_value) {
        fail_token(ps, name, CR_ENAME, "`%s` has a value already", text_of(ps, name));
        return false;
    }
    cr_ref value = parse_closed(ps, name, &w);
    if (!value) return false;
    if (index && !v) { /* the value of a free index; it stays free in statements to come */
        if (!VEC_RESERVE(p->variable, p->variable_cap, p->n_variables + 1)) return no_memory(ps);
        p->variable[p->n_variables++] = (lang_variable){.name = name->name};
    } else if (kind == NAME_NONE && !v && !declare_by_value(ps, name, value, w)) {
        return false;
    }
    v = find_variable(p, name->name); /* reading the value may have moved the list */
    if (!v || !value_fits(ps, name, v, value, w)) return false;
    v->has_value = true;
    v->value = value;
    return true;
}

/* x, y : R^n = [1,2] or n = 3 */
static bool parse_let(parser *ps)
{
    token name[MAX_ARGUMENTS];
    cr_dim lo[MAX_ARGUMENTS] = {0}, hi[MAX_ARGUMENTS]; /* of a family */
    unsigned n = 0;
    do {
        while (accept(ps, TOK_NEWLINE)) {} /* a list goes on after a comma */
        if (n == MAX_ARGUMENTS) {
            fail_token(ps, &ps->tok, CR_ELIMIT, "more than %d names for one type", MAX_ARGUMENTS);
            return false;
        }
        if (!expect_name(ps, "a name", &name[n])) return false;
        if (accept(ps, TOK_LBRACKET) && !parse_range(ps, &lo[n], &hi[n])) return false;
        n++;
        if (n == 1 && !lo[0] && accept(ps, TOK_ASSIGN)) return parse_value(ps, &name[0], false, true);
    } while (accept(ps, TOK_COMMA));
    if (!expect(ps, TOK_COLON, n == 1 ? "`: type` or `= value`" : "`: type`")) return false;
    declared_type t;
    if (!parse_type(ps, &t)) return false;
    for (unsigned i = 0; i < n; i++) {
        bool ok = lo[i] ? declare_family(ps, &name[i], &t, lo[i], hi[i]) : declare_variable(ps, &name[i], &t);
        if (!ok) return false;
    }
    return !(n == 1 && accept(ps, TOK_ASSIGN)) || parse_value(ps, &name[0], false, true);
}

bool parse_let_list(parser *ps)
{
    do {
        if (!parse_let(ps)) return false;
    } while (accept(ps, TOK_COMMA));
    return end_of_statement(ps);
}

bool parse_assignments(parser *ps, bool declares)
{
    while (!at(ps, TOK_END)) {
        if (accept(ps, TOK_NEWLINE) || accept(ps, TOK_SEMICOLON) || accept(ps, TOK_COMMA)) continue;
        token name;
        if (!expect_name(ps, "name = value", &name)) return false;
        if (!expect(ps, TOK_ASSIGN, "`=`") || !parse_value(ps, &name, true, declares)) return false;
        if (!at(ps, TOK_COMMA) && !end_of_statement(ps)) return false;
    }
    return true;
}

/* ---- def --------------------------------------------------------------------------------------- */

static bool parse_def(parser *ps)
{
    token name;
    if (!expect_name(ps, "a name", &name)) return false;
    if (at(ps, TOK_LBRACKET)) return parse_family_rule(ps, &name) && end_of_statement(ps);
    if (at(ps, TOK_LPAREN)) {
        fail_token(ps, &ps->tok, CR_ESYNTAX, "a function is defined by fun: fun %s(z) = ...", text_of(ps, &name));
        return false;
    }
    if (!expect(ps, TOK_ASSIGN, "`=`")) return false;
    size_t start = ps->tok.start;
    cr_ref r = parse_expression(ps);
    if (!r) return false;
    if (at(ps, TOK_FOR)) {
        fail_token(ps, &ps->tok, CR_ESYNTAX, "`for` defines a family: def %s[i] = ... for i in 1..n",
                   text_of(ps, &name));
        return false;
    }
    if (!finish_families(ps, start)) return false;
    return end_of_statement(ps) && declare(ps, &name, NAME_DEFINITION, r);
}

/* ---- derive, eval, check ------------------------------------------------------------------------ */

static bool parse_wrt_item(parser *ps)
{
    token name;
    if (!expect_name(ps, "a variable", &name)) return false;
    const global_name *e = global_of(ps->p, name.name);
    if (!e) return false;
    const char *s = text_of(ps, &name);
    calc_wrt w = {0};
    switch ((name_kind)e->kind) {
    case NAME_VARIABLE: w.var = ps->p->variable[e->index].param; break;
    case NAME_INTEGER:
        fail_token(ps, &name, CR_EARG,
                   "`%s` is an integer; derivatives are with respect to real variables, `let %s : R`", s, s);
        return false;
    case NAME_DEFINITION: case NAME_FUNCTION: case NAME_FAMILY:
        fail_token(ps, &name, CR_EARG, "`%s` is a %s; derivatives are with respect to variables declared by let", s,
                   e->kind == NAME_FUNCTION ? "function" : e->kind == NAME_FAMILY ? "defined family" : "definition");
        return false;
    case NAME_NONE: return unknown_name(ps, &name, "variable", false);
    }
    token open = ps->tok;
    if (at(ps, TOK_LBRACKET) && family_first(ps->g, w.var)) { /* a member, or an entry of one: W[k][i,j] */
        cr_ref member = parse_pick(ps, w.var, name.start, &w.index[0]);
        if (!member) return false;
        w.n_index = 1;
        open = ps->tok;
        if (cr_rank(ps->g, member) && accept(ps, TOK_LBRACKET)) {
            if (!parse_indices(ps, member, name.start, w.index + 1) || !expect_close(ps, TOK_RBRACKET, &open))
                return false;
            w.n_index = cr_rank(ps->g, w.var);
        }
    } else if (accept(ps, TOK_LBRACKET)) {
        if (cr_rank(ps->g, w.var) == 0) {
            fail_token(ps, &name, CR_ESHAPE, "`%s` is a scalar; it has no index", s);
            return false;
        }
        if (!parse_indices(ps, w.var, name.start, w.index) || !expect_close(ps, TOK_RBRACKET, &open)) return false;
        w.n_index = cr_rank(ps->g, w.var);
    }
    if (!VEC_RESERVE(ps->wrt, ps->wrt_cap, ps->n_wrt + 1)) return no_memory(ps);
    ps->wrt[ps->n_wrt++] = w;
    return true;
}

static bool parse_wrt_list(parser *ps)
{
    do {
        while (ps->n_wrt && accept(ps, TOK_NEWLINE)) {} /* after a comma */
        if (ps->n_wrt == MAX_ARGUMENTS) {
            fail_token(ps, &ps->tok, CR_ELIMIT, "more than %d variables after wrt", MAX_ARGUMENTS);
            return false;
        }
        if (!parse_wrt_item(ps)) return false;
    } while (accept(ps, TOK_COMMA));
    return end_of_statement(ps);
}

static bool read_query(parser *ps, lang_kind kind, const source *wrt, cr_ref *expr)
{
    size_t start = ps->tok.start;
    ps->n_wrt = ps->n_stack = ps->n_local = 0;
    ps->delta_open = false;
    *expr = parse_expression(ps);
    if (!*expr || !finish_families(ps, start) || !check_members(ps, *expr, start)) return false;
    text_place w = place(ps, start);
    if ((kind != LANG_EVAL || wrt || at(ps, TOK_WRT)) && cr_dtype_of(ps->g, *expr) != CR_REAL) {
        fail_at(ps, w, CR_EARG, "\"%s\" is a condition; it has no derivative", excerpt(w, 0));
        return false;
    }
    if (wrt) {
        if (!end_of_statement(ps)) return false;
        parser_start(ps, wrt, 0, 1);
        return parse_wrt_list(ps);
    }
    if (accept(ps, TOK_WRT)) return parse_wrt_list(ps);
    if (kind == LANG_EVAL) return end_of_statement(ps);
    return unexpected(ps, "an operator or `wrt`");
}

char *keep_text(parser *ps, strbuf *b)
{
    char *s = b->status == CR_OK ? arena_alloc(&ps->p->mem, b->n + 1) : NULL;
    if (s) memcpy(s, sb_str(b), b->n + 1);
    else no_memory(ps);
    sb_free(b);
    return s;
}

bool finish_indices(parser *ps, lang_statement *st, bool all)
{
    st->n_free = ps->n_free;
    st->free_index = arena_alloc(&ps->p->mem, (ps->n_free + 1) * sizeof *st->free_index);
    return st->free_index ? index_ranges(ps, st->free_index, all) : no_memory(ps);
}

bool parse_query(parser *ps, lang_kind kind, const source *wrt, lang_statement *st)
{
    lexer lx = ps->lx;
    token tok = ps->tok;
    ps->allow_free = true;
    ps->settled = false;
    ps->n_free = 0;
    bool ok = read_query(ps, kind, wrt, &st->expr);
    if (ok && ps->delta_open) { /* now the ranges are known */
        ps->settled = true;
        ps->lx = lx;
        ps->tok = tok;
        ok = read_query(ps, kind, wrt, &st->expr);
    }
    ps->allow_free = false;
    if (!ok || !finish_indices(ps, st, true)) return false;
    st->kind = kind;
    st->n_wrt = ps->n_wrt;
    st->wrt = arena_alloc(&ps->p->mem, (ps->n_wrt + 1) * sizeof *st->wrt);
    if (!st->wrt) return no_memory(ps);
    if (ps->n_wrt) memcpy(st->wrt, ps->wrt, ps->n_wrt * sizeof *st->wrt);
    return true;
}

bool append_statement(parser *ps, const lang_statement *st)
{
    lang_program *p = ps->p;
    if (!VEC_RESERVE(p->statement, p->statement_cap, p->n_statements + 1)) return no_memory(ps);
    p->statement[p->n_statements++] = *st;
    return true;
}

static bool parse_query_statement(parser *ps, lang_kind kind, const token *word)
{
    lang_statement st = {.line = word->line};
    if (!parse_query(ps, kind, NULL, &st)) return false;
    strbuf b;
    sb_init(&b);
    fold_text(&b, place(ps, word->start), 0);
    st.query = keep_text(ps, &b);
    return st.query && append_statement(ps, &st);
}

bool parse_statements(parser *ps)
{
    while (!at(ps, TOK_END)) {
        token t = ps->tok;
        bool ok;
        advance(ps);
        switch (t.kind) {
        case TOK_NEWLINE: case TOK_SEMICOLON: continue;
        case TOK_LET: ok = parse_let_list(ps); break;
        case TOK_DEF: ok = parse_def(ps); break;
        case TOK_FUN: ok = parse_function(ps) && end_of_statement(ps); break;
        case TOK_DERIVE: ok = parse_query_statement(ps, LANG_DERIVE, &t); break;
        case TOK_EVAL: ok = parse_query_statement(ps, LANG_EVAL, &t); break;
        case TOK_CHECK: ok = parse_query_statement(ps, LANG_CHECK, &t); break;
        default:
            if (t.kind == TOK_NAME && at(ps, TOK_ASSIGN))
                return fail_token(ps, &t, CR_ESYNTAX, "a definition begins with def: def %s = ..., a value with let",
                                  text_of(ps, &t));
            ps->tok = t;
            return unexpected(ps, "a statement: let, def, fun, derive, eval or check");
        }
        if (!ok) return false;
    }
    return true;
}
