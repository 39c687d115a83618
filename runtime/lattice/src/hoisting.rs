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
use crate::poly::{Form, Poly};
use crate::ring::Ring;

/// Weights that are evaluated before they are multiplied: the terms that the kernel reduces at once.
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

/// For every list of terms the sum of rotations times weights over `basis`, in evaluation form.
///
/// With special primes in the basis everything is multiplied by their product P; without them there are no key switches.
/// `weight(i, prime, out)` writes weight number `i` modulo a prime, in evaluation form.
///
/// # Panics
/// If an operand or a key does not fit, an index is out of range, or a source lacks digits that a rotation needs.
#[must_use]
pub fn weighted_sums<K: KeyLimbs>(
    ring: &Arc<Ring>,
    basis: Basis,
    sources: &[Source<'_>],
    rotations: &[Rotated<'_, K>],
    sums: &[&[Weighted]],
    weight: impl Fn(usize, Prime, &mut [u64]) + Sync,
) -> Vec<[Poly; 2]> {
    let scratch = || Poly::scratch(ring, basis, Form::Evaluation);
    let special = ring.product_mod(Basis::p(basis.p_limbs()), basis);
    let mut out: Vec<[Poly; 2]> = sums.iter().map(|_| [scratch(), scratch()]).collect();
    by_prime(&mut out).into_par_iter().enumerate().for_each(|(i, pairs)| {
        let (n, prime) = (ring.degree(), basis.prime(i));
        let mut rotated = ring.pool().take(2 * rotations.len() * n);
        rotate_all(ring, prime, special[i], sources, rotations, rotated.as_mut_slice());
        let half = |r: usize, half: usize| &rotated.as_slice()[(2 * r + half) * n..][..n];
        let mut weights = ring.pool().take((TERMS + 1) * n);
        let (spare, weights) = weights.as_mut_slice().split_at_mut(n);
        for (terms, mut pair) in sums.iter().zip(pairs) {
            for (run, terms) in terms.chunks(TERMS).enumerate() {
                for (term, out) in terms.iter().zip(weights.chunks_exact_mut(n)) {
                    weight(term.weight, prime, out);
                }
                for (h, out) in pair.iter_mut().enumerate() {
                    let weights = weights.chunks_exact(n);
                    let products: Vec<(&[u64], &[u64])> =
                        terms.iter().zip(weights).map(|(t, w)| (half(t.rotated, h), w)).collect();
                    let (isa, q) = (ring.isa(), ring.modulus(prime));
                    if run == 0 {
                        kernels::inner_product(isa, q, out, &products);
                    } else {
                        kernels::inner_product(isa, q, spare, &products);
                        kernels::add_assign(isa, q, out, spare);
                    }
                }
            }
            if terms.is_empty() {
                pair.iter_mut().for_each(|half| half.fill(0));
            }
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
    out: &mut [u64],
) {
    let n = ring.degree();
    let (isa, q) = (ring.isa(), ring.modulus(prime));
    let most = sources.iter().filter_map(|s| s.digits.as_ref()).map(Digits::count).max();
    let mut workspace = Workspace::with_digits(ring, prime, special, most.unwrap_or(0));
    for (rotation, pair) in rotations.iter().zip(out.chunks_exact_mut(2 * n)) {
        let source = &sources[rotation.source];
        if let Some((key, permutation)) = &rotation.switch {
            let digits = source.digits.as_ref().expect("a rotated source has digits");
            let add = [Some(Addend::Lifted(source.parts[0])), None];
            let permutation = Some(Arc::clone(permutation));
            workspace.switch(&Switched { digits, key: *key, add, permutation }, pair, true);
            continue;
        }
        for (half, part) in pair.chunks_exact_mut(n).zip(source.parts) {
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
}
