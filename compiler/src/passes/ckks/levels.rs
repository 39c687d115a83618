//! At which level every value of a slots graph is needed.
//!
//! Levels are assigned backwards from the outputs, which end at level 0: a value gets the highest
//! level at which any of its users reads it, and no more.
//! So everything is computed as low, hence as cheaply, as the graph allows, a branch that is used
//! late is dropped where it is produced, and inputs arrive at the level that they need.
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
        Op::Input { .. } | Op::Rotate { .. } | Op::Add { .. } | Op::AddConst { .. } => 0,
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
            let read = Some(level + consumption(graph, &inst.op));
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
