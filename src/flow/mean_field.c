#include "flow/mean_field.h"

#include <math.h>

/* ---- quadrature ---------------------------------------------------------------------------------- */

/* Ten points of Gauss and Legendre on [-1, 1]: the positive ones. */
static const double point[5] = {0.14887433898163121, 0.43339539412924719, 0.67940956829902441, 0.86506336668898451,
                                0.97390652851717172};
static const double weight[5] = {0.29552422471475287, 0.26926671930999636, 0.21908636251598204, 0.14945134915058059,
                                 0.06667134430868814};

/* Ends of panels, as distances from the kink; narrow ones near it, where a bounded activation of long arguments has its
 * slope. Beyond 9 deviations lies 1e-19 of the normal density. */
static const double fine[] = {0, 0.02, 0.08, 0.25, 0.6, 1.1, 1.7, 2.4, 3.2, 4.2, 5.6, 7.2, 9, 12, 18};
static const double coarse[] = {0, 0.5, 1.5, 3, 6, 15};

typedef void integrand(void *user, double x, double weight);

static double density(double x) { return 0.39894228040143268 * exp(-0.5 * x * x); }

/* Hands out points of a normal variable with weights that add up to 1. kink: where panels begin. */
static void normal(double kink, const double *end, size_t n, integrand *f, void *user)
{
    const double limit = 9;
    if (!(fabs(kink) < limit)) kink = 0;
    for (int side = -1; side <= 1; side += 2) {
        for (size_t i = 0; i + 1 < n; i++) {
            double a = kink + side * end[i], b = kink + side * end[i + 1];
            if (fabs(a) > limit && side * a > 0) break;
            if (fabs(b) > limit && side * b > 0) b = side * limit;
            double middle = 0.5 * (a + b), half = 0.5 * fabs(b - a);
            for (int k = 0; k < 5; k++) {
                for (int s = -1; s <= 1; s += 2) {
                    double x = middle + s * half * point[k];
                    f(user, x, half * weight[k] * density(x));
                }
            }
        }
    }
}
#define NORMAL(kink, ends, f, user) normal(kink, ends, sizeof(ends) / sizeof *(ends), f, user)

/* ---- expectations -------------------------------------------------------------------------------- */

typedef struct single {
    const flow_scalar *phi;
    double mean, deviation;
    mean_field m;
} single;

static void add_single(void *user, double x, double w)
{
    single *s = user;
    double f, d;
    flow_scalar_at(s->phi, s->mean + s->deviation * x, &f, &d);
    s->m.mean += w * f;
    s->m.square += w * f * f;
    s->m.slope2 += w * d * d;
    s->m.slope4 += w * d * d * d * d;
    s->m.stretch += w * x * f * d; /* by parts: E[x f f'] = deviation E[f'^2 + f f''] */
}

double kappa0(double c) { return 1 - acos(fmax(-1, fmin(1, c))) / acos(-1); }

double kappa1(double c)
{
    c = fmax(-1, fmin(1, c));
    return (sqrt(1 - c * c) + (acos(-1) - acos(c)) * c) / acos(-1);
}

/* The ReLU family: a z above 0, b z below. All has closed forms (Cho and Saul 2009). */
static bool is_homogeneous(const flow_scalar *phi, double *a, double *b)
{
    static const double at[] = {1e-3, 0.3, 1, 2.5, 7, 40};
    double f, slope;
    flow_scalar_at(phi, 1, a, &slope);
    flow_scalar_at(phi, -1, b, &slope);
    *b = -*b;
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        flow_scalar_at(phi, at[i], &f, &slope);
        if (fabs(f - *a * at[i]) > 1e-12 * at[i]) return false;
        flow_scalar_at(phi, -at[i], &f, &slope);
        if (fabs(f + *b * at[i]) > 1e-12 * at[i]) return false;
    }
    return true;
}

mean_field mean_field_at(const flow_scalar *phi, double mean, double variance)
{
    double a, b;
    if (mean == 0 && variance > 0 && is_homogeneous(phi, &a, &b)) {
        double square = 0.5 * (a * a + b * b);
        return (mean_field){(a - b) * sqrt(variance) * density(0), square * variance, square,
                            0.5 * (a * a * a * a + b * b * b * b), square};
    }
    single s = {.phi = phi, .mean = mean, .deviation = sqrt(variance)};
    if (!(s.deviation > 0)) {
        double f, d;
        flow_scalar_at(phi, mean, &f, &d);
        return (mean_field){f, f * f, d * d, d * d * d * d, NAN};
    }
    NORMAL(-mean / s.deviation, fine, add_single, &s);
    s.m.stretch /= s.deviation;
    return s.m;
}

typedef struct pair {
    const flow_scalar *phi;
    double mean, deviation, c, rest; /* u2 = mean + deviation (c x1 + rest x2) */
    double f, d, inner;              /* of the first argument */
    double weight, product, slopes;
} pair;

static void add_second(void *user, double x, double w)
{
    pair *p = user;
    double f, d;
    flow_scalar_at(p->phi, p->inner + p->deviation * p->rest * x, &f, &d);
    p->product += p->weight * w * p->f * f;
    p->slopes += p->weight * w * p->d * d;
}

static void add_first(void *user, double x, double w)
{
    pair *p = user;
    flow_scalar_at(p->phi, p->mean + p->deviation * x, &p->f, &p->d);
    p->weight = w;
    p->inner = p->mean + p->deviation * p->c * x;
    NORMAL(-p->inner / (p->deviation * p->rest), coarse, add_second, p);
}

void mean_field_pair(const flow_scalar *phi, double mean, double variance, double covariance, double *product,
                     double *slopes)
{
    double c = variance > 0 ? covariance / variance : 1;
    if (c > 1 - 1e-12 || !(variance > 0)) {
        mean_field m = mean_field_at(phi, mean, variance);
        *product = m.square;
        *slopes = m.slope2;
        return;
    }
    double a, b;
    if (mean == 0 && is_homogeneous(phi, &a, &b)) {
        double d = a - b; /* b z + d relu(z) */
        *product = variance * (b * a * c + 0.5 * d * d * kappa1(c));
        *slopes = b * a + 0.5 * d * d * kappa0(c);
        return;
    }
    pair p = {.phi = phi, .mean = mean, .deviation = sqrt(variance), .c = c, .rest = sqrt(fmax(0, 1 - c * c))};
    NORMAL(-mean / p.deviation, coarse, add_first, &p);
    *product = p.product;
    *slopes = p.slopes;
}

double mean_field_batch_norm(const flow_scalar *phi)
{
    mean_field m = mean_field_at(phi, 0, 1);
    return m.slope2 / (m.square - m.mean * m.mean);
}

/* ---- lengths ------------------------------------------------------------------------------------- */

/* ln of what a layer makes of a length, over that length. */
static double growth(const flow_scalar *phi, double sw2, double sb2, double ln_q)
{
    double q = exp(ln_q), g = log((sw2 * mean_field_at(phi, 0, q).square + sb2) / q);
    return fabs(g) < 1e-9 ? 0 : g;
}

/* A stable fixed point is where growth turns to shrinking; of several, the longest. */
double mean_field_length(const flow_scalar *phi, double sw2, double sb2)
{
    enum { STEPS = 48 };
    const double low = log(1e-8), high = log(1e8);
    double below = 0, before = 0, last = 0;
    bool found = false, moves = false;
    for (int i = 0; i <= STEPS; i++) {
        double x = low + (high - low) * i / STEPS, g = growth(phi, sw2, sb2, x);
        moves |= g != 0;
        if (i > 0 && before > 0 && g <= 0) {
            found = true;
            below = x - (high - low) / STEPS;
        }
        before = last = g;
    }
    if (!moves) return NAN;
    if (!found) return last > 0 ? INFINITY : 0;
    double a = below, b = below + (high - low) / STEPS;
    for (int i = 0; i < 52; i++) {
        double x = 0.5 * (a + b);
        if (growth(phi, sw2, sb2, x) > 0) {
            a = x;
        } else {
            b = x;
        }
    }
    return exp(0.5 * (a + b));
}

/* Of the correlation c: what a layer makes of it. */
static double correlate(const flow_scalar *phi, double sw2, double sb2, double q, double c, double *slope)
{
    double product, slopes;
    mean_field_pair(phi, 0, q, c * q, &product, &slopes);
    *slope = sw2 * slopes;
    return (sw2 * product + sb2) / q;
}

mean_field_scales mean_field_scales_of(const flow_scalar *phi, double sw2, double sb2)
{
    mean_field_scales s = {NAN, NAN, NAN, NAN, NAN, NAN};
    s.q = mean_field_length(phi, sw2, sb2);
    bool fixed = isfinite(s.q) && s.q > 0;
    /* Where lengths shrink to 0 or grow for ever, the slope far out is what is left in the end. */
    double q = fixed ? s.q : isnan(s.q) ? 1 : s.q > 0 ? 1e8 : 1e-8;
    mean_field m = mean_field_at(phi, 0, q);
    s.chi = sw2 * m.slope2;
    s.xi_gradient = fabs(s.chi - 1) < 1e-9 ? INFINITY : 1 / fabs(log(s.chi));
    if (!fixed) return s;
    double along = sw2 * m.stretch;
    s.xi_length = along > 0 && along < 1 ? -1 / log(along) : INFINITY;
    if (s.chi <= 1) {
        s.correlation = 1;
        s.xi_correlation = s.xi_gradient;
        return s;
    }
    /* Chaos: the correlation 1 repels. What a layer makes of c is a power series with positive coefficients, so convex:
     * Newton's steps from 0 climb to the fixed point below 1. */
    double c = 0, slope;
    for (int i = 0; i < 40; i++) {
        double step = correlate(phi, sw2, sb2, q, c, &slope) - c;
        if (!(step > 1e-12) || !(slope < 1)) break;
        c += step / (1 - slope);
    }
    s.correlation = c;
    correlate(phi, sw2, sb2, q, s.correlation, &slope);
    s.xi_correlation = slope > 0 && slope < 1 ? -1 / log(slope) : INFINITY;
    return s;
}

/* ---- the critical line --------------------------------------------------------------------------- */

bool mean_field_critical(const flow_scalar *phi, double q, double *sw2, double *sb2)
{
    mean_field m = mean_field_at(phi, 0, q);
    if (!(m.slope2 > 0)) return false;
    *sw2 = 1 / m.slope2;
    *sb2 = q - *sw2 * m.square;
    if (fabs(*sb2) < 1e-12 * q) *sb2 = 0;
    return *sb2 >= 0;
}

bool mean_field_critical_weight(const flow_scalar *phi, double sb2, double *sw2, double *q)
{
    double a = log(1e-8), b = log(1e8), at;
    for (int i = 0; i < 64; i++) {
        double x = 0.5 * (a + b);
        bool below = !mean_field_critical(phi, exp(x), sw2, &at) || at < sb2;
        if (below) {
            a = x;
        } else {
            b = x;
        }
    }
    *q = exp(0.5 * (a + b));
    return mean_field_critical(phi, *q, sw2, &at) && fabs(at - sb2) <= 1e-6 * (sb2 + 1e-6);
}
