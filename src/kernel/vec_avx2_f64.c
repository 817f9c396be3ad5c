/* The vector kernels in AVX2 and FMA, f64. */
#include "kernel/vec.h"

#if KERN_X86
#define F32 0
#define TABLE kern_avx2_f64
#define PLAIN kern_plain_f64
#include "kernel/vec_avx2.inc"
#include "kernel/vec_ops.inc"
#include "kernel/vec_math.inc"
#include "kernel/vec_trig.inc"
#include "kernel/vec.inc"
#endif
