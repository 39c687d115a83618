//! Computing on ciphertexts: the server's side. No secret is needed here, and none can be named.
//!
//! Every operation checks levels, scales and degrees, exactly, and refuses what does not fit; it never repairs.
//! `arithmetic` is what needs no keys, `switching` what does, [`linear`] the linear maps, [`bootstrap`] what raises levels.

mod arithmetic;
pub mod bootstrap;
pub mod linear;
mod switching;

use std::sync::Arc;

use crate::ciphertext::Ciphertext;
use crate::context::Context;
use crate::error::EvalError;
use crate::keys::store::EvaluationKeys;

/// Evaluates operations with a set of evaluation keys.
#[derive(Clone)]
pub struct Evaluator {
    context: Arc<Context>,
    keys: Arc<EvaluationKeys>,
    bootstraps: bootstrap::Shared,
}

impl Evaluator {
    /// An evaluator with these keys.
    pub fn new(keys: Arc<EvaluationKeys>) -> Self {
        Self { context: Arc::clone(keys.context()), keys, bootstraps: Arc::default() }
    }

    /// What the keys belong to.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The keys.
    pub fn keys(&self) -> &Arc<EvaluationKeys> {
        &self.keys
    }
}

fn check_degree(op: &'static str, x: &Ciphertext, needed: u8) -> Result<(), EvalError> {
    if x.degree() == needed {
        Ok(())
    } else {
        Err(EvalError::Degree { op, found: x.degree(), needed })
    }
}

fn check_ordinary(op: &'static str, x: &Ciphertext) -> Result<(), EvalError> {
    if x.extended() { Err(EvalError::Extended { op }) } else { Ok(()) }
}

fn check_level(op: &'static str, a: &Ciphertext, b: &Ciphertext) -> Result<(), EvalError> {
    if a.level() == b.level() {
        Ok(())
    } else {
        Err(EvalError::Level { op, a: a.level(), b: b.level() })
    }
}

fn check_type(op: &'static str, a: &Ciphertext, b: &Ciphertext) -> Result<(), EvalError> {
    check_level(op, a, b)?;
    check_degree(op, b, a.degree())?;
    if a.extended() != b.extended() {
        return Err(EvalError::Extended { op });
    }
    if a.scale == b.scale {
        Ok(())
    } else {
        Err(EvalError::Scale { op, a: a.scale.clone(), b: b.scale.clone() })
    }
}
