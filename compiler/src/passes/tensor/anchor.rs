//! Bounds the exact scales of products of products.
//!
//! A product's scale is the product of its operands' scales over a prime, so a chain of `k`
//! squares has a scale whose exponents grow as `2^k` although the scale itself hardly moves. An
//! affine map returns to the waterline. Where a chain gets too long this pass puts an identity
//! there, which costs one level.
//!
//! It runs last on this level: `simplify` would drop the identities again.

use heplan_ir::matrix::SparseMatrix;
use heplan_ir::tensor::{Graph, Op};

use super::editor::Editor;

/// How many waterline scales a scale may be a product of; plans store powers of up to 256.
const MAX_FACTORS: u32 = 64;

/// The graph with an identity wherever the exponents of a product would grow too large.
pub fn anchor(graph: &Graph) -> Graph {
    let mut editor = Editor::new(graph);
    let mut factors = vec![1_u32; graph.values.len()];
    for id in graph.ids() {
        let Op::Product { a, b } = graph.value(id).op else {
            editor.copy(id);
            continue;
        };
        if factors[a.index()] + factors[b.index()] > MAX_FACTORS {
            for x in [a, b] {
                if factors[x.index()] == 1 {
                    continue;
                }
                let value = graph.value(x);
                let term = (editor.of(x), SparseMatrix::identity(value.elements()));
                let op = editor.affine(vec![term], None);
                let anchored = editor.push_like(x, op, value.origin);
                editor.set(x, anchored);
                factors[x.index()] = 1;
            }
        }
        factors[id.index()] = factors[a.index()] + factors[b.index()];
        editor.copy(id);
    }
    editor.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use heplan_ir::origin::OriginTable;

    fn squares(count: usize) -> Graph {
        let mut graph = Graph::default();
        let none = OriginTable::none();
        let mut x = graph.push(Op::Input { name: "x".to_owned() }, vec![2], none);
        for _ in 0..count {
            x = graph.push(Op::Product { a: x, b: x }, vec![2], none);
        }
        graph.outputs.push(("y".to_owned(), x));
        graph
    }

    fn maps(graph: &Graph) -> usize {
        graph.values.iter().filter(|v| matches!(v.op, Op::Affine { .. })).count()
    }

    #[test]
    fn short_chains_stay_and_long_ones_get_an_identity_every_six_squares() {
        assert_eq!([1, 6, 7, 12, 13, 40].map(|n| maps(&anchor(&squares(n)))), [0, 0, 1, 1, 2, 6]);
    }
}
