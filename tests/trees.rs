//! Ensembles of trees: comparisons of encrypted data, from the exporter's file to an answer.
//!
//! `trees/` holds a decision tree and a boosted ensemble that scikit-learn trained on its breast
//! cancer data, as its exporter writes them, and what the ONNX runtime answers to the test samples
//! of `models/tab_mlp_breast_cancer`. Small trees are written here and walked by their definition.

mod common;

use common::data::{numbers, read_npy, read_npz, write_npy, write_npz};
use common::onnx::{Attribute, Onnx};
use common::{Lab, root};
use ndarray::Axis;
use serde_json::Value;

/// The place of a stored ensemble, and that of real samples to calibrate with.
fn stored(name: &str) -> (String, String) {
    let samples = root().join("tests/models/tab_mlp_breast_cancer/calibration.npz");
    let model = root().join("tests/trees").join(name);
    (model.display().to_string(), samples.display().to_string())
}

/// Compiles one of the stored ensembles with this agreement: the model's place, and the report.
fn compiled(name: &str, agreement: &str) -> (Lab, String, Value) {
    let lab = Lab::new();
    let (model, samples) = stored(name);
    let compile = ["compile", "--json", "-m", &model, "-c", &samples, "-o", "model.plan"];
    let compile = [&compile[..], &["--min-agreement", agreement]].concat();
    let report = lab.heplan(compile).fine().json();
    (lab, model, report)
}

#[test]
fn trees_decide_in_simulation_as_the_float_model_does() {
    let test = root().join("tests/models/tab_mlp_breast_cancer/test.npz").display().to_string();
    for (name, agreement) in [("tree.onnx", "0.99"), ("boosted.onnx", "0.98")] {
        let (lab, model, report) = compiled(name, agreement);
        // Real-valued features: some lie near their thresholds, and the report says so.
        let undecided = report["functions"][0]["undecided"].as_f64();
        assert!(undecided > Some(0.0) && undecided < Some(0.1), "{name}: {report}");
        let check = ["check", "--json", "-p", "model.plan", "-m", &model, "-c", &test];
        let check = lab.heplan(check).fine().json();
        assert!(check["agreement"].as_f64() >= Some(0.96), "{name}: {check}");
    }
}

#[test]
fn an_ensemble_that_misses_the_agreement_on_its_calibration_set_is_refused() {
    let lab = Lab::new();
    // Of 256 samples 253 get the float model's class, where 99 % are asked for.
    let (model, samples) = stored("boosted.onnx");
    let compile = format!("compile -m {model} -c {samples} -o model.plan");
    lab.refuses(&compile, &["E0403", "agreement", "threshold", "--min-agreement"]);
}

#[test]
fn an_encrypted_tree_answers_as_the_runtime_does() {
    let (lab, ..) = compiled("tree.onnx", "0.99");
    let test = root().join("tests/models/tab_mlp_breast_cancer/test.npz");
    let rows: Vec<f32> = read_npz(&test, "x").iter().copied().take(3 * 30).collect();
    write_npy(&lab.path("x.npy"), &[3, 30], &rows);
    lab.sh("keygen -i model.keyparams").fine();
    lab.sh("encrypt -i x.npy").fine();
    lab.sh("run -p model.plan -i x.enc -o y.enc").fine();
    lab.sh("decrypt -i y.enc").fine();
    let found = read_npz(&lab.path("y.npz"), "probabilities");
    let wanted = read_npz(&root().join("tests/trees/expected.npz"), "tree_scores");
    assert_eq!(found.shape(), [3, 2]);
    for (f, w) in found.axis_iter(Axis(0)).zip(wanted.axis_iter(Axis(0))) {
        for (f, w) in f.iter().zip(&w) {
            assert!((f - w).abs() < 0.15, "{found} {wanted}");
        }
        assert_eq!(f[[0]] > f[[1]], w[[0]] > w[[1]], "{found}");
    }
}

/// A tree over two counted features and a real one: the counts decide exactly, at their thresholds
/// too.
fn counted(x: &[f32]) -> f32 {
    match (x[0] <= 2.0, x[1] < 1.0) {
        (true, true) => 1.0,
        (true, false) => -2.0,
        (false, _) if x[1] >= 3.0 => 4.0,
        (false, _) => 0.5,
    }
}

fn counting() -> Onnx {
    let ints = |v: &[i64]| Attribute::Ints(v.to_vec());
    let floats = |v: &[f32]| Attribute::Floats(v.to_vec());
    let modes = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "LEAF", "LEAF", "LEAF", "LEAF"];
    let modes = Attribute::Texts(modes.to_vec());
    Onnx::new()
        .input("x", &[1, 3])
        .classical(
            "TreeEnsembleRegressor",
            &["x"],
            &["y"],
            &[
                ("n_targets", Attribute::Int(1)),
                ("nodes_treeids", ints(&[0; 7])),
                ("nodes_nodeids", ints(&[0, 1, 2, 3, 4, 5, 6])),
                ("nodes_featureids", ints(&[0, 1, 1, 0, 0, 0, 0])),
                ("nodes_values", floats(&[2.0, 1.0, 3.0, 0.0, 0.0, 0.0, 0.0])),
                ("nodes_modes", modes),
                ("nodes_truenodeids", ints(&[1, 3, 5, 0, 0, 0, 0])),
                ("nodes_falsenodeids", ints(&[2, 4, 6, 0, 0, 0, 0])),
                ("target_treeids", ints(&[0; 4])),
                ("target_nodeids", ints(&[3, 4, 5, 6])),
                ("target_ids", ints(&[0; 4])),
                ("target_weights", floats(&[1.0, -2.0, 4.0, 0.5])),
            ],
        )
        .output("y", &[1, 1])
}

/// Counts from 0 to 5 and a number that the tree does not read.
fn counts(seed: u64, samples: usize) -> Vec<f32> {
    let count = |v: f32| (3.0 * v + 3.0).floor().min(5.0);
    let each = |(i, v): (usize, f32)| if i % 3 == 2 { v } else { count(v) };
    numbers(seed, 3 * samples).into_iter().enumerate().map(each).collect()
}

#[test]
fn whole_numbers_are_decided_at_their_thresholds_too() {
    let lab = Lab::new();
    lab.write("model.onnx", counting().encode());
    write_npz(&lab.path("c.npz"), &[("x", &[96, 3], &counts(5, 96))]);
    let report = lab.sh("compile --json -m model.onnx -c c.npz").fine().json();
    assert_eq!(report["functions"][0]["undecided"], 0.0);
    let inputs = counts(6, 4);
    write_npy(&lab.path("x.npy"), &[4, 3], &inputs);
    lab.sh("keygen -i model.keyparams").fine();
    lab.sh("encrypt -i x.npy").fine();
    lab.sh("run -p model.plan -i x.enc -o y.enc").fine();
    lab.sh("decrypt -i y.enc").fine();
    let found = read_npy(&lab.path("y.npy"));
    for (f, x) in found.iter().zip(inputs.chunks(3)) {
        assert!((f - counted(x)).abs() < 0.5, "{f} for {x:?}, not {}", counted(x));
    }
}

#[test]
fn thresholds_amid_dense_data_are_refused_with_a_way_out() {
    let lab = Lab::new();
    lab.write("model.onnx", counting().encode());
    // Real numbers within a thousandth of the thresholds.
    let near = |(i, v): (usize, f32)| if i % 3 == 0 { 2.0 + 0.001 * v } else { 1.0 + 3.0 * v };
    let mut samples: Vec<f32> = numbers(7, 3 * 200).into_iter().enumerate().map(near).collect();
    (samples[0], samples[3]) = (-100.0, 100.0);
    write_npz(&lab.path("c.npz"), &[("x", &[200, 3], &samples)]);
    lab.refuses("compile -m model.onnx -c c.npz", &["E0403", "threshold", "--max-error"]);
}
