"""Running: networks and formulas with their derivatives beside PyTorch, JAX, ADOL-C, C by hand, and the limits of the
machine. See bench/README.md.

    ./run bench run [--quick] [--case NAME]... [--peer NAME]...

Each side is a process of its own (run/worker.h), all on the same cores; they take turns. The table has every figure
beside its target; the numbers behind it go to build/bench/run.json. A missed target is printed as such and the exit
status stays 0.
"""
import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build-bench"
PEERS_IN = ROOT / "build-peers"
HERE = ROOT / "bench" / "run"
sys.path.insert(0, str(HERE))
import cases as table  # noqa: E402

CORES = "0,1"
AGREE = 1e-3  # relative: sides that differ by more do not compute the same
LIMITS = ("f32_2", "f64_2", "triad_nt_2", "f32_1", "f64_1", "triad_nt_1", "triad_1", "triad_2", "copy_1", "copy_2",
          "copy_nt_1", "copy_nt_2")
# By hand: what a good programmer would tell the compiler. No reassociation; numbers are finite.
BY_HAND = ("-std=gnu17 -O3 -march=native -mprefer-vector-width=512 -ffp-contract=fast -fno-math-errno "
           "-fno-trapping-math -ffinite-math-only -fno-signed-zeros -fopenmp -Wall -Wextra").split()


class Absent(Exception):
    """A side that cannot be measured here, and why."""


# ---- sides: how each is made, and its environment -------------------------------------------------


def command(*arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr + done.stdout).strip().splitlines()
        raise Absent(next((line for line in last if "error" in line), last[-1] if last else "failed"))


def made(name):
    PEERS_IN.mkdir(parents=True, exist_ok=True)
    return PEERS_IN / name


def compile_c(name, *sources):
    program = made(name)
    command("cc", *BY_HAND, *(HERE / s for s in sources), HERE / "worker.c", "-o", program, "-lm")
    return [str(program)]


def hand():
    return compile_c("hand", *sorted(p.name for p in HERE.glob("hand*.c")))


def limits():
    return compile_c("limits", "limits.c")


def adolc():
    worker, adolc_o, program = made("worker.o"), made("adolc.o"), made("adolc")
    command("cc", *BY_HAND, "-c", HERE / "worker.c", "-o", worker)
    flags = ("-std=gnu++17", "-O3", "-march=native", "-fno-math-errno")
    command("g++", *flags, "-c", HERE / "peer_adolc.cpp", "-o", adolc_o)
    command("g++", adolc_o, worker, "-ladolc", "-o", program)
    return [str(program)]


def python_peer(interpreter, module):
    if not pathlib.Path(interpreter).exists():
        raise Absent(f"no {interpreter}")
    command(interpreter, "-c", f"import {module}")
    return [str(interpreter), "-B", str(HERE / f"peer_{module}.py")]


def ours():
    if "cr_plan_new" not in (ROOT / "include" / "chainrule.h").read_text(encoding="utf-8"):
        raise Absent("not yet: chainrule.h has no plans")
    info = BUILD / "meson-info" / "meson-info.json"
    if not info.exists() or f'"source": "{ROOT}"' not in info.read_text():
        shutil.rmtree(BUILD, ignore_errors=True)
        command("meson", "setup", BUILD, ROOT, "-Dbuildtype=release", "-Doptimization=2")
    command("ninja", "-C", BUILD, "bench/run_ours")
    return [str(BUILD / "bench" / "run_ours")]


def vectors():
    """The best names that OpenBLAS and PyTorch have for this processor."""
    flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii").split()
    core = next((c for f, c in (("avx512_bf16", "COOPERLAKE"), ("avx512dq", "SKYLAKEX"), ("avx2", "HASWELL"))
                 if f in flags), None)
    env = {"OPENBLAS_CORETYPE": core} if core else {}
    return env | ({"ATEN_CPU_CAPABILITY": "avx512"} if "avx512dq" in flags else {})


# malloc keeps what it has: page faults cost PyTorch more than most of its kernels. Its memory is measured
# with a malloc as it comes.
KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_TOP_PAD_": "67108864"}
SIDES = {  # name -> (how to make it, environment beyond that of all)
    "limits": (limits, {}),
    "ours": (ours, {}),
    "hand": (hand, {}),
    "torch": (lambda: python_peer("/usr/bin/python3", "torch"), vectors()),
    "jax": (lambda: python_peer(PEERS_IN / "venv-jax" / "bin" / "python", "jax"), {}),
    "adolc": (adolc, {}),
}
PEERS = tuple(name for name in SIDES if name not in ("limits", "ours"))


def environment(side, threads, stock_malloc):
    set_here = ("OMP_", "OPENBLAS_", "GOMP_", "MKL_", "MALLOC_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(set_here)}
    env |= {"OMP_NUM_THREADS": str(threads), "OMP_PROC_BIND": "true", "OMP_PLACES": "cores", "OMP_DYNAMIC": "false"}
    return env | SIDES[side][1] | (KEEP if side == "torch" and not stock_malloc else {})


# ---- a process --------------------------------------------------------------------------------------


class Process:
    def __init__(self, program, side, threads, names, stock_malloc=False):
        cores = CORES if threads > 1 else CORES.split(",", 1)[0]
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.child = subprocess.Popen(["taskset", "-c", cores, "timeout", "1500"] + program + list(names), text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                      env=environment(side, threads, stock_malloc))
        head = self.read()
        self.settings, self.cases, self.rounds = head["settings"], head["cases"], {n: [] for n in names}

    def read(self):
        line = self.child.stdout.readline()
        if not line.endswith("\n"):
            self.child.kill()
            self.child.wait()
            self.errors.seek(0)
            said = self.errors.read().strip().splitlines()
            raise Absent(said[-1] if said else f"ended with status {self.child.returncode}")
        return json.loads(line)

    def measure(self, name, seconds):
        self.child.stdin.write(f"run {name} {seconds}\n")
        self.child.stdin.flush()
        self.rounds[name].append(self.read()["ms"])

    def end(self):
        """Its peak of memory in KiB."""
        self.child.stdin.write("end\n")
        self.child.stdin.flush()
        kib = self.read()["peak_kib"]
        self.child.wait()
        return kib

    def figures(self, name):
        """median: of the medians of the rounds; least: of all"""
        rounds = self.rounds[name]
        return {"median": statistics.median(statistics.median(r) for r in rounds), "least": min(map(min, rounds)),
                "rounds": [statistics.median(r) for r in rounds], "runs": sum(map(len, rounds))}


class Limits(Process):
    def rate(self, name, best=False):
        """Work per second; best: of all runs, what the machine does when nothing else is on it."""
        return 1e3 * self.cases[name]["work"] / self.figures(name)["least" if best else "median"]


def busy():
    """Share of the cores that others use while none of our sides runs."""
    def ticks():
        with open("/proc/stat", encoding="ascii") as f:
            t = [int(x) for x in f.readline().split()[1:]]
        return sum(t), t[3] + t[4]

    before = ticks()
    time.sleep(0.1)
    now = ticks()
    return 1 - (now[1] - before[1]) / max(1, now[0] - before[0])


# ---- a case -----------------------------------------------------------------------------------------


def differs(a, b):
    """The greatest relative difference of losses and norms."""
    return max(abs(a[k] - b[k]) / max(abs(a[k]), abs(b[k]), 1e-30) for k in ("loss", "norm"))


class Bench:
    def __init__(self, options):
        self.options, self.rounds, self.seconds = options, 1 if options.quick else 5, 0.2 if options.quick else 0.5
        self.programs, self.idle, self.settings, self.ours_ms = {}, {}, {}, {}
        self.figures, self.rows = [], []
        wanted = options.peer or PEERS
        for side in ("limits", "ours") + tuple(p for p in PEERS if p in wanted):
            try:
                self.programs[side] = SIDES[side][0]()
                process = Process(self.programs[side], side, 2, ())
                self.settings[side], self.idle[side] = process.settings, process.end()
            except Absent as e:
                self.programs[side] = None
                self.settings[side] = f"not measured: {e}"
        if not self.programs["limits"]:
            sys.exit(f"bench run: {self.settings['limits']}")
        self.limits = Limits(self.programs["limits"], "limits", 2, LIMITS)

    def start(self, side, case, name):
        if self.programs.get(side) is None:
            return None, self.settings.get(side, "not asked for")
        try:
            return Process(self.programs[side], side, case.threads, (name,)), None
        except Absent as e:
            return None, str(e)

    def memory(self, side, case, name, process):
        """What it takes beyond an idle process of its kind; of PyTorch, without the malloc that keeps everything."""
        kib = process.end()
        if side == "torch":
            stock = Process(self.programs[side], side, case.threads, (name,), stock_malloc=True)
            stock.measure(name, 0)
            kib = min(kib, stock.end())
        return kib - self.idle[side]

    def measure(self, case):
        sides = [("ours", name) for name in case.ours] + [(p, case.name) for p in case.peers if p in self.programs]
        running, row = [], {"case": case.name, "title": case.title, "sides": {}, "busy": []}
        for side, name in sides:
            process, why = self.start(side, case, name)
            key = name if side == "ours" else side
            row["sides"][key] = {"side": side, "why": why} if why else {"side": side, **process.cases[name]}
            if process:
                running.append((key, name, process))
        for _ in range(self.rounds):
            row["busy"].append(busy())
            for limit in ("f32_2", "triad_nt_2"):
                self.limits.measure(limit, 0.03)
            for _, name, process in running:
                time.sleep(0.02)  # OpenMP's threads of the one before have gone to sleep
                process.measure(name, self.seconds)
        for key, name, process in running:
            figures = row["sides"][key]
            figures.update(process.figures(name))
            figures["memory_kib"] = self.memory(figures["side"], case, name, process)
        return row

    def show(self, case, row):
        sides = row["sides"]
        now = table.Now(self.limits.rate("f32_2", True), self.limits.rate("triad_nt_2", True),
                        {k: s["median"] for k, s in sides.items() if "median" in s})
        ours_ms = min((now.ms[name] for name in case.ours if name in now.ms), default=None)
        if ours_ms is not None:
            self.ours_ms[case.name] = ours_ms
        now.ms.update({k: v for k, v in self.ours_ms.items() if k not in now.ms})
        row["busiest"] = max(row["busy"])
        load = f"   (others used {row['busiest']:.0%} of the machine)" if row["busiest"] > 0.1 else ""
        print(f"\n{case.title}{load}")
        print(f"  {'':<22} {'ms':>9} {'least':>9} {'of limit':>9} {'to ours':>8} {'MiB':>7}")
        reference = next((s for s in sides.values() if s["side"] != "ours" and "median" in s), None)
        for key, s in sides.items():
            self.line(case, key, s, now, ours_ms, reference)
        for name in case.ours:
            for target in case.targets:
                self.verdict(f"{case.title}" + (f" [{name}]" if name != case.name else ""), sides[name].get("median"),
                             target.text, target.ms(now), "ms")
            if "torch" in case.peers:
                torch = sides.get("torch", {}).get("memory_kib")
                own = sides[name].get("memory_kib")
                self.verdict("  its memory", own and own / 1024, "half of torch's", torch and torch / 2048, "MiB")

    @staticmethod
    def line(case, key, s, now, ours_ms, reference):
        if "median" not in s:
            print(f"  {key:<22} {s['why']}")
            return
        limit = (case.flops / now.peak if case.flops else case.bytes / now.stream) * 1e3
        share = f"{limit / s['median']:>9.0%}" if limit else f"{'':>9}"
        ratio = f"{s['median'] / ours_ms:>8.2f}" if ours_ms else f"{'':>8}"
        s["difference"] = differs(s, reference) if reference else None
        wrong = s["difference"] is not None and s["difference"] > AGREE
        s["wrong"] = wrong
        print(f"  {key:<22} {s['median']:>9.4g} {s['least']:>9.4g} {share} {ratio} {s['memory_kib'] / 1024:>7.0f}"
              + (f"   WRONG: differs by {s['difference']:.1e}" if wrong else ""))

    def verdict(self, name, value, text, limit, unit):
        known = value is not None and limit
        met = bool(known and value <= limit)
        word = "met" if met else "MISSED" if known else "not measured"
        self.figures.append({"name": name.strip(), "value": value, "target": text, "limit": limit or None,
                             "unit": unit, "verdict": word})
        shown = f"{value:.4g} {unit}" if value is not None else "-"
        goal = f"{text} ({limit:.4g} {unit})" if limit else text
        print(f"  {name[:58]:<58} {shown:>12}   target {goal:<32} {word}")

    def machine(self):
        print("Limits of the machine: median and best of the rounds")
        for name in LIMITS:
            for _ in range(self.rounds):
                self.limits.measure(name, 0.1)
            unit = "GFLOP/s" if name[0] == "f" else "GB/s"
            middle, best = self.limits.rate(name) / 1e9, self.limits.rate(name, True) / 1e9
            print(f"  {name:<12} {middle:>8.1f} {best:>8.1f} {unit}")
        print("Sides, and the memory of an idle process of each, which is not counted below")
        for side, what in self.settings.items():
            print(f"  {side:<8} {self.idle.get(side, 0) / 1024:>4.0f} MiB  {what}")

    def run(self):
        self.machine()
        chosen = [c for c in table.CASES if not self.options.case or c.name in self.options.case]
        for case in chosen:
            row = self.measure(case)
            self.show(case, row)
            self.rows.append(row)
        limits = {n: {"median": self.limits.rate(n), "best": self.limits.rate(n, True)} for n in LIMITS}
        self.limits.end()
        count = {w: sum(1 for f in self.figures if f["verdict"] == w) for w in ("met", "MISSED", "not measured")}
        wrong = [f"{r['case']} {k}" for r in self.rows for k, s in r["sides"].items() if s.get("wrong")]
        out = ROOT / "build" / "bench" / "run.json"
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"schema": "chainrule.bench.run/1", "machine": platform.machine(), "cores": CORES,
                                   "quick": self.options.quick, "limits": limits, "settings": self.settings,
                                   "idle_kib": self.idle, "rows": self.rows, "figures": self.figures, "wrong": wrong},
                                  indent=1) + "\n", encoding="utf-8")
        print(f"\n{count['met']} of {len(self.figures)} targets met, {count['MISSED']} missed, "
              f"{count['not measured']} not measured; numbers in {out.relative_to(ROOT)}")
        if wrong:
            print(f"WRONG: {', '.join(wrong)}")


def main():
    parser = argparse.ArgumentParser(prog="./run bench run")
    parser.add_argument("--quick", action="store_true", help="one round, for developers")
    parser.add_argument("--case", action="append", choices=[c.name for c in table.CASES], help="only this (repeatable)")
    parser.add_argument("--peer", action="append", choices=PEERS, help="only this beside ours (repeatable)")
    Bench(parser.parse_args()).run()


if __name__ == "__main__":
    main()
