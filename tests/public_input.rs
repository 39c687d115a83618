//! Inputs that are not encrypted: their values are constants of the plan.

mod common;

use common::Lab;
use common::data::{numbers, read_npy, write_npy, write_npz};
use common::onnx::Onnx;

const WIDTH: usize = 4;

/// `y = x·gain + shift`, of which the client has `x` alone.
fn model() -> Onnx {
    let shape = [1, WIDTH as i64];
    Onnx::new()
        .input("gain", &shape)
        .input("x", &shape)
        .input("shift", &shape)
        .node("Mul", &["x", "gain"], "scaled")
        .node("Add", &["scaled", "shift"], "y")
        .output("y", &shape)
}

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("model.onnx", model().encode());
    write_npy(&lab.path("gain.npy"), &[1, WIDTH], &numbers(5, WIDTH));
    write_npy(&lab.path("shift.npy"), &[1, WIDTH], &numbers(6, WIDTH));
    write_npy(&lab.path("long.npy"), &[1, WIDTH + 1], &numbers(6, WIDTH + 1));
    write_npz(&lab.path("c.npz"), &[("x", &[32, WIDTH], &numbers(7, 32 * WIDTH))]);
    lab
}

const BOTH: &str = "--public-input gain=gain.npy --public-input shift=shift.npy";

#[test]
fn only_the_other_inputs_are_the_clients() {
    let lab = lab();
    let x = numbers(8, 2 * WIDTH);
    write_npy(&lab.path("x.npy"), &[2, WIDTH], &x);
    lab.sh(&format!("compile -m model.onnx -c c.npz {BOTH}")).fine();
    lab.sh("keygen -i model.keyparams").fine();
    lab.sh("encrypt -i x.npy").fine();
    lab.sh("run -p model.plan -i x.enc -o y.enc").fine();
    lab.sh("decrypt -i y.enc").fine();
    let (gain, shift) = (numbers(5, WIDTH), numbers(6, WIDTH));
    let found: Vec<f32> = read_npy(&lab.path("y.npy")).iter().copied().collect();
    assert_eq!(found.len(), x.len());
    for (i, (found, x)) in found.iter().zip(&x).enumerate() {
        let wanted = x * gain[i % WIDTH] + shift[i % WIDTH];
        assert!((found - wanted).abs() < 2e-3, "{found} {wanted}");
    }
    let inputs = lab.sh("inspect --json model.keyparams").fine().json()["inputs"].clone();
    assert_eq!(inputs.as_array().map(Vec::len), Some(1), "{inputs}");
    let check = lab.sh(&format!("check --json -p model.plan -c c.npz -m model.onnx {BOTH}"));
    assert!(check.fine().json()["relative_error"].as_f64() < Some(0.01));
    lab.sh("check -p model.plan -c c.npz -m model.onnx").refused(&["other inputs than the plan"]);
}

#[test]
fn values_that_no_input_takes_are_refused() {
    let lab = lab();
    let check = |options: &str| lab.sh(&format!("check-onnx -m model.onnx {options}"));
    check(BOTH).fine();
    check("--public-input z=gain.npy").refused(&["E0104", "\"z\"", "\"gain\", \"x\", \"shift\""]);
    check("--public-input gain=long.npy").refused(&["E0301", "\"gain\"", "[1, 5]"]);
    check("--public-input gain=none.npy").refused(&["none.npy"]);
    let all = format!("{BOTH} --public-input x=gain.npy");
    check(&all).refused(&["E0109"]);
    lab.sh(&format!("compile -m model.onnx -c c.npz {BOTH} -o gain.npy")).refused(&["gain.npy"]);
}
