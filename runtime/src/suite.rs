//! The suite that every backend passes: small plans made by hand, with the answers of plain
//! arithmetic.
//!
//! A backend's tests loop over [`cases`] and [`shared_cases`], make a backend for the parameters and keys of the case's
//! plan, and call [`check`]; then [`check_refusals`] for what must be refused.
//! Cases state how many bits the answer must be right to; a backend without noise has more.

mod builder;
mod cases;
mod refusals;

use heplan_ir::ckks::CtType;
use heplan_ir::plan::Plan;
use heplan_ir::slots::Compact;
use thiserror::Error;

use crate::backend::Backend;
use crate::error::RunError;
use crate::executor::Executor;
use crate::precision::PrecisionStats;

pub use cases::{cases, shared_cases};
pub use refusals::{check_missing_keys, check_refusals, refusals_plan};

/// A plan with inputs and the outputs of plain arithmetic.
#[derive(Clone, Debug)]
pub struct Case {
    /// Names the situation.
    pub name: String,
    /// The plan.
    pub plan: Plan,
    /// Slots of every input, one ciphertext each.
    pub inputs: Vec<Vec<f64>>,
    /// Slots of every output, one ciphertext each.
    pub expected: Vec<Vec<f64>>,
    /// Every slot must be right to this many bits.
    pub bits: f64,
}

/// Why a backend fails the suite.
#[derive(Debug, Error)]
pub enum SuiteError {
    /// The plan did not run.
    #[error("case {case}: {source}")]
    Run {
        /// Name of the case.
        case: String,
        /// Why.
        source: RunError,
    },
    /// An output is not right to as many bits as the case asks for.
    #[error("case {case}: right to {found:.1} bits, {wanted:.1} are asked for")]
    Imprecise {
        /// Name of the case.
        case: String,
        /// Bits of the largest error.
        found: f64,
        /// Bits asked for.
        wanted: f64,
    },
    /// Two runs on the same ciphertexts gave different answers.
    #[error("case {0}: two runs on the same ciphertexts differ")]
    NotDeterministic(String),
    /// Something that must be refused was done.
    #[error("{0} was not refused")]
    NotRefused(&'static str),
    /// Something that the refusals need did not work.
    #[error("cannot prepare the refusals: {0}")]
    Preparation(String),
}

/// Runs a case twice and compares the outputs with plain arithmetic and with each other. Inputs are encrypted without what
/// their ports leave out.
///
/// # Errors
/// If the plan does not run, an output is not right to the bits of the case, or the runs differ.
pub fn check<B: Backend>(
    case: &Case,
    backend: &B,
    mut encrypt: impl FnMut(&[f64], &CtType, Compact) -> B::Ct,
    mut decrypt: impl FnMut(&B::Ct) -> Vec<f64>,
) -> Result<PrecisionStats, SuiteError> {
    let ports = case.inputs.iter().zip(&case.plan.inputs);
    let inputs: Vec<Vec<B::Ct>> =
        ports.map(|(x, (port, ty))| vec![encrypt(x, ty, port.compact)]).collect();
    let mut run = || -> Result<Vec<Vec<f64>>, SuiteError> {
        let outputs = Executor::new(&case.plan)
            .run(backend, inputs.clone(), &mut ())
            .map_err(|source| SuiteError::Run { case: case.name.clone(), source })?;
        Ok(outputs.iter().flatten().map(&mut decrypt).collect())
    };
    let found = run()?;
    if run()? != found {
        return Err(SuiteError::NotDeterministic(case.name.clone()));
    }
    let imprecise =
        |found| SuiteError::Imprecise { case: case.name.clone(), found, wanted: case.bits };
    let lengths = |slots: &[Vec<f64>]| slots.iter().map(Vec::len).collect::<Vec<_>>();
    if lengths(&found) != lengths(&case.expected) {
        return Err(imprecise(f64::NEG_INFINITY));
    }
    let expected = case.expected.iter().flatten().copied();
    let stats = PrecisionStats::of(expected.zip(found.into_iter().flatten()))
        .ok_or_else(|| imprecise(f64::NEG_INFINITY))?;
    if stats.min_bits < case.bits { Err(imprecise(stats.min_bits)) } else { Ok(stats) }
}
