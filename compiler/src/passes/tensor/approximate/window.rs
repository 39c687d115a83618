//! The interval on which a function is approximated, and how its operand gets there.
//!
//! An element `x` of channel `c` becomes `u = x/scale_c`, and the interval `[low, high]` of `u`
//! becomes `[-1, 1]`. Positively homogeneous functions (ReLU) have a scale per channel, since
//! `f(x) = scale_c·f(u)`; all others have scale 1.

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::function::Function;

use crate::options::Domain;
use crate::passes::tensor::calibrate::{Spread, Tail};

/// A channel's scale is at least this share of the largest: what was quiet in calibration may
/// speak later.
const QUIET: f64 = 1.0 / 16.0;
/// A channel's scale covers this many standard deviations, since the extremes of few samples say
/// little.
const SIGMAS: f64 = 4.0;

/// Samples to come are many more than one half of the calibration set: they reach this many times
/// as far beyond it as the other half does.
const BEYOND: f64 = 2.5;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Window {
    /// Per channel.
    pub(super) scale: Vec<f64>,
    /// Per element its channel; empty when there is one.
    pub(super) class: Vec<u32>,
    /// Lower end, in units of `u`.
    pub(super) low: f64,
    /// Upper end, in units of `u`.
    pub(super) high: f64,
}

impl Window {
    /// The window of a function's operand.
    ///
    /// `tail` and the `halves` of the calibration set say how far beyond the extremes values may go;
    /// `per_channel` says whether a scale per channel can be undone for free behind it.
    pub(super) fn of(
        function: &Function,
        shape: &[usize],
        elements: &[Spread],
        (tail, halves): (Tail, &[Vec<Spread>; 2]),
        per_channel: bool,
        (domain, margin): (Domain, f64),
    ) -> Result<Self, Box<Diagnostic>> {
        let mut window = if function.is_positively_homogeneous() {
            homogeneous(shape, elements, per_channel)
        } else {
            Self { scale: vec![1.0], class: Vec::new(), low: 0.0, high: 0.0 }
        };
        // Extremes and moments of u.
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut count, mut sum, mut square) = (0.0, 0.0, 0.0);
        for (e, s) in elements.iter().enumerate() {
            let scale = window.scale_of(e);
            (low, high) = (low.min(s.min / scale), high.max(s.max / scale));
            let (n, mean, std) = (s.count as f64, s.mean() / scale, s.std() / scale);
            (count, sum, square) =
                (count + n, sum + n * mean, square + n * (std * std + mean * mean));
        }
        let (least, most) = (low, high);
        if let Domain::MeanStd(sigmas) = domain {
            let mean = sum / count;
            let reach = sigmas * (square / count - mean * mean).max(0.0).sqrt();
            (low, high) = (mean - reach, mean + reach);
        } else {
            let pad = margin * (high - low) / 2.0;
            let all = elements.iter().fold(Spread::default(), |a, b| a.merge(b));
            let unit = if all.max > all.min { (high - low) / (all.max - all.min) } else { 0.0 };
            let unseen = Unseen::of(function, shape, halves, per_channel);
            let below = pad.max(tail.below * unit).max(BEYOND * unseen.below * (high - low));
            let above = pad.max(tail.above * unit).max(BEYOND * unseen.above * (high - low));
            (low, high) = (low - below, high + above);
        }
        if high - low <= 1e-9 * low.abs().max(high.abs()).max(1e-300) {
            let pad = if low == 0.0 { 1.0 } else { 0.1 * low.abs() };
            (low, high) = (low - pad, high + pad);
        }
        (window.low, window.high) = within_domain(function, (low, high), (least, most))?;
        Ok(window)
    }

    /// The window widened to be symmetric around zero.
    pub(super) fn symmetric(&self) -> Self {
        let reach = self.high.max(-self.low);
        Self { low: -reach, high: reach, ..self.clone() }
    }

    /// The scale of element `e`.
    pub(super) fn scale_of(&self, e: usize) -> f64 {
        self.scale[self.class.get(e).map_or(0, |&c| c as usize)]
    }

    pub(super) fn middle(&self) -> f64 {
        (self.low + self.high) / 2.0
    }

    pub(super) fn half(&self) -> f64 {
        (self.high - self.low) / 2.0
    }

    /// Where the value `x` of element `e` comes to lie.
    pub(super) fn place(&self, e: usize, x: f64) -> f64 {
        (x / self.scale_of(e) - self.middle()) / self.half()
    }

    /// The `u` at the place `t`.
    pub(super) fn unplace(&self, t: f64) -> f64 {
        self.middle() + self.half() * t
    }
}

/// How far one half of the calibration set lies outside the window of the other, in widths of that
/// window. Channels with scales of their own are the reason: each has seen few large values.
struct Unseen {
    below: f64,
    above: f64,
}

impl Unseen {
    fn of(
        function: &Function,
        shape: &[usize],
        halves: &[Vec<Spread>; 2],
        per_channel: bool,
    ) -> Self {
        let mut out = Self { below: 0.0, above: 0.0 };
        for (known, other) in [(&halves[0], &halves[1]), (&halves[1], &halves[0])] {
            if known.iter().chain(other).any(|s| s.count == 0) {
                continue;
            }
            let window = if function.is_positively_homogeneous() {
                homogeneous(shape, known, per_channel)
            } else {
                Window { scale: vec![1.0], class: Vec::new(), low: 0.0, high: 0.0 }
            };
            let extremes = |elements: &[Spread]| {
                elements.iter().enumerate().fold(
                    (f64::INFINITY, f64::NEG_INFINITY),
                    |(l, h), (e, s)| {
                        let scale = window.scale_of(e);
                        (l.min(s.min / scale), h.max(s.max / scale))
                    },
                )
            };
            let (low, high) = extremes(known);
            let (least, most) = extremes(other);
            if high > low {
                out.below = out.below.max((low - least) / (high - low));
                out.above = out.above.max((most - high) / (high - low));
            }
        }
        out
    }
}

/// Scales per channel (axis 1), or one for all.
fn homogeneous(shape: &[usize], elements: &[Spread], per_channel: bool) -> Window {
    let channels = shape.get(1).copied().unwrap_or(1).max(1);
    let area = shape.iter().skip(2).product::<usize>().max(1);
    let split = per_channel && channels > 1;
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
    let reach = |s: &Spread| s.magnitude().max(s.mean().abs() + SIGMAS * s.std());
    let largest = spreads.iter().map(reach).fold(0.0, f64::max);
    let largest = if largest > 0.0 { largest } else { 1.0 };
    let scale = if split {
        spreads.iter().map(|s| reach(s).max(QUIET * largest)).collect()
    } else {
        vec![largest]
    };
    Window { scale, class, low: 0.0, high: 0.0 }
}

/// The padded interval cut to where the function has values.
fn within_domain(
    function: &Function,
    (low, high): (f64, f64),
    (least, most): (f64, f64),
) -> Result<(f64, f64), Box<Diagnostic>> {
    let open = matches!(function, Function::Log | Function::Reciprocal);
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
    Ok(match (open, closed, below) {
        (_, _, true) => (low, high.min(most / 2.0)),
        (true, ..) => (low.max(least / 2.0), high),
        (_, true, _) => (low.max(0.0), high),
        _ => (low, high),
    })
}
