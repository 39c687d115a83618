//! A polynomial of a ring: one run of N residues per prime, the limbs one after another.
//!
//! Every limb starts on a 64-byte boundary and holds residues in `[0, q)` of its prime: no operation leaves a lazier range behind.
//! A polynomial knows its basis and its form; operations whose operands do not fit each other panic,
//! since only a bug of the caller can bring that about: nothing that comes from a file reaches them unchecked.

use std::fmt;
use std::sync::Arc;

use rayon::prelude::*;

use crate::basis::{Basis, Prime};
use crate::integers;
use crate::modulus::Modulus;
use crate::pool::Buffer;
use crate::ring::Ring;

/// What the N residues of a limb are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// The coefficients of `1, X, .., X^(N-1)`.
    Coefficient,
    /// The values at the odd powers of the 2N-th root, in the order of [`crate::ntt`].
    Evaluation,
}

/// Words below which a second thread costs more than it brings to work like a transform.
const PARALLEL_WORDS: usize = 1 << 14;

/// The same for work of a few cycles per word.
const PARALLEL_WORDS_POINTWISE: usize = 1 << 17;

/// A polynomial in one form with residues for the primes of one basis.
pub struct Poly {
    ring: Arc<Ring>,
    buffer: Buffer,
    basis: Basis,
    form: Form,
}

impl Poly {
    /// The zero polynomial.
    ///
    /// # Panics
    /// If the ring lacks a prime of the basis.
    pub fn zero(ring: &Arc<Ring>, basis: Basis, form: Form) -> Self {
        let mut poly = Self::scratch(ring, basis, form);
        poly.buffer.as_mut_slice().fill(0);
        poly
    }

    /// A polynomial with unspecified contents, for a caller that overwrites all of it.
    ///
    /// What stands in it may be no residue at all, and never comes from a polynomial that was marked secret.
    ///
    /// # Panics
    /// If the ring lacks a prime of the basis.
    pub fn scratch(ring: &Arc<Ring>, basis: Basis, form: Form) -> Self {
        assert!(ring.has(basis), "the ring has no basis {basis}");
        let buffer = ring.pool().take(basis.len() * ring.degree());
        Self { ring: Arc::clone(ring), buffer, basis, form }
    }

    /// A polynomial from residues, limb after limb, as a file holds them.
    ///
    /// `None` if the number of words is not that of the basis, a word is no residue of its prime, or the ring lacks a prime.
    pub fn from_words(ring: &Arc<Ring>, basis: Basis, form: Form, words: &[u64]) -> Option<Self> {
        if !ring.has(basis) || words.len() != basis.len() * ring.degree() {
            return None;
        }
        let reduced = words
            .chunks_exact(ring.degree())
            .zip(ring.moduli(basis))
            .all(|(limb, q)| limb.iter().all(|&x| x < q.value()));
        reduced.then(|| {
            let mut poly = Self::scratch(ring, basis, form);
            poly.buffer.as_mut_slice().copy_from_slice(words);
            poly
        })
    }

    /// The polynomial whose coefficients are the given integers, in coefficient form.
    ///
    /// # Panics
    /// If there are not N coefficients, or the ring lacks a prime of the basis.
    pub fn from_i64(ring: &Arc<Ring>, basis: Basis, coefficients: &[i64]) -> Self {
        assert_eq!(coefficients.len(), ring.degree(), "one integer per coefficient");
        let mut poly = Self::scratch(ring, basis, Form::Coefficient);
        poly.for_each_limb_mut(|q, _, limb| {
            for (out, &c) in limb.iter_mut().zip(coefficients) {
                *out = q.reduce_i64(c);
            }
        });
        poly
    }

    /// As [`Self::from_i64`], for magnitudes below every prime, which take no division.
    ///
    /// # Panics
    /// As [`Self::from_i64`].
    pub(crate) fn from_small(ring: &Arc<Ring>, basis: Basis, coefficients: &[i64]) -> Self {
        assert_eq!(coefficients.len(), ring.degree(), "one integer per coefficient");
        let mut poly = Self::scratch(ring, basis, Form::Coefficient);
        poly.for_each_limb_pointwise(|q, _, limb| {
            integers::lift(q, limb, coefficients);
        });
        poly
    }

    /// From now on the contents are wiped when the polynomial is dropped, and those of its clones.
    ///
    /// Results of operations on it are not marked by themselves.
    #[must_use]
    pub fn into_secret(mut self) -> Self {
        self.buffer.mark_secret();
        self
    }

    /// Whether the contents are wiped on drop.
    pub fn is_secret(&self) -> bool {
        self.buffer.is_secret()
    }

    /// The ring.
    pub const fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// The primes, in the order of the limbs.
    pub const fn basis(&self) -> Basis {
        self.basis
    }

    /// The form.
    pub const fn form(&self) -> Form {
        self.form
    }

    /// Declares the contents to be of another form, without transforming them; for a caller that has just overwritten them.
    pub const fn set_form(&mut self, form: Form) {
        self.form = form;
    }

    /// Number of limbs.
    pub const fn limb_count(&self) -> usize {
        self.basis.len()
    }

    /// The N residues of one limb.
    ///
    /// # Panics
    /// If there is no such limb.
    pub fn limb(&self, i: usize) -> &[u64] {
        let n = self.ring.degree();
        &self.buffer.as_slice()[i * n..(i + 1) * n]
    }

    /// The N residues of one limb. The caller leaves residues in `[0, q)`.
    ///
    /// # Panics
    /// If there is no such limb.
    pub fn limb_mut(&mut self, i: usize) -> &mut [u64] {
        let n = self.ring.degree();
        &mut self.buffer.as_mut_slice()[i * n..(i + 1) * n]
    }

    /// The limb of a prime.
    ///
    /// # Panics
    /// If the basis lacks the prime.
    pub fn limb_of(&self, prime: Prime) -> &[u64] {
        let position = self.basis.position(prime).expect("the basis has the prime");
        self.limb(position)
    }

    /// All limbs in order.
    pub fn limbs(&self) -> impl ExactSizeIterator<Item = &[u64]> {
        self.buffer.as_slice().chunks_exact(self.ring.degree())
    }

    /// All limbs in order, each with its modulus. The caller leaves residues in `[0, q)`.
    pub fn limbs_mut(&mut self) -> impl Iterator<Item = (Modulus, &mut [u64])> {
        let n = self.ring.degree();
        self.ring.moduli(self.basis).zip(self.buffer.as_mut_slice().chunks_exact_mut(n))
    }

    /// All residues, limb after limb, as a file holds them.
    pub fn words(&self) -> &[u64] {
        self.buffer.as_slice()
    }

    /// Calls `f(modulus, prime, limb)` for every limb, on several threads if there is enough to do.
    pub fn for_each_limb_mut(&mut self, f: impl Fn(Modulus, Prime, &mut [u64]) + Sync) {
        self.for_each_limb_from(PARALLEL_WORDS, f);
    }

    /// As [`Self::for_each_limb_mut`], for work of a few cycles per word.
    pub(crate) fn for_each_limb_pointwise(
        &mut self,
        f: impl Fn(Modulus, Prime, &mut [u64]) + Sync,
    ) {
        self.for_each_limb_from(PARALLEL_WORDS_POINTWISE, f);
    }

    /// On several threads from `threshold` words on.
    fn for_each_limb_from(
        &mut self,
        threshold: usize,
        f: impl Fn(Modulus, Prime, &mut [u64]) + Sync,
    ) {
        let (ring, basis, n) = (&self.ring, self.basis, self.ring.degree());
        let one = |(i, limb): (usize, &mut [u64])| {
            let prime = basis.prime(i);
            f(ring.modulus(prime), prime, limb);
        };
        let words = self.buffer.as_mut_slice();
        if basis.len() > 1 && words.len() >= threshold {
            words.par_chunks_exact_mut(n).enumerate().for_each(one);
        } else {
            words.chunks_exact_mut(n).enumerate().for_each(one);
        }
    }

    /// Overwrites every limb with that of `other`, whose basis may have further primes, and takes over its form.
    ///
    /// # Panics
    /// If the rings differ or `other` lacks a prime.
    pub fn copy_from(&mut self, other: &Self) {
        self.assert_same_ring(other);
        self.for_each_limb_pointwise(|_, prime, limb| limb.copy_from_slice(other.limb_of(prime)));
        self.form = other.form;
    }

    /// The residues for the primes of a smaller basis: how a ciphertext drops levels.
    ///
    /// A secret polynomial restricts to a secret one.
    ///
    /// # Panics
    /// If the polynomial lacks a prime of `basis`.
    pub fn restrict(&self, basis: Basis) -> Self {
        let mut out = Self::scratch(&self.ring, basis, self.form);
        out.buffer.mark_secret_if(self.is_secret());
        out.copy_from(self);
        out
    }

    /// Transforms to evaluation form in place; does nothing if it is in that form.
    pub fn to_evaluation(&mut self) {
        if self.form == Form::Coefficient {
            let ring = Arc::clone(&self.ring);
            self.for_each_limb_mut(|_, prime, limb| ring.table(prime).forward(limb));
            self.form = Form::Evaluation;
        }
    }

    /// Transforms to coefficient form in place; does nothing if it is in that form.
    pub fn to_coefficient(&mut self) {
        if self.form == Form::Evaluation {
            let ring = Arc::clone(&self.ring);
            self.for_each_limb_mut(|_, prime, limb| ring.table(prime).inverse(limb));
            self.form = Form::Coefficient;
        }
    }

    pub(crate) const fn buffer_mut(&mut self) -> &mut Buffer {
        &mut self.buffer
    }

    pub(crate) fn assert_same_ring(&self, other: &Self) {
        assert!(Arc::ptr_eq(&self.ring, &other.ring), "operands belong to one ring");
    }

    /// The operand may have further primes; the form must agree.
    pub(crate) fn assert_fits(&self, operand: &Self) {
        self.assert_same_ring(operand);
        assert_eq!(self.form, operand.form, "operands have one form");
        assert!(
            operand.basis.contains(self.basis),
            "an operand over {} lacks primes of {}",
            operand.basis,
            self.basis
        );
    }
}

impl Clone for Poly {
    fn clone(&self) -> Self {
        self.restrict(self.basis)
    }
}

/// Equal ring, basis, form and residues.
impl PartialEq for Poly {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ring, &other.ring)
            && self.basis == other.basis
            && self.form == other.form
            && self.words() == other.words()
    }
}

impl Eq for Poly {}

/// Never the residues: they may be secret.
impl fmt::Debug for Poly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poly")
            .field("log_n", &self.ring.log_n())
            .field("basis", &self.basis)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}
