/* All that a verdict looked at or could be asked about: numbers, beside thresholds where the rule has one, with where
 * they are worst and where the thresholds are from. */
#ifndef CR_FLOW_EVIDENCE_H
#define CR_FLOW_EVIDENCE_H

#include "flow/formats.h"
#include "flow/verdict.h"

enum { FLOW_EVIDENCE = 16 };

typedef struct flow_evidence {
    const char *quantity;    /* a name like "lambda_low" */
    double value, threshold; /* threshold NaN: it is evidence only, no rule rests on it */
    const char *source;      /* of the threshold; NULL: there is none */
    const char *where;       /* block, node or parameter; NULL: the network */
    char text[200];
} flow_evidence;

/* A threshold of the rule, or of what stands beside it. */
typedef struct flow_bound { const char *name, *source; double value; } flow_bound;
size_t flow_thresholds(const flow_bound **list);

/* How many; at most FLOW_EVIDENCE. */
size_t flow_evidence_find(const flow_case *c, const flow_verdict *v, const flow_formats *formats,
                          const flow_balance *balance, flow_evidence *list);

#endif
