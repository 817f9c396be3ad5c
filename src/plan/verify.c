/* The verifier: goes through the steps and keeps, for every byte of the slab, whose it is. Written without a look at
 * how places were chosen (memory.c), so that it would notice a mistake there. */
#include "plan/plan.h"

#include <string.h>

typedef struct owned {
    size_t from, to;
    uint32_t value;
} owned;

typedef struct verifier {
    cr_plan *p;
    owned *own; /* no two overlap */
    size_t n, cap;
    uint32_t *elsewhere; /* values that the region reads at other places than it writes */
    size_t n_elsewhere, elsewhere_cap;
} verifier;

static bool in_slab(const cr_plan *p, uint32_t value)
{
    return plan_in_slab(&p->value[value]) && p->value[value].stored && p->value[value].n > 0;
}

static owned extent(const cr_plan *p, uint32_t value)
{
    const plan_value *v = &p->value[value];
    return (owned){v->offset, v->offset + plan_held(v) * kern_size(p->dtype), value};
}

static bool owns(const verifier *v, uint32_t value)
{
    owned want = extent(v->p, value);
    for (size_t i = 0; i < v->n; i++) {
        if (v->own[i].value == value) return v->own[i].from == want.from && v->own[i].to == want.to;
    }
    return false;
}

/* The value's bytes are its own now; whose they were has lost them all. */
static bool claim(verifier *v, uint32_t value)
{
    owned want = extent(v->p, value);
    if (want.to > v->p->scratch) return plan_fail(v->p, CR_EINTERNAL, "a value lies outside of the slab") == CR_OK;
    for (size_t i = v->n; i-- > 0;) {
        if (v->own[i].value == value || (v->own[i].from < want.to && want.from < v->own[i].to)) {
            v->own[i] = v->own[--v->n];
        }
    }
    if (!VEC_RESERVE(v->own, v->cap, v->n + 1)) return plan_no_memory(v->p);
    v->own[v->n++] = want;
    return true;
}

static bool check_read(verifier *v, uint32_t value, const char *when)
{
    if (!in_slab(v->p, value) || owns(v, value)) return true;
    return plan_fail(v->p, CR_EINTERNAL, "value %u is overwritten, or not there, %s it is read", value, when) == CR_OK;
}

/* The operations of one group, in order. */
static bool verify_op(verifier *v, const plan_op *x)
{
    for (unsigned k = 0; k < x->n_in; k++) {
        if (x->in[k].source != SOURCE_VALUE) continue;
        if (!check_read(v, x->in[k].value, "when")) return false;
        if (plan_by_places(x) && plan_reads_in_place(x, &x->in[k])) continue;
        if (!VEC_RESERVE(v->elsewhere, v->elsewhere_cap, v->n_elsewhere + 1)) return plan_no_memory(v->p);
        v->elsewhere[v->n_elsewhere++] = x->in[k].value;
    }
    if (!in_slab(v->p, x->out)) return true;
    /* A part of a value that is there already leaves the others alone. */
    return x->part && owns(v, x->out) ? true : claim(v, x->out);
}

static bool end_of_group(verifier *v)
{
    bool ok = true;
    for (size_t i = 0; ok && i < v->n_elsewhere; i++) ok = check_read(v, v->elsewhere[i], "before all of");
    v->n_elsewhere = 0;
    return ok;
}

static bool verify_body(verifier *v, const plan_body *b);

/* What a loop in segments leaves beside its tables. */
static bool claim_saved(verifier *v, const plan_checkpoint *c)
{
    bool ok = true;
    for (size_t i = 0; ok && i < c->n_pin; i++) ok = claim(v, c->pin[i].value);
    for (size_t i = 0; ok && i < c->n_table && c->reader != PLAN_NONE; i++) ok = claim(v, c->table[i].saved);
    return ok;
}

static bool check_saved(verifier *v, const plan_checkpoint *c)
{
    bool ok = true;
    for (size_t i = 0; ok && i < c->n_table; i++) ok = check_read(v, c->table[i].saved, "when");
    return ok;
}

static bool verify_group(verifier *v, const plan_body *b, uint32_t group)
{
    bool ok = true;
    for (size_t i = 0; ok && i < b->n_op; i++) {
        const plan_op *x = &b->op[i];
        if (x->group != group) continue;
        if (x->kind == PLAN_LOOP) ok = verify_body(v, x->u.loop) && verify_body(v, x->u.loop); /* once more */
        else ok = verify_op(v, x);
    }
    return ok && end_of_group(v);
}

static bool verify_body(verifier *v, const plan_body *b)
{
    uint32_t first = PLAN_NONE;
    for (size_t i = 0; i < b->n_op; i++) first = b->op[i].group < first ? b->op[i].group : first;
    bool ok = true;
    for (uint32_t k = 0; ok && k < b->n_step; k++) {
        const plan_checkpoint *c = b->step[k].checkpoint;
        if (c && k == c->loop) {
            ok = verify_group(v, b, first + k) && claim_saved(v, c);
            continue;
        }
        for (unsigned times = c ? 2 : 1; ok && times > 0; times--) { /* segment by segment */
            if (c) ok = check_saved(v, c) && verify_body(v, c->op->u.loop);
            ok = ok && verify_group(v, b, first + k);
        }
    }
    return ok;
}

bool plan_verify(cr_plan *p)
{
    verifier v = {.p = p};
    bool ok = verify_body(&v, &p->body);
    mem_free(v.own);
    mem_free(v.elsewhere);
    return ok;
}
