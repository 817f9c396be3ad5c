/* Integer polynomials in named symbols: sizes, indices and exponents are all one kind of thing.
 *
 * Normal form: a sum of terms coefficient * product of atoms^power, terms sorted, no zero coefficient.
 * An atom is a symbol, or floor(a/b) of two polynomials that do not divide. Interned: equal polynomials
 * have equal ids. Coefficient overflow is an error of the graph (CR_ELIMIT), never wraps. */
#ifndef CR_DIM_H
#define CR_DIM_H

#include "base/base.h"

typedef uint32_t dim_sym; /* interned symbol name; 0 none */

typedef struct dim_table dim_table;
dim_table *dim_table_new(error *e); /* errors of all calls go to e; NULL: out of memory */
void dim_table_free(dim_table *t);

cr_dim dim_const(dim_table *t, int64_t v);
cr_dim dim_symbol(dim_table *t, dim_sym s);
cr_dim dim_add(dim_table *t, cr_dim a, cr_dim b);
cr_dim dim_sub(dim_table *t, cr_dim a, cr_dim b);
cr_dim dim_mul(dim_table *t, cr_dim a, cr_dim b);
int64_t dim_floor_i64(int64_t a, int64_t b); /* floor(a/b), b > 0 */
cr_dim dim_floordiv(dim_table *t, cr_dim a, cr_dim b); /* exact division is carried out: floor(2*n/2) = n */
bool dim_value(const dim_table *t, cr_dim d, int64_t *v);
bool dim_is_symbol(const dim_table *t, cr_dim d, dim_sym *s); /* d is just one symbol */
bool dim_uses(const dim_table *t, cr_dim d, dim_sym s);
/* Calls fn(user, s) for each different symbol of d, in a fixed order, those inside floor() too. */
void dim_symbols(const dim_table *t, cr_dim d, void (*fn)(void *user, dim_sym s), void *user);
cr_dim dim_substitute(dim_table *t, cr_dim d, dim_sym s, cr_dim by);
/* Value under an assignment; false if a symbol has none (stored to *missing), or on overflow or division by 0 (*missing
 * = 0). */
bool dim_eval(const dim_table *t, cr_dim d, bool (*value)(void *user, dim_sym s, int64_t *v), void *user, int64_t *out,
              dim_sym *missing);
/* Bounds from facts: least and greatest value when each symbol s lies in [lo(s), hi(s)]; false if not known.
 * Here every symbol is only known to be >= lo(s). Gives a lower bound of d. Used to prove that indices are in range. */
bool dim_lower_bound(dim_table *t, cr_dim d, bool (*lo)(void *user, dim_sym s, int64_t *v), void *user, int64_t *out);
/* d = a*s + rest with constant a != 0 and s not in rest? Then s = (value - rest)/a can be solved for. */
bool dim_linear_in(dim_table *t, cr_dim d, dim_sym s, int64_t *a, cr_dim *rest);

/* d = content * rest with the greatest number content > 0 (1 for d = 0, and where it is no plain number). */
int64_t dim_content(dim_table *t, cr_dim d, cr_dim *rest);

/* The same polynomial in another table (symbols by name). */
cr_dim dim_copy(const dim_table *from, cr_dim d, dim_table *to);

/* Interned names (symbols, parameters, functions share one table). */
dim_sym name_intern(dim_table *t, const char *s, size_t n);
const char *name_text(const dim_table *t, dim_sym s);

/* As text of the language: `2*n+1`, `floor((n-1)/2)`; terms as one expects them: n+1, m*p, n-1, 2*n. `name` renames
 * symbols (NULL: as they are). */
void dim_print(const dim_table *t, cr_dim d, strbuf *b, const char *(*name)(void *user, dim_sym s), void *user);
/* The same in LaTeX (\lfloor .. \rfloor, no *). */
void dim_print_latex(const dim_table *t, cr_dim d, strbuf *b, const char *(*name)(void *user, dim_sym s), void *user);
/* True if the text has a + or - at top level (needs parentheses in a product). */
bool dim_is_sum(const dim_table *t, cr_dim d);

#endif
