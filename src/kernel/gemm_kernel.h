/* What gemm.c is made of, once for each set of instructions and dtype: tiles of C held in registers, and the packing
 * that feeds them. gemm_kernel.inc is the text of all of them. Strides are in elements everywhere. */
#ifndef CR_GEMM_KERNEL_H
#define CR_GEMM_KERNEL_H

#include "kernel/kernel.h"

enum { GEMM_ROWS = 14, GEMM_VECTORS = 4 }; /* of the largest tiles */

/* C[i,j] = (C[i,j] +) sum over p < k of A[i,p] B[p,j], with the rows that the tile was made for and j < n. Every entry
 * is one chain of multiply-adds (fused, but for PLAIN) in ascending p from 0, whatever the tile: an entry has the same
 * bits wherever the cuts between tiles fall. */
typedef struct gemm_tile {
    size_t k, n;
    const void *a, *b; /* rows of B are contiguous; packed tiles know the strides of A and B */
    ptrdiff_t a_m, a_k, b_k;
    void *c; /* rows are contiguous */
    ptrdiff_t c_m;
    bool add;
    /* Packed tiles only: what is needed soon, two neighbouring cache lines every ahead_step bytes. Hints: any address
     * will do. */
    const char *ahead;
    ptrdiff_t ahead_step;
    /* Tiles of pieces only: the sum is over `pieces` times k terms, those of piece s at a + a_at[s] and b + b_at[s]. */
    size_t pieces;
    const ptrdiff_t *a_at, *b_at;
} gemm_tile;
typedef void gemm_tile_fn(const gemm_tile *t);

/* out[p*width + j] = in[p*k_step + j*step], p < k, j < n; 0 for n <= j < width. `out` is written up to 64 bytes
 * beyond its end. */
typedef void gemm_pack_fn(size_t k, size_t n, size_t width, void *out, const void *in, ptrdiff_t k_step,
                          ptrdiff_t step);

typedef struct gemm_kernels {
    size_t lanes; /* numbers in a vector */
    /* packed[rows-1][vectors-1]: A is [p][rows], B is [p][vectors of the widest], padded with zeros. */
    size_t rows, vectors;
    gemm_tile_fn *packed[GEMM_ROWS][GEMM_VECTORS];
    /* direct[rows-1][vectors-1]: A by its strides, B by b_k; nothing beyond column n is touched. */
    size_t direct_rows, direct_vectors;
    gemm_tile_fn *direct[GEMM_ROWS][GEMM_VECTORS];
    /* For convolutions (conv.h), rows and vectors as packed: terms of a row of A lie side by side (a_k is 1), or rows
     * of a term (a_m is 1). B is padded to whole vectors. */
    gemm_tile_fn *along[GEMM_ROWS][GEMM_VECTORS], *across[GEMM_ROWS][GEMM_VECTORS];
    gemm_pack_fn *pack;
    /* C[j] (+)= sum over p of a[p*a_k] B[p*b_k + j]: one row; as gemm_tile, with n of any size. */
    gemm_tile_fn *axpy;
    /* C[j] (+)= sum over p of a[p] B[j*b_k + p], n of any size: columns of B are contiguous; lanes of the sum are a
     * function of k only. */
    gemm_tile_fn *dots;
} gemm_kernels;

extern const gemm_kernels *const gemm_plain[KERN_DTYPES];
#if defined(__x86_64__) && defined(__GNUC__)
#define CR_GEMM_X86 1
extern const gemm_kernels *const gemm_avx2[KERN_DTYPES], *const gemm_avx512[KERN_DTYPES];
#endif

#endif
