#include "flow/flow.h"

#include <string.h>

static const char *const names[] = {"slope", "weight", "norm", "skip", "rest"};
const char *flow_factor_name(flow_factor f) { return names[f]; }

#define ACTIVATION(n, relu, sup)                                                                                       \
    {                                                                                                                  \
        n, FLOW_SLOPE, false, relu, sup                                                                                \
    }
#define AFFINE(n)                                                                                                      \
    {                                                                                                                  \
        n, FLOW_WEIGHT, true, false, 0                                                                                 \
    }
#define NORM(n)                                                                                                        \
    {                                                                                                                  \
        n, FLOW_NORM, false, false, 0                                                                                  \
    }
static const flow_op ops[] = {
    ACTIVATION("Relu", true, 0),
    ACTIVATION("LeakyRelu", false, 0),
    ACTIVATION("PRelu", false, 0),
    ACTIVATION("ThresholdedRelu", true, 0),
    ACTIVATION("Clip", true, 0),
    ACTIVATION("Elu", false, 0),
    ACTIVATION("Selu", false, 0),
    ACTIVATION("Celu", false, 0),
    ACTIVATION("Gelu", false, 0),
    ACTIVATION("Silu", false, 0),
    ACTIVATION("Mish", false, 0),
    ACTIVATION("Softplus", false, 0),
    ACTIVATION("HardSwish", false, 0),
    ACTIVATION("Sigmoid", false, 0.25),
    ACTIVATION("HardSigmoid", false, 0.2),
    ACTIVATION("Tanh", false, 1),
    ACTIVATION("Softsign", false, 1),
    ACTIVATION("Erf", false, 1.1283791670955126),
    ACTIVATION("Exp", false, 0),
    ACTIVATION("Log", false, 0),
    ACTIVATION("Sqrt", false, 0),
    ACTIVATION("Pow", false, 0),
    ACTIVATION("Abs", false, 0),
    ACTIVATION("Sin", false, 0),
    ACTIVATION("Cos", false, 0),
    ACTIVATION("Call", false, 0), /* a function of the user */
    AFFINE("Gemm"),
    AFFINE("Conv"),
    AFFINE("ConvTranspose"),
    AFFINE("MatMul"), /* by a parameter: signal.c looks */
    AFFINE("Einsum"),
    AFFINE("RNN"),
    AFFINE("LSTM"),
    AFFINE("GRU"),
    AFFINE("Mul"), /* by a parameter: a number for all */
    NORM("BatchNormalization"),
    NORM("LayerNormalization"),
    NORM("InstanceNormalization"),
    NORM("GroupNormalization"),
    NORM("RMSNormalization"),
    NORM("LpNormalization"),
    NORM("MeanVarianceNormalization"),
    NORM("LRN"),
    {"Concat", FLOW_SKIP, false, false, 0},
    {"Split", FLOW_SKIP, false, false, 0},
    {"", FLOW_REST, false, false, 0},
};

const flow_op *flow_op_of(const char *name)
{
    const flow_op *op = ops;
    while (*op->name && strcmp(op->name, name) != 0) op++;
    return op;
}
