/* Plans as their users meet them: options, errors, text, several threads, statements of a text. What they compute is
 * test_plan.c's. */
#include "unit.h"

#include "program/program.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* sum(tanh(W*x + b)) and its gradients by W and b: W is m x n. */
typedef struct network {
    cr_graph *g;
    cr_dim m, n;
    cr_ref W, x, b, y, out[3];
} network;

static network network_new(void)
{
    network k = {.g = cr_graph_new()};
    assert_non_null(k.g);
    k.m = cr_dim_symbol(k.g, "m");
    k.n = cr_dim_symbol(k.g, "n");
    k.W = cr_param(k.g, "W", 2, (cr_dim[]){k.m, k.n}, 0);
    k.x = cr_param(k.g, "x", 1, &k.n, 0);
    k.b = cr_param(k.g, "b", 1, &k.m, 0);
    k.y = cr_sum(k.g, cr_map(k.g, CR_OP_TANH, cr_add(k.g, cr_matmul(k.g, k.W, k.x), k.b)));
    k.out[0] = k.y;
    assert_int_equal(cr_reverse(k.g, k.y, cr_const(k.g, 1), 2, (cr_ref[]){k.W, k.b}, k.out + 1), CR_OK);
    return k;
}

static const cr_size_value sizes[] = {{"m", 3}, {"n", 2}};
static const double W_at[] = {1, 2, 3, 4, 5, 6}, x_at[] = {0.1, -0.2}, b_at[] = {0.3, 0, -0.1};

static double loss_at(void)
{
    double sum = 0;
    for (int i = 0; i < 3; i++) sum += tanh(W_at[2 * i] * x_at[0] + W_at[2 * i + 1] * x_at[1] + b_at[i]);
    return sum;
}

/* The plan says no, with a status and words in its message. */
static void refuses(cr_graph *g, unsigned n, const cr_ref *out, unsigned n_sizes, const cr_size_value *size,
                    const cr_plan_options *o, cr_status status, const char *const *word)
{
    cr_plan *p = (cr_plan *)1;
    assert_int_equal(cr_plan_new(g, n, out, n_sizes, size, o, &p), status);
    assert_null(p);
    assert_int_equal(cr_graph_status(g), status);
    for (; *word; word++) {
        if (!strstr(cr_graph_message(g), *word)) fail_msg("no \"%s\" in: %s", *word, cr_graph_message(g));
    }
    cr_graph_clear_error(g);
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- asking, running ---------------------------------------------------------------------------- */

static void run_f64(const cr_plan *p, cr_slab *s, void *const *out)
{
    const void *in[3];
    in[cr_plan_input(p, "W")] = W_at;
    in[cr_plan_input(p, "x")] = x_at;
    in[cr_plan_input(p, "b")] = b_at;
    assert_int_equal(cr_run(p, s, in, out), CR_OK);
}

static void test_plan_says_what_it_is(void **state)
{
    (void)state;
    network k = network_new();
    cr_plan *p;
    int64_t dim[CR_MAX_RANK];
    assert_int_equal(cr_plan_new(k.g, 3, k.out, 2, sizes, &(cr_plan_options){.precision = CR_F64}, &p), CR_OK);
    cr_graph_free(k.g); /* nothing of it is needed */
    assert_int_equal(cr_plan_inputs(p), 3);
    assert_int_equal(cr_plan_outputs(p), 3);
    assert_int_equal(cr_plan_input(p, "sigma"), -1);
    assert_int_equal(cr_plan_input_count(p, (unsigned)cr_plan_input(p, "W")), 6);
    assert_int_equal(cr_plan_input_shape(p, (unsigned)cr_plan_input(p, "W"), dim), 2);
    assert_true(dim[0] == 3 && dim[1] == 2);
    assert_int_equal(cr_plan_output_shape(p, 0, dim), 0);
    assert_int_equal(cr_plan_output_count(p, 1), 6);
    assert_null(cr_plan_input_name(p, 3));
    assert_int_equal(cr_plan_input_count(p, 3) + cr_plan_output_count(p, 3), 0);
    char *text = cr_plan_text(p);
    assert_non_null(text);
    const char *const *word = WORDS("f64", "bytes of slab", "W: 3 x 2", "out[0]: one number", "tanh(", "fused", "x[j]");
    for (; *word; word++) {
        if (!strstr(text, *word)) fail_msg("no \"%s\" in\n%s", *word, text);
    }
    assert_true(text[strlen(text) - 1] == '\n');
    cr_string_free(text);
    cr_slab *s = cr_slab_new(p);
    double y, dW[6], db[3];
    run_f64(p, s, (void *[]){&y, dW, db});
    assert_true(fabs(y - loss_at()) < 1e-15);
    assert_true(fabs(dW[5] - x_at[1] * db[2]) < 1e-15);
    cr_slab_free(s);
    cr_plan_free(p);
    cr_plan_free(NULL);
    cr_slab_free(NULL);
}

static void test_options(void **state)
{
    (void)state;
    static const unsigned threads[] = {0, 1, 2, 1000, UINT32_MAX};
    network k = network_new();
    assert_true(cr_processors() >= 1);
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        cr_plan_options o = {.precision = CR_F64, .threads = threads[i], .level = i % 2 ? UINT32_MAX : 1};
        cr_plan *p;
        double y, dW[6], db[3];
        assert_int_equal(cr_plan_new(k.g, 3, k.out, 2, sizes, &o, &p), CR_OK);
        cr_slab *s = cr_slab_new(p);
        run_f64(p, s, (void *[]){&y, dW, db});
        assert_true(fabs(y - loss_at()) < 1e-15);
        cr_slab_free(s);
        cr_plan_free(p);
    }
    cr_plan *p; /* no options: f32 */
    float W[6], x[2], b[3], y;
    for (int i = 0; i < 6; i++) W[i] = (float)W_at[i];
    for (int i = 0; i < 2; i++) x[i] = (float)x_at[i];
    for (int i = 0; i < 3; i++) b[i] = (float)b_at[i];
    assert_int_equal(cr_plan_new(k.g, 1, k.out, 2, sizes, NULL, &p), CR_OK);
    const void *in[3];
    in[cr_plan_input(p, "W")] = W;
    in[cr_plan_input(p, "x")] = x;
    in[cr_plan_input(p, "b")] = b;
    cr_slab *s = cr_slab_new(p);
    assert_int_equal(cr_run(p, s, in, (void *[]){&y}), CR_OK);
    assert_true(fabs((double)y - loss_at()) < 1e-6);
    cr_slab_free(s);
    cr_plan_free(p);
    cr_graph_free(k.g);
}

/* A large product asked to run with more threads than anybody has. */
static void test_many_threads(void **state)
{
    (void)state;
    enum { N = 512 };
    cr_graph *g = cr_graph_new();
    cr_dim n = cr_dim_const(g, N);
    cr_ref A = cr_param(g, "A", 2, (cr_dim[]){n, n}, 0), C = cr_matmul(g, A, A);
    cr_plan *p;
    assert_int_equal(cr_plan_new(g, 1, &C, 0, NULL, &(cr_plan_options){.threads = 1000}, &p), CR_OK);
    cr_slab *s = cr_slab_new(p);
    float *a = malloc(N * N * sizeof *a), *c = malloc(N * N * sizeof *c);
    assert_true(s && a && c);
    for (int i = 0; i < N * N; i++) a[i] = (float)((i / N + 2 * (i % N)) % 7);
    assert_int_equal(cr_run(p, s, (const void *[]){a}, (void *[]){c}), CR_OK);
    for (int at = 0; at < N * N; at += 977) {
        double sum = 0;
        for (int i = 0; i < N; i++) sum += (double)a[at / N * N + i] * (double)a[i * N + at % N];
        assert_true((double)c[at] == sum); /* integers */
    }
    free(a);
    free(c);
    cr_slab_free(s);
    cr_plan_free(p);
    cr_graph_free(g);
}

typedef struct runner {
    const cr_plan *p;
    double y[200];
} runner;

static void *run_often(void *user)
{
    runner *r = user;
    cr_slab *s = cr_slab_new(r->p);
    double dW[6], db[3];
    for (int i = 0; s && i < 200; i++) {
        double x[2] = {x_at[0] + i, x_at[1]};
        const void *in[3];
        in[cr_plan_input(r->p, "W")] = W_at;
        in[cr_plan_input(r->p, "x")] = x;
        in[cr_plan_input(r->p, "b")] = b_at;
        if (cr_run(r->p, s, in, (void *[]){&r->y[i], dW, db}) != CR_OK) r->y[i] = NAN;
    }
    cr_slab_free(s);
    return NULL;
}

static void test_one_plan_in_several_threads(void **state)
{
    (void)state;
    network k = network_new();
    cr_plan_options o = {.precision = CR_F64, .threads = 1};
    cr_plan *p;
    assert_int_equal(cr_plan_new(k.g, 3, k.out, 2, sizes, &o, &p), CR_OK);
    runner r[4];
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) {
        r[i] = (runner){.p = p};
        assert_int_equal(pthread_create(&thread[i], NULL, run_often, &r[i]), 0);
    }
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    assert_true(fabs(r[0].y[0] - loss_at()) < 1e-15);
    for (int i = 1; i < 4; i++) assert_memory_equal(r[i].y, r[0].y, sizeof r[0].y);
    cr_plan_free(p);
    cr_graph_free(k.g);
}

/* ---- errors ------------------------------------------------------------------------------------- */

static void test_broken_graphs(void **state)
{
    (void)state;
    network k = network_new();
    refuses(k.g, 1, (cr_ref[]){CR_NONE}, 2, sizes, NULL, CR_EARG, WORDS("output 0"));
    refuses(k.g, 2, (cr_ref[]){k.y, 1000000}, 2, sizes, NULL, CR_EARG, WORDS("output 1"));
    assert_int_equal(cr_matmul(k.g, k.x, k.W), CR_NONE); /* sizes disagree: the graph has an error before */
    cr_plan *p = (cr_plan *)1;
    cr_status status = cr_graph_status(k.g);
    assert_int_equal(status, CR_ESHAPE);
    assert_int_equal(cr_plan_new(k.g, 1, &k.y, 2, sizes, NULL, &p), CR_ESHAPE);
    assert_null(p);
    assert_true(*cr_graph_message(k.g));
    cr_graph_clear_error(k.g);
    assert_int_equal(cr_plan_new(k.g, 0, NULL, 0, NULL, NULL, &p), CR_OK); /* of nothing */
    cr_slab *s = cr_slab_new(p);
    assert_int_equal(cr_plan_steps(p), 0);
    assert_int_equal(cr_run(p, s, NULL, NULL), CR_OK);
    cr_slab_free(s);
    cr_plan_free(p);
    cr_graph_free(k.g);
}

static void test_sizes(void **state)
{
    (void)state;
    network k = network_new();
    refuses(k.g, 3, k.out, 0, NULL, NULL, CR_EVALUE, WORDS("m has no value"));
    refuses(k.g, 3, k.out, 1, sizes, NULL, CR_EVALUE, WORDS("n has no value"));
    refuses(k.g, 3, k.out, 2, (cr_size_value[]){{"m", 3}, {"n", -2}}, NULL, CR_EVALUE, WORDS("n", "negative", "-2"));
    refuses(k.g, 3, k.out, 2, (cr_size_value[]){{"m", 3}, {NULL, 2}}, NULL, CR_EARG, WORDS("size 1"));
    static const cr_size_value empty[][2] = {{{"m", 0}, {"n", 2}}, {{"m", 3}, {"n", 0}}, {{"m", 0}, {"n", 0}}};
    for (int i = 0; i < 3; i++) { /* nothing to add: a sum is 0, tanh(b) is left where there is no x */
        cr_plan *p;
        double y = NAN, dW[6] = {0}, db[3];
        assert_int_equal(cr_plan_new(k.g, 3, k.out, 2, empty[i], &(cr_plan_options){.precision = CR_F64}, &p), CR_OK);
        char *text = cr_plan_text(p);
        assert_non_null(text);
        cr_string_free(text);
        cr_slab *s = cr_slab_new(p);
        run_f64(p, s, (void *[]){&y, dW, db});
        assert_int_equal(cr_plan_output_count(p, 1), 0);
        if (i == 1) assert_true(fabs(y - tanh(0.3) - tanh(-0.1)) < 1e-15);
        else assert_true(y == 0);
        cr_slab_free(s);
        cr_plan_free(p);
    }
    cr_graph_free(k.g);
}

static void test_memory(void **state)
{
    (void)state;
    network k = network_new();
    cr_ref x = cr_reshape(k.g, k.x, 2, (cr_dim[]){k.n, cr_dim_const(k.g, 1)});
    cr_ref outer = cr_matmul(k.g, x, cr_transpose(k.g, x)), out = cr_map(k.g, CR_OP_TANH, outer);
    cr_ref square = cr_matmul(k.g, out, cr_map(k.g, CR_OP_SIN, outer)); /* two matrices in the slab */
    static const cr_size_value small = {"n", 2}, medium = {"n", 100}, large = {"n", 1000000}, all = {"n", INT64_MAX};
    refuses(k.g, 1, &outer, 1, &large, NULL, CR_ELIMIT, WORDS("n x n", "1e+12", "8e+12 bytes"));
    refuses(k.g, 1, &square, 1, &large, NULL, CR_ELIMIT, WORDS("n x n", "8e+12 bytes"));
    refuses(k.g, 1, &outer, 1, &all, NULL, CR_ELIMIT, WORDS("n x n", "bytes"));
    cr_plan_options o = {.precision = CR_F64, .max_bytes = 100000};
    refuses(k.g, 1, &square, 1, &medium, &o, CR_ELIMIT, WORDS("bytes", "10000 entries", "max_bytes allows 100000"));
    cr_plan *p, *tiny;
    o.max_bytes = 0;
    assert_int_equal(cr_plan_new(k.g, 1, &square, 1, &medium, &o, &p), CR_OK);
    o.max_bytes = cr_plan_bytes(p);
    assert_true(o.max_bytes >= 2 * 80000);
    assert_int_equal(cr_plan_new(k.g, 1, &outer, 1, &small, NULL, &tiny), CR_OK);
    cr_slab *s = cr_slab_new(tiny);
    assert_int_equal(cr_run(p, s, NULL, NULL), CR_EARG); /* a slab of another plan */
    cr_slab_free(s);
    cr_plan_free(tiny);
    cr_plan_free(p);
    assert_int_equal(cr_plan_new(k.g, 1, &square, 1, &medium, &o, &p), CR_OK); /* exactly as much is enough */
    cr_plan_free(p);
    cr_graph_free(k.g);
}

static double cube(void *user, unsigned order, double z)
{
    (void)user;
    return order == 0 ? z * z * z : order == 1 ? 3 * z * z : order == 2 ? 6 * z : order == 3 ? 6 : 0;
}

static void test_functions(void **state)
{
    (void)state;
    network k = network_new();
    cr_fun f = cr_fun_unknown(k.g, "sigma");
    cr_ref y = cr_call(k.g, f, 0, k.b), d = cr_call(k.g, f, 1, k.b);
    refuses(k.g, 1, &y, 2, sizes, NULL, CR_EVALUE, WORDS("sigma"));
    cr_plan_options o = {.precision = CR_F64, .n_functions = 1, .function = &(cr_function_value){f, NULL, NULL}};
    refuses(k.g, 1, &y, 2, sizes, &o, CR_EARG, WORDS("sigma"));
    o.function = &(cr_function_value){77, cube, NULL};
    refuses(k.g, 1, &y, 2, sizes, &o, CR_EARG, WORDS("function 0"));
    o.function = &(cr_function_value){f, cube, NULL};
    cr_plan *p;
    double v[3], slope[3];
    assert_int_equal(cr_plan_new(k.g, 2, (cr_ref[]){y, d}, 2, sizes, &o, &p), CR_OK);
    cr_slab *s = cr_slab_new(p);
    assert_int_equal(cr_run(p, s, (const void *[]){b_at}, (void *[]){v, slope}), CR_OK);
    for (int i = 0; i < 3; i++) assert_true(v[i] == cube(NULL, 0, b_at[i]) && slope[i] == cube(NULL, 1, b_at[i]));
    cr_slab_free(s);
    cr_plan_free(p);
    cr_graph_free(k.g);
}

/* ---- statements of a text ------------------------------------------------------------------------ */

static const char text[] = "let x : R^n, W : R^{m x n}, b : R^m, v[1..N] : R\n"
                           "derive sum(tanh(W*x + b)) wrt W\n"
                           "eval W*x > b\n"
                           "def o[0] = b[1]\n"
                           "def o[i] = tanh(v[i]*o[i-1]) for i in 1..N\n"
                           "derive o[N] wrt v\n"
                           "derive (W*x)[i] wrt x[j]\n"
                           "fun sigma : R -> R\n"
                           "eval sigma(x)\n";
enum { STATEMENTS = 5, UNKNOWN = 4 };

static cr_program *program_new(void)
{
    cr_program *p = cr_program_new();
    if (!p) return NULL;
    cr_status s = cr_program_parse(p, "t", text, sizeof text - 1);
    if (s == CR_OK) s = cr_program_assign(p, "x = [1,-0.5]; W = [1,2;3,4;5,6]; b = [1,2,1]; v = [1,2,3,4]");
    if (s == CR_OK) s = cr_program_assign(p, "i = 2; j = 1");
    return p;
}

static void test_statements(void **state)
{
    (void)state;
    cr_program *p = program_new();
    assert_non_null(p);
    if (cr_program_status(p) != CR_OK) fail_msg("%s", cr_program_message(p));
    for (size_t i = 0; i < UNKNOWN; i++) {
        cr_array a, b, c;
        cr_status status = cr_program_eval(p, i, &a);
        if (status == CR_OK) status = cr_program_run(p, i, &(cr_plan_options){.precision = CR_F64}, &b);
        if (status == CR_OK) status = cr_program_run(p, i, NULL, &c);
        if (status != CR_OK) fail_msg("%s", cr_program_message(p));
        assert_true(a.rank == b.rank && a.n == b.n && a.boolean == b.boolean && c.f32 && !b.f32);
        assert_memory_equal(a.dim, b.dim, a.rank * sizeof *a.dim);
        for (size_t k = 0; k < a.n; k++) {
            assert_true(fabs(a.value[k] - b.value[k]) < 1e-14);
            assert_true(fabs(a.value[k] - c.value[k]) < 1e-6 && c.value[k] == (double)(float)c.value[k]);
        }
        cr_array_free(&a);
        cr_array_free(&b);
        cr_array_free(&c);
    }
    cr_array a;
    assert_int_equal(cr_program_run(p, STATEMENTS, NULL, &a), CR_EARG);
    cr_program_clear_error(p);
    /* An unknown function is missing, unless the options have it. */
    cr_plan *plan;
    assert_int_equal(cr_program_run(p, UNKNOWN, NULL, &a), CR_EVALUE);
    assert_non_null(strstr(cr_program_message(p), "sigma is an unknown function"));
    cr_program_clear_error(p);
    assert_int_equal(cr_program_plan(p, UNKNOWN, NULL, &plan), CR_EVALUE);
    assert_null(plan);
    cr_program_clear_error(p);
    cr_fun f = cr_fun_unknown(cr_program_graph(p), "sigma");
    cr_plan_options o = {.precision = CR_F64, .n_functions = 1, .function = &(cr_function_value){f, cube, NULL}};
    assert_int_equal(cr_program_run(p, UNKNOWN, &o, &a), CR_OK);
    assert_true(a.n == 2 && a.value[1] == -0.125);
    cr_array_free(&a);
    cr_program_free(p);
}

/* A plan needs sizes only. */
static void test_plan_of_a_statement(void **state)
{
    (void)state;
    cr_program *p = cr_program_new();
    assert_int_equal(cr_program_parse(p, "t", text, sizeof text - 1), CR_OK);
    cr_plan *plan;
    cr_array a;
    assert_int_equal(cr_program_plan(p, 0, NULL, &plan), CR_EVALUE);
    assert_non_null(strstr(cr_program_message(p), "m (an integer)"));
    assert_non_null(strstr(cr_program_message(p), "n (an integer)"));
    assert_null(strstr(cr_program_message(p), "W in"));
    cr_program_clear_error(p);
    assert_int_equal(cr_program_run(p, 0, NULL, &a), CR_EVALUE);
    assert_non_null(strstr(cr_program_message(p), "W in R^{m x n}"));
    cr_program_clear_error(p);
    assert_int_equal(cr_program_plan(p, 3, NULL, &plan), CR_EVALUE);
    assert_non_null(strstr(cr_program_message(p), "i in 1..m"));
    cr_program_clear_error(p);
    assert_int_equal(cr_program_assign(p, "m = 30; n = 20"), CR_OK);
    assert_int_equal(cr_program_plan(p, 0, NULL, &plan), CR_OK);
    int64_t dim[CR_MAX_RANK];
    assert_int_equal(cr_plan_output_shape(plan, 0, dim), 2);
    assert_true(dim[0] == 30 && dim[1] == 20);
    cr_plan_free(plan);
    cr_program_free(p);
}

static void run_everything(const bool *refused)
{
    cr_program *p = program_new();
    cr_status s = p ? cr_program_status(p) : CR_ENOMEM;
    for (size_t i = 0; s == CR_OK && i < UNKNOWN; i++) {
        cr_array a;
        cr_plan *plan;
        s = cr_program_run(p, i, &(cr_plan_options){.precision = i % 2 ? CR_F64 : CR_F32, .threads = 2}, &a);
        cr_array_free(&a);
        if (s == CR_OK) s = cr_program_plan(p, i, NULL, &plan);
        if (s != CR_OK) break;
        char *t = cr_plan_text(plan);
        s = t ? CR_OK : CR_ENOMEM;
        cr_string_free(t);
        cr_plan_free(plan);
    }
    if (s != CR_OK && (s != CR_ENOMEM || !*refused)) fail_msg("status %d: %s", (int)s, p ? cr_program_message(p) : "");
    assert_true(*refused || s == CR_OK);
    cr_program_free(p);
}

static void test_allocation_failure(void **state)
{
    (void)state;
    each_allocation_fails(run_everything);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan_says_what_it_is), cmocka_unit_test(test_options),
        cmocka_unit_test(test_many_threads),         cmocka_unit_test(test_one_plan_in_several_threads),
        cmocka_unit_test(test_broken_graphs),        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_memory),               cmocka_unit_test(test_functions),
        cmocka_unit_test(test_statements),           cmocka_unit_test(test_plan_of_a_statement),
        cmocka_unit_test(test_allocation_failure),
    };
    return cmocka_run_group_tests_name("plan_api", tests, NULL, NULL);
}
