//! Operators that are valid ONNX and that have no encrypted form here: why, and the way out.

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_onnx::Node;

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
    ("LabelEncoder", ADDRESS, "let the client encode its input"),
    ("OneHotEncoder", ADDRESS, "let the client encode its input"),
    ("ArrayFeatureExtractor", ADDRESS, "extract constant places, or drop the label output"),
    ("Binarizer", STEP, "let the client do it before encryption"),
];

const MAXIMUM: &str = "it compares encrypted values";
const STEP: &str = "it is a step function, which no polynomial follows";
const ADDRESS: &str = "its positions depend on data";

/// The report on an operator that is known and refused, if it is one of these.
pub(super) fn explain(node: &Node) -> Option<Fault> {
    let op = node.op_type.as_str();
    let (_, reason, help) = REFUSED.iter().find(|r| r.0 == op)?;
    let message = format!("{op} has no encrypted form");
    Some(Box::new(Diagnostic::new(Code::Unsupported, message).note(*reason).help(*help)))
}
