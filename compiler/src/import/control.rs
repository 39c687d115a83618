//! `If`, `Loop`, `Scan` and the functions that a model defines for itself: their bodies are
//! imported in place, as often as they run.
//!
//! What runs must be known while compiling: conditions and trip counts are constants when they are
//! reached. Names of a body are looked up in it, then in the graphs around it; a function sees its
//! own names only. How often bodies run, and how deep they nest, is bounded, since files are not
//! trusted.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use heplan_ir::diagnostic::Code;
use heplan_onnx::{AttributeValue, Attributes, Function, Graph, Node};

use super::array::{Array, Data, axis};
use super::compose::{int, integers};
use super::context::{Emitted, Fault, NodeCx, Operand, fault, fault_help};
use super::driver::Driver;
use super::order::reads;
use super::{origin_of, registry};

/// The most times that a body may run; no ring carries that many steps.
const MAX_TRIPS: usize = 1 << 14;
/// The most nodes that all bodies together may run.
const MAX_NODES: usize = 1 << 17;
/// The deepest nesting of bodies and calls.
const MAX_NESTING: usize = 32;

/// Names with what they stand for.
#[derive(Debug, Default)]
pub(super) struct Scope {
    pub(super) values: BTreeMap<String, Operand>,
    /// The operator sets of a function, which sees no names around it.
    pub(super) function: Option<BTreeMap<String, i64>>,
}

/// `If`, `Loop` and `Scan` are imported by the driver; this stands in the table for them.
pub(super) fn only_by_the_driver(cx: &mut NodeCx<'_>) -> Emitted {
    Err(fault(Code::BadNode, format!("{} stands where only operators may", cx.node.op_type)))
}

impl Driver<'_> {
    /// The results of a node that has bodies or is a call; `None` for every other node.
    pub(super) fn control(&mut self, node: &Node, operands: &[Option<Operand>]) -> Option<Emitted> {
        let (domain, op) = (node.domain.as_str(), node.op_type.as_str());
        let results = match (domain, op) {
            ("", "If") => self.branch(node, operands),
            ("", "Loop") => self.repeat(node, operands),
            ("", "Scan") => self.scan(node, operands),
            ("", "DynamicQuantizeLinear") => self.dynamically_quantised(node, operands),
            _ if registry::find(domain, op).is_some() => return None,
            _ => {
                let model = self.model;
                let wanted = |f: &&Function| f.domain == domain && f.name == op;
                let function = model.functions.iter().find(wanted)?;
                self.call(function, node, operands)
            }
        };
        Some(results)
    }

    fn branch(&mut self, node: &Node, operands: &[Option<Operand>]) -> Emitted {
        let condition = truth(operands.first(), "its condition")?;
        let name = if condition { "then_branch" } else { "else_branch" };
        let body = body(node, name)?;
        let constants = constants(body)?;
        self.run(node, body, constants)
    }

    fn repeat(&mut self, node: &Node, operands: &[Option<Operand>]) -> Emitted {
        let body = body(node, "body")?;
        let most = match operands.first() {
            Some(Some(given)) => usize::try_from(whole(given, "its trip count")?).unwrap_or(0),
            _ => usize::MAX,
        };
        let mut goes_on = match operands.get(1) {
            Some(Some(_)) => truth(operands.get(1), "its condition")?,
            _ => true,
        };
        let mut carried: Vec<Operand> = operands.iter().skip(2).flatten().cloned().collect();
        let count = carried.len();
        if body.inputs.len() != count + 2 || body.outputs.len() < count + 1 {
            return Err(fault(
                Code::BadNode,
                "its body has not the inputs and outputs that it names",
            ));
        }
        let constants = constants(body)?;
        let mut stacks: Vec<Vec<Operand>> = vec![Vec::new(); body.outputs.len() - count - 1];
        let mut trip = 0;
        while goes_on && trip < most {
            check_trips(trip + 1)?;
            let number = Array { shape: Vec::new(), data: Data::Int(vec![trip as i64]) };
            let truth_in = Array { shape: Vec::new(), data: Data::Bool(vec![true]) };
            let given = [number, truth_in].map(|a| Operand::Constant(Rc::new(a)));
            let names = body.inputs.iter().map(|i| i.name.clone());
            let bound = names.zip(given.into_iter().chain(carried.clone()));
            let mut results =
                self.run(node, body, constants.iter().cloned().chain(bound).collect())?;
            if results.iter().any(|r| matches!(r, Operand::Unknown)) {
                return Ok(vec![Operand::Unknown; node.outputs.len()]);
            }
            goes_on =
                truth(Some(&Some(results.remove(0))), "the condition that its body computes")?;
            let rest = results.split_off(count);
            carried = results;
            stacks.iter_mut().zip(rest).for_each(|(stack, r)| stack.push(r));
            trip += 1;
        }
        for stack in stacks {
            carried.push(self.part_of(node, |cx| stacked(cx, &stack, 0))?);
        }
        Ok(carried)
    }

    fn scan(&mut self, node: &Node, operands: &[Option<Operand>]) -> Emitted {
        let body = body(node, "body")?;
        if self.opset(node).is_some_and(|opset| opset < 9) {
            let message = "a Scan of opset 8, which has a batch axis of its own";
            return Err(fault_help(Code::UnsupportedMode, message, "export with opset >= 9"));
        }
        let plan = self.part_of(node, |cx| ScanPlan::of(cx, body, operands))?;
        let constants = constants(body)?;
        let operands: Vec<Operand> = operands.iter().flatten().cloned().collect();
        let (states, scanned) = operands.split_at(plan.states);
        let mut states = states.to_vec();
        let mut stacks: Vec<Vec<Operand>> = vec![Vec::new(); plan.outputs.len()];
        for step in 0..plan.length {
            check_trips(step + 1)?;
            let mut bound = states.clone();
            for (x, &(along, reverse)) in scanned.iter().zip(&plan.inputs) {
                let at = if reverse { plan.length - 1 - step } else { step };
                bound.push(self.part_of(node, |cx| {
                    let place = Array { shape: Vec::new(), data: Data::Int(vec![at as i64]) };
                    let place = Operand::Constant(Rc::new(place));
                    cx.part("Gather", &[x, &place], &[("axis", int(along as i64))])
                })?);
            }
            let names = body.inputs.iter().map(|i| i.name.clone());
            let bound = constants.iter().cloned().chain(names.zip(bound)).collect();
            let mut results = self.run(node, body, bound)?;
            if results.iter().any(|r| matches!(r, Operand::Unknown)) {
                return Ok(vec![Operand::Unknown; node.outputs.len()]);
            }
            let rest = results.split_off(plan.states);
            states = results;
            stacks.iter_mut().zip(rest).for_each(|(stack, r)| stack.push(r));
        }
        for (mut stack, &(along, reverse)) in stacks.into_iter().zip(&plan.outputs) {
            if reverse {
                stack.reverse();
            }
            states.push(self.part_of(node, |cx| stacked(cx, &stack, along))?);
        }
        Ok(states)
    }

    /// `DynamicQuantizeLinear`: its scale depends on data, so that its results mean something
    /// together only. Where they are only dequantised again, they are the data itself.
    fn dynamically_quantised(&self, node: &Node, operands: &[Option<Operand>]) -> Emitted {
        let graph = &self.model.graph;
        let only = |result: usize, allowed: &[&str]| {
            let Some(name) = node.outputs.get(result).filter(|n| !n.is_empty()) else {
                return true;
            };
            let reads_it = |n: &&Node| reads(n).contains(&name.as_str());
            let mut readers = graph.nodes.iter().filter(reads_it);
            readers.all(|n| allowed.contains(&n.op_type.as_str()))
                && graph.outputs.iter().all(|o| o.name != *name)
        };
        const TAKE: [&str; 3] = ["ConvInteger", "DequantizeLinear", "MatMulInteger"];
        let paired = self.inside.is_empty()
            && only(0, &TAKE)
            && only(1, &["DequantizeLinear", "Mul"])
            && only(2, &TAKE);
        match operands.first() {
            Some(Some(x @ Operand::Secret(_))) if paired => Ok(super::quantise::dynamic(x)),
            _ => Err(fault_help(
                Code::UnsupportedMode,
                "its results do more than dequantise again, and its scale depends on data",
                "quantise statically, or export the float model",
            )),
        }
    }

    /// The results of a function: its nodes with the call's attributes and operands.
    fn call(&mut self, function: &Function, node: &Node, operands: &[Option<Operand>]) -> Emitted {
        let nodes: Vec<Node> =
            function.nodes.iter().map(|n| substituted(n, node, &function.defaults)).collect();
        let given = operands.iter().map(|o| o.clone().unwrap_or(Operand::LeftOut("left out")));
        let given = given.chain(std::iter::repeat(Operand::LeftOut("left out")));
        // An operand that the call leaves out is as if its name were empty.
        let left: BTreeSet<&str> = function
            .inputs
            .iter()
            .enumerate()
            .filter(|(i, _)| operands.get(*i).is_none_or(Option::is_none))
            .map(|(_, name)| name.as_str())
            .collect();
        let mut nodes = nodes;
        for name in nodes.iter_mut().flat_map(|n| &mut n.inputs) {
            if left.contains(name.as_str()) {
                name.clear();
            }
        }
        let values = function.inputs.iter().cloned().zip(given).collect();
        let opsets = if function.opsets.is_empty() {
            self.model.opsets.clone()
        } else {
            function.opsets.clone()
        };
        let scope = Scope { values, function: Some(opsets) };
        self.within(node, scope, &nodes, &function.outputs)
    }

    /// The outputs of a body on these values.
    fn run(&mut self, node: &Node, body: &Graph, values: Vec<(String, Operand)>) -> Emitted {
        let outputs: Vec<String> = body.outputs.iter().map(|o| o.name.clone()).collect();
        let scope = Scope { values: values.into_iter().collect(), function: None };
        self.within(node, scope, &body.nodes, &outputs)
    }

    /// Imports nodes in a scope of their own; what `outputs` stand for in it.
    fn within(&mut self, node: &Node, scope: Scope, nodes: &[Node], outputs: &[String]) -> Emitted {
        if self.inside.len() >= MAX_NESTING {
            let message = format!("bodies nest deeper than {MAX_NESTING}");
            return Err(fault(Code::UnsupportedMode, message));
        }
        self.inside.push(origin_of(node));
        self.scopes.push(scope);
        let done = self.nodes_within(nodes, outputs);
        let results = done.map(|()| outputs.iter().map(|name| self.value(name)).collect());
        self.scopes.pop();
        self.inside.pop();
        results
    }

    fn nodes_within(&mut self, nodes: &[Node], outputs: &[String]) -> Result<(), Fault> {
        let mut needed: BTreeSet<&str> = outputs.iter().map(String::as_str).collect();
        let mut runs = vec![false; nodes.len()];
        for (node, runs) in nodes.iter().zip(&mut runs).rev() {
            *runs = node.outputs.iter().any(|name| needed.contains(name.as_str()));
            if *runs {
                needed.extend(reads(node));
            }
        }
        for (inner, _) in nodes.iter().zip(runs).filter(|(_, runs)| *runs) {
            self.executed += 1;
            if self.executed > MAX_NODES || self.is_over_budget() {
                let message = format!(
                    "its bodies run more than {MAX_NODES} nodes, or have larger matrices than fit"
                );
                return Err(fault(Code::UnsupportedMode, message));
            }
            self.node(inner, false);
        }
        Ok(())
    }

    /// Parts of a node as [`NodeCx`] imports them.
    fn part_of<R>(
        &mut self,
        node: &Node,
        work: impl FnOnce(&mut NodeCx<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let opset = self.opset(node).unwrap_or(0);
        let origin = self.graph.origins.node(self.place(node));
        work(&mut NodeCx {
            node,
            opset,
            operands: Vec::new(),
            data_types: Vec::new(),
            graph: &mut self.graph,
            origin,
            notes: &mut self.notes,
            ends: false,
        })
    }
}

/// How a `Scan` goes over its operands.
struct ScanPlan {
    states: usize,
    length: usize,
    /// Axis and whether from the back, for every scanned operand.
    inputs: Vec<(usize, bool)>,
    /// The same for every stacked result.
    outputs: Vec<(i64, bool)>,
}

impl ScanPlan {
    fn of(cx: &NodeCx<'_>, body: &Graph, operands: &[Option<Operand>]) -> Result<Self, Fault> {
        let scanned = usize::try_from(cx.attr_int("num_scan_inputs", 0)?).unwrap_or(0);
        let states = operands.len().checked_sub(scanned).filter(|_| scanned > 0);
        let given: Vec<&Operand> = operands.iter().flatten().collect();
        let fits = |states: &usize| {
            body.inputs.len() == operands.len()
                && given.len() == operands.len()
                && body.outputs.len() >= *states
        };
        let states = states.filter(fits).ok_or_else(|| {
            fault(Code::BadNode, "its body has not the inputs and outputs that it names")
        })?;
        let list = |name: &str, count: usize| -> Result<Vec<i64>, Fault> {
            let list = cx.attr_ints(name)?.unwrap_or_else(|| vec![0; count]);
            if list.len() == count {
                return Ok(list);
            }
            Err(fault(Code::BadNode, format!("{name} has {} numbers, not {count}", list.len())))
        };
        let axes = list("scan_input_axes", scanned)?;
        let turns = list("scan_input_directions", scanned)?;
        let mut inputs = Vec::new();
        let mut length = None;
        for (i, x) in given[states..].iter().enumerate() {
            let shape = cx.shape_of(x)?;
            let along = axis(axes[i], shape.len())?;
            if length.is_some_and(|l| l != shape[along]) {
                return Err(fault(Code::ShapeMismatch, "what is scanned has several lengths"));
            }
            length = Some(shape[along]);
            inputs.push((along, turns[i] != 0));
        }
        let stacked = body.outputs.len() - states;
        let outputs = list("scan_output_axes", stacked)?
            .into_iter()
            .zip(list("scan_output_directions", stacked)?)
            .map(|(along, turn)| (along, turn != 0))
            .collect();
        Ok(Self { states, length: length.unwrap_or(0), inputs, outputs })
    }
}

/// A body of a node.
fn body<'n>(node: &'n Node, name: &str) -> Result<&'n Graph, Fault> {
    let body = node.attributes.graph(name).map_err(|e| fault(Code::BadNode, e.to_string()))?;
    body.ok_or_else(|| fault(Code::BadNode, format!("attribute {name:?} is missing")))
}

/// The initialisers of a body.
fn constants(body: &Graph) -> Result<Vec<(String, Operand)>, Fault> {
    if let Some(name) = body.sparse_initialisers.first() {
        let message = format!("initialiser {name:?} is sparse, which is not supported");
        return Err(fault(Code::UnsupportedType, message));
    }
    let constant = |t: &heplan_onnx::Tensor| {
        Ok((t.name().to_owned(), Operand::Constant(Rc::new(Array::from_tensor(t)?))))
    };
    body.initialisers.iter().map(constant).collect()
}

/// The one truth value of a constant.
fn truth(operand: Option<&Option<Operand>>, what: &str) -> Result<bool, Fault> {
    match operand {
        Some(Some(Operand::Constant(c))) => match &c.data {
            Data::Bool(v) if v.len() == 1 => Ok(v[0]),
            other => {
                let message =
                    format!("{what} is {} of {}, expected one bool", other.kind(), other.len());
                Err(fault(Code::BadNode, message))
            }
        },
        Some(Some(_)) => Err(depends(what)),
        _ => Err(fault(Code::BadNode, format!("{what} is missing"))),
    }
}

/// The one integer of a constant.
fn whole(operand: &Operand, what: &str) -> Result<i64, Fault> {
    match operand {
        Operand::Constant(c) => match &c.data {
            Data::Int(v) if v.len() == 1 => Ok(v[0]),
            _ => Err(fault(Code::BadNode, format!("{what} is not one integer"))),
        },
        _ => Err(depends(what)),
    }
}

fn depends(what: &str) -> Fault {
    fault_help(
        Code::UnsupportedMode,
        format!("{what} depends on encrypted data"),
        "export with the condition fixed, or compute both sides and choose with a smooth function",
    )
}

fn check_trips(trips: usize) -> Result<(), Fault> {
    if trips <= MAX_TRIPS {
        return Ok(());
    }
    let message = format!("its body runs more than {MAX_TRIPS} times");
    let help =
        format!("export with at most {MAX_TRIPS} steps: a shorter sequence, by --dim NAME=N");
    Err(fault_help(Code::UnsupportedMode, message, &help))
}

/// Results of all steps along a new axis.
fn stacked(cx: &mut NodeCx<'_>, parts: &[Operand], along: i64) -> Result<Operand, Fault> {
    let Some(first) = parts.first() else {
        return Ok(Operand::LeftOut("a stack of no steps"));
    };
    let rank = cx.shape_of(first)?.len();
    let along = axis(along, rank + 1)? as i64;
    let mut rows = Vec::with_capacity(parts.len());
    for part in parts {
        rows.push(cx.part("Unsqueeze", &[part, &integers(&[along])], &[])?);
    }
    cx.part("Concat", &rows.iter().collect::<Vec<_>>(), &[("axis", int(along))])
}

/// A node of a function with the attributes of the call in it.
fn substituted(node: &Node, call: &Node, defaults: &Attributes) -> Node {
    let mut node = node.clone();
    let value = |(name, value): (&str, &AttributeValue)| {
        let value = match value {
            AttributeValue::Reference(wanted) => {
                call.attributes.get(wanted).or_else(|| defaults.get(wanted))?.clone()
            }
            AttributeValue::Graph(body) => {
                let mut body = body.clone();
                body.nodes = body.nodes.iter().map(|n| substituted(n, call, defaults)).collect();
                AttributeValue::Graph(body)
            }
            other => other.clone(),
        };
        Some((name.to_owned(), value))
    };
    node.attributes = node.attributes.iter().filter_map(value).collect();
    node
}
