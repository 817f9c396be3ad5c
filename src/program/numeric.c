/* Derivatives from values only: complex step (Squire and Trapp 1998) where the function is analytic, else central
 * differences extrapolated to step 0 (Ridders 1982), each entry with the step that suits it. */
#include "program/program.h"

#include <math.h>
#include <string.h>

/* ---- is it analytic? -------------------------------------------------------------------------- */

enum { MAX_CALL_DEPTH = 32 };

static bool analytic(cr_graph *g, cr_ref root, cr_ref var, unsigned depth);

/* Node r depends on the variable through the inputs marked in `dep`. */
static bool node_analytic(cr_graph *g, cr_ref r, const bool *dep, unsigned depth)
{
    const cr_node *v = node(g, r);
    switch ((cr_op)v->op) {
    case CR_OP_PARAM:
    case CR_OP_MEMBER:
        return true;
    case CR_OP_SELECT:
        return !dep[v->word[0]];
    case CR_OP_BIND:
        return attr_of(g, r, 0) <= CR_BIND_STACK || attr_of(g, r, 0) == CR_BIND_CHAIN;
    case CR_OP_CALL: {
        const cr_function *f = &g->fun[attr_of(g, r, 0)];
        return f->body && depth < MAX_CALL_DEPTH && analytic(g, f->body, f->arg, depth + 1);
    }
    default: {
        const op_info *o = op_get((cr_op)v->op);
        return shape_of(g, r)->dtype != CR_BOOL && o->smooth != KINK && o->smooth != JUMP;
    }
    }
}

static bool analytic(cr_graph *g, cr_ref root, cr_ref var, unsigned depth)
{
    size_t n = 0;
    cr_ref *cone = graph_cone(g, 1, &root, &n);
    bool *dep = cone ? mem_zalloc((size_t)root + 1, sizeof *dep) : NULL;
    bool yes = dep != NULL;
    for (size_t i = 0; i < n && yes; i++) {
        const cr_node *v = node(g, cone[i]);
        bool d = cone[i] == var || (v->op == CR_OP_MEMBER && depth_rests_on(g, cone[i], var));
        for (uint32_t k = 0; k < v->n_in && !d; k++) d = dep[v->word[k]];
        dep[cone[i]] = d;
        yes = !d || node_analytic(g, cone[i], dep, depth);
    }
    mem_free(dep);
    mem_free(cone);
    return yes;
}

bool numeric_analytic(cr_graph *g, cr_ref a, cr_ref param)
{
    size_t n = 0;
    cr_family *list = family_closure(g, 1, &a, &n);
    bool yes = list && analytic(g, a, param, 0);
    for (size_t i = 0; i < n && yes; i++)
        for (size_t k = 0; k < g->family[list[i]].n_pieces && yes; k++)
            yes = analytic(g, g->family[list[i]].piece[k].body, param, 0);
    mem_free(list);
    return yes;
}

/* ---- both methods ----------------------------------------------------------------------------- */

void numeric_free(numeric_slope *s)
{
    mem_free(s->value);
    mem_free(s->error);
    *s = (numeric_slope){0};
}

static bool slope_init(numeric_slope *s, size_t n)
{
    s->n = n;
    s->value = mem_zalloc(n, sizeof *s->value);
    s->error = mem_zalloc(n, sizeof *s->error);
    return s->value && s->error;
}

/* Greatest magnitude among the entries that move. */
static double moved_scale(const exec_array *x, const double *v)
{
    double s = 0;
    for (size_t i = 0; i < x->n; i++)
        if (v[i] != 0) s = fmax(s, fabs(x->value[i]));
    return s;
}

/* Im f(x + i h v) / h: no cancellation, so h can be far below the precision of x. */
static cr_status complex_step(cr_graph *g, exec_env *env, cr_ref a, cr_ref param, const double *v, numeric_slope *out)
{
    const exec_array *x = exec_value(env, param);
    double s = moved_scale(x, v), h = 1e-100 * (s > 0 && s < 1 ? s : 1);
    double *imag = mem_alloc(x->n * sizeof *imag);
    exec_array re = {0}, im = {0};
    cr_status status = CR_ENOMEM;
    if (imag) {
        for (size_t i = 0; i < x->n; i++) imag[i] = h * v[i];
        status = exec_eval_complex(g, env, a, param, imag, &re, &im);
    }
    if (status == CR_OK && !slope_init(out, im.n)) status = CR_ENOMEM;
    for (size_t i = 0; status == CR_OK && i < im.n; i++) out->value[i] = im.value[i] / h;
    exec_array_free(&re);
    exec_array_free(&im);
    mem_free(imag);
    return status;
}

enum { STEPS = 30, ORDER = 6 };

/* Richardson's tableau of one entry: row[j] has its error terms up to h^(2j) removed. */
typedef struct tableau {
    double row[ORDER];
    unsigned depth;
    double best, error;
} tableau;

static void tableau_add(tableau *t, double slope, double rounding)
{
    double next[ORDER];
    unsigned depth = t->depth < ORDER - 1 ? t->depth : ORDER - 1;
    next[0] = slope;
    double f = 1;
    for (unsigned j = 1; j <= depth; j++) {
        f *= 4;
        next[j] = (f * next[j - 1] - t->row[j - 1]) / (f - 1);
        double e = fmax(fabs(next[j] - next[j - 1]), fabs(next[j] - t->row[j - 1])) + 2 * rounding;
        if (e < t->error) {
            t->error = e;
            t->best = next[j];
        }
    }
    memcpy(t->row, next, (depth + 1) * sizeof *next);
    t->depth = depth + 1;
}

/* a at x + h v; the caller puts x back. */
static cr_status moved_value(cr_graph *g, exec_env *env, cr_ref a, cr_ref param, const exec_array *x, const double *v,
                             double h, exec_array *work, exec_array *out)
{
    for (size_t i = 0; i < x->n; i++) work->value[i] = v[i] != 0 ? x->value[i] + h * v[i] : x->value[i];
    cr_status s = exec_bind(env, param, work);
    return s == CR_OK ? exec_eval(g, env, a, out) : s;
}

static bool settled(const tableau *t, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(t[i].error <= 1e-11 * fabs(t[i].best))) return false;
    return true;
}

static cr_status sweep(cr_graph *g, exec_env *env, cr_ref a, cr_ref param, const exec_array *x, const double *v,
                       exec_array *work, tableau **table, numeric_slope *out)
{
    double h = 0.0625 * fmax(1, moved_scale(x, v));
    for (int k = 0; k < STEPS; k++, h /= 2) {
        exec_array up = {0}, down = {0};
        cr_status s = moved_value(g, env, a, param, x, v, h, work, &up);
        if (s == CR_OK) s = moved_value(g, env, a, param, x, v, -h, work, &down);
        if (s == CR_OK && !*table) {
            *table = mem_zalloc(up.n, sizeof **table);
            if (!*table || !slope_init(out, up.n)) s = CR_ENOMEM;
            for (size_t i = 0; s == CR_OK && i < up.n; i++) (*table)[i].best = NAN, (*table)[i].error = INFINITY;
        }
        for (size_t i = 0; s == CR_OK && i < up.n; i++) {
            double d = (up.value[i] - down.value[i]) / (2 * h);
            if (isfinite(d))
                tableau_add(&(*table)[i], d, 0x1p-53 * fmax(fabs(up.value[i]), fabs(down.value[i])) / h);
            else
                (*table)[i].depth = 0; /* outside the domain: start afresh closer by */
        }
        exec_array_free(&up);
        exec_array_free(&down);
        if (s != CR_OK) return s;
        if (k >= 4 && settled(*table, out->n)) break;
    }
    for (size_t i = 0; i < out->n; i++) out->value[i] = (*table)[i].best, out->error[i] = (*table)[i].error;
    return CR_OK;
}

static cr_status differences(cr_graph *g, exec_env *env, cr_ref a, cr_ref param, const double *v, numeric_slope *out)
{
    error e = {0};
    exec_array x = {0}, work = {0};
    tableau *table = NULL;
    const exec_array *now = exec_value(env, param);
    cr_status s = CR_ENOMEM;
    if (exec_array_init(&x, now->rank, now->dim, &e) && exec_array_init(&work, now->rank, now->dim, &e)) {
        memcpy(x.value, now->value, x.n * sizeof *x.value);
        s = sweep(g, env, a, param, &x, v, &work, &table, out);
        cr_status back = exec_bind(env, param, &x);
        if (s == CR_OK) s = back;
    }
    mem_free(table);
    exec_array_free(&x);
    exec_array_free(&work);
    err_clear(&e);
    return s;
}

cr_status numeric_along(cr_graph *g, exec_env *env, cr_ref a, cr_ref param, const double *v, numeric_method *method,
                        numeric_slope *out)
{
    *out = (numeric_slope){0};
    cr_status s = CR_EUNSUPPORTED;
    if (*method == NUMERIC_COMPLEX) s = complex_step(g, env, a, param, v, out);
    if (s == CR_EUNSUPPORTED) { /* an operator without a complex kernel (pinv) */
        cr_graph_clear_error(g);
        numeric_free(out);
        *method = NUMERIC_DIFFERENCES;
        s = differences(g, env, a, param, v, out);
    }
    if (s == CR_OK) return s;
    numeric_free(out);
    graph_fail(g, s, "out of memory"); /* keeps a message that is there already */
    return s;
}
