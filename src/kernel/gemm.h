/* Products of matrices, planned once and run often: blocked kernels for AVX-512, AVX2 and plain C. Operands are read as
 * they lie; only a B whose rows are not contiguous is packed, panel by panel while it is in cache. A run allocates
 * nothing; what it needs beside the operands is `scratch`. */
#ifndef CR_GEMM_H
#define CR_GEMM_H

#include "kernel/kernel.h"

/* C[b] = A[b] B[b] (+ C[b]), b < batch: A is m x k, B k x n, C m x n. Strides in elements; of A and B any, 0 included
 * (one matrix for all of a batch, a vector repeated); the entries of C are distinct, and apart from A and B. */
typedef struct gemm_shape {
    kern_dtype dtype;
    size_t batch, m, n, k;
    ptrdiff_t a_batch, a_m, a_k;
    ptrdiff_t b_batch, b_k, b_n;
    ptrdiff_t c_batch, c_m, c_n;
    bool accumulate;
} gemm_shape;

/* The same bits in every run, and for every number of threads: no sum is split among them. */
typedef struct gemm_options {
    kern_level level;
    unsigned threads; /* at least 1; small products use fewer */
} gemm_options;

/* The ways to compute a block of C: tiles of registers; if it has few rows, scalar products, or rows of B scaled and
 * added. */
typedef enum gemm_way { GEMM_TILES, GEMM_DOTS, GEMM_AXPY } gemm_way;

typedef struct gemm_plan {
    size_t scratch;   /* bytes, to be aligned to 64; 0: none */
    unsigned threads; /* that take part */
    /* the rest is for gemm_run */
    gemm_shape shape; /* C or its transpose: the one that has rows */
    const struct gemm_kernels *kernels;
    gemm_way way;
    bool transposed, pack_a, pack_b, buffer_c;
    size_t mc, nc, kc;                         /* block: mc x nc of C, summed kc at a time */
    size_t parts_batch, parts_m, parts_n;      /* their product is `threads` */
    size_t scratch_a, scratch_b, scratch_each; /* bytes of a thread: packed A, packed B, and all with its block of C */
} gemm_plan;

void gemm_plan_init(gemm_plan *p, const gemm_shape *shape, const gemm_options *options);
/* Re-entrant: several threads may run one plan, each with its own scratch. */
void gemm_run(const gemm_plan *p, const void *a, const void *b, void *c, void *scratch);

#endif
