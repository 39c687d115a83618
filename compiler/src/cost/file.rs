//! Costs in files: what `heplan bench --costs` writes and `heplan compile --costs` reads, in RON.
//!
//! A file from elsewhere is hostile: it is small, has every field once, and holds times that an elementary operation can
//! take, or it is refused.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::LazyLock;

use heplan_ir::diagnostic::{Code, Diagnostic};
use serde::{Deserialize, Serialize};

use super::Costs;

/// The costs that the compiler uses unless it is given others.
static STORED: LazyLock<Measurement> = LazyLock::new(|| {
    Measurement::from_text(include_str!("default.ron")).expect("the stored costs are sound")
});

/// The version that is written.
const FORMAT: u32 = 1;
/// No file of costs is longer.
const MAX_BYTES: u64 = 64 << 10;
/// The least and the most seconds of one unit: from ten times faster than any processor to a thousandth of its speed.
const SECONDS: std::ops::RangeInclusive<f64> = 1e-13..=1e-6;

/// Costs with what they were measured on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Version of the format.
    format: u32,
    /// The processor.
    pub processor: String,
    /// The instruction set.
    pub isa: String,
    /// Seconds of one unit of every elementary operation.
    pub seconds: Costs,
}

impl Default for Costs {
    fn default() -> Self {
        STORED.seconds
    }
}

impl Measurement {
    /// Costs measured on a processor with an instruction set, to the three digits that mean something.
    pub fn new(processor: String, isa: String, seconds: Costs) -> Self {
        let rounded = |(_, s): (_, f64)| format!("{s:.2e}").parse().unwrap_or(s);
        let seconds = Costs::from_terms(seconds.named().map(rounded));
        Self { format: FORMAT, processor, isa, seconds }
    }

    /// What the compiler's own costs were measured on.
    pub fn stored() -> &'static Self {
        &STORED
    }

    /// The text of a file.
    pub fn to_text(&self) -> String {
        let config = ron::ser::PrettyConfig::new().new_line("\n").depth_limit(2);
        let body = ron::ser::to_string_pretty(self, config).expect("plain data serialises");
        format!(
            "// Seconds that elementary operations of the scheme take on one core, for `heplan compile --costs`.\n\
             // Written by `heplan bench --costs`.\n{body}\n"
        )
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// If it is not such a file, or a time is none that an operation can take.
    pub fn from_text(text: &str) -> Result<Self, Box<Diagnostic>> {
        let found: Self =
            ron::from_str(text).map_err(|e| refused(format!("not a file of costs: {e}")))?;
        if found.format != FORMAT {
            let message = format!("costs of format {}, format {FORMAT} is read", found.format);
            return Err(refused(message));
        }
        match found.seconds.named().into_iter().find(|(_, s)| !SECONDS.contains(s)) {
            Some((name, seconds)) => Err(refused(format!(
                "{seconds:e} seconds for {name:?}, which takes from {:e} to {:e}",
                SECONDS.start(),
                SECONDS.end()
            ))),
            None => Ok(found),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is too long, or as [`Self::from_text`].
    pub fn read(path: &Path) -> Result<Self, Box<Diagnostic>> {
        let unreadable = |e: std::io::Error| refused(format!("cannot be read: {e}"));
        let mut text = String::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(refused(format!("not a file of costs: longer than {MAX_BYTES} bytes")));
        }
        Self::from_text(&text)
    }
}

fn refused(message: String) -> Box<Diagnostic> {
    let found = Diagnostic::new(Code::Costs, message);
    Box::new(found.help("write one with `heplan bench --costs FILE`, or leave out --costs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let stored = Measurement::stored();
        assert_eq!(Measurement::from_text(&stored.to_text()).as_ref(), Ok(stored));
        assert_eq!(Costs::default(), stored.seconds);
    }

    #[test]
    fn times_that_cannot_be_are_refused() {
        let text = Measurement::stored().to_text();
        let number = text.split("transform: ").nth(1).and_then(|t| t.split(',').next());
        let number = number.expect("the first cost");
        for wrong in ["0.0", "-1e-9", "1e300", "NaN", "inf", "1e-20", "\"fast\"", "()"] {
            let changed = text.replacen(number, wrong, 1);
            let error = Measurement::from_text(&changed).expect_err(wrong);
            assert_eq!(error.code, Code::Costs, "{wrong}");
        }
        for (from, to) in [("format: 1", "format: 2"), ("expand", "expanse"), ("(", "")] {
            assert!(Measurement::from_text(&text.replacen(from, to, 1)).is_err(), "{from}");
        }
        let deep = format!("{}{}", "(".repeat(50_000), ")".repeat(10_000));
        assert!(Measurement::from_text(&deep).is_err());
    }
}
