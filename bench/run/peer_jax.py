"""JAX, compiled by XLA: python3 peer_jax.py CASE...; the environment comes from bench/run.py."""
import math
import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import worker
from jax import lax
from worker import array, bits

if any(name.startswith(("gmm", "lstm")) for name in sys.argv[1:]):
    jax.config.update("jax_enable_x64", True)


def setup(f, *arguments):
    """A case of f compiled: its results are (value, gradients), or where the value is None, what is summed up."""
    compiled, last = jax.jit(f), []
    arguments = jax.tree.map(jnp.asarray, arguments)

    def run():
        last[:] = [jax.block_until_ready(compiled(*arguments))]

    def answer():
        value, rest = last[0]
        total, norm = worker.sums(np.asarray(x) for x in jax.tree.leaves(rest))
        return total if value is None else value, norm

    return run, answer


def training(loss, parameters, *rest):
    return setup(jax.value_and_grad(loss), parameters, *rest)


def forward(f, *arguments):
    return setup(lambda *a: (None, f(*a)), *arguments)


def cross_entropy(z):
    rows = jnp.arange(z.shape[0])
    return -jnp.mean(jax.nn.log_softmax(z)[rows, (7 * rows + 3) % z.shape[1]])


# ---- dense ----------------------------------------------------------------------------------------


def mlp():
    p, sizes = worker.Streams(), (784, 1024, 1024, 10)
    layers = [(p((m, n), math.sqrt(6 / m)), p((n,), 0.1)) for m, n in zip(sizes, sizes[1:])]

    def loss(layers, h):
        for i, (w, b) in enumerate(layers):
            h = (jax.nn.relu(h) if i else h) @ w + b
        return cross_entropy(h)

    return training(loss, layers, array(0, (128, 784), 0, 1))


def deep_layers():
    p = worker.Streams()
    return [(p((256, 256), math.sqrt(3 / 256)), p((256,), 0.1)) for _ in range(50)]


def tanh_layers(layers, h):
    for w, b in layers:
        h = jnp.tanh(h @ w + b)
    return h


def deep():
    return training(lambda layers, x: (tanh_layers(layers, x) ** 2).sum() / 128, deep_layers(),
                    array(0, (128, 256), 0, 1))


def jacobian():
    def f(layers, x):
        j = jax.jacrev(lambda v: tanh_layers(layers, v))(x)
        return jnp.linalg.svd(j, compute_uv=False).max(), j

    return setup(f, deep_layers(), array(0, (256,), 0, 1))


def chain(batch):
    def loss(wb, x):
        return lax.scan(lambda o, p: (jax.nn.sigmoid(p[0] * o + p[1]), None), x, wb)[0].sum()

    return lambda: training(loss, (array(1, (1000,), 4, 0.08), array(2, (1000,), -2, 0.04)), array(0, (batch,), 0, 1))


# ---- residual networks ----------------------------------------------------------------------------


def conv_norm(p, x, stride):
    """p: weights, gain, shift, as made by conv_norm_of; x: NHWC"""
    w, gain, shift = p
    pad = (w.shape[0] // 2,) * 2
    y = lax.conv_general_dilated(x, w, (stride, stride), (pad, pad), dimension_numbers=("NHWC", "HWIO", "NHWC"))
    mean, var = y.mean((0, 1, 2)), y.var((0, 1, 2))
    return (y - mean) * (gain * lax.rsqrt(var + 1e-5)) + shift


def conv_norm_of(p, channels_in, channels, size):
    w = p((channels, channels_in, size, size), math.sqrt(6 / (channels_in * size * size)))
    return w.transpose(2, 3, 1, 0), p((channels,), 0.1, 1), p((channels,), 0.1)


def resnet(stem_size, stem_stride, pool, widths, blocks, classes, shape):
    def case():
        p, c, strides = worker.Streams(), widths[0], []
        stem, body = conv_norm_of(p, 3, c, stem_size), []
        for i, width in enumerate(widths):
            for j in range(blocks):
                stride = 2 if i and not j else 1
                skip = stride != 1 or c != width
                shapes = [(c, width, 3), (width, width, 3)] + [(c, width, 1)] * skip
                body.append([conv_norm_of(p, *s) for s in shapes])
                strides.append(stride)
                c = width
        parameters = (stem, body, p((c, classes), math.sqrt(3 / c)), p((classes,), 0.1))

        def loss(parameters, x):
            stem, body, w, b = parameters
            h = jax.nn.relu(conv_norm(stem, x, stem_stride))
            if pool:
                pad = ((0, 0), (1, 1), (1, 1), (0, 0))
                h = lax.reduce_window(h, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pad)
            for block, stride in zip(body, strides):
                y = conv_norm(block[1], jax.nn.relu(conv_norm(block[0], h, stride)), 1)
                h = jax.nn.relu(y + (conv_norm(block[2], h, stride) if block[2:] else h))
            return cross_entropy(h.mean((1, 2)) @ w + b)

        return training(loss, parameters, array(0, shape, 0, 1).transpose(0, 2, 3, 1))

    return case


# ---- transformer and rows ---------------------------------------------------------------------------


def normalised(x, gain, shift):
    return (x - x.mean(-1, keepdims=True)) * lax.rsqrt(x.var(-1, keepdims=True) + 1e-5) * gain + shift


def transformer():
    d, heads, tokens, batch, s = 256, 8, 128, 16, worker.Streams()
    parameters = [s((d,), 0.1, 1), s((d,), 0.1)]
    for m, n in ((d, d),) * 4:
        parameters += [s((m, n), math.sqrt(3 / m)), s((n,), 0.1)]
    parameters += [s((d,), 0.1, 1), s((d,), 0.1)]
    for m, n in ((d, 1024), (1024, d)):
        parameters += [s((m, n), math.sqrt(3 / m)), s((n,), 0.1)]

    def loss(parameters, x):
        g1, c1, wq, bq, wk, bk, wv, bv, wo, bo, g2, c2, w1, b1, w2, b2 = parameters
        u = normalised(x, g1, c1)
        q, k, v = ((u @ w + b).reshape(batch, tokens, heads, -1) for w, b in ((wq, bq), (wk, bk), (wv, bv)))
        a = jax.nn.softmax(jnp.einsum("bihc,bjhc->bhij", q, k * (d // heads) ** -0.5))
        y = x + jnp.einsum("bhij,bjhc->bihc", a, v).reshape(batch, tokens, d) @ wo + bo
        z = y + jax.nn.gelu(normalised(y, g2, c2) @ w1 + b1, approximate=False) @ w2 + b2
        return (z * z).sum() / (batch * tokens)

    return training(loss, parameters, array(0, (batch, tokens, d), 0, 1))


def elementwise():
    return forward(lambda a, b, c, d: jax.nn.sigmoid(a * b + c) * jnp.tanh(d),
                   *(array(i, (1 << 24,), 0, 3) for i in range(4)))


def softmax(row):
    return lambda: forward(jax.nn.softmax, array(0, ((1 << 24) // row, row), 0, 3))


def layer_norm(row):
    return lambda: forward(normalised, array(0, ((1 << 24) // row, row), 0, 3), array(1, (row,), 1, 0.1),
                           array(2, (row,), 0, 0.1))


def back(y_of, row, *parameters):
    return training(lambda p, u: jnp.vdot(y_of(*p), u), parameters, array(3, ((1 << 24) // row, row), 0, 3))


def softmax_back(row):
    return lambda: back(jax.nn.softmax, row, array(0, ((1 << 24) // row, row), 0, 3))


def layer_norm_back(row):
    return lambda: back(normalised, row, array(0, ((1 << 24) // row, row), 0, 3), array(1, (row,), 1, 0.1),
                        array(2, (row,), 0, 0.1))


# ---- ADBench ----------------------------------------------------------------------------------------


def gmm(gradient):
    n, d, k, m = 1000, 32, 25, 2
    p = [array(i, s, 0, scale, np.float64)
         for i, (s, scale) in enumerate([((k,), 1), ((k, d), 1), ((k, d), 0.3), ((k, d, d), 0.2)])]

    def objective(p, x):
        alpha, mu, q, l = p
        factor = jnp.tril(l, -1) + jnp.exp(q)[:, :, None] * jnp.eye(d)
        y = jnp.einsum("krs,ikr->iks", factor, x[:, None, :] - mu)
        log_density = alpha + q.sum(1) - (y * y).sum(2) / 2
        nu = d + m + 1
        log_gamma = d * (d - 1) / 4 * math.log(math.pi) + sum(math.lgamma((nu - j) / 2) for j in range(d))
        return (jax.nn.logsumexp(log_density, 1).sum() - n * jax.nn.logsumexp(alpha) - n * d / 2 * math.log(2 * math.pi)
                + m * q.sum() - (factor * factor).sum() / 2 - k * (nu * d * math.log(2) / 2 + log_gamma))

    x = array(4, (n, d), 0, 2, np.float64)
    return lambda: training(objective, p, x) if gradient else setup(lambda p, x: (objective(p, x), ()), p, x)


def lstm(gradient):
    layers, cells, steps = 2, 14, 1024
    main, extra, state = (array(i, (r, cells), 0, 1, np.float64) for i, r in enumerate((2 * layers * 4, 3, 2 * layers)))

    def objective(p, state, sequence):
        gates, extra = p[0].reshape(layers, 2, 4, cells), p[1]

        def step(carry, now):
            u, out = now[0] * extra[0], []
            for (w, b), (h, c) in zip(gates, carry.reshape(layers, 2, cells)):
                f, o = jax.nn.sigmoid(u * w[0] + b[0]), jax.nn.sigmoid(u * w[2] + b[2])
                c = c * f + jax.nn.sigmoid(h * w[1] + b[1]) * jnp.tanh(h * w[3] + b[3])
                u = o * jnp.tanh(c)
                out += [u, c]
            y = u * extra[1] + extra[2]
            return jnp.stack(out), (now[1] * (y - jnp.log(2 + jnp.exp(y).sum()))).sum()

        total = lax.scan(step, state, jnp.stack([sequence[:-1], sequence[1:]], 1))[1].sum()
        return -total / ((steps - 1) * cells)

    sequence = bits(3, (steps, cells))
    if gradient:
        return lambda: training(objective, (main, extra), state, sequence)
    return lambda: setup(lambda *a: (objective(*a), ()), (main, extra), state, sequence)


CASES = {
    "mlp": mlp,
    "deep": deep,
    "chain_1": chain(1),
    "chain_1024": chain(1024),
    "resnet18": resnet(7, 2, True, (64, 128, 256, 512), 2, 1000, (8, 3, 224, 224)),
    "resnet20": resnet(3, 1, False, (16, 32, 64), 3, 10, (128, 3, 32, 32)),
    "transformer": transformer,
    "elementwise": elementwise,
    **{f"softmax_{r}": softmax(r) for r in (256, 512, 1024)},
    **{f"layer_norm_{r}": layer_norm(r) for r in (256, 512, 1024)},
    **{f"softmax_back_{r}": softmax_back(r) for r in (256, 512, 1024)},
    **{f"layer_norm_back_{r}": layer_norm_back(r) for r in (256, 512, 1024)},
    "jacobian": jacobian,
    "gmm_value": gmm(False),
    "gmm": gmm(True),
    "lstm_value": lstm(False),
    "lstm": lstm(True),
}

if __name__ == "__main__":
    worker.serve(f"JAX {jax.__version__}, XLA_FLAGS={os.environ.get('XLA_FLAGS', '')}", CASES)
