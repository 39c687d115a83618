//! What every backend must refuse rather than compute.

use std::sync::Arc;

use heplan_ir::ckks::CtType;
use heplan_ir::entity::ConstId;
use heplan_ir::plan::{KeyKind, KeySpec, Plan};
use heplan_ir::scale::Scale;
use heplan_ir::slots::Compact;
use heplan_ir::transform::{Diagonal, LinearTransform};

use super::SuiteError;
use super::builder::{Builder, parameters};
use crate::backend::{Backend, PlainRef};

/// A plan whose parameters and keys the backend of [`check_refusals`] is made for: keys for
/// relinearisation and for rotation by 1, both up to level 1 only.
pub fn refusals_plan() -> Plan {
    let mut plan = Builder::new(&parameters(49, 35, 1, 49)).finish("refusals", &[], 0.0).plan;
    plan.keys =
        [KeyKind::Relinearise, KeyKind::Rotate(1)].map(|kind| KeySpec { kind, level: 1 }).to_vec();
    plan
}

/// Asks a backend for things that the contract forbids.
///
/// # Errors
/// Names the first that it does.
pub fn check_refusals<B: Backend>(
    backend: &B,
    mut encrypt: impl FnMut(&[f64], &CtType, Compact) -> B::Ct,
) -> Result<(), SuiteError> {
    let width = refusals_plan().parameters.width();
    let slots = vec![0.5; width];
    let mut fresh = |level, log_scale| {
        encrypt(&slots, &CtType::new(level, Scale::pow2(log_scale)), Compact::NONE)
    };
    let (low, ground) = (fresh(1, 35), fresh(0, 35));
    let (high, finer) = (fresh(2, 35), fresh(1, 36));
    let square = backend.mul(&low, &low).map_err(|e| SuiteError::Preparation(e.to_string()))?;
    let extended = linear(backend, &[&low], width, 1).map(|mut ys| ys.remove(0));
    let extended = extended.map_err(|e| SuiteError::Preparation(e.to_string()))?;
    let divided =
        backend.mod_down(&extended).map_err(|e| SuiteError::Preparation(e.to_string()))?;
    let half = PlainRef::Scalar(0.5);
    let wide = vec![0.5; width + 1];
    let wide = PlainRef::Vector(&wide);
    let scale = Scale::pow2(30);
    let refused = [
        ("a sum across levels", backend.add(&low, &high).is_err()),
        ("a sum across scales", backend.add(&low, &finer).is_err()),
        ("a difference across scales", backend.sub(&low, &finer).is_err()),
        ("a sum across degrees", backend.add(&low, &square).is_err()),
        ("a product across levels", backend.mul(&low, &high).is_err()),
        ("a product of degree 3", backend.mul(&square, &low).is_err()),
        ("relinearising degree 1", backend.relinearise(&low).is_err()),
        ("rescaling at level 0", backend.rescale(&ground).is_err()),
        ("dropping to the same level", backend.drop_level(&low, 1).is_err()),
        ("dropping to a higher level", backend.drop_level(&low, 2).is_err()),
        ("rotating by 0", backend.rotate(&low, 0).is_err()),
        ("rotating degree 2", backend.rotate(&square, 1).is_err()),
        ("rotating by 0 with a sum", backend.rotate_add(&low, 0, &low).is_err()),
        ("rotating degree 2 with a sum", backend.rotate_add(&square, 1, &square).is_err()),
        ("a rotation and a sum across levels", backend.rotate_add(&low, 1, &ground).is_err()),
        ("a rotation and a sum across scales", backend.rotate_add(&low, 1, &finer).is_err()),
        ("a rotation and a sum across degrees", backend.rotate_add(&low, 1, &square).is_err()),
        ("a rotation and an extended summand", backend.rotate_add(&low, 1, &extended).is_err()),
        ("an extended rotation and a sum", backend.rotate_add(&extended, 1, &divided).is_err()),
        ("a vector of another width", backend.add_plain(&low, wide).is_err()),
        ("a factor of another width", backend.mul_plain(&low, wide, &scale).is_err()),
        ("a linear map of unequal scales", linear(backend, &[&low, &finer], width, 1).is_err()),
        ("a linear map across levels", linear(backend, &[&low, &high], width, 1).is_err()),
        ("a division that is not to come", backend.mod_down(&low).is_err()),
        ("a second division", backend.mod_down(&divided).is_err()),
        ("a sum of an extended operand", backend.add(&extended, &divided).is_err()),
        ("a difference of an extended operand", backend.sub(&divided, &extended).is_err()),
        ("a product of an extended operand", backend.mul(&extended, &extended).is_err()),
        ("a plaintext added to an extended operand", backend.add_plain(&extended, half).is_err()),
        (
            "a plaintext times an extended operand",
            backend.mul_plain(&extended, half, &scale).is_err(),
        ),
        ("rescaling an extended operand", backend.rescale(&extended).is_err()),
        ("dropping an extended operand", backend.drop_level(&extended, 0).is_err()),
        ("a linear map of an extended operand", linear(backend, &[&extended], width, 1).is_err()),
        ("a linear map at level 0", linear(backend, &[&ground], width, 1).is_err()),
        ("a linear map of degree 2", linear(backend, &[&square], width, 1).is_err()),
    ];
    first_done(&refused)
}

/// Asks a backend with keys for what it has no key for; the clear backend, which needs none, is
/// exempt.
///
/// # Errors
/// Names the first thing that it does.
pub fn check_missing_keys<B: Backend>(
    backend: &B,
    mut encrypt: impl FnMut(&[f64], &CtType, Compact) -> B::Ct,
) -> Result<(), SuiteError> {
    let width = refusals_plan().parameters.width();
    let slots = vec![0.5; width];
    let mut fresh = |level| encrypt(&slots, &CtType::new(level, Scale::pow2(35)), Compact::NONE);
    let (low, high) = (fresh(1), fresh(2));
    let square = backend.mul(&high, &high).map_err(|e| SuiteError::Preparation(e.to_string()))?;
    backend.rotate(&low, 1).map_err(|e| SuiteError::Preparation(e.to_string()))?;
    first_done(&[
        ("a rotation without a key", backend.rotate(&low, 2).is_err()),
        ("a rotation above its key's level", backend.rotate(&high, 1).is_err()),
        ("a rotation with a sum without a key", backend.rotate_add(&low, 2, &low).is_err()),
        ("relinearising above the key's level", backend.relinearise(&square).is_err()),
        ("a linear map without a key", linear(backend, &[&low], width, 2).is_err()),
        ("a linear map above its keys' level", linear(backend, &[&high], width, 1).is_err()),
    ])
}

fn first_done(refused: &[(&'static str, bool)]) -> Result<(), SuiteError> {
    match refused.iter().find(|r| !r.1) {
        Some(done) => Err(SuiteError::NotRefused(done.0)),
        None => Ok(()),
    }
}

/// A sum of rotations by `offset`, all encoded at the same scale.
fn linear<B: Backend>(
    backend: &B,
    xs: &[&B::Ct],
    width: usize,
    offset: u32,
) -> Result<Vec<B::Ct>, B::Error> {
    let diagonal = |input| Diagonal { output: 0, input, offset, slots: vec![0], values: vec![1.0] };
    let count = u32::try_from(xs.len()).expect("few operands");
    let transform = LinearTransform {
        width,
        period: width,
        inputs: xs.len(),
        outputs: 1,
        diagonals: (0..count).map(diagonal).collect(),
    };
    let scales = vec![Scale::pow2(30); xs.len()];
    backend.linear(xs, &Arc::new(transform), ConstId::new(0), &scales)
}
