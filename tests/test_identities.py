"""Published derivative identities (tests/data/*.txt) against what the program derives, at random points.

A row is `expression | variable | derivative | side conditions | source`, in a notation of its own. This file has its own
parser of that notation, infers the sizes, evaluates both columns with NumPy, and writes the expression down in the
language of the program. What the program derives is then evaluated three ways: by `chainrule eval` of the printed text,
by the printed NumPy function, and by `chainrule check`. Nothing here asks the program about the row's derivative.

    /usr/bin/python3 tests/test_identities.py [build/chainrule] [unittest arguments]
"""
import inspect
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

import numpy as np

PROGRAM = os.environ.get("CHAINRULE", "build/chainrule")
DATA = pathlib.Path(__file__).resolve().parent / "data"
TOLERANCE = 1e-9  # relative to the largest entry

# Rows the language cannot say, by file and source. Matrices that are unknown functions of a scalar have no declaration;
# such a row is tested at an instance instead, Y(t) = A + t*B + t^2*C (see PARAMETRISED).
INEXPRESSIBLE = {
    ("matrix-cookbook", "eq 48"): "Y(t) is an unknown matrix function of t",
    ("matrix-cookbook", "eq 137"): "U(t) is an unknown matrix function of t",
}


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


# ---- one row

ATTRIBUTES = ("symmetric", "invertible", "definite", "positive", "diagonal", "square")


class Row:
    def __init__(self, file, line):
        self.file = file
        self.expression, variable, self.derivative, side, source = (c.strip() for c in line.split("|"))
        self.source = source.rstrip("*")
        self.side, self.variable_text = side, variable
        self.f, self.g = expand(parse(self.expression)), expand(parse(self.derivative))
        structure, self.second = "", False
        if "=" in variable:  # X=X' or X=diag
            variable, structure = variable.split("=")
            structure = "diagonal" if structure == "diag" else "symmetric"
        elif "," in variable and "[" not in variable:  # x,x
            variable, self.second = variable.split(",")[0], True
        self.component = "[" in variable
        self.wrt = variable
        self.variable = variable.split("[")[0]
        self.conditions(structure)
        self.infer()

    def conditions(self, structure):
        self.attributes = {}
        if structure:
            self.attributes[self.variable] = {structure}
        for m in re.finditer(r"(?<![\w+'*])([A-Za-z](?:, ?[A-Za-z])*)((?: (?:%s))+)\b" % "|".join(ATTRIBUTES), self.side):
            for name in re.findall("[A-Za-z]", m.group(1)):
                self.attributes.setdefault(name, set()).update(m.group(2).split())

    def infer(self):
        s = self.sizes = Sizes()
        trees = [t for f in (self.f, self.g, parse(self.wrt)) for t in subtrees(f)]
        for t in trees:
            if t[0] == "index":
                s.integers |= {i[1] for i in t[2:] if i[0] == "name"}
            elif t[0] == "^":
                s.integers |= {u[1] for u in subtrees(t[2]) if u[0] == "name"}
            elif t[0] == "call" and t[1] in ("delta", "sum", "J"):
                s.integers |= {i[1] for i in t[2:(3 if t[1] == "sum" else 4)] if i[0] == "name"}
        s.scalars = {"t", "e"} | {x for x in ("w1 w2 w3 w4 x".split() if "chain" in self.expression else ())}
        s.infer(self.f)
        shape = s.infer(self.g)
        s.infer(parse(self.wrt))
        x = s.shapes[self.variable]
        if m := re.search(r"\bn=(\d+)", self.side):  # the row's formula holds for this size only
            s.same(x[0], s.new(int(m.group(1))))
        if self.second:
            s.same(shape[0], x[0]), s.same(shape[1], x[0])
        elif not self.component:
            s.agree(shape, x)
        for name, words in self.attributes.items():
            if name in s.shapes and words - {"positive"}:
                s.same(*s.shapes[name])
        # Different sizes where the row leaves them free, and more rows than columns in the variable (full column rank).
        numbers, letters = iter((2, 5, 6, 7)), iter([c for c in "nmpqhduv" if c not in s.shapes])
        self.size, self.letter = {}, {}
        for number, name in ((4, 0), (3, 1)):
            c = s.find(x[name])
            if s.number[c] is None and c not in self.size:
                self.size[c] = number
        for pair in list(s.shapes.values()) + [(b,) for b in s.bounds.values()]:
            for c in map(s.find, pair):
                if c not in self.size:
                    self.size[c] = s.number[c] or next(numbers)
                if c not in self.letter:
                    self.letter[c] = str(s.number[c]) if s.number[c] else next(letters)
        self.indices = {n: s.find(b) for n, b in s.bounds.items() if n in s.integers and n not in self.bound()}
        self.names = [n for n in s.shapes if n not in self.indices and n not in self.bound()
                      and any(t == ("name", n) for t in subtrees(self.f))]

    def bound(self):
        return {t[2][1] for t in subtrees(self.g) if t[0] == "call" and t[1] == "sum"}

    def shape(self, name):
        return tuple(self.size[self.sizes.find(a)] for a in self.sizes.shapes[name])

    def let(self):
        out = []
        for n in self.names:
            p, q = (self.letter[self.sizes.find(a)] for a in self.sizes.shapes[n])
            kind = "Z" if n in self.sizes.integers else "R" if p == "1" else f"R^{p}" if q == "1" else f"R^{{{p} x {q}}}"
            words = [w for w in ATTRIBUTES if w in self.attributes.get(n, ()) and w != "square"]
            out.append(" ".join([n, ":", kind] + words))
        return ", ".join(out)

    def point(self, rng):
        env = {}
        for n in self.names:
            rows, columns = self.shape(n)
            words = self.attributes.get(n, set())
            v = rng.standard_normal((rows, columns))
            if n in self.sizes.integers:
                v = 3
            elif (rows, columns) == (1, 1):
                v = float(np.abs(v[0, 0]) + 0.5)
            elif "positive" in words:
                v = np.abs(v) + 0.1
            elif "definite" in words:
                v = v @ v.T + np.eye(rows)
            elif "diagonal" in words:
                v = np.diag(np.diag(v) + np.sign(np.diag(v)))
            elif "symmetric" in words:
                v = v + v.T + np.eye(rows)
            elif "invertible" in words:
                v = v + 2 * np.eye(rows)
            env[n] = v
        return env

    def each_index(self):
        names = list(self.indices)
        for at in itertools.product(*(range(1, self.size[self.indices[n]] + 1) for n in names)):
            yield dict(zip(names, at))

    def per_index(self, f):
        """f(indices) for all index values, as an array with one axis an index."""
        out = [f(at) for at in self.each_index()]
        return np.array(out).reshape([self.size[c] for c in self.indices.values()] + list(np.shape(out[0])))

    def wanted(self, env):
        """The row's derivative, as the program shapes it."""
        value = lambda at: np.asarray(scalar(np.asarray(evaluate(self.g, {**env, **at}))))
        if self.component:
            return self.per_index(value)
        v, shape = value({}), self.shape(self.variable)
        shape = (shape[0],) * 2 if self.second else shape if shape[1] > 1 else shape[:1] if shape[0] > 1 else ()
        return np.broadcast_to(v, shape) if np.ndim(v) == 0 else v.reshape(shape)

    # -- the row itself, by complex steps

    def gradient(self, env, at, h=1e-30):
        x = np.asarray(env[self.variable])
        words = self.attributes.get(self.variable, set())
        out = np.zeros(x.shape)
        for k in np.ndindex(x.shape):
            if "diagonal" in words and k[0] != k[1]:
                continue
            y = x.astype(complex)
            y[k] += 1j * h
            if words & {"symmetric", "definite"} and k[0] != k[1]:
                y[k[::-1]] += 1j * h
            v = y if np.ndim(y) else complex(y)
            out[k] = np.imag(evaluate(self.f, {**env, self.variable: v, **at})) / h
        return out

    def numeric(self, env):
        if self.component:
            x = [i[1] for i in parse(self.wrt)[2:]]
            known = {}  # one gradient serves every index of the variable
            def one(at):
                key = tuple(v for n, v in at.items() if n not in x)
                if key not in known:
                    known[key] = self.gradient(env, at)
                k = tuple(at[n] - 1 for n in x)
                return known[key][k if len(k) == 2 else k + (0,)]
            return self.per_index(one)
        if not self.second:
            return self.gradient(env, {}).reshape(np.shape(self.wanted(env)))
        x, h, out = env[self.variable], 1e-5, []
        for k in range(len(x)):
            d = h * single(k + 1, len(x))
            side = [self.gradient({**env, self.variable: x + s * d}, {})[:, 0] for s in (1, -1)]
            out.append((side[0] - side[1]) / (2 * h))
        return np.array(out)

    # -- the program's side

    def at(self, env, index={}):
        number = lambda v: repr(float(v)) if isinstance(v, (float, np.floating)) else repr(int(v))
        def literal(v):
            if np.ndim(v) == 0:
                return number(v)
            if v.shape[1] == 1:
                return "[" + ",".join(map(number, v[:, 0])) + "]"
            return "[" + ";".join(",".join(map(number, r)) for r in v) + "]"
        return "; ".join(f"{n} = {literal(v)}" for n, v in {**env, **index}.items())

    def known(self, env):
        """What a parameter of the NumPy function may be."""
        out = {self.letter[c]: self.size[c] for c in self.letter}
        for n, v in env.items():
            out[n] = v[:, 0] if np.ndim(v) == 2 and v.shape[1] == 1 and not n[0].isupper() else v
        return out

    def query(self):
        return ["-e", write(self.f), "--let", self.let(), "--wrt", self.wrt + ("," + self.wrt if self.second else "")]


def rows():
    for file in ("matrix-cookbook", "network-identities", "more-identities"):
        for line in (DATA / (file + ".txt")).read_text().splitlines():
            if line.strip() and not line.startswith("#"):
                yield Row(file, line)


def ask(command, *args, status=0):
    r = subprocess.run([PROGRAM, command, *args, "--json", "-"], capture_output=True, text=True, timeout=60)
    if r.returncode != status:
        raise AssertionError(f"exit status {r.returncode} of {command} {args}\n{r.stdout[-2000:]}\n{r.stderr}")
    return json.loads(r.stdout)["results"][0]


class Identities(unittest.TestCase):
    def close(self, got, wanted, what, tolerance=TOLERANCE):
        got = np.asarray(got, dtype=float)
        self.assertEqual(got.shape, wanted.shape, f"shape of {what}")
        scale = np.max(np.abs(wanted), initial=0) or 1.0
        worst = np.max(np.abs(got - wanted), initial=0) / scale
        self.assertLessEqual(worst, tolerance, f"{what}\n{got}\n{wanted}")

    def one(self, row, points=2):
        derived = ask("derive", *row.query(), "--format", "text,numpy")
        text, scope = derived["text"], {}
        exec(compile(derived["numpy"], "<derivative>", "exec"), scope)
        function = scope["derivative"]
        for seed in range(points):
            env = row.point(np.random.default_rng(seed))
            wanted = row.wanted(env)
            self.close(row.numeric(env), wanted, "the row itself", 1e-7 if row.second else TOLERANCE)
            let = ["--let", row.let()]
            tensor = text
            if row.component:
                ranges = ", ".join(f"{n}=1..{row.letter[c]}" for n, c in row.indices.items())
                tensor = f"[{ranges} : {text}]"
                at = {n: row.size[c] for n, c in row.indices.items()}
                free = [*let[:1], ", ".join([let[1], *(f"{n} : Z" for n in row.indices)])]
                corner = ask("eval", "-e", text, *free, "--at", row.at(env, at))["value"]
                self.close(corner, wanted[(-1,) * wanted.ndim], f"one component of eval of {text}", TOLERANCE * 10)
            self.close(ask("eval", "-e", tensor, *let, "--at", row.at(env))["value"], wanted, f"eval of {text}")
            known = row.known(env)
            parameters = list(inspect.signature(function).parameters)
            call = lambda at: function(**{n: {**known, **at}[n] for n in parameters})
            got = row.per_index(call) if row.component else call({})
            self.close(got, wanted, f"NumPy\n{derived['numpy']}")
        checked = ask("check", *row.query())
        self.assertIs(checked["formula_agrees"], True)
        # The printed text is final: read again and simplified again, it prints the same.
        fixed = row.let() + "".join(f", {n} : Z" for n in row.indices) + ", zz : R"
        again = ask("derive", "-e", f"zz*({text})", "--let", fixed, "--wrt", "zz", "--format", "text")["text"]
        if os.environ.get("VERBOSE"):
            print(f"{row.source:7} d {row.expression} / d {row.variable_text}\n        got  {text}\n"
                  f"        row  {row.derivative}" + (f"\n        again {again}" if again != text else ""))

    def test_rows(self):
        count = {}
        for row in rows():
            with self.subTest(file=row.file, source=row.source, expression=row.expression):
                kind = "at an instance" if (row.file, row.source) in INEXPRESSIBLE else "as they stand"
                count[kind] = count.get(kind, 0) + 1
                self.one(row)
        self.assertEqual(count.pop("at an instance"), len(INEXPRESSIBLE))
        print(f"identities: {count['as they stand']} rows as they stand, {len(INEXPRESSIBLE)} inexpressible, at an instance",
              file=sys.stderr)

    def test_the_comparison_can_fail(self):
        for line in ("det(X) | X | det(X)*inv(X) | X square invertible | wrong", "x'*x | x | 2.000001*x | - | wrong"):
            with self.assertRaises(AssertionError):
                self.one(Row("none", line))


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        PROGRAM = sys.argv.pop(1)
    PROGRAM = os.path.abspath(PROGRAM)
    unittest.main(verbosity=1)
