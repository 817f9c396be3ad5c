/* Proves the vector kernels: every operator, at every level that this processor has, against the same function in
 * higher precision; every length, place and set of single numbers against a call of length 1. Prints the greatest error
 * in units of the last place (ULP) and fails beyond the stated one.
 *
 *   checkkern                  a few seconds
 *   checkkern --full [OP...]   every f32 for operators of one operand, a minute each; more random values for all
 *   checkkern --bench [OP...]  nanoseconds per element, in the L1 cache, and per call of length 1
 */
#include "kernel/kernel.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BLOCK 4096
#define ATTR 0.01

/* The stated errors in ULP, by dtype; what is not named is rounded once, which is 0.5. */
static const double stated[KERN_OPS][KERN_DTYPES] = {
    [KERN_EXP] = {2, 4},      [KERN_LOG] = {2, 4},     [KERN_TANH] = {2, 4},     [KERN_SIGMOID] = {2, 4},
    [KERN_ERF] = {2, 4},      [KERN_DSIGMOID] = {3, 5}, [KERN_DTANH] = {3, 5},   [KERN_SOFTPLUS] = {2, 4},
    [KERN_SILU] = {4, 4},     [KERN_GELU] = {4, 4},    [KERN_ELU] = {2, 4},      [KERN_SELU] = {3, 4},
    [KERN_SIN] = {2, 4},      [KERN_COS] = {2, 4},     [KERN_TAN] = {4, 4},      [KERN_SINH] = {2, 4},
    [KERN_COSH] = {2, 4},     [KERN_ASIN] = {4, 4},    [KERN_ACOS] = {4, 4},     [KERN_ATAN] = {2, 4},
    [KERN_POW] = {2, 4},
};

static double limit_of(kern_dtype t, kern_op op, kern_level level)
{
    if (op == KERN_GELU && t == KERN_F64 && level == KERN_PLAIN) {
        return 40; /* z times a subnormal erfc */
    }
    return stated[op][t] > 0 ? stated[op][t] : 0.501;
}

static const char *level_name(kern_level l)
{
    static const char *const names[KERN_LEVELS] = {"plain", "avx2", "avx512"};
    return names[l];
}
static const char *dtype_name(kern_dtype t) { return t == KERN_F32 ? "f32" : "f64"; }

static size_t faults;

static void fault(const char *format, ...)
{
    va_list ap;
    if (++faults > 40) { /* enough to see what it is */
        return;
    }
    va_start(ap, format);
    vprintf(format, ap);
    va_end(ap);
    printf("\n");
}

/* The worst of each operator and level. */
static double worst[KERN_DTYPES][KERN_OPS][KERN_LEVELS];

static void record(kern_dtype t, kern_op op, kern_level level, double d, double a, double b, double c, double got,
                   double want)
{
    double *w = &worst[t][op][level];
    if (d > *w) {
        *w = d;
        if (d > limit_of(t, op, level)) {
            fault("%s %s %s: (%.17g, %.17g, %.17g) gives %.17g instead of %.17g: %.2f ULP", dtype_name(t),
                  kern_name(op), level_name(level), a, b, c, got, want, d);
        }
    }
}

static uint64_t random_word(void) /* xorshift64*, Vigna 2016 */
{
    static uint64_t s = 0x9E3779B97F4A7C15u;
    s ^= s >> 12, s ^= s << 25, s ^= s >> 27;
    return s * 0x2545F4914F6CDD1Du;
}

#define N(name) name##_f32
#define T float
#define R double
#define F(name) name
#define BITS uint32_t
#define DTYPE KERN_F32
#define EMAX 128
#define EMIN (-126)
#define DIGITS 24
#define MAXIMUM FLT_MAX
#define MINIMUM FLT_MIN
#define SMALLEST 0x1p-149
#define REACH 100
#include "checkkern_dtype.inc"
#undef N
#undef T
#undef R
#undef F
#undef BITS
#undef DTYPE
#undef EMAX
#undef EMIN
#undef DIGITS
#undef MAXIMUM
#undef MINIMUM
#undef SMALLEST
#undef REACH
#undef ROOM

#define N(name) name##_f64
#define T double
#define R long double
#define F(name) name##l
#define BITS uint64_t
#define DTYPE KERN_F64
#define EMAX 1024
#define EMIN (-1022)
#define DIGITS 53
#define MAXIMUM DBL_MAX
#define MINIMUM DBL_MIN
#define SMALLEST 0x1p-1074
#define REACH 745
#include "checkkern_dtype.inc"

/* Every f32 there is, to an operator of one operand; not in plain C, which is the reference rounded. */
static void exhaust(kern_op op)
{
    static float a[BLOCK];
    for (uint64_t bits = 0; bits < (uint64_t)1 << 32; bits += BLOCK) {
        for (size_t i = 0; i < BLOCK; i++) a[i] = from_bits_f32((uint32_t)(bits + i));
        try_block_f32(op, KERN_AVX2, BLOCK, a, a, a);
    }
}

static void check_tables(void)
{
    for (kern_level level = KERN_PLAIN; level <= kern_best(); level++) {
        for (kern_dtype t = 0; t < KERN_DTYPES; t++) {
            const kern_table *k = kern_table_of(t, level);
            for (kern_op op = 0; op < KERN_OPS; op++) {
                for (size_t ones = 0; ones < 8; ones++) {
                    if (!k->map[op][ones]) fault("no kernel for %s, ones %zu", kern_name(op), ones);
                }
            }
        }
    }
}

static void print_table(const bool *chosen)
{
    printf("%-11s %5s  %6s", "ULP", "", "stated");
    for (kern_level level = KERN_PLAIN; level <= kern_best(); level++) printf(" %8s", level_name(level));
    printf("\n");
    for (kern_op op = 0; op < KERN_OPS; op++) {
        for (kern_dtype t = 0; t < KERN_DTYPES && chosen[op]; t++) {
            printf("%-11s %5s  %6.1f", t == KERN_F32 ? kern_name(op) : "", dtype_name(t), limit_of(t, op, KERN_LEVELS));
            for (kern_level level = KERN_PLAIN; level <= kern_best(); level++) printf(" %8.3f", worst[t][op][level]);
            printf("\n");
        }
    }
}

/* ---- measuring ------------------------------------------------------------------------------------------ */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Nanoseconds of one call: the least of many short repetitions. */
static double least(kern_map_fn *f, size_t n, void *out, const void *a, const void *b, const void *c)
{
    size_t calls = 1 + 4096 / n;
    double best = INFINITY;
    for (size_t k = 0; k < 60; k++) {
        double t = now();
        for (size_t i = 0; i < calls; i++) f(n, out, a, b, c, ATTR);
        t = (now() - t) / (double)calls;
        best = t < best ? t : best;
    }
    return best;
}

static void bench(const bool *chosen)
{
    static _Alignas(64) double memory[4][1024 + 8];
    printf("ns per element at n = 8 KiB, and per call of n = 1\n%-11s %5s", "", "");
    for (kern_level level = KERN_PLAIN; level <= kern_best(); level++) printf(" %8s (n = 1)", level_name(level));
    printf("\n");
    for (kern_op op = 0; op < KERN_OPS; op++) {
        for (kern_dtype t = 0; t < KERN_DTYPES && chosen[op]; t++) {
            size_t n = 8192 / kern_size(t);
            for (size_t k = 0; k < 3; k++) {
                for (size_t i = 0; i < n; i++) {
                    double v = (double)(random_word() >> 11) * 0x1p-53 * 3 + 0.01;
                    if (op == KERN_ASIN || op == KERN_ACOS) v /= 3.1;
                    if (t == KERN_F32) ((float *)(void *)memory[k])[i] = (float)v;
                    else memory[k][i] = v;
                }
            }
            printf("%-11s %5s", t == KERN_F32 ? kern_name(op) : "", dtype_name(t));
            for (kern_level level = KERN_PLAIN; level <= kern_best(); level++) {
                kern_map_fn *f = kern_table_of(t, level)->map[op][0];
                printf(" %8.3f %7.1f", least(f, n, memory[3], memory[0], memory[1], memory[2]) / (double)n,
                       least(f, 1, memory[3], memory[0], memory[1], memory[2]));
            }
            printf("\n");
        }
    }
}

int main(int argc, char **argv)
{
    bool full = argc > 1 && strcmp(argv[1], "--full") == 0, measure = argc > 1 && strcmp(argv[1], "--bench") == 0;
    bool chosen[KERN_OPS];
    for (kern_op op = 0; op < KERN_OPS; op++) {
        chosen[op] = argc <= 2;
        for (int i = 2; i < argc; i++) chosen[op] = chosen[op] || strcmp(argv[i], kern_name(op)) == 0;
    }
    if (argc > 1 && !full && !measure) {
        fprintf(stderr, "usage: checkkern [--full | --bench] [OP...]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (measure) {
        bench(chosen);
        return 0;
    }
    check_tables();
    for (kern_op op = 0; op < KERN_OPS && faults == 0; op++) {
        for (kern_level level = KERN_PLAIN; level <= kern_best() && chosen[op]; level++) {
            shapes_f32(op, level);
            shapes_f64(op, level);
        }
    }
    for (kern_op op = 0; op < KERN_OPS; op++) {
        if (!chosen[op]) continue;
        accuracy_f32(op, full ? 3000 : 40);
        accuracy_f64(op, full ? 3000 : 40);
        if (full && kern_arity(op) == 1 && op != KERN_NOT) exhaust(op);
    }
    for (kern_level level = KERN_PLAIN; level <= kern_best(); level++) {
        folds_f32(level);
        folds_f64(level);
        moves_f32(level);
        moves_f64(level);
    }
    print_table(chosen);
    if (faults) {
        printf("%zu faults\n", faults);
    }
    return faults > 0;
}
