//! A model's prospects without calibration data: whether it can be compiled, and roughly at what
//! cost.
//!
//! Every function is taken to need a polynomial of typical degree, since nothing is known of its
//! range; matrices are counted by their diagonals in row-major layouts, which the search of a real
//! compilation improves on. So depth and ring may differ by a step from the plan's, and the time
//! is an order of magnitude. Nothing here must decide what a plan looks like.

use std::collections::BTreeMap;
use std::path::Path;

use heplan_ir::bootstrap;
use heplan_ir::diagnostic::Diagnostic;
use heplan_ir::function::Function;
use heplan_ir::matrix::SparseMatrix;
use heplan_ir::parameters::Parameters;
use heplan_ir::tensor::{Graph, Op};
use heplan_onnx::Model;

use crate::cost::{Costs, Place, Work, bootstrap_work};
use crate::import::{self, Surveyed, diagnose, survey};
use crate::passes::ckks::parameters::{
    HEADROOM_BITS, candidates, refreshing_candidates, smallest_ring,
};
use crate::passes::tensor::anchor::anchor;
use crate::passes::tensor::fuse_affine::fuse_affine;
use crate::passes::tensor::saturate::assume;
use crate::passes::tensor::simplify::simplify;

/// A scale that suits most models, in bits.
const TYPICAL_SCALE_BITS: u32 = 30;
/// Levels between two refreshes that are looked for, the best first.
const TYPICAL_CHAINS: [usize; 3] = [20, 15, 10];
/// Degree that a function without kinks typically needs.
const SMOOTH_DEGREE: usize = 15;
/// Degree that a function with a kink or a step typically needs.
const KINKED_DEGREE: usize = 31;
/// Degree that a comparison typically needs.
const JUMP_DEGREE: usize = 127;
/// Entries of a matrix whose diagonals are counted.
const MAX_COUNTED: usize = 1 << 20;
/// Places of diagonals that are marked one by one; more are sorted.
const MAX_MARKED: usize = 1 << 22;

/// What is known of a model before calibration.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Every node of the file; empty where the file cannot be read.
    pub nodes: Vec<Surveyed>,
    /// Everything that stands in the way; empty for a model that can be compiled.
    pub findings: Vec<Diagnostic>,
    /// What a user should know and need not mend.
    pub notes: Vec<String>,
    /// Names and shapes of the encrypted inputs.
    pub inputs: Vec<(String, Vec<usize>)>,
    /// Names and shapes of the encrypted outputs.
    pub outputs: Vec<(String, Vec<usize>)>,
    /// What a plan would look like, where there is one.
    pub estimate: Option<Estimate>,
}

/// A rough idea of a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Levels, with functions of typical degree.
    pub depth: usize,
    /// How often values are refreshed on the way, where no ring carries all levels.
    pub refreshes: usize,
    /// Functions that polynomials will replace.
    pub functions: usize,
    /// Base-2 logarithm of the smallest ring that carries the depth.
    pub log_n: u32,
    /// Diagonals of all matrices, row-major.
    pub diagonals: usize,
    /// Seconds of a run on one thread: an order of magnitude.
    pub seconds: f64,
}

/// Judges a model file, whose stem is its name, as it would be imported with these options.
pub fn judge(path: &Path, options: import::Options, costs: &Costs) -> Verdict {
    match Model::read(path) {
        Ok(model) => {
            let name = path.file_stem().map(|s| s.to_string_lossy().into_owned());
            judge_with(
                &model,
                &import::Options { name: name.unwrap_or_default(), ..options },
                costs,
            )
        }
        Err(error) => Verdict { findings: vec![diagnose(&error)], ..Verdict::default() },
    }
}

/// Judges a model that has been read, under this name.
pub fn judge_model(
    model: &Model,
    name: String,
    dimensions: &BTreeMap<String, usize>,
    costs: &Costs,
) -> Verdict {
    let dimensions = dimensions.clone();
    let options = import::Options { name, dimensions, ..import::Options::default() };
    judge_with(model, &options, costs)
}

fn judge_with(model: &Model, options: &import::Options, costs: &Costs) -> Verdict {
    let mut verdict = Verdict::default();
    let (imported, found) = match import::import(model, options) {
        Ok(imported) => (Some(imported), Vec::new()),
        Err(findings) => (None, findings),
    };
    (verdict.nodes, verdict.findings) = survey(model, found);
    let Some(imported) = imported else { return verdict };
    let graph = imported.graph;
    verdict.notes = imported.notes;
    verdict.inputs = graph
        .ids()
        .filter_map(|id| match &graph.value(id).op {
            Op::Input { name } => Some((name.clone(), graph.value(id).shape.clone())),
            _ => None,
        })
        .collect();
    verdict.outputs = match imported.answers.as_slice() {
        [] => {
            let port = |o: &(String, _)| (o.0.clone(), graph.value(o.1).shape.clone());
            graph.outputs.iter().map(port).collect()
        }
        answers => answers.iter().map(|a| (a.name.clone(), a.shape.clone())).collect(),
    };
    verdict.estimate = Some(estimate(&graph, costs));
    verdict
}

/// What a plan of an imported graph would roughly look like.
pub fn estimate(graph: &Graph, costs: &Costs) -> Estimate {
    let graph = anchor(&fuse_affine(&simplify(&assume(graph))));
    let before = levels(&graph);
    let depth = graph.outputs.iter().map(|o| before[o.1.index()]).max().unwrap_or(0);
    let functions = graph.ids().filter(|&id| is_function(&graph.value(id).op)).count();
    let parameters = carrier(depth);
    let (log_n, levels) = (parameters.log_n(), parameters.fresh_level().max(1));
    let refreshes = depth.saturating_sub(1) / levels;
    let seconds = refreshes as f64 * costs.seconds(&bootstrap_work(&parameters));
    let mut total = Estimate { depth, refreshes, functions, log_n, diagonals: 0, seconds };
    for id in graph.ids() {
        let value = graph.value(id);
        let spent = value.op.operands().iter().map(|x| before[x.index()]).max().unwrap_or(0);
        // Levels left until the next refresh, or the end.
        let left = depth.saturating_sub(spent).checked_sub(1).map_or(0, |left| left % levels + 1);
        let at = Place::of(&parameters, left);
        let parts = value.elements().div_ceil(parameters.width()) as f64;
        total.seconds += match &value.op {
            Op::Input { .. } => 0.0,
            Op::Affine { terms, .. } => {
                let count: usize =
                    terms.iter().map(|t| diagonals(graph.consts.matrix(t.1), &parameters)).sum();
                total.diagonals += count;
                let switches = 2.0 * (count as f64).sqrt();
                switches * costs.seconds(&Work::rotate(&at))
                    + count as f64 * costs.seconds(&Work::multiply_plain(&at))
            }
            Op::Product { .. } => parts * product(costs, &at),
            Op::Function { function, .. } => {
                2.0 * (2.0 * degree(function) as f64).sqrt() * parts * product(costs, &at)
            }
            Op::Polynomial { polynomials, .. } => {
                let degree = graph.consts.polynomials(*polynomials).degree();
                2.0 * (2.0 * degree as f64).sqrt() * parts * product(costs, &at)
            }
        };
    }
    total
}

/// Typical parameters that carry the levels: in the smallest ring that can, or else in the smallest one with refreshes.
fn carrier(depth: usize) -> Parameters {
    let (bits, headroom) = (TYPICAL_SCALE_BITS, HEADROOM_BITS);
    let whole = smallest_ring(depth, bits, headroom)
        .and_then(|log_n| candidates(log_n, depth, bits, headroom).into_iter().next());
    whole.unwrap_or_else(|| {
        let chains = bootstrap::LOG_N.flat_map(|n| TYPICAL_CHAINS.map(|levels| (n, levels)));
        let mut sets = chains
            .filter_map(|(n, levels)| refreshing_candidates(n, levels, bits, 0).into_iter().next());
        sets.next().expect("the largest ring refreshes at typical scales")
    })
}

fn product(costs: &Costs, at: &Place) -> f64 {
    costs.seconds(&Work::multiply(at))
        + costs.seconds(&Work::relinearise(at))
        + costs.seconds(&Work::rescale(at, 1))
}

fn is_function(op: &Op) -> bool {
    matches!(op, Op::Function { .. })
}

/// For every value the levels that it and all before it consume.
fn levels(graph: &Graph) -> Vec<usize> {
    let mut depth = vec![0; graph.values.len()];
    for id in graph.ids() {
        let op = &graph.value(id).op;
        let consumed = match op {
            Op::Input { .. } => 0,
            Op::Affine { .. } | Op::Product { .. } => 1,
            Op::Function { x, function } => {
                // The map that brings the range to [-1, 1] fuses with an affine map before it.
                let domain = !matches!(graph.value(*x).op, Op::Affine { .. });
                bits(degree(function)) + usize::from(domain)
            }
            Op::Polynomial { polynomials, .. } => {
                bits(graph.consts.polynomials(*polynomials).degree()).max(1)
            }
        };
        let before = op.operands().iter().map(|x| depth[x.index()]).max().unwrap_or(0);
        depth[id.index()] = before + consumed;
    }
    depth
}

/// Levels of a polynomial: `⌈log2(degree + 1)⌉`.
fn bits(degree: usize) -> usize {
    (usize::BITS - degree.leading_zeros()) as usize
}

/// The degree that a function typically needs.
fn degree(function: &Function) -> usize {
    match function {
        Function::Relu
        | Function::LeakyRelu { .. }
        | Function::ThresholdedRelu { .. }
        | Function::HardSigmoid { .. }
        | Function::HardSwish
        | Function::Clip { .. }
        | Function::Abs
        | Function::Sign => KINKED_DEGREE,
        Function::Step => JUMP_DEGREE,
        _ => SMOOTH_DEGREE,
    }
}

/// Diagonals of a matrix between row-major tensors, counted on a sample of its rows and at most
/// what folding leaves: as many per pair of ciphertexts as the shorter side has slots.
fn diagonals(matrix: &SparseMatrix, parameters: &Parameters) -> usize {
    let width = parameters.width();
    let period = |n: usize| n.next_power_of_two().min(width);
    let (rows, cols) = (period(matrix.rows), period(matrix.cols));
    let modulus = rows.max(cols);
    let step = matrix.nnz().div_ceil(MAX_COUNTED).max(1);
    let (down, across) = (matrix.rows.div_ceil(width), matrix.cols.div_ceil(width));
    let places = matrix.entries().filter(|(r, ..)| r.is_multiple_of(step)).map(|(r, c, _)| {
        let offset = (c % width + modulus - r % width % modulus) % modulus;
        (r / width * across + c / width) * modulus + offset
    });
    distinct(places, down * across * modulus).min(rows.min(cols) * down * across)
}

/// How many different numbers below `bound` there are.
fn distinct(numbers: impl Iterator<Item = usize>, bound: usize) -> usize {
    if bound <= MAX_MARKED {
        let mut seen = vec![false; bound];
        numbers.for_each(|n| seen[n] = true);
        return seen.into_iter().filter(|&s| s).count();
    }
    let mut all: Vec<usize> = numbers.collect();
    all.sort_unstable();
    all.dedup();
    all.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dense_matrix_has_as_many_diagonals_as_its_shorter_side() {
        let parameters = candidates(13, 3, 30, HEADROOM_BITS).remove(0);
        let dense = SparseMatrix::from_rows(10, 64, |_, row| row.extend((0..64).map(|c| (c, 1.0))));
        assert_eq!(diagonals(&dense, &parameters), 16);
        assert_eq!(diagonals(&SparseMatrix::identity(100), &parameters), 1);
    }

    #[test]
    fn numbers_are_counted_alike_whether_they_are_marked_or_sorted() {
        let numbers = || (0..1000).map(|i| i * i % 97);
        // The squares modulo 97: zero and half of the others.
        assert_eq!(distinct(numbers(), 97), 49);
        assert_eq!(distinct(numbers(), MAX_MARKED + 1), 49);
    }

    #[test]
    fn polynomials_take_the_levels_of_their_degree() {
        assert_eq!([1, 2, 3, 15, 16, 31].map(bits), [1, 2, 2, 4, 5, 5]);
    }
}
