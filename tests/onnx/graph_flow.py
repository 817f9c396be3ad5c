"""Recurrences, control flow and functions, written with onnx.helper; see graph_models.py."""
import numpy as np
import torch
from onnx import AttributeProto, helper

import recurrent
from graph_build import Graph
from graph_models import F32, I64, case


def lstm_peephole():
    steps, batch, wide, hidden = 5, 2, 3, 4
    g = Graph(11)
    w, r = g.param("W", 2, 4 * hidden, wide), g.param("R", 2, 4 * hidden, hidden)
    b, peep = g.param("B", 2, 8 * hidden, scale=0.3), g.param("P", 2, 3 * hidden, scale=0.5)
    h0, c0 = g.param("h0", 2, batch, hidden, scale=0.5), g.param("c0", 2, batch, hidden, scale=0.5)
    head = g.param("head", 4 * hidden, 3)
    y, last, cell = g.node("LSTM", "x", w, r, b, "", h0, c0, peep, outputs=["Y", "Y_h", "Y_c"], hidden_size=hidden,
                           direction="bidirectional")
    y = g.node("ReduceMean", g.node("Transpose", y, perm=[2, 0, 1, 3]), axes=[1], keepdims=0)
    y = g.node("Reshape", y, g.ints("flat", batch, -1))
    states = g.node("Reshape", g.node("Transpose", g.node("Mul", last, cell), perm=[1, 0, 2]), "flat")
    g.node("MatMul", g.node("Concat", y, states, axis=-1), head, outputs="y")
    model = g.model(14, 7, [("x", F32, [steps, batch, wide])], [("y", F32, [batch, 3])])

    def forward(p, x):
        cells = [recurrent.lstm_step(p[w][k], p[r][k], p[b][k], p[peep][k]) for k in range(2)]
        y, (h, c) = recurrent.directions(cells, x["x"], [p[h0], p[c0]])
        y = y.permute(2, 0, 1, 3).mean(1).reshape(batch, -1)
        states = (h * c).transpose(0, 1).reshape(batch, -1)
        return {"y": torch.cat([y, states], -1) @ p[head]}

    return case("lstm_peephole", "bidirectional LSTM with peepholes and initial states, all three outputs used", 3,
                model, {"x": g.values(steps, batch, wide)}, "softmax_cross_entropy", np.array([2, 0]), forward)


def lstm_reverse_lengths():
    steps, batch, wide, hidden = 6, 3, 3, 4
    lengths = np.array([6, 2, 4], np.int32)
    g = Graph(12)
    w, r = g.param("W", 1, 4 * hidden, wide), g.param("R", 1, 4 * hidden, hidden)
    b, h0 = g.param("B", 1, 8 * hidden, scale=0.3), g.param("h0", 1, batch, hidden, scale=0.5)
    head = g.param("head", hidden, 2)
    y, last, _ = g.node("LSTM", "x", w, r, b, "lengths", h0, outputs=["Y", "Y_h", "Y_c"], hidden_size=hidden,
                        direction="reverse")
    y = g.node("Add", g.node("Squeeze", y, g.ints("one", 1)), last)
    g.node("MatMul", y, head, outputs="y")
    model = g.model(13, 7, [("x", F32, [steps, batch, wide]), ("lengths", np.int32, [batch])],
                    [("y", F32, [steps, batch, 2])])

    def forward(p, x):
        zero = torch.zeros(3 * hidden, dtype=torch.float64)
        cell = recurrent.lstm_step(p[w][0], p[r][0], p[b][0], zero)
        y, (h, _) = recurrent.directions([cell], x["x"], [p[h0], torch.zeros_like(p[h0])], x["lengths"], [True])
        return {"y": (y.squeeze(1) + h) @ p[head]}

    return case("lstm_reverse_lengths",
                "LSTM, direction reverse, sequence_lens as a graph input: each sequence starts at"
                " its own end, outputs behind it are 0", 3, model,
                {"x": g.values(steps, batch, wide), "lengths": lengths}, "mse", g.values(steps, batch, 2), forward,
                file_in_double=False)


def gru_both():
    steps, batch, wide, hidden = 5, 2, 3, 4
    g = Graph(13)
    w, r = g.param("W1", 2, 3 * hidden, wide), g.param("R1", 2, 3 * hidden, hidden)
    b = g.param("B1", 2, 6 * hidden, scale=0.3)
    w2, r2 = g.param("W2", 1, 3 * hidden, 2 * hidden), g.param("R2", 1, 3 * hidden, hidden)
    b2, h0 = g.param("B2", 1, 6 * hidden, scale=0.3), g.param("h0", 1, batch, hidden, scale=0.5)
    head = g.param("head", hidden, 3)
    y, _ = g.node("GRU", "x", w, r, b, outputs=["Y1", "Y1_h"], hidden_size=hidden, direction="bidirectional",
                  linear_before_reset=1)
    y = g.node("Reshape", g.node("Transpose", y, perm=[0, 2, 1, 3]), g.ints("join", 0, 0, -1))
    g.node("GRU", y, w2, r2, b2, "", h0, outputs=["", "Y2_h"], hidden_size=hidden)
    g.node("MatMul", g.node("Squeeze", "Y2_h", g.ints("zero", 0)), head, outputs="y")
    model = g.model(14, 7, [("x", F32, [steps, batch, wide])], [("y", F32, [batch, 3])])

    def forward(p, x):
        cells = [recurrent.gru_step(p[w][k], p[r][k], p[b][k], True) for k in range(2)]
        y, _ = recurrent.directions(cells, x["x"], [torch.zeros(2, batch, hidden, dtype=torch.float64)])
        y = y.transpose(1, 2).reshape(steps, batch, -1)
        _, (h,) = recurrent.directions([recurrent.gru_step(p[w2][0], p[r2][0], p[b2][0], False)], y, [p[h0]])
        return {"y": h[0] @ p[head]}

    return case("gru_both", "two GRUs: bidirectional with linear_before_reset=1, then forward with 0 and only Y_h", 3,
                model, {"x": g.values(steps, batch, wide)}, "softmax_cross_entropy", np.array([1, 2]), forward)


def rnn_relu_bi():
    steps, batch, wide, hidden = 4, 2, 3, 5
    g = Graph(14)
    w, r = g.param("W", 2, hidden, wide), g.param("R", 2, hidden, hidden)
    b, head = g.param("B", 2, 2 * hidden, scale=0.3), g.param("head", hidden, 2)
    y, _ = g.node("RNN", "x", w, r, b, outputs=["Y", "Y_h"], hidden_size=hidden, direction="bidirectional",
                  activations=["Relu", "Sigmoid"])
    g.node("MatMul", g.node("ReduceMax", y, axes=[1], keepdims=0), head, outputs="y")
    model = g.model(14, 7, [("x", F32, [steps, batch, wide])], [("y", F32, [steps, batch, 2])])

    def forward(p, x):
        cells = [recurrent.rnn_step(p[w][k], p[r][k], p[b][k], f) for k, f in enumerate([torch.relu, torch.sigmoid])]
        y, _ = recurrent.directions(cells, x["x"], [torch.zeros(2, batch, hidden, dtype=torch.float64)])
        return {"y": y.amax(1) @ p[head]}

    return case("rnn_relu_bi", "bidirectional RNN, another activation for each direction", 3, model,
                {"x": g.values(steps, batch, wide)}, "mse", g.values(steps, batch, 2), forward, file_in_double=False)


def if_known():
    """Conditions that the file decides: a constant, and one of shapes. The branches read what is outside."""
    g = Graph(15)
    w, v, other = g.param("W", 4, 4), g.param("V", 4, 3), g.param("unused", 4, 7)
    yes = g.tensor("training", np.array(False))

    def branch(name, op, *inputs, shape):
        b = Graph(0)
        b.node(op, *inputs, outputs=name)
        return b.subgraph(name + "_branch", [], [(name, F32, shape)])

    x = g.node("If", yes, then_branch=branch("doubled", "MatMul", "x", other, shape=None),
               else_branch=branch("same", "MatMul", "x", w, shape=[3, 4]))
    rank = g.node("Size", g.node("Shape", x))
    two = g.node("Equal", rank, g.tensor("two", np.array(2)))
    inner = Graph(0)
    inner.node("If", yes, outputs="nested", then_branch=branch("nested_then", "Relu", x, shape=[3, 4]),
               else_branch=branch("nested_else", "Tanh", x, shape=[3, 4]))
    inner.node("MatMul", "nested", v, outputs="product")
    g.node("If", two, outputs="y", then_branch=inner.subgraph("then", [], [("product", F32, [3, 3])]),
           else_branch=branch("flat", "Identity", x, shape=None))
    model = g.model(13, 7, [("x", F32, [3, 4])], [("y", F32, [3, 3])])
    return case("if_known",
                "If with a constant condition and one that the rank decides, nested, branches that read outer"
                " tensors; a parameter of the branch not taken has no gradient", 3, model, {"x": g.values(3, 4)},
                "softmax_cross_entropy", np.array([0, 2, 1]),
                lambda p, x: {"y": torch.tanh(x["x"] @ p[w]) @ p[v]}, ["W", "V"])


def loop_known():
    g = Graph(16)
    w, b = g.param("W", 4, 4), g.param("b", 4)
    body = Graph(0)
    scaled = body.node("Mul", b, body.node("Cast", "i", to=1))
    new = body.node("Tanh", body.node("Add", body.node("MatMul", "h", w), scaled), outputs="h_next")
    body.node("ReduceSum", new, body.ints("minus", -1), outputs="trace", keepdims=0)
    body.node("Identity", "go", outputs="go_on")
    graph = body.subgraph("body", [("i", I64, []), ("go", bool, []), ("h", F32, [2, 4])],
                          [("go_on", bool, []), ("h_next", F32, [2, 4]), ("trace", F32, [2])])
    h, trace = g.node("Loop", g.tensor("count", np.array(4)), g.tensor("true", np.array(True)), "x", outputs=2,
                      body=graph)
    # The second one is counted by a shape, and its condition is left out.
    second = Graph(0)
    second.node("Identity", "go2", outputs="go_on2")
    row = second.node("Gather", "trace_all", "j", axis=0)
    second.node("Add", second.node("Mul", "s", second.tensor("half", np.array(0.5, F32))), row, outputs="s_next")
    graph = second.subgraph("body2", [("j", I64, []), ("go2", bool, []), ("s", F32, [2])],
                            [("go_on2", bool, []), ("s_next", F32, [2])])
    g.node("Identity", trace, outputs="trace_all")
    rows = g.node("Gather", g.node("Shape", trace), g.tensor("zero", np.array(0)))
    start = g.node("ReduceMax", h, axes=[1], keepdims=0)
    g.node("Loop", rows, "", start, outputs="y", body=graph)
    model = g.model(13, 7, [("x", F32, [2, 4])], [("y", F32, [2])])

    def forward(p, x):
        h, trace = x["x"], []
        for i in range(4):
            h = torch.tanh(h @ p[w] + i * p[b])
            trace.append(h.sum(-1))
        s = h.amax(1)
        for row in trace:
            s = 0.5 * s + row
        return {"y": s}

    return case("loop_known",
                "Loop with a constant trip count, a carried tensor, a scan output, the iteration number in use;"
                " a second Loop counted by a shape", 3, model, {"x": g.values(2, 4)}, "mse", g.values(2), forward,
                ["W", "b"], file_in_double=False)


def scan_two():
    steps, batch, wide = 5, 2, 3
    g = Graph(17)
    w, u = g.param("W", wide, wide), g.param("U", wide, wide)
    body = Graph(0)
    new = body.node("Tanh", body.node("Sum", body.node("MatMul", "h", w), body.node("MatMul", "a", u), "b"),
                    outputs="h_n")
    body.node("Mul", new, "a", outputs="out")
    graph = body.subgraph("body", [(n, F32, [batch, wide]) for n in ("h", "a", "b")],
                          [(n, F32, [batch, wide]) for n in ("h_n", "out")])
    h, out = g.node("Scan", "h0", "x", "z", outputs=2, body=graph, num_scan_inputs=2, scan_input_axes=[1, 0],
                    scan_input_directions=[0, 1], scan_output_axes=[1], scan_output_directions=[1])
    g.node("Add", out, g.node("Unsqueeze", h, g.ints("one", 1)), outputs="y")
    g.param("h0", batch, wide, scale=0.5)
    model = g.model(13, 7, [("x", F32, [batch, steps, wide]), ("z", F32, [steps, batch, wide])],
                    [("y", F32, [batch, steps, wide])])

    def forward(p, x):
        h, out = p["h0"], []
        for t in range(steps):
            a, b = x["x"][:, t], x["z"][steps - 1 - t]
            h = torch.tanh(h @ p[w] + a @ p[u] + b)
            out.insert(0, h * a)
        return {"y": torch.stack(out, 1) + h.unsqueeze(1)}

    return case("scan_two", "Scan: one state, two sequences, one of them backwards and along another axis, output"
                " written backwards", 3, model, {"x": g.values(batch, steps, wide), "z": g.values(steps, batch, wide)},
                "mse", g.values(batch, steps, wide), forward, file_in_double=False)


def local_functions():
    """Two functions, one of which calls the other; an attribute that is handed through."""
    domain = "my.layers"

    def ref(op, inputs, output, attribute, kind, name):
        node = helper.make_node(op, inputs, [output])
        node.attribute.append(AttributeProto(name=attribute, type=kind, ref_attr_name=name))
        return node

    imports = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    gate = helper.make_function(domain, "Gate", ["a", "w"], ["out"], [
        helper.make_node("MatMul", ["a", "w"], ["m"]),
        ref("LeakyRelu", ["m"], "l", "alpha", AttributeProto.FLOAT, "slope"),
        helper.make_node("Sigmoid", ["a"], ["s"]),
        helper.make_node("Mul", ["l", "s"], ["out"])], imports, ["slope"])
    inner = helper.make_node("Gate", ["x1", "w1"], ["m"], domain=domain, name="inner")
    inner.attribute.append(AttributeProto(name="slope", type=AttributeProto.FLOAT, ref_attr_name="slope"))
    block = helper.make_function(domain, "Block", ["x1", "w1", "w2"], ["out"], [
        inner, helper.make_node("Gate", ["m", "w2"], ["n"], domain=domain, slope=0.25),
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Mul", ["n", "half"], ["scaled"]),
        helper.make_node("Add", ["x1", "scaled"], ["out"])], imports, ["slope"])
    g = Graph(18)
    ws = [g.param(f"w{k}", 4, 4) for k in range(3)]
    h = g.node("Block", "x", ws[0], ws[1], domain=domain, name="block1", slope=0.125)
    g.node("Block", h, ws[1], ws[2], domain=domain, name="block2", slope=0.0625, outputs="y")
    model = g.model(17, 8, [("x", F32, [3, 4])], [("y", F32, [3, 4])], [gate, block], [domain])

    def forward(p, x):
        def gate(a, w, slope):
            return torch.nn.functional.leaky_relu(a @ w, slope) * torch.sigmoid(a)

        def block(x, v, w, slope):
            return x + 0.5 * gate(gate(x, v, slope), w, 0.25)
        return {"y": block(block(x["x"], p["w0"], p["w1"], 0.125), p["w1"], p["w2"], 0.0625)}

    return case("local_functions",
                "functions of the model: one calls the other, an attribute handed through, names inside"
                " that equal names outside, a weight used by two calls", 3, model, {"x": g.values(3, 4)}, "mse",
                g.values(3, 4), forward)


CASES = [lstm_peephole, lstm_reverse_lengths, gru_both, rnn_relu_bi, if_known, loop_known, scan_two, local_functions]
