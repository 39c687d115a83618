//! Whole models: compiled, checked in simulation on fifty samples, and a few samples encrypted,
//! run and decrypted, against what onnxruntime answers.
//!
//! `HEPLAN_FULL=1` encrypts all fifty samples, of every exported variant.
//! `HEPLAN_MODELS=FOLDER` adds the models in that folder.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::data::{argmax, labels, read_npy, read_npz, write_npy};
use common::{Lab, root};
use ndarray::{ArrayD, Axis, Slice};
use serde_json::Value;

/// Samples of a test set that count.
const SAMPLES: usize = 300;

/// How a model is held to its float form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing is approximated: every output within 2^-10 of the output range.
    Exact,
    /// Activations are approximated: classes agree.
    Classes,
}

fn full() -> bool {
    std::env::var("HEPLAN_FULL").is_ok_and(|v| !v.is_empty() && v != "0")
}

/// Compiles every variant of a model that is asked for and holds it to `kind`.
fn holds(folder: &Path, kind: Kind, encrypted: usize, options: &[&str]) {
    let mut variants: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a folder of models")
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "onnx"))
        .collect();
    variants.sort();
    for model in variants {
        let first = model.ends_with("model.onnx");
        let encrypted = if full() {
            SAMPLES
        } else if first {
            encrypted
        } else {
            0
        };
        one(folder, &model, kind, encrypted, options);
    }
}

fn one(folder: &Path, model: &Path, kind: Kind, encrypted: usize, options: &[&str]) {
    let lab = Lab::new();
    let test = folder.join("test.npz");
    let wanted = leading(read_npz(&test, "out"), SAMPLES);
    let range = range(&wanted);
    let inputs = leading(read_npz(&test, "x"), SAMPLES);
    let paths = [model, &folder.join("calibration.npz")].map(|p| p.display().to_string());
    let compile = ["compile", "--json", "-m", &paths[0], "-c", &paths[1], "-o", "model.plan"];
    lab.heplan([&compile[..], options].concat()).fine();
    let (limit, test_path) = (SAMPLES.to_string(), test.display().to_string());
    let check = ["check", "--json", "-p", "model.plan", "-c", &test_path, "-n", &limit];
    let name = model.display().to_string();
    simulated(&lab.heplan(check).fine().json(), kind, &name);
    if encrypted == 0 {
        return;
    }
    let count = encrypted.min(inputs.shape()[0]);
    let batch = leading(inputs, count);
    write_npy(&lab.path("input.npy"), batch.shape(), batch.as_slice().expect("flat"));
    lab.sh("keygen -i model.keyparams").fine();
    lab.sh("encrypt -i input.npy").fine();
    lab.sh("run -p model.plan -i input.enc").fine();
    lab.sh("decrypt -i output.enc").fine();
    let found = read_npy(&lab.path("output.npy"));
    let (wanted, labels) = (leading(wanted, count), labels(&test));
    compare(&found, &Answers { wanted, labels, range }, kind, &name);
}

/// Holds what `check` says about a plan in simulation.
fn simulated(checked: &Value, kind: Kind, name: &str) {
    let number = |field: &str| checked[field].as_f64();
    let error = number("relative_error").expect("an error");
    if kind == Kind::Exact {
        assert!(error <= 1.0 / 1024.0, "{name} in simulation: {checked}");
    }
    match (number("accuracy"), number("float_accuracy"), number("agreement")) {
        (Some(plan), Some(float), Some(_)) => {
            assert!(plan >= 0.99 * float, "{name} in simulation: {checked}");
        }
        (_, _, Some(agreement)) => assert!(agreement >= 0.99, "{name} in simulation: {checked}"),
        (_, _, None) => assert!(error <= 0.01, "{name} in simulation: {checked}"),
    }
}

fn leading(array: ArrayD<f32>, count: usize) -> ArrayD<f32> {
    let count = count.min(array.shape()[0]);
    array.slice_axis(Axis(0), Slice::from(..count)).as_standard_layout().into_owned()
}

/// What a model answers.
struct Answers {
    wanted: ArrayD<f32>,
    labels: Vec<i64>,
    /// Of the outputs over the whole test set.
    range: f64,
}

/// The largest number less the smallest.
fn range(array: &ArrayD<f32>) -> f64 {
    let all = || array.iter().map(|&v| f64::from(v));
    all().fold(f64::MIN, f64::max) - all().fold(f64::MAX, f64::min)
}

fn compare(found: &ArrayD<f32>, answers: &Answers, kind: Kind, name: &str) {
    let Answers { wanted, labels, range } = answers;
    assert_eq!(found.len(), wanted.len(), "{name}");
    let rows = |a: &ArrayD<f32>| -> Vec<Vec<f64>> {
        a.axis_iter(Axis(0)).map(|r| r.iter().map(|&v| f64::from(v)).collect()).collect()
    };
    let (found, wanted) = (rows(found), rows(wanted));
    let pairs = || found.iter().flatten().zip(wanted.iter().flatten());
    let error = pairs().map(|(f, w)| (f - w).abs()).fold(0.0, f64::max);
    assert!(error.is_finite(), "{name}");
    // Approximation may cost a few per cent in a single number where classes decide.
    let bound = if kind == Kind::Exact { range / 1024.0 } else { range * 0.1 };
    assert!(error <= bound, "{name}: {error} in a range of {range}");
    let right = |rows: &[Vec<f64>]| {
        rows.iter().zip(labels).filter(|(r, y)| argmax(r) as i64 == **y).count() as f64
    };
    if !labels.is_empty() && wanted.iter().all(|r| r.len() > 1) {
        assert!(right(&found) >= 0.99 * right(&wanted), "{name}: {found:?} {wanted:?}");
    }
}

/// One test per bundled model: its folder, how it is held, how many samples are encrypted, and
/// options that it is compiled with.
macro_rules! models {
    ($($name:ident: $kind:ident, $encrypted:literal $(, $option:literal)*;)*) => {
        $(#[test]
        fn $name() {
            let folder = root().join("tests/models").join(stringify!($name));
            holds(&folder, Kind::$kind, $encrypted, &[$($option),*]);
        })*

        const TESTED: &[&str] = &[$(stringify!($name)),*];
    };
}

models! {
    act_gelu: Classes, 3;
    act_relu: Classes, 3;
    act_silu: Classes, 3;
    act_square: Exact, 3;
    act_tanh: Classes, 3;
    cnn_bn_silu: Classes, 2;
    cryptonets: Exact, 3;
    lenet5: Classes, 2;
    lola_mnist: Exact, 3;
    mnist_mlp: Classes, 3;
    tab_mlp_breast_cancer: Classes, 3;
    transformer_digits: Classes, 0;
    ts_conv1d_italy: Classes, 3;
}

#[test]
fn keys_as_small_as_asked_for_give_the_same_answers() {
    let folder = root().join("tests/models/cryptonets");
    one(&folder, &folder.join("model.onnx"), Kind::Exact, 1, &["--max-key-size", "9MB"]);
    let lab = Lab::new();
    let path = |name: &str| folder.join(name).display().to_string();
    let model = [path("model.onnx"), path("calibration.npz")];
    let keys = |options: &[&str]| {
        let base = ["compile", "--json", "-m", &model[0], "-c", &model[1], "-o", "model.plan"];
        let report = lab.heplan([&base[..], options].concat()).fine().json();
        lab.sh("keygen --force -i model.keyparams").fine();
        let bytes = fs::metadata(lab.path("client.key.pub")).expect("keys").len();
        (report, bytes)
    };
    let (usual, usual_bytes) = keys(&[]);
    let (small, small_bytes) = keys(&["--max-key-size", "9MB"]);
    assert!(small_bytes < 9_050_000 && small_bytes < usual_bytes, "{small_bytes} bytes");
    let seconds = |report: &Value| report["predicted_seconds"].as_f64().expect("a time");
    assert!(seconds(&small) > seconds(&usual), "the fastest plan is the default");
}

#[test]
fn every_bundled_model_is_tested() {
    let folders = fs::read_dir(root().join("tests/models")).expect("models").flatten();
    let mut names: Vec<String> =
        folders.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(names, TESTED);
}

#[test]
fn models_of_the_users_own_folder_hold() {
    let Some(folder) = std::env::var_os("HEPLAN_MODELS") else { return };
    let mut folders: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").flatten().map(|e| e.path()).collect();
    folders.sort();
    for folder in folders.into_iter().filter(|f| f.join("test.npz").exists()) {
        holds(&folder, Kind::Classes, 2, &[]);
    }
}
