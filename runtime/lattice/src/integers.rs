//! Small integers as residues.

use crate::kernels::{self, Isa};
use crate::modulus::Modulus;

/// `out = integers mod q`, each integer above `-q` and below `q`.
///
/// # Panics
/// If `out` is not as long, or no multiple of eight.
pub fn lift(q: Modulus, out: &mut [u64], integers: &[i64]) {
    assert_eq!(out.len(), integers.len(), "a residue for every integer");
    kernels::lift(Isa::detect(), q, out, integers);
}

/// [`lift`], of integers of 32 bits.
///
/// # Panics
/// As [`lift`].
pub fn lift_short(q: Modulus, out: &mut [u64], integers: &[i32]) {
    assert_eq!(out.len(), integers.len(), "a residue for every integer");
    kernels::lift_short(Isa::detect(), q, out, integers);
}
