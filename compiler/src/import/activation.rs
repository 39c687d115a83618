//! Univariate functions: activations, and elementary functions of analysis.

use heplan_ir::diagnostic::Code;
use heplan_ir::function::Function;

use super::array::{Array, Data, broadcast_shape, broadcast_source, elements};
use super::context::{Emitted, Fault, NodeCx, Operand, column, fault, known, one};
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
        Function::Log => super::softmax::logarithm(cx, &x)?,
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
        "Tan" => Function::Tan,
        "Sinh" => Function::Sinh,
        "Cosh" => Function::Cosh,
        "Asin" => Function::Asin,
        "Acos" => Function::Acos,
        "Asinh" => Function::Asinh,
        "Acosh" => Function::Acosh,
        "Atanh" => Function::Atanh,
        "Shrink" => Function::Shrink { bias: float("bias", 0.0)?, lambd: float("lambd", 0.5)? },
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
    if min > max {
        // ONNX: min(max(x, min), max).
        let shape = cx.shape(0)?;
        let count = elements(&shape)?;
        return known(Array { shape, data: Data::Float(vec![max; count]) });
    }
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
    let (mut shape, slope) = cx.weights(1)?;
    // Before opset 7 a list of slopes is one per channel, which is the second axis.
    if let ([channels], [_, own, rest @ ..]) = (shape.as_slice(), x.shape.as_slice())
        && cx.opset < 7
        && channels == own
    {
        shape = [vec![*own], vec![1; rest.len()]].concat();
    }
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
