//! What can be wrong with a file.

use heplan_ir::plan::KeyKind;
use thiserror::Error;

use crate::context::key_name;

/// Why a file is refused.
#[derive(Debug, Error)]
pub enum FileError {
    /// The keys lack one.
    #[error("there is no {} key in the file", key_name(*.0))]
    NoKey(KeyKind),
}
