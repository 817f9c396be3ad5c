/* The backward pass of many cotangents at once, along one more axis in front: the coefficients of a polynomial, or the
 * rows of a Jacobian. What the data fix stays fixed, so the pass is the same linear map for each. */
#ifndef CR_FLOW_MANY_H
#define CR_FLOW_MANY_H

#include "flow/backward.h"

typedef struct flow_many {
    const flow *f;
    const flow_backward *b; /* whose scales are multiplied on at boundaries; NULL: none are */
    size_t first_step, n_steps;
    /* What an edge makes of the axis besides; CR_NONE: the graph has failed. NULL: nothing. */
    cr_ref (*along)(void *user, cr_graph *g, size_t edge, cr_ref part);
    void *user;
} flow_many;

/* at: by tensor, CR_NONE where nothing is; the seeds are there. Afterwards the cotangents of what the steps read, a
 * boundary's before its own scale (as in flow_backward). Parts whose axes differ in length are filled up with zeros.
 * false: the graph has failed. */
bool flow_many_back(const flow_many *m, cr_ref *at);

/* Entries first .. first + n - 1 of the axis; what lies outside is 0. */
cr_ref flow_many_part(cr_graph *g, cr_ref a, int64_t first, int64_t n);
int64_t flow_many_length(cr_graph *g, cr_ref a);
/* One cotangent with the axis in front: 1 x shape(a). */
cr_ref flow_many_from(cr_graph *g, cr_ref a);

#endif
