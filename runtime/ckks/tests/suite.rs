//! The suite that every backend passes, on ciphertexts, and the noise that simulation predicts for it.
#![allow(clippy::unwrap_used, reason = "a suite stops at the first thing that fails")]

mod common;

use common::{Setup, random};
use heplan_ckks::backend::CkksBackend;
use heplan_ckks::ciphertext::Ciphertext;
use heplan_ir::ckks::CtType;
use heplan_ir::slots::Compact;
use heplan_runtime::sim::Sim;
use heplan_runtime::suite;

/// Encrypts with a fresh seed each time.
fn encrypt(setup: &Setup) -> impl FnMut(&[f64], &CtType, Compact) -> Ciphertext {
    let mut nonce = 0;
    move |x, ty, compact| {
        nonce += 1;
        setup.fresh(x, &ty.scale, ty.level, nonce).compacted(compact).expand()
    }
}

#[test]
fn ciphertexts_pass_the_suite_with_the_noise_that_simulation_predicts() {
    for case in suite::cases() {
        let (parameters, keys) = (&case.plan.parameters, &case.plan.keys);
        let setup = Setup::with_keys(parameters, keys.iter().copied());
        let backend = CkksBackend::new(setup.evaluator.clone(), 1 << 30);
        let decrypt = |y: &Ciphertext| setup.secret.decrypt(y);
        let found = suite::check(&case, &backend, encrypt(&setup), decrypt).unwrap();

        let sim = Sim::new(parameters, keys, 1);
        let mut nonce = 0;
        let simulated = |x: &[f64], ty: &CtType, _| {
            nonce += 1;
            sim.encrypt(x.to_vec(), ty.clone(), nonce).unwrap()
        };
        let predicted = suite::check(&case, &sim, simulated, |y| y.values().to_vec()).unwrap();
        let off = (found.rms_error / predicted.rms_error).log2();
        println!("{:60} {:5.1} bits, {off:5.2} from simulation", case.name, found.min_bits);
        assert!(off.abs() < 1.0, "{}: {off} bits from simulation", case.name);
    }
}

/// Every case in one lane, other numbers in the others.
#[test]
fn every_lane_of_a_shared_ciphertext_passes_the_suite() {
    let batch = 4;
    for (i, case) in suite::shared_cases(batch).into_iter().enumerate() {
        let (parameters, keys, lane) = (&case.plan.parameters, &case.plan.keys, i % batch);
        let setup = Setup::with_keys(parameters, keys.iter().copied());
        let backend = CkksBackend::new(setup.evaluator.clone(), 1 << 30);
        backend.expect_runs(100);
        let mut encrypt = encrypt(&setup);
        let mut nonce = 0;
        let shared = |x: &[f64], ty: &CtType, compact| {
            nonce += 1;
            let mut slots = random(x.len() * batch, nonce);
            slots.iter_mut().skip(lane).step_by(batch).zip(x).for_each(|(s, x)| *s = *x);
            encrypt(&slots, ty, compact)
        };
        let decrypt = |y: &Ciphertext| -> Vec<f64> {
            setup.secret.decrypt(y).into_iter().skip(lane).step_by(batch).collect()
        };
        suite::check(&case, &backend, shared, decrypt).unwrap();
    }
}

#[test]
fn ciphertexts_refuse_what_the_contract_forbids() {
    let plan = suite::refusals_plan();
    let setup = Setup::with_keys(&plan.parameters, plan.keys.iter().copied());
    let backend = CkksBackend::new(setup.evaluator.clone(), 0);
    suite::check_refusals(&backend, encrypt(&setup)).unwrap();
    suite::check_missing_keys(&backend, encrypt(&setup)).unwrap();
}
