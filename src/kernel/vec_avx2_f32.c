/* The vector kernels in AVX2 and FMA, f32. */
#include "kernel/vec.h"

#if KERN_X86
#define F32 1
#define TABLE kern_avx2_f32
#define PLAIN kern_plain_f32
#include "kernel/vec_avx2.inc"
#include "kernel/vec_ops.inc"
#include "kernel/vec_math.inc"
#include "kernel/vec_trig.inc"
#include "kernel/vec.inc"
#endif
