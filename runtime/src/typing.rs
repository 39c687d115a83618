//! The types of results: the contract of [`Backend`](crate::backend::Backend) as functions.
//!
//! Every function checks the operands and returns the type of the result, exactly.
//! Backends use them so that they cannot disagree; keys, values and noise are not their business.

use heplan_ir::ckks::CtType;
use heplan_ir::parameters::Parameters;
use heplan_ir::scale::Scale;
use heplan_ir::transform::LinearTransform;
use thiserror::Error;

/// Why operands do not fit an instruction.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TypeError {
    /// Operands of different levels.
    #[error("operands at levels {0} and {1}")]
    Levels(usize, usize),
    /// Operands whose scales had to be equal.
    #[error("operands with scales 2^{0} and 2^{1}, which are not exactly equal")]
    Scales(Box<Scale>, Box<Scale>),
    /// An operand of the wrong degree.
    #[error("operand of degree {found} where {wanted} is needed")]
    Degree {
        /// The operand's.
        found: u8,
        /// The instruction's.
        wanted: u8,
    },
    /// An extended operand where only an ordinary one will do, or the other way about.
    #[error("{}", if *.0 { "an operand is extended" } else { "an operand has no division to come" })]
    Extended(bool),
    /// A level above the chain of primes.
    #[error("level {0} is above the highest level {1}")]
    AboveChain(usize, usize),
    /// Rescaling at level 0.
    #[error("no prime is left to rescale by")]
    NoPrimeLeft,
    /// Dropping to a level that is not below the operand's.
    #[error("cannot drop from level {from} to level {to}")]
    Drop {
        /// The operand's level.
        from: usize,
        /// The level asked for.
        to: usize,
    },
    /// A bootstrap under parameters that have no levels for one.
    #[error("the parameters have no bootstrap")]
    NoBootstrap,
    /// A rotation by nothing or by a whole turn.
    #[error("rotation by {0} steps in a width of {1}")]
    Rotation(u32, usize),
    /// Not as many operands or scales as the transform has inputs.
    #[error("{found} operands or scales for a transform of {wanted} inputs")]
    Arity {
        /// How many there are.
        found: usize,
        /// How many the transform takes.
        wanted: usize,
    },
    /// A vector, plaintext or transform of another width.
    #[error("{found} slots where {wanted} are needed")]
    Width {
        /// Its number of slots.
        found: usize,
        /// That of the parameters.
        wanted: usize,
    },
}

fn degree(x: &CtType, wanted: u8) -> Result<(), TypeError> {
    if x.degree == wanted { Ok(()) } else { Err(TypeError::Degree { found: x.degree, wanted }) }
}

fn ordinary(x: &CtType) -> Result<(), TypeError> {
    if x.extended { Err(TypeError::Extended(true)) } else { Ok(()) }
}

fn same_level(a: &CtType, b: &CtType) -> Result<(), TypeError> {
    if a.level == b.level { Ok(()) } else { Err(TypeError::Levels(a.level, b.level)) }
}

fn same_scale(a: &Scale, b: &Scale) -> Result<(), TypeError> {
    if a == b { Ok(()) } else { Err(TypeError::Scales(Box::new(a.clone()), Box::new(b.clone()))) }
}

/// The type of a refreshed ciphertext.
///
/// # Errors
/// Unless the parameters have a bootstrap, and the operand is ordinary, of degree 1 and at level 0.
pub fn bootstrap(x: &CtType, scale: &Scale, parameters: &Parameters) -> Result<CtType, TypeError> {
    ordinary(x)?;
    degree(x, 1)?;
    let bootstrap = parameters.bootstrap().ok_or(TypeError::NoBootstrap)?;
    if x.level != 0 {
        return Err(TypeError::Levels(x.level, 0));
    }
    Ok(CtType::new(bootstrap.output_level, scale.clone()))
}

/// That a vector has as many slots as ciphertexts have.
///
/// # Errors
/// If it has more or fewer.
pub fn width(found: usize, wanted: usize) -> Result<(), TypeError> {
    if found == wanted { Ok(()) } else { Err(TypeError::Width { found, wanted }) }
}

/// The type of a sum or difference, extended or not.
///
/// # Errors
/// If the operands' types differ.
pub fn add(a: &CtType, b: &CtType) -> Result<CtType, TypeError> {
    same_level(a, b)?;
    same_scale(&a.scale, &b.scale)?;
    degree(b, a.degree)?;
    if a.extended == b.extended { Ok(a.clone()) } else { Err(TypeError::Extended(true)) }
}

/// The type of a sum with a plaintext.
///
/// # Errors
/// If the operand is extended.
pub fn add_plain(x: &CtType) -> Result<CtType, TypeError> {
    ordinary(x)?;
    Ok(x.clone())
}

/// The type of a product with a plaintext encoded at `scale`.
///
/// # Errors
/// If the operand is extended.
pub fn mul_plain(x: &CtType, scale: &Scale) -> Result<CtType, TypeError> {
    ordinary(x)?;
    Ok(CtType { scale: x.scale.mul(scale), ..x.clone() })
}

/// The type of a product of two ciphertexts.
///
/// # Errors
/// If the levels differ, a degree is not 1 or an operand is extended.
pub fn mul(a: &CtType, b: &CtType) -> Result<CtType, TypeError> {
    same_level(a, b)?;
    for x in [a, b] {
        degree(x, 1)?;
        ordinary(x)?;
    }
    Ok(CtType { degree: 2, ..CtType::new(a.level, a.scale.mul(&b.scale)) })
}

/// The type of a relinearised product.
///
/// # Errors
/// If the degree is not 2.
pub fn relinearise(x: &CtType) -> Result<CtType, TypeError> {
    degree(x, 2)?;
    Ok(CtType { degree: 1, ..x.clone() })
}

/// The type after rescaling.
///
/// # Errors
/// At level 0, above the chain of primes, or if the operand is extended.
pub fn rescale(x: &CtType, parameters: &Parameters) -> Result<CtType, TypeError> {
    ordinary(x)?;
    let level = x.level.checked_sub(1).ok_or(TypeError::NoPrimeLeft)?;
    let above = || TypeError::AboveChain(x.level, parameters.max_level());
    let q = *parameters.q().get(x.level).ok_or_else(above)?;
    Ok(CtType { level, scale: x.scale.rescaled(q), ..x.clone() })
}

/// The type after the division of an extended ciphertext.
///
/// # Errors
/// If it is not extended.
pub fn mod_down(x: &CtType) -> Result<CtType, TypeError> {
    if !x.extended {
        return Err(TypeError::Extended(false));
    }
    Ok(CtType { extended: false, ..x.clone() })
}

/// The type after dropping to `level`.
///
/// # Errors
/// Unless `level` is below the operand's, and that is not extended.
pub fn drop_level(x: &CtType, level: usize) -> Result<CtType, TypeError> {
    ordinary(x)?;
    if level >= x.level {
        return Err(TypeError::Drop { from: x.level, to: level });
    }
    Ok(CtType { level, ..x.clone() })
}

/// The type after a rotation, extended or not.
///
/// # Errors
/// Unless the degree is 1 and `0 < by ≤ width`.
pub fn rotate(x: &CtType, by: u32, width: usize) -> Result<CtType, TypeError> {
    degree(x, 1)?;
    if by == 0 || by as usize > width {
        return Err(TypeError::Rotation(by, width));
    }
    Ok(x.clone())
}

/// The type of every result of a linear map.
///
/// # Errors
/// As [`Backend::linear`](crate::backend::Backend::linear) states, keys aside.
pub fn linear(
    xs: &[&CtType],
    transform: &LinearTransform,
    scales: &[Scale],
    parameters: &Parameters,
) -> Result<CtType, TypeError> {
    width(transform.width, parameters.width())?;
    for found in [xs.len(), scales.len()] {
        if found != transform.inputs || found == 0 {
            return Err(TypeError::Arity { found, wanted: transform.inputs });
        }
    }
    let first = CtType::new(xs[0].level, xs[0].scale.mul(&scales[0]));
    for (x, scale) in xs.iter().zip(scales) {
        same_level(&first, x)?;
        degree(x, 1)?;
        ordinary(x)?;
        same_scale(&first.scale, &x.scale.mul(scale))?;
    }
    Ok(CtType { extended: transform.rotates(), ..rescale(&first, parameters)? })
}
