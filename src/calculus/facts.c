/* What is known of an expression: its sign, its range, whether a matrix is symmetric or invertible. From attributes and
 * structure alone. */
#include "calculus/simplify.h"

#include <math.h>
#include <string.h>

/* A symbol that is the size of something is at least 1; `let k : Z` may be anything. */
static bool size_at_least(void *user, dim_sym sym, int64_t *v)
{
    simp *s = user;
    cr_graph *g = s->g;
    if (s->size_types != g->n_types) { /* types have been made since: look at the new ones */
        for (size_t t = s->size_types ? s->size_types : 1; t < g->n_types; t++)
            for (unsigned a = 0; a < g->type[t]->rank; a++) {
                dim_sym d;
                size_t old = s->size_cap;
                if (!dim_is_symbol(g->dims, g->type[t]->dim[a], &d) ||
                    !VEC_RESERVE(s->is_size, s->size_cap, (size_t)d + 1))
                    continue;
                if (s->size_cap > old) memset(s->is_size + old, 0, s->size_cap - old);
                s->is_size[d] = 1;
            }
        s->size_types = g->n_types;
    }
    *v = 1;
    return sym < s->size_cap && s->is_size[sym];
}

void simp_free(simp *s)
{
    mem_free(s->sign);
    mem_free(s->merge);
    mem_free(s->is_size);
}

static unsigned sign_at(simp *s, cr_ref r, unsigned depth);

/* The values that the entries of an expression can take: between lo and hi, without the ends where open. */
typedef struct range {
    double lo, hi;
    bool open_lo, open_hi;
} range;

static range range_of(simp *s, cr_ref r, unsigned depth)
{
    cr_graph *g = s->g;
    const cr_node *n = node(g, r);
    range out = {-INFINITY, INFINITY, true, true};
    double v;
    if (depth > 6) return out;
    if (is_const(g, r, &v)) return (range){v, v, false, false};
    switch ((cr_op)n->op) {
    case CR_OP_SIGMOID: case CR_OP_SOFTMAX: return (range){0, 1, true, true};
    case CR_OP_TANH: case CR_OP_ERF: return (range){-1, 1, true, true};
    case CR_OP_SIN: case CR_OP_COS: return (range){-1, 1, false, false};
    case CR_OP_STEP: return (range){0, 1, false, false};
    case CR_OP_POW:
        if (!is_const(g, n->word[1], &v) || v != 2) break;
        out = range_of(s, n->word[0], depth + 1);
        if (out.lo == -out.hi) return (range){0, out.hi * out.hi, false, out.open_hi};
        break;
    case CR_OP_ADD:
        out = (range){0, 0, false, false};
        for (uint32_t i = 0; i < n->n_in && n->n_in <= 8; i++) {
            range t = range_of(s, n->word[i], depth + 1);
            out = (range){out.lo + t.lo, out.hi + t.hi, out.open_lo || t.open_lo, out.open_hi || t.open_hi};
        }
        if (n->n_in <= 8) return out;
        break;
    case CR_OP_EINSUM: { /* c * f, nothing summed */
        cr_ref rest;
        if (n->n_in > 2) break;
        v = split_coefficient(g, r, &rest);
        if (rest && rest != r) {
            range t = range_of(s, rest, depth + 1);
            if (v == 0) break;
            return v > 0 ? (range){v * t.lo, v * t.hi, t.open_lo, t.open_hi}
                         : (range){v * t.hi, v * t.lo, t.open_hi, t.open_lo};
        }
        if (n->n_in == 1 && cr_rank(g, n->word[0]) <= cr_rank(g, r)) { /* a view; a sum would have more axes */
            for (uint32_t i = 0; i < n->n_attr; i++)
                if (n->word[1 + i] >= cr_rank(g, r)) return out;
            return range_of(s, n->word[0], depth + 1);
        }
        break;
    }
    default: break;
    }
    out = (range){-INFINITY, INFINITY, true, true};
    unsigned sign = n->op == CR_OP_ADD ? SIGN_ANY : sign_at(s, r, 30);
    if (!(sign & SIGN_NEG)) out.lo = 0, out.open_lo = !(sign & SIGN_ZERO);
    if (!(sign & SIGN_POS)) out.hi = 0, out.open_hi = !(sign & SIGN_ZERO);
    return out;
}

/* Entries that differ in sign one by one may still have a sum of one sign: 1 - sigmoid(z) > 0. */
static unsigned sign_of_range(simp *s, cr_ref r)
{
    range t = range_of(s, r, 0);
    if (t.lo > 0 || (t.lo == 0 && t.open_lo)) return SIGN_POS;
    if (t.hi < 0 || (t.hi == 0 && t.open_hi)) return SIGN_NEG;
    if (t.lo == 0) return SIGN_ZERO | SIGN_POS;
    if (t.hi == 0) return SIGN_ZERO | SIGN_NEG;
    return SIGN_ANY;
}

static unsigned sign_at(simp *s, cr_ref r, unsigned depth)
{
    cr_graph *g = s->g;
    const cr_node *n = node(g, r);
    if (shape_of(g, r)->dtype != CR_REAL || depth > 40 || n->n_in > 64) return SIGN_ANY;
    if (r < s->sign_cap && s->sign[r]) return s->sign[r] & 7u;
    const op_info *op = op_get((cr_op)n->op);
    unsigned in[64], out = SIGN_ANY;
    if (n->op == CR_OP_INT) {
        int64_t least;
        if (dim_lower_bound(g->dims, n->word[0], size_at_least, s, &least) && least >= 0)
            out = least > 0 ? SIGN_POS : SIGN_POS | SIGN_ZERO;
    } else if (op->sign) {
        for (uint32_t i = 0; i < n->n_in; i++) in[i] = sign_at(s, n->word[i], depth + 1);
        out = op->sign(g, r, in);
        if (n->op == CR_OP_ADD && out == SIGN_ANY) out = sign_of_range(s, r);
    }
    if (r >= s->sign_cap) {
        size_t old = s->sign_cap;
        if (!VEC_RESERVE(s->sign, s->sign_cap, (size_t)r + 1)) return out;
        memset(s->sign + old, 0, s->sign_cap - old);
    }
    s->sign[r] = (unsigned char)(out | 8u);
    return out;
}

unsigned sign_of(simp *s, cr_ref r) { return sign_at(s, r, 0); }

unsigned calc_sign(cr_graph *g, cr_ref a)
{
    simp s = {.g = g};
    unsigned out = valid(g, a) ? sign_of(&s, a) : SIGN_ANY;
    simp_free(&s);
    return out;
}

/* The axes of a symmetric factor may be swapped: of the nodes that this gives, the oldest. (Only the first TURNED such
 * factors are tried.) */
cr_ref turn_symmetric(simp *s, const product *p, unsigned depth)
{
    enum { TURNED = 4 };
    cr_graph *g = s->g;
    product t = *p;
    uint8_t *turned[TURNED];
    unsigned n = 0;
    for (unsigned i = 0; i < t.n && n < TURNED; i++) {
        bool matrix = shape_of(g, t.factor[i])->rank == 2 && t.label[i][0] != t.label[i][1];
        if (matrix && is_symmetric(s, t.factor[i], depth + 1)) turned[n++] = t.label[i];
    }
    cr_ref oldest = product_build(g, &t);
    for (unsigned choice = 1; choice < 1u << n && oldest;
         choice++) { /* a Gray code: one turn leads to the next choice */
        unsigned k = 0;
        while (!(choice >> k & 1)) k++;
        uint8_t l = turned[k][0];
        turned[k][0] = turned[k][1];
        turned[k][1] = l;
        cr_ref r = product_build(g, &t);
        if (r < oldest) oldest = r;
    }
    return oldest;
}

bool is_symmetric(simp *s, cr_ref r, unsigned depth)
{
    cr_graph *g = s->g;
    const cr_shape *sh = shape_of(g, r);
    const cr_node *n = node(g, r);
    if (sh->rank != 2 || sh->dim[0] != sh->dim[1] || depth > 8) return false;
    switch ((cr_op)n->op) {
    case CR_OP_PARAM: return n->word[1] & (CR_SYMMETRIC | CR_DIAGONAL);
    case CR_OP_IDENTITY: return true;
    case CR_OP_INV: case CR_OP_ADJ: case CR_OP_PINV: case CR_OP_MATPOW: return is_symmetric(s, n->word[0], depth + 1);
    case CR_OP_ADD: { /* A + A' too: the sum of the transposed terms is the same node */
        cr_ref t[8];
        if (!s->small || n->n_in > 8) return false;
        for (uint32_t i = 0; i < n->n_in; i++)
            t[i] = is_symmetric(s, n->word[i], depth + 1) ? n->word[i]
                                                          : cr_einsum(g, 1, &n->word[i], (uint8_t[]){1, 0}, 2, sh->dim);
        return cr_add_n(g, n->n_in, t) == r;
    }
    case CR_OP_EINSUM: { /* symmetric if swapping its axes gives the same node */
        product p, t;
        if (!s->small) return false;
        product_read(g, r, &p);
        t = p;
        for (unsigned i = 0; i < t.n; i++)
            for (unsigned k = 0; k < shape_of(g, t.factor[i])->rank; k++)
                if (t.label[i][k] < 2) t.label[i][k] = 1 - t.label[i][k];
        return turn_symmetric(s, &t, depth) == turn_symmetric(s, &p, depth);
    }
    default: return op_get((cr_op)n->op)->kind == KIND_MAP1 && is_symmetric(s, n->word[0], depth + 1);
    }
}

bool calc_is_symmetric(cr_graph *g, cr_ref a)
{
    simp s = {.g = g, .small = true};
    bool out = valid(g, a) && is_symmetric(&s, a, 0);
    simp_free(&s);
    return out;
}

unsigned matrix_chain(cr_graph *g, cr_ref r, cr_ref *factor)
{
    product p;
    if (op_of(g, r) != CR_OP_EINSUM || cr_rank(g, r) != 2) return 0;
    product_read(g, r, &p);
    if (p.n > CHAIN_MAX || p.n < 2 || p.next != p.n + 1) return 0;
    uint8_t l = 0;
    bool used[CHAIN_MAX] = {false};
    for (unsigned step = 0; step < p.n; step++) {
        unsigned i = 0;
        while (i < p.n && (used[i] || cr_rank(g, p.factor[i]) != 2 || (p.label[i][0] != l && p.label[i][1] != l))) i++;
        if (i == p.n || p.label[i][0] == p.label[i][1]) return 0;
        const cr_shape *s = shape_of(g, p.factor[i]);
        if (s->dim[0] != s->dim[1]) return 0;
        bool turned = p.label[i][0] != l;
        factor[step] = turned ? cr_transpose(g, p.factor[i]) : p.factor[i];
        l = p.label[i][turned ? 0 : 1];
        used[i] = true;
    }
    return l == 1 ? p.n : 0;
}

bool is_invertible(simp *s, cr_ref r, unsigned depth)
{
    cr_graph *g = s->g;
    const cr_node *n = node(g, r);
    cr_ref factor[CHAIN_MAX];
    if (depth > 8) return false;
    switch ((cr_op)n->op) {
    case CR_OP_PARAM: return n->word[1] & CR_INVERTIBLE;
    case CR_OP_INV: return true; /* or it has no value */
    case CR_OP_MATPOW: return is_invertible(s, n->word[0], depth + 1);
    case CR_OP_EINSUM: {
        unsigned m = n->n_in == 1 ? 0 : matrix_chain(g, r, factor);
        if (n->n_in == 1)
            return cr_rank(g, n->word[0]) == 2 && n->word[1] != n->word[2] && is_invertible(s, n->word[0], depth + 1);
        for (unsigned i = 0; i < m; i++)
            if (!is_invertible(s, factor[i], depth + 1)) return false;
        return m > 0;
    }
    default: return false;
    }
}
