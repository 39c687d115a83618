//! Interprets execution plans on a backend.
//!
//! | module | what |
//! |---|---|
//! | [`backend`] | the trait: one method per instruction, and the numerical contract |
//! | [`typing`] | the types of results, as every backend must compute them |
//! | [`executor`] | runs a plan: registers, checks, observation, cancellation |
//! | [`error`] | why a run stopped |
//! | [`clear`] | the backend on plain numbers: the specification |
//! | [`sim`] | the backend that simulates noise, keys and overflow |
//! | [`noise`] | the noise model behind it |
//! | [`simulate`] | a plan on tensors, in simulation or exactly |
//! | [`profile`] | where the time of a run goes |
//! | [`precision`] | agreement in bits, and of classes |
//! | [`suite`] | the cases that every backend passes |
//!
//! The crate knows no secret key, no file format of ciphertexts and nothing of the compiler.
#![forbid(unsafe_code)]

pub mod backend;
pub mod clear;
pub mod error;
pub mod executor;
pub mod noise;
pub mod precision;
pub mod profile;
pub mod sim;
pub mod simulate;
pub mod suite;
pub mod typing;
