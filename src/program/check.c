/* Statement -> verdict: points are drawn or taken as given, free indices run, and every case is judged by check_case.
 */
#include "program/program.h"

#include <math.h>
#include <string.h>

typedef struct checked {
    cr_check out; /* first: the public pointer is this one */
    arena mem;
} checked;

void cr_check_free(cr_check *c)
{
    if (!c) return;
    arena_free(&((checked *)c)->mem);
    mem_free(c);
}

typedef struct checker {
    check_work w;
    prog_needs needs;
    check_level *level;
    size_t n_levels;
    cr_check_case *cases;
    size_t n_cases, case_cap;
    size_t worst;
    double worst_ratio;
    const cr_named_array *point;
    size_t n_point;
    bool given; /* every parameter has a value */
    random_gen gen;
} checker;

enum { DEFAULT_POINTS = 5, MAX_TRIES = 100, SIZE_TRIES = 200 };

/* ---- integers --------------------------------------------------------------------------------- */

typedef struct trial { /* integers under trial, above those of the environment */
    const checker *k;
    const exec_env *env;
    const int64_t *value; /* by needs.symbol */
} trial;

static bool trial_value(void *user, dim_sym s, int64_t *v)
{
    const trial *t = user;
    if (exec_int(t->env, s, v)) return true;
    for (size_t i = 0; i < t->k->needs.n_symbols; i++) {
        if (t->k->needs.symbol[i] != s) continue;
        *v = t->value[i];
        return true;
    }
    return false;
}

static bool trial_dim(const trial *t, cr_dim d, int64_t *v)
{
    dim_sym missing;
    return dim_eval(t->k->w.p->g->dims, d, trial_value, (void *)t, v, &missing);
}

/* Says in b that d, which is `value`, should be in 1..size (size 0: at least 1). */
static void put_fault(const checker *k, const char *what, cr_dim d, int64_t value, int64_t size, strbuf *b)
{
    int64_t number;
    sb_puts(b, what);
    dim_print(k->w.p->g->dims, d, b, NULL, NULL);
    if (!dim_value(k->w.p->g->dims, d, &number)) sb_printf(b, " = %lld", (long long)value);
    if (size > 0)
        sb_printf(b, " is not in 1..%lld", (long long)size);
    else
        sb_puts(b, " is not positive");
}

/* Is a size not positive, or an index out of range? Then b says which. An index that contains a free one is looked at
 * when that has a value. */
static bool trial_fails(const trial *t, strbuf *b)
{
    const checker *k = t->k;
    const prog_needs *n = &k->needs;
    const lang_statement *st = k->w.st;
    int64_t v, size;
    for (size_t i = 0; i < n->n_params && b->n == 0; i++) {
        const cr_shape *s = shape_of(k->w.p->g, n->param[i]);
        for (unsigned a = 0; a < s->rank && b->n == 0; a++)
            if (trial_dim(t, s->dim[a], &v) && v < 1) put_fault(k, "the size ", s->dim[a], v, 0, b);
    }
    for (size_t i = 0; i < n->n_entries && b->n == 0; i++)
        if (trial_dim(t, n->entry[i].index, &v) && trial_dim(t, n->entry[i].size, &size) && (v < 1 || v > size))
            put_fault(k, "the index ", n->entry[i].index, v, size, b);
    for (size_t i = 0; i < st->n_free && b->n == 0; i++) {
        const lang_free_index *f = &st->free_index[i];
        if (trial_dim(t, f->from, &v) && trial_dim(t, f->to, &size) && v > size && b->n == 0)
            sb_printf(b, "%s runs over %lld..%lld, which is empty", name_text(k->w.p->g->dims, f->name), (long long)v,
                      (long long)size);
    }
    for (size_t i = 0; i < n->n_facts && b->n == 0; i++)
        if (trial_dim(t, n->fact[i], &v) && v < 0) {
            sb_puts(b, "it needs ");
            needs_fact_text(k->w.p, st, n, n->fact[i], b);
        }
    return b->n > 0 || b->status != CR_OK;
}

static bool size_given(const prog_needs *n, const exec_env *env, int64_t v)
{
    int64_t known;
    for (size_t i = 0; i < n->n_symbols; i++)
        if (n->is_size[i] && exec_int(env, n->symbol[i], &known) && known == v) return true;
    return false;
}

/* Sizes are small and differ, so that n cannot stand in for m; other integers are drawn from 1..4. Larger ones are
 * tried where these do not fit. */
static cr_status draw_integers(checker *k, exec_env *env)
{
    static const int64_t size[] = {3, 2, 4, 5};
    const prog_needs *n = &k->needs;
    int64_t *v = mem_zalloc(n->n_symbols, sizeof *v), known;
    if (!v) return prog_oom(k->w.p);
    trial t = {k, env, v};
    strbuf fault;
    sb_init(&fault);
    bool ok = false;
    for (int try = 0; try < SIZE_TRIES && !ok; try++) {
        size_t sizes = 0;
        for (size_t i = 0; i < n->n_symbols; i++) {
            for (int again = 0; n->is_size[i] && again < 4; again++) { /* the next one that no given size has */
                v[i] = size[sizes++ % 4] + try / 4;
                if (n->recurrent) v[i] = 2 + (int64_t)random_below(&k->gen, 5 + (uint64_t)try / 8); /* depths vary */
                if (!size_given(n, env, v[i])) break;
            }
            if (n->is_size[i]) continue;
            v[i] = (n->recurrent ? 0 : 1) + (int64_t)random_below(&k->gen, 4 + (uint64_t)try / 8);
        }
        sb_free(&fault);
        sb_init(&fault);
        ok = !trial_fails(&t, &fault);
    }
    cr_status s = fault.status;
    if (s != CR_OK) {
        prog_oom(k->w.p);
    } else if (!ok) {
        s = CR_EVALUE;
        graph_fail(k->w.p->g, s, "`%s` has no point here: %s", k->w.st->query, sb_str(&fault));
    }
    sb_free(&fault);
    for (size_t i = 0; i < n->n_symbols && s == CR_OK; i++)
        if (!exec_int(env, n->symbol[i], &known)) s = exec_bind_int(env, n->symbol[i], v[i]);
    mem_free(v);
    return s;
}

/* ---- parameters ------------------------------------------------------------------------------- */

static cr_status draw_parameter(checker *k, exec_env *env, cr_ref param, random_kind kind)
{
    cr_graph *g = k->w.p->g;
    const cr_shape *s = shape_of(g, param);
    int64_t dim[CR_MAX_RANK];
    for (unsigned i = 0; i < s->rank; i++) {
        if (values_dim(g, env, s->dim[i], &dim[i])) continue;
        graph_fail(g, CR_EVALUE, "a size of %s cannot be computed", name_text(g->dims, attr_of(g, param, 0)));
        return CR_EVALUE;
    }
    error e = {0};
    exec_array a = {0};
    cr_status status = CR_OK;
    if (!exec_array_init(&a, s->rank, dim, &e)) {
        graph_fail(g, status = e.status, "%s: %s", name_text(g->dims, attr_of(g, param, 0)), err_message(&e));
    } else if (random_fill(&k->gen, attr_of(g, param, 1), kind, &a) != CR_OK) {
        status = prog_oom(k->w.p);
    } else {
        status = exec_bind(env, param, &a);
    }
    exec_array_free(&a);
    err_clear(&e);
    return status;
}

/* Given values, then drawn ones. After some failures the draws leave the normal distribution: first together, then each
 * parameter by itself. */
static cr_status draw_point(checker *k, exec_env *env, int try)
{
    values_open open;
    cr_status s = values_bind(k->w.p, &k->needs, env, &open);
    if (s == CR_OK) s = draw_integers(k, env);
    for (size_t i = 0; i < k->needs.n_params && s == CR_OK; i++) {
        random_kind kind = try < 10   ? RANDOM_NORMAL
                           : try < 50 ? (random_kind)(try % RANDOM_KINDS)
                                      : (random_kind)random_below(&k->gen, RANDOM_KINDS);
        if (!exec_value(env, k->needs.param[i])) s = draw_parameter(k, env, k->needs.param[i], kind);
    }
    for (size_t i = 0; i < k->needs.n_unknown && s == CR_OK; i++)
        s = exec_bind_fun(env, k->needs.unknown[i], random_function,
                          (void *)((uintptr_t)i | (k->needs.recurrent ? RANDOM_BOUNDED : 0)));
    return s;
}

static cr_status keep_point(checker *k, const exec_env *env)
{
    cr_graph *g = k->w.p->g;
    const prog_needs *n = &k->needs;
    cr_named_array *list = arena_alloc(k->w.mem, (n->n_params + n->n_symbols) * sizeof *list + 1);
    if (!list) return prog_oom(k->w.p);
    size_t count = 0;
    for (size_t i = 0; i < n->n_symbols; i++) {
        int64_t v;
        if (!exec_int(env, n->symbol[i], &v)) continue;
        double value = (double)v;
        exec_array one = {.n = 1, .value = &value};
        cr_named_array *a = &list[count++];
        *a = (cr_named_array){.name = result_text(k->w.mem, name_text(g->dims, n->symbol[i]))};
        if (!a->name || !result_array(k->w.mem, &one, &a->array)) return prog_oom(k->w.p);
    }
    for (size_t i = 0; i < n->n_params; i++) {
        const exec_array *x = exec_value(env, n->param[i]);
        cr_named_array *a = &list[count++];
        *a = (cr_named_array){.name = result_text(k->w.mem, name_text(g->dims, attr_of(g, n->param[i], 0)))};
        if (!a->name || !result_array(k->w.mem, x, &a->array)) return prog_oom(k->w.p);
    }
    k->point = list;
    k->n_point = count;
    return CR_OK;
}

/* ---- free indices ----------------------------------------------------------------------------- */

/* Entries that hold a free index, now that it has a value. */
static bool indices_in_range(const checker *k, const exec_env *env)
{
    int64_t v, size;
    for (size_t i = 0; i < k->needs.n_entries; i++) {
        const need_entry *e = &k->needs.entry[i];
        if (values_dim(k->w.p->g, env, e->index, &v) && values_dim(k->w.p->g, env, e->size, &size) &&
            (v < 1 || v > size))
            return false;
    }
    for (size_t i = 0; i < k->needs.n_facts; i++)
        if (values_dim(k->w.p->g, env, k->needs.fact[i], &v) && v < 0) return false;
    return true;
}

static cr_status keep_indices(checker *k, const int64_t *value, cr_check_case *c)
{
    const lang_statement *st = k->w.st;
    cr_named_array *list = arena_alloc(k->w.mem, st->n_free * sizeof *list + 1);
    if (!list) return prog_oom(k->w.p);
    for (size_t i = 0; i < st->n_free; i++) {
        double v = (double)value[i];
        exec_array one = {.n = 1, .value = &v};
        list[i] = (cr_named_array){.name = result_text(k->w.mem, name_text(k->w.p->g->dims, st->free_index[i].name))};
        if (!list[i].name || !result_array(k->w.mem, &one, &list[i].array)) return prog_oom(k->w.p);
    }
    c->index = list;
    c->n_index = st->n_free;
    return CR_OK;
}

/* One choice of the free indices. All cases are kept at a given point, else the worst one. */
static cr_status run_case(checker *k, exec_env *env, const int64_t *value, bool *unreliable)
{
    cr_check_case c = {0};
    double ratio;
    cr_status s = CR_OK;
    for (size_t i = 0; i < k->w.st->n_free && s == CR_OK; i++)
        s = exec_bind_int(env, k->w.st->free_index[i].name, value[i]);
    if (s != CR_OK || !indices_in_range(k, env)) return s;
    k->w.keep_above = k->given ? -INFINITY : k->worst_ratio;
    s = check_case(&k->w, env, k->n_levels, k->level, &c, &ratio, unreliable);
    if (s != CR_OK || (*unreliable && !k->given)) return s;
    if (k->given || ratio > k->worst_ratio) {
        if ((s = keep_indices(k, value, &c)) != CR_OK) return s;
        if (!k->given) k->n_cases = 0;
        if (!LIST_PUSH(k->cases, k->n_cases, k->case_cap, c)) return prog_oom(k->w.p);
    }
    if (ratio > k->worst_ratio) {
        k->worst_ratio = ratio;
        k->worst = k->n_cases - 1;
        s = keep_point(k, env);
    }
    return s;
}

static cr_status index_range(checker *k, const exec_env *env, size_t i, int64_t *from, int64_t *to)
{
    const lang_free_index *f = &k->w.st->free_index[i];
    cr_graph *g = k->w.p->g;
    int64_t v;
    const char *name = name_text(g->dims, f->name);
    if (!values_dim(g, env, f->from, from) || !values_dim(g, env, f->to, to)) {
        graph_fail(g, CR_EVALUE, "the range of %s has no value", name);
        return CR_EVALUE;
    }
    if (exec_int(env, f->name, &v)) { /* given */
        if (v < *from || v > *to) {
            graph_fail(g, CR_EVALUE, "%s = %lld, but it runs over %lld..%lld", name, (long long)v, (long long)*from,
                       (long long)*to);
            return CR_EVALUE;
        }
        *from = *to = v;
    }
    return CR_OK;
}

/* Every choice of the free indices, or CHECK_MAX_CASES drawn ones. */
static cr_status run_indices(checker *k, exec_env *env, bool *unreliable)
{
    size_t n = k->w.st->n_free;
    int64_t *from = mem_zalloc(3 * n, sizeof *from), *to = from + n, *value = to + n;
    if (!from) return prog_oom(k->w.p);
    cr_status s = CR_OK;
    double total = 1;
    for (size_t i = 0; i < n && s == CR_OK; i++) {
        s = index_range(k, env, i, &from[i], &to[i]);
        total *= (double)(to[i] - from[i] + 1);
    }
    bool all = total <= CHECK_MAX_CASES;
    size_t count = s != CR_OK || total < 1 ? 0 : all ? (size_t)total : CHECK_MAX_CASES;
    *unreliable = false;
    for (size_t q = 0; q < count && s == CR_OK && (k->given || !*unreliable); q++) {
        uint64_t rest = q;
        for (size_t i = n; i-- > 0;) { /* the last index runs fastest */
            uint64_t width = (uint64_t)(to[i] - from[i] + 1);
            value[i] = from[i] + (int64_t)(all ? rest % width : random_below(&k->gen, width));
            rest /= width;
        }
        s = run_case(k, env, value, unreliable);
    }
    mem_free(from);
    return s;
}

/* ---- points ----------------------------------------------------------------------------------- */

/* The first value, in order of evaluation, that is not finite; CR_NONE if all are. */
static cr_ref first_non_finite(checker *k, exec_env *env)
{
    cr_graph *g = k->w.p->g;
    size_t n = 0;
    cr_ref *cone = graph_cone(g, 1, &k->w.st->expr, &n), found = CR_NONE;
    for (size_t i = 0; i < n && !found; i++) {
        exec_array a = {0};
        if (exec_eval(g, env, cone[i], &a) != CR_OK)
            cr_graph_clear_error(g); /* inside a binder: has no value by itself */
        for (size_t e = 0; e < a.n && !found; e++)
            if (!isfinite(a.value[e])) found = cone[i];
        exec_array_free(&a);
    }
    mem_free(cone);
    return found;
}

/* Says what kept every point from having numbers. */
static void explain_failure(checker *k, exec_env *env)
{
    cr_graph *g = k->w.p->g;
    cr_ref r = first_non_finite(k, env);
    const op_info *o = r ? op_get(op_of(g, r)) : NULL;
    cr_ref c = o && o->regular ? o->regular(g, r) : CR_NONE;
    strbuf b;
    sb_init(&b);
    if (r && cr_graph_status(g) == CR_OK && lang_print(g, c ? c : r, LANG_TEXT, LANG_AUTO, &b) == CR_OK) {
        graph_fail(g, CR_EVALUE, "%d random points tried, and `%s` %s (in `%s`); give a point with --at", MAX_TRIES,
                   sb_str(&b), c ? "held at none of them" : "was not finite", k->w.st->query);
    }
    sb_free(&b);
    graph_fail(g, CR_EVALUE, "%d random points tried, and `%s` had no reliable numbers at any; give a point with --at",
               MAX_TRIES, k->w.st->query);
}

/* One point; a random one is drawn again while it has no reliable numbers. */
static cr_status run_point(checker *k)
{
    for (int try = 0;; try++) {
        exec_env *env = exec_env_new(k->w.p->g);
        if (!env) return prog_oom(k->w.p);
        checker before = *k; /* its lists only grow behind what it knows, except for the one worst case */
        cr_check_case worst = k->n_cases ? k->cases[0] : (cr_check_case){0};
        bool unreliable = false;
        cr_status s = draw_point(k, env, try);
        if (s == CR_OK) s = run_indices(k, env, &unreliable);
        bool again = s == CR_OK && unreliable && !k->given;
        if (again && try + 1 >= MAX_TRIES) {
            explain_failure(k, env);
            s = cr_graph_status(k->w.p->g);
        }
        exec_env_free(env);
        if (!again || s != CR_OK) return s;
        k->w.n_findings = before.w.n_findings; /* as if the point had not been */
        k->w.n_entries = before.w.n_entries;
        k->worst_ratio = before.worst_ratio;
        k->point = before.point;
        k->n_point = before.n_point;
        if ((k->n_cases = before.n_cases)) k->cases[0] = worst;
    }
}

/* ---- the whole -------------------------------------------------------------------------------- */

static cr_status prepare(checker *k, const cr_check_options *o)
{
    cr_program *p = k->w.p;
    const lang_statement *st = k->w.st;
    k->n_levels = st->n_wrt;
    k->level = mem_zalloc(st->n_wrt, sizeof *k->level);
    cr_ref *roots = mem_zalloc(2 * st->n_wrt + 1, sizeof *roots);
    cr_status s = k->level && roots ? CR_OK : prog_oom(p);
    unsigned n = 0;
    if (s == CR_OK) roots[n++] = st->expr;
    for (size_t i = 0; i < st->n_wrt && s == CR_OK; i++) {
        check_level *l = &k->level[i];
        *l = (check_level){.f = i ? l[-1].d : st->expr, .w = &st->wrt[i], .order = (unsigned)i + 1};
        l->d = prog_exact(p, st, i + 1, o->flags);
        if (!l->d) {
            s = cr_graph_status(p->g);
            break;
        }
        l->analytic = numeric_analytic(p->g, l->f, l->w->var);
        roots[n++] = l->d;
        roots[n++] = l->w->var;
    }
    if (s == CR_OK) s = needs_collect(p, st, n, roots, &k->needs);
    mem_free(roots);
    return s;
}

/* Which values are given decides between one given point and random ones. */
static cr_status look_at_values(checker *k)
{
    exec_env *env = exec_env_new(k->w.p->g);
    if (!env) return prog_oom(k->w.p);
    values_open open;
    cr_status s = values_bind(k->w.p, &k->needs, env, &open);
    if (s == CR_OK) s = values_facts(k->w.p, k->w.st, &k->needs, env);
    k->given = open.params == 0;
    k->w.decide = open.params < k->needs.n_params;
    exec_env_free(env);
    return s;
}

static const char *own_method(const check_work *w)
{
    if (w->decide && w->used[2])
        return w->used[1]   ? "one-sided series and central differences"
               : w->used[0] ? "one-sided series and complex step"
                            : "one-sided series";
    return !w->used[1] ? "complex step" : w->used[0] ? "complex step and central differences" : "central differences";
}

static const char *method_text(const check_work *w)
{
    strbuf b;
    sb_init(&b);
    sb_puts(&b, own_method(w));
    if (w->n_unrolled) sb_puts(&b, "; reverse mode on the network written out");
    return result_buffer(w->mem, &b);
}

static cr_status finish(checker *k, size_t n_points, cr_check *out)
{
    arena *mem = k->w.mem;
    cr_check_case *cases = arena_alloc(mem, k->n_cases * sizeof *cases + 1);
    cr_check_entry *finding = arena_alloc(mem, k->w.n_findings * sizeof *finding + 1);
    out->query = result_text(mem, k->w.st->query);
    if (!cases || !finding || !out->query) return prog_oom(k->w.p);
    if (k->n_cases) memcpy(cases, k->cases, k->n_cases * sizeof *cases);
    if (k->w.n_findings) memcpy(finding, k->w.finding, k->w.n_findings * sizeof *finding);
    if (k->n_cases == 0) {
        graph_fail(k->w.p->g, CR_EVALUE, "`%s`: no choice of its indices is in range", k->w.st->query);
        return CR_EVALUE;
    }
    out->given = k->given;
    out->exists = out->agrees = CR_YES;
    for (size_t i = 0; i < k->n_cases; i++) {
        const cr_check_case *c = &cases[i];
        if (c->exists == CR_NO || (c->exists == CR_UNDECIDED && out->exists == CR_YES)) out->exists = c->exists;
        if (c->agrees == CR_NO || (c->agrees == CR_UNDECIDED && out->agrees == CR_YES)) out->agrees = c->agrees;
        out->on_kink += c->on_kink;
        out->near_kink += c->near_kink;
    }
    if (k->w.unrolled_differs) out->agrees = CR_NO;
    out->n_unrolled = k->w.n_unrolled;
    out->unrolled_agrees = !k->w.n_unrolled ? CR_UNDECIDED : k->w.unrolled_differs ? CR_NO : CR_YES;
    out->unrolled_difference = k->w.unrolled_difference;
    out->n_points = n_points;
    out->n_entries = k->w.n_entries;
    if (!(out->method = method_text(&k->w))) return prog_oom(k->w.p);
    out->n_cases = k->n_cases;
    out->cases = cases;
    out->worst = k->worst;
    out->n_point = k->n_point;
    out->point = k->point;
    out->n_findings = k->w.n_findings;
    out->finding = finding;
    return CR_OK;
}

cr_status cr_program_check(cr_program *p, size_t i, const cr_check_options *o, cr_check **out)
{
    *out = NULL;
    const lang_statement *st = prog_statement(p, i);
    if (!st) return cr_graph_status(p->g);
    if (st->n_wrt == 0) {
        graph_fail(p->g, CR_EARG, "`%s` has no `wrt`: no derivative to check", st->query);
        return CR_EARG;
    }
    checked *r = mem_zalloc(1, sizeof *r);
    if (!r) return prog_oom(p);
    checker k = {.w = {.p = p, .st = st, .flags = o->flags, .mem = &r->mem}, .worst_ratio = -2};
    random_seed(&k.gen, o->seed);
    cr_status s = prepare(&k, o);
    k.w.needs = &k.needs;
    k.w.recurrent = k.needs.recurrent;
    if (s == CR_OK) s = look_at_values(&k);
    size_t points = k.given ? 1 : o->points ? o->points : DEFAULT_POINTS;
    for (size_t n = 0; n < points && s == CR_OK; n++) s = run_point(&k);
    if (s == CR_OK) s = finish(&k, points, &r->out);
    needs_free(&k.needs);
    mem_free(k.level);
    mem_free(k.cases);
    mem_free(k.w.finding);
    if (s == CR_OK)
        *out = &r->out;
    else
        cr_check_free(&r->out);
    return s;
}
