"""What is left of a module's parameters and batch norms after each way to export it, with this Python's torch and onnx:

    PYTHON tests/onnx/try_exporters.py

docs/from-pytorch.md has what it prints. By hand, never by `./run test`.
"""
import contextlib
import io
import logging
import os
import tempfile
import warnings

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

VERSION = tuple(int(v) for v in torch.__version__.split(".")[:2])
MODE = torch.onnx.TrainingMode


class Net(nn.Module):
    """Conv-ReLU-BN (not to be fused), Conv-BN-ReLU (to be fused), Linear on two axes and, without bias, on three."""

    def __init__(self):
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.c2, self.b2 = nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5)
        self.fc, self.drop, self.last = nn.Linear(5, 6), nn.Dropout(0.5), nn.Linear(6, 7, bias=False)

    def forward(self, x):
        x = self.b1(torch.relu(self.c1(x)))
        x = torch.relu(self.b2(self.c2(x)))
        return self.last(self.drop(self.fc(x.mean((2, 3)))).unsqueeze(1)).squeeze(1)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


KEEP = {"training": MODE.TRAINING, "do_constant_folding": False}
SCRIPT = [("eval(), default", False, {}),
          ("eval(), do_constant_folding=False", False, {"do_constant_folding": False}),
          ("eval(), PRESERVE, do_constant_folding=False", False, {**KEEP, "training": MODE.PRESERVE}),
          ("train(), TRAINING", True, {"training": MODE.TRAINING}),
          ("train(), TRAINING, do_constant_folding=False", True, KEEP)]
DYNAMO = [("eval(), default", False, {}),
          ("eval(), optimize=False", False, {"optimize": False}),
          ("train(), default", True, {}),
          ("train(), optimize=False", True, {"optimize": False}),
          ("train(), TRAINING, optimize=False", True, {**KEEP, "optimize": False})]


def load(module, x, folder, **call):
    path = os.path.join(folder, "m.onnx")
    for f in os.listdir(folder):
        os.remove(os.path.join(folder, f))
    quiet = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), path, input_names=["x"], output_names=["y"], **call)
    return onnx.load(path), os.path.exists(path + ".data")


def nodes(model):
    yield from model.graph.node
    for f in model.functions:
        yield from f.node


def look(module, model, state):
    """Counts of parameters, and what became of the batch norms."""
    file = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    kept = changed = 0
    turned, lost = [], []
    for name, value in state.items():
        if name in file and file[name].shape == value.shape:
            same = np.array_equal(file[name], value)
            kept, changed = kept + same, changed + (not same)
            continue
        copies = [n for n, v in file.items() if value.ndim == 2 and np.array_equal(v, value.T)]
        (turned if copies else lost).append(f"{name} -> {copies[0]}" if copies else name)
    stored = batch = 0
    calls = [n.op_type for n in model.graph.node]
    for n in nodes(model):
        if n.op_type == "BatchNormalization":
            owner = next((f.name for f in model.functions if n in f.node), None)
            times = calls.count(owner) if owner else 1
            if any(a.name == "training_mode" and a.i for a in n.attribute):
                batch += times
            else:
                stored += times
    return kept, changed, turned, lost, batch, stored


def merged(model):
    """Whether a batch norm has one tensor for two of its inputs, seen through Identity."""
    source = {n.output[0]: n.input[0] for n in model.graph.node if n.op_type == "Identity"}
    for n in model.graph.node:
        if n.op_type == "BatchNormalization" and len({source.get(i, i) for i in n.input}) < len(n.input):
            return True
    return False


def rows(title, calls, folder, **fixed):
    for label, train, call in calls:
        torch.manual_seed(0)
        module = Net().train(train)
        with torch.no_grad():  # not all ones and zeros, but for b1
            module.b2.weight.fill_(1.5)
            module.b2.bias.fill_(0.5)
            module.b2.running_mean.fill_(0.25)
            module.b2.running_var.fill_(2.0)
        state = {k: v.detach().numpy().copy() for k, v in module.named_parameters()}
        means = module.b1.running_mean.numpy().copy()
        try:
            model, outside = load(module, torch.randn(3, 3, 8, 8), folder, **fixed, **call)
        except Exception as error:  # an exporter may fail in any way; the row says so
            print(f"{title:7} {label:46} fails: {type(error).__name__}")
            continue
        kept, changed, turned, lost, batch, stored = look(module, model, state)
        file = [numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "b1.running_mean"]
        moved = any(not np.array_equal(means, v) for v in [*file, module.b1.running_mean.numpy()])
        opset = next(o.version for o in model.opset_import if o.domain == "")
        print(f"{title:7} {label:46} opset {opset:2}  kept {kept:2} changed {changed} of {len(state)}  "
              f"batch norms: {batch} batch, {stored} stored, {2 - batch - stored} fused"
              f"{'  .data' if outside else ''}{'  functions' if model.functions else ''}"
              f"{'  merged' if merged(model) else ''}{'  running_mean moved' if moved else ''}")
        for kind, names in (("transposed", turned), ("gone", lost)):
            if names:
                print(f"{'':8}{kind}: {', '.join(names)}")


def recurrent(title, folder, **fixed):
    module = Recurrent()
    state = {k for k, _ in module.named_parameters()}
    keep = ("LSTM, optimize=False", {"optimize": False})
    if title == "script":
        keep = ("LSTM, train(), TRAINING, do_constant_folding=False", KEEP)
    for label, call in (("LSTM, default", {}), keep):
        try:
            model, _ = load(module.train(call is KEEP), torch.randn(2, 5, 3), folder, **fixed, **call)
        except Exception as error:
            print(f"{title:7} {label:46} fails: {type(error).__name__}")
            continue
        names = {t.name for t in model.graph.initializer}
        print(f"{title:7} {label:46} kept {len(state & names)} of {len(state)}; nodes {len(model.graph.node)}, LSTM "
              f"{sum(n.op_type == 'LSTM' for n in nodes(model))}; others {sorted(names - state)[:4]}")


def batches(title, folder, tries, **fixed):
    for label, size, call in tries:
        try:
            model, _ = load(Net().eval(), torch.randn(size, 3, 8, 8), folder, **fixed, **call)
        except Exception as error:
            print(f"{title:7} {label:46} fails: {type(error).__name__}")
            continue
        dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
                for v in (*model.graph.input, *model.graph.output)]
        print(f"{title:7} {label:46} {dims}")


def main():
    logging.disable(logging.WARNING)
    print(f"torch {torch.__version__}, onnx {onnx.__version__}")
    new = VERSION >= (2, 5)
    script = {"dynamo": False} if new else {}
    axes = {"dynamic_axes": {"x": {0: "batch"}, "y": {0: "batch"}}}
    with tempfile.TemporaryDirectory() as folder:
        rows("script", SCRIPT, folder, **script)
        recurrent("script", folder, **script)
        batches("script", folder, [("dynamic_axes", 3, axes), ("dynamic_axes, example of one", 1, axes)], **script)
        if not new:
            return
        rows("dynamo", DYNAMO, folder, dynamo=True)
        recurrent("dynamo", folder, dynamo=True)
        dim = torch.export.Dim("batch")
        batches("dynamo", folder, [
            ('dynamic_shapes={"x": {0: "batch"}}', 3, {"dynamic_shapes": {"x": {0: "batch"}}}),
            ('dynamic_shapes={"x": {0: Dim("batch")}}', 3, {"dynamic_shapes": {"x": {0: dim}}}),
            ('the same, example of one', 1, {"dynamic_shapes": {"x": {0: dim}}}),
            ("dynamic_axes", 3, axes)], dynamo=True)


if __name__ == "__main__":
    main()
