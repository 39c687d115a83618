//! Softmax of widely spread scores: of scores brought near each other, then sharpened by squares.
//! Logarithms of their sums of exponentials have forms of their own (`temper/logarithm.rs`).
//!
//! Before, with `S` the sums of groups and `G` giving every element that of its group:
//! `%2 = exp %1; %3 = S·%2; %4 = reciprocal %3; %5 = G·%4; %6 = %2 × %5`.
//! After, for one halving: the same of `%1/2`, then `%7 = %6 × %6; %8 = GS·%7;
//! %9 = reciprocal %8; %10 = %7 × %9`.
//!
//! Scores that differ by 14 have sums of exponentials over six decades, whose reciprocal no
//! polynomial of a bearable degree follows. The shares `p` of scores divided by `2^k` have sums of
//! one decade; `k` times `p² / Σ p²` turns them into those of the scores, and as shares of `n`
//! elements have sums of squares within `[1/n, 1]`, each of these reciprocals is easy. (Cho,
//! Hanrot, Park, Passelègue and Stehlé, "Fast and Accurate Homomorphic Softmax Evaluation",
//! ePrint 2024/953.)
//! Calibration says how far scores are spread; the number of halvings is the one that is expected
//! to take the fewest levels, none for ordinary scores.

mod levels;
mod logarithm;

use std::collections::BTreeMap;

use heplan_ir::diagnostic::Diagnostic;
use heplan_ir::entity::{OriginId, ValueId};
use heplan_ir::function::Function;
use heplan_ir::matrix::SparseMatrix;
use heplan_ir::tensor::{Graph, Op};

use super::calibrate::{Calibration, calibrate};
use super::editor::Editor;
use crate::data::Samples;
use logarithm::{Built, Form, LogSum};

/// Most halvings: the scores may be spread over hundreds then.
const MOST: u32 = 6;
/// The relative error that levels are counted for; what is chosen later is measured.
const ERROR: f64 = 0.02;
/// By how much a window is wider than the range that calibration saw, at the end near zero.
const WIDER: f64 = 2.0;

/// A softmax as the importer writes it.
struct Softmax {
    /// What the exponential is taken of.
    exponents: ValueId,
    /// The sums of all groups.
    sums: SparseMatrix,
    /// Gives every element the number of its group.
    spread: SparseMatrix,
}

/// What a value is replaced by.
enum Change {
    /// A softmax of scores that are halved so often.
    Softmax(Softmax, u32),
    /// Another form of a logarithm.
    Logarithm(LogSum, Form),
}

/// The graph with every softmax and every logarithm of a sum of exponentials whose scores are spread
/// too widely in another form; `None` where there is none.
///
/// # Errors
/// Those of calibration.
pub fn temper(graph: &Graph, samples: &Samples) -> Result<Option<Graph>, Vec<Diagnostic>> {
    let changes = changes(graph, samples)?;
    if changes.is_empty() {
        return Ok(None);
    }
    let mut editor = Editor::new(graph);
    for id in graph.ids() {
        let origin = graph.value(id).origin;
        let new = match changes.get(&id) {
            Some(Change::Softmax(softmax, k)) => {
                Tempered { editor: &mut editor, like: id, origin, softmax }.build(*k)
            }
            Some(Change::Logarithm(log, form)) => {
                let x = editor.of(log.exponents);
                log.build(&mut editor.new, x, *form).result
            }
            None => {
                editor.copy(id);
                continue;
            }
        };
        editor.set(id, new);
    }
    Ok(Some(editor.finish()))
}

/// The values that take fewer levels in another form.
fn changes(graph: &Graph, samples: &Samples) -> Result<BTreeMap<ValueId, Change>, Vec<Diagnostic>> {
    let of_softmax = |id| Some((id, softmax(graph, id)?));
    let softmaxes: BTreeMap<_, _> = graph.ids().filter_map(of_softmax).collect();
    let of_log = |id| Some((id, logarithm::log_sum(graph, id)?));
    let logs: BTreeMap<_, _> = graph.ids().filter_map(of_log).collect();
    let mut changes = BTreeMap::new();
    if softmaxes.is_empty() && logs.is_empty() {
        return Ok(changes);
    }
    let mut probe = graph.clone();
    let sums_of = |softmax| (0..=MOST).map(|k| tempered_sums(&mut probe, softmax, k)).collect();
    let sums: Vec<Vec<ValueId>> = softmaxes.values().map(sums_of).collect();
    let forms_of = |log: &LogSum| log.forms(&mut probe);
    let forms: Vec<Vec<(Form, Built)>> = logs.values().map(forms_of).collect();
    let calibration = calibrate(&probe, samples)?;
    for ((id, softmax), sums) in softmaxes.into_iter().zip(&sums) {
        let k = halvings(&softmax, sums, &calibration);
        if k > 0 {
            changes.insert(id, Change::Softmax(softmax, k));
        }
    }
    for ((id, log), forms) in logs.into_iter().zip(&forms) {
        let levels = |(_, built): &&(Form, Built)| built.levels(&probe, &calibration);
        let best = forms.iter().min_by_key(levels).map_or(Form::Direct, |f| f.0);
        if best != Form::Direct {
            changes.insert(id, Change::Logarithm(log, best));
        }
    }
    Ok(changes)
}

/// The softmax whose result is `id`, if it is one.
fn softmax(graph: &Graph, id: ValueId) -> Option<Softmax> {
    let Op::Product { a, b } = graph.value(id).op else { return None };
    [(a, b), (b, a)].into_iter().find_map(|(powers, inverse)| {
        let Op::Function { x: exponents, function: Function::Exp } = graph.value(powers).op else {
            return None;
        };
        let (reciprocal, spread) = linear(graph, inverse)?;
        let Op::Function { x: sum, function: Function::Reciprocal } = graph.value(reciprocal).op
        else {
            return None;
        };
        let (summed, sums) = linear(graph, sum)?;
        let found = Softmax { exponents, sums, spread };
        (summed == powers && found.is_of_groups()).then_some(found)
    })
}

/// The operand and the matrix of an affine map without more to it.
fn linear(graph: &Graph, id: ValueId) -> Option<(ValueId, SparseMatrix)> {
    let Op::Affine { terms, bias: None } = &graph.value(id).op else { return None };
    let [(x, matrix)] = terms.as_slice() else { return None };
    Some((*x, (**graph.consts.matrix(*matrix)).clone()))
}

impl Softmax {
    /// Whether groups have no element in common, and every element the sum of its own.
    fn is_of_groups(&self) -> bool {
        let mut of = vec![None; self.sums.cols];
        for (group, element, weight) in self.sums.entries() {
            if weight != 1.0 || of[element].is_some() {
                return false;
            }
            of[element] = Some(group);
        }
        let own = |(element, group, weight): (usize, usize, f64)| {
            weight == 1.0 && of[element] == Some(group)
        };
        self.spread.entries().all(own)
            && self.spread.nnz() == self.sums.nnz()
            && (0..self.sums.rows).all(|g| self.sums.row(g).next().is_some())
    }

    /// Whether every element is in a group.
    fn is_whole(&self) -> bool {
        self.spread.nnz() == self.spread.rows
    }

    /// The size of the largest group.
    fn largest(&self) -> usize {
        (0..self.sums.rows).map(|g| self.sums.row(g).count()).max().unwrap_or(1)
    }
}

/// How often the scores of a softmax are to be halved, given its sums for every number of halvings.
fn halvings(softmax: &Softmax, sums: &[ValueId], calibration: &Calibration) -> u32 {
    let exponents = calibration.spread(softmax.exponents);
    let half = (exponents.max - exponents.min) / 2.0;
    let depth = |k: u32| {
        let sum = calibration.spread(sums[k as usize]);
        let half = half / f64::from(1 << k);
        let near = (ERROR * half.exp()).min(1.0);
        let first = levels::of_exponential((-half, half), near)
            + levels::of_reciprocal(WIDER * sum.max / sum.min, ERROR);
        // A square, the sum, the reciprocal and a product.
        first + k * (3 + levels::of_reciprocal(softmax.largest() as f64, ERROR))
    };
    (0..=MOST).min_by_key(|&k| depth(k)).unwrap_or(0)
}

/// The sums of exponentials of scores that are halved `k` times, as values of the graph.
fn tempered_sums(graph: &mut Graph, softmax: &Softmax, k: u32) -> ValueId {
    let shape = graph.value(softmax.exponents).shape.clone();
    let origin = graph.value(softmax.exponents).origin;
    let linear = |graph: &mut Graph, x, matrix: SparseMatrix, shape| {
        let terms = vec![(x, graph.consts.add_matrix(matrix))];
        graph.push(Op::Affine { terms, bias: None }, shape, origin)
    };
    let softer = linear(graph, softmax.exponents, softer(softmax, k), shape.clone());
    let powers = Op::Function { x: softer, function: Function::Exp };
    let powers = graph.push(powers, shape, origin);
    linear(graph, powers, softmax.sums.clone(), vec![1, softmax.sums.rows])
}

/// Halves `k` times.
fn softer(softmax: &Softmax, k: u32) -> SparseMatrix {
    SparseMatrix::diagonal(&vec![0.5f64.powi(k as i32); softmax.sums.cols])
}

/// A softmax in tempered form, under construction.
struct Tempered<'e, 'g> {
    editor: &'e mut Editor<'g>,
    /// The old value that it stands for.
    like: ValueId,
    origin: OriginId,
    softmax: &'e Softmax,
}

impl Tempered<'_, '_> {
    fn push(&mut self, op: Op) -> ValueId {
        self.editor.push_like(self.like, op, self.origin)
    }

    fn linear(&mut self, x: ValueId, matrix: SparseMatrix) -> ValueId {
        let op = self.editor.affine(vec![(x, matrix)], None);
        self.push(op)
    }

    fn build(mut self, k: u32) -> ValueId {
        let exponents = self.editor.of(self.softmax.exponents);
        let softer = self.linear(exponents, softer(self.softmax, k));
        let powers = self.push(Op::Function { x: softer, function: Function::Exp });
        let mut shares = self.over_sums(powers);
        for _ in 0..k {
            let squares = self.push(Op::Product { a: shares, b: shares });
            shares = self.over_sums(squares);
        }
        shares
    }

    /// `x` over the sums of its groups. Where every element is in a group, the reciprocals are
    /// taken everywhere, which saves the level that spreads them.
    fn over_sums(&mut self, x: ValueId) -> ValueId {
        let Softmax { sums, spread, .. } = self.softmax;
        let inverse = if self.softmax.is_whole() {
            let everywhere = self.linear(x, spread.compose(sums));
            self.push(Op::Function { x: everywhere, function: Function::Reciprocal })
        } else {
            let op = self.editor.affine(vec![(x, sums.clone())], None);
            let sum = self.editor.new.push(op, vec![1, sums.rows], self.origin);
            let op = Op::Function { x: sum, function: Function::Reciprocal };
            let inverse = self.editor.new.push(op, vec![1, sums.rows], self.origin);
            self.linear(inverse, spread.clone())
        };
        self.push(Op::Product { a: x, b: inverse })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::tensor::simplify::simplify;
    use crate::reference::Executor;
    use heplan_ir::origin::OriginTable;

    /// The softmax of groups of three out of `elements` scores; the last one is in no group.
    fn graph(elements: usize) -> Graph {
        let mut g = Graph::default();
        let none = OriginTable::none();
        let (groups, shape) = (elements / 3, vec![elements]);
        let x = g.push(Op::Input { name: "x".into() }, shape.clone(), none);
        let powers = g.push(Op::Function { x, function: Function::Exp }, shape.clone(), none);
        let linear = |g: &mut Graph, x, matrix: SparseMatrix, n| {
            let terms = vec![(x, g.consts.add_matrix(matrix))];
            g.push(Op::Affine { terms, bias: None }, vec![n], none)
        };
        let sums = SparseMatrix::from_rows(groups, elements, |group, row| {
            row.extend((0..3).map(|i| (3 * group as u32 + i, 1.0)));
        });
        let spread = SparseMatrix::gather(elements, groups, |e| (e < 3 * groups).then_some(e / 3));
        let sum = linear(&mut g, powers, sums, groups);
        let inverse = Op::Function { x: sum, function: Function::Reciprocal };
        let inverse = g.push(inverse, vec![groups], none);
        let everywhere = linear(&mut g, inverse, spread, elements);
        let y = g.push(Op::Product { a: everywhere, b: powers }, shape, none);
        g.outputs = vec![("y".into(), y)];
        g
    }

    /// Centred scores that reach to `reach` on either side.
    fn samples(elements: usize, reach: f64) -> Samples {
        let score = |s: usize, e: usize| reach * ((7 * s + 5 * e) as f64).sin();
        let sample = |s: usize| (0..elements).map(|e| score(s, e)).collect();
        Samples { inputs: vec![(0..40).map(sample).collect()], ..Samples::default() }
    }

    /// The largest ratio of numbers that one reciprocal is taken of.
    fn widest(graph: &Graph, samples: &Samples) -> f64 {
        let calibration = calibrate(graph, samples).expect("finite");
        let ratio = |id: ValueId| match graph.value(id).op {
            Op::Function { x, function: Function::Reciprocal } => {
                let sums = calibration.spread(x);
                sums.max / sums.min
            }
            _ => 1.0,
        };
        graph.ids().map(ratio).fold(1.0, f64::max)
    }

    fn shares(scores: &[f64]) -> Vec<f64> {
        let sum: f64 = scores.iter().map(|x| x.exp()).sum();
        scores.iter().map(|x| x.exp() / sum).collect()
    }

    #[test]
    fn ordinary_scores_are_left_alone() {
        assert_eq!(temper(&graph(6), &samples(6, 2.0)), Ok(None));
    }

    #[test]
    fn the_tempered_form_is_the_softmax_and_its_reciprocals_are_of_near_numbers() {
        for elements in [6, 7] {
            let samples = samples(elements, 15.0);
            let tempered = temper(&graph(elements), &samples).expect("finite").expect("wide");
            let tempered = simplify(&tempered);
            assert!(tempered.verify().is_empty());
            let before = widest(&graph(elements), &samples);
            let after = widest(&tempered, &samples);
            assert!(1e3 * after < before, "{after} {before}");
            let found = Executor::new(&tempered).run_samples(&samples);
            for (scores, found) in samples.inputs[0].iter().zip(&found) {
                let mut wanted: Vec<f64> = scores[..6].chunks(3).flat_map(shares).collect();
                wanted.resize(elements, 0.0);
                let near = |(w, f): (&f64, &f64)| (w - f).abs() < 1e-9;
                assert!(wanted.iter().zip(&found[0]).all(near), "{wanted:?} {found:?}");
            }
        }
    }

    #[test]
    fn sums_of_other_elements_are_no_softmax() {
        let mut g = graph(6);
        let last = g.values.len() - 1;
        // The sums change places.
        let swapped = g.consts.add_matrix(SparseMatrix::gather(6, 2, |e| Some(1 - e / 3)));
        if let Op::Affine { terms, .. } = &mut g.values[last - 1].op {
            terms[0].1 = swapped;
        }
        assert_eq!(temper(&g, &samples(6, 15.0)), Ok(None));
    }
}
