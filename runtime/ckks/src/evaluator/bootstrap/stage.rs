//! One group of butterflies on a ciphertext: hoisted baby steps, giant steps by Horner's rule, one division.
//!
//! Everything stays in the basis with the special primes and at the level of the operand until the end, so that a group
//! rounds once, at the scale of its result (double hoisting: Bossuat, Mouchet, Troncoso-Pastoriza, Hubaux, ePrint
//! 2020/1203). Only the component that a giant step's key switch decomposes is divided before, at the larger scale.

use std::sync::Arc;

use heplan_ir::bootstrap::Stage;
use heplan_ir::plan::KeyKind;
use heplan_ir::scale::Scale;
use heplan_lattice::hoisting::{Evaluate, Rotated, Source, Weighted, Weights, weighted_sums};
use heplan_lattice::keyswitch::{Addend, Switched, undivided_switch};
use heplan_lattice::ntt::MIN_LOG_N;
use heplan_lattice::{Poly, conjugation_element};
use rayon::prelude::*;

use super::super::Evaluator;
use super::dft;
use crate::ciphertext::Ciphertext;
use crate::context::Context;
use crate::encoder::Plaintext;
use crate::error::EvalError;
use crate::keys::switching::SwitchingKey;

/// A group with its diagonals encoded.
pub(super) struct PreparedStage {
    stage: Stage,
    weights: Vec<Plaintext>,
    /// Coefficients of the subring in which the weights lie.
    size: usize,
    /// The scale of its result.
    scale: Scale,
}

/// What is special to a group, beside its shape.
pub(super) struct Place {
    /// By how much its operand lags behind.
    pub(super) lag: u32,
    /// Whether it halves the constant coefficient.
    pub(super) halves: bool,
    /// What values are multiplied by.
    pub(super) factor: f64,
}

impl PreparedStage {
    /// Encodes the diagonals of a group that takes operands of the scale `from` to results of the scale `to`.
    ///
    /// # Errors
    /// If they cannot be encoded at that scale.
    pub(super) fn new(
        context: &Context,
        stage: &Stage,
        place: &Place,
        from: &Scale,
        to: &Scale,
    ) -> Result<Self, EvalError> {
        let slots = context.parameters().slots();
        let last = Scale::prime(context.parameters().q()[stage.level]);
        let encoded = to.mul(&last).div(from).to_f64();
        let weights = dft::weights(stage, slots, place.lag, place.halves, place.factor);
        let period = weights.first().map_or(1, |w| w.re.len());
        let encode = |w: &dft::Complex| context.encoder().encode_complex(&w.re, &w.im, encoded);
        let weights = weights.par_iter().map(encode).collect::<Result<_, _>>()?;
        let size = (2 * period).clamp(1 << MIN_LOG_N, context.ring().degree());
        Ok(Self { stage: stage.clone(), weights, size, scale: to.clone() })
    }

    /// Bytes of the encoded diagonals.
    pub(super) fn bytes(&self) -> usize {
        self.weights.iter().map(Plaintext::bytes).sum()
    }
}

/// A pair of polynomials over the primes of a level and the special ones: a ciphertext times their product.
pub(super) type Lifted = [Poly; 2];

impl Evaluator {
    /// Applies a group to a ciphertext at its level, up to the division; with `conjugated`, adds the conjugate of the result.
    ///
    /// # Errors
    /// If a key is missing.
    pub(super) fn lifted_stage(
        &self,
        x: &Ciphertext,
        prepared: &PreparedStage,
        conjugated: bool,
    ) -> Result<Lifted, EvalError> {
        let level = prepared.stage.level;
        let mut sums = self.stage_sums(x, prepared)?;
        let mut out = sums.pop().expect("a group has a giant step");
        if !sums.is_empty() {
            let by = prepared.stage.giant();
            let key = self.keys.get(KeyKind::Rotate(by), level)?;
            // Every giant step reads all of the key that this level needs: it is expanded at most once.
            let several = sums.len() > 1;
            let expanded = several.then(|| key.expanded_for(&self.context, level)).flatten();
            let key = expanded.as_ref().unwrap_or(&key);
            while let Some(next) = sums.pop() {
                out = self.lifted_turn(&out, key, self.context.galois(by), level, &next);
            }
        }
        if conjugated {
            let key = self.keys.get(KeyKind::Conjugate, level)?;
            let element = conjugation_element(self.context.ring().log_n());
            out = self.lifted_turn(&out, &key, element, level, &out);
        }
        Ok(out)
    }

    /// The division that [`Self::lifted_stage`] leaves to come.
    pub(super) fn divided(&self, lifted: &Lifted, prepared: &PreparedStage) -> Ciphertext {
        let to = self.context.basis_q(prepared.stage.level - 1);
        let parts = lifted.par_iter().map(|p| p.divide_and_round(to)).collect();
        Ciphertext { parts, scale: prepared.scale.clone() }
    }

    /// The sum of every giant step.
    fn stage_sums(
        &self,
        x: &Ciphertext,
        prepared: &PreparedStage,
    ) -> Result<Vec<Lifted>, EvalError> {
        let stage = &prepared.stage;
        let ring = self.context.ring();
        let babies = stage.baby_steps.min(stage.diagonals);
        let steps = (1..babies).map(|baby| baby as u32 * stage.stride());
        let steps: Vec<u32> = steps.collect();
        let key = |&by: &u32| Ok((by, self.keys.get(KeyKind::Rotate(by), stage.level)?));
        let keys: Vec<(u32, Arc<SwitchingKey>)> =
            steps.par_iter().map(key).collect::<Result<_, EvalError>>()?;
        let turned = keys.iter().map(|(by, key)| {
            let permutation = ring.permutation(self.context.galois(*by));
            Rotated { source: 0, switch: Some((&**key, permutation)) }
        });
        let rotations: Vec<Rotated<'_, SwitchingKey>> =
            [Rotated { source: 0, switch: None }].into_iter().chain(turned).collect();
        let terms = |giant: usize| {
            let first = giant * stage.baby_steps;
            let indices = first..stage.diagonals.min(first + babies);
            indices.map(|weight| Weighted { rotated: weight - first, weight }).collect()
        };
        let terms: Vec<Vec<Weighted>> = (0..stage.giant_steps).map(terms).collect();
        let terms: Vec<&[Weighted]> = terms.iter().map(Vec::as_slice).collect();
        let digits = (babies > 1).then(|| self.digits(&x.parts[1]));
        let source = Source { parts: [&x.parts[0], &x.parts[1]], digits };
        let write = |i: usize, prime, out: &mut [u64]| {
            prepared.weights[i].evaluate(ring, prime, out);
        };
        let weights = Weights::Evaluated(Evaluate { size: prepared.size, write: &write });
        let basis = self.context.basis_qp(stage.level);
        Ok(weighted_sums(ring, basis, &[source], &rotations, &terms, &weights))
    }

    /// An automorphism of a pair that is not divided by the special primes yet, plus another pair.
    fn lifted_turn(
        &self,
        x: &Lifted,
        key: &SwitchingKey,
        element: usize,
        level: usize,
        then: &Lifted,
    ) -> Lifted {
        let digits = self.digits_of_quotient(&x[1], level);
        let ring = self.context.ring();
        let switched = Switched {
            add: [Some(Addend::Extended(&x[0])), None],
            permutation: Some(ring.permutation(element)),
            then: then.each_ref().map(|part| Some(Addend::Extended(part))),
            ..Switched::new(&digits, key)
        };
        undivided_switch(ring, x[0].basis(), &switched)
    }
}
