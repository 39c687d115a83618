//! Raising a digit to a larger basis (ModUp) and dividing by primes of the basis (ModDown, rescale).
//!
//! Hybrid key switching (Han and Ki, ePrint 2019/688) is made of these two; rescaling is the second with one prime.
//! Both work from evaluation form and transform only what they must.

use std::ops::Range;

use rayon::prelude::*;

use crate::basis::Basis;
use crate::kernels::{self, Ending};
use crate::poly::{Form, Poly};

impl Poly {
    /// ModUp: the digit of `self` at the ciphertext primes `digit`, raised to the basis `to`, in evaluation form.
    ///
    /// `self` and `coefficients` are the same polynomial in evaluation and in coefficient form
    /// (transform once, raise every digit).
    /// The result is the integer polynomial `d`, `d = self mod q_i` for `i` in `digit`, centred:
    /// `|d| <= D/2` for the product D of the digit's primes, up to the rounding of [`crate::convert`].
    ///
    /// # Panics
    /// If a form or basis does not fit, or `to` lacks a prime of the digit.
    #[must_use]
    pub fn mod_up_digit(&self, coefficients: &Self, digit: Range<usize>, to: Basis) -> Self {
        let mut out = Self::scratch(self.ring(), to, Form::Evaluation);
        out.set_mod_up_digit(self, coefficients, digit);
        out
    }

    /// As [`Self::mod_up_digit`], into `self`, whose basis is the target.
    ///
    /// # Panics
    /// As [`Self::mod_up_digit`].
    pub fn set_mod_up_digit(&mut self, values: &Self, coefficients: &Self, digit: Range<usize>) {
        let from = Basis::digit(digit);
        assert_eq!(values.form(), Form::Evaluation, "the values of a digit are evaluations");
        assert_eq!(coefficients.form(), Form::Coefficient, "a digit is raised from coefficients");
        values.assert_same_ring(coefficients);
        values.assert_same_ring(self);
        assert!(values.basis().contains(from), "the polynomial has the primes of the digit");
        assert!(coefficients.basis().contains(from), "the polynomial has the primes of the digit");
        assert!(self.basis().contains(from), "the target has the primes of the digit");
        let ring = self.ring().clone();
        let converter = ring.converter(from, self.basis());
        let source: Vec<&[u64]> = from.primes().map(|p| coefficients.limb_of(p)).collect();
        let prepared = converter.prepare(&ring, &source, values.is_secret());
        self.set_form(Form::Evaluation);
        self.for_each_limb_mut(|_, prime, out| {
            if from.position(prime).is_some() {
                out.copy_from_slice(values.limb_of(prime));
            } else {
                converter.transform_limb(&ring, &prepared.scaled(&ring), prime, out, Ending::Plain);
            }
        });
    }

    /// All digits of `digit_limbs` ciphertext primes each (the last may be shorter), each raised to
    /// the primes of `self` and the first `p_limbs` special primes. `self` is in evaluation form.
    ///
    /// # Panics
    /// If the form is not evaluation, `digit_limbs` is 0, or the ring has fewer special primes.
    #[must_use]
    pub fn decompose(&self, digit_limbs: usize, p_limbs: usize) -> Vec<Self> {
        assert!(digit_limbs > 0, "a digit has at least one prime");
        let mut coefficients = self.clone();
        coefficients.to_coefficient();
        let q_limbs = self.basis().q_limbs();
        let to = Basis::qp(q_limbs, p_limbs);
        (0..q_limbs)
            .step_by(digit_limbs)
            .map(|start| {
                let digit = start..(start + digit_limbs).min(q_limbs);
                self.mod_up_digit(&coefficients, digit, to)
            })
            .collect()
    }

    /// ModDown: divides by the special primes of the basis and rounds to the nearest integer.
    ///
    /// # Panics
    /// If the basis has no special or no ciphertext prime.
    #[must_use]
    pub fn mod_down(&self) -> Self {
        self.divide_and_round(self.basis().without_p())
    }

    /// Rescale: divides by the last ciphertext prime and rounds to the nearest integer. Exact.
    ///
    /// # Panics
    /// If there are special primes, or fewer than two ciphertext primes.
    #[must_use]
    pub fn rescale(&self) -> Self {
        assert_eq!(self.basis().p_limbs(), 0, "special primes are divided out first");
        assert!(self.basis().q_limbs() > 1, "a prime remains after rescaling");
        self.divide_and_round(Basis::q(self.basis().q_limbs() - 1))
    }

    /// Divides by all primes that `to` lacks and rounds to the nearest integer, in the form of `self`; secret if `self` is.
    ///
    /// `to` is a shorter run of ciphertext primes from `q_0`: ModDown and several rescales can be one division.
    /// The result is `round(x / D)` for the centred integer `x`, up to the rounding of [`crate::convert`]
    /// (exact if one prime is dropped).
    ///
    /// # Panics
    /// If `to` is empty, is not `q_0 .. q_l` within the basis of `self`, or nothing is dropped.
    #[must_use]
    pub fn divide_and_round(&self, to: Basis) -> Self {
        let basis = self.basis();
        assert!(to == Basis::q(to.len()) && !to.is_empty(), "the quotient is over q_0 .. q_l");
        assert!(basis.contains(to) && basis != to, "the quotient has fewer primes");
        let ring = self.ring();
        let (isa, n) = (ring.isa(), ring.degree());
        let dropped = dropped_primes(basis, to);
        let evaluation = self.form() == Form::Evaluation;

        let secret = self.is_secret();
        let mut remainder = ring.pool().take(dropped.len() * n);
        remainder.mark_secret_if(secret);
        remainder.as_mut_slice().par_chunks_exact_mut(n).enumerate().for_each(|(i, limb)| {
            let prime = dropped.prime(i);
            if evaluation {
                ring.table(prime).inverse_from(limb, self.limb_of(prime), 1);
            } else {
                limb.copy_from_slice(self.limb_of(prime));
            }
        });
        let converter = ring.converter(dropped, to);
        let source: Vec<&[u64]> = remainder.as_slice().chunks_exact(n).collect();
        let prepared = converter.prepare(ring, &source, secret);

        let mut out = Self::scratch(ring, to, self.form());
        out.buffer_mut().mark_secret_if(secret);
        out.for_each_limb_mut(|q, prime, limb| {
            let (minuend, inverse) = (self.limb_of(prime), converter.inverse_product(prime));
            if evaluation {
                let ending = Ending::From(minuend, inverse);
                converter.transform_limb(ring, &prepared.scaled(ring), prime, limb, ending);
            } else {
                converter.convert_limb(ring, &prepared, prime, limb);
                kernels::sub_from_mul_scalar(isa, q, limb, minuend, inverse);
            }
        });
        out
    }
}

/// The primes of `basis` that `to`, a run from `q_0`, lacks.
pub(crate) fn dropped_primes(basis: Basis, to: Basis) -> Basis {
    let last = basis.q_range().end;
    Basis::run(to.len()..last, basis.p_limbs())
}

/// The primes of digit number `index` of `digit_limbs` primes each, out of `q_limbs`.
pub fn digit_range(index: usize, digit_limbs: usize, q_limbs: usize) -> Range<usize> {
    let start = (index * digit_limbs).min(q_limbs);
    start..(start + digit_limbs).min(q_limbs)
}
