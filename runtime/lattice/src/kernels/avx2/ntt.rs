//! The transform in radix 4: two stages for each time that a limb is read and written.
//!
//! Within the transform the words of the limb hold the bits of f64 numbers, lazily reduced:
//! between passes they are at most `k q < 2^53` in magnitude, and [`Bounds`] says for which passes `k` must be brought down.
//! A pass works on blocks; blocks too large for the nearest cache are finished one after another, depth first.
//! The last four stages run on four registers: two across them, two after a transposition within them.

use std::arch::x86_64::{
    __m256d, _mm256_add_pd, _mm256_permute2f128_pd, _mm256_set_pd, _mm256_set1_pd, _mm256_sub_pd,
    _mm256_unpackhi_pd, _mm256_unpacklo_pd,
};

use super::arithmetic::{
    Field, Words, centred_f64, load_bits, load_integers, quads_mut, store_bits, store_integers,
};
use crate::modulus::Modulus;

/// Quads in a block that is transformed pass by pass: 16 KiB, half of the smallest nearest cache.
const BLOCK_QUADS: usize = 1 << 9;

/// What a pass reads and writes.
const LAZY: u8 = 0;
/// Residues as integers on the side that faces the caller.
const OUTER: u8 = 1;

/// Twiddle factors as centred f64 numbers.
#[derive(Debug)]
pub(crate) struct Twiddles {
    forward: Half,
    inverse: Half,
    /// `1/N`.
    inverse_n: f64,
    /// `inverse[1] / N`.
    inverse_n_root: f64,
    forward_reduces: Vec<bool>,
    inverse_reduces: Vec<bool>,
}

/// The factors of one direction.
#[derive(Debug)]
struct Half {
    /// `psi^±brv(i)` for `i < N/4`.
    roots: Vec<f64>,
    /// For every 16 words: the factors of the stage of half-length 2, one lane per group of 4 words,
    /// then those of the stage of half-length 1, the even groups and the odd ones.
    inner: Vec<[__m256d; 3]>,
}

impl Half {
    #[target_feature(enable = "avx2,fma")]
    fn new(q: Modulus, roots: &[u64]) -> Self {
        let n = roots.len();
        let root = |i: usize| centred_f64(q, roots[i]);
        let mut inner = Vec::with_capacity(n / 16);
        for first in (0..n / 4).step_by(4) {
            let (a, b) = (n / 4 + first, n / 2 + 2 * first);
            inner.push([
                _mm256_set_pd(root(a + 3), root(a + 2), root(a + 1), root(a)),
                _mm256_set_pd(root(b + 6), root(b + 4), root(b + 2), root(b)),
                _mm256_set_pd(root(b + 7), root(b + 5), root(b + 3), root(b + 1)),
            ]);
        }
        Self { roots: (0..n / 4).map(root).collect(), inner }
    }

    /// The three factors of block `g` of `m` in a radix-4 pass: the outer stage, then the two of the inner one.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn block(&self, m: usize, g: usize) -> [__m256d; 3] {
        [
            _mm256_set1_pd(self.roots[m + g]),
            _mm256_set1_pd(self.roots[2 * (m + g)]),
            _mm256_set1_pd(self.roots[2 * (m + g) + 1]),
        ]
    }
}

impl Twiddles {
    #[target_feature(enable = "avx2,fma")]
    pub(crate) fn new(q: Modulus, roots: &[u64], inverse_roots: &[u64]) -> Self {
        let log_n = roots.len().trailing_zeros();
        let inverse_n = q.inv(q.reduce_u64(roots.len() as u64));
        let bounds = Bounds::new(q);
        Self {
            forward: Half::new(q, roots),
            inverse: Half::new(q, inverse_roots),
            inverse_n: centred_f64(q, inverse_n),
            inverse_n_root: centred_f64(q, q.mul(inverse_n, inverse_roots[1])),
            forward_reduces: bounds.forward(log_n),
            inverse_reduces: bounds.inverse(log_n),
        }
    }
}

/// Bounds on magnitudes in units of q, worked out for the passes of a transform before it runs.
struct Bounds {
    /// The largest multiple of q that an intermediate may reach: `2^53 / q`, at least 8.
    limit: f64,
    /// A product of `|x| <= k q` with a centred factor is at most `(1/2 + slope k) q`.
    slope: f64,
}

/// What a reduction leaves, in units of q.
const REDUCED: f64 = 0.51;

impl Bounds {
    fn new(q: Modulus) -> Self {
        let q = q.value() as f64;
        // Three roundings of 2^-53 relative to a quotient of at most k q / 2; a little more than that.
        let slope = 1.000_001 * 1.5 * q / (1u64 << 53) as f64;
        Self { limit: (1u64 << 53) as f64 / q, slope }
    }

    fn product(&self, k: f64) -> f64 {
        0.5 + self.slope * k
    }

    /// For every radix-4 pass, outermost first: whether it must reduce what it does not multiply.
    fn forward(&self, log_n: u32) -> Vec<bool> {
        let mut k = 1.0;
        if log_n % 2 == 1 {
            k += self.product(k);
        }
        let after = |k: f64, reduce: bool| {
            let once = if reduce { REDUCED } else { k } + self.product(k);
            once + self.product(once)
        };
        (0..log_n / 2)
            .map(|_| {
                let reduce = after(k, false) >= self.limit;
                k = after(k, reduce);
                debug_assert!(k < self.limit);
                reduce
            })
            .collect()
    }

    /// For every radix-4 pass, innermost first: whether it must reduce the sums that it ends with.
    fn inverse(&self, log_n: u32) -> Vec<bool> {
        let mut k = 1.0;
        let after = |k: f64, reduce: bool| {
            let products = self.product(4.0 * k).max(self.product(2.0 * self.product(2.0 * k)));
            let sums = (4.0 * k).max(2.0 * self.product(2.0 * k));
            products.max(if reduce { REDUCED } else { sums })
        };
        (0..log_n / 2)
            .map(|_| {
                debug_assert!(4.0 * k < self.limit);
                // The next pass quadruples what this one leaves.
                let reduce = 4.0 * after(k, false) >= self.limit;
                k = after(k, reduce);
                reduce
            })
            .collect()
    }
}

/// Two forward stages on the elements at distance 1/4 of a block.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward_4(f: Field, [a, b, c, d]: [__m256d; 4], w: &[__m256d; 3], reduce: bool) -> [__m256d; 4] {
    let (a, b) = if reduce { (f.reduce(a), f.reduce(b)) } else { (a, b) };
    let (c, d) = (f.mul(c, w[0]), f.mul(d, w[0]));
    let (a, c) = (_mm256_add_pd(a, c), _mm256_sub_pd(a, c));
    let (b, d) = (_mm256_add_pd(b, d), _mm256_sub_pd(b, d));
    let (b, d) = (f.mul(b, w[1]), f.mul(d, w[2]));
    [_mm256_add_pd(a, b), _mm256_sub_pd(a, b), _mm256_add_pd(c, d), _mm256_sub_pd(c, d)]
}

/// Two inverse stages, the opposite of [`forward_4`] up to the factor 4.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_4(f: Field, [a, b, c, d]: [__m256d; 4], w: &[__m256d; 3], reduce: bool) -> [__m256d; 4] {
    let (a, b) = (_mm256_add_pd(a, b), f.mul(_mm256_sub_pd(a, b), w[1]));
    let (c, d) = (_mm256_add_pd(c, d), f.mul(_mm256_sub_pd(c, d), w[2]));
    let (a, c) = (_mm256_add_pd(a, c), f.mul(_mm256_sub_pd(a, c), w[0]));
    let (b, d) = (_mm256_add_pd(b, d), f.mul(_mm256_sub_pd(b, d), w[0]));
    if reduce { [f.reduce(a), f.reduce(b), c, d] } else { [a, b, c, d] }
}

/// The 4 by 4 matrix with rows and columns exchanged.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn transpose([a, b, c, d]: [__m256d; 4]) -> [__m256d; 4] {
    let (ab_even, ab_odd) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
    let (cd_even, cd_odd) = (_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
    [
        _mm256_permute2f128_pd::<0x20>(ab_even, cd_even),
        _mm256_permute2f128_pd::<0x20>(ab_odd, cd_odd),
        _mm256_permute2f128_pd::<0x31>(ab_even, cd_even),
        _mm256_permute2f128_pd::<0x31>(ab_odd, cd_odd),
    ]
}

/// A block as four runs of equal length.
#[inline]
fn quarters(block: &mut [Words]) -> [&mut [Words]; 4] {
    let quarter = block.len() / 4;
    let (ab, cd) = block.split_at_mut(2 * quarter);
    let (a, b) = ab.split_at_mut(quarter);
    let (c, d) = cd.split_at_mut(quarter);
    [a, b, c, d]
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn read<const SIDE: u8>(words: &Words) -> __m256d {
    if SIDE == OUTER { load_integers(words) } else { load_bits(words) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn write<const SIDE: u8>(f: Field, words: &mut Words, x: __m256d) {
    if SIDE == OUTER { store_integers(words, f.lift(f.reduce(x))) } else { store_bits(words, x) }
}

/// The limb and everything that its transform needs.
#[derive(Clone, Copy)]
struct Transform<'a> {
    f: Field,
    half: &'a Half,
    reduces: &'a [bool],
}

/// In-place transform; the specification is `scalar::forward`.
#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn forward(q: Modulus, twiddles: &Twiddles, a: &mut [u64]) {
    let f = Field::new(q);
    let t = Transform { f, half: &twiddles.forward, reduces: &twiddles.forward_reduces };
    let a = quads_mut(a);
    if a.len().trailing_zeros() % 2 == 1 {
        let w = _mm256_set1_pd(t.half.roots[1]);
        let (low, high) = a.split_at_mut(a.len() / 2);
        for (x, y) in low.iter_mut().zip(high) {
            let (u, v) = (load_integers(x), f.mul(load_integers(y), w));
            store_bits(x, _mm256_add_pd(u, v));
            store_bits(y, _mm256_sub_pd(u, v));
        }
        let (low, high) = a.split_at_mut(a.len() / 2);
        t.forward_pass::<LAZY>(low, 2, 0, t.reduces[0]);
        t.forward_pass::<LAZY>(high, 2, 1, t.reduces[0]);
        t.forward_below(low, 2, 0, 0);
        t.forward_below(high, 2, 1, 0);
    } else {
        t.forward_pass::<OUTER>(a, 1, 0, t.reduces[0]);
        t.forward_below(a, 1, 0, 0);
    }
}

/// In-place inverse transform; the specification is `scalar::inverse`.
#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn inverse(q: Modulus, twiddles: &Twiddles, a: &mut [u64]) {
    let f = Field::new(q);
    let t = Transform { f, half: &twiddles.inverse, reduces: &twiddles.inverse_reduces };
    let n = _mm256_set1_pd(twiddles.inverse_n);
    let w = _mm256_set1_pd(twiddles.inverse_n_root);
    let a = quads_mut(a);
    let last = t.reduces.len() - 1;
    if a.len().trailing_zeros() % 2 == 1 {
        let (low, high) = a.split_at_mut(a.len() / 2);
        for (g, half) in [low, high].into_iter().enumerate() {
            t.inverse_below(half, 2, g, last);
            t.inverse_pass(half, 2, g, t.reduces[last]);
        }
        let (low, high) = a.split_at_mut(a.len() / 2);
        for (x, y) in low.iter_mut().zip(high) {
            let (u, v) = (load_bits(x), load_bits(y));
            write::<OUTER>(f, x, f.mul(_mm256_add_pd(u, v), n));
            write::<OUTER>(f, y, f.mul(_mm256_sub_pd(u, v), w));
        }
    } else {
        t.inverse_below(a, 1, 0, last);
        // The outermost stage carries the factor 1/N.
        let [_, w1, w2] = t.half.block(1, 0);
        let [a, b, c, d] = quarters(a);
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            let [p, q, r, s] = [load_bits(a), load_bits(b), load_bits(c), load_bits(d)];
            let (p, q) = (_mm256_add_pd(p, q), f.mul(_mm256_sub_pd(p, q), w1));
            let (r, s) = (_mm256_add_pd(r, s), f.mul(_mm256_sub_pd(r, s), w2));
            write::<OUTER>(f, a, f.mul(_mm256_add_pd(p, r), n));
            write::<OUTER>(f, b, f.mul(_mm256_add_pd(q, s), n));
            write::<OUTER>(f, c, f.mul(_mm256_sub_pd(p, r), w));
            write::<OUTER>(f, d, f.mul(_mm256_sub_pd(q, s), w));
        }
    }
}

impl Transform<'_> {
    /// One radix-4 pass over block `g` of `m`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn forward_pass<const IN: u8>(self, block: &mut [Words], m: usize, g: usize, reduce: bool) {
        let w = self.half.block(m, g);
        let [a, b, c, d] = quarters(block);
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            let x = [read::<IN>(a), read::<IN>(b), read::<IN>(c), read::<IN>(d)];
            let y = forward_4(self.f, x, &w, reduce);
            store_bits(a, y[0]);
            store_bits(b, y[1]);
            store_bits(c, y[2]);
            store_bits(d, y[3]);
        }
    }

    /// All passes after pass `depth`, which was over block `g` of `m`.
    #[target_feature(enable = "avx2,fma")]
    fn forward_below(self, block: &mut [Words], m: usize, g: usize, depth: usize) {
        let quarter = block.len() / 4;
        if quarter > BLOCK_QUADS {
            for (i, sub) in block.chunks_exact_mut(quarter).enumerate() {
                self.forward_pass::<LAZY>(sub, 4 * m, 4 * g + i, self.reduces[depth + 1]);
                self.forward_below(sub, 4 * m, 4 * g + i, depth + 1);
            }
            return;
        }
        let (mut span, mut m, mut g, mut depth) = (quarter, 4 * m, 4 * g, depth + 1);
        while span > 4 {
            for (i, sub) in block.chunks_exact_mut(span).enumerate() {
                self.forward_pass::<LAZY>(sub, m, g + i, self.reduces[depth]);
            }
            (span, m, g, depth) = (span / 4, 4 * m, 4 * g, depth + 1);
        }
        let reduces = [self.reduces[depth], self.reduces[depth + 1]];
        let (groups, _) = block.as_chunks_mut::<4>();
        for (i, group) in groups.iter_mut().enumerate() {
            self.forward_16(group, m, g + i, reduces);
        }
    }

    /// The last four stages of 16 words.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn forward_16(self, group: &mut [Words; 4], m: usize, g: usize, reduces: [bool; 2]) {
        let f = self.f;
        let [a, b, c, d] = group;
        let x = [load_bits(a), load_bits(b), load_bits(c), load_bits(d)];
        let x = transpose(forward_4(f, x, &self.half.block(m, g), reduces[0]));
        let x = transpose(forward_4(f, x, &self.half.inner[g], reduces[1]));
        write::<OUTER>(f, a, x[0]);
        write::<OUTER>(f, b, x[1]);
        write::<OUTER>(f, c, x[2]);
        write::<OUTER>(f, d, x[3]);
    }

    /// One radix-4 pass over block `g` of `m`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn inverse_pass(self, block: &mut [Words], m: usize, g: usize, reduce: bool) {
        let w = self.half.block(m, g);
        let [a, b, c, d] = quarters(block);
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            let x = [load_bits(a), load_bits(b), load_bits(c), load_bits(d)];
            let y = inverse_4(self.f, x, &w, reduce);
            store_bits(a, y[0]);
            store_bits(b, y[1]);
            store_bits(c, y[2]);
            store_bits(d, y[3]);
        }
    }

    /// All passes before pass `height` (counted from the innermost), which will be over block `g` of `m`.
    #[target_feature(enable = "avx2,fma")]
    fn inverse_below(self, block: &mut [Words], m: usize, g: usize, height: usize) {
        let quarter = block.len() / 4;
        if quarter > BLOCK_QUADS {
            for (i, sub) in block.chunks_exact_mut(quarter).enumerate() {
                self.inverse_below(sub, 4 * m, 4 * g + i, height - 1);
                self.inverse_pass(sub, 4 * m, 4 * g + i, self.reduces[height - 1]);
            }
            return;
        }
        let groups_before = g * (block.len() / 4);
        let (mut span, mut m_here) = (4, m * (block.len() / 4));
        let (groups, _) = block.as_chunks_mut::<4>();
        for (i, group) in groups.iter_mut().enumerate() {
            self.inverse_16(group, m_here, groups_before + i);
        }
        let mut pass = 2;
        while span < quarter {
            (span, m_here) = (4 * span, m_here / 4);
            let first = g * (block.len() / span);
            for (i, sub) in block.chunks_exact_mut(span).enumerate() {
                self.inverse_pass(sub, m_here, first + i, self.reduces[pass]);
            }
            pass += 1;
        }
    }

    /// The first four stages of 16 words.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn inverse_16(self, group: &mut [Words; 4], m: usize, g: usize) {
        let f = self.f;
        let [a, b, c, d] = group;
        let x = [load_integers(a), load_integers(b), load_integers(c), load_integers(d)];
        let x = transpose(inverse_4(f, transpose(x), &self.half.inner[g], self.reduces[0]));
        let x = inverse_4(f, x, &self.half.block(m, g), self.reduces[1]);
        store_bits(a, x[0]);
        store_bits(b, x[1]);
        store_bits(c, x[2]);
        store_bits(d, x[3]);
    }
}
