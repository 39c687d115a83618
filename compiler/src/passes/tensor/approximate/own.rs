//! Polynomials per channel.
//!
//! Values of one channel lie around a mean of their own, on which a polynomial of low degree does
//! far better than one that serves all channels; and since a plaintext vector costs a product as
//! much as a scalar, it is nearly free.
//! A channel has seen few values, so its density is a mixture: the values themselves, a normal
//! distribution somewhat wider than they are, and the guard of [`super::fit`].

use heplan_ir::series::Series;
use rayon::prelude::*;

use super::fit::{self, Fit, Quality, Wish};
use super::window::Window;
use crate::numerics::chebyshev::Grid;

/// Share of the normal distribution in the density.
const NORMAL: f64 = 0.3;
/// How much wider than the values the normal distribution is.
const WIDER: f64 = 1.3;
/// The least standard deviation that a channel is taken to have, in places.
const NARROWEST: f64 = 0.05;
/// Share of the guard in the weights to begin with.
const GUARD: f64 = 1e-3;
/// Channels whose function spans less than this share of the widest one's are measured by it: their
/// errors cannot matter more.
const SMALL: f64 = 0.25;

/// One polynomial per channel of `window`; `None` if a fit is numerically impossible.
pub(super) fn fit(wish: &Wish<'_>, window: &Window) -> Option<Fit> {
    let grid = Grid::new((64 * (wish.degree + 1)).clamp(256, 2048));
    let channels = window.scale.len();
    let exact: Vec<Vec<f64>> = (0..channels)
        .map(|c| grid.points.iter().map(|&t| wish.function.eval(window.value(c, t))).collect())
        .collect();
    let span = |f: &Vec<f64>| {
        let (low, high) = fit::extremes(f);
        high - low
    };
    let widest = exact.iter().map(span).fold(f64::MIN_POSITIVE, f64::max);
    let least_lead = fit::least_lead(&exact.concat());
    let (densities, counts) = densities(&grid, window, wish);
    let found: Vec<Option<(Series, Quality)>> = (0..channels)
        .into_par_iter()
        .map(|c| {
            let channel = Channel {
                grid: &grid,
                exact: &exact[c],
                seen: &densities[c].0,
                drift: &densities[c].1,
                wanted: exact[c].iter().zip(&densities[c].1).map(|(f, d)| f + d).collect(),
                density: smoothed(&grid, &densities[c].0),
                bound: (fit::near(wish.degree) * span(&exact[c]).max(SMALL * widest))
                    .min(wish.bearable),
                // A channel that hardly matters is divided by less.
                floor: wish.monic().then(|| fit::least_lead(&exact[c]).max(least_lead / 16.0)),
            };
            channel.fit(wish.degree)
        })
        .collect();
    let found: Vec<(Series, Quality)> = found.into_iter().collect::<Option<_>>()?;
    let total: f64 = counts.iter().sum();
    let square: f64 = found.iter().zip(&counts).map(|(f, n)| f.1.square * n).sum();
    let max_error = found.iter().map(|f| f.1.max_error).fold(0.0, f64::max);
    let near = found.iter().all(|f| f.1.near);
    let mut series: Vec<Series> = found.into_iter().map(|f| f.0).collect();
    let gain =
        if wish.monic() { series.iter_mut().map(fit::make_monic).collect() } else { vec![1.0] };
    Some(Fit {
        window: window.clone(),
        series,
        gain,
        max_error,
        rms: (square / total.max(1.0)).sqrt(),
        near,
    })
}

/// The share of a channel's values in each cell, and their mean drift there.
type Cells = (Vec<f64>, Vec<f64>);

/// Per channel the share of its values in each cell with their mean drift there, and how many they
/// are.
fn densities(grid: &Grid, window: &Window, wish: &Wish<'_>) -> (Vec<Cells>, Vec<f64>) {
    let none = vec![0.0; grid.points.len()];
    let mut all = vec![(none.clone(), none); window.scale.len()];
    let mut counts = vec![0.0; window.scale.len()];
    for (i, &(e, x)) in wish.values.iter().enumerate() {
        let (c, t) = (window.class_of(e as usize), window.place(e as usize, x));
        if t.abs() <= 1.0 {
            let cell = grid.cell(t);
            all[c].0[cell] += 1.0;
            all[c].1[cell] += wish.drift.get(i).copied().unwrap_or(0.0);
            counts[c] += 1.0;
        }
    }
    for ((density, drift), count) in all.iter_mut().zip(&counts).filter(|(_, n)| **n > 0.0) {
        drift.iter_mut().zip(&*density).filter(|(_, n)| **n > 0.0).for_each(|(d, n)| *d /= n);
        density.iter_mut().for_each(|d| *d /= count);
    }
    (all, counts)
}

/// A density with a share of the normal distribution of its mean and deviation, widened.
fn smoothed(grid: &Grid, density: &[f64]) -> Vec<f64> {
    let total: f64 = density.iter().sum();
    let moment = |f: &dyn Fn(f64) -> f64| {
        grid.points.iter().zip(density).map(|(&t, d)| d * f(t)).sum::<f64>()
    };
    let mean = moment(&|t| t);
    let std = if total > 0.0 { moment(&|t| (t - mean).powi(2)).sqrt() } else { 1.0 };
    let std = WIDER * std.max(NARROWEST);
    // A cell's width is that of an equal angle.
    let normal: Vec<f64> = grid
        .points
        .iter()
        .map(|&t| {
            let u = (t - mean) / std;
            (-u * u / 2.0).exp() * (1.0 - t * t).sqrt()
        })
        .collect();
    let sum: f64 = normal.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let share = if total > 0.0 { NORMAL } else { 1.0 };
    density.iter().zip(normal).map(|(d, n)| (1.0 - share) * d + share * n / sum).collect()
}

/// One channel's problem.
struct Channel<'a> {
    grid: &'a Grid,
    exact: &'a [f64],
    /// The density of the values alone.
    seen: &'a [f64],
    /// Their mean drift.
    drift: &'a [f64],
    /// What is wanted where values are.
    wanted: Vec<f64>,
    /// The density that is fitted to.
    density: Vec<f64>,
    /// Largest error that is near.
    bound: f64,
    floor: Option<f64>,
}

impl Channel<'_> {
    fn fit(&self, degree: usize) -> Option<(Series, Quality)> {
        let basis: Vec<usize> = (0..=degree).collect();
        let mut guard = GUARD;
        loop {
            let weights = fit::guarded(&self.density, guard);
            let share = (1.0 - guard) * (1.0 - NORMAL);
            let seen = (self.drift, self.seen);
            let target = fit::shifted(self.exact, seen, share, &weights);
            let series = fit::solve(self.grid, &weights, &target, &basis, self.floor)?;
            let seen = (&self.wanted[..], self.seen);
            let mut quality = fit::measured(self.grid, self.exact, seen, &series, degree);
            quality.near = quality.max_error <= self.bound;
            if quality.near || guard >= 1.0 {
                return Some((series, quality));
            }
            guard = (guard * 4.0).min(1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use heplan_ir::function::Function;

    use super::*;
    use crate::options::Method;

    /// Channels with means from -1.5 to 1.5 deviations, by the quantiles of a logistic
    /// distribution.
    fn channels(deviation: f64) -> (Window, Vec<(u32, f64)>) {
        let means: Vec<f64> = (0..7u32).map(|c| (f64::from(c) - 3.0) / 2.0 * deviation).collect();
        let mut values = Vec::new();
        for (c, mean) in means.iter().enumerate() {
            for i in 1..200 {
                let q = f64::from(i) / 200.0;
                values.push((c as u32, mean + deviation * 0.55 * (q / (1.0 - q)).ln()));
            }
        }
        let window = Window {
            scale: vec![deviation; means.len()],
            centre: means,
            class: (0..7).collect(),
            low: -5.0,
            high: 5.0,
        };
        (window, values)
    }

    #[test]
    fn channels_with_means_of_their_own_are_met_better_than_by_one_polynomial() {
        let (own, values) = channels(2.0);
        let shared = Window {
            centre: vec![0.0],
            scale: vec![1.0],
            class: Vec::new(),
            low: -14.0,
            high: 14.0,
        };
        for degree in [3, 4, 8] {
            let wish = Wish {
                function: &Function::Relu,
                shared: &shared,
                own: Some(&own),
                values: &values,
                drift: &[],
                bearable: f64::INFINITY,
                deep: false,
                undone: true,
                degree,
                method: Method::LeastSquares,
            };
            let found = fit::of_degree(&wish).unwrap();
            let one = fit::of_degree(&Wish { own: None, ..wish }).unwrap();
            assert_eq!((found.series.len(), one.series.len()), (7, 1));
            let rms = |f: &Fit| {
                let square = |&(e, x): &(u32, f64)| {
                    (f.eval(e as usize, &[x])[0] - Function::Relu.eval(x)).powi(2)
                };
                (values.iter().map(square).sum::<f64>() / values.len() as f64).sqrt()
            };
            assert!(rms(&found) < 0.85 * rms(&one), "{degree}: {} {}", rms(&found), rms(&one));
            // What the fit says of itself is what evaluation finds.
            for f in [&found, &one] {
                assert!((rms(f) - f.rms).abs() < 0.02 * rms(f), "{} {}", rms(f), f.rms);
            }
            assert_eq!(found.set().monic().is_some(), degree != 3, "{degree}");
        }
    }

    #[test]
    fn a_channel_that_is_always_off_stays_off() {
        let (mut own, values) = channels(1.0);
        own.centre[0] = -40.0;
        let values: Vec<(u32, f64)> =
            values.into_iter().map(|(e, x)| (e, if e == 0 { x - 38.5 } else { x })).collect();
        let wish = Wish {
            function: &Function::Relu,
            shared: &own,
            own: Some(&own),
            values: &values,
            drift: &[],
            bearable: f64::INFINITY,
            deep: false,
            undone: true,
            degree: 4,
            method: Method::LeastSquares,
        };
        let found = fit(&wish, &own).unwrap();
        for u in [-5.0, -1.0, 0.0, 3.0, 5.0] {
            assert!(
                found.eval(0, &[-40.0 + u])[0].abs() < 0.01,
                "{}",
                found.eval(0, &[-40.0 + u])[0]
            );
        }
        assert!(found.series[0].coefficients.iter().all(|c| c.is_finite() && c.abs() < 1e4));
    }
}
