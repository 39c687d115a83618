//! Decides what the saturation of quantised models is: nothing, a `Relu`, or a clip.
//!
//! Before: `%1 = saturate(0, 6) %0`, calibration within -3 and 5. After: `%1 = relu %0`.
//! A bound that hardly a value of calibration passes is the end of a quantiser's range, chosen so
//! that it matters little; a bound that many values pass is an activation that the exporter merged
//! into it. The former costs levels for nothing. What dropping it changes is part of the error
//! that the pipeline measures.

use heplan_ir::entity::ValueId;
use heplan_ir::function::Function;
use heplan_ir::tensor::{Graph, Op};

use super::calibrate::Calibration;
use super::editor::Editor;

/// The share of values beyond a bound from which on it is kept.
const SHARE: f64 = 0.01;
/// How far, in parts of the range, a value may lie beyond a bound without counting.
const SLACK: f64 = 0.02;

/// Whether a graph has saturations.
pub fn saturates(graph: &Graph) -> bool {
    let is = |op: &Op| matches!(op, Op::Function { function: Function::Saturate { .. }, .. });
    graph.values.iter().any(|v| is(&v.op))
}

/// The graph with every saturation decided by what calibration meets.
pub fn settle(graph: &Graph, calibration: &Calibration) -> Graph {
    decided(graph, |id, min, max| {
        let seen = calibration.operands.get(&id).map_or(&[][..], Vec::as_slice);
        let slack = SLACK * (max - min);
        let share = |beyond: &dyn Fn(f64) -> bool| {
            seen.iter().filter(|(_, v)| beyond(*v)).count() as f64 / seen.len().max(1) as f64
        };
        (share(&|v| v < min - slack) > SHARE, share(&|v| v > max + slack) > SHARE)
    })
}

/// The graph with the saturations that activations usually are merged into, where no calibration
/// says more: those that end at zero.
pub fn assume(graph: &Graph) -> Graph {
    decided(graph, |_, min, _| (min == 0.0, false))
}

/// `keeps` tells for a value and its bounds which of the two are kept.
fn decided(graph: &Graph, keeps: impl Fn(ValueId, f64, f64) -> (bool, bool)) -> Graph {
    let mut editor = Editor::new(graph);
    for id in graph.ids() {
        let value = graph.value(id);
        let Op::Function { x, function: Function::Saturate { min, max } } = value.op else {
            editor.copy(id);
            continue;
        };
        let function = match keeps(id, min, max) {
            (false, false) => {
                let same = editor.of(x);
                editor.set(id, same);
                continue;
            }
            (true, false) if min == 0.0 => Function::Relu,
            (true, false) => Function::Clip { min, max: f64::INFINITY },
            (false, true) => Function::Clip { min: f64::NEG_INFINITY, max },
            (true, true) => Function::Clip { min, max },
        };
        let op = Op::Function { x: editor.of(x), function };
        let new = editor.push_like(id, op, value.origin);
        editor.set(id, new);
    }
    editor.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Samples;
    use crate::passes::tensor::calibrate::calibrate;
    use heplan_ir::origin::OriginTable;

    /// The functions that are left of a saturation of data evenly between `low` and `high`.
    fn left(low: f64, high: f64, min: f64, max: f64) -> Vec<Function> {
        let mut g = Graph::default();
        let none = OriginTable::none();
        let x = g.push(Op::Input { name: "x".into() }, vec![2], none);
        let op = Op::Function { x, function: Function::Saturate { min, max } };
        let y = g.push(op, vec![2], none);
        g.outputs = vec![("y".into(), y)];
        let sample = |s: usize| vec![low + (high - low) * s as f64 / 63.0, high];
        let samples = Samples { inputs: vec![(0..64).map(sample).collect()], ..Samples::default() };
        let calibration = calibrate(&g, &samples).expect("finite data");
        let settled = settle(&g, &calibration);
        let function = |op: &Op| match op {
            Op::Function { function, .. } => Some(function.clone()),
            _ => None,
        };
        settled.values.iter().filter_map(|v| function(&v.op)).collect()
    }

    #[test]
    fn bounds_stay_where_calibration_passes_them() {
        let infinite = f64::INFINITY;
        assert_eq!(left(-1.0, 1.0, -1.0, 1.0), []);
        assert_eq!(left(-1.0, 1.0, -0.99, 0.99), []);
        assert_eq!(left(-3.0, 5.0, 0.0, 6.0), [Function::Relu]);
        assert_eq!(left(-3.0, 5.0, -1.0, 6.0), [Function::Clip { min: -1.0, max: infinite }]);
        assert_eq!(left(-3.0, 5.0, -4.0, 2.0), [Function::Clip { min: -infinite, max: 2.0 }]);
        assert_eq!(left(-3.0, 9.0, 0.0, 6.0), [Function::Clip { min: 0.0, max: 6.0 }]);
    }
}
