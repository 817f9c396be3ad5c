/* Functions of one argument, element by element. Each block: derivative, where it holds, sign, REAL rewrite. */
#include "ops/build.h"

/* ---- exponential and logarithm ------------------------------------------------------------------ */

/* exp' = exp */
static cr_ref exp_partial(cr_graph *g, cr_ref y, unsigned i) { (void)g, (void)i; return y; }
static unsigned exp_sign(const cr_graph *g, cr_ref y, const unsigned *s) { (void)g, (void)y, (void)s; return SIGN_POS; }
static cr_ref exp_simplify(cr_graph *g, cr_ref y) { return is_op(g, arg(g, y), CR_OP_LOG) ? arg(g, arg(g, y)) : y; }

/* log' = 1/z for z > 0 */
static cr_ref log_partial(cr_graph *g, cr_ref y, unsigned i) { (void)i; return cr_div(g, one_like(g, y), arg(g, y)); }
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
static cr_ref sqrt_partial(cr_graph *g, cr_ref y, unsigned i) { (void)i; return cr_div(g, one_like(g, y), times(g, 2, y)); }
static unsigned sqrt_sign(const cr_graph *g, cr_ref y, const unsigned *s) { (void)g, (void)y; return (s[0] & ~(unsigned)SIGN_NEG); }
static cr_ref sqrt_simplify(cr_graph *g, cr_ref y)
{
    cr_ref z = arg(g, y);
    double v;
    if (is_const(g, z, &v) && v >= 0 && sqrt(v) == trunc(sqrt(v))) return number_like(g, y, sqrt(v));
    if (is_op(g, z, CR_OP_POW) && is_const(g, in_of(g, z, 1), &v) && v == 2.0) return cr_map(g, CR_OP_ABS, in_of(g, z, 0));
    return y;
}

/* ---- pieces ------------------------------------------------------------------------------------- */

static cr_ref nonzero_arg(cr_graph *g, cr_ref y) { return cr_map2(g, CR_OP_NE, arg(g, y), cr_const(g, 0)); }

/* |z|' = sign(z); at 0 by convention 0 */
static cr_ref abs_partial(cr_graph *g, cr_ref y, unsigned i) { (void)i; return cr_map(g, CR_OP_SIGN, arg(g, y)); }
static bool abs_slopes(const cr_graph *g, cr_ref y, double *l, double *r) { (void)g, (void)y; *l = -1; *r = 1; return true; }
static unsigned abs_sign(const cr_graph *g, cr_ref y, const unsigned *s)
{
    (void)g, (void)y;
    return (s[0] & SIGN_ZERO) | (s[0] & (SIGN_NEG | SIGN_POS) ? SIGN_POS : 0u);
}
static cr_ref abs_simplify(cr_graph *g, cr_ref y)
{
    double v;
    if (is_const(g, arg(g, y), &v)) return number_like(g, y, fabs(v));
    return is_op(g, arg(g, y), CR_OP_ABS) ? arg(g, y) : y;
}

/* sign and step are constant off 0 */
static unsigned keep_sign(const cr_graph *g, cr_ref y, const unsigned *s) { (void)g, (void)y; return s[0]; }
static cr_ref sign_simplify(cr_graph *g, cr_ref y)
{
    double v;
    if (is_const(g, arg(g, y), &v)) return number_like(g, y, (v > 0) - (v < 0));
    return y;
}
static unsigned step_sign(const cr_graph *g, cr_ref y, const unsigned *s)
{
    (void)g, (void)y;
    return (s[0] & SIGN_POS ? SIGN_POS : 0u) | (s[0] & (SIGN_NEG | SIGN_ZERO) ? SIGN_ZERO : 0u);
}
static cr_ref step_simplify(cr_graph *g, cr_ref y)
{
    cr_ref z = arg(g, y);
    double v;
    if (is_const(g, z, &v)) return number_like(g, y, v > 0);
    if (is_op(g, z, CR_OP_RELU) || is_op(g, z, CR_OP_STEP)) return cr_map(g, CR_OP_STEP, arg(g, z)); /* relu(z) > 0 iff z > 0 */
    return y;
}

/* relu' = step; at 0 by convention 0 */
static cr_ref relu_partial(cr_graph *g, cr_ref y, unsigned i) { (void)i; return cr_map(g, CR_OP_STEP, arg(g, y)); }
static bool relu_slopes(const cr_graph *g, cr_ref y, double *l, double *r) { (void)g, (void)y; *l = 0; *r = 1; return true; }
static cr_ref relu_simplify(cr_graph *g, cr_ref y)
{
    double v;
    if (is_const(g, arg(g, y), &v)) return number_like(g, y, v > 0 ? v : 0);
    return is_op(g, arg(g, y), CR_OP_RELU) ? arg(g, y) : y;
}

/* z > 0 ? 1 : slope; at 0 by convention the left slope */
static cr_ref leaky_partial(cr_graph *g, cr_ref y, unsigned i)
{
    (void)i;
    return cr_select(g, greater(g, arg(g, y), 0), one_like(g, y), number_like(g, y, attr_double(g, y, 0)));
}
static bool leaky_slopes(const cr_graph *g, cr_ref y, double *l, double *r) { *l = attr_double(g, y, 0); *r = 1; return true; }

/* elu(z) = z > 0 ? z : exp(z) - 1: its derivative z > 0 ? 1 : exp(z) is continuous */
static cr_ref elu_partial(cr_graph *g, cr_ref y, unsigned i)
{
    (void)i;
    return cr_select(g, greater(g, arg(g, y), 0), one_like(g, y), cr_map(g, CR_OP_EXP, arg(g, y)));
}

/* selu(z) = lambda (z > 0 ? z : alpha (exp(z) - 1)), Klambauer et al. 2017; at 0 by convention the left slope */
#define SELU_ALPHA 1.6732632423543772848170429916717
#define SELU_LAMBDA 1.0507009873554804934193349852946
static cr_ref selu_partial(cr_graph *g, cr_ref y, unsigned i)
{
    (void)i;
    return cr_select(g, greater(g, arg(g, y), 0), number_like(g, y, SELU_LAMBDA),
                     times(g, SELU_LAMBDA * SELU_ALPHA, cr_map(g, CR_OP_EXP, arg(g, y))));
}
static bool selu_slopes(const cr_graph *g, cr_ref y, double *l, double *r)
{
    (void)g, (void)y;
    *l = SELU_LAMBDA * SELU_ALPHA;
    *r = SELU_LAMBDA;
    return true;
}

/* ---- sigmoidal ---------------------------------------------------------------------------------- */

/* s' = s(z) s(-z), kept as one node: s (1 - s) would round to 0 where s rounds to 1 */
static cr_ref sigmoid_partial(cr_graph *g, cr_ref y, unsigned i) { (void)i; return cr_map(g, CR_OP_DSIGMOID, arg(g, y)); }
static unsigned positive_sign(const cr_graph *g, cr_ref y, const unsigned *s) { (void)g, (void)y, (void)s; return SIGN_POS; }
/* s'' = s' (1 - 2 s) */
static cr_ref dsigmoid_partial(cr_graph *g, cr_ref y, unsigned i)
{
    (void)i;
    return cr_mul(g, y, cr_sub(g, one_like(g, y), times(g, 2, cr_map(g, CR_OP_SIGMOID, arg(g, y)))));
}
/* read as s (1 - s) */
static cr_ref dsigmoid_simplify(cr_graph *g, cr_ref y)
{
    cr_ref s = cr_map(g, CR_OP_SIGMOID, arg(g, y));
    return cr_mul(g, s, cr_sub(g, one_like(g, y), s));
}

/* tanh' = 1/cosh^2, read as 1 - tanh^2; tanh'' = -2 tanh tanh' */
static cr_ref tanh_partial(cr_graph *g, cr_ref y, unsigned i) { (void)i; return cr_map(g, CR_OP_DTANH, arg(g, y)); }
static cr_ref dtanh_partial(cr_graph *g, cr_ref y, unsigned i)
{
    (void)i;
    return cr_mul(g, times(g, -2, cr_map(g, CR_OP_TANH, arg(g, y))), y);
}
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
static cr_ref softplus_partial(cr_graph *g, cr_ref y, unsigned i) { (void)i; return cr_map(g, CR_OP_SIGMOID, arg(g, y)); }

/* gelu(z) = z Phi(z), Phi the normal distribution function (the erf form): gelu' = Phi(z) + z phi(z) */
static cr_ref gelu_partial(cr_graph *g, cr_ref y, unsigned i)
{
    (void)i;
    cr_ref z = arg(g, y), two = cr_const(g, 2), half = cr_const(g, 0.5), pi = cr_const(g, PI);
    cr_ref cdf = cr_mul(g, half, cr_add(g, one_like(g, y), cr_map(g, CR_OP_ERF, cr_div(g, z, cr_map(g, CR_OP_SQRT, two)))));
    cr_ref density = cr_div(g, cr_map(g, CR_OP_EXP, times(g, -0.5, square(g, z))), cr_map(g, CR_OP_SQRT, cr_mul(g, two, pi)));
    return cr_add(g, cdf, cr_mul(g, z, density));
}

/* ---- trigonometric and hyperbolic ---------------------------------------------------------------- */

static cr_ref sin_partial(cr_graph *g, cr_ref y, unsigned i) { (void)i; return cr_map(g, CR_OP_COS, arg(g, y)); }
static cr_ref cos_partial(cr_graph *g, cr_ref y, unsigned i) { (void)i; return cr_neg(g, cr_map(g, CR_OP_SIN, arg(g, y))); }
static cr_ref sinh_partial(cr_graph *g, cr_ref y, unsigned i) { (void)i; return cr_map(g, CR_OP_COSH, arg(g, y)); }
static cr_ref cosh_partial(cr_graph *g, cr_ref y, unsigned i) { (void)i; return cr_map(g, CR_OP_SINH, arg(g, y)); }

/* tan' = 1 + tan^2 off the poles */
static cr_ref tan_partial(cr_graph *g, cr_ref y, unsigned i) { (void)i; return cr_add(g, one_like(g, y), square(g, y)); }
static cr_ref tan_regular(cr_graph *g, cr_ref y) { return cr_map2(g, CR_OP_NE, cr_map(g, CR_OP_COS, arg(g, y)), cr_const(g, 0)); }

/* asin' = 1/sqrt(1 - z^2) = -acos', for |z| < 1 */
static cr_ref asin_partial(cr_graph *g, cr_ref y, unsigned i)
{
    (void)i;
    cr_ref one = one_like(g, y);
    return cr_div(g, one, cr_map(g, CR_OP_SQRT, cr_sub(g, one, square(g, arg(g, y)))));
}
static cr_ref acos_partial(cr_graph *g, cr_ref y, unsigned i) { return cr_neg(g, asin_partial(g, y, i)); }
static cr_ref inside_unit(cr_graph *g, cr_ref y) { return cr_map2(g, CR_OP_LT, cr_map(g, CR_OP_ABS, arg(g, y)), cr_const(g, 1)); }

/* atan' = 1/(1 + z^2) */
static cr_ref atan_partial(cr_graph *g, cr_ref y, unsigned i)
{
    (void)i;
    return cr_div(g, one_like(g, y), cr_add(g, one_like(g, y), square(g, arg(g, y))));
}

/* erf' = 2/sqrt(pi) exp(-z^2) */
static cr_ref erf_partial(cr_graph *g, cr_ref y, unsigned i)
{
    (void)i;
    cr_ref c = cr_div(g, cr_const(g, 2), cr_map(g, CR_OP_SQRT, cr_const(g, PI)));
    return cr_mul(g, c, cr_map(g, CR_OP_EXP, cr_neg(g, square(g, arg(g, y)))));
}

/* ---- user functions ------------------------------------------------------------------------------ */

/* f^(k)' = f^(k+1); a body is differentiated only when its derivative is read or run */
static cr_ref call_partial(cr_graph *g, cr_ref y, unsigned i)
{
    (void)i;
    return cr_call(g, attr_of(g, y, 0), attr_of(g, y, 1) + 1, arg(g, y));
}

const op_block ops_elementwise[] = {
    {CR_OP_EXP, {.partial = exp_partial, .sign = exp_sign, .simplify = exp_simplify}},
    {CR_OP_LOG, {.partial = log_partial, .smooth = SINGULAR, .regular = positive_arg, .simplify = log_simplify}},
    {CR_OP_SQRT, {.partial = sqrt_partial, .smooth = SINGULAR, .regular = positive_arg, .sign = sqrt_sign, .simplify = sqrt_simplify}},
    {CR_OP_ABS, {.partial = abs_partial, .smooth = KINK, .regular = nonzero_arg, .slopes = abs_slopes, .sign = abs_sign, .simplify = abs_simplify}},
    {CR_OP_SIGN, {.smooth = JUMP, .regular = nonzero_arg, .sign = keep_sign, .simplify = sign_simplify}},
    {CR_OP_STEP, {.smooth = JUMP, .regular = nonzero_arg, .sign = step_sign, .simplify = step_simplify}},
    {CR_OP_RELU, {.partial = relu_partial, .smooth = KINK, .regular = nonzero_arg, .slopes = relu_slopes, .sign = step_sign, .simplify = relu_simplify}},
    {CR_OP_LEAKY_RELU, {.partial = leaky_partial, .smooth = KINK, .regular = nonzero_arg, .slopes = leaky_slopes}},
    {CR_OP_ELU, {.partial = elu_partial, .sign = keep_sign}},
    {CR_OP_SELU, {.partial = selu_partial, .smooth = KINK, .regular = nonzero_arg, .slopes = selu_slopes, .sign = keep_sign}},
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
