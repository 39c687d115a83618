//! A polynomial divided by some of its primes, limb by limb: [`Poly::divide_and_round`] as tasks, for whatever goes on with
//! each limb at once.

use std::sync::{Arc, OnceLock};

use crate::basis::{Basis, Prime};
use crate::convert::BasisConverter;
use crate::kernels::Ending;
use crate::poly::{Form, Poly};
use crate::pool::Buffer;
use crate::ring::Ring;
use crate::scaled::Scaled;
use crate::switch::dropped_primes;
use crate::tasks::Finished;

/// The division of a polynomial in evaluation form.
pub(crate) struct Quotient<'a> {
    dividend: &'a Poly,
    converter: Arc<BasisConverter>,
    remainder: Scaled,
    limbs: Vec<OnceLock<Buffer>>,
}

impl<'a> Quotient<'a> {
    /// Stages before limbs can be divided.
    pub(crate) const STAGES: usize = 2;

    /// The division by all primes that `to` lacks.
    ///
    /// # Panics
    /// As [`Poly::divide_and_round`], or if the form is not evaluation.
    pub(crate) fn new(dividend: &'a Poly, to: Basis) -> Self {
        assert_eq!(dividend.form(), Form::Evaluation, "a quotient is taken in evaluation form");
        let dropped = dropped_primes(dividend.basis(), to);
        Self {
            dividend,
            converter: dividend.ring().converter(dropped, to),
            remainder: Scaled::new(dropped.len()),
            limbs: to.primes().map(|_| OnceLock::new()).collect(),
        }
    }

    fn ring(&self) -> &Arc<Ring> {
        self.dividend.ring()
    }

    /// A limb that is divided.
    pub(crate) fn limb(&self, prime: Prime) -> &[u64] {
        let i = self.converter.to().position(prime).expect("a prime of the quotient");
        self.limbs[i].get().expect("a limb that was waited for").as_slice()
    }

    pub(crate) fn stages(&self) -> [usize; 2] {
        [self.converter.from().len(), 1]
    }

    /// A task of a stage, the first of which is number `first` of all.
    pub(crate) fn task(&self, first: usize, stage: usize, i: usize, finished: &Finished) {
        if stage == first {
            return self.residues(i);
        }
        finished.wait_all(first);
        self.remainder.finish(self.ring(), &self.converter);
    }

    fn residues(&self, i: usize) {
        let (ring, prime) = (self.ring(), self.converter.from().prime(i));
        let (limb, secret) = (self.dividend.limb_of(prime), self.dividend.is_secret());
        self.remainder.put_from(ring, &self.converter, i, limb, secret);
    }

    /// Divides a limb, after all stages.
    pub(crate) fn divide(&self, i: usize) {
        let (ring, prime) = (self.ring(), self.converter.to().prime(i));
        let mut limb = ring.pool().take(ring.degree());
        limb.mark_secret_if(self.dividend.is_secret());
        let inverse = self.converter.inverse_product(prime);
        let ending = Ending::From(self.dividend.limb_of(prime), inverse);
        self.remainder.transform(ring, &self.converter, prime, limb.as_mut_slice(), ending);
        assert!(self.limbs[i].set(limb).is_ok(), "a limb is divided once");
    }
}
