/* The table of operators, put together from the tables of the files. */
#include "onnx/ops.h"

#include <string.h>

static const onnx_op *const tables[] = {
    onnx_ops_attention, onnx_ops_constant, onnx_ops_control, onnx_ops_elementwise, onnx_ops_index,
    onnx_ops_layout,    onnx_ops_loss,     onnx_ops_norm,    onnx_ops_product,     onnx_ops_recurrent,
    onnx_ops_reduce,    onnx_ops_resize,   onnx_ops_scatter, onnx_ops_sequence,    onnx_ops_window,
};

const onnx_op *onnx_find_op(const char *domain, const char *name)
{
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
        for (const onnx_op *op = tables[t]; op->name; op++) {
            if (strcmp(op->name, name) == 0 && strcmp(op->domain ? op->domain : "", domain) == 0) return op;
        }
    }
    return NULL;
}
