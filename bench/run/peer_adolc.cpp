// ADOL-C on the objectives of ADBench: the same formulas as hand_gmm.c and hand_lstm.c, written for any number type,
// taped once; a run of a gradient is a sweep of the tape forward and one back, a run of a value a sweep forward. The
// formula on doubles is what a user of ADOL-C would have, compiled with the same flags.
#include <adolc/adolc.h>

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <vector>

extern "C" {
#include "worker.h"
}

namespace {

constexpr int gmm_n = 1000, gmm_d = 32, gmm_k = 25, gmm_m = 2;
constexpr int layers = 2, cells = 14, steps = 1023;
constexpr double pi = 3.14159265358979323846;

std::vector<double> stream(unsigned which, size_t n, double scale)
{
    std::vector<double> a(n);
    worker_fill_f64(a.data(), which, n, 0, scale);
    return a;
}

template <class T> T sigmoid(const T &x) { return 1 / (1 + exp(-x)); }

template <class T> T log_sum_exp(const T *a, int n, double most)
{
    T sum = 0;
    for (int k = 0; k < n; k++) {
        sum += exp(a[k] - most);
    }
    return most + log(sum);
}

double number(double x) { return x; }
double number(const adouble &x) { return x.value(); }

template <class T> double greatest(const T *a, int n)
{
    double most = number(a[0]);
    for (int k = 1; k < n; k++) {
        most = std::fmax(most, number(a[k]));
    }
    return most;
}

// alpha, mu, q, then all k x d x d of l
template <class T> T gmm(const T *p, const double *x)
{
    constexpr int n = gmm_n, d = gmm_d, K = gmm_k;
    const T *alpha = p, *mu = alpha + K, *q = mu + K * d, *l = q + K * d;
    std::vector<T> diagonal(K * d), offset(K), density(K), y(d);
    T value = 0, prior = 0;
    for (int k = 0; k < K; k++) {
        T sum = 0;
        for (int r = 0; r < d; r++) {
            diagonal[k * d + r] = exp(q[k * d + r]);
            sum += q[k * d + r];
            prior -= diagonal[k * d + r] * diagonal[k * d + r] / 2;
            for (int s = 0; s < r; s++) {
                prior -= l[(k * d + r) * d + s] * l[(k * d + r) * d + s] / 2;
            }
        }
        offset[k] = alpha[k] + sum;
        prior += gmm_m * sum;
    }
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < K; k++) {
            for (int s = 0; s < d; s++) {
                y[s] = 0;
            }
            for (int r = 0; r < d; r++) {
                T c = x[i * d + r] - mu[k * d + r];
                for (int s = 0; s < r; s++) {
                    y[s] += l[(k * d + r) * d + s] * c;
                }
                y[r] += diagonal[k * d + r] * c;
            }
            T square = 0;
            for (int s = 0; s < d; s++) {
                square += y[s] * y[s];
            }
            density[k] = offset[k] - square / 2;
        }
        value += log_sum_exp(density.data(), K, greatest(density.data(), K));
    }
    double nu = d + gmm_m + 1, log_gamma = d * (d - 1) / 4.0 * std::log(pi);
    for (int j = 0; j < d; j++) {
        log_gamma += std::lgamma((nu - j) / 2);
    }
    return value - n * log_sum_exp(alpha, K, greatest(alpha, K)) - n * d / 2.0 * std::log(2 * pi) + prior -
           K * (nu * d * std::log(2.0) / 2 + log_gamma);
}

// main: rows W, B of each layer, 4 gates each; then extra. fixed: states h, c of each layer, then the bits of each step
template <class T> T lstm(const T *p, const double *fixed)
{
    const T *extra = p + 2 * layers * 4 * cells;
    const double *bit = fixed + 2 * layers * cells;
    std::vector<T> h(layers * cells), c(layers * cells), y(cells);
    for (int j = 0; j < layers; j++) {
        for (int i = 0; i < cells; i++) {
            h[j * cells + i] = fixed[2 * j * cells + i];
            c[j * cells + i] = fixed[(2 * j + 1) * cells + i];
        }
    }
    T total = 0;
    for (int t = 0; t < steps; t++, bit += cells) {
        T sum = 2, inner = 0;
        double count = 0;
        for (int i = 0; i < cells; i++) {
            T u = bit[i] * extra[i];
            for (int j = 0; j < layers; j++) {
                const T *W = p + 2 * j * 4 * cells + i, *B = W + 4 * cells;
                T &hj = h[j * cells + i], &cj = c[j * cells + i];
                T f = sigmoid<T>(u * W[0] + B[0]), a = sigmoid<T>(hj * W[cells] + B[cells]);
                T o = sigmoid<T>(u * W[2 * cells] + B[2 * cells]), g = tanh(hj * W[3 * cells] + B[3 * cells]);
                cj = cj * f + a * g;
                hj = o * tanh(cj);
                u = hj;
            }
            y[i] = u * extra[cells + i] + extra[2 * cells + i];
            sum += exp(y[i]);
            inner += bit[cells + i] * y[i];
            count += bit[cells + i];
        }
        total += inner - count * log(sum);
    }
    return -total / (double(steps) * cells);
}

struct problem {
    std::vector<double> p, fixed, grad;
    short tape;
    bool gradient;
    double value;
};

template <class T> T objective(const problem *s, const T *p)
{
    return s->tape == 0 ? gmm(p, s->fixed.data()) : lstm(p, s->fixed.data());
}

void *setup(int which) // 2*tape + gradient
{
    auto *s = new problem;
    s->tape = short(which / 2), s->gradient = which % 2;
    const size_t K = gmm_k, d = gmm_d, sizes[2][4] = {{K, K * d, K * d, K * d * d}, {2 * layers * 4 * cells, 3 * cells}};
    const double scales[2][4] = {{1, 1, 0.3, 0.2}, {1, 1}};
    for (unsigned i = 0; i < 4; i++) {
        auto part = stream(i, sizes[s->tape][i], scales[s->tape][i]);
        s->p.insert(s->p.end(), part.begin(), part.end());
    }
    if (s->tape == 0) {
        s->fixed = stream(4, gmm_n * d, 2);
    } else {
        s->fixed = stream(2, 2 * layers * cells, 1);
        for (double v : stream(3, (steps + 1) * cells, 1)) {
            s->fixed.push_back(v > 0);
        }
    }
    s->grad.resize(s->p.size());
    if (s->gradient) {
        std::vector<adouble> p(s->p.size());
        trace_on(s->tape);
        for (size_t i = 0; i < p.size(); i++) {
            p[i] <<= s->p[i];
        }
        adouble y = objective(s, p.data());
        y >>= s->value;
        trace_off();
    }
    return s;
}

void run(void *state)
{
    auto *s = static_cast<problem *>(state);
    if (!s->gradient) {
        s->value = objective(s, s->p.data());
        return;
    }
    double one = 1, *row = s->grad.data();
    zos_forward(s->tape, 1, int(s->p.size()), 1, s->p.data(), &s->value);
    fos_reverse(s->tape, 1, int(s->p.size()), &one, row);
}

worker_answer answer(void *state)
{
    const auto *s = static_cast<const problem *>(state);
    double square = 0;
    for (double g : s->grad) {
        square += g * g;
    }
    return {s->value, std::sqrt(square), 0};
}

} // namespace

int main(int argc, char **argv)
{
    const worker_case cases[] = {{"gmm_value", setup, run, answer, 0}, {"gmm", setup, run, answer, 1},
                                 {"lstm_value", setup, run, answer, 2}, {"lstm", setup, run, answer, 3},
                                 {nullptr, nullptr, nullptr, nullptr, 0}};
    return worker_serve("ADOL-C, g++ " __VERSION__, cases, argc, argv);
}
