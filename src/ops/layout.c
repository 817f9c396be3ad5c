/* Operators that only move entries, and the leaves. */
#include "ops/build.h"

#include <string.h>

/* A reshape keeps the order of entries; so do its cotangent and its tangent, behind the leading axes. */
static cr_ref reshape_behind(cr_graph *g, cr_ref t, cr_ref like, unsigned k)
{
    if (!valid(g, t)) return CR_NONE;
    const cr_shape *s = shape_of(g, like);
    cr_dim shape[CR_MAX_RANK];
    if (k + s->rank > CR_MAX_RANK) return graph_fail(g, CR_ELIMIT, "a tensor of more than %d axes", CR_MAX_RANK);
    memcpy(shape, shape_of(g, t)->dim, k * sizeof *shape);
    memcpy(shape + k, s->dim, s->rank * sizeof *shape);
    return cr_reshape(g, t, k + s->rank, shape);
}
static cr_ref reshape_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k)
{
    (void)i;
    return reshape_behind(g, ybar, arg(g, y), k);
}
static cr_ref reshape_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k)
{
    return reshape_behind(g, xdot[0], y, k);
}

/* One-hot operands and labels that pick entry i of a literal; labels `first`... are its axes. */
static unsigned picks(cr_graph *g, cr_ref y, unsigned i, cr_ref *in)
{
    const cr_shape *s = shape_of(g, y);
    for (unsigned a = s->rank; a-- > 0;) {
        int64_t size = 1;
        dim_value(g->dims, s->dim[a], &size);
        in[a] = cr_onehot(g, dim_const(g->dims, (int64_t)i % size + 1), s->dim[a]);
        i /= (unsigned)size;
    }
    return s->rank;
}

static cr_ref stack_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k)
{
    cr_ref in[CR_MAX_RANK + 1] = {ybar};
    uint8_t label[3 * CR_MAX_RANK];
    unsigned n = 0, r = picks(g, y, i, in + 1);
    for (unsigned a = 0; a < k + r; a++) label[n++] = (uint8_t)a;
    for (unsigned a = 0; a < r; a++) label[n++] = (uint8_t)(k + a);
    return cr_einsum(g, r + 1, in, label, k, shape_of(g, ybar)->dim);
}

static cr_ref stack_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k)
{
    cr_ref sum = CR_NONE;
    const cr_shape *s = shape_of(g, y);
    if (k == 0 && node(g, y)->n_in <= 64) {
        cr_ref entry[64], zero = cr_const(g, 0);
        for (uint32_t i = 0; i < node(g, y)->n_in; i++) entry[i] = xdot[i] ? xdot[i] : zero;
        return cr_stack(g, node(g, y)->n_in, entry, s->rank, s->dim);
    }
    for (uint32_t i = 0; i < node(g, y)->n_in; i++) {
        if (!xdot[i]) continue;
        cr_ref in[CR_MAX_RANK + 1] = {xdot[i]};
        uint8_t label[2 * CR_MAX_RANK];
        cr_dim shape[CR_MAX_RANK];
        unsigned r = picks(g, y, i, in + 1);
        if (k + r > CR_MAX_RANK) return graph_fail(g, CR_ELIMIT, "a tensor of more than %d axes", CR_MAX_RANK);
        memcpy(shape, shape_of(g, xdot[i])->dim, k * sizeof *shape);
        memcpy(shape + k, s->dim, r * sizeof *shape);
        for (unsigned a = 0; a < k + r; a++) label[a] = (uint8_t)a;
        sum = add_up(g, sum, cr_einsum(g, r + 1, in, label, k + r, shape));
    }
    return sum;
}

/* Rows gathered and rows added up are each other's transpose; both are constant in the index, which must not move. */
static cr_ref gather_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k)
{
    unsigned axis = attr_of(g, y, 0);
    return i ? CR_NONE : cr_scatter(g, ybar, in_of(g, y, 1), k + axis, shape_of(g, arg(g, y))->dim[axis]);
}
static cr_ref gather_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k)
{
    return xdot[0] ? cr_gather(g, xdot[0], in_of(g, y, 1), k + attr_of(g, y, 0)) : CR_NONE;
}
static cr_ref scatter_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k)
{
    return i ? CR_NONE : cr_gather(g, ybar, in_of(g, y, 1), k + attr_of(g, y, 0));
}
static cr_ref scatter_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k)
{
    unsigned axis = attr_of(g, y, 0);
    return xdot[0] ? cr_scatter(g, xdot[0], in_of(g, y, 1), k + axis, shape_of(g, y)->dim[axis]) : CR_NONE;
}
static cr_ref index_fixed(cr_graph *g, cr_ref y) { (void)y; return cr_bool(g, false); }
static cr_ref gather_simplify(cr_graph *g, cr_ref y)
{
    double v;
    return is_const(g, arg(g, y), &v) && v == 0 ? number_like(g, y, 0) : y;
}

/* Where the member picked stands along the first axis of its family. */
static cr_ref picked(cr_graph *g, cr_ref y)
{
    cr_ref w = arg(g, y);
    cr_dim position =
        dim_add(g->dims, dim_sub(g->dims, attr_of(g, y, 0), family_first(g, w)), dim_const(g->dims, 1));
    return cr_onehot(g, position, shape_of(g, w)->dim[0]);
}
static cr_ref pick_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k)
{
    (void)i;
    const cr_shape *s = shape_of(g, ybar), *w = shape_of(g, arg(g, y));
    uint8_t label[CR_MAX_RANK + 1];
    cr_dim shape[CR_MAX_RANK];
    if (s->rank == CR_MAX_RANK) return graph_fail(g, CR_ELIMIT, "a tensor of more than %d axes", CR_MAX_RANK);
    for (unsigned a = 0; a < s->rank; a++) {
        label[a] = (uint8_t)(a < k ? a : a + 1);
        shape[label[a]] = s->dim[a];
    }
    shape[k] = w->dim[0];
    label[s->rank] = (uint8_t)k;
    return cr_einsum(g, 2, (cr_ref[]){ybar, picked(g, y)}, label, s->rank + 1u, shape);
}
static cr_ref pick_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k)
{
    const cr_shape *s = shape_of(g, xdot[0]);
    uint8_t label[CR_MAX_RANK + 1];
    cr_dim shape[CR_MAX_RANK];
    unsigned rank = s->rank - 1u;
    for (unsigned a = 0; a < s->rank; a++) {
        label[a] = (uint8_t)(a < k ? a : a == k ? rank : a - 1);
        if (a != k) shape[label[a]] = s->dim[a];
    }
    label[s->rank] = (uint8_t)rank;
    return cr_einsum(g, 2, (cr_ref[]){xdot[0], picked(g, y)}, label, rank, shape);
}
/* o[0] is x, where that is all there is to it. */
static cr_ref member_simplify(cr_graph *g, cr_ref y)
{
    const family_piece *p = family_piece_at(g, attr_of(g, y, 0), attr_of(g, y, 1));
    if (!p || p->lo != p->hi || p->lo != attr_of(g, y, 1)) return y;
    cr_op op = op_of(g, p->body);
    return op == CR_OP_PARAM || op == CR_OP_PICK || op == CR_OP_CONST ? p->body : y;
}

static unsigned same_sign(const cr_graph *g, cr_ref y, const unsigned *s) { (void)g, (void)y; return s[0]; }

/* max(i=lo..hi, f(i)): one index alone attains the value. */
static cr_ref bind_regular(cr_graph *g, cr_ref y)
{
    dim_sym bound;
    uint32_t kind = attr_of(g, y, 0);
    if ((kind != CR_BIND_MAX && kind != CR_BIND_MIN) || !dim_is_symbol(g->dims, attr_of(g, y, 1), &bound))
        return CR_NONE;
    dim_sym i = fresh_symbol(g, "i"); /* a name of its own: y binds the old one */
    cr_ref body = graph_subst_symbol(g, arg(g, y), bound, dim_symbol(g->dims, i));
    cr_ref tie = cr_select(g, cr_map2(g, CR_OP_EQ, body, y), one_like(g, body), number_like(g, body, 0));
    cr_ref count = cr_bind(g, CR_BIND_SUM, name_text(g->dims, i), attr_of(g, y, 2), attr_of(g, y, 3), tie);
    return cr_map2(g, CR_OP_EQ, count, cr_const(g, 1));
}

/* ---- signs of leaves ---------------------------------------------------------------------------- */

static unsigned param_sign(const cr_graph *g, cr_ref y, const unsigned *s)
{
    (void)s;
    unsigned a = attr_of(g, y, 1);
    return a & CR_POSITIVE ? SIGN_POS : a & CR_PROBABILITY ? SIGN_POS | SIGN_ZERO : SIGN_ANY;
}
static unsigned const_sign(const cr_graph *g, cr_ref y, const unsigned *s)
{
    (void)s;
    double v = attr_double(g, y, 0);
    return v > 0 ? SIGN_POS : v < 0 ? SIGN_NEG : v == 0 ? SIGN_ZERO : SIGN_ANY;
}
static unsigned nonnegative(const cr_graph *g, cr_ref y, const unsigned *s)
{
    (void)g, (void)y, (void)s;
    return SIGN_ZERO | SIGN_POS;
}
static unsigned positive(const cr_graph *g, cr_ref y, const unsigned *s) { (void)g, (void)y, (void)s; return SIGN_POS; }

const op_block ops_layout[] = {
    {CR_OP_RESHAPE, {.vjp = reshape_vjp, .jvp = reshape_jvp}},
    {CR_OP_STACK, {.vjp = stack_vjp, .jvp = stack_jvp}},
    {CR_OP_GATHER,
     {.vjp = gather_vjp,
      .jvp = gather_jvp,
      .smooth = SINGULAR,
      .regular = index_fixed,
      .sign = same_sign,
      .simplify = gather_simplify}},
    {CR_OP_SCATTER,
     {.vjp = scatter_vjp, .jvp = scatter_jvp, .smooth = SINGULAR, .regular = index_fixed, .simplify = gather_simplify}},
    {CR_OP_BIND, {.regular = bind_regular}},
    {CR_OP_MEMBER, {.simplify = member_simplify}},
    {CR_OP_PICK, {.vjp = pick_vjp, .jvp = pick_jvp, .sign = same_sign}},
    {CR_OP_PARAM, {.sign = param_sign}},
    {CR_OP_CONST, {.sign = const_sign}},
    {CR_OP_ONEHOT, {.sign = nonnegative}},
    {CR_OP_IDENTITY, {.sign = nonnegative}},
    {CR_OP_IOTA, {.sign = positive}},
    {CR_OP_NONE, {0}},
};
