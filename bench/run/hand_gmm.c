/* The GMM objective of ADBench, as GradBench corrected it: the log posterior of a mixture of K Gaussians in d
 * dimensions with a Wishart prior on the precision matrices A_k = L_k L_k', L_k lower triangular with diagonal
 * exp(q_k),
 *
 *     sum_i logsumexp_k(alpha_k + sum(q_k) - |L_k'(x_i - mu_k)|^2 / 2) - n logsumexp(alpha) - n d/2 log(2 pi)
 *     + sum_k (m sum(q_k) - gamma^2/2 |L_k|_F^2) + K (nu d (log(gamma) - log(2)/2) - log Gamma_d(nu/2)),
 *
 * nu = d + m + 1, and its gradient by alpha, mu, q and l, f64, one thread. Points go in blocks whose
 * y = L_k'(x - mu_k), of all k, stay in the L2 cache from the value to the gradient. */
#include "hand.h"

#include "vmath.h"

enum { N = 1000, D = 32, K = 25, BLOCK = 40, LANES = 8, PARTS = D / LANES };
_Static_assert(PARTS == 4, "the parts are written out");
typedef double vec __attribute__((vector_size(64)));
static const double gamma_prior = 1, m_prior = 2, pi = 3.14159265358979323846;

typedef struct gmm {
    double alpha[K], mu[K][D], q[K][D], l[K][D][D]; /* of l the entries below the diagonal */
    double d_alpha[K], d_mu[K][D], d_q[K][D];
    vec L[K][D][PARTS];                             /* L_k, its zeros too */
    vec d_L[K][D][PARTS];
    vec y[K][BLOCK][PARTS];
    double c[BLOCK][D];                             /* x - mu_k */
    double weight[BLOCK][K];                        /* log densities, then the share of each k */
    double x[N][D];
    double value, norm;
    int gradient;
} gmm;

void *hand_gmm_setup(int gradient)
{
    gmm *g = worker_room(sizeof *g);
    g->gradient = gradient;
    worker_fill_f64(g->alpha, 0, K, 0, 1);
    worker_fill_f64(&g->mu[0][0], 1, K * D, 0, 1);
    worker_fill_f64(&g->q[0][0], 2, K * D, 0, 0.3);
    worker_fill_f64(&g->l[0][0][0], 3, K * D * D, 0, 0.2);
    worker_fill_f64(&g->x[0][0], 4, N * D, 0, 2);
    return g;
}

static double log_sum_exp(const double *a)
{
    double most = a[0], sum = 0;
    for (size_t k = 1; k < K; k++) {
        most = a[k] > most ? a[k] : most;
    }
    for (size_t k = 0; k < K; k++) {
        sum += vm_exp64(a[k] - most);
    }
    return most + log(sum);
}

static void centre(gmm *g, size_t from, size_t k)
{
    for (size_t i = 0; i < BLOCK; i++) {
        for (size_t r = 0; r < D; r++) {
            g->c[i][r] = g->x[from + i][r] - g->mu[k][r];
        }
    }
}

#define UNROLLED static inline __attribute__((always_inline)) void /* p is a constant: sums stay in registers */

/* Rows LANES p .. LANES p + LANES-1 of L reach the parts 0..p of a column. */
UNROLLED project_part(vec (*y)[PARTS], const double (*c)[D], const vec (*L)[PARTS], size_t p)
{
    for (size_t r = LANES * p; r < LANES * p + LANES; r++) {
        for (size_t u = 0; u < 4; u++) {
            for (size_t s = 0; s <= p; s++) {
                y[u][s] += c[u][r] * L[r][s];
            }
        }
    }
}

/* y = c L_k, four points at a time */
static void project(gmm *g, size_t k)
{
    const vec(*L)[PARTS] = (const vec(*)[PARTS])g->L[k];
    for (size_t i = 0; i < BLOCK; i += 4) {
        const double(*c)[D] = (const double(*)[D])(g->c + i);
        vec y[4][PARTS] = {{{0}}};
        project_part(y, c, L, 0);
        project_part(y, c, L, 1);
        project_part(y, c, L, 2);
        project_part(y, c, L, 3);
        memcpy(g->y[k][i], y, sizeof y);
    }
}

static double square_of(const vec *y)
{
    vec sum = y[0] * y[0];
    for (size_t p = 1; p < PARTS; p++) {
        sum += y[p] * y[p];
    }
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

/* L_k and the logarithm of its determinant, added to alpha_k. */
static void factors(gmm *g, double *offset)
{
    for (size_t k = 0; k < K; k++) {
        offset[k] = g->alpha[k];
        double *to = (double *)g->L[k];
        for (size_t r = 0; r < D; r++) {
            offset[k] += g->q[k][r];
            memcpy(to + r * D, g->l[k][r], r * sizeof *to);
            to[r * D + r] = vm_exp64(g->q[k][r]);
        }
    }
}

/* The points of a block: log densities into weight, their log-sum-exp added up; weight ends as the shares. */
static double densities(gmm *g, size_t from, const double *offset)
{
    for (size_t k = 0; k < K; k++) {
        centre(g, from, k);
        project(g, k);
        for (size_t i = 0; i < BLOCK; i++) {
            g->weight[i][k] = offset[k] - square_of(g->y[k][i]) / 2;
        }
    }
    double sum = 0;
    for (size_t i = 0; i < BLOCK; i++) {
        double lse = log_sum_exp(g->weight[i]);
        sum += lse;
        for (size_t k = 0; g->gradient && k < K; k++) {
            g->weight[i][k] = vm_exp64(g->weight[i][k] - lse);
        }
    }
    return sum;
}

UNROLLED outer_part(gmm *g, size_t k, size_t p)
{
    for (size_t r = LANES * p; r < LANES * p + LANES; r += 4) {
        vec d[4][PARTS] = {{{0}}};
        for (size_t i = 0; i < BLOCK; i++) {
            for (size_t u = 0; u < 4; u++) {
                for (size_t s = 0; s <= p; s++) {
                    d[u][s] += g->c[i][r + u] * g->y[k][i][s];
                }
            }
        }
        for (size_t u = 0; u < 4; u++) {
            for (size_t s = 0; s <= p; s++) {
                g->d_L[k][r + u][s] -= d[u][s];
            }
        }
    }
}

/* With v = weight y: d mu_k = L_k sum(v), d L_k = - sum of c v', d alpha_k and every d q of log det = sum of weight. */
static void differentiate(gmm *g, size_t from, double (*sum_v)[D])
{
    for (size_t k = 0; k < K; k++) {
        centre(g, from, k);
        vec total[PARTS] = {0};
        double shares = 0;
        for (size_t i = 0; i < BLOCK; i++) {
            double w = g->weight[i][k];
            shares += w;
            for (size_t p = 0; p < PARTS; p++) {
                g->y[k][i][p] *= w;
                total[p] += g->y[k][i][p];
            }
        }
        g->d_alpha[k] += shares;
        const double *v = (const double *)total;
        for (size_t r = 0; r < D; r++) {
            g->d_q[k][r] += shares;
            sum_v[k][r] += v[r];
        }
        outer_part(g, k, 0);
        outer_part(g, k, 1);
        outer_part(g, k, 2);
        outer_part(g, k, 3);
    }
}

static double prior(gmm *g)
{
    double nu = D + m_prior + 1, gamma_d = D * (D - 1) / 4.0 * log(pi), value = 0;
    for (int j = 0; j < D; j++) {
        gamma_d += lgamma(nu / 2 - j / 2.0);
    }
    for (size_t k = 0; k < K; k++) {
        double square = 0, sum = 0;
        for (size_t r = 0; r < D; r++) {
            const double *row = (const double *)g->L[k][r];
            double part[LANES] = {0};
            for (size_t s = 0; s < D; s += LANES) {
                for (size_t j = 0; j < LANES; j++) {
                    part[j] += row[s + j] * row[s + j];
                }
            }
            for (size_t j = 0; j < LANES; j++) {
                square += part[j];
            }
            sum += g->q[k][r];
        }
        value += m_prior * sum - gamma_prior * gamma_prior / 2 * square;
    }
    return value + K * (nu * D * (log(gamma_prior) - log(2) / 2) - gamma_d);
}

/* From the derivatives by L_k to those by q and l, with those of the prior. */
static void finish(gmm *g, double (*sum_v)[D])
{
    double lse = log_sum_exp(g->alpha), g2 = gamma_prior * gamma_prior;
    for (size_t k = 0; k < K; k++) {
        g->d_alpha[k] -= N * vm_exp64(g->alpha[k] - lse);
        for (size_t r = 0; r < D; r++) {
            const double *L = (const double *)g->L[k][r];
            double *d_L = (double *)g->d_L[k][r], mu = 0;
            for (size_t s = 0; s < D; s++) {
                mu += L[s] * sum_v[k][s];
                d_L[s] -= g2 * L[s];
            }
            g->d_mu[k][r] = mu;
            g->d_q[k][r] += m_prior + d_L[r] * L[r];
        }
    }
}

void hand_gmm_run(void *state)
{
    gmm *g = state;
    double offset[K], sum_v[K][D] = {{0}};
    factors(g, offset);
    if (g->gradient) {
        memset(g->d_alpha, 0, sizeof g->d_alpha);
        memset(g->d_q, 0, sizeof g->d_q);
        memset(g->d_L, 0, sizeof g->d_L);
    }
    double sum = 0;
    for (size_t i = 0; i < N; i += BLOCK) {
        sum += densities(g, i, offset);
        if (g->gradient) {
            differentiate(g, i, sum_v);
        }
    }
    g->value = sum - N * log_sum_exp(g->alpha) - N * D / 2.0 * log(2 * pi) + prior(g);
    if (g->gradient) {
        finish(g, sum_v);
    }
}

static double square_sum(const double *a, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += a[i] * a[i];
    }
    return sum;
}

worker_answer hand_gmm_answer(void *state)
{
    const gmm *g = state;
    double square = square_sum(g->d_alpha, K) + square_sum(&g->d_mu[0][0], K * D) + square_sum(&g->d_q[0][0], K * D);
    for (size_t k = 0; k < K; k++) {
        for (size_t r = 0; r < D; r++) { /* below the diagonal */
            square += square_sum((const double *)g->d_L[k][r], r);
        }
    }
    return (worker_answer){g->value, sqrt(square), 0};
}
