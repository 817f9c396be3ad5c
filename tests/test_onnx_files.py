"""Models as files: what is read and written unchanged has the same bytes, an edit is valid and means what it should,
and broken or hostile files end in one line and status 3."""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

EDIT = os.environ["ONNX_EDIT"]
PROGRAM = os.environ["CHAINRULE"]
SOURCE = pathlib.Path(os.environ["CHAINRULE_SOURCE"])
DEBIAN = pathlib.Path("/usr/lib/python3/dist-packages/onnx/backend/test/data")
MODELS = sorted((SOURCE / "tests/data").glob("onnx-*/*/model.onnx"))
failures = 0


def check(name, problem=None):
    global failures
    failures += problem is not None
    print(f"{'not ok' if problem else 'ok'} - {name}{': ' + problem if problem else ''}")


def run(*arguments, program=EDIT):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr.strip()


def refused(name, path, *parts, program=EDIT, arguments=("read",)):
    """One line that has all parts, status 3, no crash."""
    status, said = run(*arguments, path, program=program)
    missing = [p for p in parts if p not in said]
    if status != 3:
        check(name, f"status {status}: {said}")
    elif "\n" in said or missing:
        check(name, f"says {said!r}, without {missing}")
    else:
        check(name)


# ---- protobuf by hand: what no library would write -----------------------------------------------


def varint(v):
    out = b""
    while v >= 0x80:
        out += bytes([v & 0x7F | 0x80])
        v >>= 7
    return out + bytes([v])


def field(number, content):
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name, dims, data_type=1, **fields):
    out = b"".join(field(1, d) for d in dims) + field(2, data_type) + field(8, name)
    return out + b"".join(field(int(k[1:]), v) for k, v in fields.items())


def node(op, inputs, outputs, *attributes):
    return field(
        1,
        b"".join(
            [
                *(field(1, i) for i in inputs),
                *(field(2, o) for o in outputs),
                field(4, op),
                *(field(5, a) for a in attributes),
            ]
        ),
    )


def value(name, *dims):
    shape = b"".join(field(1, field(1, d) if isinstance(d, int) else field(2, d)) for d in dims)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def model(*graph):
    return field(1, 8) + field(7, b"".join(graph)) + field(8, field(2, 17))


def linear(extra=b"", w=None):
    w = tensor("w", [2], _9=np.array([3, 4], "<f4").tobytes()) if w is None else w
    return model(
        node("Mul", ["x", "w"], ["y"]),
        extra,
        field(5, w),
        field(11, value("x", "N", 2)),
        field(12, value("y", "N", 2)),
    )


# ---- tests ---------------------------------------------------------------------------------------


def test_same_bytes(t):
    files = MODELS + sorted(DEBIAN.glob("*/*/model.onnx"))
    for i, path in enumerate(files):
        out = t / str(i) / "out.onnx"  # external data are copied beside
        out.parent.mkdir()
        status, said = run("copy", path, out)
        if status:
            return f"{path}: {said}"
        if out.read_bytes() != path.read_bytes():
            return f"{path} has other bytes"
    return None if len(files) > 50 else "hardly any models"


def test_edit(t):
    """An edited model is valid, keeps what it had, and computes what the edit means."""
    try:
        import onnx
        from onnx import checker, numpy_helper
    except ImportError:
        onnx = None
    folder = SOURCE / "tests/data/onnx-reference/mlp_relu"
    status, said = run("scale", folder / "model.onnx", t / "scaled.onnx")
    if status:
        return said
    ref = np.load(folder / "ref.npz")
    np.savez(t / "d.npz", x=ref["in/x"])
    numbers = []
    for path in (folder / "model.onnx", t / "scaled.onnx"):
        status, said = run(
            "run", path, "--data", t / "d.npz", "--precision", "f64", "-o", t / "o.npz", "--quiet", program=PROGRAM
        )
        if status:
            return said
        numbers.append(np.load(t / "o.npz")["y"])
    if np.allclose(numbers[0], numbers[1]):
        return "the edit changed nothing"
    if onnx:
        old, new = onnx.load(folder / "model.onnx"), onnx.load(t / "scaled.onnx")
        checker.check_model(new)
        halved = numpy_helper.to_array(new.graph.initializer[0]) * 2
        if not np.array_equal(halved, numpy_helper.to_array(old.graph.initializer[0])):
            return "the first initialiser is not half of what it was"
        kept = [n.SerializeToString() for n in old.graph.node[:-1]] == [
            n.SerializeToString() for n in new.graph.node[:-2]
        ]
        same = all(getattr(old, a) == getattr(new, a) for a in ("ir_version", "producer_name", "opset_import"))
        if not kept or not same or list(old.graph.input) != list(new.graph.input):
            return "something else than the edit changed"
    return None


def test_unknown_fields(t):
    """Fields of a later schema stay where they are, in what is copied and in what is edited."""
    m = linear(extra=field(5, tensor("unused", [1], _9=b"\0\0\0\0", _777="later"))) + field(999, "of the future")
    (t / "m.onnx").write_bytes(m)
    status, said = run("copy", t / "m.onnx", t / "c.onnx")
    if status or (t / "c.onnx").read_bytes() != m:
        return f"copied: {said or 'other bytes'}"
    status, said = run("scale", t / "m.onnx", t / "s.onnx")
    if status:
        return said
    edited = (t / "s.onnx").read_bytes()
    return None if b"later" in edited and b"of the future" in edited else "they are gone from the edited file"


def test_truncated(t):
    m = (SOURCE / "tests/data/onnx-reference/loss_in_graph/model.onnx").read_bytes()
    for n in range(0, len(m), max(1, len(m) // 400)):
        (t / "m.onnx").write_bytes(m[:n])
        status, said = run("read", t / "m.onnx")
        if status not in (0, 3) or (status == 3 and (not said or "\n" in said)):
            return f"{n} bytes: status {status}, {said!r}"
    return None


def external(t, location, **more):
    keys = {"location": location, **more}
    w = tensor("w", [2], _14=1) + b"".join(field(13, field(1, k) + field(2, str(v))) for k, v in keys.items())
    (t / "model").mkdir(exist_ok=True)
    path = t / "model" / "m.onnx"
    path.write_bytes(linear(w=w))
    return path


def bad_files(t):
    def write(content):
        (t / "m.onnx").write_bytes(content)
        return t / "m.onnx"

    deep = b""
    for _ in range(10000):
        deep = field(5, field(1, "b") + field(6, field(1, field(4, "If") + deep)))
    refused("nested 10,000 deep", write(model(field(1, field(4, "If") + deep))), "nested more than 100 deep")
    refused("empty", write(b""), "is empty")
    refused("text", write(b"hello, this is no model\n"), "m.onnx: byte")
    refused("no graph", write(field(1, 8)), "has no graph")
    refused("a length beyond the end", write(varint(7 << 3 | 2) + varint(1 << 40) + b"xx"), "byte 0")
    refused("a shape that lies", write(linear(w=tensor("w", [3], _9=b"\0" * 8))), "`w` has 8 bytes", "asks for 12")
    refused(
        "a shape that overflows", write(linear(w=tensor("w", [1 << 40, 1 << 40], _9=b"\0" * 8))), "`w` has a size"
    )
    refused("a negative size", write(linear(w=tensor("w", [(1 << 64) - 2], _9=b"\0" * 8))), "`w` has a size")
    refused(
        "another field of numbers", write(linear(w=tensor("w", [2], _10=b"\0" * 16))), "`w` has 0 numbers of float32"
    )
    refused("no operator", write(model(field(1, field(1, "x")))), "a node without an operator")
    refused("a text that is none", write(model(field(1, field(4, b"\xff\xfe")))), "not UTF-8", "graph.node[0]")
    refused("a missing file", t / "none.onnx", "none.onnx")
    for location in ("../secret.bin", "/etc/passwd", "a/../../secret.bin", ""):
        refused(f"external data at {location!r}", external(t, location), "only files in the model's folder")
    (t / "secret.bin").write_bytes(b"\0" * 8)
    path = external(t, "link.bin")
    (t / "model" / "link.bin").symlink_to(t / "secret.bin")
    refused("external data through a link", path, "a link that leads out")
    (t / "model" / "short.bin").write_bytes(b"\0" * 6)
    refused("external data that are too short", external(t, "short.bin"), "`w` has 6 bytes")
    refused("an offset beyond them", external(t, "short.bin", offset=7), "beyond the end")
    refused("a length beyond them", external(t, "short.bin", offset=0, length=8), "beyond the end")


def bad_graphs(t):
    np.savez(t / "d.npz", x=np.ones((4, 2), "f4"))
    np.savez(t / "wide.npz", x=np.ones((4, 3), "f4"))

    def through(name, content, *parts, data="d.npz"):
        (t / "g.onnx").write_bytes(content)
        refused(
            name,
            t / "g.onnx",
            *parts,
            program=PROGRAM,
            arguments=("run", "--quiet", "--data", t / data, "-o", t / "none.npz"),
        )

    x, y, w = field(11, value("x", "N", 2)), field(12, value("y", "N", 2)), field(5, tensor("w", [2], _9=b"\0" * 8))
    through(
        "a circle",
        model(node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["y"]), x, y),
        "depends on its own output",
    )
    through("a missing tensor", model(node("Add", ["x", "q"], ["y"]), x, y), "nothing makes its input `q`")
    through("a missing output", model(node("Relu", ["x"], ["z"]), x, y), "nothing makes the output `y`")
    through(
        "two makers",
        model(node("Relu", ["x"], ["y"]), node("Tanh", ["x"], ["y"]), x, y),
        "`y` is an output of two nodes",
    )
    through(
        "unknown operators",
        model(node("Frob", ["x"], ["a"]), node("Nitz", ["a"], ["b"]), node("Frob", ["b"], ["y"]), x, y),
        "operators not known: Frob (`a`, `y`); Nitz (`b`)",
    )
    through(
        "shapes that do not broadcast",
        model(node("Add", ["x", "v"], ["y"]), field(5, tensor("v", [5], _9=b"\0" * 20)), x, y),
        "Add",
        "do not broadcast",
    )
    through(
        "data of another shape",
        model(node("Mul", ["x", "w"], ["y"]), w, x, y),
        "`x` is N x 2 in the model, and 4 x 3 in the data",
        data="wide.npz",
    )
    np.savez(t / "odd.npz", x=np.ones((3, 2), "f4"))
    u = node("Identity", ["w"], ["u"])
    for name, declared, data in (
        ("an output as long as a batch by chance", value("u", 2), "d.npz"),
        ("and the last batch is shorter", value("u", 2), "odd.npz"),
        ("and its shape is not declared", field(1, "u") + field(2, field(1, field(1, 1))), "odd.npz"),
    ):
        (t / "g.onnx").write_bytes(model(node("Mul", ["x", "w"], ["y"]), u, w, x, y, field(12, declared)))
        how = ("run", "--quiet", "--batch", "2", "--data", t / data, "-o", t / "none.npz")
        refused(name, t / "g.onnx", "output `u`", "run one batch", program=PROGRAM, arguments=how)
    if (t / "none.npz").exists():
        check("nothing is written", "none.npz is there")
    else:
        check("nothing is written")


def other_formats(t):
    for name, start in (("m.pt", b"PK\3\4rest"), ("m.h5", b"\x89HDF\r\n\x1a\nrest")):
        (t / name).write_bytes(start)
        refused(f"{name} is told how to become one", t / name, name, "torch.onnx.export")


def test_peak_memory(t):
    """Numbers are copied once, out of the mapped file: a model of 192 MiB in 192 MiB and a little."""
    size = 192 << 20
    parts = [field(5, tensor(f"w{i}", [size // 8 // 4], _9=b"\0" * (size // 8))) for i in range(8)]
    (t / "big.onnx").write_bytes(
        model(node("Add", ["w0", "w1"], ["y"]), *parts, field(12, value("y", size // 8 // 4)))
    )
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, EDIT, "read", str(t / "big.onnx")], capture_output=True, text=True
    )
    peak = int(done.stdout or 0) << 10
    if os.environ.get("CHAINRULE_SANITIZE", "none") != "none":
        return None
    return None if size <= peak <= 1.3 * size else f"{peak >> 20} MiB for {size >> 20}: {done.stderr}"


def test_standardize(t):
    (t / "s.onnx").write_bytes(linear(w=tensor("w", [2], _9=np.ones(2, "<f4").tobytes())))
    x = np.stack([np.arange(6), np.full(6, 0.1)], 1).astype("f4")  # the mean of six 0.1 is not 0.1
    np.savez(t / "s.npz", x=x)
    how = ("run", "--quiet", "--standardize", "--data", t / "s.npz", "-o", t / "out.npz", t / "s.onnx")
    status, said = run(*how, program=PROGRAM)
    if status != 0:
        return said
    y = np.load(t / "out.npz")["y"]
    want = (x[:, 0] - x[:, 0].mean()) / x[:, 0].std()
    return None if np.abs(y[:, 0] - want).max() < 1e-6 and not y[:, 1].any() else f"{y.tolist()}"


def main():
    with tempfile.TemporaryDirectory() as t:
        t = pathlib.Path(t)
        tests = (test_same_bytes, test_edit, test_unknown_fields, test_truncated, test_standardize, test_peak_memory)
        for test in tests:
            check(test.__name__[5:].replace("_", " "), test(t))
        bad_files(t)
        bad_graphs(t)
        other_formats(t)
    sys.exit(failures > 0)


main()
