"""The loss that `grad` takes: how a network ends, and with which labels, against definitions in NumPy."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

try:
    from onnx import TensorProto as proto, helper, save
except ImportError:
    print("1..0 # SKIP no python3-onnx")
    sys.exit(77)

PROGRAM = os.environ["CHAINRULE"]
random = np.random.default_rng(3)
failures = 0


def check(name, problem=None):
    global failures
    failures += problem is not None
    print(f"{'not ok' if problem else 'ok'} - {name}{': ' + problem if problem else ''}")


def grad(folder, version, nodes, data, *options, command="grad"):
    """Of a model from x to y by `nodes`, (operator, attributes); a Clip is from 1e-7 on. Exit status, JSON, message."""
    names = ["x", *(f"h{i}" for i in range(len(nodes) - 1)), "y"]
    made = []
    for (op, attributes), a, b in zip(nodes, names, names[1:]):
        made.append(helper.make_node(op, [a, "low"] if op == "Clip" else [a], [b], **attributes))
    shape = data["x"].shape
    value = helper.make_tensor_value_info("x", proto.DOUBLE, shape)
    out = helper.make_tensor_value_info("y", proto.DOUBLE, shape)
    low = [helper.make_tensor("low", proto.DOUBLE, [], [1e-7])]
    graph = helper.make_graph(made, "g", [value], [out], low)
    opset = [helper.make_opsetid("", version)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=7), folder / "m.onnx")
    np.savez(folder / "d.npz", **data)
    command = [PROGRAM, command, folder / "m.onnx", "--precision", "f64", "--json", "-"]
    source = [] if "--data" in options else ["--data", str(folder / "d.npz")]
    done = subprocess.run([*map(str, command), *source, *options], capture_output=True, text=True, timeout=60)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def cross_entropy(z, label, axis):
    z = np.moveaxis(z, axis, -1)
    logp = z - z.max(-1, keepdims=True)
    logp = logp - np.log(np.exp(logp).sum(-1, keepdims=True))
    return -np.take_along_axis(logp, label[..., None], -1).mean()


def binary(z, t):
    return (np.logaddexp(0, z) - t * z).mean()


def test_values(folder):
    x, label = random.normal(size=(4, 3)), np.array([0, 2, 1, 1])
    image, pixels = random.normal(size=(2, 3, 4, 5)), random.integers(0, 3, (2, 4, 5))
    flat, one = random.normal(size=(2, 3, 1, 1)), np.array([[[0]], [[2]]])
    ce, bits = cross_entropy(x, label, 1), (x > 0.2) * 1.0
    seen = cross_entropy(image, pixels, 1)
    squares = ((np.maximum(x, 1e-7) - x - 2) ** 2).mean()
    last = {"axis": -1}
    cases = (
        ("logits", 13, [("Identity", {})], dict(x=x, label=label), ce),
        ("a column of classes", 13, [("Softmax", last)], dict(x=x, label=label[:, None]), ce),
        ("a plane of classes", 13, [("Identity", {})], dict(x=image, label=pixels[:, None]), seen),
        ("softmax", 13, [("Softmax", last)], dict(x=x, label=label), ce),
        ("softmax, with a guard", 13, [("Softmax", last), ("Clip", {})], dict(x=x, label=label), ce),
        ("log-softmax", 13, [("LogSoftmax", last)], dict(x=x, label=label), ce),
        ("softmax, then its logarithm", 13, [("Softmax", last), ("Log", {})], dict(x=x, label=label), ce),
        ("sigmoid", 13, [("Sigmoid", {})], dict(x=x, target=bits), binary(x, bits)),
        ("sigmoid, guarded", 13, [("Sigmoid", {}), ("Clip", {})], dict(x=x, target=bits), binary(x, bits)),
        ("mean squares behind a clip", 13, [("Clip", {})], dict(x=x, target=x + 2), squares),
        ("softmax per pixel", 13, [("Softmax", {"axis": 1})], dict(x=image, label=pixels), seen),
        ("softmax of all axes, opset 11", 11, [("Softmax", {})], dict(x=flat, label=one), cross_entropy(flat, one, 1)),
    )
    for name, version, nodes, data, want in cases:
        status, said, message = grad(folder, version, nodes, data)
        got = said.get("loss", {}).get("value") if status == 0 else None
        good = got is not None and abs(got - want) <= 1e-9 * abs(want)
        check(name, None if good else f"{got}, not {want} {message}")


def test_tail(folder):
    """A model that puts out classes: `run` gives them, `grad` is of what they are chosen from."""
    x, label = random.normal(size=(4, 3)), np.array([0, 2, 1, 1])
    np.savez(folder / "d.npz", x=x, label=label)
    cast = [("ArgMax", {"axis": 1}), ("Identity", {}), ("Cast", {"to": proto.DOUBLE})]
    for nodes, kind in (([("ArgMax", {"axis": 1, "keepdims": 0})], proto.INT64), (cast, proto.DOUBLE)):
        names = ["h", *(f"c{i}" for i in range(len(nodes) - 1)), "y"]
        made = [helper.make_node("Neg", ["x"], ["h"])]
        made += [helper.make_node(op, [a], [b], **how) for (op, how), a, b in zip(nodes, names, names[1:])]
        value = helper.make_tensor_value_info("x", proto.DOUBLE, x.shape)
        graph = helper.make_graph(made, "g", [value], [helper.make_tensor_value_info("y", kind, None)])
        opset = [helper.make_opsetid("", 13)]
        save(helper.make_model(graph, opset_imports=opset, ir_version=7), folder / "m.onnx")
        common = ["--data", str(folder / "d.npz"), "--precision", "f64", "--json", "-", "-o", str(folder / "o.npz")]
        for command in ("run", "grad"):
            done = subprocess.run([PROGRAM, command, str(folder / "m.onnx"), *common], capture_output=True, text=True)
            out, said = np.load(folder / "o.npz"), json.loads(done.stdout)
            if command == "run":
                good = np.array_equal(out["y"].ravel(), x.argmin(1)) and "cut" not in said
            else:
                loss = said["loss"]["value"]
                good = abs(loss - cross_entropy(-x, label, 1)) < 1e-9 and "cut at `h`" in said["cut"]
            check(f"{command} with a tail of {len(nodes)}", None if good else f"{done.stdout} {done.stderr}")


def test_refused(folder):
    image, pixels = random.normal(size=(2, 3, 4, 5)), random.integers(0, 3, (2, 4, 5))
    status, _, message = grad(folder, 11, [("Softmax", {})], dict(x=image, label=pixels))
    good = status == 3 and "softmax over 60 numbers" in message and "choose among 3" in message
    check("a softmax over all axes and labels of pixels", None if good else f"{status}: {message}")
    data = dict(x=image, label=pixels)
    both = ("--loss", "ce", "--cotangent", str(folder / "d.npz"))
    status, _, message = grad(folder, 13, [("Identity", {})], data, *both)
    good = status == 2 and "instead of a loss" in message
    check("a loss beside a cotangent", None if good else f"{status}: {message}")
    for end, kind in (("Softmax", "ce"), ("LogSoftmax", "ce"), ("Sigmoid", "bce"), ("Tanh", "ce")):
        status, said, message = grad(folder, 13, [(end, {})], dict(x=image[0, :, :, 0]), "--data", "random")
        got = said["loss"]["kind"] if status == 0 else message
        check(f"random labels fit {end}", None if got == kind else f"{got}")
    for command in ("grad", "diagnose"):
        for name, end, data, part in (
            ("targets above 1", "Sigmoid", dict(x=image, target=(image > 0) * 2.0), "target 2 (number"),
            ("a class too many", "Identity", dict(x=image, label=pixels + 1), "label 3 (number"),
        ):
            status, _, message = grad(folder, 13, [(end, {})], data, command=command)
            check(f"{command}: {name}", None if status == 3 and part in message else f"{status}: {message}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        test_values(pathlib.Path(folder))
        test_tail(pathlib.Path(folder))
        test_refused(pathlib.Path(folder))
    sys.exit(failures > 0)


main()
