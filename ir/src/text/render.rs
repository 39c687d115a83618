//! Lines as text, and verifier errors shown between them.

use std::fmt;

use crate::verify::{Location, VerifierError};

/// One line of a text form, and what it shows.
pub(super) struct Line {
    pub(super) at: Option<Location>,
    pub(super) text: String,
}

impl Line {
    pub(super) fn new(at: Location, text: impl Into<String>) -> Self {
        Self { at: Some(at), text: text.into() }
    }

    pub(super) fn closing() -> Self {
        Self { at: None, text: "}".into() }
    }
}

/// The text with every error under the line that it concerns, then the verdict. Errors about what
/// no line shows (constants) stand at the top.
fn with_errors(lines: &[Line], errors: &[VerifierError]) -> String {
    let shown = |e: &VerifierError| lines.iter().any(|l| l.at == Some(e.location));
    let mut out = String::new();
    for e in errors.iter().filter(|e| !shown(e)) {
        out += &format!("; error: {e}\n");
    }
    for line in lines {
        out += &format!("{}\n", line.text);
        let indent = line.text.len() - line.text.trim_start().len();
        for e in errors.iter().filter(|e| line.at == Some(e.location)) {
            out += &format!("{:indent$}; error: {}\n", "", e.message);
        }
    }
    let s = if errors.len() == 1 { "" } else { "s" };
    let count = errors.len();
    out + &format!("; {count} broken invariant{s}: this is a bug in heplan, not in the model\n")
}

/// Gives a level its texts.
macro_rules! texts {
    ($($level:ty),*) => { $(
        impl fmt::Display for $level {
            /// The text form.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.text_lines().iter().try_for_each(|l| writeln!(f, "{}", l.text))
            }
        }

        impl $level {
            /// The text form with verifier errors under the lines that they concern, for a person
            /// who mends a pass. It still parses.
            pub fn render_errors(&self, errors: &[VerifierError]) -> String {
                with_errors(&self.text_lines(), errors)
            }
        }
    )* };
}

texts!(crate::tensor::Graph, crate::slots::Graph, crate::ckks::Graph, crate::plan::Plan);
