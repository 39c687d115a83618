//! Whole models: compiled, and run on ciphertexts the way that their users do.
//!
//! Every step is a process of this very executable, so that peaks are of one step alone and a whole `run` is timed as
//! what it is. Evaluation is timed inside `run`: that of one sample alone expands keys, encodes diagonals and touches its
//! memory; where there are more, the later ones find all that at hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::ValueEnum as _;
use heplan_compiler::data::{InputSpec, Samples};
use heplan_compiler::import::Options;
use heplan_compiler::judge::Tensors;
use heplan_compiler::report::{Quality, spans};

use heplan_ir::plan::KeyParams;
use heplan_ir::slots::Port;
use heplan_lattice::Isa;
use serde_json::{Value, json};

use crate::commands::{check, compile, decrypt};
use crate::format::{self, Table};
use crate::ui::{Outcome, Ui};
use crate::{interrupt, system};

/// Threads that evaluation is timed on.
const THREADS: [usize; 2] = [1, 2];
/// Samples that the ranges of the outputs are taken from: errors are relative to them.
const RANGE_SAMPLES: usize = 100;
/// How deep models lie below a folder that is named.
const DEPTH: usize = 3;

/// What is known of one model.
struct Row {
    compile: Duration,
    compile_peak: Option<u64>,
    /// First and later evaluations, per number of threads.
    evaluate: [(f64, f64); THREADS.len()],
    whole: Duration,
    peak: Option<u64>,
    keys: u64,
    plan: u64,
    input: u64,
    output: u64,
    predicted: [f64; 2],
    predicted_peak: u64,
    quality: Quality,
    simulated: Value,
}

/// Measures every model and prints the tables.
pub(super) fn run(options: &super::Options, ui: &Ui) -> anyhow::Result<Outcome> {
    let models = find(&options.models)?;
    let processor = system::processor().unwrap_or_else(|| "unknown processor".to_owned());
    let isa = super::operations::isa()?;
    ui.show(&format!("{processor}; {isa}; {} samples each", options.samples));
    let (mut rows, mut failures) = (Vec::new(), 0);
    let step = ui.step("measuring", models.len() as u64);
    for (i, model) in models.iter().enumerate() {
        interrupt::check()?;
        step.at(i as u64);
        let name = name(model);
        let row = measure(model, options, ui);
        if let Err(error) = &row {
            interrupt::check()?;
            ui.warn(&format!("{name}: {error:#}"));
            failures += 1;
        }
        rows.push((name, row));
    }
    step.end();
    if failures == models.len() {
        bail!("none of the {failures} models could be measured");
    }
    ui.show(&format!("{}\n\n{}", times(&rows), sizes(&rows)));
    let mut outcome = Outcome::new();
    outcome.insert("processor".to_owned(), processor.into());
    outcome.insert("isa".to_owned(), isa.name().into());
    outcome.insert("models".to_owned(), rows.iter().map(|(n, row)| row_json(n, row)).collect());
    Ok(outcome)
}

/// Models: an `.onnx` file each, or every `model.onnx` below a folder with a `calibration.npz` beside it.
fn find(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        let before = found.len();
        if path.is_dir() {
            below(path, DEPTH, &mut found)?;
        } else if path.is_file() {
            found.push(path.clone());
        }
        if found.len() == before {
            bail!("{}: no model with a calibration.npz beside it", path.display());
        }
    }
    Ok(found)
}

fn below(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let model = folder.join("model.onnx");
    if model.is_file() && calibration(&model).is_file() {
        found.push(model);
    }
    if depth == 0 {
        return Ok(());
    }
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut folders: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    folders.iter().try_for_each(|f| below(f, depth - 1, found))
}

fn calibration(model: &Path) -> PathBuf {
    model.with_file_name("calibration.npz")
}

/// The model's folder and its parent, or the file's own name.
fn name(model: &Path) -> String {
    if model.file_name().is_none_or(|n| n != "model.onnx") {
        return model.display().to_string();
    }
    let folders: Vec<_> = model.parent().into_iter().flat_map(Path::components).collect();
    let last = &folders[folders.len().saturating_sub(2)..];
    last.iter().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// Walks one model through every command.
fn measure(model: &Path, options: &super::Options, ui: &Ui) -> anyhow::Result<Row> {
    let work = tempfile::tempdir()?;
    let at = |name: &str| work.path().join(name);
    let text = |path: &Path| path.display().to_string();
    let (plan, key, public) = (at("model.plan"), at("client.key"), at("client.key.pub"));
    let (m, c) = (text(model), text(&calibration(model)));
    let p = text(&plan);
    let mut arguments = vec!["compile", "-m", &m, "-c", &c, "-o", &p];
    let wish = options.optimize.and_then(|o| o.to_possible_value());
    if let Some(wish) = &wish {
        arguments.extend(["--optimize", wish.get_name()]);
    }
    let costs = options.costs.as_deref().map(text);
    if let Some(costs) = &costs {
        arguments.extend(["--costs", costs]);
    }
    let (compiled, compile) = child(&arguments)?;
    let keyparams = at("model.keyparams");
    child(&["keygen", "-i", &text(&keyparams), "-o", &text(&key)])?;
    let (batch, wanted, ranges) =
        samples(model, &KeyParams::read(&keyparams)?, options.samples as usize)?;
    let ports = KeyParams::read(&keyparams)?.inputs;
    let ports: Vec<&Port> = ports.iter().map(|(port, _)| port).collect();
    let encrypt = |name: &str, batch: &[Tensors]| -> anyhow::Result<PathBuf> {
        let (array, encrypted) = (at(&format!("{name}.npz")), at(&format!("{name}.enc")));
        fs::write(&array, decrypt::archive_of(&ports, batch)?)?;
        let (k, i, o) = (text(&key), text(&array), text(&encrypted));
        child(&["encrypt", "-k", &k, "-i", &i, "-o", &o])?;
        Ok(encrypted)
    };
    let (one, all) = (encrypt("one", &batch[..1])?, encrypt("all", &batch)?);
    let run = |input: &Path, threads: usize, output: &str| {
        let (k, i, o) = (text(&public), text(input), text(&at(output)));
        let threads = threads.to_string();
        child(&["run", "-p", &p, "-k", &k, "-i", &i, "-o", &o, "--threads", &threads])
    };
    let (ran, whole) = run(&one, system::threads(), "one.out.enc")?;
    let mut evaluate = [(0.0, 0.0); THREADS.len()];
    for (slot, threads) in evaluate.iter_mut().zip(THREADS) {
        let (alone, _) = run(&one, threads, "one.out.enc")?;
        let (ran, _) = run(&all, threads, "all.out.enc")?;
        *slot = (first_and_later(&alone)?.0, first_and_later(&ran)?.1);
    }
    let answer = at("answer.npz");
    let result = at("all.out.enc");
    let (found, _) = decrypt::write(&key, &result, Some(&answer), None, true, &ui.silent())?;
    Ok(Row {
        compile,
        compile_peak: compiled["peak_bytes"].as_u64(),
        evaluate,
        whole,
        peak: ran["peak_bytes"].as_u64(),
        keys: bytes(&public)?,
        plan: bytes(&plan)?,
        input: bytes(&one)?,
        output: bytes(&at("one.out.enc"))?,
        predicted: [&compiled["predicted_first_seconds"], &compiled["predicted_seconds"]]
            .map(|x| x.as_f64().unwrap_or(f64::NAN)),
        predicted_peak: compiled["predicted_peak_bytes"].as_u64().unwrap_or(0),
        quality: Quality::within(&found, &wanted, &ranges),
        simulated: compiled["simulation"]["agreement"].clone(),
    })
}

/// Samples of the test set where there is one, else of the calibration set; what the float model answers; and the span
/// of each output over more of them.
fn samples(
    model: &Path,
    keyparams: &KeyParams,
    count: usize,
) -> anyhow::Result<(Vec<Tensors>, Vec<Tensors>, Vec<f64>)> {
    let test = model.with_file_name("test.npz");
    let file = if test.is_file() { test } else { calibration(model) };
    let spec = |p: &Port| InputSpec { name: p.name.clone(), shape: p.shape.clone() };
    let specs: Vec<InputSpec> = keyparams.inputs.iter().map(|(port, _)| spec(port)).collect();
    let mut samples = Samples::read(&file, &specs).map_err(compile::about(&file))?;
    check::truncate(&mut samples, RANGE_SAMPLES.max(count));
    let mut wanted = check::float_answers(model, Options::default(), &specs, &samples)?;
    let ranges = spans(&wanted);
    let count = count.min(samples.len());
    wanted.truncate(count);
    Ok(((0..count).map(|s| samples.sample(s)).collect(), wanted, ranges))
}

/// Runs this executable and gives the JSON that it ends with, and how long the process took.
fn child(arguments: &[&str]) -> anyhow::Result<(Value, Duration)> {
    let mut command = Command::new(std::env::current_exe()?);
    // Only what was asked for here counts; the instruction set is asked for by a variable alone.
    for (variable, _) in std::env::vars_os() {
        let ours = variable.to_string_lossy().starts_with("HEPLAN_");
        if ours && variable.to_str() != Some(Isa::VARIABLE) {
            command.env_remove(variable);
        }
    }
    let started = Instant::now();
    let output = command.args(arguments).args(["--json", "--quiet"]).output()?;
    let taken = started.elapsed();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}", arguments[0], said.trim());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().unwrap_or_default();
    let value = serde_json::from_str(last).with_context(|| format!("`{}`", arguments[0]))?;
    Ok((value, taken))
}

/// Seconds of the first sample, and the median of the others.
fn first_and_later(ran: &Value) -> anyhow::Result<(f64, f64)> {
    let list = ran["sample_seconds"].as_array().map_or(&[][..], Vec::as_slice);
    let times: Vec<f64> = list.iter().filter_map(Value::as_f64).collect();
    let Some((&first, rest)) = times.split_first() else { bail!("no sample was run") };
    let mut rest = rest.to_vec();
    rest.sort_by(f64::total_cmp);
    Ok((first, rest.get(rest.len() / 2).copied().unwrap_or(first)))
}

fn bytes(path: &Path) -> anyhow::Result<u64> {
    Ok(fs::metadata(path).with_context(|| path.display().to_string())?.len())
}

type Rows = [(String, anyhow::Result<Row>)];

fn seconds(value: f64) -> String {
    format::time(Duration::from_secs_f64(value.clamp(0.0, 1e9)))
}

fn times(rows: &Rows) -> String {
    let heads = [
        "model",
        ">compile",
        ">first run",
        ">1 thread",
        ">2 threads",
        ">predicted",
        ">off by",
        ">whole run",
    ];
    let mut table = Table::new(&heads);
    for (name, row) in rows {
        let Ok(row) = row else {
            table.row([name.clone(), "failed".to_owned()]);
            continue;
        };
        let [(first, one), (_, two)] = row.evaluate;
        table.row([
            name.clone(),
            format::time(row.compile),
            seconds(first),
            seconds(one),
            seconds(two),
            seconds(row.predicted[1]),
            format!("{:+.0} %", 100.0 * (row.predicted[1] / one - 1.0)),
            format::time(row.whole),
        ]);
    }
    table.render()
}

fn sizes(rows: &Rows) -> String {
    let heads = [
        "model",
        ">keys",
        ">plan",
        ">input",
        ">output",
        ">peak",
        ">predicted",
        ">error",
        ">agreement",
    ];
    let mut table = Table::new(&heads);
    for (name, row) in rows {
        let Ok(row) = row else { continue };
        let agreement = row.quality.agreement;
        table.row([
            name.clone(),
            format::bytes(row.keys),
            format::bytes(row.plan),
            format::bytes(row.input),
            format::bytes(row.output),
            row.peak.map_or_else(|| "unknown".to_owned(), format::bytes),
            format::bytes(row.predicted_peak),
            format!("{:.1} bits", row.quality.precision_bits),
            agreement.map_or_else(String::new, |a| format!("{:.0} %", 100.0 * a)),
        ]);
    }
    table.render()
}

fn row_json(name: &str, row: &anyhow::Result<Row>) -> Value {
    let row = match row {
        Ok(row) => row,
        Err(error) => return json!({ "model": name, "error": format!("{error:#}") }),
    };
    let evaluate = THREADS.iter().zip(row.evaluate).map(|(threads, (first, later))| {
        json!({ "threads": threads, "first_seconds": first, "seconds": later })
    });
    json!({
        "model": name,
        "compile_seconds": row.compile.as_secs_f64(),
        "compile_peak_bytes": row.compile_peak,
        "evaluate": evaluate.collect::<Vec<_>>(),
        "run_seconds": row.whole.as_secs_f64(),
        "peak_bytes": row.peak,
        "key_bytes": row.keys,
        "plan_bytes": row.plan,
        "input_bytes": row.input,
        "output_bytes": row.output,
        "predicted_first_seconds": row.predicted[0],
        "predicted_seconds": row.predicted[1],
        "predicted_peak_bytes": row.predicted_peak,
        "samples": row.quality.samples,
        "precision_bits": row.quality.precision_bits,
        "agreement": row.quality.agreement,
        "simulated_agreement": row.simulated,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_named_by_their_folders() {
        assert_eq!(name(Path::new("zoo/heman/mnist/model.onnx")), "heman/mnist");
        assert_eq!(name(Path::new("mnist/model.onnx")), "mnist");
        assert_eq!(name(Path::new("zoo/tiny.onnx")), "zoo/tiny.onnx");
    }

    #[test]
    fn the_first_sample_counts_by_itself() {
        let ran = json!({ "sample_seconds": [9.0, 3.0, 1.0, 2.0] });
        assert_eq!(first_and_later(&ran).expect("times"), (9.0, 2.0));
        assert_eq!(
            first_and_later(&json!({ "sample_seconds": [9.0] })).expect("times"),
            (9.0, 9.0)
        );
        assert!(first_and_later(&json!({})).is_err());
    }
}
