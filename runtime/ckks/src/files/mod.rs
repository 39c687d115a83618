//! The files of the scheme: secret keys, evaluation keys, ciphertexts.

pub mod error;

pub use error::FileError;
