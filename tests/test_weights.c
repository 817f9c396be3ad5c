/* Weights drawn again: the moments of their laws, and orthogonality. */
#include "unit.h"

#include "flow/weights.h"

#include <math.h>

enum { ROWS = 400, WIDTH = 500, COUNT = ROWS * WIDTH };
static float before[COUNT];
static double drawn[COUNT];

static void draw(flow_law law, double scale, int64_t rows, int64_t width)
{
    net_leaf l = {.tensor = {.type = CR_TYPE_F32, .rank = 2, .dim = {rows, width}, .data = before}};
    l.tensor.count = (size_t)(rows * width);
    flow_weight w = {.law = law, .scale = scale, .count = l.tensor.count};
    random_gen r;
    error e = {CR_OK, NULL};
    random_seed(&r, 7);
    assert_int_equal(flow_weight_draw(&l, &w, &r, drawn, &e), CR_OK);
}

/* Mean, variance and fourth moment over the squared variance, each within five deviations; the largest entry. */
static void check_moments(double variance, double kurtosis, double most)
{
    double m1 = 0, m2 = 0, m4 = 0, seen = 0;
    for (size_t i = 0; i < COUNT; i++) {
        m1 += drawn[i] / COUNT;
        m2 += drawn[i] * drawn[i] / COUNT;
        m4 += pow(drawn[i], 4) / COUNT;
        seen = fmax(seen, fabs(drawn[i]));
    }
    assert_float_equal(m1, 0, 5 * sqrt(variance / COUNT));
    assert_float_equal(m2 / variance, 1, 5 * sqrt((kurtosis - 1) / COUNT));
    assert_float_equal(m4 / (m2 * m2), kurtosis, 5 * sqrt(24.0 / COUNT));
    assert_true(seen <= most);
}

static void test_laws(void **state)
{
    (void)state;
    draw(FLOW_LAW_UNIFORM, 0.3, ROWS, WIDTH);
    check_moments(0.03, 1.8, 0.3);
    draw(FLOW_LAW_NORMAL, 0.5, ROWS, WIDTH);
    check_moments(0.25, 3, 10);
    /* beyond 3.44 lies the ziggurat's tail: of 200,000 numbers about 116 */
    size_t far = 0;
    for (size_t i = 0; i < COUNT; i++) far += fabs(drawn[i]) > 0.5 * 3.442619855899;
    assert_in_range(far, 116 - 54, 116 + 54);
    draw(FLOW_LAW_TRUNCATED, 1, ROWS, WIDTH);
    check_moments(0.87962566 * 0.87962566, 2.3654, 2);
}

/* What is constant, or of no law, stays. */
static void test_stays(void **state)
{
    static const flow_law laws[] = {FLOW_LAW_NONE, FLOW_LAW_CONSTANT, FLOW_LAW_OTHER};
    (void)state;
    for (size_t i = 0; i < COUNT; i++) before[i] = (float)i;
    for (size_t k = 0; k < 3; k++) {
        draw(laws[k], 1, 20, 30);
        for (size_t i = 0; i < 600; i++) assert_true(drawn[i] == (double)i);
    }
}

static void test_orthogonal(void **state)
{
    static const int64_t shape[][2] = {{30, 50}, {50, 30}, {40, 40}};
    (void)state;
    for (size_t s = 0; s < 3; s++) {
        int64_t rows = shape[s][0], width = shape[s][1], n = rows < width ? rows : width;
        draw(FLOW_LAW_ORTHOGONAL, 1.5, rows, width);
        for (int64_t i = 0; i < n; i++) {
            for (int64_t k = 0; k < n; k++) {
                double sum = 0;
                for (int64_t j = 0; j < rows + width - n; j++)
                    sum += rows <= width ? drawn[i * width + j] * drawn[k * width + j]
                                         : drawn[j * width + i] * drawn[j * width + k];
                assert_float_equal(sum, i == k ? 2.25 : 0, 1e-12);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_laws),
        cmocka_unit_test(test_stays),
        cmocka_unit_test(test_orthogonal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
