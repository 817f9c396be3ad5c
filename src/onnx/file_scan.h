/* The bytes of a model against the schema. For file.c and file_edit.c. */
#ifndef CR_ONNX_FILE_SCAN_H
#define CR_ONNX_FILE_SCAN_H

#include "onnx/file.h"

/* A field of a message: its bytes from the tag on, and those of its content if it has a length. */
typedef struct scan_field {
    uint32_t number, wire;
    size_t start, content, end; /* offsets in the file */
} scan_field;

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

/* The field at offset `at` of a message that ends at `end`; false: its bytes are broken. */
bool scan_next(const unsigned char *bytes, size_t at, size_t end, scan_field *f);
bool scan_varint(const unsigned char *bytes, size_t *at, size_t end, uint64_t *v);
void scan_put_varint(strbuf *b, uint64_t v);

/* Checks all of a model and writes what protobuf-c shall unpack: the same messages, in which every raw_data that is not
 * empty is 8 bytes, the number of its place in the list, little-endian. */
typedef struct scan_raw {
    size_t at, n;
} scan_raw;
typedef struct scan_raws {
    scan_raw *of;
    size_t n, cap;
} scan_raws;
cr_status scan_model(const char *path, const unsigned char *bytes, size_t n, strbuf *skeleton, scan_raws *raws,
                     error *e);

/* Number of a field of the model or of its graph; 0: there is none of that name. */
uint32_t scan_field_number(onnx_level level, const char *name);

#endif
