/* Writing a model: the bytes that were read, with pieces replaced. */
#include "onnx/file_map.h"

#include <stdlib.h>
#include <string.h>

typedef enum change_kind { REPLACE, INSERT, REMOVE, NUMBERS } change_kind;

typedef struct change {
    change_kind kind;
    onnx_level level;
    uint32_t field;
    size_t k;
    strbuf packed;       /* tag, length and content of the new field */
    const void *numbers; /* NUMBERS */
    size_t n_numbers;
} change;

struct onnx_edit {
    const onnx_file *f;
    change *change;
    size_t n, cap;
};

static cr_status no_memory(error *e)
{
    err_set(e, CR_ENOMEM, "out of memory");
    return CR_ENOMEM;
}

onnx_edit *onnx_edit_new(const onnx_file *f, error *e)
{
    onnx_edit *d = mem_zalloc(1, sizeof *d);
    if (!d) {
        no_memory(e);
        return NULL;
    }
    d->f = f;
    return d;
}

void onnx_edit_free(onnx_edit *d)
{
    if (!d) return;
    for (size_t i = 0; i < d->n; i++) sb_free(&d->change[i].packed);
    mem_free(d->change);
    mem_free(d);
}

/* ---- places -------------------------------------------------------------------------------------- */

/* From where to where the fields of a level lie in the file; it was checked when it was opened. */
static void extent(const onnx_file *f, onnx_level level, size_t *from, size_t *to)
{
    *from = 0;
    *to = f->map.n;
    if (level == ONNX_MODEL) return;
    scan_field x;
    for (size_t at = 0; at < f->map.n && scan_next(f->map.bytes, at, f->map.n, &x); at = x.end) {
        if (x.number != scan_field_number(ONNX_MODEL, "graph")) continue;
        *from = x.content;
        *to = x.end;
        return;
    }
}

size_t onnx_file_count(const onnx_file *f, onnx_level level, const char *field)
{
    uint32_t number = scan_field_number(level, field);
    size_t at, to, n = 0;
    scan_field x;
    extent(f, level, &at, &to);
    for (; at < to && scan_next(f->map.bytes, at, to, &x); at = x.end) n += x.number == number;
    return n;
}

static change *add(onnx_edit *d, change_kind kind, onnx_level level, const char *field, size_t k, error *e)
{
    uint32_t number = scan_field_number(level, field);
    size_t n = number ? onnx_file_count(d->f, level, field) : 0;
    if (number == 0 || k > n || (k == n && kind != INSERT)) {
        err_set(e, CR_EARG, "there is no %s %zu to change", field, k);
        return NULL;
    }
    for (size_t i = 0; i < d->n && kind != INSERT; i++) {
        const change *c = &d->change[i];
        if (c->kind == INSERT || c->level != level || c->field != number || c->k != k) continue;
        err_set(e, CR_EARG, "%s %zu is changed twice", field, k);
        return NULL;
    }
    if (!VEC_RESERVE(d->change, d->cap, d->n + 1)) {
        no_memory(e);
        return NULL;
    }
    d->change[d->n] = (change){.kind = kind, .level = level, .field = number, .k = k};
    sb_init(&d->change[d->n].packed);
    return &d->change[d->n++];
}

static cr_status pack(change *c, const void *message, error *e)
{
    const ProtobufCMessage *m = message;
    size_t n = protobuf_c_message_get_packed_size(m);
    uint8_t *bytes = mem_alloc(n);
    if (!bytes) return no_memory(e);
    protobuf_c_message_pack(m, bytes);
    scan_put_varint(&c->packed, (uint64_t)c->field << 3 | WIRE_BYTES);
    scan_put_varint(&c->packed, n);
    sb_write(&c->packed, (const char *)bytes, n);
    mem_free(bytes);
    return c->packed.status == CR_OK ? CR_OK : no_memory(e);
}

cr_status onnx_edit_replace(onnx_edit *d, onnx_level level, const char *field, size_t k, const void *message, error *e)
{
    change *c = add(d, REPLACE, level, field, k, e);
    return c ? pack(c, message, e) : e->status;
}

cr_status onnx_edit_insert(onnx_edit *d, onnx_level level, const char *field, size_t k, const void *message, error *e)
{
    change *c = add(d, INSERT, level, field, k, e);
    return c ? pack(c, message, e) : e->status;
}

cr_status onnx_edit_remove(onnx_edit *d, onnx_level level, const char *field, size_t k, error *e)
{
    return add(d, REMOVE, level, field, k, e) ? CR_OK : e->status;
}

cr_status onnx_edit_numbers(onnx_edit *d, size_t k, const void *bytes, size_t n, error *e)
{
    change *c = add(d, NUMBERS, ONNX_GRAPH, "initializer", k, e);
    if (!c) return e->status;
    c->numbers = bytes;
    c->n_numbers = n;
    return CR_OK;
}

/* A field that stands once: replaced where it stands, or put behind all others. */
static change *set_field(onnx_edit *d, onnx_level level, const char *field, error *e)
{
    return add(d, onnx_file_count(d->f, level, field) ? REPLACE : INSERT, level, field, 0, e);
}

cr_status onnx_edit_text(onnx_edit *d, onnx_level level, const char *field, const char *text, error *e)
{
    change *c = set_field(d, level, field, e);
    if (!c) return e->status;
    scan_put_varint(&c->packed, (uint64_t)c->field << 3 | WIRE_BYTES);
    scan_put_varint(&c->packed, strlen(text));
    sb_puts(&c->packed, text);
    return c->packed.status == CR_OK ? CR_OK : no_memory(e);
}

cr_status onnx_edit_integer(onnx_edit *d, onnx_level level, const char *field, int64_t value, error *e)
{
    change *c = set_field(d, level, field, e);
    if (!c) return e->status;
    scan_put_varint(&c->packed, (uint64_t)c->field << 3 | WIRE_VARINT);
    scan_put_varint(&c->packed, (uint64_t)value);
    return c->packed.status == CR_OK ? CR_OK : no_memory(e);
}

/* ---- pieces -------------------------------------------------------------------------------------- */

/* What is written, in order: bytes of the file, of changes, and heads made here. */
typedef struct piece {
    const void *bytes;
    size_t n;
    char *own;
} piece;
typedef struct pieces {
    piece *of;
    size_t n, cap, total;
} pieces;

static void pieces_free(pieces *p)
{
    for (size_t i = 0; i < p->n; i++) mem_free(p->of[i].own);
    mem_free(p->of);
    *p = (pieces){0};
}

static bool put(pieces *p, const void *bytes, size_t n, char *own)
{
    if (!VEC_RESERVE(p->of, p->cap, p->n + 1)) {
        mem_free(own);
        return false;
    }
    p->of[p->n++] = (piece){bytes, n, own};
    p->total += n;
    return true;
}

/* Tag and length of a field of n bytes. */
static bool put_head(pieces *p, uint32_t field, size_t n)
{
    strbuf b;
    sb_init(&b);
    scan_put_varint(&b, (uint64_t)field << 3 | WIRE_BYTES);
    scan_put_varint(&b, n);
    size_t size = b.n;
    char *own = sb_take(&b);
    return own && put(p, own, size, own);
}

static bool join(pieces *to, pieces *from)
{
    bool ok = true;
    for (size_t i = 0; i < from->n && ok; i++) {
        ok = put(to, from->of[i].bytes, from->of[i].n, from->of[i].own);
        from->of[i].own = NULL;
    }
    pieces_free(from);
    return ok;
}

enum { /* fields of TensorProto that say where numbers are */
       FLOAT_DATA = 4,
       INT32_DATA = 5,
       STRING_DATA = 6,
       INT64_DATA = 7,
       RAW_DATA = 9,
       DOUBLE_DATA = 10,
       UINT64_DATA = 11,
       EXTERNAL_DATA = 13,
       DATA_LOCATION = 14
};

static bool holds_numbers(uint32_t field)
{
    return (field >= FLOAT_DATA && field <= INT64_DATA) || (field >= RAW_DATA && field <= UINT64_DATA) ||
           field == EXTERNAL_DATA || field == DATA_LOCATION;
}

static bool put_numbers(const onnx_edit *d, pieces *p, const scan_field *tensor, const change *c)
{
    pieces in = {0};
    scan_field x;
    bool ok = true;
    for (size_t at = tensor->content; at < tensor->end && ok && scan_next(d->f->map.bytes, at, tensor->end, &x);
         at = x.end) {
        if (!holds_numbers(x.number)) ok = put(&in, d->f->map.bytes + x.start, x.end - x.start, NULL);
    }
    ok = ok && put_head(&in, RAW_DATA, c->n_numbers) && put(&in, c->numbers, c->n_numbers, NULL) &&
         put_head(p, tensor->number, in.total) && join(p, &in);
    pieces_free(&in);
    return ok;
}

static const change *change_of(const onnx_edit *d, onnx_level level, uint32_t field, size_t k)
{
    for (size_t i = 0; i < d->n; i++) {
        const change *c = &d->change[i];
        if (c->kind != INSERT && c->level == level && c->field == field && c->k == k) return c;
    }
    return NULL;
}

/* What is inserted in front of element k of a field. */
static bool put_inserted(const onnx_edit *d, pieces *p, onnx_level level, uint32_t field, size_t k)
{
    bool ok = true;
    for (size_t i = 0; i < d->n && ok; i++) {
        const change *c = &d->change[i];
        if (c->kind == INSERT && c->level == level && c->field == field && c->k == k) {
            ok = put(p, c->packed.s, c->packed.n, NULL);
        }
    }
    return ok;
}

/* Is something to be inserted behind the last element? */
static size_t last_of(const onnx_edit *d, onnx_level level, uint32_t field)
{
    scan_field x;
    size_t at, to, n = 0;
    extent(d->f, level, &at, &to);
    for (; at < to && scan_next(d->f->map.bytes, at, to, &x); at = x.end) n += x.number == field;
    return n;
}

static bool put_level(const onnx_edit *d, pieces *p, onnx_level level)
{
    enum { FIELDS = 64 };
    size_t at, to, seen[FIELDS] = {0}, count[FIELDS] = {0};
    scan_field x;
    bool ok = true;
    for (size_t i = 0; i < d->n; i++) {
        const change *c = &d->change[i];
        if (c->level == level && c->field < FIELDS) count[c->field] = last_of(d, level, c->field);
    }
    extent(d->f, level, &at, &to);
    for (; at < to && ok && scan_next(d->f->map.bytes, at, to, &x); at = x.end) {
        size_t k = x.number < FIELDS ? seen[x.number]++ : 0;
        const change *c = change_of(d, level, x.number, k);
        ok = put_inserted(d, p, level, x.number, k);
        if (level == ONNX_MODEL && x.number == scan_field_number(ONNX_MODEL, "graph") && k == 0) {
            pieces graph = {0};
            ok = ok && put_level(d, &graph, ONNX_GRAPH);
            if (ok && graph.total == x.end - x.content && graph.n == 1) {
                ok = put(p, d->f->map.bytes + x.start, x.end - x.start, NULL); /* unchanged, its length's bytes too */
            } else {
                ok = ok && put_head(p, x.number, graph.total) && join(p, &graph);
            }
            pieces_free(&graph);
        } else if (!c) {
            piece *last = p->n ? &p->of[p->n - 1] : NULL;
            const unsigned char *from = d->f->map.bytes + x.start;
            if (last && !last->own && (const unsigned char *)last->bytes + last->n == from) {
                last->n += x.end - x.start; /* goes on where the last piece ends */
                p->total += x.end - x.start;
            } else {
                ok = ok && put(p, from, x.end - x.start, NULL);
            }
        } else if (c->kind == NUMBERS) {
            ok = ok && put_numbers(d, p, &x, c);
        } else if (c->kind == REPLACE) {
            ok = ok && put(p, c->packed.s, c->packed.n, NULL);
        }
        if (ok && x.number < FIELDS && count[x.number] && seen[x.number] == count[x.number]) {
            ok = put_inserted(d, p, level, x.number, count[x.number]);
        }
    }
    for (uint32_t field = 0; field < FIELDS && ok; field++) {
        if (count[field] == 0) ok = put_inserted(d, p, level, field, 0);
    }
    return ok;
}

/* ---- writing ------------------------------------------------------------------------------------- */

static bool same_folder(const char *a, const char *b)
{
    const char *x = strrchr(a, '/'), *y = strrchr(b, '/');
    size_t n = x ? (size_t)(x - a) : 0, k = y ? (size_t)(y - b) : 0;
    return n == k && strncmp(a, b, n) == 0;
}

/* Files of external data that lie beside the model, beside the new one too. */
static cr_status copy_external(onnx_edit *d, const char *path, error *e)
{
    const Onnx__GraphProto *g = d->f->model->graph;
    cr_status status = CR_OK;
    if (same_folder(d->f->path, path)) return CR_OK;
    for (size_t i = 0; i < g->n_initializer && status == CR_OK; i++) {
        const Onnx__TensorProto *t = g->initializer[i];
        const char *location = external_key(t, "location");
        const change *c = change_of(d, ONNX_GRAPH, scan_field_number(ONNX_GRAPH, "initializer"), i);
        if (!location || c || !t->has_data_location || t->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
            continue;
        char *from = external_path(d->f->path, location, e), *to = from ? external_path(path, location, e) : NULL;
        map source = {0}, there = {0};
        error none = {CR_OK, NULL};
        if (!to) {
            status = e->status;
        } else if ((status = map_open(from, &source, e)) == CR_OK) {
            if (map_open(to, &there, &none) == CR_OK) {
                if (there.n != source.n || (there.n && memcmp(there.bytes, source.bytes, there.n) != 0)) {
                    err_set(e, CR_EIO, "%s is there already, and is not the model's", to);
                    status = CR_EIO;
                }
            } else {
                file_out o;
                bool ok = file_out_begin(&o, to, e) && file_out_write(&o, source.bytes, source.n);
                status = file_out_end(&o, ok);
            }
        }
        err_clear(&none);
        map_close(&source);
        map_close(&there);
        mem_free(from);
        mem_free(to);
    }
    return status;
}

cr_status onnx_edit_write(onnx_edit *d, const char *path, error *e)
{
    pieces p = {0};
    cr_status status = put_level(d, &p, ONNX_MODEL) ? copy_external(d, path, e) : no_memory(e);
    if (status == CR_OK) {
        file_out o;
        bool ok = file_out_begin(&o, path, e);
        for (size_t i = 0; i < p.n && ok; i++) ok = file_out_write(&o, p.of[i].bytes, p.of[i].n);
        status = file_out_end(&o, ok);
    }
    pieces_free(&p);
    return status;
}
