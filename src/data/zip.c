/* .npz: a ZIP archive of .npy files (PKWARE APPNOTE.TXT 6.3), read by its directory, which is at the end. Sizes that do
 * not fit 32 bits are in an extra field (zip64). */
#include "data/stream.h"

#include <inttypes.h>
#include <string.h>

enum { STORED = 0, DEFLATED = 8, ENCRYPTED = 1, SIZES_BEHIND = 8, UTF8 = 1 << 11 };
enum { LOCAL = 30, CENTRAL = 46, END = 22, END64 = 56, LOCATOR = 20, MAX_COMMENT = 0xFFFF };

typedef struct member {
    unsigned flags, method;
    uint32_t crc;
    uint64_t packed, size, at; /* at: of the local header */
    byte_reader name;
} member;

static bool damaged(source *s, const char *what) { return source_fail(s, CR_EVALUE, "a damaged archive (%s)", what); }

static char *text_of(byte_reader name)
{
    char *s = mem_alloc(name.n + 1);
    if (!s) return NULL;
    memcpy(s, name.p, name.n);
    s[name.n] = '\0';
    return s;
}

static bool ends_with(byte_reader name, const char *ending)
{
    size_t n = strlen(ending);
    return name.n >= n && memcmp(name.p + name.n - n, ending, n) == 0;
}

/* ---- the directory ---------------------------------------------------------------------------- */

typedef struct directory {
    uint64_t at, size, count;
} directory;

static bool read_end64(source *s, uint64_t end, directory *out)
{
    unsigned char bytes[END64];
    if (end < LOCATOR || !source_read(s, end - LOCATOR, LOCATOR, bytes)) return damaged(s, "its end");
    byte_reader r = reader_of(bytes, LOCATOR);
    if (memcmp(reader_take(&r, 4).p, "PK\6\7", 4) != 0) return damaged(s, "its end");
    reader_u32(&r);
    uint64_t at = reader_u64(&r);
    if (at > end - LOCATOR || end - LOCATOR - at < END64 || !source_read(s, at, END64, bytes))
        return damaged(s, "its end");
    r = reader_of(bytes, END64);
    if (memcmp(reader_take(&r, 4).p, "PK\6\6", 4) != 0) return damaged(s, "its end");
    reader_take(&r, 12);
    if (reader_u32(&r) != 0 || reader_u32(&r) != 0) return damaged(s, "of several parts");
    reader_u64(&r);
    out->count = reader_u64(&r);
    out->size = reader_u64(&r);
    out->at = reader_u64(&r);
    return out->at <= at && out->size <= at - out->at ? true : damaged(s, "its directory");
}

/* The end record is in the last 64 KiB, with a comment that reaches to the end of the file. */
static bool find_directory(source *s, directory *out)
{
    size_t n = s->size < END + MAX_COMMENT ? (size_t)s->size : END + MAX_COMMENT;
    unsigned char *tail = mem_alloc(n);
    if (!tail) return source_oom(s);
    if (!source_read(s, s->size - n, n, tail)) {
        mem_free(tail);
        return false;
    }
    byte_reader r = {0};
    uint64_t end = 0;
    for (size_t back = END; back <= n && !r.p; back++) {
        r = reader_of(tail + n - back, back);
        end = s->size - back;
        if (memcmp(r.p, "PK\5\6", 4) != 0 || (size_t)(r.p[20] | r.p[21] << 8) + END != back) r.p = NULL;
    }
    bool ok = r.p || damaged(s, "no directory at its end; it may be cut short");
    if (ok) {
        reader_take(&r, 4);
        unsigned disk = reader_u16(&r), disk_of = reader_u16(&r), here = reader_u16(&r);
        out->count = reader_u16(&r);
        out->size = reader_u32(&r);
        out->at = reader_u32(&r);
        if (out->count == UINT16_MAX || out->size == UINT32_MAX || out->at == UINT32_MAX)
            ok = read_end64(s, end, out);
        else if (disk || disk_of || here != out->count)
            ok = damaged(s, "of several parts");
        else if (out->at > end || out->size > end - out->at)
            ok = damaged(s, "its directory");
    }
    mem_free(tail);
    return ok;
}

/* Sizes of 64 bits: those that are all ones in the record, in this order; NULL: not asked for. */
static bool read_extra(byte_reader extra, uint64_t *size, uint64_t *packed, uint64_t *at)
{
    uint64_t *want[] = {size, packed, at};
    bool open = false;
    for (int i = 0; i < 3; i++) open |= want[i] && *want[i] == UINT32_MAX;
    while (open && extra.n >= 4) {
        unsigned id = reader_u16(&extra);
        byte_reader field = reader_take(&extra, reader_u16(&extra));
        if (id != 1) continue;
        for (int i = 0; i < 3; i++)
            if (want[i] && *want[i] == UINT32_MAX) *want[i] = reader_u64(&field);
        return !field.ended;
    }
    return !open;
}

static bool read_record(byte_reader *r, member *m)
{
    *m = (member){0};
    byte_reader h = reader_take(r, CENTRAL);
    if (r->ended || memcmp(reader_take(&h, 4).p, "PK\1\2", 4) != 0) return false;
    reader_u32(&h); /* versions */
    m->flags = reader_u16(&h);
    m->method = reader_u16(&h);
    reader_u32(&h); /* time */
    m->crc = reader_u32(&h);
    m->packed = reader_u32(&h);
    m->size = reader_u32(&h);
    unsigned n_name = reader_u16(&h), n_extra = reader_u16(&h), n_comment = reader_u16(&h);
    reader_take(&h, 8); /* disk, attributes */
    m->at = reader_u32(&h);
    m->name = reader_take(r, n_name);
    byte_reader extra = reader_take(r, n_extra);
    reader_take(r, n_comment);
    return !r->ended && read_extra(extra, &m->size, &m->packed, &m->at);
}

/* ---- members ---------------------------------------------------------------------------------- */

/* The header in front of the data must tell what the directory does. *at: of the data. */
static bool check_local(source *s, const member *m, uint64_t *at)
{
    *at = 0;
    unsigned char bytes[LOCAL];
    if (m->at > s->size || s->size - m->at < LOCAL) return damaged(s, "no member where its directory says");
    if (!source_read(s, m->at, LOCAL, bytes)) return false;
    byte_reader r = reader_of(bytes, LOCAL);
    if (memcmp(reader_take(&r, 4).p, "PK\3\4", 4) != 0) return damaged(s, "no member where its directory says");
    reader_u16(&r);
    unsigned flags = reader_u16(&r), method = reader_u16(&r);
    reader_u32(&r);
    uint32_t crc = reader_u32(&r);
    uint64_t packed = reader_u32(&r), size = reader_u32(&r);
    size_t n_name = reader_u16(&r), n_extra = reader_u16(&r), n = n_name + n_extra;
    char *text = mem_alloc(n);
    if (!text) return source_oom(s);
    bool ok = source_read(s, m->at + LOCAL, n, text);
    if (ok) {
        r = reader_of(text, n);
        byte_reader name = reader_take(&r, n_name);
        ok = method == m->method && n_name == m->name.n && memcmp(name.p, m->name.p, n_name) == 0;
        if (ok && !(flags & SIZES_BEHIND))
            ok = read_extra(r, &size, &packed, NULL) && crc == m->crc && size == m->size && packed == m->packed;
        if (!ok) damaged(s, "a member is not what its directory says");
    }
    mem_free(text);
    *at = m->at + LOCAL + n;
    return ok;
}

static bool read_member(source *s, const member *m, uint64_t at, const char *name, cr_data *d)
{
    cr_tensor twin;
    if (cr_data_find(d, name, &twin)) return source_fail(s, CR_EVALUE, "has two arrays `%s`", name);
    if (m->flags & ENCRYPTED) return source_fail(s, CR_EUNSUPPORTED, "`%s` is encrypted", name);
    if (m->method != STORED && m->method != DEFLATED)
        return source_fail(s, CR_EUNSUPPORTED, "`%s` is packed by method %u; stored and deflated ones are read", name,
                           m->method);
    if (at > s->size || m->packed > s->size - at || (m->method == STORED && m->packed != m->size))
        return damaged(s, "sizes that cannot be");
    stream t;
    bool ok = stream_open(&t, s, at, m->packed, m->method == STORED ? PACK_NONE : PACK_DEFLATE, name);
    if (ok) {
        t.sum = true;
        ok = npy_read(&t, d, name);
    }
    if (ok && t.came != m->size) ok = stream_fail(&t, CR_EVALUE, "not of the size that its directory says");
    if (ok && t.crc != m->crc) ok = stream_fail(&t, CR_EVALUE, "damaged: its checksum differs");
    stream_close(&t);
    return ok;
}

static bool read_members(source *s, byte_reader r, uint64_t count, cr_data *d)
{
    uint64_t taken = 0; /* bytes of the file: members that overlap could unpack the same ones again and again */
    bool any = false;
    for (uint64_t i = 0; i < count; i++) {
        member m;
        if (!read_record(&r, &m)) return damaged(s, "its directory");
        if (memchr(m.name.p, 0, m.name.n) || utf8_check((const char *)m.name.p, m.name.n) != m.name.n)
            return damaged(s, "a name that is no text");
        if (ends_with(m.name, "data.pkl"))
            return source_fail(s, CR_EUNSUPPORTED, "a checkpoint of PyTorch, which is not read (it would run code); "
                               "convert it: " DATA_CONVERT);
        uint64_t at;
        if (!check_local(s, &m, &at)) return false;
        if (!ends_with(m.name, ".npy")) continue;
        any = true;
        if (m.packed > s->size - taken) return damaged(s, "members that overlap");
        taken += m.packed;
        char *name = text_of((byte_reader){m.name.p, m.name.n - 4, false});
        bool ok = name ? read_member(s, &m, at, name, d) : source_oom(s);
        mem_free(name);
        if (!ok) return false;
    }
    if (r.n) return damaged(s, "its directory");
    return any || source_fail(s, CR_EVALUE, "an archive without arrays (.npy)");
}

bool zip_read(source *s, cr_data *d)
{
    directory where = {0};
    if (!find_directory(s, &where)) return false;
    unsigned char *bytes = mem_alloc((size_t)where.size);
    if (!bytes) return source_oom(s);
    bool ok = source_read(s, where.at, (size_t)where.size, bytes) &&
              read_members(s, reader_of(bytes, (size_t)where.size), where.count, d);
    mem_free(bytes);
    return ok;
}

/* ---- writing ---------------------------------------------------------------------------------- */

typedef struct written {
    uint32_t crc;
    uint64_t size, at;
} written;

static uint32_t sum(uint32_t crc, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t part; n; p += part, n -= part) { /* zlib counts in 32 bits */
        part = n < (1u << 30) ? n : 1u << 30;
        crc = (uint32_t)crc32(crc, p, (unsigned)part);
    }
    return crc;
}

/* What both headers have in common, from the version that is needed to the lengths of name and extra field. */
static void put_common(sink *k, const cr_tensor *t, const written *w, bool wide, unsigned n_extra)
{
    size_t n = strlen(t->name);
    bool ascii = true;
    for (size_t i = 0; i < n; i++) ascii &= (unsigned char)t->name[i] < 128;
    sink_uint(k, n_extra ? 45 : 20, 2);
    sink_uint(k, ascii ? 0 : UTF8, 2);
    sink_uint(k, STORED, 2);
    sink_uint(k, 0x00210000, 4); /* no time, and 1 January 1980: equal tensors make equal files */
    sink_uint(k, w->crc, 4);
    sink_uint(k, wide ? UINT32_MAX : w->size, 4);
    sink_uint(k, wide ? UINT32_MAX : w->size, 4);
    sink_uint(k, n + 4, 2);
    sink_uint(k, n_extra, 2);
}

static void put_member(sink *k, const cr_tensor *t, const npy_image *a, written *w, uint64_t large)
{
    *w = (written){sum(sum(0, a->header, a->n_header), a->data, a->n_data), a->n_header + a->n_data, k->at};
    bool wide = w->size >= large;
    sink_put(k, "PK\3\4", 4);
    put_common(k, t, w, wide, wide ? 20 : 0);
    sink_put(k, t->name, strlen(t->name));
    sink_put(k, ".npy", 4);
    if (wide) {
        sink_uint(k, 1, 2);
        sink_uint(k, 16, 2);
        sink_uint(k, w->size, 8);
        sink_uint(k, w->size, 8);
    }
    sink_put(k, a->header, a->n_header);
    sink_put(k, a->data, a->n_data);
}

static void put_record(sink *k, const cr_tensor *t, const written *w, uint64_t large)
{
    bool wide = w->size >= large, far = w->at >= large;
    unsigned n_extra = (wide ? 16 : 0) + (far ? 8 : 0);
    sink_put(k, "PK\1\2", 4);
    sink_uint(k, 45, 2);
    put_common(k, t, w, wide, n_extra ? n_extra + 4 : 0);
    sink_put(k, "\0\0\0\0\0\0\0\0\0", 10); /* comment, disk, attributes */
    sink_uint(k, far ? UINT32_MAX : w->at, 4);
    sink_put(k, t->name, strlen(t->name));
    sink_put(k, ".npy", 4);
    if (!n_extra) return;
    sink_uint(k, 1, 2);
    sink_uint(k, n_extra, 2);
    if (wide) sink_uint(k, w->size, 8);
    if (wide) sink_uint(k, w->size, 8);
    if (far) sink_uint(k, w->at, 8);
}

static void put_end(sink *k, uint64_t count, uint64_t at, uint64_t large)
{
    uint64_t end = k->at, size = end - at;
    bool many = count >= UINT16_MAX, wide = size >= large, far = at >= large;
    if (many || wide || far) {
        sink_put(k, "PK\6\6", 4);
        sink_uint(k, END64 - 12, 8);
        sink_uint(k, 45 | 45 << 16, 4);
        sink_uint(k, 0, 8);
        sink_uint(k, count, 8);
        sink_uint(k, count, 8);
        sink_uint(k, size, 8);
        sink_uint(k, at, 8);
        sink_put(k, "PK\6\7", 4);
        sink_uint(k, 0, 4);
        sink_uint(k, end, 8);
        sink_uint(k, 1, 4);
    }
    sink_put(k, "PK\5\6", 4);
    sink_uint(k, 0, 4);
    sink_uint(k, many ? UINT16_MAX : count, 2);
    sink_uint(k, many ? UINT16_MAX : count, 2);
    sink_uint(k, wide ? UINT32_MAX : size, 4);
    sink_uint(k, far ? UINT32_MAX : at, 4);
    sink_uint(k, 0, 2);
}

bool zip_write(sink *k, const cr_data *d, uint64_t large)
{
    written *w = mem_zalloc(d->n, sizeof *w);
    if (!w) return sink_fail(k, CR_ENOMEM, "out of memory");
    bool ok = true;
    for (size_t i = 0; ok && i < d->n; i++) {
        const cr_tensor *t = &d->tensor[i];
        npy_image a;
        if (strlen(t->name) + 4 > UINT16_MAX)
            ok = sink_fail(k, CR_EUNSUPPORTED, "a name of %zu bytes is too long for a ZIP archive", strlen(t->name));
        else if (!npy_image_of(t, &a))
            ok = sink_fail(k, CR_ENOMEM, "out of memory");
        else
            put_member(k, t, &a, &w[i], large);
        if (ok) mem_free(a.owned);
        ok = ok && k->err->status == CR_OK;
    }
    uint64_t at = k->at;
    for (size_t i = 0; ok && i < d->n; i++) put_record(k, &d->tensor[i], &w[i], large);
    put_end(k, d->n, at, large);
    mem_free(w);
    return ok && k->err->status == CR_OK;
}
