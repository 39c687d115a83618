//! The digits of a polynomial, ready to be raised to one prime at a time.
//!
//! Raising everything at once writes and reads `d (L + K)` limbs, which leave the caches from `N = 2^14` on.
//! A key switch needs the digits at one prime only while it sums there, so they are made there ([`crate::keyswitch`]).
//! What it needs of them before, their residues in coefficient form, are the first stages of its tasks.

use std::sync::Arc;

use crate::basis::{Basis, Prime};
use crate::convert::BasisConverter;
use crate::kernels::{self, Ending};
use crate::packed::Limbs;
use crate::poly::{Form, Poly};
use crate::quotient::Quotient;
use crate::ring::Ring;
use crate::scaled::Scaled;
use crate::switch::digit_range;
use crate::tasks::{Finished, in_stages};

/// What is cut into digits.
enum Values<'a> {
    Poly(&'a Poly),
    Product([&'a Poly; 2]),
    Quotient(Quotient<'a>),
}

/// A polynomial over `q_0 .. q_l`, cut into digits of consecutive primes, with what their conversions share.
///
/// Digit `j` is the integer polynomial that is centred and equals the polynomial modulo the primes of the digit,
/// as in [`Poly::mod_up_digit`].
pub struct Digits<'a> {
    ring: Arc<Ring>,
    /// In evaluation form: what the digits are at their own primes.
    values: Values<'a>,
    secret: bool,
    limb_count: usize,
    digit_limbs: usize,
    converters: Vec<Arc<BasisConverter>>,
    /// Per digit.
    scaled: Vec<Scaled>,
}

impl<'a> Digits<'a> {
    /// Cuts a polynomial in evaluation form into digits of `digit_limbs` primes each (the last may be shorter), to be
    /// raised to its own primes and the first `p_limbs` special ones.
    ///
    /// # Panics
    /// If the form is not evaluation, the basis is not `q_0 .. q_l`, `digit_limbs` is 0, or the ring has fewer special
    /// primes.
    pub fn new(poly: &'a Poly, digit_limbs: usize, p_limbs: usize) -> Self {
        let basis = poly.basis();
        assert_eq!(basis, Basis::q(basis.len()), "digits are cut from a ciphertext polynomial");
        Self::of(Values::Poly(poly), poly, basis, digit_limbs, p_limbs)
    }

    /// As [`Self::new`], of a product that is taken where it is read.
    ///
    /// # Panics
    /// As there, or if the factors do not fit each other.
    pub fn of_product(factors: [&'a Poly; 2], digit_limbs: usize, p_limbs: usize) -> Self {
        let [a, b] = factors;
        let basis = a.basis();
        assert_eq!(basis, Basis::q(basis.len()), "digits are cut from a ciphertext polynomial");
        a.assert_fits(b);
        let mut digits = Self::of(Values::Product(factors), a, basis, digit_limbs, p_limbs);
        digits.secret |= b.is_secret();
        digits
    }

    /// As [`Self::new`], of what [`Poly::divide_and_round`] makes of a polynomial over further primes.
    ///
    /// # Panics
    /// As both.
    pub fn of_quotient(poly: &'a Poly, to: Basis, digit_limbs: usize, p_limbs: usize) -> Self {
        Self::of(Values::Quotient(Quotient::new(poly, to)), poly, to, digit_limbs, p_limbs)
    }

    fn of(
        values: Values<'a>,
        poly: &Poly,
        basis: Basis,
        digit_limbs: usize,
        p_limbs: usize,
    ) -> Self {
        assert!(digit_limbs > 0, "a digit has at least one prime");
        assert_eq!(poly.form(), Form::Evaluation, "the values of a digit are evaluations");
        let (ring, limb_count) = (Arc::clone(poly.ring()), basis.len());
        let count = limb_count.div_ceil(digit_limbs);
        let to = Basis::qp(limb_count, p_limbs);
        let digit = |i| Basis::digit(digit_range(i, digit_limbs, limb_count));
        Self {
            values,
            secret: poly.is_secret(),
            limb_count,
            digit_limbs,
            converters: (0..count).map(|i| ring.converter(digit(i), to)).collect(),
            scaled: (0..count)
                .map(|i| Scaled::new(digit_range(i, digit_limbs, limb_count).len()))
                .collect(),
            ring,
        }
    }

    /// Number of digits.
    pub fn count(&self) -> usize {
        self.converters.len()
    }

    /// Number of ciphertext primes.
    pub fn limb_count(&self) -> usize {
        self.limb_count
    }

    /// Whether a prime is one of a digit's own.
    fn owns(&self, digit: usize, prime: Prime) -> bool {
        matches!(prime, Prime::Q(q) if q / self.digit_limbs == digit && q < self.limb_count)
    }

    /// A digit at a prime of its own, where it lies.
    pub(crate) fn own(&self, digit: usize, prime: Prime) -> Option<&[u64]> {
        match &self.values {
            _ if !self.owns(digit, prime) => None,
            Values::Poly(poly) => Some(poly.limb_of(prime)),
            Values::Product(_) => None,
            Values::Quotient(quotient) => Some(quotient.limb(prime)),
        }
    }

    /// Keeps a digit at a prime, in evaluation form, as limb number `digit` of `out`; `spare` is room for a limb.
    pub(crate) fn put(&self, digit: usize, prime: Prime, out: &mut Limbs, spare: &mut [u64]) {
        match self.own(digit, prime) {
            Some(limb) => out.store(digit, limb),
            None => out.put(digit, spare, |out| self.write(digit, prime, out)),
        }
    }

    /// Writes a digit at a prime at which it does not lie anywhere.
    fn write(&self, digit: usize, prime: Prime, out: &mut [u64]) {
        let (ring, q) = (&self.ring, self.ring.modulus(prime));
        match &self.values {
            Values::Product([a, b]) if self.owns(digit, prime) => {
                kernels::mul(ring.isa(), q, out, a.limb_of(prime), b.limb_of(prime));
            }
            _ => {
                let converter = &self.converters[digit];
                self.scaled[digit].transform(ring, converter, prime, out, Ending::Plain);
            }
        }
    }

    /// A limb's work before digits can be raised.
    fn residues(&self, limb: usize) {
        let (digit, i) = (limb / self.digit_limbs, limb % self.digit_limbs);
        let (scaled, converter) = (&self.scaled[digit], &self.converters[digit]);
        if let Some(values) = self.own(digit, Prime::Q(limb)) {
            scaled.put_from(&self.ring, converter, i, values, self.secret);
        } else {
            let mut values = self.ring.pool().take(self.ring.degree());
            values.mark_secret_if(self.secret);
            self.write(digit, Prime::Q(limb), values.as_mut_slice());
            scaled.put(&self.ring, converter, i, values);
        }
    }

    /// The stages of what is to be done before digits can be raised, none if it is done.
    fn stages(&self) -> Vec<usize> {
        if self.scaled.iter().all(Scaled::is_finished) {
            return Vec::new();
        }
        let before = match &self.values {
            Values::Quotient(quotient) => quotient.stages().to_vec(),
            Values::Poly(_) | Values::Product(_) => Vec::new(),
        };
        [before, vec![self.limb_count, self.count()]].concat()
    }

    /// A task of a stage, the first of which is number `first` of all.
    fn task(&self, first: usize, stage: usize, i: usize, finished: &Finished) {
        let before = match &self.values {
            Values::Quotient(quotient) => {
                if stage - first < Quotient::STAGES {
                    return quotient.task(first, stage, i, finished);
                }
                Quotient::STAGES
            }
            Values::Poly(_) | Values::Product(_) => 0,
        };
        if stage - first == before {
            if let Values::Quotient(quotient) = &self.values {
                finished.wait_all(stage - 1);
                quotient.divide(i);
            }
            self.residues(i);
        } else {
            finished.wait(stage - 1, digit_range(i, self.digit_limbs, self.limb_count));
            self.scaled[i].finish(&self.ring, &self.converters[i]);
        }
    }
}

/// Digits that are yet to be made, and the stages of that.
pub(crate) struct Pending<'a> {
    digits: Vec<(usize, &'a Digits<'a>)>,
    stages: Vec<usize>,
}

impl<'a> Pending<'a> {
    /// Those of some digits, each of which may come several times.
    pub(crate) fn among(digits: impl IntoIterator<Item = &'a Digits<'a>>) -> Self {
        let mut pending = Self { digits: Vec::new(), stages: Vec::new() };
        for one in digits {
            let known = pending.digits.iter().any(|&(_, other)| std::ptr::eq(one, other));
            let stages = one.stages();
            if !known && !stages.is_empty() {
                pending.digits.push((pending.stages.len(), one));
                pending.stages.extend(stages);
            }
        }
        pending
    }

    /// The first stages of whatever needs the digits.
    pub(crate) fn stages(&self) -> &[usize] {
        &self.stages
    }

    /// A task of one of these stages.
    pub(crate) fn task(&self, stage: usize, i: usize, finished: &Finished) {
        let at = self.digits.partition_point(|&(first, _)| first <= stage);
        let (first, digits) = self.digits[at - 1];
        digits.task(first, stage, i, finished);
    }

    /// Returns when all digits are made: called by a task of a later stage.
    pub(crate) fn wait(&self, finished: &Finished) {
        let ends = self.digits.iter().skip(1).map(|&(first, _)| first).chain([self.stages.len()]);
        ends.filter(|&end| end > 0).for_each(|end| finished.wait_all(end - 1));
    }

    /// Makes them.
    pub(crate) fn make(&self) {
        in_stages(&self.stages, |stage, i, finished| self.task(stage, i, finished));
    }
}
