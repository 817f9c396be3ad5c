#define _DEFAULT_SOURCE /* realpath */
/* A TensorProto as type, sizes and numbers; numbers in files of their own. */
#include "onnx/file_map.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- types --------------------------------------------------------------------------------------- */

/* By TensorProto.DataType; -1: no numbers of ours. */
static const struct {
    signed char type;
    const char *name;
} types[] = {
    {-1, "undefined"},       {CR_TYPE_F32, "float32"},   {CR_TYPE_U8, "uint8"},
    {CR_TYPE_I8, "int8"},    {CR_TYPE_U16, "uint16"},    {CR_TYPE_I16, "int16"},
    {CR_TYPE_I32, "int32"},  {CR_TYPE_I64, "int64"},     {-1, "string"},
    {CR_TYPE_BOOL, "bool"},  {CR_TYPE_F16, "float16"},   {CR_TYPE_F64, "float64"},
    {CR_TYPE_U32, "uint32"}, {CR_TYPE_U64, "uint64"},    {-1, "complex64"},
    {-1, "complex128"},      {CR_TYPE_BF16, "bfloat16"},
};
enum { N_TYPES = sizeof types / sizeof *types };

bool onnx_type_of(int data_type, cr_type *t)
{
    if (data_type < 0 || data_type >= N_TYPES || types[data_type].type < 0) return false;
    *t = (cr_type)types[data_type].type;
    return true;
}

const char *onnx_data_type_name(int data_type, char buffer[32])
{
    if (data_type >= 0 && data_type < N_TYPES) return types[data_type].name;
    snprintf(buffer, 32, "type %d", data_type);
    return buffer;
}

/* ---- external data ------------------------------------------------------------------------------- */

const char *external_key(const Onnx__TensorProto *t, const char *key)
{
    for (size_t i = 0; i < t->n_external_data; i++) {
        const Onnx__StringStringEntryProto *x = t->external_data[i];
        if (x->key && x->value && strcmp(x->key, key) == 0) return x->value;
    }
    return NULL;
}

char *external_path(const char *model, const char *location, error *e)
{
    bool leaves = *location == '/' || *location == '\0';
    for (const char *s = location; s && *s; s = strchr(s, '/'), s = s ? s + 1 : NULL) {
        leaves |= strncmp(s, "..", 2) == 0 && (s[2] == '/' || s[2] == '\0');
    }
    if (leaves) {
        err_set(e, CR_EIO, "external data `%s`: only files in the model's folder are read", location);
        return NULL;
    }
    const char *end = strrchr(model, '/');
    size_t folder = end ? (size_t)(end - model) + 1 : 0, n = strlen(location);
    char *path = mem_alloc(folder + n + 1);
    if (!path) {
        err_set(e, CR_ENOMEM, "out of memory");
        return NULL;
    }
    memcpy(path, model, folder);
    memcpy(path + folder, location, n + 1);
    return path;
}

/* Do symbolic links lead out of the model's folder? */
static bool stays_inside(const char *model, const char *path, const char *location, error *e)
{
    char folder[PATH_MAX], own[PATH_MAX];
    const char *end = strrchr(model, '/');
    snprintf(folder, sizeof folder, "%.*s", end ? (int)(end - model) + 1 : 2, end ? model : "./");
    char *to = realpath(path, own), *from = to ? realpath(folder, NULL) : NULL;
    if (!from) {
        err_set(e, CR_EIO, "%s: %s", path, strerror(errno));
        return false;
    }
    size_t n = strlen(from);
    bool inside = strcmp(from, "/") == 0 || (strncmp(own, from, n) == 0 && own[n] == '/');
    free(from);
    if (!inside) {
        err_set(e, CR_EIO, "external data `%s` is a link that leads out of the model's folder (--allow-links reads it)",
                location);
    }
    return inside;
}

static const map *external_open(onnx_file *f, const char *location, error *e)
{
    for (size_t i = 0; i < f->n_external; i++) {
        if (strcmp(f->external[i].location, location) == 0) return &f->external[i].map;
    }
    char *path = external_path(f->path, location, e);
    if (!path) return NULL;
    external x = {.location = mem_strdup(location)};
    bool ok = x.location && VEC_RESERVE(f->external, f->external_cap, f->n_external + 1);
    if (!ok) err_set(e, CR_ENOMEM, "out of memory");
    ok = ok && (f->options.allow_links || stays_inside(f->path, path, location, e)) &&
         map_open(path, &x.map, e) == CR_OK;
    mem_free(path);
    if (!ok) {
        mem_free(x.location);
        return NULL;
    }
    f->external[f->n_external++] = x;
    return &f->external[f->n_external - 1].map;
}

static bool number(const char *text, size_t missing, size_t *v)
{
    char *end;
    *v = missing;
    if (!text) return true;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    *v = (size_t)n;
    return *text >= '0' && *text <= '9' && !*end && errno == 0 && n <= SIZE_MAX;
}

cr_status external_bytes(onnx_file *f, const Onnx__TensorProto *t, const unsigned char **bytes, size_t *n, error *e)
{
    const char *location = external_key(t, "location");
    size_t offset;
    if (!location) {
        err_set(e, CR_EVALUE, "tensor `%s` has external data without a location", t->name);
        return CR_EVALUE;
    }
    const map *m = external_open(f, location, e);
    if (!m) return e->status;
    bool ok = number(external_key(t, "offset"), 0, &offset) && offset <= m->n;
    size_t rest = ok ? m->n - offset : 0, own = rest;
    cr_type type;
    /* Without a length, it is as long as its shape says; the file may go on. */
    if (onnx_type_of(t->data_type, &type) && t->n_dims <= CR_MAX_RANK &&
        data_product((unsigned)t->n_dims, t->dims, cr_type_size(type), &own)) {
        own *= cr_type_size(type);
    }
    ok = ok && number(external_key(t, "length"), own < rest ? own : rest, n) && *n <= rest;
    if (!ok) {
        err_set(e, CR_EVALUE, "tensor `%s` lies beyond the end of %s, which has %zu bytes", t->name, location, m->n);
        return CR_EVALUE;
    }
    *bytes = m->bytes + offset;
    return CR_OK;
}

/* ---- numbers ------------------------------------------------------------------------------------- */

cr_status onnx_file_bytes(onnx_file *f, const Onnx__TensorProto *t, const unsigned char **bytes, size_t *n, error *e)
{
    *bytes = NULL;
    *n = 0;
    if (t->has_data_location && t->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
        return external_bytes(f, t, bytes, n, e);
    }
    if (t->has_raw_data && t->raw_data.len) {
        *bytes = t->raw_data.data;
        *n = t->raw_data.len;
    }
    return CR_OK;
}

/* How many numbers the field for the type has. */
static size_t typed_count(const Onnx__TensorProto *t, cr_type type)
{
    switch (type) {
    case CR_TYPE_F32:
        return t->n_float_data;
    case CR_TYPE_F64:
        return t->n_double_data;
    case CR_TYPE_I64:
        return t->n_int64_data;
    case CR_TYPE_U32:
    case CR_TYPE_U64:
        return t->n_uint64_data;
    default:
        return t->n_int32_data; /* small integers and booleans; 16-bit floats as their bits */
    }
}

static void typed_copy(const Onnx__TensorProto *t, cr_type type, size_t i, void *to)
{
    switch (type) {
    case CR_TYPE_F32:
        ((float *)to)[i] = t->float_data[i];
        break;
    case CR_TYPE_F64:
        ((double *)to)[i] = t->double_data[i];
        break;
    case CR_TYPE_I64:
        ((int64_t *)to)[i] = t->int64_data[i];
        break;
    case CR_TYPE_U64:
        ((uint64_t *)to)[i] = t->uint64_data[i];
        break;
    case CR_TYPE_U32:
        ((uint32_t *)to)[i] = (uint32_t)t->uint64_data[i];
        break;
    case CR_TYPE_I32:
        ((int32_t *)to)[i] = t->int32_data[i];
        break;
    case CR_TYPE_BOOL:
        ((uint8_t *)to)[i] = t->int32_data[i] != 0;
        break;
    case CR_TYPE_I8:
    case CR_TYPE_U8:
        ((uint8_t *)to)[i] = (uint8_t)t->int32_data[i];
        break;
    default:
        ((uint16_t *)to)[i] = (uint16_t)t->int32_data[i];
        break;
    }
}

static cr_status copy_raw(onnx_file *f, const unsigned char *bytes, size_t n, const cr_tensor *t, void *to, error *e)
{
    size_t size = cr_type_size(t->type);
    if (n != t->count * size) {
        err_set(e, CR_EVALUE, "tensor `%s` has %zu bytes, and its shape asks for %zu", t->name, n, t->count * size);
        return CR_EVALUE;
    }
    enum { PIECE = 1 << 24 }; /* so much of the file is in memory beside the copy */
    for (size_t at = 0; at < n; at += PIECE) {
        size_t piece = n - at < PIECE ? n - at : PIECE;
        memcpy((char *)to + at, bytes + at, piece);
        onnx_file_release(f, bytes + at, piece);
    }
    if (data_big_endian()) data_swap(to, t->count, size);
    for (size_t i = 0; t->type == CR_TYPE_BOOL && i < n; i++) ((uint8_t *)to)[i] = ((uint8_t *)to)[i] != 0;
    return CR_OK;
}

cr_status onnx_tensor_read(onnx_file *f, const Onnx__TensorProto *t, cr_tensor *out, error *e)
{
    char buffer[32];
    const unsigned char *bytes;
    size_t n;
    *out = (cr_tensor){.name = t->name ? t->name : ""};
    if (!onnx_type_of(t->data_type, &out->type)) {
        err_set(e, CR_EUNSUPPORTED, "tensor `%s` is of %s: it has no numbers to differentiate", out->name,
                onnx_data_type_name(t->data_type, buffer));
        return CR_EUNSUPPORTED;
    }
    if (t->segment) {
        err_set(e, CR_EUNSUPPORTED, "tensor `%s` is stored in segments", out->name);
        return CR_EUNSUPPORTED;
    }
    if (t->n_dims > CR_MAX_RANK) {
        err_set(e, CR_ELIMIT, "tensor `%s` has %zu axes; %d are possible", out->name, t->n_dims, CR_MAX_RANK);
        return CR_ELIMIT;
    }
    out->rank = (unsigned)t->n_dims;
    if (out->rank) memcpy(out->dim, t->dims, out->rank * sizeof *t->dims);
    if (!data_product(out->rank, out->dim, cr_type_size(out->type), &out->count)) {
        err_set(e, CR_EVALUE, "tensor `%s` has a size that is negative or too large", out->name);
        return CR_EVALUE;
    }
    cr_status status = onnx_file_bytes(f, t, &bytes, &n, e);
    if (status != CR_OK) return status;
    if (!bytes && typed_count(t, out->type) != out->count) {
        err_set(e, CR_EVALUE, "tensor `%s` has %zu numbers of %s, and its shape asks for %zu", out->name,
                typed_count(t, out->type), cr_type_name(out->type), out->count);
        return CR_EVALUE;
    }
    /* Sizes are checked against the bytes that are there before memory is asked for. */
    if (bytes && n != out->count * cr_type_size(out->type)) return copy_raw(f, bytes, n, out, NULL, e);
    void *data = mem_alloc(out->count * cr_type_size(out->type));
    if (!data) {
        err_set(e, CR_ENOMEM, "out of memory");
        return CR_ENOMEM;
    }
    if (bytes) {
        status = copy_raw(f, bytes, n, out, data, e);
    } else {
        for (size_t i = 0; i < out->count; i++) typed_copy(t, out->type, i, data);
    }
    out->data = data;
    return status;
}
