"""Networks of formulas (`.cr`) as models: run against eval, grad against derive, export against ONNX's checker."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

PROGRAM = os.environ["CHAINRULE"]
failures = 0


def check(name, problem=None):
    global failures
    failures += problem is not None
    print(f"{'not ok' if problem else 'ok'} - {name}{': ' + str(problem) if problem else ''}")


def call(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)


def results(*arguments):
    done = call(*arguments, "--json", "-")
    if done.returncode:
        raise SystemExit(f"{arguments}: {done.stderr}")
    return json.loads(done.stdout)["results"]


def apart(a, b):
    """The largest difference, relative to the largest entry; infinite for another shape."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    return (
        np.inf if a.shape != b.shape else np.max(np.abs(a - b), initial=0) / max(np.max(np.abs(b), initial=0), 1e-300)
    )


# A text, its variables with shapes; `x` is the input. The output is scalar where gradients are compared.
NETS = {
    "affine": ("eval sum(sigmoid(W*x + b))", {"x": (4,), "W": (3, 4), "b": (3,)}),
    "two layers": (
        "def h = tanh(V*x + c)\neval a'*relu(W*h + b)",
        {"x": (4,), "V": (5, 4), "c": (5,), "W": (3, 5), "b": (3,), "a": (3,)},
    ),
    "products": ("eval x'*A*x - 2*b'*x + sum(x .* b)/3", {"x": (3,), "A": (3, 3), "b": (3,)}),
    "three matrices": ("eval sum(A*B*x)", {"x": (3,), "A": (2, 4), "B": (4, 3)}),
    "matrix input": ("eval sum(A*X .* X)", {"X": (3, 2), "A": (3, 3)}),
    "transposed": ("eval tr(X'*A*X)", {"X": (3, 2), "A": (3, 3)}),
    "broadcast": ("eval sum((x*b') .* A)", {"x": (3,), "b": (2,), "A": (3, 2)}),
    "identity and ones": ("eval ones(3)'*((A + 2*I(3))*x)", {"x": (3,), "A": (3, 3)}),
    "entries": ("eval x[1]*w[2] + (A*x)[3]", {"x": (3,), "w": (2,), "A": (3, 3)}),
    "activations": (
        "eval sum(relu(x) + leaky_relu(w.*x) + elu(x) + selu(x) + gelu(w.*x) + silu(x)) + "
        "sum(softplus(x) + erf(w.*x) + exp(x/4))",
        {"x": (4,), "w": (4,)},
    ),
    "functions": (
        "eval sum(sin(x) + cos(w.*x) + tan(x/9) + sinh(x/4) + cosh(w/4) + atan(w.*x) + asin(x/99)) + "
        "sum(acos(x/99) + sqrt(x.^2 + 1) + log(x.^2 + 2) + abs(w.*x) + x.^3)",
        {"x": (4,), "w": (4,)},
    ),
    "choices": ("eval sum(max(x, w)) + sum(min(x.*w, 1)) + if(sum(x) > 0, w[1], w[2])*x[1]", {"x": (4,), "w": (4,)}),
    "reductions": (
        "eval max(A*x) + min(A*x) + prod(x) + norm1(A*x) + norm2(A*x) + norm_inf(x) + mean(A*x)",
        {"x": (3,), "A": (4, 3)},
    ),
    "softmax": ("eval w'*softmax(A*x) + v'*logsoftmax(A*x)", {"x": (3,), "A": (4, 3), "w": (4,), "v": (4,)}),
    "stack": ("eval [x[1]; w[1]; sum(x)]'*(A*x)", {"x": (3,), "w": (2,), "A": (3, 3)}),
    "det": ("eval det(A)*sum(x)", {"x": (3,), "A": (3, 3)}),
    "own function": (
        "fun swish(z) = z*sigmoid(z)\nfun twice(z) = swish(swish(z))\neval sum(twice(W*x))",
        {"x": (3,), "W": (4, 3)},
    ),
    "sum over an index": ("eval sum(i=1..3, sigmoid(x[i])*w[i])*sum(w)", {"x": (3,), "w": (3,)}),
    "definitions": ("def u = A*x\ndef v = u + x\ndef u2 = tanh(v)\neval u2'*u", {"x": (3,), "A": (3, 3)}),
}
NETS["matrix input"] = (NETS["matrix input"][0].replace("X", "x"), {"x": (3, 2), "A": (3, 3)})
NETS["transposed"] = (NETS["transposed"][0].replace("X", "x"), {"x": (3, 2), "A": (3, 3)})


def declare(shapes):
    return "let " + ", ".join(
        f"{k} : R" + (f"^{s[0]}" if len(s) == 1 else f"^{{{' x '.join(map(str, s))}}}" if s else "")
        for k, s in shapes.items()
    )


ROUNDED = {"activations": 1e-7}  # the slope of leaky_relu and the constants of selu are float32 in ONNX


def test_against_eval(t, name, text, shapes, seed):
    near = ROUNDED.get(name, 1e-10)
    r, samples = np.random.default_rng(seed), 3
    values = {k: r.standard_normal(s) for k, s in shapes.items()}
    x = r.standard_normal((samples, *shapes["x"]))
    file = t / "net.cr"
    file.write_text(f"{declare(shapes)}\n{text}\n")
    rest = {k: v for k, v in values.items() if k != "x"}
    np.savez(t / "rest.npz", **rest)
    np.savez(t / "x.npz", x=x)
    done = call("run", file, "--at", t / "rest.npz", "--data", t / "x.npz", "-o", t / "out.npz", "--precision", "f64")
    if done.returncode:
        return check(f"{name}: run", done.stderr)
    out = np.load(t / "out.npz")
    got, want = out[out.files[0]], []
    for i in range(samples):
        np.savez(t / "all.npz", **rest, x=x[i])
        want.append(results("eval", file, "--at", t / "all.npz")[0]["value"])
    check(f"{name}: run", None if apart(got, want) < near else f"{got} is not {want}")
    # The gradient for one sample, by the derivatives that derive finds.
    np.savez(t / "x.npz", x=x[:1])
    np.savez(t / "all.npz", **rest, x=x[0])
    options = ["--at", t / "rest.npz", "--data", t / "x.npz", "--loss", "none", "--precision", "f64"]
    done = call("grad", file, *options, "-o", t / "g.npz")
    if done.returncode:
        return check(f"{name}: grad", done.stderr)
    g = np.load(t / "g.npz")
    # `eval F` as `derive F wrt v`, for each variable
    lines = text.splitlines()
    derive = "\n".join(lines[:-1] + [lines[-1].replace("eval", "derive", 1) + f" wrt {v}" for v in shapes])
    (t / "d.cr").write_text(f"{declare(shapes)}\n{derive}\n")
    for v, d in zip(shapes, results("eval", t / "d.cr", "--at", t / "all.npz")):
        mine = g[v][0] if v == "x" else g[v]
        check(f"{name}: grad by {v}", None if apart(mine, d["value"]) < near else f"{mine} is not {d['value']}")


DEEP = """let x : R, w[1..N] : R, b[1..N] : R
fun sigma(z) = sigmoid(z)
def o[0] = x
def s[i] = w[i]*o[i-1] + b[i]   for i in 1..N
def o[i] = sigma(s[i])          for i in 1..N
"""
UNKNOWN = DEEP.replace("fun sigma(z) = sigmoid(z)", "fun sigma : R -> R")
SKIP = DEEP + "def s[N] = w[N]*(o[N-1] + o[1]) + b[N]\n"
VECTORS = """let x : R^d, W[1..N] : R^{d x d}, a : R^d
def h[0] = x
def h[i] = tanh(W[i]*h[i-1]) + h[i-1]   for i in 1..N
def y = a'*h[N]
"""


def test_depth(t):
    """Networks of depth N: by the closed form of derive, member by member; a skip as a later definition."""
    r, n = np.random.default_rng(1), 6
    for name, text, of, sizes in (
        ("chain", DEEP, "o[N]", {"w": (n,), "b": (n,), "x": ()}),
        ("chain with a skip", SKIP, "o[N]", {"w": (n,), "b": (n,), "x": ()}),
        ("residual layers", VECTORS, "y", {"W": (n, 3, 3), "a": (3,), "x": (3,)}),
    ):
        values = {k: r.standard_normal(s) for k, s in sizes.items()}
        (t / "net.cr").write_text(text + "".join(f"derive {of} wrt {k}\n" for k in sizes))
        rest = {k: v for k, v in values.items() if k != "x"}
        np.savez(t / "rest.npz", **rest)
        np.savez(t / "all.npz", **values)
        np.savez(t / "x.npz", x=values["x"][None])
        options = ["--set", f"N={n}", "--at", t / "rest.npz", "--data", t / "x.npz", "--precision", "f64"]
        done = call("grad", t / "net.cr", *options, "--loss", "none", "-o", t / "g.npz")
        if done.returncode:
            check(f"{name}: grad", done.stderr)
            continue
        g, sizes_given = np.load(t / "g.npz"), ["--set", f"N={n}"]
        for k, d in zip(sizes, results("eval", t / "net.cr", *sizes_given, "--at", t / "all.npz")):
            family = f"{k}[1]" in g.files
            mine = np.stack([g[f"{k}[{i}]"] for i in range(1, n + 1)]) if family else g[k][0] if k == "x" else g[k]
            check(f"{name}: grad by {k}", None if apart(mine, d["value"]) < 1e-10 else f"{mine} is not {d['value']}")
    (t / "net.cr").write_text(DEEP + "derive o[N] wrt w[1]\n")
    d = json.loads(call("diagnose", t / "net.cr", "--set", "N=40", "--data", "random", "--json", "-").stdout)
    check("chain: vanishing", None if d["verdict"]["status"] == "vanishing" else d["verdict"]["sentence"])
    names = [x["name"] for x in d["layers"]]
    check("chain: layers by their definitions", None if names == [f"s[{i}]/Mul" for i in range(1, 41)] else names)
    drawn = [x["text"] for x in d["export"] if x["kind"] == "drawn"]
    check("chain: drawn values are said", None if drawn and "`w`, `b`" in drawn[0] else drawn)
    options = ["--set", "N=9", "--data", "random", "--json", "-", "--seed"]
    again = [json.loads(call("diagnose", t / "net.cr", *options, seed).stdout)["layers"] for seed in (1, 1, 2)]
    check("chain: the seed decides", None if again[0] == again[1] != again[2] else "it does not")


def test_factors(t):
    """One sample of the sheet's chain: factors are w_i and sigma'(s_i) themselves."""
    n, o = 5, 0.3
    w, b = [0.5, -1.5, 2.0, 0.7, 1.1], [0.1, 0.2, -0.3, 0.0, 0.4]
    (t / "net.cr").write_text(DEEP + "derive o[N] wrt w[1]\n")
    np.savez(t / "x.npz", x=np.array([o]), target=np.zeros(1))
    options = ["--set", f"N={n}", "--at", f"w = {w}; b = {b}", "--data", t / "x.npz", "--loss", "mse"]
    d = call("diagnose", t / "net.cr", *options, "--precision", "f64", "--json", "-")
    for i, layer in enumerate(json.loads(d.stdout)["layers"]):
        s = w[i] * o + b[i]
        o = 1 / (1 + np.exp(-s))
        off = max(
            abs(layer["factors"]["weight"] - np.log(abs(w[i]))), abs(layer["factors"]["slope"] - np.log(o * (1 - o)))
        )
        check(f"factors of layer {i + 1}", None if off < 1e-12 else f"off by {off}")


def test_export(t):
    try:
        import onnx
    except ImportError:
        print("ok - export # SKIP no python3-onnx")
        return
    r = np.random.default_rng(2)
    for name, (text, shapes) in NETS.items():
        (t / "net.cr").write_text(f"{declare(shapes)}\n{text}\n")
        np.savez(t / "rest.npz", **{k: r.standard_normal(s) for k, s in shapes.items() if k != "x"})
        np.savez(t / "x.npz", x=r.standard_normal((2, *shapes["x"])))
        done = call("export", t / "net.cr", "--at", t / "rest.npz", "-o", t / "net.onnx")
        if done.returncode:
            check(f"{name}: export", done.stderr)
            continue
        try:
            onnx.checker.check_model(onnx.load(str(t / "net.onnx")), full_check=True)
            problem = None
        except Exception as e:  # whatever the checker says
            problem = str(e)
        check(f"{name}: ONNX's checker", problem)
        out = []
        for f, more in ((t / "net.cr", ["--at", t / "rest.npz"]), (t / "net.onnx", [])):
            call("run", f, *more, "--data", t / "x.npz", "-o", t / "o.npz", "--precision", "f64")
            o = np.load(t / "o.npz")
            out.append(o[o.files[0]])
        check(f"{name}: the same numbers", None if np.array_equal(*out, equal_nan=True) else str(out))


def test_errors(t):
    chain = DEEP + "derive o[N] wrt w[1]\n"
    for name, text, options, status, words in (
        ("no depth", chain, [], 3, ["depth", "--set"]),
        ("unknown function", UNKNOWN + "derive o[N] wrt w[1]\n", ["--set", "N=3"], 3, ["`sigma`", "unknown function"]),
        ("no size", "let x : R^n, w : R^n\neval w'*x", [], 3, ["size", "--set"]),
        ("no statement", "let x : R\ndef f = x^2", [], 3, ["eval f"]),
        ("no input", "let w : R, x : R\neval w^2", [], 0, None),
        ("no operator", "let x : R^3, A : R^{3 x 3}\neval sum(inv(A)*x)", [], 3, ["`inv`", "ONNX"]),
        ("free index", "let x : R^3\neval x[i]^2", [], 3, ["index"]),
        ("syntax", "let x : R^3\neval x +", [], 3, ["line 2"]),
        ("not a number", "let x : R\neval x > 1", [], 3, ["truth value"]),
        ("a constant", "let x : R, y : R\neval 3", [], 3, ["no variable"]),
    ):
        (t / "bad.cr").write_text(text + "\n")
        done = call("run", t / "bad.cr", *options, "--data", "random", "-o", t / "bad.npz")
        said = done.stderr.replace("2:", "line 2")
        good = done.returncode == status and all(w in said for w in words or [])
        check(f"bad: {name}", None if good else f"{done.returncode}: {done.stderr}")
    for arguments in (
        ["export", "x.onnx", "-o", "y.onnx"],
        ["export", "x.cr"],
        ["run", "x.onnx", "--set", "N=3", "--data", "random", "-o", "y.npz"],
    ):
        done = call(*arguments)
        check(
            f"usage: {' '.join(arguments)}",
            None if done.returncode == 2 and done.stderr else f"{done.returncode}: {done.stderr}",
        )


def main():
    with tempfile.TemporaryDirectory() as t:
        t = pathlib.Path(t)
        for i, (name, (text, shapes)) in enumerate(NETS.items()):
            test_against_eval(t, name, text, shapes, i)
        test_depth(t)
        test_factors(t)
        test_export(t)
        test_errors(t)
    sys.exit(failures > 0)


main()
