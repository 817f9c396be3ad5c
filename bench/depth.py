"""Depth: deriving through a recurrence of symbolic depth N, and running value and all N derivatives beside a loop in C
written by hand. See bench/README.md.

Prints each figure with its target; the numbers behind them go to build/bench/depth.json. A missed target is printed as
such and the exit status stays 0.
"""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench" / "common"))
import measured  # noqa: E402
from measured import BUILD, figure, figures  # noqa: E402

# depth, batch, rounds: at batch 1024 a table of all states at depth 50,000 is 0.4 GB; ours holds two, C one
CASES = ((1_000_000, 1, 15), (50_000, 1024, 5))


def main():
    measured.build("bench/depth_loops")  # for both sides: the loop in C has the flags of the library
    rows = []
    print("Value and all N derivatives of a recurrence, beside a loop in C (forward and backward, same flags)")
    print(f"  {'N':>9} {'batch':>6} {'tables of C':>12} {'C s':>9} {'C kept s':>9} {'first s':>9} {'ours s':>9}"
          f" {'ours/C':>7} {'ours/kept':>10} {'difference':>11}")
    for depth, batch, rounds in CASES:
        out = subprocess.check_output([str(BUILD / "bench" / "depth_loops"), str(depth), str(batch), str(rounds)],
                                      text=True)
        row = json.loads(out)
        row["ratio"] = row["seconds_ours"] / row["seconds_hand"]
        row["ratio_kept"] = row["seconds_ours"] / row["seconds_hand_kept"]
        rows.append(row)
        print(f"  {depth:>9} {batch:>6} {8e-6 * depth * batch:>9.0f} MB {row['seconds_hand']:>9.4f}"
              f" {row['seconds_hand_kept']:>9.4f} {row['seconds_first']:>9.4f}"
              f" {row['seconds_ours']:>9.4f} {row['ratio']:>7.2f}"
              f" {row['ratio_kept']:>10.2f} {row['difference']:>11.1e}")
    print("  C allocates tables and results in the call; `kept` is handed tables that are in memory already. Ours keeps"
          "\n  tables and results from call to call; first: its first call, which allocates all."
          "\n  difference: of value and derivatives, relative to the greatest. Medians.")
    for row in rows:
        s = row["seconds_derive"]
        figure(f"derive at symbolic N, batch {row['batch']} (median of {row['rounds']})", s, f"{1e3 * s:.3f} ms",
               "< 1 ms", s < 1e-3)
    for row in rows:
        figure(f"value and {row['depth']:,} derivatives over C, batch {row['batch']}", row["ratio"],
               f"{row['ratio']:.2f} x", "<= 1.5 x", row["ratio"] <= 1.5)
        figure("  the same over C with tables kept", row["ratio_kept"], f"{row['ratio_kept']:.2f} x", "<= 1.5 x",
               row["ratio_kept"] <= 1.5)
    result = {"schema": "chainrule.bench.depth/1", **measured.machine(), "rows": rows, "figures": figures}
    measured.write("depth", result, sum(f["met"] for f in figures), len(figures))


if __name__ == "__main__":
    main()
