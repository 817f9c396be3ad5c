/* Integer polynomials: normal form, floor division, printing, evaluation, bounds, limits, failing memory. */
#include "unit.h"

#include "graph/dim.h"

#include <stdio.h>
#include <string.h>

static error err;
static dim_table *t;
static cr_dim n, m, p;

static int setup(void **state)
{
    (void)state;
    err = (error){0};
    t = dim_table_new(&err);
    n = dim_symbol(t, name_intern(t, "n", 1));
    m = dim_symbol(t, name_intern(t, "m", 1));
    p = dim_symbol(t, name_intern(t, "p", 1));
    return t ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    dim_table_free(t);
    err_clear(&err);
    return 0;
}

static cr_dim c(int64_t v)
{
    return dim_const(t, v);
}
static cr_dim add(cr_dim a, cr_dim b)
{
    return dim_add(t, a, b);
}
static cr_dim sub(cr_dim a, cr_dim b)
{
    return dim_sub(t, a, b);
}
static cr_dim mul(cr_dim a, cr_dim b)
{
    return dim_mul(t, a, b);
}
static cr_dim fdiv(cr_dim a, cr_dim b)
{
    return dim_floordiv(t, a, b);
}

static void assert_text_(cr_dim d, const char *text, int line)
{
    strbuf b;
    sb_init(&b);
    dim_print(t, d, &b, NULL, NULL);
    if (strcmp(sb_str(&b), text) != 0) fail_msg("line %d: %s instead of %s", line, sb_str(&b), text);
    sb_free(&b);
}
#define assert_text(d, text) assert_text_(d, text, __LINE__)

static void test_normal_form(void **state)
{
    (void)state;
    assert_int_equal(add(n, m), add(m, n));
    assert_int_equal(mul(add(n, m), sub(n, m)), sub(mul(n, n), mul(m, m)));
    assert_int_equal(sub(add(n, c(1)), n), c(1));
    assert_int_equal(sub(n, n), c(0));
    assert_int_equal(mul(n, c(0)), c(0));
    assert_int_not_equal(n, m);
    int64_t v;
    assert_true(dim_value(t, sub(add(n, c(-7)), n), &v));
    assert_int_equal(v, -7);
    assert_false(dim_value(t, n, &v));
    dim_sym s;
    assert_true(dim_is_symbol(t, m, &s));
    assert_string_equal(name_text(t, s), "m");
    assert_false(dim_is_symbol(t, mul(c(2), m), &s));
    assert_false(dim_is_symbol(t, mul(m, m), &s));
    /* none in, none out, and no error of its own */
    assert_int_equal(add(0, n), 0);
    assert_int_equal(fdiv(n, 0), 0);
    assert_int_equal(err.status, CR_OK);
}

static void test_print(void **state)
{
    (void)state;
    assert_text(c(0), "0");
    assert_text(c(-3), "-3");
    assert_text(sub(n, c(1)), "n-1");
    assert_text(sub(c(1), n), "1-n");
    assert_text(sub(m, n), "m-n");
    assert_text(sub(c(-1), n), "-n-1");
    assert_text(add(c(1), mul(c(2), n)), "2*n+1");
    assert_text(mul(p, m), "m*p");
    assert_text(add(add(c(4), p), mul(n, mul(n, m))), "n^2*m+p+4");
    assert_text(fdiv(sub(n, c(1)), c(2)), "floor((n-1)/2)");
    assert_text(fdiv(n, m), "floor(n/m)");
    assert_text(fdiv(mul(n, m), mul(p, c(2))), "floor(n*m/(2*p))");
    assert_text(fdiv(n, add(m, c(1))), "floor(n/(m+1))");
    assert_text(add(c(1), fdiv(sub(n, m), c(2))), "floor((n-m)/2)+1");
    assert_text(add(fdiv(sub(n, c(1)), c(2)), mul(n, fdiv(sub(n, c(1)), c(2)))), "n*floor((n+1)/2)-n+floor((n-1)/2)");
    assert_text(fdiv(c(-1), m), "floor((-1)/m)");
    assert_true(dim_is_sum(t, sub(n, c(1))));
    assert_true(dim_is_sum(t, c(-1)));
    assert_false(dim_is_sum(t, mul(n, m)));
    assert_false(dim_is_sum(t, fdiv(sub(n, c(1)), c(2))));

    strbuf b;
    sb_init(&b);
    dim_print_latex(t, add(mul(c(2), mul(n, n)), fdiv(sub(n, c(1)), c(2))), &b, NULL, NULL);
    assert_string_equal(sb_str(&b), "2 n^{2}+\\left\\lfloor \\frac{n-1}{2} \\right\\rfloor");
    sb_free(&b);
}

static const char *shout(void *user, dim_sym s)
{
    (void)user;
    return strcmp(name_text(t, s), "n") == 0 ? "N" : "other";
}

static void test_print_renamed(void **state)
{
    (void)state;
    strbuf b;
    sb_init(&b);
    dim_print(t, add(n, m), &b, shout, NULL);
    assert_string_equal(sb_str(&b), "N+other");
    sb_free(&b);
}

static void test_floordiv(void **state)
{
    (void)state;
    assert_int_equal(fdiv(mul(c(2), n), c(2)), n);
    assert_int_equal(fdiv(c(-7), c(2)), c(-4));
    assert_int_equal(fdiv(c(7), c(-2)), c(-4));
    assert_int_equal(fdiv(add(mul(c(2), n), c(3)), c(2)), add(n, c(1)));
    assert_int_equal(fdiv(mul(n, m), m), n);
    assert_int_equal(fdiv(add(mul(n, m), mul(m, p)), m), add(n, p));
    assert_int_equal(fdiv(sub(mul(n, n), mul(m, m)), add(n, m)), sub(n, m));
    assert_int_equal(fdiv(sub(n, m), sub(m, n)), c(-1));
    assert_int_equal(fdiv(add(mul(n, m), c(1)), m), add(n, fdiv(c(1), m)));
    /* the same function, the same number */
    assert_int_equal(fdiv(add(n, c(1)), c(2)), add(fdiv(sub(n, c(1)), c(2)), c(1)));
    assert_int_equal(fdiv(add(mul(c(2), n), c(1)), c(4)), fdiv(n, c(2)));
    assert_int_equal(fdiv(fdiv(n, c(2)), c(3)), fdiv(n, c(6)));
    assert_int_equal(fdiv(mul(c(4), n), mul(c(6), m)), fdiv(mul(c(2), n), mul(c(3), m)));
    assert_int_equal(err.status, CR_OK);
    assert_int_equal(fdiv(n, c(0)), 0);
    assert_int_equal(err.status, CR_EARG);
}

static void collect(void *user, dim_sym s)
{
    strbuf *b = user;
    sb_puts(b, name_text(t, s));
}

static void test_symbols(void **state)
{
    (void)state;
    cr_dim d = add(fdiv(add(p, n), m), mul(c(3), mul(n, n)));
    strbuf b;
    sb_init(&b);
    dim_symbols(t, d, collect, &b);
    assert_string_equal(sb_str(&b), "nmp");
    sb_free(&b);
    dim_sym s;
    dim_is_symbol(t, m, &s);
    assert_true(dim_uses(t, d, s));
    assert_false(dim_uses(t, n, s));

    int64_t a;
    cr_dim rest;
    assert_true(dim_linear_in(t, sub(mul(n, p), mul(c(3), m)), s, &a, &rest));
    assert_int_equal(a, -3);
    assert_int_equal(rest, mul(n, p));
    assert_false(dim_linear_in(t, add(m, mul(n, m)), s, &a, &rest));
    assert_false(dim_linear_in(t, add(m, fdiv(m, c(2))), s, &a, &rest));
    assert_false(dim_linear_in(t, n, s, &a, &rest));
}

static void test_substitute(void **state)
{
    (void)state;
    dim_sym s;
    dim_is_symbol(t, n, &s);
    assert_int_equal(dim_substitute(t, mul(n, n), s, sub(m, c(1))), add(sub(mul(m, m), mul(c(2), m)), c(1)));
    assert_int_equal(dim_substitute(t, fdiv(n, c(2)), s, add(mul(c(2), m), c(1))), m);
    assert_int_equal(dim_substitute(t, fdiv(m, n), s, c(1)), m);
    assert_int_equal(dim_substitute(t, m, s, c(1)), m);
    assert_int_equal(err.status, CR_OK);
    assert_int_equal(dim_substitute(t, fdiv(m, n), s, c(0)), 0);
    assert_int_equal(err.status, CR_EARG);
}

static int64_t given[4]; /* by symbol */

static bool value_of(void *user, dim_sym s, int64_t *v)
{
    (void)user;
    *v = given[s];
    return *v != INT64_MIN;
}

static void test_eval(void **state)
{
    (void)state;
    int64_t v;
    dim_sym missing;
    memcpy(given, (int64_t[]){0, 7, 3, INT64_MIN}, sizeof given);
    assert_true(dim_eval(t, add(mul(n, n), fdiv(sub(c(0), n), m)), value_of, NULL, &v, &missing));
    assert_int_equal(v, 49 - 3);
    assert_false(dim_eval(t, add(n, p), value_of, NULL, &v, &missing));
    assert_string_equal(name_text(t, missing), "p");
    given[2] = 0;
    assert_false(dim_eval(t, fdiv(n, m), value_of, NULL, &v, &missing));
    assert_int_equal(missing, 0);
    given[1] = (int64_t)1 << 40;
    assert_false(dim_eval(t, mul(n, n), value_of, NULL, &v, &missing));
    assert_int_equal(missing, 0);
}

/* Floor division agrees with arithmetic: everything the normal form does is tried on numbers. */
static void test_floordiv_numbers(void **state)
{
    (void)state;
    static const int coef[][3] = {{1, 0, -1}, {2, 3, 5}, {-3, 1, 0}, {4, 2, 1}, {0, 6, -7}, {-1, -1, 2}};
    for (size_t i = 0; i < 6; i++) {
        for (int64_t by = -6; by <= 6; by++) {
            if (by == 0) continue;
            cr_dim a = add(add(mul(c(coef[i][0]), n), mul(c(coef[i][1]), m)), c(coef[i][2]));
            cr_dim outer = fdiv(add(fdiv(a, c(by)), mul(m, c(3))), c(4));
            for (int64_t x = -5; x <= 5; x++) {
                for (int64_t y = -5; y <= 5; y++) {
                    memcpy(given, (int64_t[]){0, x, y, 0}, sizeof given);
                    int64_t num = coef[i][0] * x + coef[i][1] * y + coef[i][2], v;
                    int64_t q = (num - ((num % by + by) % by)) / by + 3 * y;
                    dim_sym missing;
                    assert_true(dim_eval(t, outer, value_of, NULL, &v, &missing));
                    assert_int_equal(v, (q - ((q % 4 + 4) % 4)) / 4);
                }
            }
        }
    }
}

static void assert_bound_(cr_dim d, bool known, int64_t bound, int line)
{
    int64_t v = 0;
    bool ok = dim_lower_bound(t, d, value_of, NULL, &v);
    if (ok != known || (ok && v != bound)) fail_msg("line %d: %d %lld", line, ok, (long long)v);
    assert_int_equal(err.status, CR_OK);
}
#define assert_bound(d, known, bound) assert_bound_(d, known, bound, __LINE__)

static void test_lower_bound(void **state)
{
    (void)state;
    memcpy(given, (int64_t[]){0, 1, 1, INT64_MIN}, sizeof given); /* n, m >= 1; of p nothing is known */
    assert_bound(add(n, c(2)), true, 3);
    assert_bound(sub(mul(n, m), n), true, 0);
    assert_bound(sub(n, m), false, 0);
    assert_bound(sub(c(5), n), false, 0);
    assert_bound(p, false, 0);
    assert_bound(sub(add(p, n), p), true, 1);
    assert_bound(fdiv(sub(n, c(3)), c(2)), true, -1);
    assert_bound(sub(n, fdiv(n, c(2))), true, 1);
    assert_bound(sub(fdiv(n, c(2)), n), false, 0);
    assert_bound(mul(m, fdiv(add(n, c(5)), c(3))), true, 2);
    assert_bound(fdiv(n, m), true, 0);
    given[1] = 0;
    assert_bound(mul(n, m), true, 0);
}

static void test_limits(void **state)
{
    (void)state;
    assert_int_equal(add(c(INT64_MAX), c(1)), 0);
    assert_int_equal(err.status, CR_ELIMIT);
    err_clear(&err);
    assert_int_equal(mul(mul(c((int64_t)1 << 40), n), mul(c((int64_t)1 << 40), m)), 0);
    assert_int_equal(err.status, CR_ELIMIT);
    err_clear(&err);
    assert_int_equal(fdiv(c(INT64_MIN), c(-1)), 0);
    assert_int_equal(err.status, CR_ELIMIT);
    err_clear(&err);
    assert_int_equal(sub(c(0), mul(c(INT64_MIN), n)), 0);
    err_clear(&err);

    cr_dim d = n; /* degree */
    for (int i = 0; d && i < 20; i++) d = mul(d, d);
    assert_int_equal(d, 0);
    assert_int_equal(err.status, CR_ELIMIT);
    err_clear(&err);
    d = add(add(n, m), p); /* number of terms, or size of coefficients */
    for (int i = 0; d && i < 12; i++) d = mul(d, d);
    assert_int_equal(d, 0);
    assert_int_equal(err.status, CR_ELIMIT);
    err_clear(&err);
    d = n; /* floors that double in size as they nest */
    for (int i = 0; d && i < 200; i++) d = fdiv(add(mul(d, d), m), add(d, p));
    assert_int_equal(d, 0);
    assert_int_equal(err.status, CR_ELIMIT);
    err_clear(&err);
    d = n; /* depth alone */
    for (int i = 0; d && i < 200; i++) d = fdiv(d, add(m, c(i)));
    assert_int_equal(d, 0);
    assert_int_equal(err.status, CR_ELIMIT);
    err_clear(&err);
    assert_int_equal(add(n, 1u << 30), 0);
    assert_int_equal(err.status, CR_EARG);
    err_clear(&err);
    assert_int_equal(name_intern(t, "a\0b", 3), 0);
    assert_int_equal(err.status, CR_EARG);
}

static void test_many(void **state)
{
    (void)state;
    char text[20];
    cr_dim sum = c(0), seen[500];
    for (int i = 0; i < 500; i++) {
        int k = sprintf(text, "s%d", i);
        seen[i] = dim_symbol(t, name_intern(t, text, (size_t)k));
        sum = add(sum, mul(c(i + 1), seen[i]));
    }
    for (int i = 0; i < 500; i++) {
        int k = sprintf(text, "s%d", i);
        assert_int_equal(dim_symbol(t, name_intern(t, text, (size_t)k)), seen[i]);
    }
    for (int i = 499; i >= 0; i--) sum = sub(sum, mul(c(i + 1), seen[i]));
    assert_int_equal(sum, c(0));
    assert_int_equal(err.status, CR_OK);
}

static bool two(void *user, dim_sym s, int64_t *v)
{
    (void)user;
    (void)s;
    *v = 2;
    return true;
}

/* One of everything that allocates. */
static void tour(const bool *refused)
{
    error e = {0};
    dim_table *d = dim_table_new(&e);
    if (d) {
        char text[20];
        cr_dim sum = dim_const(d, 1);
        dim_sym s = 0;
        for (int i = 0; i < 18; i++) {
            int k = sprintf(text, "x%d", i);
            s = name_intern(d, text, (size_t)k);
            sum = dim_add(d, sum, dim_mul(d, dim_symbol(d, s), dim_const(d, i + 1)));
        }
        cr_dim q = dim_floordiv(d, dim_mul(d, sum, sum), dim_const(d, 7));
        q = dim_substitute(d, q, s, dim_floordiv(d, sum, dim_symbol(d, s)));
        int64_t v;
        cr_dim rest;
        dim_linear_in(d, sum, s, &v, &rest);
        dim_lower_bound(d, sum, two, NULL, &v);
        if (e.status == CR_OK) assert_true(q > 0);
        strbuf b;
        sb_init(&b);
        dim_print(d, q, &b, NULL, NULL);
        sb_free(&b);
    }
    if (!d) assert_true(*refused);
    if (e.status != CR_OK) {
        assert_true(*refused);
        assert_int_equal(e.status, CR_ENOMEM);
    }
    dim_table_free(d);
    err_clear(&e);
}

static void test_refused(void **state)
{
    (void)state;
    each_allocation_fails(tour);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_normal_form), TEST(test_print),      TEST(test_print_renamed), TEST(test_floordiv),
        TEST(test_symbols),     TEST(test_substitute), TEST(test_eval),          TEST(test_floordiv_numbers),
        TEST(test_lower_bound), TEST(test_limits),     TEST(test_many),          cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
