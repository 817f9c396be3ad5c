"""PyTorch, tuned (README.md): python3 peer_torch.py CASE...; the environment comes from bench/run.py."""
import math
import os

import numpy as np
import torch
import torch.nn.functional as F
import worker
from worker import array

THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))
torch.set_num_threads(THREADS)


def leaf(a):
    return torch.from_numpy(a).requires_grad_()


def labels(batch, classes):
    return torch.tensor([(7 * b + 3) % classes for b in range(batch)])


def training(parameters, loss_of):
    """A case that runs a loss and its derivatives by all parameters."""
    last = []

    def run():
        for p in parameters:
            p.grad = None
        loss = loss_of()
        loss.backward()
        last[:] = [loss.detach()]

    def answer():
        return last[0], worker.sums(p.grad.numpy() for p in parameters)[1]

    return run, answer


def forward(compute):
    last = []

    def run():
        with torch.no_grad():
            last[:] = [compute()]

    return run, lambda: worker.sums([last[0].numpy()])


# ---- dense ----------------------------------------------------------------------------------------


def mlp():
    p, sizes = worker.Streams(), (784, 1024, 1024, 10)
    x, target = torch.from_numpy(array(0, (128, 784), 0, 1)), labels(128, 10)
    layers = [(leaf(p((m, n), math.sqrt(6 / m))), leaf(p((n,), 0.1))) for m, n in zip(sizes, sizes[1:])]

    def loss():
        h = x
        for i, (w, b) in enumerate(layers):
            h = torch.addmm(b, F.relu(h) if i else h, w)
        return F.cross_entropy(h, target)

    return training([p for layer in layers for p in layer], loss)


def deep_layers():
    p, scale = worker.Streams(), math.sqrt(3 / 256)
    return [(leaf(p((256, 256), scale)), leaf(p((256,), 0.1))) for _ in range(50)]


def deep():
    x, layers = torch.from_numpy(array(0, (128, 256), 0, 1)), deep_layers()

    def loss():
        h = x
        for w, b in layers:
            h = torch.tanh(torch.addmm(b, h, w))
        return (h * h).sum() / 128

    return training([p for layer in layers for p in layer], loss)


def jacobian():
    """Reverse mode for all 256 outputs at once: the cotangents are a batch."""
    x, layers = torch.from_numpy(array(0, (1, 256), 0, 1)), [(w.detach(), b.detach()) for w, b in deep_layers()]
    last = []

    def run():
        h, slopes = x, []
        for w, b in layers:
            h = torch.tanh(torch.addmm(b, h, w))
            slopes.append(1 - h * h)
        g = layers[-1][0] * slopes[-1]
        for (w, _), slope in zip(layers[-2::-1], slopes[-2::-1]):
            g = (w * slope) @ g
        last[:] = [g, torch.linalg.svdvals(g)]

    return run, lambda: (last[1].max(), worker.sums([last[0].numpy()])[1])


def chain(batch):
    def setup():
        x = torch.from_numpy(array(0, (batch,), 0, 1))
        w, b = leaf(array(1, (1000,), 4, 0.08)), leaf(array(2, (1000,), -2, 0.04))

        def loss():
            o = x
            for wi, bi in zip(w.unbind(), b.unbind()):
                o = torch.sigmoid(wi * o + bi)
            return o.sum()

        return training([w, b], loss)

    return setup


# ---- residual networks ----------------------------------------------------------------------------


class Network:
    """Parameters in the order of construction; calls record what is done, the same for every peer."""

    def __init__(self):
        self.streams, self.parameters = worker.Streams(), []

    def add(self, shape, scale, middle=0.0):
        a = torch.from_numpy(self.streams(shape, scale, middle))
        if a.dim() == 4:
            a = a.contiguous(memory_format=torch.channels_last)
        self.parameters.append(a.requires_grad_())
        return self.parameters[-1]

    def conv_norm(self, channels_in, channels, size, stride):
        w = self.add((channels, channels_in, size, size), math.sqrt(6 / (channels_in * size * size)))
        gain, shift = self.add((channels,), 0.1, 1), self.add((channels,), 0.1)
        return lambda x: F.batch_norm(F.conv2d(x, w, stride=stride, padding=size // 2), None, None, gain, shift, True)

    def block(self, channels_in, channels, stride):
        first = self.conv_norm(channels_in, channels, 3, stride)
        second = self.conv_norm(channels, channels, 3, 1)
        if stride == 1 and channels_in == channels:
            return lambda x: F.relu_(second(F.relu_(first(x))) + x)
        skip = self.conv_norm(channels_in, channels, 1, stride)
        return lambda x: F.relu_(second(F.relu_(first(x))) + skip(x))


def resnet(stem_size, stem_stride, pool, widths, blocks, classes, shape):
    def setup():
        net, c = Network(), widths[0]
        stem = net.conv_norm(3, c, stem_size, stem_stride)
        body = []
        for i, width in enumerate(widths):
            for j in range(blocks):
                body.append(net.block(c, width, 2 if i and not j else 1))
                c = width
        w, b = net.add((c, classes), math.sqrt(3 / c)), net.add((classes,), 0.1)
        x = torch.from_numpy(array(0, shape, 0, 1)).contiguous(memory_format=torch.channels_last)
        target = labels(shape[0], classes)

        def loss():
            h = F.relu_(stem(x))
            if pool:
                h = F.max_pool2d(h, 3, 2, 1)
            for block in body:
                h = block(h)
            return F.cross_entropy(torch.addmm(b, h.mean((2, 3)), w), target)

        return training(net.parameters, loss)

    return setup


# ---- transformer ----------------------------------------------------------------------------------


def transformer():
    d, heads, tokens, batch, s = 256, 8, 128, 16, worker.Streams()
    x = torch.from_numpy(array(0, (batch, tokens, d), 0, 1))
    g1, c1 = leaf(s((d,), 0.1, 1)), leaf(s((d,), 0.1))
    pairs = [(s((d, d), math.sqrt(3 / d)), s((d,), 0.1)) for _ in range(3)]
    in_w = leaf(np.ascontiguousarray(np.concatenate([w for w, _ in pairs], 1)))
    in_b = leaf(np.concatenate([b for _, b in pairs]))
    out_w, out_b = leaf(s((d, d), math.sqrt(3 / d))), leaf(s((d,), 0.1))
    g2, c2 = leaf(s((d,), 0.1, 1)), leaf(s((d,), 0.1))
    w1, b1 = leaf(s((d, 1024), math.sqrt(3 / d))), leaf(s((1024,), 0.1))
    w2, b2 = leaf(s((1024, d), math.sqrt(3 / 1024))), leaf(s((d,), 0.1))
    flat = x.view(-1, d)

    def loss():
        qkv = torch.addmm(in_b, F.layer_norm(flat, (d,), g1, c1), in_w)
        q, k, v = qkv.view(batch, tokens, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
        a = torch.softmax(q @ (k * (d // heads) ** -0.5).transpose(-1, -2), -1) @ v
        y = flat + torch.addmm(out_b, a.transpose(1, 2).reshape(-1, d), out_w)
        h = F.gelu(torch.addmm(b1, F.layer_norm(y, (d,), g2, c2), w1))
        z = y + torch.addmm(b2, h, w2)
        return (z * z).sum() / (batch * tokens)

    return training([g1, c1, in_w, in_b, out_w, out_b, g2, c2, w1, b1, w2, b2], loss)


# ---- rows -----------------------------------------------------------------------------------------


def elementwise():
    a, b, c, d = (torch.from_numpy(array(i, (1 << 24,), 0, 3)) for i in range(4))
    return forward(lambda: torch.addcmul(c, a, b).sigmoid_().mul_(torch.tanh(d)))


def softmax(row):
    def setup():
        x = torch.from_numpy(array(0, ((1 << 24) // row, row), 0, 3))
        return forward(lambda: torch.softmax(x, 1))

    return setup


def layer_norm(row):
    def setup():
        x = torch.from_numpy(array(0, ((1 << 24) // row, row), 0, 3))
        gain, shift = torch.from_numpy(array(1, (row,), 1, 0.1)), torch.from_numpy(array(2, (row,), 0, 0.1))
        return forward(lambda: F.layer_norm(x, (row,), gain, shift))

    return setup


def back(y_of, row, parameters):
    u = torch.from_numpy(array(3, ((1 << 24) // row, row), 0, 3)).view(-1)
    return training(parameters, lambda: torch.dot(y_of().view(-1), u))


def softmax_back(row):
    def setup():
        x = leaf(array(0, ((1 << 24) // row, row), 0, 3))
        return back(lambda: torch.softmax(x, 1), row, [x])

    return setup


def layer_norm_back(row):
    def setup():
        x = leaf(array(0, ((1 << 24) // row, row), 0, 3))
        gain, shift = leaf(array(1, (row,), 1, 0.1)), leaf(array(2, (row,), 0, 0.1))
        return back(lambda: F.layer_norm(x, (row,), gain, shift), row, [x, gain, shift])

    return setup


CASES = {
    "mlp": mlp,
    "deep": deep,
    "chain_1": chain(1),
    "chain_1024": chain(1024),
    "resnet18": resnet(7, 2, True, (64, 128, 256, 512), 2, 1000, (8, 3, 224, 224)),
    "resnet20": resnet(3, 1, False, (16, 32, 64), 3, 10, (128, 3, 32, 32)),
    "transformer": transformer,
    "elementwise": elementwise,
    "softmax_256": softmax(256),
    "softmax_512": softmax(512),
    "softmax_1024": softmax(1024),
    "layer_norm_256": layer_norm(256),
    "layer_norm_512": layer_norm(512),
    "layer_norm_1024": layer_norm(1024),
    **{f"softmax_back_{r}": softmax_back(r) for r in (256, 512, 1024)},
    **{f"layer_norm_back_{r}": layer_norm_back(r) for r in (256, 512, 1024)},
    "jacobian": jacobian,
}

if __name__ == "__main__":
    shown = [f"{k}={os.environ[k]}" for k in ("OPENBLAS_CORETYPE", "ATEN_CPU_CAPABILITY", "OMP_PROC_BIND",
                                              "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
             if k in os.environ]
    worker.serve(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {' '.join(shown)}", CASES)
