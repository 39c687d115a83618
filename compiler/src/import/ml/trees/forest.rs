//! Ensembles of trees as their nodes hold them: branches, tests and leaves.
//!
//! Attributes are parallel lists, hostile like all of a file: every place is checked here, so that
//! a [`Forest`] only refers to nodes that it has. It may still go in circles, which
//! [`super::boxes`] finds.

use std::collections::{BTreeMap, BTreeSet};

use heplan_ir::diagnostic::Code;

use super::super::super::array::Array;
use super::super::super::context::{Fault, NodeCx, fault};

/// What a branch asks of its feature.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// `x <= t`.
    AtMost(f64),
    /// `x < t`.
    Below(f64),
    /// `x >= t`.
    AtLeast(f64),
    /// `x > t`.
    Above(f64),
    /// `x` is one of these, ascending.
    Among(Vec<f64>),
    /// `x` is none of these, ascending.
    NotAmong(Vec<f64>),
}

impl Test {
    /// By the name that ensembles use up to opset 4, without the prefix `BRANCH_`.
    fn named(mode: &str, value: f64) -> Option<Self> {
        Some(match mode {
            "LEQ" => Self::AtMost(value),
            "LT" => Self::Below(value),
            "GTE" => Self::AtLeast(value),
            "GT" => Self::Above(value),
            "EQ" => Self::Among(vec![value]),
            "NEQ" => Self::NotAmong(vec![value]),
            _ => return None,
        })
    }

    /// The numbers that it compares with.
    pub(super) fn members(&self) -> usize {
        match self {
            Self::Among(set) | Self::NotAmong(set) => set.len(),
            _ => 1,
        }
    }
}

/// A node of a tree.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Targets and what is added to them.
    Leaf(Vec<(usize, f64)>),
    /// A question and the nodes that follow.
    Branch {
        /// The feature's place.
        feature: usize,
        /// What is asked.
        test: Test,
        /// The node where the answer is yes.
        yes: usize,
        /// The node where it is no.
        no: usize,
    },
}

/// Trees that share one list of nodes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Forest {
    pub(super) nodes: Vec<Node>,
    pub(super) roots: Vec<usize>,
}

/// A list of floats, which newer opsets may give as a tensor of doubles.
pub(super) fn numbers(cx: &NodeCx<'_>, name: &str) -> Result<Vec<f64>, Fault> {
    let tensor = format!("{name}_as_tensor");
    let given = doubles(cx, &tensor)?;
    if given.is_empty() {
        return cx.attr_floats(name);
    }
    cx.finite(&given, &format!("attribute {tensor:?}"), None)?;
    Ok(given)
}

/// The elements of an attribute that is a tensor; none where it is absent.
fn doubles(cx: &NodeCx<'_>, name: &str) -> Result<Vec<f64>, Fault> {
    let tensor = cx.node.attributes.tensor(name);
    let tensor = tensor.map_err(|e| fault(Code::BadNode, e.to_string()))?;
    Ok(tensor.map(Array::from_tensor).transpose()?.map_or_else(Vec::new, |a| a.floats()))
}

fn integers(cx: &NodeCx<'_>, name: &str) -> Result<Vec<i64>, Fault> {
    Ok(cx.attr_ints(name)?.unwrap_or_default())
}

/// Refuses lists of different lengths.
fn parallel(lists: &[(&str, usize)]) -> Result<usize, Fault> {
    let (first, count) = lists[0];
    match lists.iter().find(|l| l.1 != count) {
        None => Ok(count),
        Some((name, other)) => {
            let message = format!("{first} has {count} entries, {name} has {other}");
            Err(fault(Code::BadNode, message))
        }
    }
}

/// A place that must be below `limit`.
fn place(value: i64, limit: usize, what: &str) -> Result<usize, Fault> {
    usize::try_from(value)
        .ok()
        .filter(|&v| v < limit)
        .ok_or_else(|| fault(Code::BadNode, format!("{what} {value} is not one of {limit}")))
}

impl Forest {
    /// That of a `TreeEnsembleRegressor` or `TreeEnsembleClassifier`, whose leaves' attributes
    /// begin with `prefix`, over this many features and targets.
    pub(super) fn numbered(
        cx: &NodeCx<'_>,
        prefix: &str,
        features: usize,
        targets: usize,
    ) -> Result<Self, Fault> {
        let (trees, ids) = (integers(cx, "nodes_treeids")?, integers(cx, "nodes_nodeids")?);
        let (yes, no) = (integers(cx, "nodes_truenodeids")?, integers(cx, "nodes_falsenodeids")?);
        let asked = integers(cx, "nodes_featureids")?;
        let values = numbers(cx, "nodes_values")?;
        let modes = super::super::texts(cx, "nodes_modes")?.unwrap_or_default();
        let count = parallel(&[
            ("nodes_nodeids", ids.len()),
            ("nodes_treeids", trees.len()),
            ("nodes_truenodeids", yes.len()),
            ("nodes_falsenodeids", no.len()),
            ("nodes_featureids", asked.len()),
            ("nodes_values", values.len()),
            ("nodes_modes", modes.len()),
        ])?;
        let keys = || trees.iter().copied().zip(ids.iter().copied());
        let places: BTreeMap<(i64, i64), usize> = keys().zip(0..).collect();
        if places.len() != count || count == 0 {
            return Err(fault(
                Code::BadNode,
                format!("{count} nodes, of them {} differ", places.len()),
            ));
        }
        let find = |tree: i64, id: i64| {
            let missing = || fault(Code::BadNode, format!("tree {tree} has no node {id}"));
            places.get(&(tree, id)).copied().ok_or_else(missing)
        };
        let mut nodes = Vec::with_capacity(count);
        let mut below = BTreeSet::new();
        for i in 0..count {
            if modes[i] == "LEAF" {
                nodes.push(Node::Leaf(Vec::new()));
                continue;
            }
            let test = modes[i].strip_prefix("BRANCH_").and_then(|m| Test::named(m, values[i]));
            let test = test.ok_or_else(|| {
                fault(Code::BadNode, format!("the mode of node {} is {:?}", ids[i], modes[i]))
            })?;
            let feature = place(asked[i], features, "feature")?;
            let (yes, no) = (find(trees[i], yes[i])?, find(trees[i], no[i])?);
            below.extend([yes, no]);
            nodes.push(Node::Branch { feature, test, yes, no });
        }
        let roots = (0..count).filter(|i| !below.contains(i)).collect();
        let mut forest = Self { nodes, roots };
        let (of, at) = (format!("{prefix}_treeids"), format!("{prefix}_nodeids"));
        let (trees, ids) = (integers(cx, &of)?, integers(cx, &at)?);
        let (to, weight) = (format!("{prefix}_ids"), format!("{prefix}_weights"));
        let (targeted, weights) = (integers(cx, &to)?, numbers(cx, &weight)?);
        let lengths =
            [(at, ids.len()), (of, trees.len()), (to, targeted.len()), (weight, weights.len())];
        let lengths: Vec<(&str, usize)> = lengths.iter().map(|l| (l.0.as_str(), l.1)).collect();
        for i in 0..parallel(&lengths)? {
            let target = place(targeted[i], targets, prefix)?;
            // Runtimes read the weights of leaves only.
            if let Node::Leaf(given) = &mut forest.nodes[find(trees[i], ids[i])?] {
                given.push((target, weights[i]));
            }
        }
        Ok(forest)
    }

    /// That of a `TreeEnsemble`, whose leaves are a list of their own, over this many features and
    /// targets.
    pub(super) fn rooted(cx: &NodeCx<'_>, features: usize, targets: usize) -> Result<Self, Fault> {
        let asked = integers(cx, "nodes_featureids")?;
        let modes = doubles(cx, "nodes_modes")?;
        let splits = doubles(cx, "nodes_splits")?;
        let sides = [
            (integers(cx, "nodes_truenodeids")?, integers(cx, "nodes_trueleafs")?),
            (integers(cx, "nodes_falsenodeids")?, integers(cx, "nodes_falseleafs")?),
        ];
        let branches = parallel(&[
            ("nodes_featureids", asked.len()),
            ("nodes_modes", modes.len()),
            ("nodes_splits", splits.len()),
            ("nodes_truenodeids", sides[0].0.len()),
            ("nodes_trueleafs", sides[0].1.len()),
            ("nodes_falsenodeids", sides[1].0.len()),
            ("nodes_falseleafs", sides[1].1.len()),
        ])?;
        let (targeted, weights) = (integers(cx, "leaf_targetids")?, doubles(cx, "leaf_weights")?);
        cx.finite(&weights, "attribute \"leaf_weights\"", None)?;
        let leaves = [("leaf_targetids", targeted.len()), ("leaf_weights", weights.len())];
        let leaves = parallel(&leaves)?;
        let members = doubles(cx, "membership_values")?;
        if let Some(endless) = members.iter().find(|m| m.is_infinite()) {
            return Err(fault(Code::BadNode, format!("membership_values holds {endless}")));
        }
        let mut members = members.split(|m| m.is_nan());
        let mut nodes = Vec::with_capacity(branches + leaves);
        for i in 0..branches {
            let test = match modes[i] {
                6.0 => {
                    let set = members.next().ok_or_else(|| {
                        fault(Code::BadNode, format!("membership_values has no set for node {i}"))
                    })?;
                    let mut set = set.to_vec();
                    set.sort_by(f64::total_cmp);
                    set.dedup();
                    Some(Test::Among(set))
                }
                mode => ["LEQ", "LT", "GTE", "GT", "EQ", "NEQ"]
                    .get(mode as usize)
                    .filter(|_| mode >= 0.0 && splits[i].is_finite())
                    .and_then(|name| Test::named(name, splits[i])),
            };
            let test = test.ok_or_else(|| {
                let message = format!("node {i} has mode {} and split {}", modes[i], splits[i]);
                fault(Code::BadNode, message)
            })?;
            // Leaves follow the branches.
            let [yes, no] = [0, 1].map(|s: usize| match sides[s].1[i] {
                0 => place(sides[s].0[i], branches, "node"),
                _ => place(sides[s].0[i], leaves, "leaf").map(|l| l + branches),
            });
            let feature = place(asked[i], features, "feature")?;
            nodes.push(Node::Branch { feature, test, yes: yes?, no: no? });
        }
        for (&target, &weight) in targeted.iter().zip(&weights) {
            nodes.push(Node::Leaf(vec![(place(target, targets, "target")?, weight)]));
        }
        let roots = integers(cx, "tree_roots")?;
        let roots: Result<Vec<usize>, Fault> =
            roots.iter().map(|&r| place(r, branches, "root")).collect();
        Ok(Self { nodes, roots: roots? })
    }

    /// Comparisons in all.
    pub(super) fn branches(&self) -> usize {
        self.nodes.iter().filter(|n| matches!(n, Node::Branch { .. })).count()
    }
}
