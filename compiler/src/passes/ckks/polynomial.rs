//! Chebyshev series on ciphertexts, in optimal depth and with exact scales.
//!
//! *What*: a `Polynomial` of the slots level becomes products, plaintext products and rescales.
//!
//! *Before and after*, for `c_0 + c_1·T_1 + c_2·T_2 + c_3·T_3` at level 0 from `x` at level 2:
//!
//! ```text
//! T_2 = rescale(2·x² ) - 1              level 1, scale s²/q_2
//! y   = rescale(2·c_3·x) + c_2          level 1, scale Δ·q_1/scale(T_2)
//! p   = rescale(y·T_2 + (c_1 - c_3)·x) + (c_0 - c_2)   level 0, scale Δ
//! ```
//!
//! *Scales*: powers are made first and have the scales that their products give; then the target
//! scale goes backwards through the divisions. All summands of a sum are brought to the one scale
//! `target·q_ℓ` before its rescale: products by the target of their quotient, terms by the scale
//! at which their coefficient is encoded. So no addition ever meets unequal scales, and the result
//! has exactly the scale that is asked for. `T_{a-b}` in `2·T_a·T_b - T_{a-b}` is brought to the
//! product's scale by a plaintext one, which the product's own rescale pays for.
//!
//! *Levels*: every power is made at the lowest level at which it is read. Constants are added
//! after rescales, where they are encoded at about the waterline scale.
//!
//! *Monic sets* (`PolynomialSet::monic`): the leading term is a square without a coefficient, so its
//! scale is what it is, and all other summands are brought to it; the result has the scale of that
//! square, rescaled, which the linear map behind it takes as it is.
//!
//! *Depth and cost*: `⌈log2(degree + 1)⌉` levels, `log2(degree)` for monic sets; the products are chosen by
//! the strategies of `chebyshev`, where the papers are named.

use std::collections::BTreeMap;

use heplan_ir::ckks::Plain;
use heplan_ir::entity::ValueId;
use heplan_ir::scale::Scale;
use heplan_ir::series::PolynomialSet;

use super::LowerError;
use super::builder::Builder;
use super::chebyshev::{Step, Strategies, Strategy, Table};

/// Evaluates `set` on `x`: a value at level and scale `target`, from `x` at any level that is at
/// least `target.0 + set.depth()`.
///
/// The result of a monic set has the scale of its leading square instead.
/// A set of constants has depth 0 and leaves the scale of `x` as it is: its result is `x - x` plus
/// the constants, at the scale of `x`.
pub(super) fn evaluate(
    builder: &mut Builder,
    strategies: &mut Strategies,
    x: ValueId,
    set: &PolynomialSet,
    target: (usize, &Scale),
) -> Result<ValueId, LowerError> {
    let mut table = Table::new(set);
    let mut evaluation =
        Evaluation { builder, class: &set.class, powers: BTreeMap::from([(1, x)]) };
    if set.depth() == 0 {
        let x = evaluation.builder.at_level(x, target.0)?;
        let zero = evaluation.builder.sub(x, x)?;
        return Ok(evaluation.add_constant(zero, &table));
    }
    let square = set.monic();
    square.into_iter().for_each(|m| table.square_off(m));
    let strategy = strategies.get(table.support(), set.depth(), square);
    evaluation.make_powers(strategy, target.0)?;
    evaluation.sum(table, &strategy.steps, target.0, target.1)
}

struct Evaluation<'a> {
    builder: &'a mut Builder,
    /// The series of every slot; empty when there is one.
    class: &'a [u32],
    powers: BTreeMap<usize, ValueId>,
}

impl Evaluation<'_> {
    /// Makes every power of the strategy at the level at which it is first read.
    fn make_powers(&mut self, strategy: &Strategy, result: usize) -> Result<(), LowerError> {
        let levels = strategy.power_levels(result);
        for (&n, &(a, b)) in &strategy.powers {
            let level = levels.get(&n).copied().unwrap_or(result) + 1;
            let (left, right) = (self.power(a, level)?, self.power(b, level)?);
            let product = self.builder.mul(left, right)?;
            let product = self.builder.relinearise(product);
            let mut sum = self.builder.add(product, product)?;
            if a != b {
                let below = self.power(a - b, level)?;
                let scale = self.builder.scale(sum);
                let below = self.builder.mul_plain_to(below, Plain::Scalar(1.0), &scale);
                sum = self.builder.sub(sum, below)?;
            }
            let mut power = self.builder.rescale(sum)?;
            if a == b {
                power = self.builder.add_plain(power, Plain::Scalar(-1.0));
            }
            self.powers.insert(n, power);
        }
        Ok(())
    }

    /// The sum of the steps' summands and the constant term, at `level` and `scale`.
    fn sum(
        &mut self,
        mut table: Table,
        steps: &[Step],
        level: usize,
        scale: &Scale,
    ) -> Result<ValueId, LowerError> {
        let wide = match steps.first() {
            Some(Step::Square(m)) => {
                let power = self.power(*m, level + 1)?;
                let scale = self.builder.scale(power);
                scale.mul(&scale)
            }
            _ => scale.mul(&self.builder.prime(level + 1)),
        };
        let (mut products, mut terms) = (None, None);
        for step in steps {
            match step {
                Step::Term(i) => {
                    let term = self.term(table.row(*i), *i, level + 1, &wide)?;
                    terms = self.builder.add_some(terms, Some(term))?;
                    table.clear(*i);
                }
                Step::Square(m) => {
                    let power = self.power(*m, level + 1)?;
                    let square = self.builder.mul(power, power)?;
                    let double = self.builder.add(square, square)?;
                    products = self.builder.add_some(products, Some(double))?;
                }
                Step::Product(m, inner) => {
                    let (quotient, rest) = table.divide(*m);
                    let power = self.power(*m, level + 1)?;
                    let inner_scale = wide.div(&self.builder.ty(power).scale);
                    let factor = self.sum(quotient, inner, level + 1, &inner_scale)?;
                    let product = self.builder.mul(factor, power)?;
                    products = self.builder.add_some(products, Some(product))?;
                    table = rest;
                }
            }
        }
        let products = products.map(|p| self.builder.relinearise(p));
        let sum = self.builder.add_some(products, terms)?;
        let sum = self.builder.rescale(sum.expect("a series above degree zero has a summand"))?;
        Ok(self.add_constant(sum, &table))
    }

    /// `c·T_i` at `level` and `scale`, not rescaled.
    fn term(
        &mut self,
        row: &[f64],
        i: usize,
        level: usize,
        scale: &Scale,
    ) -> Result<ValueId, LowerError> {
        let power = self.power(i, level)?;
        let plain = self.plain(row);
        Ok(self.builder.mul_plain_to(power, plain, scale))
    }

    /// `T_n` at `level`.
    fn power(&mut self, n: usize, level: usize) -> Result<ValueId, LowerError> {
        let power = *self.powers.get(&n).expect("powers are made before they are read");
        self.builder.at_level(power, level)
    }

    fn add_constant(&mut self, x: ValueId, table: &Table) -> ValueId {
        if !table.has(0) {
            return x;
        }
        let plain = self.plain(table.row(0));
        self.builder.add_plain(x, plain)
    }

    /// One coefficient per series as a plaintext.
    fn plain(&mut self, row: &[f64]) -> Plain {
        if self.class.is_empty() || row.iter().all(|c| *c == row[0]) {
            return Plain::Scalar(row.first().copied().unwrap_or(0.0));
        }
        let slots: Vec<f64> = self.class.iter().map(|&k| row[k as usize]).collect();
        self.builder.plain(&slots)
    }
}
