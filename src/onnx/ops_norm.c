/* Normalisations. A variance is the mean of squared deviations: it does not cancel. */
#include "onnx/importer.h"
#include "onnx/ops.h"

#include <string.h>

/* (x - mean)/sqrt(variance + epsilon) over axes, with what it was computed from, of size 1 there. */
typedef struct normal {
    cr_ref y, mean, variance, inverse;
} normal;

static cr_ref one_over_root(cr_graph *g, cr_ref variance, double epsilon)
{
    cr_ref root = cr_map(g, CR_OP_SQRT, onnx_add_number(g, variance, epsilon));
    return valid(g, root) ? cr_div(g, onnx_like(g, 1, root), root) : CR_NONE;
}

static normal normalise(cr_graph *g, cr_ref x, uint32_t axes, double epsilon)
{
    normal n = {.mean = onnx_mean(g, x, axes, true)};
    cr_ref d = cr_sub(g, x, onnx_stretch_like(g, n.mean, x));
    n.variance = onnx_mean(g, valid(g, d) ? cr_mul(g, d, d) : CR_NONE, axes, true);
    n.inverse = one_over_root(g, n.variance, epsilon);
    n.y = cr_mul(g, d, onnx_stretch_like(g, n.inverse, x));
    return n;
}

/* A vector along axis 1 of x. */
static cr_ref by_channel(onnx_call *c, unsigned i, cr_ref x)
{
    cr_graph *g = c->g;
    cr_ref v = onnx_real(c, i);
    if (!valid(g, v)) return CR_NONE;
    int64_t column[CR_MAX_RANK] = {0};
    unsigned rank = cr_rank(g, x);
    column[0] = rank > 1 ? onnx_size(g, x, 1) : 1;
    for (unsigned k = 1; k + 1 < rank; k++) column[k] = 1;
    if (onnx_count(g, v) != (size_t)column[0]) {
        onnx_fail(c, "input %u is %s, for %lld channels", i + 1, shape_text(g, v, 0), (long long)column[0]);
        return CR_NONE;
    }
    return onnx_stretch_like(g, onnx_reshape(g, v, rank > 1 ? rank - 1 : 1, column), x);
}

static bool is_training(const onnx_call *c)
{
    if (c->im->norms != ONNX_NORMS_WRITTEN) return c->im->norms == ONNX_NORMS_BATCH;
    if (c->version >= 14) return onnx_attr_int(c, "training_mode", 0) != 0;
    if (c->version < 7 && onnx_has_attr(c, "is_test")) return onnx_attr_int(c, "is_test", 0) == 0;
    for (unsigned i = 1; i < c->n_out; i++) {
        if (c->out[i]) return true;
    }
    return false;
}

/* In training, statistics are those of the batch; the second and third output are the running ones after it. */
static bool build_batch_norm(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    double epsilon = onnx_attr_float(c, "epsilon", 1e-5), momentum = onnx_attr_float(c, "momentum", 0.9);
    if (!valid(g, x)) return false;
    if (c->version < 9 && !onnx_attr_int(c, "spatial", 1)) {
        return onnx_unsupported(c, "statistics of each entry of a channel (spatial = 0)");
    }
    unsigned rank = cr_rank(g, x);
    cr_ref scale = by_channel(c, 1, x), bias = by_channel(c, 2, x);
    if (scale == CR_NONE || bias == CR_NONE) return false;
    if (!is_training(c)) {
        cr_ref mean = by_channel(c, 3, x), variance = onnx_real(c, 4), inverse;
        if (mean == CR_NONE || !valid(g, variance)) return false;
        inverse = one_over_root(g, variance, epsilon);
        int64_t column[CR_MAX_RANK] = {rank > 1 ? onnx_size(g, x, 1) : 1};
        for (unsigned k = 1; k + 1 < rank; k++) column[k] = 1;
        if (onnx_count(g, variance) != (size_t)column[0])
            return onnx_fail(c, "a variance of %s", shape_text(g, variance, 0));
        inverse = onnx_stretch_like(g, onnx_reshape(g, inverse, rank > 1 ? rank - 1 : 1, column), x);
        return onnx_out_like(c, cr_add(g, cr_mul(g, cr_mul(g, cr_sub(g, x, mean), inverse), scale), bias));
    }
    if (onnx_count(g, x) == (size_t)(rank > 1 ? onnx_size(g, x, 1) : 1)) {
        return onnx_fail(c, "the data have one value a channel, which is its own mean: statistics of the batch need "
                            "more samples, or the stored ones (--bn stored)");
    }
    normal n = normalise(g, x, ((1u << rank) - 1) & ~2u, epsilon);
    cr_ref now[2] = {n.mean, n.variance};
    for (unsigned i = 0; i < 2 && 1 + i < c->n_out; i++) {
        if (!c->out[1 + i]) continue;
        cr_ref before = onnx_real(c, 3 + i);
        if (!valid(g, before)) return false;
        int64_t channels = onnx_size(g, before, 0);
        cr_ref after = cr_add(g, onnx_times(g, before, momentum),
                              onnx_times(g, onnx_reshape(g, now[i], 1, &channels), 1 - momentum));
        if (!onnx_out(c, 1 + i, after, c->in[0]->type)) return false;
    }
    for (unsigned i = 3; i < c->n_out && i < 5; i++) { /* before version 14: what the gradient wants saved */
        int64_t channels = rank > 1 ? onnx_size(g, x, 1) : 1;
        if (c->out[i] && !onnx_out(c, i, onnx_reshape(g, now[i - 3], 1, &channels), c->in[0]->type)) return false;
    }
    return onnx_out_like(c, cr_add(g, cr_mul(g, n.y, scale), bias));
}

static bool build_instance_norm(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    if (!valid(g, x)) return false;
    if (cr_rank(g, x) < 3) return onnx_fail(c, "an input of %s: at least 3 axes are needed", shape_text(g, x, 0));
    cr_ref scale = by_channel(c, 1, x), bias = by_channel(c, 2, x);
    if (scale == CR_NONE || bias == CR_NONE) return false;
    normal n = normalise(g, x, ((1u << cr_rank(g, x)) - 1) & ~3u, onnx_attr_float(c, "epsilon", 1e-5));
    return onnx_out_like(c, cr_add(g, cr_mul(g, n.y, scale), bias));
}

/* y times scale plus bias (inputs 1 and 2, both may be left out), which broadcast from the last axes. */
static bool affine(onnx_call *c, cr_ref y, cr_ref *out)
{
    cr_graph *g = c->g;
    for (unsigned i = 1; i < 3 && valid(g, y); i++) {
        if (!onnx_has(c, i)) continue;
        cr_ref v = onnx_real(c, i);
        int64_t dim[CR_MAX_RANK], own[CR_MAX_RANK], both[CR_MAX_RANK];
        unsigned rank;
        if (!valid(g, v)) return false;
        onnx_shape(g, y, dim);
        onnx_shape(g, v, own);
        if (!onnx_common(cr_rank(g, v), own, cr_rank(g, y), dim, &rank, both) || rank != cr_rank(g, y) ||
            memcmp(both, dim, rank * sizeof *dim) != 0) {
            return onnx_fail(c, "input %u is %s, for %s", i + 1, shape_text(g, v, 0), shape_text(g, y, 1));
        }
        v = onnx_stretch_like(g, v, y);
        y = i == 1 ? cr_mul(g, y, v) : cr_add(g, y, v);
    }
    *out = y;
    return valid(g, y);
}

static bool build_layer_norm(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0), y;
    unsigned axis;
    if (!valid(g, x) || !onnx_axis(c, onnx_attr_int(c, "axis", -1), cr_rank(g, x), &axis)) return false;
    uint32_t axes = ((1u << cr_rank(g, x)) - 1) & ~((1u << axis) - 1);
    normal n = normalise(g, x, axes, onnx_attr_float(c, "epsilon", 1e-5));
    if (!affine(c, n.y, &y)) return false;
    return onnx_out_like(c, y) && onnx_out(c, 1, n.mean, c->in[0]->type) && onnx_out(c, 2, n.inverse, c->in[0]->type);
}

static bool build_rms_norm(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0), y;
    unsigned axis;
    if (!valid(g, x) || !onnx_axis(c, onnx_attr_int(c, "axis", -1), cr_rank(g, x), &axis)) return false;
    uint32_t axes = ((1u << cr_rank(g, x)) - 1) & ~((1u << axis) - 1);
    cr_ref square = onnx_mean(g, cr_mul(g, x, x), axes, true);
    cr_ref inverse = one_over_root(g, square, onnx_attr_float(c, "epsilon", 1e-5));
    return affine(c, cr_mul(g, x, onnx_stretch_like(g, inverse, x)), &y) && onnx_out_like(c, y);
}

/* Channels in groups; scale and bias of each group (18) or of each channel (21). */
static bool build_group_norm(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    int64_t groups = onnx_attr_int(c, "num_groups", 0), dim[CR_MAX_RANK], split[CR_MAX_RANK + 1];
    if (!valid(g, x)) return false;
    unsigned rank = cr_rank(g, x);
    if (rank < 2 || rank + 1 > CR_MAX_RANK) return onnx_fail(c, "an input of %s", shape_text(g, x, 0));
    onnx_shape(g, x, dim);
    if (groups < 1 || dim[1] % groups)
        return onnx_fail(c, "%lld channels in %lld groups", (long long)dim[1], (long long)groups);
    split[0] = dim[0];
    split[1] = groups;
    split[2] = dim[1] / groups;
    for (unsigned i = 2; i < rank; i++) split[i + 1] = dim[i];
    uint32_t axes = ((1u << (rank + 1)) - 1) & ~3u;
    cr_ref y = normalise(g, onnx_reshape(g, x, rank + 1, split), axes, onnx_attr_float(c, "epsilon", 1e-5)).y;
    for (unsigned i = 1; i < 3; i++) {
        if (!onnx_has(c, i)) continue;
        cr_ref v = onnx_real(c, i);
        if (!valid(g, v) || !valid(g, y)) return false;
        bool grouped = onnx_count(g, v) == (size_t)groups && c->version < 21;
        int64_t shape[CR_MAX_RANK] = {groups, grouped ? 1 : split[2]};
        for (unsigned k = 2; k < rank; k++) shape[k] = 1;
        if (onnx_count(g, v) != (size_t)(shape[0] * shape[1]))
            return onnx_fail(c, "input %u is %s", i + 1, shape_text(g, v, 0));
        v = onnx_stretch_like(g, onnx_reshape(g, v, rank, shape), y);
        y = i == 1 ? cr_mul(g, y, v) : cr_add(g, y, v);
    }
    return onnx_out_like(c, onnx_reshape(g, y, rank, dim));
}

/* x/(bias + alpha/size * sum of x^2 over `size` channels around)^beta */
static bool build_lrn(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    int64_t size = onnx_attr_int(c, "size", 0), flat[3], dim[CR_MAX_RANK];
    if (!valid(g, x)) return false;
    unsigned rank = cr_rank(g, x);
    if (rank < 2 || size < 1) return onnx_fail(c, "at least 2 axes and a size are needed");
    onnx_shape(g, x, dim);
    flat[0] = dim[0];
    flat[1] = dim[1];
    flat[2] = 1;
    for (unsigned i = 2; i < rank; i++) flat[2] *= dim[i];
    cr_ref square = onnx_reshape(g, cr_mul(g, x, x), 3, flat);
    cr_window w = {.axes = 2};
    w.size[0] = cr_dim_const(g, size);
    w.size[1] = cr_dim_const(g, 1);
    w.low[0] = cr_dim_const(g, (size - 1) / 2);
    w.high[0] = cr_dim_const(g, size / 2);
    cr_ref sum = onnx_reshape(g, cr_pool(g, CR_POOL_SUM, square, &w), rank, dim);
    double alpha = onnx_attr_float(c, "alpha", 0.0001), beta = onnx_attr_float(c, "beta", 0.75);
    cr_ref base = onnx_add_number(g, onnx_times(g, sum, alpha / (double)size), onnx_attr_float(c, "bias", 1));
    return onnx_out_like(c, cr_div(g, x, cr_pow(g, base, cr_const(g, beta))));
}

static bool build_mvn(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    uint32_t axes;
    size_t n;
    if (!valid(g, x) || !onnx_axes(c, 1, cr_rank(g, x), &axes, &n)) return false;
    if (n == 0) axes = ((1u << cr_rank(g, x)) - 1) & ~2u;
    cr_ref d = cr_sub(g, x, onnx_stretch_like(g, onnx_mean(g, x, axes, true), x));
    cr_ref deviation = cr_map(g, CR_OP_SQRT, onnx_mean(g, cr_mul(g, d, d), axes, true));
    return onnx_out_like(c, cr_div(g, d, onnx_stretch_like(g, onnx_add_number(g, deviation, 1e-9), x)));
}

/* Zeros stay zeros. */
static bool build_lp_norm(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    unsigned axis;
    int64_t p = onnx_attr_int(c, "p", 2);
    if (!valid(g, x) || !onnx_axis(c, onnx_attr_int(c, "axis", -1), cr_rank(g, x), &axis)) return false;
    if (p != 1 && p != 2) return onnx_fail(c, "p is %lld, not 1 or 2", (long long)p);
    cr_ref norm = onnx_reduce(g, p == 1 ? CR_OP_NORM1 : CR_OP_NORM2, x, 1u << axis, true);
    if (!valid(g, norm)) return false;
    norm = cr_select(g, cr_map2(g, CR_OP_EQ, norm, onnx_like(g, 0, norm)), onnx_like(g, 1, norm), norm);
    return onnx_out_like(c, cr_div(g, x, onnx_stretch_like(g, norm, x)));
}

const onnx_op onnx_ops_norm[] = {
    OP("BatchNormalization", build_batch_norm),
    OP("GroupNormalization", build_group_norm),
    OP("InstanceNormalization", build_instance_norm),
    OP("LRN", build_lrn),
    OP("LayerNormalization", build_layer_norm),
    OP("LpNormalization", build_lp_norm),
    OP("MeanVarianceNormalization", build_mvn),
    OP("RMSNormalization", build_rms_norm),
    OP(NULL, NULL),
};
