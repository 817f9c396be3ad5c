/* From expressions to layout trees: every operator but einsum, in matrix form (pr_whole) and entry by entry (pr_entry).
 */
#include "graph/window.h"
#include "lang/print.h"

#include <math.h>
#include <string.h>

/* ---- pieces ------------------------------------------------------------------------------------ */

bool pr_is_broadcast(const pr *p, cr_ref r)
{
    const cr_shape *s = shape_of(p->g, r);
    const cr_node *nd = node(p->g, r);
    if (s->rank == 0 || nd->op != CR_OP_EINSUM) return false;
    for (unsigned k = 0; k < nd->n_attr; k++)
        if (nd->word[nd->n_in + k] < s->rank) return false;
    return true;
}

tree *pr_broadcast(pr *p, cr_ref r)
{
    cr_dim none[CR_MAX_RANK] = {0}; /* no operand has a label of the result, so none is looked at */
    if (!pr_is_broadcast(p, r)) return NULL;
    const cr_node *nd = node(p->g, r);
    if (nd->n_in == 1 && is_scalar(p->g, nd->word[0])) return pr_whole(p, nd->word[0]);
    return pr_einsum_entry(p, r, none, false);
}

/* Operand i of an element-wise operator, whole (index NULL) or its entry. A repeated scalar is written as a scalar if
 * another operand says the shape; if all are repeated, the first one keeps its shape. */
static tree *argument(pr *p, cr_ref r, uint32_t i, const cr_dim *index)
{
    const cr_node *nd = node(p->g, r);
    if (index) return pr_entry(p, nd->word[i], index, false);
    if (!pr_is_broadcast(p, nd->word[i])) return pr_whole(p, nd->word[i]);
    bool said = i > 0;
    for (uint32_t k = 1; k < nd->n_in && !said; k++) said = !pr_is_broadcast(p, nd->word[k]);
    return said ? pr_broadcast(p, nd->word[i]) : pr_whole(p, nd->word[i]);
}

static tree *power(pr *p, tree *base, tree *exponent, bool scalar)
{
    if (exponent && exponent->kind == T_NUMBER && exponent->number == 1) return base;
    return tree_2(p, scalar ? T_POW : T_HPOW, base, exponent);
}

static bool const_exponent(const pr *p, cr_ref r, double *c)
{
    return op_of(p->g, r) == CR_OP_POW && is_const(p->g, in_of(p->g, r, 1), c);
}

/* Greatest care for reading: a constant belongs on the right of a comparison. */
static tree *comparison(pr *p, cr_op op, tree *a, tree *b)
{
    static const unsigned flip[] = {
        [CR_OP_LT] = GREATER, [CR_OP_LE] = GREATER_EQUAL, [CR_OP_EQ] = CR_OP_EQ, [CR_OP_NE] = CR_OP_NE};
    if (!a || !b) return NULL;
    bool number = a->kind == T_NUMBER || (a->kind == T_NEG && a->kid[0]->kind == T_NUMBER);
    return number && b->kind != T_NUMBER ? tree_compare(p, flip[op], b, a) : tree_compare(p, op, a, b);
}

static tree *negation(pr *p, tree *a)
{
    static const unsigned opposite[] = {[CR_OP_LT] = GREATER_EQUAL, [CR_OP_LE] = GREATER, [CR_OP_EQ] = CR_OP_NE,
                                        [CR_OP_NE] = CR_OP_EQ, [GREATER] = CR_OP_LE, [GREATER_EQUAL] = CR_OP_LT};
    if (!a) return NULL;
    if (a->kind == T_COMPARE && a->op != CR_OP_EQ && a->op != CR_OP_NE)
        return tree_1(p, T_NOT, a); /* NaN: not (a < b) is not a >= b */
    return a->kind == T_COMPARE ? tree_compare(p, opposite[a->op], a->kid[0], a->kid[1]) : tree_1(p, T_NOT, a);
}

static tree *logic(pr *p, tree_kind kind, tree *a, tree *b)
{
    tree_list l = {0};
    tree *side[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        if (!side[i]) return NULL;
        bool same = side[i]->kind == (uint8_t)kind;
        for (uint32_t k = 0; k < (same ? side[i]->n : 1); k++)
            if (!list_add(p, &l, same ? side[i]->kid[k] : side[i])) return NULL;
    }
    return tree_new(p, kind, l.n, l.t);
}

/* (index, lo, hi)..., body */
static tree *big(pr *p, tree_kind kind, unsigned op, unsigned n, const cr_dim *symbol, const cr_dim *lo,
                 const cr_dim *hi, tree *body)
{
    tree *kid[3 * (CR_MAX_RANK + 1) + 1];
    if (!body) return NULL;
    if (kind == T_BIG && n == 1 && op != CR_BIND_CHAIN && body->kind == T_BIG && body->op == op &&
        body->n < 3 * CR_MAX_RANK) { /* one sum over i and j */
        for (uint32_t k = 0; k < body->n; k++) kid[3 + k] = body->kid[k];
        kid[0] = tree_dim(p, symbol[0]), kid[1] = tree_dim(p, lo[0]), kid[2] = tree_dim(p, hi[0]);
        tree *t = tree_new(p, kind, body->n + 3, kid);
        if (t) t->op = (uint16_t)op;
        return t;
    }
    for (unsigned k = 0; k < n; k++) {
        kid[3 * k] = tree_dim(p, symbol[k]);
        kid[3 * k + 1] = tree_dim(p, lo[k]);
        kid[3 * k + 2] = tree_dim(p, hi[k]);
    }
    kid[3 * n] = body;
    tree *t = tree_new(p, kind, 3 * n + 1, kid);
    if (t) t->op = (uint16_t)op;
    return t;
}

typedef struct binder {
    cr_dim symbol, lo, hi;
} binder;

/* [i=1..m, j=1..n : entry], or all(i=1..m, j=1..n, entry). The axes from `from` on run; those before are given. first:
 * an axis before all of them (NULL: none). */
static tree *over_axes(pr *p, tree_kind kind, unsigned op, cr_ref r, unsigned from, const cr_dim *given, bool top,
                       const binder *first)
{
    const cr_shape *s = shape_of(p->g, r);
    cr_dim index[CR_MAX_RANK], one[CR_MAX_RANK];
    if (from) memcpy(index, given, from * sizeof *index);
    unsigned made = from;
    for (; made < s->rank; made++) {
        one[made] = dim_const(p->g->dims, 1);
        if (!(index[made] = pr_fresh_index(p))) break;
    }
    tree *t = NULL;
    if (made < s->rank) pr_fail(p, CR_ENOMEM, "out of memory");
    else {
        cr_dim symbol[CR_MAX_RANK + 1], lo[CR_MAX_RANK + 1], hi[CR_MAX_RANK + 1];
        unsigned n = 0;
        if (first) symbol[n] = first->symbol, lo[n] = first->lo, hi[n++] = first->hi;
        for (unsigned k = from; k < s->rank; k++) symbol[n] = index[k], lo[n] = one[k], hi[n++] = s->dim[k];
        t = big(p, kind, op, n, symbol, lo, hi, pr_entry(p, r, index, top));
    }
    while (made-- > from) pr_drop_index(p);
    return t;
}

tree *pr_builder(pr *p, cr_ref r, bool top) { return over_axes(p, T_BUILDER, 0, r, 0, NULL, top, NULL); }

/* ---- operators --------------------------------------------------------------------------------- */

static tree *leaf(pr *p, cr_ref r, const cr_dim *index)
{
    cr_graph *g = p->g;
    const cr_shape *s = shape_of(g, r);
    tree *arg[2];
    tree *t;
    switch (op_of(g, r)) {
    case CR_OP_PARAM:
        t = tree_name(p, name_text(g->dims, attr_of(g, r, 0)));
        if (index && family_first(g, r)) { /* its member first */
            cr_dim at = dim_sub(g->dims, dim_add(g->dims, index[0], family_first(g, r)), dim_const(g->dims, 1));
            return tree_index(p, tree_index(p, t, 1, &at), s->rank - 1u, index + 1);
        }
        return index ? tree_index(p, t, s->rank, index) : t;
    case CR_OP_PICK:
    case CR_OP_MEMBER: {
        bool pick = op_of(g, r) == CR_OP_PICK;
        cr_dim at = attr_of(g, r, pick ? 0 : 1);
        t = tree_name(p, name_text(g->dims, pick ? attr_of(g, in_of(g, r, 0), 0) : g->family[attr_of(g, r, 0)].name));
        t = tree_index(p, t, 1, &at);
        return index ? tree_index(p, t, s->rank, index) : t;
    }
    case CR_OP_CONST:
        if (s->dtype == CR_BOOL) return tree_name(p, attr_double(g, r, 0) != 0 ? "true" : "false");
        return tree_number(p, attr_double(g, r, 0));
    case CR_OP_INT: return tree_dim(p, attr_of(g, r, 0));
    case CR_OP_ONEHOT:
    case CR_OP_IDENTITY: {
        bool onehot = op_of(g, r) == CR_OP_ONEHOT;
        if (!index) {
            arg[0] = onehot ? tree_dim(p, attr_of(g, r, 0)) : tree_dim(p, s->dim[0]);
            arg[1] = onehot ? tree_dim(p, s->dim[0]) : arg[0];
        } else {
            cr_dim a = index[0], b = onehot ? attr_of(g, r, 0) : index[1];
            int64_t gap;
            if (dim_value(g->dims, dim_sub(g->dims, a, b), &gap)) return tree_number(p, gap == 0);
            if (onehot && !dim_is_symbol(g->dims, a, &(dim_sym){0})) { /* as written: the index first */
                cr_dim swap = a;
                a = b;
                b = swap;
            }
            arg[0] = tree_dim(p, a);
            arg[1] = tree_dim(p, b);
        }
        t = tree_call(p, index ? "delta" : onehot ? "e" : "I", index || onehot ? 2 : 1, arg);
        if (t && !index) t->op = (uint16_t)op_of(g, r);
        return t;
    }
    case CR_OP_IOTA:
        if (index) return tree_dim(p, index[0]);
        arg[0] = tree_dim(p, s->dim[0]);
        return tree_call(p, "iota", 1, arg);
    default: return pr_fail(p, CR_EINTERNAL, "an operator that the printer does not know");
    }
}

static tree *bind(pr *p, cr_ref r, const cr_dim *index)
{
    cr_graph *g = p->g;
    cr_bind_kind kind = (cr_bind_kind)attr_of(g, r, 0);
    cr_dim symbol = attr_of(g, r, 1), lo = attr_of(g, r, 2), hi = attr_of(g, r, 3);
    cr_ref body = in_of(g, r, 0);
    dim_sym s;
    if (kind == CR_BIND_CHAIN) { /* the highest index is leftmost */
        tree *t = big(p, T_BIG, kind, 1, &symbol, &hi, &lo, pr_whole(p, body));
        if (t && !graph_runs_down(g, hi, lo)) t->dim = dim_const(g->dims, -1);
        return index ? tree_index(p, t, 2, index) : t;
    }
    /* entry by entry and not ordered: written so */
    if (kind == CR_BIND_PROD && !index && cr_rank(g, r) == 2) return pr_builder(p, r, true);
    if (kind != CR_BIND_STACK)
        return big(p, T_BIG, kind, 1, &symbol, &lo, &hi, index ? pr_entry(p, body, index, true) : pr_whole(p, body));
    if (index) { /* axis index 1 is the symbol's value lo */
        cr_dim at = dim_sub(g->dims, dim_add(g->dims, index[0], lo), dim_const(g->dims, 1));
        if (!at || !dim_is_symbol(g->dims, symbol, &s)) return NULL;
        cr_ref picked = graph_subst_symbol(g, body, s, at);
        return picked ? pr_entry(p, picked, index + 1, true) : NULL;
    }
    return over_axes(p, T_BUILDER, 0, body, 0, NULL, true, &(binder){symbol, lo, hi});
}

static tree *softmax(pr *p, cr_ref r, const cr_dim *index)
{
    cr_ref a = in_of(p->g, r, 0);
    unsigned rank = shape_of(p->g, r)->rank, axis = attr_of(p->g, r, 0);
    cr_op op = op_of(p->g, r);
    if (rank <= 2) {
        tree *t = pr_whole(p, a);
        t = axis == 0 ? tree_op(p, op, t) : tree_transpose(p, tree_op(p, op, tree_transpose(p, t)));
        return index ? tree_index(p, t, rank, index) : t;
    }
    if (!index) return pr_builder(p, r, true);
    cr_dim inner[CR_MAX_RANK], k = pr_fresh_index(p), one = dim_const(p->g->dims, 1);
    if (!k) return pr_fail(p, CR_ENOMEM, "out of memory");
    memcpy(inner, index, rank * sizeof *inner);
    inner[axis] = k;
    tree *line = big(p, T_BUILDER, 0, 1, &k, &one, &shape_of(p->g, a)->dim[axis], pr_entry(p, a, inner, false));
    pr_drop_index(p);
    return tree_index(p, tree_op(p, op, line), 1, &index[axis]);
}

static tree *reduction(pr *p, cr_ref r, const cr_dim *index)
{
    cr_ref a = in_of(p->g, r, 0);
    cr_op op = op_of(p->g, r);
    unsigned keep = attr_of(p->g, r, 0), rank = shape_of(p->g, a)->rank;
    if (keep && !index) return pr_builder(p, r, true);
    if (op == CR_OP_ALLR || op == CR_OP_ANYR)
        return over_axes(p, T_BIG, op == CR_OP_ALLR ? CR_BIND_ALL : CR_BIND_ANY, a, keep, index, false, NULL);
    if (keep == 0 && rank <= 2) return tree_op(p, op, pr_whole(p, a));
    return tree_op(p, op, over_axes(p, T_BUILDER, 0, a, keep, index, false, NULL));
}

static tree *stack(pr *p, cr_ref r, const cr_dim *index)
{
    cr_graph *g = p->g;
    const cr_node *nd = node(g, r);
    const cr_shape *s = shape_of(g, r);
    int64_t at = 0, v, n, columns = 1;
    bool fixed = index != NULL;
    for (unsigned k = 0; k < s->rank && fixed; k++) {
        fixed = dim_value(g->dims, index[k], &v) && dim_value(g->dims, s->dim[k], &n) && v >= 1 && v <= n;
        if (fixed) at = at * n + v - 1;
    }
    if (fixed && at < (int64_t)nd->n_in) return pr_entry(p, nd->word[at], NULL, false);
    tree_list l = {0};
    for (uint32_t i = 0; i < nd->n_in; i++)
        if (!list_add(p, &l, pr_whole(p, nd->word[i]))) return NULL;
    if (s->rank == 2) dim_value(g->dims, s->dim[1], &columns);
    tree *t;
    if (s->rank == 2 && columns > 1 && columns < (int64_t)nd->n_in) {
        t = tree_new(p, T_MATRIX, l.n, l.t);
        if (t) t->order = (uint32_t)columns;
    } else {
        t = tree_new(p, T_VECTOR, l.n, l.t);
        if (t && s->rank == 2 && columns > 1) t = tree_transpose(p, t);
        else if (s->rank != 1) {
            tree *arg[CR_MAX_RANK + 1] = {t};
            for (unsigned k = 0; k < s->rank; k++) arg[k + 1] = tree_dim(p, s->dim[k]);
            t = tree_call(p, "reshape", s->rank + 1u, arg);
        }
    }
    return index ? tree_index(p, t, s->rank, index) : t;
}

static tree *reshape(pr *p, cr_ref r)
{
    cr_graph *g = p->g;
    const cr_shape *s = shape_of(g, r);
    cr_ref a = in_of(g, r, 0);
    const cr_node *nd = node(g, a);
    if (s->rank == 1 && shape_of(g, a)->rank == 2) { /* vec stacks columns: the rows of the transpose */
        cr_ref t = CR_NONE;
        if (nd->op == CR_OP_EINSUM && nd->n_in == 1 && nd->n_attr == 2 && nd->word[1] == 1 && nd->word[2] == 0)
            t = nd->word[0];
        tree *arg = t ? pr_whole(p, t) : tree_transpose(p, pr_whole(p, a));
        return tree_call(p, "vec", 1, &arg);
    }
    tree *t = pr_kron(p, r);
    if (t || pr_failed(p)) return t;
    tree *arg[CR_MAX_RANK + 1] = {pr_whole(p, a)};
    for (unsigned k = 0; k < s->rank; k++) arg[k + 1] = tree_dim(p, s->dim[k]);
    return tree_call(p, "reshape", s->rank + 1u, arg);
}

/* gather(a, index, axis=2), scatter(a, index, size=n, axis=2) */
static tree *gather(pr *p, cr_ref r)
{
    unsigned axis = attr_of(p->g, r, 0), n = 0;
    tree *arg[4];
    for (; n < 2; n++) arg[n] = pr_whole(p, in_of(p->g, r, n));
    if (op_of(p->g, r) == CR_OP_SCATTER) arg[n++] = tree_option(p, "size", shape_of(p->g, r)->dim[axis]);
    if (axis) arg[n++] = tree_option(p, "axis", dim_const(p->g->dims, (int64_t)axis + 1));
    return tree_call(p, op_get(op_of(p->g, r))->spelling, n, arg);
}

static tree *addition(pr *p, cr_ref r, const cr_dim *index, bool top)
{
    const cr_node *nd = node(p->g, r);
    tree_list l = {0};
    for (uint32_t i = 0; i < nd->n_in; i++)
        if (!list_add(p, &l, index ? pr_entry(p, nd->word[i], index, top) : argument(p, r, i, NULL))) return NULL;
    return tree_sum(p, l.n, l.t);
}

/* A sum is indexed term by term only if no term is a contraction: (W*x + b)[1], but 1 - s[1]. */
static bool sum_takes_index(const pr *p, cr_ref r)
{
    const cr_node *nd = node(p->g, r);
    if (shape_of(p->g, r)->rank > 2) return true;
    for (uint32_t i = 0; i < nd->n_in; i++) {
        cr_ref t = nd->word[i];
        switch (op_of(p->g, t)) {
        case CR_OP_EINSUM:
            if (pr_einsum_sums(p, t) && !pr_is_broadcast(p, t) && !pr_einsum_selects(p, t)) return false;
            break;
        case CR_OP_ADD:
            if (p->depth < PR_MAX_DEPTH && !sum_takes_index(p, t)) return false;
            break;
        default: break;
        }
    }
    return true;
}

static tree *call(pr *p, cr_ref r, tree *arg)
{
    tree *t = tree_call(p, name_text(p->g->dims, p->g->fun[attr_of(p->g, r, 0)].name), 1, &arg);
    if (!t) return NULL;
    t->op = CR_OP_CALL;
    t->order = attr_of(p->g, r, 1);
    return t;
}

/* delta(i,j) of two indices whose range is not known: if(i == j, 1, 0). NULL if it is another choice. */
static tree *open_delta(pr *p, cr_ref r)
{
    cr_graph *g = p->g;
    cr_ref c = in_of(g, r, 0);
    cr_dim i, j;
    double one, zero;
    if (shape_of(g, r)->rank || op_of(g, c) != CR_OP_EQ || !is_const(g, in_of(g, r, 1), &one) || one != 1) return NULL;
    if (!is_const(g, in_of(g, r, 2), &zero) || zero != 0 || !as_dim(g, in_of(g, c, 0), &i) ||
        !as_dim(g, in_of(g, c, 1), &j))
        return NULL;
    return tree_call(p, "delta", 2, (tree *[]){tree_dim(p, i), tree_dim(p, j)});
}

/* Is the condition c of a tensor written without its axes? */
static bool written_once(pr *p, cr_ref c)
{
    const cr_node *nd = node(p->g, c);
    cr_op op = (cr_op)nd->op;
    if (is_scalar(p->g, c)) return true;
    if (op == CR_OP_AND || op == CR_OP_OR) return written_once(p, nd->word[0]) && written_once(p, nd->word[1]);
    return op_get(op)->kind == KIND_CMP && nd->n_in == 2 && pr_is_broadcast(p, nd->word[0]) &&
           pr_is_broadcast(p, nd->word[1]);
}

/* The condition of a choice. One that is the same for all entries is written once: if(k == 1, A, B). */
static tree *choice(pr *p, cr_ref r, cr_ref c, const cr_dim *index)
{
    cr_graph *g = p->g;
    const cr_node *nd = node(g, c);
    cr_op op = (cr_op)nd->op;
    if (index || is_scalar(g, c)) return argument(p, r, 0, index);
    if (op == CR_OP_AND || op == CR_OP_OR) {
        tree *a = choice(p, r, nd->word[0], NULL);
        return logic(p, op == CR_OP_AND ? T_AND : T_OR, a, choice(p, r, nd->word[1], NULL));
    }
    if (op_get(op)->kind == KIND_CMP && nd->n_in == 2 && pr_is_broadcast(p, nd->word[0]) &&
        pr_is_broadcast(p, nd->word[1])) {
        tree *a = pr_broadcast(p, nd->word[0]);
        return comparison(p, op, a, pr_broadcast(p, nd->word[1]));
    }
    return pr_whole(p, c);
}

/* The operator r, whole (index NULL) or its entry. */
static tree *operator(pr *p, cr_ref r, const cr_dim *index, bool top)
{
    cr_graph *g = p->g;
    cr_op op = op_of(g, r);
    unsigned rank = shape_of(g, r)->rank;
    bool scalar = rank == 0 || index;
    product q = {.coefficient = 1};
    tree *a, *b;
    switch (op) {
    case CR_OP_PARAM: case CR_OP_CONST: case CR_OP_INT: case CR_OP_ONEHOT: case CR_OP_IDENTITY: case CR_OP_IOTA:
    case CR_OP_PICK: case CR_OP_MEMBER:
        return leaf(p, r, index);
    case CR_OP_EINSUM:
        if (index) return pr_einsum_entry(p, r, index, top);
        a = pr_einsum(p, r);
        if (a || pr_failed(p)) return a;
        return rank ? pr_builder(p, r, true) : pr_einsum_entry(p, r, NULL, true);
    case CR_OP_ADD:
        if (index && !top && r != p->spread && !sum_takes_index(p, r))
            return tree_index(p, pr_whole(p, r), rank, index);
        if (index && top && r != p->spread && p->form != LANG_COMPONENT && !sum_takes_index(p, r))
            return tree_index(p, pr_whole(p, r), rank, index);
        return addition(p, r, index, top);
    case CR_OP_DIV: {
        if (scalar) return pr_gather(p, &q, r, index, false) ? product_tree(p, &q, NULL) : NULL;
        a = argument(p, r, 0, NULL);
        b = argument(p, r, 1, NULL);
        if (!pr_is_broadcast(p, in_of(g, r, 1)) || pr_is_broadcast(p, in_of(g, r, 0))) return tree_2(p, T_HDIV, a, b);
        return product_divide(p, &q, b) ? product_tree(p, &q, a) : NULL;
    }
    case CR_OP_POW: {
        double c;
        if (scalar && const_exponent(p, r, &c) && c < 0)
            return pr_gather(p, &q, r, index, false) ? product_tree(p, &q, NULL) : NULL;
        a = argument(p, r, 0, index);
        if (!scalar && const_exponent(p, r, &c) && c < 0) {
            b = c == -0.5 ? tree_op(p, CR_OP_SQRT, a) : power(p, a, tree_number(p, -c), false);
            return tree_2(p, T_HDIV, tree_number(p, 1), b);
        }
        return power(p, a, argument(p, r, 1, index), scalar);
    }
    case CR_OP_MAX2: case CR_OP_MIN2: case CR_OP_MOD:
        a = argument(p, r, 0, index);
        b = tree_call(p, op_get(op)->spelling, 2, (tree *[]){a, argument(p, r, 1, index)});
        if (b) b->op = (uint16_t)op;
        return b;
    case CR_OP_SELECT:
        if ((a = open_delta(p, r)) || pr_failed(p)) return a;
        a = choice(p, r, in_of(g, r, 0), index);
        /* one of two numbers is a number: the axes must stand somewhere */
        b = !scalar && written_once(p, in_of(g, r, 0)) && pr_is_broadcast(p, in_of(g, r, 1)) &&
                    pr_is_broadcast(p, in_of(g, r, 2))
                ? pr_whole(p, in_of(g, r, 1))
                : argument(p, r, 1, index);
        return tree_new(p, T_IF, 3, (tree *[]){a, b, argument(p, r, 2, index)});
    case CR_OP_LT: case CR_OP_LE: case CR_OP_EQ: case CR_OP_NE:
        a = argument(p, r, 0, index);
        return comparison(p, op, a, argument(p, r, 1, index));
    case CR_OP_AND: case CR_OP_OR:
        a = argument(p, r, 0, index);
        return logic(p, op == CR_OP_AND ? T_AND : T_OR, a, argument(p, r, 1, index));
    case CR_OP_NOT: return negation(p, argument(p, r, 0, index));
    case CR_OP_DSIGMOID: /* s (1 - s) */
        if (scalar) return pr_gather(p, &q, r, index, false) ? product_tree(p, &q, NULL) : NULL;
        a = tree_op(p, CR_OP_SIGMOID, argument(p, r, 0, NULL));
        b = tree_sum(p, 2, (tree *[]){tree_number(p, 1), tree_neg(p, a)});
        return tree_2(p, T_HADAMARD, a, b);
    case CR_OP_DTANH: /* 1 - t^2 */
        a = power(p, tree_op(p, CR_OP_TANH, argument(p, r, 0, index)), tree_number(p, 2), scalar);
        return tree_sum(p, 2, (tree *[]){tree_number(p, 1), tree_neg(p, a)});
    case CR_OP_LEAKY_RELU: {
        double slope = attr_double(g, r, 0);
        a = argument(p, r, 0, index);
        if (slope == 0.01) return tree_op(p, op, a);
        b = tree_call(p, op_get(op)->spelling, 2, (tree *[]){a, tree_number(p, slope)});
        if (b) b->op = (uint16_t)op;
        return b;
    }
    case CR_OP_MAXR: case CR_OP_MINR: case CR_OP_PRODR: case CR_OP_ALLR: case CR_OP_ANYR:
    case CR_OP_NORM1: case CR_OP_NORM2: case CR_OP_NORM_INF:
        return reduction(p, r, index);
    case CR_OP_SOFTMAX: case CR_OP_LOGSOFTMAX: return softmax(p, r, index);
    case CR_OP_RESHAPE: a = reshape(p, r); return index ? tree_index(p, a, rank, index) : a;
    case CR_OP_STACK: return stack(p, r, index);
    case CR_OP_GATHER: case CR_OP_SCATTER: a = gather(p, r); return index ? tree_index(p, a, rank, index) : a;
    case CR_OP_CONV: case CR_OP_WINDOW: case CR_OP_MAXPOOL: case CR_OP_MAXTIES: case CR_OP_MAXPICK:
        return pr_window(p, r, index);
    case CR_OP_DET: case CR_OP_LOGDET: case CR_OP_INV: case CR_OP_PINV: case CR_OP_ADJ:
        a = tree_op(p, op, pr_whole(p, in_of(g, r, 0)));
        return index ? tree_index(p, a, rank, index) : a;
    case CR_OP_MATPOW:
        a = pr_whole(p, in_of(g, r, 0));
        a = tree_2(p, T_POW, a, tree_dim(p, attr_of(g, r, 0)));
        return index ? tree_index(p, a, rank, index) : a;
    case CR_OP_CALL: return call(p, r, argument(p, r, 0, index));
    case CR_OP_BIND: return bind(p, r, index);
    default: /* the element-wise functions of one argument */
        return tree_op(p, op, argument(p, r, 0, index));
    }
}

/* ---- entry points ------------------------------------------------------------------------------ */

static bool deeper(pr *p)
{
    if (p->depth < PR_MAX_DEPTH) return p->depth++, true;
    pr_fail(p, CR_ELIMIT, "the expression is nested too deeply to print: more than 1000 levels");
    return false;
}

/* An element-wise operator over operands without a matrix form is a tensor of entries instead. */
static bool has_builder(const tree *t)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (t->kid[i]->kind == T_BUILDER) return true;
    return false;
}

static bool is_elementwise(cr_op op)
{
    op_kind k = op_get(op)->kind;
    return k == KIND_MAP1 || k == KIND_MAP2 || k == KIND_CMP || op == CR_OP_ADD || op == CR_OP_SELECT ||
           op == CR_OP_CALL;
}

tree *pr_whole(pr *p, cr_ref r)
{
    if (r < p->memo_cap && p->memo[r]) return p->memo[r];
    if (!deeper(p)) return NULL;
    unsigned rank = shape_of(p->g, r)->rank;
    tree *t = operator(p, r, NULL, false);
    if (t && rank && is_elementwise(op_of(p->g, r)) && has_builder(t)) {
        cr_ref outer = p->spread;
        p->spread = r;
        t = pr_builder(p, r, false);
        p->spread = outer;
    }
    p->depth--;
    if (!t) return NULL;
    if (rank == 2) t->symmetric = calc_is_symmetric(p->g, r);
    size_t old = p->memo_cap;
    if (!VEC_RESERVE(p->memo, p->memo_cap, (size_t)r + 1)) return pr_fail(p, CR_ENOMEM, "out of memory");
    if (p->memo_cap > old) memset(p->memo + old, 0, (p->memo_cap - old) * sizeof *p->memo);
    return p->memo[r] = t;
}

tree *pr_entry(pr *p, cr_ref r, const cr_dim *index, bool top)
{
    if (shape_of(p->g, r)->rank == 0) return pr_whole(p, r);
    if (!deeper(p)) return NULL;
    tree *t = operator(p, r, index, top);
    p->depth--;
    return t;
}

bool pr_gather(pr *p, product *q, cr_ref r, const cr_dim *index, bool top)
{
    cr_graph *g = p->g;
    double c;
    if (shape_of(g, r)->rank == 0) index = NULL;
    if (!deeper(p)) return false;
    bool ok;
    switch (op_of(g, r)) {
    case CR_OP_DIV: {
        product below = {.coefficient = 1};
        ok = pr_gather(p, q, in_of(g, r, 0), index, top) && pr_gather(p, &below, in_of(g, r, 1), index, false) &&
             product_divide(p, q, product_tree(p, &below, NULL));
        break;
    }
    case CR_OP_POW:
        if (const_exponent(p, r, &c) && c < 0) {
            tree *base = argument(p, r, 0, index);
            ok = product_divide(p, q,
                                c == -0.5 ? tree_op(p, CR_OP_SQRT, base) : power(p, base, tree_number(p, -c), true));
            break;
        }
        ok = product_factor(p, q, operator(p, r, index, top));
        break;
    case CR_OP_DSIGMOID: {
        tree *s = tree_op(p, CR_OP_SIGMOID, argument(p, r, 0, index));
        ok = product_factor(p, q, s) &&
             product_factor(p, q, tree_sum(p, 2, (tree *[]){tree_number(p, 1), tree_neg(p, s)}));
        break;
    }
    default: ok = product_factor(p, q, index ? operator(p, r, index, top) : pr_whole(p, r)); break;
    }
    p->depth--;
    return ok;
}

tree *pr_root(pr *p, cr_ref r)
{
    unsigned rank = shape_of(p->g, r)->rank;
    bool builder = rank > 2 || (rank > 0 && p->form == LANG_COMPONENT);
    cr_op op = op_of(p->g, r);
    bool is_builder = op == CR_OP_BIND && attr_of(p->g, r, 0) == CR_BIND_STACK;
    bool named = is_window(op) && p->form != LANG_COMPONENT;
    if (!builder || op == CR_OP_PARAM || is_builder || named) return pr_whole(p, r);
    return pr_builder(p, r, true);
}
