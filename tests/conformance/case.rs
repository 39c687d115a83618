//! From a test of the ONNX project to a model with encrypted data: one input stays an input, the
//! others become initialisers.
//!
//! A message of Protocol Buffers followed by another of the same type is their merge, so that a
//! model gains initialisers by appending bytes.

use bytes::Bytes;
use heplan_onnx::{DataType, Dimension, Elements, Kind, Model, ValueInfo, ValueKind};

use crate::wheel::Test;

/// Operators that are also tested with every float operand encrypted.
const BOTH: [&str; 14] = [
    "Add",
    "Sub",
    "Mul",
    "Div",
    "MatMul",
    "Gemm",
    "Einsum",
    "Max",
    "Min",
    "Sum",
    "Mean",
    "Concat",
    "Where",
    "Attention",
];

/// Operators whose data is quantised: their first input is encrypted, and not a scale.
const QUANTISED: [&str; 5] =
    ["ConvInteger", "DequantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"];

/// A tensor of the test.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f64>,
    /// Bits that its element type holds of a number.
    pub(crate) bits: u32,
}

/// A model with some inputs left, their tensors, and the answers.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The test's name; with ` *` where every float operand is encrypted.
    pub(crate) name: String,
    /// The operator that the test is about.
    pub(crate) operator: String,
    pub(crate) model: Vec<u8>,
    pub(crate) inputs: Vec<Tensor>,
    /// By the name of the model's output; those that are no tensors of numbers are left out.
    pub(crate) outputs: Vec<(String, Tensor)>,
}

/// The cases of all tests that have a float data input.
pub(crate) fn cases(tests: &[Test]) -> Vec<Case> {
    let operators: Vec<(&str, String)> =
        tests.iter().filter_map(|t| Some((t.name.as_str(), operator(t)?))).collect();
    let operator_of = |name: &str| {
        let name = name.split("_expanded").next().unwrap_or(name);
        operators.iter().find(|o| o.0 == name).map(|o| o.1.clone())
    };
    let mut cases = Vec::new();
    for test in tests {
        let operator = operator_of(&test.name).unwrap_or_else(|| {
            let set = test.name.split('/').next().unwrap_or_default();
            if set.starts_with("pytorch") { "(PyTorch)".to_owned() } else { "(several)".to_owned() }
        });
        let Ok(model) = Model::from_bytes(&test.name, Bytes::from(test.model.clone())) else {
            continue;
        };
        let floats: Vec<usize> = if QUANTISED.contains(&operator.as_str()) {
            vec![0]
        } else {
            float_inputs(test, &model)
        };
        let Some(&first) = floats.first() else { continue };
        cases.extend(case(test, &model, &operator, &[first], ""));
        let whole = !test.name.contains("_expanded");
        if floats.len() > 1 && whole && BOTH.contains(&operator.as_str()) {
            cases.extend(case(test, &model, &operator, &floats, " *"));
        }
    }
    cases
}

/// Tests whose model this project's reader does not open: name and reason.
pub(crate) fn unreadable(tests: &[Test]) -> Vec<(String, String)> {
    let read = |t: &Test| Model::from_bytes(&t.name, Bytes::from(t.model.clone())).err();
    tests.iter().filter_map(|t| Some((t.name.clone(), read(t)?.to_string()))).collect()
}

/// The operator of a test with a single node.
fn operator(test: &Test) -> Option<String> {
    let model = Model::from_bytes(&test.name, Bytes::from(test.model.clone())).ok()?;
    match model.graph.nodes.as_slice() {
        [node] if node.domain.is_empty() => Some(node.op_type.clone()),
        [node] => Some(format!("{}.{}", node.domain, node.op_type)),
        _ => None,
    }
}

/// Positions of the inputs that are float tensors with elements.
fn float_inputs(test: &Test, model: &Model) -> Vec<usize> {
    let is_float = |info: &ValueInfo| match &info.kind {
        ValueKind::Tensor { data_type, .. } => data_type.kind() == Kind::Float,
        _ => false,
    };
    let inputs = model.graph.data_inputs().enumerate();
    // A tensor of no elements holds nothing to encrypt.
    let has_elements = |i: &usize| {
        let tensor = test.inputs.get(i).and_then(|stored| tensor(stored));
        tensor.is_some_and(|t| !t.data.is_empty())
    };
    inputs.filter(|(i, info)| is_float(info) && has_elements(i)).map(|i| i.0).collect()
}

fn case(test: &Test, model: &Model, operator: &str, data: &[usize], mark: &str) -> Option<Case> {
    let mut bytes = test.model.clone();
    let mut inputs = Vec::new();
    for (i, info) in model.graph.data_inputs().enumerate() {
        let stored = test.inputs.get(&i)?;
        if data.contains(&i) {
            inputs.push(tensor(stored)?);
        } else if matches!(info.kind, ValueKind::Tensor { .. }) {
            bytes.extend(as_initialiser(stored, &info.name));
        }
    }
    // A batch of symbolic length is what the data says; the importer would take 1.
    let open = model.graph.data_inputs().any(|i| has_open_axes(&i.kind));
    if open {
        return None;
    }
    let outputs = model
        .graph
        .outputs
        .iter()
        .enumerate()
        .filter_map(|(i, info)| Some((info.name.clone(), tensor(test.outputs.get(&i)?)?)));
    Some(Case {
        name: format!("{}{mark}", test.name),
        operator: operator.to_owned(),
        model: bytes,
        outputs: outputs.collect(),
        inputs,
    })
}

fn has_open_axes(kind: &ValueKind) -> bool {
    match kind {
        ValueKind::Tensor { shape: Some(shape), .. } => {
            shape.iter().any(|d| !matches!(d, Dimension::Fixed(_)))
        }
        _ => false,
    }
}

/// A field of bytes.
fn field(number: u64, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 12);
    for value in [number << 3 | 2, content.len() as u64] {
        let mut rest = value;
        while rest > 0x7f {
            out.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
    out.extend_from_slice(content);
    out
}

/// `ModelProto.graph.initializer` with this tensor under this name.
fn as_initialiser(tensor: &[u8], name: &str) -> Vec<u8> {
    field(7, &field(5, &[tensor, &field(8, name.as_bytes())].concat()))
}

/// Decodes a stored tensor of numbers.
fn tensor(stored: &[u8]) -> Option<Tensor> {
    // A model of nothing but this tensor: IR version 8, opset 13.
    let mut model = vec![8, 8];
    model.extend(field(8, &[16, 13]));
    model.extend(as_initialiser(stored, "t"));
    let model = Model::from_bytes("tensor", Bytes::from(model)).ok()?;
    let found = model.graph.initialisers.first()?;
    let data: Vec<f64> = match found.elements().ok()? {
        Elements::Float(v) => v,
        Elements::Int(v) => v.into_iter().map(|x| x as f64).collect(),
        Elements::Bool(v) => v.into_iter().map(|x| f64::from(u8::from(x))).collect(),
        Elements::Text(_) => return None,
    };
    let bits = match found.data_type() {
        DataType::Bfloat16 => 7,
        DataType::Float16 => 10,
        _ => 20,
    };
    (data.len() == found.dims().iter().product()).then(|| Tensor {
        shape: found.dims().to_vec(),
        data,
        bits,
    })
}
