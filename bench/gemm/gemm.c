/* Products of matrices: ours, oneDNN's and OpenBLAS's, in turns, beside the peak of multiply-adds in registers.
 *
 *     gemm THREADS ROUNDS     one JSON array on standard output
 *
 * A round times each side once, over about as long as `slice` for small products, and the peak. Figures are the medians
 * of all rounds and the least. OpenBLAS and oneDNN are tuned: core type, THREADS threads. */
#define _DEFAULT_SOURCE /* madvise */
#include "kernel/gemm.h"
#include "kernel/libraries.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void fail(const char *what)
{
    fprintf(stderr, "gemm: %s\n", what);
    exit(1);
}

/* Huge pages, as the memory of a plan has. */
static void *memory(size_t n)
{
    size_t huge = (size_t)2 << 20;
    void *p = aligned_alloc(huge, (n / huge + 1) * huge);
    if (!p) fail("out of memory");
    madvise(p, (n / huge + 1) * huge, MADV_HUGEPAGE);
    memset(p, 0, n);
    return p;
}

/* ---- peak ---------------------------------------------------------------------------------------- */

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

enum { CHAINS = 12, STEPS = 4000 };

__attribute__((target("avx512f"))) static float chains_avx512(void)
{
    __m512 sum[CHAINS], x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
    for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_set1_ps((float)i);
    for (int p = 0; p < STEPS; p++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_fmadd_ps(sum[i], x, y);
    }
    for (int i = 1; i < CHAINS; i++) sum[0] = _mm512_add_ps(sum[0], sum[i]);
    return _mm512_cvtss_f32(sum[0]);
}

__attribute__((target("avx2,fma"))) static float chains_avx2(void)
{
    __m256 sum[CHAINS], x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
    for (int i = 0; i < CHAINS; i++) sum[i] = _mm256_set1_ps((float)i);
    for (int p = 0; p < STEPS; p++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) sum[i] = _mm256_fmadd_ps(sum[i], x, y);
    }
    for (int i = 1; i < CHAINS; i++) sum[0] = _mm256_add_ps(sum[0], sum[i]);
    return _mm256_cvtss_f32(sum[0]);
}

/* f32 operations in a second, of one thread. */
static double peak(kern_level level)
{
    static volatile float keep;
    double t = now();
    if (level == KERN_PLAIN) return 0;
    keep = level == KERN_AVX512 ? chains_avx512() : chains_avx2();
    t = now() - t;
    (void)keep;
    return 2.0 * CHAINS * STEPS * (level == KERN_AVX512 ? 16 : 8) / t;
}
#else
static double peak(kern_level level)
{
    (void)level;
    return 0;
}
#endif

/* ---- the sides ----------------------------------------------------------------------------------- */

typedef struct sample {
    const char *form; /* NN, NT (B transposed), TN (A transposed), as they lie in memory */
    kern_dtype dtype;
    size_t batch, m, n, k;
} sample;

typedef int onednn_sgemm(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                         const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
typedef void blas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                        const float *b, int ldb, float beta, float *c, int ldc);
typedef void blas_dgemm(int order, int ta, int tb, int m, int n, int k, double alpha, const double *a, int lda,
                        const double *b, int ldb, double beta, double *c, int ldc);

typedef union function {
    void *address;
    onednn_sgemm *onednn;
    blas_sgemm *sgemm;
    blas_dgemm *dgemm;
} function;

enum { OURS, ONEDNN, OPENBLAS, SIDES };
static function onednn, sgemm, dgemm;

typedef struct work {
    const sample *s;
    gemm_plan plan;
    void *a, *b, *c, *scratch;
} work;

static bool can(int side, const sample *s)
{
    return side == OURS || (side == ONEDNN && onednn.address && s->dtype == KERN_F32) ||
           (side == OPENBLAS && sgemm.address && dgemm.address);
}

static void call(int side, const work *w)
{
    const sample *s = w->s;
    size_t m = s->m, n = s->n, k = s->k, size = kern_size(s->dtype);
    bool ta = s->form[0] == 'T', tb = s->form[1] == 'T';
    size_t lda = ta ? m : k, ldb = tb ? k : n;
    if (side == OURS) {
        gemm_run(&w->plan, w->a, w->b, w->c, w->scratch);
        return;
    }
    /* Neither has a batch of its own: the products are shared out among the threads, each by one. */
#pragma omp parallel for schedule(static) if (s->batch > 1)
    for (size_t i = 0; i < s->batch; i++) {
        const char *a = (char *)w->a + i * m * k * size, *b = (char *)w->b + i * k * n * size;
        char *c = (char *)w->c + i * m * n * size;
        int ota = ta ? 112 : 111, otb = tb ? 112 : 111;
        if (side == ONEDNN) {
            onednn.onednn(ta ? 'T' : 'N', tb ? 'T' : 'N', (int64_t)m, (int64_t)n, (int64_t)k, 1, (const void *)a,
                          (int64_t)lda, (const void *)b, (int64_t)ldb, 0, (void *)c, (int64_t)n);
        } else if (s->dtype == KERN_F32) {
            sgemm.sgemm(101, ota, otb, (int)m, (int)n, (int)k, 1, (const void *)a, (int)lda, (const void *)b, (int)ldb,
                        0, (void *)c, (int)n);
        } else {
            dgemm.dgemm(101, ota, otb, (int)m, (int)n, (int)k, 1, (const void *)a, (int)lda, (const void *)b, (int)ldb,
                        0, (void *)c, (int)n);
        }
    }
}

static void fill(kern_dtype t, void *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double x = (double)(i * 7919 % 1009) / 504.5 - 1;
        if (t == KERN_F32) {
            ((float *)v)[i] = (float)x;
        } else {
            ((double *)v)[i] = x;
        }
    }
}

/* ---- measuring ----------------------------------------------------------------------------------- */

static void measure(const sample *s, unsigned threads, size_t rounds, bool comma)
{
    static const char *const name[SIDES] = {"ours", "onednn", "openblas"};
    size_t m = s->m, n = s->n, k = s->k, size = kern_size(s->dtype), entries = s->batch * m * n;
    bool ta = s->form[0] == 'T', tb = s->form[1] == 'T';
    gemm_shape shape = {
        .dtype = s->dtype, .batch = s->batch, .m = m, .n = n, .k = k,
        .a_batch = (ptrdiff_t)(m * k), .a_m = ta ? 1 : (ptrdiff_t)k, .a_k = ta ? (ptrdiff_t)m : 1,
        .b_batch = (ptrdiff_t)(k * n), .b_k = tb ? 1 : (ptrdiff_t)n, .b_n = tb ? (ptrdiff_t)k : 1,
        .c_batch = (ptrdiff_t)(m * n), .c_m = (ptrdiff_t)n, .c_n = 1,
    };
    gemm_options options = {kern_best(), threads};
    work w = {.s = s};
    gemm_plan_init(&w.plan, &shape, &options);
    w.a = memory(s->batch * m * k * size), w.b = memory(s->batch * k * n * size), w.c = memory(entries * size);
    w.scratch = memory(w.plan.scratch);
    fill(s->dtype, w.a, s->batch * m * k);
    fill(s->dtype, w.b, s->batch * k * n);
    double flops = 2.0 * (double)s->batch * (double)m * (double)n * (double)k, difference = 0;
    size_t repeats = flops < 2e6 ? (size_t)(2e6 / flops) + 1 : 1;
    double *time[SIDES], *top = malloc(rounds * sizeof *top);
    void *ours = malloc(entries * size);
    for (int side = 0; side < SIDES; side++) {
        time[side] = malloc(rounds * sizeof(double));
        if (!time[side] || !top || !ours) fail("out of memory");
        if (!can(side, s)) continue;
        call(side, &w);
        if (side == OURS) memcpy(ours, w.c, entries * size);
        for (size_t i = 0; i < entries; i++) {
            double d = s->dtype == KERN_F32 ? (double)((float *)w.c)[i] - (double)((float *)ours)[i]
                                            : ((double *)w.c)[i] - ((double *)ours)[i];
            difference = fmax(difference, fabs(d) / (double)k);
        }
    }
    for (size_t r = 0; r < rounds; r++) {
        top[r] = -peak(options.level) / (s->dtype == KERN_F32 ? 1 : 2) * threads;
        for (int side = 0; side < SIDES; side++) {
            if (!can(side, s)) continue;
            call(side, &w); /* the caches are each side's own */
            double t = now();
            for (size_t i = 0; i < repeats; i++) call(side, &w);
            time[side][r] = (now() - t) / (double)repeats;
        }
    }
    qsort(top, rounds, sizeof *top, by_size);
    printf("  {\"form\": \"%s\", \"dtype\": \"%s\", \"batch\": %zu, \"m\": %zu, \"n\": %zu, \"k\": %zu, "
           "\"threads\": %u, \"difference\": %.2e, \"peak\": %.4e, \"peak_best\": %.4e",
           s->form, s->dtype == KERN_F32 ? "f32" : "f64", s->batch, m, n, k, threads, difference, -top[rounds / 2],
           -top[0]);
    for (int side = 0; side < SIDES; side++) {
        if (can(side, s)) {
            qsort(time[side], rounds, sizeof(double), by_size);
            printf(", \"%s\": %.4e, \"%s_best\": %.4e", name[side], flops / time[side][rounds / 2], name[side],
                   flops / time[side][0]);
        }
        free(time[side]);
    }
    printf("}%s\n", comma ? "," : "");
    fflush(stdout);
    free(w.a);
    free(w.b);
    free(w.c);
    free(w.scratch);
    free(top);
    free(ours);
}

int main(int argc, char **argv)
{
    static const sample samples[] = {
#define BOTH(form, b, m, n, k) {form, KERN_F32, b, m, n, k}, {form, KERN_F64, b, m, n, k}
        BOTH("NN", 1, 128, 1024, 784),  BOTH("NN", 1, 128, 1024, 1024), BOTH("NT", 1, 128, 1024, 1024),
        BOTH("TN", 1, 1024, 1024, 128), BOTH("NN", 1, 128, 256, 256),   BOTH("NT", 1, 128, 256, 256),
        BOTH("TN", 1, 256, 256, 128),   BOTH("NN", 1, 512, 512, 512),   BOTH("NN", 1, 1024, 1024, 1024),
        BOTH("NN", 1, 2048, 768, 256),  BOTH("NN", 1, 2048, 256, 1024), BOTH("NN", 128, 128, 32, 128),
        BOTH("NT", 128, 128, 128, 32),  BOTH("NN", 1, 128, 10, 1024),   BOTH("NT", 1, 128, 1024, 10),
        BOTH("TN", 1, 1024, 10, 128),   BOTH("NN", 1, 1, 1024, 1024),   BOTH("NT", 1, 1, 1024, 1024),
        BOTH("NN", 1, 4, 1024, 1024),   BOTH("NT", 1, 4, 1024, 1024),   BOTH("NN", 1, 64, 64, 64),
        BOTH("NN", 1, 16, 16, 16),      BOTH("NT", 1, 16, 16, 16),      BOTH("NN", 1, 8, 8, 8),
    };
    size_t count = sizeof samples / sizeof *samples;
    error e = {CR_OK, NULL};
    if (argc < 3 || atoi(argv[1]) < 1 || atoi(argv[2]) < 1) fail("usage: gemm THREADS ROUNDS [SAMPLE]");
    omp_set_num_threads(atoi(argv[1]));
    onednn.address = library_symbol(LIBRARY_ONEDNN, "dnnl_sgemm", &e);
    sgemm.address = library_symbol(LIBRARY_OPENBLAS, "cblas_sgemm", &e);
    dgemm.address = library_symbol(LIBRARY_OPENBLAS, "cblas_dgemm", &e);
    err_clear(&e);
    printf("[\n");
    for (size_t i = 0; i < count; i++) {
        if (argc > 3 && (size_t)atoi(argv[3]) != i) continue;
        measure(&samples[i], (unsigned)atoi(argv[1]), (size_t)atoi(argv[2]), argc <= 3 && i + 1 < count);
    }
    printf("]\n");
    return 0;
}
