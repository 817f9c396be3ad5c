/* Arithmetic of truncated power series. Rounding errors are bounded by their exact values (error-free transformations
 * of Dekker and Knuth), so integers and halves carry none and "exactly on a kink" can be told from "close to one". */
#include "exec/series.h"

#include <float.h>
#include <math.h>

/* ---- making ------------------------------------------------------------------------------------- */

series series_from(double v)
{
    series r = {.c = {v}, .at0 = v, .known = SERIES_EXACT, .state = SERIES_OK};
    if (!isfinite(v)) {
        r.state = SERIES_NONE;
        r.known = 1;
    }
    return r;
}

series series_linear(double x, double slope)
{
    series r = series_from(x);
    r.c[1] = r.state == SERIES_OK ? slope : 0;
    return r;
}

series series_unknown(double at0)
{
    return (series){.at0 = at0};
}

series series_no_limit(double limit, double at0)
{
    return (series){.c = {limit}, .at0 = at0, .known = 1, .state = SERIES_NONE};
}

series series_steep(double limit, double err, double sign, double at0)
{
    return (series){.c = {limit, copysign(INFINITY, sign)}, .e = {err}, .at0 = at0, .known = 1, .state = SERIES_STEEP};
}

int series_known(series a)
{
    return a.known < SERIES_N ? a.known : SERIES_N;
}

bool series_constant(series a)
{
    return a.state == SERIES_OK && a.known == SERIES_EXACT && a.c[1] == 0 && a.c[2] == 0 && a.c[3] == 0 && a.c[4] == 0;
}

bool series_exact_zero(series a)
{
    return series_constant(a) && a.c[0] == 0 && a.e[0] == 0;
}

static int degree(series a)
{
    int k = SERIES_N - 1;
    while (k > 0 && a.c[k] == 0 && a.e[k] == 0) {
        k--;
    }
    return k;
}

int series_valuation(series a)
{
    int k = 0;
    while (k < series_known(a) && a.c[k] == 0) {
        k++;
    }
    return k < series_known(a) ? k : SERIES_N;
}

bool series_is_zero(series a)
{
    for (int k = 0; k < series_known(a); k++) {
        if (a.c[k] != 0 || a.e[k] != 0) {
            return false;
        }
    }
    return a.state == SERIES_OK;
}

/* After an operation: a limit that overflowed is none; later coefficients that did are unknown. */
series series_settle(series r)
{
    if (r.state != SERIES_OK) {
        return isfinite(r.c[0]) ? r : series_no_limit(r.c[0], r.at0);
    }
    for (int k = 0; k < SERIES_N; k++) {
        if (k >= r.known) {
            r.c[k] = r.e[k] = 0;
        } else if (!isfinite(r.c[k])) {
            if (k == 0) {
                series n = series_no_limit(r.c[0], r.at0);
                n.kink = r.kink;
                return n;
            }
            r.known = (unsigned char)k;
            r.c[k] = r.e[k] = 0;
        }
    }
    return r;
}

/* ---- sums and products with their rounding errors ----------------------------------------------- */

static void add_term(double *sum, double *err, double x, double ex)
{
    double s = *sum + x, t = s - *sum;
    *err += ex + fabs((*sum - (s - t)) + (x - t)); /* Knuth's TwoSum */
    *sum = s;
}

void series_add_product(double *sum, double *err, double a, double ea, double b, double eb)
{
    double p = a * b, ep = fabs(fma(a, b, -p));
    if (a != 0 && b != 0 && fabs(p) < 1e-290) {
        ep += DBL_TRUE_MIN; /* the error itself may have underflowed */
    }
    if (ea != 0 || eb != 0) {
        ep += fabs(a) * eb + fabs(b) * ea + ea * eb;
    }
    add_term(sum, err, p, ep);
}

void series_divide(double *q, double *eq, double a, double ea, double b, double eb)
{
    double v = a / b, room = fabs(b) - eb;
    double err = ea + fabs(fma(-v, b, a)) + fabs(v) * eb;
    *q = v;
    *eq = err == 0 ? 0 : room > 0 ? err / room : INFINITY;
}

series series_neg(series a)
{
    for (int k = 0; k < SERIES_N; k++) {
        a.c[k] = -a.c[k];
    }
    a.at0 = -a.at0;
    return a;
}

series series_add(series a, series b)
{
    double at0 = a.at0 + b.at0;
    series r = {.at0 = at0};
    if (a.state == SERIES_NONE || b.state == SERIES_NONE) {
        double limit = a.c[0] + b.c[0];
        bool undefined = (a.state == SERIES_NONE && isnan(a.c[0])) || (b.state == SERIES_NONE && isnan(b.c[0]));
        r = a.known && b.known && (undefined || !isnan(limit)) ? series_no_limit(limit, at0) : r;
    } else if (a.known && b.known) {
        r.known = a.known < b.known ? a.known : b.known;
        for (int k = 0; k < series_known(r); k++) {
            r.c[k] = a.c[k];
            r.e[k] = a.e[k];
            add_term(&r.c[k], &r.e[k], b.c[k], b.e[k]);
        }
        if (a.state == SERIES_STEEP || b.state == SERIES_STEEP) {
            double slope = (a.state == SERIES_STEEP ? a.c[1] : 0) + (b.state == SERIES_STEEP ? b.c[1] : 0);
            r.known = 1; /* and no more than that if the slopes are inf - inf */
            r = isnan(slope) ? r : series_steep(r.c[0], r.e[0], slope, at0);
        }
        r = series_settle(r);
    }
    r.kink = a.kink | b.kink;
    return r;
}

static series product(series a, series b)
{
    series r = {0};
    int va = 0, vb = 0, ka = a.known == SERIES_EXACT ? 2 * SERIES_N : a.known,
        kb = b.known == SERIES_EXACT ? 2 * SERIES_N : b.known;
    while (va < series_known(a) && a.c[va] == 0 && a.e[va] == 0) {
        va++;
    }
    while (vb < series_known(b) && b.c[vb] == 0 && b.e[vb] == 0) {
        vb++;
    }
    int n = va + kb < vb + ka ? va + kb : vb + ka;
    bool exact = a.known == SERIES_EXACT && b.known == SERIES_EXACT && degree(a) + degree(b) < SERIES_N;
    r.known = (unsigned char)(exact ? SERIES_EXACT : n < SERIES_N ? n : SERIES_N);
    for (int k = 0; k < series_known(r); k++) {
        for (int i = 0; i <= k; i++) {
            series_add_product(&r.c[k], &r.e[k], a.c[i], a.e[i], b.c[k - i], b.e[k - i]);
        }
    }
    return r;
}

/* s steep: s = s0 + sigma(t) with sigma/t -> +-inf. */
static series steep_product(series s, series b)
{
    series r = {.known = 1};
    series_add_product(&r.c[0], &r.e[0], s.c[0], s.e[0], b.c[0], b.e[0]);
    bool b_zero = b.c[0] == 0 && b.e[0] == 0, b_sure = fabs(b.c[0]) > b.e[0];
    if (b.state == SERIES_STEEP) {
        bool s_zero = s.c[0] == 0 && s.e[0] == 0, s_sure = fabs(s.c[0]) > s.e[0];
        double p = b_sure ? s.c[1] * b.c[0] : 0, q = s_sure ? s.c[0] * b.c[1] : 0;
        if ((b_sure || b_zero) && (s_sure || s_zero) && (p != 0 || q != 0) && !isnan(p + q)) {
            return series_steep(r.c[0], r.e[0], p + q, 0);
        }
    } else if (b_sure) {
        return series_steep(r.c[0], r.e[0], s.c[1] * b.c[0], 0);
    } else if (b_zero && b.known >= 2) { /* sigma * b = o(t) */
        r.known = 2;
        series_add_product(&r.c[1], &r.e[1], s.c[0], s.e[0], b.c[1], b.e[1]);
    }
    return r;
}

series series_mul(series a, series b)
{
    double at0 = a.at0 * b.at0;
    series r = {0};
    bool nan = (a.state == SERIES_NONE && isnan(a.c[0])) || (b.state == SERIES_NONE && isnan(b.c[0]));
    if (nan) {
        r = series_no_limit(NAN, at0);
    } else if (series_exact_zero(a) || series_exact_zero(b)) {
        r = series_from(0);
    } else if (a.known == 0 || b.known == 0) {
        ; /* unknown */
    } else if (a.state == SERIES_NONE || b.state == SERIES_NONE) {
        bool sure =
            (a.state == SERIES_NONE || fabs(a.c[0]) > a.e[0]) && (b.state == SERIES_NONE || fabs(b.c[0]) > b.e[0]);
        r = sure ? series_no_limit(a.c[0] * b.c[0], at0) : r;
    } else if (a.state == SERIES_STEEP) {
        r = series_settle(steep_product(a, b));
    } else if (b.state == SERIES_STEEP) {
        r = series_settle(steep_product(b, a));
    } else {
        r = series_settle(product(a, b));
    }
    r.at0 = at0;
    r.kink = a.kink | b.kink;
    return r;
}

/* a/b by long division after both are shifted by the order of b. */
series series_quotient(series a, series b)
{
    int v = series_valuation(b);
    if (v == SERIES_N) {
        return b.known == SERIES_EXACT ? series_no_limit(NAN, 0) : (series){0};
    }
    for (int k = 0; k < v; k++) {
        if (k >= a.known) {
            return (series){0};
        }
        if (a.c[k] != 0) {
            return series_no_limit(copysign(INFINITY, a.c[k]) * copysign(1, b.c[v]), 0);
        }
    }
    if (series_exact_zero(a)) {
        return series_from(0);
    }
    int ka = a.known == SERIES_EXACT ? 2 * SERIES_N : a.known, kb = b.known == SERIES_EXACT ? 2 * SERIES_N : b.known;
    int n = (ka < kb ? ka : kb) - v;
    series r = {.known = (unsigned char)(n < 0 ? 0 : n < SERIES_N ? n : SERIES_N)};
    if (v == 0 && a.known == SERIES_EXACT && series_constant(b)) {
        r.known = SERIES_EXACT;
    }
    for (int k = 0; k < series_known(r); k++) {
        double num = k + v < SERIES_N ? a.c[k + v] : 0, err = k + v < SERIES_N ? a.e[k + v] : 0;
        for (int j = 1; j <= k && j + v < SERIES_N; j++) {
            series_add_product(&num, &err, -b.c[j + v], b.e[j + v], r.c[k - j], r.e[k - j]);
        }
        series_divide(&r.c[k], &r.e[k], num, err, b.c[v], b.e[v]);
    }
    return series_settle(r);
}

series series_div(series a, series b)
{
    double at0 = a.at0 / b.at0;
    series r = {0};
    bool nan = (a.state == SERIES_NONE && isnan(a.c[0])) || (b.state == SERIES_NONE && isnan(b.c[0]));
    if (nan) {
        r = series_no_limit(NAN, at0);
    } else if (a.known == 0 || b.known == 0) {
        ; /* unknown */
    } else if (b.state == SERIES_NONE) {
        r.known = a.state != SERIES_NONE; /* a limit of 0, no more is known */
    } else if (b.state == SERIES_STEEP && b.c[0] == 0) {
        if (a.state == SERIES_NONE || a.c[0] != 0) {
            r = series_no_limit(copysign(INFINITY, a.c[0]) * copysign(1, b.c[1]), at0);
        } else {
            r.known = a.state == SERIES_OK && a.known >= 2 && a.e[0] == 0; /* O(t) / sigma(t) -> 0 */
        }
    } else if (b.state == SERIES_STEEP) {
        series inverse = series_steep(1 / b.c[0], 0, -b.c[1], 0);
        series_divide(&inverse.c[0], &inverse.e[0], 1, 0, b.c[0], b.e[0]);
        r = series_mul(a, inverse);
    } else if (a.state == SERIES_OK) {
        r = series_quotient(a, b);
    } else if (b.c[0] != 0) {
        r = series_mul(a, series_quotient(series_from(1), b));
    } else if (a.state == SERIES_NONE || a.c[0] != 0) {
        r = series_no_limit(NAN, at0);
    }
    r.at0 = at0;
    r.kink = a.kink | b.kink;
    return r;
}
