/* Builders of leaves and of element-wise operators. Construction applies EXACT rewrites only: those that hold for NaN,
 * infinities and -0 too. */
#include "graph/graph.h"

#include <math.h>
#include <string.h>

/* ---- dimensions -------------------------------------------------------------------------------- */

cr_dim cr_dim_const(cr_graph *g, int64_t v) { return dim_const(g->dims, v); }
cr_dim cr_dim_symbol(cr_graph *g, const char *name)
{
    return dim_symbol(g->dims, name_intern(g->dims, name, strlen(name)));
}
cr_dim cr_dim_add(cr_graph *g, cr_dim a, cr_dim b) { return a && b ? dim_add(g->dims, a, b) : 0; }
cr_dim cr_dim_sub(cr_graph *g, cr_dim a, cr_dim b) { return a && b ? dim_sub(g->dims, a, b) : 0; }
cr_dim cr_dim_mul(cr_graph *g, cr_dim a, cr_dim b) { return a && b ? dim_mul(g->dims, a, b) : 0; }
cr_dim cr_dim_floordiv(cr_graph *g, cr_dim a, cr_dim b) { return a && b ? dim_floordiv(g->dims, a, b) : 0; }
bool cr_dim_value(const cr_graph *g, cr_dim d, int64_t *v) { return d && dim_value(g->dims, d, v); }

/* ---- leaves ------------------------------------------------------------------------------------ */

cr_ref cr_param(cr_graph *g, const char *name, unsigned rank, const cr_dim *shape, unsigned attributes)
{
    if (attributes & CR_DEFINITE) attributes |= CR_SYMMETRIC | CR_INVERTIBLE;
    unsigned square = CR_SYMMETRIC | CR_DIAGONAL | CR_DEFINITE | CR_INVERTIBLE;
    if ((attributes & square) && (rank != 2 || shape[0] != shape[1]))
        return graph_fail(g, CR_ESHAPE, "`%s` has an attribute of square matrices but is not square", name);
    node_type type = graph_type(g, CR_REAL, rank, shape);
    dim_sym s = name_intern(g->dims, name, strlen(name));
    if (!type || !s) return CR_NONE;
    cr_ref r = graph_node(g, CR_OP_PARAM, type, 0, NULL, 2, (uint32_t[]){s, attributes});
    size_t old = g->param_cap;
    if (!VEC_RESERVE(g->param_by_name, g->param_cap, (size_t)s + 1)) return graph_fail(g, CR_ENOMEM, "out of memory");
    if (g->param_cap > old) memset(g->param_by_name + old, 0, (g->param_cap - old) * sizeof *g->param_by_name);
    if (g->param_by_name[s] && g->param_by_name[s] != r)
        return graph_fail(g, CR_ENAME, "`%s` is already declared as %s", name, shape_text(g, g->param_by_name[s], 0));
    return g->param_by_name[s] = r;
}

static cr_ref constant(cr_graph *g, cr_dtype dtype, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return graph_node(g, CR_OP_CONST, graph_type(g, dtype, 0, NULL), 0, NULL, 2,
                      (uint32_t[]){(uint32_t)bits, (uint32_t)(bits >> 32)});
}

cr_ref cr_const(cr_graph *g, double v) { return constant(g, CR_REAL, v); }
cr_ref cr_bool(cr_graph *g, bool v) { return constant(g, CR_BOOL, v); }

cr_ref cr_int(cr_graph *g, cr_dim d)
{
    int64_t v;
    if (!d) return CR_NONE;
    if (dim_value(g->dims, d, &v) && v <= 9007199254740992 && v >= -9007199254740992) return cr_const(g, (double)v);
    return graph_node(g, CR_OP_INT, graph_type(g, CR_REAL, 0, NULL), 0, NULL, 1, &d);
}

cr_ref cr_onehot(cr_graph *g, cr_dim i, cr_dim n)
{
    int64_t vi, vn;
    if (!i || !n) return CR_NONE;
    if (dim_value(g->dims, i, &vi) && (vi < 1 || (dim_value(g->dims, n, &vn) && vi > vn))) {
        strbuf b;
        sb_init(&b);
        dim_print(g->dims, n, &b, NULL, NULL);
        graph_fail(g, CR_EARG, "index %lld is out of range 1..%s", (long long)vi, sb_str(&b));
        sb_free(&b);
        return CR_NONE;
    }
    return graph_node(g, CR_OP_ONEHOT, graph_type(g, CR_REAL, 1, &n), 0, NULL, 1, &i);
}

cr_ref cr_identity(cr_graph *g, cr_dim n)
{
    return graph_node(g, CR_OP_IDENTITY, graph_type(g, CR_REAL, 2, (cr_dim[]){n, n}), 0, NULL, 0, NULL);
}

cr_ref cr_iota(cr_graph *g, cr_dim n)
{
    return graph_node(g, CR_OP_IOTA, graph_type(g, CR_REAL, 1, &n), 0, NULL, 0, NULL);
}

cr_ref cr_full(cr_graph *g, cr_ref scalar, unsigned rank, const cr_dim *shape)
{
    if (!valid(g, scalar)) return CR_NONE;
    if (!is_scalar(g, scalar)) return graph_fail(g, CR_ESHAPE, "only a scalar can fill a tensor");
    if (rank == 0) return scalar;
    return graph_tile(g, scalar, rank, shape);
}

cr_ref graph_tile(cr_graph *g, cr_ref a, unsigned k, const cr_dim *dim)
{
    if (!valid(g, a) || k == 0) return a;
    const cr_node *n = node(g, a);
    const cr_shape *s = shape_of(g, a);
    cr_dim shape[CR_MAX_RANK];
    if (s->rank + k > CR_MAX_RANK) return graph_fail(g, CR_ELIMIT, "a tensor of more than %d axes", CR_MAX_RANK);
    memcpy(shape, dim, k * sizeof *dim);
    memcpy(shape + k, s->dim, s->rank * sizeof *dim);
    if (s->dtype == CR_REAL) {
        uint8_t label[CR_MAX_RANK];
        for (unsigned i = 0; i < s->rank; i++) label[i] = (uint8_t)(k + i);
        return cr_einsum(g, 1, &a, label, s->rank + k, shape);
    }
    switch ((cr_op)n->op) { /* conditions have no einsum: comparisons of broadcast numbers */
    case CR_OP_LT: case CR_OP_LE: case CR_OP_EQ: case CR_OP_NE: case CR_OP_AND: case CR_OP_OR: {
        cr_ref left = graph_tile(g, n->word[0], k, dim), right = graph_tile(g, n->word[1], k, dim);
        return cr_map2(g, (cr_op)n->op, left, right);
    }
    case CR_OP_NOT: return cr_map(g, CR_OP_NOT, graph_tile(g, n->word[0], k, dim));
    default: { /* the indicator of the condition, compared with 1 */
        cr_ref one = cr_full(g, cr_const(g, 1), s->rank, s->dim), zero = cr_full(g, cr_const(g, 0), s->rank, s->dim);
        return cr_map2(g, CR_OP_EQ, graph_tile(g, cr_select(g, a, one, zero), k, dim), cr_const(g, 1));
    }
    }
}

/* ---- element-wise ------------------------------------------------------------------------------ */

/* Broadcasts a scalar to the shape of its partner; an error if the shapes differ otherwise. */
static bool broadcast(cr_graph *g, const char *what, unsigned n, cr_ref *a)
{
    cr_ref model = a[0];
    for (unsigned i = 0; i < n; i++) {
        if (!valid(g, a[i])) return false;
        if (!is_scalar(g, a[i])) model = a[i];
    }
    const cr_shape *s = shape_of(g, model);
    for (unsigned i = 0; i < n; i++) {
        if (same_shape(g, a[i], model)) continue;
        if (is_scalar(g, a[i])) {
            a[i] = cr_full(g, a[i], s->rank, s->dim);
            if (!a[i]) return false;
        } else {
            unsigned j = 0;
            while (is_scalar(g, a[j]) || same_shape(g, a[j], a[i])) j++;
            graph_fail(g, CR_ESHAPE, "%s needs equal sizes, but has %s and %s", what,
                       shape_text(g, a[j < i ? j : i], 0), shape_text(g, a[j < i ? i : j], 1));
            return false;
        }
    }
    return true;
}

static bool all_real(cr_graph *g, const char *what, unsigned n, const cr_ref *a)
{
    for (unsigned i = 0; i < n; i++)
        if (shape_of(g, a[i])->dtype != CR_REAL) {
            graph_fail(g, CR_ESHAPE, "%s takes numbers, not conditions", what);
            return false;
        }
    return true;
}

cr_ref cr_add_n(cr_graph *g, unsigned n, const cr_ref *terms)
{
    if (n == 0) return cr_const(g, 0.0);
    for (unsigned i = 0; i < n; i++)
        if (!valid(g, terms[i])) return CR_NONE;
    if (n == 1) return terms[0];
    cr_ref small[16], *a = n <= 16 ? small : mem_alloc(n * sizeof *a), r = CR_NONE;
    if (!a) return graph_fail(g, CR_ENOMEM, "out of memory");
    memcpy(a, terms, n * sizeof *a);
    if (broadcast(g, "a sum", n, a) && all_real(g, "a sum", n, a)) {
        /* Numbers: integers are added up exactly; INT polynomials too. */
        unsigned m = 0;
        cr_dim total = 0, d;
        unsigned at = 0;
        bool scalar = is_scalar(g, a[0]);
        for (unsigned i = 0; i < n; i++) {
            if (scalar && as_dim(g, a[i], &d)) {
                if (!total) at = m++;
                total = total ? dim_add(g->dims, total, d) : d;
                a[at] = total == d ? a[i] : cr_int(g, total);
                if (!a[at]) break;
            } else {
                a[m++] = a[i];
            }
        }
        r = m == 1 ? a[0] : graph_node(g, CR_OP_ADD, node(g, a[0])->type, m, a, 0, NULL);
    }
    if (a != small) mem_free(a);
    return r;
}

cr_ref cr_add(cr_graph *g, cr_ref a, cr_ref b) { return cr_add_n(g, 2, (cr_ref[]){a, b}); }

cr_ref cr_neg(cr_graph *g, cr_ref a) { return cr_mul(g, cr_const(g, -1.0), a); }

cr_ref cr_sub(cr_graph *g, cr_ref a, cr_ref b) { return cr_add(g, a, cr_neg(g, b)); }

cr_ref cr_mul(cr_graph *g, cr_ref a, cr_ref b)
{
    if (!valid(g, a) || !valid(g, b)) return CR_NONE;
    const cr_shape *s = shape_of(g, is_scalar(g, a) ? b : a);
    if (!is_scalar(g, a) && !is_scalar(g, b) && !same_shape(g, a, b))
        return graph_fail(g, CR_ESHAPE, "an element-wise product needs equal sizes, but has %s and %s",
                          shape_text(g, a, 0), shape_text(g, b, 1));
    uint8_t label[2 * CR_MAX_RANK];
    unsigned k = 0;
    for (unsigned i = 0; i < shape_of(g, a)->rank; i++) label[k++] = (uint8_t)i;
    for (unsigned i = 0; i < shape_of(g, b)->rank; i++) label[k++] = (uint8_t)i;
    return cr_einsum(g, 2, (cr_ref[]){a, b}, label, s->rank, s->dim);
}

static cr_ref map2(cr_graph *g, cr_op op, const char *what, cr_ref a, cr_ref b, cr_dtype result)
{
    cr_ref in[2] = {a, b};
    if (!broadcast(g, what, 2, in)) return CR_NONE;
    const cr_shape *s = shape_of(g, in[0]);
    return graph_node(g, op, graph_type(g, result, s->rank, s->dim), 2, in, 0, NULL);
}

cr_ref cr_div(cr_graph *g, cr_ref a, cr_ref b)
{
    double x, y;
    if (!valid(g, a) || !valid(g, b) || !all_real(g, "a quotient", 2, (cr_ref[]){a, b})) return CR_NONE;
    if (is_const(g, b, &y) && y == 1.0 && (is_scalar(g, b) || same_shape(g, a, b))) return a;
    if (is_scalar(g, a) && is_scalar(g, b) && is_const(g, a, &x) && is_const(g, b, &y) && y != 0 && x == trunc(x) &&
        y == trunc(y))
        return cr_const(g, x / y);
    return map2(g, CR_OP_DIV, "an element-wise quotient", a, b, CR_REAL);
}

cr_ref cr_pow(cr_graph *g, cr_ref a, cr_ref b)
{
    double x, y;
    if (!valid(g, a) || !valid(g, b) || !all_real(g, "a power", 2, (cr_ref[]){a, b})) return CR_NONE;
    if (is_const(g, b, &y) && y == 1.0 && (is_scalar(g, b) || same_shape(g, a, b))) return a;
    if (is_scalar(g, a) && is_scalar(g, b) && is_const(g, a, &x) && is_const(g, b, &y) && x == trunc(x) &&
        y == trunc(y) && y >= 0 && fabs(pow(x, y)) < 1e15)
        return cr_const(g, pow(x, y));
    if (is_scalar(g, b) && op_of(g, a) == CR_OP_INT && is_const(g, b, &y) && y == trunc(y) && y >= 2 &&
        y <= 16) { /* n^2 */
        cr_dim base = attr_of(g, a, 0), d = base;
        for (int i = 1; i < (int)y && d; i++) d = dim_mul(g->dims, d, base);
        return cr_int(g, d);
    }
    return map2(g, CR_OP_POW, "an element-wise power", a, b, CR_REAL);
}

/* Decides a comparison of numbers, or of integers whose difference is a number. */
static bool decide(cr_graph *g, cr_op op, cr_ref a, cr_ref b, bool *result)
{
    double x, y;
    cr_dim p, q;
    int64_t gap;
    if (is_const(g, a, &x) && is_const(g, b, &y)) {
    } else if (as_dim(g, a, &p) && as_dim(g, b, &q) && dim_value(g->dims, dim_sub(g->dims, p, q), &gap)) {
        x = (double)gap;
        y = 0;
    } else {
        return false;
    }
    *result = op == CR_OP_LT ? x < y : op == CR_OP_LE ? x <= y : op == CR_OP_EQ ? x == y : x != y;
    return true;
}

cr_ref cr_map2(cr_graph *g, cr_op op, cr_ref a, cr_ref b)
{
    if (!valid(g, a) || !valid(g, b)) return CR_NONE;
    bool yes;
    double v;
    switch (op) {
    case CR_OP_DIV: return cr_div(g, a, b);
    case CR_OP_POW: return cr_pow(g, a, b);
    case CR_OP_MAX2: case CR_OP_MIN2: case CR_OP_MOD:
        if (!all_real(g, op == CR_OP_MOD ? "mod" : "max or min", 2, (cr_ref[]){a, b})) return CR_NONE;
        return map2(g, op, "an element-wise function", a, b, CR_REAL);
    case CR_OP_LT: case CR_OP_LE: case CR_OP_EQ: case CR_OP_NE:
        if (!all_real(g, "a comparison", 2, (cr_ref[]){a, b})) return CR_NONE;
        if (is_scalar(g, a) && is_scalar(g, b) && decide(g, op, a, b, &yes)) return cr_bool(g, yes);
        return map2(g, op, "a comparison", a, b, CR_BOOL);
    case CR_OP_AND: case CR_OP_OR:
        for (int i = 0; i < 2; i++) {
            cr_ref c = i ? b : a;
            if (shape_of(g, c)->dtype != CR_BOOL)
                return graph_fail(g, CR_ESHAPE, "`and`, `or` take conditions, not numbers");
            if (op_of(g, c) != CR_OP_CONST) continue;
            v = attr_double(g, c, 0);
            if ((op == CR_OP_AND) == (v != 0)) return i ? a : b; /* true and b, false or b */
            if (is_scalar(g, i ? a : b)) return c;               /* false and b, true or b */
        }
        if (a == b) return a;
        return map2(g, op, op == CR_OP_AND ? "`and`" : "`or`", a, b, CR_BOOL);
    default:
        return graph_fail(g, CR_EARG, "not an operator of two arguments");
    }
}

cr_ref cr_map(cr_graph *g, cr_op op, cr_ref a)
{
    if (!valid(g, a)) return CR_NONE;
    if (op == CR_OP_NOT) {
        if (shape_of(g, a)->dtype != CR_BOOL) return graph_fail(g, CR_ESHAPE, "`not` takes a condition, not a number");
        switch (op_of(g, a)) {
        case CR_OP_CONST: return cr_bool(g, attr_double(g, a, 0) == 0);
        case CR_OP_NOT: return in_of(g, a, 0);
        case CR_OP_EQ: return cr_map2(g, CR_OP_NE, in_of(g, a, 0), in_of(g, a, 1));
        case CR_OP_NE: return cr_map2(g, CR_OP_EQ, in_of(g, a, 0), in_of(g, a, 1));
        default: return graph_node(g, op, node(g, a)->type, 1, &a, 0, NULL);
        }
    }
    if (!all_real(g, "a function", 1, &a)) return CR_NONE;
    switch (op) {
#define CR_OP(name, spelling, arity, kind) kind##_CASE(name)
#define MAP1_CASE(name) case CR_OP_##name:
#define LEAF_CASE(name)
#define MAP2_CASE(name)
#define CMP_CASE(name)
#define REDUCE_CASE(name)
#define LINALG_CASE(name)
#define OTHER_CASE(name)
#include "chainrule_ops.def"
#undef CR_OP
        break;
    default: return graph_fail(g, CR_EARG, "not a function of one argument");
    }
    if (op == CR_OP_LEAKY_RELU) return cr_leaky_relu(g, a, 0.01);
    return graph_node(g, op, node(g, a)->type, 1, &a, 0, NULL);
}

cr_ref cr_leaky_relu(cr_graph *g, cr_ref a, double slope)
{
    if (!valid(g, a) || !all_real(g, "leaky_relu", 1, &a)) return CR_NONE;
    uint64_t bits;
    memcpy(&bits, &slope, sizeof bits);
    return graph_node(g, CR_OP_LEAKY_RELU, node(g, a)->type, 1, &a, 2,
                      (uint32_t[]){(uint32_t)bits, (uint32_t)(bits >> 32)});
}

cr_ref cr_select(cr_graph *g, cr_ref cond, cr_ref a, cr_ref b)
{
    if (!valid(g, cond) || !valid(g, a) || !valid(g, b)) return CR_NONE;
    if (shape_of(g, cond)->dtype != CR_BOOL)
        return graph_fail(g, CR_ESHAPE, "the first argument of `if` must be a condition");
    if (shape_of(g, a)->dtype != shape_of(g, b)->dtype)
        return graph_fail(g, CR_ESHAPE, "both branches of `if` must be numbers, or both conditions");
    cr_ref in[3] = {cond, a, b};
    if (!broadcast(g, "`if`", 3, in)) return CR_NONE;
    if (op_of(g, in[0]) == CR_OP_CONST) return attr_double(g, in[0], 0) != 0 ? in[1] : in[2];
    if (in[1] == in[2]) return in[1];
    return graph_node(g, CR_OP_SELECT, node(g, in[1])->type, 3, in, 0, NULL);
}
