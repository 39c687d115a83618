//! How many samples share a ciphertext.
//!
//! Slots that one sample leaves free can hold others, at almost no cost, until the tensors of all
//! samples fill the ciphertext; beyond that a tensor takes several ciphertexts, rotations become
//! fewer, and at one slot for each sample there are none: every linear map is then a sum of
//! ciphertexts times numbers (Gilad-Bachrach et al., CryptoNets, ICML 2016).
//! So only the numbers around the first point and the last one are worth estimating.

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::parameters::LOG_N;

use super::CompileError;
use super::observer::Observer;
use super::search::{self, Lowered, Ring};
use super::tensors::Real;
use crate::judge::Judge;
use crate::options::{Objective, Options};

/// The most memory that a run may be predicted to take when the compiler chooses the number.
const MOST_BYTES: u64 = 4 << 30;
/// Multiples of the number whose tensors just fit one ciphertext that are estimated too.
const AROUND: [usize; 3] = [1, 2, 4];

/// Finds the plan for the number of samples that `options` ask for, or, for throughput, the number
/// with the smallest predicted time of a sample.
pub(super) fn search<'a>(
    real: &'a Real,
    precision_bits: f64,
    options: &'a Options,
    judge: &'a dyn Judge,
    observer: &mut dyn Observer,
) -> Result<(Ring<'a>, Lowered), CompileError> {
    match (options.batch, options.objective) {
        (Some(asked), _) => {
            let batch = rounded(asked, options)?;
            search::search(real, batch, precision_bits, options, judge, observer)
        }
        (None, Objective::Throughput) => best(real, precision_bits, options, judge, observer),
        (None, Objective::Latency | Objective::Memory) => {
            search::search(real, 1, precision_bits, options, judge, observer)
        }
    }
}

/// The plan with the smallest predicted time of a sample.
fn best<'a>(
    real: &'a Real,
    precision_bits: f64,
    options: &'a Options,
    judge: &'a dyn Judge,
    observer: &mut dyn Observer,
) -> Result<(Ring<'a>, Lowered), CompileError> {
    let Some(mut log_n) = search::rings(real.depth(), 1, options).next() else {
        // No ring carries it: the search says why.
        return search::search(real, 1, precision_bits, options, judge, observer);
    };
    loop {
        let batches = best_first(real, log_n, options, judge, observer)?;
        let found = first(real, batches, precision_bits, options, judge, observer)?;
        if found.0.log_n() <= log_n {
            return Ok(found);
        }
        // Precision takes a larger ring than the estimates were for: it has more slots to fill.
        log_n = found.0.log_n();
    }
}

/// The first of these numbers with a plan within the memory; the last one whatever it takes.
fn first<'a>(
    real: &'a Real,
    mut batches: Vec<usize>,
    precision_bits: f64,
    options: &'a Options,
    judge: &'a dyn Judge,
    observer: &mut dyn Observer,
) -> Result<(Ring<'a>, Lowered), CompileError> {
    let last = batches.pop().unwrap_or(1);
    for batch in batches {
        match search::search(real, batch, precision_bits, options, judge, observer) {
            Ok(found) if found.1.cost.peak_bytes <= MOST_BYTES => return Ok(found),
            Err(broken @ CompileError::Broken { .. }) => return Err(broken),
            // Too much memory, or too little precision in every ring: the next number may do.
            Ok(_) | Err(CompileError::Rejected(_)) => {}
        }
    }
    search::search(real, last, precision_bits, options, judge, observer)
}

/// The power of two that holds the asked number of samples.
fn rounded(asked: usize, options: &Options) -> Result<usize, CompileError> {
    let log_n = options.log_n.unwrap_or(*LOG_N.end());
    let slots = 1 << (log_n - 1);
    match asked.checked_next_power_of_two() {
        Some(batch) if asked > 0 && batch <= slots => Ok(batch),
        _ => Err(Diagnostic::new(
            Code::Batch,
            format!(
                "{asked} samples cannot share a ciphertext of ring dimension 2^{log_n}, which has {slots} slots"
            ),
        )
        .help(format!(
            "ask for at most {slots} with --batch, or for a larger ring with --log-n; `encrypt` takes any number of samples and makes as many ciphertexts as they need"
        ))
        .into()),
    }
}

/// Numbers of samples by predicted time of one in a ring, those that take too much memory last.
fn best_first(
    real: &Real,
    log_n: u32,
    options: &Options,
    judge: &dyn Judge,
    observer: &mut dyn Observer,
) -> Result<Vec<usize>, CompileError> {
    let slots = 1usize << (log_n - 1);
    let largest = real.graph.ids().map(|id| real.graph.value(id).shape.iter().product::<usize>());
    let fitting = slots / largest.max().unwrap_or(1).next_power_of_two().min(slots);
    let mut batches: Vec<usize> = AROUND.iter().map(|k| (k * fitting).min(slots)).collect();
    batches.push(slots);
    batches.dedup();
    let mut found = Vec::new();
    for batch in batches {
        observer.progress(&format!("estimating {batch} samples per ciphertext"));
        let Some(ring) = Ring::new(real, (log_n, batch), options, judge) else { continue };
        let cost = ring.estimate()?;
        found.push((cost.peak_bytes > MOST_BYTES, cost.seconds / batch as f64, batch));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    Ok(found.into_iter().map(|f| f.2).collect())
}
