//! The CKKS scheme and the encrypted backend.
