//! The `slots` level: *where* each element lives.
//!
//! A value is one ciphertext's vector of `width` real slots; a tensor that does not fit one
//! ciphertext is several values.

mod compact;
mod port;
mod verify;

use crate::constants::ConstPool;
use crate::entity::{ConstId, OriginId, ValueId};
use crate::layout::Layout;
use crate::origin::OriginTable;

pub use compact::Compact;

/// An operation on slot vectors.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Part `part` of the input `input`.
    Input {
        /// Index into [`Graph::inputs`].
        input: u32,
        /// Which of its ciphertexts.
        part: u32,
    },
    /// A linear map; gives one result per output of the transform.
    Linear {
        /// One value per input of the transform.
        xs: Vec<ValueId>,
        /// A [`LinearTransform`](crate::transform::LinearTransform).
        transform: ConstId,
    },
    /// `y[t] = x[(t + by) mod width]`.
    Rotate {
        /// Operand.
        x: ValueId,
        /// Steps to the left, `0 < by < width`.
        by: u32,
    },
    /// Slot-wise sum.
    Add {
        /// Left operand.
        a: ValueId,
        /// Right operand.
        b: ValueId,
    },
    /// Adds a constant vector of `width` slots.
    AddConst {
        /// Operand.
        x: ValueId,
        /// A vector.
        constant: ConstId,
    },
    /// Slot-wise product; `a = b` is the square.
    Product {
        /// Left operand.
        a: ValueId,
        /// Right operand.
        b: ValueId,
    },
    /// Chebyshev series on every slot.
    Polynomial {
        /// Operand.
        x: ValueId,
        /// A polynomial set whose `class` is empty or has `width` entries (one per slot).
        polynomials: ConstId,
    },
    /// The same slots with all levels that a bootstrap leaves; what goes in may have none left.
    Bootstrap {
        /// Operand.
        x: ValueId,
    },
}

impl Op {
    /// The values it reads, in order.
    pub fn operands(&self) -> Vec<ValueId> {
        match self {
            Self::Input { .. } => Vec::new(),
            Self::Linear { xs, .. } => xs.clone(),
            Self::Add { a, b } | Self::Product { a, b } => vec![*a, *b],
            Self::Rotate { x, .. }
            | Self::AddConst { x, .. }
            | Self::Polynomial { x, .. }
            | Self::Bootstrap { x } => vec![*x],
        }
    }
}

impl Op {
    /// The operation over other operands.
    #[must_use]
    pub fn map(&self, mut f: impl FnMut(ValueId) -> ValueId) -> Self {
        let mut op = self.clone();
        match &mut op {
            Self::Input { .. } => {}
            Self::Linear { xs, .. } => xs.iter_mut().for_each(|x| *x = f(*x)),
            Self::Add { a, b } | Self::Product { a, b } => (*a, *b) = (f(*a), f(*b)),
            Self::Rotate { x, .. }
            | Self::AddConst { x, .. }
            | Self::Polynomial { x, .. }
            | Self::Bootstrap { x } => *x = f(*x),
        }
        op
    }
}

/// An instruction: an operation and its results (several only for `Linear`).
#[derive(Clone, Debug, PartialEq)]
pub struct Inst {
    /// What is computed.
    pub op: Op,
    /// The values that it defines, in increasing order.
    pub results: Vec<ValueId>,
    /// The ONNX nodes behind it.
    pub origin: OriginId,
}

/// An input or output of the model with its layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// The ONNX name.
    pub name: String,
    /// The tensor's shape, batch axis included.
    pub shape: Vec<usize>,
    /// Where its elements live.
    pub layout: Layout,
    /// The tensor's value is the slots' value times this: the client divides inputs by it before
    /// encryption and multiplies outputs by it after decryption.
    pub factor: f64,
    /// The smallest and largest element seen in calibration, in the tensor's own units.
    pub range: (f64, f64),
    /// What the client leaves out of its fresh ciphertexts; of an output nothing.
    pub compact: Compact,
}

/// A graph of slot vectors. Values are numbered densely in the order of definition.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Graph {
    /// A name for texts.
    pub name: String,
    /// Slots of one ciphertext.
    pub width: usize,
    /// In topological order.
    pub insts: Vec<Inst>,
    /// The model's inputs.
    pub inputs: Vec<Port>,
    /// The model's outputs, each with one value per ciphertext of its layout.
    pub outputs: Vec<(Port, Vec<ValueId>)>,
    /// Transforms, vectors and polynomials.
    pub consts: ConstPool,
    /// Where values come from.
    pub origins: OriginTable,
    /// Number of values.
    pub values: usize,
}

impl Graph {
    /// Appends an instruction with `results` results and returns them.
    pub fn push(&mut self, op: Op, results: usize, origin: OriginId) -> Vec<ValueId> {
        let ids: Vec<ValueId> = (self.values..self.values + results).map(ValueId::new).collect();
        self.values += results;
        self.insts.push(Inst { op, results: ids.clone(), origin });
        ids
    }
}
