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
mod count;
mod emit;
mod routing;
mod split;
mod transform;
mod weights;

#[cfg(test)]
mod tests;

use heplan_ir::layout::Layout;
use heplan_ir::slots;
use heplan_ir::tensor::Graph;

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

/// Lowers a graph into ciphertexts of `width` slots.
///
/// # Panics
/// If the graph still holds a `Function`, or `ports` does not match it.
pub fn lower(graph: &Graph, ports: &Ports, width: usize) -> Lowered {
    let classes = classes::Classes::new(graph);
    let assign::Assignment { layouts, cost } = assign::assign(graph, &classes, width);
    Lowered { graph: emit::emit(graph, ports, &classes, &layouts, width), cost }
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
