"""The cases of `./run bench run`: what each must reach, and beside whom; bench/README.md says what is computed.

A target is a time in ms, given the limits of the machine and the times of this case: a function of a Now.
"""
from dataclasses import dataclass
from typing import Callable


@dataclass
class Now:
    """What was measured in the same rounds: FLOP/s and bytes/s of the machine, ms of the sides by name."""
    peak: float
    stream: float
    ms: dict


@dataclass
class Target:
    text: str
    ms: Callable  # of a Now; None where what it rests on was not measured


@dataclass
class Case:
    name: str
    title: str
    peers: tuple
    targets: list
    threads: int = 2
    flops: float = 0  # of one run; the best known way, fused multiply-adds counted as two
    bytes: float = 0  # that must come from memory or go there
    ours: tuple = ()  # ways of ours to run it; the name alone, if not said

    def __post_init__(self):
        self.ours = self.ours or (self.name,)


def peak(share, flops):
    return Target(f"{share:.0%} of peak", lambda now: now.peak and 1e3 * flops / (share * now.peak))


def stream(share, moved):
    return Target(f"{share:.0%} of stream", lambda now: now.stream and 1e3 * moved / (share * now.stream))


def times(factor, side, text=None):
    """At most factor times the time of a peer, or of the best way of ours in a case that was measured before."""
    return Target(text or f"{factor} x {side}", lambda now: side in now.ms and factor * now.ms[side])


def dense(batch, sizes):
    """Forward, derivatives by weights, derivatives by inputs but the first: products of matrices only."""
    layers = [2 * batch * m * n for m, n in zip(sizes, sizes[1:])]
    return 3 * sum(layers) - layers[0]


def convolutions(batch, side, stem, stem_stride, pool, widths, blocks, classes):
    side //= stem_stride
    first = 2 * batch * side * side * 3 * widths[0] * stem * stem
    total, c = first, widths[0]
    side //= 2 if pool else 1
    for i, width in enumerate(widths):
        for j in range(blocks):
            if i and not j:
                side //= 2
                total += 2 * batch * side * side * c * width
            total += 2 * batch * side * side * 9 * (c * width + width * width)
            c = width
    return 3 * (total + 2 * batch * c * classes) - first


def attention(batch, tokens, d, hidden):
    layers = 2 * batch * tokens * (4 * d * d + 2 * d * hidden) + 4 * batch * tokens * tokens * d
    return 3 * layers  # all: the gain of the first norm needs the derivative by what it puts out


MLP, DEEP = dense(128, (784, 1024, 1024, 10)), dense(128, (256,) * 51)
RESNET18 = convolutions(8, 224, 7, 2, True, (64, 128, 256, 512), 2, 1000)
RESNET20 = convolutions(128, 32, 3, 1, False, (16, 32, 64), 3, 10)
BLOCK = attention(16, 128, 256, 1024)
ENTRIES = 1 << 24
PEERS = ("torch", "jax")

CASES = [
    Case("mlp", "MLP 784-1024-1024-10, batch 128", PEERS, [peak(0.80, MLP)], flops=MLP),
    Case("deep", "50 tanh layers of 256, batch 128", PEERS, [peak(0.70, DEEP)], flops=DEEP),
    Case("chain_1", "chain of 1000 sigmoids, batch 1", ("hand",) + PEERS, [times(1.5, "hand")],
         ours=("chain_1", "chain_1_unrolled")),
    Case("chain_1024", "chain of 1000 sigmoids, batch 1024", ("hand",) + PEERS, [times(1.5, "hand")],
         ours=("chain_1024", "chain_1024_unrolled")),
    Case("resnet18", "ResNet-18, 8 x 3 x 224 x 224", PEERS, [peak(0.70, RESNET18)], flops=RESNET18),
    Case("resnet20", "ResNet-20, 128 x 3 x 32 x 32", PEERS, [peak(0.62, RESNET20)], flops=RESNET20),
    Case("transformer", "transformer block d 256, 8 heads, 16 x 128", PEERS, [peak(0.63, BLOCK)], flops=BLOCK),
    Case("elementwise", "sigmoid(a b + c) tanh(d), 16 M", ("hand",) + PEERS, [stream(0.85, 20 * ENTRIES)],
         bytes=20 * ENTRIES),
    *(Case(f"{kind}_{row}", f"{kind.replace('_', ' ')}, 16 M in rows of {row}", ("hand",) + PEERS,
           [stream(0.85, 8 * ENTRIES)], bytes=8 * ENTRIES)
      for kind in ("softmax", "layer_norm") for row in (256, 512, 1024)),
    *(Case(f"{kind}_back_{row}", f"{kind.replace('_', ' ')} with derivatives, 16 M in rows of {row}", PEERS,
           [stream(0.85, 12 * ENTRIES)], bytes=12 * ENTRIES)
      for kind in ("softmax", "layer_norm") for row in (256, 512, 1024)),
    Case("gmm_value", "GMM, value, n 1000 d 32 K 25, f64", ("hand", "jax", "adolc"), [times(1.2, "hand")],
         threads=1),
    Case("gmm", "GMM, gradient", ("hand", "jax", "adolc"), [times(2.3, "gmm_value", "2.3 x our value")], threads=1),
    Case("lstm_value", "LSTM, value, 2 x 14, 1024 steps, f64", ("hand", "jax", "adolc"), [times(1.2, "hand")],
         threads=1, ours=("lstm_value", "lstm_value_unrolled")),
    Case("lstm", "LSTM, gradient", ("hand", "jax", "adolc"), [times(3.0, "lstm_value", "3.0 x our value")], threads=1,
         ours=("lstm", "lstm_unrolled")),
    Case("jacobian", "Jacobian of 50 tanh layers, singular values", PEERS,
         [Target("15 ms at 488 GFLOP/s", lambda now: now.peak and 15 * 488e9 / now.peak)],
         flops=2 * 49 * 256**3),
    Case("resnet50_first", "ResNet-50: graph, plan and first run", (), [Target("0.5 s", lambda now: 500)]),
]
