/* Statement -> number. */
#include "program/program.h"

#include <string.h>

void cr_array_free(cr_array *a)
{
    mem_free((void *)a->value); /* ours: made by cr_program_eval */
    *a = (cr_array){0};
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
    if (s == CR_OK) s = exec_eval(p->g, env, root, &a);
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
