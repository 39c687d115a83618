//! From tensors to slots: layouts by cost, diagonals, folds, baby and giant steps.
//!
//! *Before:* a `tensor::Graph` of `Input`, `Affine`, `Product` and `Polynomial`.
//! *After:* a `slots::Graph` in which every tensor is one or more vectors of `width` slots.
//!
//! *Why here:* after approximation and fusion, which fix the matrices; before levels, since the
//! number of levels does not depend on layouts.
//!
//! *Cost:* a convolution costs one level whatever its stride, padding, dilation or groups, because
//! its matrix writes straight into the layout that the next layer wants.

mod assign;
mod candidates;
mod classes;
mod columns;
mod count;
mod emit;
mod routing;
mod source;
mod steps;
mod transform;
mod weights;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use heplan_ir::entity::ValueId;
use heplan_ir::layout::Layout;
use heplan_ir::slots;
use heplan_ir::tensor::{Graph, Op};
use rayon::prelude::*;

/// What the client has to know of an input or output besides its layout.
#[derive(Clone, Debug, PartialEq)]
pub struct PortInfo {
    /// The client divides inputs, and multiplies outputs, by this.
    pub factor: f64,
    /// Smallest and largest element in calibration.
    pub range: (f64, f64),
}

/// The inputs and outputs of a graph, in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct Ports {
    /// One per `Input` operation.
    pub inputs: Vec<PortInfo>,
    /// One per output.
    pub outputs: Vec<PortInfo>,
}

/// A graph in slots.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The graph.
    pub graph: slots::Graph,
    /// What the search for layouts thinks that it costs, in NTTs of one limb: comparable between
    /// widths when multiplied by the time of one such NTT.
    pub cost: f64,
}

/// Lowers a graph into ciphertexts of `width` slots, when carrying one limb of a key is worth
/// `key_price` NTTs of a limb: the higher, the fewer keys and the more rotations.
///
/// # Panics
/// If the graph still holds a `Function`, or `ports` does not match it.
pub fn lower(graph: &Graph, ports: &Ports, width: usize, key_price: f64) -> Lowered {
    let problem = Problem::new(graph, width, key_price);
    let assign::Assignment { layouts, cost } = assign::assign(&problem);
    Lowered { graph: emit::emit(&problem, ports, &layouts), cost }
}

/// A graph to be lowered, with what the search and the lowering both need to know of it.
struct Problem<'a> {
    graph: &'a Graph,
    classes: classes::Classes,
    /// The terms of every affine map.
    terms: BTreeMap<ValueId, Vec<source::Term<'a>>>,
    width: usize,
    key_price: f64,
}

impl<'a> Problem<'a> {
    fn new(graph: &'a Graph, width: usize, key_price: f64) -> Self {
        let affines: Vec<_> = graph
            .ids()
            .filter_map(|id| match &graph.value(id).op {
                Op::Affine { terms, .. } => Some((id, terms)),
                _ => None,
            })
            .collect();
        let terms = affines
            .into_par_iter()
            .map(|(id, terms)| {
                (id, terms.iter().map(|t| source::Term::new(graph.consts.matrix(t.1))).collect())
            })
            .collect();
        Self { graph, classes: classes::Classes::new(graph), terms, width, key_price }
    }

    /// The prices of an affine map's steps.
    fn weights(&self, affine: ValueId) -> weights::Weights {
        weights::Weights::at(self.classes.level[affine.index()] + 1, self.key_price)
    }
}

/// The slots of one ciphertext that hold elements of `layout`, filled from one number per element;
/// every periodic copy is filled, other slots are zero.
fn spread(layout: &Layout, elements: &[f64]) -> Vec<Vec<f64>> {
    let mut out = vec![vec![0.0; layout.width]; layout.ciphertexts()];
    for (place, &x) in layout.places().into_iter().zip(elements) {
        let (ct, slot) = (place / layout.width, place % layout.width);
        out[ct][slot..].iter_mut().step_by(layout.period).for_each(|s| *s = x);
    }
    out
}
