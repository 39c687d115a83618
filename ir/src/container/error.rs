//! What can be wrong with a file, said with its path and the way out.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Kind;

/// A file that cannot be read or written.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug, Error)]
pub enum Problem {
    /// The operating system cannot read it.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// The operating system cannot write it (or its folder).
    #[error("cannot be written: {0}; nothing was left behind")]
    Write(io::Error),
    /// The target of a write is a folder, a device or a pipe.
    #[error("cannot be written: it is not a regular file")]
    NotRegular,
    /// It has no bytes.
    #[error("is empty, not {0}; make it again with {by}", by = .0.written_by())]
    Empty(Kind),
    /// It does not begin like a file of ours.
    #[error("is {found}, not {wanted} of heplan, which {by} writes", by = .wanted.written_by())]
    Foreign {
        /// What it looks like.
        found: &'static str,
        /// What was asked for.
        wanted: Kind,
    },
    /// It is one of ours, of another kind.
    #[error("is {found}, not {wanted}; pass the file that {by} writes", by = .wanted.written_by())]
    WrongKind {
        /// What it is.
        found: Kind,
        /// What was asked for.
        wanted: Kind,
    },
    /// It was written by a later version of the program.
    #[error(
        "was written by a newer version (format {found}, this one reads {known}); update heplan"
    )]
    Newer {
        /// Its format version.
        found: u16,
        /// The newest that is known.
        known: u16,
    },
    /// Bytes are missing at the end.
    #[error("is cut: {found} of {of} bytes; copy it again")]
    Cut {
        /// Its length.
        found: u64,
        /// The length that it should have (at least).
        of: u64,
    },
    /// A text without its last line.
    #[error("is cut: the checksum, its last line, is missing; copy it again")]
    CutText,
    /// There are bytes after its end.
    #[error("is too long: {found} bytes instead of {of}; copy it again")]
    TooLong {
        /// Its length.
        found: u64,
        /// The length that it should have.
        of: u64,
    },
    /// A checksum differs.
    #[error("was changed: the checksum of {part} differs; copy it again")]
    Changed {
        /// Which part: `the header`, `section 3`, `the text`.
        part: String,
    },
    /// The file is sound but lacks a section.
    #[error("has no section {id}; make it again")]
    NoSection {
        /// The section's id.
        id: u64,
    },
    /// The frame is sound but the content is not.
    #[error("is invalid: {0}")]
    Invalid(String),
}

impl Problem {
    /// The problem, of this file.
    pub fn of(self, path: &Path) -> FileError {
        FileError { path: path.to_path_buf(), problem: self }
    }
}

/// What a file that is not ours looks like.
pub(crate) fn looks_like(bytes: &[u8]) -> &'static str {
    const KNOWN: [(&[u8], &str); 4] = [
        (b"\x93NUMPY", "a NumPy array"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    ];
    KNOWN.iter().find(|k| bytes.starts_with(k.0)).map_or("another kind of file", |k| k.1)
}
