/* The LSTM objective of ADBench: two layers of 14 cells, each cell by itself, over a sequence of 1024 characters of 14
 * bits; the mean of bits times log probability of the next character, negated. Of layer j and cell i, with the input u
 * (of layer 0: bit times extra[0]; else what is below), h and c from the step before:
 *
 *     f = sigmoid(u W[0] + B[0]), a = sigmoid(h W[1] + B[1]), o = sigmoid(u W[2] + B[2]), t = tanh(h W[3] + B[3])
 *     c' = c f + a t, h' = o tanh(c'),
 *
 * prediction y = h extra[1] + extra[2] of the upper h, log probability y - log(2 + sum of exp(y)). Derivatives by all
 * W, B and extra, f64, one thread. Cells are lanes of vectors, padded to 16; all values of all steps are kept. */
#include "hand.h"

#include "vmath.h"

enum { LAYERS = 2, CELLS = 14, WIDE = 16, STEPS = 1023 };

typedef double row[WIDE];
typedef struct layer { row u, h, c, f, a, o, t, r; } layer; /* r: tanh(c') */
typedef struct step { layer at[LAYERS]; row top, share; } step; /* share: of the bits' probabilities, exp(y)/(2+sum) */

typedef struct lstm {
    row W[LAYERS][4], B[LAYERS][4], extra[3];
    row d_W[LAYERS][4], d_B[LAYERS][4], d_extra[3];
    row h0[LAYERS], c0[LAYERS];
    double value;
    int gradient;
    row bit[STEPS + 1];
    double count[STEPS + 1]; /* of bits that are 1 */
    step step[STEPS];
} lstm;

/* one row of 14 out of a stream */
static void take(double *to, unsigned stream, size_t at)
{
    for (size_t i = 0; i < CELLS; i++) {
        to[i] = worker_value(stream, at + i);
    }
}

void *hand_lstm_setup(int gradient)
{
    lstm *s = worker_room(sizeof *s);
    s->gradient = gradient;
    for (size_t j = 0; j < LAYERS; j++) {
        for (size_t k = 0; k < 4; k++) { /* rows 2j and 2j+1 of main, 4 gates in each */
            take(s->W[j][k], 0, (2 * j * 4 + k) * CELLS);
            take(s->B[j][k], 0, ((2 * j + 1) * 4 + k) * CELLS);
        }
        take(s->h0[j], 2, 2 * j * CELLS);
        take(s->c0[j], 2, (2 * j + 1) * CELLS);
    }
    for (size_t k = 0; k < 3; k++) {
        take(s->extra[k], 1, k * CELLS);
    }
    for (size_t t = 0; t <= STEPS; t++) {
        take(s->bit[t], 3, t * CELLS);
        for (size_t i = 0; i < CELLS; i++) {
            s->bit[t][i] = s->bit[t][i] > 0;
            s->count[t] += s->bit[t][i];
        }
    }
    return s;
}

static void cell(const lstm *s, size_t j, layer *at, const double *u, double *h, double *c)
{
    const row *W = s->W[j], *B = s->B[j];
    for (size_t i = 0; i < WIDE; i++) {
        at->u[i] = u[i], at->h[i] = h[i], at->c[i] = c[i];
        at->f[i] = vm_sigmoid64(u[i] * W[0][i] + B[0][i]);
        at->a[i] = vm_sigmoid64(h[i] * W[1][i] + B[1][i]);
        at->o[i] = vm_sigmoid64(u[i] * W[2][i] + B[2][i]);
        at->t[i] = vm_tanh64(h[i] * W[3][i] + B[3][i]);
        c[i] = c[i] * at->f[i] + at->a[i] * at->t[i];
        at->r[i] = vm_tanh64(c[i]);
        h[i] = at->o[i] * at->r[i];
    }
}

/* The log probability of the bits of step t+1 */
static double predict(const lstm *s, size_t t, step *to, const double *h)
{
    double sum = 2, inner = 0;
    row e, y;
    for (size_t i = 0; i < WIDE; i++) {
        y[i] = h[i] * s->extra[1][i] + s->extra[2][i];
        e[i] = vm_exp64(y[i]);
    }
    for (size_t i = 0; i < CELLS; i++) {
        sum += e[i];
        inner += y[i] * s->bit[t + 1][i];
    }
    double by = 1 / sum;
    for (size_t i = 0; i < WIDE; i++) {
        to->top[i] = h[i];
        to->share[i] = e[i] * by;
    }
    return inner - s->count[t + 1] * log(sum);
}

static double forward(lstm *s)
{
    row h[LAYERS], c[LAYERS];
    memcpy(h, s->h0, sizeof h), memcpy(c, s->c0, sizeof c);
    double total = 0;
    for (size_t t = 0; t < STEPS; t++) {
        step *to = &s->step[s->gradient ? t : 0];
        row u;
        for (size_t i = 0; i < WIDE; i++) {
            u[i] = s->bit[t][i] * s->extra[0][i];
        }
        cell(s, 0, &to->at[0], u, h[0], c[0]);
        cell(s, 1, &to->at[1], h[0], h[1], c[1]);
        total += predict(s, t, to, h[1]);
    }
    return -total / ((double)STEPS * CELLS);
}

/* gh, gc: of h' and c' on entry, of h and c on return; the derivative by u comes out in gu. */
static void cell_back(lstm *s, size_t j, const layer *at, double *gh, double *gc, double *gu)
{
    const row *W = s->W[j];
    row *dW = s->d_W[j], *dB = s->d_B[j];
    for (size_t i = 0; i < WIDE; i++) {
        double c = gc[i] + gh[i] * at->o[i] * (1 - at->r[i] * at->r[i]);
        double f = c * at->c[i] * at->f[i] * (1 - at->f[i]), a = c * at->t[i] * at->a[i] * (1 - at->a[i]);
        double o = gh[i] * at->r[i] * at->o[i] * (1 - at->o[i]), t = c * at->a[i] * (1 - at->t[i] * at->t[i]);
        dW[0][i] += f * at->u[i], dW[1][i] += a * at->h[i], dW[2][i] += o * at->u[i], dW[3][i] += t * at->h[i];
        dB[0][i] += f, dB[1][i] += a, dB[2][i] += o, dB[3][i] += t;
        gu[i] = f * W[0][i] + o * W[2][i];
        gh[i] = a * W[1][i] + t * W[3][i];
        gc[i] = c * at->f[i];
    }
}

static void backward(lstm *s)
{
    row gh[LAYERS] = {{0}}, gc[LAYERS] = {{0}}, gu;
    memset(s->d_W, 0, sizeof s->d_W), memset(s->d_B, 0, sizeof s->d_B), memset(s->d_extra, 0, sizeof s->d_extra);
    double by = -1 / ((double)STEPS * CELLS);
    for (size_t t = STEPS; t-- > 0;) {
        const step *at = &s->step[t];
        for (size_t i = 0; i < CELLS; i++) {
            double y = by * (s->bit[t + 1][i] - s->count[t + 1] * at->share[i]);
            s->d_extra[1][i] += y * at->top[i];
            s->d_extra[2][i] += y;
            gh[1][i] += y * s->extra[1][i];
        }
        cell_back(s, 1, &at->at[1], gh[1], gc[1], gu);
        for (size_t i = 0; i < WIDE; i++) {
            gh[0][i] += gu[i];
        }
        cell_back(s, 0, &at->at[0], gh[0], gc[0], gu);
        for (size_t i = 0; i < WIDE; i++) {
            s->d_extra[0][i] += gu[i] * s->bit[t][i];
        }
    }
}

void hand_lstm_run(void *state)
{
    lstm *s = state;
    s->value = forward(s);
    if (s->gradient) {
        backward(s);
    }
}

worker_answer hand_lstm_answer(void *state)
{
    const lstm *s = state;
    double square = 0;
    const row *part[] = {s->d_W[0], s->d_B[0], s->d_extra};
    const size_t rows[] = {LAYERS * 4, LAYERS * 4, 3};
    for (size_t p = 0; p < 3; p++) {
        for (size_t r = 0; r < rows[p]; r++) {
            for (size_t i = 0; i < CELLS; i++) {
                square += part[p][r][i] * part[p][r][i];
            }
        }
    }
    return (worker_answer){s->value, sqrt(square), 0};
}
