//! `heplan run`: a plan on ciphertexts.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;
use bytesize::ByteSize;
use clap::Args;
use heplan_ckks::backend::{CkksBackend, DEFAULT_CACHE_BYTES};
use heplan_ckks::ciphertext::Ciphertext;
use heplan_ckks::keys::store::DEFAULT_KEY_BYTES;
use heplan_ckks::measure::Clock;
use heplan_ckks::server::Server;
use heplan_ir::plan::Plan;
use heplan_lattice::DEFAULT_POOL_BYTES;
use heplan_runtime::error::RunErrorKind;
use heplan_runtime::executor::{Executor, Observer, Step as Instruction};
use heplan_runtime::profile::Profile;

use crate::interrupt::Interrupted;
use crate::ui::{Outcome, Step, Ui};
use crate::{format, interrupt, system, writing};

const LONG_ABOUT: &str = "\
Runs a plan on an encrypted input, for the model's owner. Nothing is decrypted: the answer is \
another ciphertext, which only the client can read.

  heplan run -p model.plan -k client.key.pub -i input.enc

writes output.enc, which goes back to the client. Plan, evaluation keys and ciphertext must belong \
together; a mix is refused with the ids of both sides.";

/// Options of `heplan run`.
#[derive(Debug, Args)]
#[command(about = "Run a plan on an encrypted input (model owner)", long_about = LONG_ABOUT)]
pub(crate) struct Options {
    /// The plan
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_PLAN", hide_env_values = true)]
    pub(crate) plan: PathBuf,

    /// The client's evaluation keys
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_KEY", hide_env_values = true)]
    #[arg(default_value = "client.key.pub")]
    pub(crate) key: PathBuf,

    /// The encrypted input
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_INPUT", hide_env_values = true)]
    pub(crate) input: PathBuf,

    /// The encrypted answer to write [default: input.enc gives output.enc]
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_OUTPUT", hide_env_values = true)]
    pub(crate) output: Option<PathBuf>,

    /// Memory that the run may take, such as 500MB: keys are then read, and diagonals encoded, again
    /// where there is no room to keep them
    #[arg(long, value_name = "SIZE", env = "HEPLAN_MEMORY_LIMIT", hide_env_values = true)]
    pub(crate) memory_limit: Option<ByteSize>,
}

/// Runs the plan and writes the answer.
pub(crate) fn run(options: &Options, ui: &Ui) -> anyhow::Result<Outcome> {
    let output = options.output.clone().unwrap_or_else(|| writing::result_path(&options.input));
    let limit = options.memory_limit.map(|size| size.as_u64());
    write(&options.plan, &options.key, &options.input, &output, limit, ui)
}

/// Bytes for what is kept because it will be used again.
struct Budgets {
    keys: usize,
    diagonals: usize,
    buffers: usize,
}

impl Budgets {
    /// What a limit leaves beside the least that the plan takes; the usual budgets without a limit.
    fn within(limit: Option<u64>, plan: &Plan) -> anyhow::Result<Self> {
        let Some(limit) = limit else {
            let (keys, diagonals) = (DEFAULT_KEY_BYTES, DEFAULT_CACHE_BYTES);
            return Ok(Self { keys, diagonals, buffers: DEFAULT_POOL_BYTES });
        };
        let least = heplan_compiler::cost::least_bytes(plan, system::threads());
        let Some(spare) = limit.checked_sub(least) else {
            bail!(
                "the plan takes at least {}, the limit is {}; allow more with --memory-limit, or \
                 take fewer --threads",
                format::bytes(least),
                format::bytes(limit)
            );
        };
        let share = |part: u64| usize::try_from(spare / 4 * part).unwrap_or(usize::MAX);
        Ok(Self {
            keys: share(2).min(DEFAULT_KEY_BYTES),
            diagonals: share(1).min(DEFAULT_CACHE_BYTES),
            buffers: share(1).min(DEFAULT_POOL_BYTES),
        })
    }
}

/// Runs `plan` with the evaluation keys `key` on `input` and writes `output`, within `limit` bytes of
/// memory if there is a limit.
pub(crate) fn write(
    plan: &Path,
    key: &Path,
    input: &Path,
    output: &Path,
    limit: Option<u64>,
    ui: &Ui,
) -> anyhow::Result<Outcome> {
    writing::check_target(output, &[plan, key, input])?;
    let started = Instant::now();
    let step = ui.step("loading", 0);
    let (plan, id) = {
        let plan = Plan::read(plan)?;
        let id = plan.id();
        (plan, id)
    };
    let budgets = Budgets::within(limit, &plan)?;
    let server = Server::open(&plan, &id, key, budgets.diagonals)?;
    server.backend().evaluator().keys().set_budget(budgets.keys);
    server.context().ring().pool().set_limit(budgets.buffers);
    let inputs = server.open_inputs(input)?;
    step.end();
    let load = started.elapsed();
    let (count, runs) = (inputs.header().samples, inputs.header().runs());
    let started = Instant::now();
    let mut progress = Progress {
        step: ui.step("running", 0),
        profile: Profile::default(),
        runs: runs as u64,
        run: 0,
    };
    let mut outputs: Vec<Vec<Vec<Ciphertext>>> = Vec::with_capacity(runs);
    let clock = Clock::of_threads(system::threads());
    let mut times = Vec::with_capacity(runs);
    for run in 0..runs {
        let parts = inputs.run(server.context(), run)?;
        progress.run = run as u64;
        let executor = Executor::new(&plan).cancel_on(interrupt::flag());
        let (result, time) = clock.time(|| executor.run(server.backend(), parts, &mut progress));
        times.push(time.as_secs_f64());
        outputs.push(result.map_err(|error| match error.kind() {
            RunErrorKind::Cancelled => anyhow::Error::from(Interrupted),
            _ => error.into(),
        })?);
    }
    progress.step.end();
    let evaluate = started.elapsed();
    let header = inputs.header();
    interrupt::while_writing(output, || server.write_outputs(output, &plan, header, &outputs))?;
    for (name, share) in &progress.profile.by_instruction {
        ui.detail(&format!("  {name}: {} in {}", share.count, format::time(share.time)));
    }
    let isa = server.context().ring().isa().to_string();
    let mut outcome = measured(load, evaluate, count, &isa);
    outcome.insert("batch".to_owned(), inputs.header().batch.into());
    outcome.insert("sample_seconds".to_owned(), times.into());
    outcome.insert("plan".to_owned(), format::id(&id).into());
    ui.say(&summary(load, evaluate, count, &isa));
    ui.wrote(&mut outcome, "output", output, "goes back to the client");
    Ok(outcome)
}

fn measured(load: Duration, evaluate: Duration, samples: usize, isa: &str) -> Outcome {
    let mut outcome = Outcome::new();
    outcome.insert("load_seconds".to_owned(), load.as_secs_f64().into());
    outcome.insert("evaluate_seconds".to_owned(), evaluate.as_secs_f64().into());
    outcome.insert("peak_bytes".to_owned(), system::peak_bytes().into());
    outcome.insert("threads".to_owned(), system::threads().into());
    outcome.insert("isa".to_owned(), isa.into());
    outcome.insert("samples".to_owned(), samples.into());
    outcome
}

fn summary(load: Duration, evaluate: Duration, samples: usize, isa: &str) -> String {
    let each = if samples > 1 {
        let one = evaluate.div_f64(samples as f64);
        format!(" for {samples} samples ({} each)", format::time(one))
    } else {
        String::new()
    };
    let peak =
        system::peak_bytes().map_or(String::new(), |b| format!(", peak {}", format::bytes(b)));
    format!(
        "loaded in {}, ran in {}{each}; {} thread(s), {isa}{peak}",
        format::time(load),
        format::time(evaluate),
        system::threads()
    )
}

/// Moves the bar and adds up times.
struct Progress {
    step: Step,
    profile: Profile,
    runs: u64,
    run: u64,
}

impl Observer<CkksBackend> for Progress {
    fn before(&mut self, at: Instruction<'_>) {
        let total = at.total as u64;
        self.step.at_of(self.run * total + at.index as u64, self.runs * total);
    }

    fn after(&mut self, at: Instruction<'_>, results: &[Ciphertext], elapsed: Duration) {
        Observer::<CkksBackend>::after(&mut self.profile, at, results, elapsed);
    }
}
