//! Time against bytes of keys: the same ring and scale with other layouts and steps, and where memory is what counts also
//! the next ring, if its keys may be smaller.
//!
//! A ladder of prices for a byte of keys gives a few plans, each slower and with smaller keys than
//! the one before. They are estimated without simulation; the one that the user's options ask for
//! is then searched and simulated like any other.

use heplan_ir::diagnostic::{Code, Diagnostic};

use rayon::prelude::*;

use super::CompileError;
use super::observer::Observer;
use super::search::{KeyPrice, Lowered, Ring};
use crate::options::{Objective, Options};
use crate::passes::ckks::Waterline;
use crate::report::{Standing, Trade};

/// The prices that are tried, as multiples of the usual one: every power of [`STEP`] up to 3000.
const RUNGS: u32 = 24;
const STEP: f64 = 1.4;
/// Rungs that are looked at only to show them.
const SHOWN: [f64; 2] = [4.0, 8.0];
/// Rungs that are looked at together; where all are too slow, those above are too.
const TOGETHER: usize = 4;
/// Where between two rungs others are looked at, when the upper one is too slow.
const BETWEEN: [f64; 3] = [0.25, 0.5, 0.75];
/// Affine maps that are tried at a price of their own, at most.
const MIXED: usize = 8;
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
    let memory = options.objective == Objective::Memory;
    let larger = if memory { ring.next_of_smaller_keys(&usual) } else { None };
    let unbounded = options.max_key_bytes.is_some();
    let on = |ring, waterline| Ladder { ring, waterline, usual: &usual, unbounded };
    let larger = larger.as_ref().map(|(ring, waterline)| on(ring, *waterline));
    let ladders: Vec<_> = [on(ring, usual.waterline)].into_iter().chain(larger).collect();
    let mut rungs: Vec<(&Ladder<'_, '_>, Rung)> = Vec::new();
    for ladder in &ladders {
        let found = match asked {
            true => ladder.climb()?,
            false => ladder.at(SHOWN.iter().map(|&r| power(r)).collect())?,
        };
        rungs.extend(found.into_iter().map(|rung| (ladder, rung)));
    }
    rungs.sort_by(|(_, (_, a)), (_, (_, b))| a.seconds.total_cmp(&b.seconds));
    let mut trades = vec![Trade::of(&usual.cost)];
    let mut places: Vec<Option<(&Ladder<'_, '_>, KeyPrice)>> = vec![None];
    for (ladder, (price, trade)) in rungs {
        if trades.iter().all(|t| trade.key_bytes < t.key_bytes) {
            trades.push(trade);
            places.push(Some((ladder, price)));
        }
    }
    let least = |of: fn(&Trade) -> f64| trades.iter().map(of).fold(f64::INFINITY, f64::min);
    let fastest = [least(|t| t.seconds), least(|t| t.run_seconds)];
    let slow = |trade: &Trade| is_slow(trade, fastest);
    let mut best: Option<(usize, Lowered)> = None;
    for at in wished(&trades, slow, options) {
        // A plan as carried out has no smaller keys than its estimate.
        if best.as_ref().is_some_and(|(_, l)| l.cost.key_bytes <= trades[at].key_bytes) {
            break;
        }
        let lowered = match places[at] {
            None => Some(usual.clone()),
            Some((ladder, price)) => carried(&ladder.ring_at(price), precision_bits, observer)?,
        };
        // Precision may ask for another scale or ring than the estimate was made at.
        let untimed = !memory || slow(&trades[at]);
        let fits = |l: &Lowered| {
            options.max_key_bytes.is_none_or(|most| l.cost.key_bytes <= most)
                && (at == 0 || l.cost.key_bytes < usual.cost.key_bytes)
                && best.as_ref().is_none_or(|(_, b)| l.cost.key_bytes < b.cost.key_bytes)
                && (untimed || !slow(&Trade::of(&l.cost)))
        };
        let Some(lowered) = lowered.filter(fits) else {
            if options.max_key_bytes.is_none_or(|most| trades[at].key_bytes <= most) {
                trades[at].standing = Standing::TooNoisy;
            }
            continue;
        };
        best = Some((at, lowered));
        if !memory {
            break;
        }
    }
    let Some((at, lowered)) = best else {
        return Err(too_large(&trades, options).into());
    };
    trades[at] = Trade { standing: Standing::Chosen, ..Trade::of(&lowered.cost) };
    Ok((lowered, trades))
}

/// The plans of one ring at rising prices of keys.
struct Ladder<'l, 'a> {
    ring: &'l Ring<'a>,
    /// The scales that plans are estimated at.
    waterline: Waterline,
    /// The plan at the usual price.
    usual: &'l Lowered,
    /// Whether plans that are too slow are looked at too.
    unbounded: bool,
}

impl<'a> Ladder<'_, 'a> {
    /// The ring at a multiple of its price.
    fn ring_at(&self, price: KeyPrice) -> Ring<'a> {
        let times = |factor: f64| factor * self.ring.key_price();
        let except = price.except.map(|(affine, factor)| (affine, times(factor)));
        self.ring.at_price(KeyPrice { all: times(price.all), except }).starting_at(self.waterline)
    }

    /// Whether a plan takes too long beside the one at the usual price.
    fn is_slow(&self, trade: &Trade) -> bool {
        let usual = Trade::of(&self.usual.cost);
        is_slow(trade, [usual.seconds, usual.run_seconds])
    }

    /// The plans at these prices, estimated. Their graphs are not kept: they are many.
    fn at(&self, prices: Vec<KeyPrice>) -> Result<Vec<Rung>, CompileError> {
        let estimate = |price: KeyPrice| {
            let cost = self.ring_at(price).cheapest(self.waterline)?.0;
            Ok((price, Trade::of(&cost)))
        };
        prices.into_par_iter().map(estimate).collect()
    }

    /// All rungs up to those that are too slow, and more where time begins to be too long.
    fn climb(&self) -> Result<Vec<Rung>, CompileError> {
        let all: Vec<f64> = (1..=RUNGS).map(f64::from).collect();
        let mut found: Vec<Rung> = Vec::new();
        for rungs in all.chunks(TOGETHER) {
            let some = self.at(rungs.iter().map(|&r| power(r)).collect())?;
            let slow = some.iter().all(|(_, trade)| self.is_slow(trade));
            found.extend(some);
            if slow && !self.unbounded {
                break;
            }
        }
        if !self.unbounded {
            let last = found.iter().rposition(|(_, trade)| !self.is_slow(trade));
            let last = last.map_or(0.0, |at| all[at]);
            found.extend(self.at(BETWEEN.iter().map(|part| power(last + part)).collect())?);
            found.extend(self.mixed(&found)?);
        }
        Ok(found)
    }

    /// A price for all maps finds the plans on the convex hull of time and keys. Others lie between:
    /// one map at the price of the neighbour on the other side of what is too slow.
    fn mixed(&self, found: &[Rung]) -> Result<Vec<Rung>, CompileError> {
        let prices = |slow: bool| {
            let some = found.iter().filter(move |(_, trade)| self.is_slow(trade) == slow);
            some.map(|(price, _)| price.all)
        };
        let fine = prices(false).fold(1.0, f64::max);
        let Some(slow) = prices(true).filter(|&p| p > fine).reduce(f64::min) else {
            return Ok(Vec::new());
        };
        let one = |affine| {
            let mix = |all, other| KeyPrice { all, except: Some((affine, other)) };
            [mix(fine, slow), mix(slow, fine)]
        };
        self.at(self.ring.affines().take(MIXED).flat_map(one).collect())
    }
}

/// Whether a plan takes too long, on its first run or later, beside so many seconds.
fn is_slow(trade: &Trade, [first, later]: [f64; 2]) -> bool {
    trade.seconds > MEMORY_SLOWDOWN * first || trade.run_seconds > MEMORY_SLOWDOWN * later
}

/// A plan with the multiple of the usual price that it was found at.
type Rung = (KeyPrice, Trade);

/// A rung of the ladder.
fn power(rung: f64) -> KeyPrice {
    KeyPrice::same(STEP.powf(rung))
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
fn wished(trades: &[Trade], slow: impl Fn(&Trade) -> bool, options: &Options) -> Vec<usize> {
    let all = 0..trades.len();
    match options.objective {
        Objective::Latency | Objective::Throughput => all.collect(),
        Objective::Memory => {
            // The plan at the usual price is there when no other is.
            let (within, mut beyond): (Vec<_>, Vec<_>) =
                all.partition(|&i| i == 0 || !slow(&trades[i]));
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
