//! Layout classes: values that must share one layout because an element-wise operation joins them.

use heplan_ir::entity::ValueId;
use heplan_ir::tensor::{Graph, Op};

/// A set of values that share one layout.
#[derive(Clone, Debug, Default)]
pub(super) struct Class {
    /// Its values, in order.
    pub(super) members: Vec<ValueId>,
    /// Those of them that an `Affine` writes.
    pub(super) affines: Vec<ValueId>,
}

/// The classes of a graph, in the order of their first value.
#[derive(Clone, Debug)]
pub(super) struct Classes {
    /// The classes.
    pub(super) all: Vec<Class>,
    /// The class of each value.
    pub(super) of: Vec<usize>,
    /// Levels that remain below each value: what its consumers still need.
    pub(super) level: Vec<usize>,
}

impl Classes {
    /// Groups the values of `graph`.
    pub(super) fn new(graph: &Graph) -> Self {
        let mut root: Vec<usize> = (0..graph.values.len()).collect();
        for id in graph.ids() {
            if let Op::Product { a, b } = graph.value(id).op {
                union(&mut root, a.index(), id.index());
                union(&mut root, b.index(), id.index());
            } else if let Op::Polynomial { x, .. } | Op::Function { x, .. } = graph.value(id).op {
                union(&mut root, x.index(), id.index());
            }
        }
        let mut of = vec![usize::MAX; graph.values.len()];
        let mut all: Vec<Class> = Vec::new();
        for id in graph.ids() {
            let r = find(&mut root, id.index());
            if of[r] == usize::MAX {
                of[r] = all.len();
                all.push(Class::default());
            }
            of[id.index()] = of[r];
            let class = &mut all[of[r]];
            class.members.push(id);
            if matches!(graph.value(id).op, Op::Affine { .. }) {
                class.affines.push(id);
            }
        }
        Self { all, of, level: levels_below(graph) }
    }
}

/// For every value, the level that its consumers need it at (0 for outputs).
fn levels_below(graph: &Graph) -> Vec<usize> {
    let mut level = vec![0; graph.values.len()];
    for id in graph.ids().rev() {
        let value = graph.value(id);
        let consumed = match &value.op {
            Op::Input { .. } => 0,
            Op::Affine { .. } | Op::Product { .. } | Op::Function { .. } => 1,
            Op::Polynomial { polynomials, .. } => {
                graph.consts.polynomials(*polynomials).depth().max(1) as usize
            }
        };
        let needed = level[id.index()] + consumed;
        for x in value.op.operands() {
            level[x.index()] = level[x.index()].max(needed);
        }
    }
    level
}

/// The representative of `i`, which is always the smallest index of its set.
fn find(root: &mut [usize], i: usize) -> usize {
    let mut top = i;
    while root[top] != top {
        top = root[top];
    }
    let mut at = i;
    while root[at] != top {
        at = std::mem::replace(&mut root[at], top);
    }
    top
}

fn union(root: &mut [usize], a: usize, b: usize) {
    let (a, b) = (find(root, a), find(root, b));
    let (low, high) = (a.min(b), a.max(b));
    root[high] = low;
}
