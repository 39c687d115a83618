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
        self.eval_lanes([x])[0]
    }

    /// The values at several places side by side, each as [`eval`](Self::eval) gives it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "callers choose the instruction set")]
    pub fn eval_lanes<const L: usize>(&self, x: [f64; L]) -> [f64; L] {
        let (mut b1, mut b2) = ([0.0; L], [0.0; L]);
        for &c in self.coefficients.iter().skip(1).rev() {
            for l in 0..L {
                (b1[l], b2[l]) = (c + 2.0 * x[l] * b1[l] - b2[l], b1[l]);
            }
        }
        let first = self.coefficients.first().copied().unwrap_or(0.0);
        let mut y = [0.0; L];
        for l in 0..L {
            y[l] = first + x[l] * b1[l] - b2[l];
        }
        y
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

    /// `m` where every series is `T_{2m}` plus terms of lower degree and `m` is a power of two.
    ///
    /// `T_{2m} = 2·T_m² - 1` then takes no coefficient, so that the set is evaluated in
    /// `log2(2m)` levels, one less than others of its degree; in exchange its result has the scale
    /// that the square gives, whatever is asked for.
    pub fn monic(&self) -> Option<usize> {
        let degree = self.degree();
        let leads = |s: &Series| s.degree() == degree && s.coefficients[degree] == 1.0;
        let fits = degree >= 2 && degree.is_power_of_two() && self.series.iter().all(leads);
        fits.then_some(degree / 2)
    }

    /// Levels that evaluation consumes: `⌈log2(degree + 1)⌉`, or `log2(degree)` if
    /// [`monic`](Self::monic).
    pub fn depth(&self) -> u32 {
        match self.monic() {
            Some(half) => half.trailing_zeros() + 1,
            None => self.series.iter().map(Series::depth).max().unwrap_or(0),
        }
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
    fn a_leading_one_saves_a_level_at_powers_of_two() {
        let of = |d: usize, lead: f64| {
            let series = Series { coefficients: [vec![0.5; d], vec![lead]].concat() };
            PolynomialSet { series: vec![series.clone(), series], class: vec![0, 1] }.depth()
        };
        assert_eq!([1, 2, 3, 4, 8, 9].map(|d| of(d, 1.0)), [1, 1, 2, 2, 3, 4]);
        assert_eq!([2, 4, 8].map(|d| of(d, 0.5)), [2, 3, 4]);
    }

    #[test]
    fn depth_is_the_bit_length_of_the_degree() {
        let of = |d: usize| Series { coefficients: [vec![0.0; d], vec![1.0]].concat() }.depth();
        assert_eq!([0, 1, 2, 3, 4, 7, 8, 15, 16].map(of), [0, 1, 2, 2, 3, 3, 4, 4, 5]);
    }
}
