//! The linear part of `ai.onnx.ml`, as scikit-learn exports it.

use heplan_ir::diagnostic::Code;
use heplan_ir::function::Function;
use heplan_ir::tail::{Along, Step};

use super::context::{Emitted, Fault, NodeCx, Operand, Secret, column, fault, fault_help, one};
use super::tail::Ending;

/// `Scaler`: `(x - offset)·scale`, one number per feature or one for all.
pub(super) fn scaler(cx: &mut NodeCx<'_>) -> Emitted {
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
pub(super) fn linear_regressor(cx: &mut NodeCx<'_>) -> Emitted {
    let targets = cx.attr_int("targets", 1)?;
    let targets = usize::try_from(targets).ok().filter(|&t| t > 0);
    let targets = targets.ok_or_else(|| fault(Code::BadNode, "targets is not positive"))?;
    let scores = linear(cx, targets)?;
    one(transformed(cx, scores)?)
}

/// `LinearClassifier`: the scores; the label is the client's to take.
pub(super) fn linear_classifier(cx: &mut NodeCx<'_>) -> Emitted {
    let labels = match cx.attr_ints("classlabels_ints")? {
        Some(labels) => labels.len(),
        None => {
            let labels = cx.node.attributes.texts("classlabels_strings");
            labels.map_err(|e| fault(Code::BadNode, e.to_string()))?.map_or(0, |l| l.len())
        }
    };
    let classes = cx.attr_floats("intercepts")?.len();
    if classes != labels || classes < 2 {
        return Err(fault_help(
            Code::UnsupportedMode,
            format!("{classes} scores for {labels} classes"),
            "export with one row of coefficients per class",
        ));
    }
    let scores = linear(cx, classes)?;
    if cx.ends {
        return label_and_scores(cx, &scores, classes);
    }
    let scores = transformed(cx, scores)?;
    Ok(vec![Operand::LeftOut("a class label"), Operand::Secret(scores)])
}

/// Label and transformed scores as the client computes them.
fn label_and_scores(
    cx: &NodeCx<'_>,
    scores: &Secret,
    classes: usize,
) -> Result<Vec<Operand>, Fault> {
    let along = Along { length: classes, inner: 1 };
    let label = match cx.attr_ints("classlabels_ints")? {
        Some(labels) => {
            let mut label = Ending::of(scores)
                .then(Step::ArgMax { along, last: false })
                .then(Step::Lookup(labels.into_iter().map(|l| l as f64).collect()));
            label.shape.pop();
            Operand::Ending(Box::new(label))
        }
        None => Operand::LeftOut("a class label in words"),
    };
    let scores = match cx.attr_text("post_transform", "NONE")?.as_str() {
        "NONE" => Operand::Secret(scores.clone()),
        "LOGISTIC" => Operand::Ending(Box::new(Ending::of(scores).then(Step::Sigmoid))),
        "SOFTMAX" => Operand::Ending(Box::new(Ending::of(scores).then(Step::Softmax(along)))),
        other => {
            let message = format!("post_transform is {other}");
            return Err(fault(Code::UnsupportedMode, message));
        }
    };
    Ok(vec![label, scores])
}

/// `x·coefficientsᵀ + intercepts`.
fn linear(cx: &mut NodeCx<'_>, outputs: usize) -> Result<Secret, Fault> {
    let x = cx.secret(0)?;
    let (samples, features) = match x.shape.as_slice() {
        [features] => (1, *features),
        [samples, features] => (*samples, *features),
        other => return Err(fault(Code::ShapeMismatch, format!("input of shape {other:?}"))),
    };
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

fn transformed(cx: &mut NodeCx<'_>, scores: Secret) -> Result<Secret, Fault> {
    match cx.attr_text("post_transform", "NONE")?.as_str() {
        "NONE" => Ok(scores),
        "LOGISTIC" => Ok(cx.function(&scores, Function::Sigmoid)),
        other => Err(fault_help(
            Code::UnsupportedMode,
            format!("post_transform is {other}"),
            "export with post_transform NONE (skl2onnx: raw_scores); it does not change the argmax",
        )),
    }
}

/// `ZipMap` only names the columns: the scores stay a tensor.
pub(super) fn zip_map(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let name = cx.node.outputs.first().cloned().unwrap_or_default();
    cx.notes.push(format!(
        "{name:?} is a tensor of scores, one column per class in the model's order, not a sequence of maps"
    ));
    one(x)
}
