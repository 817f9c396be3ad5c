/* What the tests of recurrences share: a program at one depth with random values, and the test of a derivative through
 * its recurrence, in closed form or not, against the same network written out layer by layer, and against numbers. */
#ifndef CR_TESTS_DEPTH_CHECK_H
#define CR_TESTS_DEPTH_CHECK_H

#include "exec/exec.h"
#include "lang/lang.h"

typedef struct depth_case {
    const char *text, *y;
    cr_graph *g;
    lang_program *p;
    exec_env *env;
    cr_ref expr;     /* y, of symbolic depth */
    cr_ref unrolled; /* y at the depth of the last depth_at */
    int64_t n;       /* N */
    uint64_t random;
    size_t n_user;   /* families of the program itself */
    unsigned recursions, closed; /* derivatives of each kind so far */
    char fault[4000]; /* what is wrong, "" if nothing */
} depth_case;

/* The program `text` and the expression y in it. False: c->fault says why; close it in any case. */
bool depth_open(depth_case *c, const char *text, const char *y, uint64_t seed);
void depth_close(depth_case *c);
bool depth_fault(depth_case *c, const char *fmt, ...) CR_PRINTF(2, 3); /* keeps the first fault; false */

bool depth_size(depth_case *c, int64_t n); /* N = n, m = n/2 + 1, d = 2 */
bool depth_supposed(depth_case *c);        /* do these sizes have what the definitions suppose? */
/* The sizes for n, and new values; y in both ways the same. */
bool depth_at(depth_case *c, int64_t n);
/* The derivative by wrt, in which `k` is an index first..last, at every k (few: at some): as built, simplified, and
 * read back from its text. Against reverse mode on the unrolled expression, and complex steps (few: by some entries).
 */
bool depth_derivative(depth_case *c, const char *wrt, int64_t first, int64_t last, bool few);

/* Deterministic numbers: below n, and in (-1, 1). */
unsigned depth_below(uint64_t *random, unsigned n);
double depth_uniform(uint64_t *random);

#endif
