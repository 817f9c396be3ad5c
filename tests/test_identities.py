"""Published derivative identities (tests/data/*.txt) against what the program derives, at random points.

A row is `expression | variable | derivative | side conditions | source`, in the notation of identity_notation.py.
The row itself is checked by complex steps; its expression goes to the program in the program's language. What the
program derives is then evaluated three ways: by `chainrule eval` of the printed text, by the printed NumPy function,
and by `chainrule check`. Nothing here asks the program about the row's derivative.

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

from identity_notation import Sizes, evaluate, expand, parse, scalar, single, subtrees, write

PROGRAM = os.environ.get("CHAINRULE", "build/chainrule")
DATA = pathlib.Path(__file__).resolve().parent / "data"
ROWS = {"matrix-cookbook": 44, "network-identities": 15, "more-identities": 74}  # how many there are
TOLERANCE = 1e-9  # relative to the largest entry

# Rows the language cannot say, by file and source. Matrices that are unknown functions of a scalar have no declaration;
# such a row is tested at an instance instead, Y(t) = A + t*B + t^2*C (see PARAMETRISED).
INEXPRESSIBLE = {
    ("matrix-cookbook", "eq 48"): "Y(t) is an unknown matrix function of t",
    ("matrix-cookbook", "eq 137"): "U(t) is an unknown matrix function of t",
}


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
        words = "|".join(ATTRIBUTES)
        for m in re.finditer(rf"(?<![\w+'*])([A-Za-z](?:, ?[A-Za-z])*)((?: (?:{words}))+)\b", self.side):
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
            kind = "R" if p == "1" else f"R^{p}" if q == "1" else f"R^{{{p} x {q}}}"
            kind = "Z" if n in self.sizes.integers else kind
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
                v = int(rng.integers(1, 5))  # an exponent
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
    for file in ROWS:
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
        # The printed text can be read and derived again; with VERBOSE set, all texts are shown for reading.
        fixed = row.let() + "".join(f", {n} : Z" for n in row.indices) + ", zz : R"
        again = ask("derive", "-e", f"zz*({text})", "--let", fixed, "--wrt", "zz", "--format", "text")["text"]
        if os.environ.get("VERBOSE"):
            print(f"{row.source:7} d {row.expression} / d {row.variable_text}\n        got  {text}\n"
                  f"        row  {row.derivative}" + (f"\n        again {again}" if again != text else ""))

    def test_rows(self):
        count, inexpressible = dict.fromkeys(ROWS, 0), set()
        for row in rows():
            with self.subTest(file=row.file, source=row.source, expression=row.expression):
                count[row.file] += 1
                inexpressible |= {(row.file, row.source)} & set(INEXPRESSIBLE)
                self.one(row)
        self.assertEqual(count, ROWS)
        self.assertEqual(inexpressible, set(INEXPRESSIBLE))
        print(f"identities: {sum(ROWS.values())} rows, {len(INEXPRESSIBLE)} of them inexpressible, at an instance",
              file=sys.stderr)

    def test_the_comparison_can_fail(self):
        for line in ("det(X) | X | det(X)*inv(X) | X square invertible | wrong", "x'*x | x | 2.000001*x | - | wrong"):
            with self.assertRaisesRegex(AssertionError, "the row itself"):
                self.one(Row("none", line))
        row = Row("none", "x'*x | x | 2*x | - | right")
        row.query = lambda: ["-e", "1.00000001*x'*x", "--let", row.let(), "--wrt", "x"]
        with self.assertRaisesRegex(AssertionError, "eval of"):
            self.one(row)


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        PROGRAM = sys.argv.pop(1)
    PROGRAM = os.path.abspath(PROGRAM)
    unittest.main(verbosity=1)
