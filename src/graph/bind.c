/* Sums, products and tensors over an index. Where the index runs over a whole axis the body is lifted: it gets one more
 * axis and the binder becomes a contraction, a reduction or nothing at all, so that `sum(i=1..n, a[i]*x[i])` and `a'*x`
 * are one node. What cannot be lifted (a range such as 2..n, a matrix power with the index as exponent) stays a BIND.
 */
#include "graph/window.h"

#include <stdio.h>
#include <string.h>

/* ---- lifting ----------------------------------------------------------------------------------- */

/* The integer polynomial d (linear in the index s) as a vector over s = 1..n; CR_NONE without error if it is not
 * linear. */
static cr_ref lift_dim(cr_graph *g, cr_dim d, dim_sym s, cr_dim n)
{
    int64_t a;
    cr_dim rest;
    if (!dim_linear_in(g->dims, d, s, &a, &rest)) return CR_NONE;
    cr_ref v = cr_mul(g, cr_const(g, (double)a), cr_iota(g, n));
    int64_t zero;
    return dim_value(g->dims, rest, &zero) && zero == 0 ? v : cr_add(g, v, cr_int(g, rest));
}

/* r with a leading axis for the index s in 1..n. in[] are lifted inputs, dep[] says which of them have the axis (at
 * least one has, or r itself names s). CR_NONE without error: this operator cannot be lifted. */
static cr_ref lift_node(cr_graph *g, cr_ref r, dim_sym s, cr_dim n, const cr_ref *in, const bool *dep)
{
    const cr_node *nd = node(g, r);
    const cr_shape *sh = shape_of(g, r);
    const uint32_t *attr = nd->word + nd->n_in;
    dim_sym t;
    for (unsigned i = 0; i < sh->rank; i++)
        if (dim_uses(g->dims, sh->dim[i], s)) return CR_NONE; /* a size that changes with the index */
    switch ((cr_op)nd->op) {
    case CR_OP_INT: return lift_dim(g, attr[0], s, n);
    case CR_OP_ONEHOT: return dim_is_symbol(g->dims, attr[0], &t) && sh->dim[0] == n ? cr_identity(g, n) : CR_NONE;
    case CR_OP_EINSUM: {
        /* old label k becomes k+1, label 0 is the index */
        uint8_t label[EINSUM_MAX_LABELS * 2];
        cr_dim dim[CR_MAX_RANK + 1] = {n};
        unsigned k = 0;
        const uint32_t *old = attr;
        if (nd->n_attr + nd->n_in > sizeof label || sh->rank == CR_MAX_RANK) return CR_NONE;
        for (uint32_t i = 0; i < nd->n_in; i++) {
            if (dep[i]) label[k++] = 0;
            for (unsigned a = shape_of(g, nd->word[i])->rank; a > 0; a--) label[k++] = (uint8_t)(*old++ + 1);
        }
        memcpy(dim + 1, sh->dim, sh->rank * sizeof *dim);
        return cr_einsum(g, nd->n_in, in, label, sh->rank + 1u, dim);
    }
    case CR_OP_MAXR: case CR_OP_MINR: case CR_OP_PRODR: case CR_OP_ALLR: case CR_OP_ANYR:
    case CR_OP_NORM1: case CR_OP_NORM2: case CR_OP_NORM_INF:
        return cr_reduce(g, (cr_op)nd->op, in[0], attr[0] + 1);
    case CR_OP_SOFTMAX: return cr_softmax(g, in[0], attr[0] + 1);
    case CR_OP_LOGSOFTMAX: return cr_logsoftmax(g, in[0], attr[0] + 1);
    case CR_OP_DET: case CR_OP_LOGDET: case CR_OP_INV: case CR_OP_PINV: case CR_OP_ADJ: case CR_OP_MATPOW:
    case CR_OP_RESHAPE: case CR_OP_STACK: case CR_OP_MEMBER: case CR_OP_CONV:
        return CR_NONE;
    case CR_OP_WINDOW: case CR_OP_MAXPOOL: case CR_OP_MAXTIES: case CR_OP_MAXPICK: { /* axes in front are free */
        cr_window w;
        cr_ref to[2] = {in[0], nd->n_in > 1 ? in[1] : CR_NONE};
        window_read(g, r, &w);
        if (graph_node_uses(g, r, s)) return CR_NONE;
        if (nd->n_in > 1 && dep[0]) { /* the new axis of x stands before those that t has of its own */
            if (sh->rank != shape_of(g, nd->word[0])->rank) return CR_NONE;
            if (!dep[1]) to[1] = graph_tile(g, in[1], 1, &n);
        }
        return window_remake(g, r, to, &w);
    }
    case CR_OP_GATHER: return dep[1] ? CR_NONE : cr_gather(g, in[0], in[1], attr[0] + 1);
    case CR_OP_SCATTER: return dep[1] ? CR_NONE : cr_scatter(g, in[0], in[1], attr[0] + 1, sh->dim[attr[0]]);
    case CR_OP_PICK: /* all members, in order */
        if (dep[0] || family_first(g, nd->word[0]) != dim_const(g->dims, 1) ||
            !dim_is_symbol(g->dims, attr[0], &t) || t != s || shape_of(g, nd->word[0])->dim[0] != n)
            return CR_NONE;
        return nd->word[0];
    case CR_OP_BIND: /* sums and products are element-wise in the new axis */
        if ((attr[0] != CR_BIND_SUM && attr[0] != CR_BIND_PROD) || dim_uses(g->dims, attr[2], s) ||
            dim_uses(g->dims, attr[3], s) || !dim_is_symbol(g->dims, attr[1], &t) || t == s)
            return CR_NONE;
        return cr_bind(g, (cr_bind_kind)attr[0], name_text(g->dims, t), attr[2], attr[3], in[0]);
    default: { /* element-wise */
        cr_ref full[3];
        if (nd->n_in > 3 && nd->op != CR_OP_ADD) return CR_NONE;
        cr_ref *to = nd->n_in <= 3 ? full : mem_alloc(nd->n_in * sizeof *to), out = CR_NONE;
        if (!to) return graph_fail(g, CR_ENOMEM, "out of memory");
        bool ok = true;
        for (uint32_t i = 0; i < nd->n_in && ok; i++)
            ok = (to[i] = (dep[i] ? in[i] : graph_tile(g, in[i], 1, &n))) != CR_NONE;
        if (ok) out = graph_remake(g, r, to);
        if (to != full) mem_free(to);
        return out;
    }
    }
}

/* body with a leading axis for s in 1..n. CR_NONE without error: not liftable. *depends: whether it uses s at all. */
static cr_ref lift(cr_graph *g, cr_ref body, dim_sym s, cr_dim n, bool *depends)
{
    size_t count;
    cr_ref *cone = graph_cone(g, 1, &body, &count);
    if (!cone) return CR_NONE;
    cr_ref *lifted = mem_zalloc((size_t)body + 1, sizeof *lifted), *in = NULL;
    bool *dep_of = mem_zalloc((size_t)body + 1, sizeof *dep_of), *dep = NULL;
    size_t in_cap = 0, dep_cap = 0;
    bool ok = lifted && dep_of;
    if (!ok) graph_fail(g, CR_ENOMEM, "out of memory");
    for (size_t i = 0; i < count && ok; i++) {
        cr_ref r = cone[i];
        const cr_node *nd = node(g, r);
        ok = VEC_RESERVE(in, in_cap, nd->n_in + 1) && VEC_RESERVE(dep, dep_cap, nd->n_in + 1);
        if (!ok) {
            graph_fail(g, CR_ENOMEM, "out of memory");
            break;
        }
        bool any = false;
        for (uint32_t k = 0; k < nd->n_in; k++) {
            in[k] = lifted[nd->word[k]];
            dep[k] = dep_of[nd->word[k]];
            any |= dep[k];
        }
        any |= graph_node_uses(g, r, s);
        dep_of[r] = any;
        lifted[r] = any ? lift_node(g, r, s, n, in, dep) : r;
        ok = lifted[r] != CR_NONE;
    }
    cr_ref out = ok ? lifted[body] : CR_NONE;
    if (depends) *depends = !dep_of || dep_of[body];
    mem_free(in);
    mem_free(dep);
    mem_free(dep_of);
    mem_free(lifted);
    mem_free(cone);
    return out;
}

/* ---- the binder -------------------------------------------------------------------------------- */

typedef struct level_scan {
    const cr_graph *g;
    dim_sym but;
    uint64_t used; /* levels 1..63 of the symbols met */
    unsigned top;
} level_scan;

static unsigned level_of(const cr_graph *g, dim_sym s)
{
    unsigned l;
    return sscanf(name_text(g->dims, s), "#%u", &l) == 1 ? l : 0;
}

static void scan_symbol(void *user, dim_sym s)
{
    level_scan *scan = user;
    unsigned l = s == scan->but ? 0 : level_of(scan->g, s);
    if (l < 64) scan->used |= 1ull << l;
    if (l > scan->top) scan->top = l;
}

/* Bound symbols are named #1, #2, ... by nesting, from the inside, so that renaming an index gives the same ref. A name
 * that the body or the range uses for an enclosing binder is passed over, so that nothing is captured. */
static unsigned binder_level(cr_graph *g, cr_ref body, dim_sym bound, cr_dim lo, cr_dim hi)
{
    size_t n;
    level_scan scan = {.g = g, .but = bound};
    unsigned inner = 0;
    cr_ref *cone = graph_cone(g, 1, &body, &n);
    dim_symbols(g->dims, lo, scan_symbol, &scan);
    dim_symbols(g->dims, hi, scan_symbol, &scan);
    for (size_t i = 0; cone && i < n; i++) {
        dim_sym s;
        graph_node_dims(g, cone[i], scan_symbol, &scan);
        if (op_of(g, cone[i]) != CR_OP_BIND || !dim_is_symbol(g->dims, attr_of(g, cone[i], 1), &s)) continue;
        if (level_of(g, s) > inner) inner = level_of(g, s);
    }
    mem_free(cone);
    if (scan.top >= 63) return scan.top + 1;
    for (inner++; scan.used >> inner & 1;) inner++;
    return inner;
}

/* Reduces the leading axis of t. */
static cr_ref reduce_leading(cr_graph *g, cr_bind_kind kind, cr_ref t)
{
    const cr_shape *s = shape_of(g, t);
    unsigned rank = s->rank - 1u;
    uint8_t label[CR_MAX_RANK];
    label[0] = (uint8_t)rank; /* the index last */
    for (unsigned i = 0; i < rank; i++) label[i + 1] = (uint8_t)i;
    if (kind == CR_BIND_SUM) return cr_einsum(g, 1, &t, label, rank, s->dim + 1);
    static const cr_op reduction[] = {[CR_BIND_PROD] = CR_OP_PRODR,
                                      [CR_BIND_ALL] = CR_OP_ALLR,
                                      [CR_BIND_ANY] = CR_OP_ANYR,
                                      [CR_BIND_MAX] = CR_OP_MAXR,
                                      [CR_BIND_MIN] = CR_OP_MINR};
    if (rank == 0) return cr_reduce(g, reduction[kind], t, 0);
    if (s->dtype != CR_REAL) return CR_NONE; /* conditions cannot be transposed: keep the binder */
    cr_dim dim[CR_MAX_RANK];
    memcpy(dim, s->dim + 1, rank * sizeof *dim);
    dim[rank] = s->dim[0];
    return cr_reduce(g, reduction[kind], cr_einsum(g, 1, &t, label, rank + 1, dim), rank);
}

/* The value for a body that does not depend on the index, over `count` values (at least one). */
static cr_ref constant_body(cr_graph *g, cr_bind_kind kind, cr_dim count, cr_ref body)
{
    switch (kind) {
    case CR_BIND_SUM: return cr_mul(g, cr_int(g, count), body);
    case CR_BIND_PROD: return cr_pow(g, body, cr_int(g, count));
    case CR_BIND_STACK: return graph_tile(g, body, 1, &count);
    case CR_BIND_CHAIN: return cr_matpow(g, body, count);
    default: return body;
    }
}

/* A symbol that is the size of something is at least 1. */
static bool size_at_least(void *user, dim_sym s, int64_t *v)
{
    const cr_graph *g = user;
    *v = 1;
    for (size_t t = 1; t < g->n_types; t++)
        for (unsigned a = 0; a < g->type[t]->rank; a++) {
            dim_sym d;
            if (dim_is_symbol(g->dims, g->type[t]->dim[a], &d) && d == s) return true;
        }
    return false;
}

/* Does the range hold at least one value, for sure? An empty sum is 0, which count * body is not for a negative count.
 */
static bool surely_filled(cr_graph *g, cr_dim count)
{
    int64_t least;
    return dim_lower_bound(g->dims, count, size_at_least, g, &least) && least >= 1;
}

cr_ref cr_bind(cr_graph *g, cr_bind_kind kind, const char *symbol, cr_dim lo, cr_dim hi, cr_ref body)
{
    if (!valid(g, body) || !lo || !hi) return CR_NONE;
    if ((unsigned)kind > CR_BIND_CHAIN) return graph_fail(g, CR_EARG, "no such binder");
    bool boolean = shape_of(g, body)->dtype == CR_BOOL;
    if (kind != CR_BIND_STACK && boolean != (kind == CR_BIND_ALL || kind == CR_BIND_ANY))
        return graph_fail(g, CR_ESHAPE,
                          boolean ? "a sum or product takes numbers, not conditions"
                                  : "all and any take conditions, not numbers");
    dim_sym s = name_intern(g->dims, symbol, strlen(symbol));
    if (!s) return CR_NONE;
    const cr_shape *sh = shape_of(g, body);
    if (kind == CR_BIND_CHAIN && (sh->rank != 2 || sh->dim[0] != sh->dim[1]))
        return graph_fail(g, CR_ESHAPE, "a product over an index takes scalars or square matrices, not %s",
                          shape_text(g, body, 0));
    cr_dim one = dim_const(g->dims, 1), count = dim_add(g->dims, dim_sub(g->dims, hi, lo), one);
    int64_t n;
    if (!count) return CR_NONE;
    if (dim_uses(g->dims, lo, s) || dim_uses(g->dims, hi, s))
        return graph_fail(g, CR_EARG, "the range of an index may not depend on the index");
    for (unsigned i = 0; i < sh->rank; i++)
        if (dim_uses(g->dims, sh->dim[i], s))
            return graph_fail(g, CR_ESHAPE, "the size of the body may not depend on the index");
    if (dim_value(g->dims, count, &n) && n <= 0) {
        if (kind == CR_BIND_ALL || kind == CR_BIND_ANY) return cr_bool(g, kind == CR_BIND_ALL);
        if (kind == CR_BIND_SUM || kind == CR_BIND_PROD)
            return cr_full(g, cr_const(g, kind == CR_BIND_PROD), sh->rank, sh->dim);
        if (kind == CR_BIND_CHAIN) return cr_identity(g, sh->dim[0]);
        return graph_fail(g, CR_EARG, "an empty range");
    }
    double truth; /* for all, and for any, of none at all too */
    if (boolean && op_of(g, body) == CR_OP_CONST && ((truth = attr_double(g, body, 0)) != 0) == (kind == CR_BIND_ALL))
        return body;
    if (lo == one && kind != CR_BIND_CHAIN) {
        bool depends;
        cr_ref t = lift(g, body, s, hi, &depends);
        if (g->err.status != CR_OK) return CR_NONE;
        if (t && !depends && (kind == CR_BIND_STACK || surely_filled(g, count)))
            return constant_body(g, kind, count, body);
        if (!depends) t = CR_NONE;
        if (t && kind == CR_BIND_STACK) return t;
        if (t) {
            cr_ref out = reduce_leading(g, kind, t);
            if (out || g->err.status != CR_OK) return out;
        }
    } else if (!depends_on_symbol(g, body, s) && (kind == CR_BIND_STACK || surely_filled(g, count))) {
        return constant_body(g, kind, count, body);
    }
    if (dim_value(g->dims, count, &n) && n == 1 && kind != CR_BIND_STACK) return graph_subst_symbol(g, body, s, lo);
    char name[16];
    int len = snprintf(name, sizeof name, "#%u", binder_level(g, body, s, lo, hi));
    dim_sym canonical = name_intern(g->dims, name, (size_t)len);
    cr_dim c = dim_symbol(g->dims, canonical);
    if (!c) return CR_NONE;
    if (s != canonical) body = graph_subst_symbol(g, body, s, c);
    if (!body) return CR_NONE;
    sh = shape_of(g, body);
    cr_dim dim[CR_MAX_RANK + 1] = {count};
    unsigned lead = kind == CR_BIND_STACK;
    if (sh->rank + lead > CR_MAX_RANK) return graph_fail(g, CR_ELIMIT, "a tensor of more than %d axes", CR_MAX_RANK);
    memcpy(dim + lead, sh->dim, sh->rank * sizeof *dim);
    return graph_node(g, CR_OP_BIND, graph_type(g, (cr_dtype)sh->dtype, sh->rank + lead, dim), 1, &body, 4,
                      (uint32_t[]){kind, c, lo, hi});
}
