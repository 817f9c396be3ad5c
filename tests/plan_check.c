#include "plan_check.h"

#include "exec/internal.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *entries(const double *v, size_t n, cr_precision precision)
{
    void *p = malloc(n * sizeof *v + 1);
    for (size_t i = 0; p && i < n; i++) {
        if (precision == CR_F64) ((double *)p)[i] = v[i];
        else ((float *)p)[i] = (float)v[i];
    }
    return p;
}

static double entry(const void *p, size_t i, cr_precision precision)
{
    return precision == CR_F64 ? ((const double *)p)[i] : ((const float *)p)[i];
}

static bool same(const exec_array *want, const void *got, const plan_check *how, char *fault, size_t size)
{
    double scale = how->magnitude;
    for (size_t i = 0; i < want->n; i++) {
        if (isfinite(want->value[i])) scale = fmax(scale, fabs(want->value[i]));
    }
    for (size_t i = 0; i < want->n; i++) {
        double a = want->value[i], b = entry(got, i, how->precision);
        if (how->precision == CR_F32 && fabs(a) > 1e37) continue; /* about to overflow */
        bool ok = isnan(a) ? isnan(b) : isinf(a) ? a == b : fabs(a - b) <= how->tolerance * (scale + 1e-30);
        if (ok) continue;
        snprintf(fault, size, "entry %zu of %zu is %.17g, not %.17g (level %u, %u threads, %s)", i, want->n, b, a,
                 how->level, how->threads, how->precision == CR_F64 ? "f64" : "f32");
        return false;
    }
    return true;
}

/* ---- what a run asks of malloc ------------------------------------------------------------------ */

/* The linker leads the calls of the tests and the library (not those of libraries that it uses) here. */
static atomic_long n_mallocs;

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
    n_mallocs++;
    return __real_malloc(n);
}

void *__wrap_calloc(size_t count, size_t n)
{
    n_mallocs++;
    return __real_calloc(count, n);
}

void *__wrap_realloc(void *p, size_t n)
{
    n_mallocs++;
    return __real_realloc(p, n);
}

static bool refuse(void *user)
{
    ++*(long *)user;
    return false;
}

/* cr_run, without any memory to be had. */
static cr_status run_bare(const cr_plan *p, cr_slab *slab, void *const *in, void *const *out, long *allocations)
{
    long asked = 0, before = n_mallocs;
    cr_mem_set_hook(refuse, &asked);
    cr_status status = cr_run(p, slab, (const void *const *)in, out);
    cr_mem_set_hook(NULL, NULL);
    *allocations += asked + n_mallocs - before;
    return status;
}

/* ---- a plan ------------------------------------------------------------------------------------- */

/* Runs it twice: the same bits, and no allocations. want: NULL if there is no value, which the run has to say. */
static bool run(const cr_plan *p, const exec_env *env, cr_graph *g, unsigned n, const exec_array *want,
                const plan_check *how, char *fault, size_t size)
{
    bool ok = true;
    long allocations = 0;
    cr_status status = CR_OK;
    unsigned n_in = cr_plan_inputs(p);
    void **in = calloc(n_in + 1, sizeof *in), **out = calloc(2 * n + 1, sizeof *out);
    size_t bytes = how->precision == CR_F64 ? 8 : 4;
    cr_slab *slab = cr_slab_new(p);
    if (!in || !out || !slab) abort();
    for (unsigned i = 0; i < n_in; i++) {
        const char *name = cr_plan_input_name(p, i);
        cr_ref param = g->param_by_name[name_intern(g->dims, name, strlen(name))];
        const exec_array *a = exec_value(env, param);
        if (!a || a->n != cr_plan_input_count(p, i)) abort();
        in[i] = entries(a->value, a->n, how->precision);
    }
    for (unsigned i = 0; i < 2 * n; i++) out[i] = calloc(cr_plan_output_count(p, i % n) + 1, bytes);
    for (unsigned k = 0; k < 2; k++) status = run_bare(p, slab, in, out + k * n, &allocations);
    if (allocations) {
        snprintf(fault, size, "a run asks for memory");
        ok = false;
    } else if (status != (want ? CR_OK : CR_EVALUE)) {
        snprintf(fault, size, "a run's status is %d", (int)status);
        ok = false;
    }
    for (unsigned i = 0; ok && want && i < n; i++) {
        if (cr_plan_output_count(p, i) != want[i].n) {
            snprintf(fault, size, "%zu entries, not %zu", cr_plan_output_count(p, i), want[i].n);
            ok = false;
        } else {
            ok = same(&want[i], out[i], how, fault, size);
        }
        if (ok && memcmp(out[i], out[n + i], want[i].n * bytes) != 0) {
            snprintf(fault, size, "a second run gives other bits");
            ok = false;
        }
    }
    for (unsigned i = 0; i < n_in; i++) free(in[i]);
    for (unsigned i = 0; i < 2 * n; i++) free(out[i]);
    free(in);
    free(out);
    cr_slab_free(slab);
    return ok;
}

bool plan_agrees(cr_graph *g, exec_env *env, unsigned n, const cr_ref *root, const plan_check *how, char *fault,
                 size_t size)
{
    exec_array *want = calloc(n, sizeof *want);
    cr_size_value *sizes = calloc(env->n_name + 1, sizeof *sizes);
    unsigned n_sizes = 0;
    if (!want || !sizes) abort();
    bool has_value = exec_eval_n(g, env, EXEC_INTERPRET, n, root, want) == CR_OK;
    cr_graph_clear_error(g);
    for (size_t s = 1; s < env->n_name; s++) {
        if (env->name[s].known) sizes[n_sizes++] = (cr_size_value){name_text(g->dims, (dim_sym)s), env->name[s].v};
    }
    cr_function_value *function = calloc(env->n_fun + 1, sizeof *function);
    if (!function) abort();
    cr_plan_options o = {.precision = how->precision, .threads = how->threads, .level = how->level,
                         .deterministic = how->deterministic, .function = function};
    for (size_t f = 1; f < env->n_fun; f++) {
        const exec_callback *call = &env->fun[f];
        if (call->fn) function[o.n_functions++] = (cr_function_value){(cr_fun)f, call->fn, call->user};
    }
    cr_plan *p;
    cr_status status = cr_plan_new(g, n, root, n_sizes, sizes, &o, &p);
    bool ok = status == CR_OK || !has_value;
    if (!ok) {
        snprintf(fault, size, "plan: %d %s; the interpreter has a value", (int)status, cr_graph_message(g));
    }
    cr_graph_clear_error(g);
    ok = ok && (status != CR_OK || run(p, env, g, n, has_value ? want : NULL, how, fault, size));
    if (status == CR_OK) cr_plan_free(p);
    for (unsigned i = 0; i < n; i++) exec_array_free(&want[i]);
    free(want);
    free(sizes);
    free(function);
    return ok;
}
