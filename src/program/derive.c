/* Statement -> derivative, in every form that was asked for. */
#include "program/program.h"

#include <string.h>

typedef struct derivation { /* one allocation besides its arena */
    cr_derivation out;      /* first: the public pointer is this one */
    arena mem;
} derivation;

void cr_derivation_free(cr_derivation *d)
{
    if (!d) return;
    arena_free(&((derivation *)d)->mem);
    mem_free(d);
}

cr_ref prog_exact(cr_program *p, const lang_statement *st, size_t order, unsigned flags)
{
    if (order == 0) return st->expr;
    calc_result r = {0};
    cr_status s =
        calc_derive(p->g, st->expr, (unsigned)order, st->wrt, flags & CR_GRADIENT ? CALC_FORM_GRADIENT : 0, &r);
    cr_ref exact = s == CR_OK ? r.exact : CR_NONE;
    calc_result_free(&r);
    return exact;
}

/* ---- texts ------------------------------------------------------------------------------------ */

static const char *printed(cr_program *p, arena *mem, cr_ref a, lang_format format, lang_form form)
{
    strbuf b;
    sb_init(&b);
    const char *t = NULL;
    if (lang_print(p->g, a, format, form, &b) == CR_OK && !(t = result_buffer(mem, &b))) prog_oom(p);
    sb_free(&b);
    return t;
}

static const char *dim_text(cr_program *p, arena *mem, cr_dim d)
{
    strbuf b;
    sb_init(&b);
    dim_print(p->g->dims, d, &b, NULL, NULL);
    const char *t = result_buffer(mem, &b);
    if (!t) prog_oom(p);
    return t;
}

static bool put_forms(cr_program *p, derivation *d, const lang_statement *st, const calc_result *r, unsigned flags,
                      cr_form form)
{
    static const lang_form form_of[] = {LANG_AUTO, LANG_COMPONENT, LANG_MATRIX};
    lang_form f = form_of[form];
    cr_derivation *o = &d->out;
    if (flags & CR_TEXT && !(o->text = printed(p, &d->mem, r->simple, LANG_TEXT, f))) return false;
    if (flags & CR_UNICODE && !(o->unicode = printed(p, &d->mem, r->simple, LANG_UNICODE, f))) return false;
    if (flags & CR_LATEX && !(o->latex = printed(p, &d->mem, r->simple, LANG_LATEX, f))) return false;
    if (flags & CR_NUMPY) {
        strbuf b;
        sb_init(&b);
        cr_status s = lang_print_numpy(p->g, calc_simplify_stable(p->g, r->exact), st->n_free, st->free_index, &b);
        if (s == CR_OK && !(o->numpy = result_buffer(&d->mem, &b))) s = prog_oom(p);
        sb_free(&b);
        if (s != CR_OK) return false;
    }
    return true;
}

/* `derivative`, with its number where the program has several. */
static bool put_c(cr_program *p, derivation *d, const lang_statement *st, size_t i, cr_ref exact)
{
    const cr_ref out[2] = {st->expr, exact};
    static const char *const name[2] = {"value", "derivative"};
    size_t at = 0, all = 0;
    for (size_t k = 0; k < cr_program_count(p); k++) {
        if (prog_statement(p, k)->n_wrt == 0) continue;
        all++;
        at += k <= i;
    }
    strbuf b, comment, function;
    sb_init(&b);
    sb_init(&comment);
    sb_init(&function);
    sb_puts(&function, "derive");
    if (all > 1) sb_printf(&function, "%zu", at);
    sb_puts(&comment, st->query);
    for (size_t k = 0; k < d->out.n_defined; k++) {
        const cr_condition *c = &d->out.defined[k];
        sb_printf(&comment, "\n%s %swhere %s", c->existence ? "exists" : "defined", c->sufficient ? "at least " : "",
                  c->text);
    }
    if (d->out.n_defined == 0) sb_puts(&comment, "\ndefined everywhere");
    for (size_t k = 0; k < d->out.n_assumes; k++) sb_printf(&comment, "\nassumes %s", d->out.assumes[k]);
    lang_c what = {sb_str(&function), sb_str(&comment), 2, out, name, st->n_free, st->free_index};
    cr_status s = comment.status || function.status ? prog_oom(p) : lang_print_c(p->g, &what, &b);
    if (s == CR_OK && !(d->out.c = result_buffer(&d->mem, &b))) s = prog_oom(p);
    sb_free(&b);
    sb_free(&comment);
    sb_free(&function);
    return s == CR_OK;
}

static bool put_shape(cr_program *p, derivation *d, const lang_statement *st, cr_ref exact)
{
    const cr_shape *s = shape_of(p->g, exact);
    const char **shape = arena_alloc(&d->mem, s->rank * sizeof *shape + 1);
    cr_index_range *range = arena_alloc(&d->mem, st->n_free * sizeof *range + 1);
    if (!shape || !range) return prog_oom(p), false;
    for (unsigned i = 0; i < s->rank; i++)
        if (!(shape[i] = dim_text(p, &d->mem, s->dim[i]))) return false;
    for (size_t i = 0; i < st->n_free; i++) {
        const lang_free_index *f = &st->free_index[i];
        range[i].name = result_text(&d->mem, name_text(p->g->dims, f->name));
        range[i].from = dim_text(p, &d->mem, f->from);
        range[i].to = dim_text(p, &d->mem, f->to);
        if (!range[i].name) return prog_oom(p), false;
        if (!range[i].from || !range[i].to) return false;
    }
    d->out.rank = s->rank;
    d->out.shape = shape;
    d->out.n_free = st->n_free;
    d->out.free_index = range;
    return true;
}

/* Does a condition speak of single entries: all(i, z[i] != 0), an index? Then it is printed by entries throughout. */
static bool reads_by_entry(cr_graph *g, cr_ref cond)
{
    size_t n;
    bool found = false;
    cr_ref *cone = graph_cone(g, 1, &cond, &n);
    for (size_t i = 0; cone && i < n && !found; i++) {
        cr_op op = op_of(g, cone[i]);
        found =
            op == CR_OP_ONEHOT || op == CR_OP_ALLR || op == CR_OP_ANYR || (op == CR_OP_EQ && cr_rank(g, cone[i]) > 0);
    }
    mem_free(cone);
    return found;
}

static bool put_conditions(cr_program *p, derivation *d, const calc_result *r, unsigned flags)
{
    cr_condition *c = arena_alloc(&d->mem, r->n_conditions * sizeof *c + 1);
    if (!c) return prog_oom(p), false;
    for (size_t i = 0; i < r->n_conditions; i++) {
        cr_ref a = r->condition[i].cond;
        lang_form form = reads_by_entry(p->g, a) ? LANG_COMPONENT : LANG_AUTO;
        c[i] = (cr_condition){.sufficient = r->condition[i].kind == COND_SUFFICIENT,
                              .existence = r->condition[i].existence};
        if (!(c[i].text = printed(p, &d->mem, a, LANG_TEXT, form))) return false;
        if (flags & CR_UNICODE && !(c[i].unicode = printed(p, &d->mem, a, LANG_UNICODE, form))) return false;
        if (flags & CR_LATEX && !(c[i].latex = printed(p, &d->mem, a, LANG_LATEX, form))) return false;
    }
    d->out.n_defined = r->n_conditions;
    d->out.defined = c;
    return true;
}

/* `u1 = W*x + b, du1 = W*dx`; the result alone for the last step. */
static bool print_step(cr_program *p, const calc_step *s, lang_format format, lang_form form, strbuf *b)
{
    static const char *const gap[] = {[LANG_TEXT] = ",  ", [LANG_UNICODE] = ",  ", [LANG_LATEX] = ", \\quad "};
    if (s->value) {
        if (lang_print(p->g, s->name, format, form, b) != CR_OK) return false;
        sb_puts(b, " = ");
        if (lang_print(p->g, s->value, format, form, b) != CR_OK) return false;
        sb_puts(b, gap[format]);
        if (lang_print(p->g, s->d_name, format, form, b) != CR_OK) return false;
        sb_puts(b, " = ");
    }
    return lang_print(p->g, s->derivative, format, form, b) == CR_OK;
}

static const char *step_text(cr_program *p, arena *mem, const calc_step *s, lang_format format, lang_form form)
{
    strbuf b;
    sb_init(&b);
    const char *text = print_step(p, s, format, form, &b) && b.status == CR_OK ? result_text(mem, sb_str(&b)) : NULL;
    sb_free(&b);
    if (!text && cr_graph_status(p->g) == CR_OK) prog_oom(p);
    return text;
}

static bool put_steps(cr_program *p, derivation *d, const calc_result *r, cr_form form)
{
    cr_step *s = arena_alloc(&d->mem, r->n_steps * sizeof *s + 1);
    if (!s) return prog_oom(p), false;
    lang_form f = form == CR_FORM_COMPONENT ? LANG_COMPONENT : form == CR_FORM_MATRIX ? LANG_MATRIX : LANG_AUTO;
    for (size_t i = 0; i < r->n_steps; i++) {
        const calc_step *from = &r->step[i];
        s[i].rule = result_text(&d->mem, from->rule);
        s[i].text = step_text(p, &d->mem, from, LANG_TEXT, f);
        s[i].unicode = step_text(p, &d->mem, from, LANG_UNICODE, f);
        s[i].latex = step_text(p, &d->mem, from, LANG_LATEX, f);
        if (!s[i].rule || !s[i].text || !s[i].unicode || !s[i].latex) return false;
    }
    d->out.n_steps = r->n_steps;
    d->out.step = s;
    return true;
}

static const char *rule_text(cr_program *p, arena *mem, cr_family f, const family_piece *piece, lang_format format)
{
    strbuf b;
    sb_init(&b);
    const char *t = NULL;
    if (lang_print_rule(p->g, f, piece, format, &b) == CR_OK && !(t = result_buffer(mem, &b))) prog_oom(p);
    sb_free(&b);
    return t;
}

/* The rules of the derivatives of recurrences that the result rests on. */
static bool put_recursion(cr_program *p, derivation *d, const calc_result *r)
{
    cr_graph *g = p->g;
    if (!r->recursion) return true;
    size_t n, total = 0;
    cr_family *list = family_closure(g, 1, &r->recursion, &n);
    if (!list) return false;
    for (size_t i = 0; i < n; i++) total += g->family[list[i]].derived ? g->family[list[i]].n_pieces : 0;
    cr_formula *rule = arena_alloc(&d->mem, total * sizeof *rule + 1);
    bool ok = rule != NULL;
    if (!ok) prog_oom(p);
    size_t at = 0;
    for (size_t i = 0; ok && i < n; i++)
        for (size_t k = 0; ok && g->family[list[i]].derived && k < g->family[list[i]].n_pieces; k++) {
            const family_piece piece = g->family[list[i]].piece[k];
            cr_formula *to = &rule[at++];
            ok = (to->text = rule_text(p, &d->mem, list[i], &piece, LANG_TEXT)) != NULL &&
                 (to->unicode = rule_text(p, &d->mem, list[i], &piece, LANG_UNICODE)) != NULL &&
                 (to->latex = rule_text(p, &d->mem, list[i], &piece, LANG_LATEX)) != NULL;
        }
    mem_free(list);
    d->out.n_recursion = at;
    d->out.recursion = rule;
    return ok;
}

static bool put_assumptions(cr_program *p, derivation *d, const lang_statement *st, cr_ref exact)
{
    prog_needs n = {0};
    cr_ref *roots = mem_alloc((st->n_wrt + 2) * sizeof *roots);
    if (!roots) return prog_oom(p), false;
    roots[0] = st->expr;
    roots[1] = exact;
    for (size_t i = 0; i < st->n_wrt; i++) roots[i + 2] = st->wrt[i].var;
    cr_status s = needs_collect(p, st, (unsigned)st->n_wrt + 2, roots, &n);
    mem_free(roots);
    if (s == CR_OK) s = needs_assumptions(p, st, &n, &d->mem, &d->out.n_assumes, &d->out.assumes);
    needs_free(&n);
    return s == CR_OK;
}

/* The statement with the depth as a number, and room for its variables. */
static bool at_depth(cr_program *p, const lang_statement *st, lang_statement *out, arena *mem)
{
    cr_graph *g = p->g;
    cr_dim n = dim_const(g->dims, p->depth_value);
    *out = *st;
    if (!p->depth) return true;
    calc_wrt *wrt = arena_alloc(mem, (st->n_wrt + 1) * sizeof *wrt);
    lang_free_index *free_index = arena_alloc(mem, (st->n_free + 1) * sizeof *free_index);
    if (!wrt || !free_index) return prog_oom(p), false;
    prog_needs needs = {0}; /* what the recurrence supposes is decided first */
    cr_status s = needs_collect(p, st, 1, &st->expr, &needs);
    exec_env *env = s == CR_OK ? exec_env_new(g) : NULL;
    if (s == CR_OK && !env) prog_oom(p);
    if (env && exec_bind_int(env, p->depth, p->depth_value) == CR_OK) values_facts(p, st, &needs, env);
    exec_env_free(env);
    needs_free(&needs);
    if (cr_graph_status(g) != CR_OK) return false;
    out->expr = graph_subst_symbol(g, st->expr, p->depth, n);
    for (size_t i = 0; i < st->n_wrt; i++) {
        wrt[i] = st->wrt[i];
        wrt[i].var = graph_subst_symbol(g, st->wrt[i].var, p->depth, n);
        for (unsigned k = 0; k < wrt[i].n_index; k++)
            wrt[i].index[k] = dim_substitute(g->dims, wrt[i].index[k], p->depth, n);
    }
    for (size_t i = 0; i < st->n_free; i++) {
        free_index[i] = st->free_index[i];
        free_index[i].from = dim_substitute(g->dims, free_index[i].from, p->depth, n);
        free_index[i].to = dim_substitute(g->dims, free_index[i].to, p->depth, n);
    }
    out->wrt = wrt;
    out->free_index = free_index;
    return cr_graph_status(g) == CR_OK;
}

enum { WRITTEN_OUT = 12 }; /* factors of a product that are written one by one */

cr_status cr_program_derive(cr_program *p, size_t i, unsigned flags, cr_form form, cr_derivation **out)
{
    *out = NULL;
    const lang_statement *st = prog_statement(p, i);
    if (!st) return cr_graph_status(p->g);
    if (st->n_wrt == 0) {
        graph_fail(p->g, CR_EARG, "`%s` has no `wrt`: nothing to derive by", st->query);
        return CR_EARG;
    }
    derivation *d = mem_zalloc(1, sizeof *d);
    lang_statement own;
    if (!d) return prog_oom(p);
    if (!at_depth(p, st, &own, &d->mem)) {
        cr_derivation_free(&d->out);
        return cr_graph_status(p->g);
    }
    st = &own;
    unsigned how =
        CALC_CONDITIONS | (flags & CR_STEPS ? CALC_STEPS : 0) | (flags & CR_GRADIENT ? CALC_FORM_GRADIENT : 0);
    calc_result r = {0};
    cr_status s = calc_derive(p->g, st->expr, (unsigned)st->n_wrt, st->wrt, how, &r);
    if (s == CR_OK && p->depth && (r.simple = calc_write_out(p->g, r.simple, WRITTEN_OUT)))
        r.simple = cr_simplify(p->g, r.simple);
    if (s == CR_OK) s = cr_graph_status(p->g);
    if (s == CR_OK && !(d->out.query = result_text(&d->mem, st->query))) s = prog_oom(p);
    bool ok = s == CR_OK && put_forms(p, d, st, &r, flags, form) && put_shape(p, d, st, r.exact) &&
              put_conditions(p, d, &r, flags) && put_recursion(p, d, &r) && put_steps(p, d, &r, form) &&
              put_assumptions(p, d, st, r.exact) && (!(flags & CR_C) || put_c(p, d, st, i, r.exact));
    if (!ok && s == CR_OK) s = cr_graph_status(p->g);
    calc_result_free(&r);
    if (s == CR_OK)
        *out = &d->out;
    else
        cr_derivation_free(&d->out);
    return s;
}
