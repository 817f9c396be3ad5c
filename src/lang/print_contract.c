/* Products over labels as matrix expressions: what people write is found step by step, vectors first: x'*A*y,
 * W'*(a .* s), diag(s)*W, u*v'. */
#include "lang/print.h"

#include <string.h>

enum { NO_LABEL = -1, MAX_TERMS = 128 };

/* A matrix with rows `l` and columns `r`; a column vector has r == NO_LABEL. It is a matrix product of `chain`, or, if
 * `num` or `den` have members, their element-wise quotient. */
typedef struct term {
    int l, r;
    uint32_t place; /* of its first operand as written */
    bool identity;
    tree_list chain, num, den;
} term;

typedef struct reduction {
    pr *p;
    const contraction *c;
    product *q;
    unsigned n;
    term t[MAX_TERMS];
    bool plain; /* a matrix product and nothing else */
} reduction;

/* ---- terms ------------------------------------------------------------------------------------- */

static bool is_vector(const term *t) { return t->r == NO_LABEL; }
static bool has(const term *t, int label) { return t->l == label || t->r == label; }
static bool is_hadamard(const term *t) { return t->num.n + t->den.n > 0; }

/* The term as one tree. */
static tree *term_tree(reduction *d, const term *t)
{
    if (is_hadamard(t)) return tree_hadamard(d->p, &t->num, &t->den);
    if (t->chain.n == 1) return t->chain.t[0];
    tree *m = tree_new(d->p, T_MUL, t->chain.n, t->chain.t);
    if (m) m->op = TREE_CHAIN; /* belongs together */
    return m;
}

static bool set_chain(reduction *d, term *t, tree *m)
{
    t->num.n = t->den.n = 0;
    t->chain = (tree_list){0};
    return list_add(d->p, &t->chain, m);
}

static bool as_chain(reduction *d, term *t) { return !is_hadamard(t) || set_chain(d, t, term_tree(d, t)); }

/* (A B)' = B' A'. */
static bool flip(reduction *d, term *t)
{
    if (!as_chain(d, t)) return false;
    tree_list l = {0};
    for (uint32_t i = t->chain.n; i > 0; i--)
        if (!list_add(d->p, &l, tree_transpose(d->p, t->chain.t[i - 1]))) return false;
    t->chain = l;
    int swap = t->l;
    t->l = t->r;
    t->r = swap;
    return true;
}

static unsigned transposes(const term *t)
{
    unsigned n = 0;
    for (uint32_t i = 0; i < t->chain.n; i++) n += t->chain.t[i]->kind == T_TRANSPOSE;
    return n;
}

static void remove_term(reduction *d, unsigned i)
{
    d->n--;
    memmove(d->t + i, d->t + i + 1, (d->n - i) * sizeof d->t[0]);
}

static bool is_out(const reduction *d, int label)
{
    for (unsigned k = 0; k < d->c->rank; k++)
        if ((int)d->c->out[k] == label) return true;
    return false;
}

static unsigned carriers(const reduction *d, int label)
{
    unsigned n = 0;
    for (unsigned i = 0; i < d->n; i++) n += has(&d->t[i], label);
    return n;
}

static bool put_scalar(reduction *d, tree *t) { return product_factor(d->p, d->q, t); }

static tree *call_1(reduction *d, const char *name, tree *a) { return tree_call(d->p, name, 1, &a); }

static tree *ones(reduction *d, int label)
{
    return call_1(d, "ones", tree_dim(d->p, d->c->size[label]));
}

/* a b, where a ends with the label (or NO_LABEL) that b starts with. */
static bool append(reduction *d, term *a, term *b)
{
    if (!as_chain(d, a) || !as_chain(d, b)) return false;
    for (uint32_t i = 0; i < b->chain.n; i++)
        if (!list_add(d->p, &a->chain, b->chain.t[i])) return false;
    a->r = b->r;
    if (b->place < a->place) a->place = b->place;
    return true;
}

static bool copy_chain(reduction *d, term *to, const term *from)
{
    *to = *from;
    to->chain = (tree_list){0};
    for (uint32_t i = 0; i < from->chain.n; i++)
        if (!list_add(d->p, &to->chain, from->chain.t[i])) return false;
    return true;
}

/* Of a product and its transpose (which is as good), the one with fewer transposes; as written if equal. */
static bool fewer_transposes(reduction *d, term *t)
{
    term other;
    if (!as_chain(d, t) || !copy_chain(d, &other, t) || !flip(d, &other)) return false;
    if (transposes(&other) < transposes(t)) *t = other;
    return true;
}

/* ---- steps ------------------------------------------------------------------------------------- */
/* Each returns 1 if it did something, 0 if it does not apply, -1 on error. The order in reduce() is the strategy. */

/* A_aa: the diagonal, or the trace. */
static int repeated_label(reduction *d)
{
    for (unsigned i = 0; i < d->n; i++) {
        term *t = &d->t[i];
        if (is_vector(t) || t->l != t->r) continue;
        if (!fewer_transposes(d, t)) return -1;
        tree *m = term_tree(d, t);
        if (!is_out(d, t->l) && carriers(d, t->l) == 1) {
            m = call_1(d, "tr", m);
            remove_term(d, i);
            return put_scalar(d, m) ? 1 : -1;
        }
        d->plain = false;
        t->r = NO_LABEL;
        return set_chain(d, t, call_1(d, "diag", m)) ? 1 : -1;
    }
    return 0;
}

/* A v, or v' A as A' v: the label is summed and nobody else has it. */
static int matrix_vector(reduction *d)
{
    for (unsigned i = 0; i < d->n; i++) {
        if (!is_vector(&d->t[i])) continue;
        int k = d->t[i].l;
        if (is_out(d, k) || carriers(d, k) != 2) continue;
        for (unsigned j = 0; j < d->n; j++) {
            term *a = &d->t[j], *v = &d->t[i];
            if (is_vector(a) || !has(a, k) || a->identity) continue;
            if (a->l == k && !flip(d, a)) return -1;
            if (!append(d, a, v)) return -1;
            remove_term(d, i);
            return 1;
        }
    }
    return 0;
}

static bool join(reduction *d, term *a, const term *b)
{
    tree_list none = {0};
    bool b_first = b->place < a->place;
    tree_list num = none, den = none;
    for (int side = 0; side < 2; side++) {
        const term *t = (side == 0) == b_first ? b : a;
        if (!is_hadamard(t) && !list_add(d->p, &num, term_tree(d, t))) return false;
        for (uint32_t i = 0; i < t->num.n; i++)
            if (!list_add(d->p, &num, t->num.t[i])) return false;
        for (uint32_t i = 0; i < t->den.n; i++)
            if (!list_add(d->p, &den, t->den.t[i])) return false;
    }
    a->num = num;
    a->den = den;
    a->chain = none;
    a->identity = false; /* A .* I */
    if (b_first) a->place = b->place;
    d->plain = false;
    return true;
}

/* u .* v where the label is still needed. */
static int vector_hadamard(reduction *d)
{
    for (unsigned i = 0; i < d->n; i++)
        for (unsigned j = i + 1; j < d->n; j++) {
            term *a = &d->t[i], *b = &d->t[j];
            if (!is_vector(a) || !is_vector(b) || a->l != b->l) continue;
            bool quotient = (a->den.n > 0) != (b->den.n > 0) && (a->num.n == 0 || b->num.n == 0);
            if (!is_out(d, a->l) && carriers(d, a->l) < 3 && !quotient) continue;
            if (!join(d, a, b)) return -1;
            remove_term(d, j);
            return 1;
        }
    return 0;
}

/* u' v */
static int dot(reduction *d)
{
    for (unsigned i = 0; i < d->n; i++)
        for (unsigned j = i + 1; j < d->n; j++) {
            if (!is_vector(&d->t[i]) || !is_vector(&d->t[j]) || d->t[i].l != d->t[j].l || is_out(d, d->t[i].l))
                continue;
            term a, b = d->t[j];
            if (d->t[j].place < d->t[i].place) {
                b = d->t[i];
                d->t[i] = d->t[j];
            }
            if (!as_chain(d, &d->t[i]) || !copy_chain(d, &a, &d->t[i]) || !flip(d, &a) || !append(d, &a, &b) ||
                !fewer_transposes(d, &a))
                return -1;
            tree *t = term_tree(d, &a);
            remove_term(d, j);
            remove_term(d, i);
            return put_scalar(d, t) ? 1 : -1;
        }
    return 0;
}

/* A label that only one term has, and that is summed: sum(v), sum(A), A*ones(n). */
static int sum_out(reduction *d)
{
    for (unsigned i = 0; i < d->n; i++) {
        term *t = &d->t[i];
        if (t->identity) continue;
        bool l = !is_out(d, t->l) && carriers(d, t->l) == 1;
        bool r = !is_vector(t) && !is_out(d, t->r) && carriers(d, t->r) == 1;
        if ((is_vector(t) && l) || (l && r)) {
            if (!is_hadamard(t) && !is_vector(t) && !fewer_transposes(d, t)) return -1;
            tree *s = call_1(d, "sum", term_tree(d, t));
            remove_term(d, i);
            return put_scalar(d, s) ? 1 : -1;
        }
        if (!l && !r) continue;
        if (l && !flip(d, t)) return -1;
        term one = {.l = t->r, .r = NO_LABEL, .place = t->place};
        d->plain = false;
        return set_chain(d, &one, ones(d, t->r)) && append(d, t, &one) ? 1 : -1;
    }
    return 0;
}

static bool is_function(const term *t)
{
    return is_hadamard(t) || (t->chain.n == 1 && (t->chain.t[0]->kind == T_CALL || t->chain.t[0]->kind == T_HPOW));
}

/* A .* B where the labels are still needed, or where a trace would read worse. */
static int matrix_hadamard(reduction *d)
{
    for (unsigned i = 0; i < d->n; i++)
        for (unsigned j = i + 1; j < d->n; j++) {
            term *a = &d->t[i], *b = &d->t[j];
            if (is_vector(a) || is_vector(b) || !has(a, b->l) || !has(a, b->r)) continue;
            bool only = !is_out(d, a->l) && !is_out(d, a->r) && carriers(d, a->l) == 2 && carriers(d, a->r) == 2;
            bool elementwise = a->l == b->l && (is_function(a) || is_function(b));
            if (only && !elementwise) continue; /* tr(A*B) */
            if (d->c->rank == 2 && (int)d->c->out[0] == a->r && !is_hadamard(a) && !flip(d, a)) return -1;
            if (a->l != b->l && !flip(d, b)) return -1;
            if (!join(d, a, b)) return -1;
            remove_term(d, j);
            return 1;
        }
    return 0;
}

/* A B */
static int matrix_matrix(reduction *d)
{
    for (unsigned i = 0; i < d->n; i++)
        for (int side = 0; side < 2; side++) {
            int k = side ? d->t[i].r : d->t[i].l;
            if (k == NO_LABEL || is_out(d, k) || carriers(d, k) != 2) continue;
            for (unsigned j = i + 1; j < d->n; j++) {
                term *a = &d->t[i], *b = &d->t[j];
                if (!has(b, k) || is_vector(b)) continue;
                if (a->r != k && b->r == k) { /* B A as it stands */
                    term swap = *a;
                    *a = *b;
                    *b = swap;
                }
                if (a->r != k && !flip(d, a)) return -1;
                if (b->l != k && !flip(d, b)) return -1;
                if (!append(d, a, b)) return -1;
                remove_term(d, j);
                return 1;
            }
        }
    return 0;
}

/* v_a with a matrix that has a: diag(v)*A; with the identity: diag(v). */
static int scale(reduction *d)
{
    for (unsigned i = 0; i < d->n; i++) /* v_b I_ab = v_a I_ab: one diagonal, not a product of two */
        for (unsigned j = 0; j < d->n && d->t[i].identity; j++)
            if (is_vector(&d->t[j]) && d->t[j].l == d->t[i].r && d->t[i].l != d->t[i].r) {
                d->t[j].l = d->t[i].l;
                return 1;
            }
    for (unsigned i = 0; i < d->n; i++) {
        if (!is_vector(&d->t[i])) continue;
        for (int want_identity = 1; want_identity >= 0; want_identity--)
            for (unsigned j = 0; j < d->n; j++) {
                term *v = &d->t[i], *a = &d->t[j];
                if (i == j || is_vector(a) || !has(a, v->l) || a->identity != (want_identity == 1)) continue;
                tree *t = call_1(d, "diag", term_tree(d, v));
                if (!t) return -1;
                t->op = CR_OP_EINSUM; /* symmetric, see tree_transpose */
                d->plain = false;
                if (a->identity) {
                    a->identity = false;
                    a->place = v->place;
                    if (!set_chain(d, a, t)) return -1;
                } else {
                    term s = {.l = v->l, .r = v->l, .place = v->place};
                    if (!set_chain(d, &s, t)) return -1;
                    if (a->l == v->l) {
                        if (!append(d, &s, a)) return -1;
                        *a = s;
                    } else if (!append(d, a, &s)) {
                        return -1;
                    }
                }
                remove_term(d, i);
                return 1;
            }
    }
    return 0;
}

static bool reduce(reduction *d)
{
    static int (*const step[])(reduction *) = {repeated_label, matrix_vector, vector_hadamard, dot,  sum_out,
                                               matrix_hadamard, matrix_matrix, scale};
    for (size_t i = 0; i < sizeof step / sizeof *step;) {
        int did = step[i](d);
        if (did < 0) return false;
        i = did ? 0 : i + 1;
    }
    return true;
}

/* ---- operands ---------------------------------------------------------------------------------- */

/* A summed label of size 1 that one operand has, once. */
static bool is_single(const reduction *d, uint32_t label)
{
    unsigned n = 0;
    if (is_out(d, (int)label) || d->c->size[label] != dim_const(d->p->g->dims, 1)) return false;
    for (uint32_t i = 0; i < d->c->n; i++)
        for (unsigned k = 0; k < shape_of(d->p->g, d->c->operand[i])->rank; k++) n += d->c->label[i][k] == label;
    return n == 1;
}

/* Operand i as a term, or as scalars in q; the entries that e(j,n) selects are taken here. at[l]: the index of a
 * selected label, CR_NONE if it runs. */
static bool add_operand(reduction *d, uint32_t i, const cr_dim *at)
{
    pr *p = d->p;
    cr_ref r = d->c->operand[i];
    const uint32_t *label = d->c->label[i];
    unsigned rank = shape_of(p->g, r)->rank, selected = 0;
    cr_dim index[CR_MAX_RANK];
    for (unsigned k = 0; k < rank; k++) selected += (index[k] = at[label[k]]) != CR_NONE;
    if (selected == rank) return pr_gather(p, d->q, r, index, false); /* scalars too */
    if (rank > 2 || d->n == MAX_TERMS) return false;
    term t = {.l = (int)label[0], .r = rank == 2 ? (int)label[1] : NO_LABEL, .place = i};
    cr_op op = op_of(p->g, r);
    double c;
    t.identity = op == CR_OP_IDENTITY;
    if (op == CR_OP_POW && is_const(p->g, in_of(p->g, r, 1), &c) && c < 0) { /* x .^ -2: a denominator */
        tree *base = pr_whole(p, in_of(p->g, r, 0));
        if (base && c == -0.5) base = tree_op(p, CR_OP_SQRT, base);
        else if (base && c != -1) base = tree_2(p, T_HPOW, base, tree_number(p, -c));
        if (!list_add(p, &t.den, base)) return false;
    } else {
        tree *m = pr_whole(p, r);
        if (!m || m->kind == T_BUILDER) return false;
        if (m->kind == T_NEG) {
            d->q->coefficient = -d->q->coefficient;
            m = m->kid[0];
        }
        if (m->kind == T_DIV) { /* over a scalar */
            if (!product_divide(p, d->q, m->kid[1])) return false;
            m = m->kid[0];
        }
        bool quotient = m->kind == T_HDIV;
        const tree *above = quotient ? m->kid[0] : m;
        if (quotient || m->kind == T_HADAMARD) {
            if (!quotient || above->kind == T_HADAMARD) {
                for (uint32_t k = 0; k < above->n; k++)
                    if (!list_add(p, &t.num, above->kid[k])) return false;
            } else if (!tree_is_one(above) && !list_add(p, &t.num, m->kid[0])) {
                return false;
            }
            if (quotient && !list_add(p, &t.den, m->kid[1])) return false;
        } else if (m->kind == T_MUL) { /* (A B) C is A B C */
            uint32_t scalars = m->op == TREE_TENSOR ? m->order : 0;
            for (uint32_t k = 0; k < m->n; k++)
                if (!(k < scalars ? product_factor(p, d->q, m->kid[k]) : list_add(p, &t.chain, m->kid[k])))
                    return false;
        } else if (!list_add(p, &t.chain, m)) {
            return false;
        }
    }
    if (selected) { /* one of two labels: a row or a column */
        bool row = at[label[0]] != CR_NONE;
        int gone = row ? t.l : t.r;
        tree *arg[2] = {tree_dim(p, at[gone]), tree_dim(p, d->c->size[gone])};
        tree *e = tree_call(p, "e", 2, arg);
        term v = {.l = gone, .r = NO_LABEL, .place = i};
        if ((row && !flip(d, &t)) || !set_chain(d, &v, e) || !append(d, &t, &v)) return false;
    }
    if (!is_vector(&t) &&
        is_single(d, label[0])) { /* the sum over the one row of a 1 x n matrix: its transpose is a column */
        if (!flip(d, &t)) return false;
        t.r = NO_LABEL;
    }
    d->t[d->n++] = t;
    return true;
}

/* The terms that are left, in the order of the result's axes. */
static bool assemble(reduction *d, tree **tensor)
{
    pr *p = d->p;
    const contraction *c = d->c;
    cr_dim one = dim_const(p->g->dims, 1);
    if (c->rank == 0) return d->n == 0;
    int row = (int)c->out[0], column = c->rank == 2 ? (int)c->out[1] : NO_LABEL;
    if (d->n == 1 && d->t[0].l == row && d->t[0].r == column) {
        *tensor = term_tree(d, &d->t[0]);
        return true;
    }
    if (d->n == 1 && c->rank == 2 && d->t[0].l == column && d->t[0].r == row) {
        if (is_hadamard(&d->t[0])) *tensor = tree_transpose(p, term_tree(d, &d->t[0]));
        else if (flip(d, &d->t[0])) *tensor = term_tree(d, &d->t[0]);
        return true;
    }
    d->plain = false;
    if (d->n == 0) {
        tree *size[2];
        for (unsigned k = 0; k < c->rank; k++) size[k] = tree_dim(p, c->size[c->out[k]]);
        bool zero = d->q->coefficient == 0;
        if (zero) d->q->coefficient = 1;
        *tensor = tree_call(p, zero ? "zeros" : "ones", c->rank, size);
        return true;
    }
    if (c->rank != 2 || d->n > 2) return false;
    term *u = NULL, *v = NULL; /* u v' */
    for (unsigned i = 0; i < d->n; i++) {
        if (!is_vector(&d->t[i])) return false;
        if (d->t[i].l == row) u = &d->t[i];
        else if (d->t[i].l == column) v = &d->t[i];
    }
    if ((u != NULL) + (v != NULL) != (int)d->n) return false;
    if (!v && c->size[column] == one) { /* a column of rank 2, which only kron writes as a vector */
        if (u && c->columns) *tensor = term_tree(d, u);
        return *tensor != NULL;
    }
    term all = {.l = row, .r = NO_LABEL}, w = {.l = column, .r = NO_LABEL};
    if (u) all = *u;
    else if (c->size[row] != one && !set_chain(d, &all, ones(d, row))) return false;
    if (v) w = *v;
    else if (!set_chain(d, &w, ones(d, column))) return false;
    if (!flip(d, &w) || !append(d, &all, &w)) return false;
    *tensor = term_tree(d, &all);
    return true;
}

bool pr_contract(pr *p, const contraction *c, product *q, tree **tensor, bool *plain)
{
    cr_dim at[EINSUM_MAX_LABELS] = {0}; /* index of a label that e(j,n) selects */
    product saved = *q;
    *tensor = NULL;
    if (c->n > EINSUM_MAX_LABELS) return false;
    reduction *d = arena_alloc(&p->mem, sizeof *d);
    if (!d) return pr_fail(p, CR_ENOMEM, "out of memory"), false;
    *d = (reduction){.p = p, .c = c, .q = q, .plain = true};
    uint64_t gone = 0,
             kept = 0; /* e(j,n) with a summed label goes; with a label of the result it is the only one to have it */
    for (uint32_t i = 0; i < c->n; i++) {
        if (op_of(p->g, c->operand[i]) != CR_OP_ONEHOT) continue;
        uint32_t l = c->label[i][0];
        if (at[l]) continue;
        at[l] = attr_of(p->g, c->operand[i], 0);
        if (is_out(d, (int)l)) kept |= 1ull << i;
        else gone |= 1ull << i;
    }
    static const cr_dim runs[EINSUM_MAX_LABELS];
    bool ok = true;
    for (uint32_t i = 0; i < c->n && ok; i++)
        if (!(gone >> i & 1)) ok = add_operand(d, i, kept >> i & 1 ? runs : at);
    ok = ok && reduce(d) && assemble(d, tensor) && !pr_failed(p);
    *plain = d->plain;
    if (!ok) *q = saved;
    return ok;
}
