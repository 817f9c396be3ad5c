/* Products over the reals: flattening, powers, inverses, deltas, distribution. */
#include "calculus/derive.h"
#include "calculus/simplify.h"

#include <math.h>
#include <string.h>

static unsigned rank_of(const cr_graph *g, cr_ref r) { return shape_of(g, r)->rank; }
static bool is_op(const cr_graph *g, cr_ref r, cr_op op) { return op_of(g, r) == op; }

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
        if (rank_of(g, n->word[i]) || !is_const(g, n->word[i], &v) || v == 3.14159265358979323846) continue;
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

static void drop(product *p, unsigned i)
{
    p->n--;
    memmove(p->factor + i, p->factor + i + 1, (p->n - i) * sizeof *p->factor);
    memmove(p->label + i, p->label + i + 1, (p->n - i) * sizeof *p->label);
}

/* Factor i becomes 1, but its labels are still summed over. */
static void set_one(cr_graph *g, product *p, unsigned i)
{
    const cr_shape *s = shape_of(g, p->factor[i]);
    if (s->rank == 0) drop(p, i);
    else p->factor[i] = cr_full(g, cr_const(g, 1), s->rank, s->dim);
}

static bool same_labels(const cr_graph *g, const product *p, unsigned i, unsigned j)
{
    unsigned r = rank_of(g, p->factor[i]);
    return r == rank_of(g, p->factor[j]) && !memcmp(p->label[i], p->label[j], r);
}

/* How many axes of factors have label l. */
static unsigned count_label(const cr_graph *g, const product *p, uint8_t l)
{
    unsigned n = 0;
    for (unsigned i = 0; i < p->n; i++)
        for (unsigned k = 0; k < rank_of(g, p->factor[i]); k++) n += p->label[i][k] == l;
    return n;
}

/* Splices the product q in the place of factor i, whose labels are the axes of q. An axis along which q is constant stays
 * as a factor 1, so that a sum over it still counts. False: no room. */
static bool splice(cr_graph *g, product *p, unsigned i, const product *q)
{
    uint8_t to[EINSUM_MAX_LABELS], ones[CR_MAX_RANK];
    unsigned n_ones = 0;
    for (unsigned l = 0; l < q->rank; l++)
        if (p->label[i][l] >= p->rank && count_label(g, q, (uint8_t)l) == 0) ones[n_ones++] = (uint8_t)l;
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
static cr_ref base_of(const cr_graph *g, cr_ref f, double *exponent)
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

static cr_ref power(cr_graph *g, cr_ref base, double e)
{
    if (e == 0.5) return cr_map(g, CR_OP_SQRT, base);
    if (2 * e == trunc(2 * e) && e != trunc(e) && e < 0) return cr_pow(g, cr_map(g, CR_OP_SQRT, base), cr_const(g, 2 * e));
    return cr_pow(g, base, cr_const(g, e));
}

/* ---- flattening ----------------------------------------------------------------------------------- */

/* A power of a product (nothing summed) is a product of powers; exponents that are not integers need positive bases. */
static bool spread_power(simp *s, product *p, unsigned i)
{
    cr_graph *g = s->g;
    double e;
    cr_ref f = p->factor[i], b = base_of(g, f, &e);
    if (b == f || e == 1) return false;
    product q, inner;
    bool integer = e == trunc(e);
    if (is_op(g, b, CR_OP_DIV) && integer) {
        product_read(g, f, &q);
        q.n = 2;
        memcpy(q.label[1], q.label[0], sizeof q.label[0]);
        q.factor[0] = power(g, in_of(g, b, 0), e);
        q.factor[1] = power(g, in_of(g, b, 1), -e);
        return splice(g, p, i, &q);
    }
    double e2;
    cr_ref b2 = base_of(g, b, &e2);
    if (b2 != b && (e2 != trunc(e2) ? sign_of(s, b2) == SIGN_POS || integer : integer || sign_of(s, b2) == SIGN_POS)) {
        p->factor[i] = power(g, b2, e * e2);
        return true;
    }
    if (!is_op(g, b, CR_OP_EINSUM)) {
        double v;
        if (is_const(g, b, &v) && integer && fabs(pow(v, e)) < 1e15 && v != 0) { /* 3^-1: a number */
            p->coef = num_times(p->coef, pow(v, e));
            set_one(g, p, i);
            return true;
        }
        if (is_op(g, b, CR_OP_ABS) && fmod(e, 2) == 0) {
            p->factor[i] = power(g, in_of(g, b, 0), e);
            return true;
        }
        return false;
    }
    product_read(g, b, &inner);
    if (inner.next > inner.rank || inner.n > 8) return false;
    if (!integer)
        for (unsigned k = 0; k < inner.n; k++)
            if (sign_of(s, inner.factor[k]) & SIGN_NEG) return false;
    for (unsigned k = 0; k < inner.n; k++) inner.factor[k] = power(g, inner.factor[k], e);
    return splice(g, p, i, &inner);
}

static bool flatten_one(simp *s, product *p, unsigned i)
{
    cr_graph *g = s->g;
    cr_ref f = p->factor[i];
    product q;
    double v;
    if (is_const(g, f, &v) && v != 3.14159265358979323846) {
        p->coef = num_times(p->coef, v);
        set_one(g, p, i);
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
        return splice(g, p, i, &q);
    }
    case CR_OP_DIV:
        product_read(g, f, &q);
        q.n = 2;
        memcpy(q.label[1], q.label[0], sizeof q.label[0]);
        q.factor[0] = in_of(g, f, 0);
        q.factor[1] = cr_pow(g, in_of(g, f, 1), cr_const(g, -1));
        return splice(g, p, i, &q);
    case CR_OP_POW: case CR_OP_SQRT: return spread_power(s, p, i);
    case CR_OP_DSIGMOID: case CR_OP_DTANH: return false;
    default: return false;
    }
}

/* ---- merging -------------------------------------------------------------------------------------- */

/* Products of two element-wise functions of the same z: step(z) relu(z) = relu(z), sign(z) |z| = z, ... */
static cr_ref known_pair(cr_graph *g, cr_ref a, cr_ref b)
{
    cr_op x = op_of(g, a), y = op_of(g, b);
    double e;
    if (x == CR_OP_STEP && b == in_of(g, a, 0)) return cr_map(g, CR_OP_RELU, b);
    if (x == CR_OP_STEP && y == CR_OP_POW && base_of(g, b, &e) == cr_map(g, CR_OP_RELU, in_of(g, a, 0)) && e > 0) return b;
    if (op_get(x)->kind != KIND_MAP1 || op_get(y)->kind != KIND_MAP1 || in_of(g, a, 0) != in_of(g, b, 0)) return CR_NONE;
    if (x == CR_OP_STEP && (y == CR_OP_STEP || y == CR_OP_RELU)) return b;
    if (x == CR_OP_STEP && y == CR_OP_ABS) return cr_map(g, CR_OP_RELU, in_of(g, a, 0));
    if (x == CR_OP_SIGN && y == CR_OP_ABS) return in_of(g, a, 0);
    return CR_NONE;
}

/* t^s * t^c = t^(s+c) for an exponent s that is no number. */
static cr_ref raise_power(simp *s, cr_ref x, cr_ref y)
{
    cr_graph *g = s->g;
    double e;
    const cr_shape *sh = shape_of(g, x);
    if (!is_op(g, x, CR_OP_POW) || base_of(g, x, &e) != x || in_of(g, x, 0) != base_of(g, y, &e)) return CR_NONE;
    cr_ref sum = sum_simplify(s, 2, (cr_ref[]){in_of(g, x, 1), cr_full(g, cr_const(g, e), sh->rank, sh->dim)});
    return sum ? cr_pow(g, in_of(g, x, 0), sum) : CR_NONE;
}

/* Does a sum run over factor i, and over `n` factors only? */
static bool summed_alone(const cr_graph *g, const product *p, unsigned i, unsigned n)
{
    bool summed = false;
    for (unsigned k = 0; k < rank_of(g, p->factor[i]); k++) {
        if (p->label[i][k] < p->rank) continue;
        if (count_label(g, p, p->label[i][k]) != n) return false;
        summed = true;
    }
    return summed;
}

static bool merge_powers(simp *s, product *p)
{
    cr_graph *g = s->g;
    for (unsigned i = 0; i < p->n; i++) {
        double e1, e2;
        cr_ref b = base_of(g, p->factor[i], &e1);
        unsigned r = rank_of(g, p->factor[i]);
        for (unsigned j = i + 1; j < p->n; j++) {
            if (!same_labels(g, p, i, j)) continue;
            cr_ref pair = known_pair(g, p->factor[i], p->factor[j]);
            if (!pair) pair = known_pair(g, p->factor[j], p->factor[i]);
            if (pair) {
                p->factor[i] = pair;
                drop(p, j);
                return true;
            }
            cr_ref grown = raise_power(s, p->factor[i], p->factor[j]);
            if (!grown) grown = raise_power(s, p->factor[j], p->factor[i]);
            if (g->err.status != CR_OK) return false;
            if (grown) {
                p->factor[i] = grown;
                drop(p, j);
                return true;
            }
            if (base_of(g, p->factor[j], &e2) != b) continue;
            /* x'x stays a product of two, it is not the sum of x^2 */
            if (summed_alone(g, p, i, 2) && e1 > 0 && e2 > 0 && e1 == trunc(e1) && e2 == trunc(e2)) continue;
            double e = num_plus(e1, e2);
            drop(p, j);
            if (e == 0) set_one(g, p, i);
            else p->factor[i] = power(g, b, e);
            return true;
        }
        if (summed_alone(g, p, i, 1) && e1 == 2 && p->n < PRODUCT_MAX && b != p->factor[i] && rank_of(g, b) == r) { /* sum of x^2: x'x */
            p->factor[i] = b;
            p->factor[p->n] = b;
            memcpy(p->label[p->n], p->label[i], sizeof p->label[0]);
            p->n++;
            return true;
        }
    }
    return false;
}

static cr_ref matrix_base(cr_graph *g, cr_ref f, cr_dim *e)
{
    if (is_op(g, f, CR_OP_INV)) {
        *e = dim_const(g->dims, -1);
        return in_of(g, f, 0);
    }
    if (is_op(g, f, CR_OP_MATPOW)) {
        *e = attr_of(g, f, 0);
        return in_of(g, f, 0);
    }
    *e = dim_const(g->dims, 1);
    return f;
}

/* X^p X^q = X^(p+q) where a sum runs between the two and nowhere else; inv(X) X = I. */
static bool merge_matrices(simp *s, product *p)
{
    cr_graph *g = s->g;
    for (unsigned i = 0; i < p->n; i++) {
        cr_op op = op_of(g, p->factor[i]);
        if (op != CR_OP_INV && op != CR_OP_MATPOW && !(op == CR_OP_PARAM && rank_of(g, p->factor[i]) == 2)) continue;
        cr_dim e1, e2;
        cr_ref b = matrix_base(g, p->factor[i], &e1);
        bool sym = is_symmetric(s, b, 0);
        for (unsigned j = 0; j < p->n; j++) {
            if (j == i || matrix_base(g, p->factor[j], &e2) != b) continue;
            for (unsigned x = 0; x < 2; x++) /* axis of i that meets axis y of j: 1 meets 0, 0 meets 1; any if symmetric */
                for (unsigned y = 0; y < 2; y++) {
                    uint8_t l = p->label[i][x];
                    if (p->label[j][y] != l || l < p->rank || count_label(g, p, l) != 2 || (x == y && !sym)) continue;
                    uint8_t left = x == 1 ? p->label[i][0] : p->label[j][1 - y], right = x == 1 ? p->label[j][1 - y] : p->label[i][1];
                    p->factor[i] = cr_matpow(g, b, dim_add(g->dims, e1, e2));
                    p->label[i][0] = left;
                    p->label[i][1] = right;
                    drop(p, j);
                    return true;
                }
        }
    }
    return false;
}

/* z where b = 1 + exp(z), else CR_NONE. */
static cr_ref logistic(const cr_graph *g, cr_ref b)
{
    const cr_node *n = node(g, b);
    double v;
    if (n->op != CR_OP_ADD || n->n_in != 2) return CR_NONE;
    for (uint32_t i = 0; i < 2; i++)
        if (is_const(g, n->word[i], &v) && v == 1 && is_op(g, n->word[1 - i], CR_OP_EXP)) return in_of(g, n->word[1 - i], 0);
    return CR_NONE;
}

/* u_a v_a e(i)_a = u[i] v[i], and v_a e(i)_a e(j)_a = v[i] delta(i,j): what an index selects is a number of its own, with a
 * one-hot of its own; so is v_a e(i)_a where a is an axis of the result: v[i] e(i). Of several indices a number is preferred. */
static bool part_selected(cr_graph *g, product *p)
{
    int64_t v;
    if (p->n == PRODUCT_MAX || p->next >= EINSUM_MAX_LABELS - 8) return false;
    for (unsigned i = 0; i < p->n; i++) {
        uint8_t l = p->label[i][0];
        if (!is_op(g, p->factor[i], CR_OP_ONEHOT) || count_label(g, p, l) < (l < p->rank ? 2u : 3u)) continue;
        unsigned kept = i, at = PRODUCT_MAX, axis = 0;
        for (unsigned j = 0; j < p->n; j++) {
            if (!is_op(g, p->factor[j], CR_OP_ONEHOT) || p->label[j][0] != l) continue;
            bool number = dim_value(g->dims, attr_of(g, p->factor[j], 0), &v), has = dim_value(g->dims, attr_of(g, p->factor[kept], 0), &v);
            if (number != has ? number : p->factor[j] < p->factor[kept]) kept = j;
        }
        for (unsigned j = 0; j < p->n; j++) /* another index first, else the last operand */
            for (unsigned k = 0; k < rank_of(g, p->factor[j]); k++) {
                if (j == kept || p->label[j][k] != l || (at < PRODUCT_MAX && is_op(g, p->factor[at], CR_OP_ONEHOT))) continue;
                at = j;
                axis = k;
            }
        p->label[at][axis] = (uint8_t)p->next;
        p->factor[p->n] = p->factor[kept];
        p->label[p->n++][0] = (uint8_t)p->next++;
        return true;
    }
    return false;
}

static bool merge_facts(simp *s, product *p)
{
    cr_graph *g = s->g;
    double e;
    for (unsigned i = 0; i < p->n; i++) {
        cr_ref f = p->factor[i];
        /* adj(X)/det(X) = inv(X) */
        if (is_op(g, f, CR_OP_ADJ))
            for (unsigned j = 0; j < p->n; j++) {
                cr_ref b = base_of(g, p->factor[j], &e);
                if (e != -1 || !is_op(g, b, CR_OP_DET) || in_of(g, b, 0) != in_of(g, f, 0)) continue;
                p->factor[i] = cr_linalg(g, CR_OP_INV, in_of(g, f, 0));
                drop(p, j);
                return true;
            }
        /* exp(z) / sum(exp(z)) = softmax(z) */
        if (is_op(g, f, CR_OP_EXP) && rank_of(g, f) == 1)
            for (unsigned j = 0; j < p->n; j++) {
                cr_ref b = base_of(g, p->factor[j], &e);
                if (e >= 0 || rank_of(g, b) || b != cr_sum(g, f)) continue;
                p->factor[i] = cr_softmax(g, in_of(g, f, 0), 0);
                if (e == -1) drop(p, j);
                else p->factor[j] = power(g, b, e + 1);
                return true;
            }
        /* exp(z[i]) / sum(exp(z)) = softmax(z)[i] */
        if (is_op(g, f, CR_OP_EXP) && rank_of(g, f) == 0 && is_op(g, in_of(g, f, 0), CR_OP_EINSUM))
            for (unsigned j = 0; j < p->n; j++) {
                cr_ref b = base_of(g, p->factor[j], &e), z = in_of(g, f, 0), all, hot = CR_NONE;
                if (e >= 0 || !is_op(g, b, CR_OP_EINSUM) || rank_of(g, b) || node(g, b)->n_in != 1 || !is_op(g, all = in_of(g, b, 0), CR_OP_EXP) ||
                    rank_of(g, all) != 1)
                    continue;
                for (uint32_t k = 0; k < node(g, z)->n_in && !hot; k++) {
                    cr_ref h = in_of(g, z, k);
                    if (is_op(g, h, CR_OP_ONEHOT) && shape_of(g, h)->dim[0] == shape_of(g, all)->dim[0] &&
                        cr_einsum(g, 2, (cr_ref[]){in_of(g, all, 0), h}, (uint8_t[]){0, 0}, 0, NULL) == z)
                        hot = h;
                }
                if (!hot) continue;
                p->factor[i] = cr_einsum(g, 2, (cr_ref[]){cr_softmax(g, in_of(g, all, 0), 0), hot}, (uint8_t[]){0, 0}, 0, NULL);
                if (e == -1) drop(p, j);
                else p->factor[j] = power(g, b, e + 1);
                return true;
            }
        /* exp(z) / (1 + exp(z)) = sigmoid(z) = 1 / (1 + exp(-z)) */
        cr_ref b = base_of(g, f, &e), z = e < 0 && e == trunc(e) ? logistic(g, b) : CR_NONE;
        if (z) {
            unsigned j = 0;
            while (j < p->n && (!is_op(g, p->factor[j], CR_OP_EXP) || in_of(g, p->factor[j], 0) != z || !same_labels(g, p, i, j))) j++;
            if (j < p->n) {
                p->factor[j] = cr_map(g, CR_OP_SIGMOID, z);
                if (e == -1) drop(p, i);
                else p->factor[i] = power(g, b, e + 1);
            } else {
                cr_ref minus = sum_simplify(s, 1, (cr_ref[]){cr_neg(g, z)});
                p->factor[i] = minus ? power(g, cr_map(g, CR_OP_SIGMOID, minus), -e) : CR_NONE;
            }
            return g->err.status == CR_OK;
        }
        /* sigmoid(-z) exp(z) = sigmoid(z) */
        b = base_of(g, f, &e);
        if (is_op(g, b, CR_OP_SIGMOID) && e >= 1 && e == trunc(e))
            for (unsigned j = 0; j < p->n; j++) {
                if (!is_op(g, p->factor[j], CR_OP_EXP) || !same_labels(g, p, i, j)) continue;
                cr_ref minus = sum_simplify(s, 1, (cr_ref[]){cr_neg(g, in_of(g, b, 0))});
                if (minus != in_of(g, p->factor[j], 0)) continue;
                p->factor[j] = cr_map(g, CR_OP_SIGMOID, minus);
                if (e == 1) drop(p, i);
                else p->factor[i] = power(g, b, e - 1);
                return true;
            }
        /* probabilities sum to 1 */
        bool probability = (is_op(g, f, CR_OP_PARAM) && attr_of(g, f, 1) & CR_PROBABILITY) || (is_op(g, f, CR_OP_SOFTMAX) && rank_of(g, f) == 1);
        for (unsigned k = 0; k < rank_of(g, f) && probability; k++)
            probability = p->label[i][k] >= p->rank && count_label(g, p, p->label[i][k]) == 1;
        if (probability && rank_of(g, f)) {
            drop(p, i);
            return true;
        }
        /* v_b I_ab = v_a I_ab, but A_ab I_ab stays */
        if (is_op(g, f, CR_OP_IDENTITY) && p->label[i][0] != p->label[i][1])
            for (unsigned j = 0; j < p->n; j++) {
                bool has = false, both = false;
                for (unsigned k = 0; k < rank_of(g, p->factor[j]); k++) {
                    has |= p->label[j][k] == p->label[i][1];
                    both |= p->label[j][k] == p->label[i][0];
                }
                if (j == i || !has || both) continue;
                for (unsigned k = 0; k < rank_of(g, p->factor[j]); k++)
                    if (p->label[j][k] == p->label[i][1]) p->label[j][k] = p->label[i][0];
                return true;
            }
        /* a symmetric factor: its axes in the order of labels */
        if (rank_of(g, f) == 2 && p->label[i][0] > p->label[i][1] && is_symmetric(s, f, 0)) {
            uint8_t t = p->label[i][0];
            p->label[i][0] = p->label[i][1];
            p->label[i][1] = t;
            return true;
        }
    }
    return false;
}

/* ---- selection ------------------------------------------------------------------------------------ */

/* Is every term of the sum element-wise in its entries, so that its entry is no longer than itself? */
static bool entry_is_short(const cr_graph *g, cr_ref add)
{
    const cr_node *n = node(g, add);
    for (uint32_t i = 0; i < n->n_in; i++) {
        cr_ref t = n->word[i];
        einsum_view v;
        if (is_op(g, t, CR_OP_EINSUM)) {
            einsum_read(g, t, &v);
            uint64_t picked = 0; /* labels that an index selects: no sum runs over them */
            const uint32_t *l = v.labels;
            for (uint32_t k = 0; k < v.n; l += rank_of(g, v.operand[k]), k++)
                if (is_op(g, v.operand[k], CR_OP_ONEHOT)) picked |= 1ull << l[0];
            for (unsigned a = v.rank; a < v.n_labels; a++)
                if (!(picked >> a & 1)) return false;
        }
    }
    return true;
}

/* x[index...] over its n leading axes, with the selection pushed towards the leaves where that is as short. */
static cr_ref select_entry(simp *s, cr_ref x, unsigned n_index, const cr_dim *index, unsigned depth)
{
    cr_graph *g = s->g;
    const cr_node *n = node(g, x);
    const cr_shape *sh = shape_of(g, x);
    const op_info *op = op_get((cr_op)n->op);
    double v;
    if (is_const(g, x, &v)) return cr_full(g, cr_const(g, v), sh->rank - n_index, sh->dim + n_index);
    bool elementwise = op->kind == KIND_MAP1 || op->kind == KIND_MAP2 || op->kind == KIND_CMP || n->op == CR_OP_SELECT || n->op == CR_OP_CALL ||
                       (n->op == CR_OP_ADD && entry_is_short(g, x));
    if (depth < 20 && n->n_in <= 16 && elementwise) {
        cr_ref in[16];
        for (uint32_t i = 0; i < n->n_in; i++) in[i] = select_entry(s, n->word[i], n_index, index, depth + 1);
        return graph_remake(g, x, in);
    }
    if (op->kind == KIND_REDUCE && n->word[1] >= n_index)
        return cr_reduce(g, (cr_op)n->op, select_entry(s, n->word[0], n_index, index, depth + 1), n->word[1] - n_index);
    if (n->op == CR_OP_IOTA) return cr_int(g, index[0]);
    dim_sym sym;
    const uint32_t *range = n->word + 1; /* kind, symbol, lo, hi */
    if (n->op == CR_OP_BIND && range[0] == CR_BIND_SUM && depth < 20 && dim_is_symbol(g->dims, range[1], &sym))
        return cr_bind(g, CR_BIND_SUM, name_text(g->dims, sym), range[2], range[3], select_entry(s, n->word[0], n_index, index, depth + 1));
    int64_t at = 0, size, k;
    if (n->op == CR_OP_STACK && n_index == sh->rank) { /* an entry of a literal, if the numbers say which */
        bool known = true;
        for (unsigned i = 0; i < n_index && known; i++) {
            known = dim_value(g->dims, index[i], &k) && dim_value(g->dims, sh->dim[i], &size);
            if (known) at = at * size + k - 1;
        }
        if (known && at >= 0 && at < n->n_in) return n->word[at];
    }
    if (sh->dtype != CR_REAL || depth == 0) return CR_NONE; /* at the top x[index] is what there is already */
    product p;
    product_read(g, x, &p);
    unsigned rank = p.rank - n_index;
    if (p.n + n_index > PRODUCT_MAX) return CR_NONE;
    /* axes 0..n_index-1 become summed labels, met by one-hots */
    uint8_t to[EINSUM_MAX_LABELS];
    for (unsigned l = 0; l < p.next; l++) to[l] = (uint8_t)(l < n_index ? p.next + l : l < p.rank ? l - n_index : l);
    if (p.next + n_index > EINSUM_MAX_LABELS) return CR_NONE;
    for (unsigned i = 0; i < p.n; i++)
        for (unsigned a = 0; a < rank_of(g, p.factor[i]); a++) p.label[i][a] = to[p.label[i][a]];
    for (unsigned i = 0; i < n_index; i++) {
        p.factor[p.n] = cr_onehot(g, index[i], p.shape[i]);
        if (!p.factor[p.n]) return CR_NONE;
        p.label[p.n++][0] = to[i];
    }
    p.next += n_index;
    p.rank = rank;
    memmove(p.shape, p.shape + n_index, rank * sizeof *p.shape);
    return product_simplify(s, &p);
}

/* A factor all of whose labels are picked by one-hots is the scalar f(z)[i,j] = f(z[i,j]). */
static bool push_selection(simp *s, product *p)
{
    cr_graph *g = s->g;
    for (unsigned i = 0; i < p->n; i++) {
        cr_ref f = p->factor[i];
        unsigned r = rank_of(g, f);
        cr_op op = op_of(g, f);
        cr_dim index[CR_MAX_RANK];
        if (r == 0 || op == CR_OP_ONEHOT || op == CR_OP_PARAM || op == CR_OP_IDENTITY || op == CR_OP_EINSUM) continue;
        if (op == CR_OP_ADD && !entry_is_short(g, f)) continue;
        op_kind kind = op_get(op)->kind;
        if (kind != KIND_MAP1 && kind != KIND_MAP2 && kind != KIND_REDUCE && op != CR_OP_ADD && op != CR_OP_SELECT && op != CR_OP_CALL &&
            op != CR_OP_IOTA && op != CR_OP_STACK && !(op == CR_OP_BIND && attr_of(g, f, 0) == CR_BIND_SUM))
            continue;
        bool all = true;
        for (unsigned k = 0; k < r && all; k++) {
            all = false;
            for (unsigned j = 0; j < p->n && !all; j++)
                if (is_op(g, p->factor[j], CR_OP_ONEHOT) && p->label[j][0] == p->label[i][k] && p->label[j][0] >= p->rank) {
                    index[k] = attr_of(g, p->factor[j], 0);
                    all = true;
                }
        }
        if (!all) continue;
        cr_ref entry = select_entry(s, f, r, index, 0);
        if (!entry || rank_of(g, entry)) continue;
        if (is_op(g, entry, CR_OP_EINSUM)) { /* came back as f(z)[i]: no progress */
            bool same = false;
            for (uint32_t k = 0; k < node(g, entry)->n_in; k++) same |= in_of(g, entry, k) == f;
            if (same) continue;
        }
        p->factor[i] = simplify_new(s, entry, f);
        return p->factor[i] != CR_NONE;
    }
    return false;
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
            cr_ref b = base_of(g, t.factor[a], &e1);
            double v;
            if (is_const(g, b, &v)) continue;
            for (unsigned j = 0; j < p->n && e1 < 0 && r == 0; j++) /* exp(z) / sum(exp(z)) */
                if (is_op(g, p->factor[j], CR_OP_EXP) && rank_of(g, p->factor[j]) == 1 && b == cr_sum(g, p->factor[j])) return true;
            for (unsigned j = 0; j < p->n; j++) {
                cr_ref other = base_of(g, p->factor[j], &e2);
                if (j == i || rank_of(g, p->factor[j]) != r) continue;
                bool cancels = other == b && e1 * e2 < 0;
                if (!cancels && is_op(g, other, CR_OP_EXP) && is_op(g, b, CR_OP_SIGMOID) && e1 > 0) /* sigmoid(-z) exp(z) */
                    cancels = sum_simplify(s, 1, (cr_ref[]){cr_neg(g, in_of(g, other, 0))}) == in_of(g, b, 0);
                if (!cancels) continue;
                bool same = true;
                for (unsigned x = 0; x < r && same; x++) same = t.label[a][x] < t.rank && p->label[i][t.label[a][x]] == p->label[j][x];
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
        if (!splice(g, &q, i, &t)) return CR_NONE;
        term[k] = product_simplify(s, &q);
        if (!term[k]) return CR_NONE;
    }
    return sum_simplify(s, n->n_in, term);
}

/* A sum whose axes are all summed over and stand nowhere else is a number of its own: sum(x - mean(x)) = 0. Multiplied out
 * if that makes it one term. */
static bool sum_alone(simp *s, product *p, unsigned i, bool *changed)
{
    cr_graph *g = s->g;
    unsigned r = rank_of(g, p->factor[i]);
    for (unsigned k = 0; k < r; k++)
        if (p->label[i][k] < p->rank || count_label(g, p, p->label[i][k]) != 1) return true;
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

/* Numbers deltas and views through the builder, which knows them, and reads the result back: p without its coefficient. */
static cr_ref renormalise(simp *s, product *p)
{
    double coef = p->coef;
    p->coef = 1;
    cr_ref r = product_build(s->g, p);
    if (!r) return CR_NONE;
    product_read(s->g, r, p);
    p->coef = coef;
    return r;
}

cr_ref calc_pushed(cr_graph *g, cr_ref y)
{
    simp s = {.g = g};
    product p;
    if (!valid(g, y) || op_of(g, y) != CR_OP_EINSUM) return y;
    product_read(g, y, &p);
    for (int round = 0; round < 32 && push_selection(&s, &p); round++)
        if (!renormalise(&s, &p)) break;
    simp_free(&s);
    return g->err.status == CR_OK ? product_build(g, &p) : CR_NONE;
}

/* p as it was read from the node `whole`, or CR_NONE if it is no node yet. */
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
        if (changed || !whole || round > 0) whole = renormalise(s, p);
        if (!whole || g->err.status != CR_OK) return CR_NONE;
        for (unsigned i = 0; i < p->n && !changed; i++) { /* the builder may have made new numbers and views */
            double v;
            changed = (is_const(g, p->factor[i], &v) && v != 3.14159265358979323846) || (is_op(g, p->factor[i], CR_OP_EINSUM) && may_merge(s, p->factor[i]) && p->n + node(g, p->factor[i])->n_in < PRODUCT_MAX);
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
