//! The search for layouts: a beam over the layout classes in topological order.
//!
//! On a chain of classes the cost of what follows depends on the newest layout alone, so keeping
//! the best state for each newest layout is dynamic programming, exact over the candidates; where
//! branches join, the beam is a heuristic.
//! Offsets are counted on a sample of the rows of large matrices, with the arithmetic that later
//! builds the diagonals.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use heplan_ir::entity::ValueId;
use heplan_ir::layout::Layout;
use heplan_ir::tensor::{Graph, Op};
use rayon::prelude::*;

use super::candidates;
use super::classes::Classes;
use super::count::{Counts, count};
use super::routing::Placed;
use super::weights::Weights;

/// States kept after every class.
const BEAM: usize = 16;
/// States kept that agree on the newest layout.
const ALIKE: usize = 2;

/// The layouts chosen, one per class, and what the search thinks they cost (in limb NTTs).
pub(super) struct Assignment {
    /// Per class.
    pub(super) layouts: Vec<Layout>,
    /// Relative cost.
    pub(super) cost: f64,
}

#[derive(Clone)]
struct State {
    layouts: Vec<Arc<Placed>>,
    cost: f64,
}

/// Chooses layouts for every class of `graph` in ciphertexts of `width` slots.
pub(super) fn assign(graph: &Graph, classes: &Classes, width: usize) -> Assignment {
    let mut search = Search { graph, classes, width, memo: BTreeMap::new() };
    let mut states = vec![State { layouts: Vec::new(), cost: 0.0 }];
    for class in 0..classes.all.len() {
        let mut next: Vec<State> = Vec::new();
        for state in &states {
            for layout in search.candidates(class, state) {
                let mut layouts = state.layouts.clone();
                layouts.push(Arc::new(Placed::new(layout)));
                next.push(State { layouts, cost: state.cost });
            }
        }
        let ready = search.ready_after(class);
        search.price_all(&ready, &next);
        for state in &mut next {
            let keys = ready.iter().map(|&a| search.key(a, &state.layouts));
            state.cost += keys.map(|k| search.memo[&k]).sum::<f64>();
        }
        states = prune(next);
    }
    let best = states.into_iter().next().expect("every class has a candidate");
    Assignment { layouts: best.layouts.iter().map(|l| l.layout.clone()).collect(), cost: best.cost }
}

/// Keeps the cheapest states, at most [`ALIKE`] for each newest layout.
fn prune(mut states: Vec<State>) -> Vec<State> {
    states.sort_by(|a, b| a.cost.total_cmp(&b.cost).then_with(|| a.layouts.cmp(&b.layouts)));
    let mut alike: BTreeMap<Arc<Placed>, usize> = BTreeMap::new();
    states.retain(|s| {
        let Some(newest) = s.layouts.last() else { return true };
        let n = alike.entry(newest.clone()).or_default();
        *n += 1;
        *n <= ALIKE
    });
    states.truncate(BEAM);
    states
}

/// An affine map with the layouts of its operands, and last its own.
type Key = (ValueId, Vec<Arc<Placed>>);

struct Search<'a> {
    graph: &'a Graph,
    classes: &'a Classes,
    width: usize,
    memo: BTreeMap<Key, f64>,
}

impl Search<'_> {
    /// The affine maps whose last undecided class is `class`.
    fn ready_after(&self, class: usize) -> Vec<ValueId> {
        let last = |id: ValueId| {
            let operands = self.graph.value(id).op.operands();
            operands
                .iter()
                .map(|x| self.classes.of[x.index()])
                .max()
                .unwrap_or(0)
                .max(self.classes.of[id.index()])
        };
        let affine = |id: &ValueId| matches!(self.graph.value(*id).op, Op::Affine { .. });
        self.graph.ids().filter(affine).filter(|&id| last(id) == class).collect()
    }

    fn candidates(&self, class: usize, state: &State) -> Vec<Layout> {
        let members = &self.classes.all[class];
        let first = self.graph.value(members.members[0]);
        let Some(&affine) = members.affines.first() else {
            return candidates::for_input(&first.shape, self.width);
        };
        let inputs: Vec<(&[usize], &Layout)> = self
            .graph
            .value(affine)
            .op
            .operands()
            .into_iter()
            .filter_map(|x| {
                let layout = state.layouts.get(self.classes.of[x.index()])?;
                Some((self.graph.value(x).shape.as_slice(), &layout.layout))
            })
            .collect();
        candidates::for_affine(&first.shape, &inputs, self.width)
    }

    fn key(&self, affine: ValueId, layouts: &[Arc<Placed>]) -> Key {
        let layout = |x: &ValueId| layouts[self.classes.of[x.index()]].clone();
        let operands = self.graph.value(affine).op.operands();
        (affine, operands.iter().chain([&affine]).map(layout).collect())
    }

    /// Prices what `states` need of the affine maps and what no earlier state needed.
    fn price_all(&mut self, affines: &[ValueId], states: &[State]) {
        let keys = states.iter().flat_map(|s| affines.iter().map(|&a| self.key(a, &s.layouts)));
        let new: BTreeSet<Key> = keys.filter(|k| !self.memo.contains_key(k)).collect();
        let new: Vec<Key> = new.into_iter().collect();
        let costs: Vec<f64> = new.par_iter().map(|k| self.cost(k)).collect();
        self.memo.extend(new.into_iter().zip(costs));
    }

    /// What an affine map costs between these layouts.
    fn cost(&self, (affine, layouts): &Key) -> f64 {
        let Op::Affine { terms, .. } = &self.graph.value(*affine).op else {
            unreachable!("only affine maps are priced")
        };
        let output = layouts.last().expect("the map's own layout comes last");
        let routed: Vec<_> = terms
            .iter()
            .zip(layouts)
            .map(|(t, placed)| (&**self.graph.consts.matrix(t.1), &**placed))
            .collect();
        let weights = Weights::at(self.classes.level[affine.index()] + 1);
        price(&count(&routed, output, &weights), &weights)
    }
}

/// The cost of a transform with these counts.
fn price(counts: &Counts, weights: &Weights) -> f64 {
    counts.rotations
        + weights.diagonal * counts.diagonals as f64
        + (weights.fold + weights.key) * counts.folds as f64
        + weights.fixed * (counts.inputs + counts.outputs) as f64
}
