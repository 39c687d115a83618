//! Weights of sums in the order in which sums read them: block by block of the slots, and all weights of a block in a row.
//!
//! An element of the subring of `size` coefficients has every residue `N / size` times in a row (in evaluation form and
//! bit-reversed order). Only one of them is kept, and repeated in the register where it is multiplied: the weights of a matrix are
//! a fraction of the whole ring's, and what sums read of them comes from memory in one sequence.

use crate::basis::Prime;
use crate::kernels::{self, Isa};
use crate::packed::{PADDING_WORDS, is_packed};
use crate::pool::Buffer;
use crate::ring::Ring;

/// Slots of a block.
pub(crate) const BLOCK: usize = 1 << 9;

/// Elements of a subring at one prime, packed where [`is_packed`] says so.
pub(crate) struct Blocks {
    isa: Isa,
    packed: bool,
    count: usize,
    /// Residues that are kept of an element.
    size: usize,
    /// How often each stands in a row.
    times: usize,
    /// Words of an element in a block.
    words: usize,
    /// Words from one element to the next.
    stride: usize,
    buffer: Buffer,
}

impl Blocks {
    /// Room for `count` elements of the subring of `size` coefficients, a power of two, with unspecified contents.
    pub(crate) fn new(ring: &Ring, prime: Prime, count: usize, size: usize) -> Self {
        let packed = is_packed(ring.modulus(prime));
        let times = ring.degree() / size;
        let (words, stride) = Self::words(packed, times);
        let buffer = ring.pool().take(ring.degree() / BLOCK * count * stride);
        Self { isa: ring.isa(), packed, count, size, times, words, stride, buffer }
    }

    /// Words of an element in a block, and with those that keep it apart from the next one's lines of a cache.
    ///
    /// Two residues to a word where they stand next to each other in a run of eight.
    const fn words(packed: bool, times: usize) -> (usize, usize) {
        let words = BLOCK / times / if packed && times < 8 { 2 } else { 1 };
        (words, if times == 1 { words + PADDING_WORDS } else { words })
    }

    /// The bytes that `count` elements take at a prime.
    pub(crate) fn bytes_of(ring: &Ring, prime: Prime, count: usize, size: usize) -> usize {
        let (_, stride) = Self::words(is_packed(ring.modulus(prime)), ring.degree() / size);
        ring.degree() / BLOCK * count * stride * size_of::<u64>()
    }

    /// The bytes that these take.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.buffer.as_slice())
    }

    /// Keeps what `write` writes, the residues of an element once each; `spare` is room for a limb.
    pub(crate) fn put(&mut self, i: usize, spare: &mut [u64], write: impl FnOnce(&mut [u64])) {
        let residues = &mut spare[..self.size];
        write(residues);
        for (block, residues) in residues.chunks_exact(BLOCK / self.times).enumerate() {
            let at = (block * self.count + i) * self.stride;
            let out = &mut self.buffer.as_mut_slice()[at..][..self.words];
            match self.times {
                _ if !self.packed => out.copy_from_slice(residues),
                1 => kernels::pack(self.isa, out, residues),
                // In a run of eight, the fifth residue is the third, the second or the first of those kept.
                2 => {
                    let quads = residues.as_chunks::<4>().0;
                    for (words, &[a, b, c, d]) in out.as_chunks_mut::<2>().0.iter_mut().zip(quads) {
                        *words = [a | c << 32, b | d << 32];
                    }
                }
                4 => {
                    for (word, &[a, b]) in out.iter_mut().zip(residues.as_chunks::<2>().0) {
                        *word = a | b << 32;
                    }
                }
                _ => out.iter_mut().zip(residues).for_each(|(word, a)| *word = a | a << 32),
            }
        }
    }

    /// An element in a block, as it is kept: each of its words stands for as many as are missing to those of a limb.
    pub(crate) fn at(&self, i: usize, block: usize) -> &[u64] {
        &self.buffer.as_slice()[(block * self.count + i) * self.stride..][..self.words]
    }

    /// Asks for an element in a block, to be read soon.
    pub(crate) fn prefetch(&self, i: usize, block: usize) {
        kernels::prefetch(self.isa, self.at(i, block));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packed::Limbs;
    use crate::primes::ntt_primes_below;

    #[test]
    fn elements_of_subrings_are_limbs_of_the_whole_ring() {
        let q: Vec<u64> =
            [45, 30].map(|bits| ntt_primes_below(1 << bits, 12).next().unwrap()).into();
        let ring = Ring::new(12, &q, &[]).unwrap();
        let n = ring.degree();
        for (prime, log_size) in
            [0, 1].into_iter().flat_map(|q| (7..=12).map(move |s| (Prime::Q(q), s)))
        {
            let size = 1usize << log_size;
            let residue = |i: usize, j: usize| (i * 7919 + j * 104_729) as u64 % q[1];
            let mut blocks = Blocks::new(&ring, prime, 3, size);
            let mut limbs = Limbs::new(&ring, prime, 3);
            let mut spare = vec![0; n];
            for i in 0..3 {
                blocks.put(i, &mut spare, |out| (0..size).for_each(|j| out[j] = residue(i, j)));
                limbs.put(i, &mut spare, |out| {
                    (0..n).for_each(|j| out[j] = residue(i, j * size / n))
                });
            }
            for (i, block) in (0..3).flat_map(|i| (0..n / BLOCK).map(move |b| (i, b))) {
                let range = limbs.range(&(block * BLOCK..(block + 1) * BLOCK));
                let (words, expected) = (blocks.at(i, block), &limbs.at(i)[range]);
                let times = expected.len() / words.len();
                let repeated: Vec<u64> =
                    words.iter().flat_map(|&word| std::iter::repeat_n(word, times)).collect();
                assert_eq!(repeated, expected, "2^{log_size} at {prime:?}");
            }
            assert_eq!(blocks.bytes(), Blocks::bytes_of(&ring, prime, 3, size));
        }
    }
}
