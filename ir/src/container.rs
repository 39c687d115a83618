//! The frame of every binary file, and the writing of every file: magic, version, lengths and checksums.
//!
//! ```text
//! offset  bytes
//!      0      8  `heplan` and two letters for the kind
//!      8      2  format version, little-endian like every number here
//!     10      2  zero
//!     12      4  number of sections
//!     16      8  length of the whole file
//!     24     32  BLAKE3 of bytes 0..24 followed by the table
//!     56   48·n  the table: per section id (8), length (8), BLAKE3 of its content (32)
//!               the sections, one after the other in the order of the table
//! ```
//!
//! The header's checksum covers the table and the table covers the sections, so one section (one
//! evaluation key, say) is read and checked alone, and no byte of a file is outside a checksum.
//! Nothing is allocated for a length that the file does not have.
//! The checksums find accidents; they do not prove who wrote a file.
//!
//! What a section means is decided by the kind's own format, never here.

mod error;
mod reader;
mod write;

use std::fmt;

pub(crate) use error::looks_like;
pub use error::{FileError, Problem};
pub use reader::{Container, SectionReader, read_file};
pub use write::{SectionWriter, to_bytes, write_atomic};

/// The format version that this build writes, and the newest that it reads.
pub const VERSION: u16 = 1;

/// Permission bits of a file that only its owner may read.
pub const SECRET_MODE: u32 = 0o600;

const PREFIX: &[u8; 6] = b"heplan";
const FIXED: usize = 56;
const ENTRY: usize = 48;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An execution plan, with the weights of the model.
    Plan,
    /// A client's secret key.
    SecretKey,
    /// A client's evaluation keys, which the model owner may have.
    EvaluationKeys,
    /// Ciphertexts of one input or output.
    Ciphertext,
    /// Key parameters: the one kind that is text ([`keyparams`](crate::keyparams)), told by the
    /// beginning of its first comment.
    KeyParams,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Plan, Self::SecretKey, Self::EvaluationKeys, Self::Ciphertext, Self::KeyParams];

    fn magic(self) -> [u8; 8] {
        match self {
            Self::Plan => *b"heplanPL",
            Self::SecretKey => *b"heplanSK",
            Self::EvaluationKeys => *b"heplanEK",
            Self::Ciphertext => *b"heplanCT",
            Self::KeyParams => *b"// hepla",
        }
    }

    /// The command that writes such a file.
    pub fn written_by(self) -> &'static str {
        match self {
            Self::Plan => "`heplan compile` (model.plan)",
            Self::SecretKey => "`heplan keygen` (client.key)",
            Self::EvaluationKeys => "`heplan keygen` (client.key.pub)",
            Self::Ciphertext => "`heplan encrypt` and `heplan run` (.enc)",
            Self::KeyParams => "`heplan compile` (model.keyparams)",
        }
    }

    /// The kind that the first bytes of a file claim, if it is one of ours.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|k| bytes.starts_with(&k.magic()))
    }
}

impl fmt::Display for Kind {
    /// With its article: `a secret key`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plan => "a plan",
            Self::SecretKey => "a secret key",
            Self::EvaluationKeys => "a file of evaluation keys",
            Self::Ciphertext => "a ciphertext",
            Self::KeyParams => "a file of key parameters",
        })
    }
}

#[cfg(test)]
mod tests;
