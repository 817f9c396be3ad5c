/* Functions of one argument, element by element. Each block: derivative, where it holds, sign, REAL rewrite. */
#include "ops/build.h"

/* d y / d z as an expression in y, its argument z and the graph g. */
#define PARTIAL(name, ...)                                                                                             \
    static cr_ref name##_partial(cr_graph *g, cr_ref y, unsigned i)                                                    \
    {                                                                                                                  \
        cr_ref z = arg(g, y);                                                                                          \
        (void)i, (void)z;                                                                                              \
        return __VA_ARGS__;                                                                                            \
    }
/* The sign of y from that of z, s[0]. */
#define SIGN(name, ...)                                                                                                \
    static unsigned name(const cr_graph *g, cr_ref y, const unsigned *s)                                               \
    {                                                                                                                  \
        (void)g, (void)y, (void)s;                                                                                     \
        return __VA_ARGS__;                                                                                            \
    }
/* Slopes on the left and right of a kink at z = 0. */
#define SLOPES(name, left, right)                                                                                      \
    static bool name##_slopes(const cr_graph *g, cr_ref y, double *l, double *r)                                       \
    {                                                                                                                  \
        (void)g, (void)y;                                                                                              \
        *l = left;                                                                                                     \
        *r = right;                                                                                                    \
        return true;                                                                                                   \
    }

/* ---- exponential and logarithm ------------------------------------------------------------------ */

/* exp' = exp */
PARTIAL(exp, y)
SIGN(exp_sign, SIGN_POS)
static cr_ref exp_simplify(cr_graph *g, cr_ref y) { return is_op(g, arg(g, y), CR_OP_LOG) ? arg(g, arg(g, y)) : y; }

/* log' = 1/z for z > 0 */
PARTIAL(log, cr_div(g, one_like(g, y), z))
static cr_ref positive_arg(cr_graph *g, cr_ref y) { return greater(g, arg(g, y), 0); }
static cr_ref log_simplify(cr_graph *g, cr_ref y)
{
    cr_ref z = arg(g, y);
    double v;
    if (is_const(g, z, &v) && v == 1.0) return number_like(g, y, 0);
    if (is_op(g, z, CR_OP_EXP)) return arg(g, z);
    if (is_op(g, z, CR_OP_SOFTMAX)) return cr_logsoftmax(g, arg(g, z), attr_of(g, z, 0));
    if (is_op(g, z, CR_OP_DET)) return cr_linalg(g, CR_OP_LOGDET, arg(g, z));
    return y;
}

/* sqrt' = 1/(2 sqrt(z)) for z > 0 */
PARTIAL(sqrt, cr_div(g, one_like(g, y), times(g, 2, y)))
SIGN(sqrt_sign, (s[0] & ~(unsigned)SIGN_NEG))
static cr_ref sqrt_simplify(cr_graph *g, cr_ref y)
{
    cr_ref z = arg(g, y);
    double v;
    if (is_const(g, z, &v) && v >= 0 && sqrt(v) == trunc(sqrt(v))) return number_like(g, y, sqrt(v));
    if (is_op(g, z, CR_OP_POW) && is_const(g, in_of(g, z, 1), &v) && v == 2.0)
        return cr_map(g, CR_OP_ABS, in_of(g, z, 0));
    return y;
}

/* ---- pieces ------------------------------------------------------------------------------------- */

static cr_ref nonzero_arg(cr_graph *g, cr_ref y) { return cr_map2(g, CR_OP_NE, arg(g, y), cr_const(g, 0)); }

/* |z|' = sign(z); at 0 by convention 0 */
PARTIAL(abs, cr_map(g, CR_OP_SIGN, z))
SLOPES(abs, -1, 1)
SIGN(abs_sign, (s[0] & SIGN_ZERO) | (s[0] & (SIGN_NEG | SIGN_POS) ? SIGN_POS : 0u))
static cr_ref abs_simplify(cr_graph *g, cr_ref y)
{
    double v;
    if (is_const(g, arg(g, y), &v)) return number_like(g, y, fabs(v));
    return is_op(g, arg(g, y), CR_OP_ABS) ? arg(g, y) : y;
}

/* What stands behind a fence stays an expression of its own: a cotangent by it can be asked for. Reading drops it. */
PARTIAL(fence, one_like(g, y))
static cr_ref fence_simplify(cr_graph *g, cr_ref y) { return arg(g, y); }

/* sign and step are constant off 0 */
SIGN(keep_sign, s[0])
static cr_ref sign_simplify(cr_graph *g, cr_ref y)
{
    double v;
    if (is_const(g, arg(g, y), &v)) return number_like(g, y, (v > 0) - (v < 0));
    return y;
}
SIGN(step_sign, (s[0] & SIGN_POS ? SIGN_POS : 0u) | (s[0] & (SIGN_NEG | SIGN_ZERO) ? SIGN_ZERO : 0u))
static cr_ref step_simplify(cr_graph *g, cr_ref y)
{
    cr_ref z = arg(g, y);
    double v;
    if (is_const(g, z, &v)) return number_like(g, y, v > 0);
    if (is_op(g, z, CR_OP_RELU) || is_op(g, z, CR_OP_STEP))
        return cr_map(g, CR_OP_STEP, arg(g, z)); /* relu(z) > 0 iff z > 0 */
    return y;
}

/* relu' = step; at 0 by convention 0 */
PARTIAL(relu, cr_map(g, CR_OP_STEP, z))
SLOPES(relu, 0, 1)
static cr_ref relu_simplify(cr_graph *g, cr_ref y)
{
    double v;
    if (is_const(g, arg(g, y), &v)) return number_like(g, y, v > 0 ? v : 0);
    return is_op(g, arg(g, y), CR_OP_RELU) ? arg(g, y) : y;
}

/* z > 0 ? 1 : slope; at 0 by convention the left slope */
PARTIAL(leaky, cr_select(g, greater(g, z, 0), one_like(g, y), number_like(g, y, attr_double(g, y, 0))))
SLOPES(leaky, attr_double(g, y, 0), 1)

/* elu(z) = z > 0 ? z : exp(z) - 1: its derivative z > 0 ? 1 : exp(z) is continuous */
PARTIAL(elu, cr_select(g, greater(g, z, 0), one_like(g, y), cr_map(g, CR_OP_EXP, z)))

/* selu(z) = lambda (z > 0 ? z : alpha (exp(z) - 1)), Klambauer et al. 2017; at 0 by convention the left slope */
#define SELU_ALPHA 1.6732632423543772848170429916717
#define SELU_LAMBDA 1.0507009873554804934193349852946
PARTIAL(selu, cr_select(g, greater(g, z, 0), number_like(g, y, SELU_LAMBDA),
                        times(g, SELU_LAMBDA *SELU_ALPHA, cr_map(g, CR_OP_EXP, z))))
SLOPES(selu, SELU_LAMBDA * SELU_ALPHA, SELU_LAMBDA)

/* ---- sigmoidal ---------------------------------------------------------------------------------- */

/* s' = s(z) s(-z), kept as one node: s (1 - s) would round to 0 where s rounds to 1 */
PARTIAL(sigmoid, cr_map(g, CR_OP_DSIGMOID, z))
SIGN(positive_sign, SIGN_POS)
/* s'' = s' (1 - 2 s) */
PARTIAL(dsigmoid, cr_mul(g, y, cr_sub(g, one_like(g, y), times(g, 2, cr_map(g, CR_OP_SIGMOID, z)))))
/* read as s (1 - s) */
static cr_ref dsigmoid_simplify(cr_graph *g, cr_ref y)
{
    cr_ref s = cr_map(g, CR_OP_SIGMOID, arg(g, y));
    return cr_mul(g, s, cr_sub(g, one_like(g, y), s));
}

/* tanh' = 1/cosh^2, read as 1 - tanh^2; tanh'' = -2 tanh tanh' */
PARTIAL(tanh, cr_map(g, CR_OP_DTANH, z))
PARTIAL(dtanh, cr_mul(g, times(g, -2, cr_map(g, CR_OP_TANH, z)), y))
static cr_ref dtanh_simplify(cr_graph *g, cr_ref y)
{
    return cr_sub(g, one_like(g, y), square(g, cr_map(g, CR_OP_TANH, arg(g, y))));
}

/* silu(z) = z s(z): silu' = s + z s' */
static cr_ref silu_partial(cr_graph *g, cr_ref y, unsigned i)
{
    (void)i;
    cr_ref z = arg(g, y);
    return cr_add(g, cr_map(g, CR_OP_SIGMOID, z), cr_mul(g, z, cr_map(g, CR_OP_DSIGMOID, z)));
}

/* softplus(z) = log(1 + exp(z)): softplus' = s */
PARTIAL(softplus, cr_map(g, CR_OP_SIGMOID, z))

/* gelu(z) = z Phi(z), Phi the normal distribution function (the erf form): gelu' = Phi(z) + z phi(z) */
static cr_ref gelu_partial(cr_graph *g, cr_ref y, unsigned i)
{
    (void)i;
    cr_ref z = arg(g, y), two = cr_const(g, 2), half = cr_const(g, 0.5), pi = cr_const(g, PI);
    cr_ref cdf =
        cr_mul(g, half, cr_add(g, one_like(g, y), cr_map(g, CR_OP_ERF, cr_div(g, z, cr_map(g, CR_OP_SQRT, two)))));
    cr_ref density =
        cr_div(g, cr_map(g, CR_OP_EXP, times(g, -0.5, square(g, z))), cr_map(g, CR_OP_SQRT, cr_mul(g, two, pi)));
    return cr_add(g, cdf, cr_mul(g, z, density));
}

/* ---- trigonometric and hyperbolic ---------------------------------------------------------------- */

PARTIAL(sin, cr_map(g, CR_OP_COS, z))
PARTIAL(cos, cr_neg(g, cr_map(g, CR_OP_SIN, z)))
PARTIAL(sinh, cr_map(g, CR_OP_COSH, z))
PARTIAL(cosh, cr_map(g, CR_OP_SINH, z))

/* tan' = 1 + tan^2 off the poles */
PARTIAL(tan, cr_add(g, one_like(g, y), square(g, y)))
static cr_ref tan_regular(cr_graph *g, cr_ref y)
{
    return cr_map2(g, CR_OP_NE, cr_map(g, CR_OP_COS, arg(g, y)), cr_const(g, 0));
}

/* asin' = 1/sqrt(1 - z^2) = -acos', for |z| < 1 */
static cr_ref asin_partial(cr_graph *g, cr_ref y, unsigned i)
{
    (void)i;
    cr_ref one = one_like(g, y);
    return cr_div(g, one, cr_map(g, CR_OP_SQRT, cr_sub(g, one, square(g, arg(g, y)))));
}
PARTIAL(acos, cr_neg(g, asin_partial(g, y, 0)))
static cr_ref inside_unit(cr_graph *g, cr_ref y)
{
    return cr_map2(g, CR_OP_LT, cr_map(g, CR_OP_ABS, arg(g, y)), cr_const(g, 1));
}

/* atan' = 1/(1 + z^2) */
PARTIAL(atan, cr_div(g, one_like(g, y), cr_add(g, one_like(g, y), square(g, z))))

/* erf' = 2/sqrt(pi) exp(-z^2) */
static cr_ref erf_partial(cr_graph *g, cr_ref y, unsigned i)
{
    (void)i;
    cr_ref c = cr_div(g, cr_const(g, 2), cr_map(g, CR_OP_SQRT, cr_const(g, PI)));
    return cr_mul(g, c, cr_map(g, CR_OP_EXP, cr_neg(g, square(g, arg(g, y)))));
}

/* ---- user functions ------------------------------------------------------------------------------ */

/* f^(k)' = f^(k+1); a body is differentiated only when its derivative is read or run */
PARTIAL(call, cr_call(g, attr_of(g, y, 0), attr_of(g, y, 1) + 1, z))

const op_block ops_elementwise[] = {
    {CR_OP_EXP, {.partial = exp_partial, .sign = exp_sign, .simplify = exp_simplify}},
    {CR_OP_LOG, {.partial = log_partial, .smooth = SINGULAR, .regular = positive_arg, .simplify = log_simplify}},
    {CR_OP_SQRT,
     {.partial = sqrt_partial,
      .smooth = SINGULAR,
      .regular = positive_arg,
      .sign = sqrt_sign,
      .simplify = sqrt_simplify}},
    {CR_OP_ABS,
     {.partial = abs_partial,
      .smooth = KINK,
      .regular = nonzero_arg,
      .slopes = abs_slopes,
      .sign = abs_sign,
      .simplify = abs_simplify}},
    {CR_OP_FENCE, {.partial = fence_partial, .sign = keep_sign, .simplify = fence_simplify}},
    {CR_OP_SIGN, {.smooth = JUMP, .regular = nonzero_arg, .sign = keep_sign, .simplify = sign_simplify}},
    {CR_OP_STEP, {.smooth = JUMP, .regular = nonzero_arg, .sign = step_sign, .simplify = step_simplify}},
    {CR_OP_RELU,
     {.partial = relu_partial,
      .smooth = KINK,
      .regular = nonzero_arg,
      .slopes = relu_slopes,
      .sign = step_sign,
      .simplify = relu_simplify}},
    {CR_OP_LEAKY_RELU, {.partial = leaky_partial, .smooth = KINK, .regular = nonzero_arg, .slopes = leaky_slopes}},
    {CR_OP_ELU, {.partial = elu_partial, .sign = keep_sign}},
    {CR_OP_SELU,
     {.partial = selu_partial, .smooth = KINK, .regular = nonzero_arg, .slopes = selu_slopes, .sign = keep_sign}},
    {CR_OP_GELU, {.partial = gelu_partial, .sign = keep_sign}},
    {CR_OP_SILU, {.partial = silu_partial, .sign = keep_sign}},
    {CR_OP_SOFTPLUS, {.partial = softplus_partial, .sign = positive_sign}},
    {CR_OP_SIGMOID, {.partial = sigmoid_partial, .sign = positive_sign}},
    {CR_OP_DSIGMOID, {.partial = dsigmoid_partial, .sign = positive_sign, .simplify = dsigmoid_simplify}},
    {CR_OP_SIN, {.partial = sin_partial}},
    {CR_OP_COS, {.partial = cos_partial}},
    {CR_OP_TAN, {.partial = tan_partial, .smooth = SINGULAR, .regular = tan_regular}},
    {CR_OP_SINH, {.partial = sinh_partial, .sign = keep_sign}},
    {CR_OP_COSH, {.partial = cosh_partial, .sign = positive_sign}},
    {CR_OP_TANH, {.partial = tanh_partial, .sign = keep_sign}},
    {CR_OP_DTANH, {.partial = dtanh_partial, .sign = positive_sign, .simplify = dtanh_simplify}},
    {CR_OP_ASIN, {.partial = asin_partial, .smooth = SINGULAR, .regular = inside_unit, .sign = keep_sign}},
    {CR_OP_ACOS, {.partial = acos_partial, .smooth = SINGULAR, .regular = inside_unit}},
    {CR_OP_ATAN, {.partial = atan_partial, .sign = keep_sign}},
    {CR_OP_ERF, {.partial = erf_partial, .sign = keep_sign}},
    {CR_OP_CALL, {.partial = call_partial}},
    {CR_OP_NONE, {0}},
};
