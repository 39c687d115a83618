//! The smallest scale of a ring that leaves the precision asked for, and how far it is lifted above
//! level 0.
//!
//! Precision grows by at most one bit per bit of scale and one per bit by which the special primes
//! exceed the digits by more, so a simulation at the largest scale that fits tells which others are
//! worth one: smaller primes leave room for larger digits, and for special primes that make key
//! switches quieter, and they make smaller keys.
//! Few samples show of most plans that they are too noisy; what a plan is said to reach, it reaches
//! on as many as the finished plan is judged by.

use heplan_ir::ckks::Graph;
use heplan_ir::parameters::Parameters;
use heplan_ir::plan::Plan;

use super::chain::{HEADROOM_BITS, lifted_scales, typical_scale};
use super::{Lowered, Ring};
use crate::judge::{Refusal, Tensors};
use crate::passes;
use crate::passes::ckks::Waterline;
use crate::pipeline::observer::{Observer, Stage};
use crate::pipeline::{CompileError, FINAL_SAMPLES, watch};
use crate::report::Quality;

/// Samples that are simulated first: a plan that is too noisy for some of them is for all.
const PROBES: usize = 4;
/// Samples that decide where functions are approximated. There the bits asked for are those that
/// keep noise below the error of approximation; what the plan reaches is measured when it is done.
const SAMPLES_OF_APPROXIMATED: usize = 16;
/// Bits that must be left beyond those asked for: another secret key or other samples may leave
/// fewer.
const RESERVE_BITS: f64 = 0.25;
/// The most bits that scales are lifted by.
const MOST_LIFT: u32 = 8;
/// Bits that more lift must bring.
const LEAST_LIFTED_BITS: f64 = 0.1;
/// Bits by which special primes must exceed the digits by more than those of a set that was too
/// noisy, for another set to be tried.
const LEAST_MARGIN_STEP: f64 = 0.5;

/// How near a ring came to the precision asked for.
#[derive(Clone, Debug)]
pub(in crate::pipeline) struct Missed {
    /// The bits that it could be asked for at most, as far as it was tried; none at all where a value
    /// leaves the modulus.
    pub(super) bits: f64,
    /// What left the modulus.
    pub(super) overflow: Option<String>,
}

impl Missed {
    /// Nothing was tried.
    pub(super) const fn untried() -> Self {
        Self { bits: f64::NEG_INFINITY, overflow: None }
    }

    /// Whether it came nearer than another.
    pub(super) fn nearer_than(&self, other: &Self) -> bool {
        let nothing = other.bits == f64::NEG_INFINITY && other.overflow.is_none();
        self.bits > other.bits || nothing
    }
}

/// What samples say of a plan.
struct Measured {
    /// Bits of precision against the approximated graph in the clear, so that noise alone counts.
    bits: f64,
    /// What the plan answers to the samples.
    answers: Vec<Tensors>,
    /// What left the modulus.
    overflow: Option<String>,
}

/// A plan with what simulation found.
struct Probed {
    lowered: Lowered,
    bits: f64,
    overflow: Option<String>,
}

/// How precise a plan is to be, on how many samples.
#[derive(Clone, Copy)]
struct Wish {
    bits: f64,
    samples: usize,
}

impl Wish {
    /// What few samples must show for others to be worth a look.
    const fn of_few(self) -> Self {
        Self { samples: PROBES, ..self }
    }
}

impl Ring<'_> {
    /// The plan of this ring, or how near it comes.
    pub(in crate::pipeline) fn search(
        &self,
        precision_bits: f64,
        observer: &mut dyn Observer,
    ) -> Result<Result<Lowered, Missed>, CompileError> {
        watch("assign-layouts", Stage::Slots(&self.lowered.graph), observer)?;
        let wish = self.wish(precision_bits);
        let lifts = match self.known {
            Some(known) => vec![known.lift],
            // Polynomials bear little lift, and plans with refreshes are all polynomials: not worth the simulations.
            None if self.chain.refreshes => vec![0],
            None => self.lifts(wish, observer)?,
        };
        let mut missed = Missed::untried();
        for lift in lifts {
            match self.search_lifted(lift, wish, observer)? {
                Ok(lowered) => {
                    let (layouts, layout_gap) = self.explained();
                    return Ok(Ok(Lowered { layouts, layout_gap, ..lowered }));
                }
                Err(last) => {
                    let last =
                        last.map(|l| Missed { bits: l.bits - RESERVE_BITS, overflow: l.overflow });
                    missed = last.filter(|last| last.nearer_than(&missed)).unwrap_or(missed);
                }
            }
        }
        Ok(Err(missed))
    }

    fn wish(&self, precision_bits: f64) -> Wish {
        let exact = self.real.functions.is_empty();
        let samples = if exact { FINAL_SAMPLES } else { SAMPLES_OF_APPROXIMATED };
        Wish { bits: precision_bits + RESERVE_BITS, samples }
    }

    /// Whether this ring does with other parameters than those of a noisier plan, or with a smaller scale, as far as few
    /// samples tell.
    pub(in crate::pipeline) fn is_quieter(
        &self,
        plan: &Lowered,
        precision_bits: f64,
        observer: &mut dyn Observer,
    ) -> Result<bool, CompileError> {
        let Waterline { bits, lift } = plan.waterline;
        if self.ranked(plan.waterline)?.first() != Some(&plan.plan.parameters) {
            return Ok(true);
        }
        let mut scales = lifted_scales(self.log_n, self.chain, lift, self.options);
        let Some(bits) = scales.find(|&s| s < bits) else { return Ok(false) };
        let few = self.wish(precision_bits).of_few();
        let probed = self.probe(Waterline { bits, lift }, few, observer)?;
        Ok(probed.is_some_and(|probed| probed.bits >= few.bits))
    }

    /// The lift that leaves most bits at a scale, as few samples say, and none at all.
    ///
    /// The noise that a lift lowers and the roundings that it coarsens depend on the scale alike, so
    /// one scale tells for all.
    fn lifts(&self, wish: Wish, observer: &mut dyn Observer) -> Result<Vec<u32>, CompileError> {
        let Some(bits) = typical_scale(self.log_n, self.chain, self.options) else {
            return Ok(vec![0]);
        };
        let mut best = (0, f64::NEG_INFINITY);
        for lift in 0..=MOST_LIFT {
            let waterline = Waterline { bits, lift };
            if self.chain.candidates(self.log_n, waterline).is_empty() {
                break;
            }
            let probed = self.probe(waterline, wish.of_few(), observer)?;
            let left = probed.map_or(f64::NEG_INFINITY, |probed| probed.bits);
            if left >= best.1 + LEAST_LIFTED_BITS {
                best = (lift, left);
            } else if lift > best.0 + 1 {
                break;
            }
        }
        Ok(if best.0 == 0 { vec![0] } else { vec![best.0, 0] })
    }

    /// The plan with the smallest scale for a lift, or the last one that was tried.
    fn search_lifted(
        &self,
        lift: u32,
        wish: Wish,
        observer: &mut dyn Observer,
    ) -> Result<Result<Lowered, Option<Probed>>, CompileError> {
        let scales = lifted_scales(self.log_n, self.chain, lift, self.options);
        let feasible: Vec<u32> = scales.collect();
        let (mut next, mut last) = match (self.known, feasible.first()) {
            (Some(known), _) => (Some(known.bits), None),
            (None, None) => (None, None),
            (None, Some(&bits)) => {
                match self.probe(Waterline { bits, lift }, wish.of_few(), observer)? {
                    Some(first) => {
                        (self.least_scale(&feasible, &first, wish.of_few(), observer)?, Some(first))
                    }
                    None => (None, None),
                }
            }
        };
        while let Some(bits) = next {
            let probed = self.probe(Waterline { bits, lift }, wish, observer)?;
            let left = probed.as_ref().map_or(f64::NEG_INFINITY, |probed| probed.bits);
            // A value that leaves the modulus does so at any scale.
            let least = f64::from(bits) + (wish.bits - left).floor().max(1.0);
            next = feasible.iter().copied().rev().find(|&s| f64::from(s) >= least);
            match probed {
                Some(probed) if left >= wish.bits => return Ok(Ok(probed.lowered)),
                _ => last = probed.or(last),
            }
        }
        Ok(Err(last))
    }

    /// The smallest scale that is precise enough as far as few samples tell, from the largest one and
    /// what it leaves.
    fn least_scale(
        &self,
        feasible: &[u32],
        first: &Probed,
        few: Wish,
        observer: &mut dyn Observer,
    ) -> Result<Option<u32>, CompileError> {
        let at = |bits: u32| Waterline { bits, ..first.lowered.waterline };
        let mut does = |bits: u32| -> Result<bool, CompileError> {
            Ok(self.probe(at(bits), few, observer)?.is_some_and(|p| p.bits >= few.bits))
        };
        let left = |bits: u32| first.bits - f64::from(first.lowered.waterline.bits - bits);
        let guess = feasible.iter().rposition(|&bits| left(bits) >= few.bits);
        let mut found = guess;
        // Noise that does not scale makes the guess too low.
        while let Some(i) = found.filter(|&i| i > 0) {
            if does(feasible[i])? {
                break;
            }
            found = Some(i - 1);
        }
        if found != guess {
            return Ok(found.map(|i| feasible[i]));
        }
        // Special primes that exceed the digits by more make it too high.
        let margin = first.lowered.plan.parameters.special_margin_bits();
        for &bits in &feasible[guess.map_or(1, |i| i + 1)..] {
            let quieter = (self.widest_margin(at(bits)) - margin).max(0.0);
            if left(bits) + quieter < few.bits {
                break;
            }
            match does(bits)? {
                true => found = feasible.iter().position(|&s| s == bits),
                false if found.is_some() => break,
                false => {}
            }
        }
        Ok(found.map(|i| feasible[i]))
    }

    /// The most bits by which the special primes of some set exceed its digits.
    fn widest_margin(&self, waterline: Waterline) -> f64 {
        let sets = self.chain.candidates(self.log_n, waterline);
        sets.iter().map(Parameters::special_margin_bits).fold(f64::NEG_INFINITY, f64::max)
    }

    /// Lowers at one scale and measures the bits that noise leaves, under the cheapest parameters
    /// that leave enough, or else under those that leave most; nothing where scales drift out of the
    /// modulus.
    fn probe(
        &self,
        waterline: Waterline,
        wish: Wish,
        observer: &mut dyn Observer,
    ) -> Result<Option<Probed>, CompileError> {
        let Waterline { bits, lift } = waterline;
        observer
            .progress(&format!("trying ring 2^{} at scale 2^{bits}, lifted by {lift}", self.log_n));
        let mut best: Option<Probed> = None;
        let mut loudest = f64::NEG_INFINITY;
        let ranked = self.ranked(waterline)?;
        let runner_up = match ranked.get(1) {
            Some(next) => Some((next.clone(), self.lower(next, waterline)?.0)),
            None => None,
        };
        for parameters in ranked {
            // Noise falls as the special primes exceed the digits by more.
            let margin = parameters.special_margin_bits();
            if margin <= loudest + LEAST_MARGIN_STEP {
                continue;
            }
            let lowered = self.to_ckks(&parameters, waterline)?;
            if !has_room(&lowered) {
                continue;
            }
            watch("lower-to-ckks", Stage::Ckks(&lowered), observer)?;
            let fused = passes::ckks::fuse_rotations(lowered);
            watch("fuse-rotations", Stage::Ckks(&fused), observer)?;
            let cost = self.cost(&fused);
            let plan =
                passes::plan::emit(&fused).map_err(|e| CompileError::broken("emit-plan", &e))?;
            watch("emit-plan", Stage::Plan(&plan), observer)?;
            let Measured { bits, answers, overflow } = self.measure(&plan, wish)?;
            let lowered = Lowered {
                plan,
                answers,
                cost,
                waterline,
                layouts: Vec::new(),
                layout_gap: None,
                runner_up: runner_up.clone(),
            };
            let probed = Probed { lowered, bits, overflow };
            if bits >= wish.bits {
                return Ok(Some(probed));
            }
            loudest = margin;
            best = best.into_iter().chain([probed]).max_by(|a, b| a.bits.total_cmp(&b.bits));
        }
        Ok(best)
    }

    /// Simulates a plan on some samples, or on few of them where these leave too few bits.
    fn measure(&self, plan: &Plan, wish: Wish) -> Result<Measured, CompileError> {
        let few = self.measure_on(plan, PROBES)?;
        if wish.samples <= PROBES || few.bits < wish.bits {
            return Ok(few);
        }
        self.measure_on(plan, wish.samples)
    }

    /// Simulates a plan on so many samples; where there are fewer they take turns, since what noise
    /// does is drawn anew every time.
    fn measure_on(&self, plan: &Plan, count: usize) -> Result<Measured, CompileError> {
        let turns = |all: &[Tensors]| all.iter().cycle().take(count).cloned().collect::<Vec<_>>();
        match self.judge.simulate(plan, &turns(&self.real.samples)) {
            Ok(mut answers) => {
                let exact = turns(&self.real.approximated);
                let bits = Quality::within(&answers, &exact, &self.real.spans).precision_bits;
                answers.truncate(self.real.samples.len());
                Ok(Measured { bits, answers, overflow: None })
            }
            Err(Refusal::Overflow(what)) => {
                let bits = f64::NEG_INFINITY;
                Ok(Measured { bits, answers: Vec::new(), overflow: Some(what) })
            }
            Err(Refusal::Broken(e)) => Err(CompileError::broken("simulate", &e)),
        }
    }
}

/// Whether the modulus has room for every value: scales of products drift, and every product in a
/// chain of them doubles the drift.
fn has_room(graph: &Graph) -> bool {
    graph.insts.iter().all(|inst| {
        let scale = inst.ty.scale.log2();
        let room = graph.parameters.log_q_at(inst.ty.level) - f64::from(HEADROOM_BITS);
        scale > 0.0 && scale < room
    })
}
