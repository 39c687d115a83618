//! What a transform reads: a matrix with the places of its columns, which may be sums over windows.

use std::sync::Arc;

use heplan_ir::matrix::SparseMatrix;

use super::columns::{Pooled, Run};
use super::routing::Placed;

/// One term of an affine map: the matrix, and its factors where it has any.
#[derive(Clone, Debug)]
pub(super) struct Term<'a> {
    matrix: &'a SparseMatrix,
    pooled: Option<Arc<Pooled>>,
}

impl<'a> Term<'a> {
    /// Looks for windows in `matrix`.
    pub(super) fn new(matrix: &'a SparseMatrix) -> Self {
        Self { matrix, pooled: Pooled::of(matrix).map(Arc::new) }
    }

    /// The ways to read an operand that is placed so, the plain one first.
    pub(super) fn sources<'s>(&'s self, input: &Placed) -> Vec<Source<'s>> {
        let plain = Source { matrix: self.matrix, placed: input.clone(), runs: Vec::new() };
        let pooled = self.pooled.as_ref().and_then(|p| {
            let (placed, runs) = p.sums(input)?;
            Some(Source { matrix: &p.matrix, placed, runs })
        });
        std::iter::once(plain).chain(pooled).collect()
    }
}

/// A matrix, where its columns are, and the sums of rotated copies that put them there.
#[derive(Clone)]
pub(super) struct Source<'a> {
    /// The matrix.
    pub(super) matrix: &'a SparseMatrix,
    /// The places of its columns.
    pub(super) placed: Placed,
    /// Sums over the operand before the transform, in this order.
    pub(super) runs: Vec<Run>,
}

impl Source<'_> {
    /// The rotations of the sums, each with the number of ciphertexts that take it.
    pub(super) fn sums(&self) -> impl Iterator<Item = (u32, usize)> {
        let ciphertexts = self.placed.layout.ciphertexts();
        let additions = self.runs.iter().flat_map(|r| r.additions());
        additions.map(move |(_, by)| (by, ciphertexts))
    }
}

/// All ways to read several operands: one source of each, the plain ones first.
pub(super) fn combinations<'s>(terms: &[Vec<Source<'s>>]) -> Vec<Vec<Source<'s>>> {
    let mut out: Vec<Vec<Source<'s>>> = vec![Vec::new()];
    for sources in terms {
        // Few terms have factors; where many do, those after the fourth are read plainly.
        let some = if out.len() < 16 { &sources[..] } else { &sources[..1] };
        out = out
            .iter()
            .flat_map(|chosen| some.iter().map(|s| [chosen.clone(), vec![s.clone()]].concat()))
            .collect();
    }
    out
}
