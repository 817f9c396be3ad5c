/* Identity of einsum nodes: equal up to the order of operands and the naming of summed labels. */
#ifndef CR_EINSUM_H
#define CR_EINSUM_H

#include "graph/graph.h"

uint32_t einsum_hash(const cr_graph *g, unsigned rank, uint32_t n, const cr_ref *operand, const uint32_t *labels);
bool einsum_equal(const cr_graph *g, unsigned rank, uint32_t n, const cr_ref *a, const uint32_t *la, const cr_ref *b,
                  const uint32_t *lb);

#endif
