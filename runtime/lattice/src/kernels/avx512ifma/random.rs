//! What random words are made into.

use super::narrow::Entries;
use super::vector::{Vector, octets_mut};
use crate::gaussian;
use crate::modulus::Modulus;
use crate::sampling::uniform_bound;

#[inline(always)]
pub(super) fn accept<V: Vector>(q: Modulus, out: &mut [u64], packed: &[u64], width: u32) -> usize {
    let entries = Entries::<V>::new(width);
    let [one, two, four, eight] = [1, 2, 4, 8].map(|k| V::splat(k * q.value()));
    let bound = V::splat(uniform_bound(q, width));
    let mut accepted = 0;
    for i in 0..out.len() / 8 {
        let (entries, below) = entries.at(packed, i).compress_below(bound);
        // Below sixteen times the modulus: of a smaller one the difference wraps, and is not the least.
        let entries = entries.min(entries.sub(eight));
        let entries = entries.min(entries.sub(four));
        let entries = entries.min(entries.sub(two));
        let entries = entries.min(entries.sub(one));
        // What is rejected is overwritten by the next register.
        let (run, _) = out[accepted..].split_first_chunk_mut().expect("no more than there were");
        entries.store(run);
        accepted += below;
    }
    accepted
}

#[inline(always)]
pub(super) fn gaussian<V: Vector>(words: &mut [u64]) {
    let [one, top] = [1, 63].map(V::splat);
    for run in octets_mut(words) {
        let word = V::load(run);
        let (magnitude_bits, sign) = (word.shift_right(one), word.and(one));
        // The number of all entries, less those above: there the difference is negative.
        let mut magnitude = V::splat(gaussian::TABLE.len() as u64);
        for entry in gaussian::TABLE {
            let above = magnitude_bits.sub(V::splat(entry)).shift_right(top);
            magnitude = magnitude.sub(above);
        }
        // `magnitude - 2 magnitude sign`.
        let twice = magnitude.add(magnitude);
        magnitude.sub(twice.and(V::splat(0).sub(sign))).store(run);
    }
}
