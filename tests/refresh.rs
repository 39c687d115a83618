//! A model with more levels than the parameters that suit it: its ciphertexts are bootstrapped on the way, and the answers
//! are those of the model computed here in double precision.

mod common;

use common::Lab;
use common::data::{numbers, read_npy, write_npy, write_npz};
use common::onnx::Onnx;

/// Elements of every layer.
const WIDTH: usize = 8;
/// Layers of one square and one matrix: twice as many levels.
const LAYERS: usize = 36;

/// The weights of one layer, so that values stay within [-1, 1].
fn layer(i: usize) -> (Vec<f32>, Vec<f32>) {
    let seed = 10 + 2 * i as u64;
    let w = numbers(seed, WIDTH * WIDTH).iter().map(|v| v / WIDTH as f32).collect();
    let b = numbers(seed + 1, WIDTH).iter().map(|v| v / 2.0).collect();
    (w, b)
}

/// `y = x∘x·W + b`, layer by layer.
fn deep(lab: &Lab) {
    let mut model = Onnx::new().input("x", &[1, WIDTH as i64]);
    let mut last = "x".to_owned();
    for i in 0..LAYERS {
        let (w, b) = layer(i);
        let [square, weight, bias, next] = ["s", "w", "b", "y"].map(|name| format!("{name}{i}"));
        model = model
            .weight(&weight, &[WIDTH as i64, WIDTH as i64], &w)
            .weight(&bias, &[WIDTH as i64], &b)
            .node("Mul", &[&last, &last], &square)
            .node("Gemm", &[&square, &weight, &bias], &next);
        last = next;
    }
    lab.write("model.onnx", model.output(&last, &[1, WIDTH as i64]).encode());
}

fn expected(x: &[f32]) -> Vec<f64> {
    let mut x: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
    for i in 0..LAYERS {
        let (w, b) = layer(i);
        let of = |j: usize| {
            let terms = (0..WIDTH).map(|k| x[k] * x[k] * f64::from(w[k * WIDTH + j]));
            terms.sum::<f64>() + f64::from(b[j])
        };
        x = (0..WIDTH).map(of).collect();
    }
    x
}

#[test]
fn deep_models_are_refreshed_on_the_way() {
    let lab = Lab::new();
    deep(&lab);
    let data = numbers(3, 16 * WIDTH);
    write_npz(&lab.path("c.npz"), &[("x", &[16, WIDTH], &data)]);
    write_npy(&lab.path("input.npy"), &[1, WIDTH], &data[..WIDTH]);
    let compile = "compile --json -m model.onnx -c c.npz -o model.plan";
    let report = lab.sh(compile).fine().json();
    let refreshes = report["refreshes"].as_u64().expect("a number");
    assert!(refreshes > 0 && report["log_n"] == 16, "{report}");
    let keyparams = std::fs::read_to_string(lab.path("model.keyparams")).expect("it was written");
    assert!(keyparams.contains("to_sparse: Some(0)"), "{keyparams}");
    lab.sh("keygen -i model.keyparams").fine();
    lab.sh("encrypt -i input.npy").fine();
    lab.sh("run -p model.plan -i input.enc").fine();
    lab.sh("decrypt -i output.enc").fine();
    let (found, wanted) = (read_npy(&lab.path("output.npy")), expected(&data[..WIDTH]));
    assert_eq!(found.len(), WIDTH);
    let range = wanted.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    for (f, w) in found.iter().zip(&wanted) {
        assert!((f64::from(*f) - w).abs() <= range / 512.0, "{found:?} instead of {wanted:?}");
    }
}
