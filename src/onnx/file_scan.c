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
    bool once;
} schema[] = {
    {MODEL, 2, TEXT, "producer_name", false},
    {MODEL, 3, TEXT, "producer_version", false},
    {MODEL, 4, TEXT, "domain", false},
    {MODEL, 6, TEXT, "doc_string", false},
    {MODEL, 7, GRAPH, "graph", true},
    {MODEL, 8, OPSET, "opset_import", false},
    {MODEL, 14, ENTRY, "metadata_props", false},
    {MODEL, 20, TRAINING, "training_info", false},
    {MODEL, 25, FUNCTION, "functions", false},
    {MODEL, 1, NONE, "ir_version", false},
    {MODEL, 5, NONE, "model_version", false},
    {GRAPH, 1, NODE, "node", false},
    {GRAPH, 2, TEXT, "name", false},
    {GRAPH, 5, TENSOR, "initializer", false},
    {GRAPH, 10, TEXT, "doc_string", false},
    {GRAPH, 11, VALUE, "input", false},
    {GRAPH, 12, VALUE, "output", false},
    {GRAPH, 13, VALUE, "value_info", false},
    {GRAPH, 14, ANNOTATION, "quantization_annotation", false},
    {GRAPH, 15, SPARSE, "sparse_initializer", false},
    {NODE, 1, TEXT, "input", false},
    {NODE, 2, TEXT, "output", false},
    {NODE, 3, TEXT, "name", false},
    {NODE, 4, TEXT, "op_type", false},
    {NODE, 5, ATTRIBUTE, "attribute", false},
    {NODE, 6, TEXT, "doc_string", false},
    {NODE, 7, TEXT, "domain", false},
    {ATTRIBUTE, 1, TEXT, "name", false},
    {ATTRIBUTE, 21, TEXT, "ref_attr_name", false},
    {ATTRIBUTE, 13, TEXT, "doc_string", false},
    {ATTRIBUTE, 5, TENSOR, "t", true},
    {ATTRIBUTE, 6, GRAPH, "g", true},
    {ATTRIBUTE, 22, SPARSE, "sparse_tensor", true},
    {ATTRIBUTE, 14, TYPE, "tp", true},
    {ATTRIBUTE, 10, TENSOR, "tensors", false},
    {ATTRIBUTE, 11, GRAPH, "graphs", false},
    {ATTRIBUTE, 23, SPARSE, "sparse_tensors", false},
    {ATTRIBUTE, 15, TYPE, "type_protos", false},
    {TENSOR, 3, SEGMENT, "segment", true},
    {TENSOR, 8, TEXT, "name", false},
    {TENSOR, 12, TEXT, "doc_string", false},
    {TENSOR, 9, RAW, "raw_data", false},
    {TENSOR, 13, ENTRY, "external_data", false},
    {SPARSE, 1, TENSOR, "values", true},
    {SPARSE, 2, TENSOR, "indices", true},
    {VALUE, 1, TEXT, "name", false},
    {VALUE, 2, TYPE, "type", true},
    {VALUE, 3, TEXT, "doc_string", false},
    {TYPE, 1, TYPE_TENSOR, "tensor_type", true},
    {TYPE, 4, TYPE_OF, "sequence_type", true},
    {TYPE, 5, TYPE_MAP, "map_type", true},
    {TYPE, 9, TYPE_OF, "optional_type", true},
    {TYPE, 8, TYPE_TENSOR, "sparse_tensor_type", true},
    {TYPE, 6, TEXT, "denotation", false},
    {TYPE_TENSOR, 2, SHAPE, "shape", true},
    {TYPE_OF, 1, TYPE, "elem_type", true},
    {TYPE_MAP, 2, TYPE, "value_type", true},
    {SHAPE, 1, SIZE, "dim", false},
    {SIZE, 2, TEXT, "dim_param", false},
    {SIZE, 3, TEXT, "denotation", false},
    {ENTRY, 1, TEXT, "key", false},
    {ENTRY, 2, TEXT, "value", false},
    {OPSET, 1, TEXT, "domain", false},
    {FUNCTION, 1, TEXT, "name", false},
    {FUNCTION, 4, TEXT, "input", false},
    {FUNCTION, 5, TEXT, "output", false},
    {FUNCTION, 6, TEXT, "attribute", false},
    {FUNCTION, 7, NODE, "node", false},
    {FUNCTION, 8, TEXT, "doc_string", false},
    {FUNCTION, 9, OPSET, "opset_import", false},
    {FUNCTION, 10, TEXT, "domain", false},
    {TRAINING, 1, GRAPH, "initialization", true},
    {TRAINING, 2, GRAPH, "algorithm", true},
    {TRAINING, 3, ENTRY, "initialization_binding", false},
    {TRAINING, 4, ENTRY, "update_binding", false},
    {ANNOTATION, 1, TEXT, "tensor_name", false},
    {ANNOTATION, 2, ENTRY, "quant_parameter_tensor_names", false},
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
            s->where[s->depth++].index = !in->once && f.number < 32 ? counts[f.number]++ : SIZE_MAX;
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
    if ((n > 4 && memcmp(bytes, "PK\3\4", 4) == 0) || (n > 4 && memcmp(bytes, "\x89HDF", 4) == 0)) {
        err_set(e, CR_ESYNTAX,
                "%s is no ONNX file but a zip or HDF5 file, as PyTorch and Keras save them; export it: "
                "torch.onnx.export(model, x, \"m.onnx\"), or tf2onnx (docs/from-pytorch.md)",
                path);
        return CR_ESYNTAX;
    }
    if (!scan_message(&s, MODEL, 0, n)) return e->status;
    if (skeleton->status != CR_OK) err_set(e, skeleton->status, "out of memory");
    return skeleton->status;
}
