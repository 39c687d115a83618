//! What cannot be imported: the full text of every finding, and no panic whatever the file says.
//!
//! `data/make.py` writes one model per finding; the texts are the snapshots in
//! `snapshots/errors/import`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use heplan_compiler::import::{Options, diagnose, import, import_file};
use heplan_ir::diagnostic::Diagnostic;
use heplan_onnx::Model;
use proptest::prelude::*;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn refuse(name: &str) -> Vec<Diagnostic> {
    let path = data(&format!("import_errors/{name}.onnx"));
    import_file(&path, &BTreeMap::new()).err().unwrap_or_else(|| panic!("{name} was imported"))
}

#[test]
fn every_finding_reads_well() {
    let folder = std::fs::read_dir(data("import_errors")).unwrap();
    let mut names: Vec<String> = folder
        .map(|e| e.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots/errors/import");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for name in names {
            let texts: Vec<String> =
                refuse(&name).iter().map(|f| f.render(&format!("{name}.onnx"))).collect();
            insta::assert_snapshot!(name.clone(), texts.join("\n\n"));
        }
    });
}

#[test]
fn all_offending_nodes_are_reported_and_nothing_that_follows_from_them() {
    let ops: Vec<String> =
        refuse("all_at_once").into_iter().filter_map(|f| f.node.map(|n| n.op)).collect();
    assert_eq!(ops, ["Floor", "Hardmax", "com.example.FusedGelu"]);
}

#[test]
fn a_symbolic_axis_takes_the_length_that_the_caller_gives() {
    let path = data("import_errors/open_axis.onnx");
    let dimensions = BTreeMap::from([("length".to_owned(), 5)]);
    let graph = import_file(&path, &dimensions).unwrap().graph;
    assert_eq!(graph.value(graph.outputs[0].1).shape, [1, 5]);
}

#[test]
fn files_that_are_no_models_are_findings_too() {
    for (bytes, code) in [(&b""[..], "E0101"), (&b"not a model"[..], "E0101")] {
        let error = Model::from_bytes("x.onnx", Bytes::from_static(bytes)).unwrap_err();
        assert_eq!(diagnose(&error).code.as_str(), code, "{error}");
    }
}

const MODELS: [&str; 9] = [
    "import/conv_2d",
    "import/conv_transpose",
    "import/dynamic_expand",
    "import/gelu_tanh",
    "import/average_pool_ceil",
    "import/slice_steps",
    "import_ml/ensemble_sets",
    "import_ml/forest_none",
    "import_ml/trees_sum",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Flipped bytes give a graph or findings, never a panic.
    #[test]
    fn flipped_bytes_never_panic(
        model in 0..MODELS.len(),
        flips in prop::collection::vec((0_usize..4096, 1_u8..=255), 1..4),
    ) {
        let mut bytes = std::fs::read(data(&format!("{}.onnx", MODELS[model]))).unwrap();
        let length = bytes.len();
        for (at, flip) in flips {
            bytes[at % length] ^= flip;
        }
        if let Ok(model) = Model::from_bytes("flipped", Bytes::from(bytes)) {
            let options = Options { name: "flipped".to_owned(), ..Options::default() };
            if let Err(findings) = import(&model, &options) {
                prop_assert!(!findings.is_empty());
            }
        }
    }
}
