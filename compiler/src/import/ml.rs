//! `ai.onnx.ml` as scikit-learn's exporter writes it, by theme.
//!
//! Labels of classes are decisions and the client's: a classifier's first result is an
//! [`Ending`] over its scores, and left out where something else than the client would read it.

use heplan_ir::diagnostic::Code;
use heplan_ir::function::Function;
use heplan_ir::tail::{Along, Step};

use super::compose::{Groups, secret};
use super::context::{Fault, NodeCx, Operand, Secret, fault, fault_help};
use super::softmax;
use super::tail::Ending;

mod features;
mod labels;
mod linear;
mod svm;
mod trees;

pub(super) use features::{array_feature_extractor, feature_vectorizer, imputer};
pub(super) use labels::{encoded, looked_up, zip_map};
pub(super) use linear::{linear_classifier, linear_regressor, scaler};
pub(super) use svm::{svm_classifier, svm_regressor};
pub(super) use trees::{tree_classifier, tree_ensemble, tree_regressor};

/// The names of classes.
#[derive(Clone, Debug, PartialEq)]
enum Labels {
    Numbers(Vec<f64>),
    Words(Vec<String>),
}

impl Labels {
    /// Those of a classifier; an absent list is one of no classes.
    fn of(cx: &NodeCx<'_>) -> Result<Self, Fault> {
        // Trees call them by another name than linear models do.
        for name in ["classlabels_ints", "classlabels_int64s"] {
            if let Some(labels) = cx.attr_ints(name)?.filter(|l| !l.is_empty()) {
                return Ok(Self::Numbers(labels.into_iter().map(|l| l as f64).collect()));
            }
        }
        Ok(Self::Words(texts(cx, "classlabels_strings")?.unwrap_or_default()))
    }

    fn len(&self) -> usize {
        match self {
            Self::Numbers(labels) => labels.len(),
            Self::Words(words) => words.len(),
        }
    }

    /// The step from places to these.
    fn step(self) -> Step {
        match self {
            Self::Numbers(labels) => Step::Lookup(labels),
            Self::Words(words) => Step::Words(words),
        }
    }

    /// The label at the places that the client finds, one per sample.
    fn at(self, places: Ending, samples: usize) -> Operand {
        let mut label = places.then(self.step());
        label.shape = vec![samples];
        Operand::Ending(Box::new(label))
    }
}

/// A list of words.
fn texts(cx: &NodeCx<'_>, name: &str) -> Result<Option<Vec<String>>, Fault> {
    let words = cx.node.attributes.texts(name);
    let words = words.map_err(|e| fault(Code::BadNode, e.to_string()))?;
    Ok(words.map(|words| words.into_iter().map(str::to_owned).collect()))
}

/// Samples and features of an input.
fn rows(x: &Secret) -> Result<(usize, usize), Fault> {
    match x.shape.as_slice() {
        [features] => Ok((1, *features)),
        [samples, features] => Ok((*samples, *features)),
        other => Err(fault(Code::ShapeMismatch, format!("input of shape {other:?}"))),
    }
}

const TRANSFORM: &str = "export with post_transform NONE, LOGISTIC or SOFTMAX";

/// The scores after `post_transform`, on ciphertexts.
fn transformed(cx: &mut NodeCx<'_>, scores: Secret) -> Result<Secret, Fault> {
    match cx.attr_text("post_transform", "NONE")?.as_str() {
        "NONE" => Ok(scores),
        "LOGISTIC" => Ok(cx.function(&scores, Function::Sigmoid)),
        "SOFTMAX" => {
            let (samples, classes) = rows(&scores)?;
            let row = |e: usize| Some(e / classes);
            let rows = Groups::by_key(&(0..samples * classes).map(row).collect::<Vec<_>>());
            secret(&softmax::of_groups(cx, &scores, &rows)?)
        }
        other => {
            let message = format!("post_transform is {other}");
            Err(fault_help(Code::UnsupportedMode, message, TRANSFORM))
        }
    }
}

/// The scores after `post_transform`, by the client.
fn scored(cx: &NodeCx<'_>, scores: Ending) -> Result<Operand, Fault> {
    let along = Along { length: scores.shape.last().copied().unwrap_or(1), inner: 1 };
    let ending = match cx.attr_text("post_transform", "NONE")?.as_str() {
        "NONE" if scores.steps.is_empty() => return Ok(Operand::Secret(scores.scores)),
        "NONE" => scores,
        "LOGISTIC" => scores.then(Step::Sigmoid),
        "SOFTMAX" => scores.then(Step::Softmax(along)),
        other => {
            let message = format!("post_transform is {other}");
            return Err(fault_help(Code::UnsupportedMode, message, TRANSFORM));
        }
    };
    Ok(Operand::Ending(Box::new(ending)))
}
