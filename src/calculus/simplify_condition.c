/* Simplification of conditions: what signs decide, comparisons solved, and quantifiers over what does not depend on
 * their index. */
#include "calculus/simplify.h"

#include <string.h>

/* Which axes of r do its entries depend on? A bit set. */
unsigned used_axes(const cr_graph *g, cr_ref r)
{
    unsigned rank = shape_of(g, r)->rank, used = 0;
    const cr_node *n = node(g, r);
    if (n->op != CR_OP_EINSUM) return (1u << rank) - 1;
    for (uint32_t i = 0; i < n->n_attr; i++)
        if (n->word[n->n_in + i] < rank) used |= 1u << n->word[n->n_in + i];
    return used;
}

/* r over the axes in `keep` only; it depends on no others. */
cr_ref drop_axes(cr_graph *g, cr_ref r, unsigned keep)
{
    product p;
    product_read(g, r, &p);
    uint8_t to[EINSUM_MAX_LABELS];
    unsigned rank = 0;
    for (unsigned l = 0; l < p.rank; l++)
        if (keep >> l & 1) {
            p.shape[rank] = p.shape[l];
            to[l] = (uint8_t)rank++;
        }
    for (unsigned l = p.rank; l < p.next; l++) to[l] = (uint8_t)(rank + l - p.rank);
    for (unsigned i = 0; i < p.n; i++)
        for (unsigned k = 0; k < shape_of(g, p.factor[i])->rank; k++) p.label[i][k] = to[p.label[i][k]];
    p.rank = rank;
    return product_build(g, &p);
}

/* Conditions that signs decide: z > 0, z != 0, ... against a constant 0. */
cr_ref decide_by_sign(simp *s, cr_ref r)
{
    cr_graph *g = s->g;
    cr_op op = op_of(g, r);
    double v;
    if (op != CR_OP_LT && op != CR_OP_LE && op != CR_OP_EQ && op != CR_OP_NE) return r;
    cr_ref a = in_of(g, r, 0), b = in_of(g, r, 1);
    unsigned sign; /* of b - a */
    if (is_const(g, a, &v) && v == 0) {
        sign = sign_of(s, b);
    } else if (is_const(g, b, &v) && v == 0) {
        unsigned t = sign_of(s, a);
        sign = (t & SIGN_ZERO) | (t & SIGN_NEG ? SIGN_POS : 0u) | (t & SIGN_POS ? SIGN_NEG : 0u);
    } else {
        return r;
    }
    unsigned yes = op == CR_OP_LT   ? SIGN_POS
                   : op == CR_OP_LE ? SIGN_POS | SIGN_ZERO
                   : op == CR_OP_EQ ? SIGN_ZERO
                                    : SIGN_POS | SIGN_NEG;
    const cr_shape *sh = shape_of(g, r);
    if (!(sign & ~yes)) return cr_full(g, cr_bool(g, true), sh->rank, sh->dim);
    if (!(sign & yes)) return cr_full(g, cr_bool(g, false), sh->rank, sh->dim);
    return r;
}

typedef struct symbol_list {
    dim_sym s[8];
    unsigned n;
} symbol_list;

static void list_symbol(void *user, dim_sym s)
{
    symbol_list *l = user;
    if (l->n < 8) l->s[l->n] = s;
    l->n++;
}

/* j-1 <= n-1 is j <= n: a comparison of integers solved for its first symbol. */
cr_ref solve_comparison(cr_graph *g, cr_ref r)
{
    cr_dim a, b, rest;
    int64_t c;
    symbol_list l = {.n = 0};
    cr_op op = op_of(g, r);
    if (!is_scalar(g, r) || !as_dim(g, in_of(g, r, 0), &a) || !as_dim(g, in_of(g, r, 1), &b)) return r;
    cr_dim d = dim_sub(g->dims, b, a);
    dim_symbols(g->dims, d, list_symbol, &l);
    for (unsigned i = 0; i < l.n && l.n <= 8; i++) {
        if (!dim_linear_in(g->dims, d, l.s[i], &c, &rest) || (c != 1 && c != -1)) continue;
        cr_ref s = cr_int(g, dim_symbol(g->dims, l.s[i]));
        cr_ref other = cr_int(g, c == 1 ? dim_sub(g->dims, dim_const(g->dims, 0), rest) : rest);
        return c == 1 ? cr_map2(g, op, other, s) : cr_map2(g, op, s, other);
    }
    return r;
}

/* A broadcast condition that is constant. */
bool constant_condition(const cr_graph *g, cr_ref r, bool *value)
{
    const cr_node *n = node(g, r);
    double a, b;
    if (n->op == CR_OP_CONST) {
        *value = attr_double(g, r, 0) != 0;
        return true;
    }
    if (n->op != CR_OP_EQ || !is_const(g, n->word[0], &a) || !is_const(g, n->word[1], &b)) return false;
    *value = a == b;
    return true;
}

/* The factors of p that hang together by summed labels with factor i, as one scalar; marks them in done. */
static cr_ref component(cr_graph *g, const product *p, unsigned i, bool *done)
{
    product q = *p;
    uint64_t labels = 0;
    bool in[PRODUCT_MAX] = {false}, grown = true;
    in[i] = true;
    while (grown) {
        grown = false;
        for (unsigned k = 0; k < p->n; k++) {
            uint64_t own = 0;
            for (unsigned a = 0; a < shape_of(g, p->factor[k])->rank; a++) own |= 1ull << p->label[k][a];
            if (!in[k] && !(own & labels)) continue;
            grown |= (labels | own) != labels || !in[k];
            in[k] = true;
            labels |= own;
        }
    }
    q.n = 0;
    q.coef = 1;
    for (unsigned k = 0; k < p->n; k++) {
        if (!in[k]) continue;
        done[k] = true;
        q.factor[q.n] = p->factor[k];
        memcpy(q.label[q.n++], p->label[k], sizeof q.label[0]);
    }
    /* a Kronecker delta: a comparison of its two indices, given back as their difference */
    if (q.n == 2 && op_of(g, q.factor[0]) == CR_OP_ONEHOT && op_of(g, q.factor[1]) == CR_OP_ONEHOT) return CR_NONE;
    return product_build(g, &q);
}

/* a*b*... == 0 reads better factor by factor; delta(i,j) == 0 is i != j; a - b == 0 is a == b. */
cr_ref zero_test(simp *s, cr_ref r)
{
    cr_graph *g = s->g;
    cr_op op = op_of(g, r), other = op == CR_OP_EQ ? CR_OP_NE : CR_OP_EQ;
    double v;
    if ((op != CR_OP_EQ && op != CR_OP_NE) || !is_const(g, in_of(g, r, 1), &v) || v != 0) return r;
    cr_ref rest, a = in_of(g, r, 0);
    if (split_coefficient(g, a, &rest) != 1 && rest) return cr_map2(g, op, rest, cr_const(g, 0));
    if (op_of(g, a) == CR_OP_ADD && node(g, a)->n_in == 2)
        for (uint32_t i = 0; i < 2; i++)
            if (split_coefficient(g, in_of(g, a, i), &rest) == -1 && rest)
                return cr_map2(g, op, in_of(g, a, 1 - i), rest);
    if (op_of(g, a) == CR_OP_ABS) return cr_map2(g, op, in_of(g, a, 0), cr_const(g, 0));
    if (op_of(g, a) == CR_OP_SQRT && op == CR_OP_NE)
        return cr_map2(g, CR_OP_LT, cr_const(g, 0), in_of(g, a, 0)); /* it has a value */
    if (op_of(g, a) == CR_OP_POW && is_const(g, in_of(g, a, 1), &v))
        return v > 0 ? cr_map2(g, op, in_of(g, a, 0), cr_const(g, 0)) : r;
    if (op_of(g, a) != CR_OP_EINSUM || !is_scalar(g, a)) return r;
    product p;
    bool done[PRODUCT_MAX] = {false};
    product_read(g, a, &p);
    cr_ref out = CR_NONE;
    unsigned parts = 0;
    bool delta = false;
    for (unsigned i = 0; i < p.n; i++) {
        if (done[i]) continue;
        cr_ref f = component(g, &p, i, done), c;
        if (f) {
            if (!(sign_of(s, f) & SIGN_ZERO)) {
                parts++;
                continue;
            }
            c = cr_map2(g, op, f, cr_const(g, 0));
        } else {
            unsigned j = i + 1; /* its partner */
            while (j < p.n && (op_of(g, p.factor[j]) != CR_OP_ONEHOT || p.label[j][0] != p.label[i][0])) j++;
            if (j == p.n || g->err.status != CR_OK) return r;
            c = cr_map2(g, other, cr_int(g, attr_of(g, p.factor[i], 0)), cr_int(g, attr_of(g, p.factor[j], 0)));
            delta = true;
        }
        parts++;
        out = !out ? c : cr_map2(g, op == CR_OP_EQ ? CR_OP_OR : CR_OP_AND, out, c);
    }
    return out && (parts > 1 || delta) ? out : r;
}

/* The scalar condition that c is everywhere, if it is one: a comparison of broadcast numbers, or a broadcast condition,
 * whose form is (b ? 1 : 0) == 1. */
static cr_ref same_everywhere(cr_graph *g, cr_ref c)
{
    cr_op op = op_of(g, c);
    double v, one, zero;
    if (cr_rank(g, c) == 0) return c;
    if (op == CR_OP_ALLR || op == CR_OP_ANYR) { /* all(j, x_j == 0), whatever i */
        cr_ref t = in_of(g, c, 0);
        op_kind kind = op_get(op_of(g, t))->kind;
        if (kind != KIND_CMP || node(g, t)->n_in != 2 || op_of(g, t) == CR_OP_AND || op_of(g, t) == CR_OP_OR)
            return CR_NONE;
        unsigned used = used_axes(g, in_of(g, t, 0)) | used_axes(g, in_of(g, t, 1));
        if (used & ((1u << attr_of(g, c, 0)) - 1)) return CR_NONE;
        t = cr_map2(g, op_of(g, t), drop_axes(g, in_of(g, t, 0), used), drop_axes(g, in_of(g, t, 1), used));
        return valid(g, t) && cr_rank(g, t) ? cr_reduce(g, op, t, 0) : t;
    }
    if ((op != CR_OP_LT && op != CR_OP_LE && op != CR_OP_EQ && op != CR_OP_NE) ||
        used_axes(g, in_of(g, c, 0)) | used_axes(g, in_of(g, c, 1)))
        return CR_NONE;
    cr_ref a = drop_axes(g, in_of(g, c, 0), 0), b = drop_axes(g, in_of(g, c, 1), 0);
    if (op == CR_OP_EQ && is_const(g, b, &v) && v == 1 && op_of(g, a) == CR_OP_SELECT &&
        is_const(g, in_of(g, a, 1), &one) && one == 1 && is_const(g, in_of(g, a, 2), &zero) && zero == 0)
        return in_of(g, a, 0);
    return cr_map2(g, op, a, b);
}

/* all(i, c) for a comparison c that is constant along i is c; all(i, c_i or b) is all(i, c_i) or b, any(i, c_i and b)
 * likewise, and so are the other two. */
cr_ref reduce_constant_axes(cr_graph *g, cr_ref r)
{
    cr_ref c = in_of(g, r, 0);
    cr_op op = op_of(g, c);
    unsigned keep = attr_of(g, r, 0);
    if (keep == 0 && (op == CR_OP_AND || op == CR_OP_OR))
        for (uint32_t i = 0; i < 2; i++) {
            cr_ref b = same_everywhere(g, in_of(g, c, i));
            if (b)
                return cr_map2(g, op, i ? cr_reduce(g, op_of(g, r), in_of(g, c, 0), 0) : b,
                               i ? b : cr_reduce(g, op_of(g, r), in_of(g, c, 1), 0));
        }
    if (op != CR_OP_LT && op != CR_OP_LE && op != CR_OP_EQ && op != CR_OP_NE) return r;
    cr_ref a = in_of(g, c, 0), b = in_of(g, c, 1);
    unsigned used = used_axes(g, a) | used_axes(g, b) | ((1u << keep) - 1);
    if (used == (1u << cr_rank(g, a)) - 1) return r;
    c = cr_map2(g, op, drop_axes(g, a, used), drop_axes(g, b, used));
    return valid(g, c) && cr_rank(g, c) > keep ? cr_reduce(g, op_of(g, r), c, keep) : c;
}
