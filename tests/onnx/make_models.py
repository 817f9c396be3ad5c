"""Makes tests/data/onnx-more: models with float64 gradients. By hand, never by `./run test`:

    PYTHON tests/onnx/make_models.py [--old /usr/bin/python3] [--middle PYTHON] [NAME...]

PYTHON has torch, onnx, onnxruntime, onnxscript, skl2onnx and scikit-learn from PyPI (tests/data/onnx-more was made with
2.15.0, 1.23.2, 1.32.0, 0.7.2, 1.20.0 and 1.9.1), --old is a Python with PyTorch 1.13 and onnx 1.12 (Debian 12:
python3-torch, python3-onnx), --middle one with torch 2.5.1, onnx 1.17.0, onnxscript 0.1.0.dev20241211, protobuf before
6 and NumPy before 2 (for functions_2_5 only). Each meta.json says in made_with which versions wrote it. reference.py
says what has to agree; the exit status is 1 if something does not.

A folder: model.onnx (and model.onnx.data), meta.json, ref.npz with in/NAME, label or target (none if the graph has the
loss), loss, and for each output out/NAME, gout/NAME = d loss / d output, f32out/NAME (of onnxruntime), then grad/NAME
for initialisers and gin/NAME for inputs. Values are float64 but for inputs, targets and f32out.
"""
import argparse
import logging
import os
import platform
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnx
import onnxruntime
import torch

import graph_flow
import graph_models
import reference
import torch_models

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "onnx-more")


# Grouped ConvTranspose fails in onnx.reference 1.23.
NOT_IN_DOUBLE = {"decoder_convtranspose"}
WRONG_SHAPES = {"functions_2_5"}
# The exporter's names for the biases that fusing made.
FUSED_NAMES = {"c1.bias": "c1.weight_bias", "c2.bias": "c2.weight_bias"}
# Where a tensor is not what its name says: the exporter gave the embedding the name of the output layer that was tied
# to it, and made the output layer a transposed copy.
ROLES = {"llama_opset23": {"out.weight": [("embed.weight", False)], "val_45": [("out.weight", True)]}}

torch_batch_norm = torch.nn.functional.batch_norm


def batch_norm(x, mean, var, weight, bias, training, momentum, eps):
    """torch's own is not differentiable by the stored statistics."""
    if training:
        return torch_batch_norm(x, mean, var, weight, bias, training, momentum, eps)
    return graph_models.batch_norm(x, weight, bias, mean, var, eps)


torch.nn.functional.batch_norm = batch_norm


def match(model, state):
    """For each of the file's float initialisers the (module's name, transposed) that it stands for: by name if that is
    there, and everything that has its values and no initialiser of its own (merged, or renamed)."""
    own = {t.name for t in model.graph.initializer}
    roles, lost = {}, set(state)
    for t in model.graph.initializer:
        if t.data_type != onnx.TensorProto.FLOAT:
            continue
        value, found = onnx.numpy_helper.to_array(t), []
        for key, s in state.items():
            if s.shape == value.shape and np.array_equal(s, value) and (key == t.name or key not in own):
                found.append((key, False))
            elif key not in own and s.ndim == 2 and s.T.shape == value.shape and np.array_equal(s.T, value):
                found.append((key, True))
        lost -= {key for key, flip in found if not flip and key == t.name}
        if found:
            roles[t.name] = found
    return roles, sorted(lost)


def without_traces(path):
    """The new exporter writes for each node where in the user's files it comes from: most of the file, and no one's
    business. The rest of its metadata stays."""
    model = onnx.load(path, load_external_data=False)
    found = False
    for node in reference.nodes_of(model.graph):
        for i in reversed(range(len(node.metadata_props))):
            if node.metadata_props[i].key in ("pkg.torch.onnx.stack_trace", "pkg.torch.onnx.fx_node"):
                del node.metadata_props[i]
                found = True
    if found:
        with open(path, "wb") as f:
            f.write(model.SerializeToString())


def of_torch(name, pythons, scratch):
    e = torch_models.MODELS[name]
    folder = os.path.join(scratch, name)
    os.makedirs(folder)
    python = pythons.get(e["exporter"], sys.executable)
    done = subprocess.run([python, torch_models.__file__, name, folder], check=False, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    path = os.path.join(folder, "model.onnx")
    without_traces(path)
    model = onnx.load(path)
    with np.load(os.path.join(folder, "state.npz")) as z:
        state = {k: z[k] for k in z.files if z[k].dtype == np.float32}
    with np.load(os.path.join(folder, "inputs.npz")) as z:
        inputs = {k: z[k] for k in z.files}
    module = torch_models.build(name)[0].double()
    if name == "fused_dynamo":  # the file's parameters are those of the fused network
        module = torch_models.FusedConv().eval().double()
        file = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        state = {k: file[FUSED_NAMES.get(k, k)] for k in module.state_dict()}
    roles, lost = match(model, state)
    roles.update(ROLES.get(name, {}))
    buffers = {k for k, _ in module.named_buffers()}
    if e["train"]:  # batch statistics: the stored ones are written, not read
        roles = {k: v for k, v in roles.items() if v[0][0] not in buffers}
    used = {key for found in roles.values() for key, _ in found}

    def forward(p, x):
        tensors = {k: torch.tensor(v.astype(float)) for k, v in state.items() if k not in used}
        for name_, found in roles.items():
            for key, flip in found:
                tensors[key] = p[name_].T if flip else p[name_]
        return {"y": torch.func.functional_call(module, tensors, tuple(x.values()), tie_weights=False)}

    with torch.no_grad():
        p = {t.name: torch.tensor(onnx.numpy_helper.to_array(t).astype(float)) for t in model.graph.initializer}
        x = {k: torch.tensor(v.astype(float) if v.dtype == np.float32 else v) for k, v in inputs.items()}
        shape = forward(p, x)["y"].shape
    rng = np.random.default_rng(3)
    target, label = rng.standard_normal(shape).astype(np.float32), rng.integers(0, shape[1], shape[0])
    answer = target if e["loss"] == "mse" else label
    how = {"1.13": "torch.onnx.export", "script": "torch.onnx.export(dynamo=False)",
           "2.5": "torch.onnx.export(dynamo=True)", "dynamo": "torch.onnx.export(dynamo=True)"}
    return reference.Case(
        name, e["note"], e["wave"], how[e["exporter"]] + (" TRAINING" if e["train"] else " EVAL"), model, inputs,
        e["loss"], answer, forward, list(roles), lost=lost, from_module=True, folder=folder,
        transposed=sum(flip for f in roles.values() for _, flip in f), file_in_double=name not in NOT_IN_DOUBLE,
        shapes_true=name not in WRONG_SHAPES)


def sklearn_mlp():
    """Two hidden layers on three classes, with the tail of skl2onnx: ArgMax, ArrayFeatureExtractor, Cast, ZipMap."""
    import sklearn.neural_network
    from skl2onnx import to_onnx
    rng = np.random.default_rng(5)
    x = rng.standard_normal((60, 5)).astype(np.float32)
    names = np.array(["ash", "birch", "cedar"])[(x[:, 0] + x[:, 1] ** 2 > 0.5).astype(int) + (x[:, 2] > 0)]
    net = sklearn.neural_network.MLPClassifier((7, 6), activation="tanh", max_iter=60, random_state=0).fit(x, names)
    model = to_onnx(net, x[:1], target_opset=15)
    x, label = x[:8], np.array([0, 1, 2, 2, 1, 0, 0, 1])
    floats = [t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    last = next(n for n in model.graph.node if n.op_type == "ZipMap").input[0]

    def forward(p, values):
        h, layers = values["X"], len(net.coefs_)
        for k in range(layers):
            h = h @ p["coefficient" + str(k or "")] + p["intercepts" + str(k or "")]
            h = torch.tanh(h) if k < layers - 1 else torch.softmax(h, 1)
        return {last: h}

    return reference.Case(
        "sklearn_mlp", "scikit-learn MLPClassifier with names as classes; the reference is of the tensor before ZipMap",
        1, "skl2onnx", model, {"X": x}, "nll_of_probabilities", label, forward,
        [n for n in floats if n.startswith(("coefficient", "intercepts"))], outputs=(last,))


def versions_of(python):
    code = "import torch, onnx; print(f'torch {torch.__version__}, onnx {onnx.__version__}')"
    return subprocess.run([python, "-c", code], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--old", default="/usr/bin/python3")
    parser.add_argument("--middle")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    pythons = {"1.13": args.old, "2.5": args.middle}
    here = {"python": platform.python_version(), "torch": torch.__version__, "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__, "numpy": np.__version__}
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        makers = {f.__name__: f for f in [*graph_models.CASES, *graph_flow.CASES, sklearn_mlp]}
        for name in torch_models.MODELS:
            makers[name] = lambda name=name: of_torch(name, pythons, scratch)
        for name in args.names or makers:
            versions = dict(here)
            if name == "sklearn_mlp":
                import skl2onnx
                import sklearn
                versions.update(skl2onnx=skl2onnx.__version__, sklearn=sklearn.__version__)
            exporter = torch_models.MODELS.get(name, {}).get("exporter")
            if exporter in pythons:
                versions["exporter"] = versions_of(pythons[exporter])
            meta = reference.finish(makers[name](), ROOT, versions)
            failed += bool(meta["crosscheck_failed"])
            print(f"{name:24} opset {meta['opset']:2} {meta['nodes']:4} nodes {meta['params']:3} gradients  ",
                  meta["crosscheck_max_rel_err"], meta["crosscheck_failed"] or "", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
