//! `heplan bench`: what it measures, and how it says so.

mod common;

use common::Lab;

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
