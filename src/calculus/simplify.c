/* One memoised pass over the reals, for reading: cr_simplify. What holds for NaN and infinities too is done when nodes are
 * built; what needs x*0 = 0, or x/x = 1, is done here and never enters a program that runs. */
#include "calculus/simplify.h"

#include <math.h>
#include <string.h>

/* ---- facts --------------------------------------------------------------------------------------- */

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
                if (!dim_is_symbol(g->dims, g->type[t]->dim[a], &d) || !VEC_RESERVE(s->is_size, s->size_cap, (size_t)d + 1)) continue;
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
            return v > 0 ? (range){v * t.lo, v * t.hi, t.open_lo, t.open_hi} : (range){v * t.hi, v * t.lo, t.open_hi, t.open_lo};
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
        if (dim_lower_bound(g->dims, n->word[0], size_at_least, s, &least) && least >= 0) out = least > 0 ? SIGN_POS : SIGN_POS | SIGN_ZERO;
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
    for (unsigned choice = 1; choice < 1u << n && oldest; choice++) { /* a Gray code: one turn leads to the next choice */
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
            t[i] = is_symmetric(s, n->word[i], depth + 1) ? n->word[i] : cr_einsum(g, 1, &n->word[i], (uint8_t[]){1, 0}, 2, sh->dim);
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

/* ---- one node ------------------------------------------------------------------------------------ */

/* Conditions that signs decide: z > 0, z != 0, ... against a constant 0. */
static cr_ref decide_by_sign(simp *s, cr_ref r)
{
    cr_graph *g = s->g;
    cr_op op = op_of(g, r);
    double v;
    if (op != CR_OP_LT && op != CR_OP_LE && op != CR_OP_EQ && op != CR_OP_NE) return r;
    cr_ref a = in_of(g, r, 0), b = in_of(g, r, 1);
    unsigned sign; /* of b - a */
    if (is_const(g, a, &v) && v == 0) {
        sign = sign_of(s, b);
    } else if (is_const(g, b, &v) && v == 0) {
        unsigned t = sign_of(s, a);
        sign = (t & SIGN_ZERO) | (t & SIGN_NEG ? SIGN_POS : 0u) | (t & SIGN_POS ? SIGN_NEG : 0u);
    } else {
        return r;
    }
    unsigned yes = op == CR_OP_LT ? SIGN_POS : op == CR_OP_LE ? SIGN_POS | SIGN_ZERO : op == CR_OP_EQ ? SIGN_ZERO : SIGN_POS | SIGN_NEG;
    const cr_shape *sh = shape_of(g, r);
    if (!(sign & ~yes)) return cr_full(g, cr_bool(g, true), sh->rank, sh->dim);
    if (!(sign & yes)) return cr_full(g, cr_bool(g, false), sh->rank, sh->dim);
    return r;
}

typedef struct symbol_list {
    dim_sym s[8];
    unsigned n;
} symbol_list;

static void list_symbol(void *user, dim_sym s)
{
    symbol_list *l = user;
    if (l->n < 8) l->s[l->n] = s;
    l->n++;
}

/* j-1 <= n-1 is j <= n: a comparison of integers solved for its first symbol. */
static cr_ref solve_comparison(cr_graph *g, cr_ref r)
{
    cr_dim a, b, rest;
    int64_t c;
    symbol_list l = {.n = 0};
    cr_op op = op_of(g, r);
    if (!is_scalar(g, r) || !as_dim(g, in_of(g, r, 0), &a) || !as_dim(g, in_of(g, r, 1), &b)) return r;
    cr_dim d = dim_sub(g->dims, b, a);
    dim_symbols(g->dims, d, list_symbol, &l);
    for (unsigned i = 0; i < l.n && l.n <= 8; i++) {
        if (!dim_linear_in(g->dims, d, l.s[i], &c, &rest) || (c != 1 && c != -1)) continue;
        cr_ref s = cr_int(g, dim_symbol(g->dims, l.s[i]));
        cr_ref other = cr_int(g, c == 1 ? dim_sub(g->dims, dim_const(g->dims, 0), rest) : rest);
        return c == 1 ? cr_map2(g, op, other, s) : cr_map2(g, op, s, other);
    }
    return r;
}

/* A broadcast condition that is constant. */
static bool constant_condition(const cr_graph *g, cr_ref r, bool *value)
{
    const cr_node *n = node(g, r);
    double a, b;
    if (n->op == CR_OP_CONST) {
        *value = attr_double(g, r, 0) != 0;
        return true;
    }
    if (n->op != CR_OP_EQ || !is_const(g, n->word[0], &a) || !is_const(g, n->word[1], &b)) return false;
    *value = a == b;
    return true;
}

/* The factors of p that hang together by summed labels with factor i, as one scalar; marks them in done. */
static cr_ref component(cr_graph *g, const product *p, unsigned i, bool *done)
{
    product q = *p;
    uint64_t labels = 0;
    bool in[PRODUCT_MAX] = {false}, grown = true;
    in[i] = true;
    while (grown) {
        grown = false;
        for (unsigned k = 0; k < p->n; k++) {
            uint64_t own = 0;
            for (unsigned a = 0; a < shape_of(g, p->factor[k])->rank; a++) own |= 1ull << p->label[k][a];
            if (!in[k] && !(own & labels)) continue;
            grown |= (labels | own) != labels || !in[k];
            in[k] = true;
            labels |= own;
        }
    }
    q.n = 0;
    q.coef = 1;
    for (unsigned k = 0; k < p->n; k++) {
        if (!in[k]) continue;
        done[k] = true;
        q.factor[q.n] = p->factor[k];
        memcpy(q.label[q.n++], p->label[k], sizeof q.label[0]);
    }
    /* a Kronecker delta: a comparison of its two indices, given back as their difference */
    if (q.n == 2 && op_of(g, q.factor[0]) == CR_OP_ONEHOT && op_of(g, q.factor[1]) == CR_OP_ONEHOT) return CR_NONE;
    return product_build(g, &q);
}

/* a*b*... == 0 reads better factor by factor; delta(i,j) == 0 is i != j; a - b == 0 is a == b. */
static cr_ref zero_test(simp *s, cr_ref r)
{
    cr_graph *g = s->g;
    cr_op op = op_of(g, r), other = op == CR_OP_EQ ? CR_OP_NE : CR_OP_EQ;
    double v;
    if ((op != CR_OP_EQ && op != CR_OP_NE) || !is_const(g, in_of(g, r, 1), &v) || v != 0) return r;
    cr_ref rest, a = in_of(g, r, 0);
    if (split_coefficient(g, a, &rest) != 1 && rest) return cr_map2(g, op, rest, cr_const(g, 0));
    if (op_of(g, a) == CR_OP_ADD && node(g, a)->n_in == 2)
        for (uint32_t i = 0; i < 2; i++)
            if (split_coefficient(g, in_of(g, a, i), &rest) == -1 && rest) return cr_map2(g, op, in_of(g, a, 1 - i), rest);
    if (op_of(g, a) == CR_OP_ABS) return cr_map2(g, op, in_of(g, a, 0), cr_const(g, 0));
    if (op_of(g, a) == CR_OP_SQRT && op == CR_OP_NE) return cr_map2(g, CR_OP_LT, cr_const(g, 0), in_of(g, a, 0)); /* it has a value */
    if (op_of(g, a) == CR_OP_POW && is_const(g, in_of(g, a, 1), &v)) return v > 0 ? cr_map2(g, op, in_of(g, a, 0), cr_const(g, 0)) : r;
    if (op_of(g, a) != CR_OP_EINSUM || !is_scalar(g, a)) return r;
    product p;
    bool done[PRODUCT_MAX] = {false};
    product_read(g, a, &p);
    cr_ref out = CR_NONE;
    unsigned parts = 0;
    bool delta = false;
    for (unsigned i = 0; i < p.n; i++) {
        if (done[i]) continue;
        cr_ref f = component(g, &p, i, done), c;
        if (f) {
            if (!(sign_of(s, f) & SIGN_ZERO)) {
                parts++;
                continue;
            }
            c = cr_map2(g, op, f, cr_const(g, 0));
        } else {
            unsigned j = i + 1; /* its partner */
            while (j < p.n && (op_of(g, p.factor[j]) != CR_OP_ONEHOT || p.label[j][0] != p.label[i][0])) j++;
            if (j == p.n || g->err.status != CR_OK) return r;
            c = cr_map2(g, other, cr_int(g, attr_of(g, p.factor[i], 0)), cr_int(g, attr_of(g, p.factor[j], 0)));
            delta = true;
        }
        parts++;
        out = !out ? c : cr_map2(g, op == CR_OP_EQ ? CR_OP_OR : CR_OP_AND, out, c);
    }
    return out && (parts > 1 || delta) ? out : r;
}

static cr_ref by_range(simp *s, cr_ref r)
{
    cr_graph *g = s->g;
    const cr_shape *sh = shape_of(g, r);
    cr_ref z = in_of(g, r, 0);
    unsigned t = sign_of(s, z);
    switch (op_of(g, r)) {
    case CR_OP_ABS: return !(t & SIGN_NEG) ? z : !(t & SIGN_POS) ? cr_neg(g, z) : r;
    case CR_OP_RELU: case CR_OP_LEAKY_RELU: case CR_OP_ELU: return !(t & SIGN_NEG) ? z : r;
    case CR_OP_STEP: case CR_OP_SIGN: return t == SIGN_POS ? cr_full(g, cr_const(g, 1), sh->rank, sh->dim) : r;
    default: return r;
    }
}

/* Which axes of r do its entries depend on? A bit set. */
static unsigned used_axes(const cr_graph *g, cr_ref r)
{
    unsigned rank = shape_of(g, r)->rank, used = 0;
    const cr_node *n = node(g, r);
    if (n->op != CR_OP_EINSUM) return (1u << rank) - 1;
    for (uint32_t i = 0; i < n->n_attr; i++)
        if (n->word[n->n_in + i] < rank) used |= 1u << n->word[n->n_in + i];
    return used;
}

/* r over the axes in `keep` only; it depends on no others. */
static cr_ref drop_axes(cr_graph *g, cr_ref r, unsigned keep)
{
    product p;
    product_read(g, r, &p);
    uint8_t to[EINSUM_MAX_LABELS];
    unsigned rank = 0;
    for (unsigned l = 0; l < p.rank; l++)
        if (keep >> l & 1) {
            p.shape[rank] = p.shape[l];
            to[l] = (uint8_t)rank++;
        }
    for (unsigned l = p.rank; l < p.next; l++) to[l] = (uint8_t)(rank + l - p.rank);
    for (unsigned i = 0; i < p.n; i++)
        for (unsigned k = 0; k < shape_of(g, p.factor[i])->rank; k++) p.label[i][k] = to[p.label[i][k]];
    p.rank = rank;
    return product_build(g, &p);
}

/* f(s*ones(n)) = f(s)*ones(n): an element-wise node whose inputs are all constant along some axes. */
static cr_ref unbroadcast(cr_graph *g, cr_ref r)
{
    const cr_node *n = node(g, r);
    const cr_shape *sh = shape_of(g, r);
    op_kind kind = op_get((cr_op)n->op)->kind;
    if (sh->rank == 0 || sh->dtype != CR_REAL || n->n_in > 8) return r;
    if (kind != KIND_MAP1 && kind != KIND_MAP2 && n->op != CR_OP_CALL && n->op != CR_OP_ADD) return r;
    unsigned used = 0, all = (1u << sh->rank) - 1;
    for (uint32_t i = 0; i < n->n_in; i++) used |= used_axes(g, n->word[i]);
    if (used == all) return r;
    cr_ref in[8];
    for (uint32_t i = 0; i < n->n_in; i++) in[i] = drop_axes(g, n->word[i], used);
    cr_ref small = graph_remake(g, r, in);
    uint8_t label[CR_MAX_RANK];
    unsigned k = 0;
    for (unsigned a = 0; a < sh->rank; a++)
        if (used >> a & 1) label[k++] = (uint8_t)a;
    return small ? cr_einsum(g, 1, &small, label, sh->rank, sh->dim) : CR_NONE;
}

/* The scalar condition that c is everywhere, if it is one: a comparison of broadcast numbers, or a broadcast condition, whose
 * form is (b ? 1 : 0) == 1. */
static cr_ref same_everywhere(cr_graph *g, cr_ref c)
{
    cr_op op = op_of(g, c);
    double v, one, zero;
    if (cr_rank(g, c) == 0) return c;
    if (op == CR_OP_ALLR || op == CR_OP_ANYR) { /* all(j, x_j == 0), whatever i */
        cr_ref t = in_of(g, c, 0);
        op_kind kind = op_get(op_of(g, t))->kind;
        if (kind != KIND_CMP || node(g, t)->n_in != 2 || op_of(g, t) == CR_OP_AND || op_of(g, t) == CR_OP_OR) return CR_NONE;
        unsigned used = used_axes(g, in_of(g, t, 0)) | used_axes(g, in_of(g, t, 1));
        if (used & ((1u << attr_of(g, c, 0)) - 1)) return CR_NONE;
        t = cr_map2(g, op_of(g, t), drop_axes(g, in_of(g, t, 0), used), drop_axes(g, in_of(g, t, 1), used));
        return valid(g, t) && cr_rank(g, t) ? cr_reduce(g, op, t, 0) : t;
    }
    if ((op != CR_OP_LT && op != CR_OP_LE && op != CR_OP_EQ && op != CR_OP_NE) || used_axes(g, in_of(g, c, 0)) | used_axes(g, in_of(g, c, 1)))
        return CR_NONE;
    cr_ref a = drop_axes(g, in_of(g, c, 0), 0), b = drop_axes(g, in_of(g, c, 1), 0);
    if (op == CR_OP_EQ && is_const(g, b, &v) && v == 1 && op_of(g, a) == CR_OP_SELECT && is_const(g, in_of(g, a, 1), &one) && one == 1 &&
        is_const(g, in_of(g, a, 2), &zero) && zero == 0)
        return in_of(g, a, 0);
    return cr_map2(g, op, a, b);
}

/* all(i, c) for a comparison c that is constant along i is c; all(i, c_i or b) is all(i, c_i) or b, any(i, c_i and b)
 * likewise, and so are the other two. */
static cr_ref reduce_constant_axes(cr_graph *g, cr_ref r)
{
    cr_ref c = in_of(g, r, 0);
    cr_op op = op_of(g, c);
    unsigned keep = attr_of(g, r, 0);
    if (keep == 0 && (op == CR_OP_AND || op == CR_OP_OR))
        for (uint32_t i = 0; i < 2; i++) {
            cr_ref b = same_everywhere(g, in_of(g, c, i));
            if (b) return cr_map2(g, op, i ? cr_reduce(g, op_of(g, r), in_of(g, c, 0), 0) : b, i ? b : cr_reduce(g, op_of(g, r), in_of(g, c, 1), 0));
        }
    if (op != CR_OP_LT && op != CR_OP_LE && op != CR_OP_EQ && op != CR_OP_NE) return r;
    cr_ref a = in_of(g, c, 0), b = in_of(g, c, 1);
    unsigned used = used_axes(g, a) | used_axes(g, b) | ((1u << keep) - 1);
    if (used == (1u << cr_rank(g, a)) - 1) return r;
    c = cr_map2(g, op, drop_axes(g, a, used), drop_axes(g, b, used));
    return valid(g, c) && cr_rank(g, c) > keep ? cr_reduce(g, op_of(g, r), c, keep) : c;
}

/* ---- binders ------------------------------------------------------------------------------------- */

/* sum(i=lo..hi, f(i)*delta(i,j)) = f(j) where lo <= j <= hi, else 0. */
static cr_ref contract_binder(simp *s, cr_ref r)
{
    cr_graph *g = s->g;
    cr_ref body = in_of(g, r, 0);
    cr_dim lo = attr_of(g, r, 2), hi = attr_of(g, r, 3);
    dim_sym sym;
    if (attr_of(g, r, 0) != CR_BIND_SUM || !dim_is_symbol(g->dims, attr_of(g, r, 1), &sym)) return r;
    if (op_of(g, body) == CR_OP_ADD && node(g, body)->n_in <= 12) { /* term by term, if any term has a delta */
        cr_ref term[12];
        bool changed = false;
        const cr_node *n = node(g, body);
        for (uint32_t i = 0; i < n->n_in; i++) {
            cr_ref one = cr_bind(g, CR_BIND_SUM, name_text(g->dims, sym), lo, hi, n->word[i]);
            if (!one) return CR_NONE;
            term[i] = op_of(g, one) == CR_OP_BIND ? contract_binder(s, one) : one;
            changed |= term[i] != one || op_of(g, one) != CR_OP_BIND;
        }
        return changed ? cr_add_n(g, n->n_in, term) : r;
    }
    if (op_of(g, body) != CR_OP_EINSUM) return r;
    product p;
    product_read(g, body, &p);
    for (unsigned i = 0; i < p.n; i++)
        for (unsigned j = i + 1; j < p.n; j++) {
            int64_t a;
            cr_dim rest;
            if (op_of(g, p.factor[i]) != CR_OP_ONEHOT || op_of(g, p.factor[j]) != CR_OP_ONEHOT || p.label[i][0] != p.label[j][0]) continue;
            cr_dim gap = dim_sub(g->dims, attr_of(g, p.factor[i], 0), attr_of(g, p.factor[j], 0));
            if (!dim_linear_in(g->dims, gap, sym, &a, &rest) || (a != 1 && a != -1)) continue;
            cr_dim at = a == 1 ? dim_sub(g->dims, dim_const(g->dims, 0), rest) : rest; /* the index where the two agree */
            cr_ref here = cr_int(g, at), zero = cr_full(g, cr_const(g, 0), p.rank, p.shape);
            cr_ref inside = cr_map2(g, CR_OP_AND, cr_map2(g, CR_OP_LE, cr_int(g, lo), here), cr_map2(g, CR_OP_LE, here, cr_int(g, hi)));
            if (!valid(g, inside) || g->err.status != CR_OK) return CR_NONE;
            if (op_of(g, inside) == CR_OP_CONST && attr_double(g, inside, 0) == 0) return zero;
            cr_ref value = graph_subst_symbol(g, body, sym, at);
            if (!value && g->err.status == CR_EARG) { /* an index that is out of range there: not inside, but who knows */
                cr_graph_clear_error(g);
                return r;
            }
            return cr_select(g, inside, value, zero);
        }
    return r;
}

/* ---- layout -------------------------------------------------------------------------------------- */

/* The identity of n*m, split into axes n, m, n, m, is the product of two identities. */
static cr_ref split_identity(cr_graph *g, cr_ref r)
{
    const cr_shape *s = shape_of(g, r);
    unsigned h = s->rank / 2u;
    if (op_of(g, in_of(g, r, 0)) != CR_OP_IDENTITY || s->rank % 2 || memcmp(s->dim, s->dim + h, h * sizeof *s->dim)) return r;
    cr_ref in[CR_MAX_RANK];
    uint8_t label[CR_MAX_RANK];
    for (unsigned i = 0; i < h; i++) {
        in[i] = cr_identity(g, s->dim[i]);
        label[2 * i] = (uint8_t)i;
        label[2 * i + 1] = (uint8_t)(h + i);
    }
    return cr_einsum(g, h, in, label, s->rank, s->dim);
}

/* inv(X)^k = X^-k */
static cr_ref matrix_power(cr_graph *g, cr_ref r)
{
    cr_ref x = in_of(g, r, 0);
    cr_dim k = attr_of(g, r, 0);
    if (op_of(g, x) == CR_OP_INV) return cr_matpow(g, in_of(g, x, 0), dim_sub(g->dims, dim_const(g->dims, 0), k));
    if (op_of(g, x) == CR_OP_MATPOW) return cr_matpow(g, in_of(g, x, 0), dim_mul(g->dims, attr_of(g, x, 0), k));
    return r;
}

/* The matrices of the product r = A B C..., each as it stands in it (transposed or not), from the left; 0 if r is no chain of
 * square matrices. */
enum { CHAIN_MAX = 8 };
static unsigned read_chain(cr_graph *g, cr_ref r, cr_ref *factor)
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

static bool is_invertible(simp *s, cr_ref r, unsigned depth)
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
        unsigned m = n->n_in == 1 ? 0 : read_chain(g, r, factor);
        if (n->n_in == 1) return cr_rank(g, n->word[0]) == 2 && n->word[1] != n->word[2] && is_invertible(s, n->word[0], depth + 1);
        for (unsigned i = 0; i < m; i++)
            if (!is_invertible(s, factor[i], depth + 1)) return false;
        return m > 0;
    }
    default: return false;
    }
}

/* det(inv(X)) = 1/det(X), det(X^k) = det(X)^k */
static cr_ref determinant(cr_graph *g, cr_ref r)
{
    cr_ref x = in_of(g, r, 0);
    if (op_of(g, x) == CR_OP_INV) return cr_pow(g, cr_linalg(g, CR_OP_DET, in_of(g, x, 0)), cr_const(g, -1));
    if (op_of(g, x) == CR_OP_MATPOW) return cr_pow(g, cr_linalg(g, CR_OP_DET, in_of(g, x, 0)), cr_int(g, attr_of(g, x, 0)));
    return r;
}

/* inv(A*B) = inv(B)*inv(A) for square A and B, so that inverses meet what they cancel with. */
static cr_ref invert_chain(cr_graph *g, cr_ref r)
{
    cr_ref factor[CHAIN_MAX], x = in_of(g, r, 0);
    unsigned n = read_chain(g, x, factor);
    if (op_of(g, x) == CR_OP_MATPOW)
        return cr_matpow(g, in_of(g, x, 0), dim_sub(g->dims, dim_const(g->dims, 0), attr_of(g, x, 0)));
    if (!n && op_of(g, x) == CR_OP_EINSUM && node(g, x)->n_in == 1 && cr_rank(g, in_of(g, x, 0)) == 2 &&
        attr_of(g, x, 0) == 1) /* inv(A') = inv(A)' */
        return cr_transpose(g, cr_linalg(g, CR_OP_INV, in_of(g, x, 0)));
    if (!n) return r;
    cr_ref out = cr_linalg(g, CR_OP_INV, factor[n - 1]);
    for (unsigned i = n - 1; i-- > 0;) out = cr_matmul(g, out, cr_linalg(g, CR_OP_INV, factor[i]));
    return out;
}

/* Derivative of a function with a body: written out. */
static cr_ref expand_call(cr_graph *g, cr_ref r)
{
    const cr_function *f = &g->fun[attr_of(g, r, 0)];
    unsigned order = attr_of(g, r, 1);
    cr_ref d = f->body, arg = f->arg;
    if (!d || order == 0) return r;
    if (order > 16) return graph_fail(g, CR_ELIMIT, "a derivative of order %u", order);
    for (; order > 0 && d; order--) d = cr_derivative(g, d, arg);
    return graph_inline(g, d, arg, in_of(g, r, 0));
}

static cr_ref simplify_node(simp *s, cr_ref r)
{
    cr_graph *g = s->g;
    for (int round = 0; valid(g, r) && round < 8; round++) {
        cr_ref before = r;
        const cr_node *n = node(g, r);
        const op_info *op = op_get((cr_op)n->op);
        bool yes;
        if (s->small && (r = unbroadcast(g, r)) != before) {
            if (valid(g, r)) r = simplify_new(s, r, before);
            continue;
        }
        switch ((cr_op)n->op) {
        case CR_OP_ADD: return sum_simplify(s, n->n_in, n->word);
        case CR_OP_EINSUM: case CR_OP_DIV: case CR_OP_POW: case CR_OP_SQRT:
            if (n->op == CR_OP_SQRT && (r = op->simplify(g, r)) != before) break;
            return product_simplify_node(s, r);
        case CR_OP_CALL: r = expand_call(g, r); break;
        case CR_OP_BIND: r = contract_binder(s, r); break;
        case CR_OP_RESHAPE: r = split_identity(g, r); break;
        case CR_OP_MATPOW: r = matrix_power(g, r); break;
        case CR_OP_ADJ: /* known to be invertible: the customary form */
            if (is_invertible(s, n->word[0], 0))
                r = cr_mul(g, cr_linalg(g, CR_OP_DET, n->word[0]), cr_linalg(g, CR_OP_INV, n->word[0]));
            break;
        case CR_OP_DET: r = determinant(g, r); break;
        case CR_OP_INV:
            r = op->simplify(g, r);
            if (r == before && s->small) r = invert_chain(g, r);
            break;
        case CR_OP_SELECT:
            if (constant_condition(g, n->word[0], &yes)) r = n->word[yes ? 1 : 2];
            else r = op->simplify(g, r);
            break;
        case CR_OP_LT: case CR_OP_LE: case CR_OP_EQ: case CR_OP_NE:
            r = decide_by_sign(s, r);
            if (r == before) r = zero_test(s, r);
            if (r == before) r = solve_comparison(g, r);
            break;
        case CR_OP_ALLR: case CR_OP_ANYR:
            if (constant_condition(g, n->word[0], &yes) && shape_of(g, r)->rank == 0) r = cr_bool(g, yes);
            else r = reduce_constant_axes(g, r);
            break;
        case CR_OP_AND: case CR_OP_OR:
            for (uint32_t i = 0; i < 2 && r == before; i++) /* constants that were broadcast */
                if (constant_condition(g, n->word[i], &yes)) r = yes == (n->op == CR_OP_AND) ? n->word[1 - i] : n->word[i];
            if (r == before && op_of(g, n->word[1]) == n->op) /* a or (b or c): from the left, as it is read */
                r = cr_map2(g, (cr_op)n->op, cr_map2(g, (cr_op)n->op, n->word[0], in_of(g, n->word[1], 0)), in_of(g, n->word[1], 1));
            break;
        default:
            if (op->simplify && !(s->stable && (n->op == CR_OP_DSIGMOID || n->op == CR_OP_DTANH))) r = op->simplify(g, r);
            if (valid(g, r) && r == before && op->kind == KIND_MAP1) r = by_range(s, r);
        }
        if (r == before) return r;
        /* The rule built new nodes over simplified ones: simplify those it made, then look again. */
        if (valid(g, r) && node(g, r)->n_in) r = simplify_new(s, r, before);
    }
    return r;
}

/* Simplifies the inputs of r that a rule has just made (those beyond `old`, the highest ref before the rule). */
static cr_ref simplify_inputs(simp *s, cr_ref r, cr_ref old, unsigned depth)
{
    cr_graph *g = s->g;
    const cr_node *n = node(g, r);
    cr_ref small[8], *in = n->n_in <= 8 ? small : mem_alloc(n->n_in * sizeof *in);
    bool changed = false;
    if (!in) return graph_fail(g, CR_ENOMEM, "out of memory");
    for (uint32_t i = 0; i < n->n_in; i++) {
        in[i] = n->word[i];
        if (in[i] > old && depth < 30 && node(g, in[i])->n_in) {
            in[i] = simplify_inputs(s, in[i], old, depth + 1);
            if (valid(g, in[i])) in[i] = simplify_node(s, in[i]);
        }
        changed |= in[i] != n->word[i];
    }
    cr_ref out = changed ? graph_remake(g, r, in) : r;
    if (in != small) mem_free(in);
    return out;
}

cr_ref simplify_new(simp *s, cr_ref r, cr_ref old) { return simplify_inputs(s, r, old, 0); }

/* ---- the pass ------------------------------------------------------------------------------------ */

bool may_merge(const simp *s, cr_ref r) { return s->small || (r < s->merge_cap && s->merge[r]); }

static void allow_merge(simp *s, cr_ref r)
{
    size_t old = s->merge_cap;
    if (s->small || !valid(s->g, r)) return;
    if (!VEC_RESERVE(s->merge, s->merge_cap, (size_t)r + 1)) return; /* without, the result is only less merged */
    if (s->merge_cap > old) memset(s->merge + old, 0, s->merge_cap - old);
    s->merge[r] = 1;
}

static cr_status pass(cr_graph *g, unsigned n_roots, const cr_ref *roots, bool stable, cr_ref *out)
{
    enum { SMALL = 4000 };
    size_t n;
    cr_ref *cone = graph_cone(g, n_roots, roots, &n);
    if (!cone) return g->err.status;
    cr_ref top = n ? cone[n - 1] : 0;
    simp s = {.g = g, .small = n <= SMALL, .stable = stable};
    cr_ref *new_of = mem_zalloc((size_t)top + 1, sizeof *new_of), *in = NULL;
    uint32_t *uses = mem_zalloc((size_t)top + 1, sizeof *uses);
    size_t in_cap = 0;
    bool ok = new_of && uses;
    for (size_t i = 0; i < n && ok; i++)
        for (uint32_t k = 0; k < node(g, cone[i])->n_in; k++) uses[node(g, cone[i])->word[k]]++;
    for (size_t i = 0; i < n && ok; i++) {
        cr_ref r = cone[i];
        const cr_node *nd = node(g, r);
        bool changed = false;
        ok = VEC_RESERVE(in, in_cap, nd->n_in + 1);
        for (uint32_t k = 0; k < nd->n_in && ok; k++) {
            in[k] = new_of[nd->word[k]];
            changed |= in[k] != nd->word[k];
        }
        if (!ok) break;
        cr_ref made = changed ? graph_remake(g, r, in) : r;
        new_of[r] = made ? simplify_node(&s, made) : CR_NONE;
        ok = new_of[r] != CR_NONE;
        if (ok && uses[r] <= 1) allow_merge(&s, new_of[r]);
    }
    for (unsigned i = 0; i < n_roots && ok; i++) out[i] = roots[i] ? new_of[roots[i]] : CR_NONE;
    mem_free(in);
    mem_free(uses);
    mem_free(new_of);
    simp_free(&s);
    mem_free(cone);
    if (!ok && g->err.status == CR_OK) graph_fail(g, CR_ENOMEM, "out of memory");
    return ok ? CR_OK : g->err.status;
}

/* Rewrites enable one another: a small expression is passed over until nothing changes. A large one is read by no one: once. */
static cr_status simplify_all(cr_graph *g, unsigned n, const cr_ref *in, bool stable, cr_ref *out)
{
    cr_ref small[8], *last = n <= 8 ? small : mem_alloc(n * sizeof *last);
    if (!last) {
        graph_fail(g, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    memcpy(last, in, n * sizeof *last);
    cr_status st = CR_OK;
    for (int round = 0; round < 6; round++) {
        st = pass(g, n, last, stable, out);
        if (st != CR_OK || n > 8 || !memcmp(last, out, n * sizeof *last)) break;
        memcpy(last, out, n * sizeof *last);
    }
    if (last != small) mem_free(last);
    return st;
}

cr_status cr_simplify_n(cr_graph *g, unsigned n, const cr_ref *in, cr_ref *out) { return simplify_all(g, n, in, false, out); }

static cr_ref simplify_one(cr_graph *g, cr_ref a, bool stable)
{
    cr_ref out = CR_NONE;
    return valid(g, a) && simplify_all(g, 1, &a, stable, &out) == CR_OK ? out : CR_NONE;
}

cr_ref cr_simplify(cr_graph *g, cr_ref a) { return simplify_one(g, a, false); }
cr_ref calc_simplify_stable(cr_graph *g, cr_ref a) { return simplify_one(g, a, true); }
