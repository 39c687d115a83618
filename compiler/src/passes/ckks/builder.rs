//! Appends ciphertext operations and gives each its exact type.
//!
//! The one place where levels and scales are computed, so that no pass can state a type that its
//! operands do not have. Equal drops are shared. Nothing is decided here.

use std::collections::BTreeMap;

use heplan_ir::ckks::{CtType, Graph, Op, Plain};
use heplan_ir::constants::ConstPool;
use heplan_ir::entity::{ConstId, OriginId, ValueId};
use heplan_ir::scale::Scale;

use super::LowerError;

/// A `ckks` graph under construction.
pub(super) struct Builder {
    graph: Graph,
    types: Vec<CtType>,
    drops: BTreeMap<(ValueId, usize), ValueId>,
    /// The ordinary form of every extended value that was divided.
    divided: BTreeMap<ValueId, ValueId>,
    origin: OriginId,
}

impl Builder {
    /// Goes on with `graph`, which has no instruction yet.
    pub(super) fn new(graph: Graph) -> Self {
        let origin = heplan_ir::origin::OriginTable::none();
        Self { graph, types: Vec::new(), drops: BTreeMap::new(), divided: BTreeMap::new(), origin }
    }

    /// The finished graph.
    pub(super) fn finish(self, outputs: Vec<(heplan_ir::slots::Port, Vec<ValueId>)>) -> Graph {
        Graph { outputs, ..self.graph }
    }

    /// The origin of everything appended from here on.
    pub(super) fn set_origin(&mut self, origin: OriginId) {
        self.origin = origin;
    }

    /// The type of a value.
    pub(super) fn ty(&self, v: ValueId) -> &CtType {
        &self.types[v.index()]
    }

    /// The scale of a value.
    pub(super) fn scale(&self, v: ValueId) -> Scale {
        self.ty(v).scale.clone()
    }

    /// The prime `q_level` as a scale.
    pub(super) fn prime(&self, level: usize) -> Scale {
        Scale::prime(self.graph.parameters.q()[level])
    }

    /// Takes over a constant of another pool.
    pub(super) fn adopt(&mut self, pool: &ConstPool, id: ConstId) -> Option<ConstId> {
        self.graph.consts.adopt(pool, id)
    }

    /// A plaintext of the given slots: a scalar where all are equal.
    pub(super) fn plain(&mut self, slots: &[f64]) -> Plain {
        match slots.split_first() {
            Some((&first, rest)) if rest.iter().all(|&v| v == first) => Plain::Scalar(first),
            _ => Plain::Vector(self.graph.consts.add_vector(slots.to_vec())),
        }
    }

    /// A fresh ciphertext.
    pub(super) fn input(&mut self, input: u32, part: u32, ty: CtType) -> ValueId {
        self.push(Op::Input { input, part }, ty)
    }

    /// `x`, divided if it is extended.
    pub(super) fn ordinary(&mut self, x: ValueId) -> ValueId {
        let ty = self.ty(x).clone();
        if !ty.extended {
            return x;
        }
        if let Some(&divided) = self.divided.get(&x) {
            return divided;
        }
        let divided = self.push(Op::ModDown { x }, CtType { extended: false, ..ty });
        self.divided.insert(x, divided);
        divided
    }

    /// `x` at `level`, divided if it is extended, dropped where it is higher.
    pub(super) fn at_level(&mut self, x: ValueId, level: usize) -> Result<ValueId, LowerError> {
        let x = self.ordinary(x);
        let ty = self.ty(x).clone();
        if ty.level == level {
            return Ok(x);
        }
        if ty.level < level {
            return Err(LowerError::LevelTooLow { value: x, found: ty.level, needed: level });
        }
        if let Some(&dropped) = self.drops.get(&(x, level)) {
            return Ok(dropped);
        }
        let dropped = self.push(Op::DropLevel { x, level }, CtType { level, ..ty });
        self.drops.insert((x, level), dropped);
        Ok(dropped)
    }

    /// Sum of values of equal type.
    pub(super) fn add(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, LowerError> {
        self.check(a, b, self.ty(a) == self.ty(b))?;
        Ok(self.push(Op::Add { a, b }, self.ty(a).clone()))
    }

    /// Difference of values of equal type.
    pub(super) fn sub(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, LowerError> {
        self.check(a, b, self.ty(a) == self.ty(b))?;
        Ok(self.push(Op::Sub { a, b }, self.ty(a).clone()))
    }

    /// Sum of what is there.
    pub(super) fn add_some(
        &mut self,
        a: Option<ValueId>,
        b: Option<ValueId>,
    ) -> Result<Option<ValueId>, LowerError> {
        match (a, b) {
            (Some(a), Some(b)) => self.add(a, b).map(Some),
            (a, b) => Ok(a.or(b)),
        }
    }

    /// Adds a plaintext at the operand's own scale.
    pub(super) fn add_plain(&mut self, x: ValueId, plain: Plain) -> ValueId {
        self.push(Op::AddPlain { x, plain }, self.ty(x).clone())
    }

    /// Multiplies by a plaintext so that the result has exactly the scale `target`.
    pub(super) fn mul_plain_to(&mut self, x: ValueId, plain: Plain, target: &Scale) -> ValueId {
        let ty = CtType { scale: target.clone(), ..self.ty(x).clone() };
        let scale = target.div(&self.ty(x).scale);
        self.push(Op::MulPlain { x, plain, scale }, ty)
    }

    /// Product of values of degree 1 at equal level; its degree is 2.
    pub(super) fn mul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, LowerError> {
        let (left, right) = (self.ty(a), self.ty(b));
        let fits = left.level == right.level && left.degree == 1 && right.degree == 1;
        let scale = left.scale.mul(&right.scale);
        let ty = CtType { degree: 2, ..CtType::new(left.level, scale) };
        self.check(a, b, fits)?;
        Ok(self.push(Op::Mul { a, b }, ty))
    }

    /// Degree 2 to degree 1.
    pub(super) fn relinearise(&mut self, x: ValueId) -> ValueId {
        let ty = CtType { degree: 1, ..self.ty(x).clone() };
        self.push(Op::Relinearise { x }, ty)
    }

    /// Divides by the last prime.
    pub(super) fn rescale(&mut self, x: ValueId) -> Result<ValueId, LowerError> {
        let ty = self.ty(x).clone();
        let Some(level) = ty.level.checked_sub(1) else {
            return Err(LowerError::LevelTooLow { value: x, found: 0, needed: 1 });
        };
        let scale = ty.scale.rescaled(self.graph.parameters.q()[ty.level]);
        Ok(self.push(Op::Rescale { x }, CtType { level, scale, ..ty }))
    }

    /// A refreshed value at level 0, at exactly the scale `target`.
    pub(super) fn bootstrap(&mut self, x: ValueId, target: &Scale) -> Result<ValueId, LowerError> {
        let parameters = &self.graph.parameters;
        let Some(level) = parameters.bootstrap().map(|b| b.output_level) else {
            let available = parameters.max_level();
            return Err(LowerError::Depth { needed: available + 1, available });
        };
        let ty = CtType::new(level, target.clone());
        Ok(self.push(Op::Bootstrap { x, scale: target.clone() }, ty))
    }

    /// A rotation to the left.
    pub(super) fn rotate(&mut self, x: ValueId, by: u32) -> ValueId {
        self.push(Op::Rotate { x, by }, self.ty(x).clone())
    }

    /// A linear map of values one level above, with results of scale exactly `target`, which are
    /// extended if it rotates.
    pub(super) fn linear(
        &mut self,
        xs: Vec<ValueId>,
        transform: ConstId,
        (level, target): (usize, &Scale),
        results: usize,
    ) -> Vec<ValueId> {
        let product = target.mul(&self.prime(level + 1));
        let scales = xs.iter().map(|&x| product.div(&self.ty(x).scale)).collect();
        let extended = self.graph.consts.transform(transform).rotates();
        let ty = CtType { extended, ..CtType::new(level, target.clone()) };
        let op = Op::Linear { xs, transform, scales };
        self.types.extend(std::iter::repeat_n(ty.clone(), results));
        self.graph.push(op, results, ty, self.origin)
    }

    fn check(&self, a: ValueId, b: ValueId, fits: bool) -> Result<(), LowerError> {
        let log = |v: ValueId| self.ty(v).scale.log2();
        if fits {
            Ok(())
        } else {
            Err(LowerError::Operands { a, a_scale: log(a), b, b_scale: log(b) })
        }
    }

    fn push(&mut self, op: Op<ValueId>, ty: CtType) -> ValueId {
        self.types.push(ty.clone());
        self.graph.push(op, 1, ty, self.origin)[0]
    }
}
