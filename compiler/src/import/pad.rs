//! `Pad` in all its modes: a copy with a constant, a border, a mirror or a torus outside.

use heplan_ir::diagnostic::Code;

use super::array::{axis, strides};
use super::context::{Emitted, Fault, NodeCx, Operand, column, fault};
use super::select::copied;
use super::window::check_pads;

/// `Pad`: pads and value are attributes before opset 11; negative pads crop.
pub(super) fn pad(cx: &mut NodeCx<'_>) -> Emitted {
    let own = cx.shape(0)?;
    let rank = own.len();
    let given = cx.ints_or_attribute(1, "pads")?;
    let given = given.ok_or_else(|| fault(Code::BadNode, "pads are missing"))?;
    let along = match cx.optional(3) {
        Some(_) => cx.ints(3)?.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    check_pads(&given, along.len())?;
    let fill = fill(cx)?;
    let mode = cx.attr_text("mode", "constant")?;
    let (mut before, mut after) = (vec![0_i64; rank], vec![0_i64; rank]);
    for (i, &a) in along.iter().enumerate() {
        before[a] = given[i];
        after[a] = given[along.len() + i];
    }
    let mut shape = Vec::with_capacity(rank);
    for a in 0..rank {
        let length = own[a] as i64 + before[a] + after[a];
        let length = usize::try_from(length).map_err(|_| {
            fault(Code::ShapeMismatch, format!("axis {a} of shape {own:?} is cropped to {length}"))
        })?;
        shape.push(length);
    }
    let count = cx.count(&shape)?;
    // For every axis and place along it, the place that is copied.
    let maps = (0..rank)
        .map(|a| {
            let places = 0..shape[a] as i64;
            places.map(|p| place(p - before[a], own[a] as i64, &mode)).collect()
        })
        .collect::<Result<Vec<Vec<Option<usize>>>, Fault>>()?;
    let (own_strides, new_strides) = (strides(&own), strides(&shape));
    let source: Vec<Option<u32>> = (0..count)
        .map(|r| {
            let at = |a: usize| maps[a][r / new_strides[a] % shape[a]].map(|p| p * own_strides[a]);
            (0..rank).map(at).sum::<Option<usize>>().map(column)
        })
        .collect();
    Ok(vec![copied(cx, shape, &source, fill)?])
}

fn fill(cx: &NodeCx<'_>) -> Result<f64, Fault> {
    if cx.opset < 11 {
        return cx.attr_float("value", 0.0);
    }
    let Some(value) = cx.optional_constant(2)? else { return Ok(0.0) };
    match value.floats().as_slice() {
        [] => Ok(0.0),
        // What is known may be a mask.
        [v] if v.is_finite() || !matches!(cx.operand(0)?, Operand::Secret(_)) => Ok(*v),
        other => Err(fault(Code::BadNode, format!("constant_value is {other:?}"))),
    }
}

/// Where an outside position is copied from, if from anywhere.
fn place(position: i64, length: i64, mode: &str) -> Result<Option<usize>, Fault> {
    let inside = |p: i64| Ok(usize::try_from(p).ok());
    if (0..length).contains(&position) {
        return inside(position);
    }
    match mode {
        "constant" => Ok(None),
        "edge" => inside(position.clamp(0, length - 1)),
        "wrap" => inside(position.rem_euclid(length)),
        "reflect" if length == 1 => inside(0),
        "reflect" => {
            let period = 2 * (length - 1);
            let folded = position.rem_euclid(period);
            inside(if folded < length { folded } else { period - folded })
        }
        other => Err(fault(Code::BadNode, format!("mode is {other:?}"))),
    }
}
