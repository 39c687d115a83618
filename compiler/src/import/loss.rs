//! Losses against constant labels: `NegativeLogLikelihoodLoss` and `SoftmaxCrossEntropyLoss`.

use heplan_ir::diagnostic::Code;

use super::compose::{int, secret};
use super::context::{Emitted, Fault, NodeCx, Operand, Secret, column, fault, non_zeros, one};

/// `NegativeLogLikelihoodLoss`: the weighted log-probabilities of the labels, one matrix.
pub(super) fn negative_log_likelihood(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    one(against_labels(cx, &x)?)
}

/// `SoftmaxCrossEntropyLoss`: the same of a `LogSoftmax` along axis 1, which is its other result.
pub(super) fn softmax_cross_entropy(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.operand(0)?.clone();
    let log = cx.part("LogSoftmax", &[&x], &[("axis", int(1))])?;
    let loss = against_labels(cx, &secret(&log)?)?;
    Ok(vec![Operand::Secret(loss), log])
}

fn against_labels(cx: &mut NodeCx<'_>, x: &Secret) -> Result<Secret, Fault> {
    let &[batch, classes, ref inner @ ..] = x.shape.as_slice() else {
        return Err(fault(Code::ShapeMismatch, format!("scores of shape {:?}", x.shape)));
    };
    let labels = cx.ints(1)?;
    let area: usize = inner.iter().product();
    if labels.len() != batch * area {
        return Err(fault(
            Code::ShapeMismatch,
            format!("{} labels for {:?}", labels.len(), x.shape),
        ));
    }
    let weights = match cx.optional(2) {
        Some(_) => cx.weights(2)?.1,
        None => vec![1.0; classes],
    };
    let ignored = cx.node.attributes.int("ignore_index");
    let ignored = ignored.map_err(|e| fault(Code::BadNode, e.to_string()))?;
    // Per label its element of the scores and its weight; ignored ones weigh nothing.
    let picked = labels.iter().enumerate().map(|(i, &label)| {
        if Some(label) == ignored {
            return Ok((0, 0.0));
        }
        let class = usize::try_from(label).ok().filter(|&c| c < classes.min(weights.len()));
        let class = class.ok_or_else(|| fault(Code::BadNode, format!("label {label}")))?;
        Ok((((i / area) * classes + class) * area + i % area, weights[class]))
    });
    let picked: Vec<(usize, f64)> = picked.collect::<Result<_, Fault>>()?;
    let total: f64 = picked.iter().map(|p| p.1).sum();
    match cx.attr_text("reduction", "mean")?.as_str() {
        "none" => {
            let shape = [&[batch], inner].concat();
            cx.matrix(x, shape, 1, None, |r, row| row.push((column(picked[r].0), -picked[r].1)))
        }
        reduction @ ("mean" | "sum") => {
            let scale = if reduction == "mean" { 1.0 / total } else { 1.0 };
            if !scale.is_finite() {
                return Err(fault(Code::BadNode, "the weights of the labels add up to zero"));
            }
            non_zeros(1, picked.len())?;
            cx.matrix(x, Vec::new(), picked.len(), None, |_, row| {
                row.extend(picked.iter().map(|&(e, w)| (column(e), -w * scale)));
            })
        }
        other => Err(fault(Code::BadNode, format!("reduction is {other:?}"))),
    }
}
