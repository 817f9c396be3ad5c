/* Reverse and forward mode: one table-driven walk each. No operator is named here but BIND, whose derivative is a walk
 * of its own: its body depends on the variables through everything above it; and MEMBER, a leaf, whose tangent the
 * caller may know. */
#include "calculus/depth.h"

#include <stdlib.h>
#include <string.h>

/* Contributions to a node's cotangent, each with its place in the reading order of the formula. */
typedef struct pending {
    cr_ref term;
    uint32_t place, next;
} pending;

typedef struct reverse_state {
    uint32_t *first;  /* by ref: list head into pool, 0 none */
    uint32_t *place;  /* by ref: place of the edge to input 0; see reading_order */
    pending *pool;
    size_t n_pool, pool_cap;
} reverse_state;

static bool contribute(cr_graph *g, reverse_state *s, cr_ref to, cr_ref term, uint32_t place)
{
    if (!term) return g->err.status == CR_OK; /* zero, unless something failed */
    if (!VEC_RESERVE(s->pool, s->pool_cap, s->n_pool + 1)) {
        graph_fail(g, CR_ENOMEM, "out of memory");
        return false;
    }
    s->pool[s->n_pool] = (pending){term, place, s->first[to]};
    s->first[to] = (uint32_t)s->n_pool++;
    return true;
}

static int by_place(const void *a, const void *b)
{
    uint32_t x = ((const pending *)a)->place, y = ((const pending *)b)->place;
    return (x > y) - (x < y);
}

/* The contributions to r added up, in reading order: in x'*A*x + b'*x those of the first summand come first. */
static cr_ref total(cr_graph *g, const reverse_state *s, cr_ref r)
{
    pending small[16], *list = small;
    cr_ref term[16], *terms = term, out = CR_NONE;
    size_t n = 0;
    uint32_t i = s->first[r];
    if (!i) return CR_NONE;
    if (!s->pool[i].next) return s->pool[i].term;
    for (; i; i = s->pool[i].next) n++;
    if (n > 16) {
        list = mem_alloc(n * sizeof *list);
        terms = mem_alloc(n * sizeof *terms);
    }
    if (list && terms) {
        size_t k = n;
        for (i = s->first[r]; i; i = s->pool[i].next) list[--k] = s->pool[i];
        qsort(list, n, sizeof *list, by_place);
        for (k = 0; k < n; k++) terms[k] = list[k].term;
        out = cr_add_n(g, (unsigned)n, terms);
    } else {
        graph_fail(g, CR_ENOMEM, "out of memory");
    }
    if (n > 16) {
        mem_free(list);
        mem_free(terms);
    }
    return out;
}

/* Numbers the edges of the cone of y as a reader meets them, from the left, each node opened where it is met first.
 * (*edge)[place[r] - 1 + i] is the number of the edge from r to its input i. */
static bool reading_order(cr_graph *g, cr_ref y, uint32_t *place, uint32_t **edge, size_t n_edges)
{
    typedef struct frame {
        cr_ref r;
        uint32_t i;
    } frame;
    frame *stack = NULL;
    size_t depth = 0, cap = 0;
    uint32_t time = 0, next = 1;
    *edge = mem_alloc((n_edges + 1) * sizeof **edge);
    bool ok = *edge && VEC_RESERVE(stack, cap, 1);
    if (ok) {
        stack[depth++] = (frame){y, 0};
        place[y] = next;
        next += node(g, y)->n_in;
    }
    while (ok && depth) {
        frame *f = &stack[depth - 1];
        const cr_node *nd = node(g, f->r);
        if (f->i == nd->n_in) {
            depth--;
            continue;
        }
        cr_ref in = nd->word[f->i];
        (*edge)[place[f->r] - 1 + f->i] = time++;
        f->i++;
        if (place[in] || !node(g, in)->n_in) continue;
        place[in] = next;
        next += node(g, in)->n_in;
        ok = VEC_RESERVE(stack, cap, depth + 1);
        if (ok) stack[depth++] = (frame){in, 0};
    }
    mem_free(stack);
    return ok;
}

/* depends[i]: does cone[i] depend on one of wrt? Indexed by ref. */
static bool *dependence(cr_graph *g, const cr_ref *cone, size_t n, cr_ref top, unsigned n_wrt, const cr_ref *wrt)
{
    bool *dep = mem_zalloc((size_t)top + 1, sizeof *dep);
    if (!dep) {
        graph_fail(g, CR_ENOMEM, "out of memory");
        return NULL;
    }
    for (unsigned i = 0; i < n_wrt; i++)
        if (wrt[i] <= top) dep[wrt[i]] = true;
    for (size_t i = 0; i < n; i++) {
        const cr_node *nd = node(g, cone[i]);
        for (uint32_t k = 0; k < nd->n_in && !dep[cone[i]]; k++) dep[cone[i]] = dep[nd->word[k]];
    }
    return dep;
}

/* ---- binders ----------------------------------------------------------------------------------- */

/* A binder opened: its body with a bound symbol that occurs nowhere else, so that nothing is captured. */
static bool open_binder(cr_graph *g, cr_ref y, calc_binder *b)
{
    dim_sym s;
    b->kind = (cr_bind_kind)attr_of(g, y, 0);
    b->lo = attr_of(g, y, 2);
    b->hi = attr_of(g, y, 3);
    b->symbol = fresh_symbol(g, "i");
    if (!dim_is_symbol(g->dims, attr_of(g, y, 1), &s)) return false;
    b->index = dim_symbol(g->dims, b->symbol);
    b->body = graph_subst_symbol(g, in_of(g, y, 0), s, b->index);
    return b->body != CR_NONE;
}

static cr_ref rebind(cr_graph *g, const calc_binder *b, cr_bind_kind kind, cr_ref body)
{
    return cr_bind(g, kind, name_text(g->dims, b->symbol), b->lo, b->hi, body);
}

/* What the body's tangent is multiplied with, of the body's shape: for a product the product of the others, written as
 * those before times those behind, without division; for an extreme value its share of the ties. CR_NONE: 1. */
static cr_ref binder_weight(cr_graph *g, cr_ref y, const calc_binder *b)
{
    if (b->kind == CR_BIND_PROD) {
        dim_sym r = fresh_symbol(g, "r");
        cr_dim one = dim_const(g->dims, 1);
        cr_ref other = graph_subst_symbol(g, b->body, b->symbol, dim_symbol(g->dims, r));
        const char *name = name_text(g->dims, r);
        cr_ref before = cr_bind(g, CR_BIND_PROD, name, b->lo, dim_sub(g->dims, b->index, one), other);
        cr_ref behind = cr_bind(g, CR_BIND_PROD, name, dim_add(g->dims, b->index, one), b->hi, other);
        return cr_mul(g, before, behind);
    }
    if (b->kind == CR_BIND_MAX || b->kind == CR_BIND_MIN) {
        cr_ref tie = cr_select(g, cr_map2(g, CR_OP_EQ, b->body, y), cr_const(g, 1), cr_const(g, 0));
        return cr_div(g, tie, rebind(g, b, CR_BIND_SUM, tie));
    }
    return CR_NONE;
}

/* The factors of an ordered matrix product on the left and on the right of the one with the binder's index. */
static void chain_sides(cr_graph *g, const calc_binder *b, cr_ref side[2])
{
    dim_sym r = fresh_symbol(g, "r");
    cr_dim one = dim_const(g->dims, 1);
    cr_ref other = graph_subst_symbol(g, b->body, b->symbol, dim_symbol(g->dims, r));
    const char *name = name_text(g->dims, r);
    side[0] = cr_bind(g, CR_BIND_CHAIN, name, dim_add(g->dims, b->index, one), b->hi, other);
    side[1] = cr_bind(g, CR_BIND_CHAIN, name, b->lo, dim_sub(g->dims, b->index, one), other);
}

/* side[0] t side[1] for t[K, d, d], or with both sides transposed. */
static cr_ref between(cr_graph *g, const cr_ref side[2], cr_ref t, unsigned k, bool transposed)
{
    const cr_shape *s = shape_of(g, t);
    uint8_t label[CR_MAX_RANK + 6];
    uint8_t row = (uint8_t)k, col = (uint8_t)(k + 1), i = (uint8_t)(k + 2), j = (uint8_t)(k + 3);
    if (!side[0] || !side[1]) return CR_NONE;
    label[0] = transposed ? i : row;
    label[1] = transposed ? row : i;
    for (unsigned a = 0; a < k; a++) label[2 + a] = (uint8_t)a;
    label[2 + k] = i;
    label[3 + k] = j;
    label[4 + k] = transposed ? col : j;
    label[5 + k] = transposed ? j : col;
    return cr_einsum(g, 3, (cr_ref[]){side[0], t, side[1]}, label, s->rank, s->dim);
}

/* a[K, S] times w[S] */
static cr_ref weigh(cr_graph *g, cr_ref a, cr_ref w, unsigned k)
{
    const cr_shape *s = shape_of(g, a);
    uint8_t label[2 * CR_MAX_RANK];
    unsigned n = 0;
    if (!valid(g, a) || !w) return a;
    for (unsigned i = 0; i < s->rank; i++) label[n++] = (uint8_t)i;
    for (unsigned i = k; i < s->rank; i++) label[n++] = (uint8_t)i;
    return cr_einsum(g, 2, (cr_ref[]){a, w}, label, s->rank, s->dim);
}

static cr_status reverse(cr_graph *g, cr_ref y, cr_ref ybar, unsigned n_wrt, const cr_ref *wrt, bool apart,
                         cr_ref *out);

static bool binder_vjp(cr_graph *g, reverse_state *s, cr_ref y, cr_ref ybar, uint32_t place, unsigned n_wrt,
                       const cr_ref *wrt, bool apart)
{
    calc_binder b;
    cr_ref of, cotangent = calc_prefix_vjp(g, y, ybar, &of);
    if (cotangent) return contribute(g, s, of, cotangent, place);
    if (g->err.status != CR_OK || !open_binder(g, y, &b)) return false;
    const cr_shape *ys = shape_of(g, y), *bs = shape_of(g, ybar);
    unsigned k = bs->rank - (unsigned)ys->rank;
    cr_ref seed = ybar;
    if (b.kind == CR_BIND_STACK) { /* entry i of the stacked axis, which stands behind K */
        cr_dim pos = dim_add(g->dims, dim_sub(g->dims, b.index, b.lo), dim_const(g->dims, 1));
        uint8_t label[CR_MAX_RANK + 1];
        cr_dim shape[CR_MAX_RANK];
        unsigned rank = bs->rank - 1u;
        for (unsigned i = 0; i < bs->rank; i++) {
            label[i] = (uint8_t)(i < k ? i : i == k ? rank : i - 1);
            if (i != k) shape[label[i]] = bs->dim[i];
        }
        label[bs->rank] = (uint8_t)rank;
        seed = cr_einsum(g, 2, (cr_ref[]){ybar, cr_onehot(g, pos, bs->dim[k])}, label, rank, shape);
    } else if (b.kind == CR_BIND_CHAIN) {
        cr_ref side[2];
        chain_sides(g, &b, side);
        seed = between(g, side, ybar, k, true);
    } else {
        seed = weigh(g, ybar, binder_weight(g, y, &b), k);
    }
    cr_ref *part = mem_zalloc(n_wrt, sizeof *part);
    if (!part) graph_fail(g, CR_ENOMEM, "out of memory");
    bool ok = part && seed && reverse(g, b.body, seed, n_wrt, wrt, apart, part) == CR_OK;
    for (unsigned i = 0; i < n_wrt && ok; i++) {
        if (!part[i]) continue;
        cr_ref sum = rebind(g, &b, CR_BIND_SUM, part[i]);
        ok = sum && contribute(g, s, wrt[i], sum, place);
    }
    mem_free(part);
    return ok;
}

static cr_ref binder_jvp(cr_graph *g, cr_ref y, unsigned n_wrt, const cr_ref *wrt, const cr_ref *tangent,
                         calc_member_tangent *member, void *user)
{
    calc_binder b;
    if (!open_binder(g, y, &b)) return CR_NONE;
    cr_ref t = calc_forward(g, b.body, n_wrt, wrt, tangent, member, user);
    if (!t) return CR_NONE;
    unsigned k = cr_rank(g, t) - cr_rank(g, b.body);
    if (b.kind == CR_BIND_CHAIN) {
        cr_ref side[2];
        chain_sides(g, &b, side);
        return rebind(g, &b, CR_BIND_SUM, between(g, side, t, k, false));
    }
    if (b.kind != CR_BIND_STACK) return rebind(g, &b, CR_BIND_SUM, weigh(g, t, binder_weight(g, y, &b), k));
    cr_ref stacked = rebind(g, &b, CR_BIND_STACK, t); /* i x K x S -> K x i x S */
    if (!stacked) return CR_NONE;
    const cr_shape *s = shape_of(g, stacked);
    uint8_t label[CR_MAX_RANK];
    cr_dim shape[CR_MAX_RANK];
    for (unsigned i = 0; i < s->rank; i++) {
        label[i] = (uint8_t)(i == 0 ? k : i <= k ? i - 1 : i);
        shape[label[i]] = s->dim[i];
    }
    return cr_einsum(g, 1, &stacked, label, s->rank, shape);
}

/* ---- the walks ---------------------------------------------------------------------------------- */

/* A member would count as a constant, and the derivative would lack what comes through it: an error instead. */
static bool apart_from_families(cr_graph *g, cr_ref y, unsigned n_wrt, const cr_ref *wrt)
{
    if (g->n_family == 1 || !valid(g, y)) return true;
    for (unsigned i = 0; i < n_wrt; i++) {
        if (!valid(g, wrt[i]) || !depth_rests_on(g, y, wrt[i])) continue;
        const char *name = op_of(g, wrt[i]) == CR_OP_PARAM ? name_text(g->dims, attr_of(g, wrt[i], 0)) : "the variable";
        graph_fail(g, CR_EUNSUPPORTED,
                   "the expression rests on `%s` through a recurrence, which reverse and forward mode do not follow: "
                   "take cr_derivative, or write the recurrence out with cr_unroll",
                   name);
        return false;
    }
    return g->err.status == CR_OK;
}

cr_status cr_reverse(cr_graph *g, cr_ref y, cr_ref ybar, unsigned n_wrt, const cr_ref *wrt, cr_ref *out)
{
    if (!apart_from_families(g, y, n_wrt, wrt)) return g->err.status;
    return reverse(g, y, ybar, n_wrt, wrt, false, out);
}

cr_status calc_reverse(cr_graph *g, cr_ref y, cr_ref ybar, unsigned n_wrt, const cr_ref *wrt, cr_ref *out)
{
    return reverse(g, y, ybar, n_wrt, wrt, false, out);
}

cr_status calc_reverse_apart(cr_graph *g, cr_ref y, cr_ref ybar, unsigned n_wrt, const cr_ref *wrt, cr_ref *out)
{
    return reverse(g, y, ybar, n_wrt, wrt, true, out);
}

static bool is_one_of(cr_ref r, unsigned n, const cr_ref *list)
{
    for (unsigned i = 0; i < n; i++)
        if (list[i] == r) return true;
    return false;
}

static cr_status reverse(cr_graph *g, cr_ref y, cr_ref ybar, unsigned n_wrt, const cr_ref *wrt, bool apart,
                         cr_ref *out)
{
    size_t n;
    if (!valid(g, y) || !valid(g, ybar)) return g->err.status != CR_OK ? g->err.status : CR_EARG;
    unsigned k = cr_rank(g, ybar) - cr_rank(g, y);
    const cr_shape *ys = shape_of(g, y), *bs = shape_of(g, ybar);
    if (bs->dtype != CR_REAL || bs->rank < ys->rank || memcmp(bs->dim + k, ys->dim, ys->rank * sizeof *ys->dim)) {
        graph_fail(g, CR_ESHAPE, "a cotangent of %s for a value of %s", shape_text(g, ybar, 0), shape_text(g, y, 1));
        return CR_ESHAPE;
    }
    cr_ref *cone = graph_cone(g, 1, &y, &n);
    reverse_state s = {0};
    uint32_t *edge = NULL;
    bool *dep = NULL, ok = cone != NULL;
    if (ok) {
        size_t n_edges = 0;
        for (size_t i = 0; i < n; i++) n_edges += node(g, cone[i])->n_in;
        dep = dependence(g, cone, n, y, n_wrt, wrt);
        s.first = mem_zalloc((size_t)y + 1, sizeof *s.first);
        s.place = mem_zalloc((size_t)y + 1, sizeof *s.place);
        ok = dep && s.first && s.place && VEC_RESERVE(s.pool, s.pool_cap, n + 1) &&
             reading_order(g, y, s.place, &edge, n_edges);
        if (!ok) graph_fail(g, CR_ENOMEM, "out of memory");
        s.n_pool = 1;
    }
    ok = ok && (!dep[y] || contribute(g, &s, y, ybar, 0));
    for (size_t j = n; ok && j-- > 0;) {
        cr_ref r = cone[j];
        if (!dep[r] || !s.first[r]) continue;
        const cr_node *nd = node(g, r);
        if (nd->n_in == 0 || (apart && is_one_of(r, n_wrt, wrt))) continue;
        cr_ref bar = total(g, &s, r);
        const uint32_t *place = edge + s.place[r] - 1;
        ok = bar != CR_NONE;
        if (ok && nd->op == CR_OP_BIND) {
            ok = binder_vjp(g, &s, r, bar, place[0], n_wrt, wrt, apart);
            continue;
        }
        for (uint32_t i = 0; i < nd->n_in && ok; i++)
            if (dep[nd->word[i]]) ok = contribute(g, &s, nd->word[i], op_vjp(g, r, i, bar, k), place[i]);
    }
    for (unsigned i = 0; i < n_wrt && ok; i++) {
        out[i] = wrt[i] <= y ? total(g, &s, wrt[i]) : CR_NONE;
        ok = g->err.status == CR_OK;
    }
    mem_free(edge);
    mem_free(s.first);
    mem_free(s.place);
    mem_free(s.pool);
    mem_free(dep);
    mem_free(cone);
    if (!ok && g->err.status == CR_OK) graph_fail(g, CR_EINTERNAL, "a derivative rule failed");
    return ok ? CR_OK : g->err.status;
}

cr_ref cr_forward(cr_graph *g, cr_ref y, unsigned n_wrt, const cr_ref *wrt, const cr_ref *tangent)
{
    return apart_from_families(g, y, n_wrt, wrt) ? calc_forward(g, y, n_wrt, wrt, tangent, NULL, NULL) : CR_NONE;
}

cr_ref calc_forward(cr_graph *g, cr_ref y, unsigned n_wrt, const cr_ref *wrt, const cr_ref *tangent,
                    calc_member_tangent *member, void *user)
{
    size_t n;
    if (!valid(g, y)) return CR_NONE;
    cr_ref *cone = graph_cone(g, 1, &y, &n);
    if (!cone) return CR_NONE;
    cr_ref *dot = mem_zalloc((size_t)y + 1, sizeof *dot), *in = NULL;
    size_t in_cap = 0;
    unsigned k = 0;
    bool ok = dot != NULL;
    const cr_dim *lead = NULL;
    for (unsigned i = 0; i < n_wrt && ok; i++) {
        if (!tangent[i]) continue;
        const cr_shape *ts = shape_of(g, tangent[i]), *xs = shape_of(g, wrt[i]);
        unsigned own = ts->rank - xs->rank;
        bool fits = valid(g, tangent[i]) && valid(g, wrt[i]) && ts->dtype == CR_REAL && ts->rank >= xs->rank &&
                    !memcmp(ts->dim + own, xs->dim, xs->rank * sizeof *xs->dim) &&
                    (!lead || (own == k && !memcmp(lead, ts->dim, k * sizeof *lead)));
        if (!fits) {
            graph_fail(g, CR_ESHAPE, "a tangent of %s for a variable of %s", shape_text(g, tangent[i], 0),
                       shape_text(g, wrt[i], 1));
            ok = false;
            break;
        }
        k = own;
        lead = ts->dim;
        if (wrt[i] <= y) dot[wrt[i]] = tangent[i];
    }
    for (size_t j = 0; j < n && ok; j++) {
        const cr_node *nd = node(g, cone[j]);
        bool moves = false;
        if (member && nd->op == CR_OP_MEMBER) {
            dot[cone[j]] = member(user, cone[j]);
            ok = g->err.status == CR_OK;
            continue;
        }
        ok = VEC_RESERVE(in, in_cap, nd->n_in + 1);
        for (uint32_t i = 0; i < nd->n_in && ok; i++) moves |= (in[i] = dot[nd->word[i]]) != CR_NONE;
        if (!ok || !moves) continue;
        dot[cone[j]] = nd->op == CR_OP_BIND ? binder_jvp(g, cone[j], n_wrt, wrt, tangent, member, user)
                                              : op_jvp(g, cone[j], in, k);
        ok = g->err.status == CR_OK;
    }
    cr_ref out = ok ? dot[y] : CR_NONE;
    if (!ok && g->err.status == CR_OK) graph_fail(g, CR_ENOMEM, "out of memory");
    mem_free(in);
    mem_free(dot);
    mem_free(cone);
    return out;
}

/* ---- derivatives --------------------------------------------------------------------------------- */

cr_ref calc_identity(cr_graph *g, cr_ref y)
{
    const cr_shape *s = shape_of(g, y);
    cr_ref in[CR_MAX_RANK];
    uint8_t label[2 * CR_MAX_RANK];
    cr_dim shape[CR_MAX_RANK];
    if (s->rank == 0) return cr_const(g, 1);
    if (2 * s->rank > CR_MAX_RANK) return graph_fail(g, CR_ELIMIT, "a derivative of more than %d axes", CR_MAX_RANK);
    for (unsigned i = 0; i < s->rank; i++) {
        in[i] = cr_identity(g, s->dim[i]);
        label[2 * i] = (uint8_t)i;
        label[2 * i + 1] = (uint8_t)(s->rank + i);
        shape[i] = shape[s->rank + i] = s->dim[i];
    }
    return cr_einsum(g, s->rank, in, label, 2 * s->rank, shape);
}

/* Entries of an attributed variable move together. d: K x n x n, the derivative by independent entries.
 * Symmetric: D + D' - D.*I, or (D + D')/2 for the gradient; diagonal: D.*I. */
cr_ref calc_tie_entries(cr_graph *g, cr_ref d, cr_ref x, bool gradient)
{
    if (!valid(g, d) || op_of(g, x) != CR_OP_PARAM) return d;
    unsigned a = attr_of(g, x, 1);
    if (!(a & (CR_SYMMETRIC | CR_DIAGONAL))) return d;
    const cr_shape *s = shape_of(g, d);
    unsigned k = s->rank - 2u;
    uint8_t label[CR_MAX_RANK + 2];
    for (unsigned i = 0; i < s->rank; i++) label[i] = (uint8_t)i;
    label[s->rank] = (uint8_t)k;
    label[s->rank + 1] = (uint8_t)(k + 1);
    cr_ref on_diagonal = cr_einsum(g, 2, (cr_ref[]){d, cr_identity(g, s->dim[k])}, label, s->rank, s->dim);
    if (a & CR_DIAGONAL) return on_diagonal;
    label[k] = (uint8_t)(k + 1);
    label[k + 1] = (uint8_t)k;
    cr_ref both = cr_add(g, d, cr_einsum(g, 1, &d, label, s->rank, s->dim));
    return gradient ? cr_mul(g, cr_const(g, 0.5), both) : cr_sub(g, both, on_diagonal);
}

cr_ref calc_zero(cr_graph *g, cr_ref y, cr_ref x)
{
    const cr_shape *ys = shape_of(g, y), *xs = shape_of(g, x);
    cr_dim shape[2 * CR_MAX_RANK];
    memcpy(shape, ys->dim, ys->rank * sizeof *shape);
    memcpy(shape + ys->rank, xs->dim, xs->rank * sizeof *shape);
    if (ys->rank + xs->rank > CR_MAX_RANK)
        return graph_fail(g, CR_ELIMIT, "a derivative of more than %d axes", CR_MAX_RANK);
    return cr_full(g, cr_const(g, 0), ys->rank + xs->rank, shape);
}

cr_ref calc_full_derivative(cr_graph *g, cr_ref y, cr_ref x, bool gradient)
{
    cr_ref d = CR_NONE;
    if (!valid(g, y) || !valid(g, x)) return CR_NONE;
    if (op_of(g, x) != CR_OP_PARAM) return graph_fail(g, CR_EARG, "a derivative is taken with respect to a variable");
    if (shape_of(g, y)->dtype != CR_REAL) return graph_fail(g, CR_ESHAPE, "a condition has no derivative");
    if (depth_rests_on(g, y, x)) {
        d = depth_partial(g, y, &(calc_wrt){.var = x});
    } else if (is_scalar(g, x) && !is_scalar(g, y)) {
        cr_ref one = cr_const(g, 1);
        d = cr_forward(g, y, 1, &x, &one);
    } else if (cr_reverse(g, y, calc_identity(g, y), 1, &x, &d) != CR_OK) {
        return CR_NONE;
    }
    if (g->err.status != CR_OK) return CR_NONE;
    return d ? calc_tie_entries(g, d, x, gradient) : calc_zero(g, y, x);
}

cr_ref cr_derivative(cr_graph *g, cr_ref y, cr_ref x) { return calc_full_derivative(g, y, x, false); }
