//! What became of every node of a file: accepted, refused, or not judged since what it reads was
//! refused.
//!
//! A node that was not judged may still have an operator that nothing here knows. Its owner wants
//! to hear of it at once and not after the first repair, so it is reported too.

use std::collections::BTreeSet;

use heplan_ir::diagnostic::Diagnostic;
use heplan_ir::origin;
use heplan_onnx::{ML_DOMAIN, Model, Node};

use super::{opset_of, origin_of, refused, registry};

/// What became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It has an encrypted form, or is computed while compiling.
    Accepted,
    /// A finding names it.
    Refused,
    /// It reads what a refused node writes.
    NotJudged,
}

/// A node of the file and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Surveyed {
    /// The node.
    pub node: origin::Node,
    /// What became of it.
    pub status: Status,
}

/// What became of every node, in the order of the file, and the findings of the import with those
/// about operators that were not reached.
pub fn survey(model: &Model, mut findings: Vec<Diagnostic>) -> (Vec<Surveyed>, Vec<Diagnostic>) {
    let named: BTreeSet<u32> =
        findings.iter().filter_map(|f| f.node.as_ref().map(|n| n.index)).collect();
    let mut unknown: BTreeSet<&str> = BTreeSet::new();
    let mut status = vec![Status::Accepted; model.graph.nodes.len()];
    // Files may be out of order, and are at most this deep.
    for _ in 0..model.graph.nodes.len() {
        let before = unknown.len();
        for (node, status) in model.graph.nodes.iter().zip(&mut status) {
            let index = origin_of(node).index;
            if named.contains(&index) {
                *status = Status::Refused;
            } else if node.inputs.iter().any(|name| unknown.contains(name.as_str())) {
                *status = Status::NotJudged;
            } else {
                continue;
            }
            unknown.extend(node.outputs.iter().filter(|n| !n.is_empty()).map(String::as_str));
        }
        if unknown.len() == before {
            break;
        }
    }
    let mut nodes = Vec::with_capacity(status.len());
    for (node, mut status) in model.graph.nodes.iter().zip(status) {
        if status == Status::NotJudged {
            let opset = opset_of(model, node).unwrap_or(0);
            if let Some(finding) = unknown_operator(node) {
                findings.push(finding.at(origin_of(node), opset));
                status = Status::Refused;
            }
        }
        nodes.push(Surveyed { node: origin_of(node), status });
    }
    (nodes, findings)
}

/// The finding about an operator that nothing here reads, whatever its operands are.
fn unknown_operator(node: &Node) -> Option<Diagnostic> {
    let (domain, op) = (node.domain.as_str(), node.op_type.as_str());
    if registry::find(domain, op).is_some() || !["", ML_DOMAIN].contains(&domain) {
        return None;
    }
    Some(*refused::not_imported(node))
}
