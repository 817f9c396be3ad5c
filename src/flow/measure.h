/* The numbers of a backward pass: norms of cotangents, slopes, gradients of parameters; extra sums in the plan that
 * computes them. Logarithms are natural, and finite also where the number itself is beyond every float; -INFINITY is
 * exactly 0. */
#ifndef CR_FLOW_MEASURE_H
#define CR_FLOW_MEASURE_H

#include "flow/backward.h"

typedef struct flow_at_tensor {
    double ln_norm;      /* of the cotangent; NaN: it was not finite */
    double ln_hg;        /* of h .* g, entry by entry */
    double mean, square; /* of the tensor itself: mean, mean of squares */
    double entries;
    double error; /* of Lambda: standard error over the samples; NaN: samples are not told apart */
} flow_at_tensor;

typedef struct flow_at_step {
    double slope_square; /* of an activation: mean of the squared slope; NaN: it is none */
    double saturated;    /* share of entries with less than a tenth of the largest slope; NaN: not bounded */
    double dead;         /* share of units without slope on all samples; NaN: not like a relu */
} flow_at_step;

typedef struct flow_at_leaf {
    double ln_gradient; /* norm; NaN: not a parameter, or not on the way */
    double ln_weight;
    double dot; /* of weight and gradient, over their norms: cosine */
} flow_at_leaf;

typedef struct flow_measured {
    flow_at_tensor *tensor;
    double *ln_edge; /* norms of contributions */
    flow_at_step *step;
    flow_at_leaf *leaf;
    double *sum; /* of flow_backward_ask */
    double *ln_scale; /* by level: of the product of the scales so far */
    double loss, loss_weight;
    size_t nonfinite; /* sums that were no numbers */
} flow_measured;

/* Measures with the data that `feed` gives a runner. Free it in any case. */
typedef cr_status flow_feeder(void *user, net_runner *r, error *e);
cr_status flow_measure(const flow *f, const flow_backward *b, const net_loss *loss, const cr_plan_options *o,
                       flow_feeder *feed, void *user, flow_measured *out, error *e);
void flow_measured_free(flow_measured *m);

#endif
