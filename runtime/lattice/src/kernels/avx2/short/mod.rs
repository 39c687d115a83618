//! Short moduli: residues of 30 or 31 bits, which most primes of a plan have.
//!
//! Their products add up as integers of 64 bits ([`sums`]), and a transform holds eight of them in a register ([`ntt`]).

mod arithmetic;
mod ntt;
mod sums;

pub(super) use ntt::{Twiddles, forward, forward_sub_from_mul_scalar, inverse, inverse_scaled};
pub(super) use sums::sum_of_products;

/// The largest modulus whose products are added as they are: four of them and a carry stay below `2^64`.
pub(super) const LARGEST_OF_SUMS: u64 = (1 << 31) - 1;

/// The largest modulus of a transform: four times a residue stays below `2^32`.
pub(super) const LARGEST_OF_TRANSFORMS: u64 = (1 << 30) - 1;
