/* Files as read-only memory. For file.c and file_external.c. */
#ifndef CR_ONNX_FILE_MAP_H
#define CR_ONNX_FILE_MAP_H

#include "onnx/file_scan.h"

typedef struct map {
    const unsigned char *bytes;
    size_t n;
    bool mapped; /* else the memory is ours (mem_alloc) */
} map;

cr_status map_open(const char *path, map *m, error *e);
void map_close(map *m);

/* A file of external data, open as long as the model. */
typedef struct external {
    char *location;
    map map;
} external;

struct onnx_file {
    char *path;
    map map;
    bool foreign; /* the bytes are somebody else's */
    onnx_file_options options;
    Onnx__ModelProto *model;
    arena mem; /* of the unpacked messages */
    external *external;
    size_t n_external, external_cap;
};

/* The bytes of a tensor with external_data. */
cr_status external_bytes(onnx_file *f, const Onnx__TensorProto *t, const unsigned char **bytes, size_t *n, error *e);
/* The value of a key of external_data; NULL: missing. */
const char *external_key(const Onnx__TensorProto *t, const char *key);
/* Path of a file of external data beside a model; the caller's (mem_free). NULL with an error: it leads out of there.
 */
char *external_path(const char *model, const char *location, error *e);

#endif
