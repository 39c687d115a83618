//! One polynomial for one function: density-weighted least squares with a guard, or minimax.
//!
//! The weight of a place is the share of calibration values there plus a small share of the
//! Chebyshev density over the whole window (the guard), so that the polynomial is best where
//! values are and still stays near the function everywhere. If it does not, the guard grows.

use heplan_ir::function::Function;
use heplan_ir::series::Series;

use super::window::Window;
use crate::numerics::chebyshev::Grid;
use crate::options::Method;

/// Points of the grid.
const POINTS: usize = 2048;
/// Share of the guard in the weights to begin with.
const GUARD: f64 = 1e-3;
/// Largest error anywhere in the window, relative to the function's range there, that is still
/// called near.
const NEAR: f64 = 0.1;
/// A fit that uses the function's symmetry (half of its coefficients are zero) may be this much
/// worse.
const SYMMETRY_BONUS: f64 = 1.25;

/// `f(x) = constant + slope·x + g(x)` with `g` odd or even.
struct Symmetry {
    constant: f64,
    slope: f64,
    odd: bool,
}

/// A polynomial with its window.
#[derive(Clone, Debug)]
pub(super) struct Fit {
    pub(super) window: Window,
    pub(super) series: Series,
    /// Largest error on the window, in units of the function at `u`.
    pub(super) max_error: f64,
    /// Error over the calibration values, relative to the function's range.
    pub(super) rms: f64,
    /// The function's range on the window, in its units at `u`.
    pub(super) range: f64,
    /// Whether it is near the function everywhere in the window.
    pub(super) near: bool,
}

impl Fit {
    /// What the polynomial gives instead of `f(x)` for element `e`.
    pub(super) fn eval(&self, e: usize, x: f64) -> f64 {
        self.window.scale_of(e) * self.series.eval(self.window.place(e, x))
    }
}

/// The better of the symmetric and the general fit, of degree at most `degree`.
pub(super) fn of_degree(
    function: &Function,
    window: &Window,
    values: &[(u32, f64)],
    degree: usize,
    method: Method,
) -> Option<Fit> {
    let general = fit(function, window, values, degree, None, method);
    let Some(symmetry) = symmetry(function) else { return general };
    // A window far from zero is not worth widening.
    if window.symmetric().half() > 2.0 * window.half() {
        return general;
    }
    let even = fit(function, &window.symmetric(), values, degree, Some(&symmetry), method);
    match (even, general) {
        (Some(e), Some(g)) if e.rms <= SYMMETRY_BONUS * g.rms && (e.near || !g.near) => Some(e),
        (e, None) => e,
        (_, g) => g,
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
        Function::Abs | Function::Cos => (0.0, 0.0, false),
        Function::Tanh
        | Function::Erf
        | Function::Sin
        | Function::Atan
        | Function::Softsign
        | Function::Sign => (0.0, 0.0, true),
        Function::Sigmoid => (0.5, 0.0, true),
        Function::HardSigmoid { beta: 0.5, .. } => (0.5, 0.0, true),
        Function::Clip { min, max } if min == -max => (0.0, 0.0, true),
        _ => return None,
    };
    Some(Symmetry { constant, slope, odd })
}

fn fit(
    function: &Function,
    window: &Window,
    values: &[(u32, f64)],
    degree: usize,
    symmetry: Option<&Symmetry>,
    method: Method,
) -> Option<Fit> {
    let grid = Grid::new(POINTS);
    let exact: Vec<f64> = grid.points.iter().map(|&t| function.eval(window.unplace(t))).collect();
    let (constant, slope) = symmetry.map_or((0.0, 0.0), |s| (s.constant, s.slope * window.half()));
    let target: Vec<f64> =
        grid.points.iter().zip(&exact).map(|(t, f)| f - constant - slope * t).collect();
    let basis: Vec<usize> = match symmetry {
        Some(s) => (usize::from(s.odd)..=degree).step_by(2).collect(),
        None => (0..=degree).collect(),
    };
    let mut density = density(&grid, window, values);
    if symmetry.is_some() {
        let mirrored: Vec<f64> = density.iter().rev().copied().collect();
        density.iter_mut().zip(mirrored).for_each(|(d, m)| *d = f64::midpoint(*d, m));
    }
    let finish = |mut series: Series| {
        series.coefficients.resize(series.coefficients.len().max(2), 0.0);
        series.coefficients[0] += constant;
        series.coefficients[1] += slope;
        measured(window, &grid, &exact, &density, series)
    };
    if method == Method::Minimax {
        return grid.minimax(&target, &basis).map(finish);
    }
    let mut guard = GUARD;
    loop {
        let weights: Vec<f64> =
            density.iter().map(|d| (1.0 - guard) * d + guard / POINTS as f64).collect();
        let found = finish(grid.least_squares(&weights, &target, &basis)?);
        if found.near || guard >= 1.0 {
            return Some(found);
        }
        guard = (guard * 4.0).min(1.0);
    }
}

/// The share of the calibration values in each cell, weighted by the square of their scale, which
/// multiplies the error.
fn density(grid: &Grid, window: &Window, values: &[(u32, f64)]) -> Vec<f64> {
    let mut density = vec![0.0; grid.points.len()];
    let mut total = 0.0;
    for &(e, x) in values {
        let t = window.place(e as usize, x);
        if t.abs() <= 1.0 {
            let weight = window.scale_of(e as usize).powi(2);
            density[grid.cell(t)] += weight;
            total += weight;
        }
    }
    if total > 0.0 {
        density.iter_mut().for_each(|d| *d /= total);
    }
    density
}

fn measured(window: &Window, grid: &Grid, exact: &[f64], density: &[f64], series: Series) -> Fit {
    let (low, high) = extremes(exact);
    let range = (high - low).max(f64::MIN_POSITIVE);
    let (mut max_error, mut square) = (0f64, 0.0);
    for ((&t, f), d) in grid.points.iter().zip(exact).zip(density) {
        let error = (series.eval(t) - f).abs();
        max_error = max_error.max(error);
        square += d * error * error;
    }
    let near = max_error <= NEAR * range;
    Fit { window: window.clone(), series, max_error, rms: square.sqrt() / range, range, near }
}

pub(super) fn extremes(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)))
}

/// The widest interval around the window, in units of `u`, on which the polynomial stays below
/// twice the function's largest magnitude on the window.
pub(super) fn tame(function: &Function, fit: &Fit) -> (f64, f64) {
    let grid = Grid::new(POINTS);
    let largest = |v: f64| function.eval(fit.window.unplace(v)).abs();
    let bound = 2.0 * grid.points.iter().map(|&t| largest(t)).fold(0.0, f64::max);
    let reach = |sign: f64| {
        let steps = (1..=400).map(|i| 1.0 + f64::from(i) / 200.0);
        let held = steps.take_while(|t| fit.series.eval(sign * t).abs() <= bound);
        fit.window.unplace(sign * held.last().unwrap_or(1.0))
    };
    (reach(-1.0), reach(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(low: f64, high: f64) -> Window {
        Window { scale: vec![1.0], class: Vec::new(), low, high }
    }

    /// Values of a normal distribution, by their quantiles at a fine grid.
    fn values(mean: f64, std: f64) -> Vec<(u32, f64)> {
        // The logistic distribution is near enough and has a closed quantile function.
        (1..2000)
            .map(|i| f64::from(i) / 2000.0)
            .map(|q| (0, mean + std * (q / (1.0 - q)).ln()))
            .collect()
    }

    #[test]
    fn the_density_pulls_the_error_to_where_values_are_not() {
        let w = window(-8.0, 8.0);
        let narrow = values(0.0, 0.4);
        let weighted = of_degree(&Function::Relu, &w, &narrow, 7, Method::LeastSquares).unwrap();
        let even = of_degree(&Function::Relu, &w, &narrow, 7, Method::Minimax).unwrap();
        assert!(weighted.rms < 0.8 * even.rms, "{} {}", weighted.rms, even.rms);
        assert!(weighted.near && even.near && even.max_error <= weighted.max_error);
    }

    #[test]
    fn relu_uses_its_symmetry() {
        let fit = of_degree(
            &Function::Relu,
            &window(-3.0, 2.5),
            &values(0.0, 0.4),
            7,
            Method::LeastSquares,
        )
        .unwrap();
        assert_eq!((fit.window.low, fit.series.degree()), (-3.0, 6));
        let odd: Vec<f64> = fit.series.coefficients.iter().skip(3).step_by(2).copied().collect();
        assert!(odd.iter().all(|&c| c == 0.0), "{:?}", fit.series);
        assert!((fit.series.coefficients[1] - 1.5).abs() < 1e-12);
    }

    #[test]
    fn smooth_functions_converge() {
        for f in [Function::Sigmoid, Function::Tanh, Function::Exp, Function::Gelu { tanh: false }]
        {
            let of =
                |d| of_degree(&f, &window(-3.0, 3.0), &values(0.0, 0.5), d, Method::LeastSquares);
            assert!(of(31).unwrap().max_error < 1e-4, "{f:?}: {:?}", of(31).unwrap().max_error);
        }
    }

    #[test]
    fn every_fit_is_bounded_on_the_whole_window() {
        for degree in [7, 15, 31, 63] {
            let fit = of_degree(
                &Function::Relu,
                &window(-10.0, 4.0),
                &values(-1.0, 0.05),
                degree,
                Method::LeastSquares,
            )
            .unwrap();
            assert!(fit.near && fit.max_error <= 0.4, "degree {degree}: {}", fit.max_error);
        }
    }
}
