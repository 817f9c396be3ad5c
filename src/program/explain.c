/* Why the gradient of a recurrence vanishes or explodes: an explanation in words, formulas and numbers, all of it taken
 * from the closed form of the derivative. */
#include "program/explain.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void cr_explanation_free(cr_explanation *e)
{
    if (!e) return;
    mem_free(((explanation *)e)->block);
    arena_free(&((explanation *)e)->mem);
    mem_free(e);
}

/* ---- blocks ------------------------------------------------------------------------------------- */

static const char *formatted(explanation *x, const char *fmt, va_list ap)
{
    char small[2048];
    int n = vsnprintf(small, sizeof small, fmt, ap);
    return n < 0 ? NULL : result_text(&x->mem, small);
}

const char *cell_text(explanation *x, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *t = formatted(x, fmt, ap);
    va_end(ap);
    return t;
}

cr_block *new_block(explanation *x, cr_block_kind kind)
{
    if (!VEC_RESERVE(x->block, x->block_cap, x->out.n_blocks + 1)) return NULL;
    cr_block *b = &x->block[x->out.n_blocks++];
    x->out.block = x->block;
    *b = (cr_block){.kind = kind};
    return b;
}

bool say(explanation *x, cr_block_kind kind, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *t = formatted(x, fmt, ap);
    va_end(ap);
    cr_block *b = t ? new_block(x, kind) : NULL;
    if (b) b->text = t;
    return b != NULL;
}

bool put_formula(explanation *x, explain_subject *s, cr_ref a, cr_formula *out)
{
    const char **to[] = {&out->text, &out->unicode, &out->latex};
    for (int i = 0; i < 3; i++) {
        strbuf b;
        sb_init(&b);
        if (!a || lang_print(s->g, a, (lang_format)i, LANG_AUTO, &b) == CR_OK) *to[i] = result_buffer(&x->mem, &b);
        sb_free(&b);
        if (!a || !*to[i]) return false;
    }
    return true;
}

bool show(explanation *x, explain_subject *s, cr_ref formula, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *t = formatted(x, fmt, ap);
    va_end(ap);
    cr_formula f = {0};
    if (!t || !put_formula(x, s, formula, &f)) return false;
    cr_block *b = new_block(x, CR_BLOCK_FORMULA);
    if (!b) return false;
    b->text = t;
    b->formula = f;
    return true;
}

bool tabulate(explanation *x, size_t n_rows, size_t n_columns, const char **cell, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *t = formatted(x, fmt, ap);
    va_end(ap);
    for (size_t i = 0; i < n_rows * n_columns; i++)
        if (!cell[i]) return false;
    cr_block *b = t ? new_block(x, CR_BLOCK_TABLE) : NULL;
    if (!b) return false;
    b->text = t;
    b->n_rows = n_rows;
    b->n_columns = n_columns;
    b->cell = cell;
    return true;
}

const char *power_of_ten(explanation *x, double v)
{
    if (isnan(v)) return "-";
    if (isinf(v)) return v < 0 ? "0" : "inf";
    return cell_text(x, "10^%.1f", v == 0 ? 0.0 : v);
}

const char *plain_number(explanation *x, double v)
{
    if (isinf(v)) return v < 0 ? "-inf" : "inf";
    for (int q = 1; q <= 12; q++) {
        double n = nearbyint(v * q);
        if (fabs(n / q - v) > 1e-9 * fmax(1, fabs(v)) || fabs(n) > 1000) continue;
        return q == 1 ? cell_text(x, "%.0f", n == 0 ? 0.0 : n) : cell_text(x, "%.0f/%d", n, q);
    }
    return cell_text(x, "%.4g", v);
}

/* ---- the subject -------------------------------------------------------------------------------- */

/* The function of one argument that acts on members in the definitions, if it is one and the same. */
static bool find_activation(explain_subject *s)
{
    cr_graph *g = s->g;
    size_t n, m;
    cr_family *list = family_closure(g, 1, &s->y, &n);
    bool several = false;
    for (size_t i = 0; list && i < n; i++)
        for (size_t k = 0; k < g->family[list[i]].n_pieces; k++) {
            cr_ref *cone = graph_cone(g, 1, &g->family[list[i]].piece[k].body, &m);
            for (size_t j = 0; cone && j < m; j++) {
                cr_op op = op_of(g, cone[j]);
                bool call = op == CR_OP_CALL && attr_of(g, cone[j], 1) == 0;
                if (!call && (op_get(op)->kind != KIND_MAP1 || !op_get(op)->partial)) continue;
                cr_fun fun = call ? attr_of(g, cone[j], 0) : 0;
                if (s->op != CR_OP_NONE && (s->op != op || s->fun != fun)) several = true;
                s->op = op;
                s->fun = fun;
            }
            mem_free(cone);
        }
    mem_free(list);
    if (several) s->op = CR_OP_NONE;
    if (s->op == CR_OP_CALL) s->name = name_text(g->dims, g->fun[s->fun].name);
    else if (s->op != CR_OP_NONE) s->name = op_get(s->op)->spelling;
    return g->err.status == CR_OK;
}

/* Does a number for the depth leave no other integer open? */
static bool depth_is_all(explain_subject *s)
{
    prog_needs n = {0};
    lang_statement st = {.expr = s->y};
    bool all = needs_collect(s->p, &st, 1, &s->y, &n) == CR_OK;
    for (size_t i = 0; i < n.n_symbols; i++) all = all && n.symbol[i] == s->depth;
    needs_free(&n);
    return all;
}

static cr_status find_subject(explain_subject *s, cr_program *p, const lang_statement *st)
{
    cr_graph *g = p->g;
    *s = (explain_subject){.p = p, .g = g, .st = st, .y = st->expr};
    if (st->n_wrt == 1) s->var = st->wrt[0].var;
    if (!s->var || !depth_rests_on(g, s->y, s->var)) {
        graph_fail(g, CR_EUNSUPPORTED,
                   "`%s` is no derivative through a recurrence; explain takes statements like derive o[N] wrt w[1] of "
                   "a network given by definitions for i in 1..N", st->query);
        return CR_EUNSUPPORTED;
    }
    if (calc_network_of(g, s->y, s->var, &s->net) != CR_OK || !find_activation(s))
        return cr_graph_status(g);
    bool several;
    s->depth = prog_depth_of(g, s->y, &several);
    cr_ref member = cr_member(g, s->net.core ? s->net.core : 1, dim_const(g->dims, 0));
    s->scalar = s->net.closed && s->depth && is_scalar(g, s->y) && is_scalar(g, member) && family_first(g, s->var) &&
                cr_rank(g, s->var) == 1 && depth_is_all(s);
    return cr_graph_status(g);
}

/* ---- sections ----------------------------------------------------------------------------------- */

const char *dim_of(explanation *x, explain_subject *s, cr_dim d)
{
    strbuf b;
    sb_init(&b);
    dim_print(s->g->dims, d, &b, NULL, NULL);
    return result_buffer(&x->mem, &b);
}

/* The definitions of the recurrences that root rests on; or only of those that are derivatives. */
static bool show_rules(explanation *x, explain_subject *s, cr_ref root, bool derivatives)
{
    cr_graph *g = s->g;
    size_t n;
    cr_family *list = family_closure(g, 1, &root, &n);
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < n; i++)
        for (size_t k = 0; ok && k < g->family[list[i]].n_pieces; k++) {
            const family_piece piece = g->family[list[i]].piece[k];
            cr_formula f = {0};
            const char **to[] = {&f.text, &f.unicode, &f.latex};
            if (derivatives && !g->family[list[i]].derived) continue;
            for (int format = 0; ok && format < 3; format++) {
                strbuf b;
                sb_init(&b);
                ok = lang_print_rule(g, list[i], &piece, (lang_format)format, &b) == CR_OK &&
                     (*to[format] = result_buffer(&x->mem, &b)) != NULL;
                sb_free(&b);
            }
            cr_block *b = ok ? new_block(x, CR_BLOCK_FORMULA) : NULL;
            ok = b != NULL;
            if (ok) b->text = "";
            if (ok) b->formula = f;
        }
    mem_free(list);
    return ok;
}

/* The derivative by member k, for a k that has no other meaning, and what its recursion is. */
static cr_ref general_gradient(explain_subject *s, const char **index, cr_ref *recursion)
{
    cr_graph *g = s->g;
    static const char *const names[] = {"k", "j", "l", "m"};
    calc_wrt w = {.var = s->var};
    *index = NULL;
    if (family_first(g, s->var)) {
        for (size_t i = 0; i < 4 && !*index; i++) {
            dim_sym n = name_intern(g->dims, names[i], 1);
            bool taken = (n < g->param_cap && g->param_by_name[n]) || n == s->depth;
            if (!taken) *index = names[i];
        }
        cr_dim k = dim_sub(g->dims, cr_dim_symbol(g, *index ? *index : "k"), family_first(g, s->var));
        w.n_index = 1;
        w.index[0] = dim_add(g->dims, k, dim_const(g->dims, 1));
    }
    calc_result r = {0};
    cr_ref d = calc_derive(g, s->y, 1, &w, 0, &r) == CR_OK ? r.simple : CR_NONE;
    *recursion = r.recursion;
    calc_result_free(&r);
    return d;
}

/* The closed form in words. */
static bool say_gradient(explanation *x, explain_subject *s, cr_ref d, const char *var, const char *index)
{
    bool skips = false;
    for (size_t i = 0; i < s->net.n; i++) skips |= s->net.link[i].kind != CALC_LAYER;
    if (op_of(s->g, d) == CR_OP_BIND && attr_of(s->g, d, 0) == CR_BIND_SUM && !index)
        return say(x, CR_BLOCK_TEXT,
                   "`%s` acts in every layer, so the gradient is a sum over the layers: each term has one factor "
                   "for every layer behind its own. What holds for products of many factors below holds for the terms "
                   "of the early layers; where they vanish, only the last layers are left, and what lies far back has "
                   "no say.", var);
    if (skips || !index) return true;
    return say(x, CR_BLOCK_TEXT,
               "By the chain rule: the derivative of layer %s by its own `%s[%s]`, times one factor for each layer "
               "behind it. The number of factors grows with the depth, which is why the gradient can vanish and "
               "explode.", index, var, index);
}

static bool describe_gradient(explanation *x, explain_subject *s)
{
    const char *index, *var = name_text(s->g->dims, attr_of(s->g, s->var, 0));
    cr_ref recursion, d = general_gradient(s, &index, &recursion);
    cr_formula y = {0};
    bool ok = d && put_formula(x, s, s->y, &y) && say(x, CR_BLOCK_TITLE, "The gradient");
    if (ok && !index) ok = show(x, s, d, "`d %s / d %s`", y.text, var);
    else if (ok)
        ok = show(x, s, d, "`d %s / d %s[%s]`, %s = %s..%s", y.text, var, index, index,
                  dim_of(x, s, family_first(s->g, s->var)), dim_of(x, s, family_last(s->g, s->var)));
    if (!ok || s->net.closed) return ok && say_gradient(x, s, d, var, index);
    return (!recursion || show_rules(x, s, recursion, true)) &&
           say(x, CR_BLOCK_TEXT,
               "This network has no closed form: its derivative is a recursion. There is no product of factors to "
               "explain it with.");
}

/* ---- the whole ------------------------------------------------------------------------------------ */

static cr_status explain_subject_in(explanation *x, explain_subject *s, bool architectures)
{
    factor_form f = {0};
    x->out.query = result_text(&x->mem, s->st->query);
    bool ok = x->out.query && say(x, CR_BLOCK_TITLE, "The network") && show_rules(x, s, s->y, false) &&
              describe_gradient(x, s);
    if (ok && s->net.closed) ok = describe_factor(x, s, &f);
    if (ok && s->scalar) ok = describe_depth(x, s) && describe_layers(x, s);
    if (ok && s->net.closed) ok = describe_skips(x, s);
    if (ok && s->scalar && s->op != CR_OP_NONE && architectures) ok = compare_architectures(s, x) == CR_OK;
    if (ok) return CR_OK;
    return cr_graph_status(s->g) != CR_OK ? cr_graph_status(s->g) : prog_oom(s->p);
}

unsigned cr_program_network(cr_program *p, size_t i)
{
    const lang_statement *st = prog_statement(p, i);
    size_t n;
    unsigned least = 0;
    if (!st || st->n_wrt != 1 || !depth_rests_on(p->g, st->expr, st->wrt[0].var)) return 0;
    cr_family *list = family_closure(p->g, 1, &st->expr, &n);
    for (size_t k = 0; list && k < n; k++)
        if (!least || list[k] < least) least = list[k];
    mem_free(list);
    return least;
}

cr_status cr_program_explain(cr_program *p, size_t i, bool architectures, cr_explanation **out)
{
    *out = NULL;
    const lang_statement *st = prog_statement(p, i);
    if (!st) return cr_graph_status(p->g);
    explain_subject s;
    cr_status status = find_subject(&s, p, st);
    if (status != CR_OK) return status;
    explanation *x = mem_zalloc(1, sizeof *x);
    if (!x) return prog_oom(p);
    x->out.slope_min = x->out.slope_max = x->out.slope_at = x->out.threshold = NAN;
    status = explain_subject_in(x, &s, architectures);
    if (status == CR_OK) *out = &x->out;
    else cr_explanation_free(&x->out);
    return status;
}
