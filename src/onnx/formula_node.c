/* Expressions as nodes of ONNX, operator set 17. Element by element, operands of a shape align from the last axis, so
 * that an operand without the axis of samples stands beside one with it. */
#include "onnx/formula.h"

#include "ops/ops.h"

#include <string.h>

enum { MAX_CONSTANT = 1 << 20, MAX_OPERANDS = 64 };

typedef struct writer {
    formula *f;
    cr_graph *g;
    cr_ref r;
    const char *own, *within;
} writer;

/* ---- attributes ----------------------------------------------------------------------------------- */

static Onnx__AttributeProto *attribute(writer *w, const char *name, Onnx__AttributeProto__AttributeType type)
{
    Onnx__AttributeProto *a = formula_alloc(w->f, sizeof *a);
    if (!a) return NULL;
    onnx__attribute_proto__init(a);
    a->name = (char *)name;
    a->has_type = true;
    a->type = type;
    return a;
}

static Onnx__AttributeProto *integer(writer *w, const char *name, int64_t v)
{
    Onnx__AttributeProto *a = attribute(w, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    if (!a) return NULL;
    a->has_i = true;
    a->i = v;
    return a;
}

static Onnx__AttributeProto *real(writer *w, const char *name, double v)
{
    Onnx__AttributeProto *a = attribute(w, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    if (!a) return NULL;
    a->has_f = true;
    a->f = (float)v;
    return a;
}

static Onnx__AttributeProto *text(writer *w, const char *name, const char *s)
{
    Onnx__AttributeProto *a = attribute(w, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    if (!a) return NULL;
    a->has_s = true;
    a->s = (ProtobufCBinaryData){strlen(s), (uint8_t *)s};
    return a;
}

static Onnx__AttributeProto *integers(writer *w, const char *name, unsigned n, const int64_t *v)
{
    Onnx__AttributeProto *a = attribute(w, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    int64_t *own = a ? formula_alloc(w->f, (n + 1) * sizeof *own) : NULL;
    if (!own) return NULL;
    memcpy(own, v, n * sizeof *own);
    a->n_ints = n;
    a->ints = own;
    return a;
}

/* ---- nodes ---------------------------------------------------------------------------------------- */

/* Appends a node; what it makes is named `out`, or, NULL, after the definition that it stands in. */
static const char *put(writer *w, const char *out, const char *op, unsigned n_in, const char *const *in,
                       Onnx__AttributeProto *a, Onnx__AttributeProto *b)
{
    formula *f = w->f;
    Onnx__GraphProto *graph = &f->graph;
    if (!out) {
        const char *stem = formula_text(f, "%s/%s", w->within, op);
        dim_sym s = stem ? name_intern(f->g->dims, stem, strlen(stem)) : 0;
        size_t old = f->times_cap;
        if (!s || !VEC_RESERVE(f->times, f->times_cap, (size_t)s + 1)) {
            formula_fail(f, CR_ENOMEM, "out of memory");
            return NULL;
        }
        if (f->times_cap > old) memset(f->times + old, 0, (f->times_cap - old) * sizeof *f->times);
        unsigned k = ++f->times[s];
        out = k == 1 ? stem : formula_text(f, "%s_%u", stem, k);
    }
    Onnx__NodeProto *node = formula_alloc(f, sizeof *node);
    char **list = formula_alloc(f, (n_in + 3) * sizeof *list);
    Onnx__AttributeProto **attributes = formula_alloc(f, 2 * sizeof *attributes);
    if (!out || !node || !list || !attributes) return NULL;
    if (!VEC_RESERVE(graph->node, f->node_cap, graph->n_node + 1)) {
        formula_fail(f, CR_ENOMEM, "out of memory");
        return NULL;
    }
    onnx__node_proto__init(node);
    for (unsigned i = 0; i < n_in; i++) list[i] = (char *)in[i];
    list[n_in] = (char *)out;
    attributes[0] = a;
    attributes[1] = b;
    node->name = (char *)out;
    node->op_type = (char *)op;
    node->n_input = n_in;
    node->input = list;
    node->n_output = 1;
    node->output = &list[n_in];
    node->n_attribute = (size_t)(a != NULL) + (b != NULL);
    node->attribute = attributes;
    graph->node[graph->n_node++] = node;
    return out;
}

static const char *put1(writer *w, const char *out, const char *op, const char *a, Onnx__AttributeProto *attr)
{
    return a ? put(w, out, op, 1, &a, attr, NULL) : NULL;
}

static const char *put2(writer *w, const char *out, const char *op, const char *a, const char *b)
{
    const char *in[2] = {a, b};
    return a && b ? put(w, out, op, 2, in, NULL, NULL) : NULL;
}

/* A constant: a node, not a parameter. data: the arena's, in the type. */
static const char *constant(writer *w, int type, unsigned rank, const int64_t *dim, const void *data, size_t bytes)
{
    Onnx__AttributeProto *a = attribute(w, "value", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR);
    Onnx__TensorProto *t = formula_alloc(w->f, sizeof *t);
    int64_t *dims = formula_alloc(w->f, (rank + 1) * sizeof *dims);
    if (!a || !t || !dims) return NULL;
    onnx__tensor_proto__init(t);
    if (rank) memcpy(dims, dim, rank * sizeof *dims);
    t->n_dims = rank;
    t->dims = dims;
    t->has_data_type = true;
    t->data_type = type;
    t->has_raw_data = true;
    t->raw_data = (ProtobufCBinaryData){bytes, (uint8_t *)data};
    a->t = t;
    return put(w, NULL, "Constant", 0, NULL, a, NULL);
}

static const char *number(writer *w, double v)
{
    double *x = formula_alloc(w->f, sizeof *x);
    if (!x) return NULL;
    *x = v;
    return constant(w, ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE, 0, NULL, x, sizeof *x);
}

static bool sizes_of(writer *w, cr_ref r, int64_t *dim, size_t *count)
{
    const cr_shape *s = shape_of(w->g, r);
    *count = 1;
    for (unsigned i = 0; i < s->rank; i++) {
        if (!dim_value(w->g->dims, s->dim[i], &dim[i]))
            return formula_fail(w->f, CR_EVALUE,
                                "the size of %s is not a number: give the sizes, as in `let n = 3` or "
                                "--set \"n=3\"",
                                shape_text(w->g, r, 0));
        *count *= (size_t)dim[i];
        if (*count > MAX_CONSTANT)
            return formula_fail(w->f, CR_ELIMIT, "a constant of %s is too large", shape_text(w->g, r, 0));
    }
    return true;
}

/* Leaves that are numbers: constants, iota, unit vectors, identity. */
static const char *leaf(writer *w, cr_ref r)
{
    cr_graph *g = w->g;
    int64_t dim[CR_MAX_RANK], k = 0;
    size_t n;
    double v = 0;
    if (!sizes_of(w, r, dim, &n)) return NULL;
    double *x = formula_alloc(w->f, (n + 1) * sizeof *x);
    if (!x) return NULL;
    cr_op op = op_of(g, r);
    if (op == CR_OP_ONEHOT && dim_value(g->dims, attr_of(g, r, 0), &k) && k >= 1 && k <= dim[0]) {
        x[k - 1] = 1;
    } else if (op == CR_OP_IDENTITY) {
        for (int64_t i = 0; i < dim[0]; i++) x[i * dim[0] + i] = 1;
    } else if (op == CR_OP_IOTA) {
        for (int64_t i = 0; i < dim[0]; i++) x[i] = (double)(i + 1);
    } else if (is_const(g, r, &v)) {
        for (size_t i = 0; i < n; i++) x[i] = v;
    } else {
        formula_fail(w->f, CR_EVALUE, "an index or a number in the network has no value");
        return NULL;
    }
    return constant(w, ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE, shape_of(g, r)->rank, dim, x, n * sizeof *x);
}

static formula_value *made(writer *w, cr_ref r) { return &w->f->value[r]; }
static const char *in(writer *w, unsigned i) { return made(w, in_of(w->g, w->r, i))->name; }

/* ---- sums and products ---------------------------------------------------------------------------- */

/* -a, if r is (-1)*a; else CR_NONE. */
static cr_ref negated(cr_graph *g, cr_ref r)
{
    einsum_view v;
    double c;
    if (op_of(g, r) != CR_OP_EINSUM) return CR_NONE;
    einsum_read(g, r, &v);
    for (uint32_t i = 0; v.n == 2 && i < 2; i++) {
        if (is_const(g, v.operand[i], &c) && c == -1 && is_scalar(g, v.operand[i]) &&
            same_shape(g, v.operand[1 - i], r))
            return v.operand[1 - i];
    }
    return CR_NONE;
}

static bool write_add(writer *w)
{
    uint32_t n = node(w->g, w->r)->n_in;
    const char *sum = in(w, 0);
    for (uint32_t i = 1; i < n && sum; i++) {
        cr_ref minus = negated(w->g, in_of(w->g, w->r, i));
        const char *out = i + 1 == n ? w->own : NULL;
        bool less = minus != CR_NONE && made(w, minus)->name;
        sum = put2(w, out, less ? "Sub" : "Add", sum, less ? made(w, minus)->name : in(w, i));
    }
    made(w, w->r)->name = sum;
    return sum != NULL;
}

static char letter(unsigned label) { return (char)(label < 26 ? 'a' + label : 'A' + label - 26); }
enum { SAMPLES = 51 }; /* the label of the axis of samples: Z */

/* All operands have the axes of the result, or are numbers: an element-wise product. */
static bool is_mul(writer *w, const einsum_view *v)
{
    const uint32_t *l = v->labels;
    for (uint32_t i = 0; i < v->n; i++) {
        unsigned rank = cr_rank(w->g, v->operand[i]);
        bool whole = rank == v->rank;
        for (unsigned k = 0; k < rank; k++) whole = whole && l[k] == k;
        l += rank;
        if (!whole && (rank > 0 || made(w, v->operand[i])->batched)) return false;
    }
    return v->n > 1;
}

/* W*x with x of samples: Gemm of x and W, transposed. */
static bool is_affine(writer *w, const einsum_view *v, uint32_t *matrix)
{
    if (v->n != 2 || v->rank != 1) return false;
    for (uint32_t m = 0; m < 2; m++) {
        cr_ref a = v->operand[m], x = v->operand[1 - m];
        const uint32_t *la = v->labels + (m ? cr_rank(w->g, x) : 0), *lx = v->labels + (m ? 0 : cr_rank(w->g, a));
        if (cr_rank(w->g, a) != 2 || cr_rank(w->g, x) != 1 || made(w, a)->batched || !made(w, x)->batched) continue;
        *matrix = m;
        return la[0] == 0 && la[1] == lx[0] && lx[0] != 0;
    }
    return false;
}

static bool write_einsum(writer *w)
{
    einsum_view v;
    uint32_t matrix;
    const char *out = NULL, *list[MAX_OPERANDS + 1];
    einsum_read(w->g, w->r, &v);
    if (v.n >= MAX_OPERANDS || v.n_labels >= SAMPLES)
        return formula_fail(w->f, CR_EUNSUPPORTED, "a product of %u factors is too long for ONNX", (unsigned)v.n);
    if (is_mul(w, &v)) {
        out = made(w, v.operand[0])->name;
        for (uint32_t i = 1; i < v.n; i++)
            out = put2(w, i + 1 == v.n ? w->own : NULL, "Mul", out, made(w, v.operand[i])->name);
    } else if (is_affine(w, &v, &matrix)) {
        list[0] = made(w, v.operand[1 - matrix])->name;
        list[1] = made(w, v.operand[matrix])->name;
        out = put(w, w->own, "Gemm", 2, list, integer(w, "transB", 1), NULL);
    } else {
        strbuf b;
        bool has[EINSUM_MAX_LABELS] = {false};
        const uint32_t *l = v.labels;
        unsigned n = v.n;
        sb_init(&b);
        for (uint32_t i = 0; i < v.n; i++) {
            unsigned rank = cr_rank(w->g, v.operand[i]);
            list[i] = made(w, v.operand[i])->name;
            sb_printf(&b, "%s%s", i ? "," : "", made(w, v.operand[i])->batched ? "Z" : "");
            for (unsigned k = 0; k < rank; k++) {
                sb_printf(&b, "%c", letter(l[k]));
                has[l[k]] = true;
            }
            l += rank;
        }
        for (unsigned k = 0; k < v.rank; k++) { /* along an axis that no operand has, it is repeated */
            int64_t size;
            if (has[k]) continue;
            if (n == MAX_OPERANDS || !dim_value(w->g->dims, v.size[k], &size)) {
                sb_free(&b);
                return formula_fail(w->f, CR_EVALUE, "a size has no value");
            }
            cr_dim d = v.size[k];
            list[n] = leaf(w, cr_full(w->g, cr_const(w->g, 1), 1, &d));
            if (!list[n]) break;
            sb_printf(&b, ",%c", letter(k));
            n++;
        }
        sb_printf(&b, "->%s", made(w, w->r)->batched ? "Z" : "");
        for (unsigned k = 0; k < v.rank; k++) sb_printf(&b, "%c", letter(k));
        const char *equation = formula_text(w->f, "%s", sb_str(&b));
        sb_free(&b);
        if (equation && n > 0) out = put(w, w->own, "Einsum", n, list, text(w, "equation", equation), NULL);
    }
    made(w, w->r)->name = out;
    return out != NULL;
}

/* ---- everything else -------------------------------------------------------------------------------- */

static const struct simple {
    cr_op op;
    const char *name;
} simple[] = {
    {CR_OP_EXP, "Exp"},         {CR_OP_LOG, "Log"},        {CR_OP_SQRT, "Sqrt"},
    {CR_OP_ABS, "Abs"},         {CR_OP_SIGN, "Sign"},      {CR_OP_RELU, "Relu"},
    {CR_OP_ELU, "Elu"},         {CR_OP_SELU, "Selu"},      {CR_OP_SOFTPLUS, "Softplus"},
    {CR_OP_SIGMOID, "Sigmoid"}, {CR_OP_SIN, "Sin"},        {CR_OP_COS, "Cos"},
    {CR_OP_TAN, "Tan"},         {CR_OP_SINH, "Sinh"},      {CR_OP_COSH, "Cosh"},
    {CR_OP_TANH, "Tanh"},       {CR_OP_ASIN, "Asin"},      {CR_OP_ACOS, "Acos"},
    {CR_OP_ATAN, "Atan"},       {CR_OP_ERF, "Erf"},        {CR_OP_DIV, "Div"},
    {CR_OP_POW, "Pow"},         {CR_OP_MAX2, "Max"},       {CR_OP_MIN2, "Min"},
    {CR_OP_LT, "Less"},         {CR_OP_LE, "LessOrEqual"}, {CR_OP_EQ, "Equal"},
    {CR_OP_AND, "And"},         {CR_OP_OR, "Or"},          {CR_OP_NOT, "Not"},
    {CR_OP_SELECT, "Where"},    {CR_OP_FENCE, "Identity"},
};

static const struct reduction {
    cr_op op;
    const char *name;
} reductions[] = {
    {CR_OP_MAXR, "ReduceMax"}, {CR_OP_MINR, "ReduceMin"}, {CR_OP_PRODR, "ReduceProd"},
    {CR_OP_NORM1, "ReduceL1"}, {CR_OP_NORM2, "ReduceL2"},
};

static bool write_simple(writer *w, const char **out)
{
    const char *list[3];
    uint32_t n = node(w->g, w->r)->n_in;
    for (size_t i = 0; i < sizeof simple / sizeof *simple; i++) {
        if (simple[i].op != op_of(w->g, w->r) || n > 3) continue;
        for (uint32_t k = 0; k < n; k++) list[k] = in(w, k);
        *out = put(w, w->own, simple[i].name, n, list, NULL, NULL);
        return true;
    }
    return false;
}

/* Over the axes of the entries, from the operator's first on. */
static bool write_reduction(writer *w, const char **out)
{
    int64_t axes[CR_MAX_RANK];
    cr_ref a = in_of(w->g, w->r, 0);
    unsigned n = 0, first = made(w, a)->batched;
    const char *name = NULL, *of = made(w, a)->name;
    cr_op op = op_of(w->g, w->r);
    for (size_t i = 0; i < sizeof reductions / sizeof *reductions; i++) {
        if (reductions[i].op == op) name = reductions[i].name;
    }
    if (op == CR_OP_NORM_INF) {
        of = put1(w, NULL, "Abs", of, NULL);
        name = "ReduceMax";
    }
    if (!name) return false;
    for (unsigned k = cr_rank(w->g, w->r); k < cr_rank(w->g, a); k++) axes[n++] = k + first;
    if (of) *out = put(w, w->own, name, 1, &of, integers(w, "axes", n, axes), integer(w, "keepdims", 0));
    return true;
}

static const char *write_reshape(writer *w)
{
    int64_t *dim = formula_alloc(w->f, (CR_MAX_RANK + 1) * sizeof *dim), given[CR_MAX_RANK];
    bool batched = made(w, w->r)->batched;
    size_t count;
    unsigned rank = cr_rank(w->g, w->r);
    if (!dim || !sizes_of(w, w->r, given, &count)) return NULL;
    memcpy(dim + batched, given, rank * sizeof *dim);
    if (batched) dim[0] = -1;
    int64_t n = rank + batched;
    return put2(w, w->own, "Reshape", in(w, 0),
                constant(w, ONNX__TENSOR_PROTO__DATA_TYPE__INT64, 1, &n, dim, (size_t)n * sizeof *dim));
}

/* Numbers side by side: each gets an axis of its own at the end; those without samples, where others have them, first
 * get that one by adding 0 times something that has. */
static const char *write_stack(writer *w)
{
    uint32_t n = node(w->g, w->r)->n_in;
    bool batched = made(w, w->r)->batched;
    const char **list = formula_alloc(w->f, (n + 1) * sizeof *list);
    int64_t *last = formula_alloc(w->f, sizeof *last), one = 1, given[CR_MAX_RANK];
    size_t count;
    if (!list || !last || !sizes_of(w, w->r, given, &count)) return NULL;
    *last = batched;
    const char *axes = constant(w, ONNX__TENSOR_PROTO__DATA_TYPE__INT64, 1, &one, last, sizeof *last), *shape = NULL;
    for (uint32_t i = 0; i < n && batched && !shape; i++) {
        if (made(w, in_of(w->g, w->r, i))->batched) shape = put1(w, NULL, "Shape", in(w, i), NULL);
    }
    for (uint32_t i = 0; i < n && axes; i++) {
        const char *item = in(w, i);
        if (batched && !made(w, in_of(w->g, w->r, i))->batched) item = put2(w, NULL, "Expand", item, shape);
        list[i] = put2(w, NULL, "Unsqueeze", item, axes);
        if (!list[i]) return NULL;
    }
    unsigned rank = cr_rank(w->g, w->r);
    const char *row =
        axes ? put(w, rank == 1 ? w->own : NULL, "Concat", n, list, integer(w, "axis", batched), NULL) : NULL;
    if (rank == 1 || !row) return row;
    int64_t *dim = formula_alloc(w->f, (CR_MAX_RANK + 1) * sizeof *dim), all = rank + batched;
    if (!dim) return NULL;
    memcpy(dim + batched, given, rank * sizeof *dim);
    if (batched) dim[0] = -1;
    return put2(w, w->own, "Reshape", row,
                constant(w, ONNX__TENSOR_PROTO__DATA_TYPE__INT64, 1, &all, dim, (size_t)all * sizeof *dim));
}

bool formula_write(formula *f, cr_ref r, const char *own, const char *within)
{
    cr_graph *g = f->g;
    writer w = {f, g, r, own, within};
    const cr_node *nd = node(g, r);
    cr_op op = op_of(g, r);
    const char *out = NULL, *a = nd->n_in ? in(&w, 0) : NULL;
    for (uint32_t i = 0; i < nd->n_in; i++) f->value[r].batched |= f->value[nd->word[i]].batched;
    if (nd->n_in == 0) {
        out = leaf(&w, r);
    } else if (op == CR_OP_ADD) {
        return write_add(&w);
    } else if (op == CR_OP_EINSUM) {
        return write_einsum(&w);
    } else if (op == CR_OP_NE) {
        out = put1(&w, own, "Not", put2(&w, NULL, "Equal", a, in(&w, 1)), NULL);
    } else if (op == CR_OP_STEP) {
        Onnx__AttributeProto *to = integer(&w, "to", ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE);
        out = put1(&w, own, "Cast", put2(&w, NULL, "Greater", a, number(&w, 0)), to);
    } else if (op == CR_OP_LEAKY_RELU) {
        out = put1(&w, own, "LeakyRelu", a, real(&w, "alpha", attr_double(g, r, 0)));
    } else if (op == CR_OP_SILU) {
        out = put2(&w, own, "Mul", a, put1(&w, NULL, "Sigmoid", a, NULL));
    } else if (op == CR_OP_GELU) {
        const char *e = put1(&w, NULL, "Erf", put2(&w, NULL, "Div", a, number(&w, 1.4142135623730951)), NULL);
        const char *half = put2(&w, NULL, "Mul", a, put2(&w, NULL, "Add", e, number(&w, 1)));
        out = put2(&w, own, "Mul", half, number(&w, 0.5));
    } else if (op == CR_OP_SOFTMAX || op == CR_OP_LOGSOFTMAX) {
        int64_t axis = (int64_t)attr_of(g, r, 0) + f->value[r].batched;
        out = put1(&w, own, op == CR_OP_SOFTMAX ? "Softmax" : "LogSoftmax", a, integer(&w, "axis", axis));
    } else if (op == CR_OP_RESHAPE) {
        out = write_reshape(&w);
    } else if (op == CR_OP_STACK) {
        out = write_stack(&w);
    } else if (op == CR_OP_DET) {
        out = put1(&w, own, "Det", a, NULL);
    } else if (!write_reduction(&w, &out) && !write_simple(&w, &out)) {
        return formula_fail(f, CR_EUNSUPPORTED, "a network cannot have `%s` in it: ONNX has no operator for it",
                            op_get(op)->spelling);
    }
    f->value[r].name = out;
    return out != NULL;
}
