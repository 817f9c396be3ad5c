/* What the parts of a query share: derivative, conditions, steps. */
#ifndef CR_DERIVE_H
#define CR_DERIVE_H

#include "calculus/walk.h"

/* d y / d w: shape(y) x shape(var), or shape(y) for one entry. */
cr_ref calc_partial(cr_graph *g, cr_ref y, const calc_wrt *w, bool gradient);
/* Is `part` in the cone of r (r itself included)? False too if memory runs out; the graph's error is set then. */
bool calc_depends_on(cr_graph *g, cr_ref r, cr_ref part);
/* The direction along which an entry moves (both entries of a symmetric matrix): shape(var). For a whole variable the
 * identity: shape(var) x shape(var). */
cr_ref calc_direction(cr_graph *g, const calc_wrt *w);
/* Appends the conditions under which d y / d w exists and is what the rules say. `again`: the result is differentiated
 * further, so that it must hold nearby too. */
cr_status calc_conditions(cr_graph *g, cr_ref y, const calc_wrt *w, bool again, calc_result *out);
/* Appends one scalar condition, simplified, if it says something new. */
bool calc_condition_add(cr_graph *g, calc_result *out, cr_ref cond, calc_kind kind);
/* cond, said of node r, for all values of the indices that binders of the cone bind around it. */
cr_ref calc_for_all(cr_graph *g, cr_ref cond, cr_ref r, const cr_ref *cone, size_t n);
/* y with functions and norms written as what they are made of, so that kinks stand open. */
cr_ref calc_opened(cr_graph *g, cr_ref y);
/* Appends the derivation of d y / d w, rule by rule. */
cr_status calc_step_add(cr_graph *g, calc_result *out, calc_step step);
cr_status calc_steps(cr_graph *g, cr_ref y, const calc_wrt *w, calc_result *out);

/* f(z)[i] = f(z[i]) and no other rewrite: the expression as the query means it. */
cr_ref calc_pushed(cr_graph *g, cr_ref y);

#endif
