"""What may not move a verdict, nor Lambda: rescaled layers, a multiplied loss, permuted units, a split batch."""

import math
import pathlib
import tempfile

import numpy as np
from flow_nets import Net, check, diagnose, finish, he, need_onnx

WIDTH, CLASSES, SAMPLES = 24, 5, 64


class Plan:
    """Layers of a perceptron, as numbers that can be changed before they become a file."""

    def __init__(self, layers, activation, gain, bias=0.0, skip=False, seed=0):
        r = np.random.default_rng(seed)
        self.w = [he(r, WIDTH, gain=gain) for _ in range(layers)] + [he(r, CLASSES, WIDTH, 1.0)]
        self.b = [bias + 0.1 * r.standard_normal(len(w)) for w in self.w]
        self.activation, self.skip = activation, skip

    def save(self, path):
        net = Net(WIDTH, kind=11)
        for w, b in zip(self.w[:-1], self.b):
            x = net.at
            net.linear(w, b)
            net.add(self.activation)
            if self.skip:
                net.add("Add", x)
        net.linear(self.w[-1], self.b[-1])
        return net.save(path)


NETS = {
    "healthy": Plan(12, "Relu", 2.0),
    "healthy, with skips": Plan(6, "Relu", 0.3, skip=True),
    "healthy, tanh": Plan(8, "Tanh", 1.0),
    "vanishing": Plan(30, "Relu", 0.6),
    "vanishing, sigmoid": Plan(20, "Sigmoid", 1.0),
    "exploding": Plan(20, "Relu", 8.0),
    "dying": Plan(4, "Relu", 0.2, bias=-3.0),
    "saturated": Plan(2, "Tanh", 400.0),
}


def numbers(t, **more):
    r = np.random.default_rng(1)
    values = {"x": r.standard_normal((SAMPLES, WIDTH)), "y": r.integers(0, CLASSES, SAMPLES), **more}
    np.savez(t / "rules.npz", **values)
    return t / "rules.npz", values


def verdict(t, plan, values, *options):
    return diagnose(plan.save(t / "rules.onnx"), values, "--precision", "f64", "--threads", "1", *options)


def same(name, a, b):
    lambdas = [[x["lambda"] for x in d["layers"]] for d in (a, b)]
    zeros = [[x is None for x in l] for l in lambdas]
    moved = max((abs(x - y) for x, y in zip(*lambdas) if x is not None and y is not None), default=0.0)
    check(f"{name}: Lambda", None if zeros[0] == zeros[1] and moved < 1e-9 else f"moves by {moved}")
    pair = [d["verdict"]["status"] for d in (a, b)]
    check(f"{name}: verdict", None if pair[0] == pair[1] else " becomes ".join(pair))


def copy(plan):
    other = Plan.__new__(Plan)
    other.w, other.b = [w.copy() for w in plan.w], [b.copy() for b in plan.b]
    other.activation, other.skip = plan.activation, plan.skip
    return other


def permuted(plan):
    """The units of every layer in another order; with skips, all layers in the same one."""
    r, other = np.random.default_rng(7), copy(plan)
    order = np.arange(WIDTH)
    for i in range(len(plan.w) - 1):
        new = r.permutation(WIDTH) if not plan.skip else order
        other.w[i], other.b[i] = other.w[i][new], other.b[i][new]
        other.w[i + 1] = other.w[i + 1][:, new]
    return other


def split(t, name, plan, whole, values):
    """Squares of norms add up over the parts of a batch: so do the two sides of Lambda."""
    halves = []
    for part in (slice(0, SAMPLES // 2), slice(SAMPLES // 2, None)):
        np.savez(t / "half.npz", x=values["x"][part], y=values["y"][part])
        halves.append(verdict(t, plan, t / "half.npz"))
        pair = whole["verdict"]["status"], halves[-1]["verdict"]["status"]
        check(f"{name}, half the batch: verdict", None if pair[0] == pair[1] else " becomes ".join(pair))
    ln = lambda d: d["layers"][-1]["log10_cotangent_out"] * math.log(10)
    moved = 0.0
    for layers in zip(whole["layers"], *(d["layers"] for d in halves)):
        known = [x["lambda"] for x in layers]
        if None in known:
            continue
        effect = sum(math.exp(2 * (l + ln(d))) for l, d in zip(known[1:], halves))
        output = sum(math.exp(2 * ln(d)) for d in halves)
        moved = max(moved, abs(0.5 * math.log(effect / output) - known[0]))
    check(f"{name}, halves together: Lambda", None if moved < 1e-9 else f"moves by {moved}")


def test(t, name, plan):
    path, values = numbers(t)
    whole = verdict(t, plan, path)
    check(name, None if whole["verdict"]["status"] == name.split(",")[0] else whole["verdict"]["sentence"])
    if plan.activation == "Relu" and not plan.skip:
        for at in (0, len(plan.w) // 2 - 1):
            other = copy(plan)
            other.w[at] *= 1000
            other.b[at] *= 1000
            other.w[at + 1] /= 1000
            same(f"{name}: layer {at} x 1000, the next / 1000", whole, verdict(t, other, path))
    same(f"{name}: units permuted", whole, verdict(t, permuted(plan), path))
    split(t, name, plan, whole, values)
    for k in (1e-6, 1e6):
        path, _ = numbers(t, class_weight=np.full(CLASSES, k))
        more = verdict(t, plan, path)
        same(f"{name}: loss x {k:g}", whole, more)
        by = (more["layers"][-1]["log10_cotangent_out"] - whole["layers"][-1]["log10_cotangent_out"]) - math.log10(k)
        check(f"{name}: the gradient itself is x {k:g}", None if abs(by) < 1e-9 else f"off by 10^{by}")


def main():
    need_onnx()
    with tempfile.TemporaryDirectory() as t:
        for name, plan in NETS.items():
            test(pathlib.Path(t), name, plan)
    finish()


main()
