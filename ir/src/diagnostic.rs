//! What is wrong with a model, its data or the wishes about it, said to its owner.
//!
//! A [`Diagnostic`] names the node, what was found and the way out. All offending nodes are
//! reported at once. "Unsupported" (valid, but there is no encrypted form) is never mixed with
//! "invalid". Messages are lower case without a full stop.

use std::fmt;

use crate::origin::Node;

/// Declares the codes once: variant, number, and one line on its meaning.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// A stable code. Blocks: `E01` file and ONNX, `E02` unsupported or unknown, `E03` shapes
        /// and layout, `E04` levels, scales, precision and data, `E05` parameters and security.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, in order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The printed form, `E0201`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
        }
    };
}

codes! {
    /// The file is not an ONNX model, or is cut or empty.
    NotOnnx = "E0101",
    /// IR version or opset outside what is read.
    OpsetOutOfRange = "E0102",
    /// The graph has a cycle.
    Cycle = "E0103",
    /// A value is read that nothing defines.
    MissingValue = "E0104",
    /// A value is defined twice.
    DuplicateValue = "E0105",
    /// A tensor's data does not fit its declared shape or type, or is not finite.
    BadTensor = "E0106",
    /// External data is missing or outside the model's folder.
    ExternalData = "E0107",
    /// A node lacks an attribute or input, or has one out of range.
    BadNode = "E0108",
    /// The graph has no encrypted input, or an output that depends on none.
    NoInput = "E0109",
    /// An operator without an encrypted form.
    Unsupported = "E0201",
    /// An operator or domain that is not known.
    UnknownOperator = "E0202",
    /// A known operator with a mode or an operand that has no encrypted form.
    UnsupportedMode = "E0203",
    /// A data type without an encrypted form.
    UnsupportedType = "E0204",
    /// Shapes that do not fit each other.
    ShapeMismatch = "E0301",
    /// A dimension that is not fixed and that no option fixes.
    UnknownDimension = "E0302",
    /// Calibration data is absent, empty, not finite or of the wrong shape.
    Calibration = "E0401",
    /// A function cannot be approximated well enough on its range.
    Approximation = "E0402",
    /// The plan does not reach the agreement or precision asked for.
    Precision = "E0403",
    /// A calibration value for which a function has no value (`log` of a negative number).
    Domain = "E0404",
    /// A file of measured costs that cannot be used.
    Costs = "E0405",
    /// No secure parameter set carries the computation.
    TooDeep = "E0501",
    /// No plan has evaluation keys as small as asked for.
    KeysTooLarge = "E0502",
    /// More samples are to share a ciphertext than it has slots.
    Batch = "E0503",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// The stable code.
    pub code: Code,
    /// What is wrong, in one line that stands alone.
    pub message: String,
    /// The ONNX node, if one is at fault.
    pub node: Option<Node>,
    /// The opset of the node's domain.
    pub opset: Option<i64>,
    /// What was found, what would be accepted.
    pub notes: Vec<String>,
    /// The way out.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A finding without a node.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            node: None,
            opset: None,
            notes: Vec::new(),
            help: None,
        }
    }

    /// Names the node at fault.
    #[must_use]
    pub fn at(mut self, node: Node, opset: i64) -> Self {
        self.node = Some(node);
        self.opset = Some(opset);
        self
    }

    /// Adds a note.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Sets the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The finding in full, as the terminal shows it (without colours):
    ///
    /// ```text
    /// error[E0201]: MaxPool has no encrypted form
    ///   --> model.onnx: node 2 "/pool/MaxPool" (MaxPool, opset 17)
    ///    = note: it takes the largest of several encrypted values
    ///    = help: replace it by AveragePool and retrain
    /// ```
    pub fn render(&self, file: &str) -> String {
        let mut out = format!("error[{}]: {}\n  --> {file}", self.code, self.message);
        if let Some(node) = &self.node {
            let name =
                if node.name.is_empty() { String::new() } else { format!(" {:?}", node.name) };
            let opset = self.opset.map_or(String::new(), |o| format!(", opset {o}"));
            out += &format!(": node {}{name} ({}{opset})", node.index, node.op);
        }
        for note in &self.notes {
            out += &format!("\n   = note: {note}");
        }
        if let Some(help) = &self.help {
            out += &format!("\n   = help: {help}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_in_order() {
        let printed: Vec<&str> = Code::ALL.iter().map(|c| c.as_str()).collect();
        assert!(printed.windows(2).all(|w| w[0] < w[1]), "{printed:?}");
        assert!(Code::ALL.windows(2).all(|w| w[0] < w[1]));
        let shape = |c: &str| c.len() == 5 && c.starts_with("E0") && c[1..].parse::<u16>().is_ok();
        assert!(printed.into_iter().all(shape));
    }

    #[test]
    fn a_finding_names_node_note_and_way_out() {
        let node = Node { index: 2, name: "/pool/MaxPool".into(), op: "MaxPool".into() };
        let found = Diagnostic::new(Code::Unsupported, "MaxPool has no encrypted form")
            .at(node, 17)
            .note("it takes the largest of several encrypted values")
            .help("replace it by AveragePool and retrain");
        assert_eq!(
            found.render("model.onnx"),
            "error[E0201]: MaxPool has no encrypted form\n  \
             --> model.onnx: node 2 \"/pool/MaxPool\" (MaxPool, opset 17)\n   \
             = note: it takes the largest of several encrypted values\n   \
             = help: replace it by AveragePool and retrain"
        );
    }
}
