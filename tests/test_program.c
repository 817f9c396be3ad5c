/* Room program: random points, numeric derivatives, checks that can fail, results under failing allocation. */
#include "unit.h"

#include "program/program.h"

#include <math.h>
#include <string.h>

static cr_program *program(const char *text)
{
    cr_program *p = cr_program_new();
    assert_non_null(p);
    if (cr_program_parse(p, "test", text, strlen(text)) != CR_OK) fail_msg("%s", cr_program_message(p));
    return p;
}

/* ---- random points ---------------------------------------------------------------------------- */

static void test_generator(void **state)
{
    (void)state;
    random_gen a, b;
    random_seed(&a, 7);
    random_seed(&b, 7);
    double sum = 0, square = 0;
    enum { N = 20000 };
    for (int i = 0; i < N; i++) {
        double z = random_normal(&a);
        assert_true(z == random_normal(&b));
        sum += z;
        square += z * z;
    }
    assert_true(fabs(sum / N) < 0.03);
    assert_true(fabs(square / N - 1) < 0.05);
    random_seed(&b, 8);
    assert_true(random_u64(&a) != random_u64(&b));
    /* xoshiro256** from the state 1, 2, 3, 4: the first outputs of the reference implementation */
    random_gen r = {.s = {1, 2, 3, 4}};
    assert_true(random_u64(&r) == 11520u);
    assert_true(random_u64(&r) == 0u);
    assert_true(random_u64(&r) == 1509978240u);
    assert_true(random_u64(&r) == 1215971899390074240u);
}

/* Every combination of attributes, every kind of draw: the values have the attributes. */
static void test_draws_have_their_attributes(void **state)
{
    (void)state;
    static const unsigned bits[] = {0,
                                    CR_SYMMETRIC,
                                    CR_DIAGONAL,
                                    CR_POSITIVE,
                                    CR_DEFINITE,
                                    CR_INVERTIBLE,
                                    CR_PROBABILITY,
                                    CR_SYMMETRIC | CR_INVERTIBLE,
                                    CR_DIAGONAL | CR_INVERTIBLE,
                                    CR_DIAGONAL | CR_DEFINITE,
                                    CR_SYMMETRIC | CR_POSITIVE};
    random_gen r;
    random_seed(&r, 1);
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        cr_graph *g = cr_graph_new();
        cr_dim n = cr_dim_symbol(g, "n");
        cr_ref a = cr_param(g, "A", 2, (cr_dim[]){n, n}, bits[i]);
        for (int k = 0; k < RANDOM_KINDS * 10; k++) {
            error e = {0};
            exec_array x;
            assert_true(exec_array_init(&x, 2, (int64_t[]){4, 4}, &e));
            assert_int_equal(random_fill(&r, bits[i], (random_kind)(k % RANDOM_KINDS), &x), CR_OK);
            if (values_attributes(g, a, &x) != CR_OK) fail_msg("attributes %u: %s", bits[i], cr_graph_message(g));
            exec_array_free(&x);
        }
        cr_graph_free(g);
    }
}

static void test_stand_in_function(void **state)
{
    (void)state;
    for (uintptr_t f = 0; f < 3; f++)
        for (unsigned k = 0; k < 5; k++)
            for (double z = -2; z <= 2; z += 0.25) {
                double h = 1e-4,
                       d = (random_function((void *)f, k, z + h) - random_function((void *)f, k, z - h)) / (2 * h);
                assert_true(fabs(d - random_function((void *)f, k + 1, z)) < 1e-6);
            }
}

/* ---- numeric derivatives ---------------------------------------------------------------------- */

/* f : R -> R at x, its derivative, and the relative error that the method may have. */
static void slope_of(const char *expr, double x, double truth, bool complex_step, double error_allowed)
{
    cr_program *p = program("let x : R\n");
    assert_int_equal(cr_program_query(p, CR_QUERY_CHECK, expr, "x"), CR_OK);
    const lang_statement *st = lang_statement_at(p->lang, 0);
    cr_ref var = st->wrt[0].var;
    assert_int_equal(numeric_analytic(p->g, st->expr, var), complex_step);
    exec_env *env = exec_env_new(p->g);
    exec_array a = {.n = 1, .value = &x};
    assert_int_equal(exec_bind(env, var, &a), CR_OK);
    for (int m = complex_step ? NUMERIC_COMPLEX : NUMERIC_DIFFERENCES; m <= NUMERIC_DIFFERENCES; m++) {
        numeric_method method = (numeric_method)m;
        numeric_slope s;
        assert_int_equal(numeric_along(p->g, env, st->expr, var, (double[]){1}, &method, &s), CR_OK);
        double allowed = method == NUMERIC_COMPLEX ? 1e-13 : error_allowed, off = fabs(s.value[0] - truth);
        if (!(off <= allowed * fabs(truth))) fail_msg("%s at %g: %.17g, not %.17g", expr, x, s.value[0], truth);
        if (method == NUMERIC_DIFFERENCES && !(off <= 10 * s.error[0] + 1e-12 * fabs(truth)))
            fail_msg("%s at %g: off by %g, estimate %g", expr, x, off, s.error[0]);
        assert_true(exec_value(env, var)->value[0] == x); /* as before */
        numeric_free(&s);
    }
    exec_env_free(env);
    cr_program_free(p);
}

static void test_numeric_slopes(void **state)
{
    (void)state;
    slope_of("exp(x)", 1, exp(1), true, 1e-10);
    slope_of("sin(20*x)", 1, 20 * cos(20), true, 1e-8);
    slope_of("x^3", 1e5, 3e10, true, 1e-10);
    slope_of("log(x)", 1e-6, 1e6, true, 1e-6);
    slope_of("sqrt(x)", 1e-4, 50, true, 1e-7);
    slope_of("1e-12*x", 3, 1e-12, true, 1e-9);
    slope_of("abs(x)*x", 0.5, 1, false, 1e-10);
    slope_of("relu(x - 0.01)", 0.011, 1, false, 1e-9); /* a kink nearer than the first steps */
    slope_of("max(x, 1)*x^2", 0.9999, 1.9998, false, 1e-7);
    slope_of("if(x > 0, x^2, x)", 2, 4, false, 1e-9);
    slope_of("tanh(x)", 0.3, 1 - tanh(0.3) * tanh(0.3), true, 1e-10);
}

/* ---- a check must be able to fail ------------------------------------------------------------- */

/* The statement's derivative with `wrong` instead: what check_case says of it. */
static cr_answer judged(const char *text, const char *at, const char *wrong)
{
    cr_program *p = program(text);
    assert_int_equal(cr_program_assign(p, at), CR_OK);
    const lang_statement *st = lang_statement_at(p->lang, 0);
    lang_statement other = {0};
    assert_int_equal(lang_expression(p->lang, "wrong", wrong, &other), CR_OK);
    arena mem = {0};
    check_work w = {.p = p, .st = st, .mem = &mem, .keep_above = -INFINITY};
    check_level l = {st->expr, other.expr, &st->wrt[0], 1, numeric_analytic(p->g, st->expr, st->wrt[0].var)};
    prog_needs n;
    cr_ref roots[] = {st->expr, other.expr, st->wrt[0].var};
    assert_int_equal(needs_collect(p, st, 3, roots, &n), CR_OK);
    exec_env *env = exec_env_new(p->g);
    values_open open;
    if (values_bind(p, &n, env, &open) != CR_OK) fail_msg("%s", cr_program_message(p));
    cr_check_case c = {0};
    double ratio;
    bool unreliable;
    if (check_case(&w, env, 1, &l, &c, &ratio, &unreliable) != CR_OK) fail_msg("%s", cr_program_message(p));
    assert_false(unreliable);
    cr_answer a = c.agrees;
    mem_free(w.finding);
    exec_env_free(env);
    needs_free(&n);
    arena_free(&mem);
    cr_program_free(p);
    return a;
}

static void test_wrong_formulas_are_found(void **state)
{
    (void)state;
    const char *square = "let x : R^n\ncheck sum(x.^2) wrt x\n", *at = "x = [1, -2, 0.5]";
    assert_int_equal(judged(square, at, "2*x"), CR_YES);
    assert_int_equal(judged(square, at, "-2*x"), CR_NO); /* signed */
    assert_int_equal(judged(square, at, "2.00001*x"), CR_NO);
    assert_int_equal(judged(square, at, "2*x + 1e-7*ones(n)"), CR_NO);
    const char *small = "let x : R^n\ncheck 1e-30*sum(x.^2) wrt x\n"; /* no absolute tolerance hides it */
    assert_int_equal(judged(small, at, "2e-30*x"), CR_YES);
    assert_int_equal(judged(small, at, "-2e-30*x"), CR_NO);
    assert_int_equal(judged(small, at, "2.001e-30*x"), CR_NO);
    const char *beside = "let x : R^n\ncheck 1e-20*sum(x.^2) + 3 wrt x\n"; /* nor a large value */
    assert_int_equal(judged(beside, at, "2e-20*x"), CR_YES);
    assert_int_equal(judged(beside, at, "-2e-20*x"), CR_NO);
    const char *cancelled = "let x : R^n\ncheck sum(softmax(x)) wrt x\n"; /* but rounding is no finding */
    assert_int_equal(judged(cancelled, at, "0*x"), CR_YES);
    assert_int_equal(judged(cancelled, at, "softmax(x) - softmax(x)*sum(softmax(x))"), CR_YES);
    assert_int_equal(judged(cancelled, at, "1e-12*x"), CR_NO);
    const char *kinked = "let x : R^n\ncheck sum(relu(x)) wrt x\n";
    assert_int_equal(judged(kinked, at, "step(x)"), CR_YES);
    assert_int_equal(judged(kinked, at, "step(-x)"), CR_NO);
    assert_int_equal(judged(kinked, at, "1.0001*step(x)"), CR_NO);
    const char *matrix = "let X : R^{m x n}\ncheck tr(X*X') wrt X\n", *here = "X = [1,2,3;4,5,6]";
    assert_int_equal(judged(matrix, here, "2*X"), CR_YES);
    assert_int_equal(judged(matrix, here, "X"), CR_NO);
}

/* ---- allocation ------------------------------------------------------------------------------- */

static const char everything[] = "fun s : R -> R\n"
                                 "let x : R^n, W : R^{m x n}, b : R^m, S : R^{n x n} symmetric, k : Z\n"
                                 "derive s(relu(W*x + b)[k]) wrt x[j]\n"
                                 "derive x'*S*x wrt S\n"
                                 "eval sum(relu(W*x + b))\n"
                                 "check sum(abs(W*x)) wrt x\n"
                                 "check softmax(W*x) wrt x, W\n";

static void run_everything(const bool *refused)
{
    cr_program *p = cr_program_new();
    cr_status status = CR_OK;
    if (p) {
        cr_status s = cr_program_parse(p, "t", everything, strlen(everything));
        if (s == CR_OK) s = cr_program_assign(p, "x = [1,0]; W = [1,2;3,4;5,6]; b = [1,1,1]");
        for (size_t i = 0; s == CR_OK && i < cr_program_count(p); i++) {
            if (cr_program_kind(p, i) == CR_QUERY_DERIVE) {
                cr_derivation *d;
                s = cr_program_derive(p, i, CR_TEXT | CR_UNICODE | CR_LATEX | CR_STEPS, CR_FORM_AUTO, &d);
                cr_derivation_free(d);
            } else if (cr_program_kind(p, i) == CR_QUERY_EVAL) {
                cr_array a;
                s = cr_program_eval(p, i, &a);
                cr_array_free(&a);
            } else {
                cr_check *c;
                s = cr_program_check(p, i, &(cr_check_options){.points = 1}, &c);
                cr_check_free(c);
            }
        }
        status = s;
        if (s != CR_OK && (s != CR_ENOMEM || !*refused)) fail_msg("status %d: %s", (int)s, cr_program_message(p));
        cr_program_free(p);
    }
    assert_true(*refused || (p && status == CR_OK));
}

static void test_allocation_failure(void **state)
{
    (void)state;
    each_allocation_fails(run_everything);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generator),
        cmocka_unit_test(test_draws_have_their_attributes),
        cmocka_unit_test(test_stand_in_function),
        cmocka_unit_test(test_numeric_slopes),
        cmocka_unit_test(test_wrong_formulas_are_found),
        cmocka_unit_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
