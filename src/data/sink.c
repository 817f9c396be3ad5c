/* The way out: a file that is complete or is not, packed or not. */
#include "data/stream.h"

#include <string.h>

enum { PIECE = 1 << 14 };

bool sink_open(sink *s, const char *path, bool gzip, error *err)
{
    *s = (sink){.err = err, .z = pack_state()};
    if (!file_out_begin(&s->out, path, err)) return false;
    if (!gzip) return true;
    s->gzip = deflateInit2(&s->z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK;
    if (!s->gzip) err_set(err, CR_ENOMEM, "%s: out of memory", path);
    return s->gzip;
}

bool sink_fail(sink *s, cr_status status, const char *fmt, ...)
{
    strbuf b;
    sb_init(&b);
    va_list ap;
    va_start(ap, fmt);
    sb_vprintf(&b, fmt, ap);
    va_end(ap);
    err_set(s->err, b.status == CR_OK ? status : CR_ENOMEM, "%s: %s", s->out.path, sb_str(&b));
    sb_free(&b);
    return false;
}

static void pack(sink *s, const void *bytes, size_t n, int flush)
{
    unsigned char out[PIECE];
    s->z.next_in = (unsigned char *)(uintptr_t)bytes;
    s->z.avail_in = (unsigned)n;
    do {
        s->z.next_out = out;
        s->z.avail_out = sizeof out;
        deflate(&s->z, flush);
        file_out_write(&s->out, out, sizeof out - s->z.avail_out);
    } while (s->z.avail_out == 0 && s->err->status == CR_OK);
}

void sink_put(sink *s, const void *bytes, size_t n)
{
    if (s->err->status != CR_OK || n == 0) return;
    s->at += n;
    if (!s->gzip) {
        file_out_write(&s->out, bytes, n);
        return;
    }
    const char *p = bytes;
    for (size_t part; n; p += part, n -= part) { /* zlib counts in 32 bits */
        part = n < (1u << 30) ? n : 1u << 30;
        pack(s, p, part, Z_NO_FLUSH);
    }
}

void sink_uint(sink *s, uint64_t v, unsigned bytes)
{
    unsigned char b[8];
    for (unsigned i = 0; i < bytes; i++) b[i] = (unsigned char)(v >> 8 * i);
    sink_put(s, b, bytes);
}

void sink_entries(sink *s, const cr_tensor *t, bool big_endian)
{
    size_t size = cr_type_size(t->type);
    if (size == 1 || big_endian == data_big_endian()) {
        sink_put(s, t->data, t->count * size);
        return;
    }
    unsigned char piece[PIECE];
    const unsigned char *p = t->data;
    for (size_t left = t->count, n; left && s->err->status == CR_OK; left -= n, p += n * size) {
        n = left < sizeof piece / size ? left : sizeof piece / size;
        memcpy(piece, p, n * size);
        data_swap(piece, n, size);
        sink_put(s, piece, n * size);
    }
}

cr_status sink_close(sink *s)
{
    if (s->gzip) {
        if (s->err->status == CR_OK) pack(s, NULL, 0, Z_FINISH);
        deflateEnd(&s->z);
    }
    return file_out_end(&s->out, true);
}
