//! A plan on tensors, without keys: what its client would decrypt, in simulation or exactly.

use heplan_ir::ckks::CtType;
use heplan_ir::plan::Plan;
use heplan_ir::slots::Port;
use rayon::prelude::*;

use crate::backend::Backend;
use crate::clear::Clear;
use crate::error::{RunError, RunErrorKind};
use crate::executor::{Executor, Observer};
use crate::sim::Sim;

/// What the numbers suffer on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// Nothing: exact arithmetic on the plan's own operations.
    None,
    /// Noise, missing keys and overflow as on ciphertexts; the seed chooses the noise.
    Seeded(u64),
}

/// The outputs of one sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulated {
    /// One tensor per output of the plan, row-major, in the model's own units.
    pub outputs: Vec<Vec<f64>>,
    /// For every output the base-2 logarithm of the noise's standard deviation that the model
    /// predicts, in the same units; `-∞` without noise.
    pub noise_log2: Vec<f64>,
}

/// Runs a plan on samples, each one tensor per input of the plan, row-major and in the model's own
/// units. Samples run in parallel; the answers do not depend on the number of threads.
///
/// # Errors
/// If a sample does not fit the plan's inputs, or as [`Executor::run`].
pub fn simulate(
    plan: &Plan,
    samples: &[Vec<Vec<f64>>],
    noise: Noise,
) -> Result<Vec<Simulated>, RunError> {
    match noise {
        Noise::None => {
            let backend = Clear::new(&plan.parameters);
            let run = |sample: &Vec<Vec<f64>>| {
                let encrypt = |slots, ty: &CtType, _| backend.encrypt(slots, ty.clone());
                let decrypt = |ct: &crate::clear::Slots| Ok((ct.values.clone(), f64::NEG_INFINITY));
                one(plan, &backend, sample, encrypt, decrypt, &mut ())
            };
            samples.par_iter().map(run).collect()
        }
        Noise::Seeded(seed) => {
            let backend = Sim::new(&plan.parameters, &plan.keys, seed);
            let run = |(index, sample): (usize, &Vec<Vec<f64>>)| {
                let encrypt = |slots, ty: &CtType, part| {
                    backend.encrypt(slots, ty.clone(), (index as u64) << 32 | part)
                };
                let decrypt = |ct: &crate::sim::SimCt| Ok((backend.decrypt(ct)?, ct.noise_log2()));
                one(plan, &backend, sample, encrypt, decrypt, &mut ())
            };
            samples.par_iter().enumerate().map(run).collect()
        }
    }
}

/// Packs, encrypts, runs, decrypts and unpacks one sample.
///
/// `encrypt` is given slots, their type and the position among all input ciphertexts; `decrypt`
/// gives slots and the logarithm of their noise.
fn one<B: Backend>(
    plan: &Plan,
    backend: &B,
    sample: &[Vec<f64>],
    encrypt: impl Fn(Vec<f64>, &CtType, u64) -> Result<B::Ct, B::Error>,
    decrypt: impl Fn(&B::Ct) -> Result<(Vec<f64>, f64), B::Error>,
    observer: &mut impl Observer<B>,
) -> Result<Simulated, RunError> {
    let refused = |e| RunError::outside(RunErrorKind::Backend(Box::new(e)));
    let mut position = 0..;
    let mut inputs = Vec::with_capacity(plan.inputs.len());
    for (slots, (_, ty)) in pack(plan, sample)?.into_iter().zip(&plan.inputs) {
        let parts = slots.into_iter().zip(&mut position).map(|(x, at)| encrypt(x, ty, at));
        let parts: Result<Vec<B::Ct>, B::Error> = parts.collect();
        inputs.push(parts.map_err(refused)?);
    }
    let outputs = Executor::new(plan).run(backend, inputs, observer)?;
    let mut simulated = Simulated { outputs: Vec::new(), noise_log2: Vec::new() };
    for ((port, _, _), parts) in plan.outputs.iter().zip(&outputs) {
        let parts: Result<Vec<_>, B::Error> = parts.iter().map(&decrypt).collect();
        let (slots, noise): (Vec<Vec<f64>>, Vec<f64>) = parts.map_err(refused)?.into_iter().unzip();
        let worst = noise.into_iter().fold(f64::NEG_INFINITY, f64::max);
        simulated.outputs.push(port.unpack(&slots));
        simulated.noise_log2.push(worst + port.factor.abs().log2());
    }
    Ok(simulated)
}

/// The slots of every ciphertext of every input.
fn pack(plan: &Plan, sample: &[Vec<f64>]) -> Result<Vec<Vec<Vec<f64>>>, RunError> {
    let refuse = |text| RunError::outside(RunErrorKind::Inputs(text));
    let (found, wanted) = (sample.len(), plan.inputs.len());
    if found != wanted {
        return Err(refuse(format!("{found} tensors for {wanted} inputs")));
    }
    let pack = |(tensor, (port, _)): (&Vec<f64>, &(Port, CtType))| {
        if tensor.len() != port.elements() {
            let (name, found, wanted) = (&port.name, tensor.len(), port.elements());
            let text = format!("input {name:?} has {found} elements, the plan takes {wanted}");
            return Err(refuse(text));
        }
        Ok(port.pack(tensor))
    };
    sample.iter().zip(&plan.inputs).map(pack).collect()
}
