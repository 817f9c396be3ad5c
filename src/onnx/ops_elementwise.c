/* Operators that work element by element: arithmetic with broadcasting, activations, comparisons. */
#include "onnx/ops.h"

#include <math.h>
#include <string.h>

/* ---- one argument ------------------------------------------------------------------------------- */

static bool build_map(onnx_call *c) { return onnx_out_like(c, cr_map(c->g, (cr_op)c->arg, onnx_real(c, 0))); }
static bool build_identity(onnx_call *c) { return onnx_out_like(c, onnx_in(c, 0)); }
static bool build_neg(onnx_call *c) { return onnx_out_like(c, cr_neg(c->g, onnx_real(c, 0))); }

static bool build_reciprocal(onnx_call *c)
{
    cr_ref x = onnx_real(c, 0);
    return onnx_out_like(c, cr_div(c->g, onnx_like(c->g, 1, x), x));
}

static cr_ref log_of(cr_graph *g, cr_ref a) { return cr_map(g, CR_OP_LOG, a); }
static cr_ref root(cr_graph *g, cr_ref a) { return cr_map(g, CR_OP_SQRT, a); }
static cr_ref square_plus(cr_graph *g, cr_ref a, double v) { return onnx_add_number(g, cr_mul(g, a, a), v); }

/* log(x + sqrt(x^2 + 1)), odd: from |x|, so that nothing cancels. */
static bool build_asinh(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0), below = cr_map2(g, CR_OP_LT, x, onnx_like(g, 0, x));
    cr_ref size = cr_select(g, below, cr_neg(g, x), x), r = root(g, square_plus(g, x, 1));
    cr_ref y = log_of(g, cr_add(g, size, r));
    return onnx_out_like(c, cr_select(g, below, cr_neg(g, y), y));
}

static bool build_acosh(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    return onnx_out_like(c, log_of(g, cr_add(g, x, root(g, square_plus(g, x, -1)))));
}

static bool build_atanh(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0), one = onnx_like(g, 1, x);
    return onnx_out_like(c, onnx_times(g, log_of(g, cr_div(g, cr_add(g, one, x), cr_sub(g, one, x))), 0.5));
}

static bool build_floor(onnx_call *c) { return onnx_out_like(c, onnx_floor(c->g, onnx_real(c, 0))); }

static bool build_ceil(onnx_call *c)
{
    return onnx_out_like(c, cr_neg(c->g, onnx_floor(c->g, cr_neg(c->g, onnx_real(c, 0)))));
}

/* Halves go to the even number: 2 floor((x + 1/2)/2) where x is halfway, else floor(x + 1/2). */
static bool build_round(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0), below = onnx_floor(g, x);
    cr_ref half = cr_map2(g, CR_OP_EQ, cr_sub(g, x, below), onnx_like(g, 0.5, x));
    cr_ref even = onnx_times(g, onnx_floor(g, onnx_times(g, onnx_add_number(g, x, 0.5), 0.5)), 2);
    even = onnx_times(g, onnx_floor(g, onnx_times(g, onnx_add_number(g, x, 0.5), 0.5)), 2);
    return onnx_out_like(c, cr_select(g, half, even, onnx_floor(g, onnx_add_number(g, x, 0.5))));
}

static bool build_is_nan(onnx_call *c)
{
    cr_ref x = onnx_real(c, 0);
    return onnx_out(c, 0, cr_map2(c->g, CR_OP_NE, x, x), CR_TYPE_BOOL);
}

static bool build_is_inf(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0), above = cr_map2(g, CR_OP_EQ, x, onnx_like(g, INFINITY, x));
    cr_ref below = cr_map2(g, CR_OP_EQ, x, onnx_like(g, -INFINITY, x));
    bool up = onnx_attr_int(c, "detect_positive", 1) != 0, down = onnx_attr_int(c, "detect_negative", 1) != 0;
    cr_ref none = cr_map2(g, CR_OP_LT, x, x);
    return onnx_out(c, 0, cr_map2(g, CR_OP_OR, up ? above : none, down ? below : none), CR_TYPE_BOOL);
}

/* ---- activations -------------------------------------------------------------------------------- */

static bool build_leaky_relu(onnx_call *c)
{
    return onnx_out_like(c, cr_leaky_relu(c->g, onnx_real(c, 0), onnx_attr_float(c, "alpha", 0.01)));
}

static cr_ref select_above(cr_graph *g, cr_ref x, double limit, cr_ref above, cr_ref else_)
{
    return cr_select(g, cr_map2(g, CR_OP_LT, onnx_like(g, limit, x), x), above, else_);
}

/* x above 0, else alpha (exp(x) - 1). exp sees min(x, 0): what is not taken must not overflow. */
static cr_ref elu(cr_graph *g, cr_ref x, double alpha, double by)
{
    cr_ref low = cr_map2(g, CR_OP_MIN2, onnx_times(g, x, by), onnx_like(g, 0, x));
    return select_above(g, x, 0, x, onnx_times(g, onnx_add_number(g, cr_map(g, CR_OP_EXP, low), -1), alpha));
}

static bool build_elu(onnx_call *c)
{
    double alpha = onnx_attr_float(c, "alpha", 1);
    cr_ref x = onnx_real(c, 0);
    return onnx_out_like(c, alpha == 1 ? cr_map(c->g, CR_OP_ELU, x) : elu(c->g, x, alpha, 1));
}

static bool build_celu(onnx_call *c)
{
    double alpha = onnx_attr_float(c, "alpha", 1);
    cr_ref x = onnx_real(c, 0);
    return onnx_out_like(c, alpha == 1 ? cr_map(c->g, CR_OP_ELU, x) : elu(c->g, x, alpha, 1 / alpha));
}

static bool build_selu(onnx_call *c)
{
    double alpha = onnx_attr_float(c, "alpha", 1.67326319217681884765625f);
    double gamma = onnx_attr_float(c, "gamma", 1.05070102214813232421875f);
    return onnx_out_like(c, onnx_times(c->g, elu(c->g, onnx_real(c, 0), alpha, 1), gamma));
}

static bool build_thresholded_relu(onnx_call *c)
{
    cr_ref x = onnx_real(c, 0);
    return onnx_out_like(c, select_above(c->g, x, onnx_attr_float(c, "alpha", 1), x, onnx_like(c->g, 0, x)));
}

static bool build_prelu(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0), slope = onnx_real(c, 1);
    int64_t dim[CR_MAX_RANK];
    if (!valid(g, x) || !valid(g, slope)) return false;
    onnx_shape(g, x, dim);
    /* Before version 7, and in exports that ignore it, one slope a channel comes as a vector. */
    if (cr_rank(g, slope) == 1 && cr_rank(g, x) > 2 && onnx_size(g, slope, 0) == dim[1] &&
        onnx_size(g, slope, 0) != dim[cr_rank(g, x) - 1]) {
        int64_t column[CR_MAX_RANK] = {dim[1]};
        for (unsigned i = 1; i + 1 < cr_rank(g, x); i++) column[i] = 1;
        slope = onnx_reshape(g, slope, cr_rank(g, x) - 1, column);
    }
    slope = onnx_stretch(g, slope, cr_rank(g, x), dim);
    return onnx_out_like(c, select_above(g, x, 0, x, cr_mul(g, slope, x)));
}

/* max(0, min(1, a x + b)) */
static cr_ref hard_sigmoid(cr_graph *g, cr_ref x, double a, double b)
{
    cr_ref z = onnx_add_number(g, onnx_times(g, x, a), b);
    return cr_map2(g, CR_OP_MAX2, onnx_like(g, 0, x), cr_map2(g, CR_OP_MIN2, onnx_like(g, 1, x), z));
}

static bool build_hard_sigmoid(onnx_call *c)
{
    return onnx_out_like(
        c, hard_sigmoid(c->g, onnx_real(c, 0), onnx_attr_float(c, "alpha", 0.2), onnx_attr_float(c, "beta", 0.5)));
}

static bool build_hard_swish(onnx_call *c)
{
    cr_ref x = onnx_real(c, 0);
    return onnx_out_like(c, cr_mul(c->g, x, hard_sigmoid(c->g, x, 1.0 / 6, 0.5)));
}

static bool build_softsign(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    return onnx_out_like(c, cr_div(g, x, onnx_add_number(g, cr_map(g, CR_OP_ABS, x), 1)));
}

static bool build_mish(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    return onnx_out_like(c, cr_mul(g, x, cr_map(g, CR_OP_TANH, cr_map(g, CR_OP_SOFTPLUS, x))));
}

static bool build_gelu(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    if (strcmp(onnx_attr_string(c, "approximate", "none"), "tanh") != 0) {
        return onnx_out_like(c, cr_map(g, CR_OP_GELU, x));
    }
    cr_ref cube = cr_mul(g, x, cr_mul(g, x, x));
    cr_ref z = onnx_times(g, cr_add(g, x, onnx_times(g, cube, 0.044715)), sqrt(2 / acos(-1)));
    return onnx_out_like(c, onnx_times(g, cr_mul(g, x, onnx_add_number(g, cr_map(g, CR_OP_TANH, z), 1)), 0.5));
}

/* ---- two arguments ------------------------------------------------------------------------------ */

/* Versions before 7 align b to the axes of a from `axis` on. */
static bool operands(onnx_call *c, cr_ref *a, cr_ref *b)
{
    cr_graph *g = c->g;
    *a = onnx_real(c, 0);
    *b = onnx_real(c, 1);
    if (!valid(g, *a) || !valid(g, *b)) return false;
    if (c->version < 7 && onnx_attr_int(c, "broadcast", 0) && cr_rank(g, *b) > 0) {
        unsigned axis = 0, rank = cr_rank(g, *a), of = cr_rank(g, *b);
        int64_t dim[CR_MAX_RANK] = {0};
        if (of > rank || !onnx_axis(c, onnx_attr_int(c, "axis", (int64_t)rank - of), rank ? rank : 1, &axis))
            return false;
        if (axis + of > rank) return onnx_fail(c, "axis %u is too far back for an operand of rank %u", axis, of);
        for (unsigned i = 0; i < of; i++) dim[i] = onnx_size(g, *b, i);
        for (unsigned i = of; i < rank - axis; i++) dim[i] = 1;
        *b = onnx_reshape(g, *b, rank - axis, dim);
    }
    return onnx_align(c, a, b);
}

static bool build_add(onnx_call *c)
{
    cr_ref a, b;
    return operands(c, &a, &b) && onnx_out_like(c, cr_add(c->g, a, b));
}

static bool build_sub(onnx_call *c)
{
    cr_ref a, b;
    return operands(c, &a, &b) && onnx_out_like(c, cr_sub(c->g, a, b));
}

static bool build_mul(onnx_call *c)
{
    cr_ref a, b;
    return operands(c, &a, &b) && onnx_out_like(c, cr_mul(c->g, a, b));
}

static bool build_div(onnx_call *c)
{
    cr_ref a, b;
    if (!operands(c, &a, &b)) return false;
    cr_ref q = cr_div(c->g, a, b);
    return onnx_out_like(c, onnx_is_float(c->in[0]->type) ? q : onnx_trunc(c->g, q));
}

/* a^b, with the derivatives that it has where a is 0: none by b (0^b stays 0), by a that of the first power, 0 for
 * higher ones, infinite for lower ones. The rule of powers knows a^b log(a), which is 0 times infinity there. */
static cr_ref power(cr_graph *g, cr_ref a, cr_ref b)
{
    cr_ref zero = onnx_like(g, 0, a), one = onnx_like(g, 1, a), at = cr_map2(g, CR_OP_EQ, a, zero);
    cr_ref below =
        cr_select(g, cr_map2(g, CR_OP_LT, b, zero), onnx_like(g, INFINITY, a), root(g, cr_select(g, at, a, zero)));
    cr_ref first = cr_select(g, cr_map2(g, CR_OP_EQ, b, zero), one, below);
    first = cr_select(g, cr_map2(g, CR_OP_LT, one, b), zero, first);
    first = cr_select(g, cr_map2(g, CR_OP_EQ, b, one), a, first);
    return cr_select(g, at, first, cr_pow(g, cr_select(g, at, one, a), b));
}

static bool build_pow(onnx_call *c)
{
    cr_ref a, b;
    if (!operands(c, &a, &b)) return false;
    double number;
    cr_ref p = is_const(c->g, b, &number) ? cr_pow(c->g, a, b) : power(c->g, a, b);
    return onnx_out_like(c, onnx_is_float(c->in[0]->type) ? p : onnx_trunc(c->g, p));
}

/* The remainder has the sign of the divisor, with fmod that of the dividend. */
static bool build_mod(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref a, b;
    if (!operands(c, &a, &b)) return false;
    if (!onnx_attr_int(c, "fmod", 0)) return onnx_out_like(c, cr_map2(g, CR_OP_MOD, a, b));
    return onnx_out_like(c, cr_sub(g, a, cr_mul(g, b, onnx_trunc(g, cr_div(g, a, b)))));
}

/* a 2^b without what leaves the type, or a/2^b without its fraction. */
static bool build_bit_shift(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref a, b;
    const char *direction = onnx_attr_string(c, "direction", "");
    bool left = strcmp(direction, "LEFT") == 0;
    if (!left && strcmp(direction, "RIGHT") != 0) return onnx_fail(c, "direction `%s`, not LEFT or RIGHT", direction);
    if (!operands(c, &a, &b)) return false;
    cr_ref power = cr_pow(g, onnx_like(g, 2, b), b);
    if (!left) return onnx_out_like(c, onnx_floor(g, cr_div(g, a, power)));
    double range = ldexp(1, 8 * (int)cr_type_size(c->in[0]->type));
    return onnx_out_like(c, cr_map2(g, CR_OP_MOD, cr_mul(g, a, power), onnx_like(g, range, a)));
}

static bool build_compare(onnx_call *c)
{
    cr_ref a, b;
    return operands(c, &a, &b) && onnx_out(c, 0, cr_map2(c->g, (cr_op)c->arg, a, b), CR_TYPE_BOOL);
}

static bool build_compare_back(onnx_call *c)
{
    cr_ref a, b;
    return operands(c, &a, &b) && onnx_out(c, 0, cr_map2(c->g, (cr_op)c->arg, b, a), CR_TYPE_BOOL);
}

static bool build_logic(onnx_call *c)
{
    cr_ref a = onnx_truth(c, 0), b = onnx_truth(c, 1);
    return onnx_align(c, &a, &b) && onnx_out(c, 0, cr_map2(c->g, (cr_op)c->arg, a, b), CR_TYPE_BOOL);
}

static bool build_xor(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref a = onnx_truth(c, 0), b = onnx_truth(c, 1);
    if (!onnx_align(c, &a, &b)) return false;
    cr_ref one = cr_map2(g, CR_OP_OR, a, b), both = cr_map2(g, CR_OP_AND, a, b);
    return onnx_out(c, 0, cr_map2(g, CR_OP_AND, one, cr_map(g, CR_OP_NOT, both)), CR_TYPE_BOOL);
}

static bool build_not(onnx_call *c) { return onnx_out(c, 0, cr_map(c->g, CR_OP_NOT, onnx_truth(c, 0)), CR_TYPE_BOOL); }

static bool build_where(onnx_call *c)
{
    cr_ref p = onnx_truth(c, 0), a = onnx_real(c, 1), b = onnx_real(c, 2);
    if (!onnx_align(c, &a, &b) || !onnx_align(c, &p, &a) || !onnx_align(c, &p, &b)) return false;
    return onnx_out(c, 0, cr_select(c->g, p, a, b), c->in[1]->type);
}

/* ---- any number --------------------------------------------------------------------------------- */

/* All inputs in their common shape. */
static cr_ref *aligned(onnx_call *c)
{
    cr_ref *a = onnx_alloc(c, c->n_in * sizeof *a);
    if (!a) return NULL;
    for (unsigned i = 0; i < c->n_in; i++) {
        a[i] = onnx_real(c, i);
        if (i > 0 && !onnx_align(c, &a[0], &a[i])) return NULL;
    }
    for (unsigned i = 1; i < c->n_in; i++) {
        if (!onnx_align(c, &a[0], &a[i])) return NULL;
    }
    return a;
}

static bool build_sum(onnx_call *c)
{
    cr_ref *a = aligned(c);
    return a && c->n_in > 0 && onnx_out_like(c, cr_add_n(c->g, c->n_in, a));
}

static bool build_mean(onnx_call *c)
{
    cr_ref *a = aligned(c);
    if (!a || c->n_in == 0) return false;
    return onnx_out_like(c, cr_div(c->g, cr_add_n(c->g, c->n_in, a), cr_const(c->g, c->n_in)));
}

static bool build_extreme(onnx_call *c)
{
    cr_ref *a = aligned(c);
    if (!a || c->n_in == 0) return false;
    for (unsigned i = 1; i < c->n_in; i++) a[0] = cr_map2(c->g, (cr_op)c->arg, a[0], a[i]);
    return onnx_out_like(c, a[0]);
}

/* Bounds are attributes before version 11. NaN bounds none. */
static bool build_clip(onnx_call *c)
{
    cr_graph *g = c->g;
    cr_ref x = onnx_real(c, 0);
    if (!valid(g, x)) return false;
    static const struct {
        const char *name;
        cr_op op;
    } side[2] = {{"min", CR_OP_MAX2}, {"max", CR_OP_MIN2}};
    for (unsigned i = 0; i < 2; i++) {
        cr_ref bound = CR_NONE;
        if (c->version < 11 && onnx_has_attr(c, side[i].name)) {
            bound = onnx_like(g, onnx_attr_float(c, side[i].name, 0), x);
        } else if (onnx_has(c, i + 1)) {
            bound = onnx_real(c, i + 1);
            if (!onnx_align(c, &x, &bound)) return false;
        }
        if (bound != CR_NONE) x = cr_map2(g, side[i].op, x, bound);
    }
    return onnx_out_like(c, x);
}

/* x as the next number of `bits` significant ones, down to multiples of 2^least; infinite from `limit` on. */
static double rounded(double x, int bits, int least, double limit)
{
    int e;
    if (!isfinite(x) || x == 0) return x;
    if (fabs(x) >= limit) return copysign(INFINITY, x);
    frexp(x, &e);
    int unit = e - bits > least ? e - bits : least;
    return ldexp(nearbyint(ldexp(x, -unit)), unit);
}

/* Known numbers are rounded as the type has them; on their way through a run, floats keep what the run has. */
static bool known_halves(onnx_call *c, cr_type type)
{
    onnx_value *in = c->in[0];
    if (!onnx_evaluate(c, in)) return false;
    cr_tensor t = {.name = in->name, .type = CR_TYPE_F32, .rank = in->rank, .count = in->count};
    float *to = onnx_alloc(c, in->count * sizeof *to);
    if (!to) return false;
    for (size_t i = 0; i < in->count; i++) {
        double x;
        data_to_f64(in->type, (const char *)in->data + i * cr_type_size(in->type), 1, &x);
        x = type == CR_TYPE_F16 ? rounded(x, 11, -24, 65520) : rounded(x, 8, -133, ldexp(511, 119));
        to[i] = (float)x;
    }
    memcpy(t.dim, in->dim, sizeof t.dim);
    t.data = to;
    return onnx_out(c, 0, onnx_constant(c, &t), type);
}

/* An integer as one of fewer bits: the others are dropped. */
static cr_ref wrapped(cr_graph *g, cr_ref x, cr_type type)
{
    double low = type == CR_TYPE_I8 ? -128 : type == CR_TYPE_I16 ? -32768 : 0;
    double range = type == CR_TYPE_I8 || type == CR_TYPE_U8 ? 256 : 65536;
    cr_ref up = onnx_add_number(g, x, -low);
    return onnx_add_number(g, cr_map2(g, CR_OP_MOD, up, onnx_like(g, range, up)), low);
}

static bool build_cast_to(onnx_call *c, cr_type type)
{
    cr_ref x = onnx_in(c, 0);
    if (!valid(c->g, x)) return false;
    cr_type from = c->in[0]->type;
    bool half = type == CR_TYPE_F16 || type == CR_TYPE_BF16, narrow = cr_type_size(type) < 4;
    if (half && from != type && c->in[0]->known) return known_halves(c, type);
    if (onnx_is_int(type) && onnx_is_float(from)) x = onnx_trunc(c->g, x);
    if (onnx_is_int(type) && onnx_is_int(from) && narrow && cr_type_size(from) > cr_type_size(type)) {
        x = wrapped(c->g, x, type);
    }
    return onnx_out(c, 0, x, type);
}

static bool build_cast(onnx_call *c)
{
    cr_type type;
    if (!onnx_type_of((int)onnx_attr_int(c, "to", 0), &type))
        return onnx_unsupported(c, "a cast to a type without numbers");
    return build_cast_to(c, type);
}

static bool build_cast_like(onnx_call *c)
{
    return onnx_has(c, 1) ? build_cast_to(c, c->in[1]->type) : onnx_fail(c, "input 2 is missing");
}

const onnx_op onnx_ops_elementwise[] = {
    OP_ARG("Abs", build_map, CR_OP_ABS),
    OP_ARG("Acos", build_map, CR_OP_ACOS),
    OP("Acosh", build_acosh),
    OP("Add", build_add),
    OP_ARG("And", build_logic, CR_OP_AND),
    OP_ARG("Asin", build_map, CR_OP_ASIN),
    OP("Asinh", build_asinh),
    OP_ARG("Atan", build_map, CR_OP_ATAN),
    OP("Atanh", build_atanh),
    OP("BitShift", build_bit_shift),
    OP("Cast", build_cast),
    OP("CastLike", build_cast_like),
    OP("Ceil", build_ceil),
    OP("Celu", build_celu),
    OP("Clip", build_clip),
    OP_ARG("Cos", build_map, CR_OP_COS),
    OP_ARG("Cosh", build_map, CR_OP_COSH),
    OP("Div", build_div),
    OP("Elu", build_elu),
    OP_ARG("Equal", build_compare, CR_OP_EQ),
    OP_ARG("Erf", build_map, CR_OP_ERF),
    OP_ARG("Exp", build_map, CR_OP_EXP),
    OP("Floor", build_floor),
    OP("Gelu", build_gelu),
    OP_ARG("Greater", build_compare_back, CR_OP_LT),
    OP_ARG("GreaterOrEqual", build_compare_back, CR_OP_LE),
    OP("HardSigmoid", build_hard_sigmoid),
    OP("HardSwish", build_hard_swish),
    OP("Identity", build_identity),
    OP("IsInf", build_is_inf),
    OP("IsNaN", build_is_nan),
    OP("LeakyRelu", build_leaky_relu),
    OP_ARG("Less", build_compare, CR_OP_LT),
    OP_ARG("LessOrEqual", build_compare, CR_OP_LE),
    OP_ARG("Log", build_map, CR_OP_LOG),
    OP_ARG("Max", build_extreme, CR_OP_MAX2),
    OP("Mean", build_mean),
    OP_ARG("Min", build_extreme, CR_OP_MIN2),
    OP("Mish", build_mish),
    OP("Mod", build_mod),
    OP("Mul", build_mul),
    OP("Neg", build_neg),
    OP("Not", build_not),
    OP_ARG("Or", build_logic, CR_OP_OR),
    OP("PRelu", build_prelu),
    OP("Pow", build_pow),
    OP("Reciprocal", build_reciprocal),
    OP_ARG("Relu", build_map, CR_OP_RELU),
    OP("Round", build_round),
    OP("Selu", build_selu),
    OP_ARG("Sigmoid", build_map, CR_OP_SIGMOID),
    OP_ARG("Sign", build_map, CR_OP_SIGN),
    OP_OF("chainrule", "Silu", build_map, CR_OP_SILU),
    OP_ARG("Sin", build_map, CR_OP_SIN),
    OP_ARG("Sinh", build_map, CR_OP_SINH),
    OP_ARG("Softplus", build_map, CR_OP_SOFTPLUS),
    OP("Softsign", build_softsign),
    OP_ARG("Sqrt", build_map, CR_OP_SQRT),
    OP("Sub", build_sub),
    OP("Sum", build_sum),
    OP_ARG("Tan", build_map, CR_OP_TAN),
    OP_ARG("Tanh", build_map, CR_OP_TANH),
    OP("ThresholdedRelu", build_thresholded_relu),
    OP("Where", build_where),
    OP("Xor", build_xor),
    OP(NULL, NULL),
};
