//! The backend on plain numbers: slots are `f64`, nothing is encrypted, there is no noise.
//!
//! It is the specification that the other backends are held to, so it stays as simple as the
//! semantics allow. It needs no keys and knows no overflow.

use std::sync::Arc;

use heplan_ir::ckks::CtType;
use heplan_ir::entity::ConstId;
use heplan_ir::parameters::Parameters;
use heplan_ir::scale::Scale;
use heplan_ir::transform::LinearTransform;
use rayon::prelude::*;

use crate::backend::{Backend, PlainRef};
use crate::typing::{self, TypeError};

/// Diagonals that one task adds up; fixed, so that sums do not depend on the number of threads.
const DIAGONALS_PER_TASK: usize = 64;

/// The clear backend.
#[derive(Clone, Debug)]
pub struct Clear {
    parameters: Parameters,
}

/// A vector of slots with the type that its ciphertext would have.
#[derive(Clone, Debug, PartialEq)]
pub struct Slots {
    /// One number per slot.
    pub values: Vec<f64>,
    /// Its type.
    pub ty: CtType,
}

impl Clear {
    /// A backend for ciphertexts under `parameters`.
    pub fn new(parameters: &Parameters) -> Self {
        Self { parameters: parameters.clone() }
    }

    /// Slots as an input of type `ty`.
    ///
    /// # Errors
    /// If `values` has not `width` numbers, or the level is above the chain.
    pub fn encrypt(&self, values: Vec<f64>, ty: CtType) -> Result<Slots, TypeError> {
        typing::width(values.len(), self.parameters.width())?;
        if ty.level > self.parameters.max_level() {
            return Err(TypeError::AboveChain(ty.level, self.parameters.max_level()));
        }
        Ok(Slots { values, ty })
    }

    /// The result of type `ty` with `f(x, plain)` in every slot.
    fn with_plain(
        &self,
        x: &Slots,
        plain: PlainRef<'_>,
        ty: CtType,
        f: impl Fn(f64, f64) -> f64,
    ) -> Result<Slots, TypeError> {
        let values = match plain {
            PlainRef::Scalar(c) => x.values.iter().map(|&v| f(v, c)).collect(),
            PlainRef::Vector(p) => {
                typing::width(p.len(), self.parameters.width())?;
                zip(&x.values, p, f)
            }
        };
        Ok(Slots { values, ty })
    }
}

impl Backend for Clear {
    type Ct = Slots;
    type Error = TypeError;

    fn ct_type(&self, x: &Slots) -> CtType {
        x.ty.clone()
    }

    fn add(&self, a: &Slots, b: &Slots) -> Result<Slots, TypeError> {
        let ty = typing::add(&a.ty, &b.ty)?;
        Ok(Slots { values: zip(&a.values, &b.values, |a, b| a + b), ty })
    }

    fn sub(&self, a: &Slots, b: &Slots) -> Result<Slots, TypeError> {
        let ty = typing::add(&a.ty, &b.ty)?;
        Ok(Slots { values: zip(&a.values, &b.values, |a, b| a - b), ty })
    }

    fn add_plain(&self, x: &Slots, plain: PlainRef<'_>) -> Result<Slots, TypeError> {
        self.with_plain(x, plain, typing::add_plain(&x.ty)?, |x, p| x + p)
    }

    fn mul_plain(&self, x: &Slots, plain: PlainRef<'_>, scale: &Scale) -> Result<Slots, TypeError> {
        self.with_plain(x, plain, typing::mul_plain(&x.ty, scale)?, |x, p| x * p)
    }

    fn mul(&self, a: &Slots, b: &Slots) -> Result<Slots, TypeError> {
        let ty = typing::mul(&a.ty, &b.ty)?;
        Ok(Slots { values: zip(&a.values, &b.values, |a, b| a * b), ty })
    }

    fn relinearise(&self, x: &Slots) -> Result<Slots, TypeError> {
        Ok(Slots { values: x.values.clone(), ty: typing::relinearise(&x.ty)? })
    }

    fn rescale(&self, x: &Slots) -> Result<Slots, TypeError> {
        Ok(Slots { values: x.values.clone(), ty: typing::rescale(&x.ty, &self.parameters)? })
    }

    fn mod_down(&self, x: &Slots) -> Result<Slots, TypeError> {
        Ok(Slots { values: x.values.clone(), ty: typing::mod_down(&x.ty)? })
    }

    fn drop_level(&self, x: &Slots, level: usize) -> Result<Slots, TypeError> {
        Ok(Slots { values: x.values.clone(), ty: typing::drop_level(&x.ty, level)? })
    }

    fn bootstrap(&self, x: &Slots, scale: &Scale) -> Result<Slots, TypeError> {
        let ty = typing::bootstrap(&x.ty, scale, &self.parameters)?;
        Ok(Slots { values: x.values.clone(), ty })
    }

    fn rotate(&self, x: &Slots, by: u32) -> Result<Slots, TypeError> {
        let ty = typing::rotate(&x.ty, by, self.parameters.width())?;
        let mut values = x.values.clone();
        values.rotate_left(by as usize);
        Ok(Slots { values, ty })
    }

    fn linear(
        &self,
        xs: &[&Slots],
        transform: &Arc<LinearTransform>,
        _id: ConstId,
        scales: &[Scale],
    ) -> Result<Vec<Slots>, TypeError> {
        let types: Vec<&CtType> = xs.iter().map(|x| &x.ty).collect();
        let ty = typing::linear(&types, transform, scales, &self.parameters)?;
        let values: Vec<&[f64]> = xs.iter().map(|x| x.values.as_slice()).collect();
        let results = apply(transform, &values);
        Ok(results.into_iter().map(|values| Slots { values, ty: ty.clone() }).collect())
    }
}

/// `f` slot by slot.
fn zip(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}

/// [`LinearTransform::apply`] on several threads; sums are taken in a fixed order.
pub(crate) fn apply(transform: &LinearTransform, xs: &[&[f64]]) -> Vec<Vec<f64>> {
    let width = transform.width;
    let partial = |part: &[heplan_ir::transform::Diagonal]| {
        let mut y = vec![0.0; width];
        for d in part {
            let x = xs[d.input as usize];
            for copy in (0..width).step_by(transform.period) {
                for (&s, &v) in d.slots.iter().zip(&d.values) {
                    let t = copy + s as usize;
                    y[t] += f64::from(v) * x[(t + d.offset as usize) & (width - 1)];
                }
            }
        }
        (part[0].output as usize, y)
    };
    let tasks: Vec<&[heplan_ir::transform::Diagonal]> = transform
        .diagonals
        .chunk_by(|a, b| a.output == b.output)
        .flat_map(|of_one| of_one.chunks(DIAGONALS_PER_TASK))
        .collect();
    let parts: Vec<(usize, Vec<f64>)> = tasks.par_iter().map(|t| partial(t)).collect();
    let mut out = vec![vec![0.0; width]; transform.outputs];
    for (output, part) in parts {
        out[output].iter_mut().zip(part).for_each(|(y, p)| *y += p);
    }
    out
}
