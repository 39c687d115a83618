//! Every `Function` becomes a Chebyshev series on the range that calibration saw, with a margin.
//!
//! Before: `%2 = relu %1`.
//! After: `%2 = affine D·%1 + s; %3 = polynomial %2; %4 = affine R·%3`, where `D`, `s` bring each
//! channel's range to [-1, 1] and `R` undoes scales per channel and holds the leading coefficients
//! of monic polynomials; fusion then folds both into the neighbouring maps, so that neither costs a
//! level.
//! It runs after calibration, whose ranges it needs. Its degree is the largest choice that this
//! level makes: each doubling costs a level for every function, each level a larger ring.

mod choose;
mod deep;
mod fit;
mod judge;
mod own;
mod pole;
mod step;
mod turn;
mod window;

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::entity::ValueId;
use heplan_ir::function::Function;
use heplan_ir::matrix::SparseMatrix;
use heplan_ir::tensor::{Graph, Op};

use super::calibrate::{Calibration, Tail};
use super::editor::Editor;
use crate::data::Samples;
use crate::options::Options;
pub use crate::report::FunctionReport;
use choose::{Candidate, Choice, Chooser};
use fit::Fit;
use judge::Judge;
pub use judge::Score;
use window::{Frame, Seen, Window};

/// Largest degree that is tried.
const MAX_DEGREE: usize = 128;

/// Whether an effect on the outputs is small enough: class scores by their root mean square error
/// and by the classes that they give, and would give even if every error were half as large again;
/// other outputs must be twice as good, and nowhere worse than twice the wish. The errors of
/// comparisons are all at their thresholds, where they are large: only their mean is bounded then.
fn accepts(options: &Options, judge: &Judge<'_>, score: &Score) -> bool {
    let bound = judge.bound(options);
    match (score.agreement, score.firm_agreement) {
        (Some(agreement), _) if judge.jumps => {
            score.rms <= bound && agreement >= options.min_agreement
        }
        _ if judge.jumps => score.rms <= bound / 2.0,
        (Some(agreement), Some(firm)) => {
            score.rms <= bound && agreement.min(firm) >= options.min_agreement
        }
        _ => score.rms <= bound / 2.0 && score.worst <= 2.0 * bound,
    }
}

/// A graph without functions.
#[derive(Clone, Debug, PartialEq)]
pub struct Approximated {
    /// The graph.
    pub graph: Graph,
    /// What was chosen, in the graph's order.
    pub functions: Vec<FunctionReport>,
    /// What it does to the outputs, over the samples that it was chosen by.
    pub score: Score,
}

/// Replaces every function of `graph`, which `calibration` is of.
///
/// # Errors
/// [`Code::Domain`] for each function whose range holds a number at which it has no value,
/// [`Code::Approximation`] if a function has no polynomial near it, and [`Code::Precision`] if
/// the outputs do not become as good as the options ask.
pub fn approximate(
    graph: &Graph,
    calibration: &Calibration,
    samples: &Samples,
    options: &Options,
) -> Result<Approximated, Vec<Diagnostic>> {
    let candidates = candidates(graph, calibration, options)?;
    if candidates.is_empty() {
        return Ok(Approximated {
            graph: graph.clone(),
            functions: Vec::new(),
            score: Score::default(),
        });
    }
    let judge = Judge::new(graph, samples);
    let (candidates, choice) = if turn::is_deep(graph) {
        let all = Judge::thorough(graph, samples);
        let candidates = turn::reframed(&all, candidates, options);
        let choice = deep::choose(&candidates, (&judge, &all), options);
        (candidates, choice)
    } else {
        let choice = Chooser::new(&candidates, &judge, options).choose();
        (candidates, choice)
    };
    let Some(choice) = choice else {
        let message = "the least squares problem of an approximation is singular";
        return Err(vec![Diagnostic::new(Code::Approximation, message)]);
    };
    let describe = |i: usize| describe(graph, calibration, &candidates[i], &choice, i);
    let functions: Vec<FunctionReport> = (0..candidates.len()).map(describe).collect();
    if !choice.accepted {
        let asked = (judge.bound(options), options.min_agreement);
        return Err(vec![refusal(graph, &candidates, &functions, &choice, asked)]);
    }
    let graph = replace(graph, &candidates, &choice.fits);
    Ok(Approximated { graph, functions, score: choice.score })
}

fn candidates<'g>(
    graph: &'g Graph,
    calibration: &'g Calibration,
    options: &Options,
) -> Result<Vec<Candidate<'g>>, Vec<Diagnostic>> {
    let users = graph.users();
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for id in graph.ids() {
        let value = graph.value(id);
        let Op::Function { x, function } = &value.op else { continue };
        let (x, shape) = (*x, value.shape.as_slice());
        // Only affine maps undo a scale per channel for free.
        let affine = |u: &ValueId| matches!(graph.value(*u).op, Op::Affine { .. });
        let undone =
            users[id.index()].iter().all(affine) && graph.outputs.iter().all(|o| o.1 != id);
        let elements = &calibration.elements[x.index()];
        let tail = calibration.extremes.get(&id).map_or(Tail::default(), |e| Tail::of(e));
        let domain = (options.domain, options.margin);
        let none = [Vec::new(), Vec::new()];
        let seen = Seen { elements, tail, halves: calibration.halves.get(&id).unwrap_or(&none) };
        let values = calibration.operands.get(&id).map_or(&[][..], Vec::as_slice);
        if *function == Function::Step {
            let shared = step::window(&value.shape, seen, options.margin);
            found.push(Candidate {
                id,
                x,
                shape,
                function,
                shared,
                own: None,
                undone,
                values,
                bearable: f64::INFINITY,
                deep: false,
            });
            continue;
        }
        let frame = if undone { Frame::Scaled } else { Frame::Single };
        let own = window::channels(&value.shape) > 1 && window::is_total(function);
        let own = own.then(|| Window::of(function, &value.shape, seen, Frame::Own, domain).ok());
        match Window::of(function, &value.shape, seen, frame, domain) {
            Ok(shared) => {
                let own = own.flatten();
                found.push(Candidate {
                    id,
                    x,
                    shape,
                    function,
                    shared,
                    own,
                    undone,
                    values,
                    bearable: pole::bearable(graph, &users, calibration, id),
                    deep: false,
                });
            }
            Err(mut error) => {
                error.node = graph.origins.nodes(value.origin).next().cloned();
                errors.push(*error);
            }
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

fn describe(
    graph: &Graph,
    calibration: &Calibration,
    candidate: &Candidate<'_>,
    choice: &Choice,
    i: usize,
) -> FunctionReport {
    let fit = &choice.fits[i];
    let value = graph.value(candidate.id);
    let x = value.op.operands()[0];
    let spread = calibration.spread(x);
    let scale = &fit.window.scale;
    let widest = (0..scale.len()).max_by(|&a, &b| scale[a].total_cmp(&scale[b])).unwrap_or(0);
    let at = |t: f64| fit.window.value(widest, t);
    let tame = fit::tame(candidate.function, fit);
    let set = fit.set();
    let outside = candidate
        .values
        .iter()
        .filter(|&&(e, v)| fit.window.place(e as usize, v).abs() > 1.0)
        .count();
    FunctionReport {
        origin: graph.origins.label(value.origin),
        function: format!("{:?}", candidate.function),
        seen: (spread.min, spread.max),
        range: (at(-1.0), at(1.0)),
        tame: (at(tame.0), at(tame.1)),
        channels: fit.window.scale.len(),
        degree: set.degree(),
        depth: set.depth(),
        max_error: fit.max_error,
        rms_error: fit.rms,
        effect: choice.alone[i],
        outside: outside as f64 / candidate.values.len().max(1) as f64,
        undecided: match candidate.function {
            Function::Step => step::undecided(fit, candidate.values),
            _ => 0.0,
        },
    }
}

/// Why no choice was good enough.
fn refusal(
    graph: &Graph,
    candidates: &[Candidate<'_>],
    functions: &[FunctionReport],
    choice: &Choice,
    (max_error, min_agreement): (f64, f64),
) -> Diagnostic {
    let far = (0..candidates.len()).find(|&i| !choice.fits[i].near);
    let worst = (0..candidates.len()).max_by(|&a, &b| choice.alone[a].total_cmp(&choice.alone[b]));
    let at = far.or(worst).unwrap_or(0);
    let function = &functions[at];
    let jump = *candidates[at].function == Function::Step;
    let mut finding = if far.is_some() {
        let message = format!(
            "{} is not approximated on {:.3} .. {:.3}: degree {} errs by {:.3}",
            function.function,
            function.range.0,
            function.range.1,
            function.degree,
            function.max_error
        );
        Diagnostic::new(Code::Approximation, message)
    } else {
        let (found, errors) = match jump {
            true => (choice.score.agreement, ""),
            false => (choice.score.firm_agreement, " with errors half as large again"),
        };
        let agreement = found
            .map_or(String::new(), |a| format!(", agreement with the float model{errors} {a:.4}"));
        let degree = functions.iter().map(|f| f.degree).max().unwrap_or(0);
        let message = format!(
            "approximations up to degree {degree} leave an output error of {:.2e}{agreement}",
            choice.score.rms
        );
        Diagnostic::new(Code::Precision, message).note(format!(
            "asked for: error at most {:.2e}, agreement at least {:.4}",
            max_error, min_agreement
        ))
    };
    finding.node = graph.origins.nodes(graph.value(candidates[at].id).origin).next().cloned();
    if let (Some(_), Some(ratio)) = (far, ratio(candidates[at].function, function.range)) {
        return finding
            .note(format!(
                "its operand spans a factor of {ratio:.0}, and near its pole the degree grows with \
                 the root of that"
            ))
            .help(
                "keep the operand further from zero, by a larger epsilon or a Clip in front of it, \
                 or leave outliers out of the calibration data",
            );
    }
    if let (Some(_), Some(help)) = (far, of_a_jump(candidates[at].function)) {
        return finding.help(help);
    }
    if !jump {
        return finding
            .help("narrow the operand's range, allow a higher degree or a lower agreement");
    }
    finding
        .note(format!(
            "{} comparisons: {:.1} % of the calibration values are too near to their threshold to \
             be decided",
            function.channels,
            100.0 * function.undecided
        ))
        .help(
            "train fewer or shallower trees, or on features of few values (rounded, counted); or \
             allow a larger error (--max-error) or a lower agreement (--min-agreement)",
        )
}

/// The way out of a function with a jump, which no polynomial comes near.
fn of_a_jump(function: &Function) -> Option<&'static str> {
    let jumps = match function {
        Function::Sign => true,
        Function::ThresholdedRelu { alpha } => *alpha != 0.0,
        Function::Shrink { bias, lambd } => bias != lambd,
        _ => false,
    };
    jumps.then_some(
        "it jumps: replace it by a function that does not, such as Tanh or Relu, or end the graph \
         with it, and decrypt applies it",
    )
}

/// How far the range of a function with a pole at zero spans, as a factor.
fn ratio(function: &Function, (low, high): (f64, f64)) -> Option<f64> {
    let pole = match function {
        Function::Reciprocal | Function::Log => true,
        Function::Pow { exponent } => *exponent < 0.0,
        _ => false,
    };
    let (near, far) = (low.abs().min(high.abs()), low.abs().max(high.abs()));
    (pole && near > 0.0).then(|| far / near)
}

/// The graph with each candidate's function as affine map, polynomial and affine map.
fn replace(graph: &Graph, candidates: &[Candidate<'_>], fits: &[Fit]) -> Graph {
    let mut editor = Editor::new(graph);
    for id in graph.ids() {
        let Some(i) = candidates.iter().position(|c| c.id == id) else {
            editor.copy(id);
            continue;
        };
        let value = graph.value(id);
        let (x, n) = (editor.of(value.op.operands()[0]), value.elements());
        let fit = &fits[i];
        let (into, shift) =
            (0..n).map(|e| fit.window.map_of(e)).unzip::<f64, f64, Vec<_>, Vec<_>>();
        let op = editor.affine(vec![(x, SparseMatrix::diagonal(&into))], Some(shift));
        let t = editor.push_like(id, op, value.origin);
        // One factor for all goes into the coefficients, several into an affine map, and so does
        // that of a monic polynomial.
        let mut set = fit.set();
        let apart = fit.gain.len() > 1 || set.monic().is_some();
        if !apart {
            let all = set.series.iter_mut().flat_map(|s| &mut s.coefficients);
            all.for_each(|c| *c *= fit.gain[0]);
        }
        let op = editor.polynomial(t, set);
        let mut y = editor.push_like(id, op, value.origin);
        if apart {
            let back: Vec<f64> = (0..n).map(|e| fit.gain_of(fit.window.class_of(e))).collect();
            let op = editor.affine(vec![(y, SparseMatrix::diagonal(&back))], None);
            y = editor.push_like(id, op, value.origin);
        }
        editor.set(id, y);
    }
    editor.finish()
}

#[cfg(test)]
mod tests;
