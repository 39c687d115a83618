//! Operators on constants for which there is no arithmetic of their own: they are imported as if
//! their data were encrypted, into a graph that is run at once and thrown away.

use std::rc::Rc;

use heplan_ir::diagnostic::Code;
use heplan_ir::origin::OriginTable;
use heplan_ir::tensor::{Graph, Op};

use super::array::{Array, Data};
use super::context::{Emitted, NodeCx, Operand, Secret};
use super::registry::Entry;
use crate::reference::Executor;

/// Integers up to here are exact as floats.
const WHOLE: f64 = (1_u64 << 53) as f64;

/// Imports a node; if it is for encrypted data only and all of its operands are constants, by way
/// of a graph.
pub(super) fn import(cx: &mut NodeCx<'_>, entry: &Entry) -> Emitted {
    let results = (entry.import)(cx);
    let known = |o: &Operand| matches!(o, Operand::Constant(_));
    match results {
        Err(fault) if fault.code == Code::UnsupportedMode => {
            let all = cx.operands.iter().flatten().all(known);
            all.then(|| computed(cx, entry)).flatten().ok_or(fault)
        }
        results => results,
    }
}

/// The results of a node whose operands are all constants, if they can be computed so.
fn computed(cx: &NodeCx<'_>, entry: &Entry) -> Option<Vec<Operand>> {
    let Some(Some(Operand::Constant(data))) = cx.operands.first() else { return None };
    let floats = data.floats();
    if floats.is_empty() {
        return None;
    }
    let mut graph = Graph::default();
    let op = Op::Input { name: "data".to_owned() };
    let id = graph.push(op, data.shape.clone(), OriginTable::none());
    let mut operands = cx.operands.clone();
    operands[0] = Some(Operand::Secret(Secret { id, shape: data.shape.clone() }));
    let mut notes = Vec::new();
    let mut pretended = NodeCx {
        node: cx.node,
        opset: cx.opset,
        operands,
        data_types: cx.data_types.clone(),
        graph: &mut graph,
        origin: OriginTable::none(),
        notes: &mut notes,
        ends: false,
    };
    let results = (entry.import)(&mut pretended).ok()?;
    for (i, result) in results.iter().enumerate() {
        if let Operand::Secret(x) = result {
            graph.outputs.push((i.to_string(), x.id));
        }
    }
    let mut computed = Executor::new(&graph).run(&[floats]).into_iter();
    let known = |result: Operand| match result {
        Operand::Secret(x) => {
            let array = typed(&data.data, x.shape, computed.next()?)?;
            Some(Operand::Constant(Rc::new(array)))
        }
        Operand::Constant(_) | Operand::LeftOut(_) => Some(result),
        _ => None,
    };
    results.into_iter().map(known).collect()
}

/// The elements in the type of the operand: these operators keep it.
fn typed(like: &Data, shape: Vec<usize>, values: Vec<f64>) -> Option<Array> {
    if values.iter().any(|v| v.is_nan()) {
        return None;
    }
    let whole = |v: &f64| v.fract() == 0.0 && v.abs() <= WHOLE;
    let data = match like {
        Data::Float(_) => Data::Float(values),
        Data::Int(_) if values.iter().all(whole) => {
            Data::Int(values.into_iter().map(|v| v as i64).collect())
        }
        _ => return None,
    };
    Some(Array { shape, data })
}
