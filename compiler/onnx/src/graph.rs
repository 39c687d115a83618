//! The view of a model's graph that the importer walks: nodes, constants, inputs, outputs.
//!
//! Names are exactly those in the file, also empty or repeated ones: whether they make sense is
//! for the importer to say, which can report all that is wrong at once.

use std::collections::BTreeMap;

use crate::attribute::Attributes;
use crate::data_type::DataType;
use crate::proto;
use crate::tensor::Tensor;

/// The main graph of a model, or a graph that is an attribute of a node.
#[derive(Debug, Clone)]
pub struct Graph {
    /// The graph's own name; may be empty.
    pub name: String,
    /// The nodes in file order, which ONNX asks to be topological and which is not trusted to be.
    pub nodes: Vec<Node>,
    /// The constants.
    pub initialisers: Vec<Tensor>,
    /// Names of sparse constants, which are not decoded.
    pub sparse_initialisers: Vec<String>,
    /// The declared inputs; before IR version 4 these include every initialiser.
    pub inputs: Vec<ValueInfo>,
    /// The declared outputs.
    pub outputs: Vec<ValueInfo>,
}

/// One operator of the graph.
#[derive(Debug, Clone)]
pub struct Node {
    /// Place in the file, from 0.
    pub index: usize,
    /// Name in the file; may be empty.
    pub name: String,
    /// The operator, such as `Conv`.
    pub op_type: String,
    /// The operator's domain; empty for the default one, `ai.onnx`.
    pub domain: String,
    /// Names of the operands; an empty name is an optional operand left out.
    pub inputs: Vec<String>,
    /// Names of the results; an empty name is a result that nobody uses.
    pub outputs: Vec<String>,
    /// The attributes.
    pub attributes: Attributes,
}

/// A function that a model defines for itself: a node with its domain and name stands for its
/// nodes.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its domain.
    pub domain: String,
    /// Its name, which is the operator of the nodes that call it.
    pub name: String,
    /// Names of its operands within.
    pub inputs: Vec<String>,
    /// Names of its results within.
    pub outputs: Vec<String>,
    /// Attributes that a call may leave out, with the value that they then have.
    pub defaults: Attributes,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Versions of the operator sets that its nodes are written in.
    pub opsets: BTreeMap<String, i64>,
}

/// A declared input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueInfo {
    /// Name of the value.
    pub name: String,
    /// Type of the value.
    pub kind: ValueKind,
}

/// The type of a declared value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueKind {
    /// A tensor.
    Tensor {
        /// Element type.
        data_type: DataType,
        /// The shape; `None` where not even the rank is declared.
        shape: Option<Vec<Dimension>>,
    },
    /// A sequence, a map, an optional or a sparse tensor, in words.
    Other(&'static str),
    /// Nothing is declared.
    Undeclared,
}

/// One axis of a declared shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dimension {
    /// A length.
    Fixed(i64),
    /// A length that is known by name only, such as `batch`.
    Symbolic(String),
    /// Nothing is said.
    Unset,
}

impl Graph {
    /// The inputs that a caller must supply: those that are not initialisers.
    pub fn data_inputs(&self) -> impl Iterator<Item = &ValueInfo> {
        let names: std::collections::BTreeSet<&str> =
            self.initialisers.iter().map(Tensor::name).collect();
        self.inputs.iter().filter(move |input| !names.contains(input.name.as_str()))
    }
}

impl ValueInfo {
    pub(crate) fn from_proto(message: proto::ValueInfoProto) -> Self {
        use proto::type_proto::Value;
        let kind = match message.r#type.and_then(|t| t.value) {
            None => ValueKind::Undeclared,
            Some(Value::TensorType(t)) => ValueKind::Tensor {
                data_type: DataType::from_number(t.elem_type.unwrap_or(0)),
                shape: t.shape.map(|s| s.dim.into_iter().map(Dimension::from_proto).collect()),
            },
            Some(Value::SequenceType(_)) => ValueKind::Other("a sequence"),
            Some(Value::MapType(_)) => ValueKind::Other("a map"),
            Some(Value::OptionalType(_)) => ValueKind::Other("an optional"),
            Some(Value::SparseTensorType(_)) => ValueKind::Other("a sparse tensor"),
            Some(Value::OpaqueType(_)) => ValueKind::Other("an opaque type"),
        };
        Self { name: message.name.unwrap_or_default(), kind }
    }
}

impl Dimension {
    fn from_proto(message: proto::tensor_shape_proto::Dimension) -> Self {
        use proto::tensor_shape_proto::dimension::Value;
        match message.value {
            Some(Value::DimValue(length)) => Self::Fixed(length),
            Some(Value::DimParam(name)) if !name.is_empty() => Self::Symbolic(name),
            Some(Value::DimParam(_)) | None => Self::Unset,
        }
    }
}
