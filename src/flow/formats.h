/* Which number formats hold the cotangents, at which scale of the loss; what is left of updates in bfloat16; how even
 * the gradients of the parameters are beside their weights (docs/flow.md, "Number formats"). */
#ifndef CR_FLOW_FORMATS_H
#define CR_FLOW_FORMATS_H

#include "flow/measure.h"

typedef enum flow_format { FLOW_FLOAT32, FLOW_FLOAT16, FLOW_BFLOAT16, FLOW_FORMATS } flow_format;
const char *flow_format_name(flow_format k);

enum { FLOW_COUNTS = 6 }; /* thresholds below which entries are counted */

/* What is asked of a tensor: numbers of flow_backward_ask. */
typedef struct flow_tail {
    size_t largest, some, below[FLOW_COUNTS];
    double entries; /* that are looked at */
    double ln_first; /* the first threshold of the scaled cotangent; each is 1/16 of the one before */
} flow_tail;

typedef struct flow_tails {
    flow_tail *tensor; /* by tensor */
    size_t *lost, *moved; /* by leaf: entries whose update is lost in bfloat16; that have one */
} flow_tails;

typedef struct flow_format_fit {
    double ln_smallest, ln_largest; /* scales of the loss between which less than 0.1 % of the non-zero cotangents
                                       underflow and none overflows. smallest > largest: there is none */
    double underflow;               /* share that underflows at scale 1 */
    size_t fails_at;                /* block: where, from the output on, the format gives up at scale 1; FLOW_NONE */
    bool overflows;                 /* there: by what is too large */
} flow_format_fit;

typedef struct flow_formats {
    flow_format_fit of[FLOW_FORMATS];
    double updates_lost; /* bfloat16: share of the non-zero updates; NaN: there is none */
} flow_formats;

/* Learning rate of the plain gradient step whose updates are counted. */
#define FLOW_LEARNING_RATE 0.01

/* Asks, before the pass is measured. weight: what the summed loss is divided by, an expression. Free it in any case. */
cr_status flow_tails_ask(flow_backward *b, cr_ref weight, flow_tails *t, error *e);
void flow_tails_free(flow_tails *t);
/* CR_ENOMEM only. ln_per: what ln|cotangent| is more than that of the loss which is trained with. */
cr_status flow_formats_find(const flow_backward *b, const flow_measured *m, const flow_tails *t, double ln_per,
                            flow_formats *out);

/* The spread of ln(|gradient|/|weight|) over parameters that have both. */
typedef struct flow_balance {
    double low, high;       /* NaN: there is no such parameter */
    size_t at_low, at_high; /* leaves */
} flow_balance;
flow_balance flow_balance_find(const flow *f, const flow_measured *m);

#endif
