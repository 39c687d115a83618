//! The passes, by level; each folder's files are its passes.

pub mod ckks;
pub mod plan;
pub mod slots;
pub mod tensor;
