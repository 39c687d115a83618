//! The files of both parties: what was written comes back, and nothing else is taken for it.
#![allow(clippy::unwrap_used, reason = "a suite stops at the first thing that fails")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{bits, random, small};
use heplan_ckks::client::{Client, ClientError, Sharing};
use heplan_ckks::evaluator::Evaluator;
use heplan_ckks::files::FileError;
use heplan_ckks::files::ciphertexts::{CiphertextFile, Direction};
use heplan_ckks::files::evaluation_keys::{EvaluationKeysFile, key_bytes};
use heplan_ckks::files::secret_key::SecretKeyFile;
use heplan_ckks::keys::store::EvaluationKeys;
use heplan_ckks::server::{Server, ServerError};
use heplan_ir::ckks::{CtType, Op};
use heplan_ir::constants::ConstPool;
use heplan_ir::container::{Container, Kind, to_bytes};
use heplan_ir::entity::RegId;
use heplan_ir::layout::{Axis, Layout};
use heplan_ir::plan::{Inst, KeyKind, KeyParams, KeySpec, Plan};
use heplan_ir::scale::Scale;
use heplan_ir::slots::{Compact, Port};
use heplan_lattice::Seed;
use heplan_runtime::executor::Executor;
use tempfile::TempDir;

const PLAN: [u8; 32] = [7; 32];

fn port(name: &str, elements: usize, stride: usize) -> Port {
    let axes = vec![Axis { size: elements, stride }];
    let layout = Layout { axes, offset: 0, period: 2048, width: 2048 };
    let (shape, compact) = (vec![1, elements], Compact::NONE);
    Port { name: name.into(), shape, layout, factor: 4.0, range: (-4.0, 4.0), compact }
}

fn ty(level: usize) -> CtType {
    CtType::new(level, Scale::pow2(30))
}

/// What the input `b` leaves out.
const COMPACT: Compact = Compact { rotations: 2, conjugate: true };

/// `b`, which repeats every 512 slots, and of which an eighth is sent.
fn compact_port() -> Port {
    let port = port("b", 100, 3);
    let layout = Layout { period: 512, ..port.layout.clone() };
    Port { layout, compact: COMPACT, ..port }
}

/// `y = (a_0 + b) rotated by one`, where `a` takes two ciphertexts and `b` is made whole first.
fn plan() -> Plan {
    let reg = RegId::new;
    let inst = |op, result, frees: &[usize]| Inst {
        op,
        results: vec![reg(result)],
        ty: ty(1),
        frees: frees.iter().map(|&r| reg(r)).collect(),
        origin: 0,
    };
    let whole = COMPACT.steps(2048);
    let whole = whole.map(|by| inst(Op::RotateAdd { x: reg(1), by, y: reg(1) }, 1, &[]));
    let whole: Vec<Inst> = whole.collect();
    Plan {
        name: "tiny".into(),
        parameters: small(),
        keys: vec![
            KeySpec { kind: KeyKind::Relinearise, level: 0 },
            KeySpec { kind: KeyKind::Rotate(1), level: 1 },
            KeySpec { kind: KeyKind::Rotate(512), level: 1 },
            KeySpec { kind: KeyKind::Rotate(1024), level: 1 },
            KeySpec { kind: KeyKind::Conjugate, level: 1 },
        ],
        insts: [
            vec![
                inst(Op::Input { input: 0, part: 0 }, 0, &[]),
                inst(Op::Input { input: 1, part: 0 }, 1, &[]),
            ],
            whole,
            vec![
                inst(Op::Add { a: reg(0), b: reg(1) }, 2, &[0, 1]),
                inst(Op::Rotate { x: reg(2), by: 1 }, 0, &[2]),
            ],
        ]
        .concat(),
        registers: 3,
        inputs: vec![(port("a", 3000, 1), ty(1)), (compact_port(), ty(1))],
        outputs: vec![(port("y", 2048, 1), ty(1), vec![reg(0)])],
        consts: ConstPool::default(),
        origins: vec![String::new()],
        answers: Vec::new(),
        features: Vec::new(),
        precision_bits: 16.0,
    }
}

fn keyparams(plan: &Plan) -> KeyParams {
    KeyParams {
        plan: PLAN,
        name: plan.name.clone(),
        parameters: plan.parameters.clone(),
        keys: plan.keys.clone(),
        inputs: plan.inputs.clone(),
        outputs: plan.outputs.iter().map(|(p, t, _)| (p.clone(), t.clone())).collect(),
        answers: plan.answers.clone(),
        features: plan.features.clone(),
        precision_bits: plan.precision_bits,
    }
}

struct Files {
    folder: TempDir,
    client: Client,
    samples: Vec<Vec<Vec<f64>>>,
}

impl Files {
    fn new() -> Self {
        let client = Client::new(keyparams(&plan()), &Seed::new([9; 32])).unwrap();
        let samples = (0..2).map(|s| vec![random(3000, s), random(100, s + 9)]).collect();
        let files = Self { folder: TempDir::new().unwrap(), client, samples };
        files.client.write_evaluation_keys(&files.keys(), |_| {}).unwrap();
        let inputs = files.client.encrypt(&files.samples, &Seed::new([3; 32])).unwrap();
        inputs.write(&files.inputs()).unwrap();
        let secret = files.secret_file();
        secret.write(&files.secret(), None, &Seed::new([5; 32])).unwrap();
        files
    }

    fn secret_file(&self) -> SecretKeyFile {
        SecretKeyFile { keyparams: keyparams(&plan()), seed: Seed::new([9; 32]) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn keys(&self) -> PathBuf {
        self.path("client.key.pub")
    }

    fn inputs(&self) -> PathBuf {
        self.path("input.enc")
    }

    fn secret(&self) -> PathBuf {
        self.path("client.key")
    }

    fn run(&self) -> PathBuf {
        let plan = plan();
        let server = Server::open(&plan, &PLAN, &self.keys(), 0).unwrap();
        let inputs = server.open_inputs(&self.inputs()).unwrap();
        let executor = Executor::new(&plan);
        let outputs: Vec<_> = (0..inputs.header().samples)
            .map(|s| {
                let sample = inputs.run(server.context(), s).unwrap();
                executor.run(server.backend(), sample, &mut ()).unwrap()
            })
            .collect();
        let out = self.path("output.enc");
        server.write_outputs(&out, &plan, inputs.header(), &outputs).unwrap();
        out
    }

    fn expected(&self, sample: usize) -> Vec<f64> {
        let [a, b] = [0, 1].map(|i| plan().inputs[i].0.pack(&self.samples[sample][i]));
        let whole = |t: usize| a[0][t % 2048] + COMPACT.divisor() * b[0][t % 2048];
        (0..2048).map(|t| 4.0 * whole(t + 1)).collect()
    }
}

#[test]
fn both_parties_play_through_files() {
    let files = Files::new();
    let output = CiphertextFile::open(&files.run()).unwrap();
    let request = CiphertextFile::open(&files.inputs()).unwrap().header().request;
    let found = files.client.decrypt(&output, Some(&request), &Sharing::Private).unwrap();
    assert_eq!(found.len(), 2);
    for (s, sample) in found.iter().enumerate() {
        assert!(bits(&sample[0], &files.expected(s)) > 13.0);
    }
    let other = files.client.decrypt(&output, Some(&[0; 16]), &Sharing::Private);
    assert!(matches!(other, Err(ClientError::Request)));
    let randomness = Seed::new([8; 32]);
    let sharing = Sharing::Flooded { bits: 8.0, randomness: &randomness };
    let shared = files.client.decrypt(&output, None, &sharing).unwrap();
    let left = bits(&shared[0][0], &files.expected(0));
    // Deviation 2^-8, largest of 2048 slots near 3.5 deviations, times the factor 4.
    assert!((3.0..6.0).contains(&left), "{left}");
}

#[test]
fn files_are_reproducible_and_as_small_as_promised() {
    let (a, b) = (Files::new(), Files::new());
    for (x, y) in [(a.keys(), b.keys()), (a.inputs(), b.inputs()), (a.secret(), b.secret())] {
        assert_eq!(fs::read(x).unwrap(), fs::read(y).unwrap());
    }
    let length = |p: PathBuf| fs::metadata(p).unwrap().len() as usize;
    // 37 and 30 bits may be 38 and 31 for primes above the power; at most 1 KiB of frame.
    let bits = |primes: &[u64]| primes.iter().map(|q| q.ilog2() as usize + 1).sum::<usize>();
    let (q, p) = (small().q().to_vec(), small().p().to_vec());
    let key = 4 * 2 * 512 * (bits(&q) + bits(&p)) + 512 * (bits(&q[..1]) + bits(&p));
    let found = length(a.keys());
    assert!((key..key + 1024).contains(&found), "{found} {key}");
    // Two ciphertexts and an eighth of one for each of two samples.
    let inputs = 2 * (2 * 512 + 512 / 8) * bits(&q);
    let found = length(a.inputs());
    assert!((inputs..inputs + 1024).contains(&found), "{found} {inputs}");
}

#[cfg(unix)]
#[test]
fn secret_keys_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let files = Files::new();
    assert_eq!(fs::metadata(files.secret()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn secret_keys_come_back_with_and_without_a_passphrase() {
    let files = Files::new();
    let written = files.secret_file();
    let read = SecretKeyFile::read(&files.secret(), None).unwrap();
    assert!(read.seed == written.seed && read.keyparams == written.keyparams);
    assert_eq!(Client::from_file(read).unwrap().id(), files.client.id());

    let path = files.path("protected.key");
    written.write(&path, Some("correct horse"), &Seed::new([6; 32])).unwrap();
    assert!(SecretKeyFile::is_protected(&path).unwrap());
    assert!(!SecretKeyFile::is_protected(&files.secret()).unwrap());
    let read = SecretKeyFile::read(&path, Some("correct horse")).unwrap();
    assert!(read.seed == written.seed);
    let error = |p| SecretKeyFile::read(&path, p).map(|_| ()).unwrap_err();
    assert!(matches!(error(None), FileError::PassphraseNeeded { .. }));
    assert!(matches!(error(Some("wrong")), FileError::PassphraseWrong { .. }));
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.windows(32).all(|w| w != [9; 32]), "the seed is sealed");
}

#[test]
fn public_files_do_not_hold_the_seed() {
    let files = Files::new();
    for path in [files.keys(), files.inputs(), files.run()] {
        assert!(fs::read(path).unwrap().windows(32).all(|w| w != [9; 32]));
    }
}

/// Opens a file and reads all of it.
fn read_all(files: &Files, path: &Path, like: &Path) -> Result<(), String> {
    let text = |e: FileError| e.to_string();
    if like == files.keys() {
        let file = EvaluationKeysFile::open(path).map_err(text)?;
        let context = files.client.secret().context();
        let keys = EvaluationKeys::new(context, file.into_source(context).map_err(text)?);
        let specs: Vec<KeySpec> = keys.specs().collect();
        specs
            .iter()
            .try_for_each(|s| keys.get(s.kind, s.level).map(|_| ()).map_err(|e| e.to_string()))
    } else if like == files.inputs() {
        let file = CiphertextFile::open(path).map_err(text)?;
        let context = files.client.secret().context();
        (0..file.header().samples).try_for_each(|s| file.run(context, s).map(|_| ()).map_err(text))
    } else {
        SecretKeyFile::read(path, None).map(|_| ()).map_err(text)
    }
}

#[test]
fn cut_and_flipped_files_are_refused() {
    let files = Files::new();
    for like in [files.keys(), files.inputs(), files.secret()] {
        let good = fs::read(&like).unwrap();
        read_all(&files, &like, &like).unwrap();
        let path = files.path("bad");
        let refused = |bytes: &[u8], what: String| {
            fs::write(&path, bytes).unwrap();
            let error = read_all(&files, &path, &like).expect_err(&what);
            assert!(error.starts_with(path.to_str().unwrap()), "{error}");
        };
        let body = (300..good.len()).step_by(good.len() / 40 + 1);
        for at in (0..300.min(good.len())).step_by(3).chain(body) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            refused(&bad, format!("bit flipped in byte {at}"));
        }
        for len in [0, 1, 7, 8, 55, 56, 100, good.len() / 2, good.len() - 1] {
            refused(&good[..len.min(good.len() - 1)], format!("cut to {len}"));
        }
        refused(&[good.as_slice(), &[0]].concat(), "one byte more".into());
    }
}

#[test]
fn swapped_files_are_named() {
    let files = Files::new();
    let all = [files.keys(), files.inputs(), files.secret()];
    let names = ["a file of evaluation keys", "a ciphertext", "a secret key"];
    for (i, like) in all.iter().enumerate() {
        for (j, path) in all.iter().enumerate().filter(|&(j, _)| j != i) {
            let error = read_all(&files, path, like).unwrap_err();
            assert!(error.contains(&format!("is {}, not {}", names[j], names[i])), "{error}");
        }
    }
}

#[test]
fn files_of_another_plan_key_or_direction_are_refused() {
    let files = Files::new();
    let plan = plan();
    let open = |id: &[u8; 32]| Server::open(&plan, id, &files.keys(), 0);
    let error = open(&[8; 32]).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("belongs to plan 0707070707070707, not to plan 0808080808080808"));
    let server = open(&PLAN).unwrap();

    let stranger = Client::new(keyparams(&plan), &Seed::new([10; 32])).unwrap();
    let path = files.path("stranger.enc");
    stranger.encrypt(&files.samples, &Seed::new([3; 32])).unwrap().write(&path).unwrap();
    let error = server.open_inputs(&path).map(|_| ()).unwrap_err();
    assert!(matches!(error, ServerError::File(FileError::OtherKey { .. })));

    let output = files.run();
    let error = server.open_inputs(&output).map(|_| ()).unwrap_err();
    assert!(matches!(error, ServerError::File(FileError::Direction { .. })));
    let decrypt = |client: &Client, path: &Path| {
        let file = CiphertextFile::open(path).unwrap();
        client.decrypt(&file, None, &Sharing::Private).unwrap_err()
    };
    let error = decrypt(&stranger, &output);
    assert!(matches!(error, ClientError::File(FileError::OtherKey { .. })));
    let error = decrypt(&files.client, &files.inputs());
    assert!(matches!(error, ClientError::File(FileError::Direction { .. })));

    let mut lacking = plan.clone();
    lacking.keys.push(KeySpec { kind: KeyKind::Rotate(2), level: 0 });
    let error = Server::open(&lacking, &PLAN, &files.keys(), 0).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "the evaluation keys lack the key of rotation 2");
}

#[test]
fn outputs_of_another_type_than_declared_are_refused() {
    let files = Files::new();
    let mut keyparams = keyparams(&plan());
    keyparams.outputs[0].1.scale = Scale::pow2(31);
    let client = Client::new(keyparams, &Seed::new([9; 32])).unwrap();
    let output = CiphertextFile::open(&files.run()).unwrap();
    let error = client.decrypt(&output, None, &Sharing::Private).unwrap_err();
    assert!(matches!(error, ClientError::Type { .. }));
}

#[test]
fn samples_that_do_not_fit_are_refused() {
    let files = Files::new();
    let seed = Seed::new([1; 32]);
    let encrypt = |sample| files.client.encrypt(&[sample], &seed).map(|_| ()).unwrap_err();
    assert!(matches!(encrypt(vec![]), ClientError::Shape { .. }));
    assert!(matches!(encrypt(vec![vec![0.0; 3000], vec![0.0; 99]]), ClientError::Shape { .. }));
    let bad = vec![vec![f64::NAN; 3000], vec![0.0; 100]];
    assert!(matches!(encrypt(bad), ClientError::Encode { .. }));
}

#[test]
fn key_parameters_that_contradict_themselves_are_refused() {
    let broken: [fn(&mut KeyParams); 6] = [
        |k| k.keys[1].level = 2,
        |k| k.keys.swap(0, 1),
        |k| k.inputs[0].1.level = 2,
        |k| k.inputs[0].0.layout.axes[0].size = 1,
        |k| k.outputs[0].0.layout.width = 4096,
        |k| k.inputs[1].0.compact.rotations = 3,
    ];
    for breach in broken {
        let mut k = keyparams(&plan());
        breach(&mut k);
        assert!(matches!(Client::new(k, &Seed::new([9; 32])), Err(ClientError::KeyParams(_))));
    }
}

#[test]
fn evicted_keys_are_read_again() {
    let files = Files::new();
    let context = files.client.secret().context();
    let source = EvaluationKeysFile::open(&files.keys()).unwrap().into_source(context).unwrap();
    let keys = Arc::new(EvaluationKeys::new(context, source));
    let evaluator = Evaluator::new(Arc::clone(&keys));
    let inputs = CiphertextFile::open(&files.inputs()).unwrap();
    inputs.check(Direction::Inputs, &PLAN, &files.client.id(), 1).unwrap();
    let x = inputs.run(context, 0).unwrap().remove(0).remove(0);
    assert_eq!(keys.bytes(), 0);
    // Packed when it is used once, expanded when it is used again: two digits of two halves over three primes, of which
    // the one of 30 bits takes half a word a residue, those near 2^37 a word or, with AVX-512, their 37 and 38 bits and a
    // line of a cache, and every limb two lines more.
    let first = evaluator.rotate(&x, 1).unwrap();
    // Packed it takes what it takes in the file, but that its seed is elsewhere and a line of a cache follows.
    let packed = key_bytes(context, KeySpec { kind: KeyKind::Rotate(1), level: 1 }) - 32 + 64;
    assert_eq!(keys.bytes(), packed);
    assert!(evaluator.rotate(&x, 1).unwrap() == first);
    let narrow = context.ring().isa().name() == "avx512ifma";
    let long = if narrow { 4096 / 8 * (37 + 38) + 2 * 64 } else { 2 * 4096 * 8 };
    assert_eq!(keys.bytes(), 2 * 2 * (4096 * 4 + long + 3 * 128));
    // A budget that has no room for the expanded form keeps the packed one, or nothing.
    keys.set_budget(packed);
    assert_eq!(keys.bytes(), 0);
    assert!(evaluator.rotate(&x, 1).unwrap() == first);
    assert_eq!(keys.bytes(), packed);
    // A schedule of one more use: nothing is kept after it.
    keys.expect(&[KeyKind::Rotate(1)], 1);
    assert!(evaluator.rotate(&x, 1).unwrap() == first);
    assert_eq!(keys.bytes(), 0);
    keys.set_budget(1 << 30);
    keys.evict_all();
    assert_eq!(keys.bytes(), 0);
    assert!(evaluator.rotate(&x, 1).unwrap() == first);
}

/// Compiles for exactly the types without `Debug`: with it, two impls would fit.
trait WithoutDebug<Which> {
    const HOLDS: bool = true;
}

impl<T> WithoutDebug<()> for T {}

struct WithDebug;

impl<T: std::fmt::Debug> WithoutDebug<WithDebug> for T {}

#[test]
fn secrets_cannot_be_printed() {
    const {
        assert!(<Client as WithoutDebug<_>>::HOLDS);
        assert!(<SecretKeyFile as WithoutDebug<_>>::HOLDS);
        assert!(<heplan_ckks::keys::secret::SecretKey as WithoutDebug<_>>::HOLDS);
    }
    assert_eq!(format!("{:?}", Seed::new([9; 32])), "Seed(..)");
}

/// The file with one byte of one section changed and its checksums made good again: what a hostile party sends.
fn forged(bytes: &[u8], kind: Kind, section: usize, at: usize, byte: u8) -> Vec<u8> {
    let container = Container::parse(bytes, kind).unwrap();
    let ids: Vec<u64> = container.ids().collect();
    let mut sections: Vec<Vec<u8>> =
        ids.iter().map(|&id| container.section(id).unwrap().to_vec()).collect();
    let target = &mut sections[section];
    let at = at % target.len();
    target[at] = byte;
    let sections: Vec<(u64, &[u8])> =
        ids.into_iter().zip(sections.iter().map(Vec::as_slice)).collect();
    to_bytes(kind, &sections)
}

#[test]
fn forged_files_are_refused_or_read_but_never_panic() {
    let files = Files::new();
    let kinds = [
        (files.keys(), Kind::EvaluationKeys, 3),
        (files.inputs(), Kind::Ciphertext, 7),
        (files.secret(), Kind::SecretKey, 3),
    ];
    let mut rng = common::Random(1);
    let path = files.path("forged");
    for (like, kind, sections) in kinds {
        let good = fs::read(&like).unwrap();
        let mut refused = 0;
        for round in 0..300 {
            // Headers most often, near their beginning where the numbers are.
            let section = if round % 3 == 0 { rng.below(sections) } else { 0 };
            let at = rng.below(if round % 2 == 0 { 400 } else { 1 << 20 });
            let bytes = forged(&good, kind, section, at, rng.word() as u8);
            fs::write(&path, bytes).unwrap();
            refused += usize::from(read_all(&files, &path, &like).is_err());
        }
        assert!(refused > 20, "{kind}: {refused}");
    }
}

#[test]
fn forged_residues_are_refused() {
    let files = Files::new();
    let good = fs::read(files.inputs()).unwrap();
    let path = files.path("forged");
    // Level, kind, scale and seed take 2 + 1 + 8 + 32 bytes; the first residue follows.
    let mut bytes = good;
    for at in 43..49 {
        bytes = forged(&bytes, Kind::Ciphertext, 1, at, 255);
    }
    fs::write(&path, bytes).unwrap();
    let error = read_all(&files, &path, &files.inputs()).unwrap_err();
    assert!(error.ends_with("is invalid: a residue is not below its prime"), "{error}");
}

#[test]
fn compact_inputs_take_an_eighth_and_are_checked() {
    let files = Files::new();
    let good = fs::read(files.inputs()).unwrap();
    let container = Container::parse(&good, Kind::Ciphertext).unwrap();
    let length = |section: u64| container.section(section).unwrap().len();
    // Level, kind, scale and seed are what a section holds beside coefficients.
    let beside = 2 + 1 + 8 + 32;
    assert_eq!((length(1) - beside) / 8, length(3) - beside);
    let header = container.section(0).unwrap().to_vec();
    let path = files.path("forged");
    let read = |at: usize, byte: u8| {
        fs::write(&path, forged(&good, Kind::Ciphertext, 0, at, byte)).unwrap();
        read_all(&files, &path, &files.inputs())
    };
    // The header ends with the halvings of the last port: rotations in four bytes, the conjugation in one.
    let end = header.len();
    assert_eq!(header[end - 5..], [2, 0, 0, 0, 1]);
    for (at, byte) in [(end - 5, 1), (end - 5, 3), (end - 1, 0), (end - 5, 0)] {
        let error = read(at, byte).unwrap_err();
        assert!(error.ends_with("a polynomial of the wrong length"), "{error}");
    }
    for (at, byte) in [(end - 5, 31), (end - 5, 10), (end - 5, 9)] {
        let error = read(at, byte).unwrap_err();
        assert!(error.ends_with("coefficients of a polynomial"), "{byte}: {error}");
    }
    for (at, byte) in [(end - 5, 32), (end - 2, 1), (end - 1, 2)] {
        let error = read(at, byte).unwrap_err();
        assert!(error.ends_with("none of ours"), "{error}");
    }
    // A sound file that leaves out something else than the plan takes.
    let mut other = keyparams(&plan());
    other.inputs[1].0.compact.conjugate = false;
    let client = Client::new(other, &Seed::new([9; 32])).unwrap();
    client.encrypt(&files.samples, &Seed::new([3; 32])).unwrap().write(&path).unwrap();
    let server = Server::open(&plan(), &PLAN, &files.keys(), 0).unwrap();
    let error = server.open_inputs(&path).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("leaves out what the plan does not expect"), "{error}");
}
