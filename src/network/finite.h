/* NaN and infinities: where they come from. */
#ifndef CR_NETWORK_FINITE_H
#define CR_NETWORK_FINITE_H

#include "network/run.h"

/* How many of n entries are NaN or infinite. */
size_t net_count_nonfinite(cr_type type, const void *entries, size_t n);

/* A result of the network, or a gradient of `loss`, was not finite with these data: in one sentence, which leaf holds
 * what is no number, or which node was the first to make one from numbers, by the user's names, with the ranges of what
 * it read. `feed` gives a runner its inputs. Runs the network again, with every value that it has as an output.
 *
 * An infinity that is meant (a mask's constant) and does no harm is passed over: asked for are the nodes that the bad
 * results rest on. Forward, in the order of computation; if the values are finite, backward: the first cotangent that
 * is not, counted from the loss. loss CR_NONE: forward only. *text is the caller's; NULL: nothing was found. */
typedef cr_status net_feeder(void *user, net_runner *r, error *e);
cr_status net_blame(network *n, unsigned n_bad, const cr_ref *bad, cr_ref loss, const cr_plan_options *o,
                    net_feeder *feed, void *user, char **text, error *e);

#endif
