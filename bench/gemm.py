"""Products of matrices beside oneDNN, OpenBLAS and the peak of the machine. See bench/README.md.

Prints each shape with its target; the numbers behind it go to build/bench/gemm.json. A missed target is printed as such
and the exit status stays 0.
"""
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench" / "common"))
import measured  # noqa: E402
from measured import BUILD  # noqa: E402

ROUNDS = 31
# least share of the peak, by (dtype, m, n, k)
TARGETS = {("f32", 128, 1024, 784): 0.85, ("f32", 128, 1024, 1024): 0.85, ("f32", 1024, 1024, 128): 0.85,
           ("f32", 128, 256, 256): 0.75, ("f32", 256, 256, 128): 0.75,
           ("f32", 512, 512, 512): 0.88, ("f32", 1024, 1024, 1024): 0.88,
           ("f64", 512, 512, 512): 0.85, ("f64", 1024, 1024, 1024): 0.85}


def measure(threads):
    out = subprocess.check_output([str(BUILD / "bench" / "gemm"), str(threads), str(ROUNDS)], text=True,
                                  env={**os.environ, "OMP_PROC_BIND": "true"})
    return json.loads(out)


def show(rows):
    """GFLOP/s, medians, and ours as a share of the peak: of medians, of the best rounds."""
    print(f"  {'':<4}{'batch':>6}{'m':>6}{'n':>6}{'k':>6} {'form':>5} {'ours':>8} {'oneDNN':>8} {'OpenBLAS':>9}"
          f" {'peak':>7} {'share':>7} {'of best':>8}  target")
    missed = 0
    for row in rows:
        share, best = row["ours"] / row["peak"] if row["peak"] else 0, row["ours_best"] / (row["peak_best"] or 1)
        row.update(share=share, share_best=best)
        target = TARGETS.get((row["dtype"], row["m"], row["n"], row["k"]))
        row["target"] = target
        met = target is None or share >= target
        missed += not met
        other = [f"{row[side] / 1e9:.1f}" if side in row else "-" for side in ("onednn", "openblas")]
        print(f"  {row['dtype']:<4}{row['batch']:>6}{row['m']:>6}{row['n']:>6}{row['k']:>6} {row['form']:>5}"
              f" {row['ours'] / 1e9:>8.1f} {other[0]:>8} {other[1]:>9} {row['peak'] / 1e9:>7.1f} {share:>7.1%}"
              f" {best:>8.1%}  {'' if target is None else f'>= {target:.0%} ' + ('met' if met else 'MISSED')}")
    return missed


def main():
    measured.build("bench/gemm")
    rows, missed, count = [], 0, 0
    for threads in sorted({1, min(2, os.cpu_count() or 1)}):
        print(f"{threads} thread{'s' if threads > 1 else ''}, GFLOP/s, medians of {ROUNDS}")
        some = measure(threads)
        missed += show(some)
        rows += some
        count += sum(1 for row in some if row["target"] is not None)
    result = {"schema": "chainrule.bench.gemm/1", **measured.machine(), "rows": rows}
    measured.write("gemm", result, count - missed, count)


if __name__ == "__main__":
    main()
