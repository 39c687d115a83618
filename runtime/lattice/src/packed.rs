//! Limbs that are read far more often than written, as their kernels read them: two residues to a word where primes are
//! short, and those of keys as narrow as their primes.
//!
//! Rotations, encoded diagonals and expanded keys are factors of sums of products, and those are bound by the memory that
//! they read: at half the bytes they take little more than half the time.

use std::ops::Range;

use crate::basis::{Basis, Prime};
use crate::bits;
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

/// How a limb is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As residues.
    Plain,
    /// Two residues to a word.
    Halves,
    /// At the width of the modulus, in bits.
    Narrow(u32),
}

impl Form {
    /// Words of a limb.
    const fn words(self, degree: usize) -> usize {
        match self {
            Self::Plain => degree,
            Self::Halves => degree / 2,
            Self::Narrow(width) => bits::packed_words(degree, width),
        }
    }

    /// Keeps a limb.
    fn store(self, isa: Isa, out: &mut [u64], limb: &[u64]) {
        match self {
            Self::Plain => out.copy_from_slice(limb),
            Self::Halves => kernels::pack(isa, out, limb),
            Self::Narrow(width) => kernels::pack_narrow(isa, out, limb, width),
        }
    }

    /// Of the limbs of keys: of long primes as narrow as they are, where that pays, since keys come from far away.
    const fn of_keys(isa: Isa, q: Modulus) -> Self {
        match (q.value() <= kernels::LARGEST_PACKED, isa.takes_narrow()) {
            (true, _) => Self::Halves,
            (false, true) => Self::Narrow(q.bits()),
            (false, false) => Self::Plain,
        }
    }
}

/// Limbs at one prime, two residues to a word where `is_packed` says so; of a key, otherwise as narrow as their modulus.
pub struct Limbs {
    isa: Isa,
    form: Form,
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
        Self::of_form(ring, if packed { Form::Halves } else { Form::Plain }, count)
    }

    /// Room for `count` limbs of keys, with unspecified contents.
    pub fn of_keys(ring: &Ring, prime: Prime, count: usize) -> Self {
        Self::of_form(ring, Form::of_keys(ring.isa(), ring.modulus(prime)), count)
    }

    fn of_form(ring: &Ring, form: Form, count: usize) -> Self {
        let words = form.words(ring.degree());
        let stride = words + PADDING_WORDS;
        let buffer = ring.pool().take(count * stride);
        Self { isa: ring.isa(), form, words, stride, buffer }
    }

    /// The bytes that `count` limbs of keys at a prime take.
    pub fn bytes_of_keys(ring: &Ring, prime: Prime, count: usize) -> usize {
        let form = Form::of_keys(ring.isa(), ring.modulus(prime));
        count * (form.words(ring.degree()) + PADDING_WORDS) * size_of::<u64>()
    }

    /// Whether limbs of keys at a prime are kept as [`NarrowPolys`] has them.
    pub fn keys_are_narrow(ring: &Ring, prime: Prime) -> bool {
        matches!(Form::of_keys(ring.isa(), ring.modulus(prime)), Form::Narrow(_))
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

    /// The limbs in pairs, to be written side by side.
    pub(crate) fn pairs_mut(&mut self) -> impl Iterator<Item = PairMut<'_>> {
        let Self { isa, form, words, stride, .. } = *self;
        let pairs = self.buffer.as_mut_slice().chunks_exact_mut(2 * stride);
        pairs.map(move |pair| {
            let (first, second) = pair.split_at_mut(stride);
            PairMut { isa, form, halves: [&mut first[..words], &mut second[..words]] }
        })
    }

    /// Where the residues of a range are that begins and ends at multiples of 16, if the limbs are not those of keys.
    pub(crate) fn range(&self, residues: &Range<usize>) -> Range<usize> {
        debug_assert!(!matches!(self.form, Form::Narrow(_)), "a range of plain limbs or of halves");
        let per_word = if self.form == Form::Halves { 2 } else { 1 };
        residues.start / per_word..residues.end / per_word
    }

    /// Keeps a limb that is in its kept form already.
    pub fn copy(&mut self, i: usize, kept: &[u64]) {
        self.at_mut(i).copy_from_slice(kept);
    }

    fn at_mut(&mut self, i: usize) -> &mut [u64] {
        &mut self.buffer.as_mut_slice()[i * self.stride..][..self.words]
    }

    /// Keeps N residues.
    pub fn store(&mut self, i: usize, limb: &[u64]) {
        let (isa, form) = (self.isa, self.form);
        form.store(isa, self.at_mut(i), limb);
    }

    /// Keeps what `write` writes; `spare` is room for a limb.
    pub fn put(&mut self, i: usize, spare: &mut [u64], write: impl FnOnce(&mut [u64])) {
        if self.form == Form::Plain {
            write(&mut self.buffer.as_mut_slice()[i * self.stride..][..self.words]);
        } else {
            write(spare);
            self.store(i, spare);
        }
    }
}

/// Two of the limbs, to be written.
pub(crate) struct PairMut<'a> {
    isa: Isa,
    form: Form,
    halves: [&'a mut [u64]; 2],
}

impl PairMut<'_> {
    /// Keeps what `write` writes; `spare` is room for two limbs.
    pub(crate) fn put(self, spare: &mut [u64], write: impl FnOnce([&mut [u64]; 2])) {
        if self.form == Form::Plain {
            return write(self.halves);
        }
        let (first, second) = spare.split_at_mut(spare.len() / 2);
        write([&mut *first, &mut *second]);
        for (out, limb) in self.halves.into_iter().zip([first, second]) {
            self.form.store(self.isa, out, limb);
        }
    }
}

/// Polynomials over one basis as files hold them: limb after limb, each as narrow as its prime.
pub struct NarrowPolys {
    degree: usize,
    /// Bits of the residues of every limb.
    widths: Vec<u32>,
    /// Words of the limbs before each, and of all.
    starts: Vec<usize>,
    buffer: Buffer,
}

impl NarrowPolys {
    /// Room for `count` polynomials, with unspecified contents.
    pub fn new(ring: &Ring, basis: Basis, count: usize) -> Self {
        let (degree, mut end) = (ring.degree(), 0);
        let widths: Vec<u32> = ring.moduli(basis).map(Modulus::bits).collect();
        let ends = widths.iter().map(|&width| {
            end += bits::packed_len(degree, width) / size_of::<u64>();
            end
        });
        let starts: Vec<usize> = [0].into_iter().chain(ends).collect();
        // What follows the last limb is read, but nothing depends on it.
        let after = bits::packed_words(0, 1);
        let buffer = ring.pool().take(count * starts[widths.len()] + after);
        Self { degree, widths, starts, buffer }
    }

    /// The bytes that `count` of them take in a file.
    pub fn packed_bytes(ring: &Ring, basis: Basis, count: usize) -> usize {
        count * ring.moduli(basis).map(|q| bits::packed_len(ring.degree(), q.bits())).sum::<usize>()
    }

    /// The bytes that they take in memory.
    pub fn bytes(&self) -> usize {
        size_of_val(self.buffer.as_slice())
    }

    /// From now on no others are to come in their place: their memory does not wait for such.
    pub fn unpool(&mut self) {
        self.buffer.unpool();
    }

    /// The bytes of a limb in a file.
    pub fn limb_bytes(&self, limb: usize) -> usize {
        bits::packed_len(self.degree, self.widths[limb])
    }

    fn start(&self, poly: usize, limb: usize) -> usize {
        poly * self.starts[self.widths.len()] + self.starts[limb]
    }

    /// Takes the bytes of a limb from a file.
    ///
    /// # Panics
    /// If they are not [`Self::limb_bytes`] many, or there is no such limb.
    pub fn fill(&mut self, poly: usize, limb: usize, packed: &[u8]) {
        assert_eq!(packed.len(), self.limb_bytes(limb), "the bytes of the limb");
        let start = self.start(poly, limb);
        let words = &mut self.buffer.as_mut_slice()[start..][..packed.len() / size_of::<u64>()];
        for (word, bytes) in words.iter_mut().zip(packed.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
    }

    /// A limb in the form of [`Limbs::of_keys`] where these are narrow.
    pub fn at(&self, poly: usize, limb: usize) -> &[u64] {
        let words = bits::packed_words(self.degree, self.widths[limb]);
        &self.buffer.as_slice()[self.start(poly, limb)..][..words]
    }

    /// Writes the residues of a limb.
    pub fn unpack(&self, poly: usize, limb: usize, out: &mut [u64]) {
        bits::unpack_words(self.at(poly, limb), self.widths[limb], out);
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
        if is_packed(self.q) {
            return self.add_halves(triples);
        }
        let fresh = std::mem::take(&mut self.empty);
        let pair = self.pair.each_mut().map(|half| &mut **half);
        kernels::inner_products(self.isa, self.q, pair, triples, fresh);
    }

    /// [`Self::add`], where the `b` are limbs of keys ([`Limbs::of_keys`]).
    pub(crate) fn add_keys(&mut self, triples: &[(&[u64], [&[u64]; 2])]) {
        let Form::Narrow(_) = Form::of_keys(self.isa, self.q) else { return self.add(triples) };
        let fresh = std::mem::take(&mut self.empty);
        let pair = self.pair.each_mut().map(|half| &mut **half);
        kernels::narrow_products(self.isa, self.q, pair, triples, fresh);
    }

    fn add_halves(&mut self, triples: &[(&[u64], [&[u64]; 2])]) {
        if std::mem::take(&mut self.empty) {
            self.clear();
        }
        for triples in triples.chunks(Self::room(self.q)) {
            if triples.len() > self.room {
                self.reduce();
            }
            let pair = self.pair.each_mut().map(|half| &mut **half);
            kernels::packed_sums(self.isa, pair, triples);
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
