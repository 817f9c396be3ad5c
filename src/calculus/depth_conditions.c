/* Where a derivative through a recurrence holds: the layers whose kinks matter, as one condition for a range of layers.
 * Sufficient: kinks of different layers may cancel, and nobody would look for that. */
#include "calculus/depth.h"

#include <string.h>

/* What one operator of a definition asks for, scalar; CR_NONE: nothing. *domain: so that it has a value at all, whether
 * its argument moves or not; the others are about kinks, which matter where it moves. */
static cr_ref asked_by(cr_graph *g, cr_ref r, const bool *moves, bool inner, bool *domain)
{
    const cr_node *nd = node(g, r);
    const op_info *info = op_get((cr_op)nd->op);
    cr_ref cond = CR_NONE, zero = cr_const(g, 0);
    double left, right;
    cr_op op = (cr_op)nd->op;
    *domain = op == CR_OP_LOG || op == CR_OP_DIV || op == CR_OP_POW || op == CR_OP_INV || op == CR_OP_LOGDET ||
              op == CR_OP_MATPOW || op == CR_OP_SQRT || op == CR_OP_ASIN || op == CR_OP_ACOS || op == CR_OP_TAN;
    if ((!inner && !*domain) || (op == CR_OP_SELECT && !moves[nd->word[0]])) return CR_NONE;
    if (info->slopes) {
        if (info->slopes(g, r, &left, &right) && left != right) cond = cr_map2(g, CR_OP_NE, nd->word[0], zero);
    } else if (op == CR_OP_MAX2 || op == CR_OP_MIN2) {
        cond = cr_map2(g, CR_OP_NE, nd->word[0], nd->word[1]);
    } else if (op == CR_OP_STEP || op == CR_OP_SIGN) {
        cond = cr_map2(g, CR_OP_NE, nd->word[0], zero);
    } else if (info->regular) {
        cond = info->regular(g, r);
    }
    return cond && cr_rank(g, cond) ? cr_reduce(g, CR_OP_ALLR, cond, 0) : cond;
}

typedef struct layers {
    depth_solver s; /* for what is known of indices */
    const calc_wrt *w;
    cr_dim first; /* index at which the member of the variable enters first; 0: everywhere */
    cr_dim last;  /* index that is asked for; 0: no single one */
    calc_result *out;
} layers;

/* Index t = k - shift at which member k of the variable enters, the least over all definitions. */
static void find_first(layers *l, const cr_family *list, size_t n)
{
    cr_graph *g = l->s.g;
    cr_dim k = dim_sub(g->dims, dim_add(g->dims, l->w->index[0], family_first(g, l->w->var)), dim_const(g->dims, 1));
    int64_t most = INT64_MIN, shift;
    for (size_t i = 0; i < n; i++)
        for (size_t q = 0; q < g->family[list[i]].n_pieces; q++) {
            const family_piece *p = &g->family[list[i]].piece[q];
            size_t m;
            cr_ref *cone = graph_cone(g, 1, &p->body, &m);
            for (size_t j = 0; cone && j < m; j++) {
                if (op_of(g, cone[j]) != CR_OP_PICK || in_of(g, cone[j], 0) != l->w->var) continue;
                cr_dim at = p->lo == p->hi ? p->lo : dim_symbol(g->dims, p->index);
                if (!dim_value(g->dims, dim_sub(g->dims, attr_of(g, cone[j], 0), at), &shift)) most = INT64_MAX;
                else if (shift > most) most = shift;
            }
            mem_free(cone);
        }
    if (most == INT64_MIN || most == INT64_MAX) return;
    l->first = dim_sub(g->dims, k, dim_const(g->dims, most));
    depth_index(&l->s, k, family_first(g, l->w->var), n, list);
    depth_suppose(&l->s, dim_sub(g->dims, k, family_first(g, l->w->var)));
    depth_suppose(&l->s, dim_sub(g->dims, family_last(g, l->w->var), k));
}

/* cond, of the definition p, for all the layers of p that count. */
static bool for_layers(layers *l, const family_piece *p, cr_ref cond, bool domain)
{
    cr_graph *g = l->s.g;
    cr_dim lo = p->lo, hi = p->hi;
    cr_dim first = domain ? 0 : l->first;
    if (first && depth_lt(&l->s, hi, first)) return true;
    if (l->last && depth_lt(&l->s, l->last, lo)) return true;
    if (lo != hi) {
        if (first && depth_le(&l->s, lo, first)) lo = first;
        if (l->last && depth_le(&l->s, l->last, hi)) hi = l->last;
        if (depends_on_symbol(g, cond, p->index))
            cond = cr_bind(g, CR_BIND_ALL, name_text(g->dims, p->index), lo, hi, cond);
    } else {
        cond = graph_subst_symbol(g, cond, p->index, lo);
    }
    return calc_condition_add(g, l->out, cond, COND_SUFFICIENT);
}

static bool of_piece(layers *l, const family_piece *p, const bool *rests)
{
    cr_graph *g = l->s.g;
    cr_ref body = calc_opened(g, p->body);
    size_t n;
    cr_ref *cone = body ? graph_cone(g, 1, &body, &n) : NULL;
    bool *moves = cone ? mem_zalloc((size_t)body + 1, sizeof *moves) : NULL, ok = moves != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        cr_ref r = cone[i];
        const cr_node *nd = node(g, r);
        moves[r] = r == l->w->var || (nd->op == CR_OP_MEMBER && rests[nd->word[0]]);
        bool inner = false;
        for (uint32_t k = 0; k < nd->n_in; k++) inner |= moves[nd->word[k]];
        moves[r] |= inner;
        bool domain;
        cr_ref cond = asked_by(g, r, moves, inner, &domain);
        ok = g->err.status == CR_OK && (!cond || for_layers(l, p, calc_for_all(g, cond, r, cone, n), domain));
    }
    mem_free(moves);
    mem_free(cone);
    return ok;
}

typedef struct index_search {
    const cr_graph *g;
    bool *found;
} index_search;

static void is_bound_index(void *user, dim_sym s)
{
    const index_search *q = user;
    if (strchr(name_text(q->g->dims, s), '#')) *q->found = true;
}

cr_status depth_conditions(cr_graph *g, cr_ref y, const calc_wrt *w, calc_result *out)
{
    size_t n;
    layers l = {.s = {.g = g, .var = w->var}, .w = w, .out = out};
    cr_family *list = family_closure(g, 1, &y, &n);
    bool *rests = list ? mem_zalloc(g->n_family, sizeof *rests) : NULL;
    bool ok = rests != NULL;
    size_t m;
    cr_ref *cone = ok ? graph_cone(g, 1, &y, &m) : NULL;
    bool one = true;
    for (size_t i = 0; cone && i < m; i++) {
        if (op_of(g, cone[i]) != CR_OP_MEMBER) continue;
        const family *f = &g->family[attr_of(g, cone[i], 0)];
        cr_dim at = attr_of(g, cone[i], 1);
        bool bound = false;
        dim_symbols(g->dims, at, is_bound_index, &(index_search){g, &bound});
        if (bound) { /* of a sum or product: any of its members */
            one = false;
            continue;
        }
        one = one && (!l.last || l.last == at);
        l.last = at;
        depth_suppose(&l.s, dim_sub(g->dims, at, f->piece[0].lo));
        depth_index(&l.s, at, f->piece[0].lo, n, list);
        depth_suppose(&l.s, dim_sub(g->dims, f->piece[f->n_pieces - 1].hi, at));
    }
    if (!one) l.last = 0;
    mem_free(cone);
    for (size_t i = 0; ok && i < n; i++) {
        cr_ref like = cr_member(g, list[i], dim_const(g->dims, 0));
        for (size_t k = 0; k < g->family[list[i]].n_assume; k++) depth_suppose(&l.s, g->family[list[i]].assume[k]);
        rests[list[i]] = like && depth_rests_on(g, like, w->var);
    }
    if (ok && w->n_index && family_first(g, w->var)) find_first(&l, list, n);
    for (size_t i = 0; ok && i < n; i++)
        for (size_t k = 0; ok && k < g->family[list[i]].n_pieces; k++) {
            const family_piece p = g->family[list[i]].piece[k];
            ok = of_piece(&l, &p, rests);
        }
    mem_free(rests);
    mem_free(list);
    if (!ok && g->err.status == CR_OK) graph_fail(g, CR_ENOMEM, "out of memory");
    return g->err.status;
}
