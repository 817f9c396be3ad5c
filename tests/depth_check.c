#include "depth_check.h"

#include "calculus/derive.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Relative; what is written for reading has 1 - sigmoid(z), which loses digits where z is large. */
static const double TOLERANCE = 1e-10, FOR_READING = 1e-6;

bool depth_fault(depth_case *c, const char *fmt, ...)
{
    if (!*c->fault) {
        int n = snprintf(c->fault, sizeof c->fault, "%s\n# y = %s, N = %d\n", c->text, c->y, (int)c->n);
        va_list ap;
        va_start(ap, fmt);
        if (n > 0 && (size_t)n < sizeof c->fault) vsnprintf(c->fault + n, sizeof c->fault - (size_t)n, fmt, ap);
        va_end(ap);
    }
    return false;
}

static bool graph_fault(depth_case *c, const char *what)
{
    return depth_fault(c, "%s: %s", what, *cr_graph_message(c->g) ? cr_graph_message(c->g) : "an invalid expression");
}

unsigned depth_below(uint64_t *random, unsigned n)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(*random >> 33) % n;
}

double depth_uniform(uint64_t *random) { return depth_below(random, 1u << 30) / (double)(1u << 29) - 1; }

bool depth_open(depth_case *c, const char *text, const char *y, uint64_t seed)
{
    memset(c, 0, sizeof *c);
    c->text = text;
    c->y = y;
    c->random = seed;
    c->g = cr_graph_new();
    c->p = lang_new(c->g);
    if (!c->g || !c->p) return depth_fault(c, "out of memory");
    if (lang_parse(c->p, "program", text, strlen(text)) != CR_OK) return graph_fault(c, "program");
    lang_statement st = {0};
    if (lang_expression(c->p, "y", y, &st) != CR_OK) return graph_fault(c, "y");
    c->expr = st.expr;
    c->n_user = c->g->n_family;
    return true;
}

void depth_close(depth_case *c)
{
    exec_env_free(c->env);
    lang_free(c->p);
    cr_graph_free(c->g);
}

static bool value(depth_case *c, const char *what, cr_ref a, exec_array *out)
{
    memset(out, 0, sizeof *out);
    return (a && exec_eval(c->g, c->env, a, out) == CR_OK) || graph_fault(c, what);
}

static bool bind_int(depth_case *c, const char *name, int64_t v)
{
    return exec_bind_int(c->env, name_intern(c->g->dims, name, strlen(name)), v) == CR_OK || graph_fault(c, name);
}

/* Size of an axis: known numbers only. */
static bool known(void *user, dim_sym s, int64_t *v) { return exec_int(user, s, v); }

static bool draw(depth_case *c, cr_ref param)
{
    const cr_shape *s = shape_of(c->g, param);
    int64_t dim[CR_MAX_RANK];
    dim_sym missing;
    for (unsigned i = 0; i < s->rank; i++)
        if (!dim_eval(c->g->dims, s->dim[i], known, c->env, &dim[i], &missing)) return depth_fault(c, "an open size");
    exec_array a;
    error e = {CR_OK, NULL};
    if (!exec_array_init(&a, s->rank, dim, &e)) return depth_fault(c, "%s", err_message(&e));
    for (size_t i = 0; i < a.n; i++) {
        double v = depth_uniform(&c->random);
        a.value[i] = v + (v < 0 ? -0.4 : 0.4); /* of either sign, away from 0 */
    }
    bool ok = exec_bind(c->env, param, &a) == CR_OK || graph_fault(c, "a value");
    exec_array_free(&a);
    return ok;
}

/* Entry by entry; `scale` is what rounding errors are relative to. */
static bool same(depth_case *c, const char *what, size_t n, const double *got, const double *want, double scale,
                 double tolerance)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= tolerance * (fabs(want[i]) + 1e-3 * scale + 1e-7)) && got[i] != want[i])
            return depth_fault(c, "%s: entry %zu is %.15g, not %.15g", what, i, got[i], want[i]);
    return true;
}

static double greatest(const exec_array *a)
{
    double m = 0;
    for (size_t i = 0; i < a->n; i++) m = fmax(m, fabs(a->value[i]));
    return m;
}

static cr_ref at_depth(depth_case *c, cr_ref r)
{
    r = cr_substitute(c->g, r, "N", cr_dim_const(c->g, c->n));
    return cr_substitute(c->g, r, "m", cr_dim_const(c->g, c->n / 2 + 1));
}

bool depth_size(depth_case *c, int64_t n)
{
    c->n = n;
    exec_env_free(c->env);
    c->env = exec_env_new(c->g);
    if (!c->env) return depth_fault(c, "out of memory");
    return bind_int(c, "N", n) && bind_int(c, "m", n / 2 + 1) && bind_int(c, "d", 2);
}

bool depth_at(depth_case *c, int64_t n)
{
    if (!depth_size(c, n)) return false;
    for (cr_ref r = 1; r < c->g->n_nodes; r++)
        if (op_of(c->g, r) == CR_OP_PARAM && !exec_value(c->env, r) && !draw(c, r)) return false;
    cr_ref numeric = at_depth(c, c->expr);
    c->unrolled = numeric ? cr_unroll(c->g, numeric) : CR_NONE;
    exec_array a, b;
    if (!c->unrolled) return graph_fault(c, "unrolled");
    if (!value(c, "y", c->expr, &a)) return false;
    bool ok = value(c, "y unrolled", c->unrolled, &b) && (a.n == b.n || depth_fault(c, "y: other sizes")) &&
              same(c, "y against y unrolled", a.n, a.value, b.value, greatest(&b), TOLERANCE);
    exec_array_free(&a);
    exec_array_free(&b);
    return ok;
}

bool depth_supposed(depth_case *c)
{
    for (cr_family f = 1; f < c->g->n_family; f++)
        for (size_t i = 0; i < c->g->family[f].n_assume; i++) {
            int64_t v;
            dim_sym missing;
            if (!dim_eval(c->g->dims, c->g->family[f].assume[i], known, c->env, &v, &missing) || v < 0) return false;
        }
    return true;
}

/* Does the expression rest on families that the user did not write: derivatives as recursions? */
static bool is_recursion(depth_case *c, cr_ref r)
{
    size_t n;
    bool found = false;
    cr_family *list = family_closure(c->g, 1, &r, &n);
    for (size_t i = 0; list && i < n; i++) {
        const char *name = name_text(c->g->dims, c->g->family[list[i]].name);
        found |= name[0] == 'd' && strstr(name, "_d");
    }
    mem_free(list);
    return found;
}

static cr_ref read_back(depth_case *c, cr_ref r, const lang_statement *from, strbuf *b)
{
    lang_free_index range[8];
    if (lang_print(c->g, r, LANG_TEXT, LANG_AUTO, b) != CR_OK) return graph_fault(c, "print"), CR_NONE;
    lang_statement st = {.free_index = range, .n_free = from->n_free};
    memcpy(range, from->free_index, from->n_free * sizeof *range);
    if (lang_expression(c->p, "printed", sb_str(b), &st) == CR_OK) return st.expr;
    graph_fault(c, "read back");
    return CR_NONE;
}

/* One column of the Jacobian by a complex step along entry j. */
static bool complex_step(depth_case *c, cr_ref param, size_t n_x, size_t j, exec_array *im)
{
    exec_array re;
    double *imag = mem_zalloc(n_x, sizeof *imag);
    if (!imag) return depth_fault(c, "out of memory");
    imag[j] = 1e-100;
    bool ok = exec_eval_complex(c->g, c->env, c->expr, param, imag, &re, im) == CR_OK || graph_fault(c, "complex step");
    if (ok) exec_array_free(&re);
    for (size_t i = 0; ok && i < im->n; i++) im->value[i] *= 1e100;
    mem_free(imag);
    return ok;
}

/* Reverse mode on the unrolled expression against complex steps of the recurrence. */
static bool check_reference(depth_case *c, cr_ref param, const exec_array *jacobian, bool few)
{
    size_t n_x = exec_value(c->env, param)->n, n_y = jacobian->n / n_x, step = few && n_x > 3 ? n_x / 3 : 1;
    bool ok = true;
    for (size_t j = 0; j < n_x && ok; j += step) {
        exec_array im;
        ok = complex_step(c, param, n_x, j, &im);
        double scale = greatest(jacobian);
        for (size_t i = 0; ok && i < n_y; i++)
            ok = same(c, "reverse mode, unrolled, against a complex step", 1, &jacobian->value[i * n_x + j],
                      &im.value[i], scale, TOLERANCE);
        if (ok) exec_array_free(&im);
    }
    return ok;
}

/* d, which is for the entries of the variable from `first` on, `part` many, against the Jacobian. */
static bool against(depth_case *c, const char *what, cr_ref d, const exec_array *jacobian, size_t n_y, size_t first,
                    size_t part, double tolerance)
{
    exec_array a;
    if (!value(c, what, d, &a)) return false;
    size_t own = jacobian->n / n_y;
    bool ok = a.n == n_y * part || depth_fault(c, "%s: %zu entries, not %zu", what, a.n, n_y * part);
    for (size_t i = 0; i < n_y && ok; i++)
        ok = same(c, what, part, a.value + i * part, jacobian->value + i * own + first, greatest(jacobian), tolerance);
    exec_array_free(&a);
    return ok;
}

/* Which entries of a variable w asks for: `part` many from `first` on. */
static bool entries(depth_case *c, const calc_wrt *w, size_t *first, size_t *part, size_t *n)
{
    const exec_array *x = exec_value(c->env, w->var);
    *part = *n = x->n;
    *first = 0;
    for (unsigned i = 0; i < w->n_index; i++) {
        int64_t at;
        dim_sym missing;
        if (!dim_eval(c->g->dims, w->index[i], known, c->env, &at, &missing)) return depth_fault(c, "an open index");
        *part /= (size_t)x->dim[i];
        *first += (size_t)(at - 1) * *part;
    }
    return true;
}

bool depth_derivative(depth_case *c, const char *wrt, int64_t first, int64_t last, bool few)
{
    cr_graph *g = c->g;
    calc_result r = {0};
    exec_array jacobian = {0};
    char what[200];
    strbuf b;
    sb_init(&b);
    if (lang_query(c->p, LANG_DERIVE, c->y, wrt) != CR_OK) return graph_fault(c, wrt);
    const lang_statement *st = lang_statement_at(c->p, lang_n_statements(c->p) - 1);
    bool ok = calc_derive(g, st->expr, 1, st->wrt, 0, &r) == CR_OK || graph_fault(c, wrt);
    bool recursion = ok && is_recursion(c, r.exact);
    c->recursions += ok && recursion;
    c->closed += ok && !recursion;
    cr_ref back = ok && !recursion ? read_back(c, r.simple, st, &b) : CR_NONE;
    ok = ok && (recursion || back);
    cr_ref param = st->wrt->var, numeric = ok ? at_depth(c, param) : CR_NONE;
    cr_ref j = numeric ? cr_derivative(g, c->unrolled, numeric) : CR_NONE;
    ok = ok && (j || graph_fault(c, "unrolled")) && value(c, "unrolled", j, &jacobian) &&
         check_reference(c, param, &jacobian, few);
    bool free = ok && st->n_free > 0;
    if (!free) last = first;
    for (int64_t k = first; ok && k <= last; k++) {
        size_t from = 0, part = 1, n_x = 1;
        if (few && k > first + 2 && k < last - 2 && k % 11) continue;
        ok = (!free || bind_int(c, "k", k)) && entries(c, st->wrt, &from, &part, &n_x);
        size_t n_y = jacobian.n / n_x;
        const char *kind = recursion ? "recursion" : "closed form";
        snprintf(what, sizeof what, "by %s, k = %d, %s", wrt, (int)k, kind);
        ok = ok && against(c, what, r.exact, &jacobian, n_y, from, part, TOLERANCE);
        snprintf(what, sizeof what, "by %s, k = %d, %s, simplified", wrt, (int)k, kind);
        ok = ok && against(c, what, r.simple, &jacobian, n_y, from, part, FOR_READING);
        snprintf(what, sizeof what, "by %s, k = %d, read back from %.100s", wrt, (int)k, sb_str(&b));
        if (back) ok = ok && against(c, what, back, &jacobian, n_y, from, part, FOR_READING);
    }
    if (!ok && b.n) {
        size_t n = strlen(c->fault);
        snprintf(c->fault + n, sizeof c->fault - n, "\n# its text: %s", sb_str(&b));
    }
    sb_free(&b);
    exec_array_free(&jacobian);
    calc_result_free(&r);
    return ok;
}
