/* Operators that only move numbers: shapes, axes, parts. Those of booleans and integers are the same. */
#include "onnx/ops.h"

#include <inttypes.h>
#include <string.h>

/* ---- shapes ------------------------------------------------------------------------------------- */

static bool reshaped(onnx_call *c, unsigned rank, const int64_t *dim)
{
    cr_ref x = onnx_in(c, 0);
    if (!valid(c->g, x)) return false;
    return onnx_out_like(c, onnx_reshape(c->g, x, rank, dim));
}

/* 0 keeps a size (without allowzero), one -1 takes what is left. */
static bool build_reshape(onnx_call *c)
{
    const int64_t *v;
    size_t n;
    int64_t dim[CR_MAX_RANK];
    if (!onnx_has(c, 0)) return onnx_fail(c, "input 1 is missing");
    if (!onnx_ints_of(c, "shape", 1, &v, &n)) return false;
    if (n > CR_MAX_RANK) return onnx_fail(c, "a shape of %zu axes; %d are possible", n, CR_MAX_RANK);
    const onnx_value *x = c->in[0];
    bool zero = onnx_attr_int(c, "allowzero", 0) != 0;
    size_t known, rest = n;
    for (size_t i = 0; i < n; i++) {
        dim[i] = v[i];
        if (v[i] == 0 && !zero) {
            if (i >= x->rank) return onnx_fail(c, "size %zu is to be kept, and the input has %u axes", i + 1, x->rank);
            dim[i] = x->dim[i];
        }
        if (v[i] < -1 || (v[i] == -1 && rest < n)) return onnx_fail(c, "a shape with %" PRId64 " in it", v[i]);
        if (v[i] == -1) {
            rest = i;
            dim[i] = 1;
        }
    }
    if (!data_product((unsigned)n, dim, 1, &known)) return onnx_fail(c, "a shape that no tensor can have");
    if (rest < n) {
        if (known == 0 || x->count % known) {
            return onnx_fail(c, "%zu entries do not divide into parts of %zu", x->count, known);
        }
        dim[rest] = (int64_t)(x->count / known);
        known *= (size_t)dim[rest];
    }
    if (known != x->count) return onnx_fail(c, "%zu entries into a shape of %zu", x->count, known);
    return reshaped(c, (unsigned)n, dim);
}

static bool build_flatten(onnx_call *c)
{
    if (!onnx_has(c, 0)) return onnx_fail(c, "input 1 is missing");
    const onnx_value *x = c->in[0];
    int64_t axis = onnx_attr_int(c, "axis", 1), dim[2] = {1, 1};
    if (axis < 0) axis += x->rank;
    if (axis < 0 || axis > (int64_t)x->rank)
        return onnx_fail(c, "axis %" PRId64 " of a tensor of rank %u", axis, x->rank);
    for (unsigned i = 0; i < x->rank; i++) dim[i >= (unsigned)axis] *= x->dim[i];
    return reshaped(c, 2, dim);
}

static bool build_squeeze(onnx_call *c)
{
    uint32_t set;
    size_t n;
    int64_t dim[CR_MAX_RANK];
    unsigned rank = 0;
    if (!onnx_has(c, 0)) return onnx_fail(c, "input 1 is missing");
    const onnx_value *x = c->in[0];
    if (!onnx_axes(c, 1, x->rank, &set, &n)) return false;
    for (unsigned i = 0; i < x->rank; i++) {
        bool gone = n ? set >> i & 1 : x->dim[i] == 1;
        if (gone && x->dim[i] != 1) return onnx_fail(c, "axis %u has size %" PRId64 ", not 1", i, x->dim[i]);
        if (!gone) dim[rank++] = x->dim[i];
    }
    return reshaped(c, rank, dim);
}

static bool build_unsqueeze(onnx_call *c)
{
    const int64_t *axes;
    size_t n;
    uint32_t set = 0;
    int64_t dim[CR_MAX_RANK];
    if (!onnx_has(c, 0)) return onnx_fail(c, "input 1 is missing");
    const onnx_value *x = c->in[0];
    if (!onnx_ints_of(c, "axes", 1, &axes, &n)) return false;
    if (x->rank + n > CR_MAX_RANK) return onnx_fail(c, "more than %d axes", CR_MAX_RANK);
    unsigned rank = x->rank + (unsigned)n, k = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned axis = 0;
        if (!onnx_axis(c, axes[i], rank, &axis)) return false;
        if (set >> axis & 1) return onnx_fail(c, "axis %" PRId64 " is given twice", axes[i]);
        set |= 1u << axis;
    }
    for (unsigned i = 0; i < rank; i++) dim[i] = set >> i & 1 ? 1 : x->dim[k++];
    return reshaped(c, rank, dim);
}

static bool build_transpose(onnx_call *c)
{
    size_t n;
    const int64_t *perm = onnx_attr_ints(c, "perm", &n);
    cr_ref x = onnx_in(c, 0);
    unsigned order[CR_MAX_RANK];
    uint32_t seen = 0;
    if (!valid(c->g, x)) return false;
    unsigned rank = cr_rank(c->g, x);
    if (n && n != rank) return onnx_fail(c, "perm has %zu axes, the input %u", n, rank);
    for (unsigned i = 0; i < rank; i++) {
        order[i] = rank - 1 - i;
        if (n && !onnx_axis(c, perm[i], rank, &order[i])) return false;
        seen |= 1u << order[i];
    }
    if (seen != (1u << rank) - 1) return onnx_fail(c, "perm names an axis twice");
    return onnx_out_like(c, onnx_permute(c->g, x, order));
}

/* Both shapes broadcast: sizes 1 of either side give way. */
static bool build_expand(onnx_call *c)
{
    size_t n;
    const int64_t *to = onnx_ints(c, 1, &n);
    cr_ref x = onnx_in(c, 0);
    int64_t dim[CR_MAX_RANK];
    unsigned rank;
    if (!to || !valid(c->g, x)) return false;
    if (n > CR_MAX_RANK || !onnx_common(c->in[0]->rank, c->in[0]->dim, (unsigned)n, to, &rank, dim)) {
        return onnx_fail(c, "%s does not broadcast to the shape given", shape_text(c->g, x, 0));
    }
    return onnx_out_like(c, onnx_stretch(c->g, x, rank, dim));
}

/* Each axis as two: a repeated one in front, which is broadcast, and its own. */
static bool build_tile(onnx_call *c)
{
    size_t n;
    const int64_t *times = onnx_ints(c, 1, &n);
    cr_ref x = onnx_in(c, 0);
    int64_t split[CR_MAX_RANK], wide[CR_MAX_RANK], dim[CR_MAX_RANK];
    if (!times || !valid(c->g, x)) return false;
    unsigned rank = cr_rank(c->g, x), k = 0;
    if (n != rank) return onnx_fail(c, "%zu repeats for %u axes", n, rank);
    for (unsigned i = 0; i < rank; i++) {
        int64_t size = onnx_size(c->g, x, i);
        size_t all;
        if (times[i] < 0 || !data_product(2, (int64_t[]){size, times[i]}, 1, &all))
            return onnx_fail(c, "%" PRId64 " repeats of %" PRId64 " entries", times[i], size);
        if (k + 2 > CR_MAX_RANK) return onnx_unsupported(c, "repeats along so many axes");
        if (times[i] != 1) {
            split[k] = 1;
            wide[k++] = times[i];
        }
        split[k] = wide[k] = size;
        k++;
        dim[i] = (int64_t)all;
    }
    x = onnx_stretch(c->g, onnx_reshape(c->g, x, k, split), k, wide);
    return onnx_out_like(c, onnx_reshape(c->g, x, rank, dim));
}

/* ---- parts -------------------------------------------------------------------------------------- */

static bool build_concat(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref *part = onnx_alloc(c, (c->n_in + 1) * sizeof *part);
    unsigned axis, n = 0;
    if (!part) return false;
    if (!onnx_has(c, 0)) return onnx_fail(c, "input 1 is missing");
    unsigned rank = c->in[0]->rank;
    if (!onnx_axis(c, onnx_attr_int(c, "axis", c->version < 4 ? 1 : 0), rank, &axis)) return false;
    for (unsigned i = 0; i < c->n_in; i++) {
        cr_ref x = onnx_real(c, i);
        if (!valid(g, x)) return false;
        if (cr_rank(g, x) != rank)
            return onnx_fail(c, "input %u has %u axes, input 1 has %u", i + 1, cr_rank(g, x), rank);
        if (onnx_size(g, x, axis) > 0 || (i + 1 == c->n_in && n == 0)) part[n++] = x;
    }
    return onnx_out_like(c, n == 1 ? part[0] : cr_concat(g, n, part, axis));
}

static bool build_split(onnx_call *c)
{
    const int64_t *size;
    size_t n;
    unsigned axis;
    cr_ref x = onnx_in(c, 0);
    if (!valid(c->g, x) || !onnx_axis(c, onnx_attr_int(c, "axis", 0), cr_rank(c->g, x), &axis)) return false;
    if (!onnx_ints_of(c, "split", 1, &size, &n)) return false;
    int64_t all = onnx_size(c->g, x, axis), parts = onnx_attr_int(c, "num_outputs", c->n_out), first = 0;
    if (n && n < c->n_out) return onnx_fail(c, "%zu sizes for %u outputs", n, c->n_out);
    if (!n && (parts < (int64_t)c->n_out || parts == 0))
        return onnx_fail(c, "%" PRId64 " parts for %u outputs", parts, c->n_out);
    if (!n && c->version < 18 && all % parts)
        return onnx_fail(c, "axis %u, %" PRId64 ", does not divide into %" PRId64 " parts", axis, all, parts);
    int64_t each = n ? 0 : all / parts + (all % parts != 0), sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (size[i] < 0 || size[i] > all - sum)
            return onnx_fail(c, "parts that do not fit into axis %u, %" PRId64, axis, all);
        sum += size[i];
    }
    if (n && sum != all)
        return onnx_fail(c, "its parts make up %" PRId64 " of axis %u, %" PRId64, sum, axis, all);
    for (unsigned i = 0; i < c->n_out; i++) {
        int64_t part = n ? size[i] : all - first < each ? all - first : each;
        if (!onnx_out(c, i, onnx_cut(c->g, x, axis, first, 1, part), c->in[0]->type)) return false;
        first += part;
    }
    return true;
}

static int64_t clamp(int64_t v, int64_t low, int64_t high) { return v < low ? low : v > high ? high : v; }

/* What a slice takes of an axis of n entries. */
static int64_t slice_size(int64_t n, int64_t *start, int64_t end, int64_t step)
{
    *start = *start < 0 ? *start + n : *start;
    end = end < 0 ? (end < -n ? -1 : end + n) : end;
    if (step > 0) {
        *start = clamp(*start, 0, n);
        end = clamp(end, 0, n);
        return end > *start ? (end - *start + step - 1) / step : 0;
    }
    *start = clamp(*start, 0, n - 1);
    end = clamp(end, -1, n - 1);
    return n > 0 && *start > end ? (*start - end - step - 1) / -step : 0;
}

static bool build_slice(onnx_call *c)
{
    const int64_t *start, *end, *axes, *step;
    size_t n, n_end, n_axes, n_step;
    cr_ref x = onnx_in(c, 0);
    if (!valid(c->g, x) || !onnx_ints_of(c, "starts", 1, &start, &n) || !onnx_ints_of(c, "ends", 2, &end, &n_end) ||
        !onnx_ints_of(c, "axes", 3, &axes, &n_axes) || !onnx_ints_of(c, "steps", 4, &step, &n_step)) {
        return false;
    }
    if (n != n_end || (n_axes && n_axes != n) || (n_step && n_step != n)) {
        return onnx_fail(c, "starts, ends, axes and steps are not equally many");
    }
    uint32_t seen = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned axis;
        int64_t by = n_step ? step[i] : 1, from = start[i];
        if (!onnx_axis(c, n_axes ? axes[i] : (int64_t)i, cr_rank(c->g, x), &axis)) return false;
        if (seen >> axis & 1) return onnx_fail(c, "axis %u is given twice", axis);
        seen |= 1u << axis;
        if (by == 0) return onnx_fail(c, "a step of 0");
        if (by == INT64_MIN) by = -INT64_MAX;
        int64_t all = onnx_size(c->g, x, axis), size = slice_size(all, &from, end[i], by);
        if (size == all && from == 0 && by == 1) continue;
        x = onnx_cut(c->g, x, axis, from, by > all ? (all ? all : 1) : by < -all ? -(all ? all : 1) : by, size);
        if (!valid(c->g, x)) return false;
    }
    return onnx_out_like(c, x);
}

/* ---- pads --------------------------------------------------------------------------------------- */

/* An axis of x padded by its entries at index(k), k = -low .. n+high-1. Negative pads have cut off what they cut off
 * before. */
static cr_ref pad_by_index(onnx_call *c, cr_ref x, unsigned axis, int64_t low, int64_t high, const char *mode)
{
    cr_graph *g = c->g;
    if (low < 0 || high < 0) {
        int64_t front = low < 0 ? -low : 0, behind = high < 0 ? -high : 0;
        x = onnx_cut(g, x, axis, front, 1, onnx_size(g, x, axis) - front - behind);
        low = low < 0 ? 0 : low;
        high = high < 0 ? 0 : high;
    }
    int64_t n = onnx_size(g, x, axis), size = n + low + high;
    if (!valid(g, x) || (low == 0 && high == 0)) return x;
    if (n == 0) {
        onnx_fail(c, "axis %u has no entries to pad with", axis);
        return CR_NONE;
    }
    cr_ref k = onnx_add_number(g, cr_iota(g, cr_dim_const(g, size)), -(double)(low + 1)), index;
    if (strcmp(mode, "edge") == 0) {
        index = cr_map2(g, CR_OP_MAX2, cr_map2(g, CR_OP_MIN2, k, onnx_like(g, (double)(n - 1), k)), onnx_like(g, 0, k));
    } else if (strcmp(mode, "wrap") == 0) {
        index = cr_map2(g, CR_OP_MOD, k, onnx_like(g, (double)n, k));
    } else { /* reflect: a zigzag of period 2(n-1) */
        double period = n > 1 ? 2 * (double)(n - 1) : 1;
        cr_ref m = cr_map2(g, CR_OP_MOD, k, onnx_like(g, period, k));
        index = cr_map2(g, CR_OP_MIN2, m, cr_sub(g, onnx_like(g, period, m), m));
    }
    return cr_gather(g, x, onnx_add_number(g, index, 1), axis);
}

/* x in the middle of a tensor that is v elsewhere; negative pads cut off. */
static cr_ref pad_by_number(cr_graph *g, cr_ref x, const int64_t *low, const int64_t *high, cr_ref v)
{
    cr_dim first[CR_MAX_RANK], step[CR_MAX_RANK], size[CR_MAX_RANK];
    double number;
    unsigned rank = cr_rank(g, x);
    for (unsigned i = 0; i < rank; i++) {
        first[i] = cr_dim_const(g, low[i]);
        step[i] = cr_dim_const(g, 1);
        size[i] = cr_dim_const(g, onnx_size(g, x, i) + low[i] + high[i]);
    }
    cr_ref in = cr_place(g, x, first, step, size);
    if (v == CR_NONE || (is_const(g, v, &number) && number == 0)) return in;
    cr_ref inside = cr_place(g, onnx_like(g, 1, x), first, step, size);
    return cr_select(g, cr_map2(g, CR_OP_NE, inside, onnx_like(g, 0, inside)), in, cr_full(g, v, rank, size));
}

#define PAD_MAX ((int64_t)1 << 40)

static bool build_pad(onnx_call *c)
{
    cr_graph *g = c->g;
    const int64_t *pads;
    size_t n, n_axes = 0;
    const int64_t *axes = NULL;
    cr_ref x = onnx_real(c, 0), v = CR_NONE;
    int64_t low[CR_MAX_RANK] = {0}, high[CR_MAX_RANK] = {0};
    if (!valid(g, x) || !onnx_ints_of(c, c->version < 2 ? "paddings" : "pads", 1, &pads, &n)) return false;
    if (onnx_has(c, 3) && !(axes = onnx_ints(c, 3, &n_axes))) return false;
    unsigned rank = cr_rank(g, x);
    size_t of = axes ? n_axes : rank;
    uint32_t seen = 0;
    if (n != 2 * of) return onnx_fail(c, "%zu pads for %zu axes", n, of);
    for (size_t i = 0; i < of; i++) {
        unsigned axis = 0;
        if (!onnx_axis(c, axes ? axes[i] : (int64_t)i, rank, &axis)) return false;
        if (seen >> axis & 1) return onnx_fail(c, "axis %u is given twice", axis);
        seen |= 1u << axis;
        int64_t entries = onnx_size(g, x, axis), p = low[axis] = pads[i], q = high[axis] = pads[of + i];
        if (p > PAD_MAX || q > PAD_MAX || p < -entries || q < -entries || (p < 0 && q < 0 && entries < -p - q) ||
            entries + p + q < 0) {
            return onnx_fail(c, "pads %" PRId64 " and %" PRId64 " of axis %u, %" PRId64, p, q, axis, entries);
        }
    }
    const char *mode = onnx_attr_string(c, "mode", "constant");
    if (strcmp(mode, "constant") == 0) {
        if (c->version < 11) {
            v = cr_const(g, onnx_attr_float(c, "value", 0));
        } else if (onnx_has(c, 2)) {
            v = onnx_reshape(g, onnx_real(c, 2), 0, NULL);
        }
        return onnx_out_like(c, pad_by_number(g, x, low, high, v));
    }
    if (strcmp(mode, "edge") != 0 && strcmp(mode, "reflect") != 0 && strcmp(mode, "wrap") != 0) {
        return onnx_unsupported(c, "mode %s", mode);
    }
    for (unsigned i = 0; i < rank; i++) {
        if (low[i] || high[i]) x = pad_by_index(c, x, i, low[i], high[i], mode);
    }
    return onnx_out_like(c, x);
}

/* ---- blocks of space ------------------------------------------------------------------------------ */

/* N x C x H x W with C = b b C' (DCR) or C' b b (CRD): channels into blocks of space, or back. */
static bool build_depth(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_in(c, 0);
    int64_t b = onnx_attr_int(c, "blocksize", 0), d[CR_MAX_RANK];
    const char *mode = onnx_attr_string(c, "mode", "DCR");
    bool to_space = c->arg, crd = strcmp(mode, "CRD") == 0;
    if (!valid(g, x)) return false;
    if (!crd && strcmp(mode, "DCR") != 0) return onnx_unsupported(c, "mode %s", mode);
    size_t entries;
    if (cr_rank(g, x) != 4 || b < 1) return onnx_fail(c, "its input has to have 4 axes, and blocksize to be above 0");
    onnx_shape(g, x, d);
    if (!data_product(3, (int64_t[]){d[1], b, b}, 1, &entries))
        return onnx_fail(c, "a blocksize of %" PRId64, b);
    if (to_space ? d[1] % (b * b) != 0 : d[2] % b != 0 || d[3] % b != 0) {
        return onnx_fail(c, "blocks of %" PRId64 " do not divide %s", b, shape_text(g, x, 0));
    }
    if (!to_space) {
        int64_t split[] = {d[0], d[1], d[2] / b, b, d[3] / b, b}, out[] = {d[0], d[1] * b * b, d[2] / b, d[3] / b};
        static const unsigned perm[] = {0, 3, 5, 1, 2, 4};
        return onnx_out_like(c, onnx_reshape(g, onnx_permute(g, onnx_reshape(g, x, 6, split), perm), 4, out));
    }
    int64_t depth = d[1] / (b * b), out[] = {d[0], depth, d[2] * b, d[3] * b};
    int64_t dcr[] = {d[0], b, b, depth, d[2], d[3]}, as_crd[] = {d[0], depth, b, b, d[2], d[3]};
    static const unsigned perm_dcr[] = {0, 3, 4, 1, 5, 2}, perm_crd[] = {0, 1, 4, 2, 5, 3};
    x = onnx_permute(g, onnx_reshape(g, x, 6, crd ? as_crd : dcr), crd ? perm_crd : perm_dcr);
    return onnx_out_like(c, onnx_reshape(g, x, 4, out));
}

const onnx_op onnx_ops_layout[] = {
    OP("Concat", build_concat),
    OP_ARG("DepthToSpace", build_depth, true),
    OP("Expand", build_expand),
    OP("Flatten", build_flatten),
    OP("Pad", build_pad),
    OP("Reshape", build_reshape),
    OP("Slice", build_slice),
    OP_ARG("SpaceToDepth", build_depth, false),
    OP("Split", build_split),
    OP("Squeeze", build_squeeze),
    OP("Tile", build_tile),
    OP("Transpose", build_transpose),
    OP("Unsqueeze", build_unsqueeze),
    OP(NULL, NULL),
};
