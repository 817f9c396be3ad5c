"""What chainrule prints as LaTeX is LaTeX: results, conditions and derivations of every operator, the worked
solutions of the sheet and an explanation go through a real one. Skipped (exit status 77) where there is none.

    python3 tests/test_latex.py build/chainrule
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

PROGRAM = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CHAINRULE", "build/chainrule"))
SOURCE = pathlib.Path(os.environ.get("CHAINRULE_SOURCE", pathlib.Path(__file__).resolve().parent.parent))
SHEETS = ["task1.cr", "task2.cr"]

SCOPE = """
let x : R^n, y : R^n, A : R^{n x n}, X : R^{n x n}, S : R^{n x n} definite, D : R^{n x n} diagonal, W : R^{m x n}
let b : R^m, t : R, s : R, T : R^{n x n x m}, p : R^n probability, alpha : R, lambda_1 : R positive, w_in : R^n
let k : Z
fun sigma : R -> R
fun swish(z) = z*sigmoid(z)
fun my_fun : R -> R
"""
ELEMENTWISE = """exp log sqrt abs sign step relu leaky_relu elu selu gelu silu softplus sigmoid sin cos tan sinh cosh
tanh asin acos atan erf swish sigma my_fun""".split()
STATEMENTS = [f"{f}(W*x + b)[i] wrt x[j]" for f in ELEMENTWISE] + [f"{f}(t)^2 wrt t, t" for f in ELEMENTWISE] + """
x'*A*x wrt x
sum(x .* y ./ (1 + x.^2)) wrt x
(W*x)'*b wrt W
x.^y wrt x
x.^y wrt y
2^t*t^k wrt t
t^n/s wrt t
max(x, y) wrt x
min(x[1], t, s) wrt t
mod(t, s) wrt t
if(t > s, t^2, s) wrt t
if(t > 0 and not (s <= 0 or t == s), t, s) wrt t
max(x) wrt x
min(x) wrt x[j]
prod(x) wrt x
norm1(x) wrt x
norm2(x) wrt x
norm2(W*x - b) wrt x, x
norm_inf(x) wrt x[j]
norm2(X) wrt X[i,j]
softmax(x) wrt x
logsoftmax(x)[i] wrt x[j]
-p'*log(softmax(x)) wrt x
det(X) wrt X
logdet(X) wrt X
logdet(S) wrt S
inv(X) wrt X[i,j]
x'*inv(X)*y wrt X
sum(pinv(W)) wrt W
sum(adj(X)) wrt X
tr(X^3) wrt X
x'*X^k*y wrt X
tr(D*A) wrt D
sum(kron(A, X)) wrt X
vec(W)'*vec(W) wrt W
sum(reshape(W, n, m)) wrt W
x*x' wrt x
[i=1..n, j=1..m : x[i]^j*b[j]] wrt x[k]
sum(i=1..n, j=i..n, x[i]*A[i,j]*x[j]) wrt x[k]
prod(i=1..n, 1 + x[i]) wrt x
sum(T) wrt T
[i=1..n, j=1..n : sum(r=1..m, T[i,j,r]*b[r])] wrt b
[t, s; s^2, t*s] wrt t
sum(x)*prod(x) wrt x
lambda_1*w_in'*x + alpha*delta(k,1)*x[k] wrt x[k]
sigma''(t)*sigma'''(s) wrt t
tr((A - X*X')*(A - X*X')') wrt X, X
mean(x)*iota(n)'*x + e(2,n)'*x wrt x
(x[1]*1e-30 + 1.5e30)/pi wrt x
""".strip().splitlines()


def derived(statement):
    """Its LaTeX: the result, the conditions, the steps. Nothing for what has no derivative."""
    args = [PROGRAM, "derive", "-", "--steps", "--json", "-"]
    done = subprocess.run(args, input=f"{SCOPE}derive {statement}\n", capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        sys.exit(f"{statement}: exit status {done.returncode}\n{done.stderr}")
    if done.returncode == 3:
        print(f"not derived: {statement}\n{done.stderr}", end="")
        return []
    r = json.loads(done.stdout)["results"][0]
    return [r["latex"]] + [c["latex"] for c in r["defined"]] + [s["latex"] for s in r["steps"]]


def typeset(name, text, directory):
    (directory / f"{name}.tex").write_text(text, encoding="utf-8")
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"], cwd=directory,
                          stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode == 0:
        return True
    log = done.stdout.decode("utf-8", "replace").splitlines()
    first = next((i for i, line in enumerate(log) if line.startswith("!")), 0)
    print("\n".join(log[first:first + 12]))
    return False


def main():
    if not shutil.which("pdflatex"):
        print("skipped: there is no pdflatex")
        return 77
    formulas, failed, empty = [], 0, 0
    for statement in STATEMENTS:
        found = derived(statement)
        empty += not found
        formulas += [(statement, f) for f in found]
    with tempfile.TemporaryDirectory() as d:
        d = pathlib.Path(d)
        page = "\n".join(rf"% {s}" "\n" rf"\[ {f} \]" for s, f in formulas)
        begin = "\\documentclass{article}\n\\usepackage{amsmath,amssymb}\n\\begin{document}\n"
        if not typeset("all", f"{begin}{page}\n\\end{{document}}\n", d):
            for s, f in formulas:  # the first few that do not
                if failed == 5:
                    break
                if not typeset("one", f"{begin}\\[ {f} \\]\n\\end{{document}}\n", d):
                    failed += 1
                    print(f"{s}: not LaTeX:\n    {f}")
        for name in SHEETS:
            sheet = SOURCE / "examples" / "sheet-11" / name
            subprocess.run([sys.executable, SOURCE / "tools" / "worksheet.py", sheet, sheet.with_suffix(".tex.in"),
                            d / "sheet.tex"],
                           check=True, env={**os.environ, "CHAINRULE": PROGRAM})
            failed += not typeset("sheet", (d / "sheet.tex").read_text(encoding="utf-8"), d)
        done = subprocess.run([PROGRAM, "explain", "--format", "latex", sheet], stdout=subprocess.PIPE, text=True,
                              check=True)
        failed += not typeset("explain", f"{begin}{done.stdout}\n\\end{{document}}\n", d)
    print(f"{len(formulas)} formulas")
    extra = len(SHEETS) + 1  # the sheets, and an explanation
    print(f"{len(STATEMENTS) + extra - failed - empty} passed, {failed + empty} failed")
    return 1 if failed or empty else 0


if __name__ == "__main__":
    sys.exit(main())
