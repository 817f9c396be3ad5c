/* Reductions over the axes from attr[0] on: maximum, product, norms; and softmax along one axis. */
#include "ops/build.h"

#include <string.h>

static unsigned kept(const cr_graph *g, cr_ref y) { return attr_of(g, y, 0); }

/* v[K, keep] spread over the shape K x shape(x): the reduced axes are broadcast. */
static cr_ref spread(cr_graph *g, cr_ref v, cr_ref x, unsigned k)
{
    const cr_shape *vs = shape_of(g, v), *xs = shape_of(g, x);
    cr_dim shape[CR_MAX_RANK];
    uint8_t label[CR_MAX_RANK];
    if (!valid(g, v) || k + xs->rank > CR_MAX_RANK) return CR_NONE;
    memcpy(shape, vs->dim, k * sizeof *shape);
    memcpy(shape + k, xs->dim, xs->rank * sizeof *shape);
    for (unsigned i = 0; i < CR_MAX_RANK; i++) label[i] = (uint8_t)i;
    return cr_einsum(g, 1, &v, label, k + xs->rank, shape);
}

/* ybar[K, keep] times f of the shape of x: K x shape(x). */
static cr_ref back(cr_graph *g, cr_ref ybar, cr_ref f, unsigned k, unsigned keep)
{
    const cr_shape *bs = shape_of(g, ybar), *fs = shape_of(g, f);
    cr_dim shape[CR_MAX_RANK];
    uint8_t label[2 * CR_MAX_RANK];
    unsigned n = 0;
    if (!valid(g, ybar) || !valid(g, f) || k + fs->rank > CR_MAX_RANK) return CR_NONE;
    memcpy(shape, bs->dim, k * sizeof *shape);
    memcpy(shape + k, fs->dim, fs->rank * sizeof *shape);
    for (unsigned i = 0; i < k + keep; i++) label[n++] = (uint8_t)i;
    for (unsigned i = 0; i < fs->rank; i++) label[n++] = (uint8_t)(k + i);
    return cr_einsum(g, 2, (cr_ref[]){ybar, f}, label, k + fs->rank, shape);
}

/* sum over the reduced axes of xdot[K, shape(x)] times f of the shape of x. */
static cr_ref along(cr_graph *g, cr_ref xdot, cr_ref f, unsigned k, unsigned keep)
{
    const cr_shape *ts = shape_of(g, xdot), *fs = shape_of(g, f);
    uint8_t label[2 * CR_MAX_RANK];
    unsigned n = 0;
    if (!valid(g, xdot) || !valid(g, f)) return CR_NONE;
    for (unsigned i = 0; i < k + fs->rank; i++) label[n++] = (uint8_t)i;
    for (unsigned i = 0; i < fs->rank; i++) label[n++] = (uint8_t)(k + i);
    return cr_einsum(g, 2, (cr_ref[]){xdot, f}, label, k + keep, ts->dim);
}

/* Every reduction here has a gradient f of the shape of x, per kept entry; both modes follow from it. */
typedef cr_ref (*slope_fn)(cr_graph *g, cr_ref y);
static cr_ref slope_vjp(cr_graph *g, cr_ref y, cr_ref ybar, unsigned k, slope_fn f)
{
    return back(g, ybar, f(g, y), k, kept(g, y));
}
static cr_ref slope_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k, slope_fn f)
{
    return xdot[0] ? along(g, xdot[0], f(g, y), k, kept(g, y)) : CR_NONE;
}
#define SLOPE_RULES(name)                                                                                              \
    static cr_ref name##_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k)                               \
    {                                                                                                                  \
        (void)i;                                                                                                       \
        return slope_vjp(g, y, ybar, k, name##_slope);                                                                 \
    }                                                                                                                  \
    static cr_ref name##_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k)                                    \
    {                                                                                                                  \
        return slope_jvp(g, y, xdot, k, name##_slope);                                                                 \
    }

/* ---- maximum and minimum: ties share equally ------------------------------------------------------ */

static cr_ref ties(cr_graph *g, cr_ref x, cr_ref value)
{
    return cr_select(g, cr_map2(g, CR_OP_EQ, x, value), one_like(g, x), number_like(g, x, 0));
}
static cr_ref count_kept(cr_graph *g, cr_ref mask, unsigned keep)
{
    uint8_t label[CR_MAX_RANK];
    for (unsigned i = 0; i < CR_MAX_RANK; i++) label[i] = (uint8_t)i;
    return cr_einsum(g, 1, &mask, label, keep, shape_of(g, mask)->dim);
}
static cr_ref extreme_slope(cr_graph *g, cr_ref y)
{
    cr_ref x = arg(g, y), mask = ties(g, x, spread(g, y, x, 0));
    return cr_div(g, mask, spread(g, count_kept(g, mask, kept(g, y)), x, 0));
}
SLOPE_RULES(extreme)
static cr_ref extreme_regular(cr_graph *g, cr_ref y)
{
    cr_ref x = arg(g, y), mask = ties(g, x, spread(g, y, x, 0));
    return cr_map2(g, CR_OP_EQ, count_kept(g, mask, kept(g, y)), cr_const(g, 1)); /* one winner */
}
static unsigned entry_sign(const cr_graph *g, cr_ref y, const unsigned *s) { (void)g, (void)y; return s[0]; }

/* ---- product: d/dx_a = product of the others, without division ------------------------------------- */

/* M[keep, a, b] = x[keep, b] for b != a, else 1, over the flattened reduced axes; its product over b is the slope. */
static cr_ref prod_slope(cr_graph *g, cr_ref y)
{
    cr_ref x = arg(g, y);
    unsigned keep = kept(g, y);
    const cr_shape *s = shape_of(g, x);
    cr_dim flat[CR_MAX_RANK + 2];
    memcpy(flat, s->dim, keep * sizeof *flat);
    cr_dim n = dims_product(g, s->dim + keep, s->rank - keep);
    flat[keep] = flat[keep + 1] = n;
    if (keep + 2 > CR_MAX_RANK) return graph_fail(g, CR_ELIMIT, "a tensor of more than %d axes", CR_MAX_RANK);
    cr_ref v = cr_reshape(g, x, keep + 1, flat), i = cr_iota(g, n);
    uint8_t label[CR_MAX_RANK], row = (uint8_t)keep, column = (uint8_t)(keep + 1);
    for (unsigned a = 0; a < keep; a++) label[a] = (uint8_t)a;
    label[keep] = column;
    cr_ref entries = cr_einsum(g, 1, &v, label, keep + 2, flat);
    cr_ref same =
        cr_map2(g, CR_OP_EQ, cr_einsum(g, 1, &i, &row, keep + 2, flat), cr_einsum(g, 1, &i, &column, keep + 2, flat));
    cr_ref p = cr_reduce(g, CR_OP_PRODR, cr_select(g, same, one_like(g, entries), entries), keep + 1);
    return cr_reshape(g, p, s->rank, s->dim);
}
SLOPE_RULES(prod)

/* ---- norms ----------------------------------------------------------------------------------------- */

static cr_ref norm1_slope(cr_graph *g, cr_ref y) { return cr_map(g, CR_OP_SIGN, arg(g, y)); }
SLOPE_RULES(norm1)
static cr_ref norm1_regular(cr_graph *g, cr_ref y)
{
    return cr_reduce(g, CR_OP_ALLR, cr_map2(g, CR_OP_NE, arg(g, y), cr_const(g, 0)), kept(g, y));
}

/* x/|x|; at 0 by convention 0 */
static cr_ref norm2_slope(cr_graph *g, cr_ref y)
{
    cr_ref x = arg(g, y), n = spread(g, y, x, 0);
    return cr_select(g, greater(g, n, 0), cr_div(g, x, n), number_like(g, x, 0));
}
SLOPE_RULES(norm2)
static cr_ref norm2_regular(cr_graph *g, cr_ref y) { return cr_map2(g, CR_OP_NE, y, cr_const(g, 0)); }

static cr_ref norm_inf_slope(cr_graph *g, cr_ref y)
{
    cr_ref x = arg(g, y), mask = ties(g, cr_map(g, CR_OP_ABS, x), spread(g, y, x, 0));
    return cr_div(g, cr_mul(g, cr_map(g, CR_OP_SIGN, x), mask), spread(g, count_kept(g, mask, kept(g, y)), x, 0));
}
SLOPE_RULES(norm_inf)
static cr_ref norm_inf_regular(cr_graph *g, cr_ref y)
{
    cr_ref x = arg(g, y), mask = ties(g, cr_map(g, CR_OP_ABS, x), spread(g, y, x, 0));
    cr_ref one = cr_map2(g, CR_OP_EQ, count_kept(g, mask, kept(g, y)), cr_const(g, 1));
    return cr_map2(g, CR_OP_AND, one, cr_map2(g, CR_OP_NE, y, cr_const(g, 0)));
}
static cr_ref norm_simplify(cr_graph *g, cr_ref y)
{
    double v;
    return is_const(g, arg(g, y), &v) && v == 0 ? number_like(g, y, 0) : y;
}
static unsigned norm_sign(const cr_graph *g, cr_ref y, const unsigned *s)
{
    (void)g, (void)y;
    return s[0] & SIGN_ZERO ? SIGN_ZERO | SIGN_POS : SIGN_POS;
}

/* ---- softmax ---------------------------------------------------------------------------------------- */

/* p[shape] times the sum over the axis of p .* t[K, shape]; weight_first: p .* sum(p .* t), else p .* sum(t) */
static cr_ref weighted(cr_graph *g, cr_ref p, cr_ref weight, cr_ref t, unsigned axis, unsigned k)
{
    const cr_shape *ts = shape_of(g, t), *ps = shape_of(g, p);
    uint8_t label[3 * CR_MAX_RANK];
    unsigned n = 0;
    cr_ref in[3] = {p};
    for (unsigned i = 0; i < ps->rank; i++) label[n++] = (uint8_t)(k + i);
    uint8_t summed = (uint8_t)(k + ps->rank);
    unsigned m = 1;
    if (weight) {
        in[m++] = weight;
        for (unsigned i = 0; i < ps->rank; i++) label[n++] = i == axis ? summed : (uint8_t)(k + i);
    }
    in[m++] = t;
    for (unsigned i = 0; i < k; i++) label[n++] = (uint8_t)i;
    for (unsigned i = 0; i < ps->rank; i++) label[n++] = i == axis ? summed : (uint8_t)(k + i);
    return cr_einsum(g, m, in, label, ts->rank, ts->dim);
}

static cr_ref weigh_all(cr_graph *g, cr_ref p, cr_ref t, unsigned k) /* p .* t with K leading axes in t */
{
    const cr_shape *ts = shape_of(g, t);
    uint8_t label[2 * CR_MAX_RANK];
    unsigned n = 0;
    for (unsigned i = k; i < ts->rank; i++) label[n++] = (uint8_t)i;
    for (unsigned i = 0; i < ts->rank; i++) label[n++] = (uint8_t)i;
    return cr_einsum(g, 2, (cr_ref[]){p, t}, label, ts->rank, ts->dim);
}

/* p = softmax(x): J = diag(p) - p p', symmetric, so both modes are p .* t - p (p't) */
static cr_ref softmax_apply(cr_graph *g, cr_ref y, cr_ref t, unsigned k)
{
    if (!valid(g, t)) return CR_NONE;
    return cr_sub(g, weigh_all(g, y, t, k), weighted(g, y, y, t, attr_of(g, y, 0), k));
}
static cr_ref softmax_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k)
{
    (void)i;
    return softmax_apply(g, y, ybar, k);
}
static cr_ref softmax_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k)
{
    return softmax_apply(g, y, xdot[0], k);
}
static unsigned softmax_sign(const cr_graph *g, cr_ref y, const unsigned *s)
{
    (void)g, (void)y, (void)s;
    return SIGN_POS;
}

/* y = x - log sum exp(x): J = I - 1 p'. Cotangent: ybar - p sum(ybar); tangent: xdot - sum(p .* xdot) */
static cr_ref logsoftmax_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k)
{
    (void)i;
    unsigned axis = attr_of(g, y, 0);
    return cr_sub(g, ybar, weighted(g, cr_softmax(g, arg(g, y), axis), CR_NONE, ybar, axis, k));
}
static cr_ref logsoftmax_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k)
{
    if (!xdot[0]) return CR_NONE;
    unsigned axis = attr_of(g, y, 0);
    cr_ref p = cr_softmax(g, arg(g, y), axis);
    return cr_sub(g, xdot[0], weighted(g, one_like(g, y), p, xdot[0], axis, k));
}
static unsigned logsoftmax_sign(const cr_graph *g, cr_ref y, const unsigned *s)
{
    (void)g, (void)y, (void)s;
    return SIGN_NEG | SIGN_ZERO;
}

const op_block ops_reduce[] = {
    {CR_OP_MAXR,
     {.vjp = extreme_vjp, .jvp = extreme_jvp, .smooth = KINK, .regular = extreme_regular, .sign = entry_sign}},
    {CR_OP_MINR,
     {.vjp = extreme_vjp, .jvp = extreme_jvp, .smooth = KINK, .regular = extreme_regular, .sign = entry_sign}},
    {CR_OP_PRODR, {.vjp = prod_vjp, .jvp = prod_jvp}},
    {CR_OP_NORM1,
     {.vjp = norm1_vjp,
      .jvp = norm1_jvp,
      .smooth = KINK,
      .regular = norm1_regular,
      .sign = norm_sign,
      .simplify = norm_simplify}},
    {CR_OP_NORM2,
     {.vjp = norm2_vjp,
      .jvp = norm2_jvp,
      .smooth = KINK,
      .regular = norm2_regular,
      .sign = norm_sign,
      .simplify = norm_simplify}},
    {CR_OP_NORM_INF,
     {.vjp = norm_inf_vjp,
      .jvp = norm_inf_jvp,
      .smooth = KINK,
      .regular = norm_inf_regular,
      .sign = norm_sign,
      .simplify = norm_simplify}},
    {CR_OP_SOFTMAX, {.vjp = softmax_vjp, .jvp = softmax_jvp, .sign = softmax_sign}},
    {CR_OP_LOGSOFTMAX, {.vjp = logsoftmax_vjp, .jvp = logsoftmax_jvp, .sign = logsoftmax_sign}},
    {CR_OP_NONE, {0}},
};
