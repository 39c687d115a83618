//! Reads ONNX files.
//!
//! The message types in `proto` are generated from `proto/onnx-ml.proto`, unchanged from the
//! Python package `onnx` 1.23.2 (IR version 14, opset 28, Apache-2.0). On top of them stands the
//! view that the importer works with: [`Model`], [`Graph`], [`Node`], [`Tensor`].
//!
//! A model file is untrusted input. Everything that can be checked without knowing what an
//! operator means is checked while reading, before anything is allocated for it: versions, shapes
//! against stored data, kinds of attributes, places of external data. Weights stay in the buffer
//! that the file was read into until somebody asks for their elements.
//!
//! This crate must not know what an operator computes, and must not change any name.

#![forbid(unsafe_code)]

pub mod attribute;
pub mod data_type;
pub mod error;
mod external;
pub mod graph;
pub mod model;
#[allow(unreachable_pub, clippy::enum_variant_names, reason = "generated from onnx-ml.proto")]
#[rustfmt::skip]
mod proto;
pub mod tensor;

pub use attribute::{AttributeValue, Attributes};
pub use data_type::{DataType, Kind};
pub use error::{AttributeError, ExternalError, OnnxError, TensorError};
pub use graph::{Dimension, Function, Graph, Node, ValueInfo, ValueKind};
pub use model::{ML_DOMAIN, ML_OPSETS, Model, OPSETS};
pub use tensor::{Elements, Tensor};
