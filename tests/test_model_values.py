"""What `run` and `grad` put out for models that are made here: integers, parameters of bodies, outputs without a
declared shape. Compared with definitions in NumPy."""

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
failures = 0
node, info = helper.make_node, helper.make_tensor_value_info


def check(name, problem=None):
    global failures
    failures += problem is not None
    print(f"{'not ok' if problem else 'ok'} - {name}{': ' + problem if problem else ''}")


def write(folder, nodes, inputs, outputs, tensors=(), functions=(), version=13):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(tensors))
    opsets = [helper.make_opsetid("", version), *(helper.make_opsetid(f.domain, 1) for f in functions)]
    model = helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=8)
    save(model, str(folder / "m.onnx"))


def chainrule(command, folder, *options, data):
    """Its results, and what it said."""
    np.savez(folder / "d.npz", **data)
    command = [PROGRAM, command, folder / "m.onnx", "--data", folder / "d.npz", "-o", folder / "o.npz", *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    return dict(np.load(folder / "o.npz")) if done.returncode == 0 else {}, done.stdout + done.stderr


def same(name, got, want, said, tolerance=0.0, part=""):
    if got is None:
        return check(name, said)
    want = np.asarray(want)
    good = got.shape == want.shape and got.dtype.kind == want.dtype.kind
    if good and tolerance:
        good = np.abs(got - want).max(initial=0) <= tolerance
    elif good:
        good = np.array_equal(got, want)
    good = good and part in said
    check(name, None if good else f"{got!r}, not {want!r}; {said}")


def test_integers(folder):
    """Outputs of integers are integers, to the last digit where floats do not stand between."""
    ids = np.array([[2**24 + 1, 3], [-(2**40) - 1, 5]])
    y = info("y", proto.INT64, None)
    write(folder, [node("Add", ["ids", "one"], ["y"])], [info("ids", proto.INT64, ["n", 2])], [y],
          [helper.make_tensor("one", proto.INT64, [], [1])])
    got, said = chainrule("run", folder, data=dict(ids=ids))
    same("large integers", got.get("y"), ids + 1, said)
    got, said = chainrule("run", folder, "--batch", "1", data=dict(ids=ids))
    same("large integers, batch by batch", got.get("y"), ids + 1, said)
    got, said = chainrule("run", folder, data=dict(ids=ids * 2**20))
    check("beyond 2^53", None if "integers beyond 2^53" in said else said)
    # A table of large integers picked from by floats.
    table = helper.make_tensor("table", proto.INT64, [3], [2**24 + 1, 2**30 + 1, 7])
    write(folder, [node("ArgMax", ["x"], ["i"], axis=1, keepdims=0), node("Gather", ["table", "i"], ["y"])],
          [info("x", proto.FLOAT, ["n", 3])], [y], [table])
    x = np.array([[1, 2, 0], [3, 0, 1], [0, 0, 1]], np.float32)
    got, said = chainrule("run", folder, data=dict(x=x))
    same("a table of large integers", got.get("y"), [2**30 + 1, 2**24 + 1, 7], said)
    write(folder, [node("Mul", ["x", "big"], ["m"]), node("Cast", ["m"], ["y"], to=proto.INT64)],
          [info("x", proto.FLOAT, ["n", 3])], [y], [helper.make_tensor("big", proto.FLOAT, [], [2.0**25])])
    got, said = chainrule("run", folder, data=dict(x=x))
    same("large integers from floats", got.get("y"), (x * 2**25).astype(int), said, part="integers beyond 2^24")
    write(folder, [node("Less", ["x", "big"], ["y"])], [info("x", proto.FLOAT, ["n", 3])],
          [info("y", proto.BOOL, None)], [helper.make_tensor("big", proto.FLOAT, [], [1.5])])
    got, said = chainrule("run", folder, data=dict(x=x))
    same("booleans", got.get("y"), x < 1.5, said)


def test_casts(folder):
    x = np.array([[2.7, -2.7, 0.5], [-0.5, 3.0, -1e-3]], np.float32)
    write(folder, [node("Cast", ["x"], ["y"], to=proto.INT32)], [info("x", proto.FLOAT, ["n", 3])],
          [info("y", proto.INT32, None)])
    got, said = chainrule("run", folder, data=dict(x=x))
    same("towards zero", got.get("y"), np.trunc(x).astype(int), said)
    i = np.array([[300, -1, 127], [128, -129, 65536 + 5]])
    for kind, name in ((proto.UINT8, np.uint8), (proto.INT8, np.int8), (proto.INT16, np.int16)):
        write(folder, [node("Cast", ["i"], ["y"], to=kind)], [info("i", proto.INT64, ["n", 3])],
              [info("y", kind, None)])
        got, said = chainrule("run", folder, data=dict(i=i))
        same(f"to {name.__name__}", got.get("y"), i.astype(name).astype(int), said)
    values = [0.1, 65519.0, 65520.0, -1e-8, 3e-8, 6.1e-5, 1 + 2.0**-11, 1 + 3 * 2.0**-11, -2048.5]
    constant = helper.make_tensor("c", proto.FLOAT, [9], values)
    brain = []
    for v in np.array(values, np.float32).view(np.uint32):
        v = int(v)
        brain.append(((v + 0x7FFF + (v >> 16 & 1)) >> 16 << 16) & 0xFFFFFFFF)
    brain = np.array(brain, np.uint32).view(np.float32)
    with np.errstate(over="ignore"):
        halves = np.array(values, np.float32).astype(np.float16).astype(np.float32)
    for kind, want in ((proto.FLOAT16, halves), (proto.BFLOAT16, brain)):
        write(folder, [node("Constant", [], ["c"], value=constant), node("Cast", ["c"], ["h"], to=kind),
                       node("Cast", ["h"], ["w"], to=proto.FLOAT), node("Add", ["w", "zero"], ["y"])],
              [info("zero", proto.FLOAT, [9])], [info("y", proto.FLOAT, None)])
        got, said = chainrule("run", folder, data=dict(zero=np.zeros(9, np.float32)))
        same(f"constants as {kind}", got.get("y"), want, said)


def test_bodies(folder):
    """A parameter of a body is one, and its gradient the sum over the steps."""
    weight = helper.make_tensor("w", proto.FLOAT, [3], [0.5, -1, 2])
    body = helper.make_graph(
        [node("Mul", ["h", "w"], ["p"]), node("Add", ["p", "b"], ["h_next"]), node("Identity", ["on"], ["on_next"])],
        "body", [info("i", proto.INT64, []), info("on", proto.BOOL, []), info("h", proto.FLOAT, [3])],
        [info("on_next", proto.BOOL, []), info("h_next", proto.FLOAT, [3])], [weight])
    write(folder, [node("Loop", ["three", "", "x"], ["y"], body=body)], [info("x", proto.FLOAT, [3])],
          [info("y", proto.FLOAT, None)],
          [helper.make_tensor("three", proto.INT64, [], [3]), helper.make_tensor("b", proto.FLOAT, [3], [1, 2, 3])])
    x, w, b = np.array([1, -2, 0.5]), np.array([0.5, -1, 2]), np.array([1.0, 2, 3])
    np.savez(folder / "c.npz", y=np.ones(3))
    got, said = chainrule("grad", folder, "--cotangent", folder / "c.npz", "--precision", "f64", data=dict(x=x))
    check("parameters of a loop", None if sorted(got) == ["b", "w", "x"] else f"{sorted(got)}; {said}")
    same("loop: w", got.get("w"), 3 * x * w**2 + 2 * b * w + b, said, 1e-12)
    same("loop: b", got.get("b"), w**2 + w + 1, said, 1e-12)
    scan = helper.make_graph(
        [node("Mul", ["h", "w"], ["p"]), node("Add", ["p", "e"], ["h_next"]), node("Identity", ["h_next"], ["o"])],
        "body", [info("h", proto.FLOAT, [3]), info("e", proto.FLOAT, [3])],
        [info("h_next", proto.FLOAT, [3]), info("o", proto.FLOAT, [3])], [weight])
    write(folder, [node("Scan", ["b", "x"], ["y", "all"], body=scan, num_scan_inputs=1)],
          [info("x", proto.FLOAT, [2, 3])], [info("y", proto.FLOAT, [3])],
          [helper.make_tensor("b", proto.FLOAT, [3], [1, 2, 3])])
    xs = np.array([[1, -2, 0.5], [3, 1, 2]])
    got, said = chainrule("grad", folder, "--cotangent", folder / "c.npz", "--precision", "f64", data=dict(x=xs))
    check("parameters of a scan", None if sorted(got) == ["b", "w", "x"] else f"{sorted(got)}; {said}")
    same("scan: w", got.get("w"), 2 * b * w + xs[0], said, 1e-12)
    # The same tensor twice, by the branch and by what is around.
    then = helper.make_graph([node("Mul", ["x", "w"], ["o"])], "then", [], [info("o", proto.FLOAT, [3])])
    other = helper.make_graph([node("Neg", ["x"], ["q"])], "else", [], [info("q", proto.FLOAT, [3])])
    write(folder, [node("If", ["yes"], ["r"], then_branch=then, else_branch=other), node("Mul", ["r", "w"], ["y"])],
          [info("x", proto.FLOAT, [3])], [info("y", proto.FLOAT, [3])],
          [weight, helper.make_tensor("yes", proto.BOOL, [], [1])])
    got, said = chainrule("grad", folder, "--cotangent", folder / "c.npz", "--precision", "f64", data=dict(x=x))
    same("if: w", got.get("w"), 2 * x * w, said, 1e-12)


def test_rows(folder):
    """An output without declared shape is put together from batches if it grows with the samples, not if it is as long
    as a batch by chance."""
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    given = [info("x", proto.FLOAT, ["n", 2])]
    write(folder, [node("Neg", ["x"], ["y"])], given, [info("y", proto.FLOAT, None)])
    for batch in ("1", "2", "4"):
        got, said = chainrule("run", folder, "--batch", batch, data=dict(x=x))
        same(f"grows, batches of {batch}", got.get("y"), -x, said)
    # As long as a batch of 2; of 1.
    for keep, batch in ((0, "2"), (1, "1")):
        write(folder, [node("ReduceSum", ["x", "axes"], ["y"], keepdims=keep)], given, [info("y", proto.FLOAT, None)],
              [helper.make_tensor("axes", proto.INT64, [1], [0])])
        got, said = chainrule("run", folder, "--batch", batch, data=dict(x=x))
        good = not got and "has no axis of samples" in said
        check(f"by chance, batches of {batch}", None if good else f"{got} {said}")
        got, said = chainrule("run", folder, data=dict(x=x))
        same("of one batch", got.get("y"), x.sum(0, keepdims=bool(keep)), said)
    # The file says another name for the same size.
    write(folder, [node("Neg", ["x"], ["y"])], given, [info("y", proto.FLOAT, ["negy_dim_0", 2])])
    got, said = chainrule("run", folder, "--batch", "4", data=dict(x=x))
    same("another name", got.get("y"), -x, said)
    write(folder, [node("Neg", ["x"], ["y"])], [info("x", proto.FLOAT, [2, 2])], [info("y", proto.FLOAT, None)])
    got, said = chainrule("run", folder, data=dict(x=x))
    same("a batch that the file fixes", got.get("y"), -x, said)


def test_merged(folder):
    """Equal parameters that the exporter made one are several for diagnose, and one for grad; tied ones are one."""
    rng = np.random.default_rng(2)
    tensors = {"l1.weight": rng.normal(size=(4, 4)) / 2, "l2.weight": rng.normal(size=(4, 4)) / 2,
               **{f"n{i}.{k}": np.full(4, v) for i in (1, 2)
                  for k, v in (("weight", 1), ("bias", 0), ("mean", 0), ("var", 1))}}
    norm = [[f"n{i}.{k}" for k in ("weight", "bias", "mean", "var")] for i in (1, 2)]

    def model(norm, keep, extra=(), tied="l1.weight"):
        nodes = [*extra, node("MatMul", ["x", "l1.weight"], ["a"], name="l1"),
                 node("BatchNormalization", ["a", *norm[0]], ["b"], name="bn1"), node("Tanh", ["b"], ["c"]),
                 node("MatMul", ["c", "l2.weight"], ["d"], name="l2"),
                 node("BatchNormalization", ["d", *norm[1]], ["e"], name="bn2"),
                 node("MatMul", ["e", tied], ["y"], name="l3")]
        write(folder, nodes, [info("x", proto.FLOAT, ["n", 4])], [info("y", proto.FLOAT, ["n", 4])],
              [helper.make_tensor(k, proto.FLOAT, v.shape, v.ravel()) for k, v in tensors.items() if k in keep])

    data = dict(x=rng.normal(size=(8, 4)), y=rng.normal(size=(8, 4)))

    def seen():
        np.savez(folder / "d.npz", **data)
        command = [PROGRAM, "diagnose", folder / "m.onnx", "--data", folder / "d.npz", "--loss", "mse", "--json", "-",
                   "--precision", "f64", "--bn", "stored"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode not in (0, 1):
            return done.stderr
        layers = json.loads(done.stdout)["layers"]
        return {g["parameter"]: round(g["log10_norm"], 9) for layer in layers for g in layer["gradients"]
                if g["log10_norm"] is not None}

    both = [norm[0], norm[1]]
    model(both, tensors)
    want = seen()
    one, zero, weights = "n1.weight", "n1.bias", ["l1.weight", "l2.weight"]
    merged = [[one, zero, zero, one], [one, zero, zero, one]]
    renamed = {"n1.mean": f"{zero}@bn1:4", "n1.var": f"{one}@bn1:5", "n2.weight": f"{one}@bn2:2",
               "n2.bias": f"{zero}@bn2:3", "n2.mean": f"{zero}@bn2:4", "n2.var": f"{one}@bn2:5"}
    model(merged, [*weights, one, zero])
    got, expected = seen(), {renamed.get(k, k): v for k, v in want.items()}
    check("merged, read directly", None if got == expected and len(got) == 10 else f"{got}, not {expected}")
    grads, said = chainrule("grad", folder, "--loss", "mse", data=data)
    check("grad keeps them", None if sorted(grads) == sorted(["x", *weights, one, zero]) else f"{sorted(grads)} {said}")
    # Through an Identity they have their own names again; a weight that has two names is one.
    extra = [node("Identity", [one if k.endswith(("weight", "var")) else zero], [k])
             for k in tensors if k.startswith("n") and k not in (one, zero)]
    extra.append(node("Identity", ["l1.weight"], ["l3.weight"]))
    model(both, [*weights, one, zero], extra, "l3.weight")
    got = seen()
    check("merged, behind Identity", None if got == want else f"{got}, not {want}")


def field(number, body):
    """A field of protobuf: its number, then bytes by their length."""

    def varint(v):
        return bytes([v & 127 | 128]) + varint(v >> 7) if v > 127 else bytes([v])

    return varint(number << 3 | 2) + varint(len(body)) + body


def test_defaults(folder):
    """Attributes of a function have the default of its file where a call does not give them."""
    leaky = node("LeakyRelu", ["a"], ["b"])
    leaky.attribute.add(name="alpha", ref_attr_name="alpha", type=1)
    sums = node("Transpose", ["b"], ["o"])
    sums.attribute.add(name="perm", ref_attr_name="perm", type=7)
    scale = helper.make_function("own", "Leak", ["a"], ["o"], [leaky, sums], [helper.make_opsetid("", 13)])
    defaults = [helper.make_attribute("alpha", 0.5), helper.make_attribute("perm", [1, 0])]
    # The schema here may be older than the field: it is written as bytes.
    text = scale.SerializeToString() + b"".join(field(11, a.SerializeToString()) for a in defaults)
    x = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)
    for given, want in (({}, np.where(x > 0, x, x / 2).T), (dict(alpha=0.25, perm=[0, 1]), np.where(x > 0, x, x / 4))):
        graph = helper.make_graph([node("Leak", ["x"], ["y"], domain="own", **given)], "g",
                                  [info("x", proto.FLOAT, [2, 3])], [info("y", proto.FLOAT, None)])
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
        (folder / "m.onnx").write_bytes(model + field(25, text))
        got, said = chainrule("run", folder, data=dict(x=x))
        same(f"with {given}", got.get("y"), want, said)


def test_external(folder):
    """External data without a length are as long as the shape says."""
    (folder / "w.bin").write_bytes(np.arange(8, dtype=np.float32).tobytes())
    for offset, want in (("0", [0, 1, 2, 3]), ("16", [4, 5, 6, 7]), ("20", None)):
        w = helper.make_tensor("w", proto.FLOAT, [4], [0] * 4)
        w.ClearField("float_data")
        w.data_location = proto.EXTERNAL
        for key, value in (("location", "w.bin"), ("offset", offset)):
            w.external_data.add(key=key, value=value)
        write(folder, [node("Mul", ["x", "w"], ["y"])], [info("x", proto.FLOAT, [4])], [info("y", proto.FLOAT, [4])],
              [w])
        got, said = chainrule("run", folder, data=dict(x=np.ones(4, np.float32)))
        if want:
            same(f"from {offset} on", got.get("y"), np.float32(want), said)
        else:
            check("cut short", None if not got and "has 12 bytes, and its shape asks for 16" in said else said)


TESTS = [test_integers, test_casts, test_bodies, test_rows, test_merged, test_defaults,
         test_external]


def main():
    for test in TESTS:
        with tempfile.TemporaryDirectory() as folder:
            test(pathlib.Path(folder))
    sys.exit(failures > 0)


main()
