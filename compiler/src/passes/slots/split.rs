//! The choice of baby and giant steps by enumeration.

use std::collections::BTreeSet;

use heplan_ir::transform::Split;

use super::weights::Weights;

/// A split with what it costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    /// The split.
    pub(super) split: Split,
    /// Distinct non-zero baby steps.
    pub(super) babies: usize,
    /// Distinct non-zero giant steps.
    pub(super) giants: usize,
    /// Cost of all rotations and their keys.
    pub(super) cost: f64,
}

/// How many ciphertexts a transform reads and writes, which is how often its steps are taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arity {
    /// Input ciphertexts; each takes every baby step.
    pub(super) inputs: usize,
    /// Output ciphertexts; each takes every giant step.
    pub(super) outputs: usize,
}

/// The cheapest split of `offsets` over the moduli that `candidates` lists; ties go to the
/// smallest modulus, then the smallest shift.
pub(super) fn choose(
    offsets: &[u32],
    width: usize,
    arity: Arity,
    weights: &Weights,
    candidates: &BTreeSet<u32>,
) -> Choice {
    let mut seen = Steps { mark: vec![0; width], stamp: 0 };
    let mut best: Option<Choice> = None;
    for &modulus in candidates {
        let shifts: &[u32] = if modulus > 2 { &[0, modulus / 2] } else { &[0] };
        for &shift in shifts {
            let split = Split { modulus, shift };
            let (babies, giants) = seen.count(offsets, split, width);
            let cost = weights.baby * (babies * arity.inputs) as f64
                + weights.giant * (giants * arity.outputs) as f64
                + weights.key * (babies + giants) as f64;
            if best.is_none_or(|b| cost < b.cost) {
                best = Some(Choice { split, babies, giants, cost });
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
struct Steps {
    mark: Vec<u32>,
    stamp: u32,
}

impl Steps {
    fn count(&mut self, offsets: &[u32], split: Split, width: usize) -> (usize, usize) {
        let (mut babies, mut giants) = (0, 0);
        self.stamp += 1;
        self.mark[0] = self.stamp;
        for &d in offsets {
            let baby = split.of(d, width).0 as usize;
            if self.mark[baby] != self.stamp {
                self.mark[baby] = self.stamp;
                babies += 1;
            }
        }
        self.stamp += 1;
        self.mark[0] = self.stamp;
        for &d in offsets {
            let giant = split.of(d, width).1 as usize;
            if self.mark[giant] != self.stamp {
                self.mark[giant] = self.stamp;
                giants += 1;
            }
        }
        (babies, giants)
    }
}
