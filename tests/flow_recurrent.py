"""Recurrent networks as PyTorch initialises them, and what NumPy says of their gradients over time."""

import math

import numpy as np
from flow_nets import Net

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}


def weights(op, inputs, hidden, seed=0, forget=None, directions=1):
    """W, R, B of an ONNX node, uniform in +-1/sqrt(hidden); forget: the sum of both forget biases of an LSTM."""
    r, k, rows = np.random.default_rng(seed), 1 / math.sqrt(hidden), GATES[op] * hidden
    w = r.uniform(-k, k, (directions, rows, inputs))
    rec = r.uniform(-k, k, (directions, rows, hidden))
    b = r.uniform(-k, k, (directions, 2 * rows))
    if forget is not None:  # gates are i, o, f, c
        b[:, 2 * hidden : 3 * hidden] = forget
        b[:, rows + 2 * hidden : rows + 3 * hidden] = 0
    return [a.astype(np.float32) for a in (w, rec, b)]


def net(op, steps, inputs, hidden, classes=10, seed=0, forget=None, layers=1, read="last", weight=None, **attributes):
    """x (N x steps*inputs, one sample a row) through recurrent layers to classes. read: what the head sees of the
    states: the last, their mean, or the output for final states. weight(random, n): the recurrent one of an RNN,
    with small input weights and no biases."""
    n = Net(steps * inputs)
    ints = lambda *v: n.integers(v)
    n.add("Reshape", ints(-1, steps, inputs))
    n.add("Transpose", perm=[1, 0, 2])
    width = inputs
    for i in range(layers):
        w, r, b = weights(op, width, hidden, seed + i, forget)
        if weight:
            w, r, b = 0.05 * w, weight(np.random.default_rng(seed), hidden)[None], 0 * b
        state = n.add_many(
            op, [n.at, n.value(w), n.value(r), n.value(b)], 2, name=f"{op.lower()}{i}", hidden_size=hidden, **attributes
        )
        n.at = state[0]
        n.add("Squeeze", ints(1))
        width = hidden
    if read == "last":
        n.add("Gather", ints(-1), axis=0)
        n.add("Squeeze", ints(0))
    elif read == "mean":
        n.add("ReduceMean", axes=[0], keepdims=0)
    else:
        n.at = state[1]
        n.add("Squeeze", ints(0))
    r = np.random.default_rng(seed + 99)
    n.linear(r.uniform(-1, 1, (classes, hidden)) / math.sqrt(hidden), name="head")
    return n


def data(path, n, steps, inputs, classes=10, seed=1):
    r = np.random.default_rng(seed)
    np.savez(path, x=r.standard_normal((n, steps * inputs)).astype(np.float32), y=r.integers(0, classes, n))
    return path


# ---- the same by hand ------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(op, parameters, x, seed_h, linear_before_reset=False):
    """States of every step, and the cotangents of them that a cotangent of the last h gives: lists over steps, of
    arrays N x (states*hidden). x: steps x N x inputs."""
    w, r, b = (a[0].astype(float) for a in parameters)
    rows, hidden = r.shape
    wb, rb = b[:rows], b[rows:]
    h = np.zeros((x.shape[1], hidden))
    c = np.zeros_like(h)
    tape, part = [], lambda a, i: a[..., i * hidden : (i + 1) * hidden]
    for x_t in x:
        before = (h, c)
        a, q = x_t @ w.T + wb, h @ r.T + rb
        if op == "RNN":
            h = np.tanh(a + q)
            tape.append((before, (h,), (1 - h * h,)))
        elif op == "LSTM":
            i, o, f = (sigmoid(part(a, k) + part(q, k)) for k in range(3))
            g = np.tanh(part(a, 3) + part(q, 3))
            c = f * c + i * g
            h = o * np.tanh(c)
            tape.append((before, (h, c), (i, o, f, g)))
        else:
            z, s = (sigmoid(part(a, k) + part(q, k)) for k in range(2))
            n = np.tanh(part(a, 2) + s * part(q, 2))
            h = (1 - z) * n + z * h
            tape.append((before, (h,), (z, s, n, part(q, 2))))
    bar_h, bar_c = seed_h, np.zeros_like(seed_h)
    states = [np.concatenate(t[1], 1) for t in tape]
    bars = [None] * len(tape)
    for t in range(len(tape) - 1, -1, -1):
        bars[t] = bar_h if op != "LSTM" else np.concatenate([bar_h, bar_c], 1)
        (h0, c0), now, inner = tape[t]
        if op == "RNN":
            bar_h = (bar_h * inner[0]) @ r
        elif op == "LSTM":
            i, o, f, g = inner
            tanh_c = np.tanh(now[1])
            all_c = bar_c + bar_h * o * (1 - tanh_c**2)
            gates = [all_c * g * i * (1 - i), bar_h * tanh_c * o * (1 - o), all_c * c0 * f * (1 - f)]
            bar_h = np.concatenate([*gates, all_c * i * (1 - g * g)], 1) @ r
            bar_c = all_c * f
        else:
            z, s, n, q = inner
            bar_n = bar_h * (1 - z) * (1 - n * n)
            gates = [bar_h * (h0 - n) * z * (1 - z), bar_n * q * s * (1 - s), bar_n * s]
            bar_h = bar_h * z + np.concatenate(gates, 1) @ r
    return states, bars
