"""The Matrix Cookbook's derivatives, chainrule beside SymPy: time, and whether the answer is right.

A row of tests/data/matrix-cookbook.txt is read three ways: as chainrule's language (as it stands), as SymPy matrix
expressions, and as NumPy numbers. The numbers judge both programs: central differences of the expression at a random
point, against the derivative each program gives, evaluated at that point.

SymPy is tried twice: with MatrixSymbols and `.diff`, which is what it offers for this; where that fails or is wrong,
with matrices written out as symbols (n = 3) and the expression differentiated entry by entry.
"""
import json
import re
import signal
import statistics
import subprocess
import time
import warnings

import numpy as np
import sympy as sp
from sympy.core.cache import clear_cache

warnings.filterwarnings("ignore", module="sympy")
warnings.filterwarnings("ignore", category=DeprecationWarning)

N = 3  # sizes of the numeric check and of written-out matrices; M for the rows whose X is not square
M = 2
K = 3  # the integer power k
LIMIT = 20  # seconds for one row in SymPy

MATRIX, VECTOR, INDEX = "ABCDWX", "abcsx", "ijkl"


class TooSlow(Exception):
    pass


# ---- rows ---------------------------------------------------------------------------------------


class Row:
    def __init__(self, line):
        self.expr, self.wrt, _, side, self.source = [f.strip() for f in line.split("|")]
        self.variable = self.wrt[0]
        self.structure = {"X=X'": "symmetric", "X=diag": "diagonal"}.get(self.wrt, "")
        if self.structure:
            self.wrt = "X"
        names = re.findall(r"[A-Za-z_]\w*", self.expr)
        self.expressible = not any(f in names for f in ("D1", "U", "Y"))
        self.power = bool(re.search(r"\^k", self.expr))
        self.index = re.findall(r"\[(\w),(\w)\]", self.expr)
        self.index = list(self.index[0]) if self.index else []
        tall = "n x m" in side and "X square" not in side and not self.index
        self.declared = {}
        for v in dict.fromkeys(n for n in names if len(n) == 1 and n not in self.index and n in MATRIX + VECTOR):
            self.declared[v] = self.declare(v, side, tall)

    def declare(self, v, side, tall):
        """Shape and attribute of v."""
        if v in VECTOR:
            return ("m" if tall and v == "b" else "n",), ""
        if v == "X":
            return ("n", "m" if tall else "n"), self.structure
        shape = ("n", "n")
        if tall and re.search(r"\bX\*" + v + r"\b", self.expr):
            shape = ("m", "m")
        symmetric = re.search(r"\b(?:[A-Z], )*" + v + r"(?:, [A-Z])* symmetric", side)
        return shape, "symmetric" if symmetric else ""

    def language(self):
        parts = [f"{v} : R^{{{' x '.join(s)}}} {a}".strip() for v, (s, a) in self.declared.items()]
        if self.power:
            parts.append("k : Z")
        return ", ".join(parts), self.expr, self.wrt

    def python(self):
        """The expression in Python, without its index: of np.matrix or SymPy matrices."""
        text = re.sub(r"\[\w,\w\]$", "", self.expr)
        return text.replace("'", ".T").replace("^", "**")

    def sizes(self, v):
        return tuple({"n": N, "m": M}[s] for s in self.declared[v][0])

    def point(self, rng):
        """Random numbers: well-conditioned, of the declared structure."""
        values = {}
        for v, (_, attribute) in self.declared.items():
            a = rng.uniform(0.3, 1.3, self.sizes(v))
            if len(a.shape) == 2:
                a = a + 1.5 * np.eye(*a.shape)
                if attribute == "symmetric":
                    a = (a + a.T) / 2
                if attribute == "diagonal":
                    a = np.diag(np.diag(a))
            values[v] = a
        return values

    def position(self):
        """Numbers for the row's index letters, counted from 1."""
        letters = self.index + re.findall(r"\w", self.wrt[1:])
        return dict(zip(letters, (1, 2, 2, 3)))


# ---- numbers ------------------------------------------------------------------------------------

NUMERIC = {
    "det": lambda a: float(np.linalg.det(a)),
    "inv": lambda a: np.matrix(np.linalg.inv(a)),
    "tr": lambda a: float(np.trace(a)),
    "log": np.log,
    "norm2": lambda a: float(np.linalg.norm(a)),
    "kron": lambda a, b: np.matrix(np.kron(a, b)),
}


def value_of(row, values):
    space = {v: np.matrix(a if a.ndim == 2 else a.reshape(-1, 1)) for v, a in values.items()}
    y = eval(row.python(), {"__builtins__": {}}, {**NUMERIC, "k": K, **space})
    if row.index:
        at = row.position()
        return float(y[at[row.index[0]] - 1, at[row.index[1]] - 1])
    return float(y) if np.ndim(y) == 0 else float(y[0, 0])


def differences(row, values):
    """Central differences, entries of a structured X moving together."""
    x, h = values[row.variable], 1e-5
    out = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        if row.structure == "diagonal" and at[0] != at[1]:
            continue
        two = []
        for sign in (1, -1):
            moved = x.copy()
            for p in {at, at[::-1]} if row.structure == "symmetric" else {at}:
                moved[p] += sign * h
            two.append(value_of(row, {**values, row.variable: moved}))
        out[at] = (two[0] - two[1]) / (2 * h)
    if "[" in row.wrt:
        at = row.position()
        i, j = re.findall(r"\w", row.wrt[1:])
        return out[at[i] - 1, at[j] - 1]
    return out


def agree(a, b):
    a, b = np.squeeze(np.asarray(a, float)), np.squeeze(np.asarray(b, float))
    if a.shape != b.shape:
        return False
    return bool(np.all(np.abs(a - b) <= 1e-5 * (1 + np.abs(b).max())))


# ---- chainrule ----------------------------------------------------------------------------------


def run_chainrule(rows, program, seconds):
    text = "".join("\t".join(r.language()) + "\n" for r in rows)
    done = subprocess.run([program, str(seconds)], input=text, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def chainrule_right(row, answer, values):
    space = {}
    exec(answer["numpy"], space)
    function = space["derivative"]
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    given = {**values, **row.position()}
    if row.power and "k" not in given:
        given["k"] = K
    given.setdefault("n", N)
    given.setdefault("m", M)
    return agree(function(*[given[n] for n in names]), differences(row, values))


# ---- SymPy --------------------------------------------------------------------------------------


def norm_symbolic(a):
    return sp.sqrt(sp.Trace(a.T * a))


SYMBOLIC = {"det": sp.Determinant, "inv": sp.Inverse, "tr": sp.Trace, "log": sp.log, "norm2": norm_symbolic,
            "kron": sp.KroneckerProduct, "k": K}
ENTRIES = {"det": lambda a: a.det(), "inv": lambda a: a.inv(), "tr": lambda a: a.trace(), "log": sp.log,
           "norm2": lambda a: sp.sqrt((a.T * a)[0, 0]), "kron": sp.kronecker_product, "k": K}


def shape2(row, v):
    s = row.sizes(v)
    return s if len(s) == 2 else (s[0], 1)


def matrix_way(row):
    """The question for `.diff` on MatrixSymbols: a function that answers it, and how to put numbers in."""
    symbol = {v: sp.MatrixSymbol(v, *shape2(row, v)) for v in row.declared}
    y = eval(row.python(), {"__builtins__": {}}, {**SYMBOLIC, **symbol})
    x = symbol[row.variable]
    if row.structure:
        raise NotImplementedError("a MatrixSymbol has no structure")
    if row.index:
        letters = {c: sp.Symbol(c, integer=True) for c in row.position()}
        i, j = re.findall(r"\w", row.wrt[1:])
        y = y[letters[row.index[0]], letters[row.index[1]]]
        x = x[letters[i], letters[j]]

    def answer():
        d = y.diff(x)
        if d.has(sp.Derivative):
            d = d.doit()
        if d.has(sp.Derivative):
            raise NotImplementedError("left as Derivative(...)")
        return d

    def number(d, values):
        if row.index:
            d = d.subs({letters[c]: p - 1 for c, p in row.position().items()})
        put = {s: sp.ImmutableDenseMatrix(values[v].reshape(shape2(row, v))) for v, s in symbol.items()}
        d = d.xreplace(put).doit()
        if hasattr(d, "as_explicit"):
            d = d.as_explicit().doit()
        return np.array(d.tolist() if hasattr(d, "tolist") else d, float)

    return answer, number


def entry_way(row):
    """The same with every matrix written out as symbols."""
    matrix, symbols = {}, {}
    for v in row.declared:
        rows, columns = shape2(row, v)
        structure = row.declared[v][1]

        def entry(p, q, v=v, structure=structure):
            if structure == "diagonal" and p != q:
                return sp.S.Zero
            if structure == "symmetric" and p > q:
                p, q = q, p
            symbols[f"{v}{p}{q}"] = (v, p, q)
            return sp.Symbol(f"{v}{p}{q}")

        matrix[v] = sp.ImmutableDenseMatrix(rows, columns, entry)

    def answer():
        y = eval(row.python(), {"__builtins__": {}}, {**ENTRIES, **matrix})
        x = matrix[row.variable]
        at = row.position()
        if row.index:
            y = y[at[row.index[0]] - 1, at[row.index[1]] - 1]
            i, j = re.findall(r"\w", row.wrt[1:])
            return y.diff(x[at[i] - 1, at[j] - 1])
        y = y[0, 0] if hasattr(y, "shape") else y
        return x.applyfunc(lambda s: y.diff(s) if s else sp.S.Zero)

    def number(d, values):
        put = {}
        for name, (v, p, q) in symbols.items():
            put[sp.Symbol(name)] = values[v].reshape(shape2(row, v))[p, q]
        d = d.xreplace({s: sp.Float(x) for s, x in put.items()})
        return np.array(d.tolist() if hasattr(d, "tolist") else d, float)

    return answer, number


def stopped(*_):
    raise TooSlow


def try_sympy(row, way, values):
    """{"seconds", "text", "right"} or {"error"}."""
    signal.signal(signal.SIGALRM, stopped)
    signal.alarm(LIMIT)
    try:
        answer, number = way(row)
        times, start = [], time.perf_counter()
        while len(times) < 3 or (len(times) < 50 and time.perf_counter() - start < 0.3):
            clear_cache()
            t = time.perf_counter()
            d = answer()
            text = str(d)
            times.append(time.perf_counter() - t)
            if times[-1] > 3:
                break
        result = {"seconds": statistics.median(times), "repeats": len(times), "text": text}
        try:
            result["right"] = agree(number(d, values), differences(row, values))
        except TooSlow:
            raise
        except Exception as e:  # an answer that cannot be evaluated
            result["right"], result["error"] = False, f"not evaluable: {type(e).__name__}: {e}"[:120]
        return result
    except TooSlow:
        return {"error": f"more than {LIMIT} s"}
    except Exception as e:
        return {"error": f"{type(e).__name__}: {e}".splitlines()[0][:120]}
    finally:
        signal.alarm(0)


# ---- the comparison -----------------------------------------------------------------------------


def compare(data, program, seconds):
    with open(data, encoding="utf-8") as f:
        rows = [Row(line) for line in f if line.strip() and not line.startswith("#")]
    beyond = [r for r in rows if not r.expressible]
    rows = [r for r in rows if r.expressible]
    rng = np.random.default_rng(1)
    results = []
    for row, ours in zip(rows, run_chainrule(rows, program, seconds)):
        values = row.point(rng)
        if "numpy" in ours:
            ours["right"] = chainrule_right(row, ours, values)
        matrix = try_sympy(row, matrix_way, values)
        entries = None if matrix.get("right") else try_sympy(row, entry_way, values)
        best = matrix if matrix.get("right") else entries
        ratio = best["seconds"] / ours["seconds"] if best.get("right") and "seconds" in ours else None
        results.append({"expression": row.expr, "variable": row.wrt + (" " + row.structure if row.structure else ""),
                        "source": row.source, "chainrule": ours, "sympy_matrix": matrix, "sympy_entries": entries,
                        "ratio": ratio})
    return {"sympy": sp.__version__, "rows": results, "not_expressible": [r.expr for r in beyond]}
