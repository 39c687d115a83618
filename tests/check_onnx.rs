//! `check-onnx` and `compile --dry-run`: the verdict on a model without calibration data.

mod common;

use std::process::Command;

use common::onnx::{Attribute, Onnx};
use common::{Lab, Ran, root};
use serde_json::Value;

/// `y = x^(2^count)`.
fn squares(count: usize) -> Onnx {
    let mut model = Onnx::new().input("x0", &[1, 4]);
    for i in 0..count {
        let (from, to) = (format!("x{i}"), format!("x{}", i + 1));
        model = model.node("Mul", &[&from, &from], &to);
    }
    model.output(&format!("x{count}"), &[1, 4])
}

fn judged(model: &Onnx) -> Ran {
    let lab = Lab::new();
    lab.write("model.onnx", model.encode());
    lab.sh("check-onnx --json -m model.onnx")
}

#[test]
fn every_bundled_model_is_accepted_with_its_prospects() {
    for entry in std::fs::read_dir(root().join("tests/models")).expect("models").flatten() {
        let path = entry.path().join("model.onnx").display().to_string();
        let said = Lab::new().heplan(["check-onnx", "--json", "-m", &path]).fine().json();
        assert_eq!(said["accepted"], Value::Bool(true), "{path}");
        let nodes = said["nodes"].as_array().expect("nodes");
        assert!(nodes.iter().all(|n| n["verdict"] == "accepted"), "{path}: {said}");
        let (depth, log_n) = (said["depth"].as_u64(), said["log_n"].as_u64());
        assert!(depth >= Some(1) && log_n >= Some(12) && log_n <= Some(17), "{path}: {said}");
        assert!(said["predicted_seconds"].as_f64() > Some(0.0), "{path}: {said}");
    }
}

#[test]
fn all_refused_nodes_are_named_at_once_even_behind_each_other() {
    let model = Onnx::new()
        .input("x", &[1, 4])
        .node("Floor", &["x"], "a")
        .node("Relu", &["a"], "b")
        .node("NoSuchOperator", &["b"], "c")
        .output("c", &[1, 4]);
    let ran = judged(&model);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let said = ran.json();
    assert_eq!(said["accepted"], Value::Bool(false));
    let verdicts: Vec<&str> = said["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|n| n["verdict"].as_str().expect("a word"))
        .collect();
    assert_eq!(verdicts, ["refused", "not judged", "refused"]);
    let findings = said["findings"].as_array().expect("findings");
    assert_eq!(findings.len(), 2, "{said}");
    for finding in findings {
        assert!(finding["node"].is_string() && finding["help"].is_string(), "{finding}");
    }
}

#[test]
fn a_dry_run_says_the_same_and_writes_nothing() {
    let lab = Lab::new();
    lab.write("model.onnx", squares(3).encode());
    let said = lab.sh("compile --dry-run --json -m model.onnx").fine().json();
    assert_eq!(said, lab.sh("check-onnx --json -m model.onnx").fine().json());
    assert_eq!(said["depth"], 3);
    assert_eq!(std::fs::read_dir(lab.dir()).expect("a folder").count(), 1);
}

#[test]
fn an_open_axis_is_asked_for_by_its_name() {
    let model = Onnx::new().input("x", &[1, -1]).node("Relu", &["x"], "y").output("y", &[1, -1]);
    judged(&model).refused(&["E0", "--dim batch=N"]);
}

/// Convolutions of 16 channels over 32×32 with residual sums, as in a ResNet-20: 2.3 million entries
/// each, 28 million together. A verdict takes less than a second where the machine is not busy.
#[test]
fn a_deep_network_is_judged_at_once() {
    let kernel = [("pads", Attribute::Ints(vec![1; 4]))];
    let mut model = Onnx::new().input("y0", &[1, 16, 32, 32]);
    for i in 0..12 {
        let [from, weight, sum, to] =
            [format!("y{i}"), format!("w{i}"), format!("c{i}"), format!("y{}", i + 1)];
        let data = common::data::numbers(i, 16 * 16 * 9);
        model = model
            .weight(&weight, &[16, 16, 3, 3], &data)
            .node_with("Conv", &[&from, &weight], &sum, &kernel)
            .node("Add", &[&sum, &from], &format!("s{i}"))
            .node("Relu", &[&format!("s{i}")], &to);
    }
    let lab = Lab::new();
    lab.write("model.onnx", model.output("y12", &[1, 16, 32, 32]).encode());
    let mut command = Command::new("bash");
    command.arg("-c").arg("ulimit -t 5; exec \"$0\" check-onnx -m model.onnx");
    let ran = command.arg(env!("CARGO_BIN_EXE_heplan")).current_dir(lab.dir()).output();
    let said = Ran::from(ran.expect("bash starts")).fine();
    assert!(said.stdout.contains("36 of 36 nodes accepted"), "{said:?}");
}

#[test]
fn models_too_deep_for_every_ring_are_refreshed_but_not_in_a_small_one() {
    let lab = Lab::new();
    lab.write("model.onnx", squares(200).encode());
    let numbers = common::data::numbers(1, 64);
    common::data::write_npz(&lab.path("c.npz"), &[("x0", &[16, 4], &numbers)]);
    let said = lab.sh("check-onnx --json -m model.onnx").fine().json();
    assert!(said["refreshes"].as_u64().is_some_and(|n| n > 5), "{said}");
    let compile = "compile -m model.onnx -c c.npz -o m.plan --log-n 14";
    lab.sh(compile).refused(&["E0501", "levels", "--log-n"]);
}

#[test]
fn chains_of_squares_that_leave_no_number_are_refused_and_no_bug() {
    let lab = Lab::new();
    let (ones, small) = (vec![1.0; 64], common::data::numbers(1, 64));
    for (count, data) in [(30, &ones), (30, &small), (60, &ones), (60, &small)] {
        // The largest ring carries the levels, but the powers of what is not one leave the doubles.
        lab.write("model.onnx", squares(count).encode());
        common::data::write_npz(&lab.path("c.npz"), &[("x0", &[16, 4], data)]);
        lab.sh("compile -m model.onnx -c c.npz -o m.plan").refused(&["E0", "help"]);
    }
}
