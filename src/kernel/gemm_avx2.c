/* Products of matrices with AVX2 and FMA: 4 x 3 vectors keep 12 sums, 3 vectors of B and 1 number of A in 16
 * registers. */
#include "kernel/gemm_kernel.h"

#ifdef CR_GEMM_X86
#include "kernel/gemm_lists.h"

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#include <immintrin.h>

#define INLINE inline __attribute__((always_inline))
#define prefetch_read(p) _mm_prefetch((const char *)(p), _MM_HINT_T1)
#define prefetch_write(p) __builtin_prefetch((p), 1, 3)
enum { ROWS = 4, VECTORS = 3, PIECE_ROWS = 6, PIECE_VECTORS = 2, DOT_ROWS = 2 };
#define TILES(X) GEMM_ROWS_4(X, 1) GEMM_ROWS_4(X, 2) GEMM_ROWS_4(X, 3)
#define PIECE_TILES(X) GEMM_ROWS_6(X, 1) GEMM_ROWS_6(X, 2)
#define DOT_TILES(X) X(1, 1) X(2, 1)

/* ---- f32 ---------------------------------------------------------------------------------------- */

#define FN(name) f32_##name
#define real float
#define vec __m256
#define LANES 8
#define load(p) _mm256_loadu_ps(p)
#define store(p, v) _mm256_storeu_ps(p, v)
#define load_part(p, n) _mm256_maskload_ps(p, first_f32(n))
#define store_part(p, v, n) _mm256_maskstore_ps(p, first_f32(n), v)
#define zero() _mm256_setzero_ps()
#define splat(x) _mm256_set1_ps(x)
#define fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define add(a, b) _mm256_add_ps(a, b)
#define transpose(v) transpose_f32(v)

static INLINE __m256i first_f32(size_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static INLINE void transpose_f32(__m256 v[8])
{
    __m256 t[8];
    GEMM_UNROLL for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
    }
    GEMM_UNROLL for (int i = 0; i < 8; i += 4) {
        v[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        v[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        v[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        v[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
    GEMM_UNROLL for (int i = 0; i < 4; i++) {
        __m256 low = _mm256_permute2f128_ps(v[i], v[i + 4], 0x20);
        v[i + 4] = _mm256_permute2f128_ps(v[i], v[i + 4], 0x31);
        v[i] = low;
    }
}

#include "kernel/gemm_kernel.inc"

/* ---- f64 ---------------------------------------------------------------------------------------- */

#define FN(name) f64_##name
#define real double
#define vec __m256d
#define LANES 4
#define load(p) _mm256_loadu_pd(p)
#define store(p, v) _mm256_storeu_pd(p, v)
#define load_part(p, n) _mm256_maskload_pd(p, first_f64(n))
#define store_part(p, v, n) _mm256_maskstore_pd(p, first_f64(n), v)
#define zero() _mm256_setzero_pd()
#define splat(x) _mm256_set1_pd(x)
#define fma(a, b, c) _mm256_fmadd_pd(a, b, c)
#define add(a, b) _mm256_add_pd(a, b)
#define transpose(v) transpose_f64(v)

static INLINE __m256i first_f64(size_t n)
{
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x((long long)n), _mm256_setr_epi64x(0, 1, 2, 3));
}

static INLINE void transpose_f64(__m256d v[4])
{
    __m256d a = _mm256_unpacklo_pd(v[0], v[1]), b = _mm256_unpackhi_pd(v[0], v[1]);
    __m256d c = _mm256_unpacklo_pd(v[2], v[3]), d = _mm256_unpackhi_pd(v[2], v[3]);
    v[0] = _mm256_permute2f128_pd(a, c, 0x20);
    v[1] = _mm256_permute2f128_pd(b, d, 0x20);
    v[2] = _mm256_permute2f128_pd(a, c, 0x31);
    v[3] = _mm256_permute2f128_pd(b, d, 0x31);
}

#include "kernel/gemm_kernel.inc"

#ifdef __clang__
#pragma clang attribute pop
#endif

const gemm_kernels *const gemm_avx2[KERN_DTYPES] = {&f32_kernels, &f64_kernels};
#else
typedef int gemm_avx2_is_for_x86; /* a translation unit is not empty */
#endif
