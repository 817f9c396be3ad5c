/* Functions of truncated power series: smooth ones by their differential equation y' = f'(u) u', those with kinks by
 * the sign of a series for small t, singular ones by the order of their argument's leading term. */
#include "exec/series.h"

#include <float.h>
#include <math.h>

#define ULP (2 * DBL_EPSILON) /* of a function of libm, generously */

/* ---- smooth functions: y' = w(u) u' ------------------------------------------------------------- */

/* Coefficient k of y0 + integral of w u': (1/k) sum of j u_j w_(k-j). */
static void integral_term(const series *u, const series *w, int k, double *c, double *e)
{
    double sum = 0, err = 0;
    for (int j = 1; j <= k; j++) {
        series_add_product(&sum, &err, (double)j * u->c[j], (double)j * u->e[j], w->c[k - j], w->e[k - j]);
    }
    series_divide(c, e, sum, err, k, 0);
}

/* What f(u) is where u is no ordinary series; true: *r is the result. slope is f'(u0). */
static bool special(series u, double y0, double slope, double at0, series *r)
{
    if (u.known == 0) {
        *r = series_unknown(at0);
    } else if (!isfinite(y0)) {
        *r = series_no_limit(y0, at0);
    } else if (u.state == SERIES_NONE) { /* f has a limit at infinity */
        *r = (series){.c = {y0}, .e = {ULP * fabs(y0)}, .at0 = at0, .known = 1};
    } else if (u.state == SERIES_STEEP) {
        double err = fabs(slope) * u.e[0] + ULP * fabs(y0);
        *r = slope != 0 && isfinite(slope) ? series_steep(y0, err, slope * u.c[1], at0)
                                           : (series){.c = {y0}, .e = {err}, .at0 = at0, .known = 1};
    } else {
        return false;
    }
    r->kink |= u.kink;
    return true;
}

static series start(series u, double y0, double slope, double at0)
{
    series y = {.c = {y0}, .at0 = at0, .known = u.known, .kink = u.kink};
    if (!series_constant(u) && y.known == SERIES_EXACT) {
        y.known = SERIES_N;
    }
    /* 0 is mapped without rounding by all functions here that give 0 or 1 there. */
    bool exact = u.c[0] == 0 && (y0 == 0 || y0 == 1);
    y.e[0] = (u.e[0] != 0 ? fabs(slope) * u.e[0] : 0) + (exact ? 0 : ULP * fabs(y0));
    return y;
}

/* y0 + integral of w u' with w = f'(u) as a series */
static series integrate(series u, double y0, series w, double at0)
{
    series y;
    if (special(u, y0, w.known && w.state == SERIES_OK ? w.c[0] : NAN, at0, &y)) {
        return y;
    }
    y = start(u, y0, w.c[0], at0);
    if (!series_constant(u) && (w.state != SERIES_OK || w.known + 1 < y.known)) {
        y.known = (unsigned char)(w.state == SERIES_OK ? w.known + 1 : 1);
    }
    for (int k = 1; k < series_known(y); k++) {
        integral_term(&u, &w, k, &y.c[k], &y.e[k]);
    }
    return series_settle(y);
}

series series_exp(series u)
{
    double y0 = exp(u.c[0]), at0 = exp(u.at0);
    series y;
    if (special(u, y0, y0, at0, &y)) {
        return y;
    }
    y = start(u, y0, y0, at0);
    for (int k = 1; k < series_known(y); k++) {
        integral_term(&u, &y, k, &y.c[k], &y.e[k]);
    }
    return series_settle(y);
}

series series_expm1(series u)
{
    return integrate(u, expm1(u.c[0]), series_exp(u), expm1(u.at0));
}

/* Both of s' = c u', c' = sign s u' */
static void circular(series u, double s0, double c0, double sign, double s_at0, double c_at0, series *s, series *c)
{
    bool odd = special(u, s0, c0, s_at0, s);
    if (special(u, c0, sign * s0, c_at0, c) || odd) {
        return;
    }
    *s = start(u, s0, c0, s_at0);
    *c = start(u, c0, s0, c_at0);
    for (int k = 1; k < series_known(*s); k++) {
        integral_term(&u, c, k, &s->c[k], &s->e[k]);
        integral_term(&u, s, k, &c->c[k], &c->e[k]);
        c->c[k] *= sign;
    }
    *s = series_settle(*s);
    *c = series_settle(*c);
}

void series_sincos(series u, series *sine, series *cosine)
{
    circular(u, sin(u.c[0]), cos(u.c[0]), -1, sin(u.at0), cos(u.at0), sine, cosine);
}

void series_sinhcosh(series u, series *sine, series *cosine)
{
    circular(u, sinh(u.c[0]), cosh(u.c[0]), 1, sinh(u.at0), cosh(u.at0), sine, cosine);
}

static series reciprocal(series a)
{
    return series_div(series_from(1), a);
}

static series square(series a)
{
    return series_mul(a, a);
}

series series_tan(series u)
{
    series s, c;
    series_sincos(u, &s, &c);
    return integrate(u, tan(u.c[0]), reciprocal(square(c)), tan(u.at0));
}

/* 1/cosh^2 = 4 E/(1+E)^2, E = exp(-2|u|) */
series series_tanh(series u)
{
    series e = series_exp(series_mul(series_from(u.c[0] >= 0 ? -2 : 2), u));
    series den = series_add(series_from(1), e);
    return integrate(u, tanh(u.c[0]), series_div(series_mul(series_from(4), e), square(den)), tanh(u.at0));
}

series series_atan(series u)
{
    return integrate(u, atan(u.c[0]), reciprocal(series_add(series_from(1), square(u))), atan(u.at0));
}

static series gauss(series u, double factor)
{
    return series_mul(series_from(factor), series_exp(series_neg(square(u))));
}

#define TWO_OVER_SQRT_PI 1.12837916709551257390
series series_erf(series u)
{
    return integrate(u, erf(u.c[0]), gauss(u, TWO_OVER_SQRT_PI), erf(u.at0));
}

series series_erfc(series u)
{
    return integrate(u, erfc(u.c[0]), gauss(u, -TWO_OVER_SQRT_PI), erfc(u.at0));
}

series series_log1p(series u)
{
    return integrate(u, log1p(u.c[0]), reciprocal(series_add(series_from(1), u)), log1p(u.at0));
}

series series_taylor(series u, const double *derivative, double f0)
{
    series y;
    if (special(u, derivative[0], derivative[1], f0, &y)) {
        return y;
    }
    series h = u, power = series_from(1);
    double factorial = 1;
    y = start(u, derivative[0], derivative[1], f0);
    h.c[0] = h.e[0] = 0;
    for (int k = 1; k < SERIES_N && !series_constant(u); k++) {
        power = series_mul(power, h);
        factorial *= k;
        if (!isfinite(derivative[k])) { /* not known: nor is anything from the order of h^k on */
            int v = k * series_valuation(h);
            y.known = (unsigned char)(v < y.known ? v : y.known);
            break;
        }
        for (int i = k; i < series_known(y); i++) {
            double d = derivative[k] / factorial;
            series_add_product(&y.c[i], &y.e[i], power.c[i], power.e[i], d, ULP * fabs(d));
        }
    }
    return series_settle(y);
}

/* ---- order and kinks ---------------------------------------------------------------------------- */

/* Sign of u for all small t > 0; *certain = false if what is known is 0 and more might come. Sets kink bits in *kink.
 */
static int sign_of(series u, bool *certain, unsigned char *kink)
{
    bool near = false;
    int sign = 0;
    *certain = u.known == SERIES_EXACT;
    if (u.state == SERIES_NONE) {
        *certain = true;
        return (u.c[0] > 0) - (u.c[0] < 0);
    }
    if (u.known && u.c[0] == 0 && u.e[0] == 0) {
        *kink |= SERIES_ON_KINK;
    }
    for (int k = 0; k < series_known(u) && !sign; k++) {
        near |= fabs(u.c[k]) <= u.e[k] && u.e[k] > 0;
        sign = (u.c[k] > 0) - (u.c[k] < 0);
    }
    if (!sign && u.state == SERIES_STEEP) {
        sign = u.c[1] > 0 ? 1 : -1;
    }
    *certain |= sign != 0;
    *kink |= near ? SERIES_NEAR_KINK : 0;
    return sign;
}

/* The coefficients that a and b share. */
static series common(series a, series b)
{
    series r = a;
    int n = 0, most = a.known < b.known ? a.known : b.known;
    if (a.state == SERIES_NONE || b.state == SERIES_NONE) {
        return (series){0};
    }
    while (n < most && (n == SERIES_N || a.c[n] == b.c[n])) {
        r.e[n < SERIES_N ? n : 0] = fmax(a.e[n < SERIES_N ? n : 0], b.e[n < SERIES_N ? n : 0]);
        n++;
    }
    r.known = (unsigned char)n;
    r.state = a.state == b.state && n == a.known && n == b.known ? a.state : SERIES_OK;
    return r.state == SERIES_STEEP ? r : series_settle(r);
}

series series_choose(series a, series b, series gt, series lt, series eq, series un)
{
    double at0 = a.at0 > b.at0 ? gt.at0 : a.at0 < b.at0 ? lt.at0 : a.at0 == b.at0 ? eq.at0 : un.at0;
    unsigned char kink = a.kink | b.kink;
    bool certain = true;
    series r;
    if ((a.state == SERIES_NONE && isnan(a.c[0])) || (b.state == SERIES_NONE && isnan(b.c[0]))) {
        r = un;
    } else {
        int sign;
        if (a.state == SERIES_NONE && b.state == SERIES_NONE) {
            sign = (a.c[0] > b.c[0]) - (a.c[0] < b.c[0]);
            certain = sign || (series_constant(a) && series_constant(b));
        } else if (!a.known || !b.known) {
            sign = 0;
            certain = false;
        } else {
            sign = sign_of(series_add(a, series_neg(b)), &certain, &kink);
        }
        r = sign > 0 ? gt : sign < 0 ? lt : certain ? eq : common(common(gt, lt), eq);
    }
    r.at0 = at0;
    r.kink |= kink;
    return r;
}

series series_select(series cond, series a, series b)
{
    series r = cond.known == 0 ? common(a, b) : cond.c[0] != 0 ? a : b;
    r.at0 = cond.at0 != 0 ? a.at0 : b.at0;
    r.kink |= cond.kink;
    return r;
}

/* ---- singular functions ------------------------------------------------------------------------- */

/* u^p for a constant p, u = t^v w with w0 != 0: t^(v p) w^p, where y = w^p satisfies w y' = p w' y. */
static series power(series u, double p, double at0)
{
    int v = series_valuation(u);
    bool whole = p == floor(p);
    double order = v * p;
    if (v == SERIES_N) { /* 0, or O(t^known) */
        if (series_exact_zero(u) || u.known == 0) {
            return u.known == 0 ? (series){0} : p > 0 ? series_from(0) : series_no_limit(p < 0 ? INFINITY : NAN, at0);
        }
        double n = ceil(u.known * p);
        return p > 0 ? (series){.known = (unsigned char)(n < SERIES_N ? n : SERIES_N)} : (series){0};
    }
    if (u.c[v] < 0 && !whole) {
        return series_no_limit(NAN, at0);
    }
    double lead = p == 0.5 ? sqrt(u.c[v]) : pow(u.c[v], p);
    if (order < 0) {
        return series_no_limit(copysign(INFINITY, lead), at0);
    }
    if (order != floor(order)) {
        return order < 1 ? series_steep(0, 0, lead, at0)
                         : (series){.known = (unsigned char)(ceil(order) < SERIES_N ? ceil(order) : SERIES_N)};
    }
    int shift = order < SERIES_N ? (int)order : SERIES_N, n = series_known(u) - v;
    n = u.known == SERIES_EXACT ? SERIES_N : n;
    series w = {0}, r = {0};
    for (int k = 0; k + v < SERIES_N; k++) {
        w.c[k] = u.c[k + v];
        w.e[k] = u.e[k + v];
    }
    double y[SERIES_N] = {lead}, e[SERIES_N] = {0};
    bool exact = lead == 1 || (p == 0.5 && fma(lead, lead, -w.c[0]) == 0);
    e[0] = (exact ? 0 : ULP * fabs(lead)) + (w.e[0] != 0 ? fabs(p * lead / w.c[0]) * w.e[0] : 0);
    for (int k = 1; k < n; k++) {
        double sum = 0, err = 0;
        for (int j = 1; j <= k; j++) {
            double f = p * j - (k - j);
            series_add_product(&sum, &err, f * w.c[j], fabs(f) * w.e[j] + (whole ? 0 : ULP * fabs(f * w.c[j])),
                               y[k - j], e[k - j]);
        }
        series_divide(&y[k], &e[k], sum, err, k * w.c[0], k * w.e[0]);
    }
    n = n + shift < SERIES_N ? n + shift : SERIES_N;
    for (int k = shift; k < n; k++) {
        r.c[k] = y[k - shift];
        r.e[k] = e[k - shift];
    }
    r.known = (unsigned char)n;
    if (series_constant(u)) {
        r.known = SERIES_EXACT;
    }
    return series_settle(r);
}

/* Kink bits for a function that is singular where u is 0. */
static unsigned char at_zero(series u)
{
    bool on = u.state != SERIES_NONE && u.known && u.c[0] == 0 && u.e[0] == 0;
    bool near = u.state != SERIES_NONE && u.known && !on && fabs(u.c[0]) <= u.e[0];
    return (unsigned char)((on ? SERIES_ON_KINK : 0) | (near ? SERIES_NEAR_KINK : 0));
}

static series power_any(series u, double p, double at0)
{
    series r;
    if (u.state == SERIES_NONE || u.known == 0) {
        special(u, pow(u.c[0], p), 0, at0, &r);
    } else if (u.state == SERIES_STEEP) {
        double y0 = pow(u.c[0], p), slope = p * pow(u.c[0], p - 1);
        if (u.c[0] == 0 && p > 0 && p < 1 && u.c[1] > 0) { /* even steeper */
            r = series_steep(0, 0, 1, at0);
        } else {
            special(u, y0, slope, at0, &r);
        }
    } else {
        r = power(u, p, at0);
    }
    r.at0 = at0;
    return r;
}

series series_sqrt(series u)
{
    series r = power_any(u, 0.5, sqrt(u.at0));
    r.kink = u.kink | at_zero(u);
    return r;
}

series series_log(series u)
{
    unsigned char kink = u.kink | at_zero(u);
    double at0 = log(u.at0);
    series r;
    bool certain;
    if (u.state != SERIES_NONE && u.known && u.c[0] == 0) {
        int sign = sign_of(u, &certain, &kink);
        r = sign      ? series_no_limit(sign > 0 ? -INFINITY : NAN, at0)
            : certain ? series_no_limit(-INFINITY, at0)
                      : series_unknown(at0);
    } else {
        r = integrate(u, log(u.c[0]), u.state == SERIES_OK ? reciprocal(u) : series_from(1 / u.c[0]), at0);
    }
    r.kink = kink;
    return r;
}

/* y0 + integral of sign u'/sqrt(1 - u^2). At the ends of -1..1 the quotient is taken of the series, by order. */
static series arc(series u, double y0, double at0, double sign)
{
    series d = series_add(series_from(1), series_neg(square(u))), r;
    unsigned char kink = u.kink | at_zero(d);
    bool certain;
    if (u.state != SERIES_OK || u.known == 0 || series_constant(u)) {
        special(u, y0, sign / sqrt(d.c[0]), at0, &r);
        if (u.state == SERIES_OK && series_constant(u)) {
            r = start(u, y0, 0, at0);
        }
        r = series_settle(r);
    } else if (d.c[0] != 0) {
        r = integrate(u, y0, series_div(series_from(sign), series_sqrt(d)), at0);
    } else if (sign_of(d, &certain, &kink) <= 0) {
        r = certain ? series_no_limit(NAN, at0) : (series){.c = {y0}, .e = {ULP * fabs(y0)}, .known = 1};
    } else {
        int v = series_valuation(d);
        series du = {.known = (unsigned char)(u.known == SERIES_EXACT ? SERIES_N : u.known - 1)};
        for (int k = 0; k + 1 < SERIES_N; k++) {
            du.c[k] = (k + 1) * u.c[k + 1];
            du.e[k] = (k + 1) * u.e[k + 1];
        }
        r = (series){.c = {y0}, .e = {ULP * fabs(y0)}, .known = 2};
        if (v == 1) {
            r = series_steep(y0, ULP * fabs(y0), sign * u.c[1], at0);
        } else if (v % 2 == 0) { /* odd and more: of order t^(v/2), slope 0 */
            series q = series_quotient(du, power(d, 0.5, 0));
            q.known = q.state == SERIES_OK ? q.known : 0;
            r.known = (unsigned char)(series_known(q) + 1 < SERIES_N ? series_known(q) + 1 : SERIES_N);
            for (int k = 1; k < series_known(r); k++) {
                r.c[k] = sign * q.c[k - 1] / k;
                r.e[k] = q.e[k - 1] / k + ULP * fabs(r.c[k]);
            }
        }
    }
    r.at0 = at0;
    r.kink |= kink;
    return r;
}

series series_asin(series u)
{
    return arc(u, asin(u.c[0]), asin(u.at0), 1);
}

series series_acos(series u)
{
    return arc(u, acos(u.c[0]), acos(u.at0), -1);
}

/* 0^b along t^m ~ base, b not constant: t^q exp((b - b0) m log t + ...) with q = m b0, whose second factor is 1 + O(t
 * log t). */
static series zero_to_variable(series a, series b, double at0)
{
    int m = series_valuation(a);
    if (m == SERIES_N || b.known == 0 || a.c[m] < 0) {
        return m != SERIES_N && a.c[m] < 0 ? series_no_limit(NAN, at0) : series_unknown(at0);
    }
    double q = m * b.c[0], lead = pow(a.c[m], b.c[0]);
    if (q > 0 && q < 1) {
        return series_steep(0, 0, 1, at0);
    }
    return q >= 1 ? (series){.c = {0, q == 1 ? lead : 0}, .e = {0, q == 1 ? ULP * lead : 0}, .at0 = at0, .known = 2}
                  : q < 0 ? series_no_limit(INFINITY, at0) : series_unknown(at0);
}

series series_pow(series a, series b)
{
    double at0 = pow(a.at0, b.at0);
    series r;
    if (series_constant(b) && b.e[0] == 0) {
        double p = b.c[0];
        if (p == 0) {
            r = series_from(1);
        } else if (p == floor(p) && p > 0 && p <= 64) { /* products: exact for polynomials, no kink anywhere */
            series x = a;
            r = series_from(1);
            for (unsigned k = (unsigned)p; k; k >>= 1) {
                r = k & 1 ? series_mul(r, x) : r;
                x = k > 1 ? square(x) : x;
            }
        } else {
            r = power_any(a, p, at0);
            r.kink |= at_zero(a);
        }
    } else if (a.state == SERIES_OK && b.state == SERIES_OK && a.known && a.c[0] == 0) {
        r = zero_to_variable(a, b, at0);
        r.kink |= at_zero(a);
    } else if (a.state == SERIES_OK && a.known && a.c[0] < 0) {
        r = series_no_limit(NAN, at0);
    } else {
        r = series_exp(series_mul(b, series_log(a)));
    }
    r.at0 = at0;
    r.kink |= a.kink | b.kink;
    return r;
}

/* a - b floor(a/b): jumps where a/b is an integer. */
series series_mod(series a, series b)
{
    series q = series_div(a, b), whole, r;
    unsigned char kink = a.kink | b.kink;
    if (q.state == SERIES_NONE || q.known == 0) {
        r = q.state == SERIES_NONE ? series_no_limit(NAN, 0) : series_unknown(0);
    } else {
        double nearest = nearbyint(q.c[0]);
        bool certain;
        int sign = sign_of(series_add(q, series_from(-nearest)), &certain, &kink);
        whole = series_from(sign < 0 ? nearest - 1 : nearest);
        r = sign || certain ? series_add(a, series_neg(series_mul(b, whole))) : series_unknown(0);
    }
    double rest = fmod(a.at0, b.at0);
    r.at0 = rest != 0 && (rest < 0) != (b.at0 < 0) ? rest + b.at0 : rest;
    r.kink |= kink;
    return r;
}

/* ---- the verdict -------------------------------------------------------------------------------- */

double series_slope(series a, unsigned char *state)
{
    *state = 1;
    if (!isfinite(a.at0) || (a.state == SERIES_NONE && isnan(a.c[0]))) {
        return NAN;
    }
    if (a.state == SERIES_NONE) {
        return a.c[0]; /* infinitely far from a finite value */
    }
    if (a.known == 0) {
        *state = 2;
        return NAN;
    }
    double jump = a.c[0] - a.at0, noise = 4 * a.e[0] + 16 * DBL_EPSILON * fmax(fabs(a.c[0]), fabs(a.at0));
    if (fabs(jump) > noise) {
        return copysign(INFINITY, jump);
    }
    if (a.state == SERIES_STEEP) {
        return a.c[1];
    }
    *state = a.known < 2 ? 2 : 0;
    return a.known < 2 ? NAN : a.c[1];
}
