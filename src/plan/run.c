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
            gemm_run(&s->product, at[0], at[1], at[2], scratch, NULL, NULL);
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

/* Regions of one block keep their pointers from index to index, in front of the scratch of all other steps. */
static void run_loop(const plan_run *r, const plan_body *b, char *scratch)
{
    int64_t n = b->hi - b->lo + 1;
    if (b->split) {
        region_run_loop(b->step[0].region, r, scratch, n);
        return;
    }
    char *rest = scratch;
    for (size_t i = 0; i < b->n_step; i++) {
        if (!b->step[i].block) continue;
        region_prepare(b->step[i].region, r, rest);
        rest += region_prepared(b->step[i].region);
    }
    for (int64_t k = 0; k < n; k++) {
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

static void run_step(const plan_run *r, const plan_step *s, char *scratch, int64_t index)
{
    switch (s->kind) {
    case PLAN_MAP: case PLAN_FOLD: case PLAN_CALL: case PLAN_SCAN: region_run(s->region, r, scratch, index); break;
    case PLAN_PRODUCT: case PLAN_CONV: run_each(r, s, scratch, index); break;
    case PLAN_POOL: plan_run_pool(r, s->op, scratch, index); break;
    case PLAN_GATHER: run_gather(r, s->op, index); break;
    case PLAN_ROWS: plan_run_rows(r, s->op, index); break;
    case PLAN_LINALG: plan_run_linalg(r, s, scratch, index); break;
    case PLAN_CHAIN: run_chain(r, s->op, index); break;
    case PLAN_LOOP: run_loop(r, s->op->u.loop, scratch); break;
    }
}

void plan_run_all(const plan_run *r)
{
    const plan_body *b = &r->plan->body;
    for (size_t i = 0; i < b->n_step; i++) run_step(r, &b->step[i], r->slab + r->plan->scratch, 0);
}
