/* Recurrences: the loops against the interpreter, both against complex steps through the value, and ranges that share
 * an end at depths where plain evaluation would take minutes. */
#include "unit.h"

#include "exec/internal.h"
#include "program/program.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct sample {
    const char *text; /* the last statement is measured; `N` gets several values */
    int least;        /* N */
    size_t n_vector;  /* m; 0: there is none */
    bool members, bind; /* a loop runs the definitions, the binder */
    const char *zero; /* this variable's entries 2 and 5 are 0 */
} sample;

#define NETWORK "let x : R, w[1..N], b[1..N] : R\n" \
                "def o[0] = x\n" \
                "def s[i] = w[i]*o[i-1] + b[i] for i in 1..N\n"
#define CHAIN "let x : R, w[1..N] : R\n" \
              "def o[0] = x\n"
#define BATCH "let u : R^m, w[1..N] : R\n" \
              "def e[0] = u\n"
static const sample samples[] = {
    {NETWORK "def o[i] = sigmoid(s[i]) for i in 1..N\nderive o[N] wrt w", 1, 0, true, true, NULL},
    {NETWORK "def o[i] = sigmoid(s[i]) for i in 1..N\nderive o[N] wrt w", 1, 0, true, true, "w"},
    {NETWORK "def o[i] = sigmoid(s[i]) for i in 1..N\nderive o[N] wrt b", 1, 0, true, true, NULL},
    {NETWORK "def o[i] = sigmoid(s[i]) for i in 1..N\nderive o[N] wrt x", 1, 0, true, true, NULL},
    {NETWORK "def o[i] = tanh(s[i]) for i in 1..N\nderive (o[N] - 1)^2 wrt w", 1, 0, true, true, "w"},
    {CHAIN "def o[i] = o[i-1] + tanh(w[i]*o[i-1])*w[i]/i for i in 1..N\nderive o[N]^2 wrt w", 1, 0, true, true, NULL},
    {CHAIN "def o[i] = exp(-w[i]*o[i-1]) for i in 1..N\nderive o[N] + 2*o[1] wrt w", 1, 0, true, true, "w"},
    {CHAIN "fun f(z) = z*tanh(z)\ndef o[i] = f(w[i]*o[i-1]) + 1 for i in 1..N\nderive o[N] wrt w", 1, 0, true, true,
     NULL},
    {"let x : R, w[1..N] : R\ndef o[0] = x\ndef o[1] = w[1]*x\n"
     "def o[i] = sin(w[i]*o[i-1] + o[i-2]) for i in 2..N\nderive o[N] wrt w", 2, 0, true, false, NULL},
    {BATCH "def e[i] = sigmoid(w[i]*e[i-1]) for i in 1..N\nderive sum(e[N]) wrt w", 1, 5, true, true, NULL},
    {BATCH "def e[i] = sigmoid(w[i]*e[i-1]) for i in 1..N\nderive sum(e[N]) wrt w", 1, 1, true, true, "w"},
    {BATCH "def e[i] = sigmoid(w[i]*e[i-1]) for i in 1..N\nderive sum(e[N]) wrt u", 1, 1300, true, true, NULL},
    {BATCH "def e[i] = tanh(w[i]*e[i-1]) + e[i-1]/2 for i in 1..N\nderive sum(e[N] .* e[N]) wrt w", 1, 300, true, true,
     "w"},
    {"let w[1..N] : R\neval [k=1..N : prod(j=k+1..N, 1 + w[j]/j)]", 1, 0, false, true, "w"},
    {"let w[1..N] : R\neval [k=1..N : prod(j=1..k-1, 1 + w[j]/j)*w[k]]", 1, 0, false, true, "w"},
    {"let w[1..N] : R\neval [k=1..N : sum(j=k..N, w[j]^2) - sum(j=k+2..N, w[j])]", 1, 0, false, true, NULL},
    {"let w[1..N] : R\neval [k=1..N : sum(j=1..k, w[j]) + sum(j=k..N, w[j])]", 1, 0, false, false, NULL},
    {"let w[1..N] : R\neval [k=1..N : sum(j=2..k+3, sin(j)) + if(k < 4, 1, w[k])]", 1, 0, false, true, NULL},
    {CHAIN "def o[i] = sum(j=0..i-1, o[j])*w[i]/i for i in 1..N\nderive o[N] wrt x", 1, 0, false, false, NULL},
    {"let W[1..N] : R^{2 x 2}\neval [k=1..N : prod(j=k+1..N, W[j][1,1])]", 1, 0, false, false, NULL},
};

static void bind_all(cr_program *p, exec_env *env, const sample *s, int64_t n)
{
    cr_graph *g = p->g;
    exec_bind_int(env, name_intern(g->dims, "N", 1), n);
    if (s->n_vector) exec_bind_int(env, name_intern(g->dims, "m", 1), (int64_t)s->n_vector);
    for (size_t i = 0; i < lang_n_variables(p->lang); i++) {
        cr_ref param = lang_variable_at(p->lang, i)->param;
        if (!param) continue;
        exec_array a;
        error e = {CR_OK, NULL};
        int64_t dim[CR_MAX_RANK];
        size_t size;
        assert_true(exec_shape(env, param, dim, &size));
        assert_true(exec_array_init(&a, shape_of(g, param)->rank, dim, &e));
        const char *name = name_text(g->dims, attr_of(g, param, 0));
        for (size_t k = 0; k < a.n; k++) a.value[k] = 0.4 + 1.1 * sin(1.7 * (double)k + (double)name[0]);
        for (size_t k = 1; s->zero && !strcmp(s->zero, name) && k < a.n; k += 3) a.value[k] = k < 5 ? 0 : a.value[k];
        assert_int_equal(exec_bind(env, param, &a), CR_OK);
        exec_array_free(&a);
    }
}

static void near(const sample *s, int64_t n, const char *what, const exec_array *a, const exec_array *b,
                 double tolerance)
{
    assert_int_equal(a->n, b->n);
    double scale = 0;
    for (size_t k = 0; k < b->n; k++) scale = fmax(scale, fabs(b->value[k]));
    for (size_t k = 0; k < a->n; k++) {
        if (!(fabs(a->value[k] - b->value[k]) <= tolerance * fmax(scale, 1e-300)))
            fail_msg("%s\nN = %lld, %s, entry %zu: %.17g is not %.17g", s->text, (long long)n, what, k, a->value[k],
                     b->value[k]);
    }
}

/* d f by complex steps, one for each entry of the variable. */
static void steps(cr_program *p, exec_env *env, cr_ref f, cr_ref param, exec_array *out)
{
    const exec_array *at = exec_value(env, param);
    error e = {CR_OK, NULL};
    assert_true(exec_array_init(out, at->rank, at->dim, &e));
    double *imag = test_calloc(at->n, sizeof *imag);
    for (size_t k = 0; k < out->n; k++) {
        exec_array re, im;
        imag[k] = 1e-100;
        assert_int_equal(exec_eval_complex(p->g, env, f, param, imag, &re, &im), CR_OK);
        out->value[k] = im.value[0] / 1e-100;
        imag[k] = 0;
        exec_array_free(&re);
        exec_array_free(&im);
    }
    test_free(imag);
}

static void check_sample(const sample *s, int64_t n)
{
    cr_program *p = cr_program_new();
    assert_non_null(p);
    if (cr_program_parse(p, "sample", s->text, strlen(s->text)) != CR_OK)
        fail_msg("%s\n%s", s->text, cr_program_message(p));
    const lang_statement *st = prog_statement(p, 0);
    cr_ref root[2] = {st->expr, prog_exact(p, st, st->n_wrt, 0)};
    exec_env *env = exec_env_new(p->g);
    bind_all(p, env, s, n);
    exec_array loop[2] = {{0}}, plain[2], again;
    for (int round = 0; round < 2; round++)
        if (exec_eval_n(p->g, env, EXEC_REUSE, 2, root, loop) != CR_OK)
            fail_msg("%s\n%s", s->text, cr_program_message(p));
    if (n >= 20 && (!env->member_loops == s->members || !env->bind_loops == s->bind))
        fail_msg("%s\nN = %lld: %zu loops over members, %zu over binders", s->text, (long long)n, env->member_loops,
                 env->bind_loops);
    size_t before = env->member_loops + env->bind_loops;
    assert_int_equal(exec_eval_n(p->g, env, EXEC_INTERPRET, 2, root, plain), CR_OK);
    assert_int_equal(before, env->member_loops + env->bind_loops);
    for (int k = 0; k < 2; k++) near(s, n, k ? "derivative" : "value", &loop[k], &plain[k], 1e-13);
    assert_int_equal(exec_eval(p->g, env, root[1], &again), CR_OK); /* without the value: other twins, other order */
    near(s, n, "derivative alone", &again, &plain[1], 1e-13);
    if (st->n_wrt && n <= 20) {
        exec_array want;
        steps(p, env, root[0], st->wrt[0].var, &want);
        near(s, n, "complex steps", &plain[1], &want, 1e-12);
        exec_array_free(&want);
    }
    exec_array_free(&again);
    for (int k = 0; k < 2; k++) {
        exec_array_free(&loop[k]);
        exec_array_free(&plain[k]);
    }
    exec_env_free(env);
    cr_program_free(p);
}

static void loops_and_interpreter_agree(void **state)
{
    (void)state;
    static const int64_t depth[] = {1, 2, 3, 8, 9, 10, 11, 20, 257, 600};
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++)
        for (size_t k = 0; k < sizeof depth / sizeof *depth; k++)
            if (depth[k] >= samples[i].least && (samples[i].n_vector < 100 || depth[k] <= 20))
                check_sample(&samples[i], depth[k]);
}

/* N = 20000: 2*10^8 factors one by one. */
static void deep_products_are_cheap(void **state)
{
    (void)state;
    check_sample(&samples[0], 20000);
    check_sample(&samples[8], 20000);
    check_sample(&samples[13], 20000);
}

/* The same environment for other depths: nothing may be left over from the first. */
static void depths_one_after_the_other(void **state)
{
    (void)state;
    cr_program *p = cr_program_new();
    assert_int_equal(cr_program_parse(p, "sample", samples[0].text, strlen(samples[0].text)), CR_OK);
    const lang_statement *st = prog_statement(p, 0);
    cr_ref root[2] = {st->expr, prog_exact(p, st, st->n_wrt, 0)};
    exec_env *env = exec_env_new(p->g);
    exec_array out[2] = {{0}}, want[2];
    static const int64_t depth[] = {40000, 100, 40000, 30000, 5, 60000};
    for (size_t i = 0; i < sizeof depth / sizeof *depth; i++) {
        exec_env *fresh = exec_env_new(p->g);
        bind_all(p, env, &samples[0], depth[i]);
        bind_all(p, fresh, &samples[0], depth[i]);
        assert_int_equal(exec_eval_n(p->g, env, EXEC_REUSE, 2, root, out), CR_OK);
        assert_int_equal(exec_eval_n(p->g, fresh, 0, 2, root, want), CR_OK);
        for (int k = 0; k < 2; k++) {
            assert_int_equal(out[k].n, want[k].n);
            assert_memory_equal(out[k].value, want[k].value, want[k].n * sizeof(double));
            exec_array_free(&want[k]);
        }
        exec_env_free(fresh);
    }
    exec_array_free(&out[0]);
    exec_array_free(&out[1]);
    exec_env_free(env);
    cr_program_free(p);
}

/* What does not fit is the interpreter's, whose messages do not depend on what was tried before. */
static void errors_are_the_interpreters(void **state)
{
    (void)state;
    static const char text[] = "let w[1..N] : R\ndef o[0] = 1\ndef o[i] = w[i]*o[i-1] for i in 1..N\neval o[N]*w[1]";
    for (int kind = 0; kind < 4; kind++) { /* beyond the range, made by hand: the parser takes no such text */
        char message[2][300] = {"", ""};
        for (unsigned flags = 0; flags < 2; flags++) {
            cr_program *p = cr_program_new();
            assert_int_equal(cr_program_parse(p, "sample", text, strlen(text)), CR_OK);
            cr_graph *g = p->g;
            cr_dim n = cr_dim_symbol(g, "N"), k = cr_dim_symbol(g, "k"), j = cr_dim_symbol(g, "j");
            cr_dim one = cr_dim_const(g, 1), three = cr_dim_const(g, 3), far = cr_dim_add(g, n, three);
            cr_ref w = g->param_by_name[name_intern(g->dims, "w", 1)], root = CR_NONE;
            cr_family o = (cr_family)g->n_family - 1;
            cr_ref product = cr_bind(g, CR_BIND_PROD, "j", k, n, cr_pick(g, w, cr_dim_sub(g, j, three)));
            if (kind == 0) root = cr_member(g, o, far);
            if (kind == 1) root = cr_bind(g, CR_BIND_STACK, "k", one, far, cr_member(g, o, k));
            if (kind == 2) root = cr_bind(g, CR_BIND_STACK, "k", one, n, cr_mul(g, product, cr_member(g, o, k)));
            if (kind == 3) root = cr_bind(g, CR_BIND_SUM, "k", three, far, cr_pick(g, w, k));
            exec_env *env = exec_env_new(g);
            exec_array out = {0};
            bind_all(p, env, &samples[0], 30);
            assert_int_not_equal(exec_eval_n(g, env, flags ? EXEC_INTERPRET : 0, 1, &root, &out), CR_OK);
            snprintf(message[flags], sizeof *message, "%s", cr_program_message(p));
            exec_env_free(env);
            cr_program_free(p);
        }
        assert_string_equal(message[0], message[1]);
        if (!strstr(message[0], kind < 2 ? "has no definition" : "out of range")) fail_msg("%s", message[0]);
    }
}

/* ---- memory --------------------------------------------------------------------------------------- */

static cr_program *scarce;
static cr_ref scarce_root[2];
static exec_env *scarce_env;

static void evaluate_scarcely(const bool *refused)
{
    exec_array out[2] = {{0}};
    cr_status s = exec_eval_n(scarce->g, scarce_env, 0, 2, scarce_root, out);
    assert_int_equal(s, *refused ? CR_ENOMEM : CR_OK);
    exec_array_free(&out[0]);
    exec_array_free(&out[1]);
    cr_graph_clear_error(scarce->g);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const size_t which[] = {0, 7, 8, 9, 14}; /* samples */
    for (size_t i = 0; i < sizeof which / sizeof *which; i++) {
        const sample *s = &samples[which[i]];
        scarce = cr_program_new();
        assert_int_equal(cr_program_parse(scarce, "sample", s->text, strlen(s->text)), CR_OK);
        const lang_statement *st = prog_statement(scarce, 0);
        scarce_root[0] = st->expr;
        scarce_root[1] = prog_exact(scarce, st, st->n_wrt, 0);
        scarce_env = exec_env_new(scarce->g);
        bind_all(scarce, scarce_env, s, 20);
        each_allocation_fails(evaluate_scarcely);
        exec_env_free(scarce_env);
        cr_program_free(scarce);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loops_and_interpreter_agree),
        cmocka_unit_test(deep_products_are_cheap),
        cmocka_unit_test(depths_one_after_the_other),
        cmocka_unit_test(errors_are_the_interpreters),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
