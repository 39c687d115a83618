//! Sums of key switches, divided by the special primes, and by the last ciphertext primes where a rescale follows (ModDown).
//!
//! What is divided by comes first: the sums at the primes that are dropped, in coefficient form. Every other prime needs
//! them all; it is finished at once where its sums are near when they are divided, and else in the place of the result.

use std::sync::Arc;

use rayon::prelude::*;

use crate::basis::{Basis, Prime};
use crate::convert::BasisConverter;
use crate::kernels::Ending;
use crate::keyswitch::{KeyLimbs, Sum, Workspace, by_prime};
use crate::poly::{Form, Poly};
use crate::pool::Buffer;
use crate::ring::Ring;

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
    sums: &[Sum<'_, K>],
) -> Vec<[Poly; 2]> {
    assert!(to == Basis::q(to.len()) && !to.is_empty(), "the quotient is over q_0 .. q_l");
    assert!(from.contains(to) && from != to, "the quotient has fewer primes");
    let dropped = Basis::run(to.len()..from.q_limbs(), from.p_limbs());
    let all = All { ring, from, special: ring.product_mod(Basis::p(from.p_limbs()), from), sums };
    let converter = ring.converter(dropped, to);
    let scratch = || Poly::scratch(ring, to, Form::Evaluation);
    let mut out: Vec<[Poly; 2]> = sums.iter().map(|_| [scratch(), scratch()]).collect();
    // Several threads would wait for the one at the last special prime, and share out sums better than sums with
    // divisions.
    if rayon::current_num_threads() == 1 && all.words() <= NEAR_WORDS {
        let remainders = all.remainders(&converter, &mut []);
        for (i, pairs) in by_prime(&mut out).into_iter().enumerate() {
            all.quotients(&remainders, to.prime(i), pairs);
        }
        return out;
    }
    let remainders = all.remainders(&converter, &mut out);
    // Half by half, whose remainders are read again at every prime.
    let polys: Vec<&mut Poly> = out.iter_mut().flatten().collect();
    polys.into_par_iter().enumerate().with_max_len(1).for_each(|(half, poly)| {
        let limbs: Vec<&mut [u64]> = poly.limbs_mut().map(|(_, limb)| limb).collect();
        limbs.into_par_iter().enumerate().for_each(|(i, limb)| {
            let mut remainder = ring.pool().take(ring.degree());
            let ending = Ending::Into(limb, converter.inverse_product(to.prime(i)));
            remainders.transform(half, to.prime(i), remainder.as_mut_slice(), ending);
        });
    });
    out
}

/// All sums, and the special product modulo every prime.
struct All<'a, K> {
    ring: &'a Arc<Ring>,
    from: Basis,
    special: Vec<u64>,
    sums: &'a [Sum<'a, K>],
}

impl<'a, K: KeyLimbs> All<'a, K> {
    /// Words of the sums at one prime.
    fn words(&self) -> usize {
        2 * self.sums.len() * self.ring.degree()
    }

    /// The sums at one prime.
    fn at(&self, prime: Prime, pairs: &mut [[&mut [u64]; 2]]) {
        let at = self.from.position(prime).expect("a prime of the sum");
        let mut workspace = Workspace::new(self.ring, prime, self.special[at], self.sums);
        for (sum, pair) in self.sums.iter().zip(pairs) {
            workspace.sum(sum, pair.each_mut().map(|half| &mut **half));
        }
    }

    /// The sums at the primes that are dropped; with them those at all others, which go to `out` unless it is empty.
    fn remainders<'b>(&self, converter: &'b BasisConverter, out: &mut [[Poly; 2]]) -> Remainders<'b>
    where
        'a: 'b,
    {
        let (ring, n, words) = (self.ring, self.ring.degree(), self.words());
        let (dropped, to) = (converter.from(), converter.to());
        let mut scaled = ring.pool().take(dropped.len() * words);
        // Special primes come last and take longest: they are begun first.
        let rows = scaled.as_mut_slice().chunks_exact_mut(words).enumerate().rev();
        let rows = rows.map(|(i, row)| (Some(i), dropped.prime(i), pairs_of(row, n)));
        let kept = by_prime(out).into_iter().enumerate();
        let kept = kept.map(|(i, pairs)| (None, to.prime(i), pairs));
        let tasks: Vec<(Option<usize>, Prime, Pairs<'_>)> = rows.chain(kept).collect();
        tasks.into_par_iter().with_max_len(1).for_each(|(divides, prime, mut pairs)| {
            self.at(prime, &mut pairs);
            if let Some(i) = divides {
                for half in pairs.into_iter().flatten() {
                    ring.table(prime).inverse(half);
                    converter.scale(ring, i, half);
                }
            }
        });
        Remainders::new(ring, converter, scaled, words / n)
    }

    /// The quotients modulo a prime, half by half.
    fn quotients(&self, remainders: &Remainders<'_>, prime: Prime, pairs: Pairs<'_>) {
        let n = self.ring.degree();
        let mut values = self.ring.pool().take(self.words());
        self.at(prime, &mut pairs_of(values.as_mut_slice(), n));
        let inverse = remainders.converter.inverse_product(prime);
        let values = values.as_slice().chunks_exact(n);
        for (half, (limb, values)) in pairs.into_iter().flatten().zip(values).enumerate() {
            remainders.transform(half, prime, limb, Ending::From(values, inverse));
        }
    }
}

/// The limbs of all sums at one prime.
type Pairs<'a> = Vec<[&'a mut [u64]; 2]>;

/// The pairs of limbs that stand one after the other.
fn pairs_of(row: &mut [u64], n: usize) -> Pairs<'_> {
    row.chunks_exact_mut(2 * n).map(|pair| pair.split_at_mut(n).into()).collect()
}

/// The sums modulo the primes that they are divided by, ready to be converted to the others.
struct Remainders<'a> {
    ring: &'a Ring,
    converter: &'a BasisConverter,
    /// Number of sums, times two halves.
    halves: usize,
    /// Per prime and half its scaled residues; those of the first prime carry the overflow.
    scaled: Buffer,
}

impl<'a> Remainders<'a> {
    fn new(
        ring: &'a Ring,
        converter: &'a BasisConverter,
        mut scaled: Buffer,
        halves: usize,
    ) -> Self {
        let n = ring.degree();
        let (first, others) = scaled.as_mut_slice().split_at_mut(halves * n);
        first.par_chunks_exact_mut(n).enumerate().for_each(|(half, first)| {
            converter.overflow(ring, first, others.chunks_exact(n).skip(half).step_by(halves));
        });
        Self { ring, converter, halves, scaled }
    }

    /// Writes the remainder of a half modulo a prime that stays, in evaluation form, or what the ending makes of it.
    fn transform(&self, half: usize, prime: Prime, out: &mut [u64], ending: Ending<'_>) {
        let limbs = self.scaled.as_slice().chunks_exact(self.ring.degree());
        let scaled: Vec<&[u64]> = limbs.skip(half).step_by(self.halves).collect();
        self.converter.transform_limb(self.ring, &scaled, prime, out, ending);
    }
}
