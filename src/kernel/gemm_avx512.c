/* Products of matrices with AVX-512: 6 x 4 vectors keep 24 sums, 4 vectors of B and 1 number of A in 32 registers; 10
 * loads for 24 multiply-adds. Taller tiles (14 x 2) need A packed, and were slower. */
#include "kernel/gemm_kernel.h"

#ifdef CR_GEMM_X86
#include "kernel/gemm_lists.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx2,fma")
#endif
#include <immintrin.h>

#define INLINE inline __attribute__((always_inline))
#define prefetch_read(p) _mm_prefetch((const char *)(p), _MM_HINT_T1)
#define prefetch_write(p) __builtin_prefetch((p), 1, 3)
enum { ROWS = 6, VECTORS = 4, PIECE_ROWS = 14, PIECE_VECTORS = 2, DOT_ROWS = 4 };
#define TILES(X) GEMM_ROWS_6(X, 1) GEMM_ROWS_6(X, 2) GEMM_ROWS_6(X, 3) GEMM_ROWS_6(X, 4)
#define PIECE_TILES(X) GEMM_ROWS_14(X, 1) GEMM_ROWS_14(X, 2)
#define DOT_TILES(X) GEMM_ROWS_4(X, 1)

/* ---- f32 ---------------------------------------------------------------------------------------- */

#define FN(name) f32_##name
#define real float
#define vec __m512
#define LANES 16
#define first_f32(n) ((__mmask16)((1u << (n)) - 1))
#define load(p) _mm512_loadu_ps(p)
#define store(p, v) _mm512_storeu_ps(p, v)
#define load_part(p, n) _mm512_maskz_loadu_ps(first_f32(n), p)
#define store_part(p, v, n) _mm512_mask_storeu_ps(p, first_f32(n), v)
#define zero() _mm512_setzero_ps()
#define splat(x) _mm512_set1_ps(x)
#define fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define add(a, b) _mm512_add_ps(a, b)
#define transpose(v) transpose_f32(v)

/* Pairs of rows, then pairs of pairs within 128 bits, then blocks of 4 x 4 between them. */
static INLINE void transpose_f32(__m512 v[16])
{
    __m512 t[16];
    GEMM_UNROLL for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
    }
    GEMM_UNROLL for (int i = 0; i < 16; i += 4) {
        v[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
        v[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
        v[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        v[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    GEMM_UNROLL for (int i = 0; i < 4; i++) {
        __m512 a = _mm512_shuffle_f32x4(v[i], v[i + 4], 0x88), b = _mm512_shuffle_f32x4(v[i], v[i + 4], 0xdd);
        __m512 c = _mm512_shuffle_f32x4(v[i + 8], v[i + 12], 0x88), d = _mm512_shuffle_f32x4(v[i + 8], v[i + 12], 0xdd);
        v[i] = _mm512_shuffle_f32x4(a, c, 0x88);
        v[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
        v[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
        v[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
}

#include "kernel/gemm_kernel.inc"

/* ---- f64 ---------------------------------------------------------------------------------------- */

#define FN(name) f64_##name
#define real double
#define vec __m512d
#define LANES 8
#define first_f64(n) ((__mmask8)((1u << (n)) - 1))
#define load(p) _mm512_loadu_pd(p)
#define store(p, v) _mm512_storeu_pd(p, v)
#define load_part(p, n) _mm512_maskz_loadu_pd(first_f64(n), p)
#define store_part(p, v, n) _mm512_mask_storeu_pd(p, first_f64(n), v)
#define zero() _mm512_setzero_pd()
#define splat(x) _mm512_set1_pd(x)
#define fma(a, b, c) _mm512_fmadd_pd(a, b, c)
#define add(a, b) _mm512_add_pd(a, b)
#define transpose(v) transpose_f64(v)

static INLINE void transpose_f64(__m512d v[8])
{
    __m512d t[8];
    GEMM_UNROLL for (int i = 0; i < 8; i += 2) {
        t[i] = _mm512_unpacklo_pd(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_pd(v[i], v[i + 1]);
    }
    GEMM_UNROLL for (int i = 0; i < 2; i++) {
        __m512d a = _mm512_shuffle_f64x2(t[i], t[i + 2], 0x88), b = _mm512_shuffle_f64x2(t[i], t[i + 2], 0xdd);
        __m512d c = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0x88), d = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0xdd);
        v[i] = _mm512_shuffle_f64x2(a, c, 0x88);
        v[i + 2] = _mm512_shuffle_f64x2(b, d, 0x88);
        v[i + 4] = _mm512_shuffle_f64x2(a, c, 0xdd);
        v[i + 6] = _mm512_shuffle_f64x2(b, d, 0xdd);
    }
}

#include "kernel/gemm_kernel.inc"

#ifdef __clang__
#pragma clang attribute pop
#endif

const gemm_kernels *const gemm_avx512[KERN_DTYPES] = {&f32_kernels, &f64_kernels};
#else
typedef int gemm_avx512_is_for_x86; /* a translation unit is not empty */
#endif
