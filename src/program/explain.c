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

static cr_block *new_block(explanation *x, cr_block_kind kind)
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
                   "`%s` is no derivative through a recurrence; explain takes statements like derive o[N] wrt w[1] of a "
                   "network given by definitions for i in 1..N", st->query);
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

static const char *dim_of(explanation *x, explain_subject *s, cr_dim d)
{
    strbuf b;
    sb_init(&b);
    dim_print(s->g->dims, d, &b, NULL, NULL);
    return result_buffer(&x->mem, &b);
}

static bool describe_network(explanation *x, explain_subject *s)
{
    cr_graph *g = s->g;
    size_t n;
    cr_family *list = family_closure(g, 1, &s->y, &n);
    bool ok = list && say(x, CR_BLOCK_TITLE, "The network");
    for (size_t i = 0; ok && i < n; i++)
        for (size_t k = 0; ok && k < g->family[list[i]].n_pieces; k++) {
            const family_piece piece = g->family[list[i]].piece[k];
            cr_formula f = {0};
            const char **to[] = {&f.text, &f.unicode, &f.latex};
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

/* The derivative by member k, for a k that has no other meaning. */
static cr_ref general_gradient(explain_subject *s, const char **index)
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
        w.n_index = 1;
        w.index[0] = dim_add(g->dims, dim_sub(g->dims, cr_dim_symbol(g, *index ? *index : "k"), family_first(g, s->var)),
                             dim_const(g->dims, 1));
    }
    calc_result r = {0};
    cr_ref d = calc_derive(g, s->y, 1, &w, 0, &r) == CR_OK ? r.simple : CR_NONE;
    calc_result_free(&r);
    return d;
}

static bool describe_gradient(explanation *x, explain_subject *s)
{
    const char *index, *var = name_text(s->g->dims, attr_of(s->g, s->var, 0));
    cr_ref d = general_gradient(s, &index);
    cr_formula y = {0};
    bool ok = d && put_formula(x, s, s->y, &y) && say(x, CR_BLOCK_TITLE, "The gradient");
    if (!ok) return false;
    if (!index) return show(x, s, d, "d %s / d %s", y.text, var);
    return show(x, s, d, "d %s / d %s[%s], %s = %s..%s", y.text, var, index, index,
                dim_of(x, s, family_first(s->g, s->var)), dim_of(x, s, family_last(s->g, s->var)));
}

/* slope = constant + rest * f'(...)? The node f'(...) of the activation, CR_NONE if there are none or several. */
static cr_ref slope_node(explain_subject *s, cr_ref slope)
{
    cr_graph *g = s->g;
    size_t n, m, k;
    cr_ref found = CR_NONE;
    cr_ref *cone = graph_cone(g, 1, &slope, &n);
    for (size_t i = 0; cone && i < n; i++) {
        bool is = false;
        if (s->op == CR_OP_CALL)
            is = op_of(g, cone[i]) == CR_OP_CALL && attr_of(g, cone[i], 0) == s->fun && attr_of(g, cone[i], 1) == 1;
        if (is) {
            if (found) found = CR_NONE, i = n;
            else found = cone[i];
        }
    }
    /* f' of a built-in function is an expression of its own: that of the node f(...) in a definition */
    cr_family *list = s->op != CR_OP_CALL && s->op != CR_OP_NONE ? family_closure(g, 1, &s->y, &m) : NULL;
    for (size_t i = 0; list && i < m && !found; i++)
        for (size_t q = 0; q < g->family[list[i]].n_pieces && !found; q++) {
            const family_piece piece = g->family[list[i]].piece[q];
            cr_ref body = graph_subst_symbol(g, piece.body, piece.index, dim_symbol(g->dims, s->net.index));
            cr_ref *inner = body ? graph_cone(g, 1, &body, &k) : NULL;
            for (size_t j = 0; inner && j < k && !found; j++) {
                if (op_of(g, inner[j]) != s->op) continue;
                cr_ref f = op_get(s->op)->partial(g, inner[j], 0);
                for (size_t i2 = 0; cone && i2 < n && !found; i2++)
                    if (cone[i2] == f) found = f;
            }
            mem_free(inner);
        }
    mem_free(list);
    mem_free(cone);
    return found;
}

typedef struct factor_form {
    bool affine;
    cr_ref constant, rest; /* factor = constant + rest * f' */
    double shift;          /* the constant, where it is a number */
    bool is_number;
} factor_form;

static factor_form read_factor(explain_subject *s, cr_ref slope)
{
    cr_graph *g = s->g;
    factor_form f = {0};
    cr_ref at = slope_node(s, slope), p, one = cr_const(g, 1), zero = cr_const(g, 0), moved;
    if (!at || !is_scalar(g, at) || !is_scalar(g, slope)) return f;
    p = cr_param(g, "p#slope", 0, NULL, 0);
    if (!p || cr_rebuild(g, 1, &slope, 1, &at, &p, &moved) != CR_OK) return f;
    f.rest = cr_simplify(g, cr_forward(g, moved, 1, &p, &one));
    if (cr_rebuild(g, 1, &moved, 1, &p, &zero, &f.constant) != CR_OK || !f.rest) return f;
    f.constant = cr_simplify(g, f.constant);
    size_t n;
    cr_ref *cone = graph_cone(g, 1, &f.rest, &n);
    f.affine = cone && f.constant;
    for (size_t i = 0; cone && i < n; i++) f.affine = f.affine && cone[i] != p;
    mem_free(cone);
    f.is_number = f.affine && is_const(g, f.constant, &f.shift);
    return f;
}

static const calc_link *main_link(const explain_subject *s)
{
    for (size_t i = s->net.n; i-- > 0;)
        if (s->net.link[i].kind == CALC_LAYER && s->net.link[i].lo != s->net.link[i].hi) return &s->net.link[i];
    for (size_t i = s->net.n; i-- > 0;)
        if (s->net.link[i].kind == CALC_LAYER) return &s->net.link[i];
    return NULL;
}

static bool known(const explain_subject *s)
{
    return s->op != CR_OP_NONE && (s->op != CR_OP_CALL || s->g->fun[s->fun].body);
}

typedef struct steepness {
    const char *name;
    double min, max, at;
} steepness;

static double largest(const steepness *s) { return fmax(fabs(s->min), fabs(s->max)); }

/* c*|a| as one writes it. */
static const char *times(explanation *x, double c, const char *a)
{
    return c == 1 ? cell_text(x, "|%s|", a) : isinf(c) ? "any size" : cell_text(x, "%s*|%s|", plain_number(x, c), a);
}

/* One line for each activation: its slope, and what follows for the factor constant + rest*f'. */
static bool table_of_slopes(explanation *x, const factor_form *f, const char *rest, size_t n, const steepness *act)
{
    bool chain = f->is_number && f->shift == 0;
    size_t columns = chain ? 5 : 4, at = 0;
    const char **cell = arena_alloc(&x->mem, (n + 1) * columns * sizeof *cell);
    if (!cell) return false;
    cell[at++] = "f";
    cell[at++] = "f' between";
    cell[at++] = "largest at z";
    cell[at++] = chain ? "|factor| <=" : cell_text(x, "|factor - %s| <=", f->is_number ? plain_number(x, f->shift) : "...");
    if (chain) cell[at++] = cell_text(x, "vanishes if all |%s| <", rest);
    for (size_t i = 0; i < n; i++) {
        cell[at++] = act[i].name;
        cell[at++] = cell_text(x, "%s and %s", plain_number(x, act[i].min), plain_number(x, act[i].max));
        cell[at++] = plain_number(x, act[i].at);
        cell[at++] = times(x, largest(&act[i]), rest);
        if (chain) cell[at++] = plain_number(x, 1 / largest(&act[i]));
    }
    return tabulate(x, n + 1, columns, cell, "The slopes, searched over the real line:");
}

static bool say_bound(explanation *x, explain_subject *s, const factor_form *f, size_t n, const steepness *act)
{
    cr_formula rest = {0};
    if (!put_formula(x, s, f->rest, &rest) || !table_of_slopes(x, f, rest.text, n, act)) return false;
    const char *w = rest.text;
    if (f->is_number && f->shift == 0)
        return say(x, CR_BLOCK_TEXT,
                   "Let L be the largest slope. Each factor is at most L*|%s| in size. If every |%s| is at most c, with "
                   "c < 1/L, a product of n factors is at most (c*L)^n: the gradient vanishes exponentially with the "
                   "number of layers, whatever the input and the biases.", w, w) &&
               say(x, CR_BLOCK_TEXT,
                   "Above 1/L it can explode: where the argument of f sits at the point of the largest slope in every "
                   "layer, each factor is L*%s, larger than 1 in size, and n of them multiply up to (L*|w|)^n. It need "
                   "not: where f saturates its slope is near 0, and the gradient vanishes although the weights are "
                   "large.", w);
    if (f->is_number)
        return say(x, CR_BLOCK_TEXT,
                   "Let L be the largest slope. The factor is %s plus something of size at most L*|%s|: where f "
                   "saturates it tends to %s, not to 0. For |%s| <= c with c*L < 1 a product of n factors "
                   "lies between (1 - c*L)^n and (1 + c*L)^n: small weights keep it near %s in size, large ones can make "
                   "it explode, and it vanishes only where the two summands nearly cancel.",
                   plain_number(x, f->shift), w, plain_number(x, f->shift), w, plain_number(x, fabs(f->shift)));
    cr_formula constant = {0};
    return put_formula(x, s, f->constant, &constant) &&
           say(x, CR_BLOCK_TEXT, "With L the largest slope, |factor| <= |%s| + L*|%s|.", constant.text, w);
}

static bool describe_factor(explanation *x, explain_subject *s, factor_form *f)
{
    cr_graph *g = s->g;
    bool ok = say(x, CR_BLOCK_TITLE, "One layer, one factor");
    ok = ok && say(x, CR_BLOCK_TEXT, "Each layer between the variable and the output multiplies the gradient by the "
                                     "derivative of its output by its input:");
    const char *core = name_text(g->dims, g->family[s->net.core].name);
    for (size_t i = 0; ok && i < s->net.n; i++) {
        const calc_link *l = &s->net.link[i];
        cr_ref slope = cr_simplify(g, graph_subst_symbol(g, l->slope, s->net.index, cr_dim_symbol(g, "i")));
        bool point = l->lo == l->hi;
        if (l->kind == CALC_SKIP) continue;
        const char *to = point ? dim_of(x, s, l->lo) : "i";
        cr_dim from_dim = dim_sub(g->dims, point ? l->lo : cr_dim_symbol(g, "i"), dim_const(g->dims, l->lag));
        if (point) ok = show(x, s, slope, "d %s[%s] / d %s[%s]", core, to, core, dim_of(x, s, from_dim));
        else
            ok = show(x, s, slope, "d %s[i] / d %s[%s], i = %s..%s", core, core, dim_of(x, s, from_dim),
                      dim_of(x, s, l->lo), dim_of(x, s, l->hi));
    }
    const calc_link *main = main_link(s);
    if (!ok || !main) return ok;
    if (!s->net.elementwise)
        ok = say(x, CR_BLOCK_TEXT, "This is a matrix. The norm of a product is at most the product of the norms, so that "
                                   "the largest singular value of each factor takes the place of its size below.");
    *f = read_factor(s, main->slope);
    f->rest = f->rest ? graph_subst_symbol(g, f->rest, s->net.index, cr_dim_symbol(g, "i")) : CR_NONE;
    f->constant = f->constant ? graph_subst_symbol(g, f->constant, s->net.index, cr_dim_symbol(g, "i")) : CR_NONE;
    x->out.activation = s->name ? result_text(&x->mem, s->name) : NULL;
    static const cr_op usual[] = {CR_OP_SIGMOID, CR_OP_TANH, CR_OP_RELU};
    steepness act[3];
    size_t n = known(s) ? 1 : 3;
    for (size_t i = 0; i < n; i++) {
        cr_op op = known(s) ? s->op : usual[i];
        act[i].name = known(s) ? s->name : op_get(op)->spelling;
        if (slope_range(g, op, known(s) ? s->fun : 0, &act[i].min, &act[i].max, &act[i].at) != CR_OK) return false;
    }
    x->out.slope_min = act[0].min; /* of the sigmoid, where the activation is unknown: the numbers are for it */
    x->out.slope_max = act[0].max;
    x->out.slope_at = act[0].at;
    if (!known(s) && s->op != CR_OP_NONE)
        ok = say(x, CR_BLOCK_TEXT, "What size the factor can have depends on the slope of the activation. `%s` is not "
                 "given; for three customary ones:", s->name);
    if (f->affine) {
        if (f->is_number && f->shift == 0 && !isinf(largest(&act[0]))) x->out.threshold = 1 / largest(&act[0]);
        return ok && say_bound(x, s, f, n, act);
    }
    if (!known(s)) return ok;
    return ok && say(x, CR_BLOCK_TEXT, "The slope of `%s` lies between %s and %s (searched over the real line), so %s",
                     s->name, plain_number(x, act[0].min), plain_number(x, act[0].max), s->net.elementwise ?
                     "the factors are bounded with the weights." : op_of(g, main->slope) == CR_OP_ADD ?
                     "each summand of a factor is bounded with its weights. A summand without any, like I of a residual "
                     "layer, keeps factors from tending to 0." :
                     cell_text(x, "the norm of a factor is at most %s times the product of the norms of its weight "
                               "matrices. Where that is below 1 in every layer, the gradient vanishes exponentially with "
                               "the depth, whatever the input.", plain_number(x, largest(&act[0]))));
}

/* ---- numbers ------------------------------------------------------------------------------------ */

static const int64_t depths[] = {10, 20, 50, 100};
enum { N_DEPTHS = sizeof depths / sizeof depths[0], LAYERS_SHOWN = 10 };

static cr_ref whole_gradient(explain_subject *s)
{
    calc_result r = {0};
    calc_wrt w = {.var = s->var};
    cr_ref d = calc_derive(s->g, s->y, 1, &w, 0, &r) == CR_OK ? r.exact : CR_NONE;
    calc_result_free(&r);
    return d;
}

static const char *setting(const explain_subject *s)
{
    return known(s) ? "" : ", with the sigmoid for the activation";
}

static bool has_skip(const explain_subject *s)
{
    for (size_t i = 0; i < s->net.n; i++)
        if (s->net.link[i].kind != CALC_LAYER) return true;
    return false;
}

static bool describe_depth(explanation *x, explain_subject *s, const factor_form *f)
{
    enum { LAYERS_IN_TABLE = 3 };
    cr_ref root = whole_gradient(s);
    /* a product of factors has a bound in closed form; with further paths it is one summand of several */
    bool chain = f->affine && f->is_number && f->shift == 0 && x->out.threshold > 0 && !has_skip(s);
    double bound_weight[3] = {x->out.threshold / 2, x->out.threshold, 2 * x->out.threshold};
    size_t columns = 1 + LAYERS_IN_TABLE + (chain ? 3 : 0), at = 0, cells = (N_DEPTHS + 1) * columns;
    const char **cell = arena_alloc(&x->mem, cells * sizeof *cell);
    double *depth = arena_alloc(&x->mem, N_DEPTHS * sizeof *depth), *first = arena_alloc(&x->mem, N_DEPTHS * sizeof *first);
    double *other = arena_alloc(&x->mem, N_DEPTHS * sizeof *other), *bound = arena_alloc(&x->mem, N_DEPTHS * sizeof *bound);
    double *size = mem_alloc(101 * sizeof *size);
    cr_series *series = arena_alloc(&x->mem, 2 * sizeof *series);
    int64_t *which = arena_alloc(&x->mem, N_DEPTHS * sizeof *which);
    bool ok = root && cell && depth && first && other && bound && size && series && which;
    const char *var = name_text(s->g->dims, attr_of(s->g, s->var, 0)), *n = name_text(s->g->dims, s->depth);
    double steep = fmax(fabs(x->out.slope_min), fabs(x->out.slope_max));
    if (ok) {
        cell[at++] = n;
        cell[at++] = cell_text(x, "layer 1");
        cell[at++] = cell_text(x, "layer 2");
        cell[at++] = cell_text(x, "layer %s", n);
        for (int i = 0; chain && i < 3; i++)
            cell[at++] = cell_text(x, "most, |%s| <= %s", var, plain_number(x, bound_weight[i]));
    }
    for (size_t i = 0; ok && i < N_DEPTHS; i++) {
        ok = log_sizes(s, root, (explain_point){1, depths[i]}, (size_t)depths[i], size) == CR_OK;
        if (!ok) break;
        double factors = (double)depths[i] - 1;
        depth[i] = (double)depths[i];
        which[i] = depths[i];
        first[i] = size[0];
        other[i] = size[1];
        bound[i] = chain ? log10(steep) + factors * log10(steep) : NAN;
        cell[at++] = cell_text(x, "%lld", (long long)depths[i]);
        cell[at++] = power_of_ten(x, size[0]);
        cell[at++] = power_of_ten(x, size[1]);
        cell[at++] = power_of_ten(x, size[depths[i] - 1]);
        for (int k = 0; chain && k < 3; k++) /* input of size 1 */
            cell[at++] = power_of_ten(x, log10(steep) + factors * log10(bound_weight[k] * steep));
    }
    ok = ok && say(x, CR_BLOCK_TITLE, "How it depends on the depth");
    ok = ok && tabulate(x, N_DEPTHS + 1, columns, cell,
                        "Size of the derivative by %s of the first two layers and of the last, all %s = 1, other families "
                        "0, single variables 1/2 unless given%s%s:", var, var, setting(s),
                        chain ? "; then the most that layer 1 can get from an input of size 1, by the bound" : "");
    if (ok) {
        series[0] = (cr_series){"layer 1", N_DEPTHS, depth, first};
        series[1] = (cr_series){"layer 2", N_DEPTHS, depth, other};
        cr_block *b = new_block(x, CR_BLOCK_PLOT);
        ok = b != NULL;
        if (ok) {
            b->text = cell_text(x, "log10 of its size against %s", n);
            b->n_series = has_skip(s) ? 2 : 1;
            b->series = series;
        }
    }
    x->out.n_depths = N_DEPTHS;
    x->out.depth = which;
    x->out.log10_gradient = first;
    x->out.log10_bound = bound;
    mem_free(size);
    return ok;
}

static bool describe_layers(explanation *x, explain_subject *s)
{
    cr_ref root = whole_gradient(s);
    double *size = arena_alloc(&x->mem, LAYERS_SHOWN * sizeof *size);
    const char **cell = arena_alloc(&x->mem, 2 * (LAYERS_SHOWN + 1) * sizeof *cell);
    const char *var = name_text(s->g->dims, attr_of(s->g, s->var, 0));
    if (!root || !size || !cell ||
        log_sizes(s, root, (explain_point){1, LAYERS_SHOWN}, LAYERS_SHOWN, size) != CR_OK)
        return false;
    cell[0] = "layer";
    cell[1] = cell_text(x, "|d/d%s[layer]|", var);
    double least = INFINITY, most = -INFINITY;
    size_t least_at = 0, most_at = 0;
    for (size_t k = 0; k < LAYERS_SHOWN; k++) {
        cell[2 * k + 2] = cell_text(x, "%zu", k + 1);
        cell[2 * k + 3] = power_of_ten(x, size[k]);
        if (size[k] < least) least = size[k], least_at = k + 1;
        if (size[k] > most) most = size[k], most_at = k + 1;
    }
    x->out.n_layers = LAYERS_SHOWN;
    x->out.log10_layer = size;
    return say(x, CR_BLOCK_TITLE, "Which layers get how much") &&
           tabulate(x, LAYERS_SHOWN + 1, 2, cell, "The gradient of each layer at %s = %d, under the same values",
                    name_text(s->g->dims, s->depth), LAYERS_SHOWN) &&
           say(x, CR_BLOCK_TEXT, "Layer %zu gets most, layer %zu least: a ratio of %s. One step size cannot suit both.",
               most_at, least_at, power_of_ten(x, most - least));
}

/* The gradient of the layer that a skip starts from, and what is left of it when the products over layers tend to 0. */
static bool describe_rest(explanation *x, explain_subject *s, const calc_link *l)
{
    cr_graph *g = s->g;
    if (!family_first(g, s->var) || cr_rank(g, s->var) != 1 || l->from != l->from_hi) return true;
    cr_dim position = dim_add(g->dims, dim_sub(g->dims, l->from, family_first(g, s->var)), dim_const(g->dims, 1));
    int64_t at;
    if (dim_value(g->dims, position, &at) && at < 1) return true; /* from the input */
    calc_wrt w = {.var = s->var, .n_index = 1, .index = {position}};
    calc_result r = {0};
    cr_ref d = calc_derive(g, s->y, 1, &w, 0, &r) == CR_OK ? r.simple : CR_NONE, rest = CR_NONE;
    calc_result_free(&r);
    size_t n, m = 0;
    cr_ref *cone = d ? graph_cone(g, 1, &d, &n) : NULL;
    cr_ref *from = cone ? mem_alloc(2 * n * sizeof *from) : NULL, *to = from ? from + n : NULL;
    for (size_t i = 0; from && i < n; i++) {
        if (op_of(g, cone[i]) != CR_OP_BIND || attr_of(g, cone[i], 0) != CR_BIND_PROD) continue;
        from[m] = cone[i];
        to[m++] = cr_full(g, cr_const(g, 0), cr_rank(g, cone[i]), shape_of(g, cone[i])->dim);
    }
    bool ok = from && cr_rebuild(g, 1, &d, (unsigned)m, from, to, &rest) == CR_OK && (rest = cr_simplify(g, rest)) != 0;
    mem_free(from);
    mem_free(cone);
    if (!ok) return false;
    const char *var = name_text(g->dims, attr_of(g, s->var, 0)), *k = dim_of(x, s, l->from);
    cr_formula y = {0};
    return put_formula(x, s, s->y, &y) && show(x, s, d, "d %s / d %s[%s]", y.text, var, k) &&
           (m == 0 || show(x, s, rest, "what is left of it when the product over the skipped layers tends to 0"));
}

static bool describe_skips(explanation *x, explain_subject *s)
{
    cr_graph *g = s->g;
    const char *core = name_text(g->dims, g->family[s->net.core].name);
    bool any = false, ok = true;
    for (size_t i = 0; i < s->net.n; i++) any |= s->net.link[i].kind == CALC_SKIP;
    if (!any) return true;
    ok = say(x, CR_BLOCK_TITLE, "What the skip connection does");
    for (size_t i = 0; ok && i < s->net.n; i++) {
        const calc_link *l = &s->net.link[i];
        if (l->kind != CALC_SKIP) continue;
        bool many = l->from != l->from_hi, range = l->lo != l->hi;
        cr_ref slope = cr_simplify(g, graph_subst_symbol(g, l->slope, s->net.index, cr_dim_symbol(g, range ? "i" : "j")));
        const char *to = range ? "i" : dim_of(x, s, l->lo), *from = many ? "j" : dim_of(x, s, l->from);
        ok = say(x, CR_BLOCK_TEXT, "`%s[%s]` rests on `%s[%s]` directly%s%s. That path has one factor, however many "
                 "layers it skips:", core, to, core, from, many ? cell_text(x, ", for j = %s..%s", dim_of(x, s, l->from),
                 dim_of(x, s, l->from_hi)) : "", range ? cell_text(x, ", for i = %s..%s", dim_of(x, s, l->lo),
                 dim_of(x, s, l->hi)) : "") &&
             show(x, s, slope, "d %s[%s] / d %s[%s], by the skip", core, to, core, from) &&
             describe_rest(x, s, l);
    }
    ok = ok && say(x, CR_BLOCK_TEXT, "Gradients of different paths add up. For a layer before the skip the sum is the product "
                   "through all layers plus the skip's own term, 1 + product where both end in the same factor. So:");
    ok = ok && say(x, CR_BLOCK_TEXT, "Vanishing: the skip's term does not contain the factors of the layers it skips. When "
                   "their product tends to 0 with the depth, the sum tends to the skip's term, which no longer depends on "
                   "the depth: the layer in front of the skip keeps a gradient of a short network.");
    ok = ok && say(x, CR_BLOCK_TEXT, "But a layer inside the skipped stretch has no second path: its gradient still is one "
                   "product over all layers behind it, and vanishes as before.");
    ok = ok && say(x, CR_BLOCK_TEXT, "Exploding: the product is still a summand. When it grows with the depth, adding 1 to it "
                   "changes nothing: a skip does not cure explosion.");
    return ok && say(x, CR_BLOCK_TEXT, "And the sum can cancel: where the product is -1, 1 + product is 0 and the layer gets "
                     "no gradient at all. With weights below the threshold this cannot happen, since the product is then "
                     "smaller than 1; above it, it can.");
}

/* ---- the whole ------------------------------------------------------------------------------------ */

static cr_status explain_subject_in(explanation *x, explain_subject *s, bool architectures)
{
    factor_form f = {0};
    x->out.query = result_text(&x->mem, s->st->query);
    bool ok = x->out.query && describe_network(x, s) && describe_gradient(x, s);
    if (ok && !s->net.closed)
        ok = say(x, CR_BLOCK_TEXT, "The derivative of this network is a recursion without a closed form; there is no product "
                                   "of factors to explain it with.");
    if (ok && s->net.closed) ok = describe_factor(x, s, &f);
    if (ok && s->scalar) ok = describe_depth(x, s, &f) && describe_layers(x, s);
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
