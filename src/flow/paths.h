/* What of the gradient came through how many branches (docs/flow.md, "Paths through skips"). */
#ifndef CR_FLOW_PATHS_H
#define CR_FLOW_PATHS_H

#include "flow/many.h"
#include "flow/measure.h"

enum { FLOW_PATHS_EXACT = 64 }; /* blocks of which all coefficients are computed */

typedef struct flow_paths {
    size_t blocks;         /* with a skip: x + F(x) */
    size_t n;              /* of the lists: paths through 0 .. n - 1 branches */
    double *share, *energy; /* <v_k, g>/|g|^2; |v_k|^2/|g_y|^2, g_y the cotangent at the far end */
    double remainder;      /* share of the paths through more branches: 1 - the sum of shares */
    double effective_depth; /* mean number of branches, by shares; exact also where the list is cut */
} flow_paths;

/* Which edges lead into a branch: by edge; the caller's. *blocks: how many regions have a skip. NULL: out of memory. */
bool *flow_branches(const flow *f, size_t *blocks);
/* Multiplications of numbers that one backward pass of the signal needs, about. */
double flow_work(const flow *f);
double flow_step_work(const flow *f, size_t step);
/* For all blocks, or for paths through fewer than `most` branches. p->n is 0 where no gradient gets to the front. b is
 * of f. Errors are the plan's. Free it in any case. */
cr_status flow_paths_find(const flow_backward *b, const bool *branch, size_t blocks, size_t most,
                          const cr_plan_options *o, flow_feeder *feed, void *user, flow_paths *p, error *e);
void flow_paths_free(flow_paths *p);

#endif
