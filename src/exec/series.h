/* Truncated power series c0 + c1 t + ... + c4 t^4 for t -> 0+, with a running bound of each coefficient's rounding
 * error and, apart, the value at t = 0 itself: a function jumps exactly where the two disagree (step(t): 1 and 0), and
 * no rule for jumps is needed anywhere else. Internal to room exec. */
#ifndef CR_EXEC_SERIES_H
#define CR_EXEC_SERIES_H

#include "exec/exec.h"

#define SERIES_N 5                    /* coefficients */
#define SERIES_EXACT (SERIES_N + 1)   /* "known" of a polynomial: the coefficients beyond are 0 */

typedef enum series_state {
    SERIES_OK,    /* c[0..known-1] are known; known == 0: nothing is */
    SERIES_STEEP, /* limit c[0], slope infinite with the sign of c[1]; known == 1 (sqrt(t)) */
    SERIES_NONE   /* no finite limit: c[0] is infinite, or NaN where there is no value for t > 0 */
} series_state;

enum { SERIES_ON_KINK = 1, SERIES_NEAR_KINK = 2 };

typedef struct series {
    double c[SERIES_N], e[SERIES_N];
    double at0;
    unsigned char known, state, kink; /* kink: met by the operator that made it */
} series;

series series_from(double v);
series series_linear(double x, double slope);
series series_unknown(double at0);
series series_add(series a, series b);
series series_neg(series a);
series series_mul(series a, series b);
series series_div(series a, series b);
series series_exp(series u);
series series_expm1(series u);
series series_log(series u);
series series_log1p(series u);
series series_sqrt(series u);
void series_sincos(series u, series *sine, series *cosine);
void series_sinhcosh(series u, series *sine, series *cosine);
series series_tan(series u);
series series_tanh(series u);
series series_asin(series u);
series series_acos(series u);
series series_atan(series u);
series series_erf(series u);
series series_erfc(series u);
series series_pow(series a, series b);
series series_mod(series a, series b);
/* One of gt, lt, eq as a > b, a < b or a == b for all small t > 0; un where there is no order. If the sign of a - b
 * cannot be told from the known coefficients: what the three agree on. */
series series_choose(series a, series b, series gt, series lt, series eq, series un);
series series_select(series cond, series a, series b);
/* f(u) from derivative[k] = f^(k)(u0), k < SERIES_N; f0 = f(u.at0) */
series series_taylor(series u, const double *derivative, double f0);
/* Order of the first coefficient that is not 0, SERIES_N if there is none. */
int series_valuation(series a);
bool series_is_zero(series a); /* all known coefficients are exactly 0 */

/* What the functions are made of. */
series series_no_limit(double limit, double at0);
series series_steep(double limit, double err, double sign, double at0); /* slope infinite with that sign */
series series_settle(series r);      /* after an operation: overflowed coefficients become unknown */
series series_quotient(series a, series b); /* of two ordinary series; at0 is not set */
int series_known(series a);          /* coefficients stored, at most SERIES_N */
bool series_constant(series a);      /* does not depend on t, for sure */
bool series_exact_zero(series a);    /* identically 0, for sure */
/* *sum += a*b, and q = a/b, with bounds of the errors that come in (ea, eb) and of the rounding itself. */
void series_add_product(double *sum, double *err, double a, double ea, double b, double eb);
void series_divide(double *q, double *eq, double a, double ea, double b, double eb);

/* Verdict on d/dt at 0+: slope and state as exec_ray has them. */
double series_slope(series a, unsigned char *state);

#endif
