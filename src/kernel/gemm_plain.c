/* Products of matrices in plain C, for processors that have neither AVX2 nor AVX-512. Vectors of 16 bytes, which GCC
 * and Clang have everywhere, one number each elsewhere; products are rounded before they are added. */
#include "kernel/gemm_kernel.h"
#include "kernel/gemm_lists.h"

#include <string.h>

#if defined(__GNUC__)
#define INLINE inline __attribute__((always_inline))
typedef float vec_f32 __attribute__((vector_size(16)));
typedef double vec_f64 __attribute__((vector_size(16)));
#else
#define INLINE inline
typedef float vec_f32;
typedef double vec_f64;
#endif

#define prefetch_read(p) ((void)(p))
#define prefetch_write(p) ((void)(p))
enum { ROWS = 4, VECTORS = 2, PIECE_ROWS = 4, PIECE_VECTORS = 2, DOT_ROWS = 2 };
#define TILES(X) GEMM_ROWS_4(X, 1) GEMM_ROWS_4(X, 2)
#define PIECE_TILES(X) GEMM_ROWS_4(X, 1) GEMM_ROWS_4(X, 2)
#define DOT_TILES(X) X(1, 1) X(2, 1)

#define MEMORY(real, vec) \
    static INLINE vec load_##vec(const real *p) \
    { \
        vec v; \
        memcpy(&v, p, sizeof v); \
        return v; \
    } \
    static INLINE vec load_part_##vec(const real *p, size_t n) \
    { \
        vec v = {0}; \
        memcpy(&v, p, n * sizeof *p); \
        return v; \
    } \
    static INLINE void store_part_##vec(real *p, vec v, size_t n) { memcpy(p, &v, n * sizeof *p); } \
    static INLINE void transpose_##vec(vec v[sizeof(vec) / sizeof(real)]) \
    { \
        enum { N = sizeof(vec) / sizeof(real) }; \
        real a[N][N], b[N][N]; \
        memcpy(a, v, sizeof a); \
        for (size_t i = 0; i < N; i++) { \
            for (size_t j = 0; j < N; j++) b[j][i] = a[i][j]; \
        } \
        memcpy(v, b, sizeof b); \
    }
MEMORY(float, vec_f32)
MEMORY(double, vec_f64)

/* ---- f32 ---------------------------------------------------------------------------------------- */

#define FN(name) f32_##name
#define real float
#define vec vec_f32
#define LANES (sizeof(vec_f32) / sizeof(float))
#define load(p) load_vec_f32(p)
#define store(p, v) store_part_vec_f32(p, v, LANES)
#define load_part(p, n) load_part_vec_f32(p, n)
#define store_part(p, v, n) store_part_vec_f32(p, v, n)
#define zero() (vec_f32){0}
#define splat(x) ((x) - (vec_f32){0})
#define fma(a, b, c) ((a) * (b) + (c))
#define add(a, b) ((a) + (b))
#define transpose(v) transpose_vec_f32(v)

#include "kernel/gemm_kernel.inc"

/* ---- f64 ---------------------------------------------------------------------------------------- */

#define FN(name) f64_##name
#define real double
#define vec vec_f64
#define LANES (sizeof(vec_f64) / sizeof(double))
#define load(p) load_vec_f64(p)
#define store(p, v) store_part_vec_f64(p, v, LANES)
#define load_part(p, n) load_part_vec_f64(p, n)
#define store_part(p, v, n) store_part_vec_f64(p, v, n)
#define zero() (vec_f64){0}
#define splat(x) ((x) - (vec_f64){0})
#define fma(a, b, c) ((a) * (b) + (c))
#define add(a, b) ((a) + (b))
#define transpose(v) transpose_vec_f64(v)

#include "kernel/gemm_kernel.inc"

const gemm_kernels *const gemm_plain[KERN_DTYPES] = {&f32_kernels, &f64_kernels};
