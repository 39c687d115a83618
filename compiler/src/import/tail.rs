//! What a model computes at its very end, and that the client can compute for itself.
//!
//! [`at_the_end`] finds the nodes from which only such nodes and outputs follow; the results of
//! those that would cost levels, or have no encrypted form, become an [`Ending`] over the encrypted
//! scores. What only moves the end's elements is imported on a scratch graph for its shape.
//!
//! A model that only consists of such nodes keeps them encrypted: there is nothing else to compute.

use std::collections::{BTreeMap, BTreeSet};

use heplan_ir::diagnostic::Code;
use heplan_ir::origin::OriginTable;
use heplan_ir::tail::{Along, Norm, Step};
use heplan_ir::tensor::{Graph, Op};
use heplan_onnx::Model;

use super::array::{Data, axis};
use super::context::{Emitted, Fault, NodeCx, Operand, Secret, fault};
use super::registry::Entry;
use super::softmax::MASK;

/// Operators that the client can apply.
const APPLIED: &[&str] = &[
    "ArgMax",
    "ArgMin",
    "ArrayFeatureExtractor",
    "Hardmax",
    "LinearClassifier",
    "LogSoftmax",
    "Normalizer",
    "Sigmoid",
    "Softmax",
];
/// Operators that keep the elements and their order.
const MOVERS: &[&str] =
    &["Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze", "ZipMap"];

/// Types that hold every label: float, int32, int64, double, uint32, uint64, by ONNX's numbers.
const WIDE: &[i64] = &[1, 6, 7, 11, 12, 13];

/// Scores that are encrypted, and what the client makes of them.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    /// What the plan gives.
    pub(super) scores: Secret,
    /// What the client applies.
    pub(super) steps: Vec<Step>,
    /// The shape of the result.
    pub(super) shape: Vec<usize>,
}

impl Ending {
    pub(super) fn of(scores: &Secret) -> Self {
        Self { scores: scores.clone(), steps: Vec::new(), shape: scores.shape.clone() }
    }

    /// The same with one more step that keeps the shape.
    pub(super) fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Whether its elements are places or labels, which are whole numbers.
    fn is_whole(&self) -> bool {
        matches!(self.steps.last(), Some(Step::ArgMax { .. } | Step::ArgMin { .. }))
            || matches!(self.steps.last(), Some(Step::Lookup(t)) if t.iter().all(|v| v.fract() == 0.0))
    }
}

/// The nodes of `order` (operands first) that only outputs and nodes of the same kind follow.
pub(super) fn at_the_end(model: &Model, order: &[usize]) -> BTreeSet<usize> {
    let nodes = &model.graph.nodes;
    let mut readers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for &index in order {
        for name in &nodes[index].inputs {
            readers.entry(name).or_default().push(index);
        }
    }
    let mut found = BTreeSet::new();
    for &index in order.iter().rev() {
        let node = &nodes[index];
        let op = node.op_type.as_str();
        let follows = |name: &String| {
            readers.get(name.as_str()).is_none_or(|r| r.iter().all(|i| found.contains(i)))
        };
        if (APPLIED.contains(&op) || MOVERS.contains(&op)) && node.outputs.iter().all(follows) {
            found.insert(index);
        }
    }
    found
}

/// What the client makes of a node at the end; `None` for one that is imported as everywhere.
pub(super) fn end(cx: &mut NodeCx<'_>, entry: &Entry) -> Result<Option<Vec<Operand>>, Fault> {
    let op = cx.node.op_type.as_str();
    if op == "ArrayFeatureExtractor" {
        return labels(cx);
    }
    let ending = match cx.operands.first() {
        Some(Some(Operand::Ending(ending))) => (**ending).clone(),
        Some(Some(Operand::Secret(x))) if APPLIED.contains(&op) && are_scores(cx.graph, x) => {
            Ending::of(x)
        }
        _ => return Ok(None),
    };
    let ended = match op {
        "Sigmoid" => ending.then(Step::Sigmoid),
        "Softmax" | "LogSoftmax" | "Hardmax" => {
            let along = groups(cx, &ending.shape)?;
            ending.then(match op {
                "Softmax" => Step::Softmax(along),
                "LogSoftmax" => Step::LogSoftmax(along),
                _ => Step::Hardmax(along),
            })
        }
        "ArgMax" | "ArgMin" => place(cx, ending)?,
        "Normalizer" => normaliser(cx, ending)?,
        _ if MOVERS.contains(&op) => moved(cx, entry, ending)?,
        _ => return Ok(None),
    };
    Ok(Some(vec![Operand::Ending(Box::new(ended))]))
}

/// Whether a tensor can be what is decrypted: computed, and without a mask, which only the
/// encrypted softmax drops.
fn are_scores(graph: &Graph, x: &Secret) -> bool {
    match &graph.value(x.id).op {
        Op::Input { .. } => false,
        Op::Affine { bias: Some(b), .. } => graph.consts.vector(*b).iter().all(|&v| v > MASK),
        _ => true,
    }
}

/// The groups of `Softmax` and its like: one axis since opset 13, all from `axis` on before.
fn groups(cx: &NodeCx<'_>, shape: &[usize]) -> Result<Along, Fault> {
    let at = axis(cx.attr_int("axis", if cx.opset < 13 { 1 } else { -1 })?, shape.len())?;
    let last = if cx.opset < 13 { shape.len() } else { at + 1 };
    Ok(Along { length: shape[at..last].iter().product(), inner: shape[last..].iter().product() })
}

fn place(cx: &NodeCx<'_>, mut ending: Ending) -> Result<Ending, Fault> {
    let shape = &mut ending.shape;
    let at = axis(cx.attr_int("axis", 0)?, shape.len())?;
    let along = Along { length: shape[at], inner: shape[at + 1..].iter().product() };
    if cx.attr_int("keepdims", 1)? == 0 {
        shape.remove(at);
    } else {
        shape[at] = 1;
    }
    let last = cx.attr_int("select_last_index", 0)? != 0;
    Ok(ending.then(if cx.node.op_type == "ArgMax" {
        Step::ArgMax { along, last }
    } else {
        Step::ArgMin { along, last }
    }))
}

fn normaliser(cx: &NodeCx<'_>, ending: Ending) -> Result<Ending, Fault> {
    let norm = match cx.attr_text("norm", "MAX")?.as_str() {
        "MAX" => Norm::Max,
        "L1" => Norm::L1,
        "L2" => Norm::L2,
        other => return Err(fault(Code::BadNode, format!("norm is {other:?}"))),
    };
    let along = Along { length: ending.shape.last().copied().unwrap_or(1), inner: 1 };
    Ok(ending.then(Step::Normalise { norm, along }))
}

/// The shape that a node gives the ending, from its importer on a graph of its own.
fn moved(cx: &mut NodeCx<'_>, entry: &Entry, mut ending: Ending) -> Result<Ending, Fault> {
    if cx.node.op_type == "Cast" && ending.is_whole() {
        let to = cx.attr_int("to", 0)?;
        if !WIDE.contains(&to) {
            let message = format!("labels are cast to type {to}, which may not hold them");
            return Err(fault(Code::UnsupportedType, message));
        }
        return Ok(ending);
    }
    let mut scratch = Graph::default();
    let input = Op::Input { name: String::new() };
    let id = scratch.push(input, ending.shape.clone(), OriginTable::none());
    let mut operands = cx.operands.clone();
    operands[0] = Some(Operand::Secret(Secret { id, shape: ending.shape.clone() }));
    let results = (entry.import)(&mut NodeCx {
        node: cx.node,
        opset: cx.opset,
        operands,
        data_types: cx.data_types.clone(),
        graph: &mut scratch,
        origin: OriginTable::none(),
        notes: &mut *cx.notes,
        ends: false,
    })?;
    match results.first() {
        Some(Operand::Secret(x)) => {
            ending.shape.clone_from(&x.shape);
            Ok(ending)
        }
        _ => Err(fault(Code::UnsupportedMode, "the end of the graph is no tensor")),
    }
}

/// `ArrayFeatureExtractor` of constant labels at a place that the client finds.
fn labels(cx: &NodeCx<'_>) -> Result<Option<Vec<Operand>>, Fault> {
    let (Some(Operand::Constant(table)), Some(Operand::Ending(places))) =
        (cx.optional(0), cx.optional(1))
    else {
        return Ok(None);
    };
    if !places.is_whole() || !matches!(table.data, Data::Int(_) | Data::Float(_)) {
        return Err(fault(Code::UnsupportedMode, "it looks up no numeric labels"));
    }
    let count: usize = places.shape.iter().product();
    let mut ending = (**places).clone().then(Step::Lookup(table.floats()));
    ending.shape = vec![1, count];
    Ok(Some(vec![Operand::Ending(Box::new(ending))]))
}

/// `ArgMax` and its like: imported at the end of a graph only, by [`end`].
pub(super) fn only_at_the_end(cx: &mut NodeCx<'_>) -> Emitted {
    let message = format!("{} is accepted at the end of a graph only", cx.node.op_type);
    Err(fault(Code::Unsupported, message))
}
