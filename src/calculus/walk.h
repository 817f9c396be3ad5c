/* What the walks share with the rest of the room. */
#ifndef CR_WALK_H
#define CR_WALK_H

#include "calculus/calculus.h"

typedef struct calc_binder {
    cr_bind_kind kind;
    dim_sym symbol;
    cr_dim index, lo, hi;
    cr_ref body;
} calc_binder;

/* Forward mode where members of families have tangents of their own: member(user, m), K x shape(m), CR_NONE: zero.
 * member NULL: they do not move. */
typedef cr_ref calc_member_tangent(void *user, cr_ref member);
cr_ref calc_forward(cr_graph *g, cr_ref y, unsigned n_wrt, const cr_ref *wrt, const cr_ref *tangent,
                    calc_member_tangent *member, void *user);
cr_ref calc_identity(cr_graph *g, cr_ref y); /* shape(y) x shape(y) delta */
cr_ref calc_zero(cr_graph *g, cr_ref y, cr_ref x); /* shape(y) x shape(x) */
cr_ref calc_tie_entries(cr_graph *g, cr_ref d, cr_ref x, bool gradient);
cr_ref calc_full_derivative(cr_graph *g, cr_ref y, cr_ref x, bool gradient);

/* For a stack of sums that share an end, of entries of *a: the cotangent of *a. CR_NONE: y is no such thing. */
cr_ref calc_prefix_vjp(cr_graph *g, cr_ref y, cr_ref ybar, cr_ref *a);

/* cr_reverse where members of families count as constants, whatever they rest on. */
cr_status calc_reverse(cr_graph *g, cr_ref y, cr_ref ybar, unsigned n_wrt, const cr_ref *wrt, cr_ref *out);
/* cr_reverse by expressions as if they were variables of their own: nothing is followed through one of them. */
cr_status calc_reverse_apart(cr_graph *g, cr_ref y, cr_ref ybar, unsigned n_wrt, const cr_ref *wrt, cr_ref *out);
/* The same, at the cost of what lies between y and wrt, however large the graph is. y that is one of wrt has the
 * cotangent ybar. */
cr_status calc_reverse_local(cr_graph *g, cr_ref y, cr_ref ybar, unsigned n_wrt, const cr_ref *wrt, cr_ref *out);
/* The same from several y, whose cotangents have the same leading axes: the sum, in one walk. */
cr_status calc_reverse_local_n(cr_graph *g, unsigned n_y, const cr_ref *y, const cr_ref *ybar, unsigned n_wrt,
                               const cr_ref *wrt, cr_ref *out);

#endif
