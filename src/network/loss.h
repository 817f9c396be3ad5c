/* Losses: a number to differentiate, from what a network puts out and what it should. */
#ifndef CR_NETWORK_LOSS_H
#define CR_NETWORK_LOSS_H

#include "network/network.h"

typedef struct net_loss_options {
    cr_loss kind;
    const char *output;      /* of the network; NULL: the first of floats */
    const cr_tensor *label;  /* classes or targets, of this batch; NULL: there are none */
    const cr_tensor *weight; /* of the classes, one number each; NULL: 1 */
    bool ignores;            /* samples whose label is ignore_index do not count */
    int64_t ignore_index;
} net_loss_options;

/* The loss is sum/weight: over several batches, sums and weights add up. */
typedef struct net_loss {
    cr_loss kind;       /* never CR_LOSS_AUTO */
    cr_ref y;           /* what it is taken from: logits where the network ends in a softmax or sigmoid */
    cr_ref sum, weight; /* scalars. weight does not depend on parameters */
    int64_t classes;    /* labels are 0 .. classes - 1; 0: they are no classes */
    cr_ref label;       /* the leaf of labels or targets; CR_NONE: there is none */
    char said[240];     /* what was chosen, in a sentence */
} net_loss;

/* Builds it in the network's graph, with the label as one more input. Errors name shapes. */
cr_status net_loss_make(network *n, const net_loss_options *o, net_loss *loss, error *e);
/* Labels that are classes must be some; targets of a binary cross-entropy are probabilities. */
cr_status net_loss_check(const net_loss *loss, const net_loss_options *o, error *e);
/* What the end of a network says the loss is: ce after a softmax, bce after a sigmoid, else auto. */
cr_loss net_loss_ending(cr_graph *g, cr_ref output);
const char *net_loss_name(cr_loss kind); /* "ce" */

#endif
