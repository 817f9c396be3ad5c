/* Room exec: numbers against naive loops, closed forms and known values; one-sided derivatives at kinks. */
#include "unit.h"

#include "exec/exec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    cr_graph *g;
    exec_env *env;
} fixture;

static int setup(void **state)
{
    fixture *f = malloc(sizeof *f);
    f->g = cr_graph_new();
    f->env = exec_env_new(f->g);
    *state = f;
    return f->g && f->env ? 0 : -1;
}

static int teardown(void **state)
{
    fixture *f = *state;
    exec_env_free(f->env);
    cr_graph_free(f->g);
    free(f);
    return 0;
}

static void check_ok(fixture *f)
{
    if (cr_graph_status(f->g) != CR_OK) {
        fail_msg("%s", cr_graph_message(f->g));
    }
}

static void expect_error(fixture *f, cr_status status, const char *part)
{
    assert_int_equal(cr_graph_status(f->g), status);
    if (!strstr(cr_graph_message(f->g), part)) {
        fail_msg("\"%s\" does not say \"%s\"", cr_graph_message(f->g), part);
    }
    cr_graph_clear_error(f->g);
}

static void give(fixture *f, cr_ref p, unsigned rank, const int64_t *dim, const double *value)
{
    exec_array a;
    error e = {CR_OK, NULL};
    assert_true(exec_array_init(&a, rank, dim, &e));
    memcpy(a.value, value, a.n * sizeof *value);
    exec_bind(f->env, p, &a);
    exec_array_free(&a);
    check_ok(f);
}

#define GIVE(f, p, value, ...) \
    give(f, p, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__}, value)

static void give_scalar(fixture *f, cr_ref p, double v)
{
    give(f, p, 0, NULL, &v);
}

static exec_array value(fixture *f, cr_ref a)
{
    exec_array out;
    check_ok(f);
    cr_status s = exec_eval(f->g, f->env, a, &out);
    check_ok(f);
    assert_int_equal(s, CR_OK);
    return out;
}

static double scalar(fixture *f, cr_ref a)
{
    exec_array out = value(f, a);
    assert_int_equal(out.n, 1);
    double v = out.value[0];
    exec_array_free(&out);
    return v;
}

static void near(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance * fmax(1e-300, fabs(b))) && !(a == b) && !(isnan(a) && isnan(b))) {
        fail_msg("%.17g is not %.17g", a, b);
    }
}

static void expect_values(fixture *f, cr_ref a, size_t n, const double *want, double tolerance)
{
    exec_array out = value(f, a);
    assert_int_equal(out.n, n);
    for (size_t i = 0; i < n; i++) {
        if (!(fabs(out.value[i] - want[i]) <= tolerance * (1 + fabs(want[i])))) {
            fail_msg("entry %zu: %.17g is not %.17g", i, out.value[i], want[i]);
        }
    }
    exec_array_free(&out);
}

static uint32_t random_state = 1;
static double uniform(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) / 8388608.0 - 1;
}

static cr_ref new_scalar(fixture *f, const char *name)
{
    return cr_param(f->g, name, 0, NULL, 0);
}

static cr_ref constant_param(fixture *f, const char *name, unsigned rank, const int64_t *dim, const double *v)
{
    cr_dim d[CR_MAX_RANK];
    for (unsigned i = 0; i < rank; i++) {
        d[i] = cr_dim_const(f->g, dim[i]);
    }
    cr_ref p = cr_param(f->g, name, rank, d, 0);
    give(f, p, rank, dim, v);
    return p;
}
#define MATRIX(f, name, m, n, ...) constant_param(f, name, 2, (int64_t[]){m, n}, (double[]){__VA_ARGS__})
#define VECTOR(f, name, n, ...) constant_param(f, name, 1, (int64_t[]){n}, (double[]){__VA_ARGS__})

/* ---- kernels ------------------------------------------------------------------------------------ */

static void test_stable_kernels(void **state)
{
    fixture *f = *state;
    static const struct {
        cr_op op;
        double z, y;
    } row[] = {
        {CR_OP_DSIGMOID, 40, 4.2483542552915889e-18},
        {CR_OP_DSIGMOID, -40, 4.2483542552915889e-18},
        {CR_OP_SIGMOID, -800, 0},
        {CR_OP_SIGMOID, 800, 1},
        {CR_OP_SIGMOID, -40, 4.2483542552915889e-18},
        {CR_OP_DTANH, 300, 1.0601586212017243e-260},
        {CR_OP_DTANH, 0, 1},
        {CR_OP_DTANH, 1e308, 0},
        {CR_OP_SOFTPLUS, 1000, 1000},
        {CR_OP_SOFTPLUS, -50, 1.9287498479639178e-22},
        {CR_OP_SOFTPLUS, 0, 0.69314718055994531},
        {CR_OP_GELU, -10, -7.6198530241605261e-23},
        {CR_OP_GELU, -INFINITY, 0},
        {CR_OP_GELU, 2, 1.9544997361036416},
        {CR_OP_SILU, -INFINITY, 0},
        {CR_OP_SILU, 1, 0.73105857863000488},
        {CR_OP_RELU, -1, 0},
        {CR_OP_RELU, NAN, NAN},
        {CR_OP_STEP, 0, 0},
        {CR_OP_SIGN, 0, 0},
        {CR_OP_SIGN, -3, -1},
        {CR_OP_ELU, -1, -0.63212055882855768},
        {CR_OP_SELU, 1, 1.0507009873554805},
        {CR_OP_SELU, -1, -1.1113307378125628},
        {CR_OP_LOG, -1, NAN},
        {CR_OP_LOG, 0, -INFINITY},
        {CR_OP_SQRT, -1, NAN},
        {CR_OP_ABS, -INFINITY, INFINITY},
        {CR_OP_EXP, -INFINITY, 0},
    };
    cr_ref z = new_scalar(f, "z");
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        give_scalar(f, z, row[i].z);
        near(scalar(f, cr_map(f->g, row[i].op, z)), row[i].y, 1e-14);
    }
}

/* Every smooth kernel: the complex step and the series against central differences. */
static void test_slopes_agree(void **state)
{
    fixture *f = *state;
    static const cr_op ops[] = {CR_OP_EXP,   CR_OP_LOG,  CR_OP_SQRT, CR_OP_ABS,      CR_OP_RELU,    CR_OP_ELU,
                                CR_OP_SELU,  CR_OP_GELU, CR_OP_SILU, CR_OP_SOFTPLUS, CR_OP_SIGMOID, CR_OP_DSIGMOID,
                                CR_OP_SIN,   CR_OP_COS,  CR_OP_TAN,  CR_OP_SINH,     CR_OP_COSH,    CR_OP_TANH,
                                CR_OP_DTANH, CR_OP_ASIN, CR_OP_ACOS, CR_OP_ATAN,     CR_OP_ERF};
    cr_ref z = new_scalar(f, "z");
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        for (double at = -0.7; at < 1; at += 0.35) {
            double x = fabs(at) < 0.1 ? 0.05 : at, h = 1e-5, imag = 1e-100, one = 1;
            if (x < 0 && (ops[i] == CR_OP_LOG || ops[i] == CR_OP_SQRT)) {
                continue;
            }
            cr_ref y = cr_map(f->g, ops[i], z);
            give_scalar(f, z, x + h);
            double up = scalar(f, y);
            give_scalar(f, z, x - h);
            double slope = (up - scalar(f, y)) / (2 * h);
            give_scalar(f, z, x);
            exec_array re, im;
            exec_ray ray;
            assert_int_equal(exec_eval_complex(f->g, f->env, y, z, &imag, &re, &im), CR_OK);
            assert_int_equal(exec_one_sided(f->g, f->env, y, z, &one, &ray), CR_OK);
            near(re.value[0], scalar(f, y), 1e-14);
            near(ray.value.value[0], scalar(f, y), 1e-14);
            near(im.value[0] / imag, slope, 1e-7);
            near(ray.slope.value[0], im.value[0] / imag, 1e-12);
            assert_int_equal(ray.state[0], 0);
            exec_array_free(&re);
            exec_array_free(&im);
            exec_ray_free(&ray);
        }
    }
}

static void test_binary(void **state)
{
    fixture *f = *state;
    cr_ref a = new_scalar(f, "a"), b = new_scalar(f, "b");
    give_scalar(f, a, -2);
    give_scalar(f, b, 3);
    near(scalar(f, cr_pow(f->g, a, b)), -8, 0);
    near(scalar(f, cr_map2(f->g, CR_OP_MOD, a, b)), 1, 0);
    near(scalar(f, cr_map2(f->g, CR_OP_MAX2, a, b)), 3, 0);
    near(scalar(f, cr_map2(f->g, CR_OP_LT, a, b)), 1, 0);
    give_scalar(f, b, NAN);
    assert_true(isnan(scalar(f, cr_map2(f->g, CR_OP_MAX2, a, b))));
    near(scalar(f, cr_map2(f->g, CR_OP_LE, a, b)), 0, 0);
    near(scalar(f, cr_map2(f->g, CR_OP_NE, a, b)), 1, 0);
    /* the branch not taken may be anything */
    cr_ref yes = cr_map2(f->g, CR_OP_LT, a, cr_const(f->g, 0));
    near(scalar(f, cr_select(f->g, yes, a, b)), -2, 0);
}

static void test_softmax(void **state)
{
    fixture *f = *state;
    cr_ref x = VECTOR(f, "x", 3, 1000, 1000, -INFINITY);
    expect_values(f, cr_softmax(f->g, x, 0), 3, (double[]){0.5, 0.5, 0}, 0);
    cr_ref y = VECTOR(f, "y", 2, 0, 1000);
    expect_values(f, cr_logsoftmax(f->g, y, 0), 2, (double[]){-1000, 0}, 1e-15);
    cr_ref m = MATRIX(f, "m", 2, 2, 0, 5, 0, 5);
    expect_values(f, cr_softmax(f->g, m, 0), 4, (double[]){0.5, 0.5, 0.5, 0.5}, 1e-15);
}

static void test_norms(void **state)
{
    fixture *f = *state;
    cr_ref x = VECTOR(f, "x", 2, 3e200, -4e200), y = VECTOR(f, "y", 2, 3e-200, 4e-200);
    near(scalar(f, cr_reduce(f->g, CR_OP_NORM2, x, 0)), 5e200, 1e-15);
    near(scalar(f, cr_reduce(f->g, CR_OP_NORM2, y, 0)), 5e-200, 1e-15);
    near(scalar(f, cr_reduce(f->g, CR_OP_NORM1, x, 0)), 7e200, 1e-15);
    near(scalar(f, cr_reduce(f->g, CR_OP_NORM_INF, x, 0)), 4e200, 0);
}

/* ---- linear algebra ----------------------------------------------------------------------------- */

static void test_linalg(void **state)
{
    fixture *f = *state;
    cr_graph *g = f->g;
    cr_ref a = MATRIX(f, "a", 3, 3, 1, 2, 3, 4, 5, 6, 7, 8, 10);
    near(scalar(f, cr_linalg(g, CR_OP_DET, a)), -3, 1e-14);
    assert_true(isnan(scalar(f, cr_linalg(g, CR_OP_LOGDET, a))));
    expect_values(f, cr_linalg(g, CR_OP_ADJ, a), 9, (double[]){2, 4, -3, 2, -11, 6, -3, 6, -3}, 1e-13);
    exec_array inv = value(f, cr_linalg(g, CR_OP_INV, a));
    expect_values(f, cr_linalg(g, CR_OP_PINV, a), 9, inv.value, 1e-12);
    exec_array_free(&inv);
    /* rank 2: the adjugate has rank 1; rank 1: it is 0 */
    cr_ref s = MATRIX(f, "s", 3, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9);
    expect_values(f, cr_linalg(g, CR_OP_DET, s), 1, (double[]){0}, 1e-14);
    expect_values(f, cr_linalg(g, CR_OP_ADJ, s), 9, (double[]){-3, 6, -3, 6, -12, 6, -3, 6, -3}, 1e-13);
    cr_ref o = MATRIX(f, "o", 3, 3, 1, 2, 3, 2, 4, 6, 3, 6, 9);
    expect_values(f, cr_linalg(g, CR_OP_ADJ, o), 9, (double[]){0, 0, 0, 0, 0, 0, 0, 0, 0}, 1e-14);
    expect_values(f, cr_linalg(g, CR_OP_PINV, o), 9,
                  (double[]){1 / 196., 2 / 196., 3 / 196., 2 / 196., 4 / 196., 6 / 196., 3 / 196., 6 / 196., 9 / 196.},
                  1e-15);
    cr_ref z = MATRIX(f, "z", 2, 2, 0, 0, 0, 0);
    expect_values(f, cr_linalg(g, CR_OP_PINV, z), 4, (double[]){0, 0, 0, 0}, 0);
    cr_ref p = MATRIX(f, "p", 2, 2, 2, 1, 1, 1);
    near(scalar(f, cr_linalg(g, CR_OP_LOGDET, p)), 0, 0);
    expect_values(f, cr_matpow(g, p, cr_dim_const(g, 5)), 4, (double[]){89, 55, 55, 34}, 1e-15);
    expect_values(f, cr_matpow(g, p, cr_dim_const(g, -2)), 4, (double[]){2, -3, -3, 5}, 1e-13);
    cr_ref w = MATRIX(f, "w", 1, 2, 3, 4);
    expect_values(f, cr_linalg(g, CR_OP_PINV, w), 2, (double[]){3 / 25., 4 / 25.}, 1e-15);
}

/* det along a ray through singular matrices is a polynomial: its slope there is tr(adj(X) V). */
static void test_det_slope_at_singular(void **state)
{
    fixture *f = *state;
    cr_ref s = MATRIX(f, "s", 3, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9), z = MATRIX(f, "z", 2, 2, 0, 0, 0, 0);
    double v[9] = {1, 0, 0, 0, 0, 0, 0, 0, 0}, one[4] = {1, 0, 0, 1};
    exec_ray r;
    assert_int_equal(exec_one_sided(f->g, f->env, cr_linalg(f->g, CR_OP_DET, s), s, v, &r), CR_OK);
    near(r.slope.value[0], -3, 1e-10);
    assert_int_equal(r.state[0], 0);
    exec_ray_free(&r);
    assert_int_equal(exec_one_sided(f->g, f->env, cr_linalg(f->g, CR_OP_DET, z), z, one, &r), CR_OK);
    assert_int_equal(r.state[0], 0);
    assert_true(r.slope.value[0] == 0);
    exec_ray_free(&r);
    assert_int_equal(exec_one_sided(f->g, f->env, cr_linalg(f->g, CR_OP_ADJ, z), z, v, &r), CR_OK);
    static const double want[4] = {0, 0, 0, 1};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(r.state[i], 0);
        assert_true(r.slope.value[i] == want[i]);
    }
    exec_ray_free(&r);
    assert_int_equal(exec_one_sided(f->g, f->env, cr_linalg(f->g, CR_OP_INV, z), z, one, &r), CR_OK);
    assert_int_equal(r.state[0], 1);
    exec_ray_free(&r);
}

/* ---- einsum ------------------------------------------------------------------------------------- */

enum { MAX_LABELS = 5 };

/* Random einsums of 1 to 4 operands, deltas among them, against one loop over all labels. */
static void test_einsum_random(void **state)
{
    fixture *f = *state;
    cr_graph *g = f->g;
    for (int trial = 0; trial < 1000; trial++) {
        unsigned n_labels = 1 + (unsigned)((uniform() + 1) * 2.49), n_op = 1 + (unsigned)((uniform() + 1) * 1.99);
        unsigned rank = (unsigned)((uniform() + 1) * 0.5 * (n_labels + 0.99));
        int64_t size[MAX_LABELS];
        cr_dim shape[MAX_LABELS];
        for (unsigned k = 0; k < n_labels; k++) {
            size[k] = 1 + (int64_t)((uniform() + 1) * 1.99);
            shape[k] = cr_dim_const(g, size[k]);
        }
        cr_ref op[4];
        double entry[4][256];
        uint8_t label[16], *at = label;
        unsigned op_rank[4];
        bool used[MAX_LABELS] = {false};
        for (unsigned i = 0; i < n_op; i++) {
            int64_t dim[4] = {1, 1, 1, 1};
            size_t n = 1;
            double kind = uniform();
            op_rank[i] = kind > 0.7 ? 2 : kind > 0.4 ? 1 : (unsigned)((uniform() + 1) * 1.99);
            for (unsigned k = 0; k < op_rank[i]; k++) {
                *at = (uint8_t)((uniform() + 1) * 0.4999 * n_labels);
                used[*at] = true;
                dim[k] = size[*at++];
                n *= (size_t)dim[k];
            }
            if (op_rank[i] == 2 && kind > 0.7 && dim[0] == dim[1]) {
                op[i] = cr_identity(g, cr_dim_const(g, dim[0]));
                for (size_t k = 0; k < n; k++) {
                    entry[i][k] = k % (size_t)(dim[0] + 1) == 0;
                }
            } else if (op_rank[i] == 1 && kind > 0.4) {
                op[i] = cr_onehot(g, cr_dim_const(g, dim[0]), cr_dim_const(g, dim[0]));
                for (size_t k = 0; k < n; k++) {
                    entry[i][k] = k + 1 == n;
                }
            } else {
                char name[32];
                snprintf(name, sizeof name, "t%d_%u", trial, i);
                for (size_t k = 0; k < n; k++) {
                    entry[i][k] = uniform();
                }
                op[i] = constant_param(f, name, op_rank[i], dim, entry[i]);
            }
        }
        /* summed labels that no operand has do not exist in a node */
        cr_ref y = cr_einsum(g, n_op, op, label, rank, shape);
        check_ok(f);
        double want[4 * 4 * 4 * 4 * 4] = {0};
        int64_t index[MAX_LABELS] = {0};
        for (;;) {
            double p = 1;
            at = label;
            for (unsigned i = 0; i < n_op; i++) {
                size_t pos = 0;
                for (unsigned k = 0; k < op_rank[i]; k++, at++) {
                    pos = pos * (size_t)size[*at] + (size_t)index[*at];
                }
                p *= entry[i][pos];
            }
            size_t to = 0;
            for (unsigned k = 0; k < rank; k++) {
                to = to * (size_t)size[k] + (size_t)index[k];
            }
            want[to] += p;
            unsigned k = n_labels;
            while (k > 0 && ((k > rank && !used[k - 1]) || ++index[k - 1] == size[k - 1])) {
                index[--k] = 0;
            }
            if (k == 0) {
                break;
            }
        }
        size_t n = 1;
        for (unsigned k = 0; k < rank; k++) {
            n *= (size_t)size[k];
        }
        expect_values(f, y, n, want, 1e-13);
    }
}

static void test_deltas_select(void **state)
{
    fixture *f = *state;
    cr_graph *g = f->g;
    cr_ref x = VECTOR(f, "x", 3, INFINITY, 2, NAN);
    cr_dim three = cr_dim_const(g, 3), j = cr_dim_symbol(g, "j");
    cr_ref xj = cr_index(g, x, 1, &j), e = cr_onehot(g, j, three), eye = cr_identity(g, three);
    exec_bind_int(f->env, name_intern(g->dims, "j", 1), 2);
    near(scalar(f, xj), 2, 0);
    expect_values(f, cr_einsum(g, 2, (cr_ref[]){x, e}, (uint8_t[]){0, 0}, 1, &three), 3, (double[]){0, 2, 0}, 0);
    /* diag(x): nothing off the diagonal is multiplied */
    exec_array d = value(f, cr_einsum(g, 2, (cr_ref[]){x, eye}, (uint8_t[]){0, 0, 1}, 2, (cr_dim[]){three, three}));
    assert_true(isinf(d.value[0]) && d.value[4] == 2 && isnan(d.value[8]) && d.value[1] == 0 && d.value[2] == 0 &&
                d.value[6] == 0);
    exec_array_free(&d);
    expect_values(f, e, 3, (double[]){0, 1, 0}, 0);
    expect_values(f, cr_einsum(g, 1, &eye, (uint8_t[]){0, 0}, 0, NULL), 1, (double[]){3}, 0);
    exec_bind_int(f->env, name_intern(g->dims, "j", 1), 4);
    exec_array out;
    assert_int_equal(exec_eval(g, f->env, xj, &out), CR_EVALUE);
    expect_error(f, CR_EVALUE, "j = 4 is not in 1..3");
}

/* ---- sizes, binders, functions, depth ------------------------------------------------------------ */

static void test_sizes(void **state)
{
    fixture *f = *state;
    cr_graph *g = f->g;
    cr_dim n = cr_dim_symbol(g, "n"), two_n1 = cr_dim_add(g, cr_dim_mul(g, cr_dim_const(g, 2), n), cr_dim_const(g, 1));
    cr_ref x = cr_param(g, "x", 1, &n, 0), y = cr_param(g, "y", 1, &two_n1, 0);
    GIVE(f, y, ((double[]){1, 2, 3, 4, 5}), 5);
    int64_t v = 0;
    assert_true(exec_int(f->env, name_intern(g->dims, "n", 1), &v));
    assert_int_equal(v, 2);
    exec_array a;
    error e = {CR_OK, NULL};
    int64_t four = 4;
    assert_true(exec_array_init(&a, 1, &four, &e));
    assert_int_equal(exec_bind(f->env, x, &a), CR_EVALUE);
    expect_error(f, CR_EVALUE, "x has 4 rows but y has 5 rows (n)");
    exec_array_free(&a);
    exec_array out;
    assert_int_equal(exec_eval(g, f->env, cr_sum(g, x), &out), CR_EVALUE);
    expect_error(f, CR_EVALUE, "x has no value");
    assert_int_equal(exec_eval(g, f->env, cr_int(g, cr_dim_symbol(g, "q")), &out), CR_EVALUE);
    expect_error(f, CR_EVALUE, "q has no value");
    assert_false(exec_array_init(&a, 2, (int64_t[]){1 << 30, 1 << 30}, &e));
    assert_int_equal(e.status, CR_ELIMIT);
    err_clear(&e);
}

static void test_binders(void **state)
{
    fixture *f = *state;
    cr_graph *g = f->g;
    cr_dim two = cr_dim_const(g, 2), four = cr_dim_const(g, 4), i = cr_dim_symbol(g, "i"), k = cr_dim_symbol(g, "k");
    cr_ref x = VECTOR(f, "x", 4, 1, 2, 3, 5), shared = cr_map(g, CR_OP_EXP, cr_sum(g, x));
    cr_ref xi = cr_index(g, x, 1, &i), xk = cr_index(g, x, 1, &k);
    near(scalar(f, cr_bind(g, CR_BIND_SUM, "i", two, four, cr_mul(g, shared, xi))), 10 * exp(11), 1e-15);
    near(scalar(f, cr_bind(g, CR_BIND_PROD, "i", two, four, xi)), 30, 0);
    near(scalar(f, cr_bind(g, CR_BIND_MAX, "i", two, four, cr_neg(g, xi))), -2, 0);
    expect_values(f, cr_bind(g, CR_BIND_STACK, "i", two, four, cr_mul(g, xi, xi)), 3, (double[]){4, 9, 25}, 0);
    /* a range that depends on the index outside */
    cr_ref inner = cr_bind(g, CR_BIND_SUM, "k", i, four, cr_mul(g, xk, xi));
    near(scalar(f, cr_bind(g, CR_BIND_SUM, "i", two, four, inner)), 2 * 10 + 3 * 8 + 5 * 5, 0);
    cr_ref power = cr_bind(g, CR_BIND_SUM, "i", two, four, cr_pow(g, cr_const(g, 2), cr_int(g, i)));
    near(scalar(f, cr_add(g, power, inner == CR_NONE ? inner : power)), 56, 0);
}

static double cubic(void *user, unsigned order, double z)
{
    const double value[] = {z * z * z, 3 * z * z, 6 * z, 6};
    (void)user;
    return order < 4 ? value[order] : 0;
}

static void test_functions(void **state)
{
    fixture *f = *state;
    cr_graph *g = f->g;
    cr_ref x = VECTOR(f, "x", 3, -1, 2, 3), z = new_scalar(f, "z"), s = new_scalar(f, "s");
    cr_fun sigma = cr_fun_unknown(g, "sigma");
    exec_array out;
    assert_int_equal(exec_eval(g, f->env, cr_call(g, sigma, 0, x), &out), CR_EVALUE);
    expect_error(f, CR_EVALUE, "sigma has no value");
    exec_bind_fun(f->env, sigma, cubic, NULL);
    expect_values(f, cr_call(g, sigma, 0, x), 3, (double[]){-1, 8, 27}, 0);
    expect_values(f, cr_call(g, sigma, 2, x), 3, (double[]){-6, 12, 18}, 0);
    exec_ray r;
    assert_int_equal(exec_one_sided(g, f->env, cr_call(g, sigma, 1, x), x, (double[]){1, 0, 2}, &r), CR_OK);
    assert_true(r.slope.value[0] == -6 && r.slope.value[1] == 0 && r.slope.value[2] == 36);
    exec_ray_free(&r);
    give_scalar(f, s, 10);
    cr_fun fun = cr_fun_known(g, "f", z, cr_mul(g, cr_mul(g, z, z), s));
    expect_values(f, cr_call(g, fun, 0, cr_call(g, fun, 0, x)), 3, (double[]){1000, 16000, 81000}, 1e-15);
    expect_values(f, cr_call(g, fun, 1, x), 3, (double[]){-20, 40, 60}, 1e-15);
}

static void test_deep_chain(void **state)
{
    fixture *f = *state;
    cr_ref x = new_scalar(f, "x"), y = x;
    give_scalar(f, x, 0.5);
    for (int i = 0; i < 200000; i++) {
        y = cr_map(f->g, i % 2 ? CR_OP_SIN : CR_OP_TANH, y);
    }
    double v = scalar(f, y), want = 0.5, one = 1;
    for (int i = 0; i < 200000; i++) {
        want = i % 2 ? sin(want) : tanh(want);
    }
    assert_true(v == want);
    exec_ray r;
    assert_int_equal(exec_one_sided(f->g, f->env, y, x, &one, &r), CR_OK);
    assert_int_equal(r.state[0], 0);
    exec_ray_free(&r);
}

/* ---- one-sided derivatives ------------------------------------------------------------------------ */

typedef struct ray_case {
    double slope;
    int state;
} ray_case;

static void expect_ray(fixture *f, cr_ref y, cr_ref x, const double *v, double slope, int state)
{
    exec_ray r;
    check_ok(f);
    exec_one_sided(f->g, f->env, y, x, v, &r);
    check_ok(f);
    assert_int_equal(r.state[0], state);
    if (state == 0 || isinf(slope)) {
        if (!(fabs(r.slope.value[0] - slope) <= 1e-14) && r.slope.value[0] != slope) {
            fail_msg("slope %g is not %g", r.slope.value[0], slope);
        }
    }
    exec_ray_free(&r);
}

static void test_kinks(void **state)
{
    fixture *f = *state;
    cr_graph *g = f->g;
    cr_ref x = new_scalar(f, "x"), zero = cr_const(g, 0), two = cr_const(g, 2), half = cr_const(g, 0.5);
    cr_ref square = cr_pow(g, x, two), relu = cr_map(g, CR_OP_RELU, x), cube = cr_mul(g, x, square);
    cr_ref step = cr_map(g, CR_OP_STEP, x), root = cr_map(g, CR_OP_SQRT, x);
    double up = 1, down = -1, none = 0;
    give_scalar(f, x, 0);
    struct {
        cr_ref y;
        ray_case up, down;
    } row[] = {
        {relu, {1, 0}, {0, 0}},
        {cr_map(g, CR_OP_ABS, x), {1, 0}, {1, 0}},
        {cr_pow(g, relu, two), {0, 0}, {0, 0}},
        {cr_map(g, CR_OP_SQRT, square), {1, 0}, {1, 0}},
        {cr_sub(g, relu, cr_map(g, CR_OP_RELU, cr_neg(g, x))), {1, 0}, {-1, 0}},
        {cr_map(g, CR_OP_ELU, x), {1, 0}, {-1, 0}},
        {cr_map(g, CR_OP_SIGMOID, x), {0.25, 0}, {-0.25, 0}},
        {step, {INFINITY, 1}, {0, 0}},
        {cr_map(g, CR_OP_SIGN, x), {INFINITY, 1}, {-INFINITY, 1}},
        {cr_mul(g, step, x), {1, 0}, {0, 0}},
        {cr_mul(g, cr_map(g, CR_OP_SIGN, x), x), {1, 0}, {1, 0}},
        {root, {INFINITY, 1}, {NAN, 1}},
        {cr_mul(g, root, root), {0, 2}, {NAN, 1}},
        {cr_mul(g, root, x), {0, 0}, {NAN, 1}},
        {cr_map(g, CR_OP_SQRT, cube), {0, 0}, {NAN, 1}},
        {cr_add(g, root, x), {INFINITY, 1}, {NAN, 1}},
        {cr_map(g, CR_OP_LOG, x), {0, 1}, {0, 1}},
        {cr_pow(g, x, cr_const(g, 1.5)), {0, 0}, {NAN, 1}},
        {cr_pow(g, x, cr_const(g, 3)), {0, 0}, {0, 0}},
        {cr_pow(g, cr_map(g, CR_OP_ABS, x), half), {INFINITY, 1}, {INFINITY, 1}},
        {cr_div(g, cr_const(g, 1), x), {0, 1}, {0, 1}},
        {cr_select(g, cr_map2(g, CR_OP_EQ, x, zero), cr_const(g, 1), cr_div(g, cr_map(g, CR_OP_SIN, x), x)),
         {0, 0},
         {0, 0}},
        {cr_select(g, cr_map2(g, CR_OP_LT, x, zero), zero, x), {1, 0}, {0, 0}},
        {cr_map2(g, CR_OP_MAX2, x, cr_mul(g, two, x)), {2, 0}, {-1, 0}},
        {cr_map2(g, CR_OP_MIN2, x, square), {0, 0}, {-1, 0}},
        {cr_map(g, CR_OP_RELU, cr_sub(g, square, cube)), {0, 0}, {0, 0}},
        {cr_map2(g, CR_OP_MOD, x, cr_const(g, 1)), {1, 0}, {INFINITY, 1}},
        {cr_map(g, CR_OP_RELU, cr_map(g, CR_OP_LOG, x)), {0, 0}, {0, 1}},
        {cr_map(g, CR_OP_ASIN, cr_add(g, cr_const(g, -1), x)), {INFINITY, 1}, {NAN, 1}},
        {cr_map(g, CR_OP_ACOS, cr_sub(g, cr_const(g, 1), square)), {1.4142135623730951, 0}, {1.4142135623730951, 0}},
        {cr_map(g, CR_OP_EXP, root), {INFINITY, 1}, {NAN, 1}},
        {cr_map(g, CR_OP_COS, root), {-0.5, 2}, {NAN, 1}},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        expect_ray(f, row[i].y, x, &up, row[i].up.slope, row[i].up.state);
        expect_ray(f, row[i].y, x, &down, row[i].down.slope, row[i].down.state);
    }
    expect_ray(f, cr_map(g, CR_OP_SQRT, square), x, &none, 0, 0);
}

static void test_kinks_of_several(void **state)
{
    fixture *f = *state;
    cr_graph *g = f->g;
    cr_dim two = cr_dim_const(g, 2), i[] = {cr_dim_const(g, 1), cr_dim_const(g, 2)};
    cr_ref v = cr_param(g, "v", 1, &two, 0), x = cr_index(g, v, 1, &i[0]), y = cr_index(g, v, 1, &i[1]);
    GIVE(f, v, ((double[]){0, 0}), 2);
    /* |x+y| - |x-y|: all partials 0, along (1,1) the slope is 2 */
    cr_ref h = cr_sub(g, cr_map(g, CR_OP_ABS, cr_add(g, x, y)), cr_map(g, CR_OP_ABS, cr_sub(g, x, y)));
    expect_ray(f, h, v, (double[]){1, 0}, 0, 0);
    expect_ray(f, h, v, (double[]){0, -1}, 0, 0);
    expect_ray(f, h, v, (double[]){1, 1}, 2, 0);
    expect_ray(f, h, v, (double[]){1, -1}, -2, 0);
    expect_ray(f, cr_reduce(g, CR_OP_NORM2, v, 0), v, (double[]){3, -4}, 5, 0);
    expect_ray(f, cr_reduce(g, CR_OP_NORM1, v, 0), v, (double[]){3, -4}, 7, 0);
    expect_ray(f, cr_reduce(g, CR_OP_MAXR, v, 0), v, (double[]){3, -4}, 3, 0);
    expect_ray(f, cr_reduce(g, CR_OP_NORM_INF, v, 0), v, (double[]){3, -4}, 4, 0);
    exec_ray r;
    exec_one_sided(g, f->env, cr_map(g, CR_OP_RELU, v), v, (double[]){1, 1}, &r);
    assert_int_equal(r.on_kink, 2);
    assert_int_equal(r.near_kink, 0);
    exec_ray_free(&r);
    /* 1e16 + 0.3 - 1e16 is 0 in doubles: that is a rounding error, not a number */
    GIVE(f, v, ((double[]){1e16, 0.3}), 2);
    exec_one_sided(g, f->env, cr_map(g, CR_OP_RELU, cr_sub(g, cr_add(g, x, y), cr_const(g, 1e16))), v, (double[]){1, 1},
                   &r);
    assert_int_equal(r.on_kink, 0);
    assert_int_equal(r.near_kink, 1);
    exec_ray_free(&r);
}

/* ---- memory --------------------------------------------------------------------------------------- */

static cr_graph *scarce; /* of the test below: built once, evaluated with ever fewer allocations refused */
static cr_ref scarce_expr, scarce_x;

static void evaluate_scarcely(const bool *refused)
{
    exec_env *env = exec_env_new(scarce);
    exec_array a = {0};
    exec_ray r = {0};
    exec_array x = {.rank = 1, .dim = {3}, .n = 3, .value = (double[]){1, 2, 3}};
    cr_status s = env ? exec_bind(env, scarce_x, &x) : CR_ENOMEM;
    if (s == CR_OK) {
        s = exec_eval(scarce, env, scarce_expr, &a);
    }
    if (s == CR_OK) {
        s = exec_one_sided(scarce, env, scarce_expr, scarce_x, x.value, &r);
    }
    assert_int_equal(s, *refused ? CR_ENOMEM : CR_OK);
    exec_array_free(&a);
    exec_ray_free(&r);
    exec_env_free(env);
    cr_graph_clear_error(scarce);
}

static void test_allocation_failure(void **state)
{
    fixture *f = *state;
    cr_graph *g = scarce = f->g;
    cr_dim three = cr_dim_const(g, 3), two = cr_dim_const(g, 2), i = cr_dim_symbol(g, "i");
    cr_ref x = scarce_x = cr_param(g, "x", 1, &three, 0), z = new_scalar(f, "z");
    cr_fun fun = cr_fun_known(g, "f", z, cr_mul(g, z, z));
    cr_ref outer = cr_einsum(g, 3, (cr_ref[]){x, x, x}, (uint8_t[]){0, 1, 2}, 2, (cr_dim[]){three, three});
    cr_ref shifted = cr_add(g, outer, cr_identity(g, three));
    cr_ref sum = cr_bind(g, CR_BIND_SUM, "i", two, three, cr_pow(g, cr_index(g, x, 1, &i), cr_int(g, i)));
    scarce_expr = cr_add_n(g, 3, (cr_ref[]){cr_linalg(g, CR_OP_DET, shifted), sum, cr_sum(g, cr_call(g, fun, 0, x))});
    check_ok(f);
    each_allocation_fails(evaluate_scarcely);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(stable_kernels), TEST(slopes_agree), TEST(binary), TEST(softmax), TEST(norms), TEST(linalg),
        TEST(det_slope_at_singular), TEST(einsum_random), TEST(deltas_select), TEST(sizes), TEST(binders),
        TEST(functions), TEST(deep_chain), TEST(kinks), TEST(kinks_of_several), TEST(allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
