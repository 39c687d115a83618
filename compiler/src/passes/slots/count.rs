//! Counts what a matrix costs between two layouts, on a sample of its rows.

use std::collections::BTreeSet;

use heplan_ir::matrix::SparseMatrix;

use super::routing::{Folding, Placed, Route};
use super::source::Source;
use super::steps::{Arity, Keys, choose, moduli};
use super::weights::Weights;

/// Entries looked at per matrix.
const SAMPLE: usize = 20_000;

/// What the transform of `sources` into `output` costs when the graph has `keys` anyway; infinite if
/// there is no route.
pub(super) fn cost(sources: &[Source<'_>], output: &Placed, weights: &Weights, keys: &Keys) -> f64 {
    let width = output.layout.width;
    let outputs = output.layout.ciphertexts();
    let mut offsets: BTreeSet<u32> = BTreeSet::new();
    let mut diagonals = 0;
    let mut inputs = 0;
    for source in sources {
        let input = &source.placed;
        let ciphertexts = input.layout.ciphertexts();
        let Some(route) = Route::between(&input.layout, &output.layout) else {
            return f64::INFINITY;
        };
        let mut seen = vec![false; width * ciphertexts * outputs];
        for r in sampled_rows(source.matrix) {
            let to = output.place(r);
            for (c, _) in source.matrix.row(r) {
                let landing = route.landing(input.place(c), to);
                let pair = landing.output as usize * ciphertexts + landing.input as usize;
                let at = pair * width + landing.offset as usize;
                if !seen[at] {
                    seen[at] = true;
                    diagonals += 1;
                    offsets.insert(landing.offset);
                }
            }
        }
        inputs += ciphertexts;
    }
    let layouts = || sources.iter().map(|s| &s.placed.layout);
    let folding = Folding::between(layouts(), &output.layout);
    let offsets: Vec<u32> = offsets.into_iter().collect();
    let strides = layouts().flat_map(|l| &l.axes).map(|a| a.stride);
    let arity = Arity { inputs, outputs };
    let steps = choose(&offsets, width, arity, weights, keys, &moduli(width, strides));
    let folds: f64 = folding
        .rotations()
        .map(|by| {
            let by = u32::try_from(by).expect("below the width");
            let level = weights.level.saturating_sub(1);
            weights.fold * outputs as f64 + keys.price(by, level, weights.low_key)
        })
        .sum();
    steps.cost
        + sources.iter().map(|s| s.cost(weights, keys)).sum::<f64>()
        + weights.diagonal(folding.unfolded as f64 / width as f64) * diagonals as f64
        + folds
        + weights.input * inputs as f64
        + weights.output * outputs as f64
}

/// Rows spread over the whole matrix, in whole, holding about [`SAMPLE`] entries.
///
/// The step is odd, so that a power-of-two structure of the rows is not looked at on one residue.
fn sampled_rows(matrix: &SparseMatrix) -> impl Iterator<Item = usize> {
    let step = (matrix.nnz() / SAMPLE) | 1;
    (0..matrix.rows).step_by(step)
}
