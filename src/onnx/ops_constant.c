/* Operators that make tensors from shapes and numbers, most of them known at once. */
#include "onnx/ops.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static bool known_tensor(onnx_call *c, const cr_tensor *t)
{
    if (c->n_out == 0 || !c->out[0]) return true;
    onnx_value *v = c->out[0];
    v->type = t->type;
    v->rank = t->rank;
    memcpy(v->dim, t->dim, sizeof v->dim);
    v->count = t->count;
    v->data = t->data;
    v->known = true;
    return true;
}

/* n numbers of 4 or 8 bytes that live as long as the import. */
static bool known_list(onnx_call *c, cr_type type, bool scalar, size_t n, const void *from)
{
    cr_tensor t = {.type = type, .rank = scalar ? 0 : 1, .dim = {scalar ? 0 : (int64_t)n}, .count = n};
    void *data = onnx_alloc(c, n * cr_type_size(type));
    if (!data) return false;
    if (n) memcpy(data, from, n * cr_type_size(type));
    t.data = data;
    return known_tensor(c, &t);
}

/* A sparse constant written out: `values` at `indices`, a place in row-major order each, or one on every axis. */
static bool known_sparse(onnx_call *c, const Onnx__SparseTensorProto *s)
{
    cr_tensor v, at, t = {.rank = (unsigned)s->n_dims};
    if (!s->values || !s->indices || s->n_dims > CR_MAX_RANK) return onnx_fail(c, "a sparse tensor without its parts");
    if (!onnx_tensor_of(c, s->values, &v) || !onnx_tensor_of(c, s->indices, &at)) return false;
    size_t size = cr_type_size(v.type), columns = at.rank == 2 ? t.rank : 1;
    memcpy(t.dim, s->dims, t.rank * sizeof *t.dim);
    if (!data_product(t.rank, t.dim, 8, &t.count) || at.type != CR_TYPE_I64 || at.count != v.count * columns ||
        (at.rank == 2 && at.dim[1] != (int64_t)columns)) {
        return onnx_fail(c, "a sparse tensor whose parts do not fit together");
    }
    char *data = onnx_alloc(c, t.count * size);
    if (!data) return false;
    memset(data, 0, t.count * size);
    for (size_t i = 0; i < v.count; i++) {
        const int64_t *place = (const int64_t *)at.data + i * columns;
        size_t to = 0;
        for (size_t k = 0; k < columns; k++) {
            int64_t n = at.rank == 2 ? t.dim[k] : (int64_t)t.count;
            if (place[k] < 0 || place[k] >= n) return onnx_fail(c, "index %" PRId64 " of a sparse tensor", place[k]);
            to = to * (size_t)n + (size_t)place[k];
        }
        memcpy(data + to * size, (const char *)v.data + i * size, size);
    }
    t.type = v.type;
    t.data = data;
    return known_tensor(c, &t);
}

static bool build_constant(onnx_call *c)
{
    const Onnx__AttributeProto *a;
    cr_tensor t;
    if ((a = onnx_attr(c, "value")) && a->t) return onnx_tensor_of(c, a->t, &t) && known_tensor(c, &t);
    if ((a = onnx_attr(c, "sparse_value")) && a->sparse_tensor) return known_sparse(c, a->sparse_tensor);
    if ((a = onnx_attr(c, "value_float"))) return known_list(c, CR_TYPE_F32, true, 1, &a->f);
    if ((a = onnx_attr(c, "value_int"))) return known_list(c, CR_TYPE_I64, true, 1, &a->i);
    if ((a = onnx_attr(c, "value_floats"))) return known_list(c, CR_TYPE_F32, false, a->n_floats, a->floats);
    if ((a = onnx_attr(c, "value_ints"))) return known_list(c, CR_TYPE_I64, false, a->n_ints, a->ints);
    return onnx_unsupported(c, "a constant that is neither a tensor of numbers nor a list of them");
}

static bool build_constant_of_shape(onnx_call *c)
{
    size_t rank;
    const int64_t *dim = onnx_ints(c, 0, &rank);
    const Onnx__AttributeProto *a = onnx_attr(c, "value");
    cr_tensor t = {.type = CR_TYPE_F32};
    double v = 0;
    if (!dim) return false;
    if (rank > CR_MAX_RANK) return onnx_fail(c, "a tensor of %zu axes; %d are possible", rank, CR_MAX_RANK);
    if (a && a->t) {
        if (!onnx_tensor_of(c, a->t, &t)) return false;
        if (t.count != 1) return onnx_fail(c, "its value is %zu numbers, not one", t.count);
        data_to_f64(t.type, t.data, 1, &v);
    }
    size_t count;
    if (!data_product((unsigned)rank, dim, 8, &count)) return onnx_fail(c, "a shape that no tensor can have");
    return onnx_out(c, 0, onnx_full(c->g, v, (unsigned)rank, dim), t.type);
}

/* Sizes start .. end-1 of the shape (15). */
static bool build_shape(onnx_call *c)
{
    if (!onnx_has(c, 0)) return onnx_fail(c, "input 1 is missing");
    const onnx_value *v = c->in[0];
    int64_t rank = v->rank, from = onnx_attr_int(c, "start", 0), to = onnx_attr_int(c, "end", rank);
    from = from < 0 ? from + rank : from;
    to = to < 0 ? to + rank : to;
    from = from < 0 ? 0 : from > rank ? rank : from;
    to = to < from ? from : to > rank ? rank : to;
    int64_t n = to - from;
    return onnx_out_ints(c, 0, 1, &n, v->dim + from);
}

static bool build_size(onnx_call *c)
{
    if (!onnx_has(c, 0)) return onnx_fail(c, "input 1 is missing");
    int64_t n = (int64_t)c->in[0]->count;
    return onnx_out_ints(c, 0, 0, NULL, &n);
}

static bool build_range(onnx_call *c)
{
    size_t n1, n2, n3;
    const double *from = onnx_reals(c, 0, &n1), *to = onnx_reals(c, 1, &n2), *by = onnx_reals(c, 2, &n3);
    if (!from || !to || !by) return false;
    if (n1 != 1 || n2 != 1 || n3 != 1 || *by == 0)
        return onnx_fail(c, "start, limit and a step other than 0 are numbers");
    double n = ceil((*to - *from) / *by);
    if (!(n < 0x1p31)) return onnx_fail(c, "a range of %g numbers", n);
    int64_t size = n > 0 ? (int64_t)n : 0;
    cr_ref k = cr_iota(c->g, cr_dim_const(c->g, size));
    return onnx_out_like(c, onnx_add_number(c->g, onnx_times(c->g, k, *by), *from - *by));
}

/* i == k + shift, as 0 and 1, for the rows and columns of a matrix; or <=. */
static cr_ref positions(cr_graph *g, cr_op op, unsigned rank, const int64_t *dim, int64_t shift)
{
    uint8_t row = (uint8_t)(rank - 2), column = (uint8_t)(rank - 1);
    cr_dim size[CR_MAX_RANK];
    for (unsigned i = 0; i < rank; i++) size[i] = cr_dim_const(g, dim[i]);
    cr_ref i = cr_iota(g, size[rank - 2]), k = cr_iota(g, size[rank - 1]);
    k = onnx_add_number(g, k, -(double)shift);
    return cr_map2(g, op, cr_einsum(g, 1, &i, &row, rank, size), cr_einsum(g, 1, &k, &column, rank, size));
}

static bool build_eye_like(onnx_call *c)
{
    int64_t dim[2];
    cr_type type = CR_TYPE_F32;
    if (!onnx_has(c, 0) || c->in[0]->rank != 2) return onnx_fail(c, "its input has to be a matrix");
    memcpy(dim, c->in[0]->dim, sizeof dim);
    type = c->in[0]->type;
    if (onnx_has_attr(c, "dtype") && !onnx_type_of((int)onnx_attr_int(c, "dtype", 0), &type)) {
        return onnx_unsupported(c, "a type without numbers");
    }
    return onnx_out(c, 0, onnx_number(c->g, positions(c->g, CR_OP_EQ, 2, dim, onnx_attr_int(c, "k", 0))), type);
}

#define K_MAX ((int64_t)1 << 40) /* beyond every matrix */

/* The part of matrices on and above (upper) or below the k-th diagonal. */
static bool build_trilu(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    int64_t k = 0, dim[CR_MAX_RANK];
    if (!valid(g, x)) return false;
    if (onnx_has(c, 1)) {
        size_t n;
        const int64_t *v = onnx_ints(c, 1, &n);
        if (!v || n != 1) return v ? onnx_fail(c, "k has to be one number") : false;
        k = *v < -K_MAX ? -K_MAX : *v > K_MAX ? K_MAX : *v;
    }
    unsigned rank = cr_rank(g, x);
    if (rank < 2) return onnx_fail(c, "its input has to be matrices");
    onnx_shape(g, x, dim);
    bool upper = onnx_attr_int(c, "upper", 1) != 0;
    cr_ref kept = positions(g, CR_OP_LE, rank, dim, upper ? k : k + 1);
    if (!upper) kept = cr_map(g, CR_OP_NOT, kept);
    return onnx_out_like(c, cr_select(g, kept, x, onnx_like(g, 0, x)));
}

static bool build_one_hot(onnx_call *c)
{
    cr_graph *g = c->g;
    size_t n;
    const double *depth = onnx_reals(c, 1, &n);
    cr_ref index = onnx_real(c, 0), values = onnx_real(c, 2);
    unsigned axis;
    if (!depth || !valid(g, index) || !valid(g, values)) return false;
    unsigned rank = cr_rank(g, index) + 1;
    int64_t dim[CR_MAX_RANK], d = n == 1 ? (int64_t)*depth : 0;
    if (d < 1) return onnx_fail(c, "the depth has to be a number above 0");
    if (rank > CR_MAX_RANK || cr_rank(g, values) != 1 || onnx_size(g, values, 0) != 2) {
        return onnx_fail(c, "`values` has to be two numbers");
    }
    if (!onnx_axis(c, onnx_attr_int(c, "axis", -1), rank, &axis)) return false;
    uint8_t label[CR_MAX_RANK], own = (uint8_t)axis;
    cr_dim size[CR_MAX_RANK];
    for (unsigned i = 0, k = 0; i < rank; i++) {
        dim[i] = i == axis ? d : onnx_size(g, index, k);
        size[i] = cr_dim_const(g, dim[i]);
        if (i != axis) label[k++] = (uint8_t)i;
    }
    cr_ref at = cr_add(g, cr_iota(g, size[axis]), cr_const(g, -1));
    cr_ref below = cr_map2(g, CR_OP_LT, index, onnx_like(g, 0, index));
    cr_ref from_end = cr_select(g, below, onnx_add_number(g, index, (double)d), index);
    cr_ref hit =
        cr_map2(g, CR_OP_EQ, cr_einsum(g, 1, &at, &own, rank, size), cr_einsum(g, 1, &from_end, label, rank, size));
    cr_ref off = cr_index(g, values, 1, (cr_dim[]){cr_dim_const(g, 1)});
    cr_ref on = cr_index(g, values, 1, (cr_dim[]){cr_dim_const(g, 2)});
    return onnx_out(c, 0, cr_select(g, hit, cr_full(g, on, rank, size), cr_full(g, off, rank, size)), c->in[2]->type);
}

const onnx_op onnx_ops_constant[] = {
    OP("Constant", build_constant),
    OP("ConstantOfShape", build_constant_of_shape),
    OP("EyeLike", build_eye_like),
    OP("OneHot", build_one_hot),
    OP("Range", build_range),
    OP("Shape", build_shape),
    OP("Size", build_size),
    OP("Trilu", build_trilu),
    OP(NULL, NULL),
};
