/* A derivative through a recurrence against the same network written out: at given sizes the recurrence is one plain
 * expression, and reverse mode on it knows nothing of closed forms. */
#include "program/program.h"

#include <math.h>

/* a with every integer that has a value replaced by it. */
static cr_ref with_values(check_work *w, const exec_env *env, cr_ref a)
{
    cr_graph *g = w->p->g;
    int64_t v;
    for (size_t i = 0; i < w->needs->n_symbols + w->st->n_free && a; i++) {
        dim_sym s = i < w->needs->n_symbols ? w->needs->symbol[i] : w->st->free_index[i - w->needs->n_symbols].name;
        if (exec_int(env, s, &v)) a = graph_subst_symbol(g, a, s, dim_const(g->dims, v));
    }
    return a;
}

static bool wrt_with_values(check_work *w, const exec_env *env, const calc_wrt *from, calc_wrt *to)
{
    cr_graph *g = w->p->g;
    *to = *from;
    to->var = with_values(w, env, from->var);
    for (unsigned k = 0; k < from->n_index; k++) {
        int64_t v;
        if (!values_dim(g, env, from->index[k], &v)) return false;
        to->index[k] = dim_const(g->dims, v);
    }
    return to->var != CR_NONE;
}

cr_status check_unrolled(check_work *w, exec_env *env, cr_ref d)
{
    cr_graph *g = w->p->g;
    const lang_statement *st = w->st;
    calc_wrt *wrt = mem_alloc((st->n_wrt + 1) * sizeof *wrt);
    exec_array formula = {0}, plain = {0};
    if (!wrt) return prog_oom(w->p);
    cr_ref y = with_values(w, env, st->expr);
    y = y ? cr_unroll(g, y) : CR_NONE;
    bool ok = y != CR_NONE;
    for (size_t i = 0; ok && i < st->n_wrt; i++) ok = wrt_with_values(w, env, &st->wrt[i], &wrt[i]);
    calc_result r = {0};
    unsigned form = w->flags & CR_GRADIENT ? CALC_FORM_GRADIENT : 0;
    if (ok) ok = calc_derive(g, y, (unsigned)st->n_wrt, wrt, form, &r) == CR_OK;
    if (!ok && (cr_graph_status(g) == CR_EUNSUPPORTED || cr_graph_status(g) == CR_ELIMIT)) {
        cr_graph_clear_error(g); /* cannot be written out, or is too large for it: the other numbers must do */
        mem_free(wrt);
        return CR_OK;
    }
    cr_status s = ok ? exec_eval(g, env, d, &formula) : cr_graph_status(g);
    if (s == CR_OK) s = exec_eval(g, env, r.exact, &plain);
    double size = 0;
    for (size_t e = 0; s == CR_OK && e < formula.n && e < plain.n; e++) size = fmax(size, fabs(plain.value[e]));
    for (size_t e = 0; s == CR_OK && e < formula.n && e < plain.n; e++) {
        double off = fabs(formula.value[e] - plain.value[e]);
        if (isnan(off) && isnan(formula.value[e]) == isnan(plain.value[e])) continue;
        if (!(off <= w->unrolled_difference)) w->unrolled_difference = off;
        w->unrolled_differs |= !(off <= 1e-10 * fmax(fabs(plain.value[e]), 1e-3 * size) + 1e-300);
    }
    if (s == CR_OK && formula.n != plain.n) w->unrolled_differs = true;
    w->n_unrolled += s == CR_OK;
    exec_array_free(&formula);
    exec_array_free(&plain);
    calc_result_free(&r);
    mem_free(wrt);
    return s;
}
