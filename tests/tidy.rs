//! The repository's own rules: dependency directions, sizes, headers, generated text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Every edge between crates that may exist: `cli → compiler → {ir, onnx}`,
/// `ir ← runtime ← ckks → lattice`. The root package, the command, sees all of them.
const EDGES: [(&str, &[&str]); 7] = [
    ("heplan-ir", &[]),
    ("heplan-onnx", &[]),
    ("heplan-lattice", &["heplan-ir"]),
    ("heplan-compiler", &["heplan-ir", "heplan-onnx"]),
    ("heplan-runtime", &["heplan-ir"]),
    ("heplan-ckks", &["heplan-ir", "heplan-lattice", "heplan-runtime"]),
    (
        "heplan-fuzz",
        &["heplan-ckks", "heplan-compiler", "heplan-ir", "heplan-lattice", "heplan-onnx"],
    ),
];

/// Most lines of a file that are not tests.
const LINES: usize = 800;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below the repository's folders with one of these extensions.
fn files(extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["ir", "compiler", "runtime", "cli", "tests", "demo", ".ci"].map(|f| root().join(f)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && entry.file_name() != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)) {
                found.push(path);
            }
        }
    }
    found.extend(["README.md", "Cargo.toml"].map(|f| root().join(f)));
    found.sort();
    found
}

fn rust() -> Vec<(String, String)> {
    let sources = files(&["rs"]).into_iter().filter(|p| p.extension().is_some_and(|e| e == "rs"));
    sources.map(|p| (name(&p), fs::read_to_string(&p).expect("readable"))).collect()
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the root").display().to_string()
}

fn generated(source: &str) -> bool {
    source.lines().take(3).any(|l| l.contains("@generated"))
}

#[test]
fn crates_depend_in_one_direction() {
    let manifests: BTreeMap<String, String> = files(&["toml"])
        .into_iter()
        .filter(|p| p.ends_with("Cargo.toml") && p.parent() != Some(root()))
        .map(|p| {
            let text = fs::read_to_string(&p).expect("readable");
            let line = text.lines().find_map(|l| l.strip_prefix("name = ")).expect("a name");
            (line.trim_matches('"').to_owned(), text)
        })
        .collect();
    let known: BTreeSet<&str> = EDGES.iter().map(|e| e.0).collect();
    assert_eq!(manifests.keys().map(String::as_str).collect::<BTreeSet<_>>(), known);
    for (package, allowed) in EDGES {
        let text = &manifests[package];
        let mut section = "";
        for line in text.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let Some(dependency) = line.split(['.', ' ', '=']).next() else { continue };
            if !section.contains("dependencies") || !dependency.starts_with("heplan-") {
                continue;
            }
            assert!(
                allowed.contains(&dependency)
                    || section == "[dev-dependencies]" && package != "heplan-ir",
                "{package} must not depend on {dependency}"
            );
            let across =
                [("heplan-compiler", "heplan-runtime"), ("heplan-runtime", "heplan-compiler")];
            assert!(!across.contains(&(package, dependency)), "compiler and runtime are strangers");
        }
    }
}

#[test]
fn files_are_short() {
    for (name, source) in rust().into_iter().filter(|(_, s)| !generated(s)) {
        let code = source.split("#[cfg(test)]\nmod tests {").next().expect("a first part");
        let test = name.contains("tests");
        assert!(test || code.lines().count() <= LINES, "{name}: {}", code.lines().count());
    }
}

#[test]
fn modules_say_what_they_are() {
    for (name, source) in rust().into_iter().filter(|(_, s)| !generated(s)) {
        let helper = name.ends_with("/tests.rs") || name.contains("/tests/");
        assert!(helper || source.starts_with("//!"), "{name} has no header");
    }
}

#[test]
fn unsafe_stays_in_the_kernels() {
    let keyword = concat!("uns", "afe");
    for (name, source) in rust() {
        let used = source.lines().filter(|l| !l.trim_start().starts_with("//")).any(|l| {
            [" {", " fn", " impl"].iter().any(|end| l.contains(&format!("{keyword}{end}")))
        });
        assert!(!used || name.starts_with("runtime/lattice/src/kernels/"), "{name}");
    }
}

#[test]
fn nothing_names_a_machine_or_a_plan_for_later() {
    let banned = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimpl", "emented!("),
        concat!("#[ign", "ore"),
    ];
    for path in files(&["rs", "md", "toml", "py", "run"]) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for word in banned {
            assert!(!text.contains(word), "{} has {word}", name(&path));
        }
    }
}

#[test]
fn sources_use_ordered_maps() {
    for (name, source) in rust() {
        for word in [concat!("Hash", "Map"), concat!("Hash", "Set")] {
            assert!(!source.contains(word), "{name} has {word}");
        }
    }
}

/// By operator how many of the ONNX project's tests pass, from the snapshot of that suite.
fn conformance() -> BTreeMap<String, String> {
    let path = root().join("snapshots/conformance/operators.snap");
    let text = fs::read_to_string(path).expect("readable");
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, operator, passed, refused, wrong, ..] = cells.as_slice() else { return None };
        let numbers = [passed, refused, wrong].map(|n| n.parse::<usize>());
        let [Ok(passed), Ok(refused), Ok(wrong)] = numbers else { return None };
        Some(((*operator).to_owned(), format!("{passed} of {}", passed + refused + wrong)))
    });
    rows.collect()
}

#[test]
fn the_readme_has_the_operators_that_are_there() {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).expect("readable");
    let (before, rest) = readme.split_once("<!-- operators -->\n").expect("the table's start");
    let (table, after) = rest.split_once("<!-- /operators -->").expect("the table's end");
    let tested = conformance();
    let of = |name: &str| tested.get(name).cloned().unwrap_or_default();
    let wanted = heplan_compiler::import::registry::operator_table(of);
    if std::env::var("INSTA_UPDATE").is_ok_and(|v| v == "always") {
        let text = format!("{before}<!-- operators -->\n{wanted}<!-- /operators -->{after}");
        fs::write(&path, text).expect("writable");
        return;
    }
    assert!(table.trim() == wanted.trim(), "README.md must have this table:\n\n{wanted}\n");
}
