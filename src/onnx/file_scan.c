#include "onnx/file_scan.h"

#include <inttypes.h>
#include <string.h>

/* ---- the schema, as far as messages and texts lie in each other ------------------------------------- */

typedef enum message {
    NONE,
    TEXT,
    RAW,
    MODEL,
    GRAPH,
    NODE,
    ATTRIBUTE,
    TENSOR,
    SPARSE,
    VALUE,
    TYPE,
    TYPE_TENSOR,
    TYPE_OF,
    TYPE_MAP,
    SHAPE,
    SIZE,
    ENTRY,
    OPSET,
    FUNCTION,
    TRAINING,
    ANNOTATION,
    SEGMENT
} message;

/* Fields that hold messages, texts or raw numbers. All others are checked as bytes only. */
static const struct schema {
    message in;
    uint32_t number;
    message holds;
    const char *name;
} schema[] = {
    {MODEL, 2, TEXT, "producer_name"},
    {MODEL, 3, TEXT, "producer_version"},
    {MODEL, 4, TEXT, "domain"},
    {MODEL, 6, TEXT, "doc_string"},
    {MODEL, 7, GRAPH, "graph"},
    {MODEL, 8, OPSET, "opset_import"},
    {MODEL, 14, ENTRY, "metadata_props"},
    {MODEL, 20, TRAINING, "training_info"},
    {MODEL, 25, FUNCTION, "functions"},
    {MODEL, 1, NONE, "ir_version"},
    {MODEL, 5, NONE, "model_version"},
    {GRAPH, 1, NODE, "node"},
    {GRAPH, 2, TEXT, "name"},
    {GRAPH, 5, TENSOR, "initializer"},
    {GRAPH, 10, TEXT, "doc_string"},
    {GRAPH, 11, VALUE, "input"},
    {GRAPH, 12, VALUE, "output"},
    {GRAPH, 13, VALUE, "value_info"},
    {GRAPH, 14, ANNOTATION, "quantization_annotation"},
    {GRAPH, 15, SPARSE, "sparse_initializer"},
    {NODE, 1, TEXT, "input"},
    {NODE, 2, TEXT, "output"},
    {NODE, 3, TEXT, "name"},
    {NODE, 4, TEXT, "op_type"},
    {NODE, 5, ATTRIBUTE, "attribute"},
    {NODE, 6, TEXT, "doc_string"},
    {NODE, 7, TEXT, "domain"},
    {ATTRIBUTE, 1, TEXT, "name"},
    {ATTRIBUTE, 21, TEXT, "ref_attr_name"},
    {ATTRIBUTE, 13, TEXT, "doc_string"},
    {ATTRIBUTE, 5, TENSOR, "t"},
    {ATTRIBUTE, 6, GRAPH, "g"},
    {ATTRIBUTE, 22, SPARSE, "sparse_tensor"},
    {ATTRIBUTE, 14, TYPE, "tp"},
    {ATTRIBUTE, 10, TENSOR, "tensors"},
    {ATTRIBUTE, 11, GRAPH, "graphs"},
    {ATTRIBUTE, 23, SPARSE, "sparse_tensors"},
    {ATTRIBUTE, 15, TYPE, "type_protos"},
    {TENSOR, 3, SEGMENT, "segment"},
    {TENSOR, 8, TEXT, "name"},
    {TENSOR, 12, TEXT, "doc_string"},
    {TENSOR, 9, RAW, "raw_data"},
    {TENSOR, 13, ENTRY, "external_data"},
    {SPARSE, 1, TENSOR, "values"},
    {SPARSE, 2, TENSOR, "indices"},
    {VALUE, 1, TEXT, "name"},
    {VALUE, 2, TYPE, "type"},
    {VALUE, 3, TEXT, "doc_string"},
    {TYPE, 1, TYPE_TENSOR, "tensor_type"},
    {TYPE, 4, TYPE_OF, "sequence_type"},
    {TYPE, 5, TYPE_MAP, "map_type"},
    {TYPE, 9, TYPE_OF, "optional_type"},
    {TYPE, 8, TYPE_TENSOR, "sparse_tensor_type"},
    {TYPE, 6, TEXT, "denotation"},
    {TYPE_TENSOR, 2, SHAPE, "shape"},
    {TYPE_OF, 1, TYPE, "elem_type"},
    {TYPE_MAP, 2, TYPE, "value_type"},
    {SHAPE, 1, SIZE, "dim"},
    {SIZE, 2, TEXT, "dim_param"},
    {SIZE, 3, TEXT, "denotation"},
    {ENTRY, 1, TEXT, "key"},
    {ENTRY, 2, TEXT, "value"},
    {OPSET, 1, TEXT, "domain"},
    {FUNCTION, 1, TEXT, "name"},
    {FUNCTION, 4, TEXT, "input"},
    {FUNCTION, 5, TEXT, "output"},
    {FUNCTION, 6, TEXT, "attribute"},
    {FUNCTION, 7, NODE, "node"},
    {FUNCTION, 8, TEXT, "doc_string"},
    {FUNCTION, 9, OPSET, "opset_import"},
    {FUNCTION, 10, TEXT, "domain"},
    {TRAINING, 1, GRAPH, "initialization"},
    {TRAINING, 2, GRAPH, "algorithm"},
    {TRAINING, 3, ENTRY, "initialization_binding"},
    {TRAINING, 4, ENTRY, "update_binding"},
    {ANNOTATION, 1, TEXT, "tensor_name"},
    {ANNOTATION, 2, ENTRY, "quant_parameter_tensor_names"},
};

static const struct schema *lookup(message in, uint32_t number)
{
    for (size_t i = 0; i < sizeof schema / sizeof *schema; i++) {
        if (schema[i].in == in && schema[i].number == number) return &schema[i];
    }
    return NULL;
}

uint32_t scan_field_number(onnx_level level, const char *name)
{
    for (size_t i = 0; i < sizeof schema / sizeof *schema; i++) {
        bool there = schema[i].in == (level == ONNX_MODEL ? MODEL : GRAPH);
        if (there && strcmp(schema[i].name, name) == 0) return schema[i].number;
    }
    return 0;
}

/* ---- bytes --------------------------------------------------------------------------------------- */

bool scan_varint(const unsigned char *bytes, size_t *at, size_t end, uint64_t *v)
{
    *v = 0;
    for (unsigned shift = 0; shift < 70 && *at < end; shift += 7) {
        unsigned char b = bytes[(*at)++];
        if (shift < 64) *v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) return true;
    }
    return false;
}

void scan_put_varint(strbuf *b, uint64_t v)
{
    while (v >= 0x80) {
        sb_putc(b, (char)(v | 0x80));
        v >>= 7;
    }
    sb_putc(b, (char)v);
}

bool scan_next(const unsigned char *bytes, size_t at, size_t end, scan_field *f)
{
    uint64_t tag, n;
    f->start = at;
    if (!scan_varint(bytes, &at, end, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff) return false;
    f->number = (uint32_t)(tag >> 3);
    f->wire = tag & 7;
    f->content = at;
    switch (f->wire) {
    case WIRE_VARINT:
        if (!scan_varint(bytes, &at, end, &n)) return false;
        f->end = at;
        return true;
    case WIRE_64:
        f->end = at + 8;
        return end - at >= 8;
    case WIRE_32:
        f->end = at + 4;
        return end - at >= 4;
    case WIRE_BYTES:
        if (!scan_varint(bytes, &at, end, &n) || n > end - at) return false;
        f->content = at;
        f->end = at + (size_t)n;
        return true;
    default:
        return false; /* groups: no schema of ONNX has any */
    }
}

/* ---- messages ------------------------------------------------------------------------------------ */

typedef struct scanner {
    const char *path;
    const unsigned char *bytes;
    strbuf *out;
    scan_raws *raws;
    error *e;
    struct {
        const char *name;
        size_t index;
    } where[ONNX_MAX_NESTING];
    unsigned depth;
} scanner;

static bool fail(scanner *s, cr_status status, size_t at, const char *why)
{
    strbuf b;
    sb_init(&b);
    sb_printf(&b, "%s: byte %zu", s->path, at);
    for (unsigned i = 0; i < s->depth; i++) {
        sb_printf(&b, "%s%s", i ? "." : ", in ", s->where[i].name);
        if (s->where[i].index != SIZE_MAX) sb_printf(&b, "[%zu]", s->where[i].index);
    }
    sb_printf(&b, ": %s", why);
    err_set(s->e, status, "%s", sb_str(&b));
    sb_free(&b);
    return false;
}

/* Lengths are written as five bytes: what is inside is shorter than it was, by how much is known afterwards only. */
static void put_length(strbuf *b, size_t at, size_t n)
{
    for (int i = 0; i < 5; i++) {
        b->s[at + (size_t)i] = (char)((n & 0x7f) | (i < 4 ? 0x80 : 0));
        n >>= 7;
    }
}

static bool put_raw(scanner *s, const scan_field *f)
{
    if (!VEC_RESERVE(s->raws->of, s->raws->cap, s->raws->n + 1)) return fail(s, CR_ENOMEM, f->start, "out of memory");
    uint64_t token = s->raws->n;
    s->raws->of[s->raws->n++] = (scan_raw){f->content, f->end - f->content};
    sb_write(s->out, "\x4a\x08", 2); /* field 9, 8 bytes */
    for (int i = 0; i < 8; i++) sb_putc(s->out, (char)(token >> (8 * i)));
    return true;
}

static bool is_text(const char *s, size_t n) { return utf8_check(s, n) == n && !memchr(s, '\0', n); }

static bool scan_message(scanner *s, message kind, size_t at, size_t end)
{
    size_t counts[32] = {0};
    while (at < end) {
        scan_field f;
        if (!scan_next(s->bytes, at, end, &f)) {
            return fail(s, CR_ESYNTAX, at,
                        "this is no field of a message: the file is damaged, cut off, or no ONNX file");
        }
        const struct schema *in = lookup(kind, f.number);
        message holds = in && f.wire == WIRE_BYTES ? in->holds : NONE;
        if (in && in->holds != NONE && f.wire != WIRE_BYTES)
            return fail(s, CR_ESYNTAX, at, "a field of another kind than the schema has");
        if (holds == RAW && f.end > f.content) {
            if (!put_raw(s, &f)) return false;
        } else if (holds > RAW) {
            if (s->depth == ONNX_MAX_NESTING) return fail(s, CR_ELIMIT, at, "messages nested more than 100 deep");
            s->where[s->depth].name = in->name;
            s->where[s->depth++].index = f.number < 32 ? counts[f.number]++ : SIZE_MAX;
            scan_put_varint(s->out, (uint64_t)f.number << 3 | WIRE_BYTES);
            size_t length = s->out->n;
            sb_write(s->out, "\0\0\0\0\0", 5);
            if (!scan_message(s, holds, f.content, f.end)) return false;
            s->depth--;
            if (s->out->status != CR_OK) return fail(s, s->out->status, at, "out of memory");
            put_length(s->out, length, s->out->n - length - 5);
        } else {
            const char *text = (const char *)s->bytes + f.content;
            if (holds == TEXT && !is_text(text, f.end - f.content))
                return fail(s, CR_ESYNTAX, at, "a text that is not UTF-8");
            sb_write(s->out, (const char *)s->bytes + f.start, f.end - f.start);
        }
        at = f.end;
    }
    return true;
}

cr_status scan_model(const char *path, const unsigned char *bytes, size_t n, strbuf *skeleton, scan_raws *raws,
                     error *e)
{
    scanner s = {.path = path, .bytes = bytes, .out = skeleton, .raws = raws, .e = e};
    if (n == 0) {
        err_set(e, CR_ESYNTAX, "%s is empty", path);
        return CR_ESYNTAX;
    }
    if (!scan_message(&s, MODEL, 0, n)) return e->status;
    if (skeleton->status != CR_OK) err_set(e, skeleton->status, "out of memory");
    return skeleton->status;
}
