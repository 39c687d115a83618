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
use heplan_ir::transform::{Diagonal, LinearTransform};

struct Shape {
    period: usize,
    inputs: usize,
    outputs: usize,
    diagonals: usize,
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
    let prepared = PreparedTransform::new(&setup.context, &t, &encoded, keep).unwrap();
    let out = setup.evaluator.linear(&cts.iter().collect::<Vec<_>>(), &prepared).unwrap();
    for y in &out {
        assert_eq!((y.level(), y.degree(), y.scale()), (level - 1, 1, &waterline));
        assert_eq!(y.extended(), t.rotates());
    }
    (out, t.apply(&inputs.iter().map(Vec::as_slice).collect::<Vec<_>>()))
}

fn check(parameters: &Parameters, shape: &Shape, level: usize, bits: f64) {
    let width = parameters.width();
    let t = transform(width, shape, 11);
    let setup = Setup::new(parameters, t.steps());
    let (found, expected) = apply(&setup, &t, level, Keep::Encoded);
    assert_eq!(found.len(), expected.len());
    for (ct, slots) in found.iter().zip(&expected) {
        setup.assert_bits(&setup.evaluator.mod_down(ct).unwrap(), slots, bits);
    }
}

/// Sums of rotations, before the division and after it, are those of the divided results.
#[test]
fn extended_results_rotate_and_add_like_divided_ones() {
    for (parameters, level) in [(small(), 1), (paired(), 4), (paired(), 3), (tripled(), 5)] {
        let width = parameters.width();
        let shape = Shape { period: 256, inputs: 1, outputs: 3, diagonals: 12 };
        let t = transform(width, &shape, 15);
        let back = width as u32 - 5;
        let setup = Setup::new(&parameters, t.steps().into_iter().chain([16, back]));
        let (found, expected) = apply(&setup, &t, level, Keep::Nothing);
        let e = &setup.evaluator;
        let horner = e.add(&found[1], &e.rotate(&found[2], 16).unwrap()).unwrap();
        assert!(e.rotate_and_add(&found[2], 16, &found[1]).unwrap() == horner);
        let horner = e.sub(&found[0], &e.rotate(&horner, back).unwrap()).unwrap();
        assert!(horner.extended() && horner.level() == level - 1);
        let at = |y: &[f64], t: usize| y[t % width];
        let wanted: Vec<f64> = (0..width)
            .map(|t| {
                let turned = t + back as usize;
                at(&expected[0], t) - at(&expected[1], turned) - at(&expected[2], turned + 16)
            })
            .collect();
        // 18 bits below the scale, as the suite has it for several operations in a row.
        setup.assert_bits(&e.mod_down(&horner).unwrap(), &wanted, 28.0 - 18.0);
    }
}

#[test]
fn one_operand_of_the_longest_period() {
    let shape = Shape { period: 2048, inputs: 1, outputs: 1, diagonals: 24 };
    check(&small(), &shape, 1, 12.0);
}

#[test]
fn several_operands_and_results_of_a_short_period() {
    let shape = Shape { period: 256, inputs: 2, outputs: 3, diagonals: 40 };
    check(&paired(), &shape, 4, 12.0);
    check(&paired(), &shape, 1, 12.0);
}

#[test]
fn digits_of_three_primes() {
    let parameters = tripled();
    let shape = Shape { period: 512, inputs: 1, outputs: 2, diagonals: 10 };
    check(&parameters, &shape, 5, 12.0);
}

#[test]
fn results_without_any_diagonal_are_zero() {
    let shape = Shape { period: 64, inputs: 1, outputs: 1, diagonals: 3 };
    let mut t = transform(2048, &shape, 12);
    t.outputs = 2;
    let setup = Setup::new(&small(), t.steps());
    let (found, expected) = apply(&setup, &t, 1, Keep::Nothing);
    let found: Vec<_> = found.iter().map(|y| setup.evaluator.mod_down(y).unwrap()).collect();
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
    let (found, expected) = apply(&setup, &t, 1, Keep::Nothing);
    setup.assert_bits(&found[0], &expected[0], 14.0);
}

#[test]
fn the_same_bits_whatever_the_threads_and_the_cache() {
    let shape = Shape { period: 1024, inputs: 2, outputs: 2, diagonals: 20 };
    let t = transform(4096, &shape, 13);
    let setup = Setup::new(&paired(), t.steps());
    let run = |threads, keep| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| apply(&setup, &t, 3, keep).0)
    };
    let one = run(1, Keep::Nothing);
    for keep in [Keep::Nothing, Keep::Encoded, Keep::Evaluated(3)] {
        assert!(one == run(2, keep), "{keep:?}");
    }
    assert!(one == run(1, Keep::Evaluated(2)), "what another level needs is of no use");
}

#[test]
fn transforms_that_do_not_fit_are_refused() {
    let shape = Shape { period: 64, inputs: 1, outputs: 1, diagonals: 3 };
    let setup = Setup::with_keys(&small(), []);
    let scales = [Scale::pow2(30)];
    let good = transform(2048, &shape, 14);
    let refused = |t: LinearTransform, scales: &[Scale]| {
        PreparedTransform::new(&setup.context, &Arc::new(t), scales, Keep::Nothing).is_err()
    };
    assert!(!refused(good.clone(), &scales));
    assert!(refused(good.clone(), &[]));
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
        assert!(refused(bad, &scales));
    }
}
