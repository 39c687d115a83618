//! The operators of `com.microsoft` that ONNX Runtime's quantiser writes beside ONNX's own: each is
//! an operator of ONNX between dequantised operands and a result with a scale of its own.
//!
//! Operands and defaults are those of ONNX Runtime's document of contrib operators.

use heplan_ir::diagnostic::Code;

use super::compose::{int, number, numbers};
use super::context::{Emitted, Fault, NodeCx, Operand, fault, fault_help};
use super::quantise::{dequantised, requantised, with_own_attributes};

/// `QGemm`: the bias is in units of `alpha` and both scales; without a scale the result is real.
pub(super) fn gemm(cx: &mut NodeCx<'_>) -> Emitted {
    let a = dequantised(cx, 0, [1, 2], 0, 0)?;
    let turned = cx.attr_int("transB", 0)? != 0;
    let b = dequantised(cx, 3, [4, 5], i64::from(!turned), 0)?;
    let mut operands = vec![a, b];
    if cx.optional(6).is_some() {
        let (shape, bias) = cx.weights(6)?;
        let ((_, of_a), (_, of_b)) = (cx.weights(1)?, cx.weights(4)?);
        let alpha = cx.attr_float("alpha", 1.0)?;
        let &[of_a] = of_a.as_slice() else {
            return Err(fault(
                Code::ShapeMismatch,
                "the scale of the first matrix is not one number",
            ));
        };
        let columns = shape.last().copied().unwrap_or(1);
        if of_b.is_empty() || of_b.len() != 1 && of_b.len() != columns {
            let message = format!("{} scales for a bias of shape {shape:?}", of_b.len());
            return Err(fault(Code::ShapeMismatch, message));
        }
        let unit = |c: usize| alpha * of_a * of_b[c % of_b.len()];
        let bias = bias.iter().enumerate().map(|(i, b)| b * unit(i % columns)).collect();
        operands.push(numbers(shape, bias));
    }
    let y = with_own_attributes(cx, "Gemm", &operands)?;
    if cx.optional(7).is_none() {
        return Ok(vec![y]);
    }
    requantised(cx, &y, [7, 8])
}

/// `QLinearAdd` and `QLinearMul`.
pub(super) fn arithmetic(cx: &mut NodeCx<'_>) -> Emitted {
    let a = dequantised(cx, 0, [1, 2], 1, 0)?;
    let b = dequantised(cx, 3, [4, 5], 1, 0)?;
    let y = match cx.node.op_type.as_str() {
        "QLinearAdd" => cx.plus(&a, &b)?,
        _ => cx.times(&a, &b)?,
    };
    requantised(cx, &y, [6, 7])
}

/// `QLinearAveragePool`, `QLinearGlobalAveragePool`, `QLinearLeakyRelu` and `QLinearSigmoid`.
pub(super) fn of_one(cx: &mut NodeCx<'_>) -> Emitted {
    if cx.attr_int("channels_last", 0)? != 0 {
        let help = "export with the channels in the second axis";
        return Err(fault_help(Code::UnsupportedMode, "its channels are the last axis", help));
    }
    let x = dequantised(cx, 0, [1, 2], 1, 0)?;
    let op = cx.node.op_type.trim_start_matches("QLinear").to_owned();
    let y = with_own_attributes(cx, &op, &[x])?;
    requantised(cx, &y, [3, 4])
}

/// `QLinearConcat`: scale and zero point of the result first, then every operand with its own.
pub(super) fn concat(cx: &mut NodeCx<'_>) -> Emitted {
    let along = cx.attr_int("axis", 0)?;
    let parts = (2..cx.operands.len()).step_by(3);
    let parts = parts
        .map(|i| dequantised(cx, i, [i + 1, i + 2], 1, 0))
        .collect::<Result<Vec<Operand>, Fault>>()?;
    let y = cx.part("Concat", &parts.iter().collect::<Vec<_>>(), &[("axis", int(along))])?;
    requantised(cx, &y, [0, 1])
}

/// `MatMulIntegerToFloat` and `DynamicQuantizeMatMul` after their operands are real: `A·B` times
/// both scales, plus a bias.
pub(super) fn integers_to_float(cx: &mut NodeCx<'_>) -> Emitted {
    let a = dequantised(cx, 0, [2, 4], -2, 0)?;
    let b = dequantised(cx, 1, [3, 5], -1, 0)?;
    let y = cx.part("MatMul", &[&a, &b], &[])?;
    with_bias(cx, y, 6)
}

/// `DynamicQuantizeMatMul`: the first operand is quantised by its own range, which is only
/// rounding; what it stands for is itself.
pub(super) fn dynamic_product(cx: &mut NodeCx<'_>) -> Emitted {
    let a = cx.operand(0)?.clone();
    let b = dequantised(cx, 1, [2, 3], -1, 0)?;
    let y = cx.part("MatMul", &[&a, &b], &[])?;
    with_bias(cx, y, 4)
}

fn with_bias(cx: &mut NodeCx<'_>, y: Operand, index: usize) -> Emitted {
    let bias = cx.optional(index).cloned().unwrap_or_else(|| number(0.0));
    Ok(vec![cx.plus(&y, &bias)?])
}
