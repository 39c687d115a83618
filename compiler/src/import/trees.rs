//! Ensembles of decision trees: what they would cost, for their refusal.
//!
//! Every branch compares a feature with a threshold. A comparison jumps, and a polynomial follows a
//! jump only outside a gap around it; so no error bound holds for data that may lie anywhere.

use std::collections::{BTreeMap, BTreeSet};

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_onnx::{AttributeError, Node};

use super::context::Fault;

/// The trees as branches: which nodes branch to which, by position.
struct Ensemble {
    roots: Vec<usize>,
    /// Of every node the nodes below; none below a leaf.
    below: Vec<Vec<usize>>,
}

/// The report on an ensemble of trees, with its numbers where the node tells them.
pub(super) fn explain(node: &Node) -> Fault {
    let op = &node.op_type;
    let ensemble = if op == "TreeEnsemble" { Ensemble::new(node) } else { Ensemble::old(node) };
    let size = ensemble.ok().flatten().map_or_else(String::new, |e| {
        let branches = e.below.iter().filter(|b| !b.is_empty()).count();
        let (trees, depth) = (e.roots.len(), e.depth());
        format!(": {trees} tree(s) of {branches} comparisons in all, up to {depth} in a row")
    });
    let finding = Diagnostic::new(Code::Unsupported, format!("{op} has no encrypted form{size}"))
        .note("it compares encrypted values at every branch, and no polynomial follows a jump")
        .help(
            "train a linear model, a support vector machine (linear, poly or rbf kernel) or a small \
             neural network, on the answers of the trees for instance",
        );
    Box::new(finding)
}

impl Ensemble {
    /// `TreeEnsembleClassifier` and `TreeEnsembleRegressor`: nodes have numbers of their own.
    fn old(node: &Node) -> Result<Option<Self>, AttributeError> {
        let list = |name: &str| node.attributes.ints(name).map(Option::unwrap_or_default);
        let (trees, ids) = (list("nodes_treeids")?, list("nodes_nodeids")?);
        let (yes, no) = (list("nodes_truenodeids")?, list("nodes_falsenodeids")?);
        let modes = node.attributes.texts("nodes_modes")?.unwrap_or_default();
        let count = ids.len();
        if [trees.len(), yes.len(), no.len(), modes.len()] != [count; 4] {
            return Ok(None);
        }
        let places: BTreeMap<(i64, i64), usize> =
            (0..count).map(|i| ((trees[i], ids[i]), i)).collect();
        let below = |i: usize| match modes[i] {
            "LEAF" => Vec::new(),
            _ => [yes[i], no[i]]
                .iter()
                .filter_map(|&to| places.get(&(trees[i], to)).copied())
                .collect(),
        };
        let below: Vec<Vec<usize>> = (0..count).map(below).collect();
        let reached: BTreeSet<usize> = below.iter().flatten().copied().collect();
        let roots = (0..count).filter(|i| !reached.contains(i)).collect();
        Ok(Some(Self { roots, below }))
    }

    /// `TreeEnsemble`: every node branches, to nodes or to leaves.
    fn new(node: &Node) -> Result<Option<Self>, AttributeError> {
        let list = |name: &str| node.attributes.ints(name).map(Option::unwrap_or_default);
        let sides = [
            (list("nodes_truenodeids")?, list("nodes_trueleafs")?),
            (list("nodes_falsenodeids")?, list("nodes_falseleafs")?),
        ];
        let roots = list("tree_roots")?.iter().filter_map(|&r| usize::try_from(r).ok());
        let branches = sides[0].0.len();
        if sides.iter().any(|(to, leaf)| [to.len(), leaf.len()] != [branches; 2]) {
            return Ok(None);
        }
        // Leaves follow the branches.
        let place = |to: i64, leaf: i64| {
            let at = usize::try_from(to).ok()?;
            if leaf == 0 { Some(at).filter(|&a| a < branches) } else { at.checked_add(branches) }
        };
        let below = |i: usize| {
            sides.iter().filter_map(|(to, leaf)| place(to[i], leaf[i])).collect::<Vec<_>>()
        };
        let below: Vec<Vec<usize>> = (0..branches).map(below).collect();
        Ok(Some(Self { roots: roots.collect(), below }))
    }

    /// The most branches from a root to a leaf; a node that is reached again counts once.
    fn depth(&self) -> usize {
        let branches = |nodes: &[usize]| -> Vec<usize> {
            let is_branch = |i: &usize| self.below.get(*i).is_some_and(|b| !b.is_empty());
            nodes.iter().copied().filter(is_branch).collect()
        };
        let mut seen = BTreeSet::new();
        let (mut level, mut depth) = (branches(&self.roots), 0);
        while !level.is_empty() {
            depth += 1;
            let next = level.iter().flat_map(|&i| &self.below[i]).copied();
            let next: Vec<usize> = next.filter(|&i| seen.insert(i)).collect();
            level = branches(&next);
        }
        depth
    }
}
