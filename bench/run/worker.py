"""worker.h in Python: a process that measures the cases named on its command line."""
import json
import sys
import time

import numpy as np


BLOCK = 1 << 18  # entries that are in double precision at a time: data and answers must not set the peak of memory


def value(stream, start, n):
    """Entries start..start+n-1 of a stream, uniform in [-1, 1): worker_value of worker.h."""
    with np.errstate(over="ignore"):
        z = np.arange(start + 1, start + n + 1, dtype=np.uint64) + np.uint64(stream << 40)
        z *= np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1


def array(stream, shape, middle, scale, dtype=np.float32):
    flat = np.empty(int(np.prod(shape)), dtype)
    for i in range(0, flat.size, BLOCK):
        part = flat[i:i + BLOCK]
        part[:] = middle + scale * value(stream, i, part.size)
    return flat.reshape(shape)


def bits(stream, shape):
    return (array(stream, shape, 0, 1) > 0).astype(np.float64)


def sums(arrays):
    """Sum and norm of all entries."""
    total = square = 0.0
    for a in arrays:
        flat = a.reshape(-1)
        for i in range(0, flat.size, BLOCK):
            part = flat[i:i + BLOCK].astype(np.float64)
            total += float(part.sum())
            square += float(part @ part)
    return total, square**0.5


class Streams:
    """Arrays of streams 1, 2, ... in the order they are asked for."""

    def __init__(self):
        self.last = 0

    def __call__(self, shape, scale, middle=0.0):
        self.last += 1
        return array(self.last, shape, middle, scale)


def peak_kib():
    with open("/proc/self/status", encoding="ascii") as f:
        return int(next(line.split()[1] for line in f if line.startswith("VmHWM:")))


def serve(settings, cases):
    """cases: name -> function that sets it up and returns (run, answer); answer() is (loss, norm) of the last run."""
    runs, head = {}, {}
    for name in sys.argv[1:]:
        run, answer = cases[name]()
        run()
        loss, norm = answer()
        runs[name] = run
        head[name] = {"loss": float(loss), "norm": float(norm), "work": 0}
    print(json.dumps({"settings": settings, "cases": head}), flush=True)
    for line in sys.stdin:
        word = line.split()
        if word[0] == "end":
            break
        run, seconds, ms = runs[word[1]], float(word[2]), []
        begin = end = time.perf_counter()
        while len(ms) < 3 or (end - begin < seconds and len(ms) < 2000):
            t = time.perf_counter()
            run()
            end = time.perf_counter()
            ms.append(1e3 * (end - t))
        print(json.dumps({"ms": ms}), flush=True)
    print(json.dumps({"peak_kib": peak_kib()}))
