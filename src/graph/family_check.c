/* Is a recurrence one? Each member must rest on earlier members, and the earliest ones on none. Members of equal index
 * are put in an order. */
#include "graph/graph.h"

#include <string.h>

typedef struct checker {
    cr_graph *g;
    cr_family f;
    const family_piece *piece;
    const cr_ref *cone; /* of the piece's body */
    size_t n;
    const bool *guarded; /* by ref: behind a choice, which may leave it out */
    bool soft;           /* what may be at an equal index is to be computed before, if it can be */
    bool *again; /* an order has changed */
} checker;

/* An index as the user wrote it: what the graph calls i#7 is i. */
static const char *stem(void *user, dim_sym s)
{
    static _Thread_local char name[64];
    const cr_graph *g = user;
    const char *t = name_text(g->dims, s), *end = strchr(t, '#');
    size_t n = end ? (size_t)(end - t) : strlen(t);
    if (n == 0 || n >= sizeof name) return n ? t : "j";
    memcpy(name, t, n);
    name[n] = '\0';
    return name;
}

static bool fails(const checker *c, cr_ref member, const char *why)
{
    cr_graph *g = c->g;
    strbuf b;
    sb_init(&b);
    sb_printf(&b, "the definition of `%s[", name_text(g->dims, g->family[c->f].name));
    dim_print(g->dims, c->piece->lo == c->piece->hi ? c->piece->lo : dim_symbol(g->dims, c->piece->index), &b, stem, g);
    sb_printf(&b, "]` refers to `%s[", name_text(g->dims, g->family[attr_of(g, member, 0)].name));
    dim_print(g->dims, attr_of(g, member, 1), &b, stem, g);
    sb_printf(&b, "]`, %s", why);
    graph_fail(g, CR_EARG, "%s", sb_str(&b));
    sb_free(&b);
    return false;
}

/* Are all of low..high surely between two definitions, or behind the last one? */
static bool in_a_gap(cr_graph *g, const family *f, cr_dim low, cr_dim high)
{
    dim_table *t = g->dims;
    int64_t v;
    if (dim_value(t, dim_sub(t, low, high), &v) && v > 0) return false; /* an empty sum */
    for (size_t i = 0; i < f->n_pieces; i++) {
        bool behind = dim_value(t, dim_sub(t, low, f->piece[i].hi), &v) && v > 0;
        if (i + 1 == f->n_pieces) return behind;
        if (behind && dim_value(t, dim_sub(t, f->piece[i + 1].lo, high), &v) && v > 0) return true;
    }
    return false;
}

/* Of members of equal index h is computed before the one that is looked at. */
static void compute_before(const checker *c, cr_family h)
{
    family *to = &c->g->family[h], *own = &c->g->family[c->f];
    if (own->order > to->order) return;
    own->order = to->order + 1;
    *c->again = true;
}

/* high, low: the greatest and the least index over the ranges of the sums around it; 0: not known. */
static bool check_index(const checker *c, cr_ref member, cr_dim high, cr_dim low)
{
    cr_graph *g = c->g;
    dim_table *t = g->dims;
    cr_family h = attr_of(g, member, 0);
    family *to = &g->family[h], *own = &g->family[c->f];
    const family_piece *p = c->piece;
    cr_dim rest, gap;
    int64_t a = 0, v;
    if (g->err.status != CR_OK) return false;
    bool moves = high && dim_uses(t, high, p->index), point = p->lo == p->hi;
    if (point && high && low) {
        high = dim_substitute(t, high, p->index, p->lo);
        low = dim_substitute(t, low, p->index, p->lo);
        moves = false;
    }
    if (high && low && dim_value(t, dim_sub(t, low, high), &v) && v > 0) return true; /* of an empty sum */
    if (to->n_pieces == 0 && !c->guarded[member]) return fails(c, member, "which has no definition");
    if (!high || !low || (moves && (!dim_linear_in(t, high, p->index, &a, &rest) || a != 1)))
        return fails(c, member, "which is not an earlier index: i-1, i-2, ..., a fixed one, or a sum over those");
    /* how far before the own index, for the first of them */
    gap = moves ? dim_sub(t, dim_const(t, 0), rest) : dim_sub(t, p->lo, high);
    if (!gap) return false;
    if (dim_value(t, gap, &v) && v == 0 && h != c->f && (moves || point)) { /* at the same index */
        compute_before(c, h);
    } else if (c->guarded[member] && !moves && !(dim_value(t, gap, &v) && v >= 1)) {
        /* the choice says when it is earlier, and whether it has a start */
        if (h != c->f && c->soft) compute_before(c, h);
        return true;
    } else if (dim_value(t, gap, &v) && v < 1) {
        return fails(c, member, moves || point ? "which is not an earlier index"
                                               : "which is not earlier than the first of its range");
    } else if (!family_suppose(g, own, dim_sub(t, gap, dim_const(t, 1)))) {
        return false;
    }
    if (c->guarded[member]) return true;
    /* and there must be a start */
    low = dim_substitute(t, low, p->index, p->lo);
    gap = low ? dim_sub(t, low, to->piece[0].lo) : 0;
    if (!gap) return false;
    high = dim_substitute(t, high, p->index, p->hi);
    bool gone = high && in_a_gap(g, to, low, high);
    if (gone || (dim_value(t, gap, &v) && v < 0)) {
        strbuf b;
        sb_init(&b);
        sb_puts(&b, gone ? "but there is no definition of " : "but there is no start value ");
        sb_printf(&b, "`%s[", name_text(t, to->name));
        dim_print(t, low, &b, stem, g);
        sb_puts(&b, "]`");
        fails(c, member, sb_str(&b));
        sb_free(&b);
        return false;
    }
    return family_suppose(g, own, gap);
}

static bool is_under(cr_graph *g, cr_ref bind, cr_ref member)
{
    size_t n;
    bool found = false;
    cr_ref *cone = graph_cone(g, 1, &bind, &n);
    for (size_t i = 0; cone && i < n && !found; i++) found = cone[i] == member;
    mem_free(cone);
    return found;
}

/* Each bound symbol in high and low at an end of its range, inner ones first: those of binders from cone[at] on are
 * left. Binders may share a symbol, and what is under them: each of their ranges counts. */
static bool check_under(const checker *c, cr_ref member, size_t at, cr_dim high, cr_dim low)
{
    cr_graph *g = c->g;
    dim_table *t = g->dims;
    dim_sym s, first = 0;
    int64_t a, b;
    cr_dim rest;
    for (size_t i = at; high && low && i < c->n; i++) {
        cr_ref r = c->cone[i];
        if (op_of(g, r) != CR_OP_BIND || !dim_is_symbol(t, attr_of(g, r, 1), &s) || (first && s != first)) continue;
        bool uses[2] = {dim_uses(t, high, s), dim_uses(t, low, s)};
        if ((!uses[0] && !uses[1]) || !is_under(g, r, member)) continue;
        first = s;
        if ((uses[0] && !dim_linear_in(t, high, s, &a, &rest)) || (uses[1] && !dim_linear_in(t, low, s, &b, &rest)))
            return check_index(c, member, 0, 0);
        cr_dim top = uses[0] ? dim_substitute(t, high, s, attr_of(g, r, a > 0 ? 3 : 2)) : high;
        cr_dim bottom = uses[1] ? dim_substitute(t, low, s, attr_of(g, r, b > 0 ? 2 : 3)) : low;
        if (!top || !bottom || !check_under(c, member, i + 1, top, bottom)) return false;
    }
    return first || check_index(c, member, high, low);
}

static bool check_member(const checker *c, cr_ref member)
{
    cr_dim d = attr_of(c->g, member, 1);
    return check_under(c, member, 0, d, d);
}

cr_status cr_family_check(cr_graph *g, cr_family f)
{
    family_fault fault;
    return family_check(g, f, &fault);
}

cr_status family_check(cr_graph *g, cr_family f, family_fault *fault)
{
    *fault = (family_fault){0};
    if (!f || f >= g->n_family) {
        graph_fail(g, CR_ENAME, "an unknown family");
        return CR_ENAME;
    }
    if (g->family[f].checked) return CR_OK;
    cr_ref top = cr_member(g, f, dim_const(g->dims, 0));
    size_t n = 0;
    cr_family *list = top ? family_reach(g, 1, &top, &n) : NULL;
    bool again = list != NULL;
    for (size_t round = 0; again && g->err.status == CR_OK; round++) {
        again = false;
        for (size_t i = 0; i < n && g->err.status == CR_OK; i++) {
            if (g->family[list[i]].checked) continue;
            for (size_t k = 0; k < g->family[list[i]].n_pieces && g->err.status == CR_OK; k++) {
                checker c = {.g = g, .f = list[i], .piece = &g->family[list[i]].piece[k], .again = &again};
                cr_ref *cone = graph_cone(g, 1, &c.piece->body, &c.n);
                bool *guarded = cone ? graph_guarded(g, 1, &c.piece->body) : NULL;
                c.cone = cone;
                c.guarded = guarded;
                c.soft = round < n;
                for (size_t m = 0; guarded && m < c.n; m++)
                    if (op_of(g, cone[m]) == CR_OP_MEMBER && !check_member(&c, cone[m])) {
                        *fault = (family_fault){list[i], *c.piece};
                        break;
                    }
                mem_free(guarded);
                mem_free(cone);
            }
        }
        if (again && round > 2 * n) {
            const char *name = name_text(g->dims, g->family[f].name);
            graph_fail(g, CR_EARG, "members of equal index rest on each other in the definition of `%s`", name);
        }
    }
    for (size_t i = 0; list && i < n && g->err.status == CR_OK; i++) g->family[list[i]].checked = true;
    mem_free(list);
    return g->err.status;
}

cr_family *family_closure(cr_graph *g, unsigned n_roots, const cr_ref *roots, size_t *n)
{
    cr_family *list = family_reach(g, n_roots, roots, n);
    for (size_t i = 0; list && i < *n; i++) {
        if (cr_family_check(g, list[i]) != CR_OK) {
            mem_free(list);
            return NULL;
        }
        cr_family f = list[i];
        size_t at = i;
        for (; at > 0 && g->family[list[at - 1]].order > g->family[f].order; at--) list[at] = list[at - 1];
        list[at] = f;
    }
    return list;
}
