/* Mean-field theory against checked figures of the literature; docs/flow.md names the papers. */
#include "unit.h"

#include "flow/mean_field.h"

#include <math.h>

/* An operator as a function, read off a graph as the diagnosis does. */
static flow_scalar function(cr_op op)
{
    cr_graph *g = cr_graph_new();
    cr_dim n = cr_dim_const(g, 7);
    cr_ref z = cr_param(g, "z", 1, &n, 0), y = op == CR_OP_LEAKY_RELU ? cr_leaky_relu(g, z, 0.2) : cr_map(g, op, z);
    flow_scalar s;
    assert_true(flow_scalar_read(g, cr_map(g, CR_OP_FENCE, y), z, &s));
    cr_graph_free(g);
    return s;
}

#define NEAR(got, want, tolerance) assert_float_equal(got, want, tolerance)

static void test_tanh_critical(void **state)
{
    static const double known[][2] = {{0.01, 1.424205}, {0.05, 1.760955}, {0.1, 1.986073}, {1, 3.443211}};
    flow_scalar phi = function(CR_OP_TANH);
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        double sw2, q;
        assert_true(mean_field_critical_weight(&phi, known[i][0], &sw2, &q));
        NEAR(sw2, known[i][1], 1e-6);
        mean_field_scales s = mean_field_scales_of(&phi, sw2, known[i][0]);
        NEAR(s.q, q, 1e-6 * q);
        NEAR(s.chi, 1, 1e-6);
    }
}

static void test_tanh_ordered(void **state)
{
    flow_scalar phi = function(CR_OP_TANH);
    mean_field_scales s = mean_field_scales_of(&phi, 1.25, 0.05);
    (void)state;
    NEAR(s.q, 0.29205, 1e-5);
    NEAR(s.chi, 0.86324, 1e-5);
    NEAR(s.xi_correlation, 6.800, 1e-3);
    NEAR(s.xi_gradient, 6.800, 1e-3);
    NEAR(s.xi_length, 1.800, 1e-3);
}

/* In the chaotic phase the correlation decays to c* at a rate of its own: iterating the map finds both. */
static void test_tanh_chaotic(void **state)
{
    flow_scalar phi = function(CR_OP_TANH);
    double sw2 = 2.5, sb2 = 0.05, c = 0.9, before = 1, rate = 0;
    mean_field_scales s = mean_field_scales_of(&phi, sw2, sb2);
    (void)state;
    assert_true(s.chi > 1);
    for (int i = 0; i < 400; i++) {
        double product, slopes, next;
        mean_field_pair(&phi, 0, s.q, c * s.q, &product, &slopes);
        next = (sw2 * product + sb2) / s.q;
        if (i == 100) rate = (next - c) / (c - before);
        before = c;
        c = next;
    }
    NEAR(s.correlation, c, 1e-6);
    NEAR(s.xi_correlation, -1 / log(rate), 0.01 * s.xi_correlation);
}

/* sw = 1, no biases: the length falls like 1/(2 l), the gradient like 1/l. Not exponentially. */
static void test_tanh_algebraic(void **state)
{
    flow_scalar phi = function(CR_OP_TANH);
    double q = 1, product = 1;
    (void)state;
    for (int l = 1; l <= 100; l++) {
        mean_field m = mean_field_at(&phi, 0, q);
        product *= m.slope2;
        q = m.square;
    }
    NEAR(2 * 100 * q, 1.014, 1e-3);
    NEAR(product * 100, 0.713, 1e-3);
}

static void test_gains(void **state)
{
    static const struct {
        cr_op op;
        double chi; /* at the gain that keeps the length at 1 */
    } known[] = {{CR_OP_RELU, 1},      {CR_OP_ELU, 1.0359},  {CR_OP_SILU, 1.0666},
                 {CR_OP_GELU, 1.0720}, {CR_OP_TANH, 1.1778}};
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        flow_scalar phi = function(known[i].op);
        mean_field m = mean_field_at(&phi, 0, 1);
        NEAR(m.slope2 / m.square, known[i].chi, 5.1e-5);
    }
    flow_scalar phi = function(CR_OP_SELU);
    mean_field m = mean_field_at(&phi, 0, 1);
    NEAR(m.mean, 0, 1e-9);
    NEAR(m.square, 1, 1e-9);
    NEAR(m.slope2, 1.071575, 1e-6);
    phi = function(CR_OP_SIGMOID);
    mean_field_scales s = mean_field_scales_of(&phi, 1, 0);
    NEAR(s.chi, 0.055721, 1e-6);
    NEAR(sqrt(s.chi), 0.23605, 1e-5);
    phi = function(CR_OP_RELU);
    NEAR(mean_field_batch_norm(&phi), acos(-1) / (acos(-1) - 1), 1e-12);
    NEAR(mean_field_batch_norm(&phi), 1.466942, 1e-6);
    double a = 0.2; /* He's gain of leaky ReLU is 2/(1 + a^2) */
    phi = function(CR_OP_LEAKY_RELU);
    m = mean_field_at(&phi, 0, 3);
    NEAR(m.slope2 * 2 / (1 + a * a), 1, 1e-12);
    NEAR(m.square * 2 / (1 + a * a), 3, 1e-12);
}

/* ReLU: every length is a fixed point at He's variance; below it lengths shrink, above they grow; the line of critical
 * variances is a point. Erf has closed forms (Williams 1997). */
static void test_closed_forms(void **state)
{
    flow_scalar relu = function(CR_OP_RELU), erf_ = function(CR_OP_ERF), leaky;
    double sum[1];
    double sw2, sb2, product, slopes, pi = acos(-1);
    (void)state;
    assert_true(isnan(mean_field_length(&relu, 2, 0)));
    assert_true(mean_field_length(&relu, 1, 0) == 0);
    assert_true(isinf(mean_field_length(&relu, 3, 0)));
    NEAR(mean_field_length(&relu, 1, 0.5), 1, 1e-9);
    mean_field_scales s = mean_field_scales_of(&relu, 1.0 / 3, 0);
    NEAR(s.chi, 1.0 / 6, 1e-12);
    NEAR(s.xi_gradient, 1 / log(6), 1e-12);
    assert_true(mean_field_critical(&relu, 0.7, &sw2, &sb2));
    NEAR(sw2, 2, 1e-12);
    assert_true(sb2 == 0);
    mean_field exact = mean_field_at(&relu, 0, 3), near = mean_field_at(&relu, 1e-12, 3);
    NEAR(near.mean, exact.mean, 1e-10);
    NEAR(near.square, exact.square, 1e-10);
    NEAR(near.slope2, exact.slope2, 1e-10);
    NEAR(near.slope4, exact.slope4, 1e-10);
    NEAR(near.stretch, exact.stretch, 1e-10);
    for (double q = 1e-3; q < 1e4; q *= 10) {
        mean_field m = mean_field_at(&erf_, 0, q);
        NEAR(m.square, 2 / pi * asin(2 * q / (1 + 2 * q)), 1e-9);
        NEAR(m.slope2, 4 / pi / sqrt(1 + 4 * q), 1e-8);
    }
    for (double c = -0.75; c < 1; c += 0.25) {
        mean_field_pair(&relu, 0, 2, 2 * c, &product, &slopes);
        NEAR(slopes, 0.5 * kappa0(c), 1e-14);
        NEAR(product, kappa1(c), 1e-14);
        double near_slopes; /* by quadrature, as it has a mean */
        mean_field_pair(&relu, 1e-9, 2, 2 * c, &product, &near_slopes);
        NEAR(near_slopes, slopes, 2e-5);
        NEAR(product, kappa1(c), 2e-5);
        leaky = function(CR_OP_LEAKY_RELU);
        mean_field_pair(&leaky, 0, 2, 2 * c, &product, &slopes);
        mean_field_pair(&leaky, 1e-9, 2, 2 * c, sum, &near_slopes);
        NEAR(near_slopes, slopes, 2e-5);
        NEAR(sum[0], product, 2e-5);
        mean_field_pair(&erf_, 0, 1, c, &product, &slopes);
        NEAR(product, 2 / pi * asin(2 * c / 3), 1e-6);
        NEAR(slopes, 4 / pi / sqrt(9 - 4 * c * c), 1e-6);
    }
}

/* Gradients of wide He + ReLU networks at two inputs of a cosine. */
static void test_shattering(void **state)
{
    static const struct {
        double cosine;
        int depth;
        double want, tolerance;
    } known[] = {{0, 5, 0.1046, 6e-5},   {0, 10, 0.0337, 6e-5},   {0, 20, 0.0082, 6e-5},
                 {0.95, 10, 0.40, 6e-3}, {0.95, 20, 0.20, 6e-3}, {0.95, 50, 0.047, 6e-4}};
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        double c = known[i].cosine, product = 1;
        for (int l = 0; l < known[i].depth; l++) {
            product *= kappa0(c);
            c = kappa1(c);
        }
        NEAR(product, known[i].want, known[i].tolerance);
    }
}

/* Attributes and formulas are read off the graph: 0.5 x (1 + tanh ..), max(0, min(6, x)). */
static void test_scalars(void **state)
{
    cr_graph *g = cr_graph_new();
    cr_dim n[2] = {cr_dim_const(g, 3), cr_dim_const(g, 5)};
    cr_ref x = cr_param(g, "x", 2, n, 0), w = cr_param(g, "w", 2, n, 0), zero = cr_full(g, cr_const(g, 0), 2, n),
           six = cr_full(g, cr_const(g, 6), 2, n);
    flow_scalar s;
    double f, d, shift, factor;
    (void)state;
    assert_true(flow_scalar_read(g, cr_map2(g, CR_OP_MAX2, zero, cr_map2(g, CR_OP_MIN2, six, x)), x, &s));
    flow_scalar_at(&s, 7, &f, &d);
    assert_true(f == 6 && d == 0);
    flow_scalar_at(&s, 2.5, &f, &d);
    assert_true(f == 2.5 && d == 1);
    assert_false(flow_scalar_linear(&s, &shift, &factor));
    cr_ref cube = cr_mul(g, x, cr_mul(g, x, x));
    assert_true(flow_scalar_read(g, cr_mul(g, x, cr_map(g, CR_OP_TANH, cube)), x, &s));
    flow_scalar_at(&s, 0.8, &f, &d);
    double t = tanh(0.512);
    NEAR(f, 0.8 * t, 1e-15);
    NEAR(d, t + 0.8 * (1 - t * t) * 3 * 0.64, 1e-14);
    assert_true(flow_scalar_read(g, cr_add(g, six, cr_mul(g, cr_const(g, -0.25), x)), x, &s));
    assert_true(flow_scalar_linear(&s, &shift, &factor));
    assert_true(shift == 6 && factor == -0.25);
    assert_false(flow_scalar_read(g, cr_mul(g, w, x), x, &s));
    cr_dim swapped[2] = {n[1], n[0]};
    cr_ref turned = cr_einsum(g, 1, &x, (const uint8_t[]){1, 0}, 2, swapped);
    assert_false(flow_scalar_read(g, turned, x, &s));
    assert_true(cr_graph_status(g) == CR_OK);
    cr_graph_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tanh_critical), cmocka_unit_test(test_tanh_ordered),
        cmocka_unit_test(test_tanh_chaotic),  cmocka_unit_test(test_tanh_algebraic),
        cmocka_unit_test(test_gains),         cmocka_unit_test(test_closed_forms),
        cmocka_unit_test(test_shattering),    cmocka_unit_test(test_scalars),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
