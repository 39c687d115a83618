//! Operations that need no key: sums, products, plaintext operands, rescaling.

use heplan_ir::scale::Scale;
use heplan_lattice::{Form, Poly};
use rayon::prelude::*;

use super::{Evaluator, check_degree, check_level, check_ordinary, check_type};
use crate::ciphertext::Ciphertext;
use crate::encoder::encode_scalar;
use crate::error::EvalError;

impl Evaluator {
    /// Sum of ciphertexts of equal type, extended or not.
    ///
    /// # Errors
    /// If the types differ.
    pub fn add(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, EvalError> {
        check_type("sum", a, b)?;
        let parts = a.parts.iter().zip(&b.parts).map(|(x, y)| x.add(y)).collect();
        Ok(Ciphertext { parts, scale: a.scale.clone() })
    }

    /// Difference of ciphertexts of equal type, extended or not.
    ///
    /// # Errors
    /// If the types differ.
    pub fn sub(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, EvalError> {
        check_type("difference", a, b)?;
        let parts = a.parts.iter().zip(&b.parts).map(|(x, y)| x.sub(y)).collect();
        Ok(Ciphertext { parts, scale: a.scale.clone() })
    }

    /// Adds a vector to every sample, which repeats every `values.len()` slots, at the operand's own scale.
    ///
    /// # Errors
    /// If the vector cannot be encoded.
    pub fn add_vector(&self, x: &Ciphertext, values: &[f64]) -> Result<Ciphertext, EvalError> {
        check_ordinary("sum with a vector", x)?;
        let plain = self.context.encode_shared(values, &x.scale)?;
        let mut out = x.clone();
        let basis = out.parts[0].basis();
        out.parts[0].add_assign(&plain.to_evaluations(self.context.ring(), basis));
        Ok(out)
    }

    /// Adds the same number to every slot.
    ///
    /// # Errors
    /// If the number is too large or not finite.
    pub fn add_scalar(&self, x: &Ciphertext, value: f64) -> Result<Ciphertext, EvalError> {
        check_ordinary("sum with a number", x)?;
        let moduli = self.context.ring().moduli(x.parts[0].basis());
        let residues = encode_scalar(value, &x.scale, moduli)?;
        let mut out = x.clone();
        out.parts[0].add_residues_assign(&residues);
        Ok(out)
    }

    /// Multiplies every sample by a vector, which repeats every `values.len()` slots, encoded at `scale`.
    ///
    /// # Errors
    /// If the vector cannot be encoded.
    pub fn mul_vector(
        &self,
        x: &Ciphertext,
        values: &[f64],
        scale: &Scale,
    ) -> Result<Ciphertext, EvalError> {
        let plain = self.context.encode_shared(values, scale)?;
        let plain = plain.to_evaluations(self.context.ring(), x.parts[0].basis());
        self.mul_plaintext(x, &plain, scale)
    }

    /// Multiplies by a plaintext in evaluation form, encoded at `scale` over at least the primes of `x`.
    ///
    /// # Errors
    /// If the plaintext lacks a prime of the operand.
    pub fn mul_plaintext(
        &self,
        x: &Ciphertext,
        plain: &Poly,
        scale: &Scale,
    ) -> Result<Ciphertext, EvalError> {
        check_ordinary("product with a vector", x)?;
        let found = plain.basis().q_limbs();
        if !plain.basis().contains(x.parts[0].basis()) {
            let b = found.saturating_sub(1);
            return Err(EvalError::Level { op: "product", a: x.level(), b });
        }
        let parts = x.parts.iter().map(|p| p.mul(plain)).collect();
        Ok(Ciphertext { parts, scale: x.scale.mul(scale) })
    }

    /// Multiplies every slot by the same number, encoded at `scale`.
    ///
    /// # Errors
    /// If the number is too large or not finite.
    pub fn mul_scalar(
        &self,
        x: &Ciphertext,
        value: f64,
        scale: &Scale,
    ) -> Result<Ciphertext, EvalError> {
        check_ordinary("product with a number", x)?;
        let moduli = self.context.ring().moduli(x.parts[0].basis());
        let residues = encode_scalar(value, scale, moduli)?;
        let mut out = x.clone();
        out.parts.iter_mut().for_each(|p| p.mul_residues_assign(&residues));
        out.scale = x.scale.mul(scale);
        Ok(out)
    }

    /// Slot-wise product of degree-1 ciphertexts at equal level; the result has degree 2.
    ///
    /// # Errors
    /// If levels differ or a degree is not 1.
    pub fn mul(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, EvalError> {
        let scale = self.product_scale(a, b)?;
        let mut middle = Poly::scratch(self.context.ring(), a.parts[0].basis(), Form::Evaluation);
        middle.set_inner_product(&[(&a.parts[0], &b.parts[1]), (&a.parts[1], &b.parts[0])]);
        let parts = vec![a.parts[0].mul(&b.parts[0]), middle, a.parts[1].mul(&b.parts[1])];
        Ok(Ciphertext { parts, scale })
    }

    /// The scale of a product, if the factors fit each other.
    pub(super) fn product_scale(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Scale, EvalError> {
        for x in [a, b] {
            check_degree("product", x, 1)?;
            check_ordinary("product", x)?;
        }
        check_level("product", a, b)?;
        Ok(a.scale.mul(&b.scale))
    }

    /// Divides by the last prime, rounding to the nearest integer: one level down, scale divided by that prime.
    ///
    /// # Errors
    /// At level 0.
    pub fn rescale(&self, x: &Ciphertext) -> Result<Ciphertext, EvalError> {
        check_ordinary("rescaling", x)?;
        if x.level() == 0 {
            return Err(EvalError::NoSuchLevel { op: "rescaling", from: 0, to: -1 });
        }
        let last = self.context.parameters().q()[x.level()];
        let parts = x.parts.par_iter().map(Poly::rescale).collect();
        Ok(Ciphertext { parts, scale: x.scale.rescaled(last) })
    }

    /// Takes the division of an extended ciphertext, by the prime above its level and the special primes, rounding to the
    /// nearest integer.
    ///
    /// # Errors
    /// If it is not extended.
    pub fn mod_down(&self, x: &Ciphertext) -> Result<Ciphertext, EvalError> {
        if !x.extended() {
            return Err(EvalError::Extended { op: "division" });
        }
        let to = self.context.basis_q(x.level());
        let parts = x.parts.par_iter().map(|p| p.divide_and_round(to)).collect();
        Ok(Ciphertext { parts, scale: x.scale.clone() })
    }

    /// Forgets the primes above `level`; the scale stays.
    ///
    /// # Errors
    /// If the operand is not above that level.
    pub fn drop_level(&self, x: &Ciphertext, level: usize) -> Result<Ciphertext, EvalError> {
        check_ordinary("dropping", x)?;
        if level >= x.level() {
            let to = i64::try_from(level).unwrap_or(i64::MAX);
            return Err(EvalError::NoSuchLevel { op: "dropping", from: x.level(), to });
        }
        let basis = self.context.basis_q(level);
        let parts = x.parts.iter().map(|p| p.restrict(basis)).collect();
        Ok(Ciphertext { parts, scale: x.scale.clone() })
    }
}
