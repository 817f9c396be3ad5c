#!/usr/bin/env python3
"""The C source of derivatives: it compiles without a warning, and what it computes, values and derivatives, is what
`chainrule eval` says. All cases go into a few files that are compiled with -O2, and again under the sanitizers."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np

from test_identities import rows
from test_numpy import CASES, NO_FAMILY, RECURRENCES, SIGMA, as_text, member_values, run, values

PROGRAM = os.environ.get("CHAINRULE", "build/chainrule")
SOURCE = pathlib.Path(os.environ.get("CHAINRULE_SOURCE", pathlib.Path(__file__).resolve().parent.parent))
CC = os.environ.get("CC", "cc").split()
STRICT = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"]
FLAGS = {"-O2": ["-O2"], "sanitizers": ["-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]}
FILES = 4  # that the cases are spread over
TOLERANCE = 1e-9  # relative to the largest entry

# What a user may rest on at a kink: declarations, expression, variable, point.
KINKS = [
    ("x : R^3", f"sum({f}(x))", "x", "x = [0, -1, 2]")
    for f in ("relu", "abs", "sign", "step", "elu", "selu", "leaky_relu", "gelu", "silu", "softplus")
] + [
    ("x : R^3", "norm2(x)", "x", "x = [0, 0, 0]"),
    ("x : R^3", "norm1(x)", "x", "x = [0, 1, 0]"),
    ("x : R^3", "max(x)", "x", "x = [2, 1, 2]"),
    ("x : R^3", "min(x)", "x", "x = [2, 2, 2]"),
    ("x : R^3", "norm_inf(x)", "x", "x = [2, -2, 1]"),
    ("x : R^3", "prod(x)", "x", "x = [0, 3, 0]"),
    ("x : R, y : R", "max(x, y)", "x", "x = 1; y = 1"),
    ("x : R, y : R", "if(x > 0, log(x), y*x)", "x", "x = 0; y = 3"),
    ("x : R, y : R", "mod(x, y)*x", "x", "x = -7; y = 3"),
    ("x : R", "relu(x) - relu(-x)", "x", "x = 0"),
    ("x : R^3", "[i=1..3 : if(i == 2, 0, 1/(x[i] + (i - 1)))]", "x", "x = [1, -1, 2]"),
    ("X : R^{3 x 3}", "det(X)", "X", "X = [1, 2, 3; 2, 4, 6; 1, 0, 1]"),
    ("X : R^{3 x 3}", "adj(X)", "X", "X = [1, 2, 3; 2, 4, 6; 3, 6, 9]"),
    ("X : R^{3 x 2}", "pinv(X)", "X", "X = [1, 2; 2, 4; 0, 1]"),
    ("X : R^{2 x 2}", "logdet(X)", "X", "X = [1, 2; 2, 1]"),
    ("x : R^3", "softmax(100*x)", "x", "x = [1, 0, -1]"),
    ("x : R", "sigmoid(x) + tanh(x)", "x", "x = 40"),
]

# More of the language: text, point. Every statement is a derivative.
TEXTS = [
    ("let x : R^n\nderive sum(i=1..floor(n/2), x[2*i]*x[i]) wrt x\n"
     "derive sum(i=1..n, j=1..n, if(i < j, x[i]*x[j], 0)) wrt x\n"
     "derive [i=1..n, j=1..n : x[i]^j] wrt x[k]\nderive max(i=2..n, x[i]*x[i-1]) wrt x\nderive x[n]*n^3 wrt x\n"
     "derive prod(i=1..n, 1 + x[i]*i) wrt x\nderive norm2([i=1..n-1 : x[i+1] - x[i]]) wrt x\n"
     "derive if(all(i=1..n, x[i] > -2), sum(x)^2, 0) wrt x\nderive sum(i=1..n, sum(j=1..i, x[j])^2) wrt x\n"
     "derive x[2]*x[k] wrt x[l]\nderive iota(n)'*x.^2 wrt x, x\n", "x = [0.5, -1, 2, 0.25, 1.5]; k = 2; l = 4"),
    ("fun f(z) = z^2*sigmoid(z)\nfun g(z) = f(z) + sin(f(z))\nlet x : R^n, A : R^{n x n}\n"
     "derive sum(g(A*x)) wrt x\nderive g(A*x) wrt A\nderive f'(x)'*x wrt x\n", "x = [0.5, -1]; A = [1, 2; 3, -1]"),
    ("let x : R^n, W : R^{m x n}, V : R^{m x m}\nderive sum(V*(W*x)) wrt W\nderive sum((V*W*x).^2) wrt V, x\n"
     "derive softmax(W) wrt W\nderive sum(logsoftmax(V*W*x)) wrt x\nderive reshape(W, n, m) wrt W[i,j]\n"
     "derive kron(x, x) wrt x\nderive vec(W)'*vec(W) wrt W\nderive sum(V^3) wrt V\nderive sum(V^(-2)) wrt V\n",
     "x = [0.5, -1, 2]; W = [1, 2, 0.5; -3, 1, 1]; V = [2, 1; 0.5, 3]; i = 2; j = 3"),
    ("let x : R^n, e : R^n positive, s : R\nderive erf(s)*gelu(s) + asin(s/3) + atan(s)*acos(s/4) wrt s, s\n"
     "derive cosh(x)'*sinh(x) + sum(tan(x)) wrt x\nderive sum(e.^s) wrt e\nderive sum(e.^s) wrt s\n"
     "derive mean(x)*norm1(x) + min(x, s)'*x wrt x\nderive sum(elu(x) + selu(x) + silu(x)) wrt x, x\n",
     "x = [0.5, -1, 2]; e = [1, 2, 0.5]; s = 0.7"),
    ("let lambda : R, double : R^n, value : R, i : R^n, exp : R, z : R, β : R^n\n"
     "derive exp*lambda*sum(double.*i.*β)*value + exp(z) wrt double\nderive sum(k=1..n, β[k]^2*i[k]) wrt β\n",
     "lambda = 2; double = [1, 2]; value = 3; i = [4, 5]; exp = 0.5; z = 1; β = [2, 3]"),
]

# Windows, with sizes, strides and pads that are symbols; single windows that hold nothing, and maxima that tie.
TEXTS += [
    ("let X : R^{N x C x h x v}, F : R^{o x C x k x l}, G : R^{C x 1 x k x l}, s : Z, q : Z, p : Z\n"
     "derive conv(X, F, stride=[s, 1], dilation=[1, q], pad=[p, 2*p]) wrt F\n"
     "derive sum(relu(conv(X, F, stride=2, pad=1)).^2) wrt F, X\n"
     "derive sum(conv(X, G, groups=C, pad=p).^2) wrt G\nderive conv(X, G, groups=C, stride=s, pad=1) wrt X\n"
     "derive sum(conv_x(conv(X, F), F, stride=s).^2) wrt F\nderive conv_w(X, conv(X, F), size=[k, 1]) wrt X\n"
     "derive sum(conv(X, F, pad=[0, 2], size=[h, v]).^3) wrt X, X\n",
     {"X": np.sin(np.arange(40.0)).reshape(2, 2, 2, 5), "F": np.cos(np.arange(24.0)).reshape(3, 2, 2, 2),
      "G": np.cos(np.arange(8.0)).reshape(2, 1, 2, 2), "s": 2, "q": 3, "p": 1}),
    ("let X : R^{m x n}, x : R^l, y : R^l, s : Z, q : Z, k : Z\n"
     "derive maxpool(X, 2, stride=s, pad=1) wrt X\nderive sum(maxpool(X, [1, s], dilation=[1, q]).^2) wrt X, X\n"
     "derive maxpool_ties(X, 2).*maxpool(X, 2) wrt X\nderive maxpool_y(X, X.^2, [2, n], pad=1) wrt X\n"
     "derive sum(maxpool_x(X, [i=1..m-1, j=1..n-1 : X[i,j]^2], 2)) wrt X\n"
     "derive maxpool(x, 2, pad=3, stride=s)[2] wrt x\nderive maxpool(x, l+1) wrt x\n"
     "derive exp(maxpool(x, 2, pad=3)) wrt x\n"
     "derive avgpool(X, [2, 3], stride=[1, s], pad=1) wrt X\nderive sumpool_x(X, 2, stride=s, size=[m+2, 2*n]) wrt X\n"
     "derive slice(x, l)'*slice(y, l) wrt x\nderive sum(concat(x, y, x).^2) wrt x\n"
     "derive slice(X, [2, q], size=[m, n]) wrt X\n"
     "derive place(x.*y, 0, stride=s, size=3*l) wrt x\nderive [i=1..m : sum(slice([j=1..n : X[i,j]^2], 2))] wrt X\n"
     "derive gather(X, [2, 1, 2], axis=2) wrt X\nderive gather(x, k)*y wrt x\n"
     "derive sum(gather(X, [1, 2; 2, 2]).^2) wrt X, X\n"
     "derive scatter(x.*y, mod(iota(l), 2) + q, size=n) wrt x\nderive gather(x.*y, [k; 1], axis=1) wrt y\n"
     "derive sum(scatter(gather(X, [2, 1]).^2, [n, 1], size=m+n)) wrt X\n",
     {"X": np.array([[1.0, 2, 2, 1], [2, 2, 2, -1], [0, 1, -1, -1]]), "x": np.array([1.0, -2, 3]),
      "y": np.array([0.5, 4, 1]), "s": 2, "q": 3, "k": 3}),
    ("let Q : R^{1 x 1 x n}, K : R^{1 x 1 x 3}\ndef o[0] = Q\n"
     "def o[i] = tanh(conv(o[i-1], K, pad=1)) + maxpool(slice(o[i-1], i-1, size=n), 1) for i in 1..N\n"
     "derive sum(o[N]) wrt K\nderive o[N] wrt Q\n",
     {"Q": np.array([[[1.0, -2, 3, 0.5]]]), "K": np.array([[[1.0, -1, 0.5]]]), "N": 3}),
]


class Case:
    """A source with what its function is called with and has to say."""

    def __init__(self, source, arguments, value, derivative, where, scale=0):
        self.source, self.arguments, self.where, self.scale = source, arguments, where, scale
        self.wanted = {"value": value, "derivative": derivative}


def ask(command, *args, text=None):
    p = subprocess.run([PROGRAM, command, *args, "--json", "-"], input=text, capture_output=True, text=True)
    if p.returncode:
        raise AssertionError(f"{command} {args}: exit status {p.returncode}: {p.stderr}\n{text}")
    return json.loads(p.stdout)["results"]


def number(result):
    value = result["value"]
    fixed = np.vectorize(lambda v: {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}.get(str(v).lower(), v) if
                         not isinstance(v, (int, float)) and v is not None else np.nan if v is None else v,
                         otypes=[float])
    return fixed(np.array(value, dtype=object)) if np.size(value) else np.zeros(np.shape(value))


def queried(let, expr, wrt, at, known):
    query = ["-e", expr, "--let", let]
    source = ask("derive", *query, "--wrt", wrt, "--format", "c")[0]["c"]
    at = ["--at", at] if at else []
    return Case(source, known, number(ask("eval", *query, *at)[0]), number(ask("eval", *query, "--wrt", wrt, *at)[0]),
                f"d {expr} / d {wrt}, {at}")


def parsed(at):
    """`x = [1, 2; 3, 4]; k = 2` as numbers."""
    out = {}
    for part in re.split(r";\s*(?=[^\W\d]\w* =)", at):
        name, v = part.split(" = ")
        v = v.strip()
        out[name] = np.array([[float(c) for c in r.split(",")] for r in v[1:-1].split(";")] if ";" in v else
                             json.loads(v), dtype=float)
    return out


def sized(text, point):
    """Sizes that the declarations of text give the arrays of the point."""
    out = {}
    for name, shape in re.findall(r"([^\W\d]\w*) : R\^(?:\{([^}]*)\}|\w+)", text):
        shape = shape.split(" x ") if shape else [re.search(rf"\b{name} : R\^(\w+)", text)[1]]
        out |= {s: n for s, n in zip(shape, np.shape(point.get(name))) if not s.isdigit()}
    return out


def statements(text, point, sources=None, known=None):
    """The cases of all derivatives of a text at a point."""
    known = known or text
    sources = sources or ask("derive", "-", "--format", "c", text=text)
    as_values = re.sub(r"(?m)^derive (.*) wrt .*$", r"eval \1", known)
    of = []
    for t in (as_values, known):
        at = as_text({n: v for n, v in point.items() if re.search(rf"\b{n}\b", t)})
        of.append(ask("eval", "-", *(["--at", at] if at else []), text=t))
    for source, value, derivative in zip(sources, *of, strict=True):
        yield Case(source["c"], {**sized(text, point), **point}, number(value), number(derivative),
                   f"{source['query']}\n{text}, {point}")


def all_cases():
    rng = np.random.default_rng(11)
    for let, expr, wrt, _ in CASES:
        point = values(let)
        yield queried(let, expr, wrt, as_text(point), {**point, "m": 3, "n": 4})
    for let, expr, wrt, at in KINKS:
        yield queried(let, expr, wrt, at, parsed(at))
    for row in rows():
        env = row.point(rng)
        index = {n: row.size[c] for n, c in row.indices.items()}
        query = row.query()
        yield queried(query[3], query[1], query[5], row.at(env, index), {**row.known(env), **index})
    for text, at in TEXTS:
        yield from statements(text, at if isinstance(at, dict) else parsed(at))
    for text, asked, depths in RECURRENCES:
        text += "".join(f"derive {s}\n" for s in asked)
        sources = ask("derive", "-", "--format", "c", text=text)
        known = text.replace(SIGMA, "fun sigma(z) = tanh(z)")
        free = [i for i in "kl" if any(re.search(rf"\b{i}\b", s) for s in asked)]
        for depth in depths:
            for k, l in np.ndindex(depth if "k" in free else 1, depth if "l" in free else 1):
                index = {i: v for i, v in {"k": k + 1, "l": l + 1}.items() if i in free}
                point = {**member_values(text, depth), **index}
                given = {**point, "N": depth} if "[1..N]" not in text and "..N" in text and not re.search(
                    r"\[[01]\.\.N", text) else point
                for case in statements(text, given, sources, known):
                    case.arguments |= {"N": depth, "d": 2}
                    yield case
    for name in ("task1", "task2"):
        yield from sheet(SOURCE / f"examples/sheet-11/{name}.cr")
    for path in sorted((SOURCE / "examples/depth").glob("*.cr")):
        yield from sheet(path)
    yield from random_graphs()


def random_graphs():
    """Through cr_emit_c: graphs of tests/emit_random.c. The unknown function f is the sine."""
    program = os.environ.get("EMIT_RANDOM", str(pathlib.Path(PROGRAM).parent / "tests/emit_random"))
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([program, folder], check=True)
        for path in sorted(pathlib.Path(folder).glob("*.c")):
            lines = [line.split() for line in path.with_suffix(".txt").read_text().splitlines()]
            v = {name: np.array(numbers, dtype=float) for name, *numbers in lines}
            arguments = {"m": 3, "n": 2, **{name: a[0] if name == "t" else a for name, a in v.items()}}
            yield Case(path.read_text(), arguments, v["value"], v["derivative"], f"graph {path.stem}", v["scale"][0])


def sheet(path):
    """A file of the examples, sigma being tanh, N = 4."""
    text = path.read_text()
    rng = np.random.default_rng(3)
    point = {"j": 2, "k": 3}
    if "W : R^{m x n}" in text:
        point |= {"i": 2, "x": rng.standard_normal(3), "W": rng.standard_normal((4, 3)), "b": rng.standard_normal(4),
                  "a": rng.standard_normal(4), "k": None}
    else:
        point |= {"x": rng.standard_normal(), "w": rng.standard_normal(4), "b": rng.standard_normal(4)}
        if not re.search(r"\bj\b", re.sub("#.*", "", text)):
            point["j"] = None
    point = {n: v for n, v in point.items() if v is not None}
    text = re.sub("#.*", "", text)
    for case in statements(text, point, known=text.replace(SIGMA, "fun sigma(z) = tanh(z)")):
        case.arguments |= {"N": 4, "m": 4, "n": 3}
        yield case


# ---- C around the functions

SIGMA_C = """#include <stdio.h>
#include <math.h>
static double sigma(unsigned order, double z)
{
    const double t = tanh(z), d = 1 - t * t;
    return order == 0 ? t : order == 1 ? d : -2 * t * d;
}
static double sine(unsigned order, double z)
{
    return sin(z + order * 1.57079632679489661923);
}
static void show(int status, const double *x, int n)
{
    printf("%d", status);
    for (int i = 0; i < n; i++) printf(" %.17g", x[i]);
    printf("\\n");
}
"""


def literal(v):
    v = float(v)
    return "NAN" if np.isnan(v) else "INFINITY" if v > 0 and np.isinf(v) else "-INFINITY" if np.isinf(v) else repr(v)


def ascii_name(name):
    return "".join(c if ord(c) < 128 else f"u{ord(c):04x}" for c in name)


def in_c(case, number, known):
    """The source under a name of its own (none if it is among the known), and a call of it that asks for both outputs,
    then for each alone."""
    number_of = known.setdefault(case.source, number)
    source = re.sub(r"\bderive(\d*)(_\w+)?\b(?=\()", rf"case{number_of}_\1\2", case.source)
    name, arguments = re.search(r"(?m)^int (\w+)\(((?:[^()]|\([^()]*\))*)\)\n\{", source).groups()
    given = {ascii_name(n): v for n, v in case.arguments.items()}
    body, call, outputs = [], [], {}
    for a in re.split(r",\s+(?![^()]*\))", arguments):
        if a.startswith("double (*"):
            call.append("sine" if a.startswith("double (*f)") else "sigma")
            continue
        kind, n = re.match(r"(const double \*|double \*|double |ptrdiff_t )(\w+)$", a).groups()
        if kind == "double *":
            outputs[n] = np.size(case.wanted[n])
            body.append(f"    double {n}[{max(outputs[n], 1)}] = {{0}};")
            call.append(n)
            continue
        v = given[n if n in given else n.rstrip("_")]
        if kind == "const double *":
            body.append(f"    const double in_{n}[] = {{{', '.join(map(literal, np.ravel(v))) or '0'}}};")
            call.append(f"in_{n}")
        else:
            call.append(str(int(v)) if kind == "ptrdiff_t " else literal(v))
    asked = [list(outputs), *([n] for n in outputs)]
    for some in asked:
        these = [c if c not in outputs or c in some else "NULL" for c in call]
        body.append(f"    status = {name}({', '.join(these)});")
        body += [f"    show(status, {n}, {outputs[n]});" for n in some]
    test = f"static void test{number}(void)\n{{\n    int status;\n" + "\n".join(body) + "\n}\n"
    return (source if number_of == number else "") + test, [n for some in asked for n in some]


def built(folder, cases, flags):
    """Runs all cases; the lines that each printed."""
    objects, jobs, order = [], [], []
    cases = list(enumerate(cases))
    cases.sort(key=lambda c: c[1].source)  # those of one source into one file
    for f in range(FILES):
        part, known = cases[f * len(cases) // FILES:(f + 1) * len(cases) // FILES], {}
        path = folder / f"cases{f}.c"
        text = [SIGMA_C]
        for number, case in part:
            source, names = in_c(case, number, known)
            text.append(source)
            order.append((number, names))
        calls = "".join(f"    test{n}();\n" for n, _ in part)
        text.append(f"void run{f}(void);\nvoid run{f}(void)\n{{\n    (void)sigma;\n    (void)sine;\n{calls}}}\n")
        path.write_text("\n".join(text))
        objects.append(str(path.with_suffix(".o")))
        jobs.append([*CC, *STRICT, *flags, "-c", str(path), "-o", objects[-1]])
    calls = "".join(f"    run{f}();\n" for f in range(FILES))
    declared = "".join(f"void run{f}(void);\n" for f in range(FILES))
    (folder / "main.c").write_text(f"{declared}int main(void)\n{{\n{calls}    return 0;\n}}\n")
    running = [subprocess.Popen(j, stderr=subprocess.PIPE, text=True) for j in jobs]
    for p in running:
        errors = p.communicate()[1]
        assert p.returncode == 0, f"does not compile:\n{errors[:6000]}"
    program = str(folder / "cases")
    subprocess.run([*CC, *STRICT, *flags, str(folder / "main.c"), *objects, "-o", program, "-lm"], check=True)
    p = subprocess.run([program], capture_output=True, text=True)
    assert p.returncode == 0, f"exit status {p.returncode}\n{p.stderr[:6000]}"
    lines = iter(p.stdout.splitlines())
    return [(number, n, next(lines)) for number, names in order for n in names]


def compared(cases, results):
    wrong = 0
    for number, name, line in results:
        case = cases[number]
        status, *got = line.split()
        got, wanted = np.array(got, dtype=float), np.ravel(case.wanted[name])
        scale = np.max(np.abs(wanted[np.isfinite(wanted)]), initial=case.scale) or 1.0
        same = (np.abs(got - wanted) <= TOLERANCE * scale) | (got == wanted) | (np.isnan(got) & np.isnan(wanted))
        if status != "0" or not np.all(same):
            wrong += 1
            if wrong < 10:
                print(f"FAIL {case.where}: {name}, status {status}\n{got}\nwanted\n{wanted}\n{case.source[-3000:]}")
    return wrong


def check_cases():
    cases = list(all_cases())
    assert len(cases) > 500, len(cases)
    for name, flags in FLAGS.items():
        with tempfile.TemporaryDirectory() as folder:
            wrong = compared(cases, built(pathlib.Path(folder), cases, flags))
        assert not wrong, f"{wrong} of {len(cases)} differ, compiled with {name}"
    print(f"{len(cases)} cases")


def check_out_of_range():
    """Status 2, and nothing is written."""
    let = "x : R^n, w[1..N] : R, y : R^n, s : Z"
    texts = {"x[j]": ("x[j]^2", "x[j]"), "x[3]": ("x[3]*x[1]", "x"), "w[k]": ("w[k]^2*x[1]", "w[k]"),
             "gather": ("sum(gather(x, y).^2)", "x"), "scatter": ("sum(scatter(x.^2, y, size=2))", "x"),
             "stride": ("sum(maxpool(x, 2, stride=s, pad=1))", "x")}
    cases = []
    for name, at in [("x[j]", {"n": 2, "j": j}) for j in (0, -1, 3)] + [("x[3]", {"n": 2})] + [
            ("w[k]", {"n": 2, "N": 2, "k": k}) for k in (0, 3)] + [
            (name, {"n": 2, "y": [1, y]}) for name in ("gather", "scatter") for y in (0, -1, 3, 1.5, np.nan, 1e300)] + [
            ("stride", {"n": 2, "s": s}) for s in (0, -1)]:
        expr, wrt = texts[name]
        source = ask("derive", "-e", expr, "--let", let, "--wrt", wrt, "--format", "c")[0]["c"]
        wanted = np.zeros(2 if wrt == "x" else ())
        cases.append(Case(source, {"x": [1, 2], "w": [1, 2], **at}, 0, wanted, f"{name}, {at}"))
    with tempfile.TemporaryDirectory() as folder:
        for number, name, line in built(pathlib.Path(folder), cases, FLAGS["sanitizers"]):
            status, *got = line.split()
            assert status == "2" and set(got) == {"0"}, f"{cases[number].where}: {name} {line}\n{cases[number].source}"


def check_moving_window():
    """A slice that begins at the index of a sum is taken inside of its loop."""
    let, expr = "x : R^n", "sum(i=1..n-1, sum(slice(x, i, size=2))^2)"
    case = queried(let, "sum(i=1..n-1, (x[i] + x[i+1])^2)", "x", "x = [1, 2, 4, 8]", {"x": [1, 2, 4, 8], "n": 4})
    case.source = ask("derive", "-e", expr, "--let", let, "--wrt", "x", "--format", "c")[0]["c"]
    with tempfile.TemporaryDirectory() as folder:
        cases = [case] * FILES
        assert not compared(cases, built(pathlib.Path(folder), cases, FLAGS["sanitizers"]))


def check_one_file():
    """Sources of several queries one after the other are one C file."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("sheet-11/task1", "sheet-11/task2", "matrices", "softmax"):
            path = pathlib.Path(folder) / "all.c"
            p = subprocess.run([PROGRAM, "derive", SOURCE / f"examples/{name}.cr", "--format", "c"],
                               capture_output=True, text=True, check=True)
            path.write_text(p.stdout)
            p = subprocess.run([*CC, *STRICT, "-O2", "-c", path, "-o", path.with_suffix(".o")], capture_output=True,
                               text=True)
            assert p.returncode == 0, f"{name}: {p.stderr}"


def check_one_scan():
    """The derivative by all weights of a chain takes no loop inside of a loop."""
    for skip in ("", "def o[N] = tanh(w[N]*o[N-1] + o[1])\n"):
        text = f"let x : R, w[1..N] : R\ndef o[0] = x\ndef o[i] = tanh(w[i]*o[i-1]) for i in 1..N\n{skip}"
        source = ask("derive", "-", "--format", "c", text=text + "derive o[N] wrt w\n")[0]["c"]
        depth = [len(line) - len(line.lstrip()) for line in re.findall(r"(?m)^ +for .*{$", source)]
        assert len(depth) >= 3 and max(depth) <= 8, source


if __name__ == "__main__":
    sys.exit(run((check_out_of_range, check_moving_window, check_one_file, check_one_scan, check_cases)))
