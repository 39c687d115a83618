//! Key switching: relinearisation and rotations, hoisted where several read one operand.
//!
//! The operand is cut into digits, raised to the basis with the special primes (ModUp), multiplied with the key there, and
//! divided by the special primes (ModDown): Han and Ki, ePrint 2019/688; [`heplan_lattice::keyswitch`] does it prime by
//! prime. Rotation keys decrypt under the secret rotated back, so digits are never permuted: one permutation of the two
//! sums comes last, and one decomposition serves any number of rotations (Halevi and Shoup, ePrint 2018/244).

use std::borrow::Cow;
use std::sync::Arc;

use heplan_ir::plan::KeyKind;
use heplan_lattice::divided::divided_sums;
use heplan_lattice::keyswitch::{Addend, Sum, Switched, extended_switch};
use heplan_lattice::{Digits, Poly};

use super::{Evaluator, check_degree, check_ordinary};
use crate::ciphertext::Ciphertext;
use crate::error::EvalError;
use crate::keys::switching::SwitchingKey;

impl Evaluator {
    /// Degree 2 to degree 1.
    ///
    /// # Errors
    /// If the degree is not 2 or the key is missing.
    pub fn relinearise(&self, x: &Ciphertext) -> Result<Ciphertext, EvalError> {
        let parts = self.relinearised(x, x.level())?;
        Ok(Ciphertext { parts, scale: x.scale.clone() })
    }

    /// [`Self::relinearise`] and [`Self::rescale`] as one division, which rounds once and saves half the transforms of
    /// the second.
    ///
    /// # Errors
    /// As both.
    pub fn relinearise_and_rescale(&self, x: &Ciphertext) -> Result<Ciphertext, EvalError> {
        if x.level() == 0 {
            return Err(EvalError::NoSuchLevel { op: "rescaling", from: 0, to: -1 });
        }
        let parts = self.relinearised(x, x.level() - 1)?;
        let last = self.context.parameters().q()[x.level()];
        Ok(Ciphertext { parts, scale: x.scale.rescaled(last) })
    }

    /// The parts of the relinearised operand, divided by its primes above level `to`.
    fn relinearised(&self, x: &Ciphertext, to: usize) -> Result<Vec<Poly>, EvalError> {
        check_degree("relinearisation", x, 2)?;
        check_ordinary("relinearisation", x)?;
        let key = self.keys.get(KeyKind::Relinearise, x.level())?;
        let digits = self.digits(Cow::Borrowed(&x.parts[2]));
        let add = [0, 1].map(|i| Some(Addend::Lifted(&x.parts[i])));
        let switched =
            vec![Switched { digits: &digits, key: &*key, times: None, add, permutation: None }];
        let sums = [Sum { switched, plain: None }];
        let (from, to) = (self.context.basis_qp(x.level()), self.context.basis_q(to));
        Ok(divided_sums(self.context.ring(), from, to, &sums).into_iter().flatten().collect())
    }

    /// `y[t] = x[(t + by) mod width]`, for `0 < by ≤ width`; extended if `x` is.
    ///
    /// # Errors
    /// If the step or the degree does not fit, or the key is missing.
    pub fn rotate(&self, x: &Ciphertext, by: u32) -> Result<Ciphertext, EvalError> {
        if x.extended() {
            return self.rotate_extended(x, by);
        }
        let mut rotated = self.rotate_many(x, &[by])?;
        Ok(rotated.pop().expect("one rotation gives one result"))
    }

    /// A rotation that leaves its division to come: only the second polynomial is divided, for its digits.
    fn rotate_extended(&self, x: &Ciphertext, by: u32) -> Result<Ciphertext, EvalError> {
        self.check_rotation(x, by)?;
        let key = self.keys.get(self.rotation_key(by), x.level())?;
        let second = x.parts[1].divide_and_round(self.context.basis_q(x.level()));
        let digits = self.digits(Cow::Owned(second));
        let ring = self.context.ring();
        let permutation = ring.permutation(self.context.galois(by));
        let parts = extended_switch(ring, &digits, &*key, &x.parts[0], &permutation);
        Ok(Ciphertext { parts: parts.into(), scale: x.scale.clone() })
    }

    fn rotation_key(&self, by: u32) -> KeyKind {
        KeyKind::rotation(by, self.context.parameters().width())
    }

    fn check_rotation(&self, x: &Ciphertext, by: u32) -> Result<(), EvalError> {
        check_degree("rotation", x, 1)?;
        let width = self.context.parameters().width();
        if by == 0 || by as usize > width {
            return Err(EvalError::Step { by, width });
        }
        Ok(())
    }

    /// Several rotations of one ciphertext, not extended, from one decomposition.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub fn rotate_many(&self, x: &Ciphertext, by: &[u32]) -> Result<Vec<Ciphertext>, EvalError> {
        check_ordinary("hoisted rotation", x)?;
        by.iter().try_for_each(|&by| self.check_rotation(x, by))?;
        let keys = by.iter().map(|&by| self.keys.get(self.rotation_key(by), x.level()));
        let keys: Vec<Arc<SwitchingKey>> = keys.collect::<Result<_, _>>()?;
        let digits = self.digits(Cow::Borrowed(&x.parts[1]));
        let rotation = |(&by, key)| Sum {
            switched: vec![Switched {
                digits: &digits,
                key,
                times: None,
                add: [Some(Addend::Lifted(&x.parts[0])), None],
                permutation: Some(self.context.ring().permutation(self.context.galois(by))),
            }],
            plain: None,
        };
        let sums: Vec<Sum<'_, SwitchingKey>> =
            by.iter().zip(keys.iter().map(|key| &**key)).map(rotation).collect();
        let (from, to) = (self.context.basis_qp(x.level()), self.context.basis_q(x.level()));
        let rotated = divided_sums(self.context.ring(), from, to, &sums).into_iter();
        let scaled = |parts: [Poly; 2]| Ciphertext { parts: parts.into(), scale: x.scale.clone() };
        Ok(rotated.map(scaled).collect())
    }

    /// The digits of a polynomial over `q_0 ⋯ q_ℓ`, to be raised to all primes of a key switch at that level.
    pub(super) fn digits<'a>(&self, poly: Cow<'a, Poly>) -> Digits<'a> {
        let parameters = self.context.parameters();
        Digits::new(poly, parameters.digit_size(), parameters.p().len())
    }
}
