"""Writes the models of `import_more/` as `make.py` writes those of `import/`: normalisations, softmax,
extrema, attention, resizing, gathering and scattering.

Needs the packages onnx and numpy. Run from any folder: python make_more.py
"""

import os
import shutil

import numpy as np
from onnx import TensorProto, helper

import make
from make import case, i64, n, weight

make.HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "import_more")
make.rng = np.random.default_rng(21)
make.expected = {}


def functions():
    for op in ["Tan", "Sinh", "Cosh", "Asin", "Acos", "Asinh", "Atanh"]:
        case(op.lower(), n(op, "x"), (1, 6), low=-0.9, high=0.9)
    case("acosh", n("Acosh", "x"), (1, 6), low=1.1, high=4.0)
    case("shrink", n("Shrink", "x", lambd=0.4, bias=0.4), (1, 8))
    case("shrink_hard", n("Shrink", "x", lambd=0.4), (1, 8))
    case("powers", n("Pow", "x,e"), (2, 4), dict(e=np.array([0.0, 1.0, 2.0, 5.0])))


def normalisations():
    x = (2, 4, 3)
    case("layer_norm", n("LayerNormalization", "x,s,b", axis=-1, epsilon=1e-3), x, dict(s=weight(3), b=weight(3)), dtype=np.float32)
    case("layer_norm_axes", n("LayerNormalization", "x,s", "y,y1,y2", axis=1), x, dict(s=weight(4, 3)), outputs=3, dtype=np.float32)
    case("rms_norm", n("RMSNormalization", "x,s", axis=-1), x, dict(s=weight(3)), opset=23, dtype=np.float32)
    case("instance_norm", n("InstanceNormalization", "x,s,b"), (2, 3, 4, 2), dict(s=weight(3), b=weight(3)), dtype=np.float32)
    s, b = weight(4), weight(4)

    def groups(x, scale, bias, g=2):
        y = x.reshape(2, g, -1)
        y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5)
        return [y.reshape(x.shape) * scale.reshape(1, 4, 1) + bias.reshape(1, 4, 1)]
    case("group_norm", n("GroupNormalization", "x,s,b", num_groups=2), x, dict(s=s, b=b), dtype=np.float32, truth=lambda x: groups(x, s, b))
    case("group_norm_18", n("GroupNormalization", "x,s,b", num_groups=2), x, dict(s=s[:2], b=b[:2]), opset=18, dtype=np.float32,
         truth=lambda x: groups(x, np.repeat(s[:2], 2), np.repeat(b[:2], 2)))
    case("mean_variance", n("MeanVarianceNormalization", "x", axes=[0, 2]), x, dtype=np.float32)
    case("lp_norm_1", n("LpNormalization", "x", p=1, axis=1), x, truth=lambda x: [x / np.abs(x).sum(1, keepdims=True)])
    case("lp_norm_2", n("LpNormalization", "x"), x)

    def response(x):
        padded = np.pad(x ** 2, ((0, 0), (1, 1), (0, 0), (0, 0)))
        sums = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
        return [x / (1.5 + 0.5 / 3 * sums) ** 0.6]
    case("lrn", n("LRN", "x", size=3, alpha=0.5, beta=0.6, bias=1.5), (1, 5, 2, 2), truth=response)
    case("lp_pool", n("LpPool", "x", kernel_shape=[2, 2], strides=[1, 2], pads=[0, 1, 0, 1], p=2), (1, 2, 4, 4), low=0.2)
    case("lp_pool_3", n("LpPool", "x", kernel_shape=[2], p=3), (1, 2, 5), low=0.2)
    case("global_lp_pool", n("GlobalLpPool", "x", p=1), (1, 2, 3, 3), truth=lambda x: [np.abs(x).sum((2, 3), keepdims=True)])


def softmax():
    x = (2, 3, 4)
    case("softmax", n("Softmax", "x"), x, low=-3, high=3)
    case("softmax_axis", n("Softmax", "x", axis=1), x)
    case("softmax_flat", n("Softmax", "x", axis=1), x, opset=11,
         truth=lambda x: [(lambda e: e / e.sum((1, 2), keepdims=True))(np.exp(x))])
    case("log_softmax", n("LogSoftmax", "x", axis=0), x, low=-3, high=3)
    case("softmax_masked", [n("Add", "x,m", "a"), n("Softmax", "a")], x, dict(m=np.array([0.0, -np.inf, 0.0, -np.inf])))
    case("softmax_written_out", [n("ReduceMax", "x,a", "m"), n("Sub", "x,m", "s"), n("Exp", "s", "e"), n("ReduceSum", "e,a", "t"), n("Div", "e,t")],
         x, dict(a=i64(2)))
    case("log_softmax_written_out", [n("ReduceMax", "x,a", "m"), n("Sub", "x,m", "s"), n("Exp", "s", "e"), n("ReduceSum", "e,a", "t"), n("Log", "t", "l"),
                                     n("Sub", "s,l")], x, dict(a=i64(1)))
    case("softmax_of_wheres", [n("Where", "c,x,i", "w"), n("Softmax", "w")], x, dict(c=np.tri(3, 4, dtype=bool), i=np.array(-np.inf)))
    case("reduce_log_sum_exp", n("ReduceLogSumExp", "x,a", keepdims=0), x, dict(a=i64(1)), low=-4, high=4)
    case("reduce_log_sum", n("ReduceLogSum", "x,a"), x, dict(a=i64(-1)), low=0.1)
    case("exp_over_other_sum", [n("Exp", "x", "e"), n("ReduceSum", "e,a", "t"), n("Exp", "x1", "f"), n("Div", "f,t")], [x, x], dict(a=i64(2)))


def extrema():
    x4 = (1, 2, 5, 6)
    case("max_pool", n("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2]), x4)
    case("max_pool_padded", n("MaxPool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 2]), x4)
    case("max_pool_dilated", n("MaxPool", "x", kernel_shape=[2, 3], dilations=[2, 2], ceil_mode=1), x4)
    case("max_pool_1d", n("MaxPool", "x", kernel_shape=[5]), (2, 2, 9))
    case("global_max_pool", n("GlobalMaxPool", "x"), x4)
    case("reduce_max", n("ReduceMax", "x,a"), (2, 5, 3), dict(a=i64(1)))
    case("reduce_min", n("ReduceMin", "x,a", keepdims=0), (2, 3, 3), dict(a=i64(0, 2)))
    case("reduce_prod", n("ReduceProd", "x,a", keepdims=0), (2, 5, 3), dict(a=i64(1)))
    case("max_of_five", n("Max", "x,a,x1,x2,b"), [(2, 3), (3,), (2, 1)], dict(a=np.array(-0.5), b=weight(3)))


def attentions():
    x = [(2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 2)]
    case("attention", n("Attention", "x,x1,x2"), x, opset=23, dtype=np.float32)
    case("attention_causal", n("Attention", "x,x1,x2", is_causal=1, scale=0.3), [(1, 2, 4, 3)] * 3, opset=23, dtype=np.float32)
    case("attention_mask", n("Attention", "x,k,v,m", softcap=2.0), x[:1],
         dict(k=weight(2, 3, 6, 5), v=weight(2, 3, 6, 2), m=np.tri(4, 6, 1, dtype=bool)), opset=23, dtype=np.float32)
    case("attention_grouped", n("Attention", "x,x1,x2", q_num_heads=4, kv_num_heads=2), [(1, 3, 8), (1, 5, 4), (1, 5, 6)], opset=23, dtype=np.float32)
    case("attention_past", n("Attention", "x,x1,x2,,p,q", "y,y1,y2"), [(1, 2, 3, 4)] * 3, dict(p=weight(1, 2, 2, 4), q=weight(1, 2, 2, 4)), opset=23,
         outputs=3, dtype=np.float32)
    case("rotary", n("RotaryEmbedding", "x,c,s"), (1, 2, 3, 4), dict(c=weight(1, 3, 2), s=weight(1, 3, 2)), opset=23, dtype=np.float32)
    case("rotary_positions", n("RotaryEmbedding", "x,c,s,p", interleaved=1, num_heads=2, rotary_embedding_dim=4), (1, 3, 12),
         dict(c=weight(5, 2), s=weight(5, 2), p=i64(4, 0, 2).reshape(1, 3)), opset=23, dtype=np.float32)
    for name, equation, shapes in [("matrices", "ij,jk->ik", [(2, 3), (3, 4)]), ("batches", "...ij,...jk", [(2, 2, 3), (2, 3, 2)]),
                                   ("trace", "bii->b", [(2, 3, 3)]), ("transposed", "ab->ba", [(2, 3)]), ("three", "i,ij,j->", [(2,), (2, 3), (3,)]),
                                   ("heads", "bthd,bshd->bhts", [(1, 2, 2, 3), (1, 4, 2, 3)])]:
        operands = ",".join(["x", "x1", "x2"][:len(shapes)])
        case("einsum_" + name, n("Einsum", operands, equation=equation), shapes)
    case("einsum_constant", n("Einsum", "x,w", equation="bij,jk->bik"), (2, 2, 3), dict(w=weight(3, 4)))


def resizes():
    x = (1, 2, 4, 5)
    up, down = np.array([1.0, 1.0, 1.7, 2.0], np.float32), np.array([1.0, 1.0, 0.6, 0.8], np.float32)
    for mode in ["nearest", "linear", "cubic"]:
        for transform in ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]:
            case(f"resize_{mode}_{transform}", n("Resize", "x,,s", mode=mode, coordinate_transformation_mode=transform), x, dict(s=up))
        case(f"resize_{mode}_down", n("Resize", "x,,s", mode=mode), x, dict(s=down))
    for how in ["round_prefer_ceil", "floor", "ceil"]:
        case(f"resize_{how}", n("Resize", "x,,s", nearest_mode=how), x, dict(s=down))
    case("resize_antialias", n("Resize", "x,,s", mode="cubic", antialias=1), x, dict(s=down))
    case("resize_exclude", n("Resize", "x,,s", mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5), x, dict(s=down))
    case("resize_sizes", n("Resize", "x,,,s", mode="linear", axes=[3, 2]), x, dict(s=i64(7, 3)))
    case("resize_policy", n("Resize", "x,,,s", axes=[2, 3], keep_aspect_ratio_policy="not_larger"), x, dict(s=i64(8, 8)))
    case("resize_region", n("Resize", "x,r,,s", mode="linear", coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=2.5), x,
         dict(r=np.array([0, 0, 0.4, 0.6, 1, 1, 1.2, 0.9], np.float32), s=i64(1, 2, 3, 3)))
    case("upsample", n("Upsample", "x,s", mode="nearest"), x, dict(s=np.array([1.0, 1.0, 2.0, 3.0], np.float32)), opset=9,
         truth=lambda x: [x.repeat(2, 2).repeat(3, 3)])


def places():
    case("gather_elements", n("GatherElements", "x,i", axis=1), (3, 4), dict(i=i64(0, 3, -1, 2, 1, 1).reshape(3, 2)))
    case("gather_nd", n("GatherND", "x,i"), (3, 4, 2), dict(i=i64(0, 1, 2, -1).reshape(2, 2)))
    case("gather_nd_batch", n("GatherND", "x,i", batch_dims=1), (2, 3, 2), dict(i=i64(1, 2).reshape(2, 1)))
    case("scatter_elements", n("ScatterElements", "x,i,u", axis=1), (2, 4), dict(i=i64(1, 3).reshape(1, 2), u=weight(1, 2)))
    case("scatter_add", n("ScatterElements", "x,i,x1", axis=1, reduction="add"), [(1, 4), (1, 3)], dict(i=i64(1, 1, 2).reshape(1, 3)))
    case("scatter_old", n("Scatter", "x,i,u"), (3, 2), dict(i=i64(2, 0).reshape(1, 2), u=np.array([[0.5, -0.25]])), opset=9,
         truth=lambda x: [np.array([[x[0, 0], -0.25], x[1], [0.5, x[2, 1]]])])
    case("scatter_nd", n("ScatterND", "d,i,x"), (2, 3), dict(d=weight(4, 3), i=i64(2, 0).reshape(2, 1)))
    case("tensor_scatter", n("TensorScatter", "x,x1,i", axis=-2, mode="circular"), [(2, 4, 2), (2, 2, 2)], dict(i=i64(3, 1)), opset=24)
    case("compress", n("Compress", "x,c", axis=1), (2, 4), dict(c=np.array([True, False, True])))
    case("compress_flat", n("Compress", "x,c"), (2, 3), dict(c=np.array([False, True, True, False, True])))
    case("cum_sum", n("CumSum", "x,a"), (2, 3, 2), dict(a=np.array(1)))
    case("cum_sum_reverse", n("CumSum", "x,a", exclusive=1, reverse=1), (2, 4), dict(a=np.array(-1)))
    case("triangle", n("Trilu", "x,k", upper=0), (2, 3, 4), dict(k=np.array(1)))
    case("triangle_upper", n("Trilu", "x"), (3, 4))
    case("center_crop_pad", n("CenterCropPad", "x,s", axes=[2, 1]), (1, 5, 4), dict(s=i64(7, 2)))
    case("reverse_sequence", n("ReverseSequence", "x,l", time_axis=0, batch_axis=1), (4, 3, 2), dict(l=i64(1, 4, 3)))
    case("columns_to_image", n("Col2Im", "x,i,b", pads=[0, 1, 0, 1], dilations=[1, 1], strides=[1, 2]), (1, 8, 9), dict(i=i64(4, 5), b=i64(2, 2)))


def choices():
    zero = dict(z=np.array(0.0))
    x = (1, 3, 4)
    case("leaky_where", [n("Less", "x,z", "c"), n("Mul", "x,a", "m"), n("Where", "c,m,x")], x, zero | dict(a=np.array(0.1)))
    case("prelu_where", [n("GreaterOrEqual", "x,z", "c"), n("Mul", "x,a", "m"), n("Where", "c,x,m")], x, zero | dict(a=weight(3, 1)))
    case("clip_where", [n("Less", "x,l", "c"), n("Where", "c,l,x", "a"), n("Less", "h,a", "d"), n("Where", "d,h,a")], x, dict(l=np.array(-0.5), h=np.array(0.4)))
    case("elu_where", [n("Less", "x,z", "c"), n("Exp", "x", "e"), n("Sub", "e,o", "f"), n("Mul", "f,a", "g"), n("Where", "c,g,x")], x,
         zero | dict(o=np.array(1.0), a=np.array(1.5)))
    case("matmul_of_constants", [n("MatMul", "a,b", "c"), n("Add", "x,c")], (2, 4), dict(a=weight(2, 3), b=weight(3, 4)))


def samples():
    x, grid = (2, 2, 3, 4), make.weight(2, 2, 3, 2, low=-1.4, high=1.4)
    for mode in ["nearest", "linear", "cubic"]:
        for padding in ["zeros", "border", "reflection"]:
            for align in [0, 1]:
                case(f"grid_{mode}_{padding}_{align}", n("GridSample", "x,g", mode=mode, padding_mode=padding, align_corners=align), x,
                     dict(g=grid), opset=20)
    labels = i64(2, 0, 1, 1, 2, 2).reshape(2, 3)
    for reduction in ["none", "sum", "mean"]:
        case("nll_" + reduction, n("NegativeLogLikelihoodLoss", "x,t,w", reduction=reduction, ignore_index=1), (2, 3, 3),
             dict(t=labels, w=np.array([0.5, 1.5, 2.0])), opset=22)
    case("cross_entropy", n("SoftmaxCrossEntropyLoss", "x,t", "y,y1"), (2, 3, 3), dict(t=labels), outputs=2)


def constants():
    case("remainders", [n("Mod", "a,b", "m"), n("Mod", "a,b", "f", fmod=1), n("Cast", "m", "r", to=11), n("Cast", "f", "s", to=11), n("Mul", "x,r", "p"), n("Add", "p,s")],
         (2, 6), dict(a=i64(7, -7, 7, -7, 6, 0), b=i64(3, 3, -3, -3, -2, 5)))
    case("remainder_real", [n("Mod", "a,b", "m", fmod=1), n("Add", "x,m")], (2, 3), dict(a=np.array([5.5, -5.5, 2.0]), b=np.array([2.0, 2.0, -0.75])))
    case("guarded", [n("IsNaN", "x", "c"), n("Where", "c,z,x")], (2, 3), dict(z=np.array(0.0)))
    endless = np.array([np.inf, -np.inf, 1.0, -2.0])
    case("is_infinite", [n("IsInf", "e", "c"), n("IsInf", "e", "d", detect_negative=0), n("Mul", "x,x", "q"), n("Where", "c,x,q", "p"), n("Where", "d,q,p")], (3, 4),
         dict(e=endless))
    case("masked_padding", [n("Pad", "m,p,v", "w"), n("Add", "x,w", "s"), n("Softmax", "s", axis=-1)], (2, 5), dict(m=weight(2, 3), p=i64(0, 0, 0, 2), v=np.array(-np.inf)))


def exporters():
    # Masks that are large numbers instead of minus infinity.
    for name, low in [("ten_thousand", -1e4), ("billion", -1e9)]:
        case(f"softmax_masked_by_{name}", [n("Add", "x,m", "a"), n("Softmax", "a")], (2, 3, 4), dict(m=np.array([0.5, low, 0.0, low])))
    # In single precision 5 * 1.6 is above 8, and the last place still is the last pixel's.
    case("resize_nearest_corners", n("Resize", "x,,s", nearest_mode="floor", coordinate_transformation_mode="align_corners"), (1, 1, 5, 4),
         dict(s=np.array([1.0, 1.0, 1.6, 0.75], np.float32)), truth=lambda x: [x[:, :, [0, 0, 1, 1, 2, 2, 3, 4]][:, :, :, [0, 1, 3]]])


if __name__ == "__main__":
    shutil.rmtree(make.HERE, ignore_errors=True)
    os.makedirs(make.HERE)
    for group in (functions, normalisations, softmax, extrema, attentions, resizes, places, choices, samples, constants, exporters):
        group()
    np.savez_compressed(os.path.join(make.HERE, "expected.npz"), **make.expected)
