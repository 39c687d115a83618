//! Rings to test on, and exact arithmetic to compare with.

use std::sync::Arc;

use dashu_int::IBig;
use heplan_lattice::{Basis, Form, Poly, Ring, Seed, primes, sampling};

/// A ring with mixed prime sizes: 50, 30, 40, 45, .. bits; special primes of 50 bits.
pub(crate) fn ring(log_n: u32, q: usize, p: usize) -> Arc<Ring> {
    let special: Vec<u64> = primes::ntt_primes_below(1 << 50, log_n).skip(40).take(p).collect();
    let sizes = [50, 30, 40, 45, 36];
    let mut chain: Vec<u64> = Vec::new();
    for i in 0..q {
        let bound = 1u64 << sizes[i % sizes.len()];
        let prime = primes::ntt_primes_below(bound, log_n).find(|q| !chain.contains(q));
        chain.push(prime.expect("there are enough primes"));
    }
    Ring::new(log_n, &chain, &special).unwrap()
}

pub(crate) fn seed(tag: u8) -> Seed {
    Seed::new([tag; 32])
}

/// A uniform polynomial in the form asked for.
pub(crate) fn random(ring: &Arc<Ring>, basis: Basis, form: Form, tag: u8) -> Poly {
    let mut poly = sampling::uniform(ring, basis, &seed(tag));
    poly.set_form(form);
    poly
}

pub(crate) fn product(ring: &Ring, basis: Basis) -> IBig {
    ring.moduli(basis).fold(IBig::ONE, |product, q| product * IBig::from(q.value()))
}

/// `x mod m` in `[0, m)`.
pub(crate) fn modulo(x: &IBig, m: &IBig) -> IBig {
    let r = x % m;
    if r < IBig::ZERO { r + m } else { r }
}

/// The representative of `x` in `(-m/2, m/2]`.
pub(crate) fn centre(x: &IBig, m: &IBig) -> IBig {
    let r = modulo(x, m);
    if &r * IBig::from(2) > *m { r - m } else { r }
}

/// `x / d` rounded to the nearest integer, halves up.
pub(crate) fn round_div(x: &IBig, d: &IBig) -> IBig {
    let doubled = x * IBig::from(2) + d;
    let m = d * IBig::from(2);
    (&doubled - modulo(&doubled, &m)) / m
}

/// The coefficients as centred integers, by the textbook formula for the CRT.
pub(crate) fn integers(poly: &Poly) -> Vec<IBig> {
    assert_eq!(poly.form(), Form::Coefficient);
    let (ring, basis) = (poly.ring(), poly.basis());
    let q = product(ring, basis);
    let units: Vec<IBig> = ring
        .moduli(basis)
        .map(|m| {
            let modulus = IBig::from(m.value());
            let cofactor = &q / &modulus;
            let residue = u64::try_from(modulo(&cofactor, &modulus)).unwrap();
            // The inverse by exhaustive powering in u128, not by the crate's own arithmetic.
            cofactor * IBig::from(power(residue, m.value() - 2, m.value()))
        })
        .collect();
    (0..ring.degree())
        .map(|i| {
            let sum = poly
                .limbs()
                .zip(&units)
                .fold(IBig::ZERO, |sum, (limb, unit)| sum + unit * IBig::from(limb[i]));
            centre(&sum, &q)
        })
        .collect()
}

/// `a^e mod q` in u128.
pub(crate) fn power(a: u64, mut e: u64, q: u64) -> u64 {
    let q = u128::from(q);
    let (mut base, mut result) = (u128::from(a) % q, 1u128);
    while e > 0 {
        if e & 1 == 1 {
            result = result * base % q;
        }
        base = base * base % q;
        e >>= 1;
    }
    result as u64
}

/// The negacyclic product of two limbs, by its definition.
pub(crate) fn negacyclic(a: &[u64], b: &[u64], q: u64) -> Vec<u64> {
    let (n, q) = (a.len(), u128::from(q));
    let mut out = vec![0u128; n];
    for (i, &x) in a.iter().enumerate() {
        for (j, &y) in b.iter().enumerate() {
            let term = u128::from(x) * u128::from(y) % q;
            let k = (i + j) % n;
            out[k] = if i + j < n { out[k] + term } else { out[k] + q - term };
        }
    }
    out.into_iter().map(|x| (x % q) as u64).collect()
}
