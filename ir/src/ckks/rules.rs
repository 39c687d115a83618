//! The typing rules of [`Op`](super::Op), shared by the verifiers of the `ckks` and `plan` levels.
//!
//! With operands at level `ℓ` and scale `s`, the declared type of every result must be:
//!
//! | operation | operands | result |
//! |---|---|---|
//! | `Input` | an existing input and part | as declared, degree 1 |
//! | `Linear` | one per transform input, equal level `ℓ > 0`, degree 1; `s_i·scales_i` equal | level `ℓ − 1`, that scale over `q_ℓ`, degree 1, extended if the transform rotates |
//! | `Rotate` | degree 1, extended or not, `0 < by ≤ width` | unchanged |
//! | `RotateAdd` | equal types, degree 1, extended or not, `0 < by ≤ width` | unchanged |
//! | `Add`, `Sub` | equal types, extended or not | unchanged |
//! | `AddPlain` | any; a vector of `width` slots or a finite number | unchanged |
//! | `MulPlain` | any; likewise | scale `s·scale` |
//! | `Mul` | equal level, degree 1 | scale `s_a·s_b`, degree 2 |
//! | `Relinearise` | degree 2 | degree 1 |
//! | `Rescale` | `ℓ > 0` | level `ℓ − 1`, scale `s/q_ℓ` |
//! | `ModDown` | extended | not extended |
//! | `DropLevel` | `level < ℓ` | that level |
//!
//! Operands are not extended where the table does not say so.
//! Besides: an extended type has degree 1 and a prime above its level; a level is one of the chain, a degree is 1 or 2, and a scale is above 1 and below the
//! modulus of its level, or the message would wrap around unnoticed.

use std::fmt::Display;

use super::{CtType, Op, Plain};
use crate::constants::{ConstPool, Constant};
use crate::entity::ConstId;
use crate::parameters::Parameters;
use crate::scale::Scale;
use crate::slots::Port;
use crate::transform::LinearTransform;

/// What operations are checked against.
pub(crate) struct Rules<'a> {
    pub(crate) parameters: &'a Parameters,
    pub(crate) consts: &'a ConstPool,
    pub(crate) inputs: Vec<&'a Port>,
}

/// An operation's operands with their types, in the order of [`Op::operands`].
type Operands<'a, V> = &'a [(V, &'a CtType)];

impl Rules<'_> {
    /// Every breach of one instruction whose operands all have types.
    pub(crate) fn check<V: Copy + Display>(
        &self,
        op: &Op<V>,
        operands: Operands<'_, V>,
        results: usize,
        ty: &CtType,
    ) -> Vec<String> {
        let mut out = self.check_type(ty);
        let wanted = match op {
            Op::Linear { transform, .. } => self.transform(*transform).map_or(1, |t| t.outputs),
            _ => 1,
        };
        if results != wanted {
            out.push(format!("{results} results instead of {wanted}"));
        }
        match self.result(op, operands, &mut out) {
            Some(found) if found != *ty => {
                out.push(format!("type is {}, the rule gives {}", show(ty), show(&found)));
            }
            _ => {}
        }
        out
    }

    /// Breaches of a declared type by itself.
    pub(crate) fn check_type(&self, ty: &CtType) -> Vec<String> {
        let mut out = Vec::new();
        if ty.level > self.parameters.max_level() {
            let max = self.parameters.max_level();
            return vec![format!("level {} is above the highest level {max}", ty.level)];
        }
        if !(1..=2).contains(&ty.degree) {
            out.push(format!("degree {} is neither 1 nor 2", ty.degree));
        }
        if ty.extended && (ty.degree != 1 || ty.level == self.parameters.max_level()) {
            out.push(format!("degree {} and level {} cannot be extended", ty.degree, ty.level));
        }
        let (scale, modulus) = (ty.scale.log2(), self.parameters.log_q_at(ty.level));
        if !(scale > 0.0 && scale < modulus) {
            out.push(format!("scale 2^{scale:.4} is not between 1 and the modulus 2^{modulus:.4}"));
        }
        out
    }

    /// The type of the results by the rule, or `None` with the reason added to `out`.
    fn result<V: Copy + Display>(
        &self,
        op: &Op<V>,
        operands: Operands<'_, V>,
        out: &mut Vec<String>,
    ) -> Option<CtType> {
        let before = out.len();
        let x = operands.first().map(|o| o.1);
        if !takes_extended(op) {
            ordinary(operands, out);
        }
        let result = match op {
            Op::Input { input, part } => {
                out.extend(self.check_input(*input, *part));
                None
            }
            Op::Linear { transform, scales, .. } => self.linear(*transform, scales, operands, out),
            Op::Rotate { by, .. } => {
                degree(operands, 1, out);
                out.extend(self.check_step(*by));
                x.cloned()
            }
            Op::RotateAdd { by, .. } => {
                degree(operands, 1, out);
                same_type(operands, out);
                out.extend(self.check_step(*by));
                x.cloned()
            }
            Op::Add { .. } | Op::Sub { .. } => {
                same_type(operands, out);
                x.cloned()
            }
            Op::AddPlain { plain, .. } => {
                out.extend(self.check_plain(*plain));
                x.cloned()
            }
            Op::MulPlain { plain, scale, .. } => {
                out.extend(self.check_plain(*plain));
                x.map(|x| CtType { scale: x.scale.mul(scale), ..x.clone() })
            }
            Op::Mul { .. } => {
                degree(operands, 1, out);
                same_level(operands, out);
                let scale = operands.iter().fold(Scale::default(), |s, o| s.mul(&o.1.scale));
                x.map(|x| CtType { degree: 2, ..CtType::new(x.level, scale) })
            }
            Op::Relinearise { .. } => {
                degree(operands, 2, out);
                x.map(|x| CtType { degree: 1, ..x.clone() })
            }
            Op::Rescale { .. } => x.and_then(|x| self.rescale(x, out)),
            Op::ModDown { .. } => {
                operands.iter().filter(|o| !o.1.extended).for_each(|o| {
                    out.push(format!("{} has no division to come", o.0));
                });
                x.map(|x| CtType { extended: false, ..x.clone() })
            }
            Op::DropLevel { level, .. } => {
                x.filter(|x| *level >= x.level).into_iter().for_each(|x| {
                    out.push(format!("cannot drop from level {} to level {level}", x.level));
                });
                x.map(|x| CtType { level: *level, ..x.clone() })
            }
            Op::Bootstrap { scale, .. } => {
                degree(operands, 1, out);
                self.bootstrap(x?, scale, out)
            }
        };
        result.filter(|_| out.len() == before)
    }

    fn rescale(&self, x: &CtType, out: &mut Vec<String>) -> Option<CtType> {
        let Some(level) = x.level.checked_sub(1) else {
            out.push("no prime is left to rescale by at level 0".into());
            return None;
        };
        let q = *self.parameters.q().get(x.level)?;
        Some(CtType { level, scale: x.scale.rescaled(q), ..x.clone() })
    }

    fn bootstrap(&self, x: &CtType, scale: &Scale, out: &mut Vec<String>) -> Option<CtType> {
        let Some(bootstrap) = self.parameters.bootstrap() else {
            out.push("the parameters have no levels for a bootstrap".into());
            return None;
        };
        if x.level != 0 {
            out.push(format!("a bootstrap at level {} instead of 0", x.level));
        }
        Some(CtType::new(bootstrap.output_level, scale.clone()))
    }

    fn linear<V: Copy + Display>(
        &self,
        transform: ConstId,
        scales: &[Scale],
        operands: Operands<'_, V>,
        out: &mut Vec<String>,
    ) -> Option<CtType> {
        degree(operands, 1, out);
        same_level(operands, out);
        let Some(t) = self.transform(transform) else {
            out.push(format!("{transform} is not a transform"));
            return None;
        };
        let width = self.parameters.width();
        if t.width != width {
            out.push(format!("transform of width {}, ciphertexts of {width} slots", t.width));
        }
        if operands.len() != t.inputs || scales.len() != t.inputs {
            let (xs, scales) = (operands.len(), scales.len());
            out.push(format!("{xs} operands and {scales} scales for {} inputs", t.inputs));
        }
        let mut products = operands.iter().zip(scales).map(|(o, s)| o.1.scale.mul(s));
        let scale = products.next()?;
        if let Some(other) = products.find(|s| *s != scale) {
            out.push(format!("inputs end at scales 2^{scale} and 2^{other}, not exactly equal"));
        }
        let product = CtType::new(operands.first()?.1.level, scale);
        Some(CtType { extended: t.rotates(), ..self.rescale(&product, out)? })
    }

    fn check_step(&self, by: u32) -> Option<String> {
        let width = self.parameters.width();
        let within = by > 0 && by as usize <= width;
        (!within).then(|| format!("rotation by {by} in a width of {width}"))
    }

    fn check_input(&self, input: u32, part: u32) -> Option<String> {
        match self.inputs.get(input as usize) {
            None => Some(format!("input {input} of {}", self.inputs.len())),
            Some(port) => {
                // A port that is unsound is reported as such.
                let parts = port.layout.checked_ciphertexts()?;
                (part as usize >= parts).then(|| format!("part {part} of {parts} ciphertexts"))
            }
        }
    }

    fn check_plain(&self, plain: Plain) -> Option<String> {
        let width = self.parameters.width();
        match plain {
            Plain::Scalar(v) => (!v.is_finite()).then(|| format!("plaintext is {v}")),
            Plain::Vector(id) => match self.consts.get(id) {
                Some(Constant::Vector(v)) if v.len() == width => None,
                Some(Constant::Vector(v)) => {
                    Some(format!("plaintext of {} slots, ciphertexts of {width}", v.len()))
                }
                _ => Some(format!("{id} is not a vector")),
            },
        }
    }

    fn transform(&self, id: ConstId) -> Option<&LinearTransform> {
        match self.consts.get(id) {
            Some(Constant::Transform(t)) => Some(t),
            _ => None,
        }
    }
}

/// A type in words, as the text form has it.
pub(crate) fn show(ty: &CtType) -> String {
    let degree = if ty.degree == 1 { String::new() } else { format!(", degree = {}", ty.degree) };
    let extended = if ty.extended { ", extended" } else { "" };
    format!("ct<level = {}, scale = {}{degree}{extended}>", ty.level, ty.scale)
}

/// Whether operands may be extended.
fn takes_extended<V>(op: &Op<V>) -> bool {
    match op {
        Op::Rotate { .. }
        | Op::RotateAdd { .. }
        | Op::Add { .. }
        | Op::Sub { .. }
        | Op::ModDown { .. } => true,
        Op::Input { .. }
        | Op::Linear { .. }
        | Op::AddPlain { .. }
        | Op::MulPlain { .. }
        | Op::Mul { .. }
        | Op::Relinearise { .. }
        | Op::Rescale { .. }
        | Op::DropLevel { .. }
        | Op::Bootstrap { .. } => false,
    }
}

fn degree<V: Display>(operands: Operands<'_, V>, wanted: u8, out: &mut Vec<String>) {
    for (v, t) in operands.iter().filter(|o| o.1.degree != wanted) {
        out.push(format!("{v} has degree {} where {wanted} is needed", t.degree));
    }
}

fn ordinary<V: Display>(operands: Operands<'_, V>, out: &mut Vec<String>) {
    for (v, _) in operands.iter().filter(|o| o.1.extended) {
        out.push(format!("{v} is extended, which only sums, rotations and ModDown take"));
    }
}

fn same_level<V: Display>(operands: Operands<'_, V>, out: &mut Vec<String>) {
    let Some((first, rest)) = operands.split_first() else { return };
    for other in rest.iter().filter(|o| o.1.level != first.1.level) {
        let (a, b) = (first.1.level, other.1.level);
        out.push(format!("levels of {} and {} differ: {a} and {b}", first.0, other.0));
    }
}

fn same_type<V: Display>(operands: Operands<'_, V>, out: &mut Vec<String>) {
    let Some((first, rest)) = operands.split_first() else { return };
    for other in rest.iter().filter(|o| o.1 != first.1) {
        let (a, b) = (show(first.1), show(other.1));
        out.push(format!("{} and {} are not of exactly equal type: {a} and {b}", first.0, other.0));
    }
}
