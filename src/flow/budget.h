/* Time that a user gives a diagnosis. Parts ask before they begin, in the order verdict, theory, re-draws, spectrum,
 * paths; what is left out is kept as a sentence. */
#ifndef CR_FLOW_BUDGET_H
#define CR_FLOW_BUDGET_H

#include "base/base.h"

typedef struct flow_budget {
    double seconds; /* 0: none was given; parts then do what is cheap */
    double began;
    strbuf *cut; /* sentences, one a line */
} flow_budget;

double flow_clock(void); /* seconds, from some time on */
void flow_budget_begin(flow_budget *b, double seconds, strbuf *cut);
bool flow_budget_given(const flow_budget *b);
double flow_budget_left(const flow_budget *b); /* seconds; INFINITY: no budget was given */
/* Is there time for what takes so long? If not, `part` is noted as cut. */
bool flow_budget_allows(flow_budget *b, double seconds, const char *part);
void flow_budget_note(flow_budget *b, const char *fmt, ...) CR_PRINTF(2, 3); /* a sentence about what was left out */

#endif
