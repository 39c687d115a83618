//! Key switching: relinearisation and rotations, hoisted where several read one operand.
//!
//! The operand is cut into digits, raised to the basis with the special primes (ModUp), multiplied with the key there, and
//! divided by the special primes (ModDown): Han and Ki, ePrint 2019/688; [`heplan_lattice::keyswitch`] does it prime by
//! prime. Rotation keys decrypt under the secret rotated back, so digits are never permuted: one permutation of the two
//! sums comes last, and one decomposition serves any number of rotations (Halevi and Shoup, ePrint 2018/244).

use std::sync::Arc;

use heplan_ir::plan::KeyKind;
use heplan_lattice::divided::divided_sums;
use heplan_lattice::keyswitch::{Addend, Switched, undivided_switch};
use heplan_lattice::{Digits, Poly, Prime};

use super::{Evaluator, check_degree, check_ordinary, check_type};
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
        let parts = self.relinearised(x, below(x.level())?)?;
        let last = self.context.parameters().q()[x.level()];
        Ok(Ciphertext { parts, scale: x.scale.rescaled(last) })
    }

    fn relinearised(&self, x: &Ciphertext, to: usize) -> Result<Vec<Poly>, EvalError> {
        check_degree("relinearisation", x, 2)?;
        check_ordinary("relinearisation", x)?;
        let add = [0, 1].map(|i| Some(Addend::Lifted(&x.parts[i])));
        self.switched(&self.digits(&x.parts[2]), add, x.level(), to)
    }

    /// [`Self::mul`] and [`Self::relinearise`]; no product of degree 2 is ever written.
    ///
    /// # Errors
    /// As both.
    pub fn mul_relinearised(
        &self,
        a: &Ciphertext,
        b: &Ciphertext,
    ) -> Result<Ciphertext, EvalError> {
        let scale = self.product_scale(a, b)?;
        let parts = self.product(a, b, a.level())?;
        Ok(Ciphertext { parts, scale })
    }

    /// [`Self::mul_relinearised`] and [`Self::rescale`] as one division, which rounds once and saves half the transforms of
    /// the second.
    ///
    /// # Errors
    /// As both.
    pub fn mul_rescaled(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, EvalError> {
        let scale = self.product_scale(a, b)?;
        let parts = self.product(a, b, below(a.level())?)?;
        let last = self.context.parameters().q()[a.level()];
        Ok(Ciphertext { parts, scale: scale.rescaled(last) })
    }

    /// The parts of the relinearised product, divided by its primes above level `to`.
    fn product(&self, a: &Ciphertext, b: &Ciphertext, to: usize) -> Result<Vec<Poly>, EvalError> {
        let [a0, a1] = [&a.parts[0], &a.parts[1]];
        let [b0, b1] = [&b.parts[0], &b.parts[1]];
        let parameters = self.context.parameters();
        let special = parameters.p().len();
        let digits = Digits::of_product([a1, b1], parameters.digit_size(), special);
        let (first, second) = ([(a0, b0)], [(a0, b1), (a1, b0)]);
        let add = [&first[..], &second[..]].map(|p| Some(Addend::LiftedProducts(p)));
        self.switched(&digits, add, a.level(), to)
    }

    /// What is left of a ciphertext of degree 2 at a level when its third part has become digits, divided by its primes
    /// above level `to`.
    fn switched<'a>(
        &self,
        digits: &'a Digits<'a>,
        add: [Option<Addend<'a>>; 2],
        level: usize,
        to: usize,
    ) -> Result<Vec<Poly>, EvalError> {
        let key = self.keys.get(KeyKind::Relinearise, level)?;
        let switched = [Switched { add, ..Switched::new(digits, &*key) }];
        let (from, to) = (self.context.basis_qp(level), self.context.basis_q(to));
        Ok(divided_sums(self.context.ring(), from, to, &switched).into_iter().flatten().collect())
    }

    /// `y[t] = x[(t + by) mod width]`, for `0 < by ≤ width`; extended if `x` is.
    ///
    /// # Errors
    /// If the step or the degree does not fit, or the key is missing.
    pub fn rotate(&self, x: &Ciphertext, by: u32) -> Result<Ciphertext, EvalError> {
        self.check_rotation(x, by)?;
        self.rotated(x, by, None)
    }

    /// [`Self::rotate`] and [`Self::add`]: the sum is taken where the rotation is made.
    ///
    /// # Errors
    /// As both.
    pub fn rotate_and_add(
        &self,
        x: &Ciphertext,
        by: u32,
        y: &Ciphertext,
    ) -> Result<Ciphertext, EvalError> {
        self.check_rotation(x, by)?;
        check_type("sum", x, y)?;
        self.rotated(x, by, Some(y))
    }

    /// A rotation, and what is added to it. One of an extended operand leaves its division to come: only the second
    /// polynomial is divided, for its digits.
    fn rotated(
        &self,
        x: &Ciphertext,
        by: u32,
        y: Option<&Ciphertext>,
    ) -> Result<Ciphertext, EvalError> {
        let (ring, level, extended) = (self.context.ring(), x.level(), x.extended());
        let key = self.keys.get(self.rotation_key(by), level)?;
        let addend = if extended { Addend::Extended } else { Addend::Lifted };
        let [first, second] = [&x.parts[0], &x.parts[1]];
        let digits =
            if extended { self.digits_of_quotient(second, level) } else { self.digits(second) };
        let switched = Switched {
            times: extended.then_some(Prime::Q(level + 1)),
            add: [Some(addend(first)), None],
            permutation: Some(ring.permutation(self.context.galois(by))),
            then: [0, 1].map(|i| y.map(|y| addend(&y.parts[i]))),
            ..Switched::new(&digits, &*key)
        };
        let parts = if extended {
            undivided_switch(ring, first.basis(), &switched).into()
        } else {
            let (from, to) = (self.context.basis_qp(level), self.context.basis_q(level));
            divided_sums(ring, from, to, &[switched]).into_iter().flatten().collect()
        };
        Ok(Ciphertext { parts, scale: x.scale.clone() })
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
        let digits = self.digits(&x.parts[1]);
        let rotation = |(&by, key)| Switched {
            add: [Some(Addend::Lifted(&x.parts[0])), None],
            permutation: Some(self.context.ring().permutation(self.context.galois(by))),
            ..Switched::new(&digits, key)
        };
        let sums: Vec<Switched<'_, SwitchingKey>> =
            by.iter().zip(keys.iter().map(|key| &**key)).map(rotation).collect();
        let (from, to) = (self.context.basis_qp(x.level()), self.context.basis_q(x.level()));
        let rotated = divided_sums(self.context.ring(), from, to, &sums).into_iter();
        let scaled = |parts: [Poly; 2]| Ciphertext { parts: parts.into(), scale: x.scale.clone() };
        Ok(rotated.map(scaled).collect())
    }

    /// The digits of a polynomial over `q_0 ⋯ q_ℓ`, to be raised to all primes of a key switch at that level.
    pub(super) fn digits<'a>(&self, poly: &'a Poly) -> Digits<'a> {
        let parameters = self.context.parameters();
        Digits::new(poly, parameters.digit_size(), parameters.p().len())
    }

    /// The same of a polynomial that is yet to be divided by its primes above a level.
    pub(super) fn digits_of_quotient<'a>(&self, poly: &'a Poly, level: usize) -> Digits<'a> {
        let (parameters, to) = (self.context.parameters(), self.context.basis_q(level));
        Digits::of_quotient(poly, to, parameters.digit_size(), parameters.p().len())
    }
}

/// The level below, for a rescale.
fn below(level: usize) -> Result<usize, EvalError> {
    level.checked_sub(1).ok_or(EvalError::NoSuchLevel { op: "rescaling", from: 0, to: -1 })
}
