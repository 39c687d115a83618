//! Sums of rotations of one or several polynomials, each times a weight, in the basis with the special primes.
//!
//! The inner sums of a linear map by baby and giant steps with double hoisting (Bossuat, Mouchet, Troncoso-Pastoriza,
//! Hubaux: ePrint 2020/1203). Prime by prime: at one prime every digit is raised, every rotation made and every weight
//! evaluated once, and all sums are taken there. Rotations thus never exist at more primes than threads are at work on.

use std::sync::Arc;

use rayon::prelude::*;

use crate::basis::{Basis, Prime};
use crate::digits::Digits;
use crate::galois::Permutation;
use crate::kernels;
use crate::keyswitch::{Addend, KeyLimbs, Switched, Workspace, by_prime};
use crate::packed::{Limbs, Sum};
use crate::poly::{Form, Poly};
use crate::ring::Ring;

/// Weights that are evaluated before they are multiplied: few enough to stay in a near cache.
const TERMS: usize = 8;

/// A pair of polynomials over ciphertext primes that is rotated, and the digits of the second, if any rotation needs them.
pub struct Source<'a> {
    /// The pair, in evaluation form.
    pub parts: [&'a Poly; 2],
    /// Digits of `parts[1]`.
    pub digits: Option<Digits<'a>>,
}

/// A rotation of a source; without a key it is the source itself.
pub struct Rotated<'a, K> {
    /// Index of the source.
    pub source: usize,
    /// The key, and what comes after it.
    pub switch: Option<(&'a K, Arc<Permutation>)>,
}

/// One product of a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weighted {
    /// Index of the rotation.
    pub rotated: usize,
    /// Index of the weight.
    pub weight: usize,
}

/// Writes weight number `i` modulo a prime, in evaluation form.
pub type Evaluate<'a> = dyn Fn(usize, Prime, &mut [u64]) + Sync + 'a;

/// Where the weights of a sum come from.
pub enum Weights<'a> {
    /// Evaluated where they are multiplied.
    Evaluated(&'a Evaluate<'a>),
    /// Evaluated before.
    Kept(&'a KeptWeights),
}

/// Weights in evaluation form, at every prime of a basis.
pub struct KeptWeights {
    basis: Basis,
    /// Per prime.
    limbs: Vec<Limbs>,
}

impl KeptWeights {
    /// Evaluates `count` weights.
    pub fn new(ring: &Ring, basis: Basis, count: usize, evaluate: &Evaluate<'_>) -> Self {
        let at = |i| {
            let prime = basis.prime(i);
            let mut limbs = Limbs::new(ring, prime, count);
            let mut spare = ring.pool().take(ring.degree());
            for i in 0..count {
                limbs.put(i, spare.as_mut_slice(), |out| evaluate(i, prime, out));
            }
            limbs
        };
        Self { basis, limbs: (0..basis.len()).into_par_iter().map(at).collect() }
    }

    /// The primes.
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// The bytes that they take.
    pub fn bytes(&self) -> usize {
        self.limbs.iter().map(Limbs::bytes).sum()
    }

    /// The bytes that `count` weights take over a basis.
    pub fn bytes_of(ring: &Ring, basis: Basis, count: usize) -> usize {
        let moduli = ring.moduli(basis);
        moduli.map(|q| Limbs::bytes_of(ring.degree(), q.value(), count)).sum()
    }
}

/// For every list of terms the sum of rotations times weights over `basis`, in evaluation form.
///
/// With special primes in the basis everything is multiplied by their product P; without them there are no key switches.
///
/// # Panics
/// If an operand, a key or kept weights do not fit, an index is out of range, or a source lacks digits that a rotation
/// needs.
#[must_use]
pub fn weighted_sums<K: KeyLimbs>(
    ring: &Arc<Ring>,
    basis: Basis,
    sources: &[Source<'_>],
    rotations: &[Rotated<'_, K>],
    sums: &[&[Weighted]],
    weights: &Weights<'_>,
) -> Vec<[Poly; 2]> {
    if let Weights::Kept(kept) = weights {
        assert_eq!(kept.basis, basis, "weights are kept at the primes of the sum");
    }
    let scratch = || Poly::scratch(ring, basis, Form::Evaluation);
    let special = ring.product_mod(Basis::p(basis.p_limbs()), basis);
    let mut out: Vec<[Poly; 2]> = sums.iter().map(|_| [scratch(), scratch()]).collect();
    // Special primes come last and take longest: they are begun first.
    by_prime(&mut out).into_par_iter().enumerate().rev().with_max_len(1).for_each(|(i, pairs)| {
        let prime = basis.prime(i);
        let mut rotated = Limbs::new(ring, prime, 2 * rotations.len());
        rotate_all(ring, prime, special[i], sources, rotations, &mut rotated);
        let mut near = Limbs::new(ring, prime, TERMS);
        let mut spare = ring.pool().take(ring.degree());
        for (terms, pair) in sums.iter().zip(pairs) {
            let mut sum = Sum::new(ring, prime, pair);
            for terms in terms.chunks(TERMS) {
                if let Weights::Evaluated(evaluate) = weights {
                    for (i, term) in terms.iter().enumerate() {
                        near.put(i, spare.as_mut_slice(), |out| evaluate(term.weight, prime, out));
                    }
                }
                let weight = |(k, term): (usize, &Weighted)| match weights {
                    Weights::Evaluated(_) => near.at(k),
                    Weights::Kept(kept) => kept.limbs[i].at(term.weight),
                };
                let halves = |t: &Weighted| [0, 1].map(|h| rotated.at(2 * t.rotated + h));
                let triple = |(k, t)| (weight((k, t)), halves(t));
                sum.add(&terms.iter().enumerate().map(triple).collect::<Vec<_>>());
            }
            sum.finish();
        }
    });
    out
}

/// Every rotation at one prime, two limbs each.
fn rotate_all<K: KeyLimbs>(
    ring: &Arc<Ring>,
    prime: Prime,
    special: u64,
    sources: &[Source<'_>],
    rotations: &[Rotated<'_, K>],
    out: &mut Limbs,
) {
    let n = ring.degree();
    let (isa, q) = (ring.isa(), ring.modulus(prime));
    let most = sources.iter().filter_map(|s| s.digits.as_ref()).map(Digits::count).max();
    let mut workspace = Workspace::with_digits(ring, prime, special, most.unwrap_or(0));
    let mut pair = ring.pool().take(2 * n);
    for (i, rotation) in rotations.iter().enumerate() {
        let source = &sources[rotation.source];
        if let Some((key, permutation)) = &rotation.switch {
            let digits = source.digits.as_ref().expect("a rotated source has digits");
            let add = [Some(Addend::Lifted(source.parts[0])), None];
            let permutation = Some(Arc::clone(permutation));
            let switched = Switched { digits, key: *key, times: None, add, permutation };
            let (first, second) = pair.as_mut_slice().split_at_mut(n);
            workspace.switch(&switched, [first, second], true);
        } else {
            for (half, part) in pair.as_mut_slice().chunks_exact_mut(n).zip(source.parts) {
                match prime {
                    Prime::Q(_) => {
                        half.copy_from_slice(part.limb_of(prime));
                        if special != 1 {
                            kernels::mul_scalar_assign(isa, q, half, special);
                        }
                    }
                    Prime::P(_) => half.fill(0),
                }
            }
        }
        for (h, half) in pair.as_slice().chunks_exact(n).enumerate() {
            out.store(2 * i + h, half);
        }
    }
}
