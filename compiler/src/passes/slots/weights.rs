//! What the steps of a transform cost relative to each other at a level.
//!
//! The unit is one NTT of one limb. The counts are those of the textbook algorithms (Halevi and
//! Shoup, ePrint 2018/244; Bossuat et al., 2020/1203) with about three primes per digit: they only
//! rank layouts and steps. Seconds come from [`crate::cost`].

/// Relative costs at one level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weights {
    /// Level of the operands.
    pub(super) level: usize,
    /// A hoisted rotation: the inner product with the key in the extended basis.
    pub(super) baby: f64,
    /// A giant step with its decomposition.
    pub(super) giant: f64,
    /// A rotation of the operand.
    pub(super) turn: f64,
    /// A rotation of the result, one level lower: a fold, or a hop of Horner's rule.
    pub(super) fold: f64,
    /// Multiplying by a diagonal of one slot's period.
    diagonal: f64,
    /// Evaluating a diagonal of the longest period.
    evaluation: f64,
    /// Carrying one more key for the operand's level: its bytes are read, expanded and shipped.
    pub(super) key: f64,
    /// The same for the result's level.
    pub(super) low_key: f64,
    /// The decomposition of one input.
    pub(super) input: f64,
    /// The final ModDown and rescale of one output.
    pub(super) output: f64,
}

impl Weights {
    /// The weights for a transform whose operands are at `level`, when carrying one limb of a key is
    /// worth `key` NTTs.
    pub(super) fn at(level: usize, key: f64) -> Self {
        let limbs = (level + 1) as f64;
        let special = limbs.min(3.0);
        let digits = (limbs / special).ceil();
        let extended = limbs + special;
        // A product with a key, which comes from memory; one with a diagonal, which does not.
        let (product, near) = (0.65, 0.15);
        let inner = 2.0 * digits * extended * product;
        let mod_up = digits * extended;
        let mod_down = 2.0 * extended;
        let fewer = (limbs - 1.0).max(1.0);
        let lower = fewer + special;
        let low_digits = (fewer / special).ceil();
        Self {
            level,
            baby: inner + extended,
            giant: mod_up + inner + mod_down / 2.0,
            turn: mod_up + inner + mod_down,
            fold: (low_digits * lower + 2.0 * low_digits * lower * product) + 2.0 * lower,
            diagonal: 2.0 * extended * near,
            evaluation: extended,
            key: key * digits * extended,
            low_key: key * low_digits * lower,
            input: mod_up,
            output: mod_down + 2.0 * limbs,
        }
    }

    /// Evaluating a diagonal that repeats after `share` of a ciphertext, and multiplying by it.
    pub(super) fn diagonal(&self, share: f64) -> f64 {
        self.diagonal + self.evaluation * share
    }
}
