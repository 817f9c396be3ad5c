/* Bytes one after the other, as they lie in a file or unpacked by zlib. */
#include "data/stream.h"

#include <inttypes.h>
#include <string.h>

enum { BUFFER = 1 << 16, GAIN = 1032 }; /* GAIN: no more bytes come out of one byte of deflate */

bool stream_fail(stream *s, cr_status status, const char *fmt, ...)
{
    strbuf b;
    sb_init(&b);
    va_list ap;
    va_start(ap, fmt);
    sb_vprintf(&b, fmt, ap);
    va_end(ap);
    if (b.status != CR_OK)
        source_oom(s->from);
    else if (*s->part)
        source_fail(s->from, status, "`%s`: %s", s->part, sb_str(&b));
    else
        source_fail(s->from, status, "%s", sb_str(&b));
    sb_free(&b);
    return false;
}

static bool oom(stream *s) { return source_oom(s->from); }

static void *zlib_alloc(void *user, unsigned n, unsigned size)
{
    (void)user;
    return mem_zalloc(n, size);
}

static void zlib_free(void *user, void *p)
{
    (void)user;
    mem_free(p);
}

z_stream pack_state(void) { return (z_stream){.zalloc = zlib_alloc, .zfree = zlib_free}; }

bool stream_open(stream *s, source *from, uint64_t at, uint64_t n, packing pack, const char *part)
{
    *s = (stream){.from = from, .part = part, .at = at, .left = n, .room = n, .pack = pack};
    if (pack == PACK_NONE) return true;
    s->room = n > UINT64_MAX / GAIN ? UINT64_MAX : n * GAIN;
    s->buffer = mem_alloc(BUFFER);
    s->z = pack_state();
    int bits = pack == PACK_GZIP ? MAX_WBITS + 16 : -MAX_WBITS;
    if (s->buffer && inflateInit2(&s->z, bits) == Z_OK) return true;
    mem_free(s->buffer);
    s->buffer = NULL;
    return oom(s);
}

void stream_close(stream *s)
{
    if (s->buffer) inflateEnd(&s->z);
    mem_free(s->buffer);
    s->buffer = NULL;
}

static bool refill(stream *s)
{
    size_t n = s->left < BUFFER ? (size_t)s->left : BUFFER;
    if (!source_read(s->from, s->at, n, s->buffer)) return false;
    s->z.next_in = s->buffer;
    s->z.avail_in = (unsigned)n;
    s->at += n;
    s->left -= n;
    return true;
}

/* A gzip file may be several, one behind the other. */
static bool next_gzip(stream *s)
{
    if (s->pack != PACK_GZIP || (s->z.avail_in == 0 && s->left == 0)) {
        s->ended = true;
        return true;
    }
    if (inflateReset(&s->z) != Z_OK) return stream_fail(s, CR_EINTERNAL, "zlib is in no state to go on");
    return true;
}

static bool unpack(stream *s, unsigned char *to, size_t n, size_t *got)
{
    source *from = s->from;
    while (*got < n && !s->ended) {
        if (s->z.avail_in == 0 && s->left > 0 && !refill(s)) return false;
        size_t want = n - *got < (1u << 30) ? n - *got : 1u << 30;
        if (want > from->limit - from->unpacked) want = (size_t)(from->limit - from->unpacked);
        /* At the limit one byte more is asked for, to see whether there is one. */
        unsigned char beyond;
        bool full = want == 0;
        s->z.next_out = full ? &beyond : to + *got;
        s->z.avail_out = full ? 1 : (unsigned)want;
        unsigned before = s->z.avail_out;
        int status = inflate(&s->z, Z_NO_FLUSH);
        unsigned made = before - s->z.avail_out;
        if (full && made)
            return stream_fail(s, CR_ELIMIT, "unpacks to more than the limit of %" PRIu64 " bytes", from->limit);
        if (s->sum && made) s->crc = (uint32_t)crc32(s->crc, to + *got, made);
        *got += made;
        from->unpacked += made;
        if (status == Z_STREAM_END) {
            if (!next_gzip(s)) return false;
        } else if (status == Z_MEM_ERROR) {
            return oom(s);
        } else if (status == Z_BUF_ERROR && s->z.avail_in == 0 && s->left == 0) {
            return stream_fail(s, CR_EVALUE, "its compressed data end too early; it was cut short");
        } else if (status != Z_OK && status != Z_BUF_ERROR) {
            return stream_fail(s, CR_EVALUE, "damaged compressed data (%s)", s->z.msg ? s->z.msg : "zlib");
        }
    }
    return true;
}

bool stream_some(stream *s, void *to, size_t n, size_t *got)
{
    *got = 0;
    if (s->pack != PACK_NONE) {
        if (!unpack(s, to, n, got)) return false;
    } else {
        size_t some = n < s->left ? n : (size_t)s->left;
        if (!source_read(s->from, s->at, some, to)) return false;
        s->at += some;
        s->left -= some;
        *got = some;
        for (size_t at = 0; s->sum && at < some;) { /* zlib counts in 32 bits */
            unsigned part = some - at < (1u << 30) ? (unsigned)(some - at) : 1u << 30;
            s->crc = (uint32_t)crc32(s->crc, (const unsigned char *)to + at, part);
            at += part;
        }
    }
    s->room -= *got < s->room ? *got : s->room;
    s->came += *got;
    return true;
}

bool stream_read(stream *s, void *to, size_t n)
{
    size_t got;
    if (!stream_some(s, to, n, &got)) return false;
    return got == n || stream_fail(s, CR_EVALUE, "ends too early; it was cut short");
}

bool stream_holds(stream *s, uint64_t n)
{
    if (n > s->room)
        return stream_fail(s, CR_EVALUE, "cut short, or it lies about its size: %" PRIu64 " bytes should follow", n);
    uint64_t limit = s->from->limit;
    if (s->pack != PACK_NONE && n > limit - s->from->unpacked)
        return stream_fail(s, CR_ELIMIT, "unpacks to more than the limit of %" PRIu64 " bytes", limit);
    return true;
}

bool stream_end(stream *s)
{
    char byte;
    size_t got;
    if (!stream_some(s, &byte, 1, &got)) return false;
    return got == 0 || stream_fail(s, CR_EVALUE, "there are bytes behind its end");
}

bool stream_all(stream *s, char **text, size_t *n)
{
    char *t = NULL;
    size_t used = 0, cap = 0, got, step;
    do {
        /* A plain file says how much there is; what is packed grows as it comes. */
        step = s->pack == PACK_NONE && s->left < SIZE_MAX / 4 ? (size_t)s->left + 1 : BUFFER;
        bool room = VEC_RESERVE(t, cap, used + step + 1);
        if (!room) oom(s);
        if (!room || !stream_some(s, t + used, step, &got)) {
            mem_free(t);
            return false;
        }
        used += got;
    } while (got == step);
    t[used] = '\0';
    *text = t;
    *n = used;
    return true;
}

bool stream_tensor(stream *s, cr_type type, unsigned rank, const int64_t *dim, size_t *count, void **memory)
{
    size_t size = cr_type_size(type);
    if (!data_product(rank, dim, size, count)) {
        strbuf b;
        sb_init(&b);
        data_shape(&b, rank, dim);
        stream_fail(s, CR_EVALUE, "%s entries are more than any memory holds", sb_str(&b));
        sb_free(&b);
        return false;
    }
    if (!stream_holds(s, *count * size)) return false;
    *memory = mem_alloc(*count * size);
    return *memory || oom(s);
}
