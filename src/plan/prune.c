/* Takes out the operations whose results nothing needs. */
#include "plan/plan.h"

#include <string.h>

static void need_inputs(bool *needed, const plan_op *x, bool *changed)
{
    for (unsigned k = 0; k < x->n_in; k++) {
        if (x->in[k].source != SOURCE_VALUE || needed[x->in[k].value]) continue;
        needed[x->in[k].value] = true;
        *changed = true;
    }
}

/* From the last operation to the first. What a loop reads of its own tables may be made further down, so its bodies are
 * gone through until nothing changes. */
static void find_needed(const plan_body *b, bool *needed)
{
    for (size_t i = b->n_op; i-- > 0;) {
        const plan_op *x = &b->op[i];
        bool changed = x->kind == PLAN_LOOP;
        if (!changed && needed[x->out]) need_inputs(needed, x, &changed);
        while (x->kind == PLAN_LOOP && changed) {
            changed = false;
            for (size_t k = x->u.loop->n_op; k-- > 0;) {
                const plan_op *y = &x->u.loop->op[k];
                if (needed[y->out]) need_inputs(needed, y, &changed);
            }
        }
    }
}

static void keep_needed(plan_body *b, const bool *needed)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n_op; i++) {
        plan_op *x = &b->op[i];
        if (x->kind == PLAN_LOOP) keep_needed(x->u.loop, needed);
        bool keep = x->kind == PLAN_LOOP ? x->u.loop->n_op > 0 : needed[x->out];
        if (!keep && x->kind == PLAN_LOOP) mem_free(x->u.loop->op);
        if (keep) b->op[n++] = *x;
    }
    b->n_op = n;
}

bool plan_prune(cr_plan *p)
{
    bool *needed = mem_zalloc(p->n_value + 1, sizeof *needed);
    if (!needed) return plan_no_memory(p);
    for (size_t i = 0; i < p->n_output; i++) needed[p->output[i].value] = true;
    find_needed(&p->body, needed);
    keep_needed(&p->body, needed);
    mem_free(needed);
    return true;
}
