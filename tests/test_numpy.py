#!/usr/bin/env python3
"""The NumPy source of derivatives: it runs, has the promised shape, and agrees with central differences of an
independent implementation of the expression."""
import inspect
import json
import math
import os
import re
import subprocess
import sys

import numpy as np

PROGRAM = os.environ.get("CHAINRULE", "build/chainrule")
rng = np.random.default_rng(7)
m, n = 3, 4

VECTOR = "x : R^n"
LAYER = "x : R^n, W : R^{m x n}, b : R^m, a : R^m"
PAIR = "x : R^n, y : R^n"
IMAGE = "X : R^{2 x 3 x 3 x 4}, F : R^{2 x 3 x 2 x 2}, K : R^{6 x 1 x 2 x 2}"
SQUARE = "X : R^{n x n}, A : R^{n x n}, B : R^{n x n}"


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z)
    return e / e.sum(axis=0)


def conv(x, w, stride=(1, 1), dilation=(1, 1), low=(0, 0)):
    """Entry by entry, from the definition; pads behind are those in front."""
    size = [(d + 2 * p - e * (k - 1) - 1) // s + 1
            for d, k, s, e, p in zip(x.shape[2:], w.shape[2:], stride, dilation, low)]
    y = np.zeros((x.shape[0], w.shape[0], *size))
    for n, o, i, j in np.ndindex(y.shape):
        for c, k, l in np.ndindex(w.shape[1:]):
            r, q = stride[0] * i + dilation[0] * k - low[0], stride[1] * j + dilation[1] * l - low[1]
            if 0 <= r < x.shape[2] and 0 <= q < x.shape[3]:
                y[n, o, i, j] += x[n, c, r, q] * w[o, c, k, l]
    return y


def pool(x, f, size, stride=(1, 1), low=(0, 0)):
    """f of the entries of x in each window; pads behind are those in front."""
    shape = [(d + 2 * p - k) // s + 1 for d, k, s, p in zip(x.shape[2:], size, stride, low)]
    y = np.zeros((*x.shape[:2], *shape))
    for i, j in np.ndindex(*shape):
        r, q = stride[0] * i - low[0], stride[1] * j - low[1]
        y[..., i, j] = f(x[..., max(r, 0):r + size[0], max(q, 0):q + size[1]], axis=(2, 3))
    return y


def gelu(z):
    return z * 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))


def selu(z):
    return 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * (np.exp(z) - 1))


# declarations, expression, variable, the expression in NumPy as a function of all declared variables
CASES = [
    (LAYER, "a'*relu(W*x+b)", "x", lambda x, W, b, a: a @ np.maximum(W @ x + b, 0)),
    (LAYER, "a'*relu(W*x+b)", "W", lambda x, W, b, a: a @ np.maximum(W @ x + b, 0)),
    (LAYER, "sigmoid(W*x+b)", "x", lambda x, W, b, a: sigmoid(W @ x + b)),
    (LAYER, "tanh(W*x+b)", "W", lambda x, W, b, a: np.tanh(W @ x + b)),
    (LAYER, "W*x+b", "W", lambda x, W, b, a: W @ x + b),
    (LAYER, "(W*x+b)[2]", "W", lambda x, W, b, a: (W @ x + b)[1]),
    (LAYER, "relu(W*x+b)[1]", "W", lambda x, W, b, a: np.maximum(W @ x + b, 0)[0]),
    (LAYER, "gelu(W*x+b)", "b", lambda x, W, b, a: gelu(W @ x + b)),
    (LAYER, "selu(W*x+b)", "b", lambda x, W, b, a: selu(W @ x + b)),
    (LAYER, "a'*elu(W*x+b)", "x", lambda x, W, b, a: a @ np.where(W @ x + b > 0, W @ x + b, np.exp(W @ x + b) - 1)),
    (LAYER, "a'*silu(W*x+b)", "x", lambda x, W, b, a: a @ ((W @ x + b) * sigmoid(W @ x + b))),
    (LAYER, "a'*softplus(W*x+b)", "x", lambda x, W, b, a: a @ np.log1p(np.exp(W @ x + b))),
    (LAYER, "a'*leaky_relu(W*x+b, 0.2)", "x",
     lambda x, W, b, a: a @ np.where(W @ x + b > 0, W @ x + b, 0.2 * (W @ x + b))),
    (LAYER, "a'*erf(W*x+b)", "x", lambda x, W, b, a: a @ np.vectorize(math.erf)(W @ x + b)),
    (LAYER, "if(x > 0, x, 2*x)", "x", lambda x, W, b, a: np.where(x > 0, x, 2 * x)),
    (VECTOR, "softmax(x)", "x", softmax),
    (VECTOR, "logsoftmax(x)", "x", lambda x: np.log(softmax(x))),
    (VECTOR, "log(sum(exp(x)))", "x", lambda x: np.log(np.exp(x).sum())),
    (VECTOR, "norm2(x)", "x", lambda x: np.sqrt(x @ x)),
    (VECTOR, "x./norm2(x)", "x", lambda x: x / np.sqrt(x @ x)),
    (VECTOR, "prod(x)", "x", np.prod),
    (VECTOR, "max(x)", "x", np.max),
    (VECTOR, "sum(i=2..n, x[i]*x[i-1])", "x", lambda x: x[1:] @ x[:-1]),
    (VECTOR, "prod(i=2..n, x[i]^2 + 1)", "x", lambda x: np.prod(x[1:] ** 2 + 1)),
    (VECTOR, "sum(i=1..n, sum(j=1..i, x[j])^2*prod(j=i+1..n, x[j]))", "x",
     lambda x: sum(x[:i].sum() ** 2 * np.prod(x[i:]) for i in range(1, n + 1))),
    (VECTOR, "sum(i=1..n, x[i]*max(j=1..n-i+1, x[j])*min(j=i..n, x[j]^2 + 1)) + x[n]*prod(i=1..n-1, sum(j=2..i, x[j]))",
     "x", lambda x: sum(x[i] * np.max(x[:n - i]) * np.min(x[i:] ** 2 + 1) for i in range(n))
     + x[-1] * np.prod([x[1:i].sum() for i in range(1, n)])),
    (VECTOR, "[i=1..n : x[i]^i]", "x", lambda x: x ** np.arange(1, n + 1)),
    (VECTOR, "mean(x)*n", "x", lambda x: x.sum()),
    (VECTOR, "3", "x", lambda x: 3.0),
    (VECTOR, "diag(x)", "x", np.diag),
    (VECTOR, "[x[1], 2*x[2]; 3, x[3]^2]", "x", lambda x: np.array([[x[0], 2 * x[1]], [3, x[2] ** 2]])),
    (PAIR, "(x-y)'*(x-y)/2", "x", lambda x, y: (x - y) @ (x - y) / 2),
    (PAIR, "(x .* y)./(1 + y.^2)", "y", lambda x, y: x * y / (1 + y ** 2)),
    (PAIR, "x*y'", "x", np.outer),
    (PAIR, "kron(x, y)", "y", np.kron),
    (SQUARE, "tr(A*X*B)", "X", lambda X, A, B: np.trace(A @ X @ B)),
    (IMAGE, "conv(X, F, stride=[2, 1], dilation=[1, 2], pad=[1, 2])", "X",
     lambda X, F, K: conv(X, F, (2, 1), (1, 2), (1, 2))),
    (IMAGE, "sum(conv(X, F, pad=1).^2)", "F", lambda X, F, K: np.sum(conv(X, F, low=(1, 1)) ** 2)),
    (IMAGE, "conv(X, K, groups=3, pad=[0, 1], size=[2, 6])", "K",
     lambda X, F, K: np.concatenate([np.concatenate([conv(X[:, c:c + 1], K[2 * c:2 * c + 2], low=(0, 1)),
                                                     np.zeros((2, 2, 2, 1))], 3) for c in range(3)], 1)),
    (IMAGE, "maxpool(X, [2, 3], stride=2, pad=[1, 0])", "X", lambda X, F, K: pool(X, np.max, (2, 3), (2, 2), (1, 0))),
    (IMAGE, "sum(maxpool(X, 2).^2)", "X", lambda X, F, K: np.sum(pool(X, np.max, (2, 2)) ** 2)),
    (IMAGE, "maxpool(X, 2).*maxpool_ties(X, 2)", "X", lambda X, F, K: pool(X, np.max, (2, 2))),
    (IMAGE, "avgpool(X, 2, pad=1)", "X", lambda X, F, K: pool(X, np.mean, (2, 2), (1, 1), (1, 1))),
    (IMAGE, "sumpool(X, 2, dilation=[1, 3])", "X",
     lambda X, F, K: X[..., :2, :1] + X[..., 1:, :1] + X[..., :2, 3:] + X[..., 1:, 3:]),
    (IMAGE, "place(slice(X, [2, 1], stride=[1, 2]), [0, 3], size=[2, 5])", "X",
     lambda X, F, K: np.pad(X[:, :, 2:, ::2], [(0, 0), (0, 0), (0, 1), (2, 1)])),
    (SQUARE, "gather(X, [2, 4, 2], axis=2)", "X", lambda X, A, B: X[:, [1, 3, 1]]),
    (SQUARE, "sum(gather(X, [2, 4, 2]).^2)", "X", lambda X, A, B: np.sum(X[[1, 3, 1]] ** 2)),
    (PAIR, "concat(x, y.^2, x)", "x", lambda x, y: np.concatenate([x, y ** 2, x])),
    (SQUARE, "det(X)", "X", lambda X, A, B: np.linalg.det(X)),
    (SQUARE, "logdet(X*X' + I(n))", "X", lambda X, A, B: np.linalg.slogdet(X @ X.T + np.eye(n))[1]),
    (SQUARE, "inv(X)", "X", lambda X, A, B: np.linalg.inv(X)),
    (SQUARE, "X^3", "X", lambda X, A, B: X @ X @ X),
    (SQUARE, "tr(X'*B*X*A)", "X", lambda X, A, B: np.trace(X.T @ B @ X @ A)),
    (SQUARE, "kron(A, X)", "X", lambda X, A, B: np.kron(A, X)),
    (SQUARE, "vec(A*X)", "X", lambda X, A, B: (A @ X).T.ravel()),
    (SQUARE, "softmax(X)", "X", lambda X, A, B: softmax(X)),
    (SQUARE, "sum(X.*log(X.^2 + 1))", "X", lambda X, A, B: np.sum(X * np.log(X ** 2 + 1))),
]

# Recurrences: text, and the shapes of members, for the numbers of `chainrule eval`. SIGMA: an unknown function, which
# is tanh for eval.
SIGMA = "fun sigma : R -> R"
VALUES = {"x": (), "v": (), "u": (), "h0": (), "q": ["d"], "w": ["N"], "b": ["N"], "c": ["N+1"], "p": ["N"], "y": ["N"],
          "r": ["2*N"], "W": ["N", "d", "d"], "B": ["N", "d"], "_i": (), "_o": (), "t1": ()}
CHAIN = """
let x : R, w[1..N] : R, b[1..N] : R
fun sigma : R -> R
def o[0] = x
def s[i] = w[i]*o[i-1] + b[i] for i in 1..N
def o[i] = sigma(s[i]) for i in 1..N
"""
SKIP = """
let x : R, w[1..N] : R, v : R
fun sigma : R -> R
def o[0] = x
def o[i] = sigma(w[i]*o[i-1]) for i in 1..N
def o[N] = sigma(w[N]*o[N-1] + v*o[1])
"""
RESIDUAL = """
let x : R, w[1..N] : R
def o[0] = x
def o[i] = o[i-1] + tanh(w[i]*o[i-1]) for i in 1..N
"""
SHARED = """
let h0 : R, v : R, u : R, y[1..N] : R
def h[0] = h0
def h[i] = tanh(v*h[i-1] + u*y[i]) for i in 1..N
"""
TWO_LAGS = """
let x : R, w[1..N] : R, v : R
def o[0] = x
def o[1] = tanh(w[1]*x)
def o[i] = tanh(w[i]*o[i-1] + v*o[i-2]) for i in 2..N
"""
VECTORS = """
let q : R^d, W[1..N] : R^{d x d}, B[1..N] : R^d
def o[0] = q
def o[i] = tanh(W[i]*o[i-1] + B[i]) for i in 1..N
"""
VECTOR_SKIP = """
let q : R^d, W[1..N] : R^{d x d}
def o[0] = q
def o[i] = if(i >= 3, o[i-1] + o[i-2], o[i-1]) .* sigmoid(W[i]*o[i-1]) for i in 1..N
"""
RUNNING_SUM = """
let x : R, w[1..N] : R
def o[0] = x
def o[i] = tanh(w[i]*o[i-1] + sum(j=0..i-1, o[j])/i) for i in 1..N
"""
FROM_ZERO = """
let x : R, c[0..N] : R
def o[0] = c[0]*x
def o[i] = sin(c[i]*o[i-1]) for i in 1..N
"""
SHIFTED = """
let x : R, p[0..N-1] : R
def o[0] = x
def o[i] = sin(p[i-1]*o[i-1]) for i in 1..N
"""
BLOCKS = """
let x : R, r[1..2*N] : R
def o[0] = x
def o[i] = o[i-1] + r[2*i]*tanh(r[2*i-1]*o[i-1]) for i in 1..N
"""
GUARDED = """
let q : R^d, W[1..N] : R^{d x d}, v : R
def o[0] = q
def o[i] = if(i >= 3, W[i]*o[i-1] + v*o[i-3], tanh(W[i]*o[i-1])) for i in 1..N
"""
GATES = """
let x : R, w[1..N] : R, b[1..N] : R
def c[0] = x
def h[0] = 0
def f[i] = sigmoid(w[i]*h[i-1] + b[i]) for i in 1..N
def c[i] = f[i]*c[i-1] + (1-f[i])*tanh(w[i]*h[i-1]) for i in 1..N
def h[i] = f[i]*tanh(c[i]) for i in 1..N
"""
KINKS = """
let x : R, w[1..N] : R, b[1..N] : R
def o[0] = x
def o[i] = relu(w[i]*o[i-1] + b[i]) for i in 1..N
"""
NO_FAMILY = """
let x : R, v : R
def o[0] = x
def o[i] = tanh(v*o[i-1]) for i in 1..N
"""
NAMES = """
let x : R, w[1..N] : R, _i : R, _o : R, t1 : R
fun fun_o(z) = z^2 + z
def o[0] = x*_o
def at[i] = sin(w[i]*o[i-1] + _i) for i in 1..N
def o[i] = fun_o(at[i]) + sum(j=1..i, at[j]*t1) for i in 1..N
"""

# text, statements, depths: k (and l) go through all of 1..N
RECURRENCES = [
    (CHAIN, ["o[N] wrt w[1]", "o[N] wrt w[k]", "o[N] wrt b[k]", "o[N] wrt w", "o[N] wrt x", "o[N] wrt w[k], w[l]"],
     (1, 2, 5)),
    (SKIP, ["o[N] wrt w[k]", "o[N] wrt w", "o[N] wrt v", "o[N] wrt x", "o[N]^2 wrt w[k]"], (2, 3, 5)),
    (RESIDUAL, ["o[N] wrt w[k]", "o[N] wrt w", "o[N] wrt x", "o[N] wrt w[k], w[k]", "o[N] wrt w, w", "o[N] wrt x, x"],
     (1, 2, 4)),
    (SHARED, ["h[N] wrt v", "h[N] wrt y[k]", "h[N] wrt u", "h[N] wrt v, v", "sum(i=1..N, (h[i] - y[i])^2) wrt v",
              "sum(i=1..N, (h[i] - y[i])^2) wrt y"], (1, 2, 5)),
    (TWO_LAGS, ["o[N] wrt w[k]", "o[N] wrt w", "o[N] wrt v", "o[N] wrt x"], (2, 3, 6)),
    (VECTORS, ["sum(o[N]) wrt W[k]", "o[N] wrt B[k]", "o[N] wrt W[k]", "o[N] wrt q", "sum(o[N]) wrt W",
               "sum(o[N])^2 wrt B", "o[N][1] wrt W[k][2,1]"], (1, 2, 4)),
    (VECTOR_SKIP, ["o[N] wrt W[k]", "sum(o[N]) wrt q", "sum(o[N]) wrt W"], (1, 3, 4)),
    (RUNNING_SUM, ["o[N] wrt w[k]", "o[N] wrt x", "o[N] wrt w", "sum(i=1..N, o[i]^2) wrt w"], (1, 2, 5)),
    (FROM_ZERO, ["o[N] wrt c[0]", "o[N] wrt c[k]", "o[N-1] wrt c[N-1]"], (2, 3, 4)),
    (SHIFTED, ["o[N] wrt p[0]", "o[N] wrt p[k-1]", "o[N] wrt p", "o[N] wrt p, p"], (1, 2, 4)),
    (BLOCKS, ["o[N] wrt r[k]", "o[N] wrt r", "o[N] wrt x"], (1, 2, 4)),
    (GUARDED, ["sum(o[N]) wrt W[k]", "o[N] wrt v", "o[N] wrt q", "o[N] wrt W"], (1, 3, 5)),
    (GATES, ["h[N] wrt w[k]", "h[N] wrt x", "sum(i=1..N, h[i]*i) wrt b", "h[N] wrt b[k], b[l]"], (1, 2, 4)),
    (KINKS, ["o[N] wrt w[k]", "max(i=1..N, o[i]) wrt b[k]", "prod(i=1..N, 1+o[i]) wrt w", "[i=1..N : o[i]*i] wrt w[k]",
             "if(o[N] > 0, o[N]^2, o[N-1]) wrt b[k]"], (2, 3, 5)),
    (NO_FAMILY, ["o[N] wrt v", "o[N] wrt x", "o[3] wrt v"], (3, 5)),
    (NAMES, ["o[N] wrt w[k]", "o[N] wrt _i", "at[N] wrt _o", "o[N] wrt t1", "sum(j=2..N, o[j]) wrt w[k]"], (1, 3)),
]


def source(let, expr, wrt):
    p = subprocess.run([PROGRAM, "derive", "-e", expr, "--let", let, "--wrt", wrt, "--format", "numpy", "--json", "-"],
                       capture_output=True, text=True)
    if p.returncode:
        raise AssertionError(f"exit status {p.returncode}: {p.stderr}")
    return json.loads(p.stdout)["results"][0]["numpy"]


def compiled(text):
    scope = {}
    exec(compile(text, "<derivative>", "exec"), scope)
    return scope["derivative"]


def values(let):
    shapes = {"R^n": (n,), "R^m": (m,), "R^{m x n}": (m, n), "R^{n x n}": (n, n), "R": ()}
    out = {}
    for part in let.split(", "):
        name, kind = part.split(" : ")
        numbers = re.findall(r"\d+", kind)
        out[name] = rng.standard_normal([int(k) for k in numbers] if numbers else shapes[kind])
    return out


def central(f, point, name, h=1e-6):
    x = point[name]
    y = np.asarray(f(*point.values()), dtype=float)
    out = np.zeros(y.shape + x.shape)
    for k in np.ndindex(x.shape):
        side = []
        for sign in (1, -1):
            moved = x.copy()
            moved[k] += sign * h
            side.append(np.asarray(f(*{**point, name: moved}.values()), dtype=float))
        out[(...,) + k] = (side[0] - side[1]) / (2 * h)
    return out


def check_cases():
    for let, expr, wrt, f in CASES:
        text = source(let, expr, wrt)
        g = compiled(text)
        point = values(let)
        known = {**point, "m": m, "n": n}
        wanted = list(inspect.signature(g).parameters)
        assert wanted == sorted(wanted, key=list(known).index), f"order of parameters {wanted}\n{text}"
        got = g(**{k: known[k] for k in wanted})
        expected = central(f, point, wrt)
        assert isinstance(got, (np.ndarray, np.float64)) and got.dtype == np.float64, f"{type(got)}\n{text}"
        assert got.shape == expected.shape, f"{expr}: shape {got.shape} for {expected.shape}\n{text}"
        worst = np.max(np.abs(got - expected) / (1 + np.abs(expected)))
        assert worst < 1e-6, f"d {expr} / d {wrt}: off by {worst}\n{text}\n{got}\n{expected}"


def check_index():
    g = compiled(source(LAYER, "(W*x+b)[1]", "x[j]"))
    p = values(LAYER)
    used = {k: p[k] for k in inspect.signature(g).parameters if k in p}
    for j in range(1, n + 1):
        assert g(**used, j=j) == p["W"][0, j - 1]
    for j in (0, -1, n + 1):
        try:
            g(**used, j=j)
        except IndexError:
            continue
        raise AssertionError(f"index {j} was taken")


def check_unknown_function():
    g = compiled(source(VECTOR + ", w : R", "w*x[1]", "x[j]"))
    assert list(inspect.signature(g).parameters)[:1] == ["w"] and "j" in inspect.signature(g).parameters


def check_names():
    for name in ("lambda", "np", "_at", "t1", "z"):
        if name.startswith("_"):
            continue
        g = compiled(source(f"{name} : R^n", f"exp({name})'*exp({name})", name))
        parameter = next(iter(inspect.signature(g).parameters))
        assert parameter == (name + "_" if name in ("lambda", "np") else name), parameter
        v = rng.standard_normal(n)
        assert np.allclose(g(v), 2 * np.exp(2 * v))


def derived(text, command, *args):
    p = subprocess.run([PROGRAM, command, "-", "--json", "-", *args], input=text, capture_output=True, text=True)
    if p.returncode:
        raise AssertionError(f"{command}: exit status {p.returncode}: {p.stderr}\n{text}")
    return json.loads(p.stdout)["results"]


def member_values(text, depth):
    """Random values of what the text declares; d is 2."""
    sizes = {"N": depth, "N+1": depth + 1, "2*N": 2 * depth, "d": 2}
    names = text.split("let ")[1].split("\n")[0]
    return {k: rng.uniform(-1, 1, [sizes[s] for s in shape]) for k, shape in VALUES.items()
            if re.search(rf"(^|\s){k}(\[| :)", names)}


def as_text(values):
    return "; ".join(f"{k} = {np.array(v).tolist()}" for k, v in values.items())


def check_recurrences():
    functions = {"sigma": np.tanh, "sigma_1": lambda z: 1 - np.tanh(z) ** 2,
                 "sigma_2": lambda z: -2 * np.tanh(z) * (1 - np.tanh(z) ** 2)}
    for text, statements, depths in RECURRENCES:
        body = text + "".join(f"derive {s}\n" for s in statements)
        results = derived(body, "derive", "--format", "numpy")
        assert len(results) == len(statements)
        known = body.replace(SIGMA, "fun sigma(z) = tanh(z)")
        for depth in depths:
            point = member_values(text, depth)
            # members as a list of arrays, as they come from a model
            given = {**point, **{k: list(v) for k, v in point.items() if np.ndim(v) > 0 and k.isupper()}}
            free = [i for i in "kl" if any(re.search(rf"\b{i}\b", s) for s in statements)]
            for k, l in np.ndindex(depth if "k" in free else 1, depth if "l" in free else 1):
                index = {"N": depth, "k": k + 1, "l": l + 1}
                used = {i: index[i] for i in free + ([] if re.search(r"\[[01]\.\.N", text) else ["N"])}
                wanted = derived(known, "eval", "--at", as_text({**point, **used}))
                for result, number in zip(results, wanted):
                    g = compiled(result["numpy"])
                    every = {**given, **index, **functions}
                    parameters = list(inspect.signature(g).parameters)
                    assert "N" not in parameters or text is NO_FAMILY or text is SHARED, result["numpy"]
                    got = g(**{p: every[p] for p in parameters})
                    expected = np.array(number["value"], dtype=float)
                    where = f"{result['query']}, N = {depth}, k = {k + 1}, l = {l + 1}\n{text}{result['numpy']}"
                    assert got.dtype == np.float64 and got.shape == expected.shape, f"{got.shape} {where}"
                    assert np.allclose(got, expected, rtol=1e-10, atol=1e-13), f"{got} for {expected}: {where}"


def check_moving_window():
    """A slice that begins at the index of a sum is taken inside of its loop."""
    text = source(VECTOR, "sum(i=1..n-1, sum(slice(x, i, size=2))^2)", "x")
    x = rng.standard_normal(n)
    expected = central(lambda v: np.sum((v[1:] + v[:-1]) ** 2), {"x": x}, "x")
    assert np.allclose(compiled(text)(x), expected, atol=1e-6), text


def check_one_pass():
    """The derivative by all weights takes one step for each, zeros among the factors or not."""
    depth, calls = 300, 0
    w, b = rng.standard_normal(depth), rng.standard_normal(depth)
    w[[3, 250]] = 0

    def slope(z):
        nonlocal calls
        calls += 1
        return 1 - np.tanh(z) ** 2

    o = [0.5]
    for i in range(depth):
        o.append(np.tanh(w[i] * o[i] + b[i]))
    for last in (0, 0.7):
        g, wanted = 1.0, np.zeros((2, depth))
        w[-1] = last
        o[-1] = np.tanh(w[-1] * o[-2] + b[-1])
        for i in reversed(range(depth)):
            g *= 1 - o[i + 1] ** 2
            wanted[:, i] = g * o[i], g
            g *= w[i]
        for name, of_name in zip("wb", wanted):
            calls = 0
            text = derived(CHAIN + f"derive o[N] wrt {name}", "derive", "--format", "numpy")[0]["numpy"]
            got = compiled(text)(x=0.5, w=w, b=b, sigma=np.tanh, sigma_1=slope)
            assert np.allclose(got, of_name, rtol=1e-9, atol=0), f"{got - of_name}\n{text}"
            assert calls <= 3 * depth, f"{calls} slopes\n{text}"


def check_members_out_of_range():
    for statement in ("o[N] wrt w[k]", "o[N] wrt b[k]"):
        g = compiled(derived(CHAIN + "derive " + statement, "derive", "--format", "numpy")[0]["numpy"])
        for k in (0, -1, 4):
            try:
                g(x=1.0, w=[1, 2, 3], b=[1, 2, 3], k=k, sigma=np.tanh, sigma_1=np.cos)
            except IndexError:
                continue
            raise AssertionError(f"index {k} was taken")


def check_singular():
    g = compiled(source(SQUARE, "det(X)", "X"))
    x = np.outer([1.0, 2, 3, 4], [1.0, 0, 1, 0])
    x[1, 1] += 1
    x[2, 3] += 1  # rank 3
    expected = central(lambda v: np.linalg.det(v), {"X": x}, "X", 1e-4)
    assert np.allclose(g(x), expected, atol=1e-6), g(x) - expected


def run(checks):
    """All of them, whatever fails: the exit status."""
    failed = 0
    for check in checks:
        try:
            check()
        except AssertionError as e:
            failed += 1
            print(f"FAIL {check.__name__}: {e}")
    print("failed" if failed else "ok")
    return failed != 0


if __name__ == "__main__":
    sys.exit(run((check_cases, check_index, check_unknown_function, check_names, check_singular, check_recurrences,
                  check_moving_window, check_one_pass, check_members_out_of_range)))
