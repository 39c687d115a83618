//! Drops values that no output needs, and affine maps that change nothing.
//!
//! Before: `%1 = affine I·%0; %2 = relu %1; %3 = tanh %0; output %2`.
//! After: `%1 = relu %0; output %1`.
//! It runs first, so that later passes see only what is computed, and after every fusion, which
//! leaves the inner maps behind. It costs no level and no precision.

use heplan_ir::tensor::{Graph, Op};

use super::editor::Editor;

/// The graph without dead values, identity maps, zero terms and zero biases.
/// Inputs stay, read or not: they are the model's interface.
pub fn simplify(graph: &Graph) -> Graph {
    let mut live = vec![false; graph.values.len()];
    for (_, id) in &graph.outputs {
        live[id.index()] = true;
    }
    for id in graph.ids().rev() {
        let op = &graph.value(id).op;
        live[id.index()] |= matches!(op, Op::Input { .. });
        if live[id.index()] {
            op.operands().iter().for_each(|x| live[x.index()] = true);
        }
    }
    let mut editor = Editor::new(graph);
    for id in graph.ids().filter(|id| live[id.index()]) {
        let value = graph.value(id);
        let Op::Affine { terms, bias } = &value.op else {
            editor.copy(id);
            continue;
        };
        let zero_bias = bias.is_none_or(|b| graph.consts.vector(b).iter().all(|&v| v == 0.0));
        if let ([(x, m)], true) = (terms.as_slice(), zero_bias)
            && graph.consts.matrix(*m).is_identity()
        {
            let same = editor.of(*x);
            // A reshape changes no element, so only an output's declared shape can need it.
            let output = graph.outputs.iter().any(|o| o.1 == id);
            if !output || editor.new.value(same).shape == value.shape {
                editor.set(id, same);
                continue;
            }
        }
        let distinct =
            terms.iter().map(|t| editor.of(t.0)).collect::<std::collections::BTreeSet<_>>();
        let tidy = distinct.len() == terms.len()
            && (bias.is_none() || !zero_bias)
            && (terms.len() == 1 || terms.iter().all(|t| graph.consts.matrix(t.1).nnz() > 0));
        if tidy {
            editor.copy(id);
            continue;
        }
        let terms = terms.iter().map(|&(x, m)| (editor.of(x), (**graph.consts.matrix(m)).clone()));
        let terms = terms.collect();
        let bias = bias.map(|b| graph.consts.vector(b).to_vec());
        let op = editor.affine(terms, bias);
        let new = editor.push_like(id, op, value.origin);
        editor.set(id, new);
    }
    editor.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Executor;
    use heplan_ir::function::Function;
    use heplan_ir::matrix::SparseMatrix;
    use heplan_ir::origin::OriginTable;

    #[test]
    fn what_is_the_same_for_all_data_keeps_one_term() {
        let mut g = Graph::default();
        let none = OriginTable::none();
        let x = g.push(Op::Input { name: "x".into() }, vec![3], none);
        let y = g.push(Op::Function { x, function: Function::Relu }, vec![3], none);
        let zero = g.consts.add_matrix(SparseMatrix::from_rows(2, 3, |_, _| {}));
        let bias = g.consts.add_vector(vec![1.5, 0.0]);
        let op = Op::Affine { terms: vec![(x, zero), (y, zero)], bias: Some(bias) };
        let out = g.push(op, vec![2], none);
        g.outputs = vec![("y".into(), out)];
        let s = simplify(&g);
        assert_eq!(s.value(s.outputs[0].1).op.operands().len(), 1);
        assert_eq!(Executor::new(&s).run(&[vec![1.0; 3]]), [vec![1.5, 0.0]]);
    }

    #[test]
    fn dead_values_and_identities_go() {
        let mut g = Graph::default();
        let none = OriginTable::none();
        let shape = vec![1, 3];
        let x = g.push(Op::Input { name: "x".into() }, shape.clone(), none);
        let one = g.consts.add_matrix(SparseMatrix::identity(3));
        let zero = g.consts.add_vector(vec![0.0; 3]);
        let id =
            g.push(Op::Affine { terms: vec![(x, one)], bias: Some(zero) }, shape.clone(), none);
        g.push(Op::Function { x, function: Function::Tanh }, shape.clone(), none);
        let f = g.push(Op::Function { x: id, function: Function::Relu }, shape.clone(), none);
        // The sum of one value under two names is one term.
        let sum = g.push(
            Op::Affine { terms: vec![(x, one), (id, one), (f, one)], bias: None },
            shape,
            none,
        );
        g.outputs = vec![("y".into(), sum)];
        let s = simplify(&g);
        assert_eq!(s.values.len(), 3);
        assert_eq!(s.value(s.outputs[0].1).op.operands().len(), 2);
        let sample = [vec![1.0, -2.0, 0.5]];
        assert_eq!(Executor::new(&s).run(&sample), Executor::new(&g).run(&sample));
        assert_eq!(simplify(&s), s);
    }
}
