//! `heplan bench`: how fast the scheme is on this machine.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use heplan_ckks::context::Context;
use heplan_ckks::evaluator::Evaluator;
use heplan_ckks::keys::secret::SecretKey;
use heplan_ckks::keys::store::EvaluationKeys;
use heplan_ckks::randomness::os_seed;
use heplan_ir::parameters::{Parameters, ParametersLiteral, max_log_qp};
use heplan_ir::plan::{KeyKind, KeySpec};
use heplan_ir::primes::near_power;
use heplan_ir::scale::Scale;
use serde_json::json;

use crate::format::{self, Table};
use crate::system;
use crate::ui::{Outcome, Ui};

const LONG_ABOUT: &str = "\
Times the operations that plans consist of, on this machine, and prints what they were measured \
with: processor, instruction set, threads.

  heplan bench
  heplan bench --log-n 14 --threads 1";

/// Options of `heplan bench`.
#[derive(Debug, Args)]
#[command(about = "Time the operations of the scheme on this machine", long_about = LONG_ABOUT)]
pub(crate) struct Options {
    /// Base-2 logarithm of the ring dimension
    #[arg(long, value_name = "12-15", env = "HEPLAN_LOG_N", hide_env_values = true)]
    #[arg(default_value = "13", value_parser = clap::value_parser!(u32).range(12..=15))]
    pub(crate) log_n: u32,
}

/// Bits of a prime, and of the scale.
const PRIME_BITS: u32 = 40;
/// How long one operation is repeated, at least.
const PATIENCE: Duration = Duration::from_millis(400);
/// How often, at least and at most.
const REPETITIONS: std::ops::RangeInclusive<usize> = 5..=1000;

/// Times the operations.
pub(crate) fn run(options: &Options, ui: &Ui) -> anyhow::Result<Outcome> {
    let parameters = parameters(options.log_n)?;
    let context = Context::new(&parameters)?;
    let seed = os_seed()?;
    let secret = SecretKey::from_seed(&context, &seed.derive("secret key", &[]));
    let level = parameters.max_level();
    let spec = |kind| KeySpec { kind, level };
    let specs = [KeyKind::Relinearise, KeyKind::Rotate(1)].map(spec);
    let plan = [0; 32];
    let keys = specs.map(|s| secret.evaluation_key(s, &plan));
    let evaluator = Evaluator::new(Arc::new(EvaluationKeys::from_keys(&context, keys.into())));
    let scale = Scale::pow2(i32::try_from(PRIME_BITS)?);
    let values: Vec<f64> = (0..parameters.width()).map(|i| (i as f64 * 0.37).sin()).collect();
    let encoded = context.encoder().encode(&values, &scale)?;
    let encrypt = || secret.encrypt(&encoded, &scale, level, &seed.derive("bench", &[]));
    let ct = encrypt().expand();
    let product = evaluator.mul(&ct, &ct)?;

    let processor = system::processor().unwrap_or_else(|| "unknown processor".to_owned());
    let isa = context.ring().isa().to_string();
    ui.show(&format!(
        "{processor}, {isa}, {} thread(s); N = 2^{}, {} primes of {PRIME_BITS} bits and {} special",
        system::threads(),
        options.log_n,
        level + 1,
        parameters.p().len()
    ));
    let mut table = Table::new(&["operation", ">median", ">repetitions"]);
    let mut times = Outcome::new();
    let mut time = |name: &str, mut work: Box<dyn FnMut() -> anyhow::Result<()> + '_>| {
        let (median, count) = measure(&mut work)?;
        table.row([name.to_owned(), format::time(median), count.to_string()]);
        times.insert(name.to_owned(), median.as_secs_f64().into());
        anyhow::Ok(())
    };
    time("encode", Box::new(|| done(context.encoder().encode(&values, &scale)?)))?;
    time("encrypt", Box::new(|| done(encrypt())))?;
    time("decrypt and decode", Box::new(|| done(secret.decrypt(&ct))))?;
    time("make a key", Box::new(|| done(secret.evaluation_key(specs[1], &plan))))?;
    time("add", Box::new(|| done(evaluator.add(&ct, &ct)?)))?;
    time("multiply by a vector", Box::new(|| done(evaluator.mul_vector(&ct, &values, &scale)?)))?;
    time("multiply", Box::new(|| done(evaluator.mul(&ct, &ct)?)))?;
    time("relinearise", Box::new(|| done(evaluator.relinearise(&product)?)))?;
    time("rescale", Box::new(|| done(evaluator.rescale(&product)?)))?;
    time("rotate", Box::new(|| done(evaluator.rotate(&ct, 1)?)))?;
    ui.show(&table.render());
    let mut outcome = Outcome::new();
    outcome.insert("processor".to_owned(), processor.into());
    outcome.insert("isa".to_owned(), isa.into());
    outcome.insert("threads".to_owned(), system::threads().into());
    outcome.insert("log_n".to_owned(), options.log_n.into());
    outcome.insert("primes".to_owned(), json!([level + 1, parameters.p().len()]));
    outcome.insert("median_seconds".to_owned(), times.into());
    Ok(outcome)
}

/// As many primes as the ring carries at 128 bits, one of them special.
fn parameters(log_n: u32) -> anyhow::Result<Parameters> {
    let bound = max_log_qp(log_n).context("no security bound for this ring")?;
    let count = (bound / (f64::from(PRIME_BITS) + 0.001)) as usize;
    let primes: Vec<u64> = near_power(PRIME_BITS, log_n).take(count).collect();
    let (p, q) = primes.split_at(1);
    let literal = ParametersLiteral { log_n, q: q.to_vec(), p: p.to_vec(), digit_size: 1 };
    Ok(Parameters::new(literal)?)
}

/// Keeps a result alive, so that it is computed.
fn done<T>(value: T) -> anyhow::Result<()> {
    black_box(value);
    Ok(())
}

/// The median time of `work`, and how often it ran.
fn measure(work: &mut dyn FnMut() -> anyhow::Result<()>) -> anyhow::Result<(Duration, usize)> {
    work()?;
    let started = Instant::now();
    let mut times = Vec::new();
    while times.len() < *REPETITIONS.start()
        || (started.elapsed() < PATIENCE && times.len() < *REPETITIONS.end())
    {
        let clock = Instant::now();
        work()?;
        times.push(clock.elapsed());
    }
    times.sort_unstable();
    Ok((times[times.len() / 2], times.len()))
}
