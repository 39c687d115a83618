//! The inputs: their types, lengths for axes that the model leaves open, and the values of those
//! that are public.

use std::collections::BTreeMap;

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_onnx::{DataType, Dimension, Kind, Model, Node, ValueInfo, ValueKind};

use super::Public;
use super::array::{Array, Data, constant_elements, elements};
use super::context::{Fault, fault, fault_help};

/// Operators that turn integers into floats, or compute on them as on real numbers.
const FROM_INTEGERS: [&str; 11] = [
    "Cast",
    "ConvInteger",
    "DequantizeLinear",
    "MatMulInteger",
    "MatMulIntegerToFloat",
    "QGemm",
    "QLinearAdd",
    "QLinearAveragePool",
    "QLinearConv",
    "QLinearMatMul",
    "QLinearMul",
];

/// Whether everything that reads a value takes integers as real numbers.
pub(super) fn is_quantised(model: &Model, name: &str) -> bool {
    let takes = |node: &Node| {
        let direct = node.inputs.iter().any(|i| i == name);
        let any = super::order::reads(node).contains(&name);
        (direct || any).then(|| direct && FROM_INTEGERS.contains(&node.op_type.as_str()))
    };
    let readers: Vec<bool> = model.graph.nodes.iter().filter_map(takes).collect();
    let is_output = model.graph.outputs.iter().any(|o| o.name == name);
    !readers.is_empty() && readers.iter().all(|&r| r) && !is_output
}

/// The shape of an input, every axis bound: what the caller says, else 1 for an open first axis,
/// which is the batch, and for every axis of the same name.
pub(super) fn bind(
    input: &ValueInfo,
    dimensions: &BTreeMap<String, usize>,
    quantised: bool,
) -> Result<Vec<usize>, Fault> {
    let name = &input.name;
    let (data_type, shape) = match &input.kind {
        ValueKind::Tensor { data_type, shape } => (data_type, shape),
        ValueKind::Other(kind) => {
            let message = format!("input {name:?} is {kind}, expected a tensor");
            let help = "export the model with one array of floats per input: FloatTensorType in \
                        skl2onnx, tensors instead of lists and dictionaries in torch.onnx.export";
            return Err(fault_help(Code::UnsupportedType, message, help));
        }
        ValueKind::Undeclared => {
            let message = format!("input {name:?} has no declared type");
            let help = "export the model with type and shape of every input";
            return Err(fault_help(Code::UnknownDimension, message, help));
        }
    };
    let suits = data_type.kind() == Kind::Float || quantised && data_type.kind() == Kind::Int;
    if !suits {
        let message = format!("input {name:?} is {data_type}, expected floats");
        let help = match data_type.kind() {
            Kind::Int => format!(
                "an input that picks (tokens, categories): export the model from its embedding \
                 on, and let the client look it up; one that is no secret: --public-input \
                 {name}=value.npy; else export with a float32 input"
            ),
            Kind::Bool => format!(
                "a mask that is no secret: --public-input {name}=value.npy; else export with a \
                 float32 input"
            ),
            _ => "export the model with a float32 input".to_owned(),
        };
        return Err(fault_help(Code::UnsupportedType, message, &help));
    }
    let Some(shape) = shape else {
        let message = format!("input {name:?} has no declared shape");
        return Err(fault_help(
            Code::UnknownDimension,
            message,
            "export the model with a shape for every input",
        ));
    };
    let bound = lengths(name, shape, dimensions)?;
    elements(&bound).map_err(|mut f| {
        f.message = format!("input {name:?}: {}", f.message);
        f
    })?;
    Ok(bound)
}

/// Findings about public values whose names no input has.
pub(super) fn unknown(model: &Model, public: &BTreeMap<String, Public>) -> Vec<Diagnostic> {
    let names: Vec<&str> = model.graph.data_inputs().map(|i| i.name.as_str()).collect();
    let unknown = public.keys().filter(|name| !names.contains(&name.as_str()));
    let finding = |name: &String| {
        let message = format!("a public value is given for {name:?}, which is no input");
        Diagnostic::new(Code::MissingValue, message).help(format!("the inputs are {names:?}"))
    };
    unknown.map(finding).collect()
}

/// Type and value of an input that is public.
pub(super) fn public(
    input: &ValueInfo,
    value: &Public,
    dimensions: &BTreeMap<String, usize>,
) -> Result<(DataType, Array), Fault> {
    let name = &input.name;
    let ValueKind::Tensor { data_type, shape } = &input.kind else {
        let message = format!("public input {name:?} has no declared tensor type");
        return Err(fault(Code::UnsupportedType, message));
    };
    let suits = |(dimension, &length): (&Dimension, &usize)| match dimension {
        Dimension::Fixed(fixed) => usize::try_from(*fixed) == Ok(length),
        Dimension::Symbolic(symbol) => dimensions.get(symbol).is_none_or(|&d| d == length),
        Dimension::Unset => true,
    };
    if let Some(shape) = shape
        && !(shape.len() == value.shape.len() && shape.iter().zip(&value.shape).all(suits))
    {
        let message =
            format!("public input {name:?} has the shape {:?}, not the declared one", value.shape);
        let help = "give an array of the input's own shape, the batch axis included";
        return Err(fault_help(Code::ShapeMismatch, message, help));
    }
    if constant_elements(&value.shape)? != value.data.len() {
        let message = format!("public input {name:?} has {} elements", value.data.len());
        return Err(fault(Code::ShapeMismatch, message));
    }
    let data = data_of(data_type.kind(), &value.data).ok_or_else(|| {
        let message = format!("the value of public input {name:?} is not of {data_type}");
        fault(Code::UnsupportedType, message)
    })?;
    Ok((*data_type, Array { shape: value.shape.clone(), data }))
}

/// The numbers as elements of a type, if they are.
fn data_of(kind: Kind, values: &[f64]) -> Option<Data> {
    /// Beyond this, numbers of an array in double precision are no longer whole for certain.
    const WHOLE: f64 = (1_u64 << 53) as f64;
    match kind {
        Kind::Float => values.iter().all(|v| v.is_finite()).then(|| Data::Float(values.to_vec())),
        Kind::Int => {
            let whole = values.iter().all(|v| v.fract() == 0.0 && v.abs() < WHOLE);
            whole.then(|| Data::Int(values.iter().map(|&v| v as i64).collect()))
        }
        Kind::Bool => {
            let truth = values.iter().all(|&v| v == 0.0 || v == 1.0);
            truth.then(|| Data::Bool(values.iter().map(|&v| v == 1.0).collect()))
        }
        _ => None,
    }
}

/// The length of every axis.
fn lengths(
    name: &str,
    shape: &[Dimension],
    dimensions: &BTreeMap<String, usize>,
) -> Result<Vec<usize>, Fault> {
    let batch_name = match shape.first() {
        Some(Dimension::Symbolic(symbol)) => Some(symbol),
        _ => None,
    };
    let mut bound = Vec::with_capacity(shape.len());
    for (axis, dimension) in shape.iter().enumerate() {
        let length = match dimension {
            Dimension::Fixed(length) if *length > 0 => usize::try_from(*length).ok(),
            Dimension::Symbolic(symbol) if dimensions.contains_key(symbol) => {
                dimensions.get(symbol).copied()
            }
            Dimension::Symbolic(symbol) if Some(symbol) == batch_name => Some(1),
            _ if axis == 0 => Some(1),
            _ => None,
        };
        let Some(length) = length else {
            let what = match dimension {
                Dimension::Symbolic(symbol) => format!("is {symbol:?}"),
                Dimension::Fixed(length) => format!("is {length}"),
                Dimension::Unset => "is open".to_owned(),
            };
            let message = format!("axis {axis} of input {name:?} {what}, expected a length");
            let help = match dimension {
                Dimension::Symbolic(symbol) => format!("fix it: --dim {symbol}=N"),
                _ => "export the model with a fixed length for it".to_owned(),
            };
            return Err(fault_help(Code::UnknownDimension, message, &help));
        };
        bound.push(length);
    }
    Ok(bound)
}
