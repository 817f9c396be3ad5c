/* Which vector kernels there are, and which this processor runs. */
#include "kernel/vec.h"

kern_level kern_best(void)
{
#if KERN_X86
    /* libgcc and compiler-rt ask the system too (XGETBV): a set counts only if its registers are saved. */
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        return KERN_PLAIN;
    }
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")
               ? KERN_AVX512
               : KERN_AVX2;
#else
    return KERN_PLAIN;
#endif
}

const kern_table *kern_table_of(kern_dtype t, kern_level level)
{
#if KERN_X86
    static const kern_table *const tables[KERN_LEVELS][KERN_DTYPES] = {
        {&kern_plain_f32, &kern_plain_f64}, {&kern_avx2_f32, &kern_avx2_f64}, {&kern_avx512_f32, &kern_avx512_f64}};
    return tables[level][t];
#else
    (void)level;
    return t == KERN_F32 ? &kern_plain_f32 : &kern_plain_f64;
#endif
}

unsigned kern_arity(kern_op op)
{
    static const unsigned char arity[KERN_OPS] = {
#define K1(name) 1,
#define K2(name) 2,
#define K3(name) 3,
#define FOLD(name)
#include "kernel/kernels.def"
#undef K1
#undef K2
#undef K3
#undef FOLD
    };
    return arity[op];
}

const char *kern_name(kern_op op)
{
    static const char *const names[KERN_OPS] = {
#define K1(name) #name,
#define K2(name) #name,
#define K3(name) #name,
#define FOLD(name)
#include "kernel/kernels.def"
#undef K1
#undef K2
#undef K3
#undef FOLD
    };
    return names[op];
}

double kern_neutral(kern_fold f)
{
    switch (f) {
    case KERN_FOLD_PROD: case KERN_FOLD_ALL: return 1;
    case KERN_FOLD_MAX: return -INFINITY;
    case KERN_FOLD_MIN: return INFINITY;
    default: return 0;
    }
}
