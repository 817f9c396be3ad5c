"""Recurrences at the command line: --depth, values beyond the range of a double, checks against the network written
out, members by name. Standard library only.

    python3 tests/test_depth_cli.py build/chainrule [unittest arguments]
"""
import math
import sys
import unittest

import test_cli
from test_cli import Case, document, npz, run

CHAIN = """\
let x : R, w[1..N] : R, b[1..N] : R
def o[0] = x
def s[i] = w[i]*o[i-1] + b[i] for i in 1..N
def o[i] = sigmoid(s[i]) for i in 1..N
"""
SKIP = """\
let x : R, w[1..N] : R, b[1..N] : R
fun sigma : R -> R
def o[0] = x
def s[i] = w[i]*o[i-1] + b[i] for i in 1..N
def o[i] = sigma(s[i]) for i in 1..N
def s[N] = w[N]*(o[N-1] + o[1]) + b[N]
derive o[N] wrt w[1]
"""


def chain_log10(n, x, w, b):
    """log10 of d o_n / d w_1 of the sigmoid chain, from sums of logarithms."""
    total, o = math.log10(abs(x)), x
    for i in range(n):
        z = w[i] * o + b[i]
        o = 1 / (1 + math.exp(-z))
        total += math.log10(o * (1 - o)) + (math.log10(abs(w[i])) if i else 0)
    return total


class Depth(Case):
    def test_products_are_written_out(self):
        text = document("derive", self.file(SKIP), "--depth", "3")["results"][0]["text"]
        self.assertEqual(text, "x*sigma'(s[1])*(1 + w[2]*sigma'(s[2]))*w[3]*sigma'(s[3])")

    def test_long_products_stay_products(self):
        text = document("derive", self.file(SKIP), "--depth", "40")["results"][0]["text"]
        self.assertIn("prod(i=2..39, w[i]*sigma'(s[i]))", text)

    def test_what_the_network_needs(self):
        self.fails(3, "derive", self.file(SKIP), "--depth", "1", says=["needs N >= 2", "N = 1"])
        r = document("derive", self.file(SKIP))["results"][0]
        self.assertIn("N >= 2", r["assumes"])

    def test_no_depth_and_several(self):
        self.fails(3, "derive", self.file("let x : R\nderive x^2 wrt x\n"), "--depth", "3", says="no recurrence")
        two = SKIP + "def h[0] = x\ndef h[t] = sigma(h[t-1]) for t in 1..T\nderive h[T] wrt x\n"
        self.fails(3, "derive", self.file(two), "--depth", "3", says=["several", "--set"])

    def test_eval_and_check(self):
        f = self.file(CHAIN + "derive o[N] wrt w[2]\n")
        self.fails(3, "eval", f, "--depth", "2", "--at", "x = 1; w = [1,2,3]; b = [0,0,0]", says="N = 2")
        r = document("check", f, "--depth", "50")["results"][0]
        self.assertTrue(r["formula_agrees"])
        self.assertEqual(r["at"]["N"], 50)
        self.assertTrue(r["unrolled"]["agrees"])
        self.assertEqual(r["unrolled"]["points"], 5)


class BeyondDoubles(Case):
    def test_five_thousand_layers(self):
        n = 5000
        values = self.dir / "v.npz"
        npz(values, {"x": ((), [0.5]), "w": ((n,), [1.0] * n), "b": ((n,), [0.0] * n)})
        f = self.file(CHAIN + "derive o[N] wrt w[1]\n")
        r = document("eval", f, "--at", str(values))["results"][0]
        self.assertIsNone(r["value"])
        self.assertEqual(r["sign"], 1)
        self.assertAlmostEqual(r["log10_abs"], chain_log10(n, 0.5, [1.0] * n, [0.0] * n), places=6)
        self.assertTrue(-3243 < r["log10_abs"] < -3242)
        self.assertRegex(run("eval", f, "--at", str(values)).stdout, r"6\.056\d+e-3243")

    def test_signs_and_large_values(self):
        f = self.file("let x : R, w[1..N] : R\ndef o[0] = x\ndef o[i] = w[i]*o[i-1] for i in 1..N\nderive o[N] wrt x\n")
        for factor, sign in ((-1e9, -1), (1e-9, 1)):
            values = self.dir / "v.npz"
            npz(values, {"x": ((), [1.0]), "w": ((101,), [factor] * 101)})
            r = document("eval", f, "--at", str(values))["results"][0]
            self.assertIsNone(r["value"])
            self.assertEqual(r["sign"], sign)
            self.assertAlmostEqual(r["log10_abs"], 101 * math.log10(abs(factor)), places=6)

    def test_a_true_zero_stays_zero(self):
        f = self.file(CHAIN + "derive o[N] wrt w[1]\n")
        r = document("eval", f, "--at", "x = 0; w = [1,1]; b = [0,0]")["results"][0]
        self.assertEqual((r["value"], r["sign"], r["log10_abs"]), (0, 0, None))

    def test_functions(self):
        for text, log10 in (("exp(-1000)", -1000 / math.log(10)), ("exp(2000)", 2000 / math.log(10)),
                            ("exp(-1000)^3", -3000 / math.log(10)), ("sqrt(exp(-2000))", -1000 / math.log(10)),
                            ("cosh(900)", 900 / math.log(10) - math.log10(2)), ("sigmoid'(1000)", -1000 / math.log(10)),
                            ("tanh'(600)", -1200 / math.log(10) + math.log10(4)), ("2^5000", 5000 * math.log10(2))):
            r = document("eval", "-e", text)["results"][0]
            self.assertAlmostEqual(r["log10_abs"], log10, places=8, msg=text)
        r = document("eval", "-e", "log(exp(-1000)*exp(-1000)/exp(-1999))")["results"][0]
        self.assertAlmostEqual(r["value"], -1)


class Members(Case):
    MATRICES = """\
let x : R^d, W[0..N] : R^{d x d}
def o[0] = tanh(W[0]*x)
def o[i] = tanh(W[i]*o[i-1]) for i in 1..N
"""

    def test_names_of_entries(self):
        f = self.file(self.MATRICES + "derive sum(o[N]) wrt W[k]\nderive sum(o[N]) wrt W\n")
        for r in document("check", f)["results"]:
            self.assertTrue(r["formula_agrees"])
            self.assertRegex(r["worst"], r"^W\[\d\]\[\d,\d\]$")
            self.assertTrue(r["unrolled"]["agrees"])

    def test_a_choice_of_vectors_leaves_members_out(self):
        f = self.file("let x : R^d, v : R, W[1..N] : R^{d x d}\ndef o[0] = x\n"
                      "def o[i] = tanh(W[i]*o[i-1] + if(i >= 3, v*o[i-3], zeros(d))) for i in 1..N\n"
                      "derive sum(o[N]) wrt v\nderive sum(o[N]) wrt x\n")
        for r in document("check", f)["results"]:
            self.assertTrue(r["formula_agrees"])
            self.assertTrue(r["unrolled"]["agrees"])

    def test_shapes(self):
        f = self.file(self.MATRICES + "derive sum(o[N]) wrt W[k]\nderive sum(o[N]) wrt W\nderive o[N] wrt W[0][1,2]\n")
        self.assertEqual([r["shape"] for r in document("derive", f)["results"]],
                         [["d", "d"], ["N+1", "d", "d"], ["d"]])


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        test_cli.PROGRAM = sys.argv.pop(1)
    unittest.main()
