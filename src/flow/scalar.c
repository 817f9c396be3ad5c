#include "flow/scalar.h"

#include <math.h>
#include <string.h>

/* ---- reading ------------------------------------------------------------------------------------- */

typedef struct reader {
    const cr_graph *g;
    flow_scalar *s;
    cr_ref in, ref[FLOW_SCALAR_MOST]; /* what each operation stands for; CR_NONE: part of another */
} reader;

static int put(reader *r, cr_ref ref, unsigned op, unsigned n, const int *a, double v)
{
    if (r->s->n == FLOW_SCALAR_MOST) return -1;
    size_t i = r->s->n++;
    r->ref[i] = ref;
    r->s->at[i].op = (uint8_t)op;
    r->s->at[i].n = (uint8_t)n;
    r->s->at[i].v = v;
    for (unsigned k = 0; k < n; k++) r->s->at[i].a[k] = (uint8_t)a[k];
    return (int)i;
}

static bool known(cr_op op)
{
    switch (op) {
    case CR_OP_FENCE:
    case CR_OP_EXP:
    case CR_OP_LOG:
    case CR_OP_SQRT:
    case CR_OP_ABS:
    case CR_OP_RELU:
    case CR_OP_LEAKY_RELU:
    case CR_OP_ELU:
    case CR_OP_SELU:
    case CR_OP_GELU:
    case CR_OP_SILU:
    case CR_OP_SOFTPLUS:
    case CR_OP_SIGMOID:
    case CR_OP_TANH:
    case CR_OP_ERF:
    case CR_OP_SIN:
    case CR_OP_COS:
    case CR_OP_DIV:
    case CR_OP_POW:
    case CR_OP_MAX2:
    case CR_OP_MIN2:
    case CR_OP_LT:
    case CR_OP_LE:
    case CR_OP_SELECT: return true;
    default: return false;
    }
}

/* Products entry by entry: each operand has the axes of the result as they lie, or is a number. */
static bool is_product(const cr_graph *g, cr_ref r)
{
    const cr_node *n = node(g, r);
    unsigned rank = shape_of(g, r)->rank, label = 0;
    for (uint32_t i = 0; i < n->n_in; i++) {
        unsigned own = shape_of(g, in_of(g, r, i))->rank;
        if (own != 0 && own != rank) return false;
        for (unsigned k = 0; k < own; k++) {
            if (attr_of(g, r, label++) != k) return false;
        }
    }
    return true;
}

/* Nesting is bounded by the number of operations that there is room for, as fences and numbers take one each. */
static int read_ref(reader *r, cr_ref ref, unsigned depth)
{
    const cr_graph *g = r->g;
    for (size_t i = 0; i < r->s->n; i++) {
        if (r->ref[i] == ref) return (int)i;
    }
    if (depth > FLOW_SCALAR_MOST || cr_rank(g, ref) > CR_MAX_RANK) return -1;
    cr_op op = op_of(g, ref);
    uint32_t n = node(g, ref)->n_in;
    if (op == CR_OP_CONST) return put(r, ref, op, 0, NULL, attr_double(g, ref, 0));
    bool product = op == CR_OP_EINSUM && is_product(g, ref);
    if (n == 0 || (!product && op != CR_OP_ADD && !known(op))) return -1;
    int last = -1;
    if (product || op == CR_OP_ADD) { /* of any number: pair by pair */
        for (uint32_t i = 0; i < n; i++) {
            int a[2] = {last, read_ref(r, in_of(g, ref, i), depth + 1)};
            if (a[1] < 0) return -1;
            last = i == 0 ? a[1] : put(r, i + 1 == n ? ref : CR_NONE, op, 2, a, 0);
            if (last < 0) return -1;
        }
        return last;
    }
    int a[3];
    for (uint32_t i = 0; i < n && n <= 3; i++) {
        a[i] = read_ref(r, in_of(g, ref, i), depth + 1);
        if (a[i] < 0) return -1;
    }
    return n <= 3 ? put(r, ref, op, n, a, op == CR_OP_LEAKY_RELU ? attr_double(g, ref, 0) : 0) : -1;
}

bool flow_scalar_read(const cr_graph *g, cr_ref out, cr_ref in, flow_scalar *s)
{
    reader r = {.g = g, .s = s, .in = in};
    s->n = 0;
    put(&r, in, CR_OP_PARAM, 0, NULL, 0);
    int last = read_ref(&r, out, 0);
    return last >= 0 && (size_t)last + 1 == s->n;
}

/* ---- values -------------------------------------------------------------------------------------- */

static double sigmoid(double z) { return z >= 0 ? 1 / (1 + exp(-z)) : exp(z) / (1 + exp(z)); }

/* Of one argument: the value and the derivative there. */
static void map(cr_op op, double z, double attr, double *f, double *d)
{
    static const double root_half = 0.70710678118654752, density = 0.39894228040143268,
                        two_over_root_pi = 1.1283791670955126;
    static const double selu_alpha = 1.6732632423543772, selu_scale = 1.0507009873554805;
    double s;
    switch (op) {
    case CR_OP_EXP: *f = *d = exp(z); return;
    case CR_OP_LOG: *f = log(z), *d = 1 / z; return;
    case CR_OP_SQRT: *f = sqrt(z), *d = 0.5 / *f; return;
    case CR_OP_ABS: *f = fabs(z), *d = (z > 0) - (z < 0); return;
    case CR_OP_RELU: *f = z > 0 ? z : 0, *d = z > 0; return;
    case CR_OP_LEAKY_RELU: *d = z > 0 ? 1 : attr, *f = *d * z; return;
    case CR_OP_ELU: *f = z > 0 ? z : expm1(z), *d = z > 0 ? 1 : exp(z); return;
    case CR_OP_SELU:
        *f = selu_scale * (z > 0 ? z : selu_alpha * expm1(z));
        *d = selu_scale * (z > 0 ? 1 : selu_alpha * exp(z));
        return;
    case CR_OP_GELU:
        s = 0.5 * erfc(-z * root_half);
        *f = z * s, *d = s + z * density * exp(-0.5 * z * z);
        return;
    case CR_OP_SILU:
        s = sigmoid(z);
        *f = z * s, *d = s + z * s * sigmoid(-z);
        return;
    case CR_OP_SOFTPLUS: *f = fmax(z, 0) + log1p(exp(-fabs(z))), *d = sigmoid(z); return;
    case CR_OP_SIGMOID: *f = sigmoid(z), *d = *f * sigmoid(-z); return;
    case CR_OP_TANH:
        s = exp(-2 * fabs(z));
        *f = tanh(z), *d = 4 * s / ((1 + s) * (1 + s));
        return;
    case CR_OP_ERF: *f = erf(z), *d = two_over_root_pi * exp(-z * z); return;
    case CR_OP_SIN: *f = sin(z), *d = cos(z); return;
    case CR_OP_COS: *f = cos(z), *d = -sin(z); return;
    default: *f = z, *d = 1; /* a fence */
    }
}

void flow_scalar_at(const flow_scalar *s, double z, double *value, double *slope)
{
    double f[FLOW_SCALAR_MOST], d[FLOW_SCALAR_MOST];
    f[0] = z;
    d[0] = 1;
    for (size_t i = 1; i < s->n; i++) {
        size_t a = s->at[i].a[0], b = s->at[i].a[1];
        double inner;
        switch ((cr_op)s->at[i].op) {
        case CR_OP_CONST: f[i] = s->at[i].v, d[i] = 0; break;
        case CR_OP_EINSUM: f[i] = f[a] * f[b], d[i] = d[a] * f[b] + f[a] * d[b]; break;
        case CR_OP_ADD: f[i] = f[a] + f[b], d[i] = d[a] + d[b]; break;
        case CR_OP_DIV: f[i] = f[a] / f[b], d[i] = (d[a] - f[i] * d[b]) / f[b]; break;
        case CR_OP_POW: /* of a number as exponent */
            f[i] = pow(f[a], f[b]);
            d[i] = d[a] == 0 ? 0 : f[b] * pow(f[a], f[b] - 1) * d[a];
            break;
        case CR_OP_MAX2: f[i] = fmax(f[a], f[b]), d[i] = f[a] > f[b] ? d[a] : d[b]; break;
        case CR_OP_MIN2: f[i] = fmin(f[a], f[b]), d[i] = f[a] < f[b] ? d[a] : d[b]; break;
        case CR_OP_LT: f[i] = f[a] < f[b], d[i] = 0; break;
        case CR_OP_LE: f[i] = f[a] <= f[b], d[i] = 0; break;
        case CR_OP_SELECT: {
            size_t taken = f[a] != 0 ? b : s->at[i].a[2];
            f[i] = f[taken], d[i] = d[taken];
            break;
        }
        default:
            map((cr_op)s->at[i].op, f[a], s->at[i].v, &f[i], &inner);
            d[i] = d[a] == 0 ? 0 : inner * d[a];
        }
    }
    *value = f[s->n - 1];
    *slope = d[s->n - 1];
}

bool flow_scalar_linear(const flow_scalar *s, double *shift, double *factor)
{
    static const double at[] = {-9.7, -3.1, -1.3, -0.6, -0.1, 0.2, 0.7, 1.9, 4.3, 8.9};
    double slope;
    flow_scalar_at(s, 0, shift, factor);
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        double f;
        flow_scalar_at(s, at[i], &f, &slope);
        if (slope != *factor || fabs(f - *shift - at[i] * *factor) > 1e-12 * (fabs(f) + fabs(*shift))) return false;
    }
    return true;
}
