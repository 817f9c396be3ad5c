/* A plan as text, for those who work on it: its steps with their operations. */
#include "plan/region.h"

static const char *const kind_name[] = {"map", "fold", "product", "scan", "gather", "rows", "linalg", "chain", "call",
                                        "conv", "pool", "loop"};

static void print_operand(strbuf *b, const plan_operand *v, unsigned rank)
{
    if (v->source == SOURCE_NUMBER) {
        sb_printf(b, " %g", v->number);
        return;
    }
    if (v->source == SOURCE_VALUE) sb_printf(b, " v%u[%lld", v->value, (long long)v->offset);
    else sb_printf(b, " (%g", v->number);
    for (unsigned k = 0; k < rank; k++) sb_printf(b, " %lld", (long long)v->stride[k]);
    if (v->loop) sb_printf(b, " loop %lld", (long long)v->loop);
    sb_puts(b, v->source == SOURCE_VALUE ? "]" : ")");
}

static void print_body(strbuf *b, const plan_body *body, unsigned indent)
{
    for (size_t i = 0; i < body->n_op; i++) {
        const plan_op *x = &body->op[i];
        sb_printf(b, "%*s%u: ", (int)indent, "", x->group);
        if (x->kind == PLAN_LOOP) {
            sb_printf(b, "loop %lld..%lld\n", (long long)x->u.loop->lo, (long long)x->u.loop->hi);
            print_body(b, x->u.loop, indent + 4);
            continue;
        }
        if (x->part) print_operand(b, &x->to, x->rank);
        else sb_printf(b, "v%u", x->out);
        sb_printf(b, " = %s", x->kind == PLAN_MAP ? kern_name(x->u.map.op) : kind_name[x->kind]);
        for (unsigned k = 0; k < x->n_in; k++) print_operand(b, &x->in[k], x->rank);
        sb_puts(b, "  over");
        for (unsigned k = 0; k < x->rank; k++) sb_printf(b, " %lld", (long long)x->dim[k]);
        if (x->kind == PLAN_FOLD) sb_printf(b, ", axes %u..%u", x->leading ? x->before : x->rank - x->axes,
                                              (x->leading ? x->before + x->axes : x->rank) - 1u);
        if (x->kind == PLAN_PRODUCT) {
            const gemm_shape *s = &x->u.product;
            sb_printf(b, ", %zu x (%zu x %zu x %zu)", s->batch, s->m, s->k, s->n);
        }
        if (x->kind == PLAN_CONV) {
            const conv_shape *s = x->u.conv;
            sb_printf(b, ", %c of %zu x %zu x (%zu to %zu)", "xwy"[s->value], s->batch, s->groups, s->in, s->out);
            for (unsigned k = 0; k < CONV_AXES; k++) sb_printf(b, " %zu", s->size[CONV_X][k]);
        }
        sb_putc(b, '\n');
    }
}

void plan_print(const cr_plan *p, strbuf *b) { print_body(b, &p->body, 0); }
