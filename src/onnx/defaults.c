/* Attributes of functions that have a default (IR 9, onnx 1.13). The schema at hand may be older: then protobuf-c
 * leaves them as unknown fields, bytes that are read here. Numbers and texts, and lists of numbers; what holds messages
 * of its own, a tensor or a graph, is refused. */
#include "onnx/importer.h"

#include <string.h>

enum { FUNCTION_ATTRIBUTE = 11 }; /* FunctionProto.attribute_proto */
enum { NAME = 1, F = 2, I = 3, S = 4, FLOATS = 7, INTS = 8, TYPE = 20 };

typedef struct bytes {
    const uint8_t *at, *end;
} bytes;

static bool varint(bytes *b, uint64_t *v)
{
    *v = 0;
    for (unsigned shift = 0; shift < 64 && b->at < b->end; shift += 7) {
        uint8_t x = *b->at++;
        *v |= (uint64_t)(x & 127) << shift;
        if (x < 128) return true;
    }
    return false;
}

/* The next field: its number, and its value: `v` of a varint, else the bytes. */
static bool field(bytes *b, unsigned *number, uint64_t *v, bytes *body)
{
    uint64_t key, n;
    *v = 0;
    if (!varint(b, &key)) return false;
    *number = (unsigned)(key >> 3);
    switch (key & 7) {
    case 0:
        *body = (bytes){b->at, b->at};
        return varint(b, v);
    case 1:
    case 5:
        n = (key & 7) == 1 ? 8 : 4;
        break;
    case 2:
        if (!varint(b, &n)) return false;
        break;
    default:
        return false;
    }
    if (n > (uint64_t)(b->end - b->at)) return false;
    *body = (bytes){b->at, b->at + n};
    b->at += n;
    return true;
}

static float float_at(const uint8_t *p)
{
    float x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* Room for as many numbers as there are bytes. false: out of memory. */
static bool make_lists(onnx_importer *im, Onnx__AttributeProto *a, size_t n)
{
    a->floats = arena_alloc(&im->mem, (n + 1) * sizeof *a->floats);
    a->ints = arena_alloc(&im->mem, (n + 1) * sizeof *a->ints);
    return (a->floats && a->ints) || onnx_no_memory(im);
}

static bool read_attribute(onnx_importer *im, bytes b, Onnx__AttributeProto *a)
{
    unsigned number;
    uint64_t v;
    bytes body;
    bool simple = true;
    if (!make_lists(im, a, (size_t)(b.end - b.at))) return false;
    while (b.at < b.end && simple) {
        if (!field(&b, &number, &v, &body))
            return onnx_import_fail(im, CR_ESYNTAX, "a function's attribute is cut short");
        size_t n = (size_t)(body.end - body.at);
        switch (number) {
        case NAME:
            break; /* read by the caller */
        case F:
            simple = n == 4;
            a->has_f = simple;
            a->f = simple ? float_at(body.at) : 0;
            break;
        case I:
            a->has_i = 1;
            a->i = (int64_t)v;
            break;
        case S:
            a->has_s = 1;
            a->s = (ProtobufCBinaryData){n, (uint8_t *)(uintptr_t)body.at};
            break;
        case FLOATS:
            for (; body.end - body.at >= 4; body.at += 4) a->floats[a->n_floats++] = float_at(body.at);
            break;
        case INTS:
            if (body.at == body.end) a->ints[a->n_ints++] = (int64_t)v;
            while (body.at < body.end && varint(&body, &v)) a->ints[a->n_ints++] = (int64_t)v;
            break;
        case TYPE:
            a->has_type = 1;
            a->type = (Onnx__AttributeProto__AttributeType)v;
            break;
        default:
            simple = number > 11 && number != 14 && number != 15 && number < 22; /* a text for readers */
        }
    }
    return simple ||
           onnx_import_fail(im, CR_EUNSUPPORTED, "default of attribute `%s`: neither numbers nor a text", a->name);
}

const Onnx__AttributeProto *onnx_default_attribute(onnx_importer *im, const Onnx__FunctionProto *f, const char *name)
{
    for (unsigned i = 0; i < f->base.n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *u = &f->base.unknown_fields[i];
        bytes b = {u->data, u->data + u->len}, whole, body;
        uint64_t n;
        unsigned number;
        if (u->tag != FUNCTION_ATTRIBUTE || !varint(&b, &n) || n != (uint64_t)(b.end - b.at)) continue;
        whole = b;
        while (b.at < b.end && field(&b, &number, &n, &body)) {
            size_t length = (size_t)(body.end - body.at);
            if (number != NAME || length != strlen(name) || memcmp(body.at, name, length) != 0) continue;
            Onnx__AttributeProto *a = arena_alloc(&im->mem, sizeof *a);
            if (!a) {
                onnx_no_memory(im);
                return NULL;
            }
            *a = (Onnx__AttributeProto)ONNX__ATTRIBUTE_PROTO__INIT;
            a->name = (char *)(uintptr_t)name;
            return read_attribute(im, whole, a) ? a : NULL;
        }
    }
    return NULL;
}
