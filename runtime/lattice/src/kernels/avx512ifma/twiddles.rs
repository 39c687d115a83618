//! Twiddle factors in the order in which the passes read them, and how lazily a transform may reduce.

use std::array::from_fn;

use super::field::{Factor, FactorWords, Field, factor_words};
use super::vector::{Vector, Words, each};
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
    /// The factors of the last four stages, for every 64 words.
    pub(super) inner: Vec<Inner>,
    /// `psi^±(k N/8)`, `k < 8` in bit-reversed order, in the form of a factor without its companion: by these the factors
    /// of a run at half-length 1 differ from its first.
    eighths: Words,
}

/// The factors of the last four stages for four runs of 16 words, without companions: four cache lines.
///
/// Of the eight factors of a run at half-length 1 only the first is stored, and the others are made when they are used.
/// With all of them, and companions of those at half-length 8, the table was larger than the limb, and both did not fit
/// into a second cache of 1 MiB at `N = 2^16`.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Inner {
    /// Half-length 1: the first of each run.
    ones: [u64; 4],
    /// Half-length 8.
    eights: [u64; 4],
    /// Half-length 4.
    fours: [[u64; 2]; 4],
    /// Half-length 2.
    twos: [[u64; 4]; 4],
}

impl Inner {
    /// The factors of half-length 8, one for each run.
    #[inline(always)]
    pub(super) fn eights<V: Vector>(&self, f: Field<V>) -> [Factor<V>; 4] {
        each!(w in self.eights => f.factor(V::splat(w)))
    }

    /// Those of half-length 4, two for each run.
    #[inline(always)]
    pub(super) fn fours<V: Vector>(&self, f: Field<V>) -> [Factor<V>; 4] {
        each!(w in &self.fours => f.factor(V::repeat_2(w)))
    }

    /// Those of half-length 2, four for each run.
    #[inline(always)]
    pub(super) fn twos<V: Vector>(&self, f: Field<V>) -> [Factor<V>; 4] {
        each!(w in &self.twos => f.factor(V::repeat_4(w)))
    }
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
        let inner = (0..n / 64).map(|i| {
            let run = |k: usize| 4 * i + k;
            Inner {
                ones: from_fn(|k| without_companion(n / 2 + 8 * run(k))),
                eights: from_fn(|k| without_companion(n / 16 + run(k))),
                fours: from_fn(|k| from_fn(|j| without_companion(n / 8 + 2 * run(k) + j))),
                twos: from_fn(|k| from_fn(|j| without_companion(n / 4 + 4 * run(k) + j))),
            }
        });
        let first = q.inv(root(n / 2));
        Self {
            outer: (0..n / 16).map(factor).collect(),
            inner: inner.collect(),
            eighths: from_fn(|k| factor_words(q, q.mul(root(n / 2 + k), first))[0]),
        }
    }

    /// The factors of half-length 1, eight for each run.
    #[inline(always)]
    pub(super) fn ones<V: Vector>(&self, f: Field<V>, inner: &Inner) -> [Factor<V>; 4] {
        let eighths = V::load(&self.eighths);
        each!(first in inner.ones => f.factor(f.mul(eighths, f.factor(V::splat(first)))))
    }
}
