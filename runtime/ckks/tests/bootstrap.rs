//! Bootstrapping at secure parameters: slots, scale and level, keys, refusals, and the same bits whatever the threads and the
//! instruction set.
#![allow(clippy::unwrap_used, reason = "a suite stops at the first thing that fails")]

mod common;

use common::{Setup, parameters, random};
use heplan_ir::bootstrap::Bootstrap;
use heplan_ir::parameters::Parameters;
use heplan_ir::scale::Scale;

/// Bits of the scale of operands.
const WATERLINE: u32 = 29;

/// The smallest ring that bootstraps, with a circuit of one level.
fn smallest() -> Parameters {
    let bootstrap = Bootstrap::usual(15, 1);
    let [first, forward, reduction, inverse] = Bootstrap::prime_bits(WATERLINE);
    let mut q = vec![first, 28];
    q.extend(vec![forward; bootstrap.slots_to_coefficients]);
    q.extend(vec![reduction; bootstrap.reduction_levels()]);
    q.extend(vec![inverse; bootstrap.coefficients_to_slots]);
    parameters(15, &q, &[50, 50], 2).with_bootstrap(bootstrap).unwrap()
}

fn errors(found: &[f64], expected: &[f64]) -> (f64, f64) {
    let squares: f64 = found.iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum();
    let largest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    ((squares / found.len() as f64).sqrt().log2(), largest.log2())
}

#[test]
fn slots_come_back_at_the_output_level() {
    let parameters = smallest();
    let bootstrap = parameters.bootstrap().unwrap().clone();
    let setup = Setup::with_keys(&parameters, bootstrap.keys(parameters.log_n()));
    let scale = Scale::pow2(WATERLINE as i32);
    for magnitude in [1.0, 4.0] {
        let x: Vec<f64> = random(setup.width(), 3).iter().map(|v| v * magnitude).collect();
        let ct = setup.encrypt(&x, &scale, 0, 1);
        let start = std::time::Instant::now();
        let out = setup.evaluator.bootstrap(&ct, &Scale::pow2(30)).unwrap();
        println!("{:?}", start.elapsed());
        assert_eq!((out.level(), out.degree(), out.extended()), (1, 1, false));
        assert_eq!(out.scale(), &Scale::pow2(30));
        println!("{:?} {:?}", errors(&setup.secret.decrypt(&out), &x), &setup.secret.decrypt(&out)[..4]);
        println!("{:?}", &x[..4]);
    }
}
