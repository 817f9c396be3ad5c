/* Closed forms: the sum over the paths from one member of the core to another, and what a query makes of it. */
#include "calculus/depth.h"

#include <string.h>

bool depth_rests_on(cr_graph *g, cr_ref r, cr_ref var)
{
    size_t n, m;
    if (g->n_family == 1) return false;
    cr_family *list = family_closure(g, 1, &r, &n);
    bool found = false;
    for (size_t i = 0; list && i < n && !found; i++)
        for (size_t k = 0; k < g->family[list[i]].n_pieces && !found; k++) {
            cr_ref *cone = graph_cone(g, 1, &g->family[list[i]].piece[k].body, &m);
            for (size_t j = 0; cone && j < m && !found; j++) found = cone[j] == var;
            mem_free(cone);
        }
    mem_free(list);
    return found;
}

/* ---- paths ----------------------------------------------------------------------------------------- */

typedef struct path_key {
    cr_dim n, m;
    unsigned cn, cm; /* a bound index may stand for members of several cells */
    cr_ref value;
} path_key;

typedef struct paths {
    depth_solver *s;
    path_key *memo;
    size_t n_memo, memo_cap;
    unsigned depth;
} paths;

enum { MAX_PATH_DEPTH = 200 };

static const cr_shape *member_shape(const depth_solver *s) { return s->g->type[s->g->family[s->core].type]; }
static cr_ref sum_of(cr_graph *g, cr_ref a, cr_ref b) { return !a ? b : !b ? a : cr_add(g, a, b); }
static cr_dim before(depth_solver *s, cr_dim d, int64_t by)
{
    return dim_sub(s->g->dims, d, dim_const(s->g->dims, by));
}


/* a after b: matrices a*b; entry by entry b first, as it is written by hand. */
static cr_ref after(depth_solver *s, cr_ref a, cr_ref b)
{
    if (!a || !b) return CR_NONE;
    return s->elementwise ? cr_mul(s->g, b, a) : cr_matmul(s->g, a, b);
}

static cr_ref unity(depth_solver *s)
{
    const cr_shape *m = member_shape(s);
    return s->elementwise ? cr_full(s->g, cr_const(s->g, 1), m->rank, m->dim) : cr_identity(s->g, m->dim[0]);
}

static cr_ref product_over(depth_solver *s, cr_dim lo, cr_dim hi, cr_ref body)
{
    return cr_bind(s->g, s->elementwise ? CR_BIND_PROD : CR_BIND_CHAIN, name_text(s->g->dims, s->t), lo, hi, body);
}

static int cell_of(depth_solver *s, cr_dim n)
{
    for (unsigned i = 0; i < s->n_cells; i++) /* the end of a cell, maybe of an empty one */
        if (s->cell[i].hi == n) return (int)i;
    for (unsigned i = 0; i < s->n_cells; i++)
        if (depth_le(s, s->cell[i].lo, n) && depth_le(s, n, s->cell[i].hi)) return (int)i;
    return -1;
}

static bool no_closed_form(paths *p)
{
    p->s->stuck = true;
    return false;
}

/* d c[n] / d c[m] for n at the end of cell cn, and m in cell cm; *out CR_NONE: zero. */
static bool path(paths *p, cr_dim n, unsigned cn, cr_dim m, unsigned cm, cr_ref *out);

static bool path_to(paths *p, cr_dim n, cr_dim m, unsigned cm, cr_ref *out)
{
    int c = cell_of(p->s, n);
    return c < 0 ? no_closed_form(p) : path(p, n, (unsigned)c, m, cm, out);
}

/* Several lags: z[t] = (c[t], ..., c[t-p+1]) moves by a companion matrix. */
static cr_ref companion(depth_solver *s, const depth_steps *st, unsigned order)
{
    cr_ref entry[16 * 16], zero = cr_const(s->g, 0), one = cr_const(s->g, 1);
    for (unsigned i = 0; i < order * order; i++) entry[i] = i >= order && i % order == i / order - 1 ? one : zero;
    for (unsigned k = 0; k < st->n_edges; k++)
        if (st->edge[k].kind == EDGE_LAG) entry[st->edge[k].lag - 1] = st->edge[k].coef;
    cr_dim d = dim_const(s->g->dims, order);
    return cr_stack(s->g, order * order, entry, 2, (cr_dim[]){d, d});
}

static cr_ref matrix_entry(depth_solver *s, cr_ref m, unsigned i, unsigned j)
{
    return cr_index(s->g, m, 2, (cr_dim[]){dim_const(s->g->dims, i), dim_const(s->g->dims, j)});
}

static unsigned order_of(const depth_steps *st)
{
    unsigned order = 1;
    for (unsigned k = 0; k < st->n_edges; k++)
        if (st->edge[k].kind == EDGE_LAG && st->edge[k].lag > (int64_t)order) order = (unsigned)st->edge[k].lag;
    return order;
}

static cr_ref one_step(const depth_steps *st) /* of a cell with lag 1 only */
{
    for (unsigned k = 0; k < st->n_edges; k++)
        if (st->edge[k].kind == EDGE_LAG) return st->edge[k].coef;
    return CR_NONE;
}

/* Through a cell of many members, from its end n down to member from + 1 ...: the product of its steps. */
static bool within(paths *p, const depth_steps *st, cr_dim from, cr_dim n, cr_ref *out)
{
    depth_solver *s = p->s;
    unsigned order = order_of(st);
    if (from == n) {
        *out = unity(s);
        return true;
    }
    if (order > 1) {
        if (!s->elementwise || member_shape(s)->rank) return no_closed_form(p);
        cr_ref m = cr_bind(s->g, CR_BIND_CHAIN, name_text(s->g->dims, s->t), before(s, from, -1), n,
                           companion(s, st, order));
        *out = m ? matrix_entry(s, m, 1, 1) : CR_NONE;
        return *out != CR_NONE;
    }
    cr_ref step = one_step(st);
    *out = CR_NONE;
    if (!step) return depth_lt(s, from, n) || no_closed_form(p); /* nothing passes, unless from is n */
    *out = product_over(s, before(s, from, -1), n, step);
    return *out != CR_NONE;
}

/* From member m of an earlier cell, through the cell that ends with n. */
static bool through(paths *p, cr_dim n, unsigned cn, cr_dim m, unsigned cm, cr_ref *out)
{
    depth_solver *s = p->s;
    cr_graph *g = s->g;
    const depth_steps *st = &s->steps[cn];
    cr_dim lo = s->cell[cn].lo;
    unsigned order = order_of(st);
    cr_ref part, sum = CR_NONE;
    if (order > 1) {
        if (!s->elementwise || member_shape(s)->rank) return no_closed_form(p);
        cr_ref chain = cr_bind(g, CR_BIND_CHAIN, name_text(g->dims, s->t), lo, n, companion(s, st, order));
        if (!chain) return false;
        for (unsigned l = 1; l <= order; l++) {
            int c = cell_of(s, before(s, lo, l));
            if (c < 0) return no_closed_form(p);
            if ((unsigned)c < cm) continue;
            if (!path(p, before(s, lo, l), (unsigned)c, m, cm, &part)) return false;
            if (part) sum = sum_of(g, sum, cr_mul(g, part, matrix_entry(s, chain, 1, l)));
        }
    } else if (one_step(st)) {
        if (!path(p, before(s, lo, 1), cn - 1, m, cm, &part)) return false;
        if (part) sum = after(s, product_over(s, lo, n, one_step(st)), part);
        if (part && !sum) return false;
    }
    for (unsigned k = 0; k < st->n_edges; k++) { /* a member before the cell that each of its members rests on */
        const depth_edge *e = &st->edge[k];
        if (e->kind != EDGE_POINT) continue;
        if (order > 1) return no_closed_form(p);
        if (!path_to(p, e->at, m, cm, &part)) return false;
        if (!part) continue;
        dim_sym r = fresh_symbol(g, "r");
        cr_dim at = dim_symbol(g->dims, r);
        cr_ref enters = graph_subst_symbol(g, e->coef, s->t, at);
        cr_ref onward = one_step(st) ? product_over(s, before(s, at, -1), n, one_step(st)) : CR_NONE;
        cr_ref term;
        if (onward) {
            term = cr_bind(g, CR_BIND_SUM, name_text(g->dims, r), lo, n, after(s, onward, enters));
        } else { /* the last member alone counts */
            term = graph_subst_symbol(g, e->coef, s->t, n);
            if (!depth_le(s, lo, n)) return no_closed_form(p);
        }
        sum = sum_of(g, sum, after(s, term, part));
        if (!sum) return false;
    }
    *out = sum;
    return true;
}

/* Steps of equal derivative are taken together: (o[N-1] + o[1]) w gives (product + 1) w. */
static bool into_point(paths *p, unsigned cn, cr_dim m, unsigned cm, cr_ref *out)
{
    depth_solver *s = p->s;
    cr_graph *g = s->g;
    const depth_steps *st = &s->steps[cn];
    bool taken[DEPTH_MAX_EDGES] = {false};
    cr_ref total = CR_NONE;
    for (unsigned k = 0; k < st->n_edges; k++) {
        const depth_edge *e = &st->edge[k];
        cr_ref sum = CR_NONE, part;
        if (taken[k]) continue;
        if (e->kind == EDGE_RANGE) {
            for (unsigned c = cm; c < cn; c++) { /* cells inside of the range */
                cr_dim lo = c == cm ? m : s->cell[c].lo, j = dim_symbol(g->dims, e->symbol);
                if (!depth_le(s, e->lo, s->cell[c].lo) || !depth_le(s, s->cell[c].hi, e->hi)) {
                    if (depth_lt(s, s->cell[c].hi, e->lo) || depth_lt(s, e->hi, s->cell[c].lo)) continue;
                    return no_closed_form(p);
                }
                if (!path(p, j, c, m, cm, &part)) return false;
                if (!part) continue;
                cr_ref term = after(s, e->coef, part);
                sum = sum_of(g, sum, cr_bind(g, CR_BIND_SUM, name_text(g->dims, e->symbol), lo, s->cell[c].hi, term));
                if (!sum) return false;
            }
            total = sum_of(g, total, sum);
            continue;
        }
        for (unsigned q = st->n_edges; q-- > k;) { /* the shortest path first */
            if (st->edge[q].kind == EDGE_RANGE || st->edge[q].coef != e->coef) continue;
            taken[q] = true;
            if (!path_to(p, st->edge[q].at, m, cm, &part)) return false;
            sum = sum_of(g, sum, part);
        }
        if (sum) total = sum_of(g, total, after(s, e->coef, sum));
    }
    *out = total;
    return g->err.status == CR_OK;
}

/* Does every path from cell c, or before it, to cell cn pass the last member of c? */
static bool all_pass(const depth_solver *s, unsigned c, unsigned cn)
{
    for (unsigned d = c + 1; d <= cn; d++)
        for (unsigned k = 0; k < s->steps[d].n_edges; k++) {
            const depth_edge *e = &s->steps[d].edge[k];
            if (e->kind == EDGE_RANGE || (e->kind == EDGE_LAG && e->lag > 1)) return false;
            if (e->kind == EDGE_LAG || e->at == s->cell[c].hi) continue;
            bool later = false;
            for (unsigned q = c + 1; q < d && !later; q++) later = s->cell[q].hi == e->at;
            if (!later) return false;
        }
    return true;
}

static bool path(paths *p, cr_dim n, unsigned cn, cr_dim m, unsigned cm, cr_ref *out)
{
    depth_solver *s = p->s;
    *out = CR_NONE;
    if (cn < cm) return true;
    for (size_t i = 0; i < p->n_memo; i++)
        if (p->memo[i].n == n && p->memo[i].m == m && p->memo[i].cn == cn && p->memo[i].cm == cm) {
            *out = p->memo[i].value;
            return true;
        }
    if (p->depth == MAX_PATH_DEPTH) return no_closed_form(p);
    p->depth++;
    bool point = s->cell[cn].lo == s->cell[cn].hi, ok;
    unsigned cut = cm;
    while (cut < cn && (s->cell[cut].hi == m || !all_pass(s, cut, cn))) cut++;
    if (cut < cn) {
        cr_ref late, early = CR_NONE;
        ok = path(p, n, cn, s->cell[cut].hi, cut, &late) && path(p, s->cell[cut].hi, cut, m, cm, &early);
        *out = ok ? after(s, late, early) : CR_NONE;
    } else if (cn == cm) {
        ok = true;
        if (point) *out = unity(s);
        else ok = within(p, &s->steps[cn], m, n, out);
    } else if (point) {
        ok = into_point(p, cn, m, cm, out);
    } else {
        ok = through(p, n, cn, m, cm, out);
    }
    p->depth--;
    if (!ok || !VEC_RESERVE(p->memo, p->memo_cap, p->n_memo + 1)) return false;
    p->memo[p->n_memo++] = (path_key){n, m, cn, cm, *out};
    return true;
}

/* ---- a query ---------------------------------------------------------------------------------------- */

typedef struct query {
    paths p;
    depth_steps y;
    unsigned k; /* axes of the differentiated expression */
    unsigned v; /* axes of the variable, or of a member of it */
} query;

/* local[S, V], then the way to y[K, S]; sums over S. */
static cr_ref arrive(query *q, cr_ref local, cr_ref way)
{
    depth_solver *s = q->p.s;
    cr_graph *g = s->g;
    if (!local || !way) return CR_NONE;
    const cr_shape *l = shape_of(g, local), *w = shape_of(g, way);
    unsigned rank = member_shape(s)->rank, out = q->k + q->v, n = 0;
    uint8_t label[2 * CR_MAX_RANK], lw[CR_MAX_RANK], ll[CR_MAX_RANK];
    cr_dim shape[2 * CR_MAX_RANK];
    if (out > CR_MAX_RANK) return graph_fail(g, CR_ELIMIT, "a derivative of more than %d axes", CR_MAX_RANK);
    for (unsigned i = 0; i < w->rank; i++) {
        lw[i] = (uint8_t)(i < q->k ? i : out + i - q->k);
        if (i < q->k) shape[i] = w->dim[i];
    }
    for (unsigned i = 0; i < l->rank; i++) {
        ll[i] = (uint8_t)(i < rank ? out + i : q->k + i - rank);
        if (i >= rank) shape[ll[i]] = l->dim[i];
    }
    bool numbers = s->elementwise;
    cr_ref in[2] = {numbers ? local : way, numbers ? way : local};
    for (int side = 0; side < 2; side++) {
        bool is_way = (side == 0) != numbers;
        for (unsigned i = 0; i < (is_way ? w->rank : l->rank); i++) label[n++] = is_way ? lw[i] : ll[i];
    }
    return cr_einsum(g, 2, in, label, out, shape);
}

/* ybar[K, S] after c[n]/c[m]. */
static cr_ref arrive_at_y(query *q, cr_ref ybar, cr_ref step)
{
    depth_solver *s = q->p.s;
    cr_graph *g = s->g;
    if (!ybar || !step) return CR_NONE;
    const cr_shape *y = shape_of(g, ybar);
    unsigned rank = member_shape(s)->rank, n = 0;
    uint8_t label[3 * CR_MAX_RANK];
    if (s->elementwise) {
        for (unsigned i = 0; i < rank; i++) label[n++] = (uint8_t)(q->k + i);
        for (unsigned i = 0; i < y->rank; i++) label[n++] = (uint8_t)i;
        return cr_einsum(g, 2, (cr_ref[]){step, ybar}, label, y->rank, y->dim);
    }
    for (unsigned i = 0; i < q->k; i++) label[n++] = (uint8_t)i;
    label[n++] = (uint8_t)(q->k + 1);
    label[n++] = (uint8_t)(q->k + 1);
    label[n++] = (uint8_t)q->k;
    return cr_einsum(g, 2, (cr_ref[]){ybar, step}, label, y->rank, y->dim);
}

/* d y / d c[m] for m in cell cm: [K, S]; CR_NONE: zero. */
static bool way_from(query *q, cr_dim m, unsigned cm, cr_ref *out)
{
    depth_solver *s = q->p.s;
    cr_graph *g = s->g;
    cr_ref sum = CR_NONE, part;
    for (unsigned k = q->y.n_edges; k-- > 0;) {
        const depth_edge *e = &q->y.edge[k];
        if (e->kind == EDGE_POINT) {
            if (!path_to(&q->p, e->at, m, cm, &part)) return false;
            if (part) sum = sum_of(g, sum, arrive_at_y(q, e->coef, part));
        }
        for (unsigned c = cm; e->kind == EDGE_RANGE && c < s->n_cells; c++) {
            cr_dim lo = c == cm ? m : s->cell[c].lo;
            if (!depth_le(s, e->lo, s->cell[c].lo) || !depth_le(s, s->cell[c].hi, e->hi)) {
                if (depth_lt(s, s->cell[c].hi, e->lo) || depth_lt(s, e->hi, s->cell[c].lo)) continue;
                return no_closed_form(&q->p);
            }
            if (!path(&q->p, dim_symbol(g->dims, e->symbol), c, m, cm, &part)) return false;
            if (!part) continue;
            cr_ref term = arrive_at_y(q, e->coef, part);
            term = term ? cr_bind(g, CR_BIND_SUM, name_text(g->dims, e->symbol), lo, s->cell[c].hi, term) : CR_NONE;
            sum = sum_of(g, sum, term);
        }
        if (g->err.status != CR_OK) return false;
    }
    *out = sum;
    return true;
}

/* What the steps of cell c give by the member `pick` of the variable (0: the variable itself) at t; CR_NONE: nothing.
 */
static bool by_cell(query *q, unsigned c, cr_dim t, const depth_local *l, cr_ref *out)
{
    depth_solver *s = q->p.s;
    cr_ref way;
    *out = CR_NONE;
    if (!way_from(q, t, c, &way)) return false;
    if (!way) return true;
    cr_ref coef = graph_subst_symbol(s->g, l->coef, s->t, t);
    *out = arrive(q, coef, way);
    return *out != CR_NONE;
}

static cr_ref zero_like(cr_graph *g, cr_ref r)
{
    return cr_full(g, cr_const(g, 0), cr_rank(g, r), shape_of(g, r)->dim);
}

/* value where `cond` holds, else 0. */
static cr_ref only_if(cr_graph *g, cr_ref cond, cr_ref value)
{
    return value && cond ? cr_select(g, cond, value, zero_like(g, value)) : CR_NONE;
}

static cr_ref compare(depth_solver *s, cr_op op, cr_dim a, cr_dim b)
{
    cr_graph *g = s->g;
    if ((op == CR_OP_LE && depth_le(s, a, b)) || (op == CR_OP_LT && depth_lt(s, a, b))) return cr_bool(g, true);
    if (op == CR_OP_LT ? depth_le(s, b, a) : depth_lt(s, b, a)) return cr_bool(g, false);
    if (op == CR_OP_EQ && depth_lt(s, a, b)) return cr_bool(g, false);
    return cr_map2(g, op, cr_int(g, a), cr_int(g, b));
}

/* All contributions by the variable itself: a sum over the members of each cell. */
static bool by_variable(query *q, cr_ref *out)
{
    depth_solver *s = q->p.s;
    cr_graph *g = s->g;
    for (unsigned c = 0; c < s->n_cells; c++)
        for (unsigned i = 0; i < s->steps[c].n_locals; i++) {
            const depth_local *l = &s->steps[c].local[i];
            bool point = s->cell[c].lo == s->cell[c].hi;
            dim_sym r = point ? 0 : fresh_symbol(g, "t");
            cr_dim t = point ? s->cell[c].lo : dim_symbol(g->dims, r);
            cr_ref term;
            depth_local own = *l;
            if (l->symbol) own.coef = cr_bind(g, CR_BIND_SUM, name_text(g->dims, l->symbol), l->lo, l->hi, l->coef);
            if (!own.coef || !by_cell(q, c, t, &own, &term)) return false;
            if (!term) continue;
            if (!point) term = cr_bind(g, CR_BIND_SUM, name_text(g->dims, r), s->cell[c].lo, s->cell[c].hi, term);
            *out = sum_of(g, *out, term);
            if (!*out) return false;
        }
    for (unsigned i = 0; i < q->y.n_locals; i++) { /* of y itself, and what it reaches without the core */
        const depth_local *l = &q->y.local[i];
        cr_ref term = l->coef;
        if (l->symbol) term = cr_bind(g, CR_BIND_SUM, name_text(g->dims, l->symbol), l->lo, l->hi, term);
        *out = sum_of(g, *out, term);
        if (!*out) return false;
    }
    return true;
}

/* A formula for the members of one cell that rest on member k of the variable. */
typedef struct by_case {
    cr_ref value;
    cr_dim lo, hi; /* of k */
} by_case;

/* k <= hi, as it is written: k < N rather than k <= N-1 */
static cr_ref up_to(depth_solver *s, cr_dim k, cr_dim hi)
{
    dim_sym one_symbol;
    int64_t v;
    bool plain = dim_is_symbol(s->g->dims, hi, &one_symbol) || dim_value(s->g->dims, hi, &v);
    return plain ? compare(s, CR_OP_LE, k, hi) : compare(s, CR_OP_LT, k, before(s, hi, -1));
}

/* if(k == 1, a, if(k < N, b, c)): the cases ascending, for k in first..last; 0 elsewhere. */
static cr_ref choose(depth_solver *s, cr_dim k, unsigned n, const by_case *c, cr_dim first, cr_dim last)
{
    cr_graph *g = s->g;
    cr_ref out = zero_like(g, c[0].value);
    unsigned in_a_row = 0; /* cases from `first` on that follow each other: the earlier ones take what is below */
    while (in_a_row < n &&
           (in_a_row ? before(s, c[in_a_row].lo, 1) == c[in_a_row - 1].hi : depth_le(s, c[0].lo, first)))
        in_a_row++;
    for (unsigned i = n; i-- > 0 && out;) {
        bool follows = i < in_a_row;
        bool ends = i + 1 == n && depth_le(s, last, c[i].hi);
        cr_ref in_case = cr_bool(g, true);
        if (follows && ends) {
        } else if (c[i].lo == c[i].hi) {
            in_case = compare(s, CR_OP_EQ, k, c[i].lo);
        } else {
            if (!follows) in_case = compare(s, CR_OP_LE, c[i].lo, k);
            if (!ends && in_case) in_case = cr_map2(g, CR_OP_AND, in_case, up_to(s, k, c[i].hi));
        }
        out = in_case ? cr_select(g, in_case, c[i].value, out) : CR_NONE;
    }
    return out;
}

/* Takes up what y itself gives by a fixed member as one more case, where it stands apart from the others. */
static bool as_case(depth_solver *s, by_case *c, unsigned *n, cr_dim pick, cr_ref value)
{
    unsigned at = *n;
    if (*n == 0 || *n == DEPTH_MAX_CELLS) return false;
    if (depth_lt(s, pick, c[0].lo)) at = 0;
    else if (!depth_lt(s, c[*n - 1].hi, pick)) return false;
    memmove(c + at + 1, c + at, (*n - at) * sizeof *c);
    c[at] = (by_case){value, pick, pick};
    ++*n;
    return true;
}

/* Member a*t + rest of the variable at every t of cell c, a > 1: what member k gives, if it is one of these. */
static bool by_stride(query *q, unsigned c, const depth_local *l, cr_dim k, int64_t a, cr_dim rest, cr_ref *out)
{
    depth_solver *s = q->p.s;
    cr_graph *g = s->g;
    dim_table *t = g->dims;
    cr_dim step = dim_const(t, a), from = dim_sub(t, k, rest), at = dim_floordiv(t, from, step);
    cr_dim below = dim_add(t, dim_mul(t, step, before(s, s->cell[c].lo, 1)), rest);
    cr_dim above = dim_add(t, dim_mul(t, step, before(s, s->cell[c].hi, -1)), rest);
    cr_ref value, zero = cr_const(g, 0);
    int64_t v;
    if (!at || !below || !above) return false;
    if ((dim_value(t, from, &v) && v % a != 0) || depth_lt(s, at, s->cell[c].lo) || depth_lt(s, s->cell[c].hi, at))
        return true; /* not one of them */
    if (!by_cell(q, c, at, l, &value)) return false;
    if (!value) return true;
    cr_ref here = dim_value(t, from, &v)
                      ? cr_bool(g, v % a == 0)
                      : cr_map2(g, CR_OP_EQ, cr_map2(g, CR_OP_MOD, cr_int(g, from), cr_const(g, (double)a)), zero);
    if (!depth_lt(s, below, family_first(g, s->var)))
        here = cr_map2(g, CR_OP_AND, here, compare(s, CR_OP_LT, below, k));
    if (!depth_lt(s, family_last(g, s->var), above))
        here = cr_map2(g, CR_OP_AND, here, compare(s, CR_OP_LT, k, above));
    *out = sum_of(g, *out, only_if(g, here, value));
    return *out != CR_NONE;
}

/* By member k of a family of variables. */
static bool by_member(query *q, cr_dim k, cr_ref *out)
{
    depth_solver *s = q->p.s;
    cr_graph *g = s->g;
    dim_table *t = g->dims;
    cr_dim first = family_first(g, s->var), last = family_last(g, s->var);
    bool done[DEPTH_MAX_CELLS][DEPTH_MAX_EDGES] = {{false}}, of_y[DEPTH_MAX_EDGES] = {false};
    for (unsigned c = 0; c < s->n_cells; c++)
        for (unsigned i = 0; i < s->steps[c].n_locals; i++) {
            const depth_local *l = &s->steps[c].local[i];
            bool point = s->cell[c].lo == s->cell[c].hi;
            int64_t shift = 0;
            if (done[c][i]) continue;
            if (l->symbol) return no_closed_form(&q->p);
            if (!point && !dim_uses(t, l->pick, s->t)) { /* the same member at each t */
                dim_sym r = fresh_symbol(g, "t");
                cr_ref term;
                if (!by_cell(q, c, dim_symbol(t, r), l, &term)) return false;
                if (!term) continue;
                term = cr_bind(g, CR_BIND_SUM, name_text(t, r), s->cell[c].lo, s->cell[c].hi, term);
                *out = sum_of(g, *out, only_if(g, compare(s, CR_OP_EQ, k, l->pick), term));
                if (!*out) return false;
                continue;
            }
            /* member t + shift of the variable at t: the cells in which that is so, together */
            cr_dim gap = dim_sub(t, l->pick, point ? s->cell[c].lo : dim_symbol(t, s->t));
            if (!gap || !dim_value(t, gap, &shift)) {
                int64_t stride;
                cr_dim rest;
                if (!point && (!dim_linear_in(t, l->pick, s->t, &stride, &rest) || stride < 2))
                    return no_closed_form(&q->p);
                if (!point) {
                    if (!by_stride(q, c, l, k, stride, rest, out)) return false;
                    continue;
                }
                cr_ref term;
                if (!by_cell(q, c, s->cell[c].lo, l, &term)) return false;
                if (term) *out = sum_of(g, *out, only_if(g, compare(s, CR_OP_EQ, k, l->pick), term));
                if (g->err.status != CR_OK) return false;
                continue;
            }
            by_case cases[DEPTH_MAX_CELLS + 1];
            unsigned n = 0;
            for (unsigned d = c; d < s->n_cells; d++)
                for (unsigned j = d == c ? i : 0; j < s->steps[d].n_locals; j++) {
                    const depth_local *o = &s->steps[d].local[j];
                    bool single = s->cell[d].lo == s->cell[d].hi;
                    cr_dim base = single ? s->cell[d].lo : dim_symbol(t, s->t), lo, hi;
                    if (done[d][j] || o->symbol || dim_sub(t, o->pick, base) != gap) continue;
                    done[d][j] = true;
                    lo = dim_add(t, s->cell[d].lo, gap);
                    hi = dim_add(t, s->cell[d].hi, gap);
                    if (depth_lt(s, last, lo) || depth_lt(s, hi, first)) continue; /* there is no such member */
                    if (depth_lt(s, k, lo) || depth_lt(s, hi, k)) continue;        /* nor is it this one */
                    cr_ref value;
                    if (!by_cell(q, d, single ? s->cell[d].lo : dim_sub(t, k, gap), o, &value)) return false;
                    if (value) cases[n++] = (by_case){value, lo, hi};
                }
            for (unsigned y = 0; y < q->y.n_locals; y++) {
                const depth_local *o = &q->y.local[y];
                if (!of_y[y] && !o->symbol) of_y[y] = as_case(s, cases, &n, o->pick, o->coef);
            }
            if (n) *out = sum_of(g, *out, choose(s, k, n, cases, first, last));
            if (g->err.status != CR_OK) return false;
        }
    for (unsigned i = 0; i < q->y.n_locals; i++) {
        const depth_local *l = &q->y.local[i];
        cr_ref term;
        if (of_y[i]) continue;
        if (l->symbol) { /* under a sum: where its index meets k */
            int64_t shift;
            cr_dim gap = dim_sub(t, l->pick, dim_symbol(t, l->symbol));
            if (!gap || !dim_value(t, gap, &shift)) return no_closed_form(&q->p);
            cr_dim j = dim_sub(t, k, gap);
            cr_ref inside = cr_map2(g, CR_OP_AND, compare(s, CR_OP_LE, l->lo, j), compare(s, CR_OP_LE, j, l->hi));
            term = only_if(g, inside, graph_subst_symbol(g, l->coef, l->symbol, j));
        } else {
            term = only_if(g, compare(s, CR_OP_EQ, k, l->pick), l->coef);
        }
        *out = sum_of(g, *out, term);
        if (!*out) return false;
    }
    return true;
}

/* d[K, V] at the entry of V that w asks for. */
static cr_ref pick_entry(cr_graph *g, cr_ref d, unsigned k, unsigned n, const cr_dim *index)
{
    if (!d || n == 0) return d;
    const cr_shape *s = shape_of(g, d);
    cr_ref in[CR_MAX_RANK + 1] = {d};
    uint8_t label[2 * CR_MAX_RANK];
    for (unsigned i = 0; i < s->rank; i++) label[i] = (uint8_t)i;
    for (unsigned i = 0; i < n; i++) {
        in[i + 1] = cr_onehot(g, index[i], s->dim[k + i]);
        label[s->rank + i] = (uint8_t)(k + i);
    }
    return cr_einsum(g, n + 1, in, label, k, s->dim);
}

/* y[K, r, V] from one r after the other. */
static cr_ref stack_members(query *q, dim_sym r, cr_ref d)
{
    depth_solver *s = q->p.s;
    cr_graph *g = s->g;
    cr_ref stacked =
        d ? cr_bind(g, CR_BIND_STACK, name_text(g->dims, r), family_first(g, s->var), family_last(g, s->var), d)
          : CR_NONE;
    if (!stacked || q->k == 0) return stacked;
    const cr_shape *t = shape_of(g, stacked);
    uint8_t label[CR_MAX_RANK];
    cr_dim shape[CR_MAX_RANK];
    for (unsigned i = 0; i < t->rank; i++) {
        label[i] = (uint8_t)(i == 0 ? q->k : i <= q->k ? i - 1 : i);
        shape[label[i]] = t->dim[i];
    }
    return cr_einsum(g, 1, &stacked, label, t->rank, shape);
}

static cr_ref closed_form(depth_solver *s, query *q, cr_ref y, const calc_wrt *w)
{
    cr_graph *g = s->g;
    const cr_shape *v = shape_of(g, w->var);
    cr_ref out = CR_NONE;
    q->k = cr_rank(g, y);
    q->v = v->rank - s->family_var;
    dim_sym r = s->family_var && !w->n_index ? fresh_symbol(g, "k") : 0;
    if (r) depth_index(s, dim_symbol(g->dims, r), family_first(g, w->var), 0, NULL);
    bool ok;
    if (s->family_var) {
        cr_dim k = r ? dim_symbol(g->dims, r)
                     : dim_sub(g->dims, dim_add(g->dims, w->index[0], family_first(g, w->var)), dim_const(g->dims, 1));
        ok = by_member(q, k, &out);
    } else {
        ok = by_variable(q, &out);
    }
    if (!ok) return CR_NONE;
    if (!out) { /* nothing reaches it */
        cr_dim shape[2 * CR_MAX_RANK];
        memcpy(shape, shape_of(g, y)->dim, q->k * sizeof *shape);
        memcpy(shape + q->k, v->dim + s->family_var, q->v * sizeof *shape);
        out = cr_full(g, cr_const(g, 0), q->k + q->v, shape);
    }
    if (w->n_index) return pick_entry(g, out, q->k, w->n_index - s->family_var, w->index + s->family_var);
    return r ? stack_members(q, r, out) : out;
}

cr_ref depth_partial(cr_graph *g, cr_ref y, const calc_wrt *w)
{
    depth_solver s;
    query *q = mem_zalloc(1, sizeof *q);
    if (!q) return graph_fail(g, CR_ENOMEM, "out of memory");
    q->p.s = &s;
    cr_ref out = depth_prepare(&s, g, y, w, &q->y) ? closed_form(&s, q, y, w) : CR_NONE;
    depth_free(&s);
    mem_free(q->p.memo);
    mem_free(q);
    if (out || g->err.status != CR_OK) return out;
    return depth_recursion(g, y, w);
}
