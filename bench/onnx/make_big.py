"""Writes a ResNet-50 and a BERT-base with random weights, and inputs for them:

    python3 bench/onnx/make_big.py FOLDER [--batch 8] [--tokens 128] [--only resnet50|bert_base]

FOLDER gets resnet50.onnx (98 MiB), resnet50.npz (x, label), bert_base.onnx (418 MiB), bert_base.npz (input_ids,
attention_mask, label). Only NumPy and python3-onnx are needed. The files are as PyTorch 1.13 exports torchvision's
resnet50 and the BertForSequenceClassification of transformers 4.26 in training mode without constant folding, at
opset 14, with a symbolic batch. The ResNet has the same operators in the same order, attributes and initialisers. The
BERT has the same initialisers, LayerNorm as nine nodes, GELU by Erf, weights behind a Transpose, shapes by Shape,
Gather, Concat, but no Dropout, and the indices of its embeddings of places and kinds are constants. python3-onnx
checks both.
"""
import argparse
import os
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR = 14, 7


class Writer:
    """Nodes and initialisers in the order of their making; `scope` is the module's path."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.tensors, self.count = [], [], {}

    def tensor(self, name, value):
        self.tensors.append(numpy_helper.from_array(value, name))
        return name

    def normal(self, name, shape, deviation):
        return self.tensor(name, self.rng.standard_normal(shape, np.float32) * np.float32(deviation))

    def full(self, name, size, value):
        return self.tensor(name, np.full(size, value, np.float32))

    def node(self, scope, op, *inputs, outputs=1, **attributes):
        base = f"{scope}/{op}"
        number = self.count[base] = self.count.get(base, -1) + 1
        base += f"_{number}" if number else ""
        names = [f"{base}_output_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=base, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, scope, value):
        return self.node(scope, "Constant", value=numpy_helper.from_array(np.asarray(value)))

    def save(self, path, inputs, output, shape):
        self.nodes[-1].output[0] = output
        infos = [helper.make_tensor_value_info(*i) for i in inputs]
        out = helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "torch_jit", infos, [out], self.tensors)
        model = helper.make_model(graph, ir_version=IR, opset_imports=[helper.make_opsetid("", OPSET)],
                                  producer_name="pytorch", producer_version="1.13.0")
        onnx.save(model, path)
        onnx.checker.check_model(path)
        values = sum(int(np.prod(t.dims)) for t in self.tensors)
        print(f"{path}: {len(self.nodes)} nodes, {len(self.tensors)} initialisers, {values / 1e6:.1f} M values, "
              f"{os.path.getsize(path) / 2**20:.0f} MiB")


# ---- ResNet-50 ------------------------------------------------------------------------------------------------------

def conv(w, scope, name, x, out, inside, size, stride=1):
    weight = w.normal(f"{name}.weight", (out, inside, size, size), (2 / (out * size * size)) ** 0.5)
    return w.node(f"{scope}/{name.split('.')[-1]}", "Conv", x, weight, dilations=[1, 1], group=1,
                  kernel_shape=[size, size], pads=[size // 2] * 4, strides=[stride, stride])


def batch_norm(w, scope, name, x, size):
    tensors = [w.full(f"{name}.{key}", size, value)
               for key, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1))]
    return w.node(f"{scope}/{name.split('.')[-1]}", "BatchNormalization", x, *tensors, outputs=3, epsilon=1e-5,
                  momentum=0.9, training_mode=1)[0]


def bottleneck(w, name, x, inside, width, stride):
    scope = "/" + name.replace(".", "/")
    y = batch_norm(w, scope, f"{name}.bn1", conv(w, scope, f"{name}.conv1", x, width, inside, 1), width)
    y = w.node(f"{scope}/relu", "Relu", y)
    y = batch_norm(w, scope, f"{name}.bn2", conv(w, scope, f"{name}.conv2", y, width, width, 3, stride), width)
    y = w.node(f"{scope}/relu", "Relu", y)
    y = batch_norm(w, scope, f"{name}.bn3", conv(w, scope, f"{name}.conv3", y, 4 * width, width, 1), 4 * width)
    if stride != 1 or inside != 4 * width:
        down, below = f"{name}.downsample", f"{scope}/downsample"
        x = batch_norm(w, below, f"{down}.1", conv(w, below, f"{down}.0", x, 4 * width, inside, 1, stride), 4 * width)
    return w.node(f"{scope}/relu", "Relu", w.node(scope, "Add", y, x))


def resnet50(folder, batch):
    w = Writer(1)
    x = batch_norm(w, "", "bn1", conv(w, "", "conv1", "x", 64, 3, 7, 2), 64)
    x = w.node("/relu", "Relu", x)
    x = w.node("/maxpool", "MaxPool", x, ceil_mode=0, kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    inside = 64
    for layer, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 1):
        for block in range(blocks):
            x = bottleneck(w, f"layer{layer}.{block}", x, inside, width, 2 if layer > 1 and block == 0 else 1)
            inside = 4 * width
    x = w.node("", "Flatten", w.node("/avgpool", "GlobalAveragePool", x), axis=1)
    head = w.normal("fc.weight", (1000, 2048), 2048 ** -0.5), w.full("fc.bias", 1000, 0)
    w.node("/fc", "Gemm", x, *head, alpha=1.0, beta=1.0, transB=1)
    w.save(os.path.join(folder, "resnet50.onnx"), [("x", TensorProto.FLOAT, ["batch", 3, 224, 224])], "y",
           ["batch", 1000])
    np.savez(os.path.join(folder, "resnet50.npz"), x=w.rng.standard_normal((batch, 3, 224, 224), np.float32),
             label=w.rng.integers(0, 1000, batch))


# ---- BERT-base ------------------------------------------------------------------------------------------------------

def linear(w, name, x, out, inside):
    scope = "/" + name.replace(".", "/")
    weight = w.normal(f"{name}.weight", (out, inside), 0.02)
    bias = w.full(f"{name}.bias", out, 0)
    y = w.node(scope, "MatMul", x, w.node(scope, "Transpose", weight, perm=[1, 0]))
    return w.node(scope, "Add", bias, y)


def layer_norm(w, name, x, size):
    scope = "/" + name.replace(".", "/")
    mean = w.node(scope, "ReduceMean", x, axes=[-1])
    centred = w.node(scope, "Sub", x, mean)
    square = w.node(scope, "Pow", centred, w.constant(scope, np.float32(2)))
    variance = w.node(scope, "ReduceMean", square, axes=[-1])
    deviation = w.node(scope, "Sqrt", w.node(scope, "Add", variance, w.constant(scope, np.float32(1e-12))))
    y = w.node(scope, "Div", centred, deviation)
    y = w.node(scope, "Mul", y, w.full(f"{name}.weight", size, 1))
    return w.node(scope, "Add", y, w.full(f"{name}.bias", size, 0))


def gelu(w, scope, x):
    y = w.node(scope, "Erf", w.node(scope, "Div", x, w.constant(scope, np.float32(2 ** 0.5))))
    y = w.node(scope, "Mul", x, w.node(scope, "Add", y, w.constant(scope, np.float32(1))))
    return w.node(scope, "Mul", y, w.constant(scope, np.float32(0.5)))


def reshape(w, scope, x, *last):
    """To (batch, tokens, *last), as `x.view(x.size(0), x.size(1), ...)` is written."""
    sizes = [w.node(scope, "Gather", w.node(scope, "Shape", x), w.constant(scope, np.int64(axis)), axis=0)
             for axis in (0, 1)]
    sizes += [w.constant(scope, np.int64(size)) for size in last]
    shape = w.node(scope, "Concat", *(w.node(scope, "Unsqueeze", size, w.constant(scope, np.array([0])))
                                      for size in sizes), axis=0)
    return w.node(scope, "Reshape", x, shape)


def attention(w, name, x, mask, width, heads):
    scope = "/" + name.replace(".", "/") + "/self"
    parts = {key: linear(w, f"{name}.self.{key}", x, width, width) for key in ("query", "key", "value")}
    q, k, v = (w.node(scope, "Transpose", reshape(w, scope, p, heads, width // heads),
                      perm=[0, 2, 3, 1] if key == "key" else [0, 2, 1, 3]) for key, p in parts.items())
    scores = w.node(scope, "Div", w.node(scope, "MatMul", q, k),
                    w.constant(scope, np.float32((width // heads) ** 0.5)))
    weights = w.node(scope, "Softmax", w.node(scope, "Add", scores, mask), axis=-1)
    context = w.node(scope, "Transpose", w.node(scope, "MatMul", weights, v), perm=[0, 2, 1, 3])
    out = linear(w, f"{name}.output.dense", reshape(w, scope, context, width), width, width)
    sum_ = w.node(f"/{name.replace('.', '/')}/output", "Add", out, x)
    return layer_norm(w, f"{name}.output.LayerNorm", sum_, width)


def bert_base(folder, batch, tokens, width=768, heads=12, layers=12, inner=3072, words=30522, places=512):
    w = Writer(2)
    top = "/bert"
    mask = w.node(top, "Unsqueeze", w.node(top, "Unsqueeze", "attention_mask", w.constant(top, np.array([1]))),
                  w.constant(top, np.array([2])))
    mask = w.node(top, "Sub", w.constant(top, np.float32(1)), w.node(top, "Cast", mask, to=TensorProto.FLOAT))
    mask = w.node(top, "Mul", mask, w.constant(top, np.float32(-10000)))
    scope, name = "/bert/embeddings", "bert.embeddings"
    x = w.node(f"{scope}/word_embeddings", "Gather",
               w.normal(f"{name}.word_embeddings.weight", (words, width), 0.02), "input_ids")
    x = w.node(scope, "Add", x, w.node(f"{scope}/token_type_embeddings", "Gather",
                                       w.normal(f"{name}.token_type_embeddings.weight", (2, width), 0.02),
                                       w.constant(scope, np.zeros((1, tokens), np.int64))))
    x = w.node(scope, "Add", x, w.node(f"{scope}/position_embeddings", "Gather",
                                       w.normal(f"{name}.position_embeddings.weight", (places, width), 0.02),
                                       w.constant(scope, np.arange(tokens).reshape(1, tokens))))
    x = layer_norm(w, f"{name}.LayerNorm", x, width)
    for layer in range(layers):
        name = f"bert.encoder.layer.{layer}"
        scope = "/" + name.replace(".", "/")
        x = attention(w, f"{name}.attention", x, mask, width, heads)
        y = gelu(w, f"{scope}/intermediate/intermediate_act_fn",
                 linear(w, f"{name}.intermediate.dense", x, inner, width))
        y = w.node(f"{scope}/output", "Add", linear(w, f"{name}.output.dense", y, width, inner), x)
        x = layer_norm(w, f"{name}.output.LayerNorm", y, width)
    scope = "/bert/pooler"
    x = w.node(scope, "Gather", x, w.constant(scope, np.int64(0)), axis=1)
    head = w.normal("bert.pooler.dense.weight", (width, width), 0.02), w.full("bert.pooler.dense.bias", width, 0)
    x = w.node(f"{scope}/activation", "Tanh", w.node(f"{scope}/dense", "Gemm", x, *head, transB=1))
    last = w.normal("classifier.weight", (2, width), 0.02), w.full("classifier.bias", 2, 0)
    w.node("/classifier", "Gemm", x, *last, transB=1)
    w.save(os.path.join(folder, "bert_base.onnx"),
           [(n, TensorProto.INT64, ["batch", tokens]) for n in ("input_ids", "attention_mask")], "y", ["batch", 2])
    lengths = w.rng.integers(tokens // 2, tokens + 1, (batch, 1))
    np.savez(os.path.join(folder, "bert_base.npz"), input_ids=w.rng.integers(0, words, (batch, tokens)),
             attention_mask=(np.arange(tokens) < lengths).astype(np.int64), label=w.rng.integers(0, 2, batch))


def main():
    parser = argparse.ArgumentParser(description="Writes a ResNet-50 and a BERT-base with random weights.")
    parser.add_argument("folder")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--only", choices=["resnet50", "bert_base"])
    args = parser.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    if args.only != "bert_base":
        resnet50(args.folder, args.batch)
    if args.only != "resnet50":
        bert_base(args.folder, args.batch, args.tokens)
    return 0


if __name__ == "__main__":
    sys.exit(main())
