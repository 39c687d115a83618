//! Weights as exporters store them: in halves, brain floats, doubles and quantised bytes, inside
//! the model or in files beside it. All of them compute what the float32 weights do.

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::onnx::Onnx;
use common::{Lab, Ran};
use heplan_compiler::import::import_file;
use heplan_compiler::reference::Executor;

/// Multiples of 1/8, which every float type here stores exactly.
const WEIGHTS: [f32; 12] = [0.5, -1.0, 0.125, 2.0, -0.25, 1.5, -3.0, 0.75, 1.0, -0.5, 4.0, -2.5];
const SAMPLE: [f64; 4] = [1.0, -2.0, 0.5, 3.0];

/// Number of each element type in `onnx.proto`, and the weights in it.
const FLOAT: i64 = 1;
const INT8: i64 = 3;
const FLOAT16: i64 = 10;
const DOUBLE: i64 = 11;
const BFLOAT16: i64 = 16;

fn stored(data_type: i64) -> Vec<u8> {
    WEIGHTS.iter().flat_map(|&w| one(data_type, w)).collect()
}

fn one(data_type: i64, w: f32) -> Vec<u8> {
    let bits = w.to_bits();
    match data_type {
        FLOAT => w.to_le_bytes().to_vec(),
        DOUBLE => f64::from(w).to_le_bytes().to_vec(),
        // The upper half of a float32.
        BFLOAT16 => bits.to_le_bytes()[2..].to_vec(),
        // IEEE 754 binary16 of a normal number whose fraction has at most 10 bits.
        FLOAT16 if w != 0.0 => {
            let exponent = (bits >> 23 & 0xff) + 15 - 127;
            let half = bits >> 31 << 15 | exponent << 10 | bits >> 13 & 0x3ff;
            (half as u16).to_le_bytes().to_vec()
        }
        // Quantised in steps of an eighth.
        INT8 => vec![(w * 8.0) as i8 as u8],
        other => unreachable!("{other}"),
    }
}

/// `x · W` with the weights stored as `data_type`, cast or dequantised as exporters do.
fn model(data_type: i64) -> Onnx {
    let model =
        Onnx::new().input("x", &[1, 4]).typed("stored", &[4, 3], data_type, &stored(data_type));
    let cast = [("to", common::onnx::Attribute::Int(FLOAT))];
    let model = match data_type {
        FLOAT => model.node("Identity", &["stored"], "w"),
        INT8 => {
            model.weight("step", &[], &[0.125]).node("DequantizeLinear", &["stored", "step"], "w")
        }
        _ => model.node_with("Cast", &["stored"], "w", &cast),
    };
    model.node("MatMul", &["x", "w"], "y").output("y", &[1, 3])
}

fn computed(lab: &Lab, name: &str) -> Vec<f64> {
    let imported = import_file(&lab.path(name), &BTreeMap::new());
    let graph = imported.unwrap_or_else(|e| unreachable!("{name}: {e:?}")).graph;
    Executor::new(&graph).run(&[SAMPLE.to_vec()]).remove(0)
}

/// The product by the textbook.
fn expected() -> Vec<f64> {
    (0..3).map(|j| (0..4).map(|i| SAMPLE[i] * f64::from(WEIGHTS[3 * i + j])).sum()).collect()
}

#[test]
fn weights_of_every_type_compute_the_same() {
    let lab = Lab::new();
    for data_type in [FLOAT, FLOAT16, BFLOAT16, DOUBLE, INT8] {
        lab.write("model.onnx", model(data_type).encode());
        assert_eq!(computed(&lab, "model.onnx"), expected(), "type {data_type}");
        lab.sh("check-onnx -m model.onnx").fine();
    }
}

fn external(location: &str) -> Onnx {
    let model = Onnx::new().input("x", &[1, 4]).external("w", &[4, 3], location);
    model.node("MatMul", &["x", "w"], "y").output("y", &[1, 3])
}

#[test]
fn weights_beside_the_model_are_read() {
    let lab = Lab::new();
    fs::create_dir(lab.path("parts")).expect("writable");
    for location in ["weights.bin", "./weights.bin", "parts/weights.bin"] {
        lab.write(location, stored(FLOAT));
        lab.write("model.onnx", external(location).encode());
        assert_eq!(computed(&lab, "model.onnx"), expected(), "{location}");
    }
}

#[track_caller]
fn refused(lab: &Lab, model: &Onnx, needles: &[&str]) -> Ran {
    lab.write("bad.onnx", model.encode());
    lab.sh("check-onnx -m bad.onnx").refused(needles)
}

#[test]
fn weights_outside_of_the_models_folder_are_refused() {
    let (lab, outside) = (Lab::new(), Lab::new());
    let elsewhere = outside.write("weights.bin", stored(FLOAT)).display().to_string();
    let inner = lab.path("inner");
    fs::create_dir(&inner).expect("writable");
    lab.write("weights.bin", stored(FLOAT));
    std::os::unix::fs::symlink(&elsewhere, lab.path("link.bin")).expect("writable");
    for location in [elsewhere.as_str(), "../weights.bin", "inner/../weights.bin", "link.bin"] {
        refused(&lab, &external(location), &["E0107", "leads out", "help: put the data file into"]);
    }
    refused(&lab, &external("absent.bin"), &["E0107", "absent.bin", "help: put the data files"]);
    refused(&lab, &external("inner"), &["E0107", "not a regular file"]);
    lab.write("short.bin", &stored(FLOAT)[1..]);
    refused(&lab, &external("short.bin"), &["E0107", "48", "47", "help: copy model and data"]);
}

#[test]
fn versions_that_are_not_read_are_refused_with_those_that_are() {
    let lab = Lab::new();
    let model = || Onnx::new().input("x", &[1, 4]).node("Relu", &["x"], "y").output("y", &[1, 4]);
    refused(&lab, &model().opset(5), &["E0102", "opset 5", "6 to 28", "export with opset >= 13"]);
    refused(&lab, &model().opset(99), &["E0102", "opset 99", "6 to 28", "export with opset <= 28"]);
    let gelu = Onnx::new().input("x", &[1, 4]).node("Gelu", &["x"], "y").output("y", &[1, 4]);
    let needles = ["E0108", "/y", "opset 20", "declares 17", "export with opset >= 20"];
    refused(&lab, &gelu, &needles);
}
