//! The modular reduction: `sin(2πt)` for `t` near integers, which is `2π` times what `t` exceeds its integer by.
//!
//! With `t' = t - 1/4` it is `cos(2πt')`, and from `sin(2πt' / 2^r)`, which an odd polynomial gives, `r` double angles lead
//! there: the first is `2 sin² - 1 = -cos`, the others `2 cos² - 1` (Han and Ki, ePrint 2019/688). Beginning with the sine,
//! which is steepest where `t` mostly lies, the noise of the polynomial grows by little more than `2^r`, half a bit less per
//! double angle than from a cosine.
//!
//! The polynomial is fitted where it is used: near integers, each with the weight that its probability has. The integer is a
//! sum of `h + 1` uniform numbers for a secret of weight `h`, so that large ones are rare; they still get what accuracy
//! is to be had for a floor under the weights.

use std::f64::consts::{PI, TAU};

use heplan_ir::bootstrap::{Bootstrap, SPARSE_WEIGHT};
use heplan_ir::parameters::Parameters;
use heplan_ir::scale::Scale;

use super::super::Evaluator;
use crate::ciphertext::Ciphertext;
use crate::error::EvalError;

/// Points around every integer at which the polynomial is fitted.
const POINTS: usize = 7;

/// How far from an integer: beyond the largest ratio of message and `q_0`.
const REACH: f64 = 1.0 / 256.0;

/// The least weight of an integer.
const FLOOR: f64 = 1e-10;

/// The angle that operands hold, for a number `t` of multiples of `q_0`.
pub(super) fn angle(bootstrap: &Bootstrap) -> f64 {
    TAU / angles(bootstrap)
}

/// `2^r`.
fn angles(bootstrap: &Bootstrap) -> f64 {
    (0..bootstrap.double_angles).fold(1.0, |power, _| 2.0 * power)
}

/// The odd coefficients of the polynomial, `a_1, a_3, …`: nearly those of the sine.
pub(super) fn coefficients(bootstrap: &Bootstrap) -> Vec<f64> {
    let largest = angle(bootstrap) * (bootstrap.range as f64 + 0.5);
    let variance = (SPARSE_WEIGHT + 1) as f64 / 12.0;
    let count = bootstrap.degree.div_ceil(2);
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    let range = i32::try_from(bootstrap.range).unwrap_or(i32::MAX);
    for integer in -range..=range {
        let integer = f64::from(integer);
        let weight = libm::exp(-integer * integer / (2.0 * variance)).max(FLOOR).sqrt();
        for point in 0..POINTS {
            let shift = libm::cos(PI * point as f64 / (POINTS - 1) as f64) * REACH;
            let x = angle(bootstrap) * (integer + shift - 0.25);
            rows.push(odd_chebyshev(x / largest, count).iter().map(|v| v * weight).collect());
            values.push(libm::sin(x) * weight);
        }
    }
    let series = least_squares(rows, values);
    powers(&series)
        .iter()
        .zip((0i32..).map(|i| 2 * i + 1))
        .map(|(c, n)| c / largest.powi(n))
        .collect()
}

/// `T_1, T_3, …` at a point.
fn odd_chebyshev(x: f64, count: usize) -> Vec<f64> {
    let (mut out, mut even, mut odd) = (Vec::with_capacity(count), 1.0, x);
    for _ in 0..count {
        out.push(odd);
        even = 2.0 * x * odd - even;
        odd = 2.0 * x * even - odd;
    }
    out
}

/// The odd coefficients in powers of a sum of odd Chebyshev polynomials.
fn powers(series: &[f64]) -> Vec<f64> {
    let degree = 2 * series.len();
    let (mut even, mut odd) = (vec![0.0; degree + 1], vec![0.0; degree + 1]);
    (even[0], odd[1]) = (1.0, 1.0);
    let step = |a: &[f64], b: &[f64]| {
        // 2 x a - b
        let shifted = |i: usize| if i == 0 { 0.0 } else { 2.0 * a[i - 1] };
        (0..=degree).map(|i| shifted(i) - b[i]).collect::<Vec<f64>>()
    };
    let mut out = vec![0.0; series.len()];
    for &c in series {
        out.iter_mut().enumerate().for_each(|(i, o)| *o += c * odd[2 * i + 1]);
        even = step(&odd, &even);
        odd = step(&even, &odd);
    }
    out
}

/// The least squares solution, by orthogonalising the columns twice (Gram and Schmidt, modified; Björck, 1967).
fn least_squares(rows: Vec<Vec<f64>>, mut values: Vec<f64>) -> Vec<f64> {
    let count = rows.first().map_or(0, Vec::len);
    let mut columns: Vec<Vec<f64>> =
        (0..count).map(|k| rows.iter().map(|row| row[k]).collect()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut triangle = vec![vec![0.0; count]; count];
    let mut right = vec![0.0; count];
    for k in 0..count {
        for _ in 0..2 {
            for j in 0..k {
                let (done, rest) = columns.split_at_mut(k);
                let along = dot(&done[j], &rest[0]);
                triangle[j][k] += along;
                rest[0].iter_mut().zip(&done[j]).for_each(|(a, b)| *a -= along * b);
            }
        }
        let norm = dot(&columns[k], &columns[k]).sqrt();
        triangle[k][k] = norm;
        columns[k].iter_mut().for_each(|a| *a /= norm);
        right[k] = dot(&columns[k], &values);
        values.iter_mut().zip(&columns[k]).for_each(|(v, c)| *v -= right[k] * c);
    }
    for k in (0..count).rev() {
        let known: f64 = (k + 1..count).map(|j| triangle[k][j] * right[j]).sum();
        right[k] = (right[k] - known) / triangle[k][k];
    }
    right
}

/// The scale of operands: the prime that the first product is divided by.
pub(super) fn operand_scale(parameters: &Parameters, bootstrap: &Bootstrap) -> Scale {
    Scale::prime(parameters.q()[bootstrap.reduction_level()])
}

/// The scale of the polynomial: the prime that the first double angle is divided by.
fn polynomial_scale(parameters: &Parameters, bootstrap: &Bootstrap) -> Scale {
    Scale::prime(parameters.q()[bootstrap.reduced_level() + bootstrap.double_angles])
}

/// The scale of results.
pub(super) fn result_scale(parameters: &Parameters, bootstrap: &Bootstrap) -> Scale {
    let first = bootstrap.reduced_level() + 1;
    let levels = (first..first + bootstrap.double_angles).rev();
    levels.fold(polynomial_scale(parameters, bootstrap), |scale, level| {
        scale.mul(&scale).rescaled(parameters.q()[level])
    })
}

impl Evaluator {
    /// `sin(2πt)` of a ciphertext whose slots hold `t` times [`angle`], at [`operand_scale`].
    ///
    /// # Errors
    /// If the key is missing.
    pub(super) fn sine(
        &self,
        x: &Ciphertext,
        bootstrap: &Bootstrap,
        coefficients: &[f64],
    ) -> Result<Ciphertext, EvalError> {
        let x = self.add_scalar(x, -0.25 * angle(bootstrap))?;
        let level = bootstrap.reduced_level() + bootstrap.double_angles;
        let scale = polynomial_scale(self.context.parameters(), bootstrap);
        let powers = Powers::new(self, x, coefficients.len())?;
        let mut out = powers.odd(coefficients, level, &scale)?;
        drop(powers);
        for _ in 0..bootstrap.double_angles {
            let mut square = self.mul(&out, &out)?;
            square.parts.iter_mut().for_each(|part| part.mul_integer_assign(2));
            out = self.add_scalar(&self.relinearise_and_rescale(&square)?, -1.0)?;
        }
        Ok(out)
    }
}

/// Powers of the operand.
struct Powers<'a> {
    evaluator: &'a Evaluator,
    /// `x, x², x⁴, …`, each a level below the one before.
    doubled: Vec<Ciphertext>,
    /// `x³`.
    cube: Option<Ciphertext>,
}

impl<'a> Powers<'a> {
    /// Those of an odd polynomial with so many coefficients, a power of two.
    fn new(evaluator: &'a Evaluator, x: Ciphertext, count: usize) -> Result<Self, EvalError> {
        let mut powers = Self { evaluator, doubled: vec![x], cube: None };
        let mut degree = 1;
        while degree < count {
            let last = powers.doubled.last().expect("the operand is a power");
            let square = evaluator.relinearise_and_rescale(&evaluator.mul(last, last)?)?;
            powers.doubled.push(square);
            degree *= 2;
        }
        if count > 2 {
            let square = &powers.doubled[1];
            let x = powers.at(&powers.doubled[0], square.level())?;
            powers.cube = Some(evaluator.relinearise_and_rescale(&evaluator.mul(&x, square)?)?);
        }
        Ok(powers)
    }

    /// The polynomial at a level and scale. With `2^k` coefficients its result lies at least `k + 1` levels below the
    /// operand.
    fn odd(
        &self,
        coefficients: &[f64],
        level: usize,
        scale: &Scale,
    ) -> Result<Ciphertext, EvalError> {
        let last = Scale::prime(self.evaluator.context.parameters().q()[level + 1]);
        let sum = self.sum(coefficients, level + 1, &scale.mul(&last))?;
        match sum.degree() {
            1 => self.evaluator.rescale(&sum),
            _ => self.evaluator.relinearise_and_rescale(&sum),
        }
    }

    /// The same as a sum of products that is neither relinearised nor rescaled yet.
    fn sum(
        &self,
        coefficients: &[f64],
        level: usize,
        scale: &Scale,
    ) -> Result<Ciphertext, EvalError> {
        let e = self.evaluator;
        let term = |power: &Ciphertext, coefficient: f64| {
            e.mul_scalar(&*self.at(power, level)?, coefficient, &scale.div(&power.scale))
        };
        let x = &self.doubled[0];
        match (coefficients, &self.cube) {
            (&[a], _) => term(x, a),
            (&[a, b], Some(cube)) if cube.level() >= level => e.add(&term(x, a)?, &term(cube, b)?),
            _ => {
                let (low, high) = coefficients.split_at(coefficients.len() / 2);
                let power = self.at(&self.doubled[high.len().ilog2() as usize + 1], level)?;
                let high = self.odd(high, level, &scale.div(&power.scale))?;
                let product = e.mul(&high, &power)?;
                let low = self.sum(low, level, scale)?;
                Ok(added(product, low))
            }
        }
    }

    /// A power at a level.
    fn at<'b>(
        &self,
        x: &'b Ciphertext,
        level: usize,
    ) -> Result<std::borrow::Cow<'b, Ciphertext>, EvalError> {
        if x.level() == level {
            return Ok(std::borrow::Cow::Borrowed(x));
        }
        self.evaluator.drop_level(x, level).map(std::borrow::Cow::Owned)
    }
}

/// The sum of ciphertexts of one level and scale, the first of degree 2.
fn added(mut a: Ciphertext, b: Ciphertext) -> Ciphertext {
    debug_assert_eq!((a.level(), &a.scale), (b.level(), &b.scale), "sums are of one scale");
    a.parts.iter_mut().zip(&b.parts).for_each(|(a, b)| a.add_assign(b));
    a
}
