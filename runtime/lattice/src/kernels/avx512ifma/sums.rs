//! Sums over any number of limbs: the two halves of all products are added up apart and reduced once.
//!
//! A product of two numbers below `2^50` has an upper half below `2^48` and a lower one below `2^52`.

use super::field::{Factor, Field, factor_words};
use super::vector::{LANES, Vector, Words, octets, octets_mut};
use crate::modulus::Modulus;

/// Registers of a limb whose sums stay in the nearest cache while the terms pass by.
const BLOCK: usize = 64;

/// Terms that pass by at a time: twice as many streams are read.
const GROUP: usize = 6;

/// Groups of terms that add up before the sums must be reduced:
/// 12 upper halves, and the carry of a reduced value and 12 lower ones, stay below `2^52`.
const LAZY_GROUPS: usize = 2;

/// A run of registers to be multiplied by something, register by register.
trait Term<V>: Copy {
    /// The two factors at register `i`.
    fn factors(&self, i: usize) -> (V, V);
}

/// Two runs of registers.
#[derive(Clone, Copy)]
struct Pair<'a>(&'a [Words], &'a [Words]);

impl<V: Vector> Term<V> for Pair<'_> {
    #[inline(always)]
    fn factors(&self, i: usize) -> (V, V) {
        (V::load(&self.0[i]), V::load(&self.1[i]))
    }
}

/// A run of registers and a number.
#[derive(Clone, Copy)]
struct Scaled<'a, V>(&'a [Words], V);

impl<V: Vector> Term<V> for Scaled<'_, V> {
    #[inline(always)]
    fn factors(&self, i: usize) -> (V, V) {
        (V::load(&self.0[i]), self.1)
    }
}

/// Upper and lower halves of sums.
struct Halves {
    high: [Words; BLOCK],
    low: [Words; BLOCK],
}

/// A modulus and how to reduce sums by it.
#[derive(Clone, Copy)]
struct Sums<V> {
    f: Field<V>,
    two_52: Factor<V>,
}

impl<V: Vector> Sums<V> {
    #[inline(always)]
    fn new(q: Modulus) -> Self {
        let two_52 = factor_words(q, q.reduce_u64(1 << 52));
        Self { f: Field::new(q), two_52: Factor::splat(&two_52) }
    }

    /// `out = sum of the terms`, which fit into one group.
    #[inline(always)]
    fn direct<T: Term<V>, const K: usize>(self, out: &mut [Words], terms: [T; K]) {
        for (i, out) in out.iter_mut().enumerate() {
            let (mut high, mut low) = (self.f.zero, self.f.zero);
            for term in &terms {
                let (a, b) = term.factors(i);
                (high, low) = (high.madd_high(a, b), low.madd_low(a, b));
            }
            self.f.reduce_wide(high, low, self.two_52).store(out);
        }
    }

    /// Adds the terms of one group to `sums`.
    #[inline(always)]
    fn accumulate<T: Term<V>, const K: usize>(self, sums: &mut Halves, len: usize, terms: [T; K]) {
        let (highs, lows) = (&mut sums.high[..len], &mut sums.low[..len]);
        for i in 0..len {
            let (mut high, mut low) = (V::load(&highs[i]), V::load(&lows[i]));
            for term in &terms {
                let (a, b) = term.factors(i);
                (high, low) = (high.madd_high(a, b), low.madd_low(a, b));
            }
            high.store(&mut highs[i]);
            low.store(&mut lows[i]);
        }
    }

    /// Reduces sums where they stand.
    #[inline(always)]
    fn reduce(self, sums: &mut Halves, len: usize) {
        for (high, low) in sums.high[..len].iter_mut().zip(&mut sums.low[..len]) {
            self.f.reduce_wide(V::load(high), V::load(low), self.two_52).store(low);
            self.f.zero.store(high);
        }
    }
}

/// Calls a function of an array of at most [`GROUP`] terms.
macro_rules! of_group {
    ($group:expr, $term:expr, |$terms:ident| $call:expr) => {
        match $group {
            [a] => {
                let $terms = [$term(a)];
                $call
            }
            [a, b] => {
                let $terms = [$term(a), $term(b)];
                $call
            }
            [a, b, c] => {
                let $terms = [$term(a), $term(b), $term(c)];
                $call
            }
            [a, b, c, d] => {
                let $terms = [$term(a), $term(b), $term(c), $term(d)];
                $call
            }
            [a, b, c, d, e] => {
                let $terms = [$term(a), $term(b), $term(c), $term(d), $term(e)];
                $call
            }
            [a, b, c, d, e, f] => {
                let $terms = [$term(a), $term(b), $term(c), $term(d), $term(e), $term(f)];
                $call
            }
            // No terms: nothing is added. More than a group has never come here.
            _ => {}
        }
    };
}

/// `out = sum of the terms`, where `$term` makes a [`Term`] of one of `$terms` and a range of registers.
macro_rules! sum {
    ($q:expr, $out:expr, $terms:expr, |$source:ident, $range:ident| $term:expr) => {
        let sums = Sums::<V>::new($q);
        let terms = $terms;
        for (block, out) in octets_mut($out).chunks_mut(BLOCK).enumerate() {
            let start = block * BLOCK * LANES;
            let $range = start..start + out.len() * LANES;
            if terms.len() <= GROUP {
                if terms.is_empty() {
                    out.fill([0; LANES]);
                }
                of_group!(terms, |$source| $term, |group| sums.direct(out, group));
                continue;
            }
            let mut halves = Halves { high: [[0; LANES]; BLOCK], low: [[0; LANES]; BLOCK] };
            for (i, group) in terms.chunks(GROUP).enumerate() {
                if i > 0 && i.is_multiple_of(LAZY_GROUPS) {
                    sums.reduce(&mut halves, out.len());
                }
                of_group!(group, |$source| $term, |group| {
                    sums.accumulate(&mut halves, out.len(), group);
                });
            }
            sums.reduce(&mut halves, out.len());
            out.copy_from_slice(&halves.low[..out.len()]);
        }
    };
}

#[inline(always)]
pub(super) fn inner_product<V: Vector>(q: Modulus, out: &mut [u64], pairs: &[(&[u64], &[u64])]) {
    sum!(q, out, pairs, |pair, range| {
        let (a, b): &(&[u64], &[u64]) = pair;
        Pair(octets(&a[range.clone()]), octets(&b[range.clone()]))
    });
}

#[inline(always)]
pub(super) fn linear_combination<V: Vector>(q: Modulus, out: &mut [u64], terms: &[(&[u64], u64)]) {
    sum!(q, out, terms, |term, range| {
        let (source, s): &(&[u64], u64) = term;
        Scaled(octets(&source[range.clone()]), V::splat(*s))
    });
}

#[inline(always)]
pub(super) fn rounded_sum<V: Vector>(out: &mut [u64], terms: &[(&[u64], f64)]) {
    let half = V::splat(0.5f64.to_bits());
    for (block, out) in octets_mut(out).chunks_mut(BLOCK).enumerate() {
        let start = block * BLOCK * LANES;
        let range = start..start + out.len() * LANES;
        // The words hold the bits of f64 numbers until the end; zero is zero in both.
        out.fill([0; LANES]);
        for (source, weight) in terms {
            let weight = V::splat(weight.to_bits());
            for (o, x) in out.iter_mut().zip(octets(&source[range.clone()])) {
                let product = V::load(x).to_f64().mul_f64(weight);
                V::load(o).add_f64(product).store(o);
            }
        }
        for o in out {
            V::load(o).add_f64(half).floor_f64().store(o);
        }
    }
}
