//! The driver of an import: what every name stands for, node by node, and all findings.
//!
//! It knows no operator: [`registry`] does, and [`control`](super::control) what runs others.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use heplan_ir::constants::Constant;
use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::origin;
use heplan_ir::tail::{Answer, Step};
use heplan_ir::tensor::{Graph, Op};
use heplan_onnx::{DataType, Kind, Model, Node, Tensor, ValueInfo, ValueKind};

use super::array::Array;
use super::context::{self, Emitted, NodeCx, Operand, Secret};
use super::control::Scope;
use super::duels::Duels;
use super::tail::{self, Ending};
use super::{
    Import, Options, bind, constant, legacy, opset_of, origin_of, quantise, refused, registry,
    sweep,
};

/// The most entries that all matrices of a graph may have together, 12 bytes each.
const MAX_TOTAL: usize = 1 << 28;

/// Integer types of sums and products, which are whole without rounding.
const WIDE: [DataType; 4] = [DataType::Int32, DataType::Int64, DataType::Uint32, DataType::Uint64];

pub(super) struct Driver<'a> {
    pub(super) model: &'a Model,
    pub(super) graph: Graph,
    /// The names of the graph, then those of the bodies around the node at hand.
    pub(super) scopes: Vec<Scope>,
    /// Element types of constants that nodes give, by name.
    pub(super) types: BTreeMap<String, DataType>,
    /// The nodes whose bodies the node at hand is in, from the outermost.
    pub(super) inside: Vec<origin::Node>,
    /// Nodes that bodies have run.
    pub(super) executed: usize,
    pub(super) initialisers: BTreeMap<&'a str, &'a Tensor>,
    /// Positions of the nodes that the client may compute.
    pub(super) ends: BTreeSet<usize>,
    /// Whether the client may compute anything at all.
    pub(super) applies_tail: bool,
    pub(super) answers: Vec<Answer>,
    pub(super) notes: Vec<String>,
    pub(super) findings: Vec<Diagnostic>,
    /// Entries of the matrices among the first `counted` constants.
    pub(super) non_zeros: usize,
    pub(super) counted: usize,
}

/// Imports a model whose nodes `ends` the client may compute.
pub(super) fn attempt(
    model: &Model,
    options: &Options,
    order: &[usize],
    ends: BTreeSet<usize>,
) -> Result<Import, Vec<Diagnostic>> {
    let mut driver = Driver {
        model,
        graph: Graph { name: options.name.clone(), ..Graph::default() },
        scopes: vec![Scope::default()],
        types: BTreeMap::new(),
        inside: Vec::new(),
        executed: 0,
        initialisers: model.graph.initialisers.iter().map(|t| (t.name(), t)).collect(),
        ends,
        applies_tail: !options.encrypted_tail,
        answers: Vec::new(),
        notes: Vec::new(),
        findings: Vec::new(),
        non_zeros: 0,
        counted: 0,
    };
    driver.bind_inputs(options);
    let duels = if driver.ends.is_empty() { Duels::default() } else { Duels::of(model, order) };
    for &index in order {
        let ends = driver.ends.contains(&index);
        if !driver.duel(&duels, index) {
            driver.node(&model.graph.nodes[index], ends);
        }
        driver.check_budget(&model.graph.nodes[index])?;
    }
    driver.bind_outputs();
    driver.finish()
}

impl Driver<'_> {
    fn bind_inputs(&mut self, options: &Options) {
        let mut count = 0;
        let model = self.model;
        self.findings.extend(bind::unknown(model, &options.public));
        for input in model.graph.data_inputs() {
            if let Some(value) = options.public.get(&input.name) {
                let operand = match bind::public(input, value, &options.dimensions) {
                    Ok((data_type, array)) => {
                        self.types.insert(input.name.clone(), data_type);
                        Operand::Constant(Rc::new(array))
                    }
                    Err(finding) => {
                        self.findings.push(*finding);
                        Operand::Unknown
                    }
                };
                self.define(&input.name, operand);
                continue;
            }
            count += 1;
            let whole = bind::is_quantised(model, &input.name);
            let operand = match bind::bind(input, &options.dimensions, whole) {
                Ok(shape) => {
                    if let ValueKind::Tensor { data_type, .. } = &input.kind
                        && data_type.kind() == Kind::Int
                    {
                        let name = &input.name;
                        self.notes.push(format!(
                            "input {name:?} of {data_type} is encrypted as real numbers"
                        ));
                    }
                    let op = Op::Input { name: input.name.clone() };
                    let id = self.graph.push(op, shape.clone(), origin::OriginTable::none());
                    Operand::Secret(Secret { id, shape })
                }
                Err(finding) => {
                    self.findings.push(*finding);
                    Operand::Unknown
                }
            };
            self.define(&input.name, operand);
        }
        if count == 0 {
            self.findings.push(
                Diagnostic::new(Code::NoInput, "the model has no input, so nothing is encrypted")
                    .help("export the model with its data as an input, not as a constant"),
            );
        }
    }

    pub(super) fn define(&mut self, name: &str, operand: Operand) {
        let scope = self.scopes.last_mut().expect("the graph's own scope stays");
        scope.values.insert(name.to_owned(), operand);
    }

    /// What a name stands for in the innermost scope that has it; weights of the graph are decoded
    /// when they are first read.
    pub(super) fn value(&mut self, name: &str) -> Operand {
        for scope in self.scopes.iter().rev() {
            if let Some(operand) = scope.values.get(name) {
                return operand.clone();
            }
            if scope.function.is_some() {
                return self.missing(name);
            }
        }
        let stored = self.initialisers.get(name);
        if let Some(words) = stored.and_then(|t| Array::words(t)) {
            return Operand::Words(Rc::new(words));
        }
        let operand = match stored.map(|t| Array::from_tensor(t)) {
            Some(Ok(array)) => Operand::Constant(Rc::new(array)),
            Some(Err(finding)) => {
                self.findings.push(*finding);
                Operand::Unknown
            }
            None if self.scopes.len() > 1 => return self.missing(name),
            None => {
                let message = format!("initialiser {name:?} is sparse, expected a dense tensor");
                let finding = Diagnostic::new(Code::UnsupportedType, message);
                self.findings.push(finding.help("store it densely; zeros cost nothing here"));
                Operand::Unknown
            }
        };
        self.scopes[0].values.insert(name.to_owned(), operand.clone());
        operand
    }

    /// A name that a body reads and nothing defines.
    fn missing(&mut self, name: &str) -> Operand {
        let inside = self.inside.last().map(origin::Node::label).unwrap_or_default();
        let message = format!("value {name:?} inside {inside} is neither computed nor stored");
        let finding = Diagnostic::new(Code::MissingValue, message);
        self.findings.push(finding.help("export the model with its weights"));
        Operand::Unknown
    }

    /// The node as messages and origins name it: inside a body by the place of the outermost node.
    pub(super) fn place(&self, node: &Node) -> origin::Node {
        let mut place = origin_of(node);
        if let Some(outer) = self.inside.first() {
            place.index = outer.index;
        }
        place
    }

    /// The version of the node's domain: a function's own inside it.
    pub(super) fn opset(&self, node: &Node) -> Option<i64> {
        let function = self.scopes.iter().rev().find_map(|s| s.function.as_ref());
        match function {
            Some(opsets) => opsets.get(&node.domain).copied(),
            None => opset_of(self.model, node),
        }
    }

    fn report(&mut self, finding: Diagnostic, node: &Node) {
        let opset = self.opset(node).unwrap_or(0);
        let mut finding = pointed(finding, node).at(self.place(node), opset);
        if !self.inside.is_empty() {
            let path: Vec<String> = self.inside.iter().map(origin::Node::label).collect();
            finding = finding.note(format!("inside {}", path.join(", ")));
        }
        self.findings.push(finding);
    }

    pub(super) fn node(&mut self, node: &Node, ends: bool) {
        let operands: Vec<Option<Operand>> = node
            .inputs
            .iter()
            .map(|name| if name.is_empty() { None } else { Some(self.value(name)) })
            .collect();
        let results = if operands.iter().flatten().any(|o| matches!(o, Operand::Unknown)) {
            Vec::new()
        } else if let Some(results) = self.control(node, &operands) {
            results.unwrap_or_else(|f| self.refused(*f, node))
        } else if let Some(why) = left_out(&operands) {
            vec![Operand::LeftOut(why); node.outputs.len()]
        } else {
            match self.emit(node, operands, ends) {
                Ok(mut results) => {
                    results.resize(node.outputs.len(), Operand::LeftOut("an optional result"));
                    results
                }
                Err(finding) => self.refused(*finding, node),
            }
        };
        let results = results.into_iter().chain(std::iter::repeat(Operand::Unknown));
        for (name, result) in node.outputs.iter().zip(results) {
            if !name.is_empty() {
                self.define(name, result);
            }
        }
    }

    /// Keeps the element type of what a node stores, casts or passes on.
    fn note_type(&mut self, node: &Node) {
        let known = |name: &String| {
            let initialiser = self.initialisers.get(name.as_str()).map(|t| t.data_type());
            initialiser.or_else(|| self.types.get(name).copied())
        };
        let found = match node.op_type.as_str() {
            "Constant" | "ConstantOfShape" => {
                node.attributes.tensor("value").ok().flatten().map(Tensor::data_type)
            }
            "Cast" => {
                let to = node.attributes.int("to").ok().flatten();
                to.and_then(|to| i32::try_from(to).ok()).map(DataType::from_number)
            }
            "Identity" | "Reshape" | "Squeeze" | "Unsqueeze" | "QuantizeLinear" => {
                let from = if node.op_type == "QuantizeLinear" { 2 } else { 0 };
                node.inputs.get(from).and_then(known)
            }
            _ => None,
        };
        if let (Some(found), Some(name)) = (found, node.outputs.first()) {
            self.types.insert(name.clone(), found);
        }
    }

    /// Reports a node; it has no results.
    fn refused(&mut self, finding: Diagnostic, node: &Node) -> Vec<Operand> {
        self.report(finding, node);
        Vec::new()
    }

    /// Counts the entries of new matrices; whether all are too many.
    pub(super) fn is_over_budget(&mut self) -> bool {
        for (_, constant) in self.graph.consts.iter().skip(self.counted) {
            if let Constant::Matrix(matrix) = constant {
                self.non_zeros += matrix.nnz();
            }
            self.counted += 1;
        }
        self.non_zeros > MAX_TOTAL
    }

    /// Stops before the matrices of many nodes together exceed the memory of a machine.
    fn check_budget(&mut self, node: &Node) -> Result<(), Vec<Diagnostic>> {
        if !self.is_over_budget() {
            return Ok(());
        }
        let opset = opset_of(self.model, node).unwrap_or(0);
        let message = format!("up to here the matrices have more than {MAX_TOTAL} entries");
        let finding = Diagnostic::new(Code::UnsupportedMode, message).at(origin_of(node), opset);
        self.findings.push(finding.help("use a smaller input, fewer channels or larger strides"));
        Err(std::mem::take(&mut self.findings))
    }

    fn emit(&mut self, node: &Node, operands: Vec<Option<Operand>>, ends: bool) -> Emitted {
        let (domain, op) = (node.domain.as_str(), node.op_type.as_str());
        let Some(entry) = registry::find(domain, op) else {
            return Err(refused::not_imported(node));
        };
        let Some(opset) = self.opset(node) else {
            let message = format!("the model declares no opset for domain {domain:?}");
            let help = format!("declare one: onnx.helper.make_opsetid({domain:?}, VERSION)");
            return Err(context::fault_help(Code::OpsetOutOfRange, message, &help));
        };
        if !(entry.info.min_opset..=entry.info.max_opset).contains(&opset) {
            let info = &entry.info;
            let (min, max) = (info.min_opset, info.max_opset);
            let (message, help) = if opset < min {
                let message =
                    format!("{op} exists from opset {min} on, the model declares {opset}");
                (message, format!("export with opset >= {min}"))
            } else {
                let message = format!("{op} is read up to opset {max}, the model declares {opset}");
                (message, format!("export with opset <= {max}"))
            };
            return Err(context::fault_help(Code::BadNode, message, &help));
        }
        let encrypted = operands.iter().flatten().any(|o| matches!(o, Operand::Secret(_)));
        let origin = self.graph.origins.node(self.place(node));
        self.note_type(node);
        let stored = |name: &String| {
            let initialiser = self.initialisers.get(name.as_str()).map(|t| t.data_type());
            initialiser.or_else(|| self.types.get(name).copied())
        };
        let mut cx = NodeCx {
            node,
            opset,
            operands,
            data_types: node.inputs.iter().map(stored).collect(),
            graph: &mut self.graph,
            origin,
            notes: &mut self.notes,
            ends,
        };
        if ends && let Some(results) = tail::end(&mut cx, entry)? {
            return Ok(results);
        }
        let results = legacy::align(&mut cx).and_then(|()| constant::import(&mut cx, entry));
        match (results, refused::explain(node)) {
            (Err(_), Some(explained)) if encrypted => Err(explained),
            (results, _) => results,
        }
    }

    fn bind_outputs(&mut self) {
        let mut constant: Vec<String> = Vec::new();
        for output in &self.model.graph.outputs {
            let name = &output.name;
            let value = self.value(name);
            match self.typed(output, value) {
                Operand::Secret(x) => {
                    if !self.answer(name, Ending::of(&x)) {
                        self.graph.outputs.push((name.clone(), x.id));
                    }
                }
                Operand::Ending(ending) | Operand::Above { ending: Some(ending), .. } => {
                    let id = ending.scores.id;
                    if !self.answer(name, *ending) {
                        self.graph.outputs.push((name.clone(), id));
                    }
                }
                Operand::LeftOut(why) => {
                    self.notes.push(format!("output {name:?} is left out: it is {why}"));
                }
                Operand::Constant(_) | Operand::Words(_) => constant.push(name.clone()),
                Operand::Above { .. } => self.findings.push(
                    Diagnostic::new(
                        Code::UnsupportedMode,
                        format!("output {name:?} is a comparison of encrypted data"),
                    )
                    .help("leave out --encrypted-tail, or export what is compared instead"),
                ),
                Operand::Unknown => {}
            }
        }
        for name in constant {
            let message = format!("output {name:?} does not depend on any input");
            if self.graph.outputs.is_empty() {
                let help = "drop the output from the export";
                self.findings.push(Diagnostic::new(Code::NoInput, message).help(help));
            } else {
                self.notes.push(format!("{message}; it is left out"));
            }
        }
        if self.graph.outputs.is_empty() && self.findings.is_empty() {
            let message = "the model has no output that can be computed encrypted";
            let mut finding = Diagnostic::new(Code::NoInput, message)
                .help("export the scores that the outputs are made of");
            finding.notes.append(&mut self.notes);
            self.findings.push(finding);
        }
    }

    /// An output of whole numbers that is computed on real ones: the client rounds it.
    fn typed(&mut self, output: &ValueInfo, operand: Operand) -> Operand {
        let (Operand::Secret(x), ValueKind::Tensor { data_type, .. }) = (&operand, &output.kind)
        else {
            return operand;
        };
        let name = &output.name;
        match quantise::Range::of(*data_type) {
            Some(range) if range.whole && self.applies_tail => quantise::rounded(x, range),
            None if data_type.kind() != Kind::Int => operand,
            // Nothing rounds to these but a cast, which is refused where it is.
            Some(_) | None if WIDE.contains(data_type) => {
                self.notes.push(format!("output {name:?} of {data_type} is given as real numbers"));
                operand
            }
            _ => {
                let message = format!("output {name:?} is {data_type}, which is rounded");
                let help = "export a float output, or leave out --encrypted-tail";
                self.findings.push(Diagnostic::new(Code::UnsupportedType, message).help(help));
                Operand::Unknown
            }
        }
    }

    /// Notes an answer, from the output that holds its scores or else the next one; whether it is
    /// one that is there.
    fn answer(&mut self, name: &str, ending: Ending) -> bool {
        // Outputs have their own names only where no answer has steps.
        let stepped = self.answers.iter().any(|a| !a.steps.is_empty()) || !ending.steps.is_empty();
        let outputs = &self.graph.outputs;
        let known = outputs.iter().position(|o| o.1 == ending.scores.id && stepped);
        if !ending.steps.is_empty() {
            let steps: Vec<&str> = ending.steps.iter().map(Step::name).collect();
            let decided = if ending.steps.iter().any(Step::decides) {
                "; what lies within the plan's error of a tie or a threshold may go either way"
            } else {
                ""
            };
            self.notes
                .push(format!("output {name:?}: decrypt applies {}{decided}", steps.join(", ")));
        }
        let from = known.unwrap_or(outputs.len());
        let Ending { shape, steps, .. } = ending;
        self.answers.push(Answer { name: name.to_owned(), shape, from, steps });
        known.is_some()
    }

    fn finish(mut self) -> Result<Import, Vec<Diagnostic>> {
        if !self.findings.is_empty() {
            return Err(self.findings);
        }
        let (graph, unread) = sweep::sweep(self.graph);
        if let Some(finding) = left_mask(&graph) {
            return Err(vec![finding]);
        }
        let unread = unread.iter().map(|name| format!("input {name:?} is not read by any output"));
        self.notes.extend(unread);
        // Outputs that nothing is done to need no word about them.
        let answers =
            if self.answers.iter().all(|a| a.steps.is_empty()) { Vec::new() } else { self.answers };
        Ok(Import { graph, answers, notes: self.notes })
    }
}

/// The finding about a mask of minus infinity that no softmax took.
fn left_mask(graph: &Graph) -> Option<Diagnostic> {
    let infinite = |value: &&heplan_ir::tensor::Value| match &value.op {
        Op::Affine { bias: Some(b), .. } => graph.consts.vector(*b).iter().any(|v| v.is_infinite()),
        _ => false,
    };
    let value = graph.values.iter().find(infinite)?;
    let mut finding = Diagnostic::new(Code::BadTensor, "minus infinity is added to encrypted data")
        .help("as a mask it is accepted in front of a Softmax only");
    finding.node = graph.origins.nodes(value.origin).next().cloned();
    Some(finding)
}

/// The way out with the node's own name in it, where it says to replace the node.
fn pointed(mut finding: Diagnostic, node: &Node) -> Diagnostic {
    let by = finding.help.as_deref().and_then(|help| help.strip_prefix("replace it by "));
    if let Some(by) = by.filter(|_| !node.name.is_empty()) {
        finding.help = Some(format!("replace {} {:?} by {by}", node.op_type, node.name));
    }
    finding
}

/// Why a node is passed over: an operand of it was left out.
fn left_out(operands: &[Option<Operand>]) -> Option<&'static str> {
    operands.iter().flatten().find_map(|o| match o {
        Operand::LeftOut(why) => Some(*why),
        _ => None,
    })
}
