//! Text that people read, held in `snapshots/`: the plan after every pass for three small models,
//! every decision about the bundled models, and every diagnostic in full.
//!
//! `INSTA_UPDATE=always cargo test --release --test snapshots` writes them anew.

mod common;

use std::collections::BTreeSet;

use common::Lab;
use common::data::{numbers, write_npz};
use common::onnx::{Attribute, Onnx};
use heplan_ir::diagnostic::Code;
use serde_json::Value;

fn check(folder: &str, name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("../snapshots/{folder}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// `heplan explain --after` of a model, with calibration samples of `size` numbers.
fn pipeline(name: &str, model: &Onnx, size: usize, options: &str) {
    let lab = Lab::new();
    lab.write("model.onnx", model.encode());
    write_npz(&lab.path("c.npz"), &[("x", &[16, size], &numbers(9, 16 * size))]);
    let ran = lab.sh(&format!("explain --quiet -m model.onnx -c c.npz --after {options}")).fine();
    check("pipeline", name, &ran.stdout);
}

#[test]
fn pipeline_of_a_dense_square() {
    let model = Onnx::new()
        .input("x", &[1, 4])
        .weight("w", &[3, 4], &numbers(1, 12))
        .weight("b", &[3], &numbers(2, 3))
        .node_with("Gemm", &["x", "w", "b"], "h", &[("transB", Attribute::Int(1))])
        .node("Mul", &["h", "h"], "y")
        .output("y", &[1, 3]);
    pipeline("dense_square", &model, 4, "");
    pipeline("dense_square_shared", &model, 4, "--batch 512");
}

#[test]
fn pipeline_of_an_activation() {
    let model = Onnx::new()
        .input("x", &[1, 4])
        .weight("w", &[4, 4], &numbers(1, 16))
        .node("MatMul", &["x", "w"], "h")
        .node("Sigmoid", &["h"], "s")
        .node("Mul", &["h", "s"], "y")
        .output("y", &[1, 4]);
    pipeline("silu", &model, 4, "");
}

#[test]
fn pipeline_of_a_residual() {
    let model = Onnx::new()
        .input("x", &[1, 4])
        .weight("w", &[4, 4], &numbers(1, 16))
        .node("MatMul", &["x", "w"], "h")
        .node("Mul", &["h", "h"], "s")
        .node("Add", &["s", "x"], "y")
        .output("y", &[1, 4]);
    pipeline("residual", &model, 4, "");
}

/// The bundled models.
const BUNDLED: [&str; 11] = [
    "act_gelu",
    "act_relu",
    "act_silu",
    "act_square",
    "act_tanh",
    "cnn_bn_silu",
    "cryptonets",
    "lenet5",
    "lola_mnist",
    "mnist_mlp",
    "tab_mlp_breast_cancer",
];

/// What was decided about a model: parameters, then a line for every node, then one for every layout
/// and every polynomial.
fn decisions(explained: &Value) -> String {
    let number = |of: &Value, name: &str| of[name].to_string();
    let text = |of: &Value| of.as_str().unwrap_or_default().to_owned();
    let list = |name: &str| explained[name].as_array().cloned().unwrap_or_default();
    let top = |name: &str| number(explained, name);
    let mut lines = vec![format!(
        "ring 2^{}, {} levels, scale 2^{}, {} digits, {} keys of {} bytes, inputs of {} bytes",
        top("log_n"),
        top("levels"),
        top("scale_bits"),
        top("digits"),
        top("keys"),
        top("key_bytes"),
        top("input_bytes")
    )];
    for node in list("nodes") {
        let counts = node["instructions"].as_object().cloned().unwrap_or_default();
        let counts: Vec<String> = counts.iter().map(|(name, n)| format!("{n} {name}")).collect();
        lines.push(format!(
            "node {}: levels {} to {}, {} diagonals, {} key switches, {} keys; {}",
            text(&node["node"]),
            number(&node, "level_in"),
            number(&node, "level_out"),
            number(&node, "diagonals"),
            number(&node, "key_switches"),
            number(&node, "keys"),
            counts.join(", ")
        ));
    }
    for layout in list("layouts") {
        lines.push(format!("layout {}: {}", text(&layout["node"]), text(&layout["layout"])));
    }
    for f in list("functions") {
        let (degree, depth) = (number(&f, "degree"), number(&f, "depth"));
        lines.push(format!("polynomial {}: degree {degree}, {depth} levels", text(&f["node"])));
    }
    lines.join("\n")
}

#[test]
fn decisions_about_the_bundled_models() {
    for name in BUNDLED {
        let folder = common::root().join("tests/models").join(name).display().to_string();
        let files = format!("-m {folder}/model.onnx -c {folder}/calibration.npz");
        let ran = Lab::new().sh(&format!("explain --quiet --json {files}")).fine();
        check("decisions", name, &decisions(&ran.json()));
    }
}

/// A model, with calibration data if not the usual, and options.
struct Case {
    model: Vec<u8>,
    data: Vec<f32>,
    options: &'static str,
}

impl From<Onnx> for Case {
    fn from(model: Onnx) -> Self {
        Self { model: model.encode(), data: numbers(9, 96), options: "" }
    }
}

fn square() -> Onnx {
    Onnx::new().input("x", &[1, 6]).node("Mul", &["x", "x"], "y").output("y", &[1, 6])
}

/// A model that is refused with this code.
fn refused(code: Code) -> Case {
    let x = || Onnx::new().input("x", &[1, 6]);
    let one = |op: &str| x().node(op, &["x"], "y").output("y", &[1, 6]);
    match code {
        Code::NotOnnx => Case { model: b"hello".to_vec(), data: numbers(9, 96), options: "" },
        Code::OpsetOutOfRange => one("Relu").opset(99).into(),
        Code::Cycle => {
            x().node("Add", &["x", "b"], "a").node("Relu", &["a"], "b").output("b", &[1, 6]).into()
        }
        Code::MissingValue => x().node("Add", &["x", "w"], "y").output("y", &[1, 6]).into(),
        Code::DuplicateValue => {
            x().node("Relu", &["x"], "y").node("Tanh", &["x"], "y").output("y", &[1, 6]).into()
        }
        Code::BadTensor => x()
            .weight("w", &[6], &numbers(1, 5))
            .node("Add", &["x", "w"], "y")
            .output("y", &[1, 6])
            .into(),
        Code::ExternalData => x()
            .external("w", &[6], "weights.bin")
            .node("Add", &["x", "w"], "y")
            .output("y", &[1, 6])
            .into(),
        Code::BadNode => x()
            .node_with("Transpose", &["x"], "y", &[("perm", Attribute::Ints(vec![0, 7]))])
            .output("y", &[1, 6])
            .into(),
        Code::NoInput => Onnx::new()
            .weight("w", &[6], &numbers(1, 6))
            .node("Relu", &["w"], "y")
            .output("y", &[6])
            .into(),
        Code::Unsupported => {
            let steps = x().node("Floor", &["x"], "a").node("Ceil", &["a"], "b");
            steps.node("Neg", &["b"], "y").output("y", &[1, 6]).into()
        }
        Code::UnknownOperator => one("NoSuchOperator").into(),
        Code::UnsupportedMode => x()
            .weight("e", &[6], &[1.0, 2.0, 3.5, 1.0, 2.0, 3.5])
            .node("Mod", &["x", "e"], "y")
            .output("y", &[1, 6])
            .into(),
        Code::UnsupportedType => x()
            .node_with("Cast", &["x"], "y", &[("to", Attribute::Int(8))])
            .output("y", &[1, 6])
            .into(),
        Code::ShapeMismatch => x()
            .weight("w", &[5, 4], &numbers(1, 20))
            .node("MatMul", &["x", "w"], "y")
            .output("y", &[1, 4])
            .into(),
        Code::UnknownDimension => {
            Onnx::new().input("x", &[1, -1]).node("Relu", &["x"], "y").output("y", &[1, -1]).into()
        }
        Code::Calibration => Case { data: Vec::new(), ..square().into() },
        Code::Approximation => {
            let sign = x().node("Sign", &["x"], "a");
            sign.node("Neg", &["a"], "y").output("y", &[1, 6]).into()
        }
        Code::Precision => Case { options: "--precision-bits 35 --log-n 12", ..square().into() },
        Code::Domain => one("Log").into(),
        Code::Costs => Case { options: "--costs c.npz", ..square().into() },
        Code::Batch => Case { options: "--log-n 12 --batch 4096", ..square().into() },
        Code::KeysTooLarge => Case { options: "--max-key-size 1KiB", ..square().into() },
        Code::TooDeep => {
            let mut model = x();
            let mut last = "x".to_owned();
            for i in 0..8 {
                let next = format!("v{i}");
                model = model.node("Mul", &[&last, &last], &next);
                last = next;
            }
            let model = model.output(&last, &[1, 6]);
            Case { options: "--log-n 12", ..model.into() }
        }
    }
}

#[test]
fn every_diagnostic_is_shown_in_full() {
    let mut missing = Vec::new();
    for &code in Code::ALL {
        let lab = Lab::new();
        let case = refused(code);
        lab.write("model.onnx", &case.model);
        write_npz(&lab.path("c.npz"), &[("x", &[case.data.len() / 6, 6], &case.data)]);
        let ran = lab.sh(&format!("compile --quiet -m model.onnx -c c.npz {}", case.options));
        let helps = ran.stderr.matches("   = help: ").count() == ran.errors();
        if ran.code != Some(1) || !ran.stderr.contains(code.as_str()) || !helps {
            missing.push(format!("{code:?}: {ran:#?}"));
            continue;
        }
        check("errors", code.as_str(), &ran.stderr);
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn no_snapshot_is_left_over() {
    let names = |folder: &str| -> BTreeSet<String> {
        let path = common::root().join("snapshots").join(folder);
        std::fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .filter(|n| n.ends_with(".snap"))
            .collect()
    };
    let wanted = |names: &[&str]| names.iter().map(|n| format!("{n}.snap")).collect();
    let codes: Vec<&str> = Code::ALL.iter().map(|c| c.as_str()).collect();
    let known: [(&str, BTreeSet<String>); 3] = [
        ("decisions", wanted(&BUNDLED)),
        ("errors", wanted(&codes)),
        ("pipeline", wanted(&["dense_square", "dense_square_shared", "silu", "residual"])),
    ];
    for (folder, known) in known {
        assert!(names(folder).is_subset(&known), "{:?}", names(folder));
    }
}
