/* Windows (window.h). Convolution is a form that is linear in each of x, w and y, of which a node is the derivative by
 * one; sums over windows are linear, and a node is they or their transpose. So every derivative is another node of the
 * same form. The maximum over windows picks entries, equal shares of them where they tie, which is linear in what is
 * picked from and constant in what decides. */
#include "graph/window.h"
#include "ops/build.h"

#include <string.h>

/* ---- leading axes ---------------------------------------------------------------------------------- */
/* Pools do not look at axes in front. For a convolution, leading axes K of a cotangent or tangent are carried through:
 * two slots share an axis that the third lacks - the batch (x and y), the input channels (x and w) or the output
 * channels (w and y) - and K goes into that one. */

/* t[K, ..., G*R, ...] with K moved into the axis G*R, between G and R: the shapes on both sides of the move. */
typedef struct carrier {
    unsigned k, rank, split; /* axes of K; of the plain tensor; of the plain tensor with G and R apart */
    uint8_t place[CR_MAX_RANK]; /* of each axis of K, then of the split tensor, when K stands inside */
    cr_dim apart[CR_MAX_RANK], moved[CR_MAX_RANK], outside[CR_MAX_RANK], inside[CR_MAX_RANK];
} carrier;

static bool carrier_init(cr_graph *g, carrier *c, unsigned k, const cr_dim *lead, const cr_shape *plain, unsigned axis,
                         cr_dim groups)
{
    dim_table *d = g->dims;
    bool grouped = groups != dim_const(d, 1);
    *c = (carrier){.k = k, .rank = plain->rank, .split = plain->rank + grouped};
    if (k + c->split > CR_MAX_RANK) {
        graph_fail(g, CR_ELIMIT, "a tensor of more than %d axes", CR_MAX_RANK);
        return false;
    }
    memcpy(c->outside, lead, k * sizeof *lead);
    memcpy(c->outside + k, plain->dim, plain->rank * sizeof *lead);
    memcpy(c->inside, plain->dim, plain->rank * sizeof *lead);
    c->inside[axis] = dim_mul(d, dims_product(g, lead, k), plain->dim[axis]);
    memcpy(c->apart, lead, k * sizeof *lead);
    for (unsigned i = 0, to = k; i < plain->rank; i++) {
        if (i == axis && grouped) c->apart[to++] = groups;
        c->apart[to++] = i == axis && grouped ? dim_floordiv(d, plain->dim[i], groups) : plain->dim[i];
    }
    unsigned front = axis + grouped; /* so many axes stand before K when it is inside */
    for (unsigned i = 0; i < k; i++) c->place[i] = (uint8_t)(front + i);
    for (unsigned i = 0; i < c->split; i++) c->place[k + i] = (uint8_t)(i < front ? i : k + i);
    for (unsigned i = 0; i < k + c->split; i++) c->moved[c->place[i]] = c->apart[i];
    return true;
}

static cr_ref carry_in(cr_graph *g, const carrier *c, cr_ref t)
{
    unsigned n = c->k + c->split;
    t = cr_reshape(g, t, n, c->apart);
    t = t ? cr_einsum(g, 1, &t, c->place, n, c->moved) : CR_NONE;
    return cr_reshape(g, t, c->rank, c->inside);
}

static cr_ref carry_out(cr_graph *g, const carrier *c, cr_ref t)
{
    unsigned n = c->k + c->split;
    uint8_t label[CR_MAX_RANK];
    for (unsigned i = 0; i < n; i++) label[c->place[i]] = (uint8_t)i;
    t = cr_reshape(g, t, n, c->moved);
    t = t ? cr_einsum(g, 1, &t, label, n, c->apart) : CR_NONE;
    return cr_reshape(g, t, c->k + c->rank, c->outside);
}

/* ---- convolution ----------------------------------------------------------------------------------- */

/* Where slot s has the axis that it shares with slot t; *grouped: all groups of it, one behind the other. */
static unsigned shared_axis(window_slot s, window_slot t, bool *grouped)
{
    bool batch = s != SLOT_W && t != SLOT_W, output = s != SLOT_X && t != SLOT_X;
    *grouped = !batch && (output || s == SLOT_X);
    return batch || (output && s == SLOT_W) ? 0 : 1;
}

/* The value of slot `to` of the form of node y, with t[K, ...] in slot `from` and the third slot as it is. */
static cr_ref conv_apply(cr_graph *g, cr_ref y, window_slot from, cr_ref t, unsigned k, window_slot to)
{
    cr_ref slot[3];
    cr_window w;
    carrier in, out;
    bool grouped;
    cr_dim one = dim_const(g->dims, 1), lead[CR_MAX_RANK];
    if (!valid(g, t)) return CR_NONE;
    window_slots(g, y, slot);
    window_read(g, y, &w);
    memcpy(lead, shape_of(g, t)->dim, k * sizeof *lead);
    memcpy(w.result, shape_of(g, slot[to])->dim + 2, w.axes * sizeof *lead);
    const cr_shape *plain = shape_of(g, slot[to]);
    unsigned axis = shared_axis(from, to, &grouped);
    if (k && !carrier_init(g, &in, k, lead, shape_of(g, slot[from]), axis, grouped ? w.groups : one)) return CR_NONE;
    axis = shared_axis(to, from, &grouped);
    if (k && !carrier_init(g, &out, k, lead, plain, axis, grouped ? w.groups : one)) return CR_NONE;
    slot[from] = k ? carry_in(g, &in, t) : t;
    cr_ref r = window_conv(g, to, slot[to == SLOT_X ? SLOT_Y : SLOT_X], slot[to == SLOT_W ? SLOT_Y : SLOT_W], &w);
    return k && r ? carry_out(g, &out, r) : r;
}

static window_slot conv_operand(const cr_graph *g, cr_ref y, unsigned i)
{
    window_slot value = window_value(g, y);
    return i == 0 ? (value == SLOT_X ? SLOT_Y : SLOT_X) : value == SLOT_W ? SLOT_Y : SLOT_W;
}
static cr_ref conv_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k)
{
    return conv_apply(g, y, window_value(g, y), ybar, k, conv_operand(g, y, i));
}
static cr_ref conv_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k)
{
    cr_ref sum = CR_NONE;
    for (unsigned i = 0; i < 2; i++)
        if (xdot[i]) sum = add_up(g, sum, conv_apply(g, y, conv_operand(g, y, i), xdot[i], k, window_value(g, y)));
    return sum;
}
static cr_ref conv_simplify(cr_graph *g, cr_ref y)
{
    double v;
    for (unsigned i = 0; i < 2; i++)
        if (is_const(g, in_of(g, y, i), &v) && v == 0) return number_like(g, y, 0);
    return y;
}

/* ---- sums over windows ----------------------------------------------------------------------------- */

/* The value `to` of y's form by `op`, of the operands t. */
static cr_ref apply(cr_graph *g, cr_op op, cr_ref y, window_slot to, const cr_ref *t)
{
    cr_ref slot[3];
    cr_window w;
    window_slots(g, y, slot);
    window_read(g, y, &w);
    for (unsigned i = 0; i < w.axes; i++) w.result[i] = window_extent(g, &w, slot, to, i);
    return window_pool(g, op, to, t, &w);
}
static cr_ref window_apply(cr_graph *g, cr_ref y, window_slot to, cr_ref t)
{
    return valid(g, t) ? apply(g, CR_OP_WINDOW, y, to, &t) : CR_NONE;
}
static cr_ref window_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k)
{
    (void)i, (void)k;
    return window_apply(g, y, window_value(g, y) == SLOT_X ? SLOT_Y : SLOT_X, ybar);
}
static cr_ref window_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k)
{
    (void)k;
    return window_apply(g, y, window_value(g, y), xdot[0]);
}
static cr_ref window_simplify(cr_graph *g, cr_ref y)
{
    double v;
    return is_const(g, arg(g, y), &v) && v == 0 ? number_like(g, y, 0) : y;
}
static unsigned window_sign(const cr_graph *g, cr_ref y, const unsigned *s)
{
    (void)g, (void)y;
    return s[0] & SIGN_NEG && s[0] & SIGN_POS ? SIGN_ANY : s[0] | SIGN_ZERO; /* a window may be empty */
}

/* ---- maxima over windows --------------------------------------------------------------------------- */

/* t[K, ...] picked by (value y), or given to (x), the maxima that y = MAXPOOL(x), MAXTIES(x) or MAXPICK(x, .) is of. */
static cr_ref pick(cr_graph *g, cr_ref y, window_slot to, cr_ref t)
{
    return valid(g, t) ? apply(g, CR_OP_MAXPICK, y, to, (cr_ref[]){arg(g, y), t}) : CR_NONE;
}
static cr_ref maxpool_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k)
{
    (void)i, (void)k;
    return pick(g, y, SLOT_X, ybar);
}
static cr_ref maxpool_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k)
{
    (void)k;
    return pick(g, y, SLOT_Y, xdot[0]);
}
static cr_ref maxpick_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k)
{
    (void)k;
    return i == 0 ? CR_NONE : pick(g, y, window_value(g, y) == SLOT_X ? SLOT_Y : SLOT_X, ybar);
}
static cr_ref maxpick_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k)
{
    (void)k;
    return xdot[1] ? pick(g, y, window_value(g, y), xdot[1]) : CR_NONE;
}
static cr_ref maxpick_simplify(cr_graph *g, cr_ref y)
{
    double v;
    return is_const(g, in_of(g, y, 1), &v) && v == 0 ? number_like(g, y, 0) : y;
}
/* One winner in each window. */
static cr_ref maxpool_regular(cr_graph *g, cr_ref y)
{
    cr_ref slot[3], x = arg(g, y);
    cr_window w;
    window_slots(g, y, slot);
    window_read(g, y, &w);
    for (unsigned i = 0; i < w.axes; i++) w.result[i] = window_extent(g, &w, slot, SLOT_Y, i);
    cr_ref ties = window_pool(g, CR_OP_MAXTIES, SLOT_Y, &x, &w);
    return ties ? cr_map2(g, CR_OP_EQ, ties, cr_const(g, 1)) : CR_NONE;
}
static unsigned maxties_sign(const cr_graph *g, cr_ref y, const unsigned *s)
{
    (void)g, (void)y, (void)s;
    return SIGN_ZERO | SIGN_POS;
}

const op_block ops_windows[] = {
    {CR_OP_CONV, {.vjp = conv_vjp, .jvp = conv_jvp, .simplify = conv_simplify}},
    {CR_OP_WINDOW, {.vjp = window_vjp, .jvp = window_jvp, .simplify = window_simplify, .sign = window_sign}},
    {CR_OP_MAXPOOL, {.vjp = maxpool_vjp, .jvp = maxpool_jvp, .smooth = KINK, .regular = maxpool_regular}},
    {CR_OP_MAXTIES, {.smooth = JUMP, .regular = maxpool_regular, .sign = maxties_sign}},
    {CR_OP_MAXPICK,
     {.vjp = maxpick_vjp,
      .jvp = maxpick_jvp,
      .smooth = JUMP,
      .regular = maxpool_regular,
      .simplify = maxpick_simplify}},
    {CR_OP_NONE, {0}},
};
