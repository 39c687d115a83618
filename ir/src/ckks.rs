//! The `ckks` level: *when* to rescale, relinearise and drop levels; and the operations that the
//! `plan` level executes.
//!
//! Both levels share [`Op`], over values here and over registers there.

pub(crate) mod rules;
pub(crate) mod verify;

use crate::constants::ConstPool;
use crate::entity::{ConstId, OriginId, ValueId};
use crate::origin::OriginTable;
use crate::parameters::Parameters;
use crate::scale::Scale;
use crate::slots::Port;

/// The type of a ciphertext.
///
/// An *extended* ciphertext at level `ℓ` still has a division to come: it holds its value times `q_{ℓ+1}·P`, with `P` the
/// product of the special primes, over `q_0 … q_{ℓ+1}` and those. Linear maps leave it so, because sums and rotations that
/// follow are cheaper there: one [`Op::ModDown`] ends them all, where each would take one (Bossuat, Mouchet,
/// Troncoso-Pastoriza, Hubaux: ePrint 2020/1203, section 4.3, whose double hoisting this makes a matter of types).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CtType {
    /// Index of its last prime: the modulus is `q_0 ⋯ q_level`.
    pub level: usize,
    /// Its scale.
    pub scale: Scale,
    /// Number of polynomials less one: 1, or 2 between a product and its relinearisation.
    pub degree: u8,
    /// Whether a division is still to come.
    pub extended: bool,
}

impl CtType {
    /// An ordinary ciphertext of two polynomials.
    pub fn new(level: usize, scale: Scale) -> Self {
        Self { level, scale, degree: 1, extended: false }
    }
}

/// A plaintext operand: the same number in every slot, or a vector of `width` slots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Plain {
    /// One number for all slots; costs no encoding.
    Scalar(f64),
    /// A vector constant, the same for every sample.
    Vector(ConstId),
}

/// An operation on ciphertexts, over operands of type `V`.
///
/// The comment of each gives the type of its results, for operands at level `ℓ` and scale `s`.
#[derive(Clone, Debug, PartialEq)]
pub enum Op<V> {
    /// A fresh ciphertext of the client: type as declared.
    Input {
        /// Index into the inputs.
        input: u32,
        /// Which of its ciphertexts.
        part: u32,
    },
    /// A linear map, operands all at level `ℓ`, degree 1; results at `ℓ - 1`, scale `s_i·scales_i / q_ℓ`,
    /// which is the same for every `i`; one result per output of the transform, extended if the transform rotates.
    Linear {
        /// One value per input of the transform.
        xs: Vec<V>,
        /// The transform.
        transform: ConstId,
        /// The scale at which the diagonals of input `i` are encoded.
        scales: Vec<Scale>,
    },
    /// `y[t] = x[(t + by) mod width]`; type unchanged, degree 1, extended or not.
    ///
    /// A rotation by `width` is complex conjugation, which leaves real slots where they are: it counts for what is no
    /// message ([`Compact`](crate::slots::Compact)).
    Rotate {
        /// Operand.
        x: V,
        /// Steps to the left, `0 < by ≤ width`.
        by: u32,
    },
    /// `y + x` rotated by so many slots, as one step: the sum is taken where the rotation is made. Operands of equal type,
    /// degree 1, extended or not.
    RotateAdd {
        /// What is rotated.
        x: V,
        /// As of [`Rotate`](Self::Rotate).
        by: u32,
        /// What is added to it.
        y: V,
    },
    /// Sum of operands of equal type, extended or not.
    Add {
        /// Left operand.
        a: V,
        /// Right operand.
        b: V,
    },
    /// Difference of operands of equal type.
    Sub {
        /// Left operand.
        a: V,
        /// Right operand.
        b: V,
    },
    /// Adds a plaintext encoded at the operand's own level and scale.
    AddPlain {
        /// Operand.
        x: V,
        /// What is added.
        plain: Plain,
    },
    /// Multiplies by a plaintext encoded at `scale`: result scale `s·scale`.
    MulPlain {
        /// Operand.
        x: V,
        /// The factor.
        plain: Plain,
        /// Its scale.
        scale: Scale,
    },
    /// Product of degree-1 operands at equal level: scale `s_a·s_b`, degree 2.
    /// `a = b` is the square.
    Mul {
        /// Left operand.
        a: V,
        /// Right operand.
        b: V,
    },
    /// Degree 2 to degree 1.
    Relinearise {
        /// Operand.
        x: V,
    },
    /// Divides by the last prime: level `ℓ - 1`, scale `s / q_ℓ`.
    Rescale {
        /// Operand.
        x: V,
    },
    /// Takes the division of an extended ciphertext; level and scale unchanged.
    ModDown {
        /// Operand.
        x: V,
    },
    /// Forgets primes: level `level < ℓ`, scale unchanged.
    DropLevel {
        /// Operand.
        x: V,
        /// The level of the result.
        level: usize,
    },
    /// Refreshes a ciphertext at level 0: the same slots at the level that the parameters say
    /// ([`Bootstrap::output_level`](crate::bootstrap::Bootstrap)) and at `scale`.
    Bootstrap {
        /// Operand.
        x: V,
        /// The scale of the result.
        scale: Scale,
    },
}

impl<V: Copy> Op<V> {
    /// Whether it runs beside no other instruction: an input is only loaded, linear maps and bootstraps are large and busy
    /// all threads by themselves.
    pub const fn runs_alone(&self) -> bool {
        matches!(self, Self::Input { .. } | Self::Linear { .. } | Self::Bootstrap { .. })
    }

    /// What it reads, in order.
    pub fn operands(&self) -> Vec<V> {
        match self {
            Self::Input { .. } => Vec::new(),
            Self::Linear { xs, .. } => xs.clone(),
            Self::Add { a, b } | Self::Sub { a, b } | Self::Mul { a, b } => vec![*a, *b],
            Self::RotateAdd { x, y, .. } => vec![*x, *y],
            Self::Rotate { x, .. }
            | Self::AddPlain { x, .. }
            | Self::MulPlain { x, .. }
            | Self::Relinearise { x }
            | Self::Rescale { x }
            | Self::ModDown { x }
            | Self::DropLevel { x, .. }
            | Self::Bootstrap { x, .. } => vec![*x],
        }
    }

    /// The operation over other operands.
    pub fn map<W>(&self, mut f: impl FnMut(V) -> W) -> Op<W> {
        match self {
            Self::Input { input, part } => Op::Input { input: *input, part: *part },
            Self::Linear { xs, transform, scales } => Op::Linear {
                xs: xs.iter().map(|&x| f(x)).collect(),
                transform: *transform,
                scales: scales.clone(),
            },
            Self::Rotate { x, by } => Op::Rotate { x: f(*x), by: *by },
            Self::RotateAdd { x, by, y } => Op::RotateAdd { x: f(*x), by: *by, y: f(*y) },
            Self::Add { a, b } => Op::Add { a: f(*a), b: f(*b) },
            Self::Sub { a, b } => Op::Sub { a: f(*a), b: f(*b) },
            Self::AddPlain { x, plain } => Op::AddPlain { x: f(*x), plain: *plain },
            Self::MulPlain { x, plain, scale } => {
                Op::MulPlain { x: f(*x), plain: *plain, scale: scale.clone() }
            }
            Self::Mul { a, b } => Op::Mul { a: f(*a), b: f(*b) },
            Self::Relinearise { x } => Op::Relinearise { x: f(*x) },
            Self::Rescale { x } => Op::Rescale { x: f(*x) },
            Self::ModDown { x } => Op::ModDown { x: f(*x) },
            Self::DropLevel { x, level } => Op::DropLevel { x: f(*x), level: *level },
            Self::Bootstrap { x, scale } => Op::Bootstrap { x: f(*x), scale: scale.clone() },
        }
    }
}

/// An instruction of the `ckks` level.
#[derive(Clone, Debug, PartialEq)]
pub struct Inst {
    /// What is computed.
    pub op: Op<ValueId>,
    /// The values that it defines (several only for `Linear`).
    pub results: Vec<ValueId>,
    /// The type of every result.
    pub ty: CtType,
    /// The ONNX nodes behind it.
    pub origin: OriginId,
}

/// A graph of ciphertexts under fixed parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// A name for texts.
    pub name: String,
    /// Ring, primes and digits.
    pub parameters: Parameters,
    /// In topological order.
    pub insts: Vec<Inst>,
    /// Inputs, as on the slots level.
    pub inputs: Vec<Port>,
    /// Outputs, each with one value per ciphertext of its layout.
    pub outputs: Vec<(Port, Vec<ValueId>)>,
    /// Transforms and vectors.
    pub consts: ConstPool,
    /// Where values come from.
    pub origins: OriginTable,
    /// Number of values.
    pub values: usize,
}

impl Graph {
    /// Appends an instruction with `results` results of type `ty`.
    pub fn push(
        &mut self,
        op: Op<ValueId>,
        results: usize,
        ty: CtType,
        origin: OriginId,
    ) -> Vec<ValueId> {
        let ids: Vec<ValueId> = (self.values..self.values + results).map(ValueId::new).collect();
        self.values += results;
        self.insts.push(Inst { op, results: ids.clone(), ty, origin });
        ids
    }
}
