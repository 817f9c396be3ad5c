/* One memoised pass over the reals, for reading: cr_simplify. What holds for NaN and infinities too is done when nodes are
 * built; what needs x*0 = 0, or x/x = 1, is done here and never enters a program that runs. */
#include "calculus/simplify.h"

#include <math.h>
#include <string.h>

/* ---- numbers ------------------------------------------------------------------------------------ */

/* v = p/q exactly as a double, with small q? */
static bool fraction(double v, double *p, double *q)
{
    for (double d = 1; d <= 720; d++) {
        double n = nearbyint(v * d);
        if (fabs(n) < 1e9 && n / d == v) {
            *p = n;
            *q = d;
            return true;
        }
    }
    return false;
}

double times_exact(double a, double b)
{
    double p, q, r, s;
    if (a == trunc(a) && b == trunc(b)) return a * b;
    return fraction(a, &p, &q) && fraction(b, &r, &s) ? (p * r) / (q * s) : a * b;
}

double plus_exact(double a, double b)
{
    double p, q, r, s;
    if (a == trunc(a) && b == trunc(b)) return a + b;
    return fraction(a, &p, &q) && fraction(b, &r, &s) ? (p * s + r * q) / (q * s) : a + b;
}

/* ---- facts --------------------------------------------------------------------------------------- */

static unsigned sign_at(simp *s, cr_ref r, unsigned depth)
{
    cr_graph *g = s->g;
    const cr_node *n = node(g, r);
    if (shape_of(g, r)->dtype != CR_REAL || depth > 40 || n->n_in > 64) return SIGN_ANY;
    if (r < s->sign_cap && s->sign[r]) return s->sign[r] & 7u;
    const op_info *op = op_get((cr_op)n->op);
    unsigned in[64], out = SIGN_ANY;
    if (n->op == CR_OP_INT) {
        out = SIGN_ANY; /* `let k : Z` may be negative, and a size cannot be told from it here */
    } else if (op->sign) {
        for (uint32_t i = 0; i < n->n_in; i++) in[i] = sign_at(s, n->word[i], depth + 1);
        out = op->sign(g, r, in);
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
    mem_free(s.sign);
    return out;
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
    case CR_OP_ADD:
        for (uint32_t i = 0; i < n->n_in && i < 16; i++)
            if (n->n_in > 16 || !is_symmetric(s, n->word[i], depth + 1)) return false;
        return true;
    case CR_OP_EINSUM: /* symmetric if swapping its axes gives the same node */
        return s->small && cr_einsum(g, 1, &r, (uint8_t[]){1, 0}, 2, sh->dim) == r;
    default: return op_get((cr_op)n->op)->kind == KIND_MAP1 && is_symmetric(s, n->word[0], depth + 1);
    }
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

/* c != 0 where c = a*b*...: each factor is not 0; a product of conditions reads better than a condition on a product. */
static cr_ref nonzero_product(simp *s, cr_ref r)
{
    cr_graph *g = s->g;
    cr_op op = op_of(g, r);
    double v;
    if ((op != CR_OP_EQ && op != CR_OP_NE) || !is_scalar(g, in_of(g, r, 0)) || !is_const(g, in_of(g, r, 1), &v) || v != 0) return r;
    cr_ref rest, a = in_of(g, r, 0);
    product p;
    if (split_coefficient(g, a, &rest) != 1 && rest) return cr_map2(g, op, rest, cr_const(g, 0));
    if (op_of(g, a) == CR_OP_ABS) return cr_map2(g, op, in_of(g, a, 0), cr_const(g, 0));
    if (op_of(g, a) == CR_OP_POW && is_const(g, in_of(g, a, 1), &v)) return v > 0 ? cr_map2(g, op, in_of(g, a, 0), cr_const(g, 0)) : r;
    if (op_of(g, a) != CR_OP_EINSUM) return r;
    product_read(g, a, &p);
    cr_ref out = CR_NONE;
    for (unsigned i = 0; i < p.n; i++)
        if (!is_scalar(g, p.factor[i])) return r;
    for (unsigned i = 0; i < p.n; i++) {
        if (!(sign_of(s, p.factor[i]) & SIGN_ZERO)) continue;
        cr_ref c = cr_map2(g, op, p.factor[i], cr_const(g, 0));
        out = !out ? c : cr_map2(g, op == CR_OP_EQ ? CR_OP_OR : CR_OP_AND, out, c);
    }
    return out ? out : r;
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
        switch ((cr_op)n->op) {
        case CR_OP_ADD: return sum_simplify(s, n->n_in, n->word);
        case CR_OP_EINSUM: case CR_OP_DIV: case CR_OP_POW: case CR_OP_SQRT: {
            product p;
            if (n->op == CR_OP_SQRT && (r = op->simplify(g, r)) != before) break;
            product_read(g, r, &p);
            return product_simplify(s, &p);
        }
        case CR_OP_CALL: r = expand_call(g, r); break;
        case CR_OP_ADJ: /* known to be invertible: the customary form */
            if (op_of(g, n->word[0]) == CR_OP_PARAM && attr_of(g, n->word[0], 1) & CR_INVERTIBLE)
                r = cr_mul(g, cr_linalg(g, CR_OP_DET, n->word[0]), cr_linalg(g, CR_OP_INV, n->word[0]));
            break;
        case CR_OP_SELECT:
            if (constant_condition(g, n->word[0], &yes)) r = n->word[yes ? 1 : 2];
            else r = op->simplify(g, r);
            break;
        case CR_OP_LT: case CR_OP_LE: case CR_OP_EQ: case CR_OP_NE:
            r = decide_by_sign(s, r);
            if (r == before) r = nonzero_product(s, r);
            break;
        case CR_OP_ALLR: case CR_OP_ANYR:
            if (constant_condition(g, n->word[0], &yes) && shape_of(g, r)->rank == 0) r = cr_bool(g, yes);
            break;
        case CR_OP_AND: case CR_OP_OR: /* constants that were broadcast */
            for (uint32_t i = 0; i < 2; i++)
                if (constant_condition(g, n->word[i], &yes)) r = yes == (n->op == CR_OP_AND) ? n->word[1 - i] : n->word[i];
            break;
        default:
            if (op->simplify) r = op->simplify(g, r);
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

static cr_status pass(cr_graph *g, unsigned n_roots, const cr_ref *roots, cr_ref *out)
{
    enum { SMALL = 4000 };
    size_t n;
    cr_ref *cone = graph_cone(g, n_roots, roots, &n);
    if (!cone) return g->err.status;
    cr_ref top = n ? cone[n - 1] : 0;
    simp s = {.g = g, .small = n <= SMALL};
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
    mem_free(s.sign);
    mem_free(s.merge);
    mem_free(cone);
    if (!ok && g->err.status == CR_OK) graph_fail(g, CR_ENOMEM, "out of memory");
    return ok ? CR_OK : g->err.status;
}

/* Rewrites enable one another: a small expression is passed over until nothing changes. A large one is read by no one: once. */
cr_status cr_simplify_n(cr_graph *g, unsigned n, const cr_ref *in, cr_ref *out)
{
    cr_ref small[8], *last = n <= 8 ? small : mem_alloc(n * sizeof *last);
    if (!last) {
        graph_fail(g, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    memcpy(last, in, n * sizeof *last);
    cr_status st = CR_OK;
    for (int round = 0; round < 6; round++) {
        st = pass(g, n, last, out);
        if (st != CR_OK || n > 8 || !memcmp(last, out, n * sizeof *last)) break;
        memcpy(last, out, n * sizeof *last);
    }
    if (last != small) mem_free(last);
    return st;
}

cr_ref cr_simplify(cr_graph *g, cr_ref a)
{
    cr_ref out = CR_NONE;
    return valid(g, a) && cr_simplify_n(g, 1, &a, &out) == CR_OK ? out : CR_NONE;
}
