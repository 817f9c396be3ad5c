/* Reductions over axes, and what goes along one axis: softmax, argmax, sums so far. */
#include "onnx/ops.h"

#include <math.h>
#include <string.h>

/* ---- over axes ----------------------------------------------------------------------------------- */

typedef enum reduction { SUM, MEAN, MAX, MIN, PROD, L1, L2, LOG_SUM, LOG_SUM_EXP, SUM_SQUARE } reduction;

/* log(sum(exp(x))), by what is largest; where that is infinite, it is the result. */
static cr_ref log_sum_exp(cr_graph *g, cr_ref x, uint32_t axes, bool keep)
{
    cr_ref top = onnx_reduce(g, CR_OP_MAXR, x, axes, true);
    if (!valid(g, top)) return CR_NONE;
    cr_ref finite = cr_map2(g, CR_OP_LT, cr_map(g, CR_OP_ABS, top), onnx_like(g, INFINITY, top));
    cr_ref shift = cr_select(g, finite, top, onnx_like(g, 0, top));
    cr_ref sum = onnx_sum(g, cr_map(g, CR_OP_EXP, cr_sub(g, x, onnx_stretch_like(g, shift, x))), axes, true);
    cr_ref r = cr_add(g, cr_map(g, CR_OP_LOG, sum), shift);
    return keep ? r : onnx_sum(g, r, axes, false);
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
    bool fraction = c->arg == MEAN || c->arg == L2 || c->arg == LOG_SUM || c->arg == LOG_SUM_EXP;
    if (fraction && onnx_is_int(c->in[0]->type)) r = onnx_trunc(c->g, r);
    return onnx_out_like(c, r);
}

/* ---- along one axis ------------------------------------------------------------------------------ */

/* What goes along one axis goes, before version 13, along the rows of a matrix: `axis` and all behind it are its
 * columns. x as it is to be seen, and the axis there. */
static bool rows_of(onnx_call *c, cr_ref *x, unsigned *axis)
{
    cr_graph *g = c->g;
    *x = onnx_real(c, 0);
    if (!valid(g, *x)) return false;
    unsigned rank = cr_rank(g, *x);
    int64_t dim[CR_MAX_RANK], flat[2] = {1, 1}, given = onnx_attr_int(c, "axis", c->version < 13 ? 1 : -1);
    if (c->version < 13 && given == (int64_t)rank) {
        *axis = rank;
    } else if (rank == 0 && (given == 0 || given == -1)) {
        *axis = 0;
    } else if (!onnx_axis(c, given, rank, axis)) {
        return false;
    }
    if (rank > 0 && (c->version >= 13 || *axis + 1 == rank)) return true;
    onnx_shape(g, *x, dim);
    for (unsigned i = 0; i < rank; i++) flat[i >= *axis] *= dim[i];
    *x = onnx_reshape(g, *x, 2, flat);
    *axis = 1;
    return *x != CR_NONE;
}

/* The result in the shape of the input again. */
static bool out_of_rows(onnx_call *c, cr_ref y)
{
    return onnx_out_like(c, onnx_reshape(c->g, y, c->in[0]->rank, c->in[0]->dim));
}

static bool build_softmax(onnx_call *c)
{
    cr_ref x;
    unsigned axis;
    if (!rows_of(c, &x, &axis)) return false;
    return out_of_rows(c, c->arg ? cr_logsoftmax(c->g, x, axis) : cr_softmax(c->g, x, axis));
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

/* The first (or last) place along the axis, which stays with size 1, where x is largest (or least); entries that are
 * `taken` (CR_NONE: none) do not count. A NaN is beyond all numbers: what compares with it is never less. */
static cr_ref place_of_extreme(cr_graph *g, cr_ref x, cr_ref taken, bool least, unsigned axis, bool last)
{
    if (!valid(g, x)) return CR_NONE;
    cr_ref seen = taken == CR_NONE ? x : cr_select(g, taken, onnx_like(g, least ? INFINITY : -INFINITY, x), x);
    cr_ref top = onnx_stretch_like(g, onnx_reduce(g, least ? CR_OP_MINR : CR_OP_MAXR, seen, 1u << axis, true), x);
    cr_ref not_at = least ? cr_map2(g, CR_OP_LT, top, seen) : cr_map2(g, CR_OP_LT, seen, top);
    if (taken != CR_NONE) not_at = cr_map2(g, CR_OP_OR, taken, not_at);
    cr_ref none = onnx_like(g, last ? -1 : (double)onnx_size(g, x, axis), x);
    cr_ref place = cr_select(g, not_at, none, counted(g, x, axis));
    return onnx_reduce(g, last ? CR_OP_MAXR : CR_OP_MINR, place, 1u << axis, true);
}

static bool build_arg(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    unsigned axis;
    if (!valid(g, x) || !onnx_axis(c, onnx_attr_int(c, "axis", 0), cr_rank(g, x), &axis)) return false;
    if (onnx_size(g, x, axis) == 0) return onnx_fail(c, "%s has no entry along axis %u", shape_text(g, x, 0), axis);
    cr_ref place = place_of_extreme(g, x, CR_NONE, c->arg, axis, onnx_attr_int(c, "select_last_index", 0) != 0);
    if (!onnx_attr_int(c, "keepdims", 1)) place = onnx_sum(g, place, 1u << axis, false);
    return onnx_out(c, 0, place, CR_TYPE_I64);
}

static bool build_hardmax(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x;
    unsigned axis;
    if (!rows_of(c, &x, &axis)) return false;
    cr_ref place = onnx_stretch_like(g, place_of_extreme(g, x, CR_NONE, false, axis, false), x);
    return out_of_rows(c, onnx_number(g, cr_map2(g, CR_OP_EQ, counted(g, x, axis), place)));
}

/* The k largest (or least) entries of an axis and their places, one after the other: each is chosen among those that
 * are left. What is chosen depends on x by comparisons only, so that the derivative is that of picking. */
static bool build_top_k(onnx_call *c)
{
    enum { MOST = 64 };
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0), taken = CR_NONE, value[MOST], place[MOST];
    int64_t k = onnx_attr_int(c, "k", 0);
    bool least = onnx_attr_int(c, "largest", 1) == 0;
    unsigned axis;
    if (!valid(g, x) || !onnx_axis(c, onnx_attr_int(c, "axis", -1), cr_rank(g, x), &axis)) return false;
    if (c->version >= 10) {
        size_t n;
        const int64_t *given = onnx_ints(c, 1, &n);
        if (!given) return false;
        if (n != 1) return onnx_fail(c, "its k is %zu numbers", n);
        k = *given;
    }
    int64_t size = onnx_size(g, x, axis);
    if (k < 1 || k > size) return onnx_fail(c, "%lld of %lld entries", (long long)k, (long long)size);
    if (k > MOST) return onnx_unsupported(c, "more than %d entries", MOST);
    cr_ref at = counted(g, x, axis), zero = onnx_like(g, 0, x);
    for (int64_t i = 0; i < k; i++) {
        place[i] = place_of_extreme(g, x, taken, least, axis, false);
        cr_ref hit = cr_map2(g, CR_OP_EQ, at, onnx_stretch_like(g, place[i], x));
        value[i] = onnx_sum(g, cr_select(g, hit, x, zero), 1u << axis, true);
        taken = taken == CR_NONE ? hit : cr_map2(g, CR_OP_OR, taken, hit);
    }
    return onnx_out_like(c, cr_concat(g, (unsigned)k, value, axis)) &&
           onnx_out(c, 1, cr_concat(g, (unsigned)k, place, axis), CR_TYPE_I64);
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
    OP("TopK", build_top_k),
    OP(NULL, NULL),
};
