//! Linear maps against [`LinearTransform::apply`], and the same bits whatever the number of threads.
#![allow(clippy::unwrap_used, reason = "a suite stops at the first thing that fails")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::{Random, Setup, paired, random, small, tripled};
use heplan_ckks::ciphertext::Ciphertext;
use heplan_ckks::evaluator::linear::{Keep, PreparedTransform};
use heplan_ir::parameters::Parameters;
use heplan_ir::scale::Scale;
use heplan_ir::transform::{Diagonal, LinearTransform, Split};

struct Shape {
    period: usize,
    inputs: usize,
    outputs: usize,
    diagonals: usize,
    split: Split,
}

fn transform(width: usize, shape: &Shape, seed: u64) -> LinearTransform {
    let mut rng = Random(seed);
    let mut places = BTreeSet::new();
    while places.len() < shape.diagonals {
        // Offsets near zero on both sides, as convolutions have them, and a few anywhere.
        let near = (rng.below(64) + width - 32) % width;
        let offset = if rng.below(4) == 0 { rng.below(width) } else { near };
        places.insert((rng.below(shape.outputs), rng.below(shape.inputs), offset));
    }
    let diagonals = places.into_iter().map(|(output, input, offset)| {
        let slots: Vec<u32> = (0..shape.period as u32).filter(|_| rng.below(3) > 0).collect();
        let values = slots.iter().map(|_| rng.unit() as f32 * 0.25).collect();
        let (output, input, offset) = (output as u32, input as u32, offset as u32);
        Diagonal { output, input, offset, slots, values }
    });
    let diagonals = diagonals.collect();
    let Shape { period, inputs, outputs, .. } = *shape;
    LinearTransform { width, period, inputs, outputs, diagonals }
}

fn apply(
    setup: &Setup,
    t: &LinearTransform,
    split: Split,
    level: usize,
    keep: Keep,
) -> (Vec<Ciphertext>, Vec<Vec<f64>>) {
    let inputs: Vec<Vec<f64>> = (0..t.inputs).map(|i| random(t.width, 50 + i as u64)).collect();
    // Operands of unequal scales, whose diagonals make up for it.
    let waterline = Scale::pow2(28);
    let last = Scale::prime(setup.context.parameters().q()[level]);
    let scales: Vec<Scale> = (0..t.inputs as i32).map(|i| Scale::pow2(28 + i)).collect();
    let encoded: Vec<Scale> = scales.iter().map(|s| waterline.mul(&last).div(s)).collect();
    let cts: Vec<Ciphertext> = inputs
        .iter()
        .zip(&scales)
        .enumerate()
        .map(|(i, (x, s))| setup.encrypt(x, s, level, i as u64))
        .collect();
    let t = Arc::new(t.clone());
    let prepared = PreparedTransform::new(&setup.context, &t, split, &encoded, keep).unwrap();
    let out = setup.evaluator.linear(&cts.iter().collect::<Vec<_>>(), &prepared).unwrap();
    for y in &out {
        assert_eq!((y.level(), y.degree(), y.scale()), (level, 1, &waterline.mul(&last)));
    }
    let out = out.iter().map(|y| setup.evaluator.rescale(y).unwrap()).collect();
    (out, t.apply(&inputs.iter().map(Vec::as_slice).collect::<Vec<_>>()))
}

fn check(parameters: &Parameters, shape: &Shape, level: usize, bits: f64) {
    let width = parameters.width();
    let t = transform(width, shape, 11);
    let (babies, giants) = shape.split.steps(&t);
    let setup = Setup::new(parameters, babies.union(&giants).copied());
    let (found, expected) = apply(&setup, &t, shape.split, level, Keep::Encoded);
    assert_eq!(found.len(), expected.len());
    for (ct, slots) in found.iter().zip(&expected) {
        setup.assert_bits(ct, slots, bits);
    }
}

#[test]
fn one_operand_with_baby_and_giant_steps() {
    let split = Split { modulus: 8, shift: 3 };
    let shape = Shape { period: 2048, inputs: 1, outputs: 1, diagonals: 24, split };
    check(&small(), &shape, 1, 12.0);
}

#[test]
fn several_operands_and_results_of_a_short_period() {
    let split = Split { modulus: 16, shift: 7 };
    let shape = Shape { period: 256, inputs: 2, outputs: 3, diagonals: 40, split };
    check(&paired(), &shape, 4, 12.0);
    check(&paired(), &shape, 1, 12.0);
}

#[test]
fn baby_steps_only() {
    let parameters = tripled();
    let split = Split { modulus: parameters.width() as u32, shift: 4096 };
    let shape = Shape { period: 512, inputs: 1, outputs: 2, diagonals: 10, split };
    check(&parameters, &shape, 5, 12.0);
}

#[test]
fn results_without_any_diagonal_are_zero() {
    let split = Split { modulus: 4, shift: 0 };
    let shape = Shape { period: 64, inputs: 1, outputs: 1, diagonals: 3, split };
    let mut t = transform(2048, &shape, 12);
    t.outputs = 2;
    let (babies, giants) = split.steps(&t);
    let setup = Setup::new(&small(), babies.union(&giants).copied());
    let (found, expected) = apply(&setup, &t, split, 1, Keep::Nothing);
    setup.assert_bits(&found[0], &expected[0], 12.0);
    assert!(setup.secret.decrypt(&found[1]).iter().all(|&v| v == 0.0));
}

#[test]
fn slot_wise_factors_need_no_key() {
    let t = LinearTransform {
        width: 2048,
        period: 2,
        inputs: 1,
        outputs: 1,
        diagonals: vec![Diagonal {
            output: 0,
            input: 0,
            offset: 0,
            slots: vec![1],
            values: vec![0.5],
        }],
    };
    let setup = Setup::with_keys(&small(), []);
    let (found, expected) = apply(&setup, &t, Split { modulus: 2048, shift: 0 }, 1, Keep::Nothing);
    setup.assert_bits(&found[0], &expected[0], 14.0);
}

#[test]
fn the_same_bits_whatever_the_threads_and_the_cache() {
    let split = Split { modulus: 8, shift: 0 };
    let shape = Shape { period: 1024, inputs: 2, outputs: 2, diagonals: 20, split };
    let t = transform(4096, &shape, 13);
    let (babies, giants) = split.steps(&t);
    let setup = Setup::new(&paired(), babies.union(&giants).copied());
    let run = |threads, keep| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| apply(&setup, &t, split, 3, keep).0)
    };
    let one = run(1, Keep::Nothing);
    for keep in [Keep::Nothing, Keep::Encoded, Keep::Evaluated(3)] {
        assert!(one == run(2, keep), "{keep:?}");
    }
    assert!(one == run(1, Keep::Evaluated(2)), "what another level needs is of no use");
}

#[test]
fn transforms_that_do_not_fit_are_refused() {
    let split = Split { modulus: 8, shift: 0 };
    let shape = Shape { period: 64, inputs: 1, outputs: 1, diagonals: 3, split };
    let setup = Setup::with_keys(&small(), []);
    let scales = [Scale::pow2(30)];
    let good = transform(2048, &shape, 14);
    let refused = |t: LinearTransform, split, scales: &[Scale]| {
        PreparedTransform::new(&setup.context, &Arc::new(t), split, scales, Keep::Nothing).is_err()
    };
    assert!(!refused(good.clone(), split, &scales));
    assert!(refused(good.clone(), split, &[]));
    assert!(refused(good.clone(), Split { modulus: 0, shift: 0 }, &scales));
    let broken: [fn(&mut LinearTransform); 7] = [
        |t| t.width = 4096,
        |t| t.period = 48,
        |t| t.diagonals[0].input = 1,
        |t| t.diagonals[0].output = 1,
        |t| t.diagonals[0].offset = 2048,
        |t| t.diagonals[0].slots[0] = 64,
        |t| t.diagonals[0].values.clear(),
    ];
    for breach in broken {
        let mut bad = good.clone();
        breach(&mut bad);
        assert!(refused(bad, split, &scales));
    }
}
