/* Any bytes as a small random graph: rewriting keeps its value and its gradient, the gradient is that of differences,
 * and the graph stays sound.
 *
 * What is compared are f64 values, so a difference counts only if rounding cannot explain it: every intermediate value
 * must be finite and of moderate size, and no comparison may hang on a rounding error. */
#include "random_graph.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { POINTS = 2, LARGE = 100000 };

static void complain(const char *what, double got, double want)
{
    fprintf(stderr, "%s: %.17g, not %.17g\n", what, got, want);
    abort();
}

static void evaluate(cr_graph *g, exec_env *env, cr_ref r, exec_array *out)
{
    if (exec_eval(g, env, r, out) == CR_OK) return;
    fprintf(stderr, "no value: %s\n", cr_graph_message(g));
    abort();
}

/* a and b are the same numbers here, if rounding lets us see. */
static void same(cr_graph *g, exec_env *env, const char *what, cr_ref a, cr_ref b, bool generic)
{
    double top = random_graph_magnitude(g, env, a, generic);
    exec_array x, y;
    if (!(top < LARGE)) return;
    evaluate(g, env, a, &x);
    evaluate(g, env, b, &y);
    if (x.n != y.n || x.rank != y.rank) complain(what, (double)y.n, (double)x.n);
    for (size_t i = 0; i < x.n; i++)
        if (!(fabs(x.value[i] - y.value[i]) <= 1e-8 * (1 + top))) complain(what, y.value[i], x.value[i]);
    exec_array_free(&x);
    exec_array_free(&y);
}

static double scalar(cr_graph *g, exec_env *env, cr_ref r)
{
    exec_array a;
    evaluate(g, env, r, &a);
    double v = a.value[0];
    exec_array_free(&a);
    return v;
}

/* The gradient of the scalar f by x, built by the rules, simplified, and by differences. */
static void gradient(random_graph *k, exec_env *env, cr_ref f, cr_ref x)
{
    cr_graph *g = k->g;
    cr_ref d = cr_derivative(g, f, x), simple = d ? cr_simplify(g, d) : CR_NONE;
    if (!simple) {
        if (cr_graph_status(g) == CR_EINTERNAL) complain(cr_graph_message(g), 0, 0);
        cr_graph_clear_error(g);
        return;
    }
    double top = random_graph_magnitude(g, env, f, true), top_d = random_graph_magnitude(g, env, d, true);
    if (!(top < 1000) || !(top_d < LARGE)) return;
    same(g, env, "the simplified gradient", d, simple, true);
    exec_array at, slope;
    evaluate(g, env, x, &at);
    evaluate(g, env, d, &slope);
    for (size_t j = 0; j < at.n; j++) {
        double v = at.value[j], coarse = 0, fine = 0;
        bool smooth = true;
        for (int i = 0; i < 4 && smooth; i++) {
            double h = i < 2 ? 1e-4 : 5e-5, side = i & 1 ? 1 : -1;
            at.value[j] = v + side * h;
            if (exec_bind(env, x, &at) != CR_OK) abort();
            double there = random_graph_magnitude(g, env, f, true);
            smooth = there < 2000;
            if (smooth) *(i < 2 ? &coarse : &fine) += side * scalar(g, env, f) / (2 * h);
        }
        at.value[j] = v;
        if (exec_bind(env, x, &at) != CR_OK) abort();
        double scale = 1 + top + top_d;
        if (!smooth || !(fabs(coarse - fine) < 1e-7 * scale)) continue;
        if (!(fabs(fine - slope.value[j]) < 1e-5 * scale))
            complain("the gradient against differences", slope.value[j], fine);
    }
    exec_array_free(&at);
    exec_array_free(&slope);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    random_graph k = {.g = cr_graph_new(), .data = data, .n = size};
    if (!k.g) return 0;
    const char *fault;
    random_graph_build(&k, &fault);
    if (fault) complain(fault, 0, 0);
    cr_ref root = k.pool[k.n_pool - 1];
    exec_env *env = exec_env_new(k.g);
    if (!env || !random_graph_bind(&k, env, 0, false)) abort();
    cr_ref simple = cr_simplify(k.g, root);
    if (!simple && cr_graph_status(k.g) != CR_ELIMIT) complain(cr_graph_message(k.g), 0, 0);
    for (unsigned point = 0; point < POINTS && simple; point++) {
        if (!random_graph_bind(&k, env, point, false)) abort();
        same(k.g, env, "the simplified value", root, simple, false);
    }
    if (simple && cr_dtype_of(k.g, root) == CR_REAL) {
        if (!random_graph_bind(&k, env, 0, true)) abort();
        gradient(&k, env, cr_sum(k.g, root), k.param[size ? data[size - 1] % N_PARAMS : 0]);
    }
    char message[200];
    if (cr_verify(k.g, message, sizeof message) != CR_OK) complain(message, 0, 0);
    exec_env_free(env);
    cr_graph_free(k.g);
    return 0;
}
