/* Inside of simplify: rewrites over the reals. Everything here takes and gives simplified expressions. */
#ifndef CR_SIMPLIFY_H
#define CR_SIMPLIFY_H

#include "calculus/walk.h"

/* State of one pass. */
typedef struct simp {
    cr_graph *g;
    unsigned char *sign; /* by ref: SIGN_* + 8 when known */
    size_t sign_cap;
    unsigned char *merge; /* by ref: 1 where a result is used once and may be merged into its user */
    size_t merge_cap;
    unsigned char *is_size; /* by symbol: 1 where it is the size of something, so at least 1 */
    size_t size_cap, size_types;
    bool opening; /* multiplying out for a try: no further tries inside */
    bool stable; /* keep sigmoid' and tanh' as functions: s(1 - s) loses the tail where s rounds to 1 */
    bool small; /* merge shared subexpressions too, look for common factors: what is read, not a network */
} simp;

enum { PRODUCT_MAX = 48 };
#define PI 3.14159265358979323846 /* not a number like others: it keeps its name */

/* coef * prod factor_i, summed over labels >= rank. */
typedef struct product {
    double coef;
    unsigned n, rank, next; /* next: first unused label */
    cr_ref factor[PRODUCT_MAX];
    uint8_t label[PRODUCT_MAX][CR_MAX_RANK];
    cr_dim shape[CR_MAX_RANK];
} product;

/* Reads r as a product without flattening deeper; any expression is a product of one factor. */
void product_read(const cr_graph *g, cr_ref r, product *p);
/* The expression; merges powers, inverses, deltas, numbers. */
cr_ref product_simplify(simp *s, product *p);
cr_ref product_simplify_node(simp *s, cr_ref r);
cr_ref product_build(cr_graph *g, const product *p); /* as it stands */
/* The product with its factor i, a sum of at most 12 terms, multiplied out. */
cr_ref product_distribute(simp *s, const product *p, unsigned i);
/* Sum of n terms of one shape: flattened, like terms collected, factored where a rank-2 factor differs. */
cr_ref sum_simplify(simp *s, unsigned n, const cr_ref *terms);
/* r = coef * rest; rest is CR_NONE for a number. */
double split_coefficient(cr_graph *g, cr_ref r, cr_ref *rest);

void simp_free(simp *s);
bool may_merge(const simp *s, cr_ref r); /* may r be flattened into the product or sum that uses it? */

/* ---- facts (facts.c) ---- */
unsigned sign_of(simp *s, cr_ref r);
bool is_symmetric(simp *s, cr_ref r, unsigned depth);
bool is_invertible(simp *s, cr_ref r, unsigned depth);
cr_ref turn_symmetric(simp *s, const product *p, unsigned depth);
/* The matrices of the product r = A B C..., each as it stands in it (transposed or not), from the left, at most
 * CHAIN_MAX; 0 if r is no chain of square matrices. */
enum { CHAIN_MAX = 8 };
unsigned matrix_chain(cr_graph *g, cr_ref r, cr_ref *factor);

/* ---- conditions (simplify_condition.c); each returns r itself if it has nothing to say ---- */
cr_ref decide_by_sign(simp *s, cr_ref r);
cr_ref zero_test(simp *s, cr_ref r);
cr_ref solve_comparison(cr_graph *g, cr_ref r);
cr_ref reduce_constant_axes(cr_graph *g, cr_ref r);
bool constant_condition(const cr_graph *g, cr_ref r, bool *value);
unsigned used_axes(const cr_graph *g, cr_ref r); /* the axes that the entries of r depend on, a bit set */
cr_ref drop_axes(cr_graph *g, cr_ref r, unsigned keep); /* r over the axes in keep only; it depends on no others */

cr_ref simplify_new(simp *s, cr_ref r, cr_ref old); /* simplifies the inputs of r that are newer than old */

#endif
