//! The choice of baby and giant steps by enumeration.
//!
//! Baby steps are the rotations inside a transform. It gives one result per giant step, and those are
//! rotated and summed after it, before the one division that ends the map: either each with a key of
//! its own, or by Horner's rule, `acc = rot(acc, modulus) + y_k`, with one key for all. Where they lie
//! in rows that are far apart, as those of a convolution over several channels do, every row is summed
//! for itself, and then the rows with a second key.

use std::collections::{BTreeMap, BTreeSet};

use super::divider::{Divider, signed};
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
    /// Baby and giant steps.
    pub(super) division: Division,
    /// How Horner's rule takes the giant steps; `None` if each has a key of its own.
    pub(super) hops: Option<Hops>,
    /// Cost of all rotations and their keys.
    pub(super) cost: f64,
}

impl Choice {
    /// Whether this is the better one: the cheaper, or the first in the order of ties.
    fn before(&self, other: &Self) -> bool {
        let tie = |c: &Self| (c.division.modulus, c.division.shift, c.hops.is_some());
        self.cost.total_cmp(&other.cost).then_with(|| tie(self).cmp(&tie(other))).is_lt()
    }
}

/// The giant step of every offset: with the offset `d` read as a signed number, it is number
/// `(d + shift) div modulus - first`, and the rest of `d` is a baby step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Division {
    /// Slots between giant steps.
    pub(super) modulus: u32,
    /// How far baby steps reach to the right.
    shift: u32,
    /// The quotient that has the number 0.
    first: i64,
}

/// How Horner's rule takes giant steps: number `a·row + b`, with `b < row`, by `b` hops and then `a`
/// times a row of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hops {
    /// The slots of one hop.
    hop: u32,
    /// Hops from one row to the next; `None` if there is only one.
    row: Option<u32>,
    /// Slots after which rotations repeat.
    width: u32,
}

impl Hops {
    /// The row of a giant step, and the hops that it is beyond its start.
    pub(super) fn place(self, number: i64) -> (usize, usize) {
        let number = usize::try_from(number).expect("numbers count from 0");
        self.row.map_or((0, number), |row| (number / row as usize, number % row as usize))
    }

    /// The rotation of one hop.
    pub(super) fn hop(self) -> u32 {
        self.hop
    }

    /// The rotation from one row to the one before.
    pub(super) fn row(self) -> u32 {
        let slots = u64::from(self.hop) * u64::from(self.row.unwrap_or(0));
        (slots % u64::from(self.width)) as u32
    }

    /// How often the steps of these numbers, increasing, take a hop, and how often a row.
    pub(super) fn counts(self, numbers: impl Iterator<Item = u32>) -> (usize, usize) {
        let (mut hops, mut rows, mut last) = (0, 0, 0);
        for number in numbers {
            let (row, rest) = self.place(i64::from(number));
            if row > rows {
                (hops, rows) = (hops + last, row);
            }
            last = rest;
        }
        (hops + last, rows)
    }

    /// The distinct rotations that the steps of these numbers, increasing, take.
    pub(super) fn rotations(self, numbers: &[i64]) -> Vec<u32> {
        let narrow = |&number: &i64| u32::try_from(number).expect("numbers count from 0");
        let (hops, rows) = self.counts(numbers.iter().map(narrow));
        let hop = (hops > 0).then_some(self.hop);
        hop.into_iter().chain((rows > 0).then(|| self.row())).collect()
    }
}

impl Division {
    /// The number of an offset's giant step, and its baby step, modulo `width`.
    pub(super) fn of(self, offset: u32, width: usize) -> (i64, u32) {
        let (offset, width) = (i64::from(offset), width as i64);
        let signed = if offset < width / 2 { offset } else { offset - width };
        let modulus = i64::from(self.modulus);
        let giant = (signed + i64::from(self.shift)).div_euclid(modulus) - self.first;
        (giant, (signed - giant * modulus).rem_euclid(width) as u32)
    }

    /// The rotation of a giant step, modulo `width`.
    pub(super) fn rotation(self, giant: i64, width: usize) -> u32 {
        (giant * i64::from(self.modulus)).rem_euclid(width as i64) as u32
    }
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
/// `keys` anyway; ties go to the smallest modulus, then the smallest shift, then to keys of their own.
pub(super) fn choose(
    offsets: &[u32],
    width: usize,
    arity: Arity,
    weights: &Weights,
    keys: &Keys,
    candidates: &BTreeSet<u32>,
) -> Choice {
    let mut divider = Divider::new(signed(offsets, width), width);
    let bounds = Bounds::new(divider.offsets(), arity, weights, false);
    let pricing = Pricing::new(width, arity, weights, keys);
    let mut best: Option<Choice> = None;
    for (bound, modulus) in bounds.best_first(candidates.iter().copied()) {
        if best.is_some_and(|b| b.cost < bound) {
            break;
        }
        for shift in shifts(modulus) {
            divider.divide(modulus, shift);
            if best.is_some_and(|b| b.cost < bounds.divided(divider.quotients().len())) {
                continue;
            }
            divider.find_remainders(modulus, shift);
            let choices = [
                pricing.with_keys(&divider, modulus, shift),
                pricing.horner(&divider, modulus, shift),
            ];
            for choice in choices {
                if best.is_none_or(|b| choice.before(&b)) {
                    best = Some(choice);
                }
            }
        }
    }
    best.expect("there is a candidate modulus")
}

/// The shifts that are tried with a modulus: baby steps to the right only, and to both sides.
pub(super) fn shifts(modulus: u32) -> impl Iterator<Item = u32> {
    std::iter::once(0).chain((modulus > 2).then_some(modulus / 2))
}

/// What steps cost at least, before offsets are divided.
pub(super) struct Bounds<'a> {
    count: usize,
    /// From the first to the last offset.
    span: usize,
    arity: Arity,
    weights: &'a Weights,
    /// Whether no rotation has a key yet.
    keyless: bool,
}

impl<'a> Bounds<'a> {
    /// For increasing offsets; `keyless` where every rotation takes a key of its own.
    pub(super) fn new(offsets: &[i32], arity: Arity, weights: &'a Weights, keyless: bool) -> Self {
        let span = match (offsets.first(), offsets.last()) {
            (Some(&first), Some(&last)) => (last - first) as usize,
            _ => 0,
        };
        Self { count: offsets.len(), span, arity, weights, keyless }
    }

    /// The moduli with what each costs at least, the least first, so that most are never divided by.
    pub(super) fn best_first(&self, moduli: impl Iterator<Item = u32>) -> Vec<(f64, u32)> {
        let mut bounds: Vec<(f64, u32)> = moduli.map(|m| (self.at_least(m), m)).collect();
        bounds.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        bounds
    }

    /// No choice with this modulus costs less: a giant step reaches `modulus` offsets at most, and
    /// a baby step one offset per giant step, of which there are no more than the offsets span.
    fn at_least(&self, modulus: u32) -> f64 {
        let (count, modulus) = (self.count, modulus as usize);
        self.of(count.div_ceil(modulus), count.div_ceil(self.span / modulus + 2))
    }

    /// No choice with so many quotients costs less: each takes a giant step but one, and as many
    /// offsets as there are quotients share a baby step at most.
    pub(super) fn divided(&self, giants: usize) -> f64 {
        self.of(giants, self.count.div_ceil(giants.max(1)))
    }

    /// What so many giant and baby steps cost at least, if one of each is no rotation: a key for every
    /// baby step, and one for all giant steps by Horner's rule.
    fn of(&self, giants: usize, babies: usize) -> f64 {
        let (w, beyond_one) = (self.weights, |steps: usize| steps.max(1) - 1);
        let keys = match self.keyless {
            true => {
                w.key * beyond_one(babies) as f64 + w.low_key * beyond_one(giants).min(1) as f64
            }
            false => 0.0,
        };
        w.fold * (beyond_one(giants) * self.arity.outputs) as f64
            + w.baby * (beyond_one(babies) * self.arity.inputs) as f64
            + keys
    }
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

/// Lengths of rows that are tried for one modulus.
const ROWS: usize = 4;

/// Prices the steps of divided offsets when a graph has keys.
struct Pricing<'a> {
    width: i32,
    arity: Arity,
    weights: &'a Weights,
    keys: &'a Keys,
    /// Which rotations need no new key, at the operands' level.
    free: Vec<bool>,
}

impl<'a> Pricing<'a> {
    fn new(width: usize, arity: Arity, weights: &'a Weights, keys: &'a Keys) -> Self {
        let steps = 0..u32::try_from(width).expect("widths are at most 2^16");
        let free = steps.map(|s| keys.have(s, weights.level)).collect();
        Self { width: width as i32, arity, weights, keys, free }
    }

    /// Giant steps with a key for each.
    fn with_keys(&self, divided: &Divider<'_>, modulus: u32, shift: u32) -> Choice {
        let m = modulus as i32;
        let w = self.weights;
        let (babies, baby_keys) = self.distinct(divided.remainders().iter().copied());
        let steps = || divided.quotients().iter().map(|q| (q * m).rem_euclid(self.width) as u32);
        let giants = steps().filter(|&s| s != 0).count();
        let low = w.level.saturating_sub(1);
        let giant_keys: f64 = steps().map(|s| self.keys.price(s, low, w.low_key)).sum();
        let cost = w.baby * (babies * self.arity.inputs) as f64
            + w.fold * (giants * self.arity.outputs) as f64
            + w.key * baby_keys as f64
            + giant_keys;
        Choice { division: Division { modulus, shift, first: 0 }, hops: None, cost }
    }

    /// Giant steps by Horner's rule.
    fn horner(&self, divided: &Divider<'_>, modulus: u32, shift: u32) -> Choice {
        let m = modulus as i32;
        let first = divided.quotients().first().copied().unwrap_or(0);
        let (babies, baby_keys) = self.distinct(divided.remainders().iter().map(|r| r + first * m));
        let w = self.weights;
        let (hops, hop_cost) = self.hops(divided, modulus);
        let cost =
            w.baby * (babies * self.arity.inputs) as f64 + w.key * baby_keys as f64 + hop_cost;
        let division = Division { modulus, shift, first: i64::from(first) };
        Choice { division, hops: Some(hops), cost }
    }

    /// The cheapest rows for the giant steps, with the cost of all rotations and of their keys.
    fn hops(&self, divided: &Divider<'_>, modulus: u32) -> (Hops, f64) {
        let level = self.weights.level.saturating_sub(1);
        let cost = |hops: Hops| {
            let (single, rows) = hops.counts(numbers(divided));
            let key = |by, times| match times {
                0 => 0.0,
                _ => self.keys.price(by, level, self.weights.low_key),
            };
            self.weights.fold * ((single + rows) * self.arity.outputs) as f64
                + key(hops.hop, single)
                + key(hops.row(), rows)
        };
        rows(divided, modulus, self.width)
            .map(|hops| (hops, cost(hops)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .expect("one row is a candidate")
    }

    /// How many of these distinct steps are rotations, and how many of those need a new key.
    fn distinct(&self, steps: impl Iterator<Item = i32>) -> (usize, usize) {
        let steps = steps.map(|s| s.rem_euclid(self.width) as usize).filter(|&s| s != 0);
        steps.fold((0, 0), |(found, new), s| (found + 1, new + usize::from(!self.free[s])))
    }
}

/// The numbers of the giant steps, from 0.
pub(super) fn numbers(divided: &Divider<'_>) -> impl Iterator<Item = u32> {
    let first = divided.quotients().first().copied().unwrap_or(0);
    divided.quotients().iter().map(move |q| (q - first) as u32)
}

/// The rows that Horner's rule may have: one, or one that begins where a gap ends: of each of the
/// first few widths of gaps the first is tried.
pub(super) fn rows(divided: &Divider<'_>, modulus: u32, width: i32) -> impl Iterator<Item = Hops> {
    let quotients = divided.quotients();
    let first = quotients.first().copied().unwrap_or(0);
    let mut gaps: Vec<(u32, u32)> = Vec::new();
    for pair in quotients.windows(2) {
        let gap = (pair[1] - pair[0]) as u32;
        if gap > 1 && gaps.len() < ROWS && gaps.iter().all(|g| g.0 != gap) {
            gaps.push((gap, (pair[1] - first) as u32));
        }
    }
    std::iter::once(None)
        .chain(gaps.into_iter().map(|(_, start)| Some(start)))
        .map(move |row| Hops { hop: modulus, row, width: width as u32 })
}
