/* What gemm.c is made of, once for each set of instructions and dtype: tiles of C held in registers, and the packing
 * that feeds them. gemm_kernel.inc is the text of all of them. Strides are in elements everywhere. */
#ifndef CR_GEMM_KERNEL_H
#define CR_GEMM_KERNEL_H

#include "kernel/kernel.h"

enum { GEMM_ROWS = 14, GEMM_VECTORS = 4, GEMM_DOT_ROWS = 4 }; /* of the largest tiles */

/* C[i,j] = (C[i,j] +) sum over p < k of A[i,p] B[p,j], with the rows that the tile was made for and j < n. Every entry
 * is one chain of multiply-adds (fused, but for PLAIN) in ascending p from 0, whatever the tile: an entry has the same
 * bits wherever the cuts between tiles fall. */
typedef struct gemm_tile {
    size_t k, n;
    const void *a, *b;
    ptrdiff_t a_m, a_k, b_k; /* rows of B are contiguous */
    void *c;
    ptrdiff_t c_m; /* rows of C are contiguous */
    bool add;
    const char *ahead; /* what is needed soon: the cache line there and one every ahead_step bytes, k in all; hints */
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
    size_t rows, vectors;
    gemm_tile_fn *tile[GEMM_ROWS][GEMM_VECTORS]; /* [rows-1][vectors-1]; nothing beyond column n is touched */
    /* For convolutions (conv.h): terms of a row of A lie side by side (a_k is 1), or rows of a term (a_m is 1). B is
     * padded to whole vectors. */
    size_t piece_rows, piece_vectors;
    gemm_tile_fn *along[GEMM_ROWS][GEMM_VECTORS], *across[GEMM_ROWS][GEMM_VECTORS];
    gemm_pack_fn *pack;
    /* C[j] (+)= sum over p of a[p*a_k] B[p*b_k + j]: one row; as gemm_tile, with n of any size. */
    gemm_tile_fn *axpy;
    /* dots[rows-1]: C[i,j] (+)= sum over p of A[i*a_m + p] B[j*b_k + p], n of any size: both contiguous in p. The sum
     * runs in lanes, in an order that depends on k only. */
    size_t dot_rows;
    gemm_tile_fn *dots[GEMM_DOT_ROWS];
} gemm_kernels;

extern const gemm_kernels *const gemm_plain[KERN_DTYPES];
#if defined(__x86_64__) && defined(__GNUC__)
#define CR_GEMM_X86 1
extern const gemm_kernels *const gemm_avx2[KERN_DTYPES], *const gemm_avx512[KERN_DTYPES];
#endif

static inline const gemm_kernels *gemm_kernels_of(kern_dtype t, kern_level level)
{
#ifdef CR_GEMM_X86
    if (level == KERN_AVX512) return gemm_avx512[t];
    if (level == KERN_AVX2) return gemm_avx2[t];
#endif
    (void)level;
    return gemm_plain[t];
}

#endif
