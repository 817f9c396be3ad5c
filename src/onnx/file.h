/* Room onnx, lowest layer: an ONNX file as bytes; what a graph means is said above.
 *
 *     file_scan.c      the bytes against the schema, before anything is unpacked
 *     file.c           mapping a file; unpacking its messages around the numbers, which stay where they lie
 *     file_external.c  numbers in files of their own
 *     file_tensor.c    a TensorProto as type, sizes and numbers
 *     file_edit.c      writing: the same bytes with pieces replaced
 *
 * Messages are protobuf-c's structs, generated from Debian's onnx.proto while building (Onnx__NodeProto, ...). Fields
 * that the schema does not know, those of later versions, are kept in unknown_fields.
 *
 * A file that is mapped is read as it is used. If another program shortens it meanwhile, the system ends ours (SIGBUS);
 * programs that replace a file by renaming, as this one does, do no harm. */
#ifndef CR_ONNX_FILE_H
#define CR_ONNX_FILE_H

#include "data/data.h"

#include "onnx.pb-c.h"

/* Messages within messages, the model being the first. */
enum { ONNX_MAX_NESTING = 100 };

/* ---- reading ---------------------------------------------------------------------------------- */

typedef struct onnx_file onnx_file;

typedef struct onnx_file_options {
    bool allow_links; /* external data may be reached by symbolic links that lead out of the model's folder (model
                         caches) */
    size_t limit;     /* bytes that may come through a pipe; 0: 4 GiB */
} onnx_file_options;

/* Opens a model ("-": standard input), checks its bytes and unpacks its messages. Then it has a graph, and every node
 * an operator; strings are UTF-8 without zero bytes. options may be NULL. *f is the caller's. CR_EIO (cannot be read),
 * CR_ESYNTAX (not an ONNX file, with the byte and the message: "m.onnx: byte 812, in graph.node[3].attribute: ..."),
 * CR_ELIMIT (nesting, size), CR_ENOMEM. */
cr_status onnx_file_open(const char *path, const onnx_file_options *options, onnx_file **f, error *e);
/* The same of n bytes in memory, which are not copied and outlive the file. path is its name in messages, and its
 * folder is where external data are looked for. */
cr_status onnx_file_of_bytes(const char *path, const void *bytes, size_t n, const onnx_file_options *options,
                             onnx_file **f, error *e);
void onnx_file_free(onnx_file *f); /* with all that it gave out; NULL is allowed */

const char *onnx_file_path(const onnx_file *f); /* as opened */

/* Everything in it belongs to the file. Of a TensorProto, raw_data points at the bytes in the mapped file (read-only,
 * aligned to nothing): only they are not copied by unpacking. A name that may be missing and is, is "". */
const Onnx__ModelProto *onnx_file_model(const onnx_file *f);

/* Where the numbers of a tensor of this file lie as little-endian bytes: in raw_data or in an external file, which is
 * opened. *bytes is NULL if they are in a typed field, or there are none. Errors as for onnx_tensor_read. */
cr_status onnx_file_bytes(onnx_file *f, const Onnx__TensorProto *t, const unsigned char **bytes, size_t *n, error *e);
/* Gives memory of whole pages within these bytes of a mapped file back to the system; they can be read again. */
void onnx_file_release(onnx_file *f, const unsigned char *bytes, size_t n);

/* ---- tensors ---------------------------------------------------------------------------------- */

/* TensorProto.DataType to a type; false for string, complex and unknown ones. */
bool onnx_type_of(int data_type, cr_type *t);
/* Name of any TensorProto.DataType: "float32", "string", "type 23". The buffer is for the last kind. */
const char *onnx_data_type_name(int data_type, char buffer[32]);

/* A tensor of f, or one with its numbers in memory. The numbers are copied once; what was read of a mapped file is
 * given back on the way; out->data is the caller's (mem_free), out->name the message's. CR_EUNSUPPORTED (strings,
 * complex numbers, segments, rank), CR_EVALUE (numbers that are not as many as the sizes say, are missing, or stand in
 * the wrong field), CR_EIO (external data), CR_ELIMIT, CR_ENOMEM. */
cr_status onnx_tensor_read(onnx_file *f, const Onnx__TensorProto *t, cr_tensor *out, error *e);

/* ---- writing ---------------------------------------------------------------------------------- */

/* Changes of a file, gathered and then written as one. Bytes that no change names are copied as they are, fields of
 * unknown meaning and the order of all of them included. A place is a field of the model or of its graph, by its name
 * in the schema, and the number of its element in the file as it was read: earlier changes do not shift it. */
typedef struct onnx_edit onnx_edit;
typedef enum onnx_level { ONNX_MODEL, ONNX_GRAPH } onnx_level;

onnx_edit *onnx_edit_new(const onnx_file *f, error *e); /* f outlives it */
void onnx_edit_free(onnx_edit *d);

/* How many elements of the field the file has. */
size_t onnx_file_count(const onnx_file *f, onnx_level level, const char *field);

/* The message is packed at once: it need not outlive the call. `field` holds messages of that kind: "node",
 * "initializer", "input", "output", "value_info" of the graph; "opset_import", "metadata_props", "functions" of the
 * model. Inserting: in front of element k, or behind the last one (k the number of elements); several at one place stay
 * in the order of the calls. CR_EARG: no such field or element, another kind of message, or an element changed twice;
 * CR_EUNSUPPORTED: a tensor within was read with numbers left out. */
cr_status onnx_edit_replace(onnx_edit *d, onnx_level level, const char *field, size_t k, const void *message, error *e);
cr_status onnx_edit_insert(onnx_edit *d, onnx_level level, const char *field, size_t k, const void *message, error *e);
cr_status onnx_edit_remove(onnx_edit *d, onnx_level level, const char *field, size_t k, error *e);
/* Gives initialiser k of the graph other numbers, n little-endian bytes, which outlive the edit: they are not copied.
 * All else of it stays: name, type, sizes, text, unknown fields. */
cr_status onnx_edit_numbers(onnx_edit *d, size_t k, const void *bytes, size_t n, error *e);
/* Sets a field that is a text (producer_name, doc_string, ...) or a number (ir_version, model_version). */
cr_status onnx_edit_text(onnx_edit *d, onnx_level level, const char *field, const char *text, error *e);
cr_status onnx_edit_integer(onnx_edit *d, onnx_level level, const char *field, int64_t value, error *e);

/* Writes the file, whole or not at all; it may be the one that was read. External data that it still refers to stay
 * where they are if path is in the same folder, else they are copied into the same place beside path; a file that is
 * there already and differs is an error. */
cr_status onnx_edit_write(onnx_edit *d, const char *path, error *e);

#endif
