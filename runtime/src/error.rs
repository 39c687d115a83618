//! Why a run stopped, with the instruction and the ONNX nodes behind it.

use std::error::Error;
use std::fmt;

use heplan_ir::ckks::{CtType, Op};
use heplan_ir::plan::Inst;

use crate::sim::SimError;

/// What went wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunErrorKind {
    /// The ciphertexts handed in do not fit the plan.
    Inputs(String),
    /// The plan contradicts itself; a verified plan does not.
    Malformed(String),
    /// A result has not the type that the plan declares.
    Type {
        /// What the plan declares.
        declared: Box<CtType>,
        /// What the backend computed.
        found: Box<CtType>,
    },
    /// The backend refused an instruction.
    Backend(Box<dyn Error + Send + Sync>),
    /// The caller asked to stop.
    Cancelled,
}

/// A run that did not reach its end.
#[derive(Debug)]
pub struct RunError {
    kind: RunErrorKind,
    at: Option<At>,
}

#[derive(Debug)]
struct At {
    instruction: usize,
    mnemonic: &'static str,
    origin: String,
}

impl RunError {
    /// An error outside any instruction.
    pub(crate) fn outside(kind: RunErrorKind) -> Self {
        Self { kind, at: None }
    }

    /// An error of one instruction.
    pub(crate) fn at(kind: RunErrorKind, instruction: usize, inst: &Inst, origin: &str) -> Self {
        let at = At { instruction, mnemonic: mnemonic(&inst.op), origin: origin.to_owned() };
        Self { kind, at: Some(at) }
    }

    /// What went wrong.
    pub fn kind(&self) -> &RunErrorKind {
        &self.kind
    }

    /// The index of the instruction, where it was one.
    pub fn instruction(&self) -> Option<usize> {
        self.at.as_ref().map(|a| a.instruction)
    }

    /// Whether the [simulation](crate::sim) found a message that does not fit its modulus or any
    /// number, which larger primes or other inputs mend.
    pub fn is_overflow(&self) -> bool {
        match &self.kind {
            RunErrorKind::Backend(source) => {
                matches!(
                    source.downcast_ref(),
                    Some(SimError::Overflow { .. } | SimError::NotFinite(_))
                )
            }
            _ => false,
        }
    }

    /// Labels of the ONNX nodes behind the instruction; empty where there is none.
    pub fn origin(&self) -> &str {
        self.at.as_ref().map_or("", |a| &a.origin)
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(At { instruction, mnemonic, origin }) = &self.at {
            write!(f, "instruction {instruction} ({mnemonic}")?;
            if !origin.is_empty() {
                write!(f, " of {origin}")?;
            }
            write!(f, "): ")?;
        }
        match &self.kind {
            RunErrorKind::Inputs(text) => write!(f, "{text}"),
            RunErrorKind::Malformed(text) => write!(f, "malformed plan: {text}"),
            RunErrorKind::Type { declared, found } => {
                write!(f, "the plan declares {}, the result is {}", Ty(declared), Ty(found))
            }
            RunErrorKind::Backend(source) => write!(f, "{source}"),
            RunErrorKind::Cancelled => write!(f, "cancelled"),
        }
    }
}

impl Error for RunError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            // The message above already holds the text of this error; its cause comes next.
            RunErrorKind::Backend(source) => source.source(),
            RunErrorKind::Inputs(_)
            | RunErrorKind::Malformed(_)
            | RunErrorKind::Type { .. }
            | RunErrorKind::Cancelled => None,
        }
    }
}

/// A ciphertext type in words.
pub(crate) struct Ty<'a>(pub(crate) &'a CtType);

impl fmt::Display for Ty<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CtType { level, scale, degree, extended } = self.0;
        let extended = if *extended { ", extended" } else { "" };
        write!(f, "level {level}, scale 2^{scale}, degree {degree}{extended}")
    }
}

/// The name of an instruction in messages and profiles, as in the text form of plans.
pub fn mnemonic<V>(op: &Op<V>) -> &'static str {
    match op {
        Op::Input { .. } => "input",
        Op::Linear { .. } => "linear",
        Op::Rotate { .. } => "rotate",
        Op::RotateAdd { .. } => "rotate_add",
        Op::Add { .. } => "add",
        Op::Sub { .. } => "sub",
        Op::AddPlain { .. } => "add_plain",
        Op::MulPlain { .. } => "mul_plain",
        Op::Mul { .. } => "mul",
        Op::Relinearise { .. } => "relinearise",
        Op::Rescale { .. } => "rescale",
        Op::ModDown { .. } => "mod_down",
        Op::DropLevel { .. } => "drop_level",
        Op::Bootstrap { .. } => "bootstrap",
    }
}
