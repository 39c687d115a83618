//! What calibration saw of every single element of an input, where elements have units of their own.
//!
//! A range of the whole input says little of a table's row: where one column holds thousands and another hundredths, 30 is
//! far outside for the second and within the range of the whole. So the client gets a range for every column.
//! It is rounded outwards to three binary digits, so that it tells no number of the calibration set.

use serde::{Deserialize, Serialize};

/// More elements than a row of a table has.
const MAX_ELEMENTS: usize = 4096;

/// Fewer samples say nothing about single elements.
const MIN_SAMPLES: usize = 16;

/// Elements have units of their own if half of them span less than this part of the whole range.
const OWN_UNITS: f64 = 1.0 / 16.0;

/// The ranges of an input's elements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// Number of the input.
    pub input: usize,
    /// The least and the largest value of every element, in row-major order, rounded outwards.
    pub ranges: Vec<(f64, f64)>,
}

impl Features {
    /// The ranges of what the samples of input number `input` hold, one row each; none if there are too few of them, or if
    /// the elements seem to share a unit, as those of an image do.
    pub fn seen(input: usize, samples: &[&[f64]]) -> Option<Self> {
        let elements = samples.first()?.len();
        if samples.len() < MIN_SAMPLES || !(2..=MAX_ELEMENTS).contains(&elements) {
            return None;
        }
        let range = |i: usize| {
            let values = samples.iter().map(|sample| sample[i]);
            let widen = |(low, high): (f64, f64), x: f64| (low.min(x), high.max(x));
            values.fold((f64::INFINITY, f64::NEG_INFINITY), widen)
        };
        let ranges: Vec<(f64, f64)> = (0..elements).map(range).collect();
        let low = ranges.iter().map(|r| r.0).fold(f64::INFINITY, f64::min);
        let high = ranges.iter().map(|r| r.1).fold(f64::NEG_INFINITY, f64::max);
        let narrow = |r: &&(f64, f64)| r.1 - r.0 < OWN_UNITS * (high - low);
        if 2 * ranges.iter().filter(narrow).count() < elements {
            return None;
        }
        let rounded = |(low, high): (f64, f64)| (-outwards(-low), outwards(high));
        Some(Self { input, ranges: ranges.into_iter().map(rounded).collect() })
    }

    /// By how many times the span of element `i` a value lies beyond it, if by more than once.
    ///
    /// An element that never varied says nothing.
    pub fn beyond(&self, i: usize, x: f64) -> Option<f64> {
        let &(low, high) = self.ranges.get(i)?;
        let times = (low - x).max(x - high) / (high - low);
        (high > low && times > 1.0).then_some(times)
    }

    /// The ranges as a line of RON.
    pub fn to_text(&self) -> String {
        ron::to_string(self).expect("plain data serialises")
    }

    /// Reads [`Self::to_text`].
    ///
    /// # Errors
    /// If it is something else.
    pub fn from_text(text: &str) -> Result<Self, String> {
        ron::from_str(text).map_err(|e| e.to_string())
    }
}

/// The next number from `x` upwards that has at most three binary digits.
fn outwards(x: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let unit = 2f64.powi(x.abs().log2().floor() as i32 - 2);
    (x / unit).ceil() * unit
}

/// What is wrong with features of inputs with these numbers of elements.
pub fn problems(features: &[Features], inputs: &[usize]) -> Vec<String> {
    let mut found = Vec::new();
    let mut before = None;
    for f in features {
        if before.is_some_and(|before| before >= f.input) {
            found.push(format!("features of input {} are out of order", f.input));
        }
        before = Some(f.input);
        match inputs.get(f.input) {
            None => found.push(format!("features of input {} of {}", f.input, inputs.len())),
            Some(&elements) if elements != f.ranges.len() => {
                let ranges = f.ranges.len();
                found.push(format!("{ranges} features of an input of {elements} elements"));
            }
            Some(_) => {}
        }
        let sound = |&(low, high): &(f64, f64)| low.is_finite() && high.is_finite() && low <= high;
        if !f.ranges.iter().all(sound) {
            found.push(format!("a feature of input {} has no range", f.input));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_a_table_have_ranges_that_tell_no_number() {
        let rows: Vec<Vec<f64>> =
            (0..20).map(|i| vec![f64::from(i) * 100.0, 0.007 * f64::from(i), -0.3, 5.0]).collect();
        let rows: Vec<&[f64]> = rows.iter().map(|row| &row[..]).collect();
        let features = Features::seen(1, &rows).unwrap();
        assert_eq!(features.ranges, [(0.0, 2048.0), (0.0, 0.15625), (-0.3125, -0.25), (5.0, 5.0)]);
        assert_eq!(features.beyond(1, 30.0).map(f64::floor), Some(191.0));
        assert_eq!((features.beyond(1, 0.2), features.beyond(0, 4000.0)), (None, None));
        assert_eq!((features.beyond(3, 80.0), features.beyond(4, 1.0)), (None, None));
        assert_eq!(Features::from_text(&features.to_text()), Ok(features.clone()));
        assert!(problems(std::slice::from_ref(&features), &[9, 4]).is_empty());
        assert_eq!(problems(std::slice::from_ref(&features), &[9]).len(), 1);
        assert_eq!(problems(&[features.clone(), features], &[9, 3]).len(), 3);
    }

    #[test]
    fn pixels_share_a_unit_and_few_samples_say_nothing() {
        let row =
            |i: usize| -> Vec<f64> { (0..10).map(|k| ((i * 7 + k * 3) % 11) as f64).collect() };
        let rows: Vec<Vec<f64>> = (0..30).map(row).collect();
        let rows: Vec<&[f64]> = rows.iter().map(|row| &row[..]).collect();
        assert_eq!(Features::seen(0, &rows), None);
        assert_eq!(Features::seen(0, &[&[1.0, 1e6], &[2.0, 2e6]]), None);
        assert_eq!(Features::seen(0, &[]), None);
    }
}
