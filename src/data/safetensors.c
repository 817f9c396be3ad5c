/* safetensors: the length of a header (8 bytes), the header in JSON - {"NAME": {"dtype": "F32", "shape": [2, 3],
 * "data_offsets": [FROM, TO]}, ...} -, the entries, little-endian. The tensors lie one behind the other and fill the
 * file. */
#include "data/stream.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADER = 32 << 20 };

static const char *const spelling[CR_TYPE_COUNT] = {
    [CR_TYPE_F32] = "F32", [CR_TYPE_F64] = "F64", [CR_TYPE_F16] = "F16", [CR_TYPE_BF16] = "BF16",
    [CR_TYPE_I8] = "I8",   [CR_TYPE_I16] = "I16", [CR_TYPE_I32] = "I32", [CR_TYPE_I64] = "I64",
    [CR_TYPE_U8] = "U8",   [CR_TYPE_U16] = "U16", [CR_TYPE_U32] = "U32", [CR_TYPE_U64] = "U64",
    [CR_TYPE_BOOL] = "BOOL",
};

typedef struct entry {
    const char *name; /* of the JSON */
    cr_type type;
    unsigned rank;
    int64_t dim[CR_MAX_RANK];
    uint64_t from, to;
} entry;

/* ---- the header ------------------------------------------------------------------------------- */

static bool whole(const json_t *v, int64_t *to)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0) return false;
    *to = json_integer_value(v);
    return true;
}

static bool read_entry(source *s, const char *name, const json_t *v, entry *out)
{
    const json_t *shape = json_object_get(v, "shape"), *place = json_object_get(v, "data_offsets");
    const char *dtype = json_string_value(json_object_get(v, "dtype"));
    int64_t from, to;
    *out = (entry){.name = name};
    if (!dtype || !json_is_array(shape) || json_array_size(place) != 2 || !whole(json_array_get(place, 0), &from) ||
        !whole(json_array_get(place, 1), &to) || from > to)
        return source_fail(s, CR_EVALUE, "`%s` has no dtype, shape and data_offsets", name);
    while (out->type < CR_TYPE_COUNT && strcmp(spelling[out->type], dtype) != 0) out->type++;
    if (out->type == CR_TYPE_COUNT)
        return source_fail(s, CR_EUNSUPPORTED, "`%s` holds %.20s, which is not read", name, dtype);
    if (json_array_size(shape) > CR_MAX_RANK)
        return source_fail(s, CR_EUNSUPPORTED, "`%s` has %zu axes, more than %d", name, json_array_size(shape),
                           CR_MAX_RANK);
    out->rank = (unsigned)json_array_size(shape);
    for (unsigned i = 0; i < out->rank; i++)
        if (!whole(json_array_get(shape, i), &out->dim[i]))
            return source_fail(s, CR_EVALUE, "`%s` has a shape that is none", name);
    out->from = (uint64_t)from;
    out->to = (uint64_t)to;
    size_t count;
    if (!data_product(out->rank, out->dim, cr_type_size(out->type), &count) ||
        count * cr_type_size(out->type) != out->to - out->from)
        return source_fail(s, CR_EVALUE, "`%s` has a shape and data_offsets of different sizes", name);
    return true;
}

static int by_place(const void *a, const void *b)
{
    const entry *p = a, *q = b;
    if (p->from != q->from) return p->from < q->from ? -1 : 1;
    return p->to < q->to ? -1 : p->to > q->to;
}

/* The places lie one behind the other, from 0 to the end? */
static bool check_places(source *s, const entry *e, size_t n, uint64_t end)
{
    uint64_t at = 0;
    for (size_t i = 0; i < n; at = e[i++].to) {
        if (e[i].from != at)
            return source_fail(s, CR_EVALUE, "`%s` %s what lies before it", e[i].name,
                               e[i].from < at ? "overlaps" : "leaves a hole behind");
        if (e[i].to > end)
            return source_fail(s, CR_EVALUE, "`%s` ends at byte %" PRIu64 " of the data, and there are %" PRIu64
                               "; it was cut short", e[i].name, e[i].to, end);
    }
    return at == end || source_fail(s, CR_EVALUE, "%" PRIu64 " bytes that belong to no tensor", end - at);
}

/* ---- reading ---------------------------------------------------------------------------------- */

static bool read_tensor(source *s, const entry *e, uint64_t start, cr_data *d)
{
    stream t;
    size_t count, size = cr_type_size(e->type);
    void *memory;
    stream_open(&t, s, start + e->from, e->to - e->from, PACK_NONE, e->name);
    if (!stream_tensor(&t, e->type, e->rank, e->dim, &count, &memory)) return false;
    if (!stream_read(&t, memory, count * size)) {
        mem_free(memory);
        return false;
    }
    if (data_big_endian()) data_swap(memory, count, size);
    return data_take(d, e->name, e->type, e->rank, e->dim, memory) == CR_OK || source_oom(s);
}

/* In the order of the header; e: room for all. */
static bool read_all(source *s, json_t *root, uint64_t start, entry *e, cr_data *d)
{
    size_t n = 0;
    const char *name;
    json_t *v;
    json_object_foreach(root, name, v) {
        if (strcmp(name, "__metadata__") == 0) continue;
        if (!read_entry(s, name, v, &e[n++])) return false;
    }
    qsort(e, n, sizeof *e, by_place);
    if (!check_places(s, e, n, s->size - start)) return false;
    for (size_t i = 0; i < n; i++)
        if (!read_tensor(s, &e[i], start, d)) return false;
    return true;
}

bool safetensors_read(source *s, cr_data *d)
{
    unsigned char bytes[8];
    if (!source_read(s, 0, 8, bytes)) return false;
    byte_reader r = reader_of(bytes, 8);
    uint64_t n = reader_u64(&r);
    if (n > s->size - 8) return source_fail(s, CR_EVALUE, "ends within its header; it was cut short");
    if (n > MAX_HEADER)
        return source_fail(s, CR_ELIMIT, "a header of %" PRIu64 " bytes, beyond the limit of %d", n, MAX_HEADER);
    char *text = mem_alloc((size_t)n);
    if (!text) return source_oom(s);
    json_error_t why;
    json_t *root = NULL;
    bool ok = source_read(s, 8, (size_t)n, text);
    if (ok) root = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, &why);
    mem_free(text);
    if (ok && !root && json_error_code(&why) == json_error_out_of_memory) return source_oom(s);
    if (ok && !root) ok = source_fail(s, CR_EVALUE, "its header is no JSON: %s", why.text);
    if (ok && !json_is_object(root)) ok = source_fail(s, CR_EVALUE, "its header is no JSON object");
    entry *e = ok ? mem_zalloc(json_object_size(root), sizeof *e) : NULL;
    if (ok) ok = e ? read_all(s, root, 8 + n, e, d) : source_oom(s);
    mem_free(e);
    json_decref(root);
    return ok;
}

/* ---- writing ---------------------------------------------------------------------------------- */

static void put_string(strbuf *b, const char *s)
{
    sb_putc(b, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') sb_putc(b, '\\');
        if ((unsigned char)*s < 32)
            sb_printf(b, "\\u%04x", *s);
        else
            sb_putc(b, *s);
    }
    sb_putc(b, '"');
}

/* The widest entries first, as safetensors' own writer has it: so each lies at a multiple of its size. */
enum { WIDEST = 8 };

bool safetensors_write(sink *k, const cr_data *d)
{
    strbuf b;
    sb_init(&b);
    sb_putc(&b, '{');
    uint64_t at = 0;
    for (size_t size = WIDEST; size; size /= 2)
        for (size_t i = 0; i < d->n; i++) {
            const cr_tensor *t = &d->tensor[i];
            if (cr_type_size(t->type) != size) continue;
            if (strcmp(t->name, "__metadata__") == 0) {
                sb_free(&b);
                return sink_fail(k, CR_EUNSUPPORTED, "safetensors has another use for the name `__metadata__`");
            }
            if (b.n > 1) sb_putc(&b, ',');
            put_string(&b, t->name);
            sb_printf(&b, ":{\"dtype\":\"%s\",\"shape\":[", spelling[t->type]);
            for (unsigned j = 0; j < t->rank; j++) sb_printf(&b, j ? ",%" PRId64 : "%" PRId64, t->dim[j]);
            sb_printf(&b, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", at, at + t->count * size);
            at += t->count * size;
        }
    sb_putc(&b, '}');
    while (b.n % WIDEST && b.status == CR_OK) sb_putc(&b, ' ');
    if (b.status != CR_OK) {
        sb_free(&b);
        return sink_fail(k, CR_ENOMEM, "out of memory");
    }
    sink_uint(k, b.n, 8);
    sink_put(k, sb_str(&b), b.n);
    sb_free(&b);
    for (size_t size = WIDEST; size; size /= 2)
        for (size_t i = 0; i < d->n; i++)
            if (cr_type_size(d->tensor[i].type) == size) sink_entries(k, &d->tensor[i], false);
    return k->err->status == CR_OK;
}
