//! What the suites share: secure parameter sets, keys from fixed seeds, and the measure of precision.
#![allow(dead_code, reason = "every suite uses its own part")]

use std::sync::Arc;

use heplan_ckks::ciphertext::{Ciphertext, FreshCiphertext};
use heplan_ckks::context::Context;
use heplan_ckks::evaluator::Evaluator;
use heplan_ckks::keys::secret::SecretKey;
use heplan_ckks::keys::store::EvaluationKeys;
use heplan_ir::parameters::{Parameters, ParametersLiteral};
use heplan_ir::plan::{KeyKind, KeySpec};
use heplan_ir::primes::near_power;
use heplan_ir::scale::Scale;
use heplan_lattice::Seed;

/// Parameters whose primes have the given bits.
pub(crate) fn parameters(log_n: u32, q: &[u32], p: &[u32], digit_size: usize) -> Parameters {
    let mut used: Vec<u64> = Vec::new();
    let mut pick = |bits: u32| {
        let prime = near_power(bits, log_n).find(|x| !used.contains(x)).unwrap();
        used.push(prime);
        prime
    };
    let q = q.iter().map(|&b| pick(b)).collect();
    let p = p.iter().map(|&b| pick(b)).collect();
    Parameters::new(ParametersLiteral { log_n, q, p, digit_size }).unwrap()
}

/// The smallest ring.
pub(crate) fn small() -> Parameters {
    parameters(12, &[37, 30], &[37], 1)
}

/// Digits of two primes, the last one alone; two special primes.
pub(crate) fn paired() -> Parameters {
    parameters(13, &[36, 28, 28, 28, 28], &[32, 30], 2)
}

/// Digits of three primes, the last of two.
pub(crate) fn tripled() -> Parameters {
    parameters(14, &[40, 34, 34, 34, 34, 34, 34, 34], &[38, 36, 36], 3)
}

pub(crate) struct Setup {
    pub(crate) context: Arc<Context>,
    pub(crate) secret: SecretKey,
    pub(crate) evaluator: Evaluator,
}

impl Setup {
    /// Keys of the given rotations, and the relinearisation key, all for the highest level.
    pub(crate) fn new(parameters: &Parameters, rotations: impl IntoIterator<Item = u32>) -> Self {
        let level = parameters.max_level();
        let kinds = rotations.into_iter().map(KeyKind::Rotate).chain([KeyKind::Relinearise]);
        Self::with_keys(parameters, kinds.map(|kind| KeySpec { kind, level }))
    }

    pub(crate) fn with_keys(
        parameters: &Parameters,
        keys: impl IntoIterator<Item = KeySpec>,
    ) -> Self {
        let context = Context::new(parameters).unwrap();
        let secret = SecretKey::from_seed(&context, &Seed::new([42; 32]));
        let keys = keys.into_iter().map(|spec| secret.evaluation_key(spec, &[7; 32]));
        let keys = Arc::new(EvaluationKeys::from_keys(&context, keys));
        Self { context, secret, evaluator: Evaluator::new(keys) }
    }

    pub(crate) fn width(&self) -> usize {
        self.context.parameters().width()
    }

    pub(crate) fn top(&self) -> usize {
        self.context.parameters().max_level()
    }

    pub(crate) fn encrypt(
        &self,
        values: &[f64],
        scale: &Scale,
        level: usize,
        seed: u64,
    ) -> Ciphertext {
        self.fresh(values, scale, level, seed).expand()
    }

    pub(crate) fn fresh(
        &self,
        values: &[f64],
        scale: &Scale,
        level: usize,
        seed: u64,
    ) -> FreshCiphertext {
        let plain = self.context.encoder().encode(values, scale).unwrap();
        let seed = Seed::new([1; 32]).derive("test", &[seed]);
        self.secret.encrypt(&plain, scale, level, &seed)
    }

    /// Bits of the largest error of a ciphertext against the slots that it should hold.
    pub(crate) fn bits(&self, ct: &Ciphertext, expected: &[f64]) -> f64 {
        bits(&self.secret.decrypt(ct), expected)
    }

    /// Asserts a precision in bits.
    #[track_caller]
    pub(crate) fn assert_bits(&self, ct: &Ciphertext, expected: &[f64], at_least: f64) {
        let found = self.bits(ct, expected);
        assert!(found >= at_least, "{found:.2} bits, expected {at_least}");
    }
}

pub(crate) fn bits(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    -worst.log2()
}

/// Numbers in `[-1, 1)`, the same for the same seed (Steele, Lea, Flood: SplitMix64).
pub(crate) fn random(n: usize, seed: u64) -> Vec<f64> {
    let mut rng = Random(seed);
    (0..n).map(|_| rng.unit()).collect()
}

pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.word() % n as u64) as usize
    }

    pub(crate) fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 * 2f64.powi(-52) - 1.0
    }
}

pub(crate) fn rotated(x: &[f64], by: usize) -> Vec<f64> {
    (0..x.len()).map(|t| x[(t + by) % x.len()]).collect()
}

pub(crate) fn zip(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    a.iter().zip(b).map(|(&x, &y)| f(x, y)).collect()
}

/// Largest slot error, in bits above one unit of the scale, that coefficient errors of a deviation give.
pub(crate) fn slot_noise(log_n: u32, deviation: f64) -> f64 {
    // The real part of a slot is a sum of N coefficients with factors of mean square 1/2. Errors that a secret or a
    // digit multiplies are products of two Gaussians in every slot, whose largest of N/2 is about 9 deviations.
    (9.0 * deviation * (2f64.powi(log_n as i32) / 2.0).sqrt()).log2()
}

/// Deviation of the coefficient error of a key switch: digits centred and uniform against Gaussian errors, divided by
/// the special primes, and the rounding of the division against the secret.
pub(crate) fn key_switch_deviation(parameters: &Parameters, level: usize) -> f64 {
    let n = parameters.n() as f64;
    let log2 = |primes: &[u64]| primes.iter().map(|&q| (q as f64).log2()).sum::<f64>();
    let special = log2(parameters.p());
    let digits = parameters.q()[..=level].chunks(parameters.digit_size());
    let squares: f64 = digits.map(|d| 4f64.powf(log2(d) - special)).sum();
    (squares * n / 12.0 * 3.19 * 3.19 + rounding_deviation(parameters).powi(2)).sqrt()
}

/// Deviation of the coefficient error of a division by primes: rounding of both parts, one against a ternary secret.
pub(crate) fn rounding_deviation(parameters: &Parameters) -> f64 {
    ((1.0 + parameters.n() as f64 * 2.0 / 3.0) / 12.0).sqrt()
}
