"""Arrays from files and to files, compared with NumPy both ways: what NumPy and other writers wrote is read, and what
was written is read by NumPy. Files that are cut short anywhere, or lie, give one clean line.

    python3 tests/test_data_files.py -v
"""
import gzip
import io
import json
import os
import pathlib
import pickle
import struct
import subprocess
import tempfile
import unittest
import zipfile

import numpy as np

COPY = os.environ["DATA_COPY"]
CHAINRULE = os.environ.get("CHAINRULE", "build/chainrule")
TYPES = ["f4", "f8", "f2", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"]
SAFE = {"F64": "f8", "F32": "f4", "F16": "f2", "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U64": "u8",
        "U32": "u4", "U16": "u2", "U8": "u1", "BOOL": "b1", "BF16": "u2"}


def safetensors(arrays, **change):
    """{name: (dtype, array)} as the bytes of a file; change: entries of the header to replace."""
    header, data = {}, b""
    for name, (dtype, a) in arrays.items():
        piece = np.ascontiguousarray(a).tobytes()
        header[name] = {"dtype": dtype, "shape": list(a.shape), "data_offsets": [len(data), len(data) + len(piece)]}
        data += piece
    header.update(change)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def read_safetensors(path):
    raw = path.read_bytes()
    n = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + n])
    out = {}
    for name, e in header.items():
        a, b = e["data_offsets"]
        assert (8 + n + a) % np.dtype(SAFE[e["dtype"]]).itemsize == 0, "not aligned"
        out[name] = (e["dtype"], np.frombuffer(raw[8 + n + a:8 + n + b], "<" + SAFE[e["dtype"]]).reshape(e["shape"]))
    return out


def idx(a):
    code = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}[a.dtype.str[1:]]
    head = bytes([0, 0, code, a.ndim]) + struct.pack(f">{a.ndim}I", *a.shape)
    return head + a.astype(a.dtype.newbyteorder(">")).tobytes()


def sample(dtype, shape):
    """Entries that use all of the type's range."""
    n = int(np.prod(shape, dtype=int))
    rng = np.random.default_rng(n)
    if dtype == "b1":
        return (rng.integers(0, 2, n) == 1).reshape(shape)
    if dtype[0] == "f":
        a = rng.standard_normal(n).astype(dtype)
        special = np.array([np.inf, -np.inf, np.nan, -0.0, np.finfo(dtype).tiny / 2, np.finfo(dtype).max], dtype)
        a[:len(special)] = special[:n]
        return a.reshape(shape)
    i = np.iinfo(dtype)
    a = rng.integers(i.min, i.max, n, dtype=dtype, endpoint=True)
    a[:2] = [i.min, i.max][:n]
    return a.reshape(shape)


class Data(unittest.TestCase):
    def setUp(self):
        self.temp = tempfile.TemporaryDirectory(prefix="chainrule-data-")
        self.dir = pathlib.Path(self.temp.name)

    def tearDown(self):
        self.temp.cleanup()

    def copy(self, *args):
        return subprocess.run([COPY, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=False, timeout=60)

    def reads(self, name, content, *options):
        """The arrays that a file of these bytes is read as, {name: array}."""
        path, out = self.dir / name, self.dir / "read.npz"
        path.write_bytes(content)
        done = self.copy(*options, path, out)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        with np.load(out) as z:
            return dict(z)

    def fails(self, name, content, says, *options):
        path, out = self.dir / name, self.dir / "none.npz"
        path.write_bytes(content)
        done = self.copy(*options, path, out)
        self.assertEqual((done.returncode, done.stderr), (3, ""), done)
        self.assertIn(says, done.stdout)
        self.assertTrue(done.stdout.startswith(str(path)), done.stdout)
        self.assertEqual(done.stdout.count("\n"), 1)
        self.assertFalse(out.exists())

    def same(self, got, want):
        self.assertEqual(list(got), list(want))
        for name, a in want.items():
            self.assertEqual((got[name].dtype, got[name].shape), (a.dtype.newbyteorder("="), a.shape), name)
            np.testing.assert_array_equal(got[name], a, name)
            if a.dtype.kind == "f":
                np.testing.assert_array_equal(np.signbit(got[name]), np.signbit(a), name)

    def npz(self, save, arrays):
        f = io.BytesIO()
        save(f, **arrays)
        return f.getvalue()

    def npy(self, a, **options):
        f = io.BytesIO()
        np.lib.format.write_array(f, a, **options)
        return f.getvalue()


class Numpy(Data):
    def test_all_types_both_ways(self):
        arrays = {}
        for t in TYPES:
            arrays |= {t: sample(t, (3, 5)), f"{t}/big": sample(t, (2, 3, 4)).astype(">" + t),
                       f"{t} fortran": np.asfortranarray(sample(t, (4, 3, 2))), f"{t}.0d": sample(t, ()),
                       f"{t}_empty": sample(t, (3, 0, 2)), f"größe {t}": sample(t, (7,))}
        for save in np.savez, np.savez_compressed:
            self.same(self.reads("a.npz", self.npz(save, arrays)), arrays)
        for a in arrays.values():
            self.same(self.reads("a.npy", self.npy(a)), {"x": a})

    def test_versions_and_orders(self):
        a = sample("f4", (4, 5, 6))
        for version in (1, 0), (2, 0), (3, 0):
            self.same(self.reads("a.npy", self.npy(a, version=version)), {"x": a})
        strange = a.transpose(1, 0, 2)
        self.same(self.reads("a.npy", self.npy(strange)), {"x": strange})
        self.same(self.reads("a", self.npy(np.asfortranarray(a.astype(">f8")))), {"x": a.astype("f8")})
        many = np.arange(2 ** 15, dtype="i4").reshape((2,) * 15 + (1,), order="F")
        self.same(self.reads("a.npy", self.npy(many)), {"x": many})

    def test_written_npy(self):
        for t in TYPES:
            for shape in (), (3,), (2, 3), (0,), (1, 0, 4):
                a = sample(t, shape)
                path, out = self.dir / "a.npy", self.dir / "b.npy"
                path.write_bytes(self.npy(a))
                self.assertEqual(self.copy(path, out).returncode, 0)
                self.same({"x": np.load(out)}, {"x": a})
                self.assertEqual(out.read_bytes(), path.read_bytes())

    def test_a_large_array_is_read_in_pieces(self):
        rng = np.random.default_rng(1)
        arrays = {"a": rng.standard_normal((700, 500)).astype("f4"), "b": np.zeros(10 ** 6), "c": np.arange(3)}
        self.same(self.reads("a.npz", self.npz(np.savez_compressed, arrays)), arrays)

    def test_streamed_archives(self):
        """Sizes behind the data, as in an archive that was written to a pipe."""
        class Pipe(io.BytesIO):
            def seekable(self):
                return False

            def seek(self, *_):
                raise io.UnsupportedOperation

            def tell(self):
                raise io.UnsupportedOperation
        a = sample("f8", (10, 10))
        for method in zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED:
            f = Pipe()
            with zipfile.ZipFile(f, "w", method) as z:
                z.writestr("a.npy", self.npy(a))
                z.writestr("readme.txt", "not an array")
            self.same(self.reads("a.npz", f.getvalue()), {"a": a})

    def test_many_members(self):
        """More than 16 bits count: zip64, both ways."""
        f = io.BytesIO()
        member = self.npy(np.uint8(7))
        with zipfile.ZipFile(f, "w") as z:
            for i in range(66000):
                z.writestr(f"{i}.npy", member)
        path, out = self.dir / "a.npz", self.dir / "b.npz"
        path.write_bytes(f.getvalue())
        self.assertEqual(self.copy(path, out).stdout, "")
        with zipfile.ZipFile(out) as z:
            self.assertEqual(len(z.namelist()), 66000)
            self.assertEqual(z.read("65999.npy")[-1:], b"\7")

    def test_refused(self):
        self.fails("a.npy", self.npy(np.array([{}, None])), "Python objects")
        self.fails("a.npy", self.npy(np.array(["text"])), "texts (dtype <U4)")
        self.fails("a.npy", self.npy(np.array([b"text"])), "texts (dtype |S4)")
        self.fails("a.npy", self.npy(np.array([1j])), "complex numbers (dtype <c16)")
        self.fails("a.npy", self.npy(np.array(["2020-01-01"], "M8[D]")), "dates")
        self.fails("a.npy", self.npy(np.zeros(2, [("a", "f4"), ("b", "i4")])), "with fields")
        self.fails("a.npy", self.npy(np.zeros(2, "f16")), "dtype <f16")
        self.fails("a.npz", self.npz(np.savez, {"a": np.zeros(2), "ok": np.array(["x"])}), "`ok`: holds texts")
        self.fails("a.npy", self.npy(np.arange(3)) + b"\0", "bytes behind its end")
        self.fails("a.npy", b"\x93NUMPY\4\0" + self.npy(np.zeros(1))[8:], "format 4")

    def header(self, text, data=b""):
        text = text.encode()
        return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + data

    def test_headers_that_lie(self):
        def header(shape, descr="'<f4'"):
            return self.header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n", bytes(8))
        self.same(self.reads("a.npy", header("(2,)")), {"x": np.zeros(2, "f4")})
        for shape in "(3,)", "(4294967296, 4294967296)", "(0, 9223372036854775800)", "(9223372036854775800, 0)":
            self.fails("a.npy", header(shape), "")
        for shape in "(2", "(-2,)", "(2.0,)", "(2,2,)x", "()(", "(99999999999999999999,)", "[2]", "None":
            self.fails("a.npy", header(shape), "header that is not understood")
        self.fails("a.npy", header("(" + "1," * 17 + ")"), "more than 16 axes")
        for descr in "3", "'<f4", "'<f4' '", "''":
            self.fails("a.npy", header("(2,)", descr), "")
        self.fails("a.npy", self.header("{'descr': '<f4', 'shape': (2,)}", bytes(8)), "not understood")
        self.fails("a.npy", self.header("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}",
                                        bytes(8)), "not understood")

    def test_archives_that_lie(self):
        one = self.npz(np.savez_compressed, {"a": np.zeros(1000)})
        end, central = one.rfind(b"PK\5\6"), one.rfind(b"PK\1\2")

        def bent(at, fmt, v):
            return one[:at] + struct.pack(fmt, v) + one[at + struct.calcsize(fmt):]
        for at, v in [(24, 9000), (20, 10), (20, 10 ** 8), (16, 1), (42, 5), (42, 10 ** 8), (10, 0), (28, 3)]:
            with self.subTest(at=at, v=v):
                self.fails("a.npz", bent(central + at, "<H" if at in (10, 28) else "<I", v), "damaged archive")
        packed = bent(central + 10, "<H", 12)
        self.fails("a.npz", packed[:8] + struct.pack("<H", 12) + packed[10:], "packed by method 12")
        self.fails("a.npz", bent(central + 8, "<H", 1), "encrypted")
        for at, fmt, v in [(10, "<H", 2), (12, "<I", 10 ** 6), (16, "<I", 10 ** 6), (4, "<H", 1), (20, "<H", 5)]:
            self.fails("a.npz", bent(end + at, fmt, v), "damaged archive")
        f = io.BytesIO()
        with zipfile.ZipFile(f, "w") as z:
            z.writestr("a.npy", self.npy(np.zeros(1)))
            with self.assertWarns(UserWarning):
                z.writestr("a.npy", self.npy(np.ones(1)))
        self.fails("a.npz", f.getvalue(), "two arrays `a`")
        f = io.BytesIO()
        with zipfile.ZipFile(f, "w") as z:
            z.writestr("a.txt", "text")
        self.fails("a.npz", f.getvalue(), "without arrays")

    def test_bombs(self):
        bomb = self.npz(np.savez_compressed, {"a": np.zeros(10 ** 7)})
        self.assertLess(len(bomb), 10 ** 5)
        self.fails("a.npz", bomb, "`a`: unpacks to more than the limit of 1000000 bytes", "--limit", 10 ** 6)
        two = self.npz(np.savez_compressed, {"a": np.zeros(10 ** 5), "b": np.zeros(10 ** 5)})
        self.fails("a.npz", two, "`b`: unpacks to more than the limit of 1000000 bytes", "--limit", 10 ** 6)
        self.assertEqual(len(self.reads("a.npz", two, "--limit", 2 * 10 ** 6)), 2)
        self.fails("a.csv.gz", gzip.compress(b"1\n" * 10 ** 6), "limit of 1000000 bytes", "--limit", 10 ** 6)


class Tables(Data):
    def test_separators_headers_quotes(self):
        want = {"x": np.array([[1, 2.5], [-3e-5, 4]])}
        for text in ["1,2.5\n-3e-5,4\n", "1;2.5\n-3e-5;4", "1\t2.5\r\n-3e-5\t4\r\n", "a,b\n1,2.5\n-3e-5,4\n",
                     '"a";"b;c"\n"1";"2.5"\n-3e-5;4\n', "\n\n a , b \n\n 1 , +2.5 \n-3E-05,  4\n",
                     '\ufeffa,"b ""q""\nlines"\n1,2.5\n-3e-5,"4"\n\n', "# a\tb\n1\t2.5\n-.3e-4\t4.\n"]:
            with self.subTest(text=text):
                self.same(self.reads("a.csv", text.encode()), want)
                self.same(self.reads("a.csv.gz", gzip.compress(text.encode())), want)
                self.same(self.reads("table", text.encode()), want)
        halves = gzip.compress(b"1,2.5\n-3e") + gzip.compress(b"-5,4\n")
        self.same(self.reads("a.csv.gz", halves), want)
        self.same(self.reads("a.csv", b"nan,-inf\nInfinity,NaN\n"),
                  {"x": np.array([[np.nan, -np.inf], [np.inf, np.nan]])})

    def test_labels(self):
        text = b"a,b,class\n1,2,0\n3,4,1\n"
        x, whole = np.array([[1, 2], [3, 4.0]]), np.array([0, 1])
        for label in "last", "class", "3":
            self.same(self.reads("a.csv", text, "--label", label), {"x": x, "label": whole})
        self.same(self.reads("a.csv", b"0.5,1,2\n1,3,4\n", "--label", "1"), {"x": x, "label": np.array([0.5, 1])})
        self.fails("a.csv", text, "no column `d` for the label; there are 3: `a`, `b`, `class`", "--label", "d")
        self.fails("a.csv", b"1,2\n", "no column `3` for the label; there are 2, without a header", "--label", "3")
        self.fails("a.csv", text, "no column `0`", "--label", "0")
        self.fails("a.csv", b"1\n", "one column only", "--label", "last")
        self.fails("a.npy", self.npy(np.zeros((2, 2))), "has no columns", "--label", "last")

    def test_numbers_are_the_nearest(self):
        rng = np.random.default_rng(3)
        bits = rng.integers(0, 2 ** 63, 20000, dtype=np.uint64).view("f8")
        v = np.concatenate([bits[np.isfinite(bits)], rng.standard_normal(20000), [5e-324, 1.7976931348623157e308, 0.1]])
        for form in "%.17g", "%.18e", "%.6f", "%.15g", "%.30f", "%r":
            texts = [form % x for x in v.tolist()]
            got = self.reads("a.csv", "\n".join(texts).encode())["x"][:, 0]
            np.testing.assert_array_equal(got, [float(t) for t in texts], form)
        texts = ["1" * 400, "0." + "0" * 400 + "1", "1e400", "-1e-400", "123456789012345678901234567890e-20", "1e22",
                 "1e23"]
        np.testing.assert_array_equal(self.reads("a.csv", "\n".join(texts).encode())["x"][:, 0],
                                      [float(t) for t in texts])

    def test_bad_cells_are_named(self):
        for text, says in [("a,b\n1,2\n3,\n", "line 3, column 2 (`b`): an empty cell"),
                           ("1,2\n,4\n", "line 2, column 1: an empty cell"),
                           ("1,2\n3,x4\n", "line 2, column 2: `x4` is not a number"),
                           ("1,2\n3,4x\n", "`4x` is not a number"), ("1,2\n0x10,4\n", "`0x10` is not a number"),
                           ("1,2\n3,1e\n", "`1e` is not"), ("1,2\n3,.\n", "`.` is not"), ("1,2\n3,-\n", "`-` is not"),
                           ("1,2\n3,1.2.3\n", "`1.2.3` is not"), ("1;2\n3;1,5\n", "`1,5` is not a number"),
                           ("1,2\n3,- 4\n", "`- 4` is not"), ("1,2\n3,--4\n", "`--4` is not"),
                           ("1,2\n3,nano\n", "`nano` is not"), ("1,2\n3,.inf\n", "`.inf` is not"),
                           ("a,b\n1,2\n3\n", "line 3 has 1 cells, and line 1 has 2"),
                           ("\n1,2\n3,4,5\n", "line 3 has more than 2 cells, and line 2 has 2"),
                           ('a,"b\nc"\n1,2\n3,"4\n', "line 4: a quote that does not end"),
                           ('1,2\n3,"4" 5\n', "line 2: text behind a quoted cell"), ("", "is empty"),
                           ("\n \n", "holds no numbers"), ("a,b\n", "has a header and no rows"),
                           ("1,2\n3,\0\n", "not a file of text"), ('1,2\n3,"\x1b\nx"\n', "`??x` is not a number"),
                           ("1,2\n3,4\r5,6\n", "line 2")]:
            with self.subTest(text=text):
                self.fails("a.csv", text.encode(), says)

    def test_written(self):
        arrays = {"x": sample("f8", (20, 3)), "label": sample("i8", (20,))}
        path, out = self.dir / "a.npz", self.dir / "b.csv.gz"
        path.write_bytes(self.npz(np.savez, arrays))
        self.assertEqual(self.copy(path, out).stdout, "")
        text = gzip.decompress(out.read_bytes())
        self.assertEqual(text.split(b"\n")[0], b"x1,x2,x3,label")
        table = np.genfromtxt(io.BytesIO(text), delimiter=",", skip_header=1)
        np.testing.assert_array_equal(table[:, :3], arrays["x"])
        self.assertEqual([int(line.split(b",")[3]) for line in text.split(b"\n")[1:-1]], arrays["label"].tolist())
        small = {"x": arrays["x"], "label": np.arange(20)}
        path.write_bytes(self.npz(np.savez, small))
        self.assertEqual(self.copy(path, out).stdout, "")
        self.same(self.reads("b.csv.gz", out.read_bytes(), "--label", "last"), small)
        for bad, says in [({"x": np.zeros((2, 2, 2))}, "2 x 2 x 2"), ({"x": np.zeros(3), "y": np.zeros(2)}, "`y` (2)"),
                          ({"1": np.zeros(3)}, "`1` would be read"), ({"a": np.zeros(()), }, "a scalar"),
                          ({c: np.zeros(2) for c in "abc"}, "not 3")]:
            path.write_bytes(self.npz(np.savez, bad))
            done = self.copy(path, self.dir / "bad.csv")
            self.assertEqual(done.returncode, 3)
            self.assertIn(says, done.stdout)
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()), ["a.npz", "b.csv.gz", "read.npz"])


class Idx(Data):
    def test_both_ways(self):
        for t in "u1", "i1", "i2", "i4", "f4", "f8":
            for shape in (5,), (2, 3, 4), (), (0, 3):
                a = sample(t, shape)
                self.same(self.reads("some-idx3-ubyte", idx(a)), {"x": a})
                for name in "a.idx", "a.idx.gz":
                    (self.dir / "a.npy").write_bytes(self.npy(a))
                    out = self.dir / name
                    self.assertEqual(self.copy(self.dir / "a.npy", out).stdout, "")
                    raw = out.read_bytes()
                    self.assertEqual(gzip.decompress(raw) if name.endswith("gz") else raw, idx(a))
        (self.dir / "a.npy").write_bytes(self.npy(np.zeros(3, "u4")))
        self.assertIn("IDX has no uint32, which `x` is", self.copy(self.dir / "a.npy", self.dir / "no.idx").stdout)

    def test_pairs(self):
        images, labels = sample("u1", (6, 4, 4)), sample("u1", (6,))
        (self.dir / "i.gz").write_bytes(gzip.compress(idx(images)))
        (self.dir / "l.idx").write_bytes(idx(labels))
        out = self.dir / "out.npz"
        self.assertEqual(self.copy(f"{self.dir / 'i.gz'},{self.dir / 'l.idx'}", out).stdout, "")
        with np.load(out) as z:
            self.same(dict(z), {"x": images, "label": labels})
        (self.dir / "a,b.idx").write_bytes(idx(labels))
        self.assertEqual(self.copy(self.dir / "a,b.idx", out).stdout, "")
        self.assertIn("cannot open", self.copy(f"{self.dir / 'i.gz'},{self.dir / 'none'}", out).stdout)
        np.savez(self.dir / "two.npz", a=1, b=2)
        self.assertIn("holds 2 arrays", self.copy(f"{self.dir / 'i.gz'},{self.dir / 'two.npz'}", out).stdout)

    def test_refused(self):
        a = sample("u1", (2, 3))
        self.fails("a.idx", idx(a)[:-1], "cut short")
        self.fails("a.idx", idx(a) + b"\0", "behind its end")
        self.fails("a.idx", bytes([0, 0, 10, 1]) + bytes(4), "unknown type 10")
        self.fails("a.idx", bytes([0, 0, 8, 3]) + b"\xff" * 12, "more than any memory")
        self.fails("a.idx.gz", gzip.compress(bytes([0, 0, 8, 2]) + b"\0\0\xff\xff" * 2), "cut short")
        self.fails("a.idx", bytes([0, 0, 8, 17]) + bytes(68), "17 axes")
        self.fails("a.idx.gz", gzip.compress(idx(a))[:-3] + b"abc", "damaged compressed data")


class Safetensors(Data):
    def test_both_ways(self):
        arrays = {f"layer.{k}": (k, sample(SAFE[k], (3, 5)) if k != "BF16" else np.arange(1000, 1015, dtype="u2"))
                  for k in SAFE}
        arrays |= {'q"\\\n\u00e9': ("F32", sample("f4", ())), "empty": ("F64", sample("f8", (0, 4))),
                   "last": ("U8", sample("u1", (3,)))}
        path, out = self.dir / "a.safetensors", self.dir / "b.safetensors"
        raw = safetensors(arrays, __metadata__={"format": "pt"})
        path.write_bytes(raw)
        self.assertEqual(self.copy(path, out).stdout, "")
        got = read_safetensors(out)
        self.assertEqual(set(got), set(arrays))
        for name, (dtype, a) in arrays.items():
            self.assertEqual(got[name][0], dtype)
            np.testing.assert_array_equal(got[name][1], a)
        numpy = self.reads("a.safetensors", raw)
        for name, (dtype, a) in arrays.items():
            if dtype == "BF16":
                np.testing.assert_array_equal(numpy[name].view("u4"), a.astype("u4") << 16)
                self.assertEqual(numpy[name].dtype, np.float32)
            else:
                self.same({name: numpy[name]}, {name: a})
        self.assertEqual(self.copy(out, path).stdout, "")
        self.assertEqual(path.read_bytes(), out.read_bytes())

    def test_lies(self):
        a = {"a": ("F32", sample("f4", (2, 3))), "b": ("F32", sample("f4", (2,)))}

        def entry(dtype="F32", shape=(2,), place=(24, 32)):
            return {"dtype": dtype, "shape": list(shape), "data_offsets": list(place)}
        for b, says in [(entry(place=(20, 28)), "`b` overlaps"), (entry(place=(25, 33)), "leaves a hole"),
                        (entry(shape=(3,)), "different sizes"), (entry(place=(32, 24)), "no dtype, shape"),
                        (entry(shape=(3,), place=(24, 36)), "ends at byte 36 of the data, and there are 32"),
                        (entry(dtype="F8_E4M3"), "holds F8_E4M3"), (entry(shape=(1,), place=(24, 28)), "4 bytes that"),
                        (entry(shape=(2 ** 62, 4)), "different sizes"), (entry(shape=(-2,)), "a shape that is none"),
                        (entry(shape=(1.5,)), "a shape"), (entry(shape=(1,) * 17), "17 axes"), ({}, "no dtype"),
                        ([], "no dtype"), ({"dtype": "F32"}, "no dtype")]:
            with self.subTest(b=b):
                self.fails("a.safetensors", safetensors(a, b=b), says)
        raw = safetensors(a)
        self.fails("a.safetensors", raw + b"\0", "1 bytes that belong to no tensor")
        self.fails("a.safetensors", raw.replace(b'"b"', b'"a"'), "no JSON")
        self.fails("a.safetensors", struct.pack("<Q", 2 ** 62) + raw[8:], "cut short")
        self.fails("a.safetensors", struct.pack("<Q", 4) + b"[[[[", "no JSON")
        self.fails("a.safetensors", struct.pack("<Q", 10 ** 5) + b"[" * 10 ** 5, "no JSON")


class Files(Data):
    def test_every_cut(self):
        """No prefix of a file is read as a file, or crashes; CSV may end at any digit."""
        a = sample("f4", (2, 3))
        files = {"a.npy": self.npy(a), "s.npz": self.npz(np.savez, {"a": a, "b": a[0]}),
                 "c.npz": self.npz(np.savez_compressed, {"a": a, "b": a[0]}), "a.idx": idx(a),
                 "a.idx.gz": gzip.compress(idx(a)), "a.csv.gz": gzip.compress(b"1,2\n3,4\n" * 5),
                 "a.safetensors": safetensors({"a": ("F32", a), "b": ("F32", a[0])})}
        for name, raw in files.items():
            self.reads(name, raw)
            for n in range(len(raw)):
                path = self.dir / name
                path.write_bytes(raw[:n])
                done = self.copy(path, self.dir / "none.npz")
                self.assertEqual((done.returncode, done.stderr), (3, ""), (name, n, done))
                self.assertTrue(done.stdout.startswith(str(path)), (name, n, done))

    def test_others(self):
        self.fails("model.pt", pickle.dumps({"a": 1}, 2), "PyTorch or a pickle")
        self.fails("model", pickle.dumps({"a": 1}, 2), "np.savez")
        f = io.BytesIO()
        with zipfile.ZipFile(f, "w") as z:
            z.writestr("archive/data.pkl", pickle.dumps({"a": 1}, 2))
        self.fails("model.pth", f.getvalue(), "PyTorch")
        self.fails("model.h5", b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5")
        self.fails("image.png", b"\x89PNG\r\n\x1a\n" + bytes(100), "of no format that is read")
        self.fails("a.npz.gz", gzip.compress(self.npz(np.savez, {"a": np.zeros(2)})), "unpack it first")
        self.assertIn("cannot open", self.copy(self.dir / "none.npz", self.dir / "b.npz").stdout)
        self.assertIn("is a folder", self.copy(self.dir, self.dir / "b.npz").stdout)

    def test_writing_fails_cleanly(self):
        a = self.dir / "a.npz"
        np.savez(a, a=1, b=2)
        for out, says in [("no/b.npz", "cannot write: No such file"), ("b.npy", "holds one array, not 2"),
                          ("b.idx", "holds one array"), ("b.dat", "its ending is none"), ("b.npz.gz", "its ending"),
                          ("b", "its ending")]:
            done = self.copy(a, self.dir / out)
            self.assertEqual(done.returncode, 3)
            self.assertIn(says, done.stdout)
        os.mkdir(self.dir / "folder.npz")
        self.assertIn("not a regular file", self.copy(a, self.dir / "folder.npz").stdout)
        os.rmdir(self.dir / "folder.npz")
        (self.dir / "b.npy").write_text("old")
        self.assertEqual(self.copy(a, self.dir / "b.npy").returncode, 3)
        self.assertEqual((self.dir / "b.npy").read_text(), "old")
        self.assertEqual(sorted(p.name for p in self.dir.iterdir()), ["a.npz", "b.npy"])
        os.chmod(self.dir / "b.npy", 0o640)
        np.save(self.dir / "c.npy", np.zeros(3))
        self.assertEqual(self.copy(self.dir / "c.npy", self.dir / "b.npy").returncode, 0)
        self.assertEqual(os.stat(self.dir / "b.npy").st_mode & 0o777, 0o640)

    def test_pipes(self):
        fifo = self.dir / "pipe.npz"
        os.mkfifo(fifo)
        with subprocess.Popen([COPY, fifo, self.dir / "b.npz"]) as p:
            fifo.write_bytes(self.npz(np.savez, {"a": np.arange(5)}))
            self.assertEqual(p.wait(60), 0)
        np.testing.assert_array_equal(np.load(self.dir / "b.npz")["a"], np.arange(5))
        done = subprocess.run([COPY, "-", self.dir / "c.npz"], input=b"1 , 2\n3,4\n", check=False, timeout=60)
        self.assertEqual(done.returncode, 0)
        np.testing.assert_array_equal(np.load(self.dir / "c.npz")["x"], [[1, 2], [3, 4]])

    def test_a_later_file_replaces(self):
        np.savez(self.dir / "a.npz", a=1, b=2)
        np.savez(self.dir / "b.npz", b=np.ones(3), c=3)
        self.assertEqual(self.copy(self.dir / "a.npz", self.dir / "b.npz", self.dir / "c.npz").returncode, 0)
        with np.load(self.dir / "c.npz") as z:
            self.same(dict(z), {"a": np.array(1), "b": np.ones(3), "c": np.array(3)})

    def test_checksums(self):
        raw = self.npz(np.savez, {"a": np.arange(100)})
        at = raw.find(np.arange(100).tobytes())
        self.fails("a.npz", raw[:at] + b"\7" + raw[at + 1:], "`a`: damaged: its checksum differs")


class Program(Data):
    """The values of `eval --at`."""

    def eval(self, path):
        command = [CHAINRULE, "eval", "-e", "sum(x)*k", "--let", "x : R^n, k : R", "--at", str(path), "--quiet"]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                              timeout=60)

    def test_values(self):
        values = {"x": np.array([1, 2, 3], "i4"), "k": np.array(0.5, "f2"), "other": np.zeros((2, 0)), "": np.zeros(2)}
        np.savez_compressed(self.dir / "a=b.npz", **values)
        self.assertEqual(self.copy(self.dir / "a=b.npz", self.dir / "a=b.safetensors").stdout, "")
        for name in "a=b.npz", "a=b.safetensors":
            done = self.eval(self.dir / name)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "3\n", ""))

    def test_files_without_names(self):
        np.save(self.dir / "x.npy", np.zeros(3))
        done = self.eval(self.dir / "x.npy")
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertIn("the array of a .npy file has no name", done.stderr)


if __name__ == "__main__":
    unittest.main()
