//! What operations consist of: how much of every elementary operation they take.
//!
//! Modulo short primes transforms and sums of products take less than half the time (`lattice::kernels`).
//!
//! Counts follow the key switching of Han and Ki (ePrint 2019/688) and the double hoisting of Bossuat et al.
//! (ePrint 2020/1203).

use std::ops::{Add, AddAssign, Mul};

use super::{Limbs, LinearShape, Place};

/// Declares the elementary operations once: their counts in [`Work`], their seconds in [`Costs`].
macro_rules! elementary {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How much of every elementary operation something takes.
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub struct Work { $($(#[$doc])* pub $name: f64,)* }

        /// Seconds of one unit of every elementary operation, on one core.
        ///
        /// The default is stored with the compiler, so that the same model gives the same plan on every machine.
        #[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Costs { $($(#[$doc])* pub $name: f64,)* }

        /// Number of elementary operations.
        pub(super) const TERMS: usize = [$(stringify!($name)),*].len();

        impl Work {
            /// Combines two counts of every kind.
            fn zip(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
                Self { $($name: f(self.$name, other.$name)),* }
            }

            /// The counts in the order of their declaration.
            pub(super) fn terms(&self) -> [f64; TERMS] {
                [$(self.$name),*]
            }
        }

        impl Costs {
            /// The names of the elementary operations with their seconds, in the order of their declaration.
            pub fn named(&self) -> [(&'static str, f64); TERMS] {
                [$((stringify!($name), self.$name)),*]
            }

            /// The seconds in the order of [`Self::named`].
            pub(super) fn from_terms([$($name),*]: [f64; TERMS]) -> Self {
                Self { $($name),* }
            }
        }
    };
}

elementary! {
    /// Number-theoretic transforms modulo long primes: `n·log2 n` per limb of n coefficients.
    transform,
    /// The same modulo short primes ([`Place::is_short`]).
    short_transform,
    /// Base conversion: per coefficient, source prime and target prime.
    convert,
    /// Modular products of limbs that are at hand, per coefficient.
    product,
    /// Modular sums and copies, per coefficient.
    addition,
    /// Products of a digit with a key, which comes from memory, per coefficient.
    key_product,
    /// The same modulo short primes.
    short_key_product,
    /// Products of an encoded diagonal with a rotated operand, per coefficient.
    diagonal,
    /// The same modulo short primes.
    short_diagonal,
    /// Complex transform and rounding of a plaintext: `n·log2 n` of its n coefficients.
    encode,
    /// Expansion of a key from its seed when it is first used, per coefficient.
    expand,
    /// First use of a process's memory, which the system has to find and clear, per byte.
    fresh,
}

impl Costs {
    /// Seconds of some work.
    pub fn seconds(&self, work: &Work) -> f64 {
        let costs = self.named();
        work.terms().iter().zip(costs).map(|(count, (_, seconds))| count * seconds).sum()
    }
}

impl Work {
    /// Transforms of limbs of `n` coefficients.
    pub fn transforms(n: usize, limbs: Limbs) -> Self {
        let each = n as f64 * (n as f64).log2();
        Self {
            transform: limbs.long as f64 * each,
            short_transform: limbs.short as f64 * each,
            ..Self::default()
        }
    }

    /// Base conversions of so many pairs of a source and a target prime.
    pub fn conversions(at: &Place, pairs: usize) -> Self {
        Self { convert: pairs as f64 * at.n(), ..Self::default() }
    }

    /// Products of so many limbs.
    pub fn products(at: &Place, limbs: usize) -> Self {
        Self { product: limbs as f64 * at.n(), ..Self::default() }
    }

    /// Sums of so many limbs.
    pub fn additions(at: &Place, limbs: usize) -> Self {
        Self { addition: limbs as f64 * at.n(), ..Self::default() }
    }

    /// Digit decomposition and raising to the extended basis.
    pub fn decompose(at: &Place) -> Self {
        let (limbs, wide) = (at.limbs(), at.wide());
        // Every limb goes back once, and every digit forward over the limbs that it lacks: in all as
        // if every digit went over all.
        let transforms = at.wide_limbs() * at.digits();
        let sizes = (0..at.digits()).map(|d| at.digit_size.min(limbs - d * at.digit_size));
        let pairs = sizes.map(|size| size * (wide - size)).sum();
        Self::transforms(at.degree(), transforms) + Self::conversions(at, pairs)
    }

    /// Inner product of a decomposition with a key, in the extended basis.
    pub fn inner_product(at: &Place) -> Self {
        let Limbs { long, short } = at.wide_limbs() * (2 * at.digits());
        Self {
            key_product: long as f64 * at.n(),
            short_key_product: short as f64 * at.n(),
            ..Self::default()
        }
    }

    /// Division of one polynomial by the special modulus.
    pub fn mod_down(at: &Place) -> Self {
        let (limbs, special) = (at.limbs(), at.special);
        Self::transforms(at.degree(), at.wide_limbs())
            + Self::conversions(at, limbs * special)
            + Self::products(at, limbs)
    }

    /// One key switch.
    pub fn key_switch(at: &Place) -> Self {
        Self::decompose(at) + Self::inner_product(at) + Self::mod_down(at) * 2.0
    }

    /// One rotation: a key switch, a sum and a permutation.
    pub fn rotate(at: &Place) -> Self {
        Self::key_switch(at) + Self::additions(at, 3 * at.limbs())
    }

    /// Rotations of one operand from one decomposition.
    pub fn rotate_many(at: &Place, count: usize) -> Self {
        let each = Self::inner_product(at)
            + Self::mod_down(at) * 2.0
            + Self::additions(at, 3 * at.limbs());
        Self::decompose(at) + each * count as f64
    }

    /// Division of one extended polynomial, by the special modulus and the last prime of `above`.
    pub fn divide(above: &Place) -> Self {
        Self::transforms(above.degree(), above.wide_limbs())
            + Self::conversions(above, above.level * (above.special + 1))
            + Self::products(above, above.level)
    }

    /// One rotation of an extended ciphertext: one of its polynomials is divided, the key switch is not; `above` is
    /// `at` one level higher.
    pub fn rotate_extended(at: &Place, above: &Place) -> Self {
        Self::divide(above)
            + Self::decompose(at)
            + Self::inner_product(at)
            + Self::products(at, 2 * at.wide())
            + Self::additions(at, 3 * at.wide())
    }

    /// Relinearisation.
    pub fn relinearise(at: &Place) -> Self {
        Self::key_switch(at) + Self::additions(at, 2 * at.limbs())
    }

    /// Product of two ciphertexts, not relinearised.
    pub fn multiply(at: &Place) -> Self {
        Self::products(at, 4 * at.limbs())
    }

    /// Product with an encoded plaintext.
    pub fn multiply_plain(at: &Place) -> Self {
        Self::products(at, 2 * at.limbs())
    }

    /// Rescale of a ciphertext of `degree + 1` polynomials.
    pub fn rescale(at: &Place, degree: u8) -> Self {
        let each = Self::transforms(at.degree(), at.own_limbs())
            + Self::conversions(at, at.level)
            + Self::products(at, at.level);
        each * (f64::from(degree) + 1.0)
    }

    /// Sum of ciphertexts of `degree + 1` polynomials.
    pub fn add(at: &Place, degree: u8) -> Self {
        Self::additions(at, (usize::from(degree) + 1) * at.limbs())
    }

    /// Encoding of one plaintext that repeats after `period` slots, to its coefficients.
    pub fn encode(period: usize) -> Self {
        let size = 2.0 * period.max(1) as f64;
        Self { encode: size * size.log2(), ..Self::default() }
    }

    /// Evaluation of a plaintext that repeats after `period` slots over some primes: a transform of its subring.
    pub fn evaluate(at: &Place, period: usize, limbs: Limbs) -> Self {
        Self::transforms((2 * period).max(SMALLEST_SUBRING).min(at.degree()), limbs)
    }

    /// Product of a rotated operand in the extended basis with an evaluated diagonal.
    pub fn multiply_diagonal(at: &Place) -> Self {
        let Limbs { long, short } = at.wide_limbs() * 2;
        Self {
            diagonal: long as f64 * at.n(),
            short_diagonal: short as f64 * at.n(),
            ..Self::default()
        }
    }

    /// The rotations and sums of a linear map whose diagonals are evaluated already.
    pub fn linear(at: &Place, shape: &LinearShape) -> Self {
        let decompositions = if shape.babies == 0 { 0 } else { shape.inputs };
        let moved = Self::additions(at, 4 * at.wide());
        Self::decompose(at) * decompositions as f64
            + (Self::inner_product(at) + moved) * shape.babies as f64
            + Self::multiply_diagonal(at) * shape.diagonals as f64
    }

    /// Sums of ciphertexts times numbers.
    pub fn weighted_sums(at: &Place, shape: &LinearShape) -> Self {
        let terms = (2 * at.limbs() * shape.diagonals) as f64 * at.n();
        Self { diagonal: terms, ..Self::default() }
    }

    /// First use of so many bytes.
    pub fn fresh(bytes: u64) -> Self {
        Self { fresh: bytes as f64, ..Self::default() }
    }

    /// Expansion of a key for a level.
    pub fn expand_key(at: &Place) -> Self {
        Self { expand: (at.digits() * at.wide()) as f64 * at.n(), ..Self::default() }
    }
}

/// Coefficients of the smallest subring that has a transform of its own.
const SMALLEST_SUBRING: usize = 1 << 10;

impl Add for Work {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        *self = self.zip(other, |a, b| a + b);
    }
}

impl Mul<f64> for Work {
    type Output = Self;

    fn mul(self, times: f64) -> Self {
        self.zip(self, |a, _| a * times)
    }
}
