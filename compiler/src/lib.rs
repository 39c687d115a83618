//! From an ONNX model to an encrypted execution plan.
#![forbid(unsafe_code)]

pub mod cost;
pub mod data;
pub mod import;
pub mod judge;
pub mod numerics;
pub mod options;
pub mod passes;
pub mod pipeline;
pub mod reference;
pub mod report;
pub mod verdict;
