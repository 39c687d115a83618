//! What approximations do to the model's outputs, measured with the float executor.
//!
//! The exact values of a selection of calibration samples are kept, so that judging a choice runs
//! only what depends on the replaced functions.

use std::collections::BTreeMap;

use heplan_ir::entity::ValueId;
use heplan_ir::function::Function;
use heplan_ir::tensor::{Graph, Op, Value};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::fit::{Fit, extremes};
use crate::data::Samples;
use crate::options::{MAX_ERROR, MAX_ERROR_OF_COMPARISONS, MAX_ERROR_OF_SCORES, Options};
use crate::reference::{Block, Executor, LANES, Substitute};
use crate::report::{are_scores, is_same_class};

/// Multiplications that one judgement may cost, about.
const WORK: usize = 1 << 29;
/// Numbers that the exact values may take, about.
const MEMORY: usize = 1 << 25;
/// The same where all samples are judged.
const WHOLE: usize = 1 << 27;
/// Fewest and most samples that are judged.
const COUNT: std::ops::RangeInclusive<usize> = 32..=256;
/// How many times its error an answer must bear: samples to come are not those that the polynomials
/// were fitted to.
const FIRM: f64 = 1.5;
/// Numbers that are looked at when errors are exchanged among samples, about.
const EXCHANGED: usize = 1 << 22;

/// The effect of approximations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Largest over the outputs: root mean square error relative to the output's range.
    pub rms: f64,
    /// Largest error of any output element, relative to the output's range.
    pub worst: f64,
    /// Share of samples with the float model's argmax, where outputs look like class scores.
    pub agreement: Option<f64>,
    /// The same share if every error were `FIRM` times as large; where not all calibration samples were
    /// run, also if all of them met the errors of those that were, whichever is less.
    pub firm_agreement: Option<f64>,
}

/// Judges choices for one graph.
pub(super) struct Judge<'g> {
    pub(super) graph: &'g Graph,
    pub(super) executor: Executor<'g>,
    /// Every exact value of the samples.
    pub(super) blocks: Vec<Block>,
    /// Exact outputs: per sample and output.
    exact: Vec<Vec<Vec<f64>>>,
    /// The exact outputs of all calibration samples, where not all of them are run again.
    every: Option<Vec<Vec<Vec<f64>>>>,
    /// Per output its range over the samples.
    ranges: Vec<f64>,
    /// Per output whether it looks like class scores.
    classes: Vec<bool>,
    /// Whether a function jumps.
    pub(super) jumps: bool,
}

impl<'g> Judge<'g> {
    /// A judge by as many samples as may be run again and again.
    pub(super) fn new(graph: &'g Graph, samples: &Samples) -> Self {
        Self::of(graph, samples, count(graph).min(samples.len()))
    }

    /// A judge by all samples, or as many as memory holds.
    pub(super) fn thorough(graph: &'g Graph, samples: &Samples) -> Self {
        let held = (WHOLE / memory(graph)).max(*COUNT.start());
        Self::of(graph, samples, held.min(samples.len()))
    }

    fn of(graph: &'g Graph, samples: &Samples, count: usize) -> Self {
        let picked = &pick(samples, count);
        let executor = Executor::new(graph);
        let starts: Vec<usize> = (0..picked.len()).step_by(LANES).collect();
        let blocks: Vec<Block> = starts
            .par_iter()
            .map(|&first| executor.block(picked, first, picked.len(), true))
            .collect();
        let exact: Vec<Vec<Vec<f64>>> =
            blocks.iter().flat_map(|b| executor.outputs_of(b)).collect();
        let every = (count < samples.len()).then(|| executor.run_samples(samples));
        let outputs = graph.outputs.len();
        let ranges = (0..outputs).map(|o| {
            let all: Vec<f64> = exact.iter().flat_map(|s| s[o].iter().copied()).collect();
            let (low, high) = extremes(&all);
            if high > low { high - low } else { 1.0 }
        });
        let ranges: Vec<f64> = ranges.collect();
        let classes = (0..outputs).map(|o| are_scores(&exact, o, ranges[o])).collect();
        let jump = |v: &Value| matches!(v.op, Op::Function { function: Function::Step, .. });
        let jumps = graph.values.iter().any(jump);
        Self { graph, executor, blocks, exact, every, ranges, classes, jumps }
    }

    /// The largest root mean square error of the outputs, relative to their range: the one asked
    /// for, or what suits the outputs.
    pub(super) fn bound(&self, options: &Options) -> f64 {
        let scores = !self.classes.is_empty() && self.classes.iter().all(|&c| c);
        let default = match scores {
            _ if self.jumps => MAX_ERROR_OF_COMPARISONS,
            true => MAX_ERROR_OF_SCORES,
            false => MAX_ERROR,
        };
        options.max_error.unwrap_or(default)
    }

    /// The effect of replacing functions by these fits.
    pub(super) fn score(&self, fits: &BTreeMap<ValueId, &Fit>) -> Score {
        let outputs: Vec<Vec<Vec<f64>>> = self
            .blocks
            .par_iter()
            .flat_map_iter(|block| {
                let closures: Vec<_> = fits
                    .iter()
                    .map(|(&id, &fit)| {
                        let eval = move |e: usize, x: &[f64; LANES]| {
                            Arch::new().dispatch(EvalFit { fit, e, x })
                        };
                        (id, eval)
                    })
                    .collect();
                let replaced = closures.iter().map(|(id, f)| (*id, f as Substitute<'_>)).collect();
                self.executor.outputs_of(&self.executor.rerun(block, &replaced))
            })
            .collect();
        self.compare(&outputs)
    }

    /// The effect that shows in the outputs of the samples.
    pub(super) fn compare(&self, outputs: &[Vec<Vec<f64>>]) -> Score {
        let mut score = Score::default();
        for (o, &range) in self.ranges.iter().enumerate() {
            let (mut square, mut n) = (0.0, 0usize);
            let (mut agree, mut safe) = (0usize, 0usize);
            for (exact, found) in self.exact.iter().zip(outputs) {
                let (exact, found) = (&exact[o], &found[o]);
                for (x, y) in exact.iter().zip(found) {
                    square += (x - y) * (x - y);
                    // A polynomial far outside its window may overflow; that is the worst error.
                    let error = (x - y).abs() / range;
                    score.worst =
                        if error.is_nan() { f64::INFINITY } else { score.worst.max(error) };
                }
                n += exact.len();
                let worse = |(x, y): (&f64, &f64)| x + FIRM * (y - x);
                let worse: Vec<f64> = exact.iter().zip(found).map(worse).collect();
                agree += usize::from(is_same_class(found, exact));
                safe += usize::from(is_same_class(&worse, exact));
            }
            let rms = (square / n.max(1) as f64).sqrt() / range;
            score.rms = if rms.is_finite() { score.rms.max(rms) } else { f64::INFINITY };
            if self.classes[o] {
                let share = |count: usize| count as f64 / self.exact.len() as f64;
                score.agreement = Some(score.agreement.unwrap_or(1.0).min(share(agree)));
                let every = self.every.as_ref().map(|every| self.exchanged(o, every, outputs));
                let firm = share(safe).min(every.unwrap_or(1.0));
                score.firm_agreement = Some(score.firm_agreement.unwrap_or(1.0).min(firm));
            }
        }
        score
    }

    /// The share of pairs of a calibration sample and a run one's error in which the sample keeps its
    /// class under `FIRM` times the error. Few samples have scores so near each other that an error
    /// decides between them, and few of those are run; which errors meet them is chance, so all are
    /// tried.
    fn exchanged(&self, o: usize, every: &[Vec<Vec<f64>>], outputs: &[Vec<Vec<f64>>]) -> f64 {
        let error = |(exact, found): (&Vec<Vec<f64>>, &Vec<Vec<f64>>)| -> Vec<f64> {
            exact[o].iter().zip(&found[o]).map(|(x, y)| FIRM * (y - x)).collect()
        };
        let errors: Vec<Vec<f64>> = self.exact.iter().zip(outputs).map(error).collect();
        let classes = errors.first().map_or(1, Vec::len).max(1);
        let tried = (EXCHANGED / classes / every.len().max(1)).clamp(1, errors.len().max(1));
        let (mut kept, mut pairs) = (0usize, 0usize);
        for (i, sample) in every.iter().enumerate() {
            for t in 0..tried {
                let error = &errors[(i + t) % errors.len()];
                let moved: Vec<f64> = sample[o].iter().zip(error).map(|(x, e)| x + e).collect();
                let finite = moved.iter().all(|x| x.is_finite());
                kept += usize::from(finite && is_same_class(&moved, &sample[o]));
                pairs += 1;
            }
        }
        kept as f64 / pairs.max(1) as f64
    }
}

/// A fit in every lane, inlined into what has the vector instructions.
pub(super) struct EvalFit<'a> {
    pub(super) fit: &'a Fit,
    pub(super) e: usize,
    pub(super) x: &'a [f64; LANES],
}

impl NullaryFnOnce for EvalFit<'_> {
    type Output = [f64; LANES];

    #[inline(always)]
    fn call(self) -> [f64; LANES] {
        self.fit.eval(self.e, self.x)
    }
}

/// How many samples may be judged.
fn count(graph: &Graph) -> usize {
    let mut work = 1;
    for value in &graph.values {
        work += match &value.op {
            Op::Affine { terms, .. } => terms.iter().map(|t| graph.consts.matrix(t.1).nnz()).sum(),
            Op::Function { .. } | Op::Polynomial { .. } => 20 * value.elements(),
            Op::Input { .. } | Op::Product { .. } => value.elements(),
        };
    }
    (WORK / work).min(MEMORY / memory(graph)).clamp(*COUNT.start(), *COUNT.end())
}

/// Numbers of one sample.
fn memory(graph: &Graph) -> usize {
    1 + graph.values.iter().map(Value::elements).sum::<usize>()
}

/// `count` samples, evenly spread over the set.
fn pick(samples: &Samples, count: usize) -> Samples {
    let at = |i: usize| i * samples.len() / count.max(1);
    let of = |input: &Vec<Vec<f64>>| (0..count).map(|i| input[at(i)].clone()).collect();
    Samples { inputs: samples.inputs.iter().map(of).collect(), ..Samples::default() }
}

/// The index of the first largest element.
#[cfg(test)]
pub(super) fn argmax(values: &[f64]) -> usize {
    let better = |best: usize, (i, v): (usize, &f64)| if *v > values[best] { i } else { best };
    values.iter().enumerate().fold(0, better)
}

#[cfg(test)]
mod tests {
    use super::*;
    use heplan_ir::matrix::SparseMatrix;
    use heplan_ir::origin::OriginTable;

    /// Two scores, the inputs themselves.
    fn scores() -> Graph {
        let mut g = Graph::default();
        let x = g.push(Op::Input { name: "x".into() }, vec![1, 3], OriginTable::none());
        let terms = vec![(x, g.consts.add_matrix(SparseMatrix::identity(3)))];
        let y = g.push(Op::Affine { terms, bias: None }, vec![1, 3], OriginTable::none());
        g.outputs = vec![("y".into(), y)];
        g
    }

    #[test]
    fn samples_meet_the_errors_of_others() {
        let graph = scores();
        // Every other sample is decided by little, and every tenth answer is far off.
        let sample = |s: usize| match s % 2 {
            0 => vec![1.0, 0.9, -4.0],
            _ => vec![-1.0, -4.0, 1.0],
        };
        let inputs: Vec<Vec<f64>> = (0..40).map(sample).collect();
        let samples = Samples { inputs: vec![inputs.clone()], ..Samples::default() };
        let judge = Judge {
            every: Some(inputs.iter().map(|x| vec![x.clone()]).collect()),
            ..Judge::new(&graph, &samples)
        };
        // The error meets a sample that bears it.
        let off = |s: usize| if s % 10 == 1 { 0.4 } else { 0.0 };
        let answer = |(s, x): (usize, &Vec<f64>)| vec![vec![x[0], x[1] + off(s), x[2]]];
        let outputs: Vec<_> = inputs.iter().enumerate().map(answer).collect();
        let score = judge.compare(&outputs);
        assert_eq!(score.agreement, Some(1.0));
        // A tenth of the errors would decide half of the samples otherwise.
        let firm = score.firm_agreement.expect("scores");
        assert!((firm - 0.95).abs() < 1e-12, "{firm}");
        // Where all samples are run, each meets its own error only.
        let own = Judge { every: None, ..judge }.compare(&outputs);
        assert_eq!(own.firm_agreement, Some(1.0));
    }

    #[test]
    fn answers_without_a_number_keep_no_class() {
        let graph = scores();
        let inputs = vec![vec![3.0, 0.0, 0.0]; 8];
        let samples = Samples { inputs: vec![inputs], ..Samples::default() };
        let judge = Judge::new(&graph, &samples);
        let without = vec![vec![vec![f64::NAN; 3]]; 8];
        assert_eq!(judge.exchanged(0, &judge.exact, &without), 0.0);
    }
}
