//! The specification: portable code that every other instruction set agrees with bit for bit.

use super::{CARRY, Lanes};
use crate::modulus::Modulus;
use crate::{bits, gaussian, sampling};

/// Twiddle factors with their Shoup companions.
#[derive(Debug)]
pub(crate) struct Twiddles {
    forward: Vec<(u64, u64)>,
    inverse: Vec<(u64, u64)>,
    /// `1/N`, multiplied in by the last stage of the inverse.
    inverse_n: (u64, u64),
    /// `inverse[1] / N`, the same for the odd half.
    inverse_n_root: (u64, u64),
}

impl Twiddles {
    pub(crate) fn new(q: Modulus, roots: &[u64], inverse_roots: &[u64]) -> Self {
        let with_shoup = |w: u64| (w, q.shoup(w));
        let all_with_shoup = |roots: &[u64]| roots.iter().map(|&w| with_shoup(w)).collect();
        let inverse_n = q.inv(q.reduce_u64(roots.len() as u64));
        Self {
            forward: all_with_shoup(roots),
            inverse_n: with_shoup(inverse_n),
            inverse_n_root: with_shoup(q.mul(inverse_n, inverse_roots[1])),
            inverse: all_with_shoup(inverse_roots),
        }
    }
}

/// Cooley–Tukey butterflies with Harvey's lazy ranges (2014, algorithm 4):
/// between stages residues lie in `[0, 4q)`, at the end in `[0, q)`.
pub(crate) fn forward(q: Modulus, twiddles: &Twiddles, a: &mut [u64]) {
    let two_q = 2 * q.value();
    let mut half = a.len() / 2;
    let mut groups = 1;
    while half > 0 {
        let roots = &twiddles.forward[groups..2 * groups];
        for (group, &(w, w_shoup)) in a.chunks_exact_mut(2 * half).zip(roots) {
            let (low, high) = group.split_at_mut(half);
            for (x, y) in low.iter_mut().zip(high) {
                let u = reduce_range(*x, two_q);
                let v = q.mul_shoup_lazy(*y, w, w_shoup);
                *x = u + v;
                *y = u + two_q - v;
            }
        }
        half /= 2;
        groups *= 2;
    }
    for x in a {
        *x = q.reduce_once(reduce_range(*x, two_q));
    }
}

/// Gentleman–Sande butterflies; between stages residues lie in `[0, 2q)`, at the end in `[0, q)`.
pub(crate) fn inverse(q: Modulus, twiddles: &Twiddles, a: &mut [u64]) {
    let two_q = 2 * q.value();
    let mut half = 1;
    let mut groups = a.len() / 2;
    while groups > 1 {
        let roots = &twiddles.inverse[groups..2 * groups];
        for (group, &(w, w_shoup)) in a.chunks_exact_mut(2 * half).zip(roots) {
            let (low, high) = group.split_at_mut(half);
            for (x, y) in low.iter_mut().zip(high) {
                let (u, v) = (*x, *y);
                *x = reduce_range(u + v, two_q);
                *y = q.mul_shoup_lazy(u + two_q - v, w, w_shoup);
            }
        }
        half *= 2;
        groups /= 2;
    }
    let (n, n_shoup) = twiddles.inverse_n;
    let (w, w_shoup) = twiddles.inverse_n_root;
    let (low, high) = a.split_at_mut(half);
    for (x, y) in low.iter_mut().zip(high) {
        let (u, v) = (*x, *y);
        *x = q.mul_shoup(u + v, n, n_shoup);
        *y = q.mul_shoup(u + two_q - v, w, w_shoup);
    }
}

pub(crate) fn forward_sub_from_mul_scalar(
    q: Modulus,
    twiddles: &Twiddles,
    a: &mut [u64],
    b: &[u64],
    s: u64,
) {
    forward(q, twiddles, a);
    sub_from_mul_scalar(q, a, b, s);
}

pub(crate) fn inverse_scaled(q: Modulus, twiddles: &Twiddles, a: &mut [u64], s: u64) {
    inverse(q, twiddles, a);
    mul_scalar_assign(q, a, s);
}

/// Maps `[0, 2 * bound)` to `[0, bound)`.
#[inline]
fn reduce_range(a: u64, bound: u64) -> u64 {
    let (difference, borrow) = a.overflowing_sub(bound);
    difference.wrapping_add(bound & u64::from(borrow).wrapping_neg())
}

pub(crate) fn add_assign(q: Modulus, a: &mut [u64], b: &[u64]) {
    for (x, &y) in a.iter_mut().zip(b) {
        *x = q.add(*x, y);
    }
}

pub(crate) fn sub_assign(q: Modulus, a: &mut [u64], b: &[u64]) {
    for (x, &y) in a.iter_mut().zip(b) {
        *x = q.sub(*x, y);
    }
}

pub(crate) fn neg_assign(q: Modulus, a: &mut [u64]) {
    for x in a {
        *x = q.neg(*x);
    }
}

pub(crate) fn add_scalar_assign(q: Modulus, a: &mut [u64], s: u64) {
    for x in a {
        *x = q.add(*x, s);
    }
}

pub(crate) fn mul(q: Modulus, out: &mut [u64], a: &[u64], b: &[u64]) {
    for ((o, &x), &y) in out.iter_mut().zip(a).zip(b) {
        *o = q.mul(x, y);
    }
}

pub(crate) fn mul_assign(q: Modulus, a: &mut [u64], b: &[u64]) {
    for (x, &y) in a.iter_mut().zip(b) {
        *x = q.mul(*x, y);
    }
}

pub(crate) fn mul_add_assign(q: Modulus, acc: &mut [u64], a: &[u64], b: &[u64]) {
    for ((o, &x), &y) in acc.iter_mut().zip(a).zip(b) {
        *o = q.add(*o, q.mul(x, y));
    }
}

pub(crate) fn mul_scalar_assign(q: Modulus, a: &mut [u64], s: u64) {
    let s_shoup = q.shoup(s);
    for x in a {
        *x = q.mul_shoup(*x, s, s_shoup);
    }
}

pub(crate) fn mul_scalar_add_assign(q: Modulus, acc: &mut [u64], b: &[u64], s: u64) {
    let s_shoup = q.shoup(s);
    for (o, &x) in acc.iter_mut().zip(b) {
        *o = q.add(*o, q.mul_shoup(x, s, s_shoup));
    }
}

pub(crate) fn sub_from_mul_scalar(q: Modulus, out: &mut [u64], a: &[u64], s: u64) {
    let s_shoup = q.shoup(s);
    for (o, &x) in out.iter_mut().zip(a) {
        *o = q.mul_shoup(x + q.value() - *o, s, s_shoup);
    }
}

pub(crate) fn inner_product(q: Modulus, out: &mut [u64], pairs: &[(&[u64], &[u64])]) {
    for (i, o) in out.iter_mut().enumerate() {
        // Products stay below 2^100, so 2^28 of them fit.
        let sum = pairs.iter().map(|(a, b)| u128::from(a[i]) * u128::from(b[i])).sum();
        *o = q.reduce_u128(sum);
    }
}

pub(crate) fn inner_products(
    q: Modulus,
    outs: [&mut [u64]; 2],
    triples: &[(&[u64], [&[u64]; 2])],
    fresh: bool,
) {
    sums_of_products(q, outs, triples, fresh, |b, i| b[i]);
}

pub(crate) fn narrow_products(
    q: Modulus,
    outs: [&mut [u64]; 2],
    triples: &[(&[u64], [&[u64]; 2])],
    fresh: bool,
) {
    sums_of_products(q, outs, triples, fresh, |b, i| bits::entry(b, q.bits(), i));
}

fn sums_of_products(
    q: Modulus,
    outs: [&mut [u64]; 2],
    triples: &[(&[u64], [&[u64]; 2])],
    fresh: bool,
    entry: impl Fn(&[u64], usize) -> u64,
) {
    for (half, out) in outs.into_iter().enumerate() {
        let len = out.len();
        for (i, o) in out.iter_mut().enumerate() {
            let product = |(a, b): &(&[u64], [&[u64]; 2])| {
                u128::from(a[i / (len / a.len())]) * u128::from(entry(b[half], i))
            };
            let there = if fresh { 0 } else { u128::from(*o) };
            *o = q.reduce_u128(there + triples.iter().map(product).sum::<u128>());
        }
    }
}

pub(crate) fn linear_combination(
    q: Modulus,
    out: &mut [u64],
    terms: &[(&[u64], u64)],
    carried: u64,
) {
    let product = |x: u64, s: u64| u128::from(x) * u128::from(s);
    for (i, o) in out.iter_mut().enumerate() {
        let over = terms.first().map_or(0, |(src, _)| src[i] >> CARRY);
        let sum: u128 = terms.iter().map(|&(src, s)| product(src[i] % (1 << CARRY), s)).sum();
        *o = q.reduce_u128(sum + product(over, carried));
    }
}

pub(crate) fn reduce_centred(from: Modulus, q: Modulus, out: &mut [u64], src: &[u64]) {
    for (o, &x) in out.iter_mut().zip(src) {
        *o = q.reduce_i64(from.centred(x));
    }
}

pub(crate) fn permute(out: &mut [u64], src: &[u64], sources: &[u32], lanes: &Lanes) {
    for (run, &source) in out.chunks_exact_mut(8).zip(sources) {
        let original = &src[source as usize & !7..][..8];
        for (o, &lane) in run.iter_mut().zip(&lanes[source as usize % 8]) {
            *o = original[lane as usize];
        }
    }
}

#[inline(always)]
pub(crate) fn lift(q: Modulus, out: &mut [u64], src: &[i64]) {
    out.iter_mut().zip(src).for_each(|(o, &x)| *o = q.lift(x));
}

#[inline(always)]
pub(crate) fn lift_short(q: Modulus, out: &mut [u64], src: &[i32]) {
    out.iter_mut().zip(src).for_each(|(o, &x)| *o = q.lift(x.into()));
}

pub(crate) fn pack_narrow(out: &mut [u64], a: &[u64], width: u32) {
    bits::pack_words(a, width, out);
}

/// There is no portable way to ask.
pub(crate) fn prefetch(_: &[u64]) {}

pub(crate) fn carry_rounded_sum(first: &mut [u64], weight: f64, others: &[(&[u64], f64)]) {
    for (i, x) in first.iter_mut().enumerate() {
        let start = *x as f64 * weight;
        let sum = others.iter().fold(start, |sum, &(src, weight)| sum + src[i] as f64 * weight);
        *x |= ((sum + 0.5) as u64) << CARRY;
    }
}

pub(crate) fn pack(out: &mut [u64], a: &[u64]) {
    for (words, residues) in out.chunks_exact_mut(4).zip(a.chunks_exact(8)) {
        let (low, high) = residues.split_at(4);
        for ((word, x), y) in words.iter_mut().zip(low).zip(high) {
            *word = x | y << 32;
        }
    }
}

pub(crate) fn packed_sums(sums: [&mut [u64]; 2], triples: &[(&[u64], [&[u64]; 2])]) {
    let halves = |x: u64| [x & u64::from(u32::MAX), x >> 32];
    for (h, sum) in sums.into_iter().enumerate() {
        for (a, b) in triples {
            let times = b[h].len() / a.len();
            for (i, (sum, b)) in sum.chunks_exact_mut(8).zip(b[h].chunks_exact(4)).enumerate() {
                for k in 0..4 {
                    let (x, y) = (halves(a[(4 * i + k) / times]), halves(b[k]));
                    sum[k] = sum[k].wrapping_add(x[0] * y[0]);
                    sum[4 + k] = sum[4 + k].wrapping_add(x[1] * y[1]);
                }
            }
        }
    }
}

pub(crate) fn accept(q: Modulus, out: &mut [u64], packed: &[u64], width: u32) -> usize {
    let bound = sampling::uniform_bound(q, width);
    let mut accepted = 0;
    bits::unpack_words(packed, width, out);
    for i in 0..out.len() {
        // What is rejected is overwritten by the next one.
        let number = out[i];
        out[accepted] = if width > q.bits() { q.reduce_u64(number) } else { number };
        accepted += usize::from(number < bound);
    }
    accepted
}

#[inline(always)]
pub(crate) fn gaussian(words: &mut [u64]) {
    for word in words {
        *word = gaussian::sample(*word).cast_unsigned();
    }
}

pub(crate) fn reduce_words(q: Modulus, a: &mut [u64]) {
    for x in a {
        *x = q.reduce_u64(*x);
    }
}
