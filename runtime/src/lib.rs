//! Interprets execution plans on a backend.
//!
//! | module | what |
//! |---|---|
//! | [`backend`] | the trait: one method per instruction, and the numerical contract |
//! | [`typing`] | the types of results, as every backend must compute them |
//! | [`executor`] | runs a plan: registers, checks, observation, cancellation |
//! | [`error`] | why a run stopped |
//! | [`clear`] | the backend on plain numbers: the specification |
//!
//! The crate knows no secret key, no file format of ciphertexts and nothing of the compiler.
#![forbid(unsafe_code)]

pub mod backend;
pub mod clear;
pub mod error;
pub mod executor;
pub mod typing;
