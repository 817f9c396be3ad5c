"""`chainrule diagnose`: singular values of Jacobians, against NumPy and the figures of theory.md."""

import math
import pathlib
import tempfile

import numpy as np
from flow_nets import Net, check, data, diagnose, finish, he, mlp, near, need_onnx

F64 = ("--precision", "f64")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def orthogonal(r, n):
    return np.linalg.qr(r.standard_normal((n, n)))[0]


def compare(name, got, jacobians, tolerance=1e-6):
    values = np.sort(np.concatenate([np.linalg.svd(j, compute_uv=False) for j in jacobians]))
    near(f"{name}: largest", got["log10_largest"], math.log10(values[-1]), tolerance)
    near(f"{name}: smallest", got["log10_smallest"], math.log10(values[0]), tolerance)
    want = np.interp(np.array(QUANTILES) * (len(values) - 1), np.arange(len(values)), np.log10(values))
    near(f"{name}: quantiles", max(abs(a - b) for a, b in zip(got["quantiles"], want)), 0, tolerance)


def test_svd(t):
    """A small network of tanh, layer by layer, and all of it."""
    r, n, layers, net = np.random.default_rng(0), 12, 4, Net(12)
    w = [he(r, n, gain=1.5).astype(np.float32) for _ in range(layers)] + [he(r, 5, n, 1.0).astype(np.float32)]
    for i in range(layers):
        net.linear(w[i])
        net.add("Tanh")
    net.linear(w[-1])
    d = diagnose(net.save(t / "svd.onnx"), data(t / "svd.npz", 4, n, 5), "--spectrum", "on", *F64)
    w = [x.astype(float) for x in w]
    h, of_layer = np.load(t / "svd.npz")["x"].astype(float), []
    for i in range(layers):
        s = h @ w[i].T
        of_layer.append([np.diag(1 - np.tanh(x) ** 2) @ w[i] for x in s])
        h = np.tanh(s)
    of_layer.append([w[-1]] * 4)
    for layer, j in zip(d["layers"], of_layer):
        compare(layer["name"], layer["spectrum"], j)
    whole = [np.linalg.multi_dot([of_layer[l][i] for l in reversed(range(layers + 1))]) for i in range(4)]
    compare("the network", d["spectrum"], whole)
    check("samples", None if d["spectrum"]["samples"] == 4 and d["spectrum"]["exact"] else str(d["spectrum"]))


def test_frozen(t):
    """Batch norms divide by the deviation of the whole batch, and that is fixed."""
    r, n, net = np.random.default_rng(1), 6, Net(6)
    w = [he(r, n).astype(np.float32), he(r, 3, n).astype(np.float32)]
    scale = r.uniform(0.5, 2, n).astype(np.float32)
    net.linear(w[0])
    net.add("BatchNormalization", *(net.value(v) for v in (scale, np.zeros(n), np.zeros(n), np.full(n, 9.0))))
    net.linear(w[1])
    d = diagnose(net.save(t / "frozen.onnx"), data(t / "frozen.npz", 32, n, 3), "--spectrum", "on", *F64)
    s = np.load(t / "frozen.npz")["x"].astype(float) @ w[0].astype(float).T
    inner = np.diag(scale.astype(float) / np.sqrt(s.var(0) + 1e-5)) @ w[0].astype(float)
    compare("batch norm", d["layers"][0]["spectrum"], [inner] * 4)
    compare("behind a batch norm", d["spectrum"], [w[1].astype(float) @ inner] * 4)


def test_figures(t):
    r, n, net = np.random.default_rng(2), 400, Net(400)
    for _ in range(2):
        net.linear(he(r, n, gain=1.0))
    d = diagnose(net.save(t / "gauss.onnx"), data(t / "gauss.npz", 1, n), "--loss", "mse", "--spectrum", "on")
    near("Gaussian, L = 2: largest squared", 10 ** (2 * d["spectrum"]["log10_largest"]), 6.45, 0.35)
    n, net = 200, Net(200)
    for _ in range(20):
        net.linear(orthogonal(r, n))
        net.add("Tanh")
    x = r.standard_normal((2, n))
    x *= np.sqrt(n / 400) / np.linalg.norm(x, axis=1, keepdims=True)
    np.savez(t / "tanh.npz", x=x.astype(np.float32), target=np.zeros((2, n), np.float32))
    d = diagnose(net.save(t / "tanh.onnx"), t / "tanh.npz", "--loss", "mse", "--spectrum", "on")
    low, high = 10 ** d["spectrum"]["log10_smallest"], 10 ** d["spectrum"]["log10_largest"]
    check("tanh, L = 20, orthogonal", None if 0.85 <= low and high <= 0.98 and high < 1 else f"{low} to {high}")


def test_deep(t):
    """5^-2000 is no zero, though 10^-1398 is beyond every float."""
    net = Net(3)
    p = net.value([0.2])
    for i in range(2000):
        net.add("Mul", p, name=f"layer {i}")
    d = diagnose(net.save(t / "deep.onnx"), data(t / "deep.npz", 2, 3), "--loss", "mse", "--spectrum", "on", *F64)
    want = 2000 * math.log10(float(np.float32(0.2)))
    near("2,000 layers: largest", d["spectrum"]["log10_largest"], want, 1e-6)
    near("2,000 layers: smallest", d["spectrum"]["log10_smallest"], want, 1e-6)


def test_products(t):
    """A Jacobian of 600 x 600 is too large to be written down: its largest value is from products."""
    r, n, net = np.random.default_rng(3), 600, Net(600)
    w = [he(r, n, gain=1.0).astype(np.float32) for _ in range(3)]
    net.linear(w[0])
    net.add("Tanh")
    net.linear(w[1])
    net.add("Tanh")
    net.linear(w[2])
    d = diagnose(net.save(t / "products.onnx"), data(t / "products.npz", 1, n), "--loss", "mse", "--spectrum", "on")
    h = np.load(t / "products.npz")["x"].astype(float)[0]
    j = np.eye(n)
    for i in range(3):
        s = w[i].astype(float) @ h
        slope = 1 - np.tanh(s) ** 2 if i < 2 else np.ones(n)
        j = np.diag(slope) @ w[i].astype(float) @ j
        h = np.tanh(s)
    got = d["spectrum"]
    near("products: largest", got["log10_largest"], math.log10(np.linalg.svd(j, compute_uv=False)[0]), 1e-3)
    check("products: said", None if not got["exact"] and got["log10_smallest"] is None else str(got))


def test_option(t):
    model = mlp(t, "option", 3, 8, "Relu", lambda r, n: he(r, n), classes=4)
    d = diagnose(model, data(t / "option.npz", 16, 8, 4), "--spectrum", "off")
    none = d["spectrum"]["log10_largest"] is None and d["spectrum"]["said"] and "spectrum" not in d["layers"][0]
    check("--spectrum off", None if none else str(d["spectrum"]))
    d = diagnose(model, t / "option.npz")
    check("small ones are always there", None if d["spectrum"]["log10_largest"] is not None else str(d["spectrum"]))


def main():
    need_onnx()
    with tempfile.TemporaryDirectory() as t:
        t = pathlib.Path(t)
        for test in (test_svd, test_frozen, test_figures, test_deep, test_products, test_option):
            test(t)
    finish()


main()
