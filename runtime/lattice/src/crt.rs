//! Between residues and the integers that they stand for.
//!
//! Out of RNS goes by balanced mixed radix (Garner's algorithm; Knuth, TAOCP 2, 4.3.2):
//! `x = d_0 + d_1 q_0 + d_2 q_0 q_1 + ..` with digits `d_i` in `(-q_i/2, q_i/2)`.
//! All moduli are odd, so these sums are exactly the integers from `-(Q-1)/2` to `(Q-1)/2`:
//! the digits give the centred coefficient with its sign, exactly, whatever the size of Q.
//! Messages are secrets of the client: nothing here branches on a coefficient or indexes by one.

use std::mem;
use std::sync::Arc;

use rayon::prelude::*;
use zeroize::Zeroize;

use crate::basis::Basis;
use crate::kernels::{self, Isa};
use crate::modulus::Modulus;
use crate::poly::{Form, Poly};
use crate::ring::Ring;

/// Coefficients given as f64 must lie strictly between plus and minus this bound, `2^119`.
pub const F64_BOUND: f64 = (1u128 << 119) as f64;

/// Coefficients per task.
const CHUNK: usize = 1 << 9;

/// Constants of Garner's algorithm for one run of primes.
#[derive(Debug)]
pub(crate) struct MixedRadix {
    isa: Isa,
    moduli: Vec<Modulus>,
    /// For limb `i`: `q_j^-1 mod q_i` for `j < i`.
    inverses: Vec<Vec<u64>>,
}

impl MixedRadix {
    pub(crate) fn new(isa: Isa, moduli: Vec<Modulus>) -> Self {
        let inverses = |i: usize| {
            let inverse = |q: &Modulus| moduli[i].inv(moduli[i].reduce_u64(q.value()));
            moduli[..i].iter().map(inverse).collect()
        };
        Self { isa, inverses: (0..moduli.len()).map(inverses).collect(), moduli }
    }

    /// Turns residues, one row per prime, into digits, of which each stands as a residue for its centred representative.
    /// Gives back the row that is left over.
    fn digits<'a>(&self, rows: &mut [&'a mut [u64]], mut spare: &'a mut [u64]) -> &'a mut [u64] {
        for j in 0..rows.len() {
            let (done, rest) = rows.split_at_mut(j + 1);
            for (i, row) in (j + 1..).zip(rest) {
                let q = self.moduli[i];
                kernels::reduce_centred(self.isa, self.moduli[j], q, spare, done[j]);
                kernels::sub_from_mul_scalar(self.isa, q, spare, row, self.inverses[i][j]);
                mem::swap(row, &mut spare);
            }
        }
        spare
    }

    /// Digits as f64 numbers of relative error below `2^-52`.
    fn to_f64(&self, rows: &[&mut [u64]]) -> [f64; CHUNK] {
        // Horner's rule in pairs high + low (Dekker, 1971), so that only the last step rounds to 53 bits.
        let (mut high, mut low) = ([0.0; CHUNK], [0.0; CHUNK]);
        for (row, q) in rows.iter().zip(&self.moduli).rev() {
            let radix = q.value() as f64;
            for ((high, low), &digit) in high.iter_mut().zip(&mut low).zip(row.iter()) {
                let (product, product_error) = two_product(*high, radix);
                let (sum, sum_error) = two_sum(product, q.centred(digit) as f64);
                let tail = product_error + *low * radix + sum_error;
                *high = sum + tail;
                *low = tail - (*high - sum);
            }
        }
        high
    }

    /// Digits as integers modulo `2^128`.
    fn to_i128(&self, rows: &[&mut [u64]]) -> [i128; CHUNK] {
        let mut values = [0i128; CHUNK];
        for (row, q) in rows.iter().zip(&self.moduli).rev() {
            for (value, &digit) in values.iter_mut().zip(row.iter()) {
                let shifted = value.wrapping_mul(i128::from(q.value()));
                *value = shifted.wrapping_add(i128::from(q.centred(digit)));
            }
        }
        values
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
        self.clone().into_centred_f64()
    }

    /// [`Self::centred_f64`] in the place of the polynomial.
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn into_centred_f64(self) -> Vec<f64> {
        let mut out = vec![0.0; self.ring().degree()];
        self.for_each_chunk_of_digits(&mut out, |radix, rows, out| {
            out.copy_from_slice(&radix.to_f64(rows));
        });
        out
    }

    /// The centred coefficients, exact; `None` if one, rounded to an f64, exceeds `2^126` in magnitude.
    ///
    /// # Panics
    /// If the polynomial is not in coefficient form.
    #[must_use]
    pub fn centred_i128(&self) -> Option<Vec<i128>> {
        const LIMIT: f64 = (1u128 << 126) as f64;
        let mut out = vec![(0, true); self.ring().degree()];
        self.clone().for_each_chunk_of_digits(&mut out, |radix, rows, out| {
            let approximations = radix.to_f64(rows);
            for ((o, value), x) in out.iter_mut().zip(radix.to_i128(rows)).zip(approximations) {
                *o = (value, x.abs() <= LIMIT);
            }
        });
        let fits = out.iter().fold(true, |all, &(_, fits)| all & fits);
        fits.then(|| out.into_iter().map(|(value, _)| value).collect())
    }

    /// Calls `f` with the digits of every run of [`CHUNK`] coefficients and their place in `out`.
    ///
    /// A secret is wiped run by run, as soon as it is read, by whoever read it.
    fn for_each_chunk_of_digits<T: Send>(
        mut self,
        out: &mut [T],
        f: impl Fn(&MixedRadix, &[&mut [u64]], &mut [T]) + Sync,
    ) {
        assert_eq!(self.form(), Form::Coefficient, "coefficients are read in coefficient form");
        let (ring, secret) = (Arc::clone(self.ring()), self.is_secret());
        let radix = ring.mixed_radix(self.basis());
        let mut chunks: Vec<Vec<&mut [u64]>> = out.chunks(CHUNK).map(|_| Vec::new()).collect();
        for (_, limb) in self.limbs_mut() {
            for (rows, row) in chunks.iter_mut().zip(limb.chunks_exact_mut(CHUNK)) {
                rows.push(row);
            }
        }
        out.par_chunks_exact_mut(CHUNK).zip(chunks).for_each(|(out, mut rows)| {
            let mut spare = ring.pool().take(CHUNK);
            spare.mark_secret_if(secret);
            let rest = radix.digits(&mut rows, spare.as_mut_slice());
            f(&radix, &rows, out);
            if secret {
                rows.into_iter().chain([rest]).for_each(Zeroize::zeroize);
            }
        });
        self.buffer_mut().publish();
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

/// `a + b` rounded, and the exact error (Knuth, TAOCP 2, 4.2.2).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_part = sum - a;
    (sum, (a - (sum - b_part)) + (b - b_part))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primes::ntt_primes_below;
    use crate::sampling::{self, Seed};

    #[test]
    fn a_secret_is_wiped_where_it_was_read() {
        let q: Vec<u64> = ntt_primes_below(1 << 40, 11).take(3).collect();
        for secret in [true, false] {
            let ring = Ring::new(11, &q, &[]).unwrap();
            // Every digit of nearly every coefficient is something.
            let mut poly = sampling::uniform(&ring, Basis::q(3), &Seed::new([5; 32]));
            poly.to_coefficient();
            if secret {
                poly = poly.into_secret();
            }
            assert!(poly.into_centred_f64().iter().all(|x| x.is_finite()));
            // The buffers that it lay in, as the next taker finds them.
            let residues = ring.pool().take(3 * 2048);
            let spare = ring.pool().take(CHUNK);
            let clean = [&residues, &spare].map(|b| b.as_slice().iter().all(|&word| word == 0));
            assert_eq!(clean, [secret; 2]);
        }
    }
}
