//! The vector of the processor: one instruction, or two, for each function.

use std::arch::x86_64::{
    __m512i, _MM_HINT_T0, _MM_HINT_T1, _mm_loadu_si128, _mm_prefetch, _mm256_loadu_si256,
    _mm512_add_epi64, _mm512_add_pd, _mm512_and_si512, _mm512_broadcast_i64x2,
    _mm512_broadcast_i64x4, _mm512_castpd_si512, _mm512_castsi512_pd, _mm512_cmpgt_epu64_mask,
    _mm512_cmplt_epu64_mask, _mm512_cvtepi32_epi64, _mm512_cvtepu64_pd, _mm512_cvttpd_epu64,
    _mm512_loadu_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_mask_add_epi64,
    _mm512_maskz_compress_epi64, _mm512_min_epu64, _mm512_mul_epu32, _mm512_mul_pd,
    _mm512_or_si512, _mm512_permutex2var_epi64, _mm512_permutexvar_epi8, _mm512_permutexvar_epi64,
    _mm512_set_epi64, _mm512_set1_epi64, _mm512_shuffle_i64x2, _mm512_slli_epi64,
    _mm512_sllv_epi64, _mm512_srli_epi64, _mm512_srlv_epi64, _mm512_storeu_si512, _mm512_sub_epi64,
};

use super::vector::{Vector, Words};

/// One 512-bit register.
#[derive(Clone, Copy)]
pub(super) struct Zmm(__m512i);

/// One or two instructions of AVX-512 F, DQ, IFMA or VBMI.
macro_rules! instruction {
    ($e:expr) => {
        // SAFETY: `Zmm` is named only by the entry points of `avx512ifma`, which carry these target features and
        // which an `Isa` proves allowed; loads and stores go through references to as many bytes as they move, or to more,
        // and have no alignment requirement.
        unsafe { $e }
    };
}

impl Vector for Zmm {
    #[inline(always)]
    fn load(words: &Words) -> Self {
        Self(instruction!(_mm512_loadu_si512(words.as_ptr().cast())))
    }

    #[inline(always)]
    fn load_from(words: &[u64], byte: usize) -> Self {
        assert!(byte + size_of::<Words>() <= size_of_val(words), "a register of bytes");
        Self(instruction!(_mm512_loadu_si512(words.as_ptr().byte_add(byte).cast())))
    }

    #[inline(always)]
    fn store(self, words: &mut Words) {
        instruction!(_mm512_storeu_si512(words.as_mut_ptr().cast(), self.0));
    }

    #[inline(always)]
    fn store_to(self, words: &mut [u64], byte: usize) {
        assert!(byte + size_of::<Words>() <= size_of_val(words), "a register of bytes");
        instruction!(_mm512_storeu_si512(words.as_mut_ptr().byte_add(byte).cast(), self.0));
    }

    #[inline(always)]
    fn load_signed(words: &[i32; 8]) -> Self {
        Self(instruction!(_mm512_cvtepi32_epi64(_mm256_loadu_si256(words.as_ptr().cast()))))
    }

    #[inline(always)]
    fn prefetch(words: &Words) {
        instruction!(_mm_prefetch::<_MM_HINT_T1>(words.as_ptr().cast()));
    }

    #[inline(always)]
    fn prefetch_at<T>(run: &[T], i: usize) {
        let element = run.as_ptr().wrapping_add(i).cast::<Words>();
        for line in 0..size_of::<T>() / size_of::<Words>() {
            // Asking for a line that is not the program's, or no line at all, has no effect.
            instruction!(_mm_prefetch::<_MM_HINT_T0>(element.wrapping_add(line).cast()));
        }
    }

    #[inline(always)]
    fn splat(word: u64) -> Self {
        Self(instruction!(_mm512_set1_epi64(word as i64)))
    }

    #[inline(always)]
    fn repeat_2(words: &[u64; 2]) -> Self {
        Self(instruction!(_mm512_broadcast_i64x2(_mm_loadu_si128(words.as_ptr().cast()))))
    }

    #[inline(always)]
    fn repeat_4(words: &[u64; 4]) -> Self {
        Self(instruction!(_mm512_broadcast_i64x4(_mm256_loadu_si256(words.as_ptr().cast()))))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(instruction!(_mm512_add_epi64(self.0, other.0)))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(instruction!(_mm512_sub_epi64(self.0, other.0)))
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(instruction!(_mm512_min_epu64(self.0, other.0)))
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        Self(instruction!(_mm512_and_si512(self.0, other.0)))
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        Self(instruction!(_mm512_or_si512(self.0, other.0)))
    }

    #[inline(always)]
    fn above_52(self) -> Self {
        Self(instruction!(_mm512_srli_epi64::<52>(self.0)))
    }

    #[inline(always)]
    fn above_32(self) -> Self {
        Self(instruction!(_mm512_srli_epi64::<32>(self.0)))
    }

    #[inline(always)]
    fn raise_32(self) -> Self {
        Self(instruction!(_mm512_slli_epi64::<32>(self.0)))
    }

    #[inline(always)]
    fn raise_52(self) -> Self {
        Self(instruction!(_mm512_slli_epi64::<52>(self.0)))
    }

    #[inline(always)]
    fn shift_left(self, bits: Self) -> Self {
        Self(instruction!(_mm512_sllv_epi64(self.0, bits.0)))
    }

    #[inline(always)]
    fn shift_right(self, bits: Self) -> Self {
        Self(instruction!(_mm512_srlv_epi64(self.0, bits.0)))
    }

    #[inline(always)]
    fn permute_bytes(self, bytes: Self) -> Self {
        Self(instruction!(_mm512_permutexvar_epi8(bytes.0, self.0)))
    }

    #[inline(always)]
    fn mul_32(self, other: Self) -> Self {
        Self(instruction!(_mm512_mul_epu32(self.0, other.0)))
    }

    #[inline(always)]
    fn permute(self, lanes: Self) -> Self {
        Self(instruction!(_mm512_permutexvar_epi64(lanes.0, self.0)))
    }

    #[inline(always)]
    fn exchange(a: Self, b: Self) -> (Self, Self) {
        (
            Self(instruction!(_mm512_shuffle_i64x2::<0x44>(a.0, b.0))),
            Self(instruction!(_mm512_shuffle_i64x2::<0xee>(a.0, b.0))),
        )
    }

    #[inline(always)]
    fn madd_low(self, a: Self, b: Self) -> Self {
        Self(instruction!(_mm512_madd52lo_epu64(self.0, a.0, b.0)))
    }

    #[inline(always)]
    fn madd_high(self, a: Self, b: Self) -> Self {
        Self(instruction!(_mm512_madd52hi_epu64(self.0, a.0, b.0)))
    }

    #[inline(always)]
    fn add_above(self, bound: Self, addend: Self) -> Self {
        Self(instruction!(_mm512_mask_add_epi64(
            self.0,
            _mm512_cmpgt_epu64_mask(self.0, bound.0),
            self.0,
            addend.0
        )))
    }

    #[inline(always)]
    fn compress_below(self, bound: Self) -> (Self, usize) {
        let below = instruction!(_mm512_cmplt_epu64_mask(self.0, bound.0));
        let front = Self(instruction!(_mm512_maskz_compress_epi64(below, self.0)));
        (front, below.count_ones() as usize)
    }

    #[inline(always)]
    fn interleave(a: Self, b: Self) -> (Self, Self) {
        let low = instruction!(_mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0));
        let high = instruction!(_mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4));
        (
            Self(instruction!(_mm512_permutex2var_epi64(a.0, low, b.0))),
            Self(instruction!(_mm512_permutex2var_epi64(a.0, high, b.0))),
        )
    }

    #[inline(always)]
    fn separate(a: Self, b: Self) -> (Self, Self) {
        let even = instruction!(_mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0));
        let odd = instruction!(_mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1));
        (
            Self(instruction!(_mm512_permutex2var_epi64(a.0, even, b.0))),
            Self(instruction!(_mm512_permutex2var_epi64(a.0, odd, b.0))),
        )
    }

    #[inline(always)]
    fn to_f64(self) -> Self {
        Self(instruction!(_mm512_castpd_si512(_mm512_cvtepu64_pd(self.0))))
    }

    #[inline(always)]
    fn floor_f64(self) -> Self {
        Self(instruction!(_mm512_cvttpd_epu64(_mm512_castsi512_pd(self.0))))
    }

    #[inline(always)]
    fn add_f64(self, other: Self) -> Self {
        let (a, b) = instruction!((_mm512_castsi512_pd(self.0), _mm512_castsi512_pd(other.0)));
        Self(instruction!(_mm512_castpd_si512(_mm512_add_pd(a, b))))
    }

    #[inline(always)]
    fn mul_f64(self, other: Self) -> Self {
        let (a, b) = instruction!((_mm512_castsi512_pd(self.0), _mm512_castsi512_pd(other.0)));
        Self(instruction!(_mm512_castpd_si512(_mm512_mul_pd(a, b))))
    }
}
