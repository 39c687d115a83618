//! From functions to polynomials.

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::tensor::{Graph, Op};

use super::calibrate::Calibration;
use crate::data::Samples;
use crate::options::Options;
pub use crate::report::FunctionReport;

/// A graph without functions.
#[derive(Clone, Debug)]
pub struct Approximated {
    /// The graph.
    pub graph: Graph,
    /// What was approximated, and how well.
    pub functions: Vec<FunctionReport>,
}

/// Replaces every `Function` by a `Polynomial`.
///
/// # Errors
/// One finding per function that has no polynomial.
pub fn approximate(
    graph: &Graph,
    _: &Calibration,
    _: &Samples,
    _: &Options,
) -> Result<Approximated, Vec<Diagnostic>> {
    let functions = graph.values.iter().filter(|v| matches!(v.op, Op::Function { .. }));
    let findings: Vec<Diagnostic> = functions
        .map(|v| {
            let mut found = Diagnostic::new(Code::Approximation, "a function has no polynomial");
            found.node = graph.origins.nodes(v.origin).next().cloned();
            found
        })
        .collect();
    if !findings.is_empty() {
        return Err(findings);
    }
    Ok(Approximated { graph: graph.clone(), functions: Vec::new() })
}
