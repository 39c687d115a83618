//! Limbs that are read far more often than written, as their kernels read them: two residues to a word where primes are
//! short.
//!
//! Rotations, encoded diagonals and expanded keys are factors of sums of products, and those are bound by the memory that
//! they read: at half the bytes they take little more than half the time.

use std::ops::Range;

use crate::basis::Prime;
use crate::kernels::{self, Isa};
use crate::modulus::Modulus;
use crate::pool::{ALIGNMENT, Buffer};
use crate::ring::Ring;

/// Words between two limbs.
pub(crate) const PADDING_WORDS: usize = 2 * ALIGNMENT / size_of::<u64>();

/// Whether limbs of this modulus are kept two residues to a word.
pub(crate) fn is_packed(q: Modulus) -> bool {
    q.value() <= kernels::LARGEST_PACKED
}

/// Limbs at one prime, packed where `is_packed` says so.
pub struct Limbs {
    isa: Isa,
    packed: bool,
    /// Words of a limb.
    words: usize,
    /// Words from one limb to the next: at multiples of a power of two they would share the lines of a cache.
    stride: usize,
    buffer: Buffer,
}

impl Limbs {
    /// Room for `count` limbs, with unspecified contents.
    pub fn new(ring: &Ring, prime: Prime, count: usize) -> Self {
        let packed = is_packed(ring.modulus(prime));
        let words = if packed { ring.degree() / 2 } else { ring.degree() };
        let stride = words + PADDING_WORDS;
        let buffer = ring.pool().take(count * stride);
        Self { isa: ring.isa(), packed, words, stride, buffer }
    }

    /// The bytes that `count` limbs of a prime take.
    pub fn bytes_of(degree: usize, prime: u64, count: usize) -> usize {
        let width =
            if prime <= kernels::LARGEST_PACKED { size_of::<u32>() } else { size_of::<u64>() };
        count * (degree * width + PADDING_WORDS * size_of::<u64>())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.buffer.as_slice().len() / self.stride
    }

    /// The bytes that these take.
    pub fn bytes(&self) -> usize {
        size_of_val(self.buffer.as_slice())
    }

    /// A limb in its kept form.
    pub fn at(&self, i: usize) -> &[u64] {
        &self.buffer.as_slice()[i * self.stride..][..self.words]
    }

    /// A pair of limbs as residues, if they are kept as such.
    pub(crate) fn plain_pair_mut(&mut self, i: usize) -> Option<[&mut [u64]; 2]> {
        let pair = &mut self.buffer.as_mut_slice()[2 * i * self.stride..];
        let (first, second) = pair.split_at_mut(self.stride);
        (!self.packed).then(|| [&mut first[..self.words], &mut second[..self.words]])
    }

    /// Where the residues of a range are that begins and ends at multiples of 16.
    pub(crate) fn range(&self, residues: &Range<usize>) -> Range<usize> {
        let per_word = if self.packed { 2 } else { 1 };
        residues.start / per_word..residues.end / per_word
    }

    /// Keeps N residues.
    pub fn store(&mut self, i: usize, limb: &[u64]) {
        let out = &mut self.buffer.as_mut_slice()[i * self.stride..][..self.words];
        if self.packed {
            kernels::pack(self.isa, out, limb);
        } else {
            out.copy_from_slice(limb);
        }
    }

    /// Keeps what `write` writes; `spare` is room for a limb.
    pub fn put(&mut self, i: usize, spare: &mut [u64], write: impl FnOnce(&mut [u64])) {
        if self.packed {
            write(spare);
            self.store(i, spare);
        } else {
            write(&mut self.buffer.as_mut_slice()[i * self.stride..][..self.words]);
        }
    }
}

/// A pair of limbs to which products of kept limbs are added.
pub(crate) struct Sum<'a> {
    isa: Isa,
    q: Modulus,
    pair: [&'a mut [u64]; 2],
    /// Whether nothing was added yet, and the pair holds anything.
    empty: bool,
    /// Packed: further products that certainly fit a word.
    room: usize,
}

impl<'a> Sum<'a> {
    /// A sum of nothing, in this pair, or of what the pair holds if it is not `empty`.
    pub(crate) fn new(ring: &Ring, prime: Prime, pair: [&'a mut [u64]; 2], empty: bool) -> Self {
        let q = ring.modulus(prime);
        Self { isa: ring.isa(), q, pair, empty, room: Self::room(q) }
    }

    /// Products that fit a word beside a residue.
    fn room(q: Modulus) -> usize {
        let largest = q.value() - 1;
        usize::try_from(u64::MAX / largest.saturating_mul(largest)).map_or(usize::MAX, |n| n - 1)
    }

    /// Adds `a * b[h]` to half `h` for every triple; all limbs are in their kept form.
    pub(crate) fn add(&mut self, triples: &[(&[u64], [&[u64]; 2])]) {
        let (isa, q) = (self.isa, self.q);
        let packed = is_packed(q);
        if std::mem::take(&mut self.empty) {
            if !packed {
                let [first, second] = &mut self.pair;
                kernels::inner_products(isa, q, [&mut **first, &mut **second], triples);
                return;
            }
            self.clear();
        }
        if !packed {
            for (h, half) in self.pair.iter_mut().enumerate() {
                let pairs: Vec<(&[u64], &[u64])> =
                    triples.iter().map(|(a, b)| (*a, b[h])).collect();
                kernels::inner_product_add(isa, q, half, &pairs);
            }
            return;
        }
        for triples in triples.chunks(Self::room(q)) {
            if triples.len() > self.room {
                self.reduce();
            }
            let [first, second] = &mut self.pair;
            kernels::packed_sums(isa, [&mut **first, &mut **second], triples);
            self.room -= triples.len();
        }
    }

    /// Leaves residues.
    pub(crate) fn finish(mut self) {
        if self.empty {
            self.clear();
        } else if is_packed(self.q) {
            self.reduce();
        }
    }

    fn clear(&mut self) {
        self.pair.iter_mut().for_each(|half| half.fill(0));
    }

    fn reduce(&mut self) {
        self.pair.iter_mut().for_each(|half| kernels::reduce_words(self.isa, self.q, half));
        self.room = Self::room(self.q);
    }
}
