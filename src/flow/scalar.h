/* An activation as a function of one number, read off the graph: whatever operator or formula it is written as, with
 * its attributes. */
#ifndef CR_FLOW_SCALAR_H
#define CR_FLOW_SCALAR_H

#include "flow/flow.h"

enum { FLOW_SCALAR_MOST = 24 };

/* A straight-line program; operation 0 is the argument. */
typedef struct flow_scalar {
    struct {
        uint8_t op;      /* cr_op; CR_OP_CONST: v */
        uint8_t n, a[3]; /* earlier operations */
        double v;
    } at[FLOW_SCALAR_MOST];
    size_t n;
} flow_scalar;

/* out as a function of in, entry by entry. False: it is none, or has operators or parameters not known here. */
bool flow_scalar_read(const cr_graph *g, cr_ref out, cr_ref in, flow_scalar *s);
/* Its value and its derivative; at a kink the derivative from the left. */
void flow_scalar_at(const flow_scalar *s, double z, double *value, double *slope);
/* Is it z -> shift + factor z? */
bool flow_scalar_linear(const flow_scalar *s, double *shift, double *factor);

#endif
