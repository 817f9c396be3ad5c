/* The backward pass through the steps of recurrent layers. The state is all that a step hands on to the next, together;
 * the seed is what the loss asks of the last one: losses at other steps are forks, and left out. */
#ifndef CR_FLOW_TIME_H
#define CR_FLOW_TIME_H

#include "flow/verdict.h"

/* What a step does to the cotangent; over all steps they add up to the gain. */
typedef enum flow_time_factor {
    FLOW_TIME_SLOPE,  /* the activation that makes the state */
    FLOW_TIME_WEIGHT, /* the product with the state before */
    FLOW_TIME_GATE,   /* the gate that keeps the state before */
    FLOW_TIME_REST,
    FLOW_TIME_FACTORS
} flow_time_factor;

/* Where the numbers of a step are, of flow_backward.sum; FLOW_NONE: there is none. */
typedef struct flow_time_sums {
    size_t scale;         /* power of two that the cotangent was multiplied with, on top of those behind it */
    size_t norm, hg;      /* sums of squares: of g, of h .* g */
    size_t inner, before; /* of g at what a net_recurrence shows, before and behind it (measured unlike: time.c) */
} flow_time_sums;

typedef struct flow_time {
    const net_recurrence *r;
    flow_time_sums *at; /* by step, from the last one back: r->steps */
    /* measured: */
    double *curve;                /* ln |g| of the state n steps before the last, over the last's; -INFINITY: 0 */
    double ln_gain;               /* of all steps; NaN: the loss asks nothing of the last state */
    double factor[FLOW_TIME_FACTORS]; /* NaN: there is no such factor in this kind of layer */
    /* Extremes of Lambda over time, ln(|h .* g| / |h_T .* g_T|), over the states of steps 1 to T-1; NaN: none. */
    double low, high;
    size_t at_low, at_high; /* steps before the last */
} flow_time;

typedef struct flow_times {
    flow_time *time;
    size_t n;
} flow_times;

/* Adds the passes to b, for all recurrences of the network of two steps or more that the loss depends on. Errors are
 * the graph's. Free it in any case. */
cr_status flow_times_build(flow_backward *b, flow_times *t, error *e);
void flow_times_read(const flow_measured *m, flow_times *t);
void flow_times_free(flow_times *t);
/* The rule over time, as over depth: appends to what was found, in the order of the rule. */
void flow_times_judge(const flow *f, const flow_times *t, flow_verdict *v);

#endif
