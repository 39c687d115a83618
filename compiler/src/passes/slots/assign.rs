//! The search for layouts: a beam over the layout classes in topological order.
//!
//! On a chain of classes the cost of what follows depends on the newest layout alone, so keeping
//! the best state for each newest layout is dynamic programming, exact over the candidates; where
//! branches join, the beam is a heuristic.
//! Offsets are counted on a sample of the rows of large matrices, with the arithmetic that later
//! builds the diagonals.

pub(super) mod bound;

use std::collections::{BTreeMap, BTreeSet};

use heplan_ir::entity::ValueId;
use heplan_ir::layout::Layout;
use heplan_ir::tensor::Op;
use rayon::prelude::*;

use super::routing::Placed;
use super::{Prices, Problem, candidates};

/// How many states are kept after every class.
#[derive(Clone, Copy)]
struct Beam {
    /// In all.
    width: usize,
    /// Of those that agree on the newest layout.
    alike: usize,
}

const BEAM: Beam = Beam { width: 16, alike: 2 };

/// The layouts chosen, one per class, and what the search thinks they cost (in seconds).
pub(super) struct Assignment {
    /// Per class.
    pub(super) layouts: Vec<Layout>,
    /// Relative cost.
    pub(super) cost: f64,
}

/// A number for a layout that the search has met.
type Met = usize;

#[derive(Clone)]
struct State {
    layouts: Vec<Met>,
    cost: f64,
}

/// Chooses layouts for every class of the problem under these prices.
///
/// An input with an uneven period has no route into some layouts. Where several inputs meet late, the
/// beam may hold such states alone; then inputs keep to even periods, from which everything has one.
pub(super) fn assign(problem: &Problem<'_>, prices: &Prices) -> Assignment {
    let free = search(problem, prices, Inputs::Any, BEAM);
    if free.cost.is_finite() { free } else { search(problem, prices, Inputs::Even, BEAM) }
}

fn search(problem: &Problem<'_>, prices: &Prices, inputs: Inputs, beam: Beam) -> Assignment {
    let mut search = Search::new(problem, prices, inputs);
    let mut states = vec![State { layouts: Vec::new(), cost: 0.0 }];
    for class in 0..problem.classes.all.len() {
        states = prune(search.extended(class, &states), beam);
    }
    let best = states.into_iter().next().expect("every class has a candidate");
    let layouts = best.layouts.iter().map(|&l| search.placed[l].layout.clone()).collect();
    Assignment { layouts, cost: best.cost }
}

/// Keeps the cheapest states.
fn prune(mut states: Vec<State>, beam: Beam) -> Vec<State> {
    states.sort_by(|a, b| a.cost.total_cmp(&b.cost).then_with(|| a.layouts.cmp(&b.layouts)));
    let mut alike: BTreeMap<Met, usize> = BTreeMap::new();
    states.retain(|s| {
        let Some(&newest) = s.layouts.last() else { return true };
        let n = alike.entry(newest).or_default();
        *n += 1;
        *n <= beam.alike
    });
    // What has cost nothing yet is not worse than the rest.
    let free = states.iter().take_while(|s| s.cost == 0.0).count();
    states.truncate(free.max(beam.width));
    states
}

/// An affine map with the layouts of its operands, and last its own.
type Key = (ValueId, Vec<Met>);

/// The layouts that graph inputs may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inputs {
    Any,
    /// Those whose periods are powers of two.
    Even,
}

struct Search<'a> {
    problem: &'a Problem<'a>,
    prices: &'a Prices,
    inputs: Inputs,
    met: BTreeMap<Layout, Met>,
    /// The layouts met, with their places.
    placed: Vec<Placed>,
    memo: BTreeMap<Key, f64>,
}

impl<'a> Search<'a> {
    fn new(problem: &'a Problem<'a>, prices: &'a Prices, inputs: Inputs) -> Self {
        let (met, placed, memo) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        Self { problem, prices, inputs, met, placed, memo }
    }

    /// The states with every candidate for the next class, priced.
    fn extended(&mut self, class: usize, states: &[State]) -> Vec<State> {
        let mut next: Vec<State> = Vec::new();
        for state in states {
            for layout in self.candidates(class, state) {
                let mut layouts = state.layouts.clone();
                layouts.push(self.meet(layout));
                next.push(State { layouts, cost: state.cost });
            }
        }
        let ready = self.ready_after(class);
        self.price_all(&ready, &next);
        for state in &mut next {
            let keys = ready.iter().map(|&a| self.key(a, &state.layouts));
            state.cost += keys.map(|k| self.memo[&k]).sum::<f64>();
        }
        next
    }

    fn meet(&mut self, layout: Layout) -> Met {
        let new = self.placed.len();
        *self.met.entry(layout).or_insert_with_key(|layout| {
            self.placed.push(Placed::new(layout.clone()));
            new
        })
    }

    /// The affine maps whose last undecided class is `class`.
    fn ready_after(&self, class: usize) -> Vec<ValueId> {
        let (graph, classes) = (self.problem.graph, &self.problem.classes);
        let last = |id: ValueId| {
            let operands = graph.value(id).op.operands();
            operands
                .iter()
                .map(|x| classes.of[x.index()])
                .max()
                .unwrap_or(0)
                .max(classes.of[id.index()])
        };
        let affine = |id: &ValueId| matches!(graph.value(*id).op, Op::Affine { .. });
        graph.ids().filter(affine).filter(|&id| last(id) == class).collect()
    }

    fn candidates(&self, class: usize, state: &State) -> Vec<Layout> {
        let Problem { graph, classes, width, .. } = self.problem;
        let members = &classes.all[class];
        let first = graph.value(members.members[0]);
        let Some(&affine) = members.affines.first() else {
            let mut layouts = candidates::for_input(&first.shape, *width);
            let even = self.inputs == Inputs::Even;
            layouts.retain(|l| !even || l.period.is_power_of_two());
            return layouts;
        };
        let inputs: Vec<(&[usize], &Layout)> = graph
            .value(affine)
            .op
            .operands()
            .into_iter()
            .filter_map(|x| {
                let layout = *state.layouts.get(classes.of[x.index()])?;
                Some((graph.value(x).shape.as_slice(), &self.placed[layout].layout))
            })
            .collect();
        candidates::for_affine(&first.shape, &inputs, *width)
    }

    fn key(&self, affine: ValueId, layouts: &[Met]) -> Key {
        let layout = |x: &ValueId| layouts[self.problem.classes.of[x.index()]];
        let operands = self.problem.graph.value(affine).op.operands();
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

    /// What an affine map costs between these layouts, with keys of its own; infinite without a route.
    fn cost(&self, (affine, layouts): &Key) -> f64 {
        let placed: Vec<&Placed> = layouts.iter().map(|&l| &self.placed[l]).collect();
        let weights = self.problem.weights(*affine, self.prices);
        let ways = self.problem.survey(*affine, &placed);
        let costs = ways.iter().flatten().map(|way| way.cost(weights));
        costs.fold(f64::INFINITY, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use heplan_ir::entity::OriginId;
    use heplan_ir::matrix::SparseMatrix;
    use heplan_ir::tensor::Graph;
    use proptest::prelude::*;

    use super::*;
    use crate::cost::Costs;
    use crate::passes::slots::tests::{convolutional_net, prices};

    /// What the search has to pay for layouts, one per class.
    fn cost_of(problem: &Problem<'_>, prices: &Prices, layouts: &[Layout]) -> f64 {
        let mut search = Search::new(problem, prices, Inputs::Any);
        let met: Vec<Met> = layouts.iter().map(|l| search.meet(l.clone())).collect();
        let classes = 0..problem.classes.all.len();
        let affines = classes.flat_map(|class| search.ready_after(class));
        affines.map(|affine| search.cost(&search.key(affine, &met))).sum()
    }

    /// Every tensor in consecutive slots with the smallest period.
    fn plain(problem: &Problem<'_>) -> Vec<Layout> {
        let elements = |class: &super::super::classes::Class| {
            problem.graph.value(class.members[0]).shape.iter().product()
        };
        let row_major = |class| Layout::row_major(elements(class), problem.width);
        problem.classes.all.iter().map(row_major).collect()
    }

    /// About this share of its entries is not zero, spread by a hash of their places.
    fn matrix(rows: usize, cols: usize, density: f64, seed: u64) -> SparseMatrix {
        SparseMatrix::from_rows(rows, cols, |r, row| {
            let hash = |c: u64| {
                let mixed = (seed ^ (r as u64) << 32 ^ c).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40
            };
            let kept = |&c: &u64| (hash(c) as f64) < density * f64::from(1 << 24);
            row.extend((0..cols as u64).filter(kept).map(|c| (c as u32, 0.5)));
        })
    }

    /// Maps of these sizes one after the other, dense or sparse.
    fn chain(sizes: &[usize], density: f64, seed: u64) -> Graph {
        let mut g = Graph::default();
        let none = OriginId::new(0);
        let mut x = g.push(Op::Input { name: "x".into() }, vec![1, sizes[0]], none);
        for (i, pair) in sizes.windows(2).enumerate() {
            let m = g.consts.add_matrix(matrix(pair[1], pair[0], density, seed + i as u64));
            let terms = vec![(x, m)];
            x = g.push(Op::Affine { terms, bias: None }, vec![1, pair[1]], none);
            x = g.push(Op::Product { a: x, b: x }, vec![1, pair[1]], none);
        }
        g.outputs.push(("y".into(), x));
        g
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]
        #[test]
        fn no_layouts_are_costlier_than_plain_ones(
            sizes in prop::collection::vec(1usize..100, 2..5),
            density in prop::sample::select(vec![0.05, 0.3, 1.0]),
            key_price in prop::sample::select(vec![0.0, 1e-9, 1e-7]),
            (log_width, seed) in (5u32..11, any::<u32>()),
        ) {
            let graph = chain(&sizes, density, u64::from(seed));
            let prices = prices(&Costs::default(), key_price);
            let problem = Problem::new(&graph, 1 << log_width);
            let found = assign(&problem, &prices);
            let simple = cost_of(&problem, &prices, &plain(&problem));
            prop_assert!(found.cost <= simple, "{} for {simple}", found.cost);
            let again = cost_of(&problem, &prices, &found.layouts);
            prop_assert!((again - found.cost).abs() <= 1e-9 * again, "{again} is not {}", found.cost);
        }
    }

    #[test]
    fn the_beam_loses_nothing_where_everything_can_be_tried() {
        let all = Beam { width: usize::MAX, alike: usize::MAX };
        let graphs = [convolutional_net(), chain(&[40, 24, 10], 1.0, 7), chain(&[64, 16], 0.2, 9)];
        for (graph, width) in graphs.iter().zip([64, 128, 256]) {
            for key_price in [0.0, 1e-9, 1e-7] {
                let prices = prices(&Costs::default(), key_price);
                let problem = Problem::new(graph, width);
                let best = search(&problem, &prices, Inputs::Any, all).cost;
                let found = search(&problem, &prices, Inputs::Any, BEAM).cost;
                assert!(found <= best * (1.0 + 1e-12), "{found} where {best} is possible");
            }
        }
    }
}
