/* Room kernel: what runs at the speed of the machine and knows nothing of graphs. Vector functions over blocks that
 * stay in the L1 cache, each in plain C, AVX2 and AVX-512, chosen at run time; products of matrices are in gemm.h.
 *
 * Plain C is the reference: every other variant is tested against it and against the same function in higher
 * precision, on every operator, by `checkkern`. Stated errors: exp, log, tanh, sigmoid, erf, softplus and elu at most
 * 2 ULP in f32, what else is made of them 3 or 4; in f64 4 or 5 (docs/kernels.md has what was measured). NaN,
 * infinities and signed zeros as the reference has them. */
#ifndef CR_KERNEL_H
#define CR_KERNEL_H

#include "base/base.h"

typedef enum kern_dtype { KERN_F32, KERN_F64, KERN_DTYPES } kern_dtype;
static inline size_t kern_size(kern_dtype t) { return t == KERN_F32 ? 4 : 8; }

/* Sets of instructions, each with all before it. */
typedef enum kern_level { KERN_PLAIN, KERN_AVX2, KERN_AVX512, KERN_LEVELS } kern_level;
kern_level kern_best(void); /* what this processor and its system have */

typedef enum kern_op {
#define K1(name) KERN_##name,
#define K2(name) KERN_##name,
#define K3(name) KERN_##name,
#define FOLD(name)
#include "kernel/kernels.def"
#undef K1
#undef K2
#undef K3
#undef FOLD
    KERN_OPS
} kern_op;

typedef enum kern_fold {
#define K1(name)
#define K2(name)
#define K3(name)
#define FOLD(name) KERN_FOLD_##name,
#include "kernel/kernels.def"
#undef K1
#undef K2
#undef K3
#undef FOLD
    KERN_FOLDS
} kern_fold;

unsigned kern_arity(kern_op op); /* 1, 2, 3 */
const char *kern_name(kern_op op);

/* out[i] = op(a[i], b[i], c[i]) for i < n, any n, any alignment. out may be one of the operands, or be apart from all.
 * Operands beyond the arity are not looked at. */
typedef void kern_map_fn(size_t n, void *out, const void *a, const void *b, const void *c, double attr);
/* The bits of an operand that is one number for all i. */
enum { KERN_A_ONE = 1, KERN_B_ONE = 2, KERN_C_ONE = 4 };

/* Reduces a[0..n-1], together with *acc, into *acc: acc starts as the neutral element. Sums run in several lanes in a
 * fixed order that depends on n only. */
typedef void kern_fold_fn(size_t n, void *acc, const void *a);
double kern_neutral(kern_fold f); /* 0, 1, -inf (MAX), inf (MIN) */

/* out[i] = in[i*stride]; in[i] to out[i*stride]; strides in elements, may be negative or 0 (load). */
typedef void kern_move_fn(size_t n, void *out, const void *in, ptrdiff_t stride);

typedef struct kern_table {
    kern_map_fn *map[KERN_OPS][8]; /* by the set of operands that are one number, bits beyond the arity aside;
                                       all of them: n is 1 (it is the kernel of 0) */
    kern_fold_fn *fold[KERN_FOLDS];
    void (*dot)(size_t n, void *acc, const void *a, const void *b); /* *acc += sum of a[i] b[i] */
    kern_move_fn *load, *store;
    void (*stream)(size_t n, void *out, const void *in); /* copies past the caches, where that is possible */
    void (*stream_end)(void); /* after the last of them, before another thread reads what was copied */
    void (*iota)(size_t n, void *out, double start, double step); /* start + i*step, each rounded once or twice */
    void (*fill)(size_t n, void *out, double v);
} kern_table;
/* The table of a level; a level beyond kern_best() must not be called into. */
const kern_table *kern_table_of(kern_dtype t, kern_level level);

#endif
