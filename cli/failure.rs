//! What ends a command without a result, and with which exit code.
//!
//! 1: what the user gave is at fault, or the command was interrupted. 2: usage (clap's own).
//! 70: a bug of ours, said to be one.

use std::error::Error;
use std::panic;
use std::process::ExitCode;

use heplan_ir::diagnostic::Diagnostic;

use crate::ui::Outcome;

/// Findings about one file, all of them.
#[derive(Debug)]
pub(crate) struct Findings {
    /// The file that they are about.
    pub(crate) file: String,
    /// What is wrong with it.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl std::fmt::Display for Findings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rendered: Vec<String> = self.diagnostics.iter().map(|d| d.render(&self.file)).collect();
        f.write_str(&rendered.join("\n\n"))
    }
}

impl Error for Findings {}

/// A model that was judged and cannot be compiled.
#[derive(Debug)]
pub(crate) struct Refused {
    /// What stands in the way.
    pub(crate) findings: Findings,
    /// The verdict for machines.
    pub(crate) outcome: Outcome,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.findings.fmt(f)
    }
}

impl Error for Refused {}

/// A panic, which the hook has already reported.
#[derive(Debug, thiserror::Error)]
#[error("heplan met a bug of its own")]
pub(crate) struct Panicked;

/// A broken invariant that was found in time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Bug(pub(crate) String);

/// What to do about a bug.
const REPORT: &str = "this is a bug in heplan, not a fault of yours; please report it to the \
authors with the text above, the output of `heplan --version`, the command that you gave and, if \
you may share it, the model";

/// Makes a panic say that it is our bug, without a backtrace unless `RUST_BACKTRACE` asks for one.
pub(crate) fn install_panic_hook() {
    let backtrace = std::env::var_os("RUST_BACKTRACE").is_some_and(|v| v != "0");
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if backtrace {
            default(info);
        }
        let what = info
            .payload()
            .downcast_ref::<&str>()
            .map(|s| (*s).to_owned())
            .or_else(|| info.payload().downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "unknown".to_owned());
        let place =
            info.location().map_or(String::new(), |l| format!(" ({}:{})", l.file(), l.line()));
        crate::ui::complain(&format!("error: internal error: {what}{place}\n{REPORT}"));
    }));
}

/// The text of an error, and the exit code that it stands for.
///
/// The text is empty for a panic, which is reported where it happens.
pub(crate) fn describe(error: &anyhow::Error) -> (String, ExitCode) {
    if error.is::<Panicked>() {
        return (String::new(), ExitCode::from(70));
    }
    if let Some(bug) = error.downcast_ref::<Bug>() {
        return (format!("error: internal error: {bug}\n{REPORT}"), ExitCode::from(70));
    }
    if error.is::<Findings>() || error.is::<Refused>() {
        return (error.to_string(), ExitCode::FAILURE);
    }
    (format!("error: {}", chain(error)), ExitCode::FAILURE)
}

/// The error and its causes in one line, without saying anything twice.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let next = cause.to_string();
        if !text.contains(&next) {
            let separator = if text.is_empty() { "" } else { ": " };
            text = format!("{text}{separator}{next}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_cause_that_is_already_quoted_is_not_repeated() {
        let error = Err::<(), _>(anyhow::anyhow!("disk is full"))
            .context("cannot write a.plan: disk is full")
            .context("compile")
            .unwrap_err();
        assert_eq!(chain(&error), "compile: cannot write a.plan: disk is full");
    }
}
