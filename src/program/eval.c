/* Statement -> number. */
#include "program/program.h"

#include <math.h>
#include <string.h>

void cr_array_free(cr_array *a)
{
    mem_free((void *)a->value); /* ours: made by cr_program_eval */
    mem_free((void *)a->sign);
    mem_free((void *)a->log10_abs);
    *a = (cr_array){0};
}

/* Is some entry 0, or so small or large that digits are lost, or inf - inf? */
static bool out_of_range(const exec_array *a)
{
    for (size_t i = 0; i < a->n; i++)
        if (!isnormal(a->value[i])) return true;
    return false;
}

/* What scaled arithmetic knows better: values that doubles lost on the way, and sign and size of those beyond their
 * range. */
static cr_status put_sizes(cr_program *p, exec_env *env, cr_ref root, exec_array *a, cr_array *out)
{
    exec_scaled x = {0};
    if (!out_of_range(a)) return CR_OK;
    cr_status s = exec_eval_scaled(p->g, env, root, &x);
    bool more = false;
    for (size_t i = 0; s == CR_OK && i < a->n; i++) {
        if (isnormal(a->value[i])) continue;
        if (isnormal(x.value.value[i])) a->value[i] = x.value.value[i];
        else more |= isfinite(x.log10_abs.value[i]); /* not 0 and not infinite after all */
    }
    if (s == CR_OK && more) {
        out->sign = x.sign.value;
        out->log10_abs = x.log10_abs.value;
        x.sign.value = x.log10_abs.value = NULL; /* handed over */
    }
    exec_scaled_free(&x);
    return s;
}

/* ---- a statement with its values ----------------------------------------------------------------- */

typedef struct work {
    const lang_statement *st;
    cr_ref root;
    exec_env *env;
    prog_needs needs;
} work;

static cr_status begin(cr_program *p, size_t i, work *w)
{
    values_open open;
    *w = (work){.st = prog_statement(p, i)};
    w->root = w->st ? prog_exact(p, w->st, w->st->n_wrt, 0) : CR_NONE;
    if (!w->root) return cr_graph_status(p->g);
    w->env = exec_env_new(p->g);
    if (!w->env) return prog_oom(p);
    cr_status s = needs_collect(p, w->st, 1, &w->root, &w->needs);
    return s == CR_OK ? values_bind(p, &w->needs, w->env, &open) : s;
}

static cr_status all_there(cr_program *p, const work *w)
{
    cr_status s = values_missing(p, w->st, &w->needs, w->env);
    return s == CR_OK ? values_facts(p, w->st, &w->needs, w->env) : s;
}

static void end(work *w)
{
    needs_free(&w->needs);
    exec_env_free(w->env);
}

/* ---- by the interpreter -------------------------------------------------------------------------- */

cr_status cr_program_eval(cr_program *p, size_t i, cr_array *out)
{
    work w;
    exec_array a = {0};
    *out = (cr_array){0};
    cr_status s = begin(p, i, &w);
    if (s == CR_OK) s = all_there(p, &w);
    if (s == CR_OK) s = exec_eval(p->g, w.env, w.root, &a);
    if (s == CR_OK && cr_dtype_of(p->g, w.root) == CR_REAL) s = put_sizes(p, w.env, w.root, &a, out);
    if (s == CR_OK) {
        out->rank = a.rank;
        memcpy(out->dim, a.dim, sizeof out->dim);
        out->n = a.n;
        out->value = a.value;
        out->boolean = cr_dtype_of(p->g, w.root) == CR_BOOL;
        a.value = NULL; /* handed over */
    }
    exec_array_free(&a);
    end(&w);
    return s;
}

/* ---- by a plan ----------------------------------------------------------------------------------- */

static cr_status make_plan(cr_program *p, const work *w, const cr_plan_options *options, cr_plan **plan)
{
    const prog_needs *n = &w->needs;
    cr_size_value *size = mem_alloc((n->n_symbols + w->st->n_free + 1) * sizeof *size);
    unsigned n_sizes = 0;
    if (!size) return prog_oom(p);
    for (size_t i = 0; i < n->n_symbols + w->st->n_free; i++) {
        dim_sym s = i < n->n_symbols ? n->symbol[i] : w->st->free_index[i - n->n_symbols].name;
        int64_t v;
        if (exec_int(w->env, s, &v)) size[n_sizes++] = (cr_size_value){name_text(p->g->dims, s), v};
    }
    cr_status s = cr_plan_new(p->g, 1, &w->root, n_sizes, size, options, plan);
    mem_free(size);
    return s;
}

/* Unknown functions that the options have a value for are not missing. */
static void take_functions(prog_needs *n, const cr_plan_options *o)
{
    size_t left = 0;
    for (size_t i = 0; i < n->n_unknown; i++) {
        bool given = false;
        for (unsigned k = 0; o && k < o->n_functions; k++) given |= o->function[k].function == n->unknown[i];
        if (given) continue;
        n->unknown[left] = n->unknown[i];
        n->order[left++] = n->order[i];
    }
    n->n_unknown = left;
}

cr_status cr_program_plan(cr_program *p, size_t i, const cr_plan_options *options, cr_plan **plan)
{
    work w;
    *plan = NULL;
    cr_status s = begin(p, i, &w);
    take_functions(&w.needs, options);
    if (s == CR_OK) s = values_missing_sizes(p, w.st, &w.needs, w.env);
    if (s == CR_OK) s = values_facts(p, w.st, &w.needs, w.env);
    if (s == CR_OK) s = make_plan(p, &w, options, plan);
    end(&w);
    return s;
}

typedef struct run_buffers {
    const void **in;
    float *in_f32, *out_f32; /* inputs one behind the other; the result. In f64: none */
    double *out;
} run_buffers;

/* Room for one run, its inputs filled from env. */
static cr_status prepare(cr_program *p, const work *w, const cr_plan *plan, bool f32, run_buffers *b)
{
    size_t total = 0, at = 0;
    for (unsigned i = 0; i < cr_plan_inputs(plan); i++) total += cr_plan_input_count(plan, i);
    b->in = mem_zalloc((size_t)cr_plan_inputs(plan) + 1, sizeof *b->in);
    b->out = mem_alloc((cr_plan_output_count(plan, 0) + 1) * sizeof *b->out);
    if (f32) {
        b->in_f32 = mem_alloc((total + 1) * sizeof *b->in_f32);
        b->out_f32 = mem_alloc((cr_plan_output_count(plan, 0) + 1) * sizeof *b->out_f32);
    }
    if (!b->in || !b->out || (f32 && (!b->in_f32 || !b->out_f32))) return prog_oom(p);
    for (size_t i = 0; i < w->needs.n_params; i++) {
        cr_ref param = w->needs.param[i];
        int port = cr_plan_input(plan, name_text(p->g->dims, (dim_sym)attr_of(p->g, param, 0)));
        if (port < 0) continue; /* structurally nothing of it is left */
        const exec_array *a = exec_value(w->env, param);
        b->in[port] = f32 ? (const void *)(b->in_f32 + at) : a->value;
        for (size_t k = 0; f32 && k < a->n; k++) b->in_f32[at + k] = (float)a->value[k];
        at += a->n;
    }
    return CR_OK;
}

static void hand_over(const cr_plan *plan, run_buffers *b, bool boolean, cr_array *out)
{
    out->n = cr_plan_output_count(plan, 0);
    out->rank = cr_plan_output_shape(plan, 0, out->dim);
    for (size_t k = 0; b->out_f32 && k < out->n; k++) b->out[k] = b->out_f32[k];
    out->value = b->out;
    out->boolean = boolean;
    out->f32 = b->out_f32 != NULL;
    b->out = NULL;
}

/* A run says only that a value was no index, say; which one, the interpreter finds. */
static cr_status why_not(cr_program *p, const work *w, cr_status status)
{
    exec_array a = {0};
    if (exec_eval(p->g, w->env, w->root, &a) == CR_OK) {
        graph_fail(p->g, status, "the plan of `%s` could not be run with these values", w->st->query);
    }
    exec_array_free(&a);
    return cr_graph_status(p->g);
}

cr_status cr_program_run(cr_program *p, size_t i, const cr_plan_options *options, cr_array *out)
{
    work w;
    cr_plan *plan = NULL;
    cr_slab *slab = NULL;
    run_buffers b = {0};
    bool f32 = !options || options->precision == CR_F32;
    *out = (cr_array){0};
    cr_status s = begin(p, i, &w);
    take_functions(&w.needs, options);
    if (s == CR_OK) s = all_there(p, &w);
    if (s == CR_OK) s = make_plan(p, &w, options, &plan);
    if (s == CR_OK) s = prepare(p, &w, plan, f32, &b);
    if (s == CR_OK) {
        slab = cr_slab_new(plan);
        s = slab ? cr_run(plan, slab, b.in, (void *[]){f32 ? (void *)b.out_f32 : b.out}) : prog_oom(p);
        if (slab && s != CR_OK) s = why_not(p, &w, s);
    }
    if (s == CR_OK) hand_over(plan, &b, cr_dtype_of(p->g, w.root) == CR_BOOL, out);
    cr_slab_free(slab);
    cr_plan_free(plan);
    mem_free(b.in);
    mem_free(b.in_f32);
    mem_free(b.out_f32);
    mem_free(b.out);
    end(&w);
    return s;
}
