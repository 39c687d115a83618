//! How far above the waterline the scale of every value of a slots graph may lie.
//!
//! *What*: a rescale rounds to integers, whatever the scale is, so that a larger scale is less
//! noise; primes as large as the scale are what a level costs. But only level 0 needs its first
//! prime for the scale alone: above it there is a second one, and the first is a few bits larger at
//! little cost. So values may be *lifted*: the linear map that makes one multiplies by larger
//! plaintexts, the one that reads it by smaller ones. Diagonals with fewer bits are rounded more
//! coarsely in exchange, so that some lift is best, which simulation finds.
//!
//! *Before and after*, at a scale of 2^25 with a lift of 4:
//!
//! ```text
//! %1 = linear %0       2^25        2^29
//! %2 = product %1, %1  2^25        2^33
//! %3 = linear %2       2^25        2^29
//! ```
//!
//! *Bounds*: what a product makes has the lifts of both operands, and a square of a monic polynomial
//! twice that of its power, so what readers bear goes backwards through them: linear maps bear twice
//! the lift that they give, outputs no more than what the first prime has room for. Other polynomials
//! divide by powers of their operand and bear no lift of it.
//!
//! This is an analysis; it changes nothing.

use heplan_ir::entity::ValueId;
use heplan_ir::slots::{Graph, Op};

use super::levels::Levels;

/// The most bits that each value of a graph may be lifted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifts {
    /// What linear maps, inputs and polynomials lift their results by, if these bear it.
    wish: u32,
    allowed: Vec<u32>,
}

impl Lifts {
    /// The lifts of `graph`: by `wish` bits where a scale can be chosen, and by twice as many at most
    /// where products make it, but not at level 0.
    ///
    /// # Panics
    /// If a polynomial's constant is none; a verified graph has none such.
    pub fn of(graph: &Graph, levels: &Levels, wish: u32) -> Self {
        let mut lifts = Self { wish, allowed: vec![2 * wish; graph.values] };
        for v in (0..graph.values).map(ValueId::new) {
            if levels.value(v) == Some(0) {
                lifts.bound(v, wish);
            }
        }
        // Where values share a scale, a bound of one may reach others behind it.
        while lifts.backwards(graph) {}
        lifts
    }

    /// The lift of a value whose scale can be chosen.
    pub fn chosen(&self, v: ValueId) -> u32 {
        self.wish.min(self.allowed[v.index()])
    }

    /// Whether the bound was lower than what was known.
    fn bound(&mut self, v: ValueId, most: u32) -> bool {
        let known = &mut self.allowed[v.index()];
        let lower = most < *known;
        *known = most.min(*known);
        lower
    }

    /// Takes bounds of results to operands once; whether any became lower.
    fn backwards(&mut self, graph: &Graph) -> bool {
        let mut lowered = false;
        let mut parts: Vec<Vec<ValueId>> = vec![Vec::new(); graph.inputs.len()];
        for inst in graph.insts.iter().rev() {
            let result = inst.results[0];
            let most = self.allowed[result.index()];
            match &inst.op {
                Op::Input { input, .. } => parts[*input as usize].push(result),
                Op::Linear { .. } | Op::Bootstrap { .. } => lowered |= self.share(&inst.results),
                Op::Rotate { x, .. } | Op::AddConst { x, .. } => {
                    lowered |= self.share(&[result, *x]);
                }
                Op::Add { a, b } => lowered |= self.share(&[result, *a, *b]),
                Op::Product { a, b } => {
                    lowered |= self.bound(*a, most / 2) | self.bound(*b, most / 2);
                }
                Op::Polynomial { x, polynomials } => {
                    let set = graph.consts.polynomials(*polynomials);
                    let bound = match set.monic() {
                        Some(half) => most / u32::try_from(2 * half).unwrap_or(u32::MAX),
                        None => 0,
                    };
                    lowered |= self.bound(*x, bound);
                }
            }
        }
        parts.iter().fold(lowered, |lowered, parts| lowered | self.share(parts))
    }

    /// Bounds values of one scale by what all of them bear; whether any bound became lower.
    fn share(&mut self, values: &[ValueId]) -> bool {
        let most = values.iter().map(|v| self.allowed[v.index()]).min();
        values.iter().fold(false, |lowered, &v| self.bound(v, most.unwrap_or(0)) | lowered)
    }
}
