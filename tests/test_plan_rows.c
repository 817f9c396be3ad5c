/* Gather, scatter and linear algebra through plans: random shapes against the reference interpreter, indices that are
 * none, singular matrices. */
#include "fixture.h"
#include "plan_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double between(fixture *f, double lo, double hi) { return lo + (hi - lo) * roll(f, 1 << 20) / (1 << 20); }

/* Values in (-1, 1), or integers 1..most. */
static cr_ref param(fixture *f, unsigned rank, const int64_t *size, int64_t most)
{
    exec_array a;
    cr_ref r = new_param(f, NULL, rank, size, &a);
    for (size_t i = 0; i < a.n; i++) a.value[i] = most ? 1 + roll(f, (uint32_t)most) : between(f, -1, 1);
    bind_values(f, r, &a);
    return r;
}

static cr_ref give(fixture *f, unsigned rank, const int64_t *size, const double *v)
{
    exec_array a;
    cr_ref r = new_param(f, NULL, rank, size, &a);
    memcpy(a.value, v, a.n * sizeof *v);
    bind_values(f, r, &a);
    return r;
}

/* Against the interpreter, at a level, number of threads and precision that follow from `number`. */
static void check(fixture *f, unsigned number, unsigned n, const cr_ref *root, double loose)
{
    char fault[500];
    if (cr_graph_status(f->g) != CR_OK) fail_msg("%s: %s", f->what, cr_graph_message(f->g));
    plan_check how = {.level = number % 4, .threads = 1 + number % 3, .deterministic = number & 1,
                      .precision = number % 5 < 2 ? CR_F32 : CR_F64};
    how.tolerance = (how.precision == CR_F32 ? 1e-5 : 1e-12) * loose;
    if (!plan_agrees(f->g, f->env, n, root, &how, fault, sizeof fault)) fail_msg("%s: %s", f->what, fault);
}

/* ---- rows --------------------------------------------------------------------------------------- */

/* An operand whose entries do not lie side by side: the axes of r from behind. */
static cr_ref reversed(fixture *f, cr_ref r)
{
    unsigned rank = cr_rank(f->g, r);
    uint8_t label[CR_MAX_RANK];
    cr_dim size[CR_MAX_RANK];
    for (unsigned k = 0; k < rank; k++) {
        label[k] = (uint8_t)(rank - 1 - k);
        size[rank - 1 - k] = cr_size(f->g, r, k);
    }
    return cr_einsum(f->g, 1, &r, label, rank, size);
}

static cr_ref some(fixture *f, unsigned rank, const int64_t *size)
{
    int64_t back[CR_MAX_RANK];
    for (unsigned k = 0; k < rank; k++) back[k] = size[rank - 1 - k];
    switch (rank ? roll(f, 4) : 0) {
    case 0: return cr_map(f->g, CR_OP_SIN, param(f, rank, size, 0));
    case 1: return reversed(f, param(f, rank, back, 0));
    case 2: { /* the same along some axes */
        cr_dim shape[CR_MAX_RANK];
        for (unsigned k = 0; k < rank; k++) shape[k] = cr_dim_const(f->g, size[k]);
        return cr_einsum(f->g, 1, (cr_ref[]){param(f, 1, size + rank - 1, 0)}, (uint8_t[]){(uint8_t)(rank - 1)}, rank,
                         shape);
    }
    default: return param(f, rank, size, 0);
    }
}

static void test_rows(void **state)
{
    (void)state;
    for (unsigned number = 0; number < 600; number++) {
        fixture f = begin(number + 1);
        unsigned rank = 1 + roll(&f, 4), axis = roll(&f, rank), n_index = roll(&f, 3);
        int64_t wide[4], narrow[6], index[2];
        for (unsigned k = 0; k < rank; k++) wide[k] = 1 + roll(&f, 6);
        for (unsigned k = 0; k < n_index; k++) index[k] = 1 + roll(&f, 5);
        for (unsigned k = 0; k < axis; k++) narrow[k] = wide[k];
        for (unsigned k = 0; k < n_index; k++) narrow[axis + k] = index[k];
        for (unsigned k = axis + 1; k < rank; k++) narrow[n_index + k - 1] = wide[k];
        cr_ref at = roll(&f, 4) ? param(&f, n_index, index, wide[axis]) : CR_NONE;
        if (!at) {
            int64_t back[2] = {index[1], index[0]};
            at = n_index == 2 ? reversed(&f, param(&f, 2, back, wide[axis])) : param(&f, n_index, index, wide[axis]);
        }
        cr_ref root[2] = {
            cr_gather(f.g, some(&f, rank, wide), at, axis),
            cr_scatter(f.g, some(&f, rank - 1 + n_index, narrow), at, axis, cr_dim_const(f.g, wide[axis])),
        };
        snprintf(f.what, sizeof f.what, "rows, number %u", number);
        check(&f, number, 2, root, 1);
        end(&f);
    }
}

/* Rows for every value of a bound index, of the operand, of the index, or of both. */
static void test_bound_rows(void **state)
{
    (void)state;
    for (unsigned number = 0; number < 60; number++) {
        fixture f = begin(number + 1);
        cr_graph *g = f.g;
        cr_dim i = cr_dim_symbol(g, "i"), one = cr_dim_const(g, 1), seven = cr_dim_const(g, 7);
        cr_ref of_i = cr_onehot(g, i, seven), at = param(&f, 2, (int64_t[]){7, 4}, 5);
        cr_ref table = param(&f, 2, (int64_t[]){7, 5}, 0), rows = param(&f, 2, (int64_t[]){5, 3}, 0);
        cr_ref at_i = number & 1 ? cr_matmul(g, cr_transpose(g, at), of_i) : param(&f, 1, (int64_t[]){4}, 5);
        cr_ref from = number & 2 ? cr_matmul(g, cr_transpose(g, table), of_i) : rows;
        cr_ref body = cr_gather(g, from, at_i, 0);
        if (number & 4) body = cr_scatter(g, cr_mul(g, body, cr_int(g, i)), at_i, 0, cr_dim_const(g, 6));
        snprintf(f.what, sizeof f.what, "bound rows, number %u", number);
        cr_bind_kind kind = number & 8 ? CR_BIND_SUM : CR_BIND_STACK;
        cr_ref root = cr_bind(g, kind, "i", one, seven, number & 16 ? cr_sum(g, body) : body);
        check(&f, number, 1, &root, 10);
        end(&f);
    }
}

static void test_large_rows(void **state)
{
    (void)state;
    for (unsigned number = 0; number < 6; number++) {
        fixture f = begin(number + 1);
        cr_ref at = param(&f, 1, (int64_t[]){5000}, 700), w = param(&f, 2, (int64_t[]){700, 64}, 0);
        cr_ref y = cr_gather(f.g, number & 1 ? cr_map(f.g, CR_OP_EXP, w) : w, at, 0);
        cr_ref root[3] = {y, cr_scatter(f.g, cr_mul(f.g, y, y), at, 0, cr_dim_const(f.g, 700)),
                          cr_scatter(f.g, cr_mul(f.g, at, at), at, 0, cr_dim_const(f.g, 700))};
        snprintf(f.what, sizeof f.what, "large rows, number %u", number);
        check(&f, number, 3, root, 100);
        end(&f);
    }
}

/* An index that is none: the run says so, and what does not depend on it is there all the same. */
static void test_no_index(void **state)
{
    (void)state;
    static const double wrong[] = {0, -1, 4, 1.5, NAN, INFINITY, -INFINITY, 1e300};
    for (unsigned number = 0; number < 4 * sizeof wrong / sizeof *wrong; number++) {
        fixture f = begin(number + 1);
        bool one = number & 1, single = number & 2;
        double v[4] = {3, wrong[number / 4], 1, 2};
        cr_ref at = give(&f, !one, (int64_t[]){4}, one ? v + 1 : v), w = param(&f, 2, (int64_t[]){3, 2}, 0);
        cr_ref y = cr_gather(f.g, w, at, 0);
        cr_ref root[2] = {y, cr_scatter(f.g, y, at, 0, cr_dim_const(f.g, 3))};
        snprintf(f.what, sizeof f.what, "an index of %g", wrong[number / 4]);
        check(&f, number, 2, root, 1);

        cr_ref out[3] = {y, cr_scatter(f.g, cr_map(f.g, CR_OP_EXP, y), at, 0, cr_dim_const(f.g, 3)),
                         cr_sum(f.g, w)};
        cr_plan_options o = {.precision = single ? CR_F32 : CR_F64, .threads = 1};
        cr_plan *p;
        assert_int_equal(cr_plan_new(f.g, 3, out, 0, NULL, &o, &p), CR_OK);
        float at32[4], w32[6] = {1, 2, 3, 4, 5, 6}, got32[3][8];
        double w64[6] = {1, 2, 3, 4, 5, 6}, got[3][8];
        void *to[3];
        for (unsigned i = 0; i < 3; i++) to[i] = single ? (void *)got32[i] : got[i];
        for (unsigned i = 0; i < 4; i++) at32[i] = (float)v[i];
        const void *in[2];
        bool first = cr_plan_input_count(p, 0) == 6;
        in[first ? 0 : 1] = single ? (void *)w32 : w64;
        in[first ? 1 : 0] = single ? (void *)(at32 + one) : v + one;
        cr_slab *slab = cr_slab_new(p);
        assert_non_null(slab);
        assert_int_equal(cr_run(p, slab, in, to), CR_EVALUE);
        size_t row = one ? 0 : 1;
        for (size_t k = 0; k < 2; k++) {
            assert_true(single ? isnan(got32[0][row * 2 + k]) : isnan(got[0][row * 2 + k]));
        }
        assert_true((single ? (double)got32[2][0] : got[2][0]) == 21);
        cr_slab_free(slab);
        cr_plan_free(p);
        end(&f);
    }
}

static void test_refused(void **state)
{
    (void)state;
    fixture f = begin(1);
    cr_dim many = cr_dim_const(f.g, (int64_t)1 << 25);
    cr_ref x = cr_param(f.g, "x", 1, &many, 0), at = cr_param(f.g, "at", 0, NULL, 0);
    cr_ref y = cr_gather(f.g, x, at, 0), none = cr_gather(f.g, x, cr_const(f.g, 0.5), 0);
    cr_plan *p;
    assert_int_equal(cr_plan_new(f.g, 1, &y, 0, NULL, NULL, &p), CR_EUNSUPPORTED);
    cr_graph_clear_error(f.g);
    cr_plan_options o = {.precision = CR_F64};
    assert_int_equal(cr_plan_new(f.g, 1, &none, 0, NULL, &o, &p), CR_EVALUE);
    cr_graph_clear_error(f.g);
    assert_int_equal(cr_plan_new(f.g, 1, &y, 0, NULL, &o, &p), CR_OK);
    cr_plan_free(p);
    end(&f);
}

/* ---- linear algebra ----------------------------------------------------------------------------- */

/* A well-conditioned matrix; one whose last `zeros` rows are 0; or one with an entry that is not finite. */
static cr_ref matrix(fixture *f, int64_t m, int64_t n, int64_t zeros, double special)
{
    double *v = malloc((size_t)(m * n) * sizeof *v);
    assert_non_null(v);
    for (int64_t i = 0; i < m * n; i++) {
        v[i] = i / n >= m - zeros ? 0 : between(f, -1, 1) / sqrt((double)n) + (i / n == i % n ? 2 : 0);
    }
    if (special != 0) v[roll(f, (uint32_t)(m * n))] = special;
    cr_ref r = give(f, 2, (int64_t[]){m, n}, v);
    free(v);
    return r;
}

static void test_linalg(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 2, 3, 5, 15, 16, 17, 33};
    static const cr_op ops[] = {CR_OP_DET, CR_OP_LOGDET, CR_OP_INV, CR_OP_PINV, CR_OP_ADJ};
    for (unsigned number = 0; number < 8 * 6; number++) {
        fixture f = begin(number + 1);
        int64_t n = sizes[number % 8], zeros = number / 8 < 3 ? number / 8 : 0;
        double special = number / 8 == 3 ? NAN : number / 8 == 4 ? INFINITY : 0;
        cr_ref a = matrix(&f, n, n, zeros < n ? zeros : n, special), root[5];
        for (unsigned k = 0; k < 5; k++) {
            /* Rotations of what is not finite end in whatever they end in. */
            root[k] = cr_linalg(f.g, k == 3 && special != 0 ? CR_OP_DET : ops[k], a);
        }
        snprintf(f.what, sizeof f.what, "%d x %d, %d zero rows, %g", (int)n, (int)n, (int)zeros, special);
        check(&f, number, 5, root, 10);
        end(&f);
    }
}

static void test_pseudo_inverse(void **state)
{
    (void)state;
    static const int64_t shape[][2] = {{1, 4}, {3, 2}, {20, 7}, {17, 40}, {40, 16}, {30, 30}};
    for (unsigned number = 0; number < 18; number++) {
        fixture f = begin(number + 1);
        int64_t m = shape[number % 6][0], n = shape[number % 6][1];
        cr_ref a = matrix(&f, m, n, number >= 12 && m > 4 ? 3 : 0, 0);
        if (number >= 6 && number < 12) a = cr_matmul(f.g, a, matrix(&f, n, n, n / 3, 0)); /* of less than full rank */
        cr_ref root = cr_linalg(f.g, CR_OP_PINV, a);
        snprintf(f.what, sizeof f.what, "pinv of %d x %d, number %u", (int)m, (int)n, number);
        check(&f, number + 2, 1, &root, 100);
        end(&f);
    }
}

static void test_powers(void **state)
{
    (void)state;
    for (unsigned number = 0; number < 40; number++) {
        fixture f = begin(number + 1);
        static const int64_t sizes[] = {1, 2, 7, 16, 30};
        int64_t n = sizes[number % 5];
        double special = number % 7 == 0 ? INFINITY : 0;
        cr_ref a = matrix(&f, n, n, number % 11 == 0, special), root[4];
        cr_dim i = cr_dim_symbol(f.g, "i");
        root[0] = cr_matpow(f.g, a, cr_dim_const(f.g, (int64_t)roll(&f, 12) - 3));
        root[1] = cr_matpow(f.g, a, cr_dim_const(f.g, 0));
        root[2] = cr_matpow(f.g, a, cr_dim_const(f.g, 1));
        root[3] = cr_bind(f.g, CR_BIND_STACK, "i", cr_dim_const(f.g, -2), cr_dim_const(f.g, 5), cr_matpow(f.g, a, i));
        snprintf(f.what, sizeof f.what, "powers of %d x %d, number %u", (int)n, (int)n, number);
        check(&f, number, 4, root, 100);
        end(&f);
    }
}

/* A matrix for each value of a bound index; many small ones, which threads share. */
static void test_many(void **state)
{
    (void)state;
    static const cr_op ops[] = {CR_OP_DET, CR_OP_LOGDET, CR_OP_INV, CR_OP_PINV, CR_OP_ADJ};
    for (unsigned number = 0; number < 15; number++) {
        fixture f = begin(number + 1);
        cr_dim i = cr_dim_symbol(f.g, "i"), n = cr_dim_const(f.g, number < 5 ? 300 : 7);
        cr_ref a = matrix(&f, 6, 6, 0, 0), identity = cr_identity(f.g, cr_dim_const(f.g, 6));
        cr_ref shifted = cr_add(f.g, a, cr_mul(f.g, cr_int(f.g, i), identity));
        cr_ref matrix = cr_linalg(f.g, ops[number % 5], shifted);
        cr_ref root = cr_bind(f.g, CR_BIND_STACK, "i", cr_dim_const(f.g, 1), n, matrix);
        snprintf(f.what, sizeof f.what, "many matrices, number %u", number);
        check(&f, number, 1, &root, 10);
        end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),       cmocka_unit_test(test_bound_rows), cmocka_unit_test(test_large_rows),
        cmocka_unit_test(test_no_index),   cmocka_unit_test(test_refused),    cmocka_unit_test(test_linalg),
        cmocka_unit_test(test_pseudo_inverse), cmocka_unit_test(test_powers), cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests_name("plan_rows", tests, NULL, NULL);
}
