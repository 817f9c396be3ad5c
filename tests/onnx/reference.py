"""A model with its float64 reference: the gradient comes from PyTorch's autograd over a formula or a module, and three
others have to agree before anything is written:

    onnxruntime             the file itself in float32                       -> f32out, and out to 1e-4
    onnx.reference          the file itself, made double                     -> out and loss to 1e-7: a file has
                            constants like sqrt(2) and epsilon as float32, a module as double
    central differences     of the latter, along directions and entries      -> grad and gin to 1e-6

Where onnx.reference 1.23 is wrong or cannot (sequence_lens, activations of RNN, Scan's directions, the outer tensors of
a Loop, grouped ConvTranspose, cubic Resize to more than six digits), the differences are of the formula, in double, and
onnxruntime confirms in single precision that it is the file's (`file_in_double=False`).
"""
import dataclasses
import json
import os
import shutil

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import torch
from onnx import AttributeProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from scipy.special import erf

FLOAT, DOUBLE = TensorProto.FLOAT, TensorProto.DOUBLE
TOLERANCE = {"out": 1e-7, "loss": 1e-7, "grad": 1e-6, "gin": 1e-6, "f32": 1e-4}


@dataclasses.dataclass
class Case:
    name: str
    note: str
    wave: int                # 1 perceptrons and convolutions, 2 transformers, 3 recurrences and control flow
    export: str              # who wrote the file
    model: onnx.ModelProto   # with its external data loaded
    inputs: dict             # arrays by name
    loss: str                # see loss_of
    answer: np.ndarray       # the label or target; None if the graph has it
    forward: object          # (float initialisers by name, inputs by name), float64 tensors -> outputs by name
    names: list              # initialisers that get a gradient
    lost: list = dataclasses.field(default_factory=list)         # the module's names that the file lacks
    transposed: int = 0      # of these, found in the file with their axes swapped
    from_module: bool = False
    file_in_double: bool = True
    shapes_true: bool = True  # False: the exporter wrote a wrong shape for a tensor
    folder: str = ""         # where model.onnx lies already (exporters), else it is written
    outputs: tuple = ()      # tensors to compare, if not the graph's outputs
    file_each: bool = False  # each initialiser in a file of its own


def loss_of(kind, y, answer):
    """The loss of the first output; y, answer: torch tensors."""
    if kind == "mse":
        return ((y - answer) ** 2).mean()
    if kind == "softmax_cross_entropy":
        return torch.nn.functional.cross_entropy(y, answer)
    if kind == "nll_of_probabilities":
        return torch.nn.functional.nll_loss(torch.log(y), answer)
    assert kind == "output_is_loss", kind
    return y


def nodes_of(graph):
    for node in graph.node:
        yield node
        for a in node.attribute:
            for g in [a.g] if a.type == AttributeProto.GRAPH else a.graphs:
                yield from nodes_of(g)


def opset_of(model):
    return next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))


def prune(model, outputs):
    """A copy with only what these tensors rest on, and these as outputs."""
    m = onnx.ModelProto()
    m.CopyFrom(model)
    known = {o.name: o for o in m.graph.output}
    need, keep = set(outputs), []
    for node in reversed(m.graph.node):
        if need & set(node.output):
            keep.append(node)
            need |= set(node.input)
            for inner in nodes_of(onnx.GraphProto(node=[node])):
                need |= set(inner.input)
    del m.graph.node[:], m.graph.output[:]
    m.graph.node.extend(reversed(keep))
    m.graph.output.extend(known.get(o) or onnx.helper.make_tensor_value_info(o, FLOAT, None) for o in outputs)
    return m


def widen_nodes(nodes):
    for node in nodes:
        for a in node.attribute:
            if a.type == AttributeProto.TENSOR and a.t.data_type == FLOAT:
                a.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(a.t).astype(float), a.t.name))
            elif a.type == AttributeProto.GRAPH:
                widen_graph(a.g)
            elif node.op_type == "Cast" and a.name == "to" and a.i == FLOAT:
                a.i = DOUBLE
            elif node.op_type == "Constant" and a.name in ("value_float", "value_floats") and not a.ref_attr_name:
                value = np.array(a.f if a.name == "value_float" else list(a.floats))
                a.CopyFrom(onnx.helper.make_attribute("value", numpy_helper.from_array(value)))


def widen_graph(graph):
    for t in graph.initializer:
        if t.data_type == FLOAT:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(float), t.name))
    for v in [*graph.input, *graph.output, *graph.value_info]:
        if v.type.tensor_type.elem_type == FLOAT:
            v.type.tensor_type.elem_type = DOUBLE
    widen_nodes(graph.node)


class Erf(OpRun):
    """onnx.reference gives float32."""

    def _run(self, x):
        return (erf(x),)


class Mish(OpRun):
    """Likewise."""

    def _run(self, x):
        return (x * np.tanh(np.logaddexp(0, x)),)


class Gelu(OpRun):
    """onnx.reference expands it into a function whose constants are float32."""

    def _run(self, x, approximate="none"):
        if approximate == "tanh":
            return (0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3))),)
        return (0.5 * x * (1 + erf(x / np.sqrt(2))),)


class GroupNormalization(OpRun):
    """Likewise, it normalises in float32."""

    def _run(self, x, scale, bias, epsilon=1e-5, num_groups=1, stash_type=1):
        each = x.reshape(len(x), num_groups, -1)
        each = (each - each.mean(2, keepdims=True)) / np.sqrt(each.var(2, keepdims=True) + epsilon)
        shape = (1, -1, *[1] * (x.ndim - 2))
        return (each.reshape(x.shape) * scale.reshape(shape) + bias.reshape(shape),)


class Softmax(OpRun):
    """Before opset 13: over all axes from this one on. onnx.reference knows the new one only."""

    def _run(self, x, axis=1):
        rows = x.reshape(int(np.prod(x.shape[:axis])), -1)
        rows = np.exp(rows - rows.max(1, keepdims=True))
        return ((rows / rows.sum(1, keepdims=True)).reshape(x.shape),)


class BatchNormalization(OpRun):
    """Before opset 14, with one output: the stored statistics. onnx.reference takes the batch's at opset 9."""

    def _run(self, x, scale, bias, mean, var, epsilon=1e-5, momentum=0.9, training_mode=0):
        scale, bias, mean, var = (v.reshape(1, -1, *[1] * (x.ndim - 2)) for v in (scale, bias, mean, var))
        return ((x - mean) / np.sqrt(var + epsilon) * scale + bias,)


def in_double(model):
    m = onnx.ModelProto()
    m.CopyFrom(model)
    m = onnx.inliner.inline_local_functions(m)  # onnx.reference does not hand attributes on to inner functions
    widen_graph(m.graph)
    old = [c for c, until in ((Softmax, 13), (BatchNormalization, 14)) if opset_of(m) < until]
    return ReferenceEvaluator(m, new_ops=[Erf, Mish, Gelu, GroupNormalization, *old])


def relative(a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    assert a.shape == b.shape, f"shapes {a.shape} and {b.shape}"
    return float(np.abs(a - b).max(initial=0) / max(np.abs(b).max(initial=0), 1e-300))


def differences(loss, values, gradients, rng):
    """The worst disagreement, by name, of central differences with <gradient, direction>: three random directions, the
    entry of the largest derivative, two entries at random."""
    worst = {}
    for name, g in gradients.items():
        directions = [rng.standard_normal(g.shape) for _ in range(3)]
        for at in {int(np.abs(g).argmax()), *rng.integers(g.size, size=2).tolist()}:
            directions.append((np.arange(g.size) == at).astype(float).reshape(g.shape))
        for d in directions:
            d = d / np.linalg.norm(d)
            h = 1e-5 * max(1.0, float(np.abs(values[name]).max()))
            above, below = ({**values, name: values[name] + step * d} for step in (h, -h))
            slope = (loss(above) - loss(below)) / (2 * h)
            scale = max(np.linalg.norm(g), 1e-4 * abs(loss(values)))
            worst[name] = max(worst.get(name, 0), abs(slope - float((g * d).sum())) / scale)
    return worst


def finish(case, root, versions):
    """Computes, checks and writes one folder. Returns its meta data."""
    m, rng = case.model, np.random.default_rng(7)
    floats = {t.name: numpy_helper.to_array(t).astype(float) for t in m.graph.initializer if t.data_type == FLOAT}
    outputs = case.outputs or tuple(o.name for o in m.graph.output)
    answer = None if case.answer is None else torch.tensor(
        case.answer.astype(float) if case.answer.dtype == np.float32 else case.answer)
    real = {k: v.astype(float) for k, v in case.inputs.items() if v.dtype == np.float32}
    fixed = {k: v for k, v in case.inputs.items() if k not in real}

    leaves = {k: torch.tensor(v, requires_grad=k in case.names or k in real) for k, v in {**floats, **real}.items()}
    whole = {k: torch.tensor(v) for k, v in fixed.items()}
    out = case.forward({k: leaves[k] for k in floats}, {**{k: leaves[k] for k in real}, **whole})
    assert list(out) == list(outputs), f"{list(out)} is not {outputs}"
    for y in out.values():
        y.retain_grad()
    loss = loss_of(case.loss, out[outputs[0]], answer)
    loss.backward()
    gradients = {k: leaves[k].grad.numpy() for k in [*case.names, *real]}
    out_gradients = {k: y.grad.numpy() if y.grad is not None else np.zeros(y.shape) for k, y in out.items()}
    out = {k: y.detach().numpy() for k, y in out.items()}

    folder = os.path.join(root, case.name)
    os.makedirs(folder, exist_ok=True)
    for f in os.listdir(folder):
        os.remove(os.path.join(folder, f))
    if case.folder:
        for f in sorted(os.listdir(case.folder)):
            if f.startswith("model.onnx"):
                shutil.copy(os.path.join(case.folder, f), folder)
    elif case.file_each:
        apart = onnx.ModelProto()
        apart.CopyFrom(m)
        onnx.save(apart, os.path.join(folder, "model.onnx"), save_as_external_data=True, all_tensors_to_one_file=False,
                  size_threshold=0)
        apart = onnx.load(os.path.join(folder, "model.onnx"), load_external_data=False)
        for t in apart.graph.initializer:
            del t.external_data[1:]  # only the location: the whole file
        onnx.save(apart, os.path.join(folder, "model.onnx"))
    else:
        onnx.save(m, os.path.join(folder, "model.onnx"))
    path = os.path.join(folder, "model.onnx")
    onnx.checker.check_model(path, full_check=case.shapes_true)

    onnxruntime.set_default_logger_severity(3)
    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, case.inputs)
    inner = prune(m, outputs)
    single = dict(zip(outputs, onnxruntime.InferenceSession(
        inner.SerializeToString(), providers=["CPUExecutionProvider"]).run(list(outputs), case.inputs)))
    error = {"f32": max(relative(single[k], out[k]) for k in outputs)}

    if case.file_in_double:
        file = in_double(inner)

        def run(values):
            return dict(zip(outputs, file.run(list(outputs), {**values, **fixed})))
    else:
        def run(values):
            with torch.no_grad():
                p = {k: torch.tensor(v) for k, v in values.items() if k in floats}
                x = {k: torch.tensor(v) for k, v in values.items() if k in real}
                return {k: y.numpy() for k, y in case.forward(p, {**x, **whole}).items()}

    def loss_at(values):
        return float(loss_of(case.loss, torch.tensor(np.asarray(run(values)[outputs[0]], float)), answer))

    values = {**floats, **real}
    again = run(values)
    error["out"] = max(relative(again[k], out[k]) for k in outputs)
    error["loss"] = relative(loss_at(values), loss.item())
    worst = differences(loss_at, values, gradients, rng)
    error["grad"] = max([worst[k] for k in case.names], default=0.0)
    error["gin"] = max([worst[k] for k in real], default=0.0)
    failed = [k for k in error if not error[k] < TOLERANCE[k]]
    failed += [f"{k}: {v:.2g}" for k, v in worst.items() if not v < TOLERANCE["grad"]]

    arrays = {f"in/{k}": v for k, v in case.inputs.items()}
    if case.answer is not None:
        arrays["target" if case.answer.dtype == np.float32 else "label"] = case.answer
    arrays["loss"] = np.array(loss.item())
    for k in outputs:
        arrays[f"out/{k}"], arrays[f"gout/{k}"], arrays[f"f32out/{k}"] = out[k], out_gradients[k], single[k]
    arrays.update({f"grad/{k}": gradients[k] for k in case.names}, **{f"gin/{k}": gradients[k] for k in real})
    assert all(np.isfinite(v).all() for v in arrays.values() if v.dtype != bool)
    # A test that compares zeros, or rounding, would prove nothing.
    least = 1e-9 * max(np.abs(g).max() for g in gradients.values())
    assert all(np.abs(g).max() > least for g in gradients.values()), f"no more than rounding: {gradients}"
    np.savez_compressed(os.path.join(folder, "ref.npz"), **arrays)
    meta = {
        "crosscheck_by": "onnx.reference in double" if case.file_in_double else "onnxruntime; the formula in double",
        "crosscheck_failed": failed,
        "crosscheck_max_rel_err": {k: float(f"{v:.1e}") for k, v in error.items()},
        "export": case.export, "grads_from_graph": 0 if case.from_module else len(case.names),
        "grads_from_module": len(case.names) if case.from_module else 0,
        "initializers": len(m.graph.initializer), "inputs": list(case.inputs), "ir": m.ir_version, "loss": case.loss,
        "loss_value": loss.item(), "lost_but_found_transposed": case.transposed, "lost_names": case.lost,
        "made_with": versions, "name": case.name, "nodes": len(m.graph.node), "note": case.note,
        "ops": sorted({n.op_type for n in nodes_of(m.graph)} | {n.op_type for f in m.functions for n in f.node}),
        "opset": opset_of(m),
        "params": len(case.names), "wave": case.wave,
    }
    with open(os.path.join(folder, "meta.json"), "w", encoding="utf-8") as f:
        json.dump(meta, f, indent=1, sort_keys=True)
        f.write("\n")
    return meta
