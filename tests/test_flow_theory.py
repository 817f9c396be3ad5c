"""Theory, weights, confidence and shattering of `chainrule diagnose` (docs/flow.md), with published figures."""

import math
import pathlib
import subprocess
import tempfile

import numpy as np

from flow_nets import PROGRAM, SOURCE, Net, check, data, diagnose, finish, he, mlp, near, need_onnx

W, D = 512, 20  # width and depth of the checked figures


def torch_default(r, n, m=None):
    m = m or n
    return r.uniform(-1, 1, (n, m)) / math.sqrt(m)


def total(d, skip=1):
    """Sum of the gains between the first block and the head, measured and of theory."""
    layers = d["layers"][skip:-1]
    return sum(x["ln_gain"] for x in layers), sum(x["theory"]["ln_gain"] for x in layers)


# ---- figures --------------------------------------------------------------------------------------


def test_figures(t):
    """Width 512, 64 normal samples, labels at random, cross-entropy of ten logits; gains of 20 hidden layers, one draw.

    A sum over 20 layers has a deviation of 20^(1/2) (5/512)^(1/2)/2 = 0.22 at most (one sample; less over 64)."""
    data(t / "wide.npz", 64, W, 10)
    rows = [
        ("PyTorch's default and ReLU: 6^-10 over 20 layers", "Relu", torch_default, D + 1, math.log(1.654e-8), 0.35),
        ("Glorot and ReLU, 30 layers: 2^(-29/2)", "Relu", lambda r, n: he(r, n, gain=1.0), 30, math.log(4.316e-5), 0.4),
        ("He and ReLU: 1", "Relu", he, D + 1, 0, 0.35),
        ("sigmoid: 0.23605 a layer", "Sigmoid", lambda r, n: he(r, n, gain=1.0), D + 1, D * math.log(0.23605), 0.5),
        ("SELU: 1.0716 a layer", "Selu", lambda r, n: he(r, n, gain=1.0), D + 1, D / 2 * math.log(1.071575), 0.35),
    ]
    for i, (name, activation, weights, depth, want, tolerance) in enumerate(rows):
        d = diagnose(mlp(t, f"figure{i}", depth, W, activation, weights, seed=i), t / "wide.npz", "--redraws", 0)
        measured, theory = total(d)
        near(f"{name}: measured", measured, want, tolerance)
        near(f"{name}: theory", theory, want, 0.1)  # of the variances as they were drawn


def batch_norms(t, training):
    r, net = np.random.default_rng(0), Net(W)
    for _ in range(D):
        net.linear(he(r, W))
        stored = [net.value(np.zeros(W)), net.value(np.ones(W))]
        net.add("BatchNormalization", net.value(np.ones(W)), net.value(np.zeros(W)), *stored, training_mode=training)
        net.add("Relu")
    net.linear(he(r, 10, W, 1.0))
    return net.save(t / "bn.onnx")


def test_batch_norm(t):
    """Batch norm and ReLU, batch of 512: chi = pi/(pi - 1) = 1.466942."""
    data(t / "batch.npz", 512, W, 10)
    d = diagnose(batch_norms(t, 1), t / "batch.npz")
    measured, theory = total(d)
    near("batch norm and ReLU: theory", theory / (D - 1), 0.5 * math.log(1.466942), 1e-6)
    near("batch norm and ReLU: measured", measured / (D - 1), 0.5 * math.log(1.466942), 0.02)
    check("batch norm at 1 and 0 is initialisation", problem(d["weights_state"]["state"], "initialisation"))
    d = diagnose(batch_norms(t, 0), t / "batch.npz", "--bn", "stored")
    check("stored statistics have no theory", problem(d["layers"][0]["theory"], None))
    check("and the reason is said", None if "stored" in d["layers"][0]["no_theory"] else d["layers"][0]["no_theory"])


def problem(got, want):
    return None if got == want else f"{got} is not {want}"


def residual(t, name, by, inside, seed=0):
    """20 blocks x + by W relu(x), or x + by relu(W x), on a first linear layer."""
    r, net = np.random.default_rng(seed), Net(W)
    net.linear(he(r, W, gain=1.0))
    p = net.value(np.float32(by))
    for _ in range(D):
        x = net.at
        if not inside:
            net.add("Relu")
        net.linear(he(r, W))
        if inside:
            net.add("Relu")
        if by != 1:
            net.add("Mul", p)
        net.add("Add", x)
    net.linear(he(r, 10, W, 1.0))
    return net.save(t / f"{name}.onnx")


def test_residual(t):
    """|g|^2 at the input over that at the output of 20 blocks, and the same of the activations."""
    root = 1 / math.sqrt(D)
    for name, by, inside, back, forward, theory in (
        ("x + W relu(x)", 1, False, 1.08e6, 1.15e6, 2.0**20),
        ("x + W relu(x)/sqrt(L)", root, False, 2.65, 2.72, (1 + 1 / D) ** D),
        ("x + relu(W x)/sqrt(L)", root, True, 2.91, 48.5, None),
        ("x + relu(W x)", 1, True, 9.9e6, 9.2e8, None),
    ):
        d = diagnose(residual(t, "residual", by, inside), t / "wide.npz", "--redraws", 0)
        layers = d["layers"][1:-1]
        got = 2 * sum(x["ln_gain"] for x in layers)
        size = [x["activation"]["std"] ** 2 + x["activation"]["mean"] ** 2 for x in d["layers"]]
        grown = math.log(size[-2] / size[0])
        # one draw, and one other on the page of figures; the drifting stream depends on the seed cotangent's mean
        near(f"{name}: backward", got, math.log(back), 0.5 if not inside else 1.0)
        near(f"{name}: forward", grown, math.log(forward), 0.35)
        if theory:
            near(f"{name}: theory", 2 * sum(x["theory"]["ln_gain"] for x in layers), math.log(theory), 0.05)
        else:
            check(f"{name}: drifts", None if "drift" in str(layers[5]["no_theory"]) else str(layers[5]["no_theory"]))


def test_width(t):
    """He and ReLU, one sample: E[v^2]/E[v]^2 = (1 + 5/n)^L, so Var ln v about L ln(1 + 5/n); 95 % within the band."""
    n, depth, nets = 64, 10, 40
    data(t / "one.npz", 1, n, 10)
    inside, ln = [], []
    for seed in range(nets):
        d = diagnose(mlp(t, "narrow", depth + 1, n, "Relu", he, seed=100 + seed), t / "one.npz", "--redraws", 0)
        layers = d["layers"][1:-1]
        inside += [x["theory"]["low"] <= x["ln_gain"] <= x["theory"]["high"] for x in layers]
        ln.append(2 * sum(x["ln_gain"] for x in layers))
    near("the band holds 95 % of the gains", np.mean(inside), 0.95, 0.03)
    want = depth * math.log(1 + 5 / n)
    near("variance of ln |g|^2 over networks", np.var(ln, ddof=1), want, 0.6 * want)  # 2.7 deviations of 40 draws


def test_tanh(t):
    """sb2 = 0.05, sw2 = 1.25, width 1000: q* = 0.292, xi = 6.8 and 1.8; chi measured 0.852 where theory has 0.863."""
    n, r = 1000, np.random.default_rng(0)
    net = Net(n)
    for _ in range(12):
        net.linear(he(r, n, gain=1.25), r.standard_normal(n) * math.sqrt(0.05))
        net.add("Tanh")
    net.linear(he(r, 10, n, 1.0))
    data(t / "tanh.npz", 32, n, 10)
    model = net.save(t / "tanh.onnx")
    d = diagnose(model, t / "tanh.npz", "--weights-state", "initialisation", "--redraws", 0)
    scales = d["theory"]["depth_scales"]
    near("tanh: xi of the gradient", scales["gradient"], 6.8, 0.4)
    near("tanh: xi of the correlation", scales["correlation"], 6.8, 0.4)
    near("tanh: xi of the length", scales["length"], 1.8, 0.05)
    near("tanh: q*", d["layers"][10]["theory"]["length"], 0.29205, 0.01)
    measured, _ = total(d, 4)
    near("tanh: chi", math.exp(2 * measured / 8), 0.857, 0.03)
    check("said to be at initialisation, theory applies", problem(d["theory"]["applies"], True))
    curve = np.array(d["theory"]["critical"][0]["curve"])
    near("tanh: critical weight variance", np.interp(0.05, curve[:, 0], curve[:, 1]), 1.760955, 0.01)
    d = diagnose(model, t / "tanh.npz", "--redraws", 0)
    fresh = d["weights_state"]["state"] == "initialisation"
    check("normal biases are no law of frameworks", "they are" if fresh else None)
    check("and theory does not apply", None if not d["theory"]["applies"] and "not" in d["theory"]["said"] else str(d))


# ---- weights --------------------------------------------------------------------------------------


def truncated(r, n, m):
    z = r.standard_normal(8 * n * m)
    return z[abs(z) < 2][: n * m].reshape(n, m) * math.sqrt(2 / m) / 0.87962566


def orthogonal(r, n, m):
    q, s = np.linalg.qr(r.standard_normal((max(n, m), min(n, m))))
    q = q * np.sign(np.diag(s))
    return math.sqrt(2) * (q if n >= m else q.T)


LAWS = {
    "PyTorch": (torch_default, True),
    "He": (he, False),
    "Glorot": (lambda r, n, m: r.uniform(-1, 1, (n, m)) * math.sqrt(6 / (n + m)), False),
    "two deviations": (truncated, False),
    "orthogonal": (orthogonal, False),
}


def train(r, w, b, steps, rate):
    """Plain gradient descent on 600 labelled normal samples with a pattern to learn, ReLU."""
    x = r.standard_normal((600, w[0].shape[1]))
    y = (x @ r.standard_normal((w[0].shape[1], len(b[-1])))).argmax(1)
    for _ in range(steps):
        rows = r.integers(0, 600, 64)
        h, masks = [x[rows]], []
        for i in range(len(w)):
            z = h[-1] @ w[i].T + b[i]
            masks.append(z > 0)
            h.append(np.maximum(z, 0))
        p = np.exp(z - z.max(1, keepdims=True))
        g = p / p.sum(1, keepdims=True)
        g[np.arange(64), y[rows]] -= 1
        for i in reversed(range(len(w))):
            own = g / 64
            g = g @ w[i]
            if i:
                g = g * masks[i - 1]
            w[i] -= rate * own.T @ h[i]
            b[i] -= rate * own.sum(0)


def test_states(t):
    data(t / "state.npz", 64, 64, 10)
    for name, (law, uniform) in LAWS.items():
        for steps, want in ((0, {"initialisation"}), (30, {"trained", "unknown"}), (300, {"trained", "unknown"})):
            r, sizes = np.random.default_rng(len(name)), [64, 128, 96, 10]
            w = [law(r, n, m) for n, m in zip(sizes[1:], sizes)]
            b = [r.uniform(-1, 1, n) / math.sqrt(m) if uniform else np.zeros(n) for n, m in zip(sizes[1:], sizes)]
            train(r, w, b, steps, 0.1)
            net = Net(64)
            for i in range(3):
                net.linear(w[i], b[i])
                if i < 2:
                    net.add("Relu")
            d = diagnose(net.save(t / "state.onnx"), t / "state.npz", "--redraws", 3)
            state = d["weights_state"]["state"]
            check(f"{name}, {steps} steps: {state}", None if state in want else str(d["weights_state"]))
            drawn = 3 if steps == 0 else 0
            check(f"{name}, {steps} steps: {drawn} re-draws", problem(d["redraws"], drawn))
            check(f"{name}, {steps} steps: theory applies", problem(d["theory"]["applies"], steps == 0))
            d = diagnose(t / "state.onnx", t / "state.npz", "--weights-state", "trained")
            got = (d["weights_state"]["state"], d["redraws"])
            check("--weights-state trained", problem(got, ("trained", 0)))
    near("24 fresh networks of 15 layers, none taken for another", fresh(t), 0, 0)


def fresh(t):
    """Fresh networks that are not called so."""
    wrong = 0
    for seed in range(24):
        model = mlp(t, "fresh", 15, 48, "Tanh", torch_default if seed % 2 else he, seed=1000 + seed)
        wrong += diagnose(model, t / "fresh.npz", "--redraws", 0)["weights_state"]["state"] != "initialisation"
    return wrong


# ---- confidence -----------------------------------------------------------------------------------


def test_redraws(t):
    """The deviation of Lambda over re-draws is that over networks made anew."""
    data(t / "redraw.npz", 32, 64, 10)
    model = mlp(t, "redraw", 12, 64, "Relu", he, seed=1)
    d = diagnose(model, t / "redraw.npz", "--redraws", 40)
    check("40 re-draws", problem(d["redraws"], 40))
    made = []
    for seed in range(24):
        anew = diagnose(mlp(t, "anew", 12, 64, "Relu", he, seed=50 + seed), t / "redraw.npz", "--redraws", 0)
        made.append([x["lambda"] for x in anew["layers"]])
    for i in (0, 5, 10):
        got, want = d["layers"][i]["lambda_error"]["redraws"], np.std([x[i] for x in made], ddof=1)
        near(f"layer {i}: deviation over re-draws over that over networks", got / want, 1, 0.45)
    again = diagnose(model, t / "redraw.npz", "--redraws", 40)
    other = diagnose(model, t / "redraw.npz", "--redraws", 40, "--seed", 5)
    spread = lambda d: [x["lambda_error"]["redraws"] for x in d["layers"][:-1]]
    check("the same seed, the same draws", problem(spread(again), spread(d)))
    check("another seed, others", None if spread(other) != spread(d) else "they are the same")


def test_confidence(t):
    """Far from T the verdict is sure; Lambda = -6.9 +- its spread is a coin."""
    data(t / "sure.npz", 64, 64, 10)
    for name, gain, low, high in (("far", 2.0, 0.999, 1), ("near", 2 * math.exp(-2 * 6.9 / 21), 0, 0.97)):
        model = mlp(t, name, 21, 64, "Relu", lambda r, n: he(r, n, gain=gain), seed=3)
        v = diagnose(model, t / "sure.npz", "--redraws", 10)["verdict"]
        good = v["confidence"] is not None and low <= v["confidence"] <= high
        check(f"confidence {name} from the threshold", None if good else f"{v['confidence']}, {v['lambda_low']}")
        alone = diagnose(model, t / "sure.npz", "--redraws", 0)["layers"][3]["lambda_error"]
        half = diagnose(model, t / "sure.npz", "--redraws", 0, "--samples", 16)["layers"][3]["lambda_error"]
        near(f"{name}: a quarter of the samples, twice the error", half["samples"] / alone["samples"], 2, 1)
    one = diagnose(model, t / "one64.npz", "--redraws", 0)
    check("one sample and no re-draws: no confidence", problem(one["verdict"]["confidence"], None))


def test_budget(t):
    model = t / "far.onnx"
    d = diagnose(model, t / "sure.npz", "--budget", "0.0001")
    whole = d["verdict"]["status"] == "healthy" and d["layers"][3]["theory"]
    check("no time: verdict and theory all the same", None if whole else str(d["verdict"]))
    check("no time: no re-draws", problem(d["redraws"], 0))
    said = " ".join(d["cut"])
    check("no time: said", None if "re-draws" in said and "shattered" in said else said)
    check("no time: no shattering", problem(d["shattering"]["cosine"], None))
    d = diagnose(model, t / "sure.npz", "--budget", "60")
    check("time: all of it", problem((d["redraws"], d["cut"]), (5, [])))
    shown = subprocess.run(
        [PROGRAM, "diagnose", str(model), "--data", str(t / "sure.npz"), "--budget", "0.0001"],
        capture_output=True,
        text=True,
    ).stdout
    check("no time: said on the terminal", None if "left out: re-draws" in shown else shown)
    for options in (["--budget", "0"], ["--budget", "x"], ["--redraws", "-1"], ["--weights-state", "fresh"]):
        done = subprocess.run([PROGRAM, "diagnose", str(model), "--data", "random", *options], capture_output=True)
        check(f"{' '.join(options)} is a mistake of usage", problem(done.returncode, 2))


# ---- shattering -----------------------------------------------------------------------------------


def scalar_relu(t, name, depth, width, seed=0):
    """He and ReLU with one output; its target is far above, so that the cotangent is the same for every sample."""
    r, net = np.random.default_rng(seed), Net(width)
    for _ in range(depth):
        net.linear(he(r, width))
        net.add("Relu")
    net.linear(he(r, 1, width, 1.0))
    return net.save(t / f"{name}.onnx")


def test_shattering(t):
    """Cosines from independent samples: 0.1046, 0.0337, 0.0082; from 0.95: 0.40, 0.20, 0.047. Mean over 6 networks of
    width 256 and 16 samples; a cosine in 256 dimensions has a deviation of 1/16. Narrow deep networks shatter less."""
    x = np.random.default_rng(7).standard_normal((16, 256)).astype(np.float32)
    np.savez(t / "pairs.npz", x=x, target=np.full((16, 1), 1e4, np.float32))
    for depth, apart, close in ((5, 0.1046, None), (10, 0.0337, 0.40), (20, 0.0082, 0.20), (50, None, 0.047)):
        got = []
        for seed in range(6):
            s = diagnose(scalar_relu(t, "pairs", depth, 256, seed), t / "pairs.npz", "--loss", "mse")["shattering"]
            got.append((s["neighbours"]["cosine"], s["cosine"], s["theory"], s["input_cosine"]))
        apart_got, close_got, theory, inputs = np.mean(got, 0)
        near(f"depth {depth}: x and x'", inputs, 0.95, 1e-9)
        near(f"depth {depth}: one cotangent", s["output_cosine"], 1, 1e-6)
        if apart is not None:
            near(f"depth {depth}: independent samples", apart_got, apart, 0.035)
        if close is not None:
            near(f"depth {depth}: cosine 0.95", close_got, close, 0.09 if depth == 50 else 0.06)
            near(f"depth {depth}: theory", theory, close, 0.02)
    net = Net(64)
    r = np.random.default_rng(1)
    net.linear(he(r, 64, 64))
    d = diagnose(net.save(t / "flat.onnx"), t / "state.npz")
    near("a linear network shatters nothing", d["shattering"]["cosine"], d["shattering"]["theory"], 1e-3)


def test_reasons(t):
    d = diagnose(SOURCE / "tests/data/onnx-reference/lenet/model.onnx", "random")
    reasons = [x["no_theory"] for x in d["layers"] if x["theory"] is None]
    check("pooling has no theory", None if any("MaxPool" in x for x in reasons) else str(reasons))
    d = diagnose(SOURCE / "tests/data/onnx-reference/bert_mini/model.onnx", "random")
    check("no shattering by words", None if "input of floats" in d["shattering"]["why"] else str(d["shattering"]))


def main():
    need_onnx()
    with tempfile.TemporaryDirectory() as t:
        t = pathlib.Path(t)
        data(t / "fresh.npz", 4, 48, 10)
        data(t / "one64.npz", 1, 64, 10)
        for test in (
            test_figures,
            test_batch_norm,
            test_residual,
            test_width,
            test_tanh,
            test_states,
            test_redraws,
            test_confidence,
            test_budget,
            test_shattering,
            test_reasons,
        ):
            test(t)
    finish()


if __name__ == "__main__":
    main()
