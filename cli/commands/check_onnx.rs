//! `heplan check-onnx`: what would become of a model, without calibration data.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use heplan_compiler::import::{Status, Surveyed};
use heplan_compiler::verdict::{Estimate, Verdict, judge};
use heplan_ir::diagnostic::Diagnostic;
use serde_json::{Value, json};

use super::compile::about;
use super::given::Given;
use crate::failure::Refused;
use crate::format;
use crate::ui::{Outcome, Ui};

const LONG_ABOUT: &str = "\
Says whether a model can be compiled, without calibration data and within a second: every node \
accepted or refused, every refusal with the smallest change that helps, and for a model that can \
be compiled its depth, the ring that it would need and a rough time.

  heplan check-onnx -m model.onnx
  heplan check-onnx -m model.onnx --dim length=128 --json

Functions are taken to need polynomials of typical degree; `compile` chooses the real ones from \
the calibration set. The exit code is 1 where the model cannot be compiled.";

/// Options of `heplan check-onnx`.
#[derive(Debug, Args)]
#[command(about = "Say whether a model can be compiled (model owner)", long_about = LONG_ABOUT)]
pub(crate) struct Options {
    /// The ONNX model
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_MODEL", hide_env_values = true)]
    pub(crate) model: PathBuf,

    #[command(flatten)]
    pub(crate) given: Given,
}

/// Judges the model.
pub(crate) fn run(options: &Options, ui: &Ui) -> anyhow::Result<Outcome> {
    verdict(&options.model, &options.given, ui)
}

/// Judges `model` and shows the verdict.
pub(crate) fn verdict(model: &Path, given: &Given, ui: &Ui) -> anyhow::Result<Outcome> {
    let wishes = given.import_options(false)?;
    let costs = heplan_compiler::options::Options::recommended().costs;
    let verdict = judge(model, wishes, &costs);
    let outcome = json_of(&verdict);
    if !verdict.findings.is_empty() {
        if !verdict.nodes.is_empty() {
            ui.say(&counts(&verdict.nodes));
        }
        return Err(Refused { findings: about(model)(verdict.findings), outcome }.into());
    }
    ui.show(&words(&verdict));
    Ok(outcome)
}

fn counts(nodes: &[Surveyed]) -> String {
    let count = |wanted| nodes.iter().filter(|n| n.status == wanted).count();
    let (refused, unjudged) = (count(Status::Refused), count(Status::NotJudged));
    let mut text = format!("{} of {} nodes accepted", count(Status::Accepted), nodes.len());
    if refused > 0 {
        text += &format!(", {refused} refused");
    }
    if unjudged > 0 {
        text += &format!(", {unjudged} not judged since they read what was refused");
    }
    text
}

fn words(verdict: &Verdict) -> String {
    let mut lines = vec![format!("can be compiled: {}", counts(&verdict.nodes))];
    let ports = |what: &str, ports: &[(String, Vec<usize>)]| -> Vec<String> {
        ports.iter().map(|(name, shape)| format!("  {what:<7}{name:?} {shape:?}")).collect()
    };
    lines.extend(ports("input", &verdict.inputs));
    lines.extend(ports("output", &verdict.outputs));
    if let Some(Estimate { depth, refreshes, functions, log_n, diagonals, seconds }) =
        verdict.estimate
    {
        let time = format::time(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
        let refreshed = match refreshes {
            0 => String::new(),
            times => format!(", refreshed {times} time(s) on the way"),
        };
        lines.push(format!(
            "  depth  about {depth} levels, {functions} function(s) among them{refreshed}"
        ));
        lines.push(format!("  ring   2^{log_n} or larger, {diagonals} diagonals at most"));
        lines.push(format!("  a run  in the order of {time} on one thread"));
    }
    lines.extend(verdict.notes.iter().map(|note| format!("  note: {note}")));
    lines.join("\n")
}

fn json_of(verdict: &Verdict) -> Outcome {
    let port = |(name, shape): &(String, Vec<usize>)| json!({ "name": name, "shape": shape });
    let node = |surveyed: &Surveyed| {
        let status = match surveyed.status {
            Status::Accepted => "accepted",
            Status::Refused => "refused",
            Status::NotJudged => "not judged",
        };
        let n = &surveyed.node;
        json!({ "index": n.index, "name": n.name, "op": n.op, "verdict": status })
    };
    let value = json!({
        "accepted": verdict.findings.is_empty(),
        "nodes": verdict.nodes.iter().map(node).collect::<Vec<Value>>(),
        "findings": verdict.findings.iter().map(finding).collect::<Vec<Value>>(),
        "notes": verdict.notes,
        "inputs": verdict.inputs.iter().map(port).collect::<Vec<Value>>(),
        "outputs": verdict.outputs.iter().map(port).collect::<Vec<Value>>(),
        "depth": verdict.estimate.map(|e| e.depth),
        "refreshes": verdict.estimate.map(|e| e.refreshes),
        "functions": verdict.estimate.map(|e| e.functions),
        "log_n": verdict.estimate.map(|e| e.log_n),
        "predicted_seconds": verdict.estimate.map(|e| e.seconds),
    });
    match value {
        Value::Object(map) => map,
        _ => Outcome::new(),
    }
}

fn finding(found: &Diagnostic) -> Value {
    json!({
        "code": found.code.as_str(),
        "message": found.message,
        "node": found.node.as_ref().map(|n| n.label()),
        "index": found.node.as_ref().map(|n| n.index),
        "op": found.node.as_ref().map(|n| n.op.clone()),
        "notes": found.notes,
        "help": found.way_out(),
    })
}
