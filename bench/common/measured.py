"""What the measuring scripts share: the build that is measured, figures with their targets, and where numbers go."""
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build-bench"

figures = []


def build(*targets):
    """A release build of its own: what is measured is what is installed, with -O2."""
    info = BUILD / "meson-info" / "meson-info.json"
    if not info.exists() or f'"source": "{ROOT}"' not in info.read_text():
        shutil.rmtree(BUILD, ignore_errors=True)
        subprocess.run(["meson", "setup", str(BUILD), str(ROOT), "-Dbuildtype=release", "-Doptimization=2"],
                       check=True, stdout=subprocess.DEVNULL)
    done = subprocess.run(["ninja", "-C", str(BUILD), *targets], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


def figure(name, value, shown, target, met):
    figures.append({"name": name, "value": value, "target": target, "met": bool(met)})
    print(f"  {name:<58} {shown:>12}   target {target:<12} {'met' if met else 'MISSED'}")


def machine():
    return {"machine": platform.machine(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]}


def write(name, result, met, of):
    """The numbers to build/bench/NAME.json, and how many targets are met."""
    out = ROOT / "build" / "bench" / f"{name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\n{met} of {of} targets met; numbers in {out.relative_to(ROOT)}")
