/* Sums, products, quotients, powers, choices. */
#include "ops/build.h"

#include <string.h>

/* ---- einsum ------------------------------------------------------------------------------------- */

/* Gathers the operands of v with labels renamed by `to`, number `at` replaced by the tangent `by` (its k leading axes
 * are labels 0..k-1), or left out if that is CR_NONE; returns how many. */
static uint32_t gather(const cr_graph *g, const einsum_view *v, uint32_t at, cr_ref by, unsigned k, const uint8_t *to,
                       cr_ref *in, uint8_t *label, unsigned *n_label)
{
    uint32_t n = 0;
    const uint32_t *l = v->labels;
    for (uint32_t i = 0; i < v->n; i++) {
        unsigned rank = shape_of(g, v->operand[i])->rank;
        if (i != at || by) {
            in[n++] = i == at ? by : v->operand[i];
            for (unsigned a = 0; i == at && a < k; a++) label[(*n_label)++] = (uint8_t)a;
            for (unsigned a = 0; a < rank; a++) label[(*n_label)++] = to[l[a]];
        }
        l += rank;
    }
    return n;
}

/* y_out = sum prod x_i: the cotangent of x_i is the same product with ybar in the place of x_i. An axis label that x_i
 * has twice (a diagonal) comes back through an identity. */
static cr_ref einsum_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k)
{
    einsum_view v;
    einsum_read(g, y, &v);
    const cr_shape *xs = shape_of(g, v.operand[i]), *bs = shape_of(g, ybar);
    const uint32_t *xl = v.labels;
    for (uint32_t j = 0; j < i; j++) xl += shape_of(g, v.operand[j])->rank;

    cr_ref in[EINSUM_MAX_LABELS + CR_MAX_RANK + 2];
    uint8_t label[(EINSUM_MAX_LABELS + 2) * CR_MAX_RANK], to[EINSUM_MAX_LABELS];
    cr_dim shape[CR_MAX_RANK];
    unsigned rank = k + xs->rank, n_label = 0, next = rank;
    if (rank > CR_MAX_RANK) return graph_fail(g, CR_ELIMIT, "a derivative of more than %d axes", CR_MAX_RANK);
    if (v.n > EINSUM_MAX_LABELS)
        return graph_fail(g, CR_ELIMIT, "a product of more than %d factors", EINSUM_MAX_LABELS);
    memcpy(shape, bs->dim, k * sizeof *shape);
    memcpy(shape + k, xs->dim, xs->rank * sizeof *shape);
    memset(to, 255, sizeof to);
    struct { uint8_t first, again; } twin[CR_MAX_RANK];
    unsigned n_twin = 0;
    for (unsigned a = 0; a < xs->rank; a++) {
        if (to[xl[a]] == 255) {
            to[xl[a]] = (uint8_t)(k + a);
        } else {
            twin[n_twin].first = to[xl[a]];
            twin[n_twin++].again = (uint8_t)(k + a);
        }
    }
    for (unsigned l = 0; l < v.n_labels; l++)
        if (to[l] == 255) to[l] = (uint8_t)next++;
    if (next > EINSUM_MAX_LABELS)
        return graph_fail(g, CR_ELIMIT, "more than %d indices in a product", EINSUM_MAX_LABELS);

    in[0] = ybar;
    for (unsigned a = 0; a < k; a++) label[n_label++] = (uint8_t)a;
    for (unsigned a = 0; a < v.rank; a++) label[n_label++] = to[a];
    unsigned n = 1 + gather(g, &v, i, CR_NONE, k, to, in + 1, label, &n_label);
    for (unsigned t = 0; t < n_twin; t++) {
        in[n++] = cr_identity(g, shape[twin[t].first]);
        label[n_label++] = twin[t].first;
        label[n_label++] = twin[t].again;
    }
    return cr_einsum(g, n, in, label, rank, shape);
}

/* Product rule: one term for each operand that moves. */
static cr_ref einsum_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k)
{
    einsum_view v;
    einsum_read(g, y, &v);
    cr_ref sum = CR_NONE;
    uint8_t to[EINSUM_MAX_LABELS];
    if (v.n_labels + k > EINSUM_MAX_LABELS || v.rank + k > CR_MAX_RANK)
        return graph_fail(g, CR_ELIMIT, "more than %d indices in a product", EINSUM_MAX_LABELS);
    for (unsigned l = 0; l < EINSUM_MAX_LABELS; l++) to[l] = (uint8_t)(l + k);
    for (uint32_t i = 0; i < v.n; i++) {
        if (xdot[i]) {
            cr_ref in[EINSUM_MAX_LABELS + 1];
            uint8_t label[(EINSUM_MAX_LABELS + 2) * CR_MAX_RANK];
            cr_dim shape[CR_MAX_RANK];
            unsigned n_label = 0;
            memcpy(shape, shape_of(g, xdot[i])->dim, k * sizeof *shape);
            memcpy(shape + k, shape_of(g, y)->dim, v.rank * sizeof *shape);
            unsigned n = gather(g, &v, i, xdot[i], k, to, in, label, &n_label);
            sum = add_up(g, sum, cr_einsum(g, n, in, label, v.rank + k, shape));
        }
    }
    return sum;
}

/* Sign of a product, if nothing is added up: signs multiply; a sum of one sign keeps it. */
static unsigned product_sign(unsigned a, unsigned b)
{
    unsigned s = 0;
    if ((a | b) & SIGN_ZERO) s |= SIGN_ZERO;
    if ((a & SIGN_POS && b & SIGN_POS) || (a & SIGN_NEG && b & SIGN_NEG)) s |= SIGN_POS;
    if ((a & SIGN_POS && b & SIGN_NEG) || (a & SIGN_NEG && b & SIGN_POS)) s |= SIGN_NEG;
    return s;
}

static bool same_labels(const uint32_t *a, const uint32_t *b, unsigned n) { return !memcmp(a, b, n * sizeof *a); }

static unsigned einsum_sign(const cr_graph *g, cr_ref y, const unsigned *s)
{
    einsum_view v;
    einsum_read(g, y, &v);
    unsigned sign = SIGN_POS;
    uint64_t used = 0;
    const uint32_t *start[64], *l = v.labels;
    for (uint32_t i = 0; i < v.n && i < 64; i++) {
        start[i] = l;
        l += shape_of(g, v.operand[i])->rank;
    }
    if (v.n > 64) return SIGN_ANY;
    for (uint32_t i = 0; i < v.n; i++) {
        if (used >> i & 1) continue;
        unsigned one = s[i], r = shape_of(g, v.operand[i])->rank;
        for (uint32_t j = i + 1; j < v.n; j++) /* a square is not negative */
            if (!(used >> j & 1) && v.operand[j] == v.operand[i] && same_labels(start[i], start[j], r)) {
                one = (s[i] & SIGN_ZERO) | (s[i] & (SIGN_NEG | SIGN_POS) ? SIGN_POS : 0u);
                used |= 1ull << j;
                break;
            }
        sign = product_sign(sign, one);
    }
    if (v.n_labels > v.rank && sign & SIGN_NEG && sign & SIGN_POS) return SIGN_ANY; /* a sum of both signs may vanish */
    return sign;
}

/* ---- sums --------------------------------------------------------------------------------------- */

static cr_ref add_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k)
{
    (void)g, (void)y, (void)i, (void)k;
    return ybar;
}

static cr_ref add_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k)
{
    (void)k;
    cr_ref sum = CR_NONE;
    for (uint32_t i = 0; i < node(g, y)->n_in; i++) sum = add_up(g, sum, xdot[i]);
    return sum;
}

static unsigned add_sign(const cr_graph *g, cr_ref y, const unsigned *s)
{
    unsigned any = 0;
    bool strict = false;
    for (uint32_t i = 0; i < node(g, y)->n_in; i++) {
        any |= s[i];
        strict |= !(s[i] & SIGN_ZERO);
    }
    if (any & SIGN_NEG && any & SIGN_POS) return SIGN_ANY;
    return strict ? any & ~(unsigned)SIGN_ZERO : any;
}

/* ---- quotient and power -------------------------------------------------------------------------- */

/* y = a/b: 1/b and -y/b, for b != 0 */
static cr_ref div_partial(cr_graph *g, cr_ref y, unsigned i)
{
    cr_ref b = in_of(g, y, 1);
    return i == 0 ? cr_div(g, one_like(g, y), b) : cr_neg(g, cr_div(g, y, b));
}
static cr_ref div_regular(cr_graph *g, cr_ref y) { return cr_map2(g, CR_OP_NE, in_of(g, y, 1), cr_const(g, 0)); }
static unsigned div_sign(const cr_graph *g, cr_ref y, const unsigned *s)
{
    (void)g, (void)y;
    return product_sign(s[0], s[1] & ~(unsigned)SIGN_ZERO);
}

/* y = a^b: b a^(b-1) and y log(a). An integer exponent is smooth (off 0 if negative), any other needs a > 0. */
static cr_ref pow_partial(cr_graph *g, cr_ref y, unsigned i)
{
    cr_ref a = in_of(g, y, 0), b = in_of(g, y, 1);
    double c;
    if (i == 1) return cr_mul(g, y, cr_map(g, CR_OP_LOG, a));
    if (is_const(g, b, &c)) return cr_mul(g, cr_const(g, c), cr_pow(g, a, cr_const(g, num_plus(c, -1))));
    return cr_mul(g, b, cr_pow(g, a, cr_sub(g, b, cr_const(g, 1))));
}
static cr_ref pow_regular(cr_graph *g, cr_ref y)
{
    cr_ref a = in_of(g, y, 0), b = in_of(g, y, 1);
    double c;
    bool integer = is_const(g, b, &c) && c == trunc(c);
    if ((integer && c >= 0) || is_op(g, b, CR_OP_IOTA)) return CR_NONE;
    if (integer || is_op(g, b, CR_OP_INT)) return cr_map2(g, CR_OP_NE, a, cr_const(g, 0));
    return greater(g, a, 0);
}
static unsigned pow_sign(const cr_graph *g, cr_ref y, const unsigned *s)
{
    double c;
    if (s[0] == SIGN_POS) return SIGN_POS;
    bool whole = is_const(g, in_of(g, y, 1), &c) && c == trunc(c);
    if (whole && fmod(c, 2) == 0) return SIGN_POS | (c > 0 ? s[0] & SIGN_ZERO : 0u);
    if (whole) return c > 0 ? s[0] : s[0] & ~(unsigned)SIGN_ZERO;
    return s[0] & SIGN_NEG ? SIGN_ANY : s[0] | SIGN_POS; /* 0^0 = 1 */
}

/* ---- maximum, minimum, remainder ------------------------------------------------------------------ */

/* 1 for the larger argument, 1/2 each at a tie */
static cr_ref pick(cr_graph *g, cr_ref y, cr_ref winner, cr_ref loser, bool larger)
{
    cr_ref half = number_like(g, y, 0.5), tie = cr_map2(g, CR_OP_EQ, winner, loser);
    cr_ref wins = larger ? cr_map2(g, CR_OP_LT, loser, winner) : cr_map2(g, CR_OP_LT, winner, loser);
    return cr_select(g, wins, one_like(g, y), cr_select(g, tie, half, number_like(g, y, 0)));
}
static cr_ref max2_partial(cr_graph *g, cr_ref y, unsigned i)
{
    return pick(g, y, in_of(g, y, i), in_of(g, y, 1 - i), true);
}
static cr_ref min2_partial(cr_graph *g, cr_ref y, unsigned i)
{
    return pick(g, y, in_of(g, y, i), in_of(g, y, 1 - i), false);
}
static cr_ref unequal_args(cr_graph *g, cr_ref y) { return cr_map2(g, CR_OP_NE, in_of(g, y, 0), in_of(g, y, 1)); }
static unsigned max2_sign(const cr_graph *g, cr_ref y, const unsigned *s)
{
    (void)g, (void)y;
    unsigned both = s[0] | s[1];
    if (s[0] == SIGN_POS || s[1] == SIGN_POS) return SIGN_POS;
    if (!(s[0] & SIGN_NEG) || !(s[1] & SIGN_NEG)) return both & ~(unsigned)SIGN_NEG;
    return both;
}

/* mod(a,b) = a - b floor(a/b): 1 and -floor(a/b), where a/b is not an integer */
static cr_ref mod_partial(cr_graph *g, cr_ref y, unsigned i)
{
    if (i == 0) return one_like(g, y);
    return cr_div(g, cr_sub(g, y, in_of(g, y, 0)), in_of(g, y, 1));
}
static cr_ref mod_regular(cr_graph *g, cr_ref y) { return cr_map2(g, CR_OP_NE, y, cr_const(g, 0)); }

/* ---- choice --------------------------------------------------------------------------------------- */

/* The cotangent goes down the branch taken; nothing is multiplied. */
static cr_ref select_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k)
{
    if (i == 0) return CR_NONE;
    cr_ref zero = number_like(g, ybar, 0), cond = graph_tile(g, in_of(g, y, 0), k, shape_of(g, ybar)->dim);
    return i == 1 ? cr_select(g, cond, ybar, zero) : cr_select(g, cond, zero, ybar);
}
static cr_ref select_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k)
{
    cr_ref model = xdot[1] ? xdot[1] : xdot[2];
    if (!model) return CR_NONE;
    cr_ref zero = number_like(g, model, 0), cond = graph_tile(g, in_of(g, y, 0), k, shape_of(g, model)->dim);
    return cr_select(g, cond, xdot[1] ? xdot[1] : zero, xdot[2] ? xdot[2] : zero);
}
/* Off the boundary of its comparisons. */
static cr_ref off_boundary(cr_graph *g, cr_ref cond)
{
    dim_sym s;
    cr_ref mask = is_op(g, cond, CR_OP_EQ) ? in_of(g, cond, 0) : CR_NONE;
    while (mask && is_op(g, mask, CR_OP_EINSUM) && node(g, mask)->n_in == 1) mask = arg(g, mask);
    if (mask && is_op(g, mask, CR_OP_SELECT)) return off_boundary(g, in_of(g, mask, 0)); /* a condition spread out */
    switch (op_of(g, cond)) {
    case CR_OP_LT:
    case CR_OP_LE:
    case CR_OP_EQ:
    case CR_OP_NE:
        return cr_map2(g, CR_OP_NE, in_of(g, cond, 0), in_of(g, cond, 1));
    case CR_OP_NOT: return off_boundary(g, in_of(g, cond, 0));
    case CR_OP_AND: case CR_OP_OR: {
        cr_ref a = off_boundary(g, in_of(g, cond, 0)), b = off_boundary(g, in_of(g, cond, 1));
        return a && b ? cr_map2(g, CR_OP_AND, a, b) : a ? a : b;
    }
    case CR_OP_ALLR: case CR_OP_ANYR: { /* every entry off its boundary is enough */
        cr_ref a = off_boundary(g, in_of(g, cond, 0));
        return a ? cr_reduce(g, CR_OP_ALLR, a, cr_rank(g, cond)) : CR_NONE;
    }
    case CR_OP_BIND: {
        cr_ref a = off_boundary(g, in_of(g, cond, 0));
        if (!a || !dim_is_symbol(g->dims, attr_of(g, cond, 1), &s)) return a;
        return cr_bind(g, CR_BIND_ALL, name_text(g->dims, s), attr_of(g, cond, 2), attr_of(g, cond, 3), a);
    }
    case CR_OP_CONST: return CR_NONE;
    default: return cr_bool(g, false); /* nothing is known of it */
    }
}
static cr_ref select_regular(cr_graph *g, cr_ref y) { return off_boundary(g, in_of(g, y, 0)); }
static unsigned select_sign(const cr_graph *g, cr_ref y, const unsigned *s) { (void)g, (void)y; return s[1] | s[2]; }
/* Does the quotient or product a divide by n? */
static bool divides_by(const cr_graph *g, cr_ref a, cr_ref n)
{
    const cr_node *nd = node(g, a);
    double e;
    for (uint32_t i = 0; i < nd->n_in; i++) {
        cr_ref d = nd->word[i];
        if (nd->op == CR_OP_EINSUM) {
            if (!is_op(g, d, CR_OP_POW) || !is_const(g, in_of(g, d, 1), &e) || e >= 0) continue;
            d = in_of(g, d, 0);
        } else if (nd->op != CR_OP_DIV || i == 0) {
            continue;
        }
        while (is_op(g, d, CR_OP_EINSUM) && node(g, d)->n_in == 1) d = arg(g, d);
        if (d == n) return true;
    }
    return false;
}

static cr_ref select_simplify(cr_graph *g, cr_ref y)
{
    cr_ref cond = in_of(g, y, 0), a = in_of(g, y, 1), b = in_of(g, y, 2);
    double x, z, v;
    /* z > 0 ? 1 : 0 is step(z) */
    if (is_const(g, a, &x) && is_const(g, b, &z) && x == 1 && z == 0 && is_op(g, cond, CR_OP_LT) &&
        is_const(g, in_of(g, cond, 0), &v) && v == 0)
        return cr_map(g, CR_OP_STEP, in_of(g, cond, 1));
    /* a number comes out: z > 0 ? 2 : 0 is 2 step(z); but the equal share of a tie stays where it is read, a == b ? 1/2
     * : 0 */
    if (is_const(g, a, &x) && is_const(g, b, &z) && z == 0 && x != 1 && x != 0 &&
        !(x == 0.5 && is_op(g, cond, CR_OP_EQ)))
        return times(g, x, cr_select(g, cond, one_like(g, y), b));
    /* n > 0 ? a : 0 for a norm n, which guards a quotient by n: the condition n != 0 is stated apart */
    if (is_const(g, b, &z) && z == 0 && is_op(g, cond, CR_OP_LT) && is_const(g, in_of(g, cond, 0), &v) && v == 0) {
        cr_ref n = in_of(g, cond, 1);
        while (is_op(g, n, CR_OP_EINSUM) && node(g, n)->n_in == 1) n = arg(g, n);
        if (is_op(g, n, CR_OP_NORM2) && divides_by(g, a, n)) return a;
    }
    return y;
}

const op_block ops_arithmetic[] = {
    {CR_OP_EINSUM, {.vjp = einsum_vjp, .jvp = einsum_jvp, .sign = einsum_sign}},
    {CR_OP_ADD, {.vjp = add_vjp, .jvp = add_jvp, .sign = add_sign}},
    {CR_OP_DIV, {.partial = div_partial, .smooth = SINGULAR, .regular = div_regular, .sign = div_sign}},
    {CR_OP_POW, {.partial = pow_partial, .smooth = SINGULAR, .regular = pow_regular, .sign = pow_sign}},
    {CR_OP_MAX2, {.partial = max2_partial, .smooth = KINK, .regular = unequal_args, .sign = max2_sign}},
    {CR_OP_MIN2, {.partial = min2_partial, .smooth = KINK, .regular = unequal_args}},
    {CR_OP_MOD, {.partial = mod_partial, .smooth = JUMP, .regular = mod_regular}},
    {CR_OP_SELECT,
     {.vjp = select_vjp,
      .jvp = select_jvp,
      .smooth = JUMP,
      .regular = select_regular,
      .sign = select_sign,
      .simplify = select_simplify}},
    {CR_OP_NONE, {0}},
};
