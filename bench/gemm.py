"""Products of matrices beside oneDNN, OpenBLAS and the peak of the machine. See bench/README.md.

Prints each shape with its target; the numbers behind it go to build/bench/gemm.json. A missed target is printed as such
and the exit status stays 0.
"""
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build-bench"
ROUNDS = 31
# least share of the peak, by (dtype, m, n, k)
TARGETS = {("f32", 128, 1024, 784): 0.85, ("f32", 128, 1024, 1024): 0.85, ("f32", 1024, 1024, 128): 0.85,
           ("f32", 128, 256, 256): 0.75, ("f32", 256, 256, 128): 0.75,
           ("f32", 512, 512, 512): 0.88, ("f32", 1024, 1024, 1024): 0.88,
           ("f64", 512, 512, 512): 0.85, ("f64", 1024, 1024, 1024): 0.85}


def build():
    info = BUILD / "meson-info" / "meson-info.json"
    if not info.exists() or f'"source": "{ROOT}"' not in info.read_text():
        shutil.rmtree(BUILD, ignore_errors=True)
        subprocess.run(["meson", "setup", str(BUILD), str(ROOT), "-Dbuildtype=release", "-Doptimization=2"],
                       check=True, stdout=subprocess.DEVNULL)
    done = subprocess.run(["ninja", "-C", str(BUILD), "bench/gemm"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


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
    build()
    rows, missed, count = [], 0, 0
    for threads in sorted({1, min(2, os.cpu_count() or 1)}):
        print(f"{threads} thread{'s' if threads > 1 else ''}, GFLOP/s, medians of {ROUNDS}")
        some = measure(threads)
        missed += show(some)
        rows += some
        count += sum(1 for row in some if row["target"] is not None)
    result = {"schema": "chainrule.bench.gemm/1", "machine": platform.machine(), "cpus": os.cpu_count(),
              "load": os.getloadavg()[0], "rows": rows}
    out = ROOT / "build" / "bench" / "gemm.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\n{count - missed} of {count} targets met; numbers in {out.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
