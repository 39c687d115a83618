//! Polynomials as bytes: residues of `b` bits each, one after another, for a prime of bit length `b`.

use std::sync::Arc;

use heplan_ir::container::Problem;
use heplan_ir::slots::Compact;
use heplan_lattice::{Basis, Form, Poly, Ring, bits};

use super::wire::invalid;
use crate::compact;

/// Bytes of a polynomial over a basis. A limb is a whole number of bytes, since N is a multiple of 8.
pub(super) fn packed_len(ring: &Ring, basis: Basis) -> usize {
    len_of(ring, basis, ring.degree())
}

/// Bytes of so many coefficients, a multiple of 8, for every prime of a basis.
fn len_of(ring: &Ring, basis: Basis, count: usize) -> usize {
    ring.moduli(basis).map(|q| bits::packed_len(count, q.bits())).sum()
}

/// Appends a polynomial.
pub(super) fn pack(poly: &Poly, out: &mut Vec<u8>) {
    out.reserve(packed_len(poly.ring(), poly.basis()));
    for (limb, q) in poly.limbs().zip(poly.ring().moduli(poly.basis())) {
        bits::pack(limb, q.bits(), out);
    }
}

/// Reads a polynomial in evaluation form from exactly its bytes.
pub(super) fn unpack(ring: &Arc<Ring>, basis: Basis, bytes: &[u8]) -> Result<Poly, Problem> {
    if bytes.len() != packed_len(ring, basis) {
        return Err(invalid("a polynomial of the wrong length"));
    }
    let n = ring.degree();
    let mut poly = Poly::scratch(ring, basis, Form::Evaluation);
    let mut rest = bytes;
    let mut reduced = true;
    for (q, limb) in poly.limbs_mut() {
        let (packed, after) = rest.split_at(bits::packed_len(n, q.bits()));
        rest = after;
        bits::unpack(packed, q.bits(), limb);
        reduced &= limb.iter().fold(true, |all, &x| all & (x < q.value()));
    }
    if reduced { Ok(poly) } else { Err(invalid("a residue is not below its prime")) }
}

/// Appends what is not left out of a polynomial in coefficient form.
pub(super) fn pack_compact(poly: &Poly, compact: Compact, out: &mut Vec<u8>) {
    for (limb, q) in poly.limbs().zip(poly.ring().moduli(poly.basis())) {
        bits::pack(&compact::kept(q, limb, compact), q.bits(), out);
    }
}

/// Reads a polynomial in coefficient form from exactly the bytes of what was not left out.
pub(super) fn unpack_compact(
    ring: &Arc<Ring>,
    basis: Basis,
    compact: Compact,
    bytes: &[u8],
) -> Result<Poly, Problem> {
    let count = compact.kept(ring.degree());
    if count == 0 || !count.is_multiple_of(8) {
        return Err(invalid(format!("{count} coefficients of a polynomial")));
    }
    if bytes.len() != len_of(ring, basis, count) {
        return Err(invalid("a polynomial of the wrong length"));
    }
    let mut poly = Poly::scratch(ring, basis, Form::Coefficient);
    let (mut rest, mut kept, mut reduced) = (bytes, vec![0; count], true);
    for (q, limb) in poly.limbs_mut() {
        let (packed, after) = rest.split_at(bits::packed_len(count, q.bits()));
        rest = after;
        bits::unpack(packed, q.bits(), &mut kept);
        reduced &= kept.iter().fold(true, |all, &x| all & (x < q.value()));
        if reduced {
            compact::restore(q, &kept, compact, limb);
        }
    }
    if reduced { Ok(poly) } else { Err(invalid("a residue is not below its prime")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heplan_ir::primes::near_power;
    use heplan_lattice::{Seed, sampling};

    #[test]
    fn unpacking_gives_back_what_was_packed_for_every_bit_length() {
        for bits in 20..50 {
            let q: Vec<u64> = near_power(bits, 10).take(2).collect();
            let ring = Ring::new(10, &q, &[]).unwrap();
            let poly = sampling::uniform(&ring, Basis::q(2), &Seed::new([bits as u8; 32]));
            let mut bytes = Vec::new();
            pack(&poly, &mut bytes);
            assert_eq!(bytes.len(), packed_len(&ring, Basis::q(2)));
            assert!(unpack(&ring, Basis::q(2), &bytes).unwrap() == poly);
            assert!(unpack(&ring, Basis::q(2), &bytes[1..]).is_err());
            bytes.fill(255);
            assert!(unpack(&ring, Basis::q(2), &bytes).is_err());
        }
    }
}
