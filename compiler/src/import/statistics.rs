//! Normalisations whose statistics are of encrypted data: centred values times the inverse square
//! root of their variance.

use heplan_ir::diagnostic::Code;
use heplan_ir::function::Function;

use super::array::{axes, axis};
use super::compose::{number, secret};
use super::context::{Emitted, Fault, NodeCx, Operand, column, fault, fault_help};

/// What a normalisation over some axes gives.
struct Normalised {
    y: Operand,
    mean: Operand,
    inverse: Operand,
}

/// `(x - mean)/√(var + ε)` over the axes.
fn standardised(
    cx: &mut NodeCx<'_>,
    x: &Operand,
    over: &[usize],
    epsilon: f64,
) -> Result<Normalised, Fault> {
    let mean = cx.mean(x, over)?;
    let centred = cx.minus(x, &mean)?;
    let squares = cx.times(&centred, &centred)?;
    let variance = cx.mean(&squares, over)?;
    let variance = cx.plus(&variance, &number(epsilon))?;
    let inverse = cx.power(&variance, -0.5)?;
    Ok(Normalised { y: cx.times(&centred, &inverse)?, mean, inverse })
}

/// `y·scale + bias`, where they are given.
fn scaled(
    cx: &mut NodeCx<'_>,
    y: Operand,
    scale: Option<Operand>,
    bias: Option<Operand>,
) -> Result<Operand, Fault> {
    let y = match scale {
        Some(scale) => cx.times(&y, &scale)?,
        None => y,
    };
    match bias {
        Some(bias) => cx.plus(&y, &bias),
        None => Ok(y),
    }
}

/// `LayerNormalization`: over the last axes from `axis` on; also gives mean and inverse deviation.
pub(super) fn layer(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.operand(0)?.clone();
    let rank = cx.shape(0)?.len();
    let first = axis(cx.attr_int("axis", -1)?, rank)?;
    let over: Vec<usize> = (first..rank).collect();
    let epsilon = cx.attr_float("epsilon", 1e-5)?;
    let (scale, bias) = (cx.optional(1).cloned(), cx.optional(2).cloned());
    let Normalised { y, mean, inverse } = standardised(cx, &x, &over, epsilon)?;
    Ok(vec![scaled(cx, y, scale, bias)?, mean, inverse])
}

/// `RMSNormalization`: without the mean.
pub(super) fn root_mean_square(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.operand(0)?.clone();
    let rank = cx.shape(0)?.len();
    let first = axis(cx.attr_int("axis", -1)?, rank)?;
    let over: Vec<usize> = (first..rank).collect();
    let epsilon = cx.attr_float("epsilon", 1e-5)?;
    let scale = cx.optional(1).cloned();
    let squares = cx.times(&x, &x)?;
    let power = cx.mean(&squares, &over)?;
    let power = cx.plus(&power, &number(epsilon))?;
    let inverse = cx.power(&power, -0.5)?;
    let y = cx.times(&x, &inverse)?;
    Ok(vec![scaled(cx, y, scale, None)?])
}

/// An operand of one number per channel, to be broadcast over `rank` axes.
fn per_channel(cx: &mut NodeCx<'_>, index: usize, rank: usize) -> Result<Option<Operand>, Fault> {
    let Some(given) = cx.optional(index).cloned() else { return Ok(None) };
    let mut shape = vec![1; rank];
    shape[1] = cx.shape_of(&given)?.iter().product();
    Ok(Some(cx.shaped(&given, &shape)?))
}

/// `InstanceNormalization`: over the spatial axes of each channel.
pub(super) fn instance(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.operand(0)?.clone();
    let rank = spatial_rank(&cx.shape(0)?)?;
    let epsilon = cx.attr_float("epsilon", 1e-5)?;
    let over: Vec<usize> = (2..rank).collect();
    let y = standardised(cx, &x, &over, epsilon)?.y;
    let (scale, bias) = (per_channel(cx, 1, rank)?, per_channel(cx, 2, rank)?);
    Ok(vec![scaled(cx, y, scale, bias)?])
}

fn spatial_rank(shape: &[usize]) -> Result<usize, Fault> {
    if shape.len() < 3 {
        let message = format!("input of shape {shape:?}, expected batch, channel and spatial axes");
        return Err(fault(Code::ShapeMismatch, message));
    }
    Ok(shape.len())
}

/// `GroupNormalization`: over groups of channels; scale and bias are per group before opset 21.
pub(super) fn group(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.operand(0)?.clone();
    let shape = cx.shape(0)?;
    let rank = spatial_rank(&shape)?;
    let given = cx.attr_int("num_groups", 0)?;
    let groups = usize::try_from(given).ok().filter(|&g| g > 0 && shape[1].is_multiple_of(g));
    let groups = groups.ok_or_else(|| {
        fault(Code::ShapeMismatch, format!("{given} groups of {} channels", shape[1]))
    })?;
    let epsilon = cx.attr_float("epsilon", 1e-5)?;
    let inner = shape[1..].iter().product::<usize>() / groups;
    let split = cx.shaped(&x, &[shape[0], groups, inner])?;
    let y = standardised(cx, &split, &[2], epsilon)?.y;
    if cx.opset < 21 {
        let (scale, bias) = (per_channel(cx, 1, 3)?, per_channel(cx, 2, 3)?);
        let y = scaled(cx, y, scale, bias)?;
        return Ok(vec![cx.shaped(&y, &shape)?]);
    }
    let y = cx.shaped(&y, &shape)?;
    let (scale, bias) = (per_channel(cx, 1, rank)?, per_channel(cx, 2, rank)?);
    Ok(vec![scaled(cx, y, scale, bias)?])
}

/// `MeanVarianceNormalization`, by default over all but the channels.
pub(super) fn mean_variance(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.operand(0)?.clone();
    let rank = cx.shape(0)?.len();
    let over = axes(&cx.attr_ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]), rank)?;
    // ONNX adds 1e-9 to the deviation; this is as far below any tolerance.
    Ok(vec![standardised(cx, &x, &over, 1e-12)?.y])
}

/// `LpNormalization`: `x` over its norm along an axis.
pub(super) fn lp(cx: &mut NodeCx<'_>) -> Emitted {
    let along = axis(cx.attr_int("axis", -1)?, cx.shape(0)?.len())?;
    let p = cx.attr_int("p", 2)?;
    over_norm(cx, along, p)
}

/// `Normalizer` of `ai.onnx.ml`, the same over the features of every row.
pub(super) fn normalizer(cx: &mut NodeCx<'_>) -> Emitted {
    let shape = cx.shape(0)?;
    let norm = cx.attr_text("norm", "MAX")?;
    match (norm.as_str(), shape.len()) {
        ("L1", 1 | 2) => over_norm(cx, shape.len() - 1, 1),
        ("L2", 1 | 2) => over_norm(cx, shape.len() - 1, 2),
        _ => {
            let message = format!("norm {norm} of a tensor of shape {shape:?} inside a graph");
            let help = "export with norm L1 or L2 over rows of features";
            Err(fault_help(Code::UnsupportedMode, message, help))
        }
    }
}

/// `x` over its `p`-norm along an axis; a norm of zero is outside every calibrated range.
fn over_norm(cx: &mut NodeCx<'_>, along: usize, p: i64) -> Emitted {
    let x = cx.operand(0)?.clone();
    let over = super::compose::lengths(&[along]);
    let inverse = match p {
        1 => {
            let norm = cx.part("ReduceL1", &[&x, &over], &[])?;
            cx.part("Reciprocal", &[&norm], &[])?
        }
        2 => {
            let square = cx.part("ReduceSumSquare", &[&x, &over], &[])?;
            cx.power(&square, -0.5)?
        }
        other => return Err(fault(Code::BadNode, format!("p is {other}, expected 1 or 2"))),
    };
    Ok(vec![cx.times(&x, &inverse)?])
}

/// `LRN`: `x / (bias + alpha/size·Σ x²)^beta` over `size` neighbouring channels.
pub(super) fn local_response(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let shape = x.shape.clone();
    let &[_, channels, ref inner @ ..] = shape.as_slice() else {
        let message = format!("input of shape {shape:?}, expected batch and channels");
        return Err(fault(Code::ShapeMismatch, message));
    };
    let inner: usize = inner.iter().product();
    let given = cx.attr_int("size", 0)?;
    let size = usize::try_from(given).ok().filter(|s| (1..=1 << 16).contains(s));
    let size = size.ok_or_else(|| fault(Code::BadNode, format!("size is {given}")))?;
    let (alpha, beta) = (cx.attr_float("alpha", 1e-4)?, cx.attr_float("beta", 0.75)?);
    let bias = cx.attr_float("bias", 1.0)?;
    let squares = cx.product(&x, &x);
    let count = shape.iter().product();
    let (before, after) = ((size - 1) / 2, size / 2);
    let weight = alpha / size as f64;
    let sums = cx.matrix(
        &squares,
        shape.clone(),
        size.min(channels),
        Some(vec![bias; count]),
        |r, row| {
            let channel = r / inner % channels;
            let first = channel.saturating_sub(before);
            let last = (channel + after).min(channels - 1);
            row.extend((first..=last).map(|c| (column(r + c * inner - channel * inner), weight)));
        },
    )?;
    let inverse = cx.function(&sums, Function::Pow { exponent: -beta });
    Ok(vec![Operand::Secret(cx.product(&x, &inverse))])
}

/// `LpPool` and `GlobalLpPool`: the `p`-norm under a window; a pool is an average times its size.
pub(super) fn lp_pool(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.operand(0)?.clone();
    let p = cx.attr_int("p", 2)?;
    if !(1..=16).contains(&p) {
        return Err(fault(Code::UnsupportedMode, format!("p is {p}, expected 1 to 16")));
    }
    let even = p % 2 == 0;
    let size = if even { x } else { cx.part("Abs", &[&x], &[])? };
    let powers = if p == 1 { size } else { cx.power(&size, p as f64)? };
    let powers = secret(&powers)?;
    let sums = if cx.node.op_type == "GlobalLpPool" {
        super::pool::global_sum(cx, &powers, 1.0)?
    } else {
        super::pool::window_sum(cx, &powers)?
    };
    let y = Operand::Secret(sums);
    Ok(vec![match p {
        1 => y,
        2 => cx.part("Sqrt", &[&y], &[])?,
        p => cx.power(&y, 1.0 / p as f64)?,
    }])
}
