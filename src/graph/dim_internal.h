/* What dim_table.c (interning), dim.c (arithmetic), dim_query.c and dim_print.c share. See dim.h for the idea. */
#ifndef CR_DIM_INTERNAL_H
#define CR_DIM_INTERNAL_H

#include "graph/dim.h"

/* A symbol's atom is its dim_sym; a floor's is FLOOR_ATOM | index. So symbols sort by first interning, floors last. */
#define FLOOR_ATOM 0x80000000u

typedef struct dim_factor {
    uint32_t atom, power; /* power >= 1 */
} dim_factor;

/* Product of powers of different atoms, sorted by atom. Interned. Number 0 is the empty product. */
typedef struct dim_mono {
    const dim_factor *factor;
    uint32_t n, degree, hash;
    uint32_t size; /* see dim_poly */
} dim_mono;

typedef struct dim_term {
    int64_t coef; /* never 0 in a polynomial */
    uint32_t mono;
} dim_term;

typedef struct dim_poly {
    const dim_term *term; /* descending: higher degree first, then by atoms (graded lexicographic), constant last */
    uint32_t n, hash;
    uint32_t size;  /* number of symbols and coefficients to print; bounds every walk, floors included */
    uint32_t depth; /* of nested floors */
} dim_poly;

/* floor(num/den): num is reduced modulo den (see dim_floordiv), den has a positive leading coefficient. */
typedef struct dim_floor {
    cr_dim num, den;
} dim_floor;

typedef struct hash_index {
    uint32_t *slot; /* open addressing; 0 is free */
    size_t cap, used;
} hash_index;

struct dim_table {
    error *err;
    arena mem; /* factors, terms, names */
    dim_poly *poly; /* by cr_dim; 0 is none */
    size_t n_poly, poly_cap;
    hash_index poly_index;
    dim_mono *mono; /* index slots hold number + 1 */
    size_t n_mono, mono_cap;
    hash_index mono_index;
    dim_floor *floor;
    size_t n_floor, floor_cap;
    hash_index floor_index; /* index slots hold number + 1 */
    const char **name; /* by dim_sym; 0 is none */
    uint32_t *name_hash;
    size_t n_names, name_cap, name_hash_cap;
    hash_index name_index;
};

#define DIM_MAX_TERMS 1024u
#define DIM_MAX_DEGREE 65535u
#define DIM_MAX_SIZE 20000u
#define DIM_MAX_DEPTH 64u

static inline const dim_floor *dim_floor_of(const dim_table *t, uint32_t atom) { return &t->floor[atom & ~FLOOR_ATOM]; }
static inline bool dim_is_floor(uint32_t atom) { return atom & FLOOR_ATOM; }

#define DIM_MONO_ONE 0u
#define DIM_MONO_NONE UINT32_MAX

/* Set the table's error; give 0, the dimension that is none. */
cr_dim dim_fail(dim_table *t, cr_status status, const char *fmt, ...) CR_PRINTF(3, 4);
cr_dim dim_no_memory(dim_table *t);
cr_dim dim_too_large(dim_table *t);

/* dim_table.c: d is a dimension of t; a failure unless d is 0. */
bool dim_usable(dim_table *t, cr_dim d);
/* > 0 if a comes before b in a polynomial. */
int dim_mono_compare(const dim_table *t, uint32_t a, uint32_t b);
/* The product a*b (sign 1) or the quotient a/b (sign -1). False: b does not divide a, or a failure (then the error is
 * set and *out is DIM_MONO_NONE). */
bool dim_mono_combine(dim_table *t, uint32_t a, uint32_t b, int sign, uint32_t *out);
/* The polynomial with these terms, which are sorted and have no zero coefficient. */
cr_dim dim_poly_intern(dim_table *t, const dim_term *term, size_t n);
cr_dim dim_term_poly(dim_table *t, int64_t coef, uint32_t mono); /* of a single term; coef may be 0 */
cr_dim dim_atom(dim_table *t, uint32_t atom);
cr_dim dim_floor_atom(dim_table *t, cr_dim num, cr_dim den); /* no reduction: see dim_floordiv */

/* dim.c: occurrences of an atom outside of floors replaced. */
cr_dim dim_replace_atom(dim_table *t, cr_dim d, uint32_t atom, cr_dim by);

#endif
