//! How long the operations of the scheme take on this machine, and how far that is from what cannot be avoided.
//!
//! The one definition of shapes, operations and floors: `heplan bench`, the criterion benches and the fit of the
//! compiler's cost model all measure through [`Bench`]. For whoever works on the engine; plans never come here.
//!
//! | module | what it is |
//! |---|---|
//! | [`shape`] | rings with their primes and digits, those of the published comparisons among them |
//! | [`operation`] | what is measured |
//! | [`matrix`] | matrix times encrypted vector |
//! | [`kernels`] | one limb: transforms, products, sums, base conversions |
//! | [`floor`] | the least of them that an operation needs |
//! | [`clock`] | which time counts, and how often something is repeated |

pub mod clock;
pub mod floor;
pub mod kernels;
pub mod matrix;
pub mod operation;
pub mod shape;

mod bench;

pub use bench::{Bench, Figure, MeasureError, Run};
pub use clock::{Budget, Clock};
pub use floor::Work;
pub use kernels::Kernels;
pub use operation::Operation;
pub use shape::Shape;
