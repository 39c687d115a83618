//! The files of the scheme, all in the frame of [`heplan_ir::container`]: secret keys, evaluation keys, ciphertexts.
//!
//! Everything read here is hostile: the frame's checksums find accidents, and every number is checked against what the
//! parameters allow before anything is allocated for it.
//! Numbers are little-endian; residues are packed to the bit length of their prime.

pub mod ciphertexts;
mod error;
pub mod evaluation_keys;
mod pack;
pub mod secret_key;
mod wire;

pub use error::{FileError, Id};
