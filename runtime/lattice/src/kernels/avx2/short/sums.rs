//! Sums of products of residues of 31 bits.
//!
//! One multiplication and one addition for four products, where the general kernel takes a dozen operations;
//! the modulus is taken out of a sum once, when no further product is certain to fit.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_add_pd, _mm256_and_si256, _mm256_mul_epu32, _mm256_or_si256,
    _mm256_set1_epi64x, _mm256_set1_pd, _mm256_slli_epi64, _mm256_srli_epi64,
};

use super::super::arithmetic::{
    Factor, Field, centred_f64, integers, load, quads, quads_mut, store,
};
use super::super::pointwise::BLOCK_WORDS;
use crate::modulus::Modulus;

/// Reduces words of 64 bits.
#[derive(Clone, Copy)]
struct Reducer {
    f: Field,
    two_32: Factor,
    low: __m256i,
}

impl Reducer {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(q: Modulus) -> Self {
        let f = Field::new(q);
        let two_32 = f.factor(_mm256_set1_pd(centred_f64(q, q.reduce_u64(1 << 32))));
        Self { f, two_32, low: _mm256_set1_epi64x((1 << 32) - 1) }
    }

    /// Every word modulo q, in place: the upper half times `2^32`, plus the lower half, is below `2^34`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn reduce(self, out: &mut [u64]) {
        for o in quads_mut(out) {
            let sum = load(o);
            let high = integers(upper(sum));
            let low = integers(_mm256_and_si256(sum, self.low));
            let carried = self.f.mul_factor(high, self.two_32);
            self.f.store_reduced(o, _mm256_add_pd(carried, low));
        }
    }
}

/// `out = sum of a * b`, or `out +=` it, for a modulus up to [`super::LARGEST_OF_SUMS`].
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn sum_of_products<'a, const ADD: bool>(
    q: Modulus,
    out: &mut [u64],
    pairs: impl Iterator<Item = (&'a [u64], &'a [u64])> + Clone,
) {
    let reducer = Reducer::new(q);
    let largest = q.value() - 1;
    // What a reduction leaves counts as one product more.
    let most = u64::MAX / (largest * largest) - 1;
    for (block, out) in out.chunks_mut(BLOCK_WORDS).enumerate() {
        let range = block * BLOCK_WORDS..block * BLOCK_WORDS + out.len();
        if !ADD {
            out.fill(0);
        }
        let mut pairs = pairs.clone();
        let mut room = most;
        while let Some((a, b)) = pairs.next() {
            if room < 2 {
                reducer.reduce(out);
                room = most;
            }
            let first = (&a[range.clone()], &b[range.clone()]);
            if let Some((a, b)) = pairs.next() {
                add_two_products(out, first, (&a[range.clone()], &b[range.clone()]));
            } else {
                add_product(out, first);
            }
            room -= 2;
        }
        reducer.reduce(out);
    }
}

/// `out += a * b` as integers.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_product(out: &mut [u64], (a, b): (&[u64], &[u64])) {
    for ((o, x), y) in quads_mut(out).iter_mut().zip(quads(a)).zip(quads(b)) {
        let product = _mm256_mul_epu32(load(x), load(y));
        store(o, _mm256_add_epi64(load(o), product));
    }
}

/// `out += a * b` for both pairs, as integers.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_two_products(out: &mut [u64], (a, b): (&[u64], &[u64]), (c, d): (&[u64], &[u64])) {
    let first = quads(a).iter().zip(quads(b));
    let second = quads(c).iter().zip(quads(d));
    for ((o, (x, y)), (z, w)) in quads_mut(out).iter_mut().zip(first).zip(second) {
        let products = _mm256_add_epi64(
            _mm256_mul_epu32(load(x), load(y)),
            _mm256_mul_epu32(load(z), load(w)),
        );
        store(o, _mm256_add_epi64(load(o), products));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super::super) fn reduce_words(q: Modulus, a: &mut [u64]) {
    Reducer::new(q).reduce(a);
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super::super) fn pack(out: &mut [u64], a: &[u64]) {
    let (pairs, _) = quads(a).as_chunks::<2>();
    for (o, [low, high]) in quads_mut(out).iter_mut().zip(pairs) {
        store(o, _mm256_or_si256(load(low), _mm256_slli_epi64::<32>(load(high))));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super::super) fn packed_sums(
    sums: [&mut [u64]; 2],
    triples: &[(&[u64], [&[u64]; 2])],
) {
    let words = sums[0].len() / 2;
    match triples.first().map_or(1, |(a, _)| words / a.len()) {
        1 => packed_lines(sums, triples, |a, i| load(&quads(a)[i])),
        2 => packed_lines(sums, triples, |words, i| {
            let [a, b] = words.as_chunks().0[i];
            load(&[a, a, b, b])
        }),
        times => {
            // A power of two, and shifts are what a division by it is.
            let log = (times / 4).ilog2();
            packed_lines(sums, triples, |a, i| _mm256_set1_epi64x(a[i >> log] as i64));
        }
    }
}

/// Sixteen words of every sum: a line of each packed operand, so that operands which fall on the same lines of the
/// nearest cache do not drive each other out half read. `at` finds a register of a left factor.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn packed_lines(
    [first, second]: [&mut [u64]; 2],
    triples: &[(&[u64], [&[u64]; 2])],
    at: impl Fn(&[u64], usize) -> __m256i,
) {
    let first = first.as_chunks_mut::<16>().0.iter_mut();
    for (i, (first, second)) in first.zip(second.as_chunks_mut::<16>().0).enumerate() {
        let mut left = Line::load(first);
        let mut right = Line::load(second);
        for (a, [b, c]) in triples {
            let range = 8 * i..8 * i + 8;
            let (low, high) = (at(a, 2 * i), at(a, 2 * i + 1));
            let [b, c] = [quads(&b[range.clone()]), quads(&c[range])];
            left.add(low, high, load(&b[0]), load(&b[1]));
            right.add(low, high, load(&c[0]), load(&c[1]));
        }
        left.store(first);
        right.store(second);
    }
}

/// Sums of sixteen coefficients, in the order of [`pack`].
struct Line(__m256i, __m256i, __m256i, __m256i);

impl Line {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn load(words: &[u64; 16]) -> Self {
        let quads = quads(words);
        Self(load(&quads[0]), load(&quads[1]), load(&quads[2]), load(&quads[3]))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn store(self, words: &mut [u64; 16]) {
        let quads = quads_mut(words);
        store(&mut quads[0], self.0);
        store(&mut quads[1], self.1);
        store(&mut quads[2], self.2);
        store(&mut quads[3], self.3);
    }

    /// Adds the products of two packed registers each.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn add(&mut self, a: __m256i, b: __m256i, x: __m256i, y: __m256i) {
        self.0 = _mm256_add_epi64(self.0, _mm256_mul_epu32(a, x));
        self.1 = _mm256_add_epi64(self.1, _mm256_mul_epu32(upper(a), upper(x)));
        self.2 = _mm256_add_epi64(self.2, _mm256_mul_epu32(b, y));
        self.3 = _mm256_add_epi64(self.3, _mm256_mul_epu32(upper(b), upper(y)));
    }
}

/// The upper halves of the words.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn upper(x: __m256i) -> __m256i {
    _mm256_srli_epi64::<32>(x)
}
