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
    Factor, Field, Words, centred_f64, load_bits, load_integers, quads_mut, store_bits,
};
use super::pointwise::sub_from_mul_scalar;
use crate::modulus::Modulus;

/// Quads in a quarter of a block that is transformed pass by pass: 16 KiB in all, half of the smallest nearest cache.
const BLOCK_QUADS: usize = 1 << 7;

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
    fn block(&self, f: Field, m: usize, g: usize) -> [Factor; 3] {
        [
            f.factor(_mm256_set1_pd(self.roots[m + g])),
            f.factor(_mm256_set1_pd(self.roots[2 * (m + g)])),
            f.factor(_mm256_set1_pd(self.roots[2 * (m + g) + 1])),
        ]
    }

    /// The factors of the last two stages of the 16 words number `g`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn inner(&self, f: Field, g: usize) -> [Factor; 3] {
        let [u, v, w] = self.inner[g];
        [f.factor(u), f.factor(v), f.factor(w)]
    }
}

impl Twiddles {
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn new(q: Modulus, roots: &[u64], inverse_roots: &[u64]) -> Self {
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

/// Four registers: one element of each quarter of a block, or four consecutive ones after a transposition.
type Column = [__m256d; 4];

/// The outer one of two forward stages.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward_outer(f: Field, [a, b, c, d]: Column, w: &[Factor; 3], reduce: bool) -> Column {
    let (a, b) = if reduce { (f.reduce(a), f.reduce(b)) } else { (a, b) };
    let (c, d) = (f.mul_factor(c, w[0]), f.mul_factor(d, w[0]));
    [_mm256_add_pd(a, c), _mm256_add_pd(b, d), _mm256_sub_pd(a, c), _mm256_sub_pd(b, d)]
}

/// The inner one of two forward stages.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward_inner(f: Field, [a, b, c, d]: Column, w: &[Factor; 3]) -> Column {
    let (b, d) = (f.mul_factor(b, w[1]), f.mul_factor(d, w[2]));
    [_mm256_add_pd(a, b), _mm256_sub_pd(a, b), _mm256_add_pd(c, d), _mm256_sub_pd(c, d)]
}

/// The opposite of [`forward_inner`] up to the factor 2.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_inner(f: Field, [a, b, c, d]: Column, w: &[Factor; 3]) -> Column {
    let b_twisted = f.mul_factor(_mm256_sub_pd(a, b), w[1]);
    let d_twisted = f.mul_factor(_mm256_sub_pd(c, d), w[2]);
    [_mm256_add_pd(a, b), b_twisted, _mm256_add_pd(c, d), d_twisted]
}

/// The opposite of [`forward_outer`] up to the factor 2.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_outer(f: Field, [a, b, c, d]: Column, w: &[Factor; 3], reduce: bool) -> Column {
    let (sum, next) = (_mm256_add_pd(a, c), _mm256_add_pd(b, d));
    let c_twisted = f.mul_factor(_mm256_sub_pd(a, c), w[0]);
    let d_twisted = f.mul_factor(_mm256_sub_pd(b, d), w[0]);
    let (a, b) = if reduce { (f.reduce(sum), f.reduce(next)) } else { (sum, next) };
    [a, b, c_twisted, d_twisted]
}

/// The 4 by 4 matrix with rows and columns exchanged.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn transpose([a, b, c, d]: Column) -> Column {
    let (ab_even, ab_odd) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
    let (cd_even, cd_odd) = (_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
    [
        _mm256_permute2f128_pd::<0x20>(ab_even, cd_even),
        _mm256_permute2f128_pd::<0x20>(ab_odd, cd_odd),
        _mm256_permute2f128_pd::<0x31>(ab_even, cd_even),
        _mm256_permute2f128_pd::<0x31>(ab_odd, cd_odd),
    ]
}

/// One quad of each quarter of a block.
type Quads<'a> = [&'a mut Words; 4];

/// A block as quads at distances of a quarter.
#[inline]
fn columns(block: &mut [Words]) -> impl Iterator<Item = Quads<'_>> {
    let quarter = block.len() / 4;
    let (ab, cd) = block.split_at_mut(2 * quarter);
    let (a, b) = ab.split_at_mut(quarter);
    let (c, d) = cd.split_at_mut(quarter);
    a.iter_mut().zip(b).zip(c).zip(d).map(|(((a, b), c), d)| [a, b, c, d])
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn read<const SIDE: u8>(quads: &Quads<'_>) -> Column {
    let [a, b, c, d] = quads;
    if SIDE == OUTER {
        [load_integers(a), load_integers(b), load_integers(c), load_integers(d)]
    } else {
        [load_bits(a), load_bits(b), load_bits(c), load_bits(d)]
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn write<const SIDE: u8>(f: Field, quads: Quads<'_>, x: Column) {
    for (quad, x) in quads.into_iter().zip(x) {
        if SIDE == OUTER {
            f.store_reduced(quad, x);
        } else {
            store_bits(quad, x);
        }
    }
}

/// Runs both halves of a pass over the columns of a block.
///
/// The first half of a column comes before the second half of the one before it: they do not wait for each other,
/// and a processor that looks ahead by a few dozen instructions finds twice as many that are ready.
macro_rules! pipeline {
    ($block:expr, |$column:ident| $first:expr, |$out:ident, $mid:ident| $second:expr) => {
        let mut columns = columns($block);
        if let Some(mut $out) = columns.next() {
            let mut $mid = {
                let $column = &$out;
                $first
            };
            for next in columns {
                let following = {
                    let $column = &next;
                    $first
                };
                $second;
                ($out, $mid) = (next, following);
            }
            $second;
        }
    };
}

/// As [`pipeline`], over blocks of 16 words, numbered from `$g` on.
macro_rules! pipeline_16 {
    ($block:expr, $g:expr, $first:expr, $second:expr) => {
        let (groups, _) = $block.as_chunks_mut::<4>();
        let mut groups = ($g..).zip(groups.iter_mut().map(|group| group.each_mut()));
        if let Some((mut g, mut quads)) = groups.next() {
            let mut mid = $first(&quads, g);
            for (next_g, next) in groups {
                let following = $first(&next, next_g);
                $second(quads, mid, g);
                (g, quads, mid) = (next_g, next, following);
            }
            $second(quads, mid, g);
        }
    };
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
pub(super) fn forward(q: Modulus, twiddles: &Twiddles, a: &mut [u64]) {
    let f = Field::new(q);
    let t = Transform { f, half: &twiddles.forward, reduces: &twiddles.forward_reduces };
    let a = quads_mut(a);
    if a.len().trailing_zeros() % 2 == 1 {
        let w = f.factor(_mm256_set1_pd(t.half.roots[1]));
        let (low, high) = a.split_at_mut(a.len() / 2);
        for (x, y) in low.iter_mut().zip(high) {
            let (u, v) = (load_integers(x), f.mul_factor(load_integers(y), w));
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

/// `a = (b - transform of a) s`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn forward_sub_from_mul_scalar(
    q: Modulus,
    twiddles: &Twiddles,
    a: &mut [u64],
    b: &[u64],
    s: u64,
) {
    forward(q, twiddles, a);
    sub_from_mul_scalar(q, a, b, s);
}

/// In-place inverse transform; the specification is `scalar::inverse`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn inverse(q: Modulus, twiddles: &Twiddles, a: &mut [u64]) {
    inverse_with(q, twiddles, a, [twiddles.inverse_n, twiddles.inverse_n_root]);
}

/// In-place inverse transform times `s`, which comes with the `1/N` of the last stage.
#[target_feature(enable = "avx2,fma")]
pub(super) fn inverse_scaled(q: Modulus, twiddles: &Twiddles, a: &mut [u64], s: u64) {
    let scaled = |w: f64| centred_f64(q, q.mul(q.reduce_i64(w as i64), s));
    let last = [scaled(twiddles.inverse_n), scaled(twiddles.inverse_n_root)];
    inverse_with(q, twiddles, a, last);
}

/// In-place inverse transform with the given factors of the last stage.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_with(q: Modulus, twiddles: &Twiddles, a: &mut [u64], last_factors: [f64; 2]) {
    let f = Field::new(q);
    let t = Transform { f, half: &twiddles.inverse, reduces: &twiddles.inverse_reduces };
    // The outermost stage carries the factor 1/N.
    let n = f.factor(_mm256_set1_pd(last_factors[0]));
    let w = f.factor(_mm256_set1_pd(last_factors[1]));
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
            f.store_reduced(x, f.mul_factor(_mm256_add_pd(u, v), n));
            f.store_reduced(y, f.mul_factor(_mm256_sub_pd(u, v), w));
        }
    } else {
        t.inverse_below(a, 1, 0, last);
        let inner = t.half.block(f, 1, 0);
        pipeline!(a, |column| inverse_inner(f, read::<LAZY>(column), &inner), |out, mid| {
            let [a, b, c, d] = mid;
            let x = [
                f.mul_factor(_mm256_add_pd(a, c), n),
                f.mul_factor(_mm256_add_pd(b, d), n),
                f.mul_factor(_mm256_sub_pd(a, c), w),
                f.mul_factor(_mm256_sub_pd(b, d), w),
            ];
            write::<OUTER>(f, out, x);
        });
    }
}

impl Transform<'_> {
    /// One radix-4 pass over block `g` of `m`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn forward_pass<const IN: u8>(self, block: &mut [Words], m: usize, g: usize, reduce: bool) {
        if reduce {
            self.forward_pass_reducing::<IN, true>(block, m, g);
        } else {
            self.forward_pass_reducing::<IN, false>(block, m, g);
        }
    }

    #[target_feature(enable = "avx2,fma")]
    fn forward_pass_reducing<const IN: u8, const REDUCE: bool>(
        self,
        block: &mut [Words],
        m: usize,
        g: usize,
    ) {
        let (f, w) = (self.f, self.half.block(self.f, m, g));
        pipeline!(block, |column| forward_outer(f, read::<IN>(column), &w, REDUCE), |out, mid| {
            write::<LAZY>(f, out, forward_inner(f, mid, &w))
        });
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
        self.forward_last(block, m, g, depth);
    }

    /// The last four stages, in the blocks of 16 words from number `g` of `m` on; passes `depth` and `depth + 1`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn forward_last(self, block: &mut [Words], m: usize, g: usize, depth: usize) {
        let (f, reduces) = (self.f, [self.reduces[depth], self.reduces[depth + 1]]);
        let across = |quads: &Quads<'_>, g: usize| {
            let w = self.half.block(f, m, g);
            forward_inner(f, forward_outer(f, read::<LAZY>(quads), &w, reduces[0]), &w)
        };
        let within = |quads: Quads<'_>, mid: Column, g: usize| {
            let w = self.half.inner(f, g);
            let x = forward_outer(f, transpose(mid), &w, reduces[1]);
            write::<OUTER>(f, quads, transpose(forward_inner(f, x, &w)));
        };
        pipeline_16!(block, g, across, within);
    }

    /// One radix-4 pass over block `g` of `m`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn inverse_pass(self, block: &mut [Words], m: usize, g: usize, reduce: bool) {
        if reduce {
            self.inverse_pass_reducing::<true>(block, m, g);
        } else {
            self.inverse_pass_reducing::<false>(block, m, g);
        }
    }

    #[target_feature(enable = "avx2,fma")]
    fn inverse_pass_reducing<const REDUCE: bool>(self, block: &mut [Words], m: usize, g: usize) {
        let (f, w) = (self.f, self.half.block(self.f, m, g));
        pipeline!(block, |column| inverse_inner(f, read::<LAZY>(column), &w), |out, mid| write::<
            LAZY,
        >(
            f,
            out,
            inverse_outer(f, mid, &w, REDUCE)
        ));
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
        let (mut span, mut m_here) = (4, m * quarter);
        self.inverse_first(block, m_here, g * quarter);
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

    /// The first four stages, in the blocks of 16 words from number `g` of `m` on.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn inverse_first(self, block: &mut [Words], m: usize, g: usize) {
        let (f, reduces) = (self.f, [self.reduces[0], self.reduces[1]]);
        let within = |quads: &Quads<'_>, g: usize| {
            let w = self.half.inner(f, g);
            let x = inverse_inner(f, transpose(read::<OUTER>(quads)), &w);
            transpose(inverse_outer(f, x, &w, reduces[0]))
        };
        let across = |quads: Quads<'_>, mid: Column, g: usize| {
            let w = self.half.block(f, m, g);
            let x = inverse_outer(f, inverse_inner(f, mid, &w), &w, reduces[1]);
            write::<LAZY>(f, quads, x);
        };
        pipeline_16!(block, g, within, across);
    }
}
