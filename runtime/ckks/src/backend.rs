//! The backend that runs plans on ciphertexts.
//!
//! One backend serves one plan: encoded diagonals are kept under the transform's id as far as a budget of bytes allows,
//! so that the second sample of a batch pays for no encoding. Where several runs are to come they are kept evaluated.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heplan_ir::ckks::CtType;
use heplan_ir::entity::ConstId;
use heplan_ir::scale::Scale;
use heplan_ir::transform::LinearTransform;
use heplan_runtime::backend::{Backend, PlainRef};

use crate::ciphertext::Ciphertext;
use crate::context::Context;
use crate::encoder::EncodeError;
use crate::error::EvalError;
use crate::evaluator::Evaluator;
use crate::evaluator::linear::{Keep, PreparedTransform};

/// Bytes of encoded diagonals that a backend keeps by default: 1 GiB.
pub const DEFAULT_CACHE_BYTES: usize = 1 << 30;

/// Runs from which on evaluating all diagonals in advance pays for the fresh memory that they fill.
const MANY_RUNS: usize = 3;

/// What a prepared transform depends on: the last is the level of its operands.
type CacheKey = (ConstId, Vec<Scale>, usize);

/// An evaluator with a cache of prepared transforms.
pub struct CkksBackend {
    evaluator: Evaluator,
    cache: Mutex<Cache>,
}

struct Cache {
    prepared: BTreeMap<CacheKey, Arc<PreparedTransform>>,
    free_bytes: usize,
    /// How many runs there will be.
    runs: usize,
}

impl Cache {
    /// The most that is worth keeping of a transform at a level and has room, with the bytes that it may take.
    fn keep(&self, context: &Context, transform: &LinearTransform, level: usize) -> (Keep, usize) {
        let many = (self.runs >= MANY_RUNS).then_some(Keep::Evaluated(level));
        many.into_iter()
            .chain([Keep::Encoded])
            .map(|keep| (keep, PreparedTransform::most_bytes(context, transform, keep)))
            .find(|(_, bytes)| *bytes <= self.free_bytes)
            .unwrap_or((Keep::Nothing, 0))
    }
}

impl CkksBackend {
    /// A backend that keeps at most `cache_bytes` of encoded diagonals ([`DEFAULT_CACHE_BYTES`] unless memory is short).
    pub fn new(evaluator: Evaluator, cache_bytes: usize) -> Self {
        let cache = Cache { prepared: BTreeMap::new(), free_bytes: cache_bytes, runs: 1 };
        Self { evaluator, cache: Mutex::new(cache) }
    }

    /// Tells how many runs there will be. Only memory and time depend on it.
    pub fn expect_runs(&self, runs: usize) {
        self.cache().runs = runs;
    }

    /// The evaluator.
    pub fn evaluator(&self) -> &Evaluator {
        &self.evaluator
    }

    fn prepared(
        &self,
        transform: &Arc<LinearTransform>,
        id: ConstId,
        scales: &[Scale],
        level: usize,
    ) -> Result<Arc<PreparedTransform>, EvalError> {
        let key = (id, scales.to_vec(), level);
        let context = self.evaluator.context();
        let (keep, reserved) = {
            let mut cache = self.cache();
            if let Some(found) = cache.prepared.get(&key).filter(|p| p.is_of(transform)) {
                return Ok(Arc::clone(found));
            }
            let (keep, bytes) = cache.keep(context, transform, level);
            cache.free_bytes -= bytes;
            (keep, bytes)
        };
        // Unlocked: encoding uses the thread pool, and a thread that waits in it may take up another linear map.
        let made = PreparedTransform::new(context, transform, scales, keep).map(Arc::new);
        let mut cache = self.cache();
        cache.free_bytes += reserved;
        let made = made?;
        cache.free_bytes -= made.bytes();
        if let Some(replaced) = cache.prepared.insert(key, Arc::clone(&made)) {
            cache.free_bytes += replaced.bytes();
        }
        Ok(made)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A vector operand has one number per slot.
    fn check_width(&self, values: &[f64]) -> Result<(), EvalError> {
        let width = self.evaluator.context().parameters().width();
        if values.len() == width {
            Ok(())
        } else {
            Err(EncodeError::Length { len: values.len(), width }.into())
        }
    }
}

impl Backend for CkksBackend {
    type Ct = Ciphertext;
    type Error = EvalError;

    fn ct_type(&self, x: &Ciphertext) -> CtType {
        x.ty()
    }

    fn add(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, EvalError> {
        self.evaluator.add(a, b)
    }

    fn sub(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, EvalError> {
        self.evaluator.sub(a, b)
    }

    fn add_plain(&self, x: &Ciphertext, plain: PlainRef<'_>) -> Result<Ciphertext, EvalError> {
        match plain {
            PlainRef::Scalar(value) => self.evaluator.add_scalar(x, value),
            PlainRef::Vector(values) => {
                self.check_width(values)?;
                self.evaluator.add_vector(x, values)
            }
        }
    }

    fn mul_plain(
        &self,
        x: &Ciphertext,
        plain: PlainRef<'_>,
        scale: &Scale,
    ) -> Result<Ciphertext, EvalError> {
        match plain {
            PlainRef::Scalar(value) => self.evaluator.mul_scalar(x, value, scale),
            PlainRef::Vector(values) => {
                self.check_width(values)?;
                self.evaluator.mul_vector(x, values, scale)
            }
        }
    }

    fn mul(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, EvalError> {
        self.evaluator.mul(a, b)
    }

    fn relinearise(&self, x: &Ciphertext) -> Result<Ciphertext, EvalError> {
        self.evaluator.relinearise(x)
    }

    fn rescale(&self, x: &Ciphertext) -> Result<Ciphertext, EvalError> {
        self.evaluator.rescale(x)
    }

    fn mod_down(&self, x: &Ciphertext) -> Result<Ciphertext, EvalError> {
        self.evaluator.mod_down(x)
    }

    fn drop_level(&self, x: &Ciphertext, level: usize) -> Result<Ciphertext, EvalError> {
        self.evaluator.drop_level(x, level)
    }

    fn bootstrap(&self, x: &Ciphertext, scale: &Scale) -> Result<Ciphertext, EvalError> {
        self.evaluator.bootstrap(x, scale)
    }

    fn rotate(&self, x: &Ciphertext, by: u32) -> Result<Ciphertext, EvalError> {
        self.evaluator.rotate(x, by)
    }

    fn rotate_add(&self, x: &Ciphertext, by: u32, y: &Ciphertext) -> Result<Ciphertext, EvalError> {
        self.evaluator.rotate_and_add(x, by, y)
    }

    fn linear(
        &self,
        xs: &[&Ciphertext],
        transform: &Arc<LinearTransform>,
        id: ConstId,
        scales: &[Scale],
    ) -> Result<Vec<Ciphertext>, EvalError> {
        let level = xs.first().map_or(0, |x| x.level());
        self.evaluator.linear(xs, &*self.prepared(transform, id, scales, level)?)
    }
}
