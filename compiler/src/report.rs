//! What a compilation tells its user.

use heplan_ir::layout::Layout;
use heplan_ir::plan::Plan;

use crate::cost::Cost;
use crate::judge::Tensors;

/// One approximated function.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionReport {
    /// The ONNX nodes behind it.
    pub origin: String,
    /// The function, in words.
    pub function: String,
    /// Smallest and largest operand in calibration.
    pub seen: (f64, f64),
    /// The range that the polynomial covers; with scales per channel that of the widest channel.
    pub range: (f64, f64),
    /// The widest interval around the range in which the polynomial stays below twice the
    /// function's largest magnitude on the range.
    pub tame: (f64, f64),
    /// Number of scales: 1, or that of the channels.
    pub channels: usize,
    /// Degree of the polynomial.
    pub degree: usize,
    /// Levels that it consumes.
    pub depth: u32,
    /// Largest error on the range.
    pub max_error: f64,
    /// Root mean square error over the calibration values.
    pub rms_error: f64,
    /// Root mean square error of the outputs, relative to their range, if this function alone were
    /// approximated.
    pub effect: f64,
    /// Share of calibration values outside the range.
    pub outside: f64,
    /// Share of calibration values too near to the threshold of a comparison to be decided, or
    /// nearer than all others on their side, so that values to come may be too near; 0 for
    /// functions that do not jump.
    pub undecided: f64,
}

/// The quality of the outputs over the calibration samples, against the float model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Samples compared.
    pub samples: usize,
    /// Root mean square error relative to the range of the outputs.
    pub rms_error: f64,
    /// Largest error relative to the range of the outputs.
    pub max_error: f64,
    /// Bits of the largest error below the range: `-log2(max_error)`.
    pub precision_bits: f64,
    /// Share of samples whose largest score is where the float model has it, or one of several that
    /// are equal there; absent where no output looks like class scores.
    pub agreement: Option<f64>,
}

impl Quality {
    /// Compares outputs with what they should be: per sample, per output, per element.
    ///
    /// Errors are relative to the span of each output over all samples.
    pub fn of(got: &[Tensors], want: &[Tensors]) -> Self {
        Self::within(got, want, &spans(want))
    }

    /// The same with the outputs' [`spans`] given: those of a larger set, say.
    pub fn within(got: &[Tensors], want: &[Tensors], spans: &[f64]) -> Self {
        let (mut squares, mut count, mut largest) = (0.0, 0usize, 0.0_f64);
        for (g, w) in got.iter().zip(want) {
            for ((g, w), span) in g.iter().zip(w).zip(spans) {
                for (x, y) in g.iter().zip(w) {
                    // `max` forgets a NaN; an error that is no number is an infinite one.
                    let error = Some((x - y).abs() / span).filter(|e| e.is_finite());
                    let error = error.unwrap_or(f64::INFINITY);
                    squares += error * error;
                    largest = largest.max(error);
                    count += 1;
                }
            }
        }
        Self {
            samples: got.len(),
            rms_error: (squares / count.max(1) as f64).sqrt(),
            max_error: largest,
            precision_bits: -largest.max(2.0_f64.powi(-60)).log2(),
            agreement: agreement(got, want, spans),
        }
    }
}

/// The span of each output over a set: its largest value less its smallest, or its magnitude where
/// it is constant.
pub fn spans(outputs: &[Tensors]) -> Vec<f64> {
    let count = outputs.first().map_or(0, Vec::len);
    (0..count)
        .map(|o| {
            let all = outputs.iter().flat_map(|s| s[o].iter().copied());
            let empty = (f64::INFINITY, f64::NEG_INFINITY);
            let (low, high) = all.fold(empty, |(l, h), x| (l.min(x), h.max(x)));
            if high > low { high - low } else { high.abs().max(f64::MIN_POSITIVE) }
        })
        .collect()
}

/// Most elements of an output that looks like class scores.
const CLASSES: usize = 4096;
/// Smallest median distance, relative to the range, between the two best scores of an output that
/// looks like class scores.
const DECIDED: f64 = 0.02;

/// Share of samples with the same largest element of the first output that looks like class scores,
/// which a class label in front of them does not.
fn agreement(got: &[Tensors], want: &[Tensors], spans: &[f64]) -> Option<f64> {
    let scores = (0..spans.len()).find(|&o| are_scores(want, o, spans[o]))?;
    let same = |(g, w): &(&Tensors, &Tensors)| is_same_class(&g[scores], &w[scores]);
    let same = got.iter().zip(want).filter(same).count();
    Some(same as f64 / want.len() as f64)
}

/// Whether the largest of the scores `got` is where the largest of those wanted is. Of equal ones,
/// such as the zeros of a `Relu`, any is right: which one counts is for no approximation to say.
pub(crate) fn is_same_class(got: &[f64], want: &[f64]) -> bool {
    match (largest(got), largest(want)) {
        (Some(g), Some(w)) => want[g] == want[w],
        (None, None) => true,
        _ => false,
    }
}

/// Whether an output looks like class scores: a few elements of which one stands out, which the
/// brightest pixel of an image does not. `exact[sample][output]` are its values, `range` their
/// range.
pub(crate) fn are_scores(exact: &[Tensors], output: usize, range: f64) -> bool {
    let size = exact.first().map_or(0, |s| s[output].len());
    if !(2..=CLASSES).contains(&size) {
        return false;
    }
    let mut margins: Vec<f64> = exact
        .iter()
        .map(|s| {
            let mut sorted = s[output].clone();
            sorted.sort_by(f64::total_cmp);
            sorted[size - 1] - sorted[size - 2]
        })
        .collect();
    margins.sort_by(f64::total_cmp);
    margins[margins.len() / 2] >= DECIDED * range
}

/// Position of the largest element; `None` if one is not a number.
fn largest(scores: &[f64]) -> Option<usize> {
    if scores.iter().any(|x| x.is_nan()) {
        return None;
    }
    scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i)
}

/// A plan that was weighed: what it costs in time and in keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trade {
    /// Predicted seconds of one run on one thread, with encoding and reading of keys.
    pub seconds: f64,
    /// The same with keys and diagonals at hand.
    pub run_seconds: f64,
    /// Predicted size of the evaluation keys in bytes.
    pub key_bytes: u64,
    /// What became of it.
    pub standing: Standing,
}

/// What became of a plan that was weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was only estimated.
    Estimated,
    /// It is the plan that the report is about.
    Chosen,
    /// Carried out, its noise left too few bits, or asked for parameters that save no keys.
    TooNoisy,
}

impl Trade {
    /// A plan of this cost, not chosen.
    pub(crate) fn of(cost: &Cost) -> Self {
        let (seconds, run_seconds) = (cost.first_seconds(), cost.seconds);
        let key_bytes = cost.key_bytes;
        Self { seconds, run_seconds, key_bytes, standing: Standing::Estimated }
    }
}

/// Parameters that were not chosen, with what the plan would have cost under them.
#[derive(Clone, Debug, PartialEq)]
pub struct RunnerUp {
    /// Ciphertext primes per key-switching digit.
    pub digit_size: usize,
    /// Special primes.
    pub special: usize,
    /// Predicted seconds of one run on one thread, keys and diagonals at hand.
    pub seconds: f64,
    /// Predicted size of the evaluation keys in bytes.
    pub key_bytes: u64,
}

/// Where the result of a node lies.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeLayout {
    /// The node; empty for inputs.
    pub node: String,
    /// The layouts of the operands.
    pub reads: Vec<Layout>,
    /// The layout of the result.
    pub writes: Layout,
    /// The next-best layout of the result, with the seconds that it would cost more.
    pub next_best: Option<(Layout, f64)>,
}

/// The chosen layouts beside the least possible, in seconds of the measure that they are searched by:
/// time and keys of linear maps, counted on a sample of their entries, under one parameter set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayoutGap {
    /// What the chosen ones cost.
    pub found: f64,
    /// What no layouts among the candidates are below.
    pub at_least: f64,
}

/// What the client sends of the fresh ciphertexts of one run, whose second polynomials are seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Bytes of the coefficients.
    pub bytes: u64,
    /// Coefficients of the first polynomials that are sent.
    pub coefficients: usize,
    /// Coefficients that there are.
    pub of: usize,
}

impl Sent {
    /// For a run of a plan whose inputs take so many bytes.
    pub(crate) fn of(plan: &Plan, bytes: u64) -> Self {
        let n = plan.parameters.n();
        let ports = || plan.inputs.iter().map(|(port, _)| (port, port.layout.ciphertexts()));
        let coefficients = ports().map(|(port, parts)| port.compact.kept(n) * parts).sum();
        Self { bytes, coefficients, of: ports().map(|(_, parts)| n * parts).sum() }
    }
}

/// The report of a compilation.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The model's name.
    pub name: String,
    /// Base-2 logarithm of the ring dimension.
    pub log_n: u32,
    /// Levels of a fresh input, and of a refreshed ciphertext.
    pub levels: usize,
    /// How often a run refreshes a ciphertext.
    pub refreshes: usize,
    /// Waterline scale in bits.
    pub scale_bits: u32,
    /// `log2(QP)`.
    pub log_qp: f64,
    /// The largest `log2(QP)` at 128 bits of security for this ring.
    pub log_qp_bound: f64,
    /// Key-switching digits at the highest level.
    pub digits: usize,
    /// Key switches of one run (rotations and relinearisations).
    pub key_switches: usize,
    /// Diagonals of all transforms.
    pub diagonals: usize,
    /// Evaluation keys.
    pub keys: usize,
    /// Predicted size of the evaluation keys in bytes.
    pub key_bytes: u64,
    /// What the client sends for one run.
    pub input: Sent,
    /// Predicted seconds of one run on one thread, keys and diagonals at hand.
    pub seconds: f64,
    /// Predicted seconds of the first run on one thread, which expands keys and encodes diagonals.
    pub first_seconds: f64,
    /// Predicted peak memory of one run in bytes.
    pub peak_bytes: u64,
    /// Samples that one run answers.
    pub batch: usize,
    /// Plans with smaller keys that take longer, fastest first, this one among them.
    pub trades: Vec<Trade>,
    /// Layouts of inputs (under an empty name) and of what the affine maps of a node write.
    pub layouts: Vec<NodeLayout>,
    /// How good the layouts are, where that was asked for.
    pub layout_gap: Option<LayoutGap>,
    /// The next-best parameters for these layouts, if the ring has others for this scale.
    pub runner_up: Option<RunnerUp>,
    /// The approximated functions.
    pub functions: Vec<FunctionReport>,
    /// Of approximation alone, in the clear.
    pub approximation: Quality,
    /// Of the finished plan, noise included, in simulation.
    pub simulation: Quality,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_to_the_range_and_nan_is_never_good() {
        let want = vec![vec![vec![0.0, 8.0]], vec![vec![4.0, 2.0]]];
        let mut got = want.clone();
        got[1][0][0] = 3.0;
        let q = Quality::of(&got, &want);
        assert_eq!((q.max_error, q.precision_bits, q.agreement), (0.125, 3.0, Some(1.0)));
        got[0][0][1] = f64::NAN;
        let q = Quality::of(&got, &want);
        assert_eq!((q.max_error, q.agreement), (f64::INFINITY, Some(0.5)));
    }

    #[test]
    fn of_equal_scores_any_may_be_the_largest() {
        let want = [[0.0, 0.0], [0.0, 3.0], [5.0, 0.0]].map(|x| vec![x.to_vec()]);
        let got = [[0.1, 0.0], [0.0, 2.9], [0.0, 0.1]].map(|x| vec![x.to_vec()]);
        assert_eq!(Quality::of(&got, &want).agreement, Some(2.0 / 3.0));
    }
}
