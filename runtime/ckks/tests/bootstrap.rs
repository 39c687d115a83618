//! Bootstrapping at secure parameters: slots, scale and level, keys, refusals, and the same bits whatever the threads and the
//! instruction set.
#![allow(clippy::unwrap_used, reason = "a suite stops at the first thing that fails")]

mod common;

use std::sync::{Arc, OnceLock};

use common::{Setup, parameters, random, small};
use heplan_ckks::context::Context;
use heplan_ckks::error::EvalError;
use heplan_ckks::evaluator::Evaluator;
use heplan_ckks::files::evaluation_keys::{
    EvaluationKeysFile, EvaluationKeysHeader, write_evaluation_keys,
};
use heplan_ckks::keys::secret::SecretKey;
use heplan_ckks::keys::store::{EvaluationKeys, KeySource};
use heplan_ckks::keys::switching::SeededKey;
use heplan_ir::bootstrap::Bootstrap;
use heplan_ir::parameters::Parameters;
use heplan_ir::plan::{KeyKind, KeySpec};
use heplan_ir::scale::Scale;
use heplan_lattice::{Basis, Isa, Seed};

/// Bits of the scale of operands.
const WATERLINE: u32 = 29;

/// The smallest ring that bootstraps, with a circuit of one level.
fn smallest() -> Parameters {
    let bootstrap = Bootstrap::usual(15, 1);
    let [first, forward, reduction, inverse] = Bootstrap::prime_bits(WATERLINE);
    let mut q = vec![first, 24];
    q.extend(vec![forward; bootstrap.slots_to_coefficients]);
    q.extend(vec![reduction; bootstrap.reduction_levels()]);
    q.extend(vec![inverse; bootstrap.coefficients_to_slots]);
    parameters(15, &q, &[50, 50], 2).with_bootstrap(bootstrap).unwrap()
}

fn keys(parameters: &Parameters) -> Vec<KeySpec> {
    parameters.bootstrap().unwrap().keys(parameters.log_n())
}

/// Made once: keys take longer than bootstrapping.
fn setup() -> &'static Setup {
    static SETUP: OnceLock<Setup> = OnceLock::new();
    SETUP.get_or_init(|| {
        let parameters = smallest();
        Setup::with_keys(&parameters, keys(&parameters))
    })
}

fn waterline() -> Scale {
    Scale::pow2(WATERLINE as i32)
}

/// Bits of the mean square error and of the largest.
fn precision(found: &[f64], expected: &[f64]) -> [f64; 2] {
    let squares: f64 = found.iter().zip(expected).map(|(a, b)| (a - b).powi(2)).sum();
    [-(squares / found.len() as f64).sqrt().log2(), common::bits(found, expected)]
}

/// At the level of the circuit and exactly the scale asked for, whichever that is.
#[test]
fn slots_come_back_at_the_output_level() {
    let setup = setup();
    let out_scale =
        Scale::pow2(60).rescaled(setup.context.parameters().q()[1]).div(&Scale::pow2(6));
    for (magnitude, scale) in [(1.0, Scale::pow2(31)), (4.0, out_scale)] {
        let x: Vec<f64> = random(setup.width(), 3).iter().map(|v| v * magnitude).collect();
        let ct = setup.encrypt(&x, &waterline(), 0, 1);
        let out = setup.evaluator.bootstrap(&ct, &scale).unwrap();
        assert_eq!((out.level(), out.degree(), out.extended()), (1, 1, false));
        assert_eq!(out.scale(), &scale);
        let [mean, least] = precision(&setup.secret.decrypt(&out), &x);
        assert!(mean > 16.2 && least > 14.0, "{mean:.2} bits, at least {least:.2}");
    }
}

/// A file of keys carries the bootstrapping that they are for.
#[test]
fn files_of_keys_carry_the_bootstrapping() {
    let setup = setup();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("client.key.pub");
    let (plan, parameters) = ([7; 32], setup.context.parameters().clone());
    let spec = |kind| KeySpec { kind, level: 0 };
    let keys = [KeyKind::Conjugate, KeyKind::ToSparse, KeyKind::FromSparse].map(spec).to_vec();
    let header = EvaluationKeysHeader { plan, key: setup.secret.id(), parameters, keys };
    write_evaluation_keys(&path, &header, |k| setup.secret.evaluation_key(k, &plan)).unwrap();
    let file = EvaluationKeysFile::open(&path).unwrap();
    assert_eq!(*file.header(), header);
    let source = file.into_source(&setup.context).unwrap();
    for key in &header.keys {
        assert!(source.load(key.kind).is_ok(), "{}", key.kind);
    }
    // Keys of a sparse secret that nothing needs, and one of a larger modulus.
    let unlike = |change: fn(&mut EvaluationKeysHeader)| {
        let mut bad = header.clone();
        change(&mut bad);
        bad.keys.retain(|k| k.kind == KeyKind::ToSparse);
        let made = |k| SeededKey { level: k, ..setup.secret.evaluation_key(header.keys[1], &plan) };
        write_evaluation_keys(&path, &bad, |k| made(k.level)).unwrap();
        EvaluationKeysFile::open(&path).err().unwrap().to_string()
    };
    let lone = unlike(|h| {
        h.parameters = Parameters::new(h.parameters.literal().clone()).unwrap();
    });
    assert!(lone.contains("without bootstrapping"), "{lone}");
    let above = unlike(|h| h.keys[1].level = 1);
    assert!(above.contains("above level 0"), "{above}");
}

/// With a schedule of one run, the last use of every key that was announced is its last: nothing is kept after it.
#[test]
fn keys_are_asked_for_in_the_order_that_is_announced() {
    let setup = setup();
    let bootstrap = setup.context.parameters().bootstrap().unwrap();
    let specs = keys(setup.context.parameters());
    let made = specs.iter().map(|&k| setup.secret.evaluation_key(k, &[7; 32]));
    let kept = Arc::new(EvaluationKeys::from_keys(&setup.context, made));
    kept.expect(&bootstrap.key_order(15), 1);
    let ct = setup.encrypt(&random(setup.width(), 6), &waterline(), 0, 5);
    let found = Evaluator::new(Arc::clone(&kept)).bootstrap(&ct, &waterline()).unwrap();
    assert_eq!(kept.bytes(), 0);
    assert!(found == setup.evaluator.bootstrap(&ct, &waterline()).unwrap());
}

/// Slots that are all equal are the largest coefficient that slots can have, which the sine bends most.
#[test]
fn the_sine_bends_the_mean_by_its_third_power() {
    let setup = setup();
    let x = vec![1.0; setup.width()];
    let ct = setup.encrypt(&x, &waterline(), 0, 2);
    let found = setup.secret.decrypt(&setup.evaluator.bootstrap(&ct, &Scale::pow2(31)).unwrap());
    let mean = found.iter().sum::<f64>() / found.len() as f64;
    let ratio = setup.context.parameters().q()[0] as f64 / waterline().to_f64();
    let bent = (std::f64::consts::TAU / ratio).powi(2) / 6.0;
    assert!(((1.0 - mean) - bent).abs() < 0.2 * bent, "{mean}");
    let expected = vec![1.0 - bent; setup.width()];
    assert!(precision(&found, &expected)[1] > 14.0);
}

/// The ephemeral secret lies under `q_0` and one special prime only.
#[test]
fn the_key_to_the_sparse_secret_has_two_limbs() {
    let (setup, plan) = (setup(), [7; 32]);
    let key = |kind, level| setup.secret.evaluation_key(KeySpec { kind, level }, &plan);
    let to_sparse = key(KeyKind::ToSparse, 0);
    assert_eq!(to_sparse.digits.len(), 1);
    assert_eq!(to_sparse.digits[0].basis(), Basis::qp(1, 1));
    let from_sparse = key(KeyKind::FromSparse, 1);
    assert_eq!(from_sparse.digits[0].basis(), Basis::qp(2, 2));
    let q = setup.context.parameters();
    let bits = (q.q()[0] as f64).log2() + (q.p()[0] as f64).log2();
    assert!(bits <= heplan_ir::bootstrap::max_log_sparse(15).unwrap());
    let above = std::panic::AssertUnwindSafe(|| key(KeyKind::ToSparse, 1));
    assert!(std::panic::catch_unwind(above).is_err());
}

#[test]
fn what_does_not_fit_is_refused() {
    let setup = setup();
    let e = &setup.evaluator;
    let (x, scale) = (random(setup.width(), 4), waterline());
    let low = setup.encrypt(&x, &scale, 0, 3);
    let high = setup.encrypt(&x, &scale, 1, 3);
    assert!(matches!(e.bootstrap(&high, &scale), Err(EvalError::NoSuchLevel { .. })));
    let square = e.mul(&low, &low).unwrap();
    assert!(matches!(e.bootstrap(&square, &scale), Err(EvalError::Degree { .. })));
    let prepared = e.prepared_bootstrap(&scale, &scale).unwrap();
    assert!(prepared.bytes() > 0);
    let other = setup.encrypt(&x, &Scale::pow2(28), 0, 3);
    assert!(matches!(e.bootstrap_prepared(&other, &prepared), Err(EvalError::Scale { .. })));
    assert!(matches!(e.bootstrap(&low, &Scale::pow2(400)), Err(EvalError::Encode(_))));
    // No key is there, or one does not reach its level.
    let mut fewer =
        vec![setup.secret.evaluation_key(keys(setup.context.parameters())[0], &[7; 32])];
    let evaluator =
        |keys| Evaluator::new(Arc::new(EvaluationKeys::from_keys(&setup.context, keys)));
    let missing = evaluator(fewer.clone()).bootstrap(&low, &scale);
    assert!(matches!(missing, Err(EvalError::MissingKey(_))));
    let spec = KeySpec { kind: KeyKind::Relinearise, level: 1 };
    fewer[0] = setup.secret.evaluation_key(spec, &[7; 32]);
    let short = evaluator(fewer).bootstrap(&low, &scale);
    assert!(matches!(short, Err(EvalError::KeyLevel { .. })));
    let without = Setup::with_keys(&small(), []);
    let ct = without.encrypt(&x[..without.width()], &scale, 0, 3);
    assert!(matches!(without.evaluator.bootstrap(&ct, &scale), Err(EvalError::NoBootstrap)));
}

#[test]
fn the_same_bits_whatever_the_threads_and_the_instructions() {
    let setup = setup();
    let (x, scale) = (random(setup.width(), 5), Scale::pow2(30));
    let ct = setup.encrypt(&x, &waterline(), 0, 4);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| setup.evaluator.bootstrap(&ct, &scale).unwrap())
    };
    let one = run(1);
    assert!(one == run(2));
    let context = Context::with_isa(setup.context.parameters(), Isa::SCALAR).unwrap();
    let secret = SecretKey::from_seed(&context, &Seed::new([42; 32]));
    let made = keys(context.parameters()).into_iter().map(|k| secret.evaluation_key(k, &[7; 32]));
    let evaluator = Evaluator::new(Arc::new(EvaluationKeys::from_keys(&context, made)));
    let plain = context.encoder().encode(&x, &waterline()).unwrap();
    let seed = Seed::new([1; 32]).derive("test", &[4]);
    let ct = secret.encrypt(&plain, &waterline(), 0, &seed).expand();
    let scalar = evaluator.bootstrap(&ct, &scale).unwrap();
    assert!(scalar.parts().iter().zip(one.parts()).all(|(a, b)| a.words() == b.words()));
}
