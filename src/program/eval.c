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

cr_status cr_program_eval(cr_program *p, size_t i, cr_array *out)
{
    *out = (cr_array){0};
    const lang_statement *st = prog_statement(p, i);
    cr_ref root = st ? prog_exact(p, st, st->n_wrt, 0) : CR_NONE;
    if (!root) return cr_graph_status(p->g);
    exec_env *env = exec_env_new(p->g);
    if (!env) return prog_oom(p);
    prog_needs n;
    values_open open;
    exec_array a = {0};
    cr_status s = needs_collect(p, st, 1, &root, &n);
    if (s == CR_OK) s = values_bind(p, &n, env, &open);
    if (s == CR_OK) s = values_missing(p, st, &n, env);
    if (s == CR_OK) s = values_facts(p, st, &n, env);
    if (s == CR_OK) s = exec_eval(p->g, env, root, &a);
    if (s == CR_OK && cr_dtype_of(p->g, root) == CR_REAL) s = put_sizes(p, env, root, &a, out);
    if (s == CR_OK) {
        out->rank = a.rank;
        memcpy(out->dim, a.dim, sizeof out->dim);
        out->n = a.n;
        out->value = a.value;
        out->boolean = cr_dtype_of(p->g, root) == CR_BOOL;
        a.value = NULL; /* handed over */
    }
    exec_array_free(&a);
    needs_free(&n);
    exec_env_free(env);
    return s;
}
