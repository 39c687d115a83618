//! What a model computes at its very end, and that the client can compute for itself.
//!
//! [`at_the_end`] finds the nodes from which only such nodes and outputs follow; the results of
//! those that would cost levels, or have no encrypted form, become an [`Ending`] over the encrypted
//! scores. What only moves the end's elements is imported on a scratch graph for its shape.
//!
//! What has an encrypted form stays encrypted right behind an input: a model that consists of it
//! alone has nothing else to compute. What has none is applied to the decrypted input itself.
//!
//! Decisions (places, comparisons, roundings) are the client's only: the plan gives the numbers
//! that they are about, and for a comparison their difference.

use std::collections::{BTreeMap, BTreeSet};

use heplan_ir::diagnostic::Code;
use heplan_ir::function::Function;
use heplan_ir::origin::OriginTable;
use heplan_ir::tail::{Along, Norm, Rounding, Step};
use heplan_ir::tensor::{Graph, Op};
use heplan_onnx::{DataType, Kind, Model, Node};

use super::array::axis;
use super::context::{Emitted, Fault, NodeCx, Operand, Secret, fault, fault_help};
use super::elementwise::uniform;
use super::ml;
use super::registry::Entry;
use super::softmax::{MASK, has_masks};

/// Operators that the client can apply and that have an encrypted form as well.
const BOTH: &[&str] = &["LogSoftmax", "Normalizer", "Sigmoid", "Softmax"];
/// Operators that only the client can apply to encrypted data, with few exceptions.
const APPLIED: &[&str] = &[
    "ArgMax",
    "ArgMin",
    "ArrayFeatureExtractor",
    "Binarizer",
    "Ceil",
    "Floor",
    "Greater",
    "GreaterOrEqual",
    "Hardmax",
    "LabelEncoder",
    "Less",
    "LessOrEqual",
    "LinearClassifier",
    "OneHot",
    "QGemm",
    "QLinearAdd",
    "QLinearAveragePool",
    "QLinearConcat",
    "QLinearConv",
    "QLinearGlobalAveragePool",
    "QLinearLeakyRelu",
    "QLinearMatMul",
    "QLinearMul",
    "QLinearSigmoid",
    "QuantizeLinear",
    "Round",
    "SVMClassifier",
    "SVMRegressor",
    "Shrink",
    "Sign",
    "ThresholdedRelu",
    "TopK",
    "TreeEnsembleClassifier",
    "Where",
];
/// Operators that keep the elements and their order.
const MOVERS: &[&str] =
    &["Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze", "ZipMap"];

/// Types that hold every label: float, int32, int64, double, uint32, uint64, by ONNX's numbers.
const WIDE: &[i64] = &[1, 6, 7, 11, 12, 13];

/// The number of ONNX's string.
const TEXT: i64 = 8;

/// The number of ONNX's bool.
const BOOL: i64 = 9;

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

    /// Whether its elements are places, labels, truth values or rounded: whole numbers.
    fn is_whole(&self) -> bool {
        match self.steps.last() {
            Some(
                Step::ArgMax { .. }
                | Step::ArgMin { .. }
                | Step::TopPlaces { .. }
                | Step::Votes { .. }
                | Step::Hardmax(_)
                | Step::Compare { .. }
                | Step::Round(_)
                | Step::Sign,
            ) => true,
            Some(Step::Clamp { min, max }) => {
                let rounded = |s: &Step| matches!(s, Step::Round(_));
                min.fract() == 0.0 && max.fract() == 0.0 && self.steps.iter().any(rounded)
            }
            Some(Step::Lookup(table)) => table.iter().all(|v| v.fract() == 0.0),
            Some(Step::OneHot { values, .. }) => values.iter().all(|v| v.fract() == 0.0),
            _ => false,
        }
    }

    /// Whether its elements are words.
    fn is_text(&self) -> bool {
        matches!(self.steps.last(), Some(Step::Words(_)))
    }

    fn boxed(self) -> Operand {
        Operand::Ending(Box::new(self))
    }
}

/// The nodes of `order` (operands first) that only outputs and nodes of the same kind follow.
pub(super) fn at_the_end(model: &Model, order: &[usize]) -> BTreeSet<usize> {
    let nodes = &model.graph.nodes;
    let mut readers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for &index in order {
        for name in super::order::reads(&nodes[index]) {
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
        let known = APPLIED.contains(&op) || BOTH.contains(&op) || MOVERS.contains(&op);
        // Where scores are plain numbers, the label is the client's whatever else reads them.
        let counted = if gives_plain_scores(node) { 1 } else { node.outputs.len() };
        if known && node.outputs.iter().take(counted).all(follows) {
            found.insert(index);
        }
    }
    found
}

/// Whether a node gives a label, and scores as they come from its matrix.
fn gives_plain_scores(node: &Node) -> bool {
    let is_none =
        node.attributes.text("post_transform").is_ok_and(|t| t.is_none_or(|t| t == "NONE"));
    let classifier = ["LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier"]
        .contains(&node.op_type.as_str());
    classifier && is_none && node.attributes.get("prob_a").is_none()
}

/// What the client makes of a node at the end; `None` for one that is imported as everywhere.
pub(super) fn end(cx: &mut NodeCx<'_>, entry: &Entry) -> Result<Option<Vec<Operand>>, Fault> {
    let op = cx.node.op_type.as_str();
    match op {
        "ArrayFeatureExtractor" => return ml::looked_up(cx),
        "Where" => return chosen(cx, entry),
        "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" => return compared_with(cx),
        _ => {}
    }
    let ending = match cx.operands.first() {
        Some(Some(Operand::Ending(ending))) => (**ending).clone(),
        Some(Some(Operand::Above { ending: Some(ending), .. })) => (**ending).clone(),
        Some(Some(Operand::Secret(x))) if is_applied(cx, op, x)? => Ending::of(x),
        _ => return Ok(None),
    };
    if ending.is_text() && op != "LabelEncoder" && !MOVERS.contains(&op) {
        return Err(fault(Code::UnsupportedMode, format!("{op} of labels in words")));
    }
    let ended = match op {
        "Binarizer" => ending.then(Step::Compare {
            bound: cx.attr_float("threshold", 0.0)?,
            above: true,
            or_equal: false,
        }),
        "LabelEncoder" => ml::encoded(cx, ending)?,
        "TopK" => return top(cx, ending).map(Some),
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
        "OneHot" => one_hot(cx, ending)?,
        "Floor" => ending.then(Step::Round(Rounding::Down)),
        "Ceil" => ending.then(Step::Round(Rounding::Up)),
        "Round" => ending.then(Step::Round(Rounding::Nearest)),
        "Sign" => ending.then(Step::Sign),
        "ThresholdedRelu" => {
            ending.then(Step::ThresholdedRelu { alpha: cx.attr_float("alpha", 1.0)? })
        }
        "Shrink" => ending.then(Step::Shrink {
            bias: cx.attr_float("bias", 0.0)?,
            lambd: cx.attr_float("lambd", 0.5)?,
        }),
        _ if MOVERS.contains(&op) => moved(cx, entry, ending)?,
        _ => return Ok(None),
    };
    Ok(Some(vec![ended.boxed()]))
}

/// Whether a node becomes the client's on a tensor that is encrypted and not yet ended.
fn is_applied(cx: &NodeCx<'_>, op: &str, x: &Secret) -> Result<bool, Fault> {
    if !is_free_of_masks(cx.graph, x) || op.ends_with("Softmax") && is_masked(cx.graph, x) {
        return Ok(false);
    }
    Ok(match op {
        "Cast" => is_whole_type(cx)?,
        "Shrink" => cx.attr_float("bias", 0.0)? != cx.attr_float("lambd", 0.5)?,
        _ if BOTH.contains(&op) => !matches!(cx.graph.value(x.id).op, Op::Input { .. }),
        _ => APPLIED.contains(&op),
    })
}

/// Whether a softmax of a tensor has masks, beside which the scores would drown in the noise.
fn is_masked(graph: &Graph, x: &Secret) -> bool {
    let Op::Affine { bias: Some(b), .. } = &graph.value(x.id).op else { return false };
    has_masks(graph.consts.vector(*b))
}

/// Whether a tensor can be what is decrypted: without a mask, which only the encrypted softmax
/// drops.
fn is_free_of_masks(graph: &Graph, x: &Secret) -> bool {
    match &graph.value(x.id).op {
        Op::Affine { bias: Some(b), .. } => graph.consts.vector(*b).iter().all(|&v| v > MASK),
        _ => true,
    }
}

/// The comparison `a > b` (or `a >= b`) as the client makes it from the difference that the plan
/// gives.
pub(super) fn compared(
    cx: &mut NodeCx<'_>,
    a: &Operand,
    b: &Operand,
    or_equal: bool,
) -> Result<Ending, Fault> {
    let difference = super::compose::secret(&cx.minus(a, b)?)?;
    if !is_free_of_masks(cx.graph, &difference) {
        return Err(fault(Code::UnsupportedMode, "encrypted data is compared with infinity"));
    }
    Ok(Ending::of(&difference).then(Step::Compare { bound: 0.0, above: true, or_equal }))
}

/// A comparison of what the client has with one number; others are for [`compared`].
fn compared_with(cx: &NodeCx<'_>) -> Result<Option<Vec<Operand>>, Fault> {
    let op = cx.node.op_type.as_str();
    let (ending, bound, turned) = match (cx.operand(0)?, cx.operand(1)?) {
        (Operand::Ending(e), Operand::Constant(c)) => (e, c, false),
        (Operand::Constant(c), Operand::Ending(e)) => (e, c, true),
        _ => return Ok(None),
    };
    if ending.is_text() {
        let help = "train with integers as classes, or export the labels as they are";
        let message = "labels in words are compared with numbers";
        return Err(fault_help(Code::UnsupportedMode, message, help));
    }
    let fits = super::array::broadcast_shape(&ending.shape, &bound.shape)? == ending.shape;
    let bound = uniform(&bound.floats()).filter(|b| b.is_finite() && fits);
    let bound = bound.ok_or_else(|| {
        fault_help(
            Code::UnsupportedMode,
            "what the client computes is compared with several numbers",
            "compare with one number for all elements, or end the graph before the comparison",
        )
    })?;
    let above = op.starts_with("Greater") != turned;
    let step = Step::Compare { bound, above, or_equal: op.ends_with("OrEqual") };
    Ok(Some(vec![(**ending).clone().then(step).boxed()]))
}

/// `Where` on a comparison: a function if it is one, else one of two numbers.
fn chosen(cx: &mut NodeCx<'_>, entry: &Entry) -> Result<Option<Vec<Operand>>, Fault> {
    let ending = match cx.operands.first() {
        Some(Some(Operand::Ending(e) | Operand::Above { ending: Some(e), .. })) => (**e).clone(),
        _ => return Ok(None),
    };
    let is_truth = matches!(ending.steps.last(), Some(Step::Compare { .. }));
    let number = |operand: Option<&Operand>| match operand {
        Some(Operand::Constant(c)) => uniform(&c.floats()).filter(|v| v.is_finite()),
        _ => None,
    };
    match (number(cx.optional(1)), number(cx.optional(2))) {
        (Some(yes), Some(no)) if is_truth => {
            let sides = [cx.shape(1)?, cx.shape(2)?];
            for side in sides {
                if super::array::broadcast_shape(&ending.shape, &side)? != ending.shape {
                    let message = "a side of the choice is larger than the condition";
                    return Err(fault(Code::UnsupportedMode, message));
                }
            }
            Ok(Some(vec![ending.then(Step::Lookup(vec![no, yes])).boxed()]))
        }
        _ => (entry.import)(cx)
            .map(|results| Some(results.into_iter().map(|r| jump(cx, r)).collect())),
    }
}

/// A jump that a `Where` turned out to be is the client's.
fn jump(cx: &NodeCx<'_>, result: Operand) -> Operand {
    let Operand::Secret(y) = &result else { return result };
    match cx.graph.value(y.id).op {
        Op::Function { x, function: Function::ThresholdedRelu { alpha } } => {
            let scores = Secret { id: x, shape: y.shape.clone() };
            Ending::of(&scores).then(Step::ThresholdedRelu { alpha }).boxed()
        }
        _ => result,
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

fn normaliser(cx: &mut NodeCx<'_>, ending: Ending) -> Result<Ending, Fault> {
    if ending.shape.len() > 2 {
        let message = format!("it normalises a tensor of shape {:?}", ending.shape);
        return Err(fault(Code::UnsupportedMode, message));
    }
    let norm = match cx.attr_text("norm", "MAX")?.as_str() {
        "MAX" => {
            let note = "Normalizer MAX divides by the largest magnitude, as scikit-learn and ONNX's \
                        reference do; the ONNX runtime divides by the largest number";
            cx.notes.push(note.to_owned());
            Norm::Max
        }
        "L1" => Norm::L1,
        "L2" => Norm::L2,
        other => return Err(fault(Code::BadNode, format!("norm is {other:?}"))),
    };
    let along = Along { length: ending.shape.last().copied().unwrap_or(1), inner: 1 };
    Ok(ending.then(Step::Normalise { norm, along }))
}

/// `TopK`: values and places.
fn top(cx: &NodeCx<'_>, mut ending: Ending) -> Emitted {
    let k = if cx.opset < 10 { cx.attr_int("k", 0)? } else { single(cx, 1)? };
    let at = axis(cx.attr_int("axis", -1)?, ending.shape.len())?;
    let along = Along { length: ending.shape[at], inner: ending.shape[at + 1..].iter().product() };
    let k = usize::try_from(k).ok().filter(|k| (1..=along.length).contains(k));
    let k = k.ok_or_else(|| {
        fault(Code::BadNode, format!("it takes other than 1 to {} elements", along.length))
    })?;
    let largest = cx.attr_int("largest", 1)? != 0;
    ending.shape[at] = k;
    let values = ending.clone().then(Step::TopValues { along, k, largest });
    let places = ending.then(Step::TopPlaces { along, k, largest });
    Ok(vec![values.boxed(), places.boxed()])
}

/// The one integer of a constant operand, which may be stored as a float.
fn single(cx: &NodeCx<'_>, index: usize) -> Result<i64, Fault> {
    match cx.constant(index)?.floats().as_slice() {
        [v] if v.fract() == 0.0 && v.abs() < 1e15 => Ok(*v as i64),
        values => Err(fault(
            Code::BadNode,
            format!("input {index} is {values:?}, expected one whole number"),
        )),
    }
}

/// `OneHot` of places that the client has.
fn one_hot(cx: &NodeCx<'_>, mut ending: Ending) -> Result<Ending, Fault> {
    let depth = usize::try_from(single(cx, 1)?).ok().filter(|&d| d > 0);
    let depth = depth.ok_or_else(|| fault(Code::BadNode, "depth is not positive"))?;
    let (_, values) = cx.weights(2)?;
    let &[off, on] = values.as_slice() else {
        return Err(fault(Code::BadNode, format!("values has {} numbers, not 2", values.len())));
    };
    let at = axis(cx.attr_int("axis", -1)?, ending.shape.len() + 1)?;
    let inner = ending.shape[at..].iter().product();
    ending.shape.insert(at, depth);
    super::array::constant_elements(&ending.shape)?;
    Ok(ending.then(Step::OneHot { depth, inner, values: [off, on] }))
}

/// Whether a `Cast` is to an integer type.
fn is_whole_type(cx: &NodeCx<'_>) -> Result<bool, Fault> {
    let to = i32::try_from(cx.attr_int("to", 0)?).unwrap_or(0);
    Ok(DataType::from_number(to).kind() == Kind::Int)
}

/// The shape that a node gives the ending, from its importer on a graph of its own.
fn moved(cx: &mut NodeCx<'_>, entry: &Entry, mut ending: Ending) -> Result<Ending, Fault> {
    if cx.node.op_type == "Cast" && ending.is_text() {
        let to = cx.attr_int("to", 0)?;
        return if to == TEXT {
            Ok(ending)
        } else {
            let message = format!("words are cast to type {to}");
            let help = "train with integers as classes, or drop the Cast from the export";
            Err(fault_help(Code::UnsupportedType, message, help))
        };
    }
    if cx.node.op_type == "Cast" && (ending.is_whole() || is_whole_type(cx)?) {
        let to = cx.attr_int("to", 0)?;
        let truth = matches!(ending.steps.last(), Some(Step::Compare { .. }));
        if !(WIDE.contains(&to) || truth && to == BOOL) {
            let message = format!("labels are cast to type {to}, which may not hold them");
            let help = "cast them to int64 or float32, or drop the Cast from the export";
            return Err(fault_help(Code::UnsupportedType, message, help));
        }
        let step = Step::Round(Rounding::TowardsZero);
        return Ok(if ending.is_whole() { ending } else { ending.then(step) });
    }
    let mut scratch = Graph::default();
    let input = Op::Input { name: String::new() };
    let id = scratch.push(input, ending.shape.clone(), OriginTable::none());
    let mut operands = cx.operands.clone();
    let stand_in = Operand::Secret(Secret { id, shape: ending.shape.clone() });
    match operands.first_mut() {
        Some(first) => *first = Some(stand_in),
        None => return Err(fault(Code::BadNode, "input 0 is missing")),
    }
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

/// `ArgMax` and its like: imported at the end of a graph only, by [`end`].
pub(super) fn only_at_the_end(cx: &mut NodeCx<'_>) -> Emitted {
    let op = &cx.node.op_type;
    let message = format!("{op} is accepted at the end of a graph only");
    let help = format!(
        "end the graph at {op}: drop what reads its result from the export, and let the client do \
         it after decryption"
    );
    Err(fault_help(Code::Unsupported, message, &help))
}
