/* Room calculus: derivatives, simplification, conditions, steps. Builds graph from graph; evaluates nothing. */
#ifndef CR_CALCULUS_H
#define CR_CALCULUS_H

#include "ops/ops.h"

/* What a derivative is taken with respect to: a parameter, one entry of it, or one member of a family of parameters. */
typedef struct calc_wrt {
    cr_ref var;
    unsigned n_index; /* 0, the rank of var, or 1: the member at position index[0] (from 1) of a family */
    cr_dim index[CR_MAX_RANK];
} calc_wrt;

typedef enum calc_kind { COND_EXACT, COND_SUFFICIENT } calc_kind;
typedef struct calc_condition {
    cr_ref cond; /* scalar boolean expression, simplified; true where the derivative exists and the formula holds */
    calc_kind kind;
    bool existence; /* speaks of the existence of the derivative alone; the others of the formula too */
} calc_condition;

/* One line of a derivation: `name = value`, and by `rule` its derivative `d_name = derivative`. Inner expressions have
 * names of their own (u1, u2, ...; not those of the user), and so have their derivatives: parameters whose name begins
 * with CALC_D. For a single entry of a variable d means the partial derivative by it; for a whole variable X it is the
 * differential, written in dX. The last step has value CR_NONE and gives the result. */
#define CALC_D "d "
typedef struct calc_step {
    const char *rule; /* "chain rule, derivative of sigmoid"; static */
    cr_ref name, value, d_name, derivative;
} calc_step;

enum { CALC_STEPS = 1, CALC_CONDITIONS = 2, CALC_FORM_GRADIENT = 4 /* (G+G')/2 for symmetric variables */ };

typedef struct calc_result {
    cr_ref exact;  /* the derivative as built by the rules: what is run. shape(y) x shape(x1) x shape(x2) ... */
    cr_ref simple; /* the same over the reals, for reading */
    cr_ref recursion; /* the same in terms of derivatives of recurrences, where that reads better, or is all there is;
                         CR_NONE */
    calc_condition *condition; /* all must hold; none: everywhere */
    size_t n_conditions;
    calc_step *step;
    size_t n_steps;
} calc_result;

/* d^n y / d wrt[0] ... d wrt[n-1]. On failure the graph's error is set. Release with calc_result_free in any case. */
cr_status calc_derive(cr_graph *g, cr_ref y, unsigned n, const calc_wrt *wrt, unsigned flags, calc_result *out);
void calc_result_free(calc_result *r);

/* A one-step derivative of a recurrence with core o: of o[i], i in lo..hi, by o[i - lag], or by one earlier member or a
 * range of them. */
enum { CALC_MAX_LINKS = 48 };
typedef enum calc_link_kind { CALC_LAYER /* lag 1 */, CALC_LAG, CALC_SKIP } calc_link_kind;
typedef struct calc_link {
    calc_link_kind kind;
    cr_dim lo, hi;
    int64_t lag;
    cr_dim from, from_hi; /* CALC_SKIP */
    cr_ref slope;         /* in the symbol `index` of the network */
} calc_link;
typedef struct calc_network {
    cr_family core;
    dim_sym index;
    bool closed;      /* false: no closed form, and nothing below */
    bool elementwise; /* slopes have the shape of a member; else they are matrices */
    size_t n;
    calc_link link[CALC_MAX_LINKS];
} calc_network;
cr_status calc_network_of(cr_graph *g, cr_ref y, cr_ref var, calc_network *out);
/* Does r hold a member of a recurrence that rests on the parameter var? */
bool depth_rests_on(cr_graph *g, cr_ref r, cr_ref var);

/* a with sums, products and chains over at most `most` numbers written out, for reading. */
cr_ref calc_write_out(cr_graph *g, cr_ref a, int64_t most);

/* Possible signs of the entries of a real expression (SIGN_* bits), from attributes and structure. */
unsigned calc_sign(cr_graph *g, cr_ref a);
/* As cr_simplify, for code that runs: what has a stable kernel (sigmoid', tanh') is not written out. */
cr_ref calc_simplify_stable(cr_graph *g, cr_ref a);
/* Is the matrix a known to be symmetric: by attribute, or because it is one like A + A' or X'*X? */
bool calc_is_symmetric(cr_graph *g, cr_ref a);

#endif
