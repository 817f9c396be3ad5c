/* What the machine can do: fused multiply-adds on registers alone, and memory as a triad a = b + 3 c and a copy, with
 * plain stores and with stores that pass the caches by. Names end in the number of threads. */
#include "worker.h"

#include <immintrin.h>
#include <omp.h>

#ifdef __AVX512F__
enum { WIDE = 64 };
#else
enum { WIDE = 32 };
#endif
typedef float vec32 __attribute__((vector_size(WIDE)));
typedef double vec64 __attribute__((vector_size(WIDE)));

enum { F32, F64, TRIAD, TRIAD_NT, COPY, COPY_NT, THREADS = 16 }; /* which = kind + THREADS*threads */
enum { CHAINS = 12, STEPS = 1 << 18 };
static const size_t floats = 1u << 24; /* an array: 64 MiB, beyond all caches */

typedef struct limit {
    int kind, threads;
    float *a, *b, *c;
    double sum;
} limit;

/* CHAINS independent chains hide the latency; contraction makes each step one instruction */
#define SPIN(T, V)                                                                                                    \
    static double spin_##V(double start)                                                                             \
    {                                                                                                                  \
        V x[CHAINS], by = (V){0} + (T)0.999999, plus = (V){0} + (T)start;                                            \
        for (int j = 0; j < CHAINS; j++) {                                                                             \
            x[j] = plus * (T)j;                                                                                        \
        }                                                                                                              \
        for (int i = 0; i < STEPS; i++) {                                                                              \
            for (int j = 0; j < CHAINS; j++) {                                                                         \
                x[j] = x[j] * by + plus;                                                                               \
            }                                                                                                          \
        }                                                                                                              \
        V sum = x[0];                                                                                                  \
        for (int j = 1; j < CHAINS; j++) {                                                                             \
            sum += x[j];                                                                                               \
        }                                                                                                              \
        return (double)sum[0];                                                                                        \
    }
SPIN(float, vec32)
SPIN(double, vec64)

static void store_past(vec32 *to, vec32 v)
{
#ifdef __AVX512F__
    _mm512_stream_ps((float *)to, (__m512)v);
#else
    _mm256_stream_ps((float *)to, (__m256)v);
#endif
}

static void stream(const limit *l, size_t from, size_t to)
{
    vec32 *a = (vec32 *)(void *)l->a;
    const vec32 *b = (const vec32 *)(void *)l->b, *c = (const vec32 *)(void *)l->c;
    switch (l->kind) {
    case TRIAD:
        for (size_t i = from; i < to; i++) { a[i] = b[i] + 3 * c[i]; }
        break;
    case TRIAD_NT:
        for (size_t i = from; i < to; i++) { store_past(&a[i], b[i] + 3 * c[i]); }
        break;
    case COPY:
        for (size_t i = from; i < to; i++) { a[i] = b[i]; __asm__ volatile("" ::: "memory"); } /* not memcpy */
        break;
    default:
        for (size_t i = from; i < to; i++) { store_past(&a[i], b[i]); }
        break;
    }
    _mm_sfence();
}

static void *setup(int which)
{
    limit *l = worker_room(sizeof *l);
    l->kind = which % THREADS, l->threads = which / THREADS;
    if (l->kind >= TRIAD) {
        static float *room; /* one for all: they take turns */
        room = room ? room : worker_room(3 * floats * sizeof *room);
        l->a = room, l->b = room + floats, l->c = room + 2 * floats;
    }
    return l;
}

static void run(void *state)
{
    limit *l = state;
    double sum = 0;
#pragma omp parallel num_threads(l->threads) reduction(+ : sum)
    {
        size_t t = (size_t)omp_get_thread_num(), of = (size_t)omp_get_num_threads(), n = floats * sizeof(float) / WIDE;
        if (l->kind == F32) {
            sum += spin_vec32((double)t);
        } else if (l->kind == F64) {
            sum += spin_vec64((double)t);
        } else {
            stream(l, n * t / of, n * (t + 1) / of);
        }
    }
    l->sum = sum;
}

static worker_answer answer(void *state)
{
    const limit *l = state;
    double steps = 2.0 * CHAINS * STEPS * l->threads, bytes = (double)floats * sizeof(float);
    double work[] = {[F32] = steps * WIDE / 4, [F64] = steps * WIDE / 8, [TRIAD] = 3 * bytes, [TRIAD_NT] = 3 * bytes,
                     [COPY] = 2 * bytes, [COPY_NT] = 2 * bytes};
    return (worker_answer){l->sum, 0, work[l->kind]};
}

#define ONE(name, kind, threads) {name "_" #threads, setup, run, answer, kind + threads * THREADS}
#define LIMIT(name, kind) ONE(name, kind, 1), ONE(name, kind, 2)

int main(int argc, char **argv)
{
    static const worker_case cases[] = {
        LIMIT("f32", F32), LIMIT("f64", F64), LIMIT("triad", TRIAD), LIMIT("triad_nt", TRIAD_NT),
        LIMIT("copy", COPY), LIMIT("copy_nt", COPY_NT), {0},
    };
    return worker_serve(WIDE == 64 ? "512-bit vectors" : "256-bit vectors", cases, argc, argv);
}
