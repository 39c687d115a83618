//! `heplan bench`: what it measures, and how it says so.

mod common;

use common::Lab;
use common::data::{read_npz, write_npy};

/// Every operation that a report must have.
const OPERATIONS: [&str; 14] = [
    "ntt_forward",
    "ntt_inverse",
    "encode",
    "encrypt",
    "decrypt_decode",
    "add",
    "mul_plain",
    "mul_relin",
    "rescale",
    "rotate",
    "rotate_hoisted_8",
    "keygen_galois",
    "linear_128x784",
    "linear_1024x1024",
];

#[test]
fn the_json_has_every_operation_with_its_shape() {
    let ran = Lab::new().sh("bench --json --budget 0 --shape a --threads 1").fine();
    let report = ran.json();
    let operations = report["operations"].as_array().expect("a list");
    let names: Vec<&str> = operations.iter().filter_map(|o| o["operation"].as_str()).collect();
    assert_eq!(names, OPERATIONS);
    for o in operations {
        let counts = ["limbs", "special", "digits"].map(|k| o[k].as_u64());
        let limb = o["operation"].as_str().is_some_and(|name| name.starts_with("ntt"));
        let wanted = if limb { [1, 0, 0] } else { [4, 1, 4] };
        assert_eq!((counts, o["log_n"].as_u64()), (wanted.map(Some), Some(13)), "{o}");
        assert_eq!((o["threads"].as_u64(), o["isa"].as_str()), (Some(1), report["isa"].as_str()));
        let positive = |key: &str| o[key].as_f64().is_some_and(|x| x > 0.0 && x.is_finite());
        assert!(positive("seconds") && positive("floor_ratio"), "{o}");
    }
    let lines: Vec<&str> = ran.stdout.lines().filter(|l| l.starts_with('{')).collect();
    assert_eq!(lines.len(), 1, "one object");
}

/// The compiler follows the buffers of a run: what it predicts is near what a run on two threads takes.
#[test]
fn the_predicted_memory_is_what_a_run_takes() {
    let lab = Lab::new();
    let folder = common::root().join("tests/models/cryptonets");
    let files = format!("-m {0}/model.onnx -c {0}/calibration.npz", folder.display());
    let compiled = lab.sh(&format!("compile --json {files} -o model.plan")).fine().json();
    lab.sh("keygen -i model.keyparams -o client.key").fine();
    let images = read_npz(&folder.join("test.npz"), "x");
    let image: Vec<f32> = images.iter().take(28 * 28).copied().collect();
    write_npy(&lab.path("x.npy"), &[1, 1, 28, 28], &image);
    lab.sh("encrypt -k client.key -i x.npy -o x.enc").fine();
    let run = "run --json -p model.plan -k client.key.pub -i x.enc -o y.enc --threads 2";
    let ran = lab.sh(run).fine().json();
    let predicted = compiled["predicted_peak_bytes"].as_f64().expect("a number");
    // Where the system does not say, there is nothing to compare.
    if let Some(peak) = ran["peak_bytes"].as_f64() {
        assert!((0.8..1.25).contains(&(predicted / peak)), "{predicted} for {peak}");
    }
}

#[test]
fn only_what_is_asked_for_is_measured_on_the_set_asked_for() {
    let lab = Lab::new();
    let line = "bench --json --budget 0 --shape b --operations add,rescale --threads 2";
    let ran = lab.command().args(line.split(' ')).env("HEPLAN_ISA", "scalar").output();
    let report = common::Ran::from(ran.expect("the command starts")).fine().json();
    let of = |key: &str| -> Vec<String> {
        let list = report["operations"].as_array().expect("a list");
        list.iter().map(|o| o[key].to_string()).collect()
    };
    assert_eq!(of("operation"), ["\"add\"", "\"rescale\""]);
    assert_eq!(of("isa"), ["\"scalar\"", "\"scalar\""]);
    assert_eq!((of("threads"), of("limbs")), (vec!["2".into(); 2], vec!["7".into(); 2]));
}

#[test]
fn unknown_names_are_refused_with_the_known_ones() {
    let lab = Lab::new();
    for (line, known) in [
        ("bench --shape z", "d30"),
        ("bench --operations fly", "rotate_hoisted_8"),
        ("bench --budget=-1", "seconds"),
    ] {
        let ran = lab.sh(line);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(known), "{ran:?}");
    }
    let mut command = lab.command();
    let ran = command.args(["bench"]).env("HEPLAN_ISA", "mmx").output().expect("it starts");
    common::Ran::from(ran).refused(&["HEPLAN_ISA=mmx", "scalar"]);
}

#[test]
fn costs_are_written_fitted_and_read() {
    let lab = Lab::new();
    let model = common::root().join("tests/models/act_relu");
    for name in ["model.onnx", "calibration.npz"] {
        lab.write(name, std::fs::read(model.join(name)).expect("a bundled model"));
    }
    let line = "bench --json --budget 0 --shape a --operations rotate,add,encode --costs here.ron";
    let report = lab.sh(line).fine().json();
    assert!(report["costs_error"]["rms"].as_f64().is_some_and(f64::is_finite), "{report}");
    let text = String::from_utf8(lab.read("here.ron")).expect("text");
    let compile = |costs: &str| {
        lab.sh(&format!("compile --json -m model.onnx -c calibration.npz --costs {costs}"))
    };
    let predicted = |costs: &str| compile(costs).fine().json()["predicted_seconds"].as_f64();
    let here = predicted("here.ron").expect("a prediction");
    let number = text.split("short_key_product: ").nth(1).and_then(|t| t.split(',').next());
    let number: f64 = number.and_then(|t| t.parse().ok()).expect("a cost");
    let slower = text.replace(&format!("short_key_product: {number:e}"), "short_key_product: 1e-7");
    assert_ne!(slower, text);
    lab.write("slow.ron", slower);
    assert!(predicted("slow.ron").expect("a prediction") > 2.0 * here);
}

#[test]
fn files_that_are_no_costs_are_refused() {
    let lab = Lab::new();
    let model = common::root().join("tests/models/act_relu");
    for name in ["model.onnx", "calibration.npz"] {
        lab.write(name, std::fs::read(model.join(name)).expect("a bundled model"));
    }
    lab.write("empty.ron", "");
    lab.write("huge.ron", "(".repeat(1 << 20));
    lab.write("deep.ron", "(".repeat(10_000));
    lab.write("negative.ron", costs("-1e-9"));
    lab.write("infinite.ron", costs("inf"));
    lab.write("text.ron", costs("\"fast\""));
    lab.write("newer.ron", costs("1e-9").replace("format: 1", "format: 7"));
    let cases = [
        ("missing.ron", "cannot be read"),
        ("model.onnx", "cannot be read"),
        ("empty.ron", "not a file of costs"),
        ("huge.ron", "longer than"),
        ("deep.ron", "not a file of costs"),
        ("negative.ron", "\"convert\""),
        ("infinite.ron", "\"convert\""),
        ("text.ron", "not a file of costs"),
        ("newer.ron", "format 7"),
    ];
    for (file, why) in cases {
        let line = format!("compile -m model.onnx -c calibration.npz --costs {file}");
        lab.refuses(&line, &["E0405", file, why]);
    }
    lab.refuses("bench --budget 0 --costs no/such/folder.ron", &["no/such/folder.ron"]);
}

/// A file of costs with this one for `convert`.
fn costs(convert: &str) -> String {
    let others = [
        "transform",
        "short_transform",
        "product",
        "addition",
        "key_product",
        "short_key_product",
        "diagonal",
        "short_diagonal",
        "encode",
        "expand",
        "fresh",
    ];
    let others: String = others.iter().map(|name| format!("{name}: 1e-9, ")).collect();
    format!("(format: 1, processor: \"\", isa: \"\", seconds: ({others}convert: {convert}))")
}

#[test]
fn whole_models_are_measured_step_by_step() {
    let lab = Lab::new();
    let model = common::root().join("tests/models/act_relu");
    let mut command = lab.command();
    command.args(["bench", "--json", "--samples", "2", "--models"]).arg(&model);
    // What is set for one command must not reach the steps of another.
    command.env("HEPLAN_RELU_MODE", "deg1");
    let ran = common::Ran::from(command.output().expect("it starts")).fine();
    let report = ran.json();
    let row = &report["models"][0];
    assert_eq!(row["model"].as_str(), Some("models/act_relu"), "{report}");
    for key in [
        "compile_seconds",
        "run_seconds",
        "key_bytes",
        "plan_bytes",
        "input_bytes",
        "output_bytes",
        "predicted_seconds",
        "predicted_first_seconds",
        "predicted_peak_bytes",
    ] {
        assert!(row[key].as_f64().is_some_and(|x| x > 0.0), "{key}: {row}");
    }
    let evaluate = row["evaluate"].as_array().expect("a list");
    assert_eq!(
        evaluate.iter().map(|e| e["threads"].as_u64()).collect::<Vec<_>>(),
        [Some(1), Some(2)]
    );
    assert!(evaluate.iter().all(|e| e["seconds"].as_f64().is_some_and(|s| s > 0.0)));
    assert!(row["precision_bits"].as_f64().is_some_and(|bits| bits > 4.0), "{row}");
    assert!(ran.stdout.contains("models/act_relu"));
    let empty = lab.dir().display().to_string();
    lab.heplan(["bench", "--models", &empty]).refused(&["no model"]);
}
