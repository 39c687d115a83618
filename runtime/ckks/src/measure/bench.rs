//! A shape with keys and operands, ready to run every operation, and the figures that come of it.

use std::hint::black_box;
use std::sync::{Arc, OnceLock};

use heplan_ir::parameters::ParametersError;
use heplan_ir::plan::{KeyKind, KeySpec};
use heplan_ir::scale::Scale;
use heplan_lattice::{Isa, Poly, Prime, RingError, Seed};
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use thiserror::Error;

use super::clock::{Budget, Clock};
use super::floor::Work;
use super::kernels::Kernels;
use super::matrix::Matrix;
use super::operation::Operation;
use super::shape::Shape;
use crate::ciphertext::Ciphertext;
use crate::context::Context;
use crate::encoder::Plaintext;
use crate::error::EvalError;
use crate::evaluator::Evaluator;
use crate::evaluator::linear::{Keep, PreparedTransform};
use crate::keys::secret::SecretKey;
use crate::keys::store::EvaluationKeys;
use crate::keys::switching::SwitchingKey;

/// Rotations that [`Operation::RotateHoisted8`] makes.
const HOISTED: std::ops::RangeInclusive<u32> = 1..=8;
/// Bytes of expanded keys that stay at hand, so that no operation expands one.
const KEY_BYTES: usize = 10 << 30;

/// Bytes of the expanded keys of a matrix that is measured: as much again lies packed beside them, or half of it, and the
/// keys of the other operations.
const MATRIX_KEY_BYTES: usize = 6 << 30;
/// The plan that the keys are made for: none.
const PLAN: [u8; 32] = [0; 32];

/// Why something cannot be measured.
#[derive(Debug, Error)]
pub enum MeasureError {
    /// The shape is refused.
    #[error(transparent)]
    Parameters(#[from] ParametersError),
    /// The ring is refused.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// An operation failed.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Threads cannot be started.
    #[error(transparent)]
    Threads(#[from] ThreadPoolBuildError),
}

/// One measured time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub operation: Operation,
    /// At which shape.
    pub shape: Shape,
    /// On which instruction set.
    pub isa: Isa,
    /// On how many threads.
    pub threads: usize,
    /// Median seconds of one operation: processor time on one thread, time on the wall on several.
    pub seconds: f64,
    /// Seconds of the floor on one thread, divided by the threads.
    pub floor_seconds: f64,
    /// How often it was timed.
    pub timings: usize,
}

impl Figure {
    /// How many times the floor it is.
    pub fn floor_ratio(&self) -> f64 {
        self.seconds / self.floor_seconds
    }

    /// Ciphertext primes, special primes and digits that take part: one limb for a transform.
    pub fn counts(&self) -> (usize, usize, usize) {
        if self.operation.is_of_one_limb() {
            (1, 0, 0)
        } else {
            (self.shape.limbs, self.shape.special, self.shape.digits())
        }
    }
}

/// A shape with fresh keys and operands.
pub struct Bench {
    shape: Shape,
    context: Arc<Context>,
    secret: SecretKey,
    keyless: Evaluator,
    /// With the keys of relinearisation and of the hoisted rotations.
    keyed: OnceLock<Evaluator>,
    scale: Scale,
    values: Vec<f64>,
    encoded: Plaintext,
    plain: Poly,
    ciphertext: Ciphertext,
}

/// One repetition of an operation.
pub type Run<'a> = Box<dyn FnMut() -> Result<(), EvalError> + Send + 'a>;

impl Bench {
    /// Operands for a shape on an instruction set. Keys are made when an operation first needs them.
    ///
    /// # Errors
    /// If the shape is refused.
    pub fn new(shape: &Shape, isa: Isa) -> Result<Self, MeasureError> {
        let context = Context::with_isa(&shape.parameters()?, isa)?;
        let secret = SecretKey::from_seed(&context, &Seed::new([42; 32]));
        let keyless = evaluator(&secret, shape.limbs - 1, []);
        let scale = Scale::pow2(shape.scale_bits() as i32);
        let values: Vec<f64> = (0..shape.width()).map(|i| (i as f64 * 0.37).sin()).collect();
        let encoded = context.encoder().encode(&values, &scale).map_err(EvalError::from)?;
        let level = shape.limbs - 1;
        let plain = encoded.to_evaluations(context.ring(), context.basis_q(level));
        let ciphertext = secret.encrypt(&encoded, &scale, level, &Seed::new([1; 32])).expand();
        let (shape, keyed) = (*shape, OnceLock::new());
        Ok(Self {
            shape,
            context,
            secret,
            keyless,
            keyed,
            scale,
            values,
            encoded,
            plain,
            ciphertext,
        })
    }

    /// What the operands belong to.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Bytes of the expanded keys of an operation, if they are more than 6 GiB: it is not measured.
    pub fn too_many_key_bytes(&self, operation: Operation) -> Option<usize> {
        let Operation::Linear(matrix) = operation else { return None };
        let bytes = key_bytes(&self.context, &self.shape, &matrix);
        (bytes > MATRIX_KEY_BYTES).then_some(bytes)
    }

    /// Kernel times at this shape, on one thread.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn kernels(&self, budget: Budget) -> Result<Kernels, MeasureError> {
        Ok(pool(1)?.install(|| Kernels::measure(&self.context, budget)))
    }

    /// Times an operation on so many threads; one limb's work takes one.
    ///
    /// # Errors
    /// If the operation fails or no thread can be started.
    pub fn figure(
        &self,
        operation: Operation,
        threads: usize,
        kernels: &Kernels,
        budget: Budget,
    ) -> Result<Figure, MeasureError> {
        let (shape, isa) = (self.shape, self.context.ring().isa());
        let threads = if operation.is_of_one_limb() { 1 } else { threads };
        let timing = pool(threads)?.install(|| {
            let mut run = self.prepare(operation)?;
            budget.median(Clock::of_threads(threads), &mut run)
        })?;
        let floor_seconds = Work::of(operation, &shape).seconds(kernels) / threads as f64;
        let (seconds, timings) = (timing.seconds, timing.timings);
        Ok(Figure { operation, shape, isa, threads, seconds, floor_seconds, timings })
    }

    /// Makes whatever an operation needs before its time counts, and gives one repetition of it.
    ///
    /// # Errors
    /// If operands cannot be encoded.
    pub fn prepare(&self, operation: Operation) -> Result<Run<'_>, EvalError> {
        let Self { context, secret, keyless, scale, values, encoded, plain, .. } = self;
        let (ring, x) = (context.ring(), &self.ciphertext);
        let level = x.level();
        let table = ring.table(Prime::Q(level));
        let mut limb = plain.limb(level).to_vec();
        Ok(match operation {
            Operation::NttForward => done(move || {
                table.forward(&mut limb);
                Ok(limb[0])
            }),
            Operation::NttInverse => done(move || {
                table.inverse(&mut limb);
                Ok(limb[0])
            }),
            Operation::Encode => done(move || {
                let encoded = context.encoder().encode(values, scale)?;
                Ok(encoded.to_evaluations(ring, context.basis_q(level)))
            }),
            Operation::Encrypt => {
                let seed = Seed::new([2; 32]);
                done(move || Ok(secret.encrypt(encoded, scale, level, &seed)))
            }
            Operation::DecryptDecode => done(move || Ok(secret.decrypt(x))),
            Operation::Add => done(move || keyless.add(x, x)),
            Operation::MulPlain => done(move || keyless.mul_plaintext(x, plain, scale)),
            Operation::Rescale => done(move || keyless.rescale(x)),
            Operation::MulRelin => {
                let keyed = self.keyed();
                done(move || keyed.mul_relinearised(x, x))
            }
            Operation::Rotate => {
                let keyed = self.keyed();
                done(move || keyed.rotate(x, 1))
            }
            Operation::RotateHoisted8 => {
                let (keyed, steps) = (self.keyed(), Vec::from_iter(HOISTED));
                done(move || keyed.rotate_many(x, &steps))
            }
            Operation::KeygenGalois => {
                let spec = KeySpec { kind: KeyKind::Rotate(1), level };
                done(move || Ok(secret.evaluation_key(spec, &PLAN)))
            }
            Operation::Linear(matrix) => self.linear(&matrix)?,
        })
    }

    fn keyed(&self) -> &Evaluator {
        let kinds = || HOISTED.map(KeyKind::Rotate).chain([KeyKind::Relinearise]);
        self.keyed.get_or_init(|| evaluator(&self.secret, self.ciphertext.level(), kinds()))
    }

    /// A matrix, evaluated, with its keys, which live as long as the run.
    fn linear(&self, matrix: &Matrix) -> Result<Run<'_>, EvalError> {
        let (width, x) = (self.shape.width(), &self.ciphertext);
        let placed = matrix.placed(width);
        let kinds = placed.rotations().into_iter().map(KeyKind::Rotate);
        let keyed = evaluator(&self.secret, x.level(), kinds);
        let entry = |i: usize, j: usize| ((i * 31 + j * 17) as f32 * 0.01).sin() / 32.0;
        let transform = Arc::new(placed.transform(entry));
        let scales = std::slice::from_ref(&self.scale);
        let keep = Keep::Evaluated(x.level());
        let prepared = PreparedTransform::new(&self.context, &transform, scales, keep)?;
        let (giant, folds) = (placed.giant(), placed.folds());
        Ok(done(move || {
            let mut results = keyed.linear(&[x], &prepared)?;
            let mut sum = results.pop().expect("a matrix has results");
            for result in results.iter().rev() {
                sum = keyed.rotate_and_add(&sum, giant, result)?;
            }
            for &by in &folds {
                sum = keyed.rotate_and_add(&sum, by, &sum)?;
            }
            keyed.mod_down(&sum)
        }))
    }
}

/// Bytes of the keys of a matrix, expanded.
fn key_bytes(context: &Context, shape: &Shape, matrix: &Matrix) -> usize {
    let spec = KeySpec { kind: KeyKind::Rotate(1), level: shape.limbs - 1 };
    let keys = matrix.placed(shape.width()).rotations().len();
    keys * SwitchingKey::expanded_bytes(context, spec)
}

/// An evaluator with fresh keys for `level`.
fn evaluator(
    secret: &SecretKey,
    level: usize,
    kinds: impl IntoIterator<Item = KeyKind>,
) -> Evaluator {
    let key = |kind| secret.evaluation_key(KeySpec { kind, level }, &PLAN);
    let keys = EvaluationKeys::from_keys(secret.context(), kinds.into_iter().map(key));
    keys.set_budget(KEY_BYTES);
    Evaluator::new(Arc::new(keys))
}

/// Keeps a result alive, so that it is computed.
fn done<'a, T>(mut work: impl FnMut() -> Result<T, EvalError> + Send + 'a) -> Run<'a> {
    Box::new(move || {
        black_box(work()?);
        Ok(())
    })
}

/// A pool of its own for so many threads.
fn pool(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new().num_threads(threads).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_keys_are_those_of_as_many_digits_as_primes() {
        let too_many = |name: &str, matrix: &Matrix| {
            let shape = Shape::named(name).unwrap();
            let context = Context::new(&shape.parameters().unwrap()).unwrap();
            key_bytes(&context, &shape, matrix) > MATRIX_KEY_BYTES
        };
        let many = [Matrix::WIDE, Matrix::SQUARE].map(|matrix| too_many("d30", &matrix));
        assert_eq!(many, [true; 2]);
        // Whether in the form of 64 bits or as narrow as their primes.
        let few = ["d", "c16"].map(|name| too_many(name, &Matrix::SQUARE));
        assert_eq!(few, [false; 2]);
    }
}
