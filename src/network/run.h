/* Expressions of a network, planned, with its leaves bound to their numbers. */
#ifndef CR_NETWORK_RUN_H
#define CR_NETWORK_RUN_H

#include "network/network.h"

typedef struct net_runner net_runner;

/* Plans n expressions of net, and gives leaves their numbers from the file: as they lie there where their type is the
 * precision, else converted. *r is the caller's; net must outlive it. options may be NULL. */
cr_status net_runner_new(network *net, unsigned n, const cr_ref *expression, const cr_plan_options *options,
                         net_runner **r, error *e);
void net_runner_free(net_runner *r);
/* Gives an input its numbers, of the shape that net was made for (any type); they are copied. CR_ESHAPE, CR_ENOMEM with
 * a message. A leaf that no expression depends on takes none. */
cr_status net_runner_feed(net_runner *r, const net_leaf *input, const cr_tensor *t, error *e);
/* CR_EVALUE: an input was not fed, or an index of a gather is none. */
cr_status net_runner_run(net_runner *r, error *e);
/* Expression i as of the last run: its entries in the precision; r's memory. */
const void *net_runner_result(const net_runner *r, unsigned i);
size_t net_runner_count(const net_runner *r, unsigned i);
cr_type net_runner_type(const net_runner *r); /* CR_TYPE_F32 or CR_TYPE_F64 */
const cr_plan *net_runner_plan(const net_runner *r);

#endif
