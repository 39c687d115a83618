//! Linear maps between slots: sums of rotations of the operands times diagonals.
//!
//! Every operand is cut into digits once; its rotations stay in the basis with the special primes, where encoded diagonals
//! multiply them, and so do the sums: results are extended, so that giant steps and folds, which rotate and add them, take
//! one division in the end (Bossuat, Mouchet, Troncoso-Pastoriza, Hubaux: ePrint 2020/1203, section 4.3).
//!
//! The sums are taken prime by prime ([`heplan_lattice::hoisting`]): only they themselves exist at all primes, and a
//! diagonal is evaluated where it is multiplied. What is encoded in advance are integer coefficients.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use heplan_ir::plan::KeyKind;
use heplan_ir::scale::Scale;
use heplan_ir::transform::{Diagonal, LinearTransform};
use heplan_lattice::hoisting::{
    Evaluate, KeptWeights, Rotated, Source, Weighted, Weights, weighted_sums,
};
use heplan_lattice::ntt::MIN_LOG_N;
use heplan_lattice::weighted::{Term, scalar_sums};
use heplan_lattice::{Basis, Poly};
use rayon::prelude::*;

use super::{Evaluator, check_degree, check_level, check_ordinary};
use crate::ciphertext::Ciphertext;
use crate::context::Context;
use crate::encoder::{Plaintext, scaled_integer};
use crate::error::EvalError;
use crate::keys::switching::SwitchingKey;

/// A transform with its schedule, ready to be applied any number of times.
pub struct PreparedTransform {
    transform: Arc<LinearTransform>,
    scales: Vec<Scale>,
    /// The distinct `(input, step)`, sorted.
    rotations: Vec<(u32, u32)>,
    /// For every output, its rotations and diagonals by index.
    outputs: Vec<Vec<Weighted>>,
    /// Diagonals, in the order of the transform.
    diagonals: Diagonals,
}

/// What is kept of a transform's diagonals from one use to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: they are encoded at every use.
    Nothing,
    /// Integer coefficients, which are evaluated at every use.
    Encoded,
    /// Evaluations at all primes of this level: some thirty times the bytes, and nothing left to do.
    Evaluated(usize),
}

enum Diagonals {
    Nothing,
    Encoded(Vec<Plaintext>),
    Evaluated(KeptWeights),
}

impl PreparedTransform {
    /// Schedules a transform whose input `i` is multiplied by diagonals at `scales[i]`, and makes what is to be kept of
    /// the diagonals.
    ///
    /// # Errors
    /// If the transform does not fit the ring or the scales, or a value cannot be encoded.
    pub fn new(
        context: &Context,
        transform: &Arc<LinearTransform>,
        scales: &[Scale],
        keep: Keep,
    ) -> Result<Self, EvalError> {
        check_transform(context, transform, scales)?;
        let pair = |d: &Diagonal| (d.input, d.offset);
        let mut rotations: Vec<(u32, u32)> = transform.diagonals.iter().map(pair).collect();
        rotations.sort_unstable();
        rotations.dedup();
        let mut outputs = vec![Vec::new(); transform.outputs];
        for (weight, d) in transform.diagonals.iter().enumerate() {
            let rotated = rotations.binary_search(&pair(d)).expect("every rotation is listed");
            outputs[d.output as usize].push(Weighted { rotated, weight });
        }
        let mut out = Self {
            transform: Arc::clone(transform),
            scales: scales.to_vec(),
            rotations,
            outputs,
            diagonals: Diagonals::Nothing,
        };
        if keep == Keep::Nothing || out.only_numbers() {
            return Ok(out);
        }
        let encoded = out.encode_all(context)?;
        out.diagonals = match keep {
            Keep::Evaluated(level) => {
                let write = |i: usize, prime, out: &mut [u64]| {
                    encoded[i].evaluate(context.ring(), prime, out)
                };
                let basis = out.basis(context, level);
                let evaluate = Evaluate { size: subring(context, transform), write: &write };
                let kept = KeptWeights::new(context.ring(), basis, encoded.len(), evaluate);
                Diagonals::Evaluated(kept)
            }
            _ => Diagonals::Encoded(encoded),
        };
        Ok(out)
    }

    /// The most bytes that are kept of a transform's diagonals.
    pub fn most_bytes(context: &Context, transform: &LinearTransform, keep: Keep) -> usize {
        let count = transform.diagonals.len();
        match keep {
            Keep::Nothing => 0,
            Keep::Encoded => {
                let batch = if transform.period == 1 { 1 } else { context.parameters().batch() };
                count.saturating_mul(transform.period.saturating_mul(batch * 2 * size_of::<u64>()))
            }
            Keep::Evaluated(level) => {
                let size = subring(context, transform);
                KeptWeights::bytes_of(context.ring(), context.basis_qp(level), count, size)
            }
        }
    }

    /// The primes at which the transform takes its sums.
    fn basis(&self, context: &Context, level: usize) -> Basis {
        if self.transform.rotates() { context.basis_qp(level) } else { context.basis_q(level) }
    }

    /// Whether it was made from this very transform.
    pub fn is_of(&self, transform: &Arc<LinearTransform>) -> bool {
        Arc::ptr_eq(&self.transform, transform)
    }

    /// Bytes of what it keeps of the diagonals.
    pub fn bytes(&self) -> usize {
        match &self.diagonals {
            Diagonals::Nothing => 0,
            Diagonals::Encoded(encoded) => encoded.iter().map(Plaintext::bytes).sum(),
            Diagonals::Evaluated(kept) => kept.bytes(),
        }
    }

    /// Every diagonal, encoded.
    fn encode_all(&self, context: &Context) -> Result<Vec<Plaintext>, EvalError> {
        self.transform.diagonals.par_iter().map(|d| self.encode(context, d)).collect()
    }

    fn encode(&self, context: &Context, d: &Diagonal) -> Result<Plaintext, EvalError> {
        let mut values = vec![0.0; self.transform.period];
        for (&slot, &value) in d.slots.iter().zip(&d.values) {
            values[slot as usize] = f64::from(value);
        }
        Ok(context.encode_shared(&values, &self.scales[d.input as usize])?)
    }

    /// Whether every diagonal is a number, the same in all slots, and nothing rotates: there is nothing to encode.
    fn only_numbers(&self) -> bool {
        self.transform.period == 1 && !self.transform.rotates()
    }

    /// The sum of every output, diagonals as integers.
    fn numbers(&self) -> Result<Vec<Vec<Term>>, EvalError> {
        let mut sums = vec![Vec::new(); self.transform.outputs];
        for d in &self.transform.diagonals {
            let value = d.values.first().copied().map_or(0.0, f64::from);
            let factor = scaled_integer(value, &self.scales[d.input as usize])?;
            sums[d.output as usize].push(Term { source: d.input as usize, factor });
        }
        Ok(sums)
    }
}

/// Keys by rotation.
type Keys = BTreeMap<u32, Arc<SwitchingKey>>;

impl Evaluator {
    /// Applies a linear map to operands at one level: one result per output, a level below, at the scale of an operand
    /// times that of its diagonals, which must be the same for all, over the last prime; extended if it rotates.
    ///
    /// # Errors
    /// If operands do not fit the transform or each other, or a key is missing.
    pub fn linear(
        &self,
        xs: &[&Ciphertext],
        prepared: &PreparedTransform,
    ) -> Result<Vec<Ciphertext>, EvalError> {
        let product = check_operands(xs, prepared)?;
        let level = xs[0].level();
        let scale = product.rescaled(self.context.parameters().q()[level]);
        let ring = self.context.ring();
        let sums = if prepared.only_numbers() {
            let parts: Vec<[&Poly; 2]> = xs.iter().map(|x| [&x.parts[0], &x.parts[1]]).collect();
            scalar_sums(ring, self.context.basis_q(level), &parts, &prepared.numbers()?)
        } else {
            self.weighted(xs, prepared, level)?
        };
        let result = |parts: Vec<Poly>| Ciphertext { parts, scale: scale.clone() };
        if prepared.transform.rotates() {
            return Ok(sums.into_iter().map(|sum| result(sum.into())).collect());
        }
        let rescaled = |sum: [Poly; 2]| result(sum.iter().map(Poly::rescale).collect());
        Ok(sums.into_par_iter().map(rescaled).collect())
    }

    /// The sums of rotations times diagonals, over all primes that they need.
    fn weighted(
        &self,
        xs: &[&Ciphertext],
        prepared: &PreparedTransform,
        level: usize,
    ) -> Result<Vec<[Poly; 2]>, EvalError> {
        let basis = prepared.basis(&self.context, level);
        let ring = self.context.ring();
        let encoded = match &prepared.diagonals {
            Diagonals::Encoded(encoded) => Cow::Borrowed(encoded),
            Diagonals::Evaluated(kept) if kept.basis() == basis => Cow::Owned(Vec::new()),
            _ => Cow::Owned(prepared.encode_all(&self.context)?),
        };
        let write = |i: usize, prime, out: &mut [u64]| encoded[i].evaluate(ring, prime, out);
        let evaluate =
            Evaluate { size: subring(&self.context, &prepared.transform), write: &write };
        let weights = match &prepared.diagonals {
            Diagonals::Evaluated(kept) if kept.basis() == basis => Weights::Kept(kept),
            _ => Weights::Evaluated(evaluate),
        };
        let key = |by| Ok((by, self.keys.get(KeyKind::Rotate(by), level)?));
        let keys: Keys =
            prepared.transform.steps().into_iter().map(key).collect::<Result<_, EvalError>>()?;
        let sources = self.sources(xs, prepared);
        let rotations: Vec<Rotated<'_, SwitchingKey>> = prepared
            .rotations
            .iter()
            .map(|&(input, by)| {
                let permutation = || ring.permutation(self.context.galois(by));
                let switch = keys.get(&by).map(|key| (&**key, permutation()));
                Rotated { source: input as usize, switch }
            })
            .collect();
        let sums: Vec<&[Weighted]> = prepared.outputs.iter().map(Vec::as_slice).collect();
        Ok(weighted_sums(ring, basis, &sources, &rotations, &sums, &weights))
    }

    /// The operands, with digits where a step rotates them.
    fn sources<'a>(&self, xs: &[&'a Ciphertext], prepared: &PreparedTransform) -> Vec<Source<'a>> {
        let rotates =
            |i: usize| prepared.rotations.iter().any(|&(j, by)| j as usize == i && by != 0);
        let source = |(i, x): (usize, &&'a Ciphertext)| {
            let digits = rotates(i).then(|| self.digits(&x.parts[1]));
            Source { parts: [&x.parts[0], &x.parts[1]], digits }
        };
        xs.iter().enumerate().map(source).collect()
    }
}

/// Coefficients of the subring in which the diagonals of a transform lie.
fn subring(context: &Context, transform: &LinearTransform) -> usize {
    let slots = transform.period * context.parameters().batch();
    (2 * slots).clamp(1 << MIN_LOG_N, context.ring().degree())
}

/// Whatever could index out of bounds later is refused here.
fn check_transform(
    context: &Context,
    t: &LinearTransform,
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

/// The common scale of operands and diagonals.
fn check_operands(xs: &[&Ciphertext], prepared: &PreparedTransform) -> Result<Scale, EvalError> {
    let needed = prepared.transform.inputs;
    if xs.len() != needed || xs.is_empty() {
        let what = "another number of operands";
        return Err(EvalError::Linear { what, found: xs.len(), needed });
    }
    if xs[0].level() == 0 {
        return Err(EvalError::NoSuchLevel { op: "linear map", from: 0, to: -1 });
    }
    let scale = xs[0].scale.mul(&prepared.scales[0]);
    for (x, s) in xs.iter().zip(&prepared.scales) {
        check_degree("linear map", x, 1)?;
        check_ordinary("linear map", x)?;
        check_level("linear map", xs[0], x)?;
        let found = x.scale.mul(s);
        if found != scale {
            return Err(EvalError::Scale { op: "linear map", a: scale, b: found });
        }
    }
    Ok(scale)
}
