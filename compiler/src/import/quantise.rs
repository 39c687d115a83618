//! Quantised operators, on real numbers.
//!
//! A quantised tensor `q` is what `scale·(q - zero point)` stands for, rounded. Here `q` is not
//! rounded: it is a real tensor in the units of `q`, an affine map away from what it stands for,
//! so that a pair of `QuantizeLinear` and `DequantizeLinear` fuses to nothing and weights are
//! stored dequantised. What is computed is the model before rounding, with the quantised weights.
//!
//! Saturation is kept, as a [`Function::Saturate`]: exporters drop a `Relu` whose zero is the end
//! of the range that follows. Where calibration stays inside the range, later passes drop it.
//!
//! At the end of a graph the client rounds and clamps.

use heplan_ir::diagnostic::Code;
use heplan_ir::function::Function;
use heplan_ir::matrix::SparseMatrix;
use heplan_ir::tail::{Rounding, Step};
use heplan_onnx::{AttributeValue, DataType};

use super::array::{Array, Data, axis, elements, strides};
use super::compose::{numbers, secret};
use super::context::{Emitted, Fault, NodeCx, Operand, Secret, fault, fault_help, known};
use super::tail::Ending;

/// The numbers that a quantised type holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) min: f64,
    pub(super) max: f64,
    /// Whether they are the whole numbers between.
    pub(super) whole: bool,
}

impl Range {
    /// The range of a type, if tensors are quantised to it.
    pub(super) fn of(data_type: DataType) -> Option<Self> {
        let whole = |min: f64, max: f64| Some(Self { min, max, whole: true });
        let float = |max: f64| Some(Self { min: -max, max, whole: false });
        match data_type {
            DataType::Uint8 => whole(0.0, 255.0),
            DataType::Int8 => whole(-128.0, 127.0),
            DataType::Uint16 => whole(0.0, 65535.0),
            DataType::Int16 => whole(-32768.0, 32767.0),
            DataType::Int32 => whole(-2_147_483_648.0, 2_147_483_647.0),
            DataType::Uint2 => whole(0.0, 3.0),
            DataType::Int2 => whole(-2.0, 1.0),
            DataType::Float4E2M1 => float(6.0),
            DataType::Uint4 => whole(0.0, 15.0),
            DataType::Int4 => whole(-8.0, 7.0),
            DataType::Float8E4M3Fn => float(448.0),
            DataType::Float8E4M3Fnuz => float(240.0),
            DataType::Float8E5M2 | DataType::Float8E5M2Fnuz => float(57344.0),
            _ => None,
        }
    }
}

/// One scale and one zero point per element of a tensor.
struct Units {
    scale: Vec<f64>,
    zero: Vec<f64>,
}

impl Units {
    /// From operands `scale` and `zero` for a tensor of this shape, along `axis` where there are
    /// several, in blocks of `block` where that is not zero.
    fn of(
        cx: &NodeCx<'_>,
        shape: &[usize],
        [scale, zero]: [usize; 2],
        along: i64,
        block: usize,
    ) -> Result<Self, Fault> {
        let (scale_shape, scales) = cx.weights(scale)?;
        if scales.contains(&0.0) {
            return Err(fault(Code::BadNode, format!("input {scale}, the scale, is zero")));
        }
        let scale = spread(shape, &scale_shape, &scales, along, block)?;
        let zero = if cx.optional(zero).is_some() {
            let (zero_shape, zeros) = cx.weights(zero)?;
            spread(shape, &zero_shape, &zeros, along, block)?
        } else {
            vec![0.0; scale.len()]
        };
        Ok(Self { scale, zero })
    }
}

/// Numbers per tensor, per axis or per block, one for each element.
fn spread(
    shape: &[usize],
    own: &[usize],
    values: &[f64],
    along: i64,
    block: usize,
) -> Result<Vec<f64>, Fault> {
    let count: usize = shape.iter().product();
    if let [single] = values {
        return Ok(vec![*single; count]);
    }
    let at = axis(along, shape.len())?;
    let steps = strides(shape);
    let wanted: Vec<usize> = if block > 0 {
        let length = |(a, &d): (usize, &usize)| if a == at { d.div_ceil(block) } else { d };
        shape.iter().enumerate().map(length).collect()
    } else {
        vec![shape[at]]
    };
    if own != wanted {
        let message = format!("scale or zero point of shape {own:?}, expected {wanted:?}");
        return Err(fault(Code::ShapeMismatch, message));
    }
    let own_steps = strides(own);
    let place = |r: usize| {
        let index = |a: usize| r / steps[a] % shape[a];
        if block == 0 {
            return index(at);
        }
        let part = |a: usize| if a == at { index(a) / block } else { index(a) };
        (0..shape.len()).map(|a| part(a) * own_steps[a]).sum()
    };
    Ok((0..count).map(|r| values[place(r)]).collect())
}

fn block(cx: &NodeCx<'_>) -> Result<usize, Fault> {
    let size = cx.attr_int("block_size", 0)?;
    usize::try_from(size).map_err(|_| fault(Code::BadNode, format!("block_size is {size}")))
}

/// `DequantizeLinear`.
pub(super) fn dequantize_linear(cx: &mut NodeCx<'_>) -> Emitted {
    let (along, block) = (cx.attr_int("axis", 1)?, block(cx)?);
    Ok(vec![dequantised(cx, 0, [1, 2], along, block)?])
}

/// What a quantised operand stands for.
pub(super) fn dequantised(
    cx: &mut NodeCx<'_>,
    index: usize,
    units: [usize; 2],
    along: i64,
    block: usize,
) -> Result<Operand, Fault> {
    let shape = cx.shape(index)?;
    let units = Units::of(cx, &shape, units, along, block)?;
    match cx.operand(index)?.clone() {
        Operand::Secret(x) => {
            let bias = units.scale.iter().zip(&units.zero).map(|(s, z)| -s * z).collect();
            let terms = vec![(x.id, SparseMatrix::diagonal(&units.scale))];
            Ok(Operand::Secret(cx.affine(terms, Some(bias), shape)))
        }
        _ => {
            let (_, values) = cx.weights(index)?;
            let each = values.iter().zip(&units.scale).zip(&units.zero);
            Ok(numbers(shape, each.map(|((q, s), z)| (q - z) * s).collect()))
        }
    }
}

/// `QuantizeLinear`.
pub(super) fn quantize_linear(cx: &mut NodeCx<'_>) -> Emitted {
    let range = range(cx, 2)?;
    let (along, block) = (cx.attr_int("axis", 1)?, block(cx)?);
    let shape = cx.shape(0)?;
    let units = Units::of(cx, &shape, [1, 2], along, block)?;
    if let Operand::Constant(c) = cx.operand(0)? {
        let values = c.floats();
        let each = values.iter().zip(&units.scale).zip(&units.zero);
        let quantised = each.map(|((x, s), z)| {
            let q = if range.whole { (x / s).round_ties_even() + z } else { x / s };
            q.max(range.min).min(range.max)
        });
        let data = if range.whole {
            Data::Int(quantised.map(|q| q as i64).collect())
        } else {
            let message = "a constant is quantised to an 8-bit float";
            return Err(fault_help(Code::UnsupportedType, message, "export it quantised"));
        };
        return known(Array { shape, data });
    }
    let x = cx.secret(0)?;
    Ok(vec![quantised(cx, &x, &units, range)?])
}

/// The range of the type that a node gives: that of its zero point, else what it names, else
/// `uint8`.
fn range(cx: &NodeCx<'_>, zero: usize) -> Result<Range, Fault> {
    let named = match cx.optional(zero) {
        Some(_) => cx.data_types.get(zero).copied().flatten(),
        None => match cx.attr_int("output_dtype", 0)? {
            0 => Some(DataType::Uint8),
            number => i32::try_from(number).ok().map(DataType::from_number),
        },
    };
    named.and_then(Range::of).ok_or_else(|| {
        fault_help(
            Code::UnsupportedType,
            "the type that it quantises to is not known, or not one of 2 to 16 bits",
            "make its zero point an initialiser of uint8 or int8",
        )
    })
}

/// An encrypted tensor in quantised units: saturated, not rounded; at the end of a graph the
/// client does both.
fn quantised(
    cx: &mut NodeCx<'_>,
    x: &Secret,
    units: &Units,
    range: Range,
) -> Result<Operand, Fault> {
    let shape = x.shape.clone();
    let inverse: Vec<f64> = units.scale.iter().map(|s| 1.0 / s).collect();
    let in_units = |cx: &mut NodeCx<'_>, x: &Secret| {
        let terms = vec![(x.id, SparseMatrix::diagonal(&inverse))];
        cx.affine(terms, Some(units.zero.clone()), shape.clone())
    };
    if cx.ends && range.whole {
        let q = in_units(cx, x);
        return Ok(rounded(&q, range));
    }
    let bounds = |r: usize| {
        let end = |v: f64| (v - units.zero[r]) * units.scale[r];
        (end(range.min).min(end(range.max)), end(range.min).max(end(range.max)))
    };
    let uniform = (1..units.scale.len()).all(|r| bounds(r) == bounds(0));
    if uniform {
        let (min, max) = bounds(0);
        let kept = cx.function(x, Function::Saturate { min, max });
        return Ok(Operand::Secret(in_units(cx, &kept)));
    }
    let q = in_units(cx, x);
    let Range { min, max, .. } = range;
    Ok(Operand::Secret(cx.function(&q, Function::Saturate { min, max })))
}

/// A tensor of whole numbers as the client makes it of real ones.
pub(super) fn rounded(q: &Secret, range: Range) -> Operand {
    let Range { min, max, .. } = range;
    let ending = Ending::of(q).then(Step::Round(Rounding::Nearest)).then(Step::Clamp { min, max });
    Operand::Ending(Box::new(ending))
}

/// The result of a node with its own output scale and zero point.
pub(super) fn requantised(cx: &mut NodeCx<'_>, y: &Operand, units: [usize; 2]) -> Emitted {
    let y = secret(y)?;
    let range = range(cx, units[1])?;
    elements(&y.shape)?;
    let units = Units::of(cx, &y.shape, units, 1, 0)?;
    Ok(vec![quantised(cx, &y, &units, range)?])
}

/// `QLinearMatMul`.
pub(super) fn matrix_product(cx: &mut NodeCx<'_>) -> Emitted {
    let a = dequantised(cx, 0, [1, 2], -2, 0)?;
    let b = dequantised(cx, 3, [4, 5], -1, 0)?;
    let y = cx.part("MatMul", &[&a, &b], &[])?;
    requantised(cx, &y, [6, 7])
}

/// `QLinearConv`: the bias is in units of both scales.
pub(super) fn convolution(cx: &mut NodeCx<'_>) -> Emitted {
    let x = dequantised(cx, 0, [1, 2], 1, 0)?;
    let w = dequantised(cx, 3, [4, 5], 0, 0)?;
    let mut operands = vec![x, w];
    if cx.optional(8).is_some() {
        let (shape, bias) = cx.weights(8)?;
        let (_, of_x) = cx.weights(1)?;
        let (own, of_w) = cx.weights(4)?;
        let of_w = spread(&shape, &own, &of_w, 0, 0)?;
        let &[of_x] = of_x.as_slice() else {
            return Err(fault(Code::ShapeMismatch, "the scale of the input is not one number"));
        };
        let bias = bias.iter().zip(of_w).map(|(b, s)| b * s * of_x).collect();
        operands.push(numbers(shape, bias));
    }
    let y = with_own_attributes(cx, "Conv", &operands)?;
    requantised(cx, &y, [6, 7])
}

/// `MatMulInteger`.
pub(super) fn matrix_product_of_integers(cx: &mut NodeCx<'_>) -> Emitted {
    let a = from_zero(cx, 0, 2, |shape| [shape, &[1]].concat())?;
    let b = from_zero(cx, 1, 3, <[usize]>::to_vec)?;
    Ok(vec![cx.part("MatMul", &[&a, &b], &[])?])
}

/// `ConvInteger`.
pub(super) fn convolution_of_integers(cx: &mut NodeCx<'_>) -> Emitted {
    let rank = cx.shape(1)?.len();
    let x = from_zero(cx, 0, 2, <[usize]>::to_vec)?;
    let w = from_zero(cx, 1, 3, |shape| [shape, &vec![1; rank.max(1) - 1]].concat())?;
    Ok(vec![with_own_attributes(cx, "Conv", &[x, w])?])
}

/// An operand less its zero point, which has the shape that `shaped` says where it is a list.
fn from_zero(
    cx: &mut NodeCx<'_>,
    index: usize,
    zero: usize,
    shaped: impl Fn(&[usize]) -> Vec<usize>,
) -> Result<Operand, Fault> {
    let x = cx.operand(index)?.clone();
    if cx.optional(zero).is_none() {
        return Ok(x);
    }
    let (shape, values) = cx.weights(zero)?;
    if values.iter().all(|&v| v == 0.0) {
        return Ok(x);
    }
    let shape = if values.len() == 1 { Vec::new() } else { shaped(&shape) };
    cx.minus(&x, &numbers(shape, values))
}

/// A part with the attributes of the node itself.
pub(super) fn with_own_attributes(
    cx: &mut NodeCx<'_>,
    op: &str,
    operands: &[Operand],
) -> Result<Operand, Fault> {
    let node = cx.node;
    let attributes: Vec<(&str, AttributeValue)> =
        node.attributes.iter().map(|(name, value)| (name, value.clone())).collect();
    cx.part(op, &operands.iter().collect::<Vec<_>>(), &attributes)
}

/// `DynamicQuantizeLinear` of encrypted data whose results only dequantise again, as the driver
/// has found: the data itself, in units of one.
pub(super) fn dynamic(x: &Operand) -> Vec<Operand> {
    vec![x.clone(), super::compose::number(1.0), numbers(Vec::new(), vec![0.0])]
}
