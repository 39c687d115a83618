//! Sums over any number of limbs: the two halves of all products are added up apart and reduced once.
//!
//! All terms pass by the same few registers of every sum, so that sums are neither loaded nor stored on the way.

use std::ops::Range;

use super::field::{Factor, Field, factor_words};
use super::narrow::Entries;
use super::vector::{Vector, Words, octets, octets_mut};
use crate::modulus::Modulus;

/// Registers of a limb whose sums are in registers at the same time: enough independent sums to hide the time of a product.
const WIDE: usize = 4;

/// How many registers ahead the factors of products are asked for.
pub(super) const AHEAD: usize = 32;

/// Bits of a word that [`linear_combination`] takes.
const WORD_BITS: u32 = 50;

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
        self.1.iter().for_each(|words| V::prefetch_at(words, i + AHEAD));
        (V::load(&self.0[i]), self.1.map(|words| V::load(&words[i])))
    }
}

/// How registers are made of words of which each stands several times in a row.
#[derive(Clone, Copy)]
pub(super) enum Repeat<V> {
    /// Two words, each in four lanes: the lanes that they go to from the first two.
    Four(V),
    /// Four words, each in two lanes.
    Two(V),
    /// One word for a power of two of registers, whose logarithm this is.
    Registers(u32),
}

impl<V: Vector> Repeat<V> {
    /// For sums of `len` words, if their left factors are shorter.
    #[inline(always)]
    pub(super) fn of(len: usize, triples: &[(&[u64], [&[u64]; 2])]) -> Option<Self> {
        let (a, _) = triples.first()?;
        match len / a.len() {
            1 => None,
            2 => Some(Self::Two(V::load(&[0, 0, 1, 1, 2, 2, 3, 3]))),
            4 => Some(Self::Four(V::load(&[0, 0, 0, 0, 1, 1, 1, 1]))),
            times => Some(Self::Registers((times / 8).ilog2())),
        }
    }

    /// Register number `i`.
    #[inline(always)]
    pub(super) fn at(self, words: &[u64], i: usize) -> V {
        match self {
            Self::Registers(log) => V::splat(words[i >> log]),
            Self::Four(lanes) => V::repeat_2(&words.as_chunks().0[i]).permute(lanes),
            Self::Two(lanes) => V::repeat_4(&words.as_chunks().0[i]).permute(lanes),
        }
    }
}

/// Words that are repeated, to be multiplied by runs of registers from number `first` on.
#[derive(Clone, Copy)]
struct Repeated<'a, V> {
    a: &'a [u64],
    repeat: Repeat<V>,
    first: usize,
    b: [&'a [Words]; 2],
}

impl<V: Vector> Term<V, 2> for Repeated<'_, V> {
    #[inline(always)]
    fn factors(&self, i: usize) -> (V, [V; 2]) {
        let a = self.repeat.at(self.a, self.first + i);
        (a, [V::load(&self.b[0][i]), V::load(&self.b[1][i])])
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

/// A run of registers to be multiplied by packed entries from number `8 first` on.
#[derive(Clone, Copy)]
struct Narrow<'a, V> {
    a: &'a [Words],
    b: [&'a [u64]; 2],
    first: usize,
    entries: Entries<V>,
}

impl<V: Vector> Term<V, 2> for Narrow<'_, V> {
    #[inline(always)]
    fn factors(&self, i: usize) -> (V, [V; 2]) {
        let ahead = (self.first + i) * self.entries.width / 64 + AHEAD;
        let [b, c] = self.b;
        V::prefetch_at::<Words>(b.as_chunks().0, ahead);
        V::prefetch_at::<Words>(c.as_chunks().0, ahead);
        let at = self.first + i;
        (V::load(&self.a[i]), [self.entries.at(b, at), self.entries.at(c, at)])
    }
}

/// What a sum begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Zero,
    /// The residues that stand where the sum goes.
    There,
}

impl Start {
    const fn of(fresh: bool) -> Self {
        if fresh { Self::Zero } else { Self::There }
    }
}

/// A modulus and how to reduce sums by it.
#[derive(Clone, Copy)]
pub(super) struct Sums<V> {
    f: Field<V>,
    two_52: Factor<V>,
}

impl<V: Vector> Sums<V> {
    #[inline(always)]
    pub(super) fn new(q: Modulus) -> Self {
        let two_52 = factor_words(q, q.reduce_u64(1 << 52));
        Self { f: Field::new(q), two_52: Factor::splat(&two_52) }
    }

    /// Any word modulo q.
    #[inline(always)]
    pub(super) fn reduce_word(self, x: V) -> V {
        self.f.reduce_wide(self.f.zero, x, self.two_52)
    }

    /// W registers of M sums from number `i` on, of any number of terms, of which `lazy` add up before they must be reduced.
    #[inline(always)]
    fn sum<T: Term<V, M>, const M: usize, const W: usize>(
        self,
        outs: &mut [&mut [Words]; M],
        i: usize,
        start: Start,
        terms: impl Iterator<Item = T>,
        lazy: usize,
    ) {
        let mut high = [[self.f.zero; W]; M];
        let mut low = high;
        if start == Start::There {
            for (low, out) in low.iter_mut().zip(&*outs) {
                for w in 0..W {
                    low[w] = V::load(&out[i + w]);
                }
            }
        }
        let mut room = lazy;
        for term in terms {
            if room == 0 {
                for m in 0..M {
                    for w in 0..W {
                        low[m][w] = self.f.reduce_wide(high[m][w], low[m][w], self.two_52);
                        high[m][w] = self.f.zero;
                    }
                }
                room = lazy;
            }
            room -= 1;
            for w in 0..W {
                let (a, b) = term.factors(w);
                for m in 0..M {
                    high[m][w] = high[m][w].madd_high(a, b[m]);
                    low[m][w] = low[m][w].madd_low(a, b[m]);
                }
            }
        }
        for (m, out) in outs.iter_mut().enumerate() {
            for w in 0..W {
                let sum = self.f.reduce_wide(high[m][w], low[m][w], self.two_52);
                sum.store(&mut out[i + w]);
            }
        }
    }

    /// M sums of few terms.
    #[inline(always)]
    fn few<T: Term<V, M>, const M: usize, const K: usize>(
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
}

/// How many products of numbers of so many bits add up, beside a residue, before they must be reduced:
/// upper halves and what the lower ones carry stay below `2^52`, lower halves below `2^64`.
const fn lazy_terms(bits: u32) -> usize {
    let upper = 1 << bits.saturating_sub(52);
    let terms = (1usize << 52) / upper - 1;
    if terms < 4000 { terms } else { 4000 }
}

/// As [`lazy_terms`], of products of two residues.
const fn lazy_products(q: Modulus) -> usize {
    lazy_terms(2 * (u64::BITS - q.value().leading_zeros()))
}

/// Sums of `$terms`, each of which `$term` makes a [`Term`] on a range of registers.
///
/// A few terms are instructions of their own, by whose addresses a processor foresees the next words of every limb;
/// of more, several registers pass by at a time.
macro_rules! sum {
    ($q:expr, $outs:expr, $start:expr, $terms:expr, $lazy:expr, |$of:ident, $range:ident| $term:expr) => {
        let sums = Sums::<V>::new($q);
        let (mut outs, terms) = ($outs.map(octets_mut), $terms);
        let len = outs[0].len();
        let $range = 0..len;
        match terms {
            [] if $start == Start::Zero => outs.iter_mut().for_each(|out| out.fill([0; 8])),
            [] => {}
            [a] => sum!(@call sums, outs, $start, |$of| $term, a),
            [a, b] => sum!(@call sums, outs, $start, |$of| $term, a, b),
            [a, b, c] => sum!(@call sums, outs, $start, |$of| $term, a, b, c),
            [a, b, c, d] => sum!(@call sums, outs, $start, |$of| $term, a, b, c, d),
            [a, b, c, d, e] => sum!(@call sums, outs, $start, |$of| $term, a, b, c, d, e),
            [a, b, c, d, e, f] => sum!(@call sums, outs, $start, |$of| $term, a, b, c, d, e, f),
            [a, b, c, d, e, f, g] => sum!(@call sums, outs, $start, |$of| $term, a, b, c, d, e, f, g),
            [a, b, c, d, e, f, g, h] => sum!(@call sums, outs, $start, |$of| $term, a, b, c, d, e, f, g, h),
            _ => {
                let wide = len / WIDE * WIDE;
                for i in (0..wide).step_by(WIDE) {
                    let $range = i..i + WIDE;
                    let terms = terms.iter().map(|$of| $term);
                    sums.sum::<_, _, WIDE>(&mut outs, i, $start, terms, $lazy);
                }
                for i in wide..len {
                    let $range = i..i + 1;
                    let terms = terms.iter().map(|$of| $term);
                    sums.sum::<_, _, 1>(&mut outs, i, $start, terms, $lazy);
                }
            }
        }
    };
    (@call $sums:ident, $outs:ident, $start:expr, |$of:ident| $term:expr, $($few:ident),*) => {{
        let terms = [$({
            let $of = $few;
            $term
        }),*];
        $sums.few(&mut $outs, $start, terms);
    }};
}

/// What [`inner_product`] and its relatives make of a pair of limbs.
#[inline(always)]
fn pair<'a>(&(a, b): &(&'a [u64], &'a [u64]), range: Range<usize>) -> Shared<'a, 1> {
    Shared(&octets(a)[range.clone()], [&octets(b)[range]])
}

#[inline(always)]
pub(super) fn inner_product<V: Vector>(q: Modulus, out: &mut [u64], pairs: &[(&[u64], &[u64])]) {
    let lazy = lazy_products(q);
    sum!(q, [out], Start::Zero, pairs, lazy, |terms, range| pair(terms, range.clone()));
}

#[inline(always)]
pub(super) fn inner_products<V: Vector>(
    q: Modulus,
    outs: [&mut [u64]; 2],
    triples: &[(&[u64], [&[u64]; 2])],
    fresh: bool,
) {
    let lazy = lazy_products(q);
    if let Some(repeat) = Repeat::<V>::of(outs[0].len(), triples) {
        sum!(q, outs, Start::of(fresh), triples, lazy, |triple, range| {
            let &(a, [b, c]): &(&[u64], [&[u64]; 2]) = triple;
            let b = [&octets(b)[range.clone()], &octets(c)[range.clone()]];
            Repeated { a, repeat, first: range.start, b }
        });
        return;
    }
    sum!(q, outs, Start::of(fresh), triples, lazy, |triple, range| {
        let &(a, [b, c]): &(&[u64], [&[u64]; 2]) = triple;
        let of = range.clone();
        Shared(&octets(a)[range.clone()], [&octets(b)[range.clone()], &octets(c)[of]])
    });
}

#[inline(always)]
pub(super) fn narrow_products<V: Vector>(
    q: Modulus,
    outs: [&mut [u64]; 2],
    triples: &[(&[u64], [&[u64]; 2])],
    fresh: bool,
) {
    let entries = Entries::new(q.bits());
    let lazy = lazy_products(q);
    sum!(q, outs, Start::of(fresh), triples, lazy, |triple, range| {
        let &(a, b): &(&[u64], [&[u64]; 2]) = triple;
        Narrow { a: &octets(a)[range.clone()], b, first: range.start, entries }
    });
}

/// A sum of K runs of words, each times a residue, and of what the first of them carry.
#[inline(always)]
fn combine<V: Vector, const K: usize>(
    q: Modulus,
    out: &mut [u64],
    terms: [&(&[u64], u64); K],
    carried: u64,
) {
    let (Sums { f, two_52 }, carried) = (Sums::<V>::new(q), V::splat(carried));
    let (mut words, mut factors): ([&[Words]; K], _) = ([&[]; K], [f.zero; K]);
    for k in 0..K {
        words[k] = octets(terms[k].0);
        factors[k] = V::splat(terms[k].1);
    }
    for (i, out) in octets_mut(out).iter_mut().enumerate() {
        let over = V::load(&words[0][i]).above_52();
        let mut high = f.zero.madd_high(over, carried);
        let mut low = f.zero.madd_low(over, carried);
        for k in 0..K {
            V::prefetch_at(words[k], i + AHEAD);
            // Products take the lower 52 bits of a word, without what it carries.
            let word = V::load(&words[k][i]);
            high = high.madd_high(word, factors[k]);
            low = low.madd_low(word, factors[k]);
        }
        f.reduce_wide(high, low, two_52).store(out);
    }
}

/// Few terms are instructions of their own, as in [`sum!`].
#[inline(always)]
pub(super) fn linear_combination<V: Vector>(
    q: Modulus,
    out: &mut [u64],
    terms: &[(&[u64], u64)],
    carried: u64,
) {
    macro_rules! combine {
        ($($term:ident),*) => { combine::<V, _>(q, out, [$($term),*], carried) };
    }
    match terms {
        [] => out.fill(0),
        [a] => combine!(a),
        [a, b] => combine!(a, b),
        [a, b, c] => combine!(a, b, c),
        [a, b, c, d] => combine!(a, b, c, d),
        [a, b, c, d, e] => combine!(a, b, c, d, e),
        [a, b, c, d, e, f] => combine!(a, b, c, d, e, f),
        [a, b, c, d, e, f, g] => combine!(a, b, c, d, e, f, g),
        [a, b, c, d, e, f, g, h] => combine!(a, b, c, d, e, f, g, h),
        [first, others @ ..] => {
            combine::<V, _>(q, out, [first], carried);
            let lazy = lazy_terms(WORD_BITS + u64::BITS - q.value().leading_zeros());
            sum!(q, [out], Start::There, others, lazy, |term, range| {
                let &(source, s): &(&[u64], u64) = term;
                Scaled(&octets(source)[range.clone()], V::splat(s))
            });
        }
    }
}

#[inline(always)]
pub(super) fn carry_rounded_sum<V: Vector>(
    first: &mut [u64],
    weight: f64,
    others: &[(&[u64], f64)],
) {
    let (half, weight) = (V::splat(0.5f64.to_bits()), V::splat(weight.to_bits()));
    for (i, first) in octets_mut(first).iter_mut().enumerate() {
        let word = V::load(first);
        // The words of the sum hold the bits of f64 numbers.
        let mut sum = word.to_f64().mul_f64(weight);
        for (source, weight) in others {
            let weight = V::splat(weight.to_bits());
            sum = sum.add_f64(V::load(&octets(source)[i]).to_f64().mul_f64(weight));
        }
        word.or(sum.add_f64(half).floor_f64().raise_52()).store(first);
    }
}
