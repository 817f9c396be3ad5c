/* One memoised pass over the reals, for reading: cr_simplify. What holds for NaN and infinities too is done when nodes
 * are built; what needs x*0 = 0, or x/x = 1, is done here and never enters a program that runs. */
#include "calculus/simplify.h"

#include <math.h>
#include <string.h>

/* ---- one node ------------------------------------------------------------------------------------ */

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

/* ---- binders ------------------------------------------------------------------------------------- */

/* sum(i=lo..hi, f(i)*delta(i,j)) = f(j) where lo <= j <= hi, else 0. */
static cr_ref contract_binder(simp *s, cr_ref r)
{
    cr_graph *g = s->g;
    cr_ref body = in_of(g, r, 0);
    cr_dim lo = attr_of(g, r, 2), hi = attr_of(g, r, 3);
    dim_sym sym;
    if (!dim_is_symbol(g->dims, attr_of(g, r, 1), &sym)) return r;
    /* k equal terms, for an integer k that is taken to be no less than 0 where it counts something */
    cr_dim count = dim_add(g->dims, dim_sub(g->dims, hi, lo), dim_const(g->dims, 1));
    dim_sym k;
    if (dim_is_symbol(g->dims, count, &k) && !depends_on_symbol(g, body, sym)) {
        if (attr_of(g, r, 0) == CR_BIND_SUM) return cr_mul(g, cr_int(g, count), body);
        if (attr_of(g, r, 0) == CR_BIND_PROD) return cr_pow(g, body, cr_int(g, count));
    }
    if (attr_of(g, r, 0) != CR_BIND_SUM) return r;
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
            if (op_of(g, p.factor[i]) != CR_OP_ONEHOT || op_of(g, p.factor[j]) != CR_OP_ONEHOT ||
                p.label[i][0] != p.label[j][0])
                continue;
            cr_dim gap = dim_sub(g->dims, attr_of(g, p.factor[i], 0), attr_of(g, p.factor[j], 0));
            if (!dim_linear_in(g->dims, gap, sym, &a, &rest) || (a != 1 && a != -1)) continue;
            cr_dim at =
                a == 1 ? dim_sub(g->dims, dim_const(g->dims, 0), rest) : rest; /* the index where the two agree */
            cr_ref here = cr_int(g, at), zero = cr_full(g, cr_const(g, 0), p.rank, p.shape);
            cr_ref inside = cr_map2(g, CR_OP_AND, cr_map2(g, CR_OP_LE, cr_int(g, lo), here),
                                    cr_map2(g, CR_OP_LE, here, cr_int(g, hi)));
            if (!valid(g, inside) || g->err.status != CR_OK) return CR_NONE;
            if (op_of(g, inside) == CR_OP_CONST && attr_double(g, inside, 0) == 0) return zero;
            cr_ref value = graph_subst_symbol(g, body, sym, at);
            if (!value &&
                g->err.status == CR_EARG) { /* an index that is out of range there: not inside, but who knows */
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
    if (op_of(g, in_of(g, r, 0)) != CR_OP_IDENTITY || s->rank % 2 || memcmp(s->dim, s->dim + h, h * sizeof *s->dim))
        return r;
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

/* det(inv(X)) = 1/det(X), det(X^k) = det(X)^k */
static cr_ref determinant(cr_graph *g, cr_ref r)
{
    cr_ref x = in_of(g, r, 0);
    if (op_of(g, x) == CR_OP_INV) return cr_pow(g, cr_linalg(g, CR_OP_DET, in_of(g, x, 0)), cr_const(g, -1));
    if (op_of(g, x) == CR_OP_MATPOW)
        return cr_pow(g, cr_linalg(g, CR_OP_DET, in_of(g, x, 0)), cr_int(g, attr_of(g, x, 0)));
    return r;
}

/* inv(A*B) = inv(B)*inv(A) for square A and B, so that inverses meet what they cancel with. */
static cr_ref invert_chain(cr_graph *g, cr_ref r)
{
    cr_ref factor[CHAIN_MAX], x = in_of(g, r, 0);
    unsigned n = matrix_chain(g, x, factor);
    if (op_of(g, x) == CR_OP_MATPOW)
        return cr_matpow(g, in_of(g, x, 0), dim_sub(g->dims, dim_const(g->dims, 0), attr_of(g, x, 0)));
    if (!n && op_of(g, x) == CR_OP_EINSUM && node(g, x)->n_in == 1 && cr_rank(g, in_of(g, x, 0)) == 2 &&
        attr_of(g, x, 0) == 1 && attr_of(g, x, 1) == 0) /* inv(A') = inv(A)' */
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
                if (constant_condition(g, n->word[i], &yes))
                    r = yes == (n->op == CR_OP_AND) ? n->word[1 - i] : n->word[i];
            if (r == before && op_of(g, n->word[1]) == n->op) /* a or (b or c): from the left, as it is read */
                r = cr_map2(g, (cr_op)n->op, cr_map2(g, (cr_op)n->op, n->word[0], in_of(g, n->word[1], 0)),
                            in_of(g, n->word[1], 1));
            break;
        default:
            if (op->simplify && !(s->stable && (n->op == CR_OP_DSIGMOID || n->op == CR_OP_DTANH)))
                r = op->simplify(g, r);
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

/* Rewrites enable one another: a small expression is passed over until nothing changes. A large one is read by no one:
 * once. */
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

cr_status cr_simplify_n(cr_graph *g, unsigned n, const cr_ref *in, cr_ref *out)
{
    return simplify_all(g, n, in, false, out);
}

static cr_ref simplify_one(cr_graph *g, cr_ref a, bool stable)
{
    cr_ref out = CR_NONE;
    return valid(g, a) && simplify_all(g, 1, &a, stable, &out) == CR_OK ? out : CR_NONE;
}

cr_ref cr_simplify(cr_graph *g, cr_ref a) { return simplify_one(g, a, false); }
cr_ref calc_simplify_stable(cr_graph *g, cr_ref a) { return simplify_one(g, a, true); }
