//! The plan file: a container of two sections.
//!
//! - Section 0, a prost message ([`message`]): everything but the constants' numbers, with the
//!   content hash of each constant. Its BLAKE3 hash is the plan's id, so the id does not depend on
//!   how constants are compressed.
//! - Section 1, zstd: the constants ([`constants`]).
//!
//! Encoding is deterministic. Decoding treats the file as hostile: nothing is allocated before its
//! size is known to be bounded by the file or by the parameters, parameters pass
//! [`Parameters::new`], constants match their hashes, the decoded plan passes
//! [`Plan::verify`], and what is decoded encodes to the same bytes again.

mod constants;
mod decode;
mod encode;
mod message;

use std::path::Path;

use prost::Message;
use thiserror::Error;

use super::{KeyParams, Plan, PlanId};
use crate::container::{Container, FileError, Kind, Problem, read_file, to_bytes, write_atomic};
use crate::parameters::ParametersError;
use crate::verify::VerifierError;

const INSTRUCTIONS: u64 = 0;
const CONSTANTS: u64 = 1;

/// A plan that cannot be encoded or decoded.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The file is cut, changed, foreign or newer.
    #[error(transparent)]
    File(#[from] Problem),
    /// The instructions are not a message.
    #[error("the instructions cannot be decoded: {0}")]
    Message(#[from] prost::DecodeError),
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A number that cannot be.
    #[error("{what} is {found}")]
    Number {
        /// Which number.
        what: &'static str,
        /// What the file says.
        found: u64,
    },
    /// An answer of the client that cannot be read.
    #[error("an answer cannot be read: {0}")]
    Answer(String),
    /// Ranges of elements that cannot be read.
    #[error("the ranges of an input's elements cannot be read: {0}")]
    Features(String),
    /// The parameters are refused.
    #[error("the parameters are refused: {0}")]
    Parameters(#[from] ParametersError),
    /// The constants cannot be decoded.
    #[error("constant {index}: {reason}")]
    Constant {
        /// Which constant.
        index: usize,
        /// Why.
        reason: String,
    },
    /// The message is not the one that encoding gives.
    #[error("the instructions are not in canonical form")]
    NotCanonical,
    /// Invariants are broken.
    #[error("{}", summary(.0))]
    Broken(Vec<VerifierError>),
}

fn summary(errors: &[VerifierError]) -> String {
    let first = errors.first().map_or(String::new(), ToString::to_string);
    match errors.len() {
        0 | 1 => first,
        n => format!("{first} (and {} more)", n - 1),
    }
}

impl Plan {
    /// The plan file's bytes.
    ///
    /// # Errors
    /// [`PlanError::Broken`] if the plan does not pass its verifier: such a plan never ships.
    pub fn to_bytes(&self) -> Result<Vec<u8>, PlanError> {
        let errors = self.verify();
        if !errors.is_empty() {
            return Err(PlanError::Broken(errors));
        }
        let constants = constants::encode(&self.consts);
        let sections = [(INSTRUCTIONS, &self.content()[..]), (CONSTANTS, &constants[..])];
        Ok(to_bytes(Kind::Plan, &sections))
    }

    /// Decodes and verifies the bytes of a plan file.
    ///
    /// # Errors
    /// Everything that [`PlanError`] lists.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PlanError> {
        let container = Container::parse(bytes, Kind::Plan)?;
        let content = container.section(INSTRUCTIONS)?;
        let constants = container.section(CONSTANTS)?;
        let message = message::Plan::decode(content)?;
        let hashes = decode::hashes(&message)?;
        let parameters = decode::parameters(&message)?;
        let consts = constants::decode(constants, &hashes, parameters.width())?;
        let plan = decode::plan(message, parameters, consts)?;
        let errors = plan.verify();
        if !errors.is_empty() {
            return Err(PlanError::Broken(errors));
        }
        if plan.content() != content {
            return Err(PlanError::NotCanonical);
        }
        Ok(plan)
    }

    /// Reads a plan file.
    ///
    /// # Errors
    /// With the file's name and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let bytes = read_file(path)?;
        Self::from_bytes(&bytes).map_err(|e| into_problem(e).of(path))
    }

    /// Writes a plan file, atomically.
    ///
    /// # Errors
    /// With the file's name, if it cannot be written or the plan is broken.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        let bytes = self.to_bytes().map_err(|e| into_problem(e).of(path))?;
        write_atomic(path, None, |w| std::io::Write::write_all(w, &bytes))
    }

    /// The plan's identity: the BLAKE3 hash of its content, constants included (by their hashes).
    pub fn id(&self) -> PlanId {
        *blake3::hash(&self.content()).as_bytes()
    }

    /// What the client needs of this plan.
    pub fn keyparams(&self) -> KeyParams {
        KeyParams {
            plan: self.id(),
            name: self.name.clone(),
            parameters: self.parameters.clone(),
            keys: self.keys.clone(),
            inputs: self.inputs.clone(),
            outputs: self.outputs.iter().map(|(p, t, _)| (p.clone(), t.clone())).collect(),
            answers: self.answers.clone(),
            features: self.features.clone(),
            precision_bits: self.precision_bits,
        }
    }

    fn content(&self) -> Vec<u8> {
        encode::plan(self).encode_to_vec()
    }
}

fn into_problem(error: PlanError) -> Problem {
    match error {
        PlanError::File(problem) => problem,
        other => Problem::Invalid(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
