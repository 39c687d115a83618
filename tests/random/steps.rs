//! The steps that graphs are made of: each picks operands that fit, adds its node, and says by the
//! second evaluator what comes of it.

mod places;
mod windows;

use crate::evaluate::{Tensor, broadcast, lines, matmul, reduce, tensor, zip};
use crate::generate::{Builder, Value};
use crate::onnx::Attribute;
use crate::steps::places as p;
use crate::steps::windows as w;

/// A step; `None` where it does not fit.
pub(crate) type Step = fn(&mut Builder) -> Option<()>;

/// All of them; what is there twice is drawn twice as often.
pub(crate) const ALL: &[Step] = &[
    gemm,
    matmul_constant,
    matmul_constant,
    matmul_both,
    with_constant,
    with_constant,
    pair,
    pair,
    square,
    powers,
    function,
    function,
    function,
    clip,
    steep_softmax,
    quotient,
    roots,
    reduction,
    reduction,
    norms,
    softmax,
    layer_norm,
    extremum,
    unary,
    p::concat,
    p::concat,
    p::slice,
    p::slice,
    p::transpose,
    p::reshape,
    p::flatten,
    p::axes_of_one,
    p::pad,
    p::gather,
    p::split,
    p::tile,
    p::expand,
    p::cumulative,
    p::blocks,
    p::mask,
    w::conv,
    w::conv,
    w::conv,
    w::conv_transpose,
    w::average_pool,
    w::average_pool,
    w::max_pool,
    w::global_pool,
    w::batch_norm,
    w::instance_norm,
    w::upsample,
];

/// The samples under a map.
pub(crate) fn map(x: &Value, f: impl Fn(&Tensor) -> Tensor) -> Vec<Tensor> {
    x.samples.iter().map(f).collect()
}

/// Some of the axes of a tensor, at least one, in order.
fn some_axes(b: &mut Builder, rank: usize) -> Vec<usize> {
    let mut axes: Vec<usize> = (0..rank).filter(|_| b.random.once_in(2)).collect();
    if axes.is_empty() {
        axes.push(b.random.below(rank));
    }
    axes
}

/// An axis as a model may name it, from either end.
pub(crate) fn named(b: &mut Builder, axis: usize, rank: usize) -> i64 {
    if b.random.once_in(3) { axis as i64 - rank as i64 } else { axis as i64 }
}

fn gemm(b: &mut Builder) -> Option<()> {
    let x = b.such(|v| v.shape().len() == 2)?;
    let (rows, inner) = (x.shape()[0], x.shape()[1]);
    let columns = b.random.from(1, 9);
    let (trans_a, trans_b) = (rows == inner && b.random.once_in(2), b.random.once_in(2));
    let given = if trans_b { [columns, inner] } else { [inner, columns] };
    let (weight, matrix) = b.weights(&given, 1.0);
    let (alpha, beta) = (b.random.number(0.5, 1.5), b.random.number(-1.0, 1.0));
    let bias_shape =
        b.random.pick(&[vec![], vec![columns], vec![1, columns], vec![rows, 1]]).clone();
    let (bias, shift) = b.weights(&bias_shape, 1.0);
    let turned = |m: &Tensor, is: bool| if is { m.t().into_owned() } else { m.clone() };
    let matrix = turned(&matrix, trans_b) * alpha;
    let result = |s: &Tensor| {
        let product = matmul(&turned(s, trans_a), &matrix)?;
        zip(&product, &shift, |y, c| y + beta * c)
    };
    let samples = x.samples.iter().map(result).collect::<Option<_>>()?;
    let attributes = [
        ("transA", Attribute::Int(trans_a.into())),
        ("transB", Attribute::Int(trans_b.into())),
        ("alpha", Attribute::Float(alpha as f32)),
        ("beta", Attribute::Float(beta as f32)),
    ];
    b.node("Gemm", &[&x.name, &weight, &bias], &attributes, samples, x.depth + 1)
}

fn matmul_constant(b: &mut Builder) -> Option<()> {
    let x = b.such(|v| v.shape().len() >= 2)?;
    let rank = x.shape().len();
    let other = b.random.from(1, 8);
    let left = b.random.once_in(3);
    let inner = x.shape()[if left { rank - 2 } else { rank - 1 }];
    let mut shape = if left { vec![other, inner] } else { vec![inner, other] };
    if rank > 2 && b.random.once_in(3) {
        shape.insert(0, x.shape()[rank - 3]);
    }
    let (weight, matrix) = b.weights(&shape, 1.0);
    let result = |s: &Tensor| if left { matmul(&matrix, s) } else { matmul(s, &matrix) };
    let samples = x.samples.iter().map(result).collect::<Option<_>>()?;
    let inputs: [&str; 2] = if left { [&weight, &x.name] } else { [&x.name, &weight] };
    b.node("MatMul", &inputs, &[], samples, x.depth + 1)
}

fn matmul_both(b: &mut Builder) -> Option<()> {
    let x = b.such(|v| v.shape().len() >= 2)?;
    let inner = *x.shape().last()?;
    let y = b.such(|v| v.shape().len() >= 2 && v.shape()[v.shape().len() - 2] == inner)?;
    let both = x.samples.iter().zip(&y.samples);
    let samples = both.map(|(s, t)| matmul(s, t)).collect::<Option<_>>()?;
    b.node("MatMul", &[&x.name, &y.name], &[], samples, x.depth.max(y.depth) + 3)
}

/// An element-wise operator with numbers of a shape that broadcasts.
fn with_constant(b: &mut Builder) -> Option<()> {
    let x = b.any();
    let mut shape: Vec<usize> = x.shape().to_vec();
    for d in &mut shape {
        if b.random.once_in(2) {
            *d = 1;
        }
    }
    shape.drain(..b.random.below(shape.len() + 1));
    let op = *b.random.pick(&["Add", "Sub", "Mul", "Div"]);
    let turned = op != "Div" && b.random.once_in(2);
    let mut value = tensor(&shape, |_| b.random.number(-1.5, 1.5));
    if op == "Div" {
        value.mapv_inplace(|v| f64::from((if v < 0.0 { v - 0.5 } else { v + 0.5 }) as f32));
    }
    let name = b.constant(&value);
    let f = arithmetic(op);
    let result = |s: &Tensor| {
        if turned { zip(&value, s, f) } else { zip(s, &value, f) }
    };
    let samples = x.samples.iter().map(result).collect::<Option<_>>()?;
    let inputs: [&str; 2] = if turned { [&name, &x.name] } else { [&x.name, &name] };
    b.node(op, &inputs, &[], samples, x.depth + 1)
}

fn arithmetic(op: &str) -> fn(f64, f64) -> f64 {
    match op {
        "Add" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Max" => f64::max,
        "Min" => f64::min,
        _ => |a, b| a / b,
    }
}

/// Two values, broadcast against each other: residual connections, gates.
fn pair(b: &mut Builder) -> Option<()> {
    let x = b.any();
    let fits = |v: &Value| broadcast(x.shape(), v.shape()).is_some();
    let y = b.such(|v| fits(v) && v.name != x.name)?;
    let op = *b.random.pick(&["Add", "Sub", "Mul"]);
    let operands = if b.random.once_in(2) { (&x, &y) } else { (&y, &x) };
    b.pair(op, operands, arithmetic(op), 1)
}

fn extremum(b: &mut Builder) -> Option<()> {
    let x = b.any();
    let y = b.such(|v| v.shape() == x.shape() && v.name != x.name)?;
    let op = *b.random.pick(&["Max", "Min"]);
    b.pair(op, (&x, &y), arithmetic(op), 5)
}

fn square(b: &mut Builder) -> Option<()> {
    let x = b.any();
    b.pair("Mul", (&x, &x), |a, b| a * b, 1)
}

fn powers(b: &mut Builder) -> Option<()> {
    let x = b.any();
    let exponent = b.random.from(2, 4);
    let name = b.constant(&Tensor::from_elem(ndarray::IxDyn(&[]), exponent as f64));
    let samples = map(&x, |s| s.mapv(|v| v.powi(exponent as i32)));
    b.node("Pow", &[&x.name, &name], &[], samples, x.depth + 2)
}

fn unary(b: &mut Builder) -> Option<()> {
    let x = b.any();
    match b.random.below(2) {
        0 => b.node("Neg", &[&x.name], &[], map(&x, |s| -s), x.depth + 1),
        _ => b.node("Identity", &[&x.name], &[], x.samples.clone(), x.depth),
    }
}

fn function(b: &mut Builder) -> Option<()> {
    let x = b.any();
    let alpha = b.random.number(0.1, 1.2);
    let number = |name| vec![(name, Attribute::Float(alpha as f32))];
    let none = Vec::new();
    type Scalar = Box<dyn Fn(f64) -> f64>;
    let (op, attributes, f): (&str, _, Scalar) = match b.random.below(13) {
        0 => ("Relu", none, Box::new(|v| v.max(0.0))),
        1 => ("Sigmoid", none, Box::new(|v| 1.0 / (1.0 + (-v).exp()))),
        2 => ("Tanh", none, Box::new(f64::tanh)),
        3 => ("LeakyRelu", number("alpha"), Box::new(move |v| if v < 0.0 { alpha * v } else { v })),
        4 => (
            "Elu",
            number("alpha"),
            Box::new(move |v| if v < 0.0 { alpha * v.exp_m1() } else { v }),
        ),
        5 => ("Softplus", none, Box::new(|v| v.exp().ln_1p())),
        6 => ("Exp", none, Box::new(f64::exp)),
        7 => ("Abs", none, Box::new(f64::abs)),
        8 => ("Sin", none, Box::new(f64::sin)),
        9 => ("Cos", none, Box::new(f64::cos)),
        10 => ("Atan", none, Box::new(f64::atan)),
        11 => ("Softsign", none, Box::new(|v| v / (1.0 + v.abs()))),
        _ => ("HardSwish", none, Box::new(|v| v * (v / 6.0 + 0.5).clamp(0.0, 1.0))),
    };
    b.node(op, &[&x.name], &attributes, map(&x, |s| s.mapv(&f)), x.depth + 4)
}

fn clip(b: &mut Builder) -> Option<()> {
    let x = b.any();
    let (low, high) = (b.random.number(-1.0, 0.0), b.random.number(0.2, 1.0));
    let scalar = |v: f64| Tensor::from_elem(ndarray::IxDyn(&[]), v);
    let (least, most) = (b.constant(&scalar(low)), b.constant(&scalar(high)));
    let samples = map(&x, |s| s.mapv(|v| v.clamp(low, high)));
    b.node("Clip", &[&x.name, &least, &most], &[], samples, x.depth + 4)
}

/// `x² + c`, which has reciprocals, roots and logarithms.
fn positive(b: &mut Builder) -> Option<Value> {
    square(b)?;
    let x = b.values.last()?.clone();
    let c = b.random.number(0.5, 1.5);
    let name = b.constant(&Tensor::from_elem(ndarray::IxDyn(&[1]), c));
    b.node("Add", &[&x.name, &name], &[], map(&x, |s| s + c), x.depth + 1)?;
    b.values.last().cloned()
}

fn quotient(b: &mut Builder) -> Option<()> {
    let divisor = positive(b)?;
    let fits = |v: &Value| broadcast(v.shape(), divisor.shape()).is_some();
    let x = b.such(fits)?;
    b.pair("Div", (&x, &divisor), |a, b| a / b, 5)
}

fn roots(b: &mut Builder) -> Option<()> {
    let x = positive(b)?;
    let (op, f): (_, fn(f64) -> f64) = match b.random.below(3) {
        0 => ("Sqrt", f64::sqrt),
        1 => ("Log", f64::ln),
        _ => ("Reciprocal", f64::recip),
    };
    b.node(op, &[&x.name], &[], map(&x, |s| s.mapv(f)), x.depth + 4)
}

fn reduction(b: &mut Builder) -> Option<()> {
    let x = b.such(|v| !v.shape().is_empty())?;
    let rank = x.shape().len();
    let axes = some_axes(b, rank);
    let keep = b.random.once_in(2);
    let names: Vec<i64> = axes.iter().map(|&a| named(b, a, rank)).collect();
    type Fold = fn(&[f64]) -> f64;
    let (op, fold, cost): (&str, Fold, u32) = match b.random.below(4) {
        0 => ("ReduceSum", |v| v.iter().sum(), 1),
        1 | 2 => ("ReduceMean", |v| v.iter().sum::<f64>() / v.len() as f64, 1),
        _ => ("ReduceSumSquare", |v| v.iter().map(|x| x * x).sum(), 2),
    };
    let samples = map(&x, |s| reduce(s, &axes, keep, fold));
    let keep = ("keepdims", Attribute::Int(keep.into()));
    // Only the sum takes its axes as an input at opset 17.
    if op == "ReduceSum" {
        let axes = b.integers(&names);
        return b.node(op, &[&x.name, &axes], &[keep], samples, x.depth + cost);
    }
    let attributes = [keep, ("axes", Attribute::Ints(names))];
    b.node(op, &[&x.name], &attributes, samples, x.depth + cost)
}

fn norms(b: &mut Builder) -> Option<()> {
    let x = b.such(|v| v.shape().len() >= 2)?;
    let rank = x.shape().len();
    let axes = some_axes(b, rank);
    type Fold = fn(&[f64]) -> f64;
    let (op, fold): (&str, Fold) = match b.random.below(2) {
        0 => ("ReduceL1", |v| v.iter().map(|x| x.abs()).sum()),
        _ => ("ReduceLogSumExp", |v| v.iter().map(|x| x.exp()).sum::<f64>().ln()),
    };
    let samples = map(&x, |s| reduce(s, &axes, true, fold));
    let axes = axes.iter().map(|&a| a as i64).collect();
    b.node(op, &[&x.name], &[("axes", Attribute::Ints(axes))], samples, x.depth + 9)
}

fn softmax(b: &mut Builder) -> Option<()> {
    let x = b.such(|v| !v.shape().is_empty())?;
    let rank = x.shape().len();
    let axis = b.random.below(rank);
    let log = b.random.once_in(3);
    let line = |v: &[f64]| -> Vec<f64> {
        let sum: f64 = v.iter().map(|x| x.exp()).sum();
        v.iter().map(|x| if log { x - sum.ln() } else { x.exp() / sum }).collect()
    };
    let samples = map(&x, |s| lines(s, &[axis], line));
    let attributes = [("axis", Attribute::Int(named(b, axis, rank)))];
    let op = if log { "LogSoftmax" } else { "Softmax" };
    b.node(op, &[&x.name], &attributes, samples, x.depth + 9)
}

/// `Softmax` of widely spread scores.
fn steep_softmax(b: &mut Builder) -> Option<()> {
    let x = b.such(|v| v.depth <= 1 && v.shape().last().is_some_and(|&n| n > 1))?;
    let x = b.steep(&x)?;
    let share = |v: &[f64]| -> Vec<f64> {
        let sum: f64 = v.iter().map(|x| x.exp()).sum();
        v.iter().map(|x| x.exp() / sum).collect()
    };
    let last = x.shape().len() - 1;
    let samples = map(&x, |s| lines(s, &[last], share));
    b.node("Softmax", &[&x.name], &[], samples, x.depth + 13)
}

fn layer_norm(b: &mut Builder) -> Option<()> {
    let x = b.such(|v| v.shape().len() >= 2)?;
    let rank = x.shape().len();
    let first = b.random.from(1, rank - 1);
    let over = &x.shape()[first..];
    let (scale, factor) = b.weights(over, 1.0);
    let (bias, shift) = b.weights(over, 1.0);
    // Large enough that the inverse root is no cliff.
    let epsilon = b.random.number(0.3, 1.0);
    let axes: Vec<usize> = (first..rank).collect();
    let line = |v: &[f64]| -> Vec<f64> {
        let mean = v.iter().sum::<f64>() / v.len() as f64;
        let variance = v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / v.len() as f64;
        let scaled = v.iter().zip(factor.iter().zip(shift.iter()));
        scaled.map(|(x, (f, s))| (x - mean) / (variance + epsilon).sqrt() * f + s).collect()
    };
    let samples = map(&x, |s| lines(s, &axes, line));
    let attributes = [
        ("axis", Attribute::Int(named(b, first, rank))),
        ("epsilon", Attribute::Float(epsilon as f32)),
    ];
    b.node("LayerNormalization", &[&x.name, &scale, &bias], &attributes, samples, x.depth + 8)
}
