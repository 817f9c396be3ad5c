"""A zoo of small networks with known answers: what `chainrule diagnose` has to say of each.

An animal is a name, the status it must have, the factor that must be named (None: none is known, or several share it),
and a function of a folder and a stem that writes a model and its data and gives the options."""

import math

import flow_recurrent as recurrent
import numpy as np
from flow_nets import Net, data, he

ANIMALS = []


def animal(name, status, factor=None, **more):
    def keep(build):
        ANIMALS.append((name, status, factor, lambda t, stem: build(t, stem, **more)))
        return build

    return keep


def classes(t, stem, shape, n=64, count=10, seed=1):
    r = np.random.default_rng(seed)
    shape = shape if isinstance(shape, tuple) else (shape,)
    x = r.standard_normal((n, *shape)).astype(np.float32)
    np.savez(t / f"{stem}.npz", x=x, y=r.integers(0, count, n))
    return t / f"{stem}.npz"


def orthogonal(r, n, gain=1.0):
    q, _ = np.linalg.qr(r.standard_normal((n, n)))
    return q * gain


def default(r, n, m=None):
    """PyTorch's Linear."""
    m = m or n
    return r.uniform(-1, 1, (n, m)) / math.sqrt(m)


# ---- perceptrons ---------------------------------------------------------------------------------


def mlp(t, stem, layers, activation, weight, width=64, n=64, bias=None, norm=None, attributes=None, seed=0, scale=None):
    """scale: what the layers' weights are multiplied with in turn, their product 1: the function stays a ReLU's."""
    r, net = np.random.default_rng(seed), Net(width)
    for i in range(layers):
        w = weight(r, width)
        b = None if bias is None else np.full(width, bias(i) if callable(bias) else bias)
        net.linear(w * scale[i % len(scale)] if scale else w, b, f"linear{i}")
        if norm:
            norm(net, width)
        if activation:
            activation(net) if callable(activation) else net.add(activation, **(attributes or {}))
    net.linear(he(r, 10, width, 1.0), name="head")
    return net.save(t / f"{stem}.onnx"), classes(t, stem, width, n), []


def plain(name, status, factor=None, **more):
    animal(name, status, factor, **more)(mlp)


def batch_norm(net, width, gamma=1.0):
    ones, zeros = np.ones(width), np.zeros(width)
    net.add("BatchNormalization", *map(net.value, (ones * gamma, zeros, zeros, ones)))


def layer_norm(net, width):
    net.add("LayerNormalization", net.value(np.ones(width)), net.value(np.zeros(width)))


def gelu(net):
    x = net.at
    net.add("Div", net.value(np.float32(math.sqrt(2))))
    net.add("Erf")
    net.add("Add", net.value(np.float32(1)))
    net.add("Mul", of=x, *[net.at])
    net.add("Mul", net.value(np.float32(0.5)))


def silu(net):
    x = net.at
    net.add("Sigmoid")
    net.add("Mul", x)


def gained(g):
    return lambda r, n: he(r, n, gain=g)


plain("sigmoid, 30 layers, variance 1", "vanishing", "slope", layers=30, activation="Sigmoid", weight=gained(1))
plain("sigmoid, 12 layers, Xavier", "vanishing", "slope", layers=12, activation="Sigmoid", weight=gained(1), seed=2)
plain("sigmoid, 30 layers, variance 4", "vanishing", "slope", layers=30, activation="Sigmoid", weight=gained(4))
plain("hard sigmoid, 20 layers", "vanishing", "slope", layers=20, activation="HardSigmoid", weight=gained(1))
plain("tanh, 30 layers, variance 0.2", "vanishing", "weight", layers=30, activation="Tanh", weight=gained(0.2))
plain("softsign, 30 layers, variance 0.1", "vanishing", "weight", layers=30, activation="Softsign", weight=gained(0.1))
plain("linear, 30 layers, variance 0.25", "vanishing", "weight", layers=30, activation=None, weight=gained(0.25))
plain("ReLU, 20 layers, PyTorch's default", "vanishing", "weight", layers=20, activation="Relu", weight=default)
plain("ReLU, 30 layers, variance 0.5", "vanishing", None, layers=30, activation="Relu", weight=gained(0.5))
plain("ReLU, 40 layers, Xavier", "vanishing", "slope", layers=40, activation="Relu", weight=gained(1))
plain(
    "ReLU, PyTorch's default, layers scaled by 1000", "vanishing", "weight",
    layers=20, activation="Relu", weight=default, scale=(1000, 1 / 1000),
)  # fmt: skip
plain("GELU, 40 layers, Xavier", "vanishing", "weight", layers=40, activation=gelu, weight=gained(1))
plain("ReLU, 30 layers, variance 6", "exploding", "weight", layers=30, activation="Relu", weight=gained(6))
plain("tanh, 60 layers, variance 4", "exploding", "weight", layers=60, activation="Tanh", weight=gained(4), width=128)
plain("linear, 30 layers, variance 3", "exploding", "weight", layers=30, activation=None, weight=gained(3))
plain("batch norm and ReLU, 60 layers", "exploding", "norm",
      layers=60, activation="Relu", weight=gained(2), norm=batch_norm)  # fmt: skip
plain("batch norm and ReLU, weights x 1000, 60 layers", "exploding", "norm",
      layers=60, activation="Relu", weight=gained(2e6), norm=batch_norm)  # fmt: skip
plain("ReLU that died of its biases", "dying", layers=4, activation="Relu", weight=gained(0.01), bias=-1.0)
plain("ReLU, most units of the first layer dead", "dying", layers=3, activation="Relu", weight=gained(2),
      bias=lambda i: 0.0 if i else -6.0, n=512)  # fmt: skip
plain("tanh, 3 layers, saturated", "saturated", layers=3, activation="Tanh", weight=gained(400))
plain("softsign, 2 layers, saturated", "saturated", layers=2, activation="Softsign", weight=gained(2000))
plain("weights of 1e30", "non-finite", layers=3, activation="Relu", weight=lambda r, n: 1e30 * he(r, n))

plain("ReLU, 30 layers, He", "healthy", layers=30, activation="Relu", weight=gained(2), width=128)
plain("ReLU, 3 layers, PyTorch's default", "healthy", layers=3, activation="Relu", weight=default)
plain("ReLU, He, layers scaled by 1000", "healthy", layers=20, activation="Relu", weight=gained(2), width=128,
      scale=(1000, 1 / 1000))  # fmt: skip
plain("leaky ReLU, 30 layers, He", "healthy", layers=30, activation="LeakyRelu", attributes={"alpha": 0.2},
      weight=gained(2 / 1.04), width=128)  # fmt: skip
plain("tanh, 8 layers, Xavier", "healthy", layers=8, activation="Tanh", weight=gained(1))
plain("tanh, 50 layers, orthogonal", "healthy", layers=50, activation="Tanh", weight=orthogonal)
plain("tanh, 100 layers, Xavier", "healthy", layers=100, activation="Tanh", weight=gained(1), width=128)
plain("SELU, 30 layers", "healthy", layers=30, activation="Selu", weight=gained(1), width=128)
plain("ELU, 15 layers, He", "healthy", layers=15, activation="Elu", weight=gained(1.55))
plain("GELU, 8 layers, He", "healthy", layers=8, activation=gelu, weight=gained(2))
plain("SiLU, 8 layers, He", "healthy", layers=8, activation=silu, weight=gained(2))
plain("softplus, 2 layers, Xavier", "healthy", layers=2, activation="Softplus", weight=gained(1))
plain("sigmoid, 1 layer", "healthy", layers=1, activation="Sigmoid", weight=gained(1))
plain("layer norm and ReLU, 30 layers", "healthy",
      layers=30, activation="Relu", weight=gained(2), norm=layer_norm, width=128)  # fmt: skip
plain("batch norm and ReLU, 8 layers", "healthy", layers=8, activation="Relu", weight=gained(2), norm=batch_norm)
plain("logistic regression", "healthy", layers=0, activation=None, weight=None)


# ---- residual networks ---------------------------------------------------------------------------


def residual(t, stem, layers, branch, width=64, before=None, seed=0):
    """x + F(x), branch(net, r, width) the F."""
    r, net = np.random.default_rng(seed), Net(width)
    net.linear(he(r, width, gain=1.0), name="first")
    for _ in range(layers):
        x = net.at
        branch(net, r, width)
        net.add("Add", x)
    net.linear(he(r, 10, width, 1.0), name="head")
    return net.save(t / f"{stem}.onnx"), classes(t, stem, width), []


def pre_activation(factor=1.0, gate=None, last=None):
    def branch(net, r, width):
        net.add("Relu")
        net.linear(he(r, width))
        net.add("Relu")
        net.linear(he(r, width) * (factor if last is None else last))
        if gate is not None:
            net.add("Mul", net.value([gate]))

    return branch


def normed(gamma):
    def branch(net, r, width):
        net.linear(he(r, width))
        batch_norm(net, width)
        net.add("Relu")
        net.linear(he(r, width))
        batch_norm(net, width, gamma)

    return branch


def skipped(name, status, factor=None, **more):
    animal(name, status, factor, **more)(residual)


skipped("residual, 50 blocks, branches / sqrt(L)", "healthy", layers=50, branch=pre_activation(50**-0.5))
skipped("residual, 60 blocks, nothing scaled", "exploding", layers=60, branch=pre_activation())
skipped("ReZero, 50 blocks, gates 0", "healthy", layers=50, branch=pre_activation(gate=0.0))
skipped("residual, 30 blocks, last layer of a branch 0", "healthy", layers=30, branch=pre_activation(last=0.0))
skipped("residual with batch norm, 20 blocks", "healthy", layers=20, branch=normed(1.0))
skipped("residual, last batch norm 0, 20 blocks", "healthy", layers=20, branch=normed(0.0))


@animal("a head of zeros", "healthy")
def zero_head(t, stem):
    r, net = np.random.default_rng(1), Net(32)
    for i in range(6):
        net.linear(he(r, 32))
        net.add("Relu")
    net.linear(np.zeros((10, 32)), name="head")
    return net.save(t / f"{stem}.onnx"), classes(t, stem, 32), []


@animal("highway, 20 layers, gates open", "healthy")
def highway(t, stem):
    r, net, n = np.random.default_rng(2), Net(32), 32
    for _ in range(20):
        x = net.at
        net.linear(he(r, n))
        h = net.add("Tanh")
        net.add("Gemm", net.value(he(r, n, gain=1.0)), net.value(np.full(n, -2.0)), of=x, transB=1)
        gate = net.add("Sigmoid")
        add = net.add("Mul", h)
        net.add("Neg", of=gate)
        net.add("Add", net.value(np.float32(1)))
        net.add("Mul", x)
        net.add("Add", add)
    net.linear(he(r, 10, n, 1.0))
    return net.save(t / f"{stem}.onnx"), classes(t, stem, n), []


# ---- convolutions --------------------------------------------------------------------------------


def conv(net, r, out, inn, k=3, gain=2.0, **attributes):
    w = r.standard_normal((out, inn, k, k)) * math.sqrt(gain / (inn * k * k))
    pads = {} if "pads" in attributes else {"pads": [k // 2] * 4}
    return net.add("Conv", net.value(w), **pads, **attributes)


def picture_end(net, r, t, stem, channels, n=32, side=8, inputs=3):
    net.add("GlobalAveragePool")
    net.add("Flatten")
    net.linear(he(r, 10, channels, 1.0), name="head")
    return net.save(t / f"{stem}.onnx"), classes(t, stem, (inputs, side, side), n), []


def stack(t, stem, layers, gain, norm=None, activation="Relu", channels=16):
    r, net = np.random.default_rng(3), Net((3, 8, 8))
    for i in range(layers):
        conv(net, r, channels, channels if i else 3, gain=gain)
        if norm:
            norm(net, channels)
        net.add(activation)
    return picture_end(net, r, t, stem, channels)


animal("CNN, 4 layers, He", "healthy", layers=4, gain=2)(stack)
animal("CNN, 20 layers, variance 0.3", "vanishing", "weight", layers=20, gain=0.3)(stack)
animal("CNN, 20 layers, variance 10", "exploding", "weight", layers=20, gain=10)(stack)
animal("CNN of sigmoids, 15 layers", "vanishing", "slope", layers=15, gain=1, activation="Sigmoid")(stack)
animal("CNN with batch norm, 60 layers without skips", "exploding", "norm", layers=60, gain=2, norm=batch_norm)(stack)


@animal("VGG with batch norm", "healthy")
def vgg(t, stem):
    r, net, c = np.random.default_rng(4), Net((3, 16, 16)), 3
    for width in (8, 8, 0, 16, 16, 0, 32, 32, 0):
        if width == 0:
            net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
            continue
        conv(net, r, width, c)
        batch_norm(net, width)
        net.add("Relu")
        c = width
    return picture_end(net, r, t, stem, c, side=16)


@animal("ResNet with batch norm", "healthy")
def resnet(t, stem):
    r, net, c = np.random.default_rng(5), Net((3, 16, 16)), 8
    conv(net, r, c, 3)
    batch_norm(net, c)
    net.add("Relu")
    for width, stride in ((8, 1), (8, 1), (16, 2), (16, 1), (32, 2), (32, 1)):
        x = net.at
        conv(net, r, width, c, strides=[stride] * 2)
        batch_norm(net, width)
        net.add("Relu")
        conv(net, r, width, width)
        batch_norm(net, width)
        branch = net.at
        net.at = x
        if stride > 1:
            conv(net, r, width, c, k=1, strides=[stride] * 2)
            batch_norm(net, width)
        net.add("Add", branch)
        net.add("Relu")
        c = width
    return picture_end(net, r, t, stem, c, side=16)


@animal("U-Net", "healthy")
def unet(t, stem):
    r, net = np.random.default_rng(6), Net((3, 16, 16))

    def twice(out, inn):
        for i in (inn, out):
            conv(net, r, out, i)
            batch_norm(net, out)
            net.add("Relu")
        return net.at

    a = twice(8, 3)
    net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    b = twice(16, 8)
    net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    twice(32, 16)
    for skip, out, inn in ((b, 16, 32), (a, 8, 16)):
        w = r.standard_normal((inn, out, 2, 2)) * math.sqrt(2 / inn)
        net.add("ConvTranspose", net.value(w), strides=[2, 2])
        net.add("Concat", skip, axis=1)
        twice(out, 2 * out)
    return picture_end(net, r, t, stem, 8, side=16)


@animal("DenseNet", "healthy")
def densenet(t, stem):
    r, net, c = np.random.default_rng(7), Net((3, 8, 8)), 8
    conv(net, r, c, 3)
    for _ in range(8):
        x = net.at
        batch_norm(net, c)
        net.add("Relu")
        conv(net, r, 8, c)
        net.add("Concat", x, axis=1)
        c += 8
    batch_norm(net, c)
    net.add("Relu")
    return picture_end(net, r, t, stem, c)


# ---- transformers --------------------------------------------------------------------------------


def attention(net, r, d, heads, tokens):
    x, parts = net.at, []
    for _ in range(3):
        net.add("MatMul", net.value(he(r, d, gain=1.0)), of=x)
        net.add("Reshape", net.integers([-1, tokens, heads, d // heads]))
        parts.append(net.add("Transpose", perm=[0, 2, 1, 3]))
    q, k, v = parts
    net.add("Transpose", of=k, perm=[0, 1, 3, 2])
    net.add("MatMul", net.at, of=q)
    net.add("Mul", net.value(np.float32((d // heads) ** -0.5)))
    net.add("Softmax", axis=-1)
    net.add("MatMul", v)
    net.add("Transpose", perm=[0, 2, 1, 3])
    net.add("Reshape", net.integers([-1, tokens, d]))
    net.add("MatMul", net.value(he(r, d, gain=1.0)))


def feed_forward(net, r, d):
    net.add("MatMul", net.value(he(r, 4 * d, d, 1.0).T))
    net.add("Add", net.value(np.zeros(4 * d)))
    gelu(net)
    net.add("MatMul", net.value(he(r, d, 4 * d, 1.0).T))
    net.add("Add", net.value(np.zeros(d)))


def transformer(t, stem, layers, pre, d=32, tokens=6, heads=4, n=16):
    r, net = np.random.default_rng(8), Net((tokens, d))
    for _ in range(layers):
        for half in (lambda: attention(net, r, d, heads, tokens), lambda: feed_forward(net, r, d)):
            x = net.at
            if pre:
                layer_norm(net, d)
            half()
            net.add("Add", x)
            if not pre:
                layer_norm(net, d)
    if pre:
        layer_norm(net, d)
    net.add("ReduceMean", axes=[1], keepdims=0)
    net.linear(he(r, 10, d, 1.0), name="head")
    return net.save(t / f"{stem}.onnx"), classes(t, stem, (tokens, d), n), []


for depth in (2, 6, 24):
    animal(f"transformer, {depth} layers, pre-norm", "healthy", layers=depth, pre=True)(transformer)
    animal(f"transformer, {depth} layers, post-norm", "healthy", layers=depth, pre=False)(transformer)


# ---- other ends and beginnings ---------------------------------------------------------------------


@animal("embeddings, their mean", "healthy")
def embedding(t, stem):
    r, net = np.random.default_rng(9), Net(12, kind=7)
    net.nodes.append(net.make("Gather", [net.value(r.standard_normal((50, 24))), "x"], ["picked"], name="embedding"))
    net.at = "picked"
    net.add("ReduceMean", axes=[1], keepdims=0)
    net.linear(he(r, 24))
    net.add("Relu")
    net.linear(he(r, 10, 24, 1.0))
    np.savez(t / f"{stem}.npz", x=r.integers(0, 50, (64, 12)), y=r.integers(0, 10, 64))
    return net.save(t / f"{stem}.onnx"), t / f"{stem}.npz", []


def regression(t, stem, width=16, scale=1.0):
    r, net = np.random.default_rng(10), Net(width)
    for _ in range(3):
        net.linear(he(r, width))
        net.add("Relu")
    net.linear(he(r, 1, width, 1.0))
    x = r.standard_normal((64, width)).astype(np.float32)
    np.savez(t / f"{stem}.npz", x=x, target=(scale * x[:, :1] + scale * 3).astype(np.float32))
    return net.save(t / f"{stem}.onnx"), t / f"{stem}.npz", ["--loss", "mse"]


animal("regression", "healthy")(regression)
animal("regression, outputs 1000 times the targets", "exploding", scale=0.001)(regression)  # docs/flow.md, edges


@animal("binary classification", "healthy")
def binary(t, stem):
    r, net = np.random.default_rng(11), Net(16)
    for _ in range(3):
        net.linear(he(r, 16))
        net.add("Relu")
    net.linear(he(r, 1, 16, 1.0))
    x = r.standard_normal((64, 16)).astype(np.float32)
    np.savez(t / f"{stem}.npz", x=x, target=(x[:, :1] > 0).astype(np.float32))
    return net.save(t / f"{stem}.onnx"), t / f"{stem}.npz", ["--loss", "bce"]


@animal("autoencoder", "healthy")
def autoencoder(t, stem):
    r, net, widths = np.random.default_rng(12), Net(64), (64, 32, 8, 32, 64)
    for inn, out in zip(widths, widths[1:]):
        net.linear(he(r, out, inn, 1.0))
        if out != 64:
            net.add("Tanh")
    x = r.standard_normal((64, 64)).astype(np.float32)
    np.savez(t / f"{stem}.npz", x=x, target=x)
    return net.save(t / f"{stem}.onnx"), t / f"{stem}.npz", ["--loss", "mse"]


# ---- recurrent cells -------------------------------------------------------------------------------


def cells(t, stem, op, steps=200, hidden=24, inputs=12, weight=None, activations=None, **more):
    attributes = {"linear_before_reset": 1} if op == "GRU" else {}
    if activations:
        attributes["activations"] = activations
    net = recurrent.net(op, steps, inputs, hidden, weight=weight, **more, **attributes)
    return net.save(t / f"{stem}.onnx"), recurrent.data(t / f"{stem}.npz", 16, steps, inputs), []


def recurring(name, status, factor=None, **more):
    animal(name, status, factor, **more)(cells)


recurring("LSTM, 200 steps, PyTorch's default", "vanishing", "forget", op="LSTM")
recurring("GRU, 200 steps, PyTorch's default", "vanishing", "update", op="GRU")
recurring("RNN, 200 steps, PyTorch's default", "vanishing", "recurrent", op="RNN")
recurring("LSTM, 200 steps, forget bias 1", "vanishing", "forget", op="LSTM", forget=1)
recurring("LSTM, 200 steps, forget bias ln 200", "healthy", op="LSTM", forget=math.log(200))
recurring("LSTM, 10 steps, PyTorch's default", "healthy", op="LSTM", steps=10)
recurring("two LSTMs, 200 steps, forget bias 6", "healthy", op="LSTM", forget=6, layers=2)
recurring("RNN, 60 steps, chaotic", "exploding", "recurrent", op="RNN", steps=60, hidden=64,
          weight=lambda r, n: he(r, n, gain=9.0))  # fmt: skip
recurring("RNN of ReLUs, 200 steps, begun at the identity", "healthy", op="RNN", activations=["Relu"],
          weight=lambda r, n: np.eye(n))  # fmt: skip
