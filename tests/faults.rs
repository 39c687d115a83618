//! Bad input: every fault gets one clear error and exit code 1, and leaves no file behind.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use common::data::{numbers, read_npy, write_npy, write_npz};
use common::onnx::{Attribute, Onnx};
use common::{Lab, Ran, flipped, root};

/// A dense layer, a square, a dense layer.
fn model() -> Onnx {
    let transposed = [("transB", Attribute::Int(1))];
    Onnx::new()
        .input("x", &[1, 6])
        .weight("w", &[4, 6], &numbers(1, 24))
        .weight("b", &[4], &numbers(2, 4))
        .node_with("Gemm", &["x", "w", "b"], "h", &transposed)
        .node("Mul", &["h", "h"], "y")
        .output("y", &[1, 4])
}

/// The data of the small model, without any file of ours.
fn bare() -> Lab {
    let lab = Lab::new();
    lab.write("model.onnx", model().encode());
    write_npz(&lab.path("calibration.npz"), &[("x", &[32, 6], &numbers(3, 192))]);
    write_npy(&lab.path("input.npy"), &[1, 6], &numbers(4, 6));
    lab
}

/// Every kind of file, made once; tests work on copies.
static MADE: LazyLock<Lab> = LazyLock::new(|| {
    let lab = bare();
    lab.sh("compile -m model.onnx -c calibration.npz").fine();
    lab.sh("keygen -i model.keyparams").fine();
    lab.sh("encrypt -i input.npy").fine();
    lab.sh("run -p model.plan -i input.enc").fine();
    lab
});

fn made() -> Lab {
    let lab = Lab::new();
    for entry in fs::read_dir(MADE.dir()).expect("made").flatten() {
        fs::copy(entry.path(), lab.dir().join(entry.file_name())).expect("copied");
    }
    lab
}

/// For every kind of file the commands that read it, with FILE in its place.
const READERS: [(&str, &[&str]); 5] = [
    (
        "model.plan",
        &["run -p FILE -i input.enc -o o.enc", "inspect FILE", "check -p FILE -c calibration.npz"],
    ),
    ("model.keyparams", &["keygen -i FILE -o o.key", "inspect FILE"]),
    (
        "client.key",
        &[
            "encrypt -k FILE -i input.npy -o o.enc",
            "decrypt -k FILE -i output.enc -o o.npy",
            "inspect FILE",
        ],
    ),
    ("client.key.pub", &["run -p model.plan -k FILE -i input.enc -o o.enc", "inspect FILE"]),
    (
        "output.enc",
        &["run -p model.plan -i FILE -o o.enc", "decrypt -i FILE -o o.npy", "inspect FILE"],
    ),
];

/// Puts `bytes` in the place of each kind of file and insists that every reader refuses it.
#[track_caller]
fn every_reader_refuses(damage: impl Fn(&[u8]) -> Vec<Vec<u8>>, needles: &[&str]) {
    let lab = made();
    for (file, lines) in READERS {
        for bytes in damage(&lab.read(file)) {
            lab.write("damaged", bytes);
            for line in lines {
                let needles = [&["damaged"], needles].concat();
                let ran = lab.refuses(&line.replace("FILE", "damaged"), &needles);
                assert_eq!(ran.errors(), 1, "{line}: {ran:#?}");
            }
        }
    }
}

/// A limit of memory changes what is kept, not what comes out; one that cannot be kept is refused.
#[test]
fn memory_limits_are_kept_or_refused() {
    let lab = made();
    let answer = lab.read("output.enc");
    let least = lab.sh("run -p model.plan -i input.enc -o o.enc --memory-limit 1MB");
    assert!(least.stderr.contains("at least"), "{least:?}");
    assert!(!lab.path("o.enc").exists(), "nothing is written");
    let ran = lab.sh("run --json -p model.plan -i input.enc -o o.enc --memory-limit 200MB").fine();
    if let Some(peak) = ran.json()["peak_bytes"].as_u64() {
        assert!(peak <= 200_000_000, "{peak} bytes");
    }
    assert_eq!(lab.read("o.enc"), answer);
}

#[test]
fn an_empty_file_is_refused() {
    every_reader_refuses(|_| vec![Vec::new()], &["empty"]);
}

#[test]
fn a_secret_key_is_replaced_only_when_told_to() {
    let lab = made();
    let key = fs::read(lab.path("client.key")).expect("a key");
    lab.sh("keygen -i model.keyparams").refused(&["client.key", "--force", "-o"]);
    assert_eq!(fs::read(lab.path("client.key")).expect("a key"), key);
    lab.sh("keygen -i model.keyparams --force").fine();
    assert_ne!(fs::read(lab.path("client.key")).expect("a key"), key);
}

#[test]
fn a_cut_file_is_refused() {
    every_reader_refuses(
        |good| [7, 40, good.len() / 2, good.len() - 1].map(|n| good[..n].to_vec()).into(),
        &[],
    );
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    every_reader_refuses(
        |good| {
            [2, 9, good.len() / 3, good.len() / 2, good.len() - 2].map(|n| flipped(good, n)).into()
        },
        &[],
    );
}

#[test]
fn a_file_of_another_kind_is_refused() {
    let lab = made();
    let kinds = [
        "model.plan",
        "model.keyparams",
        "client.key",
        "client.key.pub",
        "output.enc",
        "input.npy",
    ];
    for (file, lines) in READERS {
        for other in kinds.into_iter().filter(|k| *k != file) {
            for line in lines.iter().filter(|l| !l.starts_with("inspect")) {
                lab.refuses(&line.replace("FILE", other), &[other]);
            }
        }
    }
}

#[test]
fn files_of_different_plans_are_refused_with_both_ids() {
    let lab = made();
    let square = Onnx::new().input("x", &[1, 6]).node("Mul", &["x", "x"], "y").output("y", &[1, 6]);
    lab.write("other.onnx", square.encode());
    lab.sh("compile -m other.onnx -c calibration.npz").fine();
    lab.sh("keygen -i other.keyparams -o other.key").fine();
    let id = |file: &str| {
        let ran = lab.sh(&format!("inspect --json {file}")).fine();
        let id = ran.json()["plan"].as_str().expect("an id").to_owned();
        id[..8].to_owned()
    };
    let (ours, theirs) = (id("model.plan"), id("other.plan"));
    assert_ne!(ours, theirs);
    for line in [
        "run -p other.plan -i input.enc -o o.enc",
        "run -p model.plan -k other.key.pub -i input.enc -o o.enc",
        "decrypt -k other.key -i output.enc -o o.npy",
    ] {
        lab.refuses(line, &[&ours, &theirs]);
    }
}

#[test]
fn what_is_no_onnx_is_refused() {
    let lab = bare();
    let good = model().encode();
    for bytes in [b"".to_vec(), b"hello".to_vec(), good[..good.len() / 2].to_vec(), vec![0xff; 64]]
    {
        lab.write("bad.onnx", bytes);
        lab.refuses("compile -m bad.onnx -c calibration.npz", &["bad.onnx", "E01"]);
        lab.refuses("explain -m bad.onnx -c calibration.npz", &["bad.onnx", "E01"]);
    }
}

#[track_caller]
fn refused_model(model: &Onnx, needles: &[&str]) -> Ran {
    let lab = bare();
    lab.write("bad.onnx", model.encode());
    lab.refuses("compile -m bad.onnx -c calibration.npz", needles)
}

#[test]
fn a_cycle_is_refused() {
    let model = Onnx::new()
        .input("x", &[1, 6])
        .node("Add", &["x", "b"], "a")
        .node("Mul", &["a", "a"], "b")
        .output("b", &[1, 6]);
    refused_model(&model, &["E0103", "bad.onnx"]);
}

#[test]
fn a_missing_initialiser_is_refused() {
    let model =
        Onnx::new().input("x", &[1, 6]).node("MatMul", &["x", "w"], "y").output("y", &[1, 4]);
    refused_model(&model, &["E0104", "\"w\"", "/y"]);
}

#[test]
fn external_data_that_is_not_there_is_refused() {
    for location in ["weights.bin", "../weights.bin", "/etc/passwd"] {
        let model = Onnx::new()
            .input("x", &[1, 6])
            .external("w", &[6, 4], location)
            .node("MatMul", &["x", "w"], "y")
            .output("y", &[1, 4]);
        refused_model(&model, &["E0107", "\"w\""]);
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let model = Onnx::new()
        .input("x", &[1, 6])
        .weight("w", &[5, 4], &numbers(1, 20))
        .node("MatMul", &["x", "w"], "y")
        .output("y", &[1, 4]);
    refused_model(&model, &["E0301", "/y", "6", "5"]);
}

#[test]
fn unsupported_operators_are_all_reported_with_the_way_out() {
    let model = Onnx::new()
        .input("x", &[1, 6])
        .node("Floor", &["x"], "a")
        .node("NoSuchOperator", &["x"], "c")
        .node("Ceil", &["x"], "d")
        .node("Sum", &["a", "c", "d"], "y")
        .output("y", &[1, 6]);
    let ran = refused_model(&model, &["Floor", "NoSuchOperator", "Ceil", "/a", "/c", "/d", "help"]);
    assert!(ran.errors() >= 3, "{ran:#?}");
}

#[test]
fn calibration_sets_that_cannot_serve_are_refused() {
    let lab = bare();
    let line = "compile -m model.onnx -c bad.npz";
    write_npz(&lab.path("bad.npz"), &[("x", &[32, 7], &numbers(3, 224))]);
    lab.refuses(line, &["E0401", "[32, 7]", "[1, 6]"]);
    write_npz(&lab.path("bad.npz"), &[("x", &[0, 6], &[])]);
    lab.refuses(line, &["E0401", "no sample"]);
    write_npz(&lab.path("bad.npz"), &[]);
    lab.refuses(line, &["E0401", "bad.npz"]);
    let mut data = numbers(3, 192);
    data[77] = f32::NAN;
    write_npz(&lab.path("bad.npz"), &[("x", &[32, 6], &data)]);
    lab.refuses(line, &["E0401", "NaN"]);
    lab.write("bad.npz", b"");
    lab.refuses(line, &["E0401", "bad.npz"]);
    lab.write("bad.npz", &lab.read("calibration.npz")[..100]);
    lab.refuses(line, &["E0401", "bad.npz"]);
}

#[test]
fn an_input_outside_the_calibrated_range_is_told_and_refused_when_asked() {
    let lab = made();
    let mut data = numbers(4, 6);
    data[2] = 5.0;
    write_npy(&lab.path("far.npy"), &[1, 6], &data);
    lab.refuses("encrypt --strict -i far.npy", &["outside", "5"]);
    let ran = lab.sh("encrypt -i far.npy").fine();
    assert!(ran.stderr.contains("warning") && ran.stderr.contains("outside"), "{ran:#?}");
    let ran = lab.sh("encrypt --strict -i input.npy -o near.enc").fine();
    assert!(ran.stderr.is_empty(), "{ran:#?}");
}

#[test]
fn an_element_far_outside_its_own_column_is_told_although_others_reach_further() {
    let lab = Lab::new();
    let model = Onnx::new()
        .input("image", &[1, 2])
        .input("row", &[1, 3])
        .weight("w", &[2, 1], &[0.5, 0.25])
        .weight("v", &[3, 1], &[0.001, 1.0, 1.0])
        .node("MatMul", &["image", "w"], "a")
        .node("MatMul", &["row", "v"], "b")
        .node("Add", &["a", "b"], "y")
        .output("y", &[1, 1]);
    lab.write("model.onnx", model.encode());
    let scales = [1000.0, 0.01, 0.02];
    let rows: Vec<f32> =
        numbers(2, 96).iter().zip(scales.iter().cycle()).map(|(x, s)| x * s).collect();
    let arrays = [("image", &[32, 2][..], &numbers(1, 64)[..]), ("row", &[32, 3], &rows)];
    write_npz(&lab.path("calibration.npz"), &arrays);
    lab.sh("compile -m model.onnx -c calibration.npz").fine();
    lab.sh("keygen -i model.keyparams").fine();
    let row = |name: &str, row: &[f32]| {
        let arrays = [("image", &[1, 2][..], &[0.5, 0.5][..]), ("row", &[1, 3], row)];
        write_npz(&lab.path(name), &arrays);
    };
    row("near.npz", &rows[..3]);
    let ran = lab.sh("encrypt --strict -i near.npz").fine();
    assert!(ran.stderr.is_empty(), "{ran:#?}");
    // Three is nothing beside the first column, and a hundred spans of the second.
    row("far.npz", &[rows[0], 3.0, rows[2]]);
    lab.refuses("encrypt --strict -i far.npz -o far.enc", &["row", "3 at element 1"]);
    let ran = lab.sh("encrypt -i far.npz -o far.enc").fine();
    assert!(ran.stderr.contains("warning") && ran.stderr.contains("element 1"), "{ran:#?}");
}

#[test]
fn inputs_that_are_no_numbers_or_of_the_wrong_shape_are_refused() {
    let lab = made();
    write_npy(&lab.path("nan.npy"), &[1, 6], &[0.0, f32::NAN, 0.0, 0.0, 0.0, 0.0]);
    lab.refuses("encrypt -i nan.npy -o o.enc", &["NaN"]);
    write_npy(&lab.path("wide.npy"), &[1, 8], &numbers(1, 8));
    lab.refuses("encrypt -i wide.npy -o o.enc", &["[1, 8]", "[1, 6]"]);
    write_npy(&lab.path("none.npy"), &[0, 6], &[]);
    lab.refuses("encrypt -i none.npy -o o.enc", &["none"]);
    lab.write("text.npy", b"1, 2, 3");
    lab.refuses("encrypt -i text.npy -o o.enc", &["text.npy"]);
}

#[test]
fn a_target_that_cannot_be_written_is_named() {
    let lab = made();
    for (line, target) in [
        ("compile -m model.onnx -c calibration.npz -o absent/m.plan", "absent/m.plan"),
        ("keygen -i model.keyparams -o absent/c.key", "absent/c.key"),
        ("encrypt -i input.npy -o absent/i.enc", "absent/i.enc"),
        ("run -p model.plan -i input.enc -o absent/o.enc", "absent/o.enc"),
        ("decrypt -i output.enc -o absent/o.npy", "absent/o.npy"),
        ("decrypt -i output.enc -o /dev/full", "/dev/full"),
    ] {
        lab.refuses(line, &[target, "cannot be written"]);
    }
    lab.refuses("decrypt -i output.enc -o output.enc", &["output.enc"]);
    lab.refuses("run -p model.plan -i input.enc -o model.plan", &["model.plan"]);
}

/// Runs a command line that may not write a file above `kilobytes`, as on a full disk: the signal
/// that the limit sends is ignored, so that the write fails.
fn limited(lab: &Lab, kilobytes: u32, line: &str) -> Ran {
    let script = format!("trap '' XFSZ; ulimit -f {kilobytes}; exec \"$0\" {line}");
    let mut command = Command::new("bash");
    command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_heplan")).current_dir(lab.dir());
    command.output().expect("bash starts").into()
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let lab = made();
    for (line, kilobytes) in [
        ("compile -m model.onnx -c calibration.npz -o o.plan", 1),
        ("keygen -i model.keyparams -o o.key", 8),
        ("encrypt -i input.npy -o o.enc", 8),
        ("run -p model.plan -i input.enc -o o.enc", 8),
    ] {
        let before = lab.listing();
        limited(&lab, kilobytes, line).refused(&["o.", "cannot be written"]);
        assert_eq!(lab.listing(), before, "{line}");
    }
}

#[test]
fn an_interrupted_command_leaves_nothing_behind() {
    let lab = Lab::new();
    let model = root().join("tests/models/lenet5");
    for file in ["model.onnx", "calibration.npz"] {
        fs::copy(model.join(file), lab.path(file)).expect("copied");
    }
    let before = lab.listing();
    let mut command = lab.command();
    command.args(["compile", "-m", "model.onnx", "-c", "calibration.npz"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    std::thread::sleep(Duration::from_millis(300));
    let started = Instant::now();
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill runs").success());
    let ran = Ran::from(child.wait_with_output().expect("ends"));
    ran.refused(&["interrupted"]);
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(lab.listing(), before);
}

#[test]
fn the_secret_key_is_for_its_owner_alone() {
    let mode = |file: &str| {
        let lab = &*MADE;
        fs::metadata(lab.path(file)).expect("made").permissions().mode() & 0o777
    };
    assert_eq!(mode("client.key"), 0o600);
    assert_ne!(mode("client.key.pub"), 0o600);
}

#[test]
fn the_key_parameters_hold_no_weights() {
    let lab = made();
    let size = |file: &str| lab.read(file).len();
    assert!(size("model.keyparams") < 20_000);
    let text = String::from_utf8(lab.read("model.keyparams")).expect("text");
    for weight in numbers(1, 24) {
        assert!(!text.contains(&format!("{weight}")));
    }
}

#[test]
fn shared_answers_are_rounded() {
    let lab = made();
    lab.sh("decrypt -i output.enc -o exact.npy").fine();
    lab.sh("decrypt -i output.enc -o rounded.npy --share 6").fine();
    let (exact, rounded) = (read_npy(&lab.path("exact.npy")), read_npy(&lab.path("rounded.npy")));
    // The added noise has a deviation of 2^-6 of the output's range, which is at most 2^5 here.
    for (e, r) in exact.iter().zip(&rounded) {
        assert!((e - r).abs() <= 6.0 * 0.5, "{e} {r}");
        assert_eq!((r * 64.0).fract(), 0.0, "{r} is no multiple of 2^-6");
    }
    assert_ne!(exact, rounded);
}

#[test]
fn json_is_the_last_line_and_names_the_files() {
    let lab = made();
    let run = lab.sh("run --json -p model.plan -i input.enc").fine().json();
    for field in ["load_seconds", "evaluate_seconds", "peak_bytes", "threads"] {
        assert!(run[field].is_number(), "{field}: {run}");
    }
    assert!(run["isa"].is_string(), "{run}");
    assert_eq!(run["output"]["file"], "output.enc");
    assert_eq!(run["output"]["bytes"], lab.read("output.enc").len());
    let compile = lab.sh("compile --json --quiet -m model.onnx -c calibration.npz").fine();
    assert_eq!(compile.stdout.lines().count(), 1);
    for field in ["plan", "keyparams"] {
        assert!(compile.json()[field]["bytes"].is_number(), "{compile:?}");
    }
    let failed = lab.sh("run --json -p absent.plan -i input.enc");
    assert!(failed.json()["error"].is_string());
}
