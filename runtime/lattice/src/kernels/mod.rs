//! Loops over one limb, one file per instruction set, one dispatch.
//!
//! [`scalar`] is the specification: every other file computes the same words, bit for bit, and its tests hold it to that.
//! All inputs and outputs are residues in `[0, q)`; lazier ranges exist only inside a kernel, where its text states them.
//! This is the only folder with `unsafe`: intrinsics and unaligned vector loads, nothing else.
//! Nothing here allocates, spawns threads or knows what a polynomial is.

mod isa;
pub(crate) mod scalar;

pub use isa::Isa;

use crate::modulus::Modulus;

/// Twiddle factors of one prime, in the form that the kernels of one instruction set read.
#[derive(Debug)]
pub(crate) enum Twiddles {
    /// For [`scalar`].
    Scalar(scalar::Twiddles),
}

impl Twiddles {
    /// `roots[i] = psi^brv(i)` and `inverse_roots[i] = psi^-brv(i)` for the bit reversal of `log_n` bits.
    pub(crate) fn new(isa: Isa, q: Modulus, roots: Vec<u64>, inverse_roots: Vec<u64>) -> Self {
        match isa.kind() {
            isa::Kind::Scalar => Self::Scalar(scalar::Twiddles::new(q, roots, inverse_roots)),
        }
    }

    /// In-place negacyclic transform: natural order in, bit-reversed order out.
    pub(crate) fn forward(&self, q: Modulus, a: &mut [u64]) {
        match self {
            Self::Scalar(t) => scalar::forward(q, t, a),
        }
    }

    /// The inverse of [`Self::forward`].
    pub(crate) fn inverse(&self, q: Modulus, a: &mut [u64]) {
        match self {
            Self::Scalar(t) => scalar::inverse(q, t, a),
        }
    }
}

/// `a += b`.
pub(crate) fn add_assign(_isa: Isa, q: Modulus, a: &mut [u64], b: &[u64]) {
    scalar::add_assign(q, a, b);
}

/// `a -= b`.
pub(crate) fn sub_assign(_isa: Isa, q: Modulus, a: &mut [u64], b: &[u64]) {
    scalar::sub_assign(q, a, b);
}

/// `a = -a`.
pub(crate) fn neg_assign(_isa: Isa, q: Modulus, a: &mut [u64]) {
    scalar::neg_assign(q, a);
}

/// `a += s` for one residue `s`.
pub(crate) fn add_scalar_assign(_isa: Isa, q: Modulus, a: &mut [u64], s: u64) {
    scalar::add_scalar_assign(q, a, s);
}

/// `out = a * b`, element by element.
pub(crate) fn mul(_isa: Isa, q: Modulus, out: &mut [u64], a: &[u64], b: &[u64]) {
    scalar::mul(q, out, a, b);
}

/// `a *= b`, element by element.
pub(crate) fn mul_assign(_isa: Isa, q: Modulus, a: &mut [u64], b: &[u64]) {
    scalar::mul_assign(q, a, b);
}

/// `acc += a * b`, element by element.
pub(crate) fn mul_add_assign(_isa: Isa, q: Modulus, acc: &mut [u64], a: &[u64], b: &[u64]) {
    scalar::mul_add_assign(q, acc, a, b);
}

/// `a *= s` for one residue `s`.
pub(crate) fn mul_scalar_assign(_isa: Isa, q: Modulus, a: &mut [u64], s: u64) {
    scalar::mul_scalar_assign(q, a, s);
}

/// `acc += s * b` for one residue `s`.
pub(crate) fn mul_scalar_add_assign(_isa: Isa, q: Modulus, acc: &mut [u64], b: &[u64], s: u64) {
    scalar::mul_scalar_add_assign(q, acc, b, s);
}

/// `out = (a - out) * s` for one residue `s`.
pub(crate) fn sub_from_mul_scalar(_isa: Isa, q: Modulus, out: &mut [u64], a: &[u64], s: u64) {
    scalar::sub_from_mul_scalar(q, out, a, s);
}

/// `out = sum of a * b` over the pairs, element by element, reduced once at the end. At most 2^20 pairs.
pub(crate) fn inner_product(_isa: Isa, q: Modulus, out: &mut [u64], pairs: &[(&[u64], &[u64])]) {
    scalar::inner_product(q, out, pairs);
}

/// `out = sum of s * src` over the terms; each `s` a residue, each word of `src` any number below 2^50. At most 2^20 terms.
pub(crate) fn linear_combination(_isa: Isa, q: Modulus, out: &mut [u64], terms: &[(&[u64], u64)]) {
    scalar::linear_combination(q, out, terms);
}

/// `out = src mod q`, where `src` holds residues modulo `from`, read as their centred representatives.
pub(crate) fn reduce_centred(_isa: Isa, from: Modulus, q: Modulus, out: &mut [u64], src: &[u64]) {
    scalar::reduce_centred(from, q, out, src);
}

/// `out = round(sum of src * weight)` over the terms, in f64, added in the order of the terms without fusing.
///
/// The order is part of the specification: every instruction set rounds alike.
pub(crate) fn rounded_sum(_isa: Isa, out: &mut [u64], terms: &[(&[u64], f64)]) {
    scalar::rounded_sum(out, terms);
}
