/* The interpreter over power series in t along a ray x + t v: one-sided derivatives, exact at kinks. */
#include "exec/internal.h"
#include "exec/series.h"

#include <math.h>
#include <string.h>

typedef series T;

static inline T t_from(double v) { return series_from(v); }
static inline double t_re(T z) { return z.c[0]; }
static inline T t_add(T a, T b) { return series_add(a, b); }
static inline T t_sub(T a, T b) { return series_add(a, series_neg(b)); }
static inline T t_mul(T a, T b) { return series_mul(a, b); }
static inline T t_div(T a, T b) { return series_div(a, b); }
static inline T t_neg(T a) { return series_neg(a); }
static inline T t_undefined(void) { return series_unknown(NAN); }
static inline T t_choose(T a, T b, T gt, T lt, T eq, T un) { return series_choose(a, b, gt, lt, eq, un); }
static inline T t_select(T c, T a, T b) { return series_select(c, a, b); }
static inline T t_exp(T z) { return series_exp(z); }
static inline T t_expm1(T z) { return series_expm1(z); }
static inline T t_log(T z) { return series_log(z); }
static inline T t_log1p(T z) { return series_log1p(z); }
static inline T t_sqrt(T z) { return series_sqrt(z); }
static T t_sin(T z)
{
    T s, c;
    series_sincos(z, &s, &c);
    return s;
}
static T t_cos(T z)
{
    T s, c;
    series_sincos(z, &s, &c);
    return c;
}
static T t_sinh(T z)
{
    T s, c;
    series_sinhcosh(z, &s, &c);
    return s;
}
static T t_cosh(T z)
{
    T s, c;
    series_sinhcosh(z, &s, &c);
    return c;
}
static inline T t_tan(T z) { return series_tan(z); }
static inline T t_tanh(T z) { return series_tanh(z); }
static inline T t_asin(T z) { return series_asin(z); }
static inline T t_acos(T z) { return series_acos(z); }
static inline T t_atan(T z) { return series_atan(z); }
static inline T t_erf(T z) { return series_erf(z); }
static inline T t_erfc(T z) { return series_erfc(z); }
static inline T t_pow(T a, T b) { return series_pow(a, b); }
static inline T t_mod(T a, T b) { return series_mod(a, b); }

/* The pivot of least order, the greatest among those: then every division by it is one of power series. */
static bool t_better_pivot(T a, T b)
{
    int va = series_valuation(a), vb = series_valuation(b);
    if (va != vb || va == SERIES_N) {
        return va < vb;
    }
    return !(fabs(a.c[va]) <= fabs(b.c[vb]));
}
/* A series that tends to -inf is not yet there: silu of it is not exactly 0. */
static inline bool t_is_minus_infinity(T z)
{
    (void)z;
    return false;
}
static inline bool t_is_zero(T a) { return a.state == SERIES_OK && series_valuation(a) == SERIES_N; }

static T t_call(exec_fun fn, void *user, unsigned order, T z)
{
    double d[SERIES_N];
    for (unsigned k = 0; k < SERIES_N; k++) {
        d[k] = fn(user, order + k, z.c[0]);
    }
    return series_taylor(z, d, z.at0 == z.c[0] ? d[0] : fn(user, order, z.at0));
}
static inline T t_seed(double value, double seed) { return series_linear(value, seed); }

/* Values at t = 0 come from the real kernels, whatever branch the series went. */
static inline void t_after_map(cr_op op, T z, const double *attr, T *r)
{
    r->at0 = exec_map1_f64(op, z.at0, attr);
}

static bool t_after_linalg(cr_op op, int64_t exponent, const T *a, size_t m, size_t n, T *out, size_t n_out)
{
    double *x = mem_alloc(m * n * sizeof *x), *y = mem_alloc(n_out * sizeof *y);
    double *scratch = mem_alloc(exec_linalg_room_f64(op, m, n) * sizeof *scratch);
    bool ok = x && y && scratch;
    for (size_t i = 0; ok && i < m * n; i++) {
        x[i] = a[i].at0;
    }
    if (ok) exec_linalg_f64(op, exponent, x, m, n, y, scratch);
    for (size_t i = 0; ok && i < n_out; i++) {
        out[i].at0 = y[i];
    }
    mem_free(x);
    mem_free(y);
    mem_free(scratch);
    return ok;
}

static void t_count_kinks(T *v, size_t n, size_t *on, size_t *near)
{
    for (size_t i = 0; i < n; i++) {
        *on += (v[i].kink & SERIES_ON_KINK) != 0;
        *near += (v[i].kink & SERIES_NEAR_KINK) != 0;
        v[i].kink = 0;
    }
}

#include "exec/kernels.inc"
#include "exec/reduce.inc"
#include "exec/linalg.inc"
#include "exec/eval.inc"

cr_status exec_one_sided(cr_graph *g, exec_env *env, cr_ref a, cr_ref param, const double *v, exec_ray *out)
{
    memset(out, 0, sizeof *out);
    interpreter it = {.g = g, .env = env, .seed_param = param, .seed = v};
    exec_array shape;
    T *s;
    cr_status status = evaluate(&it, a, &shape, &s);
    if (status != CR_OK) {
        return status;
    }
    error e = {CR_OK, NULL};
    out->state = mem_alloc(shape.n);
    if (out->state && exec_array_init(&out->slope, shape.rank, shape.dim, &e) &&
        exec_array_init(&out->value, shape.rank, shape.dim, &e) &&
        exec_array_init(&out->error, shape.rank, shape.dim, &e)) {
        for (size_t i = 0; i < shape.n; i++) {
            out->value.value[i] = s[i].at0;
            out->slope.value[i] = series_slope(s[i], &out->state[i]);
            out->error.value[i] = s[i].state == SERIES_OK && s[i].known > 1 ? s[i].e[1] : 0;
        }
        out->on_kink = it.on_kink;
        out->near_kink = it.near_kink;
    } else {
        exec_ray_free(out);
        status = e.status != CR_OK ? e.status : CR_ENOMEM;
        graph_fail(g, status, "out of memory");
    }
    err_clear(&e);
    mem_free(s);
    return status;
}

void exec_ray_free(exec_ray *r)
{
    exec_array_free(&r->slope);
    exec_array_free(&r->value);
    exec_array_free(&r->error);
    mem_free(r->state);
    memset(r, 0, sizeof *r);
}
