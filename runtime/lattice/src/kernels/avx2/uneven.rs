//! Sums of products with factors that are not as many words as the limb.

use std::arch::x86_64::_mm256_set1_epi64x;

use super::arithmetic::{Field, quads_mut, store};
use super::pointwise::{BLOCK_WORDS, add_products, begin, finish};
use crate::modulus::Modulus;

/// A left factor and two right ones.
type Triple<'a> = (&'a [u64], [&'a [u64]; 2]);

/// Every word of a left factor stands for `times` of them.
#[target_feature(enable = "avx2,fma")]
pub(super) fn repeated_products(
    q: Modulus,
    outs: [&mut [u64]; 2],
    triples: &[Triple<'_>],
    times: usize,
    fresh: bool,
) {
    let f = Field::new(q);
    let mut spare = [0; BLOCK_WORDS];
    let [first, second] = outs;
    let blocks = first.chunks_mut(BLOCK_WORDS).zip(second.chunks_mut(BLOCK_WORDS));
    for (block, (first, second)) in blocks.enumerate() {
        let range = block * BLOCK_WORDS..block * BLOCK_WORDS + first.len();
        let (first, second) = (quads_mut(first), quads_mut(second));
        begin(f, first, fresh);
        begin(f, second, fresh);
        for (i, (a, [b, c])) in triples.iter().enumerate() {
            let spare = &mut spare[..range.len()];
            if times < range.len() {
                repeat(spare, &a[range.start / times..range.end / times]);
            } else {
                spare.fill(a[range.start / times]);
            }
            add_products(f, first, i, spare, &b[range.clone()]);
            add_products(f, second, i, spare, &c[range.clone()]);
        }
        finish(f, first);
        finish(f, second);
    }
}

/// Every word of `src` as often, in a row, as `out` is longer: a power of two times.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn repeat(out: &mut [u64], src: &[u64]) {
    let times = out.len() / src.len();
    if times >= 4 {
        for (run, &word) in out.chunks_exact_mut(times).zip(src) {
            let word = _mm256_set1_epi64x(word as i64);
            quads_mut(run).iter_mut().for_each(|o| store(o, word));
        }
    } else if times == 2 {
        for (o, &[a, b]) in quads_mut(out).iter_mut().zip(src.as_chunks::<2>().0) {
            *o = [a, a, b, b];
        }
    } else {
        out.copy_from_slice(src);
    }
}
