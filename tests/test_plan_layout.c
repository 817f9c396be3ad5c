/* What plans make of moved entries: concatenations, sums of placed parts that are none, and sums that share an end with
 * their cotangents: numbers against the reference interpreter and plain loops, and what they cost. */
#include "fixture.h"
#include "plan_check.h"

#include <math.h>
#include <string.h>

static void check(fixture *f, unsigned number, unsigned n, const cr_ref *root)
{
    char fault[500];
    if (cr_graph_status(f->g) != CR_OK) fail_msg("%s: %s", f->what, cr_graph_message(f->g));
    plan_check how = {.level = number % 4, .threads = 1 + number % 3, .precision = number % 5 < 2 ? CR_F32 : CR_F64};
    how.tolerance = how.precision == CR_F32 ? 1e-5 : 1e-12;
    if (!plan_agrees(f->g, f->env, n, root, &how, fault, sizeof fault)) fail_msg("%s: %s", f->what, fault);
}

static cr_ref param(fixture *f, unsigned rank, const int64_t *size)
{
    exec_array a;
    cr_ref r = new_param(f, NULL, rank, size, &a);
    for (size_t i = 0; i < a.n; i++) a.value[i] = (double)roll(f, 1000) / 100 - 5;
    bind_values(f, r, &a);
    return r;
}

static void value(fixture *f, cr_ref r, exec_array *a)
{
    if (cr_graph_status(f->g) != CR_OK) fail_msg("%s: %s", f->what, cr_graph_message(f->g));
    if (exec_eval(f->g, f->env, r, a) != CR_OK) fail_msg("%s: %s", f->what, cr_graph_message(f->g));
}

static void plan_cost(fixture *f, cr_ref r, size_t *bytes, size_t *steps)
{
    cr_plan *p;
    if (cr_plan_new(f->g, 1, &r, 0, NULL, NULL, &p) != CR_OK) fail_msg("%s: %s", f->what, cr_graph_message(f->g));
    *bytes = cr_plan_bytes(p);
    *steps = cr_plan_steps(p);
    cr_plan_free(p);
}

/* ---- concatenations ----------------------------------------------------------------------------- */

static void test_concat(void **state)
{
    (void)state;
    for (unsigned t = 0; t < 60; t++) {
        fixture f = begin(t + 1);
        unsigned rank = 1 + roll(&f, 4), axis = roll(&f, rank), n = 2 + roll(&f, 20);
        int64_t size[CR_MAX_RANK];
        cr_ref part[32], root[2];
        for (unsigned k = 0; k < rank; k++) size[k] = 1 + roll(&f, 4);
        for (unsigned i = 0; i < n; i++) {
            size[axis] = 1 + roll(&f, 3);
            part[i] = i > 0 && roll(&f, 4) == 0 ? part[roll(&f, i)] : param(&f, rank, size);
            if (roll(&f, 3) == 0) part[i] = cr_map(f.g, CR_OP_TANH, part[i]);
        }
        snprintf(f.what, sizeof f.what, "concat %u: %u parts along %u of %u", t, n, axis, rank);
        root[0] = cr_concat(f.g, n, part, axis);
        root[1] = cr_mul(f.g, root[0], root[0]); /* behind it, in one step */
        check(&f, t, 2, root);
        end(&f);
    }
}

/* Parts with gaps, that overlap, in a corner, with steps: sums, not concatenations. */
static void test_not_concat(void **state)
{
    (void)state;
    static const struct { int64_t at[2][2], step; } cases[] = {
        {{{0, 0}, {4, 0}}, 1}, {{{0, 0}, {2, 0}}, 1}, {{{0, 0}, {3, 1}}, 1}, {{{0, 0}, {3, -1}}, 1},
        {{{0, 0}, {0, 0}}, 1}, {{{1, 0}, {4, 0}}, 1}, {{{0, 0}, {3, 0}}, 2}, {{{-1, 0}, {2, 0}}, 1},
    };
    for (unsigned t = 0; t < sizeof cases / sizeof *cases; t++) {
        fixture f = begin(t + 1);
        cr_ref term[2];
        for (unsigned i = 0; i < 2; i++) {
            cr_dim first[2] = {num(&f, cases[t].at[i][0]), num(&f, cases[t].at[i][1])};
            cr_dim step[2] = {num(&f, cases[t].step), num(&f, 1)}, size[2] = {num(&f, 6), num(&f, 3)};
            term[i] = cr_place(f.g, param(&f, 2, (int64_t[]){3, 3}), first, step, size);
        }
        snprintf(f.what, sizeof f.what, "sum of placed parts %u", t);
        cr_ref sum = cr_add_n(f.g, 2, term);
        check(&f, t, 1, &sum);
        end(&f);
    }
}

/* As many parts as one likes are one step, and cost no memory beside the result. */
static void test_concat_cost(void **state)
{
    (void)state;
    fixture f = begin(1);
    cr_ref part[100];
    size_t bytes, steps;
    for (unsigned i = 0; i < 100; i++) part[i] = param(&f, 2, (int64_t[]){50, 20});
    snprintf(f.what, sizeof f.what, "concat of 100");
    plan_cost(&f, cr_concat(f.g, 100, part, 1), &bytes, &steps);
    assert_int_equal(steps, 1);
    assert_true(bytes < 100 * 50 * 20 * sizeof(double) / 4);
    end(&f);
}

/* ---- sums that share an end --------------------------------------------------------------------- */

typedef struct sums {
    bool back, without; /* from the end; the entry itself left out */
} sums;

/* Along axis 1 of a x n x b: n x a x b, entry i summed up to i or from there on. */
static cr_ref sums_of(fixture *f, cr_ref x, sums s)
{
    cr_graph *g = f->g;
    cr_dim i = cr_dim_symbol(g, "i"), k = cr_dim_symbol(g, "k"), one = num(f, 1), n = cr_size(g, x, 1);
    cr_dim shape[2] = {cr_size(g, x, 0), cr_size(g, x, 2)};
    cr_ref row = cr_einsum(g, 2, (cr_ref[]){cr_onehot(g, k, n), x}, (uint8_t[]){2, 0, 2, 1}, 2, shape);
    cr_dim lo = s.back ? cr_dim_add(g, i, num(f, s.without)) : one;
    cr_dim hi = s.back ? n : cr_dim_sub(g, i, num(f, s.without));
    return cr_bind(g, CR_BIND_STACK, "i", one, n, cr_bind(g, CR_BIND_SUM, "k", lo, hi, row));
}

/* Does entry i of the result have entry k? */
static bool counts(sums s, int64_t i, int64_t k)
{
    return (s.without && i != k && (i > k) != s.back) || (!s.without && (i == k || (i > k) != s.back));
}

static void test_sums(void **state)
{
    (void)state;
    enum { K = 2, A = 3, N = 5, B = 2 };
    for (unsigned t = 0; t < 8; t++) {
        fixture f = begin(t + 1);
        sums s = {t & 1, t >> 1 & 1};
        unsigned lead = t >> 2;
        int64_t with_lead[] = {K, N, A, B};
        cr_ref x = param(&f, 3, (int64_t[]){A, N, B}), ybar = param(&f, 3 + lead, with_lead + 1 - lead);
        cr_ref y = sums_of(&f, x, s), xbar = CR_NONE, again = CR_NONE;
        exec_array bar, got, direct;
        snprintf(f.what, sizeof f.what, "sums %s%s, %u leading axes", s.back ? "from the end" : "from the start",
                 s.without ? ", exclusive" : "", lead);
        assert_int_equal(cr_reverse(f.g, y, ybar, 1, &x, &xbar), CR_OK);
        value(&f, ybar, &bar);
        value(&f, xbar, &got);
        for (size_t at = 0; at < got.n; at++) {
            size_t b = at % B, k = at / B % N, a = at / B / N % A, l = at / B / N / A;
            double want = 0;
            for (size_t i = 0; i < N; i++) {
                if (counts(s, (int64_t)i, (int64_t)k)) want += bar.value[((l * N + i) * A + a) * B + b];
            }
            if (fabs(want - got.value[at]) > 1e-12)
                fail_msg("%s: [%zu] is %g, not %g", f.what, at, got.value[at], want);
        }
        assert_int_equal(got.n, (lead ? K : 1) * A * N * B);
        cr_ref both[2] = {y, xbar};
        check(&f, t, 2, both);
        if (lead == 0) { /* the cotangent of the cotangent: y of what it is contracted with */
            cr_ref u = param(&f, 3, (int64_t[]){A, N, B});
            assert_int_equal(cr_reverse(f.g, xbar, u, 1, &ybar, &again), CR_OK);
            exec_array twice;
            value(&f, again, &twice);
            value(&f, sums_of(&f, u, s), &direct);
            for (size_t i = 0; i < direct.n; i++) assert_true(fabs(direct.value[i] - twice.value[i]) < 1e-12);
            exec_array_free(&twice);
            exec_array_free(&direct);
        }
        exec_array_free(&bar);
        exec_array_free(&got);
        end(&f);
    }
}

/* One pass over the axis: memory like that of x, not of all pairs of entries. */
static void test_sums_cost(void **state)
{
    (void)state;
    fixture f = begin(1);
    int64_t size[] = {2, 3000, 2};
    size_t bytes, steps;
    cr_ref x = param(&f, 3, size), seed = param(&f, 3, (int64_t[]){3000, 2, 2}), xbar = CR_NONE;
    cr_ref y = sums_of(&f, x, (sums){false, false});
    snprintf(f.what, sizeof f.what, "sums of 3000");
    assert_int_equal(cr_reverse(f.g, y, seed, 1, &x, &xbar), CR_OK);
    plan_cost(&f, xbar, &bytes, &steps);
    assert_true(bytes < 8 * 3000 * 4 * sizeof(double));
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_concat),      cmocka_unit_test(test_not_concat), cmocka_unit_test(test_concat_cost),
        cmocka_unit_test(test_sums),        cmocka_unit_test(test_sums_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
