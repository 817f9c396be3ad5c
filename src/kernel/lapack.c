#include "kernel/lapack.h"

#include "kernel/libraries.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

/* Fortran's calling convention: everything by address, lengths of strings at the end. The functions for f32 and f64
 * differ in what the void pointers point at. */
typedef void gesdd(const char *job, const int *m, const int *n, void *a, const int *lda, void *s, void *u,
                   const int *ldu, void *vt, const int *ldvt, void *work, const int *lwork, int *iwork, int *info,
                   size_t job_length);
typedef void gelqf(const int *m, const int *n, void *a, const int *lda, void *tau, void *work, const int *lwork,
                   int *info);
typedef void orglq(const int *m, const int *n, const int *k, void *a, const int *lda, const void *tau, void *work,
                   const int *lwork, int *info);
typedef void getrf(const int *m, const int *n, void *a, const int *lda, int *pivot, int *info);
typedef void getrs(const char *transposed, const int *n, const int *columns, const void *a, const int *lda,
                   const int *pivot, void *b, const int *ldb, int *info, size_t transposed_length);
typedef void getri(const int *n, void *a, const int *lda, const int *pivot, void *work, const int *lwork, int *info);

typedef union function {
    void *address;
    gesdd *gesdd;
    gelqf *gelqf;
    orglq *orglq;
    getrf *getrf;
    getrs *getrs;
    getri *getri;
} function;

static function call(const lapack_plan *p, int i) { return (function){.address = p->call[i]}; }

static const struct {
    const char *call[2][3]; /* f32, f64 */
    bool square;
} tasks[LAPACK_TASKS] = {
    [LAPACK_VALUES] = {{{"sgesdd_"}, {"dgesdd_"}}, false},
    [LAPACK_SVD] = {{{"sgesdd_"}, {"dgesdd_"}}, false},
    [LAPACK_QR] = {{{"sgelqf_", "sorglq_"}, {"dgelqf_", "dorglq_"}}, false},
    [LAPACK_SOLVE] = {{{"sgetrf_", "sgetrs_"}, {"dgetrf_", "dgetrs_"}}, true},
    [LAPACK_INVERSE] = {{{"sgetrf_", "sgetri_"}, {"dgetrf_", "dgetri_"}}, true},
    [LAPACK_DET] = {{{"sgetrf_"}, {"dgetrf_"}}, true},
};

/* ---- threads ------------------------------------------------------------------------------------ */

/* OpenBLAS with OpenMP asks for the number that the calling thread would start. */
static int threads_set(int n)
{
#ifdef _OPENMP
    int before = omp_get_max_threads();
    omp_set_num_threads(n);
    return before;
#else
    return n;
#endif
}

/* ---- planning ----------------------------------------------------------------------------------- */

static double number(const lapack_plan *p, const void *v, size_t i)
{
    return p->dtype == KERN_F32 ? (double)((const float *)v)[i] : ((const double *)v)[i];
}

/* A length that LAPACK gives as a number of the dtype; a float may have been rounded down. */
static int length(const lapack_plan *p, const void *v)
{
    double n = number(p, v, 0);
    if (p->dtype == KERN_F32) n *= 1 + 0x1p-22;
    return n < 1 ? 1 : n < INT_MAX ? (int)ceil(n) : 0;
}

/* The number of numbers that the task's calls want to work in; 0: too many. */
static int ask_work(const lapack_plan *p)
{
    double v[2] = {0, 0};
    int ask = -1, info = 0, most;
    switch (p->task) {
    case LAPACK_VALUES:
    case LAPACK_SVD:
        call(p, 0).gesdd(p->task == LAPACK_VALUES ? "N" : "S", &p->n, &p->m, v, &p->n, v, v, &p->n, v, &p->rank, v,
                         &ask, &info, &info, 1);
        return length(p, v);
    case LAPACK_QR:
        call(p, 0).gelqf(&p->n, &p->m, v, &p->n, v, v, &ask, &info);
        most = length(p, v);
        call(p, 1).orglq(&p->rank, &p->m, &p->rank, v, &p->rank, v, v, &ask, &info);
        return most == 0 || length(p, v) == 0 ? 0 : most > length(p, v) ? most : length(p, v);
    case LAPACK_INVERSE:
        call(p, 1).getri(&p->n, v, &p->n, &info, v, &ask, &info);
        return length(p, v);
    default: return 1;
    }
}

/* Room for n things in the scratch; offsets are multiples of 64. */
static size_t room(lapack_plan *p, size_t n, size_t size)
{
    size_t at = p->scratch;
    p->scratch += (n * size + 63) / 64 * 64;
    return at;
}

static bool find_calls(lapack_plan *p, error *e)
{
    for (int i = 0; i < 3; i++) {
        const char *name = tasks[p->task].call[p->dtype][i];
        if (name && !(p->call[i] = library_symbol(LIBRARY_OPENBLAS, name, e))) return false;
    }
    return true;
}

cr_status lapack_plan_init(lapack_plan *p, lapack_task task, kern_dtype dtype, size_t m, size_t n, size_t columns,
                           unsigned threads, error *e)
{
    size_t rank = m < n ? m : n, size = kern_size(dtype);
    *p = (lapack_plan){.task = task, .dtype = dtype, .threads = threads};
    if (tasks[task].square && m != n) {
        err_set(e, CR_ESHAPE, "a square matrix is needed; this one is %zu x %zu", m, n);
        return CR_ESHAPE;
    }
    /* Fortran's indices are ints, into one matrix at most. */
    if (m > INT_MAX || n > INT_MAX || columns > INT_MAX || (n > 0 && (m > INT_MAX / n || columns > INT_MAX / n))) {
        err_set(e, CR_ELIMIT, "a matrix of %zu x %zu is too large for LAPACK", m, n);
        return CR_ELIMIT;
    }
    p->m = (int)m, p->n = (int)n, p->rank = (int)rank, p->columns = (int)columns;
    if (!find_calls(p, e)) return CR_EUNSUPPORTED;
    if (rank == 0) return CR_OK;
    p->work = ask_work(p);
    if (p->work == 0) {
        err_set(e, CR_ELIMIT, "a matrix of %zu x %zu is too large for LAPACK", m, n);
        return CR_ELIMIT;
    }
    if (task != LAPACK_INVERSE) p->at_matrix = room(p, m * n, size);
    if (task == LAPACK_QR) p->at_more = room(p, rank, size);
    if (task == LAPACK_SOLVE && columns > 1) p->at_more = room(p, n * columns, size);
    p->at_pivot = room(p, task == LAPACK_VALUES || task == LAPACK_SVD ? 8 * rank : rank, sizeof(int));
    p->at_work = room(p, (size_t)p->work, size);
    return CR_OK;
}

/* ---- running ------------------------------------------------------------------------------------ */

static void *copy(const lapack_plan *p, void *to, const void *a)
{
    memcpy(to, a, (size_t)p->m * (size_t)p->n * kern_size(p->dtype));
    return to;
}

/* to[j*m + i] = from[i*n + j] */
static void transpose(kern_dtype t, size_t m, size_t n, void *to, const void *from)
{
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            if (t == KERN_F32) {
                ((float *)to)[j * m + i] = ((const float *)from)[i * n + j];
            } else {
                ((double *)to)[j * m + i] = ((const double *)from)[i * n + j];
            }
        }
    }
}

/* A' = V' diag(s) U': what LAPACK calls U is our V. */
static lapack_result decompose(const lapack_plan *p, const char *job, const void *a, void *u, void *s, void *v,
                               char *scratch)
{
    int info = 0;
    if (p->rank == 0) return LAPACK_DONE;
    int before = threads_set((int)p->threads);
    call(p, 0).gesdd(job, &p->n, &p->m, copy(p, scratch + p->at_matrix, a), &p->n, s, v, &p->n, u, &p->rank,
                     scratch + p->at_work, &p->work, (int *)(void *)(scratch + p->at_pivot), &info, 1);
    threads_set(before);
    return info == 0 ? LAPACK_DONE : LAPACK_UNFINISHED;
}

lapack_result lapack_values(const lapack_plan *p, const void *a, void *s, void *scratch)
{
    return decompose(p, "N", a, s, s, s, scratch);
}

lapack_result lapack_svd(const lapack_plan *p, const void *a, void *u, void *s, void *v, void *scratch)
{
    return decompose(p, "S", a, u, s, v, scratch);
}

/* A' = L Q', R = L'. */
lapack_result lapack_qr(const lapack_plan *p, const void *a, void *q, void *r, void *scratch)
{
    size_t size = kern_size(p->dtype), m = (size_t)p->m, n = (size_t)p->n, rank = (size_t)p->rank;
    char *memory = scratch, *work = memory + p->at_work, *tau = memory + p->at_more, *lq;
    int info = 0, info_q = 0;
    if (rank == 0) return LAPACK_DONE;
    int before = threads_set((int)p->threads);
    lq = copy(p, memory + p->at_matrix, a);
    call(p, 0).gelqf(&p->n, &p->m, lq, &p->n, tau, work, &p->work, &info);
    for (size_t i = 0; i < rank; i++) {
        memset((char *)r + i * n * size, 0, i * size);
        memcpy((char *)r + (i * n + i) * size, lq + (i * n + i) * size, (n - i) * size);
    }
    for (size_t i = 0; i < m; i++) memcpy((char *)q + i * rank * size, lq + i * n * size, rank * size);
    call(p, 1).orglq(&p->rank, &p->m, &p->rank, q, &p->rank, tau, work, &p->work, &info_q);
    threads_set(before);
    return info == 0 && info_q == 0 ? LAPACK_DONE : LAPACK_UNFINISHED;
}

/* A' = P L U in place of a; info as LAPACK has it: i > 0 if pivot i is 0. */
static int factorise(const lapack_plan *p, void *a, char *scratch)
{
    int info = 0;
    call(p, 0).getrf(&p->n, &p->n, a, &p->n, (int *)(void *)(scratch + p->at_pivot), &info);
    return info;
}

lapack_result lapack_solve(const lapack_plan *p, const void *a, const void *b, void *x, void *scratch)
{
    char *memory = scratch, *lu, *right = x;
    size_t n = (size_t)p->n, columns = (size_t)p->columns;
    if (n == 0 || columns == 0) return LAPACK_DONE;
    int before = threads_set((int)p->threads);
    lu = copy(p, memory + p->at_matrix, a);
    int info = factorise(p, lu, memory);
    if (info == 0) {
        if (columns > 1) right = memory + p->at_more;
        transpose(p->dtype, n, columns, right, b);
        call(p, 1).getrs("T", &p->n, &p->columns, lu, &p->n, (int *)(void *)(memory + p->at_pivot), right, &p->n, &info,
                         1);
        if (columns > 1) transpose(p->dtype, columns, n, x, right);
    }
    threads_set(before);
    return info > 0 ? LAPACK_SINGULAR : info < 0 ? LAPACK_UNFINISHED : LAPACK_DONE;
}

lapack_result lapack_inverse(const lapack_plan *p, const void *a, void *inverse, void *scratch)
{
    char *memory = scratch;
    if (p->n == 0) return LAPACK_DONE;
    int before = threads_set((int)p->threads);
    int info = factorise(p, copy(p, inverse, a), memory);
    if (info == 0) {
        call(p, 1).getri(&p->n, inverse, &p->n, (int *)(void *)(memory + p->at_pivot), memory + p->at_work, &p->work,
                         &info);
    }
    threads_set(before);
    return info > 0 ? LAPACK_SINGULAR : info < 0 ? LAPACK_UNFINISHED : LAPACK_DONE;
}

lapack_result lapack_det(const lapack_plan *p, const void *a, double *sign, double *ln, void *scratch)
{
    char *memory = scratch;
    size_t n = (size_t)p->n;
    *sign = 1, *ln = 0;
    if (n == 0) return LAPACK_DONE;
    int before = threads_set((int)p->threads);
    char *lu = copy(p, memory + p->at_matrix, a);
    int info = factorise(p, lu, memory);
    threads_set(before);
    const int *pivot = (const int *)(void *)(memory + p->at_pivot);
    if (info < 0) return LAPACK_UNFINISHED;
    for (size_t i = 0; i < n; i++) {
        double d = number(p, lu, i * n + i);
        if (pivot[i] != (int)i + 1) *sign = -*sign;
        if (d < 0) *sign = -*sign;
        *ln += log(fabs(d));
        if (d == 0) {
            *sign = 0, *ln = -INFINITY;
            return LAPACK_DONE;
        }
    }
    return LAPACK_DONE;
}
