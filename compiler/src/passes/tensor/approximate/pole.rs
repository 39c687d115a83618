//! What a function may err by where its results are summed into the operand of a logarithm.
//!
//! The sum of a group's exponentials is no smaller than their number, and its logarithm is replaced
//! on a window that ends at half of the least sum. An exponential's polynomial that errs far out,
//! where calibration saw no value, by a small share of its largest value may still take such a sum
//! through zero: the next polynomial is left on the wrong side, and so is the answer. So no element
//! may, wherever in its window it is, take away more than half of the sum.

use heplan_ir::entity::ValueId;
use heplan_ir::function::Function;
use heplan_ir::tensor::{Graph, Op};

use crate::passes::tensor::calibrate::{Calibration, Spread};

/// The largest error of the results of `id` that leaves every logarithm behind them alone; infinite
/// where there is none.
pub(super) fn bearable(
    graph: &Graph,
    users: &[Vec<ValueId>],
    calibration: &Calibration,
    id: ValueId,
) -> f64 {
    let sums =
        users[id.index()].iter().filter(|u| users[u.index()].iter().any(|v| is_log(graph, *v)));
    sums.map(|&sum| {
        let Op::Affine { terms, .. } = &graph.value(sum).op else { return f64::INFINITY };
        let own = terms.iter().filter(|t| t.0 == id).map(|t| graph.consts.matrix(t.1));
        own.map(|matrix| {
            let weights = matrix.entries().map(|(row, _, weight)| {
                near_zero(&calibration.elements[sum.index()][row]) / 2.0 / weight.abs()
            });
            weights.fold(f64::INFINITY, f64::min)
        })
        .fold(f64::INFINITY, f64::min)
    })
    .fold(f64::INFINITY, f64::min)
}

/// Whether a value is a logarithm.
fn is_log(graph: &Graph, id: ValueId) -> bool {
    matches!(graph.value(id).op, Op::Function { function: Function::Log, .. })
}

/// How near to zero the numbers come.
fn near_zero(seen: &Spread) -> f64 {
    seen.min.max(-seen.max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Samples;
    use crate::passes::tensor::calibrate::calibrate;
    use heplan_ir::matrix::SparseMatrix;
    use heplan_ir::origin::OriginTable;

    /// `f(2·exp(a) + 2·exp(b))`, with the number of the exponentials.
    fn graph(function: Function) -> (Graph, ValueId) {
        let mut g = Graph::default();
        let none = OriginTable::none();
        let x = g.push(Op::Input { name: "x".into() }, vec![1, 2], none);
        let powers = g.push(Op::Function { x, function: Function::Exp }, vec![1, 2], none);
        let sums = SparseMatrix::from_rows(1, 2, |_, row| row.extend([(0, 2.0), (1, 2.0)]));
        let terms = vec![(powers, g.consts.add_matrix(sums))];
        let sum = g.push(Op::Affine { terms, bias: None }, vec![1, 1], none);
        let y = g.push(Op::Function { x: sum, function }, vec![1, 1], none);
        g.outputs = vec![("y".into(), y)];
        (g, powers)
    }

    fn borne(function: Function) -> f64 {
        let (graph, powers) = graph(function);
        let inputs = vec![vec![vec![0.0, 0.0], vec![3.0, -1.0]]];
        let samples = Samples { inputs, ..Samples::default() };
        let calibration = calibrate(&graph, &samples).expect("finite");
        bearable(&graph, &graph.users(), &calibration, powers)
    }

    #[test]
    fn half_of_the_least_sum_is_borne() {
        // Two elements of one, twice each, are the least sum.
        assert_eq!(borne(Function::Log), 1.0);
    }

    #[test]
    fn without_a_logarithm_everything_is_borne() {
        assert_eq!(borne(Function::Relu), f64::INFINITY);
        assert_eq!(borne(Function::Sqrt), f64::INFINITY);
    }
}
