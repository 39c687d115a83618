//! The noise model: how far the slots of a ciphertext stray from exact arithmetic, and why.
//!
//! The model is the average-case one of Costache, Curtis, Hales, Murphy, Ogilvie and Player, "On
//! the precision loss in approximate homomorphic encryption" (ePrint 2022/162): coefficients of
//! noise polynomials are independent and centred, so variances add and multiply.
//!
//! **From coefficients to slots.** A slot is `Re e(ζ)` for a primitive `2N`-th root of unity `ζ`.
//! With independent coefficients of variance `v` its variance is `v·Σ cos² = v·N/2`, and different
//! slots are (nearly) independent, since the embedding is a scaled isometry.
//! Dividing by the scale squared gives slot units; that is left to the caller.
//!
//! **What a source of noise weighs**, as variance of one coefficient, with `σ = 3.19`:
//!
//! | source | variance |
//! |---|---|
//! | error of a fresh symmetric ciphertext | `σ²` |
//! | rounding to integers (encoding, and each polynomial of a rescaled ciphertext) | `1/12` |
//! | rescaling `(c_0, c_1)`: `t_0 + t_1·s` | `1/12 + w·(2N/3)/12` |
//! | the same at degree 2: `… + t_2·s²` | `… + w²·(2N/3)²/12` |
//! | key switching, before the division: `Σ_i d_i·e_i / P` | `N·σ²·Σ_i D_i²/12 / P²` |
//! | the division by `P` (ModDown) | as rescaling |
//! | a bootstrap | [`NoiseModel::bootstrap`] |
//!
//! A uniform ternary secret has `2N/3` non-zero coefficients, and `|s(ζ)|²` is close to
//! exponentially distributed with that mean over the slots: `w` is that factor of one slot, 1 on
//! average (and `w²` is 2).
//! Digits `d_i` are centred, hence uniform in `±D_i/2` for the digit modulus `D_i`: hybrid key
//! switching (Han and Ki, ePrint 2019/688; Kim, Polyakov and Zucca, ePrint 2021/204) with the
//! exact base conversion of Halevi, Polyakov and Shoup (ePrint 2018/117).
//!
//! Noise that enters a product needs no formula: it is in the slots that are multiplied.

use heplan_ir::parameters::{ERROR_DEVIATION, Parameters};

/// Variance of an integer rounding.
const ROUNDING: f64 = 1.0 / 12.0;

/// How the noise of one rounding grows on the way through the modular reduction, beside a factor of two for every double
/// angle: measured, for degree 15 and five of them.
const REDUCTION_GROWTH: f64 = 3.0;

/// A variance in the slots of one polynomial, in units of integers (scale 1): the factor `w` of a
/// slot says how much of the secret it sees.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Variance {
    /// Part that does not meet the secret.
    pub plain: f64,
    /// Part that is multiplied by the secret, for `w = 1`.
    pub keyed: f64,
    /// Part that is multiplied by the secret's square, for `w = 1`.
    pub squared: f64,
}

impl Variance {
    /// In a slot whose secret factor is `w`.
    pub fn at(&self, w: f64) -> f64 {
        self.plain + w * (self.keyed + w * self.squared)
    }

    /// The mean over the slots.
    pub fn mean(&self) -> f64 {
        self.plain + self.keyed + 2.0 * self.squared
    }

    /// Of the sum of two independent noises.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            plain: self.plain + other.plain,
            keyed: self.keyed + other.keyed,
            squared: self.squared + other.squared,
        }
    }

    /// Of the noise multiplied by a number whose square is `factor`.
    #[must_use]
    pub fn times(&self, factor: f64) -> Self {
        Self {
            plain: self.plain * factor,
            keyed: self.keyed * factor,
            squared: self.squared * factor,
        }
    }
}

/// The variances of one parameter set.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseModel {
    /// Ring dimension.
    n: f64,
    /// Variance of a key switch before the division by `P`, in slots, per level.
    switch: Vec<f64>,
    /// Variance of a bootstrap in slots, in units of its operand.
    bootstrap: f64,
}

impl NoiseModel {
    /// The model of a parameter set.
    pub fn new(parameters: &Parameters) -> Self {
        let switch = (0..=parameters.max_level())
            .map(|level| {
                let digits = parameters.q()[..=level].chunks(parameters.digit_size());
                switching(parameters.n() as f64, digits, parameters.p())
            })
            .collect();
        let mut model = Self { n: parameters.n() as f64, switch, bootstrap: 0.0 };
        if let Some(bootstrap) = parameters.bootstrap() {
            let q = |level: usize| parameters.q()[level] as f64;
            let doubled = 2f64.powi(i32::try_from(bootstrap.double_angles).unwrap_or(i32::MAX));
            let undone = q(0) / std::f64::consts::TAU;
            let factor = REDUCTION_GROWTH * doubled * undone / q(bootstrap.reduction_level());
            model.bootstrap = factor * factor * model.rounding(1).mean() * model.n;
        }
        model
    }

    /// A fresh symmetric ciphertext, the rounding of its message included.
    pub fn fresh(&self) -> Variance {
        let error = ERROR_DEVIATION * ERROR_DEVIATION + ROUNDING;
        Variance { plain: self.n / 2.0 * error, ..Variance::default() }
    }

    /// Encoding of a vector: the rounding of one polynomial.
    pub fn encoding(&self) -> f64 {
        self.n / 2.0 * ROUNDING
    }

    /// Rounding of every polynomial of a ciphertext: rescaling, and the division by `P`.
    pub fn rounding(&self, degree: u8) -> Variance {
        let (one, secret) = (self.n / 2.0 * ROUNDING, 2.0 * self.n / 3.0);
        let squared = if degree > 1 { one * secret * secret } else { 0.0 };
        Variance { plain: one, keyed: one * secret, squared }
    }

    /// A key switch at `level` that stays in the basis with the special primes.
    pub fn switch_hoisted(&self, level: usize) -> Variance {
        let plain = self.switch.get(level).copied().unwrap_or(f64::INFINITY);
        Variance { plain, ..Variance::default() }
    }

    /// A bootstrap, in units of its operand; none without one.
    ///
    /// What counts is the rounding of the modular reduction, at the scale of its primes: double angles grow it
    /// (`REDUCTION_GROWTH`), the factor that undoes the sine by `q_0/2π`, and a slot sums it up over `N/2` coefficients
    /// with factors of mean square 2. The sine itself errs by less where coefficients are far below `q_0`.
    pub fn bootstrap(&self) -> Variance {
        Variance { plain: self.bootstrap, ..Variance::default() }
    }

    /// A key switch at `level` with its division by `P`.
    pub fn switch(&self, level: usize) -> Variance {
        self.switch_hoisted(level).plus(&self.rounding(1))
    }
}

/// Slot variance of `Σ d_i·e_i / P`.
///
/// `D_i / P` is taken prime by prime, since the products alone leave the range of `f64`.
fn switching<'a>(n: f64, digits: impl Iterator<Item = &'a [u64]>, p: &[u64]) -> f64 {
    let ratio = |digit: &[u64]| {
        let at = |primes: &[u64], i: usize| primes.get(i).map_or(1.0, |&q| q as f64);
        (0..digit.len().max(p.len())).map(|i| at(digit, i) / at(p, i)).product::<f64>()
    };
    let squares: f64 = digits.map(|d| ratio(d) * ratio(d)).sum();
    n / 2.0 * n * ERROR_DEVIATION * ERROR_DEVIATION * squares * ROUNDING
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    const N: usize = 128;

    fn model() -> NoiseModel {
        NoiseModel { n: N as f64, switch: Vec::new(), bootstrap: 0.0 }
    }

    /// Integer polynomials modulo `X^N + 1`, the long way.
    fn product(a: &[f64], b: &[f64]) -> Vec<f64> {
        let mut out = vec![0.0; N];
        for (i, x) in a.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                let sign = if i + j < N { 1.0 } else { -1.0 };
                out[(i + j) % N] += sign * x * y;
            }
        }
        out
    }

    /// Mean square of `Re e(ζ)` over all slots, by the definition of the embedding.
    fn mean_square(e: &[f64]) -> f64 {
        let slot = |j: usize| -> f64 {
            let angle = |k: usize| {
                let turns = (k * (2 * j + 1)) % (2 * N);
                std::f64::consts::PI * turns as f64 / N as f64
            };
            e.iter().enumerate().map(|(k, c)| c * angle(k).cos()).sum()
        };
        (0..N).map(|j| slot(j).powi(2)).sum::<f64>() / N as f64
    }

    fn uniform(rng: &mut ChaCha8Rng) -> f64 {
        rng.next_u32() as f64 / 4_294_967_296.0 - 0.5
    }

    fn polynomial(mut f: impl FnMut() -> f64) -> Vec<f64> {
        (0..N).map(|_| f()).collect()
    }

    /// Runs `sample` often and returns the mean square of the slots.
    fn measure(mut sample: impl FnMut(&mut ChaCha8Rng) -> Vec<f64>) -> f64 {
        let mut rng = ChaCha8Rng::from_seed([7; 32]);
        let runs = 200;
        (0..runs).map(|_| mean_square(&sample(&mut rng))).sum::<f64>() / f64::from(runs)
    }

    fn ternary(rng: &mut ChaCha8Rng) -> Vec<f64> {
        polynomial(|| (uniform(rng) * 3.0).round())
    }

    fn gaussian(rng: &mut ChaCha8Rng) -> Vec<f64> {
        let sum = |rng: &mut ChaCha8Rng| (0..12).map(|_| uniform(rng)).sum::<f64>();
        polynomial(|| ERROR_DEVIATION * sum(rng))
    }

    fn add(a: &[f64], b: &[f64]) -> Vec<f64> {
        a.iter().zip(b).map(|(a, b)| a + b).collect()
    }

    fn close(measured: f64, predicted: f64) {
        let bits = (measured / predicted).log2() / 2.0;
        assert!(bits.abs() < 0.1, "measured {measured}, predicted {predicted}: {bits} bits");
    }

    #[test]
    fn fresh_noise_is_that_of_polynomials() {
        let measured = measure(|rng| add(&gaussian(rng), &polynomial(|| uniform(rng))));
        close(measured, model().fresh().mean());
    }

    #[test]
    fn rounding_noise_is_that_of_polynomials_at_both_degrees() {
        let rounded = |rng: &mut ChaCha8Rng| polynomial(|| uniform(rng));
        let linear = |rng: &mut ChaCha8Rng, s: &[f64]| {
            let (t0, t1) = (rounded(rng), rounded(rng));
            add(&t0, &product(&t1, s))
        };
        let measured = measure(|rng| {
            let s = ternary(rng);
            linear(rng, &s)
        });
        close(measured, model().rounding(1).mean());
        let measured = measure(|rng| {
            let s = ternary(rng);
            let t2 = rounded(rng);
            add(&linear(rng, &s), &product(&t2, &product(&s, &s)))
        });
        close(measured, model().rounding(2).mean());
    }

    #[test]
    fn key_switching_noise_is_that_of_polynomials() {
        let (q, p) = ([1_000_003, 999_983, 65_537], [1_048_573, 2_097_143]);
        let modulus = |primes: &[u64]| primes.iter().map(|&q| q as f64).product::<f64>();
        let measured = measure(|rng| {
            q.chunks(2).fold(vec![0.0; N], |sum, digit| {
                let size = modulus(digit) / modulus(&p);
                let d = polynomial(|| size * uniform(rng));
                add(&sum, &product(&d, &gaussian(rng)))
            })
        });
        close(measured, switching(N as f64, q.chunks(2), &p));
    }
}
