//! The automorphisms `X -> X^g` for odd `g`: rotations of the slots and complex conjugation.
//!
//! In evaluation form an automorphism only moves values: a permutation, the same for every prime.
//! In coefficient form it moves coefficients and flips signs, since `X^N = -1`.

use std::array::from_fn;

use crate::kernels::{self, Isa, Lanes};
use crate::modulus::Modulus;
use crate::ntt::bit_reverse;
use crate::poly::{Form, Poly};

/// The Galois element `5^step mod 2N` that rotates the N/2 slots by `step` to the left (to the right if negative).
pub const fn galois_element(step: i64, log_n: u32) -> usize {
    let mask = (2usize << log_n) - 1;
    // 5 has order N/2 modulo 2N, so steps count modulo N/2.
    let mut exponent = step.rem_euclid(1 << (log_n - 1)) as u64;
    let (mut element, mut power) = (1usize, 5usize);
    while exponent > 0 {
        if exponent & 1 == 1 {
            element = element.wrapping_mul(power) & mask;
        }
        power = power.wrapping_mul(power) & mask;
        exponent >>= 1;
    }
    element
}

/// The Galois element `2N - 1` of complex conjugation.
pub const fn conjugation_element(log_n: u32) -> usize {
    (2usize << log_n) - 1
}

/// Whether `g` is odd and below 2N.
pub const fn is_galois_element(g: usize, log_n: u32) -> bool {
    g % 2 == 1 && g < 2usize << log_n
}

/// The inverse of a Galois element modulo 2N.
///
/// # Panics
/// If `g` is no Galois element.
pub const fn inverse_element(g: usize, log_n: u32) -> usize {
    assert!(is_galois_element(g, log_n), "not a Galois element");
    // Newton's iteration modulo powers of two: g is its own inverse modulo 8, and each step doubles the bits.
    let mut inverse = g;
    let mut bits = 3;
    while bits < log_n + 1 {
        inverse = inverse.wrapping_mul(2usize.wrapping_sub(g.wrapping_mul(inverse)));
        bits *= 2;
    }
    inverse & ((2usize << log_n) - 1)
}

/// An automorphism in evaluation form: it moves whole runs of eight slots, and permutes them within.
///
/// Slots that differ in their last three bits only hold values at points that differ by eighth roots of unity, and an
/// automorphism maps such a coset to another.
#[derive(Debug)]
pub struct Permutation {
    /// For every run of the image: the run of the original, times eight, and the row of `lanes`.
    sources: Vec<u32>,
    lanes: Lanes,
}

impl Permutation {
    pub(crate) fn new(g: usize, log_n: u32) -> Self {
        let mask = (2usize << log_n) - 1;
        let eighth = log_n - 3;
        // Slot j is the value at psi^(2 brv(j) + 1); the image takes there the value of the original at that point to the g.
        // Slot 8 b + i: 2 brv(j) + 1 = 2 brv(b) + 1 + 2N/8 brv(i), whose multiple by g has its high bits from both.
        let source = |b: usize| {
            let exponent = g.wrapping_mul(2 * bit_reverse(b, eighth) + 1) & mask;
            let (coset, shift) = ((exponent >> 1) & ((1 << eighth) - 1), exponent >> (eighth + 1));
            (8 * bit_reverse(coset, eighth) + shift) as u32
        };
        let lane = |shift: usize, i: usize| {
            bit_reverse((shift + g.wrapping_mul(bit_reverse(i, 3))) % 8, 3) as u64
        };
        let lanes = from_fn(|shift| from_fn(|i| lane(shift, i)));
        Self { sources: (0..1usize << eighth).map(source).collect(), lanes }
    }

    /// Applies the permutation to one limb.
    pub fn apply(&self, isa: Isa, out: &mut [u64], limb: &[u64]) {
        kernels::permute(isa, out, limb, &self.sources, &self.lanes);
    }
}

/// `out[g * i mod N] = ± limb[i]`.
fn apply_to_coefficients(q: Modulus, g: usize, out: &mut [u64], limb: &[u64]) {
    let n = limb.len();
    let mut exponent = 0;
    for &c in limb {
        // The exponent g * i modulo 2N; beyond N the sign flips.
        out[exponent & (n - 1)] = if exponent < n { c } else { q.neg(c) };
        exponent = (exponent + g) & (2 * n - 1);
    }
}

impl Poly {
    /// The image under `X -> X^g`, in the form of `self`; secret if `self` is.
    ///
    /// # Panics
    /// If `g` is even or not below 2N.
    #[must_use]
    pub fn automorphism(&self, g: usize) -> Self {
        let mut out = Self::scratch(self.ring(), self.basis(), self.form());
        out.buffer_mut().mark_secret_if(self.is_secret());
        out.set_automorphism(self, g);
        out
    }

    /// `self =` the image of `original` under `X -> X^g`; takes over its form.
    ///
    /// # Panics
    /// If `g` is even or not below 2N, the rings differ, or `original` lacks a prime.
    pub fn set_automorphism(&mut self, original: &Self, g: usize) {
        self.set_form(original.form());
        self.assert_fits(original);
        match original.form() {
            Form::Evaluation => {
                let permutation = self.ring().permutation(g);
                let isa = self.ring().isa();
                self.for_each_limb_pointwise(|_, prime, out| {
                    permutation.apply(isa, out, original.limb_of(prime));
                });
            }
            Form::Coefficient => {
                assert!(is_galois_element(g, self.ring().log_n()), "{g} is no Galois element");
                self.for_each_limb_pointwise(|q, prime, out| {
                    apply_to_coefficients(q, g, out, original.limb_of(prime));
                });
            }
        }
    }
}
