/* The backward pass of a network, edge by edge. A cotangent is an expression times a power of two that is known once
 * the pass has run: at every boundary it is multiplied by what brings it back to the order of 1, so that a gradient of
 * 1e-412 is a number like any other. The pass is linear in the cotangent: scaling changes nothing else. */
#ifndef CR_FLOW_BACKWARD_H
#define CR_FLOW_BACKWARD_H

#include "flow/flow.h"

/* level: how many scales the expression is multiplied with, those of boundaries from y on. Where a parameter is shared
 * by blocks of several levels, `at` says which the sum has: the larger of two contributions keeps its own. CR_NONE:
 * `level`. */
typedef struct flow_cotangent {
    cr_ref ref; /* CR_NONE: no gradient */
    size_t level;
    cr_ref at;
} flow_cotangent;

typedef struct flow_backward {
    const flow *f;
    cr_graph *g;
    flow_cotangent *tensor; /* by tensor: of what reads it, before its own scale */
    flow_cotangent *edge;   /* by edge: its contribution */
    cr_ref *scale;          /* the scales, from y on: powers of two, scalars */
    size_t n_scales, scale_cap;
    flow_cotangent *leaf; /* by leaf of the network: of parameters */
    struct flow_sum *at;  /* by ref of the graph as it was */
    cr_ref n_refs;
    cr_ref *sum; /* whatever else is to be measured with the pass: scalars, of flow_backward_ask */
    size_t n_sums, sum_cap;
} flow_backward;

/* Builds it for a loss (a scalar). Errors are the graph's. Free it in any case. */
cr_status flow_backward_build(const flow *f, cr_ref loss, flow_backward *b, error *e);
/* One more number of the plan that measures the pass: which it is of flow_measured.sum. FLOW_NONE: out of memory, or
 * the graph has failed. */
size_t flow_backward_ask(flow_backward *b, cr_ref scalar);
void flow_backward_free(flow_backward *b);

#endif
