//! `heplan compile`: from an ONNX model to a plan.

use std::path::{Path, PathBuf};
use std::time::Instant;

use bytesize::ByteSize;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, ValueEnum};
use heplan_compiler::cost::Measurement;
use heplan_compiler::data::{InputSpec, Samples};
use heplan_compiler::import;
use heplan_compiler::options::{Domain, Method, Objective, Options as CompilerOptions};
use heplan_compiler::pipeline::observer::{Observer, Stage};
use heplan_compiler::pipeline::{CompileError, Compiled, compile};
use heplan_ir::ckks::CtType;
use heplan_ir::diagnostic::Diagnostic;
use heplan_ir::features::Features;
use heplan_ir::plan::Plan;
use heplan_ir::slots::Port;

use super::check_onnx;
use super::given::Given;
use crate::failure::{Bug, Findings};
use crate::judge::Simulation;
use crate::ui::{Outcome, Step, Ui};
use crate::{format, interrupt, report, system, writing};

const LONG_ABOUT: &str = "\
Compiles an ONNX model into an execution plan, for the model's owner.

  heplan compile -m model.onnx -c calibration.npz

writes model.plan (it holds the weights: keep it) and model.keyparams (no weights: send it to your \
clients). The calibration set is a few dozen to a few hundred typical inputs; it tells which range \
of values every layer sees, so that activations can be replaced by polynomials that fit there. It \
is an .npz or a .zip of .npy files, one array per sample or one with all of them; the array is the \
one named like the model's input, else `x`, else every array whose shape fits.

The finished plan is checked in simulation on the calibration set before it is written, and the \
report says how far its answers are from the float model's.";

/// Options of `heplan compile`.
#[derive(Debug, Args)]
#[command(about = "Compile an ONNX model into a plan (model owner)", long_about = LONG_ABOUT)]
pub(crate) struct Options {
    /// The ONNX model
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_MODEL", hide_env_values = true)]
    pub(crate) model: PathBuf,

    /// Typical inputs: .npz, or .zip of .npy files
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_CALIBRATION", hide_env_values = true)]
    #[arg(alias = "calibration-data")]
    #[arg(required_unless_present = "dry_run")]
    pub(crate) calibration: Option<PathBuf>,

    /// The plan to write; the key parameters go beside it [default: model.plan]
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_OUTPUT", hide_env_values = true)]
    pub(crate) output: Option<PathBuf>,

    /// Write nothing and need no calibration set: only say whether the model can be compiled, as
    /// `check-onnx` does
    #[arg(long, env = "HEPLAN_DRY_RUN", hide_env_values = true)]
    #[arg(action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) wishes: Wishes,
}

/// What the owner asks of a plan; shared by `compile` and `explain`.
#[derive(Debug, Args)]
#[command(next_help_heading = "What the plan must reach")]
pub(crate) struct Wishes {
    /// Compute on ciphertexts what `decrypt` could compute at the end of the model: Softmax,
    /// Sigmoid and the like
    #[arg(long, env = "HEPLAN_ENCRYPTED_TAIL", hide_env_values = true)]
    #[arg(action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(crate) encrypted_tail: bool,

    /// Degree of the polynomials that replace Relu and other functions, as `degN`; `auto` chooses
    /// it from the error that the output can bear
    #[arg(long, value_name = "degN|auto", env = "HEPLAN_RELU_MODE", hide_env_values = true)]
    #[arg(default_value = "auto", value_parser = relu_mode)]
    pub(crate) relu_mode: Degree,

    /// How the range of a layer follows from the calibration set: its smallest and largest value,
    /// or its mean and standard deviation
    #[arg(long, value_enum, env = "HEPLAN_DOMAIN_MODE", hide_env_values = true)]
    #[arg(default_value = "min-max")]
    pub(crate) domain_mode: DomainMode,

    /// Bits of the outputs that noise must leave, relative to their range
    /// [default: 11, or 9 with --optimize memory]
    #[arg(long, value_name = "BITS", env = "HEPLAN_PRECISION_BITS", hide_env_values = true)]
    #[arg(visible_alias = "n-bits-fractional-precision")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=35))]
    pub(crate) precision_bits: Option<u32>,

    /// Root mean square error of the outputs that approximation may cause, relative to their
    /// range [default: 0.004, or 0.02 for class scores, or 0.05 for trees]
    #[arg(long, value_name = "SHARE", env = "HEPLAN_MAX_ERROR", hide_env_values = true)]
    #[arg(value_parser = share)]
    pub(crate) max_error: Option<f64>,

    /// Share of calibration samples for which the plan must choose the same class as the model
    /// [default: 0.99]
    #[arg(long, value_name = "SHARE", env = "HEPLAN_MIN_AGREEMENT", hide_env_values = true)]
    #[arg(value_parser = share)]
    pub(crate) min_agreement: Option<f64>,

    /// How polynomials are fitted: best where the calibration data is dense, or with the least
    /// largest error on the whole range
    #[arg(long, value_enum, env = "HEPLAN_FIT", hide_env_values = true)]
    #[arg(default_value = "least-squares")]
    pub(crate) fit: Fit,

    /// Share of a calibrated range's half-width that is added on either side [default: 0.1]
    #[arg(long, value_name = "SHARE", env = "HEPLAN_MARGIN", hide_env_values = true)]
    #[arg(value_parser = share)]
    pub(crate) margin: Option<f64>,

    #[command(flatten)]
    pub(crate) given: Given,

    /// Base-2 logarithm of the ring dimension [default: the cheapest that is secure]
    #[arg(long, value_name = "12-17", env = "HEPLAN_LOG_N", hide_env_values = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(12..=17))]
    pub(crate) log_n: Option<u32>,

    /// Scale of the encoding in bits [default: the smallest that is precise enough]
    #[arg(long, value_name = "BITS", env = "HEPLAN_SCALE_BITS", hide_env_values = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(20..=45))]
    pub(crate) scale_bits: Option<u32>,

    /// What the plan is to be best at: the time of one run, small keys at up to twice the time, or
    /// the time of each of many samples
    #[arg(long, value_enum, env = "HEPLAN_OPTIMIZE", hide_env_values = true)]
    #[arg(default_value = "latency")]
    pub(crate) optimize: Optimize,

    /// How many samples share a ciphertext, rounded up to a power of two: a run answers them all
    /// [default: 1, or what is fastest for each with `--optimize throughput`]
    #[arg(long, value_name = "SAMPLES", env = "HEPLAN_BATCH", hide_env_values = true)]
    #[arg(value_parser = samples)]
    pub(crate) batch: Option<usize>,

    /// The most that the evaluation keys may take, such as 64MiB; the plan gets slower for it
    #[arg(long, value_name = "SIZE", env = "HEPLAN_MAX_KEY_SIZE", hide_env_values = true)]
    pub(crate) max_key_size: Option<ByteSize>,

    /// Measured costs of operations, from `heplan bench --costs`, instead of the stored ones
    #[arg(long, value_name = "FILE", env = "HEPLAN_COSTS", hide_env_values = true)]
    pub(crate) costs: Option<PathBuf>,
}

/// What a plan is to be best at.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Optimize {
    /// The time of one run
    Latency,
    /// Small keys, at up to twice the time
    Memory,
    /// The time of each of many samples that share ciphertexts
    Throughput,
}

/// Standard deviations on either side of the mean that `--domain-mode mean-std` covers.
const DEVIATIONS: f64 = 4.0;

impl Wishes {
    /// As the compiler takes them.
    ///
    /// # Errors
    /// If the file of costs cannot be used.
    pub(crate) fn options(&self) -> Result<CompilerOptions, Findings> {
        let default = CompilerOptions::recommended();
        let costs = match &self.costs {
            Some(file) => {
                Measurement::read(file).map_err(|found| about(file)(vec![*found]))?.seconds
            }
            None => default.costs,
        };
        Ok(CompilerOptions {
            min_agreement: self.min_agreement.unwrap_or(default.min_agreement),
            max_error: self.max_error,
            precision_bits: self.precision_bits.map(f64::from),
            degree: self.relu_mode.0,
            domain: match self.domain_mode {
                DomainMode::MinMax => Domain::MinMax,
                DomainMode::MeanStd => Domain::MeanStd(DEVIATIONS),
            },
            margin: self.margin.unwrap_or(default.margin),
            method: match self.fit {
                Fit::LeastSquares => Method::LeastSquares,
                Fit::Minimax => Method::Minimax,
            },
            scale_bits: self.scale_bits,
            log_n: self.log_n,
            objective: match self.optimize {
                Optimize::Latency => Objective::Latency,
                Optimize::Memory => Objective::Memory,
                Optimize::Throughput => Objective::Throughput,
            },
            batch: self.batch,
            max_key_bytes: self.max_key_size.map(|size| size.as_u64()),
            explain: false,
            costs,
        })
    }
}

/// Compiles and writes both files.
pub(crate) fn run(options: &Options, ui: &Ui) -> anyhow::Result<Outcome> {
    let Some(calibration) = options.calibration.as_ref().filter(|_| !options.dry_run) else {
        return check_onnx::verdict(&options.model, &options.wishes.given, ui);
    };
    let plan = options.output.clone().unwrap_or_else(|| writing::plan_path(&options.model));
    let (compiled, outcome) = write(&options.model, calibration, &plan, &options.wishes, ui)?;
    ui.say(&report::words(&compiled.report));
    Ok(outcome)
}

/// Compiles `model` and writes the plan and its key parameters.
pub(crate) fn write(
    model: &Path,
    calibration: &Path,
    plan: &Path,
    wishes: &Wishes,
    ui: &Ui,
) -> anyhow::Result<(Compiled, Outcome)> {
    let keyparams = writing::keyparams_path(plan);
    let mut sources = vec![model, calibration];
    sources.extend(wishes.given.files());
    for target in [plan, &keyparams] {
        writing::check_target(target, &sources)?;
    }
    let started = Instant::now();
    let step = ui.step("compiling", 0);
    let compiled = make(model, calibration, wishes, &mut Progress(&step), ui)?;
    step.end();
    let mut outcome = report::json(&compiled.report);
    outcome.insert("compile_seconds".to_owned(), started.elapsed().as_secs_f64().into());
    outcome.insert("peak_bytes".to_owned(), system::peak_bytes().into());
    let id = compiled.plan.id();
    interrupt::while_writing(&keyparams, || compiled.plan.keyparams().write(&keyparams))?;
    // Whoever has the key parameters must be able to have the plan: both or neither.
    if let Err(error) = interrupt::while_writing(plan, || compiled.plan.write(plan)) {
        let _missing = std::fs::remove_file(&keyparams);
        return Err(error);
    }
    outcome.insert("id".to_owned(), format::id(&id).into());
    ui.wrote(&mut outcome, "plan", plan, "stays with you: it holds the weights");
    ui.wrote(&mut outcome, "keyparams", &keyparams, "goes to the client");
    Ok((compiled, outcome))
}

/// Imports, calibrates and compiles.
pub(crate) fn make(
    model: &Path,
    calibration: &Path,
    wishes: &Wishes,
    observer: &mut dyn Observer,
    ui: &Ui,
) -> anyhow::Result<Compiled> {
    made(model, calibration, wishes, wishes.options()?, observer, ui)
}

/// The same with what there is to say about layouts.
pub(crate) fn explain(
    model: &Path,
    calibration: &Path,
    wishes: &Wishes,
    observer: &mut dyn Observer,
    ui: &Ui,
) -> anyhow::Result<Compiled> {
    let options = CompilerOptions { explain: true, ..wishes.options()? };
    made(model, calibration, wishes, options, observer, ui)
}

fn made(
    model: &Path,
    calibration: &Path,
    wishes: &Wishes,
    options: CompilerOptions,
    observer: &mut dyn Observer,
    ui: &Ui,
) -> anyhow::Result<Compiled> {
    let given = wishes.given.import_options(wishes.encrypted_tail)?;
    let imported = import::import_file_with(model, given).map_err(about(model))?;
    imported.notes.iter().for_each(|note| ui.detail(&format!("note: {note}")));
    interrupt::check()?;
    let inputs = InputSpec::of(&imported.graph);
    let samples = Samples::read(calibration, &inputs).map_err(about(calibration))?;
    interrupt::check()?;
    let compiled = compile(&imported.graph, &samples, &options, &Simulation, observer);
    let mut compiled = compiled.map_err(|error| -> anyhow::Error {
        match error {
            CompileError::Rejected(found) => about(model)(found).into(),
            broken @ CompileError::Broken { .. } => Bug(broken.to_string()).into(),
        }
    })?;
    compiled.plan.answers = imported.answers;
    compiled.plan.features = features(&compiled.plan, &inputs, &samples);
    Ok(compiled)
}

/// What the calibration set says of single elements of the plan's inputs.
fn features(plan: &Plan, inputs: &[InputSpec], samples: &Samples) -> Vec<Features> {
    let of = |(i, (port, _)): (usize, &(Port, CtType))| {
        let at = inputs.iter().position(|input| input.name == port.name)?;
        let tensors: Vec<&[f64]> = samples.inputs[at].iter().map(Vec::as_slice).collect();
        Features::seen(i, &tensors)
    };
    plan.inputs.iter().enumerate().filter_map(of).collect()
}

/// Findings about a file.
pub(crate) fn about(file: &Path) -> impl Fn(Vec<Diagnostic>) -> Findings + use<> {
    let file = file.display().to_string();
    move |diagnostics| Findings { file: file.clone(), diagnostics }
}

/// Shows what the compiler is at.
struct Progress<'a>(&'a Step);

impl Observer for Progress<'_> {
    fn after(&mut self, _: &'static str, _: Stage<'_>) {}

    fn progress(&mut self, what: &str) {
        self.0.now(what);
    }
}

/// A polynomial degree, or none to have it chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Degree(pub(crate) Option<usize>);

/// How ranges follow from calibration data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DomainMode {
    /// Smallest and largest value, with a margin.
    MinMax,
    /// A number of standard deviations around the mean.
    MeanStd,
}

/// How polynomials are fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fit {
    /// Weighted by the density of the calibration values.
    LeastSquares,
    /// The least largest error.
    Minimax,
}

fn relu_mode(text: &str) -> Result<Degree, String> {
    if text == "auto" {
        return Ok(Degree(None));
    }
    match text.strip_prefix("deg").unwrap_or(text).parse() {
        Ok(n @ 1..=255) => Ok(Degree(Some(n))),
        _ => Err("give `auto` or a degree from deg1 to deg255".to_owned()),
    }
}

fn samples(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or("give a number of samples from 1 on".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(x) if (0.0..=1.0).contains(&x) => Ok(x),
        _ => Err("give a number from 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};
    use heplan_compiler::options::{
        MAX_ERROR, MAX_ERROR_OF_COMPARISONS, MAX_ERROR_OF_SCORES, PRECISION_BITS,
        PRECISION_BITS_OF_SMALL_KEYS,
    };

    use super::*;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        wishes: Wishes,
    }

    #[test]
    fn the_defaults_that_the_help_names_are_the_compilers() {
        let default = CompilerOptions::recommended();
        let max_error = format!(
            "{MAX_ERROR}, or {MAX_ERROR_OF_SCORES} for class scores, or \
             {MAX_ERROR_OF_COMPARISONS} for trees"
        );
        let precision_bits =
            format!("{PRECISION_BITS}, or {PRECISION_BITS_OF_SMALL_KEYS} with --optimize memory");
        for (flag, value) in [
            ("precision_bits", precision_bits),
            ("max_error", max_error),
            ("min_agreement", default.min_agreement.to_string()),
            ("margin", default.margin.to_string()),
        ] {
            let command = Only::command();
            let arg = command.get_arguments().find(|a| a.get_id() == flag).expect(flag);
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.ends_with(&format!("[default: {value}]")), "{flag}: {help}");
        }
    }

    #[test]
    fn degrees_are_read_as_he_man_writes_them() {
        let wishes = |line: &str| Only::try_parse_from(line.split(' ')).map(|o| o.wishes);
        let degree = |line: &str| wishes(line).expect("valid").options().expect("no file").degree;
        assert_eq!(degree("x --relu-mode deg3"), Some(3));
        assert_eq!(degree("x --relu-mode auto"), None);
        assert!(wishes("x --relu-mode degree").is_err());
    }
}
