/* Room ops: one block per operator, found through one table. A new operator is a line in chainrule_ops.def and a
 * block in one of the files of this folder; operators are named elsewhere where their structure matters:
 * builders, simplification, conditions, printers and kernels. */
#ifndef CR_OPS_H
#define CR_OPS_H

#include "graph/graph.h"

typedef enum op_kind { KIND_LEAF, KIND_MAP1, KIND_MAP2, KIND_CMP, KIND_REDUCE, KIND_LINALG, KIND_OTHER } op_kind;

/* Where an operator is not smooth, or not defined, as conditions on its inputs (a set of bits; 0: smooth everywhere
 * on R). The condition itself is built by op_info.regular. */
typedef enum op_smooth {
    SMOOTH,  /* infinitely often differentiable wherever it has a value */
    KINK,    /* continuous; one-sided derivatives exist at the kink set */
    JUMP,    /* jumps, or is locally constant, across the kink set */
    SINGULAR /* differentiable inside the domain only (sqrt at 0, norm2 at 0, rank change of pinv) */
} op_smooth;

typedef struct op_info {
    const char *name;     /* ABS */
    const char *spelling; /* abs */
    int arity;
    op_kind kind;
    op_smooth smooth;

    /* Partial derivative of an element-wise operator in input i, of the shape of y (y = the node itself). CR_NONE:
     * zero. */
    cr_ref (*partial)(cr_graph *g, cr_ref y, unsigned i);
    /* Otherwise: cotangent of input i for ybar of shape K x shape(y); k leading axes K. CR_NONE: zero.
     * NULL for both: no derivative (boolean). */
    cr_ref (*vjp)(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k);
    /* Tangent of y for tangents K x shape(in_i), CR_NONE where zero; not all are. */
    cr_ref (*jvp)(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k);

    /* Condition for the rule to hold, NULL: everywhere. Of the shape of the input for MAP1, MAP2 and SELECT, else of
     * the kept axes or scalar. CR_NONE: holds everywhere after all (x^2). */
    cr_ref (*regular)(cr_graph *g, cr_ref y);
    /* KINK of one argument at 0: the slopes on its left and right. */
    bool (*slopes)(const cr_graph *g, cr_ref y, double *left, double *right);

    /* REAL rewrite of y (whose inputs are simplified): another expression, or y. NULL: none. */
    cr_ref (*simplify)(cr_graph *g, cr_ref y);
    /* Sign of the value as a set of bits (SIGN_*) given those of the inputs; NULL: any. */
    unsigned (*sign)(const cr_graph *g, cr_ref y, const unsigned *in_sign);
} op_info;

enum { SIGN_NEG = 1, SIGN_ZERO = 2, SIGN_POS = 4, SIGN_ANY = 7 };

const op_info *op_get(cr_op op);
op_info *op_edit(cr_op op); /* for the sabotage test only: it breaks one rule at a time and demands a red test */
/* Operator of that spelling and arity for calls in the language (MAP1, REDUCE, LINALG, ...); CR_OP_NONE if none. */
cr_op op_by_spelling(const char *s, size_t n, int arity);

/* Generic rules, good for every operator (MAP by `partial`). k: number of leading axes K. */
cr_ref op_vjp(cr_graph *g, cr_ref y, unsigned i, cr_ref ybar, unsigned k);
cr_ref op_jvp(cr_graph *g, cr_ref y, const cr_ref *xdot, unsigned k);

/* Tables of the blocks; op_get() joins them. */
typedef struct op_block {
    cr_op op;
    op_info info;
} op_block;
extern const op_block ops_elementwise[], ops_arithmetic[], ops_reduce[], ops_linalg[],
    ops_layout[], ops_windows[]; /* end: CR_OP_NONE */

#endif
