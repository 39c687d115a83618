//! What the client computes at the end of a model: the plan stops before it, `decrypt` applies it.
//!
//! Expected values are computed here in double precision from the numbers of the model.

mod common;

use common::Lab;
use common::data::{numbers, read_npy, read_npz, write_npy, write_npz};
use common::onnx::{Attribute, Onnx};
use serde_json::Value;

const FEATURES: usize = 6;
const CLASSES: usize = 4;

/// `scores = x·w`, one row of six features.
fn dense() -> Onnx {
    Onnx::new()
        .input("x", &[1, FEATURES as i64])
        .weight("w", &[FEATURES as i64, CLASSES as i64], &weights())
        .node("MatMul", &["x", "w"], "scores")
}

fn weights() -> Vec<f32> {
    numbers(1, FEATURES * CLASSES)
}

/// The scores of a row, by the definition of a product of matrices.
fn scores(row: &[f32]) -> Vec<f64> {
    let w = weights();
    let score = |c| {
        row.iter().enumerate().map(|(f, x)| f64::from(*x) * f64::from(w[f * CLASSES + c])).sum()
    };
    (0..CLASSES).map(score).collect()
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let sum: f64 = scores.iter().map(|s| s.exp()).sum();
    scores.iter().map(|s| s.exp() / sum).collect()
}

fn largest(scores: &[f64]) -> usize {
    (0..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best })
}

/// Compiles with `options`, and sends two samples the whole way: the answer lies in `y.npy`, or in
/// `y.npz` where there are several.
fn answered(model: &Onnx, options: &str) -> Lab {
    let lab = Lab::new();
    lab.write("model.onnx", model.encode());
    write_npz(&lab.path("c.npz"), &[("x", &[48, FEATURES], &numbers(3, 48 * FEATURES))]);
    write_npy(&lab.path("x.npy"), &[2, FEATURES], &inputs());
    lab.sh(&format!("compile -m model.onnx -c c.npz {options}")).fine();
    lab.sh("keygen -i model.keyparams").fine();
    lab.sh("encrypt -i x.npy").fine();
    lab.sh("run -p model.plan -i x.enc -o y.enc").fine();
    lab.sh("decrypt -i y.enc").fine();
    lab
}

fn inputs() -> Vec<f32> {
    numbers(4, 2 * FEATURES)
}

fn rows() -> Vec<Vec<f64>> {
    inputs().chunks(FEATURES).map(scores).collect()
}

#[track_caller]
fn close(found: impl IntoIterator<Item = f32>, wanted: impl IntoIterator<Item = f64>) {
    let (found, wanted): (Vec<f32>, Vec<f64>) =
        (found.into_iter().collect(), wanted.into_iter().collect());
    assert_eq!(found.len(), wanted.len());
    for (f, w) in found.iter().zip(&wanted) {
        assert!((f64::from(*f) - w).abs() < 2e-3, "{found:?} {wanted:?}");
    }
}

fn steps(lab: &Lab, file: &str) -> Value {
    lab.sh(&format!("inspect --json {file}")).fine().json()["answers"].clone()
}

#[test]
fn a_softmax_at_the_end_is_applied_by_decrypt() {
    let model = dense().node("Softmax", &["scores"], "y").output("y", &[1, CLASSES as i64]);
    let lab = answered(&model, "");
    let y = read_npy(&lab.path("y.npy"));
    assert_eq!(y.shape(), [2, CLASSES]);
    close(y.iter().copied(), rows().iter().flat_map(|r| softmax(r)));
    for row in y.rows() {
        assert!((row.sum() - 1.0).abs() < 1e-6, "{row}");
    }
    for file in ["model.plan", "model.keyparams", "client.key"] {
        assert_eq!(steps(&lab, file)[0]["steps"][0], "Softmax", "{file}");
    }
    let check = lab.sh("check --json -p model.plan -c c.npz -m model.onnx").fine().json();
    assert_eq!(check["agreement"], 1.0);
    assert!(check["relative_error"].as_f64() < Some(0.01), "{check}");
}

#[test]
fn the_encrypted_tail_gives_the_same_at_more_levels() {
    let model = dense().node("Sigmoid", &["scores"], "y").output("y", &[1, CLASSES as i64]);
    let depth = |options: &str| {
        let lab = answered(&model, options);
        let y = read_npy(&lab.path("y.npy"));
        let found: Vec<f32> = y.iter().copied().collect();
        let wanted = rows().concat().into_iter().map(|s| 1.0 / (1.0 + (-s).exp()));
        for (f, w) in found.iter().zip(wanted) {
            assert!((f64::from(*f) - w).abs() < 0.03, "{f} {w}");
        }
        assert_eq!(
            steps(&lab, "model.plan").as_array().map(Vec::len),
            Some(usize::from(options.is_empty()))
        );
        lab.sh("inspect --json model.plan").fine().json()["instructions"].as_u64()
    };
    assert!(depth("") < depth("--encrypted-tail"));
}

#[test]
fn a_log_softmax_of_wide_scores_may_stay_encrypted() {
    let wide: Vec<f32> = weights().iter().map(|w| 12.0 * w).collect();
    let model = Onnx::new()
        .input("x", &[1, FEATURES as i64])
        .weight("w", &[FEATURES as i64, CLASSES as i64], &wide)
        .node("MatMul", &["x", "w"], "scores")
        .node("LogSoftmax", &["scores"], "y")
        .output("y", &[1, CLASSES as i64]);
    let lab = answered(&model, "--encrypted-tail");
    let found = read_npy(&lab.path("y.npy"));
    let mut spread: f64 = 0.0;
    for (found, row) in found.rows().into_iter().zip(rows()) {
        let scores: Vec<f64> = row.iter().map(|s| 12.0 * s).collect();
        let top = scores[largest(&scores)];
        let log = top + scores.iter().map(|s| (s - top).exp()).sum::<f64>().ln();
        for (f, s) in found.iter().zip(&scores) {
            spread = spread.max(top - s);
            assert!((f64::from(*f) - (s - log)).abs() < 2.0, "{found} {scores:?}");
        }
    }
    // Exponentials of so different scores, and their sums, span many decades.
    assert!(spread > 15.0, "{spread}");
}

#[test]
fn label_and_probabilities_come_from_one_ciphertext() {
    let keep = [("axis", Attribute::Int(1)), ("keepdims", Attribute::Int(0))];
    let model = dense()
        .node_with("ArgMax", &["scores"], "label", &keep)
        .node("Softmax", &["scores"], "p")
        .integers("shape", &[1, 2, 2])
        .node("Reshape", &["p", "shape"], "probabilities")
        .output("label", &[1])
        .output("probabilities", &[1, 2, 2]);
    let lab = answered(&model, "");
    let label = read_npz(&lab.path("y.npz"), "label");
    assert_eq!(label.shape(), [2]);
    close(label.iter().copied(), rows().iter().map(|r| largest(r) as f64));
    let p = read_npz(&lab.path("y.npz"), "probabilities");
    assert_eq!(p.shape(), [2, 2, 2]);
    close(p.iter().copied(), rows().iter().flat_map(|r| softmax(r)));
    let inspected = lab.sh("inspect --json model.keyparams").fine().json();
    assert_eq!(inspected["outputs"].as_array().map(Vec::len), Some(1));
}

#[test]
fn several_inputs_and_outputs_go_the_whole_way() {
    let lab = Lab::new();
    let model = Onnx::new()
        .input("a", &[1, 3])
        .input("b", &[1, 3])
        .node("Mul", &["a", "b"], "product")
        .node("Sub", &["a", "b"], "difference")
        .output("product", &[1, 3])
        .output("difference", &[1, 3]);
    lab.write("model.onnx", model.encode());
    let (a, b) = (numbers(1, 96), numbers(2, 96));
    write_npz(&lab.path("c.npz"), &[("a", &[32, 3], &a), ("b", &[32, 3], &b)]);
    write_npz(&lab.path("in.npz"), &[("a", &[1, 3], &a[..3]), ("b", &[1, 3], &b[..3])]);
    lab.sh("compile -m model.onnx -c c.npz").fine();
    lab.sh("keygen -i model.keyparams").fine();
    lab.sh("encrypt -i in.npz -o in.enc").fine();
    lab.sh("run -p model.plan -i in.enc -o y.enc").fine();
    lab.sh("decrypt -i y.enc").fine();
    let pairs: Vec<(f64, f64)> =
        a.iter().zip(&b).take(3).map(|(a, b)| (f64::from(*a), f64::from(*b))).collect();
    let found = |name| read_npz(&lab.path("y.npz"), name).iter().copied().collect::<Vec<_>>();
    close(found("product"), pairs.iter().map(|(a, b)| a * b));
    close(found("difference"), pairs.iter().map(|(a, b)| a - b));
}

#[test]
fn an_end_that_something_else_reads_stays_encrypted() {
    let model = dense()
        .node("Sigmoid", &["scores"], "s")
        .node("Mul", &["s", "scores"], "y")
        .output("y", &[1, CLASSES as i64]);
    let lab = Lab::new();
    lab.write("model.onnx", model.encode());
    write_npz(&lab.path("c.npz"), &[("x", &[48, FEATURES], &numbers(3, 48 * FEATURES))]);
    lab.sh("compile -m model.onnx -c c.npz").fine();
    assert_eq!(steps(&lab, "model.plan"), Value::Array(Vec::new()));
    let text = String::from_utf8(lab.read("model.keyparams")).expect("text");
    assert!(!text.contains("answers"));
}

#[test]
fn an_argmax_in_the_middle_is_refused() {
    let model = dense()
        .node("ArgMax", &["scores"], "label")
        .node("Mul", &["label", "scores"], "y")
        .output("y", &[1, CLASSES as i64]);
    let lab = Lab::new();
    lab.write("model.onnx", model.encode());
    lab.sh("check-onnx -m model.onnx").refused(&["E0201", "/label", "help"]);
}

/// Sends `x` through a model of one input, and gives the answers back by name.
fn sent(model: &Onnx, shape: &[usize], names: &[&str]) -> Vec<Vec<f32>> {
    let lab = Lab::new();
    let count: usize = shape.iter().product();
    lab.write("model.onnx", model.encode());
    let set = [&[32], shape].concat();
    write_npz(&lab.path("c.npz"), &[("x", &set, &numbers(3, 32 * count))]);
    write_npy(&lab.path("x.npy"), shape, &numbers(4, count));
    lab.sh("compile -m model.onnx -c c.npz").fine();
    lab.sh("keygen -i model.keyparams").fine();
    lab.sh("encrypt -i x.npy").fine();
    lab.sh("run -p model.plan -i x.enc -o y.enc").fine();
    lab.sh("decrypt -i y.enc").fine();
    match names {
        [_] => vec![read_npy(&lab.path("y.npy")).iter().copied().collect()],
        _ => {
            let read = |name: &&str| read_npz(&lab.path("y.npz"), name).iter().copied().collect();
            names.iter().map(read).collect()
        }
    }
}

#[test]
fn the_end_may_follow_the_input() {
    let model = Onnx::new()
        .input("x", &[1, 5])
        .integers("k", &[3])
        .nodes("TopK", &["x", "k"], &["values", "places"])
        .node_with("ArgMax", &["x"], "best", &[("axis", Attribute::Int(1))])
        .integers("five", &[5])
        .weight("off_on", &[2], &[-1.0, 2.0])
        .node("OneHot", &["best", "five", "off_on"], "hot")
        .output("values", &[1, 3])
        .output("places", &[1, 3])
        .output("hot", &[1, 1, 5]);
    let found = sent(&model, &[1, 5], &["values", "places", "hot"]);
    let x = numbers(4, 5);
    let mut order: Vec<usize> = (0..5).collect();
    order.sort_by(|&a, &b| x[b].total_cmp(&x[a]));
    close(found[0].iter().copied(), order[..3].iter().map(|&i| f64::from(x[i])));
    close(found[1].iter().copied(), order[..3].iter().map(|&i| i as f64));
    close(found[2].iter().copied(), (0..5).map(|i| if i == order[0] { 2.0 } else { -1.0 }));
}

#[test]
fn comparisons_with_weights_tell_the_client_no_weight() {
    let bounds = [0.25_f32, -0.5, 0.0, 0.6];
    let scored = dense().weight("bounds", &[1, 4], &bounds);
    let model = scored
        .node("LessOrEqual", &["scores", "bounds"], "below")
        .weight("yes", &[], &[3.0])
        .weight("no", &[], &[-3.0])
        .node("Where", &["below", "yes", "no"], "y")
        .output("y", &[1, 4]);
    let lab = answered(&model, "");
    let found: Vec<f32> = read_npy(&lab.path("y.npy")).iter().copied().collect();
    let margins: Vec<f64> =
        rows().iter().flat_map(|r| (0..4).map(|c| f64::from(bounds[c]) - r[c])).collect();
    assert!(margins.iter().all(|m| m.abs() > 1e-2), "no ties: {margins:?}");
    close(found, margins.iter().map(|&m| if m > 0.0 { 3.0 } else { -3.0 }));
    let text = String::from_utf8(lab.read("model.keyparams")).expect("text");
    assert!(text.contains("Compare") && !text.contains("0.25"), "{text}");
}

/// The words in an array that numpy would read as strings.
fn words(npy: &[u8]) -> Vec<String> {
    let header = 10 + usize::from(u16::from_le_bytes([npy[8], npy[9]]));
    let text = String::from_utf8_lossy(&npy[10..header]);
    let width = text.split_once("<U").expect("strings").1;
    let width: usize = width.split('\'').next().and_then(|w| w.parse().ok()).expect("a width");
    let letter = |b: &[u8]| {
        let code = u32::from_le_bytes(b.try_into().expect("four bytes"));
        char::from_u32(code).expect("a character")
    };
    let word = |b: &[u8]| b.chunks(4).map(letter).filter(|&c| c != '\0').collect();
    npy[header..].chunks(4 * width).map(word).collect()
}

#[test]
fn a_support_vector_machine_answers_in_words() {
    const SUPPORTS: usize = 7;
    let (gamma, classes) = (0.8_f32, ["ash", "beech", "Düne"]);
    let (vectors, rho) = (numbers(11, SUPPORTS * FEATURES), [0.1_f32, -0.2, 0.05]);
    let weights = numbers(12, 2 * SUPPORTS);
    // The vectors of the three classes, and for each pair of classes its two rows of weights.
    let spans = [0..2, 2..5, 5..SUPPORTS];
    let attributes = [
        ("kernel_type", Attribute::Text("RBF")),
        ("kernel_params", Attribute::Floats(vec![gamma, 0.0, 3.0])),
        ("vectors_per_class", Attribute::Ints(vec![2, 3, 2])),
        ("support_vectors", Attribute::Floats(vectors.clone())),
        ("coefficients", Attribute::Floats(weights.clone())),
        ("rho", Attribute::Floats(rho.to_vec())),
        ("classlabels_strings", Attribute::Texts(classes.to_vec())),
    ];
    let model = Onnx::new()
        .input("x", &[1, FEATURES as i64])
        .classical("SVMClassifier", &["x"], &["label", "scores"], &attributes)
        .output("label", &[1]);
    let lab = answered(&model, "");
    let decisions = |row: &[f32]| -> Vec<f64> {
        let kernel = |v: usize| {
            let vector = &vectors[v * FEATURES..][..FEATURES];
            let square = |(x, s): (&f32, &f32)| f64::from(x - s).powi(2);
            (-f64::from(gamma) * row.iter().zip(vector).map(square).sum::<f64>()).exp()
        };
        let sum = |class: usize, row: usize| -> f64 {
            spans[class].clone().map(|v| f64::from(weights[row * SUPPORTS + v]) * kernel(v)).sum()
        };
        let duel =
            |(p, (i, j)): (usize, (usize, usize))| sum(i, j - 1) + sum(j, i) + f64::from(rho[p]);
        [(0, 1), (0, 2), (1, 2)].into_iter().enumerate().map(duel).collect()
    };
    let label = |row: &[f32]| {
        let d = decisions(row);
        assert!(d.iter().all(|d| d.abs() > 1e-2), "no ties: {d:?}");
        let wins = |class: usize| match class {
            0 => u8::from(d[0] > 0.0) + u8::from(d[1] > 0.0),
            1 => u8::from(d[0] <= 0.0) + u8::from(d[2] > 0.0),
            _ => u8::from(d[1] <= 0.0) + u8::from(d[2] <= 0.0),
        };
        let best = (0..3).rev().max_by_key(|&c| wins(c)).expect("three classes");
        classes[best].to_owned()
    };
    let wanted: Vec<String> = inputs().chunks(FEATURES).map(label).collect();
    assert_eq!(words(&lab.read("y.npy")), wanted);
    assert_eq!(steps(&lab, "model.keyparams")[0]["steps"][1], "class labels");
    let text = String::from_utf8(lab.read("model.keyparams")).expect("text");
    assert!(text.contains("Düne") && !text.contains("0.05"), "{text}");
}
