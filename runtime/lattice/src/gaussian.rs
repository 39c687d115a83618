//! The centred discrete Gaussian of standard deviation 3.19, by a fully scanned cumulative table.
//!
//! With `rho(k) = exp(-k^2 / (2 * 3.19^2))` and `S` the sum of `rho` over all integers,
//! entry `k` of the table is `floor(2^63 * P(|X| <= k))`, `P(|X| <= k) = (rho(0) + 2 rho(1) + .. + 2 rho(k)) / S`.
//! A sample takes one 64-bit word: 63 bits choose the magnitude, the number of entries not above them, and one bit the sign.
//! Every entry is compared with, and no comparison branches or indexes, so the time says nothing about the sample.
//!
//! Magnitudes end at 28, which is 8.7 standard deviations: what is cut off has probability below `2^-61`.
//! The statistical distance to the true distribution is below `2^-58` per sample: 28 roundings of `2^-63`, and the tail.

/// The standard deviation.
pub const SIGMA: f64 = 3.19;

/// Bound on the magnitude of a sample.
pub const BOUND: i64 = TABLE.len() as i64;

/// `floor(2^63 * P(|X| <= k))` for `k = 0, 1, ..`.
pub(crate) const TABLE: [u64; 28] = [
    1_153_477_452_468_229_224,
    3_349_820_430_805_593_269,
    5_245_143_829_349_442_937,
    6_727_622_992_311_224_448,
    7_778_655_094_148_702_640,
    8_454_061_963_716_837_077,
    8_847_464_427_593_976_180,
    9_055_161_697_081_982_973,
    9_154_552_593_608_142_009,
    9_197_663_240_382_149_864,
    9_214_612_259_843_553_561,
    9_220_652_117_835_847_120,
    9_222_602_999_767_745_940,
    9_223_174_159_202_072_685,
    9_223_325_726_613_166_616,
    9_223_362_183_234_700_013,
    9_223_370_131_440_734_059,
    9_223_371_702_107_022_666,
    9_223_371_983_440_126_813,
    9_223_372_029_115_264_285,
    9_223_372_035_836_683_724,
    9_223_372_036_733_212_516,
    9_223_372_036_841_602_611,
    9_223_372_036_853_480_439,
    9_223_372_036_854_660_235,
    9_223_372_036_854_766_453,
    9_223_372_036_854_775_121,
    9_223_372_036_854_775_762,
];

/// The sample that a uniform 64-bit word stands for, in `-BOUND..=BOUND`.
#[inline]
pub(crate) fn sample(word: u64) -> i64 {
    let magnitude_bits = word >> 1;
    let mut magnitude = 0;
    for threshold in TABLE {
        // Both are below 2^63, so the borrow of the difference is its top bit: 1 if the bits lie below the threshold.
        magnitude += 1 - (magnitude_bits.wrapping_sub(threshold) >> 63);
    }
    let sign = (word & 1).wrapping_neg();
    ((magnitude ^ sign).wrapping_sub(sign)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use dashu_int::IBig;

    const FRACTION_BITS: usize = 256;

    /// `exp(-numerator / denominator)` in fixed point, by the alternating series after halving the argument.
    fn exp_minus(numerator: u64, denominator: u64) -> IBig {
        let one = IBig::ONE << FRACTION_BITS;
        let halvings = 12;
        let x = (&one * IBig::from(numerator) / IBig::from(denominator)) >> halvings;
        let (mut sum, mut term) = (one.clone(), one);
        for i in 1..80 {
            term = -((term * &x) >> FRACTION_BITS) / IBig::from(i);
            sum += &term;
        }
        for _ in 0..halvings {
            sum = (&sum * &sum) >> FRACTION_BITS;
        }
        sum
    }

    #[test]
    fn table_is_the_cumulative_distribution() {
        // k^2 / (2 * 3.19^2) = 10^4 k^2 / (2 * 319^2).
        let rho = |k: u64| exp_minus(10_000 * k * k, 2 * 319 * 319);
        let two = IBig::from(2);
        let total = (1..120).map(|k| rho(k) * &two).fold(rho(0), |sum, r| sum + r);
        let mut cumulative = IBig::ZERO;
        for (k, &entry) in TABLE.iter().enumerate() {
            cumulative += if k == 0 { rho(0) } else { rho(k as u64) * &two };
            let exact = (&cumulative << 63) / &total;
            assert_eq!(IBig::from(entry), exact, "entry {k}");
        }
    }

    #[test]
    fn extreme_words_give_extreme_samples() {
        assert_eq!(sample(0), 0);
        assert_eq!(sample(1), 0);
        assert_eq!(sample(u64::MAX - 1), BOUND);
        assert_eq!(sample(u64::MAX), -BOUND);
        for (k, &entry) in TABLE.iter().enumerate() {
            assert_eq!(sample((entry - 1) << 1), k as i64);
            assert_eq!(sample(entry << 1), k as i64 + 1);
            assert_eq!(sample((entry << 1) | 1), -(k as i64) - 1);
        }
    }
}
