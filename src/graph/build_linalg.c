/* Builders of matrix products, reductions, layout and linear algebra, with the customs of the language: R^n is a
 * column, its transpose a 1 x n matrix, and a 1 x 1 product is a scalar. */
#include "graph/graph.h"

#include <string.h>

static bool real_matrix(cr_graph *g, cr_ref a, const char *what)
{
    if (!valid(g, a)) return false;
    if (shape_of(g, a)->dtype != CR_REAL) graph_fail(g, CR_ESHAPE, "%s takes numbers, not conditions", what);
    else if (shape_of(g, a)->rank > 2)
        graph_fail(g, CR_ESHAPE, "%s takes vectors and matrices, not %s", what, shape_text(g, a, 0));
    else return true;
    return false;
}

static bool is_one(cr_graph *g, cr_dim d)
{
    int64_t v;
    return dim_value(g->dims, d, &v) && v == 1;
}

cr_ref cr_matmul(cr_graph *g, cr_ref a, cr_ref b)
{
    if (!valid(g, a) || !valid(g, b)) return CR_NONE;
    if (is_scalar(g, a) || is_scalar(g, b)) return cr_mul(g, a, b);
    if (!real_matrix(g, a, "`*`") || !real_matrix(g, b, "`*`")) return CR_NONE;
    const cr_shape *p = shape_of(g, a), *q = shape_of(g, b);
    cr_dim one = dim_const(g->dims, 1);
    cr_dim rows = p->dim[0], inner = p->rank == 2 ? p->dim[1] : one, inner_b = q->dim[0];
    cr_dim columns = q->rank == 2 ? q->dim[1] : one;
    if (p->rank == 1 && q->rank == 1 && is_one(g, p->dim[0])) return cr_mul(g, cr_index(g, a, 1, &one), b);
    if (inner != inner_b) {
        if (p->rank == 1 && q->rank == 1)
            return graph_fail(
                g, CR_ESHAPE,
                "a column times a column, %s and %s; for an inner product write x'*y, element by element x.*y",
                shape_text(g, a, 0), shape_text(g, b, 1));
        return graph_fail(g, CR_ESHAPE, "sizes disagree: %s times %s", shape_text(g, a, 0), shape_text(g, b, 1));
    }
    /* labels: 0 rows, 1 columns, 2 inner; what is dropped from the result is summed over its size 1 */
    bool scalar = is_one(g, rows) && is_one(g, columns);
    bool column = !scalar && q->rank == 1;
    unsigned rank = scalar ? 0 : column ? 1 : 2;
    uint8_t row = (uint8_t)(scalar ? 10 : 0), col = (uint8_t)(scalar ? 11 : 1);
    uint8_t label[4];
    unsigned k = 0;
    label[k++] = row;
    if (p->rank == 2) label[k++] = 12; /* a column is n x 1: its inner size 1 has no axis */
    label[k++] = 12;
    if (q->rank == 2) label[k++] = col;
    return cr_einsum(g, 2, (cr_ref[]){a, b}, label, rank, (cr_dim[]){rows, columns});
}

cr_ref cr_transpose(cr_graph *g, cr_ref a)
{
    if (!real_matrix(g, a, "'")) return CR_NONE;
    const cr_shape *s = shape_of(g, a);
    cr_dim one = dim_const(g->dims, 1);
    switch (s->rank) {
    case 0: return a;
    case 1: return cr_einsum(g, 1, &a, (uint8_t[]){1}, 2, (cr_dim[]){one, s->dim[0]});
    default:
        if (is_one(g, s->dim[0]))
            return cr_einsum(g, 1, &a, (uint8_t[]){1, 0}, 1, &s->dim[1]); /* (1 x n)' is a column */
        return cr_einsum(g, 1, &a, (uint8_t[]){1, 0}, 2, (cr_dim[]){s->dim[1], s->dim[0]});
    }
}

cr_ref cr_sum(cr_graph *g, cr_ref a)
{
    if (!valid(g, a)) return CR_NONE;
    uint8_t label[CR_MAX_RANK];
    for (unsigned i = 0; i < CR_MAX_RANK; i++) label[i] = (uint8_t)i;
    return cr_einsum(g, 1, &a, label, 0, NULL);
}

cr_ref cr_mean(cr_graph *g, cr_ref a)
{
    if (!valid(g, a)) return CR_NONE;
    return cr_div(g, cr_sum(g, a), cr_int(g, dims_product(g, shape_of(g, a)->dim, shape_of(g, a)->rank)));
}

static bool square(cr_graph *g, cr_ref a, const char *what)
{
    if (!valid(g, a)) return false;
    const cr_shape *s = shape_of(g, a);
    if (s->dtype == CR_REAL && s->rank == 2 && s->dim[0] == s->dim[1]) return true;
    graph_fail(g, CR_ESHAPE, "%s needs a square matrix, not %s", what, shape_text(g, a, 0));
    return false;
}

cr_ref cr_trace(cr_graph *g, cr_ref a)
{
    if (valid(g, a) && is_scalar(g, a)) return a;
    return square(g, a, "tr") ? cr_einsum(g, 1, &a, (uint8_t[]){0, 0}, 0, NULL) : CR_NONE;
}

cr_ref cr_diag(cr_graph *g, cr_ref a)
{
    if (!real_matrix(g, a, "diag")) return CR_NONE;
    const cr_shape *s = shape_of(g, a);
    if (s->rank == 0) return a;
    if (s->rank == 2 && is_one(g, s->dim[0]) && !is_one(g, s->dim[1])) return cr_diag(g, cr_transpose(g, a));
    if (s->rank == 2) return square(g, a, "diag") ? cr_einsum(g, 1, &a, (uint8_t[]){0, 0}, 1, s->dim) : CR_NONE;
    return cr_einsum(g, 2, (cr_ref[]){a, cr_identity(g, s->dim[0])}, (uint8_t[]){0, 0, 1}, 2,
                     (cr_dim[]){s->dim[0], s->dim[0]});
}

cr_ref cr_kron(cr_graph *g, cr_ref a, cr_ref b)
{
    if (!valid(g, a) || !valid(g, b)) return CR_NONE;
    if (is_scalar(g, a) || is_scalar(g, b)) return cr_mul(g, a, b);
    if (!real_matrix(g, a, "kron") || !real_matrix(g, b, "kron")) return CR_NONE;
    const cr_shape *p = shape_of(g, a), *q = shape_of(g, b);
    /* [i, k, j, l] = a[i,j] b[k,l], then (i,k) and (j,l) are merged; a vector is one column */
    cr_dim one = dim_const(g->dims, 1);
    cr_dim d[4] = {p->dim[0], q->dim[0], p->rank == 2 ? p->dim[1] : one, q->rank == 2 ? q->dim[1] : one};
    uint8_t label[4];
    unsigned k = 0;
    label[k++] = 0;
    if (p->rank == 2) label[k++] = 2;
    label[k++] = 1;
    if (q->rank == 2) label[k++] = 3;
    bool vector = p->rank == 1 && q->rank == 1;
    cr_ref t = cr_einsum(g, 2, (cr_ref[]){a, b}, label, vector ? 2 : 4, d);
    return cr_reshape(g, t, vector ? 1 : 2, (cr_dim[]){dim_mul(g->dims, d[0], d[1]), dim_mul(g->dims, d[2], d[3])});
}

cr_ref cr_vec(cr_graph *g, cr_ref a)
{
    if (!real_matrix(g, a, "vec")) return CR_NONE;
    const cr_shape *s = shape_of(g, a);
    cr_dim n = dims_product(g, s->dim, s->rank);
    if (s->rank < 2) return cr_reshape(g, a, 1, &n);
    cr_ref t = cr_einsum(g, 1, &a, (uint8_t[]){1, 0}, 2, (cr_dim[]){s->dim[1], s->dim[0]});
    return cr_reshape(g, t, 1, &n);
}

cr_ref cr_reshape(cr_graph *g, cr_ref a, unsigned rank, const cr_dim *shape)
{
    if (!valid(g, a)) return CR_NONE;
    const cr_shape *s = shape_of(g, a);
    for (unsigned i = 0; i < rank; i++)
        if (!shape[i]) return CR_NONE;
    if (dims_product(g, s->dim, s->rank) != dims_product(g, shape, rank))
        return graph_fail(g, CR_ESHAPE, "reshape must keep the number of entries of %s", shape_text(g, a, 0));
    while (op_of(g, a) == CR_OP_RESHAPE) a = in_of(g, a, 0); /* only the order of entries counts */
    node_type type = graph_type(g, (cr_dtype)s->dtype, rank, shape);
    if (type && type == node(g, a)->type) return a;
    return graph_node(g, CR_OP_RESHAPE, type, 1, &a, 0, NULL);
}

cr_ref cr_stack(cr_graph *g, unsigned n, const cr_ref *scalars, unsigned rank, const cr_dim *shape)
{
    int64_t total;
    if (!dim_value(g->dims, dims_product(g, shape, rank), &total) || total != n)
        return graph_fail(g, CR_ESHAPE, "a literal of %u entries does not fill its shape", n);
    for (unsigned i = 0; i < n; i++) {
        if (!valid(g, scalars[i])) return CR_NONE;
        if (!is_scalar(g, scalars[i]) || shape_of(g, scalars[i])->dtype != CR_REAL)
            return graph_fail(g, CR_ESHAPE, "the entries of a literal must be scalars, not %s",
                              shape_text(g, scalars[i], 0));
    }
    bool same = n > 0;
    for (unsigned i = 1; i < n; i++) same = same && scalars[i] == scalars[0];
    if (same) return cr_full(g, scalars[0], rank, shape);
    return graph_node(g, CR_OP_STACK, graph_type(g, CR_REAL, rank, shape), n, scalars, 0, NULL);
}

/* The node, whose axes from..from+drop-1 are those of `by` in place of those of a. */
static cr_ref exchange_axes(cr_graph *g, cr_op op, cr_ref a, cr_ref index, unsigned axis, unsigned drop, unsigned n,
                            const cr_dim *by)
{
    const cr_shape *s = shape_of(g, a);
    cr_dim shape[2 * CR_MAX_RANK];
    memcpy(shape, s->dim, axis * sizeof *shape);
    memcpy(shape + axis, by, n * sizeof *shape);
    memcpy(shape + axis + n, s->dim + axis + drop, (s->rank - axis - drop) * sizeof *shape);
    return graph_node(g, op, graph_type(g, CR_REAL, s->rank - drop + n, shape), 2, (cr_ref[]){a, index}, 1, &axis);
}

cr_ref cr_gather(cr_graph *g, cr_ref a, cr_ref index, unsigned axis)
{
    if (!valid(g, a) || !valid(g, index)) return CR_NONE;
    const cr_shape *s = shape_of(g, a), *t = shape_of(g, index);
    if (s->dtype != CR_REAL || t->dtype != CR_REAL || axis >= s->rank)
        return graph_fail(g, CR_ESHAPE, "gather takes entries of axis %u, which %s does not have", axis + 1,
                          shape_text(g, a, 0));
    return exchange_axes(g, CR_OP_GATHER, a, index, axis, 1, t->rank, t->dim);
}

cr_ref cr_scatter(cr_graph *g, cr_ref a, cr_ref index, unsigned axis, cr_dim n)
{
    if (!valid(g, a) || !valid(g, index) || !n) return CR_NONE;
    const cr_shape *s = shape_of(g, a), *t = shape_of(g, index);
    if (s->dtype != CR_REAL || t->dtype != CR_REAL || axis + t->rank > s->rank ||
        memcmp(s->dim + axis, t->dim, t->rank * sizeof *t->dim))
        return graph_fail(g, CR_ESHAPE, "scatter takes an index for each part of %s from axis %u on, not %s",
                          shape_text(g, a, 0), axis + 1, shape_text(g, index, 1));
    return exchange_axes(g, CR_OP_SCATTER, a, index, axis, t->rank, 1, &n);
}

cr_ref cr_reduce(cr_graph *g, cr_op op, cr_ref a, unsigned keep)
{
    if (!valid(g, a)) return CR_NONE;
    const cr_shape *s = shape_of(g, a);
    bool boolean = op == CR_OP_ALLR || op == CR_OP_ANYR;
    if (boolean != (s->dtype == CR_BOOL))
        return graph_fail(g, CR_ESHAPE,
                          boolean ? "all and any take conditions, not numbers"
                                  : "a reduction takes numbers, not conditions");
    if (keep > s->rank) return graph_fail(g, CR_EARG, "a reduction that keeps %u of %u axes", keep, s->rank);
    if (keep == s->rank) {
        switch (op) {
        case CR_OP_NORM1: case CR_OP_NORM2: case CR_OP_NORM_INF: return cr_map(g, CR_OP_ABS, a);
        case CR_OP_MAXR: case CR_OP_MINR: case CR_OP_PRODR: case CR_OP_ALLR: case CR_OP_ANYR: return a;
        default: return graph_fail(g, CR_EARG, "not a reduction");
        }
    }
    if (boolean && op_of(g, a) == op) a = in_of(g, a, 0); /* all of all is all */
    return graph_node(g, op, graph_type(g, boolean ? CR_BOOL : CR_REAL, keep, s->dim), 1, &a, 1, &keep);
}

static cr_ref along_axis(cr_graph *g, cr_op op, cr_ref a, unsigned axis)
{
    if (!valid(g, a)) return CR_NONE;
    if (shape_of(g, a)->dtype != CR_REAL || axis >= shape_of(g, a)->rank)
        return graph_fail(g, CR_ESHAPE, "softmax takes a vector or a matrix, not %s", shape_text(g, a, 0));
    const cr_node *v = node(g, a);
    bool two_axes = v->op == CR_OP_EINSUM && v->n_in == 1 && v->n_attr == 2 && shape_of(g, a)->rank == 2;
    if (two_axes && v->word[1] == 1 && v->word[2] == 0) { /* of A': along the other axis of A */
        cr_ref t = along_axis(g, op, v->word[0], 1 - axis);
        return t ? cr_einsum(g, 1, &t, (uint8_t[]){1, 0}, 2, shape_of(g, a)->dim) : CR_NONE;
    }
    return graph_node(g, op, v->type, 1, &a, 1, &axis);
}

cr_ref cr_softmax(cr_graph *g, cr_ref a, unsigned axis) { return along_axis(g, CR_OP_SOFTMAX, a, axis); }
cr_ref cr_logsoftmax(cr_graph *g, cr_ref a, unsigned axis) { return along_axis(g, CR_OP_LOGSOFTMAX, a, axis); }

cr_ref cr_linalg(cr_graph *g, cr_op op, cr_ref a)
{
    if (!valid(g, a)) return CR_NONE;
    if (is_scalar(g, a) && shape_of(g, a)->dtype == CR_REAL) {
        switch (op) {
        case CR_OP_DET: return a;
        case CR_OP_LOGDET: return cr_map(g, CR_OP_LOG, a);
        case CR_OP_INV: return cr_div(g, cr_const(g, 1), a);
        case CR_OP_ADJ: return cr_const(g, 1);
        default: break;
        }
    }
    const cr_shape *s = shape_of(g, a);
    switch (op) {
    case CR_OP_DET:
        return square(g, a, "det") ? graph_node(g, op, graph_type(g, CR_REAL, 0, NULL), 1, &a, 0, NULL) : CR_NONE;
    case CR_OP_LOGDET:
        return square(g, a, "logdet") ? graph_node(g, op, graph_type(g, CR_REAL, 0, NULL), 1, &a, 0, NULL) : CR_NONE;
    case CR_OP_INV: return square(g, a, "inv") ? graph_node(g, op, node(g, a)->type, 1, &a, 0, NULL) : CR_NONE;
    case CR_OP_ADJ: return square(g, a, "adj") ? graph_node(g, op, node(g, a)->type, 1, &a, 0, NULL) : CR_NONE;
    case CR_OP_PINV:
        if (s->rank != 2 || s->dtype != CR_REAL)
            return graph_fail(g, CR_ESHAPE, "pinv takes a matrix, not %s", shape_text(g, a, 0));
        return graph_node(g, op, graph_type(g, CR_REAL, 2, (cr_dim[]){s->dim[1], s->dim[0]}), 1, &a, 0, NULL);
    default: return graph_fail(g, CR_EARG, "not a function of a matrix");
    }
}

cr_ref cr_matpow(cr_graph *g, cr_ref a, cr_dim k)
{
    int64_t v;
    if (!valid(g, a) || !k) return CR_NONE;
    if (is_scalar(g, a)) return cr_pow(g, a, cr_int(g, k));
    if (!square(g, a, "a matrix power")) return CR_NONE;
    if (dim_value(g->dims, k, &v)) {
        if (v == 0) return cr_identity(g, shape_of(g, a)->dim[0]);
        if (v == 1) return a;
        if (v == -1) return cr_linalg(g, CR_OP_INV, a);
    }
    return graph_node(g, CR_OP_MATPOW, node(g, a)->type, 1, &a, 1, &k);
}

cr_ref cr_index(cr_graph *g, cr_ref a, unsigned n, const cr_dim *index)
{
    if (!valid(g, a)) return CR_NONE;
    const cr_shape *s = shape_of(g, a);
    if (s->rank != n)
        return graph_fail(g, CR_ESHAPE, "%s takes %u ind%s, not %u", shape_text(g, a, 0), (unsigned)s->rank,
                          s->rank == 1 ? "ex" : "ices", n);
    cr_ref in[CR_MAX_RANK + 1] = {a};
    uint8_t label[2 * CR_MAX_RANK];
    for (unsigned i = 0; i < n; i++) {
        in[i + 1] = cr_onehot(g, index[i], s->dim[i]);
        if (!in[i + 1]) return CR_NONE;
        label[i] = label[n + i] = (uint8_t)i;
    }
    if (s->dtype != CR_REAL) { /* a condition: select the entry of its indicator */
        cr_ref one = cr_full(g, cr_const(g, 1), s->rank, s->dim), zero = cr_full(g, cr_const(g, 0), s->rank, s->dim);
        return cr_map2(g, CR_OP_EQ, cr_index(g, cr_select(g, a, one, zero), n, index), cr_const(g, 1));
    }
    return cr_einsum(g, n + 1, in, label, 0, NULL);
}
