//! What can go wrong when ciphertexts are computed on.

use heplan_ir::plan::KeyKind;
use heplan_ir::scale::Scale;
use thiserror::Error;

use crate::encoder::EncodeError;
use crate::files::FileError;

/// Why an operation on ciphertexts is refused. Nothing is ever computed on operands that do not fit.
#[derive(Debug, Error)]
pub enum EvalError {
    /// Operands at different levels.
    #[error("{op} of ciphertexts at levels {a} and {b}")]
    Level {
        /// The operation.
        op: &'static str,
        /// Level of the first.
        a: usize,
        /// Level of the second.
        b: usize,
    },
    /// Operands at different scales.
    #[error("{op} of ciphertexts at scales 2^{a} and 2^{b}")]
    Scale {
        /// The operation.
        op: &'static str,
        /// Scale of the first.
        a: Scale,
        /// Scale of the second.
        b: Scale,
    },
    /// An operand of the wrong degree.
    #[error("{op} of a ciphertext of degree {found}, which must be {needed}")]
    Degree {
        /// The operation.
        op: &'static str,
        /// The degree found.
        found: u8,
        /// The degree needed.
        needed: u8,
    },
    /// An extended operand where only an ordinary one will do, or the other way about.
    #[error("{op} of a ciphertext whose division is still to come, or that has none to come")]
    Extended {
        /// The operation.
        op: &'static str,
    },
    /// Rescaling at level 0, or a drop that does not go down.
    #[error("{op} from level {from} to {to}")]
    NoSuchLevel {
        /// The operation.
        op: &'static str,
        /// Level of the operand.
        from: usize,
        /// Level asked for.
        to: i64,
    },
    /// A rotation by as many slots as there are, or more.
    #[error("a rotation by {by} of {width} slots")]
    Step {
        /// Steps asked for.
        by: u32,
        /// Slots of a ciphertext.
        width: usize,
    },
    /// A linear map whose transform, operands or scales do not fit each other.
    #[error("a linear map of {what}: {found}, where {needed} is needed")]
    Linear {
        /// Which number does not fit.
        what: &'static str,
        /// What was found.
        found: usize,
        /// What fits.
        needed: usize,
    },
    /// Bootstrapping with parameters that have none.
    #[error("bootstrapping, which the parameters do not have")]
    NoBootstrap,
    /// The keys lack one.
    #[error("the evaluation keys lack {0}")]
    MissingKey(KeyKind),
    /// A key that does not reach the level.
    #[error("{kind} reaches level {found}, and level {needed} is needed")]
    KeyLevel {
        /// The key.
        kind: KeyKind,
        /// The highest level that it serves.
        found: usize,
        /// The level of the operand.
        needed: usize,
    },
    /// A plaintext that cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A key that cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}
