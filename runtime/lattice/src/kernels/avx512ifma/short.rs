//! Sums of products of residues of 31 bits, two residues to a word.
//!
//! A register of packed words holds sixteen residues: the first and the third four in the lower halves of its words,
//! the second and the fourth in the upper ones. Sums are kept apart that way until they are stored.

use super::sums::{AHEAD, Repeat, Sums};
use super::vector::{Vector, Words, octets, octets_mut};
use crate::modulus::Modulus;

/// Registers of packed words whose sums are in registers at the same time.
const WIDE: usize = 2;

#[inline(always)]
pub(super) fn pack<V: Vector>(out: &mut [u64], a: &[u64]) {
    let (pairs, _) = octets(a).as_chunks::<2>();
    for (o, [first, second]) in octets_mut(out).iter_mut().zip(pairs) {
        let (low, high) = V::exchange(V::load(first), V::load(second));
        low.or(high.raise_32()).store(o);
    }
}

#[inline(always)]
pub(super) fn packed_sums<V: Vector>(sums: [&mut [u64]; 2], triples: &[(&[u64], [&[u64]; 2])]) {
    let [first, second] = sums.map(octets_mut);
    let len = first.len() / 2;
    let wide = len / WIDE * WIDE;
    let repeated = Repeat::<V>::of(8 * len, triples);
    for i in (0..wide).step_by(WIDE) {
        let (first, second) = (&mut first[2 * i..], &mut second[2 * i..]);
        match repeated {
            None => add::<V, WIDE>(first, second, i, triples, |a, i| V::load(&octets(a)[i])),
            Some(repeat) => add::<V, WIDE>(first, second, i, triples, |a, i| repeat.at(a, i)),
        }
    }
    for i in wide..len {
        let (first, second) = (&mut first[2 * i..], &mut second[2 * i..]);
        match repeated {
            None => add::<V, 1>(first, second, i, triples, |a, i| V::load(&octets(a)[i])),
            Some(repeat) => add::<V, 1>(first, second, i, triples, |a, i| repeat.at(a, i)),
        }
    }
}

/// All products of the W packed registers from number `i` on, added to the sums that begin here;
/// `at` finds a register of a left factor.
#[inline(always)]
fn add<V: Vector, const W: usize>(
    first: &mut [Words],
    second: &mut [Words],
    i: usize,
    triples: &[(&[u64], [&[u64]; 2])],
    at: impl Fn(&[u64], usize) -> V,
) {
    let (first, second) =
        (&mut first.as_chunks_mut::<2>().0[..W], &mut second.as_chunks_mut::<2>().0[..W]);
    let (mut left, mut right) = ([load::<V>(&first[0]); W], [load::<V>(&second[0]); W]);
    for w in 1..W {
        (left[w], right[w]) = (load(&first[w]), load(&second[w]));
    }
    let range = i..i + W;
    for (a, [b, c]) in triples {
        let (b, c) = (&octets(b)[range.clone()], &octets(c)[range.clone()]);
        for w in 0..W {
            V::prefetch_at(b, w + AHEAD);
            V::prefetch_at(c, w + AHEAD);
            let (a, b, c) = (at(a, i + w), V::load(&b[w]), V::load(&c[w]));
            let upper = a.above_32();
            left[w].0 = left[w].0.add(a.mul_32(b));
            left[w].1 = left[w].1.add(upper.mul_32(b.above_32()));
            right[w].0 = right[w].0.add(a.mul_32(c));
            right[w].1 = right[w].1.add(upper.mul_32(c.above_32()));
        }
    }
    for (sums, out) in [(left, first), (right, second)] {
        for ((low, high), [x, y]) in sums.into_iter().zip(out) {
            let (low, high) = V::exchange(low, high);
            low.store(x);
            high.store(y);
        }
    }
}

/// Sums of sixteen residues in the order of packed ones.
#[inline(always)]
fn load<V: Vector>(words: &[Words; 2]) -> (V, V) {
    V::exchange(V::load(&words[0]), V::load(&words[1]))
}

#[inline(always)]
pub(super) fn reduce_words<V: Vector>(q: Modulus, a: &mut [u64]) {
    let sums = Sums::<V>::new(q);
    for x in octets_mut(a) {
        sums.reduce_word(V::load(x)).store(x);
    }
}
