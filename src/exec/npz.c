/* NumPy's files: .npy (one array) and .npz (a ZIP archive of those, stored or deflated). Nothing in a file is trusted:
 * every offset and size is checked against the bytes that are there before it is used.
 *
 * Formats: NumPy Enhancement Proposal 1 (npy); PKWARE APPNOTE.TXT 6.3 (zip), read from its central directory. */
#include "exec/exec.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <zlib.h>

#define FILE_MAX ((uint64_t)UINT32_MAX) /* bytes, of the file and of each array unpacked; zlib counts in 32 bits */

/* A piece of memory that is only read within its bounds. */
typedef struct bytes {
    const unsigned char *p;
    size_t n;
} bytes;

static bool slice(bytes b, size_t at, size_t n, bytes *out)
{
    if (at > b.n || n > b.n - at) {
        return false;
    }
    *out = (bytes){b.p + at, n};
    return true;
}

static uint64_t little(const unsigned char *p, unsigned n)
{
    uint64_t v = 0;
    while (n-- > 0) {
        v = v << 8 | p[n];
    }
    return v;
}

/* ---- .npy: the header is the text of a Python dictionary ------------------------------------------ */

typedef struct npy_header {
    bool big_endian, fortran;
    char kind; /* f, i, u, b */
    unsigned size;
    unsigned rank;
    int64_t dim[CR_MAX_RANK];
    unsigned seen; /* keys, a bit each */
} npy_header;

typedef struct cursor {
    const char *p, *end;
} cursor;

static void skip_space(cursor *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\t')) {
        c->p++;
    }
}

static bool eat(cursor *c, char want)
{
    skip_space(c);
    if (c->p < c->end && *c->p == want) {
        c->p++;
        return true;
    }
    return false;
}

static bool eat_word(cursor *c, const char *word)
{
    size_t n = strlen(word);
    skip_space(c);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0) {
        return false;
    }
    c->p += n;
    return true;
}

static bool eat_string(cursor *c, char *out, size_t size)
{
    char quote = eat(c, '\'') ? '\'' : eat(c, '"') ? '"' : '\0';
    size_t n = 0;
    while (quote && c->p < c->end && *c->p != quote && n + 1 < size) {
        out[n++] = *c->p++;
    }
    out[n] = '\0';
    return quote && eat(c, quote);
}

static bool eat_descr(cursor *c, npy_header *h)
{
    char s[8];
    if (!eat_string(c, s, sizeof s) || strlen(s) != 3 || !strchr("<>|=", s[0]) || !strchr("fiub", s[1])) {
        return false;
    }
    h->big_endian = s[0] == '>';
    h->kind = s[1];
    h->size = (unsigned)(s[2] - '0');
    bool power = h->size == 1 || h->size == 2 || h->size == 4 || h->size == 8;
    return power && (h->kind != 'f' || h->size > 1) && (h->kind != 'b' || h->size == 1);
}

static bool eat_shape(cursor *c, npy_header *h)
{
    if (!eat(c, '(')) {
        return false;
    }
    while (!eat(c, ')')) {
        int64_t v = 0;
        const char *from = c->p;
        for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++) {
            if (v > (INT64_MAX - 9) / 10) {
                return false;
            }
            v = 10 * v + (*c->p - '0');
        }
        if (c->p == from || h->rank == CR_MAX_RANK) {
            return false;
        }
        h->dim[h->rank++] = v;
        eat(c, 'L'); /* Python 2 */
        if (!eat(c, ',')) {
            return eat(c, ')');
        }
    }
    return true;
}

static bool parse_header(const char *s, size_t n, npy_header *h)
{
    cursor c = {s, s + n};
    memset(h, 0, sizeof *h);
    if (!eat(&c, '{')) {
        return false;
    }
    while (!eat(&c, '}')) {
        char key[16];
        bool ok = eat_string(&c, key, sizeof key) && eat(&c, ':');
        unsigned bit;
        if (ok && strcmp(key, "descr") == 0) {
            bit = 1;
            ok = eat_descr(&c, h);
        } else if (ok && strcmp(key, "fortran_order") == 0) {
            bit = 2;
            h->fortran = eat_word(&c, "True");
            ok = h->fortran || eat_word(&c, "False");
        } else if (ok && strcmp(key, "shape") == 0) {
            bit = 4;
            ok = !(h->seen & bit) && eat_shape(&c, h);
        } else {
            return false;
        }
        h->seen |= bit;
        if (!ok || (!eat(&c, ',') && !(eat(&c, '}') && h->seen == 7))) {
            return false;
        }
        if (c.p[-1] == '}') {
            return true;
        }
    }
    return h->seen == 7;
}

/* IEEE 754 binary16 */
static double half(uint64_t bits)
{
    int exponent = (int)(bits >> 10 & 31);
    double fraction = (double)(bits & 1023), v;
    if (exponent == 31) {
        v = fraction != 0 ? NAN : INFINITY;
    } else {
        v = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    }
    return bits >> 15 ? -v : v;
}

static double element(const npy_header *h, const unsigned char *p)
{
    unsigned char swapped[8] = {0};
    if (h->big_endian) {
        for (unsigned i = 0; i < h->size; i++) {
            swapped[i] = p[h->size - 1 - i];
        }
        p = swapped;
    }
    uint64_t bits = little(p, h->size);
    switch (h->kind) {
    case 'b': return bits != 0;
    case 'u': return (double)bits;
    case 'i': {
        unsigned shift = 64 - 8 * h->size;
        uint64_t sign = (uint64_t)1 << (8 * h->size - 1), up = bits << shift >> shift;
        return up & sign ? -(double)((sign << 1) - up) : (double)up;
    }
    default: break;
    }
    if (h->size == 8) {
        double v;
        memcpy(&v, &bits, sizeof v);
        return v;
    }
    if (h->size == 4) {
        uint32_t word = (uint32_t)bits;
        float v;
        memcpy(&v, &word, sizeof v);
        return v;
    }
    return half(bits);
}

static cr_status bad(error *e, const char *name, const char *what)
{
    err_set(e, CR_EVALUE, "%s: %s", name, what);
    return CR_EVALUE;
}

static cr_status read_npy(bytes b, const char *name, exec_array *a, error *e)
{
    memset(a, 0, sizeof *a);
    bytes head, text, data = {0};
    if (!slice(b, 0, 10, &head) || memcmp(head.p, "\x93NUMPY", 6) != 0) {
        return bad(e, name, "not a NumPy array");
    }
    unsigned version = head.p[6], width = version == 1 ? 2 : 4;
    if (version < 1 || version > 3 || !slice(b, 8, width, &head)) {
        return bad(e, name, "a NumPy array of an unknown version");
    }
    npy_header h;
    size_t length = (size_t)little(head.p, width);
    if (!slice(b, 8 + width, length, &text)) {
        return bad(e, name, "the file ends within its header");
    }
    if (!parse_header((const char *)text.p, text.n, &h)) {
        return bad(e, name, "a NumPy header that is not understood; arrays of floats, integers or booleans are");
    }
    slice(b, 8 + width + length, b.n - 8 - width - length, &data);
    uint64_t room = data.n / h.size;
    for (unsigned i = 0; i < h.rank; i++) { /* before memory is asked for; an empty array needs none */
        uint64_t d = (uint64_t)h.dim[i];
        bool empty = false;
        for (unsigned k = 0; k < h.rank; k++) {
            empty |= h.dim[k] == 0;
        }
        if (!empty && d > room) {
            return bad(e, name, "the file is shorter than the array that its header describes");
        }
        room = empty ? room : room / d;
    }
    if (h.rank == 0 && room == 0) {
        return bad(e, name, "the file is shorter than the array that its header describes");
    }
    if (!exec_array_init(a, h.rank, h.dim, e)) {
        return e->status;
    }
    if (!h.fortran) {
        for (size_t i = 0; i < a->n; i++) {
            a->value[i] = element(&h, data.p + i * h.size);
        }
        return CR_OK;
    }
    int64_t at[CR_MAX_RANK] = {0}; /* the index with the first axis fastest */
    for (size_t i = 0; i < a->n; i++) {
        size_t to = 0;
        for (unsigned k = 0; k < a->rank; k++) {
            to = to * (size_t)a->dim[k] + (size_t)at[k];
        }
        a->value[to] = element(&h, data.p + i * h.size);
        for (unsigned k = 0; k < a->rank && ++at[k] == a->dim[k]; k++) {
            at[k] = 0;
        }
    }
    return CR_OK;
}

/* ---- .npz ------------------------------------------------------------------------------------------ */

enum { ZIP_STORED = 0, ZIP_DEFLATED = 8 };

typedef struct zip_entry {
    unsigned flags, method;
    uint32_t crc;
    uint64_t packed, size, at; /* at: of the local header */
    bytes name;
} zip_entry;

/* Sizes that did not fit 32 bits are in the extra field 1, in this order, only those that did not fit. */
static bool read_zip64(bytes extra, zip_entry *z)
{
    uint64_t *want[3] = {&z->size, &z->packed, &z->at};
    bytes field;
    for (size_t at = 0; slice(extra, at, 4, &field); at += 4 + (size_t)little(field.p + 2, 2)) {
        if (little(field.p, 2) != 1) {
            continue;
        }
        size_t from = at + 4, end = from + (size_t)little(field.p + 2, 2);
        for (int i = 0; i < 3; i++) {
            if (*want[i] != UINT32_MAX) {
                continue;
            }
            bytes v;
            if (from + 8 > end || !slice(extra, from, 8, &v)) {
                return false;
            }
            *want[i] = little(v.p, 8);
            from += 8;
        }
        return true;
    }
    return z->size != UINT32_MAX && z->packed != UINT32_MAX && z->at != UINT32_MAX;
}

/* The entry at *at of the central directory; *at moves behind it. */
static bool read_entry(bytes file, size_t *at, zip_entry *z)
{
    bytes h, extra;
    if (!slice(file, *at, 46, &h) || memcmp(h.p, "PK\1\2", 4) != 0) {
        return false;
    }
    *z = (zip_entry){.flags = (unsigned)little(h.p + 8, 2), .method = (unsigned)little(h.p + 10, 2),
                     .crc = (uint32_t)little(h.p + 16, 4), .packed = little(h.p + 20, 4), .size = little(h.p + 24, 4),
                     .at = little(h.p + 42, 4)};
    size_t n_name = (size_t)little(h.p + 28, 2), n_extra = (size_t)little(h.p + 30, 2);
    if (!slice(file, *at + 46, n_name, &z->name) || !slice(file, *at + 46 + n_name, n_extra, &extra)) {
        return false;
    }
    *at += 46 + n_name + n_extra + (size_t)little(h.p + 32, 2);
    return read_zip64(extra, z);
}

static bool inflate_all(bytes in, unsigned char *out, size_t n)
{
    z_stream s = {0};
    if (inflateInit2(&s, -MAX_WBITS) != Z_OK) {
        return false;
    }
    s.next_in = (unsigned char *)(uintptr_t)in.p;
    s.avail_in = (uInt)in.n;
    s.next_out = out;
    s.avail_out = (uInt)n;
    int status = inflate(&s, Z_FINISH);
    bool ok = status == Z_STREAM_END && s.avail_out == 0;
    inflateEnd(&s);
    return ok;
}

static cr_status read_member(bytes file, const zip_entry *z, const char *name, exec_array *a, error *e)
{
    bytes local, packed;
    if (z->at > file.n || !slice(file, (size_t)z->at, 30, &local) || memcmp(local.p, "PK\3\4", 4) != 0) {
        return bad(e, name, "a damaged archive");
    }
    size_t skip = 30 + (size_t)little(local.p + 26, 2) + (size_t)little(local.p + 28, 2);
    if (z->flags & 1) {
        return bad(e, name, "is encrypted");
    }
    if (z->method != ZIP_STORED && z->method != ZIP_DEFLATED) {
        return bad(e, name, "is compressed in a way other than deflate");
    }
    if (z->size > FILE_MAX) {
        err_set(e, CR_ELIMIT, "%s: %" PRIu64 " bytes, more than the limit of %" PRIu64, name, z->size, FILE_MAX);
        return CR_ELIMIT;
    }
    if (z->packed > file.n || !slice(file, (size_t)z->at + skip, (size_t)z->packed, &packed) ||
        (z->method == ZIP_STORED && z->packed != z->size) ||
        z->size / 1100 > z->packed) { /* deflate gains 1032 at most */
        return bad(e, name, "a damaged archive");
    }
    bytes data = packed;
    unsigned char *out = NULL;
    if (z->method == ZIP_DEFLATED) {
        out = mem_alloc((size_t)z->size);
        if (!out) {
            err_set(e, CR_ENOMEM, "out of memory");
            return CR_ENOMEM;
        }
        data = (bytes){out, (size_t)z->size};
        if (!inflate_all(packed, out, data.n)) {
            mem_free(out);
            return bad(e, name, "a damaged archive");
        }
    }
    uLong crc = crc32(crc32(0, NULL, 0), data.p, (uInt)data.n);
    cr_status status = crc == z->crc ? read_npy(data, name, a, e) : bad(e, name, "a damaged archive (checksum)");
    mem_free(out);
    return status;
}

/* The end record is in the last 64 KiB, behind it only a comment. */
static bool find_directory(bytes file, size_t *at, size_t *count)
{
    bytes h;
    for (size_t back = 22; back <= file.n && back <= 22 + 0xFFFF; back++) {
        if (slice(file, file.n - back, 22, &h) && memcmp(h.p, "PK\5\6", 4) == 0) {
            *count = (size_t)little(h.p + 10, 2);
            *at = (size_t)little(h.p + 16, 4);
            return *at <= file.n;
        }
    }
    return false;
}

static cr_status read_archive(bytes file, const char *path, exec_npz_each each, void *user, error *e)
{
    size_t at, count;
    if (!find_directory(file, &at, &count)) {
        return bad(e, path, "a damaged archive (no directory)");
    }
    cr_status status = CR_OK;
    for (size_t i = 0; status == CR_OK && i < count; i++) {
        zip_entry z;
        if (!read_entry(file, &at, &z) || memchr(z.name.p, 0, z.name.n) ||
            utf8_check((const char *)z.name.p, z.name.n) != z.name.n) {
            return bad(e, path, "a damaged archive (its directory)");
        }
        if (z.name.n < 4 || memcmp(z.name.p + z.name.n - 4, ".npy", 4) != 0) {
            continue;
        }
        strbuf name;
        sb_init(&name);
        sb_write(&name, (const char *)z.name.p, z.name.n - 4);
        exec_array a = {0};
        status = name.status;
        if (status == CR_OK) {
            status = read_member(file, &z, sb_str(&name), &a, e);
        } else {
            err_set(e, status, "out of memory");
        }
        if (status == CR_OK) {
            status = each(user, sb_str(&name), &a);
        }
        sb_free(&name);
    }
    return status;
}

cr_status exec_npz_read(const char *path, exec_npz_each each, void *user, error *e)
{
    char *data = NULL;
    size_t n = 0;
    cr_status status = file_read(path, (size_t)FILE_MAX, &data, &n, e);
    if (status != CR_OK) {
        return status;
    }
    bytes file = {(const unsigned char *)data, n};
    if (n >= 4 && (memcmp(data, "PK\3\4", 4) == 0 || memcmp(data, "PK\5\6", 4) == 0)) {
        status = read_archive(file, path, each, user, e);
    } else {
        exec_array a;
        status = read_npy(file, path, &a, e);
        if (status == CR_OK) {
            status = each(user, "", &a);
        }
    }
    mem_free(data);
    return status;
}
