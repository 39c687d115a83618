//! What the steps of a transform cost relative to each other at a level.
//!
//! The unit is one NTT of one limb. The counts are those of the textbook algorithms (Halevi and
//! Shoup, ePrint 2018/244; Bossuat et al., 2020/1203) with about three primes per digit: they only
//! rank layouts and splits. Seconds come from [`crate::cost`].

/// Relative costs at one level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weights {
    /// A hoisted rotation: the inner product with the key in the extended basis.
    pub(super) baby: f64,
    /// A full key switch with decomposition.
    pub(super) giant: f64,
    /// A fold: a full key switch one level lower.
    pub(super) fold: f64,
    /// Encoding a diagonal and multiplying by it.
    pub(super) diagonal: f64,
    /// Carrying one more key: its bytes have to be read, expanded and shipped.
    pub(super) key: f64,
    /// The decomposition of one input and the final ModDown of one output.
    pub(super) fixed: f64,
}

impl Weights {
    /// The weights for a transform whose operands are at `level`.
    pub(super) fn at(level: usize) -> Self {
        let limbs = (level + 1) as f64;
        let special = limbs.min(3.0);
        let digits = (limbs / special).ceil();
        let extended = limbs + special;
        let product = 0.25;
        let inner = 2.0 * digits * extended * product;
        let mod_up = digits * extended;
        let mod_down = 2.0 * extended;
        let lower = (limbs - 1.0).max(1.0) + special;
        Self {
            baby: inner + 2.0 * extended * product,
            giant: mod_up + inner + mod_down,
            fold: (digits * lower + 2.0 * digits * lower * product) + 2.0 * lower,
            diagonal: 1.2 * extended + 1.0,
            key: 0.5 * digits * extended,
            fixed: mod_up + mod_down,
        }
    }
}
