//! Between residues and the integers that they stand for.
//!
//! Out of RNS goes by mixed radix (Garner's algorithm; Knuth, TAOCP 2, 4.3.2):
//! `x = d_0 + d_1 q_0 + d_2 q_0 q_1 + ..`, digits in `[0, q_i)`.
//! A number and its complement have complementary digits, and those of `(Q-1)/2` are `(q_i - 1)/2`,
//! so signs are found and magnitudes taken digit by digit, exactly, whatever the size of Q.
//! Messages are secrets of the client: nothing here branches on a coefficient or indexes by one.

use std::sync::Arc;

use rayon::prelude::*;

use crate::basis::Basis;
use crate::modulus::Modulus;
use crate::poly::{Form, Poly};
use crate::ring::Ring;

/// Coefficients given as f64 must lie strictly between plus and minus this bound, `2^119`.
pub const F64_BOUND: f64 = (1u128 << 119) as f64;

/// Coefficients per task.
const CHUNK: usize = 1 << 10;

/// Constants of Garner's algorithm for one run of primes.
struct MixedRadix {
    moduli: Vec<Modulus>,
    /// For limb `i`: `q_j mod q_i` for `j < i`.
    earlier: Vec<Vec<u64>>,
    /// `(q_0 .. q_{i-1})^-1 mod q_i`.
    inverses: Vec<u64>,
}

impl MixedRadix {
    fn new(moduli: Vec<Modulus>) -> Self {
        let residues = |i: usize| -> Vec<u64> {
            moduli[..i].iter().map(|q| moduli[i].reduce_u64(q.value())).collect()
        };
        let earlier: Vec<Vec<u64>> = (0..moduli.len()).map(residues).collect();
        let inverses = moduli
            .iter()
            .zip(&earlier)
            .map(|(q, earlier)| q.inv(earlier.iter().fold(1, |product, &f| q.mul(product, f))))
            .collect();
        Self { moduli, earlier, inverses }
    }

    /// The mixed-radix digits of the magnitude of the centred representative, into `digits`, and the mask of its sign.
    fn magnitude(&self, residue: impl Fn(usize) -> u64, digits: &mut [u64]) -> u64 {
        for (i, q) in self.moduli.iter().enumerate() {
            // Horner's rule gives what the lower digits stand for modulo q_i.
            let lower = (0..i)
                .rev()
                .fold(0, |sum, j| q.add(q.mul(sum, self.earlier[i][j]), q.reduce_u64(digits[j])));
            digits[i] = q.mul(q.sub(residue(i), lower), self.inverses[i]);
        }
        // Compare with (Q-1)/2 from the lowest digit up: the highest digit that differs has the last word.
        let mut negative = 0u64;
        for (digit, q) in digits.iter().zip(&self.moduli) {
            let half = q.value() >> 1;
            let above = half.wrapping_sub(*digit) >> 63;
            let below = digit.wrapping_sub(half) >> 63;
            negative = above | (negative & (1 ^ below));
        }
        // Q - x = (Q - 1 - x) + 1: complement every digit under the mask, then add one with carry.
        let mask = negative.wrapping_neg();
        let mut carry = negative;
        for (digit, q) in digits.iter_mut().zip(&self.moduli) {
            let complement = q.value() - 1 - *digit;
            let chosen = (complement & mask) | (*digit & !mask);
            let sum = chosen + carry;
            carry = 1 ^ (sum.wrapping_sub(q.value()) >> 63);
            *digit = sum - (q.value() & carry.wrapping_neg());
        }
        mask
    }

    /// The digits as one f64 of relative error below `2^-52`.
    fn to_f64(&self, digits: &[u64]) -> f64 {
        // Horner's rule in pairs high + low (Dekker, 1971), so that only the last step rounds to 53 bits.
        let (mut high, mut low) = (0.0f64, 0.0f64);
        for (digit, q) in digits.iter().zip(&self.moduli).rev() {
            let (radix, digit) = (q.value() as f64, *digit as f64);
            let (product, error) = two_product(high, radix);
            let rest = error + low * radix;
            let sum = product + digit;
            let shifted = sum - product;
            let error = (product - (sum - shifted)) + (digit - shifted);
            let tail = rest + error;
            high = sum + tail;
            low = tail - (high - sum);
        }
        high
    }

    /// The digits as an integer, and whether it exceeds `2^126`.
    fn to_i128(&self, digits: &[u64]) -> (i128, bool) {
        let value = digits.iter().zip(&self.moduli).rev().fold(0u128, |sum, (digit, q)| {
            sum.wrapping_mul(u128::from(q.value())).wrapping_add(u128::from(*digit))
        });
        let too_large = self.to_f64(digits) > (1u128 << 126) as f64;
        (value as i128, too_large)
    }
}

impl Poly {
    /// The centred coefficients as f64, each of relative error below `2^-52`.
    ///
    /// Integers below `2^53` in magnitude come out exact, whatever the size of the modulus.
    /// Magnitudes near the largest f64, `2^1024`, come out infinite or not a number.
    ///
    /// # Panics
    /// If the polynomial is not in coefficient form.
    #[must_use]
    pub fn centred_f64(&self) -> Vec<f64> {
        self.map_centred(|radix, digits, mask| {
            let magnitude = radix.to_f64(digits);
            f64::from_bits(magnitude.to_bits() | (mask & (1 << 63)))
        })
    }

    /// The centred coefficients, exact; `None` if one exceeds `2^126` in magnitude.
    ///
    /// # Panics
    /// If the polynomial is not in coefficient form.
    #[must_use]
    pub fn centred_i128(&self) -> Option<Vec<i128>> {
        let pairs = self.map_centred(|radix, digits, mask| {
            let (magnitude, too_large) = radix.to_i128(digits);
            let mask = i128::from(mask as i64);
            ((magnitude ^ mask).wrapping_sub(mask), too_large)
        });
        let overflow = pairs.iter().fold(false, |any, &(_, too_large)| any | too_large);
        (!overflow).then(|| pairs.into_iter().map(|(value, _)| value).collect())
    }

    fn map_centred<T: Send + Default + Clone>(
        &self,
        f: impl Fn(&MixedRadix, &[u64], u64) -> T + Sync,
    ) -> Vec<T> {
        assert_eq!(self.form(), Form::Coefficient, "coefficients are read in coefficient form");
        let radix = MixedRadix::new(self.ring().moduli(self.basis()).collect());
        let limbs: Vec<&[u64]> = self.limbs().collect();
        let mut out = vec![T::default(); self.ring().degree()];
        out.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, out)| {
            let mut digits = vec![0; limbs.len()];
            for (i, o) in out.iter_mut().enumerate() {
                let mask = radix.magnitude(|limb| limbs[limb][chunk * CHUNK + i], &mut digits);
                *o = f(&radix, &digits, mask);
            }
        });
        out
    }

    /// The polynomial whose coefficients are the given numbers, each rounded to the nearest integer (ties to even),
    /// in coefficient form. Exact for every magnitude below [`F64_BOUND`].
    ///
    /// `None` if a number is not finite or not within the bound.
    ///
    /// # Panics
    /// If there are not N coefficients, or the ring lacks a prime of the basis.
    #[must_use]
    pub fn from_f64(ring: &Arc<Ring>, basis: Basis, coefficients: &[f64]) -> Option<Self> {
        assert_eq!(coefficients.len(), ring.degree(), "one number per coefficient");
        let in_range = coefficients.iter().fold(true, |all, c| all & (c.abs() < F64_BOUND));
        if !in_range {
            return None;
        }
        let mut poly = Self::scratch(ring, basis, Form::Coefficient);
        poly.for_each_limb_mut(|q, _, limb| {
            let two_40 = q.reduce_u64(1 << 40);
            let two_80 = q.mul(two_40, two_40);
            for (out, &c) in limb.iter_mut().zip(coefficients) {
                let [low, middle, high] = split_40(c).map(|part| q.reduce_i64(part));
                *out = q.add(low, q.add(q.mul(middle, two_40), q.mul(high, two_80)));
            }
        });
        Some(poly)
    }

    /// The polynomial whose coefficients are the given integers, in coefficient form.
    ///
    /// # Panics
    /// If there are not N coefficients, or the ring lacks a prime of the basis.
    #[must_use]
    pub fn from_i128(ring: &Arc<Ring>, basis: Basis, coefficients: &[i128]) -> Self {
        assert_eq!(coefficients.len(), ring.degree(), "one integer per coefficient");
        let mut poly = Self::scratch(ring, basis, Form::Coefficient);
        poly.for_each_limb_mut(|q, _, limb| {
            for (out, &c) in limb.iter_mut().zip(coefficients) {
                *out = q.reduce_i128(c);
            }
        });
        poly
    }
}

/// `a * b` rounded, and the exact error (Veltkamp and Dekker, 1971), without the fused operation that
/// processors of the lowest common denominator lack.
fn two_product(a: f64, b: f64) -> (f64, f64) {
    const SPLITTER: f64 = ((1u64 << 27) + 1) as f64;
    let split = |x: f64| {
        let scaled = SPLITTER * x;
        let high = scaled - (scaled - x);
        (high, x - high)
    };
    let product = a * b;
    let ((ah, al), (bh, bl)) = (split(a), split(b));
    (product, ((ah * bh - product) + ah * bl + al * bh) + al * bl)
}

/// `[a, b, c]` with `round(x) = a + b 2^40 + c 2^80`, each at most `2^40` in magnitude, for `|x| < 2^119`.
///
/// Every step is exact: truncating a scaled double and subtracting what was taken off leaves a double.
fn split_40(x: f64) -> [i64; 3] {
    const UP: f64 = (1u64 << 40) as f64;
    // Adding and subtracting this rounds a double below 2^51 to an integer, ties to even.
    const ROUND: f64 = (3u64 << 51) as f64;
    let high = (x / UP / UP) as i64;
    let rest = x - high as f64 * UP * UP;
    let middle = (rest / UP) as i64;
    let low = (rest - middle as f64 * UP + ROUND) - ROUND;
    [low as i64, middle, high]
}
