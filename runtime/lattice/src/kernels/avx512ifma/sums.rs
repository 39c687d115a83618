//! Sums over any number of limbs: the two halves of all products are added up apart and reduced once.
//!
//! A product of two numbers below `2^50` has an upper half below `2^48` and a lower one below `2^52`.

use std::ops::Range;

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

/// A run of registers to be multiplied by M others, register by register.
trait Term<V, const M: usize>: Copy {
    /// The common factor at register `i` and the others.
    fn factors(&self, i: usize) -> (V, [V; M]);
}

/// Runs of registers.
#[derive(Clone, Copy)]
struct Shared<'a, const M: usize>(&'a [Words], [&'a [Words]; M]);

impl<V: Vector, const M: usize> Term<V, M> for Shared<'_, M> {
    #[inline(always)]
    fn factors(&self, i: usize) -> (V, [V; M]) {
        (V::load(&self.0[i]), self.1.map(|words| V::load(&words[i])))
    }
}

/// A run of registers and a number.
#[derive(Clone, Copy)]
struct Scaled<'a, V>(&'a [Words], V);

impl<V: Vector> Term<V, 1> for Scaled<'_, V> {
    #[inline(always)]
    fn factors(&self, i: usize) -> (V, [V; 1]) {
        (V::load(&self.0[i]), [self.1])
    }
}

/// Upper and lower halves of a block of sums.
#[derive(Clone, Copy)]
struct Halves {
    high: [Words; BLOCK],
    low: [Words; BLOCK],
}

/// What a sum begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Zero,
    /// The residues that stand where the sum goes.
    There,
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

    /// M sums of the terms, which fit into one group.
    #[inline(always)]
    fn direct<T: Term<V, M>, const M: usize, const K: usize>(
        self,
        outs: &mut [&mut [Words]; M],
        start: Start,
        terms: [T; K],
    ) {
        let len = outs[0].len();
        for i in 0..len {
            let (mut high, mut low) = ([self.f.zero; M], [self.f.zero; M]);
            if start == Start::There {
                for (low, out) in low.iter_mut().zip(&*outs) {
                    *low = V::load(&out[i]);
                }
            }
            for term in &terms {
                let (a, b) = term.factors(i);
                for m in 0..M {
                    (high[m], low[m]) = (high[m].madd_high(a, b[m]), low[m].madd_low(a, b[m]));
                }
            }
            for (m, out) in outs.iter_mut().enumerate() {
                self.f.reduce_wide(high[m], low[m], self.two_52).store(&mut out[i]);
            }
        }
    }

    /// Adds the terms of one group to `sums`.
    #[inline(always)]
    fn accumulate<T: Term<V, M>, const M: usize, const K: usize>(
        self,
        sums: &mut [Halves; M],
        len: usize,
        terms: [T; K],
    ) {
        for i in 0..len.min(BLOCK) {
            let (mut high, mut low) = ([self.f.zero; M], [self.f.zero; M]);
            for (m, sum) in sums.iter().enumerate() {
                (high[m], low[m]) = (V::load(&sum.high[i]), V::load(&sum.low[i]));
            }
            for term in &terms {
                let (a, b) = term.factors(i);
                for m in 0..M {
                    (high[m], low[m]) = (high[m].madd_high(a, b[m]), low[m].madd_low(a, b[m]));
                }
            }
            for (m, sum) in sums.iter_mut().enumerate() {
                high[m].store(&mut sum.high[i]);
                low[m].store(&mut sum.low[i]);
            }
        }
    }

    /// Reduces sums where they stand.
    #[inline(always)]
    fn reduce(self, sums: &mut [Halves], len: usize) {
        for sum in sums {
            for (high, low) in sum.high[..len].iter_mut().zip(&mut sum.low[..len]) {
                self.f.reduce_wide(V::load(high), V::load(low), self.two_52).store(low);
                self.f.zero.store(high);
            }
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

/// Adds up terms block by block, where `$term` makes a [`Term`] of one of `$terms` and a range of words.
macro_rules! sum {
    ($q:expr, $outs:expr, $start:expr, $terms:expr, |$source:ident, $range:ident| $term:expr) => {
        let sums = Sums::<V>::new($q);
        let (mut outs, terms) = ($outs.map(octets_mut), $terms);
        let len = outs[0].len();
        for first in (0..len).step_by(BLOCK) {
            let count = BLOCK.min(len - first);
            let $range = first * LANES..(first + count) * LANES;
            let mut outs = outs.each_mut().map(|out| &mut out[first..first + count]);
            if terms.len() <= GROUP {
                if terms.is_empty() && $start == Start::Zero {
                    outs.iter_mut().for_each(|out| out.fill([0; LANES]));
                }
                of_group!(terms, |$source| $term, |group| sums.direct(&mut outs, $start, group));
                continue;
            }
            let mut halves = outs.each_ref().map(|out| {
                let mut halves = Halves { high: [[0; LANES]; BLOCK], low: [[0; LANES]; BLOCK] };
                if $start == Start::There {
                    halves.low[..count].copy_from_slice(out);
                }
                halves
            });
            for (i, group) in terms.chunks(GROUP).enumerate() {
                if i > 0 && i.is_multiple_of(LAZY_GROUPS) {
                    sums.reduce(&mut halves, count);
                }
                of_group!(group, |$source| $term, |group| {
                    sums.accumulate(&mut halves, count, group);
                });
            }
            sums.reduce(&mut halves, count);
            for (out, halves) in outs.iter_mut().zip(&halves) {
                out.copy_from_slice(&halves.low[..count]);
            }
        }
    };
}

/// What [`inner_product`] and its relatives make of a pair of limbs.
#[inline(always)]
fn pair<'a>(&(a, b): &(&'a [u64], &'a [u64]), range: Range<usize>) -> Shared<'a, 1> {
    Shared(octets(&a[range.clone()]), [octets(&b[range])])
}

#[inline(always)]
pub(super) fn inner_product<V: Vector>(q: Modulus, out: &mut [u64], pairs: &[(&[u64], &[u64])]) {
    sum!(q, [out], Start::Zero, pairs, |terms, range| pair(terms, range.clone()));
}

#[inline(always)]
pub(super) fn inner_product_add<V: Vector>(
    q: Modulus,
    out: &mut [u64],
    pairs: &[(&[u64], &[u64])],
) {
    sum!(q, [out], Start::There, pairs, |terms, range| pair(terms, range.clone()));
}

#[inline(always)]
pub(super) fn inner_products<V: Vector>(
    q: Modulus,
    outs: [&mut [u64]; 2],
    triples: &[(&[u64], [&[u64]; 2])],
) {
    sum!(q, outs, Start::Zero, triples, |triple, range| {
        let &(a, b): &(&[u64], [&[u64]; 2]) = triple;
        Shared(octets(&a[range.clone()]), b.map(|b| octets(&b[range.clone()])))
    });
}

#[inline(always)]
pub(super) fn linear_combination<V: Vector>(q: Modulus, out: &mut [u64], terms: &[(&[u64], u64)]) {
    sum!(q, [out], Start::Zero, terms, |term, range| {
        let &(source, s): &(&[u64], u64) = term;
        Scaled(octets(&source[range.clone()]), V::splat(s))
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
