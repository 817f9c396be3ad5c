/* Plans against the reference interpreter: every operator with its derivatives, recurrences, random graphs. */
#include "unit.h"

#include "exec/internal.h"
#include "op_check.h"
#include "plan_check.h"
#include "program/program.h"
#include "random_graph.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned n_faults;

static void complain(const char *what, const char *fault)
{
    fprintf(stderr, "%s: %s\n", what, fault);
    n_faults++;
}

/* y, and its derivatives by all variables in both modes where there are any. */
static unsigned with_derivatives(op_case *c, cr_ref *root)
{
    unsigned n = 0;
    root[n++] = c->y;
    for (unsigned i = 0; i < c->n_vars && case_is_real(c); i++) {
        cr_ref d = cr_derivative(c->g, c->y, c->var[i]);
        if (d) root[n++] = d;
    }
    cr_graph_clear_error(c->g);
    return n;
}

static void test_operators(void **state)
{
    (void)state;
    for (const op_sample *s = op_samples; s->text; s++) {
        op_case c;
        char fault[500];
        if (!case_open(&c, s->text)) {
            complain(s->text, c.fault);
        } else {
            cr_ref root[1 + CASE_MAX_VARS];
            unsigned n = with_derivatives(&c, root);
            for (unsigned k = 0; k < 4; k++) {
                plan_check how = {.level = k < 3 ? k + 1 : 0, .threads = 1 + k % 2,
                                  .precision = k < 3 ? CR_F64 : CR_F32, .tolerance = k < 3 ? 1e-11 : 2e-3};
                if (!plan_agrees(c.g, c.env, n, root, &how, fault, sizeof fault)) complain(s->text, fault);
            }
        }
        case_close(&c);
    }
    assert_int_equal(n_faults, 0);
}

/* ---- random graphs ------------------------------------------------------------------------------ */

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static bool small_work(const random_graph *k, exec_env *env, cr_ref r)
{
    return !k->size_n || random_graph_work(k, env, r) < 3e5;
}

/* The latest expressions of a random graph and the gradient of one, where rounding lets us see. */
static unsigned comparable(random_graph *k, exec_env *env, cr_ref *root)
{
    unsigned n = 0;
    cr_ref last = k->pool[k->n_pool - 1];
    for (unsigned i = 0; i < 3 && i < k->n_pool; i++) {
        cr_ref r = k->pool[k->n_pool - 1 - i];
        if (small_work(k, env, r) && random_graph_magnitude(k->g, env, r, true) < 1e4) root[n++] = r;
    }
    if (cr_dtype_of(k->g, last) == CR_REAL) {
        cr_ref d = cr_derivative(k->g, last, k->param[k->n % N_PARAMS]);
        if (d && small_work(k, env, d) && random_graph_magnitude(k->g, env, d, true) < 1e4) root[n++] = d;
    }
    cr_graph_clear_error(k->g);
    return n;
}

typedef struct sizes { int64_t n, m; } sizes;

static unsigned compare_random(uint64_t seed, unsigned number, sizes of)
{
    uint8_t data[160];
    char fault[500], name[80];
    random_graph k = {.g = cr_graph_new(), .data = data, .n = 40 + seed % 120, .size_n = of.n, .size_m = of.m};
    const char *broken;
    cr_ref root[4];
    uint64_t state = seed;
    for (size_t i = 0; i < k.n; i++) data[i] = (uint8_t)next_random(&state);
    assert_non_null(k.g);
    random_graph_build(&k, &broken);
    exec_env *env = exec_env_new(k.g);
    assert_non_null(env);
    assert_true(random_graph_bind(&k, env, number, true));
    unsigned n = comparable(&k, env, root);
    plan_check how = {.level = 1 + number % 3, .threads = 1 + number % 2, .deterministic = number & 4,
                      .precision = number % 5 == 4 ? CR_F32 : CR_F64};
    how.tolerance = how.precision == CR_F64 ? 1e-9 : 1e-2;
    how.magnitude = of.n && how.precision == CR_F32 ? 1 : 0; /* long sums of f32 may cancel to nothing */
    snprintf(name, sizeof name, "random graph %u, n = %d, m = %d", number, (int)of.n, (int)of.m);
    if (n && !plan_agrees(k.g, env, n, root, &how, fault, sizeof fault)) complain(name, fault);
    exec_env_free(env);
    cr_graph_free(k.g);
    return n;
}

static void test_random(void **state)
{
    (void)state;
    n_faults = 0;
    unsigned compared = 0, graphs = getenv("CHAINRULE_SANITIZE") ? 400 : 4000;
    for (unsigned i = 0; i < graphs && n_faults < 20; i++) compared += compare_random(1 + i * 7919u, i, (sizes){0, 0});
    print_message("%u expressions of %u graphs\n", compared, graphs);
    assert_int_equal(n_faults, 0);
    assert_true(compared > graphs);
}

/* Sizes with every kind of remainder: of vectors, of blocks of several rows and of pieces of rows. */
static void test_random_sizes(void **state)
{
    (void)state;
    static const sizes of[] = {{7, 5}, {19, 2}, {66, 131}, {130, 9}, {257, 3}, {3, 1500}, {1030, 2}};
    n_faults = 0;
    unsigned compared = 0, graphs = getenv("CHAINRULE_SANITIZE") ? 70 : 700;
    for (unsigned i = 0; i < graphs && n_faults < 20; i++) {
        compared += compare_random(3 + i * 104729u, i, of[i % (sizeof of / sizeof *of)]);
    }
    print_message("%u expressions of %u graphs\n", compared, graphs);
    assert_int_equal(n_faults, 0);
    assert_true(compared > graphs / 2);
}

/* Rows that lie apart, in blocks of several: read entry by entry, with a row's own number, summed along both axes. */
static void test_rows_apart(void **state)
{
    (void)state;
    n_faults = 0;
    enum { OUTER = 3, INNER = 7, ROWS = OUTER * INNER, WIDE = 400, COLUMNS = 150 };
    cr_graph *g = cr_graph_new();
    cr_dim rows = cr_dim_const(g, ROWS), columns = cr_dim_const(g, COLUMNS);
    cr_ref x = cr_param(g, "x", 2, (cr_dim[]){rows, cr_dim_const(g, WIDE)}, 0);
    cr_dim at[] = {cr_dim_const(g, 0), cr_dim_const(g, 37)}, size[] = {rows, columns};
    cr_ref s = cr_slice(g, x, at, NULL, size);
    const uint8_t down[] = {1, 0}, along[] = {0, 1};
    cr_ref sums = cr_einsum(g, 1, &s, down, 1, &columns), of_row = cr_einsum(g, 1, &s, along, 1, &rows);
    cr_ref spread = cr_einsum(g, 1, &of_row, (uint8_t[]){0}, 2, size);
    cr_ref product = cr_einsum(g, 2, (cr_ref[]){s, spread}, (uint8_t[]){1, 0, 1, 0}, 1, &columns);
    /* rows on two axes, from each of which some are taken */
    cr_dim outer = cr_dim_const(g, OUTER), five = cr_dim_const(g, 5);
    cr_ref planes = cr_reshape(g, x, 3, (cr_dim[]){outer, cr_dim_const(g, INNER), cr_dim_const(g, WIDE)});
    cr_ref part = cr_slice(g, planes, (cr_dim[]){at[0], cr_dim_const(g, 1), at[1]}, NULL,
                           (cr_dim[]){outer, five, columns});
    cr_ref root[] = {sums, cr_mul(g, cr_sub(g, s, spread), s), product, cr_softmax(g, s, 1), spread,
                     cr_mul(g, part, cr_softmax(g, part, 2))};
    exec_env *env = exec_env_new(g);
    exec_array a;
    error e = {CR_OK, NULL};
    char fault[500];
    assert_int_equal(cr_graph_status(g), CR_OK);
    assert_true(env && exec_array_init(&a, 2, (int64_t[]){ROWS, WIDE}, &e));
    for (size_t k = 0; k < a.n; k++) a.value[k] = sin(1.7 * (double)k);
    assert_int_equal(exec_bind(env, x, &a), CR_OK);
    for (unsigned k = 0; k < 6; k++) {
        plan_check how = {.level = 1 + k / 2, .threads = 1 + k % 2, .precision = k & 1 ? CR_F32 : CR_F64,
                          .tolerance = k & 1 ? 1e-5 : 1e-13};
        if (!plan_agrees(g, env, sizeof root / sizeof *root, root, &how, fault, sizeof fault)) complain("rows", fault);
        for (unsigned r = 0; r < sizeof root / sizeof *root; r++) { /* and each by itself */
            if (!plan_agrees(g, env, 1, root + r, &how, fault, sizeof fault)) complain("rows", fault);
        }
    }
    exec_array_free(&a);
    exec_env_free(env);
    cr_graph_free(g);
    assert_int_equal(n_faults, 0);
}

/* ---- recurrences -------------------------------------------------------------------------------- */

#define CHAIN "let x : R, w[1..N], b[1..N] : R\ndef o[0] = x\n"
#define BATCH "let u : R^m, w[1..N] : R\ndef e[0] = u\n"
static const char *const recurrences[] = {
    CHAIN "def o[i] = sigmoid(w[i]*o[i-1] + b[i]) for i in 1..N\nderive o[N] wrt w",
    CHAIN "def s[i] = w[i]*o[i-1] + b[i] for i in 1..N\ndef o[i] = tanh(s[i]) for i in 1..N\n"
          "derive (o[N] - 1)^2 wrt b",
    CHAIN "def o[i] = o[i-1] + tanh(w[i]*o[i-1])*w[i]/i for i in 1..N\nderive o[N]^2 wrt w",
    CHAIN "fun f(z) = z*tanh(z)\ndef o[i] = f(w[i]*o[i-1]) + 1 for i in 1..N\nderive o[N] wrt x",
    CHAIN "def o[1] = w[1]*x\ndef o[i] = sin(w[i]*o[i-1] + o[i-2]) for i in 2..N\nderive o[N] wrt w",
    CHAIN "def s[i] = w[i]*o[i-1] + b[i] for i in 1..N\ndef o[i] = sigmoid(s[i]) for i in 1..N\n"
          "def s[N] = w[N]*(o[N-1] + o[1]) + b[N]\nderive o[N] wrt w",
    BATCH "def e[i] = sigmoid(w[i]*e[i-1]) for i in 1..N\nderive sum(e[N]) wrt w",
    BATCH "def e[i] = tanh(w[i]*e[i-1]) + e[i-1]/2 for i in 1..N\nderive sum(e[N] .* e[N]) wrt u",
    "let u : R^m, W[1..N] : R^{m x m}\ndef h[0] = u\ndef h[i] = tanh(W[i]*h[i-1]) for i in 1..N\n"
    "derive sum(h[N]) wrt W",
    "let u : R^m, W : R^{m x m}\ndef h[0] = u\ndef h[i] = h[i-1] + relu(W*h[i-1]) for i in 1..N\n"
    "derive norm2(h[N])^2 wrt W",
    "let u : R^m, W[1..N] : R^{m x m}\ndef h[0] = u\ndef h[i] = tanh(W[i]*h[i-1]) for i in 1..N\nderive h[N] wrt u",
    "let u : R^5, W : R^{5 x 5}\ndef h[0] = u\ndef h[i] = h[i-1] + gather(relu(W*h[i-1]), [2, 1, 2, 3, 1]) for i in "
    "1..N\nderive norm2(h[N])^2 wrt W",
    "let u : R^5, W[1..N] : R^{5 x 5}\ndef h[0] = u\ndef h[i] = inv(W[i] + 3*I(5))*h[i-1] for i in 1..N\n"
    "derive sum(h[N]) wrt u",
    "let w[1..N] : R\neval [k=1..N : sum(j=k..N, w[j]^2) - sum(j=k+2..N, w[j])]",
    "let w[1..N] : R\neval [k=1..N : sum(j=k..N, gather(w, mod(j*j, N) + 1)*w[j])]",
    "let w[1..N] : R\neval [k=1..N : prod(j=1..k-1, 1 + w[j]/j)*w[k]]",
    "let w[1..N] : R\neval [k=1..N : sum(j=2..k+3, sin(j)) + if(k < 4, 1, w[k])]",
    CHAIN "def o[i] = sum(j=0..i-1, o[j])*w[i]/i for i in 1..N\nderive o[N] wrt x",
    "let W[1..N] : R^{2 x 2}\neval [k=1..N : prod(j=k+1..N, W[j][1,1])]",
    "let W[1..N] : R^{2 x 2}\neval prod(j=N..1, W[j])",
    "let x : R, w[1..N] : R\ndef o[0] = x\ndef b[i] = w[i]*o[i-1] for i in 2..N\n"
    "def o[i] = 0.5*o[i-1] + if(1 < i, b[i], 0) for i in 1..N\neval o[N]",
    "let w[1..N] : R\neval [k=1..N : sum(i=1..N, prod(j=k..i, w[j]))]",
    /* an index out of range in a branch that is not taken */
    "let v : R^m\neval [k=1..m+1 : if(k < m + 1, v[k], 5)] + if(v[1] < 9, 1, v[m+1])",
    "let v : R^m\neval [k=1..m+1 : if(k < m + 1, gather(v, k), 5)] + if(v[1] < 9, 1, gather(v, m + 1))",
    "let v : R^m\neval if(v[1] < 9, [1, 2], gather(v, [7*v[1]*v[1], 1])) + if(v[1] < 9, [1, 2], gather(v, [9, 1]))",
    "let A : R^{m x m}, v : R^m\neval A*[k=1..m : prod(j=k..m, (A'*v)[j])*(A'*v)[k]]",
};

static bool give_values(cr_program *p, exec_env *env, int64_t n, int64_t m)
{
    cr_graph *g = p->g;
    exec_bind_int(env, name_intern(g->dims, "N", 1), n);
    exec_bind_int(env, name_intern(g->dims, "m", 1), m);
    bool ok = true;
    for (size_t i = 0; ok && i < lang_n_variables(p->lang); i++) {
        cr_ref param = lang_variable_at(p->lang, i)->param;
        exec_array a;
        error e = {CR_OK, NULL};
        int64_t dim[CR_MAX_RANK];
        size_t size;
        if (!param) continue;
        ok = exec_shape(env, param, dim, &size) && exec_array_init(&a, shape_of(g, param)->rank, dim, &e);
        if (!ok) break;
        for (size_t k = 0; k < a.n; k++) a.value[k] = 0.6*sin(1.7 * (double)k + (double)i + 1);
        ok = exec_bind(env, param, &a) == CR_OK;
        exec_array_free(&a);
    }
    return ok;
}

static void test_recurrences(void **state)
{
    (void)state;
    static const int64_t depth[] = {4, 5, 9, 40};
    n_faults = 0;
    for (size_t i = 0; i < sizeof recurrences / sizeof *recurrences; i++) {
        cr_program *p = cr_program_new();
        char fault[500];
        assert_non_null(p);
        if (cr_program_parse(p, "sample", recurrences[i], strlen(recurrences[i])) != CR_OK) {
            fail_msg("%s\n%s", recurrences[i], cr_program_message(p));
        }
        const lang_statement *st = prog_statement(p, 0);
        cr_ref root[2] = {st->expr, st->n_wrt ? prog_exact(p, st, st->n_wrt, 0) : CR_NONE};
        for (unsigned k = 0; k < 4; k++) {
            exec_env *env = exec_env_new(p->g);
            static const int64_t widths[] = {150, 1100, 5, 300}; /* blocks of several rows, rows of several blocks */
            bool batch = !strncmp(recurrences[i], BATCH, strlen(BATCH));
            assert_true(give_values(p, env, depth[k], batch ? widths[k] : 5));
            plan_check how = {.level = k < 3 ? 3 - k : 0, .threads = 1 + k % 2, .deterministic = k & 1,
                              .precision = k == 1 ? CR_F32 : CR_F64, .tolerance = k == 1 ? 1e-4 : 1e-11};
            if (!plan_agrees(p->g, env, root[1] ? 2 : 1, root, &how, fault, sizeof fault)) {
                complain(recurrences[i], fault);
            }
            exec_env_free(env);
        }
        cr_program_free(p);
    }
    assert_int_equal(n_faults, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operators),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_random_sizes),
        cmocka_unit_test(test_rows_apart),
        cmocka_unit_test(test_recurrences),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
