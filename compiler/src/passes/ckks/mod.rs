//! From the `slots` level to the `ckks` level: *when* to rescale, relinearise and drop levels, and
//! under which parameters.
//!
//! [`levels`] says at which level every value is needed, [`lift`] how far its scale may exceed the
//! waterline, [`compact`] how much of fresh ciphertexts is left out, [`parameters`] finds the prime chains
//! that carry that depth, and [`lower`](mod@lower) emits the ciphertext operations, with
//! [`polynomial`] for Chebyshev series. [`fuse_rotations`](mod@fuse_rotations) then joins rotations with sums.
//! Nothing here chooses layouts or rotations; those arrive decided.

mod builder;
mod chebyshev;
pub mod compact;
pub mod fuse_rotations;
pub mod levels;
pub mod lift;
pub mod lower;
pub mod parameters;
pub mod polynomial;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use heplan_ir::entity::ValueId;
use thiserror::Error;

pub use fuse_rotations::fuse_rotations;
pub use levels::Levels;
pub use lower::{Waterline, lower};

/// A graph that cannot be lowered. Every variant but [`LowerError::Depth`] and
/// [`LowerError::Width`] means that an earlier pass broke its contract.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum LowerError {
    /// The graph was laid out for another ring.
    #[error("a graph of {graph} slots does not fit parameters of {parameters} slots")]
    Width {
        /// Slots of the graph.
        graph: usize,
        /// Slots of the parameters.
        parameters: usize,
    },
    /// The chain is too short.
    #[error("the graph needs {needed} levels and the parameters have {available}")]
    Depth {
        /// Levels that the graph consumes.
        needed: usize,
        /// Levels of the parameters.
        available: usize,
    },
    /// A value is read above its level.
    #[error("{value} is at level {found} and is needed at level {needed}")]
    LevelTooLow {
        /// The value.
        value: ValueId,
        /// Its level.
        found: usize,
        /// The level at which it is read.
        needed: usize,
    },
    /// Operands of an addition or product whose types do not fit each other.
    #[error("{a} at scale 2^{a_scale:.4} cannot be combined with {b} at scale 2^{b_scale:.4}")]
    Operands {
        /// Left operand.
        a: ValueId,
        /// Base-2 logarithm of its scale.
        a_scale: f64,
        /// Right operand.
        b: ValueId,
        /// Base-2 logarithm of its scale.
        b_scale: f64,
    },
    /// A value is read before it is defined.
    #[error("{0} is read before it is defined")]
    Undefined(ValueId),
    /// A constant of the wrong kind or size.
    #[error("a constant of {value} is missing or has the wrong kind or size")]
    Constant {
        /// The value whose definition reads it.
        value: ValueId,
    },
}
