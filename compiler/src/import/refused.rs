//! Operators that are valid ONNX and that have no encrypted form here: why, and the way out.

use heplan_ir::diagnostic::{Code, Diagnostic};

use super::context::Fault;

/// Operator, reason, way out.
const REFUSED: &[(&str, &str, &str)] = &[
    ("MaxRoiPool", MAXIMUM, "replace it by an average"),
    ("Hardmax", MAXIMUM, "drop it from the export and take the argmax after decryption"),
    ("ArgMax", MAXIMUM, "drop it from the export and take the argmax after decryption"),
    ("ArgMin", MAXIMUM, "drop it from the export and take the argmin after decryption"),
    ("TopK", MAXIMUM, "drop it from the export and sort after decryption"),
    ("NonMaxSuppression", MAXIMUM, "do it after decryption"),
    ("Round", STEP, "drop it"),
    ("Floor", STEP, "drop it"),
    ("Ceil", STEP, "drop it"),
    ("NonZero", ADDRESS, "do it after decryption"),
    ("OneHot", ADDRESS, "let the client encode its input"),
    (
        "Normalizer",
        STATISTICS,
        "drop it from the export (skl2onnx: raw_scores); it does not change the argmax",
    ),
    ("SVMClassifier", KERNEL, "use a linear model or a small neural network"),
    ("SVMRegressor", KERNEL, "use a linear model or a small neural network"),
    ("TreeEnsembleClassifier", TREE, "use a linear model or a small neural network"),
    ("TreeEnsembleRegressor", TREE, "use a linear model or a small neural network"),
    ("TreeEnsemble", TREE, "use a linear model or a small neural network"),
    ("LabelEncoder", ADDRESS, "let the client encode its input"),
    ("OneHotEncoder", ADDRESS, "let the client encode its input"),
    ("ArrayFeatureExtractor", ADDRESS, "drop the label output from the export"),
    ("Binarizer", STEP, "let the client do it before encryption"),
];

const MAXIMUM: &str = "it compares encrypted values";
const STATISTICS: &str = "it divides by statistics of encrypted values";
const STEP: &str = "it is a step function, which no polynomial follows";
const ADDRESS: &str = "its positions depend on data";
const KERNEL: &str = "its kernel is not imported";
const TREE: &str = "it compares encrypted values at every branch";

/// The report on an operator that is known and refused, if it is one of these.
pub(super) fn explain(op: &str) -> Option<Fault> {
    let (_, reason, help) = REFUSED.iter().find(|r| r.0 == op)?;
    let message = format!("{op} has no encrypted form");
    Some(Box::new(Diagnostic::new(Code::Unsupported, message).note(*reason).help(*help)))
}
