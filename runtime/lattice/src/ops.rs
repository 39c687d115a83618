//! Arithmetic of polynomials, limb by limb.
//!
//! Operands must belong to the same ring and be of the same form, and may have further primes than the result,
//! whose limbs are then passed over: a key of a high level serves a ciphertext of a low one as it is.
//! Products are meant in evaluation form, where they are products of polynomials; nothing here transforms.
//! Every function panics if ring, form or basis of an operand does not fit.

use rayon::prelude::*;

use crate::basis::{Basis, Prime};
use crate::kernels::{self, Isa};
use crate::modulus::Modulus;
use crate::poly::{Form, Poly};

/// Words that stay in the nearest cache between two passes.
const NEAR_WORDS: usize = 1 << 10;

impl Poly {
    /// `self += other`.
    ///
    /// # Panics
    /// If `other` does not fit.
    pub fn add_assign(&mut self, other: &Self) {
        self.assert_fits(other);
        let isa = self.ring().isa();
        self.for_each_limb_pointwise(|q, prime, a| {
            kernels::add_assign(isa, q, a, other.limb_of(prime))
        });
    }

    /// `self -= other`.
    ///
    /// # Panics
    /// If `other` does not fit.
    pub fn sub_assign(&mut self, other: &Self) {
        self.assert_fits(other);
        let isa = self.ring().isa();
        self.for_each_limb_pointwise(|q, prime, a| {
            kernels::sub_assign(isa, q, a, other.limb_of(prime))
        });
    }

    /// `self = -self`.
    pub fn neg_assign(&mut self) {
        let isa = self.ring().isa();
        self.for_each_limb_pointwise(|q, _, a| kernels::neg_assign(isa, q, a));
    }

    /// `self + other`, over the basis of `self`.
    ///
    /// # Panics
    /// If `other` does not fit.
    #[must_use]
    pub fn add(&self, other: &Self) -> Self {
        self.combined(other, kernels::add_assign)
    }

    /// `self - other`, over the basis of `self`.
    ///
    /// # Panics
    /// If `other` does not fit.
    #[must_use]
    pub fn sub(&self, other: &Self) -> Self {
        self.combined(other, kernels::sub_assign)
    }

    /// A copy of `self`, changed by `other` part by part while it is near.
    fn combined(&self, other: &Self, change: fn(Isa, Modulus, &mut [u64], &[u64])) -> Self {
        self.assert_fits(other);
        let mut out = Self::scratch(self.ring(), self.basis(), self.form());
        out.buffer_mut().mark_secret_if(self.is_secret() || other.is_secret());
        let isa = self.ring().isa();
        out.for_each_limb_pointwise(|q, prime, out| {
            let operands =
                self.limb_of(prime).chunks(NEAR_WORDS).zip(other.limb_of(prime).chunks(NEAR_WORDS));
            for (out, (a, b)) in out.chunks_mut(NEAR_WORDS).zip(operands) {
                out.copy_from_slice(a);
                change(isa, q, out, b);
            }
        });
        out
    }

    /// `self *= other` in evaluation form.
    ///
    /// # Panics
    /// If `other` does not fit or the form is not evaluation.
    pub fn mul_assign(&mut self, other: &Self) {
        self.assert_fits(other);
        self.assert_evaluation();
        let isa = self.ring().isa();
        self.for_each_limb_pointwise(|q, prime, a| {
            kernels::mul_assign(isa, q, a, other.limb_of(prime))
        });
    }

    /// `self * other` in evaluation form, over the basis of `self`.
    ///
    /// # Panics
    /// If `other` does not fit or the form is not evaluation.
    #[must_use]
    pub fn mul(&self, other: &Self) -> Self {
        let mut product = Self::scratch(self.ring(), self.basis(), self.form());
        product.set_mul(self, other);
        product
    }

    /// `self = a * b` in evaluation form; the former contents of `self` do not matter.
    ///
    /// # Panics
    /// If an operand does not fit or the form of `self` is not evaluation.
    pub fn set_mul(&mut self, a: &Self, b: &Self) {
        self.assert_fits(a);
        self.assert_fits(b);
        self.assert_evaluation();
        let isa = self.ring().isa();
        self.for_each_limb_pointwise(|q, prime, out| {
            kernels::mul(isa, q, out, a.limb_of(prime), b.limb_of(prime));
        });
    }

    /// `self += a * b` in evaluation form.
    ///
    /// # Panics
    /// If an operand does not fit or the form is not evaluation.
    pub fn mul_add_assign(&mut self, a: &Self, b: &Self) {
        self.assert_fits(a);
        self.assert_fits(b);
        self.assert_evaluation();
        let isa = self.ring().isa();
        self.for_each_limb_pointwise(|q, prime, acc| {
            kernels::mul_add_assign(isa, q, acc, a.limb_of(prime), b.limb_of(prime));
        });
    }

    /// `self = sum of a * b` over the pairs in evaluation form, each residue reduced once.
    ///
    /// The inner product of a key switch: digits against the halves of a key.
    /// An empty list of pairs gives zero.
    ///
    /// # Panics
    /// If an operand does not fit, the form of `self` is not evaluation, or there are more than 2^20 pairs.
    pub fn set_inner_product(&mut self, pairs: &[(&Self, &Self)]) {
        self.assert_products(pairs.len(), pairs.iter().flat_map(|(a, b)| [*a, *b]));
        let isa = self.ring().isa();
        self.for_each_limb_mut(|q, prime, out| {
            let limbs: Vec<(&[u64], &[u64])> =
                pairs.iter().map(|(a, b)| (a.limb_of(prime), b.limb_of(prime))).collect();
            kernels::inner_product(isa, q, out, &limbs);
        });
    }

    /// Two inner products with the same left factors, those of digits with both halves of a key:
    /// `outs[i] = sum of a * b[i]`. As [`Self::set_inner_product`] twice, but every left factor is read once.
    ///
    /// # Panics
    /// As [`Self::set_inner_product`], or if the outputs are of different rings or bases.
    pub fn set_inner_products(outs: [&mut Self; 2], triples: &[(&Self, [&Self; 2])]) {
        let [first, second] = outs;
        first.assert_products(triples.len(), triples.iter().flat_map(|(a, b)| [*a, b[0], b[1]]));
        first.assert_fits(second);
        let (isa, basis) = (first.ring().isa(), first.basis());
        let limbs: Vec<_> = first.limbs_mut().zip(second.limbs_mut()).enumerate().collect();
        limbs.into_par_iter().for_each(|(i, ((q, first), (_, second)))| {
            let prime = basis.prime(i);
            let limbs: Vec<(&[u64], [&[u64]; 2])> = triples
                .iter()
                .map(|(a, b)| (a.limb_of(prime), b.map(|b| b.limb_of(prime))))
                .collect();
            kernels::inner_products(isa, q, [first, second], &limbs, true);
        });
    }

    /// Multiplies limb `i` by the residue `factors[i]`.
    ///
    /// # Panics
    /// If there is not one factor in `[0, q)` per limb.
    pub fn mul_residues_assign(&mut self, factors: &[u64]) {
        self.assert_residues(factors);
        let (isa, basis) = (self.ring().isa(), self.basis());
        self.for_each_limb_pointwise(|q, prime, a| {
            kernels::mul_scalar_assign(isa, q, a, residue_of(basis, prime, factors));
        });
    }

    /// Multiplies by an integer.
    pub fn mul_integer_assign(&mut self, factor: i128) {
        let factors = self.residues(factor);
        self.mul_residues_assign(&factors);
    }

    /// `self += factor * other` for an integer factor.
    ///
    /// # Panics
    /// If `other` does not fit.
    pub fn mul_integer_add_assign(&mut self, other: &Self, factor: i128) {
        self.assert_fits(other);
        let isa = self.ring().isa();
        self.for_each_limb_pointwise(|q, prime, acc| {
            let s = q.reduce_i128(factor);
            kernels::mul_scalar_add_assign(isa, q, acc, other.limb_of(prime), s);
        });
    }

    /// Adds the constant polynomial with residue `constants[i]` modulo prime `i`, in either form.
    ///
    /// # Panics
    /// If there is not one residue in `[0, q)` per limb.
    pub fn add_residues_assign(&mut self, constants: &[u64]) {
        self.assert_residues(constants);
        let (isa, basis, form) = (self.ring().isa(), self.basis(), self.form());
        self.for_each_limb_pointwise(|q, prime, a| {
            let s = residue_of(basis, prime, constants);
            match form {
                Form::Evaluation => kernels::add_scalar_assign(isa, q, a, s),
                Form::Coefficient => a[0] = q.add(a[0], s),
            }
        });
    }

    /// Adds an integer constant, in either form.
    pub fn add_integer_assign(&mut self, constant: i128) {
        let constants = self.residues(constant);
        self.add_residues_assign(&constants);
    }

    /// An integer modulo each prime of the basis, in the order of the limbs.
    fn residues(&self, integer: i128) -> Vec<u64> {
        self.ring().moduli(self.basis()).map(|q| q.reduce_i128(integer)).collect()
    }

    fn assert_residues(&self, residues: &[u64]) {
        assert_eq!(residues.len(), self.limb_count(), "one residue per limb");
        let reduced =
            residues.iter().zip(self.ring().moduli(self.basis())).all(|(&r, q)| r < q.value());
        assert!(reduced, "residues are reduced modulo their prime");
    }

    /// What every inner product asks of its operands.
    fn assert_products<'a>(&self, count: usize, operands: impl Iterator<Item = &'a Self>) {
        self.assert_evaluation();
        assert!(count <= 1 << 20, "{count} products overflow the accumulator");
        operands.for_each(|operand| self.assert_fits(operand));
    }

    fn assert_evaluation(&self) {
        assert_eq!(self.form(), Form::Evaluation, "products are taken in evaluation form");
    }
}

fn residue_of(basis: Basis, prime: Prime, residues: &[u64]) -> u64 {
    residues[basis.position(prime).expect("a limb's prime is in its basis")]
}
