//! Functions replaced in turn: each is fitted to what the replaced ones before it feed it.
//!
//! Errors of polynomials add up along a chain, so that what the twentieth one is fed is no longer
//! what the model feeds its function. In turn, in the graph's order, every function is therefore
//! met where it stands, behind the polynomials of those before it, by all samples:
//!
//! - its window is that of the values there, so that polynomials of high degree, which explode
//!   beyond it, are not led out of it by the errors of others;
//! - its density is that of those values;
//! - what it is to give is what the *model* has there: a polynomial makes up for what those before
//!   it lost, as far as a function of one value can.
//!
//! One value outside of its window is the end of a sample where many polynomials of high degree
//! follow, and a sample has hundreds of channels to leave one. Windows are wide for that reason:
//! every channel's reaches beyond its extremes by [`PAD`] of their half-width, and at least to
//! [`REACH`] times the distance from the median to the 90th percentile of the samples' own extremes
//! beyond that percentile. Both are measured: of 460 images that a residual network of 19 functions
//! in a row had not been calibrated by, none left any of its 688 windows, which are 1.7 times as wide
//! as the extremes of the 256 of calibration; 22 left one of 1.3 times, 5 one of 1.5. The error grows
//! with the width, no more, and a level halves it.

use heplan_ir::entity::ValueId;
use heplan_ir::function::Function;
use heplan_ir::tensor::{Graph, Op};
use pulp::Arch;
use rayon::prelude::*;

use super::choose::Candidate;
use super::fit::{self, Fit, Wish};
use super::judge::{EvalFit, Judge, Score};
use super::window::{self, Frame, Seen, Window};
use crate::options::{Domain, Options};
use crate::passes::tensor::calibrate::{Spread, Tail, mix};
use crate::reference::{Block, LANES, Substitute};

/// Functions that follow each other, from which on they are replaced in turn. With a level or more
/// for the map before each and four or five for a polynomial, so many leave the rings in which
/// errors that are taken to be independent suffice.
const DEEP: usize = 12;
/// Values that a polynomial is fitted to, about.
const KEPT: usize = 1 << 19;
/// Share of a range's half-width that is added on either side at least.
const PAD: f64 = 0.6;
/// How far a window reaches beyond the 90th percentile of the samples' extremes, in distances of
/// that from their median. With an exponential tail one of six thousand samples exceeds this.
const REACH: f64 = 4.0;
/// Share of the half-width that is added to that.
const MARGIN: f64 = 0.1;
/// A channel's window is at least this share of the widest: what was quiet in calibration may speak
/// later.
const QUIET: f64 = 1.0 / 32.0;

/// Whether the functions of a graph are replaced in turn: whether so many of them follow each other,
/// and none jumps.
pub(super) fn is_deep(graph: &Graph) -> bool {
    let jumps = |id| matches!(graph.value(id).op, Op::Function { function: Function::Step, .. });
    in_a_row(graph) >= DEEP && !graph.ids().any(jumps)
}

/// The most functions or polynomials on one way through a graph.
pub(crate) fn in_a_row(graph: &Graph) -> usize {
    let mut count = vec![0; graph.values.len()];
    for id in graph.ids() {
        let op = &graph.value(id).op;
        let before = op.operands().iter().map(|x: &ValueId| count[x.index()]).max().unwrap_or(0);
        let one = matches!(op, Op::Polynomial { .. } | Op::Function { .. });
        count[id.index()] = before + usize::from(one);
    }
    count.into_iter().max().unwrap_or(0)
}

/// The candidates with the windows that they have in turn, were all functions before them exact.
pub(super) fn reframed<'g>(
    judge: &Judge<'_>,
    candidates: Vec<Candidate<'g>>,
    options: &Options,
) -> Vec<Candidate<'g>> {
    let exact = &judge.blocks;
    let untouched: Vec<Block> = exact.iter().map(|b| judge.executor.untouched(b)).collect();
    let reframe = |c: Candidate<'g>| {
        let (shared, own) = Met::of(&c, exact, &untouched).windows(&c, options);
        Candidate { shared, own, deep: true, ..c }
    };
    candidates.into_iter().map(reframe).collect()
}

/// Replaces all functions in turn by polynomials of these degrees: the polynomials and what they do
/// to the outputs. `None` where a fit is numerically impossible.
pub(super) fn fit_all(
    judge: &Judge<'_>,
    candidates: &[Candidate<'_>],
    degrees: &[usize],
    options: &Options,
) -> Option<(Vec<Fit>, Score)> {
    let (executor, exact) = (&judge.executor, &judge.blocks);
    let mut again: Vec<Block> = exact.iter().map(|b| executor.untouched(b)).collect();
    let mut fits: Vec<Fit> = Vec::new();
    for id in judge.graph.ids() {
        // Candidates are in the graph's order.
        let next = candidates.get(fits.len()).filter(|c| c.id == id);
        if let Some(c) = next {
            let met = Met::of(c, exact, &again);
            fits.push(met.fit(c, degrees[fits.len()], options)?);
        }
        let fit = next.and(fits.last());
        let eval = fit.map(|fit| {
            move |e: usize, x: &[f64; LANES]| Arch::new().dispatch(EvalFit { fit, e, x })
        });
        let eval = eval.as_ref().map(|f| f as Substitute<'_>);
        again.par_iter_mut().zip(exact).for_each(|(again, base)| {
            executor.renew(base, again, id, eval);
        });
    }
    again.iter_mut().zip(exact).for_each(|(again, base)| executor.complete(base, again));
    let outputs: Vec<_> = again.iter().flat_map(|b| executor.outputs_of(b)).collect();
    Some((fits, judge.compare(&outputs)))
}

/// The smallest and largest value of each sample.
type Extremes = Vec<(f64, f64)>;

/// What a function's operand is where the functions before it are replaced.
struct Met {
    /// Element and value.
    values: Vec<(u32, f64)>,
    /// For each what the function's result lacks of what the model has there.
    drift: Vec<f64>,
    /// Per element, in the even and in the odd samples.
    halves: [Vec<Spread>; 2],
    /// Per channel.
    extremes: Vec<Extremes>,
}

/// One block's share of [`Met`].
struct Picked {
    values: Vec<(u32, f64)>,
    drift: Vec<f64>,
    extremes: Vec<Extremes>,
}

impl Met {
    /// What a candidate meets in the blocks, of which `again` are copies with replaced functions.
    fn of(c: &Candidate<'_>, exact: &[Block], again: &[Block]) -> Self {
        let fed: Vec<&[[f64; LANES]]> =
            exact.iter().zip(again).map(|(b, a)| a.of(c.x, b).as_chunks().0).collect();
        let elements: usize = c.shape.iter().product();
        let spreads: Vec<[Spread; 2]> = (0..elements)
            .into_par_iter()
            .map(|e| {
                let mut halves = [Spread::default(); 2];
                for (fed, block) in fed.iter().zip(exact) {
                    let lanes = fed[e][..block.lanes].iter().enumerate();
                    lanes.for_each(|(lane, &x)| halves[lane % 2].add(x));
                }
                halves
            })
            .collect();
        let every = (elements * LANES * exact.len()).div_ceil(KEPT).max(1) as u64;
        let picked: Vec<Picked> = (0..exact.len())
            .into_par_iter()
            .map(|b| pick(c, (fed[b], &exact[b]), b * LANES * elements, every))
            .collect();
        let half = |h: usize| spreads.iter().map(|s| s[h]).collect();
        Self {
            values: picked.iter().flat_map(|p| p.values.iter().copied()).collect(),
            drift: picked.iter().flat_map(|p| p.drift.iter().copied()).collect(),
            halves: [half(0), half(1)],
            extremes: (0..window::channels(c.shape))
                .map(|c| picked.iter().flat_map(|p| p.extremes[c].iter().copied()).collect())
                .collect(),
        }
    }

    fn fit(&self, c: &Candidate<'_>, degree: usize, options: &Options) -> Option<Fit> {
        let (shared, own) = self.windows(c, options);
        fit::of_degree(&Wish {
            function: c.function,
            shared: &shared,
            own: own.as_ref(),
            values: &self.values,
            drift: &self.drift,
            bearable: c.bearable,
            undone: c.undone,
            degree,
            deep: true,
            method: options.method,
        })
    }

    /// The windows of a shared polynomial and of those per channel; those of the candidate where the
    /// function has no value at what is met.
    fn windows(&self, c: &Candidate<'_>, options: &Options) -> (Window, Option<Window>) {
        let elements: Vec<Spread> =
            self.halves[0].iter().zip(&self.halves[1]).map(|(a, b)| a.merge(b)).collect();
        let samples = 0..self.extremes[0].len();
        let whole = |s: usize| {
            let merge = |a: (f64, f64), c: &Extremes| (a.0.min(c[s].0), a.1.max(c[s].1));
            self.extremes.iter().fold((f64::INFINITY, f64::NEG_INFINITY), merge)
        };
        let tail = Tail::of(&samples.map(whole).collect::<Vec<_>>());
        let seen = Seen { elements: &elements, tail, halves: &self.halves };
        let total = window::is_total(c.function);
        let margin = if total { options.margin.max(PAD) } else { options.margin };
        let frame = if c.undone { Frame::Scaled } else { Frame::Single };
        let of = |frame, margin| {
            Window::of(c.function, c.shape, seen, frame, (options.domain, margin)).ok()
        };
        let own = match options.domain {
            _ if !total || self.extremes.len() < 2 => None,
            Domain::MinMax => Some(self.own(c.shape, &elements, options.margin)),
            Domain::MeanStd(_) => of(Frame::Own, options.margin),
        };
        (of(frame, margin).unwrap_or_else(|| c.shared.clone()), own)
    }

    /// Every channel's window, each with a reach of its own.
    fn own(&self, shape: &[usize], elements: &[Spread], margin: f64) -> Window {
        let (class, spreads) = window::classes(shape, elements, true);
        let reach = |(s, extremes): (&Spread, &Extremes)| {
            let half = (s.max - s.min) / 2.0;
            let low = beyond(extremes.iter().map(|e| -e.0).collect()) + MARGIN * half;
            let high = beyond(extremes.iter().map(|e| e.1).collect()) + MARGIN * half;
            let pad = margin.max(PAD) * half;
            ((s.min - pad).min(-low), (s.max + pad).max(high))
        };
        let ends: Vec<(f64, f64)> = spreads.iter().zip(&self.extremes).map(reach).collect();
        let widest = ends.iter().map(|e| e.1 - e.0).fold(0.0, f64::max);
        let least = if widest > 0.0 { QUIET * widest } else { 1.0 };
        Window {
            centre: ends.iter().map(|e| f64::midpoint(e.0, e.1)).collect(),
            scale: ends.iter().map(|e| (e.1 - e.0).max(least) / 2.0).collect(),
            class,
            low: -1.0,
            high: 1.0,
        }
    }
}

/// Where a window ends whose samples have these largest values.
fn beyond(mut largest: Vec<f64>) -> f64 {
    largest.sort_by(f64::total_cmp);
    let at = |share: f64| largest[((largest.len() - 1) as f64 * share) as usize];
    at(0.9) + REACH * (at(0.9) - at(0.5))
}

/// What a candidate meets in one block, whose first value is the `first` of all: the extremes of
/// every sample, and one of `every` values, chosen by a hash of its position.
fn pick(
    c: &Candidate<'_>,
    (fed, exact): (&[[f64; LANES]], &Block),
    first: usize,
    every: u64,
) -> Picked {
    let channels = window::channels(c.shape);
    let area = c.shape.iter().skip(2).product::<usize>().max(1);
    let elements = fed.len();
    let (wanted, _) = exact.values[c.id.index()].as_chunks::<LANES>();
    let none = vec![(f64::INFINITY, f64::NEG_INFINITY); exact.lanes];
    let mut picked =
        Picked { values: Vec::new(), drift: Vec::new(), extremes: vec![none; channels] };
    for (e, (fed, wanted)) in fed.iter().zip(wanted).enumerate() {
        let extremes = &mut picked.extremes[e / area % channels];
        for (lane, ends) in extremes.iter_mut().enumerate() {
            let x = fed[lane];
            *ends = (ends.0.min(x), ends.1.max(x));
            let position = first + lane * elements + e;
            if mix(position as u64).is_multiple_of(every) {
                picked.values.push((e as u32, x));
                picked.drift.push(wanted[lane] - c.function.eval(x));
            }
        }
    }
    picked
}
