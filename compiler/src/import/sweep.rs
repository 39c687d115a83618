//! The last step of import: values and constants that no output needs are left behind.
//!
//! Recognised activations leave their parts, and folded constants may leave encrypted operators
//! without readers.

use heplan_ir::entity::{ConstId, ValueId};
use heplan_ir::tensor::{Graph, Op, Value};

/// The graph without dead values, and the names of inputs that nothing reads.
pub(super) fn sweep(graph: Graph) -> (Graph, Vec<String>) {
    let mut live = vec![false; graph.values.len()];
    graph.outputs.iter().for_each(|(_, id)| live[id.index()] = true);
    for id in graph.ids().rev() {
        if live[id.index()] {
            graph.value(id).op.operands().into_iter().for_each(|x| live[x.index()] = true);
        }
    }
    if live.iter().all(|&l| l) {
        return (graph, Vec::new());
    }
    let mut swept =
        Graph { name: graph.name.clone(), origins: graph.origins.clone(), ..Graph::default() };
    let mut unread = Vec::new();
    let mut renamed: Vec<Option<ValueId>> = vec![None; graph.values.len()];
    for id in graph.ids() {
        let value = graph.value(id);
        if !live[id.index()] {
            if let Op::Input { name } = &value.op {
                unread.push(name.clone());
            }
            continue;
        }
        let mut op = value.op.map_operands(|x| {
            renamed[x.index()].expect("operands of a live value are live and come first")
        });
        if let Op::Affine { terms, bias } = &mut op {
            let mut moved = |c: ConstId| {
                let moved = swept.consts.adopt(&graph.consts, c);
                moved.expect("constants of the graph are in its pool")
            };
            terms.iter_mut().for_each(|t| t.1 = moved(t.1));
            *bias = bias.map(moved);
        }
        let Value { shape, origin, .. } = value;
        renamed[id.index()] = Some(swept.push(op, shape.clone(), *origin));
    }
    swept.outputs = graph
        .outputs
        .iter()
        .map(|(name, id)| (name.clone(), renamed[id.index()].expect("outputs are live")))
        .collect();
    (swept, unread)
}
