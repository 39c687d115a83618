//! What a backend must do: one method per instruction of a plan.
//!
//! The trait is the numerical contract between plans and the engines that run them.
//! It must not grow methods that only one engine could give a meaning.

use std::sync::Arc;

use heplan_ir::ckks::CtType;
use heplan_ir::entity::ConstId;
use heplan_ir::scale::Scale;
use heplan_ir::transform::LinearTransform;

/// A plaintext operand, resolved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PlainRef<'a> {
    /// The same number in every slot.
    Scalar(f64),
    /// One number per slot, `width` of them.
    Vector(&'a [f64]),
}

/// An engine that executes instructions on ciphertexts of its own kind.
///
/// A ciphertext stands for a vector of `width = N/2` real slots and carries a [`CtType`].
/// Methods never change their operands; they return a fresh ciphertext.
///
/// **Contract.** For operands of the types that a method asks for, the result has exactly the type
/// that its documentation states (the functions of [`typing`](crate::typing) compute it), and its
/// slots are those of exact real arithmetic up to the noise of the scheme.
/// For any other operand the method returns an error: a wrong answer in silence is the one outcome
/// that is not allowed.
/// Evaluation is deterministic: equal operands give equal results, bit for bit, whatever the
/// number of threads.
///
/// In what follows operands are at level `ℓ` and scale `s`, and not extended where nothing else is said.
pub trait Backend: Sync {
    /// A ciphertext.
    type Ct: Clone + Send + Sync;
    /// Why an instruction cannot be executed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Level, scale and degree of a ciphertext.
    ///
    /// The executor compares it with the plan after every instruction, so it must be cheap.
    fn ct_type(&self, x: &Self::Ct) -> CtType;

    /// `a + b`; the operands' types are equal and so is the result's.
    ///
    /// # Errors
    /// If the types differ.
    fn add(&self, a: &Self::Ct, b: &Self::Ct) -> Result<Self::Ct, Self::Error>;

    /// `a - b`; types as for [`add`](Self::add).
    ///
    /// # Errors
    /// If the types differ.
    fn sub(&self, a: &Self::Ct, b: &Self::Ct) -> Result<Self::Ct, Self::Error>;

    /// `x + plain`, the plaintext encoded at the operand's own level and scale; type unchanged.
    ///
    /// # Errors
    /// If a vector has not `width` numbers, or if a number is not finite or too large to be
    /// encoded.
    fn add_plain(&self, x: &Self::Ct, plain: PlainRef<'_>) -> Result<Self::Ct, Self::Error>;

    /// `x · plain`, the plaintext encoded at `scale`: scale `s·scale`, level and degree unchanged.
    ///
    /// # Errors
    /// As for [`add_plain`](Self::add_plain).
    fn mul_plain(
        &self,
        x: &Self::Ct,
        plain: PlainRef<'_>,
        scale: &Scale,
    ) -> Result<Self::Ct, Self::Error>;

    /// `a · b` of degree-1 operands at equal level: scale `s_a·s_b`, degree 2.
    ///
    /// `a` and `b` may be the same reference, which is the square.
    ///
    /// # Errors
    /// If the levels differ or a degree is not 1.
    fn mul(&self, a: &Self::Ct, b: &Self::Ct) -> Result<Self::Ct, Self::Error>;

    /// From degree 2 to degree 1; level and scale unchanged.
    ///
    /// # Errors
    /// If the degree is not 2, or if there is no relinearisation key that reaches level `ℓ`.
    fn relinearise(&self, x: &Self::Ct) -> Result<Self::Ct, Self::Error>;

    /// Divides by `q_ℓ` and rounds: level `ℓ - 1`, scale `s / q_ℓ`, degree unchanged.
    ///
    /// # Errors
    /// At level 0.
    fn rescale(&self, x: &Self::Ct) -> Result<Self::Ct, Self::Error>;

    /// Takes the division of an extended ciphertext: level and scale unchanged.
    ///
    /// # Errors
    /// If it is not extended.
    fn mod_down(&self, x: &Self::Ct) -> Result<Self::Ct, Self::Error>;

    /// Forgets primes: level `level`, scale and degree unchanged.
    ///
    /// # Errors
    /// Unless `level < ℓ`.
    fn drop_level(&self, x: &Self::Ct, level: usize) -> Result<Self::Ct, Self::Error>;

    /// Refreshes a degree-1 operand at level 0: the same slots at the level that the parameters' bootstrap leaves and
    /// at `scale`.
    ///
    /// # Errors
    /// Unless the parameters have a bootstrap, the level is 0 and the degree 1, or if a key is missing.
    fn bootstrap(&self, x: &Self::Ct, scale: &Scale) -> Result<Self::Ct, Self::Error>;

    /// `y[t] = x[(t + by) mod width]` of a degree-1 operand, extended or not; type unchanged.
    ///
    /// # Errors
    /// Unless `0 < by ≤ width` and the degree is 1, or if there is no key for `by` that reaches
    /// level `ℓ`.
    fn rotate(&self, x: &Self::Ct, by: u32) -> Result<Self::Ct, Self::Error>;

    /// `y` plus [`x` rotated](Self::rotate); the operands' types are equal and so is the result's.
    ///
    /// # Errors
    /// As for [`rotate`](Self::rotate) and [`add`](Self::add).
    fn rotate_add(&self, x: &Self::Ct, by: u32, y: &Self::Ct) -> Result<Self::Ct, Self::Error> {
        self.add(y, &self.rotate(x, by)?)
    }

    /// A linear map of degree-1 operands at equal level, as
    /// [`LinearTransform::apply`] defines it: one result per output, at level `ℓ - 1`, degree 1 and
    /// scale `s_i·scales[i] / q_ℓ`, which is the same for every `i`; extended if the transform rotates.
    ///
    /// The diagonals of input `i` are encoded at `scales[i]`.
    /// `id` names the transform within its plan, for a cache of encoded diagonals; one backend
    /// serves one plan.
    ///
    /// # Errors
    /// If numbers of operands or scales differ from the transform's inputs, if levels or products
    /// of scales differ, if a degree is not 1, or if a rotation key is missing.
    fn linear(
        &self,
        xs: &[&Self::Ct],
        transform: &Arc<LinearTransform>,
        id: ConstId,
        scales: &[Scale],
    ) -> Result<Vec<Self::Ct>, Self::Error>;
}
