//! The judge of the suites that compile without the command: the runtime's simulation.

use heplan_compiler::judge::{Judge, Refusal, Tensors};
use heplan_ir::plan::Plan;
use heplan_runtime::simulate::{Noise, simulate};

/// Runs plans in simulation, with noise of one seed.
pub(crate) struct Simulation;

impl Judge for Simulation {
    fn simulate(&self, plan: &Plan, samples: &[Tensors]) -> Result<Vec<Tensors>, Refusal> {
        let found = simulate(plan, samples, Noise::Seeded(1)).map_err(|error| {
            if error.is_overflow() {
                Refusal::Overflow(error.to_string())
            } else {
                Refusal::Broken(error.to_string())
            }
        })?;
        Ok(found.into_iter().map(|s| s.outputs).collect())
    }
}
