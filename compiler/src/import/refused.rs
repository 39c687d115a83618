//! Operators that are valid ONNX and that have no encrypted form here: why, and the way out.

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_onnx::{ML_DOMAIN, Node};

use super::context::{Fault, fault_help};
use super::registry;

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

/// The report on an operator that nothing here reads.
pub(super) fn not_imported(node: &Node) -> Fault {
    let (domain, op) = (&node.domain, &node.op_type);
    if !domain.is_empty() && domain != ML_DOMAIN {
        let message = format!("domain {domain:?} of operator {op} is not known");
        return fault_help(Code::UnknownOperator, message, way_out(domain));
    }
    explain(node).unwrap_or_else(|| {
        let mut finding =
            Diagnostic::new(Code::UnknownOperator, format!("operator {op} is not imported"));
        if let Some(name) = nearest(domain, op) {
            finding = finding.note(format!("the nearest name that is imported is {name}"));
        }
        Box::new(finding.help("express it by operators of the README's table"))
    })
}

/// How a model gets rid of the operators of a domain, by who writes them.
fn way_out(domain: &str) -> &'static str {
    match domain {
        "com.microsoft" | "com.microsoft.nchwc" | "com.ms.internal.nhwc" => {
            "give the model as its exporter wrote it: ONNX Runtime fuses nodes when it optimises a \
             file, so save it without (graph_optimization_level ORT_DISABLE_ALL)"
        }
        "aten" | "org.pytorch.aten" | "prim" => {
            "export with operator_export_type ONNX, and with a newer opset if that fails"
        }
        _ => "export with the operators of ai.onnx and ai.onnx.ml only",
    }
}

/// The imported operator whose name differs least: by case, or by a letter or two of a long name.
fn nearest(domain: &str, op: &str) -> Option<&'static str> {
    let lower = op.to_lowercase();
    let distance = |name: &str| edits(lower.as_bytes(), name.to_lowercase().as_bytes());
    let names = registry::operators().iter().filter(|o| o.domain == domain).map(|o| o.name);
    let (near, name) = names.map(|name| (distance(name), name)).min()?;
    (near <= 2 && op.len() >= 3 * near.max(1)).then_some(name)
}

/// Letters to be changed, added or dropped (Levenshtein).
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_operators_have_a_nearest_name() {
        for (given, meant) in [
            ("RELU", Some("Relu")),
            ("Conv2D", Some("Conv")),
            ("BatchNormalisation", Some("BatchNormalization")),
            ("Frobnicate", None),
            ("XYZ", None),
        ] {
            assert_eq!(nearest("", given), meant, "{given}");
        }
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits(b"kitten", b"sitting"), 3);
        assert_eq!(edits(b"", b"abc"), 3);
        assert_eq!(edits(b"same", b"same"), 0);
    }
}
