/* Products of matrices, planned once and run often: our own blocked kernels (AVX-512, AVX2, plain C; packing where it
 * pays, none where it does not), oneDNN and OpenBLAS where they were measured better for the shape. The libraries are
 * opened on first need. A run allocates nothing; what it needs beside the operands is `scratch`. */
#ifndef CR_GEMM_H
#define CR_GEMM_H

#include "kernel/kernel.h"

/* C[b] = A[b] B[b] (+ C[b]), b < batch: A is m x k, B k x n, C m x n. Strides in elements; of A and B any, 0 included
 * (one matrix for all of a batch, a vector repeated); the entries of C are distinct. */
typedef struct gemm_shape {
    kern_dtype dtype;
    size_t batch, m, n, k;
    ptrdiff_t a_batch, a_m, a_k;
    ptrdiff_t b_batch, b_k, b_n;
    ptrdiff_t c_batch, c_m, c_n;
    bool accumulate;
} gemm_shape;

/* Called by the thread that has just finished entries m0..m1-1 x n0..n1-1 of C[batch], while they are in its cache;
 * every entry is in one such call. */
typedef void gemm_finish(void *user, unsigned thread, size_t batch, size_t m0, size_t m1, size_t n0, size_t n1);

typedef struct gemm_options {
    kern_level level;
    unsigned threads;   /* at least 1 */
    bool deterministic; /* the same bits for every number of threads: no sum is split, no library that may split it */
} gemm_options;

typedef enum gemm_how { GEMM_OWN, GEMM_ONEDNN, GEMM_OPENBLAS } gemm_how;
typedef struct gemm_plan {
    gemm_shape shape;
    gemm_options options;
    gemm_how how;
    size_t scratch; /* bytes, to be aligned to 64; 0: none */
    size_t block[6]; /* of the way chosen */
} gemm_plan;

void gemm_plan_init(gemm_plan *p, const gemm_shape *shape, const gemm_options *options);
/* Re-entrant: several threads may run one plan, each with its own scratch. finish may be NULL; a plan that was made
 * with how == GEMM_OWN calls it as said, others once per batch at the end. */
void gemm_run(const gemm_plan *p, const void *a, const void *b, void *c, void *scratch, gemm_finish *finish,
              void *user);

#endif
