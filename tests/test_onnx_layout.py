"""Operators of ONNX that move entries, beside ONNX's own tests: versions, odd attributes, indices that are data or
known, empty axes; random nodes against definitions in NumPy, with the gradients of every float input (by differences,
which are exact for linear maps of integers). Nodes that ask for what there is not fail with a message."""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

try:
    import onnx
    from onnx import helper, numpy_helper
except ImportError:
    print("1..0 # SKIP Python has no onnx (Debian: python3-onnx)")
    sys.exit(77)

RNG = np.random.RandomState(5)
ROUNDS = 40


def pick(*options):
    return options[RNG.randint(len(options))]


def shape(low=1, high=4, most=4, empty=False):
    return [RNG.randint(0 if empty and RNG.rand() < 0.1 else 1, most + 1) for _ in range(RNG.randint(low, high + 1))]


def numbers(s):
    n = int(np.prod(s))
    return (RNG.permutation(n) - n // 2).astype(np.float64).reshape(s)


def ints(v):
    return np.array(v, np.int64)


class Data(np.ndarray):
    """An integer input that is fed; others are initializers."""


def either(v):
    return ints(v).view(Data) if RNG.rand() < 0.5 else ints(v)


# ---- definitions: each gives operator, attributes, version, inputs, what the outputs are --------------------------


def slices():
    x = numbers(shape(1, 4, 6, True))
    axes = RNG.permutation(x.ndim)[: RNG.randint(1, x.ndim + 1)]
    part, start, end, step = [slice(None)] * x.ndim, [], [], []
    for a in axes:
        by = pick(1, 1, 2, -1, -3)
        n = x.shape[a]
        # numpy takes nothing where a start lies before the first entry and the step is negative
        lo, hi = RNG.randint(-n if by < 0 else -n - 2, n + 3), RNG.randint(-n - 3, n + 3)
        part[a] = slice(lo, hi, by)
        start.append(lo), end.append(hi), step.append(by)
    inputs = [x, either(start), either(end), either(axes), either(step)]
    return "Slice", {}, pick(10, 11, 13), inputs, lambda x, *_: x[tuple(part)]


def pads():
    x = numbers(shape(1, 3))
    mode = pick("constant", "edge", "reflect", "wrap")
    wide = [RNG.randint(0, n if mode != "constant" else 4, 2) for n in x.shape]
    flat = [p[0] for p in wide] + [p[1] for p in wide]
    if mode == "constant":
        v = np.array(float(RNG.randint(-3, 4)))
        return "Pad", {}, pick(11, 13, 18), [x, either(flat), v], lambda x, p, v: np.pad(x, wide, constant_values=v)
    return "Pad", {"mode": mode}, 19 if mode == "wrap" else 13, [x, either(flat)], lambda x, p: np.pad(x, wide, mode)


def negative_pads():
    x = numbers([5, 4])
    return ("Pad", {"mode": pick("constant", "edge", "reflect", "wrap")}, 19, [x, either([-1, 0, -2, -1])],
            lambda x, p: x[1:3, :3])


def splits():
    x, axis = numbers(shape(1, 3, 3)), 0
    n = RNG.randint(1, 4)
    part = [RNG.randint(0, 3) for _ in range(n)]
    x = numbers([sum(part)] + list(x.shape))
    cut = lambda x, *_: np.split(x, np.cumsum(part)[:-1], axis)
    return pick(("Split", {"split": part}, 11, [x], cut), ("Split", {"axis": -x.ndim}, 13, [x, either(part)], cut))


def uneven_splits():
    n, all_ = RNG.randint(1, 4), RNG.randint(4, 9)
    each = -(-all_ // n)
    return "Split", {"num_outputs": n}, 18, [numbers([all_, 2])], lambda x: np.split(x, [each * i for i in range(1, n)])


def concats():
    s, n = shape(1, 4), RNG.randint(1, 5)
    axis = RNG.randint(len(s))
    xs = [numbers(s[:axis] + [RNG.randint(0, 4)] + s[axis + 1 :]) for _ in range(n)]
    return "Concat", {"axis": axis - len(s)}, 13, xs, lambda *x: np.concatenate(x, axis)


def index(n, s):
    return either(RNG.randint(-n, n, s))


def gathers():
    x = numbers(shape(1, 3))
    axis = RNG.randint(x.ndim)
    n = x.shape[axis]
    i = pick(index(n, shape(0, 2)), ints(range(RNG.randint(n), n)), ints(range(n)[::-1]), ints(RNG.randint(-n, n)))
    return "Gather", {"axis": axis}, 13, [x, i], lambda x, i: np.take(x, np.asarray(i), axis)


def gather_elements():
    x = numbers(shape())
    axis = RNG.randint(x.ndim)
    i = index(x.shape[axis], [RNG.randint(1, 6) if a == axis else n for a, n in enumerate(x.shape)])
    define = lambda x, i: np.take_along_axis(x, np.asarray(i) % x.shape[axis], axis)
    return "GatherElements", {"axis": axis}, 13, [x, i], define


def places(s, count):
    return np.stack([RNG.randint(-n, n, count) for n in s], -1)


def gather_nd():
    x = numbers(shape(2, 4, 3))
    batch, depth = pick((0, 1), (0, 2), (1, 1))
    s = list(x.shape)
    i = either(places(s[batch : batch + depth], s[:batch] + shape(1, 2, 3)))

    def define(x, i):
        rows = [x[tuple(at)] for at in i.reshape(-1, depth)] if batch == 0 else [
            x[(b,) + tuple(at)] for b in range(s[0]) for at in i[b].reshape(-1, depth)]
        return np.array(rows).reshape(list(i.shape[:-1]) + s[batch + depth :])

    return "GatherND", {"batch_dims": batch}, 13, [x, i], define


JOIN = {"none": lambda a, b: b, "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def scatter_elements():
    x = numbers(shape(1, 3))
    axis, how = RNG.randint(x.ndim), pick(*JOIN)
    s = [RNG.randint(1, n + 1) for n in x.shape]
    s[axis] = RNG.randint(1, 5)
    i = ints(RNG.randint(-x.shape[axis], x.shape[axis], s))  # known, with places that are met twice
    i = i.view(Data) if how == "add" and RNG.rand() < 0.5 else i

    def define(x, i, u):
        y = x.copy()
        for at in np.ndindex(*s):
            to = at[:axis] + (i[at],) + at[axis + 1 :]
            y[to] = JOIN[how](y[to], u[at])
        return y

    return "ScatterElements", {"axis": axis, "reduction": how}, 18, [x, i, numbers(s) + 0.5], define


def scatter_nd():
    x, how = numbers(shape(2, 3, 3)), pick(*JOIN)
    depth = RNG.randint(1, x.ndim + 1)
    i = ints(places(x.shape[:depth], [RNG.randint(1, 6)]))
    i = i.view(Data) if how == "add" and RNG.rand() < 0.5 else i

    def define(x, i, u):
        y = x.copy()
        for at, row in zip(i, u):
            y[tuple(at)] = JOIN[how](y[tuple(at)], row)
        return y

    return "ScatterND", {"reduction": how}, 18, [x, i, numbers([len(i)] + list(x.shape[depth:])) + 0.5], define


def distinct():
    """Updates put at places that are data: each is met once."""
    x, i = numbers([4, 5]), np.argsort(RNG.rand(4, 5), 1)[:, :3].astype(np.int64).view(Data)

    def define(x, i, u):
        y = x.copy()
        np.put_along_axis(y, np.asarray(i), u, 1)
        return y

    return "ScatterElements", {"axis": 1}, pick(11, 13, 16, 18), [x, i, numbers([4, 3])], define


def sums():
    x = numbers(shape(1, 4, 5, True))
    axis, back, without = RNG.randint(x.ndim), RNG.randint(2), RNG.randint(2)

    def define(x, a):
        y = np.flip(x, axis) if back else x
        y = np.cumsum(y, axis) - (y if without else 0)
        return np.flip(y, axis) if back else y

    return "CumSum", {"reverse": back, "exclusive": without}, 14, [x, either(axis)], define


def triangles():
    x, k, upper = numbers(shape(2, 4, 5, True)), pick(0, 1, -1, 3, -7, 2**62, -(2**62)), RNG.randint(2)
    part = np.triu if upper else np.tril
    return "Trilu", {"upper": upper}, 14, [x, either(k)], lambda x, k: part(x, int(np.clip(k, -99, 99)))


def one_hots():
    s, d = shape(0, 3), RNG.randint(1, 5)
    axis = RNG.randint(len(s) + 1)

    def define(i, d, v):
        hot = np.moveaxis(np.equal.outer(np.where(i < 0, i + d, i), np.arange(d)), -1, axis)
        return np.where(hot, v[1], v[0])

    return "OneHot", {"axis": axis}, 11, [either(RNG.randint(-d - 1, d + 2, s)), ints(d), numbers([2])], define


def tiles():
    x = numbers(shape(0, 4, 3))
    times = [RNG.randint(0, 4) for _ in x.shape]
    return "Tile", {}, pick(6, 13), [x, either(times)], lambda x, t: np.tile(x, times)


def compressions():
    x = numbers(shape(1, 3))
    axis = RNG.randint(x.ndim)
    kept = RNG.rand(RNG.randint(1, x.shape[axis] + 1)) < 0.6
    return "Compress", {"axis": axis}, 11, [x, kept], lambda x, k: np.compress(k, x, axis)


def reversals():
    x = numbers(shape(2, 4))
    n = either(RNG.randint(0, x.shape[0] + 1, x.shape[1]))

    def define(x, n):
        y = x.copy()
        for b, m in enumerate(n):
            y[:m, b] = x[:m, b][::-1]
        return y

    return "ReverseSequence", {"time_axis": 0, "batch_axis": 1}, 10, [x, n], define


def resize_row(n, m, scale, mode, where, rounding, a, without):
    """The m x n matrix of a resize along one axis, entry by entry from the formulas of ONNX's page."""
    w = np.zeros((m, n))
    for i in range(m):
        x = {"half_pixel": (i + 0.5) / scale - 0.5, "asymmetric": i / scale,
             "half_pixel_symmetric": n / 2 * (1 - m / float(np.float32(scale * n))) + (i + 0.5) / scale - 0.5,
             "pytorch_half_pixel": (i + 0.5) / scale - 0.5 if m > 1 else 0,
             "align_corners": i * (n - 1) / (m - 1) if m > 1 else 0}[where]
        if mode == "nearest":
            x = float(np.float32(x))
            k = {"floor": np.floor(x), "ceil": np.ceil(x), "round_prefer_floor": np.ceil(x - 0.5),
                 "round_prefer_ceil": np.floor(x + 0.5)}[rounding]
            w[i, int(np.clip(k, 0, n - 1))] = 1
            continue
        low = int(np.floor(x))
        for k in range(low - 1, low + 3):
            d = abs(x - k)
            if mode == "linear":
                v = max(0, 1 - d)
            else:
                v = (a + 2) * d**3 - (a + 3) * d**2 + 1 if d <= 1 else a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0
            if not without or 0 <= k < n:
                w[i, np.clip(k, 0, n - 1)] += v
        if without:
            w[i] /= w[i].sum()
    return w


def resizes():
    x = numbers([2, 1, RNG.randint(1, 6), RNG.randint(1, 6)])
    mode = pick("nearest", "linear", "cubic")
    where = pick("half_pixel", "asymmetric", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners")
    attrs = {"mode": mode, "coordinate_transformation_mode": where}
    rounding, a, without = pick("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"), -0.75, False
    if mode == "nearest":
        attrs["nearest_mode"] = rounding
    if mode == "cubic":
        a, without = pick(-0.5, -0.75), bool(RNG.randint(2))
        attrs.update(cubic_coeff_a=a, exclude_outside=int(without))
    if where != "align_corners" and RNG.rand() < 0.5:
        scale = [np.float32(max(pick(0.5, 0.75, 1, 1.5, 2, 3, 0.8), 1 / n)) for n in x.shape[2:]]
        size = [int(np.float32(s * n)) for s, n in zip(scale, x.shape[2:])]
        last = [None, np.array([1, 1] + scale, np.float32)]
    else:
        size = [RNG.randint(1, 9), RNG.randint(1, 9)]
        scale = [m / n for m, n in zip(size, x.shape[2:])]
        last = [None, None, either([2, 1] + size)]
    w = [resize_row(n, m, float(s), mode, where, rounding, a, without) for n, m, s in zip(x.shape[2:], size, scale)]
    return "Resize", attrs, 19, [x] + last, lambda x, *_: np.einsum("ik,jl,abkl->abij", w[0], w[1], x)


DEFINED = [slices, pads, negative_pads, splits, uneven_splits, concats, gathers, gather_elements, gather_nd,
           scatter_elements, scatter_nd, distinct, sums, triangles, one_hots, tiles, compressions, reversals, resizes]

X = np.arange(12.0).reshape(3, 4)

# What fails, and a part of the message: at a place that is data, of the run.
WRONG = [
    ("GatherElements", {"axis": 1}, 13, [X, ints([[4, 0]])], "index 4 of an axis of size 4"),
    ("GatherElements", {"axis": 1}, 13, [X, ints([[4, 0]]).view(Data)], "out of range"),
    ("GatherND", {}, 13, [X, ints([[0, 5]])], "index 5 of an axis of size 4"),
    ("GatherND", {}, 13, [X, ints([[0, 5]]).view(Data)], "out of range"),
    ("GatherND", {"batch_dims": 2**32}, 13, [X, ints([[0]])], "4294967296 batch_dims"),
    ("ScatterND", {}, 13, [X, ints([[0, -5]]).view(Data), np.ones(1)], "out of range"),
    ("ScatterElements", {"reduction": "mean"}, 18, [X, ints([[0]]), np.ones((1, 1))], "reduction mean"),
    ("ReverseSequence", {"time_axis": 0, "batch_axis": 1}, 10, [X, ints([4, 1, 1, 1]).view(Data)],
     "out of range"),
    ("Slice", {}, 13, [X, ints([0, 0]), ints([1, 1]), ints([0, -2])], "axis 0 is given twice"),
    ("Split", {"axis": 1}, 13, [X, ints([1, 2])], "its parts make up 3 of axis 1, 4"),
    ("Split", {"axis": 0}, 13, [X], "does not divide into 2 parts"),
    ("Reshape", {}, 13, [X, ints([2**62, 4])], "a shape that no tensor can have"),
    ("Tile", {}, 13, [X, ints([2**62, 1])], "repeats of 3 entries"),
    ("Pad", {"mode": "reflect"}, 13, [X, ints([-3, 0, 1, 0])], "axis 0 has no entries to pad with"),
    ("Pad", {}, 13, [X, ints([2**63 - 1, 0, 2**63 - 1, 0])], "pads 9223372036854775807"),
    ("DepthToSpace", {"blocksize": 2**32}, 13, [np.ones((1, 4, 1, 1))], "a blocksize of 4294967296"),
    ("DepthToSpace", {"blocksize": 2, "mode": "RCD"}, 13, [np.ones((1, 4, 1, 1))], "mode RCD"),
    ("Resize", {"nearest_mode": "up"}, 13, [X, None, None, ints([6, 8])], "nearest_mode up"),
    ("CumSum", {}, 14, [X, ints([0, 1])], "its axis has to be one number, not 2"),
]


def write(folder, op, attrs, version, inputs, n_out, outputs):
    data = folder / "test_data_set_0"
    data.mkdir(parents=True)
    names = ["" if v is None else f"i{k}" for k, v in enumerate(inputs)]
    fed = [(n, v) for n, v in zip(names, inputs) if v is not None and (v.dtype == np.float64 or isinstance(v, Data))]
    kept = [(n, v) for n, v in zip(names, inputs) if v is not None and n not in dict(fed)]
    kind = lambda v: onnx.TensorProto.DOUBLE if v.dtype == np.float64 else onnx.TensorProto.INT64
    node = helper.make_node(op, names, [f"y{k}" for k in range(n_out)], **attrs)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info(n, kind(v), v.shape) for n, v in fed],
        [helper.make_tensor_value_info(f"y{k}", onnx.TensorProto.DOUBLE, None) for k in range(n_out)],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in kept])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    for what, tensors in (("input", [v for _, v in fed]), ("output", outputs)):
        for k, v in enumerate(tensors):
            (data / f"{what}_{k}.pb").write_bytes(numpy_helper.from_array(np.array(v)).SerializeToString())


def gradients(key, define, inputs, outputs, into):
    cot = [RNG.randint(-9, 10, y.shape).astype(np.float64) for y in outputs]
    for k, v in enumerate(inputs):
        if v is None or v.dtype != np.float64:
            continue
        g = np.zeros(v.shape)
        for at in np.ndindex(*v.shape):
            moved = v.copy()
            moved[at] += 0.25
            out = listed(define(*inputs[:k], moved, *inputs[k + 1 :]))
            g[at] = sum(((a - b) * c).sum() for a, b, c in zip(out, outputs, cot)) * 4
        into[f"{key}/grad/i{k}"] = g
    into.update({f"{key}/cot/y{k}": c for k, c in enumerate(cot)})


def listed(y):
    return list(y) if isinstance(y, (list, tuple)) else [np.asarray(y)]


def run(*arguments):
    program = [os.environ["ONNX_BACKEND"], *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True).stdout.splitlines()


def main():
    problems, made = [], {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for make in DEFINED:
            for k in range(ROUNDS):
                op, attrs, version, inputs, define = make()
                outputs = listed(define(*inputs))
                name = f"test_{make.__name__}_{k}"
                write(folder / "node" / name, op, attrs, version, inputs, len(outputs), outputs)
                gradients(f"node__{name}", define, inputs, outputs, made)
        np.savez(folder / "gradients.npz", **made)
        with_gradient = len({name.split("/")[0] for name in made if "/grad/" in name})
        for k, (op, attrs, version, inputs, _) in enumerate(WRONG):
            write(folder / "wrong" / "node" / f"test_{k:02}", op, attrs, version, inputs, 2 if op == "Split" else 1, [])
        right = run(folder, "--gradients", folder / "gradients.npz")
        problems += [line for line in right if not line.startswith("pass")][:-1]
        n = len(DEFINED) * ROUNDS
        if not right or right[-1] != f"{n} pass, 0 skip, 0 fail; gradients of {with_gradient} tests":
            problems.append(f"{n} were to pass, {with_gradient} with gradients: {right[-1:]}")
        single = run(folder, "--f32")
        problems += ["f32: " + line for line in single if not line.startswith("pass")][:-1]
        wrong = run(folder / "wrong")
        for (op, *_, message), line in zip(WRONG, wrong):
            if message not in line:
                problems.append(f"{op}: {line}, not: {message}")
        if len(wrong) != len(WRONG) + 1:
            problems.append(f"{len(wrong) - 1} of {len(WRONG)} wrong nodes were run")
    print(f"{'not ok' if problems else 'ok'} - {n} random nodes; {len(WRONG)} wrong ones")
    for p in problems[:40]:
        print("  #", p)
    sys.exit(bool(problems))


main()
