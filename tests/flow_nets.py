"""Small networks, their data, and what `chainrule diagnose` says of them: for the tests of room flow."""

import json
import math
import os
import pathlib
import subprocess
import sys

import numpy as np

PROGRAM = os.environ["CHAINRULE"]
SOURCE = pathlib.Path(os.environ["CHAINRULE_SOURCE"])
failures = 0


def check(name, problem=None):
    global failures
    failures += problem is not None
    print(f"{'not ok' if problem else 'ok'} - {name}{': ' + problem if problem else ''}")


def near(name, got, want, tolerance):
    check(
        name, None if got is not None and abs(got - want) <= tolerance else f"{got} is not {want} within {tolerance}"
    )


def diagnose(model, data, *options):
    done = subprocess.run(
        [PROGRAM, "diagnose", str(model), "--data", str(data), "--json", "-", *map(str, options)],
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{model}: exit status {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


# ---- models --------------------------------------------------------------------------------------


class Net:
    """A network under construction, of its nodes and parameters."""

    def __init__(self, inputs, kind=1):
        """inputs: width, or sizes behind the batch; kind: of ONNX's types, 1 float, 7 int64, 11 double."""
        from onnx import helper, numpy_helper

        self.make, self.tensor = helper.make_node, numpy_helper.from_array
        self.nodes, self.values, self.at = [], [], "x"
        self.shape, self.kind = inputs if isinstance(inputs, (tuple, list)) else (inputs,), kind

    def add(self, op, *more, name=None, of=None, **attributes):
        out = f"v{len(self.nodes)}"
        self.nodes.append(
            self.make(op, [of or self.at, *more], [out], name=name or f"n{len(self.nodes)}", **attributes)
        )
        self.at = out
        return out

    def value(self, array):
        name = f"p{len(self.values)}"
        self.values.append(self.tensor(np.asarray(array, np.float64 if self.kind == 11 else np.float32), name))
        return name

    def add_many(self, op, inputs, n, name=None, **attributes):
        """A node of n outputs, whose names it gives."""
        outs = [f"v{len(self.nodes)}_{i}" for i in range(n)]
        self.nodes.append(self.make(op, inputs, outs, name=name or f"n{len(self.nodes)}", **attributes))
        return outs

    def integers(self, v):
        name = f"p{len(self.values)}"
        self.values.append(self.tensor(np.asarray(v, np.int64), name))
        return name

    def linear(self, w, b=None, name=None):
        more = [self.value(w)] + ([self.value(b)] if b is not None else [])
        return self.add("Gemm", *more, name=name, transB=1)

    def save(self, path):
        import onnx
        from onnx import helper

        self.nodes.append(self.make("Identity", [self.at], ["y"]))
        x = helper.make_tensor_value_info("x", self.kind, ["N", *self.shape])
        y = helper.make_tensor_value_info("y", 11 if self.kind == 11 else 1, None)
        graph = helper.make_graph(self.nodes, "net", [x], [y], self.values)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(path))
        return path


def data(path, n, width, classes=None, seed=1):
    r = np.random.default_rng(seed)
    x = r.standard_normal((n, width)).astype(np.float32)
    labels = (
        {"y": r.integers(0, classes, n)} if classes else {"target": r.standard_normal((n, width)).astype(np.float32)}
    )
    np.savez(path, x=x, **labels)
    return path


def he(r, n, m=None, gain=2.0):
    m = m or n
    return r.standard_normal((n, m)) * math.sqrt(gain / m)


def mlp(t, name, layers, width, activation, weights, classes=10, bias=None, seed=0):
    r, net = np.random.default_rng(seed), Net(width)
    for _ in range(layers):
        net.linear(weights(r, width), None if bias is None else np.full(width, bias))
        net.add(activation)
    net.linear(he(r, classes, width, 1.0))
    return net.save(t / f"{name}.onnx")


def finish():
    sys.exit(failures > 0)


def need_onnx():
    try:
        import onnx  # noqa: F401
    except ImportError:
        print("1..0 # SKIP no python3-onnx")
        sys.exit(77)
