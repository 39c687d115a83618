//! How good the layouts that were found are: a proven bound, and what others would have cost.

use std::collections::BTreeSet;

use heplan_ir::layout::Layout;
use rayon::prelude::*;

use super::{Inputs, Met, Search, State};
use crate::passes::slots::{Prices, Problem};

/// How many states are kept after every class: all, on most graphs.
const STATES: usize = 256;

/// No layouts among the candidates cost less than this, in the measure of the search, in which those
/// that it found cost `found`.
///
/// States that agree on all layouts which what follows still reads differ only in what they have cost,
/// so the cheaper one stands for both; a state that has cost as much as a whole solution leads to no
/// better one. What is dropped beyond that bounds the result by what it has cost so far.
pub(in super::super) fn at_least(problem: &Problem<'_>, prices: &Prices, found: f64) -> f64 {
    let mut search = Search::new(problem, prices, Inputs::Any);
    let mut states = vec![State { layouts: Vec::new(), cost: 0.0 }];
    let mut bound = found;
    for class in 0..problem.classes.all.len() {
        let mut next = search.extended(class, &states);
        next.retain(|state| state.cost < found);
        next.sort_by(|a, b| a.cost.total_cmp(&b.cost).then_with(|| a.layouts.cmp(&b.layouts)));
        let open = open_classes(&search, class);
        let mut known: BTreeSet<Vec<Met>> = BTreeSet::new();
        next.retain(|state| known.insert(open.iter().map(|&c| state.layouts[c]).collect()));
        if let Some(dropped) = next.get(STATES) {
            bound = bound.min(dropped.cost);
        }
        next.truncate(STATES);
        states = next;
    }
    states.iter().map(|state| state.cost).fold(bound, f64::min)
}

/// The classes up to this one whose layouts affine maps still to be priced read.
fn open_classes(search: &Search<'_>, class: usize) -> BTreeSet<usize> {
    let Problem { graph, classes, .. } = search.problem;
    let later = (class + 1..classes.all.len()).flat_map(|later| search.ready_after(later));
    let touched = later.flat_map(|affine| {
        let operands = graph.value(affine).op.operands();
        operands.into_iter().chain([affine]).map(|x| classes.of[x.index()])
    });
    touched.filter(|&c| c <= class).collect()
}

/// For every class the other layout that would have cost least, with all other classes as they are,
/// and how much more that is.
pub(in super::super) fn next_best(
    problem: &Problem<'_>,
    prices: &Prices,
    layouts: &[Layout],
) -> Vec<Option<(Layout, f64)>> {
    let mut search = Search::new(problem, prices, Inputs::Any);
    let met: Vec<Met> = layouts.iter().map(|l| search.meet(l.clone())).collect();
    let all: Vec<_> = (0..layouts.len()).flat_map(|class| search.ready_after(class)).collect();
    let mut out = Vec::with_capacity(layouts.len());
    for class in 0..layouts.len() {
        let touching: Vec<_> = all
            .iter()
            .copied()
            .filter(|&affine| {
                let operands = problem.graph.value(affine).op.operands();
                operands.into_iter().chain([affine]).any(|x| problem.classes.of[x.index()] == class)
            })
            .collect();
        let before = State { layouts: met[..class].to_vec(), cost: 0.0 };
        let others: Vec<Met> = search
            .candidates(class, &before)
            .into_iter()
            .filter(|layout| *layout != layouts[class])
            .map(|layout| search.meet(layout))
            .collect();
        let cost = |layout: Met| -> f64 {
            let mut met = met.clone();
            met[class] = layout;
            touching.iter().map(|&affine| search.cost(&search.key(affine, &met))).sum()
        };
        let now = cost(met[class]);
        let costs: Vec<f64> = others.par_iter().map(|&other| cost(other) - now).collect();
        let best = others.into_iter().zip(costs).min_by(|a, b| a.1.total_cmp(&b.1));
        out.push(
            best.filter(|(_, more)| more.is_finite())
                .map(|(layout, more)| (search.placed[layout].layout.clone(), more)),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Costs;
    use crate::passes::slots::assign::{BEAM, Beam};
    use crate::passes::slots::tests::{convolutional_net, prices};

    #[test]
    fn the_bound_is_what_trying_everything_finds() {
        let graph = convolutional_net();
        let all = Beam { width: usize::MAX, alike: usize::MAX };
        for key_price in [0.0, 1e-9, 1e-7] {
            let prices = prices(&Costs::default(), key_price);
            let problem = Problem::new(&graph, 64);
            let best = super::super::search(&problem, &prices, Inputs::Any, all);
            let found = super::super::search(&problem, &prices, Inputs::Any, BEAM);
            let bound = at_least(&problem, &prices, found.cost);
            assert!(bound <= best.cost * (1.0 + 1e-12), "{bound} for {}", best.cost);
            assert!(bound >= best.cost * (1.0 - 1e-12), "{bound} for {}", best.cost);
            // From twice the cost the bound finds the best one by itself.
            let again = at_least(&problem, &prices, 2.0 * found.cost);
            assert!((again - best.cost).abs() <= 1e-12 * best.cost, "{again}");
            let others = next_best(&problem, &prices, &best.layouts);
            assert!(others.iter().flatten().all(|(_, more)| *more >= -1e-12 * best.cost));
        }
    }
}
