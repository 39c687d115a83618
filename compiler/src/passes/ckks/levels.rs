//! At which level every value of a slots graph is needed.
//!
//! Levels are assigned backwards from the outputs, which end at level 0: a value gets the highest
//! level at which any of its users reads it, and no more.
//! So everything is computed as low, hence as cheaply, as the graph allows, a branch that is used
//! late is dropped where it is produced, and inputs arrive at the level that they need.
//! A bootstrap starts anew: what it reads is needed at level 0, whatever it gives.
//! This is an analysis; it changes nothing.

use heplan_ir::entity::ValueId;
use heplan_ir::slots::{Graph, Op};

/// The levels of a graph's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Per value, `None` where nothing that reaches an output reads it.
    values: Vec<Option<usize>>,
    inputs: Vec<usize>,
}

/// Levels that an operation consumes.
///
/// # Panics
/// If a polynomial's constant is none; a verified graph has none such.
pub fn consumption(graph: &Graph, op: &Op) -> usize {
    match op {
        Op::Input { .. }
        | Op::Rotate { .. }
        | Op::Add { .. }
        | Op::AddConst { .. }
        | Op::Bootstrap { .. } => 0,
        Op::Linear { .. } | Op::Product { .. } => 1,
        Op::Polynomial { polynomials, .. } => {
            graph.consts.polynomials(*polynomials).depth() as usize
        }
    }
}

impl Levels {
    /// Levels of `graph`, with outputs at level 0.
    pub fn of(graph: &Graph) -> Self {
        let mut values: Vec<Option<usize>> = vec![None; graph.values];
        for &v in graph.outputs.iter().flat_map(|o| &o.1) {
            values[v.index()] = Some(0);
        }
        for inst in graph.insts.iter().rev() {
            let needed = inst.results.iter().filter_map(|r| values[r.index()]).max();
            let Some(level) = needed else { continue };
            for r in &inst.results {
                values[r.index()] = values[r.index()].map(|_| level);
            }
            // What is refreshed may have no level left.
            let read = match inst.op {
                Op::Bootstrap { .. } => Some(0),
                _ => Some(level + consumption(graph, &inst.op)),
            };
            for x in inst.op.operands() {
                let slot = &mut values[x.index()];
                *slot = (*slot).max(read);
            }
        }
        let mut inputs = vec![0; graph.inputs.len()];
        for inst in &graph.insts {
            if let Op::Input { input, .. } = inst.op {
                let needed = inst.results.iter().filter_map(|r| values[r.index()]).max();
                let slot = &mut inputs[input as usize];
                *slot = (*slot).max(needed.unwrap_or(0));
            }
        }
        Self { values, inputs }
    }

    /// The level at which a value is computed; `None` where it is never needed.
    pub fn value(&self, v: ValueId) -> Option<usize> {
        self.values[v.index()]
    }

    /// The level of fresh ciphertexts of an input: the highest that any of its parts needs.
    pub fn input(&self, input: usize) -> usize {
        self.inputs[input]
    }

    /// The highest level of the graph: the number of rescaling primes that it takes.
    pub fn depth(&self) -> usize {
        self.values.iter().flatten().copied().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use heplan_ir::constants::Constant;
    use heplan_ir::entity::OriginId;
    use heplan_ir::layout::Layout;
    use heplan_ir::slots::{Compact, Port};
    use heplan_ir::transform::LinearTransform;
    use proptest::prelude::*;

    use super::*;

    /// A graph of one input and operations on earlier values: what each is and reads follows from
    /// two numbers. The last value is the output.
    fn graph(choices: &[(u8, usize, usize)]) -> Graph {
        let width = 8;
        let none = OriginId::new(0);
        let layout = Layout::row_major(width, width);
        let port = |name: &str| Port {
            name: name.into(),
            shape: vec![1, width],
            layout: layout.clone(),
            factor: 1.0,
            range: (0.0, 1.0),
            compact: Compact::NONE,
        };
        let mut g = Graph { width, ..Default::default() };
        let shape =
            LinearTransform { width, period: width, inputs: 1, outputs: 1, diagonals: vec![] };
        let transform = g.consts.add(Constant::Transform(std::sync::Arc::new(shape)));
        g.inputs.push(port("x"));
        let mut values = g.push(Op::Input { input: 0, part: 0 }, 1, none);
        for &(kind, a, b) in choices {
            let (a, b) = (values[a % values.len()], values[b % values.len()]);
            let op = match kind % 4 {
                0 => Op::Product { a, b },
                1 => Op::Linear { xs: vec![a], transform },
                2 => Op::Add { a, b },
                _ => Op::Rotate { x: a, by: 1 },
            };
            values.push(g.push(op, 1, none)[0]);
        }
        g.outputs.push((port("y"), vec![*values.last().expect("there is an input")]));
        g
    }

    /// The least sum of levels over all ways to give every value that is needed a level, by trying
    /// them all.
    fn least_by_trying(g: &Graph, most: usize) -> Option<usize> {
        let needed = Levels::of(g);
        let values: Vec<usize> = (0..g.values).filter(|&v| needed.values[v].is_some()).collect();
        let mut best = None;
        let ways = (most + 1).pow(values.len() as u32);
        for way in 0..ways {
            let mut level = vec![None; g.values];
            let mut rest = way;
            for &v in &values {
                level[v] = Some(rest % (most + 1));
                rest /= most + 1;
            }
            let allowed = g.insts.iter().all(|inst| {
                let Some(own) = level[inst.results[0].index()] else { return true };
                let read = own + consumption(g, &inst.op);
                inst.op.operands().iter().all(|x| level[x.index()].is_some_and(|l| l >= read))
            });
            if allowed {
                let sum: usize = level.iter().flatten().sum();
                best = Some(best.map_or(sum, |b: usize| b.min(sum)));
            }
        }
        best
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]
        #[test]
        fn no_assignment_of_levels_has_a_smaller_sum(
            choices in prop::collection::vec((any::<u8>(), any::<usize>(), any::<usize>()), 1..5),
        ) {
            let g = graph(&choices);
            let found = Levels::of(&g);
            let sum: usize = found.values.iter().flatten().sum();
            prop_assert_eq!(least_by_trying(&g, found.depth()), Some(sum));
        }
    }
}
