"""Writes the models of `import_sequences/` as `make.py` writes those of `import/`: recurrent operators,
control flow, quantised models, transforms.

Expected values of recurrent operators are computed here, one sample and one step at a time, from
the equations of the ONNX operator documents.

Needs the packages onnx and numpy. Run from any folder: python make_sequences.py
"""

import os
import shutil

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import make
from make import case, i64, n, weight

make.HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "import_sequences")
make.rng = np.random.default_rng(22)
make.expected = {}


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


FUNCTIONS = dict(
    Sigmoid=lambda v, a, b: sigmoid(v),
    Tanh=lambda v, a, b: np.tanh(v),
    Relu=lambda v, a, b: np.maximum(v, 0),
    Softsign=lambda v, a, b: v / (1 + abs(v)),
    Affine=lambda v, a, b: a * v + b,
    ScaledTanh=lambda v, a, b: a * np.tanh(b * v),
    HardSigmoid=lambda v, a, b: np.clip(a * v + b, 0, 1),
    LeakyRelu=lambda v, a, b: np.where(v < 0, a * v, v),
)


def one_step(kind, x, h, c, w, r, wb, rb, p, f, before, couple):
    """One step of one sample: the new hidden state and cell."""
    H = len(h)
    part = lambda m, g: m[g * H:(g + 1) * H]
    pre = lambda g, state: part(w, g) @ x + part(r, g) @ state + part(wb, g) + part(rb, g)
    if kind == "RNN":
        return f[0](pre(0, h)), c
    if kind == "GRU":
        z, reset = f[0](pre(0, h)), f[0](pre(1, h))
        if before:
            new = f[1](part(w, 2) @ x + part(wb, 2) + reset * (part(r, 2) @ h + part(rb, 2)))
        else:
            new = f[1](pre(2, reset * h))
        return (1 - z) * new + z * h, c
    i = f[0](pre(0, h) + part(p, 0) * c)
    forget = 1 - i if couple else f[0](pre(2, h) + part(p, 2) * c)
    cell = forget * c + i * f[1](pre(3, h))
    o = f[0](pre(1, h) + part(p, 1) * cell)
    return o * f[2](cell), cell


def recurrent(name, kind, steps=3, batch=1, inputs=2, hidden=3, direction="forward", bias=False, lengths=None, start=False,
              peepholes=False, layout=0, activations=None, alpha=(), beta=(), before=0, couple=0, clip=None, encrypted_start=False):
    gates = dict(RNN=1, GRU=3, LSTM=4)[kind]
    directions = 2 if direction == "bidirectional" else 1
    states = (batch, directions, hidden) if layout else (directions, batch, hidden)
    c = dict(w=weight(directions, gates * hidden, inputs), r=weight(directions, gates * hidden, hidden))
    if bias:
        c["b"] = weight(directions, 2 * gates * hidden)
    if lengths is not None:
        c["l"] = np.array(lengths, np.int32)
    if start and not encrypted_start:
        c["h"] = weight(*states)
    if start and kind == "LSTM":
        c["c"] = weight(*states)
    if peepholes:
        c["p"] = weight(directions, 3 * hidden)
    h_name = "x1" if encrypted_start else "h" if start else ""
    names = ["x", "w", "r", "b" if bias else "", "l" if lengths is not None else "", h_name]
    if kind == "LSTM":
        names += ["c" if start else "", "p" if peepholes else ""]
    chosen = activations or dict(RNN=["Tanh"], GRU=["Sigmoid", "Tanh"], LSTM=["Sigmoid", "Tanh", "Tanh"])[kind] * directions
    attributes = dict(hidden_size=hidden, direction=direction)
    if activations:
        lists = dict(activation_alpha=list(alpha), activation_beta=list(beta))
        attributes.update(activations=activations, **{key: value for key, value in lists.items() if value})
    if layout:
        attributes["layout"] = 1
    if before:
        attributes["linear_before_reset"] = 1
    if couple:
        attributes["input_forget"] = 1
    if clip:
        attributes["clip"] = clip

    def truth(x, *more):
        first = more[0] if more else c.get("h", np.zeros(states))
        cells = c.get("c", np.zeros(states))
        alphas, betas, all_functions = list(alpha), list(beta), []
        for name in chosen:
            a = alphas.pop(0) if name in ("Affine", "ScaledTanh", "HardSigmoid", "LeakyRelu") and alphas else 0.2
            b = betas.pop(0) if name in ("Affine", "ScaledTanh", "HardSigmoid") and betas else 0.5
            all_functions.append(lambda v, f=FUNCTIONS[name], a=a, b=b: f(v, a, b))
        per = len(all_functions) // directions
        y = np.zeros((steps, directions, batch, hidden))
        yh, yc = np.zeros((directions, batch, hidden)), np.zeros((directions, batch, hidden))
        for d in range(directions):
            own = all_functions[d * per:(d + 1) * per]
            clipped = [lambda v, g=g: g(np.clip(v, -clip, clip)) if clip else g(v) for g in own]
            if kind == "LSTM":
                clipped[2] = own[2]
            for s in range(batch):
                h = first[s, d] if layout else first[d, s]
                cell = cells[s, d] if layout else cells[d, s]
                length = steps if lengths is None else lengths[s]
                order = list(range(length))
                if direction == "reverse" or d == 1:
                    order.reverse()
                for t in order:
                    zero = np.zeros(2 * gates * hidden)
                    both = c["b"][d] if bias else zero
                    h, cell = one_step(kind, x[s, t] if layout else x[t, s], h, cell, c["w"][d], c["r"][d], both[:gates * hidden],
                                       both[gates * hidden:], c["p"][d] if peepholes else np.zeros(3 * hidden), clipped, before, couple)
                    y[t, d, s] = h
                yh[d, s], yc[d, s] = h, cell
        results = [y, yh, yc] if kind == "LSTM" else [y, yh]
        if layout:
            results = [results[0].transpose(2, 0, 1, 3)] + [v.transpose(1, 0, 2) for v in results[1:]]
        return results

    shape = (batch, steps, inputs) if layout else (steps, batch, inputs)
    outputs = 3 if kind == "LSTM" else 2
    while names[-1] == "":
        names.pop()
    case(name, n(kind, ",".join(names), ",".join(["y", "y1", "y2"][:outputs]), **attributes),
         [shape, states] if encrypted_start else shape, c, opset=22, outputs=outputs, truth=truth)


def recurrences():
    recurrent("rnn", "RNN")
    recurrent("rnn_all", "RNN", batch=2, direction="bidirectional", bias=True, lengths=[2, 3], start=True)
    recurrent("rnn_layout", "RNN", batch=2, bias=True, layout=1, activations=["Relu"])
    recurrent("rnn_reverse", "RNN", direction="reverse", activations=["ScaledTanh"], alpha=[1.7], beta=[0.6])
    recurrent("rnn_affine", "RNN", activations=["Affine"], alpha=[0.5], beta=[0.1])
    recurrent("rnn_clip", "RNN", clip=0.4)
    recurrent("rnn_encrypted_start", "RNN", start=True, encrypted_start=True)
    recurrent("gru", "GRU")
    recurrent("gru_bias", "GRU", bias=True, batch=2)
    recurrent("gru_before_reset", "GRU", bias=True, before=1)
    recurrent("gru_all", "GRU", batch=3, direction="bidirectional", bias=True, lengths=[3, 1, 2], start=True, before=1)
    recurrent("gru_layout", "GRU", batch=2, start=True, layout=1, direction="reverse")
    recurrent("gru_activations", "GRU", activations=["HardSigmoid", "LeakyRelu"], alpha=[0.3, 0.1], beta=[0.4])
    recurrent("lstm", "LSTM")
    recurrent("lstm_bias", "LSTM", bias=True, batch=2, start=True)
    recurrent("lstm_peepholes", "LSTM", bias=True, peepholes=True, start=True)
    recurrent("lstm_all", "LSTM", batch=3, direction="bidirectional", bias=True, lengths=[3, 1, 2], start=True, peepholes=True)
    recurrent("lstm_layout", "LSTM", batch=2, layout=1, direction="bidirectional", start=True)
    recurrent("lstm_coupled", "LSTM", bias=True, start=True, couple=1)
    recurrent("lstm_clip", "LSTM", bias=True, clip=0.5, activations=["Sigmoid", "Softsign", "Tanh"])


def info(name, kind=TensorProto.DOUBLE, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def graph(nodes, inputs, outputs, **constants):
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    return helper.make_graph(nodes, "body", inputs, [info(o) for o in outputs], initializer=stored)


def control():
    x = (2, 3)
    yes = graph([n("Mul", "x,two", "a")], [], ["a"], two=np.array(2.0))
    no = graph([n("Neg", "x", "b")], [], ["b"])
    for truth in [True, False]:
        case(f"if_{truth}".lower(), [n("If", "c", "h", then_branch=yes, else_branch=no), n("Add", "h,x")], x, dict(c=np.array(truth)))
    case("if_on_shape", [n("Shape", "x", "s"), n("Gather", "s,i", "d"), n("Equal", "d,three", "c"), n("If", "c", then_branch=no, else_branch=yes)],
         x, dict(i=np.array(1), three=np.array(3)))
    # The body reads `w` from around it, carries `a`, and stacks `a` of every trip.
    body = graph([n("MatMul", "a,w", "m"), n("Tanh", "m", "out"), n("Identity", "out", "all"), n("Less", "i,two", "go")],
                 [info("i", TensorProto.INT64, []), info("c", TensorProto.BOOL, []), info("a")], ["go", "out", "all"], two=np.array(2))
    w = weight(3, 3)

    def trips(x):
        all_of_them = [x]
        for _ in range(3):
            all_of_them.append(np.tanh(all_of_them[-1] @ w))
        return [all_of_them[-1], np.stack(all_of_them[1:])]
    case("loop", n("Loop", "m,,x", "y,y1", body=body), x, dict(m=np.array(5), w=w), outputs=2, truth=trips)
    counted = graph([n("Identity", "c", "go"), n("Cast", "i", "f", to=TensorProto.DOUBLE), n("Mul", "a,f", "t"), n("Add", "t,x", "out")],
                    [info("i", TensorProto.INT64, []), info("c", TensorProto.BOOL, []), info("a")], ["go", "out"])
    case("loop_counted", n("Loop", "m,t,x", body=counted), x, dict(m=np.array(3), t=np.array(True)),
         truth=lambda x: [((x * 0 + x) * 1 + x) * 2 + x])
    inner = graph([n("Less", "i,one", "first"),
                   n("If", "first", "out", then_branch=graph([n("Add", "a,x", "p")], [], ["p"]), else_branch=graph([n("Mul", "a,x", "q")], [], ["q"])),
                   n("Identity", "c", "go")],
                  [info("i", TensorProto.INT64, []), info("c", TensorProto.BOOL, []), info("a")], ["go", "out"], one=np.array(1))
    case("loop_around_if", n("Loop", "m,t,x", body=inner), x, dict(m=np.array(2), t=np.array(True)),
         truth=lambda x: [(x + x) * x])
    none = graph([n("Identity", "c", "go"), n("Neg", "a", "out")],
                 [info("i", TensorProto.INT64, []), info("c", TensorProto.BOOL, []), info("a")], ["go", "out"])
    case("loop_of_no_trips", [n("Loop", "m,t,x", "z", body=none), n("Add", "z,x")], x, dict(m=np.array(4), t=np.array(False)),
         truth=lambda x: [x + x])
    step = graph([n("Add", "s,e", "t"), n("Mul", "t,e", "o")], [info("s", shape=[3]), info("e", shape=[3])], ["t", "o"])
    case("scan", [n("ReduceMean", "x,zero", "s", keepdims=0), n("Scan", "s,x", "y,y1", body=step, num_scan_inputs=1)], (4, 3), dict(zero=i64(0)), outputs=2)

    def turned(x):
        state, outputs = np.zeros(2), []
        for t in reversed(range(4)):
            state = state + x[:, t]
            outputs.append(state * 2)
        return [state, np.stack(outputs[::-1], axis=1)]
    back = graph([n("Add", "s,e", "t"), n("Add", "t,t", "o")], [info("s", shape=[2]), info("e", shape=[2])], ["t", "o"])
    case("scan_turned", n("Scan", "z,x", "y,y1", body=back, num_scan_inputs=1, scan_input_axes=[1], scan_input_directions=[1], scan_output_axes=[1],
                          scan_output_directions=[1]), (2, 4), dict(z=np.zeros(2)), outputs=2, truth=turned)


def functions():
    """A function of a function, with an attribute of the call, a default and an operand left out."""
    soft = helper.make_function("local", "Soft", ["a"], ["b"], [helper.make_node("LeakyRelu", ["a"], ["b"])],
                                [helper.make_opsetid("", 21)], ["alpha"])
    soft.node[0].attribute.append(onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="alpha"))
    call = helper.make_node("Soft", ["m"], ["o"], domain="local")
    call.attribute.append(onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope"))
    dense = helper.make_function("local", "Dense", ["v", "w"], ["o"], [n("MatMul", "v,w", "m"), call],
                                 [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)], [], [helper.make_attribute("slope", 0.25)])
    nodes = [helper.make_node("Dense", ["x", "p"], ["h"], domain="local", slope=0.5), helper.make_node("Dense", ["h", "q"], ["y"], domain="local")]
    p, q = weight(3, 4), weight(4, 2)
    stored = [numpy_helper.from_array(p, "p"), numpy_helper.from_array(q, "q")]
    main = helper.make_graph(nodes, "functions", [info("x", shape=(2, 3))], [info("y", shape=(2, 2))], initializer=stored)
    model = helper.make_model(main, functions=[soft, dense], opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("local", 1)])
    model.ir_version = 10
    onnx.save(model, os.path.join(make.HERE, "functions.onnx"))
    x = make.rng.uniform(-1, 1, (2, 3)).round(4)
    leaky = lambda v, slope: np.where(v < 0, slope * v, v)
    make.expected["functions.x0"] = x
    make.expected["functions.y0"] = leaky(leaky(x @ p, 0.5) @ q, 0.25)


def contributed(x, u8, i8):
    """ONNX Runtime's own operators; each between a QuantizeLinear and a DequantizeLinear."""
    scale, zero = 0.02, 128.0
    consts = dict(xs=np.array(scale), xz=u8(128), ys=np.array(0.05), yz=u8(100))
    own = lambda op, inputs, **a: helper.make_node(op, inputs.split(","), ["c"], domain="com.microsoft", **a)
    bounds = lambda v: np.clip(v, -5.0, 7.75)

    def surrounded(name, node, shape, truth, **more):
        case(name, [n("QuantizeLinear", "x,xs,xz", "q"), node, n("DequantizeLinear", "c,ys,yz")], shape, consts | more, truth=truth, low=-2, high=2, contrib=True)
    m = make.rng.integers(-128, 128, (4, 3)).astype(np.int8)
    bias = make.rng.integers(-2000, 2000, 4).astype(np.int32)
    scales = np.array([0.01, 0.02, 0.03, 0.01])
    surrounded("q_gemm", own("QGemm", "q,xs,xz,m,s,mz,b,ys,yz", transB=1), x,
               lambda x: [bounds(x @ (m * scales[:, None]).T + bias * scales * scale)], m=m, s=scales, mz=i8(0, 0, 0, 0), b=bias)
    other = dict(o=u8(0, 100, 255), os=np.array(0.03), oz=u8(90))
    real = (other["o"] - 90.0) * 0.03
    surrounded("q_add", own("QLinearAdd", "q,xs,xz,o,os,oz,ys,yz"), x, lambda x: [bounds(x + real)], **other)
    surrounded("q_mul", own("QLinearMul", "q,xs,xz,o,os,oz,ys,yz"), x, lambda x: [bounds(x * real)], **other)
    surrounded("q_sigmoid", own("QLinearSigmoid", "q,xs,xz,ys,yz"), x, lambda x: [sigmoid(x)])
    surrounded("q_leaky", own("QLinearLeakyRelu", "q,xs,xz,ys,yz", alpha=0.25), x, lambda x: [np.where(x < 0, 0.25 * x, x)])
    surrounded("q_concat", own("QLinearConcat", "ys,yz,q,xs,xz,o,os,oz", axis=1), x,
               lambda x: [np.concatenate([x, np.tile(real, (2, 1))], axis=1)], o=np.tile(other["o"], (2, 1)), os=other["os"], oz=other["oz"])
    image = (1, 2, 4, 4)
    surrounded("q_pool", own("QLinearAveragePool", "q,xs,xz,ys,yz", kernel_shape=[2, 2], strides=[2, 2]), image,
               lambda x: [x.reshape(1, 2, 2, 2, 2, 2).mean((3, 5))])
    surrounded("q_global_pool", own("QLinearGlobalAveragePool", "q,xs,xz,ys,yz"), image, lambda x: [x.mean((2, 3), keepdims=True)])
    pair = [helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"], domain="com.microsoft"),
            helper.make_node("DequantizeLinear", ["q", "xs", "xz"], ["y"], domain="com.microsoft")]
    case("q_pair", pair, x, dict(xs=np.array(0.01), xz=i8(0)), truth=lambda x: [np.clip(x, -1.28, 1.27)], contrib=True)
    w = dict(w=m.T.copy(), ws=scales, wz=i8(0, 1, 2, 3))
    product = lambda x: x @ ((m.T - np.array([0, 1.0, 2, 3])) * scales)
    to_float = helper.make_node("MatMulIntegerToFloat", "q,w,xs,ws,xz,wz".split(","), ["y"], domain="com.microsoft")
    case("q_to_float", [n("QuantizeLinear", "x,xs,xz", "q"), to_float], x, dict(xs=np.array(0.01), xz=u8(128)) | w, truth=lambda x: [product(x)], contrib=True)
    by_range = helper.make_node("DynamicQuantizeMatMul", "x,w,ws,wz,b".split(","), ["y"], domain="com.microsoft")
    case("q_dynamic", by_range, x, w | dict(b=np.array([1.0, 2, 3, 4])), truth=lambda x: [product(x) + np.array([1.0, 2, 3, 4])], contrib=True)


def quantised():
    """Models before rounding: what is saturated is, what is rounded is not."""
    u8, i8 = (lambda *v: np.array(v if len(v) > 1 else v[0], np.uint8)), (lambda *v: np.array(v if len(v) > 1 else v[0], np.int8))
    pair = [n("QuantizeLinear", "x,s,z", "q"), n("DequantizeLinear", "q,s,z")]
    x = (2, 3)
    case("qdq", pair, x, dict(s=np.array(0.01), z=u8(100)), truth=lambda x: [np.clip(x, -1, 1.55)])
    case("qdq_hides_a_relu", pair, x, dict(s=np.array(0.02), z=i8(-128)), truth=lambda x: [np.maximum(x, 0)])
    case("qdq_saturates", pair, x, dict(s=np.array(0.002), z=i8(0)), truth=lambda x: [np.clip(x, -0.256, 0.254)])
    case("qdq_default_type", [n("QuantizeLinear", "x,s", "q"), n("DequantizeLinear", "q,s")], x, dict(s=np.array(0.002)),
         truth=lambda x: [np.clip(x, 0, 0.51)])
    case("qdq_per_axis", [n("QuantizeLinear", "x,s,z", "q", axis=1), n("DequantizeLinear", "q,s,z", axis=1)], x,
         dict(s=np.array([0.001, 0.01, 0.004]), z=i8(0, 3, -5)),
         truth=lambda x: [np.clip(x, np.array([-0.128, -1.31, -0.492]), np.array([0.127, 1.24, 0.528]))])
    w = make.rng.integers(-128, 128, (3, 2, 3, 3)).astype(np.int8)
    scales, zeros = np.array([0.01, 0.02, 0.005]), i8(0, 3, -2)
    real = (w - zeros.reshape(3, 1, 1, 1).astype(float)) * scales.reshape(3, 1, 1, 1)
    image = (1, 2, 5, 5)

    def convolved(x, w, pad=1):
        x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        size = [x.shape[2] - 2, x.shape[3] - 2]
        return np.array([[[[np.sum(x[0, :, i:i + 3, j:j + 3] * w[m]) for j in range(size[1])] for i in range(size[0])] for m in range(len(w))]])
    case("quantised_weights", [n("DequantizeLinear", "w,s,z", "r", axis=0), n("Conv", "x,r", pads=[1, 1, 1, 1])], image, dict(w=w, s=scales, z=zeros),
         truth=lambda x: [convolved(x, real)])
    blocks = make.rng.integers(-8, 8, (4, 3)).astype(np.int8)
    steps = weight(2, 3, low=0.1)
    case("quantised_blocks", [n("DequantizeLinear", "w,s", "r", axis=0, block_size=2), n("MatMul", "x,r")], (2, 4), dict(w=blocks, s=steps),
         truth=lambda x: [x @ (blocks * np.repeat(steps, 2, axis=0))])
    bias = make.rng.integers(-500, 500, 3).astype(np.int32)
    consts = dict(xs=np.array(0.02), xz=u8(128), w=w, s=scales, z=zeros, ys=np.array(0.05), yz=u8(0), b=bias)
    case("qlinear_conv", [n("QuantizeLinear", "x,xs,xz", "q"), n("QLinearConv", "q,xs,xz,w,s,z,ys,yz,b", "c", pads=[1, 1, 1, 1]),
                          n("DequantizeLinear", "c,ys,yz")], image, consts,
         truth=lambda x: [np.clip(convolved(x, real) + (bias * scales * 0.02).reshape(1, 3, 1, 1), 0, 12.75)])
    m = make.rng.integers(0, 256, (3, 4)).astype(np.uint8)
    consts = dict(xs=np.array(0.02), xz=u8(128), w=m, s=np.array([0.01, 0.02, 0.01, 0.03]), z=u8(128, 120, 130, 128), ys=np.array(0.02), yz=i8(10))
    case("qlinear_matmul", [n("QuantizeLinear", "x,xs,xz", "q"), n("QLinearMatMul", "q,xs,xz,w,s,z,ys,yz", "c"), n("DequantizeLinear", "c,ys,yz")], x, consts,
         truth=lambda x: [np.clip(x @ ((m - consts["z"].astype(float)) * consts["s"]), -2.76, 2.34)])
    dynamic = [n("DynamicQuantizeLinear", "x", "q,qs,qz"), n("MatMulInteger", "q,w,qz,z", "i"), n("Cast", "i", "f", to=TensorProto.DOUBLE),
               n("Mul", "qs,s", "t"), n("Mul", "f,t")]
    case("dynamic", dynamic, x, dict(w=m, z=u8(128), s=np.array(0.5)), truth=lambda x: [x @ (m - 128.0) * 0.5])
    contributed(x, u8, i8)
    rows = dict(q=u8(7, 9), w=m, s=np.array(0.01), z=u8(128))
    pixels = dict(dtype=np.uint8, low=0, high=255, result=np.float64)
    case("integer_matmul", n("MatMulInteger", "x,w,q,z"), x, {k: rows[k] for k in "wqz"}, truth=lambda x: [(x - np.array([[7.0], [9.0]])) @ (m - 128.0)], **pixels)
    case("integer_pixels", [n("DequantizeLinear", "x,s,z", "d"), n("Relu", "d")], x, dict(s=np.array(0.01, np.float32), z=u8(128)),
         truth=lambda x: [np.maximum((x - 128.0) * np.float32(0.01), 0)], **pixels)
    case("cast_pixels", [n("Cast", "x", "f", to=TensorProto.DOUBLE), n("Mul", "f,s")], x, dict(s=np.array(1 / 255, np.float64).astype(np.float32)),
         truth=lambda x: [x * float(np.float32(1 / 255))], **pixels)
    k = make.rng.integers(0, 256, (3, 2, 3, 3)).astype(np.uint8)
    case("integer_conv", [n("Cast", "x", "f", to=TensorProto.UINT8), n("ConvInteger", "x,k,p,z", pads=[1, 1, 1, 1])][1:], image,
         dict(k=k, p=u8(120), z=u8(0, 100, 255)), truth=lambda x: [convolved(x - 120.0, k - np.array([0, 100, 255.0]).reshape(3, 1, 1, 1))], **pixels)


def transforms():
    complex_of = lambda x: x[..., 0] + 1j * x[..., 1] if x.shape[-1] == 2 else x[..., 0]
    parts = lambda y: np.stack([y.real, y.imag], axis=-1)
    for name, shape, attributes, length, truth in [
        ("dft", (2, 5, 3, 1), {}, None, lambda x: parts(np.fft.fft(complex_of(x), axis=1))),
        ("dft_inverse", (2, 5, 2, 2), dict(inverse=1), None, lambda x: parts(np.fft.ifft(complex_of(x), axis=1))),
        ("dft_half", (1, 6, 2, 1), dict(onesided=1), None, lambda x: parts(np.fft.rfft(complex_of(x), axis=1))),
        ("dft_longer", (1, 5, 1), {}, 8, lambda x: parts(np.fft.fft(complex_of(x), n=8, axis=1))),
        ("dft_shorter", (1, 5, 2), {}, 4, lambda x: parts(np.fft.fft(complex_of(x), n=4, axis=1))),
        ("dft_to_real", (1, 4, 2, 2), dict(onesided=1, inverse=1), None, lambda x: np.fft.irfft(complex_of(x), axis=1)[..., None]),
        ("dft_to_odd", (1, 4, 2), dict(onesided=1, inverse=1), 7, lambda x: np.fft.irfft(complex_of(x), n=7, axis=1)[..., None]),
    ]:
        consts = dict(a=np.array(1)) | (dict(l=np.array(length)) if length else {})
        case(name, n("DFT", "x,l,a" if length else "x,,a", **attributes), shape, consts, opset=20, truth=lambda x, t=truth: [t(x)])
    window = weight(8, low=0.1)
    frames = lambda x: np.stack([np.fft.rfft(x[:, i:i + 8, 0] * window) for i in range(0, 20 - 8 + 1, 3)], axis=1)
    case("stft", n("STFT", "x,s,w"), (2, 20, 1), dict(s=np.array(3), w=window), truth=lambda x: [parts(frames(x))])
    for align in [0, 1]:
        case(f"affine_grid_{align}", n("AffineGrid", "x,s", align_corners=align), (2, 2, 3), dict(s=i64(2, 1, 3, 4)))
        case(f"affine_grid_3d_{align}", n("AffineGrid", "x,s", align_corners=align), (1, 3, 4), dict(s=i64(1, 1, 2, 3, 4)))
    before = lambda x: np.concatenate([np.ones((2, 1)), np.cumprod(x, axis=1)[:, :-1]], axis=1)
    case("cumulative_product", n("CumProd", "x,a"), (2, 5), dict(a=np.array(1)), opset=26, truth=lambda x: [np.cumprod(x, axis=1)])
    case("cumulative_product_exclusive", n("CumProd", "x,a", exclusive=1), (2, 5), dict(a=np.array(1)), opset=26, truth=lambda x: [before(x)])
    case("cumulative_product_reverse", n("CumProd", "x,a", reverse=1), (3, 2), dict(a=np.array(0)), opset=26,
         truth=lambda x: [np.cumprod(x[::-1], axis=0)[::-1]])
    for reduction in ["mul", "max", "min"]:
        case("scatter_" + reduction, n("ScatterElements", "x,i,u", axis=1, reduction=reduction), (2, 4),
             dict(i=i64(1, 3, 1, 0, 0, 2).reshape(2, 3), u=weight(2, 3)), opset=18)
    case("dropout_of_nothing", n("Dropout", "x,r,t"), (2, 3), dict(r=np.array(0.0), t=np.array(True)), truth=lambda x: [x])
    powers = weight(2, 3, low=-2, high=2)
    case("several_powers", n("Pow", "x,e"), (2, 3), dict(e=powers), low=0.2, high=2, truth=lambda x: [x ** powers])
    slopes = weight(3)
    case("slopes_of_channels", n("PRelu", "x,s"), (2, 3, 4), dict(s=slopes), opset=6, truth=lambda x: [np.where(x < 0, slopes[:, None] * x, x)])


if __name__ == "__main__":
    shutil.rmtree(make.HERE, ignore_errors=True)
    os.makedirs(make.HERE)
    for group in (recurrences, control, functions, quantised, transforms):
        group()
    np.savez_compressed(os.path.join(make.HERE, "expected.npz"), **make.expected)
