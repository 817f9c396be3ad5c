/* The interpreter over doubles. */
#include "exec/internal.h"
#include "exec/loop.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "exec/f64.inc"

/* NaN is taken, so that it shows in the result. */
static inline bool t_better_pivot(T a, T b) { return isnan(a) || fabs(a) > fabs(b); }
static inline bool t_is_zero(T a) { return a == 0; }

static inline T t_call(exec_fun fn, void *user, unsigned order, T z) { return fn(user, order, z); }
static inline T t_seed(double value, double seed)
{
    (void)seed;
    return value;
}
static inline void t_after_map(cr_op op, T z, const double *attr, T *r) { (void)op; (void)z; (void)attr; (void)r; }
static inline bool t_after_linalg(cr_op op, int64_t e, const T *a, size_t m, size_t n, T *out, size_t n_out)
{
    (void)op; (void)e; (void)a; (void)m; (void)n; (void)out; (void)n_out;
    return true;
}
static inline void t_count_kinks(T *v, size_t n, size_t *on, size_t *near)
{
    (void)v; (void)n; (void)on; (void)near;
}

/* Pseudo-inverse by one-sided Jacobi rotations (Hestenes): A V = U S with orthogonal columns; singular values below
 * max(m,n) eps s_max count as 0, so any rank is right. A is m x n with m >= n, otherwise its transpose is taken. */
void exec_pinv_f64(const double *a, size_t m, size_t n, double eps, double *out, double *scratch)
{
    bool flip = m < n;
    size_t rows = flip ? n : m, cols = flip ? m : n;
    double *u = scratch, *v = u + rows * cols, *s = v + cols * cols; /* u, v: column after column */
    memset(v, 0, cols * cols * sizeof *v);
    for (size_t j = 0; j < cols; j++) {
        for (size_t i = 0; i < rows; i++) {
            u[j * rows + i] = flip ? a[j * n + i] : a[i * n + j];
        }
        v[j * cols + j] = 1;
    }
    bool rotated = true;
    for (int sweep = 0; rotated && sweep < 60; sweep++) {
        rotated = false;
        for (size_t p = 0; p < cols; p++) {
            for (size_t q = p + 1; q < cols; q++) {
                double *x = u + p * rows, *y = u + q * rows, xx = 0, yy = 0, xy = 0;
                for (size_t i = 0; i < rows; i++) {
                    xx += x[i] * x[i];
                    yy += y[i] * y[i];
                    xy += x[i] * y[i];
                }
                if (!(fabs(xy) > 1e-16 * sqrt(xx) * sqrt(yy))) {
                    continue;
                }
                rotated = true;
                double z = (yy - xx) / (2 * xy), t = copysign(1, z) / (fabs(z) + hypot(1, z)), c = 1 / hypot(1, t);
                double *vp = v + p * cols, *vq = v + q * cols;
                for (size_t i = 0; i < rows + cols; i++) {
                    double *l = i < rows ? &x[i] : &vp[i - rows], *r = i < rows ? &y[i] : &vq[i - rows], w = *l;
                    *l = c * (w - t * *r);
                    *r = c * (t * w + *r);
                }
            }
        }
    }
    double top = 0;
    for (size_t j = 0; j < cols; j++) {
        double sum = 0;
        for (size_t i = 0; i < rows; i++) {
            sum += u[j * rows + i] * u[j * rows + i];
        }
        s[j] = sum; /* the square */
        top = fmax(top, sum);
    }
    double least = (double)rows * eps;
    for (size_t i = 0; i < cols; i++) {
        for (size_t k = 0; k < rows; k++) {
            double sum = 0;
            for (size_t j = 0; j < cols; j++) { /* V S^-2 (U S)' */
                if (!(sqrt(s[j]) <= least * sqrt(top))) {
                    sum += v[j * cols + i] / s[j] * u[j * rows + k];
                }
            }
            out[flip ? k * cols + i : i * rows + k] = sum;
        }
    }
}
static void pseudo_inverse(const T *a, size_t m, size_t n, T *out, T *scratch)
{
    exec_pinv_f64(a, m, n, DBL_EPSILON, out, scratch);
}
static size_t pseudo_inverse_room(size_t m, size_t n)
{
    size_t k = m < n ? m : n;
    return m * n + k * k + k;
}
#define OWN_PSEUDO_INVERSE

#include "exec/kernels.inc"
#include "exec/reduce.inc"
#include "exec/linalg.inc"
#define T_LOOPS
#include "exec/eval.inc"

double exec_map1_f64(cr_op op, double z, const double *attr)
{
    return kernel1_of[op](z, attr);
}

size_t exec_linalg_room_f64(cr_op op, size_t rows, size_t cols) { return linalg_room(op, rows, cols); }

void exec_linalg_f64(cr_op op, int64_t exponent, const double *a, size_t rows, size_t cols, double *out,
                     double *scratch)
{
    linalg(op, exponent, a, rows, cols, out, scratch);
}

cr_status exec_eval_n(cr_graph *g, exec_env *env, unsigned flags, unsigned n, const cr_ref *a, exec_array *out)
{
    T **v = mem_zalloc(n + 1, sizeof *v);
    if (!v) {
        graph_fail(g, CR_ENOMEM, "out of memory");
        memset(out, 0, n * sizeof *out);
        return CR_ENOMEM;
    }
    for (unsigned i = 0; i < n && flags & EXEC_REUSE; i++) {
        exec_give(env, out[i].value, out[i].n * sizeof *out[i].value);
    }
    interpreter it = {.g = g, .env = env, .no_loop = (flags & EXEC_INTERPRET) != 0};
    cr_status status = evaluate_all(&it, n, a, out, v);
    for (unsigned i = 0; i < n; i++) {
        out[i].value = v[i];
    }
    mem_free(v);
    return status;
}

cr_status exec_eval(cr_graph *g, exec_env *env, cr_ref a, exec_array *out)
{
    return exec_eval_n(g, env, 0, 1, &a, out);
}
