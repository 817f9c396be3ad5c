"""Operators of networks in the versions and attributes that ONNX's own tests do not reach: reductions, products,
normalisations, losses, attention. Each case is a model of one node; its values are compared with a definition written
here in NumPy, its gradients with central differences of that definition. What makes no sense has to be refused."""

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
random = np.random.default_rng(5)
failures = 0
INF = np.inf
BATCH, LAYER = "BatchNormalization", "LayerNormalization"
NLL, CE = "NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"


def check(name, problem=None):
    global failures
    failures += problem is not None
    print(f"{'not ok' if problem else 'ok'} - {name}{': ' + problem if problem else ''}")


def x(*shape):
    """Numbers that are apart from each other, from 0 and from integers."""
    n = int(np.prod(shape))
    return ((random.permutation(n) - n / 2 + 0.3) * (3.0 / max(n, 1))).reshape(shape)


def ints(*v, dtype=np.int64):
    return np.array(v, dtype)


KIND = {"f": proto.DOUBLE, "i": proto.INT64, "b": proto.BOOL, "u": proto.UINT64}


def kind(a):
    return proto.INT32 if a.dtype == np.int32 else KIND[a.dtype.kind]


def write(path, op, version, attributes, inputs, constants, n_out, out_kind=proto.DOUBLE):
    """inputs: arrays, or None for one that is left out; those at `constants` are initialisers."""
    names = [f"x{i}" if a is not None else "" for i, a in enumerate(inputs)]
    outs = [f"y{i}" for i in range(n_out)]
    given = [
        helper.make_tensor_value_info(n, kind(a), a.shape)
        for i, (n, a) in enumerate(zip(names, inputs))
        if a is not None and i not in constants
    ]
    fixed = [helper.make_tensor(names[i], kind(inputs[i]), inputs[i].shape, inputs[i].ravel()) for i in constants]
    result = [helper.make_tensor_value_info(o, out_kind, None) for o in outs]
    graph = helper.make_graph([helper.make_node(op, names, outs, name="node", **attributes)], "g", given, result, fixed)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
    model.ir_version = 8
    save(model, str(path))
    return outs


def chainrule(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)


def differences(f, inputs, i, cotangents, h=1e-5):
    """Gradient by input i of the sum of outputs times cotangents: central differences, extrapolated once."""
    gradient = np.zeros(inputs[i].shape)

    def value(k, step):
        moved = list(inputs)
        moved[i] = inputs[i].copy()
        moved[i][k] += step
        return sum(float((np.asarray(o) * c).sum()) for o, c in zip(f(*moved), cotangents) if c is not None)

    for k in np.ndindex(gradient.shape):
        near, far = (value(k, h) - value(k, -h)) / (2 * h), (value(k, 2 * h) - value(k, -2 * h)) / (4 * h)
        gradient[k] = (4 * near - far) / 3
    return gradient


def far(got, want, tolerance):
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if got.shape != want.shape:
        return f"the shape {got.shape}, not {want.shape}"
    both = np.isnan(got) & np.isnan(want) | (got == want)
    with np.errstate(invalid="ignore"):
        worst = np.abs(np.where(both, 0, got - want)).max(initial=0)
    size = np.abs(want[np.isfinite(want)]).max(initial=1e-3)
    return None if worst <= tolerance * size else f"off by {worst:.3g}, where the largest entry is {size:.3g}"


def case(
    folder, name, op, version, f, inputs, attributes=None, constants=(), n_out=1, smooth=True, out_kind=proto.DOUBLE
):
    outs = write(folder / "m.onnx", op, version, attributes or {}, inputs, constants, n_out, out_kind)
    data = {f"x{i}": a for i, a in enumerate(inputs) if a is not None and i not in constants}
    np.savez(folder / "d.npz", **data)
    common = ["--data", folder / "d.npz", "--precision", "f64", "--quiet"]
    want = [np.asarray(w) for w in f(*inputs)[:n_out]]
    done = chainrule("run", folder / "m.onnx", *common, "-o", folder / "o.npz")
    if done.returncode:
        return check(name, done.stderr.strip())
    got = np.load(folder / "o.npz")
    for o, w in zip(outs, want):
        problem = far(got[o], w, 1e-11)
        if problem:
            return check(name, f"{o} is {problem}")
    if smooth:
        done = chainrule("run", folder / "m.onnx", *common[:3], "f32", "--quiet", "-o", folder / "o.npz")
        got = np.load(folder / "o.npz") if done.returncode == 0 else None
        problem = done.stderr.strip() or next((p for o, w in zip(outs, want) if (p := far(got[o], w, 2e-4))), None)
        if problem:
            return check(name, f"in float32: {problem}")
    moving = [i for i, a in enumerate(inputs) if a is not None and i not in constants and a.dtype.kind == "f"]
    if not smooth or not moving or all(w.dtype.kind != "f" for w in want):
        return check(name)
    cotangents = [random.standard_normal(w.shape) if w.dtype.kind == "f" else None for w in want]
    np.savez(folder / "c.npz", **{o: c for o, c in zip(outs, cotangents) if c is not None})
    done = chainrule("grad", folder / "m.onnx", *common, "--cotangent", folder / "c.npz", "-o", folder / "g.npz")
    if done.returncode:
        return check(name, done.stderr.strip())
    got = np.load(folder / "g.npz")
    for i in moving:
        if f"x{i}" not in got:
            return check(name, f"no gradient by x{i} among {list(got)}")
        problem = far(got[f"x{i}"], differences(f, inputs, i, cotangents), 3e-8)
        if problem:
            return check(name, f"the gradient by x{i} is {problem}")
    check(name)


def refuse(folder, name, op, version, inputs, message, attributes=None, constants=(), n_out=1):
    write(folder / "m.onnx", op, version, attributes or {}, inputs, constants, n_out)
    np.savez(folder / "d.npz", **{f"x{i}": a for i, a in enumerate(inputs) if a is not None and i not in constants})
    done = chainrule("run", folder / "m.onnx", "--data", folder / "d.npz", "--quiet", "-o", folder / "o.npz")
    if done.returncode != 3:
        check(name, f"exit status {done.returncode}, {done.stderr.strip()}")
    elif "node" not in done.stderr or message not in done.stderr:
        check(name, f"the message is {done.stderr.strip()}")
    else:
        check(name)


# ---- definitions --------------------------------------------------------------------------------


def softmax(a, axis=-1):
    e = np.exp(a - a.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def log_sum_exp(a, axis, keepdims):
    with np.errstate(all="ignore"):
        top = a.max(axis, keepdims=True)
        shift = np.where(np.isfinite(top), top, 0)
        r = np.log(np.exp(a - shift).sum(axis, keepdims=True)) + shift
    return r if keepdims else r.sum(axis)


REDUCE = {
    "ReduceSum": lambda a, **k: a.sum(**k),
    "ReduceMean": lambda a, **k: a.mean(**k),
    "ReduceMax": lambda a, **k: a.max(**k),
    "ReduceMin": lambda a, **k: a.min(**k),
    "ReduceProd": lambda a, **k: a.prod(**k),
    "ReduceL1": lambda a, **k: np.abs(a).sum(**k),
    "ReduceL2": lambda a, **k: np.sqrt((a * a).sum(**k)),
    "ReduceLogSum": lambda a, **k: np.log(a.sum(**k)),
    "ReduceLogSumExp": lambda a, **k: log_sum_exp(a, **k),
    "ReduceSumSquare": lambda a, **k: (a * a).sum(**k),
}


def normal(a, axes, epsilon):
    m = a.mean(axes, keepdims=True)
    v = ((a - m) ** 2).mean(axes, keepdims=True)
    return (a - m) / np.sqrt(v + epsilon), m, v


def column(v, rank):
    return v.reshape((-1,) + (1,) * (rank - 2)) if rank > 1 else v


def flat_rows(f, axis):
    return lambda a: [f(a.reshape(int(np.prod(a.shape[:axis])), -1)).reshape(a.shape)]


def hardmax(a, axis=-1):
    return (np.arange(a.shape[axis]).reshape([-1 if i == axis % a.ndim else 1 for i in range(a.ndim)])
            == np.expand_dims(a.argmax(axis), axis)) * 1.0


def nll(logp, label, weight=None, ignore=None, reduction="mean"):
    classes = logp.shape[1]
    index = np.clip(label, 0, classes - 1)
    w = np.ones(classes) if weight is None else weight
    counts = np.ones(label.shape, bool) if ignore is None else label != ignore
    wrong = counts & ((label < 0) | (label >= classes))
    taken = np.where(counts & ~wrong, w[index], 0)
    picked = np.take_along_axis(logp, np.expand_dims(index, 1), 1)[:, 0]
    each = np.where(wrong, np.nan, np.where(taken != 0, -taken * picked, 0))
    if reduction == "none":
        return each
    return each.sum() if reduction == "sum" else each.sum() / taken.sum()


def log_softmax(a, axis=1):
    return a - log_sum_exp(a, axis, True)


def attention(q, k, v, mask=None, past_k=None, past_v=None, filled=None, heads=0, kv_heads=0, scale=None, cap=0,
              causal=False, mode=0):
    three = q.ndim == 3
    if three:
        split = lambda a, h: a.reshape(*a.shape[:2], h, -1).swapaxes(1, 2)
        q, k, v = split(q, heads), split(k, kv_heads), split(v, kv_heads)
    past = 0 if past_k is None else past_k.shape[2]
    if past:
        k, v = np.concatenate([past_k, k], 2), np.concatenate([past_v, v], 2)
    present = k, v
    times = q.shape[1] // k.shape[1]
    k, v = k.repeat(times, 1), v.repeat(times, 1)
    raw = q @ k.swapaxes(2, 3) * (1 / np.sqrt(q.shape[3]) if scale is None else scale)
    capped = np.tanh(raw / cap) * cap if cap else raw
    s = capped.copy()
    if mask is not None:
        short = s.shape[3] - mask.shape[-1] if mask.ndim and mask.shape[-1] != 1 else 0
        bias = np.where(mask, 0, -INF) if mask.dtype == bool else mask
        bias = np.concatenate([bias, np.full((*bias.shape[:-1], short), -INF)], -1) if short else bias
        s = s + bias
    row, col = np.arange(s.shape[2])[:, None], np.arange(s.shape[3])[None, :]
    if filled is not None:
        s = np.where(col[None, None] < filled[:, None, None, None], s, -INF)
    if causal:
        offset = filled[:, None, None, None] - s.shape[2] if filled is not None and not past else past
        s = np.where(col <= row + offset, s, -INF)
    p = softmax(s)
    y = p @ v
    if three:
        y = y.swapaxes(1, 2).reshape(y.shape[0], y.shape[2], -1)
    return [y, *present, [raw, capped, s, p][mode]]


# ---- cases --------------------------------------------------------------------------------------


def reductions(t):
    for op, f in REDUCE.items():
        whole = 13 if op == "ReduceSum" else 18  # the version from which axes are an input
        a = np.abs(x(2, 3, 4)) + 0.2 if op == "ReduceLogSum" else x(2, 3, 4)
        r = lambda axis, keep: lambda a, *_: [f(a, axis=axis, keepdims=keep)]
        case(t, f"{op} 11, axes in the node", op, 11, r((0, 2), True), [a], {"axes": [-1, 0]})
        case(t, f"{op} 7, all axes", op, 7, r((0, 1, 2), False), [a], {"keepdims": 0})
        case(t, f"{op} {whole}, axes as input", op, whole, r((1,), False), [a, ints(-2)], {"keepdims": 0}, [1])
        case(t, f"{op} {whole}, no axes", op, whole, r((0, 1, 2), True), [a, ints()], {}, [1])
        case(t, f"{op} {whole}, nothing to do", op, whole, r((), True), [a], {"noop_with_empty_axes": 1})
        b = np.abs(x(5)[:1]).reshape(())
        case(t, f"{op} of a number", op, 13, lambda a: [f(a.reshape(1), axis=0, keepdims=False)], [b])
        c = np.abs(x(2, 1, 2, 1, 2)) + 0.2
        case(t, f"{op} of five axes, one of size 1", op, 11, r((1, 4), True), [c], {"axes": [1, 4]})
        refuse(t, f"{op} of an axis that is not there", op, 11, [a], "axis 3", {"axes": [3]})
        refuse(t, f"{op} of an axis twice", op, 11, [a], "twice", {"axes": [1, -2]})
    whole = ints(3, 4, -9, 2)
    for op, want in {"ReduceL2": 10, "ReduceMean": 0, "ReduceLogSumExp": 4, "ReduceProd": -216}.items():
        case(t, f"{op} of integers", op, 13, lambda a: [np.array([want])], [whole], out_kind=proto.INT64)
    wild = np.array([[-INF, -INF], [INF, 1], [1000, 1000.5], [-1000, -INF]])
    lse = lambda a: [log_sum_exp(a, 1, True)]
    case(t, "ReduceLogSumExp of large numbers", "ReduceLogSumExp", 13, lse, [wild], {"axes": [1]}, smooth=False)
    case(t, "ReduceLogSumExp near 1000", "ReduceLogSumExp", 13, lse, [x(2, 3) + 1000], {"axes": [1]})
    none = np.zeros((2, 0, 3))
    for op, want in {"ReduceSum": 0, "ReduceProd": 1, "ReduceMax": -INF, "ReduceMin": INF, "ReduceL2": 0}.items():
        case(t, f"{op} of nothing", op, 11, lambda a: [np.full((2, 1, 3), want)], [none], {"axes": [1]}, smooth=False)


def along_axes(t):
    a = x(2, 3, 4)
    for op, f, smooth in (("Softmax", softmax, True), ("LogSoftmax", log_softmax, True), ("Hardmax", hardmax, False)):
        for axis in (0, 1, 2, -1, -3):
            case(t, f"{op} 13, axis {axis}", op, 13, lambda a: [f(a, axis)], [a], {"axis": axis}, smooth=smooth)
            rows = flat_rows(lambda m: f(m, 1), axis % 3)
            case(t, f"{op} 11, axis {axis}", op, 11, rows, [a], {"axis": axis}, smooth=smooth)
        case(t, f"{op} 13, no axis", op, 13, lambda a: [f(a, -1)], [a], smooth=smooth)
        case(t, f"{op} 9, no axis", op, 9, flat_rows(lambda m: f(m, 1), 1), [a], smooth=smooth)
        case(t, f"{op} 9 of a vector", op, 9, lambda a: [f(a.reshape(-1, 1), 1).ravel()], [x(4)], smooth=False)
        refuse(t, f"{op} of an axis that is not there", op, 13, [a], "axis 3", {"axis": 3})
    tied = np.array([[2.0, 5, 5, 1], [7, 7, 7, 7]])
    for op, g in (("ArgMax", np.argmax), ("ArgMin", np.argmin)):
        first = lambda a: [np.expand_dims(g(a, 1), 1)]
        last = lambda a: [a.shape[1] - 1 - g(a[:, ::-1], 1)]
        case(t, f"{op}, the first", op, 13, first, [tied], {"axis": 1}, out_kind=proto.INT64)
        case(t, f"{op}, the last", op, 12, last, [tied], {"axis": -1, "select_last_index": 1, "keepdims": 0},
             out_kind=proto.INT64)
        case(t, f"{op}, no axis", op, 9, lambda a: [g(a, 0)[None]], [a], out_kind=proto.INT64)
        refuse(t, f"{op} of nothing", op, 13, [np.zeros((2, 0))], "no entry", {"axis": 1})
        nan = np.array([[1, np.nan, 3], [np.nan] * 3])
        write(t / "m.onnx", op, 13, {"axis": 1}, [nan], (), 1, proto.INT64)
        np.savez(t / "d.npz", x0=nan)
        done = chainrule("run", t / "m.onnx", "--data", t / "d.npz", "--quiet", "-o", t / "o.npz")
        place = np.load(t / "o.npz")["y0"]
        check(f"{op} with NaN", None if done.returncode == 0 and ((place >= 0) & (place < 3)).all() else f"{place}")

    def top(k, axis, largest=True):
        def f(a, *_):
            order = np.argsort(-a if largest else a, axis, kind="stable").take(range(k), axis)
            return [np.take_along_axis(a, order, axis), order]

        return f

    case(t, "TopK 1", "TopK", 1, top(2, -1), [a], {"k": 2}, n_out=2)
    case(t, "TopK 10", "TopK", 10, top(3, 1), [a, ints(3)], {"axis": 1}, [1], 2)
    case(t, "TopK 11, least", "TopK", 11, top(1, 0, False), [a, ints(1)], {"axis": 0, "largest": 0}, [1], 2)
    case(t, "TopK, equal entries", "TopK", 11, top(3, 1), [tied, ints(3)], {"axis": 1}, [1], 2, smooth=False)
    infinite = np.array([[-INF, 1, -INF, -INF]])
    case(t, "TopK, infinite entries", "TopK", 11, top(4, 1), [infinite, ints(4)], {}, [1], 2, smooth=False)
    refuse(t, "TopK, too many", "TopK", 11, [a, ints(5)], "5 of 4", {}, [1], 2)


def products(t):
    shapes = [
        ((3,), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3,)),
        ((2, 3), (3, 4)),
        ((2, 1), (1, 3)),
        ((2, 1, 2, 3), (4, 3, 2)),
        ((5, 2, 3), (3,)),
        ((3,), (2, 3, 4)),
        ((1, 2, 3), (5, 3, 1)),
        ((2, 3, 1, 4), (2, 1, 4, 2)),
    ]
    for a, b in shapes:
        case(t, f"MatMul {a} {b}", "MatMul", 9, lambda a, b: [a @ b], [x(*a), x(*b)])
    case(t, "MatMul, an empty sum", "MatMul", 13, lambda a, b: [a @ b], [x(2, 0), x(0, 3)], smooth=False)
    refuse(t, "MatMul, inner sizes", "MatMul", 13, [x(2, 3), x(2, 3)], "2 x 3")
    refuse(t, "MatMul, leading sizes", "MatMul", 13, [x(2, 2, 3), x(3, 3, 2)], "times")
    refuse(t, "MatMul of a number", "MatMul", 13, [np.array(1.0), x(3)], "number")
    for ta, tb in ((0, 0), (1, 0), (0, 1), (1, 1)):
        a, b = x(3, 2) if ta else x(2, 3), x(4, 3) if tb else x(3, 4)
        f = lambda a, b, c=0: [0.5 * (a.T if ta else a) @ (b.T if tb else b) + 2 * c]
        k = {"transA": ta, "transB": tb, "alpha": 0.5, "beta": 2.0}
        case(t, f"Gemm {ta}{tb}", "Gemm", 7, f, [a, b, x(4)], k)
        case(t, f"Gemm {ta}{tb}, no C", "Gemm", 11, f, [a, b], k)
    for shape in ((), (1,), (1, 1), (2, 1), (1, 4), (2, 4)):
        case(t, f"Gemm with C {shape}", "Gemm", 13, lambda a, b, c: [a @ b + c], [x(2, 3), x(3, 4), x(*shape)])
    refuse(t, "Gemm, C too large", "Gemm", 13, [x(2, 3), x(3, 4), x(1, 2, 4)], "does not broadcast")
    refuse(t, "Gemm, ranks", "Gemm", 13, [x(1, 2, 3), x(3, 4)], "matrices")
    equations = [
        ("ij,jk->ik", (2, 3), (3, 4)),
        ("ij,jk", (2, 3), (3, 4)),
        ("ba", (2, 3)),
        ("ii", (3, 3)),
        ("ii->i", (3, 3)),
        ("bii->bi", (2, 3, 3)),
        (" i j , j ->i", (2, 3), (3,)),
        ("...ij,...jk->...ik", (2, 1, 2, 3), (4, 3, 2)),
        ("...ij->...ji", (2, 3, 4)),
        ("...i,...i", (2, 3), (3,)),
        ("i...->...", (2, 3)),
        ("->", ()),
        ("ij,kl,jk->il", (2, 3), (4, 2), (3, 4)),
        ("Ab,bC", (2, 3), (3, 2)),
        ("bij,bij->b", (2, 3, 2), (2, 3, 2)),
        ("i,j->ij", (2,), (3,)),
        ("i...j,j...k->...ik", (2, 3, 4), (4, 1, 2)),
    ]
    for equation, *shapes in equations:
        f = lambda *a: [np.einsum(equation, *a)]
        case(t, f"Einsum {equation}", "Einsum", 12, f, [x(*s) for s in shapes], {"equation": equation})
    wrong = {
        "ij,jk->ik,": "ik,",
        "ij->ij": "operands",
        "ij,jk,k": "operands",
        "ij,jk->ii": "twice",
        "ij,jk->iz": "no operand",
        "ijk,jk": "letters",
        "i\u00e9,jk": "equation",
        "ij,ik->jk": "differ",
    }
    for equation, message in wrong.items():
        refuse(t, f"Einsum {equation}", "Einsum", 12, [x(2, 3), x(3, 4)], message, {"equation": equation})
    many = [x(*(1,) * 10), x(*(1,) * 10)]
    equation = "abcdefgh...,ijklmnop...->abcdefghijklmnop..."
    refuse(t, "Einsum, too many axes", "Einsum", 12, many, "axes", {"equation": equation})
    case(t, "Det", "Det", 11, lambda a: [np.linalg.det(a)], [x(3, 3)])
    case(t, "Det of many", "Det", 11, lambda a: [np.linalg.det(a)], [x(2, 3, 3, 3) + np.eye(3)])
    case(t, "Det of numbers", "Det", 11, lambda a: [np.linalg.det(a)], [x(4, 1, 1)])
    refuse(t, "Det of no square", "Det", 11, [x(2, 3)], "square")


def normalisations(t):
    for shape in ((4, 3), (2, 3, 4), (2, 3, 2, 2), (2, 3, 1, 2, 2), (4, 1)):
        n = shape[1]
        a, s, b, m, v = x(*shape), x(n), x(n), x(n), np.abs(x(n)) + 0.1
        rank = len(shape)
        axes = tuple(i for i in range(rank) if i != 1)
        col = lambda w: column(w, rank)
        k = {"epsilon": 1e-2}
        e = float(np.float32(1e-2))

        def still(a, s, b, m, v):
            return [(a - col(m)) / np.sqrt(col(v) + e) * col(s) + col(b)]

        def training(a, s, b, m, v):
            y, mean, var = normal(a, axes, e)
            p = float(np.float32(0.8))
            now = mean.reshape(-1), var.reshape(-1)
            return [y * col(s) + col(b), m * p + now[0] * (1 - p), v * p + now[1] * (1 - p), *now]

        for version in (7, 9, 14, 15):
            case(t, f"{BATCH} {version} {shape}", BATCH, version, still, [a, s, b, m, v], k)
        k = {**k, "momentum": 0.8}
        case(t, f"{BATCH} 9, training {shape}", BATCH, 9, training, [a, s, b, m, v], k, n_out=5)
        case(t, f"{BATCH} 15, training {shape}", BATCH, 15, training, [a, s, b, m, v],
             {**k, "training_mode": 1}, n_out=3)
        if rank > 2:
            inner = lambda a, s, b: [normal(a, axes[1:], e)[0] * col(s) + col(b)]
            case(t, f"InstanceNormalization {shape}", "InstanceNormalization", 6, inner, [a, s, b], {"epsilon": 1e-2})
    a = x(2, 3, 4)
    refuse(t, f"{BATCH}, scale", BATCH, 15, [a, x(4), x(3), x(3), x(3)], "3 channels")
    refuse(t, f"{BATCH}, variance", BATCH, 15, [a, x(3), x(3), x(3), x(2)], "variance")
    refuse(t, f"{BATCH}, mean in training", BATCH, 15, [a, x(3), x(3), x(4), x(3)], "",
           {"training_mode": 1}, (), 3)
    refuse(t, f"{BATCH}, spatial", BATCH, 7, [a, x(3), x(3), x(3), x(3)], "spatial", {"spatial": 0})
    refuse(t, "InstanceNormalization of a matrix", "InstanceNormalization", 6, [x(2, 3), x(3), x(3)], "3 axes")

    e = float(np.float32(1e-3))  # as the file has it
    for axis in (-1, 1, 0, -2):
        axes = tuple(range(axis % 3, 3))
        tail = a.shape[axis % 3 :]

        def layer(a, s, b=0):
            y, m, v = normal(a, axes, e)
            return [y * s + b, m, 1 / np.sqrt(v + e)]

        rms = lambda a, s: [a / np.sqrt((a * a).mean(axes, keepdims=True) + e) * s]
        k = {"axis": axis, "epsilon": 1e-3, "stash_type": 1}
        case(t, f"{LAYER}, axis {axis}", LAYER, 17, layer, [a, x(*tail), x(*tail)], k, n_out=3)
        case(t, f"{LAYER}, axis {axis}, no bias", LAYER, 17, layer, [a, x(tail[-1])], k)
        case(t, f"RMSNormalization, axis {axis}", "RMSNormalization", 23, rms, [a, x(*tail)], k)
    refuse(t, f"{LAYER}, scale", LAYER, 17, [a, x(3)], "3")
    refuse(t, f"{LAYER}, scale of too many axes", LAYER, 17, [a, x(1, 2, 3, 4)], "1 x 2 x 3 x 4")

    for shape in ((2, 6), (2, 6, 3), (1, 6, 2, 2)):
        a = x(*shape)
        rank = len(shape)
        e = float(np.float32(1e-2))

        def group(per_channel):
            def f(a, s, b):
                y = normal(a.reshape(a.shape[0], 3, 2, -1), (2, 3), e)[0].reshape(a.shape)
                wide = (lambda w: w) if per_channel else (lambda w: np.repeat(w, 2))
                return [y * column(wide(s), rank) + column(wide(b), rank)]

            return f

        k = {"num_groups": 3, "epsilon": 1e-2}
        case(t, f"GroupNormalization 18 {shape}", "GroupNormalization", 18, group(False), [a, x(3), x(3)], k)
        case(t, f"GroupNormalization 21 {shape}", "GroupNormalization", 21, group(True), [a, x(6), x(6)], k)
    refuse(t, "GroupNormalization, groups", "GroupNormalization", 21, [a, x(6), x(6)], "6 channels", {"num_groups": 4})
    refuse(t, "GroupNormalization 21, scale", "GroupNormalization", 21, [a, x(3), x(3)], "input 2", {"num_groups": 3})

    def lrn(size, alpha=0.3, beta=0.75, bias=1.5):
        alpha, beta, bias = (float(np.float32(w)) for w in (alpha, beta, bias))

        def f(a):
            sum_ = np.zeros_like(a)
            for c in range(a.shape[1]):
                lo, hi = max(0, c - (size - 1) // 2), min(a.shape[1] - 1, c + size // 2)
                sum_[:, c] = (a[:, lo : hi + 1] ** 2).sum(1)
            return [a / (bias + alpha / size * sum_) ** beta]

        return f

    for size, shape in ((3, (2, 5, 2)), (4, (2, 5)), (2, (1, 5, 2, 2)), (9, (2, 3, 2))):
        k = {"size": size, "alpha": 0.3, "beta": 0.75, "bias": 1.5}
        case(t, f"LRN {size} {shape}", "LRN", 13, lrn(size), [x(*shape)], k)

    def mvn(axes):
        def f(a):
            m = a.mean(axes, keepdims=True)
            return [(a - m) / (np.sqrt(((a - m) ** 2).mean(axes, keepdims=True)) + 1e-9)]

        return f

    case(t, "MeanVarianceNormalization", "MeanVarianceNormalization", 9, mvn((0, 2, 3)), [x(2, 3, 2, 2)])
    case(t, "MeanVarianceNormalization, axes", "MeanVarianceNormalization", 13, mvn((1,)), [x(2, 3, 2)], {"axes": [-2]})
    for p in (1, 2):
        f = lambda a: [a / (np.abs(a) ** p).sum(0, keepdims=True) ** (1 / p)]
        case(t, f"LpNormalization {p}", "LpNormalization", 1, f, [x(3, 4)], {"p": p, "axis": 0})
        zero = np.array([[0.0, 0, 0], [3, 4, 0]])
        want = np.array([[0, 0, 0], zero[1] / (7 if p == 1 else 5)])
        case(t, f"LpNormalization {p} of zeros", "LpNormalization", 1, lambda a: [want], [zero], {"p": p}, smooth=False)
    refuse(t, "LpNormalization 3", "LpNormalization", 1, [x(3, 4)], "p is 3", {"p": 3})


def losses(t):
    for shape in ((4, 3), (2, 3, 4), (2, 3, 1, 2, 1, 2, 1)):
        score, label = x(*shape), random.integers(0, 3, (shape[0], *shape[2:]))
        skip = label.copy()
        skip.flat[::3] = -1
        weight = np.array([0.5, 2, 1.5])
        for reduction in ("none", "sum", "mean"):
            k = {"reduction": reduction}
            for version in (12, 13):
                f = lambda a, l: [nll(a, l, reduction=reduction)]
                case(t, f"{NLL} {version} {shape} {reduction}", NLL, version, f,
                     [score, label], k)
            f = lambda a, l, w: [nll(log_softmax(a), l, w, -1, reduction), log_softmax(a)]
            case(t, f"{CE} {shape} {reduction}, weights, ignored", CE, 13, f,
                 [score, skip, weight], {**k, "ignore_index": -1}, (), 2)
            f = lambda a, l: [nll(log_softmax(a), l, None, 1, reduction)]
            case(t, f"{CE} {shape} {reduction}, a class ignored", CE, 12, f,
                 [score, label.astype(np.int32)], {**k, "ignore_index": 1})
    sure = np.array([[1000.0, -1000, 0], [-1000, 1000, 0]])
    f = lambda a, l: [nll(log_softmax(a), l)]
    case(t, f"{CE} of large scores", CE, 13, f, [sure, ints(1, 1)])
    infinite = np.array([[0.0, -INF, -INF], [-1, -2, -3]])
    f = lambda a, l: [nll(a, l, reduction="none")]
    case(t, f"{NLL} beside -inf", NLL, 13, f, [infinite, ints(0, 2)],
         {"reduction": "none"}, smooth=False)
    case(t, "a label that is no class", NLL, 13, f, [x(3, 3), ints(0, 3, -1)],
         {"reduction": "none"}, smooth=False)
    refuse(t, f"{NLL}, labels", NLL, 13, [x(4, 3), ints(1, 2)], "labels")
    refuse(t, f"{NLL}, weights", NLL, 13, [x(1, 3), ints(1), x(2)], "weights")
    refuse(t, f"{NLL}, reduction", NLL, 13, [x(1, 3), ints(1)], "reduction",
           {"reduction": "median"})
    refuse(t, f"{CE} of a vector", CE, 13, [x(3), ints(1)], "scores")
    a = x(2, 3)
    same = lambda a, *_: [a, np.ones(a.shape, bool)]
    ratio, yes, no, half = np.array(0.0), np.array(True), np.array(False), np.array(0.5)
    case(t, "Dropout 7", "Dropout", 7, same, [a], {"ratio": 0.5})
    case(t, "Dropout 13", "Dropout", 13, same, [a], n_out=2)
    case(t, "Dropout 13, inference", "Dropout", 13, same, [a, half, no], {}, [1, 2], 2)
    case(t, "Dropout 12, ratio 0", "Dropout", 12, same, [a, ratio, yes], {}, [1, 2], 2)
    case(t, "Dropout 12, training", "Dropout", 12, same, [a, half, yes], {}, [1, 2], 2)
    refuse(t, "Dropout, two ratios", "Dropout", 13, [a, x(2), yes], "ratio", {}, [1, 2])


def attentions(t):
    def go(name, version, inputs, attributes=None, n_out=1, **k):
        f = lambda *i: attention(*i, **k)[:n_out]
        case(t, f"Attention {name}", "Attention", version, f, inputs, attributes, (), n_out)

    q, k, v = x(2, 4, 3, 5), x(2, 4, 6, 5), x(2, 4, 6, 2)
    k2, v2 = x(2, 2, 6, 5), x(2, 2, 6, 2)
    go("23", 23, [q, k, v])
    go("with heads that share", 23, [q, k2, v2])
    go("with one head", 23, [q, x(2, 1, 6, 5), x(2, 1, 6, 2)], {"is_causal": 1}, causal=True)
    flat = [x(2, 3, 20), x(2, 6, 10), x(2, 6, 4)]
    heads = {"q_num_heads": 4, "kv_num_heads": 2}
    go("with heads side by side", 23, flat, heads, 3, heads=4, kv_heads=2)
    go("with a scale", 23, [q, k, v], {"scale": 0.25}, scale=0.25)
    seen = random.random((3, 6)) < 0.7
    seen[:, 0] = True
    go("with a mask", 23, [q, k, v, seen])
    go("with a mask of its own for each sample", 23, [q, k, v, x(2, 1, 3, 6)], {"is_causal": 1}, causal=True)
    go("with a short mask", 24, [q, k, v, seen[:, :4]])
    go("with a short mask of numbers", 24, [q, k, v, x(4, 3, 4)])
    for mode in range(4):
        attributes = {"softcap": 0.5, "qk_matmul_output_mode": mode}
        go(f"with a cap and a mask, mode {mode}", 23, [q, k, v, x(3, 6)], attributes, 4, cap=0.5, mode=mode)
    past = [x(2, 4, 2, 5), x(2, 4, 2, 2)]
    go("with what came earlier", 23, [q, k, v, None, *past], {"is_causal": 1}, 3, causal=True)
    go("with pads", 24, [q, k, v, None, None, None, ints(4, 6)])
    go("with pads, causal", 24, [q, k2, v2, None, None, None, ints(4, 6)], {"is_causal": 1}, causal=True)
    refuse(t, "Attention, heads", "Attention", 23, [q, x(2, 3, 6, 5), x(2, 3, 6, 2)], "keys")
    refuse(t, "Attention, no heads of values", "Attention", 23, [q, k, np.zeros((2, 0, 6, 2))], "values")
    refuse(t, "Attention, lengths", "Attention", 23, [q, k, x(2, 4, 5, 2)], "values")
    refuse(t, "Attention, mask", "Attention", 23, [q, k, v, x(2, 6)], "mask")
    refuse(t, "Attention, a mask of five axes", "Attention", 23, [q, k, v, x(1, 1, 1, 3, 6)], "mask")
    refuse(t, "Attention, side by side without heads", "Attention", 23, flat, "heads")
    refuse(t, "Attention, mode", "Attention", 23, [q, k, v], "mode", {"qk_matmul_output_mode": 4})


def others(t):
    def shrink(a):
        return [np.where(a < -0.5, a + 0.25, np.where(a > 0.5, a - 0.25, 0))]

    case(t, "Shrink", "Shrink", 9, shrink, [x(3, 4)], {"lambd": 0.5, "bias": 0.25})
    shift = ints(200, 3, 255, dtype=np.uint64), ints(1, 4, 0, dtype=np.uint64)
    for direction, f in (("LEFT", lambda a, b: [a << b]), ("RIGHT", lambda a, b: [a >> b])):
        k = {"direction": direction}
        case(t, f"BitShift {direction}", "BitShift", 11, f, list(shift), k, out_kind=proto.UINT64)
    refuse(t, "BitShift, direction", "BitShift", 11, list(shift), "direction", {"direction": "UP"})


def main():
    with tempfile.TemporaryDirectory() as folder:
        for part in (reductions, along_axes, products, normalisations, losses, attentions, others):
            part(pathlib.Path(folder))
    sys.exit(failures > 0)


main()
