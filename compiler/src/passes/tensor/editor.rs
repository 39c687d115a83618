//! Rebuilds a graph value by value: what every tensor pass does.
//!
//! Constants are carried over only when something uses them, origins always.

use heplan_ir::constants::Constant;
use heplan_ir::entity::{ConstId, OriginId, ValueId};
use heplan_ir::matrix::SparseMatrix;
use heplan_ir::series::PolynomialSet;
use heplan_ir::tensor::{Graph, Op, Value};

/// A graph under construction beside the one that it replaces.
pub(super) struct Editor<'g> {
    pub(super) old: &'g Graph,
    pub(super) new: Graph,
    /// For every old value what stands for it.
    map: Vec<Option<ValueId>>,
}

impl<'g> Editor<'g> {
    pub(super) fn new(old: &'g Graph) -> Self {
        let new =
            Graph { name: old.name.clone(), origins: old.origins.clone(), ..Graph::default() };
        Self { old, new, map: vec![None; old.values.len()] }
    }

    /// What stands for an old value that was already visited.
    pub(super) fn of(&self, old: ValueId) -> ValueId {
        self.map[old.index()].expect("operands come before users")
    }

    /// Declares what stands for an old value.
    pub(super) fn set(&mut self, old: ValueId, new: ValueId) {
        self.map[old.index()] = Some(new);
    }

    /// Appends a value with the shape of an old one.
    pub(super) fn push_like(&mut self, old: ValueId, op: Op, origin: OriginId) -> ValueId {
        self.new.push(op, self.old.value(old).shape.clone(), origin)
    }

    /// Carries an old value over unchanged.
    pub(super) fn copy(&mut self, old: ValueId) -> ValueId {
        let Value { op, shape, origin } = self.old.value(old);
        let mut op = op.map_operands(|x| self.of(x));
        match &mut op {
            Op::Affine { terms, bias } => {
                terms.iter_mut().for_each(|t| t.1 = self.constant(t.1));
                *bias = bias.map(|b| self.constant(b));
            }
            Op::Polynomial { polynomials, .. } => *polynomials = self.constant(*polynomials),
            Op::Input { .. } | Op::Product { .. } | Op::Function { .. } => {}
        }
        let new = self.new.push(op, shape.clone(), *origin);
        self.set(old, new);
        new
    }

    /// The affine map `Σ M_i·x_i + b`: terms of equal value are added, zero terms and a zero bias
    /// dropped.
    pub(super) fn affine(
        &mut self,
        terms: Vec<(ValueId, SparseMatrix)>,
        bias: Option<Vec<f64>>,
    ) -> Op {
        let mut merged: Vec<(ValueId, SparseMatrix)> = Vec::new();
        for (x, m) in terms {
            match merged.iter_mut().find(|t| t.0 == x) {
                Some(t) => t.1 = t.1.plus(&m),
                None => merged.push((x, m)),
            }
        }
        // A value that is the same for all data keeps one term: it has to be a ciphertext.
        let some = merged.iter().position(|t| t.1.nnz() > 0).unwrap_or(0);
        let mut index = 0..;
        merged.retain(|t| index.next() == Some(some) || t.1.nnz() > 0);
        let terms = merged.into_iter().map(|(x, m)| (x, self.new.consts.add_matrix(m))).collect();
        let bias = bias.filter(|b| b.iter().any(|&v| v != 0.0));
        Op::Affine { terms, bias: bias.map(|b| self.new.consts.add_vector(b)) }
    }

    pub(super) fn polynomial(&mut self, x: ValueId, set: PolynomialSet) -> Op {
        let set = Constant::Polynomials(std::sync::Arc::new(set));
        Op::Polynomial { x, polynomials: self.new.consts.add(set) }
    }

    /// The new graph, its outputs those of the old one.
    pub(super) fn finish(mut self) -> Graph {
        let outputs = self.old.outputs.iter().map(|(n, id)| (n.clone(), self.of(*id))).collect();
        self.new.outputs = outputs;
        self.new
    }

    fn constant(&mut self, id: ConstId) -> ConstId {
        let new = self.new.consts.adopt(&self.old.consts, id);
        new.expect("a verified graph names its constants")
    }
}
