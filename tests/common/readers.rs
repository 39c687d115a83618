//! Every reader of a file that another party may have written, as the commands call it.
//!
//! Each function takes any bytes and says whether they were read as something valid. It must
//! return: a panic, an abort or an allocation without bound is the bug that mutations
//! (`tests/mutation.rs`) and fuzzing (`tests/fuzz`) look for. What is valid is also put to use as
//! far as its reader promises.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use heplan_ckks::context::Context;
use heplan_ckks::files::ciphertexts::CiphertextFile;
use heplan_ckks::files::evaluation_keys::EvaluationKeysFile;
use heplan_ckks::files::secret_key::SecretKeyFile;
use heplan_ckks::keys::store::EvaluationKeys;
use heplan_compiler::data::{Archive, InputSpec, Samples};
use heplan_compiler::options::Options;
use heplan_compiler::verdict::judge_model;
use heplan_ir::ckks::CtType;
use heplan_ir::container::{Kind, to_bytes};
use heplan_ir::layout::{Axis, Layout};
use heplan_ir::parameters::{Parameters, ParametersLiteral};
use heplan_ir::plan::{KeyKind, KeyParams, KeySpec, Plan};
use heplan_ir::primes::near_power;
use heplan_ir::scale::Scale;
use heplan_ir::slots::{Compact, Port};
use heplan_ir::tail;
use heplan_onnx::Model;
use tempfile::TempDir;

/// Elements of a tensor that a test still packs.
const FEW: usize = 1 << 16;

/// A reader.
pub(crate) type Reader = fn(&[u8]) -> bool;

/// The readers by name: those of `tests/fuzz/fuzz_targets`.
pub(crate) const READERS: [(&str, Reader); 6] = [
    ("onnx_reader", onnx),
    ("plan", plan),
    ("keyparams", keyparams),
    ("keys", keys),
    ("ciphertext", ciphertext),
    ("npy", npy),
];

/// `heplan check-onnx`.
pub(crate) fn onnx(bytes: &[u8]) -> bool {
    let Ok(model) = Model::from_bytes("model.onnx", Bytes::copy_from_slice(bytes)) else {
        return false;
    };
    let costs = Options::recommended().costs;
    let verdict = judge_model(&model, "model".to_owned(), &BTreeMap::new(), &costs);
    assert_eq!(verdict.nodes.len(), model.graph.nodes.len());
    assert_eq!(verdict.findings.is_empty(), verdict.estimate.is_some());
    verdict.findings.is_empty()
}

/// What `heplan run` does before it has keys.
pub(crate) fn plan(bytes: &[u8]) -> bool {
    let Ok(plan) = Plan::from_bytes(bytes) else { return false };
    let again = plan.to_bytes().expect("what was read passes its verifier");
    assert!(Plan::from_bytes(&again).is_ok_and(|p| p == plan));
    let params = plan.keyparams();
    assert!(KeyParams::from_text(params.to_text().as_bytes()).is_ok_and(|k| k == params));
    true
}

/// What `heplan keygen`, `encrypt` and `decrypt` do with key parameters.
pub(crate) fn keyparams(bytes: &[u8]) -> bool {
    let Ok(params) = KeyParams::from_text(bytes) else { return false };
    assert!(KeyParams::from_text(params.to_text().as_bytes()).is_ok_and(|k| k == params));
    let ports = || params.inputs.iter().chain(&params.outputs).map(|p| &p.0);
    let sizes: Vec<usize> = params.outputs.iter().map(|p| p.0.elements()).collect();
    if ports().map(Port::elements).chain(params.answers.iter().map(elements)).all(|n| n <= FEW) {
        for port in ports() {
            let tensor = vec![0.5; port.elements()];
            assert_eq!(port.unpack(&port.pack(&tensor)).len(), tensor.len());
        }
        tail::apply(&params.answers, sizes.iter().map(|&n| vec![0.5; n]).collect());
    }
    true
}

fn elements(answer: &tail::Answer) -> usize {
    answer.shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d)).unwrap_or(usize::MAX)
}

/// What every command does with a client's keys, secret or not.
pub(crate) fn keys(bytes: &[u8]) -> bool {
    let (_folder, path) = stored(bytes);
    if Kind::of(bytes) == Some(Kind::SecretKey) {
        let protected = SecretKeyFile::is_protected(&path);
        return SecretKeyFile::read(&path, None).is_ok() && protected.is_ok_and(|p| !p);
    }
    let Ok(file) = EvaluationKeysFile::open(&path) else { return false };
    let Ok(source) = file.into_source(&CONTEXT) else { return false };
    let keys = EvaluationKeys::new(&CONTEXT, source);
    let specs: Vec<KeySpec> = keys.specs().collect();
    specs.iter().all(|s| keys.get(s.kind, s.level).is_ok())
}

/// What `heplan run` and `heplan decrypt` do with ciphertexts.
pub(crate) fn ciphertext(bytes: &[u8]) -> bool {
    let (_folder, path) = stored(bytes);
    let Ok(file) = CiphertextFile::open(&path) else { return false };
    (0..file.header().runs()).all(|run| file.run(&CONTEXT, run).is_ok())
}

/// What is done with calibration sets and inputs: `.npy`, `.npz` and `.zip`.
pub(crate) fn npy(bytes: &[u8]) -> bool {
    let (_folder, path) = stored(bytes);
    let Ok(archive) = Archive::read(&path) else { return false };
    for (_, array) in &archive.arrays {
        assert_eq!(array.shape.iter().product::<usize>(), array.data.len());
    }
    let input = InputSpec { name: "x".to_owned(), shape: vec![1, 6] };
    if let Ok(samples) = Samples::from_archive("file", &archive, &[input]) {
        assert!(samples.inputs[0].iter().all(|s| s.len() == 6 && s.iter().all(|v| v.is_finite())));
    }
    true
}

/// A file of these bytes in a folder of its own.
fn stored(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("file");
    fs::write(&path, bytes).expect("the folder is writable");
    (folder, path)
}

/// The bytes with lengths and checksums that fit, whatever the sections hold: what a hostile party
/// sends. `None` if they are not of one of our formats.
pub(crate) fn resealed(bytes: &[u8]) -> Option<Vec<u8>> {
    const FIXED: usize = 56;
    const ENTRY: usize = 48;
    let kind = Kind::of(bytes)?;
    if kind == Kind::KeyParams {
        return Some(resealed_text(bytes));
    }
    let table = bytes.get(FIXED..)?;
    let count = u32::from_le_bytes(bytes.get(12..16)?.try_into().ok()?) as usize;
    let rows = table.chunks_exact(ENTRY).take(count);
    let mut rest = &table[rows.len() * ENTRY..];
    let mut sections: Vec<(u64, Vec<u8>)> = Vec::new();
    let last = rows.len().checked_sub(1)?;
    for (i, row) in rows.enumerate() {
        let number =
            |at: usize| row[at..at + 8].iter().rev().fold(0, |n, &b| n << 8 | u64::from(b));
        let declared = usize::try_from(number(8)).unwrap_or(usize::MAX).min(rest.len());
        let (content, after) = rest.split_at(if i == last { rest.len() } else { declared });
        rest = after;
        // Key parameters within a secret key have a checksum of their own.
        let text = Kind::of(content) == Some(Kind::KeyParams);
        sections.push((number(0), if text { resealed_text(content) } else { content.to_vec() }));
    }
    let sections: Vec<(u64, &[u8])> = sections.iter().map(|s| (s.0, s.1.as_slice())).collect();
    Some(to_bytes(kind, &sections))
}

fn resealed_text(bytes: &[u8]) -> Vec<u8> {
    const CHECKSUM: &[u8] = b"// checksum ";
    let end = bytes.windows(CHECKSUM.len()).rposition(|w| w == CHECKSUM).unwrap_or(bytes.len());
    let mut out = bytes[..end].to_vec();
    if out.last() != Some(&b'\n') {
        out.push(b'\n');
    }
    let hash = blake3::hash(&out).to_hex();
    out.extend_from_slice(CHECKSUM);
    out.extend_from_slice(hash.as_bytes());
    out.push(b'\n');
    out
}

/// The parameters of the keys and ciphertexts in the corpus: the smallest ring, one level.
static CONTEXT: LazyLock<Arc<Context>> =
    LazyLock::new(|| Context::new(&parameters()).expect("sound parameters"));

fn parameters() -> Parameters {
    let prime = |bits, skip| near_power(bits, 12).nth(skip).expect("there are many");
    let (q, p) = (vec![prime(36, 0), prime(25, 0)], vec![prime(36, 1)]);
    Parameters::new(ParametersLiteral { log_n: 12, q, p, digit_size: 1 }).expect("secure")
}

/// Key parameters of a plan that adds two inputs and rotates the sum.
pub(crate) fn small_keyparams() -> KeyParams {
    let port = |name: &str, elements: usize| {
        let axes = vec![Axis { size: elements, stride: 1 }];
        let layout = Layout { axes, offset: 0, period: 2048, width: 2048 };
        let shape = vec![1, elements];
        (
            Port {
                name: name.into(),
                shape,
                layout,
                factor: 4.0,
                range: (-4.0, 4.0),
                compact: Compact::NONE,
            },
            CtType::new(0, Scale::pow2(25)),
        )
    };
    let mut compact = port("x", 6);
    compact.0.compact.conjugate = true;
    KeyParams {
        plan: [7; 32],
        name: "small".into(),
        parameters: parameters(),
        keys: vec![KeySpec { kind: KeyKind::Rotate(1), level: 0 }],
        inputs: vec![compact],
        outputs: vec![port("y", 6)],
        answers: Vec::new(),
        features: Vec::new(),
        precision_bits: 12.0,
    }
}
