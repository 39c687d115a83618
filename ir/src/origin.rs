//! Where a value comes from: the ONNX nodes behind it.
//!
//! Passes carry origins along; they never interpret them.
//! A fused operation has several parents, and messages name all of them.

use crate::entity::OriginId;

/// One ONNX node, as the file has it. Names are never changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    /// Position in the file's node list.
    pub index: u32,
    /// The node's name; empty where the exporter gave none.
    pub name: String,
    /// The operator, with its domain where that is not the default one (`ai.onnx.ml.Scaler`).
    pub op: String,
}

impl Node {
    /// What a message calls the node: its name, or `node 17 (Conv)` where it has none.
    pub fn label(&self) -> String {
        if self.name.is_empty() {
            format!("node {} ({})", self.index, self.op)
        } else {
            self.name.clone()
        }
    }
}

/// The distinct sets of ONNX nodes that values of one graph come from.
///
/// Id 0 is always the empty set: a value that no node wrote (a graph input).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginTable {
    nodes: Vec<Node>,
    sets: Vec<Vec<u32>>,
}

impl Default for OriginTable {
    fn default() -> Self {
        Self { nodes: Vec::new(), sets: vec![Vec::new()] }
    }
}

impl OriginTable {
    /// The origin of what no node wrote.
    pub fn none() -> OriginId {
        OriginId::new(0)
    }

    /// Records one node and returns the origin that consists of it alone.
    pub fn node(&mut self, node: Node) -> OriginId {
        let at = self.nodes.iter().position(|n| *n == node).unwrap_or_else(|| {
            self.nodes.push(node);
            self.nodes.len() - 1
        });
        self.intern(vec![u32::try_from(at).expect("fewer than 2^32 nodes")])
    }

    /// The union of origins, in the order of the file.
    pub fn merge(&mut self, origins: &[OriginId]) -> OriginId {
        let mut set: Vec<u32> =
            origins.iter().flat_map(|o| self.sets[o.index()].iter().copied()).collect();
        set.sort_by_key(|&n| (self.nodes[n as usize].index, n));
        set.dedup();
        self.intern(set)
    }

    /// The nodes of an origin, in the order of the file.
    pub fn nodes(&self, origin: OriginId) -> impl Iterator<Item = &Node> {
        self.sets[origin.index()].iter().map(|&n| &self.nodes[n as usize])
    }

    /// Number of origins, that of what no node wrote included.
    pub fn len(&self) -> usize {
        self.sets.len()
    }

    /// Whether nothing but the origin of what no node wrote is known.
    pub fn is_empty(&self) -> bool {
        self.sets.len() == 1
    }

    /// The label of an origin, if it is of this table.
    pub fn get_label(&self, origin: OriginId) -> Option<String> {
        (origin.index() < self.sets.len()).then(|| self.label(origin))
    }

    /// Every origin's label, in id order; what a plan file stores.
    pub fn labels(&self) -> Vec<String> {
        (0..self.sets.len()).map(|i| self.label(OriginId::new(i))).collect()
    }

    /// The labels of an origin's nodes, joined by ` + `.
    pub fn label(&self, origin: OriginId) -> String {
        let labels: Vec<String> = self.nodes(origin).map(Node::label).collect();
        labels.join(" + ")
    }

    fn intern(&mut self, set: Vec<u32>) -> OriginId {
        let at = self.sets.iter().position(|s| *s == set).unwrap_or_else(|| {
            self.sets.push(set);
            self.sets.len() - 1
        });
        OriginId::new(at)
    }
}
