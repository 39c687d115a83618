//! The numbers of a simulation: noise, drawn and added, and the largest of many, by vector instructions.

use pulp::NullaryFnOnce;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Slots that are treated side by side.
const LANES: usize = 8;

/// The largest magnitude; what is no number counts as more than infinity.
pub(super) struct LargestMagnitude<'a>(pub(super) &'a [f64]);

impl NullaryFnOnce for LargestMagnitude<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        // Without their signs, floating-point numbers are ordered like the integers of their bits.
        let (lanes, rest) = self.0.as_chunks::<LANES>();
        let mut largest = [0; LANES];
        for x in lanes {
            for l in 0..LANES {
                largest[l] = x[l].abs().to_bits().cast_signed().max(largest[l]);
            }
        }
        let mut all = 0;
        for bits in largest {
            all = bits.max(all);
        }
        for x in rest {
            all = x.abs().to_bits().cast_signed().max(all);
        }
        f64::from_bits(all.cast_unsigned())
    }
}

/// Standard normal samples, near enough: a binomial of 48 coins, its steps filled by a uniform.
///
/// A compilation draws some ten millions of them, and nothing here is secret: a fast generator
/// serves. The density is that of the binomial, linear between its steps, and reaches seven
/// deviations.
pub(super) struct Normal {
    rng: Xoshiro256PlusPlus,
}

impl Normal {
    /// Coins of a sample.
    const COINS: u32 = 48;
    /// Variance of the binomial and of a uniform of width one.
    const VARIANCE: f64 = 12.0 + 1.0 / 12.0;

    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { rng: Xoshiro256PlusPlus::from_seed(seed) }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the caller chooses the instruction set")]
    pub(super) fn sample(&mut self) -> f64 {
        let word = self.rng.next_u64();
        let heads = (word >> (64 - Self::COINS)).count_ones();
        let rest = (word & 0xffff) as f64 / 65_536.0 + 0.5 / 65_536.0;
        (f64::from(heads) + rest - 24.5) * (1.0 / Self::VARIANCE.sqrt())
    }
}

/// Adds to each slot a sample of the variance that it has there.
///
/// No closure, which may not be inlined and then lacks the vector instructions that it was
/// dispatched for.
pub(super) struct Shake<'a, V> {
    pub(super) normal: Normal,
    pub(super) slots: &'a mut [f64],
    pub(super) variance: V,
}

impl<V: Fn(usize) -> f64> NullaryFnOnce for Shake<'_, V> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { mut normal, slots, variance } = self;
        let (lanes, rest) = slots.as_chunks_mut::<LANES>();
        for (block, x) in lanes.iter_mut().enumerate() {
            let (mut deviation, mut samples) = ([0.0; LANES], [0.0; LANES]);
            for (l, deviation) in deviation.iter_mut().enumerate() {
                *deviation = variance(block * LANES + l);
            }
            for sample in &mut samples {
                *sample = normal.sample();
            }
            for l in 0..LANES {
                x[l] += deviation[l].sqrt() * samples[l];
            }
        }
        let first = lanes.len() * LANES;
        for (l, x) in rest.iter_mut().enumerate() {
            *x += variance(first + l).sqrt() * normal.sample();
        }
    }
}
