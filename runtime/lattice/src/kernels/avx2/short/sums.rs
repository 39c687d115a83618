//! Sums of products of residues of 31 bits.
//!
//! One multiplication and one addition for four products, where the general kernel takes a dozen operations;
//! the modulus is taken out of a sum once, when no further product is certain to fit.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_add_pd, _mm256_and_si256, _mm256_mul_epu32,
    _mm256_set1_epi64x, _mm256_set1_pd, _mm256_srli_epi64,
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
            let high = integers(_mm256_srli_epi64::<32>(sum));
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
