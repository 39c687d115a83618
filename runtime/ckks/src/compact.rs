//! The part of a fresh ciphertext's first polynomial that travels ([`Compact`]), limb by limb in coefficient form.
//!
//! A polynomial in `X^s`, `s = 2^rotations`, has `m = N/s` coefficients; one that conjugation leaves as it is has
//! `c_{m-k} = -c_k` among them, so that the first half tells the second, and `c_{m/2} = 0`. Projections divide by two
//! modulo the prime: what that makes of the error is undone when a plan doubles it.

use heplan_ir::slots::Compact;
use heplan_lattice::Modulus;

/// The coefficients that determine the projection of a limb.
pub(crate) fn kept(q: Modulus, limb: &[u64], compact: Compact) -> Vec<u64> {
    let step = 1 << compact.rotations;
    let (count, within) = (compact.kept(limb.len()), limb.len() / step);
    let at = |k: usize| limb[k * step];
    if !compact.conjugate {
        return (0..count).map(at).collect();
    }
    let half = q.inv(2);
    let mean = |k: usize| q.mul(half, q.sub(at(k), at(within - k)));
    (0..count).map(|k| if k == 0 { at(0) } else { mean(k) }).collect()
}

/// Writes the limb whose projection these coefficients determine, and which is its own projection.
pub(crate) fn restore(q: Modulus, kept: &[u64], compact: Compact, limb: &mut [u64]) {
    limb.fill(0);
    let n = limb.len();
    let step = 1 << compact.rotations;
    for (k, &c) in kept.iter().enumerate() {
        limb[k * step] = c;
        if compact.conjugate && k > 0 {
            limb[n - k * step] = q.neg(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heplan_ir::primes::near_power;

    #[test]
    fn what_is_restored_is_its_own_projection() {
        let q = Modulus::new(near_power(30, 6).next().unwrap()).unwrap();
        let limb: Vec<u64> = (0..64u64).map(|i| (i * i * 7919 + 17) % q.value()).collect();
        for rotations in 0..4 {
            for conjugate in [false, true] {
                let compact = Compact { rotations, conjugate };
                let sent = kept(q, &limb, compact);
                assert_eq!(sent.len(), 64 >> compact.halvings());
                let mut projected = vec![1; 64];
                restore(q, &sent, compact, &mut projected);
                assert_eq!(kept(q, &projected, compact), sent);
                let zeros = projected.iter().filter(|&&c| c == 0).count();
                assert_eq!(zeros, 64 - (64 >> rotations) + usize::from(conjugate));
            }
        }
    }
}
