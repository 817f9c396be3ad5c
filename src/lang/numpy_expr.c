/* Operators in NumPy: one case or one table row each. */
#include "lang/numpy.h"

#include <string.h>

/* Functions of one argument. `text`: the name of a NumPy function, or NULL: the helper. */
typedef struct map_rule {
    uint16_t op;
    const char *name;
    py_helper helper;
} map_rule;

static const map_rule maps[] = {
    {CR_OP_EXP, "np.exp", 0},       {CR_OP_LOG, "np.log", 0},       {CR_OP_SQRT, "np.sqrt", 0},
    {CR_OP_ABS, "np.abs", 0},       {CR_OP_SIGN, "np.sign", 0},     {CR_OP_SIN, "np.sin", 0},
    {CR_OP_COS, "np.cos", 0},       {CR_OP_TAN, "np.tan", 0},       {CR_OP_SINH, "np.sinh", 0},
    {CR_OP_COSH, "np.cosh", 0},     {CR_OP_TANH, "np.tanh", 0},     {CR_OP_ASIN, "np.arcsin", 0},
    {CR_OP_ACOS, "np.arccos", 0},   {CR_OP_ATAN, "np.arctan", 0},   {CR_OP_NOT, "np.logical_not", 0},
    {CR_OP_DET, "np.linalg.det", 0}, {CR_OP_INV, "np.linalg.inv", 0}, {CR_OP_PINV, "np.linalg.pinv", 0},
    {CR_OP_ELU, NULL, PY_ELU},      {CR_OP_SELU, NULL, PY_SELU},    {CR_OP_GELU, NULL, PY_GELU},
    {CR_OP_SILU, NULL, PY_SILU},    {CR_OP_SIGMOID, NULL, PY_SIGMOID}, {CR_OP_DSIGMOID, NULL, PY_DSIGMOID},
    {CR_OP_DTANH, NULL, PY_DTANH},  {CR_OP_ERF, NULL, PY_ERF},      {CR_OP_LOGDET, NULL, PY_LOGDET},
    {CR_OP_ADJ, NULL, PY_ADJ},
};

typedef struct infix_rule {
    uint16_t op;
    const char *name; /* of a function of two arguments */
    const char *sign;
} infix_rule;

static const infix_rule infix[] = {
    {CR_OP_LT, NULL, "<"}, {CR_OP_LE, NULL, "<="}, {CR_OP_EQ, NULL, "=="}, {CR_OP_NE, NULL, "!="},
    {CR_OP_MAX2, "np.maximum", NULL}, {CR_OP_MIN2, "np.minimum", NULL}, {CR_OP_MOD, "np.mod", NULL},
    {CR_OP_AND, "np.logical_and", NULL}, {CR_OP_OR, "np.logical_or", NULL},
};

static py_text function(py *w, const char *name, cr_ref r)
{
    py_text a = py_value(w, in_of(w->g, r, 0));
    return py_make(py_format(w, "%s(%s)", name, a.s), PY_ATOM, a.full);
}

static py_text sum(py *w, cr_ref r)
{
    const cr_node *nd = node(w->g, r);
    strbuf b;
    sb_init(&b);
    bool full = false;
    for (uint32_t i = 0; i < nd->n_in; i++) {
        py_text t = py_value(w, nd->word[i]);
        full = full || t.full;
        if (!t.s) break;
        if (i && t.s[0] == '-') sb_printf(&b, " - %s", t.s + 1); /* texts that begin with a minus are products */
        else sb_printf(&b, "%s%s", i ? " + " : "", py_in(w, t, PY_ADD));
    }
    py_text out = py_make(py_format(w, "%s", sb_str(&b)), PY_ADD, full);
    if (b.status != CR_OK) pr_fail(&w->p, CR_ENOMEM, "out of memory");
    sb_free(&b);
    return out;
}

static py_text power(py *w, cr_ref r)
{
    py_text a = py_value(w, in_of(w->g, r, 0)), b = py_value(w, in_of(w->g, r, 1));
    double c;
    bool full = a.full || b.full, known = is_const(w->g, in_of(w->g, r, 1), &c);
    if (known && c == -1) return py_make(py_format(w, "1 / %s", py_in(w, a, PY_NEG)), PY_MUL, full);
    if (known && c == 0.5) return py_make(py_format(w, "np.sqrt(%s)", a.s), PY_ATOM, full);
    if (known && c < 0) {
        unsigned prec;
        return py_make(py_format(w, "1 / %s ** %s", py_in(w, a, PY_ATOM), py_number(w, -c, &prec)), PY_MUL, full);
    }
    return py_make(py_format(w, "%s ** %s", py_in(w, a, PY_ATOM), py_in(w, b, PY_ATOM)), PY_POW, full);
}

/* Reductions over the axes from `keep` on. */
static py_text reduction(py *w, cr_ref r)
{
    cr_ref a = in_of(w->g, r, 0);
    unsigned keep = attr_of(w->g, r, 0), rank = shape_of(w->g, a)->rank;
    const char *x = py_whole(w, a, PY_ANY), *axis = "";
    if (keep == 0) axis = "";
    else if (keep + 1 == rank) axis = py_format(w, ", axis=%u", keep);
    else {
        strbuf b;
        sb_init(&b);
        for (unsigned k = keep; k < rank; k++) sb_printf(&b, "%s%u", k > keep ? ", " : "", k);
        axis = py_format(w, ", axis=(%s)", sb_str(&b));
        sb_free(&b);
    }
    const char *s;
    switch (op_of(w->g, r)) {
    case CR_OP_MAXR: s = py_format(w, "np.max(%s%s)", x, axis); break;
    case CR_OP_MINR: s = py_format(w, "np.min(%s%s)", x, axis); break;
    case CR_OP_PRODR: s = py_format(w, "np.prod(%s%s)", x, axis); break;
    case CR_OP_ALLR: s = py_format(w, "np.all(%s%s)", x, axis); break;
    case CR_OP_ANYR: s = py_format(w, "np.any(%s%s)", x, axis); break;
    case CR_OP_NORM1: s = py_format(w, "np.sum(np.abs(%s)%s)", x, axis); break;
    case CR_OP_NORM2:
        if (keep == 0 && rank <= 2) s = py_format(w, "np.linalg.norm(%s)", x);
        else if (keep + 1 == rank) s = py_format(w, "np.linalg.norm(%s%s)", x, axis);
        else s = py_format(w, "np.sqrt(np.sum(np.square(%s)%s))", x, axis);
        break;
    default: s = py_format(w, "np.max(np.abs(%s)%s)", x, axis); break;
    }
    return py_make(s, PY_ATOM, true);
}

static py_text stack(py *w, cr_ref r)
{
    const cr_node *nd = node(w->g, r);
    const cr_shape *s = shape_of(w->g, r);
    strbuf b;
    sb_init(&b);
    for (uint32_t i = 0; i < nd->n_in; i++)
        sb_printf(&b, "%s%s", i ? ", " : "", py_in(w, py_value(w, nd->word[i]), PY_ANY));
    const char *t = py_format(w, "np.array([%s], dtype=np.float64)", sb_str(&b));
    if (b.status != CR_OK) pr_fail(&w->p, CR_ENOMEM, "out of memory");
    sb_free(&b);
    if (s->rank != 1) t = py_format(w, "%s.reshape(%s)", t, py_shape(w, s->rank, s->dim));
    return py_make(t, PY_ATOM, true);
}

py_text py_expression(py *w, cr_ref r, uint64_t scope)
{
    cr_graph *g = w->g;
    cr_op op = op_of(g, r);
    const cr_shape *s = shape_of(g, r);
    unsigned prec;
    const char *t;
    py_text a, b;
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        if (maps[i].op == op) {
            if (op_get(op)->kind == KIND_LINALG)
                return py_make(py_format(w, "%s(%s)", maps[i].name ? maps[i].name : py_use(w, maps[i].helper),
                                         py_whole(w, in_of(g, r, 0), PY_ANY)),
                               PY_ATOM, true);
            return function(w, maps[i].name ? maps[i].name : py_use(w, maps[i].helper), r);
        }
    for (size_t i = 0; i < sizeof infix / sizeof *infix; i++)
        if (infix[i].op == op) {
            a = py_value(w, in_of(g, r, 0));
            b = py_value(w, in_of(g, r, 1));
            if (infix[i].name)
                return py_make(py_format(w, "%s(%s, %s)", infix[i].name, a.s, b.s), PY_ATOM, a.full || b.full);
            return py_make(py_format(w, "%s %s %s", py_in(w, a, PY_ADD), infix[i].sign, py_in(w, b, PY_ADD)),
                           PY_COMPARE, a.full || b.full);
        }
    switch (op) {
    case CR_OP_PARAM:
        if (r == w->argument) return py_make("z", PY_ATOM, true);
        return py_make(py_name(w, attr_of(g, r, 0)), PY_ATOM, true);
    case CR_OP_CONST:
        if (s->dtype == CR_BOOL) return py_make(attr_double(g, r, 0) != 0 ? "True" : "False", PY_ATOM, true);
        t = py_number(w, attr_double(g, r, 0), &prec);
        return py_make(t, prec, true);
    case CR_OP_INT:
        t = py_dim(w, attr_of(g, r, 0), &prec);
        return py_make(t, prec, true);
    case CR_OP_ONEHOT:
        t = py_dim(w, s->dim[0], &prec);
        return py_make(py_format(w, "np.eye(%s)[%s]", t, py_at(w, attr_of(g, r, 0), s->dim[0])), PY_ATOM, true);
    case CR_OP_IDENTITY: return py_make(py_format(w, "np.eye(%s)", py_dim(w, s->dim[0], &prec)), PY_ATOM, true);
    case CR_OP_IOTA:
        t = py_dim(w, dim_add(g->dims, s->dim[0], dim_const(g->dims, 1)), &prec);
        return py_make(py_format(w, "np.arange(1.0, %s)", t), PY_ATOM, true);
    case CR_OP_EINSUM: return py_einsum(w, r);
    case CR_OP_ADD: return sum(w, r);
    case CR_OP_DIV:
        a = py_value(w, in_of(g, r, 0));
        b = py_value(w, in_of(g, r, 1));
        return py_make(py_format(w, "%s / %s", py_in(w, a, PY_MUL), py_in(w, b, PY_NEG)), PY_MUL, a.full || b.full);
    case CR_OP_POW: return power(w, r);
    case CR_OP_MEMBER: return py_member(w, r);
    case CR_OP_PICK: return py_pick(w, r);
    case CR_OP_SELECT: {
        if (w->strict && py_is_choice(w, r)) return py_choice(w, r, scope);
        py_text c = py_value(w, in_of(g, r, 0));
        a = py_value(w, in_of(g, r, 1));
        b = py_value(w, in_of(g, r, 2));
        if (s->rank == 0 && !w->in_function)
            return py_make(py_format(w, "%s if %s else %s", py_in(w, a, PY_COMPARE), py_in(w, c, PY_COMPARE),
                                     py_in(w, b, PY_COMPARE)),
                           PY_ANY, true);
        return py_make(py_format(w, "np.where(%s, %s, %s)", c.s, a.s, b.s), PY_ATOM, c.full || a.full || b.full);
    }
    case CR_OP_FENCE: return py_value(w, in_of(g, r, 0));
    case CR_OP_STEP:
        a = py_value(w, in_of(g, r, 0));
        return py_make(py_format(w, "np.heaviside(%s, 0.0)", a.s), PY_ATOM, a.full);
    case CR_OP_RELU:
        a = py_value(w, in_of(g, r, 0));
        return py_make(py_format(w, "np.maximum(%s, 0.0)", a.s), PY_ATOM, a.full);
    case CR_OP_SOFTPLUS:
        a = py_value(w, in_of(g, r, 0));
        return py_make(py_format(w, "np.logaddexp(0.0, %s)", a.s), PY_ATOM, a.full);
    case CR_OP_LEAKY_RELU:
        a = py_value(w, in_of(g, r, 0));
        t = py_number(w, attr_double(g, r, 0), &prec);
        return py_make(py_format(w, "%s(%s, %s)", py_use(w, PY_LEAKY_RELU), a.s, t), PY_ATOM, a.full);
    case CR_OP_MAXR: case CR_OP_MINR: case CR_OP_PRODR: case CR_OP_ALLR: case CR_OP_ANYR:
    case CR_OP_NORM1: case CR_OP_NORM2: case CR_OP_NORM_INF:
        return reduction(w, r);
    case CR_OP_SOFTMAX: case CR_OP_LOGSOFTMAX:
        t = py_whole(w, in_of(g, r, 0), PY_ANY);
        return py_make(py_format(w, "%s(%s, %u)", py_use(w, op == CR_OP_SOFTMAX ? PY_SOFTMAX : PY_LOGSOFTMAX), t,
                                 attr_of(g, r, 0)),
                       PY_ATOM, true);
    case CR_OP_RESHAPE:
        t = py_whole(w, in_of(g, r, 0), PY_ANY);
        return py_make(py_format(w, "np.reshape(%s, %s)", t, py_shape(w, s->rank, s->dim)), PY_ATOM, true);
    case CR_OP_STACK: return stack(w, r);
    case CR_OP_GATHER: {
        const char *from = py_whole(w, in_of(g, r, 0), PY_ANY), *index = py_whole(w, in_of(g, r, 1), PY_ANY);
        t = py_dim(w, shape_of(g, in_of(g, r, 0))->dim[attr_of(g, r, 0)], &prec);
        return py_make(py_format(w, "np.take(%s, %s(%s, %s), axis=%u)", from, py_use(w, PY_ROWS), index, t,
                                 attr_of(g, r, 0)),
                       PY_ATOM, true);
    }
    case CR_OP_SCATTER: {
        const char *from = py_whole(w, in_of(g, r, 0), PY_ANY), *index = py_whole(w, in_of(g, r, 1), PY_ANY);
        t = py_dim(w, s->dim[attr_of(g, r, 0)], &prec);
        return py_make(py_format(w, "%s(%s, %s, %u, %s)", py_use(w, PY_SCATTER), from, index, attr_of(g, r, 0), t),
                       PY_ATOM, true);
    }
    case CR_OP_CONV: case CR_OP_WINDOW: case CR_OP_MAXPOOL: case CR_OP_MAXTIES: case CR_OP_MAXPICK:
        return py_window(w, r);
    case CR_OP_MATPOW:
        t = py_whole(w, in_of(g, r, 0), PY_ANY);
        return py_make(py_format(w, "np.linalg.matrix_power(%s, %s)", t, py_dim(w, attr_of(g, r, 0), &prec)), PY_ATOM,
                       true);
    case CR_OP_CALL: {
        cr_fun f = attr_of(g, r, 0);
        unsigned order = attr_of(g, r, 1);
        t = g->fun[f].body ? py_known(w, f, order) : py_unknown(w, f, order);
        return t ? function(w, t, r) : (py_text){0};
    }
    case CR_OP_BIND: return py_bind(w, r, scope);
    default:
        pr_fail(&w->p, CR_EUNSUPPORTED, "an operator that the NumPy printer does not know");
        return (py_text){0};
    }
}
