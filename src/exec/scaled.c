/* The interpreter over doubles with an exponent of their own: products of thousands of small factors neither vanish nor
 * overflow. A number is m * 2^e with 1/2 <= |m| < 1; zero, infinities and NaN have e = 0. Sums keep 53 bits of the
 * larger summand. Functions whose values lie in the range of a double are those of doubles. */
#include "exec/internal.h"

#include <math.h>
#include <string.h>

typedef struct scaled {
    double m, e; /* e is whole; beyond 2^53 it is as good as its 53 bits */
} T;

static const double log_2 = 0.69314718055994530942;

static T normal(double m, double e)
{
    if (m == 0 || !isfinite(m)) return (T){m, 0};
    int k;
    double f = frexp(m, &k);
    return (T){f, e + k};
}
static T t_from(double v) { return normal(v, 0); }
/* As a double: 0 or infinite where it is out of range. */
static double t_re(T z)
{
    if (z.m == 0 || !isfinite(z.m)) return z.m;
    return ldexp(z.m, z.e > 4000 ? 4000 : z.e < -4000 ? -4000 : (int)z.e);
}
static T t_mul(T a, T b) { return normal(a.m * b.m, a.e + b.e); }
static T t_div(T a, T b) { return normal(a.m / b.m, a.e - b.e); }
static T t_neg(T a) { return (T){-a.m, a.e}; }
static T t_add(T a, T b)
{
    if (a.m == 0 || b.m == 0 || !isfinite(a.m) || !isfinite(b.m))
        return a.m == 0 && b.m != 0 ? b : b.m == 0 && a.m != 0 ? a : normal(a.m + b.m, 0);
    if (a.e < b.e) {
        T swap = a;
        a = b;
        b = swap;
    }
    if (a.e - b.e > 64) return a;
    return normal(a.m + ldexp(b.m, (int)(b.e - a.e)), a.e);
}
static T t_sub(T a, T b) { return t_add(a, t_neg(b)); }
static T t_undefined(void) { return (T){NAN, 0}; }
static T t_choose(T a, T b, T gt, T lt, T eq, T un)
{
    double d = t_sub(a, b).m;
    if (isnan(d)) { /* inf - inf, or a NaN */
        double x = t_re(a), y = t_re(b);
        return x > y ? gt : x < y ? lt : x == y ? eq : un;
    }
    return d > 0 ? gt : d < 0 ? lt : eq;
}
static T t_select(T c, T a, T b) { return c.m != 0 ? a : b; }

static T t_exp(T z)
{
    double x = t_re(z);
    if (!(fabs(x) < 1e15)) return t_from(exp(x));
    double k = floor(x / log_2);
    return fabs(x) < 700 ? t_from(exp(x)) : normal(exp(x - k * log_2), k);
}
static T t_expm1(T z) { return fabs(t_re(z)) < 1e-300 ? z : t_re(z) > 700 ? t_exp(z) : t_from(expm1(t_re(z))); }
static T t_log(T z)
{
    double v = t_re(z);
    return v > 1e-300 && v < 1e300 ? t_from(log(v)) : z.m > 0 && isfinite(z.m)
        ? t_from(log(z.m) + z.e * log_2) : t_from(log(z.m));
}
static T t_log1p(T z) { return fabs(t_re(z)) < 1e-300 ? z : t_re(z) > 1e300 ? t_log(z) : t_from(log1p(t_re(z))); }
static T t_sqrt(T z)
{
    return z.m == 0 || !isfinite(z.m) ? t_from(sqrt(z.m)) : fmod(z.e, 2) != 0 ? normal(sqrt(z.m * 2), (z.e - 1) / 2)
                                                                    : normal(sqrt(z.m), z.e / 2);
}
/* f(z) = z to all digits for a tiny z, which as a double may be 0 already */
static T odd(T z, double (*f)(double)) { return z.m != 0 && fabs(t_re(z)) < 1e-150 ? z : t_from(f(t_re(z))); }
static T t_sin(T z) { return odd(z, sin); }
static T t_cos(T z) { return t_from(cos(t_re(z))); }
static T t_tan(T z) { return odd(z, tan); }
static T halves(T z, double sign)
{
    return t_mul(t_from(0.5), t_add(t_exp(z), t_mul(t_from(sign), t_exp(t_neg(z)))));
}
static T t_sinh(T z) { return fabs(t_re(z)) > 20 ? halves(z, -1) : odd(z, sinh); }
static T t_cosh(T z) { return fabs(t_re(z)) > 20 ? halves(z, 1) : t_from(cosh(t_re(z))); }
static T t_tanh(T z) { return odd(z, tanh); }
static T t_asin(T z) { return odd(z, asin); }
static T t_acos(T z) { return t_from(acos(t_re(z))); }
static T t_atan(T z) { return odd(z, atan); }
static T t_erf(T z)
{
    return z.m != 0 && fabs(t_re(z)) < 1e-150 ? t_mul(t_from(1.12837916709551257390), z) : t_from(erf(t_re(z)));
}
/* Beyond the range of a double by its asymptotic series: exp(-x^2)/(x sqrt pi) (1 - 1/(2x^2) + 3/(4x^4) - ...) */
static T t_erfc(T z)
{
    double x = t_re(z);
    if (!(x > 26) || isinf(x)) return t_from(erfc(x));
    double y = 1 / (2 * x * x), tail = 1 - y * (1 - 3 * y * (1 - 5 * y * (1 - 7 * y)));
    return t_mul(t_exp(t_from(-x * x)), t_from(tail / (x * 1.77245385090551602730)));
}
static T t_pow(T a, T b)
{
    double x = t_re(a), y = t_re(b), v = pow(x, y);
    bool fine = isnormal(x) && isnormal(v);
    if (fine || a.m == 0 || !isfinite(a.m) || !isfinite(b.m) || b.m == 0) return t_from(v);
    bool whole = y == floor(y);
    if (a.m < 0 && !whole) return t_undefined();
    if (whole && fabs(y) <= 1024) { /* by squaring: exact to a few units */
        T p = t_from(1), q = a;
        for (unsigned k = (unsigned)fabs(y); k; k >>= 1) {
            p = k & 1 ? t_mul(p, q) : p;
            q = t_mul(q, q);
        }
        return y < 0 ? t_div(t_from(1), p) : p;
    }
    T r = t_exp(t_mul(b, t_log(a.m < 0 ? t_neg(a) : a)));
    return a.m < 0 && fmod(y, 2) != 0 ? t_neg(r) : r;
}
static T t_mod(T a, T b)
{
    double x = t_re(a), y = t_re(b), r = fmod(x, y);
    return t_from(r != 0 && (r < 0) != (y < 0) ? r + y : r);
}

static bool t_better_pivot(T a, T b)
{
    if (a.m == 0 || b.m == 0 || !isfinite(a.m) || !isfinite(b.m)) return isnan(a.m) || fabs(a.m) > fabs(b.m);
    return a.e != b.e ? a.e > b.e : fabs(a.m) > fabs(b.m);
}
static bool t_is_minus_infinity(T z) { return z.m == -INFINITY; }
static bool t_is_zero(T a) { return a.m == 0; }
static T t_call(exec_fun fn, void *user, unsigned order, T z) { return t_from(fn(user, order, t_re(z))); }
static T t_seed(double value, double seed)
{
    (void)seed;
    return t_from(value);
}
static void t_after_map(cr_op op, T z, const double *attr, T *r) { (void)op; (void)z; (void)attr; (void)r; }
static bool t_after_linalg(cr_op op, int64_t e, const T *a, size_t m, size_t n, T *out, size_t n_out)
{
    (void)op; (void)e; (void)a; (void)m; (void)n; (void)out; (void)n_out;
    return true;
}
static void t_count_kinks(T *v, size_t n, size_t *on, size_t *near)
{
    (void)v; (void)n; (void)on; (void)near;
}

#include "exec/kernels.inc"
#include "exec/reduce.inc"
#include "exec/linalg.inc"
#include "exec/eval.inc"

cr_status exec_eval_scaled(cr_graph *g, exec_env *env, cr_ref a, exec_scaled *out)
{
    memset(out, 0, sizeof *out);
    exec_array shape;
    T *v;
    cr_status status = evaluate(&(interpreter){.g = g, .env = env}, a, &shape, &v);
    if (status != CR_OK) return status;
    error e = {CR_OK, NULL};
    if (exec_array_init(&out->value, shape.rank, shape.dim, &e) &&
        exec_array_init(&out->sign, shape.rank, shape.dim, &e) &&
        exec_array_init(&out->log10_abs, shape.rank, shape.dim, &e)) {
        for (size_t i = 0; i < shape.n; i++) {
            out->value.value[i] = t_re(v[i]);
            out->sign.value[i] = isnan(v[i].m) ? NAN : (v[i].m > 0) - (v[i].m < 0);
            out->log10_abs.value[i] = log10(fabs(v[i].m)) + v[i].e * 0.30102999566398119521;
        }
    } else {
        exec_scaled_free(out);
        graph_fail(g, e.status, "%s", err_message(&e));
        status = e.status;
        err_clear(&e);
    }
    mem_free(v);
    return status;
}

void exec_scaled_free(exec_scaled *s)
{
    exec_array_free(&s->value);
    exec_array_free(&s->sign);
    exec_array_free(&s->log10_abs);
}
