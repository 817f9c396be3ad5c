/* What the variants of gemm_kernel.inc share: unrolling, and X(rows, vectors) for rows up to a bound, the lists of
 * tiles. */
#ifndef CR_GEMM_LISTS_H
#define CR_GEMM_LISTS_H

#if defined(__clang__)
#pragma clang diagnostic ignored "-Wpass-failed" /* a loop of one round has nothing to unroll */
#define GEMM_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define GEMM_UNROLL _Pragma("GCC unroll 16")
#else
#define GEMM_UNROLL
#endif

#define GEMM_ROWS_4(X, v) X(1, v) X(2, v) X(3, v) X(4, v)
#define GEMM_ROWS_6(X, v) GEMM_ROWS_4(X, v) X(5, v) X(6, v)
#define GEMM_ROWS_14(X, v) \
    GEMM_ROWS_6(X, v) X(7, v) X(8, v) X(9, v) X(10, v) X(11, v) X(12, v) X(13, v) X(14, v)

#endif
