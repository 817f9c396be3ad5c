"""`run` and `grad` on whole models against numbers that PyTorch made in float64 (tests/data/onnx-*/NAME: model.onnx,
ref.npz, meta.json): outputs, loss, gradients of parameters and inputs, and vector-Jacobian products."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

PROGRAM = os.environ["CHAINRULE"]
SOURCE = pathlib.Path(os.environ["CHAINRULE_SOURCE"])
TOLERANCE = {"f64": 1e-9, "f32": 2e-4}


def chainrule(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"exit status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def compare(what, got, want, tolerance, scale=None):
    """Relative to the largest entry of what is wanted (of all gradients, where `scale` is given)."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if got.shape != want.shape:
        raise AssertionError(f"{what} has the shape {got.shape}, not {want.shape}")
    size = np.abs(want).max(initial=0) if scale is None else scale
    worst = np.abs(got - want).max(initial=0)
    if not worst <= tolerance * size + 1e-300:
        raise AssertionError(f"{what} is off by {worst:.3g}, where the largest entry is {size:.3g}")


def check(folder, precision):
    meta = json.loads((folder / "meta.json").read_text())
    ref = dict(np.load(folder / "ref.npz"))
    # A module computes with the double 1/6, its file says a float: the file's own error against the module, as
    # measured when the reference was made, comes on top.
    tolerance = TOLERANCE[precision] + 3 * max(meta["crosscheck_max_rel_err"].values(), default=0)
    part = lambda kind: {k[len(kind) + 1 :]: v for k, v in ref.items() if k.startswith(kind + "/")}
    inputs, outputs = part("in"), part("out")
    labels = {k: ref[k] for k in ("label", "target") if k in ref}
    with tempfile.TemporaryDirectory() as t:
        t = pathlib.Path(t)
        np.savez(t / "data.npz", **inputs, **labels)
        common = ["--data", t / "data.npz", "--precision", precision, "--quiet"]
        chainrule("run", folder / "model.onnx", *common, "-o", t / "out.npz")
        got = np.load(t / "out.npz")
        for name, want in outputs.items():
            compare(f"output {name}", got[name], want, tolerance)
        # What --loss auto makes of a model is the loss that its reference has, except where targets of a regression
        # meet an end that looks like a classifier's.
        for loss in [["--loss", "mse"]] if meta["loss"] == "mse" else [["--loss", "auto"]]:
            report = json.loads(
                chainrule("grad", folder / "model.onnx", *common, *loss, "-o", t / "grad.npz", "--json", "-")
            )
            compare("the loss", report["loss"]["value"], ref["loss"], tolerance)
            check_gradients(np.load(t / "grad.npz"), part("grad"), part("gin"), tolerance, precision)
        cotangents = part("gout")
        if cotangents:
            np.savez(t / "cot.npz", **cotangents)
            chainrule("grad", folder / "model.onnx", *common, "--cotangent", t / "cot.npz", "-o", t / "pull.npz")
            check_gradients(np.load(t / "pull.npz"), part("grad"), part("gin"), tolerance, precision)


def check_gradients(got, parameters, inputs, tolerance, precision):
    # float32 rounds relative to what is summed: gradients that cancel to less are compared with the largest of them.
    largest = max((np.abs(v).max(initial=0) for v in parameters.values()), default=0)
    for name, want in {**parameters, **inputs}.items():
        scale = None
        if precision == "f32":
            scale = max(np.abs(want).max(initial=0), 1e-2 * largest)
        elif np.abs(want).max(initial=0) < 1e-12 * largest:
            scale = largest * 1e-3  # zero up to rounding, as a bias in front of a batch norm
        compare(f"the gradient of {name}", got[name], want, tolerance, scale)


def main():
    folders = sorted(p.parent for p in (SOURCE / "tests/data").glob("onnx-*/*/model.onnx"))
    if len(sys.argv) > 1:
        folders = [f for f in folders if f.name in sys.argv[1:]]
    failed = 0
    for folder in folders:
        for precision in ("f64", "f32"):
            try:
                check(folder, precision)
                print(f"ok - {folder.name} {precision}")
            except AssertionError as e:
                failed += 1
                print(f"not ok - {folder.name} {precision}: {e}")
    print(f"{len(folders)} models, {failed} failures")
    sys.exit(failed > 0 or len(folders) < 20)


main()
