//! What the steps of a transform cost, in seconds of one core.
//!
//! The same counts and measured seconds that price whole plans ([`crate::cost`]), for a parameter set
//! of the ring that layouts are searched for. The set that a plan takes in the end may be another one:
//! these numbers only rank layouts and steps.

use heplan_ir::entity::ValueId;
use heplan_ir::parameters::Parameters;

use crate::cost::{Costs, Place, Work, bytes_of_key};

/// What steps cost at every level of a parameter set.
#[derive(Clone, Debug)]
pub struct Prices {
    levels: Vec<Weights>,
    /// An affine map with prices of its own.
    except: Option<(ValueId, Vec<Weights>)>,
}

impl Prices {
    /// The prices under a parameter set, when one byte of keys is worth `key_price` seconds.
    pub fn new(parameters: &Parameters, costs: &Costs, key_price: f64) -> Self {
        let at = |level| Weights::at(parameters, level, costs, key_price);
        Self { levels: (0..=parameters.fresh_level()).map(at).collect(), except: None }
    }

    /// The same, but for one affine map those of others.
    #[must_use]
    pub fn except(self, affine: ValueId, others: Self) -> Self {
        Self { except: Some((affine, others.levels)), ..self }
    }

    /// The prices for operands at a level.
    #[cfg(test)]
    pub(super) fn at(&self, level: usize) -> &Weights {
        &self.levels[level.min(self.levels.len() - 1)]
    }

    /// The prices of an affine map whose operands are at a level.
    pub(super) fn of(&self, affine: ValueId, level: usize) -> &Weights {
        let own = self.except.as_ref().filter(|(other, _)| *other == affine);
        let levels = own.map_or(&self.levels, |(_, levels)| levels);
        // Where ciphertexts are refreshed levels are not known yet: half of them are left on average.
        levels.get(level).unwrap_or(&levels[levels.len() / 2])
    }
}

/// Costs of steps whose operands are at one level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weights {
    /// Level of the operands.
    pub(super) level: usize,
    /// A hoisted rotation: the inner product with the key in the extended basis.
    pub(super) baby: f64,
    /// A rotation of the operand, and an addition.
    pub(super) turn: f64,
    /// The same of an extended result, one level lower: a giant step, a hop of Horner's rule, a fold.
    pub(super) fold: f64,
    /// Multiplying by a diagonal.
    diagonal: f64,
    /// Encoding and evaluating a diagonal of the longest period, which the first run does.
    evaluation: f64,
    /// Carrying one more key for the operand's level: its bytes are shipped, read and expanded.
    pub(super) key: f64,
    /// The same for the result's level.
    pub(super) low_key: f64,
    /// The decomposition of one input.
    pub(super) input: f64,
    /// The division of one output.
    pub(super) output: f64,
}

impl Weights {
    fn at(parameters: &Parameters, level: usize, costs: &Costs, key_price: f64) -> Self {
        let at = &Place::of(parameters, level);
        let low = &Place::of(parameters, level.saturating_sub(1));
        let seconds = |work: Work| costs.seconds(&work);
        let moved = || Work::additions(at, 4 * at.wide());
        let width = at.degree() / 2;
        let key = |at: &Place| {
            let bytes = bytes_of_key(parameters, at.level) as f64;
            seconds(Work::expand_key(at)) + key_price * bytes
        };
        Self {
            level,
            baby: seconds(Work::inner_product(at) + moved()),
            turn: seconds(Work::rotate(at) + Work::add(at, 1)),
            fold: seconds(Work::rotate_extended(low, at) + Work::additions(at, 2 * at.wide())),
            diagonal: seconds(Work::multiply_diagonal(at)),
            evaluation: seconds(Work::encode(width) + Work::evaluate(at, width, at.wide_limbs())),
            key: key(at),
            low_key: key(low),
            input: seconds(Work::decompose(at)),
            output: seconds(Work::divide(at) * 2.0),
        }
    }

    /// Evaluating a diagonal that repeats after `share` of a ciphertext, and multiplying by it.
    pub(super) fn diagonal(&self, share: f64) -> f64 {
        self.diagonal + self.evaluation * share
    }
}
