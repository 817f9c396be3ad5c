"""Depth: deriving through a recurrence of symbolic depth N, and running value and all N derivatives beside a loop in C
written by hand. See bench/README.md.

Prints each figure with its target; the numbers behind them go to build/bench/depth.json. A missed target is printed as
such and the exit status stays 0.
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
# depth, batch, rounds: at batch 1024 a table of all states at depth 50,000 is 0.4 GB; ours holds two, C one
CASES = ((1_000_000, 1, 15), (50_000, 1024, 5))

figures = []


def figure(name, value, shown, target, met):
    figures.append({"name": name, "value": value, "target": target, "met": bool(met)})
    print(f"  {name:<58} {shown:>12}   target {target:<12} {'met' if met else 'MISSED'}")


def build():
    """A release build of its own, -O2, for both sides: the loop in C has the flags of the library."""
    info = BUILD / "meson-info" / "meson-info.json"
    if not info.exists() or f'"source": "{ROOT}"' not in info.read_text():
        shutil.rmtree(BUILD, ignore_errors=True)
        subprocess.run(["meson", "setup", str(BUILD), str(ROOT), "-Dbuildtype=release", "-Doptimization=2"],
                       check=True, stdout=subprocess.DEVNULL)
    done = subprocess.run(["ninja", "-C", str(BUILD), "bench/depth_loops"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


def main():
    build()
    rows = []
    print("Value and all N derivatives of a recurrence, beside a loop in C (forward and backward, same flags)")
    print(f"  {'N':>9} {'batch':>6} {'tables of C':>12} {'C s':>9} {'C kept s':>9} {'ours s':>9} {'ours/C':>7}"
          f" {'ours/kept':>10} {'difference':>11}")
    for depth, batch, rounds in CASES:
        out = subprocess.check_output([str(BUILD / "bench" / "depth_loops"), str(depth), str(batch), str(rounds)],
                                      text=True)
        row = json.loads(out)
        row["ratio"] = row["seconds_ours"] / row["seconds_hand"]
        row["ratio_kept"] = row["seconds_ours"] / row["seconds_hand_kept"]
        rows.append(row)
        print(f"  {depth:>9} {batch:>6} {8e-6 * depth * batch:>9.0f} MB {row['seconds_hand']:>9.4f}"
              f" {row['seconds_hand_kept']:>9.4f} {row['seconds_ours']:>9.4f} {row['ratio']:>7.2f}"
              f" {row['ratio_kept']:>10.2f} {row['difference']:>11.1e}")
    print("  C allocates tables and results in the call, as ours does; `kept` is handed tables that are in memory"
          " already.\n  difference: of value and derivatives, relative to the greatest. Medians.")
    for row in rows:
        s = row["seconds_derive"]
        figure(f"derive at symbolic N, batch {row['batch']} (median of {row['rounds']})", s, f"{1e3 * s:.3f} ms",
               "< 1 ms", s < 1e-3)
    for row in rows:
        figure(f"value and {row['depth']:,} derivatives over C, batch {row['batch']}", row["ratio"],
               f"{row['ratio']:.2f} x", "<= 1.5 x", row["ratio"] <= 1.5)
        figure("  the same over C with tables kept", row["ratio_kept"], f"{row['ratio_kept']:.2f} x", "<= 1.5 x",
               row["ratio_kept"] <= 1.5)
    result = {"schema": "chainrule.bench.depth/1", "machine": platform.machine(), "cpus": os.cpu_count(),
              "load": os.getloadavg()[0], "rows": rows, "figures": figures}
    out = ROOT / "build" / "bench" / "depth.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    missed = sum(1 for f in figures if not f["met"])
    print(f"\n{len(figures) - missed} of {len(figures)} targets met; numbers in {out.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
