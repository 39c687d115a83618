//! Linear maps between slots by baby and giant steps with double hoisting.
//!
//! Every operand is cut into digits once; its baby rotations stay in the basis with the special primes, where encoded
//! diagonals multiply them; the sums of one giant step are rotated by one key switch, again without leaving that basis;
//! one ModDown per result ends it (Bossuat, Mouchet, Troncoso-Pastoriza, Hubaux: ePrint 2020/1203, section 4.3).
//!
//! The inner sums are taken prime by prime ([`heplan_lattice::hoisting`]): only the sums themselves exist at all primes,
//! and a diagonal is evaluated where it is multiplied. What is encoded in advance are integer coefficients.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use heplan_ir::plan::KeyKind;
use heplan_ir::scale::Scale;
use heplan_ir::transform::{Diagonal, LinearTransform, Split};
use heplan_lattice::hoisting::{KeptWeights, Rotated, Source, Weighted, Weights, weighted_sums};
use heplan_lattice::keyswitch::{Addend, Sum, Switched, divided_sums};
use heplan_lattice::weighted::{Term, scalar_sums};
use heplan_lattice::{Basis, Digits, Form, Poly};
use rayon::prelude::*;

use super::{Evaluator, check_degree, check_level};
use crate::ciphertext::Ciphertext;
use crate::context::Context;
use crate::encoder::{Plaintext, scaled_integer};
use crate::error::EvalError;
use crate::keys::switching::SwitchingKey;

/// Bytes of inner sums that are made at a time, as far as one result does not take more: the baby rotations are made
/// again for the next.
const SUMS_BYTES: usize = 1 << 29;

/// A transform with its schedule, ready to be applied any number of times.
pub struct PreparedTransform {
    transform: Arc<LinearTransform>,
    scales: Vec<Scale>,
    /// The distinct `(input, baby step)`, sorted.
    babies: Vec<(u32, u32)>,
    /// For every output, its giant steps, sorted.
    outputs: Vec<Vec<Giant>>,
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

/// All diagonals of one output and one giant step.
struct Giant {
    step: u32,
    /// Babies and diagonals by index.
    terms: Vec<Weighted>,
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
        split: Split,
        scales: &[Scale],
        keep: Keep,
    ) -> Result<Self, EvalError> {
        check_transform(context, transform, split, scales)?;
        let pairs = transform.diagonals.iter().map(|d| (d, split.of(d.offset, transform.width)));
        let mut babies: Vec<(u32, u32)> = pairs.clone().map(|(d, (b, _))| (d.input, b)).collect();
        babies.sort_unstable();
        babies.dedup();
        let mut steps: Vec<BTreeMap<u32, Vec<Weighted>>> = vec![BTreeMap::new(); transform.outputs];
        for (diagonal, (d, (b, g))) in pairs.enumerate() {
            let rotated = babies.binary_search(&(d.input, b)).expect("every baby step is listed");
            let term = Weighted { rotated, weight: diagonal };
            steps[d.output as usize].entry(g).or_default().push(term);
        }
        let giants = |m: BTreeMap<u32, Vec<Weighted>>| {
            m.into_iter().map(|(step, terms)| Giant { step, terms }).collect()
        };
        let mut out = Self {
            transform: Arc::clone(transform),
            scales: scales.to_vec(),
            babies,
            outputs: steps.into_iter().map(giants).collect(),
            diagonals: Diagonals::Nothing,
        };
        if keep == Keep::Nothing || out.only_numbers() {
            return Ok(out);
        }
        let encoded = out.encode_all(context)?;
        out.diagonals = match keep {
            Keep::Evaluated(level) => {
                let evaluate = |i: usize, prime, out: &mut [u64]| {
                    encoded[i].evaluate(context.ring(), prime, out)
                };
                let basis = out.basis(context, level);
                let kept = KeptWeights::new(context.ring(), basis, encoded.len(), &evaluate);
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
                KeptWeights::bytes_of(context.ring(), context.basis_qp(level), count)
            }
        }
    }

    /// The primes at which the transform takes its sums.
    fn basis(&self, context: &Context, level: usize) -> Basis {
        if self.without_rotation() { context.basis_q(level) } else { context.basis_qp(level) }
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
        let mut giant_of = vec![0; self.transform.diagonals.len()];
        for giant in self.outputs.iter().flatten() {
            giant.terms.iter().for_each(|t| giant_of[t.weight] = giant.step);
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
        Ok(context.encode_shared(&values, &self.scales[d.input as usize])?)
    }

    /// The distinct baby steps that need a key.
    fn baby_steps(&self) -> BTreeSet<u32> {
        self.babies.iter().map(|b| b.1).filter(|&step| step != 0).collect()
    }

    /// Whether every diagonal is a number, the same in all slots, and nothing rotates: there is nothing to encode.
    fn only_numbers(&self) -> bool {
        self.transform.period == 1 && self.without_rotation()
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

    /// Whether no step rotates, so that the ciphertext primes suffice.
    fn without_rotation(&self) -> bool {
        let giants = self.outputs.iter().flatten().map(|g| g.step);
        self.babies.iter().map(|b| b.1).chain(giants).all(|step| step == 0)
    }
}

/// Keys by rotation.
type Keys = BTreeMap<u32, Arc<SwitchingKey>>;

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
        if prepared.only_numbers() {
            let parts: Vec<[&Poly; 2]> = xs.iter().map(|x| [&x.parts[0], &x.parts[1]]).collect();
            let (ring, basis) = (self.context.ring(), self.context.basis_q(level));
            let sums = scalar_sums(ring, basis, &parts, &prepared.numbers()?).into_iter();
            let result = |p: [Poly; 2]| Ciphertext { parts: p.into(), scale: scale.clone() };
            return Ok(sums.map(result).collect());
        }
        let basis = prepared.basis(&self.context, level);
        let ring = self.context.ring();
        let encoded = match &prepared.diagonals {
            Diagonals::Encoded(encoded) => Cow::Borrowed(encoded),
            Diagonals::Evaluated(kept) if kept.basis() == basis => Cow::Owned(Vec::new()),
            _ => Cow::Owned(prepared.encode_all(&self.context)?),
        };
        let evaluate = |i: usize, prime, out: &mut [u64]| encoded[i].evaluate(ring, prime, out);
        let weights = match &prepared.diagonals {
            Diagonals::Evaluated(kept) if kept.basis() == basis => Weights::Kept(kept),
            _ => Weights::Evaluated(&evaluate),
        };
        let keys = self.rotation_keys(prepared.baby_steps(), level)?;
        let sources = self.sources(xs, prepared);
        let rotations: Vec<Rotated<'_, SwitchingKey>> = prepared
            .babies
            .iter()
            .map(|&(input, by)| {
                let permutation = || ring.permutation(self.context.galois(by));
                let switch = keys.get(&by).map(|key| (&**key, permutation()));
                Rotated { source: input as usize, switch }
            })
            .collect();
        let mut out = Vec::with_capacity(prepared.outputs.len());
        for outputs in groups(&prepared.outputs, 2 * basis.len() * ring.degree() * 8) {
            let giants = outputs.iter().flatten();
            let sums: Vec<&[Weighted]> = giants.map(|giant| giant.terms.as_slice()).collect();
            let inner = weighted_sums(ring, basis, &sources, &rotations, &sums, &weights);
            out.extend(self.giant_steps(outputs, inner, prepared.without_rotation(), level)?);
        }
        let result = |parts: [Poly; 2]| Ciphertext { parts: parts.into(), scale: scale.clone() };
        Ok(out.into_iter().map(result).collect())
    }

    /// The keys of several rotations.
    fn rotation_keys(&self, steps: BTreeSet<u32>, level: usize) -> Result<Keys, EvalError> {
        let key = |by| Ok((by, self.keys.get(KeyKind::Rotate(by), level)?));
        steps.into_iter().map(key).collect()
    }

    /// The operands, with digits where a baby step rotates them.
    fn sources<'a>(&self, xs: &[&'a Ciphertext], prepared: &PreparedTransform) -> Vec<Source<'a>> {
        let rotates = |i: usize| prepared.babies.iter().any(|&(j, by)| j as usize == i && by != 0);
        let source = |(i, x): (usize, &&'a Ciphertext)| {
            let digits = rotates(i).then(|| self.digits(Cow::Borrowed(&x.parts[1])));
            Source { parts: [&x.parts[0], &x.parts[1]], digits }
        };
        xs.iter().enumerate().map(source).collect()
    }

    /// For every output the sum of its inner sums (`inner`, those of all outputs in order), each rotated by its giant
    /// step, divided by the special primes.
    fn giant_steps(
        &self,
        outputs: &[Vec<Giant>],
        inner: Vec<[Poly; 2]>,
        in_q: bool,
        level: usize,
    ) -> Result<Vec<[Poly; 2]>, EvalError> {
        let (ring, basis) = (self.context.ring(), self.context.basis_q(level));
        if in_q {
            // No step but zero: an output has one inner sum, or none if no diagonal reaches it.
            let mut inner = inner.into_iter();
            let zero = || [(); 2].map(|()| Poly::zero(ring, basis, Form::Evaluation));
            let output = |giants: &Vec<Giant>| giants.first().and_then(|_| inner.next());
            return Ok(outputs.iter().map(output).map(|sum| sum.unwrap_or_else(zero)).collect());
        }
        let steps: Vec<u32> = outputs.iter().flatten().map(|giant| giant.step).collect();
        let rotating = steps.iter().copied().filter(|&step| step != 0).collect();
        let keys = self.rotation_keys(rotating, level)?;
        let inner: Vec<(Poly, Inner)> = inner
            .into_par_iter()
            .zip(&steps)
            .map(|([first, second], &step)| {
                let second = match step {
                    0 => Inner::Plain(second),
                    // Only the second half leaves the large basis for the decomposition.
                    _ => Inner::Digits(self.digits(Cow::Owned(second.mod_down()))),
                };
                (first, second)
            })
            .collect();
        let mut rest = inner.iter().zip(&steps);
        let sum = |giants: &Vec<Giant>| {
            let mut sum = Sum { switched: Vec::new(), plain: None };
            for ((first, second), step) in rest.by_ref().take(giants.len()) {
                match second {
                    Inner::Plain(second) => sum.plain = Some([first, second]),
                    Inner::Digits(digits) => sum.switched.push(Switched {
                        digits,
                        key: &*keys[step],
                        add: [Some(Addend::Extended(first)), None],
                        permutation: Some(ring.permutation(self.context.galois(*step))),
                    }),
                }
            }
            sum
        };
        let sums: Vec<Sum<'_, SwitchingKey>> = outputs.iter().map(sum).collect();
        Ok(divided_sums(ring, self.context.basis_qp(level), basis, &sums))
    }
}

/// The second half of an inner sum.
enum Inner {
    /// Not rotated any more.
    Plain(Poly),
    /// To be rotated.
    Digits(Digits<'static>),
}

/// Runs of outputs whose inner sums, of `bytes` each, take at most [`SUMS_BYTES`], as far as one output does not take more.
fn groups(outputs: &[Vec<Giant>], bytes: usize) -> Vec<&[Vec<Giant>]> {
    let most = (SUMS_BYTES / bytes).max(1);
    let mut runs = Vec::new();
    let (mut start, mut sums) = (0, 0);
    for (i, giants) in outputs.iter().enumerate() {
        if i > start && sums + giants.len() > most {
            runs.push(&outputs[start..i]);
            (start, sums) = (i, 0);
        }
        sums += giants.len();
    }
    runs.push(&outputs[start..]);
    runs
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
