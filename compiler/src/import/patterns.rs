//! Activations that exporters write as several operators, recognised while the product that ends
//! them is imported.
//!
//! Matching is on the imported graph, where any order of operands and any chain of scalings and
//! shifts between them looks the same: a value is `scale·ancestor + shift` for each ancestor that
//! only such steps lead to. What was matched stays in the graph and is swept away at the end where
//! nothing else reads it.

use heplan_ir::entity::ValueId;
use heplan_ir::function::Function;
use heplan_ir::tensor::{Graph, Op};

/// Constants in a model are often single precision.
const TOLERANCE: f64 = 1e-6;

/// Longest chain of scalings that is followed.
const MAX_CHAIN: usize = 8;

/// `value = scale·id + shift`, element by element.
#[derive(Clone, Copy)]
struct Link {
    id: ValueId,
    scale: f64,
    shift: f64,
}

/// The function and its operand that `a·b` stands for, with a factor: `a·b = factor·f(x)`.
pub(super) fn activation(
    graph: &Graph,
    a: ValueId,
    b: ValueId,
) -> Option<(ValueId, Function, f64)> {
    one_order(graph, a, b).or_else(|| one_order(graph, b, a))
}

/// The operand of `id` if `id` is this function.
pub(super) fn operand_of(graph: &Graph, id: ValueId, wanted: &Function) -> Option<ValueId> {
    match &graph.value(id).op {
        Op::Function { x, function } if function == wanted => Some(*x),
        _ => None,
    }
}

/// Whether `Where(tensor > bound, yes, no)` is `no = softplus(s·x)/s` with `yes = x`, which far
/// above zero is the same.
pub(super) fn is_guarded_softplus(
    graph: &Graph,
    tensor: ValueId,
    bound: f64,
    yes: ValueId,
    no: ValueId,
) -> bool {
    let Some((link, Function::Softplus, x)) = function_in(graph, no) else { return false };
    let Some(inner) = link_to(graph, x, yes) else { return false };
    let Some(compared) = link_to(graph, tensor, yes) else { return false };
    let linear = |l: Link| l.shift == 0.0 && l.scale > 0.0;
    // At an argument of 10 softplus differs from its argument by less than 5e-5.
    let argument = bound / compared.scale * inner.scale;
    linear(inner)
        && linear(compared)
        && link.shift == 0.0
        && near(link.scale * inner.scale, 1.0)
        && argument >= 10.0
}

/// `scale·x + shift`, element by element.
pub(super) struct Line {
    pub(super) scale: Vec<f64>,
    pub(super) shift: Vec<f64>,
}

impl Line {
    /// The value of element `r` where `x` is this.
    pub(super) fn at(&self, r: usize, x: f64) -> f64 {
        self.scale[r] * x + self.shift[r]
    }
}

/// How `id` comes from `base` if only element-wise scalings and shifts lie between, be they
/// different for every element.
pub(super) fn line(graph: &Graph, id: ValueId, base: ValueId) -> Option<Line> {
    let count = graph.value(base).elements();
    let mut line = Line { scale: vec![1.0; count], shift: vec![0.0; count] };
    let mut at = id;
    for _ in 0..MAX_CHAIN {
        if at == base {
            return Some(line);
        }
        let Op::Affine { terms, bias } = &graph.value(at).op else { return None };
        let [(x, matrix)] = terms.as_slice() else { return None };
        let matrix = graph.consts.matrix(*matrix);
        if (matrix.rows, matrix.cols) != (count, count) || matrix.entries().any(|(r, c, _)| r != c)
        {
            return None;
        }
        if let Some(bias) = bias {
            let bias = graph.consts.vector(*bias);
            line.shift
                .iter_mut()
                .zip(&line.scale)
                .zip(bias.iter())
                .for_each(|((t, s), b)| *t += s * b);
        }
        let mut diagonal = vec![0.0; count];
        matrix.entries().for_each(|(r, _, v)| diagonal[r] = v);
        line.scale.iter_mut().zip(diagonal).for_each(|(s, d)| *s *= d);
        at = *x;
    }
    None
}

/// `high` above zero and `low` below, if that is `γ·x` and `γ·α·(exp(x) - 1)` or their kin.
pub(super) fn exponential_linear(
    graph: &Graph,
    x: ValueId,
    high: ValueId,
    low: ValueId,
) -> Option<Function> {
    let linear = link_to(graph, high, x).filter(|l| l.shift == 0.0 && l.scale > 0.0)?;
    let (outer, Function::Exp, argument) = function_in(graph, low)? else { return None };
    let inner = link_to(graph, argument, x).filter(|l| l.shift == 0.0)?;
    if !near(outer.shift, -outer.scale) {
        return None;
    }
    let (gamma, alpha) = (linear.scale, outer.scale / linear.scale);
    if inner.scale == 1.0 {
        return Some(if gamma == 1.0 {
            Function::Elu { alpha }
        } else {
            Function::Selu { alpha, gamma }
        });
    }
    (gamma == 1.0 && near(inner.scale * alpha, 1.0)).then_some(Function::Celu { alpha })
}

/// `a = s·x`, and `b` is made of a function of the same `x`.
fn one_order(graph: &Graph, a: ValueId, b: ValueId) -> Option<(ValueId, Function, f64)> {
    if graph.value(a).shape != graph.value(b).shape {
        return None;
    }
    let (outer, function, argument) = function_in(graph, b)?;
    let factors = chain(graph, a);
    let linear = |l: &&Link| l.shift == 0.0;
    for factor in factors.iter().filter(linear) {
        let x = factor.id;
        let scale = factor.scale * outer.scale;
        let centred = outer.shift == 0.0;
        let raised = near(outer.shift, outer.scale);
        let inner = link_to(graph, argument, x);
        let found = match (&function, inner) {
            (Function::Sigmoid, Some(l)) if centred && l.shift == 0.0 => {
                Some((Function::Swish { alpha: snap(l.scale, 1.0) }, 1.0))
            }
            (Function::HardSigmoid { alpha, beta }, Some(l))
                if centred && is_identity(l) && near(*alpha, 1.0 / 6.0) && *beta == 0.5 =>
            {
                Some((Function::HardSwish, 1.0))
            }
            (Function::Clip { min, max }, Some(l))
                if centred && l.scale == 1.0 && l.shift == 3.0 && *min == 0.0 && *max == 6.0 =>
            {
                Some((Function::HardSwish, 6.0))
            }
            (Function::Erf, Some(l))
                if raised && l.shift == 0.0 && near(l.scale, std::f64::consts::FRAC_1_SQRT_2) =>
            {
                Some((Function::Gelu { tanh: false }, 2.0))
            }
            (Function::Tanh, _) if centred => operand_of(graph, argument, &Function::Softplus)
                .filter(|&inside| inside == x)
                .map(|_| (Function::Mish, 1.0)),
            (Function::Tanh, _) if raised && is_gelu_cubic(graph, argument, x) => {
                Some((Function::Gelu { tanh: true }, 2.0))
            }
            _ => None,
        };
        if let Some((function, own)) = found {
            return Some((x, function, snap(scale * own, 1.0)));
        }
    }
    None
}

/// `√(2/π)·(x + 0.044715·x³)`, the argument of the tanh form of GELU.
fn is_gelu_cubic(graph: &Graph, argument: ValueId, x: ValueId) -> bool {
    let wanted = (2.0 / std::f64::consts::PI).sqrt();
    chain(graph, argument).iter().any(|link| {
        let Op::Affine { terms, bias: None } = &graph.value(link.id).op else { return false };
        let mut linear = 0.0;
        let mut cubic = 0.0;
        for (id, matrix) in terms {
            let Some(scale) = scalar(graph.consts.matrix(*matrix)) else { return false };
            let scale = scale * link.scale;
            if *id == x {
                linear += scale;
            } else if let Some(own) = cube(graph, *id, x) {
                cubic += scale * own;
            } else {
                return false;
            }
        }
        link.shift == 0.0 && near(linear, wanted) && near(cubic, wanted * 0.044_715)
    })
}

/// The factor `s` for which `id` is `s·x³`.
fn cube(graph: &Graph, id: ValueId, x: ValueId) -> Option<f64> {
    let Op::Product { a, b } = graph.value(id).op else {
        let link = *chain(graph, id).get(1)?;
        return (link.shift == 0.0).then(|| cube(graph, link.id, x).map(|s| s * link.scale))?;
    };
    let is_square = |v: ValueId| graph.value(v).op == Op::Product { a: x, b: x };
    (a == x && is_square(b) || b == x && is_square(a)).then_some(1.0)
}

/// The nearest function among the ancestors of `id`, how `id` comes from it, and its operand.
fn function_in(graph: &Graph, id: ValueId) -> Option<(Link, Function, ValueId)> {
    chain(graph, id).into_iter().find_map(|link| match &graph.value(link.id).op {
        Op::Function { x, function } => Some((link, function.clone(), *x)),
        _ => None,
    })
}

/// How `id` comes from `ancestor`, if only scalings and shifts lie between.
fn link_to(graph: &Graph, id: ValueId, ancestor: ValueId) -> Option<Link> {
    chain(graph, id).into_iter().find(|link| link.id == ancestor)
}

/// `id` itself and every ancestor that only scalings and shifts lead to.
fn chain(graph: &Graph, id: ValueId) -> Vec<Link> {
    let mut links = vec![Link { id, scale: 1.0, shift: 0.0 }];
    let mut at = links[0];
    while links.len() < MAX_CHAIN {
        let value = graph.value(at.id);
        let Op::Affine { terms, bias } = &value.op else { break };
        let [(x, matrix)] = terms.as_slice() else { break };
        if graph.value(*x).shape != value.shape {
            break;
        }
        let Some(scale) = scalar(graph.consts.matrix(*matrix)) else { break };
        let shift = match bias {
            None => 0.0,
            Some(bias) => match super::elementwise::uniform(graph.consts.vector(*bias)) {
                Some(shift) => shift,
                None => break,
            },
        };
        at = Link { id: *x, scale: at.scale * scale, shift: at.shift + at.scale * shift };
        links.push(at);
    }
    links
}

/// The factor of a multiple of the identity.
fn scalar(matrix: &heplan_ir::matrix::SparseMatrix) -> Option<f64> {
    let first = *matrix.val.first()?;
    let square = matrix.rows == matrix.cols && matrix.nnz() == matrix.rows;
    let same = square && matrix.entries().all(|(r, c, v)| r == c && v == first);
    same.then_some(first)
}

fn near(value: f64, wanted: f64) -> bool {
    (value - wanted).abs() <= TOLERANCE * wanted.abs()
}

/// `wanted` where `value` is that up to single precision.
fn snap(value: f64, wanted: f64) -> f64 {
    if near(value, wanted) { wanted } else { value }
}

fn is_identity(link: Link) -> bool {
    link.scale == 1.0 && link.shift == 0.0
}
