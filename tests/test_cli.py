"""The command line against its contract (options, exit statuses, JSON). Standard library only.

    python3 tests/test_cli.py build/chainrule [unittest arguments]
"""
import json
import math
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

PROGRAM = os.environ.get("CHAINRULE", "build/chainrule")
SHEET = """\
let x : R^n, W : R^{m x n}, b : R^m, a : R^m
def f = W*x + b
def g = a' * relu(W*x + b)

derive f[1] wrt x[j]
derive f[1] wrt W[i,j]
derive f[1] wrt b[i]
derive relu(f)[1] wrt x[j]
derive sigmoid(f)[1] wrt x[j]
derive g wrt x[j]
derive g wrt W
"""
LET = "x : R^n, W : R^{m x n}, b : R^m, a : R^m"


def run(*args, stdin=None, cwd=None, env=None):
    e = {k: v for k, v in os.environ.items() if k not in ("LC_ALL", "LANG")}
    e.update(env or {})
    return subprocess.run([PROGRAM, *args], input=stdin, capture_output=True, text=True, cwd=cwd, env=e, timeout=60)


def document(*args, status=0, stdin=None):
    r = run(*args, "--json", "-", stdin=stdin)
    assert r.returncode == status, f"exit status {r.returncode}, not {status}: {args}\n{r.stderr}"

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(r.stdout, parse_constant=refuse)


def npz(path, arrays):
    """A .npz of float64 arrays, written by hand: {name: (shape, flat values)}."""
    with zipfile.ZipFile(path, "w") as z:
        for name, (shape, values) in arrays.items():
            head = repr({"descr": "<f8", "fortran_order": False, "shape": tuple(shape)})
            head += " " * (-(10 + len(head) + 1) % 64) + "\n"
            data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode()
            z.writestr(name + ".npy", data + struct.pack(f"<{len(values)}d", *values))


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="chainrule-cli-"))

    def tearDown(self):
        for p in self.dir.iterdir():
            p.unlink()
        self.dir.rmdir()

    def file(self, text, name="t.cr"):
        path = self.dir / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    def fails(self, status, *args, says=(), **kw):
        r = run(*args, **kw)
        self.assertEqual(r.returncode, status, f"{args}\n{r.stdout}\n{r.stderr}")
        self.assertTrue(r.stderr.startswith("chainrule: "), r.stderr)
        for word in [says] if isinstance(says, str) else says:
            self.assertIn(word, r.stderr)
        return r


CHAIN = """\
let x : R, w[1..N] : R, b[1..N] : R
def o[0] = x
def s[i] = w[i]*o[i-1] + b[i] for i in 1..N
def o[i] = sigma(s[i]) for i in 1..N
"""
UNKNOWN = "fun sigma : R -> R\n" + CHAIN


class Explain(Case):
    def explained(self, text, *args):
        r = run("explain", "-", *args, stdin=text)
        self.assertEqual(r.returncode, 0, r.stderr)
        return " ".join(r.stdout.split())  # sentences are filled

    def results(self, text):
        return document("explain", "-", stdin=text)["results"]

    def sections(self, result):
        return [b["text"] for b in result["blocks"] if b["kind"] == "title"]

    def table(self, result, start):
        return next(b["rows"] for b in result["blocks"] if b["kind"] == "table" and b["text"].startswith(start))

    def test_usage(self):
        self.fails(2, "explain")
        self.fails(2, "explain", "--steps", "t.cr", says="not an option of explain")
        self.fails(2, "explain", "--depth", "3", "t.cr", says="not an option of explain")
        self.fails(2, "explain", "--at", "x=1", "t.cr", says="not an option of explain")
        self.fails(2, "explain", "--format", "pdf", "t.cr", says="pdf")
        self.fails(2, "explain", "--format", "numpy", "t.cr", says="one format")
        self.fails(2, "expain", "t.cr", says="did you mean explain?")
        self.fails(3, "explain", self.file("let x : R\n"), says="no `derive` statement")

    def test_no_recurrence(self):
        self.fails(3, "explain", self.file("let x : R\nderive x^2 wrt x\n"), says="no derivative through a recurrence")
        d = document("explain", "-", status=3, stdin="let x : R\nderive x^2 wrt x\n")
        self.assertIn("recurrence", d["error"]["message"])
        # beside a network, statements without one are passed over
        text = UNKNOWN + "derive x^2 wrt x\nderive o[N] wrt w[1]\nderive o[N] wrt w\n"
        self.assertEqual([r["query"] for r in self.results(text)], ["derive o[N] wrt w[1]"])

    def test_unknown_activation(self):
        r = self.results(UNKNOWN + "derive o[N] wrt w[1]\n")[0]
        self.assertEqual(r["activation"], "sigma")
        self.assertEqual((r["slope"]["min"], r["slope"]["max"], r["slope"]["at"]), (0, 0.25, 0))  # of the sigmoid
        self.assertEqual(r["threshold"], 4)
        slopes = self.table(r, "The slopes")
        self.assertEqual(slopes[1], ["sigmoid", "0 and 1/4", "0", "1/4*|w[i]|", "4"])
        self.assertEqual(slopes[3], ["relu", "0 and 1", "z > 0", "|w[i]|", "1"])
        self.assertEqual([d["N"] for d in r["magnitudes"]], [10, 20, 50, 100])
        sizes = [d["log10_gradient"] for d in r["magnitudes"]]
        self.assertEqual(sizes, sorted(sizes, reverse=True))
        for d in r["magnitudes"]:
            self.assertLess(d["log10_gradient"], d["N"] * math.log10(1 / 4) + math.log10(0.5) + 1e-9)
        self.assertEqual(len(r["architectures"]), 7)
        residual = r["architectures"][4]
        self.assertEqual(residual["gradient"]["text"], "o[j-1]*sigma'(s[j])*prod(i=j+1..N, 1 + w[i]*sigma'(s[i]))")

    def test_user_function(self):
        r = self.results("fun f(z) = z/(1 + z^2)\n" + CHAIN.replace("sigma", "f") + "derive o[N] wrt w[1]\n")[0]
        self.assertEqual(r["activation"], "f")
        self.assertAlmostEqual(r["slope"]["min"], -1 / 8, places=12)
        self.assertEqual((r["slope"]["max"], r["slope"]["at"], r["threshold"]), (1, 0, 1))
        self.assertEqual(self.table(r, "The slopes")[1], ["f", "-1/8 and 1", "0", "|w[i]|", "1"])

    def test_slopes(self):
        for f, slope, at in [("relu", "0 and 1", "z > 0"), ("leaky_relu", "0.01 and 1", "z > 0"),
                             ("tanh", "0 and 1", "0"), ("sin", "-1 and 1", "0"), ("exp", "0 and inf", "large z"),
                             ("softplus", "0 and 1", "large z"),
                             ("selu", "0 and 1.758", "0"), ("gelu", "-0.1289 and 1.129", "1.414")]:
            r = self.results(CHAIN.replace("sigma", f) + "derive o[N] wrt w[1]\n")[0]
            self.assertEqual(self.table(r, "The slopes")[1][:3], [f, slope, at])
            if f == "exp":
                self.assertIsNone(r["threshold"])
            else:
                self.assertAlmostEqual(r["threshold"], 1 / max(abs(r["slope"]["min"]), abs(r["slope"]["max"])))

    def test_skip(self):
        text = UNKNOWN + "def s[N] = w[N]*(o[N-1] + o[1]) + b[N]\nderive o[N] wrt w[1]\n"
        r = self.results(text)[0]
        self.assertIn("What the skip connection does", self.sections(r))
        sizes = [d["log10_gradient"] for d in r["magnitudes"]]
        self.assertAlmostEqual(sizes[0], sizes[-1], places=3)  # layer 1 no longer feels the depth
        self.assertLess(r["log10_layers"][1], r["log10_layers"][0] - 3)  # layer 2 does
        for words in ("no second path", "does not cure explosion", "The sum can also cancel"):
            self.assertIn(words, self.explained(text))
        every = UNKNOWN + "def s[N] = w[N]*sum(i=1..N-1, o[i]) + b[N]\nderive o[N] wrt w[1]\n"
        self.assertNotIn("no second path", self.explained(every))
        self.assertIn("Every layer that a skip starts from", self.explained(every))

    def test_two_networks(self):
        text = UNKNOWN + "derive o[N] wrt w[1]\ndef s[N] = w[N]*(o[N-1] + o[1]) + b[N]\nderive o[N] wrt w[1]\n"
        first, second = self.results(text)
        self.assertNotIn("Short paths for every layer", self.sections(first))
        self.assertIn("Short paths for every layer", self.sections(second))
        self.assertEqual(self.explained(text).count("let L be the largest size"), 1)  # then: as above
        self.assertIn("As above.", self.explained(text))

    def test_residual(self):
        r = self.explained(CHAIN.replace("= sigma", "= o[i-1] + tanh") + "derive o[N] wrt w[1]\n")
        self.assertIn("|factor - 1| <=", r)
        self.assertIn("one summand without any factor of a layer, 1", r)

    def test_vectors(self):
        text = ("let W[1..N] : R^{n x n}, x : R^n, a : R^n\ndef h[0] = x\ndef h[i] = FUN(W[i]*h[i-1]) for i in 1..N\n"
                "derive a'*h[N] wrt W[1]\n")
        r = self.results(text.replace("FUN", "tanh"))[0]
        self.assertEqual((r["activation"], r["magnitudes"], r["architectures"]), ("tanh", [], []))
        words = self.explained(text.replace("FUN", "tanh"))
        self.assertIn("The norm of a factor is at most L times", words)
        self.assertIn("The norm of a factor", self.explained("fun g : R -> R\n" + text.replace("FUN", "g")))

    def test_shared_weight(self):
        text = "let u : R, y[1..T] : R\ndef g[0] = 0\ndef g[t] = tanh(u*g[t-1] + y[t]) for t in 1..T\n"
        text += "derive g[T] wrt u\n"
        words = self.explained(text)
        self.assertIn("u acts in every layer, so the gradient is a sum over the layers", words)
        self.assertIn("vanishes if |u| <= c <", words)

    def test_two_lags(self):
        text = ("fun f : R -> R\nlet x : R, w[1..N] : R, v[1..N] : R\ndef o[0] = x\ndef o[1] = f(w[1]*x)\n"
                "def o[i] = f(w[i]*o[i-1] + v[i]*o[i-2]) for i in 2..N\nderive o[N] wrt w[1]\n")
        words = self.explained(text)
        self.assertIn("it falls at least like q^(n/2)", words)
        self.assertNotIn("vanishes if all", words)
        self.assertIsNone(self.results(text)[0]["threshold"])

    def test_recursion_only(self):
        text = ("fun f : R -> R\nlet x : R, w[1..N] : R\ndef q[0] = x\n"
                "def q[i] = f(sum(k=0..i-1, w[k+1]*q[k])) for i in 1..N\nderive q[N] wrt w[1]\n")
        r = self.results(text)[0]
        self.assertEqual(self.sections(r), ["The network", "The gradient"])
        rules = [b["formula"]["text"] for b in r["blocks"] if b["kind"] == "formula"]
        self.assertTrue(any(x.startswith("dq_dw[i] = ") for x in rules), rules)
        self.assertIn("its derivative is a recursion", self.explained(text))

    def test_latex(self):
        r = run("explain", "-", "--format", "latex", stdin=UNKNOWN + "derive o[N] wrt w[1]\n")
        self.assertEqual(r.returncode, 0)
        self.assertIn(r"\subsection*{The gradient}", r.stdout)
        self.assertIn(r"\[ o_{k-1} \, \sigma'(s_{k}) \, \prod_{i=k+1}^{N} w_{i} \, \sigma'(s_{i}) \]", r.stdout)
        self.assertIn(r"\begin{tabular}{rrrrr}", r.stdout)
        self.assertEqual(r.stdout.count("{"), r.stdout.count("}"))
        self.assertNotIn("`", r.stdout)

    def test_json(self):
        d = document("explain", "-", stdin=UNKNOWN + "derive o[N] wrt w[1]\n")
        self.assertEqual((d["schema"], d["command"]), ("chainrule.explain/1", "explain"))
        r = d["results"][0]
        self.assertEqual(set(r), {"query", "activation", "slope", "threshold", "magnitudes", "log10_layers",
                                  "architectures", "blocks"})
        self.assertEqual({b["kind"] for b in r["blocks"]}, {"title", "text", "formula", "table", "plot"})
        self.assertEqual(len(r["log10_layers"]), 10)
        for a in r["architectures"]:
            self.assertEqual(len(a["log10_layers"]), 10)
            self.assertIn("def o[", a["rules"])

    def test_unicode_and_cases(self):
        text = UNKNOWN + "def s[N] = w[N]*(o[N-1] + o[1]) + b[N]\nderive o[N] wrt w[k]\n"
        lines = run("explain", "-", stdin=text).stdout.split("\n")
        at = next(i for i, x in enumerate(lines) if x.lstrip().startswith("if(k == 1"))
        self.assertTrue(lines[at + 1].lstrip().startswith("if(k < N"))
        self.assertIn("\u03c3", run("explain", "-", "--format", "unicode", stdin=text).stdout)


class Usage(Case):
    def test_help_and_version(self):
        self.assertRegex(run("--version").stdout, r"^chainrule \d+\.\d+\.\d+\n$")
        top = run("--help")
        self.assertEqual(top.returncode, 0)
        for command in ("derive", "eval", "check", "explain"):
            self.assertIn(command, top.stdout)
            r = run(command, "--help")
            self.assertEqual(r.returncode, 0)
            for option in ("--json", "--quiet", "--threads", "--seed", "--precision", "--deterministic", "--help"):
                self.assertIn(option, r.stdout)
        self.assertEqual(run().returncode, 2)

    def test_help_lists_only_what_exists(self):
        for command in ("repair", "train"):
            self.assertNotIn("chainrule " + command, run("--help").stdout)
            self.fails(2, command, "x.onnx", says=f"'{command}' is not available in this version")

    def test_suggestions(self):
        self.fails(2, "deriv", says="did you mean derive?")
        self.fails(2, "derive", "--fromat", "text", "t.cr", says="did you mean --format?")
        self.fails(2, "check", "--point", "3", "t.cr", says="did you mean --points?")
        self.fails(2, "derive", "--frobnicate", "t.cr", says="--frobnicate")
        self.fails(2, "eval", "--points", "3", "t.cr", says="not an option of eval")
        self.fails(2, "--frobnicate", says="unknown option")

    def test_values_of_options(self):
        self.fails(2, "derive", "--format", "text,pdf", "t.cr", says="pdf")
        self.fails(2, "explain", "--format", "c", "t.cr", says="one format")
        self.fails(2, "derive", "--form", "round", "t.cr", says="round")
        self.fails(2, "check", "--points", "-3", "t.cr", says="--points")
        self.fails(2, "check", "--points", "many", "t.cr", says="many")
        self.fails(2, "check", "--seed", "18446744073709551616", "t.cr", says="--seed")
        self.fails(2, "derive", "--threads", "0", "t.cr", says="--threads")
        self.fails(2, "eval", "--precision", "f16", "t.cr", says="f16")
        self.fails(2, "derive", "--json", says="--json needs a value")
        self.fails(2, "derive", "--quiet=yes", "t.cr", says="takes no value")

    def test_what_is_missing(self):
        self.fails(2, "derive", says="-e EXPR")
        self.fails(2, "derive", "-e", "x^2", "--let", "x : R", says="--wrt")
        self.fails(2, "check", "-e", "x^2", "--let", "x : R", says="--wrt")
        self.fails(2, "derive", "--wrt", "x", "t.cr", says="--wrt")
        self.fails(2, "derive", "a.cr", "b.cr", says="one file")
        self.fails(2, "derive", "", says="empty")

    def test_usage_error_as_json(self):
        r = run("derive", "--frobnicate", "t.cr", "--json", "-")
        self.assertEqual(r.returncode, 2)
        self.assertIn("--frobnicate", json.loads(r.stdout)["error"]["message"])


class BadInput(Case):
    def test_files(self):
        self.fails(3, "derive", str(self.dir / "none.cr"), says="none.cr")
        self.fails(3, "derive", str(self.dir), says=str(self.dir))
        self.fails(3, "derive", self.file(""), says="empty")
        self.fails(3, "derive", self.file(" \n\t\n"), says="empty")
        self.fails(3, "derive", self.file("let x : R\n"), says="no `derive` statement")
        self.fails(3, "eval", self.file("let x : R\n"), says="neither an `eval` nor a `derive`")
        self.fails(3, "derive", "-", stdin="", says="standard input is empty")
        self.fails(3, "derive", self.file(b"let x : R\n\0derive x wrt x\n"))
        self.fails(3, "derive", self.file(b"let x : R \xff\nderive x wrt x\n"))

    def test_place_of_the_error(self):
        path = self.file("let x : R^4, W : R^{5 x 3}\nderive W*x wrt x\n")
        r = self.fails(3, "derive", path, says=["t.cr:2:", "^"])
        self.assertEqual(r.stdout, "")
        d = document("derive", path, status=3)
        self.assertEqual(d["schema"], "chainrule.derive/1")
        self.assertEqual(d["error"]["line"], 2)
        self.assertGreaterEqual(d["error"]["column"], 8)
        self.assertNotIn("results", d)

    def test_unknown_names(self):
        self.fails(3, "derive", "-e", "y*2", "--let", "x : R", "--wrt", "x", says="y")
        self.fails(3, "eval", "-e", "x", "--let", "x : R", "--at", "z = 1", says="z")
        self.fails(3, "eval", "-e", "x", "--let", "x : R", "--at", "x = ", says="values:1:")

    def test_no_depth(self):
        self.fails(3, "derive", self.file(SHEET), "--depth", "3", says="no recurrence")

    def test_json_cannot_be_written(self):
        out = str(self.dir / "no" / "where.json")
        r = self.fails(3, "derive", self.file(SHEET), "--json", out, says="cannot write")
        self.assertIn("W", r.stdout)


class Derive(Case):
    def test_document(self):
        d = document("derive", self.file(SHEET), "--steps")
        self.assertEqual(d["schema"], "chainrule.derive/1")
        self.assertEqual(d["command"], "derive")
        self.assertRegex(d["version"], r"^\d+\.\d+\.\d+$")
        self.assertTrue(d["inputs"]["file"].endswith("t.cr"))
        self.assertEqual([r["query"] for r in d["results"]], SHEET.strip().split("\n")[4:])
        keys = {"query", "text", "unicode", "latex", "numpy", "c", "shape", "free_indices", "assumes", "defined",
                "steps"}
        for r in d["results"]:
            self.assertEqual(set(r), keys)
            for key in ("text", "unicode", "latex", "numpy", "c"):
                self.assertTrue(r[key], key)
            self.assertIn("def derivative(", r["numpy"])
            self.assertRegex(r["c"], r"(?m)^int derive\d+\(")
            for c in r["defined"]:
                self.assertEqual(set(c), {"text", "latex", "kind", "about"})
                self.assertIn(c["kind"], ("exact", "sufficient"))
            for s in r["steps"]:
                self.assertEqual(set(s), {"rule", "text", "unicode", "latex"})
            self.assertTrue(r["steps"])

    def test_sheet(self):
        a, b, c, d, e, f, g = document("derive", self.file(SHEET))["results"]
        self.assertEqual(a["text"], "W[1,j]")
        self.assertEqual(a["free_indices"], [{"name": "j", "from": 1, "to": "n"}])
        self.assertEqual(a["shape"], [])
        for r in (a, b, c, e):
            self.assertEqual(r["defined"], [], r["query"])
        for r in (d, f):
            self.assertTrue(r["defined"], r["query"])
            self.assertIn("exact", {c["kind"] for c in r["defined"]})
        self.assertIn("sigmoid", e["text"])
        self.assertEqual(g["shape"], ["m", "n"])
        self.assertNotIn("steps", a)

    def test_shapes_are_numbers_or_text(self):
        d = document("derive", "-e", "x", "--let", "x : R^{2*n+1}", "--wrt", "x")["results"][0]
        self.assertEqual(d["shape"], ["2*n+1", "2*n+1"])
        d = document("derive", "-e", "x", "--let", "x : R^3", "--wrt", "x")["results"][0]
        self.assertEqual(d["shape"], [3, 3])

    def test_assumptions(self):
        d = document("derive", "-e", "x[5]^2", "--let", "x : R^n", "--wrt", "x")["results"][0]
        self.assertEqual(d["assumes"], ["n >= 5"])
        text = "fun s : R -> R\nlet x : R\nderive s(x) wrt x\nderive s(x) wrt x, x\n"
        d = document("derive", "-", stdin=text)["results"]
        self.assertEqual(d[0]["assumes"], ["s is differentiable"])
        self.assertEqual(d[1]["assumes"], ["s is twice differentiable"])

    def test_text_parses_back(self):
        for r in document("derive", self.file(SHEET))["results"]:
            lets = LET + "".join(f", {i['name']} : Z" for i in r["free_indices"])
            again = run("derive", "-e", r["text"], "--let", lets, "--wrt", "b")
            self.assertEqual(again.returncode, 0, (r["text"], again.stderr))

    def test_formats(self):
        args = ["derive", "-e", "a'*exp(W*x)", "--let", LET, "--wrt", "x"]
        text = run(*args)
        self.assertTrue(text.stdout.isascii() and text.stdout.startswith("derive "), text.stdout)
        self.assertTrue(run(*args, "--format", "latex").stdout.startswith("% derive"))
        source = run(*args, "--format", "numpy").stdout
        compile(source, "numpy", "exec")
        self.assertTrue(run(*args, "--format", "c").stdout.startswith("/* derive"))
        both = run(*args, "--format", "text,unicode,latex,numpy,c").stdout
        for name in ("text", "unicode", "latex", "numpy", "c"):
            self.assertIn(name, both)
        bare = run(*args, "--quiet").stdout
        self.assertEqual(bare.count("\n"), 1)
        self.assertIn(bare.strip(), text.stdout)

    def test_no_escape_codes_in_a_pipe(self):
        self.assertNotIn("\033", run("derive", self.file(SHEET), env={"TERM": "xterm"}).stdout)

    def test_expression_in_the_scope_of_a_file(self):
        d = document("derive", self.file(SHEET), "-e", "f[2]", "--wrt", "x[j]")
        self.assertEqual([r["text"] for r in d["results"]], ["W[2,j]"])

    def test_standard_input(self):
        self.assertEqual(document("derive", "-", stdin=SHEET)["results"][0]["text"], "W[1,j]")

    def test_gradient_form(self):
        args = ["derive", "-e", "tr(A*A)", "--let", "A : R^{n x n} symmetric", "--wrt", "A"]
        a = document(*args)["results"][0]["text"]
        b = document(*args, "--form", "gradient")["results"][0]["text"]
        self.assertNotEqual(a, b)

    def test_json_to_a_file(self):
        out = self.dir / "out.json"
        r = run("derive", self.file(SHEET), "--json", str(out))
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn("W[1,j]", r.stdout)
        self.assertEqual(len(json.loads(out.read_text())["results"]), 7)
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()), ["out.json", "t.cr"])

    def test_options_of_every_command(self):
        common = ["--threads", "2", "--seed=7", "--precision", "f64", "--deterministic", "--quiet"]
        r = run("derive", self.file(SHEET), *common)
        self.assertEqual(r.returncode, 0, r.stderr)


class Eval(Case):
    def value(self, expr, let, at, **kw):
        return document("eval", "-e", expr, "--let", let, "--at", at, **kw)["results"][0]

    def test_values(self):
        d = document("eval", "-e", "x'*x", "--let", "x : R^n", "--at", "x = [1,2,3]")
        self.assertEqual(d["schema"], "chainrule.eval/1")
        self.assertEqual(d["inputs"]["at"], ["x = [1,2,3]"])
        r = d["results"][0]
        self.assertEqual((r["value"], r["sign"], r["shape"]), (14, 1, []))
        self.assertAlmostEqual(r["log10_abs"], math.log10(14), 12)
        r = self.value("A*x", "x : R^n, A : R^{m x n}", "x = [1,-1]; A = [1,2;3,3;5,4]")
        self.assertEqual((r["value"], r["sign"], r["shape"]), ([-1, 0, 1], [-1, 0, 1], [3]))
        self.assertEqual(r["log10_abs"], [0, None, 0])
        r = self.value("A'", "A : R^{m x n}", "A = [1,2;3,4]")
        self.assertEqual(r["value"], [[1, 3], [2, 4]])

    def test_not_finite(self):
        r = self.value("1/x", "x : R", "x = 0")
        self.assertEqual((r["value"], r["nonfinite"]), (None, "inf"))
        r = self.value("log(x)", "x : R^n", "x = [1,0,-1]")
        self.assertEqual(r["value"], [0, None, None])
        self.assertEqual(r["nonfinite"], [None, "-inf", "nan"])

    def test_boolean(self):
        self.assertIs(self.value("x > 1", "x : R", "x = 2")["value"], True)

    def test_missing_values_are_all_named(self):
        self.fails(3, "eval", "-e", "W*x + b", "--let", LET, "--at", "b = [1,2]",
                   says=["W in R^{m x n}", "x in R^n", "--at"])
        self.fails(3, "eval", "-e", "x + N*k", "--let", "x : R, k : Z, N : Z", "--at", "x = 1", says=["N", "k"])
        self.fails(3, "eval", "-", stdin="fun s : R -> R\neval s(1)\n", says="s is an unknown function")

    def test_sizes_disagree(self):
        self.fails(3, "eval", "-e", "W*x", "--let", LET, "--at", "x = [1,2,3]; W = [1,2;3,4]",
                   says=["W", "x", "3", "2"])

    def test_attributes_are_kept(self):
        for expr, let, at, word in [("det(A)", "A : R^{n x n} symmetric", "A = [1,2;3,4]", "symmetric"),
                                    ("det(A)", "A : R^{n x n} definite", "A = [1,2;2,1]", "definite"),
                                    ("det(A)", "A : R^{n x n} diagonal", "A = [1,2;0,1]", "diagonal"),
                                    ("det(A)", "A : R^{n x n} invertible", "A = [1,2;2,4]", "invertible"),
                                    ("sum(x)", "x : R^n positive", "x = [1,0]", "positive")]:
            self.fails(3, "eval", "-e", expr, "--let", let, "--at", at, says=word)

    def test_values_in_the_file_and_set(self):
        path = self.file("let n = 3\nlet x : R^n\nlet k : Z\neval k*sum(x)\n")
        args = ["eval", path, "--at", "x = [1,2,3]", "--set", "k=5"]
        self.assertEqual(document(*args)["results"][0]["value"], 30)
        self.fails(3, "eval", path, "--at", "x = [1,2]", "--set", "k=5", says="n = 3")

    def test_derivatives_where_there_is_no_eval(self):
        d = document("eval", self.file("let x : R\nderive x^3 wrt x\nderive x^2 wrt x\n"), "--at", "x = 2")
        self.assertEqual([r["value"] for r in d["results"]], [12, 4])
        d = document("eval", self.file("let x : R\nderive x^3 wrt x\neval x^2\n"), "--at", "x = 3")
        self.assertEqual([r["value"] for r in d["results"]], [9])
        d = document("eval", "-e", "x^3", "--let", "x : R", "--wrt", "x", "--at", "x = 2")
        self.assertEqual(d["results"][0]["value"], 12)

    def test_free_index(self):
        self.assertEqual(self.value("x[j]", "x : R^n", "x = [7,8]; j = 2")["value"], 8)
        self.fails(3, "eval", "-e", "x[j]", "--let", "x : R^n", "--at", "x = [7,8]", says="j in 1..n")

    def test_npz(self):
        path = str(self.dir / "v.npz")
        npz(path, {"x": ((2,), [1, 2]), "W": ((3, 2), [1, 2, 3, 4, 5, 6]), "other": ((1,), [0])})
        r = self.value("W*x", "x : R^n, W : R^{m x n}", path)
        self.assertEqual(r["value"], [5, 11, 17])
        self.fails(3, "eval", "-e", "x", "--let", "x : R^n", "--at", str(self.dir / "none.npz"), says="none.npz")

    def test_through_a_plan(self):
        args = ["eval", "-e", "sum(tanh(W*x + b))", "--let", LET, "--wrt", "W", "--at",
                "W = [1,2;3,4;5,6]; x = [1,-1]; b = [0,0,1]"]
        reference = document(*args)
        self.assertEqual([reference[k] for k in ("engine", "precision", "threads")], ["interpreter", "f64", 1])
        for more, precision, digits in [(["--threads", "1"], "f64", 14), (["--deterministic"], "f64", 14),
                                        (["--precision", "f64"], "f64", 14), (["--precision=f32"], "f32", 6)]:
            d = document(*args, *more)
            self.assertEqual((d["engine"], d["precision"]), ("plan", precision))
            self.assertEqual(d["deterministic"], "--deterministic" in more)
            self.assertGreaterEqual(d["threads"], 1)
            r, want = d["results"][0], reference["results"][0]
            self.assertEqual((r["query"], r["shape"], r["sign"]), (want["query"], [3, 2], want["sign"]))
            for got, row in zip(r["value"], want["value"]):
                for a, b in zip(got, row):
                    self.assertAlmostEqual(a, b, digits)
        self.assertEqual(document(*args, "--threads", "2")["threads"], 2)
        self.assertEqual(run("eval", "-e", "x/3", "--let", "x : R", "--at", "x = 1", "--quiet", "--precision",
                             "f32").stdout, "0.33333334\n")
        self.assertEqual(run("eval", "-e", "x > 1", "--let", "x : R", "--at", "x = 2", "--quiet", "--threads",
                             "1").stdout, "true\n")
        self.assertEqual(run("eval", "-e", "exp(x)", "--let", "x : R", "--at", "x = 100", "--quiet", "--precision",
                             "f32").stdout, "inf\n")

    def test_window_that_moves_with_an_index(self):
        text = "sum(i=1..n-1, sum(slice(x, [i], size=[2]))^2)"
        args = ["eval", "-e", text, "--let", "x : R^n", "--at", "x=[1,2,3,4]"]
        self.assertIn(" 83\n", run(*args).stdout)
        self.fails(3, *args, "--threads", "1", says=["a plan takes no window", "index of a sum"])

    def test_a_plan_has_the_same_messages(self):
        for args in [["-e", "W*x + b", "--let", LET, "--at", "b = [1,2]"],
                     ["-e", "W*x", "--let", LET, "--at", "x = [1,2,3]; W = [1,2;3,4]"],
                     ["-e", "s(x)", "--let", "x : R", "--at", "x = 1"],
                     ["-e", "det(A)", "--let", "A : R^{n x n} symmetric", "--at", "A = [1,2;3,4]"],
                     ["-e", "x[j]", "--let", "x : R^n", "--at", "x = [7,8]"],
                     ["-e", "x[j]", "--let", "x : R^n", "--at", "x = [7,8]; j = 3"],
                     ["-e", "A*A", "--let", "A : R^{n x n}", "--at", "A = [1,2,3]"],
                     ["-e", "gather(x, [2, 9, 2])", "--let", "x : R^3", "--at", "x = [1,2,3]"],
                     ["-e", "ones(n, n, n)", "--at", "n = 1000000"]]:
            one = self.fails(3, "eval", *args)
            two = self.fails(3, "eval", *args, "--precision", "f32")
            self.assertEqual(one.stderr, two.stderr)

    def test_plan_as_text(self):
        path = self.file("let W : R^{m x n}, x : R^n\nderive sum(tanh(W*x)) wrt W\neval sum(x)\neval W*x\n")
        r = run("eval", path, "--plan", "--set", "m=30; n=20", "--threads", "1", "--quiet")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertEqual(r.stdout.count("f64, 1 thread: "), 2)
        self.assertIn("inputs   x: 20\noutputs  out[0]: one number\n  1  fused    over 20\n", r.stdout)
        d = document("eval", path, "--plan", "--set", "m=30; n=20", "--precision", "f32")
        plan = d["results"][1]["plan"]
        self.assertEqual((d["precision"], plan["steps"] > 0, plan["bytes"] > 0), ("f32", True, True))
        self.assertIn("W: 30 x 20", plan["text"])
        self.fails(3, "eval", path, "--plan", "--set", "m=30", says=["no value for n (an integer)", "--at"])
        self.fails(3, "eval", "-e", "x*x'", "--let", "x : R^n", "--plan", "--set", "n=1000000",
                   says=["n x n", "1e+12 entries", "8e+12 bytes"])
        if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE") < 33e9:  # two matrices of 17e9 bytes
            self.fails(3, "eval", "-e", "sin(x*y')*cos(y*x')", "--let", "x : R^n, y : R^n", "--plan", "--set",
                       "n=46000", says=["bytes", "2116000000 entries", "this machine has"])
        self.fails(2, "derive", path, "--plan", says="not an option of derive")
        self.fails(2, "check", path, "--precision", "f32", says="check works in f64")

    def test_human(self):
        self.assertEqual(run("eval", "-e", "0.1 + 0.2", "--quiet").stdout, "0.30000000000000004\n")


class Check(Case):
    def one(self, expr, let, wrt, *args, status=0):
        return document("check", "-e", expr, "--let", let, "--wrt", wrt, *args, status=status)["results"][0]

    def test_random_points(self):
        d = document("check", self.file(SHEET + "check g wrt a\n"), "--seed", "3", "--points", "4")
        self.assertEqual(d["schema"], "chainrule.check/1")
        self.assertEqual(len(d["results"]), 8)
        for r in d["results"]:
            self.assertIs(r["formula_agrees"], True, r)
            self.assertIs(r["given"], False)
            self.assertEqual(r["points"], 4)
            self.assertGreater(r["entries"], 0)
            for key in ("value", "sign", "log10_abs", "numeric", "worst", "exists", "one_sided", "method", "on_kink",
                        "near_kink"):
                self.assertIn(key, r)
        self.assertRegex(d["results"][6]["worst"], r"^W\[\d,\d\]$")

    def test_seed_repeats(self):
        args = ["check", self.file(SHEET), "--json", "-"]
        self.assertEqual(run(*args, "--seed", "5").stdout, run(*args, "--seed", "5").stdout)
        self.assertNotEqual(run(*args, "--seed", "5").stdout, run(*args, "--seed", "6").stdout)

    def test_many_functions(self):
        sym = "A : R^{n x n} symmetric, X : R^{n x n} invertible, P : R^{n x n} definite, D : R^{n x n} diagonal, "
        sym += "x : R^n, y : R^n positive, p : R^n"
        for expr, wrt in [("exp(x)'*y", "x"), ("tr(A*A*A)", "A"), ("x'*A*x", "A"), ("log(det(P))", "P"),
                          ("logdet(P)", "P"), ("x'*inv(X)*x", "X"), ("tr(D*X)", "D"), ("norm2(x)", "x"),
                          ("sum(log(y))", "y"), ("softmax(x)", "x"), ("abs(x)'*y", "x"), ("max(x)", "x"),
                          ("x'*A*x", "x, x"), ("sum(x.^3)", "x, x"), ("sum(sqrt(y))", "y"), ("relu(X*x)", "X"),
                          ("x[k]^2", "x"), ("x[i]*p[i]", "x[j]"), ("A[i,j]", "A[k,l]"), ("norm1(x)", "x"),
                          ("pinv(X)", "X"), ("sum(softmax(x))", "x"), ("det(X)", "X, X"), ("x'*P*x", "P")]:
            r = self.one(expr, sym, wrt)
            self.assertIs(r["formula_agrees"], True, (expr, wrt, r))

    def test_gradient_form(self):
        r = self.one("tr(A*A*A)", "A : R^{n x n} symmetric", "A", "--form", "gradient")
        self.assertIs(r["formula_agrees"], True)

    def test_unknown_function(self):
        text = "fun s : R -> R\nlet x : R^n\nderive sum(s(x)) wrt x\nderive sum(s(x)) wrt x, x\n"
        d = document("check", "-", stdin=text)
        self.assertTrue(all(r["formula_agrees"] for r in d["results"]))

    def test_small_domains(self):
        for expr in ("log(x - 0.5)", "sqrt(1 - x^2)", "asin(x)", "log(log(x))"):
            self.assertIs(self.one(expr, "x : R", "x")["formula_agrees"], True, expr)
        self.fails(3, "check", "-e", "sqrt(-1 - x^2)", "--let", "x : R", "--wrt", "x", says="--at")

    def test_indices_in_range(self):
        self.assertIs(self.one("x[7]^2", "x : R^n", "x")["formula_agrees"], True)
        self.assertIs(self.one("x[k+2]^2", "x : R^n, k : Z", "x")["formula_agrees"], True)
        let = ["--let", "x : R^n", "--wrt", "x", "--at"]
        self.fails(3, "check", "-e", "x[j]", *let, "x = [1,2]; j = 5", says="j = 5 is not in 1..2")
        self.fails(3, "check", "-e", "x[7]", *let, "n = 3", says="index 7 is not in 1..3")
        self.fails(3, "check", "-e", "x", *let, "n = 0", says="n = 0 is not positive")

    # the three verdicts

    def test_exists_and_agrees(self):
        r = self.one("relu(x)^2", "x : R", "x", "--at", "x = 0")
        self.assertEqual((r["exists"], r["formula_agrees"], r["given"]), (True, True, True))
        self.assertEqual(r["one_sided"], {"left": 0, "right": 0})
        self.assertGreater(r["on_kink"], 0)

    def test_exists_but_formula_differs(self):
        r = self.one("relu(x) - relu(-x)", "x : R", "x", "--at", "x = 0", status=1)
        self.assertEqual((r["exists"], r["formula_agrees"], r["value"], r["numeric"]), (True, False, 0, 1))
        out = run("check", "-e", "relu(x) - relu(-x)", "--let", "x : R", "--wrt", "x", "--at", "x = 0")
        self.assertIn("exists with value 1 while the formula gives 0", out.stdout)
        self.assertEqual(out.returncode, 1)

    def test_does_not_exist(self):
        r = self.one("relu(W*x + b)[1]", LET, "x[j]", "--at", "x = [1,1]; W = [1,-1;2,3]; b = [0,5]; j = 1", status=1)
        self.assertEqual((r["exists"], r["formula_agrees"]), (False, False))
        self.assertEqual(r["one_sided"], {"left": 0, "right": 1})
        self.assertEqual(r["worst"], "x[1]")
        r = self.one("relu(W*x + b)[1]", LET, "x[j]", "--at", "x = [1,1]; W = [0,0;2,3]; b = [0,5]; j = 1")
        self.assertEqual((r["exists"], r["formula_agrees"]), (True, True))

    def test_every_free_index_at_a_point(self):
        r = self.one("abs(x[j])", "x : R^n", "x[j]", "--at", "x = [1,0,-2]", status=1)
        self.assertEqual([c["exists"] for c in r["cases"]], [True, False, True])
        self.assertEqual([c["indices"] for c in r["cases"]], [{"j": 1}, {"j": 2}, {"j": 3}])
        self.assertEqual([f["component"] for f in r["findings"]], ["x[2]"])

    def test_vector_at_a_point(self):
        r = self.one("abs(x)", "x : R^n", "x", "--at", "x = [1,0,-2]", status=1)
        self.assertEqual(r["findings"][0]["component"], "abs(x)[2] / x[2]")
        self.assertEqual(r["one_sided"]["left"][1], [0, -1, 0])
        self.assertEqual(r["one_sided"]["right"][1], [0, 1, 0])

    def test_symmetric_at_a_point(self):
        r = self.one("tr(A*A)", "A : R^{n x n} symmetric", "A", "--at", "A = [1,2;2,3]")
        self.assertEqual(r["value"], [[2, 8], [8, 6]])


class Speed(Case):
    def test_starts_fast(self):
        path, best = self.file(SHEET), math.inf
        for _ in range(5):
            t = time.perf_counter()
            run("derive", path)
            best = min(best, time.perf_counter() - t)
        print(f"the sheet, start to end: {best * 1e3:.1f} ms", file=sys.stderr)  # reported, never asserted by the clock


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        PROGRAM = sys.argv.pop(1)
    PROGRAM = os.path.abspath(PROGRAM)
    unittest.main(verbosity=1)
