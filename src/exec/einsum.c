/* Plan of an einsum for given sizes: deltas are resolved into offsets and merged labels (they select, never multiply,
 * so that 0 * inf cannot arise from them), the other operands are contracted pair by pair, cheapest first. */
#include "exec/internal.h"

#include <inttypes.h>
#include <string.h>

#define GREEDY_MAX 32 /* more operands than this are contracted from left to right */

/* Labels while deltas are resolved: a forest of joined labels, each root with an index if a ONEHOT fixed it. */
typedef struct labels {
    einsum_view view;
    int64_t size[EINSUM_MAX_LABELS];
    unsigned up[EINSUM_MAX_LABELS];
    int64_t fixed[EINSUM_MAX_LABELS]; /* of roots; -1: none */
} labels;

static unsigned root_of(const labels *l, unsigned k)
{
    while (l->up[k] != k) {
        k = l->up[k];
    }
    return k;
}

static bool read_labels(labels *l, exec_env *env, cr_ref r)
{
    einsum_read(env->g, r, &l->view);
    for (unsigned k = 0; k < l->view.n_labels; k++) {
        if (!exec_dim(env, l->view.size[k], "a size", &l->size[k])) {
            return false;
        }
        l->up[k] = k;
        l->fixed[k] = -1;
    }
    return true;
}

/* Joins and fixes labels as the deltas say. *zero: two of them contradict each other. */
static bool resolve_deltas(labels *l, exec_env *env, bool *zero)
{
    cr_graph *g = env->g;
    const uint32_t *label = l->view.labels;
    for (uint32_t i = 0; i < l->view.n; i++) { /* all joins before all indices */
        cr_ref o = l->view.operand[i];
        if (op_of(g, o) == CR_OP_IDENTITY) {
            unsigned a = root_of(l, label[0]), b = root_of(l, label[1]);
            l->up[a > b ? a : b] = a > b ? b : a;
        }
        label += shape_of(g, o)->rank;
    }
    label = l->view.labels;
    for (uint32_t i = 0; i < l->view.n; i++) {
        cr_ref o = l->view.operand[i];
        if (op_of(g, o) == CR_OP_ONEHOT) {
            int64_t at;
            if (!exec_index(env, attr_of(g, o, 0), l->size[label[0]], &at)) {
                return false;
            }
            unsigned k = root_of(l, label[0]);
            *zero |= l->fixed[k] >= 0 && l->fixed[k] != at - 1;
            l->fixed[k] = at - 1;
        }
        label += shape_of(g, o)->rank;
    }
    return true;
}

bool ein_indices_in(exec_env *env, cr_ref r, bool *in)
{
    labels l;
    if (!read_labels(&l, env, r)) return false;
    const uint32_t *label = l.view.labels;
    *in = true;
    for (uint32_t i = 0; i < l.view.n; i++) {
        cr_ref o = l.view.operand[i];
        int64_t at = 1;
        bool onehot = op_of(env->g, o) == CR_OP_ONEHOT;
        if (onehot && !exec_dim(env, attr_of(env->g, o, 0), "an index", &at)) return false;
        if (onehot) *in &= at >= 1 && at <= l.size[label[0]];
        label += shape_of(env->g, o)->rank;
    }
    return true;
}

/* Strides of a row-major array whose axes carry these labels, by class. */
static void lay_out(const labels *l, const unsigned *class_of, const uint32_t *label, unsigned rank, ein_operand *o)
{
    int64_t stride = 1;
    for (unsigned k = rank; k-- > 0;) {
        unsigned r = root_of(l, label[k]);
        if (l->fixed[r] >= 0) {
            o->offset += l->fixed[r] * stride;
        } else {
            o->has |= (uint64_t)1 << class_of[r];
            o->stride[class_of[r]] += stride;
        }
        stride *= l->size[label[k]];
    }
}

/* Bigger total stride outermost: the innermost loop runs through memory. Ties by class, so the order is fixed. */
static void sort_loops(ein_loop *loop, unsigned n)
{
    for (unsigned i = 1; i < n; i++) {
        ein_loop x = loop[i];
        unsigned k = i;
        for (; k > 0 && loop[k - 1].a + loop[k - 1].b + loop[k - 1].out < x.a + x.b + x.out; k--) {
            loop[k] = loop[k - 1];
        }
        loop[k] = x;
    }
}

/* Joins neighbours that together are one longer loop. */
static unsigned fuse_loops(ein_loop *loop, unsigned n)
{
    unsigned m = 0;
    for (unsigned i = 0; i < n; i++) {
        ein_loop *p = m ? &loop[m - 1] : NULL, *q = &loop[i];
        if (p && p->a == q->a * q->size && p->b == q->b * q->size && p->out == q->out * q->size) {
            *p = (ein_loop){p->size * q->size, q->a, q->b, q->out};
        } else {
            loop[m++] = *q;
        }
    }
    return m;
}

typedef struct contraction {
    ein_plan *p;
    int64_t size[EINSUM_MAX_LABELS]; /* by class */
    unsigned n_class;
    ein_operand out;
    uint32_t live[EINSUM_MAX_LABELS + 1]; /* operands not yet used */
    unsigned n_live;
} contraction;

static double entries(const contraction *c, uint64_t classes)
{
    double n = 1;
    for (unsigned k = 0; k < c->n_class; k++) {
        n *= classes >> k & 1 ? (double)c->size[k] : 1;
    }
    return n;
}

/* Contracts live[x] with live[y] (x == y: alone) and puts the result in the place of live[x]. */
static bool contract(contraction *c, cr_graph *g, unsigned x, unsigned y, bool last)
{
    ein_plan *p = c->p;
    const ein_operand *a = &p->operand[c->live[x]], *b = x == y ? NULL : &p->operand[c->live[y]];
    uint64_t has = a->has | (b ? b->has : 0), needed = c->out.has;
    for (unsigned i = 0; i < c->n_live; i++) {
        if (i != x && i != y) {
            needed |= p->operand[c->live[i]].has;
        }
    }
    ein_step *s = &p->step[p->n_steps];
    ein_operand *r = &p->operand[p->n_in + p->n_steps];
    memset(s, 0, sizeof *s);
    memset(r, 0, sizeof *r);
    *s = (ein_step){.a = c->live[x], .b = b ? c->live[y] : EIN_FACTOR, .last = last, .sum = (has & ~needed) != 0};
    if (last) {
        *r = c->out; /* with the classes that nothing carries: they are broadcast */
        s->out_offset = c->out.offset;
        has |= c->out.has;
    } else {
        r->has = has & needed;
        int64_t stride = 1;
        for (unsigned k = c->n_class; k-- > 0;) {
            if (r->has >> k & 1) {
                r->stride[k] = stride;
                if (c->size[k] > 0 && stride > EXEC_MAX_ENTRIES / c->size[k]) {
                    graph_fail(g, CR_ELIMIT, "an intermediate product of more than %" PRId64 " entries",
                               EXEC_MAX_ENTRIES);
                    return false;
                }
                stride *= c->size[k];
            }
        }
        s->n = (size_t)stride;
    }
    for (unsigned k = 0; k < c->n_class; k++) {
        if (has >> k & 1) {
            s->loop[s->n_loops++] = (ein_loop){c->size[k], a->stride[k], b ? b->stride[k] : 0, r->stride[k]};
        }
    }
    sort_loops(s->loop, s->n_loops);
    s->n_loops = fuse_loops(s->loop, s->n_loops);
    c->live[x] = (uint32_t)(p->n_in + p->n_steps++);
    if (b) {
        c->n_live--;
        memmove(c->live + y, c->live + y + 1, (c->n_live - y) * sizeof *c->live);
    }
    return true;
}

/* Classes that only operand x has and the result does not need, if summing them first spares work: some other operand
 * brings classes of its own. sum(x*y') is sum(x)*sum(y). */
static bool sum_first(const contraction *c, unsigned x)
{
    uint64_t mine = c->p->operand[c->live[x]].has, others = 0;
    for (unsigned i = 0; i < c->n_live; i++) {
        others |= i == x ? 0 : c->p->operand[c->live[i]].has;
    }
    return (mine & ~others & ~c->out.has) && (others & ~mine);
}

static bool contract_all(contraction *c, cr_graph *g)
{
    for (unsigned i = 0; c->n_live > 1 && i < c->n_live; i++) {
        if (sum_first(c, i) && !contract(c, g, i, i, false)) {
            return false;
        }
    }
    while (c->n_live > 2) {
        unsigned x = 0, y = 1;
        double best = 0;
        for (unsigned i = 0; c->n_live <= GREEDY_MAX && i < c->n_live; i++) {
            for (unsigned k = i + 1; k < c->n_live; k++) {
                double cost = entries(c, c->p->operand[c->live[i]].has | c->p->operand[c->live[k]].has);
                if (best == 0 || cost < best) {
                    best = cost;
                    x = i;
                    y = k;
                }
            }
        }
        if (!contract(c, g, x, y, false)) {
            return false;
        }
    }
    return contract(c, g, 0, c->n_live > 1 ? 1 : 0, true);
}

static bool make_plan(ein_plan *p, exec_env *env, cr_ref r, labels *l)
{
    cr_graph *g = env->g;
    contraction c = {.p = p};
    unsigned class_of[EINSUM_MAX_LABELS];
    uint64_t carried = 0;
    for (unsigned k = 0; k < l->view.n_labels; k++) {
        if (root_of(l, k) == k && l->fixed[k] < 0) {
            class_of[k] = c.n_class;
            c.size[c.n_class++] = l->size[k];
        }
    }
    uint32_t in_order[EINSUM_MAX_LABELS];
    for (unsigned k = 0; k < l->view.rank; k++) {
        in_order[k] = k;
    }
    lay_out(l, class_of, in_order, l->view.rank, &c.out);
    const uint32_t *label = l->view.labels;
    for (uint32_t i = 0; i < l->view.n; i++) {
        unsigned rank = shape_of(g, l->view.operand[i])->rank;
        if (!exec_is_delta(g, r, i)) {
            ein_operand *o = &p->operand[p->n_in];
            o->input = i;
            lay_out(l, class_of, label, rank, o);
            carried |= o->has;
            c.live[c.n_live++] = (uint32_t)p->n_in++;
        }
        label += rank;
    }
    for (unsigned k = 0; k < c.n_class; k++) {
        if (!(carried >> k & 1) && !(c.out.has >> k & 1)) {
            p->factor *= (double)c.size[k]; /* a sum of equal terms */
        }
        p->zero |= c.size[k] == 0 && !(c.out.has >> k & 1);
    }
    if (p->factor != 1 || c.n_live == 0) {
        p->operand[p->n_in].input = EIN_FACTOR;
        c.live[c.n_live++] = (uint32_t)p->n_in++;
    }
    /* Written are as many entries as the result's classes have together. */
    unsigned free_labels = 0;
    for (unsigned k = 0; k < l->view.rank; k++) {
        free_labels += l->fixed[root_of(l, k)] < 0;
    }
    p->scatter = free_labels < l->view.rank || (unsigned)__builtin_popcountll(c.out.has) < free_labels;
    return p->zero || contract_all(&c, g);
}

bool ein_plan_init(ein_plan *p, exec_env *env, cr_ref r)
{
    memset(p, 0, sizeof *p);
    p->factor = 1;
    cr_graph *g = env->g;
    uint32_t n = node(g, r)->n_in;
    if (n > EINSUM_MAX_LABELS) {
        graph_fail(g, CR_ELIMIT, "a product of more than %d factors", EINSUM_MAX_LABELS);
        return false;
    }
    labels *l = mem_alloc(sizeof *l);
    /* Each of the at most n+1 operands is summed alone at most once, and n contractions join them. */
    p->operand = mem_zalloc(3 * (size_t)n + 4, sizeof *p->operand);
    p->step = mem_zalloc(2 * (size_t)n + 3, sizeof *p->step);
    bool ok = l && p->operand && p->step;
    if (!ok) {
        graph_fail(g, CR_ENOMEM, "out of memory");
    }
    ok = ok && read_labels(l, env, r) && resolve_deltas(l, env, &p->zero) && make_plan(p, env, r, l);
    mem_free(l);
    if (!ok) {
        ein_plan_free(p);
    }
    return ok;
}

void ein_plan_free(ein_plan *p)
{
    mem_free(p->operand);
    mem_free(p->step);
    memset(p, 0, sizeof *p);
}
