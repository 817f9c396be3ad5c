/* Runs the code of loop.h. */
#include "exec/loop.h"

#include <math.h>
#include <string.h>

#include "exec/f64.inc"
#include "exec/kernels.inc"

/* Loops over many numbers: several at a time where the compiler can. It changes no result. */
#if defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((optimize("O3", "fp-contract=off")))
#else
#define WIDE
#endif

/* Where an operand lies: for index t of the run (0 the first) at p + t*step, a block's indices `inner` apart. */
typedef struct place {
    double *p;
    int64_t step, inner;
    size_t w;
    int64_t lo, hi;  /* memory that is there; others read as 0 and are not used in the end */
    double *bounce;
} place;

typedef struct job { /* a loop_code with places */
    loop_op op;
    const loop_code *code;
    kernel1 *f1;
    kernel2 *f2;
    place to, twin, a, b, c;
    double *state; /* of a SCAN */
} job;

typedef struct runner {
    const loop_room *room;
    const loop_program *p;
    size_t block;
    double **reg;
    job *job;
    size_t n;
    arena mem;
} runner;

static double *doubles(runner *r, size_t n)
{
    return n > SIZE_MAX / sizeof(double) ? NULL : arena_alloc(&r->mem, n * sizeof(double));
}

static bool locate(runner *r, const loop_operand *o, place *to)
{
    int64_t lo = r->p->lo, n = r->p->hi - lo + 1;
    *to = (place){.w = o->w, .lo = INT64_MIN, .hi = INT64_MAX};
    if (o->w == 0) { /* there is no such operand */
        return true;
    }
    switch (o->kind) {
    case LOOP_REGISTER:
        to->p = r->reg[o->id];
        to->inner = o->w;
        return true;
    case LOOP_FIXED:
        to->p = o->p;
        return true;
    case LOOP_PARAM: to->p = o->p; break;
    case LOOP_TABLE: to->p = r->room->table[o->id].v; break;
    case LOOP_TWIN: to->p = r->room->twin[o->id].v; break;
    }
    int64_t start = (o->still ? 0 : lo) + o->shift - o->first;
    to->p += start * (int64_t)o->w;
    if (o->still) {
        return true;
    }
    to->step = to->inner = o->w;
    to->lo = -start;
    to->hi = o->count - start - 1;
    if ((to->lo > 0 || to->hi < n - 1) && !(to->bounce = doubles(r, r->block * o->w))) {
        return false;
    }
    return true;
}

static bool prepare(runner *r, const loop_code *code, size_t n, job *j)
{
    for (size_t i = 0; i < n; i++, j++) {
        const loop_code *k = &code[i];
        j->op = k->op;
        j->code = k;
        j->f1 = k->op == LOOP_MAP1 ? (k->map == CR_OP_NOT ? k_not : kernel1_of[k->map]) : NULL;
        j->f2 = k->op == LOOP_MAP2 ? kernel2_of[k->map] : NULL;
        if (!locate(r, &k->to, &j->to) || !locate(r, &k->twin, &j->twin) || !locate(r, &k->a, &j->a) ||
            !locate(r, &k->b, &j->b) || !locate(r, &k->c, &j->c)) {
            return false;
        }
        if (k->op == LOOP_SCAN) {
            if (!(j->state = doubles(r, k->to.w))) {
                return false;
            }
            for (size_t m = 0; m < k->to.w; m++) {
                j->state[m] = k->join == CR_BIND_PROD;
            }
        }
    }
    return true;
}

/* ---- index by index, scalars only --------------------------------------------------------------- */

/* sigmoid and sigmoid' from one exponential, bit by bit what k_sigmoid and k_dsigmoid give */
static inline double sigmoids(double z, double *slope)
{
    double e = t_exp(-fabs(z)), den = 1 + e;
    *slope = e / (den * den);
    return (z >= 0 ? 1 : e) / den;
}

/* A job over scalars: operands move by one number an index or stay, which a mask says. The one that the job before has
 * just computed does not come from memory (p is NULL): a recurrence would wait for it to get there and back. */
typedef struct scalar_place {
    double *p;
    int64_t mask; /* -1 moves, 0 stays */
} scalar_place;

typedef struct scalar_job {
    loop_op op;
    scalar_place to, a, b, c, twin;
    const job *job;
} scalar_job;

#define AT(x) ((x).p[t & (x).mask])
#define IN(x) ((x).p ? AT(x) : last)

static void step_scalars(const runner *r, const scalar_job *first, double last, int64_t n)
{
    const scalar_job *end = first + r->n;
    for (int64_t t = 0; t < n; t++) {
        for (const scalar_job *j = first; j < end; j++) {
            switch (j->op) {
            case LOOP_COPY: case LOOP_TOTAL: case LOOP_SCAN: last = IN(j->a); break;
            case LOOP_ADD: last = IN(j->a) + IN(j->b); break;
            case LOOP_MUL: case LOOP_DOT: last = IN(j->a) * IN(j->b); break;
            case LOOP_MULADD: last = IN(j->a) * IN(j->b) + IN(j->c); break;
            case LOOP_MAP1: last = j->job->f1(IN(j->a), &j->job->code->attr); break;
            case LOOP_MAP2: last = j->job->f2(IN(j->a), IN(j->b)); break;
            case LOOP_SELECT: last = t_select(IN(j->a), IN(j->b), IN(j->c)); break;
            case LOOP_SIGMOIDS: last = sigmoids(IN(j->a), &AT(j->twin)); break;
            case LOOP_INDEX:
                last = (double)(j->job->code->scale * (r->p->lo + t) + j->job->code->offset);
                break;
            }
            AT(j->to) = last;
        }
    }
}

/* `o` as an operand of a job; `before` is what the job before has written, `back` indices ago. */
static scalar_place scalar(const loop_operand *o, const place *x, const loop_operand *before, int64_t back)
{
    bool same = o->w && o->kind == before->kind && o->id == before->id && !o->still &&
                o->shift == before->shift - back && (o->kind == LOOP_TABLE || (o->kind == LOOP_REGISTER && back == 0));
    return same ? (scalar_place){NULL, 0} : (scalar_place){x->p, x->step ? -1 : 0};
}

static bool step_all_scalars(runner *r, int64_t n)
{
    double last = 0;
    scalar_job *j = arena_alloc(&r->mem, (r->n + 1) * sizeof *j);
    for (size_t i = 0; j && i < r->n; i++) {
        const job *k = &r->job[i];
        const loop_code *c = k->code;
        const loop_operand *before = &r->job[i ? i - 1 : r->n - 1].code->to;
        int64_t back = i == 0;
        j[i] = (scalar_job){k->op, {k->to.p, k->to.step ? -1 : 0}, scalar(&c->a, &k->a, before, back),
                            scalar(&c->b, &k->b, before, back), scalar(&c->c, &k->c, before, back),
                            {k->twin.p, -1}, k};
        last = i == 0 && c->a.w && !j[i].a.p ? *k->a.p : last;
        last = i == 0 && c->b.w && !j[i].b.p ? *k->b.p : last;
        last = i == 0 && c->c.w && !j[i].c.p ? *k->c.p : last;
    }
    if (j) {
        step_scalars(r, j, last, n);
    }
    return j != NULL;
}

/* ---- blocks ------------------------------------------------------------------------------------- */

/* Entries of an operand for t..t+n-1; what is out of range reads as 0. */
static const double *entries(const place *x, int64_t t, int64_t n)
{
    if (t >= x->lo && t + n - 1 <= x->hi) {
        return x->p + t * x->step;
    }
    for (int64_t i = 0; i < n; i++) {
        double *to = x->bounce + (size_t)i * x->w;
        if (t + i >= x->lo && t + i <= x->hi) {
            memcpy(to, x->p + (t + i) * x->step, x->w * sizeof *to);
        } else {
            memset(to, 0, x->w * sizeof *to);
        }
    }
    return x->bounce;
}

/* n entries; an operand whose distance is 0 is one number. What is written is nothing that is read: another index, or
 * another register. */
WIDE static void flat(const job *j, double *restrict to, double *restrict twin, const double *a, size_t sa,
                      const double *b, size_t sb, const double *c, size_t sc, size_t n)
{
    switch (j->op) {
    case LOOP_COPY:
        if (sa) memcpy(to, a, n * sizeof *to);
        else for (size_t i = 0; i < n; i++) to[i] = *a;
        break;
    case LOOP_ADD:
        if (sa && sb) for (size_t i = 0; i < n; i++) to[i] = a[i] + b[i];
        else for (size_t i = 0; i < n; i++) to[i] = a[i * sa] + b[i * sb];
        break;
    case LOOP_MUL:
        if (sa && sb) for (size_t i = 0; i < n; i++) to[i] = a[i] * b[i];
        else if (sb) for (size_t i = 0; i < n; i++) to[i] = *a * b[i];
        else for (size_t i = 0; i < n; i++) to[i] = a[i * sa] * *b;
        break;
    case LOOP_MULADD:
        for (size_t i = 0; i < n; i++) to[i] = a[i * sa] * b[i * sb] + c[i * sc];
        break;
    case LOOP_MAP1:
        if (j->code->map == CR_OP_SIGMOID) for (size_t i = 0; i < n; i++) to[i] = k_sigmoid(a[i * sa], NULL);
        else if (j->code->map == CR_OP_DSIGMOID) for (size_t i = 0; i < n; i++) to[i] = k_dsigmoid(a[i * sa], NULL);
        else for (size_t i = 0; i < n; i++) to[i] = j->f1(a[i * sa], &j->code->attr);
        break;
    case LOOP_MAP2:
        for (size_t i = 0; i < n; i++) to[i] = j->f2(a[i * sa], b[i * sb]);
        break;
    case LOOP_SELECT:
        for (size_t i = 0; i < n; i++) to[i] = t_select(a[i * sa], b[i * sb], c[i * sc]);
        break;
    case LOOP_SIGMOIDS: /* apart, so that all but the exponential are done several at a time */
        for (size_t i = 0; i < n; i++) twin[i] = exp(-fabs(a[i * sa]));
        for (size_t i = 0; i < n; i++) {
            double e = twin[i], den = 1 + e;
            to[i] = (a[i * sa] >= 0 ? 1 : e) / den;
            twin[i] = e / (den * den);
        }
        break;
    default: break;
    }
}

/* Four sums at a time: one would wait for each addition. */
WIDE static double dot(const double *a, const double *b, size_t n)
{
    double s[4] = {0, 0, 0, 0};
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        for (size_t k = 0; k < 4; k++) s[k] += b ? a[i + k] * b[i + k] : a[i + k];
    }
    for (; i < n; i++) s[0] += b ? a[i] * b[i] : a[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

WIDE static void scan_values(cr_bind_kind join, double *restrict s, double *restrict y, const double *restrict x,
                             size_t w)
{
    for (size_t m = 0; m < w; m++) {
        double v = s[m];
        y[m] = v;
        s[m] = join == CR_BIND_PROD ? v * x[m] : v + x[m];
    }
}

/* Scalars at[from], at[from + by], ... */
static void scan_scalars(const job *j, double *to, const double *a, int64_t from, int64_t by, int64_t n)
{
    double v = *j->state;
    int64_t inner = j->a.inner;
    if (j->code->join == CR_BIND_PROD) {
        for (int64_t i = 0, at = from; i < n; i++, at += by) {
            to[at] = v;
            v *= a[at * inner];
        }
    } else {
        for (int64_t i = 0, at = from; i < n; i++, at += by) {
            to[at] = v;
            v += a[at * inner];
        }
    }
    *j->state = v;
}

static void scan(const runner *r, const job *j, double *to, const double *a, int64_t t, int64_t n)
{
    const loop_code *k = j->code;
    size_t w = j->to.w;
    int64_t inner = j->a.inner, lo = k->lo - r->p->lo - t, hi = k->hi - r->p->lo - t; /* within the block */
    bool down = r->p->direction < 0;
    double *s = j->state;
    if (w == 1 && lo <= 0 && hi >= n - 1) {
        scan_scalars(j, to, a, down ? n - 1 : 0, down ? -1 : 1, n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t at = down ? n - 1 - i : i;
        const double *x = a + at * inner;
        double *y = to + (size_t)at * w;
        if (at < lo || at > hi) {
            memcpy(y, s, w * sizeof *y);
        } else if (j->a.w == w) {
            scan_values(k->join, s, y, x, w);
        } else {
            for (size_t m = 0; m < w; m++) {
                y[m] = s[m];
                s[m] = k->join == CR_BIND_PROD ? y[m] * *x : y[m] + *x;
            }
        }
    }
}

static void run_job(const runner *r, const job *j, int64_t t, int64_t n)
{
    size_t w = j->to.w;
    double *to = j->to.p + t * j->to.step, *twin = j->twin.p ? j->twin.p + t * j->twin.step : NULL;
    const place *in[3] = {&j->a, &j->b, &j->c};
    const double *x[3] = {NULL, NULL, NULL};
    bool even = true; /* each operand is one number, or has one for each entry */
    size_t step[3] = {0, 0, 0};
    for (int i = 0; i < 3; i++) {
        if (in[i]->p) {
            x[i] = entries(in[i], t, n);
            step[i] = in[i]->w == w && (in[i]->inner || w > 1);
            even = even && (in[i]->inner ? in[i]->w == w || n == 1 : in[i]->w == 1 || n == 1);
        }
    }
    if (j->op == LOOP_INDEX) {
        for (int64_t i = 0; i < n; i++) to[i] = (double)(j->code->scale * (r->p->lo + t + i) + j->code->offset);
    } else if (j->op == LOOP_DOT || j->op == LOOP_TOTAL) {
        for (int64_t i = 0; i < n; i++) {
            to[i] = dot(x[0] + i * j->a.inner, x[1] ? x[1] + i * j->b.inner : NULL, j->a.w);
        }
    } else if (j->op == LOOP_SCAN) {
        scan(r, j, to, x[0], t, n);
    } else if (even) {
        flat(j, to, twin, x[0], step[0], x[1], step[1], x[2], step[2], (size_t)n * w);
    } else {
        for (int64_t i = 0; i < n; i++) {
            const double *y[3];
            for (int k = 0; k < 3; k++) {
                y[k] = x[k] ? x[k] + i * in[k]->inner : NULL;
                step[k] = in[k]->w == w && w > 1;
            }
            flat(j, to + (size_t)i * w, twin ? twin + (size_t)i * w : NULL, y[0], step[0], y[1], step[1], y[2], step[2],
                 w);
        }
    }
}

static void run_jobs(const runner *r, int64_t t, int64_t n)
{
    for (size_t i = 0; i < r->n; i++) {
        run_job(r, &r->job[i], t, n);
    }
}

/* ---- results ------------------------------------------------------------------------------------ */

static void deliver(const runner *r, const place *from, const loop_result *to, int64_t t, int64_t n)
{
    const double *x = entries(from, t, n);
    static kernel2 *const join[] = {[CR_BIND_SUM] = t_add, [CR_BIND_PROD] = t_mul, [CR_BIND_ALL] = k_and,
                                    [CR_BIND_ANY] = k_or,  [CR_BIND_MAX] = k_max,  [CR_BIND_MIN] = k_min};
    if (!to->join) {
        int64_t lo = to->lo - r->p->lo - t, hi = to->hi - r->p->lo - t; /* within the block */
        lo = lo < 0 ? 0 : lo;
        hi = hi > n - 1 ? n - 1 : hi;
        double *out = to->out + (r->p->lo + t + lo - to->lo) * (int64_t)from->w;
        if (from->inner && lo <= hi) {
            memcpy(out, x + lo * from->inner, (size_t)(hi - lo + 1) * from->w * sizeof *out);
        }
        for (int64_t i = lo; i <= hi && !from->inner; i++, out += from->w) {
            memcpy(out, x, from->w * sizeof *out);
        }
        return;
    }
    for (int64_t i = 0; i < n; i++, x += from->inner) {
        int64_t index = r->p->lo + t + i;
        if (index < to->lo || index > to->hi) {
            continue;
        }
        double *out = to->out;
        if (index == to->lo) {
            memcpy(out, x, from->w * sizeof *out);
            continue;
        }
        for (size_t m = 0; m < from->w; m++) {
            out[m] = join[to->kind](out[m], x[m]);
        }
    }
}

/* Entries a block has: an instruction's registers should stay in the first cache. */
static size_t block_of(const loop_program *p, bool step)
{
    size_t w = 1;
    for (size_t i = 0; i < p->n_registers; i++) {
        w = p->width[i] > w ? p->width[i] : w;
    }
    return step || w >= 1024 ? 1 : w > 4 ? 1024 / w : 256;
}

static bool all_scalars(const loop_program *p)
{
    bool all = true;
    for (size_t i = 0; i < p->n; i++) {
        const loop_code *k = &p->code[i];
        all = all && k->to.w == 1 && k->a.w <= 1 && k->b.w <= 1 && k->c.w <= 1;
    }
    return all;
}

static bool run_all(runner *r, bool step, const loop_result *result)
{
    const loop_program *p = r->p;
    int64_t n = p->hi - p->lo + 1, block = (int64_t)r->block;
    place from = {0};
    r->job = arena_alloc(&r->mem, (p->n + p->n_once + 1) * sizeof *r->job);
    r->reg = arena_alloc(&r->mem, (p->n_registers + 1) * sizeof *r->reg);
    bool ok = r->job && r->reg;
    for (size_t i = 0; ok && i < p->n_registers; i++) {
        ok = (r->reg[i] = doubles(r, r->block * p->width[i])) != NULL;
    }
    if (ok) {
        memset(r->job, 0, (p->n + p->n_once + 1) * sizeof *r->job);
        ok = prepare(r, p->once, p->n_once, r->job);
    }
    r->n = p->n_once;
    if (ok) {
        run_jobs(r, 0, 1);
    }
    r->n = p->n;
    if (!ok || !prepare(r, p->code, p->n, r->job) || (result && !locate(r, &result->from, &from))) {
        return false;
    }
    if (step && all_scalars(p)) {
        return step_all_scalars(r, n);
    }
    for (int64_t k = 0; k < (n + block - 1) / block; k++) {
        int64_t t = (p->direction < 0 ? (n + block - 1) / block - 1 - k : k) * block;
        int64_t count = n - t < block ? n - t : block;
        run_jobs(r, t, count);
        if (result) {
            deliver(r, &from, result, t, count);
        }
    }
    return true;
}

bool loop_run(const loop_room *room, const loop_program *p, bool step, const loop_result *result)
{
    runner r = {.room = room, .p = p, .block = block_of(p, step)};
    bool ok = run_all(&r, step, result);
    arena_free(&r.mem);
    if (!ok) {
        graph_fail(room->g, CR_ENOMEM, "out of memory");
    }
    return ok;
}
