/* Room flow: where the gradient of a network goes, and which factor of the chain rule sends it there.
 *
 * signal.c     what lies on the way from the data to the loss: tensors, steps, boundaries, blocks
 * backward.c   the backward pass, edge by edge, rescaled at every boundary so that nothing is lost to zero
 * measure.c    norms and statistics of it, in the same plan
 * factors.c    ln gain of a block = slope + weight + norm + skip + rest
 * time.c       the same through the steps of recurrent layers
 * many.c       the backward pass of many cotangents at once, along one more axis
 * paths.c      what of the gradient came through how many branches of skips
 * spectrum.c   singular values of Jacobians, of blocks and of the network
 * formats.c    which number formats hold the cotangents, at which scale of the loss
 * evidence.c   all that the rule looked at, with thresholds and their sources
 * zeros.c      why a cotangent is exactly 0: closed gates, dead units
 * verdict.c    the rule
 * scalar.c     an activation as a function of one number
 * mean_field.c theory of wide networks with random weights
 * weights.c    are the weights as they were drawn? From which law?
 * predict.c    the theory of each block, from the variances of its weights
 * probe.c      Lambda again, with other weights or at other inputs
 * shatter.c    how alike gradients at inputs are that are alike
 * budget.c     what there is time for
 *
 * Definitions are those of docs/flow.md; the names here are its terms. */
#ifndef CR_FLOW_H
#define CR_FLOW_H

#include "network/loss.h"
#include "network/run.h"

#define FLOW_NONE SIZE_MAX

typedef enum flow_factor { FLOW_SLOPE, FLOW_WEIGHT, FLOW_NORM, FLOW_SKIP, FLOW_REST, FLOW_FACTORS } flow_factor;
const char *flow_factor_name(flow_factor f);

/* What an operator does to a cotangent, by the operator's name in the file. */
typedef struct flow_op {
    const char *name;
    flow_factor factor;
    bool affine;    /* a product of the signal with parameters: a block begins with one */
    bool relu_like; /* a unit can be dead: its slope is 0 on a half line */
    double slope;   /* of a bounded activation: the largest |slope|; 0: not bounded, or none */
} flow_op;
const flow_op *flow_op_of(const char *name); /* never NULL: the last entry stands for all others */

/* ---- the signal's way --------------------------------------------------------------------------- */

/* A tensor of floats through which the signal passes. */
typedef struct flow_tensor {
    cr_ref ref;
    const char *name;
    size_t maker;   /* step; FLOW_NONE: a source, an input or what an embedding picks */
    size_t readers; /* edges that read it */
    bool boundary;  /* every path from the sources to y passes through it */
} flow_tensor;

/* A node on the way; its edges lead back to the tensors that it reads. */
typedef struct flow_step {
    size_t node; /* of the network */
    const flow_op *op;
    size_t first_edge, n_edges;
    size_t first_out, n_out; /* into flow.out */
    bool affine, scaled;     /* multiplied by parameters; by nothing that varies */
} flow_step;

typedef struct flow_edge {
    size_t step, tensor;
    flow_factor factor;
} flow_edge;

/* From boundary `in` to boundary `out`: one affine operator with everything up to the next, or a fork-join region. */
typedef struct flow_block {
    size_t in, out; /* tensors */
    size_t first_step, n_steps;
    size_t affine; /* the step that names it; FLOW_NONE: it has none */
    bool region;   /* has forks: its inner steps are children */
} flow_block;

typedef struct flow {
    network *n;
    flow_tensor *tensor;
    size_t n_tensors, tensor_cap;
    flow_step *step; /* in an order of computation */
    size_t n_steps, step_cap;
    flow_edge *edge;
    size_t n_edges, edge_cap;
    size_t *out; /* tensors that steps make */
    size_t n_out, out_cap;
    flow_block *block;
    size_t n_blocks, block_cap;
    size_t y;   /* the tensor that the loss is taken from */
    size_t samples; /* that first axes of this size count; 0, as flow_find leaves it: none do */
    size_t *at; /* by ref: its tensor + 1 */
    size_t at_cap;
} flow;

/* Finds the way of the signal to y, an expression of n. Errors: there is none. Free it in any case. */
cr_status flow_find(network *n, cr_ref y, flow *f, error *e);
void flow_free(flow *f);
size_t flow_tensor_of(const flow *f, cr_ref ref); /* FLOW_NONE: not on the way */

#endif
