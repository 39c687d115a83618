//! Counts what a matrix costs between two layouts, on a sample of its rows.

use std::collections::BTreeSet;

use heplan_ir::matrix::SparseMatrix;

use super::routing::{Folding, Placed, Route};
use super::source::Source;
use super::steps::{Arity, Keys, choose, moduli};
use super::tallies::Tallies;
use super::weights::Weights;

/// Entries looked at per matrix.
const SAMPLE: usize = 20_000;

/// What a transform of sources into a layout consists of, whatever its steps cost.
#[derive(Debug)]
pub(super) struct Survey {
    /// Distinct rotations, increasing.
    offsets: Vec<u32>,
    /// Moduli worth trying for their steps.
    moduli: BTreeSet<u32>,
    /// Their steps where every rotation needs a key.
    tallies: Tallies,
    diagonals: usize,
    arity: Arity,
    width: usize,
    /// The part of a ciphertext after which diagonals repeat.
    share: f64,
    /// Rotations that fold its results.
    folds: Vec<u32>,
    /// Rotations that sum over its operands before it, each with their number.
    sums: Vec<(u32, usize)>,
}

impl Survey {
    /// Counts the offsets and diagonals of `sources` into `output`; `None` if there is no route.
    pub(super) fn new(sources: &[Source<'_>], output: &Placed) -> Option<Self> {
        let width = output.layout.width;
        let outputs = output.layout.ciphertexts();
        let mut found = vec![false; width];
        let mut diagonals = 0;
        let mut inputs = 0;
        for source in sources {
            let input = &source.placed;
            let ciphertexts = input.layout.ciphertexts();
            let route = Route::between(&input.layout, &output.layout)?;
            let mut seen = vec![false; width * ciphertexts * outputs];
            for r in sampled_rows(source.matrix) {
                let to = output.place(r);
                for (c, _) in source.matrix.row(r) {
                    let landing = route.landing(input.place(c), to);
                    let pair = landing.output as usize * ciphertexts + landing.input as usize;
                    let seen = &mut seen[pair * width + landing.offset as usize];
                    diagonals += usize::from(!*seen);
                    *seen = true;
                    found[landing.offset as usize] = true;
                }
            }
            inputs += ciphertexts;
        }
        let layouts = || sources.iter().map(|s| &s.placed.layout);
        let folding = Folding::between(layouts(), &output.layout);
        let narrow = |x: usize| u32::try_from(x).expect("below the width");
        let offsets = found.iter().enumerate().filter(|(_, found)| **found);
        let offsets: Vec<u32> = offsets.map(|(offset, _)| narrow(offset)).collect();
        let strides = layouts().flat_map(|l| &l.axes).map(|a| a.stride);
        let (arity, moduli) = (Arity { inputs, outputs }, moduli(width, strides));
        Some(Self {
            tallies: Tallies::new(&offsets, width, arity, moduli.clone()),
            offsets,
            moduli,
            diagonals,
            arity,
            width,
            share: folding.unfolded as f64 / width as f64,
            folds: folding.rotations().map(narrow).collect(),
            sums: sources.iter().flat_map(Source::sums).collect(),
        })
    }

    /// What the transform costs with keys of its own.
    pub(super) fn cost(&self, weights: &Weights) -> f64 {
        self.tallies.cost(weights) + self.beside_steps(weights, &Keys::default())
    }

    /// What the transform costs when the graph has `keys` anyway.
    pub(super) fn cost_beside(&self, weights: &Weights, keys: &Keys) -> f64 {
        let steps = choose(&self.offsets, self.width, self.arity, weights, keys, &self.moduli);
        steps.cost + self.beside_steps(weights, keys)
    }

    /// What everything but baby and giant steps costs.
    fn beside_steps(&self, weights: &Weights, keys: &Keys) -> f64 {
        let Arity { inputs, outputs } = self.arity;
        let low = weights.level.saturating_sub(1);
        let fold = |&by: &u32| weights.fold * outputs as f64 + keys.price(by, low, weights.low_key);
        let sum = |&(by, times): &(u32, usize)| {
            weights.turn * times as f64 + keys.price(by, weights.level, weights.key)
        };
        self.sums.iter().map(sum).sum::<f64>()
            + weights.diagonal(self.share) * self.diagonals as f64
            + self.folds.iter().map(fold).sum::<f64>()
            + weights.input * inputs as f64
            + weights.output * outputs as f64
    }
}

/// Rows spread over the whole matrix, in whole, holding about [`SAMPLE`] entries.
///
/// The step is odd, so that a power-of-two structure of the rows is not looked at on one residue.
fn sampled_rows(matrix: &SparseMatrix) -> impl Iterator<Item = usize> {
    let step = (matrix.nnz() / SAMPLE) | 1;
    (0..matrix.rows).step_by(step)
}
