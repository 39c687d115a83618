//! The `plan` level: *in what order*, over registers. It is what ships: the whole contract between
//! compiler and runtime.

mod format;
mod keys;
mod verify;

use std::fmt;

use crate::ckks::{CtType, Op};
use crate::constants::ConstPool;
use crate::entity::RegId;
use crate::features::Features;
use crate::parameters::Parameters;
use crate::slots::Port;
use crate::tail::Answer;

pub use format::PlanError;
pub(crate) use keys::problems as key_problems;
pub use keys::required_keys;

/// An instruction over registers.
#[derive(Clone, Debug, PartialEq)]
pub struct Inst {
    /// What is computed.
    pub op: Op<RegId>,
    /// Registers that it writes; it may overwrite registers that it reads for the last time.
    pub results: Vec<RegId>,
    /// The type of every result.
    pub ty: CtType,
    /// Registers whose content is dead after this instruction and that it does not overwrite.
    pub frees: Vec<RegId>,
    /// Index into [`Plan::origins`].
    pub origin: u32,
}

/// One evaluation key that the plan needs.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct KeySpec {
    /// What it switches.
    pub kind: KeyKind,
    /// The highest level at which the plan uses it; the key covers all levels up to it.
    pub level: usize,
}

/// What an evaluation key switches from.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub enum KeyKind {
    /// The square of the secret.
    Relinearise,
    /// The secret rotated so that every sample moves by this many of its slots to the left (Galois
    /// element `5^(by·batch) mod 2N`).
    Rotate(u32),
    /// The conjugated secret (Galois element `2N - 1`).
    Conjugate,
    /// The secret, to the ephemeral sparse one of a bootstrapping; at `q_0·p_0` only, so that its level
    /// is 0.
    ToSparse,
    /// The ephemeral sparse secret, back to the secret, with a rotation by
    /// [`Bootstrap::turn`](crate::bootstrap::Bootstrap::turn).
    FromSparse,
}

impl KeyKind {
    /// Of [`Op::Rotate`] by so many of `width` slots: by all of them it is complex conjugation.
    pub const fn rotation(by: u32, width: usize) -> Self {
        if by as usize == width { Self::Conjugate } else { Self::Rotate(by) }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relinearise => write!(f, "the relinearisation key"),
            Self::Rotate(by) => write!(f, "the key of rotation {by}"),
            Self::Conjugate => write!(f, "the conjugation key"),
            Self::ToSparse => write!(f, "the key to the sparse secret"),
            Self::FromSparse => write!(f, "the key from the sparse secret"),
        }
    }
}

/// Identity of a plan: the BLAKE3 hash of its content.
pub type PlanId = [u8; 32];

/// What the client needs: everything but the weights.
///
/// Its RON form is the `.keyparams` file.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyParams {
    /// The plan that it belongs to.
    pub plan: PlanId,
    /// The model's name.
    pub name: String,
    /// Ring, primes, digits.
    pub parameters: Parameters,
    /// Evaluation keys, sorted by kind, one per kind.
    pub keys: Vec<KeySpec>,
    /// Inputs with the type that their fresh ciphertexts have.
    pub inputs: Vec<(Port, CtType)>,
    /// Outputs with the type that they come back with.
    pub outputs: Vec<(Port, CtType)>,
    /// What the client makes of the outputs; empty where they are the model's answers themselves.
    pub answers: Vec<Answer>,
    /// Ranges of single elements, of the inputs where these have units of their own.
    pub features: Vec<Features>,
    /// Bits of precision that compilation expects of the outputs, by simulation.
    pub precision_bits: f64,
}

/// An execution plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The model's name.
    pub name: String,
    /// Ring, primes, digits.
    pub parameters: Parameters,
    /// Evaluation keys, sorted by kind, one per kind.
    pub keys: Vec<KeySpec>,
    /// In order of execution.
    pub insts: Vec<Inst>,
    /// Number of registers.
    pub registers: usize,
    /// Inputs.
    pub inputs: Vec<(Port, CtType)>,
    /// Outputs: one register per ciphertext, live at the end.
    pub outputs: Vec<(Port, CtType, Vec<RegId>)>,
    /// What the client makes of the outputs; empty where they are the model's answers themselves.
    pub answers: Vec<Answer>,
    /// Ranges of single elements, of the inputs where these have units of their own.
    pub features: Vec<Features>,
    /// Transforms and vectors.
    pub consts: ConstPool,
    /// Labels of the ONNX nodes behind the instructions; entry 0 is empty.
    pub origins: Vec<String>,
    /// Bits of precision that compilation expects of the outputs, by simulation.
    pub precision_bits: f64,
}
