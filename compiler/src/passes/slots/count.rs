//! Counts what a matrix costs between two layouts, on a sample of its rows.

use std::collections::BTreeSet;

use heplan_ir::matrix::SparseMatrix;

use super::routing::{Folding, Placed, route};
use super::split::{Arity, choose, moduli};
use super::weights::Weights;

/// Entries looked at per matrix.
const SAMPLE: usize = 20_000;

/// What a transform consists of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Non-zero diagonals over all pairs of ciphertexts.
    pub(super) diagonals: usize,
    /// Cost of baby and giant steps with their keys.
    pub(super) rotations: f64,
    /// Fold rotations over all output ciphertexts.
    pub(super) folds: usize,
    /// Input ciphertexts.
    pub(super) inputs: usize,
    /// Output ciphertexts.
    pub(super) outputs: usize,
}

/// Counts the transform of `terms`, matrices with the layouts that they read, into `output`.
pub(super) fn count(
    terms: &[(&SparseMatrix, &Placed)],
    output: &Placed,
    weights: &Weights,
) -> Counts {
    let width = output.layout.width;
    let outputs = output.layout.ciphertexts();
    let mut offsets: BTreeSet<u32> = BTreeSet::new();
    let mut diagonals = 0;
    let mut inputs = 0;
    for (matrix, input) in terms {
        let ciphertexts = input.layout.ciphertexts();
        let mut seen = vec![false; width * ciphertexts * outputs];
        for r in sampled_rows(matrix) {
            let to = output.place(r);
            for (c, _) in matrix.row(r) {
                let landing = route(&input.layout, &output.layout, input.place(c), to);
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
    let layouts = || terms.iter().map(|t| &t.1.layout);
    let folding = Folding::between(layouts(), &output.layout);
    let offsets: Vec<u32> = offsets.into_iter().collect();
    let strides = layouts().flat_map(|l| &l.axes).map(|a| a.stride);
    let arity = Arity { inputs, outputs };
    let choice = choose(&offsets, width, arity, weights, &moduli(width, strides));
    let folds = folding.rotations().count() * outputs;
    Counts { diagonals, rotations: choice.cost, folds, inputs, outputs }
}

/// Rows spread over the whole matrix, in whole, holding about [`SAMPLE`] entries.
///
/// The step is odd, so that a power-of-two structure of the rows is not looked at on one residue.
fn sampled_rows(matrix: &SparseMatrix) -> impl Iterator<Item = usize> {
    let step = (matrix.nnz() / SAMPLE) | 1;
    (0..matrix.rows).step_by(step)
}
