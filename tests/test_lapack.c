/* Room kernel, decompositions: the identities that define them, and what happens to matrices that have none. */
#include "unit.h"

#include "kernel/lapack.h"
#include "kernel/libraries.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 40 * 40 };

typedef struct matrix { double x[MOST]; } matrix;

static uint64_t seed = 7;

static double draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 40) / 0x1p23 - 1;
}

static matrix random_matrix(size_t n)
{
    matrix a;
    for (size_t i = 0; i < n; i++) a.x[i] = (double)(float)draw();
    return a;
}

/* A B, m x k times k x n; A' B if `transposed`. */
static matrix times(const matrix *a, const matrix *b, size_t m, size_t n, size_t k, bool transposed)
{
    matrix c;
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t p = 0; p < k; p++) sum += (transposed ? a->x[p * m + i] : a->x[i * k + p]) * b->x[p * n + j];
            c.x[i * n + j] = sum;
        }
    }
    return c;
}

static void near(const matrix *a, const matrix *b, size_t n, double tolerance)
{
    for (size_t i = 0; i < n; i++) {
        if (!(fabs(a->x[i] - b->x[i]) <= tolerance)) fail_msg("entry %zu is %g, not %g", i, a->x[i], b->x[i]);
    }
}

static matrix identity(size_t n)
{
    matrix a = {{0}};
    for (size_t i = 0; i < n; i++) a.x[i * n + i] = 1;
    return a;
}

/* ---- through f32 or f64 -------------------------------------------------------------------------- */

static double tolerance(kern_dtype t) { return t == KERN_F32 ? 1e-3 : 1e-11; }

static void *narrow(kern_dtype t, const matrix *a, size_t n, void *to)
{
    for (size_t i = 0; i < n; i++) {
        if (t == KERN_F32) {
            ((float *)to)[i] = (float)a->x[i];
        } else {
            ((double *)to)[i] = a->x[i];
        }
    }
    return to;
}

static matrix widen(kern_dtype t, const void *a, size_t n)
{
    matrix m = {{0}};
    for (size_t i = 0; i < n; i++) m.x[i] = t == KERN_F32 ? (double)((const float *)a)[i] : ((const double *)a)[i];
    return m;
}

typedef struct setting {
    lapack_plan p;
    unsigned char *memory, *scratch;
    double in[MOST], b[MOST], out[3][MOST]; /* of either dtype */
} setting;

enum { GUARD = 64 };

static setting *begin(lapack_task task, kern_dtype t, size_t m, size_t n, size_t columns)
{
    error e = {CR_OK, NULL};
    setting *s = malloc(sizeof *s);
    assert_non_null(s);
    if (lapack_plan_init(&s->p, task, t, m, n, columns, 1, &e) != CR_OK) fail_msg("%s", err_message(&e));
    s->memory = malloc(s->p.scratch + 64 + 2 * GUARD);
    assert_non_null(s->memory);
    s->scratch = s->memory + GUARD + (64 - (uintptr_t)(s->memory + GUARD) % 64) % 64;
    memset(s->scratch - GUARD, 0xff, s->p.scratch + 2 * GUARD);
    return s;
}

static void end(setting *s)
{
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(s->scratch[(ptrdiff_t)i - GUARD], 0xff);
        assert_int_equal(s->scratch[s->p.scratch + i], 0xff);
    }
    free(s->memory);
    free(s);
}

/* ---- tests --------------------------------------------------------------------------------------- */

static const size_t sizes[][2] = {{1, 1}, {3, 3}, {7, 4}, {4, 7}, {40, 33}, {1, 9}, {9, 1}, {20, 40}};
#define EACH_SIZE(i) for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
#define EACH_DTYPE(t) for (unsigned t = 0; t < KERN_DTYPES; t++)

static void test_svd(void **state)
{
    (void)state;
    EACH_DTYPE(d) EACH_SIZE(i)
    {
        kern_dtype t = (kern_dtype)d;
        size_t m = sizes[i][0], n = sizes[i][1], r = m < n ? m : n;
        matrix a = random_matrix(m * n), one = identity(r);
        setting *s = begin(LAPACK_SVD, t, m, n, 0);
        assert_int_equal(lapack_svd(&s->p, narrow(t, &a, m * n, s->in), s->out[0], s->out[1], s->out[2], s->scratch),
                         LAPACK_DONE);
        matrix u = widen(t, s->out[0], m * r), values = widen(t, s->out[1], r), v = widen(t, s->out[2], r * n);
        end(s);
        matrix uu = times(&u, &u, r, r, m, true), sv = v, vt;
        near(&uu, &one, r * r, tolerance(t));
        for (size_t k = 0; k < r; k++) {
            assert_true(values.x[k] >= 0 && (k == 0 || values.x[k] <= values.x[k - 1]));
            for (size_t j = 0; j < n; j++) {
                sv.x[k * n + j] *= values.x[k];
                vt.x[j * r + k] = v.x[k * n + j];
            }
        }
        matrix vv = times(&v, &vt, r, r, n, false), back = times(&u, &sv, m, n, r, false);
        near(&vv, &one, r * r, tolerance(t));
        near(&back, &a, m * n, tolerance(t));

        s = begin(LAPACK_VALUES, t, m, n, 0);
        assert_int_equal(lapack_values(&s->p, narrow(t, &a, m * n, s->in), s->out[0], s->scratch), LAPACK_DONE);
        matrix only = widen(t, s->out[0], r);
        near(&only, &values, r, tolerance(t));
        end(s);
    }
}

static void test_qr(void **state)
{
    (void)state;
    EACH_DTYPE(d) EACH_SIZE(i)
    {
        kern_dtype t = (kern_dtype)d;
        size_t m = sizes[i][0], n = sizes[i][1], r = m < n ? m : n;
        matrix a = random_matrix(m * n), one = identity(r);
        setting *s = begin(LAPACK_QR, t, m, n, 0);
        assert_int_equal(lapack_qr(&s->p, narrow(t, &a, m * n, s->in), s->out[0], s->out[1], s->scratch), LAPACK_DONE);
        matrix q = widen(t, s->out[0], m * r), upper = widen(t, s->out[1], r * n);
        end(s);
        matrix qq = times(&q, &q, r, r, m, true), back = times(&q, &upper, m, n, r, false);
        near(&qq, &one, r * r, tolerance(t));
        near(&back, &a, m * n, tolerance(t));
        for (size_t k = 0; k < r; k++) {
            for (size_t j = 0; j < k; j++) assert_true(upper.x[k * n + j] == 0);
        }
    }
}

static void test_solve(void **state)
{
    (void)state;
    EACH_DTYPE(d) EACH_SIZE(i)
    {
        kern_dtype t = (kern_dtype)d;
        size_t n = sizes[i][0], columns = sizes[i][1];
        matrix a = random_matrix(n * n), x = random_matrix(n * columns), one = identity(n);
        for (size_t k = 0; k < n; k++) a.x[k * n + k] += 8; /* well-conditioned */
        matrix b = times(&a, &x, n, columns, n, false);
        setting *s = begin(LAPACK_SOLVE, t, n, n, columns);
        assert_int_equal(lapack_solve(&s->p, narrow(t, &a, n * n, s->in), narrow(t, &b, n * columns, s->b), s->out[0],
                                      s->scratch),
                         LAPACK_DONE);
        matrix got = widen(t, s->out[0], n * columns);
        near(&got, &x, n * columns, tolerance(t));
        end(s);

        s = begin(LAPACK_INVERSE, t, n, n, 0);
        assert_int_equal(lapack_inverse(&s->p, narrow(t, &a, n * n, s->in), s->out[0], s->scratch), LAPACK_DONE);
        matrix inverse = widen(t, s->out[0], n * n), product = times(&a, &inverse, n, n, n, false);
        near(&product, &one, n * n, tolerance(t));
        end(s);
    }
}

static double det(kern_dtype t, const matrix *a, size_t n)
{
    double sign, ln;
    setting *s = begin(LAPACK_DET, t, n, n, 0);
    assert_int_equal(lapack_det(&s->p, narrow(t, a, n * n, s->in), &sign, &ln, s->scratch), LAPACK_DONE);
    end(s);
    return sign == 0 ? 0 : sign * exp(ln);
}

static void test_det(void **state)
{
    static const matrix two = {{1, 2, 3, 4}}, swap = {{0, 1, 1, 0}}, cycle = {{0, 1, 0, 0, 0, 1, 1, 0, 0}};
    static const matrix singular = {{1, 2, 2, 4}};
    (void)state;
    EACH_DTYPE(d)
    {
        kern_dtype t = (kern_dtype)d;
        assert_true(fabs(det(t, &two, 2) + 2) < tolerance(t));
        assert_true(fabs(det(t, &swap, 2) + 1) < tolerance(t));
        assert_true(fabs(det(t, &cycle, 3) - 1) < tolerance(t));
        assert_true(det(t, &singular, 2) == 0);
        matrix a = random_matrix(25), b = random_matrix(25), ab = times(&a, &b, 5, 5, 5, false);
        assert_true(fabs(det(t, &ab, 5) - det(t, &a, 5) * det(t, &b, 5)) < tolerance(t));
    }
}

static void test_refused(void **state)
{
    lapack_plan p;
    error e = {CR_OK, NULL};
    (void)state;
    assert_int_equal(lapack_plan_init(&p, LAPACK_DET, KERN_F64, 2, 3, 0, 1, &e), CR_ESHAPE);
    assert_non_null(strstr(err_message(&e), "2 x 3"));
    err_clear(&e);
    assert_int_equal(lapack_plan_init(&p, LAPACK_QR, KERN_F64, 100000, 100000, 0, 1, &e), CR_ELIMIT);
    err_clear(&e);
    assert_null(library_symbol(LIBRARY_OPENBLAS, "no_such_function", &e));
    assert_int_equal(e.status, CR_EUNSUPPORTED);
    assert_non_null(strstr(err_message(&e), "no_such_function"));
    err_clear(&e);

    static const matrix singular = {{1, 2, 2, 4}}, odd = {{1, NAN, 2, 4}};
    setting *s = begin(LAPACK_SOLVE, KERN_F64, 2, 2, 1);
    assert_int_equal(lapack_solve(&s->p, singular.x, singular.x, s->out[0], s->scratch), LAPACK_SINGULAR);
    end(s);
    s = begin(LAPACK_INVERSE, KERN_F64, 2, 2, 1);
    assert_int_equal(lapack_inverse(&s->p, singular.x, s->out[0], s->scratch), LAPACK_SINGULAR);
    end(s);
    s = begin(LAPACK_VALUES, KERN_F64, 2, 2, 1);
    assert_int_equal(lapack_values(&s->p, odd.x, s->out[0], s->scratch), LAPACK_UNFINISHED);
    end(s);
}

/* Where there is no OpenBLAS, planning says so, and nothing else is to be tested. */
static int setup(void **state)
{
    error e = {CR_OK, NULL};
    (void)state;
    if (library_symbol(LIBRARY_OPENBLAS, "dgetrf_", &e)) return 0;
    print_message("%s\n", err_message(&e));
    err_clear(&e);
    exit(77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_svd), cmocka_unit_test(test_qr),      cmocka_unit_test(test_solve),
        cmocka_unit_test(test_det), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
