//! From ONNX to [`tensor::Graph`](heplan_ir::tensor::Graph).
//!
//! Everything linear becomes `Affine`, every univariate function a `Function`, every product of
//! two encrypted tensors a `Product`; what depends on no input is computed while importing and
//! disappears. Each operator is one function in the file of its theme and one line in
//! [`registry`]; activations that exporters write as several operators are recognised in
//! `patterns`.
//!
//! All findings are reported together: the results of a node with a finding are unknown, and what
//! depends on them is passed over in silence.
//!
//! The importer must not approximate, choose layouts, or change a name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use heplan_ir::constants::Constant;
use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::origin;
use heplan_ir::tail::{Answer, Step};
use heplan_ir::tensor::{Graph, Op};
use heplan_onnx::{ML_DOMAIN, Model, Node, OnnxError, TensorError};

use array::Array;
use context::{Emitted, NodeCx, Operand, Secret};
use control::Scope;
use tail::Ending;

mod activation;
mod array;
mod attention;
mod bind;
mod choice;
mod compose;
mod context;
mod control;
mod conv;
mod einsum;
mod elementwise;
mod extremum;
mod fold;
mod legacy;
mod loss;
mod matmul;
mod ml;
mod norm;
mod order;
mod pad;
mod patterns;
mod places;
mod pool;
mod recurrent;
mod reduce;
mod refused;
pub mod registry;
mod resize;
mod sample;
mod select;
mod shape;
mod softmax;
mod statistics;
mod survey;
mod sweep;
mod tail;
mod window;

pub use registry::{OperatorInfo, operator_table, operators};
pub use survey::{Status, Surveyed, survey};

/// What the caller decides about an import.
#[derive(Clone, Debug)]
pub struct Options {
    /// The graph's name in texts, usually the stem of the file.
    pub name: String,
    /// Lengths for symbolic axes by name. An open first axis is the batch and is 1 by itself.
    pub dimensions: BTreeMap<String, usize>,
    /// Whether what the client could compute at the end is computed on ciphertexts all the same.
    pub encrypted_tail: bool,
}

/// An imported model.
#[derive(Clone, Debug)]
pub struct Import {
    /// What is computed on ciphertexts.
    pub graph: Graph,
    /// What the client makes of the graph's outputs; empty where they are the model's.
    pub answers: Vec<Answer>,
    /// What a user should know and need not mend, one line each.
    pub notes: Vec<String>,
}

/// Reads and imports a model file, all of it for ciphertexts; its stem is the graph's name.
///
/// # Errors
/// Every finding, in the order of the file.
pub fn import_file(
    path: &Path,
    dimensions: &BTreeMap<String, usize>,
) -> Result<Import, Vec<Diagnostic>> {
    import_file_with(path, dimensions, true)
}

/// Reads and imports a model file as [`import_file`]; unless `encrypted_tail`, the client computes
/// what it can at the end.
///
/// # Errors
/// Every finding, in the order of the file.
pub fn import_file_with(
    path: &Path,
    dimensions: &BTreeMap<String, usize>,
    encrypted_tail: bool,
) -> Result<Import, Vec<Diagnostic>> {
    let model = Model::read(path).map_err(|e| vec![diagnose(&e)])?;
    let name = path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    import(&model, &Options { name, dimensions: dimensions.clone(), encrypted_tail })
}

/// Imports a model.
///
/// # Errors
/// Every finding, in the order of the file.
pub fn import(model: &Model, options: &Options) -> Result<Import, Vec<Diagnostic>> {
    let order = order::order(&model.graph, |node| opset_of(model, node).unwrap_or(0))?;
    if options.encrypted_tail {
        return attempt(model, options, &order, BTreeSet::new());
    }
    let ends = tail::at_the_end(model, &order);
    // An end that the client cannot compute may still have an encrypted form.
    attempt(model, options, &order, ends)
        .or_else(|findings| attempt(model, options, &order, BTreeSet::new()).map_err(|_| findings))
}

/// Imports a model whose nodes `ends` the client may compute.
fn attempt(
    model: &Model,
    options: &Options,
    order: &[usize],
    ends: BTreeSet<usize>,
) -> Result<Import, Vec<Diagnostic>> {
    let mut driver = Driver {
        model,
        graph: Graph { name: options.name.clone(), ..Graph::default() },
        scopes: vec![Scope::default()],
        inside: Vec::new(),
        executed: 0,
        initialisers: model.graph.initialisers.iter().map(|t| (t.name(), t)).collect(),
        ends,
        answers: Vec::new(),
        notes: Vec::new(),
        findings: Vec::new(),
        non_zeros: 0,
        counted: 0,
    };
    driver.bind_inputs(&options.dimensions);
    for &index in order {
        let ends = driver.ends.contains(&index);
        driver.node(&model.graph.nodes[index], ends);
        driver.check_budget(&model.graph.nodes[index])?;
    }
    driver.bind_outputs();
    driver.finish()
}

/// The finding that a file which cannot be read stands for.
pub fn diagnose(error: &OnnxError) -> Diagnostic {
    let code = match error {
        OnnxError::IrVersion { .. } | OnnxError::Opset { .. } | OnnxError::OpsetConflict { .. } => {
            Code::OpsetOutOfRange
        }
        OnnxError::Tensor { source: TensorError::External(_), .. } => Code::ExternalData,
        OnnxError::Tensor { .. } => Code::BadTensor,
        OnnxError::Attribute { .. } => Code::BadNode,
        _ => Code::NotOnnx,
    };
    Diagnostic::new(code, error.to_string()).help(match code {
        Code::OpsetOutOfRange => "export with opset >= 13, and a current version of the exporter",
        Code::ExternalData => {
            "put the data files that the exporter wrote beside the model, under their own names"
        }
        Code::BadTensor | Code::BadNode => {
            "export the model again; onnx.checker.check_model says whether a file is sound"
        }
        _ => "give the .onnx file that the exporter wrote, whole",
    })
}

/// The node as messages and origins name it.
fn origin_of(node: &Node) -> origin::Node {
    let op = if node.domain.is_empty() {
        node.op_type.clone()
    } else {
        format!("{}.{}", node.domain, node.op_type)
    };
    let index = u32::try_from(node.index).expect("a file has fewer than 2^32 nodes");
    origin::Node { index, name: node.name.clone(), op }
}

/// The version of the node's domain. Exporters may leave out the default domain where only others
/// are used.
fn opset_of(model: &Model, node: &Node) -> Option<i64> {
    model.opset(&node.domain)
}

/// The most entries that all matrices of a graph may have together, 12 bytes each.
const MAX_TOTAL: usize = 1 << 28;

struct Driver<'a> {
    model: &'a Model,
    graph: Graph,
    /// The names of the graph, then those of the bodies around the node at hand.
    scopes: Vec<Scope>,
    /// The nodes whose bodies the node at hand is in, from the outermost.
    inside: Vec<origin::Node>,
    /// Nodes that bodies have run.
    executed: usize,
    initialisers: BTreeMap<&'a str, &'a heplan_onnx::Tensor>,
    /// Positions of the nodes that the client may compute.
    ends: BTreeSet<usize>,
    answers: Vec<Answer>,
    notes: Vec<String>,
    findings: Vec<Diagnostic>,
    /// Entries of the matrices among the first `counted` constants.
    non_zeros: usize,
    counted: usize,
}

impl Driver<'_> {
    fn bind_inputs(&mut self, dimensions: &BTreeMap<String, usize>) {
        let mut count = 0;
        for input in self.model.graph.data_inputs() {
            count += 1;
            let operand = match bind::bind(input, dimensions) {
                Ok(shape) => {
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

    fn define(&mut self, name: &str, operand: Operand) {
        let scope = self.scopes.last_mut().expect("the graph's own scope stays");
        scope.values.insert(name.to_owned(), operand);
    }

    /// What a name stands for in the innermost scope that has it; weights of the graph are decoded
    /// when they are first read.
    fn value(&mut self, name: &str) -> Operand {
        for scope in self.scopes.iter().rev() {
            if let Some(operand) = scope.values.get(name) {
                return operand.clone();
            }
            if scope.function.is_some() {
                return self.missing(name);
            }
        }
        let operand = match self.initialisers.get(name).map(|t| Array::from_tensor(t)) {
            Some(Ok(array)) => Operand::Constant(Rc::new(array)),
            Some(Err(finding)) => {
                self.findings.push(*finding);
                Operand::Unknown
            }
            None if self.scopes.len() > 1 => return self.missing(name),
            None => {
                let message = format!("initialiser {name:?} is sparse, which is not supported");
                self.findings.push(Diagnostic::new(Code::UnsupportedType, message));
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
    fn place(&self, node: &Node) -> origin::Node {
        let mut place = origin_of(node);
        if let Some(outer) = self.inside.first() {
            place.index = outer.index;
        }
        place
    }

    /// The version of the node's domain: a function's own inside it.
    fn opset(&self, node: &Node) -> Option<i64> {
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

    fn node(&mut self, node: &Node, ends: bool) {
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

    /// Reports a node; it has no results.
    fn refused(&mut self, finding: Diagnostic, node: &Node) -> Vec<Operand> {
        self.report(finding, node);
        Vec::new()
    }

    /// Counts the entries of new matrices; whether all are too many.
    fn is_over_budget(&mut self) -> bool {
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
        self.findings
            .push(Diagnostic::new(Code::UnsupportedMode, message).at(origin_of(node), opset));
        Err(std::mem::take(&mut self.findings))
    }

    fn emit(&mut self, node: &Node, operands: Vec<Option<Operand>>, ends: bool) -> Emitted {
        let (domain, op) = (node.domain.as_str(), node.op_type.as_str());
        let Some(entry) = registry::find(domain, op) else {
            return Err(Self::not_imported(node));
        };
        let Some(opset) = self.opset(node) else {
            let message = format!("the model declares no opset for domain {domain:?}");
            return Err(context::fault(Code::OpsetOutOfRange, message));
        };
        if !(entry.info.min_opset..=entry.info.max_opset).contains(&opset) {
            let message = format!("{op} exists from opset {} on", entry.info.min_opset);
            return Err(context::fault(Code::BadNode, message));
        }
        let encrypted = operands.iter().flatten().any(|o| matches!(o, Operand::Secret(_)));
        let origin = self.graph.origins.node(self.place(node));
        let stored = |name: &String| self.initialisers.get(name.as_str()).map(|t| t.data_type());
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
        let results = legacy::align(&mut cx).and_then(|()| (entry.import)(&mut cx));
        match (results, refused::explain(op)) {
            (Err(_), Some(explained)) if encrypted => Err(explained),
            (results, _) => results,
        }
    }

    fn not_imported(node: &Node) -> context::Fault {
        let (domain, op) = (&node.domain, &node.op_type);
        if !domain.is_empty() && domain != ML_DOMAIN {
            return context::fault_help(
                Code::UnknownOperator,
                format!("domain {domain:?} of operator {op} is not known"),
                "export with the operators of ai.onnx and ai.onnx.ml only",
            );
        }
        refused::explain(op).unwrap_or_else(|| {
            context::fault_help(
                Code::UnknownOperator,
                format!("operator {op} is not imported"),
                "express it by operators of the README's table",
            )
        })
    }

    fn bind_outputs(&mut self) {
        let mut constant: Vec<String> = Vec::new();
        for output in &self.model.graph.outputs {
            let name = &output.name;
            match self.value(name) {
                Operand::Secret(x) => {
                    self.answer(name, Ending::of(&x));
                    self.graph.outputs.push((name.clone(), x.id));
                }
                Operand::Ending(ending) | Operand::Above { ending: Some(ending), .. } => {
                    let id = ending.scores.id;
                    self.answer(name, *ending);
                    if self.graph.outputs.iter().all(|o| o.1 != id) {
                        self.graph.outputs.push((name.clone(), id));
                    }
                }
                Operand::LeftOut(why) => {
                    self.notes.push(format!("output {name:?} is left out: it is {why}"));
                }
                Operand::Constant(_) => constant.push(name.clone()),
                Operand::Above { .. } => self.findings.push(Diagnostic::new(
                    Code::UnsupportedMode,
                    format!("output {name:?} is a comparison of encrypted data"),
                )),
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
            self.findings.push(Diagnostic::new(Code::NoInput, message));
        }
    }

    /// Notes an answer, from the output that holds its scores or else the next one.
    fn answer(&mut self, name: &str, ending: Ending) {
        let outputs = &self.graph.outputs;
        let known =
            outputs.iter().position(|o| o.1 == ending.scores.id && !ending.steps.is_empty());
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
