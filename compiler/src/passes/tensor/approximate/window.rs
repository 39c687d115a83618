//! The interval on which a function is approximated, and how its operand gets there.
//!
//! An element `x` of channel `c` becomes `u = (x - centre_c)/scale_c`, and the interval
//! `[low, high]` of `u` becomes `[-1, 1]`. There are two frames:
//!
//! - *shared*: one polynomial for all. Positively homogeneous functions (ReLU) have a scale per
//!   channel, since `f(x) = scale_c·f(u)`; all others have scale 1; centres are zero.
//! - *own*: a polynomial per channel. Centre and scale are those of the range that the channel
//!   reaches, and the interval is a little more than [-1, 1].

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::function::Function;

use crate::options::Domain;
use crate::passes::tensor::calibrate::{Spread, Tail};

/// A channel's scale is at least this share of the largest: what was quiet in calibration may
/// speak later.
const QUIET: f64 = 1.0 / 16.0;
/// A shared polynomial's scales cover this many standard deviations, since the extremes of few
/// samples say little.
const SIGMAS: f64 = 4.0;
/// A channel with a polynomial of its own is followed for at least this many standard deviations.
const OWN_SIGMAS: f64 = 4.5;
/// Share of a channel's half-width that is added on either side at least.
const OWN_PAD: f64 = 0.2;
/// As [`BEYOND`], for channels with polynomials of their own: what lies outside concerns one
/// channel, and those polynomials are of low degree.
const OWN_BEYOND: f64 = 1.5;

/// Samples to come are many more than one half of the calibration set: they reach this many times
/// as far beyond it as the other half does.
const BEYOND: f64 = 2.5;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Window {
    /// Per channel.
    pub(super) centre: Vec<f64>,
    /// Per channel.
    pub(super) scale: Vec<f64>,
    /// Per element its channel; empty when there is one.
    pub(super) class: Vec<u32>,
    /// Lower end, in units of `u`.
    pub(super) low: f64,
    /// Upper end, in units of `u`.
    pub(super) high: f64,
}

/// How channels are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// One polynomial for all, with one scale.
    Single,
    /// One polynomial for all, with a scale per channel that an affine map undoes.
    Scaled,
    /// A polynomial per channel.
    Own,
}

/// What calibration says of a function's operand.
#[derive(Clone, Copy)]
pub(super) struct Seen<'c> {
    /// Per element.
    pub(super) elements: &'c [Spread],
    /// How far beyond the extremes values may go.
    pub(super) tail: Tail,
    /// Per element, in the even and in the odd samples.
    pub(super) halves: &'c [Vec<Spread>; 2],
}

impl Window {
    /// The window of a function's operand of this shape.
    pub(super) fn of(
        function: &Function,
        shape: &[usize],
        seen: Seen<'_>,
        frame: Frame,
        (domain, margin): (Domain, f64),
    ) -> Result<Self, Box<Diagnostic>> {
        let mut window = Self::framed(function, shape, seen.elements, frame, domain);
        let (least, most) = window.extremes(seen.elements);
        let (mut low, mut high) = match (frame, domain) {
            (Frame::Own, Domain::MeanStd(_)) => (-1.0, 1.0),
            (Frame::Own, Domain::MinMax) => {
                let unseen = Unseen::of(function, shape, seen.halves, frame);
                let pad = |unseen: f64| margin.max(OWN_PAD).max(2.0 * OWN_BEYOND * unseen);
                (-1.0 - pad(unseen.below), 1.0 + pad(unseen.above))
            }
            (_, Domain::MeanStd(sigmas)) => window.deviations(seen.elements, sigmas),
            (_, Domain::MinMax) => {
                let (low, high) = (least, most);
                let pad = margin * (high - low) / 2.0;
                let all = seen.elements.iter().fold(Spread::default(), |a, b| a.merge(b));
                let unit = if all.max > all.min { (high - low) / (all.max - all.min) } else { 0.0 };
                let unseen = Unseen::of(function, shape, seen.halves, frame);
                let reach = |tail: f64, unseen: f64| {
                    pad.max(tail * unit).max(BEYOND * unseen * (high - low))
                };
                (
                    low - reach(seen.tail.below, unseen.below),
                    high + reach(seen.tail.above, unseen.above),
                )
            }
        };
        if high - low <= 1e-9 * low.abs().max(high.abs()).max(1e-300) {
            let pad = if low == 0.0 { 1.0 } else { 0.1 * low.abs() };
            (low, high) = (low - pad, high + pad);
        }
        (window.low, window.high) = within_domain(function, (low, high), (least, most))?;
        Ok(window)
    }

    /// This many standard deviations of `u` around its mean.
    fn deviations(&self, elements: &[Spread], sigmas: f64) -> (f64, f64) {
        let (mut count, mut sum, mut square) = (0.0, 0.0, 0.0);
        for (e, s) in elements.iter().enumerate() {
            let (n, mean, std) =
                (s.count as f64, self.unit(e, s.mean()), s.std() / self.scale_of(e));
            (count, sum, square) =
                (count + n, sum + n * mean, square + n * (std * std + mean * mean));
        }
        let mean = sum / count;
        let reach = sigmas * (square / count - mean * mean).max(0.0).sqrt();
        (mean - reach, mean + reach)
    }

    /// Centres, scales and classes, without an interval.
    fn framed(
        function: &Function,
        shape: &[usize],
        elements: &[Spread],
        frame: Frame,
        domain: Domain,
    ) -> Self {
        let single =
            Self { centre: vec![0.0], scale: vec![1.0], class: Vec::new(), low: 0.0, high: 0.0 };
        let split = frame != Frame::Single && channels(shape) > 1;
        match frame {
            Frame::Own => own(shape, elements, split, domain),
            _ if function.is_positively_homogeneous() => homogeneous(shape, elements, split),
            _ => single,
        }
    }

    /// The smallest and largest `u`.
    fn extremes(&self, elements: &[Spread]) -> (f64, f64) {
        elements.iter().enumerate().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), (e, s)| {
            (l.min(self.unit(e, s.min)), h.max(self.unit(e, s.max)))
        })
    }

    /// The window widened to be symmetric around zero.
    pub(super) fn symmetric(&self) -> Self {
        let reach = self.high.max(-self.low);
        Self { low: -reach, high: reach, ..self.clone() }
    }

    /// The channel of element `e`.
    pub(super) fn class_of(&self, e: usize) -> usize {
        self.class.get(e).map_or(0, |&c| c as usize)
    }

    /// The scale of element `e`.
    pub(super) fn scale_of(&self, e: usize) -> f64 {
        self.scale[self.class_of(e)]
    }

    /// The `u` of the value `x` of element `e`.
    fn unit(&self, e: usize, x: f64) -> f64 {
        let c = self.class_of(e);
        (x - self.centre[c]) / self.scale[c]
    }

    pub(super) fn middle(&self) -> f64 {
        (self.low + self.high) / 2.0
    }

    pub(super) fn half(&self) -> f64 {
        (self.high - self.low) / 2.0
    }

    /// Where the value `x` of element `e` comes to lie.
    pub(super) fn place(&self, e: usize, x: f64) -> f64 {
        (self.unit(e, x) - self.middle()) / self.half()
    }

    /// The factor and the summand that bring element `e` to its place.
    pub(super) fn map_of(&self, e: usize) -> (f64, f64) {
        let c = self.class_of(e);
        let factor = 1.0 / (self.scale[c] * self.half());
        (factor, -self.centre[c] * factor - self.middle() / self.half())
    }

    /// The `u` at the place `t`.
    pub(super) fn unplace(&self, t: f64) -> f64 {
        self.middle() + self.half() * t
    }

    /// The value at the place `t` in channel `c`.
    pub(super) fn value(&self, c: usize, t: f64) -> f64 {
        self.centre[c] + self.scale[c] * self.unplace(t)
    }
}

/// Channels of a tensor: the length of axis 1.
pub(super) fn channels(shape: &[usize]) -> usize {
    shape.get(1).copied().unwrap_or(1).max(1)
}

/// Whether a function has a value everywhere, so that any window may be widened.
pub(super) fn is_total(function: &Function) -> bool {
    !matches!(
        function,
        Function::Log | Function::Reciprocal | Function::Sqrt | Function::Pow { .. }
    )
}

/// How far one half of the calibration set lies outside the window of the other, in widths of that
/// window. Channels with scales of their own are the reason: each has seen few large values.
struct Unseen {
    below: f64,
    above: f64,
}

impl Unseen {
    fn of(function: &Function, shape: &[usize], halves: &[Vec<Spread>; 2], frame: Frame) -> Self {
        let mut out = Self { below: 0.0, above: 0.0 };
        for (known, other) in [(&halves[0], &halves[1]), (&halves[1], &halves[0])] {
            if known.iter().chain(other).any(|s| s.count == 0) {
                continue;
            }
            let window = Window::framed(function, shape, known, frame, Domain::MinMax);
            let ((low, high), (least, most)) = (window.extremes(known), window.extremes(other));
            if high > low {
                out.below = out.below.max((low - least) / (high - low));
                out.above = out.above.max((most - high) / (high - low));
            }
        }
        out
    }
}

/// The class of every element and the spread of every class.
pub(super) fn classes(
    shape: &[usize],
    elements: &[Spread],
    split: bool,
) -> (Vec<u32>, Vec<Spread>) {
    let channels = channels(shape);
    let area = shape.iter().skip(2).product::<usize>().max(1);
    let class: Vec<u32> = if split {
        (0..elements.len()).map(|e| (e / area % channels) as u32).collect()
    } else {
        Vec::new()
    };
    let mut spreads = vec![Spread::default(); if split { channels } else { 1 }];
    for (e, s) in elements.iter().enumerate() {
        let at = class.get(e).map_or(0, |&c| c as usize);
        spreads[at] = spreads[at].merge(s);
    }
    (class, spreads)
}

/// Scales per channel, or one for all.
fn homogeneous(shape: &[usize], elements: &[Spread], split: bool) -> Window {
    let (class, spreads) = classes(shape, elements, split);
    let reach = |s: &Spread| s.magnitude().max(s.mean().abs() + SIGMAS * s.std());
    let scale = lifted(spreads.iter().map(reach).collect());
    Window { centre: vec![0.0; scale.len()], scale, class, low: 0.0, high: 0.0 }
}

/// What every channel reaches: its extremes, and [`OWN_SIGMAS`] standard deviations at least.
fn own(shape: &[usize], elements: &[Spread], split: bool, domain: Domain) -> Window {
    let (class, spreads) = classes(shape, elements, split);
    let stds = lifted(spreads.iter().map(Spread::std).collect());
    let reach = |(s, std): (&Spread, &f64)| match domain {
        Domain::MinMax => {
            (s.min.min(s.mean() - OWN_SIGMAS * std), s.max.max(s.mean() + OWN_SIGMAS * std))
        }
        Domain::MeanStd(sigmas) => (s.mean() - sigmas * std, s.mean() + sigmas * std),
    };
    let reaches: Vec<(f64, f64)> = spreads.iter().zip(&stds).map(reach).collect();
    let centre = reaches.iter().map(|r| f64::midpoint(r.0, r.1)).collect();
    let scale = reaches.iter().map(|r| (r.1 - r.0) / 2.0).collect();
    Window { centre, scale, class, low: 0.0, high: 0.0 }
}

/// Scales of which none is too small beside the largest.
fn lifted(mut scales: Vec<f64>) -> Vec<f64> {
    let largest = scales.iter().copied().fold(0.0, f64::max);
    let largest = if largest > 0.0 { largest } else { 1.0 };
    scales.iter_mut().for_each(|s| *s = s.max(QUIET * largest));
    scales
}

/// The padded interval cut to where the function has values.
fn within_domain(
    function: &Function,
    (low, high): (f64, f64),
    (least, most): (f64, f64),
) -> Result<(f64, f64), Box<Diagnostic>> {
    // Functions with a pole at zero, and those that end there.
    let open = match function {
        Function::Log | Function::Reciprocal => true,
        Function::Pow { exponent } => *exponent < 0.0,
        _ => false,
    };
    let closed = matches!(function, Function::Sqrt | Function::Pow { .. });
    let below = matches!(function, Function::Reciprocal) && most < 0.0;
    if open && !below && least <= 0.0 {
        let message = format!(
            "{function:?} has no value at zero, which lies in the calibrated range \
             {least:.4} .. {most:.4}"
        );
        return Err(Box::new(
            Diagnostic::new(Code::Domain, message)
                .help("add a small constant to its operand, or clip it away from zero"),
        ));
    }
    Ok(match function {
        Function::Asin | Function::Acos => (low.max(-1.0), high.min(1.0)),
        Function::Acosh => (low.max(1.0), high),
        // Half of the way from the extremes to the poles.
        Function::Atanh => {
            (low.max(f64::midpoint(least, -1.0)), high.min(f64::midpoint(most, 1.0)))
        }
        Function::Tan => {
            let pole = std::f64::consts::FRAC_PI_2;
            let period = ((least + pole) / (2.0 * pole)).floor();
            let (left, right) = ((2.0 * period - 1.0) * pole, (2.0 * period + 1.0) * pole);
            (low.max(f64::midpoint(least, left)), high.min(f64::midpoint(most, right)))
        }
        _ if below => (low, high.min(most / 2.0)),
        _ if open => (low.max(least / 2.0), high),
        _ if closed => (low.max(0.0), high),
        _ => (low, high),
    })
}
