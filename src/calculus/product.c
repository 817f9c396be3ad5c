/* Products over the reals: flattening, powers, inverses, deltas, distribution. */
#include "calculus/product.h"

#include <math.h>
#include <string.h>

/* ---- reading and building ------------------------------------------------------------------------ */

void product_read(const cr_graph *g, cr_ref r, product *p)
{
    const cr_node *n = node(g, r);
    const cr_shape *s = shape_of(g, r);
    p->coef = 1;
    p->n = 0;
    p->rank = p->next = s->rank;
    memcpy(p->shape, s->dim, s->rank * sizeof *p->shape);
    if (n->op == CR_OP_EINSUM && n->n_in <= PRODUCT_MAX) {
        const uint32_t *l = n->word + n->n_in;
        for (uint32_t i = 0; i < n->n_in; i++) {
            p->factor[p->n] = n->word[i];
            for (unsigned k = 0; k < rank_of(g, n->word[i]); k++, l++) {
                p->label[p->n][k] = (uint8_t)*l;
                if (*l >= p->next) p->next = *l + 1;
            }
            p->n++;
        }
        return;
    }
    p->factor[p->n] = r;
    for (unsigned k = 0; k < s->rank; k++) p->label[p->n][k] = (uint8_t)k;
    p->n++;
}

cr_ref product_build(cr_graph *g, const product *p)
{
    cr_ref in[PRODUCT_MAX + 1];
    uint8_t label[(PRODUCT_MAX + 1) * CR_MAX_RANK];
    unsigned n = 0, m = 0;
    if (p->coef == 0) return cr_full(g, cr_const(g, 0), p->rank, p->shape);
    if (p->coef != 1) in[n++] = cr_const(g, p->coef);
    for (unsigned i = 0; i < p->n; i++) {
        in[n++] = p->factor[i];
        for (unsigned k = 0; k < rank_of(g, p->factor[i]); k++) label[m++] = p->label[i][k];
    }
    if (n == 0) return cr_full(g, cr_const(g, 1), p->rank, p->shape);
    return cr_einsum(g, n, in, label, p->rank, p->shape);
}

double split_coefficient(cr_graph *g, cr_ref r, cr_ref *rest)
{
    const cr_node *n = node(g, r);
    double v;
    if (is_const(g, r, &v)) {
        *rest = CR_NONE;
        return v;
    }
    *rest = r;
    if (n->op != CR_OP_EINSUM || n->n_in > PRODUCT_MAX) return 1;
    for (uint32_t i = 0; i < n->n_in; i++) {
        if (rank_of(g, n->word[i]) || !is_const(g, n->word[i], &v) || v == PI) continue;
        product p;
        product_read(g, r, &p);
        p.n--;
        memmove(p.factor + i, p.factor + i + 1, (p.n - i) * sizeof *p.factor);
        memmove(p.label + i, p.label + i + 1, (p.n - i) * sizeof *p.label);
        *rest = product_build(g, &p);
        return v;
    }
    return 1;
}

/* ---- small tools --------------------------------------------------------------------------------- */

void product_drop(product *p, unsigned i)
{
    p->n--;
    memmove(p->factor + i, p->factor + i + 1, (p->n - i) * sizeof *p->factor);
    memmove(p->label + i, p->label + i + 1, (p->n - i) * sizeof *p->label);
}

/* Factor i becomes 1, but its labels are still summed over. */
void product_set_one(cr_graph *g, product *p, unsigned i)
{
    const cr_shape *s = shape_of(g, p->factor[i]);
    if (s->rank == 0) product_drop(p, i);
    else p->factor[i] = cr_full(g, cr_const(g, 1), s->rank, s->dim);
}

bool product_same_labels(const cr_graph *g, const product *p, unsigned i, unsigned j)
{
    unsigned r = rank_of(g, p->factor[i]);
    return r == rank_of(g, p->factor[j]) && !memcmp(p->label[i], p->label[j], r);
}

/* How many axes of factors have label l. */
unsigned product_count_label(const cr_graph *g, const product *p, uint8_t l)
{
    unsigned n = 0;
    for (unsigned i = 0; i < p->n; i++)
        for (unsigned k = 0; k < rank_of(g, p->factor[i]); k++) n += p->label[i][k] == l;
    return n;
}

/* Splices the product q in the place of factor i, whose labels are the axes of q. An axis along which q is constant
 * stays as a factor 1, so that a sum over it still counts. False: no room. */
bool product_splice(cr_graph *g, product *p, unsigned i, const product *q)
{
    uint8_t to[EINSUM_MAX_LABELS], ones[CR_MAX_RANK];
    unsigned n_ones = 0;
    for (unsigned l = 0; l < q->rank; l++)
        if (p->label[i][l] >= p->rank && product_count_label(g, q, (uint8_t)l) == 0) ones[n_ones++] = (uint8_t)l;
    if (p->n + q->n + n_ones > PRODUCT_MAX || p->next + (q->next - q->rank) > EINSUM_MAX_LABELS - 8) return false;
    for (unsigned l = 0; l < q->next; l++) to[l] = l < q->rank ? p->label[i][l] : (uint8_t)(p->next + l - q->rank);
    unsigned tail = p->n - i - 1;
    memmove(p->factor + i + q->n, p->factor + i + 1, tail * sizeof *p->factor);
    memmove(p->label + i + q->n, p->label + i + 1, tail * sizeof *p->label);
    for (unsigned j = 0; j < q->n; j++) {
        p->factor[i + j] = q->factor[j];
        for (unsigned k = 0; k < rank_of(g, q->factor[j]); k++) p->label[i + j][k] = to[q->label[j][k]];
    }
    p->n += q->n - 1;
    p->next += q->next - q->rank;
    p->coef = num_times(p->coef, q->coef);
    for (unsigned j = 0; j < n_ones; j++) {
        p->factor[p->n] = cr_full(g, cr_const(g, 1), 1, &q->shape[ones[j]]);
        p->label[p->n++][0] = to[ones[j]];
    }
    return true;
}

/* f = base^exponent */
cr_ref power_base(const cr_graph *g, cr_ref f, double *exponent)
{
    double e;
    *exponent = 1;
    if (is_op(g, f, CR_OP_SQRT)) {
        *exponent = 0.5;
        return in_of(g, f, 0);
    }
    if (!is_op(g, f, CR_OP_POW) || !is_const(g, in_of(g, f, 1), &e)) return f;
    cr_ref b = in_of(g, f, 0);
    *exponent = e;
    if (is_op(g, b, CR_OP_SQRT) && e == trunc(e)) {
        *exponent = e / 2;
        return in_of(g, b, 0);
    }
    return b;
}

cr_ref power_of(cr_graph *g, cr_ref base, double e)
{
    if (e == 0.5) return cr_map(g, CR_OP_SQRT, base);
    if (2 * e == trunc(2 * e) && e != trunc(e) && e < 0)
        return cr_pow(g, cr_map(g, CR_OP_SQRT, base), cr_const(g, 2 * e));
    return cr_pow(g, base, cr_const(g, e));
}

/* ---- flattening ----------------------------------------------------------------------------------- */

/* A power of a product (nothing summed) is a product of powers; exponents that are not integers need positive bases. */
static bool spread_power(simp *s, product *p, unsigned i)
{
    cr_graph *g = s->g;
    double e;
    cr_ref f = p->factor[i], b = power_base(g, f, &e);
    if (b == f || e == 1) return false;
    cr_ref usual = power_of(g, b, e); /* x^0.5 is sqrt(x) */
    if (usual != f) {
        p->factor[i] = usual;
        return usual != CR_NONE;
    }
    product q, inner;
    bool integer = e == trunc(e);
    if (is_op(g, b, CR_OP_DIV) && integer) {
        product_read(g, f, &q);
        q.n = 2;
        memcpy(q.label[1], q.label[0], sizeof q.label[0]);
        q.factor[0] = power_of(g, in_of(g, b, 0), e);
        q.factor[1] = power_of(g, in_of(g, b, 1), -e);
        return product_splice(g, p, i, &q);
    }
    double e2;
    cr_ref b2 = power_base(g, b, &e2);
    if (b2 != b && (e2 != trunc(e2) ? sign_of(s, b2) == SIGN_POS || integer : integer || sign_of(s, b2) == SIGN_POS)) {
        p->factor[i] = power_of(g, b2, e * e2);
        return true;
    }
    if (!is_op(g, b, CR_OP_EINSUM)) {
        double v;
        if (is_const(g, b, &v) && integer && fabs(pow(v, e)) < 1e15 && v != 0) { /* 3^-1: a number */
            p->coef = num_times(p->coef, pow(v, e));
            product_set_one(g, p, i);
            return true;
        }
        if (is_op(g, b, CR_OP_ABS) && fmod(e, 2) == 0) {
            p->factor[i] = power_of(g, in_of(g, b, 0), e);
            return true;
        }
        return false;
    }
    product_read(g, b, &inner);
    if (inner.next > inner.rank || inner.n > 8) return false;
    if (!integer)
        for (unsigned k = 0; k < inner.n; k++)
            if (sign_of(s, inner.factor[k]) & SIGN_NEG) return false;
    for (unsigned k = 0; k < inner.n; k++) inner.factor[k] = power_of(g, inner.factor[k], e);
    return product_splice(g, p, i, &inner);
}

static bool flatten_one(simp *s, product *p, unsigned i)
{
    cr_graph *g = s->g;
    cr_ref f = p->factor[i];
    product q;
    double v;
    if (is_const(g, f, &v) && v != PI && num_product_fits(p->coef, v)) {
        p->coef = num_times(p->coef, v);
        product_set_one(g, p, i);
        return rank_of(g, f) == 0 || v != 1;
    }
    cr_dim rest;
    switch (op_of(g, f)) {
    case CR_OP_INT: { /* 4*n is the number 4 and n */
        int64_t content = dim_content(g->dims, attr_of(g, f, 0), &rest);
        if (content == 1) return false;
        p->coef = num_times(p->coef, (double)content);
        p->factor[i] = cr_int(g, rest);
        return true;
    }
    case CR_OP_EINSUM: {
        if (node(g, f)->n_in > 1 && !may_merge(s, f)) return false;
        product_read(g, f, &q);
        if (q.n == 1 && q.factor[0] == f) return false;
        return product_splice(g, p, i, &q);
    }
    case CR_OP_DIV:
        product_read(g, f, &q);
        q.n = 2;
        memcpy(q.label[1], q.label[0], sizeof q.label[0]);
        q.factor[0] = in_of(g, f, 0);
        q.factor[1] = cr_pow(g, in_of(g, f, 1), cr_const(g, -1));
        return product_splice(g, p, i, &q);
    case CR_OP_POW: case CR_OP_SQRT: return spread_power(s, p, i);
    case CR_OP_DSIGMOID: case CR_OP_DTANH: return false;
    default: return false;
    }
}

/* ---- distribution --------------------------------------------------------------------------------- */

/* Worth multiplying out: a delta in the sum is contracted by the product, or a power cancels. */
static bool worth_distributing(simp *s, const product *p, unsigned i)
{
    cr_graph *g = s->g;
    const cr_node *n = node(g, p->factor[i]);
    product t;
    if (n->n_in > 12) return false;
    for (uint32_t k = 0; k < n->n_in; k++) {
        product_read(g, n->word[k], &t);
        for (unsigned a = 0; a < t.n; a++) {
            double e1, e2;
            unsigned r = rank_of(g, t.factor[a]);
            bool delta = is_op(g, t.factor[a], CR_OP_IDENTITY) || is_op(g, t.factor[a], CR_OP_ONEHOT);
            for (unsigned x = 0; x < r && delta; x++)
                if (t.label[a][x] < t.rank && p->label[i][t.label[a][x]] >= p->rank) return true;
            cr_ref b = power_base(g, t.factor[a], &e1);
            double v;
            if (is_const(g, b, &v)) continue;
            for (unsigned j = 0; j < p->n && e1 < 0 && r == 0; j++) /* exp(z) / sum(exp(z)) */
                if (is_op(g, p->factor[j], CR_OP_EXP) && rank_of(g, p->factor[j]) == 1 && b == cr_sum(g, p->factor[j]))
                    return true;
            for (unsigned j = 0; j < p->n; j++) {
                cr_ref other = power_base(g, p->factor[j], &e2);
                if (j == i || rank_of(g, p->factor[j]) != r) continue;
                bool cancels = other == b && e1 * e2 < 0;
                if (!cancels && is_op(g, other, CR_OP_EXP) && is_op(g, b, CR_OP_SIGMOID) &&
                    e1 > 0) /* sigmoid(-z) exp(z) */
                    cancels = sum_simplify(s, 1, (cr_ref[]){cr_neg(g, in_of(g, other, 0))}) == in_of(g, b, 0);
                if (!cancels) continue;
                bool same = true;
                for (unsigned x = 0; x < r && same; x++)
                    same = t.label[a][x] < t.rank && p->label[i][t.label[a][x]] == p->label[j][x];
                if (same) return true;
            }
        }
    }
    return false;
}

cr_ref product_distribute(simp *s, const product *p, unsigned i)
{
    cr_graph *g = s->g;
    const cr_node *n = node(g, p->factor[i]);
    cr_ref term[12];
    for (uint32_t k = 0; k < n->n_in; k++) {
        product q = *p, t;
        product_read(g, n->word[k], &t);
        if (!product_splice(g, &q, i, &t)) return CR_NONE;
        term[k] = product_simplify(s, &q);
        if (!term[k]) return CR_NONE;
    }
    return sum_simplify(s, n->n_in, term);
}

/* A sum whose axes are all summed over and stand nowhere else is a number of its own: sum(x - mean(x)) = 0. Multiplied
 * out if that makes it one term. */
static bool sum_alone(simp *s, product *p, unsigned i, bool *changed)
{
    cr_graph *g = s->g;
    unsigned r = rank_of(g, p->factor[i]);
    for (unsigned k = 0; k < r; k++)
        if (p->label[i][k] < p->rank || product_count_label(g, p, p->label[i][k]) != 1) return true;
    if (r == 0 || node(g, p->factor[i])->n_in > 12) return true;
    product q;
    product_read(g, p->factor[i], &q);
    for (unsigned k = 0; k < r; k++) q.label[0][k] = (uint8_t)k; /* rank 0: every axis summed */
    q.rank = 0;
    q.next = r;
    cr_ref total = product_distribute(s, &q, 0);
    if (!total) return g->err.status == CR_OK;
    if (is_op(g, total, CR_OP_ADD)) return true;
    p->factor[i] = total;
    *changed = true;
    return true;
}

/* ---- the whole ------------------------------------------------------------------------------------ */

/* Numbers deltas and views through the builder, which knows them, and reads the result back: p without its coefficient.
 */
cr_ref product_renormalise(simp *s, product *p)
{
    double coef = p->coef;
    p->coef = 1;
    cr_ref r = product_build(s->g, p);
    if (!r) return CR_NONE;
    product_read(s->g, r, p);
    p->coef = coef;
    return r;
}

static cr_ref simplify_product(simp *s, product *p, cr_ref whole)
{
    cr_graph *g = s->g;
    for (int round = 0; round < 64; round++) {
        bool changed = false;
        for (unsigned i = 0; i < p->n; i++)
            if (flatten_one(s, p, i)) {
                changed = true;
                i--;
            }
        if (p->coef == 0 || p->n == 0) break; /* a number */
        if (changed || !whole || round > 0) whole = product_renormalise(s, p);
        if (!whole || g->err.status != CR_OK) return CR_NONE;
        for (unsigned i = 0; i < p->n && !changed; i++) { /* the builder may have made new numbers and views */
            double v;
            changed = (is_const(g, p->factor[i], &v) && v != PI && num_product_fits(p->coef, v)) ||
                      (is_op(g, p->factor[i], CR_OP_EINSUM) && may_merge(s, p->factor[i]) &&
                       p->n + node(g, p->factor[i])->n_in < PRODUCT_MAX);
        }
        changed = changed || merge_powers(s, p) || merge_matrices(s, p) || merge_facts(s, p) || part_selected(g, p);
        if (changed) continue;
        if (s->small && push_selection(s, p)) continue;
        for (unsigned i = 0; i < p->n && s->small && !changed; i++)
            if (is_op(g, p->factor[i], CR_OP_ADD) && !sum_alone(s, p, i, &changed)) return CR_NONE;
        if (changed) continue;
        for (unsigned i = 0; i < p->n && s->small; i++) {
            if (!is_op(g, p->factor[i], CR_OP_ADD)) continue;
            bool plain = p->n == 1 && rank_of(g, p->factor[i]) == p->rank; /* -(a - b), (A + B)' */
            for (unsigned k = 0; k < p->rank && plain; k++) plain = p->label[i][k] < p->rank;
            plain = plain && (p->coef == -1 || p->coef == 1) && node(g, p->factor[i])->n_in <= 12;
            if (!plain && !worth_distributing(s, p, i)) continue;
            cr_ref out = product_distribute(s, p, i);
            if (out || g->err.status != CR_OK) return out;
        }
        if (s->small) { /* equal but for the axes of symmetric factors: one node */
            double coef = p->coef;
            p->coef = 1;
            if (!(whole = turn_symmetric(s, p, 0))) return CR_NONE;
            product_read(g, whole, p);
            p->coef = coef;
        }
        if (p->coef == 1) return whole;
        break;
    }
    return product_build(g, p);
}

cr_ref product_simplify(simp *s, product *p) { return simplify_product(s, p, CR_NONE); }

cr_ref product_simplify_node(simp *s, cr_ref r)
{
    product p;
    product_read(s->g, r, &p);
    return simplify_product(s, &p, r);
}
