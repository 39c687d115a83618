//! Univariate functions: activations, and elementary functions of analysis.

use heplan_ir::diagnostic::Code;
use heplan_ir::function::Function;

use super::array::{Array, Data, broadcast_shape, broadcast_source, elements};
use super::context::{
    Emitted, Fault, NodeCx, Operand, Secret, column, fault, fault_help, known, one,
};
use super::elementwise::{reciprocal_of, uniform};

/// Every operator that is a function of one operand and perhaps attributes.
pub(super) fn unary(cx: &mut NodeCx<'_>) -> Emitted {
    let function = function_of(cx)?;
    if let Operand::Constant(c) = cx.operand(0)? {
        if let (Function::Abs | Function::Sign, Data::Int(v)) = (&function, &c.data) {
            let sign = function == Function::Sign;
            let each = |v: &i64| if sign { v.signum() } else { v.saturating_abs() };
            return known(Array {
                shape: c.shape.clone(),
                data: Data::Int(v.iter().map(each).collect()),
            });
        }
        let values = c.floats().into_iter().map(|v| function.eval(v)).collect();
        return known(Array { shape: c.shape.clone(), data: Data::Float(values) });
    }
    let x = cx.secret(0)?;
    one(match function {
        Function::Reciprocal => reciprocal_of(cx, &x),
        function => cx.function(&x, function),
    })
}

/// The function that the node applies, with the defaults that ONNX gives its parameters.
fn function_of(cx: &NodeCx<'_>) -> Result<Function, Fault> {
    let float = |name, default| cx.attr_float(name, default);
    Ok(match cx.node.op_type.as_str() {
        "Relu" => Function::Relu,
        "LeakyRelu" => Function::LeakyRelu { alpha: float("alpha", 0.01)? },
        "ThresholdedRelu" => Function::ThresholdedRelu { alpha: float("alpha", 1.0)? },
        "Sigmoid" => Function::Sigmoid,
        "Tanh" => Function::Tanh,
        "Elu" => Function::Elu { alpha: float("alpha", 1.0)? },
        "Selu" => Function::Selu {
            alpha: float("alpha", 1.673_263_192_176_818_8)?,
            gamma: float("gamma", 1.050_701_022_148_132_3)?,
        },
        "Celu" => {
            let alpha = float("alpha", 1.0)?;
            if alpha == 0.0 {
                return Err(fault(Code::BadNode, "attribute \"alpha\" is 0"));
            }
            Function::Celu { alpha }
        }
        "Gelu" => match cx.attr_text("approximate", "none")?.as_str() {
            "none" => Function::Gelu { tanh: false },
            "tanh" => Function::Gelu { tanh: true },
            other => return Err(fault(Code::BadNode, format!("approximate is {other:?}"))),
        },
        "Swish" => Function::Swish { alpha: float("alpha", 1.0)? },
        "Mish" => Function::Mish,
        "Softplus" => Function::Softplus,
        "Softsign" => Function::Softsign,
        "HardSigmoid" => {
            Function::HardSigmoid { alpha: float("alpha", 0.2)?, beta: float("beta", 0.5)? }
        }
        "HardSwish" => Function::HardSwish,
        "Erf" => Function::Erf,
        "Exp" => Function::Exp,
        "Log" => Function::Log,
        "Sqrt" => Function::Sqrt,
        "Reciprocal" => Function::Reciprocal,
        "Abs" => Function::Abs,
        "Sign" => Function::Sign,
        "Sin" => Function::Sin,
        "Cos" => Function::Cos,
        "Atan" => Function::Atan,
        other => return Err(fault(Code::UnknownOperator, format!("{other} is no function here"))),
    })
}

/// `Clip`: bounds are attributes before opset 11 and operands since.
pub(super) fn clip(cx: &mut NodeCx<'_>) -> Emitted {
    let bound = |index: usize, name: &str, default: f64| -> Result<f64, Fault> {
        if cx.opset < 11 {
            let value = cx.node.attributes.float(name);
            let value = value.map_err(|e| fault(Code::BadNode, e.to_string()))?;
            return Ok(value.map_or(default, f64::from));
        }
        let Some(given) = cx.optional_constant(index)? else { return Ok(default) };
        match given.floats().as_slice() {
            [value] if !value.is_nan() => Ok(*value),
            values => {
                let message = format!("{name} has {} values, expected one number", values.len());
                Err(fault(Code::BadNode, message))
            }
        }
    };
    let min = bound(1, "min", f64::NEG_INFINITY)?;
    let max = bound(2, "max", f64::INFINITY)?;
    let clip = Function::Clip { min, max };
    if let Operand::Constant(c) = cx.operand(0)? {
        let data = match &c.data {
            Data::Int(v) => Data::Int(v.iter().map(|&v| clip.eval(v as f64) as i64).collect()),
            _ => Data::Float(c.floats().into_iter().map(|v| clip.eval(v)).collect()),
        };
        return known(Array { shape: c.shape.clone(), data });
    }
    let x = cx.secret(0)?;
    one(match (min, max) {
        (f64::NEG_INFINITY, f64::INFINITY) => x,
        (0.0, f64::INFINITY) => cx.function(&x, Function::Relu),
        _ => cx.function(&x, clip),
    })
}

/// `PRelu`: one slope is `LeakyRelu`; several are `slope·x + (1 - slope)·relu(x)`, which costs no
/// more and keeps one function for all elements.
pub(super) fn p_relu(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let (shape, slope) = cx.weights(1)?;
    if broadcast_shape(&x.shape, &shape)? != x.shape {
        let message = format!("slope of shape {shape:?} does not broadcast to {:?}", x.shape);
        return Err(fault(Code::ShapeMismatch, message));
    }
    if let Some(alpha) = uniform(&slope) {
        return one(cx.function(&x, Function::LeakyRelu { alpha }));
    }
    let source = broadcast_source(&x.shape, &shape);
    let positive = cx.function(&x, Function::Relu);
    let diagonal = |weight: &dyn Fn(f64) -> f64| {
        heplan_ir::matrix::SparseMatrix::from_rows(source.len(), source.len(), |r, row| {
            row.push((column(r), weight(slope[source[r]])));
        })
    };
    let terms = vec![(x.id, diagonal(&|s| s)), (positive.id, diagonal(&|s| 1.0 - s))];
    let y = cx.affine(terms, None, x.shape.clone());
    one(y)
}

/// `Greater` and `GreaterOrEqual` with one constant bound: encrypted data cannot be compared
/// cheaply, but exporters guard Softplus by such a comparison, which `Where` recognises.
pub(super) fn greater(cx: &mut NodeCx<'_>) -> Emitted {
    if let (Operand::Constant(a), Operand::Constant(b)) = (cx.operand(0)?, cx.operand(1)?) {
        let or_equal = cx.node.op_type.ends_with("OrEqual");
        return known(super::fold::compare(a, b, |o| o.is_gt() || or_equal && o.is_eq())?);
    }
    let comparison = || {
        fault_help(
            Code::UnsupportedMode,
            "encrypted data is compared",
            "replace the comparison by a smooth function, or compare after decryption",
        )
    };
    let Ok(tensor) = cx.secret(0) else { return Err(comparison()) };
    let Ok((_, bound)) = cx.weights(1) else { return Err(comparison()) };
    let bound = uniform(&bound).ok_or_else(comparison)?;
    Ok(vec![Operand::Above { tensor, bound }])
}

/// `Where`: with a constant condition a selection; with the guard that exporters put around
/// Softplus (`x` itself above a bound at which the two are equal) Softplus alone.
pub(super) fn select(cx: &mut NodeCx<'_>) -> Emitted {
    if let Operand::Above { tensor, bound } = cx.operand(0)? {
        let (tensor, bound) = (tensor.clone(), *bound);
        let (yes, no) = (cx.secret(1)?, cx.secret(2)?);
        if super::patterns::is_guarded_softplus(cx.graph, tensor.id, bound, yes.id, no.id) {
            return one(no);
        }
        return Err(fault_help(
            Code::UnsupportedMode,
            "the choice depends on encrypted data",
            "replace it by an activation such as Relu or Clip",
        ));
    }
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
                let matrix = heplan_ir::matrix::SparseMatrix::gather(count, elements(own)?, |r| {
                    here(r).then(|| source[r])
                });
                terms.push((*id, matrix));
            }
            _ => {
                // Minus infinity is how exporters write an attention mask; only what is chosen counts.
                let values = cx.constant(operand)?.floats();
                (0..count).filter(|&r| here(r)).for_each(|r| bias[r] = values[source[r]]);
            }
        }
    }
    cx.finite(&bias, "the chosen constant", None)?;
    one(cx.affine(terms, Some(bias), shape))
}
