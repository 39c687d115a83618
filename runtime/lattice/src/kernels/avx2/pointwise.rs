//! Element-wise kernels.

use std::arch::x86_64::{
    __m256i, _CMP_GT_OQ, _MM_HINT_T1, _mm_prefetch, _mm256_add_epi64, _mm256_add_pd, _mm256_and_pd,
    _mm256_and_si256, _mm256_andnot_si256, _mm256_blendv_pd, _mm256_castpd_si256,
    _mm256_castsi256_pd, _mm256_cmp_pd, _mm256_cmpeq_epi64, _mm256_floor_pd, _mm256_mul_pd,
    _mm256_or_si256, _mm256_permutevar8x32_epi32, _mm256_set1_epi64x, _mm256_set1_pd,
    _mm256_setzero_si256, _mm256_slli_epi64, _mm256_srli_epi64, _mm256_sub_epi64, _mm256_sub_pd,
};

use super::super::{CARRY, Lanes};
use super::arithmetic::{
    Field, Words, centred_f64, integers, load, load_bits, load_integers, quads, quads_mut, store,
    store_bits, store_integers,
};
use super::short;
use super::uneven::repeated_products;
use crate::modulus::Modulus;

/// Reduced products of two residues that add up before the sum must be reduced:
/// each is at most `7/8 q`, what is carried over at most `0.51 q`, and `0.51 + 8 * 7/8 < 8` keeps the sum below `2^53`.
const LAZY_TERMS: usize = 8;

/// [`CARRY`], as shifts take it.
const CARRY_BITS: i32 = CARRY as i32;

/// Words of a line of the caches.
const LINE_WORDS: usize = 8;

/// Words of a limb whose sums stay in the nearest cache while the terms pass by.
pub(super) const BLOCK_WORDS: usize = 1 << 10;

/// `if a < 0 { b } else { a }` by the sign bits.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn if_negative(a: __m256i, b: __m256i) -> __m256i {
    let (x, y) = (_mm256_castsi256_pd(a), _mm256_castsi256_pd(b));
    _mm256_castpd_si256(_mm256_blendv_pd(x, y, x))
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn add_assign(q: Modulus, a: &mut [u64], b: &[u64]) {
    let modulus = _mm256_set1_epi64x(q.value() as i64);
    for (x, y) in quads_mut(a).iter_mut().zip(quads(b)) {
        let sum = _mm256_add_epi64(load(x), load(y));
        store(x, if_negative(_mm256_sub_epi64(sum, modulus), sum));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn sub_assign(q: Modulus, a: &mut [u64], b: &[u64]) {
    let modulus = _mm256_set1_epi64x(q.value() as i64);
    for (x, y) in quads_mut(a).iter_mut().zip(quads(b)) {
        let difference = _mm256_sub_epi64(load(x), load(y));
        store(x, if_negative(difference, _mm256_add_epi64(difference, modulus)));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn neg_assign(q: Modulus, a: &mut [u64]) {
    let modulus = _mm256_set1_epi64x(q.value() as i64);
    for x in quads_mut(a) {
        let value = load(x);
        let zero = _mm256_cmpeq_epi64(value, _mm256_setzero_si256());
        store(x, _mm256_andnot_si256(zero, _mm256_sub_epi64(modulus, value)));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn add_scalar_assign(q: Modulus, a: &mut [u64], s: u64) {
    let modulus = _mm256_set1_epi64x(q.value() as i64);
    let s = _mm256_set1_epi64x(s as i64);
    for x in quads_mut(a) {
        let sum = _mm256_add_epi64(load(x), s);
        store(x, if_negative(_mm256_sub_epi64(sum, modulus), sum));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn mul(q: Modulus, out: &mut [u64], a: &[u64], b: &[u64]) {
    let f = Field::new(q);
    for ((o, x), y) in quads_mut(out).iter_mut().zip(quads(a)).zip(quads(b)) {
        f.store_lifted(o, f.mul(load_integers(x), load_integers(y)));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn mul_assign(q: Modulus, a: &mut [u64], b: &[u64]) {
    let f = Field::new(q);
    for (x, y) in quads_mut(a).iter_mut().zip(quads(b)) {
        f.store_lifted(x, f.mul(load_integers(x), load_integers(y)));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn mul_add_assign(q: Modulus, acc: &mut [u64], a: &[u64], b: &[u64]) {
    let f = Field::new(q);
    for ((o, x), y) in quads_mut(acc).iter_mut().zip(quads(a)).zip(quads(b)) {
        let product = f.mul(load_integers(x), load_integers(y));
        let sum = _mm256_add_pd(load_integers(o), product);
        f.store_reduced(o, sum);
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn mul_scalar_assign(q: Modulus, a: &mut [u64], s: u64) {
    let f = Field::new(q);
    let s = f.factor(_mm256_set1_pd(centred_f64(q, s)));
    for x in quads_mut(a) {
        f.store_lifted(x, f.mul_factor(load_integers(x), s));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn mul_scalar_add_assign(q: Modulus, acc: &mut [u64], b: &[u64], s: u64) {
    let f = Field::new(q);
    let s = f.factor(_mm256_set1_pd(centred_f64(q, s)));
    for (o, x) in quads_mut(acc).iter_mut().zip(quads(b)) {
        let sum = _mm256_add_pd(load_integers(o), f.mul_factor(load_integers(x), s));
        f.store_reduced(o, sum);
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn sub_from_mul_scalar(q: Modulus, out: &mut [u64], a: &[u64], s: u64) {
    let f = Field::new(q);
    let s = f.factor(_mm256_set1_pd(centred_f64(q, s)));
    for (o, x) in quads_mut(out).iter_mut().zip(quads(a)) {
        let difference = _mm256_sub_pd(load_integers(x), load_integers(o));
        f.store_lifted(o, f.mul_factor(difference, s));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn inner_product(q: Modulus, out: &mut [u64], pairs: &[(&[u64], &[u64])]) {
    sum_of_products::<false>(q, out, pairs.iter().copied());
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn inner_products(
    q: Modulus,
    outs: [&mut [u64]; 2],
    triples: &[(&[u64], [&[u64]; 2])],
    fresh: bool,
) {
    let (len, shortest) = (outs[0].len(), triples.first().map(|(a, _)| a.len()));
    if let Some(words) = shortest.filter(|&words| words < len) {
        return repeated_products(q, outs, triples, len / words, fresh);
    }
    for (half, out) in outs.into_iter().enumerate() {
        let pairs = triples.iter().map(|&(a, b)| (a, b[half]));
        if fresh {
            sum_of_products::<false>(q, out, pairs);
        } else {
            sum_of_products::<true>(q, out, pairs);
        }
    }
}

/// `out = sum of a * b`, or `out +=` it.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn sum_of_products<'a, const ADD: bool>(
    q: Modulus,
    out: &mut [u64],
    pairs: impl Iterator<Item = (&'a [u64], &'a [u64])> + Clone,
) {
    if q.value() <= short::LARGEST_OF_SUMS {
        return short::sum_of_products::<ADD>(q, out, pairs);
    }
    let f = Field::new(q);
    for (block, out) in out.chunks_mut(BLOCK_WORDS).enumerate() {
        let range = block * BLOCK_WORDS..block * BLOCK_WORDS + out.len();
        let out = quads_mut(out);
        begin(f, out, !ADD);
        for (i, (a, b)) in pairs.clone().enumerate() {
            add_products(f, out, i, &a[range.clone()], &b[range.clone()]);
        }
        finish(f, out);
    }
}

/// What f64 sums begin with: zeros, or the residues that stand there, centred like the sums that are carried over.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn begin(f: Field, out: &mut [Words], fresh: bool) {
    if fresh {
        clear(out);
    } else {
        out.iter_mut().for_each(|o| store_bits(o, f.reduce(load_integers(o))));
    }
}

/// Adds the products of term number `i` to f64 sums.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn add_products(f: Field, out: &mut [Words], i: usize, a: &[u64], b: &[u64]) {
    for ((o, x), y) in out.iter_mut().zip(quads(a)).zip(quads(b)) {
        let product = f.mul(load_integers(x), load_integers(y));
        store_bits(o, _mm256_add_pd(load_bits(o), product));
    }
    if i % LAZY_TERMS == LAZY_TERMS - 1 {
        reduce_bits(f, out);
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn linear_combination(
    q: Modulus,
    out: &mut [u64],
    terms: &[(&[u64], u64)],
    carried: u64,
) {
    let f = Field::new(q);
    let carried = f.factor(_mm256_set1_pd(centred_f64(q, carried)));
    let residue = _mm256_set1_epi64x((1 << CARRY) - 1);
    for (block, out) in out.chunks_mut(BLOCK_WORDS).enumerate() {
        let range = block * BLOCK_WORDS..block * BLOCK_WORDS + out.len();
        let out = quads_mut(out);
        clear(out);
        for (i, (src, s)) in terms.iter().enumerate() {
            // The factor is centred, so that a source word of 50 bits counts as a residue even if q is small.
            let s = f.factor(_mm256_set1_pd(centred_f64(q, *s)));
            for (o, x) in out.iter_mut().zip(quads(&src[range.clone()])) {
                let product = f.mul_factor(integers(_mm256_and_si256(load(x), residue)), s);
                store_bits(o, _mm256_add_pd(load_bits(o), product));
            }
            if i == 0 {
                for (o, x) in out.iter_mut().zip(quads(&src[range.clone()])) {
                    let over = integers(_mm256_srli_epi64::<CARRY_BITS>(load(x)));
                    let product = f.mul_factor(over, carried);
                    store_bits(o, _mm256_add_pd(load_bits(o), product));
                }
            }
            if i % LAZY_TERMS == LAZY_TERMS - 2 {
                reduce_bits(f, out);
            }
        }
        finish(f, out);
    }
}

/// Zeros, as integers and as f64.
fn clear(out: &mut [Words]) {
    out.fill([0; 4]);
}

/// Reduces f64 sums in place.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn reduce_bits(f: Field, out: &mut [Words]) {
    for o in out {
        store_bits(o, f.reduce(load_bits(o)));
    }
}

/// Turns f64 sums into residues in place.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn finish(f: Field, out: &mut [Words]) {
    for o in out {
        f.store_reduced(o, load_bits(o));
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn reduce_centred(from: Modulus, q: Modulus, out: &mut [u64], src: &[u64]) {
    let f = Field::new(q);
    let half = _mm256_set1_pd((from.value() >> 1) as f64);
    let modulus = _mm256_set1_pd(from.value() as f64);
    for (o, x) in quads_mut(out).iter_mut().zip(quads(src)) {
        let x = load_integers(x);
        let above = _mm256_cmp_pd::<_CMP_GT_OQ>(x, half);
        let centred = _mm256_sub_pd(x, _mm256_and_pd(above, modulus));
        f.store_reduced(o, centred);
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn carry_rounded_sum(
    first: &mut [u64],
    weight: f64,
    others: &[(&[u64], f64)],
) {
    let (half, weight) = (_mm256_set1_pd(0.5), _mm256_set1_pd(weight));
    for (i, first) in quads_mut(first).iter_mut().enumerate() {
        let word = load(first);
        let mut sum = _mm256_mul_pd(integers(word), weight);
        for (src, weight) in others {
            let product = _mm256_mul_pd(load_integers(&quads(src)[i]), _mm256_set1_pd(*weight));
            sum = _mm256_add_pd(sum, product);
        }
        let mut over = [0; 4];
        store_integers(&mut over, _mm256_floor_pd(_mm256_add_pd(sum, half)));
        store(first, _mm256_or_si256(word, _mm256_slli_epi64::<CARRY_BITS>(load(&over))));
    }
}

/// Both halves of a run come whole from a half of its original each.
#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn permute(out: &mut [u64], src: &[u64], sources: &[u32], lanes: &Lanes) {
    // Per row and half: the words of 32 bits to take, and whether they are in the upper half.
    let halves = lanes.map(|row| {
        let (halves, _) = row.as_chunks::<4>();
        [halves[0], halves[1]].map(|half: Words| {
            let word = |lane: u64| (2 * (lane % 4)) | ((2 * (lane % 4) + 1) << 32);
            (half.map(word), half[0] as usize / 4)
        })
    });
    let (src, (runs, _)) = (quads(src), quads_mut(out).as_chunks_mut::<2>());
    for (run, &source) in runs.iter_mut().zip(sources) {
        let (source, row) = (source as usize / 8, &halves[source as usize % 8]);
        for (o, (words, upper)) in run.iter_mut().zip(row) {
            let half = load(&src[2 * source + upper]);
            store(o, _mm256_permutevar8x32_epi32(half, load(words)));
        }
    }
}

/// The nearest cache is too small for what comes that long before it is read.
#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn prefetch(words: &[u64]) {
    for line in words.chunks(LINE_WORDS) {
        _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
    }
}
