/* One loop over the operator table tests every operator that it finds. What a test demands of an operator is worked out
 * from samples of it (op_samples.c); an operator without a sample fails. */
#include "unit.h"

#include "op_check.h"
#include "program/program.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the loop ---------------------------------------------------------------------------------- */

typedef bool check_fn(op_case *c);

/* check() at a fresh case of every sample of every operator. All faults are told, then the test fails. */
static void each_operator(check_fn *check)
{
    unsigned faults = 0;
    for (int op = 1; op < CR_OP_COUNT; op++) {
        unsigned samples = 0;
        for (const op_sample *s = op_samples; s->op; s++) {
            if ((int)s->op != op) continue;
            op_case c;
            samples++;
            if (!case_open(&c, s->text) || !check(&c)) {
                print_error("%s: %s\n", op_get(s->op)->name, c.fault);
                faults++;
            } else if (cr_graph_status(c.g) != CR_OK) {
                print_error("%s: `%s`: left an error: %s\n", op_get(s->op)->name, s->text, cr_graph_message(c.g));
                faults++;
            }
            case_close(&c);
        }
        if (!samples) {
            print_error("%s: no sample domain\n", op_get((cr_op)op)->name);
            faults++;
        }
    }
    if (faults) fail_msg("%u faults", faults);
}

/* The derivatives of y by each of its variables. */
static bool derivatives(op_case *c, cr_ref *d)
{
    for (unsigned i = 0; i < c->n_vars; i++) {
        d[i] = cr_derivative(c->g, c->y, c->var[i]);
        if (!d[i]) return case_fault(c, "derivative by variable %u: %s", i, cr_graph_message(c->g));
    }
    return true;
}

/* y and, if it is real, its derivatives: expressions that a user meets. Returns how many, 0 on a fault. */
static unsigned expressions(op_case *c, cr_ref out[CASE_MAX_VARS + 1])
{
    out[0] = c->y;
    if (!case_is_real(c)) return 1;
    return derivatives(c, out + 1) ? 1 + c->n_vars : 0;
}

static double greatest(const exec_array *a)
{
    double m = 0;
    for (size_t i = 0; i < a->n; i++) m = fmax(m, fabs(a->value[i]));
    return m;
}

static bool same_value(op_case *c, const char *what, cr_ref a, cr_ref b, double tolerance)
{
    exec_array x, y;
    if (!case_value(c, a, &x)) return false;
    bool ok = case_value(c, b, &y);
    if (ok) {
        ok = case_same(c, what, &x, &y, tolerance, greatest(&y));
        exec_array_free(&y);
    }
    exec_array_free(&x);
    return ok;
}

/* ---- samples, shapes, the graph ---------------------------------------------------------------- */

static cr_op looked_for;

static bool has_operator(op_case *c) { return case_uses(c, looked_for) || case_fault(c, "the sample does not use it"); }

static void samples_use_their_operator(void **state)
{
    (void)state;
    for (const op_sample *s = op_samples; s->op; s++) {
        op_case c;
        looked_for = s->op;
        if (!case_open(&c, s->text) || !has_operator(&c)) fail_msg("%s: %s", op_get(s->op)->name, c.fault);
        case_close(&c);
    }
}

static bool check_shape(op_case *c)
{
    cr_ref all[CASE_MAX_VARS + 1];
    unsigned n = expressions(c, all);
    for (unsigned k = 0; k < n; k++) {
        const cr_shape *s = shape_of(c->g, all[k]);
        exec_array a;
        if (!case_value(c, all[k], &a)) return false;
        bool ok = a.rank == s->rank;
        for (unsigned i = 0; i < s->rank && ok; i++) {
            int64_t size;
            ok = values_dim(c->g, c->env, s->dim[i], &size) && size == a.dim[i];
        }
        exec_array_free(&a);
        if (!ok) return case_fault(c, "the shape of its value is not that of its node");
    }
    return n > 0;
}

static bool check_graph(op_case *c)
{
    char message[200];
    cr_ref all[CASE_MAX_VARS + 1], s;
    unsigned n = expressions(c, all);
    for (unsigned i = 0; i < n; i++)
        if (cr_simplify_n(c->g, 1, &all[i], &s) != CR_OK) return case_fault(c, "%s", cr_graph_message(c->g));
    return cr_verify(c->g, message, sizeof message) == CR_OK || case_fault(c, "%s", message);
}

/* An environment for graph `to` with the values of c; names carry over. */
static bool rebind(op_case *c, cr_graph *to, exec_env *env)
{
    for (cr_ref r = 1; r < to->n_nodes; r++) {
        if (op_of(to, r) != CR_OP_PARAM) continue;
        const char *name = name_text(to->dims, attr_of(to, r, 0));
        dim_sym s = name_intern(c->g->dims, name, strlen(name));
        cr_ref old = s < c->g->param_cap ? c->g->param_by_name[s] : CR_NONE;
        const exec_array *a = old ? exec_value(c->env, old) : NULL;
        if (a && exec_bind(env, r, a) != CR_OK) return case_fault(c, "%s", cr_graph_message(to));
    }
    static const char *const integers[] = {"n", "m", "d", "k"};
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        int64_t v;
        dim_sym s = name_intern(c->g->dims, integers[i], 1), t = name_intern(to->dims, integers[i], 1);
        if (!exec_int(c->env, s, &v) || exec_bind_int(env, t, v) != CR_OK) return case_fault(c, "an integer is lost");
    }
    for (cr_fun f = 1; f < to->n_fun; f++)
        for (cr_fun old = 1; old < c->g->n_fun && !to->fun[f].body; old++)
            if (!strcmp(name_text(to->dims, to->fun[f].name), name_text(c->g->dims, c->g->fun[old].name)) &&
                exec_bind_fun(env, f, random_function, (void *)(uintptr_t)old) != CR_OK)
                return case_fault(c, "%s", cr_graph_message(to));
    return true;
}

/* A compacted graph holds the same expressions: the same bits come out. */
static bool check_compact(op_case *c)
{
    cr_ref all[CASE_MAX_VARS + 1], moved[CASE_MAX_VARS + 1];
    unsigned n = expressions(c, all);
    char message[200];
    cr_graph *to = n ? cr_compact(c->g, n, all, moved) : NULL;
    exec_env *env = to ? exec_env_new(to) : NULL;
    bool ok = env ? rebind(c, to, env) : case_fault(c, "no compacted graph");
    ok = ok && (cr_verify(to, message, sizeof message) == CR_OK || case_fault(c, "%s", message));
    for (unsigned i = 0; i < n && ok; i++) {
        exec_array a, b;
        ok = case_value(c, all[i], &a);
        if (!ok) break;
        ok = exec_eval(to, env, moved[i], &b) == CR_OK || case_fault(c, "compacted: %s", cr_graph_message(to));
        if (ok) {
            ok = case_same(c, "the compacted graph", &b, &a, 0, 0);
            exec_array_free(&b);
        }
        exec_array_free(&a);
    }
    exec_env_free(env);
    cr_graph_free(to);
    return ok;
}

/* ---- derivatives ------------------------------------------------------------------------------- */

/* Slice i of a, which has leading axes of `count` entries in all. */
static exec_array slice(const exec_array *a, unsigned k, size_t count, size_t i)
{
    exec_array s = {.rank = a->rank - k, .n = a->n / count};
    memcpy(s.dim, a->dim + k, s.rank * sizeof *s.dim);
    s.value = a->value + i * s.n;
    return s;
}

/* Both modes with k leading axes in the seed, against the results for each slice of it. */
static bool check_stacked(op_case *c, cr_ref x, unsigned k, bool reverse)
{
    cr_ref like = reverse ? c->y : x, out[2] = {CR_NONE, CR_NONE};
    exec_array all, seeds;
    size_t count = k == 0 ? 1 : k == 1 ? 2 : 6;
    cr_ref seed[2] = {case_random_param(c, "seed", like, 0), CR_NONE};
    seed[1] = case_random_param(c, k ? "seed" : "other seed", like, k);
    if (!seed[0] || !seed[1]) return false;
    for (int i = 0; i < 2; i++) {
        if (reverse) cr_reverse(c->g, c->y, seed[i], 1, &x, &out[i]);
        else out[i] = cr_forward(c->g, c->y, 1, &x, &seed[i]);
        if (cr_graph_status(c->g) != CR_OK) return case_fault(c, "K = %u: %s", k, cr_graph_message(c->g));
    }
    if (!out[0] != !out[1]) return case_fault(c, "zero with %u extra axes only", out[0] ? k : 0);
    if (!out[0]) return true;
    if (!case_value(c, out[1], &all)) return false;
    bool ok = case_value(c, seed[1], &seeds);
    if (ok && (all.rank != cr_rank(c->g, reverse ? x : c->y) + k || all.n % count))
        ok = case_fault(c, "%s: rank %u with %u extra axes", reverse ? "reverse" : "forward", all.rank, k);
    for (size_t i = 0; i < count && ok; i++) {
        exec_array one, want = slice(&all, k, count, i), with = slice(&seeds, k, count, i);
        ok = case_give(c, seed[0], &with) && case_value(c, out[0], &one);
        if (!ok) break;
        ok = case_same(c, reverse ? "reverse, stacked" : "forward, stacked", &want, &one, 1e-13, greatest(&one));
        exec_array_free(&one);
    }
    exec_array_free(&all);
    exec_array_free(&seeds);
    return ok;
}

static bool check_leading_axes(op_case *c)
{
    for (unsigned i = 0; i < c->n_vars && case_is_real(c); i++)
        for (unsigned k = 0; k <= 2; k++)
            if (!check_stacked(c, c->var[i], k, true) || !check_stacked(c, c->var[i], k, false)) return false;
    return true;
}

/* F = <u, y>: its gradients pass the gradient test themselves, and the mixed second derivatives are symmetric. */
static bool check_second_order(op_case *c)
{
    if (!case_is_real(c)) return true;
    cr_ref u = case_random_param(c, "weights", c->y, 0), first[CASE_MAX_VARS], y = c->y;
    if (!u) return false;
    c->y = cr_sum(c->g, cr_mul(c->g, u, y));
    if (!derivatives(c, first)) return false;
    for (unsigned i = 0; i < c->n_vars; i++) {
        c->y = first[i];
        if (!check_gradient(c)) return false;
        for (unsigned j = 0; j <= i; j++) {
            cr_ref a = cr_derivative(c->g, first[i], c->var[j]), b = cr_derivative(c->g, first[j], c->var[i]);
            if (!a || !b) return case_fault(c, "second derivative: %s", cr_graph_message(c->g));
            /* b with the axes of both variables exchanged */
            unsigned ri = cr_rank(c->g, c->var[i]), rj = cr_rank(c->g, c->var[j]);
            uint8_t label[CR_MAX_RANK];
            for (unsigned p = 0; p < rj; p++) label[p] = (uint8_t)(ri + p);
            for (unsigned p = 0; p < ri; p++) label[rj + p] = (uint8_t)p;
            b = cr_einsum(c->g, 1, &b, label, ri + rj, shape_of(c->g, a)->dim);
            if (!same_value(c, "the transposed second derivative", a, b, 1e-10)) return false;
        }
    }
    c->y = y;
    return true;
}

/* ---- rewriting and printing -------------------------------------------------------------------- */

static bool check_simplified(op_case *c)
{
    cr_ref all[CASE_MAX_VARS + 1], simple[CASE_MAX_VARS + 1];
    unsigned n = expressions(c, all);
    if (!n || cr_simplify_n(c->g, n, all, simple) != CR_OK) return case_fault(c, "%s", cr_graph_message(c->g));
    for (int point = 0; point < 5; point++) {
        for (unsigned i = 0; i < n; i++)
            if (!same_value(c, i ? "the simplified derivative" : "the simplified value", simple[i], all[i], 1e-10))
                return false;
        if (!case_draw(c)) return false;
    }
    return true;
}

/* The text of r, parsed: the same value; and if r is simplified, the same expression once the text is simplified too.
 */
static bool reads_back(op_case *c, cr_ref r, bool simple, lang_form form)
{
    strbuf b;
    sb_init(&b);
    bool ok = lang_print(c->g, r, LANG_TEXT, form, &b) == CR_OK || case_fault(c, "%s", cr_graph_message(c->g));
    lang_statement st = {0};
    if (ok && lang_expression(c->lang, "printed", sb_str(&b), &st) != CR_OK)
        ok = case_fault(c, "printed as `%s`: %s", sb_str(&b), cr_graph_message(c->g));
    char what[400];
    snprintf(what, sizeof what, "`%s`, read back", sb_str(&b));
    ok = ok && same_value(c, what, st.expr, r, 1e-12);
    if (ok && simple && cr_simplify(c->g, st.expr) != r) {
        strbuf s;
        sb_init(&s);
        lang_print(c->g, cr_simplify(c->g, st.expr), LANG_TEXT, form, &s);
        ok = case_fault(c, "`%s` does not read back as the same, but as `%s`", sb_str(&b), sb_str(&s));
        sb_free(&s);
    }
    sb_free(&b);
    return ok;
}

static bool check_printed(op_case *c)
{
    cr_ref all[2 * (CASE_MAX_VARS + 1)];
    unsigned n = expressions(c, all);
    if (!n || cr_simplify_n(c->g, n, all, all + n) != CR_OK) return case_fault(c, "%s", cr_graph_message(c->g));
    for (unsigned i = 0; i < 2 * n; i++)
        for (lang_form form = LANG_AUTO; form <= LANG_MATRIX; form++)
            if (!reads_back(c, all[i], i >= n, form)) return false;
    return true;
}

/* ---- NaN and infinity -------------------------------------------------------------------------- */

/* The element-wise operators written plainly in C. */
static double c_sign(double z) { return isnan(z) ? z : (z > 0) - (z < 0); }
static double c_step(double z) { return isnan(z) ? z : z > 0; }
static double c_relu(double z) { return z > 0 || isnan(z) ? z : 0; }
static double c_leaky(double z) { return z > 0 || isnan(z) ? z : 0.01 * z; }
static double c_elu(double z) { return z > 0 ? z : expm1(z); }
static double c_selu(double z) { return 1.0507009873554804934 * (z > 0 ? z : 1.6732632423543772848 * expm1(z)); }
static double c_sigmoid(double z) { return 1 / (1 + exp(-z)); }
static double c_dsigmoid(double z) { return c_sigmoid(z) * c_sigmoid(-z); }
static double c_silu(double z) { return z == -INFINITY ? 0 : z * c_sigmoid(z); }
static double c_gelu(double z) { return z == -INFINITY ? 0 : z * erfc(-z / sqrt(2)) / 2; }
static double c_softplus(double z) { return z > 700 ? z : log1p(exp(z)); }
static double c_dtanh(double z) { return 1 / cosh(z) / cosh(z); }
static double c_div(double a, double b) { return a / b; }
static double c_max(double a, double b) { return isnan(a) || isnan(b) ? NAN : a > b ? a : b; }
static double c_min(double a, double b) { return isnan(a) || isnan(b) ? NAN : a < b ? a : b; }
/* a - b floor(a/b), in its limit for infinite b and without rounding where the quotient is large or tiny */
static double c_mod(double a, double b)
{
    if (isfinite(b) && fabs(a / b) < 1e15 && (fabs(a / b) > 1e-15 || a == 0)) return a - b * floor(a / b);
    return (a < 0) != (b < 0) && fmod(a, b) != 0 ? fmod(a, b) + b : fmod(a, b);
}
static double c_lt(double a, double b) { return a < b; }
static double c_le(double a, double b) { return a <= b; }
static double c_eq(double a, double b) { return a == b; }
static double c_ne(double a, double b) { return a != b; }

static double c_fence(double a) { return a; }

static double (*const plain1[CR_OP_COUNT])(double) = {
    [CR_OP_FENCE] = c_fence,
    [CR_OP_EXP] = exp, [CR_OP_LOG] = log, [CR_OP_SQRT] = sqrt, [CR_OP_ABS] = fabs, [CR_OP_SIGN] = c_sign,
    [CR_OP_STEP] = c_step, [CR_OP_RELU] = c_relu, [CR_OP_LEAKY_RELU] = c_leaky, [CR_OP_ELU] = c_elu,
    [CR_OP_SELU] = c_selu, [CR_OP_GELU] = c_gelu, [CR_OP_SILU] = c_silu, [CR_OP_SOFTPLUS] = c_softplus,
    [CR_OP_SIGMOID] = c_sigmoid, [CR_OP_DSIGMOID] = c_dsigmoid, [CR_OP_SIN] = sin, [CR_OP_COS] = cos,
    [CR_OP_TAN] = tan, [CR_OP_SINH] = sinh, [CR_OP_COSH] = cosh, [CR_OP_TANH] = tanh, [CR_OP_DTANH] = c_dtanh,
    [CR_OP_ASIN] = asin, [CR_OP_ACOS] = acos, [CR_OP_ATAN] = atan, [CR_OP_ERF] = erf,
};
static double (*const plain2[CR_OP_COUNT])(double, double) = {
    [CR_OP_DIV] = c_div, [CR_OP_POW] = pow, [CR_OP_MAX2] = c_max, [CR_OP_MIN2] = c_min, [CR_OP_MOD] = c_mod,
    [CR_OP_LT] = c_lt, [CR_OP_LE] = c_le, [CR_OP_EQ] = c_eq, [CR_OP_NE] = c_ne,
};

static void element_wise_as_in_c(void **state)
{
    (void)state;
    static const double at[] = {NAN,  INFINITY, -INFINITY, 0,      -0.0,   1,   -1,  0.5,
                                -2.5, 3,        1e300,     -1e300, 1e-300, 690, -690};
    enum { N = sizeof at / sizeof *at };
    double first[N * N], second[N * N];
    for (int i = 0; i < N * N; i++) {
        first[i] = at[i / N];
        second[i] = at[i % N];
    }
    for (int op = 1; op < CR_OP_COUNT; op++) {
        const op_info *info = op_get((cr_op)op);
        bool one = info->kind == KIND_MAP1, two = info->kind == KIND_MAP2 || info->kind == KIND_CMP;
        if (op == CR_OP_AND || op == CR_OP_OR || op == CR_OP_NOT || (!one && !two)) continue; /* of conditions */
        if (one ? !plain1[op] : !plain2[op]) fail_msg("%s: not written in C", info->name);
        cr_graph *g = cr_graph_new();
        exec_env *env = exec_env_new(g);
        cr_dim n = cr_dim_const(g, N * N);
        cr_ref a = cr_param(g, "a", 1, &n, 0), b = cr_param(g, "b", 1, &n, 0);
        exec_array va = {1, {N * N}, N * N, first}, vb = {1, {N * N}, N * N, second}, y;
        assert_int_equal(exec_bind(env, a, &va), CR_OK);
        assert_int_equal(exec_bind(env, b, &vb), CR_OK);
        cr_ref r = one ? cr_map(g, (cr_op)op, a) : cr_map2(g, (cr_op)op, a, b);
        if (exec_eval(g, env, r, &y) != CR_OK) fail_msg("%s: %s", info->name, cr_graph_message(g));
        for (int i = 0; i < N * N; i++) {
            double want = one ? plain1[op](first[i]) : plain2[op](first[i], second[i]), got = y.value[i];
            if (got == want || (isnan(got) && isnan(want)) || fabs(got - want) <= 4e-15 * fabs(want)) continue;
            fail_msg("%s at %g, %g: %.17g, not %.17g", info->name, first[i], second[i], got, want);
        }
        exec_array_free(&y);
        exec_env_free(env);
        cr_graph_free(g);
    }
}

static bool compares(op_case *c)
{
    for (int op = 1; op < CR_OP_COUNT; op++)
        if (op_get((cr_op)op)->kind == KIND_CMP && case_uses(c, (cr_op)op)) return true;
    return false;
}

/* A NaN in an input comes out wherever that input counts, unless a comparison swallows it; no rule breaks on NaN or
 * infinities, and no rewrite of a value makes a number out of a NaN. */
static bool check_not_finite(op_case *c)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, 0, 1e308};
    cr_ref all[CASE_MAX_VARS + 1];
    unsigned n = expressions(c, all);
    bool strict = case_is_real(c) && !compares(c), ok = n > 0;
    exec_array y0, y1, y2, x0, x;
    if (!ok || !case_value(c, c->y, &y0)) return false;
    for (unsigned i = 0; i < c->n_vars && ok; i++) {
        ok = case_value(c, c->var[i], &x0);
        if (!ok) break;
        ok = case_value(c, c->var[i], &x);
        for (size_t j = 0; j < x.n && ok; j++) {
            for (size_t k = 0; k < sizeof odd / sizeof *odd && ok; k++) {
                x.value[j] = odd[k];
                ok = case_give(c, c->var[i], &x);
                for (unsigned m = 1; m < n && ok; m++) {
                    exec_array d;
                    ok = case_value(c, all[m], &d);
                    if (ok) exec_array_free(&d);
                }
                ok = ok && case_value(c, c->y, &y1);
                if (!ok) break;
                x.value[j] = x0.value[j] + 1e-3;
                ok = case_give(c, c->var[i], &x) && case_value(c, c->y, &y2);
                for (size_t e = 0; e < y0.n && ok && strict && k == 0; e++)
                    if (y2.value[e] != y0.value[e] && !isnan(y1.value[e]))
                        ok = case_fault(c, "NaN in variable %u becomes %g in entry %zu", i, y1.value[e], e);
                exec_array_free(&y1);
                exec_array_free(&y2);
            }
            x.value[j] = x0.value[j];
        }
        ok = case_give(c, c->var[i], &x0) && ok;
        exec_array_free(&x0);
        exec_array_free(&x);
    }
    exec_array_free(&y0);
    return ok;
}

/* ---- kinks ------------------------------------------------------------------------------------- */

static bool agree(double a, double b, double tolerance)
{
    return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= tolerance * (1 + fabs(b));
}

/* Value of the only entry of r at at + h*v. */
static bool value_at(op_case *c, cr_ref r, const op_kink *k, double h, double *out)
{
    double p[3];
    for (int i = 0; i < 3; i++) p[i] = k->at[i] + h * k->v[i];
    exec_array x = {1, {3}, 3, p}, y;
    if (!case_give(c, c->var[0], &x) || !case_value(c, r, &y)) return false;
    *out = y.value[0];
    exec_array_free(&y);
    return true;
}

/* The slope on one side: by series, and by differences (which grow beyond bounds where it is infinite). */
static bool check_side(op_case *c, const op_kink *k, double side, double want)
{
    double v[3], y0, near, far, h = 0x1p-20 * side;
    exec_ray ray;
    if (!value_at(c, c->y, k, 0, &y0)) return false;
    for (int i = 0; i < 3; i++) v[i] = side * k->v[i];
    if (exec_one_sided(c->g, c->env, c->y, c->var[0], v, &ray) != CR_OK)
        return case_fault(c, "%s", cr_graph_message(c->g));
    double slope = ray.slope.value[0];
    int undecided = ray.state[0];
    bool counted = ray.on_kink > 0;
    exec_ray_free(&ray);
    if (!agree(slope, want, 1e-14)) return case_fault(c, "slope %g on side %g, not %g", slope, side, want);
    if (undecided != (isfinite(want) ? 0 : 1)) return case_fault(c, "side %g: state %d", side, undecided);
    if (!counted && isfinite(want) && isfinite(k->left) && k->left != -k->right)
        return case_fault(c, "the kink is not counted");
    if (!value_at(c, c->y, k, h, &near) || !value_at(c, c->y, k, 64 * h, &far)) return false;
    near = (near - y0) / fabs(h);
    far = (far - y0) / fabs(64 * h);
    if (isnan(want)) return isnan(near) || case_fault(c, "differences see a slope %g on side %g", near, side);
    if (isinf(want))
        return near / want > 0 || (near * want > 0 && fabs(near) > 4 * fabs(far)) ||
               case_fault(c, "differences do not grow on side %g", side);
    return agree(near, want, 1e-3) || case_fault(c, "differences say %g on side %g, not %g", near, side, want);
}

static bool check_kink(op_case *c, const op_kink *k)
{
    double by_rule = 0, left, right;
    exec_array d;
    if (c->n_vars != 1 || !check_side(c, k, 1, k->right) || !check_side(c, k, -1, k->left)) return false;
    cr_ref derivative = cr_derivative(c->g, c->y, c->var[0]);
    exec_array x = {1, {3}, 3, (double *)k->at};
    if (!case_give(c, c->var[0], &x) || !case_value(c, derivative, &d)) return false;
    for (int i = 0; i < 3; i++) by_rule += k->v[i] != 0 ? d.value[i] * k->v[i] : 0;
    exec_array_free(&d);
    if (!isnan(k->convention) && !agree(by_rule, k->convention, 1e-14))
        return case_fault(c, "the rules say %g along v, the convention is %g", by_rule, k->convention);
    const op_info *op = op_get(k->op);
    if (op_of(c->g, c->y) == k->op && op->slopes && op->slopes(c->g, c->y, &left, &right) && k->v[0] > 0 &&
        (!agree(right * k->v[0], k->right, 1e-14) || !agree(-left * k->v[0], k->left, 1e-14)))
        return case_fault(c, "the table's slopes are %g and %g", left, right);
    return true;
}

static void one_sided_at_kinks(void **state)
{
    (void)state;
    unsigned faults = 0;
    for (int op = 1; op < CR_OP_COUNT; op++) {
        op_smooth smooth = op_get((cr_op)op)->smooth;
        unsigned points = 0;
        for (const op_kink *k = op_kinks; k->op; k++) {
            if ((int)k->op != op) continue;
            op_case c;
            points++;
            if (!case_open(&c, k->text) || !check_kink(&c, k)) {
                print_error("%s: %s\n", op_get(k->op)->name, c.fault);
                faults++;
            }
            case_close(&c);
        }
        if (!points && (smooth == KINK || smooth == JUMP)) {
            print_error("%s: no point on its kink\n", op_get((cr_op)op)->name);
            faults++;
        }
    }
    if (faults) fail_msg("%u faults", faults);
}

#define LOOP(name, check) static void name(void **state) { (void)state; each_operator(check); }
LOOP(shapes, check_shape)
LOOP(graphs_are_sound, check_graph)
LOOP(compacted_graphs, check_compact)
LOOP(gradients, check_gradient)
LOOP(extra_leading_axes, check_leading_axes)
LOOP(second_order, check_second_order)
LOOP(simplify_keeps_values, check_simplified)
LOOP(text_reads_back, check_printed)
LOOP(not_finite, check_not_finite)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_use_their_operator),
        cmocka_unit_test(shapes),
        cmocka_unit_test(graphs_are_sound),
        cmocka_unit_test(compacted_graphs),
        cmocka_unit_test(gradients),
        cmocka_unit_test(extra_leading_axes),
        cmocka_unit_test(second_order),
        cmocka_unit_test(one_sided_at_kinks),
        cmocka_unit_test(simplify_keeps_values),
        cmocka_unit_test(text_reads_back),
        cmocka_unit_test(element_wise_as_in_c),
        cmocka_unit_test(not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
