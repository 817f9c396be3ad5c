/* Numbers for an explanation: how steep the activation is, how large the gradients are. */
#include "program/explain.h"

#include <math.h>
#include <string.h>

/* ---- the slope of the activation ---------------------------------------------------------------- */

enum { GRID = 4001, ZOOMS = 5 };

/* d f / d z at the n points of z. */
static cr_status slopes_at(cr_graph *g, cr_op op, cr_fun fun, const double *z, size_t n, exec_array *out)
{
    int64_t dim[1] = {(int64_t)n};
    cr_dim size = dim_const(g->dims, (int64_t)n);
    dim_sym name = fresh_symbol(g, "z");
    cr_ref points = name ? cr_param(g, name_text(g->dims, name), 1, &size, 0) : CR_NONE;
    cr_ref slope = op == CR_OP_CALL ? cr_call(g, fun, 1, points)
                                    : op_get(op)->partial(g, cr_map(g, op, points), 0);
    exec_env *env = slope ? exec_env_new(g) : NULL;
    exec_array a = {0};
    error e = {0};
    cr_status s = cr_graph_status(g);
    if (s == CR_OK && (!env || !exec_array_init(&a, 1, dim, &e))) s = CR_ENOMEM;
    if (s == CR_OK) {
        memcpy(a.value, z, n * sizeof *z);
        s = exec_bind(env, points, &a);
    }
    if (s == CR_OK) s = exec_eval(g, env, slope, out);
    if (s == CR_ENOMEM && cr_graph_status(g) == CR_OK) graph_fail(g, s, "out of memory");
    err_clear(&e);
    exec_array_free(&a);
    exec_env_free(env);
    return s;
}

/* Searches z = sinh(t), |z| < 1500, then closer and closer around the best point. want: +1 the greatest, -1 the least.
 */
static cr_status extreme_slope(cr_graph *g, cr_op op, cr_fun fun, int want, double *value, double *at)
{
    double from = -8, to = 8, before = 0, z[GRID];
    *value = want > 0 ? -INFINITY : INFINITY;
    *at = 0;
    for (int zoom = 0; zoom < ZOOMS; zoom++) {
        exec_array slope = {0};
        for (size_t i = 0; i < GRID; i++) {
            double t = from + (to - from) * (double)i / (GRID - 1);
            z[i] = zoom == 0 ? sinh(t) : t;
        }
        cr_status s = slopes_at(g, op, fun, z, GRID, &slope);
        if (s != CR_OK) return s;
        size_t best = GRID;
        for (size_t i = 0; i < GRID; i++) {
            double v = slope.value[i];
            bool closer = v == *value && fabs(z[i]) < fabs(*at); /* of equals the one at the origin */
            if (isnan(v) || !(want > 0 ? v > *value : v < *value) ? !closer : false) continue;
            *value = v;
            *at = z[i];
            best = i;
        }
        double inner = 0, all = 0; /* a slope that still grows far out has no bound */
        for (size_t i = 0; i < GRID; i++) {
            if (!(want * slope.value[i] > 0)) continue;
            all = fmax(all, fabs(slope.value[i]));
            if (fabs(z[i]) < 550) inner = fmax(inner, fabs(slope.value[i]));
        }
        exec_array_free(&slope);
        bool singular = zoom == ZOOMS - 1 && fabs(*value) > 1.5 * before && fabs(*value) > 10; /* nor one that grows */
        if ((zoom == 0 && all > 1.4 * inner && all > 10) || singular) {                     /* the closer one looks */
            *value = want * INFINITY;
            return CR_OK;
        }
        before = fabs(*value);
        if (best == GRID) break;
        from = z[best ? best - 1 : 0];
        to = z[best + 1 < GRID ? best + 1 : best];
    }
    return CR_OK;
}

/* The z around `at` at which the slope is as large: out->from..to. */
static cr_status plateau(cr_graph *g, cr_op op, cr_fun fun, double value, steepness *out)
{
    double z[GRID];
    exec_array slope = {0};
    for (size_t i = 0; i < GRID; i++) z[i] = sinh(-8 + 16 * (double)i / (GRID - 1));
    cr_status s = slopes_at(g, op, fun, z, GRID, &slope);
    out->from = out->to = out->at;
    for (size_t i = 0; s == CR_OK && i < GRID; i++) {
        if (slope.value[i] != value) continue;
        out->from = fmin(out->from, z[i]);
        out->to = fmax(out->to, z[i]);
    }
    for (size_t i = 0; s == CR_OK && i < GRID; i++) /* one range without a gap, or nothing is said of it */
        if (z[i] > out->from && z[i] < out->to && slope.value[i] != value && z[i] != 0) out->from = out->to = out->at;
    exec_array_free(&slope);
    if (s != CR_OK || !(out->to - out->from > 0.5)) return s;
    double step = sinh(16.0 / (GRID - 1)); /* from the point of the grid to the kink before it */
    if (fabs(out->from) < 2 * step) out->from = 0;
    if (fabs(out->to) < 2 * step) out->to = 0;
    out->at = out->to > 1000 ? fmax(out->from, 0) + 1 : out->from < -1000 ? fmin(out->to, 0) - 1
                                                                           : (out->from + out->to) / 2;
    return s;
}

cr_status slope_range(cr_graph *g, cr_op op, cr_fun fun, steepness *out)
{
    double low_at;
    cr_status s = extreme_slope(g, op, fun, 1, &out->max, &out->at);
    if (s == CR_OK) s = extreme_slope(g, op, fun, -1, &out->min, &low_at);
    bool low = s == CR_OK && -out->min > out->max;
    if (low) out->at = low_at;
    return s == CR_OK ? plateau(g, op, fun, low ? out->min : out->max, out) : s;
}

/* ---- magnitudes ---------------------------------------------------------------------------------- */

static double sigmoid_order(void *user, unsigned order, double z)
{
    (void)user;
    /* 1 - v in a form that does not round to 0 for large z: the slope at z = 40 is 4.2e-18, not 0 */
    double e = exp(-fabs(z)), v = z < 0 ? e / (1 + e) : 1 / (1 + e), slope = e / ((1 + e) * (1 + e));
    return order == 0 ? v : order == 1 ? slope : slope * (1 - 2 * v);
}

static cr_status bind_uniform(cr_graph *g, exec_env *env, cr_ref param, double v)
{
    const cr_shape *s = shape_of(g, param);
    int64_t dim[CR_MAX_RANK];
    exec_array a = {0};
    error e = {0};
    for (unsigned i = 0; i < s->rank; i++)
        if (!values_dim(g, env, s->dim[i], &dim[i])) {
            graph_fail(g, CR_EUNSUPPORTED, "the size of `%s` is not known",
                       name_text(g->dims, attr_of(g, param, 0)));
            return CR_EUNSUPPORTED;
        }
    if (!exec_array_init(&a, s->rank, dim, &e)) {
        graph_fail(g, e.status, "%s", err_message(&e));
        err_clear(&e);
        return cr_graph_status(g);
    }
    for (size_t i = 0; i < a.n; i++) a.value[i] = v;
    cr_status status = exec_bind(env, param, &a);
    exec_array_free(&a);
    return status;
}

/* The value that the text gives for a single variable. */
static bool given(explain_subject *s, exec_env *env, cr_ref param, double *v)
{
    for (size_t i = 0; i < lang_n_variables(s->p->lang); i++) {
        const lang_variable *var = lang_variable_at(s->p->lang, i);
        exec_array a = {0};
        if (var->param != param || !var->has_value) continue;
        bool ok = exec_eval(s->g, env, var->value, &a) == CR_OK && a.n == 1;
        if (ok) *v = a.value[0];
        exec_array_free(&a);
        return ok;
    }
    return false;
}

cr_status log_sizes(explain_subject *s, cr_ref root, explain_point at, size_t n, double *out)
{
    cr_graph *g = s->g;
    prog_needs needs = {0};
    exec_env *env = exec_env_new(g);
    if (!env) return prog_oom(s->p);
    lang_statement st = {.expr = root};
    exec_scaled x = {0};
    cr_status status = needs_collect(s->p, &st, 1, &root, &needs);
    if (status == CR_OK) status = exec_bind_int(env, s->depth, at.depth);
    for (size_t i = 0; status == CR_OK && i < needs.n_params; i++) {
        cr_ref r = needs.param[i];
        double v = 0.5;
        if (r == s->var) v = at.weight;
        else if (family_first(g, r)) v = 0;
        else given(s, env, r, &v);
        if (status == CR_OK) status = bind_uniform(g, env, r, v);
    }
    for (size_t i = 0; status == CR_OK && i < needs.n_unknown; i++)
        status = exec_bind_fun(env, needs.unknown[i], sigmoid_order, NULL);
    if (status == CR_OK) status = exec_eval_scaled(g, env, root, &x);
    if (status == CR_OK && x.value.n != n) {
        graph_fail(g, CR_EINTERNAL, "a gradient of %zu entries instead of %zu", x.value.n, n);
        status = CR_EINTERNAL;
    }
    for (size_t i = 0; status == CR_OK && i < n; i++) out[i] = x.log10_abs.value[i];
    exec_scaled_free(&x);
    needs_free(&needs);
    exec_env_free(env);
    return status;
}
