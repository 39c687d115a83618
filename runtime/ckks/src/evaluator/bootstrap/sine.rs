//! The modular reduction: `sin(2πt)` for `t` near integers, which is `2π` times what `t` exceeds its integer by.
//!
//! With `t' = t - 1/4` it is `cos(2πt')`. An odd polynomial gives the sine of the angle `x = 2πt' / 2^r`, and `r` double angles
//! lead to the whole: the first two are `u = sin² x`, `cos 4x = 1 - 8u(1 - u)`, the others `2 cos² - 1` (double angles: Han
//! and Ki, ePrint 2019/688).
//!
//! Every rescale adds noise of a fixed size, and what follows makes it grow. Scales are chosen against that:
//!
//! - Cosines of small angles are the worst place for noise, and `t` is mostly small. So the beginning is a sine, and the first
//!   factor `u` of the second step, which is small, has eight times the scale of the other factor; the factor 8
//!   of the formula brings the scale of the product back.
//! - The operand comes twice, from one sum rounded at two scales: the high one gives the leading term, the low one is a factor
//!   of the square only.
//! - The scale of the square is a little low, that of `x^8` is so by the fourth power of it. What multiplies these powers is
//!   at as much a higher scale, without which a rare large `t` would meet much noise.
//!
//! The polynomial is fitted where it is used: near integers, each with the weight that its probability has. The integer is a
//! sum of `h + 1` uniform numbers for a secret of weight `h`, so that large ones are rare; they still get what accuracy is
//! to be had for a floor under the weights.

use std::borrow::Cow;
use std::f64::consts::{PI, TAU};

use heplan_ir::bootstrap::{Bootstrap, SPARSE_WEIGHT};
use heplan_ir::parameters::Parameters;
use heplan_ir::scale::Scale;
use heplan_lattice::Poly;

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

/// The odd coefficients `a_1, a_3, …` of the polynomial, nearly those of the sine.
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
            let basis = chebyshev(x / largest).skip(1).step_by(2).take(count);
            rows.push(basis.map(|v| v * weight).collect());
            values.push(libm::sin(x) * weight);
        }
    }
    let powers = powers(&least_squares(&rows, values));
    let scaled = |(c, i): (f64, i32)| c / largest.powi(2 * i + 1);
    powers.into_iter().zip(0i32..).map(scaled).collect()
}

/// `T_0, T_1, …` at a point.
fn chebyshev(x: f64) -> impl Iterator<Item = f64> {
    std::iter::successors(Some((1.0, x)), move |&(a, b)| Some((b, 2.0 * x * b - a))).map(|t| t.0)
}

/// A sum of odd Chebyshev polynomials in odd powers.
fn powers(series: &[f64]) -> Vec<f64> {
    let degree = 2 * series.len();
    let (mut here, mut next) = (vec![0.0; degree + 1], vec![0.0; degree + 1]);
    (here[0], next[1]) = (1.0, 1.0);
    let mut out = vec![0.0; series.len()];
    for n in 0..degree {
        if n % 2 == 1 {
            let c = series[n / 2];
            out.iter_mut().enumerate().for_each(|(i, o)| *o += c * here[2 * i + 1]);
        }
        // 2 x T_n - T_(n - 1)
        let shifted = |i: usize| if i == 0 { 0.0 } else { 2.0 * next[i - 1] };
        let after = (0..=degree).map(|i| shifted(i) - here[i]).collect();
        here = std::mem::replace(&mut next, after);
    }
    out
}

/// The least squares solution, by orthogonalising the columns twice (Gram and Schmidt, modified; Björck, 1967).
fn least_squares(rows: &[Vec<f64>], mut values: Vec<f64>) -> Vec<f64> {
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

/// Bits by which the scale of the high operand is above the prime that the square is divided by, and that of the low one
/// below it.
const OPERAND_LIFTS: [i32; 2] = [1, -3];

/// How much larger the scale of the high operand is than that of the low one.
pub(super) const OPERAND_RATIO: i128 = 1 << (OPERAND_LIFTS[0] - OPERAND_LIFTS[1]);

/// The scale of the high operand.
pub(super) fn high_scale(parameters: &Parameters, bootstrap: &Bootstrap) -> Scale {
    Scale::prime(parameters.q()[bootstrap.reduction_level()]).mul(&Scale::pow2(OPERAND_LIFTS[0]))
}

/// The scale of the low operand.
pub(super) fn low_scale(parameters: &Parameters, bootstrap: &Bootstrap) -> Scale {
    Scale::prime(parameters.q()[bootstrap.reduction_level()]).mul(&Scale::pow2(OPERAND_LIFTS[1]))
}

/// The level of the polynomial.
fn polynomial_level(bootstrap: &Bootstrap) -> usize {
    bootstrap.reduced_level() + bootstrap.double_angles
}

/// The scale of the polynomial: the prime that its square is divided by.
fn polynomial_scale(parameters: &Parameters, bootstrap: &Bootstrap) -> Scale {
    Scale::prime(parameters.q()[polynomial_level(bootstrap)])
}

/// The scale of results.
pub(super) fn result_scale(parameters: &Parameters, bootstrap: &Bootstrap) -> Scale {
    let levels = (bootstrap.reduced_level() + 1..=polynomial_level(bootstrap)).rev();
    levels.fold(polynomial_scale(parameters, bootstrap), |scale, level| {
        scale.mul(&scale).rescaled(parameters.q()[level])
    })
}

impl Evaluator {
    /// `sin(2πt)` of a ciphertext whose slots hold `t` times [`angle`], given at [`high_scale`] and [`low_scale`].
    ///
    /// # Errors
    /// If the key is missing.
    pub(super) fn sine(
        &self,
        [high, low]: [Ciphertext; 2],
        bootstrap: &Bootstrap,
        coefficients: &[f64],
    ) -> Result<Ciphertext, EvalError> {
        let shift = -0.25 * angle(bootstrap);
        let (high, low) = (self.add_scalar(&high, shift)?, self.add_scalar(&low, shift)?);
        let powers = Powers::new(self, high, &low, coefficients.len())?;
        drop(low);
        let scale = polynomial_scale(self.context.parameters(), bootstrap);
        let sine = powers.polynomial(coefficients, polynomial_level(bootstrap), &scale)?;
        drop(powers);
        let mut out = self.cosine_of_fourfold(&sine)?;
        for _ in 2..bootstrap.double_angles {
            let mut square = self.mul(&out, &out)?;
            square.parts.iter_mut().for_each(|part| part.mul_integer_assign(2));
            out = self.add_scalar(&self.relinearise_and_rescale(&square)?, -1.0)?;
        }
        Ok(out)
    }

    /// `cos 4x = 1 - 8u(1 - u)` from `sin x`, where `u` is its square.
    fn cosine_of_fourfold(&self, sine: &Ciphertext) -> Result<Ciphertext, EvalError> {
        let mut square = self.mul(sine, sine)?;
        let mut rest = self.relinearise_and_rescale(&square)?;
        rest.parts.iter_mut().for_each(Poly::neg_assign);
        let rest = self.add_scalar(&rest, 1.0)?;
        // The same at eight times the scale, for an eighth of the noise.
        square.parts.iter_mut().for_each(|part| part.mul_integer_assign(8));
        let square = self.relinearise_and_rescale(&square)?;
        let mut product = self.mul(&square, &rest)?;
        product.parts.iter_mut().for_each(Poly::neg_assign);
        self.add_scalar(&self.relinearise_and_rescale(&product)?, 1.0)
    }
}

/// Powers of the operand.
struct Powers<'a> {
    evaluator: &'a Evaluator,
    /// `x, x², x⁴, …`, each a level below the one before.
    doubled: Vec<Ciphertext>,
    /// `x³`.
    cube: Ciphertext,
}

impl<'a> Powers<'a> {
    /// Those that an odd polynomial of so many coefficients takes, from the operand at its high and its low scale.
    fn new(
        evaluator: &'a Evaluator,
        x: Ciphertext,
        low: &Ciphertext,
        count: usize,
    ) -> Result<Self, EvalError> {
        let square = evaluator.mul_rescaled(&x, low)?;
        let reduced = evaluator.drop_level(&x, square.level())?;
        let cube = evaluator.mul_rescaled(&reduced, &square)?;
        let mut doubled = vec![x, square];
        let mut degree = 2;
        while degree < count {
            let last = doubled.last().expect("the operand is a power");
            let square = evaluator.mul_rescaled(last, last)?;
            doubled.push(square);
            degree *= 2;
        }
        Ok(Self { evaluator, doubled, cube })
    }

    /// The odd polynomial at a level and scale. With `2^k` coefficients its result lies at least `k + 1` levels below
    /// the operand.
    fn polynomial(
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
        match *coefficients {
            [a] => term(&self.doubled[0], a),
            [a, b] if self.cube.level() >= level => {
                e.add(&term(&self.doubled[0], a)?, &term(&self.cube, b)?)
            }
            _ => {
                let (low, high) = coefficients.split_at(coefficients.len() / 2);
                let power = self.at(&self.doubled[high.len().ilog2() as usize + 1], level)?;
                let high = self.polynomial(high, level, &scale.div(&power.scale))?;
                let product = e.mul(&high, &power)?;
                Ok(added(product, &self.sum(low, level, scale)?))
            }
        }
    }

    /// A power at a level.
    fn at<'b>(&self, x: &'b Ciphertext, level: usize) -> Result<Cow<'b, Ciphertext>, EvalError> {
        if x.level() == level {
            return Ok(Cow::Borrowed(x));
        }
        self.evaluator.drop_level(x, level).map(Cow::Owned)
    }
}

/// The sum of ciphertexts of one level and scale, the first of degree 2.
fn added(mut a: Ciphertext, b: &Ciphertext) -> Ciphertext {
    debug_assert_eq!((a.level(), &a.scale), (b.level(), &b.scale), "sums are of one scale");
    a.parts.iter_mut().zip(&b.parts).for_each(|(a, b)| a.add_assign(b));
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Polynomial and double angles in plain arithmetic: below the noise where the integer nearly always is, and good
    /// enough for slots wherever it can be.
    #[test]
    fn the_polynomial_leads_to_the_sine() {
        let bootstrap = Bootstrap::usual(16, 1);
        let coefficients = coefficients(&bootstrap);
        assert_eq!(coefficients.len(), 8);
        assert!((coefficients[0] - 1.0).abs() < 1e-9 && (coefficients[1] + 1.0 / 6.0).abs() < 1e-8);
        for integer in -16..=16i32 {
            let allowed = match integer.abs() {
                0..=3 => -36.0,
                4..=6 => -33.0,
                7..=10 => -26.0,
                _ => -24.0,
            };
            for step in -8..=8i32 {
                let t = f64::from(integer) + f64::from(step) / 8.0 * REACH;
                let x = angle(&bootstrap) * (t - 0.25);
                let sine = coefficients.iter().rev().fold(0.0, |sum, c| sum * x * x + c) * x;
                let u = sine * sine;
                let doubled = |c: f64, _| 2.0 * c * c - 1.0;
                let found = (2..bootstrap.double_angles).fold(1.0 - 8.0 * u * (1.0 - u), doubled);
                let error = (found - libm::sin(TAU * t)).abs().log2();
                assert!(error < allowed, "{error:.1} bits at {t}");
            }
        }
    }
}
