/* Sums and products of small fractions, rounded once: 1/3 - 1 is -2/3, which 0.333... - 1 is not. */
#include "base/base.h"

#include <math.h>

/* v = p/q exactly as a double, with small q? */
static bool fraction(double v, double *p, double *q)
{
    for (double d = 1; d <= 720; d++) {
        double n = nearbyint(v * d);
        if (fabs(n) < 1e9 && n / d == v) {
            *p = n;
            *q = d;
            return true;
        }
    }
    return false;
}

double num_times(double a, double b)
{
    double p, q, r, s;
    if (a == trunc(a) && b == trunc(b)) return a * b;
    return fraction(a, &p, &q) && fraction(b, &r, &s) ? (p * r) / (q * s) : a * b;
}

double num_plus(double a, double b)
{
    double p, q, r, s;
    if (a == trunc(a) && b == trunc(b)) return a + b;
    return fraction(a, &p, &q) && fraction(b, &r, &s) ? (p * s + r * q) / (q * s) : a + b;
}

bool num_product_fits(double a, double b)
{
    double p = a * b;
    return !isfinite(a) || !isfinite(b) || (isfinite(p) && (fabs(p) >= 1e-290 || a == 0 || b == 0));
}
