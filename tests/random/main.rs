//! Random models of accepted operators against a second evaluator.
//!
//! A seed decides the graph, its weights and its inputs. What the importer makes of it must be what
//! the second evaluator, which knows no matrices, says it is; and the plan must keep its promise.
//! `HEPLAN_SEED=n` runs one graph and tells its steps.

mod evaluate;
mod generate;
#[path = "../common/onnx.rs"]
#[allow(dead_code, reason = "every suite uses another part")]
mod onnx;
mod random;
#[path = "../common/simulation.rs"]
mod simulation;
mod steps;

use std::collections::BTreeMap;

use bytes::Bytes;
use generate::Case;
use heplan_compiler::data::Samples;
use heplan_compiler::import;
use heplan_compiler::judge::{Judge, Tensors};
use heplan_compiler::options::{MAX_ERROR, Options};
use heplan_compiler::pipeline::observer::Unobserved;
use heplan_compiler::pipeline::{CompileError, compile};
use heplan_compiler::reference::Executor;
use heplan_ir::diagnostic::Diagnostic;
use heplan_ir::tensor::{Graph, Op};
use heplan_onnx::Model;
use simulation::Simulation;

/// Graphs whose import is held against the second evaluator.
const IMPORTED: u64 = 3000;
/// Graphs that are compiled as well.
const COMPILED: u64 = 80;

fn text(findings: &[Diagnostic]) -> String {
    let of =
        |d: &Diagnostic| format!("{}: {} ({})", d.code.as_str(), d.message, d.notes.join("; "));
    findings.iter().map(of).collect::<Vec<_>>().join("; ")
}

/// What the importer makes of a model, which it must accept.
fn imported(case: &Case) -> Result<Graph, String> {
    let model = Model::from_bytes("random", Bytes::from(case.model.clone()));
    let model = model.map_err(|e| e.to_string())?;
    let wishes = import::Options {
        name: "random".to_owned(),
        encrypted_tail: true,
        ..import::Options::default()
    };
    import::import(&model, &wishes).map(|i| i.graph).map_err(|found| text(&found))
}

/// The samples of those inputs that the graph still has.
fn samples(graph: &Graph, case: &Case) -> Samples {
    let named = graph.values.iter().filter_map(|v| match &v.op {
        Op::Input { name } => name.strip_prefix("in")?.parse::<usize>().ok(),
        _ => None,
    });
    let flat = |i: usize| case.inputs[i].iter().map(|t| t.iter().copied().collect()).collect();
    Samples { inputs: named.map(flat).collect(), ..Samples::default() }
}

fn wanted(case: &Case) -> Vec<Vec<f64>> {
    case.wanted.iter().map(|t| t.iter().copied().collect()).collect()
}

fn magnitude(all: &[Vec<f64>]) -> f64 {
    all.iter().flatten().fold(0.0, |m, x| m.max(x.abs()))
}

/// Whether the imported graph means what the second evaluator means.
fn meaning(graph: &Graph, samples: &Samples, wanted: &[Vec<f64>]) -> Result<(), String> {
    let errors = graph.verify();
    if !errors.is_empty() {
        return Err(format!("{errors:?}"));
    }
    let reach = magnitude(wanted);
    for (s, (found, wanted)) in
        Executor::new(graph).run_samples(samples).iter().zip(wanted).enumerate()
    {
        if found[0].len() != wanted.len() {
            return Err(format!("{} elements, not {}", found[0].len(), wanted.len()));
        }
        for (i, (f, w)) in found[0].iter().zip(wanted).enumerate() {
            let near = (f - w).abs() <= 1e-6 * reach;
            if !near {
                return Err(format!("{f} instead of {w} at {i} of sample {s}"));
            }
        }
    }
    Ok(())
}

/// The default wishes, but that outputs are no class scores.
fn options() -> Options {
    Options { min_agreement: 0.0, max_error: Some(MAX_ERROR), ..Options::recommended() }
}

/// Compiles, simulates, and compares with the second evaluator; a refusal is `Ok` with its code.
fn kept(graph: &Graph, samples: &Samples, wanted: &[Vec<f64>]) -> Result<Option<String>, String> {
    let plan = match compile(graph, samples, &options(), &Simulation, &mut Unobserved) {
        Ok(compiled) => compiled.plan,
        Err(CompileError::Rejected(found)) => return Ok(Some(text(&found))),
        Err(broken @ CompileError::Broken { .. }) => return Err(broken.to_string()),
    };
    let tests: Vec<Tensors> = (0..samples.len()).map(|s| samples.sample(s)).collect();
    let found = Simulation.simulate(&plan, &tests).map_err(|e| e.to_string())?;
    let all = || wanted.iter().flatten().copied();
    let range = all().fold(f64::MIN, f64::max) - all().fold(f64::MAX, f64::min);
    let mut square = 0.0;
    for (found, wanted) in found.iter().zip(wanted) {
        let error = |(f, w): (&f64, &f64)| ((f - w) / range).powi(2);
        square += found[0].iter().zip(wanted).map(error).sum::<f64>();
    }
    let error = (square / all().count() as f64).sqrt();
    let bound = MAX_ERROR + 2.0_f64.powf(-options().precision());
    if error <= bound { Ok(None) } else { Err(format!("error {error:.2e}, promised {bound:.2e}")) }
}

/// The seeds to run: all, or the one asked for.
fn seeds(count: u64) -> Vec<u64> {
    let one = std::env::var("HEPLAN_SEED").ok().and_then(|s| s.parse().ok());
    one.map_or_else(|| (0..count).collect(), |seed| vec![seed])
}

#[test]
fn the_importer_means_what_the_second_evaluator_means() {
    let mut operators: BTreeMap<String, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    let seeds = seeds(IMPORTED);
    for &seed in &seeds {
        let Some(case) = generate::case(seed) else { continue };
        for step in &case.steps {
            let op = step.split(" = ").nth(1).and_then(|s| s.split(' ').next()).unwrap_or_default();
            *operators.entry(op.to_owned()).or_default() += 1;
        }
        let checked = imported(&case)
            .and_then(|graph| meaning(&graph, &samples(&graph, &case), &wanted(&case)));
        if let Err(what) = checked {
            wrong.push(format!("seed {seed}: {what}\n  {}", case.steps.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let rare: Vec<_> = operators.iter().filter(|o| *o.1 < 5).collect();
    assert!(seeds.len() == 1 || operators.len() >= 50 && rare.is_empty(), "{operators:?}");
}

#[test]
fn plans_keep_their_promise() {
    let (mut wrong, mut refused, mut compiled) = (Vec::new(), Vec::new(), 0);
    let seeds = seeds(COMPILED);
    for &seed in &seeds {
        let Some(case) = generate::case(seed) else { continue };
        let Ok(graph) = imported(&case) else { continue };
        match kept(&graph, &samples(&graph, &case), &wanted(&case)) {
            Ok(None) => compiled += 1,
            Ok(Some(why)) => refused.push(format!("seed {seed}: {why}")),
            Err(what) => wrong.push(format!("seed {seed}: {what}\n  {}", case.steps.join("\n  "))),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    let few = refused.len() * 20 <= seeds.len();
    assert!(few || seeds.len() == 1, "{compiled} compiled, refused: {}", refused.join("\n"));
}
