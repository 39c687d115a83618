//! The generic suite on the two backends of this crate.

use heplan_runtime::clear::Clear;
use heplan_runtime::sim::Sim;
use heplan_runtime::suite;

#[test]
fn cases_are_verified_plans() {
    for case in suite::cases().into_iter().chain(suite::shared_cases(8)) {
        assert_eq!(case.plan.verify(), [], "{}", case.name);
    }
}

#[test]
fn clear_passes_the_suite() {
    for case in suite::cases().into_iter().chain(suite::shared_cases(8)) {
        let backend = Clear::new(&case.plan.parameters);
        let encrypt = |x: &[f64], ty: &_, _| backend.encrypt(x.to_vec(), Clone::clone(ty)).unwrap();
        let stats = suite::check(&case, &backend, encrypt, |y| y.values.clone()).unwrap();
        assert!(stats.min_bits > 48.0, "{}: {stats:?}", case.name);
    }
}

#[test]
fn sim_passes_the_suite() {
    for case in suite::cases().into_iter().chain(suite::shared_cases(8)) {
        let backend = Sim::new(&case.plan.parameters, &case.plan.keys, 1);
        let mut nonce = 0;
        let encrypt = |x: &[f64], ty: &_, _| {
            nonce += 1;
            backend.encrypt(x.to_vec(), Clone::clone(ty), nonce).unwrap()
        };
        let mut predicted: Vec<f64> = Vec::new();
        let decrypt = |y: &heplan_runtime::sim::SimCt| {
            predicted.push(y.noise_log2());
            y.values().to_vec()
        };
        let stats = suite::check(&case, &backend, encrypt, decrypt).unwrap();
        println!("{:60} {:5.1} of {:5.1} bits", case.name, stats.min_bits, case.bits);
        // The variances alone must explain the errors that the samples make.
        let outputs = &predicted[..case.expected.len()];
        let variance = outputs.iter().map(|p| (2.0 * p).exp2()).sum::<f64>();
        let rms = (variance / outputs.len() as f64).sqrt();
        let off = (stats.rms_error / rms).log2();
        assert!(off.abs() < 0.5, "{}: {off} bits off", case.name);
    }
}

#[test]
fn clear_refuses_what_the_contract_forbids() {
    let backend = Clear::new(&suite::refusals_plan().parameters);
    let encrypt = |x: &[f64], ty: &_, _| backend.encrypt(x.to_vec(), Clone::clone(ty)).unwrap();
    suite::check_refusals(&backend, encrypt).unwrap();
}

#[test]
fn sim_refuses_what_the_contract_forbids() {
    let plan = suite::refusals_plan();
    let backend = Sim::new(&plan.parameters, &plan.keys, 1);
    let encrypt = |x: &[f64], ty: &_, _| backend.encrypt(x.to_vec(), Clone::clone(ty), 0).unwrap();
    suite::check_refusals(&backend, encrypt).unwrap();
    suite::check_missing_keys(&backend, encrypt).unwrap();
}
