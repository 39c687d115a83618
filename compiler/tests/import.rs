//! Every imported operator against ONNX's own reference evaluator.
//!
//! `data/make.py`, `data/make_more.py` and `data/make_sequences.py` write the models and what the
//! evaluator computes for them, or a naive form where it has none; here each model is imported and
//! its graph run in floats. Those of `data/make_ml.py` are compared with the ONNX runtime, the
//! client's part included. Where the variable `HEPLAN_MODELS` names a folder of
//! models with a `test.npz` beside them (arrays `x` and `out`), those are compared too.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing test panics")]
#![allow(clippy::print_stderr, reason = "the comparison with real models is a report")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use heplan_compiler::data::Archive;
use heplan_compiler::import::{Import, Options, import_file, import_file_with, operators};
use heplan_compiler::reference::Executor;
use heplan_ir::diagnostic::Diagnostic;
use heplan_ir::tail;
use heplan_ir::tensor::{Graph, Op};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import")
}

/// All folders of models.
fn folders() -> [PathBuf; 4] {
    ["import", "import_more", "import_sequences", "import_ml"]
        .map(|name| folder().with_file_name(name))
}

fn models(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|p| p.extension().is_some_and(|e| e == "onnx")).collect();
    files.sort();
    files
}

fn import(path: &Path) -> Import {
    expect(path, import_file(path, &BTreeMap::new()))
}

fn expect(path: &Path, imported: Result<Import, Vec<Diagnostic>>) -> Import {
    imported.unwrap_or_else(|findings| {
        let texts: Vec<String> = findings.iter().map(|f| f.render("model")).collect();
        panic!("{}: {}", path.display(), texts.join("\n"))
    })
}

fn graph(name: &str) -> Graph {
    import(&folder().join(format!("{name}.onnx"))).graph
}

#[test]
fn every_model_computes_what_the_reference_evaluator_does() {
    let mut wrong = Vec::new();
    let count: usize = folders()[..3].iter().map(|folder| compared(folder, &mut wrong)).sum();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 250, "{count} models");
}

/// Compares every model of a folder; how many they are.
fn compared(folder: &Path, wrong: &mut Vec<String>) -> usize {
    let expected = Archive::read(&folder.join("expected.npz")).unwrap();
    let array = |name: String| expected.get(&name).map(|a| (a.shape.clone(), a.data.clone()));
    let mut count = 0;
    for path in models(folder) {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let graph = import(&path).graph;
        let inputs: Vec<Vec<f64>> =
            (0..).map_while(|i| array(format!("{name}.x{i}"))).map(|a| a.1).collect();
        let results = Executor::new(&graph).run(&inputs);
        for (i, result) in results.iter().enumerate() {
            let (shape, wanted) = array(format!("{name}.y{i}")).unwrap();
            assert_eq!(graph.value(graph.outputs[i].1).shape, shape, "{name}: shape of output {i}");
            assert_eq!(result.len(), wanted.len(), "{name}");
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 2e-6 * b.abs().max(1.0);
            if !result.iter().zip(&wanted).all(near) {
                wrong.push(format!("{name}: {result:?} {wanted:?}"));
            }
        }
        count += 1;
    }
    count
}

/// The table is what the README shows, so nothing may stand in it that no model here uses.
#[test]
fn every_operator_of_the_table_has_a_model() {
    let mut seen = BTreeSet::new();
    for path in folders().iter().flat_map(|folder| models(folder)) {
        let model = heplan_onnx::Model::read(&path).unwrap();
        seen.extend(model.graph.nodes.into_iter().map(|n| (n.domain, n.op_type)));
    }
    // What only the client applies is no part of a graph; its suite is that of the whole command.
    let missing: Vec<&str> = operators()
        .iter()
        .filter(|o| !o.limits.contains("by the client"))
        .filter(|o| !seen.contains(&(o.domain.to_owned(), o.name.to_owned())))
        .map(|o| o.name)
        .collect();
    assert!(missing.is_empty(), "no model uses {missing:?}");
}

/// Number of `Product` values and the functions of a graph.
fn census(graph: &Graph) -> (usize, Vec<String>) {
    let products = graph.values.iter().filter(|v| matches!(v.op, Op::Product { .. })).count();
    let functions = graph.values.iter().filter_map(|v| match &v.op {
        Op::Function { function, .. } => Some(format!("{function:?}")),
        _ => None,
    });
    (products, functions.collect())
}

/// What `data/make_ml.py` calls classes; words stand in its answers as places in this list.
const CLASSES: [&str; 4] = ["ash", "beech", "cedar", "Düne"];

/// The whole answer, with what the client computes, as the ONNX runtime gives it in single
/// precision.
#[test]
fn classical_models_answer_as_the_runtime_does() {
    let folder = folder().with_file_name("import_ml");
    let expected = Archive::read(&folder.join("expected.npz")).unwrap();
    let mut wrong = Vec::new();
    for path in models(&folder) {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let Import { graph, answers, .. } =
            expect(&path, import_file_with(&path, Options::default()));
        let counts: Vec<usize> =
            graph.outputs.iter().map(|o| graph.value(o.1).shape.iter().product()).collect();
        assert_eq!(tail::problems(&answers, &counts), [], "{name}");
        let input = |i| expected.get(&format!("{name}.x{i}")).map(|a| a.data.clone());
        let inputs: Vec<Vec<f64>> = (0..).map_while(input).collect();
        let found = tail::apply(&answers, Executor::new(&graph).run(&inputs));
        for (i, found) in found.iter().enumerate() {
            let wanted = expected.get(&format!("{name}.y{i}")).unwrap();
            let mut found = found.clone();
            if let Some(answer) = answers.get(i) {
                assert_eq!(answer.shape, wanted.shape, "{name}: shape of answer {i}");
                let named = |w: &str| CLASSES.iter().position(|c| *c == w).unwrap() as f64;
                if let Some(words) = answer.words() {
                    found.iter_mut().for_each(|v| *v = named(&words[*v as usize]));
                }
            }
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 2e-5 * b.abs().max(1.0);
            if found.len() != wanted.data.len() || !found.iter().zip(&wanted.data).all(near) {
                wrong.push(format!("{name}: {found:.4?} {:.4?}", wanted.data));
            }
        }
        assert!(expected.get(&format!("{name}.y{}", found.len())).is_none(), "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn compositions_become_one_function() {
    let swish = "Swish { alpha: 1.0 }";
    let cases = [
        ("silu", swish),
        ("silu_swapped", swish),
        ("silu_steep", "Swish { alpha: 1.702 }"),
        ("gelu_div_erf", "Gelu { tanh: false }"),
        ("gelu_half_first", "Gelu { tanh: false }"),
        ("gelu_half_inside", "Gelu { tanh: false }"),
        ("gelu_no_half", "Gelu { tanh: false }"),
        ("gelu_tanh", "Gelu { tanh: true }"),
        ("hard_swish", "HardSwish"),
        ("hard_swish_clip", "HardSwish"),
        ("mish", "Mish"),
        ("softplus_guarded", "Softplus"),
        ("inverse_square_root", "Pow { exponent: -0.5 }"),
    ];
    for (name, function) in cases {
        assert_eq!(census(&graph(name)), (0, vec![function.to_owned()]), "{name}");
    }
}

#[test]
fn what_only_looks_like_a_composition_stays_a_product() {
    for name in ["not_silu", "not_gelu", "not_silu_shifted"] {
        assert_eq!(census(&graph(name)).0, 1, "{name}");
    }
}

#[test]
fn powers_use_the_fewest_levels() {
    let depth = |name: &str| {
        let graph = graph(name);
        let mut depth: Vec<usize> = Vec::new();
        for value in &graph.values {
            let below = value.op.operands().iter().map(|x| depth[x.index()]).max().unwrap_or(0);
            depth.push(below + usize::from(matches!(value.op, Op::Product { .. })));
        }
        depth.into_iter().max().unwrap()
    };
    for (name, levels) in [("pow_2", 1), ("pow_3", 2), ("pow_5", 3), ("pow_6", 3), ("pow_7", 3)] {
        assert_eq!(depth(name), levels, "{name}");
    }
}

#[test]
fn shape_arithmetic_leaves_nothing_behind() {
    let graph = graph("dynamic_flatten");
    assert_eq!(graph.values.len(), 2, "an input and one reshape");
}

#[test]
fn origins_carry_the_names_of_the_file() {
    let graph = graph("conv_2d");
    let (_, output) = graph.outputs[0];
    assert_eq!(graph.origins.label(graph.value(output).origin), "the_Conv");
}

#[test]
fn real_models_agree_with_their_float_outputs() {
    let Some(root) = std::env::var_os("HEPLAN_MODELS") else { return };
    let mut folders: Vec<PathBuf> = vec![root.into()];
    while let Some(folder) = folders.pop() {
        let inner = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path());
        folders.extend(inner.filter(|p| p.is_dir()));
        let Ok(data) = Archive::read(&folder.join("test.npz")) else { continue };
        for path in models(&folder) {
            report(&path, &data);
        }
    }
}

/// Prints and bounds the largest error over 20 samples, or prints why the model is refused.
fn report(path: &Path, data: &Archive) {
    let imported = match import_file(path, &BTreeMap::new()) {
        Ok(imported) => imported,
        Err(findings) => {
            findings.iter().for_each(|f| eprintln!("{}", f.render(&path.display().to_string())));
            return;
        }
    };
    let graph = &imported.graph;
    // Where a class label is the first output, the scores are the second.
    let scores = if imported.notes.is_empty() { "out" } else { "out1" };
    let (x, out) = (data.get("x").unwrap(), data.get(scores).unwrap());
    let executor = Executor::new(graph);
    let (width, outputs) = (x.data.len() / x.shape[0], out.data.len() / out.shape[0]);
    let (mut worst, mut range) = (0.0_f64, 0.0_f64);
    for s in 0..x.shape[0].min(20) {
        let sample = x.data[s * width..(s + 1) * width].to_vec();
        let result = executor.run(&[sample]);
        let wanted = &out.data[s * outputs..(s + 1) * outputs];
        let given = result.iter().find(|r| r.len() == outputs).unwrap_or(&result[0]);
        for (a, b) in given.iter().zip(wanted) {
            worst = worst.max((a - b).abs());
            range = range.max(b.abs());
        }
    }
    eprintln!(
        "{}: {} values, largest error {worst:.1e} of {range:.1e} {:?}",
        path.display(),
        graph.values.len(),
        imported.notes
    );
    // The stored outputs are those of `model.onnx`; a raw export leaves its last step out.
    let raw = path.file_stem().is_some_and(|s| s == "model_raw");
    assert!(raw || worst <= 1e-5 * range, "{}", path.display());
}
