/* The attributes that operators of ONNX have, in any version. What a file says beyond that, or in another type, has a
 * meaning that is not known here: it is refused, not passed over. */
#include "onnx/importer.h"

#include <string.h>

/* name:types, each a letter: i integer, f float, s text, t tensor, p sparse tensor, g graph; lists of them in capitals.
 * Operators that are not listed have none. The first versions of many had `consumed_inputs` besides. */
static const struct {
    const char *op, *attributes;
} known[] = {
    {"Add", "axis:i broadcast:i"},
    {"And", "axis:i broadcast:i"},
    {"ArgMax", "axis:i keepdims:i select_last_index:i"},
    {"ArgMin", "axis:i keepdims:i select_last_index:i"},
    {"Attention", "is_causal:i kv_num_heads:i q_num_heads:i qk_matmul_output_mode:i scale:f softcap:f"
     " softmax_precision:i"},
    {"AveragePool", "auto_pad:s ceil_mode:i count_include_pad:i dilations:I kernel_shape:I pads:I strides:I"},
    {"BatchNormalization", "epsilon:f is_test:i momentum:f spatial:i training_mode:i"},
    {"BitShift", "direction:s"},
    {"Cast", "round_mode:s saturate:i to:is"},
    {"CastLike", "round_mode:s saturate:i"},
    {"Celu", "alpha:f"},
    {"Clip", "max:f min:f"},
    {"Compress", "axis:i"},
    {"Concat", "axis:i"},
    {"ConcatFromSequence", "axis:i new_axis:i"},
    {"Constant", "sparse_value:p value:t value_float:f value_floats:F value_int:i value_ints:I value_string:s"
     " value_strings:S"},
    {"ConstantOfShape", "value:t"},
    {"Conv", "auto_pad:s dilations:I group:i kernel_shape:I pads:I strides:I"},
    {"ConvTranspose", "auto_pad:s dilations:I group:i kernel_shape:I output_padding:I output_shape:I pads:I"
     " strides:I"},
    {"CumSum", "exclusive:i reverse:i"},
    {"DepthToSpace", "blocksize:i mode:s"},
    {"Div", "axis:i broadcast:i"},
    {"Dropout", "is_test:i ratio:f seed:i"},
    {"Einsum", "equation:s"},
    {"Elu", "alpha:f"},
    {"Equal", "axis:i broadcast:i"},
    {"EyeLike", "dtype:i k:i"},
    {"Flatten", "axis:i"},
    {"GRU", "activation_alpha:F activation_beta:F activations:S clip:f direction:s hidden_size:i layout:i"
     " linear_before_reset:i output_sequence:i"},
    {"Gather", "axis:i"},
    {"GatherElements", "axis:i"},
    {"GatherND", "batch_dims:i"},
    {"Gelu", "approximate:s"},
    {"Gemm", "alpha:f beta:f broadcast:i transA:i transB:i"},
    {"GlobalLpPool", "p:fi"},
    {"Greater", "axis:i broadcast:i"},
    {"GroupNormalization", "epsilon:f num_groups:i stash_type:i"},
    {"HardSigmoid", "alpha:f beta:f"},
    {"Hardmax", "axis:i"},
    {"If", "else_branch:g then_branch:g"},
    {"InstanceNormalization", "epsilon:f"},
    {"IsInf", "detect_negative:i detect_positive:i"},
    {"LRN", "alpha:f beta:f bias:f size:i"},
    {"LSTM", "activation_alpha:F activation_beta:F activations:S clip:f direction:s hidden_size:i input_forget:i"
     " layout:i output_sequence:i"},
    {"LayerNormalization", "axis:i epsilon:f stash_type:i"},
    {"LeakyRelu", "alpha:f"},
    {"Less", "axis:i broadcast:i"},
    {"LogSoftmax", "axis:i"},
    {"Loop", "body:g"},
    {"LpNormalization", "axis:i p:i"},
    {"LpPool", "auto_pad:s ceil_mode:i dilations:I kernel_shape:I p:fi pads:I strides:I"},
    {"MaxPool", "auto_pad:s ceil_mode:i dilations:I kernel_shape:I pads:I storage_order:i strides:I"},
    {"MeanVarianceNormalization", "axes:I"},
    {"Mod", "fmod:i"},
    {"Mul", "axis:i broadcast:i"},
    {"NegativeLogLikelihoodLoss", "ignore_index:i reduction:s"},
    {"OneHot", "axis:i"},
    {"Or", "axis:i broadcast:i"},
    {"Pad", "mode:s paddings:I pads:I value:f"},
    {"Pow", "axis:i broadcast:i"},
    {"RMSNormalization", "axis:i epsilon:f stash_type:i"},
    {"RNN", "activation_alpha:F activation_beta:F activations:S clip:f direction:s hidden_size:i layout:i"
     " output_sequence:i"},
    {"ReduceL1", "axes:I keepdims:i noop_with_empty_axes:i"},
    {"ReduceL2", "axes:I keepdims:i noop_with_empty_axes:i"},
    {"ReduceLogSum", "axes:I keepdims:i noop_with_empty_axes:i"},
    {"ReduceLogSumExp", "axes:I keepdims:i noop_with_empty_axes:i"},
    {"ReduceMax", "axes:I keepdims:i noop_with_empty_axes:i"},
    {"ReduceMean", "axes:I keepdims:i noop_with_empty_axes:i"},
    {"ReduceMin", "axes:I keepdims:i noop_with_empty_axes:i"},
    {"ReduceProd", "axes:I keepdims:i noop_with_empty_axes:i"},
    {"ReduceSum", "axes:I keepdims:i noop_with_empty_axes:i"},
    {"ReduceSumSquare", "axes:I keepdims:i noop_with_empty_axes:i"},
    {"Reshape", "allowzero:i shape:I"},
    {"Resize", "antialias:i axes:I coordinate_transformation_mode:s cubic_coeff_a:f exclude_outside:i"
     " extrapolation_value:f keep_aspect_ratio_policy:s mode:s nearest_mode:s"},
    {"ReverseSequence", "batch_axis:i time_axis:i"},
    {"Scan", "body:g directions:I num_scan_inputs:i scan_input_axes:I scan_input_directions:I scan_output_axes:I"
     " scan_output_directions:I"},
    {"Scatter", "axis:i"},
    {"ScatterElements", "axis:i reduction:s"},
    {"ScatterND", "reduction:s"},
    {"Selu", "alpha:f gamma:f"},
    {"Shape", "end:i start:i"},
    {"Shrink", "bias:f lambd:f"},
    {"Slice", "axes:I ends:I starts:I"},
    {"Softmax", "axis:i"},
    {"SoftmaxCrossEntropyLoss", "ignore_index:i reduction:s"},
    {"SpaceToDepth", "blocksize:i"},
    {"Split", "axis:i num_outputs:i split:I"},
    {"SplitToSequence", "axis:i keepdims:i"},
    {"Squeeze", "axes:I"},
    {"Sub", "axis:i broadcast:i"},
    {"ThresholdedRelu", "alpha:f"},
    {"TopK", "axis:i k:i largest:i sorted:i"},
    {"Transpose", "perm:I"},
    {"Trilu", "upper:i"},
    {"Unsqueeze", "axes:I"},
    {"Upsample", "height_scale:f mode:s scales:F width_scale:f"},
    {"Xor", "axis:i broadcast:i"},
};

static const struct {
    char letter;
    const char *name;
} types[] = {
    [ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT] = {'f', "a float"},
    [ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT] = {'i', "an integer"},
    [ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING] = {'s', "a text"},
    [ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR] = {'t', "a tensor"},
    [ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH] = {'g', "a graph"},
    [ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS] = {'F', "a list of floats"},
    [ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS] = {'I', "a list of integers"},
    [ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS] = {'S', "a list of texts"},
    [ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__SPARSE_TENSOR] = {'p', "a sparse tensor"},
};
enum { N_TYPES = sizeof types / sizeof *types };

/* The letters of the types that the attribute may have; NULL: the operator has none of that name. */
static const char *types_of(const char *op, const char *name)
{
    size_t n = strlen(name);
    if (strcmp(name, "consumed_inputs") == 0) return "I";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].op, op) != 0) continue;
        for (const char *s = known[i].attributes; *s; s += strcspn(s, " "), s += *s == ' ') {
            if (strncmp(s, name, n) == 0 && s[n] == ':') return s + n + 1;
        }
    }
    return NULL;
}

bool onnx_check_attributes(onnx_importer *im, const Onnx__NodeProto *node)
{
    for (size_t i = 0; i < node->n_attribute; i++) {
        const Onnx__AttributeProto *a = node->attribute[i];
        const char *name = a->name ? a->name : "", *allowed = types_of(node->op_type, name);
        if (!allowed) {
            return onnx_import_fail(im, CR_EUNSUPPORTED, "%s \"%s\": its attribute `%s` is none that the operator has",
                                    node->op_type, onnx_node_name(node), name);
        }
        if (!a->has_type || a->type == 0) continue; /* the oldest files do not say */
        const char letter = a->type > 0 && (unsigned)a->type < N_TYPES ? types[a->type].letter : '\0';
        if (letter && memchr(allowed, letter, strcspn(allowed, " "))) continue;
        const char *want = "something else";
        for (size_t t = 0; t < N_TYPES; t++) {
            if (types[t].letter == *allowed) want = types[t].name;
        }
        return onnx_import_fail(im, CR_EVALUE, "%s \"%s\": its attribute `%s` is %s, and has to be %s", node->op_type,
                                onnx_node_name(node), name, letter ? types[a->type].name : "of another type", want);
    }
    return true;
}
