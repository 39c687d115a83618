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
    let mut steps = Steps::new(offsets, width, arity, weights, keys);
    let mut best: Option<Choice> = None;
    for &modulus in candidates {
        let shifts: &[u32] = if modulus > 2 { &[0, modulus / 2] } else { &[0] };
        for &shift in shifts {
            if best.is_some_and(|b| b.cost <= steps.at_least(modulus)) {
                continue;
            }
            steps.take(modulus, shift);
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
    /// The offsets as signed numbers.
    offsets: Vec<i32>,
    width: i32,
    arity: Arity,
    weights: &'a Weights,
    keys: &'a Keys,
    /// Which rotations need no new key, at the operands' level.
    free: Vec<bool>,
    mark: Vec<u32>,
    stamp: u32,
    /// Distinct quotients of the offsets by the modulus, and distinct remainders less the shift.
    quotients: Vec<i32>,
    remainders: Vec<i32>,
}

impl<'a> Steps<'a> {
    fn new(
        offsets: &[u32],
        width: usize,
        arity: Arity,
        weights: &'a Weights,
        keys: &'a Keys,
    ) -> Self {
        let half = i64::try_from(width / 2).expect("widths are at most 2^16");
        let signed = |&d: &u32| {
            let d = i64::from(d);
            (if d < half { d } else { d - 2 * half }) as i32
        };
        let steps = 0..u32::try_from(width).expect("widths are at most 2^16");
        Self {
            offsets: offsets.iter().map(signed).collect(),
            width: width as i32,
            arity,
            weights,
            keys,
            free: steps.map(|s| keys.have(s, weights.level)).collect(),
            mark: vec![0; 2 * width + 2],
            stamp: 0,
            quotients: Vec::new(),
            remainders: Vec::new(),
        }
    }

    /// No choice with this modulus costs less: a giant step reaches `modulus` offsets at most.
    fn at_least(&self, modulus: u32) -> f64 {
        let giants = self.offsets.len().div_ceil(modulus as usize) - 1;
        let w = self.weights;
        w.giant.min(w.output + w.fold) * (giants * self.arity.outputs) as f64
    }

    /// Splits the offsets by a modulus and a shift.
    fn take(&mut self, modulus: u32, shift: u32) {
        let (m, shift) = (modulus as i32, shift as i32);
        self.quotients.clear();
        self.remainders.clear();
        self.stamp += 1;
        for &d in &self.offsets {
            let quotient = (d + shift).div_euclid(m);
            let remainder = d + shift - quotient * m;
            // Quotients go from -width/2 - 1 to width, remainders from 0 to the modulus.
            let (low, high) = self.mark.split_at_mut(self.width as usize);
            let (r, q) = (&mut low[remainder as usize], quotient + self.width / 2);
            if *r != self.stamp {
                *r = self.stamp;
                self.remainders.push(remainder - shift);
            }
            let q = &mut high[q as usize];
            if *q != self.stamp {
                *q = self.stamp;
                self.quotients.push(quotient);
            }
        }
    }

    /// Giant steps inside the transform.
    fn inside(&self, modulus: u32, shift: u32) -> Choice {
        let m = modulus as i32;
        let (babies, baby_keys) = self.distinct(self.remainders.iter().copied());
        let (giants, giant_keys) = self.distinct(self.quotients.iter().map(|q| q * m));
        let cost = self.weights.baby * (babies * self.arity.inputs) as f64
            + self.weights.giant * (giants * self.arity.outputs) as f64
            + self.weights.key * (baby_keys + giant_keys) as f64;
        Choice { split: Split { modulus, shift }, horner: None, cost }
    }

    /// Giant steps after the transform.
    fn horner(&self, modulus: u32, shift: u32) -> Choice {
        let m = modulus as i32;
        let first = self.quotients.iter().copied().min().unwrap_or(0);
        let last = self.quotients.iter().copied().max().unwrap_or(0);
        let hops = (last - first) as usize;
        let (babies, baby_keys) = self.distinct(self.remainders.iter().map(|r| r + first * m));
        let w = self.weights;
        let hop_key = self.keys.price(modulus, w.level.saturating_sub(1), w.low_key);
        let cost = w.baby * (babies * self.arity.inputs) as f64
            + w.key * baby_keys as f64
            + w.output * ((self.quotients.len().max(1) - 1) * self.arity.outputs) as f64
            + w.fold * (hops * self.arity.outputs) as f64
            + if hops == 0 { 0.0 } else { hop_key };
        let split = Split { modulus: self.width as u32, shift: 0 };
        let horner = Horner { modulus, shift, first: i64::from(first) };
        Choice { split, horner: (hops > 0).then_some(horner), cost }
    }

    /// How many of these distinct steps are rotations, and how many of those need a new key.
    fn distinct(&self, steps: impl Iterator<Item = i32>) -> (usize, usize) {
        let steps = steps.map(|s| s.rem_euclid(self.width) as usize).filter(|&s| s != 0);
        steps.fold((0, 0), |(found, new), s| (found + 1, new + usize::from(!self.free[s])))
    }
}
