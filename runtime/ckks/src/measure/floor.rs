//! The floor of an operation: the limb transforms, limb products and base conversions that it cannot avoid, at the speed
//! of the kernels measured in the same run, on one thread. No pass over memory beyond them, no allocation.
//!
//! With `L` ciphertext primes, `K` special primes and `d` digits, a key switch takes
//! `L + [d(L + K) − L] + 2(K + L)` transforms, `2d(L + K)` products, the conversions of `d` digits and two of the special
//! primes (counts of Han and Ki, ePrint 2019/688):
//!
//! | operation | floor |
//! |---|---|
//! | `ntt_forward`, `ntt_inverse` | the transform of one limb: by definition 1 |
//! | `encode` | `L` forward transforms |
//! | `encrypt` | symmetric: `L` forward transforms, `L` products |
//! | `decrypt_decode` | `L` products, `L` inverse transforms |
//! | `add` | `2L` sums |
//! | `mul_plain` | `2L` products with an encoded plaintext |
//! | `mul_relin` | `4L` products and a key switch |
//! | `rescale` | 2 inverse and `2(L − 1)` forward transforms, `2(L − 1)` products |
//! | `rotate` | a key switch |
//! | `rotate_hoisted_8` | one decomposition, 8 inner products and 16 divisions by the special primes |
//! | `keygen_galois` | `d(L + K)` forward transforms and products |
//! | `linear_…` | hoisted baby steps with encoded diagonals; per giant step and fold a sum and a key switch with one division of one polynomial; two divisions in the end |
//!
//! Complex transforms of the encoder, sampling and hashing have no part in it, nor has the transform of diagonals that an
//! implementation chooses to keep as coefficients.

use std::iter::Sum;
use std::ops::{Add, Mul};

use super::kernels::Kernels;
use super::matrix::Matrix;
use super::operation::Operation;
use super::shape::Shape;

/// How much of every kernel an operation takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Forward transforms of a limb.
    pub forward: f64,
    /// Inverse transforms of a limb.
    pub inverse: f64,
    /// Products of two limbs.
    pub products: f64,
    /// Sums of two limbs.
    pub additions: f64,
    /// Conversions of a whole digit to the other primes at the highest level.
    pub raised: f64,
    /// Conversions of the special primes to all ciphertext primes at the highest level.
    pub lowered: f64,
}

impl Work {
    /// The floor of an operation at the highest level of a shape.
    pub fn of(operation: Operation, shape: &Shape) -> Self {
        let at = Level { shape, limbs: shape.limbs };
        let limbs = at.limbs as f64;
        let forward = |n: f64| Self { forward: n, ..Self::default() };
        let products = |n: f64| Self { products: n, ..Self::default() };
        match operation {
            Operation::NttForward => forward(1.0),
            Operation::NttInverse => Self { inverse: 1.0, ..Self::default() },
            Operation::Encode => forward(limbs),
            Operation::Encrypt => forward(limbs) + products(limbs),
            Operation::DecryptDecode => Self { inverse: limbs, products: limbs, ..Self::default() },
            Operation::Add => Self { additions: 2.0 * limbs, ..Self::default() },
            Operation::MulPlain => products(2.0 * limbs),
            Operation::MulRelin => products(4.0 * limbs) + at.key_switch(),
            Operation::Rescale => at.rescale(),
            Operation::Rotate => at.key_switch(),
            Operation::RotateHoisted8 => {
                at.decompose() + (at.inner_product() + at.mod_down() * 2.0) * 8.0
            }
            Operation::KeygenGalois => {
                let residues = (shape.digits() * at.wide()) as f64;
                forward(residues) + products(residues)
            }
            Operation::Linear(matrix) => at.linear(&matrix),
        }
    }

    /// Seconds on one thread.
    pub fn seconds(&self, kernels: &Kernels) -> f64 {
        self.forward * kernels.forward
            + self.inverse * kernels.inverse
            + self.products * kernels.product
            + self.additions * kernels.addition
            + self.raised * kernels.raise
            + self.lowered * kernels.lower
    }
}

/// A level of a shape.
struct Level<'a> {
    shape: &'a Shape,
    limbs: usize,
}

impl Level<'_> {
    fn wide(&self) -> usize {
        self.limbs + self.shape.special
    }

    /// Digits, raised to all primes: every limb goes back once and forward where it was not.
    fn decompose(&self) -> Work {
        let Shape { digit_size, limbs: top, special, .. } = *self.shape;
        let digits = self.limbs.div_ceil(digit_size);
        let terms = |size: usize, limbs: usize| (size * (limbs + special - size)) as f64;
        let sizes = (0..digits).map(|d| digit_size.min(self.limbs - d * digit_size));
        let raised: f64 = sizes.map(|size| terms(size, self.limbs)).sum();
        Work {
            inverse: self.limbs as f64,
            forward: (digits * self.wide() - self.limbs) as f64,
            raised: raised / terms(digit_size, top),
            ..Work::default()
        }
    }

    /// Products of the digits with both halves of a key.
    fn inner_product(&self) -> Work {
        let digits = self.limbs.div_ceil(self.shape.digit_size);
        Work { products: (2 * digits * self.wide()) as f64, ..Work::default() }
    }

    /// Division of one polynomial by the special primes.
    fn mod_down(&self) -> Work {
        Work {
            inverse: self.shape.special as f64,
            forward: self.limbs as f64,
            lowered: self.limbs as f64 / self.shape.limbs as f64,
            ..Work::default()
        }
    }

    fn key_switch(&self) -> Work {
        self.decompose() + self.inner_product() + self.mod_down() * 2.0
    }

    fn rescale(&self) -> Work {
        let rest = 2.0 * (self.limbs - 1) as f64;
        Work { inverse: 2.0, forward: rest, products: rest, ..Work::default() }
    }

    /// Division of one polynomial by the special primes and the last ciphertext prime.
    fn divide(&self) -> Work {
        Work {
            inverse: (self.shape.special + 1) as f64,
            forward: (self.limbs - 1) as f64,
            ..self.mod_down()
        }
    }

    fn linear(&self, matrix: &Matrix) -> Work {
        let matrix = matrix.placed(self.shape.width());
        let below = Level { shape: self.shape, limbs: self.limbs - 1 };
        let sums = Work { additions: 2.0 * self.wide() as f64, ..Work::default() };
        let rotation = self.divide() + below.decompose() + below.inner_product() + sums;
        let diagonals = (2 * self.wide() * matrix.diagonals()) as f64;
        [
            self.decompose() + self.inner_product() * matrix.babies() as f64,
            Work { products: diagonals, ..Work::default() },
            rotation * (matrix.giants() + matrix.folds().len()) as f64,
            self.divide() * 2.0,
        ]
        .into_iter()
        .sum()
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            forward: self.forward + other.forward,
            inverse: self.inverse + other.inverse,
            products: self.products + other.products,
            additions: self.additions + other.additions,
            raised: self.raised + other.raised,
            lowered: self.lowered + other.lowered,
        }
    }
}

impl Mul<f64> for Work {
    type Output = Self;

    fn mul(self, times: f64) -> Self {
        Self {
            forward: self.forward * times,
            inverse: self.inverse * times,
            products: self.products * times,
            additions: self.additions * times,
            raised: self.raised * times,
            lowered: self.lowered * times,
        }
    }
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::shape::SHAPES;

    #[test]
    fn a_rotation_takes_what_the_literature_counts() {
        for shape in SHAPES {
            let (l, k, d) = (shape.limbs, shape.special, shape.digits());
            let work = Work::of(Operation::Rotate, &shape);
            let transforms = l + (d * (l + k) - l) + 2 * (k + l);
            assert_eq!(work.forward + work.inverse, transforms as f64, "{}", shape.name);
            assert_eq!(work.products, (2 * d * (l + k)) as f64);
            assert_eq!(work.lowered, 2.0);
            let whole = l.is_multiple_of(shape.digit_size);
            assert!(work.raised <= d as f64 && (work.raised == d as f64) == whole);
        }
    }

    #[test]
    fn a_matrix_costs_less_hoisted_than_by_rotations() {
        for shape in SHAPES {
            let rotate = Work::of(Operation::Rotate, &shape);
            for matrix in [Matrix::WIDE, Matrix::SQUARE] {
                let work = Work::of(Operation::Linear(matrix), &shape);
                let matrix = matrix.placed(shape.width());
                let rotations = (matrix.babies() + matrix.giants() + matrix.folds().len()) as f64;
                assert!(
                    work.forward + work.inverse < rotations * (rotate.forward + rotate.inverse)
                );
                assert!(work.products > (2 * matrix.diagonals() * shape.limbs) as f64);
            }
        }
    }
}
