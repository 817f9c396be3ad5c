/* o[i] = sigmoid(w[i] o[i-1] + b[i]) for i in 1..1000, a batch of o[0]; the sum of o[1000] and its derivatives by all
 * w and b. A batch is cut into blocks of columns whose states, all of them, stay in the L2 cache: nothing is computed
 * twice, and nothing goes to memory. A batch of 1 is the latency of a sigmoid. */
#include "hand.h"

#include "vmath.h"

#include <omp.h>

enum { DEPTH = 1000, BLOCK = 64, LANES = 16 };

typedef struct chain {
    size_t batch;
    float *x, *w, *b, *dw, *db; /* of layers 1..DEPTH, at 0..DEPTH-1 */
    double value;
    int threads;
    float *room; /* of each thread: states of a block, sums of derivatives in lanes */
} chain;

enum { STATES = (DEPTH + 1) * BLOCK, SUMS = DEPTH * LANES, OF_THREAD = STATES + 2 * SUMS };

void *hand_chain_setup(int batch)
{
    chain *c = worker_room(sizeof *c);
    c->batch = (size_t)batch;
    c->threads = batch == 1 ? 1 : omp_get_max_threads();
    c->x = worker_room(c->batch * sizeof *c->x);
    c->w = worker_room(4 * DEPTH * sizeof *c->w);
    c->b = c->w + DEPTH, c->dw = c->b + DEPTH, c->db = c->dw + DEPTH;
    c->room = worker_room((size_t)c->threads * OF_THREAD * sizeof *c->room);
    worker_fill_f32(c->x, 0, c->batch, 0, 1);
    worker_fill_f32(c->w, 1, DEPTH, 4, 0.08);
    worker_fill_f32(c->b, 2, DEPTH, -2, 0.04);
    return c;
}

static void run_one(chain *c)
{
    float *o = c->room, *slope = o + DEPTH + 1;
    o[0] = c->x[0];
    for (size_t i = 0; i < DEPTH; i++) {
        o[i + 1] = vm_sigmoid32(c->w[i] * o[i] + c->b[i]);
    }
    for (size_t i = 0; i < DEPTH; i++) {
        slope[i] = o[i + 1] * (1 - o[i + 1]);
    }
    float g = 1;
    for (size_t i = DEPTH; i-- > 0;) {
        c->db[i] = g * slope[i];
        g *= slope[i] * c->w[i];
    }
    for (size_t i = 0; i < DEPTH; i++) {
        c->dw[i] = c->db[i] * o[i];
    }
    c->value = o[DEPTH];
}

static double run_block(const chain *c, const float *x, float *room)
{
    float(*o)[BLOCK] = (float(*)[BLOCK])room;
    float(*sum_w)[LANES] = (float(*)[LANES])(room + STATES), (*sum_b)[LANES] = sum_w + DEPTH;
    memcpy(o[0], x, sizeof o[0]);
    for (size_t i = 0; i < DEPTH; i++) {
        float w = c->w[i], b = c->b[i];
        for (size_t k = 0; k < BLOCK; k++) {
            o[i + 1][k] = vm_sigmoid32(w * o[i][k] + b);
        }
    }
    float g[BLOCK];
    double value = 0;
    for (size_t k = 0; k < BLOCK; k++) {
        value += (double)o[DEPTH][k];
        g[k] = 1;
    }
    for (size_t i = DEPTH; i-- > 0;) {
        float w = c->w[i], *here = o[i + 1], *before = o[i];
        for (size_t k = 0; k < BLOCK; k += LANES) {
            for (size_t j = 0; j < LANES; j++) {
                float d = g[k + j] * (here[k + j] * (1 - here[k + j]));
                sum_w[i][j] += d * before[k + j];
                sum_b[i][j] += d;
                g[k + j] = d * w;
            }
        }
    }
    return value;
}

void hand_chain_run(void *state)
{
    chain *c = state;
    if (c->batch == 1) {
        run_one(c);
        return;
    }
    double value = 0;
#pragma omp parallel num_threads(c->threads) reduction(+ : value)
    {
        float *room = c->room + (size_t)omp_get_thread_num() * OF_THREAD;
        memset(room + STATES, 0, 2 * SUMS * sizeof *room);
#pragma omp for schedule(static)
        for (size_t k = 0; k < c->batch / BLOCK; k++) {
            value += run_block(c, c->x + k * BLOCK, room);
        }
#pragma omp for schedule(static)
        for (size_t i = 0; i < DEPTH; i++) {
            float dw = 0, db = 0;
            for (int t = 0; t < c->threads; t++) {
                const float *sum = c->room + (size_t)t * OF_THREAD + STATES + i * LANES;
                for (size_t j = 0; j < LANES; j++) {
                    dw += sum[j], db += sum[SUMS + j];
                }
            }
            c->dw[i] = dw, c->db[i] = db;
        }
    }
    c->value = value;
}

worker_answer hand_chain_answer(void *state)
{
    const chain *c = state;
    double square = 0;
    for (size_t i = 0; i < 2 * DEPTH; i++) {
        square += (double)c->dw[i] * (double)c->dw[i];
    }
    return (worker_answer){c->value, sqrt(square), 0};
}
