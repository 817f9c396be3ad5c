/* Inside of products: what product.c (flattening, distribution, the loop), product_merge.c and product_select.c share.
 * Labels below p->rank are axes of the result, the others are summed over. A rule returns true if it changed p; the
 * loop then starts again. */
#ifndef CR_PRODUCT_H
#define CR_PRODUCT_H

#include "calculus/simplify.h"

static inline unsigned rank_of(const cr_graph *g, cr_ref r) { return shape_of(g, r)->rank; }
static inline bool is_op(const cr_graph *g, cr_ref r, cr_op op) { return op_of(g, r) == op; }

void product_drop(product *p, unsigned i);
void product_set_one(cr_graph *g, product *p, unsigned i);
bool product_same_labels(const cr_graph *g, const product *p, unsigned i, unsigned j);
unsigned product_count_label(const cr_graph *g, const product *p, uint8_t l);
bool product_splice(cr_graph *g, product *p, unsigned i, const product *q);
cr_ref product_renormalise(simp *s, product *p);
cr_ref power_base(const cr_graph *g, cr_ref f, double *exponent);
cr_ref power_of(cr_graph *g, cr_ref base, double e);

bool merge_powers(simp *s, product *p);
bool merge_matrices(simp *s, product *p);
bool merge_facts(simp *s, product *p);
bool part_selected(cr_graph *g, product *p);
bool push_selection(simp *s, product *p);

#endif
