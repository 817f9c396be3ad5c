"""The graph in the document of `chainrule diagnose`: every edge with the gradient that comes back along it, against the
same computed by hand."""

import math
import pathlib
import tempfile

import numpy as np
from flow_nets import SOURCE, Net, check, diagnose, finish, near, need_onnx


def test_by_hand(t):
    """x -> Gemm -> Relu -> Gemm, joined to x by an Add: each edge's gradient in NumPy."""
    r, n = np.random.default_rng(5), 6
    w1, w2, head = (r.standard_normal((n, n)) for _ in range(3))
    net = Net(n)
    net.linear(w1, name="first")
    net.add("Relu", name="relu")
    net.linear(w2, name="second")
    net.add("Add", "x", name="join")
    net.linear(head, name="head")
    x, target = r.standard_normal((4, n)).astype(np.float32), r.standard_normal((4, n)).astype(np.float32)
    np.savez(t / "hand.npz", x=x, target=target)
    w1, w2, head = (w.astype(np.float32).astype(float) for w in (w1, w2, head))
    d = diagnose(net.save(t / "hand.onnx"), t / "hand.npz", "--loss", "mse", "--precision", "f64")
    s = x @ w1.T
    y = (x + np.maximum(s, 0) @ w2.T) @ head.T
    g = 2 * (y - target)
    into_head = g @ head
    into_second = into_head @ w2
    into_relu = into_second * (s > 0)
    want = {
        ("Loss", "head"): g,
        ("head", "join"): into_head,
        ("join", "second"): into_head,
        ("join", "x"): into_head,
        ("second", "relu"): into_second,
        ("relu", "first"): into_relu,
        ("first", "x"): into_relu @ w1,
    }
    nodes, edges = d["graph"]["nodes"], d["graph"]["edges"]
    name = lambda i: "Loss" if nodes[i]["op"] == "Loss" else nodes[i]["name"]  # noqa: E731
    got = {(name(e["to"]), name(e["from"])): e["log10_cotangent"] for e in edges}
    check("edges of the network by hand", None if set(got) == set(want) else f"{sorted(got)}")
    end = ("Loss", "head")  # beside the one at the output: the loss may be a sum over the batch or a mean
    for pair, gradient in want.items():
        ratio = np.linalg.norm(gradient) / np.linalg.norm(g)
        near(f"gradient from {pair[0]} to {pair[1]}", got[pair] - got[end], math.log10(ratio), 1e-6)
    near("gradient at the output and the last layer", got[end], d["layers"][-1]["log10_cotangent_out"], 1e-9)
    layers = {n["name"]: n["layer"] for n in nodes}
    check("ends belong to no layer", None if layers["x"] is None and nodes[-1]["layer"] is None else str(layers))
    names = [x["name"] for x in d["layers"]]
    of = {n: names[layers[n]] for n in ("first", "second", "head")}
    known = of == {"first": "first", "second": "first", "head": "head"}
    check("operators belong to their layers", None if known else str(of))


def test_shapes():
    """In every model: nodes in an order of computation, edges between nodes that there are, layers ascending."""
    for folder in sorted((SOURCE / "tests/data/onnx-reference").iterdir()):
        if folder.name in ("SOURCE.md", "loss_in_graph", "activations"):
            continue
        d = diagnose(folder / "model.onnx", "random")
        nodes, edges, layers = d["graph"]["nodes"], d["graph"]["edges"], len(d["layers"])
        bad = [e for e in edges if not 0 <= e["from"] < e["to"] < len(nodes)]
        ends = [n["op"] for n in nodes if n["layer"] is None]
        of = [n["layer"] for n in nodes if n["layer"] is not None]
        good = not bad and of == sorted(of) and set(of) == set(range(layers)) and ends[-1] == "Loss"
        reached = {e["from"] for e in edges} | {len(nodes) - 1}
        check(f"graph of {folder.name}", None if good and len(reached) == len(nodes) else f"{bad} {of} {ends}")


def test_scaled(t):
    """--loss-scale is divided out of edges as of all else; what is beyond every float keeps its digits."""
    net = Net(1)
    p = net.value([1.0])
    for i in range(600):
        net.add("Mul", p, name=f"layer {i}")
        net.add("Sigmoid")
    np.savez(t / "deep.npz", x=np.array([[0.5]], np.float32), target=np.zeros((1, 1), np.float32))
    model = net.save(t / "deep.onnx")
    how = ["--loss", "mse", "--precision", "f64"]
    plain, scaled = (diagnose(model, t / "deep.npz", *how, *o) for o in ([], ["--loss-scale", "1024"]))
    a, b = (x["graph"]["edges"][0]["log10_cotangent"] for x in (plain, scaled))
    near("first edge and first layer", a, plain["layers"][0]["log10_cotangent_in"], 1e-9)
    check("beyond every float", None if a < -380 else str(a))
    near("the scale of the loss", a - b, math.log10(1024), 1e-9)


def main():
    need_onnx()
    with tempfile.TemporaryDirectory() as t:
        t = pathlib.Path(t)
        test_by_hand(t)
        test_shapes()
        test_scaled(t)
    finish()


main()
