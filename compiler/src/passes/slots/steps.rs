//! The choice of baby and giant steps by enumeration.
//!
//! The giant steps of a transform are either taken inside it, each with a key of its own, in the
//! extended basis; or after it by Horner's rule: the transform gives one result per giant step, and
//! `acc = rot(acc, modulus) + y_k` sums them with one key, one level lower.

use std::collections::{BTreeMap, BTreeSet};

use heplan_ir::transform::Split;

use super::weights::Weights;

/// Rotation keys that the graph has anyway, with the highest level of their use.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(BTreeMap<u32, usize>);

impl Keys {
    /// Adds a rotation at a level.
    pub(super) fn add(&mut self, step: u32, level: usize) {
        let known = self.0.entry(step).or_insert(level);
        *known = level.max(*known);
    }

    fn have(&self, step: u32, level: usize) -> bool {
        step == 0 || self.0.get(&step).is_some_and(|&l| l >= level)
    }

    /// What a rotation's key costs: nothing if it is there.
    pub(super) fn price(&self, step: u32, level: usize, key: f64) -> f64 {
        if self.have(step, level) { 0.0 } else { key }
    }
}

/// How a transform takes its steps, with what that costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    /// Baby and giant steps inside the transform; under Horner's rule every step is a baby step.
    pub(super) split: Split,
    /// Horner's rule for the giant steps.
    pub(super) horner: Option<Horner>,
    /// Cost of all rotations and their keys.
    pub(super) cost: f64,
}

/// Giant steps after the transform, one hop of `modulus` at a time.
///
/// With the offset `d` read as a signed number, its giant step is number
/// `(d + shift) div modulus - first`, and the rest of `d` a baby step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Horner {
    /// The hop.
    pub(super) modulus: u32,
    /// As in [`Split`].
    pub(super) shift: u32,
    /// The quotient of the smallest offset.
    first: i64,
}

impl Horner {
    /// The giant step of an offset, counted from the lowest one, and its baby step, modulo `width`.
    pub(super) fn of(self, offset: u32, width: usize) -> (u32, u32) {
        let (quotient, signed) = quotient(offset, width, self.modulus, self.shift);
        let giant = quotient - self.first;
        let baby = (signed - giant * i64::from(self.modulus)).rem_euclid(width as i64);
        (giant as u32, baby as u32)
    }
}

fn quotient(offset: u32, width: usize, modulus: u32, shift: u32) -> (i64, i64) {
    let (offset, width) = (i64::from(offset), width as i64);
    let signed = if offset < width / 2 { offset } else { offset - width };
    ((signed + i64::from(shift)).div_euclid(i64::from(modulus)), signed)
}

/// How many ciphertexts a transform reads and writes, which is how often its steps are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arity {
    /// Input ciphertexts; each takes every baby step.
    pub(super) inputs: usize,
    /// Output ciphertexts; each takes every giant step.
    pub(super) outputs: usize,
}

/// The cheapest steps for `offsets` over the moduli that `candidates` lists, when the graph has
/// `keys` anyway; ties go to the smallest modulus, then the smallest shift, then to steps inside.
pub(super) fn choose(
    offsets: &[u32],
    width: usize,
    arity: Arity,
    weights: &Weights,
    keys: &Keys,
    candidates: &BTreeSet<u32>,
) -> Choice {
    let mut steps = Steps { offsets, width, arity, weights, keys, mark: vec![0; width], stamp: 0 };
    let mut best: Option<Choice> = None;
    for &modulus in candidates {
        let shifts: &[u32] = if modulus > 2 { &[0, modulus / 2] } else { &[0] };
        for &shift in shifts {
            for choice in [steps.inside(modulus, shift), steps.horner(modulus, shift)] {
                if best.is_none_or(|b| choice.cost < b.cost) {
                    best = Some(choice);
                }
            }
        }
    }
    best.expect("there is a candidate modulus")
}

/// Moduli worth trying: powers of two, and multiples of the strides of the layouts, where the
/// offsets of convolutions lie.
pub(super) fn moduli(width: usize, strides: impl Iterator<Item = usize>) -> BTreeSet<u32> {
    let mut out: BTreeSet<u32> = (0..=width.ilog2()).map(|b| 1 << b).collect();
    let limit = u32::try_from(width).expect("widths are at most 2^16");
    for stride in strides.filter(|&s| s > 1 && s < width) {
        let stride = u32::try_from(stride).expect("below the width");
        out.extend((1..=8).map(|k| k * stride).take_while(|&m| m <= limit));
    }
    out
}

/// Every modulus up to a bound, for the final choice.
pub(super) fn all_moduli(width: usize, coarse: BTreeSet<u32>) -> BTreeSet<u32> {
    let bound = u32::try_from(width.min(1024)).expect("at most 1024");
    coarse.into_iter().chain(1..=bound).collect()
}

/// Counts distinct steps by stamping, so that no memory is cleared between candidates.
struct Steps<'a> {
    offsets: &'a [u32],
    width: usize,
    arity: Arity,
    weights: &'a Weights,
    keys: &'a Keys,
    mark: Vec<u32>,
    stamp: u32,
}

impl Steps<'_> {
    /// Giant steps inside the transform.
    fn inside(&mut self, modulus: u32, shift: u32) -> Choice {
        let split = Split { modulus, shift };
        let width = self.width;
        let (babies, baby_keys) = self.distinct(|d| split.of(d, width).0);
        let (giants, giant_keys) = self.distinct(|d| split.of(d, width).1);
        let cost = self.weights.baby * (babies * self.arity.inputs) as f64
            + self.weights.giant * (giants * self.arity.outputs) as f64
            + self.weights.key * (baby_keys + giant_keys) as f64;
        Choice { split, horner: None, cost }
    }

    /// Giant steps after the transform.
    fn horner(&mut self, modulus: u32, shift: u32) -> Choice {
        let width = self.width;
        let quotients = || self.offsets.iter().map(|&d| quotient(d, width, modulus, shift).0);
        let (first, last) = (quotients().min().unwrap_or(0), quotients().max().unwrap_or(0));
        let horner = Horner { modulus, shift, first };
        let hops = (last - first) as usize;
        let results = if hops == 0 { 1 } else { self.distinct(|d| horner.of(d, width).0).0 + 1 };
        let (babies, baby_keys) = self.distinct(|d| horner.of(d, width).1);
        let w = self.weights;
        let hop_key = self.keys.price(modulus, w.level.saturating_sub(1), w.low_key);
        let cost = w.baby * (babies * self.arity.inputs) as f64
            + w.key * baby_keys as f64
            + w.output * ((results - 1) * self.arity.outputs) as f64
            + w.fold * (hops * self.arity.outputs) as f64
            + if hops == 0 { 0.0 } else { hop_key };
        let split = Split { modulus: width as u32, shift: 0 };
        Choice { split, horner: (hops > 0).then_some(horner), cost }
    }

    /// How many distinct non-zero steps the offsets take, and how many of them need a new key.
    fn distinct(&mut self, step: impl Fn(u32) -> u32) -> (usize, usize) {
        let (mut found, mut new) = (0, 0);
        self.stamp += 1;
        self.mark[0] = self.stamp;
        for &d in self.offsets {
            let s = step(d);
            if self.mark[s as usize] != self.stamp {
                self.mark[s as usize] = self.stamp;
                found += 1;
                new += usize::from(!self.keys.have(s, self.weights.level));
            }
        }
        (found, new)
    }
}
