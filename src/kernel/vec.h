/* The tables of the vector kernels and how they are made. A file such as vec_avx2_f32.c is one table; it puts together
 *
 *   a vocabulary   vec_plain.inc, vec_avx2.inc, vec_avx512.inc: a vector V of W numbers T, a mask M and what can be
 *                  done with them, by the same names at every level (V is T itself in plain C);
 *   operators      vec_ops.inc (arithmetic, choices), and vec_libm.inc (the reference) or vec_math.inc with
 *                  vec_trig.inc (polynomials): V op_NAME(V a, V b, V c, V attr);
 *   vec.inc        loops over memory, and the table.
 */
#ifndef CR_KERNEL_VEC_H
#define CR_KERNEL_VEC_H

#include "kernel/kernel.h"

#include <math.h>
#include <string.h>

#if !defined(KERN_X86) /* 0 builds as if for another processor */
#if defined(__GNUC__) && defined(__x86_64__)
#define KERN_X86 1
#else
#define KERN_X86 0
#endif
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#define SELDOM __attribute__((noinline, cold)) /* keeps its calls from costing the registers of a loop */
#else
#define INLINE static inline
#define SELDOM
#endif

extern const kern_table kern_plain_f32, kern_plain_f64;
#if KERN_X86
extern const kern_table kern_avx2_f32, kern_avx2_f64, kern_avx512_f32, kern_avx512_f64;
#endif

#endif
