/* A query: the derivative of an expression by variables or single entries of them, with its conditions and steps. */
#include "calculus/depth.h"

#include <string.h>

/* The entry d[..., index] of a derivative whose last axes are those of w's variable; for a member of a family its
 * axes. */
static cr_ref entry(cr_graph *g, cr_ref d, const calc_wrt *w)
{
    if (!valid(g, d) || !w->n_index) return d;
    const cr_shape *s = shape_of(g, d), *x = shape_of(g, w->var);
    unsigned k = s->rank - (unsigned)x->rank, rank = s->rank - w->n_index;
    cr_ref in[CR_MAX_RANK + 1] = {d};
    uint8_t label[2 * CR_MAX_RANK];
    cr_dim shape[CR_MAX_RANK];
    for (unsigned i = 0; i < s->rank; i++) {
        bool picked = i >= k && i < k + w->n_index;
        label[i] = (uint8_t)(i < k ? i : picked ? rank + i - k : i - w->n_index);
        if (!picked) shape[label[i]] = s->dim[i];
    }
    for (unsigned i = 0; i < w->n_index; i++) {
        in[i + 1] = cr_onehot(g, w->index[i], x->dim[i]);
        label[s->rank + i] = (uint8_t)(rank + i);
    }
    return cr_einsum(g, w->n_index + 1u, in, label, rank, shape);
}

bool calc_depends_on(cr_graph *g, cr_ref r, cr_ref part)
{
    size_t n;
    bool found = false;
    if (r < part) return false; /* inputs come before their node */
    cr_ref *cone = graph_cone(g, 1, &r, &n);
    for (size_t i = 0; cone && i < n && !found; i++) found = cone[i] == part;
    mem_free(cone);
    return found;
}

cr_ref calc_direction(cr_graph *g, const calc_wrt *w)
{
    const cr_shape *x = shape_of(g, w->var);
    cr_ref in[CR_MAX_RANK];
    uint8_t label[2 * CR_MAX_RANK];
    cr_dim shape[2 * CR_MAX_RANK];
    unsigned k = x->rank - w->n_index, n = 0; /* axes of a member: it moves in each of its directions */
    if (!w->n_index) return x->rank == 0 ? cr_const(g, 1) : calc_identity(g, w->var);
    if (x->rank + k > CR_MAX_RANK) return graph_fail(g, CR_ELIMIT, "a derivative of more than %d axes", CR_MAX_RANK);
    for (unsigned i = 0; i < x->rank; i++) {
        bool picked = i < w->n_index;
        in[i] = picked ? cr_onehot(g, w->index[i], x->dim[i]) : cr_identity(g, x->dim[i]);
        if (!picked) {
            label[n++] = (uint8_t)(i - w->n_index);
            shape[i - w->n_index] = x->dim[i];
        }
        label[n++] = (uint8_t)(k + i);
        shape[k + i] = x->dim[i];
    }
    cr_ref e = cr_einsum(g, x->rank, in, label, k + x->rank, shape);
    return calc_tie_entries(g, e, w->var, false);
}

cr_ref calc_partial(cr_graph *g, cr_ref y, const calc_wrt *w, bool gradient)
{
    if (!valid(g, y) || !valid(g, w->var)) return CR_NONE;
    if (shape_of(g, y)->dtype != CR_REAL) return graph_fail(g, CR_ESHAPE, "a condition has no derivative");
    if (w->n_index && depth_rests_on(g, y, w->var)) return depth_partial(g, y, w);
    if (!w->n_index || is_scalar(g, y) || gradient) return entry(g, calc_full_derivative(g, y, w->var, gradient), w);
    if (w->n_index < cr_rank(g, w->var)) return entry(g, calc_full_derivative(g, y, w->var, false), w);
    /* A tensor by one entry: forward, along that entry. */
    cr_ref v = calc_direction(g, w), d = v ? cr_forward(g, y, 1, &w->var, &v) : CR_NONE;
    if (g->err.status != CR_OK) return CR_NONE;
    return d ? d : cr_full(g, cr_const(g, 0), shape_of(g, y)->rank, shape_of(g, y)->dim);
}

/* Families of derivatives, or a product of companion matrices, which stands for a recursion of several lags. */
static bool reads_as_recursion(cr_graph *g, cr_ref r, bool *companion)
{
    size_t n;
    bool found = false;
    cr_ref *cone = graph_cone(g, 1, &r, &n);
    *companion = false;
    for (size_t i = 0; cone && i < n; i++) {
        cr_op op = op_of(g, cone[i]);
        *companion |= op == CR_OP_BIND && attr_of(g, cone[i], 0) == CR_BIND_CHAIN &&
                      op_of(g, in_of(g, cone[i], 0)) == CR_OP_STACK;
        found |= op == CR_OP_MEMBER && g->family[attr_of(g, cone[i], 0)].derived;
    }
    mem_free(cone);
    return found || *companion;
}

cr_status calc_derive(cr_graph *g, cr_ref y, unsigned n, const calc_wrt *wrt, unsigned flags, calc_result *out)
{
    memset(out, 0, sizeof *out);
    cr_ref *d = mem_alloc((n + 1) * sizeof *d); /* d[i]: the derivative by the first i variables */
    if (!d) {
        graph_fail(g, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    d[0] = y;
    bool ok = valid(g, y);
    for (unsigned i = 0; i < n && ok; i++)
        ok = (d[i + 1] = calc_partial(g, d[i], &wrt[i], flags & CALC_FORM_GRADIENT)) != CR_NONE;
    cr_ref simple = ok ? cr_simplify(g, d[n]) : CR_NONE;
    ok = simple != CR_NONE;
    out->exact = ok ? d[n] : CR_NONE;
    /* The derivative comes first: products keep the order in which they are first written, and that is to be its own.
     */
    for (unsigned i = 0; i < n && ok && flags & CALC_CONDITIONS; i++) {
        /* From the second derivative on the formula so far holds nearby, so its simplified form may be asked. */
        cr_ref asked = i ? cr_simplify(g, d[i]) : d[0];
        ok = asked && calc_conditions(g, asked, &wrt[i], i + 1 < n, out) == CR_OK;
    }
    bool companion;
    if (ok && g->n_family > 1 && reads_as_recursion(g, simple, &companion)) {
        out->recursion = companion && n == 1 ? depth_recursion(g, y, &wrt[0]) : simple;
        ok = out->recursion != CR_NONE;
    }
    for (unsigned i = 0; i < n && ok && flags & CALC_STEPS; i++)
        ok = (depth_rests_on(g, d[i], wrt[i].var)
                  ? depth_steps_of(g, d[i], &wrt[i], out)
                  : calc_steps(g, i ? cr_simplify(g, d[i]) : d[0], &wrt[i], out)) == CR_OK;
    if (ok && flags & CALC_STEPS)
        ok = calc_step_add(g, out, (calc_step){.rule = n && g->n_family > 1 && depth_rests_on(g, y, wrt[0].var)
                                                   ? "chain rule along the layers: products within, sums over paths"
                                                   : "result",
                                               .derivative = simple}) == CR_OK;
    if (ok) out->simple = simple;
    mem_free(d);
    if (ok) return CR_OK;
    if (g->err.status == CR_OK) graph_fail(g, CR_EARG, "an invalid expression");
    return g->err.status;
}

void calc_result_free(calc_result *r)
{
    mem_free(r->step);
    mem_free(r->condition);
    memset(r, 0, sizeof *r);
}
