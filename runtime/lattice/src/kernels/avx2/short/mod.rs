//! Short moduli: residues of 30 or 31 bits, which most primes of a plan have.
//!
//! Their products add up as integers of 64 bits ([`sums`]), and a transform holds eight of them in a register ([`ntt`]).

mod arithmetic;
mod ntt;
mod sums;

pub(super) use ntt::{Twiddles, forward, forward_sub_from_mul_scalar, inverse, inverse_scaled};
pub(super) use sums::sum_of_products;
pub(in super::super) use sums::{pack, packed_sums, reduce_words};

pub(super) use super::super::LARGEST_PACKED as LARGEST_OF_SUMS;

/// The largest modulus of a transform: four times a residue stays below `2^32`.
pub(super) const LARGEST_OF_TRANSFORMS: u64 = (1 << 30) - 1;
