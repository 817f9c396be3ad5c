/* Operators in C: the entry of a node as an expression, what takes statements, what fills an array. */
#include "lang/cemit.h"

#include <string.h>

typedef struct map_rule {
    uint16_t op;
    const char *name; /* of <math.h>, or NULL: the helper */
    ce_helper helper;
} map_rule;

static const map_rule maps[] = {
    {CR_OP_EXP, "exp", 0},    {CR_OP_LOG, "log", 0},   {CR_OP_SQRT, "sqrt", 0}, {CR_OP_ABS, "fabs", 0},
    {CR_OP_SIN, "sin", 0},    {CR_OP_COS, "cos", 0},   {CR_OP_TAN, "tan", 0},   {CR_OP_SINH, "sinh", 0},
    {CR_OP_COSH, "cosh", 0},  {CR_OP_TANH, "tanh", 0}, {CR_OP_ASIN, "asin", 0}, {CR_OP_ACOS, "acos", 0},
    {CR_OP_ATAN, "atan", 0},  {CR_OP_ERF, "erf", 0},   {CR_OP_SIGN, NULL, CEH_SIGN},
    {CR_OP_STEP, NULL, CEH_STEP}, {CR_OP_RELU, NULL, CEH_RELU}, {CR_OP_ELU, NULL, CEH_ELU},
    {CR_OP_SELU, NULL, CEH_SELU}, {CR_OP_GELU, NULL, CEH_GELU}, {CR_OP_SILU, NULL, CEH_SILU},
    {CR_OP_SOFTPLUS, NULL, CEH_SOFTPLUS}, {CR_OP_SIGMOID, NULL, CEH_SIGMOID}, {CR_OP_DSIGMOID, NULL, CEH_DSIGMOID},
    {CR_OP_DTANH, NULL, CEH_DTANH},
};

typedef struct infix_rule {
    uint16_t op;
    const char *sign;
    uint8_t inner, prec;
} infix_rule;

/* Brackets wherever a compiler would otherwise warn of their absence. */
static const infix_rule infix[] = {
    {CR_OP_LT, "<", CE_ADD, CE_COMPARE},  {CR_OP_LE, "<=", CE_ADD, CE_COMPARE},
    {CR_OP_EQ, "==", CE_ADD, CE_COMPARE}, {CR_OP_NE, "!=", CE_ADD, CE_COMPARE},
    {CR_OP_AND, "&&", CE_COMPARE, CE_LOGIC}, {CR_OP_OR, "||", CE_COMPARE, CE_LOGIC},
};

static ce_text operand(ce *w, cr_ref r, uint32_t i, const ce_text *index)
{
    cr_ref a = in_of(w->g, r, i);
    return shape_of(w->g, a)->rank ? ce_entry(w, a, index) : ce_scalar(w, a);
}

static ce_text call(ce *w, const char *name, ce_text a)
{
    return ce_make(ce_format(w, "%s(%s)", name, ce_in(w, a, CE_ANY)), CE_ATOM);
}

/* Numbers that are integers are compared as such. */
static ce_text comparison(ce *w, cr_ref r, const ce_text *index, const infix_rule *rule)
{
    cr_ref in[2] = {in_of(w->g, r, 0), in_of(w->g, r, 1)};
    cr_dim d[2];
    ce_text t[2];
    bool integers = (op_of(w->g, in[0]) == CR_OP_INT || op_of(w->g, in[1]) == CR_OP_INT) &&
                    as_dim(w->g, in[0], &d[0]) && as_dim(w->g, in[1], &d[1]);
    for (uint32_t i = 0; i < 2; i++) t[i] = integers ? ce_dim(w, d[i]) : operand(w, r, i, index);
    return ce_make(ce_format(w, "%s %s %s", ce_in(w, t[0], rule->inner), rule->sign, ce_in(w, t[1], rule->inner)),
                   rule->prec);
}

static ce_text add(ce *w, cr_ref r, const ce_text *index)
{
    strbuf b;
    sb_init(&b);
    for (uint32_t i = 0; i < node(w->g, r)->n_in && !ce_failed(w); i++) {
        ce_text t = operand(w, r, i, index);
        if (!t.s) break;
        if (i && t.s[0] == '-' && t.prec >= CE_MUL) sb_printf(&b, " - %s", t.s + 1);
        else sb_printf(&b, "%s%s", i ? " + " : "", ce_in(w, t, i ? CE_MUL : CE_ADD));
    }
    ce_text out = ce_make(ce_format(w, "%s", sb_str(&b)), CE_ADD);
    if (b.status != CR_OK) ce_fail(w, CR_ENOMEM, "out of memory");
    sb_free(&b);
    return out;
}

static ce_text power(ce *w, cr_ref r, const ce_text *index)
{
    ce_text a = operand(w, r, 0, index);
    double c;
    if (is_const(w->g, in_of(w->g, r, 1), &c)) {
        if (c == -1) return ce_make(ce_format(w, "1.0 / %s", ce_in(w, a, CE_UNARY)), CE_MUL);
        return ce_make(ce_format(w, "pow(%s, %s)", ce_in(w, a, CE_ANY), ce_number(w, c).s), CE_ATOM);
    }
    ce_text b = operand(w, r, 1, index);
    return ce_make(ce_format(w, "pow(%s, %s)", ce_in(w, a, CE_ANY), ce_in(w, b, CE_ANY)), CE_ATOM);
}

static ce_text user_call(ce *w, cr_ref r, const ce_text *index)
{
    cr_fun f = attr_of(w->g, r, 0);
    unsigned order = attr_of(w->g, r, 1);
    ce_text a = operand(w, r, 0, index);
    for (size_t i = 0; i < w->n_functions; i++)
        if (w->function[i].f == f && w->function[i].order == order) return call(w, w->function[i].name, a);
    const ce_name *n = ce_name_of(w, w->g->fun[f].name);
    return ce_make(ce_format(w, "%s(%u, %s)", n ? n->c : "", order, ce_in(w, a, CE_ANY)), CE_ATOM);
}

/* Of operators that act entry by entry. */
static ce_text map_entry(ce *w, cr_ref r, const ce_text *index)
{
    cr_graph *g = w->g;
    cr_op op = op_of(g, r);
    ce_text a, b, c;
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        if (maps[i].op == op)
            return call(w, maps[i].name ? maps[i].name : ce_use(w, maps[i].helper), operand(w, r, 0, index));
    for (size_t i = 0; i < sizeof infix / sizeof *infix; i++)
        if (infix[i].op == op) return comparison(w, r, index, &infix[i]);
    switch (op) {
    case CR_OP_ADD: return add(w, r, index);
    case CR_OP_POW: return power(w, r, index);
    case CR_OP_CALL: return user_call(w, r, index);
    case CR_OP_NOT:
        a = operand(w, r, 0, index);
        return ce_make(ce_format(w, "!%s", ce_in(w, a, CE_ATOM)), CE_UNARY);
    case CR_OP_DIV:
        a = operand(w, r, 0, index);
        b = operand(w, r, 1, index);
        return ce_make(ce_format(w, "%s / %s", ce_in(w, a, CE_MUL), ce_in(w, b, CE_UNARY)), CE_MUL);
    case CR_OP_MAX2: case CR_OP_MIN2: case CR_OP_MOD:
        a = operand(w, r, 0, index);
        b = operand(w, r, 1, index);
        return ce_make(ce_format(w, "%s(%s, %s)",
                                 ce_use(w, op == CR_OP_MAX2 ? CEH_MAX2 : op == CR_OP_MIN2 ? CEH_MIN2 : CEH_MOD),
                                 ce_in(w, a, CE_ANY), ce_in(w, b, CE_ANY)),
                       CE_ATOM);
    case CR_OP_SELECT:
        c = operand(w, r, 0, index);
        a = operand(w, r, 1, index);
        b = operand(w, r, 2, index);
        return ce_make(ce_format(w, "%s ? %s : %s", ce_in(w, c, CE_COMPARE), ce_in(w, a, CE_ADD), ce_in(w, b, CE_ADD)),
                       CE_ANY);
    case CR_OP_FENCE: return operand(w, r, 0, index);
    case CR_OP_LEAKY_RELU:
        a = operand(w, r, 0, index);
        return ce_make(ce_format(w, "%s(%s, %s)", ce_use(w, CEH_LEAKY_RELU), ce_in(w, a, CE_ANY),
                                 ce_number(w, attr_double(g, r, 0)).s),
                       CE_ATOM);
    default:
        ce_fail(w, CR_EUNSUPPORTED, "an operator that the C printer does not know");
        return ce_make("", CE_ATOM);
    }
}

/* ---- arrays ------------------------------------------------------------------------------------ */

const char *ce_array(ce *w, cr_ref r)
{
    while (op_of(w->g, r) == CR_OP_RESHAPE && !w->v[r].array && shape_of(w->g, in_of(w->g, r, 0))->rank)
        r = in_of(w->g, r, 0);
    if (w->v[r].array) return w->v[r].array;
    if (op_of(w->g, r) == CR_OP_PARAM && shape_of(w->g, r)->rank) {
        const ce_name *n = ce_name_of(w, attr_of(w->g, r, 0));
        return n ? n->c : "";
    }
    return NULL;
}

static ce_text equal(ce *w, ce_text a, ce_text b)
{
    if (a.s && b.s && !strcmp(a.s, b.s)) return ce_make("1.0", CE_ATOM); /* on a diagonal */
    return ce_make(ce_format(w, "%s == %s ? 1.0 : 0.0", ce_in(w, a, CE_ADD), ce_in(w, b, CE_ADD)), CE_ANY);
}

ce_text ce_entry(ce *w, cr_ref r, const ce_text *index)
{
    cr_graph *g = w->g;
    const cr_shape *s = shape_of(g, r);
    if (ce_failed(w)) return ce_make("", CE_ATOM);
    if (s->rank == 0) return ce_scalar(w, r);
    const char *array = ce_array(w, r);
    if (array) {
        const char *at = ce_format(w, "%s[%s]", array, ce_in(w, ce_flat(w, s->rank, s->dim, index), CE_ANY));
        return s->dtype == CR_BOOL ? ce_make(ce_format(w, "%s != 0", at), CE_COMPARE) : ce_make(at, CE_ATOM);
    }
    switch (op_of(g, r)) {
    case CR_OP_EINSUM: return ce_einsum_sums(w, r) ? ce_einsum_sum(w, r, index) : ce_einsum_entry(w, r, index);
    case CR_OP_MEMBER: return ce_member(w, r, index);
    case CR_OP_PICK: return ce_pick(w, r, index);
    case CR_OP_RESHAPE: return ce_scalar(w, in_of(g, r, 0)); /* of a number */
    case CR_OP_IDENTITY: return equal(w, index[0], index[1]);
    case CR_OP_ONEHOT:
        return equal(w, index[0], ce_dim(w, dim_sub(g->dims, attr_of(g, r, 0), dim_const(g->dims, 1))));
    case CR_OP_IOTA: return ce_make(ce_format(w, "(double)(%s + 1)", ce_in(w, index[0], CE_ADD)), CE_UNARY);
    default: return map_entry(w, r, index);
    }
}

static void store_reduction(ce *w, cr_ref r, const char *target)
{
    cr_graph *g = w->g;
    ce_text index[CR_MAX_RANK];
    const cr_shape *s = shape_of(g, r);
    unsigned loops = ce_loops(w, s->rank, s->dim, index);
    ce_text at = ce_flat(w, s->rank, s->dim, index);
    w->v[r].text = at; /* the row that ce_compute reduces */
    ce_text t = ce_compute(w, r);
    w->v[r].text = (ce_text){0};
    ce_line(w, "%s[%s] = %s;", target, at.s, t.s);
    ce_loops_end(w, loops);
}

static void store_softmax(ce *w, cr_ref r, const char *target)
{
    cr_graph *g = w->g;
    const cr_shape *s = shape_of(g, r);
    unsigned axis = attr_of(g, r, 0);
    cr_dim outer = dims_product(g, s->dim, axis), inner = dims_product(g, s->dim + axis + 1, s->rank - axis - 1);
    const char *x = ce_array(w, in_of(g, r, 0));
    const char *name = ce_use(w, op_of(g, r) == CR_OP_SOFTMAX ? CEH_SOFTMAX : CEH_LOGSOFTMAX);
    cr_dim sizes[3] = {outer, s->dim[axis], inner};
    ce_text index[3];
    unsigned loops = ce_loops(w, 1, &outer, index);
    index[1] = ce_make("0", CE_ATOM);
    loops += ce_loops(w, 1, &inner, index + 2);
    const char *at = ce_in(w, ce_flat(w, 3, sizes, index), CE_ADD);
    at = strcmp(at, "0") ? ce_format(w, " + %s", at) : "";
    ce_line(w, "%s(%s%s, %s%s, %s, %s);", name, x ? x : "", at, target, at, ce_dim_in(w, s->dim[axis], CE_ANY),
            ce_dim_in(w, inner, CE_ANY));
    ce_loops_end(w, loops);
}

static void store_matrix(ce *w, cr_ref r, const char *target)
{
    cr_graph *g = w->g;
    cr_ref a = in_of(g, r, 0);
    const char *x = ce_array(w, a), *m = ce_dim_in(w, shape_of(g, a)->dim[0], CE_ANY);
    w->fails = true;
    switch (op_of(g, r)) {
    case CR_OP_INV: ce_line(w, "if (%s(%s, %s, %s)) goto end;", ce_use(w, CEH_INV), x, m, target); break;
    case CR_OP_ADJ: ce_line(w, "if (%s(%s, %s, %s)) goto end;", ce_use(w, CEH_ADJ), x, m, target); break;
    case CR_OP_PINV:
        ce_line(w, "if (%s(%s, %s, %s, %s)) goto end;", ce_use(w, CEH_PINV), x, m,
                ce_dim_in(w, shape_of(g, a)->dim[1], CE_ANY), target);
        break;
    default:
        ce_use(w, CEH_MATMUL);
        ce_line(w, "if (%s(%s, %s, %s, %s)) goto end;", ce_use(w, CEH_MATPOW), x, m,
                ce_dim_in(w, attr_of(g, r, 0), CE_ANY), target);
    }
}

void ce_store(ce *w, cr_ref r, const char *target)
{
    cr_graph *g = w->g;
    const cr_shape *s = shape_of(g, r);
    ce_text index[CR_MAX_RANK];
    switch (op_of(g, r)) {
    case CR_OP_EINSUM:
        if (ce_einsum_sums(w, r)) {
            ce_einsum_store(w, r, target);
            return;
        }
        break;
    case CR_OP_STACK:
        for (uint32_t i = 0; i < node(g, r)->n_in; i++)
            ce_line(w, "%s[%u] = %s;", target, i, ce_in(w, ce_scalar(w, in_of(g, r, i)), CE_ANY));
        return;
    case CR_OP_SOFTMAX: case CR_OP_LOGSOFTMAX: store_softmax(w, r, target); return;
    case CR_OP_INV: case CR_OP_PINV: case CR_OP_ADJ: case CR_OP_MATPOW: store_matrix(w, r, target); return;
    case CR_OP_CONV: case CR_OP_WINDOW: case CR_OP_MAXPOOL: case CR_OP_MAXTIES: case CR_OP_MAXPICK:
        ce_window_store(w, r, target);
        return;
    case CR_OP_GATHER: case CR_OP_SCATTER: ce_rows_store(w, r, target); return;
    case CR_OP_MAXR: case CR_OP_MINR: case CR_OP_PRODR: case CR_OP_ALLR: case CR_OP_ANYR:
    case CR_OP_NORM1: case CR_OP_NORM2: case CR_OP_NORM_INF:
        store_reduction(w, r, target);
        return;
    default: break;
    }
    unsigned loops = ce_loops(w, s->rank, s->dim, index);
    const char *at = ce_flat(w, s->rank, s->dim, index).s;
    ce_line(w, "%s[%s] = %s;", target, at, ce_in(w, ce_entry(w, r, index), CE_ANY));
    ce_loops_end(w, loops);
}

/* ---- numbers ----------------------------------------------------------------------------------- */

bool ce_is_statement(ce *w, cr_ref r)
{
    cr_op op = op_of(w->g, r);
    return op_get(op)->kind == KIND_REDUCE || op == CR_OP_DET || op == CR_OP_LOGDET || op == CR_OP_GATHER ||
           (op == CR_OP_EINSUM && ce_einsum_sums(w, r));
}

ce_text ce_compute(ce *w, cr_ref r)
{
    static const struct {
        uint16_t op;
        ce_helper helper;
    } reductions[] = {{CR_OP_MAXR, CEH_MAX},   {CR_OP_MINR, CEH_MIN},     {CR_OP_PRODR, CEH_PROD},
                      {CR_OP_ALLR, CEH_ALL},   {CR_OP_ANYR, CEH_ANY},     {CR_OP_NORM1, CEH_NORM1},
                      {CR_OP_NORM2, CEH_NORM2}, {CR_OP_NORM_INF, CEH_NORM_INF}};
    cr_graph *g = w->g;
    cr_op op = op_of(g, r);
    if (op == CR_OP_EINSUM) return ce_einsum_sum(w, r, NULL);
    if (op == CR_OP_GATHER) return ce_gather_number(w, r);
    cr_ref a = in_of(g, r, 0);
    const cr_shape *s = shape_of(g, a);
    const char *x = ce_array(w, a);
    if (op == CR_OP_DET || op == CR_OP_LOGDET) {
        const char *name = ce_fresh(w, "t");
        w->fails = true;
        ce_line(w, "double %s;", name);
        ce_line(w, "if (%s(%s, %s, &%s)) goto end;", ce_use(w, op == CR_OP_DET ? CEH_DET : CEH_LOGDET), x ? x : "",
                ce_dim_in(w, s->dim[0], CE_ANY), name);
        return ce_make(name, CE_ATOM);
    }
    unsigned keep = attr_of(g, r, 0);
    cr_dim inner = dims_product(g, s->dim + keep, s->rank - keep);
    const char *row = x ? x : "";
    if (keep) row = ce_format(w, "%s + %s * %s", row, ce_in(w, w->v[r].text, CE_UNARY), ce_dim_in(w, inner, CE_UNARY));
    ce_text out = {0};
    for (size_t i = 0; i < sizeof reductions / sizeof *reductions; i++)
        if (reductions[i].op == op)
            out = ce_make(ce_format(w, "%s(%s, %s)", ce_use(w, reductions[i].helper), row,
                                    ce_dim_in(w, inner, CE_ANY)),
                          CE_UNARY);
    return out;
}

ce_text ce_scalar(ce *w, cr_ref r)
{
    cr_graph *g = w->g;
    if (ce_failed(w)) return ce_make("", CE_ATOM);
    if (w->v[r].text.s) return w->v[r].text;
    switch (op_of(g, r)) {
    case CR_OP_PARAM:
        if (w->depends[r] >> CE_ARGUMENT & 1) return ce_make("z", CE_ATOM);
        return ce_make(ce_name_of(w, attr_of(g, r, 0))->c, CE_ATOM);
    case CR_OP_CONST:
        if (shape_of(g, r)->dtype == CR_BOOL) return ce_make(attr_double(g, r, 0) != 0 ? "1" : "0", CE_ATOM);
        return ce_number(w, attr_double(g, r, 0));
    case CR_OP_INT: return ce_make(ce_format(w, "(double)%s", ce_dim_in(w, attr_of(g, r, 0), CE_ATOM)), CE_UNARY);
    case CR_OP_MEMBER: return ce_member(w, r, NULL);
    case CR_OP_PICK: return ce_pick(w, r, NULL);
    case CR_OP_EINSUM: return ce_einsum_entry(w, r, NULL);
    case CR_OP_RESHAPE: {
        const char *x = ce_array(w, in_of(g, r, 0));
        return x ? ce_make(ce_format(w, "%s[0]", x), CE_ATOM) : ce_scalar(w, in_of(g, r, 0));
    }
    default: return map_entry(w, r, NULL);
    }
}
