//! What every level's verifier shares: the error type, and the checks of constants and ports.
//!
//! A verifier lists *all* breaches, never only the first. For graphs that passes made a breach is
//! a bug of ours and is shown inside the text form ; for a plan
//! that came from a file it is a reason to refuse the file. Verifiers change nothing.

mod constants;
mod port;

use std::fmt;

use thiserror::Error;

pub(crate) use constants::check_constants;
pub use port::MAX_PLACES;
pub(crate) use port::check_ports;

/// Where in a graph or plan something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// The whole: name, parameters, width, counts.
    Whole,
    /// A constant, by its index in the pool.
    Constant(usize),
    /// A key of the manifest, by its index.
    Key(usize),
    /// An input, by its index.
    Input(usize),
    /// An instruction (on the `tensor` level: a value), by its index.
    Inst(usize),
    /// An output, by its index.
    Output(usize),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => write!(f, "header"),
            Self::Constant(i) => write!(f, "constant {i}"),
            Self::Key(i) => write!(f, "key {i}"),
            Self::Input(i) => write!(f, "input {i}"),
            Self::Inst(i) => write!(f, "instruction {i}"),
            Self::Output(i) => write!(f, "output {i}"),
        }
    }
}

/// A breach of an invariant of the representation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{location}{}: {message}", Self::in_context(context))]
pub struct VerifierError {
    /// Where.
    pub location: Location,
    /// The ONNX nodes behind it, or a name; empty where there is neither.
    pub context: String,
    /// What is wrong.
    pub message: String,
}

impl VerifierError {
    fn in_context(context: &str) -> String {
        if context.is_empty() { String::new() } else { format!(" ({context})") }
    }
}

/// Collects breaches.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    list: Vec<VerifierError>,
}

impl Errors {
    pub(crate) fn add(&mut self, at: Location, context: &str, message: impl Into<String>) {
        let (context, message) = (context.to_owned(), message.into());
        self.list.push(VerifierError { location: at, context, message });
    }

    pub(crate) fn extend(&mut self, at: Location, context: &str, messages: Vec<String>) {
        messages.into_iter().for_each(|m| self.add(at, context, m));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The breaches in the order of the text form.
    pub(crate) fn finish(mut self) -> Vec<VerifierError> {
        self.list.sort_by_key(|e| e.location);
        self.list
    }
}

#[cfg(test)]
mod tests;
