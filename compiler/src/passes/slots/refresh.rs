//! Where ciphertexts are refreshed when a graph takes more levels than any ring has.
//!
//! *What*: the order of a graph is cut into segments that each take no more levels than a bootstrap leaves, and what a
//! segment reads from earlier ones is refreshed, once, just before it is read. Inputs are fresh anyway.
//!
//! *Before and after*, with room for two levels:
//!
//! ```text
//! %1 = linear %0         %1 = linear %0
//! %2 = product %1, %1    %2 = product %1, %1
//!                        %3 = bootstrap %2
//! %3 = linear %2         %4 = linear %3
//! ```
//!
//! *How*: the fewest refreshes first, and among those the cuts that leave linear maps, which are nearly all of a run,
//! at the lowest levels. Exact over the cuts between finished values, by dynamic programming: what a segment costs depends
//! on where it begins and ends alone, but for values that several segments read, which are counted once for each.
//!
//! *Why at this place*: what crosses a cut are ciphertexts, which layouts decide; and levels are assigned afterwards
//! ([`Levels`](crate::passes::ckks::Levels)), with nothing more to decide.

use std::collections::BTreeMap;

use heplan_ir::entity::ValueId;
use heplan_ir::slots::{Graph, Inst, Op};

use crate::passes::ckks::levels::consumption;

/// What the refresh of a polynomial's result counts. Operands of polynomials lie within [-1, 1]; the results of monic ones
/// may be a hundred times as large, and are scaled back by the map that reads them.
const OF_POLYNOMIALS: usize = 3;

/// What a way to cut costs: refreshes, then diagonals times their levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Price {
    refreshes: usize,
    work: usize,
}

/// `graph` with refreshes, so that no value takes more than `levels` levels; nothing if that is not possible between
/// finished values.
///
/// # Panics
/// If a constant is missing; a verified graph has all.
pub fn place(graph: &Graph, levels: usize) -> Option<Graph> {
    let segments = Segments::of(graph, levels);
    Some(insert(graph, &segments.cheapest()?))
}

/// The graph as the search sees it.
struct Segments<'a> {
    graph: &'a Graph,
    levels: usize,
    /// Numbers of instructions before each possible cut; the first is 0, the last all.
    cuts: Vec<usize>,
    /// Per instruction, the levels that it consumes.
    consumed: Vec<usize>,
    /// Per value, the instruction that defines it; none for inputs.
    defined: Vec<Option<usize>>,
}

impl<'a> Segments<'a> {
    fn of(graph: &'a Graph, levels: usize) -> Self {
        let mut defined = vec![None; graph.values];
        for (i, inst) in graph.insts.iter().enumerate() {
            if !matches!(inst.op, Op::Input { .. }) {
                inst.results.iter().for_each(|r| defined[r.index()] = Some(i));
            }
        }
        let consumed = graph.insts.iter().map(|inst| consumption(graph, &inst.op)).collect();
        // Rotations and sums finish a linear map at no level, and bring its results into their range.
        let finished = |inst: &Inst| {
            !matches!(inst.op, Op::Add { .. } | Op::AddConst { .. } | Op::Rotate { .. })
        };
        let inner = (1..graph.insts.len()).filter(|&i| finished(&graph.insts[i]));
        let cuts = [0].into_iter().chain(inner).chain([graph.insts.len()]).collect();
        Self { graph, levels, cuts, consumed, defined }
    }

    /// The cuts that cost least, without the first.
    fn cheapest(&self) -> Option<Vec<usize>> {
        let count = self.cuts.len();
        // Per cut, the price of all before it with the cut that precedes it.
        let mut best: Vec<Option<(Price, usize)>> = vec![None; count];
        best[0] = Some((Price::default(), 0));
        for from in 0..count {
            let Some((before, _)) = best[from] else { continue };
            for (to, best) in best.iter_mut().enumerate().skip(from + 1) {
                let Some(price) = self.price(self.cuts[from], self.cuts[to]) else { break };
                let all = Price {
                    refreshes: before.refreshes + price.refreshes,
                    work: before.work + price.work,
                };
                if best.is_none_or(|(known, _)| all < known) {
                    *best = Some((all, from));
                }
            }
        }
        let mut chosen = Vec::new();
        let mut at = count - 1;
        while at > 0 {
            chosen.push(self.cuts[at]);
            at = best[at]?.1;
        }
        chosen.reverse();
        Some(chosen)
    }

    /// What instructions `from..to` cost as a segment; nothing if they take too many levels, and so do all longer ones.
    fn price(&self, from: usize, to: usize) -> Option<Price> {
        let insts = &self.graph.insts[from..to];
        let mut needed = vec![0; self.graph.values];
        // With the refreshes that each counts.
        let mut read: BTreeMap<ValueId, usize> = BTreeMap::new();
        let mut work = 0;
        for (i, inst) in (from..to).zip(insts).rev() {
            let level = inst.results.iter().map(|r| needed[r.index()]).max().unwrap_or(0);
            if let Op::Linear { transform, .. } = &inst.op {
                work += (level + 1) * self.graph.consts.transform(*transform).diagonals.len();
            }
            let level = level + self.consumed[i];
            if level > self.levels {
                return None;
            }
            for x in inst.op.operands() {
                let known = &mut needed[x.index()];
                *known = level.max(*known);
                if let Some(at) = self.defined[x.index()].filter(|&at| at < from) {
                    let large = matches!(self.graph.insts[at].op, Op::Polynomial { .. });
                    read.insert(x, if large { OF_POLYNOMIALS } else { 1 });
                }
            }
        }
        Some(Price { refreshes: read.values().sum(), work })
    }
}

/// The graph with what a segment reads from earlier ones refreshed; `cuts` are the ends of the segments.
fn insert(graph: &Graph, cuts: &[usize]) -> Graph {
    let mut out = Graph { insts: Vec::new(), outputs: Vec::new(), values: 0, ..graph.clone() };
    // Per value: its segment, unless it is an input, what it is now, and what it is refreshed.
    let mut segment: Vec<Option<usize>> = vec![None; graph.values];
    let mut now: Vec<ValueId> = vec![ValueId::new(0); graph.values];
    let mut fresh: Vec<Option<ValueId>> = vec![None; graph.values];
    let mut current = 0;
    let origins: Vec<_> =
        graph.insts.iter().flat_map(|i| i.results.iter().map(|_| i.origin)).collect();
    for (i, inst) in graph.insts.iter().enumerate() {
        current += usize::from(cuts[current] <= i);
        for x in inst.op.operands() {
            let older = segment[x.index()].is_some_and(|s| s < current);
            if older && fresh[x.index()].is_none() {
                let refresh = Op::Bootstrap { x: now[x.index()] };
                fresh[x.index()] = Some(out.push(refresh, 1, origins[x.index()])[0]);
            }
        }
        let op = inst.op.map(|x| match segment[x.index()] {
            Some(s) if s < current => fresh[x.index()].unwrap_or(now[x.index()]),
            _ => now[x.index()],
        });
        let is_input = matches!(inst.op, Op::Input { .. });
        let results = out.push(op, inst.results.len(), inst.origin);
        for (old, new) in inst.results.iter().zip(results) {
            now[old.index()] = new;
            segment[old.index()] = (!is_input).then_some(current);
        }
    }
    let outputs = graph.outputs.iter();
    out.outputs = outputs
        .map(|(port, values)| (port.clone(), values.iter().map(|v| now[v.index()]).collect()))
        .collect();
    out
}

#[cfg(test)]
mod tests {
    use heplan_ir::entity::OriginId;
    use heplan_ir::layout::Layout;
    use heplan_ir::slots::Port;
    use proptest::prelude::*;

    use super::*;
    use crate::passes::ckks::Levels;

    const WIDTH: usize = 4;

    fn port(name: &str) -> Port {
        let layout = Layout::row_major(WIDTH, WIDTH);
        Port {
            name: name.into(),
            shape: vec![1, WIDTH],
            layout,
            factor: 1.0,
            range: (0.0, 1.0),
            compact: heplan_ir::slots::Compact::NONE,
        }
    }

    /// A graph of one input and operations on earlier values, the last of which is the output.
    fn graph(choices: &[(u8, usize, usize)]) -> Graph {
        let none = OriginId::new(0);
        let mut g = Graph { width: WIDTH, ..Default::default() };
        g.inputs.push(port("x"));
        let mut values = g.push(Op::Input { input: 0, part: 0 }, 1, none);
        for &(kind, a, b) in choices {
            let (a, b) = (values[a % values.len()], values[b % values.len()]);
            let op = match kind % 4 {
                0 | 1 => Op::Product { a, b },
                2 => Op::Add { a, b },
                _ => Op::Rotate { x: a, by: 1 },
            };
            values.push(g.push(op, 1, none)[0]);
        }
        g.outputs.push((port("y"), vec![*values.last().expect("there is an input")]));
        g
    }

    /// Squares in a row.
    fn chain(products: usize) -> Graph {
        graph(&(0..products).map(|i| (0, i, i)).collect::<Vec<_>>())
    }

    fn refreshes(g: &Graph) -> usize {
        g.insts.iter().filter(|i| matches!(i.op, Op::Bootstrap { .. })).count()
    }

    /// What the output holds, modulo a prime, so that nothing overflows.
    fn run(g: &Graph) -> Vec<u64> {
        const P: u64 = 1_000_003;
        let mut values: Vec<Vec<u64>> = Vec::new();
        for inst in &g.insts {
            let zip = |a: &ValueId, b: &ValueId, f: fn(u64, u64) -> u64| {
                let (a, b) = (&values[a.index()], &values[b.index()]);
                a.iter().zip(b).map(|(&a, &b)| f(a, b) % P).collect()
            };
            let value = match &inst.op {
                Op::Input { .. } => vec![2, 3, 5, 7],
                Op::Product { a, b } => zip(a, b, |a, b| a * b),
                Op::Add { a, b } => zip(a, b, |a, b| a + b),
                Op::Rotate { x, .. } => {
                    let mut value = values[x.index()].clone();
                    value.rotate_left(1);
                    value
                }
                Op::Bootstrap { x } => values[x.index()].clone(),
                other => panic!("{other:?} is not in these graphs"),
            };
            values.push(value);
        }
        values[g.outputs[0].1[0].index()].clone()
    }

    #[test]
    fn a_chain_is_refreshed_as_rarely_as_possible() {
        for products in 1..12 {
            for levels in 1..6 {
                let g = chain(products);
                let found = place(&g, levels).expect("squares can be parted");
                assert_eq!(found.verify(), []);
                assert_eq!(refreshes(&found), (products - 1) / levels, "{products} by {levels}");
                assert_eq!(run(&found), run(&g));
            }
        }
    }

    #[test]
    fn what_is_shallow_enough_stays_as_it_is() {
        let g = chain(5);
        assert_eq!(place(&g, 5), Some(g));
    }

    #[test]
    fn inputs_are_fresh_and_what_several_read_is_refreshed_once() {
        // y = x^2, read by both operands of what comes after another square; x itself is read late.
        let g = graph(&[(0, 0, 0), (0, 1, 1), (0, 2, 1), (0, 3, 1), (0, 4, 0)]);
        let found = place(&g, 2).expect("it can be parted");
        assert!(Levels::of(&found).depth() <= 2);
        let of_inputs = found.insts.iter().filter(
            |i| matches!(&i.op, Op::Bootstrap { x } if matches!(found.insts[x.index()].op, Op::Input { .. })),
        );
        assert_eq!(of_inputs.count(), 0);
        assert_eq!(run(&found), run(&g));
    }

    #[test]
    fn one_operation_that_takes_too_many_levels_cannot_be_refreshed() {
        assert_eq!(place(&chain(1), 0), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
        #[test]
        fn refreshed_graphs_mean_the_same_at_few_levels(
            choices in prop::collection::vec((any::<u8>(), any::<usize>(), any::<usize>()), 1..24),
            levels in 1usize..5,
        ) {
            let g = graph(&choices);
            let found = place(&g, levels).expect("every operation takes one level");
            prop_assert_eq!(found.verify(), []);
            prop_assert!(Levels::of(&found).depth() <= levels);
            prop_assert_eq!(run(&found), run(&g));
        }
    }
}
