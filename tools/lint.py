"""Checks what the compiler cannot: the layers of the source, and its style. Exit status 1 if anything is found."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# A room includes itself and what stands before it.
ROOMS = ["base", "data", "graph", "ops", "calculus", "lang", "kernel", "exec", "plan", "program", "network",
         "onnx", "flow", "model", "train", "repair", "report"]
FOLDERS = ["include", "src", "cli", "python", "tests", "bench", "tools", "completions", "docs", "report"]
SUFFIXES = {".c", ".h", ".def", ".py", ".sh", ".bash", ".build", ".1", ".md", ".js", ".mjs",
            ".css", ".html"}
MAX_LINES, MAX_COLUMNS = 700, 120
INCLUDE = re.compile(r'\s*#\s*include\s+"([^"]+)"')


def files():
    for folder in FOLDERS:
        yield from sorted(p for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix in SUFFIXES
                          and "node_modules" not in p.parts)
    for name in ("run", ".ci/run", "meson.build"):
        yield ROOT / name


def layer_fault(path, target):
    """What is wrong with `#include "target"` in path, or None."""
    parts = path.relative_to(ROOT).parts
    public = (ROOT / "include" / target).is_file()
    beside = (path.parent / target).is_file()
    if target == "report_page.h":  # made of report/ by its build.mjs
        return None if parts[0] == "cli" else "only cli/ knows the page"
    if parts[0] in ("cli", "python"):
        return None if public or beside else f"{parts[0]}/ sees only the public header, not {target}"
    if parts[0] == "include":
        return None if public else f"a public header includes the internal {target}"
    if parts[0] != "src":
        return None
    if parts[1] not in ROOMS:
        return f"src/{parts[1]} is not a room; tools/lint.py lists them in order"
    if public or beside:
        return None
    if target.endswith(".pb-c.h"):  # made by protoc-c
        return None if parts[1] == "onnx" else "only room onnx knows protobuf"
    room = target.split("/")[0]
    if room not in ROOMS or not (ROOT / "src" / target).is_file():
        return f'"{target}" is in no room'
    if ROOMS.index(room) > ROOMS.index(parts[1]):
        return f"room {parts[1]} includes {target}, but {room} stands after it"
    return None


def check(path):
    """Yields (line number, message)."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        yield 1, "not UTF-8"
        return
    lines = text.split("\n")
    if lines[-1]:
        yield len(lines), "no newline at the end of the file"
    # The public header is one file by design: what a user includes. It has sections instead.
    bounded = path.suffix in (".c", ".h", ".py", ".js", ".mjs") and path.parent.name != "include"
    if len(lines) - 1 > MAX_LINES and bounded:
        yield MAX_LINES, f"{len(lines) - 1} lines; more than {MAX_LINES} is more than one concept"
    code = path.suffix in (".c", ".h", ".def")
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            yield number, "white space at the end of the line"
        if "\t" in line and (code or path.suffix == ".py"):
            yield number, "tab"
        if len(line) > MAX_COLUMNS and path.suffix != ".md":
            yield number, f"{len(line)} columns; {MAX_COLUMNS} is the limit"
        include = INCLUDE.match(line) if code else None
        fault = include and layer_fault(path, include[1])
        if fault:
            yield number, fault


def main():
    found = 0
    for path in files():
        for number, message in check(path):
            print(f"{path.relative_to(ROOT)}:{number}: {message}")
            found += 1
    if found:
        print(f"lint: {found} found")
    return 1 if found else 0


sys.exit(main())
