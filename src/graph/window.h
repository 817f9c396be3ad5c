/* Windows that move over the last axes of a tensor. One relation stands behind convolution and pooling alike: entry
 * `position` of y and entry `tap` of the window meet the entry of x at
 *
 *     stride*position + dilation*tap - low        (on every axis; outside of x they meet nothing).
 *
 * A node names the slot that is its value: x, w or y. The sizes of the value come with its type, so that the derivative
 * of a window by any operand is a window over the same relation. */
#ifndef CR_GRAPH_WINDOW_H
#define CR_GRAPH_WINDOW_H

#include "graph/graph.h"

typedef enum window_slot { SLOT_X, SLOT_W, SLOT_Y } window_slot;

/* Attribute words of a node: the slot of its value, then dimensions: groups, strides, dilations, low pads;
 * and, but for CONV, where w is an operand, the sizes of the window. */
static inline bool is_window(cr_op op)
{
    return op == CR_OP_CONV || op == CR_OP_WINDOW || op == CR_OP_MAXPOOL || op == CR_OP_MAXTIES || op == CR_OP_MAXPICK;
}
/* A WINDOW of single entries: a slice (y), or entries placed among zeros (x). */
bool window_is_slice(cr_graph *g, cr_ref r, const cr_window *w);
static inline window_slot window_value(const cr_graph *g, cr_ref r) { return (window_slot)attr_of(g, r, 0); }
void window_read(const cr_graph *g, cr_ref r, cr_window *w); /* w->result: the sizes of the value on the axes */
/* The nodes whose shapes are those of x, w and y: operands, and r itself; CR_NONE for w where it is none. */
void window_slots(const cr_graph *g, cr_ref r, cr_ref slot[3]);
/* How many axes a window over x has if no one says it: those behind the first two; all of a vector or matrix. */
unsigned window_usual_axes(const cr_graph *g, cr_ref x);
/* Size of a slot on axis i of the window. */
cr_dim window_extent(const cr_graph *g, const cr_window *w, const cr_ref slot[3], window_slot of, unsigned i);
/* What the sizes on axis i are if none are given: as many positions as fit between the pads; the least x that the
 * positions fit into; the largest window. x, tap, y: the sizes of two slots, the third is not looked at. */
cr_dim window_size(cr_graph *g, window_slot of, const cr_window *w, unsigned i, cr_dim x, cr_dim tap, cr_dim y);

/* The slot `value` of the trilinear form by the other two, y standing for the one that is the value: Y from (x, w), X
 * from (y, w), W from (x, y). Sizes w->result, or those of window_size. */
cr_ref window_conv(cr_graph *g, window_slot value, cr_ref a, cr_ref b, const cr_window *w);
/* The other nodes, over the last w->axes axes (0: the usual ones). Of x; WINDOW with value x: of y; MAXPICK:
 * of x and of t, which is like the slot that is not the value, behind axes of its own. */
cr_ref window_pool(cr_graph *g, cr_op op, window_slot value, const cr_ref *in, const cr_window *w);
/* The same kind of node over other operands. */
cr_ref window_remake(cr_graph *g, cr_ref r, const cr_ref *in, const cr_window *w);

#endif
