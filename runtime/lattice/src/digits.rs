//! The digits of a polynomial, ready to be raised to one prime at a time.
//!
//! Raising everything at once writes and reads `d (L + K)` limbs, which leave the caches from `N = 2^14` on.
//! A key switch needs the digits at one prime only while it sums there, so they are made there ([`crate::keyswitch`]).

use std::borrow::Cow;
use std::sync::Arc;

use rayon::prelude::*;

use crate::basis::{Basis, Prime};
use crate::convert::BasisConverter;
use crate::kernels::Ending;
use crate::poly::{Form, Poly};
use crate::pool::Buffer;
use crate::switch::digit_range;

/// A polynomial over `q_0 .. q_l`, cut into digits of consecutive primes, with what their conversions share.
///
/// Digit `j` is the integer polynomial that is centred and equals the polynomial modulo the primes of the digit,
/// as in [`Poly::mod_up_digit`].
pub struct Digits<'a> {
    /// In evaluation form: what the digits are at their own primes.
    values: Cow<'a, Poly>,
    digit_limbs: usize,
    /// The scaled residues of every prime; the first ones of a digit carry its overflow.
    scaled: Buffer,
    converters: Vec<Arc<BasisConverter>>,
}

impl<'a> Digits<'a> {
    /// Cuts a polynomial in evaluation form into digits of `digit_limbs` primes each (the last may be shorter), to be
    /// raised to its own primes and the first `p_limbs` special ones.
    ///
    /// # Panics
    /// If the form is not evaluation, the basis is not `q_0 .. q_l`, `digit_limbs` is 0, or the ring has fewer special
    /// primes.
    pub fn new(values: Cow<'a, Poly>, digit_limbs: usize, p_limbs: usize) -> Self {
        assert!(digit_limbs > 0, "a digit has at least one prime");
        assert_eq!(values.form(), Form::Evaluation, "the values of a digit are evaluations");
        let ring = Arc::clone(values.ring());
        let (n, limbs) = (ring.degree(), values.basis().q_limbs());
        assert_eq!(values.basis(), Basis::q(limbs), "digits are cut from a ciphertext polynomial");
        let count = limbs.div_ceil(digit_limbs);
        let to = Basis::qp(limbs, p_limbs);
        let digit = |i| Basis::digit(digit_range(i, digit_limbs, limbs));
        let converters: Vec<Arc<BasisConverter>> =
            (0..count).map(|i| ring.converter(digit(i), to)).collect();
        let mut scaled = ring.pool().take(limbs * n);
        scaled.mark_secret_if(values.is_secret());
        let scale = |(i, limb): (usize, &mut [u64])| {
            limb.copy_from_slice(values.limb(i));
            ring.table(Prime::Q(i)).inverse(limb);
            converters[i / digit_limbs].scale(&ring, i % digit_limbs, limb);
        };
        scaled.as_mut_slice().par_chunks_exact_mut(n).enumerate().for_each(scale);
        let digits = scaled.as_mut_slice().par_chunks_mut(digit_limbs * n).zip(&converters);
        digits.for_each(|(digit, converter)| {
            let (first, others) = digit.split_at_mut(n);
            converter.overflow(&ring, first, others.chunks_exact(n));
        });
        Self { values, digit_limbs, scaled, converters }
    }

    /// Number of digits.
    pub fn count(&self) -> usize {
        self.converters.len()
    }

    /// Number of ciphertext primes.
    pub fn limb_count(&self) -> usize {
        self.values.limb_count()
    }

    /// Raises a digit to a prime that it lacks, in evaluation form.
    pub(crate) fn raise(&self, digit: usize, prime: Prime, out: &mut [u64]) {
        let ring = self.values.ring();
        let n = ring.degree();
        let own = digit_range(digit, self.digit_limbs, self.limb_count());
        let scaled = self.scaled.as_slice()[own.start * n..own.end * n].chunks_exact(n);
        let scaled: Vec<&[u64]> = scaled.collect();
        self.converters[digit].transform_limb(ring, &scaled, prime, out, Ending::Plain);
    }

    /// A digit at a prime of its own.
    pub(crate) fn own(&self, digit: usize, prime: Prime) -> Option<&[u64]> {
        let own =
            matches!(prime, Prime::Q(q) if q / self.digit_limbs == digit && q < self.limb_count());
        own.then(|| self.values.limb_of(prime))
    }
}
