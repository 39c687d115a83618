//! What can be wrong with a file, beyond what its frame finds.

use std::fmt;
use std::path::PathBuf;

use heplan_ir::container;
use heplan_ir::plan::KeyKind;
use thiserror::Error;

/// The identity of a plan or a key; prints as its first sixteen hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Id(pub [u8; 32]);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// Why a file is refused.
#[derive(Debug, Error)]
pub enum FileError {
    /// It cannot be read or written, is of another kind, cut, changed, or holds nonsense.
    #[error(transparent)]
    Container(#[from] container::FileError),
    /// The keys lack one.
    #[error("the file of evaluation keys lacks {0}")]
    NoKey(KeyKind),
    /// It belongs to another plan.
    #[error("{}: belongs to plan {found}, not to plan {wanted}; compile, keygen and encrypt must use one model.keyparams", path.display())]
    OtherPlan {
        /// The file.
        path: PathBuf,
        /// The plan that it names.
        found: Id,
        /// The plan at hand.
        wanted: Id,
    },
    /// It belongs to another key.
    #[error("{}: belongs to key {found}, not to key {wanted}", path.display())]
    OtherKey {
        /// The file.
        path: PathBuf,
        /// The key that it names.
        found: Id,
        /// The key at hand.
        wanted: Id,
    },
    /// An input in the place of an output, or the other way round.
    #[error("{}: holds {found}, and {wanted} are needed", path.display())]
    Direction {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: &'static str,
        /// What is needed.
        wanted: &'static str,
    },
    /// Another number of samples in each ciphertext than the plan's.
    #[error("{}: holds {found} sample(s) in each ciphertext, the plan takes {wanted}", path.display())]
    Batch {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: usize,
        /// What the plan says.
        wanted: usize,
    },
    /// A protected secret key without a passphrase.
    #[error("{}: is protected by a passphrase, and none was given", path.display())]
    PassphraseNeeded {
        /// The file.
        path: PathBuf,
    },
    /// A protected secret key with the wrong passphrase.
    #[error("{}: the passphrase is wrong", path.display())]
    PassphraseWrong {
        /// The file.
        path: PathBuf,
    },
}
