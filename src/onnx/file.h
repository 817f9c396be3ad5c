#ifndef CR_ONNX_FILE_H
#define CR_ONNX_FILE_H
#include "data/data.h"
#include "onnx.pb-c.h"
typedef struct onnx_file onnx_file;
typedef struct onnx_file_options {
    bool allow_links;
} onnx_file_options;
cr_status onnx_file_open(const char *path, const onnx_file_options *o, onnx_file **f, error *e);
void onnx_file_free(onnx_file *f);
const Onnx__ModelProto *onnx_file_model(const onnx_file *f);
bool onnx_type_of(int elem_type, cr_type *t);
cr_status onnx_tensor_read(onnx_file *f, const Onnx__TensorProto *t, cr_tensor *out, error *e);
#endif
