//! Four residues at once: loading, reducing, multiplying.

use std::arch::x86_64::{
    __m256d, __m256i, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm256_add_pd,
    _mm256_blendv_pd, _mm256_castpd_si256, _mm256_castsi256_pd, _mm256_fmsub_pd, _mm256_fnmadd_pd,
    _mm256_loadu_si256, _mm256_mul_pd, _mm256_or_pd, _mm256_round_pd, _mm256_set1_pd,
    _mm256_storeu_si256, _mm256_sub_pd, _mm256_xor_pd,
};

use crate::modulus::Modulus;

/// Four words of a limb.
pub(super) type Words = [u64; 4];

/// `2^52`: an integer below it sits in the low bits of the sum.
const SHIFTER: f64 = (1u64 << 52) as f64;

/// A limb as runs of four words.
pub(super) fn quads(limb: &[u64]) -> &[Words] {
    let (quads, rest) = limb.as_chunks();
    assert!(rest.is_empty(), "a limb has a multiple of four words");
    quads
}

/// A limb as runs of four words.
pub(super) fn quads_mut(limb: &mut [u64]) -> &mut [Words] {
    let (quads, rest) = limb.as_chunks_mut();
    assert!(rest.is_empty(), "a limb has a multiple of four words");
    quads
}

/// The words as they are.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn load(words: &Words) -> __m256i {
    // SAFETY: the reference covers 32 readable bytes, and this load has no alignment requirement.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

/// The words as they are.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn store(words: &mut Words, x: __m256i) {
    // SAFETY: the reference covers 32 writable bytes, and this store has no alignment requirement.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), x) }
}

/// Words that hold the bits of f64 numbers.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn load_bits(words: &Words) -> __m256d {
    _mm256_castsi256_pd(load(words))
}

/// Words that are to hold the bits of f64 numbers.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn store_bits(words: &mut Words, x: __m256d) {
    store(words, _mm256_castpd_si256(x));
}

/// Integers below `2^52`, converted.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn load_integers(words: &Words) -> __m256d {
    integers(load(words))
}

/// Integers below `2^52`, converted.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn integers(words: __m256i) -> __m256d {
    let shifter = _mm256_set1_pd(SHIFTER);
    _mm256_sub_pd(_mm256_or_pd(_mm256_castsi256_pd(words), shifter), shifter)
}

/// Integral numbers in `[0, 2^52)`, converted.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn store_integers(words: &mut Words, x: __m256d) {
    let shifter = _mm256_set1_pd(SHIFTER);
    store_bits(words, _mm256_xor_pd(_mm256_add_pd(x, shifter), shifter));
}

/// A centred factor with its quotient by q.
#[derive(Clone, Copy)]
pub(super) struct Factor {
    w: __m256d,
    over_q: __m256d,
}

/// A modulus in every lane.
#[derive(Clone, Copy)]
pub(super) struct Field {
    pub(super) q: __m256d,
    inverse: __m256d,
}

impl Field {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn new(q: Modulus) -> Self {
        let q = q.value() as f64;
        Self { q: _mm256_set1_pd(q), inverse: _mm256_set1_pd(1.0 / q) }
    }

    /// `x w` modulo q; the range is that of the module's text.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn mul(self, x: __m256d, w: __m256d) -> __m256d {
        let high = _mm256_mul_pd(x, w);
        let low = _mm256_fmsub_pd(x, w, high);
        let quotient = round(_mm256_mul_pd(high, self.inverse));
        _mm256_add_pd(_mm256_fnmadd_pd(quotient, self.q, high), low)
    }

    /// A factor that is used more than once.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn factor(self, w: __m256d) -> Factor {
        Factor { w, over_q: _mm256_mul_pd(w, self.inverse) }
    }

    /// As [`Self::mul`], in the same range: the quotient takes the same three roundings, two of them ahead of time.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn mul_factor(self, x: __m256d, factor: Factor) -> __m256d {
        let high = _mm256_mul_pd(x, factor.w);
        let quotient = round(_mm256_mul_pd(x, factor.over_q));
        let low = _mm256_fmsub_pd(x, factor.w, high);
        _mm256_add_pd(_mm256_fnmadd_pd(quotient, self.q, high), low)
    }

    /// `x` modulo q for integral `|x| < 2^53`; the result is at most `0.51 q` in magnitude,
    /// since `q > 2^11` keeps the quotient below `2^42` and its error below `2^-10`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn reduce(self, x: __m256d) -> __m256d {
        let quotient = round(_mm256_mul_pd(x, self.inverse));
        _mm256_fnmadd_pd(quotient, self.q, x)
    }

    /// Stores `x` modulo q in `[0, q)` as integers, for integral `|x| < 2^53`.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn store_reduced(self, words: &mut Words, x: __m256d) {
        self.store_lifted(words, self.reduce(x));
    }

    /// Stores `x` from `(-q, q)` in `[0, q)` as integers.
    ///
    /// The sign bit chooses, so `x` must not be a negative zero: sums and fused products round an exact zero to the
    /// positive one unless both terms are negative zeros, and no term here is one.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn store_lifted(self, words: &mut Words, x: __m256d) {
        let shifter = _mm256_set1_pd(SHIFTER);
        let lifted = _mm256_add_pd(x, _mm256_add_pd(self.q, shifter));
        let chosen = _mm256_blendv_pd(_mm256_add_pd(x, shifter), lifted, x);
        store_bits(words, _mm256_xor_pd(chosen, shifter));
    }
}

/// Rounds to the nearest integer, ties to even.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn round(x: __m256d) -> __m256d {
    _mm256_round_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x)
}

/// The representative of `a` in `(-q/2, q/2)`, as f64.
pub(super) fn centred_f64(q: Modulus, a: u64) -> f64 {
    q.centred(a) as f64
}
