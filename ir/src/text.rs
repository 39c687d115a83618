//! The text form of all four levels: one operation per line, with its full type and its origin.
//!
//! ```text
//! ckks "mnist" {
//!   parameters {digit_size = 1, log_n = 13, p = […], q = […]}
//!   input 0 "image" : real[1, 1, 28, 28] {factor = 1.0, layout = [784:1] / 1024 of 4096, range = [0.0, 1.0]}
//!   %0 = input 0 {part = 0}           : ct<level = 4, scale = 30>    @ ""
//!   %1 = rotate %0 {by = 29}          : ct<level = 4, scale = 30>    @ "/conv1/Conv"
//!   output "logits" = %1 : real[1, 10] {…}
//! }
//! ```
//!
//! - Constants are content hashes; the numbers are in the pool that [`parse`](crate::ckks::Graph::parse)
//!   is given.
//! - Attributes are sorted. Values are numbered in the order of definition.
//! - A scale is its base-2 logarithm, and where that is not exact also the exact product of chain
//!   primes, `30.0003 (2^60 q3^-1)`.
//! - An origin is the label of its ONNX nodes. Parsing makes one node of every label; apart from
//!   that, parsing what was printed gives the same graph.
//! - Lines that begin with `;` are comments; verifier errors are shown as such
//!   (`render_errors`), so their output still parses.
//!
//! Printing accepts broken graphs too, since that is when they are looked at.

mod ckks;
mod common;
mod cursor;
mod ops;
mod plan;
mod render;
mod slots;
mod tensor;

use thiserror::Error;

use crate::entity::{RegId, ValueId};

/// A text that is not the text form of a graph.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: expected {expected}, found {found:?}")]
pub struct ParseError {
    /// The line, counted from 1.
    pub line: usize,
    /// What should be there.
    pub expected: String,
    /// The rest of the line.
    pub found: String,
}

/// What operands are: values or registers.
pub(crate) trait Name: Copy + std::fmt::Display {
    const PREFIX: &'static str;
    const WHAT: &'static str;
    fn at(index: usize) -> Self;
}

impl Name for ValueId {
    const PREFIX: &'static str = "%";
    const WHAT: &'static str = "a value (`%3`)";
    fn at(index: usize) -> Self {
        Self::new(index)
    }
}

impl Name for RegId {
    const PREFIX: &'static str = "r";
    const WHAT: &'static str = "a register (`r3`)";
    fn at(index: usize) -> Self {
        Self::new(index)
    }
}

#[cfg(test)]
mod tests;
