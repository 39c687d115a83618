//! Evaluation keys in their two forms: seeded, as files hold them, and expanded, as the evaluator reads them.

use heplan_ir::plan::KeyKind;
use heplan_lattice::{Poly, Seed, sampling};
use rayon::prelude::*;

use crate::context::Context;

/// A key whose uniform halves are still a seed: one polynomial per digit over `q_0 ⋯ q_level` and the special primes.
#[derive(Clone, PartialEq)]
pub struct SeededKey {
    /// What it switches.
    pub kind: KeyKind,
    /// The highest level that it serves.
    pub level: usize,
    /// Public seed of the uniform halves.
    pub mask: Seed,
    /// The other halves, in evaluation form.
    pub digits: Vec<Poly>,
}

/// A key ready for use.
pub struct SwitchingKey {
    level: usize,
    /// `(b, a)` per digit.
    digits: Vec<(Poly, Poly)>,
}

impl SeededKey {
    /// The uniform half of one digit.
    pub(crate) fn mask_of(context: &Context, mask: &Seed, digit: usize, level: usize) -> Poly {
        let seed = mask.derive("digit", &[digit as u64]);
        sampling::uniform(context.ring(), context.basis_qp(level), &seed)
    }

    /// Expands the uniform halves.
    pub fn expand(self, context: &Context) -> SwitchingKey {
        let (mask, level) = (self.mask, self.level);
        let expand = |(digit, b)| (b, Self::mask_of(context, &mask, digit, level));
        SwitchingKey {
            level,
            digits: self.digits.into_par_iter().enumerate().map(expand).collect(),
        }
    }
}

impl SwitchingKey {
    /// The highest level that it serves.
    pub fn level(&self) -> usize {
        self.level
    }

    /// The halves `(b, a)` of every digit.
    pub(crate) fn digits(&self) -> &[(Poly, Poly)] {
        &self.digits
    }

    /// Bytes of its residues in memory.
    pub fn bytes(&self) -> usize {
        self.digits.iter().map(|(b, a)| size_of_val(b.words()) + size_of_val(a.words())).sum()
    }
}
