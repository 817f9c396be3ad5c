/* Resize and Upsample: along one axis after the other, by entries picked or by a matrix of weights, both known. */
#include "onnx/ops.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { SIZE_LIMIT = 1 << 24, REPEATS_LIMIT = 8 };

typedef struct resize {
    const char *mode, *coordinates;
    const char *nearest; /* NULL: down where an axis grows and up where it shrinks, as before version 11 */
    bool exclude_outside, antialias;
    double cubic_a, outside;
    bool crops; /* places outside of the input are `outside` */
} resize;

/* One axis: from n entries to m, by a factor. */
typedef struct axis_plan {
    int64_t n, m;
    double scale, start, end;
} axis_plan;

/* n entries by the factor. Factors are floats, and so is the product: 3 by 7/3 is 7, not 6.9999998. */
static double stretched(const axis_plan *a) { return (double)(float)(a->scale * (double)a->n); }

/* ---- where an entry of the result lies in the input ------------------------------------------------ */

static double place(const resize *r, const axis_plan *a, int64_t i)
{
    double x = (double)i, n = (double)a->n, m = (double)a->m, wide = stretched(a);
    const char *how = r->coordinates;
    if (strcmp(how, "asymmetric") == 0) return x / a->scale;
    /* ONNX's own tests take the length before it is rounded here; it is the same where sizes are given. */
    if (strcmp(how, "align_corners") == 0) return wide > 1 ? x * (n - 1) / (wide - 1) : 0;
    if (strcmp(how, "pytorch_half_pixel") == 0) return m > 1 ? (x + 0.5) / a->scale - 0.5 : 0;
    if (strcmp(how, "tf_half_pixel_for_nn") == 0) return (x + 0.5) / a->scale;
    if (strcmp(how, "half_pixel_symmetric") == 0) {
        return n / 2 * (1 - m / wide) + (x + 0.5) / a->scale - 0.5;
    }
    if (strcmp(how, "tf_crop_and_resize") == 0) {
        return m > 1 ? (n - 1) * (a->start + x * (a->end - a->start) / (m - 1)) : (n - 1) * (a->start + a->end) / 2;
    }
    return (x + 0.5) / a->scale - 0.5;
}

/* Factors are floats: a place is one, too, so that 2 / 0.8f is the half that was meant. */
static int64_t nearest(const resize *r, const axis_plan *a, int64_t i)
{
    double x = (double)(float)place(r, a, i);
    if (!r->nearest) return (int64_t)(a->scale < 1 ? ceil(x) : floor(x));
    if (strcmp(r->nearest, "floor") == 0) return (int64_t)floor(x);
    if (strcmp(r->nearest, "ceil") == 0) return (int64_t)ceil(x);
    if (strcmp(r->nearest, "round_prefer_ceil") == 0) return (int64_t)floor(x + 0.5);
    return (int64_t)ceil(x - 0.5);
}

/* ---- weights ------------------------------------------------------------------------------------- */

static double cubic(double x, double a)
{
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

/* Row of weights for the result's entry i: of the entries around its place; those beyond an edge count as the edge, or
 * not at all. With antialias the kernel widens as the picture shrinks. */
static void fill_row(const resize *r, const axis_plan *a, int64_t i, double *row)
{
    bool is_cubic = strcmp(r->mode, "cubic") == 0;
    double x = place(r, a, i), sum = 0, shrink = r->antialias && a->scale < 1 ? a->scale : 1;
    double reach = (is_cubic ? 2 : 1) / shrink;
    int64_t from = (int64_t)floor(x - reach) + 1, to = (int64_t)ceil(x + reach) - 1;
    if (!r->antialias) {
        from = (int64_t)floor(x) - (is_cubic ? 1 : 0);
        to = (int64_t)floor(x) + (is_cubic ? 2 : 1);
    }
    for (int64_t k = 0; k < a->n; k++) row[k] = 0;
    for (int64_t k = from; k <= to; k++) {
        double d = (x - (double)k) * shrink, w = is_cubic ? cubic(d, r->cubic_a) : fmax(0, 1 - fabs(d));
        bool inside = k >= 0 && k < a->n;
        if (r->exclude_outside && !inside) continue;
        sum += w;
        row[k < 0 ? 0 : k >= a->n ? a->n - 1 : k] += w;
    }
    bool normal = r->exclude_outside || r->antialias;
    for (int64_t k = 0; k < a->n && normal && sum != 0; k++) row[k] /= sum;
}

static cr_ref constant(onnx_call *c, const char *name, cr_type type, unsigned rank, const int64_t *dim, void *data)
{
    cr_tensor t = {.name = name, .type = type, .rank = rank, .count = 1, .data = data};
    for (unsigned i = 0; i < rank; i++) {
        t.dim[i] = dim[i];
        t.count *= (size_t)dim[i];
    }
    return onnx_constant(c, &t);
}

/* ---- one axis ------------------------------------------------------------------------------------ */

/* The entry that entry i of the result is. */
static int64_t source(const resize *r, const axis_plan *a, int64_t i)
{
    int64_t k = nearest(r, a, i);
    return k < 0 ? 0 : k >= a->n ? a->n - 1 : k;
}

/* How often each entry is taken, one after the other, if all are equally often; else 0. */
static int64_t repeats(const resize *r, const axis_plan *a)
{
    int64_t times = a->n > 0 && a->m % a->n == 0 ? a->m / a->n : 0;
    for (int64_t i = 0; times && i < a->m; i++) {
        if (source(r, a, i) != i / times) return 0;
    }
    return times;
}

/* Every entry of the last axis so often: copies side by side on an axis behind it. (A broadcast would be the same with
 * an innermost loop over as few entries.) */
static cr_ref repeated_last(cr_graph *g, cr_ref x, int64_t times)
{
    int64_t dim[CR_MAX_RANK];
    unsigned rank = cr_rank(g, x);
    cr_ref part[REPEATS_LIMIT];
    onnx_shape(g, x, dim);
    dim[rank] = 1;
    for (int64_t i = 0; i < times; i++) part[i] = onnx_reshape(g, x, rank + 1, dim);
    dim[rank - 1] *= times;
    return onnx_reshape(g, cr_concat(g, (unsigned)times, part, rank), rank, dim);
}

/* Every entry of the axes times[i] times: a broadcast. */
static cr_ref repeated(cr_graph *g, cr_ref x, const int64_t *times)
{
    int64_t dim[CR_MAX_RANK], split[2 * CR_MAX_RANK], wide[2 * CR_MAX_RANK];
    unsigned rank = cr_rank(g, x), n = 0;
    bool last = times[rank - 1] > 1 && times[rank - 1] <= REPEATS_LIMIT;
    if (last) x = repeated_last(g, x, times[rank - 1]);
    onnx_shape(g, x, dim);
    for (unsigned i = 0; i < rank; i++) {
        split[n] = wide[n] = dim[i];
        n++;
        if (times[i] == 1 || (last && i + 1 == rank)) continue;
        split[n] = 1;
        wide[n++] = times[i];
        dim[i] *= times[i];
    }
    return onnx_reshape(g, onnx_stretch(g, onnx_reshape(g, x, n, split), n, wide), rank, dim);
}

static cr_ref by_index(onnx_call *c, const resize *r, const axis_plan *a, cr_ref x, unsigned axis)
{
    double *index = onnx_alloc(c, (size_t)a->m * sizeof *index);
    if (!index) return CR_NONE;
    for (int64_t i = 0; i < a->m; i++) index[i] = (double)source(r, a, i) + 1;
    return cr_gather(c->g, x, constant(c, "resize", CR_TYPE_F64, 1, &a->m, index), axis);
}

static cr_ref by_weights(onnx_call *c, const resize *r, const axis_plan *a, cr_ref x, unsigned axis)
{
    cr_graph *g = c->g;
    double *w = onnx_alloc(c, (size_t)a->m * (size_t)a->n * sizeof *w);
    if (!w) return CR_NONE;
    for (int64_t i = 0; i < a->m; i++) fill_row(r, a, i, w + i * a->n);
    int64_t shape[2] = {a->m, a->n};
    uint8_t label[2 + CR_MAX_RANK] = {(uint8_t)axis, CR_MAX_RANK};
    cr_dim dim[CR_MAX_RANK];
    for (unsigned i = 0; i < cr_rank(g, x); i++) {
        label[2 + i] = (uint8_t)(i == axis ? CR_MAX_RANK : i);
        dim[i] = i == axis ? cr_dim_const(g, a->m) : cr_size(g, x, i);
    }
    cr_ref matrix = constant(c, "resize", CR_TYPE_F64, 2, shape, w);
    return cr_einsum(g, 2, (cr_ref[]){matrix, x}, label, cr_rank(g, x), dim);
}

/* Entries whose place lies outside of the input. */
static cr_ref outside(onnx_call *c, const resize *r, const axis_plan *a, cr_ref y, unsigned axis)
{
    cr_graph *g = c->g;
    double *in = onnx_alloc(c, (size_t)a->m * sizeof *in);
    if (!in) return CR_NONE;
    for (int64_t i = 0; i < a->m; i++) {
        double x = place(r, a, i);
        in[i] = x >= 0 && x <= (double)(a->n - 1);
    }
    cr_ref v = constant(c, "inside", CR_TYPE_F64, 1, &a->m, in);
    uint8_t label = (uint8_t)axis;
    cr_dim dim[CR_MAX_RANK];
    for (unsigned i = 0; i < cr_rank(g, y); i++) dim[i] = cr_size(g, y, i);
    cr_ref all = cr_einsum(g, 1, &v, &label, cr_rank(g, y), dim);
    return cr_select(g, cr_map2(g, CR_OP_NE, all, onnx_like(g, 0, all)), y, onnx_like(g, r->outside, y));
}

static bool apply(onnx_call *c, const resize *r, unsigned rank, const axis_plan *a)
{
    cr_ref x = onnx_real(c, 0);
    bool same[CR_MAX_RANK], picks = strcmp(r->mode, "nearest") == 0;
    int64_t times[CR_MAX_RANK];
    unsigned axes = rank; /* with one more for each that is repeated */
    for (unsigned i = 0; i < rank; i++) {
        same[i] = a[i].m == a[i].n && a[i].scale == 1 && !r->crops;
        if (!same[i] && (a[i].m < 1 || a[i].n < 1)) return onnx_fail(c, "a size of 0");
        if (!same[i] && (a[i].m > SIZE_LIMIT || a[i].n > SIZE_LIMIT))
            return onnx_unsupported(c, "an axis of more than %d", SIZE_LIMIT);
        times[i] = picks && !same[i] && axes < CR_MAX_RANK ? repeats(r, &a[i]) : 0;
        axes += times[i] > 1;
        same[i] |= times[i] > 0;
        times[i] = times[i] ? times[i] : 1;
    }
    if (!valid(c->g, x)) return false;
    if (axes > rank) x = repeated(c->g, x, times);
    for (unsigned i = 0; i < rank && valid(c->g, x); i++) {
        if (!same[i]) x = picks ? by_index(c, r, &a[i], x, i) : by_weights(c, r, &a[i], x, i);
    }
    for (unsigned i = 0; i < rank && r->crops; i++) x = outside(c, r, &a[i], x, i);
    return onnx_out_like(c, x);
}

/* ---- what a node asks for ------------------------------------------------------------------------ */

static bool one_of(onnx_call *c, const char *what, const char *given, const char *const *known)
{
    for (; *known; known++) {
        if (strcmp(given, *known) == 0) return true;
    }
    return onnx_unsupported(c, "%s %s", what, given);
}

static bool known_modes(onnx_call *c, resize *r, const char *policy)
{
    static const char *const modes[] = {"nearest", "linear", "cubic", NULL};
    static const char *const coordinates[] = {
        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
        "tf_half_pixel_for_nn", "tf_crop_and_resize", NULL};
    static const char *const nearest_modes[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil", NULL};
    static const char *const policies[] = {"stretch", "not_larger", "not_smaller", NULL};
    if (strcmp(r->mode, "bilinear") == 0) r->mode = "linear";
    return one_of(c, "mode", r->mode, modes) &&
           one_of(c, "coordinate_transformation_mode", r->coordinates, coordinates) &&
           (!r->nearest || one_of(c, "nearest_mode", r->nearest, nearest_modes)) &&
           one_of(c, "keep_aspect_ratio_policy", policy, policies);
}

/* Sizes that are given, with the ratio of the picture kept within them or around them (18). */
static void keep_ratio(const char *policy, axis_plan *a, const unsigned *axis, size_t n)
{
    bool larger = strcmp(policy, "not_smaller") == 0;
    if (strcmp(policy, "stretch") == 0 || n == 0) return;
    double scale = larger ? 0 : INFINITY;
    for (size_t i = 0; i < n; i++) scale = larger ? fmax(scale, a[axis[i]].scale) : fmin(scale, a[axis[i]].scale);
    for (size_t i = 0; i < n; i++) {
        axis_plan *p = &a[axis[i]];
        p->scale = scale;
        p->m = (int64_t)floor(scale * (double)p->n + 0.5);
    }
}

static bool build_resize(onnx_call *c)
{
    resize r = {.mode = onnx_attr_string(c, "mode", "nearest"),
                .coordinates = onnx_attr_string(c, "coordinate_transformation_mode",
                                                c->version < 11 ? "asymmetric" : "half_pixel"),
                .nearest = c->version < 11 ? NULL : onnx_attr_string(c, "nearest_mode", "round_prefer_floor"),
                .exclude_outside = onnx_attr_int(c, "exclude_outside", 0) != 0,
                .antialias = onnx_attr_int(c, "antialias", 0) != 0,
                .cubic_a = onnx_attr_float(c, "cubic_coeff_a", -0.75),
                .outside = onnx_attr_float(c, "extrapolation_value", 0)};
    r.crops = strcmp(r.coordinates, "tf_crop_and_resize") == 0;
    axis_plan a[CR_MAX_RANK];
    unsigned axis[CR_MAX_RANK];
    if (!onnx_has(c, 0)) return onnx_fail(c, "input 1 is missing");
    const char *policy = onnx_attr_string(c, "keep_aspect_ratio_policy", "stretch");
    if (!known_modes(c, &r, policy)) return false;
    const onnx_value *x = c->in[0];
    for (unsigned i = 0; i < x->rank; i++) a[i] = (axis_plan){x->dim[i], x->dim[i], 1, 0, 1};
    size_t n_axes, n = 0, n_roi = 0;
    const int64_t *axes = onnx_attr_ints(c, "axes", &n_axes);
    uint32_t seen = 0;
    for (size_t i = 0; i < (axes ? n_axes : x->rank); i++) {
        unsigned k = 0;
        if (!onnx_axis(c, axes ? axes[i] : (int64_t)i, x->rank, &k)) return false;
        if (seen >> k & 1) return onnx_fail(c, "axis %u is given twice", k);
        seen |= 1u << k;
        axis[i] = k;
    }
    size_t of = axes ? n_axes : x->rank;
    unsigned scales_at = c->version < 11 ? 1 : 2;
    bool has_scales = onnx_has(c, scales_at) && c->in[scales_at]->count > 0;
    if (c->arg && c->version < 9) { /* Upsample 7: an attribute */
        const Onnx__AttributeProto *s = onnx_attr(c, "scales");
        if (!s || s->n_floats != x->rank) return onnx_fail(c, "a scale for each axis is needed");
        for (unsigned i = 0; i < x->rank; i++) a[i].scale = (double)s->floats[i];
        of = n = x->rank;
    } else if (has_scales) {
        const double *s = onnx_reals(c, scales_at, &n);
        if (!s) return false;
        for (size_t i = 0; i < n && n == of; i++) a[axis[i]].scale = s[i];
    } else {
        const int64_t *s = onnx_ints(c, 3, &n);
        if (!s) return false;
        for (size_t i = 0; i < n && n == of; i++) {
            a[axis[i]].m = s[i];
            a[axis[i]].scale = (double)s[i] / (double)a[axis[i]].n;
        }
    }
    if (n != of) return onnx_fail(c, "%zu scales or sizes for %zu axes", n, of);
    for (size_t i = 0; i < of; i++) {
        axis_plan *p = &a[axis[i]];
        if (!(p->scale > 0 && p->scale < 1e9)) return onnx_fail(c, "a factor of %g", p->scale);
        if (has_scales || c->arg) p->m = (int64_t)floor(stretched(p));
    }
    if (!has_scales && !c->arg) keep_ratio(policy, a, axis, of);
    if (r.crops) {
        const double *roi = onnx_reals(c, 1, &n_roi);
        if (!roi || n_roi != 2 * of) return roi ? onnx_fail(c, "%zu numbers for the region", n_roi) : false;
        for (size_t i = 0; i < of; i++) {
            a[axis[i]].start = roi[i];
            a[axis[i]].end = roi[of + i];
        }
    }
    return apply(c, &r, x->rank, a);
}

const onnx_op onnx_ops_resize[] = {
    OP_ARG("Resize", build_resize, false),
    OP_ARG("Upsample", build_resize, true),
    OP(NULL, NULL),
};
