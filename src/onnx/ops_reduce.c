/* Reductions over axes, and what goes along one axis: softmax, argmax, sums so far. */
#include "onnx/ops.h"

#include <math.h>
#include <string.h>

/* ---- over axes ----------------------------------------------------------------------------------- */

typedef enum reduction { SUM, MEAN, MAX, MIN, PROD, L1, L2, LOG_SUM, LOG_SUM_EXP, SUM_SQUARE } reduction;

/* log(sum(exp(x))), by what is largest; where that is infinite, it is the result. */
static cr_ref log_sum_exp(cr_graph *g, cr_ref x, uint32_t axes, bool keep)
{
    int64_t dim[CR_MAX_RANK];
    if (!valid(g, x)) return CR_NONE;
    unsigned rank = cr_rank(g, x), perm[CR_MAX_RANK], n = 0, kept;
    int64_t flat[CR_MAX_RANK], all = 1;
    for (unsigned i = 0; i < rank; i++) {
        dim[i] = axes >> i & 1 ? 1 : onnx_size(g, x, i);
        if (axes >> i & 1) continue;
        flat[n] = dim[i];
        perm[n++] = i;
    }
    kept = n;
    for (unsigned i = 0; i < rank; i++) {
        if (!(axes >> i & 1)) continue;
        all *= onnx_size(g, x, i);
        perm[n++] = i;
    }
    flat[kept] = all;
    x = onnx_reshape(g, onnx_permute(g, x, perm), kept + 1, flat);
    /* x - logsoftmax(x) is the same number in each entry: the first is taken. Its derivative is softmax(x). */
    cr_ref top = cr_reduce(g, CR_OP_MAXR, x, kept), lifted = onnx_reshape(g, top, kept, flat);
    cr_ref finite = cr_map2(g, CR_OP_LT, cr_map(g, CR_OP_ABS, lifted), onnx_like(g, INFINITY, lifted));
    cr_ref shift = onnx_like(g, 0, lifted);
    shift = cr_select(g, finite, lifted, shift);
    int64_t wide[CR_MAX_RANK];
    memcpy(wide, flat, sizeof wide);
    wide[kept] = 1;
    cr_ref spread = onnx_stretch(g, onnx_reshape(g, shift, kept + 1, wide), kept + 1, flat);
    cr_ref sum = onnx_sum(g, cr_map(g, CR_OP_EXP, cr_sub(g, x, spread)), 1u << kept, false);
    cr_ref r = cr_add(g, cr_map(g, CR_OP_LOG, sum), shift);
    return keep ? onnx_reshape(g, r, rank, dim) : r;
}

static cr_ref reduced(cr_graph *g, reduction how, cr_ref x, uint32_t axes, bool keep)
{
    switch (how) {
    case SUM:
        return onnx_sum(g, x, axes, keep);
    case MEAN:
        return onnx_mean(g, x, axes, keep);
    case MAX:
        return onnx_reduce(g, CR_OP_MAXR, x, axes, keep);
    case MIN:
        return onnx_reduce(g, CR_OP_MINR, x, axes, keep);
    case PROD:
        return onnx_reduce(g, CR_OP_PRODR, x, axes, keep);
    case L1:
        return onnx_sum(g, cr_map(g, CR_OP_ABS, x), axes, keep);
    case L2:
        return axes ? onnx_reduce(g, CR_OP_NORM2, x, axes, keep) : cr_map(g, CR_OP_ABS, x);
    case LOG_SUM:
        return cr_map(g, CR_OP_LOG, onnx_sum(g, x, axes, keep));
    case LOG_SUM_EXP:
        return axes ? log_sum_exp(g, x, axes, keep) : x;
    case SUM_SQUARE:
        return onnx_sum(g, cr_mul(g, x, x), axes, keep);
    }
    return CR_NONE;
}

static bool build_reduce(onnx_call *c)
{
    uint32_t axes;
    size_t n;
    cr_ref x = onnx_real(c, 0);
    if (!valid(c->g, x) || !onnx_axes(c, 1, cr_rank(c->g, x), &axes, &n)) return false;
    if (n == 0 && onnx_attr_int(c, "noop_with_empty_axes", 0)) {
        return onnx_out_like(c, reduced(c->g, (reduction)c->arg, x, 0, true));
    }
    if (n == 0) axes = (1u << cr_rank(c->g, x)) - 1;
    bool keep = onnx_attr_int(c, "keepdims", 1) != 0;
    cr_ref r = reduced(c->g, (reduction)c->arg, x, axes, keep);
    if (onnx_is_int(c->in[0]->type) && (c->arg == MEAN || c->arg == LOG_SUM)) r = onnx_trunc(c->g, r);
    return onnx_out_like(c, r);
}

/* ---- along one axis ------------------------------------------------------------------------------ */

/* Before version 13, of the matrix whose columns are all axes from `axis` on. */
static bool build_softmax(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    unsigned axis;
    if (!valid(g, x)) return false;
    unsigned rank = cr_rank(g, x);
    cr_ref (*make)(cr_graph *, cr_ref, unsigned) = c->arg ? cr_logsoftmax : cr_softmax;
    if (rank == 0) return onnx_out_like(c, onnx_like(g, c->arg ? 0 : 1, x));
    if (!onnx_axis(c, onnx_attr_int(c, "axis", c->version < 13 ? 1 : -1), rank, &axis)) {
        if (c->version >= 13 || onnx_attr_int(c, "axis", 1) != (int64_t)rank) return false;
    }
    if (c->version >= 13 || axis + 1 == rank) return onnx_out_like(c, make(g, x, axis));
    int64_t dim[CR_MAX_RANK], flat[2] = {1, 1};
    onnx_shape(g, x, dim);
    for (unsigned i = 0; i < rank; i++) flat[i >= axis] *= dim[i];
    return onnx_out_like(c, onnx_reshape(g, make(g, onnx_reshape(g, x, 2, flat), 1), rank, dim));
}

/* 0, 1, 2, ... along an axis of a shape */
static cr_ref counted(cr_graph *g, cr_ref like, unsigned axis)
{
    cr_dim dim[CR_MAX_RANK];
    uint8_t label = (uint8_t)axis;
    for (unsigned i = 0; i < cr_rank(g, like); i++) dim[i] = cr_size(g, like, i);
    cr_ref k = cr_add(g, cr_iota(g, dim[axis]), cr_const(g, -1));
    return cr_einsum(g, 1, &k, &label, cr_rank(g, like), dim);
}

/* The first (or last) place along the axis where x is largest: the least index among those. */
static bool place_of_extreme(onnx_call *c, cr_ref x, bool least, unsigned axis, bool last, cr_ref *place)
{
    cr_graph *g = c->g;
    int64_t dim[CR_MAX_RANK];
    onnx_shape(g, x, dim);
    cr_ref top = onnx_reduce(g, least ? CR_OP_MINR : CR_OP_MAXR, x, 1u << axis, true);
    cr_ref at = cr_map2(g, CR_OP_EQ, x, onnx_stretch(g, top, cr_rank(g, x), dim)), k = counted(g, x, axis);
    cr_ref none = onnx_like(g, last ? -1 : (double)dim[axis], x);
    *place = onnx_reduce(g, last ? CR_OP_MAXR : CR_OP_MINR, cr_select(g, at, k, none), 1u << axis, true);
    return *place != CR_NONE;
}

static bool build_arg(onnx_call *c)
{
    cr_ref x = onnx_real(c, 0), place;
    unsigned axis;
    if (!valid(c->g, x) || !onnx_axis(c, onnx_attr_int(c, "axis", 0), cr_rank(c->g, x), &axis)) return false;
    if (!place_of_extreme(c, x, c->arg, axis, onnx_attr_int(c, "select_last_index", 0) != 0, &place)) return false;
    if (!onnx_attr_int(c, "keepdims", 1)) place = onnx_sum(c->g, place, 1u << axis, false);
    return onnx_out(c, 0, place, CR_TYPE_I64);
}

static bool build_hardmax(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0), place;
    unsigned axis;
    int64_t dim[CR_MAX_RANK];
    if (!valid(g, x) || !onnx_axis(c, onnx_attr_int(c, "axis", c->version < 13 ? 1 : -1), cr_rank(g, x), &axis))
        return false;
    if (c->version < 13 && axis + 1 != cr_rank(g, x))
        return onnx_unsupported(c, "an axis that is not the last, before version 13");
    if (!place_of_extreme(c, x, false, axis, false, &place)) return false;
    onnx_shape(g, x, dim);
    cr_ref hit = cr_map2(g, CR_OP_EQ, counted(g, x, axis), onnx_stretch(g, place, cr_rank(g, x), dim));
    return onnx_out_like(c, onnx_number(g, hit));
}

/* Sums of all entries up to each one: a bound sum that shares its start with the others, which plans run as one scan.
 */
static bool build_cumsum(onnx_call *c)
{
    cr_graph *g = c->g;
    size_t n;
    const int64_t *at = onnx_ints(c, 1, &n);
    cr_ref x = onnx_real(c, 0);
    unsigned axis;
    if (!at || !valid(g, x)) return false;
    if (n != 1) return onnx_fail(c, "its axis has to be one number, not %zu", n);
    if (!onnx_axis(c, *at, cr_rank(g, x), &axis)) return false;
    bool back = onnx_attr_int(c, "reverse", 0) != 0, without = onnx_attr_int(c, "exclusive", 0) != 0;
    int64_t size = onnx_size(g, x, axis);
    unsigned rank = cr_rank(g, x);
    if (size == 0) return onnx_out_like(c, x);
    x = onnx_swap(g, x, 0, axis);
    cr_dim i = cr_dim_symbol(g, "cumsum#i"), k = cr_dim_symbol(g, "cumsum#k"), one = cr_dim_const(g, 1);
    cr_dim length = cr_dim_const(g, size), lo = one, hi = i;
    if (back) {
        lo = i;
        hi = length;
    }
    if (without) {
        if (back)
            lo = cr_dim_add(g, i, one);
        else
            hi = cr_dim_sub(g, i, one);
    }
    /* Row k of x: contracted with a one-hot vector, which selects. */
    uint8_t label[CR_MAX_RANK + 1] = {CR_MAX_RANK};
    cr_dim dim[CR_MAX_RANK];
    label[1] = CR_MAX_RANK;
    for (unsigned a = 1; a < rank; a++) {
        label[1 + a] = (uint8_t)(a - 1);
        dim[a - 1] = cr_size(g, x, a);
    }
    cr_ref row = cr_einsum(g, 2, (cr_ref[]){cr_onehot(g, k, length), x}, label, rank - 1, dim);
    cr_ref sums = cr_bind(g, CR_BIND_SUM, "cumsum#k", lo, hi, row);
    cr_ref all = cr_bind(g, CR_BIND_STACK, "cumsum#i", one, length, sums);
    return onnx_out_like(c, onnx_swap(g, all, 0, axis));
}

const onnx_op onnx_ops_reduce[] = {
    OP_ARG("ArgMax", build_arg, false),
    OP_ARG("ArgMin", build_arg, true),
    OP("CumSum", build_cumsum),
    OP("Hardmax", build_hardmax),
    OP_ARG("LogSoftmax", build_softmax, true),
    OP_ARG("ReduceL1", build_reduce, L1),
    OP_ARG("ReduceL2", build_reduce, L2),
    OP_ARG("ReduceLogSum", build_reduce, LOG_SUM),
    OP_ARG("ReduceLogSumExp", build_reduce, LOG_SUM_EXP),
    OP_ARG("ReduceMax", build_reduce, MAX),
    OP_ARG("ReduceMean", build_reduce, MEAN),
    OP_ARG("ReduceMin", build_reduce, MIN),
    OP_ARG("ReduceProd", build_reduce, PROD),
    OP_ARG("ReduceSum", build_reduce, SUM),
    OP_ARG("ReduceSumSquare", build_reduce, SUM_SQUARE),
    OP_ARG("Softmax", build_softmax, false),
    OP(NULL, NULL),
};
