//! Comparisons: polynomials for a function that jumps.
//!
//! No polynomial follows a jump, but one follows the two sides of it outside a gap. Calibration says
//! where data is: the gap of a channel lies between its nearest values on both sides, and what the
//! polynomial does inside is free. So features of few values, or of whole numbers, get a low degree,
//! and a threshold amid dense data is followed as steeply as the degree allows: the rest is the
//! error that the outputs are judged by. A value that lies on the threshold is one side's nearest,
//! so that it is decided like all others.
//!
//! Every channel has a polynomial and a window of its own, since features have units of their own
//! and the results have none. Where the degree must be `n`, a gap of `a` half-widths leaves an error
//! of about `((1 - a)/(1 + a))^(n/2)` (A. Eremenko and P. Yuditskii, Uniform approximation of sgn x
//! by polynomials and entire functions, 2007).

use heplan_ir::series::Series;
use rayon::prelude::*;

use super::fit::{self, Fit, LEAD, Wish};
use super::window::{Seen, Window, classes};
use crate::numerics::chebyshev::Grid;
use crate::passes::tensor::calibrate::Spread;

/// Share of a channel's width that is added on either side at least.
const PAD: f64 = 0.1;
/// Samples to come reach this many times as far as one half of the calibration set does beyond the
/// other.
const BEYOND: f64 = 2.5;
/// Largest share of a channel's width that is added on either side.
const MOST: f64 = 1.0;
/// Share of the guard in the weights to begin with.
const GUARD: f64 = 0.02;
/// Weight inside the gap, relative to the guard's: it keeps the problem regular, no more.
const INSIDE: f64 = 1e-3;
/// The densities are blurred over this share of the half circle: values to come lie beside those
/// that were seen.
const BLUR: f64 = 1.0 / 128.0;
/// How far a polynomial may leave the two sides.
const ASTRAY: f64 = 0.5;
/// A value at which a polynomial errs by more is undecided.
const UNDECIDED: f64 = 0.25;

/// The window of every channel: what calibration saw, and a margin.
pub(super) fn window(shape: &[usize], seen: Seen<'_>, margin: f64) -> Window {
    let (class, spreads) = classes(shape, seen.elements, true);
    let halves = [0, 1].map(|h| classes(shape, &seen.halves[h], true).1);
    let of = |(c, s): (usize, &Spread)| {
        let width = s.max - s.min;
        let least = margin.max(PAD) * width;
        let (a, b) = match [halves[0].get(c), halves[1].get(c)] {
            [Some(a), Some(b)] if a.count > 0 && b.count > 0 => (a, b),
            _ => (s, s),
        };
        let pad = |apart: f64| least.max(BEYOND * apart.abs()).min(MOST * width);
        let (low, high) = (s.min - pad(a.min - b.min), s.max + pad(a.max - b.max));
        if high > low { (low, high) } else { (low - reach(low), high + reach(high)) }
    };
    let ends: Vec<(f64, f64)> = spreads.iter().enumerate().map(of).collect();
    if let &[(low, high)] = ends.as_slice() {
        return Window { centre: vec![0.0], scale: vec![1.0], class: Vec::new(), low, high };
    }
    Window {
        centre: ends.iter().map(|e| f64::midpoint(e.0, e.1)).collect(),
        scale: ends.iter().map(|e| (e.1 - e.0) / 2.0).collect(),
        class,
        low: -1.0,
        high: 1.0,
    }
}

/// How far the window of a constant reaches, which does not cross zero.
fn reach(value: f64) -> f64 {
    if value == 0.0 { 1.0 } else { value.abs() / 2.0 }
}

/// The nearest values on both sides of the jump, in places.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Gap {
    below: f64,
    above: f64,
}

impl Gap {
    /// 0 below, 1 above, and a smooth way between.
    fn eval(self, t: f64) -> f64 {
        if t <= self.below {
            return 0.0;
        }
        if t >= self.above {
            return 1.0;
        }
        let s = (t - self.below) / (self.above - self.below);
        s * s * (3.0 - 2.0 * s)
    }
}

/// One channel's values, in places, and the side that each is on.
type Values = Vec<(f64, f64)>;

/// Polynomials of the wish's degree; `None` if a fit is numerically impossible.
pub(super) fn fit(wish: &Wish<'_>) -> Option<Fit> {
    let window = wish.shared;
    let channels = window.scale.len();
    let mut values: Vec<Values> = vec![Vec::new(); channels];
    for &(e, x) in wish.values {
        let place = window.place(e as usize, x);
        values[window.class_of(e as usize)].push((place, wish.function.eval(x)));
    }
    let grid = Grid::new((8 * (wish.degree + 1)).clamp(256, 2048));
    let floor = wish.monic().then_some(LEAD);
    let found: Vec<Option<Found>> = (0..channels)
        .into_par_iter()
        .map(|c| {
            let gap = gap(&values[c], zero(window, c));
            channel(&grid, &values[c], gap, wish.degree, floor)
        })
        .collect();
    let found: Vec<Found> = found.into_iter().collect::<Option<_>>()?;
    let square: f64 = found.iter().map(|f| f.square).sum();
    let max_error = found.iter().map(|f| f.max_error).fold(0.0, f64::max);
    let near = found.iter().all(|f| f.near);
    let mut series: Vec<Series> = found.into_iter().map(|f| f.series).collect();
    let gain =
        if wish.monic() { series.iter_mut().map(fit::make_monic).collect() } else { vec![1.0] };
    let rms = (square / wish.values.len().max(1) as f64).sqrt();
    Some(Fit { window: window.clone(), series, gain, max_error, rms, near })
}

/// The place of the jump in a channel.
fn zero(window: &Window, c: usize) -> f64 {
    (-window.centre[c] / window.scale[c] - window.middle()) / window.half()
}

/// The gap of a channel whose jump is at the place `zero`. A side without values is as far from the
/// jump as the other.
fn gap(values: &Values, zero: f64) -> Gap {
    let below = values.iter().filter(|v| v.1 == 0.0).map(|v| v.0).fold(f64::NEG_INFINITY, f64::max);
    let above = values.iter().filter(|v| v.1 != 0.0).map(|v| v.0).fold(f64::INFINITY, f64::min);
    match (below.is_finite(), above.is_finite()) {
        (true, true) => Gap { below, above },
        (true, false) => Gap { below, above: (2.0 * zero - below).max(below + PAD) },
        (false, true) => Gap { below: (2.0 * zero - above).min(above - PAD), above },
        (false, false) => Gap { below: zero, above: zero },
    }
}

/// The share of values that are not decided, or that no value on their side joins at the gap's end:
/// left out of calibration, such a value would have been in the gap, and so many of the values to
/// come may be.
pub(super) fn undecided(fit: &Fit, values: &[(u32, f64)]) -> f64 {
    let mut ends = vec![[(f64::INFINITY, 0usize); 2]; fit.window.scale.len()];
    let mut count = 0;
    for &(e, x) in values {
        let side = usize::from(x > 0.0);
        let off = (fit.eval(e as usize, &[x])[0] - side as f64).abs() > UNDECIDED;
        count += usize::from(off);
        let end = &mut ends[fit.window.class_of(e as usize)][side];
        if x.abs() < end.0 {
            *end = (x.abs(), 0);
        }
        // Those that are off have been counted.
        end.1 += usize::from(x.abs() == end.0) * if off { 2 } else { 1 };
    }
    let alone = ends.iter().flatten().filter(|end| end.1 == 1).count();
    (count + alone) as f64 / values.len().max(1) as f64
}

struct Found {
    series: Series,
    /// Sum of the squares of the values' errors.
    square: f64,
    max_error: f64,
    near: bool,
}

fn channel(
    grid: &Grid,
    values: &Values,
    gap: Gap,
    degree: usize,
    floor: Option<f64>,
) -> Option<Found> {
    let target: Vec<f64> = grid.points.iter().map(|&t| gap.eval(t)).collect();
    let density = density(grid, values);
    let basis: Vec<usize> = (0..=degree).collect();
    let mut guard = GUARD;
    loop {
        let mut weights = fit::guarded(&density, guard);
        for (w, &t) in weights.iter_mut().zip(&grid.points) {
            if t > gap.below && t < gap.above {
                *w = INSIDE * guard / grid.points.len() as f64;
            }
        }
        let series = fit::solve(grid, &weights, &target, &basis, floor)?;
        let stays = |&t: &f64| (series.eval(t) - 0.5).abs() <= 0.5 + ASTRAY;
        let near = grid.points.iter().all(stays);
        if near || guard >= 1.0 {
            let errors = values.iter().map(|&(t, side)| (series.eval(t) - side).abs());
            let (square, max_error) = errors.fold((0.0, 0f64), |(s, m), e| (s + e * e, m.max(e)));
            return Some(Found { series, square, max_error, near });
        }
        guard = (guard * 4.0).min(1.0);
    }
}

/// The share of the values in each cell, blurred.
fn density(grid: &Grid, values: &Values) -> Vec<f64> {
    let n = grid.points.len();
    let inside = || values.iter().filter(|v| v.0.abs() <= 1.0);
    let share = 1.0 / inside().count().max(1) as f64;
    let mut density = vec![0.0; n];
    inside().for_each(|v| density[grid.cell(v.0)] += share);
    // Twice a mean over neighbours; what would leave the circle is reflected.
    let radius = ((BLUR * n as f64) as usize).max(1);
    for _ in 0..2 {
        let mut blurred = vec![0.0; n];
        for (at, &d) in density.iter().enumerate().filter(|d| *d.1 > 0.0) {
            for k in 0..=2 * radius {
                let to = (at + k).abs_diff(radius);
                let to = if to < n { to } else { 2 * n - 1 - to };
                blurred[to] += d / (2 * radius + 1) as f64;
            }
        }
        density = blurred;
    }
    density
}

#[cfg(test)]
mod tests {
    use heplan_ir::function::Function;

    use super::*;
    use crate::options::Method;

    /// `channels` features, each with values on a lattice of its own around the thresholds.
    fn values(channels: usize, each: impl Fn(usize, usize) -> f64) -> Vec<(u32, f64)> {
        (0..400)
            .flat_map(|i| (0..channels).map(|c| (c as u32, each(c, i))).collect::<Vec<_>>())
            .collect()
    }

    fn of(values: &[(u32, f64)], channels: usize, degree: usize, undone: bool) -> Fit {
        let mut elements = vec![Spread::default(); channels];
        let mut halves = [elements.clone(), elements.clone()];
        for (i, &(e, x)) in values.iter().enumerate() {
            elements[e as usize].add(x);
            halves[i / channels % 2][e as usize].add(x);
        }
        let seen = Seen { elements: &elements, tail: Default::default(), halves: &halves };
        let shared = window(&[1, channels], seen, 0.1);
        let (function, method) = (&Function::Step, Method::LeastSquares);
        fit(&Wish {
            function,
            shared: &shared,
            own: None,
            values,
            drift: &[],
            bearable: f64::INFINITY,
            undone,
            degree,
            method,
            deep: false,
        })
        .unwrap()
    }

    #[test]
    fn the_error_beside_a_gap_is_near_the_least_there_is() {
        // Values everywhere but within a tenth of the threshold.
        let far = |_: usize, i: usize| {
            if i < 200 { i as f64 / 200.0 - 1.1 } else { i as f64 / 200.0 - 0.9 + 0.005 }
        };
        for degree in [15, 31, 63] {
            let fit = of(&values(1, far), 1, degree, false);
            // In half-widths of the window, a tenth more on either side than the values.
            let a = 0.1 / fit.window.half();
            let m = (degree as f64 - 1.0) / 2.0;
            let least = ((1.0 - a) / (1.0 + a)).powf(m) * (1.0 - a)
                / (std::f64::consts::PI * a * m).sqrt()
                / 2.0;
            assert!(
                fit.near && fit.rms < 2.0 * least && fit.max_error < 8.0 * least,
                "{degree}: {} {} {least}",
                fit.rms,
                fit.max_error
            );
        }
    }

    #[test]
    fn units_do_not_matter_and_whole_numbers_are_cheap() {
        // Counts from 0 to 6 with the threshold on the number 3, and the same in thousandths.
        let count = |c: usize, i: usize| [1.0, 0.001][c] * ((i % 7) as f64 - 3.0);
        for (degree, undone) in [(31, false), (32, true)] {
            let fit = of(&values(2, count), 2, degree, undone);
            assert!(fit.near && fit.max_error < 0.01, "{degree}: {}", fit.max_error);
            // A value on the threshold is on its own side.
            assert!(fit.eval(0, &[0.0])[0].abs() < 0.01 && fit.eval(1, &[0.001])[0] > 0.99);
            assert_eq!(fit.set().monic().is_some(), undone);
        }
    }

    #[test]
    fn the_undecided_are_the_near_and_the_lonely() {
        // Every thousandth between -0.2 and 0.2 but 0: dense, and each value comes once.
        let dense = |_: usize, i: usize| (i as f64 - 200.0) / 1000.0 + 0.0005;
        let values_of = values(1, dense);
        let fit = of(&values_of, 1, 31, false);
        let off = values_of.iter().filter(|v| {
            let side = f64::from(u8::from(v.1 > 0.0));
            (fit.eval(0, &[v.1])[0] - side).abs() > UNDECIDED
        });
        let off = off.count();
        assert!(off > 4);
        assert_eq!(undecided(&fit, &values_of), off as f64 / 400.0);
        // Wide apart: the two at the ends of the gap are decided, yet each alone there.
        let apart = values(1, |_, i| if i < 200 { i as f64 - 400.0 } else { i as f64 });
        let fit = of(&apart, 1, 31, false);
        assert!(fit.max_error < UNDECIDED);
        assert_eq!(undecided(&fit, &apart), 2.0 / 400.0);
        // Counts are many of a kind.
        let counts = values(1, |_, i| (i % 7) as f64 - 3.0);
        assert_eq!(undecided(&of(&counts, 1, 31, false), &counts), 0.0);
    }

    #[test]
    fn features_that_never_cross_stay_on_their_side() {
        let never = |c: usize, i: usize| [-5.0, 0.0, 2.0, (i % 5) as f64 + 1.0][c];
        let fit = of(&values(4, never), 4, 31, false);
        assert!(fit.near && fit.max_error < 0.02, "{}", fit.max_error);
    }
}
