//! Every way to store a tensor, and everything about a file that must be refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use heplan_onnx::{
    AttributeError, Elements, ExternalError, Model, OnnxError, TensorError, ValueKind,
};
use proptest::prelude::*;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn read(name: &str) -> Model {
    Model::read(&data(name)).unwrap()
}

fn refuse(name: &str) -> OnnxError {
    let error = Model::read(&data(name)).unwrap_err();
    assert!(error.to_string().contains(".onnx"), "{error} does not name the file");
    error
}

#[test]
fn every_storage_form_gives_the_same_numbers() {
    let model = read("storage.onnx");
    let floats = [0.0, -1.5, 0.25, 3.0, -0.125, 96.0];
    let signed = [0, -1, 2, -3, 5, -8];
    let unsigned = [0, 1, 2, 3, 5, 7];
    let truth = [true, false, false, true, true, false];
    for tensor in &model.graph.initialisers {
        let name = tensor.name();
        let found = tensor.elements().unwrap();
        let expected = match name.trim_start_matches("raw_") {
            "text" => Elements::Text(vec![Bytes::from("zero"), Bytes::from("one")]),
            "scalar" => Elements::Float(vec![2.5]),
            "empty" => Elements::Int(Vec::new()),
            "bool" => Elements::Bool(truth.to_vec()),
            float if float.starts_with('f') || float.contains("float") || float == "double" => {
                Elements::Float(floats.to_vec())
            }
            uint if uint.starts_with('u') => Elements::Int(unsigned.to_vec()),
            _ => Elements::Int(signed.to_vec()),
        };
        assert_eq!(found, expected, "{name}");
    }
    assert_eq!(model.graph.initialisers.len(), 29);
}

#[test]
fn initialisers_are_not_data_inputs() {
    let model = read("storage.onnx");
    let names: Vec<&str> = model.graph.data_inputs().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["x"]);
}

#[test]
fn attributes_have_kinds() {
    let model = read("attributes.onnx");
    let odd = &model.graph.nodes[2].attributes;
    assert_eq!(odd.int("i").unwrap(), Some(3));
    assert_eq!(odd.float("f").unwrap(), Some(1.5));
    assert_eq!(odd.text("s").unwrap(), Some("text"));
    assert_eq!(odd.ints("ints").unwrap(), Some([1, -2].as_slice()));
    assert_eq!(odd.floats("floats").unwrap(), Some([0.5, 2.0].as_slice()));
    assert_eq!(odd.texts("strings").unwrap(), Some(vec!["a", "b"]));
    assert_eq!(odd.int("absent").unwrap(), None);
    let wrong = odd.int("f").unwrap_err();
    assert!(matches!(wrong, AttributeError::WrongKind { .. }), "{wrong}");
    let value = model.graph.nodes[0].attributes.tensor("value").unwrap().unwrap();
    assert_eq!(value.elements().unwrap(), Elements::Float(vec![1.0, 2.0]));
    let unknown_rank = &model.graph.outputs[0].kind;
    assert!(matches!(unknown_rank, ValueKind::Tensor { shape: None, .. }));
}

#[test]
fn external_data_is_read_from_the_folder() {
    let model = read("external/good.onnx");
    let [a, b] = model.graph.initialisers.as_slice() else { panic!("two initialisers") };
    assert_eq!(a.elements().unwrap(), Elements::Float((0..6).map(f64::from).collect()));
    assert_eq!(b.elements().unwrap(), Elements::Int(vec![7, 8]));
}

#[test]
fn external_data_elsewhere_is_refused() {
    let cause = |name: &str| match refuse(&format!("external/{name}.onnx")) {
        OnnxError::Tensor { source: TensorError::External(error), .. } => error,
        other => panic!("{name}: {other}"),
    };
    assert!(matches!(cause("absolute"), ExternalError::Outside { .. }));
    assert!(matches!(cause("parent"), ExternalError::Outside { .. }));
    assert!(matches!(cause("past_end"), ExternalError::PastEnd { .. }));
    assert!(matches!(cause("wrong_length"), ExternalError::Length { .. }));
    assert!(matches!(cause("absent"), ExternalError::Unreadable { .. }));
    assert!(matches!(cause("not_a_number"), ExternalError::NotANumber { .. }));
    assert!(matches!(cause("no_location"), ExternalError::NoLocation));
    let bytes = std::fs::read(data("external/good.onnx")).unwrap();
    let error = Model::from_bytes("memory", Bytes::from(bytes)).unwrap_err();
    assert!(error.to_string().contains("was not read from a folder"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(data("external/good.onnx"), folder.path().join("good.onnx")).unwrap();
    let link = folder.path().join("weights.bin");
    std::os::unix::fs::symlink(data("external/weights.bin"), link).unwrap();
    let error = Model::read(&folder.path().join("good.onnx")).unwrap_err();
    assert!(error.to_string().contains("leads out of the model's folder"), "{error}");
}

#[test]
fn tensors_that_contradict_themselves_are_refused() {
    let cause = |name: &str| match refuse(&format!("bad/{name}.onnx")) {
        OnnxError::Tensor { source, .. } => source,
        other => panic!("{name}: {other}"),
    };
    assert!(matches!(cause("negative_dim"), TensorError::NegativeDimension { axis: 0, found: -2 }));
    assert!(matches!(cause("too_few"), TensorError::Length { wanted: 6, found: 4, .. }));
    assert!(matches!(cause("overflow"), TensorError::TooLarge { .. }));
    assert!(matches!(cause("two_fields"), TensorError::Storage { .. }));
    assert!(matches!(cause("wrong_field"), TensorError::Storage { .. }));
    assert!(matches!(cause("raw_length"), TensorError::Length { wanted: 16, found: 5, .. }));
    assert!(matches!(cause("overflow_hidden"), TensorError::TooLarge { .. }));
    let late = read("bad/int8_range.onnx").graph.initialisers[0].elements().unwrap_err();
    assert!(matches!(late, TensorError::OutOfRange { index: 1, .. }), "{late}");
}

#[test]
fn versions_outside_the_range_are_refused() {
    assert!(matches!(refuse("bad/opset_5.onnx"), OnnxError::Opset { found: 5, .. }));
    assert!(matches!(refuse("bad/opset_99.onnx"), OnnxError::Opset { found: 99, .. }));
    assert!(matches!(refuse("bad/opset_conflict.onnx"), OnnxError::OpsetConflict { .. }));
    assert!(matches!(refuse("bad/ir_99.onnx"), OnnxError::IrVersion { found: 99, .. }));
    assert!(matches!(refuse("bad/no_opset.onnx"), OnnxError::Damaged { .. }));
    assert!(matches!(refuse("bad/no_graph.onnx"), OnnxError::Damaged { .. }));
    assert!(matches!(refuse("bad/attribute_twice.onnx"), OnnxError::Attribute { .. }));
}

#[test]
fn files_that_are_no_models_are_refused() {
    let from = |bytes: &'static [u8]| Model::from_bytes("x.onnx", Bytes::from_static(bytes));
    assert!(matches!(from(b""), Err(OnnxError::Empty { .. })));
    assert!(matches!(from(b"PK\x03\x04 a zip archive"), Err(OnnxError::NotOnnx { .. })));
    assert!(matches!(from(b"{\"json\": true}"), Err(OnnxError::NotOnnx { .. })));
    assert!(matches!(Model::read(&data("")), Err(OnnxError::NotAFile { .. })));
    assert!(matches!(Model::read(&data("absent.onnx")), Err(OnnxError::Io { .. })));
}

#[test]
fn every_cut_of_a_model_is_refused_or_read_without_a_panic() {
    let bytes = Bytes::from(std::fs::read(data("attributes.onnx")).unwrap());
    for end in 0..bytes.len() {
        let error = Model::from_bytes("cut", bytes.slice(..end)).err();
        assert!(error.is_some() || end > bytes.len() - 24, "cut at {end} of {}", bytes.len());
    }
}

#[test]
fn deep_nesting_is_refused() {
    // A graph attribute within a graph attribute, 200 deep: field 7 (graph), 1 (node),
    // 5 (attribute), 6 (graph), and so on.
    let mut bytes: Vec<u8> = Vec::new();
    for depth in 0..200 {
        for tag in [0x32, 0x2a, 0x0a] {
            let tag = if depth == 199 && tag == 0x32 { 0x3a } else { tag };
            let mut outer = vec![tag];
            prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
            outer.extend(&bytes);
            bytes = outer;
        }
    }
    let mut model = vec![0x08, 0x08, 0x3a];
    prost::encoding::encode_varint(bytes.len() as u64, &mut model);
    model.extend(&bytes);
    let error = Model::from_bytes("deep", Bytes::from(model)).unwrap_err();
    assert!(matches!(error, OnnxError::Damaged { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// A flipped byte gives a model or an error, never a panic, also when elements are decoded.
    #[test]
    fn a_flipped_byte_never_panics(at in 0_usize..2600, flip in 1_u8..=255) {
        let mut bytes = std::fs::read(data("storage.onnx")).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        if let Ok(model) = Model::from_bytes("flipped", Bytes::from(bytes)) {
            for tensor in &model.graph.initialisers {
                if let Ok(Elements::Float(v)) = tensor.elements() {
                    prop_assert_eq!(v.len(), tensor.len());
                }
            }
        }
    }
}
