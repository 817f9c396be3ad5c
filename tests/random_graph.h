/* Random graphs from bytes, and what is to be known of their values: shared by the fuzzer of the rewrites, which takes
 * its bytes from outside, and the tests that take them from a generator of random numbers. */
#ifndef CR_TESTS_RANDOM_GRAPH_H
#define CR_TESTS_RANDOM_GRAPH_H

#include "exec/exec.h"
#include "calculus/calculus.h"

enum { MAX_POOL = 48, N_PARAMS = 6 };

typedef struct random_graph {
    cr_graph *g;
    const uint8_t *data;
    size_t n, at;
    cr_dim dim_n, dim_m;
    cr_ref pool[MAX_POOL]; /* the latest expressions */
    unsigned n_pool;
    cr_ref param[N_PARAMS];
    cr_fun known, unknown;
    unsigned n_bound;
    int64_t size_n, size_m; /* at least 2; 0: 2 and 3 */
} random_graph;

/* Fills k->g, which is new, with expressions made from k->data; the pool holds the latest ones. A fault of the library
 * is left in *fault (NULL: none). */
void random_graph_build(random_graph *k, const char **fault);
/* Values of the parameters: in eighths, or (generic) without a pattern. */
bool random_graph_bind(random_graph *k, exec_env *env, unsigned point, bool generic);
/* Greatest intermediate value on the way to root; NaN where some value is not finite, or where a choice hangs on a
 * rounding error (`generic`: every value has one). The inside of a binder has no value of its own. */
double random_graph_magnitude(cr_graph *g, exec_env *env, cr_ref root, bool generic);
/* About how many entries the interpreter goes through for root. */
double random_graph_work(const random_graph *k, exec_env *env, cr_ref root);

#endif
