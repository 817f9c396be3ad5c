/* A model of ONNX: what protobuf-c read, checked, with its tensors. */
#ifndef CR_ONNX_MODEL_H
#define CR_ONNX_MODEL_H

#include "data/data.h"
#include "onnx/file.h"

typedef struct onnx_model {
    onnx_file *file;
    const Onnx__ModelProto *proto;
    struct onnx_cached {
        const Onnx__TensorProto *key;
        cr_tensor tensor;
    } * cache; /* open addressing by address */
    size_t n_cached, cache_cap;
} onnx_model;

/* *m is the caller's. */
cr_status onnx_model_open(const char *path, const onnx_file_options *o, onnx_model **m, error *e);
/* The same of bytes in memory, which outlive the model. */
cr_status onnx_model_of_bytes(const char *path, const void *bytes, size_t n, onnx_model **m, error *e);
void onnx_model_free(onnx_model *m);

/* The numbers of a tensor of this model, read on first asking, owned by the model; its name is the file's. */
cr_status onnx_model_tensor(onnx_model *m, const Onnx__TensorProto *t, cr_tensor *out, error *e);
/* Version of an operator set ("" or "ai.onnx": ONNX's own); 0: the model does not import it. */
int64_t onnx_model_version(const onnx_model *m, const char *domain);
const Onnx__FunctionProto *onnx_model_function(const onnx_model *m, const char *domain, const char *name);
/* A domain as it is compared: ONNX's own is "". */
const char *onnx_domain(const char *domain);

const Onnx__TensorProto *onnx_initializer(const Onnx__GraphProto *g, const char *name); /* NULL: none */
/* Inputs that are fed: those that no initializer has a value for (before IR 4 both lists have it). */
bool onnx_is_fed(const Onnx__GraphProto *g, const Onnx__ValueInfoProto *input);

/* Calls fn for every name that a node reads, those in its bodies included; false: fn said so. */
typedef bool onnx_each_name(void *user, const char *name);
bool onnx_names_read(const Onnx__NodeProto *node, onnx_each_name *fn, void *user);

const Onnx__TypeProto__Tensor *onnx_tensor_type(const Onnx__ValueInfoProto *v); /* NULL: it is no tensor */
/* `N x 1 x 28 x 28`, as the model declares it; ? for a size without a name */
void onnx_print_shape(strbuf *b, const Onnx__ValueInfoProto *v);

/* The nodes that are needed for the values `wanted`, in an order in which they can be computed: as in the file where
 * that is one. Errors: two nodes that make one value, a circle, with names. *order is the caller's (mem_free). */
cr_status onnx_order(size_t n_nodes, Onnx__NodeProto *const *node, size_t n_wanted, const char *const *wanted,
                     size_t **order, size_t *n_order, error *e);

#endif
