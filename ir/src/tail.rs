//! The client's tail: what is computed on decrypted numbers, after the plan has ended.
//!
//! Softmax, argmax and labels at the very end of a model say nothing that the client may not know:
//! it has the scores. So the plan ends before them, and `decrypt` applies them in the clear,
//! exactly and at no level. An [`Answer`] is one output of the model: which output of the plan it
//! starts from, and the steps. It holds no weight but the labels of classes and,
//! where probabilities are asked of a support vector machine, the two numbers per pair of classes that
//! calibrate them.
//!
//! Steps that decide (a place, a comparison, a rounding) decide about approximate numbers: where
//! the float model's margin is smaller than the plan's error, the answer may be the other one
//! ([`Step::decides`]).
//!
//! Answers come from files, so [`problems`] bounds everything before [`Answer::apply`] relies on it.

mod apply;
mod step;

use serde::{Deserialize, Serialize};

pub use step::{Along, Norm, Rounding, Step};

/// More steps than any model has at its end.
const MAX_STEPS: usize = 64;
/// More elements than any answer has.
const MAX_ELEMENTS: usize = 1 << 27;
/// More answers than any model has.
const MAX_ANSWERS: usize = 1 << 16;

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

impl Answer {
    /// The answer, row-major, from the elements of the plan's output that it starts from.
    ///
    /// # Panics
    /// If the answer has [`problems`] with that output.
    pub fn apply(&self, scores: &[f64]) -> Vec<f64> {
        self.steps.iter().fold(scores.to_vec(), |x, step| apply::step(step, x))
    }

    /// The words that the elements are places in, where the answer is in words.
    pub fn words(&self) -> Option<&[String]> {
        match self.steps.last() {
            Some(Step::Words(words)) => Some(words),
            _ => None,
        }
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
        let mut in_words = false;
        for step in &self.steps {
            if let Some(Along { length, inner }) = step.along() {
                let group = length.checked_mul(inner).filter(|&g| g > 0);
                if group.is_none_or(|g| !count.is_multiple_of(g)) {
                    let name = step.name();
                    return Some(format!("{name} of groups {length}·{inner} of {count} elements"));
                }
            }
            let labels = match step {
                Step::Lookup(table) => Some(table.len()),
                Step::Words(words) => Some(words.len()),
                _ => None,
            };
            if let Some(labels) = labels.filter(|&n| places.is_none_or(|p| p > n)) {
                return Some(format!("{labels} labels do not suit the places"));
            }
            if in_words {
                return Some(format!("{} of words", step.name()));
            }
            in_words = matches!(step, Step::Words(_));
            let left = step.left_of(count).filter(|_| step.is_sound());
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
mod tests;
