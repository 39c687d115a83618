//! `heplan explain`: the plan after every pass, and where levels, time and keys go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use heplan_compiler::cost::{self, Costs};
use heplan_compiler::pipeline::observer::{Observer, Stage};
use heplan_compiler::report::{FunctionReport, LayoutGap, NodeLayout, Report, RunnerUp};
use heplan_ir::ckks::Op;
use heplan_ir::plan::{Inst, KeyKind, KeySpec, Plan, required_keys};
use heplan_runtime::error::mnemonic;
use serde_json::{Value, json};

use super::compile::{self, Wishes};
use crate::format::{Table, bytes, time};
use crate::report;
use crate::ui::{Outcome, Step, Ui};

const LONG_ABOUT: &str = "\
Shows how a model becomes a plan: tables with every ONNX node (its operations, levels, diagonals, \
keys, time and polynomial; the layouts that it reads and writes, and what the next-best one would \
have cost), how far the layouts are from the best possible, and with --after the text after every \
pass of the compiler.

  heplan explain -m model.onnx -c calibration.npz
  heplan explain -m model.onnx -c calibration.npz --after | less
  heplan explain -m model.onnx -c calibration.npz --after assign-layouts
  heplan explain -m model.onnx -c calibration.npz --dump-dir passes

Without --dump-dir nothing is written. Use it to see which layer costs most.";

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
    #[arg(long, value_name = "PASS", env = "HEPLAN_AFTER", hide_env_values = true)]
    #[arg(num_args = 0..=1, default_missing_value = "all", alias = "passes")]
    pub(crate) after: Option<String>,

    /// Also write the text after every pass to a file of this folder
    #[arg(long, value_name = "FOLDER", env = "HEPLAN_DUMP_DIR", hide_env_values = true)]
    pub(crate) dump_dir: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) wishes: Wishes,
}

/// Compiles without writing and shows the way.
pub(crate) fn run(options: &Options, ui: &Ui) -> anyhow::Result<Outcome> {
    let mut watch = Watch { step: ui.step("compiling", 0), texts: Vec::new(), wanted: options };
    let made =
        compile::explain(&options.model, &options.calibration, &options.wishes, &mut watch, ui)?;
    let Watch { step, texts, .. } = watch;
    step.end();
    if let Some(name) = &options.after {
        show(name, &texts, ui)?;
    }
    if let Some(folder) = &options.dump_dir {
        dump(folder, &texts)?;
        ui.say(&format!("wrote {} files to {}", texts.len(), folder.display()));
    }
    let rows = rows(&made.plan, &options.wishes.options()?.costs);
    ui.show(&table(&rows, &made.report.functions));
    ui.show(&format!("\n{}", layouts(&made.report)));
    ui.show(&format!("\n{}", bounds(&made.report)));
    ui.say(&format!("\n{}", report::words(&made.report)));
    if let Some(next) = &made.report.runner_up {
        ui.say(&format!("\n{}", runner_up(next)));
    }
    let mut outcome = report::json(&made.report);
    outcome.insert("nodes".to_owned(), rows.iter().map(Row::json).collect());
    Ok(outcome)
}

/// Prints the text after one pass or after all.
fn show(name: &str, texts: &[(&'static str, String)], ui: &Ui) -> anyhow::Result<()> {
    let known = name == "all" || texts.iter().any(|t| t.0 == name);
    if !known {
        let names: Vec<&str> = texts.iter().map(|t| t.0).collect();
        bail!("there is no pass {name:?}; the passes are {}", names.join(", "));
    }
    let mut last = "";
    for (pass, text) in texts {
        let body = if text == last { "same as above" } else { text.trim_end() };
        if name == "all" || name == *pass {
            ui.show(&format!("; after {pass}\n{body}\n"));
        }
        // A pass alone shows its whole text, whatever was before.
        last = if name == "all" { text } else { "" };
    }
    Ok(())
}

/// Writes the text after every pass to a file of its own.
fn dump(folder: &Path, texts: &[(&'static str, String)]) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let mut last = "";
    for (i, (pass, text)) in texts.iter().enumerate() {
        let body = if text == last { "same as above\n" } else { text };
        let file = folder.join(format!("{i:02}-{pass}.ir"));
        fs::write(&file, body).with_context(|| file.display().to_string())?;
        last = text;
    }
    Ok(())
}

/// Keeps the text after every pass; where a pass runs again, the last text counts.
struct Watch<'a> {
    step: Step,
    texts: Vec<(&'static str, String)>,
    wanted: &'a Options,
}

impl Observer for Watch<'_> {
    fn after(&mut self, pass: &'static str, stage: Stage<'_>) {
        let Options { after, dump_dir, .. } = self.wanted;
        if after.is_none() && dump_dir.is_none() {
            return;
        }
        let wanted = dump_dir.is_some() || after.iter().any(|name| name == "all" || name == pass);
        let text = if wanted { text(stage) } else { String::new() };
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
    keys: BTreeSet<KeyKind>,
    /// Bytes of the keys, which other nodes may share.
    key_bytes: u64,
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
        let used = required_keys([(&inst.op, level)], &plan.consts, &plan.parameters);
        self.keys.extend(used.into_iter().map(|k| k.kind));
        match &inst.op {
            Op::Linear { transform, .. } => {
                let transform = plan.consts.transform(*transform);
                let steps = transform.steps();
                self.diagonals += transform.diagonals.len();
                self.key_switches += steps.len() * transform.inputs;
            }
            Op::Rotate { .. } | Op::RotateAdd { .. } | Op::Relinearise { .. } => {
                self.key_switches += 1;
            }
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
            "keys": self.keys.len(),
            "key_bytes": self.key_bytes,
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
    for row in &mut rows {
        let own: Vec<KeySpec> =
            plan.keys.iter().filter(|k| row.keys.contains(&k.kind)).copied().collect();
        row.key_bytes = cost::key_bytes(&own, &plan.parameters);
    }
    rows
}

/// Where tensors lie: as axes `size:stride`, the period, the slots of a ciphertext.
fn layouts(report: &Report) -> String {
    let mut table = Table::new(&["node", "layout in", "layout out", "next best", ">costs more"]);
    for NodeLayout { node, reads, writes, next_best } in &report.layouts {
        let node = if node.is_empty() { "(input)" } else { node };
        let reads: Vec<String> = reads.iter().map(ToString::to_string).collect();
        let (next, more) = next_best.as_ref().map_or_else(Default::default, |(layout, more)| {
            (layout.to_string(), time(Duration::from_secs_f64(more.clamp(0.0, 1e9))))
        });
        table.row([node.to_owned(), reads.join(", "), writes.to_string(), next, more]);
    }
    table.render()
}

/// How far what was searched is from the best possible.
fn bounds(report: &Report) -> String {
    let mut lines = Vec::new();
    if let Some(LayoutGap { found, at_least }) = report.layout_gap {
        let seconds = |s: f64| time(Duration::from_secs_f64(s.clamp(0.0, 1e9)));
        let gap = if at_least < found { 100.0 * (1.0 - at_least / found) } else { 0.0 };
        lines.push(format!(
            "layouts: the linear maps cost {} with their keys, as the search counts them; no other \
             candidates cost less than {} (gap {gap:.1} %)",
            seconds(found),
            seconds(at_least),
        ));
    }
    lines.push(
        "levels: every value is at the least level that its readers allow (exact, gap 0 %)".into(),
    );
    lines.join("\n")
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

fn table(rows: &[Row], functions: &[FunctionReport]) -> String {
    let heads = [
        "node",
        "instructions",
        ">levels",
        ">scale",
        ">diagonals",
        ">key switches",
        ">keys",
        ">key bytes",
        ">time",
        "polynomial",
    ];
    let mut table = Table::new(&heads);
    for row in rows {
        let counts: Vec<String> =
            row.counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
        let origin = if row.origin.is_empty() { "(input)" } else { &row.origin };
        table.row([
            origin.to_owned(),
            counts.join(", "),
            format!("{} to {}", row.levels.0, row.levels.1),
            format!("2^{}", row.scale),
            row.diagonals.to_string(),
            row.key_switches.to_string(),
            row.keys.len().to_string(),
            bytes(row.key_bytes),
            time(Duration::from_secs_f64(row.seconds)),
            functions.iter().find(|f| f.origin == row.origin).map_or_else(String::new, |f| {
                format!("degree {}, largest error {:.2e}", f.degree, f.max_error)
            }),
        ]);
    }
    table.render()
}
