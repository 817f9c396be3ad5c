/* A process that measures: it sets up the cases named on its command line, then obeys the lines on its standard input,
 *
 *     run NAME SECONDS    {"ms": [...]}        times of single runs, for at least that long and at least three
 *     end                 {"peak_kib": N}      its greatest memory
 *
 * and begins with {"settings": "...", "cases": {"NAME": {"loss": L, "norm": N, "work": W}}}: of a first run, the value
 * and the norm of all derivatives (of the result, where there are none), by which sides that compute the same are
 * compared; work is what a measure of the machine does in one run. Without names it is an idle process of its kind. */
#ifndef BENCH_WORKER_H
#define BENCH_WORKER_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct worker_answer { double loss, norm, work; } worker_answer;
typedef struct worker_case {
    const char *name;
    void *(*setup)(int which);      /* NULL: cannot, and has said so on stderr */
    void (*run)(void *state);
    worker_answer (*answer)(void *state); /* of the last run */
    int which;                      /* handed to setup: tells apart cases of one kind */
} worker_case;

int worker_serve(const char *settings, const worker_case *cases, int argc, char **argv);
double worker_now(void); /* seconds */
/* Aligned, zeroed, on huge pages where there are any; ends the process if there is no memory. */
void *worker_room(size_t bytes);

/* The numbers that all peers compute with: uniform in [-1, 1), entry i of a stream; exact in single precision. */
static inline double worker_value(unsigned stream, size_t i)
{
    uint64_t z = (((uint64_t)stream << 40) + i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (double)(z >> 40) * 0x1p-23 - 1;
}

static inline void worker_fill_f32(float *to, unsigned stream, size_t n, double middle, double scale)
{
    for (size_t i = 0; i < n; i++) {
        to[i] = (float)(middle + scale * worker_value(stream, i));
    }
}

static inline void worker_fill_f64(double *to, unsigned stream, size_t n, double middle, double scale)
{
    for (size_t i = 0; i < n; i++) {
        to[i] = middle + scale * worker_value(stream, i);
    }
}

#endif
