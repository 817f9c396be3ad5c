#include "op_check.h"

#include "program/program.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The variables of the samples, and the range of their entries: the domain of an operator is said by the variables that
 * its samples use. `diagonal` is added on the diagonal. */
static const struct variable {
    const char *name, *type;
    double low, high, diagonal;
    const char *range; /* of a family of variables */
} variables[] = {
    {"t", "R", -2, 2, 0, ""},
    {"s", "R", -2, 2, 0, ""},
    {"x", "R^n", -2, 2, 0, ""},
    {"y", "R^n", -2, 2, 0, ""},
    {"p", "R^n positive", 0.3, 2.5, 0, ""},
    {"q", "R^n positive", 0.3, 2.5, 0, ""},
    {"u", "R^n", -0.9, 0.9, 0, ""},
    {"A", "R^{n x n}", -1.5, 1.5, 0, ""},
    {"B", "R^{n x n}", -1.5, 1.5, 0, ""},
    {"D", "R^{n x n}", -0.7, 0.7, 2, ""},
    {"W", "R^{m x n}", -1.5, 1.5, 0, ""},
    {"V", "R^{n x m}", -1.5, 1.5, 0, ""},
    {"T", "R^{n x m x d}", -1.5, 1.5, 0, ""},
    {"X", "R^{2 x 4 x d}", -1.5, 1.5, 0, ""},
    {"K", "R^{4 x 2 x 2}", -1.5, 1.5, 0, ""},
    {"H", "R^{1 x m x 3 x 4}", -1.5, 1.5, 0, ""},
    {"F", "R^{m x m x 2 x 2}", -1.5, 1.5, 0, ""},
    {"w", "R", -2, 2, 0, "[0..n]"},
    {"M", "R^{n x n}", -1.5, 1.5, 0, "[1..m]"},
};
enum { N_VARIABLES = sizeof variables / sizeof *variables };
static const struct { const char *name; int64_t value; } integers[] = {{"n", 3}, {"m", 2}, {"d", 4}, {"k", 3}};
static const char functions[] = "fun f : R -> R\nfun h : R -> R\nfun swish(z) = z*sigmoid(z)\nlet k : Z\n";
/* A recurrence without variables: a member is a leaf to the rules (test_depth.c differentiates through recurrences). */
static const char recurrence[] = "def o[0] = 0.7\ndef o[i] = tanh(i*o[i-1]) + 1/i for i in 1..n\n";

bool case_fault(op_case *c, const char *fmt, ...)
{
    if (!*c->fault) {
        int n = snprintf(c->fault, sizeof c->fault, "`%s`: ", c->text);
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(c->fault + n, sizeof c->fault - (size_t)n, fmt, ap);
        va_end(ap);
    }
    return false;
}

static bool graph_fault(op_case *c)
{
    return case_fault(c, "%s", *cr_graph_message(c->g) ? cr_graph_message(c->g) : "an invalid expression");
}

static double uniform(op_case *c, double low, double high)
{
    c->random = c->random * 1664525u + 1013904223u;
    return low + (high - low) * (c->random >> 8) / 16777216.0;
}

bool case_give(op_case *c, cr_ref param, const exec_array *a)
{
    return exec_bind(c->env, param, a) == CR_OK || graph_fault(c);
}

bool case_value(op_case *c, cr_ref a, exec_array *out)
{
    if (!a || exec_eval(c->g, c->env, a, out) != CR_OK) return graph_fault(c);
    return true;
}

bool case_is_real(const op_case *c) { return cr_dtype_of(c->g, c->y) == CR_REAL; }

/* The sizes of a's shape as numbers, and an array of them. */
static bool array_like(op_case *c, cr_ref a, exec_array *out)
{
    const cr_shape *s = shape_of(c->g, a);
    int64_t dim[CR_MAX_RANK];
    for (unsigned i = 0; i < s->rank; i++)
        if (!values_dim(c->g, c->env, s->dim[i], &dim[i])) return case_fault(c, "a size that is not known");
    error e = {CR_OK, NULL};
    if (exec_array_init(out, s->rank, dim, &e)) return true;
    case_fault(c, "%s", err_message(&e));
    err_clear(&e);
    return false;
}

bool case_draw(op_case *c)
{
    double taken[64] = {0};
    size_t n = 1; /* away from 0 too */
    for (unsigned i = 0; i < c->n_vars; i++) {
        const char *name = name_text(c->g->dims, attr_of(c->g, c->var[i], 0));
        const struct variable *v = variables;
        while (strcmp(v->name, name)) v++;
        exec_array a;
        if (!array_like(c, c->var[i], &a)) return false;
        for (size_t k = 0; k < a.n; k++) {
            bool near;
            do {
                a.value[k] = uniform(c, v->low, v->high);
                near = false;
                for (size_t j = 0; j < n; j++) near |= fabs(a.value[k] - taken[j]) < 0.02 + 0.08 * (j == 0);
            } while (near);
            if (n < 64) taken[n++] = a.value[k];
        }
        for (int64_t k = 0; v->diagonal != 0 && k < a.dim[0]; k++) a.value[k * a.dim[1] + k] += v->diagonal;
        bool ok = case_give(c, c->var[i], &a);
        exec_array_free(&a);
        if (!ok) return false;
    }
    return true;
}

bool case_open(op_case *c, const char *text)
{
    memset(c, 0, sizeof *c);
    c->text = text;
    c->random = 5;
    c->g = cr_graph_new();
    c->lang = lang_new(c->g);
    c->env = exec_env_new(c->g);
    if (!c->g || !c->lang || !c->env) return case_fault(c, "out of memory");
    if (lang_parse(c->lang, "functions", functions, strlen(functions)) != CR_OK) return graph_fault(c);
    for (int i = 0; i < N_VARIABLES; i++) {
        char line[80];
        snprintf(line, sizeof line, "%s%s : %s", variables[i].name, variables[i].range, variables[i].type);
        if (lang_declare(c->lang, "let", line) != CR_OK) return graph_fault(c);
    }
    if (lang_parse(c->lang, "recurrence", recurrence, strlen(recurrence)) != CR_OK) return graph_fault(c);
    lang_statement st = {0};
    if (lang_expression(c->lang, "sample", text, &st) != CR_OK) return graph_fault(c);
    if (st.n_free) return case_fault(c, "a free index");
    c->y = st.expr;
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        dim_sym s = name_intern(c->g->dims, integers[i].name, strlen(integers[i].name));
        if (exec_bind_int(c->env, s, integers[i].value) != CR_OK) return graph_fault(c);
    }
    for (cr_fun f = 1; f < c->g->n_fun; f++)
        if (!c->g->fun[f].body && exec_bind_fun(c->env, f, random_function, (void *)(uintptr_t)f) != CR_OK)
            return graph_fault(c);
    size_t n;
    cr_ref *cone = graph_cone(c->g, 1, &c->y, &n);
    if (!cone) return graph_fault(c);
    for (size_t i = 0; i < n; i++) {
        if (op_of(c->g, cone[i]) != CR_OP_PARAM) continue;
        if (c->n_vars < CASE_MAX_VARS) c->var[c->n_vars++] = cone[i];
        else case_fault(c, "more than %d variables", CASE_MAX_VARS);
    }
    mem_free(cone);
    return !*c->fault && case_draw(c);
}

void case_close(op_case *c)
{
    exec_env_free(c->env);
    lang_free(c->lang);
    cr_graph_free(c->g);
}

bool case_uses(op_case *c, cr_op op)
{
    size_t n;
    bool found = false;
    cr_ref *cone = graph_cone(c->g, 1, &c->y, &n);
    for (size_t i = 0; cone && i < n; i++) found |= op_of(c->g, cone[i]) == op;
    mem_free(cone);
    return found;
}

cr_ref case_random_param(op_case *c, const char *name, cr_ref like, unsigned k)
{
    const cr_shape *s = shape_of(c->g, like);
    cr_dim shape[CR_MAX_RANK];
    for (unsigned i = 0; i < k; i++) shape[i] = cr_dim_const(c->g, 2 + (int64_t)i);
    memcpy(shape + k, s->dim, s->rank * sizeof *shape);
    char full[64]; /* one name for each shape */
    snprintf(full, sizeof full, "%s %u", name, (unsigned)graph_type(c->g, CR_REAL, s->rank + k, shape));
    cr_ref p = cr_param(c->g, full, s->rank + k, shape, 0);
    exec_array a;
    if (!p) graph_fault(c);
    if (!p || !array_like(c, p, &a)) return CR_NONE;
    for (size_t i = 0; i < a.n; i++) a.value[i] = uniform(c, -1, 1);
    bool ok = case_give(c, p, &a);
    exec_array_free(&a);
    return ok ? p : CR_NONE;
}

bool case_same(op_case *c, const char *what, const exec_array *a, const exec_array *b, double tolerance, double scale)
{
    bool same = a->rank == b->rank && !memcmp(a->dim, b->dim, a->rank * sizeof *a->dim);
    if (!same) return case_fault(c, "%s: ranks %u and %u, %zu and %zu entries", what, a->rank, b->rank, a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        double x = a->value[i], y = b->value[i];
        if (!(fabs(x - y) <= tolerance * (fabs(y) + scale)) && x != y && !(isnan(x) && isnan(y)))
            return case_fault(c, "%s: entry %zu is %.17g, not %.17g", what, i, x, y);
    }
    return true;
}

/* ---- the gradient test ------------------------------------------------------------------------ */

/* Largest entry, to know the rounding error of differences. */
static double greatest(const exec_array *a)
{
    double m = 0;
    for (size_t i = 0; i < a->n; i++) m = fmax(m, fabs(a->value[i]));
    return m;
}

/* jacobian[i * n + j] = dy_i/dx_j, by central differences of fourth order: truncation about h^4, rounding about
 * 1e-16 |y|/h. */
static bool differences(op_case *c, cr_ref x, const exec_array *x0, size_t n_y, double *jacobian)
{
    static const double weight[] = {1.0 / 12, -8.0 / 12, 8.0 / 12, -1.0 / 12}, at[] = {-2, -1, 1, 2};
    const double h = 1.0 / 4096;
    exec_array moved;
    if (!array_like(c, x, &moved)) return false;
    memset(jacobian, 0, n_y * x0->n * sizeof *jacobian);
    bool ok = true;
    for (size_t j = 0; j < x0->n && ok; j++)
        for (int k = 0; k < 4 && ok; k++) {
            exec_array y;
            memcpy(moved.value, x0->value, x0->n * sizeof *moved.value);
            moved.value[j] += at[k] * h;
            ok = case_give(c, x, &moved) && case_value(c, c->y, &y);
            if (!ok) break;
            for (size_t i = 0; i < n_y; i++) jacobian[i * x0->n + j] += weight[k] * y.value[i] / h;
            exec_array_free(&y);
        }
    exec_array_free(&moved);
    return case_give(c, x, x0) && ok;
}

/* The same by complex step: exact up to rounding. */
static bool complex_steps(op_case *c, cr_ref x, size_t n_x, size_t n_y, double *jacobian)
{
    double *imag = mem_zalloc(n_x, sizeof *imag);
    bool ok = imag != NULL;
    for (size_t j = 0; j < n_x && ok; j++) {
        exec_array re, im;
        imag[j] = 1e-100;
        ok = exec_eval_complex(c->g, c->env, c->y, x, imag, &re, &im) == CR_OK || graph_fault(c);
        if (!ok) break;
        for (size_t i = 0; i < n_y; i++) jacobian[i * n_x + j] = im.value[i] / 1e-100;
        exec_array_free(&re);
        exec_array_free(&im);
        imag[j] = 0;
    }
    mem_free(imag);
    return ok;
}

/* got[] against want[] = sum of products with sum of absolute values size[]: signed, relative to what was added up. */
static bool compare(op_case *c, const char *what, const char *var, const exec_array *got, size_t n, const double *want,
                    const double *size, double tolerance, double noise)
{
    if (got && got->n != n) return case_fault(c, "%s by %s: %zu entries, not %zu", what, var, got->n, n);
    for (size_t i = 0; i < n; i++) {
        double d = got ? got->value[i] : 0;
        if (!(fabs(d - want[i]) <= tolerance * size[i] + noise))
            return case_fault(c, "%s by %s: entry %zu is %.12g, the number is %.12g", what, var, i, d, want[i]);
    }
    return true;
}

typedef struct one_variable {
    cr_ref x, u, v, backward, forward; /* u, v: random cotangent and tangent; backward = J'u, forward = J v */
    const char *name;
    exec_array x0, uv, vv, back, ahead;
    bool has_back, has_ahead;
} one_variable;

/* Both modes against the numbers in jacobian. */
static bool against(op_case *c, const one_variable *o, size_t n_y, const double *jacobian, const char *method,
                    double tolerance, double noise)
{
    size_t n_x = o->x0.n, n = n_x > n_y ? n_x : n_y;
    double *want = mem_zalloc(2 * n, sizeof *want), *size = want + n;
    char what[80];
    if (!want) return case_fault(c, "out of memory");
    for (size_t j = 0; j < n_x; j++)
        for (size_t i = 0; i < n_y; i++) {
            want[j] += o->uv.value[i] * jacobian[i * n_x + j];
            size[j] += fabs(o->uv.value[i] * jacobian[i * n_x + j]);
        }
    snprintf(what, sizeof what, "reverse against %s", method);
    bool ok = compare(c, what, o->name, o->has_back ? &o->back : NULL, n_x, want, size, tolerance, noise);
    memset(want, 0, 2 * n * sizeof *want);
    for (size_t i = 0; i < n_y; i++)
        for (size_t j = 0; j < n_x; j++) {
            want[i] += jacobian[i * n_x + j] * o->vv.value[j];
            size[i] += fabs(jacobian[i * n_x + j] * o->vv.value[j]);
        }
    snprintf(what, sizeof what, "forward against %s", method);
    ok = ok && compare(c, what, o->name, o->has_ahead ? &o->ahead : NULL, n_y, want, size, tolerance, noise);
    mem_free(want);
    return ok;
}

/* <u, J v> = <J' u, v> */
static bool dual(op_case *c, const one_variable *o)
{
    double a = 0, b = 0, size = 0;
    for (size_t i = 0; o->has_ahead && i < o->uv.n; i++) {
        a += o->uv.value[i] * o->ahead.value[i];
        size += fabs(o->uv.value[i] * o->ahead.value[i]);
    }
    for (size_t i = 0; o->has_back && i < o->vv.n; i++) {
        b += o->back.value[i] * o->vv.value[i];
        size += fabs(o->back.value[i] * o->vv.value[i]);
    }
    if (fabs(a - b) <= 1e-12 * size) return true;
    return case_fault(c, "by %s: <u, Jv> = %.17g but <J'u, v> = %.17g", o->name, a, b);
}

static bool check_variable(op_case *c, one_variable *o, const exec_array *y)
{
    if (cr_reverse(c->g, c->y, o->u, 1, &o->x, &o->backward) != CR_OK) return graph_fault(c);
    o->forward = cr_forward(c->g, c->y, 1, &o->x, &o->v);
    if (cr_graph_status(c->g) != CR_OK) return graph_fault(c);
    o->has_back = o->backward && case_value(c, o->backward, &o->back);
    o->has_ahead = o->forward && case_value(c, o->forward, &o->ahead);
    double *jacobian = mem_zalloc(y->n * o->x0.n, sizeof *jacobian);
    if (!jacobian) return case_fault(c, "out of memory");
    bool ok = !*c->fault && differences(c, o->x, &o->x0, y->n, jacobian) &&
              against(c, o, y->n, jacobian, "differences", 1e-8, 1e-10 * greatest(y) + 1e-12) && dual(c, o);
    if (ok && numeric_analytic(c->g, c->y, o->x))
        ok = complex_steps(c, o->x, o->x0.n, y->n, jacobian) &&
             against(c, o, y->n, jacobian, "complex step", 1e-11, 1e-14 * greatest(y));
    mem_free(jacobian);
    return ok;
}

bool check_gradient(op_case *c)
{
    exec_array y;
    if (!case_is_real(c)) return true;
    if (!case_value(c, c->y, &y)) return false;
    bool ok = true;
    for (unsigned i = 0; i < c->n_vars && ok; i++) {
        one_variable o = {.x = c->var[i], .name = name_text(c->g->dims, attr_of(c->g, c->var[i], 0))};
        o.u = case_random_param(c, "cotangent", c->y, 0);
        o.v = case_random_param(c, "tangent", o.x, 0);
        ok = o.u && o.v && case_value(c, o.x, &o.x0) && case_value(c, o.u, &o.uv) && case_value(c, o.v, &o.vv) &&
             check_variable(c, &o, &y);
        exec_array_free(&o.x0);
        exec_array_free(&o.uv);
        exec_array_free(&o.vv);
        exec_array_free(&o.back);
        exec_array_free(&o.ahead);
    }
    exec_array_free(&y);
    return ok;
}
