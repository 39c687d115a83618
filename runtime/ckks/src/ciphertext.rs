//! Ciphertexts: two polynomials, or three between a product and its relinearisation.
//!
//! An extended ciphertext ([`CtType`]) is told by its basis: it alone has special primes, and one ciphertext prime more
//! than its level.

use heplan_ir::ckks::CtType;
use heplan_ir::scale::Scale;
use heplan_ir::slots::Compact;
use heplan_lattice::{Poly, Seed, sampling};

use crate::compact;

/// A ciphertext `(c_0, …, c_d)` that decrypts to `Σ c_i s^i`, every part in evaluation form over `q_0 ⋯ q_level`, or
/// extended.
#[derive(Clone, PartialEq)]
pub struct Ciphertext {
    pub(crate) parts: Vec<Poly>,
    pub(crate) scale: Scale,
}

impl Ciphertext {
    /// A ciphertext from its parts.
    ///
    /// # Panics
    /// If there are not two or three parts over one basis `q_0 ⋯ q_level` in evaluation form.
    pub fn new(parts: Vec<Poly>, scale: Scale) -> Self {
        assert!((2..=3).contains(&parts.len()), "a ciphertext has two or three parts");
        let (basis, form) = (parts[0].basis(), heplan_lattice::Form::Evaluation);
        assert_eq!(basis.p_limbs(), 0, "a ciphertext has no special primes");
        assert!(parts.iter().all(|p| p.basis() == basis && p.form() == form), "parts fit together");
        Self { parts, scale }
    }

    /// The index of its last prime, once divided.
    pub fn level(&self) -> usize {
        self.parts[0].basis().q_limbs() - 1 - usize::from(self.extended())
    }

    /// Whether a division is still to come.
    pub fn extended(&self) -> bool {
        self.parts[0].basis().p_limbs() > 0
    }

    /// Its scale.
    pub fn scale(&self) -> &Scale {
        &self.scale
    }

    /// 1, or 2 between a product and its relinearisation.
    pub fn degree(&self) -> u8 {
        if self.parts.len() == 3 { 2 } else { 1 }
    }

    /// Its polynomials.
    pub fn parts(&self) -> &[Poly] {
        &self.parts
    }

    /// Its type.
    pub fn ty(&self) -> CtType {
        CtType {
            degree: self.degree(),
            extended: self.extended(),
            ..CtType::new(self.level(), self.scale.clone())
        }
    }

    /// Bytes of its residues in memory.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|p| size_of_val(p.words())).sum()
    }
}

/// A ciphertext as the client makes it: the second polynomial is uniform and travels as its seed, and of the first a part
/// may do.
#[derive(Clone, PartialEq)]
pub struct FreshCiphertext {
    /// `c_0` in evaluation form; its projection in coefficient form if some of it is left out.
    pub(crate) c0: Poly,
    /// Public seed of `c_1`.
    pub(crate) mask: Seed,
    pub(crate) scale: Scale,
    /// What is left out.
    pub(crate) compact: Compact,
}

impl FreshCiphertext {
    /// The index of its last prime.
    pub fn level(&self) -> usize {
        self.c0.limb_count() - 1
    }

    /// Its scale.
    pub fn scale(&self) -> &Scale {
        &self.scale
    }

    /// The same without what `compact` leaves out: it decrypts as before after the additions of [`Compact::steps`].
    ///
    /// # Panics
    /// If something is left out already.
    #[must_use]
    pub fn compacted(mut self, compact: Compact) -> Self {
        assert_eq!(self.compact, Compact::NONE, "a ciphertext is compacted once");
        if compact != Compact::NONE {
            self.c0.to_coefficient();
            self.c0.for_each_limb_mut(|q, _, limb| {
                let kept = compact::kept(q, limb, compact);
                compact::restore(q, &kept, compact, limb);
            });
        }
        Self { compact, ..self }
    }

    /// The ciphertext with both polynomials, and zeros or what else follows from the rest where something is left out.
    pub fn expand(&self) -> Ciphertext {
        let c1 = sampling::uniform(self.c0.ring(), self.c0.basis(), &self.mask);
        let mut c0 = self.c0.clone();
        c0.to_evaluation();
        Ciphertext { parts: vec![c0, c1], scale: self.scale.clone() }
    }
}
