#!/usr/bin/python3
"""Conditions against the facts: at points on and off kinks, whenever all conditions of a derivative hold, the
derivative exists and the formula gives it; and where an exact condition fails, it does not.

The facts come from `check` at the point, which decides by truncated power series along rays and knows nothing of the
conditions. Points are small integers, so that kinks are hit all the time."""

import itertools
import json
import os
import random
import subprocess
import sys

PROGRAM = os.environ.get("CHAINRULE", "build/chainrule")

# expression, declarations, variable; the entries of all variables run over -1, 0, 1
CASES = [
    ("relu(t)", "t : R", "t"),
    ("abs(t)", "t : R", "t"),
    ("relu(t)^2", "t : R", "t"),
    ("abs(t)^3", "t : R", "t"),
    ("t*abs(t)", "t : R", "t"),
    ("u*abs(t)", "t : R, u : R", "t"),
    ("u*relu(t)", "t : R, u : R", "u"),
    ("relu(t) - relu(-t)", "t : R", "t"),
    ("relu(t) + relu(-t)", "t : R", "t"),
    ("abs(t + u) - abs(t - u)", "t : R, u : R", "t"),
    ("relu(t*u)", "t : R, u : R", "t"),
    ("relu(relu(t) - u)", "t : R, u : R", "t"),
    ("abs(relu(t) - u)", "t : R, u : R", "t"),
    ("relu(u*relu(t))", "t : R, u : R", "t"),
    ("max(t, u)", "t : R, u : R", "t"),
    ("max(t, u, v)", "t : R, u : R, v : R", "u"),
    ("max(t, 2*t - u)", "t : R, u : R", "t"),
    ("min(t, u)*v", "t : R, u : R, v : R", "t"),
    ("max(t*u, t)", "t : R, u : R", "t"),
    ("sqrt(t)", "t : R", "t"),
    ("sqrt(t^2)", "t : R", "t"),
    ("sqrt(t^4)", "t : R", "t"),
    ("log(t)", "t : R", "t"),
    ("1/t", "t : R", "t"),
    ("u/t", "t : R, u : R", "u"),
    ("sign(t)", "t : R", "t"),
    ("step(t - u)", "t : R, u : R", "t"),
    ("t*step(t)", "t : R", "t"),
    ("leaky_relu(t)*u", "t : R, u : R", "t"),
    ("elu(t)", "t : R", "t"),
    ("selu(t + u)", "t : R, u : R", "t"),
    ("if(t > u, t, u)", "t : R, u : R", "t"),
    ("if(t > 0, t^2, t)", "t : R", "t"),
    ("abs(sin(t) - t)", "t : R", "t"),
    ("asin(t)", "t : R", "t"),
    ("acos(t)", "t : R", "t"),
    ("mod(t, 2)", "t : R", "t"),
    ("tr(X^(-2))", "X : R^{2 x 2}", "X"),
    ("pinv(X)[1,1]", "X : R^{2 x 2}", "X"),
    ("t^(1/3)", "t : R", "t"),
    ("t^(5/3)", "t : R", "t"),
    ("relu(x)", "x : R^2", "x"),
    ("sum(relu(x))", "x : R^2", "x"),
    ("sum(abs(x))", "x : R^2", "x[1]"),
    ("y'*abs(x)", "x : R^2, y : R^2", "x"),
    ("y'*relu(x)", "x : R^2, y : R^2", "x[2]"),
    ("abs(y'*x)", "x : R^2, y : R^2", "x"),
    ("abs(y'*x)", "x : R^2, y : R^2", "x[1]"),
    ("relu(x[1])*relu(x[2])", "x : R^2", "x"),
    ("abs(x[1] + x[2]) - abs(x[1] - x[2])", "x : R^2", "x"),
    ("norm2(x)", "x : R^2", "x"),
    ("norm2(x)^2", "x : R^2", "x"),
    ("norm2(x)^3", "x : R^2", "x[1]"),
    ("norm2(x - y)", "x : R^2, y : R^2", "x"),
    ("t*norm2(x)", "x : R^2, t : R", "x"),
    ("norm2(t*x)", "x : R^2, t : R", "t"),
    ("norm1(x)^2", "x : R^2", "x"),
    ("sum(relu(x))^2", "x : R^2", "x"),
    ("sum(relu(x).^2)", "x : R^2", "x"),
    ("relu(x)[1]^2", "x : R^2", "x"),
    ("relu(x)'*A*relu(x)", "x : R^2, A : R^{2 x 2}", "x"),
    ("sum(x)*norm1(x)", "x : R^2", "x"),
    ("norm2(x)*sum(relu(x))", "x : R^2", "x"),
    ("sum(x)/norm1(x)", "x : R^2", "x"),
    ("abs(x)*abs(x)'", "x : R^2", "x[1]"),
    ("if(any(i=1..2, x[i] > 0), sum(x), 0)", "x : R^2", "x[1]"),
    ("if(all(i=1..2, x[i] > 0), sum(x), 0)", "x : R^2", "x"),
    ("max(i=1..1, x[i]*x[i+1])", "x : R^2", "x[1]"),
    ("max(i=2..3, x[i-1]*t)", "x : R^2, t : R", "t"),
    ("log(s)*t", "s : R, t : R", "t"),
    ("sqrt(s)*t", "s : R, t : R", "t"),
    ("t^3/s", "s : R, t : R", "t"),
    ("if(t > 0, log(s), s)", "s : R, t : R", "s"),
    ("if(t > 0, sqrt(t), 0)", "t : R", "t"),
    ("t*max(x)", "x : R^2, t : R", "x"),
    ("min(x .* x)", "x : R^2", "x"),
    ("t*if(norm2(x) > 0, exp(t), 0)", "x : R^2, t : R", "t"),
    ("t*norm2(x)", "x : R^2, t : R", "t"),
    ("norm1(x)", "x : R^2", "x"),
    ("norm_inf(x)", "x : R^2", "x"),
    ("max(x)", "x : R^2", "x"),
    ("max(x)", "x : R^2", "x[1]"),
    ("min(x .* y)", "x : R^2, y : R^2", "x"),
    ("prod(x)", "x : R^2", "x"),
    ("max(x, y)", "x : R^2, y : R^2", "x"),
    ("relu(W*x)[1]", "W : R^{2 x 2}, x : R^2", "x[1]"),
    ("relu(W*x)", "W : R^{2 x 2}, x : R^2", "x[2]"),
    ("relu(W*x)", "W : R^{2 x 2}, x : R^2", "x"),
    ("relu(W*x)[2]", "W : R^{2 x 2}, x : R^2", "W[2,1]"),
    ("relu(W*x)[2]", "W : R^{2 x 2}, x : R^2", "W"),
    ("a'*relu(W*x)", "W : R^{2 x 2}, x : R^2, a : R^2", "x[1]"),
    ("a'*relu(W*x)", "W : R^{2 x 2}, x : R^2, a : R^2", "x"),
    ("a'*relu(W*x)", "W : R^{2 x 2}, x : R^2, a : R^2", "W"),
    ("relu(a'*relu(W*x))", "W : R^{2 x 2}, x : R^2, a : R^2", "x[1]"),
    ("relu(a'*relu(W*x))", "W : R^{2 x 2}, x : R^2, a : R^2", "x"),
    ("a'*relu(W*relu(x))", "W : R^{2 x 2}, x : R^2, a : R^2", "x"),
    ("abs(a'*abs(W*x))", "W : R^{2 x 2}, x : R^2, a : R^2", "x[2]"),
    ("det(X)", "X : R^{2 x 2}", "X"),
    ("inv(X)", "X : R^{2 x 2}", "X[1,2]"),
    ("logdet(X)", "X : R^{2 x 2}", "X"),
    ("log(det(X))", "X : R^{2 x 2}", "X[1,1]"),
    ("abs(det(X))", "X : R^{2 x 2}", "X"),
    ("sum(i=1..2, abs(x[i] - t))", "x : R^2, t : R", "t"),
    ("sum(i=1..1, abs(x[i+1] - x[i]))", "x : R^2", "x[1]"),
    ("softmax(relu(x))[1]", "x : R^2", "x"),
    ("log(sum(x))", "x : R^2", "x"),
    ("sum(x)/norm2(x)", "x : R^2", "x[1]"),
    ("atan(abs(t))*relu(u)", "t : R, u : R", "t"),
]
POINTS = 20


def call(*words):
    done = subprocess.run([PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise SystemExit(f"{' '.join(words)}: {done.stderr}") from None


def variables(let):
    for part in let.split(", "):
        name, kind = part.split(" : ")
        shape = [] if kind == "R" else [2] if kind == "R^2" else [2, 2]
        yield name, shape


def points(let, rng):
    sizes = [(name, shape, 2 ** len(shape)) for name, shape in variables(let)]
    total = sum(n for _, _, n in sizes)
    grid = itertools.product((-1, 0, 1), repeat=total)
    chosen = list(grid) if 3 ** total <= POINTS else [tuple(rng.choice((-1, 0, 0, 1)) for _ in range(total))
                                                      for _ in range(POINTS)]
    for values in chosen:
        values, words = list(values), []
        for name, shape, n in sizes:
            own, values = values[:n], values[n:]
            text = str(own[0]) if not shape else f"[{own[0]}, {own[1]}]" if len(shape) == 1 else \
                f"[{own[0]}, {own[1]}; {own[2]}, {own[3]}]"
            words.append(f"{name} = {text}")
        yield "; ".join(words)


def holds(condition, let, at):
    result = call("eval", "-e", condition, "--let", let, "--at", at, "--json", "-")
    return bool(result["results"][0]["value"])


def main():
    rng = random.Random(11)
    faults = tried = sharp = 0
    for expr, let, wrt in CASES:
        derived = call("derive", "-e", expr, "--let", let, "--wrt", wrt, "--json", "-")["results"][0]
        conditions = derived["defined"]
        exact = [c for c in conditions if c["kind"] == "exact"]
        for at in points(let, rng):
            fact = call("check", "-e", expr, "--let", let, "--wrt", wrt, "--at", at, "--json", "-")["results"][0]
            if fact["exists"] is None or fact["formula_agrees"] is None:
                continue  # undecided by series of finite order
            tried += 1
            good = fact["exists"] and fact["formula_agrees"]
            if all(holds(c["text"], let, at) for c in conditions):
                if not good:
                    faults += 1
                    print(f"{expr} wrt {wrt} at {at}: the conditions {[c['text'] for c in conditions]} hold, but "
                          f"exists = {fact['exists']}, formula agrees = {fact['formula_agrees']}")
            else:
                failed = [c for c in exact if not holds(c["text"], let, at)]
                wrong = [c["text"] for c in failed if (fact["exists"] if c["about"] == "existence" else good)]
                sharp += bool(failed)
                if wrong:
                    faults += 1
                    print(f"{expr} wrt {wrt} at {at}: exact conditions {wrong} fail, but the derivative is there")
    print(f"{tried} points, {sharp} of them on a kink that an exact condition names")
    if tried < 800 or sharp < 100:
        print("too few points to prove anything")
        faults += 1
    print(f"{len(CASES) - min(faults, len(CASES))} passed, {faults} failed")
    return faults > 0


if __name__ == "__main__":
    sys.exit(main())
