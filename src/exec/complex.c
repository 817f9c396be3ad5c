/* The interpreter over complex numbers, for complex-step derivatives: imaginary parts are tiny (1e-100 and less). The
 * formulas are analytic continuations, so a transpose never conjugates and comparisons look at the real part. Where a
 * real function has no value (log of a negative number) the result is NaN here too.
 *
 * The products of C (Annex G) would turn inf * (2 + 0i) into a NaN imaginary part: an imaginary part of 0 is exact
 * here. */
#include "exec/internal.h"

#include <complex.h>
#include <math.h>
#include <string.h>

typedef double complex T;

static inline T make(double re, double im)
{
    union {
        double part[2];
        T z;
    } u = {{re, im}};
    return u.z;
}
static inline T t_from(double v) { return make(v, 0); }
static inline double t_re(T z) { return creal(z); }
static inline T t_add(T a, T b) { return make(creal(a) + creal(b), cimag(a) + cimag(b)); }
static inline T t_sub(T a, T b) { return make(creal(a) - creal(b), cimag(a) - cimag(b)); }
static inline T t_neg(T a) { return make(-creal(a), -cimag(a)); }
static inline T t_undefined(void) { return make(NAN, NAN); }
static inline T t_mul(T a, T b)
{
    double im = (cimag(b) != 0 ? creal(a) * cimag(b) : 0) + (cimag(a) != 0 ? cimag(a) * creal(b) : 0);
    double re = creal(a) * creal(b);
    return make(cimag(a) != 0 && cimag(b) != 0 ? re - cimag(a) * cimag(b) : re, im);
}

/* Smith's algorithm: no |b|^2, which would vanish for a tiny b. */
static T t_div(T a, T b)
{
    double x = creal(b), y = cimag(b);
    if (y == 0) {
        return make(creal(a) / x, cimag(a) != 0 ? cimag(a) / x : 0);
    }
    if (fabs(x) >= fabs(y)) {
        double r = y / x, d = x + y * r;
        return make((creal(a) + cimag(a) * r) / d, (cimag(a) - creal(a) * r) / d);
    }
    double r = x / y, d = x * r + y;
    return make((creal(a) * r + cimag(a)) / d, (cimag(a) * r - creal(a)) / d);
}

static inline T t_choose(T a, T b, T gt, T lt, T eq, T un)
{
    return creal(a) > creal(b) ? gt : creal(a) < creal(b) ? lt : creal(a) == creal(b) ? eq : un;
}
static inline T t_select(T c, T a, T b) { return creal(c) != 0 ? a : b; }

/* f(x + iy) from its real and imaginary part; an exactly real argument stays exactly real. */
static inline T pair(T z, double re, double im) { return make(re, cimag(z) != 0 ? im : 0); }

static T t_exp(T z)
{
    double e = exp(creal(z));
    return pair(z, e * cos(cimag(z)), e * sin(cimag(z)));
}
static T t_expm1(T z)
{
    double s = sin(cimag(z) / 2), e = expm1(creal(z)); /* e^x cos y - 1 = expm1(x) cos y - 2 sin(y/2)^2 */
    return pair(z, e * cos(cimag(z)) - 2 * s * s, (e + 1) * sin(cimag(z)));
}
static T t_log(T z)
{
    return creal(z) < 0 ? t_undefined() : pair(z, log(hypot(creal(z), cimag(z))), atan2(cimag(z), creal(z)));
}
static T t_log1p(T z)
{
    double x = creal(z), y = cimag(z);
    return x < -1 ? t_undefined() : pair(z, 0.5 * log1p(x * (2 + x) + y * y), atan2(y, 1 + x));
}
static T t_sqrt(T z) { return creal(z) < 0 ? t_undefined() : cimag(z) == 0 ? t_from(sqrt(creal(z))) : csqrt(z); }
static T t_sin(T z) { return pair(z, sin(creal(z)) * cosh(cimag(z)), cos(creal(z)) * sinh(cimag(z))); }
static T t_cos(T z) { return pair(z, cos(creal(z)) * cosh(cimag(z)), -sin(creal(z)) * sinh(cimag(z))); }
static T t_sinh(T z) { return pair(z, sinh(creal(z)) * cos(cimag(z)), cosh(creal(z)) * sin(cimag(z))); }
static T t_cosh(T z) { return pair(z, cosh(creal(z)) * cos(cimag(z)), sinh(creal(z)) * sin(cimag(z))); }
static T t_tan(T z) { return cimag(z) == 0 ? t_from(tan(creal(z))) : ctan(z); }
static T t_tanh(T z) { return cimag(z) == 0 ? t_from(tanh(creal(z))) : ctanh(z); }
static T t_atan(T z) { return cimag(z) == 0 ? t_from(atan(creal(z))) : catan(z); }
static T t_asin(T z)
{
    return fabs(creal(z)) > 1 ? t_undefined() : cimag(z) == 0 ? t_from(asin(creal(z))) : casin(z);
}
static T t_acos(T z)
{
    return fabs(creal(z)) > 1 ? t_undefined() : cimag(z) == 0 ? t_from(acos(creal(z))) : cacos(z);
}
/* First order in the imaginary part, which is exact in double precision for |y| < 1e-10 or so: enough for a complex
 * step, and not more than that. */
#define TWO_OVER_SQRT_PI 1.12837916709551257390
static T t_erf(T z)
{
    double x = creal(z);
    return pair(z, erf(x), TWO_OVER_SQRT_PI * exp(-x * x) * cimag(z));
}
static T t_erfc(T z)
{
    double x = creal(z);
    return pair(z, erfc(x), -TWO_OVER_SQRT_PI * exp(-x * x) * cimag(z));
}

static T t_pow(T a, T b)
{
    double p = creal(b);
    if (cimag(a) == 0 && cimag(b) == 0) {
        return t_from(pow(creal(a), p));
    }
    if (cimag(b) == 0 && p == floor(p) && fabs(p) <= 1024) { /* any base */
        T y = t_from(1), x = a;
        for (unsigned k = (unsigned)fabs(p); k; k >>= 1) {
            y = k & 1 ? t_mul(y, x) : y;
            x = t_mul(x, x);
        }
        return p < 0 ? t_div(t_from(1), y) : y;
    }
    if (creal(a) < 0 && cimag(b) == 0 && p == floor(p)) {
        T y = t_exp(t_mul(b, t_log(t_neg(a))));
        return fmod(p, 2) != 0 ? t_neg(y) : y;
    }
    return t_exp(t_mul(b, t_log(a)));
}

static T t_mod(T a, T b)
{
    return t_sub(a, t_mul(b, t_from(floor(creal(t_div(a, b))))));
}

static inline bool t_better_pivot(T a, T b)
{
    double size = hypot(creal(a), cimag(a));
    return isnan(size) || size > hypot(creal(b), cimag(b));
}
static inline bool t_is_minus_infinity(T z) { return creal(z) == -INFINITY; }
static inline bool t_is_zero(T a) { return creal(a) == 0 && cimag(a) == 0; }

/* First order: all that is known of an unknown function. */
static T t_call(exec_fun fn, void *user, unsigned order, T z)
{
    return make(fn(user, order, creal(z)), cimag(z) != 0 ? fn(user, order + 1, creal(z)) * cimag(z) : 0);
}
static inline T t_seed(double value, double seed) { return make(value, seed); }
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

#include "exec/kernels.inc"
#include "exec/reduce.inc"
#include "exec/linalg.inc"
#include "exec/eval.inc"

cr_status exec_eval_complex(cr_graph *g, exec_env *env, cr_ref a, cr_ref param, const double *imag, exec_array *re,
                            exec_array *im)
{
    memset(re, 0, sizeof *re);
    memset(im, 0, sizeof *im);
    exec_array shape;
    T *v;
    cr_status status = evaluate(&(interpreter){.g = g, .env = env, .seed_param = param, .seed = imag}, a, &shape, &v);
    if (status != CR_OK) {
        return status;
    }
    error e = {CR_OK, NULL};
    if (exec_array_init(re, shape.rank, shape.dim, &e) && exec_array_init(im, shape.rank, shape.dim, &e)) {
        for (size_t i = 0; i < re->n; i++) {
            re->value[i] = creal(v[i]);
            im->value[i] = cimag(v[i]);
        }
    } else {
        exec_array_free(re);
        exec_array_free(im);
        graph_fail(g, e.status, "%s", err_message(&e));
        status = e.status;
        err_clear(&e);
    }
    mem_free(v);
    return status;
}
