//! The tests that the ONNX project ships with its Python package, read straight from the wheel.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The release whose tests are run.
const PACKAGE: &str = "onnx==1.22.0";
/// Where they lie in it.
const DATA: &str = "onnx/backend/test/data/";
/// The sets of small models among them.
const SETS: [&str; 4] = ["node/", "pytorch-operator/", "pytorch-converted/", "simple/"];

/// One test: a model, one set of inputs, what it must answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Test {
    /// Set and name, as `node/test_relu`.
    pub(crate) name: String,
    /// The model file.
    pub(crate) model: Vec<u8>,
    /// `input_0.pb`, …
    pub(crate) inputs: BTreeMap<usize, Vec<u8>>,
    /// `output_0.pb`, …
    pub(crate) outputs: BTreeMap<usize, Vec<u8>>,
}

/// Every test of the wheel, sorted by name.
pub(crate) fn tests() -> Vec<Test> {
    let file = File::open(wheel()).expect("the wheel is readable");
    let mut zip = zip::ZipArchive::new(file).expect("a wheel is a zip archive");
    let mut tests: BTreeMap<String, Test> = BTreeMap::new();
    for index in 0..zip.len() {
        let mut member = zip.by_index(index).expect("a readable member");
        let path = member.name().expect("a readable name").into_owned();
        let Some(rest) = path.strip_prefix(DATA) else { continue };
        if !SETS.iter().any(|set| rest.starts_with(set)) {
            continue;
        }
        let parts: Vec<&str> = rest.split('/').collect();
        let name = parts[..2.min(parts.len())].join("/");
        let mut read = || {
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).expect("a readable member");
            bytes
        };
        let number = |file: &str, stem: &str| -> Option<usize> {
            file.strip_prefix(stem)?.strip_suffix(".pb")?.parse().ok()
        };
        let test = tests.entry(name.clone()).or_insert_with(|| Test { name, ..Test::default() });
        match parts.as_slice() {
            [_, _, "model.onnx"] => test.model = read(),
            [_, _, "test_data_set_0", file] => {
                if let Some(i) = number(file, "input_") {
                    test.inputs.insert(i, read());
                } else if let Some(i) = number(file, "output_") {
                    test.outputs.insert(i, read());
                }
            }
            _ => {}
        }
    }
    tests.into_values().filter(|t| !t.model.is_empty()).collect()
}

/// The wheel, fetched once into the target folder.
#[allow(clippy::panic, reason = "a helper of tests fails them")]
fn wheel() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../conformance");
    std::fs::create_dir_all(&folder).expect("the target folder is writable");
    if let Some(found) = present(&folder) {
        return found;
    }
    let fetched = Command::new("python3")
        .args(["-m", "pip", "download", PACKAGE, "--no-deps", "--only-binary=:all:", "--quiet"])
        .arg("--dest")
        .arg(&folder)
        .output();
    let why = match &fetched {
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    present(&folder).unwrap_or_else(|| {
        panic!(
            "the suite reads the wheel of {PACKAGE}, which `python3 -m pip download` did not get \
             (is there a network?); put it into {} by hand, or leave out `--features conformance`\n{why}",
            folder.display()
        )
    })
}

fn present(folder: &Path) -> Option<PathBuf> {
    let stem = format!("{}-", PACKAGE.replace("==", "-"));
    let names = std::fs::read_dir(folder).ok()?.flatten().map(|e| e.path());
    names
        .filter(|p| p.extension().is_some_and(|e| e == "whl"))
        .find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&stem)))
}
