/* Sums and maxima over windows: position by position, what its taps look at, each a run of entries side by side. Planes
 * are shared out among threads; within one, windows that overlap add in order. */
#include "plan/plan.h"

#include <math.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

enum { SMALL_WORK = 20000 }; /* entries looked at below which threads do not pay */

typedef struct pool_run {
    const plan_pool *p;
    const kern_table *t;
    size_t size; /* bytes of an entry */
    char *top, *ties, *share, *none, *hit; /* a run each */
} pool_run;

/* The taps t0..t1-1 of each axis that are inside at a position, and where the first one looks: offsets into x. */
typedef struct look {
    int64_t first[CR_MAX_RANK], n[CR_MAX_RANK];
    bool any;
} look;

static void look_from(const plan_pool *p, const int64_t *position, look *k)
{
    const window_numbers *w = &p->window;
    k->any = true;
    for (unsigned a = 0; a < p->axes; a++) {
        int64_t at = w->stride[a] * position[a] - w->low[a], d = w->dilation[a], last = w->size[SLOT_X][a] - 1 - at;
        int64_t from = at < 0 ? (-at + d - 1) / d : 0, to = last < 0 ? 0 : last / d + 1;
        to = to > w->size[SLOT_W][a] ? w->size[SLOT_W][a] : to;
        k->first[a] = at + d * from;
        k->n[a] = to - from;
        k->any = k->any && to > from;
    }
}

/* Entries into a plane with the strides `step`, at the taps in order: first call with tap all 0. */
static int64_t tap_offset(const plan_pool *p, const look *k, const int64_t *tap, const int64_t *step)
{
    int64_t offset = 0;
    for (unsigned a = 0; a < p->axes; a++) offset += (k->first[a] + p->window.dilation[a] * tap[a]) * step[a];
    return offset;
}

static bool next(unsigned axes, const int64_t *n, int64_t *at)
{
    for (unsigned a = axes; a-- > 0;) {
        if (++at[a] < n[a]) return true;
        at[a] = 0;
    }
    return false;
}

#define EACH_TAP(r, k, tap) \
    for (int64_t tap[CR_MAX_RANK] = {0}, more_ = (k)->any; more_; more_ = next((r)->p->axes, (k)->n, tap))

static void map(const pool_run *r, kern_op op, char *out, const char *a, const char *b, const char *c)
{
    r->t->map[op][0](r->p->run, out, a, b, c, 0);
}

static char *in_plane(const pool_run *r, char *plane, const look *k, const int64_t *tap, const int64_t *step)
{
    return plane + tap_offset(r->p, k, tap, step) * (int64_t)r->size;
}

static void find_top(const pool_run *r, char *x, const look *k, char *top)
{
    bool first = true;
    EACH_TAP(r, k, tap) {
        const char *from = in_plane(r, x, k, tap, r->p->in[0]);
        if (first) memcpy(top, from, r->p->run * r->size);
        else map(r, KERN_MAX, top, top, from, NULL);
        first = false;
    }
}

static void count_ties(const pool_run *r, char *x, const look *k, const char *top, char *ties)
{
    r->t->fill(r->p->run, ties, 0);
    EACH_TAP(r, k, tap) {
        map(r, KERN_EQ, r->hit, in_plane(r, x, k, tap, r->p->in[0]), top, NULL);
        map(r, KERN_ADD, ties, ties, r->hit, NULL);
    }
}

/* y, at a position: what is picked from x, or given to x. A window of NaN has no ties: 0/0 for all of it. */
static void pick(const pool_run *r, char *x, char *picked, char *out, char *y, const look *k)
{
    const plan_pool *p = r->p;
    find_top(r, x, k, r->top);
    count_ties(r, x, k, r->top, r->ties);
    r->t->fill(p->run, r->none, 0);
    map(r, KERN_DIV, r->none, r->none, r->ties, NULL);
    if (p->to_x) map(r, KERN_DIV, r->share, y, r->ties, NULL);
    else r->t->fill(p->run, y, 0);
    EACH_TAP(r, k, tap) {
        map(r, KERN_EQ, r->hit, in_plane(r, x, k, tap, p->in[0]), r->top, NULL);
        if (p->to_x) {
            char *to = in_plane(r, out, k, tap, p->out);
            map(r, KERN_SELECT, r->hit, r->hit, r->share, r->none);
            map(r, KERN_ADD, to, to, r->hit, NULL);
        } else {
            map(r, KERN_DIV, r->share, in_plane(r, picked, k, tap, p->in[1]), r->ties, NULL);
            map(r, KERN_SELECT, r->hit, r->hit, r->share, r->none);
            map(r, KERN_ADD, y, y, r->hit, NULL);
        }
    }
}

static void fill_plane(const pool_run *r, char *out)
{
    const plan_pool *p = r->p;
    int64_t at[CR_MAX_RANK] = {0};
    const int64_t *n = p->window.size[p->to_x ? SLOT_X : SLOT_Y];
    do {
        int64_t offset = 0;
        for (unsigned a = 0; a < p->axes; a++) offset += at[a] * p->out[a];
        r->t->fill(p->run, out + offset * (int64_t)r->size, p->op == CR_OP_MAXPOOL ? -INFINITY : 0);
    } while (next(p->axes, n, at));
}

/* x: for a sum given to x it is y. */
static void run_plane(const pool_run *r, char *x, char *picked, char *out)
{
    const plan_pool *p = r->p;
    const int64_t *step = !p->to_x ? p->out : p->op == CR_OP_WINDOW ? p->in[0] : p->in[1]; /* of y */
    int64_t position[CR_MAX_RANK] = {0};
    fill_plane(r, out);
    do {
        look k;
        int64_t offset = 0;
        look_from(p, position, &k);
        if (!k.any) continue;
        for (unsigned a = 0; a < p->axes; a++) offset += position[a] * step[a];
        char *y = (!p->to_x ? out : p->op == CR_OP_WINDOW ? x : picked) + offset * (int64_t)r->size;
        if (p->op == CR_OP_MAXPICK) {
            pick(r, x, picked, out, y, &k);
        } else if (p->op == CR_OP_MAXPOOL) {
            find_top(r, x, &k, y);
        } else if (p->op == CR_OP_MAXTIES) {
            find_top(r, x, &k, r->top);
            count_ties(r, x, &k, r->top, y);
        } else {
            EACH_TAP(r, &k, tap) {
                char *at = in_plane(r, p->to_x ? out : x, &k, tap, p->to_x ? p->out : p->in[0]);
                char *to = p->to_x ? at : y;
                map(r, KERN_ADD, to, to, p->to_x ? y : at, NULL);
            }
        }
    } while (next(p->axes, p->window.size[SLOT_Y], position));
}

/* ---- a run -------------------------------------------------------------------------------------- */

enum { RUNS = 5 };

static size_t run_bytes(const cr_plan *p, const plan_op *x)
{
    return (x->u.pool->run * kern_size(p->dtype) + 63) / 64 * 64;
}

size_t plan_pool_scratch(const cr_plan *p, const plan_op *x) { return p->threads * RUNS * run_bytes(p, x); }

void plan_run_pool(const plan_run *r, const plan_op *x, char *scratch, int64_t index)
{
    const plan_pool *p = x->u.pool;
    size_t planes = 1, bytes = run_bytes(r->plan, x), work = p->run;
    const plan_operand *v[3] = {&x->to, &x->in[0], &x->in[1]};
    unsigned n = x->n_in + 1u;
    for (unsigned k = 0; k < x->rank; k++) planes *= (size_t)x->dim[k];
    for (unsigned a = 0; a < p->axes; a++) work *= (size_t)(p->window.size[SLOT_Y][a] * p->window.size[SLOT_W][a]);
    size_t threads = planes * work < SMALL_WORK ? 1 : planes < r->plan->threads ? planes : r->plan->threads;
#pragma omp parallel for num_threads((int)threads) schedule(static, 1) if (threads > 1)
    for (size_t me = 0; me < threads; me++) {
        char *mine = scratch + me * RUNS * bytes;
        pool_run w = {.p = p, .t = kern_table_of(r->plan->dtype, r->plan->level), .size = kern_size(r->plan->dtype),
                      .top = mine, .ties = mine + bytes, .share = mine + 2 * bytes, .none = mine + 3 * bytes,
                      .hit = mine + 4 * bytes};
        for (size_t i = planes * me / threads; i < planes * (me + 1) / threads; i++) {
            char *at[3] = {NULL, NULL, NULL};
            for (unsigned k = 0; k < n; k++) at[k] = plan_entry(r, v[k], index);
            plan_move(r, x, i, n, v, at);
            run_plane(&w, at[1], at[2], at[0]);
        }
    }
}
