//! The checked-in message types are what `proto/onnx-ml.proto` generates.

use std::path::Path;

/// Generates the types anew and compares; `HEPLAN_BLESS=1` writes them instead.
#[test]
fn proto_types_match_the_proto_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = protox::compile(["onnx-ml.proto"], [root.join("proto")]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    prost_build::Config::new()
        .bytes([
            ".onnx.TensorProto.raw_data",
            ".onnx.TensorProto.string_data",
            ".onnx.AttributeProto.s",
            ".onnx.AttributeProto.strings",
        ])
        .disable_comments(["."])
        .out_dir(folder.path())
        .compile_fds(files)
        .unwrap();
    let generated = std::fs::read_to_string(folder.path().join("onnx.rs")).unwrap();
    let checked_in = root.join("src/proto.rs");
    if std::env::var_os("HEPLAN_BLESS").is_some() {
        std::fs::write(&checked_in, &generated).unwrap();
    }
    let current = std::fs::read_to_string(&checked_in).unwrap();
    assert!(current == generated, "src/proto.rs is stale, run again with HEPLAN_BLESS=1");
}
