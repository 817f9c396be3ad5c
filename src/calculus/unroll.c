/* A recurrence of numeric depth as one plain expression, layer by layer: what an autodiff framework would see. */
#include "calculus/derive.h"


typedef struct unroller {
    cr_graph *g;
    int64_t first, last; /* indices */
    cr_family *family;   /* in the order in which members of equal index can be made */
    size_t n;
    cr_ref *made; /* by index, then family */
} unroller;

static cr_ref rewrite(unroller *u, cr_ref r);

/* guarded: a choice leaves it out where it is not there. */
static cr_ref member_made(unroller *u, cr_ref m, bool guarded)
{
    cr_graph *g = u->g;
    int64_t at;
    if (!dim_value(g->dims, attr_of(g, m, 1), &at)) return m; /* of a sum's index: the sum is written out */
    for (size_t i = 0; i < u->n && at >= u->first && at <= u->last; i++) {
        cr_ref made = u->family[i] == attr_of(g, m, 0) ? u->made[(size_t)(at - u->first) * u->n + i] : CR_NONE;
        if (made) return made;
    }
    const cr_shape *s = shape_of(g, m);
    /* any number, as the choice leaves it out; 0, as reverse mode multiplies it by the 0 that the choice passes on */
    if (guarded) return cr_full(g, cr_const(g, 0), s->rank, s->dim);
    return graph_fail(g, CR_EVALUE, "`%s[%lld]` has no definition",
                      name_text(g->dims, g->family[attr_of(g, m, 0)].name), (long long)at);
}

/* Does an expression hold members whose index is not a number: that of a sum around them? */
static bool holds_open_members(cr_graph *g, cr_ref body)
{
    size_t n;
    int64_t at;
    bool found = false;
    cr_ref *cone = graph_cone(g, 1, &body, &n);
    for (size_t i = 0; cone && i < n && !found; i++)
        found = op_of(g, cone[i]) == CR_OP_MEMBER && !dim_value(g->dims, attr_of(g, cone[i], 1), &at);
    mem_free(cone);
    return found;
}

/* One more term or factor. */
static cr_ref join(cr_graph *g, cr_bind_kind kind, cr_ref so_far, cr_ref one)
{
    switch (kind) {
    case CR_BIND_SUM: return cr_add(g, so_far, one);
    case CR_BIND_PROD: return cr_mul(g, so_far, one);
    case CR_BIND_CHAIN: return cr_matmul(g, one, so_far);
    case CR_BIND_MAX: return cr_map2(g, CR_OP_MAX2, so_far, one);
    case CR_BIND_MIN: return cr_map2(g, CR_OP_MIN2, so_far, one);
    case CR_BIND_ALL: return cr_map2(g, CR_OP_AND, so_far, one);
    case CR_BIND_ANY: return cr_map2(g, CR_OP_OR, so_far, one);
    default: return CR_NONE;
    }
}

/* Of an empty range. */
static cr_ref neutral(cr_graph *g, cr_bind_kind kind, const cr_shape *shape)
{
    if (kind == CR_BIND_CHAIN) return cr_identity(g, shape->dim[0]);
    return cr_full(g, cr_const(g, kind == CR_BIND_PROD), shape->rank, shape->dim);
}

/* sum(i=1..3, f(i)) as f(1) + f(2) + f(3), if f(i) holds members of open index; CR_NONE without error: it does not,
 * or the range is open too: that of a sum in a sum, which the outer one writes out. */
static cr_ref write_out(unroller *u, cr_ref r)
{
    cr_graph *g = u->g;
    cr_ref body = in_of(g, r, 0), out = CR_NONE;
    cr_bind_kind kind = (cr_bind_kind)attr_of(g, r, 0);
    int64_t lo, hi;
    dim_sym s;
    if (!dim_is_symbol(g->dims, attr_of(g, r, 1), &s) || !holds_open_members(g, body)) return CR_NONE;
    if (!dim_value(g->dims, attr_of(g, r, 2), &lo) || !dim_value(g->dims, attr_of(g, r, 3), &hi)) return CR_NONE;
    const cr_shape *shape = shape_of(g, body);
    if (kind == CR_BIND_STACK) {
        if (shape->rank) return graph_fail(g, CR_EUNSUPPORTED, "a tensor of members cannot be unrolled");
        cr_ref *entry = mem_alloc((size_t)(hi - lo + 1) * sizeof *entry);
        if (!entry) return graph_fail(g, CR_ENOMEM, "out of memory");
        for (int64_t i = lo; i <= hi; i++)
            entry[i - lo] = rewrite(u, graph_subst_symbol(g, body, s, dim_const(g->dims, i)));
        out = cr_stack(g, (unsigned)(hi - lo + 1), entry, 1, (cr_dim[]){dim_const(g->dims, hi - lo + 1)});
        mem_free(entry);
        return out;
    }
    for (int64_t i = lo; i <= hi; i++) {
        cr_ref one = rewrite(u, graph_subst_symbol(g, body, s, dim_const(g->dims, i)));
        out = i == lo ? one : join(g, kind, out, one);
        if (!out) return CR_NONE;
    }
    return lo <= hi ? out : neutral(g, kind, shape);
}

static cr_ref rewrite(unroller *u, cr_ref r)
{
    cr_graph *g = u->g;
    size_t n;
    if (!valid(g, r)) return CR_NONE;
    cr_ref *cone = graph_cone(g, 1, &r, &n);
    cr_ref *new_of = cone ? mem_zalloc((size_t)r + 1, sizeof *new_of) : NULL, *in = NULL, out = CR_NONE;
    size_t in_cap = 0;
    bool *guarded = new_of ? graph_guarded(g, 1, &r) : NULL, ok = guarded != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        const cr_node *nd = node(g, cone[i]);
        bool changed = false;
        ok = VEC_RESERVE(in, in_cap, nd->n_in + 1);
        for (uint32_t k = 0; ok && k < nd->n_in; k++) {
            in[k] = new_of[nd->word[k]];
            changed |= in[k] != nd->word[k];
        }
        cr_ref to = cone[i];
        if (ok && nd->op == CR_OP_MEMBER) to = member_made(u, to, guarded[to]);
        else if (ok && nd->op == CR_OP_BIND && (to = write_out(u, cone[i])) != CR_NONE) changed = false;
        else if (ok) to = changed ? graph_remake(g, cone[i], in) : cone[i];
        new_of[cone[i]] = to;
        ok = ok && to && g->err.status == CR_OK;
    }
    if (ok) out = new_of[r];
    else if (g->err.status == CR_OK) graph_fail(g, CR_ENOMEM, "out of memory");
    mem_free(in);
    mem_free(guarded);
    mem_free(new_of);
    mem_free(cone);
    return out;
}

cr_ref cr_unroll(cr_graph *g, cr_ref a)
{
    if (!valid(g, a)) return CR_NONE;
    unroller u = {.g = g, .first = INT64_MAX, .last = INT64_MIN};
    u.family = family_closure(g, 1, &a, &u.n);
    bool ok = u.family != NULL;
    enum { MAX_MEMBERS = 1 << 22 };
    for (size_t i = 0; ok && i < u.n; i++)
        for (size_t k = 0; ok && k < g->family[u.family[i]].n_pieces; k++) {
            const family_piece *p = &g->family[u.family[i]].piece[k];
            int64_t lo, hi;
            if (!dim_value(g->dims, p->lo, &lo) || !dim_value(g->dims, p->hi, &hi)) {
                graph_fail(g, CR_EVALUE, "the depth of `%s` is not a number",
                           name_text(g->dims, g->family[u.family[i]].name));
                ok = false;
            } else if (lo <= hi) {
                if (lo < u.first) u.first = lo;
                if (hi > u.last) u.last = hi;
            }
        }
    if (ok && u.n && u.last - u.first >= MAX_MEMBERS / (int64_t)u.n) {
        graph_fail(g, CR_ELIMIT, "a recurrence of more than %d members cannot be unrolled", MAX_MEMBERS);
        ok = false;
    }
    size_t levels = u.n && ok ? (size_t)(u.last - u.first + 1) : 0;
    u.made = ok ? mem_zalloc(levels * u.n + 1, sizeof *u.made) : NULL;
    if (ok && !u.made) graph_fail(g, CR_ENOMEM, "out of memory");
    ok = u.made != NULL;
    for (size_t t = 0; ok && t < levels; t++)
        for (size_t i = 0; ok && i < u.n; i++) {
            cr_dim at = dim_const(g->dims, u.first + (int64_t)t);
            const family_piece *p = family_piece_at(g, u.family[i], at);
            if (!p) continue;
            u.made[t * u.n + i] = rewrite(&u, family_body_at(g, p, at));
            ok = u.made[t * u.n + i] != CR_NONE;
        }
    cr_ref out = ok ? rewrite(&u, a) : CR_NONE;
    if (out && holds_open_members(g, out)) out = graph_fail(g, CR_EVALUE, "the depth is not a number");
    mem_free(u.made);
    mem_free(u.family);
    return out;
}

cr_ref calc_write_out(cr_graph *g, cr_ref a, int64_t most)
{
    size_t n;
    cr_ref *cone = graph_cone(g, 1, &a, &n);
    cr_ref *new_of = cone ? mem_zalloc((size_t)a + 1, sizeof *new_of) : NULL, *in = NULL, out = CR_NONE;
    size_t in_cap = 0;
    bool ok = new_of != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        cr_ref r = cone[i];
        const cr_node *nd = node(g, r);
        bool changed = false;
        ok = VEC_RESERVE(in, in_cap, nd->n_in + 1);
        for (uint32_t k = 0; ok && k < nd->n_in; k++) {
            in[k] = new_of[nd->word[k]];
            changed |= in[k] != nd->word[k];
        }
        int64_t lo, hi;
        dim_sym s;
        bool few = ok && nd->op == CR_OP_BIND && attr_of(g, r, 0) != CR_BIND_STACK &&
                   dim_is_symbol(g->dims, attr_of(g, r, 1), &s) && dim_value(g->dims, attr_of(g, r, 2), &lo) &&
                   dim_value(g->dims, attr_of(g, r, 3), &hi) && hi - lo < most;
        if (few) {
            cr_bind_kind kind = (cr_bind_kind)attr_of(g, r, 0);
            cr_ref all = hi < lo ? neutral(g, kind, shape_of(g, in[0])) : CR_NONE, body = in[0];
            for (int64_t v = lo; v <= hi && (v == lo || all); v++) {
                cr_ref one = graph_subst_symbol(g, body, s, dim_const(g->dims, v));
                all = v == lo ? one : join(g, kind, all, one);
            }
            new_of[r] = all;
        } else if (ok) {
            new_of[r] = changed ? graph_remake(g, r, in) : r;
        }
        ok = ok && new_of[r] && g->err.status == CR_OK;
    }
    if (ok) out = new_of[a];
    else if (g->err.status == CR_OK) graph_fail(g, CR_ENOMEM, "out of memory");
    mem_free(in);
    mem_free(new_of);
    mem_free(cone);
    return out;
}
