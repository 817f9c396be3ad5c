/* The tables of operators, one for each file ops_*.c; the last entry has no name. */
#ifndef CR_ONNX_OPS_H
#define CR_ONNX_OPS_H

#include "onnx/import.h"

#define OP(op, function)                                                                                               \
    {                                                                                                                  \
        .name = op, .build = function                                                                                  \
    }
#define OP_ARG(op, function, value)                                                                                    \
    {                                                                                                                  \
        .name = op, .build = function, .arg = value                                                                    \
    }
/* Of another operator set than ONNX's. */
#define OP_OF(set, op, function, value)                                                                                \
    {                                                                                                                  \
        .name = op, .build = function, .arg = value, .domain = set                                                     \
    }

extern const onnx_op onnx_ops_constant[];
extern const onnx_op onnx_ops_control[];
extern const onnx_op onnx_ops_elementwise[];
extern const onnx_op onnx_ops_index[];
extern const onnx_op onnx_ops_layout[];
extern const onnx_op onnx_ops_loss[];
extern const onnx_op onnx_ops_norm[];
extern const onnx_op onnx_ops_product[];
extern const onnx_op onnx_ops_recurrent[];
extern const onnx_op onnx_ops_reduce[];
extern const onnx_op onnx_ops_resize[];
extern const onnx_op onnx_ops_scatter[];
extern const onnx_op onnx_ops_sequence[];
extern const onnx_op onnx_ops_window[];

#endif
