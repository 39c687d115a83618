//! The `tensor` level: *what* is computed, on real tensors.
//!
//! **Everything linear is one sparse matrix; everything else is a polynomial.**
//! After import a graph has three kinds of operation: [`Op::Affine`], [`Op::Product`] and
//! [`Op::Function`]; approximation replaces the last by [`Op::Polynomial`].

mod verify;

use crate::constants::ConstPool;
use crate::entity::{ConstId, OriginId, ValueId};
use crate::function::Function;
use crate::origin::OriginTable;

/// An operation on tensors.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// An encrypted input, by its ONNX name.
    Input {
        /// The ONNX name.
        name: String,
    },
    /// `y = Σ_i M_i·x_i + b` over flattened elements: every linear operator, and every sum,
    /// residual connection and concatenation of encrypted tensors.
    ///
    /// No value occurs twice among the terms.
    Affine {
        /// Values with their matrices.
        terms: Vec<(ValueId, ConstId)>,
        /// One number per output element.
        bias: Option<ConstId>,
    },
    /// Element-wise product of two tensors of equal shape; `a = b` is the square.
    Product {
        /// Left operand.
        a: ValueId,
        /// Right operand.
        b: ValueId,
    },
    /// The same function on every element.
    Function {
        /// Operand.
        x: ValueId,
        /// The function.
        function: Function,
    },
    /// Chebyshev series on every element; operand elements are meant to lie in [-1, 1].
    Polynomial {
        /// Operand.
        x: ValueId,
        /// A [`PolynomialSet`](crate::series::PolynomialSet).
        polynomials: ConstId,
    },
}

impl Op {
    /// The values it reads, in order.
    pub fn operands(&self) -> Vec<ValueId> {
        match self {
            Self::Input { .. } => Vec::new(),
            Self::Affine { terms, .. } => terms.iter().map(|t| t.0).collect(),
            Self::Product { a, b } => vec![*a, *b],
            Self::Function { x, .. } | Self::Polynomial { x, .. } => vec![*x],
        }
    }

    /// The operation with its operands renamed.
    #[must_use]
    pub fn map_operands(&self, mut f: impl FnMut(ValueId) -> ValueId) -> Self {
        let mut op = self.clone();
        match &mut op {
            Self::Input { .. } => {}
            Self::Affine { terms, .. } => terms.iter_mut().for_each(|t| t.0 = f(t.0)),
            Self::Product { a, b } => (*a, *b) = (f(*a), f(*b)),
            Self::Function { x, .. } | Self::Polynomial { x, .. } => *x = f(*x),
        }
        op
    }
}

/// A value and the operation that computes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// How it is computed.
    pub op: Op,
    /// Its shape, the batch axis (bound to 1) included; a scalar has the empty shape.
    pub shape: Vec<usize>,
    /// The ONNX nodes behind it.
    pub origin: OriginId,
}

impl Value {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A graph of tensors. `ValueId` is the index into `values`, operands come before users.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Graph {
    /// A name for texts: the ONNX graph's, or the file's stem.
    pub name: String,
    /// In topological order.
    pub values: Vec<Value>,
    /// The outputs with their ONNX names.
    pub outputs: Vec<(String, ValueId)>,
    /// Matrices, vectors and polynomials.
    pub consts: ConstPool,
    /// Where values come from.
    pub origins: OriginTable,
}

impl Graph {
    /// Appends a value.
    pub fn push(&mut self, op: Op, shape: Vec<usize>, origin: OriginId) -> ValueId {
        self.values.push(Value { op, shape, origin });
        ValueId::new(self.values.len() - 1)
    }

    /// The value with this id.
    ///
    /// # Panics
    /// If `id` is not of this graph.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The ids of all values, operands first.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = ValueId> + use<> {
        (0..self.values.len()).map(ValueId::new)
    }

    /// For every value, the values that read it (a square's operand counts once).
    pub fn users(&self) -> Vec<Vec<ValueId>> {
        let mut users = vec![Vec::new(); self.values.len()];
        for id in self.ids() {
            let mut operands = self.value(id).op.operands();
            operands.sort();
            operands.dedup();
            operands.into_iter().for_each(|x| users[x.index()].push(id));
        }
        users
    }
}
