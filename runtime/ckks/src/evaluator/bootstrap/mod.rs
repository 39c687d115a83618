//! Bootstrapping: a ciphertext at level 0 to one of the same real slots at a higher level ([`heplan_ir::bootstrap`]).
//!
//! | step | module | level of its result |
//! |---|---|---|
//! | to the sparse secret, raised, and back | here | the highest |
//! | coefficients to slots | `stage`, with the diagonals of `dft` | that of the modular reduction |
//! | modular reduction | `sine` | that of slots to coefficients |
//! | slots to coefficients | `stage`, `dft` | the output's |
//!
//! Since slots are real, coefficients past the middle mirror those before it: only these are reduced, as the slots of one
//! ciphertext, and the slots of their polynomial plus the conjugates are the result.
//! Scales: an operand of scale `Δ` comes out at any scale that is asked for, exactly; that is the scale at which the
//! last diagonals are encoded. Other factors, `q_0`, `Δ` and `2π`, go into the values of the diagonals.

mod dft;
mod sine;
mod stage;

use std::f64::consts::TAU;
use std::sync::{Arc, Mutex, PoisonError};

use heplan_ir::bootstrap::{Bootstrap, Stage};
use heplan_ir::plan::KeyKind;
use heplan_ir::scale::Scale;
use heplan_lattice::divided::divided_sums;
use heplan_lattice::keyswitch::{Addend, Switched};
use heplan_lattice::{Basis, Digits, Poly};

use super::{Evaluator, check_degree, check_ordinary};
use crate::ciphertext::Ciphertext;
use crate::context::Context;
use crate::error::EvalError;
use stage::{Place, PreparedStage};

/// Bits that scales grow by from the raised ciphertext to the low operand of the modular reduction. They shrink: noise of
/// key switches, the last group's most, is below that of the rescales then; diagonals are encoded at so much less than
/// their primes.
const GROWTH_BITS: i32 = -4;

/// Bootstrappings between different scales that an evaluator keeps prepared.
const MOST_KEPT: usize = 4;

/// A bootstrapping between two scales with its diagonals encoded, to be applied any number of times.
pub struct PreparedBootstrap {
    from: Scale,
    to: Scale,
    raising: Arc<Raising>,
    forward: Vec<PreparedStage>,
}

/// What does not depend on the scales: everything up to the modular reduction.
struct Raising {
    inverse: Vec<PreparedStage>,
    /// Of the polynomial of the modular reduction.
    sine: Vec<f64>,
}

/// What an evaluator keeps of bootstrappings.
#[derive(Default)]
pub(super) struct Kept {
    raising: Option<Arc<Raising>>,
    /// The most recent last.
    prepared: Vec<Arc<PreparedBootstrap>>,
}

impl Raising {
    fn new(context: &Context, bootstrap: &Bootstrap) -> Result<Self, EvalError> {
        let parameters = context.parameters();
        let stages = bootstrap.stages(parameters.log_n());
        let inverse = &stages[..bootstrap.coefficients_to_slots];
        let (first, last) =
            (raised_scale(context, bootstrap), sine::low_scale(parameters, bootstrap));
        // Half of it and half of its conjugate are the real part.
        let factor = sine::angle(bootstrap) / 2.0;
        let step = GROWTH_BITS / i32::try_from(inverse.len()).unwrap_or(1);
        let mut scales = vec![first.clone()];
        for i in 1..inverse.len() {
            let grown = i32::try_from(i).unwrap_or(0) * step;
            scales.push(first.mul(&Scale::pow2(grown)));
        }
        scales.push(last);
        let count = inverse.len();
        let place = |i: usize| Place {
            lag: lag(&stages, i),
            halves: false,
            factor: if i + 1 == count { factor } else { 1.0 },
        };
        let inverse = (0..count)
            .map(|i| PreparedStage::new(context, &stages[i], &place(i), &scales[i], &scales[i + 1]))
            .collect::<Result<_, _>>()?;
        Ok(Self { inverse, sine: sine::coefficients(bootstrap) })
    }
}

impl PreparedBootstrap {
    /// Prepares bootstrappings of ciphertexts at the scale `from` to results at the scale `to`.
    ///
    /// # Errors
    /// If the parameters have no bootstrapping, or the scales are so far apart that diagonals cannot be encoded.
    pub fn new(context: &Context, from: &Scale, to: &Scale) -> Result<Self, EvalError> {
        let bootstrap = context.parameters().bootstrap().ok_or(EvalError::NoBootstrap)?;
        let raising = Arc::new(Raising::new(context, bootstrap)?);
        Self::with_raising(context, bootstrap, raising, from, to)
    }

    fn with_raising(
        context: &Context,
        bootstrap: &Bootstrap,
        raising: Arc<Raising>,
        from: &Scale,
        to: &Scale,
    ) -> Result<Self, EvalError> {
        let parameters = context.parameters();
        let stages = bootstrap.stages(parameters.log_n());
        let first = bootstrap.coefficients_to_slots;
        let count = bootstrap.slots_to_coefficients;
        let reduced = sine::result_scale(parameters, bootstrap);
        // The sine is 2π/q_0 times the coefficient, which is Δ times a number.
        let factor = parameters.q()[0] as f64 / (TAU * from.to_f64());
        let drop = (reduced.log2() - to.log2()) / count as f64;
        let scale = |i: usize| match i {
            0 => reduced.clone(),
            _ if i == count => to.clone(),
            _ => reduced.mul(&Scale::pow2(-((drop * i as f64).floor() as i32))),
        };
        let place = |i: usize| Place {
            lag: lag(&stages, first + i),
            halves: i == 0,
            factor: if i == 0 { factor } else { 1.0 },
        };
        let stage = |i: usize| {
            PreparedStage::new(context, &stages[first + i], &place(i), &scale(i), &scale(i + 1))
        };
        let forward = (0..count).map(stage).collect::<Result<_, _>>()?;
        Ok(Self { from: from.clone(), to: to.clone(), raising, forward })
    }

    /// Bytes of the encoded diagonals.
    pub fn bytes(&self) -> usize {
        self.raising.inverse.iter().chain(&self.forward).map(PreparedStage::bytes).sum()
    }
}

/// By how much the operand of a stage lags behind.
fn lag(stages: &[Stage], index: usize) -> u32 {
    stages[..index].iter().map(Stage::lag).sum()
}

/// The power of two that a raised ciphertext is multiplied by, so that the switch back from the sparse secret rounds far
/// below it.
fn raised_factor(context: &Context, bootstrap: &Bootstrap) -> i32 {
    let parameters = context.parameters();
    let operand = sine::low_scale(parameters, bootstrap).log2();
    let free = operand - (parameters.q()[0] as f64).log2();
    (free.floor() as i32 - GROWTH_BITS).clamp(0, 40)
}

/// The scale of a raised ciphertext, whose coefficients are to be multiples of `q_0`.
fn raised_scale(context: &Context, bootstrap: &Bootstrap) -> Scale {
    let q = Scale::prime(context.parameters().q()[0]);
    q.mul(&Scale::pow2(raised_factor(context, bootstrap)))
}

impl Evaluator {
    /// The same real slots at the output level of bootstrapping, with exactly the scale asked for, from an ordinary ciphertext
    /// of degree 1 at level 0. Its scale should be some 2^10 below `q_0`.
    ///
    /// # Errors
    /// If the parameters have no bootstrapping, the operand does not fit, or a key is missing.
    pub fn bootstrap(&self, x: &Ciphertext, scale: &Scale) -> Result<Ciphertext, EvalError> {
        self.check_bootstrapped(x)?;
        self.bootstrap_prepared(x, &*self.prepared_bootstrap(&x.scale, scale)?)
    }

    /// [`Self::bootstrap`] as it was prepared.
    ///
    /// # Errors
    /// As [`Self::bootstrap`], or if the operand is not at the scale that was prepared for.
    pub fn bootstrap_prepared(
        &self,
        x: &Ciphertext,
        prepared: &PreparedBootstrap,
    ) -> Result<Ciphertext, EvalError> {
        let bootstrap = self.check_bootstrapped(x)?;
        if x.scale != prepared.from {
            let (a, b) = (prepared.from.clone(), x.scale.clone());
            return Err(EvalError::Scale { op: "bootstrapping", a, b });
        }
        // Before any work: a key that is missing.
        let specs = bootstrap.keys(self.context.parameters().log_n());
        specs.into_iter().try_for_each(|spec| self.keys.check(spec).map(|_| ()))?;
        let raised = self.raise(x, bootstrap)?;
        let operands = self.coefficients_to_slots(raised, bootstrap, &prepared.raising.inverse)?;
        let mut out = self.sine(operands, bootstrap, &prepared.raising.sine)?;
        for (i, stage) in prepared.forward.iter().enumerate() {
            let last = i + 1 == prepared.forward.len();
            out = self.divided(&self.lifted_stage(&out, stage, last)?, stage);
        }
        debug_assert_eq!(out.scale, prepared.to, "the last group has the scale asked for");
        Ok(out)
    }

    /// The bootstrapping between two scales, prepared now or before.
    ///
    /// # Errors
    /// As [`PreparedBootstrap::new`].
    pub fn prepared_bootstrap(
        &self,
        from: &Scale,
        to: &Scale,
    ) -> Result<Arc<PreparedBootstrap>, EvalError> {
        let bootstrap = self.context.parameters().bootstrap().ok_or(EvalError::NoBootstrap)?;
        let fits = |p: &&Arc<PreparedBootstrap>| p.from == *from && p.to == *to;
        let raising = {
            let kept = self.bootstraps.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = kept.prepared.iter().find(fits) {
                return Ok(Arc::clone(found));
            }
            kept.raising.clone()
        };
        // Unlocked: encoding uses the thread pool, and a thread that waits in it may take up another bootstrapping.
        let raising = match raising {
            Some(raising) => raising,
            None => Arc::new(Raising::new(&self.context, bootstrap)?),
        };
        let made = PreparedBootstrap::with_raising(
            &self.context,
            bootstrap,
            Arc::clone(&raising),
            from,
            to,
        )?;
        let made = Arc::new(made);
        let mut kept = self.bootstraps.lock().unwrap_or_else(PoisonError::into_inner);
        kept.raising.get_or_insert(raising);
        if kept.prepared.len() == MOST_KEPT {
            kept.prepared.remove(0);
        }
        kept.prepared.push(Arc::clone(&made));
        Ok(made)
    }

    fn check_bootstrapped(&self, x: &Ciphertext) -> Result<&Bootstrap, EvalError> {
        let bootstrap = self.context.parameters().bootstrap().ok_or(EvalError::NoBootstrap)?;
        check_degree("bootstrapping", x, 1)?;
        check_ordinary("bootstrapping", x)?;
        if x.level() != 0 {
            let to = i64::try_from(bootstrap.output_level).unwrap_or(i64::MAX);
            return Err(EvalError::NoSuchLevel { op: "bootstrapping", from: x.level(), to });
        }
        Ok(bootstrap)
    }

    /// The first half of the coefficients as the two operands of the modular reduction, rounded at either scale.
    fn coefficients_to_slots(
        &self,
        mut x: Ciphertext,
        bootstrap: &Bootstrap,
        stages: &[PreparedStage],
    ) -> Result<[Ciphertext; 2], EvalError> {
        let (last, rest) = stages.split_last().expect("there is a group of butterflies");
        for stage in rest {
            x = self.divided(&self.lifted_stage(&x, stage, false)?, stage);
        }
        let mut lifted = self.lifted_stage(&x, last, true)?;
        drop(x);
        let low = self.divided(&lifted, last);
        lifted.iter_mut().for_each(|part| part.mul_integer_assign(sine::OPERAND_RATIO));
        let scale = sine::high_scale(self.context.parameters(), bootstrap);
        let high = Ciphertext { scale, ..self.divided(&lifted, last) };
        Ok([high, low])
    }

    /// A ciphertext at level 0 raised to the highest level: its polynomial plus `q_0` times a small one, turned by what the
    /// transforms lag behind (ePrint 2022/024).
    fn raise(&self, x: &Ciphertext, bootstrap: &Bootstrap) -> Result<Ciphertext, EvalError> {
        let ring = self.context.ring();
        let top = bootstrap.max_level();
        let key = self.keys.get(KeyKind::ToSparse, 0)?;
        let digits = Digits::new(&x.parts[1], 1, 1);
        let add = [Some(Addend::Lifted(&x.parts[0])), None];
        let switched = Switched { add, ..Switched::new(&digits, &*key) };
        let sparse = divided_sums(ring, Basis::qp(1, 1), Basis::q(1), &[switched]);
        let raised: Vec<Poly> = sparse
            .iter()
            .flatten()
            .map(|part| {
                let mut coefficients = part.clone();
                coefficients.to_coefficient();
                let mut raised = part.mod_up_digit(&coefficients, 0..1, self.context.basis_q(top));
                raised.mul_integer_assign(1 << raised_factor(&self.context, bootstrap));
                raised
            })
            .collect();
        let key = self.keys.get(KeyKind::FromSparse, top)?;
        let digits = self.digits(&raised[1]);
        let add = [Some(Addend::Lifted(&raised[0])), None];
        let by = self.context.turn();
        let permutation = (by > 0).then(|| ring.permutation(self.context.galois(by)));
        let switched = Switched { add, permutation, ..Switched::new(&digits, &*key) };
        let (from, to) = (self.context.basis_qp(top), self.context.basis_q(top));
        let parts = divided_sums(ring, from, to, &[switched]).into_iter().flatten().collect();
        Ok(Ciphertext { parts, scale: raised_scale(&self.context, bootstrap) })
    }
}

/// What an evaluator and its clones share.
pub(super) type Shared = Arc<Mutex<Kept>>;
