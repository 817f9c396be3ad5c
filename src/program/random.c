/* Random points: xoshiro256** (Blackman and Vigna 2018), seeded by splitmix64; deviates by the polar method. */
#include "program/program.h"

#include <math.h>

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

void random_seed(random_gen *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9E3779B97F4A7C15u);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        r->s[i] = z ^ (z >> 31);
    }
    r->has_spare = false;
}

uint64_t random_u64(random_gen *r)
{
    uint64_t *s = r->s, out = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return out;
}

double random_unit(random_gen *r)
{
    return ((double)(random_u64(r) >> 12) + 0.5) * 0x1p-52;
}

uint64_t random_below(random_gen *r, uint64_t n)
{
    return random_u64(r) % n;
} /* n is small: the bias is below 2^-32 */

double random_normal(random_gen *r)
{
    if (r->has_spare) {
        r->has_spare = false;
        return r->spare;
    }
    double x, y, q;
    do {
        x = 2 * random_unit(r) - 1;
        y = 2 * random_unit(r) - 1;
        q = x * x + y * y;
    } while (q >= 1);
    double f = sqrt(-2 * log(q) / q);
    r->spare = y * f;
    r->has_spare = true;
    return x * f;
}

static double draw(random_gen *r, unsigned attributes, random_kind kind)
{
    if (attributes & CR_POSITIVE) kind = kind == RANDOM_NORMAL ? RANDOM_POSITIVE : kind;
    switch (kind) {
    case RANDOM_POSITIVE:
        return fabs(random_normal(r)) + 0.05;
    case RANDOM_UNIT:
        return random_unit(r);
    case RANDOM_LARGE:
        return 1 + 4 * random_unit(r);
    default:
        return random_normal(r);
    }
}

static void make_probability(exec_array *a)
{
    double sum = 0;
    for (size_t i = 0; i < a->n; i++) sum += a->value[i] = exp(a->value[i]);
    for (size_t i = 0; i < a->n; i++) a->value[i] /= sum;
}

/* A'A + I, from the entries A that a holds. */
static cr_status make_definite(exec_array *a, int64_t n)
{
    double *m = mem_alloc(a->n * sizeof *m);
    if (!m) return CR_ENOMEM;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            double s = i == j;
            for (int64_t k = 0; k < n; k++) s += a->value[k * n + i] * a->value[k * n + j];
            m[i * n + j] = s;
        }
    }
    for (size_t i = 0; i < a->n; i++) a->value[i] = m[i];
    mem_free(m);
    return CR_OK;
}

cr_status random_fill(random_gen *r, unsigned attributes, random_kind kind, exec_array *a)
{
    for (size_t i = 0; i < a->n; i++) a->value[i] = draw(r, attributes, kind);
    if (attributes & CR_PROBABILITY) make_probability(a);
    if (a->rank != 2 || a->dim[0] != a->dim[1]) return CR_OK;
    int64_t n = a->dim[0];
    if ((attributes & CR_DEFINITE) && !(attributes & CR_DIAGONAL)) return make_definite(a, n);
    for (int64_t i = 0; i < n; i++) {
        double *d = &a->value[i * n + i];
        if (attributes & CR_DEFINITE) *d = fabs(*d) + 0.05;
        if (attributes & CR_INVERTIBLE) *d += copysign(attributes & CR_DIAGONAL ? 0.5 : 1.5, *d);
        for (int64_t j = 0; j < i; j++) {
            if (attributes & CR_SYMMETRIC) a->value[i * n + j] = a->value[j * n + i];
            if (attributes & CR_DIAGONAL) a->value[i * n + j] = a->value[j * n + i] = 0;
        }
    }
    return CR_OK;
}

/* sin(1.3 z + phase) + 0.2 z^2: analytic, neither odd nor even, no derivative is another one's multiple. */
double random_function(void *user, unsigned order, double z)
{
    uintptr_t number = (uintptr_t)user & ~RANDOM_BOUNDED;
    double phase = 0.4 + 0.3 * (double)number, poly[] = {0.2 * z * z, 0.4 * z, 0.4};
    double wave = sin(1.3 * z + phase + 0.5 * 3.14159265358979323846 * order);
    for (unsigned i = 0; i < order; i++) wave *= 1.3;
    return wave + (order < 3 && !((uintptr_t)user & RANDOM_BOUNDED) ? poly[order] : 0);
}
