//! Polynomials for one function: density-weighted least squares with a guard, or minimax.
//!
//! The weight of a place is the share of calibration values there plus a small share of the
//! Chebyshev density over the whole window (the guard), so that the polynomial is best where
//! values are and still stays near the function everywhere. If it does not, the guard grows.
//! How near depends on the degree ([`near`]): a low degree errs by a bounded amount far out, a high
//! one would explode.
//!
//! A polynomial of degree `2^k` may be *monic*: its leading coefficient becomes the factor of an
//! affine map behind it, which saves a level. That coefficient must not vanish then, since the
//! polynomial is divided by it.

use heplan_ir::function::Function;
use heplan_ir::series::{PolynomialSet, Series};

use super::window::Window;
use super::{own, step};
use crate::numerics::chebyshev::Grid;
use crate::options::Method;

/// Points of the grid.
const POINTS: usize = 2048;
/// Share of the guard in the weights to begin with.
const GUARD: f64 = 1e-3;
/// Largest error, relative to the function's magnitude, that is called near whatever its range.
const EXACT: f64 = 1e-9;
/// A fit that uses the function's symmetry (half of its coefficients are zero) may be this much
/// worse.
const SYMMETRY_BONUS: f64 = 1.25;
/// Polynomials per channel must be this much better: every coefficient is a vector then.
const OWN_BONUS: f64 = 1.15;
/// Largest degree of polynomials per channel: beyond it a shared one does nearly as well, and is
/// better behaved outside its window.
const OWN_DEGREE: usize = 8;
/// The leading coefficient of a monic polynomial is at least this share of the function's largest
/// magnitude: what it is divided by grows to at most the inverse.
pub(super) const LEAD: f64 = 1.0 / 256.0;

/// `f(x) = constant + slope·x + g(x)` with `g` odd or even.
struct Symmetry {
    constant: f64,
    slope: f64,
    odd: bool,
}

/// What is to be replaced, and by what kind of polynomial.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) function: &'a Function,
    /// The window of a shared polynomial.
    pub(super) shared: &'a Window,
    /// The window of polynomials per channel, where they are possible.
    pub(super) own: Option<&'a Window>,
    /// Calibration values: element and value.
    pub(super) values: &'a [(u32, f64)],
    /// For each value what the function's result lacks of what is wanted there, which makes up for
    /// the errors of polynomials before this one; empty where nothing is before it.
    pub(super) drift: &'a [f64],
    /// The largest error that is near, whatever the function's range.
    pub(super) bearable: f64,
    /// Whether affine maps behind the function can take factors.
    pub(super) undone: bool,
    pub(super) degree: usize,
    /// Whether many functions follow each other: polynomials per channel then serve at every
    /// degree, since what one for all does to a channel that it suits badly adds up.
    pub(super) deep: bool,
    pub(super) method: Method,
}

impl Wish<'_> {
    /// Whether the polynomial is to be monic.
    pub(super) fn monic(&self) -> bool {
        self.undone && self.degree >= 2 && self.degree.is_power_of_two()
    }
}

/// A polynomial, or one per channel, with its window.
#[derive(Clone, Debug)]
pub(super) struct Fit {
    pub(super) window: Window,
    /// One, or one per channel of the window.
    pub(super) series: Vec<Series>,
    /// Factors of the series: one, or one per channel of the window.
    pub(super) gain: Vec<f64>,
    /// Largest error on the window of any channel.
    pub(super) max_error: f64,
    /// Root mean square error over the calibration values.
    pub(super) rms: f64,
    /// Whether it is near the function everywhere in the window.
    pub(super) near: bool,
}

impl Fit {
    /// What the polynomial gives instead of `f(x)` for element `e`, at several places.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "callers choose the instruction set")]
    pub(super) fn eval<const L: usize>(&self, e: usize, x: &[f64; L]) -> [f64; L] {
        let c = self.window.class_of(e);
        let gain = self.gain_of(c);
        let mut placed = [0.0; L];
        for l in 0..L {
            placed[l] = self.window.place(e, x[l]);
        }
        let mut y = self.series_of(c).eval_lanes(placed);
        for y in &mut y {
            *y *= gain;
        }
        y
    }

    pub(super) fn series_of(&self, c: usize) -> &Series {
        self.series.get(c).unwrap_or(&self.series[0])
    }

    pub(super) fn gain_of(&self, c: usize) -> f64 {
        self.gain.get(c).copied().unwrap_or(self.gain[0])
    }

    /// The polynomials as a node holds them, without their factors.
    pub(super) fn set(&self) -> PolynomialSet {
        let class = if self.series.len() > 1 { self.window.class.clone() } else { Vec::new() };
        PolynomialSet { series: self.series.clone(), class }
    }
}

/// The best fit that the wish allows: symmetric, general, or per channel.
///
/// A monic polynomial of a smooth function suffers from its leading coefficient, which is larger
/// than it ought to be; then the general one of the next lower degree, which is as deep, is better.
pub(super) fn of_degree(wish: &Wish<'_>) -> Option<Fit> {
    let found = best(wish);
    if !wish.monic() || wish.degree == 2 {
        return found;
    }
    match (found, best(&Wish { degree: wish.degree - 1, ..*wish })) {
        (Some(m), Some(g)) if m.rms <= g.rms && (m.near || !g.near) => Some(m),
        (m, None) => m,
        (_, g) => g,
    }
}

fn best(wish: &Wish<'_>) -> Option<Fit> {
    if *wish.function == Function::Step {
        return step::fit(wish);
    }
    let shared = shared(wish);
    let low = wish.method == Method::LeastSquares && (wish.deep || wish.degree <= OWN_DEGREE);
    let own = wish.own.filter(|_| low);
    let own = own.and_then(|window| own::fit(wish, window));
    match (own, shared) {
        (Some(o), Some(s)) if o.near && (wish.deep || !s.near || OWN_BONUS * o.rms < s.rms) => {
            Some(o)
        }
        (o, None) => o,
        (_, s) => s,
    }
}

/// The better of the symmetric and the general fit.
fn shared(wish: &Wish<'_>) -> Option<Fit> {
    let window = wish.shared;
    let general = fit(wish, window, None);
    // What is wanted is no longer symmetric where it makes up for errors.
    let symmetry = symmetry(wish.function).filter(|_| wish.drift.is_empty());
    let Some(symmetry) = symmetry else { return general };
    // A window far from zero is not worth widening.
    if window.symmetric().half() > 2.0 * window.half() {
        return general;
    }
    match (fit(wish, &window.symmetric(), Some(&symmetry)), general) {
        (Some(e), Some(g)) if e.rms <= SYMMETRY_BONUS * g.rms && (e.near || !g.near) => Some(e),
        (e, None) => e,
        (_, g) => g,
    }
}

/// The largest error on the window, relative to the function's range there, that is still called
/// near.
pub(super) fn near(degree: usize) -> f64 {
    match degree {
        0..=4 => 1.0,
        5..=8 => 0.5,
        _ => 0.1,
    }
}

fn symmetry(function: &Function) -> Option<Symmetry> {
    let (constant, slope, odd) = match *function {
        Function::Relu
        | Function::Gelu { .. }
        | Function::Swish { .. }
        | Function::Softplus
        | Function::HardSwish => (0.0, 0.5, false),
        Function::LeakyRelu { alpha } => (0.0, f64::midpoint(1.0, alpha), false),
        Function::Abs | Function::Cos | Function::Cosh => (0.0, 0.0, false),
        Function::Tanh
        | Function::Erf
        | Function::Sin
        | Function::Atan
        | Function::Sinh
        | Function::Asin
        | Function::Asinh
        | Function::Atanh
        | Function::Shrink { .. }
        | Function::Softsign
        | Function::Sign => (0.0, 0.0, true),
        Function::Sigmoid => (0.5, 0.0, true),
        Function::HardSigmoid { beta: 0.5, .. } => (0.5, 0.0, true),
        Function::Clip { min, max } if min == -max => (0.0, 0.0, true),
        _ => return None,
    };
    Some(Symmetry { constant, slope, odd })
}

/// One polynomial for all elements.
fn fit(wish: &Wish<'_>, window: &Window, symmetry: Option<&Symmetry>) -> Option<Fit> {
    let grid = Grid::new(POINTS);
    let exact: Vec<f64> =
        grid.points.iter().map(|&t| wish.function.eval(window.unplace(t))).collect();
    let (constant, slope) = symmetry.map_or((0.0, 0.0), |s| (s.constant, s.slope * window.half()));
    let target: Vec<f64> =
        grid.points.iter().zip(&exact).map(|(t, f)| f - constant - slope * t).collect();
    let basis: Vec<usize> = match symmetry {
        Some(s) => (usize::from(s.odd)..=wish.degree).step_by(2).collect(),
        None => (0..=wish.degree).collect(),
    };
    // An odd polynomial has no leading term of degree 2^k.
    let monic = wish.monic() && basis.last() == Some(&wish.degree);
    let floor = monic.then(|| least_lead(&exact));
    let Density { mut density, drift, squares } = density(&grid, window, wish);
    if symmetry.is_some() {
        let mirrored: Vec<f64> = density.iter().rev().copied().collect();
        density.iter_mut().zip(mirrored).for_each(|(d, m)| *d = f64::midpoint(*d, m));
    }
    let wanted: Vec<f64> = exact.iter().zip(&drift).map(|(f, d)| f + d).collect();
    let finish = |mut series: Series| {
        series.coefficients.resize(series.coefficients.len().max(2), 0.0);
        series.coefficients[0] += constant;
        series.coefficients[1] += slope;
        let quality = measured(&grid, &exact, (&wanted, &density), &series, wish.degree);
        let largest = window.scale.iter().copied().fold(0.0, f64::max);
        let lead = if monic { make_monic(&mut series) } else { 1.0 };
        Fit {
            window: window.clone(),
            series: vec![series],
            gain: window.scale.iter().map(|s| s * lead).collect(),
            max_error: quality.max_error * largest,
            rms: (quality.square * squares).sqrt(),
            near: quality.near && quality.max_error * largest <= wish.bearable,
        }
    };
    if wish.method == Method::Minimax {
        return grid.minimax(&target, &basis).map(|s| {
            let held = floor.is_none_or(|f| s.coefficients[wish.degree].abs() >= f);
            finish(if held { s } else { led(s, wish.degree, floor) })
        });
    }
    let mut guard = GUARD;
    loop {
        let weights = guarded(&density, guard);
        let target = shifted(&target, (&drift, &density), 1.0 - guard, &weights);
        let found = finish(solve(&grid, &weights, &target, &basis, floor)?);
        if found.near || guard >= 1.0 {
            return Some(found);
        }
        guard = (guard * 4.0).min(1.0);
    }
}

/// The least leading coefficient of a monic polynomial.
pub(super) fn least_lead(exact: &[f64]) -> f64 {
    LEAD * exact.iter().fold(f64::MIN_POSITIVE, |m, f| m.max(f.abs()))
}

/// Weights with a share of the Chebyshev density.
pub(super) fn guarded(density: &[f64], guard: f64) -> Vec<f64> {
    let even = guard / density.len() as f64;
    density.iter().map(|d| (1.0 - guard) * d + even).collect()
}

/// What is wanted in every cell: values drift, the guard does not. `share` is that of the values in
/// the weights.
pub(super) fn shifted(
    target: &[f64],
    (drift, density): (&[f64], &[f64]),
    share: f64,
    weights: &[f64],
) -> Vec<f64> {
    let values = drift.iter().zip(density).map(|(drift, d)| share * d * drift);
    target.iter().zip(values).zip(weights).map(|((f, v), w)| f + v / w).collect()
}

/// Least squares with a leading coefficient of at least `floor` in magnitude, where one is given.
pub(super) fn solve(
    grid: &Grid,
    weights: &[f64],
    target: &[f64],
    basis: &[usize],
    floor: Option<f64>,
) -> Option<Series> {
    let free = grid.least_squares(weights, target, basis)?;
    let (Some(floor), Some((&degree, lower))) = (floor, basis.split_last()) else {
        return Some(free);
    };
    let lead = free.coefficients[degree];
    if lead.abs() >= floor {
        return Some(free);
    }
    let lead = floor.copysign(lead);
    let rest: Vec<f64> = grid
        .points
        .iter()
        .zip(target)
        .map(|(t, f)| f - lead * (degree as f64 * t.acos()).cos())
        .collect();
    let mut series = grid.least_squares(weights, &rest, lower)?;
    series.coefficients.resize(degree + 1, 0.0);
    series.coefficients[degree] = lead;
    Some(series)
}

/// The series with the least leading coefficient instead of its own.
fn led(mut series: Series, degree: usize, floor: Option<f64>) -> Series {
    if let Some(floor) = floor {
        series.coefficients[degree] = floor.copysign(series.coefficients[degree]);
    }
    series
}

/// Divides by the leading coefficient, which is returned.
pub(super) fn make_monic(series: &mut Series) -> f64 {
    let degree = series.degree();
    let lead = series.coefficients[degree];
    series.coefficients.iter_mut().for_each(|c| *c /= lead);
    series.coefficients[degree] = 1.0;
    lead
}

/// Where calibration values are.
struct Density {
    /// The share of the values in each cell, weighted by the square of their scale, which
    /// multiplies the error.
    density: Vec<f64>,
    /// Their mean drift in each cell, in units of their scale.
    drift: Vec<f64>,
    /// The mean of those squares.
    squares: f64,
}

fn density(grid: &Grid, window: &Window, wish: &Wish<'_>) -> Density {
    let mut density = vec![0.0; grid.points.len()];
    let mut drift = vec![0.0; grid.points.len()];
    let mut total = 0.0;
    for (i, &(e, x)) in wish.values.iter().enumerate() {
        let t = window.place(e as usize, x);
        if t.abs() <= 1.0 {
            let (scale, cell) = (window.scale_of(e as usize), grid.cell(t));
            density[cell] += scale * scale;
            drift[cell] += wish.drift.get(i).map_or(0.0, |d| scale * d);
            total += scale * scale;
        }
    }
    drift.iter_mut().zip(&density).filter(|(_, d)| **d > 0.0).for_each(|(s, d)| *s /= d);
    if total > 0.0 {
        density.iter_mut().for_each(|d| *d /= total);
    }
    Density { density, drift, squares: total / wish.values.len().max(1) as f64 }
}

/// How good a series is on a grid.
pub(super) struct Quality {
    pub(super) max_error: f64,
    /// Mean square error under the density.
    pub(super) square: f64,
    pub(super) near: bool,
}

/// Nearness is to the function, the mean square error that from what is `wanted` where values are.
pub(super) fn measured(
    grid: &Grid,
    exact: &[f64],
    (wanted, density): (&[f64], &[f64]),
    series: &Series,
    degree: usize,
) -> Quality {
    let (low, high) = extremes(exact);
    let range = (high - low).max(f64::MIN_POSITIVE);
    let (mut max_error, mut square) = (0f64, 0.0);
    let places = grid.points.iter().zip(exact).zip(wanted.iter().zip(density));
    for ((&t, f), (wanted, d)) in places {
        let found = series.eval(t);
        max_error = max_error.max((found - f).abs());
        square += d * (found - wanted).powi(2);
    }
    // A range as small as rounding errors says nothing about the fit.
    let magnitude = low.abs().max(high.abs());
    let near = max_error <= near(degree) * range || max_error <= EXACT * magnitude;
    Quality { max_error, square, near }
}

pub(super) fn extremes(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)))
}

/// The widest interval around the window, in places, on which every channel's polynomial stays
/// below twice the function's largest magnitude on the window.
pub(super) fn tame(function: &Function, fit: &Fit) -> (f64, f64) {
    let grid = Grid::new(POINTS / 8);
    // A shared polynomial is of `u`, and its channels differ by the scale of `u` alone.
    let own = fit.series.len() > 1;
    let channels = if own { fit.series.len() } else { 1 };
    let reach = |c: usize, sign: f64| {
        let exact = |t: f64| match own {
            true => function.eval(fit.window.value(c, t)),
            false => function.eval(fit.window.unplace(t)) * fit.window.scale[c],
        };
        let bound = 2.0 * grid.points.iter().map(|&t| exact(t).abs()).fold(0.0, f64::max);
        let found = |t: f64| (fit.gain_of(c) * fit.series_of(c).eval(sign * t)).abs();
        let steps = (1..=400).map(|i| 1.0 + f64::from(i) / 200.0);
        steps.take_while(|&t| found(t) <= bound).last().unwrap_or(1.0)
    };
    let least = |sign| (0..channels).map(|c| reach(c, sign)).fold(f64::INFINITY, f64::min);
    (-least(-1.0), least(1.0))
}

#[cfg(test)]
mod tests;
