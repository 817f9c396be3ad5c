/* Functions of a matrix. With Y the value, t a tangent, c a cotangent (both with k leading axes). */
#include "ops/build.h"

#include <string.h>

/* A*t*B for t[K, i, j]; a factor may be CR_NONE (identity); transposed flags: use A', B', t'. */
enum { TA = 1, TB = 2, TT = 4 };
static cr_ref sandwich(cr_graph *g, cr_ref a, cr_ref t, cr_ref b, unsigned k, unsigned flags)
{
    if (!valid(g, t)) return CR_NONE;
    const cr_shape *ts = shape_of(g, t);
    cr_dim shape[CR_MAX_RANK];
    uint8_t label[CR_MAX_RANK + 8];
    cr_ref in[3];
    unsigned n = 0, m = 0;
    uint8_t row = (uint8_t)k, col = (uint8_t)(k + 1), p = a ? (uint8_t)(k + 2) : row, q = b ? (uint8_t)(k + 3) : col;
    memcpy(shape, ts->dim, k * sizeof *shape);
    shape[k] = a ? shape_of(g, a)->dim[flags & TA ? 1 : 0] : ts->dim[k + (flags & TT ? 1 : 0)];
    shape[k + 1] = b ? shape_of(g, b)->dim[flags & TB ? 0 : 1] : ts->dim[k + (flags & TT ? 0 : 1)];
    if (a) {
        in[m++] = a;
        label[n++] = flags & TA ? p : row;
        label[n++] = flags & TA ? row : p;
    }
    in[m++] = t;
    for (unsigned i = 0; i < k; i++) label[n++] = (uint8_t)i;
    label[n++] = flags & TT ? q : p;
    label[n++] = flags & TT ? p : q;
    if (b) {
        in[m++] = b;
        label[n++] = flags & TB ? col : q;
        label[n++] = flags & TB ? q : col;
    }
    return cr_einsum(g, m, in, label, k + 2, shape);
}

/* c[K] times the transpose (or not) of a matrix: K x n x n */
static cr_ref outer(cr_graph *g, cr_ref c, cr_ref m, unsigned k, bool transpose)
{
    const cr_shape *ms = shape_of(g, m);
    cr_dim shape[CR_MAX_RANK];
    uint8_t label[CR_MAX_RANK + 2];
    if (!valid(g, c) || !valid(g, m) || k + 2 > CR_MAX_RANK) return CR_NONE;
    memcpy(shape, shape_of(g, c)->dim, k * sizeof *shape);
    shape[k] = ms->dim[transpose];
    shape[k + 1] = ms->dim[!transpose];
    for (unsigned i = 0; i < k; i++) label[i] = (uint8_t)i;
    label[k] = (uint8_t)(k + transpose);
    label[k + 1] = (uint8_t)(k + !transpose);
    return cr_einsum(g, 2, (cr_ref[]){c, m}, label, k + 2, shape);
}

/* tr(m t[K]) = sum_ab m_ba t_ab: shape K */
static cr_ref traced(cr_graph *g, cr_ref m, cr_ref t, unsigned k, bool transpose)
{
    uint8_t label[CR_MAX_RANK + 2], a = (uint8_t)k, b = (uint8_t)(k + 1);
    if (!valid(g, m) || !valid(g, t)) return CR_NONE;
    label[0] = transpose ? a : b;
    label[1] = transpose ? b : a;
    for (unsigned i = 0; i < k + 2; i++) label[2 + i] = (uint8_t)i;
    return cr_einsum(g, 2, (cr_ref[]){m, t}, label, k, shape_of(g, t)->dim);
}

static cr_ref inv(cr_graph *g, cr_ref x) { return cr_linalg(g, CR_OP_INV, x); }
static cr_ref adj(cr_graph *g, cr_ref x) { return cr_linalg(g, CR_OP_ADJ, x); }
static cr_ref nonsingular(cr_graph *g, cr_ref y)
{
    cr_ref x = arg(g, y);
    if (is_op(g, x, CR_OP_PARAM) && attr_of(g, x, 1) & CR_INVERTIBLE) return CR_NONE;
    return cr_map2(g, CR_OP_NE, cr_linalg(g, CR_OP_DET, x), cr_const(g, 0));
}

/* d det = tr(adj(X) dX): right at singular X too */
static cr_ref det_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref c, unsigned k)
{
    (void)i;
    return outer(g, c, adj(g, arg(g, y)), k, true);
}
static cr_ref det_jvp(cr_graph *g, cr_ref y, const cr_ref *t, unsigned k)
{
    return t[0] ? traced(g, adj(g, arg(g, y)), t[0], k, false) : CR_NONE;
}

/* d logdet = tr(inv(X) dX), for det(X) > 0 */
static cr_ref logdet_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref c, unsigned k)
{
    (void)i;
    return outer(g, c, inv(g, arg(g, y)), k, true);
}
static cr_ref logdet_jvp(cr_graph *g, cr_ref y, const cr_ref *t, unsigned k)
{
    return t[0] ? traced(g, inv(g, arg(g, y)), t[0], k, false) : CR_NONE;
}
static cr_ref logdet_regular(cr_graph *g, cr_ref y)
{
    cr_ref x = arg(g, y);
    if (is_op(g, x, CR_OP_PARAM) && attr_of(g, x, 1) & CR_DEFINITE) return CR_NONE;
    return greater(g, cr_linalg(g, CR_OP_DET, x), 0);
}

/* d inv = -Y dX Y */
static cr_ref inv_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref c, unsigned k)
{
    (void)i;
    return cr_neg(g, sandwich(g, y, c, y, k, TA | TB));
}
static cr_ref inv_jvp(cr_graph *g, cr_ref y, const cr_ref *t, unsigned k)
{
    return t[0] ? cr_neg(g, sandwich(g, y, t[0], y, k, 0)) : CR_NONE;
}
static cr_ref inv_simplify(cr_graph *g, cr_ref y)
{
    cr_ref x = arg(g, y);
    if (is_op(g, x, CR_OP_INV)) return arg(g, x);
    if (is_op(g, x, CR_OP_IDENTITY)) return x;
    return y;
}

/* adj = det(X) inv(X): d adj = tr(adj dX) inv - adj dX inv, for nonsingular X */
static cr_ref adj_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref c, unsigned k)
{
    (void)i;
    cr_ref z = inv(g, arg(g, y));
    cr_ref inner = traced(g, z, c, k, true);
    return cr_sub(g, outer(g, inner, y, k, true), sandwich(g, y, c, z, k, TA | TB));
}
static cr_ref adj_jvp(cr_graph *g, cr_ref y, const cr_ref *t, unsigned k)
{
    if (!t[0]) return CR_NONE;
    cr_ref z = inv(g, arg(g, y));
    return cr_sub(g, outer(g, traced(g, y, t[0], k, false), z, k, false), sandwich(g, y, t[0], z, k, 0));
}

/* P = pinv(A) at constant rank (Golub & Pereyra 1973):
 * dP = -P dA P + P P' dA' (I - A P) + (I - P A) dA' P' P */
static cr_ref projector(cr_graph *g, cr_ref a, cr_ref b) /* I - a b */
{
    cr_ref ab = cr_matmul(g, a, b);
    return is_scalar(g, ab) ? CR_NONE : cr_sub(g, cr_identity(g, shape_of(g, ab)->dim[0]), ab);
}
static cr_ref as_matrix(cr_graph *g, cr_ref a, cr_dim rows, cr_dim columns)
{
    return cr_reshape(g, a, 2, (cr_dim[]){rows, columns}); /* products drop axes of size 1 */
}
typedef struct pinv_parts {
    cr_ref p, pp, ptp, left, right; /* P, P P', P' P, I - P A, I - A P */
} pinv_parts;
static pinv_parts pinv_read(cr_graph *g, cr_ref y)
{
    cr_ref a = arg(g, y);
    cr_dim m = shape_of(g, a)->dim[0], n = shape_of(g, a)->dim[1];
    pinv_parts q = {.p = y};
    cr_ref pt = as_matrix(g, cr_transpose(g, y), m, n);
    q.pp = as_matrix(g, cr_matmul(g, y, pt), n, n);
    q.ptp = as_matrix(g, cr_matmul(g, pt, y), m, m);
    q.left = projector(g, y, a);
    q.right = projector(g, a, y);
    if (q.left) q.left = as_matrix(g, q.left, n, n);
    if (q.right) q.right = as_matrix(g, q.right, m, m);
    return q;
}
static cr_ref pinv_jvp(cr_graph *g, cr_ref y, const cr_ref *t, unsigned k)
{
    if (!t[0]) return CR_NONE;
    pinv_parts q = pinv_read(g, y);
    cr_ref d = cr_neg(g, sandwich(g, q.p, t[0], q.p, k, 0));
    if (q.right) d = add_up(g, d, sandwich(g, q.pp, t[0], q.right, k, TT));
    if (q.left) d = add_up(g, d, sandwich(g, q.left, t[0], q.ptp, k, TT));
    return d;
}
/* c: cotangent of P. <c, P P' dA' R> = <(P P' c R)' , dA> and so on; P P', P' P and the projectors are symmetric. */
static cr_ref pinv_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref c, unsigned k)
{
    (void)i;
    pinv_parts q = pinv_read(g, y);
    cr_ref d = cr_neg(g, sandwich(g, q.p, c, q.p, k, TA | TB));
    if (q.right) d = add_up(g, d, sandwich(g, q.right, c, q.pp, k, TT));
    if (q.left) d = add_up(g, d, sandwich(g, q.ptp, c, q.left, k, TT));
    return d;
}
/* Full rank is sufficient: the rank cannot change nearby. */
static cr_ref pinv_regular(cr_graph *g, cr_ref y)
{
    cr_ref a = arg(g, y), at = cr_transpose(g, a);
    cr_ref tall = greater(g, cr_linalg(g, CR_OP_DET, cr_matmul(g, at, a)), 0);
    cr_ref wide = greater(g, cr_linalg(g, CR_OP_DET, cr_matmul(g, a, at)), 0);
    return cr_map2(g, CR_OP_OR, tall, wide);
}

/* d X^k = sum_{r=0}^{k-1} X^r dX X^{k-1-r}; X^-k = inv(X)^k */
static cr_ref matpow_rule(cr_graph *g, cr_ref y, cr_ref t, unsigned k, unsigned flags)
{
    cr_ref x = arg(g, y);
    cr_dim e = attr_of(g, y, 0), one = dim_const(g->dims, 1);
    int64_t v;
    bool number = dim_value(g->dims, e, &v);
    if (number && v < 0) {
        cr_ref z = inv(g, x), w = cr_matpow(g, z, dim_const(g->dims, -v));
        if (!valid(g, w)) return CR_NONE;
        cr_ref wt = flags ? op_vjp(g, w, 0, t, k) : op_jvp(g, z, &t, k);
        return flags ? op_vjp(g, z, 0, wt, k) : op_jvp(g, w, &wt, k);
    }
    if (number && v <= 4) {
        cr_ref sum = CR_NONE;
        for (int64_t r = 0; r < v; r++) {
            cr_ref a = r ? cr_matpow(g, x, dim_const(g->dims, r)) : CR_NONE;
            cr_ref b = v - 1 - r ? cr_matpow(g, x, dim_const(g->dims, v - 1 - r)) : CR_NONE;
            sum = add_up(g, sum, sandwich(g, a, t, b, k, flags));
        }
        return sum;
    }
    dim_sym r = fresh_symbol(g, "r");
    cr_dim dr = dim_symbol(g->dims, r), last = dim_sub(g->dims, e, one);
    cr_ref body = sandwich(g, cr_matpow(g, x, dr), t, cr_matpow(g, x, dim_sub(g->dims, last, dr)), k, flags);
    return cr_bind(g, CR_BIND_SUM, name_text(g->dims, r), dim_const(g->dims, 0), last, body);
}
static cr_ref matpow_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref c, unsigned k)
{
    (void)i;
    return matpow_rule(g, y, c, k, TA | TB);
}
static cr_ref matpow_jvp(cr_graph *g, cr_ref y, const cr_ref *t, unsigned k)
{
    return t[0] ? matpow_rule(g, y, t[0], k, 0) : CR_NONE;
}
static cr_ref matpow_regular(cr_graph *g, cr_ref y)
{
    int64_t v;
    return dim_value(g->dims, attr_of(g, y, 0), &v) && v < 0 ? nonsingular(g, y) : CR_NONE;
}

const op_block ops_linalg[] = {
    {CR_OP_DET, {.vjp = det_vjp, .jvp = det_jvp}},
    {CR_OP_LOGDET, {.vjp = logdet_vjp, .jvp = logdet_jvp, .smooth = SINGULAR, .regular = logdet_regular}},
    {CR_OP_INV, {.vjp = inv_vjp, .jvp = inv_jvp, .smooth = SINGULAR, .regular = nonsingular, .simplify = inv_simplify}},
    {CR_OP_PINV, {.vjp = pinv_vjp, .jvp = pinv_jvp, .smooth = SINGULAR, .regular = pinv_regular}},
    {CR_OP_ADJ, {.vjp = adj_vjp, .jvp = adj_jvp, .smooth = SINGULAR, .regular = nonsingular}},
    {CR_OP_MATPOW, {.vjp = matpow_vjp, .jvp = matpow_jvp, .smooth = SINGULAR, .regular = matpow_regular}},
    {CR_OP_NONE, {0}},
};
