/* Which factor of the chain rule a block's gain comes from (docs/flow.md). */
#ifndef CR_FLOW_FACTORS_H
#define CR_FLOW_FACTORS_H

#include "flow/measure.h"

typedef struct flow_gain {
    double ln_gain;              /* ln(|g_in| / |g_out|); NaN: from or to an exact zero */
    double factor[FLOW_FACTORS]; /* add up to ln_gain */
} flow_gain;

/* Of a block. by_step: what each of its steps adds to the factors, or NULL. */
flow_gain flow_block_gain(const flow *f, const flow_measured *m, const flow_block *b, double *weight,
                          double (*by_step)[FLOW_FACTORS]);

#endif
