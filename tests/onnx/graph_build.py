"""Writes ONNX graphs by hand: the nodes, the initialisers with random values, the model."""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

KIND = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64,
        np.dtype(np.int32): TensorProto.INT32, np.dtype(bool): TensorProto.BOOL}


class Graph:
    """Nodes are added in order; every call gives the names of what it made."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.tensors, self.count = [], [], 0

    def values(self, *shape, scale=1.0, shift=0.0):
        return (shift + scale * self.rng.standard_normal(shape)).astype(np.float32)

    def tensor(self, name, value):
        self.tensors.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def param(self, name, *shape, scale=None, shift=0.0):
        """A float initialiser; its scale is that of a layer whose axis 1 is summed over, if not given."""
        fan = np.prod(shape[1:]) if len(shape) > 1 else 4
        return self.tensor(name, self.values(*shape, scale=scale or fan ** -0.5, shift=shift))

    def ints(self, name, *values):
        return self.tensor(name, np.array(values, np.int64))

    def node(self, op, *inputs, outputs=1, name="", domain="", **attributes):
        """The name of the output, or the list of them. outputs: their number or their names."""
        if isinstance(outputs, int):
            base = self.count
            outputs = [f"t{base + i}_{op.lower()}" for i in range(outputs)]
            self.count += len(outputs)
        elif isinstance(outputs, str):
            outputs = [outputs]
        self.nodes.append(helper.make_node(op, list(inputs), outputs, name=name, domain=domain, **attributes))
        return outputs[0] if len(outputs) == 1 else outputs

    def subgraph(self, name, inputs, outputs):
        """For bodies: (name, numpy type, shape) of each; shape may be None."""
        return helper.make_graph(self.nodes, name, value_infos(inputs), value_infos(outputs), self.tensors)

    def model(self, opset, ir, inputs, outputs, functions=(), domains=(), producer="by hand", as_inputs=False):
        """as_inputs: initialisers are listed as inputs too, as IR 3 wants it."""
        infos = value_infos(inputs)
        if as_inputs:
            infos += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in self.tensors]
        graph = helper.make_graph(self.nodes, "graph", infos, value_infos(outputs), self.tensors)
        imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
        return helper.make_model(graph, ir_version=ir, opset_imports=imports, functions=list(functions),
                                 producer_name=producer)


def value_infos(triples):
    return [helper.make_tensor_value_info(n, KIND[np.dtype(k)], shape) for n, k, shape in triples]


def float_names(model):
    return [t.name for t in model.graph.initializer if t.data_type == TensorProto.FLOAT]


def check(model):
    onnx.checker.check_model(model, full_check=True)
    return model
