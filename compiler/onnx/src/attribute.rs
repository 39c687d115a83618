//! Attributes of a node, by name and with the type that an operator asks for.
//!
//! A getter answers `Ok(None)` for an attribute that is absent and an error for one of another
//! kind, so that no operator ever takes a default where the model says something else.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::error::{AttributeError, OnnxError};
use crate::external::Folder;
use crate::graph::Graph;
use crate::proto;
use crate::tensor::Tensor;

/// The value of an attribute.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AttributeValue {
    /// One float.
    Float(f32),
    /// One integer.
    Int(i64),
    /// One text.
    Text(Bytes),
    /// One tensor.
    Tensor(Tensor),
    /// Floats.
    Floats(Vec<f32>),
    /// Integers.
    Ints(Vec<i64>),
    /// Texts.
    Texts(Vec<Bytes>),
    /// Tensors.
    Tensors(Vec<Tensor>),
    /// A graph: a branch or a body.
    Graph(Box<Graph>),
    /// Inside a function: the attribute of this name of the node that calls it.
    Reference(String),
    /// A list of graphs, a type or a sparse tensor: named, not read.
    Opaque(&'static str),
}

/// The attributes of one node.
#[derive(Debug, Clone, Default)]
pub struct Attributes {
    values: BTreeMap<String, AttributeValue>,
}

impl Attributes {
    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AttributeValue)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The value, whatever its kind.
    pub fn get(&self, name: &str) -> Option<&AttributeValue> {
        self.values.get(name)
    }

    /// One integer.
    ///
    /// # Errors
    /// The attribute is of another kind.
    pub fn int(&self, name: &str) -> Result<Option<i64>, AttributeError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(AttributeValue::Int(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong(name, other, "an integer")),
        }
    }

    /// One float.
    ///
    /// # Errors
    /// The attribute is of another kind.
    pub fn float(&self, name: &str) -> Result<Option<f32>, AttributeError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(AttributeValue::Float(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong(name, other, "a float")),
        }
    }

    /// One text.
    ///
    /// # Errors
    /// The attribute is of another kind or not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, AttributeError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(AttributeValue::Text(value)) => utf8(name, value).map(Some),
            Some(other) => Err(wrong(name, other, "a string")),
        }
    }

    /// A list of integers.
    ///
    /// # Errors
    /// The attribute is of another kind.
    pub fn ints(&self, name: &str) -> Result<Option<&[i64]>, AttributeError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(AttributeValue::Ints(values)) => Ok(Some(values)),
            Some(other) => Err(wrong(name, other, "a list of integers")),
        }
    }

    /// A list of floats.
    ///
    /// # Errors
    /// The attribute is of another kind.
    pub fn floats(&self, name: &str) -> Result<Option<&[f32]>, AttributeError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(AttributeValue::Floats(values)) => Ok(Some(values)),
            Some(other) => Err(wrong(name, other, "a list of floats")),
        }
    }

    /// A list of texts.
    ///
    /// # Errors
    /// The attribute is of another kind or not UTF-8.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<&str>>, AttributeError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(AttributeValue::Texts(values)) => {
                values.iter().map(|v| utf8(name, v)).collect::<Result<_, _>>().map(Some)
            }
            Some(other) => Err(wrong(name, other, "a list of strings")),
        }
    }

    /// One tensor.
    ///
    /// # Errors
    /// The attribute is of another kind.
    pub fn tensor(&self, name: &str) -> Result<Option<&Tensor>, AttributeError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(AttributeValue::Tensor(value)) => Ok(Some(value)),
            Some(other) => Err(wrong(name, other, "a tensor")),
        }
    }

    /// One graph.
    ///
    /// # Errors
    /// The attribute is of another kind.
    pub fn graph(&self, name: &str) -> Result<Option<&Graph>, AttributeError> {
        match self.values.get(name) {
            None => Ok(None),
            Some(AttributeValue::Graph(value)) => Ok(Some(value)),
            Some(other) => Err(wrong(name, other, "a graph")),
        }
    }

    /// Reads the attributes of one node; the inner result is a tensor's own complaint, with the
    /// name of the attribute that holds it.
    pub(crate) fn from_proto(
        messages: Vec<proto::AttributeProto>,
        folder: &Folder,
        graph: &dyn Fn(proto::GraphProto) -> Result<Graph, OnnxError>,
    ) -> Result<Self, AttributesError> {
        let mut values = BTreeMap::new();
        for message in messages {
            let name = message.name.clone().unwrap_or_default();
            let value = value(message, &name, folder, graph)?;
            if values.insert(name.clone(), value).is_some() {
                return Err(AttributeError::Duplicate { name }.into());
            }
        }
        Ok(Self { values })
    }
}

impl FromIterator<(String, AttributeValue)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (String, AttributeValue)>>(pairs: I) -> Self {
        Self { values: pairs.into_iter().collect() }
    }
}

/// What can be wrong while reading all attributes of a node.
#[derive(Debug)]
pub(crate) enum AttributesError {
    Attribute(AttributeError),
    Tensor { attribute: String, source: crate::error::TensorError },
    Graph(OnnxError),
}

impl From<AttributeError> for AttributesError {
    fn from(error: AttributeError) -> Self {
        Self::Attribute(error)
    }
}

impl AttributeValue {
    /// The kind in words, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Float(_) => "a float",
            Self::Int(_) => "an integer",
            Self::Text(_) => "a string",
            Self::Tensor(_) => "a tensor",
            Self::Floats(_) => "a list of floats",
            Self::Ints(_) => "a list of integers",
            Self::Texts(_) => "a list of strings",
            Self::Tensors(_) => "a list of tensors",
            Self::Graph(_) => "a graph",
            Self::Reference(_) => "a reference to a function's attribute",
            Self::Opaque(kind) => kind,
        }
    }
}

fn wrong(name: &str, found: &AttributeValue, wanted: &'static str) -> AttributeError {
    AttributeError::WrongKind { name: name.to_owned(), found: found.kind(), wanted }
}

fn utf8<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, AttributeError> {
    std::str::from_utf8(bytes).map_err(|_| AttributeError::NotText { name: name.to_owned() })
}

fn value(
    message: proto::AttributeProto,
    name: &str,
    folder: &Folder,
    graph: &dyn Fn(proto::GraphProto) -> Result<Graph, OnnxError>,
) -> Result<AttributeValue, AttributesError> {
    use proto::attribute_proto::AttributeType as Type;
    let tensor = |t: proto::TensorProto| {
        Tensor::from_proto(t, folder)
            .map_err(|source| AttributesError::Tensor { attribute: name.to_owned(), source })
    };
    let number = message.r#type.unwrap_or(0);
    let unknown = AttributeError::UnknownKind { name: name.to_owned(), found: number };
    if let Some(reference) = message.ref_attr_name.filter(|r| !r.is_empty()) {
        return Ok(AttributeValue::Reference(reference));
    }
    Ok(match Type::try_from(number).map_err(|_| unknown.clone())? {
        Type::Undefined => return Err(unknown.into()),
        Type::Float => AttributeValue::Float(message.f.unwrap_or(0.0)),
        Type::Int => AttributeValue::Int(message.i.unwrap_or(0)),
        Type::String => AttributeValue::Text(message.s.unwrap_or_default()),
        Type::Tensor => AttributeValue::Tensor(tensor(message.t.unwrap_or_default())?),
        Type::Floats => AttributeValue::Floats(message.floats),
        Type::Ints => AttributeValue::Ints(message.ints),
        Type::Strings => AttributeValue::Texts(message.strings),
        Type::Tensors => AttributeValue::Tensors(
            message.tensors.into_iter().map(tensor).collect::<Result<_, _>>()?,
        ),
        Type::Graph => AttributeValue::Graph(Box::new(
            graph(message.g.unwrap_or_default()).map_err(AttributesError::Graph)?,
        )),
        Type::Graphs => AttributeValue::Opaque("a list of graphs"),
        Type::SparseTensor => AttributeValue::Opaque("a sparse tensor"),
        Type::SparseTensors => AttributeValue::Opaque("a list of sparse tensors"),
        Type::TypeProto => AttributeValue::Opaque("a type"),
        Type::TypeProtos => AttributeValue::Opaque("a list of types"),
    })
}
