/* Of a recurrence: its core, its cells, and in each the one-step derivatives. */
#include "calculus/depth.h"

#include <string.h>

/* ---- order of indices ---------------------------------------------------------------------------- */

static bool least_of_symbol(void *user, dim_sym sym, int64_t *v)
{
    const depth_solver *s = user;
    *v = 1;
    for (unsigned i = 0; i < s->n_indices; i++)
        if (s->index[i].s == sym) *v = s->index[i].least;
    return true;
}

static bool least_of(depth_solver *s, cr_dim d, int64_t *least)
{
    return d && dim_lower_bound(s->g->dims, d, least_of_symbol, s, least);
}

static void is_this(void *user, dim_sym s)
{
    dim_sym *wanted = user;
    if (*wanted == s) *wanted = 0;
}

void depth_index(depth_solver *s, cr_dim index, cr_dim first, size_t n, const cr_family *closure)
{
    cr_graph *g = s->g;
    dim_sym sym = 0;
    int64_t v, least;
    if (!index || !first || !dim_value(g->dims, first, &least)) return;
    cr_dim rest = index;
    if (!dim_is_symbol(g->dims, rest, &sym)) { /* k + 1 */
        bool found = false;
        for (int64_t c = -16; c <= 16 && !found; c++)
            found = dim_is_symbol(g->dims, dim_add(g->dims, index, dim_const(g->dims, c)), &sym) && (v = c, true);
        if (!found) return;
        least += v;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < g->family[closure[i]].n_pieces; k++) {
            dim_sym wanted = sym;
            dim_symbols(g->dims, g->family[closure[i]].piece[k].lo, is_this, &wanted);
            dim_symbols(g->dims, g->family[closure[i]].piece[k].hi, is_this, &wanted);
            if (!wanted) return; /* a depth */
        }
    for (unsigned i = 0; i < s->n_indices; i++)
        if (s->index[i].s == sym) return;
    if (least < 1 && s->n_indices < 8) {
        s->index[s->n_indices].s = sym;
        s->index[s->n_indices++].least = least;
    }
}

static bool surely_nonnegative(depth_solver *s, cr_dim d)
{
    int64_t least;
    if (!d) return false;
    if (least_of(s, d, &least) && least >= 0) return true;
    for (unsigned i = 0; i < s->n_facts; i++) {
        cr_dim rest = dim_sub(s->g->dims, d, s->fact[i]);
        if (least_of(s, rest, &least) && least >= 0) return true;
        for (unsigned k = i + 1; rest && k < s->n_facts; k++)
            if (least_of(s, dim_sub(s->g->dims, rest, s->fact[k]), &least) && least >= 0) return true;
    }
    return false;
}

bool depth_le(depth_solver *s, cr_dim a, cr_dim b) { return surely_nonnegative(s, dim_sub(s->g->dims, b, a)); }
bool depth_lt(depth_solver *s, cr_dim a, cr_dim b)
{
    return depth_le(s, dim_add(s->g->dims, a, dim_const(s->g->dims, 1)), b);
}

void depth_suppose(depth_solver *s, cr_dim d)
{
    for (unsigned i = 0; i < s->n_facts; i++)
        if (s->fact[i] == d) return;
    if (d && s->n_facts < DEPTH_MAX_FACTS) s->fact[s->n_facts++] = d;
}

/* A cell is to begin at d. */
static void add_cut(depth_solver *s, cr_dim d)
{
    unsigned i = 0;
    if (!d) {
        s->stuck = true;
        return;
    }
    for (; i < s->n_cuts; i++)
        if (s->cut[i] == d) return;
    for (i = 0; i < s->n_cuts && depth_le(s, s->cut[i], d); i++) {}
    for (unsigned k = i; k < s->n_cuts; k++) /* those behind must be so for sure */
        if (!depth_le(s, d, s->cut[k])) s->stuck = true;
    if (s->n_cuts > DEPTH_MAX_CELLS) s->stuck = true;
    if (s->stuck) return;
    memmove(s->cut + i + 1, s->cut + i, (s->n_cuts - i) * sizeof *s->cut);
    s->cut[i] = d;
    s->n_cuts++;
    s->new_cut = true;
}

static cr_dim next_to(depth_solver *s, cr_dim d, int64_t by)
{
    return dim_add(s->g->dims, d, dim_const(s->g->dims, by));
}

/* ---- one-step derivatives ------------------------------------------------------------------------ */

/* Where a body stands: its index runs over lo..hi as `symbol`, or it has none (0). */
typedef struct context {
    dim_sym symbol;
    cr_dim lo, hi;
    bool cell; /* of a cell, else of a sum */
} context;

typedef struct open_member { /* of a family other than the core, with the cotangent that has reached it */
    cr_ref member, cot;
} open_member;

typedef struct expansion {
    depth_solver *s;
    depth_steps *out;
    context at;
    bool top; /* from y itself: cotangents have the axes of y in front */
    open_member open[DEPTH_MAX_EDGES];
    unsigned n_open;
} expansion;

static bool give_up(depth_solver *s)
{
    s->stuck = true;
    return false;
}

static cr_dim at_end(const expansion *x, cr_dim d, bool high)
{
    return x->at.symbol ? dim_substitute(x->s->g->dims, d, x->at.symbol, high ? x->at.hi : x->at.lo) : d;
}

/* index = symbol - *lag in this context? */
static bool is_lag(const expansion *x, cr_dim index, int64_t *lag)
{
    cr_dim gap = x->at.symbol ? dim_sub(x->s->g->dims, dim_symbol(x->s->g->dims, x->at.symbol), index) : 0;
    return gap && dim_value(x->s->g->dims, gap, lag);
}

static bool moves(const expansion *x, cr_dim index)
{
    return x->at.symbol && dim_uses(x->s->g->dims, index, x->at.symbol);
}

/* The piece of f that defines the index throughout the context. */
static const family_piece *piece_for(expansion *x, cr_family f, cr_dim index)
{
    depth_solver *s = x->s;
    const family *fam = &s->g->family[f];
    cr_dim low = at_end(x, index, false), high = at_end(x, index, true);
    int64_t lag;
    for (size_t i = 0; i < fam->n_pieces; i++) {
        const family_piece *p = &fam->piece[i];
        if (depth_le(s, p->lo, low) && depth_le(s, high, p->hi)) return p;
    }
    for (size_t i = 0; i < fam->n_pieces && !s->stuck; i++) {
        const family_piece *p = &fam->piece[i];
        if (depth_lt(s, high, p->lo) || depth_lt(s, p->hi, low)) continue;
        if (!is_lag(x, index, &lag)) return give_up(s), NULL;
        add_cut(s, next_to(s, p->lo, lag));
        add_cut(s, next_to(s, p->hi, lag + 1));
    }
    if (!s->new_cut) s->stuck = true;
    return NULL;
}

/* cot[K, S] after a step with derivative `partial`: entry by entry partial[S], or a matrix partial[S, L]. */
static cr_ref chain(expansion *x, cr_ref partial, cr_ref cot, unsigned rank, bool matrix, bool sums)
{
    cr_graph *g = x->s->g;
    if (!cot || !partial) return partial;
    const cr_shape *c = shape_of(g, cot), *p = shape_of(g, partial);
    unsigned k = c->rank - rank, own = p->rank - rank, n = 0;
    uint8_t lp[2 * CR_MAX_RANK], label[4 * CR_MAX_RANK];
    cr_dim shape[2 * CR_MAX_RANK];
    bool kept = !matrix && !sums; /* S stays */
    unsigned out = k + (kept ? rank : 0) + own;
    if (out > CR_MAX_RANK) return graph_fail(g, CR_ELIMIT, "a derivative of more than %d axes", CR_MAX_RANK);
    unsigned first_s = kept ? k : out; /* labels of S */
    for (unsigned i = 0; i < rank; i++) {
        lp[i] = (uint8_t)(first_s + i);
        if (kept) shape[k + i] = p->dim[i];
    }
    for (unsigned i = 0; i < own; i++) {
        lp[rank + i] = (uint8_t)(k + (kept ? rank : 0) + i);
        shape[lp[rank + i]] = p->dim[rank + i];
    }
    uint8_t lc[CR_MAX_RANK];
    for (unsigned i = 0; i < c->rank; i++) {
        lc[i] = (uint8_t)(i < k ? i : first_s + i - k);
        if (i < k) shape[i] = c->dim[i];
    }
    /* matrices in the order of the product; numbers from the inside out, as one writes them by hand */
    cr_ref in[2] = {matrix ? cot : partial, matrix ? partial : cot};
    for (int side = 0; side < 2; side++) {
        bool is_cot = (side == 0) == matrix;
        for (unsigned i = 0; i < (is_cot ? c->rank : p->rank); i++) label[n++] = is_cot ? lc[i] : lp[i];
    }
    return cr_einsum(g, 2, in, label, out, shape);
}

static bool add_edge(expansion *x, cr_dim index, cr_ref coef)
{
    depth_steps *out = x->out;
    depth_solver *s = x->s;
    depth_edge e = {.coef = coef};
    int64_t lag;
    if (x->at.symbol && !x->at.cell) { /* under a sum: all members of a range */
        if (!moves(x, index)) {
            e.kind = EDGE_POINT;
            e.at = index;
            e.coef = cr_bind(s->g, CR_BIND_SUM, name_text(s->g->dims, x->at.symbol), x->at.lo, x->at.hi, coef);
        } else if (is_lag(x, index, &lag)) {
            e.kind = EDGE_RANGE;
            e.symbol = fresh_symbol(s->g, "j");
            e.lo = next_to(s, x->at.lo, -lag);
            e.hi = next_to(s, x->at.hi, -lag);
            e.coef = graph_subst_symbol(s->g, coef, x->at.symbol, next_to(s, dim_symbol(s->g->dims, e.symbol), lag));
            add_cut(s, e.lo);
            add_cut(s, next_to(s, e.hi, 1));
        } else {
            return give_up(s);
        }
    } else if (moves(x, index)) {
        if (!is_lag(x, index, &lag)) return give_up(s);
        e.kind = EDGE_LAG;
        e.lag = lag;
    } else {
        e.kind = EDGE_POINT;
        e.at = index;
    }
    if (e.kind == EDGE_POINT) add_cut(s, next_to(s, e.at, 1)); /* it ends a cell */
    if (!e.coef) return false;
    for (unsigned i = 0; i < out->n_edges; i++) {
        depth_edge *o = &out->edge[i];
        if (o->kind != e.kind || e.kind == EDGE_RANGE || o->lag != e.lag || o->at != e.at) continue;
        o->coef = cr_add(s->g, o->coef, e.coef);
        return o->coef != CR_NONE;
    }
    if (out->n_edges == DEPTH_MAX_EDGES) return give_up(s);
    out->edge[out->n_edges++] = e;
    return true;
}

static bool add_local(expansion *x, cr_dim pick, cr_ref coef)
{
    depth_steps *out = x->out;
    depth_local l = {.pick = pick, .coef = coef};
    if (!coef) return x->s->g->err.status == CR_OK;
    if (x->at.symbol && !x->at.cell) {
        l.symbol = x->at.symbol;
        l.lo = x->at.lo;
        l.hi = x->at.hi;
    }
    for (unsigned i = 0; i < out->n_locals; i++) {
        if (out->local[i].pick != pick || out->local[i].symbol != l.symbol) continue;
        out->local[i].coef = cr_add(x->s->g, out->local[i].coef, coef);
        return out->local[i].coef != CR_NONE;
    }
    if (out->n_locals == DEPTH_MAX_EDGES) return give_up(x->s);
    out->local[out->n_locals++] = l;
    return true;
}

static bool add_open(expansion *x, cr_ref member, cr_ref cot)
{
    for (unsigned i = 0; i < x->n_open; i++) {
        if (x->open[i].member != member) continue;
        x->open[i].cot = cr_add(x->s->g, x->open[i].cot, cot);
        return x->open[i].cot != CR_NONE;
    }
    if (x->n_open == DEPTH_MAX_EDGES) return give_up(x->s);
    x->open[x->n_open++] = (open_member){member, cot};
    return true;
}

static bool expand(expansion *x, cr_ref body, cr_ref cot, bool bare);

/* A sum whose body holds members, or picks, of its own index. */
static bool expand_sum(expansion *x, cr_ref bind, cr_ref cot)
{
    depth_solver *s = x->s;
    cr_graph *g = s->g;
    dim_sym old;
    if (x->at.symbol && !x->at.cell) return give_up(s); /* a sum in a sum */
    if (attr_of(g, bind, 0) != CR_BIND_SUM || !dim_is_symbol(g->dims, attr_of(g, bind, 1), &old)) return give_up(s);
    cr_dim lo = attr_of(g, bind, 2), hi = attr_of(g, bind, 3);
    if (x->at.symbol && (dim_uses(g->dims, lo, x->at.symbol) || dim_uses(g->dims, hi, x->at.symbol) || x->at.cell))
        return give_up(s);
    dim_sym j = fresh_symbol(g, "j");
    expansion *inner = mem_zalloc(1, sizeof *inner);
    cr_ref body = j ? graph_subst_symbol(g, in_of(g, bind, 0), old, dim_symbol(g->dims, j)) : CR_NONE;
    bool ok = inner && body;
    if (!inner) graph_fail(g, CR_ENOMEM, "out of memory");
    if (ok) {
        inner->s = s;
        inner->out = x->out;
        inner->at = (context){j, lo, hi, false};
        inner->top = x->top;
        ok = expand(inner, body, cot, false);
    }
    mem_free(inner);
    return ok;
}

typedef struct leaves {
    cr_ref *node;
    unsigned n;
    size_t cap;
} leaves;

static bool add_leaf(depth_solver *s, leaves *l, cr_ref r)
{
    if (!VEC_RESERVE(l->node, l->cap, l->n + 1)) {
        graph_fail(s->g, CR_ENOMEM, "out of memory");
        return false;
    }
    l->node[l->n++] = r;
    return true;
}

/* Does the binder's index occur in one of the leaves under it? Then it is a leaf as a whole. */
static bool binds_leaf(cr_graph *g, cr_ref bind, const leaves *l)
{
    dim_sym b;
    bool found = false;
    if (!dim_is_symbol(g->dims, attr_of(g, bind, 1), &b)) return false;
    for (unsigned i = 0; i < l->n && !found; i++)
        found = calc_depends_on(g, in_of(g, bind, 0), l->node[i]) && depends_on_symbol(g, l->node[i], b);
    return found;
}

/* What a body rests on directly: members, picks of the variable, the variable, and sums over an index that some of
 * these use. */
static bool find_leaves(expansion *x, cr_ref body, leaves *l)
{
    depth_solver *s = x->s;
    cr_graph *g = s->g;
    size_t n;
    cr_ref *cone = graph_cone(g, 1, &body, &n);
    bool ok = cone != NULL, whole = body == s->var; /* whole: not by its members only */
    for (size_t i = 0; ok && i < n; i++) { /* inner binders come before those around them */
        cr_op op = op_of(g, cone[i]);
        bool pick = op == CR_OP_PICK && in_of(g, cone[i], 0) == s->var;
        for (uint32_t k = 0; k < node(g, cone[i])->n_in && !pick; k++) whole |= in_of(g, cone[i], k) == s->var;
        if (op == CR_OP_MEMBER || pick || (op == CR_OP_BIND && binds_leaf(g, cone[i], l))) ok = add_leaf(s, l, cone[i]);
    }
    if (ok && whole) ok = s->family_var ? give_up(s) : add_leaf(s, l, s->var);
    mem_free(cone);
    return ok && g->err.status == CR_OK;
}

/* Follows the cotangent of a body to what it rests on. bare: no cotangent, the body itself is what is derived. */
static bool expand(expansion *x, cr_ref body, cr_ref cot, bool bare)
{
    depth_solver *s = x->s;
    cr_graph *g = s->g;
    leaves l = {0};
    bool ok = find_leaves(x, body, &l);
    cr_ref *part = ok ? mem_zalloc(2 * l.n + 1, sizeof *part) : NULL;
    if (ok && !part) graph_fail(g, CR_ENOMEM, "out of memory");
    ok = part != NULL;
    const cr_shape *b = shape_of(g, body);
    unsigned rank = b->rank;
    bool matrix = !s->elementwise || (bare && x->top);
    cr_ref one = ok ? cr_full(g, cr_const(g, 1), rank, b->dim) : CR_NONE;
    cr_ref identity = ok && rank ? calc_identity(g, body) : one;
    /* members entry by entry, the variable with all of its axes */
    ok = ok && l.n && calc_reverse_apart(g, body, matrix ? identity : one, l.n, l.node, part) == CR_OK &&
         (matrix || calc_reverse_apart(g, body, identity, l.n, l.node, part + l.n) == CR_OK);
    if (l.n == 0) ok = g->err.status == CR_OK && !s->stuck;
    for (unsigned i = 0; ok && i < l.n; i++) {
        cr_ref r = l.node[i];
        cr_op op = op_of(g, r);
        if (!part[i]) continue;
        if (op == CR_OP_MEMBER) {
            cr_ref c = chain(x, part[i], cot, rank, matrix, false);
            cr_family f = attr_of(g, r, 0);
            ok = c && (f == s->core ? add_edge(x, attr_of(g, r, 1), c) : add_open(x, r, c));
        } else if (op == CR_OP_BIND) {
            cr_ref c = chain(x, part[i], cot, rank, matrix, false);
            ok = c && expand_sum(x, r, c);
        } else {
            cr_ref whole = matrix ? part[i] : part[l.n + i];
            cr_ref c = chain(x, whole, cot, rank, matrix, x->top);
            ok = c && add_local(x, op == CR_OP_PICK ? attr_of(g, r, 0) : 0, c);
        }
    }
    mem_free(part);
    mem_free(l.node);
    while (ok && x->n_open) { /* of the highest rank first: nothing more can reach it */
        unsigned top = 0;
        for (unsigned i = 1; i < x->n_open; i++)
            if (s->rank[attr_of(g, x->open[i].member, 0)] > s->rank[attr_of(g, x->open[top].member, 0)]) top = i;
        open_member m = x->open[top];
        x->open[top] = x->open[--x->n_open];
        cr_dim index = attr_of(g, m.member, 1);
        const family_piece *p = piece_for(x, attr_of(g, m.member, 0), index);
        cr_ref inner = p ? family_body_at(g, p, index) : CR_NONE;
        if (!p && s->new_cut && !s->stuck) continue; /* to be cut first; what is found until then is thrown away */
        ok = inner && expand(x, inner, m.cot, false);
    }
    return ok && g->err.status == CR_OK;
}

static bool steps_of(depth_solver *s, cr_ref body, context at, bool top, depth_steps *out)
{
    expansion *x = mem_zalloc(1, sizeof *x);
    memset(out, 0, sizeof *out);
    if (!x) {
        graph_fail(s->g, CR_ENOMEM, "out of memory");
        return false;
    }
    x->s = s;
    x->out = out;
    x->at = at;
    x->top = top;
    bool ok = expand(x, body, CR_NONE, true);
    mem_free(x);
    return ok;
}

/* ---- the core ------------------------------------------------------------------------------------- */

/* Do members of equal shape rest on each other entry by entry in this body? */
static bool acts_by_entry(cr_graph *g, cr_ref body, node_type type)
{
    size_t n;
    cr_ref *cone = graph_cone(g, 1, &body, &n);
    bool *dep = cone ? mem_zalloc((size_t)body + 1, sizeof *dep) : NULL, ok = dep != NULL;
    unsigned rank = g->type[type]->rank;
    for (size_t i = 0; ok && i < n; i++) {
        cr_ref r = cone[i];
        const cr_node *nd = node(g, r);
        if (nd->op == CR_OP_MEMBER) {
            dep[r] = true;
            ok = nd->type == type;
            continue;
        }
        for (uint32_t k = 0; k < nd->n_in; k++) dep[r] |= dep[nd->word[k]];
        if (!dep[r] || rank == 0) continue;
        op_kind kind = op_get((cr_op)nd->op)->kind;
        if (nd->op == CR_OP_EINSUM) {
            const uint32_t *l = nd->word + nd->n_in;
            ok = cr_rank(g, r) == rank;
            for (uint32_t k = 0; ok && k < nd->n_in; l += cr_rank(g, nd->word[k]), k++)
                for (unsigned a = 0; ok && dep[nd->word[k]] && a < rank; a++)
                    ok = cr_rank(g, nd->word[k]) == rank && l[a] == a;
        } else {
            ok = kind == KIND_MAP1 || kind == KIND_MAP2 || kind == KIND_CMP || nd->op == CR_OP_ADD ||
                 nd->op == CR_OP_SELECT || nd->op == CR_OP_CALL ||
                 (nd->op == CR_OP_BIND && attr_of(g, r, 0) == CR_BIND_SUM);
            ok = ok && cr_rank(g, r) == rank;
        }
    }
    mem_free(dep);
    mem_free(cone);
    return ok;
}

/* Ranks of all families but `core`, by what they rest on; false: one rests on itself. */
static bool find_ranks(depth_solver *s, const cr_family *list, size_t n, cr_family core)
{
    cr_graph *g = s->g;
    for (size_t i = 0; i < n; i++) s->rank[list[i]] = 0;
    for (size_t round = 0; round <= n; round++) {
        bool changed = false;
        for (size_t i = 0; i < n; i++) {
            if (list[i] == core) continue;
            for (size_t k = 0; k < g->family[list[i]].n_pieces; k++) {
                size_t m;
                cr_ref *cone = graph_cone(g, 1, &g->family[list[i]].piece[k].body, &m);
                if (!cone) return false;
                for (size_t j = 0; j < m; j++) {
                    if (op_of(g, cone[j]) != CR_OP_MEMBER) continue;
                    cr_family h = attr_of(g, cone[j], 0);
                    if (h == core || s->rank[h] < s->rank[list[i]]) continue;
                    s->rank[list[i]] = s->rank[h] + 1;
                    changed = true;
                }
                mem_free(cone);
            }
        }
        if (!changed) return true;
    }
    return false;
}

static bool choose_core(depth_solver *s, cr_ref y, const cr_family *list, size_t n)
{
    cr_graph *g = s->g;
    cr_family wish = op_of(g, y) == CR_OP_MEMBER ? attr_of(g, y, 0) : 0;
    for (int wished = 1; wished >= 0; wished--)
        for (size_t i = n; i-- > 0;) { /* the last to be computed first: o rather than s */
            if (wished != (list[i] == wish) || !find_ranks(s, list, n, list[i])) continue;
            /* a family that does not rest on itself at all is no recurrence */
            if (wished && find_ranks(s, list, n, 0) && n > 1) continue;
            find_ranks(s, list, n, list[i]);
            s->core = list[i];
            return true;
        }
    return false;
}

/* ---- cells ---------------------------------------------------------------------------------------- */

/* The cells between the cuts, and the steps in each. False with new_cut set: cut again. */
static bool make_cells(depth_solver *s, cr_ref y, depth_steps *of_y)
{
    cr_graph *g = s->g;
    s->n_cells = s->n_cuts - 1;
    s->new_cut = false;
    if (!steps_of(s, y, (context){0}, true, of_y)) return false;
    for (unsigned i = 0; i < s->n_cells && !s->stuck; i++) {
        depth_cell c = {s->cut[i], next_to(s, s->cut[i + 1], -1)};
        bool point = c.lo == c.hi;
        s->cell[i] = c;
        expansion where = {.s = s, .at = {point ? 0 : s->t, c.lo, c.hi, true}};
        cr_dim t = point ? c.lo : dim_symbol(g->dims, s->t);
        const family_piece *p = piece_for(&where, s->core, t);
        cr_ref body = p ? family_body_at(g, p, t) : CR_NONE;
        if (!p && s->new_cut) continue;
        if (!body || !steps_of(s, body, where.at, false, &s->steps[i])) return false;
        unsigned lags = 0;
        for (unsigned k = 0; k < s->steps[i].n_edges; k++) {
            const depth_edge *e = &s->steps[i].edge[k];
            if (e->kind == EDGE_LAG && e->lag > (int64_t)lags) lags = (unsigned)(e->lag < 100 ? e->lag : 100);
            if (e->kind == EDGE_RANGE && !point) s->stuck = true;
        }
        for (unsigned k = 1; k < lags; k++) add_cut(s, next_to(s, c.lo, -(int64_t)k + 0)); /* members before it apart */
        if (lags > 16) s->stuck = true;
    }
    return !s->new_cut && !s->stuck;
}

bool depth_prepare(depth_solver *s, cr_graph *g, cr_ref y, const calc_wrt *w, depth_steps *of_y)
{
    size_t n;
    cr_ref var = w->var;
    *s = (depth_solver){.g = g, .var = var, .family_var = family_first(g, var) != 0};
    cr_family *list = family_closure(g, 1, &y, &n);
    s->rank = mem_zalloc(g->n_family, sizeof *s->rank);
    s->steps = mem_zalloc(DEPTH_MAX_CELLS, sizeof *s->steps);
    s->t = fresh_symbol(g, "i");
    bool ok = list && s->rank && s->steps && s->t;
    if (!ok) graph_fail(g, CR_ENOMEM, "out of memory");
    ok = ok && choose_core(s, y, list, n);
    s->elementwise = true;
    if (ok && w->n_index && s->family_var) { /* the member that is asked for */
        cr_dim first = family_first(g, var);
        cr_dim k = dim_sub(g->dims, dim_add(g->dims, w->index[0], first), dim_const(g->dims, 1));
        depth_index(s, k, first, n, list);
        depth_suppose(s, dim_sub(g->dims, k, first));
        depth_suppose(s, dim_sub(g->dims, family_last(g, var), k));
    }
    for (size_t i = 0; ok && i < n; i++) {
        const family *f = &g->family[list[i]];
        for (size_t k = 0; k < f->n_assume; k++) depth_suppose(s, f->assume[k]);
        for (size_t k = 0; k < f->n_pieces; k++)
            s->elementwise = s->elementwise && f->type == g->family[s->core].type &&
                             acts_by_entry(g, f->piece[k].body, f->type);
    }
    if (ok && !s->elementwise && g->type[g->family[s->core].type]->rank != 1) ok = false;
    if (ok) {
        const family *f = &g->family[s->core];
        cr_dim last = f->piece[f->n_pieces - 1].hi;
        size_t m;
        cr_ref *cone = graph_cone(g, 1, &y, &m);
        for (size_t i = 0; cone && i < m; i++) { /* what is asked for exists */
            if (op_of(g, cone[i]) != CR_OP_MEMBER) continue;
            const family *h = &g->family[attr_of(g, cone[i], 0)];
            depth_suppose(s, dim_sub(g->dims, h->piece[h->n_pieces - 1].hi, attr_of(g, cone[i], 1)));
            depth_suppose(s, dim_sub(g->dims, attr_of(g, cone[i], 1), h->piece[0].lo));
            depth_index(s, attr_of(g, cone[i], 1), h->piece[0].lo, n, list);
        }
        mem_free(cone);
        add_cut(s, f->piece[0].lo);
        add_cut(s, next_to(s, last, 1));
        for (int round = 0; round < 12 && !s->stuck && g->err.status == CR_OK; round++)
            if (make_cells(s, y, of_y) || !s->new_cut) break;
        ok = !s->stuck && !s->new_cut && g->err.status == CR_OK;
    }
    mem_free(list);
    return ok;
}

void depth_free(depth_solver *s)
{
    mem_free(s->rank);
    mem_free(s->steps);
}
