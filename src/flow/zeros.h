/* Why a cotangent is exactly 0, and what would open the way. */
#ifndef CR_FLOW_ZEROS_H
#define CR_FLOW_ZEROS_H

#include "flow/measure.h"

typedef enum flow_zero {
    FLOW_NOT_ZERO,
    FLOW_NO_PATH,     /* no derivative leads here */
    FLOW_LOSS_FITTED, /* the loss has the gradient 0 by the network's output */
    FLOW_DEAD,        /* slopes that are all 0 */
    FLOW_CLOSED_GATE  /* a parameter that is 0 in every entry, and has a gradient of its own */
} flow_zero;
const char *flow_zero_name(flow_zero z); /* NULL: not zero */

typedef struct flow_zeros {
    flow_zero *tensor; /* by tensor */
    bool *dying;       /* by tensor: it is FLOW_DEAD because of units like a relu */
    size_t *gate;      /* leaves of the network: the closed gates */
    size_t n_gates, gate_cap;
} flow_zeros;

/* Parameters by what steps read: leaf of the network + 1 by ref below n_refs, behind operators that only change the
 * form; 0: none. NULL: out of memory. The caller's. */
size_t *flow_leaves(const flow *f, const flow_measured *m, cr_ref n_refs);

/* leaf_of: of flow_leaves. CR_ENOMEM only. Free it in any case. */
cr_status flow_zeros_find(const flow_backward *b, const flow_measured *m, const size_t *leaf_of, flow_zeros *z);
void flow_zeros_free(flow_zeros *z);
/* Of a block: from or to an exact zero. */
flow_zero flow_block_zero(const flow_zeros *z, const flow_block *b);

#endif
