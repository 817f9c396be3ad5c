/* Layout trees: constructors that keep them in the shape a person would write. */
#include "lang/print.h"

#include <math.h>
#include <string.h>

#ifndef M_PI
#define M_PI 3.14159265358979323846
#endif

tree *pr_fail(pr *p, cr_status status, const char *message)
{
    graph_fail(p->g, status, "%s", message);
    return NULL;
}

bool pr_failed(const pr *p) { return p->g->err.status != CR_OK; }

static void *take(pr *p, size_t n)
{
    void *m = arena_alloc(&p->mem, n);
    if (!m) pr_fail(p, CR_ENOMEM, "out of memory");
    return m;
}

tree *tree_new(pr *p, tree_kind kind, uint32_t n, tree *const *kid)
{
    for (uint32_t i = 0; i < n; i++)
        if (!kid[i]) return NULL;
    if (++p->n_trees > PR_MAX_TREES)
        return pr_fail(p, CR_ELIMIT, "the expression is too long to print: more than 1 MiB");
    tree *t = take(p, sizeof *t);
    if (!t) return NULL;
    *t = (tree){.kind = (uint8_t)kind, .n = n};
    if (n) {
        t->kid = take(p, n * sizeof *t->kid);
        if (!t->kid) return NULL;
        memcpy(t->kid, kid, n * sizeof *t->kid);
    }
    return t;
}

tree *tree_1(pr *p, tree_kind kind, tree *a) { return tree_new(p, kind, 1, &a); }
tree *tree_2(pr *p, tree_kind kind, tree *a, tree *b) { return tree_new(p, kind, 2, (tree *[]){a, b}); }

bool list_add(pr *p, tree_list *l, tree *t)
{
    if (!t) return false;
    if (l->n == l->cap) {
        uint32_t cap = l->cap ? 2 * l->cap : 4;
        tree **more = take(p, cap * sizeof *more);
        if (!more) return false;
        if (l->n) memcpy(more, l->t, l->n * sizeof *more);
        l->t = more;
        l->cap = cap;
    }
    l->t[l->n++] = t;
    return true;
}

/* ---- numbers ---------------------------------------------------------------------------------- */

static tree *magnitude(pr *p, double v)
{
    tree *t = tree_new(p, T_NUMBER, 0, NULL);
    if (t) t->number = v;
    return t;
}

/* v = a/b in small numbers? Tenths and hundredths read better as decimals. */
static bool as_fraction(double v, double *a, double *b)
{
    if (v == floor(v)) return false;
    for (int q = 2; q <= 100; q++) {
        double n = nearbyint(v * q);
        if (q % 10 == 0 || n > 1000 || n < 1 || n / q != v) continue;
        *a = n;
        *b = q;
        return true;
    }
    return false;
}

tree *tree_number(pr *p, double v)
{
    double a, b;
    if (isnan(v)) return tree_2(p, T_DIV, magnitude(p, 0), magnitude(p, 0));
    if (v < 0 || (v == 0 && signbit(v))) return tree_neg(p, tree_number(p, -v));
    if (isinf(v)) return tree_2(p, T_DIV, magnitude(p, 1), magnitude(p, 0));
    if (v == M_PI) return tree_name(p, "pi");
    if (as_fraction(v, &a, &b)) return tree_2(p, T_DIV, magnitude(p, a), magnitude(p, b));
    return magnitude(p, v);
}

tree *tree_dim(pr *p, cr_dim d)
{
    int64_t v;
    if (!d) return NULL; /* overflow: the error is set */
    if (dim_value(p->g->dims, d, &v)) return tree_number(p, (double)v);
    tree *t = tree_new(p, T_DIM, 0, NULL);
    if (t) t->dim = d;
    return t;
}

tree *tree_name(pr *p, const char *name)
{
    tree *t = tree_new(p, T_NAME, 0, NULL);
    if (t) t->name = name;
    return t;
}

/* ---- functions, indices ------------------------------------------------------------------------ */

tree *tree_call(pr *p, const char *name, uint32_t n, tree *const *arg)
{
    tree *t = tree_new(p, T_CALL, n, arg);
    if (t) t->name = name;
    return t;
}

tree *tree_option(pr *p, const char *name, cr_dim d)
{
    tree *value = tree_dim(p, d), *t = tree_new(p, T_OPTION, 1, &value);
    if (t) t->name = name;
    return t;
}

tree *tree_op(pr *p, cr_op op, tree *arg)
{
    tree *t = tree_call(p, op_get(op)->spelling, 1, &arg);
    if (t) t->op = (uint16_t)op;
    return t;
}

tree *tree_index(pr *p, tree *base, unsigned n, const cr_dim *index)
{
    if (n == 0) return base;
    tree *kid[CR_MAX_RANK + 1] = {base};
    for (unsigned i = 0; i < n; i++) kid[i + 1] = tree_dim(p, index[i]);
    return tree_new(p, T_INDEX, n + 1, kid);
}

tree *tree_compare(pr *p, unsigned op, tree *a, tree *b)
{
    tree *t = tree_2(p, T_COMPARE, a, b);
    if (t) t->op = (uint16_t)op;
    return t;
}

/* ---- sums and products ------------------------------------------------------------------------- */

tree *tree_neg(pr *p, tree *a)
{
    if (!a) return NULL;
    return a->kind == T_NEG ? a->kid[0] : tree_1(p, T_NEG, a);
}

tree *tree_sum(pr *p, uint32_t n, tree *const *term)
{
    tree_list l = {0};
    uint32_t first = 0;
    for (uint32_t i = 0; i < n; i++) { /* sums of sums are one sum */
        tree *t = term[i];
        if (!t) return NULL;
        tree *inner = t->kind == T_NEG ? t->kid[0] : t;
        if (inner->kind != T_ADD) {
            if (!list_add(p, &l, t)) return NULL;
            continue;
        }
        for (uint32_t k = 0; k < inner->n; k++) {
            bool minus = inner->minus[k] != (t->kind == T_NEG);
            if (!list_add(p, &l, minus ? tree_neg(p, inner->kid[k]) : inner->kid[k])) return NULL;
        }
    }
    if (l.n == 1) return l.t[0];
    while (first < l.n && l.t[first]->kind == T_NEG) first++;
    if (first > 0 && first < l.n) { /* 1 - x, not -x + 1 */
        tree *t = l.t[first];
        memmove(l.t + 1, l.t, first * sizeof *l.t);
        l.t[0] = t;
    }
    bool *minus = take(p, l.n ? l.n : 1);
    if (!minus) return NULL;
    for (uint32_t i = 0; i < l.n; i++) {
        minus[i] = l.t[i]->kind == T_NEG;
        if (minus[i]) l.t[i] = l.t[i]->kid[0];
    }
    tree *t = tree_new(p, T_ADD, l.n, l.t);
    if (t) t->minus = minus;
    return t;
}

bool tree_is_one(const tree *t) { return t->kind == T_NUMBER && t->number == 1; }

/* I(n), diag(v) of a vector (which print_contract.c marks as an einsum), and what the graph knows to be symmetric. */
static bool is_symmetric(const tree *t)
{
    return t->symmetric || t->kind == T_NUMBER ||
           (t->kind == T_CALL && (t->op == CR_OP_IDENTITY || t->op == CR_OP_EINSUM));
}

tree *tree_transpose(pr *p, tree *a)
{
    if (!a) return NULL;
    if (a->kind == T_TRANSPOSE) return a->kid[0];
    if (is_symmetric(a)) return a;
    if (a->kind == T_NEG) return tree_neg(p, tree_transpose(p, a->kid[0]));
    return tree_1(p, T_TRANSPOSE, a);
}

tree *tree_hadamard(pr *p, const tree_list *num, const tree_list *den)
{
    tree *n = num->n == 0 ? tree_number(p, 1) : num->n == 1 ? num->t[0] : tree_new(p, T_HADAMARD, num->n, num->t);
    if (den->n == 0) return n;
    return tree_2(p, T_HDIV, n, den->n == 1 ? den->t[0] : tree_new(p, T_HADAMARD, den->n, den->t));
}

bool product_factor(pr *p, product *q, tree *t)
{
    if (!t) return false;
    switch (t->kind) {
    case T_NEG:
        q->coefficient = -q->coefficient;
        return product_factor(p, q, t->kid[0]);
    case T_NUMBER: {
        double c = q->coefficient * t->number;
        if (fabs(q->coefficient) != 1 && fabs(t->number) != 1 && c / t->number != q->coefficient)
            break; /* would round */
        q->coefficient = c;
        return true;
    }
    case T_DIV: return product_factor(p, q, t->kid[0]) && product_divide(p, q, t->kid[1]);
    case T_MUL:
        if (t->op == TREE_CHAIN) break; /* a matrix product that is a scalar stays together */
        for (uint32_t i = 0; i < t->n; i++)
            if (!product_factor(p, q, t->kid[i])) return false;
        return true;
    default: break;
    }
    return list_add(p, &q->num, t);
}

bool product_divide(pr *p, product *q, tree *t)
{
    if (!t) return false;
    switch (t->kind) {
    case T_NEG:
        q->coefficient = -q->coefficient;
        return product_divide(p, q, t->kid[0]);
    case T_DIV: return product_divide(p, q, t->kid[0]) && product_factor(p, q, t->kid[1]);
    case T_MUL:
        if (t->op == TREE_CHAIN) break;
        for (uint32_t i = 0; i < t->n; i++)
            if (!product_divide(p, q, t->kid[i])) return false;
        return true;
    default: break;
    }
    return list_add(p, &q->den, t);
}

/* One tree out of factors; a matrix product alone beside a number is not bracketed: 2*x'*A*y. */
static tree *multiply(pr *p, tree *number, const tree_list *l, tree *last)
{
    tree_list all = {0};
    unsigned n = l->n + (last != NULL);
    uint32_t scalars = 0;
    if (number && !list_add(p, &all, number)) return NULL;
    for (uint32_t i = 0; i < n; i++) {
        tree *t = i < l->n ? l->t[i] : last;
        if (t == last) scalars = all.n;
        if (t->kind == T_MUL && (n == 1 || t == last)) {
            for (uint32_t k = 0; k < t->n; k++)
                if (!list_add(p, &all, t->kid[k])) return NULL;
        } else if (!list_add(p, &all, t)) {
            return NULL;
        }
    }
    if (all.n == 0) return tree_number(p, 1);
    if (all.n == 1) return all.t[0];
    tree *t = tree_new(p, T_MUL, all.n, all.t);
    if (t && last) {
        t->op = TREE_TENSOR;
        t->order = scalars;
    }
    return t;
}

static bool is_delta(const tree *t) { return t->kind == T_CALL && t->op != CR_OP_CALL && !strcmp(t->name, "delta"); }

/* delta(i,j)*x[k]: as one writes it. */
static void deltas_first(tree_list *l)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->n; i++) {
        if (!is_delta(l->t[i])) continue;
        tree *t = l->t[i];
        memmove(l->t + n + 1, l->t + n, (i - n) * sizeof *l->t);
        l->t[n++] = t;
    }
}

tree *product_tree(pr *p, product *q, tree *tensor)
{
    if (pr_failed(p)) return NULL;
    double c = fabs(q->coefficient), a = 1, b = 1;
    deltas_first(&q->num);
    tree *top = NULL, *bottom = NULL;
    bool empty = q->num.n == 0 && !tensor;
    if (tensor && tensor->kind == T_NEG) {
        q->coefficient = -q->coefficient;
        tensor = tensor->kid[0];
    }
    if (isfinite(c) && c != 1 && as_fraction(c, &a, &b)) {
        if (a != 1 && !(top = magnitude(p, a))) return NULL;
        if (!(bottom = magnitude(p, b))) return NULL;
    } else if (c != 1 && !(top = tree_number(p, c))) {
        return NULL;
    }
    if (empty && !top && !(top = magnitude(p, 1))) return NULL;
    /* elementwise quotients keep the coefficient in the numerator: 2*x ./ y */
    tree *t = multiply(p, top, &q->num, tensor);
    if (bottom || q->den.n) t = tree_2(p, T_DIV, t, multiply(p, bottom, &q->den, NULL));
    return signbit(q->coefficient) ? tree_neg(p, t) : t;
}
