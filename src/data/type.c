/* Types of entries, and their conversion. */
#include "data/data.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Each type: its name, what holds an entry, and its value as an expression in that. */
#define TYPES(T)                                  \
    T(F32, "float32", float, v)                   \
    T(F64, "float64", double, v)                  \
    T(F16, "float16", uint16_t, half(v))          \
    T(BF16, "bfloat16", uint16_t, brain(v))       \
    T(I8, "int8", int8_t, v)                      \
    T(I16, "int16", int16_t, v)                   \
    T(I32, "int32", int32_t, v)                   \
    T(I64, "int64", int64_t, v)                   \
    T(U8, "uint8", uint8_t, v)                    \
    T(U16, "uint16", uint16_t, v)                 \
    T(U32, "uint32", uint32_t, v)                 \
    T(U64, "uint64", uint64_t, v)                 \
    T(BOOL, "bool", uint8_t, v != 0)

static const struct {
    const char *name;
    size_t size;
} types[CR_TYPE_COUNT] = {
#define T(id, text, C, value) [CR_TYPE_##id] = {text, sizeof(C)},
    TYPES(T)
#undef T
};

size_t cr_type_size(cr_type t) { return (unsigned)t < CR_TYPE_COUNT ? types[t].size : 0; }
const char *cr_type_name(cr_type t) { return (unsigned)t < CR_TYPE_COUNT ? types[t].name : "no type"; }

static float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* IEEE 754 binary16. A subnormal one is a normal float: 2^-24 times its fraction. */
static float half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
    if (exponent == 0) {
        float v = (float)fraction * 0x1p-24f;
        return sign ? -v : v;
    }
    return from_bits(sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13);
}

/* bfloat16: the upper half of a float. */
static float brain(uint16_t b) { return from_bits((uint32_t)b << 16); }

#define CONVERT(id, C, value, To)                     \
    case CR_TYPE_##id:                                \
        for (size_t i = 0; i < n; i++) {              \
            C v;                                      \
            memcpy(&v, p + i * sizeof v, sizeof v);   \
            to[i] = (To)(value);                      \
        }                                             \
        break;

void data_to_f32(cr_type type, const void *from, size_t n, float *to)
{
    const unsigned char *p = from;
    switch (type) {
#define T(id, text, C, value) CONVERT(id, C, value, float)
        TYPES(T)
#undef T
    default: break;
    }
}

void data_to_f64(cr_type type, const void *from, size_t n, double *to)
{
    const unsigned char *p = from;
    switch (type) {
#define T(id, text, C, value) CONVERT(id, C, value, double)
        TYPES(T)
#undef T
    default: break;
    }
}

static bool whole(double v, int64_t *to)
{
    if (!(v >= -0x1p63 && v < 0x1p63) || v != trunc(v)) return false;
    *to = (int64_t)v;
    return true;
}

size_t data_to_i64(cr_type type, const void *from, size_t n, int64_t *to)
{
    const unsigned char *p = from;
    size_t size = cr_type_size(type);
    for (size_t i = 0; i < n; i++, p += size) {
        if (type == CR_TYPE_I64) {
            memcpy(&to[i], p, size);
        } else if (type == CR_TYPE_U64) {
            uint64_t v;
            memcpy(&v, p, size);
            if (v > INT64_MAX) return i;
            to[i] = (int64_t)v;
        } else { /* a double holds it exactly */
            double v;
            data_to_f64(type, p, 1, &v);
            if (!whole(v, &to[i])) return i;
        }
    }
    return n;
}

static const void *range(const cr_tensor *t, size_t first, size_t n)
{
    if ((unsigned)t->type >= CR_TYPE_COUNT || first > t->count || n > t->count - first) return NULL;
    return (const char *)t->data + first * cr_type_size(t->type);
}

bool cr_tensor_f32(const cr_tensor *t, size_t first, size_t n, float *out)
{
    const void *from = range(t, first, n);
    if (from) data_to_f32(t->type, from, n, out);
    return from != NULL;
}

bool cr_tensor_f64(const cr_tensor *t, size_t first, size_t n, double *out)
{
    const void *from = range(t, first, n);
    if (from) data_to_f64(t->type, from, n, out);
    return from != NULL;
}

bool cr_tensor_i64(const cr_tensor *t, size_t first, size_t n, int64_t *out)
{
    const void *from = range(t, first, n);
    return from && data_to_i64(t->type, from, n, out) == n;
}

void data_swap(void *entries, size_t n, size_t size)
{
    unsigned char *p = entries;
    for (size_t i = 0; size > 1 && i < n; i++, p += size)
        for (size_t k = 0; k < size / 2; k++) {
            unsigned char c = p[k];
            p[k] = p[size - 1 - k];
            p[size - 1 - k] = c;
        }
}

bool data_big_endian(void)
{
    static const uint16_t one = 1;
    return *(const unsigned char *)&one == 0;
}

bool data_product(unsigned rank, const int64_t *dim, size_t size, size_t *count)
{
    uint64_t room = PTRDIFF_MAX / size;
    bool empty = false;
    *count = 1;
    for (unsigned i = 0; i < rank; i++) {
        if (dim[i] < 0) return false;
        empty |= dim[i] == 0;
        if (dim[i] == 0) continue;
        if ((uint64_t)dim[i] > room) return false;
        room /= (uint64_t)dim[i];
        *count *= (size_t)dim[i];
    }
    if (empty) *count = 0;
    return true;
}

void data_shape(strbuf *b, unsigned rank, const int64_t *dim)
{
    if (rank == 0) sb_puts(b, "a scalar");
    for (unsigned i = 0; i < rank; i++) sb_printf(b, i ? " x %" PRId64 : "%" PRId64, dim[i]);
}
