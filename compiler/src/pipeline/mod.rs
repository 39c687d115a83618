//! The one order of passes, from an imported model to a plan.
//!
//! Three searches wrap the straight way down: over rings and scales (`search`), for every number of
//! samples that may share a ciphertext (`throughput`), over time against
//! bytes of keys (`trade`), and, when the finished plan agrees too rarely with the float model, over
//! stricter approximations ([`compile`]).

pub mod observer;
mod search;
mod tensors;
mod throughput;
mod trade;

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::parameters::max_log_qp;
use heplan_ir::plan::Plan;
use heplan_ir::tensor;

use crate::cost::plan_peak_bytes;
use crate::data::Samples;
use crate::judge::{Judge, Refusal, Tensors};
use crate::options::Options;
use crate::report::{Quality, Report, RunnerUp, Sent, Trade};
use observer::{Observer, Stage};
use search::Lowered;
use tensors::Real;

/// Samples that a plan is simulated on before it is taken: what approximation does is known from
/// more, and noise is the same for all.
const FINAL_SAMPLES: usize = 64;
/// Bits that the next round asks for beyond those that a finished plan was short of.
const SHORT_BITS: f64 = 0.25;
/// How often approximation may be made stricter before the compiler gives up.
const ROUNDS: usize = 4;

/// A compiled model.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The plan.
    pub plan: Plan,
    /// What to tell the user.
    pub report: Report,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The model, its data or the wishes about it are at fault.
    #[error("the model cannot be compiled: {} finding(s)", .0.len())]
    Rejected(Vec<Diagnostic>),
    /// A pass broke an invariant: a bug of the compiler.
    #[error("pass {pass} broke an invariant; this is a bug in heplan\n{errors}")]
    Broken {
        /// The pass.
        pass: &'static str,
        /// What the verifier or the lowering says.
        errors: String,
    },
}

impl From<Vec<Diagnostic>> for CompileError {
    fn from(findings: Vec<Diagnostic>) -> Self {
        Self::Rejected(findings)
    }
}

impl From<Diagnostic> for CompileError {
    fn from(finding: Diagnostic) -> Self {
        Self::Rejected(vec![finding])
    }
}

impl CompileError {
    fn broken(pass: &'static str, errors: &dyn std::fmt::Display) -> Self {
        Self::Broken { pass, errors: errors.to_string() }
    }
}

/// Verifies what a pass gave, then shows it.
fn watch(
    pass: &'static str,
    stage: Stage<'_>,
    observer: &mut dyn Observer,
) -> Result<(), CompileError> {
    if let Some(errors) = stage.breaches() {
        return Err(CompileError::Broken { pass, errors });
    }
    observer.after(pass, stage);
    Ok(())
}

/// Compiles an imported model.
///
/// `samples` is the calibration set, in the units of the model's inputs.
///
/// # Errors
/// [`CompileError::Rejected`] with every finding about the model, the data or the options.
pub fn compile(
    imported: &tensor::Graph,
    samples: &Samples,
    options: &Options,
    judge: &dyn Judge,
    observer: &mut dyn Observer,
) -> Result<Compiled, CompileError> {
    watch("import", Stage::Tensor(imported), observer)?;
    let mut options = options.clone();
    let mut precision_bits = options.precision();
    for round in 1..=ROUNDS {
        observer.progress("approximating the functions");
        let real = tensors::lower(imported, samples, &options, observer)?;
        let bits = bearable(&real, precision_bits, &options);
        let (ring, usual) = throughput::search(&real, bits, &options, judge, observer)?;
        let (lowered, trades) = trade::settle(&ring, usual, bits, &options, observer)?;
        observer.progress("checking the plan on the calibration set");
        let report = report(&real, &lowered, trades, options.min_agreement, judge)?;
        let agreement = report.simulation.agreement.unwrap_or(1.0);
        // The search measured some samples; these may be all, and no approximation is to blame.
        let exact = real.functions.is_empty();
        let short = options.precision() - report.simulation.precision_bits;
        if exact && short > 0.0 && round < ROUNDS {
            precision_bits += short + SHORT_BITS;
            continue;
        }
        if agreement >= options.min_agreement {
            let mut plan = lowered.plan;
            plan.precision_bits = report.simulation.precision_bits;
            return Ok(Compiled { plan, report });
        }
        if round == ROUNDS || (options.degree.is_some() && precision_bits > options.precision()) {
            return Err(disagreement(&report, &options).into());
        }
        // Whichever of the two errors is to blame, the next round allows less of it.
        options.max_error = Some(report.approximation.rms_error / 2.0);
        precision_bits += 2.0;
    }
    unreachable!("the last round returns")
}

/// The bits that noise must leave: those asked for, but no more than keep its largest error
/// [`Options::noise_below_bits`] below the root mean square error that approximation makes anyway.
/// Every bit costs one bit per level of the modulus, which is better spent on larger key-switching
/// digits.
fn bearable(real: &Real, asked: f64, options: &Options) -> f64 {
    if real.functions.is_empty() {
        return asked;
    }
    let error = Quality::within(&real.approximated, &real.float, &real.spans).rms_error;
    asked.min(options.noise_below_bits() - error.max(2f64.powi(-40)).log2())
}

/// What the finished plan answers in simulation to some samples, and to all where these agree with the float model
/// more rarely than asked for and the others may make up for it: one of few is a large share.
fn simulated(
    real: &Real,
    lowered: &Lowered,
    min_agreement: f64,
    judge: &dyn Judge,
) -> Result<Quality, CompileError> {
    let quality =
        |found: &[Tensors]| Quality::within(found, &real.float[..found.len()], &real.spans);
    let of = |count: usize| {
        let found = judge.simulate(&lowered.plan, &real.samples[..count]).map_err(refused)?;
        Ok(quality(&found))
    };
    let (all, few) = (real.samples.len(), real.samples.len().min(FINAL_SAMPLES));
    let known = &lowered.answers;
    let quality = if known.len() == few { quality(known) } else { of(few)? };
    let agreement = quality.agreement.unwrap_or(1.0);
    let at_best = (agreement * few as f64 + (all - few) as f64) / all as f64;
    if few < all && agreement < min_agreement && at_best >= min_agreement {
        return of(all);
    }
    Ok(quality)
}

fn refused(refusal: Refusal) -> CompileError {
    match refusal {
        Refusal::Overflow(what) => overflowed(what).into(),
        Refusal::Broken(what) => CompileError::broken("simulate", &what),
    }
}

/// The finding about a plan that a calibration sample drives out of the modulus.
fn overflowed(what: String) -> Diagnostic {
    Diagnostic::new(Code::Precision, what)
        .note("a calibration sample drives a value out of the ciphertext modulus")
        .help("ask for more --precision-bits, or check the calibration data for outliers")
}

/// Simulates the finished plan and gathers what there is to tell.
fn report(
    real: &Real,
    lowered: &Lowered,
    trades: Vec<Trade>,
    min_agreement: f64,
    judge: &dyn Judge,
) -> Result<Report, CompileError> {
    let plan = &lowered.plan;
    let simulation = simulated(real, lowered, min_agreement, judge)?;
    let parameters = &plan.parameters;
    let bound = max_log_qp(parameters.log_n()).unwrap_or(0.0);
    let cost = &lowered.cost;
    Ok(Report {
        name: plan.name.clone(),
        log_n: parameters.log_n(),
        levels: parameters.fresh_level(),
        refreshes: cost.bootstraps,
        scale_bits: lowered.waterline.bits,
        log_qp: parameters.log_qp(),
        log_qp_bound: bound,
        digits: parameters.digits(parameters.max_level()),
        key_switches: cost.rotations + cost.relinearisations,
        diagonals: cost.diagonals,
        keys: plan.keys.len(),
        key_bytes: cost.key_bytes,
        input: Sent::of(plan, cost.input_bytes),
        seconds: cost.seconds,
        first_seconds: cost.first_seconds(),
        peak_bytes: plan_peak_bytes(plan),
        batch: parameters.batch(),
        trades,
        layouts: lowered.layouts.clone(),
        layout_gap: lowered.layout_gap,
        runner_up: lowered.runner_up.as_ref().map(|(parameters, cost)| RunnerUp {
            digit_size: parameters.digit_size(),
            special: parameters.p().len(),
            seconds: cost.seconds,
            key_bytes: cost.key_bytes,
        }),
        functions: real.functions.clone(),
        approximation: Quality::within(&real.approximated, &real.float, &real.spans),
        simulation,
    })
}

fn disagreement(report: &Report, options: &Options) -> Diagnostic {
    let found = report.simulation.agreement.unwrap_or(1.0);
    let message = format!(
        "the plan agrees with the float model on {:.1} % of the calibration set, {:.1} % are asked for",
        100.0 * found,
        100.0 * options.min_agreement
    );
    Diagnostic::new(Code::Precision, message)
        .note(format!(
            "approximation alone agrees on {:.1} %",
            100.0 * report.approximation.agreement.unwrap_or(1.0)
        ))
        .help("lower --min-agreement, leave out --relu-mode, or give more calibration samples")
}
