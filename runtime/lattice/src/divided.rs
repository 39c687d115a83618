//! Sums of key switches, divided by the special primes, and by the last ciphertext primes where a rescale follows (ModDown).
//!
//! What is divided by comes first: the sums at the primes that are dropped, in coefficient form. Every other prime needs
//! them all; it is finished at once where its sums are near when they are divided, and else in the place of the result.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::basis::{Basis, Prime};
use crate::convert::BasisConverter;
use crate::digits::Pending;
use crate::kernels::Ending;
use crate::keyswitch::{KeyLimbs, Switched, Workspace, by_prime};
use crate::poly::{Form, Poly};
use crate::pool::Buffer;
use crate::ring::Ring;
use crate::scaled::Scaled;
use crate::tasks::{NO_PANIC, in_stages};

/// Words of the sums at one prime that are still near when they are divided.
const NEAR_WORDS: usize = 1 << 16;

/// Every sum, computed over `from`, divided by the primes that `to` lacks and rounded as in [`Poly::divide_and_round`]:
/// by the special primes, and with them by the last ciphertext primes where a rescale follows.
///
/// # Panics
/// If `to` is not a shorter run of ciphertext primes from `q_0`, or an operand or a key does not fit.
#[must_use]
pub fn divided_sums<K: KeyLimbs>(
    ring: &Arc<Ring>,
    from: Basis,
    to: Basis,
    sums: &[Switched<'_, K>],
) -> Vec<[Poly; 2]> {
    assert!(to == Basis::q(to.len()) && !to.is_empty(), "the quotient is over q_0 .. q_l");
    assert!(from.contains(to) && from != to, "the quotient has fewer primes");
    let dropped = Basis::run(to.len()..from.q_limbs(), from.p_limbs());
    let special = ring.product_mod(Basis::p(from.p_limbs()), from);
    let division = Division {
        ring,
        from,
        special,
        sums,
        converter: &ring.converter(dropped, to),
        remainders: (0..2 * sums.len()).map(|_| Scaled::new(dropped.len())).collect(),
        pending: Pending::among(sums.iter().map(|sum| sum.digits)),
    };
    let scratch = || Poly::scratch(ring, to, Form::Evaluation);
    let mut out: Vec<[Poly; 2]> = sums.iter().map(|_| [scratch(), scratch()]).collect();
    // Several threads share out sums better than sums with divisions.
    if rayon::current_num_threads() == 1 && division.halves() * ring.degree() <= NEAR_WORDS {
        division.near(&mut out);
    } else {
        division.in_place(&mut out);
    }
    out
}

/// The sums that are divided, and their remainders as they come to be.
struct Division<'a, K> {
    ring: &'a Arc<Ring>,
    from: Basis,
    /// The special product modulo every prime.
    special: Vec<u64>,
    sums: &'a [Switched<'a, K>],
    converter: &'a BasisConverter,
    /// Per half.
    remainders: Vec<Scaled>,
    pending: Pending<'a>,
}

impl<K: KeyLimbs> Division<'_, K> {
    /// Number of sums, times two.
    fn halves(&self) -> usize {
        2 * self.sums.len()
    }

    /// Sums, then divides in the place of the sums.
    fn in_place(&self, out: &mut [[Poly; 2]]) {
        let (dropped, kept) = (self.converter.from().len(), self.converter.to().len());
        let limbs =
            out.iter_mut().flatten().flat_map(|poly| poly.limbs_mut().map(|(_, limb)| limb));
        let limbs: Vec<Mutex<&mut [u64]>> = limbs.map(Mutex::new).collect();
        let limb = |half: usize, i: usize| limbs[half * kept + i].lock().expect(NO_PANIC);
        let summed = |i: usize| {
            let mut at_prime: Vec<MutexGuard<'_, &mut [u64]>> =
                (0..self.halves()).map(|half| limb(half, i)).collect();
            let pairs = at_prime.as_chunks_mut::<2>().0.iter_mut();
            let mut pairs: Pairs<'_> =
                pairs.map(|pair| pair.each_mut().map(|h| &mut ***h)).collect();
            self.sum(self.converter.to().prime(i), &mut pairs);
        };
        let divided = |half: usize, i: usize| {
            let mut remainder = self.ring.pool().take(self.ring.degree());
            let prime = self.converter.to().prime(i);
            let inverse = self.converter.inverse_product(prime);
            let ending = Ending::Into(&mut limb(half, i), inverse);
            let remainder = remainder.as_mut_slice();
            self.remainders[half].transform(self.ring, self.converter, prime, remainder, ending);
        };
        // Half by half, whose remainders are read again at every prime; what is first done to a half makes them.
        let own = [dropped, kept, self.halves() * (1 + kept)];
        let stages = [self.pending.stages(), &own].concat();
        let before = self.pending.stages().len();
        in_stages(&stages, |stage, task, finished| match stage.checked_sub(before) {
            None => self.pending.task(stage, task, finished),
            Some(0) => {
                self.pending.wait(finished);
                self.row(task);
            }
            Some(1) => {
                self.pending.wait(finished);
                summed(task);
            }
            Some(_) => {
                let (half, step) = (task / (1 + kept), task % (1 + kept));
                let Some(i) = step.checked_sub(1) else {
                    finished.wait_all(before);
                    return self.remainders[half].finish(self.ring, self.converter);
                };
                finished.wait(before + 1, i..i + 1);
                finished.wait(stage, task - step..task - step + 1);
                divided(half, i);
            }
        });
    }

    /// Sums and divides prime by prime.
    fn near(&self, out: &mut [[Poly; 2]]) {
        self.pending.make();
        (0..self.converter.from().len()).for_each(|row| self.row(row));
        self.remainders.iter().for_each(|half| half.finish(self.ring, self.converter));
        let n = self.ring.degree();
        for (i, pairs) in by_prime(out).into_iter().enumerate() {
            let prime = self.converter.to().prime(i);
            let mut values = self.ring.pool().take(self.halves() * n);
            let row = values.as_mut_slice().chunks_exact_mut(2 * n);
            self.sum(prime, &mut row.map(|pair| pair.split_at_mut(n).into()).collect());
            let inverse = self.converter.inverse_product(prime);
            let values = values.as_slice().chunks_exact(n);
            for (half, (limb, values)) in pairs.into_iter().flatten().zip(values).enumerate() {
                let ending = Ending::From(values, inverse);
                self.remainders[half].transform(self.ring, self.converter, prime, limb, ending);
            }
        }
    }

    /// The sums at one prime.
    fn sum(&self, prime: Prime, pairs: &mut Pairs<'_>) {
        let at = self.from.position(prime).expect("a prime of the sum");
        let mut workspace = Workspace::new(self.ring, prime, self.special[at], self.sums);
        for (sum, pair) in self.sums.iter().zip(pairs) {
            workspace.switch(sum, pair.each_mut().map(|half| &mut **half));
        }
    }

    /// The sums modulo a prime that is dropped.
    fn row(&self, row: usize) {
        let (ring, prime) = (self.ring, self.converter.from().prime(row));
        let mut halves: Vec<Buffer> =
            (0..self.halves()).map(|_| ring.pool().take(ring.degree())).collect();
        let pairs = halves.as_chunks_mut::<2>().0.iter_mut();
        self.sum(prime, &mut pairs.map(|pair| pair.each_mut().map(Buffer::as_mut_slice)).collect());
        for (half, remainder) in halves.into_iter().zip(&self.remainders) {
            remainder.put(ring, self.converter, row, half);
        }
    }
}

/// The limbs of all sums at one prime.
type Pairs<'a> = Vec<[&'a mut [u64]; 2]>;
