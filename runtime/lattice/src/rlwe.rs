//! Samples of ring learning with errors, `e + m - a s`, what fresh ciphertexts and keys are made of, and what is left of a
//! ciphertext under the secret, `e + m`.
//!
//! Limb by limb, so that nothing but the result is ever as large as the result, and what is secret on the way is one limb
//! per thread, to be wiped. The two halves of a limb's work, the error's transform and the mask's product, are tasks of
//! their own: a few limbs do not divide evenly among threads, twice as many do.

use std::sync::Arc;

use crate::basis::Basis;
use crate::kernels;
use crate::modulus::Modulus;
use crate::poly::{Form, Poly};
use crate::ring::Ring;
use crate::sampling::{Seed, gaussian_coefficients, uniform_limb};

/// What a sample is made of.
pub struct Sample<'a> {
    /// `s`, in evaluation form, at every prime of the sample.
    pub secret: &'a Poly,
    /// Of `e`, discrete Gaussian ([`crate::gaussian`]).
    pub error: &'a Seed,
    /// Of `a`, uniform ([`crate::sampling::uniform`]); public.
    pub mask: &'a Seed,
}

/// Writes a message modulo a prime, in coefficient form.
pub type Message<'a> = &'a (dyn Fn(Modulus, &mut [u64]) + Sync);

impl Sample<'_> {
    /// `e + m - a s` in evaluation form, `m` being zero if there is no message. The result is no secret.
    ///
    /// # Panics
    /// If the secret is not in evaluation form, or lacks a prime of the basis.
    #[must_use]
    pub fn draw(&self, ring: &Arc<Ring>, basis: Basis, message: Option<Message<'_>>) -> Poly {
        let Self { secret, error, mask } = *self;
        assert_eq!(secret.form(), Form::Evaluation, "a secret is multiplied in evaluation form");
        let (isa, n) = (ring.isa(), ring.degree());
        let error = gaussian_coefficients(n, error);
        let mut out = Poly::scratch(ring, basis, Form::Evaluation);
        out.for_each_limb_mut(|q, prime, limb| {
            let spare = || {
                let mut spare = ring.pool().take(n);
                spare.mark_secret();
                spare
            };
            let transformed = || {
                kernels::lift(isa, q, limb, &error);
                if let Some(write) = message {
                    let mut message = spare();
                    write(q, message.as_mut_slice());
                    kernels::add_assign(isa, q, limb, message.as_slice());
                }
                ring.table(prime).forward(limb);
            };
            let masked = || {
                let mut product = spare();
                uniform_limb(q, prime, mask, product.as_mut_slice());
                kernels::mul_assign(isa, q, product.as_mut_slice(), secret.limb_of(prime));
                product
            };
            let ((), product) = rayon::join(transformed, masked);
            kernels::sub_assign(isa, q, limb, product.as_slice());
        });
        out
    }
}

/// `Σ c_i s^i` in coefficient form, marked secret.
///
/// # Panics
/// If there are no parts, their bases differ, or one or the secret is not in evaluation form or lacks a prime.
#[must_use]
pub fn phase(parts: &[Poly], secret: &Poly) -> Poly {
    let (last, rest) = parts.split_last().expect("a ciphertext has parts");
    let forms = parts.iter().chain([secret]).map(Poly::form);
    assert!(forms.into_iter().all(|form| form == Form::Evaluation), "factors are evaluations");
    let ring = last.ring();
    let mut out = Poly::scratch(ring, last.basis(), Form::Coefficient).into_secret();
    out.for_each_limb_mut(|q, prime, limb| {
        let Some((next, rest)) = rest.split_last() else {
            return ring.table(prime).inverse_from(limb, last.limb_of(prime), 1);
        };
        kernels::mul(ring.isa(), q, limb, last.limb_of(prime), secret.limb_of(prime));
        kernels::add_assign(ring.isa(), q, limb, next.limb_of(prime));
        for part in rest.iter().rev() {
            kernels::mul_assign(ring.isa(), q, limb, secret.limb_of(prime));
            kernels::add_assign(ring.isa(), q, limb, part.limb_of(prime));
        }
        ring.table(prime).inverse(limb);
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primes::ntt_primes_below;
    use crate::sampling;

    #[test]
    fn a_sample_is_its_definition() {
        let q: Vec<u64> = ntt_primes_below(1 << 40, 12).take(3).collect();
        let ring = Ring::new(12, &q, &[]).unwrap();
        let [error, mask, key] = [1, 2, 3].map(|i| Seed::new([i; 32]));
        let mut secret = sampling::ternary(&ring, Basis::q(3), &key);
        secret.to_evaluation();
        let sample = Sample { secret: &secret, error: &error, mask: &mask };
        let coefficients: Vec<i64> = (0..4096).map(|i| i * 77 - 5000).collect();
        let write = |q: Modulus, out: &mut [u64]| {
            out.iter_mut().zip(&coefficients).for_each(|(o, &c)| *o = q.reduce_i64(c));
        };
        for basis in [Basis::q(2), Basis::q(3)] {
            let a = sampling::uniform(&ring, basis, &mask);
            let product = a.mul(&secret.restrict(basis));
            let mut expected = sampling::gaussian(&ring, basis, &error);
            expected.to_evaluation();
            expected.sub_assign(&product);
            assert!(sample.draw(&ring, basis, None) == expected);
            let mut message = Poly::from_i64(&ring, basis, &coefficients);
            message.to_evaluation();
            expected.add_assign(&message);
            let drawn = sample.draw(&ring, basis, Some(&write));
            assert!(drawn == expected && !drawn.is_secret());
            let mut left = sampling::gaussian(&ring, basis, &error);
            left.add_assign(&Poly::from_i64(&ring, basis, &coefficients));
            assert!(phase(&[drawn, a], &secret) == left);
        }
    }
}
