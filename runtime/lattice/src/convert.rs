//! From residues modulo some primes to residues modulo others, without leaving RNS.
//!
//! For `x` modulo `D = d_0 .. d_{k-1}` let `y_i = x (D/d_i)^-1 mod d_i`.
//! Then `x = sum y_i (D/d_i) - u D` for a small integer `u`, and `u = round(sum y_i / d_i)` picks the centred
//! representative, `|x| <= D/2` (Halevi, Polyakov, Shoup: ePrint 2018/117).
//! The sum is taken in f64, whose error is below `2^-50 (k + 2)`: where `x` is that close to `±D/2` in units of D,
//! either of the two representatives next to the border may come out, and every instruction set gives the same one.
//! With one source prime nothing is rounded and the representative is exact.
//! A `u` is a small number, and travels in the upper bits of its `y_0`: sums of products are bound by the limbs that they
//! read, and so it costs none.

use rayon::prelude::*;

use crate::basis::{Basis, Prime};
use crate::kernels::{self, Ending, Origin};
use crate::modulus::Modulus;
use crate::pool::Buffer;
use crate::ring::Ring;

/// Coefficients whose overflow `u` one task computes.
const ROUNDING_WORDS: usize = 1 << 12;

/// The constants of a conversion between two bases.
///
/// The target may share primes with the source; on those the conversion gives back the residues it was given.
#[derive(Debug)]
pub struct BasisConverter {
    from: Basis,
    to: Basis,
    from_moduli: Vec<Modulus>,
    to_moduli: Vec<Modulus>,
    /// `(D/d_i)^-1 mod d_i`.
    inverse_cofactors: Vec<u64>,
    /// `1 / d_i`.
    weights: Vec<f64>,
    /// For each target `t`: `D/d_i mod t` for every `i`, then `-D mod t`.
    factors: Vec<Vec<u64>>,
    /// For each target `t`: `D^-1 mod t`, or 0 if `t` divides D.
    inverse_products: Vec<u64>,
}

/// What all target limbs of one conversion share.
pub(crate) enum Prepared<'a> {
    /// One source prime: its residues.
    Single(&'a [u64]),
    /// The `y_i`, the first of which carry `u`.
    Many(Buffer),
}

impl BasisConverter {
    /// The constants for the conversion from one basis of a ring to another; [`Ring::converter`] keeps them.
    ///
    /// # Panics
    /// If `from` is empty, or the ring lacks a prime.
    pub fn new(ring: &Ring, from: Basis, to: Basis) -> Self {
        assert!(!from.is_empty(), "a conversion has a source");
        let from_moduli: Vec<Modulus> = ring.moduli(from).collect();
        let to_moduli: Vec<Modulus> = ring.moduli(to).collect();
        let cofactor = |i: usize, q: Modulus| {
            let others = from_moduli.iter().enumerate().filter(|&(j, _)| j != i);
            others.fold(1, |product, (_, d)| q.mul(product, q.reduce_u64(d.value())))
        };
        let k = from_moduli.len();
        let inverse_cofactors =
            (0..k).map(|i| from_moduli[i].inv(cofactor(i, from_moduli[i]))).collect();
        let factors = to_moduli
            .iter()
            .map(|&t| {
                let minus_product = t.neg(cofactor(k, t));
                (0..k).map(|i| cofactor(i, t)).chain([minus_product]).collect()
            })
            .collect();
        let inverse_products = to_moduli.iter().map(|&t| t.inv(cofactor(k, t))).collect();
        let weights = from_moduli.iter().map(|d| 1.0 / d.value() as f64).collect();
        Self {
            from,
            to,
            from_moduli,
            to_moduli,
            inverse_cofactors,
            weights,
            factors,
            inverse_products,
        }
    }

    /// The source basis.
    pub const fn from(&self) -> Basis {
        self.from
    }

    /// The target basis.
    pub const fn to(&self) -> Basis {
        self.to
    }

    /// `D^-1` modulo a target prime for the product D of the source primes; 0 if that prime divides D.
    ///
    /// # Panics
    /// If the target lacks the prime.
    pub fn inverse_product(&self, target: Prime) -> u64 {
        self.inverse_products[self.to.position(target).expect("the target basis has the prime")]
    }

    /// Converts limbs in coefficient form. `source` has one limb per source prime, `target` one per target prime.
    ///
    /// # Panics
    /// If the numbers of limbs are not those of the bases, or a limb has not N residues.
    pub fn convert(&self, ring: &Ring, source: &[&[u64]], target: &mut [&mut [u64]]) {
        assert_eq!(target.len(), self.to_moduli.len(), "one limb per target prime");
        assert!(target.iter().all(|limb| limb.len() == ring.degree()), "a limb has N residues");
        let prepared = self.prepare(ring, source, false);
        target
            .par_iter_mut()
            .enumerate()
            .for_each(|(j, out)| self.convert_limb(ring, &prepared, self.to.prime(j), out));
    }

    /// The part of a conversion that all target limbs share.
    /// If `secret`, what it leaves in memory is wiped afterwards.
    pub(crate) fn prepare<'a>(
        &self,
        ring: &Ring,
        source: &[&'a [u64]],
        secret: bool,
    ) -> Prepared<'a> {
        assert_eq!(source.len(), self.from_moduli.len(), "one limb per source prime");
        assert!(source.iter().all(|limb| limb.len() == ring.degree()), "a limb has N residues");
        if let [single] = source {
            return Prepared::Single(single);
        }
        let n = ring.degree();
        let mut buffer = ring.pool().take(source.len() * n);
        buffer.mark_secret_if(secret);
        buffer.as_mut_slice().par_chunks_exact_mut(n).enumerate().for_each(|(i, y)| {
            y.copy_from_slice(source[i]);
            kernels::mul_scalar_assign(ring.isa(), self.from_moduli[i], y, self.scaling(i));
        });
        let (first, others) = buffer.as_mut_slice().split_at_mut(n);
        first.par_chunks_mut(ROUNDING_WORDS).enumerate().for_each(|(chunk, first)| {
            let range = chunk * ROUNDING_WORDS..chunk * ROUNDING_WORDS + first.len();
            self.overflow(ring, first, others.chunks_exact(n).map(|y| &y[range.clone()]));
        });
        Prepared::Many(buffer)
    }

    /// Whether a sum of scaled residues may be off by multiples of D: with more than one source prime.
    const fn overflows(&self) -> bool {
        self.from_moduli.len() > 1
    }

    /// What residues of source prime number `i` are multiplied by to become the `y_i`; with one source prime they stay.
    pub(crate) fn scaling(&self, i: usize) -> u64 {
        if self.overflows() { self.inverse_cofactors[i] } else { 1 }
    }

    /// Lets the `y_0` carry the `u` of all `y_i`, if there is more than one source prime.
    pub(crate) fn overflow<'a>(
        &self,
        ring: &Ring,
        first: &mut [u64],
        others: impl Iterator<Item = &'a [u64]>,
    ) {
        if self.overflows() {
            let others: Vec<(&[u64], f64)> =
                others.zip(self.weights[1..].iter().copied()).collect();
            kernels::carry_rounded_sum(ring.isa(), first, self.weights[0], &others);
        }
    }

    /// One target limb, in coefficient form.
    pub(crate) fn convert_limb(
        &self,
        ring: &Ring,
        prepared: &Prepared<'_>,
        target: Prime,
        out: &mut [u64],
    ) {
        let isa = ring.isa();
        self.with_origin(&prepared.scaled(ring), target, |q, origin| match origin {
            Origin::Centred(from, src) => kernels::reduce_centred(isa, from, q, out, src),
            Origin::Combined(terms, carried) => {
                kernels::linear_combination(isa, q, out, terms, carried);
            }
        });
    }

    /// One target limb, in evaluation form, from the `y_i`, the first of which carry `u`, or what the ending makes of it.
    pub(crate) fn transform_limb(
        &self,
        ring: &Ring,
        scaled: &[&[u64]],
        target: Prime,
        out: &mut [u64],
        ending: Ending<'_>,
    ) {
        self.with_origin(scaled, target, |_, origin| {
            ring.table(target).forward_from(ring.isa(), out, origin, ending);
        });
    }

    /// Calls `f` with a target prime and the sum that gives its limb.
    fn with_origin(&self, scaled: &[&[u64]], target: Prime, f: impl FnOnce(Modulus, Origin<'_>)) {
        let j = self.to.position(target).expect("the target basis has the prime");
        if let [single] = scaled {
            f(self.to_moduli[j], Origin::Centred(self.from_moduli[0], single));
        } else {
            let (carried, factors) = self.factors[j].split_last().expect("there are factors");
            let terms: Vec<(&[u64], u64)> =
                scaled.iter().copied().zip(factors.iter().copied()).collect();
            f(self.to_moduli[j], Origin::Combined(&terms, *carried));
        }
    }
}

impl Prepared<'_> {
    /// The limbs of the sum that gives a target limb.
    pub(crate) fn scaled(&self, ring: &Ring) -> Vec<&[u64]> {
        match self {
            Prepared::Single(source) => vec![source],
            Prepared::Many(buffer) => buffer.as_slice().chunks_exact(ring.degree()).collect(),
        }
    }
}
