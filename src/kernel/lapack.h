/* Decompositions by LAPACK, which OpenBLAS has with it. Matrices are dense with contiguous rows: A[i*n + j]. LAPACK's
 * have contiguous columns, so it sees the transpose; every task is put such that nothing is transposed (but the right
 * sides of LAPACK_SOLVE). A run allocates nothing here; OpenBLAS keeps buffers of its own. */
#ifndef CR_LAPACK_H
#define CR_LAPACK_H

#include "kernel/kernel.h"

typedef enum lapack_task {
    LAPACK_VALUES,  /* singular values, descending */
    LAPACK_SVD,     /* A = U diag(s) V, thin */
    LAPACK_QR,      /* A = Q R, thin */
    LAPACK_SOLVE,   /* A X = B */
    LAPACK_INVERSE,
    LAPACK_DET,     /* sign(det A) and ln |det A| */
    LAPACK_TASKS
} lapack_task;

typedef struct lapack_plan {
    size_t scratch; /* bytes, to be aligned to 64 */
    /* the rest is for the runs */
    lapack_task task;
    kern_dtype dtype;
    int m, n, rank, columns, work; /* rank = min(m, n); work in numbers */
    unsigned threads;
    void *call[3];
    size_t at_matrix, at_more, at_pivot, at_work; /* offsets in scratch */
} lapack_plan;

/* A is m x n, B n x columns (SOLVE only). CR_EUNSUPPORTED if there is no OpenBLAS, CR_ELIMIT for sizes beyond LAPACK's
 * integers, CR_ESHAPE for a matrix that has to be square; with a message. threads: how many OpenBLAS may use; its bits
 * depend on them. */
cr_status lapack_plan_init(lapack_plan *p, lapack_task task, kern_dtype dtype, size_t m, size_t n, size_t columns,
                           unsigned threads, error *e);

typedef enum lapack_result {
    LAPACK_DONE,
    LAPACK_SINGULAR,   /* exactly: a pivot is 0; X or the inverse is not written. A det is 0: sign 0, ln -inf, DONE */
    LAPACK_UNFINISHED  /* no convergence, or A is not finite; results are not to be used */
} lapack_result;

/* Re-entrant, each run with its own scratch. A and B are not changed. With r = min(m, n): */
lapack_result lapack_values(const lapack_plan *p, const void *a, void *s, void *scratch); /* s[r] */
lapack_result lapack_svd(const lapack_plan *p, const void *a, void *u, void *s, void *v,  /* m x r, r, r x n */
                         void *scratch);
lapack_result lapack_qr(const lapack_plan *p, const void *a, void *q, void *r, void *scratch); /* m x r, r x n */
lapack_result lapack_solve(const lapack_plan *p, const void *a, const void *b, void *x, void *scratch);
lapack_result lapack_inverse(const lapack_plan *p, const void *a, void *inverse, void *scratch);
lapack_result lapack_det(const lapack_plan *p, const void *a, double *sign, double *ln, void *scratch);

#endif
