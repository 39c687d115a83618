//! Exact scales.
//!
//! A CKKS plaintext `m` is carried as the integer `round(Δ·m)`; `Δ` is its scale.
//! Products multiply scales and rescaling divides by a prime of the chain, so every scale that a
//! plan meets is a power of two times integer powers of chain primes.
//! That is what [`Scale`] stores, so equality is exact: two branches that reach the same scale by
//! different ways agree, and two that differ by one part in 2^60 do not pass for equal.

use std::fmt;

use crate::parameters::Parameters;

/// A scale `2^exponent · Π prime^power`, exact.
///
/// Printed as its base-2 logarithm with four decimals.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Scale {
    exponent: i32,
    /// Sorted by prime, no zero powers.
    powers: Vec<(u64, i32)>,
}

impl Scale {
    /// `2^exponent`.
    pub fn pow2(exponent: i32) -> Self {
        Self { exponent, powers: Vec::new() }
    }

    /// An odd prime of the chain, as a scale.
    pub fn prime(q: u64) -> Self {
        Self { exponent: 0, powers: vec![(q, 1)] }
    }

    /// The scale with these parts; powers of equal primes add up.
    pub fn from_parts(exponent: i32, powers: impl IntoIterator<Item = (u64, i32)>) -> Self {
        powers.into_iter().fold(Self::pow2(exponent), |s, p| s.with_power(p.0, p.1))
    }

    /// The exponent of two, and the powers of odd primes in increasing order.
    pub fn parts(&self) -> (i32, &[(u64, i32)]) {
        (self.exponent, &self.powers)
    }

    /// The scale of a product.
    #[must_use]
    pub fn mul(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.exponent += other.exponent;
        other.powers.iter().fold(out, |s, &(q, p)| s.with_power(q, p))
    }

    /// The scale that gives `self` when multiplied by `other`.
    #[must_use]
    pub fn div(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.exponent -= other.exponent;
        other.powers.iter().fold(out, |s, &(q, p)| s.with_power(q, -p))
    }

    /// The scale after rescaling by the prime `q`.
    #[must_use]
    pub fn rescaled(&self, q: u64) -> Self {
        self.clone().with_power(q, -1)
    }

    /// Base-2 logarithm.
    pub fn log2(&self) -> f64 {
        let primes: f64 = self.powers.iter().map(|&(q, p)| (q as f64).log2() * f64::from(p)).sum();
        f64::from(self.exponent) + primes
    }

    /// The nearest `f64`, to a relative error below 2^-48.
    ///
    /// Factors are multiplied in a fixed order, alternating between numerator and denominator so
    /// that no intermediate value leaves the range of `f64`.
    pub fn to_f64(&self) -> f64 {
        let mut up: Vec<u64> = Vec::new();
        let mut down: Vec<u64> = Vec::new();
        for &(q, p) in &self.powers {
            let side = if p > 0 { &mut up } else { &mut down };
            side.extend(std::iter::repeat_n(q, p.unsigned_abs() as usize));
        }
        let (mut value, mut exponent) = (1.0_f64, self.exponent);
        let normalise = |value: &mut f64, exponent: &mut i32| {
            while *value >= 2.0_f64.powi(64) {
                *value *= 2.0_f64.powi(-64);
                *exponent += 64;
            }
            while *value < 2.0_f64.powi(-64) {
                *value *= 2.0_f64.powi(64);
                *exponent -= 64;
            }
        };
        for i in 0..up.len().max(down.len()) {
            if let Some(&q) = up.get(i) {
                value *= q as f64;
            }
            if let Some(&q) = down.get(i) {
                value /= q as f64;
            }
            normalise(&mut value, &mut exponent);
        }
        let half = exponent / 2;
        value * 2.0_f64.powi(half) * 2.0_f64.powi(exponent - half)
    }

    fn with_power(mut self, q: u64, power: i32) -> Self {
        match self.powers.binary_search_by_key(&q, |p| p.0) {
            Ok(i) => {
                self.powers[i].1 += power;
                if self.powers[i].1 == 0 {
                    self.powers.remove(i);
                }
            }
            Err(i) if power != 0 => self.powers.insert(i, (q, power)),
            Err(_) => {}
        }
        self
    }
}

/// A scale that a file states: primes of the chain in increasing order, no zero powers, and powers
/// so small that products of a few scales cannot overflow. `None` for any other.
pub(crate) fn checked(
    exponent: i32,
    powers: &[(u64, i32)],
    parameters: &Parameters,
) -> Option<Scale> {
    const MAX_EXPONENT: u32 = 1 << 16;
    const MAX_POWER: u32 = 1 << 8;
    let known = |q: &u64| parameters.q().contains(q) || parameters.p().contains(q);
    let sound = exponent.unsigned_abs() <= MAX_EXPONENT
        && powers.windows(2).all(|w| w[0].0 < w[1].0)
        && powers.iter().all(|(q, p)| known(q) && (1..=MAX_POWER).contains(&p.unsigned_abs()));
    sound.then(|| Scale::from_parts(exponent, powers.iter().copied()))
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.powers.is_empty() {
            write!(f, "{}", self.exponent)
        } else {
            write!(f, "{:.4}", self.log2())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_rescaled_by_its_plaintext_prime_returns_exactly() {
        let q = 1_073_479_681;
        let delta = Scale::pow2(30);
        assert_eq!(delta.mul(&Scale::prime(q)).rescaled(q), delta);
    }

    #[test]
    fn scales_that_differ_by_a_drift_are_unequal() {
        let q = 1_073_479_681;
        let squared = Scale::pow2(60).rescaled(q);
        assert_ne!(squared, Scale::pow2(30));
        assert!((squared.log2() - 30.0).abs() < 1e-3);
        assert!((squared.to_f64() - 2f64.powi(60) / q as f64).abs() < 1e-3);
    }
}
