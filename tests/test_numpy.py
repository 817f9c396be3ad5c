#!/usr/bin/env python3
"""The NumPy source of derivatives: it runs, has the promised shape, and agrees with central differences of an
independent implementation of the expression."""
import inspect
import json
import math
import os
import subprocess
import sys

import numpy as np

PROGRAM = os.environ.get("CHAINRULE", "build/chainrule")
rng = np.random.default_rng(7)
m, n = 3, 4

VECTOR = "x : R^n"
LAYER = "x : R^n, W : R^{m x n}, b : R^m, a : R^m"
PAIR = "x : R^n, y : R^n"
SQUARE = "X : R^{n x n}, A : R^{n x n}, B : R^{n x n}"


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z)
    return e / e.sum(axis=0)


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
        out[name] = rng.standard_normal(shapes[kind])
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


def check_singular():
    g = compiled(source(SQUARE, "det(X)", "X"))
    x = np.outer([1.0, 2, 3, 4], [1.0, 0, 1, 0])
    x[1, 1] += 1
    x[2, 3] += 1  # rank 3
    expected = central(lambda v: np.linalg.det(v), {"X": x}, "X", 1e-4)
    assert np.allclose(g(x), expected, atol=1e-6), g(x) - expected


def main():
    failed = 0
    for check in (check_cases, check_index, check_unknown_function, check_names, check_singular):
        try:
            check()
        except AssertionError as e:
            failed += 1
            print(f"FAIL {check.__name__}: {e}")
    print("failed" if failed else "ok")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
