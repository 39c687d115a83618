//! What random words are made into.

use super::super::scalar;
use crate::modulus::Modulus;

/// Words are rejected one by one: the registers have no way to close ranks.
#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn accept(q: Modulus, out: &mut [u64], packed: &[u64], width: u32) -> usize {
    scalar::accept(q, out, packed, width)
}

/// The portable loop, compiled for these registers.
#[target_feature(enable = "avx2,fma")]
pub(in super::super) fn gaussian(words: &mut [u64]) {
    scalar::gaussian(words);
}
