//! Operators made of others: a node may import other operators as its parts.
//!
//! Parts carry the node's origin. Constants among the operands are folded by the parts themselves,
//! so that a composition of constants is a constant.

use std::rc::Rc;

use heplan_ir::diagnostic::Code;
use heplan_onnx::{AttributeValue, Attributes, Node};

use super::array::{Array, Data};
use super::context::{Emitted, Fault, NodeCx, Operand, Secret, fault};
use super::registry;

/// The operator set that parts are written in.
const OPSET: i64 = 23;

/// An attribute of a part.
pub(super) fn int(value: i64) -> AttributeValue {
    AttributeValue::Int(value)
}

/// A list of integers as an operand.
pub(super) fn integers(values: &[i64]) -> Operand {
    Operand::Constant(Rc::new(Array::ints(values.to_vec())))
}

/// A shape or a list of axes as an operand.
pub(super) fn lengths(values: &[usize]) -> Operand {
    integers(&values.iter().map(|&v| v as i64).collect::<Vec<_>>())
}

/// One number as an operand.
pub(super) fn number(value: f64) -> Operand {
    Operand::Constant(Rc::new(Array::scalar(value)))
}

/// Numbers as an operand.
pub(super) fn numbers(shape: Vec<usize>, values: Vec<f64>) -> Operand {
    Operand::Constant(Rc::new(Array { shape, data: Data::Float(values) }))
}

/// Truth values as an operand.
pub(super) fn truths(shape: Vec<usize>, values: Vec<bool>) -> Operand {
    Operand::Constant(Rc::new(Array { shape, data: Data::Bool(values) }))
}

impl NodeCx<'_> {
    /// Imports `op` on these operands as a part of this node; its first result.
    pub(super) fn part(
        &mut self,
        op: &str,
        operands: &[&Operand],
        attributes: &[(&str, AttributeValue)],
    ) -> Result<Operand, Fault> {
        let operands = operands.iter().map(|o| Some((*o).clone())).collect();
        let mut results = self.parts(op, operands, attributes, 1)?;
        if results.is_empty() {
            return Err(fault(Code::BadNode, format!("{op} has no result")));
        }
        Ok(results.swap_remove(0))
    }

    /// Imports `op` on these operands as a part of this node; all its results.
    pub(super) fn parts(
        &mut self,
        op: &str,
        operands: Vec<Option<Operand>>,
        attributes: &[(&str, AttributeValue)],
        outputs: usize,
    ) -> Emitted {
        let own = |(name, value): &(&str, AttributeValue)| ((*name).to_owned(), value.clone());
        let node = Node {
            index: self.node.index,
            name: self.node.name.clone(),
            op_type: op.to_owned(),
            domain: String::new(),
            inputs: (0..operands.len()).map(|i| format!("{op} {i}")).collect(),
            outputs: (0..outputs).map(|i| format!("{op} result {i}")).collect(),
            attributes: attributes.iter().map(own).collect::<Attributes>(),
        };
        let Some(entry) = registry::find("", op) else {
            return Err(fault(Code::UnknownOperator, format!("operator {op} is not imported")));
        };
        let mut cx = NodeCx {
            node: &node,
            opset: OPSET,
            operands,
            data_types: Vec::new(),
            graph: &mut *self.graph,
            origin: self.origin,
            notes: &mut *self.notes,
            ends: false,
        };
        (entry.import)(&mut cx)
    }

    /// `a + b`, broadcast.
    pub(super) fn plus(&mut self, a: &Operand, b: &Operand) -> Result<Operand, Fault> {
        self.part("Add", &[a, b], &[])
    }

    /// `a - b`, broadcast.
    pub(super) fn minus(&mut self, a: &Operand, b: &Operand) -> Result<Operand, Fault> {
        self.part("Sub", &[a, b], &[])
    }

    /// `a·b`, broadcast.
    pub(super) fn times(&mut self, a: &Operand, b: &Operand) -> Result<Operand, Fault> {
        self.part("Mul", &[a, b], &[])
    }

    /// `a^exponent`.
    pub(super) fn power(&mut self, a: &Operand, exponent: f64) -> Result<Operand, Fault> {
        self.part("Pow", &[a, &number(exponent)], &[])
    }

    /// The operand under another shape of as many elements.
    pub(super) fn shaped(&mut self, a: &Operand, shape: &[usize]) -> Result<Operand, Fault> {
        self.part("Reshape", &[a, &lengths(shape)], &[])
    }

    /// The mean over axes, which stay with length 1.
    pub(super) fn mean(&mut self, a: &Operand, axes: &[usize]) -> Result<Operand, Fault> {
        self.part("ReduceMean", &[a, &lengths(axes)], &[])
    }

    /// An operand's shape.
    pub(super) fn shape_of(&self, a: &Operand) -> Result<Vec<usize>, Fault> {
        match a {
            Operand::Secret(x) => Ok(x.shape.clone()),
            Operand::Constant(c) => Ok(c.shape.clone()),
            _ => Err(fault(Code::UnsupportedMode, "an operand is not a tensor")),
        }
    }
}

/// Elements in groups that are summed or compared together.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    /// For every element its group, if it is in one.
    pub(super) of: Vec<Option<u32>>,
    /// For every group its elements, at least one.
    pub(super) members: Vec<Vec<u32>>,
}

impl Groups {
    /// Groups by a key per element; elements without one are in none, and keys without elements
    /// make no group.
    pub(super) fn by_key(keys: &[Option<usize>]) -> Self {
        let count = keys.iter().flatten().max().map_or(0, |m| m + 1);
        let mut lists: Vec<Vec<u32>> = vec![Vec::new(); count];
        for (e, key) in keys.iter().enumerate() {
            if let Some(k) = key {
                lists[*k].push(super::context::column(e));
            }
        }
        let members: Vec<Vec<u32>> = lists.into_iter().filter(|l| !l.is_empty()).collect();
        let mut of = vec![None; keys.len()];
        for (g, list) in members.iter().enumerate() {
            for &e in list {
                of[e as usize] = Some(super::context::column(g));
            }
        }
        Self { of, members }
    }
}

/// The encrypted tensor that an operand is; constants have no place here.
pub(super) fn secret(operand: &Operand) -> Result<Secret, Fault> {
    match operand {
        Operand::Secret(x) => Ok(x.clone()),
        _ => Err(fault(Code::UnsupportedMode, "a part is not encrypted data")),
    }
}
