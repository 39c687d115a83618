//! `heplan explain`: the plan after every pass, and where levels, time and keys go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use heplan_compiler::cost::{self, Costs};
use heplan_compiler::pipeline::observer::{Observer, Stage};
use heplan_compiler::report::{Report, RunnerUp};
use heplan_ir::ckks::Op;
use heplan_ir::plan::{Inst, Plan};
use heplan_runtime::error::mnemonic;
use serde_json::{Value, json};

use super::compile::{self, Wishes};
use crate::format::{Table, bytes, time};
use crate::report;
use crate::ui::{Outcome, Step, Ui};

const LONG_ABOUT: &str = "\
Shows how a model becomes a plan: a table with every ONNX node (its operations, levels, diagonals, \
rotations and keys), and with --passes the text after every pass of the compiler.

  heplan explain -m model.onnx -c calibration.npz
  heplan explain -m model.onnx -c calibration.npz --passes | less

Nothing is written. Use it to see which layer costs most.";

/// Options of `heplan explain`.
#[derive(Debug, Args)]
#[command(about = "Show the plan after every pass, and what costs what", long_about = LONG_ABOUT)]
pub(crate) struct Options {
    /// The ONNX model
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_MODEL", hide_env_values = true)]
    pub(crate) model: PathBuf,

    /// Typical inputs: .npz, or .zip of .npy files
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_CALIBRATION", hide_env_values = true)]
    pub(crate) calibration: PathBuf,

    /// Also print the text after every pass, or only after the pass of this name
    #[arg(long, value_name = "NAME", env = "HEPLAN_PASSES", hide_env_values = true)]
    #[arg(num_args = 0..=1, default_missing_value = "all")]
    pub(crate) passes: Option<String>,

    #[command(flatten)]
    pub(crate) wishes: Wishes,
}

/// Compiles without writing and shows the way.
pub(crate) fn run(options: &Options, ui: &Ui) -> anyhow::Result<Outcome> {
    let mut watch = Watch { step: ui.step("compiling", 0), texts: Vec::new(), wanted: options };
    let made =
        compile::make(&options.model, &options.calibration, &options.wishes, &mut watch, ui)?;
    let Watch { step, texts, .. } = watch;
    step.end();
    if let Some(name) = &options.passes {
        let chosen: Vec<_> = texts.iter().filter(|t| name == "all" || t.0 == name).collect();
        if chosen.is_empty() {
            let names: Vec<&str> = texts.iter().map(|t| t.0).collect();
            bail!("there is no pass {name:?}; the passes are {}", names.join(", "));
        }
        let mut last = "";
        for (pass, text) in chosen {
            let body = if text == last { "(as before)" } else { text.trim_end() };
            ui.show(&format!("; after {pass}\n{body}\n"));
            last = text;
        }
    }
    let rows = rows(&made.plan, &options.wishes.options()?.costs);
    ui.show(&table(&rows));
    ui.show(&format!("\n{}", layouts(&made.report)));
    ui.say(&format!("\n{}", report::words(&made.report)));
    if let Some(next) = &made.report.runner_up {
        ui.say(&format!("\n{}", runner_up(next)));
    }
    let mut outcome = report::json(&made.report);
    outcome.insert("nodes".to_owned(), rows.iter().map(Row::json).collect());
    Ok(outcome)
}

/// Keeps the text after every pass; where a pass runs again, the last text counts.
struct Watch<'a> {
    step: Step,
    texts: Vec<(&'static str, String)>,
    wanted: &'a Options,
}

impl Observer for Watch<'_> {
    fn after(&mut self, pass: &'static str, stage: Stage<'_>) {
        let Some(name) = &self.wanted.passes else { return };
        let text = if name == "all" || name == pass { text(stage) } else { String::new() };
        match self.texts.iter_mut().find(|t| t.0 == pass) {
            Some(found) => found.1 = text,
            None => self.texts.push((pass, text)),
        }
    }

    fn progress(&mut self, what: &str) {
        self.step.now(what);
    }
}

/// The text form of a stage.
fn text(stage: Stage<'_>) -> String {
    match stage {
        Stage::Tensor(graph) => graph.to_string(),
        Stage::Slots(graph) => graph.to_string(),
        Stage::Ckks(graph) => graph.to_string(),
        Stage::Plan(plan) => plan.to_string(),
    }
}

/// How often each instruction occurs, by name.
pub(crate) fn mnemonics<'a>(
    insts: impl Iterator<Item = &'a Inst>,
) -> BTreeMap<&'static str, usize> {
    insts.fold(BTreeMap::new(), |mut counts, inst| {
        *counts.entry(mnemonic(&inst.op)).or_insert(0) += 1;
        counts
    })
}

/// What one ONNX node (or several that were fused) costs.
#[derive(Debug, Default)]
struct Row {
    origin: String,
    counts: BTreeMap<&'static str, usize>,
    levels: (usize, usize),
    scale: String,
    diagonals: usize,
    key_switches: usize,
    keys: BTreeSet<u32>,
    /// Predicted, on one thread.
    seconds: f64,
}

impl Row {
    fn add(&mut self, plan: &Plan, inst: &Inst, costs: &Costs) {
        self.seconds += cost::seconds(inst, plan, costs);
        *self.counts.entry(mnemonic(&inst.op)).or_insert(0) += 1;
        let level = inst.ty.level;
        let from = level + usize::from(matches!(inst.op, Op::Linear { .. }));
        self.levels = (self.levels.0.max(from), self.levels.1.min(level));
        self.scale = inst.ty.scale.to_string();
        match &inst.op {
            Op::Linear { transform, .. } => {
                let transform = plan.consts.transform(*transform);
                let steps = transform.steps();
                self.diagonals += transform.diagonals.len();
                self.key_switches += steps.len() * transform.inputs;
                self.keys.extend(steps);
            }
            Op::Rotate { by, .. } => {
                self.key_switches += 1;
                self.keys.insert(*by);
            }
            Op::Relinearise { .. } => self.key_switches += 1,
            _ => {}
        }
    }

    fn json(&self) -> Value {
        json!({
            "node": self.origin,
            "instructions": self.counts,
            "level_in": self.levels.0,
            "level_out": self.levels.1,
            "diagonals": self.diagonals,
            "key_switches": self.key_switches,
            "rotations": self.keys.len(),
            "seconds": self.seconds,
        })
    }
}

/// One row per origin, in the order of execution.
fn rows(plan: &Plan, costs: &Costs) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for inst in plan.insts.iter().filter(|i| !matches!(i.op, Op::Input { .. })) {
        let origin = plan.origins.get(inst.origin as usize).map_or("", String::as_str);
        let at = rows.iter().position(|r| r.origin == origin).unwrap_or_else(|| {
            let levels = (0, usize::MAX);
            rows.push(Row { origin: origin.to_owned(), levels, ..Row::default() });
            rows.len() - 1
        });
        rows[at].add(plan, inst, costs);
    }
    rows
}

/// Where tensors lie: as axes `size:stride`, the period, the slots of a ciphertext.
fn layouts(report: &Report) -> String {
    let mut table = Table::new(&["node", "layout of its result"]);
    for (node, layout) in &report.layouts {
        let node = if node.is_empty() { "(input)" } else { node };
        table.row([node.to_owned(), layout.to_string()]);
    }
    table.render()
}

/// What the parameters that came second would have cost.
fn runner_up(next: &RunnerUp) -> String {
    format!(
        "next best: digits of {} primes and {} special primes, {} a run with {} of keys",
        next.digit_size,
        next.special,
        time(Duration::from_secs_f64(next.seconds)),
        bytes(next.key_bytes)
    )
}

fn table(rows: &[Row]) -> String {
    let heads = [
        "node",
        "instructions",
        ">levels",
        ">scale",
        ">diagonals",
        ">key switches",
        ">rotation keys",
        ">time",
    ];
    let mut table = Table::new(&heads);
    for row in rows {
        let counts: Vec<String> =
            row.counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
        let origin = if row.origin.is_empty() { "(none)" } else { &row.origin };
        table.row([
            origin.to_owned(),
            counts.join(", "),
            format!("{} to {}", row.levels.0, row.levels.1),
            format!("2^{}", row.scale),
            row.diagonals.to_string(),
            row.key_switches.to_string(),
            row.keys.len().to_string(),
            time(Duration::from_secs_f64(row.seconds)),
        ]);
    }
    table.render()
}
