//! Comparisons and `Where`: encrypted data is not compared, but a comparison with a constant whose
//! two sides meet at that constant is a function without a jump, and exporters write many
//! activations so.

use heplan_ir::diagnostic::Code;
use heplan_ir::function::Function;
use heplan_ir::matrix::SparseMatrix;

use super::array::{Data, broadcast_shape, broadcast_source, elements};
use super::context::{Emitted, Fault, NodeCx, Operand, Secret, fault, fault_help, known, one};
use super::elementwise::uniform;
use super::patterns::{self, Line};

/// Constants in a model are often single precision.
const TOLERANCE: f64 = 1e-5;

/// `Greater`, `GreaterOrEqual`, `Less`, `LessOrEqual`: constants are compared; encrypted data and
/// one constant bound make a comparison that only a `Where` can take.
pub(super) fn compare(cx: &mut NodeCx<'_>) -> Emitted {
    let op = cx.node.op_type.clone();
    let or_equal = op.ends_with("OrEqual");
    let greater = op.starts_with("Greater");
    if let (Operand::Constant(a), Operand::Constant(b)) = (cx.operand(0)?, cx.operand(1)?) {
        let strict = |o: std::cmp::Ordering| if greater { o.is_gt() } else { o.is_lt() };
        return known(super::fold::compare(a, b, |o| strict(o) || or_equal && o.is_eq())?);
    }
    let (a, b) = (cx.operand(0)?.clone(), cx.operand(1)?.clone());
    let ending = if cx.ends {
        let (low, high) = if greater { (&b, &a) } else { (&a, &b) };
        Some(Box::new(super::tail::compared(cx, high, low, or_equal)?))
    } else {
        None
    };
    // The bound may stand on either side.
    let (tensor, bound, turned) = match (a, b) {
        (Operand::Secret(x), Operand::Constant(c)) => (x, uniform(&c.floats()), false),
        (Operand::Constant(c), Operand::Secret(x)) => (x, uniform(&c.floats()), true),
        (Operand::Secret(x), _) => (x, None, false),
        _ => return Err(refused()),
    };
    match (bound.filter(|b| b.is_finite()), ending) {
        (Some(bound), ending) => {
            Ok(vec![Operand::Above { tensor, bound, above: greater != turned, ending }])
        }
        (None, Some(ending)) => Ok(vec![Operand::Ending(ending)]),
        (None, None) => Err(refused()),
    }
}

fn refused() -> Fault {
    fault_help(
        Code::UnsupportedMode,
        "encrypted data is compared",
        "compare with one number, in the condition of a Where whose sides meet there, or at the end of the graph",
    )
}

/// `Where`: with a constant condition a selection, with a comparison a function if there is one.
pub(super) fn select(cx: &mut NodeCx<'_>) -> Emitted {
    if let Operand::Above { tensor, bound, above, .. } = cx.operand(0)? {
        let (tensor, bound, above) = (tensor.clone(), *bound, *above);
        let (mut high, mut low) = (cx.operand(1)?.clone(), cx.operand(2)?.clone());
        if !above {
            std::mem::swap(&mut high, &mut low);
        }
        return pieces(cx, &tensor, bound, &high, &low)?.map_or_else(
            || {
                Err(fault_help(
                    Code::UnsupportedMode,
                    "the choice depends on encrypted data",
                    "replace it by an activation such as Relu or Clip",
                ))
            },
            one,
        );
    }
    by_constant(cx)
}

/// `high` where `t > bound`, `low` where it is below, if that is a function that is known.
fn pieces(
    cx: &mut NodeCx<'_>,
    t: &Secret,
    bound: f64,
    high: &Operand,
    low: &Operand,
) -> Result<Option<Secret>, Fault> {
    if let (Operand::Secret(high), Operand::Secret(low)) = (high, low) {
        if patterns::is_guarded_softplus(cx.graph, t.id, bound, high.id, low.id) {
            return Ok(Some(low.clone()));
        }
        if bound == 0.0
            && high.shape == t.shape
            && low.shape == t.shape
            && let Some(function) = patterns::exponential_linear(cx.graph, t.id, high.id, low.id)
        {
            return Ok(Some(cx.function(t, function)));
        }
    }
    let (Some(high), Some(low)) = (line(cx, t, high)?, line(cx, t, low)?) else { return Ok(None) };
    let meets = |r: usize| {
        let (h, l) = (high.at(r, bound), low.at(r, bound));
        (h - l).abs() <= TOLERANCE * h.abs().max(l.abs()).max(bound.abs())
    };
    let count = elements(&t.shape)?;
    if !(0..count).all(meets) {
        let keeps =
            |l: &Line| l.scale.iter().all(|&s| s == 1.0) && l.shift.iter().all(|&s| s == 0.0);
        let drops = |l: &Line| l.scale.iter().chain(&l.shift).all(|&s| s == 0.0);
        return Ok((keeps(&high) && drops(&low))
            .then(|| cx.function(t, Function::ThresholdedRelu { alpha: bound })));
    }
    let shift = Some(vec![-bound; count]);
    let identity = SparseMatrix::identity(count);
    let beyond = cx.affine(vec![(t.id, identity)], shift, t.shape.clone());
    let positive = cx.function(&beyond, Function::Relu);
    let steps: Vec<f64> = high.scale.iter().zip(&low.scale).map(|(h, l)| h - l).collect();
    let terms = vec![
        (t.id, SparseMatrix::diagonal(&low.scale)),
        (positive.id, SparseMatrix::diagonal(&steps)),
    ];
    Ok(Some(cx.affine(terms, Some(low.shift), t.shape.clone())))
}

/// How an operand comes from `t`, element by element: `scale·t + shift`.
fn line(cx: &NodeCx<'_>, t: &Secret, operand: &Operand) -> Result<Option<Line>, Fault> {
    let count = elements(&t.shape)?;
    Ok(match operand {
        Operand::Secret(x) if x.shape == t.shape => patterns::line(cx.graph, x.id, t.id),
        Operand::Constant(c) => {
            if broadcast_shape(&t.shape, &c.shape)? != t.shape {
                return Ok(None);
            }
            let values = c.floats();
            cx.finite(&values, "a side of the choice", None)?;
            let source = broadcast_source(&t.shape, &c.shape);
            let shift = source.into_iter().map(|s| values[s]).collect();
            Some(Line { scale: vec![0.0; count], shift })
        }
        _ => None,
    })
}

/// `Where` with a condition that is known while compiling.
fn by_constant(cx: &mut NodeCx<'_>) -> Emitted {
    let condition = cx.constant(0)?;
    let Data::Bool(chosen) = &condition.data else {
        return Err(fault(Code::BadNode, format!("condition is {}", condition.data.kind())));
    };
    if let (Operand::Constant(a), Operand::Constant(b)) = (cx.operand(1)?, cx.operand(2)?) {
        return known(super::fold::select(&condition.shape, chosen, a, b)?);
    }
    let shape = broadcast_shape(&broadcast_shape(&condition.shape, &cx.shape(1)?)?, &cx.shape(2)?)?;
    let count = elements(&shape)?;
    let mask = broadcast_source(&shape, &condition.shape);
    let mut bias = vec![0.0; count];
    let mut terms = Vec::new();
    for (operand, wanted) in [(1, true), (2, false)] {
        let source = broadcast_source(&shape, &cx.shape(operand)?);
        let here = |r: usize| chosen[mask[r]] == wanted;
        match cx.operand(operand)? {
            Operand::Secret(Secret { id, shape: own }) => {
                let matrix =
                    SparseMatrix::gather(count, elements(own)?, |r| here(r).then(|| source[r]));
                terms.push((*id, matrix));
            }
            _ => {
                // Only what is chosen counts.
                let values = cx.constant(operand)?.floats();
                (0..count).filter(|&r| here(r)).for_each(|r| bias[r] = values[source[r]]);
            }
        }
    }
    // Minus infinity is a mask, which only a softmax can take; the driver sees to it.
    let finite: Vec<f64> = bias.iter().copied().filter(|&v| v != f64::NEG_INFINITY).collect();
    cx.finite(&finite, "the chosen constant", None)?;
    one(cx.affine(terms, Some(bias), shape))
}
