/* Grouping: operations to steps. Groups are numbered in the order in which they run; an operation joins the latest
 * group that it can run with, or a later one over the same domain, else it opens a new one. So whatever an operation
 * reads is made in its own group, at the same place of the domain, or in one before. */
#include "plan/region.h"

#include <string.h>

enum {
    LOOK_BACK = 16,     /* groups that are tried */
    ROW_MAX = 8192,     /* columns of a row that is folded and used within one region */
    OPERATIONS_MAX = 20000 /* of a region: compiling it takes longer than in proportion */
};

typedef struct group {
    plan_kind kind;
    unsigned rank;
    int split; /* rows are the first axes; -1: no operation has said yet */
    int order; /* its rows run forward (1) or backward (-1), as its scans do; 0: as one likes */
    int64_t dim[PLAN_RANK];
    size_t n;
} group;

typedef enum shape { SHAPE_NONE, SHAPE_FULL, SHAPE_ROW } shape;

typedef struct made { /* by value */
    shape shape;      /* how it is had within its group; NONE: it is not */
} made;

typedef struct grouping {
    cr_plan *p;
    group *group;
    size_t n, cap;
    uint32_t first; /* number of group[0] */
    made *made;
} grouping;

/* Strides of a row-major array over dim[0..n-1], and none after. A scan is seen at this place of axis 0 or the next. */
static bool is_rows(const plan_operand *v, unsigned n, unsigned rank, const int64_t *dim, bool scan)
{
    int64_t next = 1;
    for (unsigned k = 1; k < n; k++) next *= dim[k];
    if ((v->offset && !(scan && v->offset == next)) || v->loop) return false;
    for (unsigned k = n; k < rank; k++) {
        if (v->stride[k]) return false;
    }
    return plan_is_row_major(n, dim, v->stride);
}

static size_t columns_of(const group *g, int split)
{
    size_t n = 1;
    for (unsigned k = (unsigned)split; k < g->rank; k++) n *= (size_t)g->dim[k];
    return n;
}

static bool same_domain(const group *g, unsigned n, const plan_op *x)
{
    return x->rank == n && !memcmp(g->dim, x->dim, n * sizeof *x->dim);
}

/* How x would run in group number `at`; *split: what it asks of it, -1: nothing. */
static shape fits(const grouping *s, uint32_t at, const plan_op *x, int *split)
{
    const group *g = &s->group[at - s->first];
    *split = g->split;
    if (g->kind != PLAN_MAP || g->n >= OPERATIONS_MAX) return SHAPE_NONE;
    shape as = SHAPE_NONE;
    bool along_rows = x->kind == PLAN_FOLD && !x->leading;
    if (same_domain(g, g->rank, x)) {
        as = SHAPE_FULL;
        if (along_rows) {
            int want = (int)x->rank - x->axes;
            if (g->split >= 0 && g->split != want) as = SHAPE_NONE;
            else *split = want;
        }
    }
    if (as == SHAPE_NONE && g->split >= 0 && same_domain(g, (unsigned)g->split, x) &&
        columns_of(g, g->split) <= ROW_MAX &&
        (x->kind != PLAN_FOLD || x->leading || x->axes == x->rank)) {
        as = SHAPE_ROW;
        *split = g->split;
    }
    if (x->kind == PLAN_SCAN && as != SHAPE_NONE) { /* along the rows: the first axis alone */
        int order = x->backward ? -1 : 1;
        if ((*split >= 0 && *split != 1) || (g->order && g->order != order)) as = SHAPE_NONE;
        *split = 1;
    }
    for (unsigned i = 0; as != SHAPE_NONE && i < x->n_in; i++) {
        const plan_operand *v = &x->in[i];
        if (v->source != SOURCE_VALUE || s->p->value[v->value].producer != at) continue;
        shape had = s->p->value[v->value].parts ? SHAPE_NONE : s->made[v->value].shape;
        bool scan = s->p->value[v->value].scan != 0;
        bool ok = had == SHAPE_FULL   ? as == SHAPE_FULL && is_rows(v, x->rank, x->rank, x->dim, scan)
                  : had == SHAPE_ROW ? is_rows(v, (unsigned)g->split, x->rank, x->dim, scan)
                                      : false;
        if (!ok) as = SHAPE_NONE;
    }
    return as;
}

/* The latest group that makes something that x reads, PLAN_NONE: none does. */
static uint32_t latest_source(const grouping *s, const plan_op *x)
{
    uint32_t at = PLAN_NONE;
    for (unsigned i = 0; i < x->n_in; i++) {
        if (x->in[i].source != SOURCE_VALUE) continue;
        uint32_t g = s->p->value[x->in[i].value].producer;
        if (g != PLAN_NONE && g >= s->first && (at == PLAN_NONE || g > at)) at = g;
    }
    return at;
}

/* What a LOOP reads and writes, its body does. */
static uint32_t latest_of_body(const grouping *s, const plan_body *b)
{
    uint32_t at = PLAN_NONE;
    for (size_t i = 0; i < b->n_op; i++) {
        uint32_t g = latest_source(s, &b->op[i]);
        if (g != PLAN_NONE && (at == PLAN_NONE || g > at)) at = g;
    }
    return at;
}

static bool join(grouping *s, plan_op *x)
{
    cr_plan *p = s->p;
    uint32_t next = s->first + (uint32_t)s->n, at = next;
    uint32_t source = x->kind == PLAN_LOOP ? latest_of_body(s, x->u.loop) : latest_source(s, x);
    shape as = SHAPE_NONE;
    int split = -1;
    if (plan_by_places(x)) {
        if (source != PLAN_NONE && (as = fits(s, source, x, &split)) != SHAPE_NONE) at = source;
        uint32_t least = source == PLAN_NONE ? s->first : source + 1;
        for (uint32_t k = next; at == next && k > least && next - k < LOOK_BACK; k--) {
            if ((as = fits(s, k - 1, x, &split)) != SHAPE_NONE) at = k - 1;
        }
    }
    if (at == next) {
        if (!VEC_RESERVE(s->group, s->cap, s->n + 1)) return plan_no_memory(p);
        group *g = &s->group[s->n++];
        *g = (group){.kind = plan_by_places(x) ? PLAN_MAP : x->kind, .rank = x->rank, .split = -1};
        memcpy(g->dim, x->dim, sizeof g->dim);
        as = SHAPE_FULL;
        split = x->kind == PLAN_FOLD && !x->leading ? (int)x->rank - x->axes : x->kind == PLAN_SCAN ? 1 : -1;
    }
    group *g = &s->group[at - s->first];
    x->group = at;
    g->split = plan_by_places(x) ? split : -1;
    if (x->kind == PLAN_SCAN) g->order = x->backward ? -1 : 1;
    g->n++;
    if (x->out == PLAN_NONE) return true;
    plan_value *v = &p->value[x->out];
    v->producer = v->producer == PLAN_NONE || v->producer < at ? at : v->producer;
    v->parts |= x->part;
    s->made[x->out].shape = as;
    if (x->kind == PLAN_FOLD) {
        bool here = !x->leading && as == SHAPE_FULL && columns_of(g, g->split) <= ROW_MAX;
        s->made[x->out].shape = here ? SHAPE_ROW : SHAPE_NONE;
    }
    return true;
}

/* Marks values that an operation of b reads; of a LOOP, its body does. */
static void mark_read(const plan_body *b, const plan_op *but, bool *read)
{
    for (size_t i = 0; i < b->n_op; i++) {
        const plan_op *x = &b->op[i];
        if (x == but) continue;
        if (x->kind == PLAN_LOOP) mark_read(x->u.loop, NULL, read);
        for (unsigned k = 0; k < x->n_in; k++) {
            if (x->in[k].source == SOURCE_VALUE) read[x->in[k].value] = true;
        }
    }
}

/* What the body of a LOOP makes for others is made by the LOOP, piece by piece; the rest is new at each index. */
static bool made_by_loop(cr_plan *p, const plan_op *x)
{
    bool *read = mem_zalloc(p->n_value + 1, sizeof *read);
    if (!read) return plan_no_memory(p);
    mark_read(&p->body, x, read);
    for (size_t i = 0; i < p->n_output; i++) read[p->output[i].value] = true;
    for (size_t i = 0; i < x->u.loop->n_op; i++) {
        const plan_op *y = &x->u.loop->op[i];
        plan_value *v = &p->value[y->out];
        if (plan_by_places(y) && !y->part && !v->parts && !read[y->out]) continue;
        v->producer = x->group;
        v->parts = true;
    }
    mem_free(read);
    return true;
}

static bool group_body(cr_plan *p, plan_body *b, made *by_value)
{
    grouping s = {.p = p, .first = p->n_groups, .made = by_value};
    bool ok = true;
    for (size_t i = 0; ok && i < b->n_op; i++) {
        ok = join(&s, &b->op[i]);
        if (ok && b->op[i].kind == PLAN_LOOP) ok = made_by_loop(p, &b->op[i]);
    }
    p->n_groups += (uint32_t)s.n;
    mem_free(s.group);
    return ok;
}

/* Values that are read in another step than that of their making. */
static void mark_stored(cr_plan *p, const plan_body *b)
{
    for (size_t i = 0; i < b->n_op; i++) {
        const plan_op *x = &b->op[i];
        if (x->kind == PLAN_LOOP) mark_stored(p, x->u.loop);
        for (unsigned k = 0; k < x->n_in; k++) {
            if (x->in[k].source != SOURCE_VALUE) continue;
            plan_value *v = &p->value[x->in[k].value];
            v->stored |= v->producer != x->group || v->parts;
        }
        if (x->out != PLAN_NONE && (!plan_by_places(x) || x->part)) p->value[x->out].stored = true;
    }
}

/* ---- steps -------------------------------------------------------------------------------------- */

static void plan_product(cr_plan *p, plan_step *s)
{
    gemm_options o = {.level = p->level, .threads = p->threads};
    gemm_plan_init(&s->product, &s->op->u.product, &o);
    s->scratch = s->product.scratch;
}

static bool plan_conv(cr_plan *p, plan_step *s)
{
    s->conv = mem_zalloc(1, sizeof *s->conv);
    if (!s->conv || !conv_plan_init(s->conv, s->op->u.conv, p->level, p->threads)) return plan_no_memory(p);
    s->scratch = s->conv->scratch;
    return true;
}

static bool make_step(cr_plan *p, plan_body *b, size_t n, const plan_op *const *op, bool alone)
{
    if (!VEC_RESERVE(b->step, b->step_cap, b->n_step + 1)) return plan_no_memory(p);
    plan_step *s = &b->step[b->n_step];
    *s = (plan_step){.kind = plan_by_places(op[0]) ? PLAN_MAP : op[0]->kind, .op = op[0]};
    b->n_step++;
    switch (s->kind) {
    case PLAN_MAP:
        s->op = NULL;
        s->region = region_new(p, n, op, alone);
        if (!s->region) return false;
        s->scratch = region_scratch(s->region, p->threads);
        break;
    case PLAN_PRODUCT: plan_product(p, s); break;
    case PLAN_LINALG:
        s->linalg = plan_linalg_new(p, op[0], &s->scratch);
        return s->linalg != NULL;
    case PLAN_CONV: return plan_conv(p, s);
    case PLAN_POOL: s->scratch = plan_pool_scratch(p, op[0]); break;
    default: break;
    }
    return true;
}

/* The operations of b, sorted by group, to steps. */
static bool make_steps(cr_plan *p, plan_body *b, uint32_t first, uint32_t end)
{
    bool alone = b != &p->body && end - first == 1;
    size_t *start = mem_zalloc((size_t)(end - first) + 2, sizeof *start);
    const plan_op **sorted = mem_alloc((b->n_op + 1) * sizeof *sorted);
    bool ok = start && sorted ? true : plan_no_memory(p);
    for (size_t i = 0; ok && i < b->n_op; i++) start[b->op[i].group - first + 2]++;
    for (uint32_t k = 2; ok && k <= end - first; k++) start[k] += start[k - 1];
    for (size_t i = 0; ok && i < b->n_op; i++) sorted[start[b->op[i].group - first + 1]++] = &b->op[i];
    for (uint32_t k = 0; ok && k < end - first; k++) {
        ok = make_step(p, b, start[k + 1] - start[k], sorted + start[k], alone);
    }
    mem_free(start);
    mem_free(sorted);
    return ok;
}

/* Does v, of a value that the loop writes, read only what the same place has written at other indices? */
static bool reads_own_place(const cr_plan *p, const plan_op *x, const plan_operand *v)
{
    bool looks = v->source == SOURCE_VALUE && p->value[v->value].parts;
    return !looks || plan_is_row_major(x->rank, x->dim, v->stride);
}

static bool can_split(const cr_plan *p, const plan_body *b)
{
    const region *r = b->n_step == 1 ? b->step[0].region : NULL;
    if (!r || r->n_sum || r->order) return false;
    for (size_t i = 0; i < b->n_op; i++) {
        const plan_op *x = &b->op[i];
        if (x->rank != r->rank || memcmp(x->dim, r->dim, x->rank * sizeof *x->dim) != 0) return false;
        for (unsigned k = 0; k < x->n_in; k++) {
            if (!reads_own_place(p, x, &x->in[k])) return false;
        }
        if (x->part && !reads_own_place(p, x, &x->to)) return false;
    }
    return true;
}

/* How the steps of a loop's body are run. */
static void plan_loop(cr_plan *p, plan_body *b)
{
    b->split = can_split(p, b);
    if (b->split) {
        region *r = b->step[0].region;
        region_share(r, (double)(b->hi - b->lo + 1));
        b->step[0].scratch = region_scratch(r, p->threads);
        return;
    }
    for (size_t i = 0; i < b->n_step; i++) {
        plan_step *s = &b->step[i];
        s->block = s->region && region_is_block(s->region);
        if (s->block) s->scratch = region_prepared(s->region);
    }
}

bool plan_group(cr_plan *p)
{
    made *by_value = mem_zalloc(p->n_value + 1, sizeof *by_value);
    uint32_t *first = mem_alloc((p->body.n_op + 1) * sizeof *first);
    bool ok = by_value && first ? true : plan_no_memory(p);
    for (size_t i = 0; ok && i < p->n_value; i++) p->value[i].producer = PLAN_NONE;
    /* Bodies of loops first: their groups are apart from those of the plan, and numbered from where they begin. */
    size_t n_loops = 0;
    for (size_t i = 0; ok && i < p->body.n_op; i++) {
        if (p->body.op[i].kind != PLAN_LOOP) continue;
        first[n_loops++] = p->n_groups;
        ok = group_body(p, p->body.op[i].u.loop, by_value);
    }
    if (ok) first[n_loops] = p->n_groups;
    ok = ok && group_body(p, &p->body, by_value);
    if (ok) mark_stored(p, &p->body);
    for (size_t i = 0; ok && i < p->n_output; i++) p->value[p->output[i].value].stored = true;
    n_loops = 0;
    for (size_t i = 0; ok && i < p->body.n_op; i++) {
        if (p->body.op[i].kind != PLAN_LOOP) continue;
        ok = make_steps(p, p->body.op[i].u.loop, first[n_loops], first[n_loops + 1]);
        if (ok) plan_loop(p, p->body.op[i].u.loop);
        n_loops++;
    }
    ok = ok && make_steps(p, &p->body, first[n_loops], p->n_groups);
    mem_free(by_value);
    mem_free(first);
    return ok;
}

static void settle(cr_plan *p, plan_body *b)
{
    for (size_t i = 0; i < b->n_step; i++) {
        const plan_step *s = &b->step[i];
        if (s->region) region_settle(s->region, p);
        if (s->kind == PLAN_LOOP) settle(p, s->op->u.loop);
    }
}

void plan_settle(cr_plan *p) { settle(p, &p->body); }
