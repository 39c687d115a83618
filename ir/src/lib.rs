//! The intermediate representation: four levels, each adding one kind of decision.
//!
//! | level | a value is | decided here |
//! |---|---|---|
//! | [`tensor`] | a real tensor | *what* is computed |
//! | [`slots`] | the slots of one ciphertext | *where* each element lives |
//! | [`ckks`] | a ciphertext with level, scale, degree | *when* to rescale, relinearise, drop levels |
//! | [`plan`] | a register | *in what order*; the file that ships |
#![forbid(unsafe_code)]

pub mod ckks;
pub mod constants;
pub mod container;
pub mod diagnostic;
pub mod entity;
pub mod function;
pub mod keyparams;
pub mod layout;
pub mod matrix;
pub mod origin;
pub mod parameters;
pub mod plan;
pub mod primes;
pub mod scale;
pub mod series;
pub mod slots;
pub mod tensor;
#[cfg(test)]
mod testing;
pub mod text;
pub mod transform;
pub mod verify;
