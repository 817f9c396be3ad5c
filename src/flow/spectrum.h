/* Singular values of Jacobians of single samples: of blocks, and from the front of the network to what the loss is
 * taken from (docs/flow.md, "Singular values"). */
#ifndef CR_FLOW_SPECTRUM_H
#define CR_FLOW_SPECTRUM_H

#include "flow/many.h"
#include "flow/measure.h"

enum { FLOW_QUANTILES = 5 };
extern const double flow_quantile[FLOW_QUANTILES];

typedef struct flow_spectrum {
    size_t rows, columns;         /* of the Jacobian of a sample; 0: it has none of its own */
    double ln_largest, ln_smallest; /* over samples; -INFINITY is exactly 0. NaN: not known */
    double ln_quantile[FLOW_QUANTILES];
    bool exact;                   /* all singular values; else the largest, from products only */
} flow_spectrum;

typedef enum flow_effort { FLOW_CHEAP, FLOW_ALL } flow_effort;

typedef struct flow_spectra {
    flow_spectrum *block; /* by block */
    flow_spectrum whole;  /* the network's */
    size_t samples;
    const char *left_out; /* NULL: nothing was; else why */
} flow_spectra;

/* b: of f, a network in which no sample depends on another. samples: along the first axis of all tensors. FLOW_CHEAP
 * leaves out what is more than a few milliseconds' work. Errors are the plan's. Free it in any case. */
cr_status flow_spectra_find(const flow_backward *b, size_t samples, flow_effort effort, const cr_plan_options *o,
                            flow_feeder *feed, void *user, flow_spectra *s, error *e);
void flow_spectra_free(flow_spectra *s);

#endif
