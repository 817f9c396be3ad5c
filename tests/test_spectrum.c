/* Singular values of Jacobians: matrices of known spectra, whole against steps, networks; Hessian-vector products. */
#include "unit.h"

#include "plan/plan.h"
#include "kernel/libraries.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ------------------------------------------------------------------------------------ */

static double random_number(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 11) * 0x1p-52 - 1;
}

static void randomise(size_t n, double scale, uint64_t seed, double *a)
{
    for (size_t i = 0; i < n; i++) a[i] = scale * random_number(&seed);
}

/* a (m x n) reflected at a random vector from the left and from the right: the same singular values. */
static void reflect(size_t m, size_t n, uint64_t seed, double *a)
{
    double *u = malloc(m * sizeof *u), *v = malloc(n * sizeof *v), square = 0;
    randomise(m, 1, seed, u);
    randomise(n, 1, seed + 1, v);
    for (size_t i = 0; i < m; i++) square += u[i] * u[i];
    for (size_t j = 0; j < n; j++) {
        double sum = 0;
        for (size_t i = 0; i < m; i++) sum += u[i] * a[i * n + j];
        for (size_t i = 0; i < m; i++) a[i * n + j] -= 2 * sum / square * u[i];
    }
    square = 0;
    for (size_t j = 0; j < n; j++) square += v[j] * v[j];
    for (size_t i = 0; i < m; i++) {
        double sum = 0;
        for (size_t j = 0; j < n; j++) sum += a[i * n + j] * v[j];
        for (size_t j = 0; j < n; j++) a[i * n + j] -= 2 * sum / square * v[j];
    }
    free(u);
    free(v);
}

/* ---- y = A x with A an input -------------------------------------------------------------------- */

typedef struct linear {
    cr_graph *g;
    cr_ref y, x;
    size_t m, n;
} linear;

static linear linear_new(size_t m, size_t n)
{
    linear p = {.g = cr_graph_new(), .m = m, .n = n};
    assert_non_null(p.g);
    cr_dim dim[] = {cr_dim_const(p.g, (int64_t)m), cr_dim_const(p.g, (int64_t)n)};
    cr_ref a = cr_param(p.g, "A", 2, dim, 0);
    p.x = cr_param(p.g, "x", 1, &dim[1], 0);
    p.y = cr_einsum(p.g, 2, (cr_ref[]){a, p.x}, (uint8_t[]){0, 1, 1}, 1, dim);
    return p;
}

static cr_status values_of(const linear *p, const double *a, const cr_spectrum_options *o, double *value, double *bound)
{
    cr_spectrum *s;
    cr_precision precision = o->plan ? o->plan->precision : CR_F32;
    float *narrow = malloc(p->m * p->n * sizeof *narrow);
    for (size_t i = 0; i < p->m * p->n; i++) narrow[i] = (float)a[i];
    if (cr_spectrum_new(p->g, p->y, p->x, 0, NULL, o, &s) != CR_OK) fail_msg("%s", cr_graph_message(p->g));
    assert_int_equal(cr_spectrum_rows(s), p->m);
    assert_int_equal(cr_spectrum_columns(s), p->n);
    assert_int_equal(cr_spectrum_inputs(s), 1);
    assert_int_equal(cr_spectrum_input(s, "A"), 0);
    assert_int_equal(cr_spectrum_input_count(s, 0), p->m * p->n);
    cr_slab *slab = cr_spectrum_slab(s);
    assert_non_null(slab);
    const void *in[] = {precision == CR_F64 ? (const void *)a : narrow};
    cr_status status = cr_spectrum_run(s, slab, in, value, bound);
    cr_slab_free(slab);
    cr_spectrum_free(s);
    free(narrow);
    return status;
}

enum { MOST = 80 };

/* A matrix with the singular values `want`, whole and by steps, in both precisions. */
static void check_matrix(const char *what, size_t m, size_t n, size_t k, const double *want)
{
    size_t rank = m < n ? m : n;
    double *a = calloc(m * n, sizeof *a), value[MOST], bound[MOST];
    for (size_t i = 0; i < rank; i++) a[i * n + i] = i % 2 ? -want[i] : want[i];
    for (uint64_t seed = 0; seed < 4; seed++) reflect(m, n, 17 * seed + 3, a);
    linear p = linear_new(m, n);
    for (unsigned i = 0; i < 8; i++) {
        cr_plan_options plan = {.precision = i & 1 ? CR_F32 : CR_F64, .threads = 1 + (i >> 1 & 1)};
        cr_spectrum_options o = {.k = i & 4 ? (unsigned)k : 0, .whole = i & 4 ? 1 : 0, .plan = &plan, .seed = i,
                                 .tolerance = 1e-10};
        size_t count = i & 4 ? k : rank;
        double tolerance = (i & 1 ? 1e-5 : 1e-12) * (want[0] > 0 ? want[0] : 1);
        assert_true(count <= MOST);
        assert_int_equal(values_of(&p, a, &o, value, bound), CR_OK);
        for (size_t j = 0; j < count; j++) {
            if (!(fabs(value[j] - want[j]) <= tolerance)) {
                fail_msg("%s, way %u: value %zu is %.17g, not %.17g", what, i, j, value[j], want[j]);
            }
            /* The rounding of the input and of the products is more than one unit. */
            assert_true(fabs(value[j] - want[j]) <= 100 * bound[j] + 1e-300);
        }
    }
    cr_graph_free(p.g);
    free(a);
}

static void test_known(void **state)
{
    (void)state;
    double s[MOST];
    for (size_t i = 0; i < MOST; i++) s[i] = pow(0.7, (double)i);
    check_matrix("decaying", 40, 40, 5, s);
    check_matrix("tall", 200, 30, 5, s);
    check_matrix("wide", 30, 200, 5, s);
    check_matrix("row", 1, 9, 1, s);
    check_matrix("column", 9, 1, 1, s);
    check_matrix("one", 1, 1, 1, s);
    for (size_t i = 0; i < MOST; i++) s[i] = 3;
    check_matrix("orthogonal", 30, 30, 20, s);
    check_matrix("orthogonal columns", 70, 30, 30, s);
    for (size_t i = 0; i < MOST; i++) s[i] = i < 4 ? 2 - (double)i / 7 : 0;
    check_matrix("of rank 4", 40, 50, 10, s);
    check_matrix("of rank 4, tall", 75, 40, 38, s);
    for (size_t i = 0; i < MOST; i++) s[i] = 0;
    check_matrix("zero", 20, 30, 3, s);
    for (size_t i = 0; i < MOST; i++) s[i] = i < 12 ? 1 + 1e-9 * (double)(12 - i) : 0.5 / (double)i;
    check_matrix("clustered", 60, 64, 16, s);
    for (size_t i = 0; i < MOST; i++) s[i] = 1e-30 * pow(0.5, (double)i);
    check_matrix("small", 50, 40, 6, s);
}

/* Doubles far below those whose squares are doubles. */
static void test_tiny(void **state)
{
    (void)state;
    enum { N = 30 };
    double a[N * N] = {0}, value[N], bound[N];
    for (size_t i = 0; i < N; i++) a[i * N + i] = 1e-250 / (double)(1 + i);
    reflect(N, N, 5, a);
    linear p = linear_new(N, N);
    cr_plan_options plan = {.precision = CR_F64, .threads = 1};
    for (unsigned whole = 0; whole < 2; whole++) {
        cr_spectrum_options o = {.k = 4, .whole = whole, .plan = &plan};
        assert_int_equal(values_of(&p, a, &o, value, bound), CR_OK);
        for (size_t i = 0; i < 4; i++) assert_true(fabs(value[i] * 1e250 - 1 / (double)(1 + i)) < 1e-11);
    }
    cr_graph_free(p.g);
}

static void test_not_finite(void **state)
{
    (void)state;
    enum { M = 20, N = 24 };
    static const double odd[] = {NAN, INFINITY, -INFINITY};
    double a[M * N], value[M], bound[M];
    linear p = linear_new(M, N);
    for (unsigned i = 0; i < 12; i++) {
        cr_plan_options plan = {.precision = i & 1 ? CR_F32 : CR_F64, .threads = 1};
        cr_spectrum_options o = {.k = 3, .whole = i >> 1 & 1, .plan = &plan};
        randomise(M * N, 1, i, a);
        a[M * N / 2 + i] = odd[i >> 2];
        assert_int_equal(values_of(&p, a, &o, value, bound), CR_EVALUE);
        for (size_t j = 0; j < 3; j++) assert_true(isnan(value[j]) && isnan(bound[j]));
    }
    cr_graph_free(p.g);
}

/* ---- networks ----------------------------------------------------------------------------------- */

typedef struct network {
    cr_graph *g;
    cr_ref x, y;
    double *weight[40]; /* of the inputs by their numbers in `spectrum` */
    const void *in[40];
} network;

/* y of `widths[layers]` entries: layers of weights W1, W2, ... and an activation (linear: none). */
static network network_new(unsigned layers, const int64_t *width, cr_op activation)
{
    network p = {.g = cr_graph_new()};
    assert_non_null(p.g);
    cr_dim n = cr_dim_const(p.g, width[0]);
    cr_ref h = p.x = cr_param(p.g, "x", 1, &n, 0);
    for (unsigned i = 0; i < layers; i++) {
        char name[16];
        cr_dim dim[] = {cr_dim_const(p.g, width[i + 1]), cr_dim_const(p.g, width[i])};
        snprintf(name, sizeof name, "W%u", i + 1);
        h = cr_matmul(p.g, cr_param(p.g, name, 2, dim, 0), h);
        if (activation) h = cr_map(p.g, activation, h);
    }
    p.y = h;
    return p;
}

static void network_fill(network *p, const cr_spectrum *s)
{
    unsigned n = cr_spectrum_inputs(s);
    assert_true(n <= 40);
    for (unsigned i = 0; i < n; i++) {
        const char *name = cr_spectrum_input_name(s, i);
        size_t count = cr_spectrum_input_count(s, i);
        assert_int_equal(cr_spectrum_input(s, name), i);
        p->weight[i] = realloc(p->weight[i], count * sizeof(double));
        double scale = name[0] == 'x' ? 1 : 1.6 / sqrt(sqrt((double)count));
        randomise(count, scale, (uint64_t)atoi(name + 1) + 7, p->weight[i]);
        p->in[i] = p->weight[i];
    }
}

static void network_free(network *p)
{
    for (unsigned i = 0; i < 40; i++) free(p->weight[i]);
    cr_graph_free(p->g);
}

static cr_spectrum *spectrum_of(network *p, const cr_spectrum_options *o)
{
    cr_spectrum *s;
    if (cr_spectrum_new(p->g, p->y, p->x, 0, NULL, o, &s) != CR_OK) fail_msg("%s", cr_graph_message(p->g));
    network_fill(p, s);
    return s;
}

/* Steps agree with the whole matrix to 1e-6 of the largest value, as do their bounds; runs agree to the bit. */
static void test_networks(void **state)
{
    (void)state;
    static const struct { unsigned layers; int64_t width[12]; cr_op activation; } shape[] = {
        {1, {90, 70}, CR_OP_NONE},
        {4, {90, 120, 80, 60, 100}, CR_OP_NONE},
        {8, {64, 64, 64, 64, 64, 64, 64, 64, 64}, CR_OP_NONE},
        {5, {300, 90, 80, 70, 60, 150}, CR_OP_TANH},
        {3, {30, 90, 80, 200}, CR_OP_SIGMOID},
        {3, {100, 40, 7, 100}, CR_OP_RELU},
    };
    cr_plan_options plan = {.precision = CR_F64, .threads = 1};
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
        double all[200], value[2][10], bound[10];
        network p = network_new(shape[i].layers, shape[i].width, shape[i].activation);
        cr_spectrum *whole = spectrum_of(&p, &(cr_spectrum_options){.plan = &plan});
        cr_slab *slab = cr_spectrum_slab(whole);
        assert_true(cr_spectrum_whole(whole));
        assert_int_equal(cr_spectrum_run(whole, slab, p.in, all, NULL), CR_OK);
        cr_slab_free(slab);
        cr_spectrum_free(whole);
        for (unsigned block = 1; block <= 12; block += 3) {
            cr_spectrum_options o = {.k = 10, .whole = 1, .block = block, .steps = 60, .plan = &plan, .seed = block};
            cr_spectrum *s = spectrum_of(&p, &o);
            slab = cr_spectrum_slab(s);
            assert_false(cr_spectrum_whole(s));
            assert_int_equal(cr_spectrum_count(s), 10);
            for (unsigned k = 0; k < 2; k++) assert_int_equal(cr_spectrum_run(s, slab, p.in, value[k], bound), CR_OK);
            assert_memory_equal(value[0], value[1], sizeof value[0]);
            for (size_t j = 0; j < 10; j++) {
                assert_true(fabs(value[0][j] - all[j]) <= 1e-6 * all[0]);
                assert_true(fabs(value[0][j] - all[j]) <= bound[j] + 1e-13 * all[0]);
            }
            cr_slab_free(slab);
            cr_spectrum_free(s);
        }
        network_free(&p);
    }
}

/* Steps that are not enough say so. */
static void test_too_few(void **state)
{
    (void)state;
    network p = network_new(1, (int64_t[]){300, 300}, CR_OP_NONE);
    cr_plan_options plan = {.precision = CR_F64, .threads = 1};
    double all[300], value[20], bound[20];
    cr_spectrum *whole = spectrum_of(&p, &(cr_spectrum_options){.plan = &plan});
    cr_spectrum *s = spectrum_of(&p, &(cr_spectrum_options){.k = 20, .whole = 1, .steps = 4, .plan = &plan});
    cr_slab *slab[] = {cr_spectrum_slab(whole), cr_spectrum_slab(s)};
    assert_int_equal(cr_spectrum_run(whole, slab[0], p.in, all, NULL), CR_OK);
    assert_int_equal(cr_spectrum_run(s, slab[1], p.in, value, bound), CR_OK);
    assert_true(bound[19] > 1e-2 * value[0]);
    for (size_t i = 0; i < 20; i++) {
        double nearest = INFINITY;
        for (size_t j = 0; j < 300; j++) nearest = fmin(nearest, fabs(value[i] - all[j]));
        assert_true(nearest <= bound[i]);
    }
    assert_int_equal(cr_spectrum_run(whole, &(cr_slab){0}, p.in, all, NULL), CR_EARG);
    for (unsigned i = 0; i < 2; i++) cr_slab_free(slab[i]);
    cr_spectrum_free(whole);
    cr_spectrum_free(s);
    network_free(&p);
}

typedef struct runner {
    const cr_spectrum *s;
    const void *const *in;
    double value[6];
    cr_status status;
} runner;

static void *run_often(void *user)
{
    runner *r = user;
    cr_slab *slab = cr_spectrum_slab(r->s);
    for (unsigned i = 0; i < 20 && r->status == CR_OK; i++) {
        r->status = cr_spectrum_run(r->s, slab, r->in, r->value, NULL);
    }
    cr_slab_free(slab);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    cr_plan_options plan = {.precision = CR_F64, .threads = 1};
    for (unsigned whole = 0; whole < 2; whole++) {
        network p = network_new(3, (int64_t[]){70, 80, 60, 90}, CR_OP_TANH);
        cr_spectrum *s = spectrum_of(&p, &(cr_spectrum_options){.k = 6, .whole = whole, .plan = &plan});
        runner r[3] = {{.s = s, .in = p.in}, {.s = s, .in = p.in}, {.s = s, .in = p.in}};
        pthread_t thread[2];
        for (unsigned i = 0; i < 2; i++) assert_int_equal(pthread_create(&thread[i], NULL, run_often, &r[i]), 0);
        run_often(&r[2]);
        for (unsigned i = 0; i < 2; i++) assert_int_equal(pthread_join(thread[i], NULL), 0);
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(r[i].status, CR_OK);
            assert_memory_equal(r[i].value, r[0].value, sizeof r[0].value);
        }
        assert_true(r[0].value[0] > 0);
        cr_spectrum_free(s);
        network_free(&p);
    }
}

/* ---- what else there is ------------------------------------------------------------------------- */

static void test_shapes(void **state)
{
    (void)state;
    cr_graph *g = cr_graph_new();
    cr_dim n = cr_dim_symbol(g, "n"), two = cr_dim_const(g, 2);
    cr_ref x = cr_param(g, "x", 2, (cr_dim[]){two, n}, 0);
    cr_ref z = cr_param(g, "z", 1, &n, 0), c = cr_param(g, "c", 0, NULL, 0);
    cr_size_value size = {"n", 3};
    cr_plan_options plan = {.precision = CR_F64};
    cr_spectrum_options o = {.plan = &plan};
    const double entries[6] = {1, 2, 3, 4, 5, 6};
    double value[6];
    cr_spectrum *s;
    /* x.*x: its Jacobian is diagonal; a scalar; what does not move; one variable that does not occur */
    struct { cr_ref y, by; size_t count; double largest; unsigned inputs; } sample[] = {
        {cr_mul(g, x, x), x, 6, 12, 1}, {cr_mul(g, c, x), c, 1, sqrt(91), 1}, {cr_sum(g, x), x, 1, sqrt(6), 0},
        {cr_sum(g, z), x, 1, 0, 0},     {z, z, 3, 1, 0},
    };
    for (size_t i = 0; i < sizeof sample / sizeof *sample; i++) {
        for (o.whole = 0; o.whole < 2; o.whole++) {
            o.k = o.whole && sample[i].count > 1 ? (unsigned)sample[i].count - 1 : 0;
            assert_int_equal(cr_spectrum_new(g, sample[i].y, sample[i].by, 1, &size, &o, &s), CR_OK);
            assert_int_equal(cr_spectrum_inputs(s), sample[i].inputs);
            assert_int_equal(cr_spectrum_count(s), o.k ? o.k : sample[i].count);
            cr_slab *slab = cr_spectrum_slab(s);
            assert_int_equal(cr_spectrum_run(s, slab, (const void *[]){entries}, value, NULL), CR_OK);
            assert_true(fabs(value[0] - sample[i].largest) < 1e-13);
            cr_slab_free(slab);
            cr_spectrum_free(s);
        }
    }
    o = (cr_spectrum_options){.k = 5, .whole = 1, .steps = 1, .block = 4};
    assert_int_equal(cr_spectrum_new(g, sample[0].y, x, 1, &size, &o, &s), CR_EARG);
    assert_null(s);
    cr_graph_clear_error(g);
    assert_int_equal(cr_spectrum_new(g, sample[0].y, x, 0, NULL, NULL, &s), CR_EVALUE); /* n is not given */
    cr_graph_clear_error(g);
    assert_int_equal(cr_spectrum_new(g, sample[0].y, sample[0].y, 1, &size, NULL, &s), CR_EARG);
    cr_graph_clear_error(g);
    plan.max_bytes = 100;
    o = (cr_spectrum_options){.plan = &plan};
    assert_int_equal(cr_spectrum_new(g, sample[0].y, x, 1, &size, &o, &s), CR_ELIMIT);
    cr_graph_free(g);
}

/* o[i] = sin(w[i] o[i-1]): the matrix is computed whole; by steps it has to be written out. */
static void test_recurrence(void **state)
{
    (void)state;
    cr_graph *g = cr_graph_new();
    cr_dim one = cr_dim_const(g, 1), depth = cr_dim_const(g, 5), n = cr_dim_const(g, 6), i = cr_dim_symbol(g, "i");
    cr_ref x = cr_param(g, "x", 1, &n, 0), w = cr_param_family(g, "w", one, depth, 0, NULL, 0);
    cr_family o = cr_family_new(g, "o", 1, &n);
    cr_family_define(g, o, "i", cr_dim_const(g, 0), cr_dim_const(g, 0), x);
    cr_ref before = cr_member(g, o, cr_dim_sub(g, i, one));
    cr_family_define(g, o, "i", one, depth, cr_map(g, CR_OP_SIN, cr_mul(g, cr_pick(g, w, i), before)));
    cr_ref y = cr_member(g, o, depth), by_hand = cr_unroll(g, y);
    const double at[6] = {0.1, -0.3, 0.5, 0.7, -0.9, 1.1}, weight[5] = {0.5, 1.5, -0.7, 0.9, 1.2};
    cr_plan_options plan = {.precision = CR_F64, .threads = 1};
    double value[3][6];
    for (unsigned k = 0; k < 3; k++) {
        cr_spectrum_options how = {.plan = &plan, .whole = k == 2, .k = k == 2 ? 3 : 0};
        cr_spectrum *s;
        if (cr_spectrum_new(g, k ? by_hand : y, x, 0, NULL, &how, &s) != CR_OK) fail_msg("%s", cr_graph_message(g));
        const void *in[2];
        assert_int_equal(cr_spectrum_inputs(s), 2);
        in[cr_spectrum_input(s, "x")] = at;
        in[cr_spectrum_input(s, "w")] = weight;
        cr_slab *slab = cr_spectrum_slab(s);
        assert_int_equal(cr_spectrum_run(s, slab, in, value[k], NULL), CR_OK);
        cr_slab_free(slab);
        cr_spectrum_free(s);
    }
    for (unsigned k = 0; k < 6; k++) {
        assert_true(value[0][k] > 0);
        assert_true(fabs(value[0][k] - value[1][k]) < 1e-14);
        assert_true(k >= 3 || fabs(value[0][k] - value[2][k]) < 1e-14);
    }
    cr_spectrum_options steps = {.k = 3, .whole = 1};
    cr_spectrum *s;
    assert_int_equal(cr_spectrum_new(g, y, x, 0, NULL, &steps, &s), CR_EUNSUPPORTED);
    cr_graph_free(g);
}

/* ---- Hessians ----------------------------------------------------------------------------------- */

enum { SEEDS = 3, WIDE = 5, DEEP = 4 };

/* f = sum((V tanh(W x))^2) by W and x */
static void test_hessian(void **state)
{
    (void)state;
    cr_graph *g = cr_graph_new();
    cr_dim n = cr_dim_const(g, WIDE), m = cr_dim_const(g, DEEP), k = cr_dim_const(g, SEEDS);
    cr_ref v = cr_param(g, "V", 2, (cr_dim[]){n, m}, 0);
    cr_ref wrt[] = {cr_param(g, "W", 2, (cr_dim[]){m, n}, 0), cr_param(g, "x", 1, &n, 0), cr_param(g, "z", 1, &n, 0)};
    cr_ref y = cr_matmul(g, v, cr_map(g, CR_OP_TANH, cr_matmul(g, wrt[0], wrt[1])));
    cr_ref f = cr_sum(g, cr_mul(g, y, y)), out[5], product[3];
    cr_ref tangent[3] = {cr_param(g, "dW", 3, (cr_dim[]){k, m, n}, 0), cr_param(g, "dx", 2, (cr_dim[]){k, n}, 0)};
    assert_int_equal(cr_reverse(g, f, cr_const(g, 1), 2, wrt, out), CR_OK);
    assert_int_equal(cr_hessian_product(g, f, 3, wrt, tangent, product), CR_OK);
    assert_int_equal(product[2], CR_NONE);
    memcpy(out + 2, product, 2 * sizeof *out);
    cr_plan_options o = {.precision = CR_F64, .threads = 1};
    cr_plan *p;
    if (cr_plan_new(g, 4, out, 0, NULL, &o, &p) != CR_OK) fail_msg("%s", cr_graph_message(g));
    cr_slab *slab = cr_slab_new(p);
    enum { W = WIDE * DEEP };
    double values[W], w[W], x[WIDE], at[WIDE], dw[SEEDS * W], dx[SEEDS * WIDE], gw[2][W], gx[2][WIDE];
    double hw[SEEDS * W], hx[SEEDS * WIDE];
    const char *const name[] = {"V", "W", "x", "dW", "dx"};
    const double *const given[] = {values, w, x, dw, dx};
    const void *in[5];
    assert_int_equal(cr_plan_inputs(p), 5);
    for (unsigned i = 0; i < 5; i++) in[cr_plan_input(p, name[i])] = given[i];
    randomise(W, 1, 1, values);
    randomise(W, 1, 2, gw[0]);
    randomise(WIDE, 1, 3, at);
    randomise(SEEDS * W, 1, 4, dw);
    randomise(SEEDS * WIDE, 1, 5, dx);
    double middle[W];
    memcpy(middle, gw[0], sizeof middle);
    const double h = 1e-5;
    for (unsigned seed = 0; seed < SEEDS; seed++) {
        for (unsigned side = 0; side < 2; side++) {
            double step = side ? h : -h;
            for (size_t i = 0; i < W; i++) w[i] = middle[i] + step * dw[seed * W + i];
            for (size_t i = 0; i < WIDE; i++) x[i] = at[i] + step * dx[seed * WIDE + i];
            assert_int_equal(cr_run(p, slab, in, (void *[]){gw[side], gx[side], hw, hx}), CR_OK);
        }
        double old_w[W], old_x[WIDE];
        for (size_t i = 0; i < W; i++) old_w[i] = (gw[1][i] - gw[0][i]) / (2 * h);
        for (size_t i = 0; i < WIDE; i++) old_x[i] = (gx[1][i] - gx[0][i]) / (2 * h);
        memcpy(w, middle, sizeof w);
        memcpy(x, at, sizeof x);
        assert_int_equal(cr_run(p, slab, in, (void *[]){gw[0], gx[0], hw, hx}), CR_OK);
        for (size_t i = 0; i < W; i++) assert_true(fabs(hw[seed * W + i] - old_w[i]) < 1e-7);
        for (size_t i = 0; i < WIDE; i++) assert_true(fabs(hx[seed * WIDE + i] - old_x[i]) < 1e-7);
    }
    cr_slab_free(slab);
    cr_plan_free(p);
    assert_int_equal(cr_hessian_product(g, y, 2, wrt, tangent, product), CR_ESHAPE);
    cr_graph_free(g);
}

/* ---- memory ------------------------------------------------------------------------------------- */

static void make_and_run(const bool *refused, unsigned whole)
{
    cr_graph *g = cr_graph_new();
    if (!g) {
        assert_true(*refused);
        return;
    }
    cr_dim n = cr_dim_const(g, 6);
    cr_ref w = cr_param(g, "W", 2, (cr_dim[]){n, n}, 0), x = cr_param(g, "x", 1, &n, 0), h[1];
    cr_ref y = cr_map(g, CR_OP_TANH, cr_matmul(g, w, x));
    cr_plan_options plan = {.precision = CR_F64, .threads = 1};
    cr_spectrum *s = NULL;
    cr_slab *slab = NULL;
    cr_spectrum_options o = {.k = 3, .whole = whole, .plan = &plan};
    cr_status status = cr_spectrum_new(g, y, x, 0, NULL, &o, &s);
    if (status == CR_OK) {
        double at[36], value[3];
        randomise(36, 1, 9, at);
        slab = cr_spectrum_slab(s);
        if (slab) {
            const void *in[] = {at, at};
            assert_int_equal(cr_spectrum_run(s, slab, in, value, NULL), CR_OK);
            assert_true(value[0] > 0);
        } else {
            assert_true(*refused);
        }
        status = cr_hessian_product(g, cr_sum(g, y), 1, &w, &w, h);
    }
    if (status != CR_OK) {
        assert_true(*refused);
        assert_int_equal(status, CR_ENOMEM);
        assert_int_equal(cr_graph_status(g), CR_ENOMEM);
    }
    cr_slab_free(slab);
    cr_spectrum_free(s);
    cr_graph_free(g);
}

static void make_whole(const bool *refused) { make_and_run(refused, 0); }
static void make_steps(const bool *refused) { make_and_run(refused, 1); }

static void test_memory(void **state)
{
    (void)state;
    each_allocation_fails(make_whole);
    each_allocation_fails(make_steps);
}

int main(void)
{
    error e = {CR_OK, NULL};
    if (!library_symbol(LIBRARY_OPENBLAS, "dgesdd_", &e)) {
        fprintf(stderr, "%s\n", err_message(&e));
        err_clear(&e);
        return 77; /* skipped */
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),    cmocka_unit_test(test_tiny),    cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_networks), cmocka_unit_test(test_too_few), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_shapes),   cmocka_unit_test(test_recurrence), cmocka_unit_test(test_hessian),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests_name("spectrum", tests, NULL, NULL);
}
