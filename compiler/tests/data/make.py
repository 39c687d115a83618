"""Writes the models of `import/` and, in `import/expected.npz`, what ONNX's own reference evaluator
computes for them: arrays `<model>.x<i>` (inputs) and `<model>.y<i>` (outputs), in double precision.
In `import_errors/` are the models that must be refused.

Needs the packages onnx and numpy. Run from any folder: python make.py
"""

import os
import shutil

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "import")
ERRORS = HERE + "_errors"
rng = np.random.default_rng(20)
expected = {}


def weight(*shape, low=-1.0, high=1.0):
    return rng.uniform(low, high, shape).round(3)


def n(op, inputs, outputs="y", **attributes):
    return helper.make_node(op, inputs.split(","), outputs.split(","), name=f"the_{op}", **attributes)


def case(name, nodes, shapes, consts=None, opset=21, outputs=1, low=-1.0, high=1.0, ml=False,
         symbolic=None, dtype=np.float64, truth=None, result=None, contrib=False):
    """One model with inputs x, x1, … and outputs y, y1, …; `truth` stands in where the evaluator fails."""
    if not isinstance(nodes, list):
        nodes = [nodes]
    if not isinstance(shapes, list):
        shapes = [shapes]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    names = ["x" if i == 0 else f"x{i}" for i in range(len(shapes))]
    inputs = [helper.make_tensor_value_info(v, kind, (symbolic or {}).get(v, s)) for v, s in zip(names, shapes)]
    out_names = ["y" if i == 0 else f"y{i}" for i in range(outputs)]
    out_kind = helper.np_dtype_to_tensor_dtype(np.dtype(result or dtype))
    outs = [helper.make_tensor_value_info(v, out_kind, None) for v in out_names]
    initialisers = []
    for key, value in (consts or {}).items():
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(dtype)
        initialisers.append(numpy_helper.from_array(array, key))
    graph = helper.make_graph(nodes, name, inputs, outs, initializer=initialisers)
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid("ai.onnx.ml", 3)] if ml else [])
    if contrib:
        opsets.append(helper.make_opsetid("com.microsoft", 1))
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    onnx.save(model, os.path.join(HERE, name + ".onnx"))
    feeds = {v: rng.uniform(low, high, s).round(4).astype(dtype) for v, s in zip(names, shapes)}
    results = truth(*feeds.values()) if truth else ReferenceEvaluator(model).run(None, feeds)
    for i, v in enumerate(names):
        expected[f"{name}.x{i}"] = feeds[v].astype(np.float64)
    for i, y in enumerate(results):
        assert np.all(np.isfinite(y)), name
        expected[f"{name}.y{i}"] = np.asarray(y, np.float64)


def i64(*values):
    return np.array(values, np.int64)


def grouped_conv_transpose(x, w, strides, groups, extra):
    """By the definition: every input element adds its weighted kernel to the output."""
    _, channels, height, width = x.shape
    per_group = w.shape[1]
    kernel = w.shape[2:]
    size = [s * (d - 1) + k + e for s, d, k, e in zip(strides, (height, width), kernel, extra)]
    y = np.zeros([1, per_group * groups] + size)
    for c in range(channels):
        first = c // (channels // groups) * per_group
        for i in range(height):
            for j in range(width):
                top, left = i * strides[0], j * strides[1]
                y[0, first:first + per_group, top:top + kernel[0], left:left + kernel[1]] += x[0, c, i, j] * w[c]
    return [y]


def convolutions():
    x4 = (1, 2, 6, 5)
    case("conv_2d", n("Conv", "x,w,b", pads=[1, 1, 1, 1], strides=[2, 2]), x4, dict(w=weight(3, 2, 3, 3), b=weight(3)))
    case("conv_asymmetric", n("Conv", "x,w", pads=[0, 2, 1, 0], strides=[1, 2]), x4, dict(w=weight(2, 2, 2, 3)))
    case("conv_dilated", n("Conv", "x,w", dilations=[2, 1], pads=[2, 1, 2, 1]), x4, dict(w=weight(2, 2, 3, 3)))
    case("conv_groups", n("Conv", "x,w,b", group=2), (1, 4, 5, 5), dict(w=weight(6, 2, 3, 3), b=weight(6)))
    case("conv_depthwise", n("Conv", "x,w", group=3, kernel_shape=[3, 3]), (1, 3, 4, 4), dict(w=weight(3, 1, 3, 3)))
    case("conv_same_upper", n("Conv", "x,w", auto_pad="SAME_UPPER", strides=[2, 2]), x4, dict(w=weight(2, 2, 2, 3)))
    case("conv_same_lower", n("Conv", "x,w", auto_pad="SAME_LOWER", strides=[2, 2]), x4, dict(w=weight(2, 2, 3, 2)))
    case("conv_valid", n("Conv", "x,w", auto_pad="VALID"), x4, dict(w=weight(2, 2, 3, 3)))
    case("conv_1d", n("Conv", "x,w,b", pads=[2, 0], strides=[3]), (1, 2, 9), dict(w=weight(3, 2, 4), b=weight(3)))
    case("conv_3d", n("Conv", "x,w", pads=[1, 0, 1, 0, 1, 1], strides=[1, 2, 1]), (1, 2, 3, 4, 3), dict(w=weight(2, 2, 2, 2, 2)))
    case("conv_batch", n("Conv", "x,w"), (2, 2, 4, 4), dict(w=weight(2, 2, 3, 3)))
    case("conv_transpose", n("ConvTranspose", "x,w,b", strides=[2, 2], pads=[1, 0, 0, 1]), (1, 2, 3, 3), dict(w=weight(2, 3, 3, 2), b=weight(3)))
    w = weight(4, 1, 2, 3)
    case("conv_transpose_groups", n("ConvTranspose", "x,w", strides=[2, 1], group=2, output_padding=[1, 0]), (1, 4, 3, 2), dict(w=w),
         truth=lambda x: grouped_conv_transpose(x, w, [2, 1], 2, [1, 0]))
    case("conv_transpose_dilated", n("ConvTranspose", "x,w", dilations=[2, 2]), (1, 1, 3, 3), dict(w=weight(1, 1, 2, 2)))


def pools():
    x4 = (1, 2, 5, 6)
    case("average_pool", n("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2]), x4)
    case("average_pool_padded", n("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]), x4)
    case("average_pool_include", n("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 0, 1, 2], count_include_pad=1), x4)
    case("average_pool_ceil", n("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), x4)
    case("average_pool_ceil_include", n("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1, count_include_pad=1), (1, 1, 4, 4))
    case("average_pool_dilated", n("AveragePool", "x", kernel_shape=[2, 2], dilations=[2, 2]), x4)
    case("average_pool_same", n("AveragePool", "x", kernel_shape=[3, 2], auto_pad="SAME_UPPER", strides=[2, 2]), x4)
    case("average_pool_1d", n("AveragePool", "x", kernel_shape=[3], strides=[2]), (1, 2, 8))
    case("average_pool_3d", n("AveragePool", "x", kernel_shape=[2, 2, 1]), (1, 1, 3, 3, 2))
    case("global_average_pool", n("GlobalAveragePool", "x"), x4)
    case("global_average_pool_1d", n("GlobalAveragePool", "x"), (1, 3, 4))


def products():
    case("gemm", n("Gemm", "x,w,c", transB=1, alpha=0.5, beta=2.0), (1, 4), dict(w=weight(3, 4), c=weight(3)))
    case("gemm_trans_a", n("Gemm", "x,w", transA=1), (4, 2), dict(w=weight(4, 3)))
    case("gemm_constant_left", n("Gemm", "w,x,c", transB=1), (2, 4), dict(w=weight(3, 4), c=weight(3, 1)))
    case("gemm_encrypted_both", n("Gemm", "x,x1,x2", transB=1, alpha=2.0), [(2, 3), (2, 3), (2,)])
    case("matmul_right", n("MatMul", "x,w"), (1, 3, 4), dict(w=weight(4, 2)))
    case("matmul_left", n("MatMul", "w,x"), (2, 4, 3), dict(w=weight(5, 4)))
    case("matmul_batched", n("MatMul", "x,w"), (2, 1, 3, 4), dict(w=weight(3, 4, 2)))
    case("matmul_vector_right", n("MatMul", "x,w"), (2, 3, 4), dict(w=weight(4)))
    case("matmul_vector_left", n("MatMul", "w,x"), (2, 4, 3), dict(w=weight(4)))
    case("matmul_vector_data", n("MatMul", "x,w"), (4,), dict(w=weight(4, 3)))
    case("matmul_encrypted_both", n("MatMul", "x,x1"), [(1, 2, 3), (2, 3, 2)])


def arithmetic():
    case("add_broadcast", n("Add", "x,c"), (1, 3, 2), dict(c=weight(3, 1)))
    case("add_grows", n("Add", "c,x"), (1, 2), dict(c=weight(3, 1)))
    case("add_encrypted", n("Add", "x,x1"), [(1, 3, 2), (3, 1)])
    case("add_self", n("Add", "x,x"), (1, 3))
    case("sub_constant", n("Sub", "x,c"), (1, 3), dict(c=weight(3)))
    case("sub_from_constant", n("Sub", "c,x"), (1, 3), dict(c=weight(1, 3)))
    case("sub_encrypted", n("Sub", "x,x1"), [(1, 3), (1, 1)])
    case("mul_constant", n("Mul", "x,c"), (1, 2, 3), dict(c=weight(2, 1)))
    case("mul_encrypted", n("Mul", "x,x1"), [(1, 2, 3), (2, 1)])
    case("mul_square", n("Mul", "x,x"), (1, 4))
    case("div_constant", n("Div", "x,c"), (1, 4), dict(c=weight(4, low=0.5, high=2.0)))
    case("div_encrypted", n("Div", "x,x1"), [(1, 4), (1, 1)], low=0.5, high=2.0)
    case("div_of_constant", n("Div", "c,x"), (1, 4), dict(c=weight(4)), low=0.5, high=2.0)
    case("sum", n("Sum", "x,x1,c"), [(1, 3), (1, 1)], dict(c=weight(3)))
    case("mean", n("Mean", "x,x1,x2"), [(1, 3), (1, 1), (1, 3)])
    case("neg", n("Neg", "x"), (1, 3))
    for e in (1, 2, 3, 5, 6, 7, -1, -2):
        case(f"pow_{e}".replace("-", "minus_"), n("Pow", "x,e"), (1, 4), dict(e=np.array(float(e))), low=0.5, high=1.5)
    case("pow_half", n("Pow", "x,e"), (1, 4), dict(e=np.array(0.5)), low=0.5, high=1.5)
    case("pow_fraction", n("Pow", "x,e"), (1, 4), dict(e=np.array([1.7])), low=0.5, high=1.5)
    case("pow_base", n("Pow", "b,x"), (1, 3), dict(b=np.array([0.5, 2.0, 3.0])))
    case("max_constant", n("Max", "x,c"), (1, 4), dict(c=weight(4)))
    case("min_constant", n("Min", "c,x"), (1, 4), dict(c=weight(4)))
    case("max_encrypted", n("Max", "x,x1"), [(1, 4), (1, 1)])
    case("min_encrypted", n("Min", "x,x1"), [(1, 4), (1, 4)])
    bn = dict(s=weight(3), b=weight(3), m=weight(3), v=weight(3, low=0.2, high=2.0))
    case("batch_norm", n("BatchNormalization", "x,s,b,m,v", epsilon=0.01), (1, 3, 2, 2), bn)
    case("batch_norm_flat", n("BatchNormalization", "x,s,b,m,v"), (1, 3), bn)


def functions():
    wide = dict(low=-3.0, high=3.0)
    for op in ("Relu", "LeakyRelu", "ThresholdedRelu", "Sigmoid", "Tanh", "Elu", "Selu", "Celu", "Softplus", "Softsign",
               "HardSigmoid", "HardSwish", "Mish", "Erf", "Exp", "Abs", "Sign", "Sin", "Cos", "Atan"):
        case("fn_" + op.lower(), n(op, "x"), (1, 8), **wide)
    for op in ("Log", "Sqrt", "Reciprocal"):
        case("fn_" + op.lower(), n(op, "x"), (1, 8), low=0.3, high=3.0)
    for op, attributes in (("LeakyRelu", dict(alpha=0.2)), ("ThresholdedRelu", dict(alpha=0.5)), ("Elu", dict(alpha=0.5)),
                           ("Celu", dict(alpha=2.0)), ("Selu", dict(alpha=1.5, gamma=2.0)), ("HardSigmoid", dict(alpha=0.5, beta=0.25))):
        case("fn_" + op.lower() + "_parameters", n(op, "x", **attributes), (1, 8), **wide)
    case("fn_gelu", n("Gelu", "x"), (1, 8), **wide)
    case("fn_gelu_tanh", n("Gelu", "x", approximate="tanh"), (1, 8), **wide)
    case("fn_swish", n("Swish", "x", alpha=1.5), (1, 8), opset=24, **wide)
    case("clip_inputs", n("Clip", "x,lo,hi"), (1, 8), dict(lo=np.array(0.0), hi=np.array(1.5)), **wide)
    case("clip_lower", n("Clip", "x,lo"), (1, 8), dict(lo=np.array(-1.0)), **wide)
    case("clip_upper", n("Clip", "x,,hi"), (1, 8), dict(hi=np.array(1.0)), **wide)
    case("clip_attributes", n("Clip", "x", min=-1.0, max=2.0), (1, 8), opset=10, dtype=np.float32, **wide)
    case("prelu_channels", n("PRelu", "x,s"), (1, 3, 2), dict(s=weight(3, 1)), **wide)
    case("prelu_single", n("PRelu", "x,s"), (1, 3, 2), dict(s=np.array([0.25])), **wide)


def compositions():
    wide = dict(low=-3.0, high=3.0)
    root = np.sqrt(2.0)
    case("silu", [n("Sigmoid", "x", "s"), n("Mul", "x,s")], (1, 6), **wide)
    case("silu_swapped", [n("Sigmoid", "x", "s"), n("Mul", "s,x")], (1, 6), **wide)
    case("silu_steep", [n("Mul", "x,k", "t"), n("Sigmoid", "t", "s"), n("Mul", "x,s")], (1, 6), dict(k=np.array(1.702)), **wide)
    gelu = dict(r=np.array(root), one=np.array(1.0), half=np.array(0.5))
    head = [n("Div", "x,r", "d"), n("Erf", "d", "e"), n("Add", "e,one", "a")]
    case("gelu_div_erf", head + [n("Mul", "x,a", "m"), n("Mul", "m,half")], (1, 6), gelu, **wide)
    case("gelu_half_first", head + [n("Mul", "half,x", "h"), n("Mul", "a,h")], (1, 6), gelu, **wide)
    case("gelu_half_inside", head + [n("Mul", "a,half", "h"), n("Mul", "h,x")], (1, 6), gelu, **wide)
    case("gelu_no_half", head + [n("Mul", "x,a")], (1, 6), gelu, **wide)
    tanh = dict(three=np.array(3.0), k=np.array(0.044715), q=np.array(np.sqrt(2 / np.pi)), one=np.array(1.0), half=np.array(0.5))
    case("gelu_tanh", [n("Pow", "x,three", "c"), n("Mul", "c,k", "ck"), n("Add", "x,ck", "p"), n("Mul", "p,q", "pq"), n("Tanh", "pq", "t"),
                       n("Add", "t,one", "u"), n("Mul", "x,half", "h"), n("Mul", "h,u")], (1, 6), tanh, **wide)
    case("hard_swish", [n("HardSigmoid", "x", "s", alpha=1 / 6, beta=0.5), n("Mul", "x,s")], (1, 6), dtype=np.float32, **wide)
    case("hard_swish_clip", [n("Add", "x,three", "a"), n("Clip", "a,zero,six", "c"), n("Mul", "x,c", "m"), n("Div", "m,six")], (1, 6),
         dict(three=np.array(3.0), zero=np.array(0.0), six=np.array(6.0)), **wide)
    case("mish", [n("Softplus", "x", "s"), n("Tanh", "s", "t"), n("Mul", "x,t")], (1, 6), **wide)
    case("softplus_guarded", [n("Mul", "x,b", "xb"), n("Softplus", "xb", "s"), n("Div", "s,b", "sb"), n("Greater", "xb,bound", "g"),
                              n("Where", "g,x,sb")], (1, 6), dict(b=np.array(2.0), bound=np.array(20.0)), **wide)
    case("inverse_square_root", [n("Sqrt", "x", "s"), n("Reciprocal", "s")], (1, 4), low=0.5, high=2.0)
    case("not_silu", [n("Sigmoid", "x", "s"), n("Mul", "x1,s")], [(1, 6), (1, 6)], **wide)
    case("not_gelu", [n("Erf", "x", "e"), n("Add", "e,one", "a"), n("Mul", "x,a")], (1, 6), dict(one=np.array(1.0)), **wide)
    case("not_silu_shifted", [n("Add", "x,one", "a"), n("Sigmoid", "a", "s"), n("Mul", "x,s")], (1, 6), dict(one=np.array(1.0)), **wide)


def shapes():
    x = (1, 2, 3, 4)
    case("reshape", n("Reshape", "x,s"), x, dict(s=i64(0, -1, 4)))
    case("reshape_allow_zero", n("Reshape", "x,s", allowzero=1), x, dict(s=i64(1, -1)))
    case("flatten", n("Flatten", "x"), x)
    case("flatten_negative", n("Flatten", "x", axis=-2), x)
    case("flatten_all", n("Flatten", "x", axis=0), x)
    case("squeeze", n("Squeeze", "x,a"), (1, 2, 1, 3), dict(a=i64(-2)))
    case("squeeze_all", n("Squeeze", "x"), (1, 2, 1, 3))
    case("squeeze_old", n("Squeeze", "x", axes=[2]), (1, 2, 1, 3), opset=11)
    case("unsqueeze", n("Unsqueeze", "x,a"), (1, 3), dict(a=i64(-1, 1)))
    case("unsqueeze_old", n("Unsqueeze", "x", axes=[0, 3]), (1, 3), opset=11)
    case("transpose", n("Transpose", "x", perm=[0, 2, 3, 1]), x)
    case("transpose_reversed", n("Transpose", "x"), (2, 3, 2))
    case("identity_dropout", [n("Identity", "x", "a"), n("Dropout", "a", "b,mask"), n("Cast", "b", to=TensorProto.DOUBLE)], (1, 3))
    case("concat", n("Concat", "x,x1", axis=1), [(1, 2, 2), (1, 3, 2)])
    case("concat_constant", n("Concat", "x,c,x", axis=-1), (1, 2, 2), dict(c=weight(1, 2, 1)))
    case("slice", n("Slice", "x,s,e,a"), x, dict(s=i64(1, -3), e=i64(2, 2**62), a=i64(1, 3)))
    case("slice_steps", n("Slice", "x,s,e,a,t"), (1, 7, 5), dict(s=i64(-1, 0), e=i64(-(2**62), 5), a=i64(1, -1), t=i64(-2, 2)))
    case("slice_attributes", n("Slice", "x", starts=[1], ends=[-1], axes=[3]), x, opset=9)
    case("split", n("Split", "x,p", "y,y1", axis=1), (1, 5, 2), dict(p=i64(2, 3)), outputs=2)
    case("split_equal", n("Split", "x", "y,y1,y2", axis=-1, num_outputs=3), (1, 2, 7), outputs=3)
    case("split_old", n("Split", "x", "y,y1", axis=1, split=[1, 4]), (1, 5), opset=11, outputs=2)
    case("gather", n("Gather", "x,i", axis=1), (1, 5, 2), dict(i=i64(4, -5, 2, 2).reshape(2, 2)))
    case("gather_scalar", n("Gather", "x,i", axis=2), (1, 2, 3), dict(i=np.array(-1, np.int64)))
    case("expand", n("Expand", "x,s"), (1, 3, 1), dict(s=i64(2, 1, 4)))
    case("tile", n("Tile", "x,r"), (1, 2, 3), dict(r=i64(2, 1, 3)))
    case("depth_to_space", n("DepthToSpace", "x", blocksize=2), (1, 8, 2, 3))
    case("depth_to_space_crd", n("DepthToSpace", "x", blocksize=2, mode="CRD"), (1, 8, 2, 3))
    case("space_to_depth", n("SpaceToDepth", "x", blocksize=2), (1, 2, 4, 6))
    case("where_constant", n("Where", "m,x,c"), (1, 4), dict(m=np.array([True, False, True, False]), c=np.array(-7.0)))
    case("where_encrypted", n("Where", "m,x,x1"), [(1, 4), (1, 1)], dict(m=np.array([True, False, True, False])))
    pads = i64(0, 0, 1, 2, 0, 1, 2, 0)
    case("pad_constant", n("Pad", "x,p,v"), x, dict(p=pads, v=np.array(0.5)))
    case("pad_edge", n("Pad", "x,p", mode="edge"), x, dict(p=pads))
    case("pad_reflect", n("Pad", "x,p", mode="reflect"), x, dict(p=pads))
    case("pad_wrap", n("Pad", "x,p", mode="wrap"), x, dict(p=pads))
    case("pad_axes", n("Pad", "x,p,,a"), x, dict(p=i64(1, 2), a=i64(-1)))
    case("pad_crop", n("Pad", "x,p"), x, dict(p=i64(0, 0, -1, 1, 0, 0, 0, -2)),
         truth=lambda x: [np.pad(x[:, :, 1:, :-2], [(0, 0), (0, 0), (0, 0), (1, 0)])])
    case("pad_attributes", n("Pad", "x", pads=[0, 0, 1, 0, 0, 0, 0, 1], value=1.5), x, opset=2 + 5, dtype=np.float32)


def reductions():
    x = (1, 2, 3, 4)
    case("reduce_mean", n("ReduceMean", "x,a"), x, dict(a=i64(2, -1)))
    case("reduce_mean_old", n("ReduceMean", "x", axes=[-1, -2], keepdims=0), x, opset=13)
    case("reduce_mean_all", n("ReduceMean", "x", keepdims=0), x)
    case("reduce_sum", n("ReduceSum", "x,a", keepdims=0), x, dict(a=i64(1)))
    case("reduce_sum_old", n("ReduceSum", "x", axes=[1, 3]), x, opset=11)
    case("reduce_sum_noop", n("ReduceSum", "x", noop_with_empty_axes=1), x)
    case("reduce_sum_square", n("ReduceSumSquare", "x,a"), x, dict(a=i64(3)))
    case("reduce_l1", n("ReduceL1", "x,a"), x, dict(a=i64(3)))
    case("reduce_l2", n("ReduceL2", "x,a", keepdims=0), x, dict(a=i64(2, 3)))


def shape_arithmetic():
    """The batch is symbolic and bound to 1; everything about shapes must fold away."""
    batch = dict(x=["batch", 3, 4])
    head = [n("Shape", "x", "s"), n("Gather", "s,zero", "b")]
    consts = dict(zero=np.array(0, np.int64), a0=i64(0), rest=i64(-1))
    case("dynamic_flatten", head + [n("Unsqueeze", "b,a0", "bu"), n("Concat", "bu,rest", "t", axis=0), n("Reshape", "x,t")],
         (1, 3, 4), consts, symbolic=batch)
    case("dynamic_scale", [n("Shape", "x", "s", start=-1), n("Cast", "s", "f", to=TensorProto.DOUBLE), n("Sqrt", "f", "r"), n("Div", "x,r")],
         (1, 3, 4), symbolic=batch)
    case("dynamic_expand", [n("Shape", "x", "s"), n("ConstantOfShape", "n", "ones", value=helper.make_tensor("v", TensorProto.INT64, [1], [1])),
                            n("Mul", "ones,minus", "m"), n("Equal", "t,m", "eq"), n("Where", "eq,ones,t", "shape"), n("Expand", "x,shape", "e"), n("Add", "e,x")],
         (1, 3, 4), dict(n=i64(3), minus=np.array(-1, np.int64), t=i64(2, -1, 4)), symbolic=batch)
    case("dynamic_range", [n("Shape", "x", "s"), n("Gather", "s,last", "k"), n("Range", "zero,k,two", "i"), n("Gather", "x,i", axis=2)],
         (1, 3, 4), dict(last=np.array(2, np.int64), zero=np.array(0, np.int64), two=np.array(2, np.int64)), symbolic=batch)
    case("dynamic_slice", [n("Shape", "x", "s"), n("Slice", "s,one,three", "t"), n("ReduceProd", "t", "p", keepdims=1), n("Concat", "one,p", "u", axis=0),
                           n("Reshape", "x,u")], (1, 3, 4), dict(one=i64(1), three=i64(3)), symbolic=batch)
    case("constant_forms", [helper.make_node("Constant", [], ["f"], value_float=0.5), helper.make_node("Constant", [], ["l"], value_floats=[1.0, 2.0, 3.0]),
                            helper.make_node("Constant", [], ["i"], value_ints=[1, 3]), helper.make_node("Constant", [], ["k"], value_int=2),
                            n("Reshape", "x,i", "r"), n("Mul", "r,f", "m"), n("Add", "m,l", "a"), n("Cast", "k", "kf", to=TensorProto.FLOAT), n("Mul", "a,kf")],
         (3, 1), dtype=np.float32)
    whole = dict(a=i64(7, 8, -9), b=i64(2, 5, 4), f=np.array([1.25, -0.5, 2.5]))
    case("folded_integers", [n("Mod", "a,b", "m"), n("Div", "a,b", "d"), n("Max", "m,d", "g"), n("Min", "g,b", "h"), n("Size", "x", "z"), n("Add", "h,z", "i"),
                             n("Sub", "i,a", "j"), n("Abs", "j", "p"), n("Pow", "p,b", "q"), n("ReduceMax", "q", "u"), n("ReduceMin", "p", "v"),
                             n("Mul", "v,v", "w"), n("Neg", "w", "o"), n("ReduceSum", "p", "r"), n("Add", "o,r", "t"), n("CastLike", "t,x", "c"), n("Add", "x,c")],
         (1, 3), {k: whole[k] for k in "ab"})
    case("folded_floats", [n("Floor", "f", "a"), n("Ceil", "f", "b"), n("Round", "f", "c"), n("Exp", "f", "d"), n("Sum", "a,b,c,d", "e"), n("Relu", "e", "g"),
                           n("Sqrt", "g", "h"), n("ReduceMean", "h", "i"), n("Clip", "h,i", "j"), n("Mul", "x,j")], (1, 3), dict(f=whole["f"]))
    case("folded_logic", [n("Less", "a,b", "l"), n("LessOrEqual", "a,b", "le"), n("Greater", "a,b", "g"), n("GreaterOrEqual", "a,b", "ge"), n("And", "le,ge", "e"),
                          n("Or", "l,e", "o"), n("Xor", "o,g", "t"), n("Not", "t", "f"), n("Or", "f,l", "m"), n("Where", "m,a,b", "s"),
                          n("Cast", "s", "c", to=TensorProto.DOUBLE), n("Cast", "m", "k", to=TensorProto.DOUBLE), n("Add", "c,k", "ck"), n("Add", "x,ck")],
         (1, 3), dict(a=i64(1, 5, 3), b=i64(2, 5, 1)))
    case("out_of_order", [n("Neg", "h"), n("Relu", "x", "h")], (1, 3), truth=lambda x: [-np.maximum(x, 0)])


def classical():
    case("ml_scaler", helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", offset=[0.5, -0.5, 1.0], scale=[2.0, 0.5, 1.0]), (1, 3), ml=True, dtype=np.float32)
    case("ml_regressor", helper.make_node("LinearRegressor", ["x"], ["y"], domain="ai.onnx.ml", coefficients=[0.5, -1.0, 2.0, 1.0, 0.25, 0.0],
                                          intercepts=[0.5, -0.25], targets=2), (1, 3), ml=True, dtype=np.float32)
    two = dict(domain="ai.onnx.ml", coefficients=[0.5, -1.0, 2.0, -0.5, 1.0, -2.0], intercepts=[0.25, -0.25], classlabels_ints=[0, 1])
    w, b = np.array(two["coefficients"]).reshape(2, 3), np.array(two["intercepts"])
    case("ml_classifier", helper.make_node("LinearClassifier", ["x"], ["label", "y"], post_transform="NONE", **two), (1, 3), ml=True, dtype=np.float32)
    case("ml_zipmap", [helper.make_node("LinearClassifier", ["x"], ["label", "s"], post_transform="LOGISTIC", **two),
                       helper.make_node("ZipMap", ["s"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])], (1, 3), ml=True, dtype=np.float32,
         truth=lambda x: [1 / (1 + np.exp(-(x.astype(np.float64) @ w.T + b)))])


def bad(name, nodes, inputs, outputs=("y",), consts=None, opset=21, domains=(), change=lambda model: None):
    """One model that must be refused; inputs are (name, type, shape)."""
    nodes = nodes if isinstance(nodes, list) else [nodes]
    infos = [helper.make_tensor_value_info(v, kind, shape) for v, kind, shape in inputs]
    outs = [helper.make_tensor_value_info(v, TensorProto.FLOAT, None) for v in outputs]
    initialisers = [numpy_helper.from_array(np.asarray(v), k) for k, v in (consts or {}).items()]
    graph = helper.make_graph(nodes, name, infos, outs, initializer=initialisers)
    opsets = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, 1) for d in domains]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 10
    change(model)
    onnx.save(model, os.path.join(ERRORS, name + ".onnx"))


def errors():
    x = [("x", TensorProto.FLOAT, ["batch", 4])]
    image = [("x", TensorProto.FLOAT, ["batch", 2, 4, 4])]
    w = weight(4, 3).astype(np.float32)
    bad("all_at_once", [n("Floor", "x", "p"), n("Relu", "p", "r"), n("Hardmax", "x", "s"),
                        helper.make_node("FusedGelu", ["x"], ["g"], domain="com.example"), n("Sum", "r,s,g")],
        image, domains=["com.example"])
    bad("bad_attribute", n("Flatten", "x", axis=7), x)
    bad("bad_shape", n("MatMul", "x,w"), x, consts=dict(w=w[:3]))
    bad("comparison", [n("Less", "x,x1", "l"), n("Where", "l,x,x1")], x + [("x1", TensorProto.FLOAT, ["batch", 4])])
    bad("constant_output", n("Identity", "w"), x, consts=dict(w=w))
    bad("cycle", [n("Add", "x,b", "a"), n("Relu", "a", "b"), n("Neg", "b")], x)
    bad("defined_twice", [n("Relu", "x"), n("Neg", "x")], x)
    bad("dynamic_weight", n("Conv", "x,x1"), image + [("x1", TensorProto.FLOAT, [2, 2, 3, 3])])
    branch = helper.make_graph([n("Relu", "x", "b")], "branch", [], [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)])
    bad("if", helper.make_node("If", ["c"], ["y"], name="the_If"), x, consts=dict(c=np.array(True)))
    bad("if_on_data", [n("ReduceMax", "x", "m", keepdims=0), n("Greater", "m,z", "c"), n("If", "c", then_branch=branch, else_branch=branch)], x,
        consts=dict(z=np.array(0, np.float32)))
    go = [helper.make_tensor_value_info(*v) for v in [("i", TensorProto.INT64, []), ("c", TensorProto.BOOL, []), ("a", TensorProto.FLOAT, None)]]
    again = [n("Neg", "a", "out"), n("ReduceMax", "out", "m", keepdims=0), n("Greater", "m,z", "go")]
    body = helper.make_graph(again, "body", go, [helper.make_tensor_value_info("go", TensorProto.BOOL, []), helper.make_tensor_value_info("out", TensorProto.FLOAT, None)])
    bad("loop_on_data", n("Loop", "n,,x", body=body), x, consts=dict(n=np.array(5), z=np.array(0, np.float32)))
    bad("integer_input", n("Relu", "x"), [("x", TensorProto.INT64, [1, 4])])
    bad("missing_value", n("MatMul", "x,w"), x)
    bad("missing_output", n("Relu", "x", "z"), x)
    body = helper.make_function("own", "Block", ["a"], ["b"], [n("Floor", "a", "f"), n("Neg", "f", "b")], [helper.make_opsetid("", 21)])
    bad("model_function", helper.make_node("Block", ["x"], ["y"], domain="own"), x, domains=["own"], change=lambda m: m.functions.append(body))
    bad("nan_weight", n("MatMul", "x,w"), x, consts=dict(w=np.where(w == w[1, 1], np.nan, w).astype(np.float32)))
    bad("no_input", n("Relu", "w"), [], consts=dict(w=w))
    bad("open_axis", n("Relu", "x"), [("x", TensorProto.FLOAT, ["batch", "length"])])
    bad("step", n("Floor", "x"), x)
    bad("too_large", n("Expand", "x,s"), x, consts=dict(s=i64(2**40, 1, 4)))
    bad("too_new", n("Gelu", "x"), x, opset=17)
    bad("training", n("Dropout", "x,r,t"), x, consts=dict(r=np.array(0.5, np.float32), t=np.array(True)))
    ml = lambda op, **attributes: n(op, "x", domain="ai.onnx.ml", **attributes)
    bad("trees", ml("TreeEnsembleRegressor", n_targets=1, aggregate_function="MIN", nodes_treeids=[0, 0, 0, 0, 0, 1, 1, 1], nodes_nodeids=[0, 1, 2, 3, 4, 0, 1, 2],
                    nodes_modes=["BRANCH_LEQ", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF"],
                    nodes_truenodeids=[1, 0, 3, 0, 0, 1, 0, 0], nodes_falsenodeids=[2, 0, 4, 0, 0, 2, 0, 0], nodes_featureids=[0, 0, 1, 0, 0, 2, 0, 0],
                    nodes_values=[0.5, 0.0, 0.25, 0.0, 0.0, 1.0, 0.0, 0.0], target_treeids=[0, 0, 0, 1, 1], target_nodeids=[1, 3, 4, 1, 2],
                    target_ids=[0] * 5, target_weights=[1.0, 2.0, 3.0, 4.0, 5.0]), x, domains=["ai.onnx.ml"])
    bad("imputer_of_zero", ml("Imputer", imputed_value_floats=[1.0], replaced_value_float=0.0), x, domains=["ai.onnx.ml"])
    bad("unknown_operator", n("Frobnicate", "x"), x)
    bad("masked_logarithm", [n("Add", "x,m", "a"), n("LogSoftmax", "a")], x, consts=dict(m=np.array([0, -np.inf, 0, 0], np.float32)))
    bad("zero_divisor", n("Div", "x,d"), x, consts=dict(d=np.zeros(4, np.float32)))


if __name__ == "__main__":
    shutil.rmtree(HERE, ignore_errors=True)
    os.makedirs(HERE)
    for group in (convolutions, pools, products, arithmetic, functions, compositions, shapes, reductions, shape_arithmetic, classical):
        group()
    np.savez_compressed(os.path.join(HERE, "expected.npz"), **expected)
    shutil.rmtree(ERRORS, ignore_errors=True)
    os.makedirs(ERRORS)
    errors()
