/* NumPy's .npy: a magic word, a version, the text of a Python dictionary, the entries (NumPy Enhancement Proposal 1) */
#include "data/stream.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_HEADER = 1 << 16, ALIGN = 64 };

/* NumPy's name of a type: kind and size. It has no bfloat16. */
static const char *const spelling[CR_TYPE_COUNT] = {
    [CR_TYPE_F32] = "f4", [CR_TYPE_F64] = "f8", [CR_TYPE_F16] = "f2", [CR_TYPE_BF16] = "", [CR_TYPE_I8] = "i1",
    [CR_TYPE_I16] = "i2", [CR_TYPE_I32] = "i4", [CR_TYPE_I64] = "i8", [CR_TYPE_U8] = "u1", [CR_TYPE_U16] = "u2",
    [CR_TYPE_U32] = "u4", [CR_TYPE_U64] = "u8", [CR_TYPE_BOOL] = "b1",
};

typedef struct header {
    bool big_endian, fortran;
    cr_type type;
    unsigned rank;
    int64_t dim[CR_MAX_RANK];
    char refused[192]; /* why, if it is understood and not read */
} header;

/* ---- the dictionary --------------------------------------------------------------------------- */

static char peek(byte_reader *r)
{
    while (r->n && memchr(" \n\t", *r->p, 3)) reader_u8(r);
    return r->n ? (char)*r->p : '\0';
}

static bool eat(byte_reader *r, char want)
{
    return peek(r) == want && reader_u8(r);
}

static bool eat_word(byte_reader *r, const char *word)
{
    size_t n = strlen(word);
    peek(r);
    if (r->n < n || memcmp(r->p, word, n) != 0) return false;
    reader_take(r, n);
    return true;
}

/* A string of at most size - 1 bytes. */
static bool eat_string(byte_reader *r, char *out, size_t size)
{
    char quote = peek(r);
    size_t n = 0;
    if (quote != '\'' && quote != '"') return false;
    for (reader_u8(r); r->n && *r->p != (unsigned char)quote && n + 1 < size;) out[n++] = (char)reader_u8(r);
    out[n] = '\0';
    return r->n && reader_u8(r) == (unsigned char)quote;
}

static const char *why_refused(char kind)
{
    switch (kind) {
    case 'O': return "Python objects, which are not read (they would run code)";
    case 'U':
    case 'S':
    case 'a': return "texts";
    case 'c': return "complex numbers";
    case 'M':
    case 'm': return "dates or times";
    case 'V': return "raw bytes or records";
    default: return "entries of a type that is not read";
    }
}

static bool eat_descr(byte_reader *r, header *h)
{
    char s[24] = "";
    bool listed = peek(r) == '[';
    if (!listed && !eat_string(r, s, sizeof s)) return false;
    const char *type = s + (s[0] && strchr("<>|=", s[0]) ? 1 : 0);
    h->big_endian = s[0] == '>' || (s[0] != '<' && data_big_endian());
    for (unsigned t = 0; t < CR_TYPE_COUNT && !listed; t++) {
        if (!*type || strcmp(type, spelling[t]) != 0) continue;
        h->type = (cr_type)t;
        return true;
    }
    snprintf(h->refused, sizeof h->refused, "holds %s (dtype %s); save it as floats, integers or bools",
             why_refused(listed ? 'V' : *type), listed ? "with fields" : s);
    return true;
}

static bool eat_shape(byte_reader *r, header *h)
{
    if (h->rank || !eat(r, '(')) return false;
    while (!eat(r, ')')) {
        int64_t v = 0;
        bool digits = false;
        for (peek(r); r->n && *r->p >= '0' && *r->p <= '9'; digits = true) {
            if (v > (INT64_MAX - 9) / 10) return false;
            v = 10 * v + (reader_u8(r) - '0');
        }
        if (!digits) return false;
        if (h->rank == CR_MAX_RANK) {
            snprintf(h->refused, sizeof h->refused, "has more than %d axes", CR_MAX_RANK);
            return true;
        }
        h->dim[h->rank++] = v;
        eat(r, 'L'); /* Python 2 */
        if (!eat(r, ',')) return eat(r, ')');
    }
    return true;
}

/* false: not understood. What is refused may end the reading early. */
static bool parse(byte_reader r, header *h)
{
    enum { DESCR = 1, ORDER = 2, SHAPE = 4, ALL = 7 };
    unsigned seen = 0;
    *h = (header){0};
    if (!eat(&r, '{')) return false;
    while (!eat(&r, '}')) {
        char key[16];
        bool ok = false;
        unsigned bit = 0;
        if (!eat_string(&r, key, sizeof key) || !eat(&r, ':')) return false;
        if (strcmp(key, "descr") == 0) {
            bit = DESCR;
            ok = eat_descr(&r, h);
        } else if (strcmp(key, "fortran_order") == 0) {
            bit = ORDER;
            h->fortran = eat_word(&r, "True");
            ok = h->fortran || eat_word(&r, "False");
        } else if (strcmp(key, "shape") == 0) {
            bit = SHAPE;
            ok = eat_shape(&r, h);
        }
        if (*h->refused) return true;
        if (!ok || (seen & bit)) return false;
        seen |= bit;
        if (!eat(&r, ',')) return eat(&r, '}') && peek(&r) == '\0' && seen == ALL;
    }
    return peek(&r) == '\0' && seen == ALL;
}

/* ---- reading ---------------------------------------------------------------------------------- */

/* From the first axis fastest to the last axis fastest. */
static bool to_row_major(const header *h, size_t count, void **memory)
{
    size_t size = cr_type_size(h->type), step[CR_MAX_RANK], from = 0;
    int64_t at[CR_MAX_RANK] = {0};
    const char *old = *memory;
    char *new = mem_alloc(count * size);
    if (!new) return false;
    for (unsigned k = 0; k < h->rank; k++) step[k] = k ? step[k - 1] * (size_t)h->dim[k - 1] : 1;
    for (size_t i = 0; i < count; i++) {
        memcpy(new + i * size, old + from * size, size);
        for (unsigned k = h->rank; k-- > 0;) {
            from += step[k];
            if (++at[k] < h->dim[k]) break;
            from -= step[k] * (size_t)h->dim[k];
            at[k] = 0;
        }
    }
    mem_free(*memory);
    *memory = new;
    return true;
}

static bool read_header(stream *s, header *h)
{
    unsigned char start[12];
    if (!stream_read(s, start, 8)) return false;
    if (memcmp(start, "\x93NUMPY", 6) != 0) return stream_fail(s, CR_EVALUE, "not a NumPy array");
    unsigned version = start[6], width = version == 1 ? 2 : 4;
    if (version < 1 || version > 3)
        return stream_fail(s, CR_EVALUE, "a NumPy array of format %u, and 1 to 3 are known", version);
    if (!stream_read(s, start, width)) return false;
    byte_reader r = reader_of(start, width);
    uint32_t n = width == 2 ? reader_u16(&r) : reader_u32(&r);
    if (!stream_holds(s, n)) return false;
    if (n > MAX_HEADER)
        return stream_fail(s, CR_EVALUE, "a NumPy header of %u bytes; those of arrays of numbers are short", n);
    char *text = mem_alloc(n);
    if (!text) return source_oom(s->from);
    bool ok = stream_read(s, text, n);
    if (ok && !parse(reader_of(text, n), h))
        ok = stream_fail(s, CR_EVALUE, "a NumPy header that is not understood: %.*s", n < 100 ? (int)n : 100, text);
    if (ok && *h->refused) ok = stream_fail(s, CR_EUNSUPPORTED, "%s", h->refused);
    mem_free(text);
    return ok;
}

bool npy_read(stream *s, cr_data *d, const char *name)
{
    header h;
    size_t count;
    void *memory = NULL;
    if (!read_header(s, &h) || !stream_tensor(s, h.type, h.rank, h.dim, &count, &memory)) return false;
    size_t size = cr_type_size(h.type);
    if (!stream_read(s, memory, count * size) || !stream_end(s)) {
        mem_free(memory);
        return false;
    }
    if (h.big_endian != data_big_endian()) data_swap(memory, count, size);
    if (h.fortran && h.rank > 1 && !to_row_major(&h, count, &memory)) {
        mem_free(memory);
        return source_oom(s->from);
    }
    return data_take(d, name, h.type, h.rank, h.dim, memory) == CR_OK || source_oom(s->from);
}

/* ---- writing ---------------------------------------------------------------------------------- */

bool npy_image_of(const cr_tensor *t, npy_image *out)
{
    cr_type type = t->type == CR_TYPE_BF16 ? CR_TYPE_F32 : t->type;
    *out = (npy_image){.data = t->data, .n_data = t->count * cr_type_size(type)};
    if (type != t->type) {
        out->data = out->owned = mem_alloc(out->n_data);
        if (!out->owned) return false;
        data_to_f32(t->type, t->data, t->count, out->owned);
    }
    char shape[CR_MAX_RANK * 22 + 2] = "";
    size_t n = 0;
    for (unsigned i = 0; i < t->rank; i++)
        n += (size_t)snprintf(shape + n, sizeof shape - n, i ? " %" PRId64 "," : "%" PRId64 ",", t->dim[i]);
    if (t->rank > 1) shape[n - 1] = '\0'; /* (3,) and (3, 4) */
    size_t size = cr_type_size(type), room = sizeof out->header;
    char order = size == 1 ? '|' : data_big_endian() ? '>' : '<';
    n = 10 + (size_t)snprintf(out->header + 10, room - 10, "{'descr': '%c%s', 'fortran_order': False, 'shape': (%s), }",
                              order, spelling[type], shape);
    size_t end = (n + 1 + ALIGN - 1) / ALIGN * ALIGN;
    memset(out->header + n, ' ', end - 1 - n);
    out->header[end - 1] = '\n';
    memcpy(out->header, "\x93NUMPY\1\0", 8);
    out->header[8] = (char)((end - 10) & 255);
    out->header[9] = (char)((end - 10) >> 8);
    out->n_header = end;
    return true;
}

bool npy_write(sink *k, const cr_data *d)
{
    npy_image a;
    if (d->n != 1) return sink_fail(k, CR_EARG, "an .npy file holds one array, not %zu; .npz holds several", d->n);
    if (!npy_image_of(&d->tensor[0], &a)) return sink_fail(k, CR_ENOMEM, "out of memory");
    sink_put(k, a.header, a.n_header);
    sink_put(k, a.data, a.n_data);
    mem_free(a.owned);
    return k->err->status == CR_OK;
}
