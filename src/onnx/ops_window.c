/* Operators with windows: convolution and pooling. */
#include "onnx/ops.h"

#include <inttypes.h>
#include <string.h>

/* A window over the axes behind the first two, as a node's attributes say. */
typedef struct window {
    unsigned axes;
    int64_t kernel[CR_MAX_RANK], stride[CR_MAX_RANK], dilation[CR_MAX_RANK], low[CR_MAX_RANK], high[CR_MAX_RANK];
    bool same_upper, same_lower;
} window;

static bool read_list(onnx_call *c, const char *name, unsigned n, int64_t missing, int64_t least, int64_t *to)
{
    size_t has;
    const int64_t *v = onnx_attr_ints(c, name, &has);
    if (has && has != n) return onnx_fail(c, "%s has %zu numbers, not %u", name, has, n);
    for (unsigned i = 0; i < n; i++) {
        to[i] = has ? v[i] : missing;
        if (to[i] < least) return onnx_fail(c, "%s has %" PRId64 " in it", name, to[i]);
    }
    return true;
}

/* kernel: the sizes, where the weights tell them; NULL: of the attribute. */
static bool read_window(onnx_call *c, unsigned axes, const int64_t *kernel, window *w)
{
    *w = (window){.axes = axes};
    int64_t pads[2 * CR_MAX_RANK], shape[CR_MAX_RANK];
    if (!read_list(c, "strides", axes, 1, 1, w->stride) || !read_list(c, "dilations", axes, 1, 1, w->dilation) ||
        !read_list(c, "pads", 2 * axes, 0, INT64_MIN, pads) || !read_list(c, "kernel_shape", axes, 0, 0, shape)) {
        return false;
    }
    const char *pad = onnx_attr_string(c, "auto_pad", "NOTSET");
    w->same_upper = strcmp(pad, "SAME_UPPER") == 0;
    w->same_lower = strcmp(pad, "SAME_LOWER") == 0;
    for (unsigned i = 0; i < axes; i++) {
        w->kernel[i] = kernel ? kernel[i] : shape[i];
        if (kernel && shape[i] && shape[i] != kernel[i]) {
            return onnx_fail(c, "kernel_shape says %" PRId64 ", the weights %" PRId64, shape[i], kernel[i]);
        }
        if (w->kernel[i] < 1) return onnx_fail(c, "a window without a size");
        w->low[i] = pads[i];
        w->high[i] = pads[axes + i];
        if (strcmp(pad, "NOTSET") != 0) w->low[i] = w->high[i] = 0;
    }
    return true;
}

static int64_t span(const window *w, unsigned i) { return w->dilation[i] * (w->kernel[i] - 1) + 1; }

/* As many positions as strides fit: the pads that this takes, one more behind (upper) or in front. */
static void pad_to_same(window *w, const int64_t *size)
{
    for (unsigned i = 0; i < w->axes && (w->same_upper || w->same_lower); i++) {
        int64_t n = (size[i] + w->stride[i] - 1) / w->stride[i], all = (n - 1) * w->stride[i] + span(w, i) - size[i];
        if (all < 0) all = 0;
        w->low[i] = w->same_lower ? all - all / 2 : all / 2;
        w->high[i] = all - w->low[i];
    }
}

static cr_window to_graph(cr_graph *g, const window *w)
{
    cr_window v = {.axes = w->axes};
    for (unsigned i = 0; i < w->axes; i++) {
        v.size[i] = cr_dim_const(g, w->kernel[i]);
        v.stride[i] = cr_dim_const(g, w->stride[i]);
        v.dilation[i] = cr_dim_const(g, w->dilation[i]);
        v.low[i] = cr_dim_const(g, w->low[i]);
        v.high[i] = cr_dim_const(g, w->high[i]);
    }
    return v;
}

/* x and w of a convolution: at least N x C x D, and as many axes. */
static bool operands(onnx_call *c, cr_ref *x, cr_ref *w, int64_t *size, int64_t *kernel, unsigned *axes)
{
    cr_graph *g = c->g;
    *x = onnx_real(c, 0);
    *w = onnx_real(c, 1);
    if (!valid(g, *x) || !valid(g, *w)) return false;
    unsigned rank = cr_rank(g, *x);
    if (rank < 3 || rank != cr_rank(g, *w)) {
        return onnx_fail(c, "an input of %s and weights of %s", shape_text(g, *x, 0), shape_text(g, *w, 1));
    }
    *axes = rank - 2;
    for (unsigned i = 0; i < *axes; i++) {
        size[i] = onnx_size(g, *x, 2 + i);
        kernel[i] = onnx_size(g, *w, 2 + i);
    }
    return true;
}

static bool add_bias(onnx_call *c, cr_ref y)
{
    cr_graph *g = c->g;
    if (valid(g, y) && onnx_has(c, 2)) {
        cr_ref b = onnx_real(c, 2);
        int64_t dim[CR_MAX_RANK], column[CR_MAX_RANK];
        if (!valid(g, b)) return false;
        onnx_shape(g, y, dim);
        unsigned rank = cr_rank(g, y);
        if (onnx_count(g, b) != (size_t)dim[1]) {
            return onnx_fail(c, "a bias of %s for %" PRId64 " channels", shape_text(g, b, 0), dim[1]);
        }
        column[0] = dim[1];
        for (unsigned i = 1; i + 1 < rank; i++) column[i] = 1;
        y = cr_add(g, y, onnx_stretch(g, onnx_reshape(g, b, rank - 1, column), rank, dim));
    }
    return onnx_out_like(c, y);
}

static bool build_conv(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x, weight;
    unsigned axes;
    window w;
    int64_t size[CR_MAX_RANK], kernel[CR_MAX_RANK], groups = onnx_attr_int(c, "group", 1);
    if (!operands(c, &x, &weight, size, kernel, &axes) || !read_window(c, axes, kernel, &w)) return false;
    int64_t in = onnx_size(g, x, 1), per_group = onnx_size(g, weight, 1);
    if (groups < 1 || per_group * groups != in || onnx_size(g, weight, 0) % groups) {
        return onnx_fail(c, "an input of %s and weights of %s in %" PRId64 " group%s", shape_text(g, x, 0),
                         shape_text(g, weight, 1), groups, groups == 1 ? "" : "s");
    }
    pad_to_same(&w, size);
    for (unsigned i = 0; i < axes; i++) {
        if (size[i] + w.low[i] + w.high[i] < span(&w, i)) return onnx_fail(c, "a window larger than its padded input");
    }
    cr_window v = to_graph(g, &w);
    v.groups = cr_dim_const(g, groups);
    return add_bias(c, cr_conv(g, x, weight, &v));
}

/* The transpose of a convolution: its input is what that puts out, D = stride (P-1) + span - low - high +
 * output_padding. */
static bool build_conv_transpose(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x, weight;
    unsigned axes;
    window w;
    int64_t size[CR_MAX_RANK], kernel[CR_MAX_RANK], more[CR_MAX_RANK], shape[CR_MAX_RANK];
    int64_t groups = onnx_attr_int(c, "group", 1);
    if (!operands(c, &x, &weight, size, kernel, &axes) || !read_window(c, axes, kernel, &w)) return false;
    if (!read_list(c, "output_padding", axes, 0, 0, more) || !read_list(c, "output_shape", axes, 0, 0, shape))
        return false;
    if (groups < 1 || onnx_size(g, x, 1) != onnx_size(g, weight, 0) || onnx_size(g, x, 1) % groups) {
        return onnx_fail(c, "an input of %s and weights of %s in %" PRId64 " groups", shape_text(g, x, 0),
                         shape_text(g, weight, 1), groups);
    }
    cr_window v = {.axes = axes};
    for (unsigned i = 0; i < axes; i++) {
        int64_t full = w.stride[i] * (size[i] - 1) + more[i] + span(&w, i), out = full - w.low[i] - w.high[i];
        bool same = w.same_upper || w.same_lower;
        if (onnx_has_attr(c, "output_shape") || same) {
            out = onnx_has_attr(c, "output_shape") ? shape[i] : size[i] * w.stride[i];
            int64_t pads = full - out, half = pads < 0 ? -((1 - pads) / 2) : pads / 2; /* rounded down */
            w.low[i] = w.same_upper ? half : pads - half;
        }
        if (out < 1) return onnx_fail(c, "pads that leave nothing");
        v.result[i] = cr_dim_const(g, out);
        w.high[i] = 0; /* the result says where it ends */
    }
    cr_window from = to_graph(g, &w);
    memcpy(from.result, v.result, sizeof v.result);
    from.groups = cr_dim_const(g, groups);
    return add_bias(c, cr_conv_transpose(g, x, weight, &from));
}

/* ---- pooling ------------------------------------------------------------------------------------- */

/* Positions of a window along an axis; with ceil_mode, one more that is not whole, if it begins before the pad behind.
 */
static int64_t positions(const window *w, unsigned i, int64_t size, bool up)
{
    int64_t room = size + w->low[i] + w->high[i] - span(w, i);
    if (room < 0) return up && room > -span(w, i) ? 1 : 0;
    int64_t n = room / w->stride[i] + 1;
    if (up && room % w->stride[i] && n * w->stride[i] < size + w->low[i]) n++;
    return n;
}

static bool pool_window(onnx_call *c, cr_ref x, window *w, cr_window *v)
{
    cr_graph *g = c->g;
    unsigned rank = cr_rank(g, x);
    int64_t size[CR_MAX_RANK];
    if (rank < 3) return onnx_fail(c, "an input of %s: at least 3 axes are needed", shape_text(g, x, 0));
    if (!read_window(c, rank - 2, NULL, w)) return false;
    for (unsigned i = 0; i < w->axes; i++) size[i] = onnx_size(g, x, 2 + i);
    pad_to_same(w, size);
    bool up = onnx_attr_int(c, "ceil_mode", 0) != 0;
    *v = to_graph(g, w);
    for (unsigned i = 0; i < w->axes; i++) {
        int64_t n = positions(w, i, size[i], up);
        if (n < 1) return onnx_fail(c, "a window larger than its padded input");
        v->result[i] = cr_dim_const(g, n);
    }
    return true;
}

static cr_ref along_axis(cr_graph *g, cr_ref v, cr_ref like, unsigned axis)
{
    cr_dim dim[CR_MAX_RANK];
    uint8_t label = (uint8_t)axis;
    for (unsigned i = 0; i < cr_rank(g, like); i++) dim[i] = cr_size(g, like, i);
    return cr_einsum(g, 1, &v, &label, cr_rank(g, like), dim);
}

/* Of every maximum, the flat index of the first entry that attains it. Windows overlap, and an entry may be the maximum
 * of one and not of another, hence one tap of the window at a time, from the last to the first. */
static cr_ref indices(onnx_call *c, cr_ref x, cr_ref y, const window *w, const cr_window *v)
{
    cr_graph *g = c->g;
    int64_t dim[CR_MAX_RANK], stride = 1;
    unsigned rank = cr_rank(g, x);
    bool columns = onnx_attr_int(c, "storage_order", 0) != 0;
    onnx_shape(g, x, dim);
    cr_ref flat = onnx_like(g, 0, x);
    for (unsigned k = 0; k < rank; k++) {
        unsigned axis = rank - 1 - k;
        if (columns && k + 2 < rank) axis = 2 + k; /* column-major: the first axis of space is the fastest */
        cr_ref at = onnx_times(g, onnx_add_number(g, cr_iota(g, cr_size(g, x, axis)), -1), (double)stride);
        flat = cr_add(g, flat, along_axis(g, at, x, axis));
        stride *= dim[axis];
    }
    int64_t taps = 1;
    for (unsigned i = 0; i < w->axes; i++) taps *= w->kernel[i];
    cr_ref best = CR_NONE;
    for (int64_t t = taps; t-- > 0;) {
        cr_window one = *v;
        int64_t left = t;
        for (unsigned i = w->axes; i-- > 0;) {
            int64_t tap = left % w->kernel[i];
            left /= w->kernel[i];
            one.size[i] = cr_dim_const(g, 1);
            one.low[i] = cr_dim_const(g, w->low[i] - tap * w->dilation[i]);
        }
        cr_ref value = cr_pool(g, CR_POOL_MAX, x, &one), at = cr_pool(g, CR_POOL_SUM, flat, &one);
        cr_ref hit = cr_map2(g, CR_OP_EQ, value, y);
        best = best == CR_NONE ? at : cr_select(g, hit, at, best);
    }
    return best;
}

static bool build_max_pool(onnx_call *c)
{
    cr_ref x = onnx_real(c, 0);
    window w;
    cr_window v;
    if (!valid(c->g, x) || !pool_window(c, x, &w, &v)) return false;
    cr_ref y = cr_pool(c->g, CR_POOL_MAX, x, &v);
    if (c->n_out > 1 && c->out[1] && !onnx_out(c, 1, indices(c, x, y, &w, &v), CR_TYPE_I64)) return false;
    return onnx_out_like(c, y);
}

/* With count_include_pad, pads count, but not what ceil_mode adds behind them. */
static bool build_average_pool(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    window w;
    cr_window v;
    if (!valid(g, x) || !pool_window(c, x, &w, &v)) return false;
    if (!onnx_attr_int(c, "count_include_pad", 0)) return onnx_out_like(c, cr_pool(g, CR_POOL_MEAN, x, &v));
    cr_window sum = v;
    int64_t dim[CR_MAX_RANK];
    cr_ref total = cr_pool(g, CR_POOL_SUM, x, &sum), count = CR_NONE;
    onnx_shape(g, x, dim);
    for (unsigned i = 0; i < w.axes; i++) { /* the padded input as ones, without pads */
        dim[2 + i] += w.low[i] + w.high[i];
        sum.low[i] = sum.high[i] = cr_dim_const(g, 0);
    }
    dim[0] = dim[1] = 1;
    count = cr_pool(g, CR_POOL_SUM, onnx_full(g, 1, cr_rank(g, x), dim), &sum);
    if (!valid(g, total)) return false;
    onnx_shape(g, total, dim);
    return onnx_out_like(c, cr_div(g, total, onnx_stretch(g, count, cr_rank(g, total), dim)));
}

/* (sum |x|^p)^(1/p) over windows, or over all of space. */
static cr_ref p_root(cr_graph *g, cr_ref sum, double p)
{
    return p == 2 ? cr_map(g, CR_OP_SQRT, sum) : p == 1 ? sum : cr_pow(g, sum, cr_const(g, 1 / p));
}

static cr_ref p_power(cr_graph *g, cr_ref x, double p)
{
    return p == 2   ? cr_mul(g, x, x)
           : p == 1 ? cr_map(g, CR_OP_ABS, x)
                    : cr_pow(g, cr_map(g, CR_OP_ABS, x), cr_const(g, p));
}

static bool build_lp_pool(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    double p = c->version < 2 ? onnx_attr_float(c, "p", 2) : (double)onnx_attr_int(c, "p", 2);
    window w;
    cr_window v;
    if (!valid(g, x) || !pool_window(c, x, &w, &v)) return false;
    return onnx_out_like(c, p_root(g, cr_pool(g, CR_POOL_SUM, p_power(g, x, p), &v), p));
}

typedef enum global { GLOBAL_MAX, GLOBAL_MEAN, GLOBAL_LP } global;

static bool build_global(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    if (!valid(g, x)) return false;
    if (cr_rank(g, x) < 2) return onnx_fail(c, "an input of %s: at least 2 axes are needed", shape_text(g, x, 0));
    uint32_t axes = ((1u << cr_rank(g, x)) - 1) & ~3u;
    if (axes == 0) return onnx_out_like(c, x);
    if (c->arg == GLOBAL_MAX) return onnx_out_like(c, onnx_reduce(g, CR_OP_MAXR, x, axes, true));
    if (c->arg == GLOBAL_MEAN) return onnx_out_like(c, onnx_mean(g, x, axes, true));
    double p = (double)onnx_attr_int(c, "p", 2);
    return onnx_out_like(c, p_root(g, onnx_sum(g, p_power(g, x, p), axes, true), p));
}

const onnx_op onnx_ops_window[] = {
    OP("AveragePool", build_average_pool),
    OP("Conv", build_conv),
    OP("ConvTranspose", build_conv_transpose),
    OP_ARG("GlobalAveragePool", build_global, GLOBAL_MEAN),
    OP_ARG("GlobalLpPool", build_global, GLOBAL_LP),
    OP_ARG("GlobalMaxPool", build_global, GLOBAL_MAX),
    OP("LpPool", build_lp_pool),
    OP("MaxPool", build_max_pool),
    OP(NULL, NULL),
};
