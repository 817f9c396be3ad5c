/* The derivation, rule by rule, as a tutor writes it: the outermost operation first, inner expressions by name. The
 * derivative of each operation comes from the same table as all derivatives; only its inputs are names here. */
#include "calculus/derive.h"

#include <stdio.h>
#include <string.h>

/* What a rule is called in class. Element-wise functions without an entry: "chain rule". */
static const char *const rule_name[CR_OP_COUNT] = {
    [CR_OP_ADD] = "sum rule",
    [CR_OP_DIV] = "quotient rule",
    [CR_OP_POW] = "chain rule, power rule",
    [CR_OP_SELECT] = "case by case",
    [CR_OP_MAX2] = "derivative of the larger argument",
    [CR_OP_MIN2] = "derivative of the smaller argument",
    [CR_OP_MAXR] = "derivative of the largest entry",
    [CR_OP_MINR] = "derivative of the smallest entry",
    [CR_OP_PRODR] = "product rule for many factors",
    [CR_OP_NORM1] = "derivative of the 1-norm",
    [CR_OP_NORM2] = "derivative of the Euclidean norm",
    [CR_OP_NORM_INF] = "derivative of the maximum norm",
    [CR_OP_SOFTMAX] = "derivative of softmax",
    [CR_OP_LOGSOFTMAX] = "derivative of logsoftmax",
    [CR_OP_RESHAPE] = "entries are only moved",
    [CR_OP_STACK] = "entry by entry",
    [CR_OP_GATHER] = "entries are only moved",
    [CR_OP_SCATTER] = "entries are only moved",
    [CR_OP_CONV] = "product rule for a convolution",
    [CR_OP_WINDOW] = "windows only move and add entries",
    [CR_OP_MAXPOOL] = "derivative of the largest entry of each window",
    [CR_OP_MAXPICK] = "entries are only picked",
    [CR_OP_DET] = "Jacobi's formula",
    [CR_OP_LOGDET] = "Jacobi's formula",
    [CR_OP_INV] = "derivative of the inverse",
    [CR_OP_PINV] = "derivative of the pseudoinverse (Golub and Pereyra)",
    [CR_OP_ADJ] = "derivative of the adjugate",
    [CR_OP_MATPOW] = "product rule for a matrix power",
    [CR_OP_BIND] = "under the sum or product",
    [CR_OP_EXP] = "chain rule, derivative of exp",
    [CR_OP_FENCE] = "the same",
    [CR_OP_LOG] = "chain rule, derivative of log",
    [CR_OP_SQRT] = "chain rule, derivative of the square root",
    [CR_OP_ABS] = "chain rule, derivative of the absolute value",
    [CR_OP_RELU] = "chain rule, derivative of relu",
    [CR_OP_LEAKY_RELU] = "chain rule, derivative of leaky_relu",
    [CR_OP_ELU] = "chain rule, derivative of elu",
    [CR_OP_SELU] = "chain rule, derivative of selu",
    [CR_OP_GELU] = "chain rule, derivative of gelu",
    [CR_OP_SILU] = "chain rule, derivative of silu",
    [CR_OP_SOFTPLUS] = "chain rule, derivative of softplus",
    [CR_OP_SIGMOID] = "chain rule, derivative of sigmoid",
    [CR_OP_DSIGMOID] = "chain rule, second derivative of sigmoid",
    [CR_OP_SIN] = "chain rule, derivative of sin",
    [CR_OP_COS] = "chain rule, derivative of cos",
    [CR_OP_TAN] = "chain rule, derivative of tan",
    [CR_OP_SINH] = "chain rule, derivative of sinh",
    [CR_OP_COSH] = "chain rule, derivative of cosh",
    [CR_OP_TANH] = "chain rule, derivative of tanh",
    [CR_OP_DTANH] = "chain rule, second derivative of tanh",
    [CR_OP_ASIN] = "chain rule, derivative of asin",
    [CR_OP_ACOS] = "chain rule, derivative of acos",
    [CR_OP_ATAN] = "chain rule, derivative of atan",
    [CR_OP_ERF] = "chain rule, derivative of erf",
    [CR_OP_CALL] = "chain rule",
};

enum { MAX_STEPS = 64 }; /* a longer derivation is read by no one; the rest is taken as one step */

typedef struct tutor {
    cr_graph *g;
    const calc_wrt *w;
    calc_result *out;
    cr_ref direction; /* tangent of the variable */
    struct { cr_ref r, name, d_name; } named[MAX_STEPS];
    unsigned n;
} tutor;

/* A parameter that is in no table of names: the user cannot have declared it. */
static cr_ref symbol(cr_graph *g, const char *name, cr_ref like)
{
    dim_sym s = name_intern(g->dims, name, strlen(name));
    return s ? graph_node(g, CR_OP_PARAM, node(g, like)->type, 0, NULL, 2, (uint32_t[]){s, 0}) : CR_NONE;
}

static bool taken(const cr_graph *g, dim_sym s) { return s < g->param_cap && g->param_by_name[s]; }

/* Name of inner expression r: u1, u2, ... (or v1, ... if the user has those). */
static bool give_name(tutor *t, cr_ref r, unsigned *at)
{
    for (unsigned i = 0; i < t->n; i++)
        if (t->named[i].r == r) {
            *at = i;
            return true;
        }
    if (t->n == MAX_STEPS) return false;
    char text[32];
    for (const char *stem = "uvzqhp"; *stem; stem++) {
        snprintf(text, sizeof text, "%s%c%u", CALC_D, *stem, t->n);
        dim_sym s = name_intern(t->g->dims, text + strlen(CALC_D), strlen(text) - strlen(CALC_D));
        if (!taken(t->g, s)) break;
    }
    if (t->n == 0) snprintf(text, sizeof text, "%sy", CALC_D);
    cr_ref name = symbol(t->g, text + strlen(CALC_D), r), d = symbol(t->g, text, r);
    if (!name || !d) return false;
    t->named[t->n].r = r;
    t->named[t->n].name = name;
    t->named[t->n].d_name = d;
    *at = t->n++;
    return true;
}

cr_status calc_step_add(cr_graph *g, calc_result *out, calc_step step)
{
    calc_step *s = mem_realloc(out->step, (out->n_steps + 1) * sizeof *s);
    if (!s) {
        graph_fail(g, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    out->step = s;
    s[out->n_steps++] = step;
    return CR_OK;
}

/* The step for inner expression number i; names those of its inputs that move. */
static bool explain(tutor *t, unsigned i)
{
    cr_graph *g = t->g;
    cr_ref r = t->named[i].r, name = t->named[i].name, d_name = t->named[i].d_name;
    const cr_node *n = node(g, r);
    cr_ref whole = calc_forward(g, r, 1, &t->w->var, &t->direction, NULL, NULL);
    if (g->err.status != CR_OK) return false;
    if (whole) whole = cr_simplify(g, whole);
    else whole = cr_full(g, cr_const(g, 0), cr_rank(g, r), shape_of(g, r)->dim);
    if (!whole) return false;
    double v;
    const char *rule = rule_name[n->op] ? rule_name[n->op] : "chain rule";
    bool linear = !calc_depends_on(g, whole, t->w->var), zero = is_const(g, whole, &v) && v == 0;
    if (linear || n->op == CR_OP_BIND || n->n_in > 16 || r == t->w->var) {
        calc_step s = {zero ? "constant" : linear ? "linear in the variable" : rule, name, r, d_name, whole};
        return calc_step_add(g, t->out, s) == CR_OK;
    }
    cr_ref in[16], dot[16];
    unsigned moving = 0;
    for (uint32_t k = 0; k < n->n_in; k++) {
        in[k] = n->word[k];
        dot[k] = CR_NONE;
        if (!calc_depends_on(g, in[k], t->w->var)) continue;
        moving++;
        unsigned at;
        if (in[k] == t->w->var) {
            dot[k] = t->direction;
        } else if (shape_of(g, in[k])->dtype == CR_REAL) {
            if (!give_name(t, in[k], &at))
                return calc_step_add(g, t->out, (calc_step){"by the rules above", name, r, d_name, whole}) == CR_OK;
            in[k] = t->named[at].name;
            dot[k] = t->named[at].d_name;
        }
    }
    cr_ref value = graph_remake(g, r, in);
    if (!value || op_of(g, value) != n->op) /* two inner expressions were one: keep it whole */
        return g->err.status == CR_OK && calc_step_add(g, t->out, (calc_step){rule, name, r, d_name, whole}) == CR_OK;
    cr_ref d = op_jvp(g, value, dot, 0);
    if (!d || !(d = cr_simplify(g, d))) return false;
    if (n->op == CR_OP_EINSUM) rule = moving > 1 ? "product rule" : "constant factors stay";
    return calc_step_add(g, t->out, (calc_step){rule, name, value, d_name, d}) == CR_OK;
}

cr_status calc_steps(cr_graph *g, cr_ref y, const calc_wrt *w, calc_result *out)
{
    tutor t = {.g = g, .w = w, .out = out};
    unsigned at;
    bool ok;
    if (w->n_index || is_scalar(g, w->var)) {
        t.direction = calc_direction(g, w);
    } else {
        strbuf b;
        sb_init(&b);
        sb_printf(&b, "%s%s", CALC_D, name_text(g->dims, attr_of(g, w->var, 0)));
        t.direction = b.status == CR_OK ? symbol(g, sb_str(&b), w->var) : CR_NONE;
        sb_free(&b);
    }
    y = calc_pushed(g, y);
    ok = t.direction && y && give_name(&t, y, &at);
    for (unsigned i = 0; i < t.n && ok; i++) ok = explain(&t, i);
    if (!ok && g->err.status == CR_OK) graph_fail(g, CR_ENOMEM, "out of memory");
    return ok ? CR_OK : g->err.status;
}
