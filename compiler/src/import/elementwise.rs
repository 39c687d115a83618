//! Element-wise arithmetic with broadcasting: sums, products, quotients, powers, extrema.
//!
//! Constants on both sides are computed here and now; integers by the rules of ONNX integers.

use std::rc::Rc;

use heplan_ir::diagnostic::Code;
use heplan_ir::function::Function;
use heplan_ir::matrix::SparseMatrix;

use super::array::{Array, Data, broadcast_shape, broadcast_source, elements};
use super::context::{
    Emitted, Fault, NodeCx, Operand, Secret, column, fault, fault_help, known, one,
};
use super::fold;
use super::patterns;

/// One summand with its factor.
pub(super) struct Term {
    operand: Operand,
    factor: f64,
}

impl Term {
    pub(super) fn new(operand: Operand, factor: f64) -> Self {
        Self { operand, factor }
    }
}

/// `Add`.
pub(super) fn add(cx: &mut NodeCx<'_>) -> Emitted {
    binary_sum(cx, 1.0)
}

/// `Sub`.
pub(super) fn sub(cx: &mut NodeCx<'_>) -> Emitted {
    binary_sum(cx, -1.0)
}

fn binary_sum(cx: &mut NodeCx<'_>, sign: f64) -> Emitted {
    if let (Operand::Constant(a), Operand::Constant(b)) = (cx.operand(0)?, cx.operand(1)?) {
        let op = if sign > 0.0 { fold::Arithmetic::Add } else { fold::Arithmetic::Sub };
        return known(fold::arithmetic(a, b, op)?);
    }
    let terms = [Term::new(cx.operand(0)?.clone(), 1.0), Term::new(cx.operand(1)?.clone(), sign)];
    Ok(vec![sum(cx, &terms)?])
}

/// `Sum`.
pub(super) fn sum_of_all(cx: &mut NodeCx<'_>) -> Emitted {
    let factor = 1.0;
    let terms = all_terms(cx, factor)?;
    Ok(vec![sum(cx, &terms)?])
}

/// `Mean`.
pub(super) fn mean_of_all(cx: &mut NodeCx<'_>) -> Emitted {
    let factor = 1.0 / cx.operands.len().max(1) as f64;
    let terms = all_terms(cx, factor)?;
    Ok(vec![sum(cx, &terms)?])
}

fn all_terms(cx: &NodeCx<'_>, factor: f64) -> Result<Vec<Term>, Fault> {
    (0..cx.operands.len().max(1)).map(|i| Ok(Term::new(cx.operand(i)?.clone(), factor))).collect()
}

/// `Σ factor·operand` with broadcasting; constants go into the bias.
pub(super) fn sum(cx: &mut NodeCx<'_>, terms: &[Term]) -> Result<Operand, Fault> {
    let mut shape: Vec<usize> = Vec::new();
    for term in terms {
        shape = broadcast_shape(&shape, operand_shape(&term.operand)?)?;
    }
    let count = elements(&shape)?;
    let mut bias = vec![0.0; count];
    let mut matrices = Vec::new();
    for term in terms {
        let source = broadcast_source(&shape, operand_shape(&term.operand)?);
        match &term.operand {
            Operand::Constant(c) => {
                let values = c.floats();
                // Minus infinity is a mask, which only a softmax can take; the driver sees to it.
                let finite: Vec<f64> =
                    values.iter().copied().filter(|&v| v != f64::NEG_INFINITY).collect();
                cx.finite(&finite, "a summand", None)?;
                bias.iter_mut().zip(&source).for_each(|(b, &s)| *b += term.factor * values[s]);
            }
            Operand::Secret(x) => {
                let matrix = SparseMatrix::from_rows(count, elements(&x.shape)?, |r, row| {
                    row.push((column(source[r]), term.factor));
                });
                matrices.push((x.id, matrix));
            }
            _ => return Err(fault(Code::UnsupportedMode, "a summand is not a tensor")),
        }
    }
    if matrices.is_empty() {
        return Ok(Operand::Constant(Rc::new(Array { shape, data: Data::Float(bias) })));
    }
    Ok(Operand::Secret(cx.affine(matrices, Some(bias), shape)))
}

fn operand_shape(operand: &Operand) -> Result<&[usize], Fault> {
    match operand {
        Operand::Secret(x) => Ok(&x.shape),
        Operand::Constant(c) => Ok(&c.shape),
        _ => Err(fault(Code::UnsupportedMode, "an operand is not a tensor")),
    }
}

/// `Mul`.
pub(super) fn mul(cx: &mut NodeCx<'_>) -> Emitted {
    match (cx.operand(0)?, cx.operand(1)?) {
        (Operand::Constant(a), Operand::Constant(b)) => {
            known(fold::arithmetic(a, b, fold::Arithmetic::Mul)?)
        }
        (Operand::Constant(_), _) => {
            let (x, (shape, factor)) = (cx.secret(1)?, cx.weights(0)?);
            one(times_constant(cx, &x, &shape, &factor)?)
        }
        (_, Operand::Constant(_)) => {
            let (x, (shape, factor)) = (cx.secret(0)?, cx.weights(1)?);
            one(times_constant(cx, &x, &shape, &factor)?)
        }
        _ => {
            let (a, b) = (cx.secret(0)?, cx.secret(1)?);
            one(product(cx, &a, &b)?)
        }
    }
}

/// `Div`: by a constant a scaling, by encrypted data a product with the reciprocal.
pub(super) fn div(cx: &mut NodeCx<'_>) -> Emitted {
    match (cx.operand(0)?, cx.operand(1)?) {
        (Operand::Constant(a), Operand::Constant(b)) => {
            known(fold::arithmetic(a, b, fold::Arithmetic::Div)?)
        }
        (Operand::Constant(_), _) => {
            let (x, (shape, factor)) = (cx.secret(1)?, cx.weights(0)?);
            let inverse = reciprocal_of(cx, &x);
            one(times_constant(cx, &inverse, &shape, &factor)?)
        }
        (_, Operand::Constant(_)) => {
            let (x, (shape, divisor)) = (cx.secret(0)?, cx.weights(1)?);
            let factor: Vec<f64> = divisor.iter().map(|d| 1.0 / d).collect();
            cx.finite(&factor, "the reciprocal of the divisor", cx.node.inputs.get(1))?;
            one(times_constant(cx, &x, &shape, &factor)?)
        }
        _ => {
            let (a, b) = (cx.secret(0)?, cx.secret(1)?);
            let shape = broadcast_shape(&a.shape, &b.shape)?;
            if let Some(y) = super::softmax::written_out(cx, &a, &b, &shape)? {
                return Ok(vec![y]);
            }
            let inverse = reciprocal_of(cx, &b);
            one(product(cx, &a, &inverse)?)
        }
    }
}

/// `1/x`, as one function where `x` is itself a square root.
pub(super) fn reciprocal_of(cx: &mut NodeCx<'_>, x: &Secret) -> Secret {
    match patterns::operand_of(cx.graph, x.id, &Function::Sqrt) {
        Some(id) => {
            let inner = Secret { id, shape: x.shape.clone() };
            cx.function(&inner, Function::Pow { exponent: -0.5 })
        }
        None => cx.function(x, Function::Reciprocal),
    }
}

/// `x·c` with broadcasting both ways.
fn times_constant(
    cx: &mut NodeCx<'_>,
    x: &Secret,
    shape: &[usize],
    factor: &[f64],
) -> Result<Secret, Fault> {
    let out = broadcast_shape(&x.shape, shape)?;
    elements(&out)?;
    let (from, by) = (broadcast_source(&out, &x.shape), broadcast_source(&out, shape));
    cx.matrix(x, out, 1, None, |r, row| row.push((column(from[r]), factor[by[r]])))
}

/// `a·b` of two encrypted tensors, broadcast, with activations that exporters write as a product
/// recognised.
pub(super) fn product(cx: &mut NodeCx<'_>, a: &Secret, b: &Secret) -> Result<Secret, Fault> {
    if let Some((x, function, factor)) = patterns::activation(cx.graph, a.id, b.id) {
        let x = Secret { id: x, shape: a.shape.clone() };
        let y = cx.function(&x, function);
        return Ok(cx.scaled(y, factor));
    }
    let shape = broadcast_shape(&a.shape, &b.shape)?;
    let (a, b) = (expand(cx, a, &shape)?, expand(cx, b, &shape)?);
    Ok(cx.product(&a, &b))
}

/// The tensor spread to `shape`; nothing is emitted where it has that shape.
pub(super) fn expand(cx: &mut NodeCx<'_>, x: &Secret, shape: &[usize]) -> Result<Secret, Fault> {
    if x.shape == shape {
        return Ok(x.clone());
    }
    elements(shape)?;
    let source = broadcast_source(shape, &x.shape);
    cx.matrix(x, shape.to_vec(), 1, None, |r, row| row.push((column(source[r]), 1.0)))
}

/// The largest exponent that is multiplied out.
const MAX_POWER: i64 = 256;

/// The largest exponent where several are given: the powers of all elements are of one size.
const LARGEST_OF_SEVERAL: u8 = 8;

/// `Pow`: whole exponents by repeated squaring, others as a function.
pub(super) fn pow(cx: &mut NodeCx<'_>) -> Emitted {
    if let (Operand::Constant(a), Operand::Constant(b)) = (cx.operand(0)?, cx.operand(1)?) {
        return known(fold::arithmetic(a, b, fold::Arithmetic::Pow)?);
    }
    if matches!(cx.operand(0)?, Operand::Constant(_)) {
        return exponential(cx);
    }
    let x = cx.secret(0)?;
    let (e_shape, exponents) = cx.weights(1)?;
    let out = broadcast_shape(&x.shape, &e_shape)?;
    let Some(exponent) = uniform(&exponents) else {
        return several_powers(cx, &x, &e_shape, &exponents, out);
    };
    let x = expand(cx, &x, &out)?;
    if exponent.fract() != 0.0 {
        let function = if exponent == 0.5 { Function::Sqrt } else { Function::Pow { exponent } };
        return one(cx.function(&x, function));
    }
    if exponent.abs() > MAX_POWER as f64 {
        let message = format!("exponent {exponent}, whole exponents are at most {MAX_POWER}");
        let help = format!("split the power: two Pow nodes with exponents of at most {MAX_POWER}");
        return Err(fault_help(Code::UnsupportedMode, message, &help));
    }
    if exponent == 0.0 {
        let count = elements(&out)?;
        return known(Array { shape: out, data: Data::Float(vec![1.0; count]) });
    }
    let y = power(cx, &x, exponent.abs() as u32);
    one(if exponent < 0.0 { reciprocal_of(cx, &y) } else { y })
}

/// Whole exponents that differ between elements: a sum of powers, each where it is wanted.
fn several_powers(
    cx: &mut NodeCx<'_>,
    x: &Secret,
    e_shape: &[usize],
    exponents: &[f64],
    out: Vec<usize>,
) -> Emitted {
    let whole = |e: &f64| e.fract() == 0.0 && (0.0..=f64::from(LARGEST_OF_SEVERAL)).contains(e);
    let x = expand(cx, x, &out)?;
    if !exponents.iter().all(whole) {
        // x^e = exp(e·ln x) of positive data.
        let logarithm = cx.function(&x, Function::Log);
        let scaled = times_constant(cx, &logarithm, e_shape, exponents)?;
        return one(cx.function(&scaled, Function::Exp));
    }
    let count = elements(&out)?;
    let source = broadcast_source(&out, e_shape);
    let wanted = |r: usize| exponents[source[r]] as u32;
    let mut found: Vec<u32> = exponents.iter().map(|&e| e as u32).collect();
    found.sort_unstable();
    found.dedup();
    let mut terms = Vec::new();
    for &n in found.iter().filter(|&&n| n > 0) {
        let y = power(cx, &x, n);
        terms.push((y.id, SparseMatrix::gather(count, count, |r| (wanted(r) == n).then_some(r))));
    }
    let ones = (0..count).map(|r| if wanted(r) == 0 { 1.0 } else { 0.0 }).collect();
    one(cx.affine(terms, Some(ones), out))
}

/// `x^n` for `n ≥ 1` with the fewest levels: `x^(n/2)·x^(n - n/2)`.
fn power(cx: &mut NodeCx<'_>, x: &Secret, n: u32) -> Secret {
    fn step(cx: &mut NodeCx<'_>, n: u32, known: &mut Vec<(u32, Secret)>) -> Secret {
        if let Some((_, y)) = known.iter().find(|k| k.0 == n) {
            return y.clone();
        }
        // The larger part is a power of two, so that few different powers are needed.
        let large = 1 << (31 - (n - 1).leading_zeros());
        let (a, b) = (step(cx, large, known), step(cx, n - large, known));
        let y = cx.product(&a, &b);
        known.push((n, y.clone()));
        y
    }
    step(cx, n, &mut vec![(1, x.clone())])
}

/// `c^x = exp(x·ln c)` for a positive constant.
fn exponential(cx: &mut NodeCx<'_>) -> Emitted {
    let (x, (shape, base)) = (cx.secret(1)?, cx.weights(0)?);
    if base.iter().any(|&b| b <= 0.0) {
        return Err(fault_help(
            Code::UnsupportedMode,
            "the base of an encrypted exponent is not positive",
            "make the base a positive constant, or the exponent a constant",
        ));
    }
    let logs: Vec<f64> = base.iter().map(|b| b.ln()).collect();
    let scaled = times_constant(cx, &x, &shape, &logs)?;
    one(cx.function(&scaled, Function::Exp))
}

/// The one value of all elements, if there is one.
pub(super) fn uniform(values: &[f64]) -> Option<f64> {
    let (&first, rest) = values.split_first()?;
    rest.iter().all(|&v| v == first).then_some(first)
}

/// `Max` of any number of operands.
pub(super) fn max(cx: &mut NodeCx<'_>) -> Emitted {
    extremum(cx, 1.0)
}

/// `Min` of any number of operands.
pub(super) fn min(cx: &mut NodeCx<'_>) -> Emitted {
    extremum(cx, -1.0)
}

fn extremum(cx: &mut NodeCx<'_>, sign: f64) -> Emitted {
    let all = (0..cx.operands.len().max(1)).map(|i| cx.operand(i).cloned());
    let mut all = all.collect::<Result<Vec<_>, _>>()?;
    // Constants among themselves first, then pairs: the depth is logarithmic.
    all.sort_by_key(|o| !matches!(o, Operand::Constant(_)));
    while all.len() > 1 {
        let mut rest = all.into_iter();
        let mut winners = Vec::new();
        while let Some(a) = rest.next() {
            winners.push(match rest.next() {
                Some(b) => pair_extremum(cx, a, b, sign)?,
                None => a,
            });
        }
        all = winners;
    }
    Ok(all)
}

/// With a constant `max(x, c) = relu(x - c) + c`; of two encrypted tensors
/// `(a + b + |a - b|) / 2`. The minimum is the same with signs turned.
fn pair_extremum(cx: &mut NodeCx<'_>, a: Operand, b: Operand, sign: f64) -> Result<Operand, Fault> {
    let (x, c) = match (a, b) {
        (Operand::Constant(a), Operand::Constant(b)) => {
            let op = if sign > 0.0 { fold::Arithmetic::Max } else { fold::Arithmetic::Min };
            return Ok(Operand::Constant(Rc::new(fold::arithmetic(&a, &b, op)?)));
        }
        (x @ Operand::Secret(_), Operand::Constant(c))
        | (Operand::Constant(c), x @ Operand::Secret(_)) => (x, c),
        (a, b) => {
            let difference = sum(cx, &[Term::new(a.clone(), 1.0), Term::new(b.clone(), -1.0)])?;
            let Operand::Secret(difference) = difference else { return Ok(a) };
            let size = Operand::Secret(cx.function(&difference, Function::Abs));
            let terms = [Term::new(a, 0.5), Term::new(b, 0.5), Term::new(size, 0.5 * sign)];
            return sum(cx, &terms);
        }
    };
    let shifted =
        sum(cx, &[Term::new(x, sign), Term::new(Operand::Constant(Rc::clone(&c)), -sign)])?;
    let Operand::Secret(shifted) = shifted else { return Ok(shifted) };
    let rest = Operand::Secret(cx.function(&shifted, Function::Relu));
    sum(cx, &[Term::new(rest, sign), Term::new(Operand::Constant(c), 1.0)])
}

/// `Neg`.
pub(super) fn neg(cx: &mut NodeCx<'_>) -> Emitted {
    if let Operand::Constant(c) = cx.operand(0)? {
        return known(fold::unary(c, |v| -v, |v| v.checked_neg())?);
    }
    let x = cx.secret(0)?;
    one(cx.scaled(x, -1.0))
}
