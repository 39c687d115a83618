//! `Scaler`, `LinearRegressor` and `LinearClassifier`: one matrix each.

use heplan_ir::diagnostic::Code;
use heplan_ir::tail::{Along, Step};

use super::super::context::{
    Emitted, Fault, NodeCx, Operand, Secret, column, fault, fault_help, one,
};
use super::super::tail::Ending;
use super::{Labels, rows, scored, transformed};

/// `Scaler`: `(x - offset)·scale`, one number per feature or one for all.
pub(in super::super) fn scaler(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let features = x.shape.last().copied().unwrap_or(1);
    let spread = |values: Vec<f64>, name: &str, default: f64| match values.len() {
        0 => Ok(vec![default; features]),
        1 => Ok(vec![values[0]; features]),
        n if n == features => Ok(values),
        n => Err(fault(
            Code::ShapeMismatch,
            format!("{name} has {n} numbers for {features} features"),
        )),
    };
    let offset = spread(cx.attr_floats("offset")?, "offset", 0.0)?;
    let scale = spread(cx.attr_floats("scale")?, "scale", 1.0)?;
    let count: usize = x.shape.iter().product();
    let bias = (0..count).map(|r| -offset[r % features] * scale[r % features]).collect();
    let shape = x.shape.clone();
    let y =
        cx.matrix(&x, shape, 1, Some(bias), |r, row| row.push((column(r), scale[r % features])))?;
    one(y)
}

/// `LinearRegressor`.
pub(in super::super) fn linear_regressor(cx: &mut NodeCx<'_>) -> Emitted {
    let targets = cx.attr_int("targets", 1)?;
    let targets = usize::try_from(targets).ok().filter(|&t| t > 0);
    let targets = targets.ok_or_else(|| fault(Code::BadNode, "targets is not positive"))?;
    let scores = linear(cx, targets)?;
    one(transformed(cx, scores)?)
}

/// `LinearClassifier`: the scores; the label is the client's to take.
pub(in super::super) fn linear_classifier(cx: &mut NodeCx<'_>) -> Emitted {
    let labels = Labels::of(cx)?;
    let classes = cx.attr_floats("intercepts")?.len();
    if classes != labels.len() || classes < 2 {
        return Err(fault_help(
            Code::UnsupportedMode,
            format!("{classes} scores for {} classes", labels.len()),
            "export with one row of coefficients per class",
        ));
    }
    let scores = linear(cx, classes)?;
    if cx.ends {
        let along = Along { length: classes, inner: 1 };
        let places = Ending::of(&scores).then(Step::ArgMax { along, last: false });
        let samples = scores.shape[0];
        return Ok(vec![labels.at(places, samples), scored(cx, Ending::of(&scores))?]);
    }
    let scores = transformed(cx, scores)?;
    Ok(vec![Operand::LeftOut("a class label"), Operand::Secret(scores)])
}

/// `x·coefficientsᵀ + intercepts`.
fn linear(cx: &mut NodeCx<'_>, outputs: usize) -> Result<Secret, Fault> {
    let x = cx.secret(0)?;
    let (samples, features) = rows(&x)?;
    let coefficients = cx.attr_floats("coefficients")?;
    let intercepts = cx.attr_floats("intercepts")?;
    if outputs.checked_mul(features) != Some(coefficients.len()) {
        let message = format!(
            "{} coefficients for {outputs} outputs of {features} features",
            coefficients.len()
        );
        return Err(fault(Code::ShapeMismatch, message));
    }
    let bias = match intercepts.len() {
        0 => None,
        n if n == outputs => {
            Some((0..samples * outputs).map(|r| intercepts[r % outputs]).collect())
        }
        n => {
            return Err(fault(
                Code::ShapeMismatch,
                format!("{n} intercepts for {outputs} outputs"),
            ));
        }
    };
    cx.matrix(&x, vec![samples, outputs], features, bias, |r, row| {
        let (sample, output) = (r / outputs, r % outputs);
        let weights = &coefficients[output * features..][..features];
        row.extend(weights.iter().enumerate().map(|(f, &w)| (column(sample * features + f), w)));
    })
}
