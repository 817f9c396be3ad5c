"""Functions that exporters wrote out are seen as what they are (src/onnx/recognise.c): in files of three exporters and
several opsets, and not where something else is meant. That numbers and gradients are right is test_onnx_models.py's.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

EDIT = os.environ["ONNX_EDIT"]
SOURCE = pathlib.Path(os.environ["CHAINRULE_SOURCE"])
failures = 0


def check(name, problem=None):
    global failures
    failures += problem is not None
    print(f"{'not ok' if problem else 'ok'} - {name}{': ' + problem if problem else ''}")


def operators(path, *how):
    """Operators of the nodes that its outputs rest on."""
    done = subprocess.run([EDIT, "nodes", str(path), *how], capture_output=True, text=True, check=True)
    return done.stdout.split()


# ---- files --------------------------------------------------------------------------------------

FOUND = {
    "onnx-reference/layernorm_decomposed": {"LayerNormalization": 1},  # PyTorch 1.13, opset 13
    "onnx-reference/vit_mini": {"Gelu": 2, "ScaledDotProduct": 2, "LayerNormalization": 5},  # 1.13, opset 17
    "onnx-reference/bert_mini": {"Gelu": 1, "ScaledDotProduct": 1, "LayerNormalization": 3},
    "onnx-reference/norms": {"GroupNormalization": 1},
    "onnx-more/encoder_script": {"LayerNormalization": 2, "Gelu": 2, "ScaledDotProduct": 1},  # 2.15 TorchScript, 14
    "onnx-more/norms_script_13": {"LayerNormalization": 1, "GroupNormalization": 1, "Silu": 1, "Mish": 1, "Gelu": 1},
    "onnx-more/encoder_dynamo": {"Gelu": 2, "ScaledDotProduct": 1},  # 2.15 dynamo, opset 18
    "onnx-more/llama_dynamo": {"RMSNormalization": 3, "Silu": 1, "Mish": 1},
}


def test_files():
    for name, want in FOUND.items():
        path = SOURCE / "tests/data" / name / "model.onnx"
        seen, written = operators(path), operators(path, "as-written")
        wrong = {op: seen.count(op) for op in want if seen.count(op) != want[op]}
        if wrong:
            check(name, f"{wrong} instead of {want}")
        elif not len(seen) < len(written):
            check(name, "no node less than as written")
        else:
            check(name)


# ---- what is, and what is not --------------------------------------------------------------------


def cases(helper, proto):
    """(name, operator that is expected or None, nodes, initialisers, outputs[, opset, else 13])"""
    n = helper.make_node

    def c(name, *values):
        return helper.make_tensor(name, proto.FLOAT, [len(values)] if len(values) > 1 else [], values)

    def mean(x, y, axes=(-1,)):
        return n("ReduceMean", [x], [y], axes=list(axes), keepdims=1)

    def layer_norm(power="two", axes=(-1,), mean_axes=(-1,)):
        return [
            mean("x", "m", mean_axes),
            n("Sub", ["x", "m"], ["d"]),
            n("Pow", ["d", power], ["p"]),
            mean("p", "v", axes),
            n("Add", ["v", "e"], ["a"]),
            n("Sqrt", ["a"], ["r"]),
            n("Div", ["d", "r"], ["y"]),
        ]

    two, three, e, half, one = c("two", 2), c("three", 3), c("e", 1e-5), c("half", 0.5), c("one", 1)
    root, near = c("root", 2**0.5), c("near", 1.5)
    base = [two, three, e, half, one, root, near]
    gelu = [
        n("Div", ["x", "root"], ["z"]),
        n("Erf", ["z"], ["f"]),
        n("Add", ["one", "f"], ["g"]),
        n("Mul", ["g", "x"], ["h"]),
        n("Mul", ["half", "h"], ["y"]),
    ]
    other = [helper.make_node("Div", ["x", "near"], ["z"]), *gelu[1:]]
    yield "layer norm", "LayerNormalization", layer_norm(), base, ["y"]
    yield "layer norm over two axes", "LayerNormalization", layer_norm(axes=(1, 2), mean_axes=(-2, -1)), base, ["y"]
    yield "variance over another axis", None, layer_norm(axes=(1,)), base, ["y"]
    yield "mean over the first axis", None, layer_norm(axes=(0,), mean_axes=(0,)), base, ["y"]
    yield "third power", None, layer_norm("three"), base, ["y"]
    yield "variance used elsewhere", None, [*layer_norm(), n("Exp", ["v"], ["u"])], base, ["y", "u"]
    # What is left of it when the deviation is wanted, too, is the root mean square norm of the deviation.
    yield "deviation is an output", "RMSNormalization", layer_norm(), base, ["y", "d"]
    outside = layer_norm()[:4] + [n("Sqrt", ["v"], ["r"]), n("Add", ["r", "e"], ["a"]), n("Div", ["d", "a"], ["y"])]
    yield "epsilon outside of the root", None, outside, base, ["y"]
    yield "GELU", "Gelu", gelu, base, ["y"]
    yield "GELU by another constant", None, other, base, ["y"]
    high, off = helper.make_tensor("half", proto.FLOAT, [1, 1, 1, 1], [0.5]), c("half", 0.5000002)
    yield "GELU with one axis more", None, gelu, [high, one, root], ["y"]
    yield "GELU by nearly a half", None, gelu, [off, one, root], ["y"]
    attention = [
        n("MatMul", ["x", "k"], ["s"]),
        n("Div", ["s", "two"], ["d"]),
        n("Softmax", ["d"], ["p"]),
        n("MatMul", ["p", "v"], ["y"]),
    ]
    keys = [helper.make_tensor(i, proto.FLOAT, d, [0.5] * 40) for i, d in (("k", [2, 4, 5]), ("v", [2, 5, 4]))]
    tall = helper.make_tensor("two", proto.FLOAT, [1, 1, 1, 1], [2])
    yield "attention", "ScaledDotProduct", attention, [*keys, two], ["y"]
    # Until opset 12 a softmax without axis is one over all axes but the first.
    yield "attention over queries, too", None, attention, [*keys, two], ["y"], 12
    # What stands in its place has no derivative by the scale.
    trained = [n("Div", ["s", "trained"], ["d"]) if i.op_type == "Div" else i for i in attention]
    yield "attention with a trained scale", None, trained, [*keys, c("trained", 2)], ["y"]
    yield "attention with one axis more", None, attention, [*keys, tall], ["y"]
    yield "SiLU", "Silu", [n("Sigmoid", ["x"], ["s"]), n("Mul", ["s", "x"], ["y"])], base, ["y"]
    yield "a gate", None, [n("Exp", ["x"], ["q"]), n("Sigmoid", ["q"], ["s"]), n("Mul", ["s", "x"], ["y"])], base, [
        "y"
    ]
    yield "log-softmax", "LogSoftmax", [n("Softmax", ["x"], ["s"]), n("Log", ["s"], ["y"])], base, ["y"]
    scale = helper.make_tensor("w", proto.FLOAT, [4], [1, 2, 3, 4])
    scaled = [*layer_norm()[:-1], n("Div", ["d", "r"], ["q"]), n("Mul", ["q", "w"], ["y"])]
    yield "with a scale", "LayerNormalization", scaled, [*base, scale], ["y"]
    # A scale by the data is no parameter of the norm: the norm is seen, the product stays.
    yield "scale by data", "Mul", [*scaled[:-1], n("Tanh", ["x"], ["t"]), n("Mul", ["q", "t"], ["y"])], base, ["y"]


def test_cases(folder):
    try:
        from onnx import TensorProto as proto, helper, save
    except ImportError:
        print("ok - cases # SKIP no python3-onnx")
        return
    composites = {"LayerNormalization", "Gelu", "Silu", "LogSoftmax", "RMSNormalization", "ScaledDotProduct"}
    for name, want, nodes, constants, outputs, *opset in cases(helper, proto):
        x = helper.make_tensor_value_info("x", proto.FLOAT, [2, 3, 4])
        out = [helper.make_tensor_value_info(o, proto.FLOAT, None) for o in outputs]
        # Single numbers are constants in the file, and all else (and what is trained) initialisers: parameters.
        fixed = [i for i in constants if np.prod(i.dims) == 1 and i.name != "trained"]
        nodes = [*(helper.make_node("Constant", [], [i.name], value=i) for i in fixed), *nodes]
        model = helper.make_model(
            helper.make_graph(nodes, "g", [x], out, [i for i in constants if i not in fixed]),
            opset_imports=[helper.make_opsetid("", *(opset or [13]))],
        )
        save(model, str(folder / "m.onnx"))
        seen = operators(folder / "m.onnx")
        if want is None:
            found = composites & set(seen)
            check(name, f"taken for {found}" if found else None)
        else:
            check(name, None if want in seen else f"{seen} without {want}")


def main():
    test_files()
    with tempfile.TemporaryDirectory() as t:
        test_cases(pathlib.Path(t))
    sys.exit(failures > 0)


main()
