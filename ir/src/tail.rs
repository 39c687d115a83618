//! The client's tail: what is computed on decrypted numbers, after the plan has ended.
//!
//! Softmax, argmax and labels at the very end of a model say nothing that the client may not know:
//! it has the scores. So the plan ends before them, and `decrypt` applies them in the clear,
//! exactly and at no level. An [`Answer`] is one output of the model: which output of the plan it
//! starts from, and the steps. It holds no weight but the labels of classes.
//!
//! Steps that decide (a place, a comparison, a rounding) decide about approximate numbers: where
//! the float model's margin is smaller than the plan's error, the answer may be the other one
//! ([`Step::decides`]).
//!
//! Answers come from files, so [`problems`] bounds everything before [`Answer::apply`] relies on it.

mod apply;

use serde::{Deserialize, Serialize};

/// More steps than any model has at its end.
const MAX_STEPS: usize = 64;
/// More elements than any answer has.
const MAX_ELEMENTS: usize = 1 << 27;
/// More answers than any model has.
const MAX_ANSWERS: usize = 1 << 16;

/// The groups of a tensor along some of its neighbouring axes: element `e` is at place
/// `e / inner % length` of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Along {
    /// Elements of a group.
    pub length: usize,
    /// Distance between neighbours of a group.
    pub inner: usize,
}

/// What `Normalizer` divides a group by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Norm {
    /// The largest magnitude.
    Max,
    /// The sum of magnitudes.
    L1,
    /// The root of the sum of squares.
    L2,
}

/// To which whole number [`Step::Round`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rounding {
    /// The next lower.
    Down,
    /// The next higher.
    Up,
    /// The nearest; halves go to the even one.
    Nearest,
    /// The next towards zero.
    TowardsZero,
}

/// One step on a whole tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Step {
    /// `1 / (1 + exp(-x))` of every element.
    Sigmoid,
    /// `exp(x) / Σ exp(x)` within every group.
    Softmax(Along),
    /// The logarithm of the softmax.
    LogSoftmax(Along),
    /// One at the first largest element of every group, zero elsewhere.
    Hardmax(Along),
    /// The place of the largest element of every group: one element per group is left.
    ArgMax {
        /// The groups.
        along: Along,
        /// Whether the last of equal elements counts, not the first.
        last: bool,
    },
    /// The same with the smallest element.
    ArgMin {
        /// The groups.
        along: Along,
        /// Whether the last of equal elements counts, not the first.
        last: bool,
    },
    /// Division by a norm of the group; a group of norm zero stays.
    Normalise {
        /// The norm.
        norm: Norm,
        /// The groups.
        along: Along,
    },
    /// The number at the place that an element names: class labels. It follows a step that gives
    /// places, or a `Compare`, whose answers are places 0 and 1.
    Lookup(Vec<f64>),
    /// The `k` largest (or smallest) elements of every group, the most extreme first.
    TopValues {
        /// The groups.
        along: Along,
        /// How many are left of every group.
        k: usize,
        /// Whether the largest are meant.
        largest: bool,
    },
    /// The places of what `TopValues` gives; of equal elements the first comes first.
    TopPlaces {
        /// The groups.
        along: Along,
        /// How many are left of every group.
        k: usize,
        /// Whether the largest are meant.
        largest: bool,
    },
    /// Every element becomes a group of `depth`: `values[1]` at the place that the nearest whole
    /// number names (from the end where it is negative), `values[0]` elsewhere.
    OneHot {
        /// Elements of a new group.
        depth: usize,
        /// Distance between neighbours of a new group.
        inner: usize,
        /// What stands elsewhere, and what stands at the place.
        values: [f64; 2],
    },
    /// One where an element is above (or below) a bound, zero elsewhere. Where the model compares
    /// with weights or with encrypted data, the plan gives the difference and the bound is zero.
    Compare {
        /// The bound.
        bound: f64,
        /// Whether above is meant.
        above: bool,
        /// Whether the bound itself counts.
        or_equal: bool,
    },
    /// The whole number next to every element.
    Round(Rounding),
    /// The element, or the bound that it is beyond.
    Clamp {
        /// The lower bound.
        min: f64,
        /// The upper bound.
        max: f64,
    },
    /// -1, 0 or 1: the sign of every element.
    Sign,
    /// The element where it is above `alpha`, zero elsewhere.
    ThresholdedRelu {
        /// The threshold.
        alpha: f64,
    },
    /// `x + bias` below `-lambd`, `x - bias` above `lambd`, zero between.
    Shrink {
        /// What the elements outside are moved by.
        bias: f64,
        /// Where those between end.
        lambd: f64,
    },
}

/// One output of the model, as the client gets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Its name in the model.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The index of the plan's output that it starts from.
    pub from: usize,
    /// What is applied to that, in order.
    pub steps: Vec<Step>,
}

impl Step {
    /// Its name, as in ONNX where there is one.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sigmoid => "Sigmoid",
            Self::Softmax(_) => "Softmax",
            Self::LogSoftmax(_) => "LogSoftmax",
            Self::Hardmax(_) => "Hardmax",
            Self::ArgMax { .. } => "ArgMax",
            Self::ArgMin { .. } => "ArgMin",
            Self::Normalise { .. } => "Normalizer",
            Self::Lookup(_) => "class labels",
            Self::TopValues { .. } | Self::TopPlaces { .. } => "TopK",
            Self::OneHot { .. } => "OneHot",
            Self::Compare { above: true, or_equal: false, .. } => "Greater",
            Self::Compare { above: true, or_equal: true, .. } => "GreaterOrEqual",
            Self::Compare { above: false, or_equal: false, .. } => "Less",
            Self::Compare { above: false, or_equal: true, .. } => "LessOrEqual",
            Self::Round(Rounding::Down) => "Floor",
            Self::Round(Rounding::Up) => "Ceil",
            Self::Round(Rounding::Nearest) => "Round",
            Self::Round(Rounding::TowardsZero) => "Trunc",
            Self::Clamp { .. } => "Clip",
            Self::Sign => "Sign",
            Self::ThresholdedRelu { .. } => "ThresholdedRelu",
            Self::Shrink { .. } => "Shrink",
        }
    }

    /// Whether it jumps: elements that lie within the plan's error of each other, or of a
    /// threshold, may be decided the other way.
    pub fn decides(&self) -> bool {
        !matches!(
            self,
            Self::Sigmoid
                | Self::Softmax(_)
                | Self::LogSoftmax(_)
                | Self::Normalise { .. }
                | Self::TopValues { .. }
                | Self::Lookup(_)
                | Self::Clamp { .. }
        )
    }

    /// The groups that it works within, if it has any.
    pub fn along(&self) -> Option<Along> {
        match self {
            Self::Softmax(along) | Self::LogSoftmax(along) | Self::Hardmax(along) => Some(*along),
            Self::ArgMax { along, .. }
            | Self::ArgMin { along, .. }
            | Self::TopValues { along, .. }
            | Self::TopPlaces { along, .. }
            | Self::Normalise { along, .. } => Some(*along),
            Self::OneHot { inner, .. } => Some(Along { length: 1, inner: *inner }),
            Self::Sigmoid
            | Self::Lookup(_)
            | Self::Compare { .. }
            | Self::Round(_)
            | Self::Clamp { .. }
            | Self::Sign
            | Self::ThresholdedRelu { .. }
            | Self::Shrink { .. } => None,
        }
    }

    /// Places that it can name, if it names places.
    fn places(&self) -> Option<usize> {
        match self {
            Self::ArgMax { along, .. }
            | Self::ArgMin { along, .. }
            | Self::TopPlaces { along, .. } => Some(along.length),
            Self::Compare { .. } => Some(2),
            _ => None,
        }
    }

    /// How many elements `count` become, if that many can be taken.
    fn left_of(&self, count: usize) -> Option<usize> {
        match self {
            Self::ArgMax { along, .. } | Self::ArgMin { along, .. } => Some(count / along.length),
            Self::TopValues { along, k, .. } | Self::TopPlaces { along, k, .. } => {
                (*k > 0 && *k <= along.length).then_some(count / along.length * k)
            }
            Self::OneHot { depth, .. } => {
                count.checked_mul(*depth).filter(|&n| n > 0 && n <= MAX_ELEMENTS)
            }
            _ => Some(count),
        }
    }

    /// Whether its numbers are numbers.
    fn is_finite(&self) -> bool {
        match self {
            Self::Lookup(table) => table.iter().all(|v| v.is_finite()),
            Self::OneHot { values, .. } => values.iter().all(|v| v.is_finite()),
            Self::ThresholdedRelu { alpha: v } | Self::Compare { bound: v, .. } => v.is_finite(),
            Self::Clamp { min, max } => min.is_finite() && max.is_finite() && min <= max,
            Self::Shrink { bias, lambd } => bias.is_finite() && lambd.is_finite(),
            _ => true,
        }
    }
}

impl Answer {
    /// The answer, row-major, from the elements of the plan's output that it starts from.
    ///
    /// # Panics
    /// If the answer has [`problems`] with that output.
    pub fn apply(&self, scores: &[f64]) -> Vec<f64> {
        self.steps.iter().fold(scores.to_vec(), |x, step| apply::step(step, x))
    }

    /// The answer in one line of RON.
    pub fn to_text(&self) -> String {
        ron::to_string(self).expect("plain data serialises")
    }

    /// Reads [`to_text`](Self::to_text).
    ///
    /// # Errors
    /// With what is wrong in the text.
    pub fn from_text(text: &str) -> Result<Self, String> {
        ron::from_str(text).map_err(|e| e.to_string())
    }

    fn problem(&self, outputs: &[usize]) -> Option<String> {
        let Some(&start) = outputs.get(self.from) else {
            return Some(format!("it starts from output {}, which is not there", self.from));
        };
        if self.steps.len() > MAX_STEPS {
            return Some(format!("it has {} steps, more than {MAX_STEPS}", self.steps.len()));
        }
        let mut count = start;
        let mut places = None;
        for step in &self.steps {
            if let Some(Along { length, inner }) = step.along() {
                let group = length.checked_mul(inner).filter(|&g| g > 0);
                if group.is_none_or(|g| !count.is_multiple_of(g)) {
                    let name = step.name();
                    return Some(format!("{name} of groups {length}·{inner} of {count} elements"));
                }
            }
            if let Step::Lookup(table) = step
                && places.is_none_or(|n| n > table.len())
            {
                return Some(format!("{} labels do not suit the places", table.len()));
            }
            let left = step.left_of(count).filter(|_| step.is_finite());
            let Some(left) = left else {
                return Some(format!("{} does not suit {count} elements", step.name()));
            };
            places = step.places();
            count = left;
        }
        let elements = self.shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
        (elements != Some(count)).then(|| format!("shape {:?} for {count} elements", self.shape))
    }
}

/// What is wrong with answers over outputs of these numbers of elements, by answer.
pub fn problems(answers: &[Answer], outputs: &[usize]) -> Vec<(String, String)> {
    if answers.len() > MAX_ANSWERS {
        return vec![(String::new(), format!("{} answers", answers.len()))];
    }
    let problem = |a: &Answer| a.problem(outputs).map(|p| (a.name.clone(), format!("answer: {p}")));
    answers.iter().filter_map(problem).collect()
}

/// The answers of a sample: the outputs themselves where `answers` is empty.
///
/// # Panics
/// If the answers have [`problems`] with these outputs.
pub fn apply(answers: &[Answer], outputs: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    if answers.is_empty() {
        return outputs;
    }
    answers.iter().map(|a| a.apply(&outputs[a.from])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(shape: &[usize], steps: Vec<Step>) -> Answer {
        Answer { name: "y".to_owned(), shape: shape.to_vec(), from: 0, steps }
    }

    #[test]
    fn groups_lie_along_any_axis() {
        // [2, 3, 2] along the middle axis: group (0, 0) is elements 0, 2, 4.
        let along = Along { length: 3, inner: 2 };
        let x = [1.0, 9.0, 3.0, 8.0, 2.0, 7.0, 4.0, 1.0, 4.0, 5.0, 0.0, 5.0];
        let max = |last| answer(&[2, 2], vec![Step::ArgMax { along, last }]).apply(&x);
        assert_eq!(max(false), [1.0, 0.0, 0.0, 1.0]);
        assert_eq!(max(true), [1.0, 0.0, 1.0, 2.0]);
        let min = Step::ArgMin { along, last: false };
        assert_eq!(answer(&[2, 2], vec![min]).apply(&x), [0.0, 2.0, 2.0, 0.0]);
        let hard = answer(&[2, 3, 2], vec![Step::Hardmax(along)]).apply(&x);
        assert_eq!(hard, [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn softmax_is_stable_and_sums_to_one() {
        let along = Along { length: 3, inner: 1 };
        let soft = apply::step(&Step::Softmax(along), vec![1000.0, 1001.0, 999.0]);
        let raw = [1.0, 1f64.exp(), (-1f64).exp()];
        let sum: f64 = raw.iter().sum();
        for (found, wanted) in soft.iter().zip(raw) {
            assert!((found - wanted / sum).abs() < 1e-15, "{soft:?}");
        }
        let log = apply::step(&Step::LogSoftmax(along), vec![1000.0, 1001.0, 999.0]);
        assert!(log.iter().zip(&soft).all(|(l, s)| (l - s.ln()).abs() < 1e-12), "{log:?}");
    }

    #[test]
    fn norms_divide_and_labels_are_looked_up() {
        let along = Along { length: 2, inner: 1 };
        let by = |norm| apply::step(&Step::Normalise { norm, along }, vec![3.0, -4.0, 0.0, 0.0]);
        assert_eq!(by(Norm::L2), [0.6, -0.8, 0.0, 0.0]);
        assert_eq!(by(Norm::Max), [0.75, -1.0, 0.0, 0.0]);
        assert_eq!(by(Norm::L1), [3.0 / 7.0, -4.0 / 7.0, 0.0, 0.0]);
        let steps = vec![Step::ArgMax { along, last: false }, Step::Lookup(vec![7.0, 9.0])];
        assert_eq!(answer(&[2], steps).apply(&[1.0, 2.0, 4.0, 3.0]), [9.0, 7.0]);
    }

    #[test]
    fn answers_that_do_not_fit_are_told() {
        let along = Along { length: 3, inner: 1 };
        let max = || Step::ArgMax { along, last: false };
        let good = answer(&[2], vec![max(), Step::Lookup(vec![1.0; 3])]);
        assert_eq!(problems(std::slice::from_ref(&good), &[6]), []);
        assert_eq!(Answer::from_text(&good.to_text()), Ok(good));
        let bad = [
            answer(&[3], vec![max()]),
            answer(&[2], vec![max(), Step::Lookup(vec![1.0; 2])]),
            answer(&[6], vec![Step::Lookup(vec![1.0; 3])]),
            answer(&[6], vec![Step::Softmax(Along { length: 4, inner: 1 })]),
            answer(&[6], vec![Step::Softmax(Along { length: usize::MAX, inner: 2 })]),
            answer(&[6], vec![Step::Softmax(Along { length: 0, inner: 0 })]),
            Answer { from: 1, ..answer(&[6], Vec::new()) },
        ];
        for answer in bad {
            assert_eq!(problems(std::slice::from_ref(&answer), &[6]).len(), 1, "{answer:?}");
        }
    }

    #[test]
    fn the_first_of_a_group_come_in_order_with_their_places() {
        // [2, 4] and [4, 2]: the same groups along either axis.
        let x = [3.0, 9.0, 9.0, 1.0, -1.0, -4.0, 0.0, 2.0];
        let along = Along { length: 4, inner: 1 };
        let top = |largest| {
            [Step::TopValues { along, k: 3, largest }, Step::TopPlaces { along, k: 3, largest }]
                .map(|s| answer(&[2, 3], vec![s]).apply(&x))
        };
        assert_eq!(
            top(true),
            [vec![9.0, 9.0, 3.0, 2.0, 0.0, -1.0], vec![1.0, 2.0, 0.0, 3.0, 2.0, 0.0]]
        );
        assert_eq!(
            top(false),
            [vec![1.0, 3.0, 9.0, -4.0, -1.0, 0.0], vec![3.0, 0.0, 1.0, 1.0, 0.0, 2.0]]
        );
        let turned = [3.0, -1.0, 9.0, -4.0, 9.0, 0.0, 1.0, 2.0];
        let along = Along { length: 4, inner: 2 };
        let places = Step::TopPlaces { along, k: 3, largest: true };
        assert_eq!(answer(&[3, 2], vec![places]).apply(&turned), [1.0, 3.0, 2.0, 2.0, 0.0, 0.0]);
    }

    #[test]
    fn places_become_groups() {
        let hot = |inner| Step::OneHot { depth: 3, inner, values: [5.0, 7.0] };
        let x = [0.0, 2.0001, -1.0, 3.0];
        let last = answer(&[4, 3], vec![hot(1)]).apply(&x);
        assert_eq!(last, [7.0, 5.0, 5.0, 5.0, 5.0, 7.0, 5.0, 5.0, 7.0, 5.0, 5.0, 5.0]);
        let middle = answer(&[2, 3, 2], vec![hot(2)]).apply(&x);
        assert_eq!(middle, [7.0, 5.0, 5.0, 5.0, 5.0, 7.0, 5.0, 5.0, 5.0, 5.0, 7.0, 5.0]);
    }

    #[test]
    fn steps_on_elements() {
        let x = [-1.5, -0.5, 0.0, 0.5, 1.5, 2.2];
        let on = |step| answer(&[6], vec![step]).apply(&x);
        let compare = |above, or_equal| on(Step::Compare { bound: 0.5, above, or_equal });
        assert_eq!(compare(true, false), [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(compare(true, true), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(compare(false, false), [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(compare(false, true), [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
        let clamp = on(Step::Clamp { min: -1.0, max: 1.5 });
        assert_eq!(clamp, [-1.0, -0.5, 0.0, 0.5, 1.5, 1.5]);
        assert_eq!(on(Step::Sign), [-1.0, -1.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(on(Step::Round(Rounding::Down)), [-2.0, -1.0, 0.0, 0.0, 1.0, 2.0]);
        assert_eq!(on(Step::Round(Rounding::Up)), [-1.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
        assert_eq!(on(Step::Round(Rounding::Nearest)), [-2.0, 0.0, 0.0, 0.0, 2.0, 2.0]);
        assert_eq!(on(Step::Round(Rounding::TowardsZero)), [-1.0, 0.0, 0.0, 0.0, 1.0, 2.0]);
        assert_eq!(on(Step::ThresholdedRelu { alpha: 0.5 }), [0.0, 0.0, 0.0, 0.0, 1.5, 2.2]);
        let shrink = Step::Shrink { bias: 0.25, lambd: 1.0 };
        assert_eq!(on(shrink), [-1.25, 0.0, 0.0, 0.0, 1.25, 1.9500000000000002]);
        let above = |bound| Step::Compare { bound, above: true, or_equal: false };
        let labels = vec![above(0.0), Step::Lookup(vec![-1.0, 4.0])];
        assert_eq!(answer(&[6], labels).apply(&x), [-1.0, -1.0, -1.0, 4.0, 4.0, 4.0]);
    }

    #[test]
    fn steps_that_take_or_make_too_much_are_told() {
        let along = Along { length: 3, inner: 1 };
        let above = |bound| Step::Compare { bound, above: true, or_equal: false };
        let bad = [
            answer(&[6], vec![above(f64::INFINITY)]),
            answer(&[6], vec![Step::Clamp { min: 1.0, max: 0.0 }]),
            answer(&[8], vec![Step::TopValues { along, k: 4, largest: true }]),
            answer(&[0], vec![Step::TopPlaces { along, k: 0, largest: true }]),
            answer(&[6, 0], vec![Step::OneHot { depth: 0, inner: 1, values: [0.0, 1.0] }]),
            answer(&[6], vec![Step::OneHot { depth: 1 << 40, inner: 1, values: [0.0, 1.0] }]),
            answer(&[6, 2], vec![Step::OneHot { depth: 2, inner: 4, values: [0.0, 1.0] }]),
            answer(&[6], vec![Step::ThresholdedRelu { alpha: f64::NAN }]),
            answer(&[6], vec![above(0.0), Step::Lookup(vec![1.0])]),
        ];
        for answer in bad {
            assert_eq!(problems(std::slice::from_ref(&answer), &[6]).len(), 1, "{answer:?}");
        }
    }
}
