/* Functions for the loops written by hand. Each is straight-line code, which the compiler turns into vectors; f32 to
 * about 3 ULP, f64 likewise, tanh with an absolute error of one rounding. Arguments beyond the range of exp give its
 * ends. Compiled with -ffinite-math-only: numbers are finite here. */
#ifndef BENCH_VMATH_H
#define BENCH_VMATH_H

#include <stdint.h>
#include <string.h>

static inline float vm_exp32(float x)
{
    x = x > -87 ? x : -87;
    x = x < 88 ? x : 88;
    float shifted = x * 1.442695041f + 0x1.8p23f; /* the integer stands in the low bits */
    float n = shifted - 0x1.8p23f, r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 0.00831247773f;
    p = p * r + 0.0418905504f, p = p * r + 0.166671157f, p = p * r + 0.49999228f, p = p * r + 1, p = p * r + 1;
    int32_t bits, k;
    memcpy(&k, &shifted, 4), memcpy(&bits, &p, 4);
    bits += (int32_t)((uint32_t)k << 23);
    memcpy(&p, &bits, 4);
    return p;
}

static inline float vm_sigmoid32(float x) { return 1 / (1 + vm_exp32(-x)); }
static inline float vm_tanh32(float x) { return 1 - 2 / (1 + vm_exp32(2 * x)); }

static inline double vm_exp64(double x)
{
    x = x > -708 ? x : -708;
    x = x < 709 ? x : 709;
    double shifted = x * 1.4426950408889634 + 0x1.8p52;
    double n = shifted - 0x1.8p52, r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33;
    double p = 1.0 / 6227020800;
    p = p * r + 1.0 / 479001600, p = p * r + 1.0 / 39916800, p = p * r + 1.0 / 3628800, p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320, p = p * r + 1.0 / 5040, p = p * r + 1.0 / 720, p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24, p = p * r + 1.0 / 6, p = p * r + 0.5, p = p * r + 1, p = p * r + 1;
    int64_t bits, k;
    memcpy(&k, &shifted, 8), memcpy(&bits, &p, 8);
    bits += (int64_t)((uint64_t)k << 52);
    memcpy(&p, &bits, 8);
    return p;
}

static inline double vm_sigmoid64(double x) { return 1 / (1 + vm_exp64(-x)); }
static inline double vm_tanh64(double x) { return 1 - 2 / (1 + vm_exp64(2 * x)); }

#endif
