/* Merging the factors of a product: powers, inverses of matrices, and facts such as that probabilities sum to 1. */
#include "calculus/product.h"

#include <math.h>
#include <string.h>

/* Products of two element-wise functions of the same z: step(z) relu(z) = relu(z), sign(z) |z| = z, ... */
static cr_ref known_pair(cr_graph *g, cr_ref a, cr_ref b)
{
    cr_op x = op_of(g, a), y = op_of(g, b);
    double e;
    if (x == CR_OP_STEP && b == in_of(g, a, 0)) return cr_map(g, CR_OP_RELU, b);
    if (x == CR_OP_STEP && y == CR_OP_POW && power_base(g, b, &e) == cr_map(g, CR_OP_RELU, in_of(g, a, 0)) && e > 0)
        return b;
    if (op_get(x)->kind != KIND_MAP1 || op_get(y)->kind != KIND_MAP1 || in_of(g, a, 0) != in_of(g, b, 0))
        return CR_NONE;
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
    if (!is_op(g, x, CR_OP_POW) || power_base(g, x, &e) != x || in_of(g, x, 0) != power_base(g, y, &e)) return CR_NONE;
    cr_ref sum = sum_simplify(s, 2, (cr_ref[]){in_of(g, x, 1), cr_full(g, cr_const(g, e), sh->rank, sh->dim)});
    return sum ? cr_pow(g, in_of(g, x, 0), sum) : CR_NONE;
}

/* Does a sum run over factor i, and over `n` factors only? */
static bool summed_alone(const cr_graph *g, const product *p, unsigned i, unsigned n)
{
    bool summed = false;
    for (unsigned k = 0; k < rank_of(g, p->factor[i]); k++) {
        if (p->label[i][k] < p->rank) continue;
        if (product_count_label(g, p, p->label[i][k]) != n) return false;
        summed = true;
    }
    return summed;
}

bool merge_powers(simp *s, product *p)
{
    cr_graph *g = s->g;
    for (unsigned i = 0; i < p->n; i++) {
        double e1, e2;
        cr_ref b = power_base(g, p->factor[i], &e1);
        unsigned r = rank_of(g, p->factor[i]);
        for (unsigned j = i + 1; j < p->n; j++) {
            if (!product_same_labels(g, p, i, j)) continue;
            cr_ref pair = known_pair(g, p->factor[i], p->factor[j]);
            if (!pair) pair = known_pair(g, p->factor[j], p->factor[i]);
            if (pair) {
                p->factor[i] = pair;
                product_drop(p, j);
                return true;
            }
            cr_ref grown = raise_power(s, p->factor[i], p->factor[j]);
            if (!grown) grown = raise_power(s, p->factor[j], p->factor[i]);
            if (g->err.status != CR_OK) return false;
            if (grown) {
                p->factor[i] = grown;
                product_drop(p, j);
                return true;
            }
            if (power_base(g, p->factor[j], &e2) != b) continue;
            /* x'x stays a product of two, it is not the sum of x^2 */
            if (summed_alone(g, p, i, 2) && e1 > 0 && e2 > 0 && e1 == trunc(e1) && e2 == trunc(e2)) continue;
            double e = num_plus(e1, e2);
            product_drop(p, j);
            if (e == 0) product_set_one(g, p, i);
            else p->factor[i] = power_of(g, b, e);
            return true;
        }
        if (summed_alone(g, p, i, 1) && e1 == 2 && p->n < PRODUCT_MAX && b != p->factor[i] &&
            rank_of(g, b) == r) { /* sum of x^2: x'x */
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
bool merge_matrices(simp *s, product *p)
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
            for (unsigned x = 0; x < 2; x++) /* axis x of i meets axis y of j: 1 meets 0, 0 meets 1; any if symmetric */
                for (unsigned y = 0; y < 2; y++) {
                    uint8_t l = p->label[i][x];
                    if (p->label[j][y] != l || l < p->rank || product_count_label(g, p, l) != 2 || (x == y && !sym))
                        continue;
                    uint8_t left = x == 1 ? p->label[i][0] : p->label[j][1 - y],
                            right = x == 1 ? p->label[j][1 - y] : p->label[i][1];
                    p->factor[i] = cr_matpow(g, b, dim_add(g->dims, e1, e2));
                    p->label[i][0] = left;
                    p->label[i][1] = right;
                    product_drop(p, j);
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
        if (is_const(g, n->word[i], &v) && v == 1 && is_op(g, n->word[1 - i], CR_OP_EXP))
            return in_of(g, n->word[1 - i], 0);
    return CR_NONE;
}

bool merge_facts(simp *s, product *p)
{
    cr_graph *g = s->g;
    double e;
    for (unsigned i = 0; i < p->n; i++) {
        cr_ref f = p->factor[i];
        /* adj(X)/det(X) = inv(X) */
        if (is_op(g, f, CR_OP_ADJ))
            for (unsigned j = 0; j < p->n; j++) {
                cr_ref b = power_base(g, p->factor[j], &e);
                if (e != -1 || !is_op(g, b, CR_OP_DET) || in_of(g, b, 0) != in_of(g, f, 0)) continue;
                p->factor[i] = cr_linalg(g, CR_OP_INV, in_of(g, f, 0));
                product_drop(p, j);
                return true;
            }
        /* exp(z) / sum(exp(z)) = softmax(z) */
        if (is_op(g, f, CR_OP_EXP) && rank_of(g, f) == 1)
            for (unsigned j = 0; j < p->n; j++) {
                cr_ref b = power_base(g, p->factor[j], &e);
                if (e >= 0 || rank_of(g, b) || b != cr_sum(g, f)) continue;
                p->factor[i] = cr_softmax(g, in_of(g, f, 0), 0);
                if (e == -1) product_drop(p, j);
                else p->factor[j] = power_of(g, b, e + 1);
                return true;
            }
        /* exp(z[i]) / sum(exp(z)) = softmax(z)[i] */
        if (is_op(g, f, CR_OP_EXP) && rank_of(g, f) == 0 && is_op(g, in_of(g, f, 0), CR_OP_EINSUM))
            for (unsigned j = 0; j < p->n; j++) {
                cr_ref b = power_base(g, p->factor[j], &e), z = in_of(g, f, 0), all, hot = CR_NONE;
                if (e >= 0 || !is_op(g, b, CR_OP_EINSUM) || rank_of(g, b) || node(g, b)->n_in != 1 ||
                    !is_op(g, all = in_of(g, b, 0), CR_OP_EXP) || rank_of(g, all) != 1)
                    continue;
                for (uint32_t k = 0; k < node(g, z)->n_in && !hot; k++) {
                    cr_ref h = in_of(g, z, k);
                    if (is_op(g, h, CR_OP_ONEHOT) && shape_of(g, h)->dim[0] == shape_of(g, all)->dim[0] &&
                        cr_einsum(g, 2, (cr_ref[]){in_of(g, all, 0), h}, (uint8_t[]){0, 0}, 0, NULL) == z)
                        hot = h;
                }
                if (!hot) continue;
                p->factor[i] =
                    cr_einsum(g, 2, (cr_ref[]){cr_softmax(g, in_of(g, all, 0), 0), hot}, (uint8_t[]){0, 0}, 0, NULL);
                if (e == -1) product_drop(p, j);
                else p->factor[j] = power_of(g, b, e + 1);
                return true;
            }
        /* exp(z) / (1 + exp(z)) = sigmoid(z) = 1 / (1 + exp(-z)) */
        cr_ref b = power_base(g, f, &e), z = e < 0 && e == trunc(e) ? logistic(g, b) : CR_NONE;
        if (z) {
            unsigned j = 0;
            while (j < p->n && (!is_op(g, p->factor[j], CR_OP_EXP) || in_of(g, p->factor[j], 0) != z ||
                                !product_same_labels(g, p, i, j)))
                j++;
            if (j < p->n) {
                p->factor[j] = cr_map(g, CR_OP_SIGMOID, z);
                if (e == -1) product_drop(p, i);
                else p->factor[i] = power_of(g, b, e + 1);
            } else {
                cr_ref minus = sum_simplify(s, 1, (cr_ref[]){cr_neg(g, z)});
                p->factor[i] = minus ? power_of(g, cr_map(g, CR_OP_SIGMOID, minus), -e) : CR_NONE;
            }
            return g->err.status == CR_OK;
        }
        /* sigmoid(-z) exp(z) = sigmoid(z) */
        b = power_base(g, f, &e);
        if (is_op(g, b, CR_OP_SIGMOID) && e >= 1 && e == trunc(e))
            for (unsigned j = 0; j < p->n; j++) {
                if (!is_op(g, p->factor[j], CR_OP_EXP) || !product_same_labels(g, p, i, j)) continue;
                cr_ref minus = sum_simplify(s, 1, (cr_ref[]){cr_neg(g, in_of(g, b, 0))});
                if (minus != in_of(g, p->factor[j], 0)) continue;
                p->factor[j] = cr_map(g, CR_OP_SIGMOID, minus);
                if (e == 1) product_drop(p, i);
                else p->factor[i] = power_of(g, b, e - 1);
                return true;
            }
        /* probabilities sum to 1 */
        bool probability = (is_op(g, f, CR_OP_PARAM) && attr_of(g, f, 1) & CR_PROBABILITY) ||
                           (is_op(g, f, CR_OP_SOFTMAX) && rank_of(g, f) == 1);
        for (unsigned k = 0; k < rank_of(g, f) && probability; k++)
            probability = p->label[i][k] >= p->rank && product_count_label(g, p, p->label[i][k]) == 1;
        if (probability && rank_of(g, f)) {
            product_drop(p, i);
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
