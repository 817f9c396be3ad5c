"""Models written with onnx.helper, and their formulas with torch's functions: what no exporter of PyTorch writes."""
import numpy as np
import torch
from torch.nn import functional as F

from graph_build import Graph, check, float_names
from reference import Case

F32, I64 = np.float32, np.int64


def batch_norm(x, scale, bias, mean, var, epsilon=1e-5):
    """torch's own is not differentiable by mean and variance."""
    scale, bias, mean, var = (t.reshape(1, -1, 1, 1) for t in (scale, bias, mean, var))
    return (x - mean) / torch.sqrt(var + epsilon) * scale + bias


def case(name, note, wave, model, inputs, loss, answer, forward, names=None, **more):
    return Case(name, note, wave, "onnx.helper", check(model), inputs, loss, answer, forward,
                float_names(model) if names is None else names, **more)


def keras_nhwc():
    """As tf2onnx writes a Keras model: NHWC everywhere but around the operators that want NCHW."""
    g = Graph(1)
    prefix = "model/"
    w = g.param(prefix + "conv2d/Conv2D/ReadVariableOp:0", 6, 3, 3, 3)
    bias = g.param(prefix + "conv2d/BiasAdd/ReadVariableOp:0", 6)
    depth = g.param(prefix + "depthwise_conv2d/depthwise/ReadVariableOp:0", 6, 1, 3, 3)
    bn = [g.param(prefix + "batch_normalization/" + n, 6, scale=0.3, shift=s)
          for n, s in (("gamma", 1), ("beta", 0), ("moving_mean", 0))]
    bn.append(g.tensor(prefix + "batch_normalization/moving_variance", 0.5 + g.rng.random(6).astype(F32)))
    dense = g.param(prefix + "dense/MatMul/ReadVariableOp:0", 24, 4, scale=0.3)
    last = g.param(prefix + "dense/BiasAdd/ReadVariableOp:0", 4)
    shape = g.ints("const_fold_opt__7", -1, 24)

    def channels_first(op, x, *more, **attributes):
        x = g.node("Transpose", x, perm=[0, 3, 1, 2])
        return g.node("Transpose", g.node(op, x, *more, **attributes), perm=[0, 2, 3, 1])

    x = channels_first("Conv", "input_1", w, auto_pad="SAME_UPPER", strides=[2, 2], kernel_shape=[3, 3])
    x = g.node("Relu", g.node("Add", x, bias))
    x = channels_first("Conv", x, depth, auto_pad="SAME_LOWER", group=6, kernel_shape=[3, 3])
    x = g.node("Relu", channels_first("BatchNormalization", x, *bn, epsilon=1e-3))
    x = channels_first("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], auto_pad="VALID")
    g.node("Add", g.node("MatMul", g.node("Reshape", x, shape), dense), last, outputs="dense")
    model = g.model(15, 8, [("input_1", F32, ["unk__21", 9, 8, 3])], [("dense", F32, ["unk__22", 4])],
                    producer="tf2onnx style")

    def forward(p, x):
        x = F.pad(x["input_1"].permute(0, 3, 1, 2), (0, 1, 1, 1))
        x = F.relu(F.conv2d(x, p[w], p[bias], stride=2))
        x = F.conv2d(x, p[depth], padding=1, groups=6)
        x = F.relu(batch_norm(x, *(p[n] for n in bn), 1e-3))
        x = F.max_pool2d(x, 2).permute(0, 2, 3, 1)
        return {"dense": x.reshape(-1, 24) @ p[dense] + p[last]}

    return case("keras_nhwc",
                "Keras style: NHWC, Transpose around Conv, SAME_UPPER with uneven pads, bias by Add, names"
                " with slashes and colons, symbolic batch", 1, model, {"input_1": g.values(3, 9, 8, 3)},
                "softmax_cross_entropy", np.array([0, 3, 1]), forward)


def opset9_ir3():
    """The old spellings: attributes where inputs are now, initialisers among the inputs."""
    g = Graph(2)
    w, b = g.param("conv.weight", 6, 2, 3, 3), g.param("conv.bias", 6)
    bn = [g.param(n, 6, scale=0.3, shift=s) for n, s in (("bn.weight", 1), ("bn.bias", 0), ("bn.running_mean", 0))]
    bn.append(g.tensor("bn.running_var", 0.5 + g.rng.random(6).astype(F32)))
    alpha, fw, fb = g.param("prelu.slope", 6, 1, 1), g.param("fc.weight", 5, 15), g.param("fc.bias", 5)
    x = g.node("Conv", "x", w, b, pads=[1, 1, 1, 1])
    x = g.node("Clip", g.node("BatchNormalization", x, *bn), min=-1.5, max=1.5)
    x = g.node("PRelu", x, alpha)
    x = g.node("Pad", x, pads=[0, 0, 1, 0, 0, 0, 0, 2], value=0.5)
    x = g.node("Slice", x, axes=[2, 3], starts=[1, -6], ends=[100, -1])
    first, second, third = g.node("Split", x, outputs=3, axis=1, split=[2, 3, 1])
    third = g.node("Unsqueeze", g.node("Squeeze", third, axes=[1]), axes=[1])
    x = g.node("Mul", second, g.node("Softmax", third, axis=1))
    x = g.node("Dropout", x, ratio=0.4)
    x = g.node("ReduceMean", x, axes=[2], keepdims=0)
    first = g.node("ReduceSum", first, axes=[1, 2, 3], keepdims=1)
    x = g.node("Flatten", g.node("Sum", x, g.node("Squeeze", first, axes=[3])))
    g.node("Gemm", x, fw, fb, transB=1, alpha=0.5, beta=2.0, outputs="y")
    model = g.model(9, 3, [("x", F32, [3, 2, 6, 5])], [("y", F32, [3, 5])], as_inputs=True)

    def forward(p, x):
        x = F.conv2d(x["x"], p[w], p[b], padding=1)
        x = batch_norm(x, *(p[n] for n in bn)).clamp(-1.5, 1.5)
        x = torch.where(x < 0, p[alpha] * x, x)
        x = F.pad(x, (0, 2, 1, 0), value=0.5)[:, :, 1:, -6:-1]
        first, second, third = x[:, :2], x[:, 2:5], x[:, 5:]
        x = second * F.softmax(third.reshape(3, -1), 1).reshape(third.shape)
        x = x.mean(2) + first.sum((1, 2, 3), keepdim=True).squeeze(3)
        return {"y": 0.5 * x.flatten(1) @ p[fw].T + 2 * p[fb]}

    return case("opset9_ir3", "opset 9, IR 3: attributes for axes, pads and bounds, Softmax over all behind its axis,"
                " initialisers listed as inputs", 1, model, {"x": g.values(3, 2, 6, 5)}, "softmax_cross_entropy",
                np.array([4, 0, 2]), forward)


def opset18_forms():
    g = Graph(3)
    w = g.param("conv.weight", 8, 3, 3, 3)
    scale, shift = g.param("norm.scale", 8, scale=0.3, shift=1), g.param("norm.bias", 8)
    out, bias = g.param("head.weight", 8, 5), g.param("head.bias", 5)
    x = g.node("Conv", "x", w, pads=[1, 1, 1, 1])
    # GroupNormalization 18 (a scale for each group) was withdrawn, and the checker refuses it; 21 is in opset21_forms.
    x = g.node("Mish", g.node("InstanceNormalization", x, scale, shift, epsilon=1e-4))
    x = g.node("Resize", x, "", g.tensor("scales", np.array([2, 1.5], F32)), axes=[2, 3], mode="linear",
               coordinate_transformation_mode="half_pixel")
    x = g.node("Pad", x, g.ints("pads", 1, 2), "", g.ints("pad_axis", 3), mode="reflect")
    a, b, c = g.node("Split", x, outputs=3, axis=1, num_outputs=3)
    a = g.node("ReduceMean", a, g.ints("axes_23", 2, 3), keepdims=0)
    b = g.node("ReduceL2", b, g.ints("axes_32", -1, -2), keepdims=0)
    c = g.node("ReduceLogSumExp", c, "axes_23", keepdims=0)
    x = g.node("Concat", a, b, c, axis=1)
    x = g.node("ReduceSum", g.node("Unsqueeze", x, g.ints("axis_1", 1)), g.tensor("none", np.zeros(0, I64)),
               noop_with_empty_axes=1)
    x = g.node("Squeeze", x, "axis_1")
    g.node("Add", g.node("MatMul", x, out), bias, outputs="y")
    model = g.model(18, 8, [("x", F32, [2, 3, 4, 6])], [("y", F32, [2, 5])])

    def forward(p, x):
        x = F.conv2d(x["x"], p[w], padding=1)
        x = F.mish(F.instance_norm(x, weight=p[scale], bias=p[shift], eps=1e-4))
        x = F.interpolate(x, size=(8, 9), mode="bilinear", align_corners=False)
        x = F.pad(x, (1, 2, 0, 0), mode="reflect")
        a, b, c = x.split([3, 3, 2], 1)
        x = torch.cat([a.mean((2, 3)), (b ** 2).sum((2, 3)).sqrt(), torch.logsumexp(c, (2, 3))], 1)
        return {"y": x @ p[out] + p[bias]}

    names = ["conv.weight", "norm.scale", "norm.bias", "head.weight", "head.bias"]
    return case("opset18_forms", "opset 18: axes as inputs, Mish, Resize and Pad"
                " with axes, uneven Split by num_outputs", 1, model, {"x": g.values(2, 3, 4, 6)},
                "softmax_cross_entropy", np.array([1, 4]), forward, names)


def opset21_forms():
    g = Graph(4)
    w = g.param("conv.weight", 6, 3, 2, 2)
    scale, shift = g.param("norm.scale", 6, scale=0.3, shift=1), g.param("norm.bias", 6)
    gain = g.param("layer.scale", 5, scale=0.3, shift=1)
    out = g.param("head.weight", 6, 4)
    x = g.node("Conv", "x", w)
    x = g.node("Gelu", g.node("GroupNormalization", x, scale, shift, num_groups=3), approximate="tanh")
    x = g.node("Gelu", g.node("LayerNormalization", x, gain, axis=-1))
    x = g.node("Resize", x, "", "", g.ints("sizes", 7, 3), axes=[3, 2], mode="nearest", nearest_mode="floor",
               coordinate_transformation_mode="asymmetric", keep_aspect_ratio_policy="stretch")
    x = g.node("Sub", x, g.node("ReduceMax", x, g.ints("axes", 2, 3)))
    x = g.node("Transpose", g.node("ReduceMean", x, "axes", keepdims=0), perm=[0, 1])
    g.node("MatMul", x, out, outputs="y")
    model = g.model(21, 10, [("x", F32, ["N", 3, 5, 6])], [("y", F32, ["N", 4])])

    def forward(p, x):
        x = F.gelu(F.group_norm(F.conv2d(x["x"], p[w]), 3, p[scale], p[shift]), approximate="tanh")
        x = F.gelu(F.layer_norm(x, (5,), p[gain]))
        x = x[:, :, [0, 1, 2]][:, :, :, [0, 0, 1, 2, 2, 3, 4]]
        return {"y": (x - x.amax((2, 3), keepdim=True)).mean((2, 3)) @ p[out]}

    return case("opset21_forms", "opset 21: GroupNormalization with a scale for each channel, Gelu both ways,"
                " LayerNormalization without bias, Resize by sizes with axes out of order", 1, model,
                {"x": g.values(3, 3, 5, 6)}, "mse", g.values(3, 4), forward)


def opset11_resize():
    g = Graph(5)
    w, out = g.param("weight", 4, 2, 3, 3), g.param("out", 4, 4, 1, 1)
    none = g.tensor("roi", np.zeros(0, F32))
    x = g.node("Conv", "x", w, pads=[1, 1, 1, 1])
    x = g.node("Resize", x, none, g.tensor("up", np.array([1, 1, 2, 2], F32)), mode="nearest",
               coordinate_transformation_mode="half_pixel", nearest_mode="round_prefer_ceil")
    x = g.node("Tanh", g.node("Conv", x, out))
    x = g.node("Resize", x, none, g.tensor("no_scales", np.zeros(0, F32)), g.ints("sizes", 2, 4, 5, 10), mode="linear",
               coordinate_transformation_mode="align_corners")
    x = g.node("DepthToSpace", x, blocksize=2, mode="CRD")
    g.node("Resize", x, none, g.tensor("bit", np.array([1, 1, 1.25, 0.75], F32)), mode="cubic", cubic_coeff_a=-0.75,
           coordinate_transformation_mode="half_pixel", outputs="y")
    model = g.model(11, 6, [("x", F32, [2, 2, 4, 5])], [("y", F32, [2, 1, 12, 15])])

    def forward(p, x):
        x = F.interpolate(F.conv2d(x["x"], p[w], padding=1), scale_factor=2, mode="nearest")
        x = F.interpolate(torch.tanh(F.conv2d(x, p[out])), size=(5, 10), mode="bilinear", align_corners=True)
        x = F.interpolate(F.pixel_shuffle(x, 2), scale_factor=(1.25, 0.75), mode="bicubic",
                          recompute_scale_factor=False)
        return {"y": x}

    return case("opset11_resize", "opset 11: Resize nearest, linear with align_corners, cubic with uneven scales;"
                " DepthToSpace CRD", 1, model, {"x": g.values(2, 2, 4, 5)}, "mse", g.values(2, 1, 12, 15), forward,
                ["weight", "out"], file_in_double=False)


def index_forms():
    """What transformers need besides products."""
    g = Graph(6)
    steps, width = 5, 6
    emb, wq, out = g.param("emb", 9, width, scale=1), g.param("wq", width, width), g.param("out", width, 4)
    bias, upd = g.param("bias", steps, steps), g.param("update", 2, width)
    x = g.node("Gather", emb, "ids")
    place = g.node("Cast", g.node("Range", g.tensor("from", np.array(0)), g.tensor("to", np.array(steps)),
                                  g.tensor("by", np.array(1))), to=1)
    angle = g.node("Mul", g.node("Unsqueeze", place, g.ints("last", -1)),
                   g.tensor("rate", np.array([1, 0.3, 0.1], F32)))
    a, b = g.node("Split", x, outputs=2, axis=-1)
    sin, cos = g.node("Sin", angle), g.node("Cos", angle)
    a, b = (g.node("Sub", g.node("Mul", a, cos), g.node("Mul", b, sin)),
            g.node("Add", g.node("Mul", a, sin), g.node("Mul", b, cos)))
    x = g.node("Concat", a, b, axis=-1)
    x = g.node("ScatterND", x, g.tensor("where", np.array([[0, 1], [1, 3]])), upd)
    q = g.node("MatMul", x, wq)
    s = g.node("Add", g.node("Einsum", q, x, equation="bik,bjk->bij"), g.node("Trilu", bias, upper=0))
    future = g.node("Trilu", g.tensor("ones", np.ones((steps, steps), F32)), g.tensor("k1", np.array(1)), upper=1)
    s = g.node("Where", g.node("Cast", future, to=9), g.tensor("minus", np.array(-np.inf, F32)), s)
    s = g.node("Softmax", s, axis=-1)
    s = g.node("Where", g.node("IsNaN", s), g.tensor("zero", np.array(0, F32)), s)
    x = g.node("CumSum", g.node("MatMul", s, x), g.tensor("axis", np.array(1)), exclusive=1, reverse=1)
    even = g.node("Equal", g.node("Mod", "ids", g.ints("two", 2)), g.ints("zero_i", 0))
    x = g.node("Where", g.node("Unsqueeze", even, "last"), x, g.node("Neg", x))
    x = g.node("Expand", g.node("Unsqueeze", x, g.ints("one", 1)), g.ints("twice", 1, 2, 1, 1))
    x = g.node("ReduceMean", g.node("Tile", x, g.ints("reps", 1, 1, 2, 1)), axes=[1], keepdims=0)
    x = g.node("GatherElements", x, "pick", axis=1)
    g.node("MatMul", g.node("ReduceSum", x, "one", keepdims=0), out, outputs="y")
    model = g.model(16, 8, [("ids", I64, [2, steps]), ("pick", I64, [2, 3, width])], [("y", F32, [2, 4])])

    def forward(p, x):
        ids = x["ids"]
        angle = torch.arange(steps, dtype=torch.float64).unsqueeze(1) * p["rate"]
        a, b = p[emb][ids].split(3, -1)
        v = torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)
        rows = torch.tensor([0, 1]), torch.tensor([1, 3])
        v = v.index_put(rows, p[upd])
        s = torch.einsum("bik,bjk->bij", v @ p[wq], v) + torch.tril(p[bias])
        s = s.masked_fill(torch.triu(torch.ones(steps, steps), 1).bool(), -torch.inf).softmax(-1)
        v = s @ v
        v = v.flip(1).cumsum(1).flip(1) - v
        v = torch.where((ids % 2 == 0).unsqueeze(-1), v, -v).repeat(1, 2, 1)
        return {"y": v.gather(1, x["pick"]).sum(1) @ p[out]}

    ids = g.rng.integers(0, 9, (2, steps))
    return case("index_forms",
                "Gather, ScatterND, GatherElements, Trilu, Einsum, CumSum, Mod, IsNaN, Where, Expand, Tile,"
                " Range, Sin and Cos; -inf in a mask", 2, model,
                {"ids": ids, "pick": g.rng.integers(0, 2 * steps, (2, 3, width))}, "softmax_cross_entropy",
                np.array([3, 1]), forward, ["emb", "wq", "out", "bias", "update"])


def nll_weighted():
    g = Graph(7)
    w, b, weight = g.param("w", 4, 6), g.param("b", 4), g.tensor("class_weight", np.array([1, 0.5, 2, 1.5], F32))
    x = g.node("LogSoftmax", g.node("Gemm", "x", w, b, transB=1), axis=-1)
    g.node("NegativeLogLikelihoodLoss", x, "labels", weight, reduction="mean", ignore_index=-1, outputs="loss")
    model = g.model(13, 7, [("x", F32, [7, 6]), ("labels", I64, [7])], [("loss", F32, [])])

    def forward(p, x):
        s = F.log_softmax(x["x"] @ p[w].T + p[b], 1)
        kept = x["labels"] >= 0
        at = x["labels"][kept]
        each = p[weight][at]
        return {"loss": -(each * s[kept, at]).sum() / each.sum()}

    return case("nll_weighted",
                "NegativeLogLikelihoodLoss in the graph, class weights and ignore_index; the class weights"
                " are an initialiser with a gradient", 1, model,
                {"x": g.values(7, 6), "labels": np.array([0, 3, -1, 2, 1, -1, 2])}, "output_is_loss", None, forward)


def tied_files():
    g = Graph(8)
    w, b = g.param("encoder.weight", 4, 6), g.param("encoder.bias", 4)
    tied, same = g.node("Identity", w, outputs="decoder.weight"), g.node("Identity", b, outputs="second.bias")
    x = g.node("Tanh", g.node("Gemm", "x", w, b, transB=1))
    x = g.node("Add", g.node("MatMul", x, g.tensor("eye", np.eye(4, dtype=F32))), g.node("Identity", same))
    g.node("Identity", g.node("Gemm", x, tied), outputs="y")
    model = g.model(13, 7, [("x", F32, [3, 6])], [("y", F32, [3, 6])])

    def forward(p, x):
        h = torch.tanh(x["x"] @ p[w].T + p[b])
        return {"y": (h @ p["eye"] + p[b]) @ p[w]}

    return case("tied_files",
                "an autoencoder whose decoder is the encoder's weight through Identity, a bias through two;"
                " the output an Identity; each initialiser in a file of its own, with neither offset nor length",
                1, model, {"x": g.values(3, 6)}, "mse", g.values(3, 6), forward, file_each=True)


CASES = [tied_files, keras_nhwc, opset9_ir3, opset11_resize, opset18_forms, opset21_forms, index_forms, nll_weighted]
