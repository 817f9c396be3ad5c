/* Coupled recurrences by the calls of the library: an LSTM of two layers, whose members of equal index rest on each
 * other. Its value is that of a loop in plain C, whatever has been derived, substituted or checked before. */
#include "unit.h"

#include "exec/exec.h"
#include "graph/graph.h"
#include "plan_check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LAYERS = 2, CELLS = 2, STEPS = 4, N_GATES = 8 * LAYERS * CELLS, N_EXTRA = 3 * CELLS };

typedef struct lstm {
    cr_graph *g;
    cr_ref gates, extra, bits, value; /* value: of depth N */
} lstm;

static double gate_values[N_GATES], extra_values[N_EXTRA], bit_values[(STEPS + 1) * CELLS];

static cr_ref row(cr_graph *g, cr_ref m, int64_t k)
{
    cr_dim cells = cr_dim_const(g, CELLS);
    cr_ref at = cr_onehot(g, cr_dim_const(g, k + 1), cr_size(g, m, 0));
    return cr_einsum(g, 2, (cr_ref[]){m, at}, (uint8_t[]){1, 0, 1}, 1, &cells);
}

static cr_ref gate(cr_graph *g, cr_ref gates, int64_t layer, int64_t k, cr_ref u)
{
    return cr_add(g, cr_mul(g, u, row(g, gates, 8 * layer + k)), row(g, gates, 8 * layer + 4 + k));
}

static lstm make(void)
{
    cr_graph *g = cr_graph_new();
    assert_non_null(g);
    cr_dim zero = cr_dim_const(g, 0), one = cr_dim_const(g, 1), cells = cr_dim_const(g, CELLS);
    cr_dim t = cr_dim_symbol(g, "t"), last = cr_dim_symbol(g, "N"), before = cr_dim_sub(g, t, one);
    lstm n = {.g = g};
    n.gates = cr_param(g, "gates", 2, (cr_dim[]){cr_dim_const(g, 8 * LAYERS), cells}, 0);
    n.extra = cr_param(g, "extra", 2, (cr_dim[]){cr_dim_const(g, 3), cells}, 0);
    n.bits = cr_param_family(g, "bit", one, cr_dim_add(g, last, one), 1, &cells, 0);
    cr_ref u = cr_mul(g, cr_pick(g, n.bits, t), row(g, n.extra, 0));
    for (int64_t j = 0; j < LAYERS; j++) {
        cr_family h = cr_family_new(g, j ? "hb" : "ha", 1, &cells), c = cr_family_new(g, j ? "cb" : "ca", 1, &cells);
        cr_ref start = cr_full(g, cr_const(g, 0.3), 1, &cells), past = cr_member(g, h, before);
        cr_ref in = cr_mul(g, cr_map(g, CR_OP_SIGMOID, gate(g, n.gates, j, 1, past)),
                           cr_map(g, CR_OP_TANH, gate(g, n.gates, j, 3, past)));
        cr_ref kept = cr_mul(g, cr_member(g, c, before), cr_map(g, CR_OP_SIGMOID, gate(g, n.gates, j, 0, u)));
        cr_ref out = cr_map(g, CR_OP_SIGMOID, gate(g, n.gates, j, 2, u));
        cr_family_define(g, h, "t", zero, zero, start);
        cr_family_define(g, c, "t", zero, zero, start);
        cr_family_define(g, c, "t", one, last, cr_add(g, kept, in));
        cr_family_define(g, h, "t", one, last, cr_mul(g, out, cr_map(g, CR_OP_TANH, cr_member(g, c, t))));
        u = cr_member(g, h, t);
    }
    cr_ref y = cr_add(g, cr_mul(g, u, row(g, n.extra, 1)), row(g, n.extra, 2));
    cr_ref gain = cr_sum(g, cr_mul(g, cr_pick(g, n.bits, cr_dim_add(g, t, one)), y));
    cr_family total = cr_family_new(g, "total", 0, NULL);
    cr_family_define(g, total, "t", zero, zero, cr_const(g, 0));
    cr_family_define(g, total, "t", one, last, cr_add(g, cr_member(g, total, before), gain));
    n.value = cr_member(g, total, last);
    assert_int_not_equal(n.value, CR_NONE);
    return n;
}

static double sigmoid(double z) { return 1 / (1 + exp(-z)); }

static double value_in_c(const double *gates, const double *extra)
{
    double total = 0, h[LAYERS][CELLS], c[LAYERS][CELLS];
    for (int i = 0; i < CELLS; i++) {
        h[0][i] = h[1][i] = c[0][i] = c[1][i] = 0.3;
        for (int t = 1; t <= STEPS; t++) {
            double u = bit_values[(t - 1) * CELLS + i] * extra[i];
            for (int j = 0; j < LAYERS; j++) {
                double z[4];
                for (int k = 0; k < 4; k++)
                    z[k] = (k % 2 ? h[j][i] : u) * gates[(8 * j + k) * CELLS + i] + gates[(8 * j + 4 + k) * CELLS + i];
                c[j][i] = c[j][i] * sigmoid(z[0]) + sigmoid(z[1]) * tanh(z[3]);
                u = h[j][i] = sigmoid(z[2]) * tanh(c[j][i]);
            }
            total += bit_values[t * CELLS + i] * (u * extra[CELLS + i] + extra[2 * CELLS + i]);
        }
    }
    return total;
}

/* d value / d values[at], by differences. */
static double slope_in_c(double *values, int at)
{
    double v = values[at], h = 1e-5;
    values[at] = v + h;
    double up = value_in_c(gate_values, extra_values);
    values[at] = v - h;
    double down = value_in_c(gate_values, extra_values);
    values[at] = v;
    return (up - down) / (2 * h);
}

static exec_env *environment(cr_graph *g)
{
    exec_env *env = exec_env_new(g);
    assert_non_null(env);
    assert_int_equal(exec_bind_int(env, name_intern(g->dims, "N", 1), STEPS), CR_OK);
    const struct { const char *name; unsigned rank; int64_t rows; double *value; } data[] = {
        {"gates", 2, 8 * LAYERS, gate_values}, {"extra", 2, 3, extra_values}, {"bit", 2, STEPS + 1, bit_values}};
    for (size_t i = 0; i < sizeof data / sizeof *data; i++) {
        exec_array a = {.rank = 2, .dim = {data[i].rows, CELLS}, .n = (size_t)data[i].rows * CELLS,
                        .value = data[i].value};
        dim_sym s = name_intern(g->dims, data[i].name, strlen(data[i].name));
        cr_ref param = s < g->param_cap ? g->param_by_name[s] : CR_NONE;
        if (!param) continue; /* not of this graph */
        assert_int_equal(exec_bind(env, param, &a), CR_OK);
    }
    return env;
}

/* All ways to run r agree, and give what is wanted. */
static void demand(cr_graph *g, cr_ref r, const double *want, size_t n, double tolerance, const char *when)
{
    exec_env *env = environment(g);
    const unsigned flags[] = {0, EXEC_INTERPRET};
    for (int k = 0; k < 2; k++) {
        exec_array a;
        if (exec_eval_n(g, env, flags[k], 1, &r, &a) != CR_OK) fail_msg("%s: %s", when, cr_graph_message(g));
        assert_int_equal(a.n, n);
        for (size_t i = 0; i < n; i++)
            if (!(fabs(a.value[i] - want[i]) <= tolerance))
                fail_msg("%s: entry %zu is %.17g, not %.17g", when, i, a.value[i], want[i]);
        exec_array_free(&a);
    }
    char fault[300];
    plan_check how = {.threads = 1, .precision = CR_F64, .tolerance = 1e-12};
    if (!plan_agrees(g, env, 1, &r, &how, fault, sizeof fault)) fail_msg("%s: plan: %s", when, fault);
    exec_env_free(env);
}

static void demand_value(cr_graph *g, cr_ref r, const char *when)
{
    double want = value_in_c(gate_values, extra_values);
    demand(g, r, &want, 1, 1e-12, when);
}

/* ---- in any order ------------------------------------------------------------------------------- */

static void value(const lstm *n, const char *when) { demand_value(n->g, n->value, when); }

static void gradient(const lstm *n, cr_ref by, double *values, size_t count, const char *when)
{
    double want[N_GATES];
    for (size_t i = 0; i < count; i++) want[i] = slope_in_c(values, (int)i);
    cr_ref d = cr_derivative(n->g, n->value, by);
    assert_int_not_equal(d, CR_NONE);
    demand(n->g, d, want, count, 1e-8, when);
}

static void by_gates(const lstm *n, const char *when) { gradient(n, n->gates, gate_values, N_GATES, when); }
static void by_extra(const lstm *n, const char *when) { gradient(n, n->extra, extra_values, N_EXTRA, when); }

/* Of given depth, in the same graph, also written out. */
static void substitute(const lstm *n, const char *when)
{
    cr_ref fixed = cr_substitute(n->g, n->value, "N", cr_dim_const(n->g, STEPS));
    assert_int_not_equal(fixed, CR_NONE);
    demand_value(n->g, fixed, when);
    cr_ref plain = cr_unroll(n->g, fixed);
    assert_int_not_equal(plain, CR_NONE);
    demand_value(n->g, plain, when);
}

/* The value and its gradient in a graph of their own. */
static void compact(const lstm *n, const char *when)
{
    cr_ref root[] = {n->value, cr_derivative(n->g, n->value, n->gates)}, out[2];
    cr_graph *to = cr_compact(n->g, 2, root, out);
    assert_non_null(to);
    demand_value(to, out[0], when);
    double want[N_GATES];
    for (int i = 0; i < N_GATES; i++) want[i] = slope_in_c(gate_values, i);
    demand(to, out[1], want, N_GATES, 1e-8, when);
    cr_graph_free(to);
}

static const struct { const char *name; void (*run)(const lstm *n, const char *when); } act[] = {
    {"value", value}, {"by gates", by_gates}, {"by extra", by_extra}, {"substitute", substitute}, {"compact", compact}};
enum { N_ACTS = sizeof act / sizeof *act };

/* Every act after every two others. */
static void any_order(void **state)
{
    (void)state;
    for (int k = 0; k < N_ACTS * N_ACTS * N_ACTS; k++) {
        int order[] = {k % N_ACTS, k / N_ACTS % N_ACTS, k / N_ACTS / N_ACTS};
        if (order[0] == order[1] || order[1] == order[2] || order[0] == order[2]) continue;
        lstm n = make();
        char when[100];
        snprintf(when, sizeof when, "%s, %s, %s, value", act[order[0]].name, act[order[1]].name, act[order[2]].name);
        for (int i = 0; i < 3; i++) act[order[i]].run(&n, when);
        value(&n, when);
        cr_graph_free(n.g);
    }
}

/* The value of one depth where both depths are in the graph, each with its gradient. */
static void two_depths(void **state)
{
    (void)state;
    lstm n = make();
    cr_ref fixed = cr_substitute(n.g, n.value, "N", cr_dim_const(n.g, STEPS));
    cr_ref d = cr_derivative(n.g, fixed, n.gates), both = cr_derivative(n.g, cr_mul(n.g, fixed, n.value), n.gates);
    double v = value_in_c(gate_values, extra_values), want[N_GATES];
    for (int i = 0; i < N_GATES; i++) want[i] = slope_in_c(gate_values, i);
    demand(n.g, d, want, N_GATES, 1e-8, "fixed depth");
    for (int i = 0; i < N_GATES; i++) want[i] *= 2 * v;
    demand(n.g, both, want, N_GATES, 1e-7, "both depths");
    demand_value(n.g, fixed, "fixed depth");
    demand_value(n.g, n.value, "symbolic depth");
    cr_ref late = cr_substitute(n.g, both, "N", cr_dim_const(n.g, STEPS)); /* families of derivatives, too */
    demand(n.g, late, want, N_GATES, 1e-7, "a derivative of symbolic depth, fixed");
    cr_ref plain = cr_unroll(n.g, late);
    demand(n.g, plain, want, N_GATES, 1e-7, "the same, written out");
    cr_graph_free(n.g);
}

/* ---- no recurrence ------------------------------------------------------------------------------ */

/* a[i] = b[i], b[i] = a[i] for i in 1..3, after a[0] = 1; nobody has called cr_family_check. */
static void a_circle_is_refused(void **state)
{
    (void)state;
    for (int use = 0; use < 4; use++) {
        cr_graph *g = cr_graph_new();
        cr_dim i = cr_dim_symbol(g, "i"), one = cr_dim_const(g, 1), zero = cr_dim_const(g, 0);
        cr_dim last = cr_dim_symbol(g, "N");
        cr_ref x = cr_param(g, "x", 0, NULL, 0);
        cr_family a = cr_family_new(g, "a", 0, NULL), b = cr_family_new(g, "b", 0, NULL);
        assert_int_equal(cr_family_define(g, a, "i", zero, zero, x), CR_OK);
        assert_int_equal(cr_family_define(g, a, "i", one, last, cr_mul(g, x, cr_member(g, b, i))), CR_OK);
        assert_int_equal(cr_family_define(g, b, "i", one, last, cr_mul(g, x, cr_member(g, a, i))), CR_OK);
        cr_ref y = cr_member(g, a, last);
        exec_array value = {0};
        exec_env *env = exec_env_new(g);
        switch (use) {
        case 0: assert_int_equal(exec_eval(g, env, y, &value), CR_EARG); break;
        case 1: assert_int_equal(cr_derivative(g, y, x), CR_NONE); break;
        case 2: assert_int_equal(cr_substitute(g, y, "N", one), CR_NONE); break;
        default: assert_int_equal(cr_unroll(g, y), CR_NONE);
        }
        assert_int_equal(cr_graph_status(g), CR_EARG);
        assert_non_null(strstr(cr_graph_message(g), "members of equal index rest on each other"));
        exec_array_free(&value);
        exec_env_free(env);
        cr_graph_free(g);
    }
}

/* What has been used stays as it is: a derivative, or a copy of other depth, would be that of something else. */
static void used_is_complete(void **state)
{
    (void)state;
    lstm n = make();
    cr_family total = n.g->n_family - 1, c = 2;
    cr_dim one = cr_dim_const(n.g, 1);
    assert_string_equal(name_text(n.g->dims, n.g->family[c].name), "ca");
    cr_ref zero = cr_full(n.g, cr_const(n.g, 0), 1, (cr_dim[]){cr_dim_const(n.g, CELLS)});
    cr_ref first = cr_add(n.g, zero, cr_member(n.g, c, cr_dim_const(n.g, 0)));
    assert_int_equal(cr_family_define(n.g, c, "t", one, one, first), CR_OK);
    assert_int_not_equal(cr_substitute(n.g, n.value, "N", cr_dim_const(n.g, STEPS)), CR_NONE);
    assert_int_equal(cr_family_define(n.g, total, "t", one, one, cr_const(n.g, 0)), CR_EARG);
    cr_graph_clear_error(n.g);
    assert_int_equal(cr_family_define(n.g, c, "t", one, one, zero), CR_EARG);
    assert_string_equal(cr_graph_message(n.g), "`ca` is in use, what it is cannot change");
    cr_graph_free(n.g);
}

/* o[i] = x*o[i-k], o[2] = x: what the definitions suppose, k >= 1 and N >= 2, holds where numbers come in. */
static void what_is_supposed_holds(void **state)
{
    (void)state;
    cr_graph *g = cr_graph_new();
    cr_dim i = cr_dim_symbol(g, "i"), k = cr_dim_symbol(g, "k"), one = cr_dim_const(g, 1), zero = cr_dim_const(g, 0);
    cr_dim last = cr_dim_symbol(g, "N"), two = cr_dim_const(g, 2);
    cr_ref x = cr_param(g, "x", 0, NULL, 0);
    cr_family o = cr_family_new(g, "o", 0, NULL);
    assert_int_equal(cr_family_define(g, o, "i", zero, zero, x), CR_OK);
    cr_ref body = cr_mul(g, x, cr_member(g, o, cr_dim_sub(g, i, k)));
    assert_int_equal(cr_family_define(g, o, "i", one, last, body), CR_OK);
    assert_int_equal(cr_family_define(g, o, "i", two, two, x), CR_OK);
    cr_ref y = cr_member(g, o, last);
    for (int again = 0; again < 2; again++) { /* no half copy is left */
        assert_int_equal(cr_substitute(g, y, "N", one), CR_NONE);
        assert_string_equal(cr_graph_message(g), "the definitions of `o` suppose N-2 >= 0, which is not so for N = 1");
        cr_graph_clear_error(g);
    }
    const struct { int64_t n, k; const char *message; } wrong[] = {
        {1, 1, "the definitions of `o` suppose N-2 >= 0, and it is -1"},
        {3, 0, "the definitions of `o` need k >= 1, and k = 0"}};
    for (int w = 0; w < 2; w++) {
        cr_size_value size[] = {{"N", wrong[w].n}, {"k", wrong[w].k}};
        cr_plan *plan = NULL;
        assert_int_equal(cr_plan_new(g, 1, &y, 2, size, NULL, &plan), CR_EVALUE);
        assert_string_equal(cr_graph_message(g), wrong[w].message);
        cr_graph_clear_error(g);
        exec_env *env = exec_env_new(g);
        exec_array a = {0};
        for (int at = 0; at < 2; at++) {
            assert_int_equal(exec_bind_int(env, name_intern(g->dims, size[at].symbol, 1), size[at].value), CR_OK);
        }
        assert_int_equal(exec_bind(env, x, &(exec_array){.n = 1, .value = (double[]){0.5}}), CR_OK);
        assert_int_equal(exec_eval(g, env, y, &a), CR_EVALUE);
        assert_string_equal(cr_graph_message(g), wrong[w].message);
        cr_graph_clear_error(g);
        exec_env_free(env);
    }
    cr_ref same = cr_substitute(g, y, "k", zero), earlier = cr_substitute(g, y, "k", one);
    assert_int_equal(cr_family_check(g, attr_of(g, earlier, 0)), CR_OK);
    assert_int_equal(cr_family_check(g, attr_of(g, same, 0)), CR_EARG);
    assert_non_null(strstr(cr_graph_message(g), "which is not an earlier index"));
    cr_graph_free(g);
}

/* a[N] + b[N], b resting on a: one copy of each, whichever is met first. */
static void one_copy_of_each(void **state)
{
    (void)state;
    for (int turn = 0; turn < 2; turn++) {
        cr_graph *g = cr_graph_new();
        cr_dim i = cr_dim_symbol(g, "i"), one = cr_dim_const(g, 1), last = cr_dim_symbol(g, "N");
        cr_ref x = cr_param(g, "x", 0, NULL, 0), m[2];
        cr_family a = cr_family_new(g, "a", 0, NULL), b = cr_family_new(g, "b", 0, NULL);
        assert_int_equal(cr_family_define(g, a, "i", one, last, x), CR_OK);
        assert_int_equal(cr_family_define(g, b, "i", one, last, cr_mul(g, x, cr_member(g, a, i))), CR_OK);
        m[turn] = cr_member(g, turn ? b : a, last);
        m[1 - turn] = cr_member(g, turn ? a : b, last);
        cr_ref fixed = cr_substitute(g, cr_add(g, m[0], m[1]), "N", cr_dim_const(g, 3));
        size_t n;
        cr_family *list = family_closure(g, 1, &fixed, &n);
        assert_non_null(list);
        assert_int_equal(n, 2);
        mem_free(list);
        cr_graph_free(g);
    }
}

/* b is defined over 2..N, o[i] asks for b[i] behind the choice i > 1: for N = 1 there is no b at all. */
static void a_copy_without_members(void **state)
{
    (void)state;
    cr_graph *g = cr_graph_new();
    cr_dim i = cr_dim_symbol(g, "i"), one = cr_dim_const(g, 1), two = cr_dim_const(g, 2), last = cr_dim_symbol(g, "N");
    cr_family o = cr_family_new(g, "o", 0, NULL), b = cr_family_new(g, "b", 0, NULL);
    cr_ref half = cr_const(g, 0.5), later = cr_map2(g, CR_OP_LT, cr_const(g, 1), cr_int(g, i));
    cr_ref body = cr_add(g, half, cr_select(g, later, cr_member(g, b, i), cr_const(g, 0)));
    assert_int_equal(cr_family_define(g, b, "i", two, last, half), CR_OK);
    assert_int_equal(cr_family_define(g, o, "i", one, last, body), CR_OK);
    cr_ref single = cr_substitute(g, cr_member(g, o, last), "N", one);
    assert_int_not_equal(single, CR_NONE);
    demand(g, single, (double[]){0.5}, 1, 0, "no member");
    cr_graph_free(g);
}

int main(void)
{
    uint64_t random = 5;
    double *const all[] = {gate_values, extra_values, bit_values};
    const size_t count[] = {N_GATES, N_EXTRA, (STEPS + 1) * CELLS};
    for (int k = 0; k < 3; k++)
        for (size_t i = 0; i < count[k]; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            all[k][i] = (double)(random >> 11) * 0x1p-52 - 1;
        }
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_order), cmocka_unit_test(two_depths),
                                       cmocka_unit_test(a_circle_is_refused), cmocka_unit_test(used_is_complete),
                                       cmocka_unit_test(what_is_supposed_holds), cmocka_unit_test(one_copy_of_each),
                                       cmocka_unit_test(a_copy_without_members)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
