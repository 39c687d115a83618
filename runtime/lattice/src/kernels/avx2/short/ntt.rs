//! The transform modulo a prime of 30 bits: eight residues to a register, half the memory.
//!
//! Within the transform the first half of the limb holds all residues, two to a word; they are packed on the way in and
//! spread on the way out. Radix 4, depth first, as in [`super::super::ntt`]; the last three stages run on two registers,
//! within which pairs meet after shuffles.

use std::arch::x86_64::{
    __m256i, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_permute2x128_si256,
    _mm256_permutevar8x32_epi32, _mm256_set_epi32, _mm256_shuffle_ps, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
};

use super::super::arithmetic::{Words, load, quads, quads_mut, store};
use super::arithmetic::{Factor, Field, factor_words, narrowed, widen};
use crate::modulus::Modulus;

/// Registers in a block that is transformed pass by pass: 16 KiB, half of the smallest nearest cache.
const BLOCK: usize = 1 << 9;

/// Twiddle factors with their quotients.
#[derive(Debug)]
pub(crate) struct Twiddles {
    forward: Half,
    inverse: Half,
    /// `1/N`.
    inverse_n: u64,
}

/// The factors of one direction.
#[derive(Debug)]
struct Half {
    /// `psi^±brv(i)` for `i < N/8`.
    roots: Vec<[u32; 2]>,
    /// The factors of the last three stages, for every 16 residues.
    inner: Vec<Inner>,
}

/// Factors of 16 residues: eight of half-length 1, in the order of [`Registers::ones`], with their quotients;
/// four of half-length 2 with their quotients; two of half-length 4 with theirs.
#[derive(Debug)]
#[repr(align(64))]
struct Inner([Words; 4]);

impl Half {
    fn new(q: Modulus, roots: &[u64]) -> Self {
        let n = roots.len();
        let factor = |i: usize| factor_words(q, roots[i]);
        let inner = |k: usize| {
            let ones = [0, 2, 1, 3, 4, 6, 5, 7].map(|i| factor(n / 2 + 8 * k + i));
            let twos = [0, 1, 2, 3].map(|i| factor(n / 4 + 4 * k + i));
            let fours = [0, 1].map(|i| factor(n / 8 + 2 * k + i));
            let mut words = Vec::with_capacity(32);
            for factors in [&ones[..], &twos, &fours] {
                words.extend(factors.iter().map(|f| f[0]));
                words.extend(factors.iter().map(|f| f[1]));
            }
            words.resize(32, 0);
            let word = |i: usize| u64::from(words[2 * i]) | u64::from(words[2 * i + 1]) << 32;
            Inner([0, 4, 8, 12].map(|i| [word(i), word(i + 1), word(i + 2), word(i + 3)]))
        };
        Self { roots: (0..n / 8).map(factor).collect(), inner: (0..n / 16).map(inner).collect() }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn root(&self, node: usize) -> Factor {
        Factor::splat(self.roots[node])
    }

    /// The factors of a radix-4 pass over the block `node`: the outer stage, then the two of the inner one.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn block(&self, node: usize) -> [Factor; 3] {
        [self.root(node), self.root(2 * node), self.root(2 * node + 1)]
    }
}

impl Inner {
    /// The factors of half-length 4, 2 and 1.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn factors(&self) -> [Factor; 3] {
        let [ones, quotients, twos, fours] = &self.0;
        let pick = |from: &Words, lanes: __m256i| _mm256_permutevar8x32_epi32(load(from), lanes);
        let fours = Factor::pairs(
            pick(fours, _mm256_set_epi32(1, 1, 1, 1, 0, 0, 0, 0)),
            pick(fours, _mm256_set_epi32(3, 3, 3, 3, 2, 2, 2, 2)),
        );
        let twos = Factor::pairs(
            pick(twos, _mm256_set_epi32(3, 3, 2, 2, 1, 1, 0, 0)),
            pick(twos, _mm256_set_epi32(7, 7, 6, 6, 5, 5, 4, 4)),
        );
        [fours, twos, Factor::lanes(load(ones), load(quotients))]
    }
}

impl Twiddles {
    /// For a prime up to [`super::LARGEST_OF_TRANSFORMS`].
    pub(in super::super) fn new(q: Modulus, roots: &[u64], inverse_roots: &[u64]) -> Self {
        Self {
            forward: Half::new(q, roots),
            inverse: Half::new(q, inverse_roots),
            inverse_n: q.inv(q.reduce_u64(roots.len() as u64)),
        }
    }
}

/// Two registers that hold 16 residues `a0 .. a7, b0 .. b7`, in the arrangements that the last stages need;
/// listed is what the lower half holds of the `a`, the upper half holds the same of the `b`.
struct Registers(__m256i, __m256i);

impl Registers {
    /// `a0-a7` and `b0-b7` to `a0 a1 a2 a3` and `a4 a5 a6 a7`, and back.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn halves(self) -> Self {
        Self(
            _mm256_permute2x128_si256::<0x20>(self.0, self.1),
            _mm256_permute2x128_si256::<0x31>(self.0, self.1),
        )
    }

    /// [`Self::halves`] to `a0 a1 a4 a5` and `a2 a3 a6 a7`, and back.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn pairs(self) -> Self {
        Self(_mm256_unpacklo_epi64(self.0, self.1), _mm256_unpackhi_epi64(self.0, self.1))
    }

    /// [`Self::pairs`] to `a0 a4 a2 a6` and `a1 a5 a3 a7`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn ones(self) -> Self {
        let (x, y) = (_mm256_castsi256_ps(self.0), _mm256_castsi256_ps(self.1));
        Self(
            _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(x, y)),
            _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(x, y)),
        )
    }

    /// The reverse of [`Self::ones`].
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn unite(self) -> Self {
        Self(_mm256_unpacklo_epi32(self.0, self.1), _mm256_unpackhi_epi32(self.0, self.1))
    }

    /// The last three stages of the forward transform; [`Self::halves`] in and out.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn forward(mut self, f: Field, inner: &Inner) -> Self {
        let [fours, twos, ones] = inner.factors();
        f.forward(&mut self.0, &mut self.1, fours);
        self = self.pairs();
        f.forward(&mut self.0, &mut self.1, twos);
        self = self.ones();
        f.forward(&mut self.0, &mut self.1, ones);
        self.unite().pairs()
    }

    /// The first three stages of the inverse transform; [`Self::halves`] in and out.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn inverse(mut self, f: Field, inner: &Inner) -> Self {
        let [fours, twos, ones] = inner.factors();
        self = self.pairs().ones();
        f.inverse(&mut self.0, &mut self.1, ones);
        self = self.unite();
        f.inverse(&mut self.0, &mut self.1, twos);
        self = self.pairs();
        f.inverse(&mut self.0, &mut self.1, fours);
        self
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn forward(q: Modulus, twiddles: &Twiddles, a: &mut [u64]) {
    let f = Field::new(q);
    forward_stages(f, &twiddles.forward, a);
    spread(f, &twiddles.forward, a, |_, x| x);
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn forward_sub_from_mul_scalar(
    q: Modulus,
    twiddles: &Twiddles,
    a: &mut [u64],
    b: &[u64],
    s: u64,
) {
    let f = Field::new(q);
    forward_stages(f, &twiddles.forward, a);
    let (b, s) = (quads(b), Factor::splat(factor_words(q, s)));
    spread(f, &twiddles.forward, a, |at, x| {
        // The halves of 16 residues, in the arrangement of `spread`.
        let b = narrowed(&b[at], &b[at + 2]);
        f.sub_from_mul(b, x, s)
    });
}

/// Packs the residues and runs all but the last three stages.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward_stages(f: Field, half: &Half, a: &mut [u64]) {
    let quads = quads_mut(a);
    for i in 0..quads.len() / 2 {
        let packed = narrowed(&quads[2 * i], &quads[2 * i + 1]);
        store(&mut quads[i], packed);
    }
    let registers = quads.len() / 2;
    let packed = &mut quads[..registers];
    if registers.ilog2() % 2 == 1 {
        let (low, high) = packed.split_at_mut(registers / 2);
        let factor = half.root(1);
        for (x, y) in low.iter_mut().zip(high.iter_mut()) {
            let (mut a, mut b) = (load(x), load(y));
            f.forward(&mut a, &mut b, factor);
            store(x, a);
            store(y, b);
        }
        forward_block(f, half, low, 2);
        forward_block(f, half, high, 3);
    } else {
        forward_block(f, half, packed, 1);
    }
}

/// The stages of one block, whose number of registers is a power of four.
#[target_feature(enable = "avx2,fma")]
fn forward_block(f: Field, half: &Half, block: &mut [Words], node: usize) {
    if block.len() > BLOCK {
        forward_pass(f, block, half.block(node));
        for (i, quarter) in block.chunks_exact_mut(block.len() / 4).enumerate() {
            forward_block(f, half, quarter, 4 * node + i);
        }
        return;
    }
    let (mut size, mut first) = (block.len(), node);
    while size > 1 {
        for (i, part) in block.chunks_exact_mut(size).enumerate() {
            forward_pass(f, part, half.block(first + i));
        }
        size /= 4;
        first *= 4;
    }
}

/// Two stages of one block.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn forward_pass(f: Field, block: &mut [Words], [outer, left, right]: [Factor; 3]) {
    for [a, b, c, d] in quarters(block) {
        let [mut w, mut x, mut y, mut z] = [load(a), load(b), load(c), load(d)];
        f.forward(&mut w, &mut y, outer);
        f.forward(&mut x, &mut z, outer);
        f.forward(&mut w, &mut x, left);
        f.forward(&mut y, &mut z, right);
        store(a, w);
        store(b, x);
        store(c, y);
        store(d, z);
    }
}

/// Registers of a block that a radix-4 pass takes together.
#[inline]
fn quarters(block: &mut [Words]) -> impl Iterator<Item = [&mut Words; 4]> {
    let quarter = block.len() / 4;
    let (low, high) = block.split_at_mut(2 * quarter);
    let (a, b) = low.split_at_mut(quarter);
    let (c, d) = high.split_at_mut(quarter);
    a.iter_mut().zip(b).zip(c).zip(d).map(|(((a, b), c), d)| [a, b, c, d])
}

/// The last three stages, from the end on, so that nothing is overwritten before it is read.
///
/// `finish(at, x)` turns residues into what is stored: those of the quads `at` and `at + 2`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn spread(f: Field, half: &Half, a: &mut [u64], finish: impl Fn(usize, __m256i) -> __m256i) {
    let quads = quads_mut(a);
    for (i, inner) in half.inner.iter().enumerate().rev() {
        // Two registers now, four quads afterwards.
        let registers = Registers(load(&quads[2 * i]), load(&quads[2 * i + 1])).halves();
        let registers = registers.forward(f, inner);
        let reduced = |x: __m256i| f.below_q(f.below_two_q(x));
        let low = finish(4 * i, reduced(registers.0));
        let high = finish(4 * i + 1, reduced(registers.1));
        let (first, last) = quads[4 * i..][..4].split_at_mut(2);
        widen(&mut first[0], &mut last[0], low);
        widen(&mut first[1], &mut last[1], high);
    }
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn inverse(q: Modulus, twiddles: &Twiddles, a: &mut [u64]) {
    inverse_times(q, twiddles, a, twiddles.inverse_n);
}

#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn inverse_scaled(q: Modulus, twiddles: &Twiddles, a: &mut [u64], s: u64) {
    inverse_times(q, twiddles, a, q.mul(twiddles.inverse_n, s));
}

/// The inverse stages, then a product by `s`.
#[target_feature(enable = "avx2,fma")]
fn inverse_times(q: Modulus, twiddles: &Twiddles, a: &mut [u64], s: u64) {
    let (f, half) = (Field::new(q), &twiddles.inverse);
    let quads = quads_mut(a);
    for (i, inner) in half.inner.iter().enumerate() {
        let low = narrowed(&quads[4 * i], &quads[4 * i + 2]);
        let high = narrowed(&quads[4 * i + 1], &quads[4 * i + 3]);
        let registers = Registers(low, high).inverse(f, inner).halves();
        store(&mut quads[2 * i], registers.0);
        store(&mut quads[2 * i + 1], registers.1);
    }
    let registers = quads.len() / 2;
    let packed = &mut quads[..registers];
    if registers.ilog2() % 2 == 1 {
        let (low, high) = packed.split_at_mut(registers / 2);
        inverse_block(f, half, low, 2);
        inverse_block(f, half, high, 3);
        let factor = half.root(1);
        for (x, y) in low.iter_mut().zip(high) {
            let (mut a, mut b) = (load(x), load(y));
            f.inverse(&mut a, &mut b, factor);
            store(x, a);
            store(y, b);
        }
    } else {
        inverse_block(f, half, packed, 1);
    }
    let s = Factor::splat(factor_words(q, s));
    for i in (0..registers).rev() {
        let x = f.below_q(f.mul_lazy(load(&quads[i]), s));
        let (low, high) = quads[2 * i..].split_at_mut(1);
        widen(&mut low[0], &mut high[0], x);
    }
}

/// The stages of one block, whose number of registers is a power of four.
#[target_feature(enable = "avx2,fma")]
fn inverse_block(f: Field, half: &Half, block: &mut [Words], node: usize) {
    if block.len() > BLOCK {
        for (i, quarter) in block.chunks_exact_mut(block.len() / 4).enumerate() {
            inverse_block(f, half, quarter, 4 * node + i);
        }
        inverse_pass(f, block, half.block(node));
        return;
    }
    let (mut size, mut first) = (4, node * block.len() / 4);
    while size <= block.len() {
        for (i, part) in block.chunks_exact_mut(size).enumerate() {
            inverse_pass(f, part, half.block(first + i));
        }
        size *= 4;
        first /= 4;
    }
}

/// Two stages of one block.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn inverse_pass(f: Field, block: &mut [Words], [outer, left, right]: [Factor; 3]) {
    for [a, b, c, d] in quarters(block) {
        let [mut w, mut x, mut y, mut z] = [load(a), load(b), load(c), load(d)];
        f.inverse(&mut w, &mut x, left);
        f.inverse(&mut y, &mut z, right);
        f.inverse(&mut w, &mut y, outer);
        f.inverse(&mut x, &mut z, outer);
        store(a, w);
        store(b, x);
        store(c, y);
        store(d, z);
    }
}
