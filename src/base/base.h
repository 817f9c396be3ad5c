/* Room base: allocation, errors, string buffer, arena, bounded reading, whole writing. Knows nothing of expressions. */
#ifndef CR_BASE_H
#define CR_BASE_H

#include "chainrule.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#if defined(__GNUC__)
#define CR_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define CR_PRINTF(f, a)
#endif

/* ---- allocation ------------------------------------------------------------------------------- */
/* Every allocation of the library goes through these, so that a test can make each one fail in turn. */
void *mem_alloc(size_t n);              /* uninitialised; NULL: out of memory; n == 0 gives a valid pointer */
void *mem_zalloc(size_t count, size_t size); /* zeroed, overflow checked */
void *mem_realloc(void *p, size_t n);
void mem_free(void *p);
char *mem_strdup(const char *s);
/* Test hook: called before each allocation; false makes it fail. NULL: none. Exported for the tests. */
CR_API void cr_mem_set_hook(bool (*allow)(void *user), void *user);

/* Makes room for `need` elements of `size` bytes in a growable array; false: out of memory (array unchanged). */
bool vec_reserve_(void **data, size_t *cap, size_t need, size_t size);
#define VEC_RESERVE(ptr, cap, need) vec_reserve_((void **)&(ptr), &(cap), (need), sizeof *(ptr))

/* ---- arena ------------------------------------------------------------------------------------ */
/* Append-only memory in growing blocks; pointers stay valid until arena_free. */
typedef struct arena {
    struct arena_block *head;
    size_t used, cap; /* of the head block */
    size_t total;     /* bytes asked from the system */
} arena;
void *arena_alloc(arena *a, size_t n); /* 8-byte aligned, uninitialised; NULL: out of memory */
void arena_free(arena *a);             /* zero-initialised arena is valid and empty */

/* ---- string buffer ----------------------------------------------------------------------------- */
/* Grows; after an allocation failure or past `limit` bytes (0: no limit) it stops taking text and says so. */
typedef struct strbuf {
    char *s;    /* NUL-terminated when n > 0; may be NULL when empty */
    size_t n, cap, limit;
    cr_status status; /* CR_OK, CR_ENOMEM or CR_ELIMIT, sticky */
} strbuf;
void sb_init(strbuf *b);
void sb_free(strbuf *b);
void sb_putc(strbuf *b, char c);
void sb_puts(strbuf *b, const char *s);
void sb_write(strbuf *b, const char *s, size_t n);
void sb_printf(strbuf *b, const char *fmt, ...) CR_PRINTF(2, 3);
void sb_vprintf(strbuf *b, const char *fmt, va_list ap);
void sb_insert(strbuf *b, size_t at, const char *s); /* at <= b->n */
const char *sb_str(const strbuf *b); /* never NULL */
char *sb_take(strbuf *b); /* the text, now the caller's (mem_free); NULL on failure; b is empty again */
/* Shortest decimal that reads back as the same double: 0.1, 1e-300, 3. Not for NaN or infinities. */
void sb_number(strbuf *b, double v);

/* ---- error ------------------------------------------------------------------------------------ */
/* Keeps the first error only. */
typedef struct error {
    cr_status status;
    char *message; /* owned; NULL when out of memory or none */
} error;
/* e NULL: nobody asks why. */
void err_set(error *e, cr_status status, const char *fmt, ...) CR_PRINTF(3, 4);
void err_vset(error *e, cr_status status, const char *fmt, va_list ap);
void err_clear(error *e);
const char *err_message(const error *e); /* "" if none; "out of memory" if that is what happened */

/* ---- files ------------------------------------------------------------------------------------ */
/* Whole file ("-": standard input) of at most `limit` bytes, NUL-terminated besides; *data is the caller's (mem_free).
 * CR_EIO, CR_ELIMIT, CR_ENOMEM with a message in e. */
cr_status file_read(const char *path, size_t limit, char **data, size_t *n, error *e);

/* A file that is written whole or not at all: into a temporary file beside it, which takes its name at the end. After a
 * failure, which is in e, further bytes are dropped; file_out_end is called in any case. */
typedef struct file_out {
    FILE *f;
    char *path, *temporary;
    error *e;
} file_out;
bool file_out_begin(file_out *o, const char *path, error *e);
bool file_out_write(file_out *o, const void *bytes, size_t n);
/* keep: the file is complete. Otherwise, or if anything failed, nothing of it is left and what had its name still has.
 * CR_OK, or the status of the failure. */
cr_status file_out_end(file_out *o, bool keep);

/* ---- bytes ------------------------------------------------------------------------------------ */
/* What is left to read of a piece of memory. Asking for more than there is gives zeros (or an empty piece) and sets
 * `ended`, which stays: one check behind several reads is enough. */
typedef struct byte_reader {
    const unsigned char *p;
    size_t n;
    bool ended;
} byte_reader;
byte_reader reader_of(const void *bytes, size_t n);
byte_reader reader_take(byte_reader *r, size_t n); /* the next n bytes, as a piece of their own */
uint8_t reader_u8(byte_reader *r);
uint16_t reader_u16(byte_reader *r); /* little-endian */
uint32_t reader_u32(byte_reader *r);
uint64_t reader_u64(byte_reader *r);
uint32_t reader_u32_big(byte_reader *r); /* big-endian */

/* ---- text ------------------------------------------------------------------------------------- */
/* Offset of the first byte that is not valid UTF-8, or n. */
size_t utf8_check(const char *s, size_t n);
/* Number of terminal columns that s[0..n) takes, one per code point. */
size_t utf8_columns(const char *s, size_t n);

/* a*b and a+b; through p/q where both are fractions with small denominators, so that the result is the double nearest
 * to the true one. */
double num_times(double a, double b);
bool num_product_fits(double a, double b); /* a*b neither overflows nor vanishes */
double num_plus(double a, double b);

/* Hash of a sequence of words; h is the running value. */
static inline uint32_t hash_word(uint32_t h, uint32_t w)
{
    h ^= w;
    h *= 0x9E3779B1u;
    return h ^ (h >> 15);
}

static inline uint32_t hash_double(uint32_t h, double v) /* of its bits: -0 is not 0 */
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return hash_word(hash_word(h, (uint32_t)bits), (uint32_t)(bits >> 32));
}

#endif
