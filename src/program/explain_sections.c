/* The sections of an explanation: one layer and its factor, the depth, the layers, the skips. */
#include "program/explain.h"

#include <math.h>

/* ---- the factor of a layer ---------------------------------------------------------------------- */

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

static double largest(const steepness *s) { return fmax(fabs(s->min), fabs(s->max)); }

/* Does a member rest on several before it, by further lags? */
static bool several_lags(const explain_subject *s)
{
    for (size_t i = 0; i < s->net.n; i++)
        if (s->net.link[i].kind == CALC_LAG) return true;
    return false;
}

/* c*|a| as one writes it. */
static const char *times(explanation *x, double c, const char *a)
{
    return c == 1 ? cell_text(x, "|%s|", a) : isinf(c) ? "any size" : cell_text(x, "%s*|%s|", plain_number(x, c), a);
}

/* Where the slope is largest: a point, or a whole range of z. */
static const char *largest_at(explanation *x, const steepness *s)
{
    if (!(s->to - s->from > 0.5)) return isinf(largest(s)) ? "no largest" : plain_number(x, s->at);
    const char *low = plain_number(x, s->from), *high = plain_number(x, s->to);
    if (s->from < -1000 && s->to > 1000) return "any z";
    if (s->to > 1000) return s->from > 8 ? "large z" : cell_text(x, "z > %s", low);
    if (s->from < -1000) return s->to < -8 ? "very negative z" : cell_text(x, "z < %s", high);
    return cell_text(x, "%s to %s", low, high);
}

static const char *between(explanation *x, const steepness *s)
{
    return cell_text(x, "%s and %s", plain_number(x, s->min), plain_number(x, s->max));
}

/* One line for each activation: its slope, and what follows for the factor constant + rest*f' (rest NULL: nothing) and,
 * where the gradient is a product of them, for the weights. */
static bool table_of_slopes(explanation *x, const factor_form *f, const char *rest, bool product, size_t n,
                            const steepness *act)
{
    bool plain = rest && f->is_number && f->shift == 0, chain = plain && product;
    size_t columns = 3 + (rest != NULL) + chain, at = 0;
    const char **cell = arena_alloc(&x->mem, (n + 1) * columns * sizeof *cell);
    if (!cell) return false;
    cell[at++] = "f";
    cell[at++] = "f' between";
    cell[at++] = "largest at z";
    if (rest)
        cell[at++] = plain ? "|factor| <="
                           : cell_text(x, "|factor - %s| <=", f->is_number ? plain_number(x, f->shift) : "...");
    if (chain) cell[at++] = cell_text(x, "the product vanishes if |%s| <= c <", rest);
    for (size_t i = 0; i < n; i++) {
        cell[at++] = act[i].name;
        cell[at++] = between(x, &act[i]);
        cell[at++] = largest_at(x, &act[i]);
        if (rest) cell[at++] = times(x, largest(&act[i]), rest);
        bool none = isinf(largest(&act[i])) || largest(&act[i]) == 0;
        if (chain) cell[at++] = none ? "-" : plain_number(x, 1 / largest(&act[i]));
    }
    return tabulate(x, n + 1, columns, cell, "The slopes, searched for |z| < 1500:");
}

static bool say_lags(explanation *x, const explain_subject *s)
{
    int64_t most = 1;
    for (size_t i = 0; i < s->net.n; i++)
        if (s->net.link[i].kind == CALC_LAG && s->net.link[i].lag > most) most = s->net.link[i].lag;
    return say(x, CR_BLOCK_TEXT,
               "A member rests on several before it, and the gradient is a sum over all paths, each a product of such "
               "factors. Let the sizes of the factors of one member add up to at most q. For q < 1 the gradient "
               "vanishes exponentially: over n layers it falls at least like q^(n/%lld). Where all factors are "
               "positive and add up to more than 1, it explodes.", (long long)most);
}

static bool say_chain(explanation *x, const char *w, bool bounded)
{
    if (!bounded)
        return say(x, CR_BLOCK_TEXT,
                   "The slope has no bound: no size of `%s` rules out that the gradient explodes. It vanishes where "
                   "the factors are below some q < 1 in size in most layers, as near a point of slope 0.", w);
    return say(x, CR_BLOCK_TEXT,
               "Vanishing: let L be the largest size of the slope. A factor is at most L*|%s| in size. If |%s| <= c in "
               "every layer and c*L < 1, a product of n factors is at most (c*L)^n: it falls exponentially with the "
               "number of layers, whatever the input and the biases. With larger weights it vanishes too where f "
               "saturates: there the slope is near 0, and one such layer makes the whole product small.", w, w) &&
           say(x, CR_BLOCK_TEXT,
               "Exploding: where every factor is at least q > 1 in size, a product of n factors is at least q^n: it "
               "grows exponentially. That takes |%s| above 1/L, and arguments of f at which its slope is not small.",
               w);
}

/* Factors constant + rest*f' with a number for the constant: residual layers. */
static bool say_residual(explanation *x, const char *w, double shift)
{
    const char *c = plain_number(x, shift), *size = plain_number(x, fabs(shift));
    if (!say(x, CR_BLOCK_TEXT,
             "Let L be the largest size of the slope. The factor is %s plus something of size at most L*|%s|: where f "
             "saturates it tends to %s, not to 0. If |%s| <= c in every layer and c*L < %s, a product of n factors "
             "lies between (%s - c*L)^n and (%s + c*L)^n in size.", c, w, c, w, size, size, size))
        return false;
    if (fabs(shift) != 1) return true;
    return say(x, CR_BLOCK_TEXT,
               "Vanishing: multiplied out, the product has one summand without any factor of a layer, 1. It vanishes "
               "only where `%s*f'` has the opposite sign in many layers. Exploding: where `%s*f'` is at least q > 0 in "
               "every layer, the product is at least (1 + q)^n. Branches with c*L <= 1/n, so a factor like 1/n on "
               "each, keep it between 1/4 and 3 for n > 1.", w, w);
}

static bool say_bound(explanation *x, explain_subject *s, const factor_form *f, size_t n, const steepness *act)
{
    cr_formula rest = {0}, constant = {0};
    if (!put_formula(x, s, f->rest, &rest) || !table_of_slopes(x, f, rest.text, !several_lags(s), n, act))
        return false;
    if (several_lags(s)) return say_lags(x, s);
    if (f->is_number)
        return f->shift == 0 ? say_chain(x, rest.text, !isinf(largest(&act[0]))) : say_residual(x, rest.text, f->shift);
    return put_formula(x, s, f->constant, &constant) &&
           say(x, CR_BLOCK_TEXT, "With L the largest size of the slope, |factor| <= |%s| + L*|%s|.", constant.text,
               rest.text);
}

static bool say_sizes(explanation *x)
{
    return say(x, CR_BLOCK_TEXT, "Where every factor is at most q < 1 in size, a product of n factors is at most q^n: "
               "it vanishes exponentially with the number of layers. Where every one is at least q > 1 it is at least "
               "q^n: it explodes.");
}

/* The factors are matrices, or no affine function of the slope. */
static bool say_norms(explanation *x, explain_subject *s, const calc_link *main, size_t n, const steepness *act)
{
    if (!table_of_slopes(x, NULL, NULL, false, n, act)) return false;
    if (s->net.elementwise) return say_sizes(x);
    if (op_of(s->g, main->slope) == CR_OP_ADD)
        return say(x, CR_BLOCK_TEXT, "Each summand of a factor is bounded with its weights. A summand without any, "
                   "like I of a residual layer, keeps factors away from 0 where the other one is small; with it the "
                   "product can still explode.");
    return say(x, CR_BLOCK_TEXT,
               "Let L be the largest size of the slope. The norm of a factor is at most L times the product of the "
               "norms of its weight matrices. Where that is at most q < 1 in every layer, a product of n factors "
               "vanishes like q^n, whatever the input. It can explode only where that is above 1 in many layers.");
}

static bool show_links(explanation *x, explain_subject *s)
{
    cr_graph *g = s->g;
    const char *core = name_text(g->dims, g->family[s->net.core].name);
    bool ok = true;
    for (size_t i = 0; ok && i < s->net.n; i++) {
        const calc_link *l = &s->net.link[i];
        cr_ref slope = cr_simplify(g, graph_subst_symbol(g, l->slope, s->net.index, cr_dim_symbol(g, "i")));
        bool point = l->lo == l->hi;
        if (l->kind == CALC_SKIP) continue;
        const char *to = point ? dim_of(x, s, l->lo) : "i";
        cr_dim from = dim_sub(g->dims, point ? l->lo : cr_dim_symbol(g, "i"), dim_const(g->dims, l->lag));
        if (point) ok = show(x, s, slope, "`d %s[%s] / d %s[%s]`", core, to, core, dim_of(x, s, from));
        else
            ok = show(x, s, slope, "`d %s[i] / d %s[%s]`, i = %s..%s", core, core, dim_of(x, s, from),
                      dim_of(x, s, l->lo), dim_of(x, s, l->hi));
    }
    return ok;
}

bool describe_factor(explanation *x, explain_subject *s, factor_form *f)
{
    cr_graph *g = s->g;
    if (!say(x, CR_BLOCK_TITLE, "One layer, one factor") ||
        !say(x, CR_BLOCK_TEXT, "Each layer between the variable and the output multiplies the gradient by the "
                               "derivative of its output by its input:") ||
        !show_links(x, s))
        return false;
    const calc_link *main = main_link(s);
    if (!main) return true;
    if (!s->net.elementwise &&
        !say(x, CR_BLOCK_TEXT, "This is a matrix. The norm of a product is at most the product of the norms, so that "
                               "the largest singular value of each factor takes the place of its size."))
        return false;
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
        if (slope_range(g, op, known(s) ? s->fun : 0, &act[i]) != CR_OK) return false;
    }
    if (s->op == CR_OP_NONE) return say_sizes(x); /* no activation, or several */
    x->out.slope_min = act[0].min; /* of the sigmoid, where the activation is unknown: the numbers are for it */
    x->out.slope_max = act[0].max;
    x->out.slope_at = act[0].at;
    if (!known(s) &&
        !say(x, CR_BLOCK_TEXT, "What size a factor can have depends on the slope of the activation. `%s` is not given; "
                               "for three customary ones:", s->name))
        return false;
    if (!f->affine) return say_norms(x, s, main, n, act);
    if (f->is_number && f->shift == 0 && !several_lags(s) && !isinf(largest(&act[0])) && largest(&act[0]) > 0)
        x->out.threshold = 1 / largest(&act[0]);
    if (largest(&act[0]) == 0)
        return say(x, CR_BLOCK_TEXT, "No slope of `%s` other than 0 was found: there nothing passes, and no bound "
                                     "follows.", act[0].name);
    return say_bound(x, s, f, n, act);
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
    return known(s) || s->op == CR_OP_NONE ? "" : ", with the sigmoid for the activation";
}

static bool has_skip(const explain_subject *s)
{
    for (size_t i = 0; i < s->net.n; i++)
        if (s->net.link[i].kind != CALC_LAYER) return true;
    return false;
}

bool describe_depth(explanation *x, explain_subject *s)
{
    enum { LAYERS_IN_TABLE = 3 };
    cr_ref root = whole_gradient(s);
    /* a product of factors has a bound in closed form; with further paths it is one summand of several */
    bool chain = x->out.threshold > 0 && !has_skip(s);
    double bound_weight[3] = {x->out.threshold / 2, x->out.threshold, 2 * x->out.threshold};
    size_t columns = 1 + LAYERS_IN_TABLE + (chain ? 3 : 0), at = 0, cells = (N_DEPTHS + 1) * columns;
    const char **cell = arena_alloc(&x->mem, cells * sizeof *cell);
    double *numbers = arena_alloc(&x->mem, 4 * N_DEPTHS * sizeof *numbers), *depth = numbers;
    double *first = numbers + N_DEPTHS, *other = first + N_DEPTHS, *bound = other + N_DEPTHS;
    double *size = mem_alloc(101 * sizeof *size);
    cr_series *series = arena_alloc(&x->mem, 2 * sizeof *series);
    int64_t *which = arena_alloc(&x->mem, N_DEPTHS * sizeof *which);
    bool ok = root && cell && numbers && size && series && which;
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
                        "Size of the derivative by %s of the first two layers and of the last, all %s = 1, other "
                        "families 0, single variables 1/2 unless given%s%s:", var, var, setting(s),
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

bool describe_layers(explanation *x, explain_subject *s)
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
    if (!say(x, CR_BLOCK_TITLE, "Which layers get how much") ||
        !tabulate(x, LAYERS_SHOWN + 1, 2, cell, "The gradient of each layer at %s = %d, under the same values",
                  name_text(s->g->dims, s->depth), LAYERS_SHOWN))
        return false;
    if (!isfinite(most)) return say(x, CR_BLOCK_TEXT, "At these values no layer gets a finite gradient other than 0.");
    if (!isfinite(least))
        return say(x, CR_BLOCK_TEXT, "Layer %zu gets most; layer %zu gets none at all at these values.", most_at,
                   least_at);
    if (most - least < 0.3) return say(x, CR_BLOCK_TEXT, "All layers get about the same.");
    return say(x, CR_BLOCK_TEXT, "Layer %zu gets most, layer %zu least: a ratio of %s. One step size cannot suit both: "
               "a layer with a gradient near 0 does not learn, and one with a very large gradient overshoots.%s",
               most_at,
               least_at, power_of_ten(x, most - least), least_at < LAYERS_SHOWN ? "" :
               " The last layer has no factor behind it, so that its small gradient is not the work of the depth: f is "
               "flat at its argument, or its input is near 0.");
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
    return put_formula(x, s, s->y, &y) && show(x, s, d, "`d %s / d %s[%s]`", y.text, var, k) &&
           (m == 0 || show(x, s, rest, "what is left of it when the product over the skipped layers tends to 0"));
}

static bool show_skip(explanation *x, explain_subject *s, const calc_link *l)
{
    cr_graph *g = s->g;
    const char *core = name_text(g->dims, g->family[s->net.core].name);
    bool many = l->from != l->from_hi, range = l->lo != l->hi;
    cr_ref slope = cr_simplify(g, graph_subst_symbol(g, l->slope, s->net.index, cr_dim_symbol(g, range ? "i" : "j")));
    const char *to = range ? "i" : dim_of(x, s, l->lo), *from = many ? "j" : dim_of(x, s, l->from);
    const char *for_from = "";
    if (many) for_from = cell_text(x, ", for j = %s..%s", dim_of(x, s, l->from), dim_of(x, s, l->from_hi));
    const char *for_to = range ? cell_text(x, ", for i = %s..%s", dim_of(x, s, l->lo), dim_of(x, s, l->hi)) : "";
    return say(x, CR_BLOCK_TEXT, "`%s[%s]` rests on `%s[%s]` directly%s%s. That path has one factor, however many "
               "layers it skips:", core, to, core, from, for_from, for_to) &&
           show(x, s, slope, "`d %s[%s] / d %s[%s]`, by the skip", core, to, core, from) && describe_rest(x, s, l);
}

/* Does the skip end in the same factor as the path through the layers, so that they add up to 1 + product? */
static bool joins_product(const explain_subject *s, const calc_link *skip)
{
    for (size_t i = 0; i < s->net.n; i++) {
        const calc_link *l = &s->net.link[i];
        if (l->kind == CALC_LAYER && l->lo == skip->lo && l->hi == skip->hi && l->slope == skip->slope) return true;
    }
    return false;
}

bool describe_skips(explanation *x, explain_subject *s)
{
    bool any = false, many = false, same = true, ok = true;
    unsigned skips = 0;
    for (size_t i = 0; i < s->net.n; i++) {
        any |= s->net.link[i].kind == CALC_SKIP;
        skips += s->net.link[i].kind == CALC_SKIP;
        if (s->net.link[i].kind == CALC_SKIP) same = same && joins_product(s, &s->net.link[i]);
        many |= s->net.link[i].kind == CALC_SKIP && s->net.link[i].from != s->net.link[i].from_hi;
    }
    if (!any) return true;
    ok = say(x, CR_BLOCK_TITLE, "What the skip connection does");
    for (size_t i = 0; ok && i < s->net.n; i++)
        if (s->net.link[i].kind == CALC_SKIP) ok = show_skip(x, s, &s->net.link[i]);
    ok = ok && say(x, CR_BLOCK_TEXT, "Gradients of different paths add up. For what lies in front of a skip the sum is "
                   "the product through all layers plus the skip's own term; that is 1 + product where both end in the "
                   "same factor. So:");
    ok = ok && say(x, CR_BLOCK_TEXT, "Vanishing: the skip's term does not contain the factors of the layers it skips. "
                   "When their product tends to 0 with the depth, only the skip's term is left, which has the "
                   "same few factors at every depth: the layer in front of the skip keeps the gradient of a short "
                   "network.");
    many |= skips > 1;
    ok = ok && (many ? say(x, CR_BLOCK_TEXT, "Every layer that a skip starts from has such a path of its own; a layer "
                           "that none starts from has not, and its gradient vanishes as before.")
                     : say(x, CR_BLOCK_TEXT, "But a layer inside the skipped stretch has no second path: its gradient "
                           "is still one product over all layers behind it, and vanishes as before."));
    ok = ok && say(x, CR_BLOCK_TEXT, "Exploding: the product is still a summand. When it grows with the depth, adding "
                   "1 to it changes nothing: a skip does not cure explosion.");
    if (!same)
        return ok && say(x, CR_BLOCK_TEXT, "The sum can also cancel: where the product through the layers is minus the "
                         "skip's term, the layer gets no gradient at all.");
    ok = ok && say(x, CR_BLOCK_TEXT, "The sum can also cancel: where the product is -1, 1 + product is 0, and the "
                   "layer gets no gradient at all.%s", isnan(x->out.threshold) ? "" :
                   " With all weights below 1/L in size that cannot happen, since the product is then smaller than 1 "
                   "in size; with larger ones it can.");
    return ok;
}
