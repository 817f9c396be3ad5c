/* Two operations in one, where vector kernels have it: a*b + c, and sums of products. What is multiplied is then read
 * by the sum itself, and its value, which nothing else needs, is never made. */
#include "plan/plan.h"

#include <string.h>

typedef struct maker { /* of a value */
    plan_op *op;   /* NULL: not one MAP */
    uint32_t uses;
} maker;

static void note(maker *made, plan_body *b)
{
    for (size_t i = 0; i < b->n_op; i++) {
        plan_op *x = &b->op[i];
        if (x->kind == PLAN_LOOP) {
            note(made, x->u.loop);
            continue;
        }
        for (unsigned k = 0; k < x->n_in; k++) {
            if (x->in[k].source == SOURCE_VALUE) made[x->in[k].value].uses++;
        }
        made[x->out].op = x->kind == PLAN_MAP && !x->part ? x : NULL;
    }
}

/* The multiplication that v is, over the same domain, if nothing else reads it. */
static plan_op *product_of(const cr_plan *p, const maker *made, const plan_op *x, const plan_operand *v)
{
    if (v->source != SOURCE_VALUE || made[v->value].uses != 1 || p->value[v->value].place != PLACE_SLAB) return NULL;
    plan_op *m = made[v->value].op;
    bool fits = m && m->u.map.op == KERN_MUL && m->rank == x->rank &&
                !memcmp(m->dim, x->dim, x->rank * sizeof *x->dim) && plan_reads_in_place(x, v);
    return fits ? m : NULL;
}

static bool in_body(const plan_body *b, const plan_op *x) { return x >= b->op && x < b->op + b->n_op; }

static void multiply_add(const cr_plan *p, maker *made, const plan_body *b, plan_op *x)
{
    for (unsigned k = 0; k < 2; k++) {
        plan_op *m = product_of(p, made, x, &x->in[k]);
        if (!m || !in_body(b, m)) continue;
        made[x->in[k].value].uses = 0;
        x->u.map.op = KERN_MULADD;
        x->in[2] = x->in[1 - k];
        x->in[0] = m->in[0];
        x->in[1] = m->in[1];
        x->n_in = 3;
        return;
    }
}

static bool varies(const plan_op *x, const plan_operand *v)
{
    return v->source == SOURCE_VALUE && x->rank > 0 && v->stride[x->rank - 1] != 0;
}

static void sum_of_products(const cr_plan *p, maker *made, const plan_body *b, plan_op *x)
{
    plan_op *m = product_of(p, made, x, &x->in[0]);
    if (!m || !in_body(b, m) || !varies(m, &m->in[0]) || !varies(m, &m->in[1])) return;
    made[x->in[0].value].uses = 0;
    x->in[0] = m->in[0];
    x->in[1] = m->in[1];
    x->n_in = 2;
}

static void look(const cr_plan *p, maker *made, plan_body *b)
{
    for (size_t i = 0; i < b->n_op; i++) {
        plan_op *x = &b->op[i];
        if (x->kind == PLAN_LOOP) look(p, made, x->u.loop);
        else if (x->kind == PLAN_MAP && x->u.map.op == KERN_ADD && !x->part) multiply_add(p, made, b, x);
        else if (x->kind == PLAN_FOLD && x->u.fold == KERN_FOLD_SUM) sum_of_products(p, made, b, x);
    }
}

bool plan_peephole(cr_plan *p)
{
    maker *made = mem_zalloc(p->n_value + 1, sizeof *made);
    if (!made) return plan_no_memory(p);
    note(made, &p->body);
    look(p, made, &p->body);
    mem_free(made);
    return plan_prune(p);
}
