//! Twiddle factors in the order in which the passes read them, and how lazily a transform may reduce.

use super::field::{FactorWords, factor_words};
use super::vector::Words;
use crate::modulus::Modulus;

/// Twiddle factors of both directions.
#[derive(Debug)]
pub(crate) struct Twiddles {
    pub(super) forward: Half,
    pub(super) inverse: Half,
    /// `1/N`, multiplied in by the last stage of the inverse.
    pub(super) inverse_n: FactorWords,
    /// `inverse[1] / N`, the same for the odd half.
    pub(super) inverse_n_root: FactorWords,
    pub(super) laziness: Laziness,
}

/// The factors of one direction.
#[derive(Debug)]
pub(super) struct Half {
    /// `psi^±brv(i)` for `i < N/16`: one factor for a block of 32 words or more.
    pub(super) outer: Vec<FactorWords>,
    /// The factors of the last four stages, for every 16 words.
    pub(super) inner: Vec<Inner>,
}

/// The factors of the last four stages for 16 words: two cache lines.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Inner {
    /// Half-length 1: one for each pair of words; without companions.
    pub(super) ones: Words,
    /// Half-length 2; without companions.
    pub(super) twos: [u64; 4],
    /// Half-length 4; without companions.
    pub(super) fours: [u64; 2],
    /// Half-length 8.
    pub(super) eight: FactorWords,
}

/// When the forward transform reduces, by how many multiples of q fit into 52 bits.
///
/// A stage adds to each value at most q in magnitude, and what it multiplies must lie in `[0, 2^52)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Laziness {
    /// Never: `(2 log N + 1) q <= 2^52`.
    Never,
    /// Before every second stage: `8 q <= 2^52`.
    Pairs,
    /// Before every stage.
    Each,
}

impl Laziness {
    fn new(q: Modulus, log_n: u32) -> Self {
        let multiples = (1 << 52) / q.value();
        match multiples {
            _ if multiples > 2 * u64::from(log_n) => Self::Never,
            8.. => Self::Pairs,
            _ => Self::Each,
        }
    }
}

impl Twiddles {
    pub(crate) fn new(q: Modulus, roots: &[u64], inverse_roots: &[u64]) -> Self {
        let n = roots.len();
        let inverse_n = q.inv(q.reduce_u64(n as u64));
        // A block with an odd number leaves the inverse with the opposite sign, which the next stage expects.
        let signed = |i: usize| {
            let negative = i % 2 == 1 && i < n / 8;
            if negative { q.neg(inverse_roots[i]) } else { inverse_roots[i] }
        };
        Self {
            forward: Half::new(q, n, |i| roots[i]),
            inverse: Half::new(q, n, signed),
            inverse_n: factor_words(q, inverse_n),
            inverse_n_root: factor_words(q, q.mul(inverse_n, inverse_roots[1])),
            laziness: Laziness::new(q, n.trailing_zeros()),
        }
    }
}

impl Half {
    fn new(q: Modulus, n: usize, root: impl Fn(usize) -> u64) -> Self {
        let factor = |i: usize| factor_words(q, root(i));
        let without_companion = |i: usize| factor(i)[0];
        let inner = (0..n / 16).map(|g| Inner {
            ones: std::array::from_fn(|i| without_companion(n / 2 + 8 * g + i)),
            twos: std::array::from_fn(|i| without_companion(n / 4 + 4 * g + i)),
            fours: std::array::from_fn(|i| without_companion(n / 8 + 2 * g + i)),
            eight: factor(n / 16 + g),
        });
        Self { outer: (0..n / 16).map(factor).collect(), inner: inner.collect() }
    }
}
