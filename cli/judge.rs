//! The judge of a compilation: the runtime's simulation, behind the compiler's trait.

use heplan_compiler::judge::{Judge, Refusal, Tensors};
use heplan_ir::plan::Plan;
use heplan_runtime::error::RunError;
use heplan_runtime::simulate::{Noise, simulate};

/// The noise of simulations is drawn from this seed, so that compiling twice gives equal plans.
const SEED: u64 = 1;

/// Runs plans in simulation, noise included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Simulation;

impl Simulation {
    /// The outputs of every sample, decoded.
    pub(crate) fn outputs(plan: &Plan, samples: &[Tensors]) -> Result<Vec<Tensors>, RunError> {
        let simulated = simulate(plan, samples, Noise::Seeded(SEED))?;
        Ok(simulated.into_iter().map(|s| s.outputs).collect())
    }
}

impl Judge for Simulation {
    fn simulate(&self, plan: &Plan, samples: &[Tensors]) -> Result<Vec<Tensors>, Refusal> {
        Self::outputs(plan, samples).map_err(|error| {
            if error.is_overflow() {
                Refusal::Overflow(error.to_string())
            } else {
                Refusal::Broken(error.to_string())
            }
        })
    }
}
