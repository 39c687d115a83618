//! Key switching: relinearisation and rotations, hoisted where several read one operand.
//!
//! The operand is decomposed into digits and raised to the basis with the special primes (ModUp), multiplied with the key
//! there, and divided by the special primes (ModDown): Han and Ki, ePrint 2019/688.
//! Rotation keys decrypt under the secret rotated back, so digits are never permuted: one permutation of two
//! polynomials comes last, and one decomposition serves any number of rotations (Halevi and Shoup, ePrint 2018/244).

use heplan_ir::plan::KeyKind;
use heplan_lattice::{Basis, Form, Poly};
use rayon::prelude::*;

use super::{Evaluator, check_degree};
use crate::ciphertext::Ciphertext;
use crate::error::EvalError;
use crate::keys::switching::SwitchingKey;

impl Evaluator {
    /// Degree 2 to degree 1.
    ///
    /// # Errors
    /// If the degree is not 2 or the key is missing.
    pub fn relinearise(&self, x: &Ciphertext) -> Result<Ciphertext, EvalError> {
        check_degree("relinearisation", x, 2)?;
        let key = self.keys.get(KeyKind::Relinearise, x.level())?;
        let (u0, u1) = self.switch(&self.decompose(&x.parts[2]), &key);
        let (mut c0, mut c1) = rayon::join(|| u0.mod_down(), || u1.mod_down());
        c0.add_assign(&x.parts[0]);
        c1.add_assign(&x.parts[1]);
        Ok(Ciphertext { parts: vec![c0, c1], scale: x.scale.clone() })
    }

    /// `y[t] = x[(t + by) mod width]`, for `0 < by < width`.
    ///
    /// # Errors
    /// If the step or the degree does not fit, or the key is missing.
    pub fn rotate(&self, x: &Ciphertext, by: u32) -> Result<Ciphertext, EvalError> {
        let mut rotated = self.rotate_many(x, &[by])?;
        Ok(rotated.pop().expect("one rotation gives one result"))
    }

    /// Several rotations of one ciphertext from one decomposition.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn rotate_many(&self, x: &Ciphertext, by: &[u32]) -> Result<Vec<Ciphertext>, EvalError> {
        check_degree("rotation", x, 1)?;
        let width = self.context.parameters().width();
        if let Some(&by) = by.iter().find(|&&by| by == 0 || by as usize >= width) {
            return Err(EvalError::Step { by, width });
        }
        let digits = self.decompose(&x.parts[1]);
        by.par_iter()
            .map(|&by| {
                let key = self.keys.get(KeyKind::Rotate(by), x.level())?;
                let (u0, u1) = self.switch(&digits, &key);
                let (mut c0, c1) = rayon::join(|| u0.mod_down(), || u1.mod_down());
                c0.add_assign(&x.parts[0]);
                let g = self.context.galois(by);
                let parts = vec![c0.automorphism(g), c1.automorphism(g)];
                Ok(Ciphertext { parts, scale: x.scale.clone() })
            })
            .collect()
    }

    /// The digits of a polynomial over `q_0 ⋯ q_ℓ`, raised to all primes of a key switch at that level.
    pub(super) fn decompose(&self, poly: &Poly) -> Vec<Poly> {
        let parameters = self.context.parameters();
        poly.decompose(parameters.digit_size(), parameters.p().len())
    }

    /// `Σ digit · key`: an encryption of the special product times what the key switches, with the special primes.
    pub(super) fn switch(&self, digits: &[Poly], key: &SwitchingKey) -> (Poly, Poly) {
        let half = |pick: fn(&(Poly, Poly)) -> &Poly| {
            let pairs: Vec<(&Poly, &Poly)> =
                digits.iter().zip(key.digits()).map(|(d, k)| (d, pick(k))).collect();
            let mut out = Poly::scratch(self.context.ring(), digits[0].basis(), Form::Evaluation);
            out.set_inner_product(&pairs);
            out
        };
        rayon::join(|| half(|k| &k.0), || half(|k| &k.1))
    }

    /// `P·x` over the ciphertext primes and the special ones, which turns a later ModDown into nothing.
    pub(super) fn lift(&self, x: &Poly) -> Poly {
        let level = x.limb_count() - 1;
        let basis: Basis = self.context.basis_qp(level);
        let mut out = Poly::scratch(self.context.ring(), basis, Form::Evaluation);
        let product = self.context.special_product(level);
        out.for_each_limb_mut(|_, prime, limb| match x.basis().position(prime) {
            Some(i) => limb.copy_from_slice(x.limb(i)),
            None => limb.fill(0),
        });
        out.mul_residues_assign(&product);
        out
    }
}
