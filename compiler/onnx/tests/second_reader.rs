//! Our reading compared field by field with `onnx-protobuf`, an independent reader of the format.
//!
//! Runs on the models of `tests/data` and, where the variable `HEPLAN_MODELS` names a folder, on
//! every `.onnx` file below it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

use std::path::{Path, PathBuf};

use heplan_onnx::{AttributeValue, Dimension, Elements, Model, Tensor, ValueInfo, ValueKind};
use onnx_protobuf as other;
use other::attribute_proto::AttributeType;
use protobuf::Message;

#[test]
fn agrees_with_onnx_protobuf() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut files = vec![data.join("storage.onnx"), data.join("attributes.onnx")];
    if let Some(folder) = std::env::var_os("HEPLAN_MODELS") {
        collect(Path::new(&folder), &mut files);
    }
    for file in files {
        compare(&file);
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "onnx") {
            files.push(path);
        }
    }
}

fn compare(file: &Path) {
    let ours = Model::read(file).unwrap();
    let bytes = std::fs::read(file).unwrap();
    let theirs = other::ModelProto::parse_from_bytes(&bytes).unwrap();
    let context = file.display();
    assert_eq!(ours.ir_version, theirs.ir_version, "{context}");
    assert_eq!(ours.producer, theirs.producer_name, "{context}");
    for opset in &theirs.opset_import {
        let domain = if opset.domain == "ai.onnx" { "" } else { &opset.domain };
        assert_eq!(ours.opset(domain), Some(opset.version), "{context}");
    }
    assert_eq!(ours.functions.len(), theirs.functions.len(), "{context}");
    let graph = &theirs.graph;
    assert_eq!(ours.graph.name, graph.name, "{context}");
    assert_eq!(ours.graph.nodes.len(), graph.node.len(), "{context}");
    for (a, b) in ours.graph.nodes.iter().zip(&graph.node) {
        assert_eq!((&a.name, &a.op_type), (&b.name, &b.op_type), "{context}");
        assert_eq!((&a.inputs, &a.outputs), (&b.input, &b.output), "{context}");
        assert_eq!(a.domain, if b.domain == "ai.onnx" { "" } else { &b.domain }, "{context}");
        assert_eq!(a.attributes.iter().count(), b.attribute.len(), "{context}");
        for attribute in &b.attribute {
            let value = a.attributes.get(&attribute.name).unwrap();
            compare_attribute(value, attribute);
        }
    }
    assert_eq!(ours.graph.initialisers.len(), graph.initializer.len(), "{context}");
    for (a, b) in ours.graph.initialisers.iter().zip(&graph.initializer) {
        compare_tensor(a, b);
    }
    compare_infos(&ours.graph.inputs, &graph.input);
    compare_infos(&ours.graph.outputs, &graph.output);
}

fn compare_infos(ours: &[ValueInfo], theirs: &[other::ValueInfoProto]) {
    assert_eq!(ours.len(), theirs.len());
    for (a, b) in ours.iter().zip(theirs) {
        assert_eq!(a.name, b.name);
        let ValueKind::Tensor { shape, .. } = &a.kind else {
            assert!(!b.type_.has_tensor_type(), "{}", a.name);
            continue;
        };
        let declared = b.type_.tensor_type();
        assert_eq!(shape.is_some(), declared.shape.is_some(), "{}", a.name);
        let shape = shape.as_deref().unwrap_or_default();
        assert_eq!(shape.len(), declared.shape.dim.len(), "{}", a.name);
        for (x, y) in shape.iter().zip(&declared.shape.dim) {
            match x {
                Dimension::Fixed(length) => assert_eq!(*length, y.dim_value()),
                Dimension::Symbolic(name) => assert_eq!(name, y.dim_param()),
                Dimension::Unset => assert!(!y.has_dim_value() && y.dim_param().is_empty()),
            }
        }
    }
}

fn compare_attribute(ours: &AttributeValue, theirs: &other::AttributeProto) {
    let name = &theirs.name;
    match (ours, theirs.type_.enum_value().unwrap()) {
        (AttributeValue::Float(v), AttributeType::FLOAT) => assert_eq!(*v, theirs.f, "{name}"),
        (AttributeValue::Int(v), AttributeType::INT) => assert_eq!(*v, theirs.i, "{name}"),
        (AttributeValue::Text(v), AttributeType::STRING) => assert_eq!(*v, theirs.s, "{name}"),
        (AttributeValue::Tensor(v), AttributeType::TENSOR) => compare_tensor(v, &theirs.t),
        (AttributeValue::Floats(v), AttributeType::FLOATS) => assert_eq!(*v, theirs.floats),
        (AttributeValue::Ints(v), AttributeType::INTS) => assert_eq!(*v, theirs.ints),
        (AttributeValue::Texts(v), AttributeType::STRINGS) => assert_eq!(*v, theirs.strings),
        (a, b) => panic!("{name}: {} against {b:?}", a.kind()),
    }
}

/// Decodes the common storage forms of the other reader's message by hand.
fn compare_tensor(ours: &Tensor, theirs: &other::TensorProto) {
    let name = &theirs.name;
    assert_eq!(ours.name(), name);
    let dims: Vec<i64> = ours.dims().iter().map(|&d| d as i64).collect();
    assert_eq!(dims, theirs.dims, "{name}");
    let raw = &theirs.raw_data;
    let elements = ours.elements().unwrap();
    match (theirs.data_type, elements) {
        (1, Elements::Float(v)) if raw.is_empty() => {
            let expected: Vec<f64> = theirs.float_data.iter().map(|&x| f64::from(x)).collect();
            assert_eq!(v, expected, "{name}");
        }
        (1, Elements::Float(v)) => {
            let floats = raw.chunks_exact(4);
            let expected: Vec<f64> =
                floats.map(|c| f64::from(f32::from_le_bytes(c.try_into().unwrap()))).collect();
            assert_eq!(v, expected, "{name}");
        }
        (11, Elements::Float(v)) if raw.is_empty() => assert_eq!(v, theirs.double_data, "{name}"),
        (7, Elements::Int(v)) if raw.is_empty() => assert_eq!(v, theirs.int64_data, "{name}"),
        (7, Elements::Int(v)) => {
            let words = raw.chunks_exact(8);
            let expected: Vec<i64> =
                words.map(|c| i64::from_le_bytes(c.try_into().unwrap())).collect();
            assert_eq!(v, expected, "{name}");
        }
        (2..=6, Elements::Int(v)) if raw.is_empty() => {
            let expected: Vec<i64> = theirs.int32_data.iter().map(|&x| i64::from(x)).collect();
            assert_eq!(v, expected, "{name}");
        }
        (12 | 13, Elements::Int(v)) if raw.is_empty() => {
            let expected: Vec<i64> = theirs.uint64_data.iter().map(|&x| x as i64).collect();
            assert_eq!(v, expected, "{name}");
        }
        (8, Elements::Text(v)) => assert_eq!(v, theirs.string_data, "{name}"),
        (9, Elements::Bool(v)) if raw.is_empty() => {
            let expected: Vec<bool> = theirs.int32_data.iter().map(|&x| x != 0).collect();
            assert_eq!(v, expected, "{name}");
        }
        // The remaining pairs of type and storage are checked by value in `storage.rs`.
        (_, _) => {}
    }
}
