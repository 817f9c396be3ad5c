"""What is installed is complete: the example of the README builds against it through pkg-config, with the shared and
the static library, and prints what it should; the header is C++, too. Needs the build directory of the program.

    python3 tests/test_install.py build/chainrule
"""
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

PROGRAM = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CHAINRULE", "build/chainrule")).resolve()
SOURCE = pathlib.Path(os.environ.get("CHAINRULE_SOURCE", pathlib.Path(__file__).resolve().parent.parent))
SANITIZE = os.environ.get("CHAINRULE_SANITIZE", "none")
FLAGS = [] if SANITIZE == "none" else [f"-fsanitize={SANITIZE}"]
CC = shlex.split(os.environ.get("CC", "cc"))


def run(command, **kw):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          timeout=120, **kw)
    if done.returncode:
        print(f"fails with {done.returncode}: {shlex.join(map(str, command))}\n{done.stdout}")
        sys.exit(1)
    return done.stdout


def example():
    """The last program of the README, and what it prints."""
    text = (SOURCE / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```c\n(.*?)^```\n\n^```text\n(.*?)^```", text, re.M | re.S)[-1]


def main():
    with tempfile.TemporaryDirectory(prefix="chainrule-install-") as temp:
        root, place = pathlib.Path(temp), pathlib.Path(temp) / "prefix"
        # The build directory has a prefix of its own; DESTDIR goes in front of it.
        run(["meson", "install", "-C", PROGRAM.parent, "--no-rebuild", "--quiet", "--destdir", root / "dest"])
        found = list((root / "dest").rglob("chainrule.pc"))
        assert len(found) == 1, f"not one chainrule.pc: {found}"
        prefix = re.search(r"^prefix=(.*)$", found[0].read_text(encoding="utf-8"), re.M)[1]
        shutil.move(root / "dest" / prefix.lstrip("/"), place)
        pc = next(place.rglob("chainrule.pc"))
        lib = pc.parent.parent
        for name in ["bin/chainrule", "include/chainrule.h", "include/chainrule_ops.def",
                     "share/man/man1/chainrule.1", "share/bash-completion/completions/chainrule"]:
            assert (place / name).is_file(), f"{name} is not installed"
        assert run([place / "bin/chainrule", "eval", "-e", "1 + 1", "--quiet"]) == "2\n"

        environment = {**os.environ, "PKG_CONFIG_PATH": str(pc.parent), "LD_LIBRARY_PATH": str(lib)}

        def config(*args):
            ask = ["pkg-config", f"--define-variable=prefix={place}", *args, "chainrule"]
            return run(ask, env=environment).split()

        program, output = example()
        assert "cr_run(" in program
        (root / "example.c").write_text(program, encoding="utf-8")
        for kind in ["shared", "static"]:
            libraries = config("--cflags", "--libs", *(["--static"] if kind == "static" else []))
            if kind == "static":  # the archive in place of -lchainrule, all else as pkg-config says
                libraries = [str(lib / "libchainrule.a") if x == "-lchainrule" else x for x in libraries]
            run([*CC, "-std=c17", "-Wall", "-Wextra", "-Werror", *FLAGS, "example.c", *libraries, "-o", kind], cwd=root)
            assert run([f"./{kind}"], cwd=root, env=environment) == output, f"{kind}: not what the README says"
            needed = run(["readelf", "-d", kind], cwd=root) if shutil.which("readelf") else ""
            if needed:
                assert ("libchainrule" in needed) == (kind == "shared"), f"{kind}: {needed}"
            print(f"{kind}: {shlex.join(libraries)}")
        (root / "header.cc").write_text("#include <chainrule.h>\n", encoding="utf-8")
        for cxx in filter(shutil.which, ["g++", "clang++"]):
            run([cxx, "-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "header.cc",
                 *config("--cflags")], cwd=root)
            print(f"header: {cxx}")
    print("1 passed, 0 failed")


main()
