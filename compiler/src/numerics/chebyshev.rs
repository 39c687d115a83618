//! Fits of Chebyshev series on [-1, 1]: weighted least squares and minimax.
//!
//! Both work on the Chebyshev points `t_j = cos(π(j + 1/2)/N)`, on which equal weights are the
//! Chebyshev density. The basis functions are `T_k` for chosen `k`, so that even and odd series
//! need no other code.

use heplan_ir::series::Series;

/// Passes of Lawson's iteration at most.
const LAWSON_PASSES: usize = 200;

/// The Chebyshev points of the first kind, from 1 down to -1.
#[derive(Clone, Debug)]
pub struct Grid {
    /// The points.
    pub points: Vec<f64>,
}

impl Grid {
    /// `n` points.
    pub fn new(n: usize) -> Self {
        let angle = |j: usize| (j as f64 + 0.5) * std::f64::consts::PI / n as f64;
        Self { points: (0..n).map(|j| angle(j).cos()).collect() }
    }

    /// The index of the point whose cell holds `t`, `-1 ≤ t ≤ 1`.
    pub fn cell(&self, t: f64) -> usize {
        let n = self.points.len();
        let at = t.clamp(-1.0, 1.0).acos() / std::f64::consts::PI * n as f64;
        (at as usize).min(n - 1)
    }

    /// The series `Σ_{k ∈ basis} c_k T_k` that minimises `Σ_j w_j (p(t_j) - f_j)²`.
    ///
    /// Solves the normal equations by Cholesky's method: the Gram matrix of `T_k` is
    /// `(m_{|k-l|} + m_{k+l})/2` with the moments `m_k = Σ w_j T_k(t_j)`, and its condition number
    /// is at most about the ratio of the largest to the smallest weight. Returns `None` if it is
    /// numerically singular.
    ///
    /// # Panics
    /// If weights or targets are not one per point.
    pub fn least_squares(
        &self,
        weights: &[f64],
        target: &[f64],
        basis: &[usize],
    ) -> Option<Series> {
        assert_eq!((weights.len(), target.len()), (self.points.len(), self.points.len()));
        let degree = basis.iter().copied().max().unwrap_or(0);
        let mut moment = vec![0.0; 2 * degree + 1];
        let mut right = vec![0.0; degree + 1];
        for ((&t, &w), &f) in self.points.iter().zip(weights).zip(target) {
            let (mut before, mut now) = (t, 1.0);
            for (k, m) in moment.iter_mut().enumerate() {
                *m += w * now;
                if let Some(r) = right.get_mut(k) {
                    *r += w * f * now;
                }
                (before, now) = (now, 2.0 * t * now - before);
            }
        }
        let gram = basis.iter().map(|&k| {
            basis.iter().map(|&l| (moment[k.abs_diff(l)] + moment[k + l]) / 2.0).collect()
        });
        let solution = cholesky(gram.collect(), basis.iter().map(|&k| right[k]).collect())?;
        let mut coefficients = vec![0.0; degree + 1];
        for (&k, c) in basis.iter().zip(solution) {
            coefficients[k] = c;
        }
        Some(Series { coefficients })
    }

    /// The series over `basis` whose largest error on the grid is the least, by Lawson's
    /// iteratively reweighted least squares (C. L. Lawson, 1961; the error of the best series so
    /// far is at most a percent above the optimum when it stops).
    pub fn minimax(&self, target: &[f64], basis: &[usize]) -> Option<Series> {
        let n = self.points.len() as f64;
        let mut weights = vec![1.0 / n; self.points.len()];
        let mut best: Option<(f64, Series)> = None;
        for _ in 0..LAWSON_PASSES {
            let Some(series) = self.least_squares(&weights, target, basis) else { break };
            let errors: Vec<f64> =
                self.points.iter().zip(target).map(|(&t, f)| (series.eval(t) - f).abs()).collect();
            let largest = errors.iter().copied().fold(0.0, f64::max);
            // The weighted mean error never exceeds the optimum, which bounds the gap.
            let mean = weights.iter().zip(&errors).map(|(w, e)| w * e * e).sum::<f64>().sqrt();
            if best.as_ref().is_none_or(|b| largest < b.0) {
                best = Some((largest, series));
            }
            let gap = best.as_ref().map_or(f64::INFINITY, |b| b.0 - mean);
            if largest <= f64::EPSILON || gap <= 0.01 * mean {
                break;
            }
            weights.iter_mut().zip(&errors).for_each(|(w, e)| *w *= e);
            let sum: f64 = weights.iter().sum();
            // A floor keeps the normal equations regular where the error happens to vanish.
            weights.iter_mut().for_each(|w| *w = (*w / sum).max(1e-12));
        }
        best.map(|b| b.1)
    }
}

/// Solves `A·x = b` for a symmetric positive definite matrix.
fn cholesky(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Option<Vec<f64>> {
    let n = b.len();
    for i in 0..n {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
            let rest = a[i][j] - dot;
            if i == j {
                if rest <= a[i][i] * 1e-14 {
                    return None;
                }
                a[i][i] = rest.sqrt();
            } else {
                a[i][j] = rest / a[j][j];
            }
        }
    }
    for i in 0..n {
        let dot: f64 = (0..i).map(|k| a[i][k] * b[k]).sum();
        b[i] = (b[i] - dot) / a[i][i];
    }
    for i in (0..n).rev() {
        let dot: f64 = (i + 1..n).map(|k| a[k][i] * b[k]).sum();
        b[i] = (b[i] - dot) / a[i][i];
    }
    Some(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(degree: usize) -> Vec<usize> {
        (0..=degree).collect()
    }

    fn largest(grid: &Grid, p: &Series, f: impl Fn(f64) -> f64) -> f64 {
        grid.points.iter().map(|&t| (p.eval(t) - f(t)).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn a_polynomial_is_found_exactly() {
        let grid = Grid::new(500);
        let target: Vec<f64> = grid.points.iter().map(|t| t.powi(5) - 0.5 * t + 2.0).collect();
        let weights: Vec<f64> = grid.points.iter().map(|t| (3.0 * t).exp()).collect();
        let p = grid.least_squares(&weights, &target, &all(7)).unwrap();
        // t^5 = (10 T_1 + 5 T_3 + T_5)/16.
        for (c, want) in p.coefficients.iter().zip([2.0, 0.125, 0.0, 0.3125, 0.0, 0.0625, 0.0, 0.0])
        {
            assert!((c - want).abs() < 1e-12, "{:?}", p.coefficients);
        }
    }

    #[test]
    fn the_residual_is_orthogonal_to_the_basis_up_to_degree_127() {
        let grid = Grid::new(2048);
        let target: Vec<f64> = grid.points.iter().map(|t| (t - 0.3).max(0.0)).collect();
        // A narrow density with a guard of one part in a thousand.
        let weights: Vec<f64> =
            grid.points.iter().map(|t| (-(t / 0.1).powi(2)).exp() + 1e-3).collect();
        for degree in [3, 15, 63, 127] {
            let p = grid.least_squares(&weights, &target, &all(degree)).unwrap();
            for k in 0..=degree {
                let dot: f64 = (0..2048)
                    .map(|j| {
                        let t = grid.points[j];
                        weights[j] * (p.eval(t) - target[j]) * (k as f64 * t.acos()).cos()
                    })
                    .sum();
                assert!(dot.abs() < 1e-9, "degree {degree}, T_{k}: {dot}");
            }
        }
    }

    #[test]
    fn equal_weights_give_the_chebyshev_series() {
        // |t| = 2/π - (4/π) Σ (-1)^k T_{2k}/(4k² - 1).
        let grid = Grid::new(4096);
        let target: Vec<f64> = grid.points.iter().map(|t| t.abs()).collect();
        let p = grid.least_squares(&vec![1.0; 4096], &target, &all(8)).unwrap();
        let pi = std::f64::consts::PI;
        assert!((p.coefficients[0] - 2.0 / pi).abs() < 1e-6);
        for k in 1..=4 {
            let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
            let want = -4.0 / pi * sign / (4.0 * (k * k) as f64 - 1.0);
            assert!((p.coefficients[2 * k] - want).abs() < 1e-6, "{:?}", p.coefficients);
        }
    }

    #[test]
    fn minimax_of_the_magnitude_is_bernsteins() {
        // Best errors of |x| by even polynomials (Varga and Carpenter, 1985, table 2.1).
        let grid = Grid::new(2000);
        let target: Vec<f64> = grid.points.iter().map(|t| t.abs()).collect();
        for (degree, error) in [(2, 0.125), (4, 0.067_620_9), (8, 0.034_730_2), (16, 0.017_508_3)] {
            let basis: Vec<usize> = (0..=degree).step_by(2).collect();
            let p = grid.minimax(&target, &basis).unwrap();
            let found = largest(&grid, &p, f64::abs);
            assert!(found < error * 1.02 && found > error * 0.98, "degree {degree}: {found}");
        }
    }

    #[test]
    fn minimax_of_the_exponential() {
        // The error of the best cubic is about 2^-3/4!·(1 + small).
        let grid = Grid::new(1000);
        let target: Vec<f64> = grid.points.iter().map(|t| t.exp()).collect();
        let p = grid.minimax(&target, &all(3)).unwrap();
        assert!((largest(&grid, &p, f64::exp) - 0.005_53).abs() < 1e-4);
    }

    #[test]
    fn cells_hold_their_points() {
        let grid = Grid::new(97);
        for (j, &t) in grid.points.iter().enumerate() {
            assert_eq!(grid.cell(t), j);
        }
        assert_eq!((grid.cell(1.0), grid.cell(-1.0)), (0, 96));
    }
}
