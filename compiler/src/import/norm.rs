//! Normalisations whose statistics are constants: one scaling and one shift per channel.

use heplan_ir::diagnostic::Code;

use super::context::{Emitted, Fault, NodeCx, column, fault, fault_help, one};
use super::shape::refuse_training;

/// `BatchNormalization` in inference: `(x - mean)/√(var + ε)·scale + bias`, per channel.
pub(super) fn batch_normalization(cx: &mut NodeCx<'_>) -> Emitted {
    refuse_training(cx, usize::MAX)?;
    if cx.attr_int("spatial", 1)? != 1 {
        return Err(fault_help(
            Code::UnsupportedMode,
            "it normalises every element by itself (spatial = 0)",
            "export with opset 9 or later",
        ));
    }
    let x = cx.secret(0)?;
    let &[_, channels, ref inner @ ..] = x.shape.as_slice() else {
        let message = format!("input of shape {:?}, expected batch and channels", x.shape);
        return Err(fault(Code::ShapeMismatch, message));
    };
    let inner: usize = inner.iter().product();
    let epsilon = cx.attr_float("epsilon", 1e-5)?;
    let per_channel = |index: usize| -> Result<Vec<f64>, Fault> {
        let (shape, values) = cx.weights(index)?;
        if values.len() == channels {
            return Ok(values);
        }
        let message = format!("input {index} of shape {shape:?} for {channels} channels");
        Err(fault(Code::ShapeMismatch, message))
    };
    let (scale, shift) = (per_channel(1)?, per_channel(2)?);
    let (mean, variance) = (per_channel(3)?, per_channel(4)?);
    let factor: Vec<f64> =
        scale.iter().zip(&variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
    cx.finite(&factor, "the scale over the standard deviation", None)?;
    let count = x.shape.iter().product();
    let channel = |r: usize| r / inner % channels;
    let bias = (0..count).map(channel).map(|c| shift[c] - mean[c] * factor[c]).collect();
    let shape = x.shape.clone();
    let y =
        cx.matrix(&x, shape, 1, Some(bias), |r, row| row.push((column(r), factor[channel(r)])))?;
    one(y)
}
