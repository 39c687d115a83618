//! What a [`Step`] is, how many elements it takes and gives, and what it needs to hold.

use serde::{Deserialize, Serialize};

use super::MAX_ELEMENTS;

/// More characters than the name of any class has.
const MAX_WORD: usize = 1 << 12;

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
    /// The same with words, in which the answer then is: no step follows it.
    Words(Vec<String>),
    /// The class that wins most of the duels between two classes, the first of equals: element
    /// `(i, j)` of a group, in the order (0, 1), (0, 2), …, (1, 2), …, is positive where class `i`
    /// wins against class `j`. One element per group is left.
    Votes {
        /// The groups, one element for every pair of classes.
        along: Along,
        /// How many classes there are.
        classes: usize,
    },
    /// The probabilities of all classes from the duels that [`Votes`](Self::Votes) counts: the
    /// first class of pair `p` wins with probability `1 / (1 + exp(slope_p·x + shift_p))` (Platt
    /// 1999), and the pairs are coupled by the second method of Wu, Lin and Weng (2004).
    Duels {
        /// The groups, one element for every pair of classes.
        along: Along,
        /// How many classes there are.
        classes: usize,
        /// Slope and shift of every pair.
        pairs: Vec<(f64, f64)>,
    },
    /// Scores of all classes from the duels that [`Votes`](Self::Votes) counts, as scikit-learn
    /// gives them: a class's votes, where a zero is a win of the first one, and a third of
    /// `s / (|s| + 1)` for the sum `s` of its duels, each with the sign of a win.
    OneVsRest {
        /// The groups, one element for every pair of classes.
        along: Along,
        /// How many classes there are.
        classes: usize,
    },
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
            Self::Lookup(_) | Self::Words(_) => "class labels",
            Self::Votes { .. } => "votes of class pairs",
            Self::Duels { .. } => "probabilities of class pairs",
            Self::OneVsRest { .. } => "one-vs-rest scores of class pairs",
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
                | Self::Words(_)
                | Self::Duels { .. }
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
            | Self::Votes { along, .. }
            | Self::Duels { along, .. }
            | Self::OneVsRest { along, .. }
            | Self::Normalise { along, .. } => Some(*along),
            Self::OneHot { inner, .. } => Some(Along { length: 1, inner: *inner }),
            Self::Sigmoid
            | Self::Lookup(_)
            | Self::Words(_)
            | Self::Compare { .. }
            | Self::Round(_)
            | Self::Clamp { .. }
            | Self::Sign
            | Self::ThresholdedRelu { .. }
            | Self::Shrink { .. } => None,
        }
    }

    /// Places that it can name, if it names places.
    pub fn places(&self) -> Option<usize> {
        match self {
            Self::Votes { classes, .. } => Some(*classes),
            Self::ArgMax { along, .. }
            | Self::ArgMin { along, .. }
            | Self::TopPlaces { along, .. } => Some(along.length),
            Self::Compare { .. } => Some(2),
            _ => None,
        }
    }

    /// How many elements `count` become, if that many can be taken.
    pub(super) fn left_of(&self, count: usize) -> Option<usize> {
        match self {
            Self::Votes { along, classes } => {
                (pairs_of(*classes)? == along.length).then_some(count / along.length)
            }
            Self::Duels { along, classes, pairs } => {
                let suits = pairs_of(*classes)? == along.length && pairs.len() == along.length;
                let left = (count / along.length).checked_mul(*classes).filter(|_| suits);
                left.filter(|&n| n <= MAX_ELEMENTS)
            }
            Self::OneVsRest { along, classes } => {
                let suits = pairs_of(*classes)? == along.length;
                let left = (count / along.length).checked_mul(*classes).filter(|_| suits);
                left.filter(|&n| n <= MAX_ELEMENTS)
            }
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

    /// Whether its numbers are numbers and its words are words.
    pub(super) fn is_sound(&self) -> bool {
        match self {
            Self::Words(words) => words.iter().all(|w| w.len() <= MAX_WORD && !w.contains('\0')),
            Self::Duels { pairs, .. } => pairs.iter().all(|p| p.0.is_finite() && p.1.is_finite()),
            Self::Lookup(table) => table.iter().all(|v| v.is_finite()),
            Self::OneHot { values, .. } => values.iter().all(|v| v.is_finite()),
            Self::ThresholdedRelu { alpha: v } | Self::Compare { bound: v, .. } => v.is_finite(),
            Self::Clamp { min, max } => min.is_finite() && max.is_finite() && min <= max,
            Self::Shrink { bias, lambd } => bias.is_finite() && lambd.is_finite(),
            _ => true,
        }
    }
}

/// How many pairs so many classes have.
fn pairs_of(classes: usize) -> Option<usize> {
    classes.checked_sub(1)?.checked_mul(classes).map(|n| n / 2).filter(|&n| n > 0)
}
