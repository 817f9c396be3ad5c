/* What is bound by memory, each number read once and written once, past the caches: sigmoid(a b + c) tanh(d); softmax
 * and layer norm of rows that stay in the L1 cache while they are worked on. */
#include "hand.h"

#include "vmath.h"

#include <immintrin.h>
#include <omp.h>
#include <stdbool.h>

enum { LANES = 16, BLOCK = 256 };
static const size_t entries = 1u << 24;

typedef struct stream {
    hand_row kind;
    size_t row; /* entries; of the element-wise case a block */
    float *in[4], *out, *gain, *shift;
} stream;

void *hand_stream_setup(int which)
{
    stream *s = worker_room(sizeof *s);
    s->kind = (hand_row)(which % 4);
    s->row = s->kind == HAND_ELEMENTWISE ? BLOCK : (size_t)which / 4;
    for (unsigned i = 0; i < (s->kind == HAND_ELEMENTWISE ? 4 : 1); i++) {
        s->in[i] = worker_room(entries * sizeof(float));
        worker_fill_f32(s->in[i], i, entries, 0, 3);
    }
    s->out = worker_room(entries * sizeof(float));
    s->gain = worker_room(2 * s->row * sizeof(float));
    s->shift = s->gain + s->row;
    worker_fill_f32(s->gain, 1, s->row, 1, 0.1);
    worker_fill_f32(s->shift, 2, s->row, 0, 0.1);
    return s;
}

static void store_past(float *to, const float *from)
{
#ifdef __AVX512F__
    _mm512_stream_ps(to, _mm512_loadu_ps(from));
#else
    _mm256_stream_ps(to, _mm256_loadu_ps(from));
    _mm256_stream_ps(to + 8, _mm256_loadu_ps(from + 8));
#endif
}

static float fold(float *lane)
{
    for (size_t half = LANES / 2; half; half /= 2) {
        for (size_t j = 0; j < half; j++) {
            lane[j] += lane[j + half];
        }
    }
    return lane[0];
}

static void elementwise(const stream *s, size_t from, float *out)
{
    const float *a = s->in[0] + from, *b = s->in[1] + from, *c = s->in[2] + from, *d = s->in[3] + from;
    for (size_t i = 0; i < BLOCK; i += LANES) {
        float y[LANES];
        for (size_t j = 0; j < LANES; j++) {
            y[j] = vm_sigmoid32(a[i + j] * b[i + j] + c[i + j]) * vm_tanh32(d[i + j]);
        }
        store_past(out + i, y);
    }
}

static void softmax(const stream *s, const float *x, float *out)
{
    float top[LANES], lane[LANES] = {0}, e[1024];
    memcpy(top, x, sizeof top);
    for (size_t i = LANES; i < s->row; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            top[j] = x[i + j] > top[j] ? x[i + j] : top[j];
        }
    }
    for (size_t half = LANES / 2; half; half /= 2) {
        for (size_t j = 0; j < half; j++) {
            top[j] = top[j] > top[j + half] ? top[j] : top[j + half];
        }
    }
    float most = top[0];
    for (size_t i = 0; i < s->row; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            e[i + j] = vm_exp32(x[i + j] - most);
            lane[j] += e[i + j];
        }
    }
    float by = 1 / fold(lane);
    for (size_t i = 0; i < s->row; i += LANES) {
        float y[LANES];
        for (size_t j = 0; j < LANES; j++) {
            y[j] = e[i + j] * by;
        }
        store_past(out + i, y);
    }
}

static void layer_norm(const stream *s, const float *x, float *out)
{
    float lane[LANES] = {0}, square[LANES] = {0};
    for (size_t i = 0; i < s->row; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            lane[j] += x[i + j];
        }
    }
    float mean = fold(lane) / (float)s->row;
    for (size_t i = 0; i < s->row; i += LANES) {
        for (size_t j = 0; j < LANES; j++) {
            float d = x[i + j] - mean;
            square[j] += d * d;
        }
    }
    float by = 1 / sqrtf(fold(square) / (float)s->row + 1e-5f);
    for (size_t i = 0; i < s->row; i += LANES) {
        float y[LANES];
        for (size_t j = 0; j < LANES; j++) {
            y[j] = (x[i + j] - mean) * by * s->gain[i + j] + s->shift[i + j];
        }
        store_past(out + i, y);
    }
}

void hand_stream_run(void *state)
{
    const stream *s = state;
#pragma omp parallel
    {
        size_t rows = entries / s->row, t = (size_t)omp_get_thread_num(), of = (size_t)omp_get_num_threads();
        for (size_t r = rows * t / of, end = rows * (t + 1) / of; r < end; r++) {
            const float *x = s->in[0] + r * s->row;
            float *out = s->out + r * s->row;
            if (s->kind == HAND_ELEMENTWISE) {
                elementwise(s, r * s->row, out);
            } else if (s->kind == HAND_SOFTMAX) {
                softmax(s, x, out);
            } else {
                layer_norm(s, x, out);
            }
        }
        _mm_sfence();
    }
}

worker_answer hand_stream_answer(void *state)
{
    const stream *s = state;
    double sum = 0, square = 0;
    for (size_t i = 0; i < entries; i++) {
        sum += (double)s->out[i], square += (double)s->out[i] * (double)s->out[i];
    }
    return (worker_answer){sum, sqrt(square), 0};
}
