"""The notation of tests/data/*-identities.txt and matrix-cookbook.txt: read, evaluated with NumPy, sizes inferred, and
written down in the language of the program. Independent of the program; used by test_identities.py."""
import re

import numpy as np


# ---- the rows' notation: expression := sum of products of powers; a tree of tuples (kind, ...)

class Parser:
    TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|[A-Za-z_]\w*|\.[*/^]|[-+*/^'()\[\],])")

    def __init__(self, text):
        self.tokens, at = [], 0
        while at < len(text.rstrip()):
            m = self.TOKEN.match(text, at)
            if not m:
                raise ValueError(f"cannot read {text[at:]!r}")
            self.tokens.append(m.group(1))
            at = m.end()
        self.tokens.append("")
        self.at = 0

    def take(self, *wanted):
        if self.tokens[self.at] in wanted:
            self.at += 1
            return self.tokens[self.at - 1]
        return None

    def need(self, token):
        if self.take(token) is None:
            raise ValueError(f"{token!r} expected before {' '.join(self.tokens[self.at:])!r}")

    def whole(self):
        tree = self.sum()
        self.need("")
        return tree

    def sum(self):
        tree = self.product()
        while op := self.take("+", "-"):
            tree = (op, tree, self.product())
        return tree

    def product(self):
        tree = self.signed()
        while op := self.take("*", ".*", "/", "./"):
            tree = (op, tree, self.signed())
        return tree

    def signed(self):
        return ("neg", self.signed()) if self.take("-") else self.power()

    def power(self):
        tree = self.atom()
        while op := self.take("^", ".^", "'", "["):
            if op == "'":
                tree = ("'", tree)
            elif op == "[":
                tree = ("index", tree, *self.list("]"))
            else:
                tree = (op, tree, self.atom())
        return tree

    def list(self, end):
        items = [self.sum()]
        while self.take(","):
            items.append(self.sum())
        self.need(end)
        return items

    def atom(self):
        token = self.tokens[self.at]
        self.at += 1
        if token == "(":
            tree = ("()", self.sum())
            self.need(")")
            return tree
        if token and token[0].isdigit():
            return ("number", token)
        if token and token[0].isalpha():
            return ("call", token, *self.list(")")) if self.take("(") else ("name", token)
        raise ValueError(f"unexpected {token!r}")


def parse(text):
    return Parser(text).whole()


# Names of the rows that abbreviate something else, written out in the same notation: (parameters, body).
MACROS = {
    "var": ("x", "mu((x-mu(x)).*(x-mu(x)))"),
    "ds": ("z", "(1-tanh(z)*tanh(z))"),
    "o1": ("w1 x", "tanh(w1*x)"),
    "o2": ("w1 w2 x", "tanh(w2*tanh(w1*x))"),
    "o3": ("w1 w2 w3 x", "tanh(w3*tanh(w2*tanh(w1*x)))"),
    "chain": ("w1 w2 w3 w4 x", "tanh(w4*tanh(w3*tanh(w2*tanh(w1*x))))"),
}
PARAMETRISED = {
    "D1": ("t", "det(Y(t))*tr(inv(Y(t))*dY(t))"),
    **{name: ("t", body) for y in "YU" for name, body in
       ((y, "(A+t*B+t*t*C)"), ("d" + y, "(B+2*t*C)"), ("dd" + y, "(2*C)"))},
}


def expand(tree, bound={}):
    """The tree with macros written out."""
    if tree[0] == "name":
        return bound.get(tree[1], tree)
    tree = tuple(expand(t, bound) if isinstance(t, tuple) else t for t in tree)
    macro = {**MACROS, **PARAMETRISED}.get(tree[1]) if tree[0] == "call" else None
    if macro:
        return expand(parse(macro[1]), dict(zip(macro[0].split(), tree[2:])))
    return tree


def subtrees(tree):
    yield tree
    for t in tree[1:]:
        if isinstance(t, tuple):
            yield from subtrees(t)


# ---- values: matrices are 2-dimensional arrays, columns n x 1, scalars 0-dimensional

def scalar(v):
    return v[0, 0] if np.ndim(v) == 2 and v.shape == (1, 1) else v


def times(a, b):
    a, b = scalar(a), scalar(b)
    return a * b if np.ndim(a) == 0 or np.ndim(b) == 0 else scalar(a @ b)


def power(a, k):
    k = int(k)
    if np.ndim(a) == 0:
        return a ** k
    return np.linalg.matrix_power(a, k)


def softmax(x):
    e = np.exp(x)
    return e / e.sum(axis=0)


def norm2(x):
    return np.sqrt((x * x).sum())  # without conjugation: analytic, so that complex steps go through


def real_sign(x):
    return np.sign(np.real(x))


def diag(x):
    return np.diag(x[:, 0]) if x.shape[1] == 1 else np.diag(x).reshape(-1, 1)


FUNCTIONS = {
    "det": np.linalg.det, "inv": np.linalg.inv, "tr": np.trace, "diag": diag, "kron": np.kron,
    "logdet": lambda x: np.log(np.linalg.det(x) ** 2) / 2,
    "pinv": lambda x: np.linalg.solve(x.T @ x, x.T),  # full column rank
    "vec": lambda x: x.T.reshape(-1, 1), "total": np.sum, "mu": np.mean, "prod": np.prod, "norm2": norm2,
    "norm1": lambda x: (x * real_sign(x)).sum(),
    "softmax": softmax, "logsoftmax": lambda x: np.log(softmax(x)), "sigm": lambda x: 1 / (1 + np.exp(-x)),
    "relu": lambda x: x * (np.real(x) > 0), "step": lambda x: 1.0 * (np.real(x) > 0), "sign": real_sign,
    **{name: getattr(np, name) for name in "exp log sqrt sin cos tanh".split()}, "atan": np.arctan,
}
BINARY = {"+": np.add, "-": np.subtract, "*": times, ".*": np.multiply, "/": np.divide, "./": np.divide, "^": power,
          ".^": np.power}


def single(i, n):
    e = np.zeros((int(n), 1))
    e[int(i) - 1] = 1
    return e


def evaluate(tree, env):
    kind, *args = tree
    if kind == "number":
        return float(args[0])
    if kind == "name":
        return env[args[0]]
    if kind == "call" and args[0] == "sum":
        r = args[1][1]
        low, high = (int(evaluate(t, env)) for t in args[2:4])
        return sum(evaluate(args[4], {**env, r: i}) for i in range(low, high + 1))
    values = [evaluate(t, env) for t in args if isinstance(t, tuple)]
    if kind == "()":
        return values[0]
    if kind == "neg":
        return -values[0]
    if kind == "'":
        return np.transpose(values[0])
    if kind == "index":
        at = tuple(int(i) - 1 for i in values[1:])
        assert min(at) >= 0
        return values[0][at if len(at) == 2 else (at[0], 0)]
    if kind != "call":
        return BINARY[kind](*values)
    name = args[0]
    if name == "I":
        return np.eye(int(values[0]))
    if name == "ones":
        return np.ones((int(values[0]), int(values[1]) if len(values) > 1 else 1))
    if name == "delta":
        return float(values[0] == values[1])
    if name == "J":
        return single(values[0], values[2]) @ single(values[1], values[3]).T
    return FUNCTIONS[name](*values)


# ---- sizes: every axis is a class of axes that must agree, found by unification

class Sizes:
    def __init__(self):
        self.parent, self.number, self.shapes, self.bounds, self.integers, self.scalars = [], [], {}, {}, set(), set()

    def new(self, number=None):
        self.parent.append(len(self.parent))
        self.number.append(number)
        return len(self.parent) - 1

    def find(self, a):
        while self.parent[a] != a:
            a = self.parent[a]
        return a

    def same(self, a, b):
        a, b = self.find(a), self.find(b)
        if a != b:
            numbers = {self.number[a], self.number[b]} - {None}
            assert len(numbers) < 2, "sizes disagree"
            self.parent[b] = a
            self.number[a] = numbers.pop() if numbers else None

    def one(self, shape):
        return all(self.number[self.find(a)] == 1 for a in shape)

    def agree(self, a, b):
        """The shape of an element by element operation; a scalar goes with everything."""
        if self.one(a) or self.one(b):
            return b if self.one(a) else a
        for p, q in zip(a, b):
            self.same(p, q)
        return a

    def constant(self, *trees):
        return tuple(self.new(int(t[1])) for t in trees)

    def name(self, name):
        if name not in self.shapes:
            if name in self.integers or name in self.scalars:
                self.shapes[name] = (self.new(1), self.new(1))
            else:
                self.shapes[name] = (self.new(), self.new() if name[0].isupper() else self.new(1))
        return self.shapes[name]

    def index(self, tree, axis):
        if tree[0] == "name":
            self.same(self.bounds.setdefault(tree[1], self.new()), axis)

    def infer(self, tree):
        kind, *args = tree
        unit = lambda: (self.new(1), self.new(1))
        if kind == "number":
            return unit()
        if kind == "name":
            return self.name(args[0])
        if kind in ("()", "neg"):
            return self.infer(args[0])
        if kind == "'":
            return self.infer(args[0])[::-1]
        if kind == "index":
            shape = self.infer(args[0])
            for t, axis in zip(args[1:], shape):
                self.index(t, axis)
            return unit()
        if kind in ("+", "-", ".*", "./"):
            return self.agree(self.infer(args[0]), self.infer(args[1]))
        if kind in ("/", ".^"):
            self.infer(args[1])
            return self.infer(args[0])
        if kind == "^":
            self.infer(args[1])
            shape = self.infer(args[0])
            self.same(*shape)
            return shape
        if kind == "*":
            a, b = self.infer(args[0]), self.infer(args[1])
            if self.one(a) or self.one(b):
                return b if self.one(a) else a
            self.same(a[1], b[0])
            return a[0], b[1]
        name, *args = args
        if name == "I":
            return self.constant(args[0], args[0])
        if name == "J":
            return self.constant(*args[2:])
        if name == "ones":
            return self.constant(args[0]) + (self.constant(args[1]) if len(args) > 1 else (self.new(1),))
        if name == "delta":
            axis = self.new()
            for t in args:
                self.index(t, axis)
            return unit()
        if name == "sum":
            return self.infer(args[3])
        shapes = [self.infer(t) for t in args]
        if name in ("det", "logdet", "inv", "tr"):
            self.same(*shapes[0])
        if name in ("det", "logdet", "tr", "total", "mu", "prod", "norm1", "norm2"):
            return unit()
        if name == "pinv":
            return shapes[0][::-1]
        if name == "kron":
            return self.new(), self.new()
        if name == "vec":
            return self.new(), self.new(1)
        if name == "diag":
            return shapes[0][0], shapes[0][0]
        return shapes[0]


# ---- the language of the program

RENAMED = {"total": "sum", "sigm": "sigmoid", "mu": "mean"}


def write(tree):
    kind, *args = tree
    if kind in ("number", "name"):
        return args[0]
    t = [write(a) for a in args if isinstance(a, tuple)]
    if kind == "()":
        return f"({t[0]})"
    if kind == "neg":
        return f"-{t[0]}"
    if kind == "'":
        return f"{t[0]}'"
    if kind == "index":
        return f"{t[0]}[{','.join(t[1:])}]"
    if kind != "call":
        return f"{t[0]} {kind} {t[1]}" if kind in "+-" else f"{t[0]}{kind}{t[1]}"
    name = args[0]
    if name == "J":
        return f"(e({t[0]},{t[2]})*e({t[1]},{t[3]})')"
    if name == "sum":
        return f"sum({t[0]}={t[1]}..{t[2]}, {t[3]})"
    return f"{RENAMED.get(name, name)}({', '.join(t)})"
