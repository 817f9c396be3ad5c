/* The environment: values of parameters, integers and unknown functions. */
#include "exec/internal.h"

#include <inttypes.h>
#include <string.h>

bool exec_array_init(exec_array *a, unsigned rank, const int64_t *dim, error *e)
{
    memset(a, 0, sizeof *a);
    if (rank > CR_MAX_RANK) {
        err_set(e, CR_ELIMIT, "an array has at most %d axes, not %u", CR_MAX_RANK, rank);
        return false;
    }
    int64_t n = 1;
    bool empty = false, large = false;
    for (unsigned i = 0; i < rank; i++) {
        if (dim[i] < 0) {
            err_set(e, CR_EVALUE, "an array of negative size %" PRId64, dim[i]);
            return false;
        }
        empty |= dim[i] == 0;
        large |= dim[i] > EXEC_MAX_ENTRIES || (dim[i] > 0 && n > EXEC_MAX_ENTRIES / dim[i]);
        if (!large && dim[i] > 0) {
            n *= dim[i];
        }
        a->dim[i] = dim[i];
    }
    if (large && !empty) {
        err_set(e, CR_ELIMIT, "an array of more than %" PRId64 " entries", EXEC_MAX_ENTRIES);
        return false;
    }
    a->rank = rank;
    a->n = empty ? 0 : (size_t)n;
    a->value = mem_zalloc(a->n ? a->n : 1, sizeof *a->value);
    if (!a->value) {
        err_set(e, CR_ENOMEM, "out of memory");
        return false;
    }
    return true;
}

void exec_array_free(exec_array *a)
{
    mem_free(a->value);
    memset(a, 0, sizeof *a);
}

exec_env *exec_env_new(cr_graph *g)
{
    exec_env *env = mem_zalloc(1, sizeof *env);
    if (env) {
        env->g = g;
    } else {
        graph_fail(g, CR_ENOMEM, "out of memory");
    }
    return env;
}

void exec_env_free(exec_env *env)
{
    if (!env) {
        return;
    }
    for (size_t i = 0; i < env->n_name; i++) {
        exec_array_free(&env->name[i].array);
    }
    for (size_t i = 0; i < env->n_fun; i++) {
        mem_free(env->fun[i].body);
    }
    for (size_t i = 0; i < EXEC_SPARES; i++) {
        mem_free(env->spare[i].p);
    }
    mem_free(env->name);
    mem_free(env->fun);
    mem_free(env);
}

/* ---- memory of earlier evaluations --------------------------------------------------------------- */

enum { SPARE_LEAST = 1 << 17 }; /* what is smaller the allocator keeps by itself */

void *exec_take(exec_env *env, size_t bytes)
{
    exec_spare *best = NULL, *small = NULL;
    for (size_t i = 0; i < EXEC_SPARES && bytes >= SPARE_LEAST; i++) {
        exec_spare *s = &env->spare[i];
        if (s->p && s->bytes >= bytes && s->bytes / 2 <= bytes && (!best || s->bytes < best->bytes)) {
            best = s;
        }
        small = s->p && s->bytes < bytes && (!small || s->bytes > small->bytes) ? s : small;
    }
    if (best) {
        void *p = best->p;
        *best = (exec_spare){NULL, 0};
        return p;
    }
    if (small) { /* what was large enough once: without this, growing depths would leave one behind each */
        mem_free(small->p);
        *small = (exec_spare){NULL, 0};
    }
    return mem_alloc(bytes);
}

void exec_give(exec_env *env, void *p, size_t bytes)
{
    exec_spare *least = &env->spare[0];
    for (size_t i = 1; i < EXEC_SPARES; i++) {
        least = env->spare[i].bytes < least->bytes ? &env->spare[i] : least;
    }
    if (p && bytes >= SPARE_LEAST && bytes > least->bytes) {
        mem_free(least->p);
        *least = (exec_spare){p, bytes};
    } else {
        mem_free(p);
    }
}

exec_name *exec_name_of(exec_env *env, dim_sym s)
{
    if (s >= env->n_name) {
        if (!VEC_RESERVE(env->name, env->name_cap, (size_t)s + 1)) {
            graph_fail(env->g, CR_ENOMEM, "out of memory");
            return NULL;
        }
        memset(env->name + env->n_name, 0, (s + 1 - env->n_name) * sizeof *env->name);
        env->n_name = (size_t)s + 1;
    }
    return &env->name[s];
}

exec_callback *exec_callback_of(exec_env *env, cr_fun f)
{
    if (f >= env->n_fun) {
        if (!VEC_RESERVE(env->fun, env->fun_cap, (size_t)f + 1)) {
            graph_fail(env->g, CR_ENOMEM, "out of memory");
            return NULL;
        }
        memset(env->fun + env->n_fun, 0, (f + 1 - env->n_fun) * sizeof *env->fun);
        env->n_fun = (size_t)f + 1;
    }
    return &env->fun[f];
}

bool exec_int(const exec_env *env, dim_sym s, int64_t *v)
{
    if (s >= env->n_name || !env->name[s].known) {
        return false;
    }
    *v = env->name[s].v;
    return true;
}

static bool value_of(void *user, dim_sym s, int64_t *v)
{
    return exec_int(user, s, v);
}

static cr_status fail(exec_env *env, cr_status status)
{
    return cr_graph_status(env->g) != CR_OK ? cr_graph_status(env->g) : status;
}

bool exec_dim(exec_env *env, cr_dim d, const char *what, int64_t *v)
{
    dim_sym missing = 0;
    if (dim_value(env->g->dims, d, v) || dim_eval(env->g->dims, d, value_of, env, v, &missing)) {
        return true;
    }
    if (missing) {
        graph_fail(env->g, CR_EVALUE, "%s has no value (needed as %s)", name_text(env->g->dims, missing), what);
    } else {
        strbuf b;
        sb_init(&b);
        dim_print(env->g->dims, d, &b, NULL, NULL);
        graph_fail(env->g, CR_EVALUE, "%s cannot be computed: it overflows or divides by 0 (needed as %s)", sb_str(&b),
                   what);
        sb_free(&b);
    }
    return false;
}

bool exec_index(exec_env *env, cr_dim d, int64_t n, int64_t *v)
{
    if (!exec_dim(env, d, "an index", v)) {
        return false;
    }
    if (*v >= 1 && *v <= n) {
        return true;
    }
    strbuf b;
    int64_t number;
    sb_init(&b);
    dim_print(env->g->dims, d, &b, NULL, NULL);
    if (!dim_value(env->g->dims, d, &number)) {
        sb_printf(&b, " = %" PRId64, *v);
    }
    graph_fail(env->g, CR_EVALUE, "the index %s is not in 1..%" PRId64, sb_str(&b), n);
    sb_free(&b);
    return false;
}

bool exec_shape(exec_env *env, cr_ref r, int64_t *dim, size_t *n)
{
    const cr_shape *s = shape_of(env->g, r);
    int64_t total = 1;
    bool empty = false, large = false;
    for (unsigned i = 0; i < s->rank; i++) {
        if (!exec_dim(env, s->dim[i], "a size", &dim[i])) {
            return false;
        }
        if (dim[i] < 0) {
            strbuf b;
            sb_init(&b);
            dim_print(env->g->dims, s->dim[i], &b, NULL, NULL);
            graph_fail(env->g, CR_EVALUE, "the size %s is negative: %" PRId64, sb_str(&b), dim[i]);
            sb_free(&b);
            return false;
        }
        empty |= dim[i] == 0;
        large |= dim[i] > EXEC_MAX_ENTRIES || (dim[i] > 0 && total > EXEC_MAX_ENTRIES / dim[i]);
        if (!large && dim[i] > 0) {
            total *= dim[i];
        }
    }
    if (large && !empty) {
        double entries = 1;
        for (unsigned i = 0; i < s->rank; i++) entries *= (double)dim[i];
        graph_fail(env->g, CR_ELIMIT, "a value of shape %s would have %.4g entries (%.4g bytes in double precision), "
                   "more than %" PRId64, shape_text(env->g, r, 0), entries, 8 * entries, EXEC_MAX_ENTRIES);
        return false;
    }
    *n = empty ? 0 : (size_t)total;
    return true;
}

/* ---- binding ----------------------------------------------------------------------------------- */

/* "W has 3 columns", "x has 4 rows", "T has size 7 on axis 3". */
static void print_extent(exec_env *env, cr_ref param, unsigned axis, int64_t v, strbuf *b)
{
    unsigned rank = shape_of(env->g, param)->rank;
    sb_printf(b, "%s has ", name_text(env->g->dims, (dim_sym)attr_of(env->g, param, 0)));
    if (rank <= 2) {
        sb_printf(b, "%" PRId64 " %s%s", v, axis ? "column" : "row", v == 1 ? "" : "s");
    } else {
        sb_printf(b, "size %" PRId64 " on axis %u", v, axis + 1);
    }
}

/* The size of an axis contradicts what is known: names both sides. */
static cr_status contradiction(exec_env *env, cr_ref param, unsigned axis, int64_t found, int64_t expected)
{
    cr_dim d = shape_of(env->g, param)->dim[axis];
    strbuf b, size;
    sb_init(&b);
    sb_init(&size);
    dim_print(env->g->dims, d, &size, NULL, NULL);
    print_extent(env, param, axis, found, &b);
    dim_sym s;
    int64_t v;
    if (dim_is_symbol(env->g->dims, d, &s) && exec_int(env, s, &v)) {
        const exec_name *k = &env->name[s];
        if (k->by != CR_NONE && k->by != param) {
            sb_puts(&b, " but ");
            /* The other one may have told the symbol through a formula such as 2*n: then its own extent is that. */
            int64_t other = v;
            if (env->name[attr_of(env->g, k->by, 0)].bound) {
                other = env->name[attr_of(env->g, k->by, 0)].array.dim[k->axis];
            }
            print_extent(env, k->by, k->axis, other, &b);
            sb_printf(&b, " (%s)", sb_str(&size));
        } else {
            sb_printf(&b, " but %s = %" PRId64, sb_str(&size), v);
        }
    } else if (dim_value(env->g->dims, d, &v)) {
        sb_printf(&b, ", not %" PRId64, expected);
    } else {
        sb_printf(&b, " but %s = %" PRId64, sb_str(&size), expected);
    }
    graph_fail(env->g, CR_EVALUE, "%s", sb_str(&b));
    sb_free(&b);
    sb_free(&size);
    return fail(env, CR_EVALUE);
}

typedef struct unknown_symbol {
    const exec_env *env;
    dim_sym s;
    unsigned n;
} unknown_symbol;

static void count_unknown(void *user, dim_sym s)
{
    unknown_symbol *u = user;
    int64_t v;
    if (!exec_int(u->env, s, &v)) {
        u->s = s;
        u->n++;
    }
}

/* One axis: checks it if all its symbols are known, else solves for the only unknown one where that is possible.
 * Returns CR_OK also where there is nothing to conclude yet; *progress tells that a symbol was learned. */
static cr_status match_axis(exec_env *env, cr_ref param, unsigned axis, int64_t size, bool *progress)
{
    dim_table *t = env->g->dims;
    cr_dim d = shape_of(env->g, param)->dim[axis], rest;
    unknown_symbol u = {env, 0, 0};
    dim_symbols(t, d, count_unknown, &u);
    if (u.n == 0) {
        int64_t v;
        if (!exec_dim(env, d, "a size", &v)) {
            return fail(env, CR_EVALUE);
        }
        return v == size ? CR_OK : contradiction(env, param, axis, size, v);
    }
    int64_t a, r;
    if (u.n > 1 || !dim_linear_in(t, d, u.s, &a, &rest)) {
        return CR_OK;
    }
    if (!exec_dim(env, rest, "a size", &r)) {
        return fail(env, CR_EVALUE);
    }
    int64_t diff;
    if (__builtin_sub_overflow(size, r, &diff) || diff % a != 0 || diff / a < 0) {
        strbuf b, s;
        sb_init(&b);
        sb_init(&s);
        print_extent(env, param, axis, size, &b);
        dim_print(t, d, &s, NULL, NULL);
        graph_fail(env->g, CR_EVALUE, "%s, which %s is for no size %s", sb_str(&b), sb_str(&s), name_text(t, u.s));
        sb_free(&b);
        sb_free(&s);
        return fail(env, CR_EVALUE);
    }
    exec_name *k = exec_name_of(env, u.s);
    if (!k) {
        return CR_ENOMEM;
    }
    k->known = true;
    k->v = diff / a;
    k->by = param;
    k->axis = axis;
    *progress = true;
    return CR_OK;
}

cr_status exec_bind(exec_env *env, cr_ref param, const exec_array *a)
{
    cr_graph *g = env->g;
    if (!valid(g, param) || op_of(g, param) != CR_OP_PARAM) {
        graph_fail(g, CR_EARG, "only a parameter can be given a value");
        return fail(env, CR_EARG);
    }
    const cr_shape *s = shape_of(g, param);
    const char *name = name_text(g->dims, (dim_sym)attr_of(g, param, 0));
    if (a->rank != s->rank) {
        graph_fail(g, CR_EVALUE, "%s is %s, but its value has %u axes", name, shape_text(g, param, 0), a->rank);
        return fail(env, CR_EVALUE);
    }
    for (bool progress = true; progress;) {
        progress = false;
        for (unsigned i = 0; i < s->rank; i++) {
            cr_status status = match_axis(env, param, i, a->dim[i], &progress);
            if (status != CR_OK) {
                return status;
            }
        }
    }
    exec_array copy;
    error e = {CR_OK, NULL};
    if (!exec_array_init(&copy, a->rank, a->dim, &e)) {
        graph_fail(g, e.status, "%s: %s", name, err_message(&e));
        err_clear(&e);
        return fail(env, CR_ENOMEM);
    }
    memcpy(copy.value, a->value, copy.n * sizeof *copy.value);
    exec_name *k = exec_name_of(env, (dim_sym)attr_of(g, param, 0));
    if (!k) {
        exec_array_free(&copy);
        return CR_ENOMEM;
    }
    exec_array_free(&k->array);
    k->array = copy;
    k->bound = true;
    return CR_OK;
}

cr_status exec_bind_int(exec_env *env, dim_sym s, int64_t v)
{
    exec_name *k = exec_name_of(env, s);
    if (!k) {
        return CR_ENOMEM;
    }
    if (k->known && k->by != CR_NONE && k->v != v) {
        strbuf b;
        sb_init(&b);
        print_extent(env, k->by, k->axis, env->name[attr_of(env->g, k->by, 0)].array.dim[k->axis], &b);
        graph_fail(env->g, CR_EVALUE, "%s = %" PRId64 ", but %s, so that %s = %" PRId64, name_text(env->g->dims, s), v,
                   sb_str(&b), name_text(env->g->dims, s), k->v);
        sb_free(&b);
        return fail(env, CR_EVALUE);
    }
    k->known = true;
    k->v = v;
    return CR_OK;
}

const exec_array *exec_value(const exec_env *env, cr_ref param)
{
    dim_sym s = (dim_sym)attr_of(env->g, param, 0);
    return s < env->n_name && env->name[s].bound ? &env->name[s].array : NULL;
}

const exec_array *exec_parameter(exec_env *env, cr_ref r)
{
    const exec_array *a = exec_value(env, r);
    if (!a) {
        graph_fail(env->g, CR_EVALUE, "%s has no value", name_text(env->g->dims, (dim_sym)attr_of(env->g, r, 0)));
        return NULL;
    }
    int64_t dim[CR_MAX_RANK];
    size_t n;
    if (!exec_shape(env, r, dim, &n)) {
        return NULL;
    }
    for (unsigned i = 0; i < a->rank; i++) {
        if (a->dim[i] != dim[i]) { /* a size that was not solvable when a was bound, or changed since */
            contradiction(env, r, i, a->dim[i], dim[i]);
            return NULL;
        }
    }
    return a;
}

cr_status exec_bind_fun(exec_env *env, cr_fun f, exec_fun fn, void *user)
{
    exec_callback *c = exec_callback_of(env, f);
    if (!c) {
        return CR_ENOMEM;
    }
    c->fn = fn;
    c->user = user;
    return CR_OK;
}

cr_ref exec_function_body(exec_env *env, cr_fun f, unsigned order)
{
    cr_graph *g = env->g;
    exec_callback *c = exec_callback_of(env, f);
    if (!c) {
        return CR_NONE;
    }
    if (order >= c->n_body) {
        cr_ref *p = mem_realloc(c->body, ((size_t)order + 1) * sizeof *p);
        if (!p) {
            return graph_fail(g, CR_ENOMEM, "out of memory");
        }
        memset(p + c->n_body, 0, (order + 1 - c->n_body) * sizeof *p);
        c->body = p;
        c->n_body = (size_t)order + 1;
    }
    c->body[0] = g->fun[f].body;
    unsigned have = order;
    while (c->body[have] == CR_NONE) {
        have--;
    }
    for (; have < order; have++) {
        cr_ref d = cr_derivative(g, c->body[have], g->fun[f].arg);
        if (d == CR_NONE) {
            return CR_NONE;
        }
        c->body[have + 1] = d;
    }
    return c->body[order];
}

/* ---- what families suppose ---------------------------------------------------------------------- */

typedef struct fit {
    exec_env *env;
    cr_family family;
    bool ok;
} fit;

/* Suppositions leave out what sizes of at least 1 imply. */
static void fits_symbol(void *user, dim_sym s)
{
    fit *c = user;
    cr_graph *g = c->env->g;
    int64_t v;
    if (!c->ok || !exec_int(c->env, s, &v) || v >= 1) return;
    graph_fail(g, CR_EVALUE, "the definitions of `%s` need %s >= 1, and %s = %lld",
               name_text(g->dims, g->family[c->family].name), name_text(g->dims, s), name_text(g->dims, s),
               (long long)v);
    c->ok = false;
}

bool exec_families_fit(exec_env *env, const cr_family *list, size_t n)
{
    cr_graph *g = env->g;
    for (size_t i = 0; i < n; i++) {
        const family *f = &g->family[list[i]];
        fit c = {env, list[i], true};
        for (size_t k = 0; k < f->n_assume; k++) {
            int64_t v;
            dim_symbols(g->dims, f->assume[k], fits_symbol, &c);
            if (!c.ok || !exec_dim(env, f->assume[k], "an index", &v)) return false;
            if (v >= 0) continue;
            strbuf b;
            sb_init(&b);
            dim_print(g->dims, f->assume[k], &b, NULL, NULL);
            graph_fail(g, CR_EVALUE, "the definitions of `%s` suppose %s >= 0, and it is %lld",
                       name_text(g->dims, f->name), sb_str(&b), (long long)v);
            sb_free(&b);
            return false;
        }
    }
    return true;
}
