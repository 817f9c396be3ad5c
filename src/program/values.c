/* Values: what the text, --at and files give, bound into an environment. */
#include "program/program.h"

#include <math.h>
#include <string.h>

/* ---- attributes ------------------------------------------------------------------------------- */

/* Cholesky in place on a copy: fails exactly where the matrix is not (numerically) positive definite. */
static bool is_definite(double *a, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        for (int64_t k = 0; k < j; k++)
            for (int64_t i = j; i < n; i++) a[i * n + j] -= a[i * n + k] * a[j * n + k];
        if (!(a[j * n + j] > 0)) return false;
        double d = sqrt(a[j * n + j]);
        for (int64_t i = j; i < n; i++) a[i * n + j] /= d;
    }
    return true;
}

/* Gaussian elimination with row exchange; false where a pivot is 0. */
static bool is_invertible(double *a, int64_t n)
{
    for (int64_t k = 0; k < n; k++) {
        int64_t best = k;
        for (int64_t i = k + 1; i < n; i++)
            if (fabs(a[i * n + k]) > fabs(a[best * n + k])) best = i;
        if (!(fabs(a[best * n + k]) > 0)) return false;
        for (int64_t j = k; j < n; j++) {
            double t = a[k * n + j];
            a[k * n + j] = a[best * n + j];
            a[best * n + j] = t;
        }
        for (int64_t i = k + 1; i < n; i++) {
            double f = a[i * n + k] / a[k * n + k];
            for (int64_t j = k; j < n; j++) a[i * n + j] -= f * a[k * n + j];
        }
    }
    return true;
}

static const char *broken_attribute(unsigned bits, const exec_array *a, double *work)
{
    double sum = 0;
    for (size_t i = 0; i < a->n; i++) {
        double v = a->value[i];
        if ((bits & CR_POSITIVE) && !(v > 0)) return "positive";
        if ((bits & CR_PROBABILITY) && !(v >= 0)) return "a probability (an entry is negative)";
        sum += v;
    }
    if ((bits & CR_PROBABILITY) && !(fabs(sum - 1) <= 1e-9)) return "a probability (the entries do not sum to 1)";
    if (a->rank != 2 || a->dim[0] != a->dim[1]) return NULL; /* sizes are exec_bind's business */
    int64_t n = a->dim[0];
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < i; j++) {
            double u = a->value[i * n + j], v = a->value[j * n + i];
            if ((bits & (CR_SYMMETRIC | CR_DEFINITE)) && !(fabs(u - v) <= 1e-12 * (fabs(u) + fabs(v))))
                return "symmetric";
            if ((bits & CR_DIAGONAL) && (u != 0 || v != 0)) return "diagonal";
        }
    }
    memcpy(work, a->value, a->n * sizeof *work);
    if ((bits & CR_DEFINITE) && !is_definite(work, n)) return "positive definite";
    if ((bits & CR_INVERTIBLE) && !(bits & CR_DEFINITE) && !is_invertible(work, n)) return "invertible";
    return NULL;
}

static const char *param_name(const cr_graph *g, cr_ref param)
{
    return name_text(g->dims, attr_of(g, param, 0));
}

cr_status values_attributes(cr_graph *g, cr_ref param, const exec_array *a)
{
    unsigned bits = attr_of(g, param, 1);
    if (!bits) return CR_OK;
    double *work = mem_alloc(a->n * sizeof *work);
    if (!work) {
        graph_fail(g, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    const char *broken = broken_attribute(bits, a, work);
    mem_free(work);
    if (!broken) return CR_OK;
    graph_fail(g, CR_EVALUE, "the value of %s is not %s, as it was declared", param_name(g, param), broken);
    return CR_EVALUE;
}

/* ---- binding ---------------------------------------------------------------------------------- */

static bool int_of(void *user, dim_sym s, int64_t *v)
{
    return exec_int(user, s, v);
}

bool values_dim(const cr_graph *g, const exec_env *env, cr_dim d, int64_t *v)
{
    dim_sym missing;
    return dim_eval(g->dims, d, int_of, (void *)env, v, &missing);
}

/* The array with the rank of the parameter, where only axes of length 1 tell them apart (a file's (n,1) for R^n). */
static void fit_rank(const cr_graph *g, cr_ref param, exec_array *a)
{
    unsigned want = shape_of(g, param)->rank;
    for (unsigned i = a->rank; i > 0 && a->rank > want; i--) {
        if (a->dim[i - 1] != 1) continue;
        memmove(&a->dim[i - 1], &a->dim[i], (a->rank - i) * sizeof a->dim[0]);
        a->rank--;
    }
    int64_t first;
    if (a->rank + 1 == want && cr_dim_value(g, shape_of(g, param)->dim[0], &first) && first == 1) {
        memmove(&a->dim[1], &a->dim[0], a->rank * sizeof a->dim[0]);
        a->dim[0] = 1;
        a->rank++;
    }
}

static cr_status bind_array(cr_program *p, exec_env *env, cr_ref param, const exec_array *from)
{
    exec_array a = *from; /* the entries are shared, the shape is not */
    fit_rank(p->g, param, &a);
    cr_status s = exec_bind(env, param, &a);
    return s == CR_OK ? values_attributes(p->g, param, &a) : s;
}

static cr_status bind_integer(cr_program *p, exec_env *env, dim_sym name, const exec_array *a)
{
    double v = a->n == 1 ? a->value[0] : NAN;
    if (v != floor(v) || fabs(v) > 1e15) {
        graph_fail(p->g, CR_EVALUE, "%s is an integer; the value given is not", name_text(p->g->dims, name));
        return CR_EVALUE;
    }
    return exec_bind_int(env, name, (int64_t)v);
}

static const exec_array *loaded(const cr_program *p, dim_sym name)
{
    for (size_t i = 0; i < p->n_values; i++)
        if (p->value[i].name == name) return &p->value[i].array;
    return NULL;
}

static cr_status bind_variable(cr_program *p, exec_env *env, const lang_variable *v)
{
    const exec_array *file = loaded(p, v->name);
    if (file) return v->param ? bind_array(p, env, v->param, file) : bind_integer(p, env, v->name, file);
    exec_array a = {0};
    cr_status s = exec_eval(p->g, env, v->value, &a);
    if (s == CR_OK) s = v->param ? bind_array(p, env, v->param, &a) : bind_integer(p, env, v->name, &a);
    exec_array_free(&a);
    return s;
}

cr_status values_bind(cr_program *p, const prog_needs *n, exec_env *env, values_open *open)
{
    *open = (values_open){0};
    for (int arrays = 0; arrays < 2; arrays++) { /* integers first: sizes of array values may use them */
        for (size_t i = 0; i < lang_n_variables(p->lang); i++) {
            const lang_variable *v = lang_variable_at(p->lang, i);
            if ((v->param != CR_NONE) != arrays || (!v->has_value && !loaded(p, v->name))) continue;
            cr_status s = bind_variable(p, env, v);
            if (s != CR_OK) return s;
        }
    }
    int64_t v;
    for (size_t i = 0; i < n->n_params; i++) open->params += !exec_value(env, n->param[i]);
    for (size_t i = 0; i < n->n_symbols; i++) open->symbols += !exec_int(env, n->symbol[i], &v);
    open->functions = n->n_unknown;
    return CR_OK;
}

/* ---- what is missing -------------------------------------------------------------------------- */

static void type_text(const cr_graph *g, cr_ref param, strbuf *b)
{
    const cr_shape *s = shape_of(g, param);
    sb_puts(b, s->rank == 0 ? "R" : s->rank == 1 && !dim_is_sum(g->dims, s->dim[0]) ? "R^" : "R^{");
    for (unsigned i = 0; i < s->rank; i++) {
        if (i) sb_puts(b, " x ");
        dim_print(g->dims, s->dim[i], b, NULL, NULL);
    }
    if (s->rank > 1 || (s->rank == 1 && dim_is_sum(g->dims, s->dim[0]))) sb_putc(b, '}');
}

/* Will s follow from the shape of an array that is missing itself? */
static bool follows(const cr_program *p, const prog_needs *n, const exec_env *env, dim_sym s)
{
    for (size_t i = 0; i < n->n_params; i++) {
        const cr_shape *t = shape_of(p->g, n->param[i]);
        for (unsigned a = 0; a < t->rank && !exec_value(env, n->param[i]); a++)
            if (dim_uses(p->g->dims, t->dim[a], s)) return true;
    }
    return false;
}

typedef struct missing {
    strbuf b;
    const char *example;
    bool array; /* the example is one */
} missing;

static void add_missing(missing *m, const char *name, bool array)
{
    sb_printf(&m->b, "%s%s", m->b.n ? ", " : "", name);
    if (m->example) return;
    m->example = name;
    m->array = array;
}

static void missing_arrays(const cr_program *p, const prog_needs *n, const exec_env *env, missing *m)
{
    for (size_t i = 0; i < n->n_params; i++) {
        if (exec_value(env, n->param[i])) continue;
        add_missing(m, param_name(p->g, n->param[i]), shape_of(p->g, n->param[i])->rank > 0);
        sb_puts(&m->b, " in ");
        type_text(p->g, n->param[i], &m->b);
    }
}

static void missing_integers(const cr_program *p, const lang_statement *st, const prog_needs *n, const exec_env *env,
                             bool arrays, missing *m)
{
    int64_t v;
    for (size_t i = 0; i < n->n_symbols; i++) {
        if (exec_int(env, n->symbol[i], &v) || (arrays && follows(p, n, env, n->symbol[i]))) continue;
        add_missing(m, name_text(p->g->dims, n->symbol[i]), false);
        sb_puts(&m->b, " (an integer)");
    }
    for (size_t i = 0; i < st->n_free; i++) {
        const lang_free_index *f = &st->free_index[i];
        if (exec_int(env, f->name, &v)) continue;
        add_missing(m, name_text(p->g->dims, f->name), false);
        sb_puts(&m->b, " in ");
        dim_print(p->g->dims, f->from, &m->b, NULL, NULL);
        sb_puts(&m->b, "..");
        dim_print(p->g->dims, f->to, &m->b, NULL, NULL);
    }
}

static cr_status say_missing(cr_program *p, const lang_statement *st, const prog_needs *n, const exec_env *env,
                             bool arrays)
{
    missing m = {0};
    sb_init(&m.b);
    if (arrays) missing_arrays(p, n, env, &m);
    missing_integers(p, st, n, env, arrays, &m);
    cr_status s = CR_OK;
    if (m.b.n) {
        s = CR_EVALUE;
        graph_fail(p->g, s, "no value for %s; give it with --at \"%s = %s; ...\" or --at values.npz", sb_str(&m.b),
                   m.example, m.array ? "[1, 2]" : "2");
    } else if (n->n_unknown) {
        s = CR_EVALUE;
        const char *name = name_text(p->g->dims, p->g->fun[n->unknown[0]].name);
        graph_fail(p->g, s, "%s is an unknown function and has no values; give it a body: fun %s(z) = ...", name, name);
    }
    sb_free(&m.b);
    return s;
}

cr_status values_missing(cr_program *p, const lang_statement *st, const prog_needs *n, const exec_env *env)
{
    return say_missing(p, st, n, env, true);
}

cr_status values_missing_sizes(cr_program *p, const lang_statement *st, const prog_needs *n, const exec_env *env)
{
    return say_missing(p, st, n, env, false);
}

cr_status values_facts(cr_program *p, const lang_statement *st, const prog_needs *n, const exec_env *env)
{
    for (size_t i = 0; i < n->n_facts; i++) {
        int64_t v;
        if (!values_dim(p->g, env, n->fact[i], &v) || v >= 0) continue;
        strbuf b;
        sb_init(&b);
        needs_fact_text(p, st, n, n->fact[i], &b);
        for (size_t k = 0; k < n->n_symbols; k++)
            if (dim_uses(p->g->dims, n->fact[i], n->symbol[k]) && exec_int(env, n->symbol[k], &v))
                sb_printf(&b, ", and %s = %lld", name_text(p->g->dims, n->symbol[k]), (long long)v);
        graph_fail(p->g, CR_EVALUE, "`%s` needs %s", st->query, sb_str(&b));
        sb_free(&b);
        return CR_EVALUE;
    }
    return CR_OK;
}
