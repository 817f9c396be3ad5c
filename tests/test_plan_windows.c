/* Windows through plans: random geometries of convolutions, pools and slices in all roles against the reference
 * interpreter, under bound indices, the same bits for every number of threads, and a small network whole. */
#include "fixture.h"
#include "plan_check.h"

#include <stdlib.h>
#include <string.h>

static int64_t between(fixture *f, int64_t lo, int64_t hi) { return lo + roll(f, (uint32_t)(hi - lo + 1)); }

/* Values in (-1, 1); of `steps` different ones, so that some are equal, 0: no matter. */
static cr_ref param(fixture *f, unsigned rank, const int64_t *size, unsigned steps)
{
    exec_array a;
    cr_ref r = new_param(f, NULL, rank, size, &a);
    for (size_t i = 0; i < a.n; i++) {
        a.value[i] = steps ? (roll(f, steps) + 0.5) / steps * 2 - 1 : roll(f, 1 << 20) / 524288.0 - 1;
    }
    bind_values(f, r, &a);
    return r;
}
#define PARAM(f, ...) param(f, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__}, 0)

/* Against the interpreter, at a level and precision that follow from `number`. */
static void check(fixture *f, unsigned number, unsigned n, const cr_ref *root)
{
    char fault[500];
    if (cr_graph_status(f->g) != CR_OK) fail_msg("%s: %s", f->what, cr_graph_message(f->g));
    plan_check how = {.level = number % 4, .threads = 1 + number % 3, .deterministic = number & 1,
                      .precision = number % 5 < 2 ? CR_F32 : CR_F64};
    how.tolerance = how.precision == CR_F32 ? 3e-5 : 1e-12;
    if (!plan_agrees(f->g, f->env, n, root, &how, fault, sizeof fault)) fail_msg("%s: %s", f->what, fault);
}

/* ---- convolutions -------------------------------------------------------------------------------- */

typedef struct geometry {
    unsigned axes;
    int64_t x[5], w[5], y[5];
    cr_window window;
} geometry;

/* Positions for which the window meets something, or not: y is as long as one likes. */
static void random_geometry(fixture *f, geometry *k)
{
    static const int64_t channels[] = {1, 1, 2, 3, 4, 5, 8, 15, 16, 17, 33};
    *k = (geometry){.axes = 1 + roll(f, 3)};
    int64_t most = k->axes == 3 ? 4 : k->axes == 2 ? 9 : 40;
    bool large = k->axes < 3 && roll(f, 3) == 0;
    int64_t groups = roll(f, 3) ? 1 : between(f, 2, 4), in = channels[roll(f, large ? 11 : 6)];
    int64_t out = channels[roll(f, large ? 11 : 6)];
    if (roll(f, 5) == 0) in = out = 1; /* channel by channel */
    k->window.groups = num(f, groups);
    k->x[0] = k->y[0] = between(f, 1, 3);
    k->x[1] = groups * in;
    k->w[0] = k->y[1] = groups * out;
    k->w[1] = in;
    int at = snprintf(f->what, sizeof f->what, "batch %d, %d groups of %d to %d", (int)k->x[0], (int)groups, (int)in,
                      (int)out);
    for (unsigned i = 0; i < k->axes; i++) {
        int64_t stride = roll(f, 2) ? 1 : between(f, 1, 4), dilation = roll(f, 3) ? 1 : between(f, 1, 3);
        int64_t low = roll(f, 2) ? between(f, 0, 2) : between(f, -3, 4);
        k->x[2 + i] = between(f, 1, most);
        k->w[2 + i] = between(f, 1, 4);
        int64_t fit = (k->x[2 + i] + 2 * low - dilation * (k->w[2 + i] - 1) - 1) / stride + 1;
        k->y[2 + i] = fit >= 1 && roll(f, 4) ? fit : between(f, 1, most);
        k->window.stride[i] = num(f, stride);
        k->window.dilation[i] = num(f, dilation);
        k->window.low[i] = num(f, low);
        at += snprintf(f->what + at, sizeof f->what - (size_t)at, "; %d, %d, %d by %d dilated %d low %d",
                       (int)k->x[2 + i], (int)k->w[2 + i], (int)k->y[2 + i], (int)stride, (int)dilation, (int)low);
    }
}

static cr_window with_result(fixture *f, const geometry *k, const int64_t *size)
{
    cr_window w = k->window;
    for (unsigned i = 0; i < k->axes; i++) w.result[i] = num(f, size[2 + i]);
    return w;
}

static void all_roles(fixture *f, const geometry *k, const cr_ref slot[3], cr_ref root[3])
{
    cr_window w = with_result(f, k, k->x);
    root[0] = cr_conv_transpose(f->g, slot[2], slot[1], &w);
    w = with_result(f, k, k->w);
    root[1] = cr_conv_weights(f->g, slot[0], slot[2], &w);
    w = with_result(f, k, k->y);
    root[2] = cr_conv(f->g, slot[0], slot[1], &w);
}

/* Tensors as they are given, or turned around: channels last, or in any order of axes. */
static cr_ref turned_param(fixture *f, unsigned rank, const int64_t *size)
{
    int64_t turned[CR_MAX_RANK];
    uint8_t label[CR_MAX_RANK];
    cr_dim shape[CR_MAX_RANK];
    unsigned how = roll(f, 3);
    if (how == 0) return param(f, rank, size, 0);
    for (unsigned i = 0; i < rank; i++) {
        unsigned to = how == 2 ? rank - 1 - i : i == 0 ? 0 : i == rank - 1 ? 1 : i + 1;
        turned[i] = size[to];
        label[i] = (uint8_t)to;
        shape[i] = num(f, size[i]);
    }
    cr_ref p = param(f, rank, turned, 0);
    return cr_einsum(f->g, 1, &p, label, rank, shape);
}

static void test_convolutions(void **state)
{
    (void)state;
    unsigned n = getenv("CHAINRULE_SANITIZE") ? 150 : 1500;
    for (unsigned i = 0; i < n; i++) {
        fixture f = begin(i);
        geometry k;
        cr_ref root[3];
        random_geometry(&f, &k);
        unsigned rank = 2 + k.axes;
        cr_ref slot[3] = {turned_param(&f, rank, k.x), turned_param(&f, rank, k.w), turned_param(&f, rank, k.y)};
        all_roles(&f, &k, slot, root);
        check(&f, i, 3, root);
        end(&f);
    }
}

/* Strips, blocks and parts: sizes that take more than one of them. */
static void test_large(void **state)
{
    (void)state;
    static const struct { int64_t batch, in, out, size, w, stride, low, groups; } shape[] = {
        {2, 20, 40, 70, 3, 1, 1, 1}, {3, 3, 18, 65, 7, 2, 3, 1}, {1, 70, 33, 40, 1, 2, 0, 1},
        {9, 48, 64, 7, 3, 1, 1, 1},  {2, 6, 6, 90, 5, 1, 2, 2},  {2, 40, 35, 33, 3, 2, 1, 1},
        {5, 1, 1, 30, 3, 1, 1, 40},  {2, 1, 1, 41, 5, 2, 2, 19}, {9, 160, 150, 7, 3, 1, 1, 1},
    };
    for (unsigned i = 0; i < 2 * sizeof shape / sizeof *shape; i++) {
        fixture f = begin(i);
        unsigned s = i / 2;
        geometry k = {.axes = 2};
        int64_t y = (shape[s].size + 2 * shape[s].low - shape[s].w) / shape[s].stride + 1, g = shape[s].groups;
        memcpy(k.x, (int64_t[]){shape[s].batch, g * shape[s].in, shape[s].size, shape[s].size}, 4 * sizeof *k.x);
        memcpy(k.w, (int64_t[]){g * shape[s].out, shape[s].in, shape[s].w, shape[s].w}, 4 * sizeof *k.w);
        memcpy(k.y, (int64_t[]){shape[s].batch, g * shape[s].out, y, y}, 4 * sizeof *k.y);
        k.window.groups = num(&f, g);
        for (unsigned a = 0; a < 2; a++) {
            k.window.stride[a] = num(&f, shape[s].stride);
            k.window.low[a] = num(&f, shape[s].low);
        }
        snprintf(f.what, sizeof f.what, "shape %u", s);
        cr_ref root[3], slot[3] = {param(&f, 4, k.x, 0), param(&f, 4, k.w, 0), param(&f, 4, k.y, 0)};
        all_roles(&f, &k, slot, root);
        check(&f, i % 2 ? 6 : 5, 3, root); /* f32 and f64 */
        end(&f);
    }
}

/* ---- pools and slices ---------------------------------------------------------------------------- */

static void test_pools(void **state)
{
    (void)state;
    unsigned n = getenv("CHAINRULE_SANITIZE") ? 150 : 1500;
    for (unsigned i = 0; i < n; i++) {
        fixture f = begin(i);
        unsigned axes = 1 + roll(&f, 3), lead = roll(&f, 3), rank = axes + lead;
        int64_t size[CR_MAX_RANK], most = axes == 3 ? 4 : 8;
        cr_window w = {.axes = axes};
        for (unsigned k = 0; k < rank; k++) size[k] = between(&f, 1, k < lead ? 20 : most);
        for (unsigned k = 0; k < axes; k++) {
            w.size[k] = num(&f, between(&f, 1, 3));
            w.stride[k] = num(&f, between(&f, 1, 3));
            w.dilation[k] = num(&f, roll(&f, 3) ? 1 : between(&f, 1, 3));
            w.low[k] = num(&f, between(&f, -1, 3));
            w.result[k] = num(&f, between(&f, 1, most));
        }
        snprintf(f.what, sizeof f.what, "pool %u", i);
        cr_ref x = roll(&f, 2) ? turned_param(&f, rank, size) : param(&f, rank, size, 3), root[4];
        cr_pool_kind kind = (cr_pool_kind)roll(&f, 2);
        root[0] = cr_pool(f.g, kind, x, &w);
        cr_ref loss = cr_sum(f.g, cr_mul(f.g, root[0], cr_map(f.g, CR_OP_SIGMOID, root[0])));
        root[1] = cr_derivative(f.g, loss, f.latest);
        root[2] = cr_derivative(f.g, cr_sum(f.g, cr_mul(f.g, root[1], root[1])), f.latest); /* the other way */
        unsigned n_root = root[2] ? 3 : 2;
        /* what does not meet any entry gives a maximum of -inf, and NaN behind it */
        check(&f, i, n_root, root);
        end(&f);
    }
}

static void test_slices(void **state)
{
    (void)state;
    unsigned n = getenv("CHAINRULE_SANITIZE") ? 150 : 1500;
    for (unsigned i = 0; i < n; i++) {
        fixture f = begin(i);
        unsigned rank = 1 + roll(&f, 4);
        int64_t size[CR_MAX_RANK];
        cr_dim first[CR_MAX_RANK], step[CR_MAX_RANK], to[CR_MAX_RANK];
        for (unsigned k = 0; k < rank; k++) {
            size[k] = between(&f, 1, 6);
            first[k] = num(&f, between(&f, -3, 4));
            step[k] = num(&f, roll(&f, 2) ? 1 : between(&f, 1, 4));
            to[k] = num(&f, between(&f, 1, 9));
        }
        snprintf(f.what, sizeof f.what, "slice %u", i);
        cr_ref x = turned_param(&f, rank, size), root[3];
        root[0] = cr_slice(f.g, x, first, step, to);
        root[1] = cr_place(f.g, x, first, step, to);
        root[2] = cr_concat(f.g, 3, (cr_ref[]){x, cr_map(f.g, CR_OP_EXP, x), x}, roll(&f, rank));
        check(&f, i, 3, root);
        end(&f);
    }
}

/* ---- under bound indices ------------------------------------------------------------------------- */

static void test_bound(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 60; i++) {
        fixture f = begin(i);
        cr_graph *g = f.g;
        cr_dim k = cr_dim_symbol(g, "k"), one = num(&f, 1), n = num(&f, 3);
        cr_ref x = PARAM(&f, 2, 3, 6, 5), w = PARAM(&f, 4, 3, 3, 2), scale = cr_int(g, k), root[6];
        cr_ref z = PARAM(&f, 3, 2, 3, 6, 5); /* one for each k */
        cr_dim shape[] = {num(&f, 2), num(&f, 3), num(&f, 6), num(&f, 5)};
        cr_ref pick = cr_onehot(g, k, n);
        cr_ref zk = cr_einsum(g, 2, (cr_ref[]){z, pick}, (uint8_t[]){4, 0, 1, 2, 3, 4}, 4, shape);
        cr_ref xk = i % 2 ? cr_mul(g, scale, cr_map(g, CR_OP_SIGMOID, x)) : zk;
        cr_ref wk = i % 3 ? w : cr_mul(g, scale, w);
        cr_window v = {.low = {one}, .high = {one}, .stride = {0, i % 4 ? 0 : num(&f, 2)}};
        cr_window pool = {.axes = 2, .size = {n, num(&f, 2)}, .stride = {num(&f, 2)}};
        cr_ref y = cr_conv(g, xk, wk, &v), p = cr_pool(g, i % 5 ? CR_POOL_MAX : CR_POOL_SUM, y, &pool);
        root[0] = cr_bind(g, CR_BIND_STACK, "k", one, n, y);
        root[1] = cr_bind(g, CR_BIND_SUM, "k", one, n, p);
        root[2] = cr_bind(g, CR_BIND_STACK, "k", one, n, cr_conv_weights(g, xk, y, &v));
        root[3] = cr_bind(g, CR_BIND_SUM, "k", one, n, cr_conv_transpose(g, y, wk, &v));
        root[4] = cr_derivative(g, cr_sum(g, root[1]), w);
        root[5] = cr_derivative(g, cr_sum(g, root[0]), i % 2 ? x : z);
        snprintf(f.what, sizeof f.what, "bound %u", i);
        check(&f, i, 6, root);
        end(&f);
    }
}

/* ---- a network ----------------------------------------------------------------------------------- */

static cr_ref channels_of(fixture *f, cr_ref a, cr_ref like)
{
    cr_dim shape[4];
    for (unsigned i = 0; i < 4; i++) shape[i] = cr_size(f->g, like, i);
    return cr_einsum(f->g, 1, &a, (uint8_t[]){1}, 4, shape);
}

static cr_ref mean_of_channel(fixture *f, cr_ref a)
{
    cr_graph *g = f->g;
    cr_dim c = cr_size(g, a, 1), plane = cr_dim_mul(g, cr_size(g, a, 2), cr_size(g, a, 3));
    cr_dim n = cr_dim_mul(g, cr_size(g, a, 0), plane);
    return cr_div(g, cr_einsum(g, 1, &a, (uint8_t[]){1, 0, 2, 3}, 1, &c), cr_int(g, n));
}

static cr_ref batch_norm(fixture *f, cr_ref a, cr_ref gain, cr_ref shift)
{
    cr_graph *g = f->g;
    cr_ref c = cr_sub(g, a, channels_of(f, mean_of_channel(f, a), a));
    cr_ref variance = mean_of_channel(f, cr_mul(g, c, c));
    cr_ref by = cr_div(g, gain, cr_map(g, CR_OP_SQRT, cr_add(g, variance, cr_const(g, 1e-5))));
    return cr_add(g, cr_mul(g, c, channels_of(f, by, a)), channels_of(f, shift, a));
}

enum { N_WRT = 9 };

/* conv, norm, relu, maxpool; conv by 2 with norm and a 1 x 1 conv by 2 around it; mean; affine. The value and its
 * derivatives. */
static bool network(fixture *f, cr_ref *root)
{
    cr_graph *g = f->g;
    cr_dim one = num(f, 1), two = num(f, 2), three = num(f, 3);
    cr_window wide = {.low = {one, one}, .high = {one, one}}, half = wide, thin = {.stride = {two, two}};
    cr_window pool = {.size = {three, three}, .stride = {two, two}, .low = {one, one}, .high = {one, one}};
    half.stride[0] = half.stride[1] = two;
    cr_ref x = PARAM(f, 3, 3, 20, 20), p[N_WRT] = {
        PARAM(f, 16, 3, 3, 3), PARAM(f, 16), PARAM(f, 16), PARAM(f, 24, 16, 3, 3), PARAM(f, 24), PARAM(f, 24),
        PARAM(f, 24, 16, 1, 1), PARAM(f, 24, 5), PARAM(f, 5)};
    cr_ref h = cr_map(g, CR_OP_RELU, batch_norm(f, cr_conv(g, x, p[0], &wide), p[1], p[2]));
    h = cr_pool(g, CR_POOL_MAX, h, &pool);
    cr_ref a = batch_norm(f, cr_conv(g, h, p[3], &half), p[4], p[5]);
    h = cr_map(g, CR_OP_RELU, cr_add(g, a, cr_conv(g, h, p[6], &thin)));
    cr_dim shape[] = {cr_size(g, h, 0), cr_size(g, h, 1)}, logits[] = {shape[0], num(f, 5)};
    cr_ref mean = cr_einsum(g, 1, &h, (uint8_t[]){0, 1, 2, 3}, 2, shape);
    cr_ref z = cr_add(g, cr_einsum(g, 2, (cr_ref[]){mean, p[7]}, (uint8_t[]){0, 2, 2, 1}, 2, logits),
                      cr_einsum(g, 1, &p[8], (uint8_t[]){1}, 2, logits));
    root[0] = cr_sum(g, cr_mul(g, z, cr_softmax(g, z, 1)));
    return root[0] && cr_reverse(g, root[0], cr_const(g, 1), N_WRT, p, root + 1) == CR_OK;
}

static void test_network(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        fixture f = begin(i);
        cr_ref root[1 + N_WRT];
        snprintf(f.what, sizeof f.what, "network %u", i);
        assert_true(network(&f, root));
        char fault[500];
        plan_check how = {.level = i % 4, .threads = 1 + i % 3, .precision = i < 5 ? CR_F64 : CR_F32,
                          .tolerance = i < 5 ? 1e-9 : 2e-3};
        if (!plan_agrees(f.g, f.env, 1 + N_WRT, root, &how, fault, sizeof fault)) fail_msg("%s: %s", f.what, fault);
        end(&f);
    }
}

/* All outputs of a run, one behind the other. */
static char *run_with(fixture *f, unsigned n, const cr_ref *root, cr_precision precision, unsigned threads,
                      size_t *bytes)
{
    cr_plan_options o = {.precision = precision, .threads = threads, .deterministic = true};
    cr_plan *p;
    if (cr_plan_new(f->g, n, root, 0, NULL, &o, &p) != CR_OK) fail_msg("%s: %s", f->what, cr_graph_message(f->g));
    size_t size = precision == CR_F32 ? 4 : 8, at = 0;
    void *in[32], *out[32];
    *bytes = 0;
    for (unsigned i = 0; i < n; i++) *bytes += cr_plan_output_count(p, i) * size;
    char *all = malloc(*bytes + 1);
    assert_true(all != NULL && cr_plan_inputs(p) < 32 && n < 32);
    for (unsigned i = 0; i < n; at += cr_plan_output_count(p, i++) * size) out[i] = all + at;
    for (unsigned i = 0; i < cr_plan_inputs(p); i++) {
        size_t count = cr_plan_input_count(p, i);
        in[i] = malloc(count * size);
        assert_non_null(in[i]);
        for (size_t k = 0; k < count; k++) {
            double v = (double)((k * 7919 + i * 104729) % 1009) / 504.5 - 1;
            if (precision == CR_F32) ((float *)in[i])[k] = (float)v;
            else ((double *)in[i])[k] = v;
        }
    }
    cr_slab *slab = cr_slab_new(p);
    assert_non_null(slab);
    assert_int_equal(cr_run(p, slab, (const void *const *)in, out), CR_OK);
    for (unsigned i = 0; i < cr_plan_inputs(p); i++) free(in[i]);
    cr_slab_free(slab);
    cr_plan_free(p);
    return all;
}

static void test_same_bits(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        fixture f = begin(i);
        cr_ref root[1 + N_WRT], slot[3] = {PARAM(&f, 4, 40, 33, 33), PARAM(&f, 24, 20, 3, 3), PARAM(&f, 4, 24, 33, 33)};
        geometry k = {.axes = 2, .x = {4, 40, 33, 33}, .w = {24, 20, 3, 3}, .y = {4, 24, 33, 33},
                      .window = {.groups = num(&f, 2), .low = {num(&f, 1), num(&f, 1)}}};
        unsigned n = i < 2 ? 1 + N_WRT : 3;
        if (i < 2) assert_true(network(&f, root));
        else all_roles(&f, &k, slot, root);
        char *first = NULL;
        for (unsigned threads = 1; threads <= 5; threads++) {
            size_t bytes;
            char *got = run_with(&f, n, root, i % 2 ? CR_F64 : CR_F32, threads, &bytes);
            if (first) {
                assert_memory_equal(got, first, bytes);
                free(got);
            } else {
                first = got;
            }
        }
        free(first);
        end(&f);
    }
}

/* ---- no memory ------------------------------------------------------------------------------------ */

static fixture *refused_fixture;
static cr_ref refused_root[1 + N_WRT];

static void plan_it(const bool *refused)
{
    cr_plan_options o = {.threads = 2};
    cr_plan *p;
    cr_status s = cr_plan_new(refused_fixture->g, 1 + N_WRT, refused_root, 0, NULL, &o, &p);
    if (s == CR_OK) cr_plan_free(p);
    assert_int_equal(s, *refused ? CR_ENOMEM : CR_OK);
    cr_graph_clear_error(refused_fixture->g);
}

static void test_allocation(void **state)
{
    (void)state;
    fixture f = begin(1);
    assert_true(network(&f, refused_root));
    refused_fixture = &f;
    each_allocation_fails(plan_it);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convolutions), cmocka_unit_test(test_large),   cmocka_unit_test(test_pools),
        cmocka_unit_test(test_slices),       cmocka_unit_test(test_bound),   cmocka_unit_test(test_network),
        cmocka_unit_test(test_same_bits),    cmocka_unit_test(test_allocation),
    };
    return cmocka_run_group_tests_name("plan windows", tests, NULL, NULL);
}
