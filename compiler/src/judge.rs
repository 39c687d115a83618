//! The judge: how a compilation learns what its own plan answers.
//!
//! The compiler does not see the runtime. Whoever calls it passes a [`Judge`] that runs a plan in
//! simulation, noise included; the pipeline compares its answers with the float model's.

use heplan_ir::plan::Plan;

/// One tensor per port.
pub type Tensors = Vec<Vec<f64>>;

/// Runs plans in simulation.
pub trait Judge: Sync {
    /// The outputs of `plan` for every sample: decoded tensors in the model's own units, as the
    /// client would see them.
    ///
    /// # Errors
    /// What the simulation refused: a slot that overflows its modulus, say.
    fn simulate(&self, plan: &Plan, samples: &[Tensors]) -> Result<Vec<Tensors>, Refusal>;
}

/// Why a simulation stopped.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A value does not fit the modulus at some instruction: more headroom or larger primes.
    #[error("{0}")]
    Overflow(String),
    /// The plan is not executable, which is a bug of the compiler.
    #[error("{0}")]
    Broken(String),
}
