//! Reads ONNX files.
