//! `heplan check`: a plan's answers on a labelled set, in simulation.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use heplan_compiler::data::{InputSpec, Samples};
use heplan_compiler::import;
use heplan_compiler::judge::Tensors;
use heplan_compiler::reference::Executor;
use heplan_compiler::report::{Quality, spans};
use heplan_ir::plan::Plan;
use heplan_ir::tail::{self, Answer};
use heplan_runtime::precision::argmax;
use serde_json::json;

use super::compile::about;
use super::given::Given;
use crate::judge::Simulation;
use crate::ui::{Outcome, Ui};
use crate::{format, report};

const LONG_ABOUT: &str = "\
Runs a plan on a test set in the clear, with the noise of the encryption simulated, and says how \
often it is right and how far it is from the float model. No keys are needed.

  heplan check -p model.plan -c test.npz
  heplan check -p model.plan -c test.npz -m model.onnx

The set is read as for `compile`. An array `y` of class numbers gives the accuracy, an array `out` \
(what the float model answers) or the model itself gives agreement and error.";

/// Options of `heplan check`.
#[derive(Debug, Args)]
#[command(about = "Measure a plan on a test set, in simulation", long_about = LONG_ABOUT)]
pub(crate) struct Options {
    /// The plan
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_PLAN", hide_env_values = true)]
    pub(crate) plan: PathBuf,

    /// The test set: .npz, or .zip of .npy files
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_CALIBRATION", hide_env_values = true)]
    #[arg(alias = "test")]
    pub(crate) calibration: PathBuf,

    /// The ONNX model, to compare with where the set has no array `out`
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_MODEL", hide_env_values = true)]
    pub(crate) model: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) given: Given,

    /// At most this many samples
    #[arg(short = 'n', long, value_name = "N", env = "HEPLAN_LIMIT", hide_env_values = true)]
    pub(crate) limit: Option<usize>,
}

/// Simulates the plan and compares.
pub(crate) fn run(options: &Options, ui: &Ui) -> anyhow::Result<Outcome> {
    let plan = Plan::read(&options.plan)?;
    let spec = |shape: &[usize], name: &str| InputSpec { name: name.into(), shape: shape.into() };
    let specs: Vec<InputSpec> = plan.inputs.iter().map(|(p, _)| spec(&p.shape, &p.name)).collect();
    let mut samples =
        Samples::read(&options.calibration, &specs).map_err(about(&options.calibration))?;
    truncate(&mut samples, options.limit.unwrap_or(usize::MAX));
    let wanted = match &options.model {
        Some(model) => {
            Some(float_answers(model, options.given.import_options(false)?, &specs, &samples)?)
        }
        None => samples.expected.clone().map(|o| o.into_iter().map(|out| vec![out]).collect()),
    };
    if wanted.is_none() && samples.labels.is_none() {
        bail!(
            "{} has neither labels `y` nor the float model's answers `out`; give the model with -m",
            options.calibration.display()
        );
    }
    let step = ui.step("simulating", 0);
    let batch: Vec<Tensors> = (0..samples.len()).map(|s| samples.sample(s)).collect();
    let (found, lost) = simulate(&plan, &batch)?;
    let found = answered(&plan.answers, found);
    step.end();
    let mut outcome = Outcome::new();
    outcome.insert("plan".to_owned(), format::id(&plan.id()).into());
    outcome.insert("samples".to_owned(), samples.len().into());
    outcome.insert("overflowed".to_owned(), lost.len().into());
    if let Some((first, why)) = lost.first() {
        ui.warn(&format!(
            "{} sample(s) drive a value out of the ciphertext modulus, far outside the calibrated \
             ranges; they count as wrong. The first is sample {first}, at {why}; calibrate with \
             samples like it",
            lost.len()
        ));
    }
    if let Some(wanted) = &wanted {
        let mut quality =
            Quality::within(&kept(&found, &found), &kept(wanted, &found), &spans(wanted));
        // Errors are those of samples with an answer, agreement is that of all.
        quality.agreement = Quality::of(&found, wanted).agreement;
        ui.show(&format!("against the float model: {}", report::quality(&quality)));
        outcome.insert("agreement".to_owned(), json!(quality.agreement));
        outcome.insert("relative_error".to_owned(), json!(quality.max_error));
        outcome.insert("rms_error".to_owned(), json!(quality.rms_error));
        outcome.insert("precision_bits".to_owned(), json!(quality.precision_bits));
        outcome.insert("output_ranges".to_owned(), json!(spans(wanted)));
    }
    if let Some(labels) = &samples.labels {
        let plan_share = accuracy(&found, labels);
        outcome.insert("accuracy".to_owned(), plan_share.into());
        let float_share = wanted.as_ref().map(|w| accuracy(w, labels));
        outcome.insert("float_accuracy".to_owned(), json!(float_share));
        let float = float_share
            .map_or(String::new(), |f| format!(", the float model for {:.1} %", 100.0 * f));
        ui.show(&format!("right for {:.1} % of the labels{float}", 100.0 * plan_share));
    }
    Ok(outcome)
}

/// A sample without an answer, and where and by how much a value of it overflowed.
type Lost = (usize, String);

/// The plan's answers, and the samples that have none since a value overflowed: theirs are NaN.
fn simulate(plan: &Plan, batch: &[Tensors]) -> anyhow::Result<(Vec<Tensors>, Vec<Lost>)> {
    match Simulation::outputs(plan, batch) {
        Ok(found) => return Ok((found, Vec::new())),
        Err(error) if !error.is_overflow() => return Err(error.into()),
        Err(_) => {}
    }
    let nothing: Tensors =
        plan.outputs.iter().map(|(port, _, _)| vec![f64::NAN; port.elements()]).collect();
    let (mut found, mut lost) = (Vec::with_capacity(batch.len()), Vec::new());
    for (index, sample) in batch.iter().enumerate() {
        match Simulation::outputs(plan, std::slice::from_ref(sample)) {
            Ok(answers) => found.extend(answers),
            Err(error) if error.is_overflow() => {
                found.push(nothing.clone());
                lost.push((index, error.to_string()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((found, lost))
}

/// Those of `answers` whose sample has an answer in `found`.
fn kept(answers: &[Tensors], found: &[Tensors]) -> Vec<Tensors> {
    let there = |f: &Tensors| f.iter().flatten().all(|x| !x.is_nan());
    answers.iter().zip(found).filter(|(_, f)| there(f)).map(|(a, _)| a.clone()).collect()
}

/// What the float model answers.
pub(crate) fn float_answers(
    model: &Path,
    given: import::Options,
    specs: &[InputSpec],
    samples: &Samples,
) -> anyhow::Result<Vec<Tensors>> {
    let imported = import::import_file_with(model, given).map_err(about(model))?;
    if InputSpec::of(&imported.graph) != specs {
        bail!("{} has other inputs than the plan", model.display());
    }
    let outputs = Executor::new(&imported.graph).run_samples(samples);
    Ok(answered(&imported.answers, outputs))
}

/// What the client makes of the outputs of every sample.
fn answered(answers: &[Answer], outputs: Vec<Tensors>) -> Vec<Tensors> {
    outputs.into_iter().map(|sample| tail::apply(answers, sample)).collect()
}

/// Keeps the first samples.
pub(crate) fn truncate(samples: &mut Samples, limit: usize) {
    samples.inputs.iter_mut().for_each(|input| input.truncate(limit));
    samples.labels.iter_mut().for_each(|labels| labels.truncate(limit));
    samples.expected.iter_mut().for_each(|expected| expected.truncate(limit));
}

/// Share of samples whose first output is largest at the label, or, for a single number, rounds
/// to it.
fn accuracy(answers: &[Tensors], labels: &[i64]) -> f64 {
    let right = answers.iter().zip(labels).filter(|(answer, label)| {
        let class = match answer.first().map(Vec::as_slice) {
            Some([single]) => Some(single.round() as i64),
            Some(scores) => argmax(scores).and_then(|c| i64::try_from(c).ok()),
            None => None,
        };
        class == Some(**label)
    });
    right.count() as f64 / labels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_the_place_of_the_largest_score() {
        let answers = vec![vec![vec![0.1, 0.9]], vec![vec![0.8, 0.2]], vec![vec![0.0, f64::NAN]]];
        assert!((accuracy(&answers, &[1, 1, 1]) - 1.0 / 3.0).abs() < 1e-12);
        assert!((accuracy(&[vec![vec![0.9]]], &[1]) - 1.0).abs() < 1e-12);
    }
}
