"""What `run`, `grad` and `diagnose` say of a model or of data that are wrong: the user's object, by its name."""

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


def write(folder, nodes, inputs, outputs, tensors=(), functions=(), version=13, **more):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(tensors))
    opsets = [helper.make_opsetid("", version), *(helper.make_opsetid(f.domain, 1) for f in functions)]
    model = helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=8, **more)
    save(model, str(folder / "m.onnx"))


def chainrule(command, folder, *options, data=None):
    if data is not None:
        np.savez(folder / "d.npz", **data)
    place = [] if command == "diagnose" or "-o" in options else ["-o", folder / "o.npz"]
    command = [PROGRAM, command, folder / "m.onnx", "--data", folder / "d.npz", *options, *place]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)


def says(name, done, status, *parts, without=("-nan",)):
    text = done.stdout + done.stderr
    problem = None
    if done.returncode != status:
        problem = f"status {done.returncode}"
    for part in parts:
        if part not in text:
            problem = f"no `{part}`"
    for part in without:
        if part in text:
            problem = f"`{part}`"
    check(name, problem and f"{problem} in: {text}")


def table(*shape):
    return helper.make_tensor("table", proto.FLOAT, shape, np.linspace(-1, 1, int(np.prod(shape))))


def test_indices(folder):
    ids, y = info("ids", proto.INT64, [None, 3]), info("y", proto.FLOAT, None)
    reduce = node("ReduceMean", ["r"], ["y"], axes=[1])
    gather = [node("Gather", ["table", "ids"], ["r"], name="/emb/Gather"), reduce]
    bad = dict(ids=np.array([[0, 1, 12], [1, 2, 3]]))
    words = ("Gather \"/emb/Gather\": index 12 out of range 0..9, or -10..-1 from behind: entry 3 of `ids`",)
    write(folder, gather, [ids], [y], [table(10, 4)])
    for command, more in (("run", ()), ("grad", ("--loss", "mse")), ("diagnose", ("--loss", "mse"))):
        data = dict(**bad, y=np.zeros((2, 1, 4)))
        says(f"Gather, {command}", chainrule(command, folder, *more, data=data), 3, *words)
    says("Gather, f64", chainrule("run", folder, "--precision", "f64", data=dict(ids=np.array([[0, -11, 1]]))), 3,
         "index -11 out of range 0..9")
    write(folder, [node("GatherElements", ["table", "ids"], ["r"], name="pick", axis=1), reduce], [ids], [y],
          [table(2, 5)])
    says("GatherElements", chainrule("run", folder, data=dict(ids=np.array([[0, 1, 2], [4, 3, 5]]))), 3,
         'GatherElements "pick": index 5 out of range 0..4', "entry 6 of `ids`")
    write(folder, [node("GatherND", ["table", "ids"], ["r"], name="pick")], [ids], [info("r", proto.FLOAT, None)],
          [table(2, 5, 3)])
    says("GatherND", chainrule("run", folder, data=dict(ids=np.array([[0, 1, 2], [1, -6, 2]]))), 3,
         'GatherND "pick": index -6 out of range 0..4', "entry 5 of `ids`")
    late = [node("Add", ["ids", "one"], ["next"]), node("Gather", ["table", "next"], ["r"], name="late"), reduce]
    write(folder, late, [ids], [y], [table(10, 4), helper.make_tensor("one", proto.INT64, [], [1])])
    says("indices that are computed", chainrule("run", folder, data=dict(ids=np.array([[0, 1, 9]]))), 3,
         'Gather "late": index 10 out of range 0..9', "entry 3 of `next`")
    body = helper.make_function("own", "Look", ["t", "i"], ["o"], [node("Gather", ["t", "i"], ["o"], name="in")],
                                [helper.make_opsetid("", 13)])
    write(folder, [node("Look", ["table", "ids"], ["r"], name="look", domain="own"), reduce], [ids], [y],
          [table(10, 4)], [body])
    says("within a function", chainrule("run", folder, data=bad), 3, 'Gather "in" in "look" (Look): index 12')


def test_nonfinite(folder):
    x, y = info("x", proto.FLOAT, [None, 3]), info("y", proto.FLOAT, [None, 3])
    write(folder, [node("Tanh", ["x"], ["y"])], [x], [y])
    data = dict(x=np.ones((2, 3), np.float32), target=np.array([[0, np.nan, 0], [0, 0, 0]], np.float32))
    says("NaN in a target", chainrule("grad", folder, "--loss", "mse", data=data), 0, "label `target` holds 1 NaN",
         without=("input `target`", "-nan"))
    np.savez(folder / "c.npz", y=np.array([[0, np.inf, 0], [0, 0, 0]], np.float32))
    says("infinity in a cotangent", chainrule("grad", folder, "--cotangent", folder / "c.npz", data=dict(x=data["x"])),
         0, "the cotangent of `y` holds 1 infinite")
    data["x"][0, 0] = np.nan
    says("NaN in an input", chainrule("grad", folder, "--loss", "mse", data=data), 0, "input `x` holds 1 NaN")
    body = helper.make_function("own", "Gate", ["a"], ["o"], [node("Log", ["a"], ["l"], name="inner"),
                                                              node("Exp", ["l"], ["o"])], [helper.make_opsetid("", 13)])
    outer = helper.make_function("own", "Twice", ["a"], ["o"], [node("Gate", ["a"], ["o"], name="g", domain="own")],
                                 [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)])
    write(folder, [node("Twice", ["x"], ["y"], name="block", domain="own")], [x], [y], (), [body, outer])
    data = dict(x=-np.ones((2, 3), np.float32), target=np.zeros((2, 3), np.float32))
    says("NaN in a function", chainrule("grad", folder, "--loss", "mse", data=data), 0,
         '"inner" (Log) in "g" (Gate) in "block" (Twice) is the first', "6 NaN of 6 entries")
    done = chainrule("grad", folder, "--loss", "mse", "--json", "-", "-o", folder / "o.npz", data=data)
    says("NaN in JSON", done, 0)


def test_batch(folder):
    """A file that fixes its batch says so where another one is asked for."""
    x, y = info("x", proto.FLOAT, [4, 3]), info("y", proto.FLOAT, [4, 3])
    write(folder, [node("Tanh", ["x"], ["y"])], [x], [y])
    for n in (4, 8):
        data = dict(x=np.ones((n, 3), np.float32), target=np.zeros((n, 3), np.float32))
        for command, more in (("run", ()), ("grad", ("--loss", "mse")), ("diagnose", ("--loss", "mse"))):
            flag = "--samples" if command == "diagnose" else "--batch"
            said = "batches of 4 samples, as the model fixes them, not of 2"
            says(f"{command} {n}", chainrule(command, folder, flag, "2", *more, data=data), 0, said)
            says(f"{command} {n}, asked for", chainrule(command, folder, flag, "4", *more, data=data), 0,
                 without=("as the model fixes",))


def test_attributes(folder):
    """What an operator does not have is refused, by the node's name; so is what has another type."""
    x, y = info("x", proto.FLOAT, [2, 3]), info("y", proto.FLOAT, None)
    for attributes, said in (
        (dict(axis=1, axes=[0]), 'Softmax "s": its attribute `axes` is none that the operator has'),
        (dict(axis=1.0), 'Softmax "s": its attribute `axis` is a float, and has to be an integer'),
        (dict(axis=[1]), "`axis` is a list of integers, and has to be an integer"),
    ):
        write(folder, [node("Softmax", ["x"], ["y"], name="s", **attributes)], [x], [y])
        says(said, chainrule("run", folder, data=dict(x=np.ones((2, 3), np.float32))), 3, said)
    for version, said in ((30, "for opset 30, and its operators are taken as they are in opset 24, the newest known"),
                          (5, "for opset 5, and its operators are taken as they are in opset 7, the oldest known")):
        write(folder, [node("Softmax", ["x"], ["y"], axis=1)], [x], [y], version=version)
        says(said, chainrule("run", folder), 0, said)


def test_schemas(folder):
    """Every attribute that ONNX knows of an operator that is known here is known here, too, in its type."""
    from onnx import defs

    text = (pathlib.Path(os.environ["CHAINRULE_SOURCE"]) / "docs/models.md").read_text()
    known = set(text[text.index("Abs Acos") : text.index("and functions of the model itself")].split())
    kind = defs.OpSchema.AttrType
    value = {kind.INT: 1, kind.FLOAT: 0.5, kind.STRING: "x", kind.INTS: [1], kind.FLOATS: [0.5], kind.STRINGS: ["x"],
             kind.TENSOR: helper.make_tensor("t", proto.FLOAT, [], [1]), kind.GRAPH: helper.make_graph([], "b", [], [])}
    wanted = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.name in known:
            for name, a in schema.attributes.items():
                if a.type in value:
                    wanted.setdefault(schema.name, {})[name, a.type] = a
    wrong = []
    for op, attributes in wanted.items():
        for name, kind in attributes:
            # That it makes no sense here may be said, but not of the attribute.
            write(folder, [node(op, ["x"], ["y"], name="n", **{name: value[kind]})], [info("x", proto.FLOAT, [2, 3])],
                  [info("y", proto.FLOAT, None)])
            done = chainrule("run", folder, data=dict(x=np.ones((2, 3), np.float32)))
            if "its attribute" in done.stderr or done.returncode not in (0, 3):
                wrong.append(f"{op}: {done.stderr}")
    check(f"attributes of {len(wanted)} operators", "; ".join(wrong) or None if len(wanted) > 80 else "too few")


TESTS = [test_indices, test_nonfinite, test_batch, test_attributes, test_schemas]


def main():
    for test in TESTS:
        with tempfile.TemporaryDirectory() as folder:
            test(pathlib.Path(folder))
    sys.exit(failures > 0)


main()
