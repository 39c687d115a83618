//! Slots to ciphertexts.
//!
//! *What*: every slots operation becomes ciphertext operations with exact levels and scales.
//!
//! *Before and after*:
//!
//! ```text
//! %1 = linear %0              %1 = linear %0       level 2, scale Δ, extended
//! %2 = rotate %1, 512         %2 = rotate %1, 512  extended
//! %3 = add %1, %2             %3 = add %1, %2      extended
//!                             %4 = mod_down %3     level 2, scale Δ
//! %4 = product %3, %3         %5 = mul %4, %4; %6 = relinearise %5; %7 = rescale %6
//! ```
//!
//! *Why here*: levels are known only once layouts have fixed which sums are folds; and the
//! diagonals' scales are known only once levels are.
//!
//! *Cost and precision*: a linear map is encoded at `Δ·q_ℓ/s_i` for an operand of scale `s_i`, so
//! that its result has exactly the waterline scale `Δ`, or that scale lifted by some bits ([`lift`](super::lift)),
//! and drifts never build up.
//! Its division, by `q_ℓ` and the special primes, comes as late as it can: giant steps and folds are
//! rotated and summed extended, and what anything else reads is divided once. Operands are dropped
//! to the level at which they are read before anything is computed on them. An input of which the client leaves out a
//! part ([`compact`](super::compact)) is made whole first.

use heplan_ir::ckks::{self, CtType};
use heplan_ir::constants::{ConstPool, Constant};
use heplan_ir::entity::{ConstId, ValueId};
use heplan_ir::parameters::Parameters;
use heplan_ir::scale::Scale;
use heplan_ir::slots::{Graph, Inst, Op};

use super::builder::Builder;
use super::chebyshev::Strategies;
use super::levels::Levels;
use super::lift::Lifts;
use super::{LowerError, polynomial};

/// The scales that values are brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waterline {
    /// The scale in bits.
    pub bits: u32,
    /// By how many bits values exceed it where [`Lifts`] has nothing against: so many bits of
    /// headroom more the first prime must have.
    pub lift: u32,
}

impl Waterline {
    /// One scale for all levels.
    pub const fn even(bits: u32) -> Self {
        Self { bits, lift: 0 }
    }
}

/// Lowers `graph` under `parameters` with the scales of `waterline`.
///
/// Inputs are at the level that they are needed at; outputs are at level 0.
///
/// # Errors
/// If graph and parameters do not fit each other, or the graph breaks the contract of its level
/// (an `Add` of values whose scales differ, for one).
pub fn lower(
    graph: &Graph,
    parameters: &Parameters,
    waterline: Waterline,
) -> Result<ckks::Graph, LowerError> {
    if graph.width != parameters.width() {
        return Err(LowerError::Width { graph: graph.width, parameters: parameters.width() });
    }
    let levels = Levels::of(graph);
    let available = parameters.fresh_level();
    if levels.depth() > available {
        return Err(LowerError::Depth { needed: levels.depth(), available });
    }
    let empty = ckks::Graph {
        name: graph.name.clone(),
        parameters: parameters.clone(),
        insts: Vec::new(),
        inputs: graph.inputs.clone(),
        outputs: Vec::new(),
        consts: ConstPool::default(),
        origins: graph.origins.clone(),
        values: 0,
    };
    let mut lowering = Lowering {
        graph,
        lifts: Lifts::of(graph, &levels, waterline.lift),
        levels,
        waterline_bits: waterline.bits,
        builder: Builder::new(empty),
        values: vec![None; graph.values],
        strategies: Strategies::default(),
    };
    graph.insts.iter().try_for_each(|inst| lowering.inst(inst))?;
    lowering.finish()
}

struct Lowering<'a> {
    graph: &'a Graph,
    levels: Levels,
    lifts: Lifts,
    waterline_bits: u32,
    builder: Builder,
    /// The ciphertext of every slots value that has been lowered.
    values: Vec<Option<ValueId>>,
    strategies: Strategies,
}

impl Lowering<'_> {
    fn inst(&mut self, inst: &Inst) -> Result<(), LowerError> {
        self.builder.set_origin(inst.origin);
        if let Op::Input { input, part } = inst.op {
            let level = self.levels.input(input as usize);
            let ty = CtType::new(level, self.target(inst.results[0]));
            let fresh = self.builder.input(input, part, ty);
            self.values[inst.results[0].index()] = Some(self.whole(fresh, input)?);
            return Ok(());
        }
        let Some(level) = inst.results.iter().find_map(|&r| self.levels.value(r)) else {
            return Ok(());
        };
        if let Op::Linear { xs, transform } = &inst.op {
            return self.linear(inst, xs, *transform, level);
        }
        let result = self.single(inst, level)?;
        self.values[inst.results[0].index()] = Some(result);
        Ok(())
    }

    /// A fresh ciphertext of an input with what the client left out.
    fn whole(&mut self, fresh: ValueId, input: u32) -> Result<ValueId, LowerError> {
        let port = self.graph.inputs.get(input as usize).ok_or(LowerError::Undefined(fresh))?;
        port.compact.steps(self.graph.width).try_fold(fresh, |x, by| {
            let turned = self.builder.rotate(x, by);
            self.builder.add(x, turned)
        })
    }

    /// Lowers an operation with one result, which is to be at `level`.
    fn single(&mut self, inst: &Inst, level: usize) -> Result<ValueId, LowerError> {
        let value = inst.results[0];
        match &inst.op {
            Op::Input { .. } | Op::Linear { .. } => Err(LowerError::Undefined(value)),
            Op::Rotate { x, by } => {
                let x = self.read_extended(&[*x], level)?[0];
                Ok(self.builder.rotate(x, *by))
            }
            Op::Add { a, b } => {
                let read = self.read_extended(&[*a, *b], level)?;
                self.builder.add(read[0], read[1])
            }
            Op::AddConst { x, constant } => {
                let x = self.read(*x, level)?;
                let Some(Constant::Vector(slots)) = self.graph.consts.get(*constant) else {
                    return Err(LowerError::Constant { value });
                };
                let plain = self.builder.plain(slots);
                Ok(self.builder.add_plain(x, plain))
            }
            Op::Bootstrap { x } => {
                let x = self.read(*x, 0)?;
                let refreshed = self.builder.bootstrap(x, &self.target(value));
                refreshed.and_then(|x| self.builder.at_level(x, level))
            }
            Op::Product { a, b } => {
                let (a, b) = (self.read(*a, level + 1)?, self.read(*b, level + 1)?);
                let product = self.builder.mul(a, b)?;
                let product = self.builder.relinearise(product);
                self.builder.rescale(product)
            }
            Op::Polynomial { x, polynomials } => {
                let Some(Constant::Polynomials(set)) = self.graph.consts.get(*polynomials) else {
                    return Err(LowerError::Constant { value });
                };
                let fits = set.class.is_empty() || set.class.len() == self.graph.width;
                if !fits || set.class.iter().any(|&c| c as usize >= set.series.len()) {
                    return Err(LowerError::Constant { value });
                }
                let x = self.lowered(*x)?;
                let x = self.builder.ordinary(x);
                let target = (level, &self.target(value));
                polynomial::evaluate(&mut self.builder, &mut self.strategies, x, set, target)
            }
        }
    }

    fn linear(
        &mut self,
        inst: &Inst,
        xs: &[ValueId],
        transform: ConstId,
        level: usize,
    ) -> Result<(), LowerError> {
        let xs = xs.iter().map(|&x| self.read(x, level + 1)).collect::<Result<_, _>>()?;
        let map = match self.graph.consts.get(transform) {
            Some(Constant::Transform(_)) => self.builder.adopt(&self.graph.consts, transform),
            _ => None,
        };
        let map = map.ok_or(LowerError::Constant { value: inst.results[0] })?;
        let target = (level, &self.target(inst.results[0]));
        let sums = self.builder.linear(xs, map, target, inst.results.len());
        for (&r, sum) in inst.results.iter().zip(sums) {
            self.values[r.index()] = Some(sum);
        }
        Ok(())
    }

    /// The scale of a value that can have any.
    fn target(&self, v: ValueId) -> Scale {
        let bits = self.waterline_bits + self.lifts.chosen(v);
        Scale::pow2(i32::try_from(bits).unwrap_or(i32::MAX))
    }

    fn lowered(&self, v: ValueId) -> Result<ValueId, LowerError> {
        self.values.get(v.index()).copied().flatten().ok_or(LowerError::Undefined(v))
    }

    fn read(&mut self, v: ValueId, level: usize) -> Result<ValueId, LowerError> {
        let v = self.lowered(v)?;
        self.builder.at_level(v, level)
    }

    /// Values at `level`, extended if all of them are.
    fn read_extended(&mut self, vs: &[ValueId], level: usize) -> Result<Vec<ValueId>, LowerError> {
        let found: Vec<ValueId> = vs.iter().map(|&v| self.lowered(v)).collect::<Result<_, _>>()?;
        let extended =
            |&v: &ValueId| self.builder.ty(v).extended && self.builder.ty(v).level == level;
        if found.iter().all(extended) {
            return Ok(found);
        }
        found.into_iter().map(|v| self.builder.at_level(v, level)).collect()
    }

    fn finish(mut self) -> Result<ckks::Graph, LowerError> {
        let graph = self.graph;
        let mut outputs = Vec::with_capacity(graph.outputs.len());
        for (port, values) in &graph.outputs {
            let values = values.iter().map(|&v| self.read(v, 0)).collect::<Result<_, _>>()?;
            outputs.push((port.clone(), values));
        }
        Ok(self.builder.finish(outputs))
    }
}
