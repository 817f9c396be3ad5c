/* Families: parameters w[1..N], and expressions that a recurrence defines, o[i] = sigma(w[i]*o[i-1]).
 *
 * A member of a family of expressions is a leaf, MEMBER(family, index); its definition stands in a table beside the
 * nodes, so that o[N] with a symbolic N is an expression of fixed size, whatever N will be. */
#include "graph/graph.h"

#include <string.h>

/* ---- order of indices ---------------------------------------------------------------------------- */

static bool at_least_one(void *user, dim_sym s, int64_t *v)
{
    (void)user, (void)s;
    *v = 1;
    return true;
}

bool family_least(cr_graph *g, cr_dim d, int64_t *least)
{
    return d && dim_lower_bound(g->dims, d, at_least_one, NULL, least);
}

/* a <= b for all sizes >= 1? */
static bool surely_le(cr_graph *g, cr_dim a, cr_dim b)
{
    int64_t least;
    return family_least(g, dim_sub(g->dims, b, a), &least) && least >= 0;
}

/* d >= 0 for all sizes that have what the definitions of f suppose? */
static bool follows(cr_graph *g, const family *f, cr_dim d)
{
    int64_t least;
    if (family_least(g, d, &least) && least >= 0) return true;
    for (size_t i = 0; d && i < f->n_assume; i++) {
        cr_dim rest = dim_sub(g->dims, d, f->assume[i]);
        if (family_least(g, rest, &least) && least >= 0) return true;
        for (size_t k = i + 1; rest && k < f->n_assume; k++)
            if (family_least(g, dim_sub(g->dims, rest, f->assume[k]), &least) && least >= 0) return true;
    }
    return false;
}

static bool is_le(cr_graph *g, const family *f, cr_dim a, cr_dim b) { return follows(g, f, dim_sub(g->dims, b, a)); }

static bool is_lt(cr_graph *g, const family *f, cr_dim a, cr_dim b)
{
    return follows(g, f, dim_sub(g->dims, dim_sub(g->dims, b, a), dim_const(g->dims, 1)));
}

/* ---- families of parameters ---------------------------------------------------------------------- */

cr_dim family_first(const cr_graph *g, cr_ref r)
{
    if (op_of(g, r) != CR_OP_PARAM) return 0;
    dim_sym s = attr_of(g, r, 0);
    return s < g->param_lo_cap ? g->param_lo[s] : 0;
}

cr_dim family_last(const cr_graph *g, cr_ref r)
{
    cr_dim end = dim_add(g->dims, family_first(g, r), shape_of(g, r)->dim[0]);
    return end ? dim_sub(g->dims, end, dim_const(g->dims, 1)) : 0;
}

cr_ref cr_param_family(cr_graph *g, const char *name, cr_dim lo, cr_dim hi, unsigned rank, const cr_dim *shape,
                       unsigned attributes)
{
    cr_dim dim[CR_MAX_RANK];
    if (!lo || !hi) return CR_NONE;
    if (rank >= CR_MAX_RANK) return graph_fail(g, CR_ELIMIT, "a tensor of more than %d axes", CR_MAX_RANK);
    if (attributes & ~(unsigned)CR_POSITIVE)
        return graph_fail(g, CR_EUNSUPPORTED, "the members of a family of variables can be positive; they have no "
                                              "other attribute");
    dim[0] = dim_add(g->dims, dim_sub(g->dims, hi, lo), dim_const(g->dims, 1));
    for (unsigned i = 0; i < rank; i++) dim[i + 1] = shape[i];
    int64_t n;
    if (dim[0] && dim_value(g->dims, dim[0], &n) && n < 1) return graph_fail(g, CR_EARG, "a family without members");
    cr_ref r = cr_param(g, name, rank + 1, dim, attributes);
    if (!r) return CR_NONE;
    dim_sym s = attr_of(g, r, 0);
    size_t old = g->param_lo_cap;
    if (!VEC_RESERVE(g->param_lo, g->param_lo_cap, (size_t)s + 1)) return graph_fail(g, CR_ENOMEM, "out of memory");
    if (g->param_lo_cap > old) memset(g->param_lo + old, 0, (g->param_lo_cap - old) * sizeof *g->param_lo);
    g->param_lo[s] = lo;
    return r;
}

cr_ref cr_pick(cr_graph *g, cr_ref w, cr_dim index)
{
    if (!valid(g, w) || !index) return CR_NONE;
    cr_dim lo = family_first(g, w);
    if (!lo) return graph_fail(g, CR_EARG, "not a family of variables");
    const cr_shape *s = shape_of(g, w);
    return graph_node(g, CR_OP_PICK, graph_type(g, CR_REAL, s->rank - 1u, s->dim + 1), 1, &w, 1, &index);
}

/* ---- families of expressions --------------------------------------------------------------------- */

cr_family cr_family_new(cr_graph *g, const char *name, unsigned rank, const cr_dim *shape)
{
    dim_sym s = name_intern(g->dims, name, strlen(name));
    node_type type = graph_type(g, CR_REAL, rank, shape);
    if (!s || !type) return 0;
    if (!VEC_RESERVE(g->family, g->family_cap, g->n_family + 1)) return graph_fail(g, CR_ENOMEM, "out of memory");
    g->family[g->n_family] = (family){.name = s, .type = type};
    return (cr_family)g->n_family++;
}

static bool known_family(cr_graph *g, cr_family f)
{
    if (f && f < g->n_family) return true;
    graph_fail(g, CR_ENAME, "an unknown family");
    return false;
}

bool family_suppose(cr_graph *g, family *f, cr_dim d)
{
    int64_t least;
    if (!d) return false;
    if (family_least(g, d, &least) && least >= 0) return true;
    for (size_t i = 0; i < f->n_assume; i++)
        if (f->assume[i] == d) return true;
    cr_dim *a = arena_alloc(&g->mem, (f->n_assume + 1) * sizeof *a);
    if (!a) {
        graph_fail(g, CR_ENOMEM, "out of memory");
        return false;
    }
    if (f->n_assume) memcpy(a, f->assume, f->n_assume * sizeof *a);
    a[f->n_assume++] = d;
    f->assume = a;
    return true;
}

typedef struct symbol_count {
    dim_sym s;
    unsigned n;
} symbol_count;

static void count_symbol(void *user, dim_sym s)
{
    symbol_count *c = user;
    c->s = s;
    c->n++;
}

/* Supposes a <= b or b <= a, whichever holds for a large size, where they differ by a multiple of one symbol. */
static bool suppose_order(cr_graph *g, family *f, cr_dim a, cr_dim b, int64_t gap, bool *less)
{
    dim_table *t = g->dims;
    symbol_count c = {0, 0};
    int64_t factor, v;
    cr_dim rest, d = dim_sub(t, b, a);
    dim_symbols(t, d, count_symbol, &c);
    if (c.n != 1 || !dim_linear_in(t, d, c.s, &factor, &rest) || !dim_value(t, rest, &v)) return false;
    *less = factor > 0;
    return family_suppose(g, f, dim_sub(t, *less ? d : dim_sub(t, a, b), dim_const(t, gap)));
}

/* The new range p..q against the old one a..b: what is left of the old one. */
typedef struct remainder {
    bool below, above; /* a..p-1, q+1..b; each may turn out to be empty */
    bool untouched;
} remainder;

static bool overlap(cr_graph *g, family *f, const family_piece *old, const family_piece *new, remainder *out)
{
    bool less;
    *out = (remainder){false, false, false};
    out->untouched = is_lt(g, f, new->hi, old->lo) || is_lt(g, f, old->hi, new->lo);
    if (out->untouched) return true;
    if (new->lo == new->hi && old->lo == old->hi && new->lo != old->lo) { /* two names are two indices */
        out->untouched = true;
        if (is_le(g, f, old->lo, new->lo) || is_le(g, f, new->lo, old->lo)) {
            less = is_le(g, f, old->lo, new->lo);
            cr_dim gap = less ? dim_sub(g->dims, new->lo, old->lo) : dim_sub(g->dims, old->lo, new->lo);
            return family_suppose(g, f, dim_sub(g->dims, gap, dim_const(g->dims, 1)));
        }
        return suppose_order(g, f, old->lo, new->lo, 1, &less);
    }
    bool covers_lo = is_le(g, f, new->lo, old->lo), covers_hi = is_le(g, f, old->hi, new->hi);
    if (!covers_lo && !is_le(g, f, old->lo, new->lo)) return false;
    /* Where it cannot be told which end is further, sizes are taken to be large: 2..3 in 1..N supposes N >= 3. */
    if (!covers_hi && !is_le(g, f, new->hi, old->hi)) {
        if (!suppose_order(g, f, new->hi, old->hi, 0, &less)) return false;
        covers_hi = !less;
    }
    out->below = !covers_lo;
    out->above = !covers_hi;
    /* what is left ends where the new range begins, so that must not be further on */
    return (covers_lo || is_lt(g, f, new->lo, dim_add(g->dims, old->hi, dim_const(g->dims, 2)))) &&
           (covers_hi || is_lt(g, f, old->lo, dim_add(g->dims, new->hi, dim_const(g->dims, 2))));
}

/* A single index that may lie in more than one older range: it is taken to lie in the one that is more than a single
 * index itself, o[N] in 2..N rather than at 1. */
static bool place_point(cr_graph *g, family *f, cr_dim at)
{
    const family_piece *inside = NULL;
    for (size_t i = 0; i < f->n_pieces; i++) {
        const family_piece *p = &f->piece[i];
        if (is_lt(g, f, at, p->lo) || is_lt(g, f, p->hi, at)) continue;
        if (is_le(g, f, p->lo, at) && is_le(g, f, at, p->hi)) return true;
        if (p->lo == p->hi) continue;
        if (inside) return false;
        inside = p;
    }
    return !inside || (family_suppose(g, f, dim_sub(g->dims, at, inside->lo)) &&
                       family_suppose(g, f, dim_sub(g->dims, inside->hi, at)));
}

cr_status cr_family_define(cr_graph *g, cr_family fam, const char *symbol, cr_dim lo, cr_dim hi, cr_ref body)
{
    if (!known_family(g, fam) || !lo || !hi || !valid(g, body)) return g->err.status;
    family *f = &g->family[fam];
    const char *name = name_text(g->dims, f->name);
    if (f->checked) {
        graph_fail(g, CR_EARG, "`%s` is in use, what it is cannot change", name);
        return CR_EARG;
    }
    if (node(g, body)->type != f->type) {
        graph_fail(g, CR_ESHAPE, "the members of `%s` have different shapes", name);
        return CR_ESHAPE;
    }
    dim_sym given = name_intern(g->dims, symbol, strlen(symbol)), own = fresh_symbol(g, symbol);
    family_piece new = {lo, hi, own, CR_NONE};
    new.body = given && own ? graph_subst_symbol(g, body, given, dim_symbol(g->dims, own)) : CR_NONE;
    f = &g->family[fam];
    family_piece *p = new.body ? arena_alloc(&g->mem, (2 * f->n_pieces + 1) * sizeof *p) : NULL;
    if (!p) {
        if (g->err.status == CR_OK) graph_fail(g, CR_ENOMEM, "out of memory");
        return g->err.status;
    }
    cr_dim one = dim_const(g->dims, 1);
    /* m..N-1 may be empty, but not end further before it begins: what is left of an older range would not be apart */
    if (!family_suppose(g, f, dim_add(g->dims, dim_sub(g->dims, hi, lo), one))) return g->err.status;
    size_t n = 0;
    bool placed = false, told = lo != hi || place_point(g, f, lo);
    for (size_t i = 0; i < f->n_pieces; i++) {
        const family_piece *old = &f->piece[i];
        remainder r;
        if (!told || !overlap(g, f, old, &new, &r)) {
            graph_fail(g, CR_EARG, "it cannot be told how this range of `%s` overlaps an earlier one", name);
            return g->err.status;
        }
        if (r.untouched) {
            if (!placed && is_lt(g, f, new.hi, old->lo)) {
                p[n++] = new;
                placed = true;
            }
            p[n++] = *old;
            continue;
        }
        if (r.below) {
            p[n] = *old;
            p[n++].hi = dim_sub(g->dims, lo, one);
        }
        if (!placed) {
            p[n++] = new;
            placed = true;
        }
        if (r.above) {
            p[n] = *old;
            p[n++].lo = dim_add(g->dims, hi, one);
        }
    }
    if (!placed) p[n++] = new;
    for (size_t i = 0; i < n; i++)
        if (!p[i].lo || !p[i].hi) return g->err.status;
    f->piece = p;
    f->n_pieces = n;
    return CR_OK;
}

bool family_define_like(cr_graph *g, cr_family to, cr_family from, const cr_ref *body)
{
    size_t n = g->family[from].n_pieces;
    family_piece *p = arena_alloc(&g->mem, (n + 1) * sizeof *p);
    if (!p) graph_fail(g, CR_ENOMEM, "out of memory");
    for (size_t i = 0; p && i < n; i++) {
        p[i] = g->family[from].piece[i];
        dim_sym own = fresh_symbol(g, name_text(g->dims, p[i].index));
        p[i].body = own ? graph_subst_symbol(g, body[i], p[i].index, dim_symbol(g->dims, own)) : CR_NONE;
        p[i].index = own;
        if (!p[i].body) return false;
    }
    if (!p) return false;
    family *f = &g->family[to];
    f->piece = p;
    f->n_pieces = n;
    for (size_t i = 0; i < g->family[from].n_assume; i++)
        if (!family_suppose(g, f, g->family[from].assume[i])) return false;
    return true;
}

cr_ref cr_member(cr_graph *g, cr_family f, cr_dim index)
{
    if (!known_family(g, f) || !index) return CR_NONE;
    return graph_node(g, CR_OP_MEMBER, g->family[f].type, 0, NULL, 2, (uint32_t[]){f, index});
}

const family_piece *family_piece_at(cr_graph *g, cr_family f, cr_dim i)
{
    const family *fam = &g->family[f];
    const family_piece *found = NULL;
    for (size_t k = 0; k < fam->n_pieces; k++) {
        const family_piece *p = &fam->piece[k];
        if (p->lo == i || p->hi == i || (surely_le(g, p->lo, i) && surely_le(g, i, p->hi))) {
            if (found) return NULL;
            found = p;
        }
    }
    return found;
}

cr_ref family_body_at(cr_graph *g, const family_piece *p, cr_dim i)
{
    return graph_subst_symbol(g, p->body, p->index, i);
}

/* ---- what rests on what -------------------------------------------------------------------------- */

typedef struct reached {
    bool *seen; /* by cr_family */
    cr_family *list;
    size_t n, cap;
} reached;

static void reach(cr_graph *g, reached *c, unsigned n_roots, const cr_ref *roots)
{
    size_t n;
    cr_ref *cone = graph_cone(g, n_roots, roots, &n);
    for (size_t i = 0; cone && i < n; i++) {
        if (op_of(g, cone[i]) != CR_OP_MEMBER) continue;
        cr_family f = attr_of(g, cone[i], 0);
        if (c->seen[f]) continue;
        c->seen[f] = true;
        for (size_t k = 0; k < g->family[f].n_pieces; k++) reach(g, c, 1, &g->family[f].piece[k].body);
        if (VEC_RESERVE(c->list, c->cap, c->n + 1)) c->list[c->n++] = f;
        else graph_fail(g, CR_ENOMEM, "out of memory");
    }
    mem_free(cone);
}

cr_family *family_reach(cr_graph *g, unsigned n_roots, const cr_ref *roots, size_t *n)
{
    reached c = {.seen = mem_zalloc(g->n_family, sizeof *c.seen)};
    bool ok = c.seen && VEC_RESERVE(c.list, c.cap, 1);
    if (!ok) graph_fail(g, CR_ENOMEM, "out of memory");
    if (ok) reach(g, &c, n_roots, roots);
    mem_free(c.seen);
    *n = c.n;
    if (ok && g->err.status == CR_OK) return c.list;
    mem_free(c.list);
    return NULL;
}

bool family_uses(cr_graph *g, cr_family f, dim_sym s)
{
    size_t n = 0;
    cr_ref top = cr_member(g, f, dim_const(g->dims, 0));
    cr_family *list = top ? family_reach(g, 1, &top, &n) : NULL;
    bool uses = false;
    for (size_t i = 0; list && i < n && !uses; i++) {
        const family *fam = &g->family[list[i]];
        for (size_t k = 0; k < fam->n_pieces && !uses; k++) {
            const family_piece *p = &fam->piece[k];
            size_t m;
            cr_ref *cone = graph_cone(g, 1, &p->body, &m);
            uses = dim_uses(g->dims, p->lo, s) || dim_uses(g->dims, p->hi, s);
            for (size_t j = 0; cone && j < m && !uses; j++) uses = graph_node_uses(g, cone[j], s);
            mem_free(cone);
        }
    }
    mem_free(list);
    return uses;
}

/* d, which f supposes to be at least 0, with `by` for s; 0: it is less. */
static cr_dim still_supposed(cr_graph *g, const family *f, cr_dim d, dim_sym s, cr_dim by)
{
    int64_t least;
    cr_dim now = dim_substitute(g->dims, d, s, by);
    if (!now || !dim_value(g->dims, now, &least) || least >= 0) return now;
    strbuf b;
    sb_init(&b);
    dim_print(g->dims, d, &b, NULL, NULL);
    sb_printf(&b, " >= 0, which is not so for %s = ", name_text(g->dims, s));
    dim_print(g->dims, by, &b, NULL, NULL);
    graph_fail(g, CR_EARG, "the definitions of `%s` suppose %s", name_text(g->dims, f->name), sb_str(&b));
    sb_free(&b);
    return 0;
}

/* All that f rests on is copied, each family once: the copies are made known before bodies are rewritten. What has been
 * copied before stays; it is checked, so that it has not changed since. The copies are yet to be checked: o[i-k] is no
 * earlier member when k is 0. */
cr_family family_subst(cr_graph *g, cr_family f, dim_sym s, cr_dim by)
{
    size_t n = 0;
    if (g->family[f].subst_from == s && g->family[f].subst_by == by) return g->family[f].subst;
    cr_ref top = cr_member(g, f, dim_const(g->dims, 0));
    cr_family *list = top ? family_closure(g, 1, &top, &n) : NULL;
    cr_family first_new = (cr_family)g->n_family;
    for (size_t i = 0; list && i < n; i++) {
        if (g->family[list[i]].subst_from == s && g->family[list[i]].subst_by == by) continue;
        if (!VEC_RESERVE(g->family, g->family_cap, g->n_family + 1)) {
            graph_fail(g, CR_ENOMEM, "out of memory");
            break;
        }
        family *from = &g->family[list[i]];
        from->subst_from = s;
        from->subst_by = by;
        from->subst = (cr_family)g->n_family;
        g->family[g->n_family] = (family){.name = from->name, .type = from->type, .derived = from->derived};
        const cr_shape *t = g->type[from->type];
        cr_dim dim[CR_MAX_RANK];
        for (unsigned k = 0; k < t->rank; k++) dim[k] = dim_substitute(g->dims, t->dim[k], s, by);
        node_type type = graph_type(g, (cr_dtype)t->dtype, t->rank, dim);
        g->family[g->n_family++].type = type;
    }
    for (size_t i = 0; list && i < n && g->err.status == CR_OK; i++) {
        const family *from = &g->family[list[i]];
        if (from->subst < first_new) continue;
        family_piece *p = arena_alloc(&g->mem, (from->n_pieces + 1) * sizeof *p);
        cr_dim *assume = arena_alloc(&g->mem, (from->n_assume + 1) * sizeof *assume);
        if (!p || !assume) {
            graph_fail(g, CR_ENOMEM, "out of memory");
            break;
        }
        size_t n_pieces = 0, n_assume = from->n_assume;
        for (size_t k = 0; k < n_assume; k++) assume[k] = still_supposed(g, from, from->assume[k], s, by);
        for (size_t k = 0; k < g->family[list[i]].n_pieces; k++) {
            family_piece old = g->family[list[i]].piece[k];
            int64_t count;
            old.lo = dim_substitute(g->dims, old.lo, s, by);
            old.hi = dim_substitute(g->dims, old.hi, s, by);
            if (!old.lo || !old.hi) break;
            if (dim_value(g->dims, dim_sub(g->dims, old.hi, old.lo), &count) && count < 0) continue; /* empty now */
            old.body = graph_subst_symbol(g, old.body, s, by);
            p[n_pieces++] = old;
        }
        family *to = &g->family[g->family[list[i]].subst];
        to->piece = p;
        to->n_pieces = n_pieces;
        to->assume = assume;
        to->n_assume = n_assume;
    }
    bool ok = g->err.status == CR_OK;
    for (size_t i = 0; list && i < n && !ok; i++) /* no half copies when it is asked for again */
        if (g->family[list[i]].subst >= first_new) g->family[list[i]].subst_from = 0;
    mem_free(list);
    return ok ? g->family[f].subst : 0;
}
