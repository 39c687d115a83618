//! Costs from measurements: those under which the model comes closest to what was measured.
//!
//! Every measurement is a linear equation: its work times the unknown costs is its seconds. Relative errors count, so
//! that a sum of two limbs weighs as much as a product with a matrix, and costs stay positive: coordinate descent on the
//! normal equations, from the stored costs, which a measurement that says nothing of a cost leaves where it was.

use super::Costs;
use super::work::{TERMS, Work};

/// How strongly a cost is held to where it stood: little beside one measurement.
const HOLD: f64 = 1e-3;
/// The least share of the former cost.
const LEAST: f64 = 0.02;
/// Rounds of the descent; far more than it takes to settle.
const ROUNDS: usize = 5000;

/// Work and the seconds that it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// What was done.
    pub work: Work,
    /// How long it took, on one thread.
    pub seconds: f64,
}

impl Costs {
    /// The costs that explain the observations best, starting from `self`.
    #[must_use]
    pub fn fitted(&self, observations: &[Observation]) -> Self {
        let former = self.named().map(|(_, seconds)| seconds);
        // Unknown are the factors by which the costs change; one row per observation, relative to its seconds.
        let mut normal = [[0.0; TERMS]; TERMS];
        let mut right = [HOLD; TERMS];
        (0..TERMS).for_each(|i| normal[i][i] = HOLD);
        for o in observations.iter().filter(|o| o.seconds > 0.0 && o.seconds.is_finite()) {
            let counts = o.work.terms();
            let row: [f64; TERMS] = std::array::from_fn(|i| counts[i] * former[i] / o.seconds);
            for i in 0..TERMS {
                right[i] += row[i];
                (0..TERMS).for_each(|j| normal[i][j] += row[i] * row[j]);
            }
        }
        let mut factors = [1.0; TERMS];
        for _ in 0..ROUNDS {
            for i in 0..TERMS {
                let others: f64 =
                    (0..TERMS).filter(|&j| j != i).map(|j| normal[i][j] * factors[j]).sum();
                factors[i] = ((right[i] - others) / normal[i][i]).max(LEAST);
            }
        }
        Self::from_terms(std::array::from_fn(|i| former[i] * factors[i]))
    }

    /// The largest and the root mean square relative error of the model on the observations.
    pub fn errors(&self, observations: &[Observation]) -> (f64, f64) {
        let error = |o: &Observation| self.seconds(&o.work) / o.seconds - 1.0;
        let largest = observations.iter().map(|o| error(o).abs()).fold(0.0, f64::max);
        let squares: f64 = observations.iter().map(|o| error(o).powi(2)).sum();
        (largest, (squares / observations.len().max(1) as f64).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Place;

    #[test]
    fn costs_that_made_the_observations_are_found_again() {
        let truth = Costs::from_terms(std::array::from_fn(|i| 1e-10 * (1.0 + i as f64)));
        let mut observations = Vec::new();
        for (log_n, level, digit_size, special) in [(13, 3, 1, 1), (14, 6, 3, 3), (15, 9, 2, 2)] {
            let (long, long_special) = (1 + level / 2, special / 2);
            let at = Place { log_n, level, digit_size, special, long, long_special };
            let short = Place { long: 0, long_special: 0, ..at };
            let works = [
                Work::transforms(at.degree(), at.own_limbs()),
                Work::inner_product(&at),
                Work::inner_product(&short),
                Work::products(&at, 1),
                Work::additions(&at, 1),
                Work::conversions(&at, 3),
                Work::rotate(&at),
                Work::rescale(&at, 1),
                Work::encode(1 << (log_n - 1)),
                Work::expand_key(&at),
                Work::fresh(1 << log_n),
            ];
            let seen = |work: Work| Observation { work, seconds: truth.seconds(&work) };
            observations.extend(works.map(seen));
        }
        let former = Costs::from_terms([4e-10; TERMS]);
        let found = former.fitted(&observations);
        assert!(found.errors(&observations).0 < 0.02, "{found:?}");
        for ((name, x), (_, y)) in found.named().into_iter().zip(truth.named()) {
            if name.ends_with("diagonal") {
                assert!((x / 4e-10 - 1.0).abs() < 1e-9, "nothing told of it");
            } else {
                assert!((x / y - 1.0).abs() < 0.05, "{name}: {x:e} for {y:e}");
            }
        }
    }
}
