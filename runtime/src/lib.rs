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
pub mod sim;
pub mod suite;
pub mod typing;
