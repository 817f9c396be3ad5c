/* Families: a table of members each, filled by loops over the index, or at single indices; members are views of it. */
#include "plan/lower.h"

#include <stdlib.h>
#include <string.h>

static lower_family *family_of(lower *l, cr_family f)
{
    for (size_t i = 0; i < l->n_family; i++) {
        if (l->family[i].family == f) return &l->family[i];
    }
    return NULL;
}

static bool is_defined(const void *user, int64_t i)
{
    const lower_family *f = user;
    for (size_t k = 0; k < f->n_pieces; k++) {
        if (f->lo[k] <= i && i <= f->hi[k]) return true;
    }
    return false;
}

/* Is d the index of the members that are being lowered, whatever the piece's name for it is? */
static bool is_index(const lower *l, cr_dim d)
{
    dim_sym s;
    if (!dim_is_symbol(l->g->dims, d, &s) || s >= l->n_axis_of) return false;
    for (size_t i = 0; i < l->n_family; i++) {
        if (l->family[i].now != PLAN_NONE && l->axis_of[s] == l->family[i].now) return true;
    }
    return false;
}

/* Member `index` of a family: what its piece has just given there; else an entry of the table. */
static bool lower_family_member(lower *l, cr_ref r, lower_tensor *out)
{
    cr_dim index = attr_of(l->g, r, 1);
    lower_family *f = family_of(l, attr_of(l->g, r, 0));
    if (!f) {
        plan_fail(l->plan, CR_EINTERNAL, "a family that no output rests on");
        return false;
    }
    if (f->member && is_index(l, index)) {
        *out = *f->member;
        return true;
    }
    lower_tensor table = {.source = SOURCE_VALUE, .value = f->table, .rank = f->rank + 1,
                          .dim = {f->last - f->first + 1}, .stride = {(int64_t)f->n}};
    memcpy(table.dim + 1, f->dim, f->rank * sizeof *f->dim);
    memcpy(table.stride + 1, f->stride, f->rank * sizeof *f->stride);
    lower_entries e = {.first = f->first, .have = is_defined, .user = f, .guarded = lower_guarded(l, r),
                       .what = name_text(l->g->dims, l->g->family[f->family].name)};
    return (!l->loop || lower_depend(l, &table, l->loop_axis)) && lower_pick(l, &table, 0, index, &e, out);
}

bool lower_member(lower *l, cr_ref r, lower_tensor *out)
{
    if (op_of(l->g, r) == CR_OP_MEMBER) return lower_family_member(l, r, out);
    cr_ref w = in_of(l->g, r, 0);
    lower_entries e = {.guarded = lower_guarded(l, r)};
    if (op_of(l->g, w) == CR_OP_PARAM) e.what = name_text(l->g->dims, (dim_sym)attr_of(l->g, w, 0));
    return exec_dim(l->env, family_first(l->g, w), "an index", &e.first) &&
           lower_pick(l, lower_input(l, w), 0, attr_of(l->g, r, 0), &e, out);
}

/* ---- tables ------------------------------------------------------------------------------------- */

static bool table_init(lower *l, lower_family *f, cr_family id)
{
    const family *fam = &l->g->family[id];
    size_t n;
    *f = (lower_family){.family = id, .n_pieces = fam->n_pieces, .first = INT64_MAX, .last = INT64_MIN,
                        .now = PLAN_NONE};
    f->lo = mem_alloc((f->n_pieces + 1) * sizeof *f->lo);
    f->hi = mem_alloc((f->n_pieces + 1) * sizeof *f->hi);
    if (!f->lo || !f->hi) return plan_no_memory(l->plan);
    cr_ref like = cr_member(l->g, id, dim_const(l->g->dims, 0));
    if (!like || !exec_shape(l->env, like, f->dim, &f->n)) return false;
    f->rank = shape_of(l->g, like)->rank;
    int64_t stride = 1;
    for (unsigned k = f->rank; k-- > 0;) {
        f->stride[k] = f->dim[k] > 1 ? stride : 0;
        stride *= f->dim[k];
    }
    for (size_t i = 0; i < f->n_pieces; i++) {
        fam = &l->g->family[id];
        if (!exec_dim(l->env, fam->piece[i].lo, "an index", &f->lo[i]) ||
            !exec_dim(l->env, fam->piece[i].hi, "an index", &f->hi[i])) {
            return false;
        }
        if (f->lo[i] > f->hi[i]) continue;
        if (f->lo[i] < f->first) f->first = f->lo[i];
        if (f->hi[i] > f->last) f->last = f->hi[i];
    }
    if (f->first > f->last) f->first = 0, f->last = -1;
    n = (size_t)(f->last - f->first + 1);
    if (f->n && n > (size_t)EXEC_MAX_ENTRIES / f->n) {
        plan_fail(l->plan, CR_ELIMIT, "%s has more than %lld entries", name_text(l->g->dims, fam->name),
                  (long long)EXEC_MAX_ENTRIES);
        return false;
    }
    f->table = plan_value_new(l->plan, n * f->n);
    return f->table != PLAN_NONE;
}

static const family_piece *piece_at(const lower *l, const lower_family *f, int64_t at)
{
    for (size_t i = 0; i < f->n_pieces; i++) {
        if (f->lo[i] <= at && at <= f->hi[i]) return &l->g->family[f->family].piece[i];
    }
    return NULL;
}

/* member to its place in the table, for all indices of the segment that begins with `from`. */
static bool store_member(lower *l, lower_family *f, int64_t from, bool loop)
{
    lower_frame frame;
    const lower_tensor *t = f->member;
    lower_view in, to = {.source = SOURCE_VALUE, .value = f->table, .offset = (from - f->first) * (int64_t)f->n,
                         .loop = loop ? (int64_t)f->n : 0};
    if (f->n == 0) return true;
    if (!lower_frame_init(l, &frame, 1, &t, f->rank, f->dim)) return false;
    if (loop) frame.loop = l->loop_axis;
    lower_view_of(l, &frame, t, NULL, &in);
    memcpy(to.stride + frame.n_context, f->stride, f->rank * sizeof *f->stride);
    return lower_store(l, &frame, &in, &to);
}

static bool lower_piece(lower *l, lower_family *f, const family_piece *p, int64_t from, bool loop)
{
    bool *outer = l->guarded;
    size_t n_outer = l->n_guarded;
    l->guarded = graph_guarded(l->g, 1, &p->body);
    l->n_guarded = (size_t)p->body + 1;
    lower_tensor body;
    bool ok = l->guarded && lower_expression(l, p->body, &body);
    mem_free(l->guarded);
    l->guarded = outer;
    l->n_guarded = n_outer;
    if (!ok) return false;
    f->member = arena_alloc(&l->mem, sizeof *f->member);
    if (!f->member) return plan_no_memory(l->plan);
    *f->member = body;
    ok = store_member(l, f, from, loop);
    lower_forget(l);
    return ok;
}

/* Members from..to of all families, each of which has one definition there, or none. */
static bool lower_segment(lower *l, int64_t from, int64_t to)
{
    bool loop = to > from, ok = true;
    lower_forget(l);
    plan_body *body = NULL;
    uint32_t *before = mem_alloc((l->n_family + 1) * sizeof *before);
    if (!before) return plan_no_memory(l->plan);
    if (loop) {
        body = arena_alloc(&l->plan->mem, sizeof *body);
        if (!body) ok = plan_no_memory(l->plan);
        else *body = (plan_body){.lo = from, .hi = to};
        l->loop = body;
    }
    for (size_t i = 0; i < l->n_family; i++) {
        l->family[i].now = PLAN_NONE;
        l->family[i].member = NULL;
    }
    for (size_t i = 0; ok && i < l->n_family; i++) { /* all indices before all bodies: these look at each other */
        const family_piece *p = piece_at(l, &l->family[i], from);
        if (!p) continue;
        if (loop) body->name = name_text(l->g->dims, l->g->family[l->family[i].family].name);
        uint32_t axis = lower_axis_push(l, p->index, from, to - from + 1, loop, &before[i]);
        ok = axis != PLAN_NONE;
        if (ok) l->family[i].now = l->loop_axis = axis;
    }
    for (size_t i = 0; ok && i < l->n_family; i++) {
        const family_piece *p = piece_at(l, &l->family[i], from);
        ok = !p || lower_piece(l, &l->family[i], p, from, loop);
    }
    for (size_t i = l->n_family; i-- > 0;) {
        if (l->family[i].now != PLAN_NONE) lower_axis_pop(l, l->family[i].now, before[i]);
        l->family[i].now = PLAN_NONE;
        l->family[i].member = NULL;
    }
    mem_free(before);
    if (body) {
        plan_op *x = ok ? plan_op_new(l->plan, &l->plan->body) : NULL;
        l->loop = NULL;
        if (x) {
            *x = (plan_op){.kind = PLAN_LOOP, .out = PLAN_NONE, .u.loop = body};
        } else {
            mem_free(body->op);
            ok = false;
        }
    }
    return ok;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

bool lower_families(lower *l, unsigned n_roots, const cr_ref *roots)
{
    size_t n, n_cut = 0, pieces = 0;
    cr_family *list = family_closure(l->g, n_roots, roots, &n);
    if (!list) return false;
    l->family = mem_zalloc(n + 1, sizeof *l->family);
    bool ok = l->family ? exec_families_fit(l->env, list, n) : plan_no_memory(l->plan);
    for (size_t i = 0; ok && i < n; i++) {
        ok = table_init(l, &l->family[l->n_family++], list[i]);
        pieces += ok ? l->family[i].n_pieces : 0;
    }
    mem_free(list);
    int64_t *cut = ok ? mem_alloc((2 * pieces + 1) * sizeof *cut) : NULL;
    if (ok && !cut) ok = plan_no_memory(l->plan);
    for (size_t i = 0; ok && i < l->n_family; i++) { /* where some definition begins, or has ended */
        for (size_t k = 0; k < l->family[i].n_pieces; k++) {
            if (l->family[i].lo[k] > l->family[i].hi[k]) continue;
            cut[n_cut++] = l->family[i].lo[k];
            cut[n_cut++] = l->family[i].hi[k] + 1;
        }
    }
    if (n_cut) qsort(cut, n_cut, sizeof *cut, by_value);
    for (size_t i = 0; ok && i + 1 < n_cut; i++) {
        ok = cut[i] == cut[i + 1] || lower_segment(l, cut[i], cut[i + 1] - 1);
    }
    mem_free(cut);
    lower_forget(l);
    return ok;
}
