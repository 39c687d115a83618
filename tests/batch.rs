//! Many samples at once: shared ciphertexts, encrypted, run and decrypted, against the float model.

mod common;

use common::data::{numbers, read_npy, read_npz, write_npy, write_npz};
use common::onnx::{Attribute, Onnx};
use common::{Lab, root};
use ndarray::{Axis, Slice};

/// Keys, ciphertexts and answers for `plan` and the samples in `input.npy`.
fn answers(lab: &Lab, plan: &str) -> Vec<f64> {
    lab.sh(&format!("keygen -i {plan}.keyparams -o {plan}.key")).fine();
    lab.sh(&format!("encrypt -k {plan}.key -i input.npy -o {plan}.enc")).fine();
    lab.sh(&format!("run -p {plan}.plan -k {plan}.key.pub -i {plan}.enc -o {plan}.out.enc")).fine();
    lab.sh(&format!("decrypt -k {plan}.key -i {plan}.out.enc -o {plan}.npy")).fine();
    read_npy(&lab.path(&format!("{plan}.npy"))).iter().map(|&v| f64::from(v)).collect()
}

fn close(found: &[f64], wanted: &[f64], range: f64) {
    assert_eq!(found.len(), wanted.len());
    let error = found.iter().zip(wanted).map(|(f, w)| (f - w).abs()).fold(0.0, f64::max);
    assert!(error <= range / 1024.0, "{error} in a range of {range}");
}

#[test]
fn four_samples_share_a_ciphertext_and_the_last_is_not_full() {
    let folder = root().join("tests/models/cryptonets");
    let lab = Lab::new();
    let path = |name: &str| folder.join(name).display().to_string();
    let (model, calibration) = (path("model.onnx"), path("calibration.npz"));
    let compile = |batch, plan| {
        ["compile", "--json", "-m", &model, "-c", &calibration, "-o", plan, "--batch", batch]
            .map(str::to_owned)
    };
    let report = lab.heplan(compile("3", "four.plan")).fine().json();
    assert_eq!(report["batch"], 4);
    let sample = report["predicted_sample_seconds"].as_f64().expect("a time");
    let run = report["predicted_seconds"].as_f64().expect("a time");
    assert!((sample * 4.0 - run).abs() < 1e-9 * run);

    let (inputs, wanted) =
        (read_npz(&folder.join("test.npz"), "x"), read_npz(&folder.join("test.npz"), "out"));
    let count = 6;
    let first = inputs.slice_axis(Axis(0), Slice::from(..count)).as_standard_layout().into_owned();
    write_npy(&lab.path("input.npy"), first.shape(), first.as_slice().expect("flat"));
    let found = answers(&lab, "four");
    let all: Vec<f64> = wanted.iter().map(|&v| f64::from(v)).collect();
    let range =
        all.iter().copied().fold(f64::MIN, f64::max) - all.iter().copied().fold(f64::MAX, f64::min);
    close(&found, &all[..10 * count], range);
    let told = lab.sh("inspect --json four.enc").fine().json();
    assert_eq!((&told["samples"], &told["batch"]), (&6.into(), &4.into()));
    let check = ["check", "--json", "-p", "four.plan", "-c", &path("test.npz"), "-n", "20"];
    assert_eq!(lab.heplan(check).fine().json()["agreement"], 1.0);
}

/// `(w·x + b)²`, element by element.
fn dense_square(lab: &Lab, samples: usize) -> (Vec<f32>, Vec<f64>) {
    let (w, b, x) = (numbers(1, 24), numbers(2, 4), numbers(3, 6 * samples));
    let model = Onnx::new()
        .input("x", &[1, 6])
        .weight("w", &[4, 6], &w)
        .weight("b", &[4], &b)
        .node_with("Gemm", &["x", "w", "b"], "h", &[("transB", Attribute::Int(1))])
        .node("Mul", &["h", "h"], "y")
        .output("y", &[1, 4]);
    lab.write("model.onnx", model.encode());
    write_npz(&lab.path("c.npz"), &[("x", &[samples, 6], &x)]);
    let mut wanted = Vec::new();
    for sample in x.chunks(6) {
        for (row, b) in w.chunks(6).zip(&b) {
            let h: f64 = row.iter().zip(sample).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
            wanted.push((h + f64::from(*b)).powi(2));
        }
    }
    (x, wanted)
}

#[test]
fn throughput_gives_every_element_a_ciphertext_and_needs_no_rotation() {
    let lab = Lab::new();
    let (x, wanted) = dense_square(&lab, 19);
    let compile = "compile --json -m model.onnx -c c.npz --optimize throughput -o t.plan";
    let report = lab.sh(compile).fine().json();
    let slots = 1u64 << (report["log_n"].as_u64().expect("a ring") - 1);
    assert_eq!(report["batch"].as_u64(), Some(slots), "{report}");
    assert_eq!(report["keys"], 1, "that of relinearisation");
    write_npy(&lab.path("input.npy"), &[19, 6], &x);
    let range = wanted.iter().copied().fold(0.0, f64::max);
    close(&answers(&lab, "t"), &wanted, range);
}

#[test]
fn more_samples_than_fit_one_run_take_several() {
    let lab = Lab::new();
    let (x, wanted) = dense_square(&lab, 19);
    lab.sh("compile -m model.onnx -c c.npz --batch 8 -o t.plan").fine();
    write_npy(&lab.path("input.npy"), &[19, 6], &x);
    let range = wanted.iter().copied().fold(0.0, f64::max);
    close(&answers(&lab, "t"), &wanted, range);
}

#[test]
fn one_sample_is_what_was_always_compiled() {
    let lab = Lab::new();
    dense_square(&lab, 8);
    lab.sh("compile -m model.onnx -c c.npz -o a.plan").fine();
    lab.sh("compile -m model.onnx -c c.npz --batch 1 -o b.plan").fine();
    assert!(lab.read("a.plan") == lab.read("b.plan"));
    assert!(lab.read("a.keyparams") == lab.read("b.keyparams"));
    let text = String::from_utf8(lab.read("a.keyparams")).expect("text");
    assert!(text.contains("format: ") && !text.contains("batch"), "as if there were no batches");
}
