//! Linear maps between slots by baby and giant steps with double hoisting.
//!
//! Every operand is decomposed once; its baby rotations stay in the basis with the special primes, where encoded diagonals
//! multiply them; the sums of one giant step are rotated by one key switch, again without leaving that basis; one
//! ModDown per result ends it (Bossuat, Mouchet, Troncoso-Pastoriza, Hubaux: ePrint 2020/1203, section 4.3).
//!
//! Diagonals are encoded as integer coefficients, which take a residue number system's worth less memory than their
//! evaluations; those are made for one giant step at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use heplan_ir::plan::KeyKind;
use heplan_ir::scale::Scale;
use heplan_ir::transform::{Diagonal, LinearTransform, Split};
use heplan_lattice::{Basis, Form, Poly};
use rayon::prelude::*;

use super::{Evaluator, check_degree, check_level};
use crate::ciphertext::Ciphertext;
use crate::context::Context;
use crate::encoder::Plaintext;
use crate::error::EvalError;

/// Bytes of evaluated diagonals that one giant step holds at a time, where [`LEAST_TERMS`] of them do not take more.
const EVALUATIONS_BYTES: usize = 64 << 20;

/// The fewest diagonals that are evaluated at a time: an inner product over fewer reads its result too often.
const LEAST_TERMS: usize = 8;

/// A transform with its schedule, ready to be applied any number of times.
pub struct PreparedTransform {
    transform: Arc<LinearTransform>,
    scales: Vec<Scale>,
    /// The distinct `(input, baby step)`, sorted.
    babies: Vec<(u32, u32)>,
    /// For every output, its giant steps, sorted.
    outputs: Vec<Vec<Giant>>,
    /// Encoded diagonals, in the order of the transform, or none if they are encoded at every use.
    encoded: Option<Vec<Plaintext>>,
}

/// All diagonals of one output and one giant step.
struct Giant {
    step: u32,
    terms: Vec<Term>,
}

#[derive(Clone, Copy)]
struct Term {
    /// Index into the babies.
    baby: usize,
    /// Index into the diagonals.
    diagonal: usize,
}

/// A rotated operand `P·rot(x)` over the basis with the special primes.
type Extended = (Poly, Poly);

impl PreparedTransform {
    /// Schedules a transform whose input `i` is multiplied by diagonals at `scales[i]`; encodes the diagonals in advance
    /// if they take no more than `budget` bytes.
    ///
    /// # Errors
    /// If the transform does not fit the ring or the scales, or a value cannot be encoded.
    pub fn new(
        context: &Context,
        transform: &Arc<LinearTransform>,
        split: Split,
        scales: &[Scale],
        budget: usize,
    ) -> Result<Self, EvalError> {
        check_transform(context, transform, split, scales)?;
        let pairs = transform.diagonals.iter().map(|d| (d, split.of(d.offset, transform.width)));
        let mut babies: Vec<(u32, u32)> = pairs.clone().map(|(d, (b, _))| (d.input, b)).collect();
        babies.sort_unstable();
        babies.dedup();
        let mut steps: Vec<BTreeMap<u32, Vec<Term>>> = vec![BTreeMap::new(); transform.outputs];
        for (diagonal, (d, (b, g))) in pairs.enumerate() {
            let baby = babies.binary_search(&(d.input, b)).expect("every baby step is listed");
            steps[d.output as usize].entry(g).or_default().push(Term { baby, diagonal });
        }
        let giants =
            |m: BTreeMap<u32, Vec<Term>>| m.into_iter().map(|(step, terms)| Giant { step, terms });
        let mut out = Self {
            transform: Arc::clone(transform),
            scales: scales.to_vec(),
            babies,
            outputs: steps.into_iter().map(|m| giants(m).collect()).collect(),
            encoded: None,
        };
        if Self::most_bytes(transform) <= budget {
            out.encoded = Some(out.encode_all(context)?);
        }
        Ok(out)
    }

    /// The most bytes that the encoded diagonals of a transform take.
    pub fn most_bytes(transform: &LinearTransform) -> usize {
        let diagonal = transform.period.saturating_mul(2 * size_of::<u64>());
        transform.diagonals.len().saturating_mul(diagonal)
    }

    /// Whether it was made from this very transform.
    pub fn is_of(&self, transform: &Arc<LinearTransform>) -> bool {
        Arc::ptr_eq(&self.transform, transform)
    }

    /// Bytes of the encoded diagonals that it keeps.
    pub fn bytes(&self) -> usize {
        self.encoded.iter().flatten().map(Plaintext::bytes).sum()
    }

    fn encode_all(&self, context: &Context) -> Result<Vec<Plaintext>, EvalError> {
        let mut giant_of = vec![0; self.transform.diagonals.len()];
        for giant in self.outputs.iter().flatten() {
            giant.terms.iter().for_each(|t| giant_of[t.diagonal] = giant.step);
        }
        let encode = |(i, &step): (usize, &u32)| self.encode(context, i, step);
        giant_of.par_iter().enumerate().map(encode).collect()
    }

    /// `rot_{-giant}(diagonal)`, encoded.
    fn encode(
        &self,
        context: &Context,
        diagonal: usize,
        giant: u32,
    ) -> Result<Plaintext, EvalError> {
        let d: &Diagonal = &self.transform.diagonals[diagonal];
        let mask = self.transform.period - 1;
        let mut values = vec![0.0; self.transform.period];
        for (&slot, &value) in d.slots.iter().zip(&d.values) {
            values[(slot as usize + giant as usize) & mask] = f64::from(value);
        }
        Ok(context.encoder().encode(&values, &self.scales[d.input as usize])?)
    }

    /// The evaluations of one term's diagonal over `basis`.
    fn plain(
        &self,
        context: &Context,
        term: Term,
        giant: u32,
        basis: Basis,
    ) -> Result<Poly, EvalError> {
        let ring = context.ring();
        match &self.encoded {
            Some(encoded) => Ok(encoded[term.diagonal].to_evaluations(ring, basis)),
            None => Ok(self.encode(context, term.diagonal, giant)?.to_evaluations(ring, basis)),
        }
    }

    /// The distinct steps that need a key.
    fn steps(&self) -> BTreeSet<u32> {
        let babies = self.babies.iter().map(|b| b.1);
        let giants = self.outputs.iter().flatten().map(|g| g.step);
        babies.chain(giants).filter(|&step| step != 0).collect()
    }

    /// Whether no step rotates, so that the ciphertext primes suffice.
    fn without_rotation(&self) -> bool {
        self.steps().is_empty()
    }
}

impl Evaluator {
    /// Applies a linear map: one result per output, at the level of the operands, at the scale of an operand times that
    /// of its diagonals, which must be the same for all.
    ///
    /// # Errors
    /// If operands do not fit the transform or each other, or a key is missing.
    pub fn linear(
        &self,
        xs: &[&Ciphertext],
        prepared: &PreparedTransform,
    ) -> Result<Vec<Ciphertext>, EvalError> {
        let scale = check_operands(xs, prepared)?;
        let level = xs[0].level();
        let in_q = prepared.without_rotation();
        // Keys that are read for the first time are read and expanded side by side.
        let steps: Vec<u32> = prepared.steps().into_iter().collect();
        steps.par_iter().try_for_each(|&by| self.keys.get(KeyKind::Rotate(by), level).map(drop))?;
        let basis = if in_q { self.context.basis_q(level) } else { self.context.basis_qp(level) };
        let babies = if in_q {
            let clone = |&(i, _): &(u32, u32)| {
                let parts = &xs[i as usize].parts;
                (parts[0].clone(), parts[1].clone())
            };
            prepared.babies.iter().map(clone).collect()
        } else {
            self.baby_steps(xs, prepared)?
        };
        let zero = || Poly::zero(self.context.ring(), basis, Form::Evaluation);
        let output = |giants: &Vec<Giant>| {
            let mut sum = (zero(), zero());
            for giant in giants {
                let inner = self.giant_inner(prepared, giant, &babies, basis)?;
                self.giant_step(&mut sum, inner, giant.step, level)?;
            }
            let parts = if in_q {
                vec![sum.0, sum.1]
            } else {
                let (c0, c1) = rayon::join(|| sum.0.mod_down(), || sum.1.mod_down());
                vec![c0, c1]
            };
            Ok(Ciphertext { parts, scale: scale.clone() })
        };
        prepared.outputs.iter().map(output).collect()
    }

    /// Every baby rotation of every operand that needs it.
    fn baby_steps(
        &self,
        xs: &[&Ciphertext],
        prepared: &PreparedTransform,
    ) -> Result<Vec<Extended>, EvalError> {
        let mut out = Vec::with_capacity(prepared.babies.len());
        for steps in prepared.babies.chunk_by(|a, b| a.0 == b.0) {
            let x = xs[steps[0].0 as usize];
            let lifted = self.lift(&x.parts[0]);
            let rotates = steps.iter().any(|s| s.1 != 0);
            let digits = if rotates { self.decompose(&x.parts[1]) } else { Vec::new() };
            let one = |&(_, by): &(u32, u32)| -> Result<Extended, EvalError> {
                if by == 0 {
                    return Ok((lifted.clone(), self.lift(&x.parts[1])));
                }
                let key = self.keys.get(KeyKind::Rotate(by), x.level())?;
                let (mut u0, u1) = self.switch(&digits, &key);
                u0.add_assign(&lifted);
                let g = self.context.galois(by);
                Ok((u0.automorphism(g), u1.automorphism(g)))
            };
            let rotated: Result<Vec<Extended>, EvalError> = steps.par_iter().map(one).collect();
            out.extend(rotated?);
        }
        Ok(out)
    }

    /// `Σ diagonal ⊙ baby` over the terms of a giant step, a bounded number of diagonals at a time.
    fn giant_inner(
        &self,
        prepared: &PreparedTransform,
        giant: &Giant,
        babies: &[Extended],
        basis: Basis,
    ) -> Result<Extended, EvalError> {
        let ring = self.context.ring();
        let plain_bytes = basis.len() * ring.degree() * size_of::<u64>();
        let mut sum: Option<Extended> = None;
        for terms in giant.terms.chunks((EVALUATIONS_BYTES / plain_bytes).max(LEAST_TERMS)) {
            let plain = |&t: &Term| prepared.plain(&self.context, t, giant.step, basis);
            let plains: Result<Vec<Poly>, EvalError> = terms.par_iter().map(plain).collect();
            let plains = plains?;
            let half = |pick: fn(&Extended) -> &Poly| {
                let pairs: Vec<(&Poly, &Poly)> =
                    plains.iter().zip(terms).map(|(p, t)| (p, pick(&babies[t.baby]))).collect();
                let mut out = Poly::scratch(ring, basis, Form::Evaluation);
                out.set_inner_product(&pairs);
                out
            };
            let part = rayon::join(|| half(|b| &b.0), || half(|b| &b.1));
            match &mut sum {
                None => sum = Some(part),
                Some(sum) => {
                    sum.0.add_assign(&part.0);
                    sum.1.add_assign(&part.1);
                }
            }
        }
        Ok(sum.expect("a giant step has terms"))
    }

    /// `sum += rot_step(inner)`; only the second half is divided by the special primes for the decomposition.
    fn giant_step(
        &self,
        sum: &mut Extended,
        inner: Extended,
        step: u32,
        level: usize,
    ) -> Result<(), EvalError> {
        if step == 0 {
            sum.0.add_assign(&inner.0);
            sum.1.add_assign(&inner.1);
            return Ok(());
        }
        let key = self.keys.get(KeyKind::Rotate(step), level)?;
        let digits = self.decompose(&inner.1.mod_down());
        let (mut u0, u1) = self.switch(&digits, &key);
        u0.add_assign(&inner.0);
        let g = self.context.galois(step);
        sum.0.add_assign(&u0.automorphism(g));
        sum.1.add_assign(&u1.automorphism(g));
        Ok(())
    }
}

/// Whatever could index out of bounds later is refused here.
fn check_transform(
    context: &Context,
    t: &LinearTransform,
    split: Split,
    scales: &[Scale],
) -> Result<(), EvalError> {
    let check = |what, found, needed, good: bool| {
        if good { Ok(()) } else { Err(EvalError::Linear { what, found, needed }) }
    };
    let width = context.parameters().width();
    check("another width", t.width, width, t.width == width)?;
    let period_fits = t.period.is_power_of_two() && t.period <= width;
    check("a period that does not divide the width", t.period, width, period_fits)?;
    check("another number of scales", scales.len(), t.inputs, scales.len() == t.inputs)?;
    let modulus = split.modulus as usize;
    let split_fits = (1..=width).contains(&modulus) && split.shift < split.modulus;
    check("a baby step modulus out of range", modulus, width, split_fits)?;
    for d in &t.diagonals {
        check("an input out of range", d.input as usize, t.inputs, (d.input as usize) < t.inputs)?;
        let output = d.output as usize;
        check("an output out of range", output, t.outputs, output < t.outputs)?;
        let offset = d.offset as usize;
        check("an offset out of range", offset, width, offset < width)?;
        let (slots, values) = (d.slots.len(), d.values.len());
        check("a diagonal with another number of values", values, slots, values == slots)?;
        let largest = d.slots.iter().copied().max().unwrap_or(0) as usize;
        check("a slot beyond the period", largest, t.period, largest < t.period)?;
    }
    Ok(())
}

/// The common scale of the results.
fn check_operands(xs: &[&Ciphertext], prepared: &PreparedTransform) -> Result<Scale, EvalError> {
    let needed = prepared.transform.inputs;
    if xs.len() != needed || xs.is_empty() {
        let what = "another number of operands";
        return Err(EvalError::Linear { what, found: xs.len(), needed });
    }
    let scale = xs[0].scale.mul(&prepared.scales[0]);
    for (x, s) in xs.iter().zip(&prepared.scales) {
        check_degree("linear map", x, 1)?;
        check_level("linear map", xs[0], x)?;
        let found = x.scale.mul(s);
        if found != scale {
            return Err(EvalError::Scale { op: "linear map", a: scale, b: found });
        }
    }
    Ok(scale)
}
