//! How well two sets of numbers agree, in bits, and how often two classifiers do.

/// Bits reported where an error is zero or smaller: the precision of `f64`.
const MOST_BITS: f64 = 53.0;

/// Statistics of the error `|found - expected|` over many numbers.
///
/// Bits are `-log2` of an absolute error, at most 53; a negative number of bits is an error above 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrecisionStats {
    /// How many numbers were compared.
    pub count: usize,
    /// The largest error; infinite if a number found is not finite.
    pub max_error: f64,
    /// The mean error.
    pub mean_error: f64,
    /// The root of the mean squared error.
    pub rms_error: f64,
    /// Bits of the largest error.
    pub min_bits: f64,
    /// Bits of the median error.
    pub median_bits: f64,
    /// Bits of the mean error.
    pub mean_bits: f64,
    /// The smallest and the largest number expected.
    pub range: (f64, f64),
}

impl PrecisionStats {
    /// Compares pairs of (expected, found); `None` if there is none.
    pub fn of(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let mut errors = Vec::new();
        let mut range = (f64::INFINITY, f64::NEG_INFINITY);
        for (expected, found) in pairs {
            let error = (found - expected).abs();
            errors.push(if error.is_nan() { f64::INFINITY } else { error });
            range = (range.0.min(expected), range.1.max(expected));
        }
        errors.sort_unstable_by(f64::total_cmp);
        let max_error = *errors.last()?;
        let count = errors.len();
        let mean = |f: fn(f64) -> f64| errors.iter().map(|&e| f(e)).sum::<f64>() / count as f64;
        let mean_error = mean(|e| e);
        Some(Self {
            count,
            max_error,
            mean_error,
            rms_error: mean(|e| e * e).sqrt(),
            min_bits: bits(max_error),
            median_bits: bits(errors[count / 2]),
            mean_bits: bits(mean_error),
            range,
        })
    }

    /// The largest error as a share of the range of the expected numbers; infinite where that range
    /// is empty but the error is not.
    pub fn relative_error(&self) -> f64 {
        let span = self.range.1 - self.range.0;
        if self.max_error == 0.0 { 0.0 } else { self.max_error / span }
    }

    /// Bits of [`relative_error`](Self::relative_error).
    pub fn relative_bits(&self) -> f64 {
        bits(self.relative_error())
    }
}

/// `-log2` of an error, at most 53.
pub fn bits(error: f64) -> f64 {
    (-error.log2()).min(MOST_BITS)
}

/// The position of the largest number, the first of equals; `None` if there is none or if one is
/// not a number.
pub fn argmax(scores: &[f64]) -> Option<usize> {
    if scores.iter().any(|s| s.is_nan()) {
        return None;
    }
    (0..scores.len()).reduce(|best, i| if scores[i] > scores[best] { i } else { best })
}

/// How many of the samples have their largest score in the same place, and how many samples there
/// are. A sample without a largest score on either side does not agree.
pub fn argmax_agreement<'a>(
    samples: impl IntoIterator<Item = (&'a [f64], &'a [f64])>,
) -> (usize, usize) {
    samples.into_iter().fold((0, 0), |(agreed, count), (a, b)| {
        let same = argmax(a).is_some_and(|i| argmax(b) == Some(i));
        (agreed + usize::from(same), count + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_known_errors() {
        let expected = [0.0, 1.0, -3.0, 0.5];
        let errors = [0.0, 0.25, -0.5, 0.25];
        let stats = PrecisionStats::of(expected.iter().zip(errors).map(|(&x, e)| (x, x + e)));
        let stats = stats.expect("four numbers");
        assert_eq!((stats.max_error, stats.mean_error), (0.5, 0.25));
        assert_eq!((stats.min_bits, stats.median_bits, stats.mean_bits), (1.0, 2.0, 2.0));
        assert_eq!(stats.range, (-3.0, 1.0));
        assert_eq!(stats.relative_bits(), 3.0);
        assert!((stats.rms_error - (0.375_f64 / 4.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn what_is_not_finite_is_an_infinite_error() {
        for bad in [f64::NAN, f64::INFINITY] {
            let stats = PrecisionStats::of([(0.0, 0.0), (1.0, bad)]).expect("two numbers");
            assert_eq!(stats.min_bits, f64::NEG_INFINITY);
        }
        assert!(PrecisionStats::of([]).is_none());
    }

    #[test]
    fn argmax_takes_the_first_of_equals_and_refuses_nan() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(argmax(&[f64::NAN, 3.0]), None);
        assert_eq!(argmax(&[]), None);
        let (a, b): (&[f64], &[f64]) = (&[0.0, 1.0], &[5.0, 1.0]);
        assert_eq!(argmax_agreement([(a, a), (a, b)]), (1, 2));
    }
}
