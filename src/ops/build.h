/* Short spellings that the operator blocks share. */
#ifndef CR_OPS_BUILD_H
#define CR_OPS_BUILD_H

#include "ops/ops.h"

#include <math.h>

#define PI 3.14159265358979323846

static inline bool is_op(const cr_graph *g, cr_ref r, cr_op op) { return valid(g, r) && op_of(g, r) == op; }
static inline cr_ref arg(const cr_graph *g, cr_ref y) { return in_of(g, y, 0); }
static inline cr_ref number_like(cr_graph *g, cr_ref y, double v)
{
    const cr_shape *s = shape_of(g, y);
    return cr_full(g, cr_const(g, v), s->rank, s->dim);
}
static inline cr_ref one_like(cr_graph *g, cr_ref y) { return number_like(g, y, 1); }
static inline cr_ref times(cr_graph *g, double c, cr_ref a) { return cr_mul(g, cr_const(g, c), a); }
static inline cr_ref square(cr_graph *g, cr_ref a) { return cr_pow(g, a, cr_const(g, 2)); }
static inline cr_ref greater(cr_graph *g, cr_ref a, double c) { return cr_map2(g, CR_OP_LT, cr_const(g, c), a); }
static inline cr_ref add_up(cr_graph *g, cr_ref sum, cr_ref term)
{
    return !sum ? term : !term ? sum : cr_add(g, sum, term);
}

#endif
