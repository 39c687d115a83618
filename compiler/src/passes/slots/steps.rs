//! The choice of baby and giant steps by enumeration.
//!
//! Baby steps are the rotations inside a transform. It gives one result per giant step, and those are
//! rotated and summed after it, before the one division that ends the map: either each with a key of
//! its own, or by Horner's rule, `acc = rot(acc, modulus) + y_k`, with one key for all. Where they lie
//! in rows that are far apart, as those of a convolution over several channels do, every row is summed
//! for itself, and then the rows with a second key.

use std::collections::{BTreeMap, BTreeSet};

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
    fn counts(self, numbers: impl Iterator<Item = u32>) -> (usize, usize) {
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
    let mut steps = Steps::new(offsets, width, arity, weights, keys);
    // Best bound first, so that most moduli are never divided by.
    let mut bounds: Vec<(f64, u32)> =
        candidates.iter().map(|&modulus| (steps.at_least(modulus), modulus)).collect();
    bounds.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut best: Option<Choice> = None;
    for (bound, modulus) in bounds {
        if best.is_some_and(|b| b.cost < bound) {
            break;
        }
        let shifts: &[u32] = if modulus > 2 { &[0, modulus / 2] } else { &[0] };
        for &shift in shifts {
            steps.divide(modulus, shift);
            if best.is_some_and(|b| b.cost < steps.at_least_divided()) {
                continue;
            }
            steps.find_remainders(modulus, shift);
            for choice in [steps.with_keys(modulus, shift), steps.horner(modulus, shift)] {
                if best.is_none_or(|b| choice.before(&b)) {
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

/// Lengths of rows that are tried for one modulus.
const ROWS: usize = 4;

/// Counts distinct steps by stamping, so that no memory is cleared between candidates.
struct Steps<'a> {
    /// The offsets as signed numbers, increasing.
    offsets: Vec<i32>,
    width: i32,
    arity: Arity,
    weights: &'a Weights,
    keys: &'a Keys,
    /// Which rotations need no new key, at the operands' level.
    free: Vec<bool>,
    mark: Vec<u32>,
    stamp: u32,
    /// The quotient of every offset by the modulus, and what the division leaves of it, shifted.
    all: Vec<i32>,
    rest: Vec<i32>,
    /// Distinct quotients of the offsets by the modulus, increasing, and distinct remainders less
    /// the shift.
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
            offsets: {
                let mut offsets: Vec<i32> = offsets.iter().map(signed).collect();
                offsets.sort_unstable();
                offsets
            },
            width: width as i32,
            arity,
            weights,
            keys,
            free: steps.map(|s| keys.have(s, weights.level)).collect(),
            mark: vec![0; width],
            stamp: 0,
            all: vec![0; offsets.len()],
            rest: vec![0; offsets.len()],
            quotients: Vec::new(),
            remainders: Vec::new(),
        }
    }

    /// No choice with this modulus costs less: a giant step reaches `modulus` offsets at most, and
    /// a baby step one offset per giant step, of which there are no more than the offsets span.
    fn at_least(&self, modulus: u32) -> f64 {
        let (count, modulus) = (self.offsets.len(), modulus as usize);
        let span = match (self.offsets.first(), self.offsets.last()) {
            (Some(&first), Some(&last)) => (last - first) as usize,
            _ => 0,
        };
        self.bound(count.div_ceil(modulus), count.div_ceil(span / modulus + 2))
    }

    /// What so many giant and baby steps cost without keys, if one of each is no rotation.
    fn bound(&self, giants: usize, babies: usize) -> f64 {
        let (w, beyond_one) = (self.weights, |steps: usize| steps.max(1) - 1);
        w.fold * (beyond_one(giants) * self.arity.outputs) as f64
            + w.baby * (beyond_one(babies) * self.arity.inputs) as f64
    }

    /// Divides the offsets, with a shift, by a modulus: their distinct quotients, and all remainders.
    fn divide(&mut self, modulus: u32, shift: u32) {
        // Numbers are made positive by a multiple of the modulus, and stay below 2^18. The quotient
        // of one and a half unit is half a modulus-th away from any integer, which is more than
        // what f32 rounds off it in two steps of 2^-24.
        let m = modulus as i32;
        let turns = self.width / m + 1;
        let (bias, reciprocal) = (shift as i32 + turns * m, 1.0 / m as f32);
        let parts = self.all.iter_mut().zip(&mut self.rest);
        for (&d, (quotient, rest)) in self.offsets.iter().zip(parts) {
            let x = d + bias;
            let whole = ((x as f32 + 0.5) * reciprocal) as i32;
            (*quotient, *rest) = (whole - turns, x - whole * m);
        }
        self.quotients.clear();
        self.quotients.extend(&self.all);
        self.quotients.dedup();
    }

    /// No choice with these quotients costs less: each takes a giant step but one, and as many
    /// offsets as there are quotients share a baby step at most.
    fn at_least_divided(&self) -> f64 {
        let giants = self.quotients.len();
        self.bound(giants, self.offsets.len().div_ceil(giants.max(1)))
    }

    /// The distinct remainders of the last division.
    fn find_remainders(&mut self, modulus: u32, shift: u32) {
        self.remainders.clear();
        self.stamp += 1;
        let stamp = self.stamp;
        let mark = &mut self.mark[..modulus as usize];
        let new = |&&r: &&i32| std::mem::replace(&mut mark[r as usize], stamp) != stamp;
        self.remainders.extend(self.rest.iter().filter(new).map(|&r| r - shift as i32));
    }

    /// Giant steps with a key for each.
    fn with_keys(&self, modulus: u32, shift: u32) -> Choice {
        let m = modulus as i32;
        let w = self.weights;
        let (babies, baby_keys) = self.distinct(self.remainders.iter().copied());
        let steps = || self.quotients.iter().map(|q| (q * m).rem_euclid(self.width) as u32);
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
    fn horner(&self, modulus: u32, shift: u32) -> Choice {
        let m = modulus as i32;
        let first = self.quotients.first().copied().unwrap_or(0);
        let (babies, baby_keys) = self.distinct(self.remainders.iter().map(|r| r + first * m));
        let w = self.weights;
        let (hops, hop_cost) = self.hops(modulus);
        let cost =
            w.baby * (babies * self.arity.inputs) as f64 + w.key * baby_keys as f64 + hop_cost;
        let division = Division { modulus, shift, first: i64::from(first) };
        Choice { division, hops: Some(hops), cost }
    }

    /// The cheapest rows for the giant steps, with the cost of all rotations and of their keys.
    fn hops(&self, modulus: u32) -> (Hops, f64) {
        let first = self.quotients.first().copied().unwrap_or(0);
        let numbers = || self.quotients.iter().map(move |q| (q - first) as u32);
        // A row begins where a gap ends: of each of the first few widths of gaps the first is tried.
        let mut gaps: Vec<(u32, u32)> = Vec::new();
        for pair in self.quotients.windows(2) {
            let gap = (pair[1] - pair[0]) as u32;
            if gap > 1 && gaps.len() < ROWS && gaps.iter().all(|g| g.0 != gap) {
                gaps.push((gap, (pair[1] - first) as u32));
            }
        }
        let level = self.weights.level.saturating_sub(1);
        let cost = |hops: Hops| {
            let (single, rows) = hops.counts(numbers());
            let key = |by, times| match times {
                0 => 0.0,
                _ => self.keys.price(by, level, self.weights.low_key),
            };
            self.weights.fold * ((single + rows) * self.arity.outputs) as f64
                + key(hops.hop, single)
                + key(hops.row(), rows)
        };
        std::iter::once(None)
            .chain(gaps.into_iter().map(|(_, start)| Some(start)))
            .map(|row| Hops { hop: modulus, row, width: self.width as u32 })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Costs;
    use crate::passes::slots::tests::prices;

    #[test]
    fn division_by_a_reciprocal_is_exact() {
        let (prices, keys) = (prices(&Costs::default(), 0.0), Keys::default());
        let arity = Arity { inputs: 1, outputs: 1 };
        let width = 1 << 16;
        let offsets: Vec<u32> = (0..width).collect();
        let mut steps = Steps::new(&offsets, width as usize, arity, prices.at(3), &keys);
        for modulus in [1, 2, 3, 7, 10, 127, 1000, 1023, 4099, 32_767, 65_535, 65_536] {
            for shift in [0, modulus / 2] {
                steps.divide(modulus, shift);
                let (m, shift) = (modulus as i32, shift as i32);
                for (i, &d) in steps.offsets.iter().enumerate() {
                    let exact = ((d + shift).div_euclid(m), (d + shift).rem_euclid(m));
                    assert_eq!((steps.all[i], steps.rest[i]), exact, "{d} by {modulus}");
                }
                assert!(steps.quotients.is_sorted());
            }
        }
    }
}
