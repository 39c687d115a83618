//! Eight residues of 30 bits at once.
//!
//! A product by a fixed factor `w` is Shoup's: with `w' = floor(w 2^32 / q)` and the quotient `c = floor(x w' / 2^32)`,
//! `x w - c q` lies in `[0, 2q)` for every `x < 2^32` (Harvey, "Faster arithmetic for number-theoretic transforms", 2014).
//! Everything else is lazy in the sense of that paper: sums grow to `4q`, which 32 bits hold.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_blend_epi32, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_castsi256_si128, _mm256_cvtepu32_epi64, _mm256_extracti128_si256, _mm256_min_epu32,
    _mm256_mul_epu32, _mm256_mullo_epi32, _mm256_permute4x64_epi64, _mm256_set1_epi32,
    _mm256_shuffle_ps, _mm256_srli_epi64, _mm256_sub_epi32,
};

use super::super::arithmetic::{Words, load, store};
use crate::modulus::Modulus;

/// `w` and `floor(w 2^32 / q)`.
pub(super) fn factor_words(q: Modulus, w: u64) -> [u32; 2] {
    let quotient = (w << 32) / q.value();
    let narrow =
        |x: u64| u32::try_from(x).expect("a residue of 30 bits, and a quotient below 2^32");
    [narrow(w), narrow(quotient)]
}

/// A factor in every lane.
#[derive(Clone, Copy)]
pub(super) struct Factor {
    w: __m256i,
    /// The quotients: those of the even lanes in their places, and those of the odd lanes one lane down.
    even: __m256i,
    odd: __m256i,
}

impl Factor {
    /// The same factor in all lanes.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn splat([w, quotient]: [u32; 2]) -> Self {
        Self::pairs(_mm256_set1_epi32(w as i32), _mm256_set1_epi32(quotient as i32))
    }

    /// Factors of which each even lane equals the odd one above it.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn pairs(w: __m256i, quotients: __m256i) -> Self {
        Self { w, even: quotients, odd: quotients }
    }

    /// Any factors.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn lanes(w: __m256i, quotients: __m256i) -> Self {
        Self { w, even: quotients, odd: _mm256_srli_epi64::<32>(quotients) }
    }
}

/// A modulus in every lane.
#[derive(Clone, Copy)]
pub(super) struct Field {
    q: __m256i,
    two_q: __m256i,
}

impl Field {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn new(q: Modulus) -> Self {
        let splat = |x: u64| _mm256_set1_epi32(x as i32);
        Self { q: splat(q.value()), two_q: splat(2 * q.value()) }
    }

    /// `x w` in `[0, 2q)`, for any `x`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn mul_lazy(self, x: __m256i, factor: Factor) -> __m256i {
        let even = _mm256_srli_epi64::<32>(_mm256_mul_epu32(x, factor.even));
        let odd = _mm256_mul_epu32(_mm256_srli_epi64::<32>(x), factor.odd);
        let quotient = _mm256_blend_epi32::<0b1010_1010>(even, odd);
        let low = _mm256_mullo_epi32(x, factor.w);
        _mm256_sub_epi32(low, _mm256_mullo_epi32(quotient, self.q))
    }

    /// `x` below `2q` from `x` below `4q`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn below_two_q(self, x: __m256i) -> __m256i {
        _mm256_min_epu32(x, _mm256_sub_epi32(x, self.two_q))
    }

    /// `x` below `q` from `x` below `2q`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn below_q(self, x: __m256i) -> __m256i {
        _mm256_min_epu32(x, _mm256_sub_epi32(x, self.q))
    }

    /// `(x + y w, x - y w)`, all below `4q`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn forward(self, x: &mut __m256i, y: &mut __m256i, factor: Factor) {
        let (a, t) = (self.below_two_q(*x), self.mul_lazy(*y, factor));
        *x = _mm256_add_epi32(a, t);
        *y = _mm256_sub_epi32(_mm256_add_epi32(a, self.two_q), t);
    }

    /// `(x + y, (x - y) w)`, all below `2q`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn inverse(self, x: &mut __m256i, y: &mut __m256i, factor: Factor) {
        let (a, b) = (*x, *y);
        *x = self.below_two_q(_mm256_add_epi32(a, b));
        *y = self.mul_lazy(_mm256_sub_epi32(_mm256_add_epi32(a, self.two_q), b), factor);
    }

    /// `(b - v) s` in `[0, q)`, for residues `b` and `v`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn sub_from_mul(self, b: __m256i, v: __m256i, s: Factor) -> __m256i {
        let difference = _mm256_sub_epi32(_mm256_add_epi32(b, self.q), v);
        self.below_q(self.mul_lazy(difference, s))
    }
}

/// The words of two runs of four, eight to a register.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn narrowed(low: &Words, high: &Words) -> __m256i {
    let (a, b) = (_mm256_castsi256_ps(load(low)), _mm256_castsi256_ps(load(high)));
    let mixed = _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(a, b));
    _mm256_permute4x64_epi64::<0b11_01_10_00>(mixed)
}

/// The reverse of [`narrowed`].
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn widen(low: &mut Words, high: &mut Words, x: __m256i) {
    store(low, _mm256_cvtepu32_epi64(_mm256_castsi256_si128(x)));
    store(high, _mm256_cvtepu32_epi64(_mm256_extracti128_si256::<1>(x)));
}
