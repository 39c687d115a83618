//! Builds the diagonals of an affine map between two layouts.

use heplan_ir::layout::Layout;
use heplan_ir::matrix::SparseMatrix;
use heplan_ir::transform::{Diagonal, LinearTransform, Split};

use super::routing::{Folding, Placed, route};
use super::split::{Arity, all_moduli, choose, moduli};
use super::weights::Weights;

/// A transform ready for the graph.
pub(super) struct Built {
    /// The diagonals; inputs are the ciphertexts of all terms, one term after the other.
    pub(super) transform: LinearTransform,
    /// Baby and giant steps.
    pub(super) split: Split,
    /// Rotations after it, each followed by an addition.
    pub(super) folds: Vec<u32>,
}

/// Builds the transform of `terms` into `output`, for operands at `level`.
pub(super) fn build(terms: &[(&SparseMatrix, &Layout)], output: &Layout, level: usize) -> Built {
    let width = output.width;
    let folding = Folding::between(terms.iter().map(|t| t.1), output);
    let mut entries: Vec<Entry> = Vec::with_capacity(terms.iter().map(|t| t.0.nnz()).sum());
    let mut inputs = 0;
    let targets = Placed::new(output.clone());
    for (matrix, layout) in terms {
        let sources = Placed::new((*layout).clone());
        let base = u32::try_from(inputs).expect("few ciphertexts");
        for r in 0..matrix.rows {
            let to = targets.place(r);
            entries.extend(matrix.row(r).map(|(c, v)| {
                let l = route(layout, output, sources.place(c), to);
                Entry { key: (l.output, base + l.input, l.offset), slot: l.slot, value: v as f32 }
            }));
        }
        inputs += layout.ciphertexts();
    }
    entries.sort_unstable_by_key(|e| (e.key, e.slot));
    let outputs = output.ciphertexts();
    let diagonals = group(&entries);
    let transform = LinearTransform { width, period: folding.unfolded, inputs, outputs, diagonals };
    let offsets: Vec<u32> = transform.offsets().into_iter().collect();
    let strides = terms.iter().flat_map(|t| &t.1.axes).map(|a| a.stride);
    let candidates = all_moduli(width, moduli(width, strides));
    let arity = Arity { inputs, outputs };
    let split = choose(&offsets, width, arity, &Weights::at(level), &candidates).split;
    let folds = folding.rotations().map(|s| u32::try_from(s).expect("below the width")).collect();
    Built { transform, split, folds }
}

struct Entry {
    key: (u32, u32, u32),
    slot: u32,
    value: f32,
}

/// Sorted entries to diagonals; values that vanish in single precision are dropped.
fn group(entries: &[Entry]) -> Vec<Diagonal> {
    entries
        .chunk_by(|a, b| a.key == b.key)
        .filter_map(|run| {
            let (output, input, offset) = run[0].key;
            let kept = run.iter().filter(|e| e.value != 0.0);
            let (slots, values): (Vec<u32>, Vec<f32>) = kept.map(|e| (e.slot, e.value)).unzip();
            (!slots.is_empty()).then_some(Diagonal { output, input, offset, slots, values })
        })
        .collect()
}
