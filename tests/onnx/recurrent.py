"""LSTM, GRU and RNN as ONNX defines them, in torch, step by step; weights stacked by gate, as in the operators' inputs.

x: (steps, batch, inputs). Each cell is a function of one direction; `directions` runs one or two of them.
"""
import torch

sigmoid, tanh = torch.sigmoid, torch.tanh


def run(step, x, state, lengths, reverse):
    """Outputs (steps, batch, hidden), zero behind the end of a sequence, and the last state: of the step that was run
    last, per sample. A reversed sequence starts at its own end."""
    steps = range(x.shape[0])
    outputs = [None] * x.shape[0]
    for t in reversed(steps) if reverse else steps:
        new = step(x[t], state)
        alive = (t < lengths).to(x.dtype).unsqueeze(1)
        state = tuple(alive * n + (1 - alive) * s for n, s in zip(new, state))
        outputs[t] = alive * new[0]
    return torch.stack(outputs), state


def lstm_step(w, r, b, p):
    hidden = r.shape[1]
    bias = b[:4 * hidden] + b[4 * hidden:]
    pi, po, pf = (p[k * hidden:(k + 1) * hidden] for k in range(3))

    def step(x, state):
        h, c = state
        i, o, f, g = (x @ w.T + h @ r.T + bias).split(hidden, 1)
        i, f = sigmoid(i + pi * c), sigmoid(f + pf * c)
        c = f * c + i * tanh(g)
        return sigmoid(o + po * c) * tanh(c), c
    return step


def gru_step(w, r, b, linear_before_reset):
    hidden = r.shape[1]
    wz, wr, wh = w.split(hidden)
    rz, rr, rh = r.split(hidden)
    bz, br, bh, cz, cr, ch = b.split(hidden)

    def step(x, state):
        h, = state
        z = sigmoid(x @ wz.T + h @ rz.T + bz + cz)
        reset = sigmoid(x @ wr.T + h @ rr.T + br + cr)
        if linear_before_reset:
            new = tanh(x @ wh.T + reset * (h @ rh.T + ch) + bh)
        else:
            new = tanh(x @ wh.T + (reset * h) @ rh.T + ch + bh)
        return ((1 - z) * new + z * h,)
    return step


def rnn_step(w, r, b, activation):
    hidden = r.shape[1]
    bias = b[:hidden] + b[hidden:]

    def step(x, state):
        return (activation(x @ w.T + state[0] @ r.T + bias),)
    return step


def directions(steps, x, states, lengths=None, reverse=(False, True)):
    """steps: one for each direction; states: tensors (directions, batch, hidden). Y (steps, directions, batch, hidden)
    and the last states, shaped as the first."""
    if lengths is None:
        lengths = torch.full((x.shape[1],), x.shape[0])
    ran = [run(step, x, tuple(s[k] for s in states), lengths, reverse[k]) for k, step in enumerate(steps)]
    return torch.stack([y for y, _ in ran], 1), [torch.stack(s) for s in zip(*(last for _, last in ran))]
