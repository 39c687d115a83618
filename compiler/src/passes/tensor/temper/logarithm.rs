//! Logarithms of sums of exponentials of widely spread scores, in a form whose functions are easy.
//!
//! What the importer writes is `%2 = exp %1; %3 = S·%2; %4 = log %3`, with `S` the sums of groups.
//! The sums of scores that differ by 14 span six decades, and no polynomial of a bearable degree is
//! near a logarithm there. Two other forms give the same:
//!
//! - *shifted*: `m = 2^k·log Σ exp(x/2^k)` has sums of few decades and lies near the result, and
//!   `m + log Σ exp(x - m)` is the result whatever `m` is. That second sum lies near one, and the
//!   exponential is of numbers below about zero, bounded however far they reach: what the first
//!   stage errs by, the second takes back.
//! - a *tournament*: `b + softplus(a - b)` of two scores, in rounds. Softplus grows like its operand
//!   and its slope is at most one, so no range diverges and no error grows; the levels are those of
//!   one softplus per round.
//!
//! Calibration says how far the operands of each form are spread, and that of the fewest expected
//! levels is taken: the importer's own for ordinary scores, a tournament for few or very wide ones.

use heplan_ir::entity::{OriginId, ValueId};
use heplan_ir::function::Function;
use heplan_ir::matrix::SparseMatrix;
use heplan_ir::tensor::{Graph, Op};

use super::levels;
use super::{MOST, linear};
use crate::passes::tensor::calibrate::{Calibration, Tail};

/// The error of a function, beside the span of the scores, that levels are counted for.
const ERROR: f64 = 0.004;
/// What the first stage of a shifted form may err by, so that the sums of the second stay where
/// calibration saw them.
const ROUGH: f64 = 0.1;

/// The most levels of one function, those of degree 128.
const MOST_LEVELS: u32 = 7;
/// Levels of a function that takes more.
const OUT_OF_REACH: u32 = 1000;

/// A logarithm of sums of exponentials.
pub(super) struct LogSum {
    /// What the exponentials are taken of.
    pub(super) exponents: ValueId,
    /// The sums of all groups, which have no element in common.
    sums: SparseMatrix,
    /// The shape of the logarithms.
    shape: Vec<usize>,
    origin: OriginId,
}

/// How a [`LogSum`] is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As the importer writes it.
    Direct,
    /// In rounds of two.
    Tournament,
    /// By a first stage of scores that are halved so often.
    Shifted(u32),
}

/// A form in a graph.
pub(super) struct Built {
    pub(super) result: ValueId,
    /// Its first value; all up to the result are of the form.
    first: usize,
    exponents: ValueId,
    /// Its functions.
    functions: Vec<Demand>,
}

/// How near the polynomial of a function is to be.
struct Demand {
    function: ValueId,
    /// Absent where it is what the result bears.
    error: Option<f64>,
    /// Whether the error is relative to the smallest number of this tensor.
    beside: Option<ValueId>,
}

/// The logarithm of sums of exponentials whose result is `id`, if it is one.
pub(super) fn log_sum(graph: &Graph, id: ValueId) -> Option<LogSum> {
    let value = graph.value(id);
    let Op::Function { x: sum, function: Function::Log } = value.op else { return None };
    let (powers, sums) = linear(graph, sum)?;
    let Op::Function { x: exponents, function: Function::Exp } = graph.value(powers).op else {
        return None;
    };
    let mut taken = vec![false; sums.cols];
    let own = |(_, element, weight): (usize, usize, f64)| {
        weight == 1.0 && !std::mem::replace(&mut taken[element], true)
    };
    let disjoint = sums.entries().all(own);
    let whole = (0..sums.rows).all(|g| sums.row(g).next().is_some());
    let found = LogSum { exponents, sums, shape: value.shape.clone(), origin: value.origin };
    (disjoint && whole).then_some(found)
}

impl LogSum {
    /// All forms, built into the graph, in the order of preference.
    pub(super) fn forms(&self, graph: &mut Graph) -> Vec<(Form, Built)> {
        let shifted = (1..=MOST).map(Form::Shifted);
        let forms = [Form::Direct, Form::Tournament].into_iter().chain(shifted);
        forms.map(|form| (form, self.build(graph, self.exponents, form))).collect()
    }

    /// The form in a graph in which the exponents are `x`.
    pub(super) fn build(&self, graph: &mut Graph, x: ValueId, form: Form) -> Built {
        let first = graph.values.len();
        let mut built = Built { result: x, first, exponents: x, functions: Vec::new() };
        built.result = match form {
            Form::Direct => self.log_of_sum(graph, x, None, &mut built.functions),
            Form::Tournament => self.tournament(graph, x, &mut built.functions),
            Form::Shifted(k) => {
                let times = 2f64.powi(k as i32);
                self.shifted(graph, x, times, &mut built.functions)
            }
        };
        built
    }

    fn affine(
        &self,
        graph: &mut Graph,
        terms: Vec<(ValueId, SparseMatrix)>,
        shape: Vec<usize>,
    ) -> ValueId {
        let stored = |(x, matrix)| (x, graph.consts.add_matrix(matrix));
        let terms = terms.into_iter().map(stored).collect();
        graph.push(Op::Affine { terms, bias: None }, shape, self.origin)
    }

    /// `log Σ exp(x)`.
    fn log_of_sum(
        &self,
        graph: &mut Graph,
        x: ValueId,
        error: Option<f64>,
        functions: &mut Vec<Demand>,
    ) -> ValueId {
        let shape = graph.value(x).shape.clone();
        let powers = Op::Function { x, function: Function::Exp };
        let powers = graph.push(powers, shape, self.origin);
        let sum = self.affine(graph, vec![(powers, self.sums.clone())], self.shape.clone());
        let log = Op::Function { x: sum, function: Function::Log };
        let log = graph.push(log, self.shape.clone(), self.origin);
        functions.push(Demand { function: powers, error, beside: Some(sum) });
        functions.push(Demand { function: log, error, beside: None });
        log
    }

    /// `m + log Σ exp(x - m)` with `m` the logarithm for `x/times`, `times` over.
    fn shifted(
        &self,
        graph: &mut Graph,
        x: ValueId,
        times: f64,
        functions: &mut Vec<Demand>,
    ) -> ValueId {
        let (groups, elements) = (self.sums.rows, self.sums.cols);
        let shape = graph.value(x).shape.clone();
        let softer = SparseMatrix::diagonal(&vec![1.0 / times; elements]);
        let softer = self.affine(graph, vec![(x, softer)], shape.clone());
        let rough = self.log_of_sum(graph, softer, Some(ROUGH / times), functions);
        let mut of = vec![None; elements];
        self.sums.entries().for_each(|(group, element, _)| of[element] = Some(group));
        let spread = SparseMatrix::gather(elements, groups, |e| of[e]);
        // What is in no group stays out of the exponential.
        let kept = SparseMatrix::gather(elements, elements, |e| of[e].map(|_| e));
        let minus = (rough, spread.scale_rows(&vec![-times; elements]));
        let rest = self.affine(graph, vec![(x, kept), minus], shape);
        let log = self.log_of_sum(graph, rest, None, functions);
        let rough = (rough, SparseMatrix::diagonal(&vec![times; groups]));
        let log = (log, SparseMatrix::identity(groups));
        self.affine(graph, vec![log, rough], self.shape.clone())
    }

    /// Rounds of pairs until one is left of every group.
    fn tournament(&self, graph: &mut Graph, x: ValueId, functions: &mut Vec<Demand>) -> ValueId {
        let members = |g| self.sums.row(g).map(|(e, _)| e).collect();
        let mut groups: Vec<Vec<usize>> = (0..self.sums.rows).map(members).collect();
        let mut x = x;
        while groups.iter().any(|g| g.len() > 1) {
            let elements = graph.value(x).elements();
            let mut pairs: Vec<(usize, usize)> = Vec::new();
            // Per winner an element, and a pair if it did not wait.
            let mut winners: Vec<(usize, Option<usize>)> = Vec::new();
            for group in &mut groups {
                let first = winners.len();
                for pair in group.chunks(2) {
                    match *pair {
                        [a, b] => {
                            winners.push((b, Some(pairs.len())));
                            pairs.push((a, b));
                        }
                        _ => winners.push((pair[0], None)),
                    }
                }
                *group = (first..winners.len()).collect();
            }
            let left = SparseMatrix::gather(pairs.len(), elements, |r| Some(pairs[r].0));
            let right = SparseMatrix::gather(pairs.len(), elements, |r| Some(pairs[r].1));
            let difference = left.plus(&right.scale_rows(&vec![-1.0; pairs.len()]));
            let shape = vec![1, pairs.len()];
            let difference = self.affine(graph, vec![(x, difference)], shape.clone());
            let more = Op::Function { x: difference, function: Function::Softplus };
            let more = graph.push(more, shape, self.origin);
            functions.push(Demand { function: more, error: None, beside: None });
            let kept = SparseMatrix::gather(winners.len(), elements, |r| Some(winners[r].0));
            let added = SparseMatrix::gather(winners.len(), pairs.len(), |r| winners[r].1);
            let shape = vec![1, winners.len()];
            x = self.affine(graph, vec![(x, kept), (more, added)], shape);
        }
        let order = SparseMatrix::gather(groups.len(), graph.value(x).elements(), |g| {
            groups[g].first().copied()
        });
        self.affine(graph, vec![(x, order)], self.shape.clone())
    }
}

impl Built {
    /// Levels that the form is expected to take in the graph that it was built into.
    pub(super) fn levels(&self, graph: &Graph, calibration: &Calibration) -> u32 {
        let mut depth = vec![0; graph.values.len()];
        for id in graph.ids().filter(|id| (self.first..=self.result.index()).contains(&id.index()))
        {
            let op = &graph.value(id).op;
            let own = match op {
                Op::Function { x, function } => self.levels_of(id, *x, function, calibration),
                _ => 1,
            };
            let before = op.operands().iter().map(|x| depth[x.index()]).max().unwrap_or(0);
            depth[id.index()] = before + own;
        }
        depth[self.result.index()]
    }

    fn levels_of(
        &self,
        id: ValueId,
        x: ValueId,
        function: &Function,
        calibration: &Calibration,
    ) -> u32 {
        let Some(demand) = self.functions.iter().find(|d| d.function == id) else { return 1 };
        let least = demand.beside.map_or(1.0, |sum| calibration.spread(sum).min);
        let scores = calibration.spread(self.exponents);
        let error = demand.error.unwrap_or(ERROR * (scores.max - scores.min)) * least;
        let seen = calibration.spread(x);
        let tail = calibration.extremes.get(&id).map_or(Tail::default(), |e| Tail::of(e));
        let (low, high) = (seen.min - tail.below, seen.max + tail.above);
        let levels = match function {
            Function::Exp => levels::of_exponential((low, high), error),
            Function::Log => levels::of_logarithm(high / (seen.min / 2.0), error),
            _ => levels::of_softplus(high.max(-low), error),
        };
        if levels > MOST_LEVELS { OUT_OF_REACH } else { levels }
    }
}

#[cfg(test)]
mod tests {
    use super::super::temper;
    use super::*;
    use crate::data::Samples;
    use crate::passes::tensor::calibrate::calibrate;
    use crate::reference::Executor;
    use heplan_ir::origin::OriginTable;

    /// The logarithms of `groups` sums of `length` exponentials; one more score is in no group.
    fn graph(groups: usize, length: usize) -> Graph {
        let mut g = Graph::default();
        let (none, scores) = (OriginTable::none(), vec![1, groups * length + 1]);
        let x = g.push(Op::Input { name: "x".into() }, scores.clone(), none);
        let powers = g.push(Op::Function { x, function: Function::Exp }, scores, none);
        let sums = SparseMatrix::from_rows(groups, groups * length + 1, |group, row| {
            row.extend((0..length).map(|i| ((group * length + i) as u32, 1.0)));
        });
        let terms = vec![(powers, g.consts.add_matrix(sums))];
        let sum = g.push(Op::Affine { terms, bias: None }, vec![1, groups], none);
        let y = Op::Function { x: sum, function: Function::Log };
        let y = g.push(y, vec![1, groups], none);
        g.outputs = vec![("y".into(), y)];
        g
    }

    /// Scores that reach to `reach` on either side, those of most samples not as far.
    fn samples(elements: usize, reach: f64) -> Samples {
        let score =
            |s: usize, e: usize| reach * (s % 8 + 1) as f64 / 8.0 * ((7 * s + 5 * e) as f64).sin();
        let sample = |s: usize| (0..elements).map(|e| score(s, e)).collect();
        Samples { inputs: vec![(0..40).map(sample).collect()], ..Samples::default() }
    }

    /// By the definition, beside the largest score.
    fn wanted(scores: &[f64], length: usize) -> Vec<f64> {
        let log = |group: &[f64]| {
            let top = group.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            top + group.iter().map(|x| (x - top).exp()).sum::<f64>().ln()
        };
        scores[..scores.len() - 1].chunks_exact(length).map(log).collect()
    }

    #[track_caller]
    fn gives_the_logarithms(graph: &Graph, samples: &Samples, length: usize) {
        assert!(graph.verify().is_empty());
        let found = Executor::new(graph).run_samples(samples);
        for (scores, found) in samples.inputs[0].iter().zip(&found) {
            let wanted = wanted(scores, length);
            let near = |(w, f): (&f64, &f64)| (w - f).abs() < 1e-9;
            assert_eq!(found[0].len(), wanted.len());
            assert!(wanted.iter().zip(&found[0]).all(near), "{wanted:?} {found:?}");
        }
    }

    #[test]
    fn every_form_is_the_logarithm() {
        for length in [1, 2, 3, 5] {
            let old = graph(2, length);
            let samples = samples(2 * length + 1, 15.0);
            let log = log_sum(&old, old.outputs[0].1).expect("it is one");
            for form in [Form::Direct, Form::Tournament, Form::Shifted(1), Form::Shifted(4)] {
                let mut new = old.clone();
                new.outputs[0].1 = log.build(&mut new, log.exponents, form).result;
                gives_the_logarithms(&new, &samples, length);
            }
        }
    }

    #[test]
    fn ordinary_scores_keep_their_form() {
        assert_eq!(temper(&graph(1, 10), &samples(11, 2.0)), Ok(None));
    }

    #[test]
    fn the_logarithms_of_wide_scores_are_of_near_numbers() {
        let samples = samples(31, 15.0);
        let new = temper(&graph(2, 15), &samples).expect("finite").expect("wide");
        gives_the_logarithms(&new, &samples, 15);
        let calibration = calibrate(&new, &samples).expect("finite");
        let ratio = |id: ValueId| match new.value(id).op {
            Op::Function { x, function: Function::Log } => {
                let sums = calibration.spread(x);
                sums.max / sums.min
            }
            _ => 1.0,
        };
        // A sum of exponentials of scores within 15 of zero may span a factor of exp(30).
        assert!(new.ids().map(ratio).fold(1.0, f64::max) < 1e5);
    }

    #[test]
    fn few_wide_scores_meet_in_a_tournament() {
        let samples = samples(7, 15.0);
        let new = temper(&graph(2, 3), &samples).expect("finite").expect("wide");
        gives_the_logarithms(&new, &samples, 3);
        let rounds = |id: &ValueId| {
            matches!(new.value(*id).op, Op::Function { function: Function::Softplus, .. })
        };
        assert_eq!(new.ids().filter(rounds).count(), 2);
    }

    #[test]
    fn sums_with_weights_or_common_elements_are_none() {
        for entries in [[(0, 1.0), (1, 2.0)], [(0, 1.0), (0, 1.0)]] {
            let mut g = graph(2, 1);
            let sum = g.values.len() - 2;
            let matrix = SparseMatrix::from_rows(2, 3, |group, row| row.push(entries[group]));
            let matrix = g.consts.add_matrix(matrix);
            if let Op::Affine { terms, .. } = &mut g.values[sum].op {
                terms[0].1 = matrix;
            }
            assert!(log_sum(&g, g.outputs[0].1).is_none());
        }
    }
}
