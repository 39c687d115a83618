//! Bootstrapping of ciphertexts with real slots: what fixes it, which keys it takes, what its stages are.
//!
//! A ciphertext at level 0 holds an integer polynomial modulo `q_0`. Bootstrapping gives the same
//! slots at [`Bootstrap::output_level`]:
//!
//! 1. *ToSparse*: the ciphertext is switched to an ephemeral secret of weight [`SPARSE_WEIGHT`], so
//!    that raising it adds but a small multiple `q_0·I` (Bossuat, Troncoso-Pastoriza, Hubaux, ePrint
//!    2022/024). *ModRaise* lifts it to all primes, *FromSparse* switches it back.
//! 2. *Coefficients to slots*: the inverse of the encoder's transform, in groups of butterflies
//!    (Cheon, Han, Hhan, ePrint 2018/1073; Bossuat, Mouchet, Troncoso-Pastoriza, Hubaux, ePrint
//!    2020/1203). Slots are real, so the first half of the coefficients has all there is to know,
//!    and one conjugation gives it as the slots of one ciphertext.
//! 3. *Modular reduction*: `q_0·I` is removed by a sine. An odd polynomial gives the sine of the angle
//!    divided by `2^r`, and `r` double angles give the whole (Han and Ki, ePrint 2019/688).
//! 4. *Slots to coefficients*: the encoder's transform in groups, and a conjugation.
//!
//! The chain is `q_0 | circuit primes 1 ..= output_level | slots to coefficients | modular reduction |
//! coefficients to slots`, one prime per level.
//!
//! A group of butterflies is a linear map with diagonals a stride apart ([`Stage`]). Offsets are made
//! non-negative by letting results lag behind by a rotation, which both transforms sum up in
//! [`Bootstrap::turn`] and the permutation of FromSparse makes up for at no cost. So both transforms use
//! the same steps and keys, and giant steps go by Horner's rule with one key.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::parameters::Parameters;
use crate::plan::{KeyKind, KeySpec};

/// Rings that can bootstrap, as `log2 N`: the ephemeral secret needs a large one.
pub const LOG_N: RangeInclusive<u32> = 15..=17;

/// Non-zero coefficients of the ephemeral secret.
pub const SPARSE_WEIGHT: usize = 32;

/// The most butterflies that one group joins.
const MAX_BUTTERFLIES: usize = 8;

/// The largest `log2(q_0·p_0)`, the modulus of the only key under which the ephemeral secret lies.
///
/// Published estimates for ternary secrets of weight 32, which take in the attack of ePrint 2026/279,
/// are 162 bits at `N = 2^15` and 345 at 2^16; this keeps far below.
/// `None` where rings cannot bootstrap.
pub fn max_log_sparse(log_n: u32) -> Option<f64> {
    match log_n {
        15 => Some(100.0),
        16 | 17 => Some(121.0),
        _ => None,
    }
}

/// Everything that fixes how ciphertexts are bootstrapped, beside ring and primes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// The level of results.
    pub output_level: usize,
    /// Groups, and so levels, of slots to coefficients.
    pub slots_to_coefficients: usize,
    /// Degree of the odd polynomial of the modular reduction: 7 or 15.
    pub degree: usize,
    /// Double angles of the modular reduction, at least two.
    pub double_angles: usize,
    /// The multiple of `q_0` that is removed is at most this in magnitude (`K`).
    pub range: usize,
    /// Groups, and so levels, of coefficients to slots.
    pub coefficients_to_slots: usize,
    /// Baby steps of every group, a power of two.
    pub baby_steps: usize,
}

/// Why a bootstrapping is refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum BootstrapError {
    /// The ring is too small.
    #[error("bootstrapping at ring dimension 2^{0}, which is outside 2^15 … 2^17")]
    Dimension(u32),
    /// Samples share ciphertexts.
    #[error("bootstrapping of {0} samples per ciphertext, where only one is possible")]
    Batch(usize),
    /// A number that cannot be.
    #[error("bootstrapping with {what} of {found}")]
    Number {
        /// Which number.
        what: &'static str,
        /// What was found.
        found: usize,
    },
    /// The sections are not those of the chain.
    #[error("bootstrapping over {needed} levels in a chain of {found}")]
    Levels {
        /// Levels of all sections.
        needed: usize,
        /// Levels of the chain.
        found: usize,
    },
    /// The ephemeral secret would be used at too large a modulus.
    #[error(
        "a modulus of {found:.2} bits for the ephemeral secret at ring dimension 2^{log_n} (at most {bound} bits)"
    )]
    Insecure {
        /// Base-2 logarithm of the ring dimension.
        log_n: u32,
        /// `log2(q_0·p_0)`.
        found: f64,
        /// The largest allowed.
        bound: f64,
    },
    /// The switch to the ephemeral secret would drown the message.
    #[error("a first special prime {p} below the first ciphertext prime {q}")]
    SpecialTooSmall {
        /// `p_0`.
        p: u64,
        /// `q_0`.
        q: u64,
    },
}

/// Which transform a group belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The inverse of the encoder's transform.
    CoefficientsToSlots,
    /// The encoder's transform.
    SlotsToCoefficients,
}

/// A group of butterflies: one linear map, one level.
///
/// Its diagonals stand at the offsets `index·stride` for `index < diagonals`; index
/// `giant·baby_steps + baby` is reached by rotating the operand by `baby·stride` (hoisted), and the
/// sum of such products by `giant·baby_steps·stride`, by Horner's rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which transform.
    pub direction: Direction,
    /// The level of its operand; its result is one below.
    pub level: usize,
    /// Base-2 logarithm of the distance of its closest butterflies.
    pub log_stride: u32,
    /// How many butterflies it joins, at distances from `stride` on, doubling.
    pub butterflies: u32,
    /// Whether its largest butterflies span all slots, so that offsets wrap around.
    pub cyclic: bool,
    /// Number of diagonals.
    pub diagonals: usize,
    /// Baby steps, 0 included.
    pub baby_steps: usize,
    /// Giant steps, 0 included.
    pub giant_steps: usize,
    /// Distinct values of its diagonals: they repeat after so many slots. The very first group of slots
    /// to coefficients, which halves the constant coefficient, never repeats.
    pub period: usize,
}

impl Stage {
    /// Slots between neighbouring diagonals.
    pub fn stride(&self) -> u32 {
        1 << self.log_stride
    }

    /// Slots by which results lag behind.
    pub fn lag(&self) -> u32 {
        if self.cyclic { 0 } else { ((1 << self.butterflies) - 1) << self.log_stride }
    }

    /// The rotation of one giant step.
    pub fn giant(&self) -> u32 {
        u32::try_from(self.baby_steps).unwrap_or(u32::MAX) << self.log_stride
    }

    /// The rotations that it takes: baby steps, and the giant step if there is more than one.
    pub fn steps(&self) -> Vec<u32> {
        let babies = 1..self.baby_steps.min(self.diagonals);
        let babies = babies.filter_map(|b| Some(u32::try_from(b).ok()? << self.log_stride));
        babies.chain((self.giant_steps > 1).then(|| self.giant())).collect()
    }
}

impl Bootstrap {
    /// The usual one for a ring of `2^log_n`: groups of up to six butterflies, degree 15, `K = 16`.
    pub fn usual(log_n: u32, output_level: usize) -> Self {
        let groups = (log_n.saturating_sub(1) as usize).div_ceil(6);
        Self {
            output_level,
            slots_to_coefficients: groups,
            degree: 15,
            double_angles: 5,
            range: 16,
            coefficients_to_slots: groups,
            baby_steps: 4,
        }
    }

    /// Its numbers in the order of its fields, as files have them.
    pub const fn numbers(&self) -> [usize; 7] {
        [
            self.output_level,
            self.slots_to_coefficients,
            self.degree,
            self.double_angles,
            self.range,
            self.coefficients_to_slots,
            self.baby_steps,
        ]
    }

    /// The one with these [`Self::numbers`].
    pub const fn from_numbers(numbers: [usize; 7]) -> Self {
        let [
            output_level,
            slots_to_coefficients,
            degree,
            double_angles,
            range,
            coefficients_to_slots,
            baby_steps,
        ] = numbers;
        Self {
            output_level,
            slots_to_coefficients,
            degree,
            double_angles,
            range,
            coefficients_to_slots,
            baby_steps,
        }
    }

    /// Levels of the modular reduction: multiplications in a row.
    pub fn reduction_levels(&self) -> usize {
        polynomial_depth(self.degree) + self.double_angles
    }

    /// All levels above the output's.
    pub fn levels(&self) -> usize {
        self.slots_to_coefficients + self.reduction_levels() + self.coefficients_to_slots
    }

    /// The highest level of the chain.
    pub fn max_level(&self) -> usize {
        self.output_level.saturating_add(self.levels())
    }

    /// The level of operands of the modular reduction.
    pub fn reduction_level(&self) -> usize {
        self.output_level + self.slots_to_coefficients + self.reduction_levels()
    }

    /// The level of operands of the first group of slots to coefficients: that of results of the
    /// modular reduction.
    pub fn reduced_level(&self) -> usize {
        self.output_level + self.slots_to_coefficients
    }

    /// Bits for the primes of each section beyond the circuit's, `(q_0, slots to coefficients,
    /// modular reduction, coefficients to slots)`, for slots carried at a scale of `2^waterline`.
    ///
    /// `q_0` exceeds the scale by 2^9: a coefficient as large as the scale, which only slots of mean one
    /// have, then loses `(2π/2^9)²/6`, 15 bits below it, to the sine; those of ordinary slots are
    /// smaller, and lose by the third power of that. All noise of the modular reduction is seen through
    /// the same ratio, so its primes are as large as primes can be, and those before it nearly so.
    pub fn prime_bits(waterline: u32) -> [u32; 4] {
        [waterline + 9, (waterline + 6).max(35), 50, 49]
    }

    /// The groups of both transforms in the order of their use, for a ring of `2^log_n`.
    pub fn stages(&self, log_n: u32) -> Vec<Stage> {
        let log_slots = log_n.saturating_sub(1);
        let top = self.max_level();
        let inverse = split(log_slots, self.coefficients_to_slots).into_iter().rev();
        let forward = split(log_slots, self.slots_to_coefficients).into_iter();
        let stage = |direction, level, (log_stride, butterflies): (u32, u32), period: u32| {
            let cyclic = log_stride + butterflies == log_slots;
            let diagonals = if cyclic { 1 << butterflies } else { (2usize << butterflies) - 1 };
            let baby_steps = self.baby_steps.min(diagonals.next_power_of_two());
            let giant_steps = diagonals.div_ceil(baby_steps);
            Stage {
                direction,
                level,
                log_stride,
                butterflies,
                cyclic,
                diagonals,
                baby_steps,
                giant_steps,
                period: 1 << period,
            }
        };
        let own = |g: (u32, u32)| g.0 + g.1;
        let inverse = inverse
            .enumerate()
            .map(|(i, g)| stage(Direction::CoefficientsToSlots, top - i, g, own(g)));
        let forward = forward.enumerate().map(|(i, g)| {
            let period = if i == 0 { log_slots } else { own(g) };
            stage(Direction::SlotsToCoefficients, self.reduced_level() - i, g, period)
        });
        inverse.chain(forward).collect()
    }

    /// The rotation that FromSparse makes up for: that by which both transforms lag behind, backwards.
    pub fn turn(&self, log_n: u32) -> u32 {
        let slots = 1u64 << log_n.saturating_sub(1);
        let lag: u64 = self.stages(log_n).iter().map(|s| u64::from(s.lag())).sum();
        u32::try_from((slots - lag % slots) % slots).unwrap_or(0)
    }

    /// Every evaluation key that a bootstrapping takes, sorted by kind, with the highest level of its
    /// use.
    pub fn keys(&self, log_n: u32) -> Vec<KeySpec> {
        let mut levels: BTreeMap<KeyKind, usize> = BTreeMap::new();
        let mut need = |kind, level: usize| {
            let known = levels.entry(kind).or_insert(level);
            *known = level.max(*known);
        };
        need(KeyKind::ToSparse, 0);
        need(KeyKind::FromSparse, self.max_level());
        need(KeyKind::Relinearise, self.reduction_level());
        // Conjugations come before the rescale of the last group.
        need(KeyKind::Conjugate, self.reduction_level() + 1);
        for stage in self.stages(log_n) {
            stage.steps().into_iter().for_each(|by| need(KeyKind::Rotate(by), stage.level));
        }
        levels.into_iter().map(|(kind, level)| KeySpec { kind, level }).collect()
    }

    /// Relinearisations of the modular reduction: of the powers, of the polynomial's sums, of the
    /// square of the sine at its two scales, and of every later double angle.
    pub fn relinearisations(&self) -> usize {
        2 * polynomial_depth(self.degree) + self.double_angles
    }

    /// The keys in the order in which one bootstrapping asks for them, as often as it does.
    pub fn key_order(&self, log_n: u32) -> Vec<KeyKind> {
        let stages = self.stages(log_n);
        let (inverse, forward) = stages.split_at(self.coefficients_to_slots.min(stages.len()));
        let steps = |stages: &[Stage]| {
            let steps = stages.iter().flat_map(Stage::steps).map(KeyKind::Rotate);
            steps.chain([KeyKind::Conjugate]).collect::<Vec<_>>()
        };
        let mut order = vec![KeyKind::ToSparse, KeyKind::FromSparse];
        order.extend(steps(inverse));
        order.extend(vec![KeyKind::Relinearise; self.relinearisations()]);
        order.extend(steps(forward));
        order
    }

    /// Checks it against parameters.
    ///
    /// # Errors
    /// The first breach found, the security bound of the ephemeral secret among them.
    pub fn check(&self, parameters: &Parameters) -> Result<(), BootstrapError> {
        let log_n = parameters.log_n();
        let bound = max_log_sparse(log_n).ok_or(BootstrapError::Dimension(log_n))?;
        if parameters.batch() != 1 {
            return Err(BootstrapError::Batch(parameters.batch()));
        }
        self.check_numbers(log_n)?;
        if self.max_level() != parameters.max_level() {
            let (needed, found) = (self.max_level(), parameters.max_level());
            return Err(BootstrapError::Levels { needed, found });
        }
        let (q, p) = (parameters.q()[0], parameters.p()[0]);
        if p < q {
            return Err(BootstrapError::SpecialTooSmall { p, q });
        }
        let found = (q as f64).log2() + (p as f64).log2();
        if found > bound {
            return Err(BootstrapError::Insecure { log_n, found, bound });
        }
        Ok(())
    }

    fn check_numbers(&self, log_n: u32) -> Result<(), BootstrapError> {
        let most = log_n as usize - 1;
        let fewest = most.div_ceil(MAX_BUTTERFLIES);
        let baby = self.baby_steps;
        let checks = [
            ("groups of slots to coefficients", self.slots_to_coefficients, fewest..=most),
            ("groups of coefficients to slots", self.coefficients_to_slots, fewest..=most),
            ("double angles", self.double_angles, 2..=8),
            ("a range", self.range, 1..=64),
            ("baby steps", baby, 1..=2 << MAX_BUTTERFLIES),
            ("an output level", self.output_level, 1..=255),
        ];
        if let Some((what, found, _)) = checks.into_iter().find(|(_, n, range)| !range.contains(n))
        {
            return Err(BootstrapError::Number { what, found });
        }
        if !baby.is_power_of_two() {
            return Err(BootstrapError::Number { what: "baby steps", found: baby });
        }
        if ![7, 15].contains(&self.degree) {
            return Err(BootstrapError::Number { what: "a degree", found: self.degree });
        }
        Ok(())
    }
}

/// Multiplications in a row of a polynomial whose degree is one less than a power of two.
fn polynomial_depth(degree: usize) -> usize {
    degree.checked_ilog2().map_or(0, |log| log as usize + 1)
}

/// Butterflies at distances `2^0, 2^1, …` in groups `(first, count)`, the larger ones first.
fn split(log_slots: u32, groups: usize) -> Vec<(u32, u32)> {
    let groups = u32::try_from(groups).unwrap_or(1).clamp(1, log_slots.max(1));
    let (each, more) = (log_slots / groups, log_slots % groups);
    let mut first = 0;
    let group = |i| {
        let count = each + u32::from(i < more);
        first += count;
        (first - count, count)
    };
    (0..groups).map(group).collect()
}

#[cfg(test)]
mod tests;
