//! What HE-MAN-TenSEAL gets wrong, each as a test of ours.
//!
//! The expected numbers come from plain loops over the same weights, or from onnxruntime.

mod common;

use common::Lab;
use common::data::{numbers, read_npy, write_npy, write_npz};
use common::onnx::{Attribute, Onnx};

/// Compiles `model`, encrypts `input` (shape included), runs and decrypts. Precision is relative to the
/// range over the calibration set, and an answer here may be much smaller than that.
fn answer(model: &Onnx, calibration: &[f32], shape: &[usize], input: &[f32]) -> Vec<f32> {
    let lab = Lab::new();
    lab.write("model.onnx", model.encode());
    let sample: usize = shape[1..].iter().product();
    let batch = [&[calibration.len() / sample], &shape[1..]].concat();
    write_npz(&lab.path("calibration.npz"), &[("x", &batch, calibration)]);
    write_npy(&lab.path("input.npy"), shape, input);
    lab.sh("compile -m model.onnx -c calibration.npz --precision-bits 13").fine();
    lab.sh("keygen -i model.keyparams").fine();
    lab.sh("encrypt -i input.npy").fine();
    lab.sh("run -p model.plan -i input.enc").fine();
    lab.sh("decrypt -i output.enc").fine();
    read_npy(&lab.path("output.npy")).iter().copied().collect()
}

#[track_caller]
fn close(found: &[f32], wanted: &[f32]) {
    assert_eq!(found.len(), wanted.len());
    let reach = wanted.iter().fold(0.0_f32, |m, w| m.max(w.abs()));
    for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
        assert!((f - w).abs() <= reach / 1024.0, "element {i}: {f} instead of {w}");
    }
}

/// `y = W·x + b` with `W` of shape `[rows, x.len()]`.
fn dense(w: &[f32], b: &[f32], x: &[f32]) -> Vec<f32> {
    let row = |r: usize| &w[r * x.len()..(r + 1) * x.len()];
    (0..b.len()).map(|r| row(r).iter().zip(x).map(|(a, b)| a * b).sum::<f32>() + b[r]).collect()
}

#[test]
fn biases_of_two_dense_layers_in_a_row_count() {
    let (w1, b1) = (numbers(1, 12 * 9), numbers(2, 12));
    let (w2, b2) = (numbers(3, 5 * 12), numbers(4, 5));
    let transposed = [("transB", Attribute::Int(1))];
    let model = Onnx::new()
        .input("x", &[1, 9])
        .weight("w1", &[12, 9], &w1)
        .weight("b1", &[12], &b1)
        .weight("w2", &[5, 12], &w2)
        .weight("b2", &[5], &b2)
        .node_with("Gemm", &["x", "w1", "b1"], "h", &transposed)
        .node("Mul", &["h", "h"], "s")
        .node_with("Gemm", &["s", "w2", "b2"], "y", &transposed)
        .output("y", &[1, 5]);
    let x = numbers(5, 9);
    let h: Vec<f32> = dense(&w1, &b1, &x).iter().map(|v| v * v).collect();
    close(&answer(&model, &numbers(6, 64 * 9), &[1, 9], &x), &dense(&w2, &b2, &h));
}

#[test]
fn biases_of_two_dense_layers_without_anything_between_count() {
    let (w1, b1, w2, b2) = (numbers(1, 48), numbers(2, 8), numbers(3, 32), numbers(4, 4));
    let transposed = [("transB", Attribute::Int(1))];
    let model = Onnx::new()
        .input("x", &[1, 6])
        .weight("w1", &[8, 6], &w1)
        .weight("b1", &[8], &b1)
        .weight("w2", &[4, 8], &w2)
        .weight("b2", &[4], &b2)
        .node_with("Gemm", &["x", "w1", "b1"], "h", &transposed)
        .node_with("Gemm", &["h", "w2", "b2"], "y", &transposed)
        .output("y", &[1, 4]);
    let x = numbers(5, 6);
    let wanted = dense(&w2, &b2, &dense(&w1, &b1, &x));
    close(&answer(&model, &numbers(6, 64 * 6), &[1, 6], &x), &wanted);
}

#[test]
fn a_channel_broadcasts_over_its_plane() {
    let (scale, shift) = ([0.5, -1.5, 2.0], [0.25, 1.0, -0.75]);
    let model = Onnx::new()
        .input("x", &[1, 3, 4, 4])
        .weight("scale", &[1, 3, 1, 1], &scale)
        .weight("shift", &[3, 1, 1], &shift)
        .node("Mul", &["x", "scale"], "m")
        .node("Add", &["m", "shift"], "y")
        .output("y", &[1, 3, 4, 4]);
    let x = numbers(7, 48);
    let wanted: Vec<f32> =
        x.iter().enumerate().map(|(i, v)| v * scale[i / 16] + shift[i / 16]).collect();
    close(&answer(&model, &numbers(8, 32 * 48), &[1, 3, 4, 4], &x), &wanted);
}

#[test]
fn a_bias_may_have_the_shape_1_n() {
    let (w, b) = (numbers(1, 7 * 4), numbers(2, 4));
    let model = Onnx::new()
        .input("x", &[1, 7])
        .weight("w", &[7, 4], &w)
        .weight("b", &[1, 4], &b)
        .node("MatMul", &["x", "w"], "m")
        .node("Add", &["m", "b"], "y")
        .output("y", &[1, 4]);
    let x = numbers(3, 7);
    let column = |c: usize| x.iter().enumerate().map(|(r, v)| v * w[r * 4 + c]).sum::<f32>();
    let wanted: Vec<f32> = (0..4).map(|c| column(c) + b[c]).collect();
    close(&answer(&model, &numbers(4, 64 * 7), &[1, 7], &x), &wanted);
}

#[test]
fn a_graph_of_depth_zero_runs() {
    let bias = numbers(1, 10);
    let model = Onnx::new()
        .input("x", &[1, 10])
        .weight("b", &[10], &bias)
        .node("Add", &["x", "b"], "y")
        .output("y", &[1, 10]);
    let x = numbers(2, 10);
    let wanted: Vec<f32> = x.iter().zip(&bias).map(|(a, b)| a + b).collect();
    close(&answer(&model, &numbers(3, 640), &[1, 10], &x), &wanted);
}

#[test]
fn ranges_far_below_and_above_one_keep_their_precision() {
    for size in [1e-4_f32, 3e5] {
        let w = numbers(1, 30);
        let model = Onnx::new()
            .input("x", &[1, 10])
            .weight("w", &[10, 3], &w)
            .node("MatMul", &["x", "w"], "h")
            .node("Mul", &["h", "h"], "y")
            .output("y", &[1, 3]);
        let sized = |v: Vec<f32>| v.into_iter().map(|x| x * size).collect::<Vec<f32>>();
        let float = |x: &[f32]| -> Vec<f32> {
            let column = |c: usize| x.iter().enumerate().map(|(r, v)| v * w[r * 3 + c]).sum();
            (0..3).map(column).map(|h: f32| h * h).collect()
        };
        let calibration = sized(numbers(3, 640));
        let range = calibration.chunks(10).flat_map(float).fold(0.0_f32, f32::max);
        let x = sized(numbers(2, 10));
        let found = answer(&model, &calibration, &[1, 10], &x);
        for (f, w) in found.iter().zip(float(&x)) {
            assert!((f - w).abs() <= range / 1024.0, "{f} instead of {w} in a range of {range}");
        }
    }
}

#[test]
fn a_batch_is_answered_sample_by_sample() {
    let (w, b) = (numbers(1, 24), numbers(2, 4));
    let model = Onnx::new()
        .input("x", &[1, 6])
        .weight("w", &[4, 6], &w)
        .weight("b", &[4], &b)
        .node_with("Gemm", &["x", "w", "b"], "h", &[("transB", Attribute::Int(1))])
        .node("Mul", &["h", "h"], "y")
        .output("y", &[1, 4]);
    let x = numbers(3, 5 * 6);
    let square = |v: f32| v * v;
    let wanted: Vec<f32> =
        x.chunks(6).flat_map(|s| dense(&w, &b, s).into_iter().map(square)).collect();
    close(&answer(&model, &numbers(4, 64 * 6), &[5, 6], &x), &wanted);
}

/// A compiled square of six numbers, with keys and an encrypted input.
fn small() -> Lab {
    let lab = Lab::new();
    let model = Onnx::new().input("x", &[1, 6]).node("Mul", &["x", "x"], "y").output("y", &[1, 6]);
    lab.write("model.onnx", model.encode());
    write_npz(&lab.path("calibration.npz"), &[("x", &[32, 6], &numbers(1, 192))]);
    write_npy(&lab.path("input.npy"), &[1, 6], &numbers(2, 6));
    lab
}

#[test]
fn environment_variables_are_honoured() {
    let lab = small();
    let with = |variables: &[(&str, &str)], command: &str| {
        let ran = lab.command().arg(command).envs(variables.iter().copied()).output();
        common::Ran::from(ran.expect("starts")).fine()
    };
    let model = ("HEPLAN_MODEL", "model.onnx");
    let report = with(
        &[
            model,
            ("HEPLAN_CALIBRATION", "calibration.npz"),
            ("HEPLAN_OUTPUT", "e.plan"),
            ("HEPLAN_JSON", "1"),
        ],
        "compile",
    );
    assert!(report.json().is_object());
    assert!(lab.path("e.plan").exists() && lab.path("e.keyparams").exists());
    with(&[("HEPLAN_INPUT", "e.keyparams"), ("HEPLAN_OUTPUT", "e.key")], "keygen");
    with(&[("HEPLAN_KEY", "e.key"), ("HEPLAN_INPUT", "input.npy")], "encrypt");
    let run = with(
        &[
            ("HEPLAN_PLAN", "e.plan"),
            ("HEPLAN_KEY", "e.key.pub"),
            ("HEPLAN_INPUT", "input.enc"),
            ("HEPLAN_THREADS", "1"),
            ("HEPLAN_JSON", "true"),
        ],
        "inference",
    );
    assert_eq!(run.json()["threads"], 1);
    with(&[("HEPLAN_KEY", "e.key"), ("HEPLAN_INPUT", "output.enc")], "decrypt");
    assert_eq!(read_npy(&lab.path("output.npy")).shape(), [1, 6]);
}

#[test]
fn its_command_names_and_options_are_understood() {
    let lab = small();
    lab.sh("keyparams -m model.onnx -c calibration.npz --relu-mode deg3 --domain-mode mean-std \
         --n-bits-fractional-precision 12")
        .fine();
    lab.sh("keygen -i model.keyparams -o k").fine();
    lab.sh("encrypt -k k -i input.npy").fine();
    lab.sh("inference -p model.plan -k k.pub -i input.enc -o out.enc").fine();
    lab.sh("decrypt -k k -i out.enc -o out.npy").fine();
    let wanted: Vec<f32> = numbers(2, 6).iter().map(|v| v * v).collect();
    close(read_npy(&lab.path("out.npy")).as_slice().expect("contiguous"), &wanted);
}

#[test]
fn an_input_of_the_wrong_shape_is_refused_before_it_is_encrypted() {
    let lab = small();
    lab.sh("compile -m model.onnx -c calibration.npz").fine();
    lab.sh("keygen -i model.keyparams").fine();
    write_npy(&lab.path("wrong.npy"), &[1, 7], &numbers(3, 7));
    lab.refuses("encrypt -i wrong.npy", &["wrong", "[1, 7]", "[1, 6]"]);
}

#[test]
fn failing_commands_say_so_with_their_exit_code() {
    let lab = small();
    for line in [
        "compile -m absent.onnx -c calibration.npz",
        "compile -m model.onnx -c absent.npz",
        "keygen -i absent.keyparams",
        "encrypt -k absent.key -i input.npy",
        "run -p absent.plan -k absent.pub -i absent.enc",
        "decrypt -k absent.key -i absent.enc",
        "inspect absent",
        "check -p absent.plan -c calibration.npz",
        "explain -m absent.onnx -c calibration.npz",
    ] {
        lab.refuses(line, &["absent"]);
    }
    assert_eq!(lab.sh("compile --no-such-flag").code, Some(2));
    assert_eq!(lab.sh("").code, Some(2));
}

#[test]
fn a_foreign_ciphertext_is_refused() {
    let lab = small();
    lab.sh("compile -m model.onnx -c calibration.npz").fine();
    lab.sh("keygen -i model.keyparams -o a.key").fine();
    lab.sh("keygen -i model.keyparams -o b.key").fine();
    lab.sh("encrypt -k a.key -i input.npy").fine();
    lab.refuses("run -p model.plan -k b.key.pub -i input.enc", &["input.enc", "not to key"]);
    lab.sh("run -p model.plan -k a.key.pub -i input.enc").fine();
    lab.refuses("decrypt -k b.key -i output.enc", &["output.enc", "not to key"]);
    lab.sh("decrypt -k a.key -i output.enc").fine();
}
