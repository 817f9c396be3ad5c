/* Places of values in the slab: a sweep over the steps, best fit among the holes. A result takes over the memory of an
 * operand that ends with its step, where every place is read before it is written. */
#include "plan/plan.h"

#include <stdlib.h>
#include <string.h>

#define ALIGN ((size_t)64)

typedef struct hole {
    size_t from, to;
} hole;

typedef struct sweep {
    cr_plan *p;
    hole *hole; /* ascending, no two touch; the last one has no end */
    size_t n_hole, cap;
    size_t top; /* bytes in use at most */
} sweep;

static size_t bytes_of(const cr_plan *p, const plan_value *v)
{
    size_t n = plan_held(v) * kern_size(p->dtype);
    return n ? (n + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
}

static bool insert_hole(sweep *s, size_t at, hole h)
{
    if (!VEC_RESERVE(s->hole, s->cap, s->n_hole + 1)) return plan_no_memory(s->p);
    memmove(s->hole + at + 1, s->hole + at, (s->n_hole - at) * sizeof *s->hole);
    s->hole[at] = h;
    s->n_hole++;
    return true;
}

static void remove_hole(sweep *s, size_t at)
{
    s->n_hole--;
    memmove(s->hole + at, s->hole + at + 1, (s->n_hole - at) * sizeof *s->hole);
}

static void take(sweep *s, plan_value *v)
{
    size_t n = bytes_of(s->p, v), best = s->n_hole - 1;
    for (size_t i = 0; i < s->n_hole; i++) {
        size_t size = s->hole[i].to - s->hole[i].from, least = s->hole[best].to - s->hole[best].from;
        if (size >= n && size < least) best = i;
    }
    v->offset = s->hole[best].from;
    s->hole[best].from += n;
    if (v->offset + n > s->top) s->top = v->offset + n;
    if (s->hole[best].from == s->hole[best].to) remove_hole(s, best);
}

static bool give(sweep *s, const plan_value *v)
{
    size_t from = v->offset, to = from + bytes_of(s->p, v), i = 0;
    while (s->hole[i].from < from) i++; /* the last hole is beyond everything */
    bool before = i > 0 && s->hole[i - 1].to == from, after = s->hole[i].from == to;
    if (before && after) {
        s->hole[i - 1].to = s->hole[i].to;
        remove_hole(s, i);
    } else if (before) {
        s->hole[i - 1].to = to;
    } else if (after) {
        s->hole[i].from = from;
    } else {
        return insert_hole(s, i, (hole){from, to});
    }
    return true;
}

/* ---- lives -------------------------------------------------------------------------------------- */

static void touch(cr_plan *p, uint32_t value, uint32_t step)
{
    plan_value *v = &p->value[value];
    if (v->first == PLAN_NONE || step < v->first) v->first = step;
    if (v->last == PLAN_NONE || step > v->last) v->last = step;
}

static void touch_all(cr_plan *p, const plan_op *x, uint32_t step)
{
    if (x->kind == PLAN_LOOP) {
        for (size_t i = 0; i < x->u.loop->n_op; i++) touch_all(p, &x->u.loop->op[i], step);
        return;
    }
    for (unsigned k = 0; k < x->n_in; k++) {
        if (x->in[k].source == SOURCE_VALUE) touch(p, x->in[k].value, step);
    }
    touch(p, x->out, step);
}

/* The reader runs the loop again; what that reads is in use until then. */
static void touch_checkpoint(cr_plan *p, const plan_checkpoint *c)
{
    for (size_t i = 0; i < c->n_pin; i++) touch(p, c->pin[i].value, c->loop);
    if (c->reader == PLAN_NONE) return;
    touch_all(p, c->op, c->reader);
    for (size_t i = 0; i < c->n_table; i++) {
        touch(p, c->table[i].saved, c->loop);
        touch(p, c->table[i].saved, c->reader);
    }
}

/* ---- taking over -------------------------------------------------------------------------------- */

typedef struct reader { /* of a value, in the last step that it is used by */
    size_t last;    /* operation that reads it last */
    bool elsewhere; /* some operation reads another place than it writes */
} reader;

bool plan_reads_in_place(const plan_op *x, const plan_operand *v)
{
    return !v->offset && !v->loop && plan_is_row_major(x->rank, x->dim, v->stride);
}

/* A loop that runs again, bit by bit, while the last step that uses a value does. */
static void note_reruns(const cr_plan *p, reader *r)
{
    for (size_t i = 0; i < p->n_checkpoint; i++) {
        const plan_checkpoint *c = p->checkpoint[i];
        for (size_t k = 0; c->reader != PLAN_NONE && k < c->op->u.loop->n_op; k++) {
            const plan_op *x = &c->op->u.loop->op[k];
            for (unsigned j = 0; j < x->n_in; j++) {
                uint32_t v = x->in[j].value;
                if (x->in[j].source == SOURCE_VALUE) r[v].elsewhere |= p->value[v].last == c->reader;
            }
        }
    }
}

static void note_readers(const cr_plan *p, reader *r, uint32_t first)
{
    for (size_t i = 0; i < p->body.n_op; i++) {
        const plan_op *x = &p->body.op[i];
        for (unsigned k = 0; k < x->n_in; k++) {
            if (x->in[k].source != SOURCE_VALUE) continue;
            reader *at = &r[x->in[k].value];
            if (x->group - first != p->value[x->in[k].value].last) continue;
            at->last = i;
            at->elsewhere |= !plan_reads_in_place(x, &x->in[k]);
        }
    }
}

static bool can_take_over(const cr_plan *p, const reader *r, const plan_op *x, size_t i, uint32_t from, uint32_t step)
{
    const plan_value *o = &p->value[from], *v = &p->value[x->out];
    return o->place == PLACE_SLAB && o->stored && !o->parts && o->last == step && o->first < step && o->n == v->n &&
           r[from].last <= i && !r[from].elsewhere;
}

/* Values that take over the memory of an operand; *taken: by value, its memory goes on. */
static void choose_same(cr_plan *p, const reader *r, bool *taken, uint32_t first)
{
    for (size_t i = 0; i < p->body.n_op; i++) {
        const plan_op *x = &p->body.op[i];
        if (x->kind != PLAN_MAP || x->part) continue;
        plan_value *v = &p->value[x->out];
        if (v->place != PLACE_SLAB || !v->stored || v->parts) continue;
        for (unsigned k = 0; k < x->n_in && v->same == PLAN_NONE; k++) {
            uint32_t from = x->in[k].value;
            if (x->in[k].source != SOURCE_VALUE || taken[from]) continue;
            if (can_take_over(p, r, x, i, from, x->group - first)) {
                v->same = from;
                taken[from] = true;
            }
        }
    }
}

/* ---- sweep -------------------------------------------------------------------------------------- */

typedef struct event {
    uint32_t value, step;
    size_t bytes;
} event;

static int by_step(const void *a, const void *b)
{
    const event *x = a, *y = b;
    if (x->step != y->step) return x->step < y->step ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1; /* the largest first */
    return x->value < y->value ? -1 : x->value > y->value;
}

static bool place_all(sweep *s, const bool *taken, event *begin, event *end)
{
    cr_plan *p = s->p;
    size_t n = 0, done = 0;
    for (uint32_t i = 0; i < p->n_value; i++) {
        const plan_value *v = &p->value[i];
        if (!plan_in_slab(v) || !v->stored || v->first == PLAN_NONE) continue;
        begin[n] = (event){i, v->first, bytes_of(p, v)};
        end[n++] = (event){i, v->last, 0};
    }
    if (n == 0) return true;
    qsort(begin, n, sizeof *begin, by_step);
    qsort(end, n, sizeof *end, by_step);
    for (size_t i = 0; i < n; i++) {
        plan_value *v = &p->value[begin[i].value];
        for (; end[done].step < v->first; done++) {
            if (!taken[end[done].value] && !give(s, &p->value[end[done].value])) return false;
        }
        if (v->same != PLAN_NONE) v->offset = p->value[v->same].offset;
        else take(s, v);
    }
    return true;
}

size_t plan_scratch(const plan_body *b)
{
    size_t most = 0, prepared = 0;
    for (size_t i = 0; i < b->n_step; i++) {
        const plan_step *s = &b->step[i];
        size_t n = s->kind == PLAN_LOOP ? plan_scratch(s->op->u.loop) : s->scratch;
        if (s->block) prepared += n;
        else most = n > most ? n : most;
    }
    return prepared + most;
}

bool plan_place_values(cr_plan *p)
{
    uint32_t first = plan_first_group(p);
    reader *r = mem_alloc((p->n_value + 1) * sizeof *r);
    bool *taken = mem_zalloc(p->n_value + 1, sizeof *taken);
    event *begin = mem_alloc((p->n_value + 1) * sizeof *begin), *end = mem_alloc((p->n_value + 1) * sizeof *end);
    sweep s = {.p = p};
    bool ok = r && taken && begin && end ? true : plan_no_memory(p);
    for (size_t i = 0; ok && i < p->n_value; i++) {
        p->value[i].first = p->value[i].last = p->value[i].same = PLAN_NONE;
        r[i] = (reader){0};
    }
    for (size_t i = 0; ok && i < p->body.n_op; i++) touch_all(p, &p->body.op[i], p->body.op[i].group - first);
    for (size_t i = 0; ok && i < p->n_checkpoint; i++) touch_checkpoint(p, p->checkpoint[i]);
    if (ok) {
        note_readers(p, r, first);
        note_reruns(p, r);
        choose_same(p, r, taken, first);
    }
    ok = ok && insert_hole(&s, 0, (hole){0, SIZE_MAX}) && place_all(&s, taken, begin, end);
    p->scratch = s.top;
    p->slab = s.top + (plan_scratch(&p->body) + 7) / 8 * 8 + p->n_checkpoint * sizeof(int64_t); /* plan_run.start */
    mem_free(s.hole);
    mem_free(r);
    mem_free(taken);
    mem_free(begin);
    mem_free(end);
    return ok;
}
