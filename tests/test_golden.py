"""The exercise sheet against files that were read by eye: tests/golden/. UPDATE=1 writes them anew.

    python3 tests/test_golden.py build/chainrule

How far a check is from the formula depends on the machine's libm, so that those numbers are replaced by a bound.
"""
import difflib
import os
import pathlib
import re
import subprocess
import sys

PROGRAM = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CHAINRULE", "build/chainrule"))
SOURCE = pathlib.Path(os.environ.get("CHAINRULE_SOURCE", pathlib.Path(__file__).resolve().parent.parent))
GOLDEN = SOURCE / "tests" / "golden"
SHEET, DEPTH = "examples/sheet-11/task1.cr", "examples/sheet-11/task2.cr"
ENV = {**os.environ, "CHAINRULE": PROGRAM, "LC_ALL": "C"}


def program(*args):
    return subprocess.run([PROGRAM, *args], capture_output=True, text=True, check=True, cwd=SOURCE, env=ENV).stdout


def worksheet(sheet):
    with_template = [sys.executable, "tools/worksheet.py", sheet, sheet[:-3] + ".tex.in", "/dev/stdout"]
    return subprocess.run(with_template, stdout=subprocess.PIPE, text=True, check=True, cwd=SOURCE, env=ENV).stdout


FILES = {
    "task1.txt": lambda: program("derive", "--format", "text", "--steps", SHEET),
    "task1.unicode.txt": lambda: program("derive", "--format", "unicode", "--steps", SHEET),
    "task1.latex.txt": lambda: program("derive", "--format", "latex", "--steps", SHEET),
    "task1.json": lambda: program("derive", "--json", "-", "--steps", SHEET),
    "task1.check.txt": lambda: program("check", SHEET),
    "task1.tex": lambda: worksheet(SHEET),
    "task2.txt": lambda: program("derive", "--format", "text", "--steps", DEPTH),
    "task2.latex.txt": lambda: program("derive", "--format", "latex", "--steps", DEPTH),
    "task2.explain.txt": lambda: program("explain", "--format", "text", DEPTH),
    "task2.tex": lambda: worksheet(DEPTH),
}


def bounded(text):
    """Differences as `<1e-9`; one that is larger stays, and so fails."""
    def bound(m):
        value = float(m[1]) * (10.0 ** int(m[2]) if m[2] else 1.0)
        return "largest difference <1e-9" if value < 1e-9 else m[0]

    text = re.sub(r"no difference( at all)?", "largest difference 0", text)
    text = re.sub(r"largest difference \$([\d.]+)(?: \\cdot 10\^\{(-?\d+)\})?\$", bound, text)
    return re.sub(r"largest difference ([\d.]+(?:e[-+]?\d+)?)()(?: at \S+)?", bound, text)


def main():
    failed = 0
    for name, make in FILES.items():
        path, now = GOLDEN / name, bounded(make())
        if os.environ.get("UPDATE"):
            GOLDEN.mkdir(exist_ok=True)
            path.write_text(now, encoding="utf-8")
        then = path.read_text(encoding="utf-8")
        if now != then:
            failed += 1
            lines = then.splitlines(True), now.splitlines(True)
            sys.stdout.writelines(difflib.unified_diff(*lines, f"golden/{name}", "now"))
    if failed:
        print("UPDATE=1 accepts what is new")
    print(f"{len(FILES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
