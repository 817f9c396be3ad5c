/* Windows through the builders of chainrule.h: values that are known, a small convolutional network against central
 * differences, sizes that are symbols, and what makes no sense. */
#include "fixture.h"

#include <math.h>
#include <string.h>

/* A parameter of the given sizes, with values, or random ones in (-1, 1). */
static cr_ref param(fixture *f, const char *name, unsigned rank, const int64_t *size, const double *values)
{
    exec_array a;
    cr_ref r = new_param(f, name, rank, size, &a);
    for (size_t i = 0; i < a.n; i++) a.value[i] = values ? values[i] : roll(f, 1 << 24) / 8388608.0 - 1;
    bind_values(f, r, &a);
    return r;
}
#define PARAM(f, name, values, ...) \
    param(f, name, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__}, values)

static exec_array value(fixture *f, cr_ref r)
{
    exec_array a;
    if (exec_eval(f->g, f->env, r, &a) != CR_OK) fail_msg("%s", cr_graph_message(f->g));
    return a;
}

static void expect(fixture *f, cr_ref r, size_t n, const double *want)
{
    exec_array a = value(f, r);
    assert_int_equal(a.n, n);
    for (size_t i = 0; i < n; i++)
        if (a.value[i] != want[i]) fail_msg("entry %zu is %g, not %g", i, a.value[i], want[i]);
    exec_array_free(&a);
}
#define EXPECT(f, r, ...) expect(f, r, sizeof((double[]){__VA_ARGS__}) / sizeof(double), (double[]){__VA_ARGS__})

static void known_values(void **state)
{
    (void)state;
    fixture f = begin(0);
    cr_graph *g = f.g;
    cr_ref x = PARAM(&f, "x", ((double[]){1, 2, 3, 4, 5, 6, 7, 8, 9}), 1, 1, 3, 3);
    cr_ref w = PARAM(&f, "w", ((double[]){1, 2, 3, 5}), 1, 1, 2, 2), y = PARAM(&f, "y", ((double[]){1, 2}), 1, 1, 1, 2);
    cr_ref a = PARAM(&f, "a", ((double[]){1, 2, 3, 4}), 1, 2, 2);
    cr_ref b = PARAM(&f, "b", ((double[]){1, -1, 10, 2}), 2, 1, 2);
    cr_ref c = PARAM(&f, "c", ((double[]){3, 1, 4, 1, 5}), 5);
    EXPECT(&f, cr_conv(g, x, w, NULL), 42, 53, 75, 86);
    cr_window v = {.stride = {num(&f, 2), num(&f, 2)}, .low = {num(&f, 1), 0}, .high = {0, num(&f, 1)}};
    EXPECT(&f, cr_conv(g, x, w, &v), 13, 9, 75, 33); /* pads in front of the rows and behind the columns */
    v = (cr_window){.dilation = {num(&f, 2), num(&f, 2)}};
    EXPECT(&f, cr_conv(g, x, w, &v), 1 + 2 * 3 + 3 * 7 + 5 * 9);
    EXPECT(&f, cr_conv_transpose(g, y, w, NULL), 1, 4, 4, 3, 11, 10);
    EXPECT(&f, cr_conv_weights(g, x, y, NULL), 5, 8, 14, 17, 23, 26);
    v = (cr_window){.groups = num(&f, 2)};
    EXPECT(&f, cr_conv(g, a, b, &v), -1, 38);

    v = (cr_window){.axes = 1, .size = {num(&f, 3)}, .stride = {num(&f, 2)}, .low = {num(&f, 1)}, .high = {num(&f, 1)}};
    EXPECT(&f, cr_pool(g, CR_POOL_MAX, c, &v), 3, 4, 5);
    EXPECT(&f, cr_pool(g, CR_POOL_SUM, c, &v), 4, 6, 6);
    EXPECT(&f, cr_pool(g, CR_POOL_MEAN, c, &v), 2, 2, 3);
    EXPECT(&f, cr_pool(g, CR_POOL_MEAN_PADDED, c, &v), 4.0 / 3, 2, 2);
    EXPECT(&f, cr_derivative(g, cr_sum(g, cr_pool(g, CR_POOL_MAX, c, &v)), c), 1, 0, 1, 0, 1);
    v = (cr_window){.axes = 1, .size = {num(&f, 2)}, .low = {num(&f, 3)}};
    EXPECT(&f, cr_pool(g, CR_POOL_MAX, c, &v), -INFINITY, -INFINITY, 3, 3, 4, 4, 5);
    EXPECT(&f, cr_pool(g, CR_POOL_SUM, c, &v), 0, 0, 3, 4, 5, 5, 6);

    EXPECT(&f, cr_slice(g, c, (cr_dim[]){num(&f, -1)}, (cr_dim[]){num(&f, 3)}, (cr_dim[]){num(&f, 3)}), 0, 4, 0);
    EXPECT(&f, cr_place(g, y, (cr_dim[]){num(&f, 0), num(&f, 0), num(&f, 1), num(&f, -2)},
                        (cr_dim[]){num(&f, 1), num(&f, 1), num(&f, 1), num(&f, 3)},
                        (cr_dim[]){num(&f, 1), num(&f, 1), num(&f, 2), num(&f, 3)}), 0, 0, 0, 0, 2, 0);
    cr_ref at = PARAM(&f, "at", ((double[]){5, 1, 5, 2}), 2, 2);
    EXPECT(&f, cr_gather(g, c, at, 0), 5, 3, 5, 1);
    EXPECT(&f, cr_scatter(g, cr_einsum(g, 1, &at, (uint8_t[]){0, 1}, 2, (cr_dim[]){num(&f, 2), num(&f, 2)}), at, 0,
                          num(&f, 6)), 1, 2, 0, 0, 10, 0);
    EXPECT(&f, cr_gather(g, a, cr_const(g, 2), 2), 2, 4);
    EXPECT(&f, cr_concat(g, 2, (cr_ref[]){a, cr_neg(g, a)}, 1), 1, 2, 3, 4, -1, -2, -3, -4);
    EXPECT(&f, cr_concat(g, 2, (cr_ref[]){a, cr_neg(g, a)}, 2), 1, 2, -1, -2, 3, 4, -3, -4);
    assert_int_equal(cr_graph_status(g), CR_OK);
    end(&f);
}

/* The layers conv, relu, maxpool, conv (in groups), avgpool, affine, and cross-entropy with fixed weights. */
static cr_ref network(fixture *f, cr_ref x, const cr_ref *p)
{
    cr_graph *g = f->g;
    cr_dim two = num(f, 2), one = num(f, 1), batch = cr_size(g, x, 0), shape[4];
    cr_window wide = {.low = {one, one}, .high = {one, one}};
    cr_window pool = {.size = {num(f, 3), two}, .stride = {two, two}, .low = {one, 0}, .high = {one, 0}};
    cr_window apart = {.groups = two, .stride = {one, two}, .low = {0, one}, .high = {0, one}};
    cr_window mean = {.size = {two, two}, .low = {one, one}, .high = {one, one}};
    cr_ref h = cr_conv(g, x, p[0], &wide);
    for (unsigned i = 0; i < 4; i++) shape[i] = cr_size(g, h, i);
    h = cr_map(g, CR_OP_RELU, cr_add(g, h, cr_einsum(g, 1, &p[1], (uint8_t[]){1}, 4, shape)));
    h = cr_pool(g, CR_POOL_MAX, h, &pool);
    h = cr_map(g, CR_OP_TANH, cr_conv(g, h, p[2], &apart));
    h = cr_pool(g, CR_POOL_MEAN, h, &mean);
    cr_dim n = num(f, 1);
    for (unsigned i = 1; i < 4; i++) n = cr_dim_mul(g, n, cr_size(g, h, i));
    h = cr_reshape(g, h, 2, (cr_dim[]){batch, n});
    cr_dim out[2] = {batch, cr_size(g, p[3], 0)};
    h = cr_add(g, cr_einsum(g, 2, (cr_ref[]){h, p[3]}, (uint8_t[]){0, 2, 1, 2}, 2, out),
               cr_einsum(g, 1, &p[4], (uint8_t[]){1}, 2, out));
    cr_ref target = cr_einsum(g, 1, &p[5], (uint8_t[]){1}, 2, out);
    return cr_sum(g, cr_mul(g, target, cr_logsoftmax(g, h, 1)));
}

static void network_against_differences(void **state)
{
    (void)state;
    fixture f = begin(0);
    cr_ref x = PARAM(&f, "x", NULL, 2, 3, 6, 7);
    cr_ref p[] = {PARAM(&f, "w1", NULL, 4, 3, 3, 3), PARAM(&f, "b1", NULL, 4), PARAM(&f, "w2", NULL, 6, 2, 2, 2),
                  PARAM(&f, "W", NULL, 5, 54), PARAM(&f, "b", NULL, 5), PARAM(&f, "target", NULL, 5), x};
    cr_ref loss = network(&f, x, p);
    if (!loss) fail_msg("%s", cr_graph_message(f.g));
    for (size_t k = 0; k < sizeof p / sizeof *p; k++) {
        exec_array d = value(&f, cr_derivative(f.g, loss, p[k])), at = value(&f, p[k]), y;
        double scale = 0;
        for (size_t i = 0; i < d.n; i++) scale = fmax(scale, fabs(d.value[i]));
        assert_true(scale > 1e-3);
        for (size_t i = 0; i < d.n; i++) {
            const double h = 1e-5, x0 = at.value[i];
            double side[2];
            for (int s = 0; s < 2; s++) {
                at.value[i] = x0 + (s ? h : -h);
                assert_int_equal(exec_bind(f.env, p[k], &at), CR_OK);
                y = value(&f, loss);
                side[s] = y.value[0];
                exec_array_free(&y);
            }
            at.value[i] = x0;
            double slope = (side[1] - side[0]) / (2 * h);
            if (fabs(slope - d.value[i]) > 1e-7 * scale)
                fail_msg("variable %zu, entry %zu: %.12g, differences say %.12g", k, i, d.value[i], slope);
        }
        assert_int_equal(exec_bind(f.env, p[k], &at), CR_OK);
        exec_array_free(&at);
        exec_array_free(&d);
    }
    end(&f);
}

/* A gradient with symbols for sizes, strides and pads is, with numbers put in, the gradient with numbers. */
static void symbols_for_sizes(void **state)
{
    (void)state;
    fixture f = begin(0);
    cr_graph *g = f.g;
    static const char *const name[] = {"N", "C", "H", "s", "k"};
    static const int64_t number[] = {2, 4, 9, 2, 3};
    cr_dim d[5], v[5];
    for (int i = 0; i < 5; i++) d[i] = cr_dim_symbol(g, name[i]), v[i] = num(&f, number[i]);
    cr_ref grad[2];
    for (int i = 0; i < 2; i++) {
        cr_dim *q = i ? v : d, pad = cr_dim_floordiv(g, q[4], num(&f, 2));
        cr_ref x = cr_param(g, i ? "x2" : "x", 3, q, 0), w = cr_param(g, "w", 3, (cr_dim[]){v[1], num(&f, 1), v[4]}, 0);
        if (!i) w = cr_einsum(g, 1, (cr_ref[]){cr_param(g, "u", 1, &d[4], 0)}, (uint8_t[]){2}, 3,
                              (cr_dim[]){d[1], num(&f, 1), d[4]});
        cr_window conv = {.groups = q[1], .stride = {q[3]}, .low = {pad}, .high = {pad}};
        cr_window pool = {.size = {q[4]}, .stride = {q[3]}, .high = {pad}};
        cr_ref y = cr_pool(g, CR_POOL_MAX, cr_conv(g, x, w, &conv), &pool);
        y = cr_sum(g, cr_mul(g, y, y));
        grad[i] = cr_derivative(g, y, x);
    }
    if (!grad[0] || !grad[1]) fail_msg("%s", cr_graph_message(g));
    static const double u[] = {0.5, -1, 2};
    double w[12];
    for (int i = 0; i < 12; i++) w[i] = u[i % 3];
    PARAM(&f, "x2", NULL, 2, 4, 9);
    PARAM(&f, "w", w, 4, 1, 3);
    exec_array x = value(&f, cr_param(g, "x2", 3, v, 0)), a, b;
    assert_int_equal(exec_bind(f.env, cr_param(g, "x", 3, d, 0), &x), CR_OK);
    assert_int_equal(exec_bind(f.env, cr_param(g, "u", 1, &d[4], 0), &(exec_array){1, {3}, 3, (double *)u}), CR_OK);
    assert_int_equal(exec_bind_int(f.env, name_intern(g->dims, "s", 1), 2), CR_OK);
    a = value(&f, grad[0]);
    b = value(&f, grad[1]);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.value, b.value, a.n * sizeof *a.value);
    exec_array_free(&a);
    exec_array_free(&b);
    exec_array_free(&x);
    /* put into the graph instead */
    cr_ref r = grad[0];
    for (int i = 3; i < 4; i++) r = cr_substitute(g, r, name[i], v[i]);
    assert_true(r && r != grad[0]);
    a = value(&f, r);
    b = value(&f, grad[1]);
    assert_memory_equal(a.value, b.value, a.n * sizeof *a.value);
    exec_array_free(&a);
    exec_array_free(&b);
    end(&f);
}

static void refused(fixture *f, cr_ref r, cr_status status, const char *what)
{
    assert_int_equal(r, CR_NONE);
    assert_int_equal(cr_graph_status(f->g), status);
    if (!strstr(cr_graph_message(f->g), what)) fail_msg("`%s` does not say `%s`", cr_graph_message(f->g), what);
    cr_graph_clear_error(f->g);
}

static void what_makes_no_sense(void **state)
{
    (void)state;
    fixture f = begin(0);
    cr_graph *g = f.g;
    cr_dim n = cr_dim_symbol(g, "n"), zero = num(&f, 0), two = num(&f, 2), huge = num(&f, INT64_C(1) << 40);
    cr_ref x = PARAM(&f, "x", NULL, 2, 4, 5), w = PARAM(&f, "w", NULL, 6, 2, 3), t = PARAM(&f, "t", NULL, 5);
    refused(&f, cr_conv(g, x, w, NULL), CR_ESHAPE, "do not fit");
    refused(&f, cr_conv(g, x, t, NULL), CR_ESHAPE, "equally many axes");
    refused(&f, cr_conv(g, x, w, &(cr_window){.groups = num(&f, 3)}), CR_ESHAPE, "3 groups do not divide 4 input");
    refused(&f, cr_conv(g, x, w, &(cr_window){.groups = n}), CR_ESHAPE, "n groups do not divide 4 input");
    refused(&f, cr_conv(g, x, w, &(cr_window){.groups = two, .stride = {zero}}), CR_EARG, "at least 1, not 0");
    refused(&f, cr_conv(g, x, w, &(cr_window){.groups = two, .dilation = {num(&f, 4)}}), CR_ESHAPE, "no window fits");
    refused(&f, cr_pool(g, CR_POOL_MAX, t, NULL), CR_EARG, "needs a window");
    refused(&f, cr_pool(g, CR_POOL_MAX, t, &(cr_window){.axes = 1}), CR_EARG, "size of the window is missing");
    refused(&f, cr_pool(g, CR_POOL_MAX, t, &(cr_window){.axes = 2, .size = {two, two}}), CR_ESHAPE, "windows over 2");
    refused(&f, cr_pool(g, (cr_pool_kind)9, t, &(cr_window){.axes = 1, .size = {two}}), CR_EARG, "no such pooling");
    cr_ref condition = cr_map2(g, CR_OP_LT, t, cr_const(g, 0));
    refused(&f, cr_pool(g, CR_POOL_SUM, condition, &(cr_window){.size = {two}}), CR_ESHAPE, "takes numbers");
    refused(&f, cr_concat(g, 2, (cr_ref[]){x, w}, 1), CR_ESHAPE, "one behind the other along axis 2");
    refused(&f, cr_concat(g, 0, NULL, 0), CR_EARG, "nothing");
    assert_int_equal(cr_conv(g, x, CR_NONE, NULL), CR_NONE);
    assert_int_equal(cr_graph_status(g), CR_OK);

    refused(&f, cr_gather(g, x, t, 3), CR_ESHAPE, "axis 4");
    refused(&f, cr_scatter(g, x, t, 1, two), CR_ESHAPE, "from axis 2 on");

    /* Sizes that turn out to be too large, or negative, are errors of the evaluation. */
    exec_array a;
    assert_int_equal(exec_bind_int(f.env, name_intern(g->dims, "n", 1), INT64_C(1) << 40), CR_OK);
    cr_ref far = cr_pool(g, CR_POOL_SUM, t, &(cr_window){.axes = 1, .size = {two}, .stride = {huge}, .result = {two}});
    assert_int_equal(exec_eval(g, f.env, far, &a), CR_ELIMIT);
    cr_graph_clear_error(g);
    cr_ref wide = cr_pool(g, CR_POOL_SUM, t, &(cr_window){.axes = 1, .size = {n}, .result = {two}});
    assert_int_equal(exec_eval(g, f.env, wide, &a), CR_ELIMIT);
    cr_graph_clear_error(g);
    static const double odd[] = {0, 6, 1.5, NAN};
    for (int i = 0; i < 4; i++) { /* indices, too */
        assert_int_equal(exec_eval(g, f.env, cr_gather(g, t, cr_const(g, odd[i]), 0), &a), CR_EVALUE);
        cr_graph_clear_error(g);
        cr_ref out = cr_scatter(g, t, cr_mul(g, t, cr_const(g, odd[i])), 0, two);
        assert_int_equal(exec_eval(g, f.env, out, &a), CR_EVALUE);
        cr_graph_clear_error(g);
    }
    cr_ref none = cr_pool(g, CR_POOL_SUM, t, &(cr_window){.axes = 1, .size = {cr_dim_sub(g, two, n)}, .result = {two}});
    assert_int_equal(exec_eval(g, f.env, none, &a), CR_EVALUE);
    cr_graph_clear_error(g);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(network_against_differences),
        cmocka_unit_test(symbols_for_sizes),
        cmocka_unit_test(what_makes_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
