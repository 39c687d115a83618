//! Fresh ciphertexts of which the client sends only a part.
//!
//! *What*: the plaintext of an input is known to lie in a small subring. Real slots make it one that complex conjugation,
//! `X → X^-1`, leaves as it is; slots that repeat after `width/2^r` make it a polynomial in `X^(2^r)`. The client projects
//! the first polynomial of the ciphertext onto the subring and sends what determines the projection: `N/2^h` coefficients
//! after `h` halvings. The second polynomial is a seed as ever.
//!
//! *How it is undone*: the projection leaves the phase `m + e` within the subring and uniform numbers outside. The
//! automorphisms that fix the subring move what is outside so that it cancels when all images are added up, and they
//! double `m` with every addition. So a plan begins with [`Compact::steps`], each `x + rotate(x, step)`: ordinary
//! instructions, whose key switches see the second polynomial only and are as quiet as any other. The client divides
//! values by `2^h` before it encodes them.
//!
//! *Source*: the trace to a subring as a sum of log-many automorphisms is that of Chen, Dai, Kim and Song, "Efficient
//! Homomorphic Conversion Between (Ring) LWE Ciphertexts" (ePrint 2020/015), who use it to drop the unwanted
//! coefficients of a ciphertext; here they are the ones that nobody sent.
//!
//! *Security*: what is sent is a function of an ordinary ciphertext that needs no secret.

use super::Port;
use crate::layout::Layout;

/// Slots that halvings leave at least.
const LEAST_PERIOD: usize = 8;

/// How much of its fresh ciphertexts an input leaves out; by default nothing.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Compact {
    /// Halvings because slots repeat: after `width/2^rotations` of them at the latest.
    pub rotations: u32,
    /// One more, because slots are real.
    pub conjugate: bool,
}

impl Compact {
    /// Nothing is left out.
    pub const NONE: Self = Self { rotations: 0, conjugate: false };

    /// How often the first polynomial is halved, and the message doubled.
    pub const fn halvings(self) -> u32 {
        self.rotations + self.conjugate as u32
    }

    /// Coefficients of `n` that are sent.
    pub fn kept(self, n: usize) -> usize {
        n.checked_shr(self.halvings()).unwrap_or(0)
    }

    /// What the client divides values by: the doublings of [`Self::steps`] undo it.
    pub fn divisor(self) -> f64 {
        2f64.powi(i32::try_from(self.halvings()).unwrap_or(i32::MAX))
    }

    /// The rotations of samples of `width` slots, each followed by an addition, that make the ciphertext whole.
    /// The one by `width` is complex conjugation.
    pub fn steps(self, width: usize) -> impl Iterator<Item = u32> {
        let step = |x: usize| u32::try_from(x).unwrap_or(u32::MAX);
        let conjugation = self.conjugate.then(|| step(width));
        conjugation.into_iter().chain((1..=self.rotations).map(move |i| step(width >> i)))
    }
}

impl Port {
    /// The most halvings because slots repeat; those that would leave fewer coefficients than files pack together do not
    /// count.
    pub fn most_rotations(&self) -> u32 {
        let Layout { period, width, .. } = self.layout;
        if !period.is_power_of_two() {
            return 0;
        }
        (width / period.max(LEAST_PERIOD)).checked_ilog2().unwrap_or(0)
    }

    /// Bytes of the coefficients that are sent of its ciphertexts, for primes of `bits` in all.
    pub fn fresh_bytes(&self, n: usize, bits: u64) -> u64 {
        let coefficients = self.compact.kept(n) * self.layout.ciphertexts();
        (coefficients as u64 * bits).div_ceil(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_double_as_often_as_the_client_halves() {
        for (rotations, conjugate) in [(0, false), (0, true), (2, false), (3, true)] {
            let compact = Compact { rotations, conjugate };
            let steps: Vec<u32> = compact.steps(64).collect();
            assert_eq!(steps.len(), compact.halvings() as usize);
            let doubled = steps.iter().fold(vec![1.0 / compact.divisor(); 64], |x, &by| {
                (0..64).map(|t| x[t] + x[(t + by as usize) % 64]).collect()
            });
            assert_eq!(doubled, vec![1.0; 64]);
            assert_eq!(compact.kept(4096), 4096 >> steps.len());
        }
        assert_eq!(Compact { rotations: u32::MAX - 1, conjugate: true }.kept(4096), 0);
        let all: Vec<u32> = Compact { rotations: 2, conjugate: true }.steps(64).collect();
        assert_eq!(all, [64, 32, 16]);
    }

    #[test]
    fn only_what_repeats_evenly_in_one_ciphertext_is_halved() {
        let of = |layout| {
            let (name, shape) = ("x".into(), vec![1]);
            let port = Port {
                name,
                shape,
                layout,
                factor: 1.0,
                range: (0.0, 1.0),
                compact: Compact::NONE,
            };
            port.most_rotations()
        };
        assert_eq!(of(Layout::row_major(5, 64)), 3);
        assert_eq!(of(Layout::row_major(1, 64)), 3);
        assert_eq!(of(Layout::row_major(1, 1)), 0);
        assert_eq!(of(Layout::row_major(64, 64)), 0);
        assert_eq!(of(Layout::row_major(100, 64)), 0);
        assert_eq!(of(Layout { period: 12, ..Layout::row_major(5, 64) }), 0);
    }
}
