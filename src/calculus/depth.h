/* Derivatives through recurrences of symbolic depth, room-internal.
 *
 * One family, the core, is chosen so that without it no family rests on itself: o in s[i] = w[i]*o[i-1] + b[i],
 * o[i] = sigma(s[i]). Along the core the chain rule gives, with c[t] for its members,
 *
 *     d y / d v  =  sum over t of  (d y / d c[t]) (d c[t] / d v, the other members c held)
 *     d c[n] / d c[t]  =  sum over the paths from t to n of products of one-step derivatives.
 *
 * The range of t is cut into cells in which one formula holds for all members; within a cell of many members paths are
 * a product over an index. What has no such form is differentiated as a recursion. */
#ifndef CR_DEPTH_H
#define CR_DEPTH_H

#include "calculus/derive.h"

/* d y / d w through families, shape(y) x (axes of w that are left): closed where there is a closed form, else a
 * recursion. */
cr_ref depth_partial(cr_graph *g, cr_ref y, const calc_wrt *w);
/* The same as a recursion: families of derivatives, dS_dw for S, and an expression in them. */
cr_ref depth_recursion(cr_graph *g, cr_ref y, const calc_wrt *w);

/* Appends where the definitions that y rests on can be differentiated. */
cr_status depth_conditions(cr_graph *g, cr_ref y, const calc_wrt *w, calc_result *out);

/* Appends the derivation: one layer, where the variable enters. */
cr_status depth_steps_of(cr_graph *g, cr_ref y, const calc_wrt *w, calc_result *out);

/* ---- ranges of indices, cells -------------------------------------------------------------------- */

enum { DEPTH_MAX_CELLS = 24, DEPTH_MAX_EDGES = 32, DEPTH_MAX_FACTS = 64 };

/* Members lo..hi of the core; hi = lo - 1 where sizes make it empty. */
typedef struct depth_cell {
    cr_dim lo, hi;
} depth_cell;

/* c[t] rests on a member of the core: c[t - lag] for every t of its cell, one fixed member, or all of lo..hi. */
typedef enum edge_kind { EDGE_LAG, EDGE_POINT, EDGE_RANGE } edge_kind;
typedef struct depth_edge {
    edge_kind kind;
    int64_t lag;
    cr_dim at;      /* EDGE_POINT */
    dim_sym symbol; /* EDGE_RANGE: stands for the member in coef */
    cr_dim lo, hi;
    cr_ref coef;
} depth_edge;

/* ... and on the variable directly. */
typedef struct depth_local {
    cr_dim pick;    /* of a family of variables: which member; 0: the variable itself */
    dim_sym symbol; /* under a sum: the index lo..hi, which pick and coef may use; 0: none */
    cr_dim lo, hi;
    cr_ref coef;
} depth_local;

typedef struct depth_steps {
    depth_edge edge[DEPTH_MAX_EDGES];
    unsigned n_edges;
    depth_local local[DEPTH_MAX_EDGES];
    unsigned n_locals;
} depth_steps;

typedef struct depth_solver {
    cr_graph *g;
    cr_ref var;
    bool family_var;   /* var is a family of variables */
    cr_family core;
    unsigned *rank;    /* by cr_family: a family rests on others of lower rank only, the core aside */
    bool elementwise;  /* members act entry by entry: one-step derivatives have the shape of a member, else they are
                          matrices */
    dim_sym t;         /* the index in the steps of a cell */
    cr_dim fact[DEPTH_MAX_FACTS]; /* each >= 0 */
    unsigned n_facts;
    struct { dim_sym s; int64_t least; } index[8]; /* symbols that are indices, not sizes: they may be less than 1 */
    unsigned n_indices;
    cr_dim cut[DEPTH_MAX_CELLS + 1]; /* where a cell begins, ascending; the last one ends the range */
    unsigned n_cuts;
    bool new_cut, stuck;
    depth_cell cell[DEPTH_MAX_CELLS];
    depth_steps *steps; /* by cell */
    unsigned n_cells;
} depth_solver;

void depth_suppose(depth_solver *s, cr_dim d); /* d >= 0 is known */
/* index >= first, where sizes and depths are at least 1 anyway; the families of the closure say which are depths. */
void depth_index(depth_solver *s, cr_dim index, cr_dim first, size_t n, const cr_family *closure);
bool depth_le(depth_solver *s, cr_dim a, cr_dim b); /* a <= b for sure */
bool depth_lt(depth_solver *s, cr_dim a, cr_dim b);
/* Chooses the core, cuts the cells and finds the steps of each, and those of y. False: there is no closed form, or an
 * error is set. */
bool depth_prepare(depth_solver *s, cr_graph *g, cr_ref y, const calc_wrt *w, depth_steps *of_y);
void depth_free(depth_solver *s);

#endif
