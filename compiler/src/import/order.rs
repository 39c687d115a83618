//! Names and order: every value is defined once and before it is read.
//!
//! ONNX asks for nodes in topological order; files are not trusted to keep to that.

use std::collections::{BTreeMap, BTreeSet};

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_onnx::{AttributeValue, Graph, Node};
use petgraph::algo::kosaraju_scc;
use petgraph::graph::DiGraph;

use super::origin_of;

/// The way out of what no sound exporter writes.
const AGAIN: &str = "export the model again; onnx.checker.check_model says whether a file is sound";

/// The nodes that some output needs, in an order in which operands come first; or everything that
/// is wrong with the names.
pub(super) fn order(
    graph: &Graph,
    opset: impl Fn(&Node) -> i64,
) -> Result<Vec<usize>, Vec<Diagnostic>> {
    let mut findings = Vec::new();
    let writers = writers(graph, &opset, &mut findings);
    let sources: BTreeSet<&str> = graph
        .inputs
        .iter()
        .map(|i| i.name.as_str())
        .chain(graph.initialisers.iter().map(|t| t.name()))
        .chain(graph.sparse_initialisers.iter().map(String::as_str))
        .collect();
    for output in &graph.outputs {
        if !writers.contains_key(output.name.as_str()) && !sources.contains(output.name.as_str()) {
            let message = format!("output {:?} is not computed by any node", output.name);
            findings.push(Diagnostic::new(Code::MissingValue, message).help(AGAIN));
        }
    }
    let needed = needed(graph, &writers);
    for node in graph.nodes.iter().filter(|n| needed.contains(&n.index)) {
        for name in node.inputs.iter().filter(|n| !n.is_empty()) {
            if !writers.contains_key(name.as_str()) && !sources.contains(name.as_str()) {
                let message = format!("input {name:?} is neither computed nor stored in the model");
                findings.push(
                    Diagnostic::new(Code::MissingValue, message)
                        .at(origin_of(node), opset(node))
                        .help("export the model with its weights"),
                );
            }
        }
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    let edges = edges(graph, &writers);
    sorted(graph.nodes.len(), &edges, &needed).ok_or_else(|| cycles(graph, &edges, &opset))
}

/// Which node writes each value; names that are written twice are reported.
fn writers<'a>(
    graph: &'a Graph,
    opset: &impl Fn(&Node) -> i64,
    findings: &mut Vec<Diagnostic>,
) -> BTreeMap<&'a str, usize> {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut twice = |name: &str, what: &str| {
        let message = format!("{what} {name:?} is defined twice");
        findings.push(Diagnostic::new(Code::DuplicateValue, message).help(AGAIN));
    };
    for tensor in &graph.initialisers {
        if !seen.insert(tensor.name()) {
            twice(tensor.name(), "initialiser");
        }
    }
    let mut inputs = BTreeSet::new();
    for input in &graph.inputs {
        if !inputs.insert(input.name.as_str()) {
            twice(&input.name, "input");
        }
    }
    let mut outputs = BTreeSet::new();
    for output in &graph.outputs {
        if !outputs.insert(output.name.as_str()) {
            twice(&output.name, "output");
        }
    }
    seen.extend(inputs);
    let mut writers = BTreeMap::new();
    for node in &graph.nodes {
        for name in node.outputs.iter().filter(|n| !n.is_empty()) {
            if !seen.insert(name) {
                let message = format!("value {name:?} is defined twice");
                findings.push(
                    Diagnostic::new(Code::DuplicateValue, message)
                        .at(origin_of(node), opset(node))
                        .help(AGAIN),
                );
            }
            writers.insert(name.as_str(), node.index);
        }
    }
    writers
}

/// The nodes that an output depends on.
fn needed(graph: &Graph, writers: &BTreeMap<&str, usize>) -> BTreeSet<usize> {
    let mut needed = BTreeSet::new();
    let writer = |name: &String| writers.get(name.as_str()).copied();
    let mut open: Vec<usize> = graph.outputs.iter().filter_map(|o| writer(&o.name)).collect();
    while let Some(index) = open.pop() {
        if needed.insert(index) {
            let reads = reads(&graph.nodes[index]);
            open.extend(reads.iter().filter_map(|name| writers.get(name).copied()));
        }
    }
    needed
}

/// The names that a node reads, those that its bodies may take from around them included.
pub(super) fn reads(node: &Node) -> Vec<&str> {
    let mut names: Vec<&str> = node.inputs.iter().map(String::as_str).collect();
    for (_, value) in node.attributes.iter() {
        if let AttributeValue::Graph(body) = value {
            names.extend(body.nodes.iter().flat_map(reads));
            names.extend(body.outputs.iter().map(|o| o.name.as_str()));
        }
    }
    names
}

/// From the writer of a value to its reader.
fn edges(graph: &Graph, writers: &BTreeMap<&str, usize>) -> BTreeSet<(usize, usize)> {
    let of = |node: &Node| {
        let from = reads(node).into_iter().filter_map(|name| writers.get(name).copied());
        from.map(|w| (w, node.index)).collect::<Vec<_>>()
    };
    graph.nodes.iter().flat_map(of).collect()
}

/// The topological order that keeps closest to the file; `None` if there is a cycle.
fn sorted(
    count: usize,
    edges: &BTreeSet<(usize, usize)>,
    needed: &BTreeSet<usize>,
) -> Option<Vec<usize>> {
    let mut readers = vec![Vec::new(); count];
    let mut waits_for = vec![0_usize; count];
    for &(from, to) in edges {
        readers[from].push(to);
        waits_for[to] += 1;
    }
    let mut ready: BTreeSet<usize> = (0..count).filter(|&n| waits_for[n] == 0).collect();
    let mut order = Vec::with_capacity(count);
    while let Some(node) = ready.pop_first() {
        order.push(node);
        for &reader in &readers[node] {
            waits_for[reader] -= 1;
            if waits_for[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
    (order.len() == count).then(|| order.into_iter().filter(|n| needed.contains(n)).collect())
}

/// One report per cycle, with the nodes on it.
fn cycles(
    graph: &Graph,
    edges: &BTreeSet<(usize, usize)>,
    opset: &impl Fn(&Node) -> i64,
) -> Vec<Diagnostic> {
    let mut digraph: DiGraph<usize, ()> = DiGraph::new();
    let ids: Vec<_> = (0..graph.nodes.len()).map(|n| digraph.add_node(n)).collect();
    for &(from, to) in edges {
        digraph.add_edge(ids[from], ids[to], ());
    }
    let mut components: Vec<Vec<usize>> = kosaraju_scc(&digraph)
        .into_iter()
        .map(|component| component.into_iter().map(|id| digraph[id]).collect::<Vec<usize>>())
        .filter(|c| c.len() > 1 || c.iter().any(|&n| edges.contains(&(n, n))))
        .collect();
    components.iter_mut().for_each(|c| c.sort_unstable());
    components.sort();
    let report = |component: Vec<usize>| {
        let labels: Vec<String> =
            component.iter().map(|&n| origin_of(&graph.nodes[n]).label()).collect();
        let first = &graph.nodes[component[0]];
        Diagnostic::new(Code::Cycle, "the node depends on its own result")
            .at(origin_of(first), opset(first))
            .note(format!("on the cycle: {}", labels.join(", ")))
            .help("export the model again; ONNX graphs have no cycles")
    };
    components.into_iter().map(report).collect()
}
