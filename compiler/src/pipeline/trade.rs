//! Time against bytes of keys: the same ring and scale with other layouts and steps.
//!
//! A ladder of prices for a byte of keys gives a few plans, each slower and with smaller keys than
//! the one before. They are estimated without simulation; the one that the user's options ask for
//! is then searched and simulated like any other.

use heplan_ir::diagnostic::{Code, Diagnostic};

use rayon::prelude::*;

use super::CompileError;
use super::observer::Observer;
use super::search::{Lowered, Ring};
use crate::options::{Objective, Options};
use crate::report::{Standing, Trade};

/// The prices that are tried, as multiples of the usual one: every power of [`STEP`] up to 3000.
const RUNGS: i32 = 24;
const STEP: f64 = 1.4;
/// Rungs that are looked at only to show them.
const SHOWN: [i32; 2] = [4, 8];
/// How much slower than the fastest plan one with small keys may be.
const MEMORY_SLOWDOWN: f64 = 2.0;

/// The plan that `options` ask for, and the plans that it was chosen from, fastest first.
pub(super) fn settle(
    ring: &Ring<'_>,
    usual: Lowered,
    precision_bits: f64,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<(Lowered, Vec<Trade>), CompileError> {
    if ring.width() == 1 {
        // One slot for each sample: there are no rotations to save keys on.
        let trade = Trade { standing: Standing::Chosen, ..Trade::of(&usual.cost) };
        let fits = options.max_key_bytes.is_none_or(|most| usual.cost.key_bytes <= most);
        return if fits {
            Ok((usual, vec![trade]))
        } else {
            Err(too_large(&[trade], options).into())
        };
    }
    let asked = options.objective == Objective::Memory
        || options.max_key_bytes.is_some_and(|most| usual.cost.key_bytes > most);
    observer.progress("weighing time against keys");
    let rungs = if asked { (1..=RUNGS).collect() } else { SHOWN.to_vec() };
    let rungs: Vec<(Ring<'_>, Trade)> = rungs
        .into_par_iter()
        .map(|rung| {
            let ring = ring.at_price(STEP.powi(rung) * ring.key_price());
            let trade = Trade::of(&ring.cheapest(usual.scale_bits)?.0);
            Ok((ring, trade))
        })
        .collect::<Result<_, CompileError>>()?;
    let mut trades = vec![Trade::of(&usual.cost)];
    let mut kept: Vec<Option<Ring<'_>>> = vec![None];
    for (ring, trade) in rungs {
        if trades.iter().all(|t| trade.key_bytes < t.key_bytes) {
            trades.push(trade);
            kept.push(Some(ring));
        }
    }
    let slowest = MEMORY_SLOWDOWN * trades[0].seconds;
    let mut best: Option<(usize, Lowered)> = None;
    for at in wished(&trades, slowest, options) {
        // A plan as carried out has no smaller keys than its estimate.
        if best.as_ref().is_some_and(|(_, l)| l.cost.key_bytes <= trades[at].key_bytes) {
            break;
        }
        let lowered = match &kept[at] {
            None => Some(usual.clone()),
            Some(ring) => carried(ring, precision_bits, observer)?,
        };
        // Precision may ask for another scale or ring than the estimate was made at.
        let untimed = options.objective != Objective::Memory || trades[at].seconds > slowest;
        let fits = |l: &Lowered| {
            options.max_key_bytes.is_none_or(|most| l.cost.key_bytes <= most)
                && (at == 0 || l.cost.key_bytes < usual.cost.key_bytes)
                && best.as_ref().is_none_or(|(_, b)| l.cost.key_bytes < b.cost.key_bytes)
                && (untimed || Trade::of(&l.cost).seconds <= slowest)
        };
        let Some(lowered) = lowered.filter(fits) else {
            if options.max_key_bytes.is_none_or(|most| trades[at].key_bytes <= most) {
                trades[at].standing = Standing::TooNoisy;
            }
            continue;
        };
        best = Some((at, lowered));
        if options.objective != Objective::Memory {
            break;
        }
    }
    let Some((at, lowered)) = best else {
        return Err(too_large(&trades, options).into());
    };
    trades[at] = Trade { standing: Standing::Chosen, ..Trade::of(&lowered.cost) };
    Ok((lowered, trades))
}

/// The plan of a ring; or of the next one, where fewer keys take levels that the ring has no room
/// for.
fn carried(
    ring: &Ring<'_>,
    precision_bits: f64,
    observer: &mut dyn Observer,
) -> Result<Option<Lowered>, CompileError> {
    if let Ok(lowered) = ring.search(precision_bits, observer)? {
        return Ok(Some(lowered));
    }
    match ring.next() {
        Some(larger) => Ok(larger.search(precision_bits, observer)?.ok()),
        None => Ok(None),
    }
}

/// The rungs that options allow, the best first: the fastest; or those with the smallest keys that
/// are not too slow, and slower ones only where keys must be as small as the user says.
fn wished(trades: &[Trade], slowest: f64, options: &Options) -> Vec<usize> {
    let all = 0..trades.len();
    match options.objective {
        Objective::Latency | Objective::Throughput => all.collect(),
        Objective::Memory => {
            let (within, mut beyond): (Vec<_>, Vec<_>) =
                all.partition(|&i| trades[i].seconds <= slowest);
            if options.max_key_bytes.is_none() {
                beyond.clear();
            }
            within.into_iter().rev().chain(beyond).collect()
        }
    }
}

fn too_large(trades: &[Trade], options: &Options) -> Diagnostic {
    let asked = options.max_key_bytes.unwrap_or(0);
    let least = trades.iter().map(|t| t.key_bytes).min().unwrap_or(0);
    Diagnostic::new(
        Code::KeysTooLarge,
        format!("keys of at most {asked} bytes are asked for, the plan needs {least}"),
    )
    .help("allow larger keys with --max-key-size, or fewer levels with a larger --max-error")
}
