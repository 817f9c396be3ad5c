/* Checkpoints: loops in segments, whose tables hold the members of one segment at a time (plan_checkpoint in plan.h).
 *
 * A table may be used so if, beside its loop, one region with a backward order reads it, every row one member on from
 * the row before; or none does. What looks at a single member elsewhere gets a copy of it (a pin). Whatever else reads
 * or writes members sees the first segment if it runs before the loop, the last one if after it and before the reader.
 * All of this says how far back the members in memory have to reach, the lag of the table; where that is too much to
 * save any memory, the table stays whole. */
#include "plan/region.h"

#include <string.h>

typedef struct table { /* of the loop that is looked at */
    uint32_t value;
    int64_t member, n;   /* entries of a member, members */
    int64_t shift;       /* the loop's index 0 makes the member of this number */
    int64_t low, high;   /* members that row 0 of the reader looks at; low > high: none */
    int64_t lag;
} table;

typedef struct looking {
    cr_plan *p;
    uint32_t first;         /* group of step 0 */
    uint32_t loop, reader;  /* steps */
    const plan_op *op;
    int64_t count;          /* indices of the loop */
    table *table;
    size_t n_table, table_cap;
    uint32_t *table_of;     /* by value, NO_TABLE and OF_LOOP among them */
    plan_pin *pin;
    size_t n_pin, pin_cap;
    uint32_t last;          /* step that looks at the last segment */
    int64_t length, delay;
    bool fits;              /* segments are possible */
} looking;

#define NO_TABLE UINT32_MAX
#define OF_LOOP (UINT32_MAX - 1) /* made by the loop, but no table */

typedef struct extent { /* entries or members, both included */
    int64_t low, high;
} extent;

static void widen(extent *e, int64_t size, int64_t stride)
{
    int64_t step = (size - 1) * stride;
    if (step < 0) e->low += step;
    else e->high += step;
}

/* Members of t that x looks at through its operand v, along its axes from `axis` on; false: who knows. */
static bool members_of(const table *t, const plan_op *x, const plan_operand *v, unsigned axis, extent *e)
{
    *e = (extent){v->offset, v->offset};
    if (!plan_by_places(x) && x->kind != PLAN_PRODUCT) return false;
    for (unsigned k = axis; k < x->rank; k++) widen(e, x->dim[k], v->stride[k]);
    if (x->kind == PLAN_PRODUCT) {
        const gemm_shape *s = &x->u.product;
        bool a = v == &x->in[0];
        widen(e, (int64_t)s->batch, a ? s->a_batch : s->b_batch);
        widen(e, (int64_t)s->k, a ? s->a_k : s->b_k);
        widen(e, (int64_t)(a ? s->m : s->n), a ? s->a_m : s->b_n);
    }
    *e = (extent){dim_floor_i64(e->low, t->member), dim_floor_i64(e->high, t->member)};
    return true;
}

static void need_lag(table *t, int64_t lag)
{
    if (lag > t->lag) t->lag = lag;
}

/* ---- the loop ----------------------------------------------------------------------------------- */

static bool find_tables(looking *l)
{
    const plan_body *b = l->op->u.loop;
    memset(l->table_of, 0xff, l->p->n_value * sizeof *l->table_of);
    for (size_t i = 0; i < b->n_op; i++) {
        const plan_op *x = &b->op[i];
        const plan_value *v = &l->p->value[x->out];
        uint32_t *at = &l->table_of[x->out];
        if (!x->part || x->to.loop == 0) {
            l->fits &= *at == NO_TABLE || *at == OF_LOOP;
            *at = OF_LOOP;
            continue;
        }
        if (!VEC_RESERVE(l->table, l->table_cap, l->n_table + 1)) return plan_no_memory(l->p);
        l->fits &= *at == NO_TABLE && v->place == PLACE_SLAB && x->to.loop > 0 && x->to.offset % x->to.loop == 0;
        *at = (uint32_t)l->n_table;
        l->table[l->n_table++] = (table){.value = x->out, .member = x->to.loop, .n = (int64_t)v->n / x->to.loop,
                                         .shift = x->to.offset / x->to.loop, .low = INT64_MAX, .high = INT64_MIN};
    }
    return true;
}

static table *table_at(looking *l, const plan_operand *v)
{
    uint32_t at = v->source == SOURCE_VALUE ? l->table_of[v->value] : NO_TABLE;
    if (at == OF_LOOP) l->fits = false;
    return at < OF_LOOP ? &l->table[at] : NULL;
}

static void look_at_body(looking *l)
{
    const plan_body *b = l->op->u.loop;
    for (size_t i = 0; i < b->n_op; i++) {
        const plan_op *x = &b->op[i];
        for (unsigned k = 0; k < x->n_in; k++) {
            const plan_operand *v = &x->in[k];
            uint32_t at = v->source == SOURCE_VALUE ? l->table_of[v->value] : NO_TABLE;
            if (at >= OF_LOOP) continue;
            table *t = &l->table[at];
            extent e;
            l->fits &= members_of(t, x, v, 0, &e) && (v->loop == 0 || v->loop == t->member) && e.high <= t->shift;
            need_lag(t, t->shift - e.low + (v->loop ? 0 : l->count - 1));
        }
    }
}

/* ---- other steps -------------------------------------------------------------------------------- */

static bool pin(looking *l, const table *t, int64_t at)
{
    for (size_t i = 0; i < l->n_pin; i++) {
        if (l->pin[i].table == t->value && l->pin[i].at == at) return true;
    }
    if (!VEC_RESERVE(l->pin, l->pin_cap, l->n_pin + 1)) return plan_no_memory(l->p);
    l->pin[l->n_pin++] = (plan_pin){.table = t->value, .index = at - t->shift, .at = at};
    return true;
}

static bool is_reader(const region *r) { return r && r->order < 0 && r->split == 1; }

/* Step number `step` looks at v, or writes there. */
static bool look_at(looking *l, table *t, const plan_op *x, const plan_operand *v, uint32_t step, bool writes)
{
    extent e = {0, t->n - 1}, row;
    bool known = members_of(t, x, v, 0, &e), made = e.low < t->shift + l->count;
    if (!known) e = (extent){0, t->n - 1};
    if (step < l->loop) {
        need_lag(t, t->shift - e.low);
        l->fits &= e.high < t->shift;
        return true;
    }
    if (known && !writes && e.low == e.high && made) {
        need_lag(t, t->shift - e.low); /* where it was there before the loop */
        return pin(l, t, e.low);
    }
    bool by_rows = known && !writes && is_reader(l->p->body.step[step].region) && x->rank > 0 &&
                   v->stride[0] == t->member && (l->reader == PLAN_NONE || l->reader == step) &&
                   members_of(t, x, v, 1, &row);
    if (by_rows) {
        l->reader = step;
        if (row.low < t->low) t->low = row.low;
        if (row.high > t->high) t->high = row.high;
    } else {
        need_lag(t, t->shift + l->count - 1 - e.low);
        if (step > l->last) l->last = step;
    }
    return true;
}

static bool look_at_op(looking *l, const plan_op *x, uint32_t step)
{
    bool ok = true;
    if (x->kind == PLAN_LOOP) { /* another one: it may look anywhere */
        for (size_t i = 0; i < x->u.loop->n_op; i++) {
            const plan_op *y = &x->u.loop->op[i];
            for (unsigned k = 0; k < y->n_in; k++) l->fits &= !table_at(l, &y->in[k]);
            l->fits &= l->table_of[y->out] == NO_TABLE;
        }
        return true;
    }
    for (unsigned k = 0; ok && k < x->n_in; k++) {
        table *t = table_at(l, &x->in[k]);
        if (t) ok = look_at(l, t, x, &x->in[k], step, false);
    }
    plan_operand to = {.source = SOURCE_VALUE, .value = x->out};
    table *t = table_at(l, &to);
    l->fits &= !t || x->part;
    return ok && (!t || !x->part || look_at(l, t, x, &x->to, step, true));
}

/* What the reader's rows mean for the lags. */
static void look_at_rows(looking *l)
{
    if (l->reader == PLAN_NONE) return;
    const region *r = l->p->body.step[l->reader].region;
    int64_t delay = INT64_MAX;
    for (size_t i = 0; i < l->n_table; i++) {
        const table *t = &l->table[i];
        if (t->low <= t->high && t->shift - t->high < delay) delay = t->shift - t->high;
    }
    l->delay = delay;
    l->fits &= l->last < l->reader && (int64_t)r->rows - 1 - delay <= l->count;
    l->fits &= !l->p->body.step[l->reader].checkpoint; /* of another loop */
    for (size_t i = 0; i < l->n_table; i++) {
        table *t = &l->table[i];
        if (t->low <= t->high) need_lag(t, t->shift - t->low - (delay < 0 ? delay : 0));
    }
}

static bool look(looking *l)
{
    cr_plan *p = l->p;
    if (!find_tables(l)) return false;
    look_at_body(l);
    for (size_t i = 0; l->fits && i < p->body.n_op; i++) {
        const plan_op *x = &p->body.op[i];
        if (x != l->op && !look_at_op(l, x, x->group - l->first)) return false;
    }
    if (l->fits) look_at_rows(l);
    return true;
}

/* ---- lengths ------------------------------------------------------------------------------------ */

static plan_checkpoint with_length(const looking *l, int64_t length)
{
    const region *r = l->reader == PLAN_NONE ? NULL : l->p->body.step[l->reader].region;
    int64_t rows = r ? (int64_t)r->rows : l->count;
    return (plan_checkpoint){.op = l->op, .loop = l->loop, .reader = l->reader, .count = l->count, .rows = rows,
                             .length = length, .delay = l->delay, .segments = (size_t)((rows + length - 1) / length)};
}

/* Members that table t holds at a time. */
static int64_t held_of(const plan_checkpoint *c, const table *t)
{
    int64_t longest = plan_segment(c, 1), last = c->count - plan_segment(c, c->segments - 1);
    longest = longest < c->length && c->segments > 1 ? c->length : longest;
    return t->lag + (longest < last ? last : longest) + t->n - (t->shift + c->count);
}

static double whole_bytes(const looking *l)
{
    double n = 0;
    for (size_t i = 0; i < l->n_table; i++) n += (double)l->p->value[l->table[i].value].n;
    return n * (double)kern_size(l->p->dtype);
}

static double bytes_of(const looking *l, int64_t length)
{
    plan_checkpoint c = with_length(l, length);
    double n = 0, saved = l->reader == PLAN_NONE ? 0 : (double)(c.segments - 1);
    for (size_t i = 0; i < l->n_table; i++) {
        const table *t = &l->table[i];
        n += ((double)held_of(&c, t) + saved * (double)t->lag) * (double)t->member;
    }
    return n * (double)kern_size(l->p->dtype);
}

/* Rows that a segment's are a multiple of: so its reader's blocks are those that it has without segments, and the bits
 * of its sums, too. */
static int64_t grain_of(const looking *l)
{
    return l->reader == PLAN_NONE ? 1 : (int64_t)l->p->body.step[l->reader].region->block_rows;
}

static bool choose_length(looking *l, cr_checkpoints which, size_t limit)
{
    double whole = whole_bytes(l), least = whole;
    int64_t grain = grain_of(l), rows = with_length(l, 1).rows, root = 1;
    if (which == CR_CHECKPOINT_SQRT) {
        while (root * root < rows) root++;
        l->length = (root + grain - 1) / grain * grain;
        l->fits &= l->length < rows && bytes_of(l, l->length) < whole;
        return true;
    }
    if (whole <= (double)limit) {
        l->fits = false;
        return true;
    }
    for (int64_t length = (rows - 1) / grain * grain; l->fits && length > 0; length -= grain) {
        double bytes = bytes_of(l, length);
        l->length = length;
        if (bytes <= (double)limit) return true;
        least = bytes < least ? bytes : least;
    }
    plan_fail(l->p, CR_ELIMIT, "the members of %s need %.0f bytes%s; %zu are allowed", l->op->u.loop->name, least,
              least < whole ? " with the best checkpoints" : " and cannot have checkpoints", limit);
    return false;
}

/* ---- doing it ----------------------------------------------------------------------------------- */

/* v, an operand of x, to the copy of the member that it looks at. */
static void redirect(const looking *l, const plan_checkpoint *c, const plan_op *x, plan_operand *v)
{
    extent e;
    if (v->source != SOURCE_VALUE || l->table_of[v->value] >= OF_LOOP) return;
    const table *t = &l->table[l->table_of[v->value]];
    if (!members_of(t, x, v, 0, &e) || e.low != e.high) return;
    for (size_t i = 0; i < c->n_pin; i++) {
        if (c->pin[i].table != t->value || c->pin[i].at != e.low) continue;
        v->value = c->pin[i].value;
        v->offset -= e.low * t->member;
        return;
    }
}

static void redirect_all(looking *l, const plan_checkpoint *c)
{
    plan_body *b = &l->p->body;
    for (size_t i = 0; i < b->n_op; i++) {
        plan_op *x = &b->op[i];
        if (x->group - l->first <= l->loop || x->kind == PLAN_LOOP) continue;
        for (unsigned k = 0; k < x->n_in; k++) redirect(l, c, x, &x->in[k]);
    }
    for (size_t i = l->loop + (size_t)1; i < b->n_step; i++) {
        region *r = b->step[i].region;
        for (size_t k = 0; r && k < r->n_slot; k++) { /* as operands of an operation over the same domain */
            region_slot *s = &r->slot[k];
            plan_op like = {.kind = PLAN_MAP, .rank = (uint8_t)(s->row ? r->split : r->rank)};
            memcpy(like.dim, r->dim, sizeof like.dim);
            if (s->kind == SLOT_MEMORY) redirect(l, c, &like, &s->view);
        }
    }
}

static uint32_t stored_value(cr_plan *p, int64_t n)
{
    uint32_t v = plan_value_new(p, (size_t)n);
    if (v != PLAN_NONE) p->value[v].stored = true;
    return v;
}

static bool make_ring(looking *l, plan_checkpoint *c, const table *t)
{
    plan_table *to = &c->table[c->n_table++];
    *to = (plan_table){.value = t->value, .saved = PLAN_NONE, .lag = t->lag};
    if (c->reader != PLAN_NONE) {
        to->saved = stored_value(l->p, (int64_t)(c->segments - 1) * t->lag * t->member);
        if (to->saved == PLAN_NONE) return false;
    }
    plan_value *v = &l->p->value[t->value];
    v->place = PLACE_RING;
    v->index = c->number;
    v->member = t->member;
    v->origin = (t->shift - t->lag) * t->member;
    v->held = (size_t)(held_of(c, t) * t->member);
    return true;
}

static bool make_checkpoint(looking *l)
{
    cr_plan *p = l->p;
    plan_checkpoint *c = arena_alloc(&p->mem, sizeof *c);
    if (!c || !VEC_RESERVE(p->checkpoint, p->checkpoint_cap, p->n_checkpoint + 1)) return plan_no_memory(p);
    *c = with_length(l, l->length);
    c->number = (uint32_t)p->n_checkpoint;
    c->table = arena_alloc(&p->mem, l->n_table * sizeof *c->table);
    c->pin = arena_alloc(&p->mem, (l->n_pin + 1) * sizeof *c->pin);
    if (!c->table || !c->pin) return plan_no_memory(p);
    for (size_t i = 0; i < l->n_table; i++) {
        if (!make_ring(l, c, &l->table[i])) return false;
    }
    for (; c->n_pin < l->n_pin; c->n_pin++) {
        plan_pin *at = &c->pin[c->n_pin];
        *at = l->pin[c->n_pin];
        at->value = stored_value(p, p->value[at->table].member);
        if (at->value == PLAN_NONE) return false;
    }
    redirect_all(l, c);
    plan_body *b = c->op->u.loop;
    if (b->split) { /* a segment at a time is less to share out */
        region_share(b->step[0].region, (double)l->length);
        b->step[0].scratch = region_scratch(b->step[0].region, p->threads);
    }
    p->checkpoint[p->n_checkpoint++] = c;
    p->body.step[c->loop].checkpoint = c;
    if (c->reader != PLAN_NONE) {
        plan_step *s = &p->body.step[c->reader];
        s->checkpoint = c;
        c->scratch = (plan_scratch(c->op->u.loop) + 63) / 64 * 64;
        s->scratch = c->scratch + region_scratch_rows(s->region, p->threads);
    }
    return true;
}

static bool checkpoint_loop(cr_plan *p, const plan_op *x, uint32_t first, uint32_t *table_of, cr_checkpoints which,
                            size_t bytes)
{
    const plan_body *b = x->u.loop;
    looking l = {.p = p, .first = first, .loop = x->group - first, .reader = PLAN_NONE, .op = x, .table_of = table_of,
                 .count = b->hi - b->lo + 1, .fits = true};
    bool ok = look(&l) && choose_length(&l, which, bytes) && (!l.fits || make_checkpoint(&l));
    mem_free(l.table);
    mem_free(l.pin);
    return ok;
}

bool plan_checkpoints(cr_plan *p, cr_checkpoints which, size_t bytes)
{
    if (which == CR_STORE_ALL) return true;
    uint32_t first = plan_first_group(p);
    bool ok = true;
    for (size_t i = 0; ok && i < p->body.n_op; i++) {
        if (p->body.op[i].kind != PLAN_LOOP) continue;
        uint32_t *table_of = mem_alloc((p->n_value + 1) * sizeof *table_of); /* each may add values */
        ok = table_of ? checkpoint_loop(p, &p->body.op[i], first, table_of, which, bytes) : plan_no_memory(p);
        mem_free(table_of);
    }
    return ok;
}
