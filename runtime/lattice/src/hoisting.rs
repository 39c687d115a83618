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
use crate::kernels::{self, Isa};
use crate::keyswitch::{Addend, KeyLimbs, Switched, Workspace, by_prime};
use crate::modulus::Modulus;
use crate::poly::{Form, Poly};
use crate::pool::{ALIGNMENT, Buffer};
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
        let prime = basis.prime(i);
        let mut rotated = Limbs::new(ring, prime, 2 * rotations.len());
        rotate_all(ring, prime, special[i], sources, rotations, &mut rotated);
        let mut weights = Limbs::new(ring, prime, TERMS);
        let mut spare = ring.pool().take(ring.degree());
        for (terms, pair) in sums.iter().zip(pairs) {
            let mut sum = Sum::new(ring, prime, pair);
            for terms in terms.chunks(TERMS) {
                for (i, term) in terms.iter().enumerate() {
                    weights.put(i, spare.as_mut_slice(), |out| weight(term.weight, prime, out));
                }
                let halves = |rotated_at: usize| [0, 1].map(|h| rotated.at(2 * rotated_at + h));
                let triple = |(i, t): (usize, &Weighted)| (weights.at(i), halves(t.rotated));
                sum.add(&terms.iter().enumerate().map(triple).collect::<Vec<_>>());
            }
            sum.finish();
        }
    });
    out
}

/// Limbs at one prime: packed where residues are short, which halves the memory that the sums read.
struct Limbs {
    isa: Isa,
    packed: bool,
    /// Words of a limb.
    words: usize,
    /// Words from one limb to the next: at multiples of a power of two they would share the lines of a cache.
    stride: usize,
    buffer: Buffer,
}

impl Limbs {
    fn new(ring: &Ring, prime: Prime, count: usize) -> Self {
        let packed = are_packed(ring.modulus(prime));
        let words = if packed { ring.degree() / 2 } else { ring.degree() };
        let stride = words + 2 * ALIGNMENT / size_of::<u64>();
        let buffer = ring.pool().take(count * stride);
        Self { isa: ring.isa(), packed, words, stride, buffer }
    }

    fn at(&self, i: usize) -> &[u64] {
        &self.buffer.as_slice()[i * self.stride..][..self.words]
    }

    /// Keeps a limb.
    fn store(&mut self, i: usize, limb: &[u64]) {
        let out = &mut self.buffer.as_mut_slice()[i * self.stride..][..self.words];
        if self.packed {
            kernels::pack(self.isa, out, limb);
        } else {
            out.copy_from_slice(limb);
        }
    }

    /// Keeps what `write` writes; `spare` is room for a limb.
    fn put(&mut self, i: usize, spare: &mut [u64], write: impl FnOnce(&mut [u64])) {
        if self.packed {
            write(spare);
            self.store(i, spare);
        } else {
            write(&mut self.buffer.as_mut_slice()[i * self.stride..][..self.words]);
        }
    }
}

fn are_packed(q: Modulus) -> bool {
    q.value() <= kernels::LARGEST_PACKED
}

/// A pair of limbs to which products are added.
struct Sum<'a> {
    isa: Isa,
    q: Modulus,
    pair: [&'a mut [u64]; 2],
    /// Packed: further products that certainly fit a word.
    room: usize,
}

impl<'a> Sum<'a> {
    fn new(ring: &Ring, prime: Prime, mut pair: [&'a mut [u64]; 2]) -> Self {
        pair.iter_mut().for_each(|half| half.fill(0));
        let q = ring.modulus(prime);
        Self { isa: ring.isa(), q, pair, room: Self::room(q) }
    }

    /// Products that fit a word beside a residue.
    fn room(q: Modulus) -> usize {
        let largest = q.value() - 1;
        usize::try_from(u64::MAX / largest.saturating_mul(largest)).map_or(usize::MAX, |n| n - 1)
    }

    fn add(&mut self, triples: &[(&[u64], [&[u64]; 2])]) {
        let (isa, q) = (self.isa, self.q);
        if !are_packed(q) {
            for (h, half) in self.pair.iter_mut().enumerate() {
                let pairs: Vec<(&[u64], &[u64])> =
                    triples.iter().map(|(a, b)| (*a, b[h])).collect();
                kernels::inner_product_add(isa, q, half, &pairs);
            }
            return;
        }
        for triples in triples.chunks(Self::room(q)) {
            if triples.len() > self.room {
                self.finish();
            }
            let [first, second] = &mut self.pair;
            kernels::packed_sums(isa, [&mut **first, &mut **second], triples);
            self.room -= triples.len();
        }
    }

    /// Leaves residues.
    fn finish(&mut self) {
        if are_packed(self.q) {
            self.pair.iter_mut().for_each(|half| kernels::reduce_words(self.isa, self.q, half));
            self.room = Self::room(self.q);
        }
    }
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
            let switched = Switched { digits, key: *key, add, permutation };
            workspace.switch(&switched, pair.as_mut_slice(), true);
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
