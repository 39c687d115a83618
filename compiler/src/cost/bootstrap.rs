//! The work of a bootstrap: its two transforms, its modular reduction and its switches of secrets.

use heplan_ir::bootstrap::Stage;
use heplan_ir::parameters::Parameters;

use super::{LinearShape, Place, Work, bytes_of_key};

/// The work of one bootstrap: every time, and once more when it runs for the first time; none without one.
pub(super) fn work(parameters: &Parameters) -> (Work, Work) {
    let Some(bootstrap) = parameters.bootstrap() else {
        return (Work::default(), Work::default());
    };
    let at = |level| Place::of(parameters, level);
    let mut every = Work::key_switch(&at(0)) + Work::key_switch(&at(bootstrap.max_level()));
    let mut first = Work::default();
    for stage in bootstrap.stages(parameters.log_n()) {
        let (place, below) = (at(stage.level), at(stage.level - 1));
        let shape = shape(&stage);
        every += Work::linear(&place, &shape) + Work::divide(&place) * 2.0;
        every += Work::rotate_extended(&below, &place) * (stage.giant_steps as f64 - 1.0);
        // Diagonals are kept as coefficients: their evaluations would take gigabytes.
        let diagonals = stage.diagonals as f64;
        every += Work::evaluate(&place, stage.period, place.wide_limbs()) * diagonals;
        first += Work::encode(stage.period) * diagonals;
    }
    for level in [bootstrap.reduction_level(), bootstrap.output_level] {
        every += Work::rotate(&at(level));
    }
    // Its keys are too large to be kept, most of them: they are read and expanded for every use.
    for key in bootstrap.keys(parameters.log_n()) {
        let read = bytes_of_key(parameters, key.level) as f64 * READ_AS_FRESH;
        every += Work::expand_key(&at(key.level)) + Work::fresh(read as u64);
    }
    // A level of the polynomial takes about as many products as there are powers in it.
    let (top, levels) = (bootstrap.reduction_level(), bootstrap.reduction_levels());
    for spent in 0..levels {
        let place = at(top - spent);
        let product = Work::multiply(&place) + Work::relinearise(&place) + Work::rescale(&place, 1);
        let doubles = spent >= levels - bootstrap.double_angles;
        every += product * if doubles { 1.0 } else { PRODUCTS_PER_LEVEL };
    }
    (every * AS_MEASURED, first)
}

/// How much longer a refresh takes than its operations: its keys and its sums are far larger than any cache. Measured,
/// with [`READ_AS_FRESH`], on two plans of a residual network of 20 layers, with keys of 1.65 and 2.9 GB: 48 and 49 s.
const AS_MEASURED: f64 = 1.35;

/// The share of a key's bytes whose first use takes as long as reading the key from its file.
const READ_AS_FRESH: f64 = 0.5;

/// Products on a level of the polynomial, on average.
const PRODUCTS_PER_LEVEL: f64 = 2.0;

/// A group of butterflies as a linear map.
fn shape(stage: &Stage) -> LinearShape {
    LinearShape {
        inputs: 1,
        outputs: stage.giant_steps,
        babies: stage.baby_steps.min(stage.diagonals) - 1,
        diagonals: stage.diagonals,
        period: stage.period,
        scalar: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{Costs, key_bytes};
    use crate::passes::ckks::parameters::refreshing_candidates;

    #[test]
    fn more_baby_steps_take_less_time_and_more_keys() {
        let costs = Costs::default();
        let sets = refreshing_candidates(16, 15, 33, 0);
        let alike = |steps| {
            let of = |set: &&Parameters| set.bootstrap().is_some_and(|b| b.baby_steps == steps);
            let set = sets.iter().find(of).expect("every number of steps is a candidate");
            let keys = set.bootstrap().map(|b| b.keys(set.log_n())).unwrap_or_default();
            (set.digit_size(), costs.seconds(&work(set).0), key_bytes(&keys, set))
        };
        let found = [4, 8, 16].map(alike);
        assert!(found.windows(2).all(|w| w[0].0 == w[1].0 && w[0].2 < w[1].2), "{found:?}");
        assert!(found[1].1 < found[0].1, "{found:?}");
    }
}
