//! Adjacent affine maps become one by matrix product.
//!
//! Before: `%1 = affine A·%0 + a; %2 = affine B·%1 + b`.
//! After: `%1 = affine (B·A)·%0 + (B·a + b)`.
//! It runs before calibration, so that every function reads an affine map which can absorb its
//! domain, and after approximation, when it absorbs those maps.
//! Each fusion saves a level, which is worth more than a few diagonals; so it is done unless the
//! product is much larger than its factors (a rank bottleneck), or the inner map stays for another
//! reader and no level is saved.

use heplan_ir::entity::ValueId;
use heplan_ir::matrix::SparseMatrix;
use heplan_ir::tensor::{Graph, Op};

use super::editor::Editor;
use super::simplify::simplify;

/// A product may have this many times the entries of both factors.
const GROWTH: usize = 8;
/// Multiplications that are spent on a product which may then be refused.
const MAX_TRIAL: usize = 1 << 31;
/// Levels that a function is taken to need as long as its degree is not chosen.
const FUNCTION_DEPTH: u32 = 4;

/// The graph with affine maps fused where that is worthwhile, and simplified.
pub fn fuse_affine(graph: &Graph) -> Graph {
    let users = graph.users();
    let depth = depths(graph);
    let mut editor = Editor::new(graph);
    for id in graph.ids() {
        let value = graph.value(id);
        let Op::Affine { terms, bias } = &value.op else {
            editor.copy(id);
            continue;
        };
        let mut fused = Fused {
            terms: Vec::new(),
            bias: bias
                .map_or_else(|| vec![0.0; value.elements()], |b| graph.consts.vector(b).to_vec()),
        };
        let mut origins = vec![value.origin];
        for &(x, m) in terms {
            let matrix = graph.consts.matrix(m);
            let inner = editor.of(x);
            let dies = users[x.index()].iter().all(|&u| is_affine(graph, u))
                && graph.outputs.iter().all(|o| o.1 != x);
            let deepest = terms.iter().all(|t| t.0 == x || depth[t.0.index()] < depth[x.index()]);
            let parts = (dies || deepest).then(|| parts(&editor.new, matrix, inner)).flatten();
            match parts {
                Some(parts) => {
                    origins.push(editor.new.value(inner).origin);
                    fused.absorb(&editor.new, matrix, inner, parts);
                }
                None => fused.terms.push((inner, (**matrix).clone())),
            }
        }
        if origins.len() == 1 {
            editor.copy(id);
            continue;
        }
        let origin = editor.new.origins.merge(&origins);
        let op = editor.affine(fused.terms, Some(fused.bias));
        let new = editor.push_like(id, op, origin);
        editor.set(id, new);
    }
    simplify(&editor.finish())
}

struct Fused {
    terms: Vec<(ValueId, SparseMatrix)>,
    bias: Vec<f64>,
}

impl Fused {
    /// Takes over `matrix · inner` as the products `parts`.
    fn absorb(
        &mut self,
        graph: &Graph,
        matrix: &SparseMatrix,
        inner: ValueId,
        parts: Vec<(ValueId, SparseMatrix)>,
    ) {
        self.terms.extend(parts);
        if let Op::Affine { bias: Some(b), .. } = &graph.value(inner).op {
            let shift = matrix.apply(graph.consts.vector(*b));
            self.bias.iter_mut().zip(shift).for_each(|(y, s)| *y += s);
        }
    }
}

fn is_affine(graph: &Graph, id: ValueId) -> bool {
    matches!(graph.value(id).op, Op::Affine { .. })
}

/// The products of `matrix` with the terms of the affine map `inner`, if they are worthwhile.
fn parts(
    graph: &Graph,
    matrix: &SparseMatrix,
    inner: ValueId,
) -> Option<Vec<(ValueId, SparseMatrix)>> {
    let Op::Affine { terms, .. } = &graph.value(inner).op else { return None };
    let product = |&(x, a): &(ValueId, _)| {
        compose(matrix, graph.consts.matrix(a)).map(|product| (x, product))
    };
    terms.iter().map(product).collect()
}

/// `outer · inner`, unless it is much larger than both.
fn compose(outer: &SparseMatrix, inner: &SparseMatrix) -> Option<SparseMatrix> {
    let limit = GROWTH * (outer.nnz() + inner.nnz());
    let work: usize =
        outer.col.iter().map(|&k| inner.start[k as usize + 1] - inner.start[k as usize]).sum();
    let bound = work.min(outer.rows.saturating_mul(inner.cols));
    let simple = is_selection(outer) || is_selection(inner);
    if !simple && bound > limit && work > MAX_TRIAL {
        return None;
    }
    let product = outer.compose(inner);
    (simple || product.nnz() <= limit).then_some(product)
}

/// Whether every row and every column has at most one entry.
fn is_selection(m: &SparseMatrix) -> bool {
    let mut seen = vec![false; m.cols];
    let once = |&c: &u32| !std::mem::replace(&mut seen[c as usize], true);
    m.start.windows(2).all(|w| w[1] - w[0] <= 1) && m.col.iter().all(once)
}

/// Levels consumed up to each value, as far as they are known.
fn depths(graph: &Graph) -> Vec<u32> {
    let mut depth = vec![0; graph.values.len()];
    for id in graph.ids() {
        let op = &graph.value(id).op;
        let own = match op {
            Op::Input { .. } => 0,
            Op::Affine { .. } | Op::Product { .. } => 1,
            Op::Function { .. } => FUNCTION_DEPTH,
            Op::Polynomial { polynomials, .. } => graph.consts.polynomials(*polynomials).depth(),
        };
        let before = op.operands().iter().map(|x| depth[x.index()]).max().unwrap_or(0);
        depth[id.index()] = own + before;
    }
    depth
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Executor;
    use heplan_ir::entity::OriginId;
    use heplan_ir::function::Function;
    use heplan_ir::origin::{Node, OriginTable};

    fn dense(rows: usize, cols: usize) -> SparseMatrix {
        SparseMatrix::from_rows(rows, cols, |r, row| {
            row.extend((0..cols).map(|c| (c as u32, ((r * 7 + c * 3) % 11) as f64 - 5.5)));
        })
    }

    fn affine(g: &mut Graph, x: &[(ValueId, SparseMatrix)], origin: OriginId) -> ValueId {
        let rows = x[0].1.rows;
        let terms = x.iter().map(|(x, m)| (*x, g.consts.add_matrix(m.clone()))).collect();
        let bias = Some(g.consts.add_vector((0..rows).map(|i| i as f64 - 1.0).collect()));
        g.push(Op::Affine { terms, bias }, vec![1, rows], origin)
    }

    fn input(g: &mut Graph, n: usize) -> ValueId {
        g.push(Op::Input { name: "x".into() }, vec![1, n], OriginTable::none())
    }

    fn node(g: &mut Graph, index: u32) -> OriginId {
        g.origins.node(Node { index, name: String::new(), op: "Gemm".into() })
    }

    fn same(a: &Graph, b: &Graph, n: usize) {
        let sample = [(0..n).map(|i| (i as f64).sin()).collect::<Vec<f64>>()];
        let (a, b) = (Executor::new(a).run(&sample), Executor::new(b).run(&sample));
        for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
            assert!((a - b).abs() < 1e-9 * (1.0 + a.abs()), "{a} {b}");
        }
    }

    #[test]
    fn a_chain_becomes_one_map_with_all_origins() {
        let mut g = Graph::default();
        let x = input(&mut g, 6);
        let [o1, o2, o3] = [1, 2, 3].map(|i| node(&mut g, i));
        let a = affine(&mut g, &[(x, dense(6, 6))], o1);
        let b = affine(&mut g, &[(a, dense(4, 6)), (x, dense(4, 6))], o2);
        let c = affine(&mut g, &[(b, dense(5, 4))], o3);
        g.outputs = vec![("y".into(), c)];
        let fused = fuse_affine(&g);
        assert_eq!(fused.values.len(), 2);
        let y = fused.value(ValueId::new(1));
        assert_eq!(y.op.operands().len(), 1);
        assert_eq!(fused.origins.label(y.origin), "node 1 (Gemm) + node 2 (Gemm) + node 3 (Gemm)");
        same(&g, &fused, 6);
    }

    #[test]
    fn a_bottleneck_stays() {
        let mut g = Graph::default();
        let x = input(&mut g, 100);
        let none = OriginTable::none();
        let narrow = affine(&mut g, &[(x, dense(2, 100))], none);
        let wide = affine(&mut g, &[(narrow, dense(100, 2))], none);
        g.outputs = vec![("y".into(), wide)];
        assert_eq!(fuse_affine(&g).values.len(), 3);
    }

    #[test]
    fn a_residual_sum_is_not_repeated() {
        // s1 = A·x; r = relu(s1); s2 = B·r + s1: s1 stays for relu, and relu is the deeper path.
        let mut g = Graph::default();
        let x = input(&mut g, 8);
        let none = OriginTable::none();
        let s1 = affine(&mut g, &[(x, dense(8, 8))], none);
        let r = g.push(Op::Function { x: s1, function: Function::Relu }, vec![1, 8], none);
        let s2 = affine(&mut g, &[(r, dense(8, 8)), (s1, SparseMatrix::identity(8))], none);
        g.outputs = vec![("y".into(), s2)];
        let fused = fuse_affine(&g);
        assert_eq!(fused.values, g.values);
    }

    #[test]
    fn a_domain_map_is_absorbed_even_beside_another_reader() {
        // p reads (1/2)·a while the product reads a: the copy saves a level.
        let mut g = Graph::default();
        let x = input(&mut g, 8);
        let none = OriginTable::none();
        let a = affine(&mut g, &[(x, dense(8, 8))], none);
        let half = affine(&mut g, &[(a, SparseMatrix::diagonal(&[0.5; 8]))], none);
        let f = g.push(Op::Function { x: half, function: Function::Tanh }, vec![1, 8], none);
        let y = g.push(Op::Product { a, b: f }, vec![1, 8], none);
        g.outputs = vec![("y".into(), y)];
        let fused = fuse_affine(&g);
        let Op::Product { b, .. } = fused.value(fused.outputs[0].1).op else { unreachable!() };
        let Op::Function { x: half, .. } = fused.value(b).op else { unreachable!() };
        assert_eq!(fused.value(half).op.operands(), [ValueId::new(0)]);
        same(&g, &fused, 8);
    }
}
