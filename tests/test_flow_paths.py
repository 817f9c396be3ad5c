"""`chainrule diagnose`: paths through skips, number formats, balance, evidence, children (docs/flow.md)."""

import itertools
import math
import pathlib
import subprocess
import tempfile

import numpy as np
from flow_nets import PROGRAM, Net, check, data, diagnose, finish, he, mlp, near, need_onnx

F64 = ("--precision", "f64")


def orthogonal(r, n):
    return np.linalg.qr(r.standard_normal((n, n)))[0]


def vector_loss(path, n, width, seed=1):
    """Inputs and targets of a squared error: its gradient by the output is any vector."""
    return data(path, n, width, None, seed)


# ---- paths ---------------------------------------------------------------------------------------


def test_figures(t):
    """x + a W x, W orthogonal, L = 20, a = 0.5: energies C(L,k) a^2k, mean length L a^2/(1 + a^2) = 4 (theory.md)."""
    r, n, depth, a = np.random.default_rng(0), 256, 20, 0.5
    net = Net(n)
    for _ in range(depth):
        x = net.at
        net.linear(a * orthogonal(r, n))
        net.add("Add", x)
    far = 1e5 * r.standard_normal((16, n))  # a cotangent that knows nothing of the weights
    np.savez(t / "linear.npz", x=r.standard_normal((16, n)).astype(np.float32), target=far.astype(np.float32))
    p = diagnose(net.save(t / "linear.onnx"), t / "linear.npz", "--loss", "mse", "--paths", "on")["paths"]
    check("paths: exact", None if p["exact"] and len(p["share"]) == depth + 1 else str(p))
    near("paths: shares add up to 1", sum(p["share"]), 1, 1e-4)
    near("paths: mean length", p["effective_depth"], depth * a * a / (1 + a * a), 0.3)
    for k, want in enumerate((1, 5, 11.875, 17.8125)):
        near(f"paths: energy through {k}", p["energy"][k], want, 0.08 * want * k + 1e-6)
    near("paths: mean length by shares", p["effective_depth"], sum(k * s for k, s in enumerate(p["share"])), 1e-3)


def residual(t, name, depth, n, seed, activation="Tanh"):
    """x + W tanh(V x): its pieces for NumPy, too."""
    r, net, w = np.random.default_rng(seed), Net(n), []
    for _ in range(depth):
        x = net.at
        first, second = he(r, n, gain=2.0).astype(np.float32), he(r, n, gain=1.0).astype(np.float32)
        net.linear(first)
        net.add(activation)
        net.linear(second)
        net.add("Add", x)
        w.append((first.astype(float), second.astype(float)))
    return net.save(t / f"{name}.onnx"), w


def test_brute_force(t):
    """Against the sum over all 2^L paths, each a product of Jacobians at the fixed forward values."""
    n, depth, samples = 5, 6, 3
    model, w = residual(t, "brute", depth, n, 1)
    d = diagnose(model, vector_loss(t / "brute.npz", samples, n), "--loss", "mse", *F64)
    a = np.load(t / "brute.npz")
    h, jacobian = a["x"].astype(float), []
    for first, second in w:
        s = h @ first.T
        jacobian.append([second @ np.diag(1 - np.tanh(x) ** 2) @ first for x in s])
        h = h + np.tanh(s) @ second.T
    g_y = h - a["target"]
    v = np.zeros((depth + 1, samples, n))
    for path in itertools.product((0, 1), repeat=depth):
        for i in range(samples):
            u = g_y[i]
            for l in reversed(range(depth)):
                u = jacobian[l][i].T @ u if path[l] else u
            v[sum(path), i] += u
    g = v.sum(0)
    p = d["paths"]
    for k in range(depth + 1):
        near(f"brute force: share {k}", p["share"][k], (v[k] * g).sum() / (g**2).sum(), 1e-10)
        want = (v[k] ** 2).sum() / (g_y**2).sum()
        near(f"brute force: energy {k}", p["energy"][k], want, 1e-9 * (1 + want))
    check("brute force: blocks", None if p["blocks"] == depth and abs(p["remainder"]) < 1e-12 else str(p))


def test_two_adds(t):
    """A transformer's block adds twice: L blocks are 2L regions, here by the derivative in a mark on the branches."""
    r, n, blocks = np.random.default_rng(2), 6, 4

    def build(z, name):
        r, net = np.random.default_rng(2), Net(n)
        for _ in range(blocks):
            for width in (n, 2 * n):
                x = net.at
                net.add("LayerNormalization", net.value(np.ones(n)), net.value(np.zeros(n)))
                net.linear(he(r, width, n))
                net.add("Tanh")
                net.linear(he(r, n, width))
                if z is not None:
                    net.add("Mul", net.value([z]))
                net.add("Add", x)
        return net.save(t / f"{name}.onnx")

    d = diagnose(build(None, "two"), vector_loss(t / "two.npz", 4, n), "--loss", "mse", *F64)
    p = d["paths"]
    check("two adds: regions", None if p["blocks"] == 2 * blocks and len(p["share"]) == 2 * blocks + 1 else str(p))
    near("two adds: shares", sum(p["share"]), 1, 1e-10)
    near("two adds: mean", p["effective_depth"], sum(k * s for k, s in enumerate(p["share"])), 1e-9)
    # The path through no branch is the output's cotangent itself.
    near("two adds: energy through none", p["energy"][0], 1, 1e-9)


def test_long(t):
    """Beyond 64 blocks the list is cut, and says what is missing; the mean stays exact."""
    depth, n, a = 80, 8, 0.5
    r, net = np.random.default_rng(4), Net(n)
    for _ in range(depth):
        x = net.at
        net.add("Mul", net.value([a]))
        net.add("Add", x)
    p = diagnose(net.save(t / "long.onnx"), vector_loss(t / "long.npz", 4, n), "--loss", "mse", "--paths", "on", *F64)
    p = p["paths"]
    # x + a x: every v_k is C(L,k) a^k g_y, so shares are binomial with a/(1 + a), the mean L/3.
    near("80 blocks: mean", p["effective_depth"], depth * a / (1 + a), 1e-8)
    want = math.comb(depth, 26) * a**26 / (1 + a) ** depth
    near("80 blocks: share through 26", p["share"][26], want, 1e-10)
    tail = sum(math.comb(depth, k) * a**k for k in range(65, depth + 1)) / (1 + a) ** depth
    near("80 blocks: remainder", p["remainder"], tail, 1e-12)
    check("80 blocks: cut", None if not p["exact"] and len(p["share"]) == 65 and p["said"] else str(p))


def test_none(t):
    r = mlp(t, "plain", 3, 8, "Relu", lambda r, n: he(r, n), classes=4)
    d = diagnose(r, data(t / "plain.npz", 16, 8, 4))
    check("no skips: null", None if d["paths"] is None else str(d["paths"]))
    model, _ = residual(t, "off", 3, 4, 5)
    p = diagnose(model, vector_loss(t / "off.npz", 4, 4), "--loss", "mse", "--paths", "off")["paths"]
    check("--paths off", None if p["share"] == [] and p["effective_depth"] is None and p["said"] else str(p))


# ---- number formats ------------------------------------------------------------------------------


FORMATS = {"float32": (2.0**-150, 3.4028234663852886e38), "float16": (2.0**-25, 65504.0),
           "bfloat16": (2.0**-134, 3.3895313892515355e38)}


def cotangents(weights, x, y):
    """Of the mean cross-entropy of an MLP of tanh, by NumPy: at all tensors."""
    h, inputs = x.astype(float), []
    for i, w in enumerate(weights):
        inputs.append(h)  # of layer i: behind a tanh, but for the first
        h = h @ w.T
        h = np.tanh(h) if i + 1 < len(weights) else h
    p = np.exp(h - h.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(len(y)), y] -= 1
    g, out = p / len(y), [p / len(y)]
    for i in reversed(range(len(weights))):
        g = g @ weights[i]
        out.append(g)
        if i > 0:
            g = g * (1 - inputs[i] ** 2)
            out.append(g)
    return out


def test_formats(t):
    n, layers = 64, 30
    r, net, weights = np.random.default_rng(6), Net(n), []
    for _ in range(layers):
        w = he(r, n, gain=0.25).astype(np.float32)
        net.linear(w)
        net.add("Tanh")
        weights.append(w.astype(float))
    w = he(r, 10, n, 1.0).astype(np.float32)
    net.linear(w, name="head")
    weights.append(w.astype(float))
    d = diagnose(net.save(t / "formats.onnx"), data(t / "formats.npz", 128, n, 10), *F64)
    a = np.load(t / "formats.npz")
    all_of = cotangents(weights, a["x"], a["y"])
    size = np.sort(np.abs(np.concatenate([g.ravel() for g in all_of])))
    size = size[size > 0]
    quantile, largest = size[int(0.001 * len(size))], size[-1]
    for name, (flushed, most) in FORMATS.items():
        f = d["number_format"][name]
        near(f"{name}: smallest scale", f["log10_smallest_scale"], math.log10(flushed / quantile), 0.15)
        near(f"{name}: largest scale", f["log10_largest_scale"], math.log10(most / largest), 0.15)
        near(f"{name}: underflow", f["share_underflow"], (size <= flushed).mean(), 0.04)
    check("float32 holds it", None if d["number_format"]["float32"]["fails_at"] is None else "it does not")
    at_output = [all_of[1 + 2 * (layers - 1 - i)] for i in range(layers)]  # of layer i, behind its tanh
    lost = [i for i in range(layers) if (np.abs(at_output[i]) <= FORMATS["float16"][0]).mean() > 0.5]
    want = d["layers"][max(lost)]["name"] if lost else None
    got = d["number_format"]["float16"]["fails_at"]
    names = [x["name"] for x in d["layers"]]
    near_enough = got in names and want in names and abs(names.index(got) - names.index(want)) <= 1
    check("float16 gives up", None if near_enough else f"at {got}, not {want}")
    printed = subprocess.run(
        [PROGRAM, "diagnose", str(t / "formats.onnx"), "--data", str(t / "formats.npz")], capture_output=True, text=True
    ).stdout
    check("float16 is said",
          None if f"float16 fails at {got}" in printed and "float32 f" not in printed else printed)
    scaled = diagnose(t / "formats.onnx", t / "formats.npz", "--loss-scale", "1024", *F64)["number_format"]["float16"]
    near("--loss-scale divides", scaled["log10_smallest_scale"],
         d["number_format"]["float16"]["log10_smallest_scale"] + math.log10(1024), 1e-6)


def test_updates(t):
    """Updates of a layer of equal gradients: below half a unit or not."""
    net = Net(4)
    net.linear(np.full((4, 4), 1.0))
    np.savez(t / "updates.npz", x=np.full((2, 4), 1, np.float32), target=np.full((2, 4), 4 - 1e-3, np.float32))
    d = diagnose(net.save(t / "updates.onnx"), t / "updates.npz", "--loss", "mse", *F64)
    check("updates lost: all", None if d["number_format"]["bfloat16"]["updates_lost"] == 1 else str(d["number_format"]))
    np.savez(t / "updates.npz", x=np.full((2, 4), 1, np.float32), target=np.full((2, 4), 1e4, np.float32))
    d = diagnose(t / "updates.onnx", t / "updates.npz", "--loss", "mse", *F64)
    lost = d["number_format"]["bfloat16"]["updates_lost"]
    check("updates lost: none", None if lost == 0 else str(lost))


# ---- balance, evidence, children -----------------------------------------------------------------


def test_evidence(t):
    model = mlp(t, "evidence", 6, 32, "Sigmoid", lambda r, n: he(r, n, gain=1.0))
    d = diagnose(model, data(t / "evidence.npz", 64, 32, 10), *F64)
    g = [x for l in d["layers"] for x in l["gradients"]]
    ratio = {x["parameter"]: (x["log10_norm"] - x["log10_weight_norm"]) * math.log(10) for x in g}
    b = d["balance"]
    low, high = min(ratio, key=ratio.get), max(ratio, key=ratio.get)
    check("balance: where", None if (b["min"]["parameter"], b["max"]["parameter"]) == (low, high) else str(b))
    near("balance: spread", b["spread"], ratio[high] - ratio[low], 1e-9)
    near("<W, gradient>", g[0]["weight_dot_gradient"],
         g[0]["cosine"] * 10 ** (g[0]["log10_norm"] + g[0]["log10_weight_norm"]), 1e-12)
    evidence = {x["quantity"]: x for x in d["verdict"]["evidence"]}
    near("evidence: lambda", evidence["lambda_low"]["value"], d["verdict"]["lambda_low"], 1e-12)
    near("evidence: threshold", evidence["lambda_low"]["threshold"], -math.log(1000), 1e-9)
    worst = min(d["layers"][:-1], key=lambda x: x["lambda"])["name"]
    check("evidence: where", None if evidence["lambda_low"]["where"] == worst else str(evidence["lambda_low"]))
    near("evidence: saturated", evidence["saturated_share"]["value"],
         max(x["saturated_fraction"] or 0 for x in d["layers"]), 1e-12)
    near("evidence: balance", evidence["balance"]["value"], b["spread"], 1e-12)
    missing = [k for k in ("nonfinite", "float16_underflow", "ln_gain_low", "weight_dot_gradient") if k not in evidence]
    check("evidence: all there", f"not {missing}" if missing else None)
    bad = [x for x in d["thresholds"] if not x["source"] or not math.isfinite(x["value"])]
    check("thresholds have sources", None if d["thresholds"] and not bad else str(bad))


def test_children(t):
    model, _ = residual(t, "children", 3, 6, 7)
    d = diagnose(model, vector_loss(t / "children.npz", 8, 6), "--loss", "mse", *F64)
    for layer in d["layers"]:
        for k, v in layer["factors"].items():
            near(f"children of {layer['name']}: {k}", sum(c["factors"][k] for c in layer["children"]), v, 1e-10)
        ops = [c["op"] for c in layer["children"]]
        check(f"children of {layer['name']}", None if ops == ["Gemm", "Tanh", "Gemm", "Add"] else str(ops))


def main():
    need_onnx()
    with tempfile.TemporaryDirectory() as t:
        t = pathlib.Path(t)
        for test in (test_figures, test_brute_force, test_two_adds, test_long, test_none, test_formats, test_updates,
                     test_evidence, test_children):
            test(t)
    finish()


main()
