/* What docs/plan.md quotes; `plan NAME` runs the function NAME. tests/test_docs.py compiles it, runs every part and
 * compares what it prints with the page. */
#include <chainrule.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cr_graph *g;
static cr_dim m, n;
static cr_ref W, x, b, y;

static void layer(void)
{
    g = cr_graph_new();
    m = cr_dim_symbol(g, "m");
    n = cr_dim_symbol(g, "n");
    W = cr_param(g, "W", 2, (cr_dim[]){m, n}, 0);
    x = cr_param(g, "x", 1, &n, 0);
    b = cr_param(g, "b", 1, &m, 0);
    y = cr_map(g, CR_OP_TANH, cr_add(g, cr_matmul(g, W, x), b));
}

/* ---- helpers: values by name, a plan for one run -------------------------------------------------- */

static const struct value {
    const char *name;
    double entry[6];
} values[] = {
    {"W", {0.5, -1, 0.25, 1, 0.5, -0.5}}, {"x", {1, 2, -1}}, {"b", {0.5, -0.25}}, {"u", {1, -1}}, {"v", {1, 0, 2}},
    {"U", {1, 0, 0, 1, 1, 1}},
};

static const void *value_of(const char *name)
{
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        if (!strcmp(values[i].name, name)) return values[i].entry;
    }
    fprintf(stderr, "no value for %s\n", name);
    exit(1);
}

static void check(cr_status status)
{
    if (status == CR_OK) return;
    fprintf(stderr, "%s\n", cr_graph_message(g));
    exit(1);
}

static void *room(size_t n_entries)
{
    void *p = malloc((n_entries + 1) * sizeof(double));
    if (!p) exit(1);
    return p;
}

static void print(const char *name, size_t rows, const double *v, size_t count)
{
    printf("%s", name);
    for (size_t i = 0; i < count; i++) {
        const char *before = i == 0 ? " =" : i % (count / rows) == 0 ? ";" : "";
        printf("%s %.4f", before, v[i]);
    }
    putchar('\n');
}

static void print_output(const cr_plan *p, unsigned i, const double *v)
{
    char name[20];
    int64_t dim[CR_MAX_RANK];
    snprintf(name, sizeof name, "out[%u]", i);
    print(name, cr_plan_output_shape(p, i, dim) > 1 ? (size_t)dim[0] : 1, v, cr_plan_output_count(p, i));
}

static void evaluate(unsigned n_out, const cr_ref *out)
{
    cr_plan *plan;
    cr_plan_options options = {.precision = CR_F64};
    check(cr_plan_new(g, n_out, out, 3, (cr_size_value[]){{"m", 2}, {"n", 3}, {"K", 3}}, &options, &plan));
    cr_slab *slab = cr_slab_new(plan);
    const void *in[8];
    void *result[8];
    for (unsigned i = 0; i < cr_plan_inputs(plan); i++) in[i] = value_of(cr_plan_input_name(plan, i));
    for (unsigned i = 0; i < n_out; i++) result[i] = room(cr_plan_output_count(plan, i));
    check(cr_run(plan, slab, in, result));
    for (unsigned i = 0; i < n_out; i++) print_output(plan, i, result[i]);
    for (unsigned i = 0; i < n_out; i++) free(result[i]);
    cr_slab_free(slab);
    cr_plan_free(plan);
}

/* ---- what the page shows ------------------------------------------------------------------------- */

static void life(void)
{
    cr_ref out[3] = {cr_sum(g, y)};
    check(cr_reverse(g, out[0], cr_const(g, 1), 2, (cr_ref[]){W, b}, out + 1));

    cr_plan *plan;
    cr_size_value size[] = {{"m", 2}, {"n", 3}};
    cr_plan_options options = {.precision = CR_F64, .threads = 1};
    check(cr_plan_new(g, 3, out, 2, size, &options, &plan));

    char *text = cr_plan_text(plan);
    if (text) fputs(text, stdout);
    cr_string_free(text);

    cr_slab *slab = cr_slab_new(plan); /* NULL: out of memory */
    double W0[] = {0.5, -1, 0.25, 1, 0.5, -0.5}, x0[] = {1, 2, -1}, b0[] = {0.5, -0.25};
    double loss, dW[6], db[2];
    const void *in[3];
    in[cr_plan_input(plan, "W")] = W0;
    in[cr_plan_input(plan, "x")] = x0;
    in[cr_plan_input(plan, "b")] = b0;
    for (int step = 0; step < 100 && slab; step++) { /* gradient descent: no run allocates anything */
        check(cr_run(plan, slab, in, (void *[]){&loss, dW, db}));
        if (step % 33 == 0) printf("step %2d: %.4f\n", step, loss);
        for (int i = 0; i < 6; i++) W0[i] -= 0.1 * dW[i];
        for (int i = 0; i < 2; i++) b0[i] -= 0.1 * db[i];
    }
    cr_slab_free(slab);
    cr_plan_free(plan);
}

static void gradient(void)
{
    cr_ref out[4] = {cr_sum(g, cr_mul(g, y, y))};
    check(cr_reverse(g, out[0], cr_const(g, 1), 3, (cr_ref[]){W, x, b}, out + 1));
    evaluate(4, out);
}

static void vjp(void)
{
    cr_ref u = cr_param(g, "u", 1, &m, 0), out;
    check(cr_reverse(g, y, u, 1, &x, &out));
    evaluate(1, &out);
}

static void jvp(void)
{
    cr_ref v = cr_param(g, "v", 1, &n, 0);
    cr_ref out[2] = {y, cr_forward(g, y, 1, &x, &v)};
    evaluate(2, out);
}

static void jacobian(void)
{
    cr_ref out = cr_derivative(g, y, x);
    evaluate(1, &out);
}

static void seeds(void)
{
    cr_ref U = cr_param(g, "U", 2, (cr_dim[]){cr_dim_symbol(g, "K"), m}, 0), out[2];
    check(cr_reverse(g, y, U, 1, &x, &out[0]));
    check(cr_reverse(g, y, cr_identity(g, m), 1, &x, &out[1]));
    evaluate(2, out);
}

static void hvp(void)
{
    cr_ref loss = cr_sum(g, cr_mul(g, y, y)), v = cr_param(g, "v", 1, &n, 0), grad;
    check(cr_reverse(g, loss, cr_const(g, 1), 1, &x, &grad));
    cr_ref out[2] = {grad, cr_forward(g, grad, 1, &x, &v)};
    evaluate(2, out);
}

static void recurrence(void)
{
    static const char text[] = "let o0 : R, w[1..N] : R\n"
                               "def o[0] = o0\n"
                               "def o[i] = tanh(w[i]*o[i-1]) for i in 1..N\n"
                               "derive o[N] wrt w\n";
    enum { N = 100000 };
    cr_program *p = cr_program_new();
    cr_plan *plan = NULL;
    cr_plan_options options = {.precision = CR_F64};
    if (cr_program_parse(p, "deep", text, sizeof text - 1) != CR_OK || cr_program_assign(p, "N = 100000") != CR_OK ||
        cr_program_plan(p, 0, &options, &plan) != CR_OK)
        puts(cr_program_message(p));
    double o0 = 0.5, *w = room(N), *dw = room(N);
    for (int i = 0; i < N; i++) w[i] = 1.25;
    const void *in[2];
    in[cr_plan_input(plan, "o0")] = &o0;
    in[cr_plan_input(plan, "w")] = w;
    cr_slab *slab = cr_slab_new(plan);
    if (slab && cr_run(plan, slab, in, (void *[]){dw}) == CR_OK) print("last", 1, dw + N - 3, 3);
    cr_slab_free(slab);
    cr_plan_free(plan);
    cr_program_free(p);
    free(w);
    free(dw);
}

static double softsign(void *user, unsigned order, double z)
{
    double s = 1 + fabs(z);
    (void)user;
    return order == 0 ? z / s : order == 1 ? 1 / (s * s) : NAN; /* no more is asked for */
}

static void function(void)
{
    cr_fun sigma = cr_fun_unknown(g, "sigma");
    cr_ref z = cr_matmul(g, W, x), out[2] = {cr_sum(g, cr_call(g, sigma, 0, z))};
    check(cr_reverse(g, out[0], cr_const(g, 1), 1, &W, &out[1]));
    cr_function_value known = {sigma, softsign, NULL};
    cr_plan_options options = {.precision = CR_F64, .n_functions = 1, .function = &known};
    cr_plan *plan;
    check(cr_plan_new(g, 2, out, 2, (cr_size_value[]){{"m", 2}, {"n", 3}}, &options, &plan));
    cr_slab *slab = cr_slab_new(plan);
    double sum, dW[6];
    const void *in[2];
    in[cr_plan_input(plan, "W")] = value_of("W");
    in[cr_plan_input(plan, "x")] = value_of("x");
    check(cr_run(plan, slab, in, (void *[]){&sum, dW}));
    print("sum", 1, &sum, 1);
    print("dW", 2, dW, 6);
    cr_slab_free(slab);
    cr_plan_free(plan);
}

typedef struct job {
    const cr_plan *plan; /* shared: a plan never changes */
    double x[3], y[2];
} job;

static void *run_job(void *user)
{
    job *j = user;
    cr_slab *slab = cr_slab_new(j->plan); /* its own */
    const void *in[3];
    in[cr_plan_input(j->plan, "W")] = value_of("W");
    in[cr_plan_input(j->plan, "b")] = value_of("b");
    in[cr_plan_input(j->plan, "x")] = j->x;
    if (slab && cr_run(j->plan, slab, in, (void *[]){j->y}) != CR_OK) j->y[0] = NAN;
    cr_slab_free(slab);
    return NULL;
}

static void threads(void)
{
    cr_plan *plan;
    cr_plan_options options = {.precision = CR_F64, .threads = 1};
    check(cr_plan_new(g, 1, &y, 2, (cr_size_value[]){{"m", 2}, {"n", 3}}, &options, &plan));
    pthread_t thread[4];
    job jobs[4];
    for (int i = 0; i < 4; i++) {
        jobs[i] = (job){.plan = plan, .x = {i, 2, -1}};
        if (pthread_create(&thread[i], NULL, run_job, &jobs[i])) exit(1);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(thread[i], NULL);
        print("y", 1, jobs[i].y, 2);
    }
    cr_plan_free(plan);
}

static void memory(void)
{
    cr_ref square = cr_matmul(g, cr_map(g, CR_OP_TANH, W), cr_map(g, CR_OP_SIN, cr_transpose(g, W)));
    cr_plan_options options = {.max_bytes = 1 << 20};
    cr_plan *plan;
    if (cr_plan_new(g, 1, &square, 2, (cr_size_value[]){{"m", 512}, {"n", 512}}, &options, &plan) == CR_ELIMIT)
        puts(cr_graph_message(g));
    cr_graph_clear_error(g);
    if (cr_plan_new(g, 1, &square, 2, (cr_size_value[]){{"m", 1000000}, {"n", 3}}, NULL, &plan) == CR_ELIMIT)
        puts(cr_graph_message(g));
    cr_graph_clear_error(g);
    if (cr_plan_new(g, 1, &square, 1, (cr_size_value[]){{"n", 3}}, NULL, &plan) == CR_EVALUE)
        puts(cr_graph_message(g));
}

int main(int argc, char **argv)
{
    static const struct part {
        const char *name;
        void (*show)(void);
    } parts[] = {
        {"life", life},   {"gradient", gradient},     {"vjp", vjp},           {"jvp", jvp},         {"jacobian", jacobian},
        {"seeds", seeds}, {"hvp", hvp},               {"recurrence", recurrence}, {"function", function}, {"threads", threads},
        {"memory", memory},
    };
    int ran = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (argc > 1 && strcmp(argv[1], parts[i].name)) continue;
        layer();
        parts[i].show();
        cr_graph_free(g);
        ran++;
    }
    return ran ? 0 : 2;
}
