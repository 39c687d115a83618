//! `heplan bench`: how fast the scheme is on this machine.

mod costs;
mod models;
mod operations;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use heplan_ckks::measure::{Operation, Shape};

use super::compile::Optimize;
use crate::ui::{Outcome, Ui};
use crate::writing;

const LONG_ABOUT: &str = "\
Times the operations that plans consist of, on this machine, and prints what they were measured \
with: processor, instruction set, threads.

  heplan bench
  heplan bench --shape b,c --operations rotate,mul_relin --threads 1
  heplan bench --all --json
  heplan bench --costs here.ron
  heplan bench --models models/ --costs here.ron

Every time is a median. On one thread it is processor time, which other work on the machine \
disturbs least, on several threads time on the wall. The floor is the time of the transforms, \
products and base conversions that an operation cannot avoid, at the speed of these kernels in the \
same run. HEPLAN_ISA=scalar picks another instruction set.

With --models, whole models are compiled and run on ciphertexts instead, every step in a process \
of its own: times on one and two threads, the prediction beside them, sizes, peaks and errors.

Shapes (ring, ciphertext + special primes, digits): a 2^13, 4+1, 4; b 2^14, 7+3, 3; b7 2^14, 7+1, \
7; c 2^15, 16+3, 6; c16 2^15, 16+1, 16; d 2^16, 30+6, 5; d30 2^16, 30+1, 30.";

/// Options of `heplan bench`.
#[derive(Debug, Args)]
#[command(about = "Time the operations of the scheme on this machine", long_about = LONG_ABOUT)]
pub(crate) struct Options {
    /// The shapes to measure [default: a,b]
    #[arg(long, value_name = "NAME", env = "HEPLAN_SHAPE", hide_env_values = true)]
    #[arg(value_delimiter = ',', value_parser = shape)]
    pub(crate) shape: Vec<Shape>,

    /// Measure every shape; takes minutes and 15 GB
    #[arg(long, env = "HEPLAN_ALL", hide_env_values = true)]
    #[arg(value_parser = clap::builder::BoolishValueParser::new())]
    #[arg(conflicts_with = "shape")]
    pub(crate) all: bool,

    /// The operations to measure [default: all]
    #[arg(long, value_name = "NAME", env = "HEPLAN_OPERATIONS", hide_env_values = true)]
    #[arg(value_delimiter = ',', value_parser = operation)]
    pub(crate) operations: Vec<Operation>,

    /// How long one operation is repeated
    #[arg(long, value_name = "SECONDS", env = "HEPLAN_BUDGET", hide_env_values = true)]
    #[arg(default_value = "0.3", value_parser = budget)]
    pub(crate) budget: Duration,

    /// Fit the compiler's cost model to this machine, on one thread, and write it for `compile
    /// --costs`; with --models, the costs to compile with
    #[arg(long, value_name = "FILE", env = "HEPLAN_COSTS", hide_env_values = true)]
    pub(crate) costs: Option<PathBuf>,

    /// Measure whole models instead: .onnx files, or folders of them, each with calibration.npz
    /// beside it (and test.npz, if there is one)
    #[arg(long, value_name = "PATH", env = "HEPLAN_MODELS", hide_env_values = true)]
    #[arg(num_args = 1.., conflicts_with_all = ["shape", "all", "operations"])]
    pub(crate) models: Vec<PathBuf>,

    /// Samples that every model runs on
    #[arg(long, value_name = "N", env = "HEPLAN_SAMPLES", hide_env_values = true)]
    #[arg(default_value = "4", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) samples: u32,

    /// What the plans of whole models are to be best at [default: latency]
    #[arg(long, value_enum, env = "HEPLAN_OPTIMIZE", hide_env_values = true)]
    pub(crate) optimize: Option<Optimize>,
}

/// Measures what was asked for.
pub(crate) fn run(options: &Options, threads: Option<usize>, ui: &Ui) -> anyhow::Result<Outcome> {
    if !options.models.is_empty() {
        return models::run(options, ui);
    }
    if let Some(path) = &options.costs {
        writing::check_target(path, &[])?;
    }
    operations::run(options, threads, ui)
}

fn shape(text: &str) -> Result<Shape, String> {
    let names = || heplan_ckks::measure::shape::SHAPES.map(|s| s.name).join(", ");
    Shape::named(text).ok_or_else(|| format!("no such shape; there are {}", names()))
}

fn operation(text: &str) -> Result<Operation, String> {
    let names = || Operation::ALL.map(Operation::name).join(", ");
    Operation::named(text).ok_or_else(|| format!("no such operation; there are {}", names()))
}

fn budget(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("give a number of seconds from 0 to 3600".to_owned()),
    }
}
