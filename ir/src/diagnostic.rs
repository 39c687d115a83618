//! What is wrong with a model, its data or the wishes about it, said to its owner.
//!
//! A [`Diagnostic`] names the node, what was found and the way out. All offending nodes are
//! reported at once. "Unsupported" (valid, but there is no encrypted form) is never mixed with
//! "invalid". Messages are lower case without a full stop.

use std::fmt;

use crate::origin::Node;

/// Declares the codes once: variant, number, one line on its meaning, and the way out that helps
/// where a finding knows none of its own.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $way_out:literal;)*) => {
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

            /// What helps with most findings of this code.
            pub fn way_out(self) -> &'static str {
                match self { $(Self::$name => $way_out,)* }
            }
        }
    };
}

codes! {
    /// The file is not an ONNX model, or is cut or empty.
    NotOnnx = "E0101",
        "give the .onnx file that the exporter wrote, whole";
    /// IR version or opset outside what is read.
    OpsetOutOfRange = "E0102",
        "export with an opset from 13 to 28, and a current version of the exporter";
    /// The graph has a cycle.
    Cycle = "E0103",
        "export the model again; ONNX graphs have no cycles";
    /// A value is read that nothing defines.
    MissingValue = "E0104",
        "export the model with its weights";
    /// A value is defined twice.
    DuplicateValue = "E0105",
        "export the model again; onnx.checker.check_model says whether a file is sound";
    /// A tensor's data does not fit its declared shape or type, or is not finite.
    BadTensor = "E0106",
        "export the model again, with finite weights; onnx.checker.check_model says whether a file is sound";
    /// External data is missing or outside the model's folder.
    ExternalData = "E0107",
        "put the data files that the exporter wrote beside the model, under their own names";
    /// A node lacks an attribute or input, or has one out of range.
    BadNode = "E0108",
        "export the model again; onnx.checker.check_model says whether a file is sound";
    /// The graph has no encrypted input, or an output that depends on none.
    NoInput = "E0109",
        "export the model with its data as an input, and with an output that is computed from it";
    /// An operator without an encrypted form.
    Unsupported = "E0201",
        "replace it by operators of the README's table, or do it before encryption or after decryption";
    /// An operator or domain that is not known.
    UnknownOperator = "E0202",
        "express it by operators of the README's table";
    /// A known operator with a mode or an operand that has no encrypted form.
    UnsupportedMode = "E0203",
        "use a smaller or another form of it, or other operators of the README's table";
    /// A data type without an encrypted form.
    UnsupportedType = "E0204",
        "export the model with float32 data, and let the client encode texts and categories";
    /// Shapes that do not fit each other.
    ShapeMismatch = "E0301",
        "export the model again; onnx.shape_inference.infer_shapes(model, strict_mode=True) says where shapes do not fit";
    /// A dimension that is not fixed and that no option fixes.
    UnknownDimension = "E0302",
        "fix it: --dim NAME=N";
    /// Calibration data is absent, empty, not finite or of the wrong shape.
    Calibration = "E0401",
        "give an .npz with one array of floats for each input, under its name, the samples along the first axis";
    /// A function cannot be approximated well enough on its range.
    Approximation = "E0402",
        "narrow the operand's range, allow a higher degree or a lower agreement";
    /// The plan does not reach the agreement or precision asked for.
    Precision = "E0403",
        "ask for less with --min-agreement, --max-error or --precision-bits";
    /// A calibration value for which a function has no value (`log` of a negative number).
    Domain = "E0404",
        "check that the calibration data is scaled as in training";
    /// A file of measured costs that cannot be used.
    Costs = "E0405",
        "write one with `heplan bench --costs FILE`, or leave out --costs";
    /// No secure parameter set carries the computation.
    TooDeep = "E0501",
        "use fewer activations, or smoother ones";
    /// No plan has evaluation keys as small as asked for.
    KeysTooLarge = "E0502",
        "allow larger keys with --max-key-size, or fewer levels with a larger --max-error";
    /// More samples are to share a ciphertext than it has slots.
    Batch = "E0503",
        "ask for fewer with --batch, or for a larger ring with --log-n";
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
    /// The way out, where it is another than that of the code.
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

    /// The way out: the finding's own, else that of its code.
    pub fn way_out(&self) -> &str {
        self.help.as_deref().unwrap_or(self.code.way_out())
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
        out + &format!("\n   = help: {}", self.way_out())
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
    fn every_code_has_a_way_out() {
        for code in Code::ALL {
            let help = code.way_out();
            let first = help.chars().next().expect("not empty");
            assert!(
                help.len() > 15 && first.is_lowercase() && !help.ends_with('.'),
                "{code}: {help}"
            );
            let shown = Diagnostic::new(*code, "message").render("file");
            assert_eq!(shown, format!("error[{code}]: message\n  --> file\n   = help: {help}"));
        }
        let own = Diagnostic::new(Code::Cycle, "message").help("cut it");
        assert_eq!(own.way_out(), "cut it");
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
