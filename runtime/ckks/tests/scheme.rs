//! Encryption and every operation but linear maps, against the same operation on numbers.
#![allow(clippy::unwrap_used, reason = "a suite stops at the first thing that fails")]

mod common;

use common::{
    Setup, key_switch_deviation, paired, parameters, random, rotated, rounding_deviation,
    slot_noise, small, tripled, zip,
};
use heplan_ckks::error::EvalError;
use heplan_ir::plan::{KeyKind, KeySpec};
use heplan_ir::scale::Scale;

#[test]
fn decryption_gives_back_what_was_encrypted_at_every_level() {
    for parameters in [small(), paired(), tripled()] {
        let setup = Setup::with_keys(&parameters, []);
        let x = random(setup.width(), 1);
        for level in 0..=setup.top() {
            let ct = setup.encrypt(&x, &Scale::pow2(30), level, level as u64);
            // Slot errors have deviation 3.19·√(N/2): the largest of N/2 stays below 5.5 deviations.
            let noise = (5.5 * 3.2 * (setup.width() as f64).sqrt()).log2();
            setup.assert_bits(&ct, &x, 30.0 - noise);
        }
    }
}

#[test]
fn noise_of_encryption_is_that_of_the_error_distribution() {
    let setup = Setup::with_keys(&paired(), []);
    let scale = Scale::pow2(36);
    let x = random(setup.width(), 2);
    let found = setup.secret.decrypt(&setup.encrypt(&x, &scale, 1, 0));
    let squares: f64 = zip(&found, &x, |a, b| ((a - b) * scale.to_f64()).powi(2)).iter().sum();
    // Error of variance 3.19² and rounding of variance 1/12 in each of N coefficients, halved for the real part.
    let variance = (3.19 * 3.19 + 1.0 / 12.0) * setup.width() as f64;
    let ratio = squares / setup.width() as f64 / variance;
    assert!((0.93..1.07).contains(&ratio), "{ratio}");
}

#[test]
fn sums_and_plain_operands() {
    let setup = Setup::with_keys(&paired(), []);
    let (e, scale) = (&setup.evaluator, Scale::pow2(28));
    let (x, y) = (random(setup.width(), 3), random(setup.width(), 4));
    let a = setup.encrypt(&x, &scale, 2, 0);
    let b = setup.encrypt(&y, &scale, 2, 1);
    setup.assert_bits(&e.add(&a, &b).unwrap(), &zip(&x, &y, |p, q| p + q), 14.5);
    setup.assert_bits(&e.sub(&a, &b).unwrap(), &zip(&x, &y, |p, q| p - q), 14.5);
    setup.assert_bits(&e.add_vector(&a, &y).unwrap(), &zip(&x, &y, |p, q| p + q), 14.5);
    let shifted: Vec<f64> = x.iter().map(|v| v - 0.75).collect();
    setup.assert_bits(&e.add_scalar(&a, -0.75).unwrap(), &shifted, 14.5);

    let q = setup.context.parameters().q()[2];
    let product = e.mul_vector(&a, &y, &Scale::prime(q)).unwrap();
    let product = e.rescale(&product).unwrap();
    assert_eq!((product.level(), product.scale()), (1, &scale));
    setup.assert_bits(&product, &zip(&x, &y, |p, q| p * q), 14.5);
    let product = e.rescale(&e.mul_scalar(&a, -1.5, &Scale::prime(q)).unwrap()).unwrap();
    setup.assert_bits(&product, &x.iter().map(|v| v * -1.5).collect::<Vec<f64>>(), 14.5);
    // Scales beyond 64 bits, as products at high levels have.
    let wide = setup.encrypt(&x, &Scale::pow2(60), 4, 2);
    setup.assert_bits(&e.add_vector(&wide, &y).unwrap(), &zip(&x, &y, |p, q| p + q), 43.0);
}

/// On this rests that simulation bounds complete sums only.
#[test]
fn partial_sums_may_wrap_around() {
    let setup = Setup::with_keys(&small(), []);
    let (e, scale) = (&setup.evaluator, Scale::pow2(30));
    // Five times 30 is above half the modulus of 37 bits at scale 2^30, 30 is below.
    let x = vec![30.0; setup.width()];
    let one = setup.encrypt(&x, &scale, 0, 0);
    let mut sum = one.clone();
    for _ in 1..5 {
        sum = e.add(&sum, &one).unwrap();
    }
    assert!(setup.bits(&sum, &vec![150.0; setup.width()]) < 0.0);
    for _ in 1..5 {
        sum = e.sub(&sum, &one).unwrap();
    }
    setup.assert_bits(&sum, &x, 15.0);
}

#[test]
fn products_are_relinearised_at_every_level() {
    for (parameters, log_scale) in [(small(), 30), (paired(), 28), (tripled(), 34)] {
        let setup = Setup::new(&parameters, []);
        let e = &setup.evaluator;
        let (x, y) = (random(setup.width(), 5), random(setup.width(), 6));
        let scale = Scale::pow2(log_scale);
        for level in 1..=setup.top() {
            let a = setup.encrypt(&x, &scale, level, 0);
            let b = setup.encrypt(&y, &scale, level, 1);
            let product = e.mul(&a, &b).unwrap();
            assert_eq!(product.degree(), 2);
            let linear = e.relinearise(&product).unwrap();
            assert_eq!((linear.degree(), linear.scale()), (1, product.scale()));
            let expected = zip(&x, &y, |p, q| p * q);
            // Each operand's error meets a factor of at most 1.
            let log_n = parameters.log_n();
            let fresh = slot_noise(log_n, 3.2) + 1.0;
            let noise = 2f64.powf(fresh + f64::from(log_scale));
            setup.assert_bits(&product, &expected, f64::from(2 * log_scale) - noise.log2());
            let switched = slot_noise(log_n, key_switch_deviation(&parameters, level));
            let noise = noise + 2f64.powf(switched);
            setup.assert_bits(&linear, &expected, f64::from(2 * log_scale) - noise.log2());
            let rounded = 2f64.powf(slot_noise(log_n, rounding_deviation(&parameters)));
            let noise = noise / parameters.q()[level] as f64 + rounded;
            let rescaled = e.rescale(&linear).unwrap();
            setup.assert_bits(&rescaled, &expected, rescaled.scale().log2() - noise.log2());
            // Whatever is done in one go gives the same bits.
            assert!(e.mul_relinearised(&a, &b).unwrap() == linear);
            assert!(
                e.mul_relinearised(&a, &a).unwrap() == {
                    e.relinearise(&e.mul(&a, &a).unwrap()).unwrap()
                }
            );
            let at_once = e.relinearise_and_rescale(&product).unwrap();
            assert!(e.mul_rescaled(&a, &b).unwrap() == at_once);
            setup.assert_bits(&at_once, &expected, at_once.scale().log2() - noise.log2());
        }
    }
}

#[test]
fn rotations_go_left_at_every_level() {
    for (parameters, log_scale) in [(small(), 30), (paired(), 28), (tripled(), 34)] {
        let width = parameters.width() as u32;
        let steps = [1, 2, 3, width / 2, width - 1, 777];
        let setup = Setup::new(&parameters, steps);
        let x = random(setup.width(), 7);
        for level in 0..=setup.top() {
            let ct = setup.encrypt(&x, &Scale::pow2(log_scale), level, 0);
            let many = setup.evaluator.rotate_many(&ct, &steps).unwrap();
            let deviation = key_switch_deviation(&parameters, level).hypot(3.2);
            let precision = f64::from(log_scale) - slot_noise(parameters.log_n(), deviation);
            for (by, hoisted) in steps.into_iter().zip(many) {
                setup.assert_bits(&hoisted, &rotated(&x, by as usize), precision);
                if by < 3 {
                    assert!(setup.evaluator.rotate(&ct, by).unwrap() == hoisted);
                }
            }
        }
    }
}

#[test]
fn a_sum_may_be_taken_where_its_rotation_is_made() {
    for parameters in [small(), paired(), tripled()] {
        let setup = Setup::new(&parameters, [5]);
        let (e, scale) = (&setup.evaluator, Scale::pow2(28));
        for level in 0..=setup.top() {
            let x = setup.encrypt(&random(setup.width(), 8), &scale, level, 0);
            let y = setup.encrypt(&random(setup.width(), 9), &scale, level, 1);
            for y in [&x, &y] {
                let apart = e.add(y, &e.rotate(&x, 5).unwrap()).unwrap();
                assert!(e.rotate_and_add(&x, 5, y).unwrap() == apart, "level {level}");
            }
        }
        let (x, y) = (setup.encrypt(&[0.5], &scale, 1, 0), setup.encrypt(&[0.5], &scale, 0, 1));
        assert!(e.rotate_and_add(&x, 5, &y).is_err(), "operands of two levels");
        assert!(e.rotate_and_add(&x, 0, &x).is_err(), "no rotation");
    }
}

#[test]
fn key_switches_give_the_same_bits_whatever_the_threads() {
    let setup = Setup::new(&tripled(), 1..=3);
    let (e, scale) = (&setup.evaluator, Scale::pow2(28));
    let results = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let x = setup.encrypt(&random(setup.width(), 10), &scale, setup.top(), 0);
            let mut all = e.rotate_many(&x, &[1, 2, 3]).unwrap();
            all.push(e.mul_relinearised(&x, &all[0]).unwrap());
            all.push(e.mul_rescaled(&x, &all[1]).unwrap());
            all.push(x);
            all
        })
    };
    let one = results(1);
    for threads in [2, 3, 16] {
        assert!(results(threads) == one, "{threads} threads");
    }
}

#[test]
fn a_key_of_a_lower_level_is_part_of_that_of_a_higher() {
    let parameters = tripled();
    let low = Setup::with_keys(&parameters, [KeySpec { kind: KeyKind::Rotate(5), level: 3 }]);
    let high = Setup::new(&parameters, [5]);
    let x = random(low.width(), 8);
    for level in 0..=3 {
        let ct = low.encrypt(&x, &Scale::pow2(34), level, 0);
        let lifted = high.encrypt(&x, &Scale::pow2(34), level, 0);
        let a = low.secret.decrypt(&low.evaluator.rotate(&ct, 5).unwrap());
        let b = high.secret.decrypt(&high.evaluator.rotate(&lifted, 5).unwrap());
        assert_eq!(a, b);
    }
    let ct = low.encrypt(&x, &Scale::pow2(34), 4, 0);
    let error = low.evaluator.rotate(&ct, 5).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "the key of rotation 5 reaches level 3, and level 4 is needed");
}

#[test]
fn what_does_not_fit_is_refused() {
    let setup = Setup::with_keys(&small(), []);
    let e = &setup.evaluator;
    let x = random(setup.width(), 9);
    let a = setup.encrypt(&x, &Scale::pow2(30), 1, 0);
    let lower = e.drop_level(&a, 0).unwrap();
    let scaled = setup.encrypt(&x, &Scale::pow2(29), 1, 0);
    let square = e.mul(&a, &a).unwrap();
    assert!(matches!(e.add(&a, &lower), Err(EvalError::Level { .. })));
    assert!(matches!(e.sub(&a, &scaled), Err(EvalError::Scale { .. })));
    assert!(matches!(e.add(&square, &a), Err(EvalError::Degree { .. })));
    assert!(matches!(e.mul(&square, &a), Err(EvalError::Degree { .. })));
    assert!(matches!(e.mul(&lower, &a), Err(EvalError::Level { .. })));
    assert!(matches!(e.relinearise(&a), Err(EvalError::Degree { .. })));
    assert!(matches!(e.relinearise(&square), Err(EvalError::MissingKey(_))));
    assert!(matches!(e.rescale(&lower), Err(EvalError::NoSuchLevel { .. })));
    assert!(matches!(e.drop_level(&a, 1), Err(EvalError::NoSuchLevel { .. })));
    assert!(matches!(e.rotate(&a, 0), Err(EvalError::Step { .. })));
    assert!(matches!(e.rotate(&a, 2049), Err(EvalError::Step { .. })));
    assert!(matches!(e.rotate(&a, 1), Err(EvalError::MissingKey(_))));
    assert!(matches!(e.add_vector(&a, &[1.0; 5]), Err(EvalError::Encode(_))));
    assert!(matches!(e.add_scalar(&a, f64::NAN), Err(EvalError::Encode(_))));
}

#[test]
fn flooded_decryption_has_the_noise_that_was_asked_for() {
    let setup = Setup::with_keys(&small(), []);
    let x = random(setup.width(), 10);
    let ct = setup.encrypt(&x, &Scale::pow2(30), 1, 0);
    let deviation = 2f64.powi(-10);
    let seed = heplan_lattice::Seed::new([3; 32]);
    let found = setup.secret.decrypt_flooded(&ct, deviation, &seed);
    let squares: f64 = zip(&found, &x, |a, b| (a - b).powi(2)).iter().sum();
    let ratio = squares / setup.width() as f64 / deviation.powi(2);
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
}

#[test]
fn the_bound_on_parameters_is_used_to_the_full() {
    // Every set above is refused with one more prime of 30 bits.
    let mut q = vec![37, 30];
    parameters(12, &q, &[37], 1);
    q.push(30);
    assert!(std::panic::catch_unwind(|| parameters(12, &q, &[37], 1)).is_err());
}
