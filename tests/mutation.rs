//! Damaged and hostile files: seeded mutations of sound ones, over every reader of foreign bytes.
//!
//! Whatever a file says, a reader gives a value or an error, does not panic, and allocates no more
//! than a small multiple of the file. The mutations are the same on every machine; `tests/fuzz`
//! looks further, guided by coverage, with the same readers and the same corpus.

mod common;
#[path = "common/readers.rs"]
mod readers;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use common::data::{numbers, write_npy, write_npz};
use common::onnx::{Attribute, Onnx};
use common::{Lab, root};
use heplan_ckks::client::Client;
use heplan_ckks::files::ciphertexts::{Direction, write_ciphertexts};
use heplan_ckks::files::secret_key::SecretKeyFile;
use heplan_lattice::Seed;
use peak_alloc::PeakAlloc;
use readers::{READERS, Reader, resealed, small_keyparams};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Peaks are of the whole process, so one test measures at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes that a reader may take beside [`PER_BYTE`]: buffers and tables of a fixed size.
const FIXED_BYTES: usize = 16 << 20;
/// Bytes that a reader may take for each byte of a file: zstd and deflate shrink what repeats.
const PER_BYTE: usize = 2048;

/// A stream of numbers (Steele, Lea, Flood: SplitMix64, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        (self.word() % n.max(1) as u64) as usize
    }

    /// A position, half of the time near the beginning, where headers are.
    fn place(&mut self, length: usize) -> usize {
        if self.word() & 1 == 0 { self.below(length.min(256)) } else { self.below(length) }
    }
}

/// Numbers at which lengths and counts go wrong.
const LENGTHS: [u64; 10] = [
    0,
    1,
    0x7f,
    0x80,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];

/// One change to a file; `other` is a sound file of the same kind.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.place(bytes.len());
    let most = 1 << random.below(8);
    let length = random.below(most).min(bytes.len().saturating_sub(at));
    match random.below(9) {
        0 => bytes.truncate(at),
        1 | 2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        3 if at < bytes.len() => bytes[at] = random.word() as u8,
        4 => {
            // A length field: an integer of 1, 2, 4 or 8 bytes.
            let width = 1 << random.below(4);
            let near = (bytes.len() as u64).wrapping_add(random.word() % 3).wrapping_sub(1);
            let pick = random.below(LENGTHS.len() + 1);
            let number = LENGTHS.get(pick).copied().unwrap_or(near);
            for (byte, new) in bytes[at..].iter_mut().zip(&number.to_le_bytes()[..width]) {
                *byte = *new;
            }
        }
        5 => {
            // The same, as the variable-length integers of protobuf.
            let mut number = LENGTHS[random.below(LENGTHS.len())];
            let mut varint = Vec::new();
            while number > 0x7f {
                varint.push(number as u8 | 0x80);
                number >>= 7;
            }
            varint.push(number as u8);
            bytes.splice(at..(at + 1).min(bytes.len()), varint);
        }
        6 => drop(bytes.drain(at..at + length)),
        7 => {
            let copy = bytes[at..at + length].to_vec();
            bytes.splice(at..at, copy);
        }
        _ => {
            let from = random.place(other.len());
            let piece = &other[from..(from + length).min(other.len())];
            bytes.splice(at..at + length, piece.iter().copied());
        }
    }
}

fn corpus(target: &str) -> PathBuf {
    root().join("tests/fuzz/corpus").join(target)
}

/// The files of a folder in the order of their names.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).expect("the corpus is there");
    let mut found: Vec<(String, Vec<u8>)> = entries
        .map(|e| e.expect("a readable entry").path())
        .filter(|p| p.is_file())
        .map(|p| (p.display().to_string(), fs::read(&p).expect("readable")))
        .collect();
    found.sort();
    found
}

/// The sound files that mutations start from.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut seeds = files(&corpus(target));
    if target == "onnx_reader" {
        seeds.extend(files(&root().join("compiler/tests/data/import")));
        seeds.retain(|s| !s.0.ends_with(".npy") && !s.0.ends_with(".npz"));
    }
    seeds
}

/// Reads, and insists on an end without panic and within `limit` bytes.
fn read(reader: Reader, bytes: &[u8], limit: usize, what: &str) -> bool {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let found = catch_unwind(AssertUnwindSafe(|| reader(bytes)));
    let peak = ALLOCATOR.peak_usage().saturating_sub(before);
    assert!(found.is_ok(), "{what}: panicked");
    assert!(peak <= limit, "{what}: {} bytes took {peak}, more than {limit}", bytes.len());
    found.unwrap_or_default()
}

/// `rounds` mutations of every seed, as they are and with their checksums made good again.
fn survives(target: &str, rounds: usize, limit: impl Fn(usize) -> usize) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, reader) = READERS.into_iter().find(|r| r.0 == target).expect("a reader");
    let seeds = seeds(target);
    let mut random = Random(target.bytes().fold(0, |n, b| n * 31 + u64::from(b)));
    let mut valid = 0;
    for (name, seed) in &seeds {
        let sound = read(reader, seed, limit(seed.len()), name);
        assert!(sound || !name.contains("valid-"), "{name} is refused");
        if let Some(bytes) = resealed(seed) {
            read(reader, &bytes, limit(bytes.len()), name);
        }
        for round in 0..rounds {
            let other = &seeds[random.below(seeds.len())].1;
            let mut bytes = seed.clone();
            for _ in 0..=random.below(3) {
                mutate(&mut bytes, other, &mut random);
            }
            let what = format!("{name}, round {round}");
            valid += usize::from(read(reader, &bytes, limit(bytes.len()), &what));
            if let Some(bytes) = resealed(&bytes) {
                let what = format!("{what}, resealed");
                valid += usize::from(read(reader, &bytes, limit(bytes.len()), &what));
            }
        }
    }
    assert!(seeds.len() >= 2, "mutations splice files");
    // Some mutations do no harm; if all did, they would not reach beyond the first check.
    assert!(valid > 0, "nothing was read");
}

fn small(length: usize) -> usize {
    FIXED_BYTES + PER_BYTE * length
}

#[test]
fn models_are_read_or_refused() {
    // A matrix may have 2^27 entries by design, whatever the size of the file that asks for it.
    survives("onnx_reader", 30, |_| 4 << 30);
}

#[test]
fn plans_are_read_or_refused() {
    survives("plan", 1000, small);
}

#[test]
fn key_parameters_are_read_or_refused() {
    survives("keyparams", 2000, small);
}

#[test]
fn keys_are_read_or_refused() {
    survives("keys", 300, small);
}

#[test]
fn ciphertexts_are_read_or_refused() {
    survives("ciphertext", 300, small);
}

#[test]
fn arrays_are_read_or_refused() {
    survives("npy", 1000, small);
}

/// A softmax at the end, so that the client has something to apply.
fn model() -> Onnx {
    let transposed = [("transB", Attribute::Int(1))];
    Onnx::new()
        .input("x", &[1, 6])
        .weight("w", &[4, 6], &numbers(1, 24))
        .weight("b", &[4], &numbers(2, 4))
        .node_with("Gemm", &["x", "w", "b"], "h", &transposed)
        .node("Mul", &["h", "h"], "s")
        .node("Softmax", &["s"], "y")
        .output("y", &[1, 4])
}

/// Sound files of every kind, by target and name.
fn sound() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let lab = Lab::new();
    lab.write("model.onnx", model().encode());
    write_npz(&lab.path("calibration.npz"), &[("x", &[32, 6], &numbers(3, 192))]);
    lab.sh("compile -m model.onnx -c calibration.npz").fine();
    lab.sh("compile -m model.onnx -c calibration.npz --batch 2 -o two.plan --encrypted-tail")
        .fine();
    write_npz(&lab.path("small.npz"), &[("x", &[3, 6], &numbers(3, 18)), ("z", &[2], &[0.5; 2])]);
    write_npy(&lab.path("input.npy"), &[1, 6], &numbers(4, 6));
    let (seed, randomness) = (Seed::new([9; 32]), Seed::new([3; 32]));
    let client = Client::new(small_keyparams(), &seed).expect("sound");
    client.write_evaluation_keys(&lab.path("k.pub"), |_| {}).expect("written");
    let secret = SecretKeyFile { keyparams: small_keyparams(), seed };
    secret.write(&lab.path("k"), None, &randomness).expect("written");
    secret.write(&lab.path("sealed"), Some("word"), &randomness).expect("written");
    let inputs = client.encrypt(&[vec![vec![0.5; 6]]], &randomness).expect("encrypted");
    inputs.write(&lab.path("in.enc")).expect("written");
    let mut header = inputs.header().clone();
    header.direction = Direction::Outputs;
    let full = inputs.expand();
    write_ciphertexts(&lab.path("out.enc"), &header, |run, port, part| &full[run][port][part])
        .expect("written");
    let files = [
        ("onnx_reader", "valid-dense.onnx", "model.onnx"),
        ("plan", "valid-dense.plan", "model.plan"),
        ("plan", "valid-two-samples.plan", "two.plan"),
        ("keyparams", "valid-dense.keyparams", "model.keyparams"),
        ("keyparams", "valid-two-samples.keyparams", "two.keyparams"),
        ("keys", "valid-secret.key", "k"),
        ("keys", "sealed.key", "sealed"),
        ("keys", "valid-evaluation.key.pub", "k.pub"),
        ("ciphertext", "valid-input.enc", "in.enc"),
        ("ciphertext", "valid-output.enc", "out.enc"),
        ("npy", "valid-input.npy", "input.npy"),
        ("npy", "valid-set.npz", "small.npz"),
    ];
    files.map(|(target, name, file)| (target, name, lab.read(file))).into()
}

/// `INSTA_UPDATE=always` writes the corpus anew, which a change of a format makes necessary.
#[test]
fn the_corpus_is_small_and_has_every_kind() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    if std::env::var("INSTA_UPDATE").is_ok_and(|v| v == "always") {
        for (target, name, bytes) in sound() {
            fs::create_dir_all(corpus(target)).expect("writable");
            fs::write(corpus(target).join(name), bytes).expect("writable");
        }
    }
    let mut total = 0;
    for (target, reader) in READERS {
        let found = files(&corpus(target));
        total += found.iter().map(|f| f.1.len()).sum::<usize>();
        for (name, bytes) in found.iter().filter(|f| f.0.contains("valid-")) {
            assert!(reader(bytes), "{name} is refused; INSTA_UPDATE=always writes it anew");
            let again = resealed(bytes);
            assert!(again.is_none_or(|a| a == *bytes), "{name} is sealed already");
        }
    }
    assert!(total < 400_000, "{total} bytes");
}
