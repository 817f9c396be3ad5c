/* States that a node carries from step to step, for the network that it becomes part of. */
#include "onnx/importer.h"

#define UNNUMBERED SIZE_MAX

bool onnx_keeps_states(const onnx_call *c) { return c->im->fences; }

bool onnx_fence(onnx_call *c, cr_ref *a)
{
    if (*a != CR_NONE && op_of(c->g, *a) != CR_OP_FENCE) *a = cr_map(c->g, CR_OP_FENCE, *a);
    return *a != CR_NONE;
}

bool onnx_carried(onnx_call *c, const net_recurrence *r)
{
    network *n = c->im->net;
    if (!onnx_keeps_states(c)) return true;
    if (!VEC_RESERVE(n->recurrence, n->recurrence_cap, n->n_recurrences + 1)) return onnx_no_memory(c->im);
    n->recurrence[n->n_recurrences] = *r;
    n->recurrence[n->n_recurrences++].node = UNNUMBERED;
    return true;
}

void onnx_number_carried(network *n, size_t since, bool recorded)
{
    size_t kept = since;
    for (size_t i = since; i < n->n_recurrences; i++) {
        net_recurrence r = n->recurrence[i];
        if (r.node == UNNUMBERED && recorded) r.node = n->n_nodes - 1;
        if (r.node != UNNUMBERED) n->recurrence[kept++] = r;
    }
    n->n_recurrences = kept;
}
