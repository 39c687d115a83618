//! What can be wrong with an ONNX file, as types.
//!
//! Every message names the file and the thing in it.
//! Nothing here judges what a model computes: an operator without an encrypted form is the
//! importer's business, not this crate's.

use std::io;
use std::path::PathBuf;

/// Why a file could not be read as an ONNX model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The operating system refused.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file that was opened.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The path leads to a folder, a pipe or a device.
    #[error("{file} is not a regular file")]
    NotAFile {
        /// The name that was given.
        file: String,
    },
    /// There are no bytes in the file.
    #[error("{file} is empty")]
    Empty {
        /// The name that was given.
        file: String,
    },
    /// The bytes are something else.
    #[error("{file} is not an ONNX file: {reason}")]
    NotOnnx {
        /// The name that was given.
        file: String,
        /// What gave it away.
        reason: String,
    },
    /// The file starts like an ONNX model and then breaks off.
    #[error("{file} is cut short or damaged: {reason}")]
    Damaged {
        /// The name that was given.
        file: String,
        /// Where decoding stopped.
        reason: String,
    },
    /// The file format is older or newer than what this crate knows.
    #[error("{file} has ONNX IR version {found}, supported are {min} to {max}")]
    IrVersion {
        /// The name that was given.
        file: String,
        /// The version in the file.
        found: i64,
        /// The oldest that is read.
        min: i64,
        /// The newest that is read.
        max: i64,
    },
    /// The operator set is older or newer than what this crate knows.
    #[error("{file} uses opset {found} of domain \"{domain}\", supported are {min} to {max}")]
    Opset {
        /// The name that was given.
        file: String,
        /// The operator domain, `ai.onnx` for the default one.
        domain: String,
        /// The version in the file.
        found: i64,
        /// The oldest that is read.
        min: i64,
        /// The newest that is read.
        max: i64,
    },
    /// One domain is declared at two versions.
    #[error("{file} declares domain \"{domain}\" at opset {first} and at opset {second}")]
    OpsetConflict {
        /// The name that was given.
        file: String,
        /// The operator domain, `ai.onnx` for the default one.
        domain: String,
        /// The version declared first.
        first: i64,
        /// The version declared later.
        second: i64,
    },
    /// A tensor's description and its data disagree.
    #[error("{file}: {place}: {source}")]
    Tensor {
        /// The name that was given.
        file: String,
        /// Which tensor, in words.
        place: String,
        /// What is wrong with it.
        source: TensorError,
    },
    /// An attribute of a node cannot be understood.
    #[error("{file}: node {index} \"{node}\": {source}")]
    Attribute {
        /// The name that was given.
        file: String,
        /// The node's place in the graph, from 0.
        index: usize,
        /// The node's name, empty if it has none.
        node: String,
        /// What is wrong with it.
        source: AttributeError,
    },
}

/// Why a stored tensor cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// A dimension below zero.
    #[error("dimension {axis} is {found}")]
    NegativeDimension {
        /// The axis, from 0.
        axis: usize,
        /// The number in the file.
        found: i64,
    },
    /// The shape has more elements than this machine can count.
    #[error("shape {dims:?} has too many elements")]
    TooLarge {
        /// The shape in the file.
        dims: Vec<i64>,
    },
    /// The number of stored elements is not the product of the shape.
    #[error("shape {dims:?} needs {wanted} stored {unit}, found {found}")]
    Length {
        /// The shape in the file.
        dims: Vec<usize>,
        /// What is counted: bytes or elements.
        unit: &'static str,
        /// What the shape asks for.
        wanted: usize,
        /// What is there.
        found: usize,
    },
    /// Data stands in a field that its element type does not use, or in two fields.
    #[error("{data_type} data is stored in {found}")]
    Storage {
        /// The declared element type.
        data_type: String,
        /// The field or fields that hold data.
        found: String,
    },
    /// An element type that is valid ONNX but that this crate does not decode.
    #[error("element type {data_type} is not supported")]
    Unsupported {
        /// The declared element type.
        data_type: String,
    },
    /// A stored number that its element type cannot hold.
    #[error("element {index} is {found}, outside of {data_type}")]
    OutOfRange {
        /// The declared element type.
        data_type: String,
        /// The element, from 0, in storage order.
        index: usize,
        /// The stored number.
        found: String,
    },
    /// The tensor is a segment of a larger one, which no exporter writes.
    #[error("a segmented tensor is not supported")]
    Segmented,
    /// The data is in another file that cannot be used.
    #[error("external data: {0}")]
    External(#[from] ExternalError),
}

/// Why external data of a tensor was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExternalError {
    /// The model came as bytes, so there is no folder to look in.
    #[error("the model was not read from a folder, so \"{location}\" cannot be found")]
    NoFolder {
        /// The file that the tensor names.
        location: String,
    },
    /// The tensor names no file.
    #[error("no location is given")]
    NoLocation,
    /// The file is not inside the model's folder.
    #[error("\"{location}\" leads out of the model's folder")]
    Outside {
        /// The file that the tensor names.
        location: String,
    },
    /// The file cannot be opened or read.
    #[error("cannot read \"{location}\": {reason}")]
    Unreadable {
        /// The file that the tensor names.
        location: String,
        /// What the operating system said.
        reason: String,
    },
    /// Offset or length is not a number.
    #[error("{key} is \"{found}\", not a number of bytes")]
    NotANumber {
        /// `offset` or `length`.
        key: &'static str,
        /// The text in the file.
        found: String,
    },
    /// The part is not wholly inside the file.
    #[error("\"{location}\" has {size} bytes, bytes {offset} to {end} are wanted")]
    PastEnd {
        /// The file that the tensor names.
        location: String,
        /// The size of that file.
        size: u64,
        /// First byte wanted.
        offset: u64,
        /// One past the last byte wanted.
        end: u64,
    },
    /// The part does not have the size that shape and element type ask for.
    #[error("the shape needs {wanted} bytes, the stated part of \"{location}\" has {found}")]
    Length {
        /// The file that the tensor names.
        location: String,
        /// What shape and element type ask for.
        wanted: u64,
        /// The length of the stated part.
        found: u64,
    },
}

/// Why an attribute of a node cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// The attribute is there, with another type.
    #[error("attribute \"{name}\" is {found}, expected {wanted}")]
    WrongKind {
        /// The attribute.
        name: String,
        /// The kind in the file.
        found: &'static str,
        /// The kind that the operator defines.
        wanted: &'static str,
    },
    /// A text that is not UTF-8.
    #[error("attribute \"{name}\" is not valid UTF-8")]
    NotText {
        /// The attribute.
        name: String,
    },
    /// The node carries the attribute twice.
    #[error("attribute \"{name}\" is given twice")]
    Duplicate {
        /// The attribute.
        name: String,
    },
    /// The type number is not one of ONNX.
    #[error("attribute \"{name}\" has unknown type {found}")]
    UnknownKind {
        /// The attribute.
        name: String,
        /// The number in the file.
        found: i32,
    },
}
