"""Speed and memory of deriving: growth with depth, the Matrix Cookbook beside SymPy, start-up. See bench/README.md.

Prints each figure with its target; the numbers behind them go to build/bench/derive.json. Nothing fails because the
machine is slow: a missed target is printed as such and the exit status stays 0.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench" / "common"))
sys.path.insert(0, str(ROOT / "bench" / "derive"))
import measured  # noqa: E402
from measured import BUILD, figure, figures  # noqa: E402

LAYERS = (1_000, 10_000, 100_000)
ROUNDS = 5
STARTS = 50


# ---- growth -------------------------------------------------------------------------------------


def growth():
    print("Growth: an MLP of L layers derived for its 2 L parameters, all simplified")
    runs = {layers: [] for layers in LAYERS}
    for _ in range(ROUNDS):  # the sizes in turn, so that a busy machine slows all of them
        for layers in LAYERS:
            out = subprocess.check_output([str(BUILD / "bench" / "derive_mlp"), str(layers), "1"], text=True)
            runs[layers].append(json.loads(out))
    print(f"  {'layers':>8} {'parameters':>11} {'nodes':>10} {'build s':>9} {'reverse s':>10} {'simplify s':>11}"
          f" {'derive s':>9} {'fastest':>8} {'bytes/node':>11}")
    rows = []
    for layers, many in runs.items():
        row = {k: many[0][k] for k in ("layers", "parameters", "nodes", "nodes_forward", "arena_bytes", "peak_bytes")}
        row["runs"] = many
        for part in ("build", "reverse", "simplify", "derive"):
            row[part] = statistics.median(m[f"seconds_{part}"] for m in many)
        row["derive_fastest"] = min(m["seconds_derive"] for m in many)
        row["bytes_per_node"] = (row["peak_bytes"] - row["arena_bytes"]) / row["nodes"]
        rows.append(row)
        print(f"  {layers:>8} {2 * layers:>11} {row['nodes']:>10} {row['build']:>9.4f} {row['reverse']:>10.4f}"
              f" {row['simplify']:>11.4f} {row['derive']:>9.4f} {row['derive_fastest']:>8.4f}"
              f" {row['bytes_per_node']:>11.1f}")
    _, middle, large = rows
    ratio = large["derive"] / middle["derive"]
    seconds, extra = middle["derive"], middle["bytes_per_node"]
    figure("derive 10,000 layers (median of 5)", seconds, f"{seconds:.3f} s", "< 0.2 s", seconds < 0.2)
    figure("bytes a node beyond the arena, 10,000 layers", extra, f"{extra:.1f}", "< 100", extra < 100)
    figure("100,000 layers over 10,000 (medians)", ratio, f"{ratio:.1f} x", "<= 12 x", ratio <= 12)
    return {"rows": rows, "ratio": ratio, "ratio_fastest": large["derive_fastest"] / middle["derive_fastest"]}


# ---- beside SymPy -------------------------------------------------------------------------------


def milliseconds(s):
    return f"{1e3 * s:.3g} ms" if s >= 1e-3 else f"{1e6 * s:.3g} us"


def way_of(r):
    """How SymPy did, in a few words."""
    m, e = r["sympy_matrix"], r["sympy_entries"]
    if m.get("right"):
        return milliseconds(m["seconds"]), "right"
    said = f"WRONG: says {m['text']}" if "text" in m and "error" not in m else "cannot"
    if e and e.get("right"):
        return milliseconds(e["seconds"]), f"{said}; right entry by entry, 3 x 3"
    return "-", f"{said}; entry by entry: " + ("wrong" if e and "text" in e else (e or {}).get("error", "-"))


def cookbook():
    try:
        import peer_sympy
    except ImportError as e:
        print(f"Beside SymPy: not measured ({e})")
        return None
    data = ROOT / "tests" / "data" / "matrix-cookbook.txt"
    print("\nMatrix Cookbook: derivation and printing, chainrule beside SymPy "
          f"{peer_sympy.sp.__version__} (start-up excluded; answers judged by central differences)")
    d = peer_sympy.compare(data, str(BUILD / "bench" / "derive_rows"), 0.1)
    print(f"  {'expression':<32} {'by':<12} {'chainrule':>9} {'':6} {'SymPy':>9} {'ratio':>8}  SymPy's matrices")
    for r in d["rows"]:
        ours, (peer, word) = r["chainrule"], way_of(r)
        shown = milliseconds(ours["seconds"]) if "seconds" in ours else "-"
        right = "right" if ours.get("right") else "WRONG" if "text" in ours else "cannot"
        ratio = f"{r['ratio']:.0f}" if r["ratio"] else "-"
        print(f"  {r['expression']:<32} {r['variable']:<12} {shown:>9} {right:<6} {peer:>9} {ratio:>8}  {word}")
    for expr in d["not_expressible"]:
        print(f"  {expr:<32} parametrised matrices: in the language of neither")
    can = [r for r in d["rows"] if r["sympy_matrix"].get("right") and r["ratio"]]
    ratios = [r["ratio"] for r in d["rows"] if r["ratio"]]
    wrong = sum(1 for r in d["rows"] if "text" in r["sympy_matrix"] and not r["sympy_matrix"].get("right"))
    cannot = len(d["rows"]) - len(can) - wrong
    ours = sum(1 for r in d["rows"] if r["chainrule"].get("right"))
    middle = statistics.median(r["ratio"] for r in can)
    least = min(ratios)
    print(f"  of {len(d['rows'])} rows: chainrule right {ours}; SymPy's matrices right {len(can)}, wrong {wrong}, "
          f"cannot {cannot}; median ratio where they are right {middle:.0f}")
    figure("times faster than SymPy, least of all rows it can do", least, f"{least:.0f} x", ">= 200 x", least >= 200)
    d.update(chainrule_right=ours, sympy_right=len(can), sympy_wrong=wrong, sympy_cannot=cannot, least_ratio=least,
             median_ratio=middle)
    return d


# ---- start-up -----------------------------------------------------------------------------------


def start_up():
    print("\nStart-up: the program starts, derives the sheet's Task 1 (six queries) and ends")
    program, sheet = str(BUILD / "chainrule"), str(ROOT / "examples" / "sheet-11" / "task1.cr")
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    times = []
    for _ in range(STARTS):
        t = time.perf_counter()
        _, status = os.waitpid(os.posix_spawn(program, [program, "derive", sheet], os.environ, file_actions=quiet), 0)
        times.append(time.perf_counter() - t)
        if status:
            sys.exit(f"chainrule derive {sheet} failed")
    s = statistics.median(times)
    figure(f"start, derive the sheet, end (median of {STARTS})", s, f"{1e3 * s:.2f} ms", "< 10 ms", s < 0.01)
    return {"seconds": s, "fastest": min(times), "slowest": max(times)}


def main():
    measured.build("chainrule", "bench/derive_mlp", "bench/derive_rows")
    result = {"schema": "chainrule.bench.derive/1", **measured.machine()}
    result["growth"] = growth()
    result["cookbook"] = cookbook()
    result["start_up"] = start_up()
    result["figures"] = figures
    measured.write("derive", result, sum(f["met"] for f in figures), len(figures))


if __name__ == "__main__":
    main()
