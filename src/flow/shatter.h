/* Shattered gradients (Balduzzi et al. 2017): how alike the gradients of the loss by the input are at inputs that are
 * alike. */
#ifndef CR_FLOW_SHATTER_H
#define CR_FLOW_SHATTER_H

#include "flow/verdict.h"

#define FLOW_NEAR 0.95 /* cosine of x and x' */

typedef struct flow_shattering {
    double error;                /* standard error of cosine, over the pairs */
    double cosine, input_cosine; /* of the gradients at x and x', of x and x': means over pairs. NaN: not measured */
    double seed_cosine;          /* of the gradients by y */
    double theory;               /* of the cosine; NaN: there is none */
    double neighbours, neighbours_input; /* of each sample and the next */
    size_t pairs;
    const char *why; /* it was not measured */
} flow_shattering;

/* Near samples: x'_i has the length of x_i, the cosine FLOW_NEAR with it, and differs in the direction of the next
 * sample that is no multiple of it; without one it is x_i. n samples of so many entries. */
void flow_near_samples(const double *x, size_t n, size_t entries, double *near);
/* Mean of the cosines of a_i and b_(i + shift), for all i with such a b; NaN: none has a length. pairs: how many;
 * deviation: standard error of the mean, NaN for less than two. Both may be NULL. */
double flow_mean_cosine(const double *a, const double *b, size_t n, size_t entries, size_t shift, size_t *pairs,
                        double *deviation);
/* Adds the finding `shattered`, last before healthy, if the cosine is below the threshold by two standard errors, and
 * the theory, where there is one, is below it, too. Where y's own gradient turns between x and x', it is the loss that
 * changes: no finding. */
void flow_judge_shattering(const flow_shattering *s, flow_verdict *v);

#endif
