//! Operators that only rename the elements' places: same elements, same order, another shape.

use std::rc::Rc;

use heplan_ir::diagnostic::Code;

use super::array::{Array, axes, axis};
use super::context::{Emitted, Fault, NodeCx, Operand, fault, fault_help};

/// The operand under another shape.
fn reshaped(cx: &mut NodeCx<'_>, shape: Vec<usize>) -> Emitted {
    let own = cx.shape(0)?;
    let count = |s: &[usize]| s.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
    if count(&own) != count(&shape) {
        let message = format!("input of shape {own:?} has not the elements of shape {shape:?}");
        return Err(fault(Code::ShapeMismatch, message));
    }
    match cx.operand(0)?.clone() {
        Operand::Constant(c) => {
            Ok(vec![Operand::Constant(Rc::new(Array { shape, data: c.data.clone() }))])
        }
        _ => {
            let x = cx.secret(0)?;
            Ok(vec![Operand::Secret(cx.reshape(x, shape))])
        }
    }
}

/// `Reshape`: 0 copies a length unless `allowzero`, one -1 takes what is left.
pub(super) fn reshape(cx: &mut NodeCx<'_>) -> Emitted {
    let own = cx.shape(0)?;
    let wanted = cx.ints(1)?;
    let allow_zero = cx.attr_int("allowzero", 0)? != 0;
    let bad = || {
        let message = format!("shape {own:?} cannot become {wanted:?}");
        match (own.first(), wanted.first()) {
            (Some(1), Some(&batch)) if batch > 1 => fault_help(
                Code::ShapeMismatch,
                message,
                &format!(
                    "it was traced with a batch of {batch}: export with example inputs of batch 1, \
                     or with torch.flatten(x, 1) or x.view(x.size(0), -1)"
                ),
            ),
            _ => fault(Code::ShapeMismatch, message),
        }
    };
    let mut shape = Vec::with_capacity(wanted.len());
    let mut free = None;
    for (i, &d) in wanted.iter().enumerate() {
        shape.push(match d {
            0 if !allow_zero => *own.get(i).ok_or_else(bad)?,
            -1 if free.is_none() => {
                free = Some(i);
                1
            }
            d => usize::try_from(d).map_err(|_| bad())?,
        });
    }
    if let Some(i) = free {
        let rest = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d)).ok_or_else(bad)?;
        let total: usize = own.iter().product();
        if rest == 0 || !total.is_multiple_of(rest) {
            return Err(bad());
        }
        shape[i] = total / rest;
    }
    let batch_lost = shape.first() == Some(&0);
    let help = "export the model with a batch of 1, or with a dynamic batch axis";
    if batch_lost && !own.contains(&0) {
        return Err(fault_help(Code::ShapeMismatch, bad().message, help));
    }
    reshaped(cx, shape)
}

/// `Flatten`.
pub(super) fn flatten(cx: &mut NodeCx<'_>) -> Emitted {
    let own = cx.shape(0)?;
    let given = cx.attr_int("axis", 1)?;
    // The axis may be the rank itself: everything goes into the first dimension.
    let at = if given == own.len() as i64 { own.len() } else { axis(given, own.len())? };
    let (front, back) = own.split_at(at);
    reshaped(cx, vec![front.iter().product(), back.iter().product()])
}

/// `Squeeze`: axes by attribute before opset 13, all axes of length 1 where none are given.
pub(super) fn squeeze(cx: &mut NodeCx<'_>) -> Emitted {
    let own = cx.shape(0)?;
    let dropped = match cx.ints_or_attribute(1, "axes")? {
        Some(given) => axes(&given, own.len())?,
        None => (0..own.len()).filter(|&a| own[a] == 1).collect(),
    };
    if let Some(&a) = dropped.iter().find(|&&a| own[a] != 1) {
        let message = format!("axis {a} of shape {own:?} has not length 1");
        let help = "name the axes of length 1 only: torch.squeeze(x, dim), numpy.squeeze(x, axis)";
        return Err(fault_help(Code::ShapeMismatch, message, help));
    }
    let kept = own.iter().enumerate().filter(|(a, _)| !dropped.contains(a)).map(|(_, &d)| d);
    let shape = kept.collect();
    reshaped(cx, shape)
}

/// `Unsqueeze`: axes by attribute before opset 13; they count in the result.
pub(super) fn unsqueeze(cx: &mut NodeCx<'_>) -> Emitted {
    let own = cx.shape(0)?;
    let given = cx.ints_or_attribute(1, "axes")?;
    let given = given.ok_or_else(|| fault(Code::BadNode, "axes are missing"))?;
    let added = axes(&given, own.len() + given.len())?;
    let mut rest = own.into_iter();
    let shape = (0..rest.len() + added.len())
        .map(|a| if added.contains(&a) { 1 } else { rest.next().unwrap_or(1) })
        .collect();
    reshaped(cx, shape)
}

/// `Identity` and the outputs of others that change nothing.
pub(super) fn identity(cx: &mut NodeCx<'_>) -> Emitted {
    Ok(vec![cx.operand(0)?.clone()])
}

/// `Dropout`: nothing in inference; the mask is not computed.
pub(super) fn dropout(cx: &mut NodeCx<'_>) -> Emitted {
    let ratio = match cx.optional_constant(1)? {
        Some(ratio) => ratio.floats().first().copied(),
        None => None,
    };
    if ratio != Some(0.0) {
        refuse_training(cx, 2)?;
    }
    Ok(vec![cx.operand(0)?.clone(), Operand::LeftOut("the mask of a Dropout")])
}

/// Refuses a model that was exported in training mode, by attribute or operand.
pub(super) fn refuse_training(cx: &NodeCx<'_>, index: usize) -> Result<(), Fault> {
    let by_operand = match cx.optional_constant(index)? {
        Some(flag) => flag.floats().iter().any(|&v| v != 0.0),
        None => false,
    };
    if by_operand || cx.attr_int("training_mode", 0)? != 0 {
        return Err(training());
    }
    Ok(())
}

/// The finding about a model in training mode.
pub(super) fn training() -> Fault {
    fault_help(
        Code::UnsupportedMode,
        "it is in training mode",
        "export the model in evaluation mode",
    )
}
