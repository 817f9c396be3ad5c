"""Models: a ResNet-50 and a BERT-base with random weights (bench/onnx/make_big.py) loaded, run and differentiated by
the program, start to end; and a model of 1 GiB loaded. Wall time and peak memory. See bench/README.md.

    ./run bench models [--rounds N]
"""
import argparse
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench" / "common"))
import measured  # noqa: E402
from measured import BUILD, figure, figures  # noqa: E402

FILES = ROOT / "build" / "bench" / "models"
TIMED = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
         "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")


def timed(*command):
    """Seconds and peak MiB of a process."""
    start = time.perf_counter()
    out = subprocess.run([sys.executable, "-c", TIMED, *map(str, command)], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    return seconds, int(out.stdout) / 1024


def empty():
    """The same of a process that does nothing: what measuring costs."""
    return statistics.median(timed("true")[0] for _ in range(5))


def models(rounds):
    print("Models, by the program: start, load, import, plan, compute, write; batch 8, f32")
    program, idle, rows = BUILD / "chainrule", empty(), []
    print(f"  {'':<12} {'':<6} {'file MiB':>9} {'s':>8} {'least':>8} {'peak MiB':>9}")
    for name in ("resnet50", "bert_base"):
        model, data = FILES / f"{name}.onnx", FILES / f"{name}.npz"
        for command in ("run", "grad"):
            runs = [timed(program, command, model, "--data", data, "-o", FILES / "out.npz", "--quiet")
                    for _ in range(rounds)]
            seconds = [s - idle for s, _ in runs]
            row = {"model": name, "command": command, "seconds": statistics.median(seconds), "least": min(seconds),
                   "mib": max(m for _, m in runs), "file_mib": model.stat().st_size / 2**20}
            rows.append(row)
            print(f"  {name:<12} {command:<6} {row['file_mib']:>9.0f} {row['seconds']:>8.2f} {row['least']:>8.2f}"
                  f" {row['mib']:>9.0f}")
    return rows


def large():
    """Eight tensors of 128 MiB, read and nothing else."""
    sys.path.insert(0, "/usr/lib/python3/dist-packages")
    from onnx import TensorProto, helper

    path, n = FILES / "large.onnx", 8
    if not path.exists():
        values = [helper.make_tensor(f"w{i}", TensorProto.FLOAT, [1 << 25], bytes(1 << 27), raw=True)
                  for i in range(n)]
        out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1 << 25])
        add = helper.make_node("Add", ["w0", "w1"], ["y"])
        graph = helper.make_graph([add], "large", [], [out], values)
        path.write_bytes(helper.make_model(graph).SerializeToString())
    seconds, mib = timed(BUILD / "tests" / "onnx_edit", "read", path)
    print("\nA model of 1 GiB, all its tensors read")
    figure("peak memory over the file's size", mib / 1024, f"{mib / 1024:.2f} x", "<= 1.3 x", mib <= 1.3 * 1024)
    return {"seconds": seconds, "mib": mib}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    FILES.mkdir(parents=True, exist_ok=True)
    if not (FILES / "bert_base.onnx").exists():
        subprocess.run([sys.executable, str(ROOT / "bench" / "onnx" / "make_big.py"), str(FILES)], check=True,
                       stdout=subprocess.DEVNULL)
    measured.build("chainrule", "tests/onnx_edit")
    rows, big = models(rounds), large()
    met = sum(f["met"] for f in figures)
    result = {**measured.machine(), "models": rows, "large": big, "figures": figures}
    measured.write("models", result, met, len(figures))


main()
