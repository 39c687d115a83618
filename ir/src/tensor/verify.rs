//! Invariants of the `tensor` level.
//!
//! - Operands come before their users.
//! - Every shape has at least one and fewer than 2^32 elements.
//! - Inputs have names, all different.
//! - An `Affine` has at least one term and no value twice; each matrix has as many rows as the
//!   result has elements and as many columns as its operand; a bias has one number per element.
//! - The operands of a `Product` have the shape of the result, and so has the operand of a
//!   `Function` or `Polynomial`.
//! - A `Polynomial` has one series, or one class per element.
//! - Parameters of functions are numbers; only bounds of `Clip` may be infinite, and they are in
//!   order.
//! - There is an output, every output exists, and no two share a name.
//! - Constants are sound; origins exist.

use super::{Graph, Op, Value};
use crate::constants::Constant;
use crate::entity::{ConstId, ValueId};
use crate::function::Function;
use crate::verify::{Errors, Location, VerifierError, check_constants};

impl Graph {
    /// Every breach of the level's invariants; empty for a sound graph.
    pub fn verify(&self) -> Vec<VerifierError> {
        let mut errors = Errors::default();
        check_constants(&self.consts, &mut errors);
        for (i, value) in self.values.iter().enumerate() {
            let context = self.origins.get_label(value.origin).unwrap_or_default();
            errors.extend(Location::Inst(i), &context, self.value_problems(i, value));
        }
        if self.outputs.is_empty() {
            errors.add(Location::Whole, &self.name, "there is no output");
        }
        for (i, (name, id)) in self.outputs.iter().enumerate() {
            if id.index() >= self.values.len() {
                errors.add(Location::Output(i), name, format!("{id} does not exist"));
            }
            if self.outputs[..i].iter().any(|o| o.0 == *name) {
                errors.add(Location::Output(i), name, "another output has the same name");
            }
        }
        errors.finish()
    }

    fn value_problems(&self, index: usize, value: &Value) -> Vec<String> {
        let mut out = Vec::new();
        if value.origin.index() >= self.origins.len() {
            out.push(format!("origin {} does not exist", value.origin));
        }
        let Some(elements) = elements(&value.shape) else {
            out.push(format!("shape {:?} has no element or too many", value.shape));
            return out;
        };
        let undefined =
            value.op.operands().into_iter().filter(|x| x.index() >= index).collect::<Vec<_>>();
        if !undefined.is_empty() {
            out.extend(undefined.iter().map(|x| format!("{x} is not defined before its use")));
            return out;
        }
        match &value.op {
            Op::Input { name } => self.check_input(index, name, &mut out),
            Op::Affine { terms, bias } => self.check_affine(terms, *bias, elements, &mut out),
            Op::Product { a, b } => {
                self.same_shape(*a, value, &mut out);
                self.same_shape(*b, value, &mut out);
            }
            Op::Function { x, function } => {
                self.same_shape(*x, value, &mut out);
                out.extend(function.problem());
            }
            Op::Polynomial { x, polynomials } => {
                self.same_shape(*x, value, &mut out);
                match self.consts.get(*polynomials) {
                    Some(Constant::Polynomials(p)) => out.extend(p.misfit(elements)),
                    _ => out.push(format!("{polynomials} is not a polynomial set")),
                }
            }
        }
        out
    }

    fn check_input(&self, index: usize, name: &str, out: &mut Vec<String>) {
        if name.is_empty() {
            out.push("input has no name".into());
        }
        let same = |v: &Value| matches!(&v.op, Op::Input { name: other } if other == name);
        if self.values[..index].iter().any(same) {
            out.push(format!("another input is named {name:?}"));
        }
    }

    fn check_affine(
        &self,
        terms: &[(ValueId, ConstId)],
        bias: Option<ConstId>,
        elements: usize,
        out: &mut Vec<String>,
    ) {
        if terms.is_empty() {
            out.push("there is no term".into());
        }
        for (i, (x, matrix)) in terms.iter().enumerate() {
            if terms[..i].iter().any(|t| t.0 == *x) {
                out.push(format!("{x} occurs twice among the terms"));
            }
            let wanted = (elements, self.value(*x).elements());
            match self.consts.get(*matrix) {
                Some(Constant::Matrix(m)) if (m.rows, m.cols) == wanted => {}
                Some(Constant::Matrix(m)) => out.push(format!(
                    "matrix of {x} is {} x {} instead of {} x {}",
                    m.rows, m.cols, wanted.0, wanted.1
                )),
                _ => out.push(format!("{matrix} is not a matrix")),
            }
        }
        match bias.map(|b| (b, self.consts.get(b))) {
            None => {}
            Some((_, Some(Constant::Vector(v)))) if v.len() == elements => {}
            Some((_, Some(Constant::Vector(v)))) => {
                out.push(format!("bias has {} numbers for {elements} elements", v.len()));
            }
            Some((b, _)) => out.push(format!("bias {b} is not a vector")),
        }
    }

    fn same_shape(&self, x: ValueId, value: &Value, out: &mut Vec<String>) {
        let found = &self.value(x).shape;
        if *found != value.shape {
            out.push(format!("{x} has shape {found:?}, the result {:?}", value.shape));
        }
    }
}

/// The number of elements of a shape, if it is between 1 and 2^32 - 1.
fn elements(shape: &[usize]) -> Option<usize> {
    let n = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    (n > 0 && u32::try_from(n).is_ok()).then_some(n)
}

impl Function {
    /// The breach of the ranges of its parameters, if there is one.
    pub fn problem(&self) -> Option<String> {
        if let Self::Clip { min, max } | Self::Saturate { min, max } = self {
            return (!matches!(min.partial_cmp(max), Some(order) if order.is_le()))
                .then(|| format!("bounds {min} and {max} are not in order"));
        }
        let bad = self.parameters().into_iter().find(|p| !p.1.is_finite())?;
        Some(format!("{} is {}", bad.0, bad.1))
    }
}
