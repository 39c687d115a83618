//! What the steps of one transform consist of, by modulus: counted when first asked for, priced as
//! often as prices change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::divider::{Divider, signed};
use super::steps::{Arity, Bounds, numbers, rows, shifts};
use super::weights::Weights;

/// Counts the steps of one set of offsets, each with a key of its own.
#[derive(Debug)]
pub(super) struct Tallies {
    /// Signed, increasing.
    offsets: Vec<i32>,
    width: usize,
    arity: Arity,
    /// Moduli worth trying.
    moduli: BTreeSet<u32>,
    /// By modulus and shift.
    known: Mutex<BTreeMap<(u32, u32), Tally>>,
}

/// What the division by one modulus takes, in a graph that has no keys.
#[derive(Clone, Copy, Debug)]
struct Tally {
    /// Distinct quotients.
    quotients: u32,
    steps: Option<Counts>,
}

/// Distinct rotations.
#[derive(Clone, Copy, Debug)]
struct Counts {
    /// Baby steps where every giant step has a key.
    babies: u32,
    /// Those giant steps.
    giants: u32,
    /// Baby steps beside Horner's rule.
    beside_horner: u32,
    /// The fewest rotations by Horner's rule with none, one and two keys.
    hops: [Option<u32>; 3],
}

impl Tallies {
    /// For distinct offsets.
    pub(super) fn new(offsets: &[u32], width: usize, arity: Arity, moduli: BTreeSet<u32>) -> Self {
        let (offsets, known) = (signed(offsets, width), Mutex::default());
        Self { offsets, width, arity, moduli, known }
    }

    /// What the cheapest steps cost under these prices, with keys of their own.
    pub(super) fn cost(&self, weights: &Weights) -> f64 {
        let bounds = Bounds::new(&self.offsets, self.arity, weights, true);
        let mut known = self.known.lock().expect("no holder panics");
        let mut divider: Option<Divider<'_>> = None;
        let mut best = f64::INFINITY;
        for (bound, modulus) in bounds.best_first(self.moduli.iter().copied()) {
            if best <= bound {
                break;
            }
            for shift in shifts(modulus) {
                let tally = known.entry((modulus, shift)).or_insert_with(|| {
                    let divider = divider.get_or_insert_with(|| self.divider());
                    divider.divide(modulus, shift);
                    Tally { quotients: divider.quotients().len() as u32, steps: None }
                });
                if best < bounds.divided(tally.quotients as usize) {
                    continue;
                }
                let counts = tally.steps.get_or_insert_with(|| {
                    let divider = divider.get_or_insert_with(|| self.divider());
                    divider.divide(modulus, shift);
                    divider.find_remainders(modulus, shift);
                    Counts::of(divider, modulus, self.width as i32)
                });
                best = best.min(counts.cost(weights, self.arity));
            }
        }
        best
    }

    fn divider(&self) -> Divider<'_> {
        Divider::new(self.offsets.as_slice(), self.width)
    }
}

impl Counts {
    fn of(divided: &Divider<'_>, modulus: u32, width: i32) -> Self {
        let m = modulus as i32;
        let first = divided.quotients().first().copied().unwrap_or(0);
        let turns = |step: i32| step.rem_euclid(width) != 0;
        let babies = |by: i32| {
            let steps = divided.remainders().iter().map(|r| r + by);
            steps.filter(|&s| turns(s)).count() as u32
        };
        let giants = divided.quotients().iter().filter(|&q| turns(q * m)).count() as u32;
        let mut hops = [None; 3];
        for rule in rows(divided, modulus, width) {
            let (single, rows) = rule.counts(numbers(divided));
            let keys = usize::from(single > 0) + usize::from(rows > 0 && rule.row() != 0);
            let fewest = &mut hops[keys];
            let turns = (single + rows) as u32;
            *fewest = Some(fewest.map_or(turns, |known: u32| known.min(turns)));
        }
        Self { babies: babies(0), giants, beside_horner: babies(first * m), hops }
    }

    /// The cheaper of keys for all giant steps and Horner's rule.
    fn cost(&self, w: &Weights, arity: Arity) -> f64 {
        let baby =
            |count: u32| w.baby * (count as usize * arity.inputs) as f64 + w.key * f64::from(count);
        let fold = |count: u32| w.fold * (count as usize * arity.outputs) as f64;
        let own = baby(self.babies) + fold(self.giants) + w.low_key * f64::from(self.giants);
        let hops = self.hops.iter().zip([0.0, 1.0, 2.0]);
        let hops = hops.filter_map(|(turns, keys)| Some(fold((*turns)?) + w.low_key * keys));
        own.min(baby(self.beside_horner) + hops.fold(f64::INFINITY, f64::min))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cost::Costs;
    use crate::passes::slots::steps::{Keys, choose, moduli};
    use crate::passes::slots::tests::prices;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
        #[test]
        fn what_is_counted_once_costs_what_is_chosen(
            offsets in prop::collection::btree_set(0u32..512, 0..60),
            strides in prop::collection::vec(1usize..64, 0..3),
            (inputs, outputs) in (1usize..4, 1usize..4),
        ) {
            let offsets: Vec<u32> = offsets.into_iter().collect();
            let (width, arity) = (512, Arity { inputs, outputs });
            let candidates = moduli(width, strides.into_iter());
            let tallies = Tallies::new(&offsets, width, arity, candidates.clone());
            for key_price in [0.0, 1e-9, 1e-7, 1e-8] {
                let prices = prices(&Costs::default(), key_price);
                let weights = prices.at(3);
                let keys = Keys::default();
                let chosen = choose(&offsets, width, arity, weights, &keys, &candidates).cost;
                let counted = tallies.cost(weights);
                prop_assert!((chosen - counted).abs() <= 1e-9 * chosen, "{counted} for {chosen}");
            }
        }
    }
}
