//! Polynomials in the Chebyshev basis on [-1, 1].

/// `p(x) = Σ c_k T_k(x)`, meant for `x` in [-1, 1].
///
/// The affine map before the polynomial brings the calibrated range to [-1, 1].
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Series {
    /// Coefficients, `c_0` first; never empty once verified.
    pub coefficients: Vec<f64>,
}

impl Series {
    /// The index of the last non-zero coefficient.
    pub fn degree(&self) -> usize {
        self.coefficients.iter().rposition(|&c| c != 0.0).unwrap_or(0)
    }

    /// The value at `x` (Clenshaw's recurrence).
    pub fn eval(&self, x: f64) -> f64 {
        let (mut b1, mut b2) = (0.0, 0.0);
        for &c in self.coefficients.iter().skip(1).rev() {
            (b1, b2) = (c + 2.0 * x * b1 - b2, b1);
        }
        self.coefficients.first().copied().unwrap_or(0.0) + x * b1 - b2
    }

    /// Levels that its evaluation consumes: `⌈log2(degree + 1)⌉`.
    pub fn depth(&self) -> u32 {
        usize::BITS - self.degree().leading_zeros()
    }
}

/// The polynomials of one `Polynomial` node: one for all elements, or one per class of elements.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct PolynomialSet {
    /// The distinct polynomials.
    pub series: Vec<Series>,
    /// For every element of the tensor, the index into `series`; empty when there is one series.
    pub class: Vec<u32>,
}

impl PolynomialSet {
    /// The same polynomial for every element.
    pub fn shared(series: Series) -> Self {
        Self { series: vec![series], class: Vec::new() }
    }

    /// The series of element `e`.
    pub fn of(&self, e: usize) -> &Series {
        &self.series[self.class.get(e).map_or(0, |&c| c as usize)]
    }

    /// The largest degree.
    pub fn degree(&self) -> usize {
        self.series.iter().map(Series::degree).max().unwrap_or(0)
    }

    /// Levels that evaluation consumes.
    pub fn depth(&self) -> u32 {
        self.series.iter().map(Series::depth).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clenshaw_agrees_with_the_cosine_definition() {
        let p = Series { coefficients: vec![0.5, -1.0, 0.25, 2.0, 0.125] };
        for i in 0..=20 {
            let x = f64::from(i) / 10.0 - 1.0;
            let direct: f64 = p
                .coefficients
                .iter()
                .enumerate()
                .map(|(k, c)| c * (k as f64 * x.acos()).cos())
                .sum();
            assert!((p.eval(x) - direct).abs() < 1e-12);
        }
    }

    #[test]
    fn depth_is_the_bit_length_of_the_degree() {
        let of = |d: usize| Series { coefficients: [vec![0.0; d], vec![1.0]].concat() }.depth();
        assert_eq!([0, 1, 2, 3, 4, 7, 8, 15, 16].map(of), [0, 1, 2, 2, 3, 3, 4, 4, 5]);
    }
}
