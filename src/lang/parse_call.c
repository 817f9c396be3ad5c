/* Calls of built-in functions: one table row each. */
#include "lang/parse.h"

#include <math.h>
#include <string.h>

typedef struct call {
    const struct builtin *f;
    unsigned n;
    const cr_ref *arg; /* on the parser's stack */
    size_t start;
} call;

enum {
    ELEMENTWISE = 1, /* may stand in a function of scalars that is applied to tensors element by element */
    BINDER = 2,      /* f(i=1..n, expr) too */
    INTEGERS = 4,    /* the arguments are integers */
    WINDOW = 8       /* has options by name: parse_window */
};

typedef struct builtin {
    const char *name;
    uint8_t min, max; /* arguments */
    uint8_t flags;
    uint8_t n_index;  /* so many of the first arguments are indices, which may be free */
    cr_op op;
    cr_bind_kind bind;
    cr_ref (*build)(parser *ps, const call *c);
    cr_ref (*build_integers)(parser *ps, unsigned n, const cr_dim *d);
} builtin;

/* ---- builders ---------------------------------------------------------------------------------- */

static cr_ref build_map(parser *ps, const call *c) { return cr_map(ps->g, c->f->op, c->arg[0]); }
static cr_ref build_linalg(parser *ps, const call *c) { return cr_linalg(ps->g, c->f->op, c->arg[0]); }
static cr_ref build_sum(parser *ps, const call *c) { return cr_sum(ps->g, c->arg[0]); }
static cr_ref build_mean(parser *ps, const call *c) { return cr_mean(ps->g, c->arg[0]); }
static cr_ref build_trace(parser *ps, const call *c) { return cr_trace(ps->g, c->arg[0]); }
static cr_ref build_diag(parser *ps, const call *c) { return cr_diag(ps->g, c->arg[0]); }
static cr_ref build_vec(parser *ps, const call *c) { return cr_vec(ps->g, c->arg[0]); }
static cr_ref build_transpose(parser *ps, const call *c) { return cr_transpose(ps->g, c->arg[0]); }
static cr_ref build_kron(parser *ps, const call *c) { return cr_kron(ps->g, c->arg[0], c->arg[1]); }
/* reshape(a, m, n): the entries of a in row-major order. */
static cr_ref build_reshape(parser *ps, const call *c)
{
    cr_dim size[CR_MAX_RANK];
    for (unsigned i = 1; i < c->n; i++) {
        if (!as_dim(ps->g, c->arg[i], &size[i - 1]))
            return graph_fail(ps->g, CR_EARG, "the sizes in reshape must be integers");
    }
    return cr_reshape(ps->g, c->arg[0], c->n - 1, size);
}

static cr_ref build_reduce(parser *ps, const call *c) { return cr_reduce(ps->g, c->f->op, c->arg[0], 0); }

/* On a vector, on a matrix per column: along the first axis either way. */
static cr_ref build_softmax(parser *ps, const call *c)
{
    if (cr_rank(ps->g, c->arg[0]) == 0)
        return graph_fail(ps->g, CR_ESHAPE, "%s takes a vector or a matrix, not a scalar", c->f->name);
    return (c->f->op == CR_OP_SOFTMAX ? cr_softmax : cr_logsoftmax)(ps->g, c->arg[0], 0);
}

static cr_ref build_leaky_relu(parser *ps, const call *c)
{
    double slope = 0.01;
    if (c->n == 2 && !is_const(ps->g, c->arg[1], &slope))
        return graph_fail(ps->g, CR_EARG, "the slope of leaky_relu must be a number");
    return cr_leaky_relu(ps->g, c->arg[0], slope);
}

/* One argument: over all entries; more: element by element. */
static cr_ref build_extremum(parser *ps, const call *c)
{
    if (c->n == 1) return cr_reduce(ps->g, c->f->op, c->arg[0], 0);
    cr_ref a = c->arg[0];
    for (unsigned i = 1; i < c->n && a; i++)
        a = cr_map2(ps->g, c->f->op == CR_OP_MAXR ? CR_OP_MAX2 : CR_OP_MIN2, a, c->arg[i]);
    return a;
}

static cr_ref build_mod(parser *ps, const call *c)
{
    cr_dim a, b;
    if (!ps->in_integer || !as_dim(ps->g, c->arg[0], &a) || !as_dim(ps->g, c->arg[1], &b))
        return cr_map2(ps->g, CR_OP_MOD, c->arg[0], c->arg[1]);
    return cr_int(ps->g, cr_dim_sub(ps->g, a, cr_dim_mul(ps->g, b, cr_dim_floordiv(ps->g, a, b))));
}

/* Of integers only: floor((n-1)/2). */
static cr_ref build_floor(parser *ps, const call *c)
{
    cr_dim a, b;
    double v;
    cr_ref x = c->arg[0];
    if (op_of(ps->g, x) == CR_OP_DIV && as_dim(ps->g, in_of(ps->g, x, 0), &a) && as_dim(ps->g, in_of(ps->g, x, 1), &b))
        return cr_int(ps->g, cr_dim_floordiv(ps->g, a, b));
    if (as_dim(ps->g, x, &a)) return x;
    if (is_const(ps->g, x, &v) && is_scalar(ps->g, x)) return cr_const(ps->g, floor(v));
    return graph_fail(ps->g, CR_EUNSUPPORTED, "floor takes a quotient of integers, such as floor((n-1)/2)");
}

static cr_ref build_identity(parser *ps, unsigned n, const cr_dim *d)
{
    (void)n;
    return cr_identity(ps->g, d[0]);
}

static cr_ref build_iota(parser *ps, unsigned n, const cr_dim *d)
{
    (void)n;
    return cr_iota(ps->g, d[0]);
}

static cr_ref build_onehot(parser *ps, unsigned n, const cr_dim *d)
{
    (void)n;
    return cr_onehot(ps->g, d[0], d[1]);
}

static cr_ref build_ones(parser *ps, unsigned n, const cr_dim *d) { return cr_full(ps->g, cr_const(ps->g, 1), n, d); }
static cr_ref build_zeros(parser *ps, unsigned n, const cr_dim *d) { return cr_full(ps->g, cr_const(ps->g, 0), n, d); }

static cr_ref build_delta_of(parser *ps, unsigned n, const cr_dim *d)
{
    (void)n;
    return build_delta(ps, d[0], d[1]);
}

/* ---- the table --------------------------------------------------------------------------------- */

static const builtin table[] = {
/* every element-wise function of one argument, from the list of operators */
#define MAP1_ROW(id, text) {text, 1, 1, ELEMENTWISE, 0, CR_OP_##id, 0, build_map, NULL},
#define LEAF_ROW(id, text)
#define MAP2_ROW(id, text)
#define CMP_ROW(id, text)
#define REDUCE_ROW(id, text)
#define LINALG_ROW(id, text) {text, 1, 1, 0, 0, CR_OP_##id, 0, build_linalg, NULL},
#define OTHER_ROW(id, text)
#define CR_OP(id, text, arity, kind) kind##_ROW(id, text)
#include "chainrule_ops.def"
#undef CR_OP
    {"leaky_relu", 1, 2, ELEMENTWISE, 0, CR_OP_LEAKY_RELU, 0, build_leaky_relu, NULL}, /* stands for the row above */
    {"mod", 2, 2, ELEMENTWISE, 0, CR_OP_MOD, 0, build_mod, NULL},
    {"floor", 1, 1, ELEMENTWISE, 0, CR_OP_NONE, 0, build_floor, NULL},
    {"sum", 1, 1, BINDER, 0, CR_OP_NONE, CR_BIND_SUM, build_sum, NULL},
    {"mean", 1, 1, BINDER, 0, CR_OP_NONE, CR_BIND_SUM, build_mean, NULL},
    {"prod", 1, 1, BINDER, 0, CR_OP_PRODR, CR_BIND_PROD, build_reduce, NULL},
    {"max", 1, MAX_ARGUMENTS, BINDER, 0, CR_OP_MAXR, CR_BIND_MAX, build_extremum, NULL},
    {"min", 1, MAX_ARGUMENTS, BINDER, 0, CR_OP_MINR, CR_BIND_MIN, build_extremum, NULL},
    {"all", 1, 1, BINDER, 0, CR_OP_ALLR, CR_BIND_ALL, build_reduce, NULL},
    {"any", 1, 1, BINDER, 0, CR_OP_ANYR, CR_BIND_ANY, build_reduce, NULL},
    {"norm1", 1, 1, 0, 0, CR_OP_NORM1, 0, build_reduce, NULL},
    {"norm2", 1, 1, 0, 0, CR_OP_NORM2, 0, build_reduce, NULL},
    {"norm_inf", 1, 1, 0, 0, CR_OP_NORM_INF, 0, build_reduce, NULL},
    {"softmax", 1, 1, 0, 0, CR_OP_SOFTMAX, 0, build_softmax, NULL},
    {"logsoftmax", 1, 1, 0, 0, CR_OP_LOGSOFTMAX, 0, build_softmax, NULL},
    {"tr", 1, 1, 0, 0, CR_OP_NONE, 0, build_trace, NULL},
    {"trace", 1, 1, 0, 0, CR_OP_NONE, 0, build_trace, NULL},
    {"diag", 1, 1, 0, 0, CR_OP_NONE, 0, build_diag, NULL},
    {"vec", 1, 1, 0, 0, CR_OP_NONE, 0, build_vec, NULL},
    {"kron", 2, 2, 0, 0, CR_OP_NONE, 0, build_kron, NULL},
    {"reshape", 2, CR_MAX_RANK + 1, 0, 0, CR_OP_NONE, 0, build_reshape, NULL},
#define WINDOW_ROW(text) {text, 1, MAX_ARGUMENTS, WINDOW, 0, CR_OP_NONE, 0, NULL, NULL}
    WINDOW_ROW("conv"), WINDOW_ROW("conv_x"), WINDOW_ROW("conv_w"), WINDOW_ROW("maxpool"), WINDOW_ROW("maxpool_ties"),
    WINDOW_ROW("maxpool_y"), WINDOW_ROW("maxpool_x"), WINDOW_ROW("sumpool"), WINDOW_ROW("sumpool_x"),
    WINDOW_ROW("avgpool"), WINDOW_ROW("slice"), WINDOW_ROW("place"), WINDOW_ROW("concat"),
    WINDOW_ROW("gather"), WINDOW_ROW("scatter"),
    {"transpose", 1, 1, 0, 0, CR_OP_NONE, 0, build_transpose, NULL},
    {"I", 1, 1, INTEGERS, 0, CR_OP_IDENTITY, 0, NULL, build_identity},
    {"iota", 1, 1, INTEGERS, 0, CR_OP_IOTA, 0, NULL, build_iota},
    {"ones", 1, CR_MAX_RANK, INTEGERS, 0, CR_OP_NONE, 0, NULL, build_ones},
    {"zeros", 1, CR_MAX_RANK, INTEGERS, 0, CR_OP_NONE, 0, NULL, build_zeros},
    {"e", 2, 2, INTEGERS, 1, CR_OP_ONEHOT, 0, NULL, build_onehot},
    {"delta", 2, 2, INTEGERS, 2, CR_OP_NONE, 0, NULL, build_delta_of},
};
enum { N_BUILTIN = sizeof table / sizeof table[0] };

const char *builtin_name(unsigned i) { return i < N_BUILTIN ? table[i].name : NULL; }
bool builtin_is_elementwise(unsigned id) { return table[id - 1].flags & ELEMENTWISE; }

/* ---- constants --------------------------------------------------------------------------------- */

static const struct { const char *name; double value; } constant[] = {
    {"pi", 3.14159265358979323846}, {"inf", INFINITY}, {"nan", NAN},
};

static const double *constant_value(const char *s)
{
    for (size_t i = 0; i < sizeof constant / sizeof constant[0]; i++)
        if (!strcmp(s, constant[i].name)) return &constant[i].value;
    return NULL;
}

bool is_constant_name(const char *s) { return constant_value(s) != NULL; }

cr_ref builtin_constant(parser *ps, const token *name, bool *found)
{
    const double *v = constant_value(name_text(ps->g->dims, name->name));
    *found = v != NULL;
    return v ? cr_const(ps->g, *v) : CR_NONE;
}

/* ---- calls ------------------------------------------------------------------------------------- */

bool parse_arguments(parser *ps, unsigned *n)
{
    token open = ps->tok;
    advance(ps);
    *n = 0;
    if (accept(ps, TOK_RPAREN)) return true;
    do {
        cr_ref a = parse_expression(ps);
        if (!a || !push(ps, a)) return false;
        if (++*n > MAX_ARGUMENTS) {
            fail_token(ps, &open, CR_ELIMIT, "more than %d arguments", MAX_ARGUMENTS);
            return false;
        }
    } while (accept(ps, TOK_COMMA));
    return expect_close(ps, TOK_RPAREN, &open);
}

static bool arity(parser *ps, const builtin *f, unsigned n, size_t start)
{
    if (n >= f->min && n <= f->max) return true;
    if (f->min == f->max)
        fail_at(ps, place(ps, start), CR_EARG, "`%s` takes %u argument%s, not %u", f->name, f->min,
                f->min == 1 ? "" : "s", n);
    else
        fail_at(ps, place(ps, start), CR_EARG, "`%s` takes %u to %u arguments, not %u", f->name, f->min, f->max, n);
    return false;
}

static cr_ref call_integers(parser *ps, const builtin *f, size_t start)
{
    token open = ps->tok;
    cr_dim d[CR_MAX_RANK];
    text_place w[CR_MAX_RANK];
    unsigned n = 0;
    advance(ps);
    while (!at(ps, TOK_RPAREN)) {
        if (n == f->max) {
            arity(ps, f, n + 1u, start);
            return CR_NONE;
        }
        size_t from = ps->tok.start;
        bool index = n < f->n_index;
        ps->in_index += index;
        d[n] = parse_integer(ps, index ? "an index" : "a size");
        ps->in_index -= index;
        if (!d[n]) return CR_NONE;
        w[n] = place(ps, from);
        int64_t v;
        if (!index && cr_dim_value(ps->g, d[n], &v) && v < 1)
            return fail_at(ps, w[n], CR_EARG, "a size must be at least 1, not %lld", (long long)v);
        n++;
        if (!accept(ps, TOK_COMMA)) break;
    }
    if (!expect_close(ps, TOK_RPAREN, &open) || !arity(ps, f, n, start)) return CR_NONE;
    if (f->op == CR_OP_ONEHOT && !note_index(ps, d[0], d[1], 0, w[0], place(ps, start))) return CR_NONE;
    return built(ps, f->build_integers(ps, n, d), start);
}

/* The indices are popped already, but their ranges can still be read. */
static cr_ref divide_by_count(parser *ps, cr_ref r, size_t first, size_t last, size_t start)
{
    dim_table *t = ps->g->dims;
    for (size_t i = first; i < last && r; i++) {
        const local_name *l = &ps->local[i];
        for (size_t k = first; k < i; k++)
            if (dim_uses(t, l->lo, ps->local[k].symbol) || dim_uses(t, l->hi, ps->local[k].symbol))
                return fail_at(ps, place(ps, start), CR_EUNSUPPORTED,
                               "the mean over a range that depends on another index; write sum(...) and divide");
        cr_dim count = cr_dim_add(ps->g, cr_dim_sub(ps->g, l->hi, l->lo), cr_dim_const(ps->g, 1));
        r = built(ps, cr_div(ps->g, r, cr_int(ps->g, count)), start);
    }
    return r;
}

static void turn_round(local_name *l)
{
    cr_dim swap = l->lo;
    l->lo = l->hi;
    l->hi = swap;
}

static cr_ref call_binder(parser *ps, const builtin *f, size_t start)
{
    token open = ps->tok;
    size_t first;
    advance(ps);
    if (!parse_binders(ps, TOK_COMMA, &first)) return CR_NONE;
    /* prod(i=N..2, W[i]) is W[N]*...*W[2]; its range is known to be that before the indices in its body are checked */
    local_name *l = &ps->local[first];
    bool alone = f->bind == CR_BIND_PROD && ps->n_local == first + 1;
    bool down = alone && !l->downwards && graph_runs_down(ps->g, l->lo, l->hi), chain = alone && (down || l->downwards);
    if (down) turn_round(l);
    cr_ref body = parse_expression(ps);
    if (!body || !expect_close(ps, TOK_RPAREN, &open)) return CR_NONE;
    size_t last = ps->n_local;
    if (chain && cr_rank(ps->g, body) == 2) return bind_indices(ps, CR_BIND_CHAIN, first, body, start);
    if (down) turn_round(&ps->local[first]);
    cr_ref r = bind_indices(ps, f->bind, first, body, start);
    return r && f->build == build_mean ? divide_by_count(ps, r, first, last, start) : r;
}

static cr_ref call_builtin(parser *ps, const builtin *f, size_t start)
{
    if (f->flags & INTEGERS) return call_integers(ps, f, start);
    if (f->flags & WINDOW) return parse_window(ps, f->name, start);
    if ((f->flags & BINDER) && peek(ps).kind == TOK_NAME) {
        lexer ahead = ps->lx; /* `(` is the next token: is it followed by a name and `=`? */
        token t;
        lex_next(&ahead, ps->g->dims, &t);
        lex_next(&ahead, ps->g->dims, &t);
        if (t.kind == TOK_ASSIGN) return call_binder(ps, f, start);
    }
    size_t base = ps->n_stack;
    call c = {.f = f, .start = start};
    if (!parse_arguments(ps, &c.n) || !arity(ps, f, c.n, start)) return CR_NONE;
    c.arg = ps->stack + base;
    cr_ref r = built(ps, f->build(ps, &c), start);
    ps->n_stack = base;
    return r;
}

/* f'...'(a) of an element-wise built-in function. The derivative is built for a parameter in place of a, so that an
 * argument that is a number does not fold the function away, by forward mode along ones, which is the derivative
 * element by element; then a is put in. */
static cr_ref differentiate(parser *ps, const call *c, unsigned order)
{
    cr_graph *g = ps->g;
    cr_ref a = c->arg[0];
    if (cr_dtype_of(g, a) != CR_REAL) return graph_fail(g, CR_ESHAPE, "a function takes numbers, not conditions");
    const cr_shape *s = shape_of(g, a);
    dim_sym name = fresh_symbol(g, "z");
    cr_ref z = name ? cr_param(g, name_text(g->dims, name), s->rank, s->dim, 0) : CR_NONE;
    if (!z) return CR_NONE;
    cr_ref arg[2] = {z, c->n > 1 ? c->arg[1] : CR_NONE};
    call of_z = {c->f, c->n, arg, c->start};
    cr_ref y = c->f->build(ps, &of_z), one = cr_full(g, cr_const(g, 1), s->rank, s->dim);
    for (unsigned k = 0; k < order && y; k++) {
        const op_info *info = op_get(op_of(g, y));
        bool direct = k == 0 && info && info->partial && op_of(g, y) == c->f->op;
        y = direct ? info->partial(g, y, 0) : cr_forward(g, y, 1, &z, &one);
        if (!y && g->err.status == CR_OK) y = cr_full(g, cr_const(g, 0), s->rank, s->dim); /* locally constant */
    }
    cr_ref r;
    if (!y || cr_rebuild(g, 1, &y, 1, &z, &a, &r) != CR_OK) return CR_NONE;
    return r;
}

static cr_ref call_derivative(parser *ps, const token *name, const builtin *f, unsigned order)
{
    size_t base = ps->n_stack;
    call c = {.f = f, .start = name->start};
    if (!parse_arguments(ps, &c.n) || !arity(ps, f, c.n, name->start)) return CR_NONE;
    c.arg = ps->stack + base;
    cr_ref r = built(ps, differentiate(ps, &c, order), name->start);
    ps->n_stack = base;
    return r;
}

/* After a name that is followed by ( or '. A quote directly after a function's name is its derivative if an argument
 * follows; after anything else it is a transpose, which the caller reads. */
cr_ref parse_call(parser *ps, const token *name)
{
    const char *s = name_text(ps->g->dims, name->name);
    global_name *e = global_of(ps->p, name->name);
    if (!e) return CR_NONE;
    const builtin *f = e->builtin ? &table[e->builtin - 1] : NULL;
    unsigned order = 0;
    if (at(ps, TOK_QUOTE)) {
        lexer ahead = ps->lx;
        token t = ps->tok;
        for (; t.kind == TOK_QUOTE; order += order <= MAX_ORDER) lex_next(&ahead, ps->g->dims, &t);
        if (t.kind != TOK_LPAREN || (e->kind != NAME_FUNCTION && !f)) return parse_name(ps, name);
        while (at(ps, TOK_QUOTE)) advance(ps);
        if (order > MAX_ORDER)
            return fail_at(ps, place(ps, name->start), CR_ELIMIT, "derivatives of order above %d", MAX_ORDER);
    }
    if (e->kind == NAME_FUNCTION) return parse_user_call(ps, name, order);
    if (f && order) {
        if (f->build != build_map && f->build != build_leaky_relu)
            return fail_at(ps, place(ps, name->start), CR_EUNSUPPORTED,
                           "`'` means the derivative of a function that acts element by element; `%s` does not, "
                           "use derive ... wrt", s);
        return call_derivative(ps, name, f, order);
    }
    if (f) return call_builtin(ps, f, name->start);
    if (find_local(ps, name->name) || find_free(ps, name->name) || e->kind != NAME_NONE)
        return fail_token(ps, name, CR_ESYNTAX,
                          "`%s` is not a function; a product is written %s*(...), a component %s[...]", s, s, s);
    return unknown_name(ps, name, "function", true);
}

cr_ref parse_if(parser *ps)
{
    token word = ps->tok;
    size_t base = ps->n_stack;
    unsigned n = 0;
    advance(ps);
    if (!at(ps, TOK_LPAREN)) return unexpected(ps, "`(`: if(condition, a, b)");
    token open = ps->tok;
    advance(ps);
    do {
        ps->in_branch += n > 0;
        cr_ref a = parse_expression(ps);
        ps->in_branch -= n > 0;
        if (!a || !push(ps, a)) return CR_NONE;
    } while (++n < 3 && accept(ps, TOK_COMMA));
    if (n == 3 && at(ps, TOK_COMMA)) return unexpected(ps, "`)`: if(condition, a, b)");
    if (!expect_close(ps, TOK_RPAREN, &open)) return CR_NONE;
    if (n != 3)
        return fail_at(ps, place(ps, word.start), CR_EARG, "`if` takes 3 arguments, if(condition, a, b), not %u", n);
    const cr_ref *a = ps->stack + base;
    cr_ref r = built(ps, cr_select(ps->g, a[0], a[1], a[2]), word.start);
    ps->n_stack = base;
    return r;
}
