/* The rule of docs/flow.md: from measured numbers to a sentence. */
#ifndef CR_FLOW_VERDICT_H
#define CR_FLOW_VERDICT_H

#include "flow/factors.h"
#include "flow/zeros.h"

enum { FLOW_TIME_FINDINGS = 2 }; /* over time: at most one vanishes, one explodes */

/* In the order of the rule: the first that is found is the status. */
typedef enum flow_status {
    FLOW_NONFINITE,
    FLOW_DYING,
    FLOW_VANISHING,
    FLOW_EXPLODING,
    FLOW_SATURATED,
    FLOW_SHATTERED, /* shatter.h adds it */
    FLOW_HEALTHY
} flow_status;
const char *flow_status_name(flow_status s);

typedef struct flow_finding {
    flow_status status;
    double value, threshold; /* of what the rule looks at */
    size_t block;            /* where it is worst, or where it begins */
    double lambda;           /* of vanishing and exploding: at the output of that block */
    char text[320];
} flow_finding;

typedef struct flow_verdict {
    flow_status status;
    flow_finding finding[FLOW_HEALTHY + FLOW_TIME_FINDINGS];
    size_t n_findings;
    double low, high; /* extremes of Lambda over the boundaries from the first block's output to the last before y */
    size_t at_low, at_high; /* blocks at whose output they are */
    double confidence;
    char sentence[512];
} flow_verdict;

/* What the rule looks at. */
typedef struct flow_case {
    const flow *f;
    const flow_measured *m;
    const flow_gain *gain; /* of every block */
    const flow_zeros *zeros;
    double s_y;     /* 1 for ce and bce, the deviation of the targets for mse and l1 */
    size_t samples; /* that were measured */
    const struct flow_times *times; /* recurrent layers; NULL: not looked at */
} flow_case;
/* Thresholds of the rule: of |Lambda|; of shares; samples that make a unit dead. */
typedef struct flow_limits { double lambda, dying, saturated, samples; } flow_limits;
flow_limits flow_rule_limits(void);
bool flow_is_gate(const flow *f, const flow_step *st); /* does its output only multiply others? */
void flow_judge(const flow_case *c, flow_verdict *v);
const char *flow_block_name(const flow *f, const flow_block *b); /* of its affine operator */
double flow_threshold(void); /* T of the rule */
/* Lambda at the output of a block. */
double flow_lambda(const flow *f, const flow_measured *m, size_t tensor, double s_y);

#endif
