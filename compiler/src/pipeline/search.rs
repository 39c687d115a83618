//! The search over rings and scales: the cheapest secure parameters that carry the computation
//! with the precision asked for.
//!
//! Rings are tried from the smallest secure one; the next one is looked at too where tensors do
//! not fit one ciphertext of the smaller, and goes first where its layouts are estimated to be
//! cheaper. Where only large rings carry all levels, a ring with fewer levels that refreshes ciphertexts on the way is
//! looked at too.
//! Within a ring the smallest scale that is precise enough is taken (`scale`).

mod chain;
mod ring;
mod scale;

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::parameters::{LOG_N, Parameters};
use heplan_ir::plan::Plan;

use super::observer::Observer;
use super::tensors::Real;
use super::{CompileError, overflowed};
use crate::cost::Cost;
use crate::judge::{Judge, Tensors};
use crate::options::Options;
use crate::passes::ckks::Waterline;
use crate::report::{LayoutGap, NodeLayout};
use chain::Chain;
pub(super) use chain::rings;
use ring::USUAL_KEY_PRICE;
pub(super) use ring::{KeyPrice, Ring};
use scale::Missed;

/// A ring that misses the precision by less is tried with other layouts, whose noise differs a little.
const NEAR_MISS_BITS: f64 = 0.5;

/// A plan under the parameters that were chosen.
#[derive(Clone)]
pub(super) struct Lowered {
    pub(super) plan: Plan,
    /// What it answers, in simulation, to the first samples.
    pub(super) answers: Vec<Tensors>,
    pub(super) cost: Cost,
    pub(super) waterline: Waterline,
    /// The layouts of inputs and of what the affine maps of a node write.
    pub(super) layouts: Vec<NodeLayout>,
    /// How good they are, if that is asked for.
    pub(super) layout_gap: Option<LayoutGap>,
    /// What the next-best parameters for the same layouts would cost.
    pub(super) runner_up: Option<(Parameters, Cost)>,
}

/// Plans may be so much cheaper than rings are estimated: precision decides on scales and digits.
const NEAR_COST: f64 = 1.25;
/// The smallest ring, as `log2 N`, whose plans are compared with plans that refresh ciphertexts.
const LARGE_RING: u32 = 16;

/// Finds the cheapest plan for `batch` samples of `real` whose noise leaves `precision_bits`, with
/// the ring that it is for.
pub(super) fn search<'a>(
    real: &'a Real,
    batch: usize,
    precision_bits: f64,
    options: &'a Options,
    judge: &'a dyn Judge,
    observer: &mut dyn Observer,
) -> Result<(Ring<'a>, Lowered), CompileError> {
    let depth = real.depth();
    let plain: Vec<(u32, Chain)> =
        rings(depth, batch, options).map(|n| (n, Chain::whole(depth))).collect();
    let refreshes = batch == 1 && plain.first().is_none_or(|r| r.0 >= LARGE_RING);
    let refreshing: Vec<(u32, Chain)> = match refreshes {
        true => chain::refreshing_rings(options).collect(),
        false => Vec::new(),
    };
    let lay_out = |&(log_n, chain): &(u32, Chain), observer: &mut dyn Observer| {
        observer.progress(&format!("laying out for ring dimension 2^{log_n}"));
        Ring::with_chain((real, options, judge), (log_n, batch), chain, USUAL_KEY_PRICE)
    };
    let mut rest = plain.iter();
    let mut next = |observer: &mut dyn Observer| rest.find_map(|ring| lay_out(ring, observer));
    let mut queue: Vec<Ring<'_>> = Vec::new();
    queue.extend(next(observer));
    if queue.iter().any(Ring::splits_tensors) {
        queue.extend(next(observer));
    }
    queue.extend(refreshing.iter().find_map(|ring| lay_out(ring, observer)));
    queue.sort_by(|a, b| b.estimated().total_cmp(&a.estimated()));
    let Some(first) = queue.last() else { return Err(too_deep(depth, options).into()) };
    let mut best = (first.log_n, Missed::untried());
    while let Some(ring) = queue.pop().or_else(|| next(observer)) {
        let missed = match ring.search(precision_bits, observer)? {
            Ok(lowered) => {
                let found = ring.or_whole(lowered, precision_bits, observer)?;
                return cheaper(found, queue, precision_bits, observer);
            }
            Err(missed) => missed,
        };
        if missed.bits + NEAR_MISS_BITS > precision_bits {
            for near in ring.alike() {
                if let Ok(lowered) = near.search(precision_bits, observer)? {
                    return Ok((near, lowered));
                }
            }
        }
        if missed.nearer_than(&best.1) {
            best = (ring.log_n, missed);
        }
    }
    Err(too_noisy(best, precision_bits, depth).into())
}

/// A plan, or one of the rings left whose estimates are near enough that their plans may be cheaper.
fn cheaper<'a>(
    mut best: (Ring<'a>, Lowered),
    rest: Vec<Ring<'a>>,
    precision_bits: f64,
    observer: &mut dyn Observer,
) -> Result<(Ring<'a>, Lowered), CompileError> {
    for ring in rest {
        let weight = best.0.weight(&best.1.cost);
        if ring.estimated() > NEAR_COST * weight {
            continue;
        }
        if let Ok(lowered) = ring.search(precision_bits, observer)? {
            let found = ring.or_whole(lowered, precision_bits, observer)?;
            if found.0.weight(&found.1.cost) < weight {
                best = found;
            }
        }
    }
    Ok(best)
}

/// No ring leaves enough bits; the best one with its bits says how far it is.
fn too_noisy((log_n, missed): (u32, Missed), asked: f64, depth: usize) -> Diagnostic {
    let Missed { bits, overflow } = missed;
    if let Some(what) = overflow {
        return overflowed(what);
    }
    let message = if bits.is_finite() {
        format!("noise leaves {bits:.1} bits of the outputs, {asked:.1} are asked for")
    } else {
        "scales of products drift out of every modulus".to_owned()
    };
    Diagnostic::new(Code::Precision, message)
        .note(format!(
            "the best ring tried has dimension 2^{log_n}, the model needs {depth} levels"
        ))
        .help("ask for fewer bits with --precision-bits, or for lower degrees with --max-error")
}

fn too_deep(depth: usize, options: &Options) -> Diagnostic {
    let message = format!("no secure parameter set carries {depth} levels");
    let found = Diagnostic::new(Code::TooDeep, message);
    match (options.log_n, options.scale_bits) {
        (None, None) => found
            .note(format!("the largest ring has dimension 2^{}", LOG_N.end()))
            .help("use fewer or smoother activations, or allow lower degrees with --max-error"),
        _ => found.help("leave out --log-n and --scale-bits, and the compiler chooses them"),
    }
}
