//! What the suites share: a folder to work in, the command, and how a failure must look.
#![allow(dead_code, reason = "every suite uses another part")]
#![allow(clippy::panic, reason = "a helper of tests fails them")]

pub(crate) mod data;
pub(crate) mod onnx;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;
use tempfile::TempDir;

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder that is removed in the end, and the command that works in it.
#[derive(Clone, Debug)]
pub(crate) struct Lab {
    dir: Arc<TempDir>,
}

/// What a command said.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    /// Its exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Ran {
    /// The JSON object on the last line of standard output.
    pub(crate) fn json(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        let value: Value = serde_json::from_str(last)
            .unwrap_or_else(|e| panic!("no JSON on the last line ({e}): {self:#?}"));
        assert!(value.is_object(), "{value}");
        value
    }

    /// Insists on exit code 0.
    #[track_caller]
    pub(crate) fn fine(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Insists on exit code 1, one error that holds every word of `needles`, and no panic.
    #[track_caller]
    pub(crate) fn refused(self, needles: &[&str]) -> Self {
        assert_eq!(self.code, Some(1), "{self:#?}");
        assert!(self.stderr.starts_with("error"), "{self:#?}");
        for word in ["panicked", "RUST_BACKTRACE", "internal error"] {
            assert!(!self.stderr.contains(word), "{self:#?}");
        }
        for needle in needles {
            assert!(self.stderr.contains(needle), "{needle:?} is missing: {self:#?}");
        }
        self
    }

    /// Number of errors that it reports.
    pub(crate) fn errors(&self) -> usize {
        self.stderr.lines().filter(|l| l.starts_with("error")).count()
    }
}

impl Lab {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self { dir: Arc::new(TempDir::new().expect("a temporary folder")) }
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Writes a file into it.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("the folder is writable");
        path
    }

    /// The bytes of a file in it.
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Its files with their contents' lengths and hashes, to see that nothing changed.
    pub(crate) fn listing(&self) -> BTreeMap<String, (u64, u64)> {
        let entries = std::fs::read_dir(self.dir()).expect("the folder exists");
        let described = entries.map(|entry| {
            let entry = entry.expect("a readable entry");
            let bytes = std::fs::read(entry.path()).unwrap_or_default();
            let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, &b| {
                (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
            });
            (entry.file_name().to_string_lossy().into_owned(), (bytes.len() as u64, hash))
        });
        described.collect()
    }

    /// The command in this folder, without any of its environment variables.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heplan"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HEPLAN_") {
                command.env_remove(name);
            }
        }
        command.current_dir(self.dir()).env_remove("RUST_BACKTRACE");
        command
    }

    /// Runs the command.
    pub(crate) fn heplan<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        self.command().args(args).output().expect("the command starts").into()
    }

    /// Runs a command line, split at white space.
    pub(crate) fn sh(&self, line: &str) -> Ran {
        self.heplan(line.split_whitespace())
    }

    /// A command line that must fail as [`Ran::refused`] says and change no file.
    #[track_caller]
    pub(crate) fn refuses(&self, line: &str, needles: &[&str]) -> Ran {
        let before = self.listing();
        let ran = self.sh(line).refused(needles);
        assert_eq!(self.listing(), before, "files changed: {line}");
        ran
    }
}

/// The bytes with one bit of byte `at` flipped.
pub(crate) fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out[at] ^= 4;
    out
}
