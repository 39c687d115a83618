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
mod divider;
mod emit;
mod refresh;
mod routing;
mod source;
mod steps;
mod tallies;
mod transform;
mod weights;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use heplan_ir::entity::{OriginId, ValueId};
use heplan_ir::layout::Layout;
use heplan_ir::slots;
use heplan_ir::tensor::{Graph, Op};
use rayon::prelude::*;

use count::Survey;
pub use refresh::place as refresh;
use routing::Placed;
use source::combinations;
pub use weights::Prices;

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
    /// The layouts that were chosen, for [`Problem::placements`].
    pub chosen: Chosen,
    /// What the search for layouts thinks that it costs, in seconds.
    pub cost: f64,
}

/// A layout for every class of tensors that share one.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen(Vec<Layout>);

/// Where an input lies, or what an affine map writes; whatever follows keeps it up to the next map.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// The nodes behind it.
    pub origin: OriginId,
    /// The layouts of the operands.
    pub reads: Vec<Layout>,
    /// The layout of the result.
    pub writes: Layout,
    /// The next-best layout of the result, with the seconds that it would cost more, in the measure
    /// of the search.
    pub next_best: Option<(Layout, f64)>,
}

/// A graph to be lowered into ciphertexts of some width, with all that does not depend on prices: it
/// can be lowered under several.
#[derive(Debug)]
pub struct Problem<'a> {
    graph: &'a Graph,
    classes: classes::Classes,
    /// The terms of every affine map.
    terms: BTreeMap<ValueId, Vec<source::Term<'a>>>,
    width: usize,
    surveys: Surveys,
}

/// What affine maps consist of between layouts, of the operands and last their own: once per way to
/// read the operands, `None` without a route.
type Surveys = Mutex<BTreeMap<(ValueId, Vec<Layout>), Arc<Vec<Option<Survey>>>>>;

impl<'a> Problem<'a> {
    /// Prepares a graph for ciphertexts of `width` slots, a power of two.
    pub fn new(graph: &'a Graph, width: usize) -> Self {
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
        let classes = classes::Classes::new(graph);
        Self { graph, classes, terms, width, surveys: Surveys::default() }
    }

    /// Lowers the graph under the prices of its steps: the higher that of a key, the fewer keys and
    /// the more rotations.
    ///
    /// # Panics
    /// If the graph still holds a `Function`, or `ports` does not match it.
    pub fn lower(&self, ports: &Ports, prices: &Prices) -> Lowered {
        let assign::Assignment { layouts, cost } = assign::assign(self, prices);
        let graph = emit::emit(self, prices, ports, &layouts);
        Lowered { graph, chosen: Chosen(layouts), cost }
    }

    /// Where inputs and the results of affine maps lie, in the order of the graph; under prices also
    /// what other layouts would have cost.
    pub fn placements(&self, chosen: &Chosen, prices: Option<&Prices>) -> Vec<Placement> {
        let next = prices.map(|prices| assign::bound::next_best(self, prices, &chosen.0));
        let class = |id: ValueId| self.classes.of[id.index()];
        let placement = |id: ValueId| {
            let value = self.graph.value(id);
            let written = matches!(value.op, Op::Input { .. } | Op::Affine { .. });
            written.then(|| Placement {
                origin: value.origin,
                reads: value
                    .op
                    .operands()
                    .into_iter()
                    .map(|x| chosen.0[class(x)].clone())
                    .collect(),
                writes: chosen.0[class(id)].clone(),
                next_best: next.as_ref().and_then(|next| next[class(id)].clone()),
            })
        };
        self.graph.ids().filter_map(placement).collect()
    }

    /// What layouts that cost `found` in the measure of the search are compared with: no others cost
    /// less than this.
    pub fn at_least(&self, prices: &Prices, found: f64) -> f64 {
        assign::bound::at_least(self, prices, found)
    }

    /// The prices of an affine map's steps.
    fn weights<'p>(&self, affine: ValueId, prices: &'p Prices) -> &'p weights::Weights {
        prices.of(affine, self.classes.level[affine.index()] + 1)
    }

    /// The ways to compute an affine map between layouts, of its operands and last its own.
    fn survey(&self, affine: ValueId, placed: &[&Placed]) -> Arc<Vec<Option<Survey>>> {
        let key = (affine, placed.iter().map(|p| p.layout.clone()).collect());
        let known = self.surveys.lock().expect("no holder panics").get(&key).cloned();
        known.unwrap_or_else(|| {
            let (output, inputs) = placed.split_last().expect("a map has a layout");
            let sources: Vec<_> =
                self.terms[&affine].iter().zip(inputs).map(|(t, p)| t.sources(p)).collect();
            let ways = combinations(&sources).iter().map(|s| Survey::new(s, output)).collect();
            let ways = Arc::new(ways);
            self.surveys.lock().expect("no holder panics").insert(key, Arc::clone(&ways));
            ways
        })
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
