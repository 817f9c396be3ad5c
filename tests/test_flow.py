"""`chainrule diagnose` against closed forms, published figures and its own rules (docs/flow.md)."""

import json
import math
import pathlib
import subprocess
import tempfile

import numpy as np
from flow_nets import PROGRAM, SOURCE, Net, check, data, diagnose, finish, he, mlp, near, need_onnx

# ---- closed forms --------------------------------------------------------------------------------


def test_chain(t):
    """5,000 sigmoid neurons: the gradient of the first is far below every float, and its digits are right."""
    net, depth, w = Net(1), 5000, 1.0
    p = net.value([w])
    for i in range(depth):
        net.add("Mul", p, name=f"layer {i}")
        net.add("Sigmoid")
    np.savez(t / "chain.npz", x=np.array([[0.5]], np.float32), target=np.zeros((1, 1), np.float32))
    d = diagnose(net.save(t / "chain.onnx"), t / "chain.npz", "--loss", "mse", "--precision", "f64")
    o, ln = 0.5, 0.0
    for _ in range(depth):
        o = 1 / (1 + math.exp(-w * o))
        ln += math.log(w * o * (1 - o))
    want = (ln + math.log(2 * o)) / math.log(10)  # the loss is o^2
    near("5,000 sigmoids: log10 of the gradient", d["layers"][0]["log10_cotangent_in"], want, 1e-6)
    check("5,000 sigmoids: vanishing", None if d["verdict"]["status"] == "vanishing" else d["verdict"]["sentence"])


def test_factors_of_the_sheet(t):
    """One sample, one neuron a layer: the factors are w_i and sigma'(s_i) themselves."""
    r, net, o = np.random.default_rng(3), Net(1), 0.7
    weights = r.uniform(0.5, 2, 8).astype(np.float32)
    expected = []
    for w in weights:
        net.add("Mul", net.value([w]))
        net.add("Sigmoid")
        s = float(w) * o
        o = 1 / (1 + math.exp(-s))
        expected.append((math.log(float(w)), math.log(o * (1 - o))))
    np.savez(t / "sheet.npz", x=np.array([[0.7]], np.float32), target=np.zeros((1, 1), np.float32))
    d = diagnose(net.save(t / "sheet.onnx"), t / "sheet.npz", "--loss", "mse", "--precision", "f64")
    for layer, (weight, slope) in zip(d["layers"], expected):
        near(f"{layer['name']}: weight", layer["factors"]["weight"], weight, 1e-6)
        near(f"{layer['name']}: slope", layer["factors"]["slope"], slope, 1e-6)


def test_sums():
    """Factors add up to the gain, in networks of every kind."""
    for folder in sorted((SOURCE / "tests/data/onnx-reference").iterdir()):
        if folder.name in ("SOURCE.md", "loss_in_graph", "activations"):
            continue
        d = diagnose(folder / "model.onnx", "random", "--precision", "f64")
        worst = max(
            (abs(sum(x["factors"].values()) - x["ln_gain"]) for x in d["layers"] if x["ln_gain"] is not None),
            default=1,
        )
        known = sum(x["ln_gain"] is not None for x in d["layers"])
        check(f"factors of {folder.name}", None if worst < 1e-9 and known else f"off by {worst}, {known} gains")


# ---- published and checked figures (theory.md) ----------------------------------------------------


def gains(d, skip=1):
    """Mean gain and factors of the blocks between the first and the head."""
    layers = d["layers"][skip:-1]
    mean = lambda f: sum(map(f, layers)) / len(layers)
    return mean(lambda x: x["ln_gain"]), {k: mean(lambda x: x["factors"][k]) for k in layers[0]["factors"]}


def test_figures(t):
    r, n, depth = np.random.default_rng(0), 512, 20
    data(t / "wide.npz", 64, n, 10)
    default = mlp(t, "default", depth, n, "Relu", lambda r, n: r.uniform(-1, 1, (n, n)) / math.sqrt(n))
    gain, _ = gains(diagnose(default, t / "wide.npz"))
    near("PyTorch's default and ReLU: 6^(-1/2) a layer", gain, -0.5 * math.log(6), 0.05)
    sigmoid = mlp(t, "sigmoid", depth, n, "Sigmoid", lambda r, n: he(r, n, gain=1.0))
    gain, factors = gains(diagnose(sigmoid, t / "wide.npz"))
    near("sigmoid, variance 1: 0.236 a layer", gain, math.log(0.23605), 0.03)
    near("of which the slope", factors["slope"], math.log(0.23605), 0.05)
    selu = mlp(t, "selu", depth, n, "Selu", lambda r, n: he(r, n, gain=1.0))
    gain, _ = gains(diagnose(selu, t / "wide.npz"))
    near("SELU: 1.0716^(1/2) a layer", gain, 0.5 * math.log(1.071575), 0.02)
    net = Net(n)
    net.linear(he(r, n, gain=1.0))
    for _ in range(depth):
        x = net.at
        net.add("Relu")
        net.linear(he(r, n))
        net.add("Add", x)
    net.linear(he(r, 10, n, 1.0))
    gain, factors = gains(diagnose(net.save(t / "residual.onnx"), t / "wide.npz"))
    near("x + W relu(x), He: total", gain, 0.340, 0.03)
    for k, want in (("skip", 0.341), ("weight", 0.171), ("slope", -0.172)):
        near(f"x + W relu(x), He: {k}", factors[k], want, 0.03)


# ---- rules ---------------------------------------------------------------------------------------


def test_rescaling(t):
    """W1 x 1000 and W2 / 1000 in a ReLU network is the same function: no verdict moves, and Lambda does not."""
    data(t / "small.npz", 32, 16, 4)
    found = []
    for k in (1, 1024):  # a power of two: weights in the file are rounded alike
        r, net = np.random.default_rng(5), Net(16)
        for i in range(6):
            w = he(r, 16).astype(np.float32)
            net.linear(w * k if i == 1 else w / k if i == 2 else w)
            net.add("Relu")
        net.linear(he(r, 4, 16, 1.0))
        found.append(diagnose(net.save(t / f"scaled{k}.onnx"), t / "small.npz", "--precision", "f64"))
    moved = max(abs(a["lambda"] - b["lambda"]) for a, b in zip(found[0]["layers"], found[1]["layers"]))
    check("rescaled layers move no Lambda", None if moved < 1e-9 else f"by {moved}")
    same = found[0]["verdict"]["status"] == found[1]["verdict"]["status"]
    check("rescaled layers move no verdict", None if same else "they do")


ZOO = [
    ("vanishing", "Sigmoid", 30, lambda r, n: he(r, n, gain=1.0), None, "slope"),
    ("vanishing", "Tanh", 30, lambda r, n: he(r, n, gain=0.2), None, "weight"),
    ("vanishing", "Relu", 30, lambda r, n: he(r, n, gain=0.5), None, None),
    ("exploding", "Relu", 30, lambda r, n: he(r, n, gain=6.0), None, "weight"),
    ("saturated", "Tanh", 3, lambda r, n: he(r, n, gain=400.0), None, None),
    ("dying", "Relu", 4, lambda r, n: he(r, n, gain=0.01), -1.0, None),
    ("healthy", "Relu", 30, lambda r, n: he(r, n), None, None),
    ("healthy", "Tanh", 8, lambda r, n: he(r, n, gain=1.0), None, None),
    ("healthy", "Selu", 20, lambda r, n: he(r, n, gain=1.0), None, None),
    ("healthy", "Sigmoid", 1, lambda r, n: he(r, n, gain=1.0), None, None),
]


def test_zoo(t):
    data(t / "zoo.npz", 512, 128, 10)
    words = {"slope": "the slopes of the activations", "weight": "the weights"}
    for i, (want, activation, layers, weights, bias, factor) in enumerate(ZOO):
        model = mlp(t, f"zoo{i}", layers, 128, activation, weights, bias=bias, seed=i)
        v = diagnose(model, t / "zoo.npz")["verdict"]
        problem = None if v["status"] == want else f"{v['status']}: {v['sentence']}"
        if not problem and factor and words[factor] not in v["sentence"]:
            problem = f"another factor: {v['sentence']}"
        check(f"{layers} layers of {activation}, {want}{' by ' + factor if factor else ''}", problem)


def test_command(t):
    model, d = t / "zoo0.onnx", t / "zoo.npz"
    for words in ("vanish", "exploding,", "", "healthy"):
        done = subprocess.run(
            [PROGRAM, "diagnose", str(model), "--data", str(d), "--fail-on", words], capture_output=True, text=True
        )
        good = done.returncode == 2 and "--fail-on knows" in done.stderr
        check(f"--fail-on '{words}' is no list of findings", None if good else f"{done.returncode}: {done.stderr}")
    for options, want in (([], 0), (["--fail-on", "exploding"], 0), (["--fail-on", "exploding,vanishing"], 1)):
        done = subprocess.run(
            [PROGRAM, "diagnose", str(model), "--data", str(d), "--quiet", *options], capture_output=True, text=True
        )
        good = done.returncode == want and done.stdout.startswith("Vanishing: ") and done.stdout.count("\n") == 1
        check(f"exit status with {options}", None if good else f"{done.returncode}: {done.stdout}{done.stderr}")
    for n in (3, 5):
        said = json.loads(
            subprocess.run(
                [PROGRAM, "diagnose", str(model), "--data", str(d), "--samples", str(n), "--json", "-"],
                capture_output=True,
                text=True,
            ).stdout
        )["data"]["samples"]
        check(f"--samples {n}", None if said == n else f"{said}")
    wide = subprocess.run([PROGRAM, "diagnose", str(model), "--data", str(d)], capture_output=True, text=True).stdout
    longest = max(map(len, wide.splitlines()[2:]))
    check("the table fits 100 columns", None if longest <= 100 else f"{longest} columns")


def main():
    need_onnx()
    with tempfile.TemporaryDirectory() as t:
        t = pathlib.Path(t)
        test_chain(t)
        test_factors_of_the_sheet(t)
        test_sums()
        test_figures(t)
        test_rescaling(t)
        test_zoo(t)
        test_command(t)
    finish()


main()
