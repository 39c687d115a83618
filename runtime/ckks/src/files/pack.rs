//! Polynomials as bytes: residues of `b` bits each, one after another, for a prime of bit length `b`.

use std::sync::Arc;

use heplan_ir::container::Problem;
use heplan_lattice::{Basis, Form, Poly, Ring};

use super::wire::invalid;

/// Bytes of a polynomial over a basis. A limb is a whole number of bytes, since N is a multiple of 8.
pub(super) fn packed_len(ring: &Ring, basis: Basis) -> usize {
    ring.moduli(basis).map(|q| limb_len(ring, q.bits())).sum()
}

fn limb_len(ring: &Ring, bits: u32) -> usize {
    ring.degree() / 8 * bits as usize
}

/// Appends a polynomial.
pub(super) fn pack(poly: &Poly, out: &mut Vec<u8>) {
    out.reserve(packed_len(poly.ring(), poly.basis()));
    for (limb, q) in poly.limbs().zip(poly.ring().moduli(poly.basis())) {
        let (mut waiting, mut bits) = (0u128, 0);
        for &word in limb {
            waiting |= u128::from(word) << bits;
            bits += q.bits();
            if bits >= 64 {
                out.extend((waiting as u64).to_le_bytes());
                waiting >>= 64;
                bits -= 64;
            }
        }
        out.extend(&waiting.to_le_bytes()[..bits as usize / 8]);
    }
}

/// Reads a polynomial in evaluation form from exactly its bytes.
pub(super) fn unpack(ring: &Arc<Ring>, basis: Basis, bytes: &[u8]) -> Result<Poly, Problem> {
    if bytes.len() != packed_len(ring, basis) {
        return Err(invalid("a polynomial of the wrong length"));
    }
    let mut poly = Poly::scratch(ring, basis, Form::Evaluation);
    let mut rest = bytes;
    let mut reduced = true;
    for (q, limb) in poly.limbs_mut() {
        let (packed, after) = rest.split_at(limb_len(ring, q.bits()));
        rest = after;
        unpack_limb(packed, q.bits(), limb);
        reduced &= limb.iter().all(|&x| x < q.value());
    }
    if reduced { Ok(poly) } else { Err(invalid("a residue is not below its prime")) }
}

/// Residues have at most 50 bits, so one lies within the 64 bits from the byte where it begins.
fn unpack_limb(packed: &[u8], bits: u32, limb: &mut [u64]) {
    let mask = u64::MAX >> (64 - bits);
    for (i, out) in limb.iter_mut().enumerate() {
        let at = i * bits as usize;
        let start = at / 8;
        let mut word = [0; 8];
        match packed.get(start..start + 8) {
            Some(whole) => word.copy_from_slice(whole),
            None => word[..packed.len() - start].copy_from_slice(&packed[start..]),
        }
        *out = u64::from_le_bytes(word) >> (at % 8) & mask;
    }
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
