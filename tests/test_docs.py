"""The examples in the documentation are run, and what they print is compared. UPDATE=1 writes what is printed now.

    python3 tests/test_docs.py build/chainrule

Fenced blocks that are looked at:
    console      lines `$ COMMAND`, each followed by what it prints
    cr           a file of the formula language; a `text` block after it is what `chainrule derive` prints for it
                 (`eval` if it has no derive statement)
    c            a program against the library; a `text` block after it is what it prints. After a comment
                 `<!-- FILE.c NAME -->` it is the body of the function NAME of that file, after `<!-- FILE.c NAME() -->`
                 the function; a `text` block after it is what the program FILE prints with the argument NAME
How far a check is from the formula depends on the machine: those numbers need only be small on both sides.
"""
import difflib
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap

PROGRAM = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CHAINRULE", "build/chainrule")).resolve()
SOURCE = pathlib.Path(os.environ.get("CHAINRULE_SOURCE", pathlib.Path(__file__).resolve().parent.parent))
DOCUMENTS = ["README.md", "docs/language.md", "docs/depth.md", "docs/c.md", "docs/data.md", "docs/flow.md",
             "docs/models.md", "docs/plan.md", "docs/report.md"]
QUOTE = re.compile(r"<!-- (\S+\.c) (\w+)(\(\))? -->")
SANITIZE = os.environ.get("CHAINRULE_SANITIZE", "none")


def shell(command, directory=SOURCE, text=None):
    """Both outputs of a command in which `chainrule` is the program under test."""
    script = f'chainrule() {{ {shlex.quote(str(PROGRAM))} "$@"; }}\n{command}'
    done = subprocess.run(["bash", "-c", script], cwd=directory, input=text,
                          stdout=subprocess.PIPE, text=True, check=False,
                          stderr=subprocess.STDOUT, env={**os.environ, "LC_ALL": "C"}, timeout=120)
    return done.stdout, done.returncode


def console(lines):
    out, at = [], 0
    while at < len(lines):
        command = lines[at]
        assert command.startswith("$ "), f"not a command: {command}"
        at += 1
        while command.endswith("\\"):  # goes on in the next line
            command += "\n" + lines[at]
            at += 1
        while at < len(lines) and not lines[at].startswith("$ "):
            at += 1
        printed = shell(command[2:])[0].rstrip("\n")
        out += command.split("\n") + (printed.split("\n") if printed else [])
        if at < len(lines):
            out.append("")
    return out


def formulas(lines):
    text = "\n".join(lines) + "\n"
    derive = re.search(r"^derive\b", text, re.M)
    if not derive and not re.search(r"^eval\b", text, re.M):
        text += "eval 1\n"
    printed, status = shell(f"chainrule {'derive' if derive else 'eval'} -", text=text)
    if status:
        print(f"fails:\n{text}{printed}")
    return printed.rstrip("\n").split("\n"), status


def compiled(text, *args):
    with tempfile.TemporaryDirectory() as d:
        flags = [] if SANITIZE == "none" else [f"-fsanitize={SANITIZE}"]
        (pathlib.Path(d) / "example.c").write_text(text, encoding="utf-8")
        (pathlib.Path(d) / "tests").symlink_to(SOURCE / "tests")  # for models to read
        command = ["cc", "-std=c17", "-Wall", "-Wextra", "-Werror", *flags, f"-I{SOURCE}/include", "example.c",
                   str(PROGRAM.parent / "libchainrule.a"), "-ljansson", "-lz", "-lprotobuf-c", "-fopenmp", "-ldl",
                   "-lm", "-o", "example"]
        printed, status = shell(f"{shlex.join(command)} && ./example {shlex.join(args)}", directory=d)
    if status:
        print(f"fails:\n{printed}")
    return printed.rstrip("\n").split("\n"), status


def quoted(file, name, whole):
    """The lines of a function of a file, or of its body."""
    source = (SOURCE / file).read_text(encoding="utf-8")
    m = re.search(rf"^static [^\n]*\b{name}\([^)]*\)\n{{\n(.*?)^}}$", source, re.M | re.S)
    return (m[0] if whole else textwrap.dedent(m[1])).rstrip("\n").split("\n")


def small(line):
    line = re.sub(r"\d+ bytes", "# bytes", line)  # of a slab: depends on the processor
    return re.sub(r"no difference|largest difference \d\.\de-(?:09|[1-9]\d+) at \S+", "largest difference <1e-9", line)


def current(document):
    """The lines of the document as they should be; how many blocks were run; how many failed."""
    lines, out, at, ran, failed = document.split("\n"), [], 0, 0, 0
    answer = quote = None  # what a text block here must be; the source of a block
    while at < len(lines):
        m = re.fullmatch(r"```(\w+)", lines[at])
        if not m:
            answer = answer if not lines[at] else None
            quote = QUOTE.fullmatch(lines[at]) or (quote if not lines[at] else None)
            out.append(lines[at])
            at += 1
            continue
        end = lines.index("```", at)
        block = lines[at + 1:end]
        if m[1] == "console":
            new, ran = console(block), ran + 1
        elif m[1] == "text" and answer is not None:
            new = answer
        elif m[1] == "c" and quote:
            new = quoted(quote[1], quote[2], quote[3])
        else:
            new = block
        status, answer = 0, None
        if m[1] == "cr":
            answer, status = formulas(block)
            ran += 1
        elif m[1] == "c" and not quote:
            answer, status = compiled("\n".join(block) + "\n")
            ran += 1
        elif m[1] == "c" and lines[end + 1:end + 3] == ["", "```text"]:
            answer, status = compiled((SOURCE / quote[1]).read_text(encoding="utf-8"), quote[2])
            ran += 1
        quote = None
        failed += status != 0
        if [small(x) for x in new] == [small(x) for x in block]:
            new = block
        out += [lines[at], *new, "```"]
        at = end + 1
    return "\n".join(out), ran, failed


def main():
    bad = good = 0
    for name in DOCUMENTS:
        path = SOURCE / name
        then = path.read_text(encoding="utf-8")
        now, ran, failed = current(then)
        if now != then and os.environ.get("UPDATE"):
            path.write_text(now, encoding="utf-8")
        elif now != then:
            failed += 1
            sys.stdout.writelines(difflib.unified_diff(then.splitlines(True), now.splitlines(True), name, "now"))
        state = "as printed" if not failed else "not as printed (UPDATE=1 writes it anew)"
        print(f"{name}: {ran} examples run, {state}")
        bad += failed
        good += ran - min(failed, ran)
    print(f"{good} passed, {bad} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
