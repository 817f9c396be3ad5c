/* Determinants, inverses and powers of matrices, in doubles for every dtype. Large ones go to LAPACK, where there is
 * one; the reference's own factorisations do the rest: small matrices, what LAPACK gives up on (entries that are not
 * finite), adjugates, which are to be right for singular matrices. */
#include "kernel/lapack.h"
#include "plan/plan.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { LAPACK_FROM = 16 /* rows */ };

struct linalg_plan {
    cr_op op;
    size_t rows, columns;
    double eps; /* of the dtype: what entries are known to */
    bool to_lapack;
    lapack_plan lapack; /* PINV: singular values and vectors; MATPOW: the inverse */
    gemm_plan product;  /* PINV: of the factors; MATPOW: of two matrices */
    size_t threads;     /* that take matrices of their own */
    size_t in, out, spare, work, each; /* bytes: offsets of a thread's matrices, of what the calls work in; all of it */
};

static size_t aligned(size_t n) { return (n + 63) / 64 * 64; }

static size_t inner(const linalg_plan *w) { return w->rows < w->columns ? w->rows : w->columns; }

/* ---- planning ----------------------------------------------------------------------------------- */

static bool plan_lapack(cr_plan *p, linalg_plan *w)
{
    static const struct { bool has; lapack_task task; } task[CR_OP_COUNT] = {
        [CR_OP_DET] = {true, LAPACK_DET},     [CR_OP_LOGDET] = {true, LAPACK_DET},
        [CR_OP_INV] = {true, LAPACK_INVERSE}, [CR_OP_MATPOW] = {true, LAPACK_INVERSE},
        [CR_OP_PINV] = {true, LAPACK_SVD},
    };
    if (!task[w->op].has || inner(w) < LAPACK_FROM) return true;
    /* Without OpenBLAS, own code does it. */
    cr_status status = lapack_plan_init(&w->lapack, task[w->op].task, KERN_F64, w->rows, w->columns, 0,
                                        p->deterministic ? 1 : p->threads, NULL);
    w->to_lapack = status == CR_OK;
    return status != CR_ENOMEM || plan_no_memory(p);
}

/* MATPOW: C = A B. PINV: C = V' diag(1/s) U', of which U' comes as the rows of B, already divided. */
static void plan_product(cr_plan *p, linalg_plan *w)
{
    size_t m = w->rows, n = w->columns, k = inner(w);
    gemm_options o = {.level = p->level, .threads = w->threads > 1 ? 1 : p->threads};
    gemm_shape s = {.dtype = KERN_F64, .batch = 1, .m = n, .n = n, .k = n, .a_m = (ptrdiff_t)n, .a_k = 1,
                    .b_k = (ptrdiff_t)n, .b_n = 1, .c_m = (ptrdiff_t)n, .c_n = 1};
    if (w->op == CR_OP_PINV) {
        s.n = m, s.k = k;
        s.a_m = 1, s.a_k = (ptrdiff_t)n;
        s.b_k = 1, s.b_n = (ptrdiff_t)k;
        s.c_m = (ptrdiff_t)m;
    }
    gemm_plan_init(&w->product, &s, &o);
}

static size_t room(size_t *end, size_t bytes)
{
    size_t at = *end;
    *end += aligned(bytes);
    return at;
}

linalg_plan *plan_linalg_new(cr_plan *p, const plan_op *x, size_t *scratch)
{
    const plan_linalg *la = &x->u.linalg;
    size_t n = la->rows * la->columns, work = exec_linalg_room_f64(la->op, la->rows, la->columns) * sizeof(double);
    linalg_plan *w = arena_alloc(&p->mem, sizeof *w);
    if (!w) {
        plan_no_memory(p);
        return NULL;
    }
    *w = (linalg_plan){.op = la->op, .rows = la->rows, .columns = la->columns, .threads = 1,
                        .eps = p->dtype == KERN_F32 ? FLT_EPSILON : DBL_EPSILON};
    if (!plan_lapack(p, w)) return NULL;
    bool heavy = (double)la->batch * (double)n * (double)inner(w) > 50000;
    if (!w->to_lapack && heavy && la->batch > 1) w->threads = la->batch < p->threads ? la->batch : p->threads;
    plan_product(p, w);
    work = work > w->lapack.scratch ? work : w->lapack.scratch;
    work = work > w->product.scratch ? work : w->product.scratch;
    w->in = room(&w->each, n * sizeof(double));
    w->out = room(&w->each, n * sizeof(double));
    w->spare = w->each;
    if (la->op == CR_OP_MATPOW) room(&w->each, 2 * n * sizeof(double));
    if (la->op == CR_OP_PINV) room(&w->each, (n + inner(w) * (1 + inner(w))) * sizeof(double));
    w->work = room(&w->each, work);
    *scratch = w->threads * w->each;
    return w;
}

/* ---- a run -------------------------------------------------------------------------------------- */

static bool all_finite(const double *a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(a[i])) return false;
    }
    return true;
}

static void fill(double *x, size_t n, double v)
{
    for (size_t i = 0; i < n; i++) x[i] = v;
}

/* False: it is not for LAPACK. */
static bool lapack_determinant(const linalg_plan *w, const double *a, double *out, char *mine)
{
    double sign, ln;
    if (lapack_det(&w->lapack, a, &sign, &ln, mine + w->work) != LAPACK_DONE) return false;
    *out = w->op == CR_OP_DET ? (sign == 0 ? 0 : sign * exp(ln)) : sign > 0 ? ln : NAN;
    return true;
}

static bool lapack_inverse_or_nan(const linalg_plan *w, const double *a, double *out, char *mine)
{
    lapack_result done = lapack_inverse(&w->lapack, a, out, mine + w->work);
    if (done == LAPACK_SINGULAR) fill(out, w->rows * w->columns, NAN);
    return done != LAPACK_UNFINISHED;
}

/* V' diag(1/s) U'; singular values below max(m,n) eps s_max count as 0, as the reference has it. */
static bool lapack_pseudo_inverse(const linalg_plan *w, const double *a, double *out, char *mine)
{
    size_t m = w->rows, n = w->columns, k = inner(w);
    double *s = (double *)(void *)(mine + w->spare), *u = s + k, *v = u + m * k;
    if (lapack_svd(&w->lapack, a, u, s, v, mine + w->work) != LAPACK_DONE) return false;
    double least = (double)(m > n ? m : n) * w->eps * s[0];
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < k; j++) u[i * k + j] = s[j] <= least ? 0 : u[i * k + j] / s[j];
    }
    gemm_run(&w->product, v, u, out, mine + w->work);
    return true;
}

static bool by_lapack(const linalg_plan *w, const double *a, double *out, char *mine)
{
    if (!w->to_lapack || !all_finite(a, w->rows * w->columns)) return false;
    switch (w->op) {
    case CR_OP_DET: case CR_OP_LOGDET: return lapack_determinant(w, a, out, mine);
    case CR_OP_PINV: return lapack_pseudo_inverse(w, a, out, mine);
    default: return lapack_inverse_or_nan(w, a, out, mine);
    }
}

/* By repeated squaring; A^1 is A, also where A is not finite. */
static void power(const linalg_plan *w, const double *a, int64_t exponent, double *out, char *mine)
{
    size_t n = w->rows, bytes = n * n * sizeof *a;
    double *base = (double *)(void *)(mine + w->spare), *t = base + n * n;
    bool first = true;
    if (exponent >= 0) memcpy(base, a, bytes);
    else if (!by_lapack(w, a, base, mine)) {
        exec_linalg_f64(CR_OP_INV, 0, a, n, n, base, (double *)(void *)(mine + w->work));
    }
    fill(out, n * n, 0);
    for (size_t i = 0; i < n; i++) out[i * n + i] = 1;
    for (uint64_t e = exponent < 0 ? -(uint64_t)exponent : (uint64_t)exponent; e; e >>= 1) {
        if (e & 1) {
            if (!first) gemm_run(&w->product, out, base, t, mine + w->work);
            memcpy(out, first ? base : t, bytes);
            first = false;
        }
        if (e == 1) break;
        gemm_run(&w->product, base, base, t, mine + w->work);
        memcpy(base, t, bytes);
    }
}

static void run_one(const linalg_plan *w, const double *a, int64_t exponent, double *out, char *mine)
{
    double *work = (double *)(void *)(mine + w->work);
    if (w->op == CR_OP_MATPOW) power(w, a, exponent, out, mine);
    else if (by_lapack(w, a, out, mine)) return;
    else if (w->op == CR_OP_PINV) exec_pinv_f64(a, w->rows, w->columns, w->eps, out, work);
    else exec_linalg_f64(w->op, 0, a, w->rows, w->columns, out, work);
}

static void widen(double *out, const float *in, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = in[i];
}

static void narrow(float *out, const double *in, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = (float)in[i];
}

void plan_run_linalg(const plan_run *r, const plan_step *s, char *scratch, int64_t index)
{
    const linalg_plan *w = s->linalg;
    const plan_linalg *la = &s->op->u.linalg;
    bool is_double = r->plan->dtype == KERN_F64;
    size_t n = w->rows * w->columns, n_out = w->op == CR_OP_DET || w->op == CR_OP_LOGDET ? 1 : n;
    size_t size = kern_size(r->plan->dtype);
    const char *in = plan_entry(r, &s->op->in[0], index);
    char *out = plan_pointer(r, s->op->out);
#pragma omp parallel for num_threads((int)w->threads) schedule(static) if (w->threads > 1)
    for (size_t me = 0; me < w->threads; me++) {
        char *mine = scratch + me * w->each;
        for (size_t i = la->batch * me / w->threads; i < la->batch * (me + 1) / w->threads; i++) {
            const void *from = in + i * n * size;
            void *to = out + i * n_out * size;
            double *a = (double *)(void *)(mine + w->in), *b = (double *)(void *)(mine + w->out);
            if (!is_double) widen(a, from, n);
            run_one(w, is_double ? from : a, la->exponent ? la->exponent[i] : 0, is_double ? to : b, mine);
            if (!is_double) narrow(to, b, n_out);
        }
    }
}
