//! The choice of baby and giant steps by enumeration.
//!
//! Baby steps are the rotations inside a transform. It gives one result per giant step, and those are
//! rotated and summed after it, before the one division that ends the map: either each with a key of
//! its own, or by Horner's rule, `acc = rot(acc, modulus) + y_k`, with one key for all. Where the
//! results lie far apart, as those of a convolution over several channels do, a second key jumps the
//! gaps.

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

/// The rotations that Horner's rule takes from one result to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hops {
    /// The slots of one hop.
    hop: u32,
    /// How many hops the second key takes at once; 1 without one.
    jump: u32,
    /// Slots after which rotations repeat.
    width: u32,
}

impl Hops {
    /// The rotations of `hops` hops, the jumps first.
    pub(super) fn rotations(self, hops: u32) -> impl Iterator<Item = u32> {
        let Self { hop, jump, width } = self;
        let by = (u64::from(hop) * u64::from(jump) % u64::from(width)) as u32;
        let (jumps, single) = if jump > 1 { (hops / jump, hops % jump) } else { (0, hops) };
        (0..jumps).map(move |_| by).chain((0..single).map(move |_| hop))
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
    let mut best: Option<Choice> = None;
    for &modulus in candidates {
        let shifts: &[u32] = if modulus > 2 { &[0, modulus / 2] } else { &[0] };
        for &shift in shifts {
            if best.is_some_and(|b| b.cost <= steps.at_least(modulus)) {
                continue;
            }
            steps.divide(modulus, shift);
            if best.is_some_and(|b| b.cost <= steps.at_least_divided()) {
                continue;
            }
            steps.find_remainders(modulus, shift);
            for choice in [steps.with_keys(modulus, shift), steps.horner(modulus, shift)] {
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
    /// What a division leaves of every offset, shifted.
    rest: Vec<u32>,
    /// Distinct quotients of the offsets by the modulus, increasing, and distinct remainders less
    /// the shift.
    quotients: Vec<i32>,
    remainders: Vec<i32>,
    /// How often two neighbouring quotients differ by how much.
    gaps: BTreeMap<u32, usize>,
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
            rest: Vec::new(),
            quotients: Vec::new(),
            remainders: Vec::new(),
            gaps: BTreeMap::new(),
        }
    }

    /// No choice with this modulus costs less: a giant step reaches `modulus` offsets at most.
    fn at_least(&self, modulus: u32) -> f64 {
        let giants = self.offsets.len().div_ceil(modulus as usize) - 1;
        self.weights.fold * (giants * self.arity.outputs) as f64
    }

    /// Divides the offsets, with a shift, by a modulus: their distinct quotients, and all remainders.
    fn divide(&mut self, modulus: u32, shift: u32) {
        // Numbers are made positive by a multiple of the modulus, and divided by its reciprocal,
        // which is exact for numbers and moduli whose product is below 2^40.
        let m = i64::from(modulus);
        let turns = i64::from(self.width) / m + 1;
        let (bias, reciprocal) = (i64::from(shift) + turns * m, (1u64 << 40) / m as u64 + 1);
        self.quotients.clear();
        self.rest.clear();
        let mut last = i32::MIN;
        for &d in &self.offsets {
            let x = (i64::from(d) + bias) as u64;
            let quotient = (x * reciprocal) >> 40;
            self.rest.push((x - quotient * m as u64) as u32);
            let quotient = (quotient as i64 - turns) as i32;
            if quotient != last {
                self.quotients.push(quotient);
                last = quotient;
            }
        }
    }

    /// No choice with these quotients costs less: each takes a giant step but one, and as many
    /// offsets as there are quotients share a baby step at most.
    fn at_least_divided(&self) -> f64 {
        let (w, giants) = (self.weights, self.quotients.len());
        let babies = self.offsets.len().div_ceil(giants.max(1)).max(1) - 1;
        w.fold * ((giants.max(1) - 1) * self.arity.outputs) as f64
            + w.baby * (babies * self.arity.inputs) as f64
    }

    /// The distinct remainders of the last division.
    fn find_remainders(&mut self, modulus: u32, shift: u32) {
        self.remainders.clear();
        self.stamp += 1;
        let stamp = self.stamp;
        let mark = &mut self.mark[..modulus as usize];
        let new = |&&r: &&u32| std::mem::replace(&mut mark[r as usize], stamp) != stamp;
        self.remainders.extend(self.rest.iter().filter(new).map(|&r| r as i32 - shift as i32));
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
    fn horner(&mut self, modulus: u32, shift: u32) -> Choice {
        let m = modulus as i32;
        let first = self.quotients.first().copied().unwrap_or(0);
        let (babies, baby_keys) = self.distinct(self.remainders.iter().map(|r| r + first * m));
        let w = self.weights;
        let (hops, hop_cost) = self.hops(modulus);
        let cost = w.baby * (babies * self.arity.inputs) as f64
            + w.key * baby_keys as f64
            + hop_cost;
        let division = Division { modulus, shift, first: i64::from(first) };
        Choice { division, hops: Some(hops), cost }
    }

    /// The cheapest jump over the gaps between the results, with the cost of all hops and of their
    /// keys. A jump is one of the gaps: only then does some gap take a single rotation.
    fn hops(&mut self, modulus: u32) -> (Hops, f64) {
        self.gaps.clear();
        for pair in self.quotients.windows(2) {
            *self.gaps.entry((pair[1] - pair[0]) as u32).or_insert(0) += 1;
        }
        let width = self.width as u32;
        let with = |jump: u32| Hops { hop: modulus, jump, width };
        let level = self.weights.level.saturating_sub(1);
        let key = |hops: u32| {
            let by = (u64::from(hops) * u64::from(modulus) % u64::from(width)) as u32;
            self.keys.price(by, level, self.weights.low_key)
        };
        let cost = |jump: u32| {
            let parts = |gap: u32| if jump > 1 { (gap / jump, gap % jump) } else { (0, gap) };
            let sums = self.gaps.iter().map(|(&gap, &times)| {
                let (jumps, single) = parts(gap);
                (jumps as usize * times, single as usize * times)
            });
            let (jumps, single) = sums.fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
            let keys =
                if jumps > 0 { key(jump) } else { 0.0 } + if single > 0 { key(1) } else { 0.0 };
            self.weights.fold * ((jumps + single) * self.arity.outputs) as f64 + keys
        };
        let jumps = self.gaps.keys().copied().filter(|&gap| gap > 1);
        std::iter::once(1)
            .chain(jumps)
            .map(|jump| (with(jump), cost(jump)))
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .expect("no jump is a candidate")
    }

    /// How many of these distinct steps are rotations, and how many of those need a new key.
    fn distinct(&self, steps: impl Iterator<Item = i32>) -> (usize, usize) {
        let steps = steps.map(|s| s.rem_euclid(self.width) as usize).filter(|&s| s != 0);
        steps.fold((0, 0), |(found, new), s| (found + 1, new + usize::from(!self.free[s])))
    }
}
