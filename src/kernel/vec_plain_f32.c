/* The vector kernels in plain C, f32: the reference. */
#include "kernel/vec.h"

#define F32 1
#define TABLE kern_plain_f32
#define PLAIN kern_plain_f32
#define PLAIN_C
#include "kernel/vec_plain.inc"
#include "kernel/vec_ops.inc"
#include "kernel/vec_libm.inc"
#include "kernel/vec.inc"
