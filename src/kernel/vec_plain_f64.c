/* The vector kernels in plain C, f64: the reference. */
#include "kernel/vec.h"

#define F32 0
#define TABLE kern_plain_f64
#define PLAIN kern_plain_f64
#define PLAIN_C
#include "kernel/vec_plain.inc"
#include "kernel/vec_ops.inc"
#include "kernel/vec_libm.inc"
#include "kernel/vec.inc"
