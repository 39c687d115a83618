//! From an ONNX model to an encrypted execution plan.
