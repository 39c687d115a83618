//! The client's tail: what is computed on decrypted numbers, after the plan has ended.
//!
//! Softmax, argmax and labels at the very end of a model say nothing that the client may not know:
//! it has the scores. So the plan ends before them, and `decrypt` applies them in the clear,
//! exactly and at no level. An [`Answer`] is one output of the model: which output of the plan it
//! starts from, and the steps. It holds no weight but the labels of classes.
//!
//! Answers come from files, so [`problems`] bounds everything before [`Answer::apply`] relies on it.

use serde::{Deserialize, Serialize};

/// More steps than any model has at its end.
const MAX_STEPS: usize = 64;
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
    /// The number at the place that an element names: class labels. It follows an `ArgMax` or
    /// `ArgMin`.
    Lookup(Vec<f64>),
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
        }
    }

    fn along(&self) -> Option<Along> {
        match self {
            Self::Softmax(along) | Self::LogSoftmax(along) | Self::Hardmax(along) => Some(*along),
            Self::ArgMax { along, .. }
            | Self::ArgMin { along, .. }
            | Self::Normalise { along, .. } => Some(*along),
            Self::Sigmoid | Self::Lookup(_) => None,
        }
    }

    /// Places that it can name, if it names places.
    fn places(&self) -> Option<usize> {
        match self {
            Self::ArgMax { along, .. } | Self::ArgMin { along, .. } => Some(along.length),
            _ => None,
        }
    }

    fn apply(&self, x: Vec<f64>) -> Vec<f64> {
        match self {
            Self::Sigmoid => x.into_iter().map(|v| 1.0 / (1.0 + (-v).exp())).collect(),
            Self::Softmax(along) => within(x, *along, |g| {
                let (exponentials, sum) = exponentials(g);
                exponentials.into_iter().map(|e| e / sum).collect()
            }),
            Self::LogSoftmax(along) => within(x, *along, |g| {
                let top = largest(g);
                let sum = exponentials(g).1;
                g.iter().map(|v| v - top - sum.ln()).collect()
            }),
            Self::Hardmax(along) => within(x, *along, |g| {
                let at = place(g, false);
                (0..g.len()).map(|i| f64::from(u8::from(i == at))).collect()
            }),
            Self::ArgMax { along, last } => within(x, *along, |g| vec![place(g, *last) as f64]),
            Self::ArgMin { along, last } => within(x, *along, |g| {
                let negated: Vec<f64> = g.iter().map(|v| -v).collect();
                vec![place(&negated, *last) as f64]
            }),
            Self::Normalise { norm, along } => within(x, *along, |g| {
                let norm = norm.of(g);
                let by = if norm == 0.0 { 1.0 } else { norm };
                g.iter().map(|v| v / by).collect()
            }),
            Self::Lookup(table) => {
                let number = |v: f64| table.get(v as usize).copied().unwrap_or(f64::NAN);
                x.into_iter().map(number).collect()
            }
        }
    }
}

impl Norm {
    fn of(self, group: &[f64]) -> f64 {
        match self {
            Self::Max => group.iter().fold(0.0, |m, v| v.abs().max(m)),
            Self::L1 => group.iter().map(|v| v.abs()).sum(),
            Self::L2 => group.iter().map(|v| v * v).sum::<f64>().sqrt(),
        }
    }
}

impl Answer {
    /// The answer, row-major, from the elements of the plan's output that it starts from.
    ///
    /// # Panics
    /// If the answer has [`problems`] with that output.
    pub fn apply(&self, scores: &[f64]) -> Vec<f64> {
        self.steps.iter().fold(scores.to_vec(), |x, step| step.apply(x))
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
            let finite = |table: &[f64]| table.iter().all(|v| v.is_finite());
            if let Step::Lookup(table) = step
                && (places.is_none_or(|n| n > table.len()) || !finite(table))
            {
                return Some(format!("{} labels do not suit the places", table.len()));
            }
            places = step.places();
            count /= places.unwrap_or(1);
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

/// Applies `f` to every group; the groups of the result lie as those of the operand.
fn within(x: Vec<f64>, along: Along, f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let Along { length, inner } = along;
    let outer = x.len() / (length * inner);
    let mut out: Vec<f64> = Vec::new();
    let mut group = vec![0.0; length];
    for o in 0..outer {
        for i in 0..inner {
            for (k, v) in group.iter_mut().enumerate() {
                *v = x[(o * length + k) * inner + i];
            }
            let found = f(&group);
            out.resize(outer * found.len() * inner, 0.0);
            for (k, v) in found.iter().enumerate() {
                out[(o * found.len() + k) * inner + i] = *v;
            }
        }
    }
    out
}

fn largest(group: &[f64]) -> f64 {
    group.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// `exp(x - max)` and their sum.
fn exponentials(group: &[f64]) -> (Vec<f64>, f64) {
    let top = largest(group);
    let list: Vec<f64> = group.iter().map(|v| (v - top).exp()).collect();
    let sum = list.iter().sum();
    (list, sum)
}

/// The place of the largest element, the first or the last of equals.
fn place(group: &[f64], last: bool) -> usize {
    let mut best = 0;
    for (i, v) in group.iter().enumerate() {
        if *v > group[best] || (last && *v == group[best]) {
            best = i;
        }
    }
    best
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
        let soft = Step::Softmax(along).apply(vec![1000.0, 1001.0, 999.0]);
        let raw = [1.0, 1f64.exp(), (-1f64).exp()];
        let sum: f64 = raw.iter().sum();
        for (found, wanted) in soft.iter().zip(raw) {
            assert!((found - wanted / sum).abs() < 1e-15, "{soft:?}");
        }
        let log = Step::LogSoftmax(along).apply(vec![1000.0, 1001.0, 999.0]);
        assert!(log.iter().zip(&soft).all(|(l, s)| (l - s.ln()).abs() < 1e-12), "{log:?}");
    }

    #[test]
    fn norms_divide_and_labels_are_looked_up() {
        let along = Along { length: 2, inner: 1 };
        let by = |norm| Step::Normalise { norm, along }.apply(vec![3.0, -4.0, 0.0, 0.0]);
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
}
