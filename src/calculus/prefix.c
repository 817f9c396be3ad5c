/* The cotangent of sums that share an end.
 *
 *     y[i] = sum(j=1..i+c, a[j]),  c <= 0:   abar[j] = sum(i=j-c..N, ybar[i])
 *     y[i] = sum(j=i+d..N, a[j]),  d >= 0:   abar[j] = sum(i=1..j-d, ybar[i])
 *
 * for i, j in 1..N, a[j] being all entries at place j of an axis of a. That is an expression of the same form, so
 * derivatives of every order are one pass over the axis, where the walk through the body would give each entry of each
 * sum a cotangent of its own. */
#include "calculus/walk.h"

/* An einsum that only selects: entry `index` of one axis of a. */
typedef struct entries {
    cr_ref a;
    const uint32_t *label; /* of a's axes; below the rank of the result, but for the one that is selected on */
    unsigned axis;
} entries;

static bool selects(const cr_graph *g, cr_ref r, cr_dim index, entries *e)
{
    if (op_of(g, r) != CR_OP_EINSUM || node(g, r)->n_in != 2) return false;
    unsigned hot = op_of(g, in_of(g, r, 0)) == CR_OP_ONEHOT ? 0 : 1, rank = shape_of(g, r)->rank;
    cr_ref onehot = in_of(g, r, hot);
    const uint32_t *label = node(g, r)->word + 2;
    e->a = in_of(g, r, 1 - hot);
    if (op_of(g, onehot) != CR_OP_ONEHOT || attr_of(g, onehot, 0) != index) return false;
    const cr_shape *s = shape_of(g, e->a);
    uint32_t summed = label[hot ? s->rank : 0];
    e->label = label + (hot ? 0 : 1);
    if (summed < rank || s->rank != rank + 1u) return false;
    unsigned found = 0;
    for (unsigned i = 0; i < s->rank; i++) {
        for (unsigned k = 0; k < i; k++) {
            if (e->label[k] == e->label[i]) return false;
        }
        if (e->label[i] == summed) e->axis = i, found++;
        else if (e->label[i] >= rank) return false;
    }
    return found == 1;
}

/* d = symbol + c? */
static bool at_distance(cr_graph *g, cr_dim d, cr_dim symbol, int64_t *c)
{
    return dim_value(g->dims, dim_sub(g->dims, d, symbol), c);
}

/* Entry `index` of axis k of t. */
static cr_ref select_entry(cr_graph *g, cr_ref t, unsigned k, cr_dim index)
{
    const cr_shape *s = shape_of(g, t);
    uint8_t label[CR_MAX_RANK + 1];
    cr_dim dim[CR_MAX_RANK];
    unsigned rank = s->rank - 1u;
    for (unsigned i = 0; i < s->rank; i++) {
        label[i] = (uint8_t)(i < k ? i : i == k ? rank : i - 1);
        if (i != k) dim[label[i]] = s->dim[i];
    }
    label[s->rank] = (uint8_t)rank;
    return cr_einsum(g, 2, (cr_ref[]){t, cr_onehot(g, index, s->dim[k])}, label, rank, dim);
}

cr_ref calc_prefix_vjp(cr_graph *g, cr_ref y, cr_ref ybar, cr_ref *a)
{
    entries e = {0};
    int64_t c;
    dim_sym outer, inner;
    cr_ref sum = in_of(g, y, 0);
    cr_dim one = dim_const(g->dims, 1), i = attr_of(g, y, 1), n = attr_of(g, y, 3);
    if (attr_of(g, y, 0) != CR_BIND_STACK || attr_of(g, y, 2) != one || op_of(g, sum) != CR_OP_BIND ||
        attr_of(g, sum, 0) != CR_BIND_SUM) {
        return CR_NONE;
    }
    cr_dim lo = attr_of(g, sum, 2), hi = attr_of(g, sum, 3);
    bool from_start = lo == one && at_distance(g, hi, i, &c) && c <= 0;
    if (!from_start && !(hi == n && at_distance(g, lo, i, &c) && c >= 0)) return CR_NONE;
    if (!dim_is_symbol(g->dims, i, &outer) || !dim_is_symbol(g->dims, attr_of(g, sum, 1), &inner) ||
        !selects(g, in_of(g, sum, 0), attr_of(g, sum, 1), &e) || depends_on_symbol(g, e.a, outer) ||
        depends_on_symbol(g, e.a, inner)) {
        return CR_NONE;
    }
    const cr_shape *s = shape_of(g, e.a);
    if (s->dim[e.axis] != n) return CR_NONE;
    unsigned k = shape_of(g, ybar)->rank - (unsigned)shape_of(g, y)->rank;
    dim_sym at = fresh_symbol(g, "i"), of = fresh_symbol(g, "j");
    cr_dim j = dim_symbol(g->dims, of), met = dim_sub(g->dims, j, dim_const(g->dims, c));
    cr_ref entry = select_entry(g, ybar, k, dim_symbol(g->dims, at));
    entry = cr_bind(g, CR_BIND_SUM, name_text(g->dims, at), from_start ? met : one, from_start ? n : met, entry);
    cr_ref all = cr_bind(g, CR_BIND_STACK, name_text(g->dims, of), one, n, entry); /* N x K x S */
    uint8_t label[CR_MAX_RANK];
    cr_dim dim[CR_MAX_RANK];
    if (!valid(g, all)) return CR_NONE;
    for (unsigned x = 0; x < k; x++) {
        label[1 + x] = (uint8_t)x;
        dim[x] = shape_of(g, ybar)->dim[x];
    }
    for (unsigned x = 0; x < s->rank; x++) {
        label[x == e.axis ? 0 : 1 + k + e.label[x]] = (uint8_t)(k + x);
        dim[k + x] = s->dim[x];
    }
    *a = e.a;
    return cr_einsum(g, 1, &all, label, k + s->rank, dim);
}
