//! Chains of primes: how many levels a plan of a ring has, and whether it refreshes ciphertexts when they are used up.

use heplan_ir::parameters::{LOG_N, Parameters};

use crate::options::Options;
use crate::passes;
use crate::passes::ckks::Waterline;

/// Waterline scales that are tried, in bits.
const SCALES: std::ops::RangeInclusive<u32> = 20..=45;
/// The scale that most plans come to, in bits.
const TYPICAL_SCALE_BITS: u32 = 25;
/// Slots hold numbers of magnitude about one; calibration does not see every input, so they may
/// grow by this many bits before they leave the modulus.
pub(super) const HEADROOM_BITS: u32 = 3;
/// Levels between two refreshes: fewer do not carry a polynomial of use, more no ring has.
const REFRESHED_LEVELS: std::ops::RangeInclusive<usize> = 4..=64;

/// The levels of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct Chain {
    /// Levels of a fresh ciphertext, or of a refreshed one.
    pub(super) levels: usize,
    /// Whether ciphertexts are refreshed, for which there are levels above.
    pub(super) refreshes: bool,
}

impl Chain {
    /// Of a plan that never refreshes.
    pub(in crate::pipeline) const fn whole(levels: usize) -> Self {
        Self { levels, refreshes: false }
    }

    /// The longest chain of a ring with refreshes, if it has any.
    pub(super) fn longest(log_n: u32, options: &Options) -> Option<Self> {
        let waterline = Waterline::even(options.scale_bits.unwrap_or(TYPICAL_SCALE_BITS));
        let mut chains = REFRESHED_LEVELS.rev().map(|levels| Self { levels, refreshes: true });
        chains.find(|chain| !chain.candidates(log_n, waterline).is_empty())
    }

    /// The parameters that layouts are priced under.
    pub(super) fn typical(self, log_n: u32, options: &Options) -> Option<Parameters> {
        let bits = typical_scale(log_n, self, options)?;
        self.candidates(log_n, Waterline::even(bits)).into_iter().next()
    }

    /// The secure parameter sets for it, cheapest first.
    pub(super) fn candidates(self, log_n: u32, waterline: Waterline) -> Vec<Parameters> {
        let Waterline { bits, lift } = waterline;
        if self.refreshes {
            passes::ckks::parameters::refreshing_candidates(log_n, self.levels, bits, lift)
        } else {
            passes::ckks::parameters::candidates(log_n, self.levels, bits, HEADROOM_BITS + lift)
        }
    }
}

/// The rings that have secure parameters for `depth` without refreshes and room for `batch` samples, smallest first.
pub(in crate::pipeline) fn rings(
    depth: usize,
    batch: usize,
    options: &Options,
) -> impl Iterator<Item = u32> {
    LOG_N
        .filter(move |&n| options.log_n.is_none_or(|wish| wish == n))
        .filter(move |&n| 1usize << (n - 1) >= batch)
        .filter(move |&n| scales(n, Chain::whole(depth), options).next().is_some())
}

/// The rings that can refresh ciphertexts, with their longest chains, smallest first.
pub(super) fn refreshing_rings(options: &Options) -> impl Iterator<Item = (u32, Chain)> {
    LOG_N
        .filter(move |&n| options.log_n.is_none_or(|wish| wish == n))
        .filter_map(move |n| Some((n, Chain::longest(n, options)?)))
}

/// The scale to estimate a ring at; precision decides later which one it takes.
pub(super) fn typical_scale(log_n: u32, chain: Chain, options: &Options) -> Option<u32> {
    let mut scales = scales(log_n, chain, options);
    let largest = scales.next()?;
    Some(scales.find(|&s| s <= TYPICAL_SCALE_BITS).unwrap_or(largest))
}

/// The scales for which a secure parameter set exists, largest first.
pub(super) fn scales(log_n: u32, chain: Chain, options: &Options) -> impl Iterator<Item = u32> {
    lifted_scales(log_n, chain, 0, options)
}

/// The same where values are lifted.
pub(super) fn lifted_scales(
    log_n: u32,
    chain: Chain,
    lift: u32,
    options: &Options,
) -> impl Iterator<Item = u32> {
    let wish = options.scale_bits;
    SCALES
        .rev()
        .filter(move |&s| wish.is_none_or(|w| w == s))
        .filter(move |&bits| !chain.candidates(log_n, Waterline { bits, lift }).is_empty())
}
