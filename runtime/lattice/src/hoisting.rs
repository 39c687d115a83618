//! Sums of rotations of one or several polynomials, each times a weight, in the basis with the special primes.
//!
//! The inner sums of a linear map by baby and giant steps with double hoisting (Bossuat, Mouchet, Troncoso-Pastoriza,
//! Hubaux: ePrint 2020/1203). Prime by prime: at one prime every digit is raised, every rotation made and every weight
//! evaluated once, and all sums are taken there. Rotations thus never exist at more primes than threads are at work on.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::basis::{Basis, Prime};
use crate::blocks::{BLOCK, Blocks};
use crate::digits::{Digits, Pending};
use crate::galois::Permutation;
use crate::kernels;
use crate::keyswitch::{Addend, KeyLimbs, Switched, Workspace, by_prime};
use crate::packed::{Limbs, PairMut, Sum};
use crate::poly::{Form, Poly};
use crate::ring::Ring;

/// Bytes of the weights that are evaluated before they are multiplied: few enough to stay in a near cache.
const NEAR_BYTES: usize = 1 << 19;

/// Blocks of the slots that are not shared out any further.
const BLOCKS_OF_A_TASK: usize = 8;

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

/// How weights are evaluated.
#[derive(Clone, Copy)]
pub struct Evaluate<'a> {
    /// Coefficients of the smallest subring that has all of them, a power of two.
    pub size: usize,
    /// Writes weight number `i` modulo a prime, in evaluation form, as an element of that subring.
    pub write: &'a (dyn Fn(usize, Prime, &mut [u64]) + Sync),
}

/// Where the weights of a sum come from.
pub enum Weights<'a> {
    /// Evaluated where they are multiplied.
    Evaluated(Evaluate<'a>),
    /// Evaluated before.
    Kept(&'a KeptWeights),
}

/// Weights in evaluation form, at every prime of a basis.
pub struct KeptWeights {
    basis: Basis,
    /// Per prime.
    blocks: Vec<Blocks>,
}

impl KeptWeights {
    /// Evaluates `count` weights.
    pub fn new(ring: &Ring, basis: Basis, count: usize, evaluate: Evaluate<'_>) -> Self {
        let at = |i| {
            let prime = basis.prime(i);
            let mut blocks = Blocks::new(ring, prime, count, evaluate.size);
            let mut spare = ring.pool().take(ring.degree());
            for i in 0..count {
                blocks.put(i, spare.as_mut_slice(), |out| (evaluate.write)(i, prime, out));
            }
            blocks
        };
        Self { basis, blocks: (0..basis.len()).into_par_iter().map(at).collect() }
    }

    /// The primes.
    pub fn basis(&self) -> Basis {
        self.basis
    }

    /// The bytes that they take.
    pub fn bytes(&self) -> usize {
        self.blocks.iter().map(Blocks::bytes).sum()
    }

    /// The bytes that `count` weights of the subring of `size` coefficients take over a basis.
    pub fn bytes_of(ring: &Ring, basis: Basis, count: usize, size: usize) -> usize {
        basis.primes().map(|prime| Blocks::bytes_of(ring, prime, count, size)).sum()
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
    Pending::among(sources.iter().filter_map(|source| source.digits.as_ref())).make();
    let scratch = || Poly::scratch(ring, basis, Form::Evaluation);
    let special = ring.product_mod(Basis::p(basis.p_limbs()), basis);
    let mut out: Vec<[Poly; 2]> = sums.iter().map(|_| [scratch(), scratch()]).collect();
    // What is left to do at the last prime is shared out by rotations and by slots.
    by_prime(&mut out).into_par_iter().enumerate().with_max_len(1).for_each(|(i, pairs)| {
        let prime = basis.prime(i);
        let mut rotated = Limbs::new(ring, prime, 2 * rotations.len());
        rotate_all(ring, prime, special[i], sources, rotations, &mut rotated);
        let at = AtPrime { ring, prime, rotated: &rotated, sums };
        match weights {
            Weights::Kept(kept) => {
                let all = parts(sums, usize::MAX).concat();
                at.add(&all, &kept.blocks[i], &|_, term| term.weight, 0, pairs);
            }
            Weights::Evaluated(evaluate) => at.add_evaluated(*evaluate, pairs),
        }
    });
    out
}

/// Some terms of a sum.
#[derive(Clone)]
struct Part {
    sum: usize,
    terms: Range<usize>,
}

/// All sums, cut into batches of at most `capacity` terms.
fn parts(sums: &[&[Weighted]], capacity: usize) -> Vec<Vec<Part>> {
    let (mut batches, mut room) = (vec![Vec::new()], capacity);
    for (sum, terms) in sums.iter().enumerate() {
        let mut start = 0usize;
        // A sum without terms is a part as well: somebody must write its zeros.
        loop {
            if room == 0 {
                batches.push(Vec::new());
                room = capacity;
            }
            let end = terms.len().min(start.saturating_add(room));
            batches.last_mut().expect("there is a batch").push(Part { sum, terms: start..end });
            room -= end - start;
            start = end;
            if start == terms.len() {
                break;
            }
        }
    }
    batches
}

/// The rotations at one prime.
struct AtPrime<'a> {
    ring: &'a Ring,
    prime: Prime,
    rotated: &'a Limbs,
    sums: &'a [&'a [Weighted]],
}

/// Where the weight of term number `k` of some parts is among weights.
type Index<'a> = &'a (dyn Fn(usize, &Weighted) -> usize + Sync);

impl AtPrime<'_> {
    /// Evaluates weights, so many as stay near, and adds their products.
    fn add_evaluated(&self, evaluate: Evaluate<'_>, mut pairs: Vec<[&mut [u64]; 2]>) {
        let Self { ring, prime, sums, .. } = *self;
        let bytes = Blocks::bytes_of(ring, prime, 1, evaluate.size);
        let capacity = (NEAR_BYTES / bytes).max(1);
        let mut near = Blocks::new(ring, prime, capacity, evaluate.size);
        let mut spare = ring.pool().take(ring.degree());
        for batch in parts(sums, capacity) {
            let terms = batch.iter().flat_map(|part| &sums[part.sum][part.terms.clone()]);
            for (k, term) in terms.enumerate() {
                let write = |out: &mut [u64]| (evaluate.write)(term.weight, prime, out);
                near.put(k, spare.as_mut_slice(), write);
            }
            let pairs = pairs.iter_mut().map(|pair| pair.each_mut().map(|half| &mut **half));
            self.add(&batch, &near, &|k, _| k, 0, pairs.collect());
        }
    }

    /// Adds the parts in the slots of `pairs`, which begin at a block; several threads halve them.
    fn add(
        &self,
        parts: &[Part],
        weights: &Blocks,
        index: Index<'_>,
        block: usize,
        pairs: Vec<[&mut [u64]; 2]>,
    ) {
        let blocks = pairs.first().map_or(0, |pair| pair[0].len() / BLOCK);
        if rayon::current_num_threads() == 1 || blocks <= BLOCKS_OF_A_TASK {
            return self.add_blocks(parts, weights, index, block, pairs);
        }
        let middle = blocks / 2;
        let halves = pairs.into_iter().map(|pair| {
            let [(a, b), (c, d)] = pair.map(|half| half.split_at_mut(middle * BLOCK));
            ([a, c], [b, d])
        });
        let (left, right) = halves.unzip();
        rayon::join(
            || self.add(parts, weights, index, block, left),
            || self.add(parts, weights, index, block + middle, right),
        );
    }

    /// Adds the parts, block by block, so that every sum finds the rotations in a near cache.
    fn add_blocks(
        &self,
        parts: &[Part],
        weights: &Blocks,
        index: Index<'_>,
        first: usize,
        mut pairs: Vec<[&mut [u64]; 2]>,
    ) {
        let sums = self.sums;
        let blocks = pairs.first().map_or(0, |pair| pair[0].len() / BLOCK);
        for here in 0..blocks {
            let block = first + here;
            let kept = self.rotated.range(&(block * BLOCK..(block + 1) * BLOCK));
            let mut k = 0;
            for (number, part) in parts.iter().enumerate() {
                if let Some(next) = parts.get(number + 1) {
                    let terms = &sums[next.sum][next.terms.clone()];
                    for (i, term) in terms.iter().enumerate() {
                        weights.prefetch(index(k + part.terms.len() + i, term), block);
                    }
                }
                let terms = &sums[part.sum][part.terms.clone()];
                let weight = |i: usize| index(k + i, &terms[i]);
                let triple = |(i, term): (usize, &Weighted)| {
                    let half = |h| &self.rotated.at(2 * term.rotated + h)[kept.clone()];
                    (weights.at(weight(i), block), [half(0), half(1)])
                };
                let triples: Vec<(&[u64], [&[u64]; 2])> =
                    terms.iter().enumerate().map(triple).collect();
                let range = here * BLOCK..(here + 1) * BLOCK;
                let pair = pairs[part.sum].each_mut().map(|half| &mut half[range.clone()]);
                let mut sum = Sum::new(self.ring, self.prime, pair, part.terms.start == 0);
                sum.add(&triples);
                sum.finish();
                k += terms.len();
            }
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
    let most = sources.iter().filter_map(|s| s.digits.as_ref()).map(Digits::count).max();
    let mut workspace = Workspace::with_digits(ring, prime, special, most.unwrap_or(0));
    let mut pairs = out.pairs_mut();
    for group in rotations.chunk_by(|a, b| a.source == b.source) {
        let source = &sources[group[0].source];
        if group.iter().any(|rotation| rotation.switch.is_some()) {
            workspace.raise(source.digits.as_ref().expect("a rotated source has digits"));
        }
        let of_group: Vec<PairMut<'_>> = pairs.by_ref().take(group.len()).collect();
        let beside = || (workspace.beside(), ring.pool().take(2 * n));
        group.par_iter().zip(of_group).for_each_init(
            beside,
            |(workspace, spare), (rotation, pair)| {
                pair.put(spare.as_mut_slice(), |halves| match &rotation.switch {
                    Some((key, permutation)) => {
                        let digits = source.digits.as_ref().expect("a rotated source has digits");
                        let add = [Some(Addend::Lifted(source.parts[0])), None];
                        let permutation = Some(Arc::clone(permutation));
                        let switched = Switched { add, permutation, ..Switched::new(digits, *key) };
                        workspace.switch(&switched, halves);
                    }
                    None => lift(ring, prime, special, source, halves),
                });
            },
        );
    }
}

/// A source that is not rotated, times the special product, at one prime.
fn lift(ring: &Ring, prime: Prime, special: u64, source: &Source<'_>, out: [&mut [u64]; 2]) {
    for (half, part) in out.into_iter().zip(source.parts) {
        match prime {
            Prime::Q(_) => {
                half.copy_from_slice(part.limb_of(prime));
                if special != 1 {
                    kernels::mul_scalar_assign(ring.isa(), ring.modulus(prime), half, special);
                }
            }
            Prime::P(_) => half.fill(0),
        }
    }
}
