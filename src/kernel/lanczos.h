/* The largest singular values of a matrix A that is known by its products only: block Golub-Kahan-Lanczos with full
 * orthogonalisation (Golub, Luk, Overton 1981). Bases are kept in f64 whatever the precision of the products.
 *
 * Vectors are rows. V_1 is random; step j computes A V_j and A' U_j, and makes them orthonormal to all before:
 *
 *     A v = sum over u in U_1..U_j of T[v,u] u,    A' u = (what T says) + sum over v in V_{j+1} of L[u,v] v.
 *
 * So with T = P diag(s) Z, the vectors that belong to s_i leave the residual |Z[i, last block] L|, and A has a singular
 * value that near to s_i. A vector of V_{j+1} that depends on those before is replaced by a random one: otherwise
 * values of higher multiplicity than the block is wide would be passed over. */
#ifndef CR_LANCZOS_H
#define CR_LANCZOS_H

#include "kernel/gemm.h"
#include "kernel/lapack.h"

/* With rows of `block` vectors: out = in A' (block x n -> block x m), or out = in A. */
typedef void lanczos_product(void *user, bool transposed, const double *in, double *out);

typedef struct lanczos_shape {
    size_t m, n;         /* of A; best n <= m: vectors as long as n are exhausted first */
    size_t k;            /* values asked for, 1 <= k <= block*steps */
    size_t block, steps; /* at least 1 */
    double tolerance;    /* relative to the largest value */
    uint64_t seed;
    gemm_options gemm;
} lanczos_shape;

typedef struct lanczos {
    size_t scratch; /* bytes, to be aligned to 64 */
    /* the rest is for the run */
    lanczos_shape shape;
    lapack_plan *svd; /* of T after each step */
    size_t at_v, at_u, at_t, at_l, at_sums, at_block, at_svd, at_work; /* offsets in scratch */
} lanczos;

/* CR_ENOMEM, CR_ELIMIT, or lapack_plan_init's. */
cr_status lanczos_init(lanczos *z, const lanczos_shape *shape, error *e);
void lanczos_free(lanczos *z); /* zeroed: nothing */

/* value[k], descending; residual[k]. Re-entrant, each run with its own scratch. CR_EVALUE: a product is not finite;
 * CR_EINTERNAL: LAPACK did not converge. */
cr_status lanczos_run(const lanczos *z, lanczos_product *product, void *user, double *value, double *residual,
                      void *scratch);

#endif
