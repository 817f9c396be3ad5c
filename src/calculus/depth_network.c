/* What a recurrence looks like to the chain rule: its one-step derivatives, for code that explains them. */
#include "calculus/depth.h"

#include <string.h>

cr_status calc_network_of(cr_graph *g, cr_ref y, cr_ref var, calc_network *out)
{
    depth_solver s;
    depth_steps *top = mem_zalloc(1, sizeof *top);
    memset(out, 0, sizeof *out);
    if (!top) return graph_fail(g, CR_ENOMEM, "out of memory"), CR_ENOMEM;
    out->closed = depth_prepare(&s, g, y, &(calc_wrt){.var = var}, top);
    out->core = s.core;
    out->index = s.t;
    out->elementwise = s.elementwise;
    for (unsigned c = 0; out->closed && c < s.n_cells; c++)
        for (unsigned k = 0; k < s.steps[c].n_edges && out->n < CALC_MAX_LINKS; k++) {
            const depth_edge *e = &s.steps[c].edge[k];
            bool point = s.cell[c].lo == s.cell[c].hi;
            calc_link l = {.lo = s.cell[c].lo, .hi = s.cell[c].hi, .slope = e->coef};
            if (e->kind == EDGE_RANGE) {
                l.kind = CALC_SKIP;
                l.from = e->lo;
                l.from_hi = e->hi;
                l.slope = graph_subst_symbol(g, e->coef, e->symbol, dim_symbol(g->dims, s.t));
            } else if (e->kind == EDGE_LAG) {
                l.kind = e->lag == 1 ? CALC_LAYER : CALC_LAG;
                l.lag = e->lag;
            } else {
                int64_t gap;
                bool near = point && dim_value(g->dims, dim_sub(g->dims, l.lo, e->at), &gap) && gap == 1;
                l.kind = near ? CALC_LAYER : CALC_SKIP;
                l.lag = near;
                l.from = l.from_hi = e->at;
            }
            out->link[out->n++] = l;
        }
    depth_free(&s);
    mem_free(top);
    return g->err.status;
}
