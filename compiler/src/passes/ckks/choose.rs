//! Which of several secure parameter sets makes the cheapest plan.
//!
//! The digit size trades the time of key switches against the size of their keys, and hoisted
//! rotations against relinearisations, so that only the lowered graph can tell: every set is
//! tried, and the cost model ranks the outcomes. Sets are not made or changed here.

use heplan_ir::ckks::Graph;
use heplan_ir::parameters::Parameters;
use heplan_ir::slots;

use super::{LowerError, lower};
use crate::cost::{Cost, Costs, plan_cost};

/// Seconds that a byte of evaluation keys is worth: they are read once per run at about a gigabyte
/// per second, and travel once from client to model owner.
const SECONDS_PER_KEY_BYTE: f64 = 2e-9;

/// The cheapest lowering of `graph` under one of `sets`, with its cost; `None` when there is no
/// set.
///
/// Among equals the first set wins.
///
/// # Errors
/// As [`lower()`](fn@lower).
pub fn choose(
    graph: &slots::Graph,
    sets: &[Parameters],
    waterline_bits: u32,
    costs: &Costs,
) -> Result<Option<(Graph, Cost)>, LowerError> {
    let mut best: Option<(Graph, Cost)> = None;
    for set in sets {
        let lowered = lower(graph, set, waterline_bits)?;
        let cost = plan_cost(&lowered, costs);
        if best.as_ref().is_none_or(|b| weight(&cost) < weight(&b.1)) {
            best = Some((lowered, cost));
        }
    }
    Ok(best)
}

/// What choices minimise: seconds, and keys by their worth.
pub(super) fn weight(cost: &Cost) -> f64 {
    cost.seconds + cost.encode_seconds + cost.key_bytes as f64 * SECONDS_PER_KEY_BYTE
}
