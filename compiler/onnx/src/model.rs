//! From the bytes of a file to a checked [`Model`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;

use bytes::Bytes;
use prost::Message;

use crate::attribute::{Attributes, AttributesError};
use crate::error::OnnxError;
use crate::external::Folder;
use crate::graph::{Function, Graph, Node, ValueInfo};
use crate::proto;
use crate::tensor::Tensor;

/// File format versions that are read. Version 3 is the first with operator sets.
pub const IR_VERSIONS: RangeInclusive<i64> = 3..=14;

/// Versions of the default operator set that are read.
pub const OPSETS: RangeInclusive<i64> = 6..=28;

/// Versions of the operator set `ai.onnx.ml` that are read.
pub const ML_OPSETS: RangeInclusive<i64> = 1..=5;

/// The name of the classical machine learning domain.
pub const ML_DOMAIN: &str = "ai.onnx.ml";

/// A model as its file says it, checked for everything that can be checked without knowing what an
/// operator means.
#[derive(Debug, Clone)]
pub struct Model {
    /// File format version.
    pub ir_version: i64,
    /// Program that wrote the file; may be empty.
    pub producer: String,
    /// Version of every declared operator domain; the default domain is the empty name.
    pub opsets: BTreeMap<String, i64>,
    /// The functions that the model defines for itself.
    pub functions: Vec<Function>,
    /// The main graph.
    pub graph: Graph,
}

impl Model {
    /// Reads a model file and, from its folder only, the external data that it names.
    ///
    /// # Errors
    /// See [`OnnxError`]; every one names the file.
    pub fn read(path: &Path) -> Result<Self, OnnxError> {
        let io = |source| OnnxError::Io { path: path.to_owned(), source };
        let file_name = path.display().to_string();
        let mut file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(OnnxError::NotAFile { file: file_name });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.read_to_end(&mut bytes).map_err(io)?;
        Self::decode(&file_name, Bytes::from(bytes), &Folder::of_model(path))
    }

    /// Reads a model from memory; `name` stands for the file in every message.
    ///
    /// # Errors
    /// See [`OnnxError`]; external data is refused, since there is no folder to look in.
    pub fn from_bytes(name: &str, bytes: Bytes) -> Result<Self, OnnxError> {
        Self::decode(name, bytes, &Folder::none())
    }

    /// The version at which `domain` is declared.
    pub fn opset(&self, domain: &str) -> Option<i64> {
        self.opsets.get(domain).copied()
    }

    fn decode(file: &str, bytes: Bytes, folder: &Folder) -> Result<Self, OnnxError> {
        if bytes.is_empty() {
            return Err(OnnxError::Empty { file: file.to_owned() });
        }
        let reader = Reader { file, folder };
        // Every writer puts the version first: field 1, a small number.
        let looks_like_onnx =
            bytes.starts_with(&[0x08]) && bytes.get(1).is_some_and(|&v| (1..0x80).contains(&v));
        let message = proto::ModelProto::decode(bytes).map_err(|e| {
            if looks_like_onnx {
                reader.damaged(&e.to_string())
            } else {
                reader.foreign(&e.to_string())
            }
        })?;
        reader.model(message)
    }
}

/// What every step of reading needs to know for its messages.
struct Reader<'a> {
    file: &'a str,
    folder: &'a Folder,
}

impl Reader<'_> {
    fn damaged(&self, reason: &str) -> OnnxError {
        OnnxError::Damaged { file: self.file.to_owned(), reason: reason.to_owned() }
    }

    fn foreign(&self, reason: &str) -> OnnxError {
        OnnxError::NotOnnx { file: self.file.to_owned(), reason: reason.to_owned() }
    }

    fn model(&self, message: proto::ModelProto) -> Result<Model, OnnxError> {
        let Some(ir_version) = message.ir_version else {
            return Err(self.foreign("it has no IR version"));
        };
        if !IR_VERSIONS.contains(&ir_version) {
            return Err(OnnxError::IrVersion {
                file: self.file.to_owned(),
                found: ir_version,
                min: *IR_VERSIONS.start(),
                max: *IR_VERSIONS.end(),
            });
        }
        let Some(graph) = message.graph else {
            return Err(self.damaged("it has no graph"));
        };
        let opsets = self.opsets(message.opset_import)?;
        Ok(Model {
            ir_version,
            producer: message.producer_name.unwrap_or_default(),
            opsets,
            functions: message
                .functions
                .into_iter()
                .map(|f| self.function(f))
                .collect::<Result<_, _>>()?,
            graph: self.graph(graph)?,
        })
    }

    /// The declared domains; the same declaration twice is harmless and some exporters write it.
    fn opsets(
        &self,
        messages: Vec<proto::OperatorSetIdProto>,
    ) -> Result<BTreeMap<String, i64>, OnnxError> {
        let file = || self.file.to_owned();
        let mut opsets: BTreeMap<String, i64> = BTreeMap::new();
        for message in messages {
            let domain = domain_name(message.domain);
            let found = message.version.unwrap_or(0);
            let (range, shown) = match domain.as_str() {
                "" => (OPSETS, "ai.onnx"),
                ML_DOMAIN => (ML_OPSETS, ML_DOMAIN),
                other => (i64::MIN..=i64::MAX, other),
            };
            if !range.contains(&found) {
                let (min, max) = range.into_inner();
                let domain = shown.to_owned();
                return Err(OnnxError::Opset { file: file(), domain, found, min, max });
            }
            match opsets.get(&domain) {
                Some(&first) if first != found => {
                    let domain = shown.to_owned();
                    return Err(OnnxError::OpsetConflict {
                        file: file(),
                        domain,
                        first,
                        second: found,
                    });
                }
                _ => opsets.insert(domain, found),
            };
        }
        if opsets.is_empty() {
            return Err(self.damaged("it declares no operator set"));
        }
        Ok(opsets)
    }

    fn function(&self, message: proto::FunctionProto) -> Result<Function, OnnxError> {
        let name = message.name.unwrap_or_default();
        let defaults = self.attributes(message.attribute_proto, 0, &name)?;
        // A function without operators needs no operator sets.
        let opsets = if message.opset_import.is_empty() {
            BTreeMap::new()
        } else {
            self.opsets(message.opset_import)?
        };
        let node = |(index, n)| self.node(index, n);
        Ok(Function {
            domain: domain_name(message.domain),
            name,
            inputs: message.input,
            outputs: message.output,
            defaults,
            nodes: message.node.into_iter().enumerate().map(node).collect::<Result<_, _>>()?,
            opsets,
        })
    }

    fn graph(&self, message: proto::GraphProto) -> Result<Graph, OnnxError> {
        let initialiser = |t: proto::TensorProto| {
            let place = format!("initialiser \"{}\"", t.name.as_deref().unwrap_or_default());
            let tensor = Tensor::from_proto(t, self.folder);
            tensor.map_err(|source| OnnxError::Tensor { file: self.file.to_owned(), place, source })
        };
        let sparse =
            |t: proto::SparseTensorProto| t.values.and_then(|v| v.name).unwrap_or_default();
        let node = |(index, n)| self.node(index, n);
        Ok(Graph {
            name: message.name.unwrap_or_default(),
            nodes: message.node.into_iter().enumerate().map(node).collect::<Result<_, _>>()?,
            initialisers: message
                .initializer
                .into_iter()
                .map(initialiser)
                .collect::<Result<_, _>>()?,
            sparse_initialisers: message.sparse_initializer.into_iter().map(sparse).collect(),
            inputs: message.input.into_iter().map(ValueInfo::from_proto).collect(),
            outputs: message.output.into_iter().map(ValueInfo::from_proto).collect(),
        })
    }

    fn node(&self, index: usize, message: proto::NodeProto) -> Result<Node, OnnxError> {
        let name = message.name.unwrap_or_default();
        let attributes = self.attributes(message.attribute, index, &name)?;
        Ok(Node {
            index,
            op_type: message.op_type.unwrap_or_default(),
            domain: domain_name(message.domain),
            inputs: message.input,
            outputs: message.output,
            attributes,
            name,
        })
    }

    /// The attributes of the node with this index and name, or of a function.
    fn attributes(
        &self,
        messages: Vec<proto::AttributeProto>,
        index: usize,
        node: &str,
    ) -> Result<Attributes, OnnxError> {
        let file = || self.file.to_owned();
        let attributes = Attributes::from_proto(messages, self.folder, &|g| self.graph(g));
        attributes.map_err(|error| match error {
            AttributesError::Attribute(source) => {
                OnnxError::Attribute { file: file(), index, node: node.to_owned(), source }
            }
            AttributesError::Tensor { attribute, source } => {
                let place = format!("attribute \"{attribute}\" of node {index} \"{node}\"");
                OnnxError::Tensor { file: file(), place, source }
            }
            AttributesError::Graph(source) => source,
        })
    }
}

/// The default domain has two spellings; the empty one is used throughout.
fn domain_name(domain: Option<String>) -> String {
    domain.filter(|d| d != "ai.onnx").unwrap_or_default()
}
