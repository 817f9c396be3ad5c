"""`chainrule diagnose`: exact zeros and their reasons, closed gates, batch norms, dropout, scaled losses, redaction."""

import json
import math
import pathlib
import subprocess
import tempfile

import numpy as np
from flow_nets import PROGRAM, SOURCE, Net, check, data, diagnose, finish, he, mlp, near, need_onnx


def is_(name, got, want):
    check(name, None if got == want else f"{got} is not {want}")


def run(*arguments):
    return subprocess.run([PROGRAM, "diagnose", *map(str, arguments)], capture_output=True, text=True)


# ---- exact zeros ---------------------------------------------------------------------------------


def test_zero_head(t):
    """A head of zeros lets no gradient pass at step 0: nothing behind it is judged, and it is measured after a step."""
    r, net = np.random.default_rng(1), Net(8)
    for i in range(3):
        net.linear(he(r, 8), name=f"layer{i}")
        net.add("Relu")
    net.linear(np.zeros((4, 8)), name="head")
    d = diagnose(net.save(t / "head.onnx"), data(t / "head.npz", 32, 8, 4), "--precision", "f64")
    is_("zero head: status", d["verdict"]["status"], "healthy")
    is_("zero head: gates", d["closed_gates"], ["p3"])
    is_("zero head: reasons", [x["zero_because"] for x in d["layers"]], ["closed_gate"] * 4)
    is_("zero head: gains", [x["ln_gain"] for x in d["layers"]], [None] * 4)
    is_("zero head: factors", set(d["layers"][0]["factors"].values()), {None})
    check("zero head: said", None if "`p3`" in d["verdict"]["sentence"] else d["verdict"]["sentence"])
    after = [x["after_step"] for x in d["layers"]]
    check("zero head: after a step", None if all(math.isfinite(x["ln_gain"]) for x in after) else str(after))
    # After the step the head is -c G/|G|: its gain follows from the gradient of the head, by NumPy.
    a = np.load(t / "head.npz")
    r, h = np.random.default_rng(1), a["x"].astype(float)
    for i in range(3):
        h = np.maximum(0, h @ he(r, 8).astype(np.float32).astype(float).T)
    p = np.full((32, 4), 0.25)
    p[np.arange(32), a["y"]] -= 1
    gradient = p.T @ h
    w = -0.001 * gradient / math.sqrt((gradient**2).mean())
    q = np.exp(h @ w.T)
    q /= q.sum(1, keepdims=True)
    q[np.arange(32), a["y"]] -= 1
    want = math.log(np.linalg.norm(q @ w) / np.linalg.norm(q))
    near("zero head: gain of the head after a step", after[3]["ln_gain"], want, 1e-9)


def test_gated_branches(t):
    """x + alpha F(x) with alpha = 0: the gradient goes through the skip, nothing is gated."""
    r, net = np.random.default_rng(2), Net(8)
    net.linear(he(r, 8))
    for _ in range(4):
        x = net.at
        net.linear(he(r, 8))
        net.add("Relu")
        net.add("Mul", net.value(np.zeros(1)))
        net.add("Add", x)
    net.linear(he(r, 4, 8))
    d = diagnose(net.save(t / "rezero.onnx"), data(t / "rezero.npz", 32, 8, 4))
    is_("zero branches: status", d["verdict"]["status"], "healthy")
    is_("zero branches: gates", len(d["closed_gates"]), 4)
    is_("zero branches: reasons", {x["zero_because"] for x in d["layers"]}, {None})
    check("zero branches: gain 0", None if all(x["ln_gain"] == 0 for x in d["layers"][1:5]) else "not 0")
    check("zero branches: said", None if "not judged" not in d["verdict"]["sentence"] else d["verdict"]["sentence"])


def test_dead(t):
    """A layer of dead units cuts everything in front of it off, on few samples, too."""
    r, net = np.random.default_rng(3), Net(8)
    for i in range(4):
        net.linear(he(r, 8), np.full(8, -1000.0 if i == 2 else 1.0), name=f"layer{i}")
        net.add("Relu")
    net.linear(he(r, 4, 8))
    d = diagnose(net.save(t / "dead.onnx"), data(t / "dead.npz", 16, 8, 4))
    is_("dead: status", d["verdict"]["status"], "dying")
    check("dead: where", None if '"layer2"' in d["verdict"]["sentence"] else d["verdict"]["sentence"])
    is_("dead: reasons", [x["zero_because"] for x in d["layers"]], ["dead", "dead", "dead", None, None])


def test_fitted(t):
    net = Net(3)
    net.linear(np.eye(3))
    net.add("Relu")
    net.linear(np.eye(3))
    x = np.ones((5, 3), np.float32)
    np.savez(t / "fitted.npz", x=x, target=x)
    d = diagnose(net.save(t / "fitted.onnx"), t / "fitted.npz", "--loss", "mse")
    is_("fitted: reasons", {x["zero_because"] for x in d["layers"]}, {"loss_fitted"})
    is_("fitted: status", d["verdict"]["status"], "healthy")
    is_("fitted: extremes are absent", (d["verdict"]["lambda_low"], d["verdict"]["lambda_high"]), (None, None))
    check("fitted: said", None if "fitted" in d["verdict"]["sentence"] else d["verdict"]["sentence"])


def test_saturated_gates(t):
    """A sigmoid that multiplies another signal is a gate: wide open or shut is its work."""
    for gate, want in ((False, "saturated"), (True, "healthy")):
        r, net = np.random.default_rng(4), Net(16)
        net.linear(he(r, 16))
        x = net.at
        net.linear(he(r, 16, gain=400.0))
        net.add("Sigmoid")
        net.add("Mul" if gate else "Add", x)
        net.linear(he(r, 4, 16))
        d = diagnose(net.save(t / f"gate{gate}.onnx"), data(t / "gate.npz", 64, 16, 4))
        is_(f"a sigmoid {'as a gate' if gate else 'that is added'}", d["verdict"]["status"], want)


# ---- modes ---------------------------------------------------------------------------------------


def norm_net(t, name, **attributes):
    r, net = np.random.default_rng(5), Net(6)
    for _ in range(3):
        net.linear(he(r, 6))
        more = [net.value(v) for v in (np.ones(6), np.zeros(6), np.zeros(6), np.full(6, 9.0))]
        net.add("BatchNormalization", *more, **attributes)
        net.add("Relu")
    net.linear(he(r, 3, 6))
    return net.save(t / f"{name}.onnx")


def test_batch_norm(t):
    d = data(t / "norm.npz", 32, 6, 3)
    model = norm_net(t, "norm")
    batch, stored = diagnose(model, d), diagnose(model, d, "--bn", "stored")
    is_("--bn: said", (batch["modes"]["batch_norm"], stored["modes"]["batch_norm"]), ("batch", "stored"))
    # Stored deviations are 3: each norm takes ln 3. Statistics of the batch bring the deviation to 1.
    near("--bn stored: a norm divides by its deviation", stored["layers"][1]["factors"]["norm"], -math.log(3), 1e-3)
    a = np.load(t / "norm.npz")
    w = he(np.random.default_rng(5), 6).astype(np.float32)
    s = a["x"] @ w.T
    s = (s - s.mean(0)) / np.sqrt(s.var(0) + 1e-5)
    h = np.maximum(0, s)
    near("--bn batch: activation behind the first norm", batch["layers"][0]["activation"]["mean"], h.mean(), 1e-5)
    said = run(model, "--data", d).stdout
    check("--bn: on the terminal", None if "batch norms with the statistics of the batch" in said else said)
    one = run(model, "--data", d, "--samples", "1")
    good = one.returncode == 3 and "one value a channel" in one.stderr and "--bn stored" in one.stderr
    check("--bn batch of one sample", None if good else f"{one.returncode} {one.stderr}")
    is_("--bn stored of one sample", run(model, "--data", d, "--samples", "1", "--bn", "stored").returncode, 0)
    is_("--bn sometimes", run(model, "--data", d, "--bn", "sometimes").returncode, 2)
    is_("no batch norms", diagnose(t / "head.onnx", t / "head.npz")["modes"]["batch_norm"], None)


def test_dropout(t):
    r, net, n = np.random.default_rng(6), Net(200), 200
    net.linear(np.eye(n))
    net.add("Dropout", net.value(np.float32(0.75)))
    net.linear(he(r, 5, n))
    model, d = net.save(t / "drop.onnx"), data(t / "drop.npz", 400, n, 5)
    off, on = diagnose(model, d), diagnose(model, d, "--dropout", "on")
    near("dropout off", off["layers"][0]["ln_gain"], 0, 1e-6)
    # A quarter stays and is multiplied by 4: the squares become 4 times as large.
    near("dropout on", on["layers"][0]["ln_gain"], 0.5 * math.log(4), 0.02)
    is_("dropout: said", (off["modes"]["dropout"], on["modes"]["dropout"]), ("off", "on"))
    again, other = diagnose(model, d, "--dropout", "on"), diagnose(model, d, "--dropout", "on", "--seed", "7")
    is_("dropout: the same seed drops the same", again["layers"], on["layers"])
    check("dropout: another seed drops others", None if other["layers"] != on["layers"] else "the same")


def test_loss_scale(t):
    """A file that multiplies its loss: gradients are divided again, and Lambda never saw it."""
    found = []
    for scale in (1.0, 1024.0):
        r, net = np.random.default_rng(7), Net(6)
        net.linear(he(r, 6))
        net.add("Tanh")
        net.linear(he(r, 6))
        net.add("ReduceMean", keepdims=0)
        net.add("Mul", net.value(np.float32(scale)))
        model = net.save(t / f"scaled{scale}.onnx")
        np.savez(t / "scaled.npz", x=np.random.default_rng(8).standard_normal((9, 6)).astype(np.float32))
        found.append(diagnose(model, t / "scaled.npz", "--loss", "none", "--precision", "f64", "--loss-scale", scale))
    a, b = found
    near("--loss-scale: the loss", b["loss"]["value"], a["loss"]["value"], 1e-9)
    for x, y in zip(a["layers"], b["layers"]):
        if x["log10_cotangent_in"] is not None:
            near(f"--loss-scale: {x['name']}", y["log10_cotangent_in"], x["log10_cotangent_in"], 1e-9)
        for g, h in zip(x["gradients"], y["gradients"]):
            if x is not a["layers"][-1]:
                near(f"--loss-scale: {g['parameter']}", h["log10_norm"], g["log10_norm"], 1e-9)
    for bad in ("0", "-2", "x"):
        done = run(t / "scaled1.0.onnx", "--data", t / "scaled.npz", "--loss-scale", bad)
        is_(f"--loss-scale {bad}", done.returncode, 2)


def test_redact(t):
    for folder in ("resnet_mini", "bert_mini", "vgg_bn_train"):
        model = SOURCE / "tests/data/onnx-reference" / folder / "model.onnx"
        import onnx

        graph = onnx.load(str(model), load_external_data=False).graph
        names = {n.name for n in graph.node} | {o for n in graph.node for o in [*n.input, *n.output]}
        names = {n for n in names if len(n) > 3} | {str(model.parent)}
        hidden = run(model, "--data", "random", "--redact", "--json", "-").stdout
        out = hidden + run(model, "--data", "random", "--redact").stdout
        found = [n for n in names if f'"{n}"' in out or f"`{n}`" in out or f" {n} " in out]
        check(f"--redact: {folder}", f"names {found[:3]}" if found or "layers" not in out else None)
        plain = run(model, "--data", "random", "--json", "-").stdout
        check(f"without: {folder}", None if any(f'"{n}"' in plain for n in names) else "no name at all")
        check(f"reports name no folder: {folder}", None if str(model.parent) not in plain else "they do")
        a, b = ([x["lambda"] for x in json.loads(d)["layers"]] for d in (plain, hidden))
        is_(f"--redact changes no number: {folder}", a, b)


# ---- against another, and over checkpoints --------------------------------------------------------


def test_against(t):
    d = data(t / "pair.npz", 64, 16, 4)
    deep = mlp(t, "pair_sigmoid", 20, 16, "Sigmoid", lambda r, n: he(r, n, gain=1.0), 4)
    well = mlp(t, "pair_relu", 20, 16, "Relu", he, 4)
    both, alone = diagnose(deep, d, "--against", well), diagnose(well, d)
    is_("--against: the first is the verdict", both["verdict"]["status"], "vanishing")
    for part in ("verdict", "layers", "loss", "model"):
        is_(f"--against: {part} of the other", both["against"][part], alone[part])
    fails = [run(a, "--data", d, "--against", b, "--fail-on", "vanishing") for a, b in ((deep, well), (well, deep))]
    is_("--against: what fails is the first", [x.returncode for x in fails], [1, 0])
    table = run(deep, "--data", d, "--against", well).stdout.splitlines()
    rows = [x for x in table if x.startswith("    n")]
    longest = max(map(len, table[3:]))
    good = len(rows) == 21 and longest <= 100
    check("--against: the table", None if good else f"{len(rows)} rows, {longest} columns")
    bad = run(deep, "--data", d, "--against", t / "none.onnx")
    good = bad.returncode == 3 and "none.onnx" in bad.stderr
    check("--against a file that is not there", None if good else bad.stderr)
    random = diagnose(deep, "random", "--against", SOURCE / "tests/data/onnx-reference/lenet/model.onnx")
    check("--against: random data for each", None if random["against"]["layers"] else "no layers")


def test_weights(t):
    """Checkpoints in place of the file's parameters: the same as files with these parameters in them."""
    d, names = data(t / "ck.npz", 64, 16, 4), []
    for i, gain in enumerate((2.0, 1.0, 0.3)):
        model = mlp(t, f"ck{i}", 20, 16, "Relu", lambda r, n: he(r, n, gain=gain), 4, bias=0.0)
        import onnx
        from onnx import numpy_helper

        values = {p.name: numpy_helper.to_array(p) for p in onnx.load(str(model)).graph.initializer}
        wide = np.float64 if i == 1 else np.float32
        np.savez(t / f"ck{i}.npz", **{k: v.astype(wide) for k, v in values.items() if k != "p1" or i != 2})
        names.append(t / f"ck{i}.npz")
    h = diagnose(t / "ck0.onnx", d, "--weights", *names)
    want = [diagnose(t / f"ck{i}.onnx", d) for i in range(3)]
    is_("--weights: names", [x["checkpoint"] for x in h["history"]], [n.name for n in names])
    is_("--weights: status", [x["status"] for x in h["history"]], [w["verdict"]["status"] for w in want])
    lambdas = [[x["lambda"] for x in w["layers"]] for w in want]
    is_("--weights: lambda", [x["lambda"] for x in h["history"]], lambdas)
    is_("--weights: the verdict is the last one's", h["layers"], want[2]["layers"])
    is_("--weights: what is not there is said", [x["kept"] for x in h["history"]], [None, None, "`p1`"])
    two = diagnose(t / "ck0.onnx", d, "--weights", names[0], "--weights", names[1])
    is_("--weights: again and again", two["history"], h["history"][:2])
    out = run("--weights", *names, t / "ck0.onnx", "--data", d).stdout
    check("--weights: on the terminal", None if out.count("ck") >= 3 and "not in the checkpoint" in out else out)
    np.savez(t / "other.npz", q=np.zeros(3))
    bad = run(t / "ck0.onnx", "--data", d, "--weights", t / "other.npz")
    good = bad.returncode == 3 and "none of the model's parameters" in bad.stderr and "`q`" in bad.stderr
    check("--weights of another model", None if good else bad.stderr)
    np.savez(t / "shape.npz", p0=np.zeros((16, 15), np.float32))
    bad = run(t / "ck0.onnx", "--data", d, "--weights", t / "shape.npz")
    good = bad.returncode == 3 and "16 x 16" in bad.stderr and "16 x 15" in bad.stderr
    check("--weights of another shape", None if good else bad.stderr)


def test_long_table(t):
    """A table of 200 layers is read by groups, whose gains are sums."""
    d = data(t / "long.npz", 8, 4, 2)
    model = mlp(t, "long", 200, 4, "Tanh", lambda r, n: he(r, n, gain=1.0), 2)
    rows = [x for x in run(model, "--data", d).stdout.splitlines() if x.startswith("    n")]
    total = sum(float(x.split()[-3]) for x in rows)
    want = sum(x["ln_gain"] for x in diagnose(model, d)["layers"])
    check("200 layers: rows", None if len(rows) <= 40 else f"{len(rows)}")
    near("200 layers: sums", total, want, 0.3)


def main():
    need_onnx()
    with tempfile.TemporaryDirectory() as t:
        t = pathlib.Path(t)
        for test in (
            test_zero_head,
            test_gated_branches,
            test_dead,
            test_fitted,
            test_saturated_gates,
            test_batch_norm,
            test_dropout,
            test_loss_scale,
            test_redact,
            test_against,
            test_weights,
            test_long_table,
        ):
            test(t)
    finish()


main()
