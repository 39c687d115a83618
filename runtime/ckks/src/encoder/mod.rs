//! Real slot vectors to integer polynomials and back: the canonical embedding.
//!
//! Slot `j` of a polynomial `m` is `m(ζ^(5^j)) / Δ` with `ζ = exp(πi / N)`, so the automorphism `X → X^(5^k)` moves slot
//! `j + k` to slot `j`: a rotation to the left. Only real slots are used; the conjugate half follows.
//! A vector of period `P` lies in the subring of polynomials in `X^(N/2P)`, and is transformed at size `P`.
//! Encoding never decides a scale: it takes the exact one that the plan states.
//! Which loop runs depends on the largest magnitude of a vector, which range and scale tell anyway; nothing else does.

mod fft;

use std::sync::Arc;

use heplan_ir::scale::Scale;
use heplan_lattice::ntt::MIN_LOG_N;
use heplan_lattice::{Basis, Form, Modulus, Poly, Prime, Ring, integers};
use thiserror::Error;

use fft::SpecialFft;

/// Encoded coefficients lie below this magnitude.
const COEFFICIENT_BOUND: f64 = heplan_lattice::crt::F64_BOUND;

/// Coefficients below this magnitude are rounded by adding [`ROUNDING`], which leaves the integer in the low bits.
const SHORT_BOUND: f64 = (1u64 << 51) as f64;

/// Coefficients below this magnitude round to 32 bits.
const TINY_BOUND: f64 = (1u64 << 31) as f64 - 1.0;

/// `3·2^51`: the spacing of `f64` around it is one.
const ROUNDING: f64 = (3u64 << 51) as f64;

/// Why a vector cannot be encoded.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum EncodeError {
    /// The length is no power of two, or exceeds the number of slots.
    #[error("a vector of {len} entries does not divide the {width} slots of a ciphertext")]
    Length {
        /// Entries given.
        len: usize,
        /// Slots of a ciphertext.
        width: usize,
    },
    /// A value is not finite, or too large at this scale.
    #[error("a value at scale 2^{log_scale:.2} is not finite or exceeds 2^119")]
    Range {
        /// Base-2 logarithm of the scale.
        log_scale: f64,
    },
}

/// The transforms of one ring.
pub struct Encoder {
    width: usize,
    fft: SpecialFft,
}

/// An encoded vector: integer coefficients of a polynomial in `X^(N/2P)` for period `P`, not yet modulo any prime.
#[derive(Clone, PartialEq)]
pub struct Plaintext {
    coefficients: Coefficients,
    /// The largest magnitude.
    largest: f64,
}

/// `2P` integers.
#[derive(Clone, PartialEq)]
enum Coefficients {
    /// Magnitudes below `2^31`.
    Tiny(Vec<i32>),
    /// Magnitudes below [`SHORT_BOUND`].
    Short(Vec<i64>),
    /// Magnitudes below [`COEFFICIENT_BOUND`].
    Long(Vec<f64>),
}

impl Encoder {
    /// The encoder for `width = N/2` slots, a power of two.
    pub fn new(width: usize) -> Self {
        Self { width, fft: SpecialFft::new(width) }
    }

    /// Slots of a ciphertext.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Encodes a vector that repeats every `values.len()` slots, rounding coefficients to the nearest integer.
    ///
    /// # Errors
    /// If the length is no power of two up to the width, or a value is not finite or too large.
    pub fn encode(&self, values: &[f64], scale: &Scale) -> Result<Plaintext, EncodeError> {
        self.encode_at(values, scale.to_f64())
    }

    /// As [`Self::encode`], with the scale as the nearest `f64`.
    pub(crate) fn encode_at(&self, values: &[f64], scale: f64) -> Result<Plaintext, EncodeError> {
        let period = values.len();
        if !period.is_power_of_two() || period > self.width {
            return Err(EncodeError::Length { len: period, width: self.width });
        }
        let values = &values[..shortest_period(&[values])];
        let mut parts = vec![0.0; 2 * values.len()];
        parts[..values.len()].copy_from_slice(values);
        self.encode_parts(&mut parts, scale)
    }

    /// Encodes complex slots, real and imaginary parts, that repeat every `re.len()` slots.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub(crate) fn encode_complex(
        &self,
        re: &[f64],
        im: &[f64],
        scale: f64,
    ) -> Result<Plaintext, EncodeError> {
        let len = re.len();
        if !len.is_power_of_two() || len > self.width || im.len() != len {
            return Err(EncodeError::Length { len, width: self.width });
        }
        let period = shortest_period(&[re, im]);
        let mut parts = [&re[..period], &im[..period]].concat();
        self.encode_parts(&mut parts, scale)
    }

    /// Encodes one period of slots, all real parts and then all imaginary ones.
    fn encode_parts(&self, parts: &mut [f64], scale: f64) -> Result<Plaintext, EncodeError> {
        let (re, im) = parts.split_at_mut(parts.len() / 2);
        let transformed = self.fft.inverse(re, im, scale);
        let Some(largest) = transformed.largest().filter(|&largest| largest < COEFFICIENT_BOUND)
        else {
            return Err(EncodeError::Range { log_scale: scale.log2() });
        };
        let coefficients = if largest < TINY_BOUND {
            Coefficients::Tiny(transformed.rounded(|c| round_short(c) as i32))
        } else if largest < SHORT_BOUND {
            Coefficients::Short(transformed.rounded(round_short))
        } else {
            Coefficients::Long(transformed.rounded(f64::round_ties_even))
        };
        Ok(Plaintext { coefficients, largest })
    }

    /// The slots of a polynomial with the given `N` centred coefficients.
    ///
    /// # Panics
    /// If there are not `2·width` coefficients.
    pub fn decode(&self, coefficients: &[f64], scale: &Scale) -> Vec<f64> {
        assert_eq!(coefficients.len(), 2 * self.width, "one number per coefficient");
        let factor = 1.0 / scale.to_f64();
        let (low, high) = coefficients.split_at(self.width);
        let [re, _] = self.fft.forward(low, high, factor);
        re
    }
}

impl Plaintext {
    /// The number of distinct slots.
    pub fn period(&self) -> usize {
        self.len() / 2
    }

    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> usize {
        match &self.coefficients {
            Coefficients::Tiny(c) => size_of_val(c.as_slice()),
            Coefficients::Short(c) => size_of_val(c.as_slice()),
            Coefficients::Long(c) => size_of_val(c.as_slice()),
        }
    }

    fn len(&self) -> usize {
        match &self.coefficients {
            Coefficients::Tiny(c) => c.len(),
            Coefficients::Short(c) => c.len(),
            Coefficients::Long(c) => c.len(),
        }
    }

    /// The polynomial modulo the primes of a basis, in evaluation form.
    ///
    /// # Panics
    /// If the ring has fewer coefficients than the plaintext, or lacks a prime.
    pub fn to_evaluations(&self, ring: &Arc<Ring>, basis: Basis) -> Poly {
        let mut poly = Poly::scratch(ring, basis, Form::Evaluation);
        poly.for_each_limb_mut(|_, prime, limb| self.evaluate(ring, prime, limb));
        poly
    }

    /// The polynomial modulo one prime, in evaluation form, as an element of the subring that has as many coefficients as
    /// `limb` (a power of two): in the whole ring every value stands `N / limb.len()` times in a row.
    ///
    /// # Panics
    /// If the subring does not hold the polynomial, or is none of the ring.
    pub fn evaluate(&self, ring: &Ring, prime: Prime, limb: &mut [u64]) {
        assert!(limb.len() <= ring.degree(), "a subring is no larger than its ring");
        let size = self.len().max(1 << MIN_LOG_N).min(limb.len());
        let own = &mut limb[..size];
        self.residues(ring.modulus(prime), own);
        if size == ring.degree() {
            ring.table(prime).forward(own);
        } else {
            ring.subring_table(prime, size.trailing_zeros()).forward(own);
        }
        // From the last value on, so that none is overwritten before it is spread.
        let gap = limb.len() / size;
        if gap == 1 {
            return;
        }
        for i in (0..size).rev() {
            let value = limb[i];
            limb[i * gap..(i + 1) * gap].fill(value);
        }
    }

    /// The coefficients modulo `q`, spread over a ring or subring of `limb.len()` coefficients.
    pub(crate) fn residues(&self, q: Modulus, limb: &mut [u64]) {
        let gap = limb.len() / self.len();
        if gap > 1 {
            limb.fill(0);
        }
        let out = limb.iter_mut().step_by(gap);
        let small = self.largest < q.value() as f64 - 1.0;
        match &self.coefficients {
            Coefficients::Tiny(c) if small && gap == 1 => integers::lift_short(q, limb, c),
            Coefficients::Short(c) if small && gap == 1 => integers::lift(q, limb, c),
            Coefficients::Tiny(c) => out.zip(c).for_each(|(o, &c)| *o = q.reduce_i64(c.into())),
            Coefficients::Short(c) => out.zip(c).for_each(|(o, &c)| *o = q.reduce_i64(c)),
            // Exact: an f64 that is an integer below 2^119.
            Coefficients::Long(c) => out.zip(c).for_each(|(o, &c)| *o = q.reduce_i128(c as i128)),
        }
    }
}

/// The nearest integer, ties to even, of a number below [`SHORT_BOUND`] in magnitude.
fn round_short(c: f64) -> i64 {
    (c + ROUNDING).to_bits().wrapping_sub(ROUNDING.to_bits()) as i64
}

/// The length of the part that vectors of one length repeat.
fn shortest_period(vectors: &[&[f64]]) -> usize {
    let mut period = vectors.first().map_or(0, |v| v.len());
    let repeats = |half: usize| vectors.iter().all(|v| v[..half] == v[half..2 * half]);
    while period > 1 && repeats(period / 2) {
        period /= 2;
    }
    period
}

/// The same number in every slot: the constant polynomial `round(value·scale)`, modulo each of the given primes.
///
/// # Errors
/// If the product is not finite or exceeds the range.
pub fn encode_scalar(
    value: f64,
    scale: &Scale,
    moduli: impl Iterator<Item = Modulus>,
) -> Result<Vec<u64>, EncodeError> {
    let integer = scaled_integer(value, scale)?;
    Ok(moduli.map(|q| q.reduce_i128(integer)).collect())
}

/// `round(value·scale)`: the same number in every slot, as the only coefficient of its plaintext.
///
/// # Errors
/// If the product is not finite or exceeds the range.
pub fn scaled_integer(value: f64, scale: &Scale) -> Result<i128, EncodeError> {
    let scaled = (value * scale.to_f64()).round_ties_even();
    if !scaled.is_finite() || scaled.abs() >= COEFFICIENT_BOUND {
        return Err(EncodeError::Range { log_scale: scale.log2() });
    }
    // Exact: the magnitude is below 2^119.
    Ok(scaled as i128)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    fn pattern(n: usize) -> Vec<f64> {
        (0..n).map(|i| ((i * 7919 + 13) % 1009) as f64 / 504.5 - 1.0).collect()
    }

    fn spread(p: &Plaintext, n: usize) -> Vec<f64> {
        let mut out = vec![0.0; n];
        let coefficients: Vec<f64> = match &p.coefficients {
            Coefficients::Tiny(c) => c.iter().map(|&c| f64::from(c)).collect(),
            Coefficients::Short(c) => c.iter().map(|&c| c as f64).collect(),
            Coefficients::Long(c) => c.clone(),
        };
        for (o, c) in out.iter_mut().step_by(n / p.len()).zip(coefficients) {
            *o = c;
        }
        out
    }

    #[test]
    fn rounding_is_to_the_nearest_even() {
        let bound = SHORT_BOUND;
        for c in [0.0, 0.5, 1.5, -0.5, -1.5, 2.4999, -7.5, 1e9 + 0.75, bound - 1.0, 1.0 - bound] {
            assert_eq!(round_short(c), c.round_ties_even() as i64, "{c}");
        }
    }

    #[test]
    fn evaluations_in_a_subring_are_those_of_the_whole_ring() {
        let q: Vec<u64> = heplan_ir::primes::near_power(30, 12).take(2).collect();
        let ring = Ring::new(12, &q, &[]).unwrap();
        let encoder = Encoder::new(2048);
        for period in [1, 4, 512, 1024, 2048] {
            // Coefficients below the primes, above them, and above 64 bits.
            for log_scale in [20, 44, 90] {
                let scale = Scale::pow2(log_scale);
                let plain = encoder.encode(&pattern(period), &scale).unwrap();
                let integers = spread(&plain, 4096);
                let mut whole = Poly::from_f64(&ring, Basis::q(2), &integers).unwrap();
                let mut written = Poly::scratch(&ring, Basis::q(2), Form::Coefficient);
                written.for_each_limb_mut(|q, _, limb| plain.residues(q, limb));
                assert!(written == whole);
                whole.to_evaluation();
                assert!(plain.to_evaluations(&ring, Basis::q(2)) == whole);
            }
        }
    }

    #[test]
    fn slots_are_values_at_the_orbit_of_five() {
        let width = 64;
        let n = 2 * width;
        let encoder = Encoder::new(width);
        let values = pattern(width);
        let m = spread(&encoder.encode(&values, &Scale::pow2(40)).unwrap(), n);
        let mut power = 1;
        for v in &values {
            let slot: f64 =
                (0..n).map(|k| m[k] * (PI * (power * k % (2 * n)) as f64 / n as f64).cos()).sum();
            assert!((slot / 2f64.powi(40) - v).abs() < 2f64.powi(-34));
            power = power * 5 % (2 * n);
        }
    }

    #[test]
    fn periodic_vectors_encode_as_their_repetition() {
        let encoder = Encoder::new(256);
        for period in [1, 2, 16, 256] {
            let short = pattern(period);
            let long: Vec<f64> = (0..256).map(|i| short[i % period]).collect();
            let scale = Scale::pow2(30);
            let a = spread(&encoder.encode(&short, &scale).unwrap(), 512);
            let b = spread(&encoder.encode(&long, &scale).unwrap(), 512);
            assert_eq!(a, b);
            let back = encoder.decode(&a, &scale);
            assert!(back.iter().zip(&long).all(|(x, y)| (x - y).abs() < 1e-7));
        }
    }

    #[test]
    fn hostile_values_are_refused() {
        let encoder = Encoder::new(8);
        let scale = Scale::pow2(40);
        assert!(matches!(encoder.encode(&[1.0; 3], &scale), Err(EncodeError::Length { .. })));
        assert!(matches!(encoder.encode(&[1.0; 16], &scale), Err(EncodeError::Length { .. })));
        for bad in [f64::NAN, f64::INFINITY, 2f64.powi(80)] {
            assert!(matches!(encoder.encode(&[bad], &scale), Err(EncodeError::Range { .. })));
            assert!(encode_scalar(bad, &scale, std::iter::empty()).is_err());
        }
        assert!(encoder.encode(&[2f64.powi(60)], &scale).is_ok());
    }

    #[test]
    fn scalars_beyond_64_bits_are_exact() {
        let q = Modulus::new(1_073_479_681).unwrap();
        let value = -(2f64.powi(50) + 1.0);
        let residues = encode_scalar(value, &Scale::pow2(50), [q].into_iter()).unwrap();
        let exact = -((1i128 << 100) + (1i128 << 50));
        assert_eq!(i128::from(residues[0]), exact.rem_euclid(1_073_479_681));
    }
}
