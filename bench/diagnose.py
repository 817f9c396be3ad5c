"""`chainrule diagnose`: time from start to verdict, what measuring costs beside a plain forward and backward pass, and
how both grow with depth. See bench/README.md.

    ./run bench diagnose [--rounds N] [--threads N]
"""
import argparse
import math
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "bench" / "common"), str(ROOT / "tests"), "/usr/lib/python3/dist-packages"]
import measured  # noqa: E402
from measured import BUILD, figure, figures  # noqa: E402

os.environ.setdefault("CHAINRULE", str(BUILD / "chainrule"))
os.environ.setdefault("CHAINRULE_SOURCE", str(ROOT))
import flow_recurrent  # noqa: E402
import numpy as np  # noqa: E402
from flow_nets import Net, he  # noqa: E402

FILES = ROOT / "build" / "bench" / "diagnose"
DEPTHS = (1000, 2000, 4000, 10000)


def once(path, make):
    """The files are made once; their names have their sizes."""
    if not path.with_suffix(".onnx").exists():
        make().save(path.with_suffix(".onnx"))
    return path.with_suffix(".onnx")


def numbers(path, width, samples, classes=10):
    r = np.random.default_rng(1)
    if not path.exists():
        x = r.standard_normal((samples, width)).astype(np.float32)
        np.savez(path, x=x, y=r.integers(0, classes, samples))
    return path


def mlp(layers, width):
    r, net = np.random.default_rng(0), Net(width)
    for _ in range(layers):
        net.linear(he(r, width), np.zeros(width))
        net.add("Relu")
    net.linear(he(r, 10, width, 1.0), np.zeros(10))
    return net


def chain(layers):
    net = Net(1)
    p = net.value([1.0])
    for _ in range(layers):
        net.add("Mul", p)
        net.add("Sigmoid")
    return net


def residual(layers, width=16):
    r, net = np.random.default_rng(0), Net(width)
    for _ in range(layers):
        x = net.at
        net.linear(he(r, width))
        net.add("Relu")
        net.linear(he(r, width) * layers**-0.5)
        net.add("Add", x)
    net.linear(he(r, 10, width, 1.0))
    return net


def program(model, data, threads, *options):
    """Seconds of the program from its start to its end, the verdict said."""
    start = time.perf_counter()
    command = [BUILD / "chainrule", "diagnose", model, "--data", data, "--threads", threads, "--quiet", *options]
    subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def ratio(model, data, rounds, threads):
    command = [BUILD / "bench" / "diagnose_ratio", model, data, rounds, threads]
    out = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True).stdout.split()
    return tuple(map(float, out))


def cases():
    """Name, model, data, seconds to the verdict that are the target."""
    if not (FILES / "resnet50.onnx").exists():
        subprocess.run([sys.executable, str(ROOT / "bench/onnx/make_big.py"), str(FILES), "--only", "resnet50"],
                       check=True, stdout=subprocess.DEVNULL)
    steps = 200
    return [
        ("MLP, 50 layers of 64, batch 128", once(FILES / "mlp50", lambda: mlp(50, 64)),
         numbers(FILES / "mlp50.npz", 64, 128), 0.3),
        ("MLP, 50 layers of 256, batch 128", once(FILES / "mlp50wide", lambda: mlp(50, 256)),
         numbers(FILES / "mlp50wide.npz", 256, 128), None),
        ("residual MLP, 1,000 layers of 16", once(FILES / "residual1000", lambda: residual(1000)),
         numbers(FILES / "residual.npz", 16, 32), None),
        ("LSTM of 64, 200 steps, batch 32",
         once(FILES / "lstm", lambda: flow_recurrent.net("LSTM", steps, 32, 64)),
         numbers(FILES / "lstm.npz", 32 * steps, 32), None),
        ("ResNet-50, batch 8", FILES / "resnet50.onnx", FILES / "resnet50.npz", 5.0),
    ]


def verdicts(rounds, threads):
    print(f"From start to verdict, and measuring beside a plain pass: f32, {threads} threads, medians of {rounds}")
    rows = []
    for name, model, data, target in cases():
        seconds = statistics.median(program(model, data, threads) for _ in range(rounds))
        plain, measuring = ratio(model, data, rounds, threads)
        rows.append({"case": name, "seconds": seconds, "plain": plain, "measured": measuring})
        print(f"  {name:<40} verdict {seconds:7.3f} s, pass {plain * 1e3:9.2f} ms, measured {measuring * 1e3:9.2f} ms")
        if target:
            figure(f"{name}: start to verdict", seconds, f"{seconds:.2f} s", f"<= {target} s", seconds <= target)
        figure(f"{name}: measured / plain", measuring / plain, f"{measuring / plain:.2f} x", "<= 1.15 x",
               measuring <= 1.15 * plain)
    return rows


def growth(rounds):
    print("\nDepth, start to verdict, 1 thread")
    rows = []
    np.savez(FILES / "chain.npz", x=np.array([[0.5]], np.float32), target=np.zeros((1, 1), np.float32))
    data = {"chain": (FILES / "chain.npz", ["--loss", "mse"]), "residual": (FILES / "residual.npz", [])}
    for kind, make in (("chain", chain), ("residual", residual)):
        seconds = []
        for depth in DEPTHS:
            model = once(FILES / f"{kind}{depth}", lambda: make(depth))
            seconds.append(statistics.median(program(model, data[kind][0], 1, *data[kind][1]) for _ in range(rounds)))
            rows.append({"kind": kind, "depth": depth, "seconds": seconds[-1]})
            print(f"  {kind:<10} {depth:>6} layers {seconds[-1]:8.3f} s, {seconds[-1] / depth * 1e6:8.1f} us a layer")
        power = math.log(seconds[-1] / seconds[0]) / math.log(DEPTHS[-1] / DEPTHS[0])
        figure(f"{kind}: power of the depth", power, f"{power:.2f}", "<= 1.1", power <= 1.1)
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    o = parser.parse_args()
    FILES.mkdir(parents=True, exist_ok=True)
    measured.build("chainrule", "bench/diagnose_ratio")
    result = {**measured.machine(), "threads": o.threads, "verdicts": verdicts(o.rounds, o.threads),
              "growth": growth(o.rounds), "figures": figures}
    measured.write("diagnose", result, sum(f["met"] for f in figures), len(figures))


main()
