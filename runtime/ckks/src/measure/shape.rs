//! Rings with their primes and digits.
//!
//! The shapes have the ring dimension and the numbers of limbs, special primes and digits of published measurements of
//! other libraries, whose special primes have up to 60 bits: ours have at most 50, and every set is held to 128 bits of
//! security like any other. The size of a long prime changes nothing in the time of an operation; short ones, of 30 bits,
//! take less, and the shapes whose names begin with `p` have the primes of typical plans.

use heplan_ir::parameters::{Parameters, ParametersError, ParametersLiteral};
use heplan_ir::primes::near_power;

/// A parameter set to measure with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How the command line calls it.
    pub name: &'static str,
    /// Base-2 logarithm of the ring dimension.
    pub log_n: u32,
    /// Ciphertext primes.
    pub limbs: usize,
    /// Special primes.
    pub special: usize,
    /// Ciphertext primes per digit.
    pub digit_size: usize,
    /// Bits of the first ciphertext prime.
    first_bits: u32,
    /// Bits of the other ciphertext primes, and of the scale.
    bits: u32,
    /// Bits of the special primes.
    special_bits: u32,
}

/// Every shape.
pub const SHAPES: [Shape; 10] = [
    shape("a", 13, [4, 1, 1], [48, 40, 45]),
    shape("b", 14, [7, 3, 3], [48, 40, 43]),
    shape("b7", 14, [7, 1, 1], [48, 40, 48]),
    shape("c", 15, [16, 3, 3], [48, 45, 47]),
    shape("c16", 15, [16, 1, 1], [50, 45, 50]),
    shape("d", 16, [30, 6, 6], [50, 45, 50]),
    shape("d30", 16, [30, 1, 1], [50, 45, 50]),
    shape("p13", 13, [6, 1, 1], [31, 28, 38]),
    shape("p14", 14, [11, 3, 5], [31, 26, 45]),
    shape("p15", 15, [17, 4, 6], [33, 29, 46]),
];

const fn shape(
    name: &'static str,
    log_n: u32,
    [limbs, special, digit_size]: [usize; 3],
    [first_bits, bits, special_bits]: [u32; 3],
) -> Shape {
    Shape { name, log_n, limbs, special, digit_size, first_bits, bits, special_bits }
}

impl Shape {
    /// The shape of that name.
    pub fn named(name: &str) -> Option<Self> {
        SHAPES.into_iter().find(|s| s.name == name)
    }

    /// Key-switching digits at the highest level.
    pub const fn digits(&self) -> usize {
        self.limbs.div_ceil(self.digit_size)
    }

    /// Bits of the scale.
    pub const fn scale_bits(&self) -> u32 {
        self.bits
    }

    /// Slots of a ciphertext.
    pub const fn width(&self) -> usize {
        1 << (self.log_n - 1)
    }

    /// The parameters: the primes nearest to the powers of two.
    ///
    /// # Errors
    /// If they are refused; none of [`SHAPES`] is.
    pub fn parameters(&self) -> Result<Parameters, ParametersError> {
        let mut used: Vec<u64> = Vec::new();
        let mut pick = |bits: u32, count: usize| {
            let free = near_power(bits, self.log_n).filter(|q| !used.contains(q));
            let picked: Vec<u64> = free.take(count).collect();
            used.extend(&picked);
            picked
        };
        let mut q = pick(self.first_bits, 1);
        q.extend(pick(self.bits, self.limbs - 1));
        let p = pick(self.special_bits, self.special);
        let digit_size = self.digit_size;
        Parameters::new(ParametersLiteral { log_n: self.log_n, q, p, digit_size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_secure_and_have_the_limbs_that_they_say() {
        for shape in SHAPES {
            let set = shape.parameters().expect("a secure set");
            assert_eq!((set.q().len(), set.p().len()), (shape.limbs, shape.special));
            assert_eq!(set.digits(set.max_level()), shape.digits(), "{}", shape.name);
            assert_eq!(Shape::named(shape.name), Some(shape));
        }
        assert_eq!(SHAPES.map(|s| s.digits()), [4, 3, 7, 6, 16, 5, 30, 6, 3, 3]);
    }
}
