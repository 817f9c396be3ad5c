/* Running a plan: its steps one after the other. Nothing is allocated here. */
#include "plan/region.h"

#include <math.h>
#include <string.h>

static size_t places(const plan_op *x)
{
    size_t n = 1;
    for (unsigned k = 0; k < x->rank; k++) n *= (size_t)x->dim[k];
    return n;
}

void plan_move(const plan_run *r, const plan_op *x, size_t place, unsigned n, const plan_operand *const *v, char **at)
{
    int64_t size = (int64_t)kern_size(r->plan->dtype);
    for (unsigned k = x->rank; k-- > 0;) {
        int64_t i = (int64_t)(place % (size_t)x->dim[k]);
        place /= (size_t)x->dim[k];
        for (unsigned j = 0; j < n; j++) at[j] += i * v[j]->stride[k] * size;
    }
}

/* Products and convolutions, over the axes that they do not have themselves. */
static void run_each(const plan_run *r, const plan_step *s, char *scratch, int64_t index)
{
    const plan_op *x = s->op;
    const plan_operand *v[3] = {&x->in[0], &x->in[1], &x->to};
    for (size_t i = 0, n = places(x); i < n; i++) {
        char *at[3] = {plan_entry(r, v[0], index), plan_entry(r, v[1], index), plan_entry(r, v[2], index)};
        plan_move(r, x, i, 3, v, at);
        if (x->kind == PLAN_PRODUCT) {
            gemm_run(&s->product, at[0], at[1], at[2], scratch);
        } else {
            conv_slot value = x->u.conv->value;
            void *slot[3];
            slot[value == CONV_X ? CONV_Y : CONV_X] = at[0];
            slot[value == CONV_W ? CONV_Y : CONV_W] = at[1];
            slot[value] = at[2];
            conv_run(s->conv, slot, scratch);
        }
    }
}

static void run_gather(const plan_run *r, const plan_op *x, int64_t index)
{
    size_t size = kern_size(r->plan->dtype), n = 1;
    const char *in = plan_entry(r, &x->in[0], index);
    char *out = plan_pointer(r, x->out);
    const kern_table *t = kern_table_of(r->plan->dtype, KERN_PLAIN);
    for (unsigned k = 0; k < x->rank; k++) n *= (size_t)x->dim[k];
    for (size_t i = 0; i < n; i++, out += size) {
        int64_t offset = 0, place = x->u.gather.loop * index;
        size_t rest = i;
        for (unsigned k = x->rank; k-- > 0;) {
            int64_t at = (int64_t)(rest % (size_t)x->dim[k]);
            rest /= (size_t)x->dim[k];
            offset += at * x->in[0].stride[k];
            place += at * x->u.gather.stride[k];
        }
        int64_t from = x->u.gather.table[place];
        if (from < 0) t->fill(1, out, NAN);
        else memcpy(out, in + (offset + from) * (int64_t)size, size);
    }
}

/* Products of d x d matrices from one end on; the highest index is leftmost. */
static void run_chain(const plan_run *r, const plan_op *x, int64_t index)
{
    const kern_table *t = kern_table_of(r->plan->dtype, r->plan->level);
    size_t size = kern_size(r->plan->dtype), d = x->u.chain, n = (size_t)x->dim[0], one = d * d * size;
    char *out = plan_pointer(r, x->out), *in = plan_entry(r, &x->in[0], index);
    char *start = out + (x->backward ? n * one : 0);
    t->fill(d * d, start, 0);
    for (size_t i = 0; i < d; i++) t->fill(1, start + i * (d + 1) * size, 1);
    for (size_t i = 0; i < n; i++) {
        size_t at = x->backward ? n - 1 - i : i;
        char *to = out + (x->backward ? at : at + 1) * one, *from = out + (x->backward ? at + 1 : at) * one;
        const char *left = x->backward ? from : in + at * one, *right = x->backward ? in + at * one : from;
        t->fill(d * d, to, 0);
        for (size_t row = 0; row < d; row++) {
            for (size_t k = 0; k < d; k++) { /* row of the result += entry of the left one times row of the right one */
                char *sum = to + row * d * size;
                t->map[KERN_MULADD][KERN_A_ONE](d, sum, left + (row * d + k) * size, right + k * d * size, sum, 0);
            }
        }
    }
}

static void run_step(const plan_run *r, const plan_step *s, char *scratch, int64_t index);

/* Indices from..to-1, counted from the first one on. Regions of one block keep their pointers from index to index, in
 * front of the scratch of all other steps. */
static void run_loop(const plan_run *r, const plan_body *b, char *scratch, int64_t from, int64_t to)
{
    if (b->split) {
        region_run_loop(b->step[0].region, r, scratch, from, to);
        return;
    }
    char *rest = scratch;
    for (size_t i = 0; i < b->n_step; i++) {
        if (!b->step[i].block) continue;
        region_prepare(b->step[i].region, r, rest, from);
        rest += region_prepared(b->step[i].region);
    }
    for (int64_t k = from; k < to; k++) {
        char *at = scratch;
        for (size_t i = 0; i < b->n_step; i++) {
            const plan_step *s = &b->step[i];
            if (s->block) {
                region_step(s->region, r, at, k);
                at += region_prepared(s->region);
            } else {
                run_step(r, s, rest, k);
            }
        }
    }
}

/* ---- checkpoints -------------------------------------------------------------------------------- */

/* The members of a ring from number `from` of those it holds on. */
static char *ring_at(const plan_run *r, const plan_table *t, int64_t from)
{
    const plan_value *v = &r->plan->value[t->value];
    return r->slab + v->offset + (size_t)(from * v->member) * kern_size(r->plan->dtype);
}

static size_t lag_bytes(const plan_run *r, const plan_table *t)
{
    return (size_t)(t->lag * r->plan->value[t->value].member) * kern_size(r->plan->dtype);
}

/* What was made last becomes what segment s looks back at. */
static void advance(const plan_run *r, const plan_checkpoint *c, size_t s)
{
    int64_t from = plan_segment(c, s), *start = &r->start[c->number];
    for (size_t i = 0; i < c->n_table; i++) {
        const plan_table *t = &c->table[i];
        memmove(ring_at(r, t, 0), ring_at(r, t, from - *start), lag_bytes(r, t));
    }
    *start = from;
}

/* What segment s looks back at, to where it is saved or from there. */
static void save(const plan_run *r, const plan_checkpoint *c, size_t s, bool restore)
{
    for (size_t i = 0; i < c->n_table; i++) {
        const plan_table *t = &c->table[i];
        size_t bytes = lag_bytes(r, t);
        char *saved = plan_pointer(r, t->saved) + s * bytes, *ring = ring_at(r, t, 0);
        memcpy(restore ? ring : saved, restore ? saved : ring, bytes);
    }
}

static void copy_pins(const plan_run *r, const plan_checkpoint *c, int64_t from, int64_t to)
{
    size_t size = kern_size(r->plan->dtype);
    for (size_t i = 0; i < c->n_pin; i++) {
        const plan_pin *pin = &c->pin[i];
        bool before = pin->index < 0 && from == 0;
        if (!before && (pin->index < from || pin->index >= to)) continue;
        int64_t member = r->plan->value[pin->table].member;
        char *in = plan_pointer(r, pin->table) + pin->at * member * (int64_t)size;
        memcpy(plan_pointer(r, pin->value), in, (size_t)member * size);
    }
}

static void run_segments(const plan_run *r, const plan_checkpoint *c, char *scratch)
{
    for (size_t s = 0; s < c->segments; s++) {
        int64_t from = plan_segment(c, s), to = plan_segment(c, s + 1);
        if (s > 0) advance(r, c, s);
        if (s + 1 < c->segments && c->reader != PLAN_NONE) save(r, c, s, false);
        run_loop(r, c->op->u.loop, scratch, from, to);
        copy_pins(r, c, from, to);
    }
}

static void run_reader(const plan_run *r, const plan_step *reader, char *scratch)
{
    const plan_checkpoint *c = reader->checkpoint;
    for (size_t s = c->segments; s-- > 0;) {
        int64_t row = (int64_t)s * c->length, end = row + c->length < c->rows ? row + c->length : c->rows;
        if (s + 1 < c->segments) { /* the last one is still there */
            r->start[c->number] = plan_segment(c, s);
            save(r, c, s, true);
            run_loop(r, c->op->u.loop, scratch, plan_segment(c, s), plan_segment(c, s + 1));
        }
        region_run_rows(reader->region, r, scratch + c->scratch, (size_t)row, (size_t)end);
    }
}

static void run_step(const plan_run *r, const plan_step *s, char *scratch, int64_t index)
{
    if (s->checkpoint) {
        if (s->kind == PLAN_LOOP) run_segments(r, s->checkpoint, scratch);
        else run_reader(r, s, scratch);
        return;
    }
    switch (s->kind) {
    case PLAN_MAP: case PLAN_FOLD: case PLAN_CALL: case PLAN_SCAN: region_run(s->region, r, scratch, index); break;
    case PLAN_PRODUCT: case PLAN_CONV: run_each(r, s, scratch, index); break;
    case PLAN_POOL: plan_run_pool(r, s->op, scratch, index); break;
    case PLAN_GATHER: run_gather(r, s->op, index); break;
    case PLAN_ROWS: plan_run_rows(r, s->op, index); break;
    case PLAN_LINALG: plan_run_linalg(r, s, scratch, index); break;
    case PLAN_CHAIN: run_chain(r, s->op, index); break;
    case PLAN_LOOP: run_loop(r, s->op->u.loop, scratch, 0, s->op->u.loop->hi - s->op->u.loop->lo + 1); break;
    }
}

void plan_run_all(const plan_run *r)
{
    const cr_plan *p = r->plan;
    plan_run own = *r;
    own.start = (int64_t *)(void *)(r->slab + p->slab) - p->n_checkpoint; /* as plan_place_values has room for them */
    memset(own.start, 0, p->n_checkpoint * sizeof *own.start);
    for (size_t i = 0; i < p->body.n_step; i++) run_step(&own, &p->body.step[i], r->slab + p->scratch, 0);
}
